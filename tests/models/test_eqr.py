import pytest
import torch

from latentkit.layers import MixingConfig
from latentkit.models import TRM, EqR, EqRConfig, TRMConfig
from latentkit.models.trm import State
from latentkit.recurrence import Nested, advance, unroll
from tests.models import naive
from tests.models.naive import BLOCKS, TOKENS


def make(**fields) -> EqR:
    torch.manual_seed(0)
    return naive.randomised(EqR(EqRConfig(5, 4, BLOCKS["tokens"], **fields)))


def start() -> State:
    generator = torch.Generator().manual_seed(1)
    return State(*(torch.randn(3, 4, 8, generator=generator, dtype=torch.float64) for _ in range(2)))


def segment(model: EqR, tokens, z_H, z_L):
    """The paper's iteration: every application of the network is damped and kicked; gradient in the last H cycle."""
    config, x = model.config, naive.embedded(model, tokens)

    def applied(state, injection):
        after = (1 - config.damping) * state + config.damping * naive.stack(model.f, state + injection)
        return after + config.noise * torch.randn(after.shape, dtype=after.dtype)

    for cycle in range(config.T):
        with torch.set_grad_enabled(cycle == config.T - 1):
            for _ in range(config.n):
                z_L = applied(z_L, z_H + x)
            z_H = applied(z_H, z_L)
    return z_H, z_L, z_H @ model.head.weight.T


@pytest.mark.parametrize(
    "fields",
    [
        {"noise": 0.0},
        {"noise": 0.0, "damping": 0.6, "n": 3, "T": 2},
        {"noise": 0.3, "damping": 0.95, "T": 2, "num_layers": 1},
    ],
    ids=str,
)
def test_a_pass_equals_the_papers_forward_and_gradient(fields):
    """With noise: the same draws, in the same order, from the same seed."""
    model = make(**fields)
    x = model.encode(TOKENS)
    torch.manual_seed(5)
    state = advance(model, start(), x, passes=1, gradient_updates=model.config.n + 1)
    torch.manual_seed(5)
    z_H, z_L, logits = segment(model, TOKENS, *start())
    for mine, theirs in zip((*state, model.decode(state)), (z_H, z_L, logits), strict=True):
        naive.assert_same(mine, theirs)
    naive.assert_same(naive.gradients(model, model.decode(state)), naive.gradients(model, logits))


def test_without_damping_and_noise_it_is_trm():
    model = make(damping=1.0, noise=0.0)
    trm = TRM(TRMConfig(5, 4, BLOCKS["tokens"])).double()
    trm.load_state_dict(model.state_dict(), strict=False)
    runs = [unroll(m, TOKENS, 3, state=start()) for m in (model, trm)]
    torch.testing.assert_close(runs[0].logits, runs[1].logits, rtol=0, atol=1e-12)


def test_every_start_is_another_and_a_seed_repeats_it():
    model = EqR(EqRConfig(5, 4, MixingConfig(9, d_model=64)))
    x = model.encode(torch.zeros(50, 9, dtype=torch.long))
    torch.manual_seed(0)
    first, second = model.initial_state(x), model.initial_state(x)
    torch.manual_seed(0)
    again = model.initial_state(x)
    for a, b, c in zip(first, second, again, strict=True):
        assert torch.equal(a, c)
        assert not torch.equal(a, b)
        assert a.std().item() == pytest.approx(1, abs=0.02)
        assert a.abs().max() < 2.3
        assert not torch.equal(a[:, 0], a[:, 1])
    assert not {"y_init", "z_init"} & model.state_dict().keys()


def test_noise_is_there_at_test_too():
    model = make(noise=0.1).eval()
    runs = [unroll(model, TOKENS, 2, state=start()).logits for _ in range(2)]
    assert not torch.equal(*runs)
    quiet = make(noise=0.0).eval()
    runs = [unroll(quiet, TOKENS, 2, state=start()).logits for _ in range(2)]
    assert torch.equal(*runs)


def test_it_keeps_the_protocol():
    assert isinstance(make(), Nested)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"damping": 0.0}, "damping=0.0"),
        ({"damping": 1.1}, "damping=1.1"),
        ({"noise": -0.1}, "noise=-0.1"),
        ({"n": 0}, "n=0"),
    ],
)
def test_config_names_what_it_refuses(fields, said):
    with pytest.raises(ValueError, match=said):
        EqRConfig(5, 4, BLOCKS["tokens"], **fields)
