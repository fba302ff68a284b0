"""TransformerFAM: block sliding-window attention, and a working memory that feeds back into its own layer.

Tokens come in blocks of B. In every layer, with LN the layer's norms, SA(q; keys) its attention and FF its
feed-forward net (Hwang et al. 2024, arXiv 2404.09173, algorithms 1 and 2):

    BSWA    a_t   = SA(q_t; [K_mem | K_tau up to t]) + i_t                    o_t   = FF(LN(a_t)) + a_t
    FAM     a_t   = SA(q_t; [K_mem | K^F_{tau-1} | K_tau up to t]) + i_t      o_t   = FF(LN(a_t)) + a_t
            A_tau = SA(Q^F_{tau-1}; [K^F_{tau-1} | K_tau]) + F_{tau-1}        F_tau = FF(LN(A_tau)) + A_tau

K_mem are the keys of the m blocks before; F, the feedback activations, are f vectors a layer. Queries, keys and values
of F come from the same LN and projections as those of the tokens, so that the layers have no new weights. All that is
new is a prompt of f embeddings. With f = 0 this is BSWA.

    b  batch    t  blocks    n  positions of a block (B)    s  of the memory segment (m B)    f  feedback tokens
    l  layers   h  heads     e  width of a head             d  model width

The feedback of a layer comes from that layer's own inputs, never from a layer above. So `forward` runs layer by layer:
all blocks at once, but for the f tokens of the feedback, which have to wait for one another. `step` reads one block
through all layers, in a state of fixed size; the two agree (tests/models/test_fam.py).

Where the paper is silent, what we chose:
    F_0         the prompt goes up the stack by itself. Together with the first block it would carry that block's end to
                the block's beginning: the model would see the future
    F_0 again   key and value at the first update too, which as the paper says has no residual: A_1 = SA(...)
    positions   rotary, counted from the block. The feedback is key at the last f of the block before, as the paper
                says, and query at the last f of this block, which it will stand for

Left out: random position offsets, since rotary scores see differences only, so that a shift of everything does nothing;
and random state passing, a matter of training (`latentkit.claims.working_memory.StatePassing` is our form of it).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from latentkit.layers import TokenEmbedding, rms_norm, rotate, rotation_table

Residual = Literal["full", "normed", "none"]


@dataclass(frozen=True)
class FAMConfig:
    """A stack of layers with a sliding window and a working memory.

    Attributes:
        vocab_size, num_classes: sizes of input and output alphabets.
        num_feedback: feedback tokens f; 0 is BSWA.
        block_size: tokens B that are read together.
        memory_blocks: blocks m before this one whose keys and values are kept; the gradient goes through them.
        num_layers, d_model, num_heads, mlp_ratio: shape of the stack.
        residual: what an update of the feedback adds to: "full" is the paper's F_{tau-1}; "normed" brings it to RMS 1
            first, so that it cannot grow; "none" leaves it out at every update, as the paper does at the first.
        through_time: whether the gradient flows from block to block through the feedback; through the memory segment
            it always does.
    """

    vocab_size: int
    num_classes: int
    num_feedback: int = 4
    block_size: int = 16
    memory_blocks: int = 0
    num_layers: int = 2
    d_model: int = 64
    num_heads: int = 4
    mlp_ratio: int = 2
    residual: Residual = "full"
    through_time: bool = True

    def __post_init__(self) -> None:
        if self.residual not in get_args(Residual):
            raise ValueError(f"residual={self.residual!r}; choose one of {', '.join(get_args(Residual))}")
        if min(self.num_layers, self.block_size, self.mlp_ratio) < 1 or self.memory_blocks < 0:
            raise ValueError(
                f"num_layers={self.num_layers}, block_size={self.block_size}, mlp_ratio={self.mlp_ratio}, "
                f"memory_blocks={self.memory_blocks}: the first three must be at least 1, the last at least 0"
            )
        if not 0 <= self.num_feedback <= self.block_size:
            raise ValueError(
                f"num_feedback={self.num_feedback} with block_size={self.block_size}; the feedback takes the places of "
                "the last tokens of a block, so that it may have 0 to that many"
            )
        if self.num_heads < 1 or self.d_model % (2 * self.num_heads):
            raise ValueError(
                f"d_model={self.d_model}, num_heads={self.num_heads}: rotary positions need d_model to be a multiple "
                "of 2 num_heads, such as 64 and 4"
            )


class FAMState(NamedTuple):
    """All that is left of the past, of the same size after any number of blocks.

    Attributes:
        feedback: F_tau of every layer.
        keys, values: of the memory segment, before the rotation.
        seen: blocks read, counted up to max(m, 1) and no further.
    """

    feedback: Float[Tensor, "b l f d"]
    keys: Float[Tensor, "b l h s e"]
    values: Float[Tensor, "b l h s e"]
    seen: Int[Tensor, "b 1"]


Heads = Float[Tensor, "b h n e"]


class FAMLayer(nn.Module):
    """Pre-norm attention and feed-forward net, in the two halves between which the models of this file differ."""

    def __init__(self, config: FAMConfig):
        super().__init__()
        d, hidden = config.d_model, config.mlp_ratio * config.d_model
        self.num_heads = config.num_heads
        self.norm1, self.norm2 = nn.RMSNorm(d), nn.RMSNorm(d)
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.mlp = nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, d))

    def project(self, x: Float[Tensor, "b n d"]) -> tuple[Heads, Heads, Heads]:
        """Queries, keys and values."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v

    def finish(self, mixed: Heads, residual: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """From what attention brought to the layer's output: a = mixed + residual, then FF(LN(a)) + a."""
        a = self.out(mixed.transpose(1, 2).flatten(2)) + residual
        return self.mlp(self.norm2(a)) + a


class FAM(nn.Module):
    """See the module's docstring for the equations; a `latentkit.recurrence.TimeRecurrent` model."""

    rotation: Tensor
    asking: Tensor

    def __init__(self, config: FAMConfig):
        super().__init__()
        self.config = config
        f, d = config.num_feedback, config.d_model
        self.embed = TokenEmbedding(config.vocab_size, d)
        self.prompt = nn.Parameter(torch.randn(f, d)) if f else None  # as the embeddings: a prompt is made of tokens
        # A list of modules forgets what it holds.
        self.layers = cast(list[FAMLayer], nn.ModuleList(FAMLayer(config) for _ in range(config.num_layers)))
        self.norm = nn.RMSNorm(d)
        self.head = nn.Linear(d, config.num_classes)
        # Places count from the start of the memory segment; without one, from where the feedback's block would be.
        self.start = config.block_size * max(config.memory_blocks, 1)
        table = rotation_table(self.start + config.block_size, d // config.num_heads)
        self.register_buffer("rotation", table, persistent=False)
        # Of the queries of [feedback | block]: the feedback asks from the block's last places.
        asking = torch.cat([table[:, len(table[0]) - f :], table[:, self.start :]], 1)
        self.register_buffer("asking", asking, persistent=False)

    def forward(self, tokens: Int[Tensor, "b blocks_n"]) -> Float[Tensor, "b blocks_n v"]:
        """Logits at every position of whole sequences, layer by layer.

        Raises:
            TypeError, ValueError: tokens that cannot be embedded, or no whole number of blocks.
        """
        b, size = len(tokens), self.config.block_size
        x = self.embed(tokens)
        if tokens.shape[1] % size:
            raise ValueError(f"{tokens.shape[1]} tokens are no whole number of blocks of {size}; pad them at the front")
        x = x.unflatten(1, (-1, size)).flatten(0, 1)
        seen = torch.arange(len(x) // b, device=x.device).repeat(b)[:, None]
        mask = self._mask(seen)[:, :, self.config.num_feedback :]
        for layer, start in zip(self.layers, self.initial_feedback(), strict=True):
            q, k, v = layer.project(x)
            keys, values = (self._segments(part.unflatten(0, (b, -1))) for part in (k, v))
            q, k = self.turn(q), self.turn(k)
            feedback = self._remember(layer, start, k.unflatten(0, (b, -1)), v.unflatten(0, (b, -1)))
            x = layer.finish(self._read(q, (keys, values), _beside(feedback, (k, v)), mask), x)
        return self.decode(x).reshape(b, -1, self.config.num_classes)

    def initial_state(self, batch: int) -> FAMState:
        """F_0, and an empty memory segment."""
        config, weight = self.config, self.head.weight
        shape = (batch, config.num_layers, config.num_heads, config.memory_blocks * config.block_size)
        empty = weight.new_zeros(*shape, config.d_model // config.num_heads)
        feedback = torch.stack(self.initial_feedback()).expand(batch, -1, -1, -1)
        return FAMState(feedback, empty, empty, torch.zeros(batch, 1, dtype=torch.long, device=weight.device))

    def step(self, state: FAMState, block: Int[Tensor, "b n"]) -> tuple[FAMState, Float[Tensor, "b n d"]]:
        """One block through all layers: feedback and tokens side by side, in one attention.

        Raises:
            TypeError, ValueError: tokens that cannot be embedded, or a block of another size.
        """
        size, f = self.config.block_size, self.config.num_feedback
        x, held = self.embed(block), self.config.memory_blocks * self.config.block_size
        if block.shape[1] != size:
            raise ValueError(f"a block of {block.shape[1]} tokens; this model reads blocks of exactly {size}")
        mask, feedback, keys, values = self._mask(state.seen), [], [], []
        for i, layer in enumerate(self.layers):
            q, k, v = layer.project(torch.cat([state.feedback[:, i], x], 1))
            segment = state.keys[:, i], state.values[:, i]
            keys.append(torch.cat([segment[0], k[:, :, f:]], 2)[:, :, size:] if held else segment[0])
            values.append(torch.cat([segment[1], v[:, :, f:]], 2)[:, :, size:] if held else segment[1])
            mixed = self._read(rotate(q, self.asking), segment, (self.turn(k, -f), v), mask)
            residual = self._residual(state.feedback[:, i], state.seen[..., None] > 0)
            new, x = layer.finish(mixed, torch.cat([residual, x], 1)).split([f, size], 1)
            feedback.append(new if self.config.through_time else new.detach())
        seen = (state.seen + 1).clamp(max=max(self.config.memory_blocks, 1))
        return FAMState(torch.stack(feedback, 1), torch.stack(keys, 1), torch.stack(values, 1), seen), x

    def decode(self, output: Float[Tensor, "b n d"]) -> Float[Tensor, "b n v"]:
        """The output layer."""
        return self.head(self.norm(output))

    def initial_feedback(self) -> list[Float[Tensor, "f d"]]:
        """F_0 of every layer: the prompt on its way up the stack, each of its tokens attending to all of them."""
        f = self.config.num_feedback
        if self.prompt is None:
            return [self.head.weight.new_zeros(0, self.config.d_model)] * len(self.layers)
        x, feedback = self.prompt[None], []
        for layer in self.layers:
            feedback.append(x[0])
            q, k, v = layer.project(x)
            x = layer.finish(F.scaled_dot_product_attention(self.turn(q, -f), self.turn(k, -f), v), x)
        return feedback

    def turn(self, x: Heads, offset: int = 0) -> Heads:
        """Rotates by places that begin `offset` from the start of the block."""
        first = self.start + offset
        return rotate(x, self.rotation[:, first : first + x.shape[2]])

    def _remember(
        self,
        layer: FAMLayer,
        feedback: Float[Tensor, "f d"],
        k: Float[Tensor, "b t h n e"],
        v: Float[Tensor, "b t h n e"],
    ) -> tuple[Float[Tensor, "bt h f e"], Float[Tensor, "bt h f e"]]:
        """Keys and values of F_0 .. F_{T-1} for the tokens of the T blocks: the part that runs block after block."""
        size, f = self.config.block_size, self.config.num_feedback
        if not f:
            none = k[:, :, :, :0].flatten(0, 1)
            return none, none
        now, keys, values = feedback.expand(len(k), -1, -1), [], []
        for t in range(k.shape[1]):
            q, kf, vf = layer.project(now)
            kf = self.turn(kf, -f)
            keys.append(kf)
            values.append(vf)
            if t + 1 < k.shape[1]:
                mixed = self._write(self.turn(q, size - f), (kf, vf), (k[:, t], v[:, t]))
                later = torch.full_like(now[:, :1, :1], t > 0, dtype=torch.bool)
                now = layer.finish(mixed, self._residual(now, later))
                now = now if self.config.through_time else now.detach()
        return torch.stack(keys, 1).flatten(0, 1), torch.stack(values, 1).flatten(0, 1)

    def _residual(self, feedback: Float[Tensor, "b f d"], later: Bool[Tensor, "b 1 1"]) -> Float[Tensor, "b f d"]:
        """What an update adds to; nothing at the first."""
        if self.config.residual == "none":
            return torch.zeros_like(feedback)
        return (feedback if self.config.residual == "full" else rms_norm(feedback)) * later

    def _read(
        self,
        q: Heads,
        segment: tuple[Float[Tensor, "b h s e"], Float[Tensor, "b h s e"]],
        near: tuple[Float[Tensor, "b h fn e"], Float[Tensor, "b h fn e"]],
        mask: Bool[Tensor, "masks 1 rows sfn"],
    ) -> Heads:
        """Attention to the memory segment and to what is `near`, the feedback and the block; `mask` opens and shuts."""
        keys, values = segment
        if keys.shape[2]:
            near = _beside((self.turn(keys, -keys.shape[2]), values), near)
        return F.scaled_dot_product_attention(q, *near, attn_mask=mask)

    def _write(
        self,
        q: Float[Tensor, "b h f e"],
        feedback: tuple[Float[Tensor, "b h f e"], Float[Tensor, "b h f e"]],
        block: tuple[Heads, Heads],
    ) -> Float[Tensor, "b h f e"]:
        """What the feedback attends to: itself and the whole block. No mask: it is read by later blocks only."""
        return F.scaled_dot_product_attention(q, *_beside(feedback, block))

    def _segments(self, blocks: Float[Tensor, "b t h n e"]) -> Float[Tensor, "bt h s e"]:
        """For every block the m before it, side by side; zeros where there were none."""
        m, t = self.config.memory_blocks, blocks.shape[1]
        if not m:
            return blocks.new_zeros(*blocks.shape[:3], 0, blocks.shape[-1]).flatten(0, 1)
        padded = F.pad(blocks, (0, 0, 0, 0, 0, 0, m, 0))
        return torch.cat([padded[:, i : i + t] for i in range(m)], 3).flatten(0, 1)

    def _mask(self, seen: Int[Tensor, "b 1"]) -> Bool[Tensor, "masks 1 fn sfn"]:
        """Which of [memory segment | feedback | block] the rows [feedback | block] may see.

        The feedback sees itself and the whole block; a token the segment, the feedback, and its block up to it. Places
        of blocks that never were are shut: one mask a sequence; without a segment one for all.
        """
        n, f = self.config.block_size, self.config.num_feedback
        held = self.config.memory_blocks * n
        open_ = torch.ones(f + n, held + f + n, dtype=torch.bool, device=seen.device)
        open_[:f, :held] = False
        open_[f:] = open_[f:].tril(held + f)
        if not held:
            return open_[None, None]
        place = torch.arange(open_.shape[1], device=seen.device)
        filled = (place >= held - seen * n) | (place >= held)
        return open_ & filled[:, None, None]


Pair = tuple[Float[Tensor, "b h _ e"], Float[Tensor, "b h _ e"]]


def _beside(first: Pair, second: Pair) -> Pair:
    """Keys beside keys, values beside values."""
    keys, values = (torch.cat(parts, 2) for parts in zip(first, second, strict=True))
    return keys, values
