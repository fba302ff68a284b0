"""One architecture a file, with its config beside it; `build` makes a model from a config.

Each file is read from top to bottom: equations with their source, a dimension legend (`latentkit.layers`), and what we
chose where the paper is silent.
"""

from typing import Any

from torch import nn

from latentkit.models.entity_loop import EntityLoop, EntityLoopConfig
from latentkit.models.eqr import EqR, EqRConfig
from latentkit.models.fam import FAM, FAMConfig
from latentkit.models.feedforward import FeedForward, FeedForwardConfig
from latentkit.models.gru import GRU, GRUConfig
from latentkit.models.hrm import HRM, HRMConfig
from latentkit.models.latent_prediction import (
    ClusteringConfig,
    LatentClustering,
    LatentPredictor,
    LatentPredictorConfig,
)
from latentkit.models.latent_teacher import LatentTeacher, LatentTeacherConfig
from latentkit.models.looped import Looped, LoopedConfig
from latentkit.models.neural_memory import MemoryConfig, NeuralMemory
from latentkit.models.ssm import SSM, SSMConfig
from latentkit.models.sudoku_graph import SudokuGraph, SudokuGraphConfig
from latentkit.models.titans import Titans, TitansConfig
from latentkit.models.transformer import Transformer, TransformerConfig
from latentkit.models.trm import TRM, TRMConfig

__all__ = [
    "FAM",
    "GRU",
    "HRM",
    "SSM",
    "TRM",
    "ClusteringConfig",
    "EntityLoop",
    "EntityLoopConfig",
    "EqR",
    "EqRConfig",
    "FAMConfig",
    "FeedForward",
    "FeedForwardConfig",
    "GRUConfig",
    "HRMConfig",
    "LatentClustering",
    "LatentPredictor",
    "LatentPredictorConfig",
    "LatentTeacher",
    "LatentTeacherConfig",
    "Looped",
    "LoopedConfig",
    "MemoryConfig",
    "NeuralMemory",
    "SSMConfig",
    "SudokuGraph",
    "SudokuGraphConfig",
    "TRMConfig",
    "Titans",
    "TitansConfig",
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
    GRUConfig: GRU,
    SSMConfig: SSM,
    TitansConfig: Titans,
    FAMConfig: FAM,
    ClusteringConfig: LatentClustering,
    LatentPredictorConfig: LatentPredictor,
    LatentTeacherConfig: LatentTeacher,
    EntityLoopConfig: EntityLoop,
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
