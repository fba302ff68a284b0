"""Lab 03: where loops come to rest, whether rest is right, and what stopping early saves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.analysis.fixed_points import distance, growth, layer_run, random_start
from latentkit.claims.depth_wall import POINTER_BLOCK, S3, held_out, rounded, steps_for
from latentkit.claims.experiment import Arm, Budget, Claim, Metrics, Results
from latentkit.claims.ledger import Source, Verdict
from latentkit.claims.looping import LOOP, STEPS, loop_arm
from latentkit.models import Looped, LoopedConfig
from latentkit.recurrence import ArgmaxStable, DepthRecurrent, HaltingRule, OutputKL, RelativeStep, advance, unroll
from latentkit.tasks import PointerChasing, WordProblem
from latentkit.training import Curriculum, FinalLoss, FitConfig, UniformPasses
from latentkit.training.supervision import Batch, Carry, Loss, PassSchedule, Supervision, cross_entropy

LETTERS = 12  # as many as training saw
FULL_DEPTH = 16  # as many passes as training ran at most
THRESHOLDS = (0.3, 0.1, 0.03, 0.01)
AT_REST = 128  # passes after which next to nothing moves any more
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, AT_REST)  # passes after which accuracy is recorded
POINTERS = PointerChasing(nodes=10, chains=2)  # small: two of these are trained live, in the lab


@dataclass(frozen=True)
class RandomStart:
    """Loss on the last pass of a run that starts at a state drawn from N(0, scale^2), not at the model's own start."""

    passes: PassSchedule
    scale: float = 1.0

    def __call__(self, model: DepthRecurrent, batch: Batch, generator: torch.Generator, carry: Carry) -> Loss:
        """Cross-entropy after T passes."""
        passes = self.passes(batch, generator)
        state = random_start(model, batch.tokens, generator, self.scale)
        state = advance(model, state, model.encode(batch.tokens), passes)
        return Loss(cross_entropy(model.decode(state), batch.targets), carry)


def two_layer_arm(budget: Budget, name: str = "two-layer") -> Arm:
    """A loop of two blocks; it may take two letters a pass, so it gets half of the passes."""
    config = replace(LOOP, core_layers=2)
    return loop_arm(name, config, FinalLoss(UniformPasses(2, 8)), steps=steps_for(budget, STEPS))


def pointer_arm(budget: Budget, name: str, supervision: Supervision) -> Arm:
    """A loop on ten pointers, where four doublings reach every root."""
    nodes = POINTERS.nodes
    return Arm(
        name=name,
        config=LoopedConfig(POINTERS.vocab_size, POINTERS.num_classes, block=POINTER_BLOCK, num_positions=nodes),
        batches=Curriculum(POINTERS, batch=48, low=nodes, high=nodes),
        fit=FitConfig(steps=steps_for(budget, 500), weight_decay=0.1),
        supervision=supervision,
    )


def _word_arms(budget: Budget) -> list[Arm]:
    return [loop_arm("loop", steps=steps_for(budget, STEPS)), two_layer_arm(budget)]


def _pointer_arms(budget: Budget) -> list[Arm]:
    return [
        pointer_arm(budget, "pointers", FinalLoss(UniformPasses(2, 6))),
        pointer_arm(budget, "pointers-random-start", RandomStart(UniformPasses(2, 6))),
    ]


def correlation(passes: Float[Tensor, "b n"], position: Int[Tensor, "b n"]) -> float:
    """Pearson's correlation of exit pass and position; 0 where all exit at once."""
    if passes.std() == 0:
        return 0.0
    return float(torch.corrcoef(torch.stack([passes.flatten(), position.flatten().float()]))[0, 1])


