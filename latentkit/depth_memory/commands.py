"""`latentkit map`: runs the depth-memory map, or says how far it is."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")
MARKS = {"failed": "failed", "not applicable": "n.a.", "not run": "-"}


def add_parser(subparsers: Any, name: str) -> None:
    """Adds the command `name`."""
    parser = subparsers.add_parser(
        name,
        help="every architecture on every task: run what is missing of the map, or show it",
        description="Runs what is missing of the depth-memory map, every cell with seed 0 first; writes data/map/. It "
        "may be killed at any time: the same command goes on. Started several times, the processes share the work.",
    )
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="only these architectures")
    parser.add_argument("--columns", nargs="+", metavar="COLUMN", help="only these tasks")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0..N-1 (default 3)")
    parser.add_argument("--status", action="store_true", help="print the map as it stands, and run nothing")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1, the fastest at this size)")
    parser.set_defaults(func=_map)


def chosen(kind: str, ids: Sequence[str] | None, known: Sequence[T]) -> list[T]:
    """Those of `known` that `ids` names, in its own order; all where it is None.

    Raises:
        ValueError: an unknown id; lists those there are.
    """
    by_id = {item.id: item for item in known}  # type: ignore[attr-defined]
    if unknown := [i for i in ids or () if i not in by_id]:
        raise ValueError(f"no {kind} {unknown[0]!r}; choose from {', '.join(by_id)}")
    return [item for i, item in by_id.items() if ids is None or i in ids]


def _map(arguments: argparse.Namespace) -> int:
    import torch

    from latentkit.depth_memory.cells import folder, run
    from latentkit.depth_memory.columns import COLUMNS
    from latentkit.depth_memory.results import load
    from latentkit.depth_memory.rows import ROWS

    if arguments.seeds < 1 or arguments.threads < 1:
        raise ValueError(f"seeds={arguments.seeds}, threads={arguments.threads}; both must be at least 1")
    rows, columns = chosen("row", arguments.rows, ROWS), chosen("column", arguments.columns, COLUMNS)
    if arguments.status:
        print(status(load(rows, columns)))
        return 0
    torch.set_num_threads(arguments.threads)
    try:
        progress = run(rows, columns, range(arguments.seeds), log=lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 130
    print(
        f"{progress.ran} trained, written to {folder()}"
        + f"; {progress.left} left to another process" * bool(progress.left)
    )
    if progress.broken:
        print(f"latentkit map: {progress.broken} broke, see above", file=sys.stderr)
    return 1 if progress.broken else 0


def status(table: Any) -> str:
    """The map as text: percent of the way from chance to all right, "~" where seeds differ, and how many have run."""
    ids = [column.id for column in table.columns]
    lines = [f"{'% above chance':14}" + "".join(f"{i:>12}" for i in ids)]
    for row in table.rows:
        cells = [table.cell(row.id, i) for i in ids]
        lines.append(f"{row.id:14}" + "".join(f"{_mark(cell):>12}" for cell in cells))
    counts = ", ".join(f"{count} {status}" for status, count in table.counts().items())
    spent = sum(cell.cpu_seconds * len(cell.scores) for cell in table.cells)
    lines.append(f"{len(table.cells)} cells: {counts}; {spent / 60:.0f} CPU minutes. In brackets: seeds")
    return "\n".join(lines)


def _mark(cell: Any) -> str:
    if cell.status in MARKS:
        return MARKS[cell.status]
    return f"{'~' if cell.status == 'unstable' else ''}{round(100 * cell.above)} ({len(cell.scores)})"
