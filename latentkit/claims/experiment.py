"""What a claim is, and how it is run.

A claim is a registered, repeatable experiment: *arms* (a model, a task, a supervision, a budget) trained over several
seeds, a measurement of each trained model, and a rule that turns the measurements into a verdict. This is the one place
where tasks, models and training meet.
"""

import dataclasses
import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from latentkit import __version__, models, paths
from latentkit.claims.ledger import Record, Source, Verdict
from latentkit.layers import count_parameters
from latentkit.training import Curriculum, FitConfig, FitResult, fit, pick_device, save_weights
from latentkit.training.checkpoint import config_to_json
from latentkit.training.supervision import PlainLoss, Supervision

Budget = Literal["cpu", "gpu"]
Metrics = dict[str, Any]
"""What is measured on one trained model: numbers, and lists of numbers (curves)."""


@dataclass(frozen=True)
class Arm:
    """One model of a claim and how it is trained.

    Attributes:
        name: short, unique within the claim.
        config: the model's config.
        batches: the task and its curriculum.
        fit: steps, learning rate and the rest; seed and device are set by the run.
        supervision: how the loss is made.
        weights: which weights are measured where `fit` averages them.
    """

    name: str
    config: Any
    batches: Curriculum
    fit: FitConfig
    supervision: Supervision = field(default_factory=PlainLoss)
    weights: Literal["averaged", "last"] = "averaged"

    def describe(self) -> dict[str, Any]:
        """The arm as json data, for the ledger."""
        batches = {k: v for k, v in vars(self.batches).items() if k != "task"}
        task = type(self.batches.task).__name__
        shown = ["steps", "learning_rate", "weight_decay", "precision"]
        shown += [k for k in ("optimiser", "schedule", "ema") if getattr(self.fit, k) != getattr(_PLAIN_FIT, k)]
        return {
            "model": config_to_json(self.config),
            "parameters": count_parameters(models.build(self.config)),
            "task": getattr(self.batches.task, "name", task),
            "batches": batches,
            "fit": {k: getattr(self.fit, k) for k in shown},
            "supervision": repr(self.supervision),
            **({"weights": self.weights} if self.fit.ema else {}),
        }

    def of_seed(self, seed: int) -> "Arm":
        """The arm as a seed runs it: a task that draws something once (a grammar, a finite sample) draws it anew."""
        task = self.batches.task
        if not hasattr(task, "for_seed"):
            return self
        return dataclasses.replace(self, batches=dataclasses.replace(self.batches, task=task.for_seed(seed)))

    def train(self, model: nn.Module, config: FitConfig, run_dir: Path, progress: bool) -> FitResult:
        """Trains `model` in place; an arm whose model learns in another way than by one `fit` says here how.

        Args:
            config: the arm's own with the seed and device of the run.
            run_dir: where a killed training finds what it has done.
        """
        return fit(model, self.batches, self.supervision, config, run_dir=run_dir, progress=progress)

    def run_folder(self, seed: int) -> str:
        """A name that two arms share exactly where their trainings are the same: such a training is run once."""
        training = [config_to_json(self.config), repr(self.batches), repr(self.fit), repr(self.supervision), seed]
        return hashlib.sha256(json.dumps(training).encode()).hexdigest()[:16]


_PLAIN_FIT = FitConfig(steps=1)


Results = Mapping[str, Sequence[Metrics]]
"""Measurements by arm, one per seed."""


@dataclass(frozen=True)
class Claim:
    """A registered experiment.

    Attributes:
        id, lab, statement, source: what is claimed, by whom, and which lab puts it to the test.
        arms: what is trained; a larger budget may mean more steps.
        measure: what is measured on a trained model, given the arm.
        judge: the verdict from all measurements.
        rule: what `judge` does, in words.
        ship: arms whose first seed's weights are kept in `data/checkpoints/` for the labs.
        data: the file that `--data` must name, in words, where the claim is about data that the course cannot ship.
        note: what a reader should know about how this differs from the paper, or about what was found.
    """

    id: str
    lab: str
    statement: str
    source: Source
    arms: Callable[[Budget], Sequence[Arm]]
    measure: Callable[[nn.Module, Arm], Metrics]
    judge: Callable[[Results], Verdict]
    rule: str
    ship: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    data: str = ""


def runs_dir() -> Path:
    """Where finished and half-trained models are kept until every claim of a command is complete."""
    return paths.writable_dir() / ".runs"


