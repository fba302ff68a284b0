import pytest
import torch

from latentkit.layers import count_parameters
from latentkit.models import GRU, GRUConfig
from latentkit.recurrence import TimeRecurrent, stream


def make(**fields) -> GRU:
    torch.manual_seed(0)
    return GRU(GRUConfig(7, 5, **{"num_layers": 2, "d_model": 6, "hidden": 4, **fields})).double()


def tokens(n: int) -> torch.Tensor:
    return torch.randint(7, (2, n), generator=torch.Generator().manual_seed(1))


def test_one_layer_equals_the_equations():
    model, x = make(num_layers=1), tokens(5)
    gru = model.gru
    with torch.no_grad():
        h, outputs = torch.zeros(2, 4, dtype=torch.float64), []
        for t in range(5):
            x_r, x_z, x_n = (model.embed.token.weight[x[:, t]] @ gru.weight_ih_l0.T + gru.bias_ih_l0).chunk(3, -1)
            h_r, h_z, h_n = (h @ gru.weight_hh_l0.T + gru.bias_hh_l0).chunk(3, -1)
            r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
            h = z * h + (1 - z) * torch.tanh(x_n + r * h_n)
            outputs.append(h)
        expected = torch.stack(outputs, 1) @ model.head.weight.T + model.head.bias
        torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("blocks", [[9], [1] * 9, [4, 5]])
def test_streaming_equals_the_forward_run(blocks):
    model, x = make(), tokens(9)
    assert isinstance(model, TimeRecurrent)
    state, logits = model.initial_state(2), []
    with torch.no_grad():
        for block in x.split(blocks, 1):
            state, output = model.step(state, block)
            logits.append(model.decode(output))
        torch.testing.assert_close(torch.cat(logits, 1), model(x), rtol=0, atol=1e-10)


def test_the_state_is_what_it_says():
    model = make()
    run = stream(model, tokens(6).split(2, 1))
    assert all(state.shape == (2, 2, 4) for state in run.states)
    assert model.config.state_size == model.initial_state(1).numel() == 8


def test_no_output_changes_with_a_later_token():
    model, x = make(), tokens(6)
    other = x.clone()
    other[:, 3] = (other[:, 3] + 1) % 7
    with torch.no_grad():
        before, after = model(x), model(other)
    assert torch.equal(before[:, :3], after[:, :3]) and not torch.equal(before[:, 3:], after[:, 3:])


def test_parameters():
    assert count_parameters(make()) == 7 * 6 + 3 * 4 * (6 + 4 + 2) + 3 * 4 * (4 + 4 + 2) + 5 * 4 + 5


def test_bad_input_is_refused(learners_view):
    with pytest.raises(ValueError, match="hidden=0"):
        make(hidden=0)
    with pytest.raises(ValueError, match="token 7"):
        make()(tokens(3) * 0 + 7)
