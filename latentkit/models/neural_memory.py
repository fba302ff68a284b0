"""Neural memory: a small network whose weights are trained while the model reads.

Of every token, three projections k, v, q; the memory M is trained on the pair k -> v, one step of gradient descent with
momentum and forgetting, and read with q (Behrouz et al. 2025, "Titans", arXiv 2501.00663, equations 8 to 15):

    l(M; k, v) = 1/2 |M(k) - v|^2                      the gradient of a token is its *surprise*
    S_t = eta_t S_{t-1} - theta_t grad l(M_{t'})       past surprise: momentum eta, step theta
    D_t = (1 - alpha_t) D_{t-1} + S_t                  forgetting alpha, towards the learned initial weights W_0
    M_t = W_0 + D_t,    y_t = M_t(q_t)                 theta, eta, alpha in (0, 1), computed from every token

M is a matrix (depth 1) or an MLP, M(x) = W_2 silu(W_1 x) (depth 2). Its special cases have names:

    rule           theta      eta    alpha   gradients
    "titans"       learned    yes    yes     either
    "gated delta"  learned    -      yes     "token"   near Gated DeltaNet (Yang et al. 2025), see below
    "delta"        learned    -      -       "token"   DeltaNet (Schlag et al. 2021, Yang et al. 2024)
    "hebbian"      1          -      -       either    M_t = M_{t-1} + v k^T: linear attention (Katharopoulos 2020)

t' is t - 1 (gradients="token") or the start of t's chunk ("chunk"); both, and how they run without a loop over tokens,
are in `latentkit.models.fast_weights`.

Where the paper is silent or we differ:
    gated delta     compares v with M_{t-1} k; Gated DeltaNet, which decays first, with (1 - alpha) M_{t-1} k. With its
                    write gate beta it is the case theta = (1 - alpha) beta, v / (1 - alpha) in the place of v
    linear att.     no gate, feature map or normaliser; its surprise, the length of what is added, is |k| |v|
    loss            1/2 of the squared error, summed over channels; the paper's factor 2 goes into theta
    read            after the write, y_t = M_t(q_t)
    forgetting      towards W_0. Towards zero, an MLP ends in W_1 = W_2 = 0, where every gradient is zero (lab 08)
    W_0             zero for a matrix, learned for an MLP
    bias of gates   theta starts near 0.05: in a chunk the steps add up to sum theta / (1 - eta), and diverge beyond 2
    q, k, v         linear, then a causal depthwise convolution, then q and k to length 1; no SiLU (the paper has one)
    gates           from v after its convolution; eta is below 0.9
    output          W_o (norm(y) * silu(W_g x)), one head
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast
from warnings import warn

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentkit.models.fast_weights import Fast, Gates, run_memory

Rule = Literal["titans", "gated delta", "delta", "hebbian"]
GATES: dict[Rule, tuple[str, ...]] = {
    "titans": ("theta", "eta", "alpha"),
    "gated delta": ("theta", "alpha"),
    "delta": ("theta",),
    "hebbian": (),
}
BIAS = {"theta": -3.0, "eta": -1.0, "alpha": -6.0}
MOST_MOMENTUM = 0.9


@dataclass(frozen=True)
class MemoryConfig:
    """One memory.

    Attributes:
        d_model: width d of keys, values and queries.
        rule: what a token does to the memory; see the module's docstring.
        depth: layers of the memory, 1 (a matrix) or 2 (an MLP).
        hidden: inner width of the MLP; d/2 makes its state as large as the matrix.
        chunk: tokens C of a chunk.
        gradients: taken at the "chunk"'s start, or at every "token" (matrix only).
        conv: width of the convolutions after the projections, this token included.
    """

    d_model: int = 32
    rule: Rule = "titans"
    depth: Literal[1, 2] = 1
    hidden: int = 16
    chunk: int = 16
    gradients: Literal["chunk", "token"] = "chunk"
    conv: int = 4

    def __post_init__(self) -> None:
        if min(self.d_model, self.hidden, self.chunk, self.conv) < 1:
            raise ValueError(
                f"d_model={self.d_model}, hidden={self.hidden}, chunk={self.chunk}, conv={self.conv}; "
                "all must be at least 1"
            )
        if self.rule not in GATES:
            raise ValueError(f"rule={self.rule!r}; choose one of {', '.join(map(repr, GATES))}")
        if self.depth not in (1, 2):
            raise ValueError(f"depth={self.depth}; a memory is a matrix (1) or an MLP of two layers (2)")
        if self.gradients not in ("chunk", "token"):
            raise ValueError(f"gradients={self.gradients!r}; choose 'chunk' or 'token'")
        if self.depth == 2 and (self.gradients == "token" or self.rule == "hebbian"):
            raise ValueError(
                f"depth=2 with rule={self.rule!r} and gradients={self.gradients!r}: an MLP has no Hebbian rule, and "
                "its gradients at every token have no closed form; use another rule and 'chunk', or depth=1"
            )


class Read(NamedTuple):
    """What came out at every token: the memory's answer, the length of the token's gradient, and its gates."""

    y: Float[Tensor, "b n d"]
    surprise: Float[Tensor, "b n"]
    gates: Gates

    def first(self, n: int) -> "Read":
        """Of the first n tokens."""
        return Read(self.y[:, :n], self.surprise[:, :n], self.gates.map(lambda gate: gate[:, :n]))

    @staticmethod
    def cat(reads: "Sequence[Read]") -> "Read":
        """Of several blocks in a row."""
        y, surprise, gates = zip(*reads, strict=True)
        joined = (None if gate[0] is None else torch.cat(gate, 1) for gate in zip(*gates, strict=True))
        return Read(torch.cat(y, 1), torch.cat(surprise, 1), Gates(*joined))  # type: ignore[arg-type]


class Chunked(nn.Module):
    """A module that the chunk size is part of: a mark travels with its weights, so that they are not run with another.

    Weights without a mark are taken as they are.
    """

    made_for_chunk: Tensor

    def mark(self, size: int) -> None:
        """The chunk these weights are for; 0 where its size does not matter."""
        self.register_buffer("made_for_chunk", torch.tensor(size))

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        """Loads; warns about weights that were trained with chunks of another size."""
        name = prefix + "made_for_chunk"
        found, here = state_dict.get(name, self.made_for_chunk), self.made_for_chunk
        if int(found) != int(here):
            warn(
                f"these weights were trained with {_chunks(int(found))}, this memory runs with {_chunks(int(here))}. "
                "The chunk size is part of the model: set it to the same in its MemoryConfig",
                stacklevel=2,
            )
        super()._load_from_state_dict({**state_dict, name: here}, prefix, *args, **kwargs)


class NeuralMemory(Chunked):
    """Projections, gates and a memory; see the module's docstring.

    The state is a flat tuple of tensors, of one size however much was read: the last inputs of the convolutions, then
    D and S of every layer.
    """

    def __init__(self, config: MemoryConfig):
        super().__init__()
        self.config = config
        d, hidden, gates = config.d_model, config.hidden, GATES[config.rule]
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.conv = nn.Conv1d(3 * d, 3 * d, config.conv, groups=3 * d)
        if gates:
            self.gates = nn.Linear(d, len(gates))
            with torch.no_grad():
                self.gates.weight.mul_(0.1)
                self.gates.bias.copy_(torch.tensor([BIAS[gate] for gate in gates]))
        self.initial = nn.ParameterList()
        if config.depth == 2:
            self.initial.append(nn.Parameter(torch.randn(hidden, d) * 2 * d**-0.5))
            self.initial.append(nn.Parameter(torch.randn(d, hidden) * 0.02))
        self.norm, self.gate, self.out = nn.RMSNorm(d), nn.Linear(d, d), nn.Linear(d, d, bias=False)
        self.mark(config.chunk if config.gradients == "chunk" else 0)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """[out, in] of every layer of the memory."""
        d, hidden = self.config.d_model, self.config.hidden
        return [(d, d)] if self.config.depth == 1 else [(hidden, d), (d, hidden)]

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """D = S = 0, and nothing read."""
        zeros = self.qkv.weight.new_zeros
        copies = 2 if "eta" in GATES[self.config.rule] else 1
        weights = (zeros(batch, *shape) for _ in range(copies) for shape in self.shapes)
        return zeros(batch, self.config.conv - 1, 3 * self.config.d_model), *weights

    def forward(
        self, x: Float[Tensor, "b n d"], state: tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, "b n d"], Read, tuple[Tensor, ...]]:
        """Writes and reads whole chunks: the layer's output, what was read, and the state after.

        Raises:
            ValueError: no whole number of chunks.
        """
        config, depth = self.config, len(self.shapes)
        tail, *weights = state
        q, k, v, tail = self._project(x, tail)
        gates = self._gates(v)
        y, surprise, fast = run_memory(
            Fast(tuple(weights[:depth]), tuple(weights[depth:])),
            k,
            v,
            q,
            gates,
            config.chunk,
            initial=tuple(self.initial),
            gradients=config.gradients,
            hebbian=config.rule == "hebbian",
        )
        return self._finish(y, x), Read(y, surprise, gates), (tail, *fast.D, *fast.S)

    def recall(self, x: Float[Tensor, "b n d"], state: tuple[Tensor, ...]) -> Float[Tensor, "b n d"]:
        """Reads with the weights as they are, and writes nothing.

        The convolutions begin with zeros: the state holds their last inputs from what was written, which x, in MAC,
        does not continue.
        """
        _, *weights = state
        y, *_ = self._project(x, torch.zeros_like(state[0]))
        for layer, D in enumerate(weights[: len(self.shapes)]):
            y = y if layer == 0 else F.silu(y)
            y = y @ (self.initial[layer] + D if self.initial else D).mT
        return self._finish(y, x)

    def _project(self, x: Float[Tensor, "b n d"], tail: Float[Tensor, "b w e"]) -> tuple[Tensor, ...]:
        """q, k, v [b n d], and the inputs that the next block's convolutions begin with."""
        together, n = torch.cat([tail, self.qkv(x)], 1), x.shape[1]
        # The convolution as shifted sums: on the CPU the backward of torch's depthwise one is ten times as slow.
        first, *taps = self.conv.weight[:, 0].unbind(-1)
        mixed = together[:, :n] * first + cast(Tensor, self.conv.bias)
        for i, tap in enumerate(taps, start=1):
            mixed = mixed + together[:, i : i + n] * tap
        q, k, v = mixed.chunk(3, -1)
        after = together[:, together.shape[1] - tail.shape[1] :].clone()  # a view would keep the whole block alive
        return F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, after

    def _gates(self, v: Float[Tensor, "b n d"]) -> Gates:
        names = GATES[self.config.rule]
        if not names:
            return Gates(v.new_ones(v.shape[:2]))
        found = dict(zip(names, self.gates(v).sigmoid().unbind(-1), strict=True))
        if "eta" in found:
            found["eta"] = MOST_MOMENTUM * found["eta"]
        return Gates(**found)

    def _finish(self, y: Float[Tensor, "b n d"], x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.out(self.norm(y) * F.silu(self.gate(x)))


def _chunks(size: int) -> str:
    return f"chunks of {size} tokens" if size else "the gradient of every token"
