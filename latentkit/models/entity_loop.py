"""A looped transformer whose answer, at every position, is an entity; it may re-read that answer between two passes.

    h_0     = sqrt(d) E[x] where the token x names an entity, else 0
    e       = sqrt(d) R[x] where it names a relation, else 0
    u       = read(h_{t-1})
    h_t     = norm(Block_s(W_s [u; e]))             t = 1..T,  s = min(t, sets): which set of weights serves the pass
    logits  = E norm(h_T)                           tied to the entities' embeddings

    read(h) = h                                     a plain loop
    read(h) = sqrt(d) softmax(E norm(h))^T E        re-reading: the state comes back as a *soft entity*

The plain loop with one set of weights is the looped transformer of `latentkit.models.looped` with its input split in
two: what changes from pass to pass begins in h_0, what stays is injected. With as many sets as passes it is a stack of
unshared layers.

Re-reading replaces the state by a mixture of embeddings of whole entities, so that the next pass finds the answer of
this one in the form in which it would have found an entity of the input. A state of that kind in a loop is in Fu et al.
2026 (DiscoLoop, arXiv 2607.00341), who carry it *beside* the continuous state; continuous mixtures of token embeddings
as thoughts are in Zhang et al. 2025 (Soft thinking, arXiv 2505.15778), between tokens rather than passes.

Where the papers are silent or differ, what we chose:
    channel     the soft entity alone: nothing else passes from one pass to the next
    positions   re-read at all positions alike; one that knows nothing yet soon holds somebody all the same
    h_0         is re-read like every other state
    norm        RMSNorm after every pass, as in `looped`
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.layers import Block, BlockConfig, Blocks, TokenEmbedding


@dataclass(frozen=True)
class EntityLoopConfig:
    """One block a pass.

    Attributes:
        vocab_size, num_classes: tokens 0..num_classes-1 are the entities, which are the classes; the others relations.
        reread: between passes, take the state back in as a soft entity.
        sets: sets of weights for the passes; 1 shares one over all. Passes beyond `sets` use the last.
        block: shape of every block.
    """

    vocab_size: int
    num_classes: int
    reread: bool = True
    sets: int = 1
    block: BlockConfig = BlockConfig()

    def __post_init__(self) -> None:
        if not 2 <= self.num_classes <= self.vocab_size:
            raise ValueError(
                f"num_classes={self.num_classes}, vocab_size={self.vocab_size}: every class is a token here, so need "
                "2 <= num_classes <= vocab_size"
            )
        if self.sets < 1:
            raise ValueError(f"sets={self.sets}; need at least 1 set of weights")


class Context(NamedTuple):
    """What every pass reads: the relations, and the position bias of every set's block (computed once a run)."""

    e: Float[Tensor, "b n d"]
    h0: Float[Tensor, "b n d"]
    biases: tuple[Float[Tensor, "h n n"] | None, ...]


class State(NamedTuple):
    """The state h, and which set of weights serves the next pass, counted from 0 (always 0 where there is one set)."""

    h: Float[Tensor, "b n d"]
    turn: Float[Tensor, "b n 1"]


class EntityLoop(nn.Module):
    """See the module's docstring for the equations; a `latentkit.recurrence.DepthRecurrent` model."""

    def __init__(self, config: EntityLoopConfig):
        super().__init__()
        self.config = config
        d = config.block.d_model
        self.embed = TokenEmbedding(config.vocab_size, d)
        nn.init.normal_(self.embed.token.weight, std=d**-0.5)  # so that sqrt(d) E[x] has unit scale, and logits too
        self.adapters = nn.ModuleList(nn.Linear(2 * d, d, bias=False) for _ in range(config.sets))
        self.blocks = Blocks(config.block, config.sets)
        self.loop_norms = nn.ModuleList(nn.RMSNorm(d) for _ in range(config.sets))
        self.norm = nn.RMSNorm(d)

    @property
    def entities(self) -> Float[Tensor, "v d"]:
        """The embeddings E of the entities, scaled to what a state holds: sqrt(d) E."""
        return self.embed.token.weight[: self.config.num_classes] * self.config.block.d_model**0.5

    def encode(self, tokens: Int[Tensor, "b n"]) -> Context:
        """Entities apart from relations."""
        x, n = self.embed(tokens) * self.config.block.d_model**0.5, tokens.shape[1]
        entity = (tokens < self.config.num_classes)[..., None]
        zero = torch.zeros_like(x)
        biases = tuple(block.bias(n) for block in self.blocks)
        return Context(torch.where(entity, zero, x), torch.where(entity, x, zero), biases)

    def initial_state(self, context: Context) -> State:
        """h_0: the entities of the input; at relations, nothing."""
        return State(context.h0, torch.zeros_like(context.h0[..., :1]))

    def read(self, state: State) -> Float[Tensor, "b n d"]:
        """What a pass takes in of the state before it: the soft entity, or the state as it is."""
        return self.decode(state).softmax(-1) @ self.entities if self.config.reread else state.h

    def step(self, state: State, context: Context) -> State:
        """One pass: h_{t-1} to h_t."""
        s = int(state.turn[0, 0, 0]) if self.config.sets > 1 else 0
        block: Block = self.blocks[s]  # type: ignore[assignment]
        x = self.adapters[s](torch.cat([self.read(state), context.e], -1))
        h = self.loop_norms[s](block(x, context.biases[s]))
        return State(h, (state.turn + 1).clamp(max=self.config.sets - 1))

    def decode(self, state: State) -> Float[Tensor, "b n v"]:
        """How well the state agrees with each entity's embedding."""
        return self.norm(state.h) @ self.embed.token.weight[: self.config.num_classes].T
