"""Sudokus made here: random solutions, clues taken away, difficulty raised by moving clues.

Every puzzle has one solution. A *minimal* one needs all its clues. What a random minimal puzzle asks of the solver is
little (half of those on 9x9 need at most one guess), so hard ones are not drawn but bred: `harder` moves one clue, in
all ways that leave one solution, keeps the way that costs the solver most guesses, and so on. (Neighbours of hard
puzzles are hard; collectors of the hardest known Sudokus search their neighbourhoods in this way.)
"""

import sys
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from latentkit.tasks.sudoku_solver import Board, candidates, every_solution, search, solve
from latentkit.tasks.sudoku_symmetry import grid_classes, random_symmetries

Grids = UInt8[np.ndarray, "b n"]
Children = UInt8[np.ndarray, "c n"]


def random_solutions(
    count: int, board: Board, generator: np.random.Generator, *, lanes: int = 512, late: bool = False
) -> Grids:
    """Full grids, each found by a search that guesses at random (not exactly uniform over all grids).

    For `lanes` and `late` see `search`: they belong to the recipe.
    """
    empty = candidates(np.zeros((count, board.cells), np.uint8), board)
    return search(empty, board, 1, generator, lanes=lanes, late=late).solution


def dig_minimal(puzzles: Grids, board: Board, generator: np.random.Generator) -> Grids:
    """Takes clues away in random order while one solution remains; in the end every clue that is left is needed."""
    puzzles, rows = puzzles.copy(), np.arange(len(puzzles))
    order = generator.random(puzzles.shape).argsort(1)
    asked = puzzles > 0
    if asked.mean() < 0.5:  # few can go: all are asked at once, since who is needed now will be needed with fewer clues
        row, cell = np.nonzero(asked)
        asked[row, cell] = ~is_needed(puzzles[row], cell, board)
    for cell in order.T:
        there = asked[rows, cell]
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


def is_needed(puzzles: Grids, cell: Int[np.ndarray, " b"], board: Board) -> Bool[np.ndarray, " b"]:
    """Whether a second solution appears when the clue at `cell` goes: one with another digit there."""
    masks = candidates(puzzles, board)
    rows = np.arange(len(puzzles))
    masks[rows, cell] ^= np.uint16(2**board.side - 1)
    return search(masks, board, 1).solutions > 0


def solved_by_singles(puzzles: Grids, board: Board) -> Bool[np.ndarray, " b"]:
    """Whether naked and hidden singles alone fill the grid."""
    return search(candidates(puzzles, board), board, 1).guesses == 0


def mean_guesses(
    puzzles: Grids, board: Board, generator: np.random.Generator, times: int = 3
) -> Float[np.ndarray, " b"]:
    """The solver's guesses, mean over `times` random symmetries: less a matter of luck than one count."""
    images = [random_symmetries(len(puzzles), board, generator).apply(puzzles) for _ in range(times)]
    return solve(np.concatenate(images), board, 1).guesses.reshape(times, -1).mean(0)


def moved_clue(
    puzzles: Grids, board: Board, generator: np.random.Generator, limit: int = 64, most: int = 100
) -> tuple[Int[np.ndarray, " c"], Children, Children]:
    """Puzzles that differ from the given ones in one clue, moved to another cell or digit: parents, puzzles, solutions.

    A clue is taken away. A digit that stands at a cell in exactly one of the solutions that there are now makes, as a
    clue, this solution the only one. Clues whose loss leaves `limit` solutions or more are not moved. Of each
    parent's neighbours at most `most` are drawn.
    """
    parent, cell = np.nonzero(puzzles)
    without = puzzles[parent]
    without[np.arange(len(parent)), cell] = 0
    row, grid = every_solution(without, board, limit)
    keep = np.bincount(row, minlength=len(parent))[row] < limit
    row, grid = row[keep], grid[keep]
    times = np.zeros((len(parent), board.cells, board.side + 1), np.int64)
    cells = np.arange(board.cells)
    np.add.at(times, (row[:, None], cells, grid), 1)
    solution, place = np.nonzero(times[row[:, None], cells, grid] == 1)
    new = grid[solution, place] != puzzles[parent[row[solution]], place]  # else the clue is put back
    solution, place = solution[new], place[new]
    drawn = _best(parent[row[solution]], generator.random(len(solution)), most)
    solution, place = solution[drawn], place[drawn]
    children = without[row[solution]]
    children[np.arange(len(children)), place] = grid[solution, place]
    return parent[row[solution]], children, grid[solution]


