"""Every check of lab 07 passes its reference and fails wrong answers, the classic mistakes first."""

import math

import pytest
import torch

from latentkit.checks import lab07
from latentkit.checks.harness import assert_kills


def _ngram(first=True, skip_self=True, shorter=0, successor=True):
    def answer(tokens, k):
        k = max(1, k - shorter)
        key, found = tokens[-k:], []
        for i in range(len(tokens) - k + (0 if skip_self else 1)):
            if tokens[i : i + k] == key:
                found.append(tokens[i + k] if successor and i + k < len(tokens) else tokens[i + k - 1])
        return (found[0] if first else found[-1]) if found else -1

    return answer


def _mask(offset=1, causal=True, all_windows=False, swapped=False):
    def answer(heads, n):
        distance = torch.arange(n)[:, None] - torch.arange(n)
        windows = [head + offset if all_windows or head < heads // 2 else n for head in range(heads)]
        windows = torch.tensor(windows[::-1] if swapped else windows)[:, None, None]
        near = (distance < windows) if causal else (distance.abs() < windows)
        return near & (distance >= 0) if causal else near

    return answer


def _scan(order="right", swap=False):
    def answer(x, a, B, C):
        B, C = (C, B) if swap else (B, C)
        h, outputs = torch.zeros(x.shape[1], B.shape[1], dtype=x.dtype), []
        for t in range(len(x)):
            if order == "read first":
                outputs.append(h @ C[t])
            if order == "decay the new, too":
                h = a[t] * (h + torch.outer(x[t], B[t]))
            elif order == "leaky average":
                h = a[t] * h + (1 - a[t]) * torch.outer(x[t], B[t])
            else:
                h = a[t] * h + torch.outer(x[t], B[t])
            if order != "read first":
                outputs.append(h @ C[t])
        return torch.stack(outputs)

    return answer


def _dual(decay):
    return lambda log_a, B, C: (C @ B.T) * decay(log_a.cumsum(0), log_a)


def _quotient(total, log_a):
    product = log_a.exp().cumprod(0)
    return (product[:, None] / product[None, :]).tril()


def _to_end(h, x, log_a, B):
    total = log_a.cumsum(0)
    return total[-1].exp() * h + (x * total.exp()[:, None]).T @ B


MUTANTS = {
    "copy_chance": {
        "a chance above 1": lambda bits, n, letters: 2**bits / letters**n,
        "letters for bits": lambda bits, n, letters: min(1.0, 2.0 ** (bits - n * letters)),
        "natural logarithm": lambda bits, n, letters: 2.0 ** min(0.0, bits - n * math.log(letters)),
        "all or nothing": lambda bits, n, letters: float(bits >= n * math.log2(letters)),
    },
    "ngram_next": {
        "the latest place": _ngram(first=False),
        "finds itself": _ngram(skip_self=False),
        "the key's own last letter": _ngram(successor=False),
        "key too short": _ngram(shorter=1),
    },
    "window_mask": {
        "one token too many": _mask(offset=2),
        "head 1 sees nothing": _mask(offset=0),
        "looks ahead": _mask(causal=False),
        "no head is free": _mask(all_windows=True),
        "halves swapped": _mask(swapped=True),
    },
    "scan": {
        "reads before it writes": _scan("read first"),
        "decays what is new": _scan("decay the new, too"),
        "leaky average": _scan("leaky average"),
        "B and C swapped": _scan(swap=True),
    },
    "dual": {
        "quotient of products": _dual(_quotient),
        "own decay counted": _dual(lambda total, log_a: (total[:, None] - total[None, :] + log_a).exp().tril()),
        "sees the future": _dual(lambda total, log_a: (total[:, None] - total[None, :]).clamp(max=0).exp()),
        "no decay": _dual(lambda total, log_a: torch.ones(len(total), len(total), dtype=total.dtype).tril()),
        "queries and keys swapped": lambda log_a, B, C: lab07.dual(log_a, C, B),
    },
    "carry": {
        "old state not decayed": lambda h, x, log_a, B: lab07.carry(torch.zeros_like(h), x, log_a, B) + h,
        "inputs decayed from the start": _to_end,
        "inputs not decayed": lambda h, x, log_a, B: log_a.sum().exp() * h + x.T @ B,
        "decayed by the last step only": lambda h, x, log_a, B: lab07.carry(h * 0, x, log_a, B) + log_a[-1].exp() * h,
        "by quotients of products": lambda h, x, log_a, B: (
            (total := log_a.exp().cumprod(0))[-1] * h + (x * (total[-1] / total)[:, None]).T @ B
        ),
    },
    "recovered_bits": {
        "nats": lambda log_p, letters: (math.log(letters) + log_p).sum(1).mean(),
        "a letter, not a string": lambda log_p, letters: (math.log2(letters) + log_p / math.log(2)).mean(),
        "cross-entropy": lambda log_p, letters: -(log_p / math.log(2)).sum(1).mean(),
        "whole batch": lambda log_p, letters: (math.log2(letters) + log_p / math.log(2)).sum(),
    },
}


@pytest.mark.parametrize("name", lab07.EXERCISES)
def test_check_tells_right_from_wrong(name):
    assert_kills(lab07.EXERCISES[name], MUTANTS[name])


def test_the_references_are_the_course_s_own():
    """Where latentkit has the same thing, the exercise's answer is that."""
    from latentkit.analysis.capacity import copy_bound
    from latentkit.layers import BlockConfig, PositionBias
    from latentkit.models.ssm import ssd

    assert lab07.copy_chance(5.0, 3, 16) == copy_bound(5.0, 3, 16)
    bias = PositionBias(BlockConfig.with_positions("hard-alibi", num_heads=8))(6)
    assert torch.equal(bias == 0, lab07.window_mask(8, 6))
    x, log_a, B, C = lab07._inputs(7, 3, 4)
    h = torch.zeros(1, 1, 3, 4, dtype=torch.float64)
    y, last = ssd(x[None, :, None], log_a[None, :, None], B[None], C[None], h, 3)
    torch.testing.assert_close(y[0, :, 0], lab07.scan(x, log_a.exp(), B, C))
    torch.testing.assert_close(last[0, 0], lab07.carry(h[0, 0], x, log_a, B))
