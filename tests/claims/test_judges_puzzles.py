"""The verdict rules of labs 04 and 05, on made-up measurements."""

import pytest
import torch

from latentkit.claims import REGISTRY, drivers, puzzles, real_sudoku
from latentkit.recurrence import Trajectory
from latentkit.tasks import Batch


def judged(claim_id: str, results) -> str:
    return REGISTRY[claim_id].judge(results)


@pytest.mark.parametrize(
    ("at4", "at16", "controls", "verdict"),
    [
        ([95, 90, 85], [97, 95, 94], (0.4, 1.9), "reproduced"),
        ([95, 90, 84], [97, 95, 94], (0.4, 0.0), "partly"),  # a mean of 89.7
        ([95, 90, 85], [96, 95, 93], (0.4, 0.0), "partly"),
        ([95, 95, 95], [99, 99, 99], (2.0, 0.0), "not reproduced"),
        ([50, 50, 49], [99, 99, 99], (0.0, 0.0), "not reproduced"),
    ],
)
def test_loop_sudoku6(at4, at16, controls, verdict):
    results = {"loop": [{"exact@4": a, "exact@16": b} for a, b in zip(at4, at16, strict=True)]}
    results |= {name: [{"exact": c}] * 3 for name, c in zip(("same-parameters", "12-layers"), controls, strict=True)}
    assert judged("loop-sudoku6", results) == verdict


@pytest.mark.parametrize(
    ("one", "full", "verdict"),
    [(55, 70, "reproduced"), (55, 69.9, "partly"), (54, 70, "partly"), (50, 60, "not reproduced")],
)
def test_hrm_sudoku6(one, full, verdict):
    assert judged("hrm-sudoku6", {"one-step": [{"exact@4": one}], "full-gradient": [{"exact@4": full}]}) == verdict


def maze(*by_segment):
    return [{f"exact@{k}": v for k, v in zip((2, 4, 8, 16), values, strict=True)} for values in by_segment]


@pytest.mark.parametrize(
    ("runs", "verdict"),
    [
        (maze((50, 95, 90, 85), (97, 90, 80, 20)), "reproduced"),
        (maze((50, 95, 90, 85), (97, 96, 95, 94)), "not reproduced"),
    ],
)
def test_maze_segments_hurt(runs, verdict):
    assert judged("maze-segments-hurt", dict.fromkeys(puzzles.FOUR_SEGMENTS, runs)) == verdict
    stays = maze((99, 99, 99, 99), (99, 99, 99, 99))
    mixed = {"act": runs, "no-halting": stays, "detached": stays}
    assert judged("maze-segments-hurt", mixed) == ("partly" if verdict == "reproduced" else "not reproduced")


@pytest.mark.parametrize(
    ("runs", "verdict"),
    [
        (maze((90, 95, 95, 95), (91, 99, 99, 90)), "reproduced"),
        (maze((89, 95, 95, 95), (91, 99, 99, 90)), "partly"),
        (maze((95, 95, 95, 89), (91, 99, 99, 90)), "not reproduced"),
    ],
)
def test_maze_horizon(runs, verdict):
    assert judged("maze-horizon", {"horizon-n5": runs, "act": maze((0, 0, 0, 0))}) == verdict


def changes(**costs):
    at4 = {"loop": 95, "one-step": 70, "one-supervision": 60, "one-latent": 90}
    at4 |= {"no-ema": 93}
    return {arm: [{"exact@4": value}] for arm, value in {**at4, **costs}.items()}


@pytest.mark.parametrize(
    ("costs", "verdict"),
    [
        ({}, "reproduced"),
        ({"one-latent": 75}, "reproduced"),  # 20 points, as in the paper; the one-step gradient costs 25
        ({"one-latent": 69}, "partly"),
        ({"one-step": 81}, "partly"),
        ({"one-step": 90, "one-supervision": 90}, "not reproduced"),
    ],
)
def test_drivers_sudoku6(costs, verdict):
    assert judged("drivers-sudoku6", changes(**costs)) == verdict


@pytest.mark.parametrize(
    ("costs", "verdict"),
    [
        ({"n=5-one-step": 5}, "reproduced"),
        ({"n=5": 80}, "partly"),
        (dict.fromkeys(("two-networks", "no-halting", "n=1", "n=5"), 50), "not reproduced"),
    ],
)
def test_ablations_sudoku6(costs, verdict):
    at4 = dict.fromkeys(("loop", "two-networks", "no-halting", "n=1", "n=5", "n=5-one-step"), 95)
    assert judged("ablations-sudoku6", {arm: [{"exact@4": at}] for arm, at in {**at4, **costs}.items()}) == verdict


