"""Lab 01: how far fixed depth reaches, and what a chain of thought buys."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from latentkit.claims.experiment import Arm, Budget, Claim, Metrics, Results
from latentkit.claims.ledger import Record, Source, Verdict
from latentkit.layers import BlockConfig
from latentkit.models import TransformerConfig
from latentkit.tasks import Batch, PointerChasing, WordProblem, solved_depth
from latentkit.training import Curriculum, FitConfig

S3 = WordProblem("S3")
POINTERS = PointerChasing(nodes=16, chains=2)
# A position is a node's name there, and every node may look at every other.
POINTER_BLOCK = BlockConfig(mlp_ratio=2, causal=False, relative_clip=0, alibi=False)
WALL = {1: 4, 2: 6, 4: 8}
LEARNING_RATES = (1e-3, 2e-3, 4e-3)


HELD_OUT_SEED = 7  # no training step draws from it (tests/claims)


def held_out(task: Any, length: int, examples: int = 1024) -> Batch:
    """The evaluation batch of every claim."""
    return task.sample(examples, length, torch.Generator().manual_seed(HELD_OUT_SEED))


def steps_for(budget: Budget, cpu: int) -> int:
    """Optimiser steps: what a GPU is good for here is ten times more of them."""
    return cpu if budget == "cpu" else 10 * cpu


@torch.no_grad()
def measure_stack(model: nn.Module, arm: Arm) -> Metrics:
    """Accuracy by depth on held-out words of 32 letters (or 16 nodes), and the last depth solved."""
    task = arm.batches.task
    batch = held_out(task, 32 if isinstance(task, WordProblem) else task.nodes)
    accuracy = task.score(model(batch.tokens), batch)
    return {"solved_depth": solved_depth(accuracy), "accuracy_by_depth": rounded(accuracy)}


def rounded(accuracy: torch.Tensor) -> list[float | None]:
    """A curve for the ledger; json has no word for the NaN of a depth that does not occur."""
    return [None if math.isnan(a) else round(a, 4) for a in accuracy.tolist()]


def _wall_arms(budget: Budget) -> Sequence[Arm]:
    return [
        Arm(
            name=f"L{layers}-{steps}-{rate:g}",
            config=TransformerConfig(S3.vocab_size, S3.num_classes, num_layers=layers),
            batches=Curriculum(S3, batch=64, low=2, high=12, ramp=steps // 2),
            fit=FitConfig(steps=steps, learning_rate=rate),
        )
        for layers in WALL
        for steps in (steps_for(budget, 1500), steps_for(budget, 3000))
        for rate in LEARNING_RATES
    ]


def best_wall(results: Results) -> dict[int, int]:
    """By depth L: the last position solved by the best seed at the best learning rate and number of steps."""
    return {
        layers: max(
            run["solved_depth"] for arm, runs in results.items() if arm.startswith(f"L{layers}-") for run in runs
        )
        for layers in WALL
    }


def best_arm(record: Record, layers: int) -> str:
    """The setting of `layers` layers that solves most letters on its best seed; the mean accuracy decides ties."""

    def reach(arm: str) -> tuple[int, float]:
        curves = record.values(f"{arm}/accuracy_by_depth")
        return max(record.values(f"{arm}/solved_depth")), sum(map(sum, curves))

    return max((arm for arm in record.setup if arm.startswith(f"L{layers}-")), key=reach)


def _judge_wall(results: Results) -> Verdict:
    best = best_wall(results)
    if not 0 < best[1] < best[2] < best[4] < 12:  # a wall that stands below the training length, and moves with depth
        return "not reproduced"
    return "reproduced" if all(best[layers] <= WALL[layers] for layers in WALL) else "partly"


def _pointer_arms(budget: Budget) -> Sequence[Arm]:
    return [
        Arm(
            name=f"L{layers}",
            config=TransformerConfig(
                POINTERS.vocab_size,
                POINTERS.num_classes,
                num_layers=layers,
                block=POINTER_BLOCK,
                num_positions=POINTERS.nodes,
            ),
            batches=Curriculum(POINTERS, batch=48, low=16, high=16),
            fit=FitConfig(steps=steps_for(budget, 2000), weight_decay=0.1),
        )
        for layers in (1, 2, 3)
    ]


def _judge_pointers(results: Results) -> Verdict:
    exact = [[run["solved_depth"] == 2**layers for run in results[f"L{layers}"]] for layers in (1, 2, 3)]
    if all(map(all, exact)):
        return "reproduced"
    return "partly" if sum(map(all, exact)) >= 1 else "not reproduced"


class Scratchpad:
    """The word problem with its running product written out between the letters: g_1 s_1 g_2 s_2 ...

    At letter g_t the model reads s_{t-1} right before it, so that a product costs one composition, whatever t is.
    Targets at letters are the product so far; at written products they repeat the token (nothing is asked there).
    """

    def __init__(self, problem: WordProblem):
        self.problem = problem
        self.name = f"{problem.name}, interleaved scratchpad"
        self.vocab_size = problem.vocab_size + problem.num_classes
        self.num_classes = problem.num_classes

    def __repr__(self) -> str:
        return f"Scratchpad({self.problem!r})"

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """Words of `length` letters; positions alternate letter, product."""
        word = self.problem.sample(batch, length, generator)
        tokens = torch.stack([word.tokens, word.targets + self.problem.vocab_size], -1).flatten(1)
        return Batch(tokens, word.targets.repeat_interleave(2, 1), word.depth.repeat_interleave(2, 1))


@torch.no_grad()
def write_scratchpad(model: nn.Module, word_tokens: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """Greedy decoding: the model's own product is written after each letter. Returns predictions [b, n]."""
    tokens, answers = word_tokens[:, :0], []
    for letter in word_tokens.T:
        tokens = torch.cat([tokens, letter[:, None]], 1)
        answers.append(model(tokens)[:, -1].argmax(-1))
        tokens = torch.cat([tokens, answers[-1][:, None] + vocab_size], 1)
    return torch.stack(answers, 1)


