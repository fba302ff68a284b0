import pytest
import traitlets

from latentkit.widgets import grammar_tree

LEVELS = [[0, 1, 1, 1, 0, 0, 1, 0], [2, 0, 1, 2], [1, 0], [2]]
NAMES = [list("abc"), ["A1", "B1", "C1"], ["A2", "B2", "C2"], ["A3", "B3", "C3"]]
NEEDS = {"own": [400.0, 900.0], "tokens": [400.0, 5000.0], "root": [12_345.0, float("inf")]}


def make(**changes):
    return grammar_tree(**{"levels": LEVELS, "names": NAMES, "m": 2, "needs": NEEDS, **changes})


def test_it_says_what_stands_where():
    widget = make()
    assert widget.value == 0
    assert widget.text == (
        "C1, level 1: the tuple a b is one of its 2 synonyms. By own latents: 3 rules, 400 sentences. "
        "By tokens: 3 rules, 400 sentences. By root label: 3 rules, 12,000 sentences."
    )
    widget.value = 5
    assert widget.text == (
        "A2, level 2: the tuple B1 C1 is one of its 2 synonyms. By own latents: 3 rules, 900 sentences. "
        "By tokens: 4 rules, 5,000 sentences. By root label: 2 rules, no number of sentences."
    )


def test_frames_name_tuple_cousin_and_targets():
    frames = make().view["frames"]
    assert [(f["level"], f["place"]) for f in frames] == [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1)]
    f = frames[2]
    assert (f["tuple"], f["cousin"], f["above"]) == ([[0, 4], [0, 5]], [1, 3], [2, 1])
    assert f["lit"] == {"own": [[0, 6], [0, 7]], "tokens": [[0, 6], [0, 7]], "root": [[3, 0]]}
    assert [row["what"] for row in f["rows"]] == ["b a", "b a", "C3"]
    assert [row["factor"] for row in f["rows"]] == [8, 8, 8]
    top = frames[4]
    assert top["lit"]["own"] == [[1, 2], [1, 3]]
    assert top["lit"]["tokens"] == [[0, 4], [0, 5], [0, 6], [0, 7]]
    assert [row["what"] for row in top["rows"]] == ["B1 C1", "a a b a", "C3"]


def test_what_a_clustering_found():
    widget = make(found=[[True, False, True, True], [True, True]], start=(1, 1))
    assert widget.value == 1
    assert widget.text.endswith("The clustering is wrong here.")
    assert [f["right"] for f in widget.view["frames"]] == [True, False, True, True, True, True]


def test_three_symbols_a_tuple():
    widget = grammar_tree([[0] * 9, [1, 2, 0], [1]], NAMES[:3], m=4, needs={"own": [10.0]})
    assert widget.view["s"] == 3
    assert widget.view["frames"][1]["cousin"] == [1, 0]


def test_the_table_has_every_level():
    table = make(title="Tree").table()
    assert table.startswith("<p>Tree A2, level 2: ")
    assert "<tr><th>tokens</th><td>a b b b a a b a</td></tr>" in table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": [[0, 0, 0], [0], [0]]}, r"levels of \[3, 1, 1\] symbols are no tree"),
        ({"levels": [[0, 0], [0]]}, "are no tree"),
        ({"names": NAMES[:2]}, "names of 2 levels for 4"),
        ({"needs": {"own": [1.0]}}, r"needs\['own'\] has 1 numbers; a tree of 3 levels takes 2"),
        ({"needs": {"labels": [1.0, 2.0]}}, "needs has 'labels'; its targets"),
        ({"found": [[True]]}, "right or wrong of every latent"),
        ({"start": (3, 0)}, "choose a level from 1 to 2"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message, learners_view):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_latent_that_is_not_there_is_refused():
    widget = make()
    with pytest.raises(traitlets.TraitError, match="value=6: choose one of the latents 0 to 5"):
        widget.value = 6
    assert widget.value == 0
