import itertools

import pytest
import torch

from latentkit.tasks import NO_TARGET, Multiplication, NonAdjacentSum, Task, nonadjacent_graph
from latentkit.tasks.arithmetic import KNOWN_SEED, best_sums, chosen, digits_of


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def solve(row: list[int]) -> tuple[int, list[int]]:
    """The largest sum over all choices of non-neighbours, and the paper's list (1 taken, 2 not) for it.

    By trying all of them; the paper's order is that of the row reversed.
    """
    row = row[::-1]
    lists = [
        choice
        for choice in itertools.product((1, 2), repeat=len(row))
        if not any(a == b == 1 for a, b in itertools.pairwise(choice))
    ]
    sums = {choice: sum(x for x, c in zip(row, choice, strict=True) if c == 1) for choice in lists}
    best = max(sums.values())
    return best, list(min(choice for choice, total in sums.items() if total == best))


def test_sums_and_choice_are_those_of_trying_all():
    x = torch.randint(-3, 4, (60, 7), generator=generator(1))
    sums, taken = best_sums(x), chosen(x)
    for row, values, choice in zip(x.tolist(), sums.tolist(), taken.tolist(), strict=True):
        assert values == [solve(row[:k])[0] for k in range(1, 8)]
        assert [1 if c else 2 for c in reversed(choice)] == solve(row)[1]


@pytest.mark.parametrize("scratchpad", ["none", "appended", "interleaved"])
def test_a_row_by_hand(scratchpad):
    task = NonAdjacentSum(scratchpad)
    batch = task.batch(torch.tensor([[2, -1, 3]]))
    names = " ".join(task.token_names[t] for t in batch.tokens[0].tolist())
    targets = " ".join("." if t == NO_TARGET else task.class_names[t] for t in batch.targets[0].tolist())
    expected = {
        "none": ("2 -1 3", "2 2 5", [1, 2, 3]),
        "appended": ("2 -1 3 | =2 =2", ". . . 2 2 5", [0, 0, 0, 1, 2, 3]),
        "interleaved": ("2 =2 -1 =2 3", "2 . 2 . 5", [1, 0, 2, 0, 3]),
    }[scratchpad]
    assert (names, targets, batch.depth[0].tolist()) == expected


