"""Checks of lab 10: a recurrence, its graph, and what becomes of a graph that a model works through."""

import math
from collections import Counter
from collections.abc import Callable
from itertools import combinations, pairwise

import torch
from torch import Tensor

from latentkit.checks.harness import Exercise, compare, rng, shapes


def best_sums(x: list[int]) -> list[int]:
    """v_1 .. v_n with v_k = max(v_{k-1}, x_k + v_{k-2}, 0), and v_0 = v_{-1} = 0."""
    values = [0, 0]
    for number in x:
        values.append(max(values[-1], number + values[-2], 0))
    return values[2:]


def _check_best_sums(answer: Callable) -> None:
    rows = [[3], [-2], [1, 2], [2, 2, 2], [-1, -2, -3], [3, 1, 1, 3], [3, -1, 2, 2, -3], [2, 3, 2]]
    rows += [torch.randint(-3, 4, (n,), generator=rng(n)).tolist() for n in (5, 7, 8)]
    for x in rows:
        expected = []
        for k in range(1, len(x) + 1):  # by trying all choices of places without neighbours
            choices = (c for size in range(k + 1) for c in combinations(range(k), size))
            free = (c for c in choices if all(b - a > 1 for a, b in pairwise(c)))
            expected.append(max(sum(x[i] for i in c) for c in free))
        compare(expected, [int(v) for v in answer(list(x))], name="best_sums", inputs={"x": x})


def node_depths(parents: list[list[int]]) -> list[int]:
    """Longest way from an input to each node; parents come before their children, inputs have none."""
    depths: list[int] = []
    for above in parents:
        depths.append(1 + max(depths[p] for p in above) if above else 0)
    return depths


def _check_node_depths(answer: Callable) -> None:
    graphs: list[list[list[int]]] = [
        [[]],
        [[], [0], [1]],
        [[], [], [0, 1], [0, 2], [3, 0]],
        [[], [0], [0], [1, 2], [2], [3, 4, 0]],
    ]
    graph: list[list[int]]
    for seed in range(3):
        generator = rng(seed)
        graph = [[], []]
        for i in range(2, 10):
            some = torch.randperm(i, generator=generator)[: 1 + int(torch.randint(3, (), generator=generator))]
            graph.append(some.tolist())
        graphs.append(graph)

    def longest(graph: list[list[int]], node: int) -> int:
        return max((1 + longest(graph, p) for p in graph[node]), default=0)

    for graph in graphs:
        expected = [longest(graph, node) for node in range(len(graph))]
        got = answer([list(above) for above in graph])
        compare(expected, [int(d) for d in got], name="node_depths", inputs={"parents": graph})


def was_seen(known: Tensor, x: Tensor) -> Tensor:
    """Of every node v_k of the rows x [b, n]: whether some known row [r, w] begins with the same k numbers."""
    b, n = x.shape
    seen = torch.zeros(b, n, dtype=torch.bool)
    for k in range(min(n, known.shape[1])):
        same = known[None, :, : k + 1] == x[:, None, : k + 1]
        seen[:, k] = same.all(-1).any(-1)
    return seen


def _check_was_seen(answer: Callable) -> None:
    for r, w, b, n in ((20, 3, 30, 3), (12, 2, 25, 4), (9, 4, 20, 3), (1, 3, 6, 2), (40, 3, 40, 6)):
        known = torch.randint(-1, 2, (r, w), generator=rng(r + w))
        x = torch.randint(-1, 2, (b, n), generator=rng(b + n))
        begins = {tuple(row[:k]) for row in known.tolist() for k in range(1, w + 1)}
        expected = torch.tensor([[tuple(row[:k]) in begins for k in range(1, n + 1)] for row in x.tolist()])
        compare(expected, answer(known, x), name="was_seen", inputs={"known": known, "x": x})


def outcome_codes(x: Tensor, said: Tensor) -> Tensor:
    """Of every sum said [b, n]: 0 correct, 1 local, 2 propagation, 3 restoration."""
    zero = torch.zeros_like(x[:, :1])
    truth = torch.tensor([best_sums(row) for row in x.tolist()])
    one, two = torch.cat([zero, said], 1)[:, :-1], torch.cat([zero, zero, said], 1)[:, :-2]
    true_one, true_two = torch.cat([zero, truth], 1)[:, :-1], torch.cat([zero, zero, truth], 1)[:, :-2]
    by_rule = torch.maximum(one, x + two).clamp(min=0)
    right, parents_right = said == truth, (one == true_one) & (two == true_two)
    return torch.where(right, torch.where(parents_right, 0, 3), torch.where(said == by_rule, 2, 1))


