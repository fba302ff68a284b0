"""The one idea of the course, as code: a step that is re-applied to its own latent state, along one of two axes.

    depth:  state = step(state, context)            the same encoded input at every pass; logits = decode(state)
    time:   state, output = step(state, block)      the next block of the sequence;       logits = decode(output)

`unroll` runs the first, `stream` the second; both return a `Trajectory`, and whatever looks at a model (halting, plots,
widgets, analysis) reads a `Trajectory` and nothing else. Training does not come through here: it needs gradients and no
record (`advance`, used by `latentkit.training.supervision`).

A state is a tensor or a (named) tuple of tensors. Dimension legend: see `latentkit.layers`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

State = Any
Keep = Literal["all", "last"] | int


@runtime_checkable
class DepthRecurrent(Protocol):
    """A model that thinks in passes over one input."""

    def encode(self, tokens: Int[Tensor, "b n"]) -> Any:
        """What every pass reads."""

    def initial_state(self, context: Any) -> State:
        """The state before the first pass."""

    def step(self, state: State, context: Any) -> State:
        """One pass."""

    def decode(self, state: State) -> Float[Tensor, "b n v"]:
        """Logits at every position."""


@runtime_checkable
class Nested(DepthRecurrent, Protocol):
    """A depth-recurrent model whose pass (a *segment* of HRM and TRM) is made of smaller updates.

    It may also have `halt_logit(state) -> Float[Tensor, "b"]`, the logit of "this answer is right" (q_halt), as any
    depth-recurrent model may; `unroll` then records it.
    """

    schedule: tuple[str, ...]  # the module that each update of a pass runs, for example ("L", "L", "H")

    def update(self, state: State, context: Any, module: str) -> State:
        """One update of a pass; `step` runs all of `schedule`."""


@runtime_checkable
class TimeRecurrent(Protocol):
    """A model that reads a sequence block by block, through a state of fixed size."""

    def initial_state(self, batch: int) -> State:
        """The state before the first block."""

    def step(self, state: State, block: Int[Tensor, "b m"]) -> tuple[State, Any]:
        """One block: the new state, and an output for each of the block's positions."""

    def decode(self, output: Any) -> Float[Tensor, "b m v"]:
        """Logits at every position of the block."""


@dataclass(frozen=True)
class Trajectory:
    """The record of one run: k kept passes (depth) or blocks (time) out of T.

    Attributes:
        tokens: the input; along time, the kept blocks side by side.
        passes: which were kept, counted from 1.
        states: the state after each kept pass.
        logits: what was decoded from it.
        residuals: for every pass, ||h_t - h_{t-1}|| / ||h_t|| at each position (along time: one number a sequence, and
            with keep="last" that of the last block only).
        halted_at: the pass after which a halting rule froze the position; 0 where none did.
        halt_logits: the model's own logit of "this answer is right" after each kept pass; None where it has none.
    """

    tokens: Int[Tensor, "b n"]
    passes: tuple[int, ...]
    states: tuple[State, ...]
    logits: Float[Tensor, "k b m v"]
    residuals: Float[Tensor, "t b r"]
    halted_at: Int[Tensor, "b r"]
    halt_logits: Float[Tensor, "k b"] | None = None

    @property
    def predictions(self) -> Int[Tensor, "k b m"]:
        """The most likely class at each kept pass."""
        return self.logits.argmax(-1)

    @property
    def passes_used(self) -> Int[Tensor, "b r"]:
        """Passes spent at each position: up to its halt, or all of them."""
        return torch.where(self.halted_at > 0, self.halted_at, self.passes[-1])


class Change(NamedTuple):
    """What a halting rule may look at after pass t; logits and halt logit are there only if the rule asks for them."""

    t: int
    residual: Float[Tensor, "b n"]
    logits_before: Float[Tensor, "b n v"] | None
    logits: Float[Tensor, "b n v"] | None
    halt_logit: Float[Tensor, "b"] | None = None


@runtime_checkable
class HaltingRule(Protocol):
    """Says where a run may stop: a position is frozen once it has been settled for `patience` passes in a row.

    A rule that needs the model's halt logit also says `reads_halt = True`.
    """

    @property
    def patience(self) -> int:
        """Passes in a row."""

    @property
    def reads_logits(self) -> bool:
        """Whether it needs the logits after every pass."""

    def settled(self, change: Change) -> Bool[Tensor, "b n"]:
        """Which positions look settled after this pass."""


@dataclass(frozen=True)
class FixedPasses:
    """Stop every position after `passes` passes."""

    passes: int
    patience = 1
    reads_logits = False

    def settled(self, change: Change) -> Bool[Tensor, "b n"]:
        """All positions, from pass `passes` on."""
        return torch.full_like(change.residual, change.t >= self.passes, dtype=torch.bool)


@dataclass(frozen=True)
class RelativeStep:
    """Stop where the state moves by less than `threshold` of its own length (Geiping et al. 2025, code: 0.03)."""

    threshold: float = 0.03
    patience: int = 1
    reads_logits = False

    def settled(self, change: Change) -> Bool[Tensor, "b n"]:
        """Positions whose residual is below the threshold."""
        return change.residual < self.threshold


