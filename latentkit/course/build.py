"""Builds each lab's two notebooks from its master: `python -m latentkit.course.build`, or `make labs`.

    labs/NN_name.ipynb         the learner's: exercises open, nothing executed
    labs/solved/NN_name.ipynb  solved and executed, outputs saved: what the book publishes

Sources and cell ids are a function of the master and of the data it quotes, so that `--check` can tell a notebook that
is out of date.
"""

import argparse
import copy
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from latentkit.course.master import Cell, Cost, Master, MasterError, read_masters, timings

ROOT = Path(__file__).resolve().parents[2]
MAX_SOLVED_BYTES = 3_000_000
CELL_TIMEOUT = 300  # seconds on the clock, to end what hangs; the budget is in CPU seconds, and tested
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
# The versions at hand are requirements of the same pip call, so that it keeps them or fails, and never replaces them.
SETUP = """\
# Installs latentkit where it is missing (Colab); torch and numpy stay as they are.
from importlib import metadata, util
if util.find_spec("latentkit") is None:
    kept = [p for p in ("torch", "numpy") if util.find_spec(p)]
    kept = " ".join(f"{{p}}=={{metadata.version(p)}}" for p in kept)
    %pip install -q "latentkit @ git+{repository}" {{kept}}
import latentkit
lab = latentkit.start("{lab}")"""


class RunError(RuntimeError):
    """A lab does not run as a learner would want: it failed, wrote to stderr, or grew too large."""


def learner_path(master: Master) -> Path:
    """Where the learner's notebook lies."""
    return master.root / "labs" / f"{master.path.stem}.ipynb"


def solved_path(master: Master) -> Path:
    """Where the solved notebook lies."""
    return master.root / "labs/solved" / f"{master.path.stem}.ipynb"


def setup(master: Master) -> str:
    """The source of a lab's set-up cell, its first code cell."""
    return SETUP.format(repository=master.repository, lab=master.lab)


def learner(master: Master) -> NotebookNode:
    """The learner's notebook: exercises open, hidden tests and solutions gone, nothing executed."""
    cells = [
        as_node(cell, cell.open if cell.type == "code" else master.fill(cell, images="images"))
        for cell in master.cells
        if cell.role != "solution"
    ]
    return as_notebook(master, cells)


def solved(master: Master) -> NotebookNode:
    """The solved notebook before execution: solutions folded, facts tagged for nbval."""
    cells = []
    for cell in master.cells:
        node = as_node(cell, cell.solved if cell.type == "code" else master.fill(cell, images="../images"))
        if cell.role == "solution":
            node.source = f"<details><summary>Solution</summary>\n\n{node.source}\n\n</details>"
        elif cell.role == "exercise":
            node.metadata.update(tags=["hide-input"], jupyter={"source_hidden": True})
        elif cell.role == "facts":
            node.metadata.update(tags=["nbval-check-output"])
        cells.append(node)
    return as_notebook(master, cells)


def as_node(cell: Cell, source: str) -> NotebookNode:
    """A notebook cell with the id of `cell`."""
    make = nbformat.v4.new_code_cell if cell.type == "code" else nbformat.v4.new_markdown_cell
    return make(source, id=cell.id)


def as_notebook(master: Master, cells: list[NotebookNode]) -> NotebookNode:
    """A notebook of these cells, with the set-up cell below the card."""
    first = nbformat.v4.new_code_cell(setup(master), id="setup")
    return nbformat.v4.new_notebook(cells=[cells[0], first, *cells[1:]], metadata=copy.deepcopy(METADATA))


def build(master: Master, *, executing: bool = True, force: bool = False) -> str:
    """Writes a lab's two notebooks and says in a line what was done.

    The solved one is executed where its code is not what was executed last, or by `force`.

    Raises:
        MasterError: the master quotes what there is not.
        RunError: a cell failed or wrote to stderr, or the solved notebook is too large.
    """
    fresh, existing = solved(master), _read(solved_path(master))
    if existing and not force and _executed_code(existing) == [cell.source for cell in _code_cells(fresh)]:
        _take_outputs(existing, fresh)
        note = "same code as last executed, outputs kept (--force executes again)"
    elif executing:
        executed = fresh
        cost = execute(master, executed)
        _record(master, cost)
        fresh = solved(master)  # again: the card states the cost
        _take_outputs(executed, fresh)
        fresh = _with_stable_widget_ids(fresh)
        note = f"executed, {cost['cpu_seconds']} CPU seconds, slowest cell {cost['slowest_cell_seconds']}"
    else:
        note = "not executed, no outputs"
    size = _write(fresh, solved_path(master))
    if size > MAX_SOLVED_BYTES:
        raise RunError(f"{master.path.stem}: the solved notebook has {size:,} bytes, more than {MAX_SOLVED_BYTES:,}")
    _write(learner(master), learner_path(master))
    return f"{master.path.stem}: {note}"


