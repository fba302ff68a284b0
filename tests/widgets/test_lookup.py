import pytest
import torch
import traitlets

from latentkit.widgets import lookup_reader

WEIGHTS = torch.zeros(2, 5, 5)
WEIGHTS[0, 3], WEIGHTS[1, 3] = torch.tensor([0.1, 0.7, 0.2, 0, 0]), torch.tensor([0, 0.001, 0.4, 0.599, 0])
WEIGHTS[0, 4], WEIGHTS[1, 4] = torch.tensor([0, 0, 0, 0, 1.0]), torch.tensor([0, 0, 1.0, 0, 0])


def make(**changes):
    options = {
        "heads": ["near", "far"],
        "says": {3: "a", 4: "c"},
        "should": {3: "a", 4: "b"},
        "bits": {"attention": [4.0, 5.5]},
    }
    return lookup_reader(list("$ab|a"), WEIGHTS, **{**options, **changes})


def test_it_says_what_the_numbers_say():
    widget = make()
    assert widget.value == 3
    assert widget.text == (
        "At | (position 3) the model writes a, right. Strongest: near on a at position 1, 0.70. "
        "Bits so far: attention 4.0."
    )
    widget.value = 4
    assert widget.text == (  # that a position looks at itself is no news
        "At a (position 4) the model writes c, wrong: it should be b. Strongest: far on b at position 2, 1.00. "
        "Bits so far: attention 5.5."
    )
    first, second = widget.view["frames"]
    assert first["weights"] == [[0.1, 0.7, 0.2, 0, 0], [0, 0, 0.4, 0.6, 0]]  # what is too faint to see is left out
    assert (first["right"], second["right"]) == (True, False)
    assert second["bits"] == {"attention": 5.5}


def test_without_bits_there_are_none():
    assert "Bits" not in make(bits=None).text


def test_the_table_names_the_strongest_places():
    table = make(title="Copy").table()
    assert table.startswith("<p>Copy At ")
    assert "<tr><th>3: |</th><td>a</td><td>a at 1</td><td>| at 3</td></tr>" in table
    assert "<td>c ✗</td>" in table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": ["one"]}, r"weights have shape \[2, 5, 5\]; 1 heads and 5 tokens need \[1, 5, 5\]"),
        ({"should": {3: "a"}}, "must name the same positions of 0 to 4"),
        ({"says": {3: "a", 7: "b"}, "should": {3: "a", 7: "b"}}, "must name the same positions of 0 to 4"),
        ({"bits": {"gru": [1.0]}}, "bits of 'gru': 1 numbers for 2 written positions"),
        ({"start": 2}, "start=2; something is written at 3 to 4"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message, learners_view):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_position_where_nothing_is_written_is_refused():
    widget = make()
    with pytest.raises(traitlets.TraitError, match="value=1: nothing is written there; choose from 3 to 4"):
        widget.value = 1
    assert widget.value == 3
