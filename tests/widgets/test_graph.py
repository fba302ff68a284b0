import pytest
import torch
import traitlets

from latentkit.tasks import nonadjacent_graph, product_graph
from latentkit.widgets import outcome_graph
from latentkit.widgets.graph import places
from tests.widgets.examples import graph_run


def test_it_says_what_the_numbers_say():
    """x = 3 -1 2 1: the sums are 3 3 5 5; said is 3 5 5 6."""
    widget = outcome_graph(*graph_run())
    assert widget.value == 1
    assert widget.text == "Row 1: 4 of 4 nodes right."
    widget.value = 2
    assert widget.text == (
        "Row 2: 2 of 4 nodes right. First mistake: v2 says 5 where its parents make 3. "
        "In all: 1 local, 1 propagation, 1 restoration."
    )
    first, second = widget.view["frames"]
    assert first["outcome"] == [None] * 4 + [0, 0, 0, 0]
    assert second["outcome"] == [None] * 4 + [0, 1, 3, 2]
    assert second["notes"]["6"] == "v3 says 5. The rule makes 5 of x3 = 2, v2 = 5, v1 = 3; right: restoration."
    assert second["notes"]["7"] == "v4 says 6. The rule makes 6 of x4 = 1, v3 = 5, v2 = 5; right is 5: propagation."
    assert first["seen"] is None


def test_passes_and_what_was_seen():
    graph, truth, said = graph_run()
    seen = torch.tensor([[9, 9, 9, 9, 8, 2, 1, 0], [9, 9, 9, 9, 8, 0, 0, 0]])
    widget = outcome_graph(graph, truth, said, seen=seen, unit="pass", start=2)
    assert widget.text.startswith("Pass 2: 2 of 4")
    assert widget.view["frames"][0]["seen"][4:] == [1, 1, 1, 0]
    assert widget.view["frames"][0]["notes"]["5"].endswith("Rows in training with its whole subgraph: 2.")


def test_the_table_has_every_frame():
    table = outcome_graph(*graph_run(), title="Sums").table()
    assert table.startswith("<p>Sums Row 2: 2 of 4 nodes right.")
    assert "<tr><th>row 1</th><td>2</td><td>2</td><td>5</td><td>5</td></tr>" in table
    assert "<tr><th>row 2</th><td>3</td><td>5 ✗ 3 l</td><td>5 r</td><td>6 ✗ 5 p</td></tr>" in table


def test_nodes_stand_by_depth_and_inputs_below():
    assert places(nonadjacent_graph(3)) == [(0, 1), (1, 1), (2, 1), (0, 0), (1, 0), (2, 0)]
    graph = product_graph(2, 2)
    at = places(graph)
    assert len(set(at)) == len(at)  # no two nodes in one place
    for i, node in enumerate(graph.nodes):
        assert all(at[p][0] < at[i][0] or p in graph.inputs for p in node.parents)
    lowest = max(row for i, (_, row) in enumerate(at) if i not in graph.inputs)
    assert all(at[i][1] > lowest for i in graph.inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"said": torch.zeros(2, 7, dtype=torch.long)}, r"truth has shape \[2, 8\]|said has shape \[2, 7\]"),
        ({"seen": torch.zeros(1, 8, dtype=torch.long)}, r"seen has shape \[1, 8\]; expected \[frames, 8\]"),
        ({"start": 3}, "start=3; there are frames 1 to 2"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message, learners_view):
    graph, truth, said = graph_run()
    with pytest.raises(ValueError, match=message):
        outcome_graph(**{"graph": graph, "truth": truth, "said": said, **changes})


def test_a_frame_that_is_not_there_is_refused():
    widget = outcome_graph(*graph_run())
    with pytest.raises(traitlets.TraitError, match="value=3"):
        widget.value = 3