def stale(root: Path, names: list[str] | None = None) -> list[str]:
    """The built notebooks that are not what their master makes now: cell ids, sources and tags count, outputs never."""
    expected = {}
    for master in read_masters(root, names):
        expected[learner_path(master)], expected[solved_path(master)] = learner(master), solved(master)
    old = [path for path, notebook in expected.items() if _face(_read(path)) != _face(notebook)]
    if not names:
        built = [path for folder in ("labs", "labs/solved") for path in (root / folder).glob("[0-9][0-9]_*.ipynb")]
        old += [path for path in built if path not in expected]
    return sorted(str(path.relative_to(root)) for path in old)


def execute(master: Master, notebook: NotebookNode) -> Cost:
    """Executes a notebook in place, in an empty folder, and returns what it cost, as `timings` records it.

    Raises:
        RunError: a cell failed or wrote to stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        log, work = Path(folder) / "meter.jsonl", Path(folder) / "work"
        work.mkdir()
        # One thread, as `start` chooses: what is published does not depend on who built it.
        settings = {"LATENTKIT_METER": str(log), "LATENTKIT_GRADING": "0", "OMP_NUM_THREADS": "1"}
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            resources={"metadata": {"path": str(work)}},
            record_timing=False,
            coalesce_streams=True,
        )
        try:
            client.execute(env={**os.environ, **settings})
        except CellExecutionError as error:
            raise RunError(f"{master.path.stem} failed.\n{error}") from error
        costs = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    for cell in _code_cells(notebook):
        noise = "".join(output.text for output in cell.outputs if output.get("name") == "stderr").strip()
        if noise:
            raise RunError(f"{master.path.stem}: a cell wrote to stderr.\n{cell.source}\n------\n{noise}")
    return {
        "cpu_seconds": max(1, round(sum(cost["cpu_seconds"] for cost in costs))),
        "slowest_cell_seconds": round(max(cost["cpu_seconds"] for cost in costs), 1),
        "peak_megabytes": max(cost["max_rss"] for cost in costs) // 2**20,
    }


def _record(master: Master, cost: Cost) -> None:
    """Records a cost that is off by more than a quarter, so that building again changes nothing."""
    recorded = timings(master.root)
    before = recorded.get(master.lab, {}).get("cpu_seconds")
    if before is None or abs(cost["cpu_seconds"] - before) > max(before / 4, 2):
        path = master.root / "data/labs/timings.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**recorded, master.lab: cost}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _executed_code(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in _code_cells(notebook) if cell.execution_count is not None]


def _take_outputs(executed: NotebookNode, fresh: NotebookNode) -> None:
    for count, (old, new) in enumerate(zip(_code_cells(executed), _code_cells(fresh), strict=True), 1):
        new.outputs, new.execution_count = old.outputs, count
        for output in new.outputs:
            if "execution_count" in output:
                output.execution_count = count
    if "widgets" in executed.metadata:
        fresh.metadata["widgets"] = executed.metadata["widgets"]


def _with_stable_widget_ids(notebook: NotebookNode) -> NotebookNode:
    """Widget ids are random: numbered instead, so that executing again changes no more than it must."""
    states = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    text = nbformat.writes(notebook)
    for number, id in enumerate(states):
        text = text.replace(id, hashlib.sha256(str(number).encode()).hexdigest()[:32])
    return nbformat.reads(text, as_version=4)


def _face(notebook: NotebookNode | None) -> list[tuple[Any, ...]]:
    return [(cell.cell_type, cell.id, cell.source, cell.metadata) for cell in notebook.cells] if notebook else []


def _read(path: Path) -> NotebookNode | None:
    return nbformat.read(path, as_version=4) if path.exists() else None


def _write(notebook: NotebookNode, path: Path) -> int:
    """Writes a notebook and returns its size in bytes."""
    data = (nbformat.writes(notebook) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return len(data)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m latentkit.course.build", description="Build the labs' notebooks.")
    parser.add_argument("labs", nargs="*", help="numbers or names (default: all)")
    parser.add_argument("--check", action="store_true", help="build nothing; fail where a notebook is out of date")
    parser.add_argument("--no-execute", action="store_true", help="leave changed solved notebooks without outputs")
    parser.add_argument("--force", action="store_true", help="execute again where the code is unchanged")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            old = stale(options.root, options.labs)
            print("\n".join(f"out of date with its master: {path}" for path in old) or "every notebook is up to date")
            return 1 if old else 0
        for master in read_masters(options.root, options.labs):
            print(build(master, executing=not options.no_execute, force=options.force), flush=True)
    except (MasterError, RunError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