TASKS = [
    NonAdjacentSum(),
    NonAdjacentSum("appended", cap=6),
    NonAdjacentSum("interleaved", known=(50, 6)),
    Multiplication(),
    Multiplication("train", backwards=True),
    Multiplication("test"),
    Multiplication("train", by_one=True),
]


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_a_task_like_the_others(task):
    assert isinstance(task, Task)
    length = 5 if isinstance(task, NonAdjacentSum) else 2
    a, b = (task.sample(20, length, generator(4)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert 0 <= int(a.tokens.min()) <= int(a.tokens.max()) < task.vocab_size == len(task.token_names)
    asked = a.targets != NO_TARGET
    assert 0 <= int(a.targets[asked].min()) <= int(a.targets[asked].max()) < task.num_classes == len(task.class_names)
    assert torch.equal(a.depth > 0, asked)
    right = torch.nn.functional.one_hot(a.targets.clamp(min=0), task.num_classes).float()
    score = task.score(right, a)[1:]
    assert score[~score.isnan()].tolist() == [1.0] * len(a.depth[a.depth > 0].unique())
    copy = eval(repr(task), {"NonAdjacentSum": NonAdjacentSum, "Multiplication": Multiplication})
    assert repr(copy) == repr(task) and copy.name == task.name
    assert len(task.show(a, right).axes) == 1


@pytest.mark.parametrize("scratchpad", ["appended", "interleaved"])
def test_pieces_and_right_answers_make_the_batch(scratchpad):
    task = NonAdjacentSum(scratchpad)
    x = torch.randint(-3, 4, (4, 5), generator=generator())
    batch, tokens = task.batch(x), x[:, :0]
    for piece, value in zip(task.pieces(x), best_sums(x).T, strict=True):
        tokens = torch.cat([tokens, piece, value[:, None] + task.first_answer], 1)
    assert torch.equal(tokens[:, :-1], batch.tokens)


def test_known_rows_are_few_and_always_the_same():
    task = NonAdjacentSum(known=(30, 6))
    assert torch.equal(task.rows, NonAdjacentSum("appended", known=(30, 6)).rows)
    assert torch.equal(task.rows, torch.randint(-3, 4, (30, 6), generator=generator(KNOWN_SEED)))
    other = task.for_seed(3)
    assert torch.equal(other.rows, NonAdjacentSum(known=(30, 6), seed=3).rows)
    assert not torch.equal(other.rows, task.rows)
    known = {tuple(row) for row in (task.rows + 3).tolist()}
    assert {tuple(row) for row in task.sample(400, 6, generator()).tokens.tolist()} == known
    short = {tuple(row) for row in task.sample(400, 2, generator()).tokens.tolist()}
    assert short == {row[:2] for row in known}


def test_a_cap_leaves_out_rows_with_larger_sums():
    capped = NonAdjacentSum(cap=4).sample(500, 9, generator()).targets
    assert int(capped.max()) == 4
    free = NonAdjacentSum().sample(5000, 9, generator())
    low = free.targets[free.targets[:, -1] <= 4]
    # as often as among all rows without larger sums
    assert float(capped[:, -1].float().mean()) == pytest.approx(float(low[:, -1].float().mean()), abs=0.15)


def test_the_targets_are_the_graph():
    x = torch.randint(-3, 4, (9, 16), generator=generator())
    assert torch.equal(nonadjacent_graph(16).run(x)[:, 16:], NonAdjacentSum().batch(x).targets)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_product_by_hand(backwards):
    task = Multiplication(backwards=backwards)
    batch = task.batch(torch.tensor([[27, 46], [10, 10]]), 2)
    names = ["".join(task.token_names[t] for t in row) for row in batch.tokens.tolist()]
    said = ["".join("." if t == NO_TARGET else str(t) for t in row) for row in batch.targets.tolist()]
    if backwards:
        assert (names, said) == (["27×46=242", "10×10=001"], [".....2421", ".....0010"])
    else:
        assert (names, said) == (["27×46=124", "10×10=010"], [".....1242", ".....0100"])
    depth = batch.depth[0, 5:].tolist()
    assert depth == sorted(depth, reverse=not backwards)  # the last digit needs the fewest steps
    assert torch.equal(torch.cat(task.pieces(torch.tensor([[27, 46]]), 2), 1), batch.tokens[:1, :6])


@pytest.mark.parametrize(("by_one", "length"), [(False, 1), (False, 2), (True, 2), (True, 3)])
def test_the_parts_share_no_pair_and_leave_none_out(by_one, length):
    parts = [Multiplication(part, by_one=by_one).pairs(length).tolist() for part in ("train", "test", "all")]
    train, test, every = parts
    first = range(10 ** (length - 1), 10**length) if length > 1 else range(2, 10)
    second = range(2, 10) if by_one else first
    assert sorted(train + test) == every == [list(pair) for pair in itertools.product(first, second)]
    assert 0.05 < len(test) / len(every) < 0.15


def test_what_is_drawn_is_of_its_part():
    task = Multiplication("train", by_one=True)
    known = {tuple(pair) for pair in task.pairs(3).tolist()}
    drawn = task.sample(500, 3, generator()).tokens.tolist()
    assert {(100 * a + 10 * b + c, d) for a, b, c, _, d, *_ in drawn} <= known


def test_long_numbers_begin_with_no_zero():
    tokens = Multiplication().sample(300, 3, generator()).tokens
    assert int(tokens[:, 0].min()) == int(tokens[:, 4].min()) == 1
    tokens = Multiplication(by_one=True).sample(300, 5, generator()).tokens
    assert (int(tokens[:, 0].min()), int(tokens[:, 6].min())) == (1, 2)


def test_digits():
    assert digits_of(torch.tensor([407, 5]), 4).tolist() == [[0, 4, 0, 7], [0, 0, 0, 5]]


def test_bad_input_is_refused(learners_view):
    with pytest.raises(ValueError, match="scratchpad='end'; choose one of none, appended, interleaved"):
        NonAdjacentSum("end")
    with pytest.raises(ValueError, match=r"known=\(5, 17\)"):
        NonAdjacentSum(known=(5, 17))
    with pytest.raises(ValueError, match="cap=0"):
        NonAdjacentSum(cap=0)
    with pytest.raises(ValueError, match="cap=1: hardly any row of 16 numbers stays below it"):
        NonAdjacentSum(cap=1).sample(4, 16, generator())
    with pytest.raises(ValueError, match="batch=4, length=7; need a batch of at least 1 and 1 to 6 numbers"):
        NonAdjacentSum(known=(9, 6)).sample(4, 7, generator())
    with pytest.raises(ValueError, match="length=17; need a batch of at least 1 and 1 to 16 numbers"):
        NonAdjacentSum().sample(4, 17, generator())
    with pytest.raises(ValueError, match=r"numbers must be -3\.\.3; found 0\.\.4"):
        NonAdjacentSum().batch(torch.tensor([[0, 4]]))
    with pytest.raises(ValueError, match="17 numbers in a row; at most 16"):
        NonAdjacentSum().batch(torch.zeros(1, 17, dtype=torch.long))
    with pytest.raises(ValueError, match="part='dev'"):
        Multiplication("dev")
    with pytest.raises(ValueError, match="batch=3, length=3; need a batch of at least 1 and 1 to 2 digits"):
        Multiplication("test").sample(3, 3, generator())
    with pytest.raises(ValueError, match="length=3; only pairs of 1 to 2 digits"):
        Multiplication().pairs(3)
    with pytest.raises(ValueError, match="numbers from 7 to 100 do not have 2 digits"):
        Multiplication().batch(torch.tensor([[100, 10], [7, 10]]), 2)
