"""One architecture a file, with its config beside it; `build` makes a model from a config.

Each file is read from top to bottom: equations with their source, a dimension legend (`latentkit.layers`), and what we
chose where the paper is silent.
"""

from typing import Any

from torch import nn

from latentkit.models.looped import Looped, LoopedConfig
from latentkit.models.transformer import Transformer, TransformerConfig

__all__ = ["Looped", "LoopedConfig", "Transformer", "TransformerConfig", "build"]

ARCHITECTURES: dict[type, type[nn.Module]] = {TransformerConfig: Transformer, LoopedConfig: Looped}


def build(config: Any) -> nn.Module:
    """The model that a config describes.

    Raises:
        TypeError: not a config of this package.
    """
    if type(config) not in ARCHITECTURES:
        known = ", ".join(c.__name__ for c in ARCHITECTURES)
        raise TypeError(f"cannot build a model from {type(config).__name__}; expected one of {known}")
    return ARCHITECTURES[type(config)](config)
