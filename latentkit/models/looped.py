"""The looped (recurrent-depth) transformer: one core of k blocks, applied T times to its own state.

    e       = Prelude(embed(tokens))
    h_0     = 0                                   (e itself where nothing is injected)
    h_t     = norm(Core(W [h_{t-1}; e]))          t = 1..T        "concat" input injection
    logits  = W_o norm(Coda(h_T))

Prelude, core and coda follow Geiping et al. 2025 (arXiv 2502.05171, section 3); adding the input again at every pass
(h + e) is in Yang et al. 2024 and, before them, in deep equilibrium models (Bai et al. 2019); one set of weights shared
over depth is the universal transformer's idea (Dehghani et al. 2019).
T is not part of the model: it is chosen at every call. How many passes a training step runs, and through how many the
gradient flows, belongs to `latentkit.training.supervision`.

Where the papers are silent or differ, what we chose:
    injection   a linear map of [h; e] (Geiping et al.); "none" is an ablation of lab 02
    norm        RMSNorm on the state after every pass, as large models need it; on lab 02's task nothing is lost without
    h_0         zeros. Geiping et al. draw it at random; here every run is then a function of the tokens alone
    prelude     empty by default: on the course's tasks the core alone suffices
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.layers import BlockConfig, Blocks, TokenEmbedding


@dataclass(frozen=True)
class LoopedConfig:
    """One core, looped.

    Attributes:
        vocab_size, num_classes: sizes of input and output alphabets.
        core_layers: blocks k in the loop.
        prelude_layers, coda_layers: unshared blocks before and after it.
        inject: how the encoded input e enters every pass; "none" means that only h_0 holds it.
        loop_norm: normalise the state after every pass.
        block: shape of every block.
        num_positions: learned absolute positions; 0 for none.
    """

    vocab_size: int
    num_classes: int
    core_layers: int = 1
    prelude_layers: int = 0
    coda_layers: int = 0
    inject: Literal["concat", "none"] = "concat"
    loop_norm: bool = True
    block: BlockConfig = BlockConfig()
    num_positions: int = 0

    def __post_init__(self) -> None:
        if self.core_layers < 1 or self.prelude_layers < 0 or self.coda_layers < 0:
            raise ValueError(
                f"core_layers={self.core_layers}, prelude_layers={self.prelude_layers}, "
                f"coda_layers={self.coda_layers}: "
                "the core needs at least 1 block, prelude and coda at least 0"
            )
        if self.inject not in ("concat", "none"):
            raise ValueError(f"inject={self.inject!r}; choose 'concat' or 'none'")


class Context(NamedTuple):
    """What every pass reads: the encoded input, and each core block's position bias (computed once a run)."""

    e: Float[Tensor, "b n d"]
    biases: tuple[Float[Tensor, "h n n"] | None, ...]


class Looped(nn.Module):
    """See the module's docstring for the equations; a `latentkit.recurrence.DepthRecurrent` model."""

    def __init__(self, config: LoopedConfig):
        super().__init__()
        self.config = config
        d = config.block.d_model

        self.embed = TokenEmbedding(config.vocab_size, d, config.num_positions)
        self.prelude = Blocks(config.block, config.prelude_layers)
        self.core = Blocks(config.block, config.core_layers)
        self.coda = Blocks(config.block, config.coda_layers)
        self.adapter = nn.Linear(2 * d, d, bias=False) if config.inject == "concat" else None
        self.loop_norm = nn.RMSNorm(d) if config.loop_norm else nn.Identity()
        self.norm = nn.RMSNorm(d)
        self.head = nn.Linear(d, config.num_classes)

    def encode(self, tokens: Int[Tensor, "b n"]) -> Context:
        """The prelude: e, read by every pass."""
        e, n = self.embed(tokens), tokens.shape[1]
        for block in self.prelude:
            e = block(e, block.bias(n))
        return Context(e, tuple(block.bias(n) for block in self.core))

    def initial_state(self, context: Context) -> Float[Tensor, "b n d"]:
        """h_0."""
        return torch.zeros_like(context.e) if self.adapter is not None else context.e

    def step(self, h: Float[Tensor, "b n d"], context: Context) -> Float[Tensor, "b n d"]:
        """One pass: h_{t-1} to h_t."""
        x = h if self.adapter is None else self.adapter(torch.cat([h, context.e], -1))
        for block, bias in zip(self.core, context.biases, strict=True):
            x = block(x, bias)
        return self.loop_norm(x)

    def decode(self, h: Float[Tensor, "b n d"]) -> Float[Tensor, "b n v"]:
        """The coda and the output layer."""
        n = h.shape[1]
        for block in self.coda:
            h = block(h, block.bias(n))
        return self.head(self.norm(h))
