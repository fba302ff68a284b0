import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from latentkit.layers import (
    Attention,
    Block,
    BlockConfig,
    MixingBlock,
    MixingConfig,
    MixingStack,
    PositionBias,
    PuzzleEmbedding,
    SwiGLU,
    TokenEmbedding,
    check_tokens,
    count_parameters,
    rms_norm,
    rotate,
    rotation_table,
    truncated_normal_,
)
from tests.models import naive


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


# -- the post-norm block of HRM, TRM and EqR


def test_rms_norm_by_hand():
    x = torch.tensor([[3.0, 4, 0, 0], [0, 0, 0, 0]])
    assert rms_norm(x)[0].tolist() == pytest.approx([3 / math.sqrt(6.25 + 1e-5), 4 / math.sqrt(6.25 + 1e-5), 0, 0])
    assert rms_norm(x)[1].tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(rms_norm(random(3, 5)), nn.functional.rms_norm(random(3, 5), (5,), eps=1e-5))


@pytest.mark.parametrize(
    ("dtype", "out"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)]
)
def test_rms_norm_is_taken_in_float32_at_least(dtype, out):
    assert rms_norm(torch.ones(2, 3, dtype=dtype)).dtype == out


def test_rotary_positions_turn_pairs_of_channels():
    x, table = random(1, 2, 5, 6), rotation_table(5, 6)
    for head in range(2):
        for position in range(5):
            expected = naive.turned(x[0, head, position], position)
            torch.testing.assert_close(rotate(x, table)[0, head, position], expected, rtol=0, atol=1e-6)


def test_rotary_scores_depend_on_distance_alone():
    q, k = random(6, seed=1), random(6, seed=2)
    rows = [rotate(v.expand(1, 1, 5, 6), rotation_table(5, 6).double())[0, 0] for v in (q, k)]
    scores = rows[0] @ rows[1].T
    for offset in range(-4, 5):
        diagonal = scores.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("kind", naive.BLOCKS)
def test_a_mixing_stack_equals_a_loop_over_numbers(kind, norm):
    stack = randomise(MixingStack(replace(naive.BLOCKS[kind], norm=norm), 2))
    x = random(2, 4, 8)
    with torch.no_grad():
        torch.testing.assert_close(stack(x), naive.stack(stack, x), rtol=0, atol=1e-6)


def test_a_grid_sees_its_neighbours_and_no_cell_farther():
    block = randomise(MixingBlock(MixingConfig(16, 4, 4, "grid")))
    x = random(1, 16, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(block(x)[0, 5].sum(), x)
    assert gradient[0].abs().sum(-1).nonzero().flatten().tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.sampled_from(["attention", "tokens", "grid"]))
def test_any_mixing_shape_works_and_mixes(b, side, width, mixer):
    config = MixingConfig(side**2, 2 * width, width, mixer, token_hidden=width, num_heads=2)
    stack = randomise(MixingStack(config, 1))
    x = random(b, side**2, 2 * width).requires_grad_()
    out = stack(x)
    assert out.shape == x.shape
    (gradient,) = torch.autograd.grad(out[:, 0].pow(3).sum(), x)
    assert (gradient[:, -1].abs().sum(-1) > 0).all() or (mixer == "grid" and side > 2) or width == 1


def test_a_swiglu_of_the_papers_size_has_its_three_matrices():
    assert count_parameters(SwiGLU(512, 1536).to("meta")) == 3 * 512 * 1536


@pytest.mark.parametrize("std", [0.05, 1.0])
def test_the_truncated_normal_has_its_std_after_the_cut(std):
    """With a million draws the std is known to 0.1%; torch's own function would leave 0.88 of it."""
    torch.manual_seed(0)
    draws = truncated_normal_(torch.empty(1000, 1000), std)
    assert draws.std().item() == pytest.approx(std, rel=3e-3)
    assert draws.mean().item() == pytest.approx(0, abs=4e-3 * std)
    edge = 2 * std / 0.8796256610342398
    assert 0.99 * edge < draws.max() <= edge
    assert -0.99 * edge > draws.min() >= -edge


