import dataclasses

import pytest
import torch

from latentkit.layers import MixingConfig
from latentkit.models import TRMConfig, build
from latentkit.training import DeepSupervision, FitConfig
from latentkit.training.cost import H100_FLOPS, Cost, estimate, in_words

SMALL = TRMConfig(4, 3, MixingConfig(9, d_model=16, hidden=32, token_hidden=8), n=2, T=2)


def cost_of(gradient_updates, processes: int = 1, **fit):
    supervision = DeepSupervision(2, gradient_updates=gradient_updates)
    return estimate(build(SMALL), supervision, FitConfig(100, **fit), 10, 9, processes)


def test_flops_are_those_of_the_formula():
    """Two a multiplication; a matrix product costs twice as much backward as forward; two of six updates carry it."""
    got = cost_of(2)
    layer = 3 * 9 * 8 * 16 + 3 * 16 * 32 * 9  # mixing over positions, then over channels
    head, halt = 9 * 16 * 3, 16
    updates = 2 * layer * (6 + 2 * 2)
    # What comes first has no gradient with respect to its input; here that is nothing, since x has one.
    assert got.flops == pytest.approx(10 * 2 * (updates + 3 * (head + halt)), rel=1e-3)
    assert got.parameters == sum(p.numel() for p in build(SMALL).parameters())
    assert (got.steps, got.timed) == (100, 10)
    assert got.seconds > 0


def test_memory_grows_with_what_carries_gradient():
    few, all_updates = cost_of(2), cost_of(None)
    assert few.activation_bytes < 0.6 * all_updates.activation_bytes
    one_tensor = 4 * 10 * 9 * 16
    assert few.activation_bytes > 2 * 2 * 4 * one_tensor
    assert all_updates.state_bytes == 4 * all_updates.parameters * 4
    assert cost_of(2, ema=0.9).state_bytes == 5 * 4 * few.parameters
    assert cost_of(2, processes=2).activation_bytes == few.activation_bytes // 2


def test_an_estimate_trains_nobodys_model():
    model = build(SMALL)
    weights = [p.clone() for p in model.parameters()]
    estimate(model, DeepSupervision(2), FitConfig(100), 10, 9)
    assert all(map(torch.equal, weights, model.parameters()))
    assert all(p.grad is None for p in model.parameters())


def test_in_words():
    cost = Cost(5_000_000, 80 * 2**20, 27 * 2**30, 33e12, 0.05, 460, 72_000)
    assert in_words(cost, "cuda").splitlines() == [
        "  memory  27.1 GiB: 80 MiB for weights, gradients, optimiser and average, 27.0 GiB for the backward pass",
        "  FLOPs   33 TFLOP a step, 2.38 EFLOP in all (matrix products, counted by torch)",
        "  time    60 minutes for 72,000 steps on cuda (one step of 460 examples, timed); "
        "80.1 minutes on an H100 at half its bfloat16 peak",
    ]
    slow, small = dataclasses.replace(cost, seconds=800.0), dataclasses.replace(cost, steps=1, flops=3e6)
    assert "667 days for" in in_words(slow, "cpu")
    assert in_words(small, "cpu").splitlines()[1:] == [
        "  FLOPs   3 MFLOP a step, 3 MFLOP in all (matrix products, counted by torch)",
        "  time    0.05 seconds for 1 steps on cpu (one step of 460 examples, timed)",
    ]
    assert H100_FLOPS == 989e12
