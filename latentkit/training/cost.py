"""What a training would cost, before it is started."""

import copy
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from latentkit.layers import count_parameters
from latentkit.tasks import Batch
from latentkit.training.fit import FitConfig, fit, pick_device
from latentkit.training.supervision import Supervision

H100_FLOPS = 989e12
"""Floating-point operations a second of one NVIDIA H100 SXM: its data sheet's dense bfloat16 peak."""


@dataclass(frozen=True)
class Cost:
    """An estimate, and how it was made.

    Attributes:
        parameters: trained ones.
        state_bytes: weights, gradients, the optimiser's two moments and the average, in float32.
        activation_bytes: what a step's forward run keeps for the backward one; measured on one example, times the
            batch.
        flops: floating-point operations of a step's matrix products, forward and backward; counted by torch on one
            example, times the batch. Multiplication and addition count as two.
        seconds: of a step on the device. Timed for a batch of `timed`, and scaled to the whole one.
        timed: examples of the timed step.
        steps: of the whole run.
    """

    parameters: int
    state_bytes: int
    activation_bytes: int
    flops: float
    seconds: float
    timed: int
    steps: int

    @property
    def bytes(self) -> int:
        """Memory of a step."""
        return self.state_bytes + self.activation_bytes


def estimate(
    model: nn.Module,
    supervision: Supervision,
    config: FitConfig,
    batch: int,
    positions: int,
    processes: int = 1,
) -> Cost:
    """The cost of a training on this machine; trains a copy of the model for three steps.

    Args:
        model: stays as it is.
        supervision, config: of the training; without `torch.compile`, which may halve time and memory.
        batch, positions: examples a step, and positions of the longest of them.
        processes: how many share the batch; memory and time are then those of each.
    """
    device = pick_device(config.device)
    saved: dict[tuple[torch.device, int], int] = {}
    model = copy.deepcopy(model).to(device)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[tensor.device, storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        FlopCounterMode(display=False) as counter,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        _train(model, supervision, config, 1, positions, steps=1)
    flops, activations = float(counter.get_total_flops()), sum(saved.values())
    # Enough to fill the device, little enough to be done in a second or two.
    timed = int(min(batch, max(1, (2e13 if device.type == "cuda" else 2e10) // max(1.0, flops))))
    seconds = _train(model, supervision, config, timed, positions, steps=2) * batch / timed / processes
    parameters = count_parameters(model)
    return Cost(
        parameters=parameters,
        state_bytes=4 * parameters * (4 + (config.ema is not None)),
        activation_bytes=activations * batch // processes,
        flops=flops * batch,
        seconds=seconds,
        timed=timed,
        steps=config.steps,
    )


def _train(
    model: nn.Module, supervision: Supervision, config: FitConfig, batch: int, positions: int, steps: int
) -> float:
    """Trains for `steps` steps, alone and without checkpoints; returns the seconds of the last."""
    zeros = torch.zeros(batch, positions, dtype=torch.long)
    times = [time.perf_counter()]

    def batches(step: int, generator: torch.Generator) -> Any:
        return Batch(zeros, zeros, zeros)

    short = replace(config, steps=steps, compile=False, checkpoint_every=0)
    fit(model, batches, supervision, short, progress=False, watch=lambda *_: times.append(time.perf_counter()))
    return times[-1] - times[-2]


def in_words(cost: Cost, device: str) -> str:
    """Three lines for the command line."""
    state, activations = _bytes(cost.state_bytes), _bytes(cost.activation_bytes)
    total = cost.flops * cost.steps
    h100 = f"; {_time(total / (H100_FLOPS / 2))} on an H100 at half its bfloat16 peak" if total > 1e15 else ""
    return "\n".join(
        [
            f"  memory  {_bytes(cost.bytes)}: {state} for weights, gradients, optimiser and average, "
            f"{activations} for the backward pass",
            f"  FLOPs   {_count(cost.flops)} a step, {_count(total)} in all (matrix products, counted by torch)",
            f"  time    {_time(cost.seconds * cost.steps)} for {cost.steps:,} steps on {device} "
            f"(one step of {cost.timed} examples, timed){h100}",
        ]
    )


def _bytes(n: int) -> str:
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.0f} MiB"


def _count(n: float) -> str:
    for size, name in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G")):
        if n >= size:
            return f"{n / size:.3g} {name}FLOP"
    return f"{n / 1e6:.3g} MFLOP"


def _time(seconds: float) -> str:
    for size, name in ((365 * 86400, "years"), (86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.2g} seconds"