def reproduce(
    claim: Claim,
    *,
    seeds: int = 3,
    device: str = "cpu",
    budget: Budget = "cpu",
    log: Callable[[str], None] | None = None,
) -> Record:
    """Runs a claim over seeds 0..seeds-1 and returns its ledger entry; the caller saves it.

    Killed, it goes on where it was: finished and half-trained models are kept in `runs_dir()`, which the caller clears
    once everything that shares them is complete.

    Args:
        log: called with a line of text after each trained model.

    Raises:
        ValueError: no seeds.
    """
    if seeds < 1:
        raise ValueError(f"seeds={seeds}; at least 1 is needed, 3 for a spread")
    results: dict[str, list[Metrics]] = {}
    setup = {}
    arms = claim.arms(budget)
    for arm in arms:
        setup[arm.name] = arm.describe()
        for seed in range(seeds):
            torch.manual_seed(seed)
            model = models.build(arm.config)
            run = FitConfig(**{**_fields(arm.fit), "seed": seed, "device": device, "checkpoint_every": 100})
            folder = runs_dir() / arm.run_folder(seed)
            known = folder / f"{claim.id}-{arm.name}.json"
            if known.exists():  # trained and measured before this command was killed
                results.setdefault(arm.name, []).append(json.loads(known.read_text(encoding="utf-8")))
                continue
            own = arm.of_seed(seed)
            diverged, started = False, time.process_time()
            try:
                trained = own.train(model, run, folder, progress=log is not None)
            except FloatingPointError:  # a result like any other: the model is measured as it stands
                trained, diverged = FitResult(cpu_seconds=time.process_time() - started), True
            averaged = trained.averaged if arm.weights == "averaged" and not diverged else None
            model = (averaged or model).to("cpu").eval()
            metrics = {**claim.measure(model, own), "train_cpu_seconds": round(trained.cpu_seconds, 1)}
            if diverged:
                metrics["diverged"] = 1
            results.setdefault(arm.name, []).append(metrics)
            if log:
                scalars = {k: v for k, v in metrics.items() if not isinstance(v, list)}
                log(f"{claim.id}  {arm.name}  seed {seed}: {scalars}")
            if seed == 0 and arm.name in claim.ship and budget == "cpu":
                _ship(model, claim, arm, trained, paths.writable_dir() / "checkpoints" / claim.ship[arm.name])
            folder.mkdir(parents=True, exist_ok=True)  # where `fit` did not
            known.write_text(json.dumps(metrics), encoding="utf-8")
    return _record(claim, setup, results, seeds=seeds, budget=budget, device=device)


def register(claim: Claim) -> Record:
    """The ledger entry of a claim that nobody has run: its arms and its rule, no measurement; the caller saves it."""
    return _record(claim, {arm.name: arm.describe() for arm in claim.arms("cpu")}, {}, seeds=0)


def collect(results: Results) -> dict[str, dict[str, Any]]:
    """Measurements by "arm/metric": every seed's value, and the spread of a number.

    A metric that some seed lacks, such as an AUC where all answers are right, is left out.
    """
    table: dict[str, dict[str, Any]] = {}
    for arm, runs in results.items():
        for name in dict.fromkeys(name for run in runs for name in run):
            if name != "diverged" and not all(name in run for run in runs):
                continue
            values = [run.get(name, 0) for run in runs]
            entry: dict[str, Any] = {"values": values}
            if not isinstance(values[0], list):
                entry |= {"mean": float(f"{sum(values) / len(values):.4g}"), "min": min(values), "max": max(values)}
            table[f"{arm}/{name}"] = entry
    return table


def _record(
    claim: Claim, setup: dict[str, Any], results: Results, *, seeds: int, budget: Budget = "cpu", device: str = "cpu"
) -> Record:
    """The ledger entry; without seeds that of a claim that was not run."""
    return Record(
        id=claim.id,
        lab=claim.lab,
        statement=claim.statement,
        source=claim.source,
        setup=setup,
        metrics=collect(results),
        verdict=claim.judge(results) if seeds else "not tested at this scale",
        rule=claim.rule,
        note=claim.note,
        seeds=seeds,
        budget=budget,
        command=f"latentkit reproduce {claim.id} --seeds {seeds or 3}"
        + (f" --budget {budget}" if budget != "cpu" else "")
        + (" --data FILE" if claim.data else ""),
        cpu_seconds=round(sum((m["train_cpu_seconds"] for runs in results.values() for m in runs), 0.0), 1),
        environment={
            "latentkit": __version__,
            "torch": torch.__version__.split("+")[0],
            "python": platform.python_version(),
            "device": str(pick_device(device)),
            "threads": torch.get_num_threads(),
        },
    )


def _fields(config: FitConfig) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}


def _ship(model: nn.Module, claim: Claim, arm: Arm, trained: FitResult, path: Path) -> None:
    every = max(1, len(trained.losses) // 100)
    save_weights(
        model,
        path,
        claim=claim.id,
        arm=arm.name,
        seed=0,
        command=f"latentkit reproduce {claim.id}",
        train_cpu_seconds=round(trained.cpu_seconds, 1),
        losses={"every": every, "values": [round(x, 4) for x in trained.losses[::every]]},
    )
