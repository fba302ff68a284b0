"""What all widgets share: one script that runs live in a notebook and, inlined, in a page opened from disk.

    numbers computed in Python --view--> Widget --html--> a table, the view as JSON, the script that draws it

A new widget is three files. NAME.py computes the view and subclasses `Widget`. NAME.js draws it: it defines
`mount(root, view, value, moved)` and hands it to `widget` of base.js, which is put in front of it. NAME.css styles it,
nested in `.lk-NAME`, with the colours of base.css, light and dark. What is shown needs no kernel and fetches nothing.
"""

import html
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import ClassVar

import anywidget
import traitlets

from latentkit.recurrence import Trajectory


def script(name: str) -> str:
    """The script of a widget, with what all share in front."""
    return _read("base.js") + _read(f"{name}.js")


def style(name: str) -> str:
    """The style sheet of a widget, with what all share in front."""
    return _read("base.css") + _read(f"{name}.css")


def _read(file: str) -> str:
    return files(__package__).joinpath(file).read_text("utf-8")


class Widget(anywidget.AnyWidget):
    """Something to look at. A subclass sets `kind`, `_esm` and `_css`, and adds a trait `value`: what the reader chose.

    Attributes:
        kind: the name of its files.
        view: what the script draws, computed once: plain JSON.
    """

    kind: ClassVar[str]
    view = traitlets.Dict().tag(sync=True)

    @property
    def text(self) -> str:
        """What is shown now in a sentence, for readers who do not see the picture."""
        raise NotImplementedError

    def table(self) -> str:
        """The html that is shown where scripts are not allowed."""
        raise NotImplementedError

    def html(self) -> str:
        """The widget as a piece of a page: no kernel, no network; a plain table where scripts are not allowed."""
        data = json.dumps({**self.view, "start": self.value}, separators=(",", ":"), ensure_ascii=False)
        return (
            f'<div class="lk-{self.kind} lk-widget" data-waiting><style>{self._css}</style>{self.table()}'
            f'<script type="application/json">{data.replace("<", chr(92) + "u003c")}</script></div>'
            f'<script type="module">{self._esm}</script>'
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text if self.view else ''})"

    def _repr_mimebundle_(self, **kwargs: dict) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/plain": repr(self), "text/html": self.html()}, metadata


class PassWidget(Widget):
    """A widget whose `value` is the pass shown; its view has `frames`, each with its "pass" and its "text"."""

    value = traitlets.Int(1).tag(sync=True)

    @traitlets.validate("value")
    def _kept(self, proposal: traitlets.Bunch) -> int:
        kept = [f["pass"] for f in self.view.get("frames", [])]
        if kept and proposal.value not in kept:
            raise traitlets.TraitError(f"value={proposal.value}: that pass was not kept; choose from {ranges(kept)}")
        return proposal.value

    @property
    def text(self) -> str:
        """The frame shown, in a sentence."""
        return next(f["text"] for f in self.view["frames"] if f["pass"] == self.value)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as an html table; every row begins with its heading."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join(
        f"<tr><th>{html.escape(str(first))}</th>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    return f"<table>{f'<tr>{head}</tr>' if header else ''}{body}</table>"


def check_example(trajectory: Trajectory, example: int) -> None:
    """Refuses an example that is not in the batch.

    Raises:
        ValueError: with the examples that there are.
    """
    batch = trajectory.logits.shape[1]
    if not 0 <= example < batch:
        raise ValueError(f"example={example}; this trajectory holds examples {ranges(range(batch))}")


def first_pass(passes: Sequence[int], start: int | None) -> int:
    """The pass shown first: `start`, or the first of those kept.

    Raises:
        ValueError: `start` was not kept.
    """
    start = passes[0] if start is None else start
    if start not in passes:
        raise ValueError(f"start={start} was not kept; this trajectory holds passes {ranges(passes)}")
    return start


def rounded(x: float, digits: int) -> float | None:
    """Significant digits; JSON has no word for a value that is not finite."""
    return float(f"{x:.{digits}g}") if math.isfinite(x) else None


def ranges(numbers: Sequence[int]) -> str:
    """0 to 4, 7, 9 to 12 for ascending numbers."""
    runs: list[list[int]] = []
    for i in numbers:
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in runs)
