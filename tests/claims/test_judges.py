import pytest

from latentkit.claims import REGISTRY


def runs(metric: str, *values: int) -> list[dict]:
    return [{metric: value} for value in values]


def judged(claim_id: str, results) -> str:
    return REGISTRY[claim_id].judge(results)


def wall(one, two, four):
    """Best arm's solved depth by layers; the other arms and seeds do worse."""
    return {
        f"L{layers}-{steps}-{rate}": runs(
            "solved_depth", *((0, best, 1) if (steps, rate) == (3000, "0.001") else (1, 0, 1))
        )
        for layers, best in ((1, one), (2, two), (4, four))
        for steps in (1500, 3000)
        for rate in ("0.0005", "0.001", "0.002")
    }


@pytest.mark.parametrize(
    ("best", "verdict"),
    [
        ((4, 6, 8), "reproduced"),
        ((3, 5, 6), "reproduced"),
        ((4, 6, 9), "partly"),
        ((5, 6, 8), "partly"),
        ((4, 7, 11), "partly"),
        ((4, 6, 12), "not reproduced"),  # no wall below the training length
        ((4, 4, 8), "not reproduced"),  # does not move with depth
        ((6, 5, 8), "not reproduced"),
        ((1, 1, 1), "not reproduced"),
    ],
)
def test_stack_wall_s3(best, verdict):
    assert judged("stack-wall-s3", wall(*best)) == verdict


@pytest.mark.parametrize(
    ("depths", "verdict"),
    [
        (([2, 2, 2], [4, 4, 4], [8, 8, 8]), "reproduced"),
        (([2, 2, 2], [4, 4, 4], [8, 8, 9]), "partly"),
        (([2, 2, 1], [4, 4, 4], [8, 9, 8]), "partly"),
        (([2, 2, 1], [4, 4, 5], [8, 9, 8]), "not reproduced"),
    ],
)
def test_stack_wall_pointers(depths, verdict):
    results = {f"L{layers}": runs("solved_depth", *values) for layers, values in enumerate(depths, start=1)}
    assert judged("stack-wall-pointers", results) == verdict


@pytest.mark.parametrize(
    ("depths", "verdict"),
    [([32, 32, 32], "reproduced"), ([32, 32, 31], "partly"), ([9, 32, 32], "partly"), ([8, 32, 32], "not reproduced")],
)
def test_scratchpad(depths, verdict):
    assert judged("scratchpad-s3", {"L1": runs("solved_depth", *depths)}) == verdict


@pytest.mark.parametrize(
    ("depths", "verdict"),
    [
        ([32, 32, 32], "reproduced"),
        ([32, 31, 32], "partly"),
        ([13, 32, 32], "partly"),
        ([12, 32, 32], "not reproduced"),
    ],
)
def test_loop_extrapolates(depths, verdict):
    assert judged("loop-extrapolates-s3", {"loop": runs("solved_depth@40", *depths)}) == verdict


@pytest.mark.parametrize(
    ("loop", "parameters", "compute", "verdict"),
    [
        ([13, 32, 32], [4, 5, 4], [12, 11, 12], "reproduced"),
        ([12, 32, 32], [4, 5, 4], [12, 11, 12], "partly"),
        ([12, 32, 32], [4, 5, 4], [2, 11, 20], "partly"),
        ([5, 32, 32], [4, 5, 4], [2, 3, 4], "not reproduced"),
        ([5, 32, 32], [4, 5, 4], [2, 3, 9], "not reproduced"),
    ],
)
def test_loop_against_stacks(loop, parameters, compute, verdict):
    results = {
        "loop": runs("solved_depth@40", *loop),
        "equal-parameters-0.001": runs("solved_depth", 1, 1, 1),
        "equal-parameters-0.002": runs("solved_depth", *parameters),
        "equal-compute-0.002": runs("solved_depth", *compute),
        "equal-compute-0.004": runs("solved_depth", 1, 1, 1),
    }
    assert judged("loop-vs-stacks-s3", results) == verdict


@pytest.mark.parametrize(
    ("seeds", "verdict"),
    [
        ([(2, 4, 8), (2, 5, 9)], "reproduced"),
        ([(2, 4, 8), (1, 4, 8)], "partly"),
        ([(2, 4, 7), (1, 3, 8)], "partly"),
        ([(2, 4, 7), (2, 4, 7)], "not reproduced"),
    ],
)
def test_loop_log_depth(seeds, verdict):
    results = {"loop": [{f"solved_depth@{t}": d for t, d in enumerate(depths, start=1)} for depths in seeds]}
    assert judged("loop-log-depth-pointers", results) == verdict


@pytest.mark.parametrize(
    ("ablations", "verdict"),
    [
        (([12, 29], [5, 6], [20, 20], [19, 19]), "reproduced"),
        (([12, 30], [5, 6], [20, 20], [19, 19]), "partly"),
        (([30, 30], [31, 6], [32, 20], [19, 40]), "not reproduced"),
    ],
)
def test_ablations(ablations, verdict):
    names = ("no-norm", "no-injection", "fixed-passes", "no-alibi")
    results = {name: runs("solved_depth@40", *depths) for name, depths in zip(names, ablations, strict=True)}
    assert judged("loop-ablations-s3", results | {"full": runs("solved_depth@40", 30, 32)}) == verdict


@pytest.mark.parametrize(
    ("depths", "verdict"),
    [
        ([32, 32, 32], "reproduced"),
        ([11, 32, 32], "partly"),
        ([10, 32, 32], "not reproduced"),
        ([8, 8, 8], "not reproduced"),
    ],
)
def test_a5(depths, verdict):
    results = {"loop": runs("solved_depth", *depths), "stack-L2": runs("solved_depth", 32, 32, 32)}
    assert judged("loop-a5", results) == verdict
