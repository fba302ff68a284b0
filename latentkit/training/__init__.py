"""How a model is trained: the fit loop, supervision as separate named pieces, weights and checkpoints."""

from latentkit.training.checkpoint import CheckpointError, load_weights, save_weights
from latentkit.training.curriculum import Curriculum, GeometricCurriculum
from latentkit.training.fit import FitConfig, FitResult, fit, pick_device
from latentkit.training.latents import PredictCousins, TeacherLatents
from latentkit.training.losses import CrossEntropy, PermutationCrossEntropy, StableMax
from latentkit.training.supervision import (
    ACT,
    ConstantPasses,
    DeepSupervision,
    EveryPassLoss,
    FinalLoss,
    PassesPerPosition,
    PlainLoss,
    UniformPasses,
)

__all__ = [
    "ACT",
    "CheckpointError",
    "ConstantPasses",
    "CrossEntropy",
    "Curriculum",
    "DeepSupervision",
    "EveryPassLoss",
    "FinalLoss",
    "FitConfig",
    "FitResult",
    "GeometricCurriculum",
    "PassesPerPosition",
    "PermutationCrossEntropy",
    "PlainLoss",
    "PredictCousins",
    "StableMax",
    "TeacherLatents",
    "UniformPasses",
    "fit",
    "load_weights",
    "pick_device",
    "save_weights",
]
