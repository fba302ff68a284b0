import functools
import itertools

import numpy as np
import pytest

from latentkit.tasks.sudoku_generator import dig_minimal, random_solutions
from latentkit.tasks.sudoku_solver import Board, breaks_rules, candidates, every_solution, search, singles_depth, solve

SMALL = [Board(2, 2), Board(2, 3), Board(3, 2)]


@functools.cache
def seen_from(cell: int, board: Board) -> list[int]:
    """By the rules as one reads them, from coordinates."""
    row, column = divmod(cell, board.side)
    return [
        r * board.side + c
        for r, c in itertools.product(range(board.side), repeat=2)
        if (r, c) != (row, column)
        and (
            r == row
            or c == column
            or (r // board.box_rows == row // board.box_rows and c // board.box_cols == column // board.box_cols)
        )
    ]


def fits(grid: list[int], cell: int, digit: int, board: Board) -> bool:
    return all(grid[other] != digit for other in seen_from(cell, board))


def all_solutions(grid: list[int], board: Board, limit: int) -> list[tuple[int, ...]]:
    """By trying every digit in every blank, in order."""
    if any(digit and not fits(grid, cell, digit, board) for cell, digit in enumerate(grid)):
        return []
    if 0 not in grid:
        return [tuple(grid)]
    cell, found = grid.index(0), []
    for digit in range(1, board.side + 1):
        found += all_solutions([*grid[:cell], digit, *grid[cell + 1 :]], board, limit - len(found))
        if len(found) >= limit:
            break
    return found


def singles_by_hand(grid: list[int], board: Board) -> tuple[list[int], list[int]]:
    """The depth of every cell, and the grid as far as singles fill it; with sets."""
    units: list[set[int]] = []
    for i in range(board.side):
        units.append({i * board.side + j for j in range(board.side)})
        units.append({j * board.side + i for j in range(board.side)})
    for top, left in itertools.product(range(0, board.side, board.box_rows), range(0, board.side, board.box_cols)):
        units.append({(top + r) * board.side + left + c for r in range(board.box_rows) for c in range(board.box_cols)})
    depth, grid = [0 if digit else -1 for digit in grid], list(grid)
    for number in range(1, board.cells + 1):
        possible = {
            cell: {d for d in range(1, board.side + 1) if fits(grid, cell, d, board)}
            for cell in range(board.cells)
            if grid[cell] == 0
        }
        found = {cell: next(iter(digits)) for cell, digits in possible.items() if len(digits) == 1}
        for unit, digit in itertools.product(units, range(1, board.side + 1)):
            places = [cell for cell in unit if digit in possible.get(cell, ())]
            if len(places) == 1:
                found[places[0]] = digit
        if not found:
            break
        for cell, digit in found.items():
            grid[cell], depth[cell] = digit, number
    return [max(depth) + 1 if d < 0 else d for d in depth], grid


def some_puzzles(board: Board, clues: range, count: int, seed: int = 0) -> np.ndarray:
    """Clues of random solutions: some puzzles have one solution, most have several."""
    rng = np.random.default_rng(seed)
    grids = solve(np.zeros((count, board.cells), np.uint8), board, 1, rng).solution
    for grid in grids:
        keep = rng.permutation(board.cells)[: rng.integers(clues.start, clues.stop)]
        grid[np.setdiff1d(np.arange(board.cells), keep)] = 0
    return grids


@pytest.mark.parametrize("board", SMALL, ids=str)
def test_solutions_and_their_number_agree_with_brute_force(board):
    puzzles = some_puzzles(board, range(board.cells // 4, board.cells // 2), 40)
    # A wrong clue: no solution, or others.
    rng = np.random.default_rng(1)
    spoilt = some_puzzles(board, range(board.cells // 2 - 2, board.cells // 2 + 2), 20, seed=1)
    for puzzle in spoilt:
        puzzle[rng.integers(board.cells)] = rng.integers(1, board.side + 1)
    puzzles = np.concatenate([puzzles, spoilt])
    found = solve(puzzles, board)
    expected = [all_solutions(puzzle.tolist(), board, 2) for puzzle in puzzles]
    assert found.solutions.tolist() == [len(solutions) for solutions in expected]
    assert set(found.solutions) == {0, 1, 2}
    for puzzle, first, second, solutions in zip(puzzles, found.solution, found.second, expected, strict=True):
        for grid, there in ((first, len(solutions) > 0), (second, len(solutions) > 1)):
            if not there:
                assert not grid.any()
            else:
                assert ((puzzle == 0) | (puzzle == grid)).all()
                assert grid.all()
                assert not breaks_rules(grid[None], board).any()
        if len(solutions) == 1:
            assert tuple(first) == solutions[0]
        if len(solutions) == 2:
            assert (first != second).any()


def test_there_are_288_grids_of_4x4():
    empty = np.zeros((1, 16), np.uint8)
    assert solve(empty, Board(2, 2), limit=1000).solutions.tolist() == [288]
    assert solve(empty, Board(2, 2), limit=7).solutions.tolist() == [7]


@pytest.mark.parametrize("board", [*SMALL, Board(3, 3)], ids=str)
def test_depth_agrees_with_singles_by_hand(board):
    puzzles = some_puzzles(board, range(board.cells // 3, board.cells * 2 // 3), 5, seed=2)
    depth = singles_depth(puzzles, board)
    assert depth.tolist() == [singles_by_hand(puzzle.tolist(), board)[0] for puzzle in puzzles]
    assert depth.max() > 2
    assert ((depth == 0) == (puzzles > 0)).all()


def test_no_guess_where_singles_suffice_and_only_there():
    board, rng = Board(2, 3), np.random.default_rng(3)
    puzzles = dig_minimal(random_solutions(120, board, rng), board, rng)
    guesses = solve(puzzles, board).guesses
    assert 0.5 < (guesses == 0).mean() < 1
    filled = [0 not in singles_by_hand(puzzle.tolist(), board)[1] for puzzle in puzzles]
    assert (guesses == 0).tolist() == filled


def test_a_guess_takes_the_lowest_digit_of_the_first_cell_with_fewest_candidates():
    """The empty 4x4 grid: 1 2 / 3 4 is guessed in the first box (three guesses), then 3 and 1 in row 1 and column 1."""
    found = solve(np.zeros((1, 16), np.uint8), Board(2, 2), limit=1)
    assert found.solution[0].tolist() == [1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1]


@pytest.mark.parametrize("lanes", [1, 3, 1000])
@pytest.mark.parametrize("late", [False, True])
def test_lanes_and_company_change_nothing(lanes, late):
    board = Board(2, 3)
    puzzles = some_puzzles(board, range(6, 12), 30, seed=4)
    whole = solve(puzzles, board)
    others = search(candidates(puzzles[::-1], board), board, lanes=lanes, late=late)
    for one, other in zip(whole, others, strict=True):
        assert np.array_equal(one, other[::-1])


def test_every_solution_up_to_a_limit():
    board = Board(2, 2)
    puzzles = some_puzzles(board, range(3, 6), 20, seed=5)
    expected = [all_solutions(puzzle.tolist(), board, 99) for puzzle in puzzles]
    row, grid = every_solution(puzzles, board, limit=99)
    assert row.tolist() == [i for i, grids in enumerate(expected) for _ in grids]
    for i, grids in enumerate(expected):
        assert {tuple(map(int, there)) for there in grid[row == i]} == set(grids)
    row, _ = every_solution(puzzles, board, limit=3)
    assert np.bincount(row, minlength=20).tolist() == [min(3, len(grids)) for grids in expected]


def test_a_random_solution_is_a_function_of_the_generator():
    board = Board(3, 3)
    empty = np.zeros((5, 81), np.uint8)
    one, same, other = (solve(empty, board, 1, np.random.default_rng(seed)).solution for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert (one != other).any(1).all()
    assert len(np.unique(one, axis=0)) == 5
    assert one.all()
    assert not breaks_rules(one, board).any()


def test_digits_can_be_excluded_beforehand():
    """Is a given needed? Where another digit is possible in its place."""
    board = Board(2, 2)
    puzzle = np.array([[1, 2, 3, 4, 3, 4, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]])
    masks = candidates(puzzle, board)
    assert masks[0, :8].tolist() == [1, 2, 4, 8, 4, 8, 15, 15]
    for cell in range(4):
        masks = candidates(puzzle, board)
        masks[0, cell] ^= 15
        without = puzzle[0].tolist()
        without[cell] = 0
        others = [grid for grid in all_solutions(without, board, 99) if grid[cell] != puzzle[0, cell]]
        assert search(masks, board, 99).solutions.tolist() == [len(others)]


@pytest.mark.parametrize("board", [*SMALL, Board(2, 4)], ids=str)
def test_units_are_rows_columns_and_boxes(board):
    assert board.members.shape == (board.side, 3 * board.side)
    for unit, cells in enumerate(board.members.T):
        assert all(unit in board.units[:, cell] for cell in cells)
    for cell in range(board.cells):
        together = (board.units[:, cell, None] == board.units).any(0)
        assert set(np.flatnonzero(together)) - {cell} == set(seen_from(cell, board))


@pytest.mark.parametrize("board", SMALL, ids=str)
def test_broken_rules_are_found_cell_by_cell(board):
    grids = np.random.default_rng(0).integers(0, board.side + 1, (30, board.cells))
    expected = [
        [digit > 0 and not fits(grid, cell, digit, board) for cell, digit in enumerate(grid)] for grid in grids.tolist()
    ]
    assert breaks_rules(grids, board).tolist() == expected


def test_an_empty_batch_is_no_error():
    board = Board(3, 3)
    nothing = np.zeros((0, 81), np.uint8)
    assert len(solve(nothing, board).solution) == len(singles_depth(nothing, board)) == 0


@pytest.mark.parametrize(("rows", "columns"), [(1, 9), (3, 1), (0, 3), (4, 5)])
def test_boxes_that_make_no_board_are_refused(rows, columns):
    with pytest.raises(ValueError, match=f"boxes of {rows}x{columns}; both sides must be at least 2"):
        Board(rows, columns)


def test_bad_puzzles_are_refused():
    with pytest.raises(ValueError, match="puzzles of 36 cells; this board has 81"):
        solve(np.zeros((1, 36), np.uint8), Board(3, 3))
    with pytest.raises(ValueError, match=r"digits must be 0 \(blank\) to 6; found 0..7"):
        singles_depth(np.array([[7] + [0] * 35]), Board(2, 3))
