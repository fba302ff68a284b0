import pytest
import torch
from torch import nn

from latentkit.layers import count_parameters
from latentkit.models import SSM, SSMConfig
from latentkit.models.ssm import inverse_softplus, ssd
from latentkit.recurrence import TimeRecurrent, stream

VOCAB = 7


def make(dtype=torch.float64, **fields) -> SSM:
    torch.manual_seed(0)
    fields = {"num_layers": 2, "d_model": 6, "num_heads": 3, "state_size": 5, "chunk": 4, **fields}
    return SSM(SSMConfig(VOCAB, 5, **fields)).to(dtype)


def tokens(n: int, batch: int = 2) -> torch.Tensor:
    return torch.randint(VOCAB, (batch, n), generator=torch.Generator().manual_seed(1))


def inputs(n: int, dtype=torch.float64, b: int = 2, heads: int = 3, p: int = 4, size: int = 5):
    generator = torch.Generator().manual_seed(n)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    return draw(b, n, heads, p), -draw(b, n, heads).exp(), draw(b, n, size), draw(b, n, size), draw(b, heads, p, size)


def sequential(x, log_a, B, C, h):
    """The recurrence, position by position and head by head."""
    ys = torch.empty_like(x)
    h = h.clone()
    for t in range(x.shape[1]):
        for example in range(len(x)):
            for head in range(x.shape[2]):
                outer = torch.outer(x[example, t, head], B[example, t])
                h[example, head] = log_a[example, t, head].exp() * h[example, head] + outer
                ys[example, t, head] = h[example, head] @ C[example, t]
    return ys, h


