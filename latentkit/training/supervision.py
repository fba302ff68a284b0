"""How a recurrence is trained, apart from what it is: small named pieces that combine with any depth-recurrent model.

    how many passes a training step runs     ConstantPasses, UniformPasses, PassesPerPosition
    where the loss and the gradient go       FinalLoss (gradient through all passes or the last k), EveryPassLoss
    a state carried over several steps       DeepSupervision, with ACT for learned halting
    a model without passes                   PlainLoss

HRM and TRM are DeepSupervision; RSM (Hakimi 2026) is FinalLoss(UniformPasses(1, H), gradient_passes=1), a detached
warm-up with the loss on the last pass. A supervision is called once a step. It may hand a carry (named tensors) to the
next step; the fit loop keeps it in its checkpoints, detached.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from latentkit.recurrence import DepthRecurrent, State, advance, check_passes
from latentkit.training.distributed import own_rows, size
from latentkit.training.losses import CrossEntropy, TokenLoss, cross_entropy

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
    """The scalar to minimise, what the next step receives, and numbers to keep beside the loss."""

    value: Float[Tensor, ""]
    carry: Carry
    metrics: Mapping[str, Float[Tensor, ""]] = {}


@runtime_checkable
class Supervision(Protocol):
    """One training step's forward run."""

    def __call__(self, model: Any, batch: Batch, generator: torch.Generator, carry: Carry) -> Loss:
        """The loss on this batch.

        Draws come from `generator`, or from torch's global one, which the fit loop seeds at every step: so a step is a
        function of seed and step number.
        """


@runtime_checkable
class PassSchedule(Protocol):
    """Chooses the number of passes of one training step."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> int:
        """Passes T >= 1."""


class Named:
    """A supervision's name in ledgers and checkpoints: its fields, those with `repr=False` only where not default."""

    def __repr__(self) -> str:
        shown = (f for f in dataclasses.fields(self) if f.repr or getattr(self, f.name) != f.default)  # type: ignore
        return f"{type(self).__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in shown)})"


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


@dataclass(frozen=True)
class PlainLoss:
    """One forward call, one loss: for models that have no passes."""

    def __call__(self, model: Any, batch: Batch, generator: torch.Generator, carry: Carry) -> Loss:
        """Cross-entropy of `model(tokens)`."""
        return Loss(cross_entropy(model(batch.tokens), batch.targets), carry)


@dataclass(frozen=True, repr=False)
class FinalLoss(Named):
    """Loss on the last pass, gradient through the end of the run only.

    Attributes:
        passes: passes T of a training step.
        gradient_passes: passes at the end that carry gradient (None: all; 1: RSM's contract).
        gradient_updates: updates at the end of the last pass that carry gradient, instead of whole passes (see
            `advance`; 2 is HRM's one-step gradient).
        loss: of the logits.
    """

    passes: PassSchedule
    gradient_passes: int | None = None
    gradient_updates: int | None = field(default=None, repr=False)
    loss: TokenLoss = field(default=CrossEntropy(), repr=False)

    def __post_init__(self) -> None:
        if self.gradient_passes is not None:
            check_passes(self.gradient_passes)
        if self.gradient_passes is not None and self.gradient_updates is not None:
            raise ValueError(
                f"gradient_passes={self.gradient_passes} and gradient_updates={self.gradient_updates} both say how far "
                "the gradient goes; give one of them"
            )

    def __call__(self, model: DepthRecurrent, batch: Batch, generator: torch.Generator, carry: Carry) -> Loss:
        """The loss after T passes."""
        passes = self.passes(batch, generator)
        with_gradient = passes if self.gradient_passes is None else min(passes, self.gradient_passes)
        context = model.encode(batch.tokens)
        state = model.initial_state(context)
        if passes > with_gradient:
            with torch.no_grad():
                state = advance(model, state, context, passes - with_gradient)
        state = advance(model, state, context, with_gradient, self.gradient_updates)
        return Loss(self.loss(model.decode(state), batch.targets), carry)


@dataclass(frozen=True, repr=False)
class EveryPassLoss(Named):
    """Loss averaged over all passes, gradient through all: the answer is asked for as early as it can be had."""

    passes: PassSchedule
    loss: TokenLoss = field(default=CrossEntropy(), repr=False)

    def __call__(self, model: DepthRecurrent, batch: Batch, generator: torch.Generator, carry: Carry) -> Loss:
        """Mean over passes of the loss."""
        context = model.encode(batch.tokens)
        state = model.initial_state(context)
        _, losses, _ = _every_pass(model, state, context, self.passes(batch, generator), batch.targets, self.loss)
        return Loss(losses, carry)


