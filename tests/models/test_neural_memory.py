import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from latentkit.layers import count_parameters
from latentkit.models.fast_weights import Gates
from latentkit.models.neural_memory import GATES, MemoryConfig, NeuralMemory, Read

SMALL = MemoryConfig(d_model=6, hidden=3, chunk=4)
KINDS = {
    "matrix": SMALL,
    "mlp": replace(SMALL, depth=2),
    "gated delta": replace(SMALL, rule="gated delta", gradients="token"),
    "delta": replace(SMALL, rule="delta", gradients="token"),
    "hebbian": replace(SMALL, rule="hebbian"),
}


def make(config=SMALL, seed=0):
    torch.manual_seed(seed)
    return NeuralMemory(config).double()


def draw(n=12, seed=1):
    return torch.randn(2, n, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(memory: NeuralMemory, x):
    """One sequence at a time, one token at a time; M is a matrix."""
    rows = []
    for row in x:
        M = S = torch.zeros(6, 6, dtype=x.dtype)
        projected = [memory.qkv.weight @ token for token in row]
        weight, bias = memory.conv.weight[:, 0], memory.conv.bias
        outputs, first = [], M
        for t, token in enumerate(row):
            if t % memory.config.chunk == 0:
                first = M
            past = [projected[t - i] if t >= i else torch.zeros(18, dtype=x.dtype) for i in (3, 2, 1, 0)]
            q, k, v = (bias + sum(weight[:, i] * past[i] for i in range(4))).chunk(3)
            q, k = q / q.norm(), k / k.norm()
            theta, eta, alpha = memory.gates(v).sigmoid()
            S = 0.9 * eta * S - theta * torch.outer(first @ k - v, k)
            M = (1 - alpha) * M + S
            y = memory.norm(M @ q) * F.silu(memory.gate(token))
            outputs.append(memory.out(y))
        rows.append(torch.stack(outputs))
    return torch.stack(rows)


def test_layer_equals_its_equations():
    memory, x = make(), draw()
    got, _, _ = memory(x, memory.initial_state(2))
    torch.testing.assert_close(got, by_hand(memory, x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_reading_in_blocks_is_reading_at_once(kind):
    memory, x = make(KINDS[kind]), draw()
    whole, read, state = memory(x, memory.initial_state(2))
    parts, reads, now = [], [], memory.initial_state(2)
    for block in x.split([4, 8], 1):
        y, part, now = memory(block, now)
        parts.append(y)
        reads.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-10)
    joined = Read.cat(reads)
    torch.testing.assert_close(joined.surprise, read.surprise, rtol=0, atol=1e-10)
    torch.testing.assert_close(joined.first(5).gates.theta, read.gates.theta[:, :5], rtol=0, atol=1e-10)
    for got, wanted in zip(now, state, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)
    assert [part.shape for part in state] == [part.shape for part in memory.initial_state(2)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_token_sees_a_later_one(kind):
    memory, x = make(KINDS[kind]), draw()
    before, *_ = memory(x, memory.initial_state(2))
    x[:, 6] += 1  # in the middle of a chunk
    after, *_ = memory(x, memory.initial_state(2))
    assert torch.equal(after[:, :6], before[:, :6])
    assert (after[:, 6:] != before[:, 6:]).any(-1).all()


@pytest.mark.parametrize("kind", ["matrix", "mlp"])
def test_recall_reads_and_does_not_write(kind):
    """With the convolution's past empty, it is what a token reads that has step 0."""
    memory, x = make(KINDS[kind]), draw()
    _, _, state = memory(x, memory.initial_state(2))
    got = memory.recall(x[:, :4], state)
    with torch.no_grad():
        memory.gates.weight.zero_()
        memory.gates.bias.copy_(torch.tensor([-1e3, -1e3, -1e3]))  # theta, eta, alpha = 0
    wanted, *_ = memory(x[:, :4], (torch.zeros_like(state[0]), *state[1:]))
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)


def test_without_forgetting_an_mlp_stays_and_with_it_returns_to_its_initial_weights():
    memory, x = make(KINDS["mlp"]), draw()
    _, _, state = memory(x, memory.initial_state(2))
    assert min(part.norm() for part in state[1:3]) > 0
    with torch.no_grad():
        memory.gates.weight.zero_()
        memory.gates.bias.copy_(torch.tensor([-1e3, -1e3, 1e3]))
    _, _, state = memory(x, state)
    assert max(part.norm() for part in state[1:]) == 0  # D = 0: M = W_0


def test_gates_begin_small_where_steps_add_up():
    torch.manual_seed(0)
    memory = NeuralMemory(MemoryConfig())
    _, read, _ = memory(torch.randn(4, 64, 32), memory.initial_state(4))
    theta, eta, alpha = (g.mean().item() for g in read.gates)
    assert 16 * theta / (1 - eta) < 2
    assert (theta, eta, alpha) == pytest.approx((0.047, 0.24, 0.0025), rel=0.15)


def test_rules_have_the_same_weights_but_for_their_gates():
    sizes = {rule: count_parameters(NeuralMemory(MemoryConfig(rule=rule))) for rule in GATES}
    assert {rule: sizes[rule] - sizes["hebbian"] for rule in GATES} == {
        rule: 33 * len(names) for rule, names in GATES.items()
    }
    mlp = count_parameters(NeuralMemory(MemoryConfig(depth=2)))
    assert mlp == sizes["titans"] + 2 * 16 * 32  # W_0, as large as the matrix's state


def test_weights_of_another_chunk_size_are_loaded_with_a_warning():
    trained, other = make(), make(replace(SMALL, chunk=2), seed=1)
    with pytest.warns(UserWarning, match=r"trained with chunks of 4 tokens.*chunks of 2 tokens"):
        other.load_state_dict(trained.state_dict())
    assert torch.equal(other.qkv.weight, trained.qkv.weight)
    assert other.made_for_chunk == 2
    with pytest.warns(UserWarning, match="the gradient of every token"):
        make(replace(SMALL, gradients="token")).load_state_dict(trained.state_dict())
    with warnings.catch_warnings(action="error"):  # same chunk; or gradients that do not depend on it
        make(seed=1).load_state_dict(trained.state_dict())
        exact = replace(SMALL, gradients="token")
        make(replace(exact, chunk=2)).load_state_dict(make(exact).state_dict())


def test_the_state_does_not_keep_what_was_read_alive():
    memory = make()
    _, _, state = memory(draw(400), memory.initial_state(2))
    for part in state:
        assert part.untyped_storage().nbytes() == part.numel() * part.element_size()


def test_the_hebbian_surprise_is_the_length_of_what_is_added():
    memory, x = make(KINDS["hebbian"]), draw(4)
    _, k, v, _ = memory._project(x, memory.initial_state(2)[0])
    _, read, _ = memory(x, memory.initial_state(2))
    torch.testing.assert_close(read.surprise, k.norm(dim=-1) * v.norm(dim=-1), rtol=0, atol=1e-10)


def test_bad_configs_say_what_would_be_right(learners_view):
    for fields, message in [
        ({"chunk": 0}, "must be at least 1"),
        ({"rule": "hebb"}, "choose one of 'titans'"),
        ({"depth": 3}, "a matrix .1. or an MLP"),
        ({"gradients": "exact"}, "choose 'chunk' or 'token'"),
        ({"depth": 2, "gradients": "token"}, "use another rule and 'chunk', or depth=1"),
        ({"depth": 2, "rule": "hebbian"}, "use another rule and 'chunk', or depth=1"),
    ]:
        with pytest.raises(ValueError, match=message):
            MemoryConfig(**fields)
    with pytest.raises(ValueError, match="10 tokens are no whole number of chunks of 4"):
        memory = make()
        memory(draw(10), memory.initial_state(2))


def test_gates_of_rules_without_them_are_none():
    memory, x = make(KINDS["delta"]), draw()
    _, read, _ = memory(x, memory.initial_state(2))
    assert isinstance(read.gates, Gates) and read.gates.eta is None and read.gates.alpha is None
