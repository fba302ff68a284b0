"""Mazes: which cells lie on the shortest path from the start to the goal?

    token at a cell     0 wall, 1 free, 2 start, 3 goal; a square grid, row by row
    target at a cell    1 on the path (start and goal included), 0 off it
    depth of a cell     rounds until two floods, one from each end and one cell a round, have both reached it

Why this depth: a cell c is on a shortest path exactly where d(start, c) + d(c, goal) = d(start, goal). Messages between
neighbours only, as of a 3 x 3 convolution, need max(d(start, c), d(c, goal)) rounds to bring both terms to c. Walls
have depth 0; free cells that no flood reaches have one round more than the last.

A perfect maze has one path between any two cells. With loops there may be several shortest paths, of which one is
stored: `exact` asks for that one, as the papers' evaluations do; `valid_shortest` accepts each of them.
"""

import csv
import math
from functools import cached_property
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from latentkit import paths
from latentkit.style import INK, RIGHT, WRONG, figure_style
from latentkit.tasks import Batch, accuracy_by_depth
from latentkit.tasks.puzzles import PuzzleSet

WALL, FREE, START, GOAL = range(4)
SYMBOLS = "# SG"
"""The character of each token in a file (the Maze-Hard format, Wang et al. 2025); an answer has `PATH` on the path."""
PATH = "o"
_ON_PATH = PATH + "SG"


class Maze:
    """Mazes of `side` x `side` cells.

    Args:
        side: characters along an edge.
        puzzles: a set of mazes, or the name of a shipped one.
        augment: turn and mirror each maze that `sample` draws (8 symmetries).

    Raises:
        ValueError: mazes of another size.
        FileNotFoundError: no shipped set of that name.
    """

    vocab_size, num_classes = 4, 2
    token_names, class_names = ["#", "·", "S", "G"], ["off", "on"]

    def __init__(self, side: int = 7, puzzles: PuzzleSet | str = "maze-7x7", augment: bool = True):
        self.side, self.num_positions, self.augment = side, side * side, augment
        self.name = f"maze-{side}x{side}"
        self._set = puzzles if isinstance(puzzles, str) else "mazes"
        self._puzzles = paths.find(f"puzzles/{puzzles}.csv") if isinstance(puzzles, str) else puzzles
        self._symmetries = symmetries(side)
        if isinstance(self._puzzles, PuzzleSet):
            self._check_size(self._puzzles)

    @cached_property
    def puzzles(self) -> PuzzleSet:
        """The set; a shipped file is read when its first maze is asked for."""
        if isinstance(self._puzzles, PuzzleSet):
            return self._puzzles
        puzzles = read_maze_csv(self._puzzles)
        self._check_size(puzzles)
        return puzzles

    def _check_size(self, puzzles: PuzzleSet) -> None:
        if puzzles.tokens.shape[1] != self.num_positions:
            side = self.side
            raise ValueError(
                f"mazes of {puzzles.tokens.shape[1]} cells; side={side} needs {side} x {side} = {side * side}"
            )

    def _split(self, name: str) -> Batch:
        return self.puzzles.select(split=name if (self.puzzles.split != "").any() else None).batch()

    @cached_property
    def _train(self) -> Batch:
        return self._split("train")

    @cached_property
    def _test(self) -> Batch:
        return self._split("test")

    def __repr__(self) -> str:
        return f"Maze({self.side}, {self._set!r}{'' if self.augment else ', augment=False'})"

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """Mazes of the train split (of all, where the set has none), each turned and mirrored at random.

        Raises:
            ValueError: batch below 1, or length other than the number of cells.
        """
        if batch < 1 or length != self.num_positions:
            raise ValueError(
                f"batch={batch}, length={length}; batch must be at least 1 and length {self.num_positions}, one a cell"
            )
        rows = torch.randint(len(self._train.tokens), (batch,), generator=generator)
        drawn = Batch(*(field[rows] for field in self._train))
        if not self.augment:
            return drawn
        image = self._symmetries[torch.randint(8, (batch,), generator=generator)]
        return Batch(*(field.gather(1, image) for field in drawn))

    def test(self, limit: int | None = None) -> Batch:
        """The test split (all, where the set has none) as it is in the file; the first `limit` mazes of it."""
        return Batch(*(field[:limit] for field in self._test))

    def score(self, logits: Float[Tensor, "b n v"], batch: Batch) -> Float[Tensor, " m"]:
        """Accuracy at each depth."""
        return accuracy_by_depth(logits, batch)

    def exact(self, logits: Float[Tensor, "b n v"], batch: Batch) -> Bool[Tensor, " b"]:
        """Mazes with every cell as stored."""
        return (logits.argmax(-1).cpu() == batch.targets.cpu()).all(-1)

    def check(self, tokens: Int[Tensor, "b n"], answer: Int[Tensor, "b n"]) -> Bool[Tensor, " b"]:
        """`valid_shortest`, under the name that every puzzle has for its rules."""
        return valid_shortest(tokens, answer)

    def show(self, batch: Batch, logits: Float[Tensor, "b n v"] | None = None, example: int = 0) -> Figure:
        """One maze with its path; where logits are given, what the model found, missed (ring) and invented (cross)."""
        side = self.side
        tokens, targets = batch.tokens[example].tolist(), batch.targets[example].tolist()
        answer = targets if logits is None else logits[example].argmax(-1).tolist()
        with figure_style():
            figure, axes = plt.subplots(figsize=(0.34 * side + 0.3, 0.34 * side + 0.6))
            for cell, (token, target, said) in enumerate(zip(tokens, targets, answer, strict=True)):
                x, y = cell % side, -(cell // side)
                right = target == said
                on_path = bool(target or said)
                colour = INK if token == WALL else "white" if not on_path else RIGHT if right else WRONG
                axes.add_patch(
                    plt.Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="0.8", linewidth=0.5)
                )
                text = SYMBOLS[token] if token in (START, GOAL) else ""
                if on_path and not (text and right):
                    text += "•" if right else "○" if target else "✗"
                axes.text(x, y, text, ha="center", va="center", fontsize=9, color="white" if token == WALL else INK)
            if logits is not None:
                exact = answer == targets
                valid = bool(valid_shortest(batch.tokens[example][None], logits[example].argmax(-1)[None].cpu()))
                verdict = "right" if exact else "another shortest path" if valid else "wrong: ○ missed  ✗ not on it"
                axes.set_title(verdict, fontsize=9)
            axes.set(xlim=(-0.55, side - 0.45), ylim=(-side + 0.45, 0.55), aspect="equal")
            axes.axis("off")
            figure.canvas.draw()  # the layout is settled now, under this style
        plt.close(figure)  # the notebook shows the returned figure once, not twice
        return figure


