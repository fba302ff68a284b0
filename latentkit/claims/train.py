"""`latentkit train`: one training by name, on any device, on one process or several.

OUT/run.json              what is trained on what
OUT/checkpoint/           what `--resume` goes on from
OUT/metrics.jsonl         a line every 10 steps, and one for every evaluation on held-out examples
OUT/weights.safetensors   the trained model (its averaged weights), for `latentkit evaluate --model`
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentkit.tasks import Batch
    from latentkit.training import Curriculum

LINE_EVERY = 10  # steps from one line of metrics to the next
HELD_OUT = 500  # examples of an evaluation


def add_parser(subparsers: Any, name: str) -> None:
    """Adds the command `name`."""
    from latentkit.claims.presets import PRESETS

    parser = subparsers.add_parser(
        name,
        help="train a model by name",
        description=f"Trains one of: {', '.join(PRESETS)}. Several processes: accelerate launch -m latentkit train ...",
    )
    parser.add_argument("preset", metavar="PRESET", help="NAME at the labs' size, NAME-paper at the paper's")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default: the preset's on cuda, else fp32")
    parser.add_argument("--compile", action="store_true", help="compile the model's step first; takes a minute")
    parser.add_argument("--steps", type=int, metavar="N", help="default: the preset's")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the data and all else (default 0)")
    parser.add_argument("--data", type=Path, metavar="FILE", help="the puzzles of a -paper preset, as csv")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run's folder (default runs/PRESET)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    parser.add_argument("--threads", type=int, default=1, help="torch threads on a CPU (default 1)")
    parser.set_defaults(func=_train)


def _train(arguments: argparse.Namespace) -> int:
    import torch

    from latentkit import models
    from latentkit.claims import presets
    from latentkit.layers import count_parameters
    from latentkit.training import FitResult, cost, distributed, fit, pick_device, save_weights
    from latentkit.training.fit import learning_rate_at

    if arguments.threads < 1:
        raise ValueError(f"threads={arguments.threads}; at least 1 is needed")
    torch.set_num_threads(arguments.threads)
    preset = presets.get(arguments.preset)
    if arguments.data and not preset.needs:
        raise ValueError(f"{arguments.preset} has data of its own; --data is for a -paper preset")
    chosen = {k: getattr(arguments, k) for k in ("device", "precision", "compile", "steps", "seed")}
    config = replace(preset.fit, **{k: v for k, v in chosen.items() if v is not None})
    device = pick_device(config.device)
    if not arguments.precision and device.type != "cuda":
        config = replace(config, precision="fp32")  # many CPUs have no bfloat16 and only imitate it, slowly
    rank, processes = distributed.launched()
    if preset.batch % processes:
        raise ValueError(f"a batch of {preset.batch} cannot be shared equally by {processes} processes")
    out = arguments.out or Path("runs") / arguments.preset
    about = {"preset": arguments.preset, "data": str(arguments.data.resolve()) if arguments.data else None}
    if rank == 0:
        _check_folder(out, about, arguments.resume)

    torch.manual_seed(config.seed)
    model = models.build(preset.config)
    if rank == 0:
        print(f"{arguments.preset}: {type(model).__name__}, {count_parameters(model):,} parameters", flush=True)
        estimate = cost.estimate(model, preset.supervision, config, preset.batch, preset.positions, processes)
        print(cost.in_words(estimate, device.type), flush=True)
    batches = preset.curriculum(arguments.data)
    if rank == 0 and not arguments.resume:
        out.mkdir(parents=True, exist_ok=True)
        (out / "run.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
    if processes > 1:
        distributed.start(cpu=device.type == "cpu")

    held_out = _held_out(batches)
    log, started = MetricsLog(out / "metrics.jsonl"), time.perf_counter()
    answered: dict[str, float] = {}

    def watch(step: int, result: FitResult) -> None:
        log.at(step)
        if step % LINE_EVERY == 0 or step == config.steps:
            recent = slice(-LINE_EVERY, None)
            means = {k: _mean(v[recent]) for k, v in {"loss": result.losses, **result.metrics}.items()}
            rate = learning_rate_at(step - 1, config)
            seconds = round(time.perf_counter() - started, 1)
            log.write({"step": step, **means, "learning_rate": rate, "seconds": seconds})
        if step % preset.evaluate_every == 0 or step == config.steps:
            answered["exact"] = exact_share(result.averaged or model, held_out, preset.passes)
            log.write({"step": step, **answered, "passes": preset.passes, "of": len(held_out.tokens)})

    try:
        result = fit(
            model,
            batches,
            preset.supervision,
            config,
            run_dir=out / "checkpoint",
            progress=rank == 0,
            watch=watch if rank == 0 else None,
        )
    except KeyboardInterrupt:
        print(f"stopped; the same command with --resume goes on from the last checkpoint in {out}", file=sys.stderr)
        return 130
    except FloatingPointError as error:
        raise ValueError(f"{error}, or use --precision fp32") from None
    if rank == 0:
        trained = result.averaged or model
        seconds = round(result.cpu_seconds, 1)
        path = out / "weights.safetensors"
        save_weights(trained, path, preset=arguments.preset, seed=config.seed, train_cpu_seconds=seconds)
        exact = answered.get("exact") or exact_share(trained, held_out, preset.passes)  # a finished run, resumed
        print(f"{exact:.1%} of {len(held_out.tokens)} held-out examples right after {preset.passes} passes; {path}")
    return 0


class MetricsLog:
    """Metrics as json lines, in the order of steps; a resumed run writes over what came after its checkpoint."""

    def __init__(self, path: Path):
        self.path = path
        self.started = False

    def at(self, step: int) -> None:
        """Says that `step` is done; lines of this step and of later ones, from before a resumption, are dropped."""
        if not self.started and self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            # The last line may be cut short, where the process was killed while it wrote.
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] < step]
            self.path.write_text("".join(kept), encoding="utf-8")
        self.started = True

    def write(self, line: dict[str, Any]) -> None:
        """Appends a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def exact_share(model: Any, batch: "Batch", passes: int, chunk: int = 250) -> float:
    """Share of the examples that a depth-recurrent model answers right at every position, after `passes` passes."""
    import torch

    from latentkit.recurrence import unroll

    device = next(model.parameters()).device
    right = 0
    with torch.random.fork_rng():
        torch.manual_seed(0)  # for models that draw their start
        for tokens, targets in zip(batch.tokens.split(chunk), batch.targets.split(chunk), strict=True):
            run = unroll(model, tokens.to(device), passes, keep="last")
            right += int((run.predictions[-1].cpu() == targets).all(-1).sum())
    return right / len(batch.tokens)


def _held_out(batches: "Curriculum") -> "Batch":
    """What the evaluations ask: the first of the test split, or fresh examples of the greatest length."""
    from latentkit.claims.depth_wall import held_out

    task = batches.task
    return task.test(HELD_OUT) if hasattr(task, "test") else held_out(task, batches.high, HELD_OUT)


def _check_folder(out: Path, about: dict[str, Any], resume: bool) -> None:
    """Refuses a folder that holds another run, or one that was not to be resumed, or none that could be."""
    path = out / "run.json"
    if resume and not path.exists():
        raise ValueError(f"no run to resume in {out}; leave --resume out to begin one")
    if path.exists() and not resume:
        raise ValueError(f"there is a run in {out} already: go on with it by --resume, or name another folder by --out")
    if path.exists() and (found := json.loads(path.read_text(encoding="utf-8"))) != about:
        raise ValueError(f"the run in {out} is of {found}, yours of {about}; name another folder by --out")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