def _best(group: Int[np.ndarray, " c"], value: Float[np.ndarray, " c"], count: int) -> Int[np.ndarray, " k"]:
    """Indices of the `count` largest values of each group."""
    order = np.lexsort((-value, group))
    ranked = group[order]
    return order[np.arange(len(order)) - np.searchsorted(ranked, ranked) < count]


def harder(
    puzzles: Grids, board: Board, generator: np.random.Generator
) -> tuple[Int[np.ndarray, " c"], Children, Children, Float[np.ndarray, " c"]]:
    """The five hardest neighbours of each puzzle, made minimal: parents, puzzles, solutions, guesses.

    One count of guesses picks the five of up to 100, four more judge them.
    """
    parent, children, grids = moved_clue(puzzles, board, generator)
    hard = _best(parent, mean_guesses(children, board, generator, 1), 5)
    parent, grids = parent[hard], grids[hard]
    children = dig_minimal(children[hard], board, generator)
    return parent, children, grids, mean_guesses(children, board, generator, 4)


def make_4x4(generator: np.random.Generator, train: int = 200, test: int = 100) -> list[dict[str, object]]:
    """Minimal 4x4 puzzles, all different, to try things out; there are but 36 classes, and both splits hold most."""
    return _minimal(Board(2, 2), generator, train, test)


def make_6x6(generator: np.random.Generator, train: int = 2000, test: int = 1000) -> list[dict[str, object]]:
    """Minimal 6x6 puzzles, all different; solutions recur, since 6x6 has only 49 classes of grids.

    Of the 1,000 test puzzles one is a symmetric image of a training puzzle.
    """
    return _minimal(Board(2, 3), generator, train, test)


