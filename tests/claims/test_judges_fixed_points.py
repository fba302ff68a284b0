import pytest
import torch

from latentkit.claims import fixed_points
from latentkit.models import build
from latentkit.training import FinalLoss, UniformPasses

JUDGES = {claim.id: claim.judge for claim in fixed_points.CLAIMS}


def exits(*seeds: tuple[float, float, float]) -> list[dict]:
    """Points lost, passes, correlation of each seed at 0.1."""
    return [
        {"accuracy@full": 1.0, "accuracy@0.1": 1 - lost / 100, "passes@0.1": passes, "correlation@0.1": correlation}
        for lost, passes, correlation in seeds
    ]


@pytest.mark.parametrize(
    ("loop", "two_layer", "verdict"),
    [
        ([(0.0, 8.7, 0.98), (0.1, 9.0, 0.9)], [(0.15, 6.0, 0.91)] * 2, "reproduced"),
        ([(0.0, 8.7, 0.98), (0.0, 9.6, 0.98)], [(0.1, 6.0, 0.91)] * 2, "partly"),
        ([(0.0, 8.7, 0.98)] * 2, [(0.1, 6.0, 0.89)] * 2, "partly"),
        ([(0.0, 9.1, 0.98), (0.3, 8.0, 0.98)], [(0.1, 6.0, 0.91)] * 2, "not reproduced"),
        ([(0.0, 8.0, 0.8)] * 2, [(0.1, 6.0, 0.91)] * 2, "not reproduced"),
    ],
)
def test_token_exit(loop, two_layer, verdict):
    assert JUDGES["token-exit-s3"]({"loop": exits(*loop), "two-layer": exits(*two_layer)}) == verdict


def rests(*seeds: tuple[float, float]) -> list[dict]:
    """Share of same answers, and points lost at rest, of each seed."""
    return [{"same_answers": same, "best_accuracy": 1.0, "rest_accuracy": 1 - lost / 100} for same, lost in seeds]


@pytest.mark.parametrize(
    ("loops", "verdict"),
    [
        ([[(1.0, 0.0)] * 3, [(0.99, 0.9)] * 3, [(0.6, 12.0)] * 3, [(0.995, 0.5)] * 3], "reproduced"),
        ([[(1.0, 0.0)] * 3, [(0.94, 0.0)] * 2 + [(1.0, 0.0)], [(0.6, 12.0)] * 3, [(0.995, 0.5)] * 3], "partly"),
        ([[(1.0, 0.0)] * 3, [(0.94, 0.0)] * 3, [(0.6, 12.0)] * 3, [(0.995, 0.5)] * 3], "not reproduced"),
        ([[(1.0, 3.0)] * 3, [(1.0, 0.0)] * 3, [(0.6, 12.0)] * 3, [(0.995, 0.5)] * 3], "not reproduced"),
    ],
)
def test_path_independence(loops, verdict):
    assert JUDGES["path-independence"]({str(i): rests(*seeds) for i, seeds in enumerate(loops)}) == verdict


@pytest.mark.parametrize(
    ("plain", "random", "verdict"),
    [
        ([(0.6, 9.0)] * 3, [(0.995, 0.5)] * 3, "reproduced"),
        ([(0.6, 9.0)] * 2 + [(0.6, 0.9)], [(0.995, 0.5)] * 3, "partly"),
        ([(0.6, 9.0)] * 3, [(0.98, 0.5)] * 3, "partly"),
        ([(0.6, 9.0)] * 3, [(0.98, 3.0)] * 2 + [(0.98, 9.0)], "not reproduced"),
    ],
)
def test_random_start(plain, random, verdict):
    results = {"pointers": rests(*plain), "pointers-random-start": rests(*random)}
    assert JUDGES["random-start-pointers"](results) == verdict


def cycles(*seeds: tuple[float, float]) -> list[dict]:
    return [{"layer_step": step, "layer_gap": gap} for step, gap in seeds]


@pytest.mark.parametrize(
    ("trained", "untrained", "verdict"),
    [
        ([(1e-6, 0.7)] * 3, [(1e-2, 0.4)] * 3, "reproduced"),
        ([(1e-6, 0.7)] * 3, [(1e-6, 0.05)] * 3, "reproduced"),
        ([(1e-6, 0.7)] * 3, [(1e-2, 0.4)] * 2 + [(1e-6, 0.4)], "partly"),
        ([(1e-6, 0.7)] * 2 + [(1e-3, 0.7)], [(1e-2, 0.4)] * 3, "not reproduced"),
    ],
)
def test_cyclic_layers(trained, untrained, verdict):
    assert JUDGES["cyclic-layers-s3"]({"two-layer": cycles(*trained), "untrained": cycles(*untrained)}) == verdict


def test_a_random_start_is_drawn_from_the_step_alone_and_carries_gradient():
    arm = fixed_points.pointer_arm("cpu", "x", fixed_points.RandomStart(UniformPasses(2, 3)))
    torch.manual_seed(0)
    model = build(arm.config)
    batch = arm.batches.task.sample(4, 10, torch.Generator().manual_seed(0))
    losses = [arm.supervision(model, batch, torch.Generator().manual_seed(1), {}).value for _ in range(2)]
    assert torch.equal(*losses)
    plain = FinalLoss(UniformPasses(2, 3))(model, batch, torch.Generator().manual_seed(1), {}).value
    assert not torch.equal(losses[0], plain)
    losses[0].backward()
    assert model.embed.token.weight.grad.abs().sum() > 0
