"""Sudokus made here: random solutions, clues taken away, difficulty steered by the solver's guesses."""

import numpy as np
from jaxtyping import Bool, UInt8

from latentkit.tasks.sudoku_solver import Board, candidates, search, solve
from latentkit.tasks.sudoku_symmetry import grid_classes

Grids = UInt8[np.ndarray, "b n"]


def random_solutions(count: int, board: Board, generator: np.random.Generator) -> Grids:
    """Full grids, each found by a search that guesses at random (not exactly uniform over all grids)."""
    return solve(np.zeros((count, board.cells), np.uint8), board, 1, generator).solution


def dig_minimal(puzzles: Grids, board: Board, generator: np.random.Generator) -> Grids:
    """Takes clues away in random order while one solution remains; in the end every clue that is left is needed."""
    puzzles = puzzles.copy()
    order = generator.random(puzzles.shape).argsort(1)
    rows = np.arange(len(puzzles))
    for cell in order.T:
        there = puzzles[rows, cell] > 0
        there[there] = ~is_needed(puzzles[there], cell[there], board)
        puzzles[rows[there], cell[there]] = 0
    return puzzles


def dig_easy(solutions: Grids, clues: int, board: Board, generator: np.random.Generator) -> Grids:
    """Takes clues away in random order while singles still solve the puzzle, until `clues` are left."""
    puzzles = solutions.copy()
    order = generator.random(puzzles.shape).argsort(1)
    rows = np.arange(len(puzzles))
    for cell in order.T:
        trial = puzzles.copy()
        trial[rows, cell] = 0
        easy = solved_by_singles(trial, board) & ((puzzles > 0).sum(1) > clues)
        puzzles[easy] = trial[easy]
    return puzzles


def is_needed(puzzles: Grids, cell: np.ndarray, board: Board) -> Bool[np.ndarray, " b"]:
    """Whether a second solution appears when the clue at `cell` goes: one with another digit there."""
    masks = candidates(puzzles, board)
    rows = np.arange(len(puzzles))
    masks[rows, cell] ^= np.uint16(2**board.side - 1)
    return search(masks, board, 1).solutions > 0


def solved_by_singles(puzzles: Grids, board: Board) -> Bool[np.ndarray, " b"]:
    """Whether naked and hidden singles alone fill the grid."""
    return search(candidates(puzzles, board), board, 1).guesses == 0


def make_6x6(generator: np.random.Generator, train: int = 2000, test: int = 1000) -> list[dict[str, object]]:
    """Minimal 6x6 puzzles, all different; solutions recur, since 6x6 has only 49 classes of grids."""
    board, count = Board(2, 3), train + test
    solutions = random_solutions(count * 11 // 10, board, generator)
    puzzles = dig_minimal(solutions, board, generator)
    first = np.sort(np.unique(puzzles, axis=0, return_index=True)[1])[:count]
    return _rows(puzzles[first], solutions[first], train, board)


def make_9x9_easy(generator: np.random.Generator, train: int = 500, test: int = 1000) -> list[dict[str, object]]:
    """9x9 puzzles with 38 clues (43 blanks) that singles solve."""
    board, count = Board(3, 3), train + test
    solutions = random_solutions(count * 11 // 10, board, generator)
    puzzles = dig_easy(solutions, 38, board, generator)
    good = np.flatnonzero((puzzles > 0).sum(1) == 38)[:count]
    return _rows(puzzles[good], solutions[good], train, board)


BAND_FROM = {"singles": 0, "medium": 1, "hard": 3, "extreme": 8}
"""Fewest guesses of each band of our 9x9 puzzles. The hardest published ones take many more."""


def make_9x9(
    generator: np.random.Generator,
    drawn: int = 70_000,
    train: tuple[int, ...] = (800, 2000, 3600, 1600),
    test: int = 200,
) -> list[dict[str, object]]:
    """Minimal 9x9 puzzles by band: of many random ones, which mostly are easy, as many as are asked for of each.

    No grid of the test split is symmetric to one of the train split.
    """
    board = Board(3, 3)
    parts = []
    for _ in range(0, drawn, 1000):
        solutions = random_solutions(1000, board, generator)
        puzzles = dig_minimal(solutions, board, generator)
        parts.append((puzzles, solutions, solve(puzzles, board, 1).guesses))
    puzzles, solutions, guesses = (np.concatenate(column) for column in zip(*parts, strict=True))
    edges = [*BAND_FROM.values(), np.inf]
    rows: list[dict[str, object]] = []
    for band, low, high, count in zip(BAND_FROM, edges[:-1], edges[1:], train, strict=True):
        chosen = np.flatnonzero((guesses >= low) & (guesses < high))[: count + test]
        for row, grid_class in zip(
            _rows(puzzles[chosen], solutions[chosen], max(0, len(chosen) - test), board),
            grid_classes(solutions[chosen], board),
            strict=True,
        ):
            rows.append({**row, "band": band, "grid_class": grid_class})
    trained = {row["grid_class"] for row in rows if row["split"] == "train"}
    return [row for row in rows if row["split"] == "train" or row["grid_class"] not in trained]


def _rows(puzzles: Grids, solutions: Grids, train: int, board: Board) -> list[dict[str, object]]:
    guesses = solve(puzzles, board, 1).guesses
    return [
        {
            "split": "train" if i < train else "test",
            "source": "latentkit",
            "puzzle": "".join(map(str, puzzle)).replace("0", "."),
            "solution": "".join(map(str, solution)),
            "n_clues": int((puzzle > 0).sum()),
            "band": "singles" if guess == 0 else "",
            "guesses": int(guess),
            "grid_class": "",
        }
        for i, (puzzle, solution, guess) in enumerate(zip(puzzles, solutions, guesses, strict=True))
    ]
