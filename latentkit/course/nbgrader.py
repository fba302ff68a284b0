"""Hands a lab to nbgrader: `latentkit course export LAB --to DIR` writes a source assignment and its configuration.

Solutions and hidden tests keep their markers, which are nbgrader's own, and each check is worth its points. The
submission is graded without fallback: the set-up cell, which nbgrader restores before it grades, says so in a region
that students do not get, and the configuration says so once more.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import nbformat

from latentkit.course.build import ROOT, as_node, as_notebook
from latentkit.course.master import REGIONS, Cell, Master, read_masters
from latentkit.course.runtime import UNSOLVED

GRADING = """
### BEGIN HIDDEN TESTS
import os
os.environ["LATENTKIT_GRADING"] = "1"
### END HIDDEN TESTS"""

CONFIG = f"""\
import os

os.environ["LATENTKIT_GRADING"] = "1"  # no fallback: an unsolved exercise scores 0

c = get_config()
c.CourseDirectory.course_id = "latentkit"
c.CourseDirectory.root = os.path.dirname(os.path.abspath(__file__))
c.ClearSolutions.code_stub = {{"python": 'raise NotImplementedError("{UNSOLVED}")'}}
c.ExecutePreprocessor.timeout = 300
c.ExecutePreprocessor.kernel_name = "python3"
"""


def export(master: Master, course: Path) -> Path:
    """Writes `course`/source/labNN/labNN.ipynb, and nbgrader_config.py where there is none; returns the notebook."""
    cells = []
    for cell in master.cells:
        if cell.role == "solution":
            continue
        node = as_node(cell, cell.source if cell.type == "code" else master.fill(cell, images="images"))
        if cell.role in REGIONS:
            node.metadata["nbgrader"] = _marks(cell)
        cells.append(node)
    notebook = as_notebook(master, cells)
    setup = next(cell for cell in notebook.cells if cell.id == "setup")
    setup.source += GRADING
    setup.metadata["nbgrader"] = _marks(Cell("code", setup.source, 0, setup.id, "check", "setup", points=0))

    name = f"lab{master.lab}"
    path = course / "source" / name / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    shutil.copytree(master.root / "labs/images", path.parent / "images", dirs_exist_ok=True)
    config = course / "nbgrader_config.py"
    if not config.exists():
        config.write_text(CONFIG, encoding="utf-8")
    return path


def _marks(cell: Cell) -> dict[str, Any]:
    """The metadata nbgrader goes by: a check is locked and graded, an exercise is the student's."""
    check = cell.role == "check"
    marks: dict[str, Any] = {"schema_version": 3, "task": False, "grade": check, "locked": check, "solution": not check}
    return marks | ({"grade_id": f"check-{cell.name}", "points": cell.points} if check else {"grade_id": cell.name})


def add_parser(subparsers: Any, name: str = "course") -> None:
    """Adds `latentkit course export LAB --to DIR`."""
    course = subparsers.add_parser(name, help="for instructors")
    parser = course.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "export", help="write a lab as an nbgrader source assignment (from a clone: the package holds no masters)"
    )
    parser.add_argument("lab", help='a number, such as "02", or the full name')
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="the nbgrader course folder")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit code.

    Raises:
        MasterError: there is no such lab.
    """
    (master,) = read_masters(ROOT, [arguments.lab])
    print(export(master, arguments.to))
    return 0
