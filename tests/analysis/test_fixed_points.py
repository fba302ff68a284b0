import pytest
import torch
from torch import nn

from latentkit.analysis.fixed_points import distance, growth, jacobian, layer_run, random_start
from latentkit.layers import BlockConfig
from latentkit.models import Looped, LoopedConfig
from latentkit.recurrence import advance, unroll


def loop(**changes) -> tuple[Looped, torch.Tensor]:
    torch.manual_seed(0)
    model = Looped(LoopedConfig(5, 4, **{"core_layers": 2, "block": BlockConfig(8, 2, 1), **changes})).eval()
    return model, torch.randint(5, (3, 6), generator=torch.Generator().manual_seed(0))


class Linear(nn.Module):
    """h <- h A^T over all positions and channels at once; at rest at 0, and everywhere alike."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def encode(self, tokens):
        return tokens

    def initial_state(self, context):
        return torch.zeros(1, 1, 1)

    def step(self, h, context):
        return (h.flatten(1) @ self.matrix.T).view_as(h)

    def decode(self, state):
        return state


def test_a_random_start_is_a_state_of_the_models_own_shape():
    model, tokens = loop()
    start = random_start(model, tokens, torch.Generator().manual_seed(1), scale=3.0)
    assert start.shape == (3, 6, 8)
    assert start.std().item() == pytest.approx(3.0, rel=0.2)
    assert torch.equal(start, random_start(model, tokens, torch.Generator().manual_seed(1), scale=3.0))


def test_a_random_start_needs_a_state_of_one_tensor():
    class Pair(Linear):
        def initial_state(self, context):
            return (torch.zeros(1), torch.zeros(1))

    with pytest.raises(TypeError, match="this state is a tuple; a random start is drawn for a state of one tensor"):
        random_start(Pair(torch.eye(2)), torch.zeros(1, 1, dtype=torch.long), torch.Generator())


def test_distance_is_relative_to_the_reference():
    state, reference = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]]), torch.tensor([[[0.0, 4.0], [1.0, 0.0]]])
    assert distance(state, reference).tolist() == [[0.75, 0.0]]


@pytest.mark.parametrize("changes", [{}, {"inject": "none"}, {"loop_norm": False}, {"core_layers": 3}])
@torch.no_grad()
def test_a_run_opened_up_is_the_models_own(changes):
    model, tokens = loop(**changes)
    seen = []
    hooks = [block.register_forward_hook(lambda m, i, out: seen.append(out)) for block in model.core]
    expected = unroll(model, tokens, 4)
    for hook in hooks:
        hook.remove()
    run = layer_run(model, tokens, 4)
    layers = len(model.core)
    torch.testing.assert_close(run.states.flatten(0, 1), torch.stack(seen), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.loop_norm(run.states[-1, -1]), expected.states[-1], atol=1e-5, rtol=1e-5)
    assert run.attention.shape == (4, layers, 3, 2, 6, 6)
    torch.testing.assert_close(run.attention.sum(-1), torch.ones(4, layers, 3, 2, 6))
    assert (run.attention.triu(1) == 0).all()  # causal


@torch.no_grad()
def test_a_run_that_differs_from_the_models_own_is_refused():
    class Damped(Looped):
        def step(self, h, context):
            return 0.9 * super().step(h, context)

    model = Damped(LoopedConfig(5, 4, block=BlockConfig(8, 2, 1)))
    with pytest.raises(RuntimeError, match=r"pass 1, opened up, differs from the model's own by 0\.\d+"):
        layer_run(model, torch.zeros(1, 3, dtype=torch.long), 2)


def test_steps_and_gaps_are_between_unit_vectors():
    run = layer_run(*loop(core_layers=3), 3)
    unit = run.states / run.states.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(run.steps[1, 2, 0, 4], (unit[2, 2, 0, 4] - unit[1, 2, 0, 4]).norm())
    torch.testing.assert_close(run.gaps[1, 0, 0, 4], (unit[1, 0, 0, 4] - unit[1, 1, 0, 4]).norm())
    torch.testing.assert_close(run.gaps[1, 2, 0, 4], (unit[1, 2, 0, 4] - unit[1, 0, 0, 4]).norm())  # round the cycle
    assert run.steps.shape == (2, 3, 3, 6)


def triangular(positions: int) -> torch.Tensor:
    """A causal chain: each position keeps at most half of itself, and takes twice the one before it."""
    return torch.diag(0.5 * 0.8 ** torch.arange(positions)) + 2 * torch.diag(torch.ones(positions - 1), -1)


def test_growth_tends_to_the_largest_eigenvalue_and_not_at_once():
    tokens, state = torch.zeros(2, 6, dtype=torch.long), torch.ones(2, 6, 1)
    factors = growth(Linear(triangular(6)), tokens, state, 100, torch.Generator().manual_seed(0))
    assert factors.shape == (100, 2)
    assert factors[:4].log().mean().exp() > 1.2  # transient growth, though no eigenvalue is above 0.5
    assert factors[-20:].log().mean().exp().item() == pytest.approx(0.5, rel=0.02)


def test_a_power_iteration_shorter_than_four_times_the_positions_is_refused():
    tokens, state = torch.zeros(1, 6, dtype=torch.long), torch.ones(1, 6, 1)
    with pytest.raises(ValueError, match=r"iterations=23 at 6 positions; run at least 24: .* transient growth"):
        growth(Linear(triangular(6)), tokens, state, 23, torch.Generator())


def test_the_jacobian_of_a_linear_map_is_its_matrix():
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    found = jacobian(Linear(matrix), torch.zeros(1, 3, dtype=torch.long), torch.randn(1, 3, 2))
    torch.testing.assert_close(found, matrix.double())


def test_the_jacobian_of_a_causal_loop_is_block_triangular_and_what_growth_estimates():
    model, tokens = loop(core_layers=1)
    tokens = tokens[:1]
    with torch.no_grad():
        context = model.encode(tokens)
        rest = advance(model, model.initial_state(context), context, 60)
    found = jacobian(model, tokens, rest)
    blocks = found.view(6, 8, 6, 8)
    assert all((blocks[i, :, j] == 0).all() for i in range(6) for j in range(i + 1, 6))
    radius = torch.linalg.eigvals(found).abs().max().item()
    factors = growth(model, tokens, rest, 120, torch.Generator().manual_seed(0))
    assert factors[40:].log().mean().exp().item() == pytest.approx(radius, rel=0.03)
