"""Checks of lab 09: counting sentences, contexts of tuples, the climb, the signal, and what tells collapse."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from latentkit.checks.harness import Exercise, compare, rng, shapes


def num_strings(v: int, m: int, s: int, level: int) -> int:
    """Different strings of tokens that may stand under a node of this level."""
    return v * m ** ((s**level - 1) // (s - 1))


def _check_num_strings(answer: Callable) -> None:
    for v, m, s, level in (
        (3, 2, 2, 1),
        (8, 4, 2, 2),
        (8, 4, 2, 4),
        (5, 3, 3, 2),
        (4, 1, 2, 3),
        (6, 2, 2, 0),
        (8, 4, 2, 7),
    ):
        below = 1  # strings under one symbol
        for _ in range(level):
            below = m * below**s
        inputs = {"v": v, "m": m, "s": s, "level": level}
        compare(v * below, answer(v, m, s, level), name="num_strings", inputs=inputs)


def tuple_ids(symbols: Tensor, v: int, s: int) -> Tensor:
    """Each run of s symbols as one number, the first the most significant digit to base v."""
    return (symbols.unflatten(1, (-1, s)) * v ** torch.arange(s - 1, -1, -1)).sum(-1)


def _check_tuple_ids(answer: Callable) -> None:
    for b, t, v in shapes(3, low=2, high=8):
        for s in (2, 3):
            symbols = torch.randint(v, (b, t * s), generator=rng(b + s))
            rows = [
                [int("".join(map(str, row[i : i + s])), max(2, v)) for i in range(0, t * s, s)]
                for row in symbols.tolist()
            ]
            compare(
                torch.tensor(rows), answer(symbols, v, s), name="tuple_ids", inputs={"symbols": symbols, "v": v, "s": s}
            )


def cousin_table(tuples: Tensor, said: Tensor, num_tuples: int, v: int) -> Tensor:
    """[num_tuples, 2, r, v]: for a tuple in either slot, shares of what stands at each place of its cousin."""
    own, other = tuples.unflatten(1, (-1, 2)), said.unflatten(1, (-1, 2)).flip(2)
    counts = torch.zeros(num_tuples, 2, said.shape[-1], v, dtype=torch.float64)
    for slot in (0, 1):
        for place in range(said.shape[-1]):
            cells = own[:, :, slot] * v + other[:, :, slot, place]
            counts[:, slot, place] = torch.bincount(cells.flatten(), minlength=num_tuples * v).view(num_tuples, v)
    total = counts.sum(-1, keepdim=True)
    return torch.where(total > 0, counts / total.clamp_min(1), 1 / v)


def _check_cousin_table(answer: Callable) -> None:
    for b, grandparents, r in shapes(3, low=2, high=6):
        v = r + 2
        generator = rng(b + 10 * r)
        tuples = torch.randint(v * v, (b, 2 * grandparents), generator=generator)
        said = torch.randint(v, (b, 2 * grandparents, r), generator=generator)
        counts = torch.zeros(v * v, 2, r, v, dtype=torch.float64)
        for row, i, place in product(range(b), range(2 * grandparents), range(r)):
            counts[tuples[row, i], i % 2, place, said[row, i ^ 1, place]] += 1
        total = counts.sum(-1, keepdim=True)
        expected = torch.where(total > 0, counts / total.clamp_min(1), 1 / v)
        inputs = {"tuples": tuples, "said": said, "num_tuples": v * v, "v": v}
        compare(expected, answer(tuples, said, v * v, v), name="cousin_table", inputs=inputs)


def climb(tokens: Tensor, L: int, v: int, cluster: Callable[[Tensor, Tensor], Tensor], target: str) -> list[Tensor]:
    """The codes of levels 1 to L - 1, from the bottom up."""
    symbols, found = tokens, []
    for _ in range(L - 1):
        tuples = tuple_ids(symbols, v, 2)
        described = symbols if target == "own" else tokens
        codes = cluster(tuples, described.unflatten(1, (tuples.shape[1], -1)))
        symbols = codes[tuples]
        found.append(symbols)
    return found


def _check_climb(answer: Callable) -> None:
    for b, v in ((3, 4), (1, 3), (5, 6)):
        for L, target in product((2, 3, 4), ("own", "tokens")):
            generator = rng(b + L)
            tokens = torch.randint(v, (b, 2**L), generator=generator)
            tables = [torch.randint(v, (v * v,), generator=generator) for _ in range(L - 1)]
            asked: list[tuple[Tensor, Tensor]] = []
            inputs = {"tokens": tokens, "L": L, "v": v, "cluster": "a function", "target": target}

            def cluster(tuples: Tensor, said: Tensor, tables: list[Tensor] = tables, asked: list = asked) -> Tensor:
                asked.append((tuples, said))
                return tables[len(asked) - 1]

            got = answer(tokens, L, v, cluster, target)
            found, calls, rows = [], [], tokens.tolist()
            for level, table in enumerate(tables):
                pairs = [[row[i] * v + row[i + 1] for i in range(0, len(row), 2)] for row in rows]
                width = 2 ** (level + 1)
                said = [
                    [
                        row[2 * i : 2 * i + 2] if target == "own" else line[width * i : width * (i + 1)]
                        for i in range(len(row) // 2)
                    ]
                    for row, line in zip(rows, tokens.tolist(), strict=True)
                ]
                calls.append((torch.tensor(pairs), torch.tensor(said)))
                rows = [[int(table[pair]) for pair in row] for row in pairs]
                found.append(torch.tensor(rows))
            compare(calls, asked, name="what cluster was asked (tuples, said)", inputs=inputs)
            compare(found, got, name="climb", inputs=inputs)


def signal(counts: Tensor) -> float:
    """phi^2 of a table of counts, less what chance alone gives; at least 0."""
    total = counts.sum()
    joint = counts / total
    expected = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    phi2 = ((joint - expected).square() / expected).sum()
    dof = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    return max(0.0, float(phi2 - dof / total))


def _check_signal(answer: Callable) -> None:
    cases = [torch.tensor([[40.0, 10.0], [10.0, 40.0]]), 30 * torch.eye(3) + 1, torch.full((4, 5), 7.0)]
    for rows, columns in shapes(2, low=2, high=6, count=4):
        rows, columns = rows + 1, columns + 1
        cases.append(torch.randint(1, 40, (rows, columns), generator=rng(rows + 7 * columns)).float())
    for case in cases:
        counts = case.double()
        N, phi2 = float(counts.sum()), 0.0
        for i, j in product(range(counts.shape[0]), range(counts.shape[1])):
            chance = float(counts[i].sum() * counts[:, j].sum()) / N**2
            phi2 += (float(counts[i, j]) / N - chance) ** 2 / chance
        expected = max(0.0, phi2 - (counts.shape[0] - 1) * (counts.shape[1] - 1) / N)
        compare(expected, float(answer(counts)), name="signal", inputs={"counts": counts}, rtol=1e-6, atol=1e-9)


def teacher_targets(z: Tensor) -> tuple[Tensor, Tensor]:
    """Each feature with mean 0 and variance 1 over batch and nodes; and the spread, the mean variance before that."""
    centred = z - z.mean((0, 1))
    variance = centred.square().mean((0, 1))
    return centred / (variance + 1e-5).sqrt(), variance.mean()


def _check_teacher_targets(answer: Callable) -> None:
    for b, n, d in shapes(3, low=2, high=7):
        generator = rng(b * n + d)
        z = torch.randn(b, n, d, generator=generator, dtype=torch.float64)
        z = z * (0.2 + 3 * torch.rand(d, generator=generator, dtype=torch.float64)) + 2
        rows = z.flatten(0, 1)
        expected, variances = torch.empty_like(rows), []
        for feature in range(d):
            column = rows[:, feature]
            mean = sum(column.tolist()) / len(column)
            variance = sum((x - mean) ** 2 for x in column.tolist()) / len(column)
            expected[:, feature] = (column - mean) / (variance + 1e-5) ** 0.5
            variances.append(variance)
        y, spread = answer(z)
        compare(expected.view(z.shape), y, name="targets", inputs={"z": z})
        compare(sum(variances) / d, float(spread), name="spread", inputs={"z": z})
    collapsed = torch.ones(3, 2, 4, dtype=torch.float64)  # nothing left: no division by zero
    y, spread = answer(collapsed)
    compare(torch.zeros_like(collapsed), y, name="targets", inputs={"z": collapsed})
    compare(0.0, float(spread), name="spread", inputs={"z": collapsed})


EXERCISES = {
    "num_strings": Exercise(num_strings, _check_num_strings),
    "tuple_ids": Exercise(tuple_ids, _check_tuple_ids),
    "cousin_table": Exercise(cousin_table, _check_cousin_table),
    "climb": Exercise(climb, _check_climb),
    "signal": Exercise(signal, _check_signal),
    "teacher_targets": Exercise(teacher_targets, _check_teacher_targets),
}
