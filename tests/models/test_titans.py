import warnings
from dataclasses import replace

import pytest
import torch

from latentkit.layers import rotate
from latentkit.models import MemoryConfig, Titans, TitansConfig, build
from latentkit.recurrence import TimeRecurrent, stream

VARIANTS = ("LMM", "MAC", "MAG", "MAL", "attention")
SMALL = TitansConfig(7, 3, memory=MemoryConfig(d_model=8, chunk=4, hidden=3), mlp_hidden=5, persistent=2)
TOKENS = torch.randint(7, (2, 16), generator=torch.Generator().manual_seed(0))


def make(variant="LMM", **fields) -> Titans:
    torch.manual_seed(0)
    return build(replace(SMALL, variant=variant, **fields)).double()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_streaming_equals_forward(variant, num_layers):
    model = make(variant, num_layers=num_layers)
    assert isinstance(model, TimeRecurrent)
    whole = model(TOKENS)
    run = stream(model, TOKENS.split(4, 1))
    torch.testing.assert_close(torch.cat(list(run.logits), 1), whole, rtol=0, atol=1e-10)
    two = stream(model, TOKENS.split(8, 1))
    torch.testing.assert_close(torch.cat(list(two.logits), 1), whole, rtol=0, atol=1e-10)
    assert [part.shape for part in run.states[-1]] == [part.shape for part in model.initial_state(2)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_position_sees_a_later_token(variant):
    """By perturbation, token by token, and by gradient."""
    model = make(variant, num_layers=2)
    before = model(TOKENS)
    for t in (0, 5, 10, 15):
        changed = TOKENS.clone()
        changed[:, t] = (changed[:, t] + 1) % 7
        after = model(changed)
        assert torch.equal(after[:, :t], before[:, :t])
        assert (after[:, t] != before[:, t]).any()
    embedded = model.embed(TOKENS).detach().requires_grad_()
    model.embed.forward = lambda _: embedded
    for t in range(16):
        (gradient,) = torch.autograd.grad(model(TOKENS)[:, t].square().sum(), embedded)
        assert (gradient[:, t + 1 :] == 0).all() and (gradient[:, t] != 0).any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_sequences_of_any_length_are_prefixes_of_longer_ones(variant):
    model = make(variant)
    whole = model(TOKENS)
    for n in (1, 5, 13):
        output = model.read(TOKENS[:, :n])
        torch.testing.assert_close(model.decode(output), whole[:, :n], rtol=0, atol=1e-10)
        if variant != "attention":
            assert output.surprise.shape == (2, n, 1)
            assert output.memories[0].gates.theta.shape == (2, n)


def test_attention_alone_sees_its_window_and_the_memory_beyond_it():
    far = TOKENS.clone()
    far[:, 0] = (far[:, 0] + 1) % 7
    for variant in VARIANTS:
        model = make(variant)
        same = torch.equal(model(far)[:, 4:], model(TOKENS)[:, 4:])
        assert same == (variant == "attention"), variant


def sliding(attention, x, t):
    """What position t of a sequence attends to, one key after another: P, then its window of C tokens."""
    c, persistent = attention.window.shape[0], attention.persistent
    segment = t // c * c
    beside = x[segment - c : segment] if segment else torch.zeros(c, x.shape[1], dtype=x.dtype)
    keys = torch.cat([persistent, beside, x[segment : segment + c]])
    place = len(persistent) + c + t - segment
    q, k, v = attention.qkv(keys).view(len(keys), 3, 2, -1).permute(1, 2, 0, 3)
    q, k = (rotate(part[None], attention.rotation[:, : len(keys)])[0] for part in (q, k))
    seen = [*range(len(persistent)), *range(place - c + 1, place + 1)]
    weights = (q[:, place, None] * k[:, seen]).sum(-1) / q.shape[-1] ** 0.5
    return attention.out((weights.softmax(-1)[..., None] * v[:, seen]).sum(1).flatten())


def test_sliding_window_one_key_after_another():
    attention = make("attention").layers[0].attention
    x = torch.randn(1, 12, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    got, before = attention.slide(x, torch.zeros(1, 4, 8, dtype=torch.float64))
    wanted = torch.stack([sliding(attention, x[0], t) for t in range(12)])
    torch.testing.assert_close(got[0], wanted, rtol=0, atol=1e-10)
    assert torch.equal(before, x[:, -4:])


def test_memory_as_context_by_its_equations():
    """Segment by segment: h with the weights of its start, attention to [P | h | segment], then write y."""
    model = make("MAC")
    layer = model.layers[0]
    h = model.embed(TOKENS)
    state, outputs = layer.memory.initial_state(2), []
    for segment in h.split(4, 1):
        x = layer.norm1(segment)
        retrieved = layer.memory.recall(x, state)
        y = x + layer.attention(x, retrieved, layer.attention.causal)
        remembered, _, state = layer.memory(y, state)
        mixed = segment + layer.product(y, remembered)
        outputs.append(mixed + layer.mlp(layer.norm2(mixed)))
    wanted = model.head(model.norm(torch.cat(outputs, 1)))
    torch.testing.assert_close(model(TOKENS), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("variant", ["MAG", "MAL"])
def test_memory_as_gate_and_as_layer_by_their_equations(variant):
    model = make(variant)
    layer, h = model.layers[0], model.embed(TOKENS)
    x = layer.norm1(h)
    remembered, _, _ = layer.memory(x, layer.memory.initial_state(2))
    seen = x if variant == "MAG" else layer.norm_between(h + remembered)
    y = torch.stack([torch.stack([sliding(layer.attention, row, t) for t in range(16)]) for row in seen])
    if variant == "MAG":
        a = layer.product.norm_a
        normed = y * (y.square().mean(-1, keepdim=True) + torch.finfo(y.dtype).eps).rsqrt() * a.weight
        o = normed.sigmoid() * layer.product.norm_b(remembered)
    else:
        o = remembered + y
    mixed = h + o
    wanted = model.head(model.norm(mixed + layer.mlp(layer.norm2(mixed))))
    torch.testing.assert_close(model(TOKENS), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("gradients", ["chunk", "token"])
def test_weights_of_another_segment_are_loaded_with_a_warning(variant, gradients):
    """Beside attention the chunk is the segment and the window, even where gradients are taken at every token."""
    memory = replace(SMALL.memory, gradients=gradients)
    trained, other = make(variant, memory=memory), make(variant, memory=replace(memory, chunk=2))
    if (variant, gradients) == ("LMM", "token"):
        with warnings.catch_warnings(action="error"):
            other.load_state_dict(trained.state_dict())
    else:
        with pytest.warns(UserWarning, match=r"trained with chunks of 4 tokens.*chunks of 2 tokens"):
            other.load_state_dict(trained.state_dict())
    with warnings.catch_warnings(action="error"):
        make(variant, memory=memory).load_state_dict(trained.state_dict())


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_state_does_not_keep_what_was_read_alive(variant):
    model = make(variant)
    state, _ = model.step(model.initial_state(2), TOKENS.repeat(1, 8))
    assert all(part.untyped_storage().nbytes() == part.numel() * part.element_size() for part in state)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_has_a_gradient(variant):
    model = make(variant, num_layers=2)
    model(TOKENS).square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_bad_input_says_what_would_be_right(learners_view):
    model = make()
    with pytest.raises(ValueError, match="a block of 6 tokens; this model reads chunks of 4"):
        model.step(model.initial_state(2), TOKENS[:, :6])
    with pytest.raises(ValueError, match="token 9 is outside"):
        model(TOKENS + 9 - TOKENS)
    with pytest.raises(AttributeError, match="attention alone has no memory"):
        _ = make("attention").read(TOKENS).surprise
    for fields, message in [
        ({"variant": "MAX"}, "choose one of 'LMM', 'MAC'"),
        ({"num_layers": 0}, "must be at least 1"),
        ({"variant": "MAG", "num_heads": 3}, "multiple of 2 num_heads"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(SMALL, **fields)
