"""How a recurrence is trained, apart from what it is: small named pieces that combine with any depth-recurrent model.

    how many passes a training step runs     ConstantPasses, UniformPasses, PassesPerPosition
    where the loss and the gradient go       FinalLoss (gradient through all passes or the last k), EveryPassLoss
    a model without passes                   PlainLoss

A supervision is called once a step. It may hand a carry (named tensors) to the next step; the fit loop keeps it in its
checkpoints, detached.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from latentkit.recurrence import DepthRecurrent, advance, check_passes

Carry = Mapping[str, Tensor]


@runtime_checkable
class Batch(Protocol):
    """What a loss reads of a batch, a named tuple of tensors; every task's batch is one."""

    @property
    def tokens(self) -> Int[Tensor, "b n"]:
        """Model input."""

    @property
    def targets(self) -> Int[Tensor, "b n"]:
        """Right class at every position."""

    def __iter__(self) -> Iterator[Tensor]:
        """Its fields."""


class Loss(NamedTuple):
    """The scalar to minimise, and what the next step receives."""

    value: Float[Tensor, ""]
    carry: Carry


@runtime_checkable
class Supervision(Protocol):
    """One training step's forward run."""

    def __call__(self, model: Any, batch: Batch, generator: torch.Generator, carry: Carry) -> Loss:
        """The loss on this batch. Draws only from `generator`, so that a step is a function of seed and step number."""


@runtime_checkable
class PassSchedule(Protocol):
    """Chooses the number of passes of one training step."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> int:
        """Passes T >= 1."""


@dataclass(frozen=True)
class ConstantPasses:
    """Always `passes`."""

    passes: int

    def __post_init__(self) -> None:
        check_passes(self.passes)

    def __call__(self, batch: Batch, generator: torch.Generator) -> int:
        """T."""
        return self.passes


@dataclass(frozen=True)
class UniformPasses:
    """Uniform on low..high, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise ValueError(f"low={self.low}, high={self.high}; need 1 <= low <= high")

    def __call__(self, batch: Batch, generator: torch.Generator) -> int:
        """T ~ U{low..high}."""
        return int(torch.randint(self.low, self.high + 1, (), generator=generator))


@dataclass(frozen=True)
class PassesPerPosition:
    """As many passes as the input has letters, plus a uniform 0..extra: T = n + U{0..extra} with n = positions - 1."""

    extra: int = 4

    def __post_init__(self) -> None:
        if self.extra < 0:
            raise ValueError(f"extra={self.extra}; it must be at least 0")

    def __call__(self, batch: Batch, generator: torch.Generator) -> int:
        """T."""
        letters = max(1, batch.tokens.shape[1] - 1)
        return letters + int(torch.randint(self.extra + 1, (), generator=generator))


def cross_entropy(logits: Float[Tensor, "b n v"], targets: Int[Tensor, "b n"]) -> Float[Tensor, ""]:
    """Mean cross-entropy over positions, in float32 whatever the precision of the model."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


@dataclass(frozen=True)
class PlainLoss:
    """One forward call, one loss: for models that have no passes."""

    def __call__(self, model: Any, batch: Batch, generator: torch.Generator, carry: Carry) -> Loss:
        """Cross-entropy of `model(tokens)`."""
        return Loss(cross_entropy(model(batch.tokens), batch.targets), carry)


@dataclass(frozen=True)
class FinalLoss:
    """Loss on the last pass; gradient through the last `gradient_passes` (None: all; 1: the one-step gradient)."""

    passes: PassSchedule
    gradient_passes: int | None = None

    def __post_init__(self) -> None:
        if self.gradient_passes is not None:
            check_passes(self.gradient_passes)

    def __call__(self, model: DepthRecurrent, batch: Batch, generator: torch.Generator, carry: Carry) -> Loss:
        """Cross-entropy after T passes."""
        passes = self.passes(batch, generator)
        with_gradient = passes if self.gradient_passes is None else min(passes, self.gradient_passes)
        context = model.encode(batch.tokens)
        state = model.initial_state(context)
        if passes > with_gradient:
            with torch.no_grad():
                state = advance(model, state, context, passes - with_gradient)
        state = advance(model, state, context, with_gradient)
        return Loss(cross_entropy(model.decode(state), batch.targets), carry)


@dataclass(frozen=True)
class EveryPassLoss:
    """Loss averaged over all passes, gradient through all: the answer is asked for as early as it can be had."""

    passes: PassSchedule

    def __call__(self, model: DepthRecurrent, batch: Batch, generator: torch.Generator, carry: Carry) -> Loss:
        """Mean over passes of the cross-entropy."""
        passes = self.passes(batch, generator)
        context = model.encode(batch.tokens)
        state = model.initial_state(context)
        losses = []
        for _ in range(passes):
            state = advance(model, state, context, 1)
            losses.append(cross_entropy(model.decode(state), batch.targets))
        return Loss(torch.stack(losses).mean(), carry)