@dataclass(frozen=True)
class ACT:
    """Learned halting during training (adaptive computation time, as HRM and TRM have it).

    The model's `halt_logit` q is trained to say whether the answer is right. A puzzle leaves once q > 0, or, with
    `continue_value`, once q exceeds the value of going on.

    Attributes:
        exploration: probability, at every segment, that a puzzle must have had at least U{2..segments} segments first.
        continue_value: HRM's second value, q_continue, whose target is the better of the two values one segment later.
            It costs a second run of every segment, without gradient. TRM does without.
        weight: of the halting losses beside the token loss.
        detach: train the value on a detached state, so that its loss does not reach the recurrence.
        stops: False trains the value and lets it stop nothing: `DeepSupervision.horizon` alone decides.
    """

    exploration: float = 0.1
    continue_value: bool = False
    weight: float = 0.5
    detach: bool = False
    stops: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.exploration <= 1 or not self.weight > 0:
            raise ValueError(
                f"exploration={self.exploration}, weight={self.weight}; need a probability and a weight above 0"
            )


@dataclass(frozen=True, repr=False)
class DeepSupervision(Named):
    """Several optimiser steps on one puzzle, whose state is carried from one to the next without gradient.

    A step is one *segment* of `passes` passes. The batch is a pool of slots. A slot keeps its puzzle and its detached
    state until it is done; then it takes the puzzle at its own place of the step's fresh batch, and a reset state.

    Attributes:
        segments: most segments that a puzzle may have.
        passes: passes of a segment.
        gradient_updates: updates at the end of the segment that carry gradient (None: all of it; HRM's one-step
            gradient is 2, TRM's n + 1).
        halting: learned halting. Without it a puzzle leaves after `segments`.
        loss: of the logits after the segment.
        every_pass: average the loss over the passes of the segment.
        horizon: most segments of a puzzle: "fixed" at `segments`; "log-uniform" draws it anew for each puzzle, from
            1..segments with P(k) = log(1 + 1/k) / log(segments + 1), so that late segments go on being trained.
        leave: without `halting`, a puzzle whose answer is right leaves with this probability: no signal learned from
            it, only less time spent on what is solved.
    """

    segments: int
    passes: int = 1
    gradient_updates: int | None = None
    halting: ACT | None = field(default=ACT())
    loss: TokenLoss = field(default=CrossEntropy(), repr=False)
    every_pass: bool = field(default=False, repr=False)
    horizon: Literal["fixed", "log-uniform"] = field(default="fixed", repr=False)
    leave: float | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_passes(self.passes)
        if self.segments < 1:
            raise ValueError(f"segments={self.segments}; a puzzle needs at least 1")
        if self.every_pass and self.gradient_updates is not None:
            raise ValueError(
                f"every_pass asks for gradient through every pass, gradient_updates={self.gradient_updates} for less"
            )
        if self.horizon not in ("fixed", "log-uniform"):
            raise ValueError(f"horizon={self.horizon!r}; choose 'fixed' or 'log-uniform'")
        if self.leave is not None and (self.halting is not None or not 0 < self.leave <= 1):
            raise ValueError(
                f"leave={self.leave}, halting={self.halting}: leave is a probability above 0, "
                "and a puzzle leaves either by it or by learned halting (halting=None)"
            )

    def __call__(self, model: Any, batch: Batch, generator: torch.Generator, carry: Carry) -> Loss:
        """The loss of one segment.

        Raises:
            ValueError: halting is asked of a model that has no halting value.
        """
        needed = "halt_values" if self.halting and self.halting.continue_value else "halt_logit"
        if self.halting and not hasattr(model, needed):
            raise ValueError(f"{type(model).__name__} has no {needed}, which {self.halting} trains; use halting=None")

        # Slots that are done take the fresh puzzle at their place, and a reset state.
        tokens, targets = batch.tokens, batch.targets
        segment = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
        if carry:
            done = carry["done"]
            tokens = torch.where(done[:, None], tokens, carry["tokens"])
            targets = torch.where(done[:, None], targets, carry["targets"])
            segment = torch.where(done, segment, carry["segment"])
        horizon: int | Tensor = self.segments
        if self.horizon == "log-uniform":
            horizon = ((self.segments + 1) ** _uniform(segment, generator)).long().clamp(1, self.segments)
            horizon = torch.where(done, horizon, carry["horizon"]) if carry else horizon
        context = model.encode(tokens)
        state = model.initial_state(context)
        if carry:
            state = _where(done, state, [carry[f"state.{i}"] for i in range(len(_parts(state)))])

        if self.every_pass:
            state, loss, logits = _every_pass(model, state, context, self.passes, targets, self.loss)
        else:
            state = advance(model, state, context, self.passes, self.gradient_updates)
            logits = model.decode(state)
            loss = self.loss(logits, targets)
        segment = segment + 1
        solved = (logits.detach().argmax(-1) == targets).all(-1)
        done = segment >= horizon
        if self.halting:
            halting_loss, halts = self._halting(model, state, context, solved, segment, generator)
            loss = loss + self.halting.weight * halting_loss
            done = done | halts if self.halting.stops else done
        elif self.leave is not None:
            done = done | (solved & (_uniform(solved, generator) < self.leave))
        kept = {"tokens": tokens, "targets": targets, "segment": segment, "done": done}
        if isinstance(horizon, Tensor):
            kept["horizon"] = horizon
        states = {f"state.{i}": part.detach() for i, part in enumerate(_parts(state))}
        return Loss(loss, kept | states, {"solved": solved.float().mean(), "left": done.float().mean()})

    def _halting(
        self,
        model: Any,
        state: State,
        context: Any,
        solved: Bool[Tensor, "b"],
        segment: Int[Tensor, "b"],
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, ""], Bool[Tensor, "b"]]:
        """The loss of the halting values after a segment, and which slots they stop."""
        assert self.halting is not None
        if self.halting.detach:
            state = _like(state, [part.detach() for part in _parts(state)])
        if self.halting.continue_value:
            q_halt, q_continue = model.halt_values(state).float().unbind(-1)
            with torch.no_grad():
                ahead = model.halt_values(advance(model, state, context, self.passes)).float()
                # At the last segment there is no going on after the next one.
                best = torch.where(segment >= self.segments, ahead[:, 0], ahead.amax(-1))
            loss = _binary(q_halt, solved.float()) + _binary(q_continue, best.sigmoid())
            halts = q_halt > q_continue
        else:
            q_halt = model.halt_logit(state).float()
            loss = _binary(q_halt, solved.float())
            halts = q_halt > 0
        explores, which = _uniform(solved, generator) < self.halting.exploration, _uniform(solved, generator)
        least = torch.where(explores, 2 + (which * (self.segments - 1)).long(), 1)
        return loss, halts & (segment >= least)


