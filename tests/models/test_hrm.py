from dataclasses import replace

import pytest
import torch

from latentkit.layers import MixingConfig, count_parameters
from latentkit.models import HRM, HRMConfig
from latentkit.recurrence import HaltValue, Nested, advance, unroll
from tests.models import naive
from tests.models.naive import BLOCKS, TOKENS

PAPER = HRMConfig(
    vocab_size=11,
    num_classes=11,
    block=MixingConfig(81, d_model=512, hidden=1536, mixer="attention", num_heads=8, rotary=True),
    num_layers=4,
    positions="none",
    register=True,
)


def make(block="attention", **fields) -> HRM:
    torch.manual_seed(0)
    return naive.randomised(HRM(HRMConfig(5, 4, BLOCKS[block], **fields)))


def segment(model: HRM, tokens, z_H, z_L):
    """HRM's code, one segment (the course's notes on it, section 1.3): new states, logits and q."""
    config = model.config
    f_L, f_H = (lambda z, given, net=net: naive.stack(net, z + given) for net in (model.L_module, model.H_module))
    x = naive.embedded(model, tokens)
    if config.register:
        x = torch.cat([torch.zeros_like(x[:, :1]), x], 1)
    with torch.no_grad():
        for i in range(config.H_cycles):
            for j in range(config.L_cycles):
                if not (i == config.H_cycles - 1 and j == config.L_cycles - 1):
                    z_L = f_L(z_L, z_H + x)
            if i != config.H_cycles - 1:
                z_H = f_H(z_H, z_L)
    z_L = f_L(z_L, z_H + x)
    z_H = f_H(z_H, z_L)
    cells, read = (z_H[:, 1:], z_H[:, 0]) if config.register else (z_H, z_H.mean(1))
    return z_H, z_L, cells @ model.head.weight.T, read @ model.q_head.weight.T + model.q_head.bias


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        ("attention", {}),
        ("rotary", {"positions": "none", "register": True}),
        ("tokens", {"register": True}),
        ("grid", {"H_cycles": 1, "L_cycles": 3}),
        ("tokens", {"H_cycles": 3, "L_cycles": 1, "num_layers": 1, "positions": "none"}),
    ],
    ids=str,
)
def test_two_segments_equal_the_papers_forward_and_gradient(block, fields):
    model = make(block, **fields)
    tokens = TOKENS[:2]
    x = model.encode(tokens)
    state = model.initial_state(x)
    z_H, z_L = (init.expand(2, x.shape[1], 8) for init in (model.H_init, model.L_init))
    for _ in range(2):
        state = type(state)(*(z.detach() for z in state))
        state = advance(model, state, x, passes=1, gradient_updates=2)
        z_H, z_L, logits, q = segment(model, tokens, z_H.detach(), z_L.detach())
        got = model.decode(state), model.halt_values(state)
        for mine, theirs in zip((*state, *got), (z_H, z_L, logits, q), strict=True):
            naive.assert_same(mine, theirs)
        naive.assert_same(naive.gradients(model, *got), naive.gradients(model, logits, q))


def test_the_one_step_gradient_is_not_the_full_one():
    model = make()
    x = model.encode(TOKENS)
    grads = []
    for updates in (2, 6, None):
        state = advance(model, model.initial_state(x), x, 1, gradient_updates=updates)
        grads.append(naive.gradients(model, model.decode(state)))
    naive.assert_same(grads[1], grads[2])
    assert (grads[0]["L_module.0.mlp.up.weight"] - grads[1]["L_module.0.mlp.up.weight"]).abs().max() > 1e-3


def test_a_pass_is_its_schedule():
    model = make(H_cycles=2, L_cycles=3)
    assert model.schedule == ("L", "L", "L", "H") * 2
    assert isinstance(model, Nested)
    x = model.encode(TOKENS)
    state = model.initial_state(x)
    whole = model.step(state, x)
    for module in model.schedule:
        state = model.update(state, x, module)
    for mine, theirs in zip(whole, state, strict=True):
        assert torch.equal(mine, theirs)


