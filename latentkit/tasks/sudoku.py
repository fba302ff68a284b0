"""Sudoku of any box shape: fill the grid so that every row, column and box holds each digit once.

    token at a cell     0 for a blank, else the digit that is given
    target at a cell    its digit in the one solution, less 1
    depth of a cell     rounds of parallel naked and hidden singles until it is known; 0 for givens

Singles are the two steps that need no guess: a cell with one candidate left, a digit with one place left. A cell that
they never reach gets the puzzle's last round plus one; such puzzles need a guess, or reasoning of more than one step.
"""

from functools import cached_property
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from latentkit.paths import find
from latentkit.style import BLUE, INK, RIGHT, WRONG, figure_style
from latentkit.tasks import Batch, accuracy_by_depth
from latentkit.tasks.puzzles import PuzzleSet, read_sudoku_csv
from latentkit.tasks.sudoku_solver import Board, breaks_rules
from latentkit.tasks.sudoku_symmetry import random_symmetries


class Sudoku:
    """Sudoku with boxes of `box_rows` x `box_cols` cells: (2, 2) is 4x4, (2, 3) is 6x6, (3, 3) is 9x9.

    Attributes:
        puzzles: the set, or the name of a shipped one (default: sudoku-4x4, sudoku-6x6 or sudoku-9x9).
        augment: whether `sample` puts a fresh random symmetry on every puzzle.
        side: digits; num_positions: cells.

    Raises:
        ValueError: a box that no board has; puzzles of another size.
        FileNotFoundError: no shipped set of that name; the message lists them.
    """

    def __init__(self, box_rows: int, box_cols: int, puzzles: PuzzleSet | str | None = None, augment: bool = True):
        self.board = Board(box_rows, box_cols)
        self.side, self.num_positions = self.board.side, self.board.cells
        self.vocab_size, self.num_classes = self.side + 1, self.side
        self.token_names = [".", *(str(digit) for digit in range(1, self.side + 1))]
        self.class_names = self.token_names[1:]
        puzzles = f"sudoku-{self.side}x{self.side}" if puzzles is None else puzzles
        self.name = puzzles if isinstance(puzzles, str) else "sudoku"
        self._puzzles, self.augment = find(f"puzzles/{puzzles}.csv") if isinstance(puzzles, str) else puzzles, augment
        if not isinstance(self._puzzles, Path):
            self._check_size(self._puzzles)

    @cached_property
    def puzzles(self) -> PuzzleSet:
        """The set; a shipped file is read when its first puzzle is asked for."""
        if not isinstance(self._puzzles, Path):
            return self._puzzles
        puzzles = read_sudoku_csv(self._puzzles, self.board)
        self._check_size(puzzles)
        return puzzles

    def _check_size(self, puzzles: PuzzleSet) -> None:
        if puzzles.tokens.shape[1] != self.num_positions:
            rows, cols = self.board.box_rows, self.board.box_cols
            raise ValueError(
                f"puzzles of {puzzles.tokens.shape[1]} cells; boxes of {rows}x{cols} make {self.num_positions}"
            )

    def _split(self, name: str) -> PuzzleSet:
        return self.puzzles.select(split=name) if (self.puzzles.split != "").any() else self.puzzles

    @cached_property
    def _train(self) -> tuple[np.ndarray, ...]:
        return tuple(field.numpy() for field in self._split("train").batch())

    @cached_property
    def _test(self) -> PuzzleSet:
        return self._split("test")

    def __repr__(self) -> str:
        augment = "" if self.augment else ", augment=False"
        return f"Sudoku({self.board.box_rows}, {self.board.box_cols}, {self.name!r}{augment})"

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """Puzzles of the train split (of all, where the set has none), drawn with replacement.

        Raises:
            ValueError: batch below 1; length other than the number of cells.
        """
        if batch < 1 or length != self.num_positions:
            raise ValueError(
                f"batch={batch}, length={length}; batch must be at least 1 and length {self.num_positions}, one a cell"
            )
        tokens, targets, depth = self._train
        rows = torch.randint(len(tokens), (batch,), generator=generator).numpy()
        tokens, solution, depth = tokens[rows], targets[rows] + 1, depth[rows]
        if self.augment:
            seed = int(torch.randint(2**62, (), generator=generator))
            symmetries = random_symmetries(batch, self.board, np.random.default_rng(seed))
            tokens, solution = symmetries.apply(tokens), symmetries.apply(solution)
            depth = np.take_along_axis(depth, symmetries.cells, 1)
        return Batch(torch.from_numpy(tokens), torch.from_numpy(solution - 1), torch.from_numpy(depth))

    def test(self, limit: int | None = None) -> Batch:
        """The test split (all, where the set has none) as it is in the file; the first `limit` puzzles of it."""
        return self._test[:limit].batch()

    def score(self, logits: Float[Tensor, "b n v"], batch: Batch) -> Float[Tensor, " m"]:
        """Accuracy of cells at each depth; the first entry is for the givens."""
        return accuracy_by_depth(logits, batch)

    def exact(self, logits: Float[Tensor, "b n v"], batch: Batch) -> Bool[Tensor, " b"]:
        """Puzzles with every cell right."""
        return (logits.argmax(-1).cpu() == batch.targets.cpu()).all(1)

    def check(self, tokens: Int[Tensor, "b n"], answer: Int[Tensor, "b n"]) -> Bool[Tensor, " b"]:
        """Puzzles that `answer` (classes, digit - 1) solves by the rules: no digit twice, every given kept."""
        digits = answer.cpu() + 1
        broken = torch.from_numpy(breaks_rules(digits.numpy(), self.board))
        kept = (tokens.cpu() == 0) | (tokens.cpu() == digits)
        return (kept & ~broken).all(1)

    def show(
        self,
        batch: Batch,
        logits: Float[Tensor, "b n v"] | None = None,
        example: int = 0,
        previous: Float[Tensor, "b n v"] | None = None,
    ) -> Figure:
        """One board, givens bold; with logits what the model says: right on a tint, wrong hatched and crossed.

        `previous` are the logits of an earlier pass: a ring marks the cells whose digit was another then.
        """
        tokens, targets, _ = (field[example].tolist() for field in batch)
        answer, before = (None if given is None else given[example].argmax(-1).tolist() for given in (logits, previous))
        with figure_style():
            figure, axes = plt.subplots(figsize=(0.4 * self.side + 0.3, 0.4 * self.side + 0.3))
            for cell, (given, target) in enumerate(zip(tokens, targets, strict=True)):
                y, x = divmod(cell, self.side)
                digit = given if answer is None else answer[cell] + 1
                wrong = digit not in (0, target + 1)
                colour = WRONG if wrong else RIGHT if digit and not given else "none"
                axes.add_patch(
                    plt.Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="0.75", lw=0.7, hatch="///" * wrong)
                )
                weight = "bold" if digit == given else "normal"
                axes.text(
                    x + 0.5, y + 0.5, str(digit or ""), ha="center", va="center_baseline", fontsize=11, weight=weight
                )
                if wrong:
                    axes.text(x + 0.85, y + 0.2, "✗", ha="center", va="center", fontsize=6)
                if answer is not None and before is not None and answer[cell] != before[cell]:
                    axes.add_patch(plt.Circle((x + 0.5, y + 0.5), 0.37, fill=False, edgecolor=BLUE, lw=1.5))
            for line in range(self.side + 1):
                if line % self.board.box_rows == 0:
                    axes.hlines(line, 0, self.side, color=INK, lw=1.6)
                if line % self.board.box_cols == 0:
                    axes.vlines(line, 0, self.side, color=INK, lw=1.6)
            axes.set(xlim=(-0.06, self.side + 0.06), ylim=(self.side + 0.06, -0.06), aspect="equal")
            axes.axis("off")
            figure.canvas.draw()  # the layout is settled now, under this style
        plt.close(figure)  # the notebook shows the returned figure once, not twice
        return figure