@pytest.mark.parametrize("gain", [1.0, 0.5])
@pytest.mark.parametrize("mixer", ["attention", "tokens", "grid"])
def test_first_weights_have_std_gain_over_root_fan_in(mixer, gain):
    torch.manual_seed(0)
    config = MixingConfig(121, 96, 120, mixer, token_hidden=110, num_heads=4, init_gain=gain)
    for name, weight in MixingStack(config, 2).named_parameters():
        assert weight.std().item() == pytest.approx(gain * weight[0].numel() ** -0.5, rel=0.03), name


@pytest.mark.parametrize("positions", ["learned", "none"])
def test_an_embedded_puzzle_has_unit_variance(positions):
    torch.manual_seed(0)
    embed = PuzzleEmbedding(500, MixingConfig(400, 128), positions)
    x = embed(torch.randint(500, (4, 400)))
    assert x.std().item() == pytest.approx(1, rel=0.02)
    table = embed.embed.token.weight
    assert table.std().item() == pytest.approx(128**-0.5, rel=0.02)
    if positions == "none":
        torch.testing.assert_close(embed(torch.full((1, 400), 7))[0, 3], 128**0.5 * table[7])


@pytest.mark.parametrize("positions", ["learned", "none"])
@pytest.mark.parametrize("n", [3, 5])
def test_a_puzzle_of_another_size_is_refused(positions, n, learners_view):
    with pytest.raises(ValueError, match=f"{n} (cells|positions), but this model .* (exactly|only) "):
        PuzzleEmbedding(5, MixingConfig(4, 8), positions)(torch.zeros(1, n, dtype=torch.long))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_positions": 0}, "num_positions=0; every size .* at least 1"),
        ({"hidden": 0, "token_hidden": -1}, "hidden=0, token_hidden=-1"),
        ({"mixer": "conv"}, "mixer='conv'; choose 'attention', 'tokens' or 'grid'"),
        ({"norm": "none"}, "norm='none'; choose 'post' or 'pre'"),
        ({"mixer": "grid", "num_positions": 48}, "num_positions=48 is no square grid"),
        ({"mixer": "attention", "num_heads": 3}, "d_model=64 is not a multiple of num_heads=3"),
        ({"rotary": True}, "rotary=True with mixer='tokens'"),
        ({"rotary": True, "mixer": "attention", "num_heads": 64}, "1 channels a head"),
        ({"init_gain": 0.0}, "init_gain=0.0; it must be above 0"),
    ],
)
def test_mixing_config_names_what_it_refuses(fields, said, learners_view):
    with pytest.raises(ValueError, match=said):
        MixingConfig(**{"num_positions": 49, **fields})


def test_a_stack_needs_a_layer():
    with pytest.raises(ValueError, match="num_layers=0; a stack needs at least 1 layer"):
        MixingStack(MixingConfig(4), 0)


def test_positions_are_learned_or_not(learners_view):
    with pytest.raises(ValueError, match="positions='rope'; choose 'learned' or 'none'"):
        PuzzleEmbedding(5, MixingConfig(4), "rope")


def test_count_parameters_counts_what_is_trained():
    layer = nn.Linear(3, 2)
    assert count_parameters(layer) == 8
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 6


# -- positions by name


def test_the_four_kinds_of_positions(learners_view):
    kinds = {
        kind: BlockConfig.with_positions(kind, num_heads=4, d_model=16)
        for kind in ("nope", "rope", "alibi", "hard-alibi")
    }
    assert all(config.relative_clip == 0 and config.causal for config in kinds.values())
    switched_on = {kind: (config.alibi, config.rotary, config.window_heads) for kind, config in kinds.items()}
    assert switched_on == {
        "nope": (False, False, 0),
        "rope": (False, True, 0),
        "alibi": (True, False, 0),
        "hard-alibi": (False, False, 2),
    }
    added = {
        kind: count_parameters(Block(config)) - count_parameters(Block(kinds["nope"])) for kind, config in kinds.items()
    }
    assert added == {"nope": 0, "rope": 0, "alibi": 4, "hard-alibi": 0}
    with pytest.raises(ValueError, match="positions='xpos'; choose one of nope, rope, alibi, hard-alibi"):
        BlockConfig.with_positions("xpos")


