import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from latentkit.layers import Attention, Block, BlockConfig, PositionBias, TokenEmbedding, check_tokens, count_parameters


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Double precision, and no parameter left at a value (0, 1) that would hide a mistake."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.double().parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return module


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_attention(attention: Attention, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Attention by the book: one query, one key, one number at a time."""
    b, n, d = x.shape
    heads, width = attention.num_heads, d // attention.num_heads
    w_q, w_k, w_v = attention.qkv.weight.split(d)
    mixed = torch.zeros_like(x)
    for example in range(b):
        for head in range(heads):
            rows = slice(head * width, (head + 1) * width)
            for i in range(n):
                scores = []
                for j in range(n):
                    q, k = w_q[rows] @ x[example, i], w_k[rows] @ x[example, j]
                    extra = 0.0 if bias is None else float(bias[head, i, j])
                    scores.append(
                        sum(float(a) * float(c) for a, c in zip(q, k, strict=True)) / math.sqrt(width) + extra
                    )
                total = sum(math.exp(s) for s in scores)
                for j, score in enumerate(scores):
                    mixed[example, i, rows] += math.exp(score) / total * (w_v[rows] @ x[example, j])
    return mixed @ attention.out.weight.T


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("clip", "alibi"), [(3, True), (3, False), (0, True), (0, False)])
def test_attention_equals_a_loop_over_numbers(causal, clip, alibi):
    config = BlockConfig(d_model=6, num_heads=2, causal=causal, relative_clip=clip, alibi=alibi)
    attention, positions = randomise(Attention(config)), randomise(PositionBias(config), seed=2)
    x, bias = random(2, 5, 6), positions(5)
    if bias is not None:
        bias = bias.double()
    with torch.no_grad():
        torch.testing.assert_close(attention(x, bias), naive_attention(attention, x, bias), rtol=0, atol=1e-10)


def test_block_is_pre_norm_attention_then_pre_norm_mlp():
    block = randomise(Block(BlockConfig(d_model=6, num_heads=3, mlp_ratio=2)))
    x, bias = random(2, 4, 6), block.bias(4)

    def norm(module: nn.RMSNorm, x: torch.Tensor) -> torch.Tensor:
        return module.weight * x / torch.sqrt((x**2).mean(-1, keepdim=True) + torch.finfo(x.dtype).eps)

    with torch.no_grad():
        y = x + naive_attention(block.attention, norm(block.norm1, x), bias)
        first, _, second = block.mlp
        hidden = norm(block.norm2, y) @ first.weight.T + first.bias
        gelu = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
        torch.testing.assert_close(block(x, bias), y + gelu @ second.weight.T + second.bias, rtol=0, atol=1e-10)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.integers(1, 3), st.integers(1, 7), st.integers(1, 3), st.integers(1, 3), st.integers(0, 9), st.booleans())
def test_a_causal_block_never_looks_ahead(b, n, heads, width, clip, alibi):
    block = randomise(Block(BlockConfig(heads * width, heads, 1, relative_clip=clip, alibi=alibi)))
    x = random(b, n, heads * width).requires_grad_()
    out = block(x, block.bias(n))
    assert out.shape == x.shape
    for i in range(n):
        (gradient,) = torch.autograd.grad(out[:, i].sum(), x, retain_graph=True)
        assert (gradient[:, i + 1 :] == 0).all()
        assert (gradient[:, i].abs().sum(-1) > 0).all()
        changed = x.detach().clone()
        changed[:, i + 1 :] += 10 * random(b, n - i - 1, heads * width, seed=3)
        assert torch.equal(block(changed, block.bias(n))[:, : i + 1], out[:, : i + 1])


def test_a_bidirectional_block_looks_everywhere():
    block = randomise(Block(BlockConfig(6, 2, 1, causal=False)))
    x = random(1, 4, 6).requires_grad_()
    (gradient,) = torch.autograd.grad(block(x, block.bias(4))[:, 0].sum(), x)
    assert (gradient.abs().sum(-1) > 0).all()


def test_position_bias_by_hand():
    bias = PositionBias(BlockConfig(4, 2, relative_clip=2))
    with torch.no_grad():
        bias.relative.copy_(torch.tensor([[0.0, 1.0, 5.0], [10.0, 20.0, 30.0]]))
        bias.slope.copy_(torch.tensor([0.0, math.log(math.e - 1)])[:, None, None])  # softplus: log 2, and 1
        first, second = bias(4)
    assert first[3].tolist() == pytest.approx([5 - 3 * math.log(2), 5 - 2 * math.log(2), 1 - math.log(2), 0])
    assert second[3].tolist() == pytest.approx([30 - 3, 30 - 2, 20 - 1, 10])
    assert first[1].tolist() == pytest.approx([1 - math.log(2), 0, -math.inf, -math.inf])


def test_bidirectional_bias_is_the_same_both_ways():
    with torch.no_grad():
        bias = randomise(PositionBias(BlockConfig(4, 2, causal=False)))(6)
    assert torch.equal(bias, bias.transpose(1, 2))


def test_no_bias_where_there_is_nothing_to_add():
    assert PositionBias(BlockConfig(4, 2, causal=False, relative_clip=0, alibi=False))(3) is None


@pytest.mark.parametrize("clip", [0, 8])
def test_the_bias_is_made_where_the_model_is(clip):
    """A causal mask alone has no parameter to tell the device from."""
    assert Block(BlockConfig(4, 2, relative_clip=clip, alibi=False)).to("meta").bias(3).device.type == "meta"


def test_embedding_adds_a_vector_per_position():
    embed = randomise(TokenEmbedding(5, 3, num_positions=4))
    tokens = torch.tensor([[4, 0, 4]])
    with torch.no_grad():
        expected = torch.stack([embed.token.weight[t] + embed.position.weight[i] for i, t in enumerate([4, 0, 4])])[
            None
        ]
        assert torch.equal(embed(tokens), expected)
        embed.position = None
        assert torch.equal(embed(tokens)[0, 0], embed(tokens)[0, 2])


@pytest.mark.parametrize(
    ("tokens", "error", "said"),
    [
        (torch.tensor([[0, 1, 7]]), ValueError, r"token 7 .* 0\.\.4"),
        (torch.tensor([[0, -3, 7]]), ValueError, r"token -3 .* 0\.\.4"),
        (torch.tensor([[0, 5]]), ValueError, r"token 5 .* 0\.\.4"),
        (torch.tensor([0, 1]), ValueError, r"shape \[2\].*\[batch, positions\]"),
        (torch.zeros(2, 3, 4, dtype=torch.long), ValueError, r"shape \[2, 3, 4\].*\[batch, positions\]"),
        (torch.zeros(2, 0, dtype=torch.long), ValueError, r"shape \[2, 0\].*at least 1"),
        (torch.zeros(0, 2, dtype=torch.long), ValueError, r"shape \[0, 2\].*at least 1"),
        (torch.zeros(1, 2), TypeError, r"torch\.float32.*tokens\.long\(\)"),
        (torch.zeros(1, 2, dtype=torch.bool), TypeError, r"torch\.bool.*tokens\.long\(\)"),
        (torch.zeros(1, 4, dtype=torch.long), ValueError, "4 positions.* at most 3"),
    ],
)
def test_embedding_names_what_it_refuses(tokens, error, said, learners_view):
    with pytest.raises(error, match=said):
        TokenEmbedding(5, 2, num_positions=3)(tokens)


def test_tokens_at_the_edges_are_accepted():
    check_tokens(torch.tensor([[0, 4]]), 5)
    check_tokens(torch.tensor([[4]], dtype=torch.int32), 5)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"d_model": 10, "num_heads": 4}, "d_model=10 .*num_heads=4"),
        ({"d_model": 0}, "d_model=0"),
        ({"num_heads": 0}, "num_heads=0"),
        ({"mlp_ratio": 0}, "mlp_ratio >= 1.*0"),
        ({"relative_clip": -1}, "relative_clip >= 0.*-1"),
    ],
)
def test_block_config_names_what_it_refuses(fields, said):
    with pytest.raises(ValueError, match=said):
        BlockConfig(**fields)


def test_count_parameters_counts_what_is_trained():
    layer = nn.Linear(3, 2)
    assert count_parameters(layer) == 8
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 6
