"""The verdicts of lab 07 on made-up measurements, and what its comparisons rest on."""

import pytest

from latentkit.claims import REGISTRY, copying, ledger
from latentkit.layers import count_parameters
from latentkit.models import build


def judged(claim_id: str, measured: dict[str, list[dict]]) -> str:
    return REGISTRY[claim_id].judge(measured)


def seeds(metric: str, *values: float, **others: float) -> list[dict]:
    return [{metric: value, **others} for value in values]


def equal(at16, at32, gru, ssm):
    """The better rate of each; the other one is worse for the transformer and the GRU, and no better for the SSM."""
    worse = [{"accuracy@16": 0.5, "accuracy@32": 0.2}] * 3
    return {
        "transformer-0.002": worse,
        "transformer-0.004": [{"accuracy@16": a, "accuracy@32": b} for a, b in zip(at16, at32, strict=True)],
        "gru-0.002": seeds("accuracy@16", *gru),
        "gru-0.004": seeds("accuracy@16", 0.1, 0.1, 0.1),
        "ssm-0.002": seeds("accuracy@16", *ssm),
        "ssm-0.004": seeds("accuracy@16", 0.1, 0.1, 0.1),
    }


@pytest.mark.parametrize(
    ("at16", "at32", "gru", "ssm", "verdict"),
    [
        ((0.99, 1, 1), (0.97, 1, 1), (0.7, 0.5, 0.6), (0.1, 0.7, 0.2), "reproduced"),
        ((0.98, 1, 1), (0.97, 1, 1), (0.7, 0.5, 0.6), (0.1, 0.7, 0.2), "partly"),
        ((0.99, 1, 1), (0.96, 1, 1), (0.7, 0.5, 0.6), (0.1, 0.7, 0.2), "partly"),
        ((0.99, 1, 1), (0.97, 1, 1), (0.71, 0.5, 0.6), (0.1, 0.7, 0.2), "partly"),
        ((0.9, 0.9, 0.9), (0.97, 1, 1), (0.1, 0.5, 0.6), (0.1, 0.71, 0.2), "not reproduced"),
    ],
)
def test_equal_parameters(at16, at32, gru, ssm, verdict):
    assert judged("copying-equal-parameters", equal(at16, at32, gru, ssm)) == verdict


@pytest.mark.parametrize(
    ("hard", "others", "verdict"),
    [(0.9, 0.5, "reproduced"), (0.89, 0.5, "partly"), (0.95, 0.6, "partly"), (0.5, 0.5, "not reproduced")],
)
@pytest.mark.parametrize("not_learned", [(), ("nope",), ("nope", "alibi")])
def test_positions(hard, others, verdict, not_learned):
    """Kinds that have not learned 16 letters still count against the claim, as long as one other has."""
    at16 = {kind: 0.89 if kind in not_learned else 0.9 for kind in ("alibi", "rope", "nope")}
    results = {kind: seeds("accuracy@32", 0.1, others, 0.2, **{"accuracy@16": a}) for kind, a in at16.items()}
    results["hard-alibi"] = seeds("accuracy@32", 1.0, hard, 0.95, **{"accuracy@16": 0.9})
    assert judged("copying-positions", results) == verdict


@pytest.mark.parametrize("not_learned", [("alibi", "rope", "nope"), ("hard-alibi",)])
def test_who_has_not_learned_to_copy_is_no_evidence_for_positions(not_learned):
    kinds = {"hard-alibi": 0.95, "alibi": 0.1, "rope": 0.1, "nope": 0.1}
    results = {
        kind: seeds("accuracy@32", at32, **{"accuracy@16": 0.89 if kind in not_learned else 1.0})
        for kind, at32 in kinds.items()
    }
    assert judged("copying-positions", results) == "not reproduced"


def test_a_kind_has_learned_where_every_seed_has():
    assert copying.learned([0.9, 1.0]) and not copying.learned([0.89, 1.0])


def by_examples(transformer, gru, ssm):
    results = {f"transformer-{n}": seeds("accuracy@16", a, 1.0) for n, a in transformer.items()}
    return results | {"gru-44800": seeds("accuracy@16", gru, 1.0), "ssm-44800": seeds("accuracy@16", ssm, 1.0)}


@pytest.mark.parametrize(
    ("transformer", "gru", "ssm", "verdict"),
    [
        ({6400: 0.5, 12800: 0.95, 44800: 1.0}, 0.9, 0.9, "reproduced"),
        ({6400: 0.5, 28800: 0.95, 44800: 1.0}, 0.9, 0.9, "partly"),
        ({6400: 0.5, 12800: 0.95, 44800: 1.0}, 0.95, 0.9, "partly"),
        ({6400: 0.5, 12800: 0.95, 44800: 1.0}, 0.95, 0.95, "not reproduced"),
        ({6400: 0.5, 12800: 0.9, 44800: 0.94}, 0.9, 0.9, "not reproduced"),
    ],
)
def test_examples(transformer, gru, ssm, verdict):
    assert judged("copying-examples", by_examples(transformer, gru, ssm)) == verdict


def test_examples_that_are_enough():
    results = by_examples({6400: 0.94, 12800: 0.96, 19200: 0.97}, 0.9, 0.95)
    assert copying.examples_to(results, "transformer") == 12800
    assert copying.examples_to(results, "gru") is None
    assert copying.examples_to(results, "ssm") == 44800


