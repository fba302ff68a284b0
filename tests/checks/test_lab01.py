"""Every check of lab 01 passes its reference and fails wrong answers, the classic mistakes first."""

import math

import pytest
import torch
import torch.nn.functional as F

from latentkit.checks import lab01
from latentkit.checks.harness import assert_kills


def _attention(scale, axis=-1, before=True):
    def answer(q, k, v, bias):
        scores = q @ k.transpose(-1, -2) * scale(q.shape[-1])
        return (scores + bias).softmax(axis) @ v if before else ((scores.softmax(axis) + bias.exp()) @ v)

    return answer


def _bias(clip_shift=0, sign=-1, slope_map=F.softplus, mask_past=False):
    def answer(n, relative, slope):
        i = torch.arange(n)
        distance = i[:, None] - i[None, :]
        clip = max(0, relative.shape[1] - 1 - clip_shift)
        bias = relative[:, distance.clamp(0, clip)] + sign * slope_map(slope)[:, None, None] * distance
        hidden = distance > 0 if mask_past else distance < 0
        return bias.masked_fill(hidden, -math.inf)

    return answer


def _attend(x, layer, bias):
    return layer.attention(x, bias)


def _post_norm(x, layer, bias):
    x = layer.norm1(x + _attend(x, layer, bias))
    return layer.norm2(x + layer.mlp(x))


def _no_residual(x, layer, bias):
    x = _attend(layer.norm1(x), layer, bias)
    return layer.mlp(layer.norm2(x))


def _parallel(x, layer, bias):
    return x + _attend(layer.norm1(x), layer, bias) + layer.mlp(layer.norm2(x))


def _normed_residual(x, layer, bias):
    x = layer.norm1(x)
    x = x + _attend(x, layer, bias)
    return x + layer.mlp(layer.norm2(x))


def _no_bias(x, layer, bias):
    return layer(x, torch.zeros_like(bias))


def _stack(skip_norm=False, first_block_only=False, no_mask=False, reverse=False):
    def answer(tokens, model):
        x = model.embed(tokens)
        for block in list(model.blocks)[:: -1 if reverse else 1]:
            layer = model.blocks[0] if first_block_only else block
            bias = layer.bias(tokens.shape[1])
            x = layer(x, torch.zeros_like(bias) if no_mask else bias)
        return model.head(x if skip_norm else model.norm(x))

    return answer


def _last_solved(accuracy, threshold):
    solved = (accuracy >= threshold).nonzero()
    return int(solved[-1]) if len(solved) else 0


def _count_solved(accuracy, threshold):
    return int((accuracy[1:] >= threshold).sum())


def _with_depth_zero(accuracy, threshold):
    for depth, value in enumerate(accuracy.tolist()):
        if value < threshold:
            return max(0, depth - 1)
    return len(accuracy) - 1


def _strict(accuracy, threshold):
    for depth in range(1, len(accuracy)):
        if not accuracy[depth] > threshold:
            return depth - 1
    return len(accuracy) - 1


MUTANTS = {
    "attention": {
        "no scaling": _attention(lambda c: 1.0),
        "divided by c, not by its root": _attention(lambda c: 1 / c),
        "softmax over queries": _attention(lambda c: c**-0.5, axis=-2),
        "bias after the softmax": _attention(lambda c: c**-0.5, before=False),
    },
    "position_bias": {
        "masks the past": _bias(mask_past=True),
        "rewards distance": _bias(sign=1),
        "slope without softplus": _bias(slope_map=lambda s: s),
        "clips one too early": _bias(clip_shift=1),
    },
    "block": {
        "norm after the sum": _post_norm,
        "no residual": _no_residual,
        "attention and MLP in parallel": _parallel,
        "residual of the normed": _normed_residual,
        "position bias dropped": _no_bias,
    },
    "stack": {
        "final norm forgotten": _stack(skip_norm=True),
        "one block's weights at every layer": _stack(first_block_only=True),
        "looks ahead": _stack(no_mask=True),
    },
    "solved_depth": {
        "last solved, gaps ignored": _last_solved,
        "counts solved depths": _count_solved,
        "asks for depth 0": _with_depth_zero,
        "threshold itself fails": _strict,
    },
    "layers_needed": {
        "as many as pointers": lambda depth: depth,
        "rounds down": lambda depth: int(math.log2(depth)),
        "one too many": lambda depth: depth.bit_length(),
        "natural logarithm": lambda depth: math.ceil(math.log(depth)),
    },
}


@pytest.mark.parametrize("name", lab01.EXERCISES)
def test_check_tells_right_from_wrong(name):
    assert_kills(lab01.EXERCISES[name], MUTANTS[name])
