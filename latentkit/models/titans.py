"""Titans: a neural memory alone, and three ways of putting it beside attention (Behrouz et al. 2025, arXiv 2501.00663).

A sequence is cut into segments of C tokens, C being the memory's chunk. In every layer, with x the layer's input after
its norm, P learned *persistent* tokens that do not depend on the input, M the memory, and SWA attention to the last C
tokens and to P:

    LMM         o = M(x)                                                   memory only
    MAC         h = M_{start of the segment}(x)    read, without writing   memory as context (equations 21 to 25)
                y = x + Attention([P | h | x])     within the segment
                o = y * M(y)                       y is written, and read again
    MAG         o = SWA([P | x]) * M(x)                                    memory as gate    (equations 26 to 28)
    MAL         m = M(x);  o = m + SWA([P | norm(h + m)])                  memory as layer   (equations 29 to 31)
    attention   o = SWA([P | x])                                           what the three are compared with

then h <- h + o and h <- h + MLP(norm(h)). a * b is sigmoid(norm(a)) norm(b), each norm with a learned scale.

Where the paper is silent or we differ:
    causality   in MAC, position i sees h_j only for j <= i, and M(y) at i has read y up to i. With the whole segment's
                h, or the memory after the whole segment, as equations 23 and 25 have them, i would see its future
    MAC's y     with x added, so that what is written as a key and what is asked are of one kind
    MAC's h     is asked for with the convolution's past empty at every segment: its past would be y's, not x's
    MAL         attention has a norm of its own, and both layers write to the residual stream
    a * b       "normalised, followed by a nonlinearity": attention opens or shuts what the memory read
    P           keys and values that every position sees; the memory does not read them (its W_0 is learned already)
    positions   rotary, counted within [P | what stands beside the segment | segment]
    first       before the first segment of SWA stands one of zeros, which attention may use as a sink
    stack       pre-norm, residual, one feed-forward net a layer
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.layers import TokenEmbedding
from latentkit.models.neural_memory import MemoryConfig, NeuralMemory, Read
from latentkit.models.segment_attention import SegmentAttention

Variant = Literal["LMM", "MAC", "MAG", "MAL", "attention"]


@dataclass(frozen=True)
class TitansConfig:
    """A stack of layers of one variant.

    Attributes:
        vocab_size, num_classes: sizes of input and output alphabets.
        variant: see the module's docstring.
        memory: of every layer; its chunk is also the segment, and the window of attention.
        num_layers: layers of the stack.
        mlp_hidden: inner width of the feed-forward nets.
        num_heads: attention heads.
        persistent: persistent tokens of every layer with attention.
    """

    vocab_size: int
    num_classes: int
    variant: Variant = "LMM"
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    num_layers: int = 1
    mlp_hidden: int = 64
    num_heads: int = 2
    persistent: int = 4

    def __post_init__(self) -> None:
        if self.variant not in get_args(Variant):
            raise ValueError(f"variant={self.variant!r}; choose one of {', '.join(map(repr, get_args(Variant)))}")
        if min(self.num_layers, self.mlp_hidden, self.num_heads) < 1 or self.persistent < 0:
            raise ValueError(
                f"num_layers={self.num_layers}, mlp_hidden={self.mlp_hidden}, num_heads={self.num_heads}, "
                f"persistent={self.persistent}: the first three must be at least 1, the last at least 0"
            )
        if self.variant != "LMM" and self.memory.d_model % (2 * self.num_heads):
            raise ValueError(
                f"d_model={self.memory.d_model}, num_heads={self.num_heads}: rotary positions need d_model to be a "
                "multiple of 2 num_heads, such as 32 and 2"
            )


class Output(NamedTuple):
    """What `step` gives at every position: the last hidden state, and what each layer's memory read."""

    hidden: Float[Tensor, "b n d"]
    memories: tuple[Read, ...]

    @property
    def surprise(self) -> Float[Tensor, "b n l"]:
        """The length of every token's gradient, in every layer.

        Raises:
            AttributeError: a model without a memory.
        """
        if not self.memories:
            raise AttributeError("attention alone has no memory, so nothing surprises it; choose another variant")
        return torch.stack([read.surprise for read in self.memories], -1)


