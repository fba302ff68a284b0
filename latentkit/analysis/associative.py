"""Memories without any training around them: what a rule can store in one pass, and what surprises it.

Keys and values are drawn, not learned, and the gates are constants. What is left is the inner loop alone: linear
regression while reading (a matrix), or that of a small MLP, as in `latentkit.models.fast_weights`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from latentkit.models.fast_weights import Fast, Gates, run_memory

STEPS = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0, 8.0)
"""What a gradient does in all, theta / (1 - eta); with momentum the best may be far above 1."""


@dataclass(frozen=True)
class Rule:
    """A memory and how it learns.

    Attributes:
        hidden: inner width of an MLP; 0 for a matrix.
        hebbian: add v k^T instead of correcting an error.
        eta, alpha: momentum and forgetting, the same at every token.
        initial: whether an MLP forgets towards its initial weights (True) or towards zero.
    """

    hidden: int = 0
    hebbian: bool = False
    eta: float = 0.0
    alpha: float = 0.0
    initial: bool = True

    def __post_init__(self) -> None:
        if self.hidden < 0 or (self.hidden and self.hebbian):
            raise ValueError(
                f"hidden={self.hidden}, hebbian={self.hebbian}: hidden must be at least 0, and an MLP has no Hebbian "
                "rule; choose hidden=0 or hebbian=False"
            )
        if not 0 <= self.eta < 1 or not 0 <= self.alpha <= 1:
            raise ValueError(f"eta={self.eta}, alpha={self.alpha}; need 0 <= eta < 1 and 0 <= alpha <= 1")

    def weights(self, d: int, batch: int, seed: int = 7) -> tuple[Fast, tuple[Tensor, ...]]:
        """The weights before the first token, and what they are deviations from; a matrix starts at zero."""
        g = torch.Generator().manual_seed(seed)
        shapes = [(self.hidden, d), (d, self.hidden)] if self.hidden else [(d, d)]
        zero = tuple(torch.zeros(batch, *shape) for shape in shapes)
        if not self.hidden:
            return Fast(zero, zero), ()
        drawn = torch.randn(self.hidden, d, generator=g) * 2 * d**-0.5, torch.zeros(d, self.hidden)
        if self.initial:
            return Fast(zero, zero), drawn
        return Fast(tuple(W.expand(batch, -1, -1) for W in drawn), zero), ()


class Written(NamedTuple):
    """The memory after reading, and how surprising every token was."""

    fast: Fast
    initial: tuple[Tensor, ...]
    surprise: Float[Tensor, "b n"]

    def read(self, q: Float[Tensor, "b m d"]) -> Float[Tensor, "b m d"]:
        """M(q), nothing written."""
        for layer, D in enumerate(self.fast.D):
            q = q if layer == 0 else F.silu(q)
            q = q @ (self.initial[layer] + D if self.initial else D).mT
        return q


def write(
    rule: Rule, keys: Float[Tensor, "b n d"], values: Float[Tensor, "b n d"], theta: float, chunk: int = 1
) -> Written:
    """Reads pairs once, in order.

    Args:
        theta: the step. With momentum a gradient acts theta / (1 - eta) in all.
        chunk: tokens whose gradients are taken at the same weights; 1 is the definition.

    Raises:
        ValueError: no whole number of chunks.
    """
    fast, initial = rule.weights(keys.shape[2], len(keys))
    one = torch.ones(keys.shape[:2])
    gates = Gates(theta * one, rule.eta * one, rule.alpha * one)
    exact = chunk == 1 and not rule.hidden and not rule.hebbian
    if exact:  # the same numbers, without a loop over tokens: pieces that divide the stream
        chunk = next(c for c in (32, 16, 8, 4, 2, 1) if keys.shape[1] % c == 0)
    _, surprise, fast = run_memory(
        fast,
        keys,
        values,
        keys,
        gates,
        chunk,
        initial=initial,
        gradients="token" if exact else "chunk",
        hebbian=rule.hebbian,
    )
    return Written(fast, initial, surprise)


class Associations(NamedTuple):
    """Pairs to write in order, and the pairs that are asked afterwards; all of length 1."""

    keys: Float[Tensor, "b n d"]
    values: Float[Tensor, "b n d"]
    asked_keys: Float[Tensor, "b m d"]
    asked_values: Float[Tensor, "b m d"]


def associations(
    regime: Literal["independent", "correlated", "rewritten"],
    number: int,
    generator: torch.Generator,
    *,
    d: int = 32,
    batch: int = 8,
) -> Associations:
    """`number` keys with random values.

    Independent keys are random directions. Correlated ones share a direction that is as long as what tells them apart.
    Rewritten: independent keys, all of them written four times with new values, of which the last counts.

    Raises:
        ValueError: an unknown regime, or no keys.
    """
    if min(number, d, batch) < 1:
        raise ValueError(f"number={number}, d={d}, batch={batch}; all must be at least 1")

    def unit(n: int) -> Tensor:
        return torch.randn(batch, n, d, generator=generator)

    keys, values = unit(number), unit(number)
    if regime == "correlated":
        keys = keys + unit(1)
    elif regime == "rewritten":
        older = [unit(number) for _ in range(3)]
        k, v = F.normalize(keys, dim=-1), F.normalize(values, dim=-1)
        return Associations(k.repeat(1, 4, 1), F.normalize(torch.cat([*older, values], 1), dim=-1), k, v)
    elif regime != "independent":
        raise ValueError(f"regime={regime!r}; choose 'independent', 'correlated' or 'rewritten'")
    k, v = F.normalize(keys, dim=-1), F.normalize(values, dim=-1)
    return Associations(k, v, k, v)


def nearest(answers: Float[Tensor, "b m d"], values: Float[Tensor, "b m d"]) -> float:
    """Share of answers whose nearest value, by dot product, is the right one."""
    found = (answers @ values.mT).argmax(-1)
    return float((found == torch.arange(values.shape[1])).float().mean())


def best_recall(rule: Rule, data: Associations, steps: Sequence[float] = STEPS) -> tuple[float, float]:
    """Recall after one pass, at the best of several steps; and that step."""
    if rule.hebbian:
        steps = steps[-1:]  # the nearest value does not depend on the length of the answer
    scores = [
        (nearest(write(rule, data.keys, data.values, t * (1 - rule.eta)).read(data.asked_keys), data.asked_values), t)
        for t in steps
    ]
    return max(scores)


def ceiling(data: Associations) -> float:
    """Recall of the best matrix there is: least squares over the asked pairs."""
    best = torch.linalg.pinv(data.asked_keys) @ data.asked_values
    return nearest(data.asked_keys @ best, data.asked_values)


class Stream(NamedTuple):
    """A stream of tokens whose key is the token and whose value is the next one."""

    tokens: Int[Tensor, " n"]
    keys: Float[Tensor, "1 n d"]
    values: Float[Tensor, "1 n d"]
    odd: tuple[int, ...]
    switch: int


def interrupted(generator: torch.Generator, *, period: int = 8, length: int = 1024, d: int = 32) -> Stream:
    """A pattern of `period` tokens over and over; four odd tokens; from the middle on another order of the same tokens.

    After the switch the keys are the same and the values are not: what was learned is now wrong.

    Raises:
        ValueError: a pattern that has no other order in which every successor is new, or a stream too short for it.
    """
    if period not in (5, *range(7, length // 4 + 1)):
        raise ValueError(
            f"period={period}, length={length}: another order needs a period of 5, or of at least 7, such as 8, and "
            "the stream at least four periods"
        )
    half = length // 2
    odd = tuple(int(length * share) for share in (0.2, 0.32, 0.68, 0.88))
    vectors = F.normalize(torch.randn(period + len(odd), d, generator=generator), dim=-1)
    first = torch.randperm(period, generator=generator)
    second = first[_another_cycle(period)]
    tokens = torch.cat([first.repeat(half // period + 1)[:half], second.repeat(half // period + 2)[: half + 1]])
    tokens[list(odd)] = period + torch.arange(len(odd))
    return Stream(tokens[:-1], vectors[tokens[:-1]][None], vectors[tokens[1:]][None], odd, half)


def _another_cycle(period: int) -> Int[Tensor, " p"]:
    """An order in which no token has the successor that it had before: steps of the largest stride that visits all."""
    stride = max(s for s in range(2, period) if torch.gcd(torch.tensor(s), torch.tensor(period)) == 1)
    return torch.arange(period) * stride % period


def recovery(
    surprise: Float[Tensor, " n"], switch: int, period: int = 8, *, factor: float = 2.0, slack: float = 0.05
) -> int | None:
    """Tokens after a switch until surprise, averaged over a period, is below `factor` times its level before + `slack`.

    The level before is that of eight periods. Without the slack, a memory whose surprise had fallen to zero, because it
    predicts perfectly or because it is dead, could never be back. Values here have length 1: 0.05 is a twentieth of the
    surprise of an empty memory. None where surprise never comes back.

    Raises:
        ValueError: fewer than eight periods before the switch, or less than one after it.
    """
    if period < 1 or not 8 * period <= switch <= len(surprise) - period:
        raise ValueError(
            f"switch={switch}, period={period}, {len(surprise)} tokens: the level before is that of 8 periods, so "
            f"switch must be from {8 * period} to {len(surprise) - period}"
        )
    before = float(surprise[switch - 8 * period : switch].mean())
    for start in range(0, len(surprise) - switch - period + 1, period):
        if float(surprise[switch + start : switch + start + period].mean()) < factor * before + slack:
            return start
    return None
