import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

from latentkit.course import build
from latentkit.course.master import read_master


def sources(notebook):
    return [cell.source for cell in notebook.cells]


def rewrite(master, old, new):
    """The master after a change of its text."""
    assert old in master.path.read_text()
    master.path.write_text(master.path.read_text().replace(old, new, 1))
    return read_master(master.path)


def executed_without_a_kernel(master, notebook):
    """Stands in for `build.execute`: numbers the cells, gives the first an output."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
    code[0].outputs = [nbformat.v4.new_output("stream", text="latentkit\n")]
    return {"cpu_seconds": 8, "slowest_cell_seconds": 3.0, "peak_megabytes": 200}


@pytest.fixture
def no_kernel(monkeypatch):
    monkeypatch.setattr(build, "execute", executed_without_a_kernel)


def test_the_learner_notebook_is_open_and_not_executed(master):
    notebook = build.learner(master)
    nbformat.validate(notebook)
    text = nbformat.writes(notebook)
    assert "NotImplementedError(\\\"exercise 'parity'\\\")" in text
    for hidden in ("prefix_sums", "BEGIN", "HIDDEN", "A parity is a sum modulo 2", "nbgrader", "nbval", "hide-input"):
        assert hidden not in text
    assert all(not cell.metadata for cell in notebook.cells)
    assert all(not cell.outputs and cell.execution_count is None for cell in build._code_cells(notebook))
    assert notebook.metadata.kernelspec.name == "python3"


def test_the_solved_notebook_folds_solutions_and_tags_facts(master):
    notebook = build.solved(master)
    nbformat.validate(notebook)
    tagged = {cell.source.splitlines()[0]: dict(cell.metadata) for cell in notebook.cells if cell.metadata}
    assert tagged == {
        '@lab.exercise("parity")': {"tags": ["hide-input"], "jupyter": {"source_hidden": True}},
        "print(parity(torch.tensor([[1, 1, 0, 1]])).tolist())": {"tags": ["nbval-check-output"]},
    }
    assert any(source.startswith("<details><summary>Solution</summary>\n\nA parity") for source in sources(notebook))
    assert "BEGIN" not in nbformat.writes(notebook)


def test_both_share_ids_and_differ_in_where_images_are(master):
    learner, solved = build.learner(master), build.solved(master)
    assert {cell.id for cell in learner.cells} < {cell.id for cell in solved.cells}
    assert "(images/colab-badge.svg)" in learner.cells[0].source
    assert "(../images/colab-badge.svg)" in solved.cells[0].source


def run_setup(master, monkeypatch, *, missing):
    """Runs the set-up cell in a shell where the modules of `missing` cannot be found; returns the pip calls."""
    calls = []
    shell = InteractiveShell()
    shell.register_magic_function(lambda line: calls.append(line), magic_name="pip")
    find_spec = importlib_find_spec()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else find_spec(name))
    monkeypatch.setattr("importlib.metadata.version", {"torch": "2.9.0+cu126", "numpy": "2.0.2"}.__getitem__)
    shell.run_cell(build.setup(master)).raise_error()
    assert shell.user_ns["lab"].id == "99"
    return calls


def importlib_find_spec():
    from importlib.util import find_spec

    return find_spec


INSTALL = 'install -q "latentkit @ git+https://github.com/someone/somewhere"'


@pytest.mark.parametrize(
    ("missing", "calls"),
    [
        ([], []),
        (["latentkit"], [f"{INSTALL} torch==2.9.0+cu126 numpy==2.0.2"]),
        (["latentkit", "torch"], [f"{INSTALL} numpy==2.0.2"]),
    ],
)
def test_the_setup_cell_installs_only_where_it_must_and_holds_torch(master, monkeypatch, missing, calls):
    assert run_setup(master, monkeypatch, missing=missing) == calls


def test_the_setup_cell_is_short_and_first(master):
    assert len(build.setup(master).splitlines()) <= 8
    assert build._code_cells(build.learner(master))[0].source == build.setup(master)


def test_two_builds_are_equal(master, no_kernel):
    build.build(master)
    first = [path.read_bytes() for path in (build.learner_path(master), build.solved_path(master))]
    assert "outputs kept" in build.build(master)
    build.build(master, force=True)
    assert first == [path.read_bytes() for path in (build.learner_path(master), build.solved_path(master))]


def test_the_card_states_what_was_measured(master, no_kernel):
    assert build.build(master) == "99_fixture: executed, 8 CPU seconds, slowest cell 3.0"
    for path in (build.learner_path(master), build.solved_path(master)):
        assert "5 minutes, 8 CPU seconds" in nbformat.read(path, 4).cells[0].source


@pytest.mark.parametrize(("measured", "recorded"), [(8, 8), (10, 8), (11, 11), (4, 4)])
def test_a_cost_is_recorded_only_where_it_moved(master, no_kernel, measured, recorded):
    build.build(master)
    build._record(master, {"cpu_seconds": measured, "slowest_cell_seconds": 1.0, "peak_megabytes": 1})
    timings = json.loads((master.root / "data/labs/timings.json").read_text())
    assert timings["99"]["cpu_seconds"] == recorded


def test_only_changed_code_is_executed_again(master, no_kernel):
    build.build(master)
    prose = rewrite(master, "What changes the parity", "What would change the parity")
    assert "outputs kept" in build.build(prose)
    notebook = nbformat.read(build.solved_path(prose), 4)
    assert "What would change" in "".join(sources(notebook))
    assert build._code_cells(notebook)[0].outputs[0].text == "latentkit\n"
    code = rewrite(prose, "import torch", "import torch  # again")
    assert "not executed, no outputs" in build.build(code, executing=False)
    assert not build._code_cells(nbformat.read(build.solved_path(code), 4))[0].outputs
    assert ": executed" in build.build(code)


def test_check_names_what_is_out_of_date(master, no_kernel, capsys):
    root = str(master.root)
    assert build.main(["--root", root, "--check"]) == 1
    assert "labs/99_fixture.ipynb" in capsys.readouterr().out
    assert build.main(["--root", root, "99"]) == 0
    assert build.main(["--root", root, "--check"]) == 0
    solved = build.solved_path(master)
    notebook = nbformat.read(solved, 4)
    notebook.cells[1].outputs = []  # outputs never count
    nbformat.write(notebook, solved)
    assert build.stale(master.root) == []
    rewrite(master, "A parity is a sum modulo 2", "Parity is a sum modulo 2")
    assert build.stale(master.root) == ["labs/solved/99_fixture.ipynb"]
    (master.root / "labs/98_gone.ipynb").write_text("{}")
    assert build.stale(master.root) == ["labs/98_gone.ipynb", "labs/solved/99_fixture.ipynb"]
    capsys.readouterr()
    assert build.main(["--root", root, "97"]) == 1
    assert "no lab 97" in capsys.readouterr().err


def test_a_notebook_that_is_too_large_is_refused(master, no_kernel, monkeypatch):
    monkeypatch.setattr(build, "MAX_SOLVED_BYTES", 1000)
    with pytest.raises(build.RunError, match="more than 1,000"):
        build.build(master)


def test_widget_ids_are_numbered(master):
    def with_widget(id):
        notebook = build.solved(master)
        view = {"application/vnd.jupyter.widget-view+json": {"model_id": id}}
        notebook.cells[1].outputs = [nbformat.v4.new_output("display_data", view)]
        notebook.metadata["widgets"] = {build.WIDGET_STATE: {"state": {id: {"children": [f"IPY_MODEL_{id}"]}}}}
        return build._with_stable_widget_ids(notebook)

    one, other = with_widget("0123456789abcdef" * 2), with_widget("fedcba9876543210" * 2)
    assert one == other
    assert re.search(r"IPY_MODEL_[0-9a-f]{32}", nbformat.writes(one))


@pytest.mark.slow
def test_a_kernel_executes_meters_and_keeps_widgets(master):
    widget = "import ipywidgets\nipywidgets.IntSlider(3)"
    master = rewrite(master, "import torch\n", f"import torch\n{widget}\n")
    note = build.build(master)
    assert ": executed" in note
    notebook = nbformat.read(build.solved_path(master), 4)
    code = build._code_cells(notebook)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert notebook.metadata.widgets[build.WIDGET_STATE]["state"]
    assert "✓ parity: passed." in str(notebook)
    assert build.stale(master.root) == []
    text = build.solved_path(master).read_text()
    assert "iopub" not in text and str(Path.cwd()) not in text and sys.prefix not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "message"),
    [("import sys; print('careful', file=sys.stderr)", "wrote to stderr"), ("1 / 0", "ZeroDivisionError")],
)
def test_what_a_learner_would_stumble_over_fails_the_build(master, code, message):
    with pytest.raises(build.RunError, match=message):
        build.build(rewrite(master, "import torch\n", f"import torch\n{code}\n"))
    assert not build.solved_path(master).exists()
