"""The built book. It is not built here: `make test` builds it, and only from notebooks that passed."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site."""
    folder = ROOT / "book/_build/html"
    if not (folder / "index.html").exists():
        pytest.fail("the book is not built; run `make book` first")
    return folder


@pytest.fixture(scope="session")
def pages(site) -> dict[str, BeautifulSoup]:
    """Every page, parsed, by path; not the redirect to the home page, nor the theme's templates."""
    names = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    names = [name for name in names if name != "index.html" and not name.startswith("_static/")]
    return {name: BeautifulSoup((site / name).read_text("utf-8"), "html.parser") for name in names}
