"""The grammar tree: a sentence with all its latents, and what each target would have to tell about a tuple.

    levels of one sentence, sentences needed by level --grammar_tree--> GrammarTree (drawn by grammar.js)

A click on a latent asks: by what could its tuple be recognised as one of its synonyms? How a widget reaches a page:
`latentkit.widgets.base`.
"""

import html
from collections.abc import Mapping, Sequence

import traitlets

from latentkit.widgets import base

_JS, _CSS = base.script("grammar"), base.style("grammar")
MARKS = {"own": "own latents", "tokens": "tokens", "root": "root label"}


def grammar_tree(
    levels: Sequence[Sequence[int]],
    names: Sequence[Sequence[str]],
    *,
    m: int,
    needs: Mapping[str, Sequence[float]],
    found: Sequence[Sequence[bool]] | None = None,
    title: str = "",
    start: tuple[int, int] = (1, 0),
) -> "GrammarTree":
    """A tree whose latents between tokens and root can be clicked.

    Args:
        levels: symbols of one sentence by level, from the tokens (level 0) to the root.
        names: what the symbols of each level are called.
        m: synonyms of a symbol; every rule between a tuple and its target hides it behind a factor m.
        needs: sentences after which a target stands out, for levels 1 to L - 1; targets "own", "tokens", "root".
        found: whether a clustering is right at each node of levels 1 to L - 1; what is wrong is crossed.
        title: a heading.
        start: the latent shown first: its level, and its place from 0.

    Raises:
        ValueError: levels that are no tree, numbers for other levels, or no such latent.
    """
    L = len(levels) - 1
    s = len(levels[-2]) if L > 0 else 0
    if L < 2 or s < 2 or [len(symbols) for symbols in levels] != [s ** (L - level) for level in range(L + 1)]:
        sizes = [len(symbols) for symbols in levels]
        raise ValueError(f"levels of {sizes} symbols are no tree: each must have 1/s of the one below, up to one root")
    if len(names) != L + 1:
        raise ValueError(f"names of {len(names)} levels for {L + 1}")
    for target, numbers in needs.items():
        if target not in MARKS:
            raise ValueError(f"needs has {target!r}; its targets are 'own', 'tokens' and 'root'")
        if len(numbers) != L - 1:
            raise ValueError(f"needs[{target!r}] has {len(numbers)} numbers; a tree of {L} levels takes {L - 1}")
    if found is not None and [len(row) for row in found] != [len(row) for row in levels[1:L]]:
        raise ValueError("`found` must say right or wrong of every latent between tokens and root, by level")
    nodes = [(level, place) for level in range(1, L) for place in range(len(levels[level]))]
    if start not in nodes:
        raise ValueError(f"start={start}; choose a level from 1 to {L - 1} and a place in it")
    frames = []
    for level, place in nodes:
        cousin = next(p for p in range(place // s * s, place // s * s + s) if p != place)
        width = s**level
        lit = {
            "own": [[level - 1, cousin * s + i] for i in range(s)],
            "tokens": [[0, cousin * width + i] for i in range(width)],
            "root": [[L, 0]],
        }
        rules = {"own": 3, "tokens": level + 2, "root": L - level + 1}
        rows = [
            {
                "target": target,
                "what": _what(target, lit[target], levels, names),
                "rules": rules[target],
                "factor": m ** rules[target],
                "needs": base.rounded(float(needs[target][level - 1]), 2),
            }
            for target in needs
        ]
        parts = [names[level - 1][levels[level - 1][place * s + i]] for i in range(s)]
        symbol = names[level][levels[level][place]]
        text = f"{symbol}, level {level}: the tuple {' '.join(parts)} is one of its {m} synonyms."
        text += "".join(f" By {MARKS[r['target']]}: {r['rules']} rules, {_number(r['needs'])} sentences." for r in rows)
        right = None if found is None else bool(found[level - 1][place])
        if right is not None:
            text += " The clustering is right here." if right else " The clustering is wrong here."
        frames.append(
            {
                "level": level,
                "place": place,
                "above": [level + 1, place // s],
                "cousin": [level, cousin],
                "tuple": [[level - 1, place * s + i] for i in range(s)],
                "lit": lit,
                "rows": rows,
                "right": right,
                "text": text,
            }
        )
    view = {
        "title": title,
        "s": s,
        "m": m,
        "symbols": [[names[level][x] for x in symbols] for level, symbols in enumerate(levels)],
        "marks": MARKS,
        "frames": frames,
    }
    return GrammarTree(view=view, value=nodes.index(start))


def _what(target: str, lit: list[list[int]], levels: Sequence[Sequence[int]], names: Sequence[Sequence[str]]) -> str:
    """The symbols of the target as they stand in this sentence."""
    symbols = [names[level][levels[level][place]] for level, place in lit]
    return " ".join(symbols) if len(symbols) <= 8 else " ".join([*symbols[:8], "…"])


def _number(needs: float | None) -> str:
    return "no number of" if needs is None else f"{needs:,.0f}"


class GrammarTree(base.Widget):
    """A sentence and its tree; made by `grammar_tree`.

    Attributes:
        value: which latent is shown, counted from the left, level by level from the lowest.
    """

    kind = "grammar"
    _esm = _JS
    _css = _CSS
    value = traitlets.Int(0).tag(sync=True)

    @traitlets.validate("value")
    def _there(self, proposal: traitlets.Bunch) -> int:
        count = len(self.view.get("frames", []))
        if count and not 0 <= proposal.value < count:
            raise traitlets.TraitError(f"value={proposal.value}: choose one of the latents 0 to {count - 1}")
        return proposal.value

    @property
    def text(self) -> str:
        """The latent shown, in a sentence or two."""
        return self.view["frames"][self.value]["text"]

    def table(self) -> str:
        """The symbols of every level; and the last latent in words."""
        rows = [
            ["tokens" if level == 0 else f"level {level}", " ".join(symbols)]
            for level, symbols in enumerate(self.view["symbols"])
        ]
        words = f"<p>{html.escape(self.view['title'])} {html.escape(self.view['frames'][-1]['text'])}</p>"
        return words + base.table(["level", "symbols"], rows[::-1])