@dataclass(frozen=True)
class OutputKL:
    """Stop where KL(p_t || p_{t-1}) between outputs is below `threshold` nats (1e-3: Geiping et al. 2025, code)."""

    threshold: float = 1e-3
    patience: int = 1
    reads_logits = True

    def settled(self, change: Change) -> Bool[Tensor, "b n"]:
        """Positions whose output distribution hardly changed."""
        if change.logits is None or change.logits_before is None:
            return torch.zeros_like(change.residual, dtype=torch.bool)
        log_p, log_q = change.logits.log_softmax(-1), change.logits_before.log_softmax(-1)
        return (log_p.exp() * (log_p - log_q)).sum(-1) < self.threshold


@dataclass(frozen=True)
class ArgmaxStable:
    """Stop where the predicted class has been the same for `patience` successive comparisons."""

    patience: int = 5
    reads_logits = True

    def settled(self, change: Change) -> Bool[Tensor, "b n"]:
        """Positions whose prediction did not change in this pass."""
        if change.logits is None or change.logits_before is None:
            return torch.zeros_like(change.residual, dtype=torch.bool)
        return change.logits.argmax(-1) == change.logits_before.argmax(-1)


@dataclass(frozen=True)
class HaltValue:
    """Stop the whole sequence once the model's own halt logit exceeds `threshold` (TRM's rule in training: 0)."""

    threshold: float = 0.0
    patience = 1
    reads_logits = False
    reads_halt = True

    def settled(self, change: Change) -> Bool[Tensor, "b n"]:
        """All positions of the sequences whose answer the model believes."""
        if change.halt_logit is None:
            raise TypeError("HaltValue reads the model's halt_logit, and this change has none")
        return (change.halt_logit > self.threshold)[:, None].expand_as(change.residual)


def check_passes(passes: int) -> None:
    """Refuses a number of passes that is not a whole number of at least 1.

    Raises:
        TypeError, ValueError: with the value found.
    """
    if isinstance(passes, bool) or not isinstance(passes, int):
        raise TypeError(f"passes={passes!r} is a {type(passes).__name__}; it must be a whole number such as 8")
    if passes < 1:
        raise ValueError(f"passes={passes}; a run needs at least 1 pass")


def advance(
    model: DepthRecurrent, state: State, context: Any, passes: int, gradient_updates: int | None = None
) -> State:
    """The state after `passes` more passes, without a record; with gradients, or with those of the last updates only.

    Args:
        model, state, context: as everywhere.
        passes: passes to run.
        gradient_updates: None for the gradient through everything; k for the last k updates of the last pass (HRM's
            one-step gradient: 2, one L and one H; TRM's last recursion: n + 1). Where the model has no `schedule`, its
            pass is one update.

    Raises:
        TypeError, ValueError: bad `passes`, or more gradient updates than a pass has.
    """
    check_passes(passes)
    if gradient_updates is None:
        for _ in range(passes):
            state = model.step(state, context)
        return state
    updates: list[Callable[[State, Any], State]] = [model.step]
    if isinstance(model, Nested):
        updates = [partial(model.update, module=module) for module in model.schedule]
    if not 1 <= gradient_updates <= len(updates):
        raise ValueError(f"gradient_updates={gradient_updates}; a pass of {type(model).__name__} has 1..{len(updates)}")
    with torch.no_grad():
        for _ in range(passes - 1):
            state = model.step(state, context)
    for left, update in zip(range(len(updates), 0, -1), updates, strict=True):
        with torch.set_grad_enabled(torch.is_grad_enabled() and left <= gradient_updates):
            state = update(state, context)
    return state


