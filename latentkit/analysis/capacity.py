"""How much a model says again of what it read, in bits; and where attention looks while it does."""

import math
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentkit.models import SSM, Transformer
from latentkit.models.ssm import SSMLayer
from latentkit.tasks import NO_TARGET, Batch


def recovered_bits(logits: Float[Tensor, "b n v"], batch: Batch, letters: int) -> float:
    """Bits of a random string that the model's probabilities recover: log2 V + log2 p(x_i), summed over its letters.

    The mean over the batch. Each p is given the right letters before it, as in training, so that the sum is log2 of
    the chance of the whole string, against that of guessing it. Someone who guesses recovers 0, a perfect copy
    n log2 V; it is negative where a model is sure of wrong letters. For a recurrent model its expectation is a lower
    bound of what the state at the bar tells of the string (mutual information).

    Args:
        logits, batch: of `latentkit.tasks.Copying`; the closing "." holds no information and is not counted.
        letters: size V of the alphabet.

    Raises:
        ValueError: logits of another batch shape.
    """
    if logits.shape[:2] != batch.targets.shape:
        raise ValueError(f"logits are for {list(logits.shape[:2])}, targets for {list(batch.targets.shape)}")
    asked = (batch.targets != NO_TARGET) & (batch.targets < letters)
    right = logits.log_softmax(-1).gather(-1, batch.targets.clamp(min=0)[..., None])[..., 0]
    bits = torch.where(asked, math.log2(letters) + right.double() / math.log(2), 0.0)
    return float(bits.sum(1).mean())


def copy_bound(state_bits: float, length: int, letters: int) -> float:
    """The largest chance of saying a random string of `length` letters without a mistake: min(1, 2^b / V^n).

    A state of b bits has at most 2^b values, each leads to one answer, and every string is equally likely (the counting
    behind the bound of Jelassi et al. 2024).
    """
    return 2.0 ** min(0.0, state_bits - length * math.log2(letters))


@torch.no_grad()
def attention_maps(model: Transformer, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "l b h n n"]:
    """Softmax attention of every layer and head: row i says where position i looks.

    Raises:
        ValueError: rotary positions, which it does not know.
    """
    if model.config.block.rotary:
        raise ValueError("attention_maps does not turn queries and keys; it is for models without rotary positions")
    x, n, maps = model.embed(tokens), tokens.shape[1], []
    for block in model.blocks:
        heads = block.attention.num_heads
        q, k, _ = block.attention.qkv(block.norm1(x)).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        scores, bias = q @ k.mT / math.sqrt(q.shape[-1]), block.bias(n)
        maps.append((scores if bias is None else scores + bias).softmax(-1))
        x = block(x, bias)
    return torch.stack(maps)


@torch.no_grad()
def ssm_maps(model: SSM, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "l b h n n"]:
    """The same for a state-space model, by its duality: (C_i . B_j) a_{j+1} ... a_i Delta_j, of either sign."""
    state, maps = model.initial_state(len(tokens)), []
    u = model.embed(tokens)
    for i, layer in enumerate(cast(list[SSMLayer], model.layers)):
        part = layer.project(u, state.recent[:, i])
        total = part.log_a.transpose(1, 2).cumsum(-1)
        decay = (total[..., :, None] - total[..., None, :]).clamp(max=0).exp().tril()
        maps.append((part.C @ part.B.mT)[:, None] * decay * part.dt.transpose(1, 2)[..., None, :])
        u = layer(u, state.h[:, i], state.recent[:, i])[0]
    return torch.stack(maps)


def source_mass(weights: Float[Tensor, "b h n n"], length: int) -> Float[Tensor, "h copied"]:
    """By head and letter of a copy: the attention on the very letter that is to be said next, mean over the batch.

    Position length + 1 + i (the bar is i = 0) of `Copying` is to say the letter that stands at position i + 1.
    """
    says = length + 1 + torch.arange(length, device=weights.device)
    return weights[:, :, says, says - length].mean(0)
