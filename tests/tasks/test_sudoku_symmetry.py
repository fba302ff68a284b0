import itertools
import math
from hashlib import sha1

import numpy as np
import pytest

from latentkit.tasks.sudoku_solver import Board, breaks_rules, solve
from latentkit.tasks.sudoku_symmetry import Symmetries, canonical_form, grid_classes, random_symmetries

BOARDS = [Board(2, 2), Board(2, 3), Board(3, 2), Board(3, 3)]


def solutions(board: Board, count: int, seed: int = 0) -> np.ndarray:
    empty = np.zeros((count, board.cells), np.uint8)
    return solve(empty, board, 1, np.random.default_rng(seed)).solution


def puzzles(grids: np.ndarray, clues: int, seed: int = 0) -> np.ndarray:
    """Random clues of each grid; many have several solutions."""
    order = np.random.default_rng(seed).random(grids.shape).argsort(1)
    return np.where(order.argsort(1) < clues, grids, 0).astype(np.uint8)


def orders(side: int, width: int) -> list[tuple[int, ...]]:
    """All orders of rows (or columns) that keep bands of `width` together."""
    every = itertools.permutations(range(side))
    return [p for p in every if all(len({i // width for i in p[at : at + width]}) == 1 for at in range(0, side, width))]


@pytest.mark.parametrize("board", BOARDS, ids=str)
def test_a_symmetry_keeps_rules_clues_and_the_number_of_solutions(board):
    grids = solutions(board, 40)
    clues = puzzles(grids, board.cells // 2)
    symmetries = random_symmetries(40, board, np.random.default_rng(1))
    moved, moved_clues = symmetries.apply(grids), symmetries.apply(clues)
    assert not breaks_rules(moved, board).any()
    assert np.array_equal(moved_clues, np.where(moved_clues > 0, moved, 0))
    assert ((clues > 0).sum(1) == (moved_clues > 0).sum(1)).all()
    before, after = solve(clues, board), solve(moved_clues, board)
    assert np.array_equal(before.solutions, after.solutions)
    assert set(before.solutions) == {1, 2}
    unique = before.solutions == 1
    assert np.array_equal(after.solution[unique], moved[unique])


@pytest.mark.parametrize(("board", "number"), [(Board(2, 2), 2 * 2**6), (Board(2, 3), 48 * 72)], ids=str)
def test_every_movement_of_the_cells_is_drawn(board, number):
    drawn = random_symmetries(12 * number, board, np.random.default_rng(0))
    cells, times = np.unique(drawn.cells, axis=0, return_counts=True)
    assert len(cells) == number
    assert times.max() < 4 * times.mean()
    assert (np.sort(cells, 1) == np.arange(board.cells)).all()
    assert (drawn.digits[:, 0] == 0).all()
    assert len(np.unique(drawn.digits, axis=0)) == math.factorial(board.side)


def test_applying_a_symmetry_by_hand():
    """The two rows of the first band exchanged, then 1 renamed to 2 and 2 to 1."""
    cells = np.array([[4, 5, 6, 7, 0, 1, 2, 3, *range(8, 16)]])
    grid = np.array([[1, 2, 3, 4, 3, 4, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]])
    moved = Symmetries(cells, np.array([[0, 2, 1, 3, 4]])).apply(grid)
    assert moved.tolist() == [[3, 4, 0, 0, 2, 1, 3, 4, 1, 0, 0, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("board", BOARDS, ids=str)
def test_the_canonical_form_is_an_image_and_the_same_for_all_images(board):
    grids = solutions(board, 12)
    canonical = canonical_form(grids, board)
    assert not breaks_rules(canonical, board).any()
    assert (canonical[:, : board.side] == np.arange(1, board.side + 1)).all()
    for seed in range(3):
        symmetries = random_symmetries(12, board, np.random.default_rng(seed))
        assert np.array_equal(canonical_form(symmetries.apply(grids), board), canonical)
    assert np.array_equal(canonical_form(canonical, board), canonical)


@pytest.mark.parametrize("board", [Board(2, 2), Board(2, 3)], ids=str)
def test_the_canonical_form_is_the_least_image(board):
    """Against every movement of the cells, digits named in the order in which they appear."""
    rows, columns = (orders(board.side, width) for width in (board.box_rows, board.box_cols))
    every = np.array([[r * board.side + c for r in row for c in column] for row in rows for column in columns])
    if board.box_rows == board.box_cols:
        every = np.concatenate(
            [every, every.reshape(-1, board.side, board.side).transpose(0, 2, 1).reshape(every.shape)]
        )
    grids = solutions(board, 3)
    for grid, canonical in zip(grids, canonical_form(grids, board), strict=True):
        images = []
        for image in grid[every]:
            names = {digit: i + 1 for i, digit in enumerate(dict.fromkeys(image.tolist()))}
            images.append([names[digit] for digit in image.tolist()])
        assert min(images) == canonical.tolist()


def test_4x4_has_2_classes_of_grids_and_36_of_minimal_puzzles():
    """Known counts: 13 minimal puzzles of 4 clues, 22 of 5, 1 of 6, up to symmetry."""
    board = Board(2, 2)
    rows = list(itertools.product(itertools.permutations((1, 2, 3, 4)), repeat=4))
    grids = np.array(rows, np.uint8).reshape(-1, 16)
    grids = grids[~breaks_rules(grids, board).any(1)]
    assert len(grids) == 288
    canonical = np.unique(canonical_form(grids, board), axis=0)
    assert len(canonical) == len(set(grid_classes(grids, board))) == 2

    masks = np.arange(2**16)[:, None] >> np.arange(16) & 1
    masks = masks[np.isin(masks.sum(1), (4, 5, 6))].astype(np.uint8)
    found: dict[int, set[bytes]] = {4: set(), 5: set(), 6: set()}
    for grid in canonical:
        clues = masks * grid
        unique = solve(clues, board).solutions == 1
        enough = {mask.tobytes() for mask in masks[unique]}
        minimal = []
        for mask in masks[unique]:
            fewer = (np.where(np.arange(16) == cell, 0, mask).astype(np.uint8) for cell in np.flatnonzero(mask))
            minimal.append(not any(less.tobytes() in enough for less in fewer))
        clues = clues[unique][np.array(minimal)]
        for form in canonical_form(np.tile(grid, (len(clues), 1)), board, clues):
            found[int((form > 0).sum())].add(form.tobytes())
    assert {clues: len(classes) for clues, classes in found.items()} == {4: 13, 5: 22, 6: 1}


def test_a_puzzle_s_canonical_form_is_the_same_for_all_its_images():
    board = Board(2, 3)
    grids = solutions(board, 30)
    clues = puzzles(grids, 14)
    forms = canonical_form(grids, board, clues)
    assert ((forms > 0).sum(1) == 14).all()
    symmetries = random_symmetries(30, board, np.random.default_rng(5))
    assert np.array_equal(canonical_form(symmetries.apply(grids), board, symmetries.apply(clues)), forms)
    assert len(np.unique(forms, axis=0)) == 30


def test_a_class_is_named_by_a_hash_of_its_form():
    board = Board(2, 3)
    grids = solutions(board, 3)
    texts = ["".join(map(str, form)) for form in canonical_form(grids, board)]
    assert grid_classes(grids, board) == [sha1(text.encode()).hexdigest()[:12] for text in texts]


def test_what_has_no_canonical_form_is_refused():
    board = Board(2, 2)
    grid = np.array([[1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1]])
    for spoilt in (np.where(np.arange(16) == 3, 0, grid), np.where(np.arange(16) == 3, 1, grid)):
        with pytest.raises(ValueError, match="these have blanks or break the rules"):
            canonical_form(spoilt, board)
    with pytest.raises(ValueError, match="at most 9 digits, this board has 16"):
        canonical_form(np.ones((1, 256), np.int64), Board(4, 4))