@torch.no_grad()
def unroll(
    model: DepthRecurrent,
    tokens: Int[Tensor, "b n"],
    passes: int,
    *,
    keep: Keep = "all",
    halting: HaltingRule | None = None,
    state: State | None = None,
) -> Trajectory:
    """Runs a depth-recurrent model and records the run; no gradients.

    Args:
        model: any `DepthRecurrent`.
        tokens: the input.
        passes: passes T to run; fewer are run where the halting rule has frozen every position.
        keep: "all" passes, the "last", or every k-th (and the last).
        halting: freezes a position's state once the rule is satisfied there. The others go on, and still attend to it.
        state: where to start; default `model.initial_state`. A model that starts at random or adds noise draws from
            torch's global generator: call `torch.manual_seed` first for the same run again.

    Raises:
        TypeError, ValueError: bad `passes`, `keep`, `halting` or tokens, with the value found and what would be right.
    """
    check_passes(passes)
    _check_keep(keep)
    if halting is not None and halting.patience < 1:
        raise ValueError(f"{halting}: patience must be at least 1 pass")
    halt_logit: Callable[[State], Tensor] | None = getattr(model, "halt_logit", None)
    reads_halt = getattr(halting, "reads_halt", False)
    if reads_halt and halt_logit is None:
        raise TypeError(
            f"{halting} reads a halt logit, but {type(model).__name__} has none; use a rule such as {OutputKL()}"
        )
    context = model.encode(tokens)
    state = model.initial_state(context) if state is None else state
    halted_at = torch.zeros(tokens.shape, dtype=torch.long, device=tokens.device)
    streak = torch.zeros_like(halted_at)
    logits = logits_before = None
    kept: list[tuple[int, State, Tensor]] = []
    residuals = []
    for t in range(1, passes + 1):
        before, state = state, model.step(state, context)
        if halting is not None:
            state = _freeze(state, before, halted_at > 0)
        residuals.append(_residual(before, state)[:, -tokens.shape[1] :])  # a register in front is no position
        last = t == passes
        if halting is not None:
            if halting.reads_logits:
                logits_before, logits = logits, model.decode(state)
            value = halt_logit(state) if reads_halt and halt_logit is not None else None
            settled = halting.settled(Change(t, residuals[-1], logits_before, logits, value))
            streak = torch.where(settled, streak + 1, 0)
            halted_at = torch.where((halted_at == 0) & (streak >= halting.patience), t, halted_at)
            last = last or bool((halted_at > 0).all())
        if last or keep == "all" or (isinstance(keep, int) and t % keep == 0):
            kept.append((t, state, logits if logits is not None else model.decode(state)))
        if last:
            break
    return Trajectory(
        tokens=tokens,
        passes=tuple(t for t, _, _ in kept),
        states=tuple(s for _, s, _ in kept),
        logits=torch.stack([z for _, _, z in kept]),
        residuals=torch.stack(residuals),
        halted_at=halted_at,
        halt_logits=torch.stack([halt_logit(s) for _, s, _ in kept]) if halt_logit is not None else None,
    )


@torch.no_grad()
def stream(model: TimeRecurrent, blocks: Iterable[Int[Tensor, "b m"]], *, keep: Keep = "all") -> Trajectory:
    """Runs a time-recurrent model over blocks of tokens and records the run; no gradients.

    With `keep="last"` memory is constant in the number of blocks, so that `blocks` may be a generator over millions
    of tokens.

    Raises:
        ValueError: no blocks, blocks of another rank or of unequal shape, or a bad `keep`.
    """
    _check_keep(keep)
    kept: list[tuple[int, State, Tensor, Tensor]] = []
    residuals: list[Tensor] = []
    state = latest = shape = None
    for t, block in enumerate(blocks, start=1):
        if shape is None:
            if block.ndim != 2:
                raise ValueError(
                    f"block 1 has shape {list(block.shape)}; expected [batch, positions], one block an item"
                )
            shape, state = block.shape, model.initial_state(block.shape[0])
        if block.shape != shape:
            raise ValueError(f"block {t} has shape {list(block.shape)}, block 1 had {list(shape)}; pad to equal blocks")
        before = state
        state, output = model.step(state, block)
        moved, size = _flat(state) - _flat(before), _flat(state)
        residuals.append((moved.norm(dim=-1) / size.norm(dim=-1).clamp_min(1e-12))[:, None])
        if keep == "last":
            residuals = residuals[-1:]
            latest = (t, state, output, block)
        elif keep == "all" or t % keep == 0:
            kept.append((t, state, model.decode(output), block))
            latest = None
        else:
            latest = (t, state, output, block)
    if shape is None:
        raise ValueError("no blocks to read; expected at least one [batch, positions] tensor")
    if latest is not None:
        t, state, output, block = latest
        kept.append((t, state, model.decode(output), block))
    return Trajectory(
        tokens=torch.cat([block for *_, block in kept], dim=1),
        passes=tuple(t for t, *_ in kept),
        states=tuple(s for _, s, _, _ in kept),
        logits=torch.stack([z for _, _, z, _ in kept]),
        residuals=torch.stack(residuals),
        halted_at=torch.zeros(shape[0], 1, dtype=torch.long, device=residuals[0].device),
    )


def _check_keep(keep: Keep) -> None:
    if keep not in ("all", "last") and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 1):
        raise ValueError(f"keep={keep!r}; choose 'all', 'last', or a whole number k >= 1 for every k-th")


def _parts(state: State) -> Sequence[Tensor]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def _flat(state: State) -> Float[Tensor, "b s"]:
    return torch.cat([part.float().flatten(1) for part in _parts(state)], -1)


def _residual(before: State, after: State) -> Float[Tensor, "b n"]:
    """||h_t - h_{t-1}|| / ||h_t|| at each position; several state tensors count as one long vector."""
    h0, h1 = (torch.cat([part.float() for part in _parts(s)], -1) for s in (before, after))
    return (h1 - h0).norm(dim=-1) / h1.norm(dim=-1).clamp_min(1e-12)


def _freeze(after: State, before: State, halted: Bool[Tensor, "b n"]) -> State:
    """`before` where halted, else `after`; a register in front of the positions halts when all of them have."""
    parts = []
    for a, b in zip(_parts(after), _parts(before), strict=True):
        registers = halted.all(1, keepdim=True).expand(-1, a.shape[1] - halted.shape[1])
        parts.append(torch.where(torch.cat([registers, halted], 1)[..., None], b, a))
    if isinstance(after, Tensor):
        return parts[0]
    return type(after)(*parts) if hasattr(after, "_fields") else tuple(parts)
