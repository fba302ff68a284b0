"""One training loop for every model of the course.

A step is a function of (parameters, optimiser state, carry, seed, step number) and of nothing else: the batch, the
number of passes and whatever else is drawn come from a generator made from seed and step, and what a model draws
(noise, a random start) from torch's global one, seeded likewise. So a run that is killed at any instant and resumed
goes on to the very numbers of an uninterrupted one (bit for bit on the CPU, in float32, at the same threads).
"""

import dataclasses
import functools
import math
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from latentkit.layers import count_parameters
from latentkit.training import distributed
from latentkit.training.checkpoint import CheckpointError, RunFolder, config_to_json, load_into
from latentkit.training.optimisers import OptimiserName, make_optimisers
from latentkit.training.supervision import Batch, Supervision

BatchSource = Callable[[int, torch.Generator], Batch]

_GLOBAL = 0x5DEECE66D  # sets the model's own draws apart from the batch's of the same step


@dataclass(frozen=True)
class FitConfig:
    """How long and how fast to train.

    Attributes:
        steps: optimiser steps.
        learning_rate: peak, reached by a linear warm-up over `warmup` steps.
        schedule: after it, "cosine" falls to 5% of the peak at the last step, "constant" stays.
        optimiser: "adamw", "adam-atan2" (the papers' of HRM, TRM and EqR) or "muon" (AdamW for what is no matrix).
        weight_decay, betas: the optimiser's; Muon's momentum is the first beta.
        clip: largest gradient norm.
        ema: decay of an exponential moving average of the weights; None for none.
        seed: of the data and of every other draw; the model's initial weights are the caller's.
        device: "auto" picks cuda, then mps, then cpu; among several processes, this one's share of them.
        precision: "bf16" runs the model under autocast; parameters, optimiser and losses stay in float32.
        compile: `torch.compile` the model's update, step or forward, whichever is its innermost. Shapes are static
            until they change.
        checkpoint_every: steps between checkpoints; 0 for none but the last.
    """

    steps: int
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: int = 50
    clip: float = 1.0
    ema: float | None = None
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    compile: bool = False
    checkpoint_every: int = 0
    optimiser: OptimiserName = "adamw"
    schedule: Literal["cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.warmup < 0 or self.checkpoint_every < 0:
            raise ValueError(
                f"steps={self.steps}, warmup={self.warmup}, checkpoint_every={self.checkpoint_every}: "
                "steps must be at least 1, the others at least 0"
            )
        if not self.learning_rate > 0 or not self.clip > 0:
            raise ValueError(f"learning_rate={self.learning_rate}, clip={self.clip}; both must be above 0")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision={self.precision!r}; choose 'fp32' or 'bf16'")
        if self.schedule not in ("cosine", "constant"):
            raise ValueError(f"schedule={self.schedule!r}; choose 'cosine' or 'constant'")
        if self.optimiser not in get_args(OptimiserName):
            raise ValueError(f"optimiser={self.optimiser!r}; choose one of {', '.join(get_args(OptimiserName))}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema={self.ema}; a decay lies between 0 and 1, such as 0.999")


@dataclass
class FitResult:
    """What came of a run.

    Attributes:
        losses: losses[i] is the loss of step i, in nats.
        metrics: what the supervision noted beside it, by name, one number a step: DeepSupervision's share of slots
            that were "solved", and of those whose puzzle "left" (1 / its mean: segments spent on a puzzle).
        cpu_seconds: of this process, all threads.
        averaged: the EMA's weights, if any.
    """

    losses: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    averaged: nn.Module | None = None


def pick_device(name: str) -> torch.device:
    """The device by name, "auto" for the best one here.

    Raises:
        ValueError: a device this machine does not have.
    """
    have = ["cpu"]
    if torch.backends.mps.is_available():
        have.insert(0, "mps")
    if torch.cuda.is_available():
        have.insert(0, "cuda")
    if name == "auto":
        return torch.device(have[0])
    if name.split(":")[0] not in have:
        raise ValueError(f"device {name!r} is not available here; choose auto or one of {', '.join(have)}")
    return torch.device(name)


def learning_rate_at(step: int, config: FitConfig) -> float:
    """Linear warm-up; then constant, or a cosine from the peak to 5% of it."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    if config.schedule == "constant":
        return config.learning_rate * warm
    cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return config.learning_rate * warm * (0.05 + 0.95 * cosine)


def step_seed(seed: int, step: int) -> int:
    """A seed of its own for every training step of every run."""
    # Golden-ratio multiples spread neighbouring (seed, step) pairs over the whole range of seeds.
    return (seed * 0x9E3779B97F4A7C15 + step * 0xD1B54A32D192ED03 + 1) % 2**63


def step_generator(seed: int, step: int) -> torch.Generator:
    """The source of the draws of one training step."""
    return torch.Generator().manual_seed(step_seed(seed, step))


@contextmanager
def _seeded(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """While inside, torch's global generators are this step's; afterwards they are as they were."""
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus, device_type="cuda"):
        torch.manual_seed((step_seed(seed, step) ^ _GLOBAL) + distributed.rank())
        yield


@functools.cache
def casts_once(device_type: str) -> bool:
    """Whether autocast's cache of cast weights may be used, so that a weight is cast once a step and not in every pass.

    In older torch (2.6 for one; pytorch #165068) a weight cast in a pass without gradient is kept, cut off from its
    gradient, for the passes with gradient: there the weights are cast anew in every pass.
    """
    weight = torch.ones(1, 1, device=device_type, requires_grad=True)
    with torch.autocast(device_type, torch.bfloat16, cache_enabled=True):
        with torch.no_grad():
            weight.detach() @ weight
        return (weight.detach() @ weight).requires_grad


def draw_batches(
    batches: BatchSource, config: FitConfig, first: int, ahead: int
) -> Iterator[tuple[Batch, torch.Generator]]:
    """The batch and the generator of every step from `first` on.

    With `ahead` > 0 a thread draws that many steps ahead, into pinned memory, while a GPU computes. On a CPU the thread
    would only take the core from the model.
    """

    def draw(step: int) -> tuple[Batch, torch.Generator]:
        generator = step_generator(config.seed, step)
        batch = batches(step, generator)
        if ahead and torch.cuda.is_available():
            batch = type(batch)(*(field.pin_memory() for field in batch))
        return batch, generator

    if not ahead:
        yield from map(draw, range(first, config.steps))
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(draw, step) for step in range(first, min(first + ahead, config.steps)))
        for step in range(first, config.steps):
            if step + ahead < config.steps:
                waiting.append(pool.submit(draw, step + ahead))
            yield waiting.popleft().result()


def fit(
    model: nn.Module,
    batches: BatchSource,
    supervision: Supervision,
    config: FitConfig,
    *,
    run_dir: Path | None = None,
    progress: bool = True,
    watch: Callable[[int, FitResult], None] | None = None,
) -> FitResult:
    """Trains `model` in place.

    Under `accelerate launch` several processes train as one (`latentkit.training.distributed`): the same batches, and
    the same numbers up to rounding, where the model draws nothing itself.

    Args:
        batches: gives the batch of a step, from the step number and that step's generator.
        supervision: gives the loss of a batch.
        run_dir: where checkpoints go; a run found there is resumed.
        progress: show a bar.
        watch: called after every step with the steps done and what came of them, before their checkpoint is written.

    Raises:
        CheckpointError: `run_dir` holds a run with another model, config, source of batches or supervision.
        FloatingPointError: the loss is no longer a number; says at which step.
    """
    device = pick_device(config.device)
    if distributed.size() > 1:
        device = distributed.start(cpu=device.type == "cpu")
    model.to(device).train()
    run = _Run(model, config, device)
    folder = RunFolder(run_dir) if run_dir else None
    identity: dict[str, Any] = {}
    if folder:  # only a checkpoint needs the model to have a config
        identity = {"model": config_to_json(model.config), "fit": _plain(config)}
        identity |= {"batches": _name(batches), "supervision": _name(supervision)}
        if saved := folder.load():
            run.restore(*saved, identity, folder.sidecar)
    before, started = run.result.cpu_seconds, time.process_time()
    drawn = draw_batches(batches, config, run.step, ahead=2 if device.type == "cuda" else 0)
    with _compiled(model, config.compile), _bar(config, run.step, progress, count_parameters(model)) as bar:
        for batch, generator in drawn:
            loss = run.advance(batch, generator, supervision)
            run.result.cpu_seconds = before + time.process_time() - started
            bar(run.step, loss)
            if watch:
                watch(run.step, run.result)
            due = config.checkpoint_every > 0 and run.step % config.checkpoint_every == 0
            if folder and (due or run.step == config.steps):
                result = run.result
                about = {"cpu_seconds": result.cpu_seconds, "losses": result.losses, "metrics": result.metrics}
                tensors = run.tensors()
                if distributed.rank() == 0:
                    folder.save(run.step, tensors, {**identity, **about})
    model.eval()
    return run.result


class _Run:
    """All that changes during a run, and so all that a checkpoint holds."""

    def __init__(self, model: nn.Module, config: FitConfig, device: torch.device):
        self.model, self.config, self.device = model, config, device
        self.optimisers = make_optimisers(
            config.optimiser, model, config.learning_rate, config.betas, config.weight_decay
        )
        self.optimiser_of = {p: o for o in self.optimisers for group in o.param_groups for p in group["params"]}
        self.averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema)) if config.ema else None
        bf16 = config.precision == "bf16"
        self.autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=bf16, cache_enabled=bf16 and casts_once(device.type)
        )
        self.carry: dict[str, Tensor] = {}
        self.result = FitResult(averaged=self.averaged.module.eval() if self.averaged else None)
        self.step = 0

    def advance(self, batch: Batch, generator: torch.Generator, supervision: Supervision) -> float:
        """One optimiser step; returns its loss."""
        rows = (distributed.own_rows(field) for field in batch)
        batch = type(batch)(*(field.to(self.device, non_blocking=True) for field in rows))
        for group in (group for optimiser in self.optimisers for group in optimiser.param_groups):
            group["lr"] = learning_rate_at(self.step, self.config)
        with self.autocast, _seeded(self.config.seed, self.step, self.device), warnings.catch_warnings():
            # Norms keep float32 weights under autocast: that torch then takes its unfused kernel is no news.
            warnings.filterwarnings("ignore", message="Mismatch dtype")
            loss, carry, metrics = supervision(self.model, batch, generator, self.carry)
        self.model.zero_grad()
        loss.backward()
        numbers = torch.stack([loss.detach(), *metrics.values()])
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        distributed.average_([*gradients, numbers])
        # One wait for the device a step, here where it has most to do; and before the weights are touched.
        value, *noted = numbers.tolist()
        if not math.isfinite(value):
            rate = self.config.learning_rate
            raise FloatingPointError(f"the loss is {value} at step {self.step}; lower learning_rate={rate}")
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        for optimiser in self.optimisers:
            optimiser.step()
        if self.averaged:
            self.averaged.update_parameters(self.model)
        self.carry = {name: tensor.detach() for name, tensor in carry.items()}
        self.result.losses.append(value)
        for name, number in zip(metrics, noted, strict=True):
            self.result.metrics.setdefault(name, []).append(number)
        self.step += 1
        return value

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resumed run needs, by section."""
        carry = {name: distributed.all_rows(rows) for name, rows in self.carry.items()}
        sections: dict[str, dict[str, Tensor]] = {"model": self.model.state_dict(), "carry": carry}
        for name, parameter in self.model.named_parameters():
            sections[f"optimiser.{name}"] = self.optimiser_of[parameter].state[parameter]
        if self.averaged:
            sections["ema"] = self.averaged.state_dict()
        return {f"{section}.{k}": v for section, tensors in sections.items() for k, v in tensors.items()}

    def restore(self, tensors: dict[str, Tensor], about: dict[str, Any], identity: dict[str, Any], path: Path) -> None:
        """Puts everything back as it was after the saved step."""
        for part, wanted in identity.items():
            if about.get(part) != wanted:
                found = about.get(part)
                raise CheckpointError(f"{path} belongs to another run: its {part} is {found}, yours is {wanted}")

        def section(name: str) -> dict[str, Tensor]:
            prefix = f"{name}."
            return {k.removeprefix(prefix): v.to(self.device) for k, v in tensors.items() if k.startswith(prefix)}

        load_into(self.model, section("model"), path)
        for name, parameter in self.model.named_parameters():
            self.optimiser_of[parameter].state[parameter] = section(f"optimiser.{name}")
        if self.averaged:
            self.averaged.load_state_dict(section("ema"))
        self.carry = {name: distributed.own_rows(rows) for name, rows in section("carry").items()}
        self.result.losses, self.result.metrics = about["losses"], about.get("metrics", {})
        self.result.cpu_seconds = about["cpu_seconds"]
        self.step = about["step"]


def _plain(config: FitConfig) -> dict[str, Any]:
    """The config as json gives it back: tuples as lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(config).items()}


def _name(part: Any) -> str:
    """What a checkpoint remembers of a source or a supervision; a plain function's repr would hold its address."""
    return repr(part) if dataclasses.is_dataclass(part) else getattr(part, "__qualname__", type(part).__name__)


@contextmanager
def _compiled(model: nn.Module, wanted: bool) -> Iterator[None]:
    """While inside, the hot method of the model is the compiled one; the model's weights and class stay as they are."""
    if not wanted:
        yield
        return
    name = next(name for name in ("update", "step", "forward") if hasattr(model, name))
    setattr(model, name, torch.compile(getattr(model, name)))
    try:
        yield
    finally:
        delattr(model, name)


@contextmanager
def _bar(config: FitConfig, first: int, progress: bool, parameters: int) -> Iterator[Callable[[int, float], None]]:
    """A tqdm bar as a function of (steps done, loss)."""
    with tqdm(
        total=config.steps,
        initial=first,
        disable=not progress,
        desc=f"{parameters:,} parameters",
        file=_NotebookLine() if progress and _in_notebook() else sys.stderr,
        mininterval=0.5,
        ascii=" ━",
        bar_format="{desc} {bar:24} {n_fmt}/{total_fmt} steps, {elapsed}<{remaining}{postfix}",
    ) as bar:

        def show(done: int, loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update(done - bar.n)

        yield show


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")  # ipykernel alone may be imported anywhere
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class _NotebookLine:
    """Where a bar writes in a notebook: one output that is replaced in place.

    Unlike a widget it is still right in a saved notebook and in the book, and unlike stderr it does not look like an
    error.
    """

    def __init__(self) -> None:
        from IPython.display import display

        self.handle = display({"text/plain": ""}, raw=True, display_id=True)

    def write(self, text: str) -> None:
        """Replaces the line."""
        if line := text.strip():
            self.handle.update({"text/plain": line}, raw=True)

    def flush(self) -> None:
        """Nothing is buffered."""
