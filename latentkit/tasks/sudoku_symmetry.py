"""What can be done to a Sudoku without changing how hard it is.

The digits may be renamed, the rows of a band, the bands, the columns of a stack and the stacks permuted; where boxes
are square, the grid may be transposed as well. On 9x9 these are 2 * 6^8 * 9! symmetries (Russell and Jarvis 2006).
"""

from functools import cache
from hashlib import sha1
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Integer, UInt8

from latentkit.tasks.sudoku_solver import Board, breaks_rules


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


def canonical_form(
    solutions: Integer[np.ndarray, "b n"], board: Board, puzzles: Integer[np.ndarray, "b n"] | None = None
) -> UInt8[np.ndarray, "b n"]:
    """The least of all images of each full grid, read row by row: equal exactly for grids of one symmetry class.

    With `puzzles`, the image of the puzzle: of the symmetries that bring its solution to canonical form, the one under
    which the puzzle becomes least. Equal exactly for puzzles of one symmetry class, if the solutions are unique.

    How: the first row of an image reads 1 2 3 ... whatever row it was, so a column order and the choice of that row fix
    the names of the digits. A second row is then chosen with the column order such that it reads least (this leaves a
    few candidates of 46,656 on 9x9); the order of the other rows follows from the digits in their first cells.

    Raises:
        ValueError: boards of more than 9 digits; solutions with blanks or broken rules.
    """
    if board.side > 9:
        raise ValueError(f"canonical forms are for at most 9 digits, this board has {board.side}")
    if (solutions < 1).any() or breaks_rules(solutions, board).any():
        raise ValueError("canonical forms are for solved grids; these have blanks or break the rules")
    carried = solutions if puzzles is None else puzzles
    parts = [
        _canonical(solutions[i : i + 64], carried[i : i + 64], board) for i in range(0, max(1, len(solutions)), 64)
    ]
    return np.concatenate(parts)


def _canonical(solutions: np.ndarray, puzzles: np.ndarray, board: Board) -> np.ndarray:
    side, height = board.side, board.box_rows
    columns = _column_orders(board)  # [p, side]: column order p puts old column columns[p, j] at place j
    place = columns.argsort(1)  # place[p, c]: where old column c goes
    pair = np.array([(r, s) for r in range(side) for s in range(side) if r != s and r // height == s // height])

    def turned(grids: np.ndarray) -> np.ndarray:
        grids = grids.reshape(-1, 1, side, side).astype(np.int64)
        return np.concatenate([grids, grids.transpose(0, 1, 3, 2)], 1) if height == board.box_cols else grids

    grids = turned(solutions) - 1  # [b, turns, row, column], digits from 0
    turns = grids.shape[1]
    where = grids.argsort(3)  # where[.., row, digit]: the digit's column
    # below[.., q, c]: in which column the pair's first row has the digit that its second row has in column c.
    below = np.take_along_axis(where[:, :, pair[:, 0]], grids[:, :, pair[:, 1]], 3)
    below = below.reshape(len(grids), turns * len(pair), side)

    grid, q, p = (axis.ravel() for axis in np.indices((len(grids), turns * len(pair), len(columns)), np.int32))
    for j in range(side):  # keep what has the least digit at place j of the second row
        digit = place[p, below[grid, q, columns[p, j]]]
        keep = digit == _least(digit, grid)
        grid, q, p = grid[keep], q[keep], p[keep]

    def image(old: np.ndarray) -> np.ndarray:
        """[survivors, n]: rows moved and columns moved, digits not yet renamed."""
        moved = np.take_along_axis(old[grid, turn], columns[p][:, None, :], 2)
        return np.take_along_axis(moved, order[:, :, None], 1).reshape(len(grid), -1)

    turn, first = q // len(pair), pair[q % len(pair), 0]
    name = np.take_along_axis(place[p], where[grid, turn, first], 1) + 1  # name[.., digit]
    # Rows of a band in the order of their first digits, bands in the order of their least.
    head = np.take_along_axis(name, np.take_along_axis(grids[grid, turn], columns[p, :1, None], 2)[:, :, 0], 1)
    band = np.repeat(head.reshape(len(grid), -1, height).min(2), height, 1)
    order = (band * (side + 1) + head).argsort(1)
    solution = np.take_along_axis(name, image(grids), 1).astype(np.uint8)
    named = np.concatenate([np.zeros_like(name[:, :1]), name], 1)
    puzzle = np.take_along_axis(named, image(turned(puzzles)), 1).astype(np.uint8)
    text = np.concatenate([solution, puzzle + 1], 1).view(f"S{2 * board.cells}")[:, 0]
    ranked = np.lexsort((text, grid))
    return puzzle[ranked[np.searchsorted(grid[ranked], np.arange(len(grids)))]]


def _least(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """For every entry the least value of its group; groups stand together."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    return np.repeat(np.minimum.reduceat(values, starts), np.diff(starts, append=len(group)))


@cache
def _column_orders(board: Board) -> Int[np.ndarray, "p s"]:
    """All orders of the columns that keep stacks together."""
    width, stacks = board.box_cols, board.box_rows
    within = [list(permutations(range(stack * width, (stack + 1) * width))) for stack in range(stacks)]
    return np.array(
        [sum(choice, ()) for order in permutations(range(stacks)) for choice in product(*(within[s] for s in order))]
    )


def grid_classes(solutions: Integer[np.ndarray, "b n"], board: Board) -> list[str]:
    """A short name of each grid's symmetry class: the first 12 hex digits of sha1 over its canonical form."""
    return [sha1("".join(map(str, grid)).encode()).hexdigest()[:12] for grid in canonical_form(solutions, board)]
