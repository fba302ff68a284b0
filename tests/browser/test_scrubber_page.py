"""The scrubber in Chromium: a page from disk, network blocked, and the live `render` with a stand-in for the kernel."""

import pytest
import torch

from latentkit.recurrence import Trajectory
from latentkit.tasks import WordProblem
from latentkit.widgets import frames, scrub
from latentkit.widgets.scrubber import _CSS, _JS

pytestmark = pytest.mark.browser

PASSES, LETTERS = 8, 6


def example_run(halting=False, letters=LETTERS, passes=PASSES):
    """What a looped layer does on S3: pass t gets the positions up to t right, guesses behind them."""
    task = WordProblem("S3")
    batch = task.sample(2, letters, torch.Generator().manual_seed(0))
    time = torch.arange(1, passes + 1)[:, None, None]
    solved = batch.depth <= time
    answers = torch.where(solved, batch.targets, (batch.targets + 1 + time % 3) % task.num_classes)
    residuals = torch.where(solved, 0.5 ** (time - batch.depth + 1), 0.9)
    halted_at = torch.where(batch.depth + 3 <= passes, batch.depth + 3, 0) if halting else torch.zeros_like(batch.depth)
    residuals = torch.where((halted_at > 0) & (time > halted_at), 0.0, residuals)
    logits = 4.0 * torch.nn.functional.one_hot(answers, task.num_classes)
    passes_kept = tuple(range(1, passes + 1))
    trajectory = Trajectory(batch.tokens, passes_kept, passes_kept, logits, residuals, halted_at)
    names = {"token_names": task.token_names, "class_names": task.class_names}
    return trajectory, batch, names


def shown(scrubber):
    """What a reader sees: pass, predictions, and which are marked right."""
    cells = scrubber.locator("[data-row=prediction] [data-position]")
    marked = cells.evaluate_all("cells => cells.map(c => c.classList.contains('lk-is-good'))")
    return int(scrubber.get_attribute("data-pass")), cells.all_inner_texts(), marked


@pytest.mark.parametrize("halting", [False, True])
def test_every_pass_is_drawn_as_the_trajectory_says(open_page, halting):
    trajectory, batch, names = example_run(halting)
    page = open_page(scrub(trajectory, targets=batch.targets, depth=batch.depth, **names).html())
    scrubber = page.locator(".lk-scrubber")
    bars = scrubber.locator("[data-row=residual] [data-position]")
    for index, f in enumerate(frames(trajectory, targets=batch.targets)):
        scrubber.locator("input[type=range]").fill(str(index))
        assert shown(scrubber) == (f.pass_number, [names["class_names"][c] for c in f.predictions], f.right)
        assert scrubber.locator("[role=status]").inner_text() == f.text
        halted = bars.evaluate_all("bars => bars.map(b => b.classList.contains('lk-is-halted'))")
        assert halted == [t > 0 for t in f.halted_at]


def test_keyboard_alone_is_enough(open_page):
    trajectory, batch, _ = example_run()
    page = open_page(scrub(trajectory, targets=batch.targets).html())
    scrubber = page.locator(".lk-scrubber")
    # Without this on the focused element itself, JupyterLab moves between cells instead.
    assert scrubber.locator("button, input").count() == scrubber.locator("[data-lm-suppress-shortcuts]").count() == 2
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Play"
    page.keyboard.press("Tab")
    for key, expected in [("ArrowRight", 2), ("ArrowUp", 3), ("ArrowLeft", 2), ("End", PASSES), ("Home", 1)]:
        page.keyboard.press(key)
        assert shown(scrubber)[0] == expected
        said = page.evaluate("document.activeElement.getAttribute('aria-valuetext')")
        assert said == f"pass {expected} of {PASSES}"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    page.clock.run_for(1500)
    assert shown(scrubber)[0] == 3
    page.keyboard.press("Space")
    page.clock.run_for(5000)
    assert shown(scrubber)[0] == 3
    page.keyboard.press("Space")
    page.clock.run_for(20_000)
    assert shown(scrubber)[0] == PASSES
    assert scrubber.locator("button").get_attribute("aria-label") == "Play"


