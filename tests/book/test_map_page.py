"""The page of the depth-memory map, without a build."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "book/_ext"))

from map_page import PLACES, costs, picture, tasks

from tests.conftest import ROOT
from tests.widgets.examples import small_map


def test_tables_say_what_was_asked_and_what_it_cost():
    assert tasks(small_map()).splitlines()[2:] == [
        "| words | letters 9 to 12 | 0.20 | 32 | 400 |",
        "| maze  | open cells | 0.50 | 32 | 400 |",
        "| needles | values | 0.10 | 32 | 400 |",
    ]
    assert costs(small_map()).splitlines()[2:] == [
        "| stack | 36,012 | 120 | 12 |",
        "| GRU  | 36,012 | 120 | 12 |",
    ]


def test_the_picture_needs_no_other_file():
    text = picture(small_map())
    assert text.startswith("```{raw} html\n<img ") and text.endswith("\n```")
    assert 'src="data:image/png;base64,' in text
    assert 'alt="Heat map of 2 architectures by 3 tasks: 1 ok, 1 unstable, 2 failed, ' in text


def test_the_page_has_every_part():
    page = (ROOT / "book/map.md").read_text("utf-8")
    assert all(page.count(place) == 1 for place in PLACES)
