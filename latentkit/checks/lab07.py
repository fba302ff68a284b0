"""Checks of lab 07: counting, looking up, and the state-space layer in its two forms."""

import math
from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

from latentkit.checks.harness import Exercise, compare, rng, shapes


def copy_chance(bits: float, n: int, letters: int) -> float:
    """The largest chance of copying n random letters through a state of `bits` bits: min(1, 2^bits / letters^n)."""
    return 2.0 ** min(0.0, bits - n * math.log2(letters))


def _check_copy_chance(answer: Callable) -> None:
    cases = [(3, 2, 4), (8, 2, 16), (9, 2, 16), (0, 1, 26), (20, 5, 16), (17, 4, 26), (5, 3, 2), (250_000, 20, 16)]
    for bits, n, letters in cases:
        exact = float(min(Fraction(1), Fraction(2**bits, letters**n)))
        got = answer(float(bits), n, letters)
        inputs = {"bits": bits, "n": n, "letters": letters}
        compare(exact, float(got), name="copy_chance", inputs=inputs, rtol=1e-9, atol=0.0)


def ngram_next(tokens: list[int], k: int) -> int:
    """What followed the earliest place where the last k tokens stand; -1 where they stand nowhere before."""
    key = tokens[-k:]
    for i in range(len(tokens) - k):
        if tokens[i : i + k] == key:
            return tokens[i + k]
    return -1


def _check_ngram_next(answer: Callable) -> None:
    cases = [([0, 1, 2, 9, 0, 1], 2), ([1, 0, 2, 0, 3, 0], 1), ([5, 6, 7], 2), ([4, 4, 4], 1), ([4, 4, 4], 2), ([3], 1)]
    generator = rng(3)
    for length, k in ((14, 1), (15, 2), (30, 2), (30, 3), (12, 3)):
        cases.append((torch.randint(4, (length,), generator=generator).tolist(), k))
    for tokens, k in cases:
        # In text: the first place at which the key is found, short of the end itself.
        text, key = "".join(map(chr, (65 + t for t in tokens))), "".join(chr(65 + t) for t in tokens[-k:])
        at = text[:-1].find(key)
        expected = -1 if at < 0 else ord(text[at + k]) - 65
        got = answer(list(tokens), k)
        compare(expected, int(got), name="ngram_next", inputs={"tokens": tokens, "k": k})


