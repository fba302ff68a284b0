import csv

import numpy as np
import pytest

from latentkit import paths
from latentkit.tasks.puzzles import read_sudoku_csv
from latentkit.tasks.sudoku_generator import (
    BAND_FROM,
    dig_easy,
    dig_minimal,
    harder,
    is_needed,
    make_9x9,
    make_9x9_easy,
    make_9x9_extreme,
    mean_guesses,
    moved_clue,
    random_solutions,
    solved_by_singles,
)
from latentkit.tasks.sudoku_solver import Board, breaks_rules, solve
from latentkit.tasks.sudoku_symmetry import grid_classes

SIX, NINE = Board(2, 3), Board(3, 3)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def without_each_clue(puzzle: np.ndarray) -> np.ndarray:
    """All puzzles with one clue less."""
    clues = np.flatnonzero(puzzle)
    fewer = np.tile(puzzle, (len(clues), 1))
    fewer[np.arange(len(clues)), clues] = 0
    return fewer


def test_random_solutions_are_grids_and_differ():
    grids = random_solutions(50, SIX, generator())
    assert grids.all()
    assert not breaks_rules(grids, SIX).any()
    assert len(np.unique(grids, axis=0)) == 50
    assert np.array_equal(grids, random_solutions(50, SIX, generator()))


@pytest.mark.parametrize("dense", [True, False])
def test_minimal_puzzles_have_one_solution_and_need_every_clue(dense):
    """Whether it starts from a full grid or from a puzzle of few clues, where it asks for all clues at once."""
    grids = random_solutions(12, SIX, generator())
    start = grids if dense else np.where(generator(2).random(grids.shape) < 0.45, grids, 0).astype(np.uint8)
    start = start[solve(start, SIX).solutions == 1]
    assert len(start) > 2
    puzzles = dig_minimal(start, SIX, generator(1))
    assert ((puzzles == 0) | (puzzles == start)).all()
    assert (solve(puzzles, SIX).solutions == 1).all()
    for puzzle in puzzles:
        assert (solve(without_each_clue(puzzle), SIX).solutions == 2).all()


def test_a_clue_is_needed_where_a_second_solution_appears_without_it():
    grids = random_solutions(20, SIX, generator())
    puzzles = np.where(generator(1).random(grids.shape) < 0.5, grids, 0).astype(np.uint8)
    puzzles = puzzles[solve(puzzles, SIX).solutions == 1]
    row, cell = np.nonzero(puzzles)
    fewer = np.concatenate([without_each_clue(puzzle) for puzzle in puzzles])
    needed = is_needed(puzzles[row], cell, SIX)
    assert np.array_equal(needed, solve(fewer, SIX).solutions == 2)
    assert 0 < needed.mean() < 1


def test_easy_puzzles_have_as_many_clues_as_asked_for_and_fall_to_singles():
    grids = random_solutions(10, SIX, generator())
    puzzles = dig_easy(grids, 16, SIX, generator())
    assert ((puzzles > 0).sum(1) == 16).all()
    assert ((puzzles == 0) | (puzzles == grids)).all()
    assert solved_by_singles(puzzles, SIX).all()
    assert not solved_by_singles(np.zeros((1, 36), np.uint8), SIX).any()


def test_mean_guesses_are_whole_for_one_count_and_zero_for_singles():
    puzzles = dig_minimal(random_solutions(60, NINE, generator()), NINE, generator())
    one, three = (mean_guesses(puzzles, NINE, generator(), times) for times in (1, 3))
    easy = solved_by_singles(puzzles, NINE)
    assert (one % 1 == 0).all()
    assert not (3 * three % 1 > 1e-9).all()
    assert np.array_equal(one == 0, easy)
    assert np.array_equal(three == 0, easy)


def test_a_moved_clue_gives_all_neighbours_that_have_one_solution():
    """Against trying every digit in every cell, on 4x4."""
    board = Board(2, 2)
    grids = random_solutions(4, board, generator())
    puzzles = dig_minimal(grids, board, generator())
    parent, children, solutions = moved_clue(puzzles, board, generator(), limit=300, most=10_000)
    found = solve(children, board)
    assert (found.solutions == 1).all()
    assert np.array_equal(found.solution, solutions)
    for i, puzzle in enumerate(puzzles):
        expected = set()
        for fewer in without_each_clue(puzzle):
            for cell in np.flatnonzero(fewer == 0):
                for digit in range(1, 5):
                    child = fewer.copy()
                    child[cell] = digit
                    if (child != puzzle).any() and solve(child[None], board).solutions[0] == 1:
                        expected.add(child.tobytes())
        assert {child.tobytes() for child in children[parent == i]} == expected


