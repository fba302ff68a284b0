"""Lab 11's open questions: experiments that are registered, can be run, and have not been. The next one is yours.

Each has its rule written down already. Its ledger entry says "not tested at this scale" until somebody runs
`latentkit reproduce ID` (minutes to hours on a CPU; `--budget gpu --device cuda` gives ten times the steps).
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from latentkit.claims.composition import (
    A5_STEPS,
    CELLS,
    MOST,
    PASSES,
    STEPS,
    a5_arm,
    accuracy,
    facts_arm,
    judge_cells,
    loop,
    measure,
    measure_a5,
)
from latentkit.claims.depth_wall import steps_for
from latentkit.claims.experiment import Arm, Budget, Claim, Metrics, Results
from latentkit.claims.ledger import Source, Verdict
from latentkit.tasks import Composition

_KOHLI = ("Kohli et al. 2026", "kohli2026loop")


def every_seed(results: Results, metric: str, bar: float, arms: Sequence[str]) -> Verdict:
    """Reproduced if every seed of some arm reaches the bar, partly if some seed does."""
    shares = [[run[metric] for run in results[arm]] for arm in arms]
    if any(min(runs) >= bar for runs in shares):
        return "reproduced"
    return "partly" if any(max(runs) >= bar for runs in shares) else "not reproduced"


DECAYS = (0.1, 1.0)


def _grokking_arms(budget: Budget) -> Sequence[Arm]:
    plain = facts_arm("plain", CELLS["shared-plain"], steps_for(budget, 10 * STEPS))
    return [
        replace(plain, name=f"plain-decay-{decay:g}", fit=replace(plain.fit, weight_decay=decay)) for decay in DECAYS
    ]


# Kohli et al. train on chains of up to five hops.
FIVE = 5
DEEP = (5, 7, 10)


def _deep_arms(budget: Budget) -> Sequence[Arm]:
    steps = steps_for(budget, 5 * STEPS)
    return [facts_arm(name, CELLS[f"shared-{name}"], steps, longest=FIVE) for name in ("reread", "plain")]


def measure_deep(model: nn.Module, arm: Arm) -> Metrics:
    """ID chains of 5, 7 and 10 hops after each number of passes."""
    shares = {k: accuracy(model, arm.batches.task.chains([False] * k), PASSES) for k in DEEP}
    return {f"id{k}@{t}": share for k in DEEP for t, share in zip(PASSES, shares[k], strict=True)}


def _judge_deep(results: Results) -> Verdict:
    runs = results["reread"]
    if min(run["id10@16"] for run in runs) >= 0.8:
        return "reproduced"
    return "partly" if min(run["id7@16"] for run in runs) >= 0.8 else "not reproduced"


LARGE = Composition(entities=200, relations=12)


def _large_arms(budget: Budget) -> Sequence[Arm]:
    return [
        facts_arm(
            name,
            loop(reread=config.reread, sets=config.sets, d_model=128, task=LARGE),
            steps_for(budget, 10 * STEPS),
            LARGE,
        )
        for name, config in CELLS.items()
    ]


SHARES = (0.25, 0.1, 0.05)


def _coverage_arms(budget: Budget) -> Sequence[Arm]:
    arms = []
    for share in SHARES:
        task = Composition(LARGE.entities, LARGE.relations, ood=share)
        for name, sets in (("loop", 1), ("stack", MOST)):
            config = loop(reread=False, sets=sets, d_model=128, task=task)
            arms.append(facts_arm(f"{name}-{share:g}", config, steps_for(budget, 10 * STEPS), task))
    return arms


def _a5_arms(budget: Budget) -> Sequence[Arm]:
    steps = steps_for(budget, 10 * A5_STEPS)
    return [a5_arm(f"plain-{d}", reread=False, steps=steps, d_model=d) for d in (64, 128)]


CLAIMS = [
    Claim(
        id="open-grokking",
        lab="11",
        statement="A loop that never re-reads its state composes unseen facts, too, once it is trained ten times as "
        "long.",
        source=Source(
            _KOHLI[0],
            "abstract",
            "systematic generalisation emerges in a three-stage grokking process, long after memorisation",
            _KOHLI[1],
        ),
        arms=_grokking_arms,
        measure=measure,
        judge=lambda results: every_seed(results, "ood2@4", 0.8, [f"plain-decay-{d:g}" for d in DECAYS]),
        rule="reproduced if with one of two weight decays every seed is right on at least 0.8 of the chains of two OOD "
        "facts after four passes; partly if some seed is",
        note="Half an hour of CPU. The papers train longer still: --budget gpu is a hundred times lab 11's steps.",
    ),
    Claim(
        id="open-deeper-hops",
        lab="11",
        statement="Trained on chains of up to five hops, the re-reading loop follows ten.",
        source=Source(
            _KOHLI[0],
            "abstract",
            "training on up to 5 hops, generalising to 10, by more iterations at inference",
            _KOHLI[1],
        ),
        arms=_deep_arms,
        measure=measure_deep,
        judge=_judge_deep,
        rule="reproduced if on every seed of the re-reading loop at least 0.8 of the ID chains of ten hops are right "
        "after 16 passes; partly if that holds for seven hops",
        note="Half an hour of CPU. The plain loop is measured beside it, and is not judged.",
    ),
    Claim(
        id="open-larger-world",
        lab="11",
        statement="The 2x2 holds in a world of ten times as many facts: 200 people, 12 relations.",
        source=Source(
            "Fu et al. 2026",
            "abstract",
            "a loop that carries embeddings composes almost perfectly, on symbolic and on language-like tasks",
            "fu2026discoloop",
        ),
        arms=_large_arms,
        measure=measure,
        judge=judge_cells,
        rule="the rule of composition-2x2, without its narrow arms: reproduced if after four passes every seed of the "
        "shared loop with re-reading is right on at least 0.8 of the chains of two OOD facts and no seed of any other "
        "cell on 0.35; partly if its worst seed is above the best of all others",
        note="Hours of CPU, minutes of GPU; width 128.",
    ),
    Claim(
        id="open-coverage",
        lab="11",
        statement="Data does what re-reading does: where 95% of the facts are seen in chains, a plain loop composes "
        "the rest.",
        source=Source(
            "Wang et al. 2024",
            "abstract and data distribution",
            "how far composition generalises depends on the training data's distribution; out of distribution it "
            "failed",
            "wang2024grokked",
        ),
        arms=_coverage_arms,
        measure=measure,
        judge=lambda results: every_seed(results, "ood2@4", 0.8, [f"loop-{SHARES[-1]:g}"]),
        rule="reproduced if, with 0.05 of the facts OOD, every seed of the plain loop is right on at least 0.8 of the "
        "chains of two OOD facts after four passes; partly if some seed is. A stack of unshared layers is measured "
        "beside it",
        note="Hours of CPU, minutes of GPU; 200 people, 12 relations, width 128. With few OOD facts there are few "
        "chains of two of them.",
    ),
    Claim(
        id="open-a5-longer",
        lab="11",
        statement="The plain loop solves A5 words of 32 letters after ten times the training, at its width or at twice "
        "that.",
        source=Source(
            "Merrill and Sabharwal 2025",
            "regular languages",
            "a block looped log n times recognises every regular language; nothing is said of learning it",
            "merrill2025little",
        ),
        arms=_a5_arms,
        measure=measure_a5,
        judge=lambda results: every_seed(results, "solved_depth@40", 32.0, ["plain-64", "plain-128"]),
        rule="reproduced if at one of two widths every seed solves 32 letters after 40 passes (accuracy >= 0.99); "
        "partly if some seed does",
        note="Hours of CPU.",
    ),
]
