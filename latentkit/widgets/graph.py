"""A computation graph as a model works through it: every node with what was said, and what became of it.

    a graph, the right values, the values said --outcome_graph--> OutcomeGraph (drawn by graph.js)

The slider goes over rows of a batch, or over the passes of one run; a node that is clicked, or reached with the arrow
keys, says what its rule makes of its parents. How a widget reaches a page: `latentkit.widgets.base`.
"""

import html
from collections.abc import Sequence

from jaxtyping import Int
from torch import Tensor

from latentkit.analysis.subgraphs import CORRECT, LOCAL, OUTCOMES, PROPAGATION, outcomes
from latentkit.tasks import ComputationGraph
from latentkit.widgets import base

_JS, _CSS = base.script("graph"), base.style("graph")


def outcome_graph(
    graph: ComputationGraph,
    truth: Int[Tensor, "f nodes"],
    said: Int[Tensor, "f nodes"],
    *,
    seen: Int[Tensor, "f nodes"] | None = None,
    unit: str = "row",
    title: str = "",
    start: int = 1,
) -> "OutcomeGraph":
    """A widget with a slider over f frames of one graph.

    Args:
        graph: what is to be computed.
        truth, said: of every frame, the right value of every node and the one that was said.
        seen: of every node, how many rows in training hold its whole subgraph; it is underlined where some do.
        unit: what a frame is: a "row" or a "pass".
        title: a heading.
        start: the frame shown first, counted from 1.

    Raises:
        ValueError: values of another shape than the graph's, no frame, or no such frame.
    """
    frames, count = len(said), len(graph.nodes)
    for name, values in {"truth": truth, "said": said, **({} if seen is None else {"seen": seen})}.items():
        if values.shape != (frames, count) or not frames:
            raise ValueError(f"{name} has shape {list(values.shape)}; expected [frames, {count}], at least one frame")
    if not 1 <= start <= frames:
        raise ValueError(f"start={start}; there are frames 1 to {frames}")
    made, codes = graph.once(said).tolist(), outcomes(graph, truth, said).tolist()
    computed = [i for i in range(count) if graph.nodes[i].rule]

    def note(f: int, i: int) -> str:
        count = None if seen is None else int(seen[f, i])
        return _note(graph, i, said[f].tolist(), made[f][i], int(truth[f, i]), codes[f][i], count)

    view = {
        "title": title,
        "unit": unit,
        "nodes": [
            {"name": node.name, "parents": list(node.parents), "at": list(at)}
            for node, at in zip(graph.nodes, places(graph), strict=True)
        ],
        "frames": [
            {
                "pass": f + 1,
                "said": said[f].tolist(),
                "truth": truth[f].tolist(),
                "outcome": [code if node.rule else None for node, code in zip(graph.nodes, codes[f], strict=True)],
                "seen": None if seen is None else [int(n > 0) for n in seen[f].tolist()],
                "notes": {str(i): note(f, i) for i in computed},
                "text": _text(graph, computed, codes[f], said[f].tolist(), made[f], f"{unit.capitalize()} {f + 1}"),
            }
            for f in range(frames)
        ],
    }
    return OutcomeGraph(view=view, value=start)


def places(graph: ComputationGraph) -> list[tuple[int, int]]:
    """Column and row of every node: its depth, and inputs below their first child; nodes of one column are stacked."""
    depths = graph.depths
    children = [[c for c, node in enumerate(graph.nodes) if i in node.parents] for i in range(len(depths))]
    column = [depth or min((depths[c] for c in children[i]), default=1) for i, depth in enumerate(depths)]
    stacked: dict[tuple[int, bool], int] = {}
    rows = []
    for i, c in enumerate(column):
        key = (c, i in graph.inputs)
        rows.append(stacked.setdefault(key, 0))
        stacked[key] += 1
    floor = 1 + max(row for i, row in enumerate(rows) if i not in graph.inputs)
    return [(c - 1, row + floor * (i in graph.inputs)) for i, (c, row) in enumerate(zip(column, rows, strict=True))]


def _note(graph: ComputationGraph, i: int, said: list[int], made: int, truth: int, code: int, seen: int | None) -> str:
    """One node in a sentence."""
    node = graph.nodes[i]
    parents = ", ".join(f"{graph.nodes[p].name} = {said[p]}" for p in node.parents)
    verdict = "right" if said[i] == truth else f"right is {truth}"
    note = f"{node.name} says {said[i]}. The rule makes {made} of {parents}; {verdict}: {OUTCOMES[code]}."
    return note if seen is None else f"{note} Rows in training with its whole subgraph: {seen}."


def _text(
    graph: ComputationGraph, computed: Sequence[int], codes: list[int], said: list[int], made: list[int], name: str
) -> str:
    """One frame in a sentence."""
    kinds = [OUTCOMES[codes[i]] for i in computed]
    right = sum(kind in ("correct", "restoration") for kind in kinds)
    text = f"{name}: {right} of {len(computed)} nodes right."
    wrong = [i for i in computed if codes[i] in (LOCAL, PROPAGATION)]
    if not wrong:
        return text
    i = wrong[0]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in OUTCOMES[1:] if kind in kinds)
    mistake = f"First mistake: {graph.nodes[i].name} says {said[i]} where its parents make {made[i]}."
    return f"{text} {mistake} In all: {counted}."


class OutcomeGraph(base.PassWidget):
    """A graph coloured by outcome, a frame at a time; made by `outcome_graph`."""

    kind = "graph"
    _esm = _JS
    _css = _CSS

    def table(self) -> str:
        """For every frame, what the nodes said, wrong ones with what is right; and the last frame in words."""
        names = [(i, n["name"]) for i, n in enumerate(self.view["nodes"]) if n["parents"]]
        rows = []
        for f in self.view["frames"]:
            cells = []
            for i, _ in names:
                said, truth, code = f["said"][i], f["truth"][i], f["outcome"][i]
                mark = "" if code == CORRECT else f" {OUTCOMES[code][0]}"
                cells.append(f"{said}{mark}" if said == truth else f"{said} ✗ {truth}{mark}")
            rows.append([f"{self.view['unit']} {f['pass']}", *cells])
        last = self.view["frames"][-1]["text"]
        key = "After a wrong value ✗ and the right one; l: local, p: propagation, r: restoration."
        return f"<p>{html.escape(self.view['title'])} {html.escape(last)} {key}</p>" + base.table(
            ["", *(name for _, name in names)], rows
        )
