"""What is measured on a model's run."""

from latentkit.analysis.lens import logit_lens
from latentkit.analysis.reliability import Restarts, auc, restarts, select

__all__ = ["Restarts", "auc", "logit_lens", "restarts", "select"]
