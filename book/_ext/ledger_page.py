"""The claims page: one table, and a section per ledger entry with every seed's value."""

import json
from itertools import groupby

from sphinx.application import Sphinx

from latentkit.claims import ledger

PLACE = "{{ ledger }}"


def anchor(claim_id: str) -> str:
    """The id of a claim's section, for links such as `claims.html#claim-stack-wall`."""
    return f"claim-{claim_id}"


def overview(records: list[ledger.Record]) -> str:
    """The ledger's own table, its statements linked to their sections."""
    table = ledger.markdown_table(records)
    for record in records:
        table = table.replace(f"| {record.statement} |", f"| [{record.statement}](#{anchor(record.id)}) |", 1)
    return table


def section(record: ledger.Record) -> str:
    """One entry, in MyST Markdown."""
    source = record.source
    slug = record.verdict.replace(" ", "-")
    facts = {
        "Source": f"{{cite:t}}`{source.cite}`, {source.section}: {source.claim}",
        "Rule": record.rule,
        "Note": record.note,
        "Run on": record.seeds
        and f"{', '.join(f'{k} {v}' for k, v in record.environment.items())}; "
        f"{record.seeds} seeds, {record.cpu_seconds:.0f} CPU seconds of training",
    }
    lines = [
        f"({anchor(record.id)})=",
        f"## {record.statement.removesuffix('.')}",
        f'<p class="lk-verdict lk-{slug}">{record.verdict}</p>',
        *(f"{name}\n: {text}" for name, text in facts.items() if text),
        arms_table(record.setup),
        *([metrics_table(record)] if record.metrics else []),  # an open question has none yet
        f"```bash\n{record.command}\n```",
        "<details><summary>Set-up in full</summary>",
        f"```json\n{json.dumps(record.setup, indent=1)}\n```",
        "</details>",
    ]
    return "\n\n".join(lines)


def arms_table(setup: dict) -> str:
    """What was trained: one row an arm."""
    rows = ["| arm | model | parameters | task | steps | learning rate |", "|---|---|---|---|---|---|"]
    for name, arm in setup.items():
        fit = arm["fit"]
        model = arm["model"]["type"].removesuffix("Config")
        cells = (name, model, f"{arm['parameters']:,}", arm["task"], f"{fit['steps']:,}", f"{fit['learning_rate']:g}")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def metrics_table(record: ledger.Record) -> str:
    """What was measured: every seed's value and the spread; accuracies by depth are drawn.

    `metric@1`, `metric@2` ... (after so many passes) share a row; as curves, they are the rows of one map a seed.
    """
    rows = ["| arm | metric | every seed | mean (range) |", "|---|---|---|---|"]
    for stem, names in groupby(record.metrics, key=lambda name: name.partition("@")[0]):
        names = list(names)
        values = [record.values(name) for name in names]
        marks = [name.partition("@")[2] for name in names]
        spread = ""
        if isinstance(values[0][0], list):
            shown = "".join(shades(list(curves)) for curves in zip(*values, strict=True))
        elif len(names) == 1:
            shown, spread = by_seed(values[0]), record.spread(names[0])
        else:
            shown = "; ".join(f"**{mark}:** {by_seed(each)}" for mark, each in zip(marks, values, strict=True))
        arm, _, metric = stem.rpartition("/")
        label = " @ ".join(filter(None, [metric.replace("_", " "), ", ".join(filter(None, marks))]))
        rows.append(f"| {arm} | {label} | {shown} | {spread} |")
    return "\n".join(rows)


def by_seed(values: list[float]) -> str:
    """Every seed's number."""
    return ", ".join(f"{v:.4g}" for v in values)


def shades(grid: list[list[float | None]]) -> str:
    """Rows of numbers from 0 to 1, or per cents, as shaded cells; a single row's numbers are its text alternative.

    Where there was nothing to measure (None), there is no cell.
    """
    scale = 100 if any(v is not None and v > 1 for row in grid for v in row) else 1
    cells = []
    for y, row in enumerate(grid):
        x = 0
        for shade, run in groupby(None if v is None else f"{min(max(v / scale, 0), 1):.2f}" for v in row):
            width = len(list(run))
            if shade is not None:
                cells.append(f'<rect x="{x}" y="{y}" width="{width}" height="1" fill-opacity="{shade}"/>')
            x += width
    label = f"a map of {len(grid)} by {len(grid[0])} numbers"
    if len(grid) == 1:
        label = ", ".join("none" if v is None else f"{v / scale:.2f}" for v in grid[0])
    return (
        f'<svg class="lk-shades" role="img" viewBox="0 0 {len(grid[0])} {len(grid)}" preserveAspectRatio="none" '
        f'style="height: {max(0.75, 0.35 * len(grid)):g}rem"><title>{label}</title>{"".join(cells)}</svg>'
    )


def write(app: Sphinx, docname: str, source: list[str]) -> None:
    """Puts the ledger where a page says `{{ ledger }}`, before parsing: its sections are sections like any other."""
    if PLACE in source[0]:
        records = ledger.load_all()
        source[0] = source[0].replace(PLACE, "\n\n".join([overview(records), *map(section, records)]))
        app.env.note_reread()  # the ledger's files are not sources that Sphinx watches


def setup(app: Sphinx) -> dict:
    """Connects the page."""
    app.connect("source-read", write)
    return {"parallel_read_safe": True}
