import itertools
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import one_hot

from latentkit.analysis import Restarts, auc, restarts, select
from latentkit.analysis.reliability import _agreement
from latentkit.layers import MixingConfig
from latentkit.models import TRM, EqR, EqRConfig, TRMConfig
from latentkit.recurrence import unroll


class Lucky:
    """Copies its tokens, halfway at every pass, where the start was lucky; elsewhere it never settles."""

    luck = 0.5

    def encode(self, tokens):
        return one_hot(tokens, 4).float()

    def initial_state(self, context):
        lucky = (torch.rand(len(context), 1, 1) < self.luck).float().expand(-1, context.shape[1], 1)
        return torch.cat([0.01 * torch.randn_like(context), lucky], -1)

    def step(self, state, context):
        answer, lucky = state[..., :4], state[..., 4:]
        answer = torch.where(lucky > 0, (answer + 20 * context) / 2, 0.3 * torch.randn_like(answer))
        return torch.cat([answer, lucky], -1)

    def decode(self, state):
        return state[..., :4]


class Believing(Lucky):
    """Knows whether it was lucky."""

    def halt_logit(self, state):
        return 4 * state[:, 0, 4] - 2


TOKENS = torch.randint(4, (30, 9), generator=torch.Generator().manual_seed(0))


def test_signals_tell_the_lucky_runs_apart():
    runs = restarts(Believing(), TOKENS, 40, 8)
    assert runs.predictions.shape == (8, 30, 9)
    assert set(runs.signals) == {"residual", "min_confidence", "halt_logit", "agreement"}
    right = (runs.predictions == TOKENS).all(-1)
    assert 0.3 < right.float().mean() < 0.7
    for name, signal in runs.signals.items():
        assert signal.shape == (8, 30)
        assert auc(signal, right) > 0.99, name
        found = (select(runs, name) == TOKENS).all(-1)
        assert torch.equal(found, right.any(0)) or name == "agreement"


def test_signals_by_hand():
    """Residual and confidence are those of the trajectory's last passes; one run has no agreement."""
    runs = restarts(Lucky(), TOKENS, 8, seed=0)
    assert set(runs.signals) == {"residual", "min_confidence"}
    torch.manual_seed(0)
    whole = unroll(Lucky(), TOKENS, 8)
    assert torch.equal(runs.predictions[0], whole.predictions[-1])
    residual = whole.residuals[-3:].mean((0, 2))
    torch.testing.assert_close(runs.signals["residual"][0], -residual)
    torch.testing.assert_close(runs.signals["min_confidence"][0], whole.logits[-1].softmax(-1).amax(-1).amin(-1))


@pytest.mark.parametrize("passes", [1, 2, 3, 4, 19, 20])
def test_the_number_of_passes_is_kept(passes):
    class Counting(Lucky):
        steps = 0

        def step(self, state, context):
            self.steps += 1
            return super().step(state, context)

    model = Counting()
    done = []
    restarts(model, TOKENS[:6], passes, 2, chunk=4, progress=done.append)
    assert model.steps == passes * 2 * 2  # two chunks, two runs
    assert sum(done) == passes * 2 * 6


def test_agreement_by_hand():
    predictions = torch.tensor([[[0, 0]], [[0, 1]], [[1, 1]]])
    assert _agreement(predictions).flatten().tolist() == pytest.approx([0.25, 0.5, 0.25])


def test_few_restarts_are_the_first_of_many_and_the_global_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    many, few, other = (restarts(Lucky(), TOKENS, 5, r, seed=seed) for r, seed in ((4, 1), (2, 1), (2, 2)))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(many.predictions[:2], few.predictions)
    assert torch.equal(many.signals["residual"][:2], few.signals["residual"])
    assert not torch.equal(few.predictions, other.predictions)
    assert not torch.equal(few.predictions[0], few.predictions[1])


def test_chunks_are_put_together_in_order():
    class Copy(Lucky):
        luck = 2

    assert torch.equal(restarts(Copy(), TOKENS, 5, 1, chunk=7).predictions[0], TOKENS)


def test_models_with_a_tuple_as_state():
    config = {"vocab_size": 3, "num_classes": 2, "block": MixingConfig(num_positions=9, d_model=8, hidden=8)}
    tokens = TOKENS.clamp(max=2)
    runs = restarts(EqR(EqRConfig(**config)), tokens, 3, 2)
    assert set(runs.signals) == {"residual", "min_confidence", "halt_logit", "agreement"}
    assert not torch.equal(*runs.signals["residual"])
    trm = TRM(TRMConfig(**config))
    assert restarts(trm, tokens, 3).predictions.shape == (1, 30, 9)
    with pytest.raises(ValueError, match=r"restarts=2, but TRM always starts from the same state"):
        restarts(trm, tokens, 3, 2)


def test_memory_does_not_grow_with_passes():
    class Watched(Lucky):
        """Counts how many of the states that it ever made are still alive."""

        def __init__(self):
            self.states, self.most = weakref.WeakSet(), 0

        def step(self, state, context):
            new = super().step(state, context)
            self.states.add(new)
            self.most = max(self.most, len(self.states))
            return new

    few, many = Watched(), Watched()
    restarts(few, TOKENS, 10, 2)
    restarts(many, TOKENS, 500, 4)
    assert many.most == few.most <= 6


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs(pairs):
    signal, right = (torch.tensor(column) for column in zip(*pairs, strict=True))
    good, bad = signal[right].tolist(), signal[~right].tolist()
    if not good or not bad:
        with pytest.raises(ValueError, match=f"{len(good)} of {len(pairs)} answers are right"):
            auc(signal.float(), right)
        return
    wins = [(g > b) + 0.5 * (g == b) for g, b in itertools.product(good, bad)]
    assert auc(signal.float(), right) == pytest.approx(sum(wins) / len(wins), abs=1e-12)


def test_auc_at_its_ends():
    right = torch.tensor([[True, False], [True, False]])
    signal = torch.tensor([[2.0, 1.0], [3.0, -1.0]])
    assert auc(signal, right) == 1
    assert auc(-signal, right) == 0
    assert auc(torch.zeros(2, 2), right) == 0.5


def test_select_takes_the_first_of_equals():
    runs = Restarts(torch.tensor([[[1]], [[2]], [[3]]]), {"s": torch.tensor([[0.1], [0.7], [0.7]])})
    assert select(runs, "s").tolist() == [[2]]


def test_bad_input_is_refused(learners_view):
    runs = restarts(Lucky(), TOKENS[:2], 2, 2)
    with pytest.raises(
        ValueError, match=r"no signal 'halt_logit' in these runs; choose residual, min_confidence, agree"
    ):
        select(runs, "halt_logit")
    with pytest.raises(ValueError, match=r"restarts=0; at least 1"):
        restarts(Lucky(), TOKENS, 2, 0)
    with pytest.raises(ValueError, match=r"chunk=0; at least 1"):
        restarts(Lucky(), TOKENS, 2, 1, chunk=0)
    with pytest.raises(ValueError, match=r"passes=0"):
        restarts(Lucky(), TOKENS, 0)
    with pytest.raises(ValueError, match=r"signal has shape \[3\], right \[2\]"):
        auc(torch.zeros(3), torch.tensor([True, False]))
    with pytest.raises(ValueError, match="1 of 2 signals are not a number"):
        auc(torch.tensor([torch.nan, 0]), torch.tensor([True, False]))