def measure_exit(model: nn.Module, arm: Arm) -> Metrics:
    """Accuracy and passes over letters 1 to 12: all passes, and three rules that freeze each letter by itself."""
    loop, batch, letters = cast(DepthRecurrent, model), held_out(S3, LETTERS), slice(1, None)
    full = unroll(loop, batch.tokens, FULL_DEPTH)
    right = (full.predictions == batch.targets)[..., letters].float().mean((1, 2))
    smallest = 1 + int((right >= right[-1] - 0.002).int().argmax())
    metrics: Metrics = {
        "accuracy@full": round(right[-1].item(), 4),
        "accuracy_by_pass": rounded(right),
        "smallest_depth": smallest,
    }
    rules: dict[str, HaltingRule] = {f"@{tau}": RelativeStep(tau) for tau in THRESHOLDS} | {
        "@kl": OutputKL(),
        "@argmax": ArgmaxStable(),
    }
    for name, rule in rules.items():
        run = unroll(loop, batch.tokens, FULL_DEPTH, keep="last", halting=rule)
        used = run.passes_used[:, letters].float()
        metrics[f"accuracy{name}"] = round((run.predictions[-1] == batch.targets)[:, letters].float().mean().item(), 4)
        metrics[f"passes{name}"] = round(used.mean().item(), 2)
        metrics[f"correlation{name}"] = round(correlation(used, batch.depth[:, letters]), 3)
        metrics[f"passes_by_letter{name}"] = [round(p, 2) for p in used.mean(0).tolist()]
    for tau in THRESHOLDS:  # a sequence that is run as one ends when its last letter does
        settled = (full.residuals[..., letters] < tau).all(-1)
        ends = torch.where(settled.any(0), settled.int().argmax(0) + 1, FULL_DEPTH)
        metrics[f"passes_whole_word@{tau}"] = round(ends.float().mean().item(), 2)
    metrics["saving_of_longest@0.1"] = round(1 - metrics["passes@0.1"] / FULL_DEPTH, 3)
    metrics["saving_of_smallest@0.1"] = round(1 - metrics["passes@0.1"] / smallest, 3)
    return metrics


def _cheap_and_right(run: Metrics) -> bool:
    right = run["accuracy@0.1"] >= run["accuracy@full"] - 0.002
    return right and run["passes@0.1"] <= 9 and run["correlation@0.1"] >= 0.9


def _judge_exit(results: Results) -> Verdict:
    met = {arm: [_cheap_and_right(run) for run in runs] for arm, runs in results.items()}
    if all(all(runs) for runs in met.values()):
        return "reproduced"
    return "partly" if any(met["loop"]) else "not reproduced"


def measure_rest(model: nn.Module, arm: Arm) -> Metrics:
    """Run until nothing moves, from the model's own start and from a random one: same point? same answers? right?"""
    loop, task = cast(DepthRecurrent, model), arm.batches.task
    batch = held_out(task, LETTERS if isinstance(task, WordProblem) else task.nodes, examples=256)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        elsewhere = random_start(loop, batch.tokens, generator)
    own = unroll(loop, batch.tokens, AT_REST)
    other = unroll(loop, batch.tokens, AT_REST, keep="last", state=elsewhere)
    right = (own.predictions == batch.targets).float().mean((1, 2))
    apart = distance(other.states[-1], own.states[-1])
    few = slice(0, 32)
    factors = growth(model, batch.tokens[few], own.states[-1][few], 80, generator).log()
    return {
        "best_accuracy": round(right.max().item(), 4),
        "best_passes": 1 + int(right.argmax()),
        "rest_accuracy": round(right[-1].item(), 4),
        "rest_accuracy_random_start": round((other.predictions[-1] == batch.targets).float().mean().item(), 4),
        "same_answers": round((other.predictions[-1] == own.predictions[-1]).float().mean().item(), 4),
        "same_point": round((apart < 0.01).float().mean().item(), 4),
        "distance_median": float(f"{apart.median():.2g}"),
        "residual_median": float(f"{own.residuals[-1].median():.2g}"),
        "residual_mean": float(f"{own.residuals[-1].mean():.2g}"),
        "growth": round(factors[60:].mean(0).exp().median().item(), 3),
        "growth_max": round(factors[60:].mean(0).exp().max().item(), 3),
        "growth_first_12_max": round(factors[:12].mean(0).exp().max().item(), 3),
        "accuracy_at_counts": rounded(right[[t - 1 for t in COUNTS]]),
    }


def _independent(run: Metrics) -> bool:
    return run["same_answers"] >= 0.99


def _keeps(run: Metrics) -> bool:
    return run["rest_accuracy"] >= run["best_accuracy"] - 0.01


def _judge_path_independence(results: Results) -> Verdict:
    together = [_independent(run) == _keeps(run) for runs in results.values() for run in runs]
    if all(together):
        return "reproduced"
    return "partly" if sum(together) >= 5 / 6 * len(together) else "not reproduced"


def _judge_random_start(results: Results) -> Verdict:
    plain, random = results["pointers"], results["pointers-random-start"]
    cured = all(_independent(run) and _keeps(run) for run in random)
    if cured and not any(_independent(run) or _keeps(run) for run in plain):
        return "reproduced"
    better = all(r["rest_accuracy"] > p["rest_accuracy"] for r, p in zip(random, plain, strict=True))
    return "partly" if better else "not reproduced"


def _cycle_arms(budget: Budget) -> Sequence[Arm]:
    trained = two_layer_arm(budget)
    # One step, at a fiftieth of the learning rate: as good as untrained.
    return [trained, replace(trained, name="untrained", fit=replace(trained.fit, steps=steps_for(budget, 1)))]


