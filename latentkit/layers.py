"""The parts that every architecture of the course is built from.

Two kinds of block: `Block`, pre-norm attention and MLP with learned distances, for sequences (labs 01 and 02); and
`MixingBlock`, which HRM, TRM, EqR and their feed-forward controls share: mix the positions of a puzzle, then the
channels, RMS norm without scale after each.

Dimension legend, here and in every model:
    b  batch      n  positions      d  model width      h  heads      v  vocabulary or classes      t  passes
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

Positions = Literal["nope", "rope", "alibi", "hard-alibi"]
_ADDED = {"added": True}  # later than what is shipped: see `latentkit.training.checkpoint.config_to_json`


@dataclass(frozen=True)
class BlockConfig:
    """One pre-norm transformer block.

    How it learns of order is the sum of what is switched on: `relative_clip`, `alibi`, `rotary`, `window_heads`. With
    none of them only the causal mask tells positions apart. `with_positions` knows the papers' choices by name.

    Attributes:
        d_model: width d of the residual stream.
        num_heads: attention heads h; must divide `d_model`.
        mlp_ratio: hidden width of the feed-forward layer, in units of d.
        causal: position i attends to positions <= i only.
        relative_clip: learned bias per head for the distances 0..clip, farther ones share the last; 0 switches it off.
            Left and right are alike: a block that is not causal cannot tell them apart by it.
        alibi: adds a linear penalty on distance, -softplus(slope) * (i - j), with a learned slope a head. It is not the
            ALiBi of Press et al. 2022: theirs fixes another slope for every head, 1/2 to 1/256 with eight of them; ours
            all start at softplus(-0.5) = 0.47. Lab 02 measures what happens without it.
        rotary: turn queries and keys by their position (RoPE, Su et al. 2021); needs an even d/h.
        window_heads: head i = 1..k of the first k sees only the last i positions, its own among them; 0 for none.
    """

    d_model: int = 64
    num_heads: int = 2
    mlp_ratio: int = 4
    causal: bool = True
    relative_clip: int = 8
    alibi: bool = True
    rotary: bool = field(default=False, metadata=_ADDED)
    window_heads: int = field(default=0, metadata=_ADDED)

    @classmethod
    def with_positions(cls, positions: Positions, *, num_heads: int = 2, **sizes: Any) -> "BlockConfig":
        """A causal block with one of the kinds of positions that Jelassi et al. 2024 compare, by their names.

            nope         none at all (Kazemnejad et al. 2023)
            rope         rotary
            alibi        a linear penalty on distance; slopes learned, from one start (see `BlockConfig`), not Press's
            hard-alibi   half of the heads see only their last 1, 2, 3, ... tokens; the other half is nope

        Raises:
            ValueError: another name.
        """
        if positions not in get_args(Positions):
            raise ValueError(f"positions={positions!r}; choose one of {', '.join(get_args(Positions))}")
        return cls(
            num_heads=num_heads,
            relative_clip=0,
            alibi=positions == "alibi",
            rotary=positions == "rope",
            window_heads=num_heads // 2 if positions == "hard-alibi" else 0,
            **sizes,
        )

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
        if self.rotary and self.d_model // self.num_heads % 2:
            raise ValueError(
                f"rotary=True with {self.d_model // self.num_heads} channels a head; it turns pairs of channels, so "
                "that d_model / num_heads must be even"
            )
        if not 0 <= self.window_heads <= self.num_heads or (self.window_heads and not self.causal):
            raise ValueError(
                f"window_heads={self.window_heads} of num_heads={self.num_heads}, causal={self.causal}; need 0 to "
                "num_heads of them, and causal=True where there are any"
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
        bias = torch.zeros(config.num_heads, n, n, device=device, dtype=self.here.dtype)
        if config.relative_clip:
            bias = bias + self.relative[:, distance.abs().clamp(max=config.relative_clip)]
        if config.alibi:
            bias = bias - F.softplus(self.slope) * distance.abs()
        if config.causal:
            bias = bias.masked_fill(distance < 0, -math.inf)
        for head in range(config.window_heads):
            bias[head] = bias[head].masked_fill(distance > head, -math.inf)
        return bias


class Attention(nn.Module):
    """Multi-head softmax attention; the position bias comes from outside, so that a loop computes it only once."""

    def __init__(self, config: "BlockConfig | MixingConfig"):
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        bias: Float[Tensor, "h n n"] | None,
        rotation: Float[Tensor, "2 n w"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Mixes positions: softmax(q k^T / sqrt(d/h) + bias) v, per head; `rotation` first turns q and k."""
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.num_heads, d // self.num_heads).permute(2, 0, 3, 1, 4)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
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
        self.rotary_width = d // config.num_heads if config.rotary else 0
        self.mlp = nn.Sequential(nn.Linear(d, config.mlp_ratio * d), nn.GELU(), nn.Linear(config.mlp_ratio * d, d))

    def rotation(self, n: int) -> Float[Tensor, "2 n w"] | None:
        """The turns of rotary positions for n positions, or None without them; the same in all blocks of one shape."""
        device = self.norm1.weight.device
        return rotation_table(n, self.rotary_width).to(device) if self.rotary_width else None

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        bias: Float[Tensor, "h n n"] | None,
        rotation: Float[Tensor, "2 n w"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """One layer; `bias` is `self.bias(n)`, `rotation` is `self.rotation(n)`, made here where it is not given."""
        rotation = self.rotation(x.shape[1]) if rotation is None else rotation
        x = x + self.attention(self.norm1(x), bias, rotation)
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


@dataclass(frozen=True)
class MixingConfig:
    """One post-norm block on the n positions of a puzzle: mix positions, then SwiGLU over channels.

    Attributes:
        num_positions: positions n. The token mixer, the grid and learned positions are made for exactly so many.
        d_model: width d.
        hidden: inner width of the SwiGLU over channels. The papers round 8/3 d up to a multiple of 256 (1536 at d=512).
        mixer: how positions meet: softmax "attention", SwiGLU over the "tokens", or a 3x3 convolution on the "grid".
        token_hidden: inner width of the token mixer.
        num_heads: attention heads h; must divide `d_model`.
        rotary: turn queries and keys by their position (RoPE, Su et al. 2021); needs an even d/h.
        norm: "post" is x = rms(x + f(x)); "pre" is x + f(rms(x)).
        init_gain: initial weights, in units of the papers' 1/sqrt(fan-in). At the labs' learning rate, thirty times the
            papers', 1 makes some seeds forget their input for good; the labs take 0.75.
    """

    num_positions: int
    d_model: int = 64
    hidden: int = 128
    mixer: Literal["attention", "tokens", "grid"] = "tokens"
    token_hidden: int = 128
    num_heads: int = 4
    rotary: bool = False
    norm: Literal["post", "pre"] = "post"
    init_gain: float = 1.0

    def __post_init__(self) -> None:
        sizes = {k: getattr(self, k) for k in ("num_positions", "d_model", "hidden", "token_hidden", "num_heads")}
        if small := [f"{name}={size}" for name, size in sizes.items() if size < 1]:
            raise ValueError(f"{', '.join(small)}; every size of a block must be at least 1")
        if not self.init_gain > 0:
            raise ValueError(f"init_gain={self.init_gain}; it must be above 0")
        if self.mixer not in ("attention", "tokens", "grid"):
            raise ValueError(f"mixer={self.mixer!r}; choose 'attention', 'tokens' or 'grid'")
        if self.norm not in ("post", "pre"):
            raise ValueError(f"norm={self.norm!r}; choose 'post' or 'pre'")
        if self.mixer == "grid" and math.isqrt(self.num_positions) ** 2 != self.num_positions:
            raise ValueError(f"num_positions={self.num_positions} is no square grid; mixer='grid' needs 49 or 81, say")
        if self.mixer == "attention" and self.d_model % self.num_heads:
            raise ValueError(f"d_model={self.d_model} is not a multiple of num_heads={self.num_heads}")
        if self.rotary and (self.mixer != "attention" or self.d_model // self.num_heads % 2):
            raise ValueError(
                f"rotary=True with mixer={self.mixer!r} and {self.d_model // self.num_heads} channels a head; "
                "it turns pairs of channels of attention's queries and keys, so it needs 'attention' and an even number"
            )


def rms_norm(x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
    """RMS norm over channels, x / sqrt(mean(x^2) + 1e-5): no learned scale; float32 at least (Zhang, Sennrich 2019)."""
    x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    # On the CPU twice as fast as F.rms_norm, forward and backward.
    return x * torch.rsqrt(torch.linalg.vecdot(x, x)[..., None] / x.shape[-1] + 1e-5)


def rotation_table(n: int, width: int) -> Float[Tensor, "2 n width"]:
    """Cosine and sine of the angles p / 10000^(2i / width) by which `rotate` turns channels i and i + width/2."""
    frequency = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angle = (torch.arange(n)[:, None] * frequency).repeat(1, 2)
    return torch.stack([angle.cos(), angle.sin()])


def rotate(x: Float[Tensor, "b h n w"], rotation: Float[Tensor, "2 n w"]) -> Float[Tensor, "b h n w"]:
    """Rotary positions (RoPE), in the form that pairs the first half of the channels with the second."""
    cos, sin = rotation.to(torch.promote_types(x.dtype, torch.float32))  # in bfloat16 the turn would not keep lengths
    first, second = x.chunk(2, -1)
    return (x * cos + torch.cat([-second, first], -1) * sin).to(x.dtype)


class SwiGLU(nn.Module):
    """down(silu(gate x) * up x) on the last axis (Shazeer 2020), without biases."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
        """The gated hidden layer. Two matrix products: on the CPU faster than a fused one and its split."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class MixingBlock(nn.Module):
    """See `MixingConfig`."""

    rotation: Tensor | None

    def __init__(self, config: MixingConfig):
        super().__init__()
        self.config = config
        d, n = config.d_model, config.num_positions
        rotation = rotation_table(n, d // config.num_heads) if config.rotary else None
        self.register_buffer("rotation", rotation, persistent=False)
        self.mixer: nn.Module
        if config.mixer == "attention":
            self.mixer = Attention(config)
        elif config.mixer == "tokens":
            self.mixer = SwiGLU(n, config.token_hidden)
        else:
            self.mixer = nn.Conv2d(d, d, kernel_size=3, padding=1, bias=False)
        self.mlp = SwiGLU(d, config.hidden)

    def mix(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Lets positions meet."""
        if self.config.mixer == "attention":
            return self.mixer(x, None, self.rotation)
        if self.config.mixer == "tokens":
            return self.mixer(x.mT).mT
        side = math.isqrt(self.config.num_positions)
        return self.mixer(x.mT.unflatten(-1, (side, side))).flatten(2).mT

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """One layer."""
        if self.config.norm == "post":
            x = rms_norm(x + self.mix(x))
            return rms_norm(x + self.mlp(x))
        x = x + self.mix(rms_norm(x))
        return x + self.mlp(rms_norm(x))


class MixingStack(nn.Sequential):
    """Mixing blocks, each with its own weights, drawn as in the papers: truncated normal, std gain / sqrt(fan-in)."""

    def __init__(self, config: MixingConfig, num_layers: int):
        if num_layers < 1:
            raise ValueError(f"num_layers={num_layers}; a stack needs at least 1 layer")
        super().__init__(*(MixingBlock(config) for _ in range(num_layers)))
        for weight in self.parameters():
            truncated_normal_(weight, std=config.init_gain * weight[0].numel() ** -0.5)


class PuzzleEmbedding(nn.Module):
    """The n cells of a puzzle to vectors of unit variance.

    x = sqrt(d) tok, or sqrt(d) (tok + pos) / sqrt(2) with learned positions; tok and pos start with std 1/sqrt(d), as
    in HRM's and TRM's code.
    """

    def __init__(self, vocab_size: int, block: MixingConfig, positions: Literal["learned", "none"]):
        super().__init__()
        if positions not in ("learned", "none"):
            raise ValueError(f"positions={positions!r}; choose 'learned' or 'none'")
        self.num_positions = block.num_positions
        learned = block.num_positions if positions == "learned" else 0
        self.embed = TokenEmbedding(vocab_size, block.d_model, learned)
        self.scale = math.sqrt(block.d_model / 2 if learned else block.d_model)
        for weight in self.parameters():
            truncated_normal_(weight, std=block.d_model**-0.5)

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The embedded puzzle.

        Raises:
            TypeError, ValueError: what `TokenEmbedding` refuses, or another number of cells than the model is made for.
        """
        x = self.scale * self.embed(tokens)
        if x.shape[1] != self.num_positions:
            raise ValueError(f"{x.shape[1]} cells, but this model is made for puzzles of exactly {self.num_positions}")
        return x


@torch.no_grad()
def truncated_normal_(tensor: Tensor, std: float) -> Tensor:
    """Fills `tensor` from a normal cut off at two of its sigmas, with exactly `std` after the cut.

    `nn.init.trunc_normal_` takes the std before the cut, which leaves 12% less.
    """
    sigma = std / 0.8796256610342398  # sqrt(1 - 4 phi(2) / (Phi(2) - Phi(-2))): what the cut leaves of a unit normal
    return nn.init.trunc_normal_(tensor, 0.0, sigma, -2 * sigma, 2 * sigma)


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
