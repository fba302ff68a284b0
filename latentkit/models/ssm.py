"""A selective state-space model: Mamba-2, in the chunked matrix form of state-space duality (SSD).

One head of one layer, in the symbols of Dao and Gu 2024 (arXiv 2405.21060); x_t has p channels, h_t is a p x N matrix:

    h_t = a_t h_{t-1} + Delta_t x_t B_t^T          a_t = exp(Delta_t A), one number (A < 0, learned)
    y_t = h_t C_t + D x_t

It is *selective*: Delta, B and C are functions of the token. Written out,

    y_i = sum_{j <= i} (C_i . B_j) (a_{j+1} ... a_i) Delta_j x_j + D x_i

is causal linear attention with queries C, keys B, values x, and a weight that decays with distance. So the layer can
run as a recurrence, or as attention without its softmax: that is the duality. `ssd` takes the second form inside
chunks of `chunk` positions, where all is matrix products, and the first from chunk to chunk. In the whole layer

    z, [x B C], Delta = W u          [x B C] = silu(conv([x B C]))          Delta = softplus(Delta + b)
    output            = W_o norm(y * silu(z))

    b  batch    n  positions    c  chunks    q  positions of a chunk    h  heads
    p  channels of a head    N  state size

Where the paper leaves a choice, what we took:
    A, Delta   one A a head, from -1 to -16, and one starting step, from 1e-3 to 1e-1, both evenly spaced (the paper's
               code draws them in these ranges, each for itself). Ours rise together: the head with the weakest A starts
               with the smallest step, so that the decays Delta A spread over more than both ranges alone, from 0.001 to
               1.6. The middle of the paper's draws, a weak A with a large step, is missing at the start
    B, C       shared by all heads (one group)
    stability  every decay is exp of a difference of cumulative sums, clamped to at most 0 first. Quotients of
               cumulative products would be 0/0 a few hundred positions on. The sums are float64: under strong decay
               they grow large, and a difference of large float32 has few digits left
    mimetic    see `SSMLayer.mimic_attention`
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.layers import TokenEmbedding


@dataclass(frozen=True)
class SSMConfig:
    """A stack of SSM layers; each does the work of attention and feed-forward net, so that two count for one block.

    Attributes:
        vocab_size, num_classes: sizes of input and output alphabets.
        num_layers: layers l.
        d_model: width d of the residual stream; the layers work on 2 d channels.
        num_heads: heads h; must divide 2 d.
        state_size: N, numbers that a channel keeps of the past.
        conv_width: positions that the short convolution sees, its own among them; 4 in every claim.
        chunk: positions that are read as one matrix product; no result depends on it, and no claim varies it (tests and
            benchmarks do).
        init: "mamba", or "mimetic": every layer starts as linear attention.
    """

    vocab_size: int
    num_classes: int
    num_layers: int = 4
    d_model: int = 64
    num_heads: int = 4
    state_size: int = 16
    conv_width: int = 4
    chunk: int = 64
    init: Literal["mamba", "mimetic"] = "mamba"

    def __post_init__(self) -> None:
        sizes = ("num_layers", "d_model", "num_heads", "state_size", "conv_width", "chunk")
        if small := [f"{name}={getattr(self, name)}" for name in sizes if getattr(self, name) < 1]:
            raise ValueError(f"{', '.join(small)}; every size must be at least 1")
        if 2 * self.d_model % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide the 2 * {self.d_model} channels of a layer")
        if self.init not in ("mamba", "mimetic"):
            raise ValueError(f"init={self.init!r}; choose 'mamba' or 'mimetic'")

    @property
    def recurrent_size(self) -> int:
        """Numbers kept of one sequence, in all layers: the states h, and the last inputs of the convolutions."""
        inner, N = 2 * self.d_model, self.state_size
        return self.num_layers * (inner * N + (self.conv_width - 1) * (inner + 2 * N))


class SSMState(NamedTuple):
    """All that is left of the past.

    Attributes:
        h: the state of every layer.
        recent: what every layer's convolution still needs of its last inputs.
    """

    h: Float[Tensor, "b l h p N"]
    recent: Float[Tensor, "b l w k"]


class Projected(NamedTuple):
    """What a layer makes of its input: the gate z, x, B and C, Delta, log a, and the convolution's last inputs."""

    z: Float[Tensor, "b n i"]
    x: Float[Tensor, "b n h p"]
    B: Float[Tensor, "b n N"]
    C: Float[Tensor, "b n N"]
    dt: Float[Tensor, "b n h"]
    log_a: Float[Tensor, "b n h"]
    recent: Float[Tensor, "b w k"]


