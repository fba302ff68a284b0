"""The one idea of the course, as code: a step that is re-applied to its own latent state, along one of two axes.

    depth:  state = step(state, context)            the same encoded input at every pass; logits = decode(state)
    time:   state, output = step(state, block)      the next block of the sequence;       logits = decode(output)

`unroll` runs the first, `stream` the second; both return a `Trajectory`, and whatever looks at a model (halting, plots,
widgets, analysis) reads a `Trajectory` and nothing else. Training does not come through here: it needs gradients and no
record (`advance`, used by `latentkit.training.supervision`).

A state is a tensor or a (named) tuple of tensors. Dimension legend: see `latentkit.layers`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
    """

    tokens: Int[Tensor, "b n"]
    passes: tuple[int, ...]
    states: tuple[State, ...]
    logits: Float[Tensor, "k b m v"]
    residuals: Float[Tensor, "t b r"]
    halted_at: Int[Tensor, "b r"]

    @property
    def predictions(self) -> Int[Tensor, "k b m"]:
        """The most likely class at each kept pass."""
        return self.logits.argmax(-1)

    @property
    def passes_used(self) -> Int[Tensor, "b r"]:
        """Passes spent at each position: up to its halt, or all of them."""
        return torch.where(self.halted_at > 0, self.halted_at, self.passes[-1])


class Change(NamedTuple):
    """What a halting rule may look at after pass t; logits are there only if the rule asks for them."""

    t: int
    residual: Float[Tensor, "b n"]
    logits_before: Float[Tensor, "b n v"] | None
    logits: Float[Tensor, "b n v"] | None


@runtime_checkable
class HaltingRule(Protocol):
    """Says where a run may stop: a position is frozen once it has been settled for `patience` passes in a row."""

    patience: int
    reads_logits: bool

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


def check_passes(passes: int) -> None:
    """Refuses a number of passes that is not a whole number of at least 1.

    Raises:
        TypeError, ValueError: with the value found.
    """
    if isinstance(passes, bool) or not isinstance(passes, int):
        raise TypeError(f"passes={passes!r} is a {type(passes).__name__}; it must be a whole number such as 8")
    if passes < 1:
        raise ValueError(f"passes={passes}; a run needs at least 1 pass")


def advance(model: DepthRecurrent, state: State, context: Any, passes: int) -> State:
    """The state after `passes` more passes, with gradients and without a record."""
    check_passes(passes)
    for _ in range(passes):
        state = model.step(state, context)
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
        state: where to start; default `model.initial_state`.

    Raises:
        TypeError, ValueError: bad `passes`, `keep`, `halting` or tokens, with the value found and what would be right.
    """
    check_passes(passes)
    _check_keep(keep)
    if halting is not None and halting.patience < 1:
        raise ValueError(f"{halting}: patience must be at least 1 pass")
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
        residuals.append(_residual(before, state))
        last = t == passes
        if halting is not None:
            if halting.reads_logits:
                logits_before, logits = logits, model.decode(state)
            settled = halting.settled(Change(t, residuals[-1], logits_before, logits))
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
    """`before` where halted, else `after`."""
    if isinstance(after, Tensor):
        return torch.where(halted[..., None], before, after)
    parts = [torch.where(halted[..., None], b, a) for a, b in zip(after, before, strict=True)]
    return type(after)(*parts) if hasattr(after, "_fields") else tuple(parts)
