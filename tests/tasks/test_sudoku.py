import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from latentkit.tasks import Batch, PuzzleSet, Sudoku, Task
from latentkit.tasks.sudoku_solver import singles_depth, solve

SOLUTION = "1234341221434321"
PUZZLES = ("1...34..2..3....", ".2.43....1...32.")  # of that solution


def a_name_for_each_cell(tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """In place of a depth."""
    return torch.arange(16).expand(len(tokens), -1)


def little(splits=("train", "test")) -> PuzzleSet:
    """Two 4x4 puzzles."""
    tokens = torch.tensor([[int(c) for c in puzzle.replace(".", "0")] for puzzle in PUZZLES], dtype=torch.int8)
    targets = torch.tensor([[int(c) - 1 for c in SOLUTION]] * 2, dtype=torch.int8)
    nothing = np.array(["", ""])
    return PuzzleSet(tokens, targets, nothing, nothing, np.array(splits), torch.zeros(2), a_name_for_each_cell)


def says(answer: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(answer, classes).float()


@pytest.fixture(scope="module", params=[(2, 2, "sudoku-4x4"), (2, 3, "sudoku-6x6"), (3, 3, "sudoku-9x9-easy")])
def task(request) -> Sudoku:
    return Sudoku(*request.param)


def test_a_task_says_what_it_is(task):
    assert isinstance(task, Task)
    side = task.side
    assert (task.num_positions, task.vocab_size, task.num_classes) == (side**2, side + 1, side)
    assert task.token_names == [".", *task.class_names]
    assert task.class_names == [str(digit) for digit in range(1, side + 1)]
    assert repr(task) == f"Sudoku({task.board.box_rows}, {task.board.box_cols}, {task.name!r})"
    assert repr(Sudoku(2, 3, "sudoku-6x6", augment=False)) == "Sudoku(2, 3, 'sudoku-6x6', augment=False)"
    assert Sudoku(2, 2).name == "sudoku-4x4"


def test_samples_are_puzzles_with_their_solutions_and_depths(task):
    batch = task.sample(40, task.num_positions, torch.Generator().manual_seed(0))
    found = solve(batch.tokens.numpy(), task.board)
    assert (found.solutions == 1).all()
    assert torch.equal(torch.from_numpy(found.solution).long() - 1, batch.targets)
    assert torch.equal(torch.from_numpy(singles_depth(batch.tokens.numpy(), task.board)), batch.depth)
    assert task.check(batch.tokens, batch.targets).all()


def test_a_sample_is_a_function_of_the_generator(task):
    one, same, other = (task.sample(5, task.num_positions, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(map(torch.equal, one, same))
    assert not torch.equal(one.tokens, other.tokens)
    before = torch.get_rng_state()
    task.sample(5, task.num_positions, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_only_training_puzzles_are_sampled_and_only_test_puzzles_held_out():
    task = Sudoku(2, 2, little(), augment=False)
    batch = task.sample(30, 16, torch.Generator().manual_seed(0))
    assert torch.equal(batch.tokens, task.puzzles.tokens[:1].long().expand(30, -1))
    assert torch.equal(task.test().tokens, task.puzzles.tokens[1:].long())
    assert task.test().depth.tolist() == [list(range(16))]


def test_a_set_without_splits_is_sampled_and_tested_as_a_whole():
    task = Sudoku(2, 2, little(splits=("", "")), augment=False)
    batch = task.sample(30, 16, torch.Generator().manual_seed(0))
    assert len(batch.tokens.unique(dim=0)) == len(task.test().tokens) == 2
    assert len(task.test(limit=1).tokens) == 1


def test_symmetries_are_fresh_and_carry_the_depth_along():
    plain, task = Sudoku(2, 2, little(), augment=False), Sudoku(2, 2, little())
    batch = task.sample(200, 16, torch.Generator().manual_seed(0))
    assert len(batch.tokens.unique(dim=0)) > 100
    original = plain.test()._replace(tokens=plain.puzzles.tokens[:1].long())
    assert (batch.depth.sort(1).values == torch.arange(16)).all()
    # A depth is a cell's name here: digits are renamed all alike, wherever the cells went.
    back = batch.depth.argsort(1)
    given = batch.tokens.gather(1, back) > 0
    assert torch.equal(given, (original.tokens > 0).expand(200, -1))
    targets = batch.targets.gather(1, back)
    same = original.targets[0][:, None] == original.targets[0][None]
    assert torch.equal(targets[:, :, None] == targets[:, None], same.expand(200, -1, -1))


def test_exact_score_and_check():
    task = Sudoku(2, 2, little())
    batch = Batch(task.puzzles.tokens.long(), task.puzzles.targets.long(), task.puzzles.depth)
    answer = batch.targets.clone()
    answer[1, 5] = (answer[1, 5] + 1) % 4
    logits = says(answer, 4)
    assert task.exact(logits, batch).tolist() == [True, False]
    assert task.check(batch.tokens, answer).tolist() == [True, False]
    score = task.score(logits, batch)
    assert score[5] == 0.5
    assert (score[torch.arange(16) != 5] == 1).all()


def test_the_rules_are_checked_without_the_solution():
    """Another full grid is valid where no given speaks against it."""
    task = Sudoku(2, 2, little())
    other = torch.tensor([[int(c) - 1 for c in "2143432112343412"]])
    blank = torch.zeros(1, 16, dtype=torch.long)
    assert task.check(blank, other).tolist() == [True]
    assert task.check(task.puzzles.tokens[:1].long(), other).tolist() == [False]


@pytest.mark.parametrize("with_logits", [False, True])
def test_show_draws_the_board_and_marks_wrong_and_changed_cells(with_logits):
    task = Sudoku(2, 2, little())
    batch = Batch(task.puzzles.tokens.long(), task.puzzles.targets.long(), task.puzzles.depth)
    answer, before = batch.targets.clone(), batch.targets.clone()
    answer[1, 0] = before[1, 0] = before[1, 7] = 3
    logits = says(answer, 4) if with_logits else None
    figure = task.show(batch, logits, example=1, previous=says(before, 4) if with_logits else None)
    assert isinstance(figure, Figure)
    axes = figure.axes[0]
    digits = [(text.get_text(), text.get_weight()) for text in axes.texts if text.get_text() != "✗"]
    given = [c != "." for c in PUZZLES[1]]
    said = [str(c + 1) for c in answer[1].tolist()]
    if not with_logits:
        said = [c.replace(".", "") for c in PUZZLES[1]]
    assert [digit for digit, _ in digits] == said
    assert [weight == "bold" for digit, weight in digits if digit] == [
        is_given for is_given, digit in zip(given, said, strict=True) if digit
    ]
    cells = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    hatched = [bool(cell.get_hatch()) for cell in cells]
    crosses = [text.get_text() for text in axes.texts].count("✗")
    rings = [patch.center for patch in axes.patches if isinstance(patch, Circle)]
    assert len(cells) == 16
    assert hatched == [with_logits and cell == 0 for cell in range(16)]
    assert crosses == int(with_logits)
    assert rings == ([(3.5, 1.5)] if with_logits else [])


def test_bad_sizes_and_names_are_refused():
    with pytest.raises(ValueError, match="boxes of 1x4"):
        Sudoku(1, 4)
    with pytest.raises(ValueError, match="puzzles of 16 cells; boxes of 3x3 make 81"):
        Sudoku(3, 3, little())
    with pytest.raises(FileNotFoundError, match=r"sudoku-5x5.*sudoku-6x6\.csv"):
        Sudoku(2, 3, "sudoku-5x5")
    with pytest.raises(ValueError, match="line 2: puzzle has 16 cells, expected 36"):
        Sudoku(2, 3, "sudoku-4x4").test()
    task = Sudoku(2, 2, little())
    with pytest.raises(ValueError, match=r"batch=0, length=16; .*length 16, one a cell"):
        task.sample(0, 16, torch.Generator())
    with pytest.raises(ValueError, match="length=15"):
        task.sample(1, 15, torch.Generator())
