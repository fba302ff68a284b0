"""Checks of lab 02: the looped block from scratch, how it is trained, and what is measured on it."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from latentkit.checks.harness import CheckFailed, Exercise, compare, rng, shapes
from latentkit.recurrence import check_passes


def inject(h: Tensor, e: Tensor, weight: Tensor) -> Tensor:
    """W [h; e]: the state first, the encoded input second."""
    return torch.cat([h, e], -1) @ weight.T


def _check_inject(answer: Callable) -> None:
    for b, n, d in shapes(3, low=2, high=6):
        generator = rng(d)
        h, e = (torch.randn(b, n, d, generator=generator) for _ in range(2))
        weight = torch.randn(d, 2 * d, generator=generator)
        expected = torch.einsum("bni,oi->bno", h, weight[:, :d]) + torch.einsum("bni,oi->bno", e, weight[:, d:])
        compare(expected, answer(h, e, weight), name="inject", inputs={"h": h, "e": e, "weight": weight})


def looped_step(h: Tensor, e: Tensor, weight: Tensor, block: Callable[[Tensor], Tensor], gain: Tensor) -> Tensor:
    """norm(block(W [h; e])) with an RMS norm of gain `gain`."""
    x = block(inject(h, e, weight))
    return x / (x.pow(2).mean(-1, keepdim=True) + torch.finfo(x.dtype).eps).sqrt() * gain


def _check_looped_step(answer: Callable) -> None:
    for b, n, d in shapes(3, low=2, high=6, seed=1):
        generator = rng(d)
        h, e = (torch.randn(b, n, d, generator=generator) for _ in range(2))
        weight, gain = torch.randn(d, 2 * d, generator=generator), 0.5 + torch.rand(d, generator=generator)
        mixing = torch.randn(n, n, generator=generator)

        def block(x: Tensor, mixing: Tensor = mixing) -> Tensor:
            return x + torch.tanh(mixing @ x) + 1.0  # not linear, not centred: an order or a residual that is off shows

        x = block(torch.cat([h, e], -1) @ weight.T)
        rms = torch.stack([torch.stack([(p.double() ** 2).mean().sqrt() for p in row]) for row in x]).float()
        got = answer(h, e, weight, block, gain)
        compare(x / rms[..., None] * gain, got, name="looped_step", inputs={"h": h, "e": e}, rtol=1e-3, atol=1e-4)


def unroll(step: Callable[[Tensor], Tensor], h: Tensor, passes: int) -> tuple[Tensor, Tensor]:
    """The states after each pass [t, b, n, d], and how far each moved: ||h_t - h_{t-1}|| / ||h_t|| [t, b, n]."""
    check_passes(passes)
    states, residuals = [], []
    for _ in range(passes):
        before, h = h, step(h)
        states.append(h)
        residuals.append((h - before).norm(dim=-1) / h.norm(dim=-1))
    return torch.stack(states), torch.stack(residuals)


def _check_unroll(answer: Callable) -> None:
    for passes, b, n, d in shapes(4, low=2, high=6):
        generator = rng(d)
        h, turn = torch.randn(b, n, d, generator=generator), torch.randn(d, d, generator=generator)
        calls: list[int] = []

        def step(x: Tensor, turn: Tensor = turn, calls: list = calls) -> Tensor:
            calls.append(1)
            return torch.tanh(x @ turn) * 1.7 + 0.3

        expected = [h]
        for _ in range(passes):
            expected.append(torch.tanh(expected[-1] @ turn) * 1.7 + 0.3)
        moved = [
            (after - before).pow(2).sum(-1).sqrt() / after.pow(2).sum(-1).sqrt() for before, after in pairwise(expected)
        ]
        got = answer(step, h, passes)
        if len(calls) != passes:
            raise CheckFailed(f"unroll: {passes} passes were asked for, the step was called {len(calls)} times.")
        compare((torch.stack(expected[1:]), torch.stack(moved)), got, name="unroll", inputs={"h": h, "passes": passes})


def truncated(step: Callable[[Tensor], Tensor], h: Tensor, passes: int, k: int) -> Tensor:
    """The state after `passes` passes, with gradient through the last k of them only."""
    with torch.no_grad():
        for _ in range(max(0, passes - k)):
            h = step(h)
    for _ in range(min(k, passes)):
        h = step(h)
    return h


def _check_truncated(answer: Callable) -> None:
    for passes, k in ((5, 5), (5, 2), (4, 1), (3, 7), (1, 1)):
        weight = torch.tensor([0.7, -1.1, 0.4], dtype=torch.float64, requires_grad=True)
        h = torch.tensor([0.3, 0.2, -0.5], dtype=torch.float64)

        def step(x: Tensor, weight: Tensor = weight) -> Tensor:
            return torch.sin(weight * x + 0.2)

        # Independent of autograd: forward-mode, dh_t/dw carried by hand, restarted where the gradient is to stop.
        state, slope = h, torch.zeros(3, dtype=torch.float64)
        for t in range(passes):
            if t == passes - k:
                slope = torch.zeros(3, dtype=torch.float64)
            slope = torch.cos(weight * state + 0.2) * (state + weight * slope)
            state = step(state)
        got = answer(step, h, passes, k)
        inputs = {"passes": passes, "k": k}
        compare(state.detach(), got, name="the state of truncated", inputs=inputs)
        if not got.requires_grad:
            raise CheckFailed(f"truncated: no gradient flows at all. Called with passes = {passes}, k = {k}.")
        (gradient,) = torch.autograd.grad(got.sum(), weight)
        compare(slope.detach(), gradient, name="the gradient of truncated", inputs=inputs)


def halting_pass(residuals: Tensor, threshold: float) -> Tensor:
    """The first pass (counted from 1) at which each position moves by less than `threshold`; 0 where none does."""
    below = residuals < threshold
    first = below.int().argmax(0) + 1
    return torch.where(below.any(0), first, 0)


def _check_halting_pass(answer: Callable) -> None:
    for t, b, n in ((6, 3, 4), (3, 5, 2), (1, 2, 3)):
        residuals = torch.rand(t, b, n, generator=rng(t)) * 0.6  # not monotone: it dips below and comes back
        residuals[:, 0, 0] = 1.0  # never below
        residuals[-1, -1, -1] = 0.01
        residuals[:, 0, 1] = 0.25  # at the threshold is not below it
        expected = torch.zeros(b, n, dtype=torch.long)
        for x in range(b):
            for i in range(n):
                for pass_ in range(t, 0, -1):
                    if residuals[pass_ - 1, x, i] < 0.25:
                        expected[x, i] = pass_
        got = answer(residuals.clone(), 0.25)
        compare(expected, got, name="halting_pass", inputs={"residuals": residuals, "threshold": 0.25})


def depth_map(predictions: Tensor, targets: Tensor) -> Tensor:
    """Share of right answers by pass and position, over the batch."""
    return (predictions == targets).float().mean(1)


def _check_depth_map(answer: Callable) -> None:
    for k, b, n in shapes(3, low=2, high=7):
        generator = rng(n)
        predictions = torch.randint(3, (k, b, n), generator=generator)
        targets = torch.randint(3, (b, n), generator=generator)
        expected = torch.zeros(k, n)
        for t in range(k):
            for i in range(n):
                expected[t, i] = sum(int(predictions[t, x, i]) == int(targets[x, i]) for x in range(b)) / b
        got = answer(predictions, targets)
        compare(expected, got, name="depth_map", inputs={"predictions": predictions, "targets": targets})


EXERCISES = {
    "inject": Exercise(inject, _check_inject),
    "looped_step": Exercise(looped_step, _check_looped_step),
    "unroll": Exercise(unroll, _check_unroll),
    "truncated": Exercise(truncated, _check_truncated),
    "halting_pass": Exercise(halting_pass, _check_halting_pass),
    "depth_map": Exercise(depth_map, _check_depth_map),
}
