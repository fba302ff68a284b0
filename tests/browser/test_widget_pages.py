"""Every widget in Chromium: a page from disk, network blocked, and the live `render` with a stand-in for the kernel."""

import pytest
import torch

from latentkit.widgets import board, latent_path, maze_board, pca_paths, surface
from latentkit.widgets.board import board_frames, maze_layout, sudoku_layout
from tests.widgets.examples import BOX, HALT, PASSES, SIDE, maze_run, one_of_each, random_run, sudoku_run

# -- all of them, on one page


def all_on_a_page(open_page, title="", **options):
    page = open_page("".join(widget.html() for widget in one_of_each(title).values()), **options)
    roots = page.locator(".lk-widget")
    assert roots.count() == len(one_of_each())
    return page, roots


@pytest.mark.parametrize(
    ("attributes", "system", "dark"),
    [("", "dark", True), ('data-theme="dark"', "light", True), ('data-theme="light"', "dark", False)],
)
def test_colours_follow_the_page_and_else_the_system(open_page, attributes, system, dark):
    _, roots = all_on_a_page(open_page, attributes=attributes, color_scheme=system)
    colours = roots.evaluate_all(
        """all => all.map(e => getComputedStyle(e)).map(s => [s.backgroundColor, s.color])
            .map(pair => pair.map(c => Number(c.match(/\\d+/)[0])))"""
    )
    assert all((ground < 60 and ink > 180) if dark else (ground > 200 and ink < 80) for ground, ink in colours)


