"""One training loop for every model of the course.

A step is a function of (parameters, optimiser state, carry, seed, step number) and of nothing else: the batch, the
number of passes and whatever else is drawn come from a generator made from seed and step. So a run that is killed at
any instant and resumed goes on to the very numbers of an uninterrupted one (bit for bit on the CPU, in float32, at
the same threads).
"""

import dataclasses
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from latentkit.layers import count_parameters
from latentkit.training.checkpoint import CheckpointError, RunFolder, config_to_json, load_into
from latentkit.training.supervision import Batch, Supervision

BatchSource = Callable[[int, torch.Generator], Batch]


@dataclass(frozen=True)
class FitConfig:
    """How long and how fast to train.

    Attributes:
        steps: optimiser steps.
        learning_rate: peak; linear warm-up over `warmup` steps, then a cosine to 5% of it at the last step.
        weight_decay, betas: AdamW's.
        clip: largest gradient norm.
        ema: decay of an exponential moving average of the weights; None for none.
        seed: of the data and of every other draw; the model's initial weights are the caller's.
        device: "auto" picks cuda, then mps, then cpu.
        precision: "bf16" runs the model under autocast; parameters, optimiser and losses stay in float32.
        compile: `torch.compile` the model's step (or forward, for a model without passes).
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
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema={self.ema}; a decay lies between 0 and 1, such as 0.999")


@dataclass
class FitResult:
    """What came of a run: losses[i] is the loss of step i, in nats; `averaged` holds the EMA's weights, if any."""

    losses: list[float] = field(default_factory=list)
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
    """Linear warm-up, then a cosine from the peak to 5% of it."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return config.learning_rate * warm * (0.05 + 0.95 * cosine)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The source of every draw of one training step."""
    # Golden-ratio multiples spread neighbouring (seed, step) pairs over the whole range of seeds.
    return torch.Generator().manual_seed((seed * 0x9E3779B97F4A7C15 + step * 0xD1B54A32D192ED03 + 1) % 2**63)


def fit(
    model: nn.Module,
    batches: BatchSource,
    supervision: Supervision,
    config: FitConfig,
    *,
    run_dir: Path | None = None,
    progress: bool = True,
) -> FitResult:
    """Trains `model` in place.

    Args:
        batches: gives the batch of a step, from the step number and that step's generator.
        supervision: gives the loss of a batch.
        run_dir: where checkpoints go; a run found there is resumed.
        progress: show a bar.

    Raises:
        CheckpointError: `run_dir` holds a run with another model, config, source of batches or supervision.
        FloatingPointError: the loss is no longer a number; says at which step.
    """
    device = pick_device(config.device)
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
    with _compiled(model, config.compile), _bar(config, run.step, progress, count_parameters(model)) as bar:
        while run.step < config.steps:
            loss = run.advance(batches, supervision)
            run.result.cpu_seconds = before + time.process_time() - started
            bar(run.step, loss)
            due = config.checkpoint_every > 0 and run.step % config.checkpoint_every == 0
            if folder and (due or run.step == config.steps):
                about = {"cpu_seconds": run.result.cpu_seconds, "losses": run.result.losses}
                folder.save(run.step, run.tensors(), {**identity, **about})
    model.eval()
    return run.result


class _Run:
    """All that changes during a run, and so all that a checkpoint holds."""

    def __init__(self, model: nn.Module, config: FitConfig, device: torch.device):
        self.model, self.config, self.device = model, config, device
        # fused: one kernel for the whole update. The plain loop over tensors costs as much as a small forward pass.
        self.optimiser = torch.optim.AdamW(
            model.parameters(),
            config.learning_rate,
            config.betas,
            weight_decay=config.weight_decay,
            fused=device.type != "mps",
        )
        self.averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema)) if config.ema else None
        # No cache: in older torch (2.6 for one; pytorch #165068) a weight cast in a pass without gradient is kept, cut
        # off from it, for the passes with gradient.
        self.autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=config.precision == "bf16", cache_enabled=False
        )
        self.carry: dict[str, Tensor] = {}
        self.result = FitResult(averaged=self.averaged.module.eval() if self.averaged else None)
        self.step = 0

    def advance(self, batches: BatchSource, supervision: Supervision) -> float:
        """One optimiser step; returns its loss."""
        generator = step_generator(self.config.seed, self.step)
        batch = batches(self.step, generator)
        batch = type(batch)(*(field.to(self.device) for field in batch))
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(self.step, self.config)
        with self.autocast, warnings.catch_warnings():
            # Norms keep float32 weights under autocast: that torch then takes its unfused kernel is no news.
            warnings.filterwarnings("ignore", message="Mismatch dtype")
            loss, carry = supervision(self.model, batch, generator, self.carry)
        value = loss.item()
        if not math.isfinite(value):
            rate = self.config.learning_rate
            raise FloatingPointError(f"the loss is {value} at step {self.step}; lower learning_rate={rate}")
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimiser.step()
        if self.averaged:
            self.averaged.update_parameters(self.model)
        self.carry = {name: tensor.detach() for name, tensor in carry.items()}
        self.result.losses.append(value)
        self.step += 1
        return value

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resumed run needs, by section."""
        sections: dict[str, dict[str, Tensor]] = {"model": self.model.state_dict(), "carry": self.carry}
        for name, parameter in self.model.named_parameters():
            sections[f"optimiser.{name}"] = self.optimiser.state[parameter]
        if self.averaged:
            sections["ema"] = self.averaged.state_dict()
        flat = {f"{section}.{k}": v for section, tensors in sections.items() for k, v in tensors.items()}
        return {**flat, "random_state": torch.get_rng_state()}

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
            self.optimiser.state[parameter] = section(f"optimiser.{name}")
        if self.averaged:
            self.averaged.load_state_dict(section("ema"))
        torch.set_rng_state(tensors["random_state"])
        self.carry = section("carry")
        self.result.losses, self.result.cpu_seconds = list(about["losses"]), about["cpu_seconds"]
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
    name = "step" if hasattr(model, "step") else "forward"
    setattr(model, name, torch.compile(getattr(model, name), dynamic=True))
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
