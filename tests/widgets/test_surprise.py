import re

import pytest
import torch
import traitlets

from latentkit.widgets import surprise_strip

TOKENS = list("abcd")
SERIES = {"matrix": torch.tensor([1.0, 0.25, 2.0, 0.5]), "mlp": torch.tensor([3.0, 0.0, 1.0, 1.0])}
GATES = {"step": torch.tensor([0.1, 0.2, 0.3, 0.4])}


def show(**changes):
    given = {"tokens": TOKENS, "surprise": SERIES, "gates": GATES, "marks": {2: "odd <one>"}, **changes}
    return surprise_strip(given.pop("tokens"), given.pop("surprise"), **given)


def test_text_follows_the_pointer():
    widget = show(start=2)
    assert widget.text == "Token 3 of 4, c (odd <one>): matrix, surprise 2.0, step 0.3."
    widget.value = 1
    assert widget.text == "Token 2 of 4, b: matrix, surprise 0.25, step 0.2."
    with pytest.raises(traitlets.TraitError, match="value=4: no such position; choose from 0 to 3"):
        widget.value = 4


def test_view_holds_every_number_and_the_medians():
    view = show().view
    assert view["memories"] == {"matrix": [1.0, 0.25, 2.0, 0.5], "mlp": [3.0, 0.0, 1.0, 1.0]}
    assert view["medians"] == {"matrix": 0.5, "mlp": 1.0}
    assert view["gates"] == {"step": [0.1, 0.2, 0.3, 0.4]} and view["marks"] == {"2": "odd <one>"}
    assert "gates" in show(gates=None, marks=None).view


def test_the_table_has_the_most_surprising_tokens():
    many = torch.arange(20.0)
    table = show(tokens=["x"] * 20, surprise={"matrix": many}, gates=None, marks=None).table()
    assert re.findall(r"<tr><th>(\d+)</th>", table) == [str(i) for i in range(13, 21)]
    assert "odd &lt;one&gt;" in show().table()


@pytest.mark.usefixtures("learners_view")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"surprise": {}}, "no surprises to show"),
        ({"surprise": {"matrix": torch.zeros(3)}}, r"'matrix' has shape \[3\]; expected \[4\]"),
        ({"gates": {"step": torch.zeros(4, 1)}}, r"'step' has shape \[4, 1\]"),
        ({"surprise": {"matrix": torch.tensor([1.0, float("nan"), 0, 0])}}, "the memory diverged"),
        ({"gates": {"step": torch.tensor([-1.0, 0, 0, 0])}}, "'step' holds a number that is negative"),
        ({"gates": {"step": torch.tensor([1.5, 0, 0, 0])}}, "'step' holds 1.5; a gate is from 0 to 1"),
        ({"marks": {4: "beyond"}}, "position 4; this stream has positions 0 to 3"),
        ({"start": -1}, "position -1"),
    ],
)
def test_bad_input_says_what_would_be_right(wrong, message):
    with pytest.raises(ValueError, match=message):
        show(**wrong)
