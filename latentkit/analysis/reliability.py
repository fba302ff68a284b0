"""Does a model know from inside when it is wrong? Several starts, what each says of itself, and the choice among them.

Signals, one number a run, each the larger the better the run looks:

    residual         minus ||h_t - h_{t-1}|| / ||h_t||, mean over positions and the last `WINDOW` passes: has it settled
                     (what Huang, Geng and Kolter 2026 choose by)?
    min_confidence   the probability of the predicted class at the position where it is lowest
    halt_logit       the model's own logit of "this answer is right", where it has one
    agreement        share of positions at which another run of the same input says the same, mean over the other runs

None of them checks an answer by the rules of its task. `auc` says how well a signal tells right from wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from latentkit.recurrence import DepthRecurrent, State, advance, check_passes, unroll

WINDOW = 3
"""Passes that the residual is averaged over (Huang, Geng, Kolter 2026)."""
_STRIDE = 16  # passes between two calls of `progress`


@dataclass(frozen=True)
class Restarts:
    """r runs of each of b inputs.

    Attributes:
        predictions: the class at every position after the last pass.
        signals: by name, see the module's text; `halt_logit` only where the model has one, `agreement` only for r > 1.
    """

    predictions: Int[Tensor, "r b n"]
    signals: dict[str, Float[Tensor, "r b"]]


@torch.no_grad()
def restarts(
    model: DepthRecurrent,
    tokens: Int[Tensor, "b n"],
    passes: int,
    restarts: int = 1,
    seed: int = 0,
    *,
    chunk: int = 64,
    progress: Callable[[int], object] | None = None,
) -> Restarts:
    """Runs the model from several starts; memory is constant in `passes`, and states are kept for one chunk at a time.

    Run r of a chunk has a random seed of its own, a function of `seed`, r and the chunk's place: few restarts are the
    first of many. Torch's global random state is left as it was.

    Args:
        chunk: inputs that run together. Another size draws other starts.
        progress: called now and then with the number of input passes (inputs x passes) done since the last call.

    Raises:
        ValueError: restarts or chunk below 1; several restarts of a model that always starts from the same state.
        TypeError, ValueError: bad passes or tokens.
    """
    check_passes(passes)
    if chunk < 1:
        raise ValueError(f"chunk={chunk}; at least 1 input is needed")
    check_restarts(model, tokens[:1], restarts)
    tick = progress or (lambda done: None)
    runs = []
    with torch.random.fork_rng():
        for first, part in enumerate(tokens.split(chunk)):
            runs.append([_run(model, part, passes, _seed(seed, r, first), tick) for r in range(restarts)])
    predictions = torch.cat([torch.stack([p for p, _ in chunks]) for chunks in runs], 1)
    signals = {
        name: torch.cat([torch.stack([found[name] for _, found in chunks]) for chunks in runs], 1)
        for name in runs[0][0][1]
    }
    if restarts > 1:
        signals["agreement"] = _agreement(predictions)
    return Restarts(predictions, signals)


def check_restarts(model: DepthRecurrent, tokens: Int[Tensor, "1 n"], restarts: int) -> None:
    """Refuses what would be one run many times.

    Raises:
        ValueError: restarts below 1, or several of a model that always starts from the same state.
    """
    if restarts < 1:
        raise ValueError(f"restarts={restarts}; at least 1 is needed")
    with torch.random.fork_rng():
        context = model.encode(tokens)
        one, other = (model.initial_state(context) for _ in range(2))
    parts = ((one,), (other,)) if isinstance(one, Tensor) else (one, other)
    if restarts > 1 and all(map(torch.equal, *parts)):
        raise ValueError(
            f"restarts={restarts}, but {type(model).__name__} always starts from the same state: all of them would "
            "be one run; use restarts=1, or a model with a random start (SudokuGraph, EqR)"
        )


def select(runs: Restarts, signal: str) -> Int[Tensor, "b n"]:
    """Of the runs of each input, the answer of the one with the largest signal (the first of equals).

    Raises:
        ValueError: a signal that these runs do not have.
    """
    if signal not in runs.signals:
        raise ValueError(f"no signal {signal!r} in these runs; choose {', '.join(runs.signals)}")
    best = runs.signals[signal].argmax(0)
    return runs.predictions[best, torch.arange(len(best), device=best.device)]


def auc(signal: Float[Tensor, "*shape"], right: Bool[Tensor, "*shape"]) -> float:
    """Probability that a right answer has a larger signal than a wrong one; ties count one half (area under the ROC).

    Raises:
        ValueError: no right or no wrong answer, other shapes, or a signal that is not a number.
    """
    if signal.shape != right.shape:
        raise ValueError(f"signal has shape {list(signal.shape)}, right {list(right.shape)}; one value an answer")
    if signal.isnan().any():
        raise ValueError(f"{int(signal.isnan().sum())} of {signal.numel()} signals are not a number")
    positive, n = int(right.sum()), right.numel()
    if positive in (0, n):
        raise ValueError(f"{positive} of {n} answers are right; the AUC needs right and wrong ones")
    # Mann and Whitney: from the sum of the ranks of the right ones, where equal values share their mean rank.
    _, place, count = signal.flatten().cpu().unique(return_inverse=True, return_counts=True)
    rank = (count.cumsum(0).double() - (count - 1) / 2)[place]
    ranks = float(rank[right.flatten().cpu()].sum())
    return (ranks - positive * (positive + 1) / 2) / (positive * (n - positive))


def _run(
    model: DepthRecurrent, tokens: Int[Tensor, "b n"], passes: int, seed: int, tick: Callable[[int], object]
) -> tuple[Int[Tensor, "b n"], dict[str, Float[Tensor, " b"]]]:
    torch.manual_seed(seed)
    context = model.encode(tokens)
    state: State = model.initial_state(context)
    recorded = min(WINDOW, passes)
    for done in range(0, passes - recorded, _STRIDE):
        stride = min(_STRIDE, passes - recorded - done)
        state = advance(model, state, context, stride)
        tick(stride * len(tokens))
    end = unroll(model, tokens, recorded, keep="last", state=state)
    tick(recorded * len(tokens))
    signals = {
        "residual": -end.residuals.mean((0, 2)),
        "min_confidence": end.logits[-1].float().softmax(-1).amax(-1).amin(-1),
    }
    if end.halt_logits is not None:
        signals["halt_logit"] = end.halt_logits[-1].float()
    return end.predictions[-1], signals


def _agreement(predictions: Int[Tensor, "r b n"]) -> Float[Tensor, "r b"]:
    """Share of positions at which the others say the same; one comparison of r x b x n a run, not r^2 at once."""
    r = len(predictions)
    same = torch.stack([(predictions == one).float().mean(-1).sum(0) for one in predictions])
    return (same - 1) / (r - 1)  # every run agrees with itself


def _seed(seed: int, restart: int, chunk: int) -> int:
    return (seed * 1_000_003 + restart) * 1_000_003 + chunk
