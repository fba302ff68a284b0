import math

import pytest
import torch

from latentkit.analysis.capacity import attention_maps, copy_bound, recovered_bits, source_mass, ssm_maps
from latentkit.layers import BlockConfig
from latentkit.models import SSM, SSMConfig, Transformer, TransformerConfig
from latentkit.tasks import Copying

TASK = Copying(4)
BATCH = TASK.sample(3, 5, torch.Generator().manual_seed(0))


def test_bits_of_those_who_know_who_guess_and_who_are_sure_and_wrong(learners_view):
    right = torch.nn.functional.one_hot(BATCH.targets.clamp(min=0), 5).double()
    assert recovered_bits(1000 * right, BATCH, 4) == pytest.approx(5 * 2)
    guess = torch.zeros_like(right)
    guess[..., 4] = -math.inf  # of the four letters
    assert recovered_bits(guess, BATCH, 4) == pytest.approx(0)
    assert recovered_bits(-1000 * right, BATCH, 4) < -1000
    with pytest.raises(ValueError, match=r"\[2, 12\], targets for \[3, 12\]"):
        recovered_bits(right[:2], BATCH, 4)


def test_bits_count_letter_by_letter():
    """Half on the right letter, the rest elsewhere: one of two bits each."""
    logits = torch.full((3, 12, 5), -math.inf)
    right = BATCH.targets.clamp(min=0)[..., None]
    logits.scatter_(-1, right, math.log(0.5)).scatter_(-1, (right + 1) % 5, math.log(0.5))
    assert recovered_bits(logits, BATCH, 4) == pytest.approx(5)


@pytest.mark.parametrize(("bits", "n", "bound"), [(0, 1, 1 / 4), (2, 1, 1), (7, 3, 1), (3, 3, 2**-3), (10**9, 3, 1)])
def test_bound(bits, n, bound):
    assert copy_bound(float(bits), n, 4) == pytest.approx(bound)


@pytest.mark.parametrize("positions", ["hard-alibi", "nope", "alibi"])
def test_attention_maps_are_what_the_model_does(positions):
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(6, 5, 2, BlockConfig.with_positions(positions, num_heads=2, d_model=8)))
    with torch.no_grad():
        maps = attention_maps(model, BATCH.tokens)
        assert maps.shape == (2, 3, 2, 12, 12)
        x = model.embed(BATCH.tokens)
        for block, weights in zip(model.blocks, maps, strict=True):
            v = block.attention.qkv(block.norm1(x))[..., 16:].unflatten(-1, (2, 4)).transpose(1, 2)
            x = x + block.attention.out((weights @ v).transpose(1, 2).flatten(2))
            x = x + block.mlp(block.norm2(x))
        torch.testing.assert_close(model.head(model.norm(x)), model(BATCH.tokens), rtol=0, atol=1e-5)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 3, 2, 12))


def test_attention_maps_refuse_rotary_positions():
    model = Transformer(TransformerConfig(6, 5, 1, BlockConfig.with_positions("rope", num_heads=2, d_model=8)))
    with pytest.raises(ValueError, match="without rotary positions"):
        attention_maps(model, BATCH.tokens)


def test_source_mass_points_at_the_letter_to_say():
    weights = torch.zeros(1, 2, 12, 12)
    for p in range(6, 11):  # "$ x1..x5 | x1..x5": the bar is position 6, the letter to say then is at 1
        weights[0, 0, p, p - 5] = 0.75
        assert BATCH.targets[0, p] == BATCH.tokens[0, p - 5]
    assert source_mass(weights, 5).tolist() == [[0.75] * 5, [0.0] * 5]


def test_ssm_maps_are_what_the_model_does():
    torch.manual_seed(0)
    model = SSM(SSMConfig(6, 5, num_layers=2, d_model=6, num_heads=3, chunk=4)).double()
    with torch.no_grad():
        maps, state = ssm_maps(model, BATCH.tokens), model.initial_state(3)
        u = model.embed(BATCH.tokens)
        for i, layer in enumerate(model.layers):
            part = layer.project(u, state.recent[:, i])
            y = (maps[i] @ part.x.transpose(1, 2)).transpose(1, 2) + layer.D[:, None] * part.x
            u = u + layer.out(layer.out_norm(y.flatten(2) * torch.nn.functional.silu(part.z)))
        torch.testing.assert_close(model.decode(u), model(BATCH.tokens), rtol=0, atol=1e-10)
