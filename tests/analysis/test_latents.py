import itertools

import pytest
import torch

from latentkit.analysis.latents import (
    chi_squared,
    matched_share,
    phi_squared,
    predicted_samples,
    purity,
    samples_by_level,
    signal,
)
from latentkit.tasks import RandomHierarchy
from latentkit.tasks.hierarchy import tuple_ids


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_shares_by_hand():
    codes, truth = torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([2, 2, 0, 0, 2, 1])
    assert purity(codes, truth, 3, 3) == pytest.approx(5 / 6)
    assert matched_share(codes, truth, 3) == pytest.approx(5 / 6)
    split = torch.tensor([0, 0, 1, 1])  # two codes for one latent: pure, and half of it wrong under one name
    assert purity(split, torch.zeros(4, dtype=torch.long), 2, 2) == 1
    assert matched_share(split, torch.zeros(4, dtype=torch.long), 2) == 0.5


@pytest.mark.parametrize("v", [2, 4, 5])
def test_the_best_naming_is_the_best_of_all(v):
    codes, truth = (torch.randint(v, (40,), generator=rng(v + i)) for i in range(2))
    best = max(
        sum(names[code] == latent for code, latent in zip(codes.tolist(), truth.tolist(), strict=True))
        for names in itertools.permutations(range(v))
    )
    assert matched_share(codes, truth, v) == pytest.approx(best / 40)


def test_too_many_latents_are_refused():
    with pytest.raises(ValueError, match="v=17"):
        matched_share(torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long), 17)


def test_phi_squared_by_hand():
    assert float(phi_squared(torch.full((2, 3), 1 / 6).double())) == pytest.approx(0)
    assert float(phi_squared(torch.eye(3).double() / 3)) == pytest.approx(2)  # min(rows, columns) - 1
    lopsided = torch.tensor([[0.4, 0.1], [0.1, 0.4]]).double()
    assert float(phi_squared(lopsided)) == pytest.approx(4 * 0.15**2 / 0.25)


def test_chance_is_taken_off():
    a, b = (torch.randint(8, (5000,), generator=rng(seed)) for seed in (0, 1))
    phi2, dof = chi_squared(a, b, 9, 8)  # the ninth symbol never occurs
    assert dof == 49
    assert phi2 < 3 * (2 * 49) ** 0.5 / 5000
    same, dof = chi_squared(a, a, 8, 8)
    assert same == pytest.approx(7, abs=0.05)


TASK = RandomHierarchy(4, 2, 2, 4, seed=2)


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("target", ["own", "tokens", "root"])
def test_the_exact_signal_is_what_samples_show(level, target):
    """The mean over all places of phi^2 measured on many sentences, pooled over the sentence as the counts are."""
    levels = TASK.draw(60_000, rng(5))
    tuples = tuple_ids(levels[level - 1], 4, 2)
    found = []
    if target == "root":
        found = [chi_squared(column, levels[-1][:, 0], 16, 4)[0] for column in tuples.T]
    else:
        said = (levels[level - 1] if target == "own" else levels[0]).unflatten(1, (tuples.shape[1], -1))
        for slot in (0, 1):
            own, cousin = tuples[:, slot::2], said[:, 1 - slot :: 2]
            for place in range(said.shape[-1]):
                found.append(chi_squared(own.flatten(), cousin[..., place].flatten(), 16, 4)[0])
    measured = sum(found) / len(found)
    assert signal(TASK, level, target) == pytest.approx(measured, rel=0.08, abs=2e-4)


def test_own_signals_are_flat_and_tokens_fade():
    task = RandomHierarchy(8, 4, 2, 5)
    own, tokens, root = ([signal(task, level, target) for level in range(1, 5)] for target in ("own", "tokens", "root"))
    assert max(own) < 3 * min(own)
    assert own[0] == pytest.approx(tokens[0])
    assert all(2 * deeper < higher for higher, deeper in itertools.pairwise(tokens))
    assert all(2 * lower < higher for lower, higher in itertools.pairwise(root))  # near the root it is strong


def test_predicted_samples():
    by_level = samples_by_level(TASK, "own")
    assert len(by_level) == 3
    dof = (4 * 2 - 1) * (4 - 1)
    assert by_level[2] == pytest.approx(dof / signal(TASK, 3, "own"))
    assert by_level[0] == pytest.approx(dof / signal(TASK, 1, "own") / 4)  # four grandparents in a sentence
    assert samples_by_level(TASK, "root")[0] == pytest.approx(dof / signal(TASK, 1, "root"))
    assert predicted_samples(TASK, "own") == max(by_level)


def test_bad_levels_and_targets(learners_view):
    with pytest.raises(ValueError, match="level=4; a sentence has latents to find of levels 1 to 3"):
        signal(TASK, 4, "own")
    with pytest.raises(ValueError, match="target='labels'"):
        signal(TASK, 1, "labels")