def _check_outcome_codes(answer: Callable) -> None:
    for b, n in (*shapes(2, low=2, high=9, seed=4), (40, 9), (60, 7)):  # the last two: every kind of restoration
        x = torch.randint(-3, 4, (b, n), generator=rng(b))
        slips = torch.rand(b, n, generator=rng(100 + n))
        said, expected = [], []
        for row, slip in zip(x.tolist(), slips.tolist(), strict=True):
            truth, written, codes = [0, 0, *best_sums(row)], [0, 0], []
            for k, number in enumerate(row):
                by_rule = max(written[-1], number + written[-2], 0)
                # Sometimes one more, sometimes the value before again, sometimes the right one in spite of its parents.
                other = {0: by_rule + 1, 1: written[-1], 2: truth[k + 2], 3: truth[k + 2]}
                value = other.get(int(8 * slip[k]), by_rule)
                parents = written[-2:] == truth[k : k + 2]
                if value == truth[k + 2]:
                    codes.append(0 if parents else 3)
                else:
                    codes.append(2 if value == by_rule else 1)
                written.append(value)
            said.append(written[2:])
            expected.append(codes)
        inputs = {"x": x, "said": torch.tensor(said)}
        compare(torch.tensor(expected), answer(x, torch.tensor(said)), name="outcome_codes", inputs=inputs)


def survival_and_hazard(right: Tensor) -> tuple[Tensor, Tensor]:
    """S_k, the share of rows [b, n] without a mistake up to step k, and h_k = 1 - S_k / S_{k-1}, with S_0 = 1."""
    alive = right.long().cumprod(1).double().mean(0)
    before = torch.cat([torch.ones(1, dtype=alive.dtype), alive[:-1]])
    return alive, 1 - alive / before


def _check_survival_and_hazard(answer: Callable) -> None:
    for b, n in ((40, 5), (60, 3), (30, 1), (80, 7)):
        right = torch.rand(b, n, generator=rng(b + n)) < 0.8
        right[0] = True  # somebody is left at the end
        first = [row.index(False) if False in row else n for row in right.tolist()]  # where the first mistake is
        alive = [sum(f >= k for f in first) for k in range(n + 1)]
        expected = [alive[k] / b for k in range(1, n + 1)], [1 - alive[k] / alive[k - 1] for k in range(1, n + 1)]
        got = answer(right)
        inputs = {"right": right}
        for name, wanted, series in zip(("survival", "hazard"), expected, got, strict=True):
            compare(wanted, [float(v) for v in series], name=name, inputs=inputs)


def information_gain(x: Tensor, y: Tensor) -> float:
    """I(X; Y) / H(Y) by counting: x [m] any whole numbers from 0, y [m] digits."""

    def entropy(values: Tensor) -> float:
        p = values.unique(return_counts=True)[1].double() / len(values)
        return float(-(p * p.log2()).sum())

    return (entropy(x) + entropy(y) - entropy(10 * x + y)) / entropy(y)


def _check_information_gain(answer: Callable) -> None:
    a, b = torch.cartesian_prod(torch.arange(10), torch.arange(10)).T
    noise = torch.randint(10, (300,), generator=rng(5))
    mixed = torch.where(torch.rand(300, generator=rng(6)) < 0.5, noise // 2, torch.randint(4, (300,), generator=rng(7)))
    series = [(a, a * b % 10), (10 * a + b, a * b % 10), (a, a * b // 10), (a * b % 10, a), (a, a), (a // 5, a)]
    for x, y in (*series, (a, b % 3), (noise, mixed)):
        pairs = Counter(zip(x.tolist(), y.tolist(), strict=True))
        xs, ys = Counter(x.tolist()), Counter(y.tolist())
        m = len(x)
        shared = sum(c / m * math.log2(c * m / (xs[i] * ys[j])) for (i, j), c in pairs.items())
        expected = shared / -sum(c / m * math.log2(c / m) for c in ys.values())
        compare(expected, float(answer(x, y)), name="information_gain", inputs={"x": x, "y": y})


EXERCISES = {
    "best_sums": Exercise(best_sums, _check_best_sums),
    "node_depths": Exercise(node_depths, _check_node_depths),
    "was_seen": Exercise(was_seen, _check_was_seen),
    "outcome_codes": Exercise(outcome_codes, _check_outcome_codes),
    "survival_and_hazard": Exercise(survival_and_hazard, _check_survival_and_hazard),
    "information_gain": Exercise(information_gain, _check_information_gain),
}
