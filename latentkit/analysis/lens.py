"""What a stack would answer after each of its layers (the logit lens, nostalgebraist 2020)."""

from itertools import pairwise

import torch
from jaxtyping import Int
from torch import Tensor

from latentkit.models import Transformer
from latentkit.recurrence import Trajectory


@torch.no_grad()
def logit_lens(model: Transformer, tokens: Int[Tensor, "b n"]) -> Trajectory:
    """A stack's run as a trajectory: one "pass" a layer, each decoded by the final norm and output layer.

    The layers before the last were never trained to be read in this way, so an answer that shows early is evidence
    and one that does not show is none.
    """
    states = [model.embed(tokens)]
    for block in model.blocks:
        states.append(block(states[-1], block.bias(tokens.shape[1])))
    moved = [(h - before).norm(dim=-1) / h.norm(dim=-1) for before, h in pairwise(states)]
    return Trajectory(
        tokens=tokens,
        passes=tuple(range(1, len(states))),
        states=tuple(states[1:]),
        logits=torch.stack([model.head(model.norm(h)) for h in states[1:]]),
        residuals=torch.stack(moved),
        halted_at=torch.zeros_like(tokens),
    )
