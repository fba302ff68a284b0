"""The page of the depth-memory map: its picture, the widget, and what each task asks."""

import base64
import html
import io
from collections.abc import Sequence

from sphinx.application import Sphinx

from latentkit.depth_memory import DepthMemoryMap, load_map
from latentkit.plots import depth_memory_map
from latentkit.widgets import depth_memory


def picture(table: DepthMemoryMap) -> str:
    """The heat map as an image in the page itself; the widget's table is its text."""
    file = io.BytesIO()
    depth_memory_map(table).savefig(file, format="png", dpi=144)
    data = base64.b64encode(file.getvalue()).decode()
    counts = ", ".join(f"{count} {status}" for status, count in table.counts().items())
    alt = f"Heat map of {len(table.rows)} architectures by {len(table.columns)} tasks: {counts}. The numbers are below."
    return raw(f'<img style="max-width: 100%" alt="{html.escape(alt)}" src="data:image/png;base64,{data}">')


def raw(text: str) -> str:
    """Html in a Markdown page."""
    return f"```{{raw}} html\n{text}\n```"


def tasks(table: DepthMemoryMap) -> str:
    """A row for each task: what is scored, chance, and the budget that every architecture has there."""
    lines = ["| task | what is scored | chance | examples a step | steps |", "|---|---|---|---|---|"]
    for column in table.columns:
        cells = [table.cell(row.id, column.id) for row in table.rows]
        cell = next((cell for cell in cells if cell.steps), None)
        numbers = (f"{cell.chance:.2f}", f"{cell.batch}", f"{cell.steps:,}") if cell else ("–",) * 3
        lines.append(f"| {column.title} | {column.text} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def costs(table: DepthMemoryMap) -> str:
    """A row for each architecture: its parameters, and what a training costs, from the cheapest task to the dearest."""
    lines = ["| architecture | parameters | GFLOP a training | CPU seconds a training |", "|---|---|---|---|"]
    for row in table.rows:
        run = [cell for column in table.columns if (cell := table.cell(row.id, column.id)).steps]
        cells = (
            span([cell.parameters for cell in run]),
            span([cell.flops / 1e9 for cell in run]),
            span([cell.cpu_seconds for cell in run]),
        )
        lines.append(f"| {row.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def span(values: Sequence[float]) -> str:
    """From the least to the most."""
    ends = list(dict.fromkeys(f"{value:,.0f}" for value in (min(values), max(values)))) if values else []
    return " to ".join(ends) or "–"


PLACES = {
    "{{ map picture }}": picture,
    "{{ map widget }}": lambda table: raw(depth_memory(table, title="The depth-memory map").html()),
    "{{ map tasks }}": tasks,
    "{{ map costs }}": costs,
}


def write(app: Sphinx, docname: str, source: list[str]) -> None:
    """Puts each part where a page asks for it."""
    wanted = [place for place in PLACES if place in source[0]]
    if wanted:
        table = load_map()
        for place in wanted:
            source[0] = source[0].replace(place, PLACES[place](table))
        app.env.note_reread()


def setup(app: Sphinx) -> dict:
    """Connects the page."""
    app.connect("source-read", write)
    return {"parallel_read_safe": True}
