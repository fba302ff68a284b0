"""The built book in Chromium, from disk and with the network blocked."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SITE = ROOT / "book/_build/html"
NOTEBOOK = "02_loop_it"
LAB = f"labs/solved/{NOTEBOOK}.html"
PAGES = [
    "book/index.html",
    "book/using.html",
    LAB,
    "book/claims.html",
    "book/api/claims.html",
    "book/bibliography.html",
]
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture
def open_page(chromium):
    """Opens a page of the book; a request that leaves the disk, or a complaint in the console, fails the test."""
    if not (SITE / "index.html").exists():
        pytest.fail("the book is not built; run `make book` first")
    contexts, troubles = [], []

    def open_(name, **options):
        context = chromium.new_context(offline=True, **{"viewport": DESKTOP, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.route(re.compile("^(https?|wss?):"), lambda route: route.abort())
        page.on(
            "request", lambda r: r.url.startswith(("file:", "data:", "blob:")) or troubles.append(f"request: {r.url}")
        )
        page.on("requestfailed", lambda r: troubles.append(f"missing: {r.url}"))
        page.on("console", lambda m: m.type in ("error", "warning") and troubles.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda e: troubles.append(f"script error: {e}"))
        page.goto((SITE / name).as_uri(), wait_until="load")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture(scope="module")
def view():
    """The frames of the lab's first scrubber, as the executed notebook carries them."""
    for cell in json.loads((ROOT / f"labs/solved/{NOTEBOOK}.ipynb").read_text("utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            page = "".join(output.get("data", {}).get("text/html", ""))
            if 'class="lk-scrubber' in page:
                return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])
    return pytest.fail(f"{NOTEBOOK} shows no scrubber")


@pytest.mark.parametrize("page_name", [LAB, "book/index.html"])
def test_the_keyboard_moves_the_scrubber_to_what_the_trajectory_says(open_page, scrubbers, view, page_name):
    scrubber = open_page(page_name).locator(".lk-scrubber[data-pass]").first
    slider = scrubber.get_by_role("slider")
    slider.focus()
    slider.press("Home")
    for index in range(len(view["frames"])):
        assert scrubbers.shown(scrubber) == scrubbers.expected(view, index)
        slider.press("ArrowRight")
    assert len({str(frame["prediction"]) for frame in view["frames"]}) > 1, (
        "this example cannot tell one pass from another"
    )


@pytest.mark.parametrize("page_name", PAGES)
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_page_fits_its_screen(open_page, page_name, viewport):
    page = open_page(page_name, viewport=viewport)
    page.wait_for_function("document.fonts.status === 'loaded'")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


@pytest.mark.parametrize("page_name", ["book/index.html", LAB])
def test_maths_is_set(open_page, page_name):
    page = open_page(page_name)
    page.locator("mjx-container svg").first.wait_for(state="attached")
    page.wait_for_function(
        "document.querySelectorAll('.math mjx-container').length === document.querySelectorAll('.math').length"
    )
    assert page.locator("mjx-merror, [data-mml-node=merror]").count() == 0


def test_search_finds_a_lab(open_page):
    page = open_page("book/index.html")
    assert page.locator(".search-button-field:visible, .search-button:visible").count() == 1
    page.locator(".search-button-field").click()
    page.locator("dialog input[type=search]").fill("loop")
    page.keyboard.press("Enter")
    hit = page.locator(f"#search-results a[href*='{NOTEBOOK}']").first
    hit.click()
    page.wait_for_url(re.compile(re.escape(LAB)))


def test_the_theme_can_be_switched(open_page):
    page = open_page("book/index.html", color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    button = page.locator(".theme-switch-button:visible").first
    for _ in range(2):  # automatic, then light, then dark, or the other way round
        button.click()
        if page.locator("html").get_attribute("data-theme") == "dark":
            break
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate(background) != light


def test_the_notebook_downloads_from_disk(open_page, tmp_path):
    page = open_page(LAB)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Notebook to work in").click()
    waiting.value.save_as(tmp_path / "saved.ipynb")
    assert (tmp_path / "saved.ipynb").read_bytes() == (ROOT / f"labs/{NOTEBOOK}.ipynb").read_bytes()