def read_maze_csv(path: Path | str, skip_malformed: bool = False) -> PuzzleSet:
    """Mazes of a csv: columns `question` and `answer` (as published) or `puzzle` and `solution` (as we ship them).

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither pair of columns; no maze; a malformed row (another size than the first, unknown symbols, not
            one S and one G, an answer that is not a shortest path through the same maze), named by file and line,
            unless such rows are to be skipped.
    """
    path = Path(path)
    rows: dict[int, dict[str, str]] = {}
    malformed: dict[int, str] = {}
    # A byte-order mark is dropped; a byte that is no text becomes a symbol that `_fault` will name.
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        table = csv.DictReader(file)
        names = table.fieldnames or []
        question, answer = ("question", "answer") if "question" in names else ("puzzle", "solution")
        if not {question, answer} <= set(names):
            raise ValueError(f"{path}: columns {', '.join(names)}; needs question and answer, or puzzle and solution")
        cells = None
        for row in table:
            if None in row or None in row.values():
                malformed[table.line_num] = f"another number of columns than the header, which has {len(names)}"
            elif reason := _fault(row[question], row[answer], cells):
                malformed[table.line_num] = reason
            else:
                rows[table.line_num] = row
                cells = len(row[question])
    if rows:
        tokens = torch.tensor([[SYMBOLS.index(symbol) for symbol in row[question]] for row in rows.values()])
        targets = torch.tensor([[int(symbol in _ON_PATH) for symbol in row[answer]] for row in rows.values()])
        good = valid_shortest(tokens, targets)
        tokens, targets = tokens[good].to(torch.int8), targets[good].to(torch.int8)
        for line, is_good in zip(rows, good.tolist(), strict=True):
            if not is_good:
                malformed[line] = "the answer is not a shortest path from S to G"
    said = tuple(f"{path}, line {line}: {reason}" for line, reason in sorted(malformed.items()))
    kept = [row for line, row in rows.items() if line not in malformed]
    if said and not skip_malformed:
        raise ValueError(said[0] + (f" (and {len(said) - 1} more malformed rows)" if len(said) > 1 else ""))
    if not kept:
        raise ValueError(f"{path}: no maze in it" + (f"; {said[0]}" if said else ""))
    columns = {name: np.array([row.get(name, "") for row in kept]) for name in ("band", "source", "split")}
    return PuzzleSet(
        tokens, targets, **columns, guesses=torch.full((len(kept),), torch.nan), measure=cell_depth, skipped=said
    )


def _fault(question: str | None, answer: str | None, cells: int | None) -> str:
    """What is wrong with the symbols of a row; empty where nothing is."""
    if not question or not answer:
        return "the puzzle or its answer is missing"
    if math.isqrt(len(question)) ** 2 != len(question) or len(question) != (cells or len(question)):
        return f"{len(question)} characters in the puzzle; expected " + (str(cells) if cells else "a square number")
    if len(answer) != len(question):
        return f"{len(answer)} characters in the answer, {len(question)} in the puzzle"
    if unknown := set(question) - set(SYMBOLS) or set(answer) - set(SYMBOLS) - {PATH}:
        return f"unknown symbol {min(unknown)!r}; a maze is written in {SYMBOLS!r}, its path in {PATH!r}"
    for end in "SG":
        if question.count(end) != 1:
            return f"{question.count(end)} cells {end!r}; a maze needs exactly one"
    if answer.replace(PATH, " ") != question:
        return "the answer shows another maze than the puzzle"
    return ""