def _scratchpad_arms(budget: Budget) -> Sequence[Arm]:
    task = Scratchpad(S3)
    steps = steps_for(budget, 600)
    return [
        Arm(
            name="L1",
            config=TransformerConfig(task.vocab_size, task.num_classes, num_layers=1),
            batches=Curriculum(task, batch=64, low=2, high=12, ramp=steps // 2),
            fit=FitConfig(steps=steps),
        )
    ]


def _measure_scratchpad(model: nn.Module, arm: Arm) -> Metrics:
    batch = held_out(S3, 32)
    right = write_scratchpad(model, batch.tokens, S3.vocab_size) == batch.targets
    accuracy = right.float().mean(0)
    return {
        "solved_depth": solved_depth(accuracy),
        "accuracy_by_depth": rounded(accuracy),
        "sequential_forward_passes": batch.tokens.shape[1],
    }


CLAIMS = [
    Claim(
        id="stack-wall-s3",
        lab="01",
        statement="Fixed depth learns S3 words only up to a length that grows with depth: letters 4, 6, 8 for 1, 2, 4 "
        "layers.",
        source=Source(
            "Merrill and Sabharwal 2023; Liu et al. 2023",
            "main results",
            "fixed depth is confined to TC0; how far a trained stack gets on S3, which is in TC0, no paper says: the "
            "letters are what our first trials found",
            "merrill2023parallelism",
        ),
        arms=_wall_arms,
        measure=measure_stack,
        judge=_judge_wall,
        rule="partly if the last position solved (accuracy >= 0.99), at the best of three learning rates, two lengths "
        "of training and three seeds, grows with depth and stays below the training length of 12; reproduced if "
        "besides it is at most 4, 6, 8 for 1, 2, 4 layers",
        ship={"L4-3000-0.002": "s3-stack4.safetensors"},
    ),
    Claim(
        id="stack-wall-pointers",
        lab="01",
        statement="L layers follow 2^L pointers: depth doubles its reach with every layer, and stops there.",
        source=Source(
            "Sanford, Hsu, Telgarsky 2024",
            "k-hop induction heads",
            "k-hop needs, and has, a transformer of depth about log2 k",
            "sanford2024log",
        ),
        arms=_pointer_arms,
        measure=measure_stack,
        judge=_judge_pointers,
        rule="reproduced if on every seed the last depth solved (accuracy >= 0.99) is exactly 2, 4, 8 for L = 1, 2, "
        "3; partly if that holds for at least one L",
        ship={"L2": "pointers-stack2.safetensors"},
    ),
    Claim(
        id="scratchpad-s3",
        lab="01",
        statement="One layer that writes its products down, trained on 12 letters, solves 32: a forward pass a letter.",
        source=Source(
            "Merrill and Sabharwal 2024",
            "main results",
            "a linear number of chain-of-thought steps lets a transformer simulate any finite automaton",
            "merrill2024expressive",
        ),
        arms=_scratchpad_arms,
        measure=_measure_scratchpad,
        judge=lambda results: (
            "reproduced"
            if all(run["solved_depth"] == 32 for run in results["L1"])
            else "partly"
            if all(run["solved_depth"] > WALL[4] for run in results["L1"])
            else "not reproduced"
        ),
        rule="reproduced if one layer, trained on words up to 12 letters, writes 32 right products (accuracy >= 0.99 "
        "at each) on every seed; partly if it passes the 4-layer wall of 8",
        ship={"L1": "s3-scratchpad.safetensors"},
    ),
]
