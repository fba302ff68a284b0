from dataclasses import replace

import pytest
import torch

from latentkit.layers import MixingConfig, count_parameters
from latentkit.models import TRM, TRMConfig
from latentkit.recurrence import Nested, advance, unroll
from tests.models import naive
from tests.models.naive import BLOCKS, TOKENS


def make(block="tokens", **fields) -> TRM:
    torch.manual_seed(0)
    return naive.randomised(TRM(TRMConfig(5, 4, BLOCKS[block], **fields)))


def segment(model: TRM, tokens, y, z):
    """The paper's pseudocode: `deep_recursion` around `latent_recursion`, then both heads."""
    x, net = naive.embedded(model, tokens), lambda h: naive.stack(model.f, h)

    def latent_recursion(y, z):
        for _ in range(model.config.n):
            z = net(x + y + z)
        return net(y + z), z

    with torch.no_grad():
        for _ in range(model.config.T - 1):
            y, z = latent_recursion(y, z)
    y, z = latent_recursion(y, z)
    return y, z, y @ model.head.weight.T, (y.mean(1) @ model.q_head.weight.T + model.q_head.bias)[:, 0]


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        ("tokens", {}),
        ("tokens", {"n": 3, "T": 2, "num_layers": 1}),
        ("rotary", {"n": 1, "T": 3, "positions": "none", "num_layers": 1}),
        ("grid", {"n": 3}),
    ],
    ids=str,
)
def test_two_segments_equal_the_papers_forward_and_gradient(block, fields):
    """With the gradient of the last recursion, and from the second segment on a detached state."""
    model = make(block, **fields)
    x = model.encode(TOKENS)
    state = model.initial_state(x)
    y, z = (init.expand(3, 4, 8) for init in (model.y_init, model.z_init))
    for _ in range(2):
        state = type(state)(*(part.detach() for part in state))
        state = advance(model, state, x, passes=1, gradient_updates=model.config.n + 1)
        y, z, logits, q = segment(model, TOKENS, y.detach(), z.detach())
        got = model.decode(state), model.halt_logit(state)
        for mine, theirs in zip((*state, *got), (y, z, logits, q), strict=True):
            naive.assert_same(mine, theirs)
        naive.assert_same(naive.gradients(model, *got), naive.gradients(model, logits, q))


def test_a_pass_is_its_schedule():
    model = make(n=2, T=2)
    assert model.schedule == ("z", "z", "y", "z", "z", "y")
    assert isinstance(model, Nested)
    x = model.encode(TOKENS)
    state = model.initial_state(x)
    whole = model.step(state, x)
    for module in model.schedule:
        state = model.update(state, x, module)
    for mine, theirs in zip(whole, state, strict=True):
        assert torch.equal(mine, theirs)


def test_the_answer_is_written_without_looking_at_the_puzzle():
    model = make()
    x = model.encode(TOKENS)
    state = model.initial_state(x)
    assert torch.equal(model.update(state, x, "y").y, model.update(state, 0 * x, "y").y)
    assert not torch.equal(model.update(state, x, "z").z, model.update(state, 0 * x, "z").z)


def test_states_keep_unit_scale():
    for state in unroll(make(), TOKENS, 6).states:
        for part in state:
            torch.testing.assert_close(part.pow(2).mean(-1), torch.ones(3, 4).double(), rtol=0, atol=1e-3)


def test_parameter_counts():
    """The paper's 5M (token mixing, 97 positions) and 7M (attention), and the course's 6x6 Sudoku."""
    tokens = MixingConfig(97, d_model=512, hidden=1536, token_hidden=512)
    attention = MixingConfig(97, d_model=512, hidden=1536, mixer="attention", num_heads=8, rotary=True)
    with torch.device("meta"):
        counts = [count_parameters(TRM(TRMConfig(11, 11, block, positions="none"))) for block in (tokens, attention)]
    assert counts == [5_028_353, 6_827_521]
    assert count_parameters(TRM(TRMConfig(7, 6, MixingConfig(36)))) == 80_001


def test_nothing_halts_at_first():
    torch.manual_seed(0)
    model = TRM(TRMConfig(5, 4, BLOCKS["tokens"]))
    assert (unroll(model, TOKENS, 3).halt_logits == -5).all()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"n": 0}, "n=0, T=1; .*at least 1"),
        ({"T": 0}, "T=0"),
        ({"block": replace(BLOCKS["tokens"], norm="pre")}, "norm='pre'; .*'post'"),
        ({"num_layers": 0}, "num_layers=0; .*at least 1"),
        ({"positions": 1}, "positions=1; choose 'learned' or 'none'"),
    ],
)
def test_config_names_what_it_refuses(fields, said, learners_view):
    with pytest.raises(ValueError, match=said):
        TRM(TRMConfig(**{"vocab_size": 5, "num_classes": 4, "block": BLOCKS["tokens"], **fields}))
