"""Chromium for the browser tests, pages from disk; what a scrubber shows, and what it ought to show."""

import os
import shutil
from types import SimpleNamespace

import pytest
from playwright.sync_api import Locator, sync_playwright


def find_chromium() -> str | None:
    """$CHROMIUM, or the first Chromium on the path."""
    return os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )


@pytest.fixture(scope="module")
def chromium():
    """A browser that asks nothing of the network by itself."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium found; install it with the system's package manager, or name it in $CHROMIUM")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, tmp_path):
    """Opens a body of HTML over file://; anything else that is asked for, and any script error, fails the test."""
    contexts, troubles = [], []

    def open_(body, head="", attributes="", **options):
        context = chromium.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        path = tmp_path / "page.html"
        viewport = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        path.write_text(f"<!doctype html><html {attributes}>{viewport}{head}<body>{body}</body></html>", "utf-8")
        page.on("request", lambda r: r.url == path.as_uri() or troubles.append(r.url))
        page.on("pageerror", lambda e: troubles.append(str(e)))
        page.clock.install()
        page.goto(path.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert troubles == []


def expected(view: dict, index: int) -> tuple[int, list[str], list[bool]]:
    """What frame `index` of a scrubber's data must show: the pass, every position's prediction, and which are right."""
    frame = view["frames"][index]
    right = frame["right"] or [
        p == q for p, q in zip(frame["prediction"], view["frames"][-1]["prediction"], strict=True)
    ]
    return frame["pass"], [view["names"][str(c)] for c in frame["prediction"]], [bool(r) for r in right]


def shown(scrubber: Locator) -> tuple[int, list[str], list[bool]]:
    """What a scrubber on a page shows, in the same terms."""
    cells = scrubber.locator("[data-row=prediction] [data-position]")
    marked = cells.evaluate_all("cells => cells.map(c => c.classList.contains('lk-is-good'))")
    return int(scrubber.get_attribute("data-pass")), [t.strip() for t in cells.all_text_contents()], marked


@pytest.fixture(scope="session")
def scrubbers() -> SimpleNamespace:
    """The two functions above; test modules cannot import from here."""
    return SimpleNamespace(expected=expected, shown=shown)