def measure_cycle(model: nn.Module, arm: Arm) -> Metrics:
    """After 64 passes: how far each layer's direction still moves, how far the two layers' directions are apart."""
    loop, batch = cast(Looped, model), held_out(S3, LETTERS, examples=64)
    run = layer_run(loop, batch.tokens, 64)
    used = unroll(loop, batch.tokens, 64, keep="last", halting=RelativeStep(0.1)).passes_used
    return {
        "layer_step": float(f"{run.steps[-1].mean((1, 2)).max():.2g}"),
        "layer_step_by_pass": [float(f"{step:.2g}") for step in run.steps.mean((1, 2, 3)).tolist()],
        "layer_gap": round(run.gaps[-1].mean().item(), 3),
        "attention_step": float(f"{run.attention[-2:].diff(dim=0).abs().sum(-1).mean():.2g}"),
        "correlation@0.1": round(correlation(used[:, 1:].float(), batch.depth[:, 1:]), 3),
    }


def _cyclic(run: Metrics) -> bool:
    return run["layer_step"] < 1e-4 and run["layer_gap"] >= 0.1


def _judge_cycle(results: Results) -> Verdict:
    if not all(map(_cyclic, results["two-layer"])):
        return "not reproduced"
    return "partly" if any(map(_cyclic, results["untrained"])) else "reproduced"


CLAIMS = [
    Claim(
        id="token-exit-s3",
        lab="03",
        statement="Stopping each letter at a relative step of 0.1 costs at most 0.2 points of accuracy, takes at most "
        "9 passes a letter where full depth is 16, and gives late letters more passes.",
        source=Source(
            "Geiping et al. 2025",
            "zero-shot adaptive compute",
            "a token may stop once its latent state, or its output, no longer changes, with little loss",
            "geiping2025scaling",
        ),
        arms=_word_arms,
        measure=measure_exit,
        judge=_judge_exit,
        rule="for letters 1 to 12, frozen one by one, on every seed of a loop of one block and of one of two: accuracy "
        "within 0.2 points of 16 passes, at most 9 passes a letter, correlation of exit pass and position at least "
        "0.9: reproduced; partly if some seed of the one-block loop meets all three",
        note="The bar of 9 passes was set on a prototype seed that took 8.7.",
    ),
    Claim(
        id="path-independence",
        lab="03",
        statement="Where a loop ends at the same answers from any start, rest is right: more passes cost nothing. "
        "Where it does not, more passes cost answers.",
        source=Source(
            "Anil et al. 2022",
            "abstract",
            "performance on harder problems strongly correlates with path independence, the tendency to end in the "
            "same steady state whatever the start",
            "anil2022path",
        ),
        arms=lambda budget: [*_word_arms(budget), *_pointer_arms(budget)],
        measure=measure_rest,
        judge=_judge_path_independence,
        rule="of a model run for 128 passes we ask two things: from a random start, are at least 99% of its answers "
        "the same (independent)? and is its accuracy within 1 point of that after its best number of passes (keeps)? "
        "reproduced if on all twelve models (four loops, three seeds) both or neither hold; partly if on ten",
        note="The paper correlates accuracy on harder inputs with an alignment of end states; this asks the same of "
        "inputs as long as in training, over the number of passes.",
    ),
    Claim(
        id="random-start-pointers",
        lab="03",
        statement="Training from random starts makes the pointer loop independent of its start, and its answers at "
        "rest right.",
        source=Source(
            "Anil et al. 2022",
            "interventions",
            "interventions that promote path independence improve generalisation, those that penalise it harm it",
            "anil2022path",
        ),
        arms=_pointer_arms,
        measure=measure_rest,
        judge=_judge_random_start,
        rule="reproduced if with random starts in training every seed is independent and keeps (both as in "
        "path-independence), and without them no seed is either; partly if on every seed the accuracy at rest is "
        "higher with them",
    ),
    Claim(
        id="cyclic-layers-s3",
        lab="03",
        statement="In a loop of two blocks each layer settles at a point of its own, so that a pass runs through a "
        "cycle; training makes it so.",
        source=Source(
            "Blayney et al. 2026",
            "abstract",
            "for many of the studied models each layer in the cycle converges to a distinct fixed point",
            "blayney2026mechanistic",
        ),
        arms=_cycle_arms,
        measure=measure_cycle,
        judge=_judge_cycle,
        rule="cyclic: after 64 passes each layer's direction moves by less than 1e-4 a pass while the two are at least "
        "0.1 apart; reproduced if every trained seed is cyclic and no untrained one; partly if untrained ones are too",
        note="The paper has no untrained control. Distinct points alone are no sign of learning: a layer that adds "
        "anything to its input at all has them.",
        ship={"two-layer": "s3-loop2.safetensors"},
    ),
]
