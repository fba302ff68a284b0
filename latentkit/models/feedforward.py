"""The control without recurrence: TRM's network, run once.

    h      = f(embed(tokens))          f: `num_layers` blocks, each with its own weights
    logits = W_o h                     W_o rms(h) where the blocks are pre-norm

With two post-norm blocks it has TRM's parameters and a fraction of its depth ("direct prediction" in the HRM and TRM
papers). With as many blocks as a recurrence runs it has the depth and many times the parameters; blocks are then
pre-norm, since deep post-norm stacks do not train without care (Xiong et al. 2020).
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.layers import MixingConfig, MixingStack, PuzzleEmbedding, rms_norm, truncated_normal_


@dataclass(frozen=True)
class FeedForwardConfig:
    """A stack of unshared blocks.

    Attributes:
        vocab_size, num_classes: sizes of input and output alphabets.
        block: shape of every block.
        num_layers: blocks.
        positions: "learned" vectors added to the cells' embedding, or "none".
    """

    vocab_size: int
    num_classes: int
    block: MixingConfig
    num_layers: int = 2
    positions: Literal["learned", "none"] = "learned"


class FeedForward(nn.Module):
    """See the module's docstring for the equations."""

    def __init__(self, config: FeedForwardConfig):
        super().__init__()
        self.config = config
        self.embed = PuzzleEmbedding(config.vocab_size, config.block, config.positions)
        self.f = MixingStack(config.block, config.num_layers)
        self.head = nn.Linear(config.block.d_model, config.num_classes, bias=False)
        truncated_normal_(self.head.weight, std=config.block.d_model**-0.5)

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n v"]:
        """Logits at every cell; raises on tokens that the embedding refuses."""
        h = self.f(self.embed(tokens))
        return self.head(rms_norm(h) if self.config.block.norm == "pre" else h)
