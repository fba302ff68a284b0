"""Depth against breadth: what more passes buy, and what more restarts buy, at the same price.

    shares right --surface--> Surface (drawn by surface.js)

How a widget reaches a page: `latentkit.widgets.base`.
"""

import html
import math
from collections.abc import Mapping, Sequence

import traitlets

from latentkit.analysis.evaluate import wilson
from latentkit.widgets import base

_JS, _CSS = base.script("surface"), base.style("surface")


def surface(
    values: Mapping[str, Sequence[Sequence[float]]],
    passes: Sequence[int],
    restarts: Sequence[int],
    *,
    number: Mapping[str, int],
    title: str = "",
    band: str | None = None,
) -> "Surface":
    """A grid of accuracies: passes to the right, restarts upwards, one band of difficulty at a time.

    Args:
        values: for each band, `values[band][i][j]` is the share right, in 0..1, with passes[i] and restarts[j]; NaN
            where it was not measured.
        passes, restarts: ascending.
        number: for each band, the independent puzzles behind each share; gives Wilson's 95% interval.
        title: a heading.
        band: the band shown first; default: the first.

    Raises:
        ValueError: no bands, a grid of another size, a share outside 0..1, a band without a number, or an unknown band.
    """
    if not values:
        raise ValueError("values is empty; expected at least one band")
    for name, steps in (("passes", passes), ("restarts", restarts)):
        if not steps or list(steps) != sorted(set(steps)) or steps[0] < 1:
            raise ValueError(f"{name}={list(steps)}; expected whole numbers from 1 on, each larger than the one before")
    band = next(iter(values)) if band is None else band
    if band not in values:
        raise ValueError(f"band={band!r}; choose from {', '.join(values)}")
    view = {
        "title": title,
        "passes": list(passes),
        "restarts": list(restarts),
        "bands": {
            name: _band(name, rows, len(passes), len(restarts), number.get(name, 0)) for name, rows in values.items()
        },
    }
    return Surface(view=view, value=band)


def _band(name: str, rows: Sequence[Sequence[float]], num_passes: int, num_restarts: int, number: int) -> dict:
    if number < 1:
        raise ValueError(f"band {name!r}: number={number}; expected how many puzzles its shares are of")
    if [len(row) for row in rows] != [num_restarts] * num_passes:
        raise ValueError(
            f"band {name!r} has rows of {[len(row) for row in rows]} values; expected {num_passes} rows (passes) of "
            f"{num_restarts} (restarts)"
        )
    if wrong := [v for row in rows for v in row if not (math.isnan(v) or 0 <= v <= 1)]:
        raise ValueError(f"band {name!r} holds {wrong[0]}; a share lies in 0..1")

    def cell(share: float) -> list[float] | None:
        """Share and interval in percent."""
        if math.isnan(share):
            return None
        return [round(100 * x, 1) for x in (share, *wilson(round(share * number), number))]

    return {"number": number, "cells": [[cell(share) for share in row] for row in rows]}


class Surface(base.Widget):
    """A grid of accuracies with a choice of bands; made by `surface`.

    Attributes:
        value: the band shown; follows the choice, and moves it.
    """

    kind = "surface"
    _esm = _JS
    _css = _CSS
    value = traitlets.Unicode().tag(sync=True)

    @traitlets.validate("value")
    def _known(self, proposal: traitlets.Bunch) -> str:
        bands = self.view.get("bands", {})
        if bands and proposal.value not in bands:
            raise traitlets.TraitError(f"value={proposal.value!r}: no such band; choose from {', '.join(bands)}")
        return proposal.value

    @property
    def text(self) -> str:
        """The lowest and the highest value of the band shown, and where they are."""
        band = self.view["bands"][self.value]
        measured = [
            (cell[0], p, r)
            for p, row in zip(self.view["passes"], band["cells"], strict=True)
            for r, cell in zip(self.view["restarts"], row, strict=True)
            if cell is not None
        ]
        if not measured:
            return f"{self.value}: nothing measured."
        ends = (f"{share}% right (passes {p}, restarts {r})" for share, p, r in (min(measured), max(measured)))
        return f"{self.value}: from {' to '.join(ends)}; {band['number']} puzzles."

    def table(self) -> str:
        """All bands: one row a number of restarts, with the intervals."""
        parts = [f"<p>{html.escape(self.view['title'])} {html.escape(self.text)}</p>"]
        for name, band in self.view["bands"].items():
            header = [f"{name}: % right (95% interval)", *(f"passes {p}" for p in self.view["passes"])]
            rows = []
            for r, cells in zip(self.view["restarts"], zip(*band["cells"], strict=True), strict=True):
                rows.append([f"restarts {r}", *("" if c is None else f"{c[0]} ({c[1]} to {c[2]})" for c in cells)])
            parts.append(base.table(header, rows))
        return "".join(parts)
