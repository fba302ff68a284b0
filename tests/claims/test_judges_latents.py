"""The verdicts of lab 09 on made-up measurements, and what its comparisons rest on."""

import pytest
import torch

from latentkit.claims import REGISTRY, latents
from latentkit.claims.experiment import reproduce
from latentkit.layers import count_parameters
from latentkit.models import build
from latentkit.training import FitConfig


def judged(claim_id, measured):
    return REGISTRY[claim_id].judge(measured)


def sweep(own, tokens, root=(400, 1500, 10_000, 40_000), missing=(), predicted=None):
    rows = {"own": own, "tokens": tokens, "root": root}
    return {
        f"{target}-L{L}": [
            {"samples": n, "found": int(f"{target}-L{L}" not in missing), "predicted": (predicted or {}).get(target, n)}
            for n in (needed // 2, needed, 2 * needed)
        ]
        for target, values in rows.items()
        for L, needed in zip((2, 3, 4, 5), values, strict=True)
    }


@pytest.mark.parametrize(
    ("own", "tokens", "missing", "verdict"),
    [
        ((2000, 3000, 3990, 3000), (2000, 7000, 20_100, 90_000), ("tokens-L5",), "reproduced"),
        ((2000, 3000, 3990, 3000), (2000, 7000, 20_100, 90_000), ("tokens-L4", "tokens-L5"), "reproduced"),
        ((2000, 3000, 4100, 3000), (2000, 7000, 20_100, 90_000), (), "partly"),
        ((2000, 3000, 3990, 3000), (2000, 7000, 19_900, 90_000), (), "partly"),
        ((2000, 3000, 3990, 3000), (2000, 7000, 20_100, 90_000), ("own-L3",), "partly"),
        ((2000, 3000, 3990, 3000), (2000, 7000, 20_100, 90_000), ("tokens-L2",), "partly"),
        ((2000, 3000, 9000, 3000), (2000, 7000, 10_000, 90_000), (), "not reproduced"),
    ],
)
def test_samples(own, tokens, missing, verdict):
    assert judged("latents-samples", sweep(own, tokens, missing=missing)) == verdict


def test_geometric_means():
    mean, found = latents.samples_needed(sweep((1000, 1, 1, 1), (1, 1, 1, 1)), "own", 2)
    assert mean == pytest.approx(1000) and found


@pytest.mark.parametrize(
    ("factor", "missing", "verdict"),
    [
        (1.0, 0, "reproduced"),
        (3.0, 0, "partly"),
        (1.0, 4, "reproduced"),
        (1.0, 5, "not reproduced"),
        (9, 0, "not reproduced"),
    ],
)
def test_prediction(factor, missing, verdict):
    """One of the twelve is off by `factor` against a common factor of 3; the mean moves a little with it."""
    results = sweep((3000,) * 4, (3000,) * 4, (3000,) * 4)
    for number, (arm, runs) in enumerate(results.items()):
        for run in runs:
            run["predicted"] = 1000 / (factor if arm == "own-L2" else 1)
            run["found"] = int(number < 12 - missing)
    assert judged("correlations-predict-samples", results) == verdict


def stages(own, tokens):
    """Each at its better rate; the other one is worse."""
    return {
        "own-8192-0.003": [{"top_purity": 0.45}] * 3,
        "own-8192-0.01": [{"top_purity": value} for value in own],
        "tokens-8192-0.003": [{"top_purity": value} for value in tokens],
        "tokens-8192-0.01": [{"top_purity": 0.2}] * 3,
        "own-2048-0.01": [{"top_purity": 0.0}] * 3,
    }


@pytest.mark.parametrize(
    ("own", "tokens", "verdict"),
    [
        ((0.95, 1, 1), (0.3, 0.59, 0.4), "reproduced"),
        ((0.94, 1, 1), (0.3, 0.59, 0.4), "partly"),
        ((0.95, 1, 1), (0.3, 0.6, 0.4), "partly"),
        ((0.5, 1, 1), (0.3, 0.6, 0.4), "not reproduced"),
    ],
)
def test_stagewise(own, tokens, verdict):
    assert judged("stagewise-latents", stages(own, tokens)) == verdict


@pytest.mark.parametrize(
    ("teacher", "tokens", "control", "verdict"),
    [
        ((0.95, 1, 1), (0.3, 0.5, 0.4), 0.001, "reproduced"),
        ((0.95, 1, 1), (0.3, 0.5, 0.4), 0.5, "partly"),
        ((0.8, 0.9, 0.9), (0.3, 0.7, 0.4), 0.001, "partly"),
        ((0.8, 0.9, 0.9), (0.3, 0.8, 0.4), 0.001, "not reproduced"),
        ((0.2, 0.9, 0.9), (0.1, 0.1, 0.1), 0.001, "not reproduced"),  # the untrained one has 0.25
    ],
)
def test_teacher(teacher, tokens, control, verdict):
    results = {
        "teacher": [{"top_purity": value} for value in teacher],
        "tokens": [{"top_purity": value} for value in tokens],
        "untrained": [{"top_purity": 0.25}] * 3,
        "not-standardised": [{"top_purity": 0.2, "most_spread": control}] * 3,
    }
    assert judged("teacher-latents", results) == verdict


# -- what the arms do


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTKIT_HOME", str(tmp_path))
    return tmp_path


def test_samples_grow_by_half_octaves():
    assert [latents.sample_size(step) for step in range(4)] == [128, 181, 256, 362]
    assert latents.sample_size(latents.TRIES - 1) == 262_144


def only(claim_id, names, **changes):
    """The claim with some of its arms, its judge aside."""
    from dataclasses import replace

    claim = REGISTRY[claim_id]
    arms = [replace(arm, **changes) for arm in claim.arms("cpu") if arm.name in names]
    return replace(claim, arms=lambda budget: arms, judge=lambda results: "partly")


def test_a_clustering_goes_on_until_it_has_found_everything(home):
    record = reproduce(only("latents-samples", ["root-L2"]), seeds=2)
    assert record.values("root-L2/found") == [1, 1]
    assert all(128 <= n <= 2048 for n in record.values("root-L2/samples"))
    assert all(min(right) >= 0.95 for right in record.values("root-L2/right_by_level"))
    one, other = record.values("root-L2/predicted")
    assert one != other  # another seed is another grammar
    few = reproduce(only("latents-samples", ["tokens-L3"], fit=FitConfig(steps=2)), seeds=1)
    assert (few.values("tokens-L3/found"), few.values("tokens-L3/samples")) == ([0], [181])


def test_stages_are_trained_one_after_the_other_and_go_on_where_they_were(home):
    claim = only("stagewise-latents", ["own-2048-0.01"], fit=FitConfig(steps=2, warmup=0))
    record = reproduce(claim, seeds=1)
    assert len(record.values("own-2048-0.01/purity_by_level")[0]) == 3
    (folder,) = (home / ".runs").iterdir()
    assert sorted(part.name for part in folder.iterdir() if part.is_dir()) == ["level-1", "level-2", "level-3"]
    (known,) = folder.glob("*.json")
    known.unlink()
    again = reproduce(claim, seeds=1)
    assert again.values("own-2048-0.01/purity_by_level") == record.values("own-2048-0.01/purity_by_level")


def test_the_measurements_of_an_untrained_teacher(home):
    record = reproduce(only("teacher-latents", ["untrained"]), seeds=1)
    assert 0.125 <= record.values("untrained/top_purity")[0] <= 0.6
    assert all(0 < spread <= 1 for spread in record.values("untrained/spread_by_level")[0])


def test_encoders_are_equal():
    """What predicts tokens is wider at the upper levels; all that a code passes through is the same."""
    arms = {arm.name: arm for arm in REGISTRY["stagewise-latents"].arms("cpu")}
    own, tokens = (build(arms[name].config) for name in ("own-8192-0.01", "tokens-8192-0.01"))
    assert count_parameters(own.encoders) == count_parameters(tokens.encoders)
    teachers = [build(arm.config) for arm in REGISTRY["teacher-latents"].arms("cpu")]
    assert len({count_parameters(model.student) for model in teachers}) == 1


def test_held_out_sentences_are_no_training_sentences():
    task = latents.strings(5).task
    held = {tuple(row) for row in latents.held_out(task)[0].tolist()}
    finite = latents.strings(5, 8192).task.finite[0]
    assert not held & {tuple(row) for row in finite.tolist()}
    assert torch.equal(latents.held_out(task)[0], latents.held_out(task)[0])