def ssd(
    x: Float[Tensor, "b n h p"],
    log_a: Float[Tensor, "b n h"],
    B: Float[Tensor, "b n N"],
    C: Float[Tensor, "b n N"],
    h: Float[Tensor, "b h p N"],
    chunk: int,
) -> tuple[Float[Tensor, "b n h p"], Float[Tensor, "b h p N"]]:
    """Runs h_t = a_t h_{t-1} + x_t B_t^T and reads y_t = h_t C_t: all y, and the last h.

    Args:
        x: inputs, already times Delta.
        log_a: logarithm of the decay, at most 0.
        B, C: where inputs are written to and read from.
        h: the state before the first position.
        chunk: positions of a chunk; the result is the same for any, up to rounding.
    """
    b, n, heads, p = x.shape
    q = min(chunk, n)
    if short := -n % q:  # positions that write nothing and decay nothing fill the last chunk
        x, log_a = F.pad(x, (0, 0, 0, 0, 0, short)), F.pad(log_a, (0, 0, 0, short))
        B, C = F.pad(B, (0, 0, 0, short)), F.pad(C, (0, 0, 0, short))
    x = x.view(b, -1, q, heads, p).transpose(2, 3)  # [b, c, h, q, p]
    B, C = B.view(b, -1, 1, q, B.shape[-1]), C.view(b, -1, 1, q, C.shape[-1])
    log_a = log_a.view(b, -1, q, heads).transpose(2, 3)
    wide = log_a if log_a.device.type == "mps" else log_a.double()  # mps has no float64
    total = wide.cumsum(-1)  # [b, c, h, q]: log of a_1 ... a_i in the chunk

    # Inside the chunks: attention without softmax, (C_i . B_j) a_{j+1} ... a_i.
    decay = (total[..., :, None] - total[..., None, :]).to(log_a.dtype).clamp(max=0).exp().tril()
    y = (C @ B.mT * decay) @ x

    # What each chunk adds to the state by its end; then from chunk to chunk, one after the other.
    to_end = (total[..., -1:] - total).to(log_a.dtype).clamp(max=0).exp()
    total = total.to(log_a.dtype)
    added = (x * to_end[..., None]).mT @ B
    states = []
    for add, keep in zip(added.unbind(1), total[..., -1].exp().unbind(1), strict=True):
        states.append(h)
        h = keep[..., None, None] * h + add

    # What the state before a chunk still gives to its positions.
    y = y + total.exp()[..., None] * (C @ torch.stack(states, 1).mT)
    return y.transpose(2, 3).reshape(b, -1, heads, p)[:, :n], h


