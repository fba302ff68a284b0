"""The parts that every architecture of the course is built from.

Dimension legend, here and in every model:
    b  batch      n  positions      d  model width      h  heads      v  vocabulary or classes      t  passes
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class BlockConfig:
    """One pre-norm transformer block.

    Attributes:
        d_model: width d of the residual stream.
        num_heads: attention heads h; must divide `d_model`.
        mlp_ratio: hidden width of the feed-forward layer, in units of d.
        causal: position i attends to positions <= i only.
        relative_clip: learned bias per head for the distances 0..clip, farther ones share the last; 0 switches it off.
            Left and right are alike: a block that is not causal cannot tell them apart by it.
        alibi: adds a learned linear penalty on distance, -softplus(slope) * (i - j) (Press et al. 2022, with the slope
            learned). Lab 02 measures what happens without it.
    """

    d_model: int = 64
    num_heads: int = 2
    mlp_ratio: int = 4
    causal: bool = True
    relative_clip: int = 8
    alibi: bool = True

    def __post_init__(self) -> None:
        if self.d_model < 1 or self.num_heads < 1 or self.d_model % self.num_heads:
            raise ValueError(
                f"d_model={self.d_model} is not a positive multiple of num_heads={self.num_heads}; "
                f"choose for example d_model={max(1, self.num_heads) * 32}"
            )
        if self.mlp_ratio < 1 or self.relative_clip < 0:
            raise ValueError(
                f"need mlp_ratio >= 1 and relative_clip >= 0, got {self.mlp_ratio} and {self.relative_clip}"
            )


class PositionBias(nn.Module):
    """What attention scores gain from distance alone, per head; -inf where a causal model must not look."""

    here: Tensor

    def __init__(self, config: BlockConfig):
        super().__init__()
        self.config = config
        # A causal mask alone has no parameter that would tell its device.
        self.register_buffer("here", torch.empty(0), persistent=False)
        if config.relative_clip:
            self.relative = nn.Parameter(torch.zeros(config.num_heads, config.relative_clip + 1))
        if config.alibi:
            self.slope = nn.Parameter(torch.full((config.num_heads, 1, 1), -0.5))

    def forward(self, n: int) -> Float[Tensor, "h n n"] | None:
        """The bias for n positions, or None where there is nothing to add."""
        config = self.config
        if not (config.relative_clip or config.alibi or config.causal):
            return None
        device = self.here.device
        i = torch.arange(n, device=device)
        distance = i[:, None] - i[None, :]
        bias = torch.zeros(config.num_heads, n, n, device=device)
        if config.relative_clip:
            bias = bias + self.relative[:, distance.abs().clamp(max=config.relative_clip)]
        if config.alibi:
            bias = bias - F.softplus(self.slope) * distance.abs()
        if config.causal:
            bias = bias.masked_fill(distance < 0, -math.inf)
        return bias


class Attention(nn.Module):
    """Multi-head softmax attention; the position bias comes from outside, so that a loop computes it only once."""

    def __init__(self, config: BlockConfig):
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x: Float[Tensor, "b n d"], bias: Float[Tensor, "h n n"] | None) -> Float[Tensor, "b n d"]:
        """Mixes positions: softmax(q k^T / sqrt(d/h) + bias) v, per head."""
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.num_heads, d // self.num_heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(mixed.transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    """Pre-norm block: x + Attention(norm(x)), then x + MLP(norm(x)) (Xiong et al. 2020)."""

    def __init__(self, config: BlockConfig):
        super().__init__()
        d = config.d_model
        self.norm1, self.norm2 = nn.RMSNorm(d), nn.RMSNorm(d)
        self.attention = Attention(config)
        self.bias = PositionBias(config)
        self.mlp = nn.Sequential(nn.Linear(d, config.mlp_ratio * d), nn.GELU(), nn.Linear(config.mlp_ratio * d, d))

    def forward(self, x: Float[Tensor, "b n d"], bias: Float[Tensor, "h n n"] | None) -> Float[Tensor, "b n d"]:
        """One layer; `bias` is `self.bias(n)`."""
        x = x + self.attention(self.norm1(x), bias)
        return x + self.mlp(self.norm2(x))


class Blocks(nn.ModuleList):
    """k blocks of one shape, each with its own weights."""

    def __init__(self, config: BlockConfig, k: int):
        super().__init__(Block(config) for _ in range(k))

    def __iter__(self) -> Iterator[Block]:  # typed: a plain list of modules forgets what it holds
        return super().__iter__()  # type: ignore[return-value]


class TokenEmbedding(nn.Module):
    """Tokens to vectors, with a learned vector per position where `num_positions` > 0; refuses what it cannot embed."""

    def __init__(self, vocab_size: int, d_model: int, num_positions: int = 0):
        super().__init__()
        if vocab_size < 1 or num_positions < 0:
            raise ValueError(f"vocab_size={vocab_size}, num_positions={num_positions}; need at least 1 and 0")
        self.token = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(num_positions, d_model) if num_positions else None

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The embedded sequence.

        Raises:
            TypeError: tokens are not integers.
            ValueError: wrong rank, a token out of range, or more positions than there are vectors for.
        """
        check_tokens(tokens, self.token.num_embeddings)
        x = self.token(tokens)
        if self.position is None:
            return x
        n, most = tokens.shape[1], self.position.num_embeddings
        if n > most:
            raise ValueError(f"{n} positions, but this model has learned only {most}; pass at most {most}")
        return x + self.position.weight[:n]


def check_tokens(tokens: Tensor, vocab_size: int) -> None:
    """Refuses a token tensor that an embedding would fail on obscurely, or accept wrongly.

    Raises:
        TypeError: not an integer tensor.
        ValueError: not of rank 2 [b, n], empty, or a token outside 0..vocab_size-1.
    """
    if tokens.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"tokens are {tokens.dtype}; they must be int64 (or int32): use tokens.long()")
    if tokens.ndim != 2 or 0 in tokens.shape:
        raise ValueError(f"tokens have shape {list(tokens.shape)}; expected [batch, positions], both at least 1")
    if torch.compiler.is_compiling():  # a data-dependent check would split the compiled graph
        return
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocab_size:
        bad = low if low < 0 else high
        raise ValueError(f"token {bad} is outside this model's vocabulary: tokens must be 0..{vocab_size - 1}")


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