def test_a_row_of_the_map_leads_to_its_pass(open_page):
    trajectory, batch, _ = example_run()
    page = open_page(scrub(trajectory, targets=batch.targets).html())
    map_ = page.locator(".lk-map")
    box = map_.bounding_box()
    for k in (5, 1, PASSES):
        map_.click(position={"x": box["width"] / 2, "y": box["height"] * (k - 0.5) / PASSES})
        assert shown(page.locator(".lk-scrubber"))[0] == k


def test_several_scrubbers_on_a_page_do_not_meet(open_page):
    trajectory, batch, _ = example_run()
    first = scrub(trajectory, targets=batch.targets).html()
    page = open_page(first + first + scrub(trajectory, example=1, start=4).html())
    scrubbers = page.locator(".lk-scrubber")
    scrubbers.nth(1).locator("input[type=range]").fill("5")
    assert [shown(scrubbers.nth(i))[0] for i in range(3)] == [1, 6, 4]
    assert page.locator("[id]").count() == 0


def test_without_scripts_a_table_shows_the_last_pass(open_page):
    trajectory, batch, names = example_run()
    page = open_page(scrub(trajectory, targets=batch.targets, **names).html(), java_script_enabled=False)
    cells = page.locator("table tr", has_text="prediction").locator("td").all_inner_texts()
    assert cells == [f"{names['class_names'][c]} ✓" for c in batch.targets[0]]
    assert "Pass 8 of 8: 7 of 7 positions right" in page.locator(".lk-scrubber").inner_text()


@pytest.mark.parametrize(
    ("attributes", "system", "dark"),
    [
        ("", "light", False),
        ("", "dark", True),
        ('data-theme="dark"', "light", True),
        ('data-theme="light"', "dark", False),
    ],
)
def test_colours_follow_the_page_and_else_the_system(open_page, attributes, system, dark):
    trajectory, batch, _ = example_run()
    page = open_page(scrub(trajectory, targets=batch.targets).html(), attributes=attributes, color_scheme=system)
    colours = page.locator(".lk-scrubber").evaluate(
        "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color].map(c => Number(c.match(/\\d+/)[0]))"
    )
    background, text = colours
    assert (background < 60 and text > 180) if dark else (background > 200 and text < 80)


@pytest.mark.parametrize("letters", [LETTERS, 16, 32])
def test_a_phone_does_not_scroll_sideways(open_page, letters):
    trajectory, batch, names = example_run(letters=letters, passes=letters + 8)
    html = scrub(trajectory, targets=batch.targets, depth=batch.depth, **names).html()
    page = open_page(html, viewport={"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    if letters <= 16:
        assert page.locator(".lk-scroll").evaluate("e => e.scrollWidth <= e.clientWidth")


def test_live_view_and_kernel_follow_each_other(open_page):
    trajectory, batch, names = example_run()
    widget = scrub(trajectory, targets=batch.targets, start=3, **names)
    page = open_page("<main></main>", head=f"<style>{_CSS}</style>")
    page.add_script_tag(content=_JS.replace("export default { render };", "window.render = render;"))
    page.evaluate(
        """([frames, value]) => {
            const listeners = new Set();
            const state = { view: frames, value };
            window.saved = [];
            window.model = {
                get: (name) => state[name],
                set: (name, v) => { state[name] = v; listeners.forEach((f) => f()); },
                save_changes: () => window.saved.push(state.value),
                on: (event, f) => event === "change:value" && listeners.add(f),
                off: (event, f) => listeners.delete(f),
            };
            window.listeners = listeners;
            window.close_ = window.render({ model: window.model, el: document.querySelector("main") });
        }""",
        [widget.frames, widget.value],
    )
    scrubber = page.locator(".lk-scrubber")
    assert shown(scrubber)[0] == 3
    scrubber.locator("input[type=range]").fill("5")
    assert page.evaluate("window.saved") == [6]
    page.evaluate("window.model.set('value', 2)")
    assert shown(scrubber)[0] == 2
    assert page.evaluate("window.saved") == [6]  # what the kernel said is not said back to it
    page.evaluate("window.close_()")
    assert page.evaluate("window.listeners.size") == 0