@pytest.mark.parametrize(("n", "chunk"), [(1, 4), (4, 4), (5, 4), (13, 4), (13, 1), (13, 64), (12, 3)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_the_chunked_form_equals_the_recurrence(n, chunk, dtype, tolerance):
    given = inputs(n, dtype)
    for mine, theirs in zip(ssd(*given, chunk), sequential(*given), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


def test_by_hand():
    """a = 1/2, inputs 1, 2, 3 written to and read from one place: 1, 2.5, 4.25."""
    one, x = torch.ones(1, 3, 1), torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    y, h = ssd(x, 0.5 * one.log() + torch.tensor(0.5).log(), one, one, torch.zeros(1, 1, 1, 1), 2)
    assert y.flatten().tolist() == pytest.approx([1, 2.5, 4.25])
    assert h.item() == pytest.approx(4.25)


def test_without_decay_it_is_causal_linear_attention():
    x, log_a, B, C, h = inputs(9)
    y, _ = ssd(x, torch.zeros_like(log_a), B, C, torch.zeros_like(h), 4)
    weights = (C @ B.mT).tril()
    torch.testing.assert_close(y, torch.einsum("bij,bjhp->bihp", weights, x))


def test_gradients_equal_those_of_the_recurrence():
    given = [part.requires_grad_() for part in inputs(7)]
    mine = torch.autograd.grad(ssd(*given, 3)[0].sin().sum(), given)
    states, h = [], given[4]
    for t in range(7):
        h = given[1][:, t, :, None, None].exp() * h + given[0][:, t, ..., None] * given[2][:, t, None, None]
        states.append((h @ given[3][:, t, None, :, None])[..., 0])
    theirs = torch.autograd.grad(torch.stack(states, 1).sin().sum(), given)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_whole_model_by_hand():
    """One layer, in the order of the module's docstring."""
    model, x = make(num_layers=1), tokens(6, batch=1)
    layer, (d, inner, size, heads) = model.layers[0], (6, 12, 5, 3)

    def norm(module: nn.RMSNorm, v):
        return module.weight * v / torch.sqrt((v**2).mean(-1, keepdim=True) + torch.finfo(v.dtype).eps)

    with torch.no_grad():
        u = model.embed.token.weight[x[0]]
        projected = norm(layer.norm, u) @ layer.into.weight.T
        z, xBC, dt = projected[:, :inner], projected[:, inner:-heads], projected[:, -heads:]
        mixed = torch.zeros_like(xBC) + layer.conv_bias
        for t in range(6):
            for back in range(4):
                if t - back >= 0:
                    mixed[t] += layer.conv[3 - back] * xBC[t - back]
        mixed = mixed * mixed.sigmoid()
        dt = torch.log1p(torch.exp(dt + layer.dt_bias))
        h, ys = torch.zeros(heads, inner // heads, size, dtype=torch.float64), []
        for t in range(6):
            value, B, C = mixed[t, :inner].view(heads, -1), mixed[t, inner : inner + size], mixed[t, inner + size :]
            a = torch.exp(-dt[t] * layer.log_A.exp())
            h = a[:, None, None] * h + dt[t, :, None, None] * value[:, :, None] * B
            ys.append((h @ C + layer.D[:, None] * value).flatten())
        y = torch.stack(ys) * z * z.sigmoid()
        u = u + norm(layer.out_norm, y) @ layer.out.weight.T
        expected = norm(model.norm, u) @ model.head.weight.T + model.head.bias
        torch.testing.assert_close(model(x)[0], expected, rtol=0, atol=1e-10)
    assert count_parameters(layer) == d + d * (2 * inner + 2 * size + heads) + 5 * (
        inner + 2 * size
    ) + 3 * heads + inner * (1 + d)


@pytest.mark.parametrize("blocks", [[13], [1] * 13, [5, 1, 7], [2, 2, 9]])
@pytest.mark.parametrize("init", ["mamba", "mimetic"])
def test_streaming_equals_the_forward_run(blocks, init):
    model, x = make(init=init), tokens(13)
    assert isinstance(model, TimeRecurrent)
    state, logits = model.initial_state(2), []
    with torch.no_grad():
        for block in x.split(blocks, 1):
            state, output = model.step(state, block)
            logits.append(model.decode(output))
        torch.testing.assert_close(torch.cat(logits, 1), model(x), rtol=0, atol=1e-10)
    run = stream(model, x.split(1, 1))
    assert all([part.shape for part in s] == [part.shape for part in model.initial_state(2)] for s in run.states)


def test_in_float32_chunked_and_streamed_agree_to_1e_5():
    model, x = make(torch.float32, chunk=16), tokens(50)
    run = stream(model, x.split(1, 1))
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(list(run.logits), 1), model(x), rtol=1e-5, atol=1e-5)


def test_no_output_changes_with_a_later_token():
    model, x = make(), tokens(9, batch=1)
    with torch.no_grad():
        before = model(x)
        for place in range(9):
            other = x.clone()
            other[:, place] = (other[:, place] + 1) % VOCAB
            after = model(other)
            torch.testing.assert_close(after[:, :place], before[:, :place], rtol=0, atol=1e-14)
            assert not torch.allclose(after[:, place:], before[:, place:])


def test_long_sequences_stay_finite():
    """Where cumulative products would be 0/0: strong decay over 16k positions, values and gradients."""
    generator = torch.Generator().manual_seed(0)
    n = 16384
    x = torch.randn(1, n, 2, 4, generator=generator).requires_grad_()
    log_a = (-20 * torch.rand(1, n, 2, generator=generator)).requires_grad_()
    B, C = torch.randn(1, n, 3, generator=generator), torch.randn(1, n, 3, generator=generator)
    y, h = ssd(x, log_a, B, C, torch.zeros(1, 2, 4, 3), 64)
    y.square().mean().backward()
    assert all(bool(part.isfinite().all()) for part in (y, h, x.grad, log_a.grad))


def test_strong_decay_in_float32_is_as_exact_as_weak():
    """Sums of hundreds in float32 would leave differences with an error of 1e-5 and more in the decays."""
    x, _, B, C, h = inputs(64)
    log_a = -20 * torch.rand(2, 64, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    log_a[:, ::2] = -1e-3  # forgets nearly all, then nearly nothing
    exact = sequential(x, log_a.float().double(), B, C, h)
    single = (x.float(), log_a.float(), B.float(), C.float(), h.float())
    for mine, theirs in zip(ssd(*single, 64), exact, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine.double(), theirs, rtol=2e-6, atol=2e-6)


def test_mimetic_start_attends_like_linear_attention():
    """Nothing is forgotten, Delta is 1 for every token, and equal tokens find each other."""
    model = make(init="mimetic", num_layers=1)
    layer, x = model.layers[0], tokens(9, batch=1)
    with torch.no_grad():
        u = layer.norm(model.embed(x))
        projected = layer.into(u)
        B, C = projected[..., 24:29], projected[..., 29:34]
        assert torch.equal(B, C)
        assert torch.nn.functional.softplus(projected[..., 34:] + layer.dt_bias).sub(1).abs().max() < 1e-6
        assert (-layer.log_A.exp()).exp().min() > 0.999
    assert make(num_layers=1).layers[0].log_A.exp().tolist() == pytest.approx([1, 8.5, 16])


def test_inverse_softplus():
    x = torch.tensor([1e-3, 0.1, 1.0, 5.0], dtype=torch.float64)
    torch.testing.assert_close(torch.nn.functional.softplus(inverse_softplus(x)), x)


def test_the_size_of_the_state():
    """All that is carried from one block to the next: the states, and what the convolutions keep."""
    for fields in ({}, {"state_size": 1}, {"conv_width": 1}, {"num_layers": 3, "conv_width": 2}):
        model = make(**fields)
        assert model.config.recurrent_size == sum(part.numel() for part in model.initial_state(1))
    assert make().config.recurrent_size == 2 * (12 * 5 + 3 * (12 + 10))
    assert make(conv_width=1).config.recurrent_size == 2 * 12 * 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"state_size": 0}, "state_size=0"),
        ({"num_layers": 0, "chunk": 0}, "num_layers=0, chunk=0"),
        ({"num_heads": 5}, r"num_heads=5 does not divide the 2 \* 6 channels"),
        ({"init": "hippo"}, "init='hippo'; choose 'mamba' or 'mimetic'"),
    ],
)
def test_bad_configs_are_refused(fields, message, learners_view):
    with pytest.raises(ValueError, match=message):
        make(**fields)


def test_bad_tokens_are_refused(learners_view):
    with pytest.raises(ValueError, match="token 7"):
        make()(tokens(3) * 0 + 7)
