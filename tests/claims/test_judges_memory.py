"""The verdicts of lab 08 on made-up measurements, and what its comparisons rest on."""

from dataclasses import replace

import pytest
import torch

from latentkit.claims import REGISTRY, test_time_memory
from latentkit.claims.test_time_memory import (
    CHUNKS,
    MATRIX,
    NEEDLES,
    best_of,
    measure_chunks,
    measure_recall,
    recall_at,
)
from latentkit.layers import count_parameters
from latentkit.models import Titans, TitansConfig, build
from latentkit.training import load_weights, save_weights


def runs(metric, *values):
    return [{metric: value} for value in values]


def judged(claim_id, results):
    return REGISTRY[claim_id].judge(results)


@pytest.mark.parametrize(
    ("matrix", "linear", "slower", "verdict"),
    [
        ([0.95, 0.97, 1.0], [0.5, 0.6, 0.69], [0.1, 0.1, 0.1], "reproduced"),
        ([0.95, 0.97, 1.0], [0.5, 0.6, 0.7], [0.1, 0.1, 0.1], "partly"),
        ([0.95, 0.97, 1.0], [0.1, 0.1, 0.1], [0.5, 0.6, 0.7], "partly"),  # the better of its two rates counts
        ([0.94, 0.97, 1.0], [0.5, 0.6, 0.6], [0.1, 0.1, 0.1], "partly"),
        ([0.5, 0.97, 1.0], [0.5, 0.6, 0.6], [0.1, 0.1, 0.1], "not reproduced"),
    ],
)
def test_needles_recall(matrix, linear, slower, verdict):
    results = {
        "matrix": runs("recall@1024", *matrix),
        "matrix-token": runs("recall@1024", 0, 0, 0),
        "linear-attention": [{"recall@1024": x, "recall@128": x} for x in linear],
        "linear-attention-0.002": [{"recall@1024": x, "recall@128": x} for x in slower],
    }
    assert judged("needles-recall", results) == verdict


def test_the_learning_rate_is_chosen_by_the_length_of_training():
    results = {
        "linear-attention": [{"recall@128": 0.9, "recall@1024": 0.3}],
        "linear-attention-0.002": [{"recall@128": 0.8, "recall@1024": 0.6}],
    }
    assert best_of(results, "linear-attention", 1024) == [0.3]


@pytest.mark.parametrize(
    ("worst", "attention", "verdict"),
    [
        ((0.95, 0.99, 1.0), 0.4, "reproduced"),
        ((0.95, 0.94, 1.0), 0.4, "partly"),
        ((0.95, 0.99, 1.0), 0.5, "not reproduced"),
        ((0.5, 0.4, 0.3), 0.1, "not reproduced"),
    ],
)
def test_hybrids(worst, attention, verdict):
    results = {name: runs("recall@256", 1.0, w) for name, w in zip(("MAC", "MAG", "MAL"), worst, strict=True)}
    results["attention"] = runs("recall@256", 0.1, attention)
    if verdict == "not reproduced" and attention == 0.5:
        results = {**results, **{name: runs("recall@256", 1.0, 0.96) for name in ("MAC", "MAG", "MAL")}}
    assert judged("titans-hybrids-needles", results) == verdict


def chunked(at16, at64):
    return [{f"recall@chunk{c}": at64 if c == 64 else at16 for c in CHUNKS}]


@pytest.mark.parametrize(
    ("matrix", "mlp", "token", "verdict"),
    [
        ((0.9, 0.1), (0.9, 0.1), (0.9, 0.9), "reproduced"),
        ((0.9, 0.9), (0.9, 0.1), (0.9, 0.9), "partly"),
        ((0.9, 0.1), (0.9, 0.1), (0.9, 0.8), "not reproduced"),
        ((0.9, 0.9), (0.9, 0.9), (0.9, 0.9), "not reproduced"),  # the identity alone is no finding
        ((0.4, 0.1), (0.4, 0.1), (0.9, 0.5), "not reproduced"),
    ],
)
def test_chunk_size(matrix, mlp, token, verdict):
    results = {"matrix": chunked(*matrix), "mlp": chunked(*mlp), "matrix-token": chunked(*token)}
    assert judged("chunk-size-is-part", results) == verdict