def test_of_many_neighbours_some_are_drawn():
    puzzles = dig_minimal(random_solutions(3, NINE, generator()), NINE, generator())
    parent, children, _ = moved_clue(puzzles, NINE, generator(), most=7)
    assert np.bincount(parent).max() <= 7
    assert ((children != puzzles[parent]).sum(1) <= 2).all()
    assert (children != puzzles[parent]).any(1).all()


def test_breeding_makes_puzzles_harder():
    puzzles = dig_minimal(random_solutions(12, NINE, generator()), NINE, generator())
    parent, children, solutions, _ = harder(puzzles, NINE, generator())
    assert (np.bincount(parent) <= 5).all()
    found = solve(children, NINE)
    assert (found.solutions == 1).all()
    assert np.array_equal(found.solution, solutions)
    before = mean_guesses(puzzles, NINE, generator(), 9)
    after = [mean_guesses(children[parent == i], NINE, generator(), 9).max() for i in np.unique(parent)]
    assert np.mean(after) > 1.5 * before.mean()


def test_a_small_set_by_bands():
    rows = make_9x9(generator(), drawn=60, train=(6, 6, 3, 0), test=1)
    assert rows == make_9x9(generator(), drawn=60, train=(6, 6, 3, 0), test=1)
    assert len(rows) == 6 + 6 + 3 + 4
    assert {row["band"] for row in rows} == set(BAND_FROM)


def test_a_small_easy_set():
    rows = make_9x9_easy(generator(), train=4, test=3)
    assert [row["split"] for row in rows] == ["train"] * 4 + ["test"] * 3
    assert {row["n_clues"] for row in rows} == {38}
    assert {row["guesses"] for row in rows} == {"0"}


def test_a_small_bred_set():
    said: list[str] = []
    settings = {"drawn": 30, "families": 5, "steps": 1, "from_guesses": 2.0, "train": 12, "test": 6, "most": 4}
    rows = make_9x9_extreme(generator(), **settings, log=said.append)
    assert rows == make_9x9_extreme(generator(), **settings, log=said.append)
    assert len(said) == 2
    splits = [row["split"] for row in rows]
    assert splits == sorted(splits, reverse=True)  # train first
    assert 0 < splits.count("train") <= 12
    assert 0 < splits.count("test") <= 6
    assert all(float(row["guesses"]) >= 2 for row in rows)
    assert len({row["grid_class"] for row in rows}) == len(rows)


def shipped() -> list[str]:
    return sorted(path.stem for path in (paths.shipped_dir() / "puzzles").glob("sudoku-*.csv"))


def rows_of(name: str) -> list[dict[str, str]]:
    text = (paths.shipped_dir() / f"puzzles/{name}.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize("name", shipped())
def test_what_is_shipped_holds_what_it_says(name):
    path = paths.shipped_dir() / f"puzzles/{name}.csv"
    puzzles = read_sudoku_csv(path)
    rows = rows_of(name)
    board = {16: Board(2, 2), 36: SIX, 81: NINE}[puzzles.tokens.shape[1]]
    texts = [row["puzzle"] for row in rows]
    assert len(set(texts)) == len(texts)
    some = np.random.default_rng(0).permutation(len(rows))[:300]
    tokens = puzzles.tokens.numpy()[some].astype(np.uint8)
    found = solve(tokens, board)
    assert (found.solutions == 1).all()
    assert np.array_equal(found.solution - 1, puzzles.targets.numpy()[some])
    assert (puzzles.guesses >= 0).all()
    if name != "sudoku-9x9-extreme":  # there guesses are means
        assert [rows[i]["guesses"] for i in some] == list(map(str, found.guesses))
    for i in some:
        assert int(rows[i]["n_clues"]) == board.cells - texts[i].count(".")
        assert BAND_FROM[rows[i]["band"]] <= float(rows[i]["guesses"])
    if "easy" not in name:
        row, cell = np.nonzero(tokens[:40])
        assert is_needed(tokens[row], cell, board).all()
    assert [rows[i]["grid_class"] for i in some[:20]] == grid_classes(found.solution[:20], board)


@pytest.mark.parametrize("name", [name for name in shipped() if "9x9" in name])
def test_train_and_test_share_no_class_of_grids(name):
    rows = rows_of(name)
    train, test = ({row["grid_class"] for row in rows if row["split"] == split} for split in ("train", "test"))
    assert train
    assert test
    assert not train & test
