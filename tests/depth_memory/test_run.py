"""A tiny map, run, killed and resumed. Run as a program, this file is the process that gets killed."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from latentkit.depth_memory import cells
from latentkit.depth_memory.cells import count_flops, read_cell, run
from latentkit.depth_memory.columns import COLUMNS
from latentkit.depth_memory.results import load
from latentkit.depth_memory.rows import CURVE_POINTS, PARAMETERS, ROWS, arm_for

STEPS = 8
TINY = [replace(column, steps=STEPS, batch=4) for column in COLUMNS if column.id in ("words", "copying")]
PAIR = [row for row in ROWS if row.id in ("gru", "trm")]


def go(target: Path, rows=PAIR, columns=TINY, seeds=(0,)):
    lines: list[str] = []
    return run(rows, columns, seeds, target=target, log=lines.append), lines


def written(target: Path) -> dict[str, dict]:
    """All cells, but the time they took."""
    found = {path.stem: json.loads(path.read_text()) for path in target.glob("*.json")}
    for cell in found.values():
        for seed in cell["seeds"].values():
            seed.pop("cpu_seconds")
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The map of an uninterrupted run."""
    target = tmp_path_factory.mktemp("map")
    progress, lines = go(target)
    assert (progress.ran, progress.left, progress.broken) == (3, 0, 0)
    assert len(lines) == 3
    assert lines[0].startswith("[1/4] trm x words, seed 0: 0.")
    assert "parameters" in lines[0] and "CPU s" in lines[0]
    return target


def test_a_cell_holds_what_the_map_shows(whole):
    table = load(PAIR, TINY, whole)
    assert {cell.status for cell in table.cells} == {"ok", "not applicable"}
    cell = table.cell("gru", "words")
    assert len(cell.scores) == 1 and 0 <= cell.scores[0] <= 1
    assert 0.1 < cell.chance < 0.25
    assert abs(cell.parameters / PARAMETERS - 1) < 0.025
    assert (cell.steps, cell.batch) == (STEPS, 4)
    assert [step for step, _ in cell.curve] == list(range(1, STEPS + 1))  # fewer steps than points: each of them
    assert cell.cpu_seconds > 0 and cell.flops > 1e6
    assert cell.setup["model"]["type"] == "GRUConfig"
    assert "reads all positions at once" in table.cell("trm", "copying").reason
    assert not [path for path in (whole / "runs").iterdir() if path.is_dir()]  # nothing half-trained is left


def test_a_full_training_has_some_twenty_points():
    steps = COLUMNS[0].steps
    assert len({round((i + 1) * steps / CURVE_POINTS) for i in range(CURVE_POINTS)}) == CURVE_POINTS == 20


def test_what_is_done_is_not_done_again(whole):
    before = {path: path.read_bytes() for path in whole.glob("*.json")}
    progress, lines = go(whole)
    assert (progress.ran, lines) == (0, [])
    assert before == {path: path.read_bytes() for path in whole.glob("*.json")}


class Killed(BaseException):
    """As sudden as a signal, but it leaves the process alive."""


@pytest.mark.parametrize("when", [1, 4, STEPS])
def test_killed_in_a_training_it_goes_on_to_the_same_numbers(when, whole, tmp_path, monkeypatch):
    scored, score = [], cells.score

    def dying(model, column, arm, examples=None):
        scored.append(column.id)
        if len(scored) == when:
            raise Killed
        return score(model, column, arm, examples)

    monkeypatch.setattr(cells, "score", dying)
    with pytest.raises(Killed):
        go(tmp_path)
    assert written(tmp_path) == {}  # half a cell is none
    monkeypatch.setattr(cells, "score", score)
    go(tmp_path)
    assert written(tmp_path) == written(whole)