def _minimal(board: Board, generator: np.random.Generator, train: int, test: int) -> list[dict[str, object]]:
    count = train + test
    solutions = random_solutions(count * 11 // 10, board, generator, lanes=1024, late=True)
    puzzles = dig_minimal(solutions, board, generator)
    first = np.sort(np.unique(puzzles, axis=0, return_index=True)[1])[:count]
    return _rows(puzzles[first], solutions[first], train, board)


def make_9x9_easy(generator: np.random.Generator, train: int = 500, test: int = 1000) -> list[dict[str, object]]:
    """9x9 puzzles with 38 clues (43 blanks) that singles solve."""
    board, count = Board(3, 3), train + test
    solutions = random_solutions(count * 11 // 10, board, generator, lanes=1024, late=True)
    puzzles = dig_easy(solutions, 38, board, generator)
    good = np.flatnonzero((puzzles > 0).sum(1) == 38)[:count]
    return _rows(puzzles[good], solutions[good], train, board)


BAND_FROM = {"singles": 0, "medium": 1, "hard": 3, "extreme": 8}
"""Fewest guesses of each band of our 9x9 puzzles. The hardest published ones take many more."""


def bands_of(guesses: np.ndarray) -> np.ndarray:
    """The band of each puzzle, from the guesses that our solver needed."""
    return np.array([*BAND_FROM])[np.searchsorted([*BAND_FROM.values()], guesses, side="right") - 1]


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
    for start in range(0, drawn, 1000):
        solutions = random_solutions(min(1000, drawn - start), board, generator)
        puzzles = dig_minimal(solutions, board, generator)
        parts.append((puzzles, solutions, solve(puzzles, board, 1).guesses))
    puzzles, solutions, guesses = (np.concatenate(column) for column in zip(*parts, strict=True))
    edges = [*BAND_FROM.values(), np.inf]
    rows: list[dict[str, object]] = []
    for low, high, count in zip(edges[:-1], edges[1:], train, strict=True):
        chosen = np.flatnonzero((guesses >= low) & (guesses < high))[: count + test]
        rows += _rows(puzzles[chosen], solutions[chosen], max(0, len(chosen) - test), board)
    trained = {row["grid_class"] for row in rows if row["split"] == "train"}
    return [row for row in rows if row["split"] == "train" or row["grid_class"] not in trained]


def make_9x9_extreme(
    generator: np.random.Generator,
    drawn: int = 4000,
    families: int = 320,
    steps: int = 16,
    from_guesses: float = 16.0,
    train: int = 2000,
    test: int = 200,
    most: int = 12,
    log: Callable[[str], object] = lambda line: print(line, file=sys.stderr, flush=True),
) -> list[dict[str, object]]:
    """Minimal 9x9 puzzles that take the solver at least `from_guesses` guesses, mean over three random symmetries.

    The hardest of `drawn` random puzzles each found a family; in each step its head is exchanged for the hardest of its
    neighbours, unless that is easier. Of all hard neighbours that were met, at most `most` of a family are kept. No two
    puzzles share a class of grids, and no family is in both splits.
    """
    board = Board(3, 3)
    solutions = random_solutions(drawn, board, generator)
    puzzles = dig_minimal(solutions, board, generator)
    guesses = mean_guesses(puzzles, board, generator)
    head = np.argsort(-guesses, kind="stable")[:families]
    heads, guesses = puzzles[head], guesses[head]
    met: list[tuple[np.ndarray, ...]] = []
    for step in range(1, steps + 1):
        parts = []
        for start in range(0, len(heads), 64):  # a block's solutions fit into memory
            parent, *found = harder(heads[start : start + 64], board, generator)
            parts.append((parent + start, *found))
        family, children, grids, hard = (np.concatenate(column) for column in zip(*parts, strict=True))
        best = _best(family, hard, 1)
        best = best[hard[best] >= guesses[family[best]]]
        heads[family[best]], guesses[family[best]] = children[best], hard[best]
        keep = hard >= from_guesses
        met.append((family[keep], children[keep], grids[keep]))
        quartiles = " ".join(f"{guess:.1f}" for guess in np.percentile(guesses, [10, 25, 50, 75, 90]))
        log(f"step {step}: guesses {quartiles} (10, 25, 50, 75, 90%); {sum(len(m[0]) for m in met)} hard puzzles met")
    family, puzzles, solutions = (np.concatenate(column) for column in zip(*met, strict=True))
    guesses = mean_guesses(puzzles, board, generator)  # counted anew: the counts that chose them flatter
    first = np.unique(grid_classes(solutions, board), return_index=True)[1]
    kept = first[guesses[first] >= from_guesses]
    kept = kept[_best(family[kept], generator.random(len(kept)), most)]
    # Whole families are held out, from the last, until there are enough.
    held_out = np.cumsum(np.bincount(family[kept], minlength=families)[::-1])[::-1] <= test
    tested = held_out[family[kept]]
    trained = kept[~tested][:train]
    kept = np.concatenate([trained, kept[tested]])
    return _rows(puzzles[kept], solutions[kept], len(trained), board, guesses[kept])


def _rows(
    puzzles: Grids, solutions: Grids, train: int, board: Board, guesses: Float[np.ndarray, " b"] | None = None
) -> list[dict[str, object]]:
    """The rows of a file, the first `train` of them for training; guesses are one count unless they are given."""
    if guesses is None:
        guesses = solve(puzzles, board, 1).guesses.astype(float)
    bands = bands_of(guesses)
    return [
        {
            "split": "train" if i < train else "test",
            "source": "latentkit",
            "puzzle": "".join(map(str, puzzle)).replace("0", "."),
            "solution": "".join(map(str, solution)),
            "n_clues": int((puzzle > 0).sum()),
            "band": band,
            "guesses": f"{guess:.2f}".removesuffix(".00"),
            "grid_class": grid_class,
        }
        for i, (puzzle, solution, band, guess, grid_class) in enumerate(
            zip(puzzles, solutions, bands, guesses, grid_classes(solutions, board), strict=True)
        )
    ]
