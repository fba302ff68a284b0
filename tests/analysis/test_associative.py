from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from latentkit.analysis.associative import (
    Rule,
    associations,
    best_recall,
    ceiling,
    interrupted,
    nearest,
    recovery,
    write,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pairs(n=12, d=6):
    g = generator(3)
    return F.normalize(torch.randn(2, n, d, generator=g), dim=-1), torch.randn(2, n, d, generator=g)


def test_writing_is_the_delta_rule_token_by_token():
    keys, values = pairs()
    M = torch.zeros(2, 6, 6)
    for t in range(12):
        k, v = keys[:, t, :, None], values[:, t, :, None]
        M = M + 0.4 * (v - M @ k) @ k.mT
    written = write(Rule(), keys, values, 0.4)
    torch.testing.assert_close(written.fast.D[0], M, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(written.read(keys), keys @ M.mT, rtol=1e-5, atol=1e-5)


def test_momentum_forgetting_and_the_hebbian_sum():
    keys, values = pairs()
    M, S = torch.zeros(2, 6, 6), torch.zeros(2, 6, 6)
    for t in range(12):
        k, v = keys[:, t, :, None], values[:, t, :, None]
        S = 0.5 * S + 0.1 * (v - M @ k) @ k.mT
        M = 0.9 * M + S
    torch.testing.assert_close(write(Rule(eta=0.5, alpha=0.1), keys, values, 0.1).fast.D[0], M, rtol=1e-5, atol=1e-5)
    summed = write(Rule(hebbian=True), keys, values, 1.0).fast.D[0]
    torch.testing.assert_close(summed, values.mT @ keys, rtol=1e-5, atol=1e-5)


def test_an_mlp_learns_a_pair_that_it_sees_often():
    keys, values = pairs(n=1)
    written = write(Rule(hidden=8), keys.repeat(1, 200, 1), values.repeat(1, 200, 1), 0.2)
    torch.testing.assert_close(written.read(keys), values, rtol=0, atol=1e-3)
    assert written.surprise[:, -1].max() < 0.01 * written.surprise[:, 0].min()


def test_towards_zero_an_mlp_dies_and_towards_its_initial_weights_it_does_not():
    g = generator()
    keys, values = F.normalize(torch.randn(1, 600, 8, generator=g), dim=-1), torch.randn(1, 600, 8, generator=g)
    dead = write(Rule(hidden=16, alpha=0.1, initial=False), keys, values, 0.05)
    alive = write(Rule(hidden=16, alpha=0.1), keys, values, 0.05)
    assert dead.surprise[0, -50:].mean() < 0.05 < 0.5 < alive.surprise[0, -50:].mean()


@pytest.mark.parametrize("regime", ["independent", "correlated", "rewritten"])
def test_regimes(regime):
    data = associations(regime, 5, generator(), d=16, batch=200)
    assert data.keys.norm(dim=-1).allclose(torch.ones(())) and data.values.norm(dim=-1).allclose(torch.ones(()))
    similar = (data.asked_keys @ data.asked_keys.mT)[:, *torch.triu_indices(5, 5, 1)].mean().item()
    assert similar == pytest.approx(0.5 if regime == "correlated" else 0.0, abs=0.05)
    times = 4 if regime == "rewritten" else 1
    assert data.keys.shape == (200, 5 * times, 16)
    assert torch.equal(data.keys[:, -5:], data.asked_keys) and torch.equal(data.values[:, -5:], data.asked_values)
    if regime == "rewritten":
        assert torch.equal(data.keys[:, :5], data.keys[:, 5:10])
        assert not torch.equal(data.values[:, :5], data.values[:, -5:])


def test_what_the_lab_says_about_rules():
    """Correcting errors pays on correlated and rewritten keys, and not on independent ones."""
    gain = {}
    for regime in ("independent", "correlated", "rewritten"):
        data = associations(regime, 32, generator(1))
        gain[regime] = best_recall(Rule(), data)[0] - best_recall(Rule(hebbian=True), data)[0]
    assert abs(gain["independent"]) < 0.05
    assert gain["correlated"] > 0.1 and gain["rewritten"] > 0.3


def test_nearest_and_the_ceiling():
    data = associations("independent", 8, generator())
    assert nearest(data.asked_values, data.asked_values) == ceiling(data) == 1
    assert nearest(-data.asked_values, data.asked_values) == 0
    assert ceiling(associations("independent", 256, generator())) < 0.4


def test_the_stream_says_the_next_token_and_changes_all_successors():
    flow = interrupted(generator(), length=256)
    assert len(flow.tokens) == 256 and flow.switch == 128
    assert torch.equal(flow.keys[0, 1:], flow.values[0, :-1])
    tokens = flow.tokens.tolist()
    assert [tokens[i] for i in flow.odd] == [8, 9, 10, 11]

    def successors(start, end):
        return {a: b for a, b in zip(tokens[start:end], tokens[start + 1 : end], strict=False) if max(a, b) < 8}

    first, second = successors(0, 40), successors(129, 160)
    assert first.keys() == second.keys() == set(range(8))
    assert all(first[token] != second[token] for token in range(8))


def test_recovery_by_hand():
    calm, upset = [0.1] * 64, [1.0] * 16
    surprise = torch.tensor(calm + upset + [0.2] * 32)
    assert recovery(surprise, 64) == 16
    assert recovery(torch.tensor(calm + [1.0] * 48), 64) is None


def test_slack_is_what_lets_a_perfect_memory_be_back():
    surprise = torch.tensor([0.0] * 64 + [1.0] * 8 + [0.04] * 16)
    assert recovery(surprise, 64) == 8
    assert recovery(surprise, 64, slack=0.0) is None
    assert recovery(surprise, 64, slack=1.1) == 0
    assert recovery(surprise + 0.04, 64, slack=0.0) is None
    assert recovery(surprise + 0.04, 64, slack=0.0, factor=3.0) == 8


@pytest.mark.parametrize("period", [5, 7, 8, 9, 10, 12])
def test_every_period_that_is_accepted_has_another_order(period):
    tokens = interrupted(generator(), period=period, length=512).tokens.tolist()
    tokens = [t if t < period else None for t in tokens]
    first = {a: b for a, b in pairwise(tokens[:256]) if None not in (a, b)}
    second = {a: b for a, b in pairwise(tokens[257:]) if None not in (a, b)}
    assert set(first) == set(second) == set(range(period))
    assert all(first[token] != second[token] for token in range(period))


def test_bad_input_says_what_would_be_right(learners_view):
    with pytest.raises(ValueError, match="choose 'independent', 'correlated' or 'rewritten'"):
        associations("random", 4, generator())
    with pytest.raises(ValueError, match="number=0, d=32, batch=8; all must be at least 1"):
        associations("independent", 0, generator())
    with pytest.raises(ValueError, match="choose hidden=0 or hebbian=False"):
        Rule(hidden=4, hebbian=True)
    for fields in ({"eta": 2.0}, {"alpha": -1.0}):
        with pytest.raises(ValueError, match="need 0 <= eta < 1 and 0 <= alpha <= 1"):
            Rule(**fields)
    for period in (2, 6, 300):
        with pytest.raises(ValueError, match="such as 8"):
            interrupted(generator(), period=period)
    with pytest.raises(ValueError, match="switch must be from 64 to 92"):
        recovery(torch.zeros(100), 40)
