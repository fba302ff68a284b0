"""The tiny recursive model: HRM with one small network and two states (Jolicoeur-Martineau 2025, arXiv 2510.04871).

    x      = sqrt(d) embed(tokens)
    z      = f(z + (y + x))        n updates ("z"): think, from the puzzle, the answer so far and the thought so far
    y      = f(y + z)              1 update  ("y"): write a better answer; T such recursions a pass
    logits = W_o y
    q      = w_q y + b_q           one value: halt

f is one stack of two post-norm blocks (`latentkit.layers.MixingStack`): it takes both roles, and tells them apart by
whether x is among its inputs. y and z start from two fixed random vectors that are never trained, the same at every
position. A pass is what HRM calls a segment: an optimiser step with its own loss, from a detached state. In the paper
its first T - 1 recursions run without gradient and the last with all of it: `advance(..., gradient_updates=n + 1)`.

Where the paper and its public code differ, and what is here:

    what                    paper                    public code                  here
    positions in front      1                        16, of which 15 only pad     none
    recursions n            6                        6; 4 in its README, mazes    `n`
    cross-entropy           stable-max; softmax in   stable-max                   the supervision's choice
                            the pseudocode
    weight of halting loss  1 in the pseudocode      0.5                          the supervision's choice
    exploring longer runs   not in the pseudocode    with probability 0.1         the supervision's choice
    optimiser               AdamW                    AdamATan2                    the fit loop's choice
    length of training      60k epochs               50k epochs (README)          the preset's choice
    mazes in training       8 symmetries             option, off by default       the task's choice

What the public code does beside that, and what is here:

    what                    public code                                           here
    where q is read         the first position in front                           the mean over cells
    values of q             2, the second unused                                  1
    SwiGLU's inner widths   8/3 of the width, up to a multiple of 256             `block.hidden`, `block.token_hidden`
    weights                 averaged (EMA 0.999); only these are kept             the fit loop returns both

The course's small form has T = 1: deep supervision over the segments gives depth, and every update has its gradient.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.layers import MixingConfig, MixingStack, PuzzleEmbedding, truncated_normal_


@dataclass(frozen=True)
class TRMConfig:
    """One network and its recursions.

    Attributes:
        vocab_size, num_classes: sizes of input and output alphabets.
        block: shape of every block; `mixer="tokens"` is the paper's choice for Sudoku, "attention" for the rest.
        num_layers: blocks of the network.
        n: updates of z before each update of y (paper: 6).
        T: recursions a pass (paper: 3).
        positions: "learned" vectors added to the cells' embedding, or "none".
        latents: 2 for y and z; 1 is the ablation without the two roles: all n + 1 updates are y = f(y + x).
    """

    vocab_size: int
    num_classes: int
    block: MixingConfig
    num_layers: int = 2
    n: int = 2
    T: int = 1
    positions: Literal["learned", "none"] = "learned"
    latents: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        if self.n < 1 or self.T < 1:
            raise ValueError(f"n={self.n}, T={self.T}; a pass needs at least 1 recursion of at least 1 update of z")
        if self.block.norm != "post":
            raise ValueError(f"norm={self.block.norm!r}; a recurrent state needs 'post', which keeps its length")


class State(NamedTuple):
    """The answer y and the thought z."""

    y: Float[Tensor, "b n d"]
    z: Float[Tensor, "b n d"]


class TRM(nn.Module):
    """See the module's docstring for the equations; a `latentkit.recurrence.Nested` model."""

    y_init: Tensor
    z_init: Tensor

    def __init__(self, config: TRMConfig):
        super().__init__()
        self.config = config
        recursion = ("z",) * config.n + ("y",) if config.latents == 2 else ("y alone",) * (config.n + 1)
        self.schedule = recursion * config.T
        d = config.block.d_model

        self.embed = PuzzleEmbedding(config.vocab_size, config.block, config.positions)
        self.f = MixingStack(config.block, config.num_layers)
        self.register_buffer("y_init", truncated_normal_(torch.empty(d), std=1.0))
        self.register_buffer("z_init", truncated_normal_(torch.empty(d), std=1.0))
        self.head = nn.Linear(d, config.num_classes, bias=False)
        self.q_head = nn.Linear(d, 1)
        truncated_normal_(self.head.weight, std=d**-0.5)
        nn.init.zeros_(self.q_head.weight)
        nn.init.constant_(self.q_head.bias, -5.0)

    def encode(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """x, which every update of z reads."""
        return self.embed(tokens)

    def initial_state(self, x: Float[Tensor, "b n d"]) -> State:
        """The two fixed vectors, at every position."""
        return State(self.y_init.expand_as(x), self.z_init.expand_as(x))

    def update(self, state: State, x: Float[Tensor, "b n d"], module: str) -> State:
        """One update, of "z" or of "y"; "y alone" where there is one latent."""
        y, z = state
        if module == "z":
            return State(y, self.f(z + (y + x)))
        if module == "y alone":
            return State(self.f(y + x), z)
        return State(self.f(y + z), z)

    def step(self, state: State, x: Float[Tensor, "b n d"]) -> State:
        """One pass (segment): T recursions of n updates of z and one of y."""
        for module in self.schedule:
            state = self.update(state, x, module)
        return state

    def decode(self, state: State) -> Float[Tensor, "b n v"]:
        """Logits at every cell, from the answer."""
        return self.head(state.y)

    def halt_logit(self, state: State) -> Float[Tensor, "b"]:
        """The logit of "every cell is right"."""
        return self.q_head(state.y.mean(1))[:, 0]
