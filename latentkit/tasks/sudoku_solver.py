"""A Sudoku solver in numpy that works on a whole batch of puzzles in lock-step.

Every puzzle has a lane. The state of a lane is one bit mask a cell: bit d is set while digit d + 1 is still possible.
All lanes do the same few steps, each on whole arrays:

    round    every cell that has one candidate strikes it from its row, column and box (naked singles);
             a digit that has one place left in a row, column or box goes there (hidden singles)
    guess    where a round changed nothing: of the cells with the fewest candidates the first, its lowest candidate
    back up  where a round found a contradiction: the newest guess of the lane was wrong, its digit is struck

A lane that is done takes the next puzzle, so that a hard puzzle does not hold up the others. Masks lie with the lanes
last, [cells, lanes]: each operation is one pass over contiguous memory.

A puzzle's number of guesses is the measure of difficulty here: 0 means that singles suffice.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Integer, UInt8, UInt16

LANES = 512
"""Puzzles in flight; more gain little and need more memory."""
_FIXED = np.uint8(255)


@dataclass(frozen=True)
class Board:
    """The shape of a Sudoku: boxes of `box_rows` x `box_cols` cells, digits 1..side, `cells` = side^2 in row order.

    Raises:
        ValueError: a box with one row or column, or more than 16 digits (a mask has 16 bits).
    """

    box_rows: int
    box_cols: int

    def __post_init__(self):
        if min(self.box_rows, self.box_cols) < 2 or self.side > 16:
            raise ValueError(
                f"boxes of {self.box_rows}x{self.box_cols}; both sides must be at least 2 and their product at most 16"
            )

    @property
    def side(self) -> int:
        """Digits, and cells in a row."""
        return self.box_rows * self.box_cols

    @property
    def cells(self) -> int:
        """Cells of the grid."""
        return self.side**2

    @cached_property
    def units(self) -> Int[np.ndarray, "3 n"]:
        """For each cell its row (0 ...), its column (side ...) and its box (2 side ...)."""
        row, column = np.divmod(np.arange(self.cells), self.side)
        box = row // self.box_rows * self.box_rows + column // self.box_cols
        return np.stack([row, self.side + column, 2 * self.side + box])

    @cached_property
    def members(self) -> Int[np.ndarray, "side u"]:
        """For each unit its cells: the first of all units, then the second, ..."""
        return np.argsort(self.units.reshape(-1), kind="stable").reshape(3 * self.side, self.side).T % self.cells


class Solved(NamedTuple):
    """What the search found: the first two solutions (0 where there is none), how many, guesses until the first."""

    solution: Integer[np.ndarray, "b n"]
    second: Integer[np.ndarray, "b n"]
    solutions: Int[np.ndarray, " b"]
    guesses: Int[np.ndarray, " b"]


def solve(
    puzzles: Integer[np.ndarray, "b n"],
    board: Board,
    limit: int = 2,
    generator: np.random.Generator | None = None,
) -> Solved:
    """Solves puzzles (0 = blank): counts solutions up to `limit`, and guesses until the first solution.

    With a `generator` a guess takes any of the cell's candidates: from an empty grid this draws a random solution.

    Raises:
        ValueError: another number of cells, or a number that is no digit.
    """
    return search(candidates(puzzles, board), board, limit, generator)


def candidates(puzzles: Integer[np.ndarray, "b n"], board: Board) -> UInt16[np.ndarray, "b n"]:
    """The masks before any reasoning: one bit where a digit is given, all bits in a blank.

    Raises:
        ValueError: another number of cells, or a number that is no digit.
    """
    if puzzles.shape[1] != board.cells:
        raise ValueError(f"puzzles of {puzzles.shape[1]} cells; this board has {board.cells}")
    if puzzles.size and not 0 <= puzzles.min() <= puzzles.max() <= board.side:
        raise ValueError(f"digits must be 0 (blank) to {board.side}; found {puzzles.min()}..{puzzles.max()}")
    masks = np.array([2**board.side - 1] + [1 << digit for digit in range(board.side)], np.uint16)
    return masks[puzzles]


def search(
    masks: UInt16[np.ndarray, "b n"],
    board: Board,
    limit: int = 2,
    generator: np.random.Generator | None = None,
    *,
    lanes: int = LANES,
    late: bool = False,
) -> Solved:
    """As `solve`, from any masks: digits may be excluded beforehand.

    `lanes`, and guessing a round `late`, change nothing but the order in which random guesses draw their numbers. A
    recipe for shipped puzzles names them, so that it makes the same puzzles for ever.
    """
    row, grid, guesses = _search(masks, board, limit, generator, lanes, late)
    solutions = np.bincount(row, minlength=len(masks))
    before = solutions.cumsum() - solutions
    first, second = (np.zeros((len(masks), board.cells), np.uint8) for _ in range(2))
    first[solutions > 0] = grid[before[solutions > 0]]
    second[solutions > 1] = grid[before[solutions > 1] + 1]
    return Solved(first, second, solutions, guesses)


def every_solution(
    puzzles: Integer[np.ndarray, "b n"], board: Board, limit: int
) -> tuple[Int[np.ndarray, " s"], UInt8[np.ndarray, "s n"]]:
    """All solutions of all puzzles, at most `limit` of each, and for each the number of its puzzle, ascending."""
    return _search(candidates(puzzles, board), board, limit, None, LANES, late=False)[:2]


def _search(
    masks: UInt16[np.ndarray, "b n"],
    board: Board,
    limit: int,
    generator: np.random.Generator | None,
    lanes: int,
    late: bool,
) -> tuple[Int[np.ndarray, " s"], UInt8[np.ndarray, "s n"], Int[np.ndarray, " b"]]:
    """The solutions in the order in which the search meets them, each with its puzzle; the guesses of each puzzle."""
    total = len(masks)
    rows, grids = [np.zeros(0, np.int64)], [np.zeros((0, board.cells), np.uint8)]
    solutions, guesses = np.zeros(total, np.int64), np.zeros(total, np.int64)
    count, digit = _tables(board.side)

    lanes = min(lanes, total)
    puzzle, waiting = np.arange(lanes), lanes  # which puzzle a lane works on; the next one to be taken
    now = np.ascontiguousarray(masks[:lanes].T)
    stack = np.zeros((8, lanes, board.cells), np.uint16)  # what is still to be tried, the newest on top
    height = np.zeros(lanes, np.int64)
    while len(puzzle):
        before = now
        now, settled, dead = _round(now, board)
        if late:
            settled &= (now == before).all(0)
        lane = np.flatnonzero(settled & ~dead)
        open_cells = now.T[lane]
        choices = np.where(count[open_cells] == 1, _FIXED, count[open_cells])
        cell = choices.argmin(1)
        full = choices[np.arange(len(lane)), cell] == _FIXED
        found, stuck = lane[full], lane[~full]
        if len(found):
            rows.append(puzzle[found])
            grids.append(digit[now.T[found], 0].astype(np.uint8) + np.uint8(1))
            solutions[puzzle[found]] += 1
        if len(stuck):
            cell, rest = cell[~full], open_cells[~full]
            mask = now[cell, stuck]
            which = 0 if generator is None else generator.integers(count[mask])
            guess = np.uint16(1) << digit[mask, which]
            now[cell, stuck] = guess
            rest[np.arange(len(stuck)), cell] ^= guess
            if height[stuck].max() == len(stack):
                stack = np.concatenate([stack, np.zeros_like(stack)])
            stack[height[stuck], stuck] = rest
            height[stuck] += 1
            guesses[puzzle[stuck]] += solutions[puzzle[stuck]] == 0
        # Back to the newest guess; with none left, or enough solutions, the lane takes another puzzle.
        back = np.concatenate([found, np.flatnonzero(dead)])
        over = (height[back] == 0) | (solutions[puzzle[back]] >= limit)
        done, back = back[over], back[~over]
        height[back] -= 1
        now[:, back] = stack[height[back], back].T
        if len(done):
            fresh = done[: total - waiting]
            puzzle[fresh] = np.arange(waiting, waiting + len(fresh))
            now[:, fresh], height[fresh] = masks[puzzle[fresh]].T, 0
            waiting += len(fresh)
            if len(fresh) < len(done):  # nothing waits: close the lane
                keep = np.setdiff1d(np.arange(len(puzzle)), done[len(fresh) :])
                puzzle, now, height = puzzle[keep], np.ascontiguousarray(now[:, keep]), height[keep]
                stack = stack[: max(1, height.max(initial=0) + 1), keep]
    row = np.concatenate(rows)
    order = row.argsort(kind="stable")
    return row[order], np.concatenate(grids)[order], guesses


def singles_depth(puzzles: Integer[np.ndarray, "b n"], board: Board) -> Int[np.ndarray, "b n"]:
    """The round of parallel naked and hidden singles in which each cell is known; 0 for givens.

    Cells that singles never reach get the puzzle's last round plus one.

    Raises:
        ValueError: another number of cells, or a number that is no digit.
    """
    depth = np.full((board.cells, len(puzzles)), -1)
    for start in range(0, len(puzzles), LANES):
        lanes = slice(start, start + LANES)
        now = np.ascontiguousarray(candidates(puzzles[lanes], board).T)
        count, here, rounds = _tables(board.side)[0], depth[:, lanes], 0
        here[count[now] == 1] = 0
        while True:
            now, settled, _ = _round(now, board)
            if settled.all():
                break
            rounds += 1
            here[(here < 0) & (count[now] == 1)] = rounds
        unknown = here < 0
        here[:] = np.where(unknown, here.max(0) + 1, here)
    return np.ascontiguousarray(depth.T)


def _round(
    now: UInt16[np.ndarray, "n w"], board: Board
) -> tuple[UInt16[np.ndarray, "n w"], Bool[np.ndarray, " w"], Bool[np.ndarray, " w"]]:
    """One round of naked and hidden singles; which lanes it told no further digit; which hold a contradiction."""
    one, everything = np.uint16(1), np.uint16(2**board.side - 1)
    fixed = now * (now & (now - one) == 0)
    taken = np.bitwise_or.reduce(fixed[board.members], 0)
    row, column, box = board.units
    after = now & (~(taken[row] | taken[column] | taken[box]) | fixed)
    dead = (after == 0).any(0)
    # Which digits have one place in a unit, and which two or more?
    once, twice = after[board.members[0]], np.zeros_like(taken)
    for place in board.members[1:]:
        cell = after[place]
        twice |= once & cell
        once |= cell
    # A digit without a place; or one that is fixed in two cells (everywhere else it has just been struck).
    dead |= ((once != everything) | (twice & taken != 0)).any(0)
    once &= ~twice
    forced = after & (once[row] | once[column] | once[box])
    dead |= (forced & (forced - one) != 0).any(0)  # two digits that have only this one place
    after ^= (after ^ forced) * (forced != 0)  # as np.where, faster
    settled = (after * (after & (after - one) == 0) == fixed).all(0)
    return after, settled, dead


@cache
def _tables(side: int) -> tuple[np.ndarray, np.ndarray]:
    """For every mask: how many digits it holds, and which (0-based, the lowest first)."""
    bits = np.arange(2**side)[:, None] >> np.arange(side) & 1
    return bits.sum(1).astype(np.uint8), np.argsort(1 - bits, 1, kind="stable").astype(np.uint16)


def breaks_rules(grids: Integer[np.ndarray, "b n"], board: Board) -> Bool[np.ndarray, "b n"]:
    """Cells whose digit stands a second time in their row, column or box; a blank (0) breaks no rule."""
    broken = np.zeros(grids.shape, bool)
    row = np.arange(len(grids))[:, None]
    for unit in board.units:
        times = np.zeros((len(grids), 3 * board.side, board.side + 1), np.int64)
        np.add.at(times, (row, unit, grids), 1)
        broken |= times[row, unit, grids] > 1
    return broken & (grids > 0)
