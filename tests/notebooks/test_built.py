"""The notebooks as they are built and committed."""

import re

import nbformat
import pytest

from latentkit.course import build
from latentkit.course.master import read_master, timings
from tests.conftest import ROOT
from tests.notebooks.leaks import leaks
from tests.notebooks.test_masters import LABS

MAX_LEARNER_BYTES = 300_000
# After a character of base64 it is an image's data and not a path.
LOCAL_PATH = re.compile(r"(?<![\w+/.])/(home|Users|root|tmp|work|mnt)/\w|[A-Z]:\\\\Users|ipykernel_\d+")

by_name = pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_every_notebook_is_up_to_date():
    assert not LABS or build.stale(ROOT) == [], "run `make labs`"


@by_name
def test_the_learner_notebook_holds_no_answers_and_no_outputs(path):
    master = read_master(path)
    notebook = nbformat.read(build.learner_path(master), 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count or cell.metadata for cell in code)
    assert leaks(master, notebook) == []
    assert build.learner_path(master).stat().st_size <= MAX_LEARNER_BYTES


@by_name
def test_the_solved_notebook_ran_clean(path):
    solved = build.solved_path(read_master(path))
    notebook = nbformat.read(solved, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert [output for output in outputs(notebook) if output.output_type == "error"] == []
    assert [output for output in outputs(notebook) if output.get("name") == "stderr"] == []
    facts = [cell for cell in code if "nbval-check-output" in cell.metadata.get("tags", [])]
    assert facts and all(cell.outputs for cell in facts)
    assert solved.stat().st_size <= build.MAX_SOLVED_BYTES


@by_name
def test_no_path_of_the_building_machine_shows(path):
    for notebook in (build.learner_path(read_master(path)), build.solved_path(read_master(path))):
        found = LOCAL_PATH.search(notebook.read_text())
        assert not found, f"{notebook.name}: {found and found.string[found.start() - 80 : found.end() + 80]!r}"


def test_leaks_are_found():
    master = read_master(ROOT / "tests/course/fixture/labs/source/99_fixture.py")
    assert leaks(master, build.learner(master)) == []
    assert leaks(master, build.solved(master)) == ["prefix_sums = bits.cumsum(1)", "return prefix_sums % 2"]
    hidden = build.learner(master)
    hidden.metadata["comment"] = {"deep": ["prefix_sums  =  bits.cumsum(1)"]}
    assert leaks(master, hidden) == ["prefix_sums = bits.cumsum(1)"]


def test_every_lab_has_its_recorded_cost():
    assert sorted(timings(ROOT)) == [path.stem[:2] for path in LABS]
