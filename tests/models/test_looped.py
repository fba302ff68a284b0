import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentkit.layers import BlockConfig, count_parameters
from latentkit.models import Looped, LoopedConfig, Transformer, TransformerConfig
from latentkit.recurrence import DepthRecurrent, advance, unroll

SMALL = BlockConfig(8, 2, 1)
TOKENS = torch.randint(5, (3, 6), generator=torch.Generator().manual_seed(0))


def make(**fields) -> Looped:
    torch.manual_seed(0)
    return Looped(LoopedConfig(5, 4, block=SMALL, **fields))


def by_hand(model: Looped, tokens: torch.Tensor, passes: int) -> torch.Tensor:
    """The equations of the module's docstring, one line each."""
    n = tokens.shape[1]

    def run(blocks, x):
        for block in blocks:
            x = block(x, block.bias(n))
        return x

    e = run(model.prelude, model.embed(tokens))
    h = torch.zeros_like(e) if model.config.inject == "concat" else e
    for _ in range(passes):
        x = torch.cat([h, e], -1) @ model.adapter.weight.T if model.config.inject == "concat" else h
        h = run(model.core, x)
        if model.config.loop_norm:
            h = model.loop_norm.weight * h / torch.sqrt((h**2).mean(-1, keepdim=True) + torch.finfo(h.dtype).eps)
    return model.head(model.norm(run(model.coda, h)))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"core_layers": 2},
        {"prelude_layers": 1, "core_layers": 2, "coda_layers": 1},
        {"inject": "none"},
        {"loop_norm": False},
        {"inject": "none", "loop_norm": False, "prelude_layers": 2},
        {"num_positions": 6},
    ],
    ids=str,
)
@pytest.mark.parametrize("passes", [1, 4])
def test_model_equals_its_equations(fields, passes):
    model = make(**fields).double()
    with torch.no_grad():
        got = unroll(model, TOKENS, passes, keep="last").logits[0]
        torch.testing.assert_close(got, by_hand(model, TOKENS, passes), rtol=0, atol=1e-10)


def test_one_bare_pass_is_a_stack_of_one_layer():
    model = make(inject="none", loop_norm=False)
    stack = Transformer(TransformerConfig(5, 4, 1, SMALL))
    stack.load_state_dict({name.replace("core.", "blocks."): value for name, value in model.state_dict().items()})
    with torch.no_grad():
        assert torch.equal(unroll(model, TOKENS, 1).logits[0], stack(TOKENS))


def test_the_same_weights_serve_every_pass():
    """The gradient of T passes is the sum over the passes of a stack whose T blocks are copies."""
    model = make(inject="none", loop_norm=False).double()
    stack = Transformer(TransformerConfig(5, 4, 3, SMALL)).double()
    shared = model.state_dict()
    for name in stack.state_dict():
        source = "core.0." + name.split(".", 2)[2] if name.startswith("blocks.") else name
        stack.state_dict()[name].copy_(shared[source])
    context = model.encode(TOKENS)
    model.decode(advance(model, model.initial_state(context), context, 3)).pow(2).mean().backward()
    stack(TOKENS).pow(2).mean().backward()
    for name, parameter in model.core[0].named_parameters():
        total = sum(dict(block.named_parameters())[name].grad for block in stack.blocks)
        torch.testing.assert_close(parameter.grad, total, rtol=0, atol=1e-10)


def test_input_reaches_every_pass_only_where_it_is_injected():
    """From one and the same state, another input changes the next state, or does not."""
    other = (TOKENS + 1) % 5
    for inject, reaches in (("concat", True), ("none", False)):
        model = make(inject=inject)
        h = torch.randn(3, 6, 8)
        moved = [model.step(h, model.encode(tokens)) for tokens in (TOKENS, other)]
        assert torch.equal(*moved) is not reaches


def test_the_norm_keeps_the_state_at_unit_scale():
    model = make().eval()
    sizes = [h.pow(2).mean(-1).sqrt() for h in unroll(model, TOKENS, 30).states]
    assert all(torch.allclose(size, torch.ones(3, 6), atol=1e-4) for size in sizes)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 2), st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_any_shape_works(b, n, heads, sizes, passes, causal):
    model = Looped(LoopedConfig(sizes, sizes, block=BlockConfig(heads, heads, 1, causal=causal)))
    run = unroll(model, torch.zeros(b, n, dtype=torch.long), passes)
    assert run.logits.shape == (passes, b, n, sizes)
    assert run.states[-1].shape == (b, n, heads)


def test_a_causal_loop_stays_causal_after_many_passes():
    model = make()
    changed = TOKENS.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % 5
    before, after = (unroll(model, tokens, 5, keep="last").logits[0] for tokens in (TOKENS, changed))
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3], after[:, 3])


def test_the_model_of_lab_02_has_58522_weights():
    assert count_parameters(Looped(LoopedConfig(vocab_size=3, num_classes=6))) == 58_522


def test_it_keeps_the_protocol():
    assert isinstance(make(), DepthRecurrent)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"core_layers": 0}, "core_layers=0"),
        ({"prelude_layers": -1}, "prelude_layers=-1"),
        ({"coda_layers": -2}, "coda_layers=-2"),
        ({"inject": "add"}, "inject='add'; choose 'concat' or 'none'"),
    ],
)
def test_config_names_what_it_refuses(fields, said, learners_view):
    with pytest.raises(ValueError, match=said):
        LoopedConfig(5, 4, **fields)


@pytest.mark.parametrize("tokens", [torch.tensor([[0, 5]]), torch.zeros(1, 2), torch.tensor([0, 1])], ids=str)
def test_bad_tokens_stop_a_run(tokens, learners_view):
    with pytest.raises((TypeError, ValueError), match="token"):
        unroll(make(), tokens, 2)
