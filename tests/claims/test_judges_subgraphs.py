"""The verdicts of lab 10 on made-up measurements, and what its comparisons rest on."""

import pytest
import torch

from latentkit.claims import REGISTRY, products, subgraphs
from latentkit.layers import count_parameters
from latentkit.models import build
from latentkit.tasks import NonAdjacentSum
from latentkit.tasks.arithmetic import KNOWN_SEED


def judged(claim_id: str, measured: dict[str, list[dict]]) -> str:
    return REGISTRY[claim_id].judge(measured)


def seeds(*at12: float, cap6: float = 0.0, **others: float) -> list[dict]:
    """A run a number: that is the accuracy at both caps, unless `cap6` is larger."""
    return [{"accuracy@12-cap9": a, "accuracy@12-cap6": max(a, cap6), **others} for a in at12]


@pytest.mark.parametrize(
    ("inside", "one_pass", "double", "appended", "verdict"),
    [
        (0.85, 0.4, 0.4, 0.4, "reproduced"),
        (0.84, 0.1, 0.1, 0.1, "not reproduced"),
        (0.85, 0.41, 0.1, 0.1, "not reproduced"),
        (0.85, 0.4, 0.41, 0.1, "partly"),
        (0.85, 0.4, 0.1, 0.41, "partly"),
    ],
)
def test_the_cliff(inside, one_pass, double, appended, verdict):
    results = {
        "one-pass": seeds(0.1, 0.2, cap6=one_pass, **{"whole@6": inside}),
        "one-pass-double": seeds(0.1, double, 0.1),
        "appended": seeds(0.0, 0.0, cap6=appended),
    }
    assert judged("subgraph-cliff", results) == verdict


@pytest.mark.parametrize(
    ("looped", "interleaved", "verdict"),
    [(0.45, 0.75, "reproduced"), (0.44, 0.75, "partly"), (0.45, 0.74, "partly"), (0.44, 0.74, "not reproduced")],
)
def test_the_remedies(looped, interleaved, verdict):
    """The worst seed of the loop against the best one of the transformer."""
    results = {
        "one-pass": seeds(0.1, 0.3, 0.2),
        "looped": seeds(0.9, looped, 0.8),
        "gru": seeds(0.0, 0.0, 0.0),
        "interleaved": seeds(0.1, 0.1, cap6=interleaved),
    }
    assert judged("subgraph-remedies", results) == verdict


def seen(lead4, lead5, unseen5):
    right, wrong = [1, 1, 1, 0.9, 0.3, 0], [1, 1, 1, 0.9 - lead4, 0.3 - lead5, 0]
    return {"seen_if_right": right, "seen_if_wrong": wrong, "right_if_unseen": [None] * 3 + [0.8, unseen5, 0.9]}


@pytest.mark.parametrize(
    ("lead4", "lead5", "unseen5", "verdict"),
    [
        (0.11, 0.11, 0.9, "reproduced"),
        (0.09, 0.2, 0.9, "partly"),
        (0.2, 0.2, 0.91, "partly"),
        (0.2, -0.01, 0.5, "not reproduced"),
    ],
)
def test_what_was_seen(lead4, lead5, unseen5, verdict):
    results = {"one-pass": [seen(0.2, 0.2, 0.8), seen(lead4, lead5, unseen5)], "appended": [seen(0, 0, 1)] * 2}
    assert judged("subgraphs-seen", results) == verdict


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [((0.05, 0.05, 0.05), "reproduced"), ((0.3, 0.3, 0.05), "partly"), ((0.3, 0.3, 0.06), "not reproduced")],
)
def test_compounding(gaps, verdict):
    arms = ("one-pass", "appended", "interleaved-short")
    even, late = [0.01] * 16, [0.01] * 6 + [0.03] * 10
    results = {
        arm: [{"largest_gap": 0.01, "hazard": even}, {"largest_gap": gap, "hazard": even}]
        for arm, gap in zip(arms, gaps, strict=True)
    }
    assert judged("errors-compound", results) == verdict
    for runs in results.values():
        runs[0]["hazard"] = late  # close to its curve because it loses so few
    assert judged("errors-compound", results) == "not reproduced"


def products_of(inside=0.85, outside=0.05, first=0.5, last=0.9, middle=0.3):
    better = [{"whole-inside": 1.0, "whole-outside": 0.0}, {"whole-inside": inside, "whole-outside": outside}]
    return {
        "by-one-digit": [{"whole-inside": 0.9, "whole-outside": 0.0}, {"whole-inside": 0.1, "whole-outside": 0.05}],
        "by-one-digit-backwards": better,
        "square": [{"first-inside": f, "last-inside": last, "middle-inside": middle} for f in (0.9, first)],
    }


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "reproduced"),
        ({"inside": 0.84}, "partly"),
        ({"first": 0.49}, "partly"),
        ({"last": 0.49}, "partly"),
        ({"middle": 0.31}, "partly"),
        ({"inside": 0.84, "last": 0.4}, "not reproduced"),
        ({"outside": 0.06}, "not reproduced"),
    ],
)
def test_products(changes, verdict):
    assert judged("multiplication-surface", products_of(**changes)) == verdict