@pytest.mark.parametrize(
    ("transformer", "gru", "ssm", "prefix", "verdict"),
    [
        (0.9, 0.7, 0.1, 0.9, "reproduced"),
        (0.9, 0.7, 0.1, 0.89, "partly"),
        (0.89, 0.7, 0.1, 0.9, "partly"),
        (0.9, 0.1, 0.71, 0.9, "partly"),
        (0.8, 0.8, 0.1, 1.0, "not reproduced"),
    ],
)
def test_lookup(transformer, gru, ssm, prefix, verdict):
    results = {
        "transformer-suffix": seeds("accuracy@16", 1.0, transformer),
        "gru-suffix": seeds("accuracy@16", 0.2, gru),
        "ssm-suffix": seeds("accuracy@16", ssm, 0.2),
        "gru-prefix": seeds("accuracy@16", 1.0, prefix),
        "transformer-prefix": seeds("accuracy@16", 0.5, 0.5),
    }
    assert judged("ngram-lookup", results) == verdict


def bits(most, recurrent=47.9, at16=48.1, at24=72.1):
    results = {f"gru-{h}": seeds("most_bits", m, m + 1) for h, m in zip(copying.HIDDEN, most, strict=True)}
    results["ssm-1"] = seeds("most_bits", 9.0, recurrent)
    return results | {"transformer": seeds("bits@16", at16, 60.0, **{"bits@24": at24})}


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        (bits((1, 4, 12, 20, 30)), "reproduced"),
        (bits((1, 4, 12, 20, 30), recurrent=48.0), "partly"),
        (bits((1, 4, 12, 20, 47)), "partly"),
        (bits((1, 4, 12, 20, 30), at16=48.0), "partly"),
        (bits((1, 4, 12, 20, 30), at24=72.0), "partly"),
        (bits((1, 4, 12, 20, 20)), "not reproduced"),
    ],
)
def test_bits(measured, verdict):
    assert judged("copying-bits", measured) == verdict


@pytest.mark.parametrize(
    ("small", "large", "verdict"),
    [(0.71, 0.8, "reproduced"), (0.69, 0.8, "partly"), (0.6, 0.61, "partly"), (0.5, 0.6, "not reproduced")],
)
def test_mimetic(small, large, verdict):
    results = {
        "N16": seeds("accuracy@16", 0.1, 0.6),
        "N64": seeds("accuracy@16", 0.6, 0.1),
        "N16-mimetic": seeds("accuracy@16", small, 0.9),
        "N64-mimetic": seeds("accuracy@16", large, 0.9),
    }
    assert judged("mimetic-copying", results) == verdict


def test_parameters_are_equal_within_one_percent():
    for arms in (copying._equal_arms("cpu"), copying._lookup_arms("cpu"), copying._example_arms("cpu")):
        counts = [count_parameters(build(arm.config)) for arm in arms]
        assert max(counts) <= 1.01 * min(counts)


def test_what_the_notes_say_of_the_runs():
    """The larger rate was the better for all; where bits are counted, every recurrent model is the smaller one."""
    record = ledger.load("copying-equal-parameters")
    assert [copying.best_arm(record, name) for name in copying.MODELS] == [f"{n}-0.004" for n in copying.MODELS]
    arms = {arm.name: arm for arm in copying._bits_arms("cpu")}
    setup = ledger.load("copying-bits").setup
    for name, arm in arms.items():
        assert arm.fit.steps == (450 if name == "transformer" else 400)
        assert name == "transformer" or setup[name]["parameters"] < setup["transformer"]["parameters"]


def test_the_ledger_counts_all_that_a_state_space_model_keeps():
    record = ledger.load("copying-bits")
    for arm in copying._bits_arms("cpu"):
        if arm.name.startswith("ssm-"):
            assert set(record.values(f"{arm.name}/state")) == {arm.config.recurrent_size}


def test_all_models_see_the_same_examples():
    arms = copying._equal_arms("cpu")
    assert len({(arm.batches.batch, arm.batches.low, arm.batches.high, arm.fit.steps) for arm in arms}) == 1
    assert {arm.fit.learning_rate for arm in arms} == set(copying.RATES)


def test_trainings_in_common_are_run_once():
    """Claims of one command share what is the same: see `Arm.run_folder`."""
    folders = [
        {arm.run_folder(0) for arm in REGISTRY[claim].arms("cpu")}
        for claim in (
            "copying-equal-parameters",
            "copying-positions",
            "copying-examples",
            "mimetic-copying",
            "copying-bits",
        )
    ]
    equal, positions, examples, mimetic, bits = folders
    assert len(equal & positions) == 1 and len(equal & examples) == 3 and len(equal & mimetic) == 1
    assert len(examples & bits) == 1


@pytest.mark.slow
def test_what_is_measured_on_a_model():
    arm = copying.copy_arm("x", copying.TRANSFORMER)
    measured = copying.measure_copy(build(arm.config).eval(), arm)
    assert {f"accuracy@{n}" for n in copying.LENGTHS} <= set(measured)
    assert len(measured["accuracy_by_letter@16"]) == 16 and len(measured["source_mass"]) == 8
    bits_measured = copying.measure_bits(build(copying.GRU2).eval(), copying.copy_arm("x", copying.GRU2))
    assert bits_measured["state"] == 188 and bits_measured["most_bits"] == max(
        value for name, value in bits_measured.items() if name.startswith("bits@")
    )
    lookup = copying._lookup_arms("cpu")[0]
    assert "first@16, key twice" in copying.measure_lookup(build(lookup.config).eval(), lookup)