def _every_pass(
    model: DepthRecurrent, state: State, context: Any, passes: int, targets: Int[Tensor, "b n"], loss: TokenLoss
) -> tuple[State, Float[Tensor, ""], Float[Tensor, "b n v"]]:
    """The state after `passes` passes, the mean of their losses, and the logits after the last."""
    losses = []
    for _ in range(passes):
        state = advance(model, state, context, 1)
        logits = model.decode(state)
        losses.append(loss(logits, targets))
    return state, torch.stack(losses).mean(), logits


def _binary(logits: Float[Tensor, "b"], targets: Float[Tensor, "b"]) -> Float[Tensor, ""]:
    return F.binary_cross_entropy_with_logits(logits, targets)


def _uniform(like: Tensor, generator: torch.Generator) -> Float[Tensor, "b"]:
    """A uniform number in [0, 1) for each slot; drawn for the slots of all processes, so that these are as one."""
    return own_rows(torch.rand(len(like) * size(), generator=generator)).to(like.device)


def _parts(state: State) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def _like(state: State, parts: list[Tensor]) -> State:
    """A state made as `state` is."""
    if isinstance(state, Tensor):
        return parts[0]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def _where(done: Bool[Tensor, "b"], reset: State, carried: list[Tensor]) -> State:
    """The reset state in slots that are done, else the carried one."""
    parts = [
        torch.where(done.view(-1, *[1] * (new.ndim - 1)), new, old)
        for new, old in zip(_parts(reset), carried, strict=True)
    ]
    return _like(reset, parts)
