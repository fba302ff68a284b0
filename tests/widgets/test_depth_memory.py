import re

import pytest
import traitlets

from latentkit.depth_memory import DepthMemoryMap
from latentkit.plots import depth_memory_map
from latentkit.widgets import depth_memory
from tests.widgets.examples import small_map


def test_it_opens_what_was_measured_or_what_it_is_told():
    widget = depth_memory(small_map())
    assert widget.value == "stack/words"
    assert widget.text == (
        "stack on words: 0.65 right, 0.60 to 0.70 over 2 seeds; 56% of the way from chance (0.20) to all right."
    )
    assert depth_memory(small_map(), cell=("gru", "words")).text == "GRU  on words: not run."
    widget.value = "gru/maze"
    assert widget.text.startswith("GRU  on maze : not applicable: it cannot see")


def test_every_cell_has_its_numbers():
    cells = depth_memory(small_map()).view["cells"]
    assert (cells["stack/words"]["above"], cells["stack/words"]["spread"]) == (56, [50, 62])
    assert cells["stack/words"]["curves"] == [[[200, 0.5], [400, 0.75]], [[200, 0.25], [400, 0.7]]]
    assert cells["stack/words"]["facts"] == (
        "36,012 parameters; 400 steps of 32 examples; 120 GFLOP and 12 CPU seconds a seed"
    )
    assert cells["gru/needles"]["above"] == -6  # below chance is below zero
    assert "Failed: seed 1: the loss is nan" in cells["gru/needles"]["text"]
    assert [cells[f"gru/{task}"]["above"] for task in ("words", "maze")] == [None, None]
    assert cells["gru/words"]["facts"] == ""


def test_the_table_says_what_the_picture_shows():
    table = depth_memory(small_map(), title="Map").table()
    assert table.startswith("<p>Map stack on words: 0.65 right")
    rows = [re.findall("<td>(.*?)</td>", row) for row in re.findall("<tr>(<th>.*?)</tr>", table)[1:]]
    assert rows == [
        ["56 (50 to 62)", "53 (-20 to 100) unstable", "failed"],
        ["not run", "not applicable", "-6 (one seed) failed"],
    ]


def test_an_unknown_cell_is_named():
    with pytest.raises(KeyError, match=r"no cell 'gru' x 'sums'; it has stack, gru x words, maze, needles"):
        depth_memory(small_map(), cell=("gru", "sums"))
    with pytest.raises(traitlets.TraitError, match="value='gru': no such cell; choose from stack/words"):
        depth_memory(small_map()).value = "gru"
    with pytest.raises(ValueError, match="the map has no cells"):
        depth_memory(DepthMemoryMap((), (), ()))


def test_the_figure_marks_every_kind_of_cell():
    axes, _bar = depth_memory_map(small_map(), title="Map").axes
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["56", "50 to 62", "53", "-20 to 100", "✗ failed", "not run", "n.a.", "✗ -6", "one seed"]
    dashed = [patch for patch in axes.patches if patch.get_linestyle() == "--"]
    assert len(dashed) == 1 and dashed[0].get_xy()[0] > 1  # the unstable one
    assert [label.get_text() for label in axes.get_yticklabels()] == ["stack", "GRU "]
    assert len(axes.lines) == 2  # where depth ends and time begins, and depth and memory
    assert axes.get_ylim() == (2, 0)
