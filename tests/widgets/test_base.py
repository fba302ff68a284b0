"""What all widgets promise: self-contained, escaped, small, readable in both themes."""

import json
import re

import pytest
import traitlets

from tests.widgets.examples import HOSTILE, one_of_each
from tests.widgets.pages import Page, blend, channels, contrast

WIDGETS = list(one_of_each())


@pytest.mark.parametrize("name", WIDGETS)
def test_html_survives_hostile_names(name):
    widget = one_of_each(HOSTILE)[name]
    page = Page(widget.html())
    data, script = page.scripts
    assert json.loads(data) == {**widget.view, "start": widget.value}
    assert script == widget._esm
    assert page.tags["table"] >= 1


@pytest.mark.parametrize("name", WIDGETS)
def test_the_bundle_is_live_and_static(name):
    widget = one_of_each("Title")[name]
    data, _ = widget._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert (
        data["text/html"] == one_of_each("Title")[name].html()
    )  # no random identifier: rebuilt notebooks do not differ
    assert data["text/plain"] == f"{type(widget).__name__}({widget.text})" and len(widget.text) > 20


@pytest.mark.parametrize("name", WIDGETS)
def test_nothing_is_fetched_and_the_page_stays_small(name):
    widget = one_of_each()[name]
    assert len((widget._esm + widget._css).encode()) < 25_000
    external = re.findall(r"https?://[^\"')\s]+|@import|url\(|import ", widget._esm + widget._css)
    assert external == ["http://www.w3.org/2000/svg"]  # a name, not an address
    assert "</" not in widget._esm and "</" not in widget._css and "<!--" not in widget._esm
    json.loads(json.dumps(widget.view, allow_nan=False))


@pytest.mark.parametrize(("name", "wrong"), [("board", 7), ("latent_path", 2), ("surface", "no such band")])
def test_a_value_that_is_not_there_is_refused(name, wrong):
    widget = one_of_each()[name]
    before = widget.value
    with pytest.raises(traitlets.TraitError, match=f"value={wrong!r}: .*choose"):
        widget.value = wrong
    assert widget.value == before


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast(theme):
    """WCAG AA: 4.5:1 for text, 3:1 for large text (unsure digits) and for lines that mean something."""
    css = "".join(widget._css for widget in one_of_each().values())
    found = re.findall(r"--lk-([\w-]+): (?:var\(.*)?light-dark\((#\w+), (#\w+)\)", css)
    c = {name: channels(pair[theme]) for name, *pair in reversed(found)}  # the first mention, not the unjudged one
    fullest = blend(c["good"], c["ground"], 0.45)  # the surface's cell at 100%
    unsure = [blend(c[name], c["surface"], 0.8) for name in ("good", "ink")]
    text = [("ink", "surface"), ("ink", "ground"), ("muted", "surface"), ("muted", "ground"), ("bad", "bad-soft")]
    text += [("good", "good-soft"), ("good", "surface"), ("surface", "good"), ("ink", fullest)]
    lines = [("note", "surface"), ("note", "bad-soft"), ("bad", "ground"), ("good", "ground"), ("bar", "surface")]
    lines += [(digit, "surface") for digit in unsure] + [(blend(c["bad"], c["bad-soft"], 0.8), "bad-soft")]
    for least, pairs in ((4.5, text), (3, lines)):
        for pair in pairs:
            assert contrast(*(c[x] if isinstance(x, str) else x for x in pair)) >= least, pair
