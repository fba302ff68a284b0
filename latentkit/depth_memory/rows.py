"""The rows of the depth-memory map: an architecture each, at one number of parameters.

A row knows how its models are shown a task, how they are trained, and what may grow: `config_for` tries its shapes in
order, and in each the sizes of one knob, until the parameters are those of the map. It is trained by the recipe of its
lab, at one learning rate that is at most half as large again; there was no search for this map.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import torch

from latentkit import models
from latentkit.claims.experiment import Arm
from latentkit.claims.puzzles import RECIPE
from latentkit.depth_memory.columns import Column, Layout
from latentkit.layers import BlockConfig, MixingConfig, count_parameters
from latentkit.models import (
    EqRConfig,
    FAMConfig,
    GRUConfig,
    HRMConfig,
    LoopedConfig,
    MemoryConfig,
    SSMConfig,
    TitansConfig,
    TransformerConfig,
    TRMConfig,
)
from latentkit.training import DeepSupervision, FinalLoss, FitConfig, PlainLoss
from latentkit.training.supervision import Supervision

PARAMETERS, TOLERANCE = 34_000, 0.024
"""Of every model, and how far one may be off: so that no two differ by more than 5%."""
SEGMENTS = 4  # of deep supervision, in training and in the end
BLOCK = 16  # tokens of FAM's block, and of Titans' chunk and window
CURVE_POINTS = 20

Ids = tuple[int, int]
Shape = tuple[Callable[[int], Any], Sequence[int]]
"""A config from one size, and the sizes to try: the more, the more parameters."""


@dataclass(frozen=True)
class Row:
    """One architecture of the map.

    Attributes:
        id, title: its name in commands and files, and in figures.
        axis: along which its models recur; a fixed stack is counted with those over depth.
        shapes: from the sizes of input and output alphabets and the column, what to try.
        layout: how its models are shown a task.
        supervision: how its loss is made.
        fit: learning rate and the rest; the column sets the steps.
    """

    id: str
    title: str
    axis: Literal["depth", "time"]
    shapes: Callable[[Ids, Column], Iterator[Shape]]
    layout: Callable[[Column], Layout]
    supervision: Callable[[Column], Supervision]
    fit: FitConfig

    def refuses(self, column: Column) -> str:
        """Why this architecture cannot be put to this task; empty where it can."""
        if column.answers_shown and self.layout(column).positions:
            return (
                f"{self.title} reads all positions at once, and in this task each position shows the answers before "
                "it: it would read what it is asked for"
            )
        return ""


def config_for(row: Row, column: Column) -> Any:
    """The config of this row's model for this column, of `PARAMETERS` parameters within `TOLERANCE`.

    Raises:
        ValueError: no shape comes near enough, or the task does not apply.
    """
    if reason := row.refuses(column):
        raise ValueError(f"{row.id} on {column.id}: {reason}")
    shown = column.curriculum(row.layout(column)).task
    return _fitted(row, column, (shown.vocab_size, shown.num_classes))


@cache
def _fitted(row: Row, column: Column, ids: Ids) -> Any:
    nearest = []
    for make, sizes in row.shapes(ids, column):
        at = bisect_left(sizes, PARAMETERS, key=lambda size: parameters_of(make(size)))
        for size in sizes[max(0, at - 1) : at + 1]:
            found = parameters_of(make(size))
            nearest.append(found)
            if abs(found - PARAMETERS) <= TOLERANCE * PARAMETERS:
                return make(size)
    raise ValueError(f"{row.id} on {column.id}: no model near {PARAMETERS} parameters, only of {sorted(nearest)}")


def parameters_of(config: Any) -> int:
    """Trained parameters of a config's model, counted without making them."""
    with torch.device("meta"):
        return count_parameters(models.build(config))


def arm_for(row: Row, column: Column) -> Arm:
    """What is trained in a cell."""
    return Arm(
        name=f"{row.id}-{column.id}",
        config=config_for(row, column),
        batches=column.curriculum(row.layout(column)),
        fit=replace(row.fit, steps=column.steps),
        supervision=row.supervision(column),
    )


# -- shapes: a knob for each architecture


def _block(column: Column, ratio: int, width: int) -> BlockConfig:
    """A transformer's block for the positions of this task."""
    if column.attention == "hard-alibi":
        return BlockConfig(width, 4, ratio, relative_clip=0, alibi=False, window_heads=3)
    if column.attention == "places":
        return BlockConfig(width, mlp_ratio=ratio, causal=False, relative_clip=0, alibi=False)
    return BlockConfig(width, mlp_ratio=ratio)


def _widths(column: Column) -> range:
    return range(16, 97, 4 if column.attention == "hard-alibi" else 2)


def _places(column: Column) -> int:
    return column.positions if column.attention == "places" else 0


def _transformer(ids: Ids, column: Column) -> Iterator[Shape]:
    for layers, ratio in ((2, 4), (2, 3), (2, 2), (3, 2), (3, 1), (2, 1), (3, 3)):

        def make(width: int, layers: int = layers, ratio: int = ratio) -> TransformerConfig:
            return TransformerConfig(*ids, layers, _block(column, ratio, width), _places(column))

        yield make, _widths(column)


