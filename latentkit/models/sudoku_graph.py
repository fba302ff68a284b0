"""A recurrence that knows the symmetries of Sudoku: one small vector per cell and digit, and messages along the rules.

    h[cell, digit]  in R^C      how this digit stands in this cell, C = 16
    code            0, 1, 2     the cell is blank; it holds this digit; it holds another one

    triad  = sum of h[., digit] over the cells that a row (or a column) and a box have in common
    line   = sum of h[., digit] over a row (or a column) / sqrt(side); box likewise
    cell   = sum of h[cell, .] over the digits / sqrt(side)
    z      = W h + V[code] + W_triad (row triad + column triad) + W_line (row + column) + W_box box + W_cell cell
    h      <- rms(h + W_2 silu(z) + b + noise)
    logit  = w . h[cell, digit] + c

All weights are shared over cells, digits and passes, so that the model cannot tell one digit, one row in a band or one
band from another: permute them in the puzzle and in the state, and the answer is permuted. Rows and columns share
weights too, hence transposition (where boxes are square). Nothing of this has to be learned, and a puzzle stands for
all of its symmetric forms. The idea of passing messages between cells that constrain each other is that of recurrent
relational networks (Palm et al. 2018); per-digit states and pooled messages make it small.

What we chose: a random start, so that restarts of one puzzle differ; noise on the state in training; cross-entropy over
cells, rows, columns and boxes (`latentkit.training.losses.PermutationCrossEntropy`).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from latentkit.layers import check_tokens, rms_norm


@dataclass(frozen=True)
class SudokuGraphConfig:
    """One step, or several unshared ones.

    Attributes:
        box_rows, box_cols: shape of a box; the side is their product.
        channels: width C of the state of a cell and digit.
        hidden: inner width of the step.
        layers: 1 is the recurrence; more are the unshared control, whose single pass runs as many different steps.
        noise: standard deviation of the noise added to the state at every step of training.
    """

    box_rows: int
    box_cols: int
    channels: int = 16
    hidden: int = 48
    layers: int = 1
    noise: float = 0.1

    def __post_init__(self) -> None:
        sizes = {k: getattr(self, k) for k in ("box_rows", "box_cols", "channels", "hidden", "layers")}
        if small := [f"{name}={size}" for name, size in sizes.items() if size < 1]:
            raise ValueError(f"{', '.join(small)}; every size must be at least 1")
        if self.noise < 0:
            raise ValueError(f"noise={self.noise}; a standard deviation is at least 0")


class SudokuStep(nn.Module):
    """One step, on states laid out as [b, band, row in band, stack, column in stack, digit, C].

    In the shape types: b batch, B band, r row in band, S stack, k column in stack, v digit, c channels, h hidden.
    """

    def __init__(self, config: SudokuGraphConfig):
        super().__init__()
        c, hidden = config.channels, config.hidden
        self.noise = config.noise
        self.scale = 1 / math.sqrt(config.box_rows * config.box_cols)
        self.here = nn.Linear(c, hidden, bias=False)
        self.triad = nn.Linear(c, hidden, bias=False)
        self.line = nn.Linear(c, hidden, bias=False)
        self.box = nn.Linear(c, hidden, bias=False)
        self.cell = nn.Linear(c, hidden, bias=False)
        self.out = nn.Linear(hidden, c)
        with torch.no_grad():
            self.out.weight.mul_(0.5)

    def forward(
        self, h: Float[Tensor, "b B r S k v c"], code: Float[Tensor, "b B r S k v h"]
    ) -> Float[Tensor, "b B r S k v c"]:
        """The state after this step; `code` is V[code]."""
        row_triads, col_triads = h.sum(4), h.sum(2)  # [b B r S v c] and [b B S k v c]
        rows, boxes = self.scale * row_triads.sum(3), self.scale * row_triads.sum(2)
        cols, cells = self.scale * col_triads.sum(1), self.scale * h.sum(5)
        # Each message is spread over its group by broadcasting. In place: on one CPU thread that is a tenth of a step.
        along_rows = self.triad(row_triads)
        along_rows += self.line(rows).unsqueeze(3)
        along_rows += self.box(boxes).unsqueeze(2)
        along_cols = self.triad(col_triads)
        along_cols += self.line(cols).unsqueeze(1)
        z = self.here(h)
        z += code
        z += along_rows.unsqueeze(4)
        z += along_cols.unsqueeze(2)
        z += self.cell(cells).unsqueeze(5)
        h = h + self.out(F.silu(z))
        if self.training and self.noise:
            h = h + self.noise * torch.randn_like(h)
        return rms_norm(h)


class SudokuGraph(nn.Module):
    """See the module's docstring for the equations; a `latentkit.recurrence.DepthRecurrent` model."""

    def __init__(self, config: SudokuGraphConfig):
        super().__init__()
        self.config = config
        self.side = config.box_rows * config.box_cols
        self.code = nn.Embedding(3, config.layers * config.hidden)  # V, of all steps side by side
        self.steps = nn.ModuleList(SudokuStep(config) for _ in range(config.layers))
        self.head = nn.Linear(config.channels, 1)

    def encode(
        self, tokens: Int[Tensor, "b n"], supposed: Bool[Tensor, "b n v"] | None = None
    ) -> tuple[Float[Tensor, "b B r S k v h"], ...]:
        """V[code] for every step; a token is 0 for a blank, else the digit.

        Where `supposed` is true, the digit is coded as if it were given; the cell's other digits stay blank, so that
        the messages can overrule a wrong guess (see `latentkit.analysis.guessing`).
        """
        check_tokens(tokens, self.side + 1)
        if tokens.shape[1] != self.side**2:
            raise ValueError(f"{tokens.shape[1]} cells, but this model is made for puzzles of exactly {self.side**2}")
        digits = torch.arange(1, self.side + 1, device=tokens.device)
        given = tokens[..., None]
        code = torch.where(given == digits, 1, 2 * (given > 0))
        if supposed is not None:
            code = torch.where(supposed, 1, code)
        return self.by_box(self.code(code)).split(self.config.hidden, -1)

    def initial_state(self, context: tuple[Float[Tensor, "b B r S k v h"], ...]) -> Float[Tensor, "b n s"]:
        """A random start of unit scale; s = side C, the vectors of a cell's digits side by side."""
        b, e = len(context[0]), self.head.weight
        h = torch.randn(b, self.side**2, self.side, self.config.channels, dtype=e.dtype, device=e.device)
        return rms_norm(h).flatten(2)

    def step(
        self, h: Float[Tensor, "b n s"], context: tuple[Float[Tensor, "b B r S k v h"], ...]
    ) -> Float[Tensor, "b n s"]:
        """One pass: the shared step, or all of the unshared ones in turn."""
        x = self.by_box(h.unflatten(-1, (self.side, -1)))
        for step, code in zip(self.steps, context, strict=True):
            x = step(x, code)
        return x.reshape(h.shape)

    def decode(self, h: Float[Tensor, "b n s"]) -> Float[Tensor, "b n v"]:
        """Logits at every cell: class c is the digit c + 1."""
        return self.head(h.unflatten(-1, (self.side, -1)))[..., 0]

    def by_box(self, x: Float[Tensor, "b n v c"]) -> Float[Tensor, "b B r S k v c"]:
        """Splits the cells into band, row in band, stack and column in stack."""
        r, k = self.config.box_rows, self.config.box_cols
        return x.unflatten(1, (k, r, r, k))
