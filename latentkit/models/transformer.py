"""The fixed-depth transformer: L blocks, each with its own weights. The baseline of every lab about depth.

    x_0     = embed(tokens)
    x_l     = Block_l(x_{l-1})            l = 1..L        pre-norm, Xiong et al. 2020
    logits  = W norm(x_L)

A model of fixed depth (and any fixed width) with logarithmic precision computes only what is in uniform TC0 (Merrill
and Sabharwal 2023). Lab 01 builds this file from scratch.

Where the papers are silent, what we chose: RMSNorm without bias; learned relative bias (clipped) plus a learned ALiBi
slope for sequences, learned absolute positions where a position is a name (pointer chasing); untied output layer.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.layers import BlockConfig, Blocks, TokenEmbedding


@dataclass(frozen=True)
class TransformerConfig:
    """A stack of `num_layers` unshared blocks.

    Attributes:
        vocab_size, num_classes: sizes of input and output alphabets.
        num_layers: depth L.
        block: shape of every block.
        num_positions: learned absolute positions; 0 for none (the block's position bias then carries order).
    """

    vocab_size: int
    num_classes: int
    num_layers: int = 1
    block: BlockConfig = BlockConfig()
    num_positions: int = 0

    def __post_init__(self) -> None:
        if self.num_layers < 1:
            raise ValueError(f"num_layers={self.num_layers}; a stack needs at least 1 layer")


class Transformer(nn.Module):
    """See the module's docstring for the equations."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        d = config.block.d_model
        self.embed = TokenEmbedding(config.vocab_size, d, config.num_positions)
        self.blocks = Blocks(config.block, config.num_layers)
        self.norm = nn.RMSNorm(d)
        self.head = nn.Linear(d, config.num_classes)

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n v"]:
        """Logits at every position; raises on tokens that the embedding refuses."""
        x, n = self.embed(tokens), tokens.shape[1]
        rotation = next(iter(self.blocks)).rotation(n)
        for block in self.blocks:
            x = block(x, block.bias(n), rotation)
        return self.head(self.norm(x))