def window_mask(heads: int, n: int) -> Tensor:
    """Hard-ALiBi: what each head may see. Head i of the first half its last i tokens, the second half all before."""
    distance = torch.arange(n)[:, None] - torch.arange(n)
    window = torch.arange(1, heads + 1)
    window[heads // 2 :] = n
    return (distance >= 0) & (distance < window[:, None, None])


def _check_window_mask(answer: Callable) -> None:
    for heads, n in ((2, 4), (4, 7), (6, 5), (8, 9), (4, 1)):
        expected = torch.zeros(heads, n, n, dtype=torch.bool)
        for head in range(heads):
            for i in range(n):
                first = max(0, i - head) if head < heads // 2 else 0
                expected[head, i, first : i + 1] = True
        compare(expected, answer(heads, n), name="window_mask", inputs={"heads": heads, "n": n})


def scan(x: Tensor, a: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """h_t = a_t h_{t-1} + x_t B_t^T from h_0 = 0, and y_t = h_t C_t."""
    h, outputs = torch.zeros(x.shape[1], B.shape[1], dtype=x.dtype), []
    for t in range(len(x)):
        h = a[t] * h + torch.outer(x[t], B[t])
        outputs.append(h @ C[t])
    return torch.stack(outputs)


def _inputs(n: int, p: int, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = rng(n + 10 * p)
    x, B, C = (torch.randn(n, w, generator=generator, dtype=torch.float64) for w in (p, size, size))
    log_a = -2 * torch.rand(n, generator=generator, dtype=torch.float64)
    return x, log_a, B, C


def _weights(log_a: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """(C_i . B_j) a_{j+1} ... a_i, one product after the other."""
    n = len(log_a)
    weights = torch.zeros(n, n, dtype=B.dtype)
    for i in range(n):
        for j in range(i + 1):
            decay = math.prod(math.exp(float(log_a[s])) for s in range(j + 1, i + 1))
            weights[i, j] = decay * float(C[i] @ B[j])
    return weights


def _check_scan(answer: Callable) -> None:
    for n, p, size in shapes(3, low=2, high=6):
        x, log_a, B, C = _inputs(n, p, size)
        expected = _weights(log_a, B, C) @ x
        got = answer(x, log_a.exp(), B, C)
        compare(expected, got, name="scan", inputs={"x": x, "a": log_a.exp(), "B": B, "C": C})


def dual(log_a: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The same layer as attention: [n, n] weights (C_i . B_j) exp(log a_{j+1} + ... + log a_i), 0 for j > i."""
    total = log_a.cumsum(0)
    decay = (total[:, None] - total[None, :]).clamp(max=0).exp().tril()
    return (C @ B.T) * decay


def _check_dual(answer: Callable) -> None:
    for n, p, size in shapes(3, low=2, high=6):
        _, log_a, B, C = _inputs(n, p, size)
        compare(_weights(log_a, B, C), answer(log_a, B, C), name="dual", inputs={"log_a": log_a, "B": B, "C": C})
    # Long and forgetful: products of a fall below the smallest float, quotients of them are 0/0.
    n, (_, _, B, C) = 60, _inputs(60, 1, 2)
    log_a = torch.full((n,), -30.0, dtype=torch.float64)
    compare(_weights(log_a, B, C), answer(log_a, B, C), name="dual", inputs={"log_a": log_a, "B": B, "C": C})


def carry(h: Tensor, x: Tensor, log_a: Tensor, B: Tensor) -> Tensor:
    """The state after a chunk that began in state h."""
    total = log_a.cumsum(0)
    to_end = (total[-1] - total).exp()
    return total[-1].exp() * h + (x * to_end[:, None]).T @ B


def _check_carry(answer: Callable) -> None:
    for q, p, size in shapes(3, low=2, high=6, seed=2):
        x, log_a, B, _ = _inputs(q, p, size)
        h = torch.randn(p, size, generator=rng(q), dtype=torch.float64)
        expected = h
        for t in range(q):
            expected = math.exp(float(log_a[t])) * expected + x[t][:, None] * B[t][None, :]
        compare(expected, answer(h, x, log_a, B), name="carry", inputs={"h": h, "x": x, "log_a": log_a, "B": B})
    # Long and forgetful, as in `dual`: only the last position is left.
    x, _, B, _ = _inputs(60, 2, 3)
    log_a, h = torch.full((60,), -30.0, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    expected = x[-1][:, None] * B[-1][None, :] + math.exp(-30) * x[-2][:, None] * B[-2][None, :]
    compare(expected, answer(h, x, log_a, B), name="carry", inputs={"h": h, "x": x, "log_a": log_a, "B": B})


def recovered_bits(log_p: Tensor, letters: int) -> float:
    """Bits of a string said again: sum over its letters of log2 V + log2 p, mean over the batch."""
    return float((math.log2(letters) + log_p / math.log(2)).sum(1).mean())


def _check_recovered_bits(answer: Callable) -> None:
    for b, n, letters in shapes(3, low=2, high=9, seed=1):
        p = 0.05 + 0.9 * torch.rand(b, n, generator=rng(n), dtype=torch.float64)
        letters += 1  # an alphabet of one letter holds no bits
        expected = sum(math.log2(letters * float(p[i, j])) for i in range(b) for j in range(n)) / b
        got = answer(p.log(), letters)
        compare(expected, float(got), name="recovered_bits", inputs={"log_p": p.log(), "letters": letters})


EXERCISES = {
    "copy_chance": Exercise(copy_chance, _check_copy_chance),
    "ngram_next": Exercise(ngram_next, _check_ngram_next),
    "window_mask": Exercise(window_mask, _check_window_mask),
    "scan": Exercise(scan, _check_scan),
    "dual": Exercise(dual, _check_dual),
    "carry": Exercise(carry, _check_carry),
    "recovered_bits": Exercise(recovered_bits, _check_recovered_bits),
}