def flood(open_cells: Bool[Tensor, "b s s"], source: Bool[Tensor, "b s s"]) -> Int[Tensor, "b s s"]:
    """Breadth-first distance of every open cell from the nearest source, -1 where none is reached."""
    distance = torch.where(source, 0, -1)
    front, step = source, 0
    while front.any():
        step += 1
        near = torch.zeros_like(front)
        near[:, 1:] |= front[:, :-1]
        near[:, :-1] |= front[:, 1:]
        near[:, :, 1:] |= front[:, :, :-1]
        near[:, :, :-1] |= front[:, :, 1:]
        front = near & open_cells & (distance < 0)
        distance = distance.masked_fill(front, step)
    return distance


def solve(tokens: Int[Tensor, "b n"]) -> Batch:
    """Each maze with a shortest path and the depth of its cells.

    Where there are several shortest paths, the one that a walk from the goal finds if it tries up, left, right, down in
    this order.

    Raises:
        ValueError: not exactly one start and one goal, or no way between them; says which maze (counted from 0).
    """
    grid = _grid(tokens)
    b, side, _ = grid.shape
    for name, mark in (("S", START), ("G", GOAL)):
        if (wrong := (grid == mark).sum((1, 2)) != 1).any():
            i = int(wrong.nonzero()[0])
            raise ValueError(f"maze {i} has {int((grid[i] == mark).sum())} cells {name!r}; it needs exactly one")
    from_start = flood(grid != WALL, grid == START)
    length = from_start[grid == GOAL]
    if (length < 0).any():
        raise ValueError(f"maze {int((length < 0).nonzero()[0])} has no way from S to G")
    # A border of -2, which is no distance, so that a walk has four neighbours everywhere.
    wide = torch.nn.functional.pad(from_start, (1, 1, 1, 1), value=-2).flatten(1)
    offsets = torch.tensor([-(side + 2), -1, 1, side + 2])
    goal = (grid == GOAL).flatten(1).int().argmax(1)
    place = (goal // side + 1) * (side + 2) + goal % side + 1
    path = torch.zeros_like(wide)
    for step in range(int(length.max()) + 1):
        path.scatter_(1, place[:, None], 1)
        around = place[:, None] + offsets
        down = wide.gather(1, around) == (length - step - 1)[:, None]
        towards = around.gather(1, down.int().argmax(1, keepdim=True))[:, 0]
        place = torch.where(step < length, towards, place)  # who has arrived stays
    targets = path.view(b, side + 2, side + 2)[:, 1:-1, 1:-1].flatten(1)
    return Batch(tokens, targets, cell_depth(tokens))


def cell_depth(tokens: Int[Tensor, "b n"], targets: Int[Tensor, "b n"] | None = None) -> Int[Tensor, "b n"]:
    """Rounds until a flood from the start and one from the goal have both reached a cell (see the module's text)."""
    grid = _grid(tokens)
    floods = [flood(grid != WALL, grid == end).flatten(1) for end in (START, GOAL)]
    depth = torch.maximum(*floods)
    return torch.where(depth < 0, depth.amax(1, keepdim=True) + 1, depth).masked_fill(tokens == WALL, 0)


def valid_shortest(tokens: Int[Tensor, "b n"], answer: Int[Tensor, "b n"]) -> Bool[Tensor, " b"]:
    """Which answers (1 on the path) are a connected path from S to G through free cells, and none is shorter."""
    tokens, answer = tokens.cpu(), answer.cpu()
    grid, marked = _grid(tokens), _grid(answer) == 1
    goal = grid == GOAL
    shortest = flood(grid != WALL, grid == START)[goal]
    inside = flood(marked & (grid != WALL), marked & (grid == START))[goal]
    # As many cells as a shortest path, which reach from end to end: nothing is left over for a wall or a blind alley.
    return (shortest > 0) & (inside == shortest) & (marked.sum((1, 2)) == shortest + 1)


def symmetries(side: int) -> Int[Tensor, "8 n"]:
    """The eight turns and mirror images of a square: image k of a maze is `maze[symmetries(side)[k]]`."""
    square = torch.arange(side * side).view(side, side)
    images = [turned for k in range(4) for turned in (square.rot90(k), square.rot90(k).T)]
    return torch.stack([image.flatten() for image in images])


def _grid(cells: Int[Tensor, "b n"]) -> Int[Tensor, "b s s"]:
    side = round(cells.shape[1] ** 0.5)
    return cells.view(-1, side, side)
