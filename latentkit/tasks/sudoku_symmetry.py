"""What can be done to a Sudoku without changing how hard it is.

The digits may be renamed, the rows of a band, the bands, the columns of a stack and the stacks permuted; where boxes
are square, the grid may be transposed as well. On 9x9 these are 2 * 6^8 * 9! symmetries (Russell and Jarvis 2006).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Integer

from latentkit.tasks.sudoku_solver import Board


class Symmetries(NamedTuple):
    """One symmetry a puzzle: cell i of the new grid is `digits[old[cells[i]]]`; digits[0] = 0 keeps a blank blank."""

    cells: Int[np.ndarray, "b n"]
    digits: Int[np.ndarray, "b d"]

    def apply(self, grids: Integer[np.ndarray, "b n"]) -> Integer[np.ndarray, "b n"]:
        """The new grids; puzzles and solutions alike."""
        moved = np.take_along_axis(grids, self.cells, 1)
        return np.take_along_axis(self.digits, moved, 1).astype(grids.dtype)


def random_symmetries(count: int, board: Board, generator: np.random.Generator) -> Symmetries:
    """Independent draws, uniform over all symmetries of the board."""
    rows = _lines(count, board.box_cols, board.box_rows, generator)
    columns = _lines(count, board.box_rows, board.box_cols, generator)
    cells = rows[:, :, None] * board.side + columns[:, None, :]
    if board.box_rows == board.box_cols:
        transposed = generator.random(count) < 0.5
        cells = np.where(transposed[:, None, None], cells.transpose(0, 2, 1), cells)
    digits = np.zeros((count, board.side + 1), np.int64)
    digits[:, 1:] = generator.random((count, board.side)).argsort(1) + 1
    return Symmetries(cells.reshape(count, board.cells), digits)


def _lines(count: int, bands: int, width: int, generator: np.random.Generator) -> Int[np.ndarray, "b s"]:
    """Orders of all rows (or columns): bands shuffled, and the rows in each band."""
    band = generator.random((count, bands)).argsort(1)
    within = generator.random((count, bands, width)).argsort(2)
    return (band[:, :, None] * width + within).reshape(count, bands * width)
