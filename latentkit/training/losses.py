"""What a training step minimises, given logits and targets: always in float32, whatever the precision of the model."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class TokenLoss(Protocol):
    """A scalar from the logits of every position."""

    def __call__(self, logits: Float[Tensor, "b n v"], targets: Int[Tensor, "b n"]) -> Float[Tensor, ""]:
        """Mean loss over batch and positions, in nats."""


def cross_entropy(logits: Float[Tensor, "b n v"], targets: Int[Tensor, "b n"]) -> Float[Tensor, ""]:
    """Mean cross-entropy over positions: -log softmax(logits)[target]."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy under softmax."""

    def __call__(self, logits: Float[Tensor, "b n v"], targets: Int[Tensor, "b n"]) -> Float[Tensor, ""]:
        """Mean over positions."""
        return cross_entropy(logits, targets)


@dataclass(frozen=True)
class StableMax:
    """Cross-entropy under stable-max, which HRM, TRM and EqR are trained with (Prieto et al. 2025, arXiv 2501.04697).

        s(x) = x + 1 for x >= 0,  1 / (1 - x) for x < 0;     p_i = s(x_i) / sum_j s(x_j)

    It grows linearly where softmax grows exponentially, so that a right answer never saturates. The papers' code
    computes it in float64. By way of the logarithm float32 is enough: log s(x) = log1p(x) for x >= 0, -log1p(-x) for
    x < 0.
    """

    def __call__(self, logits: Float[Tensor, "b n v"], targets: Int[Tensor, "b n"]) -> Float[Tensor, ""]:
        """Mean over positions."""
        x = logits.float().flatten(0, 1)
        # The branch not taken is kept away from log1p(-1): its gradient would be inf * 0.
        log_s = torch.where(x >= 0, x.clamp(min=0).log1p(), -(-x).clamp(min=0).log1p())
        return F.cross_entropy(log_s, targets.flatten())  # the softmax of log s is s / sum s


@dataclass(frozen=True)
class PermutationCrossEntropy:
    """Cross-entropy of a Sudoku, asked in its four ways at once and averaged.

    A cell holds one digit; and a digit has one cell in each row, in each column and in each box. So the logits of a
    digit and a cell are normalised four times: over the digits of a cell, and over the cells of a row, column and box.
    The targets must be a right solution, of side box_rows * box_cols, flattened row by row.
    """

    box_rows: int
    box_cols: int

    def __call__(self, logits: Float[Tensor, "b n v"], targets: Int[Tensor, "b n"]) -> Float[Tensor, ""]:
        """Mean over batch, cells and the four ways."""
        rows, cols = self.box_rows, self.box_cols
        side = rows * cols
        b, n, digits = logits.shape
        if (n, digits) != (side * side, side):
            raise ValueError(
                f"logits of {n} positions and {digits} classes; boxes of {rows}x{cols} need {side**2} and {side}"
            )
        # [batch, band, row in band, stack, column in stack, digit]
        x = logits.float().reshape(b, cols, rows, rows, cols, digits)
        normalisers = (x.logsumexp(axes).sum() for axes in (5, (3, 4), (1, 2), (2, 4)))  # cell, row, column, box
        chosen = x.reshape(b, n, digits).gather(-1, targets[..., None]).sum()
        return (sum(normalisers) - 4 * chosen) / (4 * b * n)
