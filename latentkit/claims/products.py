"""Lab 10: multiplication. Which digits of a product come out right, inside and outside the trained sizes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latentkit.analysis.subgraphs import write
from latentkit.claims.depth_wall import rounded, steps_for
from latentkit.claims.experiment import Arm, Budget, Claim, Metrics, Results
from latentkit.claims.ledger import Source, Verdict
from latentkit.claims.subgraphs import PAPER
from latentkit.layers import BlockConfig
from latentkit.models import TransformerConfig
from latentkit.tasks import Multiplication
from latentkit.training import Curriculum, FitConfig

STEPS, RATE = 2500, 3e-3
# Learned distances: with windows of a few tokens the digits of the question are soon out of reach.
BLOCK = BlockConfig(num_heads=4)
ARMS = {
    "by-one-digit": Multiplication("train", by_one=True),
    "by-one-digit-backwards": Multiplication("train", by_one=True, backwards=True),
    "square": Multiplication("train"),
}


def _arms(budget: Budget) -> Sequence[Arm]:
    return [
        Arm(
            name,
            TransformerConfig(task.vocab_size, task.num_classes, num_layers=2, block=BLOCK),
            Curriculum(task, batch=64, low=task.longest_split - 1, high=task.longest_split),
            FitConfig(steps_for(budget, STEPS), RATE),
        )
        for name, task in ARMS.items()
    ]


def new_pairs(task: Multiplication, length: int) -> Tensor:
    """Pairs that were not in training: all of the "test" part, or a thousand that are longer: [p, 2]."""
    if length <= task.longest_split:
        return Multiplication("test", by_one=task.by_one).pairs(length)
    generator = torch.Generator().manual_seed(7)
    sizes = task.sizes(length)
    ends = [(2 if size == 1 else 10 ** (size - 1), 10**size) for size in sizes]
    return torch.stack([torch.randint(*end, (1000,), generator=generator) for end in ends], 1)


def measure_products(model: nn.Module, arm: Arm) -> Metrics:
    """Every digit of the product, first one first: new pairs of the longest trained size, and of twice the digits."""
    train = arm.batches.task
    task = Multiplication(by_one=train.by_one, backwards=train.backwards)
    metrics: Metrics = {}
    for where, length in (("inside", train.longest_split), ("outside", 2 * train.longest_split)):
        pairs = new_pairs(train, length)
        said = write(model, task.pieces(pairs, length), task.first_answer)
        right = said == task.batch(pairs, length).targets[:, -said.shape[1] :]
        digits = (right.flip(1) if task.backwards else right).float().mean(0)
        metrics[f"digits-{where}"] = rounded(digits)
        ends = {"first": digits[0], "middle": digits[1:-1].min(), "last": digits[-1]}
        for name, share in (ends | {"whole": right.all(1).float().mean()}).items():
            metrics[f"{name}-{where}"] = round(float(share), 4)
    return metrics


def _judge_products(results: Results) -> Verdict:
    by_one = results["by-one-digit"], results["by-one-digit-backwards"]
    inside = any(all(run["whole-inside"] >= 0.85 for run in runs) for runs in by_one)
    outside = all(run["whole-outside"] <= 0.05 for runs in by_one for run in runs)
    square = results["square"]
    surface = all(min(run["first-inside"], run["last-inside"]) >= run["middle-inside"] + 0.2 for run in square)
    if not outside:
        return "not reproduced"
    return "reproduced" if inside and surface else "partly" if inside or surface else "not reproduced"


CLAIMS = [
    Claim(
        id="multiplication-surface",
        lab="10",
        statement="New products of the trained sizes come out right, those of twice as many digits do not; and where "
        "products go wrong, their first and last digits, which follow from few digits of the question, do not.",
        source=Source(
            PAPER[0],
            "multiplication; relative information gain",
            "close to perfect inside the trained sizes and close to 0 outside; first and last digits come out right "
            "where the product does not: they can be told from the first and last digits of the numbers",
            PAPER[1],
        ),
        arms=_arms,
        measure=measure_products,
        judge=_judge_products,
        rule="reproduced if, of numbers of three digits times a single one, at least 0.85 of the new products are "
        "wholly right on every seed in one of the two orders of writing, at most 0.05 of those of six digits in both, "
        "and of new products of two digits by two both the first and the last digit are right at least 0.2 more often "
        "than the worst in between, on every seed; partly if the second holds, and the first or the third",
        note="Two layers with learned distances, about 100,000 parameters; nine of ten pairs of the longest trained "
        "size and of one digit less in training, 64 a step, each with all places of the product, zeros in front. One "
        "arm writes the last digit first. A pair left out may be in training the other way round.",
    ),
]
