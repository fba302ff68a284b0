"""What is measured on a model's run."""

from latentkit.analysis.lens import logit_lens

__all__ = ["logit_lens"]
