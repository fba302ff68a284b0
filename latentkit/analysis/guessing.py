"""Restarts that hold a guess: breadth for a model that, left alone, settles undecided.

    run 0      from a random start, as usual; its output is the model's belief p(digit | cell)
    run r      from another random start, with a few guesses held for all of its passes: cells drawn at random among the
               undecided ones, each with a digit drawn from the belief
    answer     of all runs, the one whose least certain cell is most certain

This is random search wrapped around the recurrence, and it should be called so: what the model contributes is the
belief that guesses are drawn from, the propagation of their consequences, and the knowledge of whether a run came out
decided. The rules of Sudoku are not consulted, no guess is taken back within a run, and no run learns from another.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from latentkit.analysis.reliability import Restarts
from latentkit.models import SudokuGraph
from latentkit.recurrence import advance, check_passes

UNDECIDED = 0.3
"""Nats of entropy above which a cell counts as undecided."""
STRIDE = 8  # passes between two looks at the confidence


@torch.no_grad()
def guessing_restarts(
    model: SudokuGraph,
    tokens: Int[Tensor, "b n"],
    passes: int,
    restarts: int,
    *,
    guesses: int = 2,
    enough: float = 0.97,
    seed: int = 0,
    chunk: int = 24,
) -> Restarts:
    """Runs each puzzle once plainly, then with fresh guesses until one run is confident enough.

    Args:
        passes: most passes of a run; it ends earlier where it is confident enough.
        restarts: most runs of a puzzle, the plain one included.
        guesses: cells supposed in each run but the first.
        enough: probability of the least certain cell at which a puzzle is done: its further runs are copies, not run.
        chunk: puzzles that run together.

    Raises:
        ValueError: no restarts or guesses, or bad `passes`.
    """
    check_passes(passes)
    if restarts < 1 or guesses < 1 or chunk < 1:
        raise ValueError(f"restarts={restarts}, guesses={guesses}, chunk={chunk}; each must be at least 1")
    predictions, confidence = [], []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for part in tokens.split(chunk):
            found, sure = _restarts(model, part, passes, restarts, guesses, enough)
            predictions.append(found)
            confidence.append(sure)
    return Restarts(torch.cat(predictions, 1), {"min_confidence": torch.cat(confidence, 1)})


def guess(
    belief: Float[Tensor, "b n v"], blank: Bool[Tensor, "b n"], count: int, undecided: float = UNDECIDED
) -> Bool[Tensor, "b n v"]:
    """`count` blank cells of each puzzle, undecided ones first, else at random, each with a digit of the belief."""
    digit = torch.multinomial(belief.flatten(0, 1), 1).view(blank.shape)
    entropy = -(belief * belief.clamp_min(1e-9).log()).sum(-1)
    # Uniform numbers are below 1: an undecided blank always comes before a decided one, and that before a given.
    order = torch.rand(blank.shape) + (entropy > undecided).float() + 2 * blank.float()
    chosen = torch.zeros_like(blank).scatter(1, order.topk(count).indices, True) & blank
    return chosen[..., None] & torch.nn.functional.one_hot(digit, belief.shape[-1]).bool()


def _restarts(
    model: SudokuGraph, tokens: Int[Tensor, "b n"], passes: int, restarts: int, guesses: int, enough: float
) -> tuple[Int[Tensor, "r b n"], Float[Tensor, "r b"]]:
    logits, sure = _run(model, tokens, None, passes, enough)
    belief, answer = logits.softmax(-1), logits.argmax(-1)
    predictions, confidence = [answer], [sure]
    best = sure.clone()
    for _ in range(restarts - 1):
        answer, sure = predictions[-1].clone(), confidence[-1].clone()
        live = (best <= enough).nonzero()[:, 0]
        if len(live):
            supposed = guess(belief[live], tokens[live] == 0, guesses)
            logits, confident = _run(model, tokens[live], supposed, passes, enough)
            answer[live], sure[live] = logits.argmax(-1), confident
            best = torch.maximum(best, sure)
        predictions.append(answer)
        confidence.append(sure)
    return torch.stack(predictions), torch.stack(confidence)


def _run(
    model: SudokuGraph, tokens: Int[Tensor, "b n"], supposed: Bool[Tensor, "b n v"] | None, passes: int, enough: float
) -> tuple[Float[Tensor, "b n v"], Float[Tensor, " b"]]:
    """Logits after at most `passes` passes, and the confidence in the least certain cell; a confident puzzle stops."""
    context = model.encode(tokens, supposed)
    state = model.initial_state(context)
    live = torch.arange(len(tokens))
    logits: Tensor | None = None
    sure = torch.zeros(len(tokens))
    for done in range(0, passes, STRIDE):
        state = advance(model, state, context, min(STRIDE, passes - done))
        now = model.decode(state).float()
        logits = now.new_zeros(len(tokens), *now.shape[1:]) if logits is None else logits
        logits[live], sure[live] = now, now.softmax(-1).amax(-1).amin(-1)
        go_on = sure[live] <= enough
        if not go_on.all():
            live, state = live[go_on], state[go_on]
            context = tuple(code[go_on] for code in context)
        if not len(live):
            break
    assert logits is not None
    return logits, sure