class SSMLayer(nn.Module):
    """x + the layer of the module's docstring, pre-norm."""

    def __init__(self, config: SSMConfig):
        super().__init__()
        self.config = config
        d, inner, heads, size = config.d_model, 2 * config.d_model, config.num_heads, config.state_size
        self.inner = inner
        self.norm = nn.RMSNorm(d)
        self.into = nn.Linear(d, 2 * inner + 2 * size + heads, bias=False)
        bound = config.conv_width**-0.5
        self.conv = nn.Parameter(torch.empty(config.conv_width, inner + 2 * size).uniform_(-bound, bound))
        self.conv_bias = nn.Parameter(torch.zeros(inner + 2 * size))
        self.log_A = nn.Parameter(torch.linspace(1, 16, heads).log())  # of -A
        self.dt_bias = nn.Parameter(inverse_softplus(torch.logspace(-3, -1, heads)))
        self.D = nn.Parameter(torch.ones(heads))
        self.out_norm = nn.RMSNorm(inner)
        self.out = nn.Linear(inner, d, bias=False)
        if config.init == "mimetic":
            self.mimic_attention()

    @torch.no_grad()
    def mimic_attention(self) -> None:
        """Starts as linear attention that remembers everything (after Trockman et al. 2024, arXiv 2410.11135).

        Delta = 1 whatever the token is, and a = exp(Delta A) close to 1; B and C are the same map, so that equal tokens
        find each other, and the convolution leaves both alone. Where the paper has several choices (which layers, and
        how much of it), we took all layers and all of it.
        """
        size, inner = self.config.state_size, self.inner
        self.log_A.fill_(-8.0)  # a = exp(-exp(-8)) = 0.9997
        weight = self.into.weight
        weight[2 * inner : 2 * inner + size] = weight[2 * inner + size : 2 * inner + 2 * size]
        weight[2 * inner + 2 * size :] = 0
        self.dt_bias.fill_(inverse_softplus(torch.tensor(1.0)).item())
        self.conv[:, inner:] = 0
        self.conv[-1, inner:] = 1

    def project(self, u: Float[Tensor, "b n d"], recent: Float[Tensor, "b w k"]) -> Projected:
        """All that the recurrence needs, from the residual stream and the convolution's last inputs."""
        config, n = self.config, u.shape[1]
        z, xBC, dt = self.into(self.norm(u)).split([self.inner, self.conv.shape[1], config.num_heads], -1)
        xBC = torch.cat([recent, xBC], 1)
        # A sum of shifted products: on the CPU faster than a grouped conv1d, and without its transposes.
        mixed = sum(weight * xBC[:, i : i + n] for i, weight in enumerate(self.conv)) + self.conv_bias
        x, B, C = F.silu(mixed).split([self.inner, config.state_size, config.state_size], -1)
        dt = F.softplus(dt + self.dt_bias)
        return Projected(z, x.unflatten(-1, (config.num_heads, -1)), B, C, dt, -self.log_A.exp() * dt, xBC[:, n:])

    def forward(
        self, u: Float[Tensor, "b n d"], h: Float[Tensor, "b h p N"], recent: Float[Tensor, "b w k"]
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b h p N"], Float[Tensor, "b w k"]]:
        """Reads u from the state (h, recent) on; returns the output and the state after it."""
        z, x, B, C, dt, log_a, recent = self.project(u, recent)
        y, h = ssd(x * dt[..., None], log_a, B, C, h, self.config.chunk)
        y = (y + self.D[:, None] * x).flatten(2)
        return u + self.out(self.out_norm(y * F.silu(z))), h, recent


class SSM(nn.Module):
    """See the module's docstring for the equations; a `latentkit.recurrence.TimeRecurrent` model."""

    def __init__(self, config: SSMConfig):
        super().__init__()
        self.config = config
        self.embed = TokenEmbedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(SSMLayer(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.num_classes)

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n v"]:
        """Logits at every position; raises on tokens that the embedding refuses."""
        return self.decode(self.step(self.initial_state(len(tokens)), tokens)[1])

    def initial_state(self, batch: int) -> SSMState:
        """Nothing read: zeros."""
        c, zeros = self.config, self.head.weight.new_zeros
        h = zeros(batch, c.num_layers, c.num_heads, 2 * c.d_model // c.num_heads, c.state_size)
        return SSMState(h, zeros(batch, c.num_layers, c.conv_width - 1, 2 * c.d_model + 2 * c.state_size))

    def step(self, state: SSMState, block: Int[Tensor, "b n"]) -> tuple[SSMState, Float[Tensor, "b n d"]]:
        """One block of tokens, of any length: the state after it, and the residual stream at each of its positions."""
        u, hs, recents = self.embed(block), [], []
        for i, layer in enumerate(self.layers):
            u, h, recent = layer(u, state.h[:, i], state.recent[:, i])
            hs.append(h)
            recents.append(recent)
        return SSMState(torch.stack(hs, 1), torch.stack(recents, 1)), u

    def decode(self, output: Float[Tensor, "b n d"]) -> Float[Tensor, "b n v"]:
        """The output layer."""
        return self.head(self.norm(output))


def inverse_softplus(x: Tensor) -> Tensor:
    """The y with softplus(y) = x, for x > 0: log(exp(x) - 1), without overflow."""
    return x + torch.log(-torch.expm1(-x))
