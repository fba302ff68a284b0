from typing import NamedTuple

import pytest
import torch

from latentkit import checks
from latentkit.checks.harness import CheckFailed, Exercise, assert_kills, compare, rng, shapes


class Pair(NamedTuple):
    tokens: torch.Tensor
    length: int


ONE = torch.arange(6.0).reshape(2, 3)
INF = torch.tensor([0.0, float("-inf")])


def off(index, by):
    """ONE with one entry changed."""
    changed = ONE.clone()
    changed[index] += by
    return changed


@pytest.mark.parametrize(
    "value",
    [ONE, ONE.long(), ONE > 2, torch.tensor(1.5), INF, 3, 2.5, True, "word", None, [1, "a"], (ONE, 2), Pair(ONE, 3)],
)
def test_compare_passes_what_is_equal(value):
    assert compare(value, value) is None  # it raises otherwise


def test_compare_has_tolerance_and_takes_an_int_for_a_float():
    equal = [(ONE, ONE + 1e-6), (1.0, 1.0 + 1e-6), (1.0, 1), ([1], (1,)), ({"a": ONE}, {"a": ONE})]
    assert [compare(*pair) for pair in equal] == [None] * len(equal)  # it raises otherwise


@pytest.mark.parametrize(
    ("expected", "got", "message"),
    [
        (ONE, None, "x is None. Is a `return` missing?"),
        (ONE, 3, "x: expected a tensor of shape [2, 3], got 3."),
        (ONE, ONE.T, "x: expected shape [2, 3], got [3, 2]."),
        (ONE, ONE.double(), "x: expected dtype float32, got float64."),
        (ONE, off((1, 0), 0.25), "x[1, 0]: expected 3, got 3.25. 1 of 6 values differ, by 0.25 at most."),
        (ONE, off((0, 1), float("nan")), "x[0, 1]: expected 1, got nan. 1 of 6 values differ."),
        (INF, INF.abs(), "x[1]: expected -inf, got inf. 1 of 2 values differ."),
        (ONE.long(), ONE.long() + 2, "x[0, 0]: expected 0, got 2. 6 of 6 values differ, by 2 at most."),
        (ONE > 2, ONE > 3, "x[1, 0]: expected True, got False. 1 of 6 values differ."),
        (torch.tensor(1.5), torch.tensor(2.0), "x: expected 1.5, got 2."),
        (2, 3, "x: expected 2, got 3."),
        (2, 2.0, "x: expected int, got 2.0."),
        (1, True, "x: expected int, got True."),
        (2.5, torch.tensor(2.5), "x: expected float, got float32 []."),
        (0.5, 0.75, "x: expected 0.5, got 0.75."),
        ("abc", "abd", "x: expected 'abc', got 'abd'."),
        ([1, 2], [1], "x: expected 2 items, got 1."),
        ([1, [2, 3]], [1, [2, 4]], "x[1][1]: expected 3, got 4."),
        ([1], 1, "x: expected list, got 1."),
        (Pair(ONE, 3), (ONE, 3), "x: expected Pair, got a tuple."),
        (Pair(ONE, 3), Pair(off((0, 0), 1), 3), "x.tokens[0, 0]: expected 0, got 1."),
        ({"a": 1}, {"b": 1}, "x: expected the keys ['a'], got ['b']."),
        ({"a": 1}, {"a": 2}, "x['a']: expected 1, got 2."),
    ],
)
def test_compare_says_what_differs_first(expected, got, message):
    with pytest.raises(CheckFailed) as failure:
        compare(expected, got, name="x")
    assert str(failure.value).startswith(message)


def test_compare_describes_the_inputs():
    with pytest.raises(CheckFailed, match=r"Called with h = float32 \[2, 3\], passes = 4\.$"):
        compare(1, 2, inputs={"h": ONE, "passes": 4})


def test_shapes_are_unequal_and_one_has_a_size_of_1():
    for seed in range(20):
        drawn = list(shapes(3, count=4, seed=seed))
        assert drawn == list(shapes(3, count=4, seed=seed))
        assert len(drawn) == 5
        assert all(len(set(shape)) == 3 for shape in drawn)
        assert [1 in shape for shape in drawn] == [False] * 4 + [True]


def test_rng_leaves_the_global_state_alone():
    before = torch.random.get_rng_state()
    torch.rand(3, generator=rng(1))
    assert torch.equal(before, torch.random.get_rng_state())


def double(x):
    return 2 * x


def crash(x):
    raise IndexError("no such thing")


def check_double(answer):
    for shape in shapes(2):
        x = torch.randn(shape, generator=rng())
        compare(2 * x, answer(x), name="double")


DOUBLE = Exercise(double, check_double)
WRONG = {"identity": lambda x: x, "square": lambda x: x * x, "transposed": lambda x: 2 * x.T}


def test_assert_kills():
    assert_kills(DOUBLE, WRONG)


@pytest.mark.parametrize(
    ("mutants", "message"),
    [
        ({"identity": lambda x: x}, "at least three"),
        (WRONG | {"fine": lambda x: x + x}, "'fine' passes the check"),
        (WRONG | {"crash": crash}, "'crash' crashes"),
    ],
)
def test_assert_kills_refuses(mutants, message):
    with pytest.raises(AssertionError, match=message):
        assert_kills(DOUBLE, mutants)


def test_assert_kills_refuses_a_wrong_reference():
    with pytest.raises(CheckFailed):
        assert_kills(Exercise(lambda x: x, check_double), WRONG)


def test_a_crash_in_an_answer_is_not_caught():
    with pytest.raises(IndexError, match="no such thing"):
        DOUBLE.check(crash)


def test_unknown_lab_names_those_there_are():
    with pytest.raises(ValueError, match="no lab '77'"):
        checks.exercises("77")
