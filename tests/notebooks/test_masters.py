"""The shape of a lab, as its master is written (DESIGN: card, exercises, quiz). Each rule says what it wants to see."""

import importlib
import re

import pytest

from latentkit import checks
from latentkit.course.master import Cell, Master, quiz, read_master
from tests.conftest import ROOT

LABS = sorted((ROOT / "labs/source").glob("[0-9][0-9]_*.py"))
MASTERS = [*LABS, ROOT / "tests/course/fixture/labs/source/99_fixture.py"]

TITLE = re.compile(r"^#{2,4} Exercise \d+ · \S.*$", re.M)
RATING = re.compile(r"^\*\*Difficulty\*\* [●○]{5} · \*\*Time\*\* \d+ minutes? · \*\*Skill\*\* \S.*$", re.M)
HINT = re.compile(r"<details><summary>Hint (\d)[^<]*</summary>\n\n(.+?)\n\n</details>", re.S)
MISTAKE = re.compile(r"^\*\*Common mistake\.\*\* \S", re.M)
SHAPE = re.compile(r"\[\w[\w ,+*]*\]")

by_name = pytest.mark.parametrize("path", MASTERS, ids=lambda path: path.stem)


def exercises(master: Master) -> list[tuple[Cell, str, str]]:
    """(stub, the markdown right above it, the markdown from its check to the next exercise's stub) of each exercise."""
    cells = list(master.cells)
    stubs = [index for index, cell in enumerate(cells) if cell.role == "exercise"]
    found = []
    for start, end in zip(stubs, [*stubs[1:], len(cells)], strict=True):
        below = "\n\n".join(cell.source for cell in cells[start + 2 : end] if cell.type == "markdown")
        found.append((cells[start], cells[start - 1].source, below))
    return found


@by_name
def test_the_card(path):
    card = read_master(path).cells[0].source
    assert re.match(rf"# Lab {path.stem[:2]} · \S", card), "the card begins with '# Lab NN · Title'"
    assert "{{ badge }}" in card, "the card has {{ badge }}"
    assert re.search(r"\d minutes", card), "the card says how many minutes"
    assert "{{ cpu_seconds }} CPU seconds" in card, "the card has '{{ cpu_seconds }} CPU seconds'"


@by_name
def test_the_quiz(path):
    master = read_master(path)
    asked = [cell for cell in master.cells if cell.type == "markdown" and "{{ quiz }}" in cell.source]
    assert len(asked) == 1, "one markdown cell holds {{ quiz }}"
    assert quiz(path.with_name(f"{master.lab}_quiz.toml"))


@by_name
def test_every_exercise_has_its_parts(path):
    found = exercises(read_master(path))
    assert found, "a lab has exercises"
    for stub, above, below in found:
        wanted = f"exercise {stub.name!r} (line {stub.line})"
        assert TITLE.search(above), f"{wanted}: right above it, a heading '## Exercise N · Title'"
        assert RATING.search(above), f"{wanted}: '**Difficulty** ●●○○○ · **Time** 10 minutes · **Skill** ...' on a line"
        assert SHAPE.search(above + stub.open), f"{wanted}: shapes, such as [b, n, d], in the statement or the stub"
        hints = HINT.findall(below)
        assert [number for number, _ in hints] == ["1", "2", "3"], f"{wanted}: three folded hints below its check"
        assert MISTAKE.search(below), f"{wanted}: a paragraph '**Common mistake.** ...' below its check"


@by_name
def test_a_stub_is_its_solution_with_the_answer_taken_out(path):
    for stub, _, _ in exercises(read_master(path)):
        given = {line for line in stub.open.splitlines() if "raise NotImplementedError" not in line}
        assert given < set(stub.solved.splitlines()), stub.name


@by_name
def test_every_fold_renders(path):
    for cell in read_master(path).cells:
        if cell.type == "markdown":
            assert cell.source.count("<details") == cell.source.count("</details>"), f"line {cell.line}: an open fold"
            glued = re.search(r"</summary>\n?[^\n]|[^\n]\n</details>", cell.source)
            assert not glued, f"line {cell.line}: blank lines after </summary> and before </details>"


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_every_exercise_has_a_check_that_kills_mutants(path):
    lab = path.stem[:2]
    posed = {cell.name for cell in read_master(path).cells if cell.role == "exercise"}
    assert posed == checks.exercises(lab).keys(), f"latentkit/checks/lab{lab}.py checks what the lab asks"
    mutants = importlib.import_module(f"tests.checks.test_lab{lab}").MUTANTS
    assert posed == mutants.keys(), f"MUTANTS of tests/checks/test_lab{lab}.py maps each exercise to its wrong answers"
    assert all(len(wrong) >= 3 for wrong in mutants.values())
