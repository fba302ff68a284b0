"""Equilibrium reasoners: TRM, made to settle (Huang, Geng, Kolter 2026, arXiv 2605.21488).

    z      <- (1 - lambda) z + lambda f(z + (y + x)) + noise        n updates
    y      <- (1 - lambda) y + lambda f(y + z) + noise              1 update; T such recursions a pass

What differs from TRM (`latentkit.models.trm`); network, schedule and heads are the same:

    update   damped: lambda = 0.95
    noise    Gaussian of std 0.01 at every update, in training and at test, so that the answer has to be an attractor
    start    y and z from a unit truncated normal, a fresh one at every position, instead of two fixed vectors. Restarts
             from several starts (breadth) and more passes (depth) are what is scaled at test

The paper's names are z_H for y, z_L for z, H_cycles for T (3) and L_cycles for n (6); only the last recursion carries
gradient, as in TRM. All randomness comes from torch's global generator.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from latentkit.layers import truncated_normal_
from latentkit.models.trm import TRM, State, TRMConfig


@dataclass(frozen=True)
class EqRConfig(TRMConfig):
    """TRM's fields, and how it settles.

    Attributes:
        damping: lambda, how far an update goes towards the network's output; 1 is TRM's update.
        noise: standard deviation of the path noise; 0 is none.
    """

    damping: float = 0.95
    noise: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.damping <= 1 or self.noise < 0:
            raise ValueError(f"damping={self.damping}, noise={self.noise}; need 0 < damping <= 1 and noise >= 0")


class EqR(TRM):
    """See the module's docstring for the equations; a `latentkit.recurrence.Nested` model."""

    config: EqRConfig

    def __init__(self, config: EqRConfig):
        super().__init__(config)
        del self.y_init, self.z_init  # every start is drawn afresh

    def initial_state(self, x: Float[Tensor, "b n d"]) -> State:
        """A random start at every position."""
        y, z = torch.empty_like(x), torch.empty_like(x)
        return State(truncated_normal_(y, std=1.0), truncated_normal_(z, std=1.0))

    def update(self, state: State, x: Float[Tensor, "b n d"], module: str) -> State:
        """One damped, noisy update, of "z" or of "y"."""
        target = super().update(state, x, module)
        return State(*(s if s is t else self.settle(s, t) for s, t in zip(state, target, strict=True)))

    def settle(self, before: Float[Tensor, "b n d"], target: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Most of the way from `before` to `target`, and a small kick."""
        after = torch.lerp(before, target, self.config.damping)
        return after + self.config.noise * torch.randn_like(after) if self.config.noise else after
