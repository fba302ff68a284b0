"""The depth-memory map to walk through: every architecture on every task, and the learning curve of the cell in hand.

    DepthMemoryMap --depth_memory--> DepthMemory (drawn by depth_memory.js)

How a widget reaches a page: `latentkit.widgets.base`.
"""

import html
from typing import Any

import traitlets

from latentkit.depth_memory.results import Cell, DepthMemoryMap
from latentkit.widgets import base

_JS, _CSS = base.script("depth_memory"), base.style("depth_memory")


def depth_memory(table: DepthMemoryMap, *, cell: tuple[str, str] | None = None, title: str = "") -> "DepthMemory":
    """The map with one cell opened.

    Args:
        table: what `latentkit.depth_memory.load_map` gives.
        cell: row and column of the cell that is open at first; default: the first that was measured, else the first.
        title: a heading.

    Raises:
        ValueError: a map without cells.
        KeyError: no such cell.
    """
    if not table.cells:
        raise ValueError("the map has no cells; expected at least one row and one column")
    first = next((c for c in table.cells if c.above is not None), table.cells[0])
    start = table.cell(*cell) if cell else first
    titles = {line.id: line.title for line in (*table.rows, *table.columns)}
    view = {
        "title": title,
        "rows": [{"id": row.id, "title": row.title, "kind": row.kind} for row in table.rows],
        "columns": [{"id": c.id, "title": c.title, "kind": c.kind, "text": c.text} for c in table.columns],
        "cells": {_name(c): _cell(c, f"{titles[c.row]} on {titles[c.column]}") for c in table.cells},
    }
    return DepthMemory(view=view, value=_name(start))


def _name(cell: Cell) -> str:
    return f"{cell.row}/{cell.column}"


def _percent(share: float | None) -> int | None:
    return None if share is None else round(100 * share)


def _cell(cell: Cell, where: str) -> dict[str, Any]:
    """What the script draws of one cell."""
    facts = (
        f"{cell.parameters:,} parameters; {cell.steps:,} steps of {cell.batch} examples; {cell.flops / 1e9:,.0f} GFLOP "
        f"and {cell.cpu_seconds:.0f} CPU seconds a seed"
    )
    return {
        "status": cell.status,
        "above": _percent(cell.above),
        "spread": [_percent(cell.over_chance(end)) for end in (cell.low, cell.high)],
        "seeds": len(cell.scores),
        "chance": base.rounded(cell.chance, 3),
        "curves": [[[step, base.rounded(score, 3)] for step, score in curve] for curve in cell.curves],
        "steps": cell.steps,
        "facts": facts if cell.steps else "",
        "text": f"{where}: {cell.text}",
    }


class DepthMemory(base.Widget):
    """The map and one open cell; made by `depth_memory`.

    Attributes:
        value: the open cell, as "row/column"; follows clicks and arrow keys, and moves what is open.
    """

    kind = "depth-memory"
    _esm = _JS
    _css = _CSS
    value = traitlets.Unicode().tag(sync=True)

    @traitlets.validate("value")
    def _known(self, proposal: traitlets.Bunch) -> str:
        cells = self.view.get("cells", {})
        if cells and proposal.value not in cells:
            raise traitlets.TraitError(f"value={proposal.value!r}: no such cell; choose from {', '.join(cells)}")
        return proposal.value

    @property
    def text(self) -> str:
        """The open cell, in a sentence."""
        return self.view["cells"][self.value]["text"]

    def table(self) -> str:
        """Every cell: percent of the way from chance to all right, its range over seeds, and what else is to say."""
        rows = []
        for row in self.view["rows"]:
            cells = [self.view["cells"][f"{row['id']}/{column['id']}"] for column in self.view["columns"]]
            rows.append([row["title"], *map(_words, cells)])
        header = ["% above chance", *(column["title"] for column in self.view["columns"])]
        return f"<p>{html.escape(self.view['title'])} {html.escape(self.text)}</p>" + base.table(header, rows)


def _words(cell: dict[str, Any]) -> str:
    if cell["above"] is None:
        return cell["status"]
    spread = f" ({' to '.join(map(str, cell['spread']))})" if cell["seeds"] > 1 else " (one seed)"
    return f"{cell['above']}{spread}{'' if cell['status'] == 'ok' else ' ' + cell['status']}"
