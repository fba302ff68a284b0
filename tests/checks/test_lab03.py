"""Every check of lab 03 passes its reference and fails wrong answers, the classic mistakes first."""

import pytest
import torch

from latentkit.checks import lab03
from latentkit.checks.harness import assert_kills


def _rest(residual=None, late=False, one_less=False, ignore_most=False):
    residual = residual or (lambda h, before: ((h - before).norm(dim=-1) / h.norm(dim=-1)).max())

    def answer(step, h, tolerance, most):
        for passes in range(1, (200 if ignore_most else most) + 1):
            before, h, used = h, step(h), passes
            if residual(h, before) < tolerance:
                break
        return (before if late else h), used - one_less

    return answer


def _ends(step, starts, passes):
    ends = []
    for h in starts:
        for _ in range(passes):
            h = step(h)
        ends.append(h)
    return torch.stack(ends)


def _relative(a, b):
    return (a - b).norm(dim=-1) / b.norm(dim=-1)


def _own_length(step, starts, passes):
    ends = _ends(step, starts, passes)
    return (ends - ends[0]).norm(dim=-1) / ends.norm(dim=-1)


def _continued(step, starts, passes):
    h, ends = starts[0], []
    for _ in starts:
        for _ in range(passes):
            h = step(h)
        ends.append(h)
    return torch.stack([_relative(end, ends[0]) for end in ends])


def _plane(centre=True, scale=True, which=(0, 1), standardise=False):
    def answer(points):
        centred = points - points.mean(0) if centre else points
        if standardise:
            centred = centred / centred.std(0)
        _, spread, axes = torch.linalg.svd(centred, full_matrices=False)
        coordinates = centred @ axes[list(which)].T
        return coordinates if scale else coordinates / spread[list(which)]

    return answer


def _power(length, before_each=True):
    def answer(apply, push, iterations):
        factors = []
        if not before_each:
            push = push / length(push)
        for _ in range(iterations):
            push = apply(push / length(push) if before_each else push)
            factors.append(push.flatten(1).norm(dim=1))
        return torch.stack(factors)

    return answer


def _sequence(v):
    return v.flatten(1).norm(dim=1)[:, None, None]


def _after(apply, push, iterations):
    factors = []
    for _ in range(iterations):
        push = apply(push)
        push = push / _sequence(push)
        factors.append(push.flatten(1).norm(dim=1))
    return torch.stack(factors)


def _cycle(unit=True, shift=-1, axis=1, from_start=False):
    def answer(states):
        x = states / states.norm(dim=-1, keepdim=True) if unit else states
        before = x[:1] if from_start else x[:-1]
        return (x[1:] - before).norm(dim=-1), (x - x.roll(shift, dims=axis)).norm(dim=-1)

    return answer


def _freeze(undo=False, thaw=False, together=False, forget=False, zero_based=False):
    def answer(step, h, threshold, passes):
        halted_at = torch.zeros(h.shape[:2], dtype=torch.long)
        free = h
        for t in range(1, passes + 1):
            stopped = halted_at > 0
            free = step(free)
            new = free if forget else step(h)
            moved = new if thaw else torch.where(stopped[..., None], h, new)
            small = _relative(h, moved) < threshold
            if together:
                small = small.all(-1, keepdim=True).expand_as(small)
            first = ~stopped & small
            halted_at = torch.where(first, t - zero_based, halted_at)
            h = torch.where(first[..., None], h, moved) if undo else moved
        return h, halted_at

    return answer


MUTANTS = {
    "rest": {
        "mean over positions": _rest(lambda h, before: _relative(before, h).mean()),
        "absolute distance": _rest(lambda h, before: (h - before).norm(dim=-1).max()),
        "relative to the old length": _rest(lambda h, before: ((h - before).norm(dim=-1) / before.norm(dim=-1)).max()),
        "all positions as one vector": _rest(lambda h, before: (h - before).norm() / h.norm()),
        "state before the last pass": _rest(late=True),
        "last pass not counted": _rest(one_less=True),
        "runs on after `most`": _rest(ignore_most=True),
    },
    "end_distance": {
        "distance of the starts": lambda step, starts, passes: torch.stack([_relative(h, starts[0]) for h in starts]),
        "relative to its own length": _own_length,
        "one run for all starts": _continued,
        "one pass only": lambda step, starts, passes: (
            torch.stack([_relative(h, _ends(step, starts, 1)[0]) for h in _ends(step, starts, 1)]) * passes
        ),
        "one number a sequence": lambda step, starts, passes: (
            torch.stack([_relative(h, _ends(step, starts, passes)[0]) for h in _ends(step, starts, passes)]).mean(
                -1, keepdim=True
            )
            + torch.zeros(starts.shape[:3])
        ),
    },
    "principal_plane": {
        "not centred": _plane(centre=False),
        "last two directions": _plane(which=(-1, -2)),
        "order swapped": _plane(which=(1, 0)),
        "unit variance": _plane(scale=False),
        "every channel standardised": _plane(standardise=True),
    },
    "power_iteration": {
        "never renormalised": _power(_sequence, before_each=False),
        "unit length at each position": _power(lambda v: v.norm(dim=-1, keepdim=True)),
        "unit length over the batch": _power(lambda v: v.norm()),
        "measured after renormalising": _after,
    },
    "layer_cycle": {
        "not unit vectors": _cycle(unit=False),
        "gap to the layer before": _cycle(shift=1),
        "gap to the next pass": _cycle(axis=0),
        "steps since the first pass": _cycle(from_start=True),
    },
    "freeze_run": {
        "moves on after it stopped": _freeze(thaw=True),
        "last pass undone": _freeze(undo=True),
        "stops with the whole sequence": _freeze(together=True),
        "others read an unfrozen run": _freeze(forget=True),
        "counted from 0": _freeze(zero_based=True),
    },
}


@pytest.mark.parametrize("name", lab03.EXERCISES)
def test_check_tells_right_from_wrong(name):
    assert_kills(lab03.EXERCISES[name], MUTANTS[name])
