import pytest
import torch

from latentkit.depth_memory.columns import COLUMNS, Layout, Shown, chance, held_out_batch
from latentkit.depth_memory.tasks import Recall, SmallMaze, SmallSudoku
from latentkit.tasks import NO_TARGET, Batch
from latentkit.tasks.maze_generator import symmetry_classes
from latentkit.tasks.sudoku_solver import solve as solve_sudoku
from latentkit.training.fit import step_generator

IDS = [column.id for column in COLUMNS]
X = Batch(torch.tensor([[2, 0, 1]]), torch.tensor([[1, 0, NO_TARGET]]), torch.tensor([[0, 1, 2]]))
N = NO_TARGET


@pytest.mark.parametrize(
    ("layout", "tokens", "targets", "depth"),
    [
        (Layout(), [2, 0, 1], [1, 0, N], [0, 1, 2]),
        (Layout(positions=5), [2, 0, 1, 3, 3], [1, 0, N, N, N], [0, 1, 2, 0, 0]),
        (Layout(block=4), [3, 2, 0, 1], [N, 1, 0, N], [0, 0, 1, 2]),
        (Layout(twice=True), [3, 2, 0, 1, 3, 2, 0, 1], [N, N, N, N, N, 1, 0, N], [0, 0, 1, 2] * 2),
        (Layout(twice=True, places=3), [2, 3, 7, 2, 3, 7], [N, N, N, 1, 0, N], [0, 1, 2] * 2),
        (
            Layout(twice=True, places=3, block=4),
            [9, 9, 2, 3, 7, 2, 3, 7],
            [N, N, N, N, N, 1, 0, N],
            [0, 0, *[0, 1, 2] * 2],
        ),
    ],
)
def test_layouts(layout, tokens, targets, depth):
    shown = layout.show(X, 3)
    assert [field[0].tolist() for field in shown] == [tokens, targets, depth]
    assert max(tokens) < layout.vocab_size(3)


@pytest.mark.parametrize(
    ("layout", "message"),
    [(Layout(positions=2), "3 positions, but .* room for 2"), (Layout(places=4), "3 positions, but .* names 4 places")],
)
def test_a_layout_refuses_what_does_not_fit(layout, message):
    with pytest.raises(ValueError, match=message):
        layout.show(X, 3)


@pytest.mark.parametrize("column", COLUMNS, ids=IDS)
def test_columns_fit_together(column):
    batch = held_out_batch(column)
    assert 60 <= len(batch.tokens) <= 500
    assert batch.tokens.shape[1] == column.positions
    assert int(batch.tokens.max()) < column.task.vocab_size
    counted = column.counted(batch)
    assert counted.sum() >= 60
    assert (batch.targets[counted] < column.task.num_classes).all()
    assert 1 / column.task.num_classes - 0.05 <= chance(column) <= 0.7
    shown = Shown(column.task, Layout(twice=True))
    assert shown.sample(2, column.high, step_generator(0, 0)).tokens.shape == (2, 2 * (column.positions + 1))


@pytest.mark.parametrize("column", COLUMNS, ids=IDS)
def test_what_counts_is_asked_alike_of_every_layout(column):
    """As many positions, with the same answers, in the same order."""
    batch = held_out_batch(column)
    expected = batch.targets[column.counted(batch)]
    layouts = [Layout(), Layout(positions=column.positions + 3), Layout(twice=True, block=16)]
    if column.attention == "places":
        layouts.append(Layout(twice=True, places=column.positions, block=16))
    for layout in layouts:
        shown = Shown(column.task, layout).show(batch)
        assert torch.equal(shown.targets[column.counted(shown)], expected)


@pytest.mark.parametrize("column", COLUMNS, ids=IDS)
def test_no_training_step_shows_a_held_out_example(column):
    """Where that can happen by chance alone, the held-out batch comes from a seed of its own."""
    if column.id not in ("sudoku", "maze", "two-hop"):
        assert not torch.equal(
            held_out_batch(column).tokens[: column.batch],
            column.task.sample(column.batch, column.high, step_generator(0, 0)).tokens,
        )
        return
    rows = {tuple(row) for row in held_out_batch(column).tokens.tolist()}
    for step in range(20):
        drawn = column.task.sample(column.batch, column.high, step_generator(0, step))
        asked = drawn.targets[:, -1] != NO_TARGET  # a single fact says nothing of the pair that stands behind it
        assert not rows.intersection(tuple(row) for row in drawn.tokens[asked].tolist())


def test_every_row_draws_the_same_examples():
    column = COLUMNS[0]
    one, other = (column.curriculum(layout)(7, step_generator(1, 7)) for layout in (Layout(), Layout(twice=True)))
    n = one.tokens.shape[1]
    assert torch.equal(one.tokens, other.tokens[:, -n:]) and torch.equal(one.targets, other.targets[:, -n:])


def test_recall_shows_no_answer():
    task = Recall(needles=2, keys=4, values=4, fillers=3)
    batch = task.sample(50, 16, step_generator(0, 0))
    asked = batch.targets != NO_TARGET
    assert asked.sum(1).tolist() == [2] * 50
    after = batch.tokens[:, 1:][asked[:, :-1]]
    assert (after >= task.keys + task.values).all()
    # Before the questions every key stands once, with its value behind it.
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        for place, target in enumerate(targets):
            if target != NO_TARGET:
                first = tokens.index(tokens[place])
                assert first < 12 and tokens[first + 1] == task.keys + target


def test_small_mazes_hold_classes_out():
    task = SmallMaze()
    train, test = (task.puzzles.select(split=name) for name in ("train", "test"))
    classes = [set(symmetry_classes(part.tokens.long())) for part in (train, test)]
    assert not classes[0] & classes[1]
    assert len(classes[0]) == len(train) >= 290 and len(classes[1]) == len(test) == 100
    assert task.sample(3, 25, step_generator(0, 0)).tokens.shape == (3, 25)


def test_small_sudokus_hold_classes_out():
    task = SmallSudoku()
    train, test = (task.puzzles.select(split=name) for name in ("train", "test"))
    classes = [set(task._classes(part.targets.numpy() + 1, part.tokens.numpy())) for part in (train, test)]
    assert not classes[0] & classes[1]
    assert len(classes[0]) == len(train) == 564 and len(classes[1]) == len(test) == 200
    assert (solve_sudoku(test.tokens.numpy(), task.board, 2).solutions == 1).all()
    assert set((test.tokens > 0).sum(1).tolist()) == {6, 7}
