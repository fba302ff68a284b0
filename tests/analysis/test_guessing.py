import pytest
import torch

from latentkit.analysis.guessing import guess, guessing_restarts
from latentkit.models import SudokuGraph, SudokuGraphConfig

MODEL = SudokuGraph(SudokuGraphConfig(2, 2, channels=4, hidden=6)).eval()
TOKENS = torch.tensor([[1, 0, 0, 0, 0, 0, 2, 0, 0, 3, 0, 0, 0, 0, 0, 4]] * 3)


def test_guesses_are_undecided_blanks_with_digits_of_the_belief():
    torch.manual_seed(0)
    belief = torch.full((200, 16, 4), 0.25)
    belief[:, 3] = torch.tensor([1.0, 0, 0, 0])  # decided
    belief[:, 5] = torch.tensor([0.0, 0.5, 0.5, 0])
    blank = (TOKENS[:1] == 0).expand(200, -1)
    chosen = guess(belief, blank, 2)
    assert (chosen.sum((1, 2)) == 2).all()
    assert (chosen.sum(2) <= 1).all()
    assert not chosen[~blank].any()
    assert not chosen[:, 3].any()
    assert chosen[:, 5, 1:3].any() and not chosen[:, 5, [0, 3]].any()
    assert len(chosen.any(2).unique(dim=0)) > 50  # cells are drawn, not fixed


def test_decided_blanks_are_taken_only_where_no_others_are_left():
    belief = torch.zeros(1, 16, 4)
    belief[..., 0] = 1
    belief[:, 1] = 0.25
    chosen = guess(belief, TOKENS[:1] == 0, 3)
    assert chosen[0, 1].any() and chosen.sum() == 3


@torch.no_grad()
def test_a_supposed_digit_is_coded_as_given_and_nothing_else_changes():
    supposed = torch.zeros(3, 16, 4, dtype=torch.bool)
    supposed[:, 1, 2] = True
    plain, held = MODEL.encode(TOKENS)[0].flatten(1, 4), MODEL.encode(TOKENS, supposed)[0].flatten(1, 4)
    assert torch.equal(held[:, 1, 2], MODEL.code.weight[1].expand(3, -1))
    elsewhere = ~supposed[0].flatten()
    assert torch.equal(plain.flatten(1, 2)[:, elsewhere], held.flatten(1, 2)[:, elsewhere])


def test_the_first_run_is_plain_and_few_restarts_are_the_first_of_many():
    many = guessing_restarts(MODEL, TOKENS, 20, 4, enough=2.0)
    few = guessing_restarts(MODEL, TOKENS, 20, 2, enough=2.0)
    assert torch.equal(many.predictions[:2], few.predictions)
    assert many.predictions.shape == (4, 3, 16)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        context = MODEL.encode(TOKENS)
        state = MODEL.initial_state(context)
        for _ in range(20):
            state = MODEL.step(state, context)
        logits = MODEL.decode(state)
    assert torch.equal(many.predictions[0], logits.argmax(-1))
    torch.testing.assert_close(many.signals["min_confidence"][0], logits.softmax(-1).amax(-1).amin(-1))


def test_a_puzzle_that_is_sure_enough_is_not_run_again(monkeypatch):
    runs = []
    step = SudokuGraph.step

    def counted(self, h, context):
        runs.append(len(h))
        return step(self, h, context)

    monkeypatch.setattr(SudokuGraph, "step", counted)
    found = guessing_restarts(MODEL, TOKENS, 16, 5, enough=0.0)
    assert runs == [3] * 8  # one stride, once: every puzzle is confident enough at the first look
    assert (found.predictions == found.predictions[0]).all()


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    guessing_restarts(MODEL, TOKENS, 8, 2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("bad", [{"restarts": 0}, {"guesses": 0}, {"passes": 0}])
def test_bad_input_is_refused(bad):
    settings = {"passes": 8, "restarts": 2, "guesses": 2} | bad
    with pytest.raises(ValueError, match=next(iter(bad))):
        guessing_restarts(MODEL, TOKENS, settings.pop("passes"), settings.pop("restarts"), **settings)
