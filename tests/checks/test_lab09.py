"""Every check of lab 09 passes its reference and fails wrong answers, the classic mistakes first."""

import pytest
import torch

from latentkit.checks import lab09
from latentkit.checks.harness import assert_kills


def _table(mistake):
    def answer(tuples, said, num_tuples, v):
        flipped = said.unflatten(1, (-1, 2)).flip(2).flatten(1, 2)
        if mistake == "its own symbols":
            return lab09.cousin_table(tuples, flipped, num_tuples, v)
        table = lab09.cousin_table(tuples, said, num_tuples, v)
        if mistake == "slots swapped":
            return table.flip(1)
        if mistake == "slots pooled":
            return table.mean(1, keepdim=True).expand_as(table).contiguous()
        if mistake == "zeros where nothing was seen":
            seen = torch.zeros(num_tuples, 2, dtype=torch.bool)
            for slot in (0, 1):
                seen[tuples[:, slot::2].flatten(), slot] = True
            return table * seen[:, :, None, None]
        if mistake == "counts":
            return table * torch.bincount(tuples.flatten(), minlength=num_tuples)[:, None, None, None]
        shifted = said.roll(1, 1)  # the neighbour to the left: across grandparents for the first slot
        return lab09.cousin_table(tuples, shifted.unflatten(1, (-1, 2)).flip(2).flatten(1, 2), num_tuples, v)

    return answer


def _climb(mistake):
    def answer(tokens, L, v, cluster, target):
        symbols, found = tokens, []
        for _ in range(L - 1):
            tuples = lab09.tuple_ids(symbols, v, 2)
            described = symbols if target == "own" else tokens
            if mistake == "always tokens":
                described = tokens
            if mistake == "always own":
                described = symbols
            said = described.unflatten(1, (tuples.shape[1], -1))
            codes = cluster(tuples, said)
            if mistake != "never climbs":
                symbols = codes[tuples]
            found.append(codes[tuples] if mistake != "tuples for codes" else tuples)
        return found[::-1] if mistake == "top first" else found

    return answer


def _signal(chance=True, floor=True, half=False):
    def answer(counts):
        joint = counts / counts.sum()
        expected = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
        phi2 = ((joint - expected).square() / (expected if not half else expected.sqrt())).sum()
        dof = (counts.shape[0] - 1) * (counts.shape[1] - 1) if chance else 0
        value = float(phi2 - dof / counts.sum())
        return max(0.0, value) if floor else value

    return answer


def _targets(axes=(0, 1), inside=True, spread_after=False, unbiased=False):
    def answer(z):
        centred = z - z.mean(axes, keepdim=True)
        variance = z.var(axes, unbiased=unbiased, keepdim=True).nan_to_num(1.0)
        y = centred / ((variance + 1e-5).sqrt() if inside else variance.sqrt())
        spread = y.var((0, 1), unbiased=False).mean() if spread_after else variance.mean()
        return y, spread

    return answer


MUTANTS = {
    "num_strings": {
        "every token free": lambda v, m, s, level: v ** (s**level),
        "one choice a level": lambda v, m, s, level: v * m**level,
        "tokens' choices only": lambda v, m, s, level: v * m ** (s ** max(0, level - 1)),
        "the symbol is given": lambda v, m, s, level: m ** ((s**level - 1) // (s - 1)),
    },
    "tuple_ids": {
        "last symbol first": lambda symbols, v, s: lab09.tuple_ids(
            symbols.unflatten(1, (-1, s)).flip(2).flatten(1), v, s
        ),
        "sums": lambda symbols, v, s: symbols.unflatten(1, (-1, s)).sum(-1),
        "base s": lambda symbols, v, s: lab09.tuple_ids(symbols, s, s),
        "sliding": lambda symbols, v, s: (symbols.unfold(1, s, 1) * v ** torch.arange(s - 1, -1, -1)).sum(-1),
    },
    "cousin_table": {
        name: _table(name)
        for name in (
            "its own symbols",
            "slots swapped",
            "slots pooled",
            "zeros where nothing was seen",
            "counts",
            "a neighbour, not the cousin",
        )
    },
    "climb": {
        name: _climb(name) for name in ("always tokens", "always own", "never climbs", "tuples for codes", "top first")
    },
    "signal": {
        "chance is left in": _signal(chance=False),
        "below zero": _signal(floor=False),
        "divided by the root": _signal(half=True),
        "rows times columns": lambda counts: lab09.signal(counts) - counts.numel() / float(counts.sum()),
    },
    "teacher_targets": {
        "per sentence": _targets(axes=(1,)),
        "per latent": _targets(axes=(2,)),
        "spread of the targets": _targets(spread_after=True),
        "divides by zero": _targets(inside=False),
        "unbiased": _targets(unbiased=True),
        "not centred": lambda z: (z / (z.var((0, 1), unbiased=False) + 1e-5).sqrt(), lab09.teacher_targets(z)[1]),
    },
}


@pytest.mark.parametrize("name", lab09.EXERCISES)
def test_check_tells_right_from_wrong(name):
    assert_kills(lab09.EXERCISES[name], MUTANTS[name])


def test_the_references_are_the_course_s_own():
    """Where latentkit has the same thing, the exercise's answer is that."""
    from latentkit.analysis.latents import chi_squared, confusion
    from latentkit.models.latent_prediction import cousin_contexts, tuple_ids
    from latentkit.models.latent_teacher import spread, standardised
    from latentkit.tasks import RandomHierarchy

    task = RandomHierarchy(4, 2, 2, 3)
    levels = task.draw(500, torch.Generator().manual_seed(0))
    tuples = lab09.tuple_ids(levels[0], 4, 2)
    assert torch.equal(tuples, tuple_ids(levels[0], 4, 2))
    mine = lab09.cousin_table(tuples, levels[0].unflatten(1, (-1, 2)), 16, 4).flatten(1)
    torch.testing.assert_close(mine, cousin_contexts(tuples, levels[0], 2, 16, 4))
    a, b = levels[1].flatten(), levels[2].repeat_interleave(2, 1).flatten()
    assert abs(lab09.signal(confusion(a, b, 4, 4)) - chi_squared(a, b, 4, 4)[0]) < 1e-6
    z = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(1))
    y, s = lab09.teacher_targets(z)
    torch.testing.assert_close(y, standardised(z))
    torch.testing.assert_close(s, spread(z))
    strings = {tuple(row) for row in task.draw(20_000, torch.Generator().manual_seed(0))[0][:, :4].tolist()}
    assert len(strings) == lab09.num_strings(4, 2, 2, 2)
