"""The columns of the depth-memory map: a task each, with its difficulty and its budget.

Every task is a sequence of tokens with a label at each position. A model over depth answers in place: transformer and
loop from what came before (in puzzles and graphs from all), HRM, TRM and EqR from all. A model over time reads the
input twice and answers in the second reading, an answer region as long as the input, where every position shows its own
token again.

    depth                x_1 .. x_n                         y_i at position i
    time                 ^ x_1 .. x_n ^ x_1 .. x_n          y_i at the second x_i
    time, named places   1.x_1 .. n.x_n 1.x_1 .. n.x_n      the same; a token also says its place

The third form is for tasks in which a position is a name (a node, a cell): a model over depth learns a vector for each.
A task that asks at its end anyway (copying, needles) is read once by all.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from latentkit.claims.depth_wall import held_out
from latentkit.depth_memory.tasks import Recall, SmallMaze, SmallSudoku
from latentkit.tasks import (
    NO_TARGET,
    Batch,
    Composition,
    Copying,
    NonAdjacentSum,
    PointerChasing,
    WordProblem,
)
from latentkit.training import Curriculum, PassesPerPosition, UniformPasses
from latentkit.training.supervision import PassSchedule

EXAMPLES = 256  # held out, of which a score is made; fewer where a task has no more


@dataclass(frozen=True)
class Layout:
    """How a kind of model is shown an example.

    Attributes:
        twice: the input, and the input again, which alone is asked about.
        places: tokens also say their place, of so many; 0 for plain tokens.
        positions: filled up at the end to exactly so many; 0 for as many as there are.
        block: filled up at the front to a multiple of it.
    """

    twice: bool = False
    places: int = 0
    positions: int = 0
    block: int = 1

    def vocab_size(self, tokens: int) -> int:
        """Tokens that are shown, where the task has `tokens`: the last one fills up, and begins a reading."""
        return tokens * max(1, self.places) + 1

    def show(self, batch: Batch, tokens: int) -> Batch:
        """The batch of a task with so many tokens, laid out.

        Raises:
            ValueError: more positions than there is room for, or another number of places.
        """
        x, fill = batch.tokens, self.vocab_size(tokens) - 1
        if self.places:
            if x.shape[1] != self.places:
                raise ValueError(f"{x.shape[1]} positions, but this layout names {self.places} places")
            batch = batch._replace(tokens=x + tokens * torch.arange(self.places))
        elif self.twice:
            batch = _filled(batch, fill, front=1)
        if self.twice:
            x, y, depth = batch
            batch = Batch(x.repeat(1, 2), torch.cat([torch.full_like(y, NO_TARGET), y], 1), depth.repeat(1, 2))
        n = batch.tokens.shape[1]
        if self.positions and n > self.positions:
            raise ValueError(f"{n} positions, but this layout has room for {self.positions}")
        return _filled(batch, fill, front=-n % self.block, end=self.positions - n if self.positions else 0)


def _filled(batch: Batch, fill: int, *, front: int = 0, end: int = 0) -> Batch:
    padded = (F.pad(x, (front, end), value=v) for x, v in zip(batch, (fill, NO_TARGET, 0), strict=True))
    return Batch(*padded)


@dataclass(frozen=True)
class Shown:
    """A task in a layout: itself a task to train on."""

    task: Any
    layout: Layout

    @property
    def name(self) -> str:
        """The task's own."""
        return self.task.name

    @property
    def vocab_size(self) -> int:
        """With the token that fills up."""
        return self.layout.vocab_size(self.task.vocab_size)

    @property
    def num_classes(self) -> int:
        """The task's own."""
        return self.task.num_classes

    def show(self, batch: Batch) -> Batch:
        """A batch of the task, laid out."""
        return self.layout.show(batch, self.task.vocab_size)

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """A training batch, laid out."""
        return self.show(self.task.sample(batch, length, generator))


