"""The computation graph in Chromium: what its nodes show, and how one is chosen."""

from latentkit.analysis.subgraphs import OUTCOMES
from latentkit.widgets import outcome_graph
from tests.widgets.examples import graph_run


def test_nodes_show_what_was_said_and_what_became_of_it(open_page):
    widget = outcome_graph(*graph_run())
    page = open_page(widget.html())
    slider = page.get_by_role("slider")
    for f in widget.view["frames"]:
        assert page.locator("[role=status]").inner_text() == f["text"]
        for i, (said, truth, code) in enumerate(zip(f["said"], f["truth"], f["outcome"], strict=True)):
            node = page.locator(f"[data-node='{i}'].lk-node")
            assert node.evaluate("e => e.firstChild.textContent") == str(said)
            marks = [name for name in OUTCOMES if f"lk-{name}" in node.get_attribute("class").split()]
            assert marks == ([] if code is None else [OUTCOMES[code]])
            assert (f"right: {truth}" in node.inner_text()) == (said != truth)
        slider.press("ArrowRight")


def test_a_node_is_chosen_by_a_click_or_by_the_keyboard(open_page):
    widget = outcome_graph(*graph_run(), start=2)
    page = open_page(widget.html())
    root, note, notes = page.locator(".lk-graph"), page.locator(".lk-note"), widget.view["frames"][1]["notes"]
    assert root.get_attribute("data-node") == "5"  # the first mistake
    assert note.inner_text() == notes["5"]
    page.locator(".lk-node[data-node='7']").click()
    assert note.inner_text() == notes["7"]
    plane = page.locator(".lk-plane")
    plane.press("ArrowLeft")
    assert note.inner_text() == notes["6"]
    for _ in range(5):
        plane.press("ArrowLeft")
    assert note.inner_text() == notes["4"]  # the first node that is computed
    page.locator(".lk-node[data-node='1']").click()  # an input has no note
    assert root.get_attribute("data-node") == "4"
    page.get_by_role("slider").press("Home")
    assert root.get_attribute("data-node") == "4"  # what the reader chose stays
    assert page.locator(".lk-edge.lk-on").count() == 1