@pytest.mark.parametrize(
    ("growth", "near", "far", "verdict"),
    [
        (4.9, 0.9, 0.9, "reproduced"),
        (4.9, 0.9, 0.1, "partly"),
        (4.9, 0.1, 0.1, "not reproduced"),  # constant, and dead
        (5.1, 1.0, 1.0, "not reproduced"),
    ],
)
def test_million(growth, near, far, verdict):
    run = {"growth_percent": growth, "recall_from_1024_before": near, "recall_from_start": far}
    assert judged("million-tokens", {"matrix": [run]}) == verdict


def test_parameters_are_as_equal_as_the_notes_say():
    sizes = {arm.name: count_parameters(build(arm.config)) for arm in REGISTRY["needles-recall"].arms("cpu")}
    matrix = sizes["matrix"]
    assert sizes.pop("mlp") == pytest.approx(1.09 * matrix, rel=0.005)
    assert all(size == pytest.approx(matrix, rel=0.01) for size in sizes.values())
    hybrids = {arm.name: count_parameters(build(arm.config)) for arm in REGISTRY["titans-hybrids-needles"].arms("cpu")}
    assert all(size == pytest.approx(hybrids["MAC"], rel=0.01) for size in hybrids.values())


def test_all_arms_train_alike_and_baselines_may_choose_their_rate():
    arms = REGISTRY["needles-recall"].arms("cpu")
    assert len({(arm.batches.low, arm.batches.high, arm.batches.batch, arm.fit.steps) for arm in arms}) == 1
    rates = {}
    for arm in arms:
        rates.setdefault(arm.name.removesuffix("-0.002"), set()).add(arm.fit.learning_rate)
    assert rates.pop("linear-attention") > rates["matrix"]
    assert all(rate == rates["matrix"] for rate in rates.values())


def untrained():
    """A memory that recalls by chance."""
    torch.manual_seed(0)
    return build(TitansConfig(NEEDLES.vocab_size, NEEDLES.num_classes, memory=MATRIX))


def test_an_untrained_memory_recalls_by_chance(monkeypatch):
    monkeypatch.setattr(test_time_memory, "LENGTHS", (64, 128))
    arm = REGISTRY["needles-recall"].arms("cpu")[0]
    metrics = measure_recall(untrained(), arm)
    assert metrics["recall@64"] < 0.2 and metrics["recall@128"] < 0.2
    assert metrics["theta_value"] == pytest.approx(0.047, abs=0.02)


def test_blocks_do_not_change_what_is_measured():
    model = untrained()
    assert recall_at(model, 128, block=16, questions=64) == recall_at(model, 128, questions=64)


def test_chunks_are_measured_without_a_warning(monkeypatch):
    monkeypatch.setattr(test_time_memory, "CHUNKS", (8, 16))
    arm = REGISTRY["chunk-size-is-part"].arms("cpu")[0]
    assert measure_chunks(untrained(), arm).keys() == {"recall@chunk8", "recall@chunk16"}


def test_a_stream_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(test_time_memory, "MILLION", 4096)
    monkeypatch.setattr(test_time_memory, "EARLY", 2048)
    monkeypatch.setattr(test_time_memory, "ROWS", 2)
    save_weights(untrained(), tmp_path / "model.safetensors")
    metrics = test_time_memory.read_a_million(str(tmp_path / "model.safetensors"))
    assert metrics["resident_mb@1M"] > 50
    assert {"growth_percent", "recall_from_start", "recall_from_1024_before"} <= metrics.keys()


def test_titans_configs_survive_a_checkpoint(tmp_path):
    config = TitansConfig(40, 16, "MAG", replace(MATRIX, depth=2, chunk=8))
    torch.manual_seed(0)
    save_weights(Titans(config), tmp_path / "m.safetensors")
    assert load_weights(tmp_path / "m.safetensors").config == config
