"""Lab 06: a working memory of four feedback tokens against a sliding window, and what becomes of it over many blocks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Int
from torch import Tensor, nn

from latentkit.analysis.working_memory import LinearProbe, feedback_path
from latentkit.claims.depth_wall import HELD_OUT_SEED, rounded, steps_for
from latentkit.claims.experiment import Arm, Budget, Claim, Metrics, Results
from latentkit.claims.ledger import Source, Verdict
from latentkit.models import FAM, FAMConfig
from latentkit.tasks import Passkey
from latentkit.training import FitConfig, GeometricCurriculum

PASSKEY = Passkey(block=16)
FEEDBACK = FAMConfig(PASSKEY.vocab_size, PASSKEY.num_classes, num_feedback=4)
WINDOW = replace(FEEDBACK, num_feedback=0, memory_blocks=1)
BLOCKS = (1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 256)  # lengths at which accuracy is measured
FAR = BLOCKS[-1]
SOURCE = Source(
    "Hwang et al. 2024",
    "passkey retrieval (figure 4)",
    "fine-tuned on 2k to 18k tokens of filler, TransformerFAM recalls the key perfectly after 260k, and BSWA fails "
    "beyond its window",
    "hwang2024transformerfam",
)


def passkey_arm(
    name: str, config: FAMConfig, steps: int, high: int, batch: int = 32, ramp: float = 0.8
) -> Arm:
    """Passkeys of 1 to `high` blocks; the longest that is drawn doubles at equal intervals over a share of the steps."""
    return Arm(
        name=name,
        config=config,
        batches=GeometricCurriculum(PASSKEY, batch=batch, low=1, high=high, ramp=int(ramp * steps)),
        fit=FitConfig(steps=steps),
    )


def far_tokens(sequences: int = 128, blocks: int = FAR, seed: int = HELD_OUT_SEED) -> Int[Tensor, "b n"]:
    """Held-out passkeys, as long as can be."""
    return PASSKEY.sample(sequences, blocks, torch.Generator().manual_seed(seed)).tokens


@torch.no_grad()
def accuracy_at(model: FAM, blocks: int, sequences: int = 128) -> float:
    """Percent of right digits of held-out passkeys of so many blocks."""
    right = []
    for part in range(sequences // 32):  # a few at a time: 4,096 tokens each
        batch = PASSKEY.sample(32, blocks, torch.Generator().manual_seed(HELD_OUT_SEED + 1000 * part))
        right.append(float(PASSKEY.score(model(batch.tokens), batch)[-1]))
    return round(100 * sum(right) / len(right), 1)


def measure_memory(model: nn.Module, arm: Arm) -> Metrics:
    """Accuracy by number of blocks; and, of a model with feedback, how its norm grows and what can be read from it."""
    memory = cast(FAM, model)
    metrics: Metrics = {f"accuracy@{t}": accuracy_at(memory, t) for t in BLOCKS}
    if memory.config.num_feedback:
        metrics |= _measure_feedback(memory)
    return metrics


def _measure_feedback(model: FAM) -> Metrics:
    """Mean norm of a feedback token by layer and block; and the key's digits, read by linear probes.

    One probe is fitted after every block that is looked at ("probe@T"), another once, after 8 blocks, and used after
    all ("early_probe@T"): the first says whether the key is still there, the second whether it is where it was.
    """
    at = [t for t in BLOCKS if t >= 8]
    train, test = far_tokens(256, seed=HELD_OUT_SEED + 1), far_tokens(128, seed=HELD_OUT_SEED)
    secrets = [tokens[:, -PASSKEY.digits :] for tokens in (train, test)]
    paths = [feedback_path(model, tokens, keep=BLOCKS) for tokens in (train, test)]
    norms = paths[1].norm(dim=-1).mean((1, 3))  # [blocks, layers]
    metrics: Metrics = {f"norm_layer{i + 1}": [float(f"{x:.4g}") for x in norms[:, i]] for i in range(norms.shape[1])}
    metrics["norm_growth"] = float(f"{(norms[-1] / norms[BLOCKS.index(8)]).mean():.3g}")
    early: LinearProbe | None = None
    for t in at:
        learn, look = (path[BLOCKS.index(t)] for path in paths)
        probe = LinearProbe.fit(learn, secrets[0], PASSKEY.num_classes, ridge=PROBE_RIDGE)
        early = early or probe
        for name, p in (("probe", probe), ("early_probe", early)):
            metrics[f"{name}@{t}"] = round(100 * float((p.predict(look) == secrets[1]).float().mean()), 1)
    return metrics


PROBE_RIDGE = 30.0


def at(results: Results, arm: str, blocks: int) -> list[float]:
    """Accuracy at a number of blocks, one value a seed."""
    return [run[f"accuracy@{blocks}"] for run in results[arm]]


STEPS = 560


def _passkey_arms(budget: Budget) -> Sequence[Arm]:
    steps = steps_for(budget, STEPS)
    return [
        passkey_arm("fam", FEEDBACK, steps, high=64, batch=24, ramp=0.9),
        passkey_arm("bswa", WINDOW, steps, high=64, batch=24, ramp=0.9),
    ]


def _judge_passkey(results: Results) -> Verdict:
    recalls = min(at(results, "fam", FAR)) >= 80
    beyond = [a for t in BLOCKS if t >= 8 for a in at(results, "bswa", t)]
    forgets = max(abs(a - 10) for a in beyond) <= 5
    if recalls and forgets:
        return "reproduced"
    return "partly" if forgets and max(at(results, "fam", FAR)) >= 80 else "not reproduced"
