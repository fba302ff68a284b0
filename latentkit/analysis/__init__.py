"""What is measured on a model's run."""

from latentkit.analysis.depth import accuracy_by_pass
from latentkit.analysis.lens import logit_lens

__all__ = ["accuracy_by_pass", "logit_lens"]
