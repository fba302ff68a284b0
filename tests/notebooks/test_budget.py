"""What labs may cost. The stated limits hold for the recorded costs; another machine may take twice as much."""

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from latentkit.course.master import timings
from tests.conftest import ROOT
from tests.notebooks.test_masters import LABS

CELL_SECONDS, LAB_SECONDS, ALL_SECONDS = 30, 120, 480
MEGABYTES = 2048
SLACK = 2


def over_budget(records: list[dict], slack: float = SLACK) -> list[str]:
    """What in a meter's log exceeds its limit, in sentences."""
    runs = defaultdict(list)
    for record in records:
        runs[record["lab"], record["run"]].append(record)
    found = []
    for (lab, _), cells in runs.items():
        for cell in cells:
            if cell["cpu_seconds"] > slack * CELL_SECONDS:
                found.append(f"lab {lab}, cell {cell['cell']} ({cell['line']}): {cell['cpu_seconds']} CPU seconds")
        if (total := sum(cell["cpu_seconds"] for cell in cells)) > slack * LAB_SECONDS:
            found.append(f"lab {lab}: {total:.0f} CPU seconds")
        if (peak := max(cell["max_rss"] for cell in cells) / 2**20) > MEGABYTES:
            found.append(f"lab {lab}: {peak:.0f} MB")
    return found


def read_meter(path: Path) -> list[dict]:
    """The records of a meter's log."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_recorded_costs_are_within_the_limits():
    costs = timings(ROOT)
    for lab, cost in costs.items():
        assert cost["cpu_seconds"] <= LAB_SECONDS, lab
        assert cost["slowest_cell_seconds"] <= CELL_SECONDS, lab
        assert cost["peak_megabytes"] <= MEGABYTES, lab
    assert sum(cost["cpu_seconds"] for cost in costs.values()) <= ALL_SECONDS


@pytest.mark.slow
def test_the_solved_notebooks_ran_within_their_budget():
    assert "LATENTKIT_METER" in os.environ, "`make test` sets it, and runs the solved notebooks before this"
    records = read_meter(Path(os.environ["LATENTKIT_METER"]))
    assert {record["lab"] for record in records} == {path.stem[:2] for path in LABS}
    assert over_budget(records) == []


def test_over_budget_finds_cells_labs_and_memory():
    cell = {"lab": "02", "run": 1, "cell": 0, "line": "fit()", "cpu_seconds": 59.0, "max_rss": 2**30}
    assert over_budget([cell]) == []
    assert over_budget([cell | {"cpu_seconds": 61.0}]) == ["lab 02, cell 0 (fit()): 61.0 CPU seconds"]
    assert over_budget([cell] * 5) == ["lab 02: 295 CPU seconds"]
    assert over_budget([cell | {"run": run} for run in range(5)]) == []
    assert over_budget([cell | {"max_rss": 2**32}]) == ["lab 02: 4096 MB"]
