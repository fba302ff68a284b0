"""Weights that are trained while the model reads: gradient descent with momentum and forgetting, a chunk at a time.

    S_t = eta_t S_{t-1} - theta_t g_t          D_t = (1 - alpha_t) D_{t-1} + S_t          y_t = (W_0 + D_t)(q_t)

g_t is the gradient of 1/2 |M(k_t) - v_t|^2 (Behrouz et al. 2025, arXiv 2501.00663, equations 9 to 14; what these gates
are and where they come from is in `latentkit.models.neural_memory`). M is a matrix, or an MLP W_2 silu(W_1 x).

Where the gradient is taken. With gradients="token" at M_{t-1}: the definition, in which a nonlinear memory can only be
run token by token. With "chunk" at the start of the chunk of C tokens that t lies in (equation 16), and everything
within a chunk is matrix products. So the chunk size is part of such a model, not a matter of speed.

How one chunk runs. A token's gradient in layer l is of rank one, g_j = delta_j a_j^T, with a_j the layer's input.
Unrolling the two recurrences over a chunk gives

    D_i = b_i D_0 + c_i S_0 - sum_{j<=i} G_ij g_j      S_C = p S_0 - sum_j h_j g_j

with numbers b, c, p, h and a lower-triangular G [C, C] that depend on the gates alone, so that reading a layer with x_i

    D_i x_i = b_i D_0 x_i + c_i S_0 x_i - sum_{j<=i} G_ij (a_j . x_i) delta_j

needs no weights of single tokens. Plain autograd through it is the outer gradient, second-order terms and all. A matrix
has gradients="token" in the same form: there the errors of a chunk depend on each other by a triangular system, which
for the delta rule is the "WY" form of DeltaNet (Yang et al. 2024, arXiv 2406.06484).

    b  batch    n  tokens    c  tokens of a chunk (C)    d  width of keys, values and queries
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Gates(NamedTuple):
    """What every token decides: its step, how much past surprise goes on, how much is forgotten; None for none."""

    theta: Float[Tensor, "b n"]
    eta: Float[Tensor, "b n"] | None = None
    alpha: Float[Tensor, "b n"] | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Gates":
        """The gates there are, changed."""
        return Gates(change(self.theta), *(None if gate is None else change(gate) for gate in self[1:]))


class Fast(NamedTuple):
    """The weights that change while the model reads: D and S of every layer; S is empty where there is no momentum."""

    D: tuple[Float[Tensor, "b out in"], ...]
    S: tuple[Float[Tensor, "b out in"], ...]


class Mix(NamedTuple):
    """How a chunk's gradients and its first weights add up; see the module's docstring. c, p, h: with momentum only."""

    b: Float[Tensor, "*chunks c 1"]
    G: Float[Tensor, "*chunks c c"]
    c: Float[Tensor, "*chunks c 1"] | None = None
    p: Float[Tensor, "*chunks 1 1"] | None = None
    h: Float[Tensor, "*chunks c 1"] | None = None


def decay_products(factor: Float[Tensor, "*chunks c"]) -> Float[Tensor, "*chunks c c"]:
    """Lower-triangular: entry [i, j] is the product of factor_l over j < l <= i.

    No division by cumulative products, which would be 0 / 0 where the factors are small.
    """
    ones = torch.ones(factor.shape[-1], factor.shape[-1], dtype=torch.bool, device=factor.device)
    return torch.where(ones.tril(-1), factor[..., None], 1).cumprod(-2).tril()


def mix(gates: Gates) -> Mix:
    """The coefficients of a chunk from its gates [*chunks, c]."""
    theta, eta, alpha = gates
    keep = torch.ones_like(theta) if alpha is None else 1 - alpha
    kept = decay_products(keep)
    b = keep.cumprod(-1)[..., None]
    if eta is None:
        return Mix(b, kept * theta[..., None, :])
    p = eta.cumprod(-1)[..., None]
    surprise = decay_products(eta) * theta[..., None, :]  # of S_i in terms of the gradients
    return Mix(b, kept @ surprise, kept @ p, p[..., -1:, :], surprise[..., -1, :, None])


def run_memory(
    fast: Fast,
    k: Float[Tensor, "b n d"],
    v: Float[Tensor, "b n d"],
    q: Float[Tensor, "b n d"],
    gates: Gates,
    chunk: int,
    *,
    initial: Sequence[Float[Tensor, "_ _"]] = (),
    gradients: Literal["chunk", "token"] = "chunk",
    hebbian: bool = False,
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n"], Fast]:
    """Reads whole chunks of tokens: the answers y, the surprises, and the weights after the last chunk.

    Args:
        fast: D and S before the first token.
        initial: W_0 of every layer; empty for zeros.
        gradients, hebbian: as in `MemoryConfig`.

    Raises:
        ValueError: no whole number of chunks.
    """
    if chunk < 1 or k.shape[1] % chunk:
        raise ValueError(
            f"{k.shape[1]} tokens are no whole number of chunks of {chunk}; the chunk size is part of a memory: pass a "
            f"multiple of {chunk} tokens"
        )
    apart = [x.unflatten(1, (-1, chunk)) for x in (k, v, q)]
    mixes = mix(gates.map(lambda g: g.unflatten(1, (-1, chunk))))
    steps = [[None] * apart[0].shape[1] if x is None else x.unbind(1) for x in mixes]
    answers, surprises = [], []
    for k_, v_, q_, *coefficients in zip(*(x.unbind(1) for x in apart), *steps, strict=True):
        y, surprise, fast = _chunk(fast, k_, v_, q_, Mix(*coefficients), initial, gradients, hebbian)
        answers.append(y)
        surprises.append(surprise)
    return torch.cat(answers, 1), torch.cat(surprises, 1), fast


def _chunk(
    fast: Fast,
    k: Float[Tensor, "b c d"],
    v: Float[Tensor, "b c d"],
    q: Float[Tensor, "b c d"],
    m: Mix,
    initial: Sequence[Float[Tensor, "_ _"]],
    gradients: str,
    hebbian: bool,
) -> tuple[Float[Tensor, "b c d"], Float[Tensor, "b c"], Fast]:
    """One chunk, as in the module's docstring."""
    D, S = fast
    weights = [W + D_ for W, D_ in zip(initial, D, strict=True)] if initial else D

    # Forward and backward through the memory, at the weights of the chunk's start: inputs a and errors delta.
    inputs, slopes = [k], []
    for W in weights[:-1]:
        z = inputs[-1] @ W.mT
        gate = z.sigmoid()
        inputs.append(z * gate)
        slopes.append(gate * (1 + z * (1 - gate)))
    if hebbian:
        deltas = [-v]
    elif gradients == "token":
        deltas = [_errors_token_by_token(fast, k, v, m)]
    else:
        deltas = [inputs[-1] @ weights[-1].mT - v]
    for W, slope in zip(weights[:0:-1], slopes[::-1], strict=True):
        deltas.insert(0, (deltas[0] @ W) * slope)

    # Read, layer by layer, with the weights of every token.
    x = q
    for layer, (a, delta) in enumerate(zip(inputs, deltas, strict=True)):
        z = m.b * (x @ D[layer].mT) - (m.G * (x @ a.mT)) @ delta
        if m.c is not None:
            z = z + m.c * (x @ S[layer].mT)
        if initial:
            z = z + x @ initial[layer].mT
        x = F.silu(z) if layer + 1 < len(D) else z

    # The weights after the chunk's last token.
    pairs = list(zip(inputs, deltas, strict=True))
    last = m.G[..., -1, :, None]
    after = [m.b[:, -1:] * D_ - (last * delta).mT @ a for D_, (a, delta) in zip(D, pairs, strict=True)]
    if m.c is not None and m.p is not None and m.h is not None:
        after = [D_ + m.c[:, -1:] * S_ for D_, S_ in zip(after, S, strict=True)]
        S = tuple(m.p * S_ - (m.h * delta).mT @ a for S_, (a, delta) in zip(S, pairs, strict=True))
    with torch.no_grad():
        lengths = [delta.square().sum(-1) * a.square().sum(-1) for a, delta in pairs]
        surprise = torch.stack(lengths).sum(0).sqrt()
    return x, surprise, Fast(tuple(after), S)


def _errors_token_by_token(
    fast: Fast, k: Float[Tensor, "b c d"], v: Float[Tensor, "b c d"], m: Mix
) -> Float[Tensor, "b c d"]:
    """The errors M_{i-1} k_i - v_i of a matrix: each depends on those before it, a triangular system."""
    before = lambda x, first: torch.cat([torch.full_like(x[:, :1], first), x[:, :-1]], 1)  # noqa: E731  (i - 1 for i)
    known = before(m.b, 1) * (k @ fast.D[0].mT) - v
    if m.c is not None:
        known = known + before(m.c, 0) * (k @ fast.S[0].mT)
    return torch.linalg.solve_triangular(before(m.G, 0) * (k @ k.mT), known, upper=False, unitriangular=True)
