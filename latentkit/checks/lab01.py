"""Checks of lab 01: a causal transformer from scratch, and where its depth ends.

The references are latentkit's own layers, taken apart; the checks compute what they expect in plain loops, in float64.
"""

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from latentkit.checks.harness import CheckFailed, Exercise, compare, rng, shapes
from latentkit.layers import Block, BlockConfig, PositionBias
from latentkit.models import Transformer, TransformerConfig
from latentkit.tasks import solved_depth


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(c) + bias) v over the last two axes."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def _check_attention(answer: Callable) -> None:
    for b, n, c in shapes(3, low=2, high=7):
        generator = rng(n)
        # Scores of order 1 after the division: a softmax that is neither flat nor one-hot tells the scalings apart.
        q, k, v = (torch.randn(b, n, c, generator=generator) * 1.5 for _ in range(3))
        bias = torch.randn(n, n, generator=generator).masked_fill(torch.ones(n, n).triu(1).bool(), -math.inf)
        expected = torch.zeros(b, n, c, dtype=torch.float64)
        for x in range(b):
            for i in range(n):
                scores = [
                    float(q[x, i].double() @ k[x, j].double()) / math.sqrt(c) + float(bias[i, j]) for j in range(n)
                ]
                weights = torch.softmax(torch.tensor(scores, dtype=torch.float64), 0)
                expected[x, i] = weights @ v[x].double()
        got = answer(q, k, v, bias)
        compare(expected.float(), got, name="attention", inputs={"q": q, "k": k, "v": v, "bias": bias})
        # With a further axis in front, as heads will bring.
        heads = answer(*(torch.stack([x, x.flip(0)]) for x in (q, k, v)), bias)
        stacked = torch.stack([expected, expected.flip(0)]).float()
        compare(stacked, heads, name="attention of [2, b, n, c]", inputs={"q": torch.stack([q, q])})


def position_bias(n: int, relative: Tensor, slope: Tensor) -> Tensor:
    """Latentkit's bias, with these parameters."""
    layer = PositionBias(
        BlockConfig(d_model=len(relative), num_heads=len(relative), relative_clip=relative.shape[1] - 1)
    )
    layer.load_state_dict({"relative": relative, "slope": slope[:, None, None]})
    return layer(n).detach()


def _check_position_bias(answer: Callable) -> None:
    for heads, clip, n in ((2, 3, 7), (3, 5, 4), (1, 1, 5), (2, 2, 1)):
        generator = rng(n)
        relative, slope = torch.randn(heads, clip + 1, generator=generator), torch.randn(heads, generator=generator)
        expected = torch.full((heads, n, n), -math.inf)
        for h in range(heads):
            for i in range(n):
                for j in range(i + 1):
                    penalty = math.log1p(math.exp(float(slope[h]))) * (i - j)
                    expected[h, i, j] = float(relative[h, min(i - j, clip)]) - penalty
        got = answer(n, relative, slope)
        compare(expected, got, name="position_bias", inputs={"n": n, "relative": relative, "slope": slope})


def block(x: Tensor, layer: Block, bias: Tensor) -> Tensor:
    """Latentkit's block."""
    return layer(x, bias)


def _check_block(answer: Callable) -> None:
    for heads, width, n, b in ((2, 3, 5, 4), (1, 4, 3, 2), (3, 2, 4, 1)):
        torch_state = torch.get_rng_state()
        torch.manual_seed(n)
        d = heads * width
        layer = Block(BlockConfig(d_model=d, num_heads=heads, mlp_ratio=2, relative_clip=2))
        with torch.no_grad():
            for (
                parameter
            ) in layer.parameters():  # away from the ones and zeros of an initialisation, which hide mistakes
                parameter.add_(torch.randn_like(parameter) * 0.5)
        x, bias = torch.randn(b, n, d) * 3, layer.bias(n)
        torch.set_rng_state(torch_state)
        with torch.no_grad():
            normed = _rms_norm(x, layer.norm1.weight)
            weight = layer.attention.qkv.weight
            mixed = torch.zeros_like(x)
            for h in range(heads):
                rows = slice(h * width, (h + 1) * width)
                q, k, v = (normed @ weight[i * d : (i + 1) * d][rows].T for i in range(3))
                weights = (q @ k.transpose(1, 2) / math.sqrt(width) + bias[h]).softmax(-1)
                mixed[..., rows] = weights @ v
            after = x + mixed @ layer.attention.out.weight.T
            mlp = layer.mlp.state_dict()
            hidden = F.gelu(_rms_norm(after, layer.norm2.weight) @ mlp["0.weight"].T + mlp["0.bias"])
            expected = after + hidden @ mlp["2.weight"].T + mlp["2.bias"]
            # One half at a time first: a message about the whole would not say where to look.
            quiet = copy.deepcopy(layer)
            for parameter in quiet.mlp[2].parameters():
                parameter.zero_()
            inputs = {"x": x, "heads": heads}
            compare(after, answer(x.clone(), quiet, bias), name="block whose MLP gives 0", inputs=inputs)
            quiet = copy.deepcopy(layer)
            quiet.attention.out.weight.zero_()
            hidden = F.gelu(_rms_norm(x, layer.norm2.weight) @ mlp["0.weight"].T + mlp["0.bias"])
            half = x + hidden @ mlp["2.weight"].T + mlp["2.bias"]
            compare(half, answer(x.clone(), quiet, bias), name="block whose attention gives 0", inputs=inputs)
            compare(expected, answer(x.clone(), layer, bias), name="block", inputs=inputs)