def test_a_phone_does_not_scroll_sideways(open_page):
    page, _ = all_on_a_page(open_page, "A title that goes on and on", viewport={"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_what_takes_keys_has_a_name_and_keeps_them_from_jupyterlab(open_page):
    page, roots = all_on_a_page(open_page)
    taking = roots.locator("button, input, select, [tabindex]")
    assert taking.count() == page.locator("[data-lm-suppress-shortcuts]").count() > len(one_of_each())
    assert taking.evaluate_all("all => all.every(e => e.ariaLabel || e.labels?.length || e.textContent.trim())")


def test_without_scripts_there_are_tables(open_page):
    page, roots = all_on_a_page(open_page, "Title", java_script_enabled=False)
    assert page.locator("table").count() == len(one_of_each()) + 2  # the surface has two bands, the stream two memories
    for text, widget in zip(roots.all_inner_texts(), one_of_each("Title").values(), strict=True):
        assert "Title" in text
        last = widget.view["frames"][-1]["text"] if "frames" in widget.view else widget.text
        assert last in " ".join(text.split())


def test_widgets_on_one_page_do_not_meet(open_page):
    """Each looks as it does alone, and moves alone."""
    widgets = list(one_of_each().values())
    height = "e => e.getBoundingClientRect().height"
    alone = [open_page(widget.html()).locator(".lk-widget").evaluate(height) for widget in widgets]
    page = open_page("".join(widget.html() for widget in widgets + widgets))
    roots = page.locator(".lk-widget")
    assert [roots.nth(i).evaluate(height) for i in range(roots.count())] == alone + alone
    page.locator(".lk-board").first.get_by_role("slider").fill("4")
    assert page.locator(".lk-board").evaluate_all("all => all.map(e => e.dataset.pass)") == ["5", "1", "1", "1"]
    assert page.locator("[id]").count() == 0


# -- live


def go_live(page, widget):
    """Renders the widget as a notebook does; `saved` holds what it told the kernel."""
    page.add_style_tag(content=widget._css)
    script = widget._esm.replace("export default { render };", "window.render = render;")
    page.add_script_tag(content=script)  # not a module: it has run when this returns
    page.evaluate(
        """([view, value]) => {
            const listeners = new Set();
            const state = { view, value };
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
        [widget.view, widget.value],
    )
    return page.locator(".lk-widget")


@pytest.mark.parametrize(
    ("name", "control", "choice", "saved", "told", "shows"),
    [
        ("board", "input[type=range]", "5", 6, 2, ("data-pass", "6", "2")),
        ("latent_path", "select", "1", 1, 0, ("data-example", "1", "0")),
        ("surface", "select", "other", "other", "band ", ("data-band", "other", "band ")),
        ("surprise", "input[type=range]", "3", 3, 2, ("data-token", "3", "2")),
    ],
)
def test_live_view_and_kernel_follow_each_other(open_page, name, control, choice, saved, told, shows):
    page = open_page("<main></main>")
    root = go_live(page, one_of_each()[name])
    attribute, after_choice, after_told = shows
    control = root.locator(control)
    (control.fill if name in ("board", "surprise") else control.select_option)(choice)
    assert page.evaluate("window.saved") == [saved]
    assert root.get_attribute(attribute) == after_choice
    page.evaluate("value => window.model.set('value', value)", told)
    assert root.get_attribute(attribute) == after_told
    assert page.evaluate("window.saved") == [saved]  # what the kernel said is not said back to it
    page.evaluate("window.close_()")
    assert page.evaluate("window.listeners.size") == 0


# -- the board


def squares(page):
    """Of each cell: its text, and which marks it bears."""
    return page.locator("[data-cell]").evaluate_all(
        """cells => {
            const marks = ["lk-is-bad", "lk-right", "lk-changed", "lk-fixed"];
            return cells.map(c => [c.innerText.trim(), marks.filter(m => c.classList.contains(m))]);
        }"""
    )


@pytest.mark.parametrize("judged", [True, False])
def test_the_board_shows_what_the_trajectory_says(open_page, judged):
    run, targets = sudoku_run()
    layout = sudoku_layout(run.tokens[1], BOX)
    shown = board_frames(run, layout, targets=targets if judged else None, example=1)
    widget = board(run, box=BOX, targets=targets if judged else None, example=1)
    page = open_page(widget.html())
    slider = page.get_by_role("slider")
    slider.press("Home")
    for f in shown:
        assert page.locator("[role=status]").inner_text() == f.text(layout, judged)
        for i, (text, marks) in enumerate(squares(page)):
            given = layout.fixed[i] is not None
            assert text == str((layout.fixed[i] if given else f.predictions[i]) + 1)
            assert marks == [
                mark
                for mark, there in (
                    ("lk-is-bad", i in f.wrong),
                    ("lk-right", judged and not given and i not in f.wrong),
                    ("lk-changed", i in f.changed),
                    ("lk-fixed", given),
                )
                if there
            ]
        count = f.num_right(layout) if judged else len(f.changed)
        assert page.locator(".lk-count b").inner_text() == str(count)
        halted = f.halted_at is not None
        assert ("would halt at pass 3" in page.locator(".lk-chips").inner_text()) == halted
        slider.press("ArrowRight")
    assert len({str(f.predictions) for f in shown}) > 1


def test_an_unsure_digit_is_smaller(open_page):
    run, targets = sudoku_run()
    blanks = (run.tokens[0] == 0).nonzero().flatten().tolist()
    for sure, i in zip((0.0, 9.0), blanks[:2], strict=True):
        run.logits[:, 0, i] = sure * torch.nn.functional.one_hot(targets[0, i], SIDE)
    page = open_page(board(run, box=BOX, targets=targets).html())
    size = "e => parseFloat(getComputedStyle(e).fontSize)"
    sizes = [page.locator(f"[data-cell='{i}'] span").evaluate(size) for i in blanks[:2]]
    assert sizes[0] < 0.65 * sizes[1]
    assert "confidence 1" in page.locator(f"[data-cell='{blanks[1]}']").get_attribute("title")


def test_a_maze_marks_the_path_and_what_is_missed(open_page):
    run, targets = maze_run(halt=HALT)
    f = board_frames(run, maze_layout(run.tokens[0]), targets=targets)[0]
    page = open_page(maze_board(run, targets=targets).html())
    signs = {(1, False): "●", (0, False): "", (1, True): "●", (0, True): "○"}  # by prediction, and whether wrong
    for i, (text, marks) in enumerate(squares(page)):
        token = int(run.tokens[0, i])
        assert text == (signs[f.predictions[i], i in f.wrong] if token == 1 else {0: "", 2: "S", 3: "G"}[token])
        assert ("lk-is-bad" in marks) == (i in f.wrong)


def test_a_click_on_a_curve_leads_to_its_pass(open_page):
    run, targets = sudoku_run(kept=(1, 2, 6))
    page = open_page(board(run, box=BOX, targets=targets).html())
    for plot in (page.locator(".lk-plot").nth(0), page.locator(".lk-plot").nth(1)):
        width = plot.bounding_box()["width"]
        for share, k in ((0.3, "2"), (0.95, "6"), (0.02, "1")):
            plot.click(position={"x": share * width, "y": 40})
            assert page.locator(".lk-board").get_attribute("data-pass") == k


def test_the_board_plays(open_page):
    page = open_page(board(sudoku_run()[0], box=BOX).html())
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.clock.run_for(20_000)
    assert page.locator(".lk-board").get_attribute("data-pass") == str(PASSES)


@pytest.mark.parametrize("box", [(2, 2), (3, 3)])
def test_boxes_are_ruled(open_page, box):
    page = open_page(board(sudoku_run(box=box)[0], box=box).html())
    side = box[0] * box[1]
    assert page.locator(".lk-top").count() == side * (side // box[0] - 1)
    assert page.locator(".lk-left").count() == side * (side // box[1] - 1)
    heights = page.locator("[data-cell]").evaluate_all("cells => cells.map(c => c.getBoundingClientRect().height)")
    assert max(heights) - min(heights) < 4  # the rules


# -- the latent path


def paths_page(open_page, right):
    run = random_run(torch.zeros(6, 4, dtype=torch.long), 2)
    widget = latent_path(pca_paths(run), right=right, labels=list("abcdef"), example=2, start=3)
    return open_page(widget.html()), widget


def test_end_points_are_dots_and_crosses(open_page):
    right = torch.tensor([True, False, True, True, False, False])
    page, widget = paths_page(open_page, right)
    assert page.locator("circle.lk-right").count() == 3 and page.locator("path.lk-wrong").count() == 3
    for dot, i in enumerate((0, 2, 3)):
        circle = page.locator("circle.lk-right").nth(dot)
        assert [int(circle.get_attribute(c)) for c in ("cx", "cy")] == widget.view["points"][i][-1]
    assert page.locator("option").all_inner_texts() == ["a ✓", "b ✗", "c ✓", "d ✓", "e ✗", "f ✗"]
    assert paths_page(open_page, None)[0].locator("circle.lk-end").count() == 6


def test_the_slider_moves_along_the_chosen_path(open_page):
    page, widget = paths_page(open_page, None)
    assert page.locator(".lk-latent-path").get_attribute("data-pass") == "3"
    slider = page.get_by_role("slider")
    slider.press("Home")
    for index in range(PASSES):
        x, y = widget.view["points"][2][index]
        head = page.locator("circle.lk-head")
        assert [head.get_attribute("cx"), head.get_attribute("cy")] == [str(x), str(y)]
        assert page.locator("path.lk-stations").get_attribute("d").count("M") == index + 1
        assert page.locator("path.lk-heads").get_attribute("d").count("M") == 5
        assert page.locator("path.lk-tails").get_attribute("d").count("L") == 5 * min(index, 3)
        slider.press("ArrowRight")


def test_a_path_is_chosen_by_a_click_or_by_the_keyboard(open_page):
    page, widget = paths_page(open_page, torch.tensor([True] * 6))
    root, box = page.locator(".lk-latent-path"), page.locator(".lk-plane").bounding_box()
    for i in (4, 0, 5):
        x, y = widget.view["points"][i][-1]
        scale = box["width"] / widget.view["width"]
        page.mouse.click(box["x"] + x * scale, box["y"] + y * scale)
        assert root.get_attribute("data-example") == str(i)
        said = page.locator("[role=status]").inner_text()
        assert said == f"Pass 3 of 6: {widget.view['texts'][i]}; 6 of 6 end right."
    page.locator("select").press("ArrowUp")
    assert root.get_attribute("data-example") == "4"


# -- the surface


SHARES = {"easy": [[0.5, 0.6, 0.7], [0.8, 0.9, 1.0]], "hard": [[0.1, float("nan"), 0.3], [0.15, 0.4, 0.5]]}


def surface_page(open_page, **options):
    widget = surface(SHARES, [4, 8], [1, 2, 4], number={"easy": 1000, "hard": 200}, **options)
    return open_page(widget.html())


def test_the_surface_shows_every_number(open_page):
    page = surface_page(open_page, band="hard")
    said = page.locator("[role=status]")
    assert page.locator("[role=row]").all_inner_texts()[0].split() == ["4", "30.0", "50.0"]
    assert page.locator("[role=gridcell]").all_inner_texts() == ["30.0", "50.0", "–", "40.0", "10.0", "15.0"]
    # The best is chosen first; the arrow keys go on from there.
    assert said.inner_text().startswith("hard, 8 passes × 4 restarts (32 passes a puzzle): 50% of 200 puzzles right, ")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert "8 passes × 2 restarts (16 passes a puzzle): 40% of 200" in said.inner_text()
    assert said.inner_text().endswith("95% interval 33.5 to 46.9. The best at this price.")
    page.keyboard.press("ArrowLeft")
    assert said.inner_text() == "hard, 4 passes × 2 restarts (8 passes a puzzle): not measured."
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp"):  # the edges hold
        page.keyboard.press(key)
    assert said.inner_text().endswith("Best at this price: 8 × 2, 40%.")
    assert page.locator(".lk-same").evaluate_all("all => all.map(e => e.dataset.cell)") == ["0,2", "1,1"]
    assert page.locator("[tabindex='0']").count() == 1


def test_the_mouse_looks_without_moving_the_focus(open_page):
    page = surface_page(open_page)
    root = page.locator(".lk-surface")
    assert root.get_attribute("data-cell") == "1,2"
    page.locator("[data-cell='0,0']").nth(0).hover()
    assert "4 passes × 1 restart (4 passes a puzzle): 50% of 1,000" in page.locator("[role=status]").inner_text()
    page.locator("select").hover()
    assert root.get_attribute("data-cell") == "1,2"
    page.locator("select").select_option("hard")
    assert page.locator("[role=status]").inner_text().startswith("hard, 8 passes × 4 restarts")


def test_one_band_needs_no_choice(open_page):
    html = surface({"all": [[0.5]]}, [4], [1], number={"all": 10}).html()
    assert not open_page(html).locator("select").is_visible()


# -- the grammar tree


def test_a_latent_is_asked_about_by_click_and_by_key(open_page):
    widget = one_of_each()["grammar"]
    page = open_page("<main></main>")
    root = go_live(page, widget)
    caption = root.locator("[role=status]")
    assert caption.inner_text() == widget.text
    node = root.get_by_role("button", name="A1, level 1, place 2")
    node.click()
    assert page.evaluate("window.saved") == [1]
    assert caption.inner_text() == widget.view["frames"][1]["text"]
    assert root.locator(".lk-tree .lk-tuple").all_inner_texts() == ["b", "b"]
    assert root.locator(".lk-tree .lk-own").all_inner_texts() == ["a", "b"]
    assert root.locator(".lk-lost").first.inner_text() == "A1"
    assert root.locator("tbody tr").nth(2).inner_text().split("\t")[-1].strip() == "12,000"
    root.get_by_role("button", name="A2, level 2, place 2").press("Enter")
    assert (page.evaluate("window.saved"), root.get_attribute("data-node")) == ([1, 5], "5")
    page.evaluate("window.model.set('value', 0)")
    assert caption.inner_text() == widget.view["frames"][0]["text"]
    assert root.locator("[aria-pressed=true]").count() == 1
