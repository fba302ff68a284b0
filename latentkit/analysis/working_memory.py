"""What is in the feedback of a `latentkit.models.FAM`: its path over blocks, what it attends to, what it knows."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentkit.layers import rms_norm
from latentkit.models import FAM
from latentkit.models.fam import FAMState


@torch.no_grad()
def feedback_path(
    model: FAM, tokens: Int[Tensor, "b blocks_n"], keep: Collection[int] | None = None
) -> Float[Tensor, "k b l f d"]:
    """The feedback F_tau of every layer after each block, or after the blocks in `keep`, counted from 1.

    Raises:
        ValueError: no whole number of blocks, or blocks to keep that there are not.
    """
    size = model.config.block_size
    blocks, rest = divmod(tokens.shape[1], size)
    if rest or not blocks:
        raise ValueError(f"{tokens.shape[1]} tokens; need one or more whole blocks of {size}")
    if keep is not None and (not keep or not all(1 <= t <= blocks for t in keep)):
        raise ValueError(f"keep={sorted(keep)}; need one or more of the blocks 1 to {blocks}")
    state, kept = model.initial_state(len(tokens)), []
    for t, block in enumerate(tokens.split(size, 1), start=1):
        state, _ = model.step(state, block)
        if keep is None or t in keep:
            kept.append(state.feedback)
    return torch.stack(kept)


@torch.no_grad()
def feedback_attention(model: FAM, state: FAMState, block: Int[Tensor, "b n"]) -> Float[Tensor, "b l h f fn"]:
    """How much each feedback token attends to the feedback (first f entries) and to the block, as it is updated."""
    n, f = model.config.block_size, model.config.num_feedback
    projected: list[Tensor] = []
    hooks = [layer.qkv.register_forward_hook(lambda _, __, out: projected.append(out)) for layer in model.layers]
    try:
        model.step(state, block)
    finally:
        for hook in hooks:
            hook.remove()
    weights = []
    for qkv in projected:
        q, k, _ = qkv.unflatten(-1, (3, model.config.num_heads, -1)).permute(2, 0, 3, 1, 4)
        scores = model.turn(q[:, :, :f], n - f) @ model.turn(k, -f).mT  # `step` puts the feedback in front
        weights.append((scores / q.shape[-1] ** 0.5).softmax(-1))
    return torch.stack(weights, 1)


@dataclass(frozen=True)
class LinearProbe:
    """One linear map from a state to the classes of each of several labels, fitted by ridge regression on one-hots.

    Every vector of a state is brought to RMS 1 first, as the layers' norms do: a probe is to find what a layer could.
    """

    weight: Float[Tensor, "inputs labels_c"]
    num_classes: int

    @classmethod
    def fit(
        cls,
        states: Float[Tensor, "m *vectors d"],
        labels: Int[Tensor, "m labels"],
        num_classes: int,
        ridge: float = 1.0,
    ) -> "LinearProbe":
        """The map with the least squared error plus `ridge` times its squared weights (the constant is not charged).

        Raises:
            ValueError: fewer than two states, a ridge that is not above 0, or labels that are not one row a state, each
                from 0 to `num_classes` - 1.
        """
        if len(states) < 2 or not ridge > 0:
            raise ValueError(f"{len(states)} states, ridge={ridge}; need at least 2 states and a ridge above 0")
        if labels.ndim != 2 or len(labels) != len(states):
            raise ValueError(
                f"{len(states)} states, labels of shape {list(labels.shape)}; expected [{len(states)}, labels]"
            )
        if labels.numel() and (labels.min() < 0 or labels.max() >= num_classes):
            raise ValueError(
                f"labels from {int(labels.min())} to {int(labels.max())}; with num_classes={num_classes} they are 0 to "
                f"{num_classes - 1}"
            )
        x = _inputs(states)
        targets = torch.nn.functional.one_hot(labels, num_classes).flatten(1).double()
        charge = torch.full((x.shape[1],), ridge, dtype=torch.float64)
        charge[-1] = 1e-9
        return cls(torch.linalg.solve(x.mT @ x + charge.diag(), x.mT @ targets), num_classes)

    def scores(self, states: Float[Tensor, "m *vectors d"]) -> Float[Tensor, "m labels c"]:
        """A score for every class of every label; they sum to 1."""
        return (_inputs(states) @ self.weight).unflatten(-1, (-1, self.num_classes))

    def predict(self, states: Float[Tensor, "m *vectors d"]) -> Int[Tensor, "m labels"]:
        """The class with the highest score."""
        return self.scores(states).argmax(-1)


def _inputs(states: Float[Tensor, "m *vectors d"]) -> Float[Tensor, "m inputs"]:
    """All vectors of a state side by side, and a constant."""
    x = rms_norm(states.double()).flatten(1)
    return torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
