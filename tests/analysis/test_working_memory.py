import pytest
import torch

from latentkit.analysis.working_memory import LinearProbe, feedback_attention, feedback_path
from latentkit.layers import rms_norm
from latentkit.models import FAM, FAMConfig
from latentkit.recurrence import stream

TOKENS = torch.randint(9, (3, 20), generator=torch.Generator().manual_seed(0))


def model(**fields) -> FAM:
    torch.manual_seed(0)
    return FAM(FAMConfig(9, 4, num_feedback=2, block_size=4, d_model=8, num_heads=2, **fields)).double()


@pytest.mark.parametrize("m", [0, 1])
def test_the_path_is_that_of_a_streamed_run(m):
    states = stream(model(memory_blocks=m), TOKENS.split(4, 1)).states
    path = feedback_path(model(memory_blocks=m), TOKENS)
    assert torch.equal(path, torch.stack([state.feedback for state in states]))
    assert torch.equal(feedback_path(model(memory_blocks=m), TOKENS, keep=(2, 5)), path[[1, 4]])


@pytest.mark.parametrize("m", [0, 1])
def test_attention_explains_the_update(m):
    """The weights, times the values, through the rest of the layer, are the new feedback."""
    fam = model(memory_blocks=m)
    with torch.no_grad():
        state, _ = fam.step(fam.initial_state(3), TOKENS[:, :4])
        block = TOKENS[:, 4:8]
        weights = feedback_attention(fam, state, block)
        assert weights.shape == (3, 2, 2, 2, 6)
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 2, 2).double())
        layer, x, old = fam.layers[0], fam.embed(block), state.feedback[:, 0]
        _, _, v = layer.project(torch.cat([old, x], 1))
        new = layer.finish(weights[:, 0] @ v, old)
        torch.testing.assert_close(new, fam.step(state, block)[0].feedback[:, 0], rtol=0, atol=1e-10)
    assert not any(layer.qkv._forward_hooks for layer in fam.layers)


def test_a_probe_finds_what_is_linear_and_nothing_else():
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (400, 2), generator=generator)
    codes = torch.randn(2, 3, 5, 6, generator=generator)
    states = sum(codes[i][labels[:, i]] for i in range(2)) + 0.1 * torch.randn(400, 5, 6, generator=generator)
    probe = LinearProbe.fit(states[:300], labels[:300], 3, ridge=1.0)
    assert (probe.predict(states[300:]) == labels[300:]).float().mean() > 0.97
    # However long the vectors are: layers read them through a norm.
    assert torch.equal(probe.predict(50 * states), probe.predict(states))
    noise = torch.randn(100, 5, 6, generator=generator)
    assert (probe.predict(noise) == labels[:100]).float().mean() < 0.5


def test_a_probe_is_the_ridge_regression_of_the_text_books():
    generator = torch.Generator().manual_seed(2)
    states, labels = torch.randn(30, 4, generator=generator), torch.randint(3, (30, 1), generator=generator)
    probe = LinearProbe.fit(states, labels, 3, ridge=2.0)
    weight = probe.weight.clone().requires_grad_()
    x = torch.cat([rms_norm(states.double()), torch.ones(30, 1)], 1)
    target = torch.nn.functional.one_hot(labels[:, 0], 3)
    loss = (x @ weight - target).pow(2).sum() + 2.0 * weight[:-1].pow(2).sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-6)
    torch.testing.assert_close(probe.scores(states).sum(-1), torch.ones(30, 1).double(), rtol=0, atol=1e-6)


def test_bad_input_is_refused(learners_view):
    with pytest.raises(ValueError, match=r"1 states, ridge=1.0"):
        LinearProbe.fit(torch.ones(1, 4), torch.zeros(1, 1).long(), 3, ridge=1.0)
    with pytest.raises(ValueError, match="ridge=0"):
        LinearProbe.fit(torch.ones(3, 4), torch.zeros(3, 1).long(), 3, ridge=0)
    with pytest.raises(ValueError, match=r"3 states, labels of shape \[2, 1\]; expected \[3, labels\]"):
        LinearProbe.fit(torch.ones(3, 4), torch.zeros(2, 1).long(), 3)
    with pytest.raises(ValueError, match="labels from 0 to 3; with num_classes=3 they are 0 to 2"):
        LinearProbe.fit(torch.ones(3, 4), torch.tensor([[0], [1], [3]]), 3)
    with pytest.raises(ValueError, match="18 tokens; need one or more whole blocks of 4"):
        feedback_path(model(), TOKENS[:, :18])
    with pytest.raises(ValueError, match="0 tokens"):
        feedback_path(model(), TOKENS[:, :0])
    for keep in ([0, 2], [6], []):
        with pytest.raises(ValueError, match="need one or more of the blocks 1 to 5"):
            feedback_path(model(), TOKENS, keep=keep)
