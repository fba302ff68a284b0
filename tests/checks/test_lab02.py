"""Every check of lab 02 passes its reference and fails wrong answers, the classic mistakes first."""

import pytest
import torch

from latentkit.checks import lab02
from latentkit.checks.harness import assert_kills


def _rms(x):
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def _unroll(divide_by="after", include_start=False, restart=False, drop_last=False):
    def answer(step, h, passes):
        start, states, residuals = h, [h] if include_start else [], []
        for _ in range(passes):
            before, h = h, step(start if restart else h)
            states.append(h)
            size = {"after": h, "before": before, "none": torch.ones_like(h) / h.shape[-1] ** 0.5}[divide_by]
            residuals.append((h - before).norm(dim=-1) / size.norm(dim=-1))
        return torch.stack(states[:passes]), torch.stack(residuals)

    return answer


def _truncated(keep):
    def answer(step, h, passes, k):
        for t in range(passes):
            if t == passes - keep(k, passes):
                h = h.detach()
            h = step(h)
        return h

    return answer


def _halting(residuals, threshold):
    below = residuals < threshold
    return below, below.any(0)


def _zero_based(residuals, threshold):
    below, _ = _halting(residuals, threshold)
    return below.int().argmax(0)


def _last_above(residuals, threshold):
    below, any_ = _halting(residuals, threshold)
    passes = torch.arange(1, len(residuals) + 1)[:, None, None]
    return torch.where(any_, (passes * ~below).amax(0) + 1, 0)


def _never_is_one(residuals, threshold):
    return (residuals < threshold).int().argmax(0) + 1


def _never_is_last(residuals, threshold):
    below, any_ = _halting(residuals, threshold)
    return torch.where(any_, below.int().argmax(0) + 1, len(residuals))


def _whole_sequence(residuals, threshold):
    below = residuals.amax(-1, keepdim=True).expand_as(residuals) < threshold
    return torch.where(below.any(0), below.int().argmax(0) + 1, 0)


MUTANTS = {
    "inject": {
        "input first": lambda h, e, w: torch.cat([e, h], -1) @ w.T,
        "input not injected": lambda h, e, w: torch.cat([h, torch.zeros_like(e)], -1) @ w.T,
        "added before the map": lambda h, e, w: torch.cat([h + e, h + e], -1) @ w.T / 2,
        "state dropped": lambda h, e, w: torch.cat([torch.zeros_like(h), e], -1) @ w.T,
    },
    "looped_step": {
        "no norm": lambda h, e, w, block, g: block(lab02.inject(h, e, w)) * g,
        "norm before the block": lambda h, e, w, block, g: block(_rms(lab02.inject(h, e, w)) * g),
        "residual around the block": lambda h, e, w, block, g: _rms(h + block(lab02.inject(h, e, w))) * g,
        "gain forgotten": lambda h, e, w, block, g: _rms(block(lab02.inject(h, e, w))),
        "block skipped": lambda h, e, w, block, g: _rms(lab02.inject(h, e, w)) * g,
    },
    "unroll": {
        "divided by the old state": _unroll(divide_by="before"),
        "not divided": _unroll(divide_by="none"),
        "start counted as a pass": _unroll(include_start=True),
        "every pass from the start": _unroll(restart=True),
    },
    "truncated": {
        "gradient through all": _truncated(lambda k, passes: passes + 1),
        "one pass too many": _truncated(lambda k, passes: k + 1),
        "always the last only": _truncated(lambda k, passes: 1),
        "through the first k": _truncated(lambda k, passes: max(1, passes - k)),
    },
    "halting_pass": {
        "counted from 0": _zero_based,
        "last crossing": _last_above,
        "never counts as pass 1": _never_is_one,
        "never counts as the last": _never_is_last,
        "whole sequence at once": _whole_sequence,
    },
    "depth_map": {
        "averaged over positions": lambda p, t: (p == t).float().mean(2),
        "averaged over passes": lambda p, t: (p == t).float().mean(0),
        "last pass only": lambda p, t: (p == t).float().mean(1)[-1:].expand(len(p), -1),
        "whole sequence right": lambda p, t: (p == t).all(2, keepdim=True).float().mean(1).expand(-1, p.shape[2]),
    },
}


@pytest.mark.parametrize("name", lab02.EXERCISES)
def test_check_tells_right_from_wrong(name):
    assert_kills(lab02.EXERCISES[name], MUTANTS[name])
