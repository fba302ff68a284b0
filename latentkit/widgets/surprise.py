"""The surprise read-out: a stream, token by token, how much each surprised a memory, and what its gates did with it.

    surprises and gates of one stream --surprise_strip--> SurpriseStrip (drawn by surprise.js)

How a widget reaches a page: `latentkit.widgets.base`.
"""

import html
from collections.abc import Mapping, Sequence

import traitlets
from torch import Tensor

from latentkit.widgets import base

_JS, _CSS = base.script("surprise"), base.style("surprise")


def surprise_strip(
    tokens: Sequence[str],
    surprise: Mapping[str, Tensor],
    *,
    gates: Mapping[str, Tensor] | None = None,
    marks: Mapping[int, str] | None = None,
    title: str = "",
    start: int = 0,
) -> "SurpriseStrip":
    """Bars of surprise over a stream, one memory at a time, with its gates below.

    Args:
        tokens: the name of every token.
        surprise: for each memory by name, the surprise [n] of every token.
        gates: rows [n] in 0..1 below the bars, the same for all memories, such as theta and eta.
        marks: what is worth saying of some tokens, by position from 0.
        title: a heading.
        start: the token pointed at first.

    Raises:
        ValueError: no memory, series of another length, values that are negative or not finite, gates above 1, or no
            such position.
    """
    n = len(tokens)
    gates, marks = gates or {}, marks or {}
    if not surprise or not n:
        raise ValueError("no surprises to show; expected at least one memory and one token")
    for name, series in {**surprise, **gates}.items():
        if series.shape != (n,):
            raise ValueError(f"{name!r} has shape {list(series.shape)}; expected [{n}], one number a token")
        if not bool(series.isfinite().all()) or float(series.min()) < 0:
            raise ValueError(f"{name!r} holds a number that is negative or not finite: the memory diverged")
    for name, series in gates.items():
        if float(series.max()) > 1:
            raise ValueError(f"{name!r} holds {float(series.max()):.3g}; a gate is from 0 to 1")
    if outside := [i for i in (*marks, start) if not 0 <= i < n]:
        raise ValueError(f"position {outside[0]}; this stream has positions 0 to {n - 1}")

    def numbers(series: Tensor) -> list[float | None]:
        return [base.rounded(x, 3) for x in series.tolist()]

    view = {
        "title": title,
        "tokens": list(tokens),
        "memories": {name: numbers(series) for name, series in surprise.items()},
        "medians": {name: base.rounded(float(series.median()), 3) for name, series in surprise.items()},
        "gates": {name: numbers(series) for name, series in gates.items()},
        "marks": {str(i): text for i, text in marks.items()},
    }
    return SurpriseStrip(view=view, value=start)


class SurpriseStrip(base.Widget):
    """A stream and its surprises; made by `surprise_strip`.

    Attributes:
        value: the position pointed at; follows the reader, and moves the pointer.
    """

    kind = "surprise"
    _esm = _JS
    _css = _CSS
    value = traitlets.Int(0).tag(sync=True)

    @traitlets.validate("value")
    def _inside(self, proposal: traitlets.Bunch) -> int:
        n = len(self.view.get("tokens", []))
        if n and not 0 <= proposal.value < n:
            raise traitlets.TraitError(f"value={proposal.value}: no such position; choose from 0 to {n - 1}")
        return proposal.value

    @property
    def text(self) -> str:
        """The token pointed at, in a sentence, for the first memory."""
        name, series = next(iter(self.view["memories"].items()))
        i = self.value
        mark = f" ({self.view['marks'][str(i)]})" if str(i) in self.view["marks"] else ""
        rows = "".join(f", {gate} {values[i]}" for gate, values in self.view["gates"].items())
        return f"Token {i + 1} of {len(series)}, {self.view['tokens'][i]}{mark}: {name}, surprise {series[i]}{rows}."

    def table(self) -> str:
        """The most surprising tokens of every memory."""
        parts = [f"<p>{html.escape(self.view['title'])} {html.escape(self.text)}</p>"]
        for name, series in self.view["memories"].items():
            top = sorted(range(len(series)), key=lambda i: -(series[i] or 0))[:8]
            rows = [[i + 1, self.view["tokens"][i], series[i], self.view["marks"].get(str(i), "")] for i in sorted(top)]
            parts.append(base.table([f"{name}: position", "token", "surprise", ""], rows))
        return "".join(parts)