@pytest.mark.slow
def test_killed_from_outside_again_and_again(whole, tmp_path):
    environment = {**os.environ, "LATENTKIT_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(tmp_path)]
    for patience in (1.5, 2.5, 3.5):
        process = subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2])
        time.sleep(patience)
        process.kill()
        process.wait()
        for path in tmp_path.glob("*.json"):
            json.loads(path.read_text())  # whole, whenever it was killed
    two = [subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2]) for _ in range(2)]
    assert [process.wait(timeout=120) for process in two] == [0, 0]
    go(tmp_path)  # the second process may have left the last cell to the first
    assert written(tmp_path) == written(whole)


def test_a_cell_that_another_process_holds_is_left_to_it(whole, tmp_path):
    with cells._lock(tmp_path / "runs" / "gru-words.lock") as mine:
        assert mine
        progress, _ = go(tmp_path)
    assert (progress.ran, progress.left) == (2, 1)
    assert "gru-words" not in written(tmp_path)
    assert go(tmp_path)[0].ran == 1
    assert written(tmp_path) == written(whole)


def test_seeds_are_added_to_a_cell(whole, tmp_path):
    gru = [row for row in PAIR if row.id == "gru"]
    go(tmp_path, gru, TINY[:1])
    progress, _ = go(tmp_path, gru, TINY[:1], seeds=(0, 1))
    assert progress.ran == 1
    seeds = written(tmp_path)["gru-words"]["seeds"]
    assert list(seeds) == ["0", "1"] and seeds["0"] != seeds["1"]
    assert seeds["0"] == written(whole)["gru-words"]["seeds"]["0"]


def test_another_recipe_runs_the_cell_again(whole, tmp_path):
    gru = next(row for row in PAIR if row.id == "gru")
    go(tmp_path, [gru], TINY[:1])
    path = tmp_path / "gru-words.json"
    assert "0" in read_cell(path, gru, TINY[0])["seeds"]
    faster = replace(gru, fit=replace(gru.fit, learning_rate=1e-2))
    assert read_cell(path, faster, TINY[0])["seeds"] == {}
    assert read_cell(path, gru, replace(TINY[0], scored=(1, 4)))["seeds"] == {}


def test_a_training_that_breaks_down_is_a_result(tmp_path):
    gru = next(row for row in PAIR if row.id == "gru")
    wild = replace(gru, fit=replace(gru.fit, learning_rate=1e38, clip=1e38, warmup=0))
    progress, lines = go(tmp_path, [wild], TINY[:1])
    assert progress.ran == 1
    assert "failed (" in lines[0]
    cell = load([wild], TINY[:1], tmp_path).cells[0]
    assert cell.status == "failed" and cell.mean is None
    assert "seed 0: " in cell.reason


class Wrong:
    """A mistake in a supervision."""

    def __call__(self, model, batch, generator, carry):
        raise TypeError("no such thing")


def test_an_error_ends_its_cell_and_not_the_map(tmp_path):
    gru = next(row for row in PAIR if row.id == "gru")
    wrong = replace(gru, id="wrong", supervision=lambda column: Wrong())
    progress, lines = go(tmp_path, [wrong, gru], TINY[:1])
    assert (progress.ran, progress.broken) == (1, 1)
    assert lines[0] == "wrong x words, seed 0: TypeError: no such thing"
    assert load([wrong], TINY[:1], tmp_path).cells[0].status == "not run"


def test_operations_are_those_of_every_pass():
    """At least two for each weight and position forward, and twice that backward."""
    rows = {row.id: row for row in ROWS}
    words = COLUMNS[0]
    flops = {name: count_flops(arm_for(rows[name], words)) for name in ("transformer", "looped", "gru", "mag")}
    positions = words.batch * words.steps * 4  # at least, in the mean over the curriculum
    assert all(count > 6 * 25_000 * positions for count in flops.values()), flops
    assert flops["looped"] > 3 * flops["transformer"]
    assert flops["gru"] > 1.5 * flops["transformer"]  # it reads twice


if __name__ == "__main__":
    progress, _ = go(Path(sys.argv[1]))
    sys.exit(progress.broken)
