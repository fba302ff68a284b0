"""What is measured on a model's run."""

from latentkit.analysis.fixed_points import LayerRun, distance, growth, jacobian, layer_run, random_start
from latentkit.analysis.lens import logit_lens
from latentkit.analysis.reliability import Restarts, auc, restarts, select

__all__ = [
    "LayerRun",
    "Restarts",
    "auc",
    "distance",
    "growth",
    "jacobian",
    "layer_run",
    "logit_lens",
    "random_start",
    "restarts",
    "select",
]