State = tuple[Tensor, ...]
Mixed = tuple[Float[Tensor, "b n d"], tuple[Read, ...], State]


class Layer(nn.Module):
    """What the variants share: the norm before, the residual stream, the feed-forward net, the memory's state."""

    def __init__(self, config: TitansConfig):
        super().__init__()
        d = config.memory.d_model
        self.chunk = config.memory.chunk
        self.norm1, self.norm2 = nn.RMSNorm(d), nn.RMSNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, config.mlp_hidden), nn.GELU(), nn.Linear(config.mlp_hidden, d))

    def mix(self, x: Float[Tensor, "b n d"], h: Float[Tensor, "b n d"], state: State) -> Mixed:
        """o, what the memory read, and the state after; x is norm(h)."""
        raise NotImplementedError

    def initial_state(self, batch: int) -> State:
        """Nothing read."""
        raise NotImplementedError

    def no_segment(self, batch: int) -> Float[Tensor, "b c d"]:
        """What stands before the first segment of a sliding window."""
        return self.norm1.weight.new_zeros(batch, self.chunk, len(self.norm1.weight))

    def forward(self, h: Float[Tensor, "b n d"], state: State) -> Mixed:
        """Whole segments: the new hidden states, what the memory read, and the state after."""
        mixed, reads, state = self.mix(self.norm1(h), h, state)
        h = h + mixed
        return h + self.mlp(self.norm2(h)), reads, state


class MemoryOnly(Layer):
    """LMM."""

    def __init__(self, config: TitansConfig):
        super().__init__(config)
        self.memory = NeuralMemory(config.memory)

    def initial_state(self, batch: int) -> State:
        """The memory's."""
        return self.memory.initial_state(batch)

    def mix(self, x: Float[Tensor, "b n d"], h: Float[Tensor, "b n d"], state: State) -> Mixed:
        """M(x)."""
        y, read, state = self.memory(x, state)
        return y, (read,), state


def segment_attention(config: TitansConfig) -> SegmentAttention:
    """The attention of a layer; its window is the memory's chunk."""
    return SegmentAttention(config.memory.d_model, config.memory.chunk, config.num_heads, config.persistent)


class AttentionOnly(Layer):
    """A sliding window and no memory."""

    def __init__(self, config: TitansConfig):
        super().__init__(config)
        self.attention = segment_attention(config)

    def initial_state(self, batch: int) -> State:
        """The segment before."""
        return (self.no_segment(batch),)

    def mix(self, x: Float[Tensor, "b n d"], h: Float[Tensor, "b n d"], state: State) -> Mixed:
        """SWA([P | x])."""
        y, before = self.attention.slide(x, *state)
        return y, (), (before,)


class Hybrid(Layer):
    """A memory and attention; the state is the segment before, and the memory's."""

    def __init__(self, config: TitansConfig):
        super().__init__(config)
        self.memory, self.attention = NeuralMemory(config.memory), segment_attention(config)

    def initial_state(self, batch: int) -> State:
        """Nothing read."""
        return self.no_segment(batch), *self.memory.initial_state(batch)


class MemoryAsContext(Hybrid):
    """MAC."""

    def __init__(self, config: TitansConfig):
        super().__init__(config)
        self.product = Product(config.memory.d_model)

    def initial_state(self, batch: int) -> State:
        """The memory's alone: attention looks at its own segment only."""
        return self.memory.initial_state(batch)

    def mix(self, x: Float[Tensor, "b n d"], h: Float[Tensor, "b n d"], state: State) -> Mixed:
        """Segment by segment: recall, attend, write, read."""
        outputs, reads = [], []
        for segment in x.split(self.chunk, 1):
            y = segment + self.attention(segment, self.memory.recall(segment, state), self.attention.causal)
            remembered, read, state = self.memory(y, state)
            outputs.append(self.product(y, remembered))
            reads.append(read)
        return torch.cat(outputs, 1), (Read.cat(reads),), state