def arms_of(*claim_ids: str) -> dict:
    return {arm.name: arm for claim_id in claim_ids for arm in REGISTRY[claim_id].arms("cpu")}


def test_who_is_larger_and_who_computes_more():
    arms = arms_of("subgraph-cliff", "subgraph-remedies", "errors-compound")
    size = {name: count_parameters(build(arm.config)) for name, arm in arms.items()}
    assert max(size["looped"], size["gru"]) < 0.6 * size["one-pass"]
    assert size["gru"] == pytest.approx(size["looped"], rel=0.01)
    assert size["interleaved"] == size["appended"] == pytest.approx(size["one-pass"], rel=0.03)
    # Blocks run in a training: the passes of the loop are 7 on average.
    blocks = {name: 2 * arm.fit.steps for name, arm in arms.items()} | {"looped": 7 * arms["looped"].fit.steps}
    assert blocks["one-pass"] < blocks["looped"] < blocks["one-pass-double"]


def test_all_learn_from_the_same_rows_at_the_same_rate():
    arms = arms_of("subgraph-cliff", "subgraph-remedies", "errors-compound").values()
    for seed in (0, 2):
        rows = subgraphs.known_rows(seed)
        assert rows.shape == (8000, 6)
        assert all(torch.equal(arm.batches.task.for_seed(seed).rows, rows) for arm in arms)
    assert len({(arm.batches.batch, arm.batches.high, arm.fit.learning_rate) for arm in arms}) == 1


def test_trainings_in_common_are_run_once():
    """Of the four claims about sums, in one command: seven trainings a seed."""
    claims = ("subgraph-cliff", "subgraph-remedies", "subgraphs-seen", "errors-compound")
    folders = [arm.run_folder(0) for claim in claims for arm in REGISTRY[claim].arms("cpu")]
    assert (len(folders), len(set(folders))) == (12, 7)


def test_no_row_is_tested_that_was_known():
    for seed in (0, 1):
        known = {tuple(row) for row in subgraphs.known_rows(seed).tolist()}
        unseen = subgraphs.unseen_rows(2000, seed)
        assert not known & {tuple(row) for row in unseen.tolist()} and 1800 < len(unseen) < 2000
    assert 7 not in range(KNOWN_SEED, KNOWN_SEED + 10)
    for cap in subgraphs.CAPS:
        x = subgraphs.long_rows(12, cap)
        assert x.shape == (1000, 12) and NonAdjacentSum().batch(x).targets.max() == cap


def test_no_product_is_tested_that_was_in_training():
    for arm in REGISTRY["multiplication-surface"].arms("cpu"):
        task = arm.batches.task
        assert task.part == "train" and arm.batches.high == task.longest_split
        new = {tuple(pair) for pair in products.new_pairs(task, task.longest_split).tolist()}
        assert len(new) > 500 and not new & {tuple(pair) for pair in task.pairs(task.longest_split).tolist()}
        longer = products.new_pairs(task, 2 * task.longest_split)
        assert longer.shape == (1000, 2) and longer[:, 0].min() >= 10 ** (2 * task.longest_split - 1)


@pytest.mark.slow
def test_what_is_measured_on_a_model():
    arms = arms_of("subgraph-cliff", "subgraph-remedies", "errors-compound")
    for name, arm in arms.items():
        model = build(arm.config).eval()
        measured = subgraphs.measure_sums(model, arm)
        shares = [measured[f"{outcome}@12-cap6"] for outcome in subgraphs.OUTCOMES]
        assert [sum(at) for at in zip(*shares, strict=True)] == pytest.approx([1] * 12, abs=1e-3), name
        correct = [a + b for a, b in zip(shares[0], shares[3], strict=True)]
        assert correct == pytest.approx(measured["accuracy_by_depth@12-cap6"], abs=1e-3)
        assert len(subgraphs.measure_survival(model, arm)["survival"]) == 16
    measured = subgraphs.measure_seen(build(arms["one-pass"].config), arms["one-pass"])
    assert measured["seen_if_right"][0] in (1.0, None) and measured["right_if_seen"][5] is None
    for arm in REGISTRY["multiplication-surface"].arms("cpu"):
        measured = products.measure_products(build(arm.config).eval(), arm)
        inside, outside = (len(measured[f"digits-{where}"]) for where in ("inside", "outside"))
        assert (inside, outside) == ((4, 8) if arm.name == "square" else (4, 7))
