"""Three tasks of the course made fit for the map: small, fair to models that look ahead, and held out for sure."""

from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import torch

from latentkit.paths import find
from latentkit.tasks import NO_TARGET, Batch, Maze, Needles, Sudoku
from latentkit.tasks.maze import cell_depth, solve
from latentkit.tasks.maze_generator import generate_mazes, symmetry_classes
from latentkit.tasks.puzzles import PuzzleSet, read_sudoku_csv
from latentkit.tasks.sudoku_solver import singles_depth
from latentkit.tasks.sudoku_symmetry import canonical_form

TESTED_MAZES, TESTED_SUDOKUS = 100, 200  # symmetry classes held out


class Recall(Needles):
    """Needles with filler behind each question, where `Needles` has the answer."""

    def __repr__(self) -> str:
        return f"Recall of {super().__repr__()}"

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """As `Needles.sample`; nothing in the input gives an answer away, even to who looks ahead."""
        made = super().sample(batch, length, generator)
        answers = (made.targets != NO_TARGET).roll(1, 1)  # a question is never the last token
        return made._replace(tokens=made.tokens.masked_fill(answers, self.vocab_size - 1))


class SmallMaze(Maze):
    """Perfect mazes of 5 x 5 characters: nine rooms. They are generated when the first is asked for.

    There are some four hundred symmetry classes; a hundred are held out.
    """

    def __init__(self) -> None:
        super().__init__(side=5)

    def __repr__(self) -> str:
        return "SmallMaze()"

    @cached_property
    def puzzles(self) -> PuzzleSet:
        """One maze of each symmetry class that is found among 6,000."""
        drawn = generate_mazes(6000, self.side, seed=0)
        solved = solve(drawn[_first_of_each(symmetry_classes(drawn))])
        return PuzzleSet(
            solved.tokens.to(torch.int8),
            solved.targets.to(torch.int8),
            **_about(len(solved.tokens), TESTED_MAZES),
            guesses=torch.full((len(solved.tokens),), torch.nan),
            measure=cell_depth,
        )


class SmallSudoku(Sudoku):
    """4x4 Sudokus with two clues more than they need. They are made when the first is asked for.

    Those with minimal clues fall into some three dozen symmetry classes, too few to hold any out: nearly every one of
    the shipped test split is the image of one to train on. With two further clues there are 764.
    """

    def __init__(self) -> None:
        super().__init__(2, 2)

    def __repr__(self) -> str:
        return "SmallSudoku()"

    @cached_property
    def puzzles(self) -> PuzzleSet:
        """One puzzle of each symmetry class, the order drawn once; the first are for the test."""
        shipped = read_sudoku_csv(find("puzzles/sudoku-4x4.csv"), self.board)
        grids, clues = shipped.targets.numpy() + 1, shipped.tokens.numpy()
        grown: list[tuple[np.ndarray, np.ndarray]] = []
        for i in _first_of_each(self._classes(grids, clues)):
            for pair in combinations(np.flatnonzero(clues[i] == 0), 2):
                puzzle = clues[i].copy()
                puzzle[list(pair)] = grids[i][list(pair)]
                grown.append((grids[i], puzzle))
        solutions, puzzles = (np.stack(parts) for parts in zip(*grown, strict=True))
        kept = np.random.default_rng(0).permutation(_first_of_each(self._classes(solutions, puzzles)))
        return PuzzleSet(
            torch.from_numpy(puzzles[kept]).to(torch.int8),
            torch.from_numpy(solutions[kept] - 1).to(torch.int8),
            **_about(len(kept), TESTED_SUDOKUS),
            guesses=torch.full((len(kept),), torch.nan),
            measure=lambda tokens, targets: torch.from_numpy(singles_depth(tokens.numpy(), self.board)),
        )

    def _classes(self, solutions: np.ndarray, puzzles: np.ndarray) -> list[bytes]:
        return [bytes(form) for form in canonical_form(solutions, self.board, puzzles)]


def _first_of_each(classes: list[bytes]) -> list[int]:
    """Where each class stands for the first time."""
    first: dict[bytes, int] = {}
    for i, name in enumerate(classes):
        first.setdefault(name, i)
    return list(first.values())


def _about(count: int, tested: int) -> dict[str, Any]:
    """The columns of a set whose first puzzles are for the test."""
    split = np.array(["test"] * tested + ["train"] * (count - tested))
    return {"band": np.full(count, ""), "source": np.full(count, ""), "split": split}