@pytest.mark.parametrize(
    ("one_blank", "several", "settled", "verdict"),
    [(98, 50, 50, "reproduced"), (99, 50, 50, "partly"), (99, 49, 50, "partly"), (99, 49, 49, "not reproduced")],
)
def test_guessing_sudoku6(one_blank, several, settled, verdict):
    run = {"one_blank_exact@16": one_blank, "several_at_once": several, "failures_settled": settled}
    assert judged("guessing-sudoku6", {"loop": [run]}) == verdict


def breadth(single, chosen, depth=4):
    run = {f"exact@{d}": 99.0 for d in drivers.DEPTHS} | {f"exact@{depth}": single}
    run |= {f"by_{signal}@{depth}": [0.0, chosen] for signal in drivers.SIGNALS}
    return run


@pytest.mark.parametrize(
    ("runs", "verdict"),
    [
        ([breadth(60, 72), breadth(50, 80)], "reproduced"),
        ([breadth(60, 71), breadth(50, 80)], "partly"),
        ([breadth(60, 71), breadth(95, 100)], "not reproduced"),  # outside of 30..90%
    ],
)
def test_eqr_breadth(runs, verdict):
    assert judged("eqr-breadth-sudoku6", {"eqr": runs}) == verdict


@pytest.mark.parametrize(
    ("by_band", "verdict"), [((95, 87, 68), "reproduced"), ((95, 86, 67), "partly"), ((94, 86, 67), "not reproduced")]
)
def test_sudoku_graph(by_band, verdict):
    run = {f"real_{band}@256": v for band, v in zip(real_sudoku.BARS, by_band, strict=True)}
    assert judged("sudoku-graph", {"generated": [run]}) == verdict


@pytest.mark.parametrize(
    ("hard", "extreme", "verdict"),
    [(90, 30, "reproduced"), (89, 30, "partly"), (90, 29, "partly"), (89, 29, "not reproduced")],
)
def test_sudoku_guessing(hard, extreme, verdict):
    run = {"guessing64_hard": hard, "guessing64_extreme": extreme}
    assert judged("sudoku-guessing", {"generated": [run]}) == verdict


@pytest.mark.parametrize(
    ("shared", "unshared", "verdict"),
    [((40, 80), (40, 30), "reproduced"), ((19, 80), (20, 20), "partly"), ((40, 45), (40, 30), "partly"),
     ((39, 45), (40, 30), "not reproduced"), ((4, 80), (0, 0), "partly")],
)  # fmt: skip
def test_sudoku_sharing(shared, unshared, verdict):
    def run(values):
        return [{"exact@16": values[0], "exact@64": 0, "exact@256": values[1]}]

    results = {"shared": run(shared), "unshared": run(unshared), "unshared-same-parameters": run((0, 20))}
    assert judged("sudoku-sharing", results) == verdict


@pytest.mark.parametrize(("at16", "verdict"), [(85, "reproduced"), (84, "partly"), (49, "not reproduced")])
def test_trm_sudoku9(at16, verdict):
    assert judged("trm-sudoku9", {"trm": [{"exact@16": at16}]}) == verdict


def test_one_blank_keeps_every_given_and_asks_for_one_cell_that_was_asked_for():
    tokens = torch.tensor([[1, 0, 0, 4]]).repeat(50, 1)
    targets = torch.tensor([[0, 1, 2, 3]]).repeat(50, 1)
    one = drivers.one_blank(Batch(tokens, targets, (tokens == 0).long()))
    assert ((one.tokens == 0).sum(1) == 1).all()
    assert {int(i) for i in (one.tokens == 0).int().argmax(1)} == {1, 2}
    filled = one.tokens > 0
    assert torch.equal(one.tokens[filled], (one.targets + 1)[filled])


def test_the_halting_segment_is_the_first_that_says_stop():
    blank = torch.zeros(3, 1, dtype=torch.long)
    run = Trajectory(
        tokens=blank,
        passes=(1, 2, 3),
        states=(),
        logits=torch.zeros(3, 3, 1, 2),
        residuals=torch.zeros(3, 3, 1),
        halted_at=blank,
        halt_logits=torch.tensor([[-1.0, 1, -1], [1, -1, -1], [1, 1, -1]]),
    )
    assert puzzles.halted_at([run], 3).tolist() == [2, 1, 3]


@pytest.mark.parametrize(
    ("own256", "own1024", "published256", "verdict"),
    [(70, 72, 72, "reproduced"), (70, 71, 72, "partly"), (70, 72, 71, "partly"), (70, 71, 71, "not reproduced")],
)
def test_sudoku_published(own256, own1024, published256, verdict):
    results = {"generated": [{"mean@256": own256, "mean@1024": own1024}], "published": [{"mean@256": published256}]}
    assert judged("sudoku-published", results) == verdict
