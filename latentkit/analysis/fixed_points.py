"""Where a loop comes to rest, and what that depends on.

A loop at rest is at a fixed point of its pass, h* = f(h*). Three questions about it:

    does it depend on the start?         `random_start`, `distance`     path independence (Anil et al. 2022)
    what happens inside a pass?          `layer_run`                    each layer's own state (Blayney et al. 2026)
    does it pull its neighbours in?      `growth`, `jacobian`           the derivative df/dh at h*

Where it lies, in two dimensions, is drawn by `latentkit.widgets.latent_path`.

Two guards, each for a mistake that was once made here. `layer_run` opens the pass up, and refuses to return anything
unless its states equal the model's own. `growth` refuses to stop before it has run four iterations a position.
"""

import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.layers import Block
from latentkit.models import Looped
from latentkit.recurrence import DepthRecurrent, unroll


def random_start(
    model: DepthRecurrent, tokens: Int[Tensor, "b n"], generator: torch.Generator, scale: float = 1.0
) -> Float[Tensor, "b n d"]:
    """A state like the model's initial one, with every entry drawn from N(0, scale^2).

    Raises:
        TypeError: a model whose state is more than one tensor.
    """
    like = model.initial_state(model.encode(tokens))
    if not isinstance(like, Tensor):
        raise TypeError(f"this state is a {type(like).__name__}; a random start is drawn for a state of one tensor")
    return scale * torch.randn(like.shape, generator=generator).to(like)


def distance(state: Float[Tensor, "b n d"], reference: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
    """||state - reference|| / ||reference|| at each position."""
    return (state - reference).norm(dim=-1) / reference.norm(dim=-1).clamp_min(1e-12)


class LayerRun(NamedTuple):
    """A run, opened up: what each of the core's k layers left behind and looked at in each pass t.

    `states[t, l]` is the residual stream after layer l, before the loop's norm; `attention[t, l, :, h, i, j]` is how
    much of position j head h of layer l reads at position i.
    """

    states: Float[Tensor, "t k b n d"]
    attention: Float[Tensor, "t k b h n n"]

    @property
    def directions(self) -> Float[Tensor, "t k b n d"]:
        """The states at unit length: the norms that read them see no more."""
        return F.normalize(self.states, dim=-1)

    @property
    def steps(self) -> Float[Tensor, "s k b n"]:
        """How far each layer's direction moved since the pass before; s = t - 1, the first entry is pass 2."""
        return self.directions.diff(dim=0).norm(dim=-1)

    @property
    def gaps(self) -> Float[Tensor, "t k b n"]:
        """How far each layer's direction is from that of the next in the cycle (the last layer's next: the first)."""
        return (self.directions - self.directions.roll(-1, dims=1)).norm(dim=-1)


@torch.no_grad()
def layer_run(model: Looped, tokens: Int[Tensor, "b n"], passes: int) -> LayerRun:
    """Runs a looped transformer layer by layer.

    Raises:
        RuntimeError: the states after the passes are not those of `unroll`; says at which pass and by how much.
    """
    expected = unroll(model, tokens, passes).states
    context = model.encode(tokens)
    h = model.initial_state(context)
    states, attention = [], []
    for t in range(passes):
        x = h if model.adapter is None else model.adapter(torch.cat([h, context.e], -1))
        inside, looked = [], []
        for block, bias in zip(model.core, context.biases, strict=True):
            x, weights = _open_block(block, x, bias)
            inside.append(x)
            looked.append(weights)
        h = model.loop_norm(x)
        off = (h - expected[t]).abs().max().item()
        if not off <= 1e-4 * max(1.0, expected[t].abs().max().item()):
            raise RuntimeError(f"pass {t + 1}, opened up, differs from the model's own by {off:.2g}: another model?")
        h = expected[t]  # rounding does not add up
        states.append(torch.stack(inside))
        attention.append(torch.stack(looked))
    return LayerRun(torch.stack(states), torch.stack(attention))


def _open_block(
    block: Block, x: Float[Tensor, "b n d"], bias: Float[Tensor, "h n n"] | None
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b h n n"]]:
    """`block(x, bias)` and its attention weights, which the fused kernel does not give away."""
    b, n, d = x.shape
    heads = block.attention.num_heads
    q, k, v = block.attention.qkv(block.norm1(x)).view(b, n, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-1, -2) / (d // heads) ** 0.5
    weights = (scores if bias is None else scores + bias).softmax(-1)
    x = x + block.attention.out((weights @ v).transpose(1, 2).reshape(b, n, d))
    return x + block.mlp(block.norm2(x)), weights


@torch.no_grad()
def growth(
    model: nn.Module,
    tokens: Int[Tensor, "b n"],
    state: Float[Tensor, "b n d"],
    iterations: int,
    generator: torch.Generator,
) -> Float[Tensor, "k b"]:
    """By how much each of k = `iterations` passes lengthens a small random push away from `state`.

    v <- J v / ||J v||, the power iteration on J = df/dh. Its late factors tend to the largest |eigenvalue| of J: below
    1, the fixed point pulls its neighbourhood in. The early ones do not. In a causal model J is block-triangular over
    positions, so that a push at the first position may grow for as many passes as there are positions before it dies.

    Args:
        state: where to push; a fixed point, or the factors mean little.
        iterations: at least four a position; look at the last ones only, and run more until those agree.

    Raises:
        ValueError: fewer iterations than that.
    """
    least = 4 * tokens.shape[1]
    if iterations < least:
        raise ValueError(
            f"iterations={iterations} at {tokens.shape[1]} positions; run at least {least}: a shorter power iteration "
            "shows the transient growth of a block-triangular Jacobian, not what becomes of a push"
        )
    exact: Any = copy.deepcopy(model).double()
    context, h = exact.encode(tokens), state.double()
    push = torch.randn(h.shape, generator=generator, dtype=torch.float64).to(h)
    small, factors = 1e-5 * h.norm(dim=(1, 2), keepdim=True), []
    for _ in range(iterations):
        push = push / push.norm(dim=(1, 2), keepdim=True)
        # Central differences in float64: what they neglect is of the order of small^2.
        push = (exact.step(h + small * push, context) - exact.step(h - small * push, context)) / (2 * small)
        factors.append(push.norm(dim=(1, 2)))
    return torch.stack(factors).float()


def jacobian(model: nn.Module, tokens: Int[Tensor, "1 n"], state: Float[Tensor, "1 n d"]) -> Float[Tensor, "nd nd"]:
    """The whole derivative of one pass at `state`, in float64: entry [i d + a, j d + c] is d f(h)[i, a] / d h[j, c].

    (n d)^2 numbers, so for one short input; its eigenvalues are what `growth` estimates.
    """
    exact: Any = copy.deepcopy(model).double()
    context, h = exact.encode(tokens), state.double()
    full = torch.autograd.functional.jacobian(lambda x: exact.step(x, context), h, vectorize=True)
    return full.reshape(h.numel(), h.numel()).detach()
