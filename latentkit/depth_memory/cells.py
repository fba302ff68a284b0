"""One cell of the depth-memory map: an architecture trained on a task, one seed after the other.

`run` may be killed at any instant and called again, and several processes may run it at once. A cell belongs to the
process that holds its lock, which the system takes back when that process ends, however it ends. A training goes on
from its last checkpoint; a seed that is done is written into the cell's file, which is replaced as a whole.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from latentkit import __version__, models, paths
from latentkit.claims.experiment import Arm
from latentkit.depth_memory.columns import Column, Shown, chance, held_out_batch
from latentkit.depth_memory.results import path_of
from latentkit.depth_memory.rows import CURVE_POINTS, SEGMENTS, Row, arm_for
from latentkit.layers import count_parameters
from latentkit.models import LoopedConfig
from latentkit.recurrence import DepthRecurrent, unroll
from latentkit.tasks import Batch
from latentkit.training import FitResult, fit
from latentkit.training.fit import step_generator
from latentkit.training.supervision import PlainLoss

Log = Callable[[str], None]
WATCHED = 64  # held-out examples of a point of the learning curve
COUNTED_STEPS = 5  # of a training, whose operations are counted


def folder() -> Path:
    """Where the cells are written."""
    return paths.writable_dir() / "map"


@torch.no_grad()
def score(model: nn.Module, column: Column, arm: Arm, examples: int | None = None) -> float:
    """Share of the counted positions that are right, of the held-out examples or the first of them.

    Raises:
        FloatingPointError: what the model says is not finite.
    """
    batch = Batch(*(x[:examples] for x in held_out_batch(column)))
    shown = cast(Shown, arm.batches.task).show(batch)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # EqR draws its start
        if isinstance(arm.supervision, PlainLoss):
            logits = model(shown.tokens)
        else:
            passes = column.tested if isinstance(arm.config, LoopedConfig) else SEGMENTS
            logits = unroll(cast(DepthRecurrent, model), shown.tokens, passes, keep="last").logits[-1]
    if not bool(logits.isfinite().all()):
        raise FloatingPointError("the logits are not finite")
    counted = column.counted(shown)
    return round(float((logits.argmax(-1) == shown.targets)[counted].double().mean()), 4)


def count_flops(arm: Arm) -> float:
    """Floating-point operations of the whole training: matrix products, forward and backward, as torch counts them.

    Counted at a few steps, evenly spread, since lengths and passes differ from step to step.
    """
    model = models.build(arm.config)
    total = 0
    with torch.random.fork_rng():
        for i in range(COUNTED_STEPS):
            step = int((i + 0.5) * arm.fit.steps / COUNTED_STEPS)
            generator = step_generator(0, step)
            batch = arm.batches(step, generator)
            # The fused attention of the CPU is not known to the counter; the plain one is.
            with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
                arm.supervision(model, batch, generator, {}).value.backward()
            total += counter.get_total_flops()
    return float(f"{total / COUNTED_STEPS * arm.fit.steps:.3g}")


def training_id(arm: Arm, column: Column) -> str:
    """A name for what a cell's seeds have in common: they are done only if they were trained and scored like this."""
    scored = [arm.run_folder(0), column.scored, column.tested, repr(column.task), WATCHED, SEGMENTS]
    return hashlib.sha256(json.dumps(scored).encode()).hexdigest()[:16]


