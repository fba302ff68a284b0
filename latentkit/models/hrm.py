"""The hierarchical reasoning model: two networks that recur at two speeds (Wang et al. 2025, arXiv 2506.21734).

    x      = sqrt(d) embed(tokens)
    z_L    = f_L(z_L + (z_H + x))         the fast, low-level network: T updates ("L"), then
    z_H    = f_H(z_H + z_L)               one update of the slow, high-level one ("H"); N such cycles a pass
    logits = W_o z_H
    q      = W_q z_H + b_q                two values: halt, continue

f_L and f_H are stacks of post-norm blocks without biases and without scales (`latentkit.layers.MixingStack`). z_L and
z_H start from two fixed random vectors that are never trained, the same at every position. One pass is what the paper
calls a segment. In training every segment is an optimiser step with its own loss, from a detached state, and only its
last L and its last H update carry gradient: `advance(..., gradient_updates=2)`.

Where the paper and its public code differ, and what is here:

    what                    paper                    public code                  here
    positions               rotary                   rotary; learned for its      `block.rotary`, `positions`
                                                     full-size Sudoku run
    weight of halting loss  none written (1)         0.5                          the supervision's choice
    cross-entropy           its formula lacks the    stable-max, the right sign   the supervision's choice
                            minus sign
    stopping at test        adaptive, by q           always all 16 segments       either: `HaltValue`, or no rule

What the public code does beside that, and what is here:

    what                    public code                                           here
    a position in front     one trained vector per puzzle id (sign-SGD); Sudoku   `register`: a constant zero; or none
                            and mazes have a single id
    where q is read         the position in front                                 the register; or the mean over cells
    SwiGLU's inner width    8/3 d, rounded up to a multiple of 256                `block.hidden`
    first weights           normal cut at 2 sigma, std exactly 1/sqrt(fan-in)     the same
    first q                 weights 0, bias -5: nothing halts early at first      the same
    dtype                   bfloat16, losses in float64                           the fit loop's choice

With 11 tokens and classes, d = 512, 8 heads, hidden = 1536 and 4 layers a module it has the public code's 27,275,266
parameters.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.layers import MixingConfig, MixingStack, PuzzleEmbedding, truncated_normal_


@dataclass(frozen=True)
class HRMConfig:
    """Two modules and their cycles.

    Attributes:
        vocab_size, num_classes: sizes of input and output alphabets.
        block: shape of every block of both modules; `num_positions` counts the puzzle's cells, without the register.
        num_layers: blocks of each module (paper: 4).
        H_cycles: cycles N a pass.
        L_cycles: updates T of the low-level module a cycle.
        positions: "learned" vectors added to the cells' embedding, or "none" (with rotary attention).
        register: a position in front of the cells, from which q is read; else q reads the mean over the cells.
    """

    vocab_size: int
    num_classes: int
    block: MixingConfig
    num_layers: int = 2
    H_cycles: int = 2
    L_cycles: int = 2
    positions: Literal["learned", "none"] = "learned"
    register: bool = False

    def __post_init__(self) -> None:
        if self.H_cycles < 1 or self.L_cycles < 1:
            raise ValueError(f"H_cycles={self.H_cycles}, L_cycles={self.L_cycles}; a pass needs at least 1 of each")
        if self.register and self.block.mixer == "grid":
            raise ValueError("register=True with mixer='grid': a position in front of the cells lies on no grid")
        if self.block.norm != "post":
            raise ValueError(f"norm={self.block.norm!r}; a recurrent state needs 'post', which keeps its length")


class State(NamedTuple):
    """Both latents; with a register m = n + 1, and it comes first."""

    z_H: Float[Tensor, "b m d"]
    z_L: Float[Tensor, "b m d"]


class HRM(nn.Module):
    """See the module's docstring for the equations; a `latentkit.recurrence.Nested` model."""

    H_init: Tensor
    L_init: Tensor

    def __init__(self, config: HRMConfig):
        super().__init__()
        self.config = config
        self.schedule = (("L",) * config.L_cycles + ("H",)) * config.H_cycles
        self.registers = int(config.register)
        d = config.block.d_model
        block = replace(config.block, num_positions=config.block.num_positions + self.registers)

        self.embed = PuzzleEmbedding(config.vocab_size, config.block, config.positions)
        self.L_module = MixingStack(block, config.num_layers)
        self.H_module = MixingStack(block, config.num_layers)
        self.register_buffer("H_init", truncated_normal_(torch.empty(d), std=1.0))
        self.register_buffer("L_init", truncated_normal_(torch.empty(d), std=1.0))
        self.head = nn.Linear(d, config.num_classes, bias=False)
        self.q_head = nn.Linear(d, 2)
        truncated_normal_(self.head.weight, std=d**-0.5)
        nn.init.zeros_(self.q_head.weight)
        nn.init.constant_(self.q_head.bias, -5.0)

    def encode(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b m d"]:
        """x, which L reads in every update; zero at the register."""
        x = self.embed(tokens)
        return F.pad(x, (0, 0, 1, 0)) if self.registers else x

    def initial_state(self, x: Float[Tensor, "b m d"]) -> State:
        """The two fixed vectors, at every position."""
        return State(self.H_init.expand_as(x), self.L_init.expand_as(x))

    def update(self, state: State, x: Float[Tensor, "b m d"], module: str) -> State:
        """One update of one module, "L" or "H"."""
        z_H, z_L = state
        if module == "L":
            return State(z_H, self.L_module(z_L + (z_H + x)))
        return State(self.H_module(z_H + z_L), z_L)

    def step(self, state: State, x: Float[Tensor, "b m d"]) -> State:
        """One pass (segment): N cycles of T updates of L and one of H."""
        for module in self.schedule:
            state = self.update(state, x, module)
        return state

    def decode(self, state: State) -> Float[Tensor, "b n v"]:
        """Logits at every cell."""
        return self.head(state.z_H[:, self.registers :])

    def halt_values(self, state: State) -> Float[Tensor, "b 2"]:
        """Logits of q_halt and q_continue."""
        return self.q_head(state.z_H[:, 0] if self.registers else state.z_H.mean(1))

    def halt_logit(self, state: State) -> Float[Tensor, "b"]:
        """q_halt: the logit of "every cell is right"."""
        return self.halt_values(state)[:, 0]
