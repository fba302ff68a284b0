"""Checks of lab 03: where a loop comes to rest, on what that depends, and what stopping there saves."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from latentkit.checks.harness import CheckFailed, Exercise, compare, rng, shapes
from latentkit.recurrence import check_passes


def rest(step: Callable[[Tensor], Tensor], h: Tensor, tolerance: float, most: int) -> tuple[Tensor, int]:
    """Passes until every position moves by less than `tolerance` of its length: the state, and how many passes."""
    check_passes(most)
    for passes in range(1, most + 1):
        before, h = h, step(h)
        if bool(((h - before).norm(dim=-1) / h.norm(dim=-1) < tolerance).all()):
            return h, passes
    return h, most


def _contraction(d: int, generator: torch.Generator, rate: float = 0.6) -> tuple[Tensor, Tensor]:
    """A matrix that shrinks every vector to `rate` of its length, and an offset."""
    turn, _ = torch.linalg.qr(torch.randn(d, d, generator=generator))
    return rate * turn, torch.randn(d, generator=generator)


def _check_rest(answer: Callable) -> None:
    for b, n, d in shapes(3, low=2, high=6):
        generator = rng(d)
        matrix, offset = _contraction(d, generator)
        # Far from rest at one position only, and of unequal lengths: a mean, or an absolute distance, stops elsewhere.
        start = torch.linalg.solve(torch.eye(d) - matrix, offset).expand(b, n, d).clone()
        start[-1, -1] += 50 * torch.randn(d, generator=generator)
        for tolerance, most in ((1e-2, 100), (1e-4, 100), (1e-4, 3), (0.5, 100), (1.0, 100), (10.0, 100)):
            expected, passes = start.double(), 0
            while passes < most:
                before, expected = expected, expected @ matrix.double().T + offset.double()
                passes += 1
                moved = [
                    math.dist(x.tolist(), y.tolist()) / math.hypot(*y.tolist())
                    for x, y in zip(before.flatten(0, 1), expected.flatten(0, 1), strict=True)
                ]
                if max(moved) < tolerance:
                    break
            got = answer(lambda x, m=matrix, o=offset: x @ m.T + o, start, tolerance, most)
            inputs = {"h": start, "tolerance": tolerance, "most": most}
            compare((expected.float(), passes), got, name="rest", inputs=inputs, rtol=1e-3, atol=1e-3)


def end_distance(step: Callable[[Tensor], Tensor], starts: Tensor, passes: int) -> Tensor:
    """How far from the first start's end each start ends, relative to the length of the first one's end [s, b, n]."""
    check_passes(passes)
    ends = []
    for h in starts:
        for _ in range(passes):
            h = step(h)
        ends.append(h)
    return torch.stack([(end - ends[0]).norm(dim=-1) / ends[0].norm(dim=-1) for end in ends])


def _check_end_distance(answer: Callable) -> None:
    for s, b, n, d in shapes(4, low=2, high=6):
        generator = rng(d)
        starts, matrix = torch.randn(s, b, n, d, generator=generator), torch.randn(d, d, generator=generator)

        def step(x: Tensor, matrix: Tensor = matrix) -> Tensor:
            if x.ndim != 3:
                raise CheckFailed(f"end_distance: step takes a state [b, n, d], it was given {list(x.shape)}.")
            return torch.tanh(x @ matrix) * (2 + torch.arange(x.shape[1])[:, None])  # every position has its length

        for passes in (1, 4):
            ends = [starts[i] for i in range(s)]
            for _ in range(passes):
                ends = [step(end) for end in ends]
            expected = torch.zeros(s, b, n)
            for i in range(s):
                for x in range(b):
                    for j in range(n):
                        a, z = ends[i][x, j].tolist(), ends[0][x, j].tolist()
                        expected[i, x, j] = math.dist(a, z) / math.hypot(*z)
            got = answer(step, starts, passes)
            compare(expected, got, name="end_distance", inputs={"starts": starts, "passes": passes}, rtol=1e-3)


def principal_plane(points: Tensor) -> Tensor:
    """Coordinates [m, 2] of points [m, d] along their two directions of most variance; either sign."""
    centred = points - points.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    return centred @ axes[:2].T


def _check_principal_plane(answer: Callable) -> None:
    for m, d in ((40, 5), (12, 3), (7, 20), (60, 2)):
        generator = rng(m)
        # Unequal spreads, so that the directions are well defined, and a centre far from 0.
        turn, _ = torch.linalg.qr(torch.randn(d, d, generator=generator))
        points = torch.randn(m, d, generator=generator) * torch.tensor([0.5**i for i in range(d)]) @ turn + 3.0
        centred = (points - points.mean(0)).double()
        _, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
        expected = (centred @ vectors[:, [-1, -2]]).float()
        got = answer(points.clone())
        if isinstance(got, Tensor) and got.shape == expected.shape:
            got = got * (got * expected).sum(0).sign()  # a principal axis has no sign
        compare(expected, got, name="principal_plane", inputs={"points": points}, rtol=1e-2, atol=1e-3)


def power_iteration(apply: Callable[[Tensor], Tensor], push: Tensor, iterations: int) -> Tensor:
    """By how much each application of a linear map lengthens a push [b, n, d], which is made unit length before it."""
    factors = []
    for _ in range(iterations):
        push = apply(push / push.flatten(1).norm(dim=1)[:, None, None])
        factors.append(push.flatten(1).norm(dim=1))
    return torch.stack(factors)


def _check_power_iteration(answer: Callable) -> None:
    for b, n, d in shapes(3, low=2, high=6, seed=2):
        generator = rng(d)
        matrix = torch.randn(n * d, n * d, generator=generator) * (0.5 if d % 2 else 3.0)
        push = 5 * torch.randn(b, n, d, generator=generator)

        def apply(v: Tensor, matrix: Tensor = matrix) -> Tensor:
            return (v.flatten(1) @ matrix.T).view_as(v)

        lengths = [torch.stack([row.double().norm() for row in push.flatten(1)])]
        current = push.flatten(1).double()
        for _ in range(6):
            current = current @ matrix.double().T
            lengths.append(torch.stack([row.norm() for row in current]))
        expected = torch.stack([after / before for before, after in pairwise(lengths)]).float()
        got = answer(apply, push.clone(), 6)
        compare(expected, got, name="power_iteration", inputs={"push": push, "iterations": 6}, rtol=1e-3)


def layer_cycle(states: Tensor) -> tuple[Tensor, Tensor]:
    """From states after each of k layers [t, k, b, n, d]: each layer's step, and its gap to the next one in the cycle.

    Both between directions (unit vectors): steps [t - 1, k, b, n], gaps [t, k, b, n].
    """
    directions = states / states.norm(dim=-1, keepdim=True)
    steps = (directions[1:] - directions[:-1]).norm(dim=-1)
    gaps = (directions - directions.roll(-1, dims=1)).norm(dim=-1)
    return steps, gaps


def _check_layer_cycle(answer: Callable) -> None:
    for t, b, n, d in shapes(4, low=2, high=5):
        states = torch.randn(t, 3, b, n, d, generator=rng(d)) * (1 + torch.arange(3.0))[:, None, None, None]
        steps, gaps = torch.zeros(t - 1, 3, b, n), torch.zeros(t, 3, b, n)
        for layer in range(3):
            for x in range(b):
                for j in range(n):
                    unit = [(v := states[p, layer, x, j].double()) / v.pow(2).sum().sqrt() for p in range(t)]
                    other = [(v := states[p, (layer + 1) % 3, x, j].double()) / v.pow(2).sum().sqrt() for p in range(t)]
                    for p in range(t):
                        gaps[p, layer, x, j] = math.dist(unit[p].tolist(), other[p].tolist())
                        if p:
                            steps[p - 1, layer, x, j] = math.dist(unit[p].tolist(), unit[p - 1].tolist())
        got = answer(states.clone())
        compare((steps, gaps), got, name="layer_cycle", inputs={"states": states}, rtol=1e-3)


def freeze_run(step: Callable[[Tensor], Tensor], h: Tensor, threshold: float, passes: int) -> tuple[Tensor, Tensor]:
    """A run in which a position stops for good once it moved by less than `threshold` of its length.

    Returns the last state [b, n, d], and the pass after which each position stopped [b, n]; 0 where it did not.
    """
    check_passes(passes)
    halted_at = torch.zeros(h.shape[:2], dtype=torch.long)
    for t in range(1, passes + 1):
        moved = torch.where((halted_at > 0)[..., None], h, step(h))
        small = (moved - h).norm(dim=-1) / moved.norm(dim=-1) < threshold
        halted_at = torch.where((halted_at == 0) & small, t, halted_at)
        h = moved
    return h, halted_at


def _check_freeze_run(answer: Callable) -> None:
    for b, n, d in shapes(3, low=2, high=6, seed=3):
        generator = rng(n)
        start = torch.randn(b, n, d, generator=generator)
        rates = torch.linspace(0.2, 0.7, n)[:, None]

        def step(x: Tensor, rates: Tensor = rates) -> Tensor:
            # Each position goes to a target that the position before it sets: what is frozen there still counts here.
            before = torch.cat([torch.ones_like(x[:, :1]), x[:, :-1]], 1)
            return rates * x + (1 - rates) * (before.roll(1, -1) + 0.5)

        for passes, threshold in ((12, 0.1), (3, 0.05), (30, 0.3)):
            state, halted = start.double(), [[0] * n for _ in range(b)]
            for t in range(1, passes + 1):
                new = step(state)
                for x in range(b):
                    for j in range(n):
                        if halted[x][j]:
                            new[x, j] = state[x, j]
                        elif math.dist(new[x, j].tolist(), state[x, j].tolist()) < threshold * new[x, j].norm():
                            halted[x][j] = t
                state = new
            got = answer(step, start.clone(), threshold, passes)
            inputs = {"h": start, "threshold": threshold, "passes": passes}
            expected = (state.float(), torch.tensor(halted))
            compare(expected, got, name="freeze_run", inputs=inputs, rtol=1e-3, atol=1e-4)


EXERCISES = {
    "rest": Exercise(rest, _check_rest),
    "end_distance": Exercise(end_distance, _check_end_distance),
    "principal_plane": Exercise(principal_plane, _check_principal_plane),
    "power_iteration": Exercise(power_iteration, _check_power_iteration),
    "layer_cycle": Exercise(layer_cycle, _check_layer_cycle),
    "freeze_run": Exercise(freeze_run, _check_freeze_run),
}
