from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from latentkit.widgets import latent_path, pca_paths
from latentkit.widgets.latent_path import _HEIGHT, _WIDTH
from tests.widgets.examples import PASSES, random_run


def run(b=5, n=4, seed=0, **options):
    return random_run(torch.zeros(b, n, dtype=torch.long), 2, seed, **options)


def with_states(trajectory, states):
    return replace(trajectory, states=tuple(states))


@pytest.mark.parametrize(("b", "n"), [(5, 20), (40, 2)], ids=["more-values-than-states", "more-states-than-values"])
def test_pca_is_the_singular_value_decomposition(b, n):
    trajectory = run(b, n)
    paths = pca_paths(trajectory)
    x = torch.stack(trajectory.states).double().reshape(PASSES * b, -1)
    u, s, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    expected = (u * s)[:, :2]
    expected = expected * torch.sign((paths.points.reshape(-1, 2) * expected).sum(0))
    torch.testing.assert_close(paths.points.reshape(-1, 2), expected)
    assert paths.explained == pytest.approx((s[:2].square() / s.square().sum()).tolist())
    assert paths.points.shape == (PASSES, b, 2) and paths.passes == tuple(range(1, PASSES + 1))


def test_pca_finds_a_plane_and_keeps_distances_in_it():
    generator = torch.Generator().manual_seed(0)
    plane = torch.linalg.qr(torch.randn(12, 2, generator=generator))[0]
    flat = torch.randn(PASSES, 5, 2, generator=generator) * torch.tensor([3.0, 1.0]) + 7
    trajectory = with_states(run(), (flat @ plane.T).reshape(PASSES, 5, 4, 3))
    paths = pca_paths(trajectory)
    assert sum(paths.explained) == pytest.approx(1) and paths.explained[0] > paths.explained[1]
    a, b = flat.reshape(-1, 2).double(), paths.points.reshape(-1, 2)
    torch.testing.assert_close(torch.cdist(b, b), torch.cdist(a, a), atol=1e-4, rtol=1e-4)


def test_the_farthest_point_is_on_the_positive_side():
    for sign in (1, -1):
        trajectory = run()
        points = pca_paths(with_states(trajectory, [sign * s for s in trajectory.states])).points.reshape(-1, 2)
        assert (points.gather(0, points.abs().argmax(0, keepdim=True)) > 0).all()


def test_what_is_read_of_a_state():
    class Two(NamedTuple):
        y: Tensor
        z: Tensor

    trajectory = run()
    pairs = with_states(trajectory, [Two(s, 2 * s) for s in trajectory.states])
    torch.testing.assert_close(pca_paths(pairs).points, pca_paths(trajectory).points * 5**0.5)
    torch.testing.assert_close(pca_paths(pairs, read=lambda h: h.z.flatten(1)).points, 2 * pca_paths(trajectory).points)
    assert pca_paths(trajectory, read=lambda h: h[0]).points.shape == (PASSES, 4, 2)  # a path a position


def test_several_runs_lie_in_one_plane():
    first, second = run(seed=1), run(seed=2)
    paths = pca_paths([first, second])
    both = with_states(first, [torch.cat(pair) for pair in zip(first.states, second.states, strict=True)])
    torch.testing.assert_close(paths.points, pca_paths(both).points)


def test_points_keep_their_shape_on_the_picture():
    paths = pca_paths(run())
    placed = torch.tensor(latent_path(paths).view["points"], dtype=torch.double).transpose(0, 1)
    assert placed.shape == paths.points.shape
    assert placed.amin() >= 0 and (placed.amax((0, 1)) <= torch.tensor([_WIDTH, _HEIGHT])).all()
    flipped = paths.points * torch.tensor([1, -1])  # y grows downwards
    scale = (placed[-1, 0] - placed[0, 0]).norm() / (flipped[-1, 0] - flipped[0, 0]).norm()
    torch.testing.assert_close(placed - placed[0, 0], scale * (flipped - flipped[0, 0]), atol=4, rtol=0)


def test_text_says_where_the_chosen_path_ends():
    trajectory = run(b=2, passes=3)
    corners = torch.tensor([[[0.0, 0], [5, 5]], [[3, 0], [5, 6]], [[3, 4], [5, 5]]])  # 3 + 4 steps for 5; back again
    paths = pca_paths(with_states(trajectory, corners.unsqueeze(2)))
    widget = latent_path(paths, right=torch.tensor([False, True]), labels=["hard", "easy"])
    assert (
        widget.text
        == "hard ends wrong; its way in this plane is 1.4 times as long as a straight line; 1 of 2 end right."
    )
    widget.value = 1
    assert widget.text == "easy ends right; its way in this plane ends where it began; 1 of 2 end right."
    assert latent_path(paths).text.startswith("path 0: its way in this plane is 1.4 times")
    straight = pca_paths(with_states(trajectory, (corners[:, :1] * torch.tensor([0.0, 1.0])).unsqueeze(2)))
    assert latent_path(straight).text == "path 0: its way in this plane is a straight line."


@pytest.mark.usefixtures("learners_view")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": ["a"]}, "1 labels for 5 paths"),
        ({"right": torch.ones(6, dtype=torch.bool)}, "6 right for 5 paths"),
        ({"example": 5}, "example=5; there are paths 0 to 4"),
        ({"start": 7}, "start=7 was not kept; this trajectory holds passes 1 to 6"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        latent_path(pca_paths(run()), **wrong)


def test_states_that_make_no_plane_are_refused():
    with pytest.raises(ValueError, match="no trajectories"):
        pca_paths([])
    with pytest.raises(ValueError, match="one run kept passes 1 to 6, another 2, 4"):
        pca_paths([run(), run(kept=(2, 4))])
    with pytest.raises(ValueError, match="30 states of 1 values; a plane needs at least two"):
        pca_paths(run(), read=lambda h: h[:, 0, :1])
    broken = run()
    broken.states[3][0, 0, 0] = torch.inf
    with pytest.raises(ValueError, match="a state is not finite"):
        pca_paths(broken)
