"""What "memorised subgraphs" means, measured: after Dziri, Lu, Sclar et al. 2023 (arXiv 2305.18654).

The paper's claim has parts, and each has its own function here:

    right answers come from subgraphs seen in training        `subgraph_counts`, `seen_and_right`
    wrong ones go wrong at a node, and what follows inherits  `outcomes`
    errors compound: 1 - (1 - eps)^n after n steps            `survival`, `hazard`, `constant_hazard`
    with chance c of recovery, accuracy tends to c/(c + eps)  `recovery`
    partial success is surface: digits that follow from few   `relative_information`
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from latentkit.tasks import ComputationGraph, NonAdjacentSum

Run = Callable[[Tensor], Tensor]
"""From tokens [b, n] to logits [b, n, v]."""

OUTCOMES = ("correct", "local", "propagation", "restoration")
CORRECT, LOCAL, PROPAGATION, RESTORATION = range(4)


@torch.no_grad()
def write(run: Run, pieces: Sequence[Int[Tensor, "b _"]], first_answer: int) -> Int[Tensor, "b k"]:
    """Greedy decoding: after every piece of input the model writes one answer, and reads it as its next token.

    Args:
        run: the model.
        pieces: `task.pieces(...)`; a piece may be empty.
        first_answer: `task.first_answer`, the token of the answer 0.
    """
    tokens, said = pieces[0][:, :0], []
    for piece in pieces:
        tokens = torch.cat([tokens, piece], 1)
        said.append(run(tokens)[:, -1].argmax(-1))
        tokens = torch.cat([tokens, said[-1][:, None] + first_answer], 1)
    return torch.stack(said, 1)


@torch.no_grad()
def best_sums_of(run: Run, task: NonAdjacentSum, x: Int[Tensor, "b n"]) -> Int[Tensor, "b n"]:
    """What a model says v_1 .. v_n are: in one pass, or one by one where the task has a scratchpad."""
    if task.scratchpad == "none":
        return run(task.batch(x).tokens).argmax(-1)
    return write(run, task.pieces(x), task.first_answer)


def outcomes(
    graph: ComputationGraph, truth: Int[Tensor, "b nodes"], said: Int[Tensor, "b nodes"]
) -> Int[Tensor, "b nodes"]:
    """What became of each node, as a place in OUTCOMES; inputs are correct.

        correct       the right value, all parents right
        local         a wrong value, and not the one that the rule makes of the parents as they were said
        propagation   a wrong value, but the one that the rule makes of its (wrong) parents
        restoration   the right value, although a parent is wrong

    A wrong rule on wrong parents counts as local: the node has made an error of its own.

    Raises:
        ValueError: values of another shape, or inputs that were not given right.
    """
    if truth.shape != said.shape:
        raise ValueError(f"truth has shape {list(truth.shape)}, said {list(said.shape)}; they must be alike")
    right, ruled = said == truth, said == graph.once(said)
    if not bool(right[:, list(graph.inputs)].all()):
        raise ValueError("inputs differ between truth and said: they are given, and no outcome")
    parents = [list(node.parents) for node in graph.nodes]
    parents_right = torch.stack([right[:, p].all(1) for p in parents], 1)
    code = torch.where(ruled, PROPAGATION, LOCAL)
    return torch.where(right, torch.where(parents_right, CORRECT, RESTORATION), code)


def subgraph_counts(
    graph: ComputationGraph, known: Int[Tensor, "r w"], x: Int[Tensor, "b m"]
) -> Int[Tensor, "b nodes"]:
    """For every node of every row of x: how many known rows hold its whole ancestor subgraph.

    Rules being fixed, a subgraph has the same values if the inputs below it have. Known rows may be shorter than those
    of x: what needs inputs that they do not have, they do not hold.

    Raises:
        ValueError: other inputs than the graph has, or subgraphs of too many inputs to count.
    """
    if x.shape[1] != len(graph.inputs):
        raise ValueError(f"x has {x.shape[1]} columns; this graph has {len(graph.inputs)} inputs")
    low = min(int(known.min()), int(x.min()))
    base = max(int(known.max()), int(x.max())) - low + 1
    counts = torch.zeros(len(x), len(graph.nodes), dtype=torch.long)
    for node, columns in enumerate(graph.ancestors):
        if columns[-1] >= known.shape[1]:
            continue
        codes, number = _codes(known[:, columns] - low, base).unique(return_counts=True)
        mine = _codes(x[:, columns] - low, base)
        at = torch.searchsorted(codes, mine).clamp(max=len(codes) - 1)
        counts[:, node] = torch.where(codes[at] == mine, number[at], 0)
    return counts


def _codes(columns: Int[Tensor, "b c"], base: int) -> Int[Tensor, " b"]:
    """One number for each row of digits in 0..base-1."""
    if base ** columns.shape[1] > 2**62:
        raise ValueError(f"{columns.shape[1]} columns of {base} values each are too many for one 64-bit code")
    return (columns * base ** torch.arange(columns.shape[1])).sum(1)


class Seen(NamedTuple):
    """How being seen and being right go together, at one node over many rows; NaN where there is nobody to ask.

    Attributes:
        seen_if_right, seen_if_wrong: share of right (wrong) nodes whose subgraph occurs in training.
        right_if_seen, right_if_unseen: accuracy where it does, and where it does not.
        wrong: how many nodes were wrong.
    """

    seen_if_right: float
    seen_if_wrong: float
    right_if_seen: float
    right_if_unseen: float
    wrong: int


def seen_and_right(seen: Bool[Tensor, " b"], right: Bool[Tensor, " b"]) -> Seen:
    """The four shares of one node."""

    def share(of: Tensor, among: Tensor) -> float:
        return float(of[among].float().mean())  # of nobody: NaN

    return Seen(share(seen, right), share(seen, ~right), share(right, seen), share(right, ~seen), int((~right).sum()))


def survival(right: Bool[Tensor, "b n"]) -> Float[Tensor, " n"]:
    """S_k: share of the rows in which steps 1 .. k are all right."""
    return right.long().cumprod(1).double().mean(0)


def hazard(right: Bool[Tensor, "b n"]) -> Float[Tensor, " n"]:
    """h_k = 1 - S_k / S_{k-1}: of the rows without a mistake so far, the share that makes its first one at step k.

    NaN from where no row is left.
    """
    alive = survival(right)
    before = torch.cat([alive.new_ones(1), alive[:-1]])
    return 1 - alive / torch.where(before > 0, before, torch.nan)


def constant_hazard(right: Bool[Tensor, "b n"]) -> float:
    """The eps of S_k = (1 - eps)^k that makes the first mistakes most likely: mistakes per step while all was right."""
    alive = torch.cat([torch.ones_like(right[:, :1]), right[:, :-1]], 1).long().cumprod(1).bool()
    return float((alive & ~right).sum() / alive.sum())


class Recovery(NamedTuple):
    """A step as a coin with two states; NaN where a state does not occur.

    Attributes:
        eps: chance of being wrong where the step before was right.
        c: chance of being right where it was wrong.
        limit: c / (c + eps), where accuracy would settle.
    """

    eps: float
    c: float
    limit: float


def recovery(right: Bool[Tensor, "b n"]) -> Recovery:
    """The two chances over all steps after the first."""
    before, now = right[:, :-1], right[:, 1:]
    eps, c = (float(hit.float().mean()) for hit in (~now[before], now[~before]))
    return Recovery(eps, c, c / (c + eps) if c + eps > 0 else math.nan)


def relative_information(x: Int[Tensor, "b c"], y: Int[Tensor, " b"]) -> float:
    """I(X; Y) / H(Y): which share of what there is to know of y the columns of x tell, 0 to 1, by counting.

    NaN where y is always the same. (The paper's relative information gain, its section on surface patterns.)
    """

    def entropy(columns: Tensor) -> float:
        low = int(columns.min())
        codes = _codes(columns - low, int(columns.max()) - low + 1)
        p = codes.unique(return_counts=True)[1].double() / len(codes)
        return float(-(p * p.log2()).sum())

    of_y = entropy(y[:, None])
    if of_y == 0:
        return math.nan
    return max(0.0, entropy(x) + of_y - entropy(torch.cat([x, y[:, None]], 1))) / of_y
