"""How far a model reaches after each pass."""

import torch
from jaxtyping import Float
from torch import Tensor

from latentkit.recurrence import Trajectory
from latentkit.tasks import Batch, accuracy_by_depth


def accuracy_by_pass(trajectory: Trajectory, batch: Batch) -> Float[Tensor, "k m"]:
    """Share of right answers at each kept pass (rows) and each depth 0..max (columns); lab 02 derives it."""
    return torch.stack([accuracy_by_depth(logits, batch) for logits in trajectory.logits])
