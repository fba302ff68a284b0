"""The benchmarks page: one table a file of data/benchmarks/."""

import json
from pathlib import Path

from sphinx.application import Sphinx

from latentkit import paths

PLACE = "{{ benchmarks }}"


def table(path: Path) -> str:
    """One file, in MyST Markdown."""
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = ["| case | against | speed | memory | parameters (ours, theirs) |", "|---|---|---|---|---|"]
    for name, pair in record["pairs"].items():
        ours, theirs = pair["latentkit"], pair["peer"]
        cells = (
            name,
            pair["peer_package"],
            f"**{pair['speed']:.2f} x** ({ours['cpu_ms']:.0f} against {theirs['cpu_ms']:.0f} CPU ms)",
            f"{pair['memory']:.2f} x ({ours['peak_mib']:.0f} against {theirs['peak_mib']:.0f} MiB)",
            f"{ours['parameters']:,} and {theirs['parameters']:,}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    environment = ", ".join(f"{name} {version}" for name, version in record["environment"].items())
    return "\n\n".join(
        [f"## {record['what'].capitalize()}", "\n".join(rows), f"Run on {environment}, by `{record['command']}`."]
    )


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