def _rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + torch.finfo(x.dtype).eps).sqrt() * gain


def stack(tokens: Tensor, model: Transformer) -> Tensor:
    """Latentkit's transformer."""
    return model(tokens)


def _check_stack(answer: Callable) -> None:
    for layers, vocabulary, classes, b, n in ((1, 4, 6, 3, 5), (2, 3, 5, 2, 7), (3, 5, 2, 1, 4)):
        torch_state = torch.get_rng_state()
        torch.manual_seed(n)
        block_config = BlockConfig(d_model=8, num_heads=2, mlp_ratio=2)
        model = Transformer(TransformerConfig(vocabulary, classes, layers, block_config)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        tokens = torch.randint(vocabulary, (b, n))
        torch.set_rng_state(torch_state)
        with torch.no_grad():
            x = torch.stack([torch.stack([model.embed.token.weight[t] for t in row]) for row in tokens.tolist()])
            for layer in model.blocks:
                x = layer(x, layer.bias(n))
            expected = _rms_norm(x, model.norm.weight) @ model.head.weight.T + model.head.bias
            compare(expected, answer(tokens, model), name="stack", inputs={"tokens": tokens, "layers": layers})


def layers_needed(depth: int) -> int:
    """The least L with 2^L >= depth."""
    return (depth - 1).bit_length()


def _check_layers_needed(answer: Callable) -> None:
    for depth in (1, 2, 3, 4, 5, 8, 9, 31, 32, 33, 1000, 2**29 + 1):
        expected, reach = 0, 1
        while reach < depth:
            expected, reach = expected + 1, 2 * reach
        compare(expected, answer(depth), name="layers_needed(depth)", inputs={"depth": depth})


def _check_solved_depth(answer: Callable) -> None:
    cases = [
        ([1.0, 1.0, 0.995, 0.4], 2, "accuracy falls after depth 2"),
        ([1.0, 0.5, 1.0, 1.0], 0, "depth 1 is not solved, so nothing beyond it counts"),
        ([0.2, 1.0, 1.0], 2, "depth 0 needs no step and is not asked for"),
        ([1.0, 1.0, 1.0], 2, "everything is solved"),
        ([1.0, 0.99, 0.98], 1, "0.99 itself counts as solved"),
        ([1.0], 0, "there is no depth to solve"),
    ]
    for values, expected, why in cases:
        got = answer(torch.tensor(values), 0.99)
        if got != expected:
            raise CheckFailed(f"solved_depth({values}, 0.99): expected {expected} ({why}), got {got}.")
    for (n,) in shapes(1, low=5, high=20):
        accuracy = 0.9 + 0.2 * torch.rand(n, generator=rng(n))
        expected = next((d - 1 for d in range(1, n) if accuracy[d] < 0.92), n - 1)
        compare(expected, answer(accuracy, 0.92), name="solved_depth", inputs={"accuracy": accuracy, "threshold": 0.92})


EXERCISES = {
    "attention": Exercise(attention, _check_attention),
    "position_bias": Exercise(position_bias, _check_position_bias),
    "block": Exercise(block, _check_block),
    "stack": Exercise(stack, _check_stack),
    "solved_depth": Exercise(solved_depth, _check_solved_depth),
    "layers_needed": Exercise(layers_needed, _check_layers_needed),
}