def test_hard_alibi_windows_by_hand():
    bias = PositionBias(BlockConfig.with_positions("hard-alibi", num_heads=6, d_model=6))(5)
    for head in range(6):
        for i in range(5):
            seen = [j for j in range(5) if bias[head, i, j] == 0]
            window = head + 1 if head < 3 else 5
            assert seen == list(range(max(0, i - window + 1), i + 1))
            assert all(bias[head, i, j] == -math.inf for j in range(5) if j not in seen)


def test_rotary_positions_by_hand():
    """Scores are those of vectors turned, pair by pair, by angles that grow with the position."""
    block = randomise(Block(BlockConfig.with_positions("rope", num_heads=1, d_model=4, mlp_ratio=1)))
    x = random(1, 5, 4)
    with torch.no_grad():
        inner = block.norm1(x)
        q, k, v = block.attention.qkv(inner)[0].chunk(3, -1)

        def turned(vector, position):
            pairs = [torch.complex(vector[i], vector[i + 2]) for i in range(2)]
            turns = [
                torch.polar(
                    torch.ones((), dtype=torch.float64), torch.tensor(position / 10000 ** (i / 2), dtype=torch.float64)
                )
                for i in range(2)
            ]
            return [p * t for p, t in zip(pairs, turns, strict=True)]

        mixed = torch.zeros(5, 4, dtype=torch.float64)
        for i in range(5):
            scores = []
            for j in range(i + 1):
                a, b = turned(q[i], i), turned(k[j], j)
                scores.append(sum((m * n.conj()).real for m, n in zip(a, b, strict=True)) / 2)
            mixed[i] = torch.stack(scores).softmax(0) @ v[: i + 1]
        x1 = x + block.attention.out(mixed[None])
        expected = x1 + block.mlp(block.norm2(x1))
        torch.testing.assert_close(block(x, block.bias(5)), expected, rtol=0, atol=1e-6)


def test_a_transformer_makes_its_rotation_once(monkeypatch):
    """And it is the one that every block would make for itself."""
    from latentkit import layers
    from latentkit.models import Transformer, TransformerConfig

    block = BlockConfig.with_positions("rope", num_heads=2, d_model=8)
    model, tokens = randomise(Transformer(TransformerConfig(6, 5, 3, block))), torch.arange(6)[None]
    with torch.no_grad():
        x = model.embed(tokens)
        for each in model.blocks:
            x = each(x, each.bias(6))
        expected = model.head(model.norm(x))
        made, table = [], layers.rotation_table
        monkeypatch.setattr(layers, "rotation_table", lambda n, width: made.append(n) or table(n, width))
        assert torch.equal(model(tokens), expected)
    assert made == [6]
    assert Block(BlockConfig.with_positions("nope")).rotation(6) is None


def test_positions_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="rotary=True with 3 channels a head"):
        BlockConfig(6, 2, rotary=True)
    with pytest.raises(ValueError, match="window_heads=3 of num_heads=2"):
        BlockConfig(6, 2, window_heads=3)
    with pytest.raises(ValueError, match="window_heads=1 of num_heads=2, causal=False"):
        BlockConfig(6, 2, causal=False, window_heads=1)


def test_what_was_added_is_not_written_where_it_is_off():
    from latentkit.training.checkpoint import config_from_json, config_to_json

    assert "rotary" not in config_to_json(BlockConfig()) and "window_heads" not in config_to_json(BlockConfig())
    for kind in ("nope", "rope", "alibi", "hard-alibi"):
        config = BlockConfig.with_positions(kind, num_heads=4)
        assert config_from_json(config_to_json(config)) == config