def test_h_never_sees_the_input():
    model = make()
    x = model.encode(TOKENS)
    state = model.initial_state(x)
    assert torch.equal(model.update(state, x, "H").z_H, model.update(state, 0 * x, "H").z_H)
    assert not torch.equal(model.update(state, x, "L").z_L, model.update(state, 0 * x, "L").z_L)


def test_the_papers_configuration_has_27275266_parameters():
    with torch.device("meta"):
        model = HRM(PAPER)
    assert count_parameters(model) == 27_275_266
    assert count_parameters(model.L_module) == count_parameters(model.H_module) == 4 * 3_407_872


def test_first_weights():
    torch.manual_seed(0)
    model = HRM(HRMConfig(11, 11, MixingConfig(9, d_model=256, hidden=300)))
    for name, weight in model.named_parameters():
        if "q_head" in name:
            continue
        fan_in = weight.shape[1] if "embed" not in name else 256  # an embedding has std 1/sqrt(d)
        assert weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.05), name
    assert (model.q_head.weight == 0).all()
    assert model.q_head.bias.tolist() == [-5, -5]


def test_the_initial_states_are_kept_and_not_trained():
    model = make()
    assert {"H_init", "L_init"} <= model.state_dict().keys()
    assert not {"H_init", "L_init"} & dict(model.named_parameters()).keys()
    assert not torch.equal(model.H_init, model.L_init)
    assert model.H_init.abs().max() < 2.3  # cut at two sigmas before the std was made exact


@pytest.mark.parametrize("register", [False, True])
def test_a_run_halts_by_q(register):
    model = make(register=register)
    plain = unroll(model, TOKENS, 4)
    assert plain.halt_logits.shape == (4, 3)
    for state, value in zip(plain.states, plain.halt_logits, strict=True):
        assert torch.equal(model.halt_values(state)[:, 0], value)
    # a threshold that some sequence passes and another never does
    threshold = plain.halt_logits.amax(0).sort().values[:2].mean().item()
    run = unroll(model, TOKENS, 4, halting=HaltValue(threshold))
    for i in range(3):
        over = (plain.halt_logits[:, i] > threshold).nonzero()
        assert (run.halted_at[i] == (over[0] + 1 if len(over) else 0)).all()
        last = -1 if not len(over) else int(over[0])
        torch.testing.assert_close(run.logits[-1, i], plain.logits[last, i])
    assert run.residuals.shape[1:] == run.halted_at.shape == (3, 4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"H_cycles": 0}, "H_cycles=0, L_cycles=2; .*at least 1"),
        ({"L_cycles": 0}, "L_cycles=0"),
        ({"register": True, "block": BLOCKS["grid"]}, "register=True with mixer='grid'"),
        ({"block": replace(BLOCKS["tokens"], norm="pre")}, "norm='pre'; .*'post'"),
        ({"num_layers": 0}, "num_layers=0; .*at least 1"),
        ({"positions": "rotary"}, "positions='rotary'; choose 'learned' or 'none'"),
    ],
)
def test_config_names_what_it_refuses(fields, said, learners_view):
    with pytest.raises(ValueError, match=said):
        HRM(HRMConfig(**{"vocab_size": 5, "num_classes": 4, "block": BLOCKS["tokens"], **fields}))


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (torch.tensor([[0, 1, 2, 5]]), "token 5 is outside"),
        (torch.tensor([[0, 1, 2]]), "3 cells, but this model is made for puzzles of exactly 4"),
        (torch.zeros(1, 5, dtype=torch.long), "5 cells|5 positions"),
    ],
)
def test_another_puzzle_is_refused(tokens, said, learners_view):
    for positions in ("learned", "none"):
        with pytest.raises(ValueError, match=said):
            unroll(make("tokens", positions=positions), tokens, 2)
