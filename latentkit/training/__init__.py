"""How a model is trained: the fit loop, supervision as separate named pieces, weights and checkpoints."""

from latentkit.training.checkpoint import CheckpointError, load_weights, save_weights
from latentkit.training.curriculum import Curriculum
from latentkit.training.fit import FitConfig, FitResult, fit, pick_device
from latentkit.training.supervision import (
    EveryPassLoss,
    FinalLoss,
    ConstantPasses,
    PassesPerPosition,
    PlainLoss,
    UniformPasses,
)

__all__ = [
    "CheckpointError",
    "Curriculum",
    "EveryPassLoss",
    "FinalLoss",
    "FitConfig",
    "FitResult",
    "ConstantPasses",
    "PassesPerPosition",
    "PlainLoss",
    "UniformPasses",
    "fit",
    "load_weights",
    "pick_device",
    "save_weights",
]
