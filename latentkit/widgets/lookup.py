"""The look-up reader: while a model writes, letter by letter, where each of its attention heads looks.

    attention of one layer on one sequence --lookup_reader--> LookupReader (drawn by lookup.js)

Beside it stand the bits of the string that this model, and others without attention, have said right so far. How a
widget reaches a page: `latentkit.widgets.base`.
"""

import html
from collections.abc import Mapping, Sequence

import traitlets
from jaxtyping import Float
from torch import Tensor

from latentkit.widgets import base

_JS, _CSS = base.script("lookup"), base.style("lookup")


def lookup_reader(
    tokens: Sequence[str],
    weights: Float[Tensor, "h n n"],
    *,
    heads: Sequence[str],
    says: Mapping[int, str],
    should: Mapping[int, str],
    bits: Mapping[str, Sequence[float]] | None = None,
    most_bits: float | None = None,
    title: str = "",
    start: int | None = None,
) -> "LookupReader":
    """A sequence with a slider over the positions at which something is written.

    Args:
        tokens: the name of every token that is read.
        weights: where each head looks: row i holds the shares of position i.
        heads: the name of each head.
        says, should: what the model writes, and what is right, by position from 0.
        bits: for each model by name, bits said right so far, one number for each position of `says`, in their order.
        most_bits: how many there are in all.
        title: a heading.
        start: the position shown first; default: the first at which something is written.

    Raises:
        ValueError: numbers that do not fit together, or no such position.
    """
    n, bits = len(tokens), bits or {}
    if weights.shape != (len(heads), n, n):
        raise ValueError(
            f"weights have shape {list(weights.shape)}; {len(heads)} heads and {n} tokens need [{len(heads)}, {n}, {n}]"
        )
    places = sorted(says)
    if not places or places != sorted(should) or not 0 <= places[0] <= places[-1] < n:
        raise ValueError(f"`says` and `should` must name the same positions of 0 to {n - 1}, at least one")
    for name, series in bits.items():
        if len(series) != len(places):
            raise ValueError(f"bits of {name!r}: {len(series)} numbers for {len(places)} written positions")
    start = places[0] if start is None else start
    if start not in says:
        raise ValueError(f"start={start}; something is written at {base.ranges(places)}")
    frames = []
    for k, place in enumerate(places):
        elsewhere = weights[:, place].clone()
        elsewhere[:, place] = 0  # that a position looks at itself is no news
        top = elsewhere.max(-1)
        strongest = int(top.values.argmax())
        at = int(top.indices[strongest])
        right = says[place] == should[place]
        text = (
            f"At {tokens[place]} (position {place}) the model writes {says[place]}"
            f"{', right' if right else f', wrong: it should be {should[place]}'}. Strongest: {heads[strongest]} on "
            f"{tokens[at]} at position {at}, {float(top.values[strongest]):.2f}."
        )
        if bits:
            text += " Bits so far: " + ", ".join(f"{name} {series[k]:.1f}" for name, series in bits.items()) + "."
        frames.append(
            {
                "place": place,
                "says": says[place],
                "right": right,
                "weights": [
                    [base.rounded(w, 2) if w > 0.004 else 0 for w in row] for row in weights[:, place].tolist()
                ],
                "bits": {name: base.rounded(series[k], 3) for name, series in bits.items()},
                "text": text,
            }
        )
    view = {"title": title, "tokens": list(tokens), "heads": list(heads), "most_bits": most_bits, "frames": frames}
    return LookupReader(view=view, value=start)


class LookupReader(base.Widget):
    """Where heads look while a model writes; made by `lookup_reader`.

    Attributes:
        value: the position shown; follows the slider, and moves it.
    """

    kind = "lookup"
    _esm = _JS
    _css = _CSS
    value = traitlets.Int(0).tag(sync=True)

    @traitlets.validate("value")
    def _written(self, proposal: traitlets.Bunch) -> int:
        places = [f["place"] for f in self.view.get("frames", [])]
        if places and proposal.value not in places:
            raise traitlets.TraitError(
                f"value={proposal.value}: nothing is written there; choose from {base.ranges(places)}"
            )
        return proposal.value

    @property
    def text(self) -> str:
        """The position shown, in a sentence."""
        return next(f["text"] for f in self.view["frames"] if f["place"] == self.value)

    def table(self) -> str:
        """For every written position: what is written, and where each head looks most; and the last one in words."""
        tokens, rows = self.view["tokens"], []
        for f in self.view["frames"]:
            tops = [max(range(len(tokens)), key=row.__getitem__) for row in f["weights"]]
            said = f["says"] + ("" if f["right"] else " ✗")
            rows.append([f"{f['place']}: {tokens[f['place']]}", said, *(f"{tokens[i]} at {i}" for i in tops)])
        last = self.view["frames"][-1]["text"]
        return f"<p>{html.escape(self.view['title'])} {html.escape(last)}</p>" + base.table(
            ["position", "writes", *self.view["heads"]], rows
        )
