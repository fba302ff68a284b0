"""Lab 06: a working memory of four feedback tokens against a sliding window, and what many blocks do to it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.analysis.working_memory import LinearProbe, feedback_path
from latentkit.claims.depth_wall import HELD_OUT_SEED, steps_for
from latentkit.claims.experiment import Arm, Budget, Claim, Metrics, Results
from latentkit.claims.ledger import Source, Verdict
from latentkit.models import FAM, FAMConfig
from latentkit.tasks import Passkey
from latentkit.training import FitConfig, GeometricCurriculum, PlainLoss
from latentkit.training.supervision import Carry, Loss, Supervision, cross_entropy

PASSKEY = Passkey(block=16)
FEEDBACK = FAMConfig(PASSKEY.vocab_size, PASSKEY.num_classes, num_feedback=4)
WINDOW = replace(FEEDBACK, num_feedback=0, memory_blocks=1)
BLOCKS = (1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 256)  # lengths at which accuracy is measured
FAR = BLOCKS[-1]
SOURCE = Source(
    "Hwang et al. 2024",
    "passkey retrieval",
    "fine-tuned on 2k to 18k tokens of filler, TransformerFAM recalls the key perfectly after 260k, and BSWA fails "
    "beyond its window",
    "hwang2024transformerfam",
)


def passkey_arm(
    name: str,
    config: FAMConfig,
    steps: int,
    high: int,
    batch: int = 32,
    ramp: float = 0.8,
    supervision: Supervision | None = None,
) -> Arm:
    """Passkeys of 1 to `high` blocks; the longest doubles at equal intervals over a share `ramp` of the steps."""
    return Arm(
        name=name,
        config=config,
        batches=GeometricCurriculum(PASSKEY, batch=batch, low=1, high=high, ramp=int(ramp * steps)),
        fit=FitConfig(steps=steps),
        supervision=supervision or PlainLoss(),
    )


@dataclass(frozen=True)
class StatePassing:
    """Trains on states as old as those of long sequences, at the price of short ones.

    The paper's random state passing hands the feedback of one example to the whole next batch. Here each sequence has
    its own: with probability `share`, its next training step goes on where it stood before its question, with the key
    it holds, more filler and the question again. No gradient reaches back into an earlier step.

    Attributes:
        share: probability to go on; a sequence then lasts 1 / (1 - share) training steps on average.
        ramp: steps over which the probability grows to that.
    """

    share: float
    ramp: int

    def __call__(self, model: FAM, batch: Any, generator: torch.Generator, carry: Carry) -> Loss:
        """Cross-entropy of the last block; the carry holds feedback, key, age in blocks, and steps done."""
        b, size = len(batch.tokens), model.config.block_size
        tokens, targets = batch.tokens, batch.targets
        state = model.initial_state(b)
        secret = PASSKEY.secret(batch)
        age = torch.zeros(b, 1, dtype=torch.long)
        steps = carry.get("steps", age)
        if carry:
            share = self.share * (steps / max(1, self.ramp)).clamp(max=1)
            # Only what has seen its key block by way of the feedback can go on.
            on = (torch.rand(b, 1, generator=generator) < share) & (carry["age"] > 0)
            older = PASSKEY.continued(carry["secret"], tokens.shape[1] // size, generator)
            tokens, targets = (torch.where(on, *pair) for pair in zip(older[:2], batch[:2], strict=True))
            secret, age = torch.where(on, carry["secret"], secret), torch.where(on, carry["age"], age)
            feedback = torch.where(on[..., None, None], carry["feedback"], state.feedback)
            state = state._replace(feedback=feedback, seen=on.long())
        *blocks, last = tokens.split(size, 1)
        for block in blocks:
            state, _ = model.step(state, block)
        _, output = model.step(state, last)
        loss = cross_entropy(model.decode(output), targets[:, -size:])
        kept = {"feedback": state.feedback, "secret": secret, "age": age + len(blocks), "steps": steps + 1}
        return Loss(loss, kept)


@dataclass(frozen=True)
class QuietMemory:
    """Charges for every change of the memory: cross-entropy + weight * mean square of F_tau - F_{tau-1}.

    Where a block holds nothing worth keeping, the cheapest update is then none, and the feedback need not grow.
    """

    weight: float

    def __call__(self, model: FAM, batch: Any, generator: torch.Generator, carry: Carry) -> Loss:
        """The mean is over sequences, layers, tokens and channels, and over blocks."""
        *blocks, last = batch.tokens.split(model.config.block_size, 1)
        state, changes = model.initial_state(len(batch.tokens)), []
        for block in blocks:
            before, (state, _) = state, model.step(state, block)
            changes.append((state.feedback - before.feedback).square().mean())
        _, output = model.step(state, last)
        loss = cross_entropy(model.decode(output), batch.targets[:, -last.shape[1] :])
        change = torch.stack(changes).mean() if changes else loss.new_zeros(())
        return Loss(loss + self.weight * change, carry, {"change": change.detach()})


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
    """Accuracy by number of blocks; and, of a model with feedback, how its norm grows and what can be read from it.

    One probe is fitted after every block that is looked at ("probe@T"), another once, after 8 blocks, and used after
    all ("early_probe@T"): the first says whether the key is still there, the second whether it is where it was.
    """
    memory = cast(FAM, model)
    metrics: Metrics = {f"accuracy@{t}": accuracy_at(memory, t) for t in BLOCKS}
    if not memory.config.num_feedback:
        return metrics
    train, test = far_tokens(256, seed=HELD_OUT_SEED + 1), far_tokens(128)
    secrets = [tokens[:, -PASSKEY.digits :] for tokens in (train, test)]
    paths = [feedback_path(memory, tokens, keep=BLOCKS) for tokens in (train, test)]
    early: LinearProbe | None = None
    for t in BLOCKS[BLOCKS.index(8) :]:
        learn, look = (path[BLOCKS.index(t)] for path in paths)
        probe = LinearProbe.fit(learn, secrets[0], PASSKEY.num_classes, ridge=PROBE_RIDGE)
        early = early or probe
        for name, p in (("probe", probe), ("early_probe", early)):
            metrics[f"{name}@{t}"] = round(100 * float((p.predict(look) == secrets[1]).float().mean()), 1)
    return metrics | norms(paths[1], BLOCKS)


def measure_short(model: nn.Module, arm: Arm) -> Metrics:
    """Accuracy at a few numbers of blocks, and the norm."""
    memory = cast(FAM, model)
    metrics: Metrics = {f"accuracy@{t}": accuracy_at(memory, t) for t in SHORT}
    return metrics | norms(feedback_path(memory, far_tokens(32), keep=BLOCKS), BLOCKS)


def norms(path: Float[Tensor, "k b l f d"], blocks: Collection[int]) -> Metrics:
    """Mean norm of a feedback token, by layer, after each of `blocks`; and by what factor it grows from 16 to 256."""
    by_layer = path.norm(dim=-1).mean((1, 3)).T
    metrics: Metrics = {f"norm_layer{i + 1}": [float(f"{x:.4g}") for x in row] for i, row in enumerate(by_layer)}
    first, last = (list(blocks).index(t) for t in (16, FAR))
    metrics["norm_growth"] = float(f"{(by_layer[:, last] / by_layer[:, first]).mean():.3g}")
    return metrics


SHORT = (4, 16, 64, 256)
PROBE_RIDGE = 30.0
CLEAR = 20  # points by which an arm has to be better or worse before the judges call it so


def at(results: Results, arm: str, blocks: int) -> list[float]:
    """Accuracy at a number of blocks, one value a seed."""
    return [run[f"accuracy@{blocks}"] for run in results[arm]]


STEPS = 600


def _passkey_arms(budget: Budget) -> Sequence[Arm]:
    steps = steps_for(budget, STEPS)
    return [
        passkey_arm("fam", FEEDBACK, steps, high=48, batch=24, ramp=0.9),
        passkey_arm("bswa", WINDOW, steps, high=48, batch=24, ramp=0.9),
    ]


def _judge_passkey(results: Results) -> Verdict:
    recalls = min(at(results, "fam", FAR)) >= 80
    beyond = [a for t in BLOCKS if t >= 8 for a in at(results, "bswa", t)]
    forgets = max(abs(a - 10) for a in beyond) <= 5
    if recalls and forgets:
        return "reproduced"
    return "partly" if forgets and max(at(results, "fam", FAR)) >= 80 else "not reproduced"


SHORT_STEPS = 450
PLAIN, REMEDIES = "algorithm 2", ("normed residual", "no residual", "quiet memory", "state passing")


def short_arm(budget: Budget, name: str, supervision: Supervision | None = None, **config: Any) -> Arm:
    """FAM on passkeys of up to 16 blocks."""
    return passkey_arm(
        name, replace(FEEDBACK, **config), steps_for(budget, SHORT_STEPS), high=16, supervision=supervision
    )


def _remedy_arms(budget: Budget) -> Sequence[Arm]:
    return [
        short_arm(budget, PLAIN),
        short_arm(budget, "normed residual", residual="normed"),
        short_arm(budget, "no residual", residual="none"),
        short_arm(budget, "quiet memory", QuietMemory(weight=0.02)),
        short_arm(budget, "state passing", StatePassing(share=0.8, ramp=steps_for(budget, SHORT_STEPS) * 4 // 5)),
    ]


def _judge_remedies(results: Results) -> Verdict:
    grows = all(run["norm_growth"] >= 4 for run in results[PLAIN])
    plain = at(results, PLAIN, FAR)
    # By the worst seed, and against the best without: the best of four remedies is somewhat better by chance alone.
    better = [arm for arm in REMEDIES if min(at(results, arm, FAR)) >= max(plain) + CLEAR]
    if not grows or not better:
        return "not reproduced"
    return "reproduced" if max(min(at(results, arm, FAR)) for arm in better) >= 80 > min(plain) else "partly"


def _ablation_arms(budget: Budget) -> Sequence[Arm]:
    no_curriculum = short_arm(budget, "no curriculum")
    return [
        short_arm(budget, PLAIN),
        short_arm(budget, "no gradient through time", through_time=False),
        short_arm(budget, "with a memory segment", memory_blocks=1),
        replace(no_curriculum, batches=replace(no_curriculum.batches, ramp=0)),
    ]


def _judge_ablations(results: Results) -> Verdict:
    full = min(at(results, PLAIN, 16))
    needed = [max(at(results, arm, 16)) <= full - CLEAR for arm in ("no gradient through time", "no curriculum")]
    spare = max(at(results, "with a memory segment", 16)) <= full + 5
    if all(needed) and spare:
        return "reproduced"
    return "partly" if any(needed) else "not reproduced"


CLAIMS = [
    Claim(
        id="fam-passkey",
        lab="06",
        statement="Four feedback tokens carry a key over 256 blocks of 16 tokens; a sliding window of one block has "
        "lost it after eight.",
        source=SOURCE,
        arms=_passkey_arms,
        measure=measure_memory,
        judge=_judge_passkey,
        rule="reproduced if, on every seed, FAM names at least 80% of the digits at 256 blocks (4,096 tokens, 128 "
        "sequences), and BSWA with one memory block is within 5 points of chance, 10%, at 8 blocks and all longer "
        "lengths; partly if the second holds and the first on some seed",
        ship={"fam": "passkey-fam.safetensors", "bswa": "passkey-bswa.safetensors"},
        note="Equal steps and batches, and equal parameters but for the 256 numbers of the prompt. Trained from "
        "scratch on up to 48 blocks, with the gradient through all of them; the paper fine-tunes a language model and "
        "reports no training from scratch. The probes judge nothing. All have one ridge, chosen by hand: "
        "with a tenth of it the old probe loses some points more far out, the new ones none to speak of. Those of "
        "block 256 read the feedback after the question and its answer, those of the other blocks before; on the "
        "shipped seed, probes after block 255 read no less.",
    ),
    Claim(
        id="fam-remedies",
        lab="06",
        statement="The feedback grows with every block. A remedy lets a memory trained on 16 blocks recall at 256.",
        source=Source(
            "Hwang et al. 2024",
            "random state passing",
            "passing the feedback of one training step to the next with probability 0.8 generalises best; the norm of "
            "the feedback is not discussed",
            "hwang2024transformerfam",
        ),
        arms=_remedy_arms,
        measure=measure_short,
        judge=_judge_remedies,
        rule="reproduced if, on every seed, the norm of the feedback under Algorithm 2 grows at least fourfold from "
        "block 16 to block 256, and one of four remedies names at least 80% of the digits at 256 blocks on every "
        "seed, where Algorithm 2 does not, and on its worst at least 20 points more than Algorithm 2 on its best; "
        "partly if it grows, and the worst seed of a remedy is those 20 points better at 256 blocks",
        note="Equal steps, batches and parameters, trained on up to 16 blocks. Two of the remedies bound the norm by "
        "construction, one charges for growing, the last leaves it to grow and trains on old states instead. The "
        "share of state passing is the paper's; the weight of the charge is the only one that was measured, so that "
        "this says nothing of larger ones. The margin of 20 points was added after the run; without it the verdict "
        "was the same.",
    ),
    Claim(
        id="fam-ablations",
        lab="06",
        statement="The memory needs the gradient through time and a curriculum; a memory segment is not needed.",
        source=Source(
            "Hwang et al. 2024",
            "none: ablations of our own",
            "the paper fine-tunes a language model; what training from scratch needs it does not say",
            "hwang2024transformerfam",
        ),
        arms=_ablation_arms,
        measure=measure_short,
        judge=_judge_ablations,
        rule="reproduced if, at 16 blocks, the best seed without gradient between blocks, and the best seed without a "
        "curriculum, are at least 20 points below the worst seed of Algorithm 2 with both, and the best seed with a "
        "memory segment is at most 5 points above it; partly if one of the two is those 20 points below",
        note="Equal steps and batches, on up to 16 blocks; without a curriculum the sequences are longer from the "
        "first step, which is more compute. The margins, and the judgement of the memory segment, were added after "
        "the run; without them the verdict was the same. Algorithm 2 is at 100% at 16 blocks, so that no segment "
        "could add much there.",
    ),
]
