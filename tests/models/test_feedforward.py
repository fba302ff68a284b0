from dataclasses import replace

import pytest
import torch

from latentkit.layers import MixingConfig, count_parameters
from latentkit.models import TRM, FeedForward, FeedForwardConfig, TRMConfig
from tests.models import naive
from tests.models.naive import BLOCKS, TOKENS


def make(block="tokens", norm="post", **fields) -> FeedForward:
    torch.manual_seed(0)
    return naive.randomised(FeedForward(FeedForwardConfig(5, 4, replace(BLOCKS[block], norm=norm), **fields)))


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        ("tokens", {}),
        ("grid", {"norm": "pre", "num_layers": 3}),
        ("rotary", {"norm": "pre", "positions": "none"}),
        ("attention", {"num_layers": 1}),
    ],
    ids=str,
)
def test_model_equals_its_equations_forward_and_gradient(block, fields):
    model = make(block, **fields)
    h = naive.stack(model.f, naive.embedded(model, TOKENS))
    expected = (naive.rms(h) if fields.get("norm") == "pre" else h) @ model.head.weight.T
    logits = model(TOKENS)
    naive.assert_same(logits, expected)
    naive.assert_same(naive.gradients(model, logits), naive.gradients(model, expected))


def test_it_is_trms_network_run_once():
    """Same weights but for the halting head; a TRM that writes its answer from the puzzle alone says the same."""
    model = make()
    trm = TRM(TRMConfig(5, 4, BLOCKS["tokens"])).double()
    assert count_parameters(trm) - count_parameters(trm.q_head) == count_parameters(model)
    trm.load_state_dict(model.state_dict(), strict=False)
    x = trm.encode(TOKENS)
    state = trm.initial_state(x)
    once = trm.update(state._replace(y=x, z=0 * x), x, "y")
    naive.assert_same(trm.decode(once), model(TOKENS))


def test_the_deep_control_has_more_parameters_than_the_loop():
    block = MixingConfig(36, norm="pre")
    assert count_parameters(FeedForward(FeedForwardConfig(7, 6, block, num_layers=12))) == 463_936


def test_another_puzzle_is_refused(learners_view):
    with pytest.raises(ValueError, match="3 cells, but this model is made for puzzles of exactly 4"):
        make()(TOKENS[:, :3])
    with pytest.raises(ValueError, match="num_layers=0"):
        make(num_layers=0)
