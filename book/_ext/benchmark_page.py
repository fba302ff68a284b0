"""The benchmarks page: one table a file of data/benchmarks/."""

import json
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from latentkit import paths

PLACE = "{{ benchmarks }}"


def table(path: Path) -> str:
    """One file, in MyST Markdown."""
    record = json.loads(path.read_text(encoding="utf-8"))
    columns = list(record["rows"][0])
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(shown(row.get(column)) for column in columns)} |" for row in record["rows"]]
    environment = ", ".join(f"{name} {version}" for name, version in record["environment"].items())
    parts = [f"## {record['title']}", record["what"], "\n".join(lines), record.get("note", "")]
    return "\n\n".join([*filter(None, parts), f"Run on {environment}, by `{record['command']}`."])


def shown(value: Any) -> str:
    """A cell: numbers with thousands apart, a dash where nothing was measured."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def write(app: Sphinx, docname: str, source: list[str]) -> None:
    """Puts the tables where a page says `{{ benchmarks }}`."""
    if PLACE in source[0]:
        files = sorted((paths.shipped_dir() / "benchmarks").glob("*.json"))
        source[0] = source[0].replace(PLACE, "\n\n".join(map(table, files)))
        app.env.note_reread()


def setup(app: Sphinx) -> dict:
    """Connects the page."""
    app.connect("source-read", write)
    return {"parallel_read_safe": True}