def _looped(ids: Ids, column: Column) -> Iterator[Shape]:
    for layers, ratio in ((1, 4), (1, 3), (1, 2), (2, 2), (2, 1), (1, 5), (1, 6)):

        def make(width: int, layers: int = layers, ratio: int = ratio) -> LoopedConfig:
            block = _block(column, ratio, width)
            return LoopedConfig(*ids, core_layers=layers, block=block, num_positions=_places(column))

        yield make, _widths(column)


def _mixing(column: Column, hidden: int) -> MixingConfig:
    """HRM's, TRM's and EqR's block: a narrower one where its convolutions take most of the weights."""
    width = {"attention": 40, "tokens": 48, "grid": 32}[column.mixer]
    return MixingConfig(
        column.positions,
        width,
        hidden,
        column.mixer,
        token_hidden=64,
        rotary=column.mixer == "attention",
        init_gain=0.75,
    )


def _hrm(ids: Ids, column: Column) -> Iterator[Shape]:
    yield lambda hidden: HRMConfig(*ids, _mixing(column, hidden), num_layers=1), range(16, 321)


def _trm(ids: Ids, column: Column, config: type[TRMConfig] = TRMConfig) -> Iterator[Shape]:
    yield lambda hidden: config(*ids, _mixing(column, hidden)), range(16, 321)


def _fam(ids: Ids, column: Column) -> Iterator[Shape]:
    for layers, ratio in ((2, 4), (2, 3), (2, 2), (2, 1), (3, 2), (3, 1), (3, 3), (2, 5), (2, 6)):

        def make(width: int, layers: int = layers, ratio: int = ratio) -> FAMConfig:
            return FAMConfig(*ids, 4, BLOCK, num_layers=layers, d_model=width, num_heads=2, mlp_ratio=ratio)

        yield make, range(16, 97, 4)


def _ssm(ids: Ids, column: Column) -> Iterator[Shape]:
    for width in (50, 48, 46, 44, 40, 36):

        def make(size: int, width: int = width) -> SSMConfig:
            return SSMConfig(*ids, num_layers=2, d_model=width, state_size=size)

        yield make, range(12, 65)


def _gru(ids: Ids, column: Column) -> Iterator[Shape]:
    for fewer in (0, 2, 4, 6, 8):

        def make(hidden: int, fewer: int = fewer) -> GRUConfig:
            return GRUConfig(*ids, d_model=hidden - fewer, hidden=hidden)

        yield make, range(16, 129)


def _titans(ids: Ids, column: Column, variant: Any) -> Iterator[Shape]:
    for width in (56, 52) if variant == "LMM" else (48, 44, 40):

        def make(hidden: int, width: int = width) -> TitansConfig:
            return TitansConfig(*ids, variant, MemoryConfig(width, chunk=BLOCK), mlp_hidden=hidden)

        yield make, range(32, 321)


# -- layouts and supervision


def _in_place(column: Column) -> Layout:
    return Layout()


def _filled_up(column: Column) -> Layout:
    """For models that are made for one number of positions."""
    return Layout(positions=column.positions)


def _read(column: Column, block: int = 1) -> Layout:
    """For models over time: read all of it, then answer."""
    return Layout(twice=not column.asks_last, places=_places(column), block=block)


def _plain(column: Column) -> Supervision:
    return PlainLoss()


def _passes(column: Column) -> Supervision:
    return FinalLoss(column.passes)


def _segments(column: Column, gradient_updates: int | None = None) -> Supervision:
    # Halting asks whether all of an answer is right, which positions without a target never are.
    return DeepSupervision(SEGMENTS, gradient_updates=gradient_updates, halting=None)


_SEQUENCE = FitConfig(steps=1, learning_rate=3e-3)
_RECURRENT = FitConfig(steps=1, learning_rate=4e-3)
_MEMORY = FitConfig(steps=1, learning_rate=5e-3)

ROWS = (
    Row("transformer", "transformer", "depth", _transformer, _in_place, _plain, _SEQUENCE),
    Row("looped", "looped", "depth", _looped, _in_place, _passes, _SEQUENCE),
    Row("hrm", "HRM", "depth", _hrm, _filled_up, partial(_segments, gradient_updates=2), RECIPE),
    Row("trm", "TRM", "depth", _trm, _filled_up, _segments, RECIPE),
    Row("eqr", "EqR", "depth", partial(_trm, config=EqRConfig), _filled_up, _segments, RECIPE),
    Row("fam", "FAM", "time", _fam, partial(_read, block=BLOCK), _plain, _SEQUENCE),
    Row("ssm", "SSM", "time", _ssm, _read, _plain, _RECURRENT),
    Row("gru", "GRU", "time", _gru, _read, _plain, _RECURRENT),
    Row("lmm", "Titans LMM", "time", partial(_titans, variant="LMM"), _read, _plain, _MEMORY),
    Row("mac", "Titans MAC", "time", partial(_titans, variant="MAC"), _read, _plain, _MEMORY),
    Row("mag", "Titans MAG", "time", partial(_titans, variant="MAG"), _read, _plain, _MEMORY),
    Row("mal", "Titans MAL", "time", partial(_titans, variant="MAL"), _read, _plain, _MEMORY),
)