class MemoryAsGate(Hybrid):
    """MAG."""

    def __init__(self, config: TitansConfig):
        super().__init__(config)
        self.product = Product(config.memory.d_model)

    def mix(self, x: Float[Tensor, "b n d"], h: Float[Tensor, "b n d"], state: State) -> Mixed:
        """SWA([P | x]) * M(x)."""
        y, before = self.attention.slide(x, state[0])
        remembered, read, after = self.memory(x, state[1:])
        return self.product(y, remembered), (read,), (before, *after)


class MemoryAsLayer(Hybrid):
    """MAL."""

    def __init__(self, config: TitansConfig):
        super().__init__(config)
        self.norm_between = nn.RMSNorm(config.memory.d_model)

    def mix(self, x: Float[Tensor, "b n d"], h: Float[Tensor, "b n d"], state: State) -> Mixed:
        """The memory, and attention on what it gave."""
        remembered, read, after = self.memory(x, state[1:])
        y, before = self.attention.slide(self.norm_between(h + remembered), state[0])
        return remembered + y, (read,), (before, *after)


class Product(nn.Module):
    """a * b of the module's docstring."""

    def __init__(self, d: int):
        super().__init__()
        self.norm_a, self.norm_b = nn.RMSNorm(d), nn.RMSNorm(d)

    def forward(self, a: Float[Tensor, "b n d"], b: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """sigmoid(norm(a)) norm(b)."""
        return self.norm_a(a).sigmoid() * self.norm_b(b)


LAYERS: dict[Variant, type[Layer]] = {
    "LMM": MemoryOnly,
    "MAC": MemoryAsContext,
    "MAG": MemoryAsGate,
    "MAL": MemoryAsLayer,
    "attention": AttentionOnly,
}


class Titans(nn.Module):
    """See the module's docstring for the equations; a `latentkit.recurrence.TimeRecurrent` model.

    The state is a flat tuple of tensors, layer after layer, of one size however much was read.
    """

    def __init__(self, config: TitansConfig):
        super().__init__()
        self.config = config
        d = config.memory.d_model
        self.embed = TokenEmbedding(config.vocab_size, d)
        self.layers = nn.ModuleList(LAYERS[config.variant](config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(d)
        self.head = nn.Linear(d, config.num_classes, bias=False)

    def initial_state(self, batch: int) -> State:
        """Nothing read."""
        return tuple(part for layer in self.layers for part in cast(Layer, layer).initial_state(batch))

    def step(self, state: State, block: Int[Tensor, "b n"]) -> tuple[State, Output]:
        """Reads one block of any whole number of chunks.

        Raises:
            TypeError, ValueError: tokens that cannot be embedded, or no whole number of chunks.
        """
        h, chunk = self.embed(block), self.config.memory.chunk
        if block.shape[1] % chunk:
            raise ValueError(
                f"a block of {block.shape[1]} tokens; this model reads chunks of {chunk}, which are part of it: pass "
                f"a multiple of {chunk} tokens, or call the model on the whole sequence"
            )
        parts = len(state) // len(self.layers)
        after: list[Tensor] = []
        memories: list[Read] = []
        for i, layer in enumerate(self.layers):
            h, read, new = layer(h, state[i * parts : (i + 1) * parts])
            after += new
            memories += read
        return tuple(after), Output(h, tuple(memories))

    def decode(self, output: Output) -> Float[Tensor, "b n v"]:
        """The output layer."""
        return self.head(self.norm(output.hidden))

    def read(self, tokens: Int[Tensor, "b n"]) -> Output:
        """Whole sequences of any length: hidden states, surprises, gates. Nothing can be read after an open chunk."""
        missing = -tokens.shape[1] % self.config.memory.chunk
        _, output = self.step(self.initial_state(len(tokens)), F.pad(tokens, (0, missing)))
        return Output(output.hidden[:, : tokens.shape[1]], tuple(m.first(tokens.shape[1]) for m in output.memories))

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n v"]:
        """Logits at every position of whole sequences of any length."""
        return self.decode(self.read(tokens))