@dataclass(frozen=True)
class Column:
    """One task of the map.

    Attributes:
        id, title: its name in commands and files, and in figures.
        loads: the axis that it loads.
        task: anything with `sample(batch, length, generator)`, `vocab_size` and `num_classes`.
        low, high: shortest and longest length in training, where the longest is reached half-way; the held-out
            examples have the longest.
        positions: of an example of that length.
        scored: least and largest depth of the held-out positions that count.
        difficulty: the same in words.
        batch, steps: examples of a training step, and steps: the budget, the same for every row.
        passes, tested: of a looped model, in training and in the end.
        attention: how a transformer tells positions apart: causal with learned "relative" distances, causal with
            windows of a few tokens ("hard-alibi"), or open to both sides with a learned vector for each of "places".
        mixer: how positions meet in HRM, TRM and EqR.
        asks_last: what is asked for stands in front of all questions, so that nobody need read twice.
        answers_shown: at each position the input holds the answers before it, so that only a causal model may read it.
        guess: share right of a guess that skips the work, where it is better than the most frequent answer.
    """

    id: str
    title: str
    loads: Literal["depth", "memory"]
    task: Any
    low: int
    high: int
    positions: int
    scored: tuple[int, int]
    difficulty: str
    batch: int
    steps: int
    passes: PassSchedule
    tested: int
    attention: Literal["relative", "hard-alibi", "places"] = "relative"
    mixer: Literal["attention", "tokens", "grid"] = "attention"
    asks_last: bool = False
    answers_shown: bool = False
    guess: float = 0.0

    def curriculum(self, layout: Layout) -> Curriculum:
        """The training batches. Every row is offered the same; deep supervision takes every fourth."""
        ramp = self.steps // 2 if self.low < self.high else 0
        return Curriculum(Shown(self.task, layout), self.batch, self.low, self.high, ramp)

    def counted(self, batch: Batch) -> Bool[Tensor, "b n"]:
        """The positions that count for the score."""
        least, most = self.scored
        return (batch.targets != NO_TARGET) & (batch.depth >= least) & (batch.depth <= most)


@cache
def held_out_batch(column: Column) -> Batch:
    """What is scored, before it is laid out: the task's test split, or examples from a seed that no training has.

    Of words, of which there are few, most occur in training all the same.
    """
    if isinstance(column.task, Composition):
        return column.task.chains([False] * column.high)
    if hasattr(column.task, "test"):
        return column.task.test(EXAMPLES)
    return held_out(column.task, column.high, EXAMPLES)


@cache
def chance(column: Column) -> float:
    """The score of whoever always gives the most frequent answer, or guesses better without the work."""
    batch = held_out_batch(column)
    counts = torch.bincount(batch.targets[column.counted(batch)])
    return max(column.guess, round(float(counts.max() / counts.sum()), 4))


COLUMNS = (
    Column(
        "words",
        "state tracking",
        "depth",
        WordProblem("S3"),
        *(2, 12, 13),
        (9, 12),
        "the product of the first 9 to 12 letters of a word over S3",
        *(48, 500),
        *(PassesPerPosition(extra=4), 16),
    ),
    Column(
        "pointers",
        "pointer chasing",
        "depth",
        PointerChasing(nodes=10, chains=2),
        *(10, 10, 10),
        (5, 9),
        "the root of nodes that are 5 pointers or more away from it; there are two, and who names either is at chance",
        *(48, 500),
        *(UniformPasses(2, 6), 6),
        attention="places",
        guess=0.5,  # a root names itself, so that the two are seen at a glance
    ),
    Column(
        "dp",
        "DP, depth 12",
        "depth",
        NonAdjacentSum(),
        *(2, 12, 12),
        (12, 12),
        "the largest sum of non-neighbours among 12 numbers, by dynamic programming",
        *(48, 600),
        *(PassesPerPosition(extra=4), 14),
        guess=0.32,  # a fit that is linear in the numbers, rounded
    ),
    Column(
        "two-hop",
        "two-hop facts",
        "depth",
        Composition(entities=10, relations=10, ood=0.1),
        *(2, 2, 3),
        (2, 2),
        "the second of two facts in a row, in held-out pairs; training shows each of the two in other pairs",
        *(96, 600),
        *(UniformPasses(2, 4), 4),
        guess=0.3,  # the commonest answer to the second relation, whoever is asked
    ),
    Column(
        "sudoku",
        "Sudoku 4x4",
        "depth",
        SmallSudoku(),
        *(16, 16, 16),
        (1, 99),
        "blank cells of 4x4 Sudokus with two clues more than they need, of held-out symmetry classes; six of seven "
        "follow from the clues in one step",
        *(48, 400),
        *(UniformPasses(4, 8), 8),
        attention="places",
        mixer="tokens",
    ),
    Column(
        "maze",
        "maze 5x5",
        "depth",
        SmallMaze(),
        *(25, 25, 25),
        (1, 99),
        "open cells of mazes of 5x5 characters, of held-out symmetry classes: on the path or off it",
        *(32, 400),
        *(UniformPasses(4, 8), 8),
        attention="places",
        mixer="grid",
    ),
    Column(
        "copying",
        "copying",
        "memory",
        Copying(16),
        *(4, 16, 34),
        (1, 16),
        "letters of random strings of 16, said again one after the other",
        *(48, 400),
        *(UniformPasses(2, 3), 3),
        attention="hard-alibi",
        asks_last=True,
        answers_shown=True,
    ),
    Column(
        "needles",
        "needle recall",
        "memory",
        Recall(),
        *(16, 48, 48),
        (1, 99),
        "values of four keys among 32 tokens of filler",
        *(32, 350),
        *(UniformPasses(2, 3), 3),
        attention="hard-alibi",
        asks_last=True,
    ),
)
