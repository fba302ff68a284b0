import pytest
import torch

from latentkit.tasks import WordProblem
from latentkit.training import Curriculum, GeometricCurriculum

Z2 = WordProblem("Z2")


def lengths(curriculum: Curriculum, step: int, draws: int = 300) -> set[int]:
    generator = torch.Generator().manual_seed(step)
    return {curriculum(step, generator).tokens.shape[1] - 1 for _ in range(draws)}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, {2}),
        (9, {2}),
        (10, {2, 3}),
        (50, {2, 3, 4, 5, 6, 7}),
        (99, set(range(2, 12))),
        (100, set(range(2, 13))),
        (10_000, set(range(2, 13))),
    ],
)
def test_the_longest_length_grows_over_the_ramp(step, expected):
    assert lengths(Curriculum(Z2, batch=1, low=2, high=12, ramp=100), step) == expected


def test_without_a_ramp_every_length_may_come_at_once():
    assert lengths(Curriculum(Z2, batch=1, low=1, high=4), 0) == {1, 2, 3, 4}


def test_a_fixed_length():
    batch = Curriculum(Z2, batch=7, low=5, high=5, ramp=10)(3, torch.Generator())
    assert batch.tokens.shape == (7, 6)


def test_a_batch_is_a_function_of_step_and_generator():
    curriculum = Curriculum(Z2, batch=4, low=2, high=12, ramp=5)
    one, same = (curriculum(9, torch.Generator().manual_seed(1)) for _ in range(2))
    assert all(map(torch.equal, one, same))


def test_a_geometric_ramp_doubles_at_equal_intervals():
    curriculum = GeometricCurriculum(Z2, batch=1, low=1, high=16, ramp=100)
    assert [max(lengths(curriculum, step)) for step in (0, 24, 25, 50, 75, 99, 100, 500)] == [1, 1, 2, 4, 8, 15, 16, 16]
    assert GeometricCurriculum(Z2, batch=1, low=3, high=3).top(0.5) == 3


def test_the_two_ramps_are_told_apart():
    """A checkpoint knows its source of batches by its repr, the ledger by its fields."""
    kinds = [kind(Z2, batch=1, low=1, high=4, ramp=9) for kind in (Curriculum, GeometricCurriculum)]
    assert repr(kinds[0]) != repr(kinds[1]) and vars(kinds[0]) != vars(kinds[1])
