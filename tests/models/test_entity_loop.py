import pytest
import torch

from latentkit.layers import BlockConfig
from latentkit.models import EntityLoop, EntityLoopConfig
from latentkit.models.entity_loop import State
from latentkit.recurrence import DepthRecurrent, advance, unroll

SMALL = BlockConfig(8, 2, 1)
TOKENS = torch.tensor([[0, 4, 5, 4], [2, 5, 5, 4], [3, 4, 4, 5]])  # entities 0..3, relations 4 and 5


def make(**fields) -> EntityLoop:
    torch.manual_seed(0)
    return EntityLoop(EntityLoopConfig(6, 4, block=SMALL, **fields)).eval()


def by_hand(model: EntityLoop, passes: int) -> torch.Tensor:
    """The equations of the module's docstring, one line each."""
    table = model.embed.token.weight
    scale = table.shape[1] ** 0.5
    named = (TOKENS < 4)[..., None]
    h = torch.where(named, scale * table[TOKENS], 0)
    e = torch.where(named, 0, scale * table[TOKENS])

    def logits(h):
        return model.norm(h) @ table[:4].T

    for t in range(passes):
        s = min(t, model.config.sets - 1)
        u = torch.softmax(logits(h), -1) @ table[:4] * scale if model.config.reread else h
        x = torch.cat([u, e], -1) @ model.adapters[s].weight.T
        h = model.loop_norms[s](model.blocks[s](x, model.blocks[s].bias(TOKENS.shape[1])))
    return logits(h)


@pytest.mark.parametrize("sets", [1, 3])
@pytest.mark.parametrize("reread", [True, False])
@pytest.mark.parametrize("passes", [1, 3, 5])
def test_model_equals_its_equations(sets, reread, passes):
    model = make(sets=sets, reread=reread).double()
    with torch.no_grad():
        got = unroll(model, TOKENS, passes, keep="last").logits[0]
        torch.testing.assert_close(got, by_hand(model, passes), rtol=0, atol=1e-10)


def test_sets_of_equal_weights_are_one_set():
    one, three = make(), make(sets=3)
    for name, value in three.state_dict().items():
        first, _, rest = name.partition(".")
        shared = f"{first}.0.{rest.partition('.')[2]}" if first in ("adapters", "blocks", "loop_norms") else name
        value.copy_(one.state_dict()[shared])
    with torch.no_grad():
        assert torch.equal(unroll(one, TOKENS, 5).logits, unroll(three, TOKENS, 5).logits)


def test_the_turn_counts_sets_and_stops_at_the_last():
    assert [int(state.turn[0, 0]) for state in unroll(make(sets=3), TOKENS, 5).states] == [1, 2, 2, 2, 2]
    assert all((state.turn == 0).all() for state in unroll(make(), TOKENS, 3).states)


def test_a_clear_answer_is_read_as_its_embedding():
    """Where one entity stands out by far, the soft entity is that entity; where none does, the mean of all."""
    model = make()
    with torch.no_grad():
        model.embed.token.weight[:4] = 100 * torch.eye(4, 8)
        state = State(model.entities[None], torch.zeros(1, 4, 1))
        torch.testing.assert_close(model.read(state), model.entities[None])
        unknown = State(torch.zeros(1, 1, 8), torch.zeros(1, 1, 1))
        torch.testing.assert_close(model.read(unknown)[0, 0], model.entities.mean(0))
        assert torch.equal(make(reread=False).read(unknown), unknown.h)


def test_relations_reach_every_pass_and_entities_only_the_first_state():
    model = make(reread=False)
    state = model.initial_state(model.encode(TOKENS))
    assert (state.h[:, 1:] == 0).all() and (state.h[:, 0] != 0).any()
    other_person, other_relation = TOKENS.clone(), TOKENS.clone()
    other_person[:, 0] = (TOKENS[:, 0] + 1) % 4
    other_relation[:, 2] = 9 - TOKENS[:, 2]
    with torch.no_grad():
        steps = [model.step(state, model.encode(tokens)).h for tokens in (TOKENS, other_person, other_relation)]
    assert torch.equal(steps[0], steps[1])
    assert not torch.equal(steps[0], steps[2])


def test_it_stays_causal():
    changed = TOKENS.clone()
    changed[:, 2:] = 9 - changed[:, 2:]
    before, after = (unroll(make(), tokens, 5, keep="last").logits[0] for tokens in (TOKENS, changed))
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.equal(before[:, 2:], after[:, 2:])


def test_gradients_reach_every_weight():
    model = make(sets=3).train()
    context = model.encode(TOKENS)
    model.decode(advance(model, model.initial_state(context), context, 3)).logsumexp(-1).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_it_keeps_the_protocol():
    assert isinstance(make(), DepthRecurrent)


def test_bad_configs_are_refused(learners_view):
    with pytest.raises(ValueError, match="num_classes=7, vocab_size=6: every class is a token here"):
        EntityLoopConfig(6, 7)
    with pytest.raises(ValueError, match="num_classes=1, vocab_size=6"):
        EntityLoopConfig(6, 1)
    with pytest.raises(ValueError, match="sets=0"):
        EntityLoopConfig(6, 4, sets=0)
