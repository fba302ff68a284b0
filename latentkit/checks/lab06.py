"""Checks of lab 06: the window, the feedback that goes beyond it, and what is measured on a memory."""

from collections.abc import Callable

import torch
from torch import Tensor

from latentkit.checks.harness import CheckFailed, Exercise, compare, rng, shapes

Pair = tuple[Tensor, Tensor]  # keys and values


def block_mask(n: int, before: int) -> Tensor:
    """Which keys each of n tokens may see: all `before` that come first, and of its own block those up to itself."""
    return torch.ones(n, before + n, dtype=torch.bool).tril(before)


def _check_block_mask(answer: Callable) -> None:
    for n, before in ((4, 3), (2, 5), (3, 0), (1, 2), (5, 1)):
        expected = torch.zeros(n, before + n, dtype=torch.bool)
        for i in range(n):
            for j in range(before + n):
                expected[i, j] = j < before or j - before <= i
        compare(expected, answer(n, before), name="block_mask", inputs={"n": n, "before": before})


def read(q: Tensor, memory: Pair, feedback: Pair, block: Pair) -> Tensor:
    """What the tokens of a block attend to: [memory segment | feedback | own block up to the token]."""
    keys, values = (torch.cat(parts, 1) for parts in zip(memory, feedback, block, strict=True))
    n = q.shape[1]
    scores = q @ keys.mT / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~block_mask(n, keys.shape[1] - n), -torch.inf)
    return scores.softmax(-1) @ values


def _check_read(answer: Callable) -> None:
    for b, s, f, n, e in ((2, 4, 3, 5, 6), (3, 0, 2, 4, 2), (2, 6, 0, 3, 4), (1, 2, 1, 2, 8)):
        generator = rng(n)
        q = 2 * torch.randn(b, n, e, generator=generator)

        def pair(m: int, b: int = b, e: int = e, generator: torch.Generator = generator) -> Pair:
            return torch.randn(b, m, e, generator=generator), torch.randn(b, m, e, generator=generator)

        memory, feedback, block = pair(s), pair(f), pair(n)
        expected = torch.zeros(b, n, e)
        for x in range(b):
            for i in range(n):
                seen = [(k[x, j], v[x, j]) for k, v in (memory, feedback) for j in range(k.shape[1])]
                seen += [(block[0][x, j], block[1][x, j]) for j in range(i + 1)]
                weights = torch.tensor([float(q[x, i] @ k) / e**0.5 for k, _ in seen]).softmax(0)
                expected[x, i] = sum(w * v for w, (_, v) in zip(weights, seen, strict=True))
        got = answer(q, memory, feedback, block)
        compare(expected, got, name="read", inputs={"q": q, "memory keys": memory[0], "feedback keys": feedback[0]})


def update(mixed: Tensor, feedback: Tensor, first: bool, norm: Callable, mlp: Callable) -> Tensor:
    """A = mixed + F, without F at the first update; the new feedback is FF(LN(A)) + A."""
    a = mixed if first else mixed + feedback
    return mlp(norm(a)) + a


def _check_update(answer: Callable) -> None:
    for b, f, d in shapes(3, low=2, high=6):
        for first in (True, False):
            generator = rng(d)
            mixed, feedback = (torch.randn(b, f, d, generator=generator) for _ in range(2))
            turn = torch.randn(d, d, generator=generator)

            def norm(x: Tensor) -> Tensor:
                return x / (1 + x.abs().amax(-1, keepdim=True))

            def mlp(x: Tensor, turn: Tensor = turn) -> Tensor:
                return torch.tanh(x @ turn) + 0.5

            expected = mixed + feedback * (0.0 if first else 1.0)
            inner = expected / (1 + expected.abs().max(-1, keepdim=True).values)
            expected = expected + torch.tanh(torch.einsum("bfi,io->bfo", inner, turn)) + 0.5
            got = answer(mixed.clone(), feedback.clone(), first, norm, mlp)
            compare(expected, got, name="update", inputs={"mixed": mixed, "feedback": feedback, "first": first})


def changed(model: Callable[[Tensor], Tensor], tokens: Tensor, place: int, vocab_size: int) -> Tensor:
    """Which positions of a sequence get other outputs once the token at `place` is another one."""
    other = tokens.clone()
    other[:, place] = (other[:, place] + 1) % vocab_size
    return (model(other) != model(tokens)).any(-1).any(0)


