import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentkit.layers import BlockConfig, count_parameters
from latentkit.models import LoopedConfig, Transformer, TransformerConfig, build


@pytest.mark.parametrize("num_positions", [0, 7])
def test_stack_equals_its_parts_put_together_by_hand(num_positions):
    model = Transformer(TransformerConfig(5, 4, 3, BlockConfig(8, 2), num_positions))
    tokens = torch.randint(5, (2, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = model.embed.token.weight[tokens]
        if num_positions:
            x = x + model.embed.position.weight[:6]
        for block in model.blocks:
            x = x + block.attention(block.norm1(x), block.bias(6))
            x = x + block.mlp(block.norm2(x))
        expected = model.norm(x) @ model.head.weight.T + model.head.bias
        torch.testing.assert_close(model(tokens), expected, rtol=0, atol=1e-6)


def test_every_layer_has_its_own_weights():
    def block_parameters(layers: int) -> int:
        model = Transformer(TransformerConfig(5, 4, layers, BlockConfig(8, 2)))
        return count_parameters(model) - count_parameters(model.embed) - count_parameters(model.head) - 8

    assert block_parameters(3) == 3 * block_parameters(1)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.integers(1, 2), st.integers(1, 4), st.booleans())
def test_any_shape_works_and_examples_do_not_mix(b, n, heads, layers, sizes, causal):
    block = BlockConfig(heads, heads, 1, causal=causal)
    model = build(TransformerConfig(sizes, sizes, layers, block))
    tokens = torch.randint(sizes, (b, n))
    logits = model(tokens)
    assert logits.shape == (b, n, sizes)
    torch.testing.assert_close(model(tokens[:1]), logits[:1], rtol=0, atol=1e-5)


def test_without_layers_there_is_no_stack():
    with pytest.raises(ValueError, match="num_layers=0"):
        TransformerConfig(2, 2, num_layers=0)


def test_build_knows_its_configs(learners_view):
    assert isinstance(build(TransformerConfig(2, 2)), Transformer)
    with pytest.raises(TypeError, match=r"BlockConfig; .*TransformerConfig, LoopedConfig"):
        build(BlockConfig())
    assert type(build(LoopedConfig(2, 2))).__name__ == "Looped"
