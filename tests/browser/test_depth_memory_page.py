"""The map in Chromium: what a click and the arrow keys open."""

from latentkit.widgets import depth_memory
from tests.browser.test_widget_pages import go_live
from tests.widgets.examples import small_map


def test_a_click_opens_a_cell_and_arrow_keys_go_on(open_page):
    page = open_page(depth_memory(small_map()).html())
    root, said = page.locator(".lk-depth-memory"), page.locator("[role=status]")
    assert root.get_attribute("data-cell") == "stack/words"
    assert page.locator(".lk-curves path").count() == 2
    page.locator("[data-cell='stack/maze']").last.click()
    assert said.inner_text().startswith("stack on maze : 0.77 right, 0.40 to 1.00 over 3 seeds; 53%")
    assert page.locator(".lk-curves path").count() == 3
    page.keyboard.press("ArrowDown")
    assert root.get_attribute("data-cell") == "gru/maze"
    assert page.locator(".lk-curves path").count() == 0
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):  # the edges hold
        page.keyboard.press(key)
    assert root.get_attribute("data-cell") == "gru/needles"
    assert page.locator("[tabindex='0']").count() == 1
    assert page.locator(".lk-asks").inner_text() == "Asked: values."


def test_cells_show_their_numbers_or_why_there_is_none(open_page):
    page = open_page(depth_memory(small_map()).html())
    assert page.locator("[role=gridcell]").all_inner_texts() == ["56", "~53", "✗", "–", "n.a.", "✗-6"]


def test_program_and_reader_follow_each_other(open_page):
    page = open_page("<main></main>")
    root = go_live(page, depth_memory(small_map()))
    root.locator("[data-cell='gru/words']").click()
    assert page.evaluate("window.saved") == ["gru/words"]
    page.evaluate("window.model.set('value', 'stack/needles')")
    assert root.get_attribute("data-cell") == "stack/needles"
    assert page.evaluate("window.saved") == ["gru/words"]
