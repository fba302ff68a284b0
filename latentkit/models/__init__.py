"""One architecture a file, with its config beside it; `build` makes a model from a config.

Each file is read from top to bottom: equations with their source, a dimension legend (`latentkit.layers`), and what we
chose where the paper is silent.
"""

from typing import Any

from torch import nn

from latentkit.models.eqr import EqR, EqRConfig
from latentkit.models.feedforward import FeedForward, FeedForwardConfig
from latentkit.models.hrm import HRM, HRMConfig
from latentkit.models.looped import Looped, LoopedConfig
from latentkit.models.sudoku_graph import SudokuGraph, SudokuGraphConfig
from latentkit.models.transformer import Transformer, TransformerConfig
from latentkit.models.trm import TRM, TRMConfig

__all__ = [
    "HRM",
    "TRM",
    "EqR",
    "EqRConfig",
    "FeedForward",
    "FeedForwardConfig",
    "HRMConfig",
    "Looped",
    "LoopedConfig",
    "SudokuGraph",
    "SudokuGraphConfig",
    "TRMConfig",
    "Transformer",
    "TransformerConfig",
    "build",
]

ARCHITECTURES: dict[type, type[nn.Module]] = {
    TransformerConfig: Transformer,
    LoopedConfig: Looped,
    FeedForwardConfig: FeedForward,
    HRMConfig: HRM,
    TRMConfig: TRM,
    EqRConfig: EqR,
    SudokuGraphConfig: SudokuGraph,
}


def build(config: Any) -> nn.Module:
    """The model that a config describes.

    Raises:
        TypeError: not a config of this package.
    """
    if type(config) not in ARCHITECTURES:
        known = ", ".join(c.__name__ for c in ARCHITECTURES)
        raise TypeError(f"cannot build a model from {type(config).__name__}; expected one of {known}")
    return ARCHITECTURES[type(config)](config)
