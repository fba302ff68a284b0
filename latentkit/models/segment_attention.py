"""Attention within a segment, the half of the Titans hybrids that is not memory (Behrouz et al. 2025, section 4).

Every segment of C tokens attends to P learned persistent tokens, to C vectors that stand beside it, and to itself up to
each token. Beside it stands what the variant wants: the segment before (a sliding window: MAG, MAL) or what the memory
recalled (MAC). Positions are rotary, counted within [P | beside | segment].
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentkit.layers import rotate, rotation_table
from latentkit.models.neural_memory import Chunked


class SegmentAttention(Chunked):
    """Attention of a segment's C tokens to [P | C vectors beside it | the segment up to each token]."""

    rotation: Tensor
    window: Tensor
    causal: Tensor

    def __init__(self, d: int, c: int, num_heads: int, persistent: int):
        super().__init__()
        self.num_heads = num_heads
        self.persistent = nn.Parameter(torch.randn(persistent, d))
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        table = rotation_table(persistent + 2 * c, d // num_heads)
        self.register_buffer("rotation", table, persistent=False)
        seen, before = torch.ones(c, persistent, dtype=torch.bool), torch.ones(c, c, dtype=torch.bool).tril()
        # Beside the segment stands the one before it, of which a window of C still reaches the end; or h.
        self.register_buffer("window", torch.cat([seen, ~before, before], 1), persistent=False)
        self.register_buffer("causal", torch.cat([seen, before, before], 1), persistent=False)
        self.mark(c)  # the segment and the window, even where the memory's gradients do not depend on it

    def forward(
        self, x: Float[Tensor, "b c d"], beside: Float[Tensor, "b c d"], mask: Bool[Tensor, "c pcc"]
    ) -> Float[Tensor, "b c d"]:
        """One segment a row of the batch; `mask` is `self.window` or `self.causal`."""
        keys = torch.cat([self.persistent.expand(len(x), -1, -1), beside, x], 1)
        q, k, v = self.qkv(keys).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, self.rotation), rotate(k, self.rotation)
        mixed = F.scaled_dot_product_attention(q[:, :, -x.shape[1] :], k, v, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def slide(
        self, x: Float[Tensor, "b n d"], before: Float[Tensor, "b c d"]
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b c d"]]:
        """A sliding window over whole segments, all at once; `before` is the segment before them."""
        b, c = len(x), before.shape[1]
        beside = torch.cat([before, x], 1)
        segments, besides = (y.unflatten(1, (-1, c)).flatten(0, 1) for y in (x, beside[:, :-c]))
        return self(segments, besides, self.window).unflatten(0, (b, -1)).flatten(1, 2), beside[:, -c:].clone()
