import argparse
import csv
import os
import re
import subprocess
import sys

import nbformat
import pytest

from latentkit.course import nbgrader
from latentkit.course.master import read_master
from latentkit.course.nbgrader import export
from tests.conftest import ROOT
from tests.course.conftest import FIXTURE
from tests.notebooks.leaks import leaks

LABS = sorted((ROOT / "labs/source").glob("02_*.py")) or [FIXTURE / "labs/source/99_fixture.py"]


def marks(notebook):
    """Cells by their grade_id."""
    return {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if "nbgrader" in cell.metadata}


def test_export_writes_a_source_assignment(master, tmp_path):
    path = export(master, tmp_path)
    assert path == tmp_path / "source/lab99/lab99.ipynb"
    assert (path.parent / "images/colab-badge.svg").exists()
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    cells = marks(notebook)
    assert list(cells) == ["check-setup", "parity", "check-parity"]
    setup, parity, check = cells.values()
    assert setup.metadata.nbgrader.points == 0 and setup.metadata.nbgrader.locked
    assert '### BEGIN HIDDEN TESTS\nimport os\nos.environ["LATENTKIT_GRADING"] = "1"' in setup.source
    assert parity.metadata.nbgrader.solution and not parity.metadata.nbgrader.locked
    assert "### BEGIN SOLUTION" in parity.source and "### BEGIN HIDDEN TESTS" in check.source
    graded = check.metadata.nbgrader
    assert (graded.grade, graded.locked, graded.points) == (True, True, 2)
    assert "A parity is a sum modulo 2" not in nbformat.writes(notebook)


def test_export_leaves_an_existing_configuration_alone(master, tmp_path):
    (tmp_path / "nbgrader_config.py").write_text("mine")
    export(master, tmp_path)
    assert (tmp_path / "nbgrader_config.py").read_text() == "mine"


def test_the_command(repository, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(nbgrader, "ROOT", repository)
    parser = argparse.ArgumentParser()
    nbgrader.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["course", "export", "99", "--to", str(tmp_path / "course")])
    assert arguments.func(arguments) == 0
    assert capsys.readouterr().out.strip().endswith("lab99.ipynb")
    arguments.lab = "98"
    with pytest.raises(ValueError, match="no lab 98"):
        arguments.func(arguments)


def nbgrader_run(course, *arguments):
    kept = {key: value for key, value in os.environ.items() if key not in ("LATENTKIT_GRADING", "LATENTKIT_METER")}
    path = os.pathsep.join([os.path.dirname(sys.executable), kept["PATH"]])  # nbgrader calls alembic by its bare name
    command = [sys.executable, "-m", "nbgrader", *arguments]
    done = subprocess.run(command, cwd=course, env={**kept, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def submit(course, name, student, change):
    """Hands in the release version after `change`, without the cells that neither define nor check: they take time."""
    notebook = nbformat.read(course / f"release/{name}/{name}.ipynb", 4)
    needed = re.compile(r"\b(import|def) ")
    notebook.cells = [cell for cell in notebook.cells if "nbgrader" in cell.metadata or needed.search(cell.source)]
    change(marks(notebook))
    path = course / f"submitted/{student}/{name}/{name}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)


@pytest.mark.slow
@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_a_round_trip_through_nbgrader(path, tmp_path, lab99):
    master = read_master(path)
    exercises = [cell for cell in master.cells if cell.role == "exercise"]
    total, last = sum(cell.points for cell in exercises), exercises[-1]
    name = f"lab{master.lab}"
    export(master, tmp_path)
    nbgrader_run(tmp_path, "generate_assignment", name)
    release = nbformat.read(tmp_path / f"release/{name}/{name}.ipynb", 4)
    assert leaks(master, release) == []
    assert "LATENTKIT_GRADING" not in nbformat.writes(release)
    assert 'raise NotImplementedError("exercise")' in marks(release)[last.name].source

    def solve(cells):
        for cell in exercises:
            cells[cell.name].source = cell.solved

    def solve_all_but_the_last(cells):
        solve(cells)
        cells[last.name].source = last.open.replace("raise NotImplementedError", "return str")

    def tamper(cells):
        for cell in exercises:
            cells[f"check-{cell.name}"].source = "print('passed')"
        cells["check-setup"].source += "\nlab.check = print"

    submit(tmp_path, name, "perfect", solve)
    submit(tmp_path, name, "wrong", solve_all_but_the_last)
    submit(tmp_path, name, "untouched", lambda cells: None)
    submit(tmp_path, name, "tampered", tamper)
    nbgrader_run(tmp_path, "autograde", name)
    nbgrader_run(tmp_path, "export", "--to", "grades.csv")
    with open(tmp_path / "grades.csv") as file:
        rows = {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in csv.DictReader(file)}
    assert rows == {
        "perfect": (total, total),
        "wrong": (total - last.points, total),
        "untouched": (0, total),
        "tampered": (0, total),
    }
    graded = nbformat.read(tmp_path / f"autograded/tampered/{name}/{name}.ipynb", 4)
    assert f'lab.check("{last.name}")' in marks(graded)[f"check-{last.name}"].source