def _check_changed(answer: Callable) -> None:
    n, vocab_size = 7, 5
    tokens = torch.randint(vocab_size, (1, n), generator=rng(3))
    tokens[0, -1] = vocab_size - 1  # one more would leave the vocabulary
    reach = {
        "itself": lambda i, j: i == j,
        "causal": lambda i, j: j <= i,
        "the whole block of three": lambda i, j: j // 3 <= i // 3,
        "a leak from place 5 to place 0": lambda i, j: j <= i or (i, j) == (0, 5),
    }
    table = torch.randn(vocab_size, 3, generator=rng(4))
    for name, sees in reach.items():
        weight = torch.tensor([[float(sees(i, j)) for j in range(n)] for i in range(n)])

        def model(x: Tensor, weight: Tensor = weight) -> Tensor:
            if x.min() < 0 or x.max() >= vocab_size:
                raise CheckFailed(f"changed: the model was called with a token outside 0..{vocab_size - 1}.")
            # A small change of the second output only: not of the first, and never of the largest.
            return torch.tensor([0.0, 0.01, 9.0]) * (weight @ table[x]) + torch.tensor([0.0, 0.0, 1e3])

        for place in range(n):
            expected = torch.tensor([bool(sees(i, place)) for i in range(n)])
            before = tokens.clone()
            got = answer(model, before, place, vocab_size)
            if not torch.equal(before, tokens):
                raise CheckFailed(
                    "changed: your function wrote into `tokens`; the caller still needs them. Copy first."
                )
            compare(expected, got, name=f"changed, for a model that sees {name}", inputs={"place": place})


def mean_norms(path: Tensor) -> Tensor:
    """Mean length of the feedback tokens, by block and layer."""
    return path.norm(dim=-1).mean((1, 3))


def _check_mean_norms(answer: Callable) -> None:
    for t, b, layers, f in shapes(4, low=2, high=6):
        path = torch.randn(t, b, layers, f, 5, generator=rng(t)) * torch.arange(1, t + 1)[:, None, None, None, None]
        expected = torch.zeros(t, layers)
        for i in range(t):
            for j in range(layers):
                tokens = path[i, :, j].flatten(0, 1)
                expected[i, j] = sum(float(token @ token) ** 0.5 for token in tokens) / len(tokens)
        compare(expected, answer(path), name="mean_norms", inputs={"path": path}, rtol=1e-3)


def fit_probe(x: Tensor, labels: Tensor, num_classes: int, ridge: float) -> Tensor:
    """The weight W of least ||X W - Y||^2 + ridge ||W||^2, with Y the labels as one-hots."""
    y = torch.nn.functional.one_hot(labels, num_classes).to(x.dtype)
    return torch.linalg.solve(x.mT @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype), x.mT @ y)


def _check_fit_probe(answer: Callable) -> None:
    for m, d, c, ridge in ((12, 4, 3, 0.5), (6, 9, 2, 2.0), (20, 3, 5, 10.0)):
        generator = rng(m)
        x = torch.randn(m, d, generator=generator, dtype=torch.float64)
        labels = torch.randint(c, (m,), generator=generator)
        # Ridge regression is plain least squares on d more rows, which ask for sqrt(ridge) W = 0.
        target = torch.zeros(m + d, c, dtype=torch.float64)
        target[torch.arange(m), labels] = 1.0
        rows = torch.cat([x, ridge**0.5 * torch.eye(d, dtype=torch.float64)])
        expected = torch.linalg.lstsq(rows, target).solution
        got = answer(x, labels, c, ridge)
        compare(expected, got, name="fit_probe", inputs={"x": x, "labels": labels, "num_classes": c, "ridge": ridge})


EXERCISES = {
    "block_mask": Exercise(block_mask, _check_block_mask),
    "read": Exercise(read, _check_read),
    "update": Exercise(update, _check_update),
    "changed": Exercise(changed, _check_changed),
    "mean_norms": Exercise(mean_norms, _check_mean_norms),
    "fit_probe": Exercise(fit_probe, _check_fit_probe),
}