def run_seed(column: Column, arm: Arm, seed: int, work: Path) -> dict[str, Any]:
    """Trains and scores one seed, from where it was; `work` keeps what a killed training needs."""
    points = {round((i + 1) * arm.fit.steps / CURVE_POINTS) for i in range(CURVE_POINTS)} - {0}
    kept = work / "curve.json"
    curve: dict[str, float] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}

    def watch(step: int, result: FitResult) -> None:
        if step in points:
            curve[str(step)] = score((result.averaged or model).eval(), column, arm, WATCHED)
            write_json(kept, curve, work)
            model.train()

    torch.manual_seed(seed)
    model = models.build(arm.config)
    config = replace(arm.fit, seed=seed, checkpoint_every=max(1, arm.fit.steps // 8))
    found: dict[str, Any] = {"status": "ok", "reason": ""}
    try:
        trained = fit(model, arm.batches, arm.supervision, config, run_dir=work, progress=False, watch=watch)
        found["score"] = score((trained.averaged or model).eval(), column, arm)
        found["cpu_seconds"] = round(trained.cpu_seconds, 1)
    except FloatingPointError as error:  # a result like any other
        found |= {"status": "failed", "reason": str(error), "score": None, "cpu_seconds": None}
    found["curve"] = [[int(step), curve[step]] for step in sorted(curve, key=int)]
    return found


@dataclass(frozen=True)
class Progress:
    """What `run` has done: seeds run by this call, those it left to another process, and those that broke."""

    ran: int
    left: int
    broken: int


def run(
    rows: Sequence[Row],
    columns: Sequence[Column],
    seeds: Sequence[int],
    *,
    target: Path | None = None,
    log: Log = print,
) -> Progress:
    """Runs what is not done yet: all cells with the first seed, then with the next; writes them into `target`."""
    target = target or folder()
    units = [(seed, column, row) for seed in seeds for column in columns for row in rows]
    done = ran = left = broken = 0
    for seed, column, row in units:
        path = path_of(target, row.id, column.id)
        with _lock(target / "runs" / f"{path.stem}.lock") as mine:
            if not mine:
                left += 1
                continue
            try:
                said = _run_unit(path, row, column, seed)
            except Exception as error:  # one broken cell must not end a run of hours; it stays "not run"
                broken += 1
                log(f"{row.id} x {column.id}, seed {seed}: {type(error).__name__}: {error}")
                continue
        done += 1
        if said:
            ran += 1
            log(f"[{done}/{len(units)}] {said}")
    return Progress(ran, left, broken)


def _run_unit(path: Path, row: Row, column: Column, seed: int) -> str:
    """One seed of a cell, unless it is done; what came of it, for the log."""
    cell = read_cell(path, row, column)
    if cell["status"] == "not applicable":
        write_json(path, cell, path.parent / "runs")
        return ""
    if str(seed) in cell["seeds"]:
        return ""
    arm = arm_for(row, column)
    work = path.parent / "runs" / f"{path.stem}-{seed}-{cell['training']}"
    found = run_seed(column, arm, seed, work)
    cell["seeds"] = dict(sorted({**cell["seeds"], str(seed): found}.items(), key=lambda item: int(item[0])))
    write_json(path, cell, path.parent / "runs")
    shutil.rmtree(work, ignore_errors=True)
    score_ = f"{found['score']:.3f}" if found["status"] == "ok" else f"failed ({found['reason']})"
    return (
        f"{row.id} x {column.id}, seed {seed}: {score_} (chance {cell['chance']:.3f}), {cell['parameters']:,} "
        f"parameters, {cell['flops']:.2g} FLOP, {found['cpu_seconds'] or 0:.1f} CPU s"
    )


def read_cell(path: Path, row: Row, column: Column) -> dict[str, Any]:
    """The cell's file; a fresh one where there is none, or where it was trained otherwise than it would be now."""
    fresh: dict[str, Any] = {"row": row.id, "column": column.id, "status": "", "reason": ""}
    if reason := row.refuses(column):
        return fresh | {"status": "not applicable", "reason": reason, "seeds": {}}
    arm = arm_for(row, column)
    training = training_id(arm, column)
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.get("training") == training:
            return found
    about = arm.describe()
    return fresh | {
        "training": training,
        "parameters": count_parameters(models.build(arm.config)),
        "flops": count_flops(arm),
        "steps": arm.fit.steps,
        "batch": arm.batches.batch,
        "chance": chance(column),
        "difficulty": column.difficulty,
        "setup": {k: v for k, v in about.items() if k != "parameters"},
        "command": f"latentkit map --rows {row.id} --columns {column.id}",
        "environment": {
            "latentkit": __version__,
            "torch": torch.__version__.split("+")[0],
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
        },
        "seeds": {},
    }


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Whether the file could be locked; held while inside, and by nobody once this process is gone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def write_json(path: Path, data: dict[str, Any], scratch: Path) -> None:
    """Replaces the file as a whole, by way of `scratch`; one line for each of its entries."""
    lines = (f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in data.items())
    scratch.mkdir(parents=True, exist_ok=True)
    temporary = scratch / f"{path.name}.{os.getpid()}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
