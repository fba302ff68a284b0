"""The book's own Sphinx extensions, without a build."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "book/_ext"))

from api_docstrings import to_rst
from ledger_page import metrics_table, section, shades

from latentkit.claims.ledger import Record, Source


@pytest.mark.parametrize(
    ("docstring", "rst"),
    [
        ("Keeps `x_t`.", "Keeps ``x_t``."),
        ("The norm ||h_t|| of h_ * 2.", r"The norm \|\|h_t\|\| of h\_ \* 2."),
        (
            "Two axes:\n\n    h = f(h)\n\nThat is all.",
            "Two axes:\n\n\n.. code-block:: text\n\n    h = f(h)\n\nThat is all.",
        ),
        (
            "Does it.\n\nArgs:\n    low, high: bounds of `x`;\n        both count.\n\nRaises:\n    ValueError: none.",
            "Does it.\n\n:Parameters:\n\n    * **low, high** – bounds of ``x``;\n          both count.\n\n"
            ":Raises:\n\n    * **ValueError** – none.",
        ),
    ],
)
def test_docstrings_become_restructured_text(docstring, rst):
    assert "\n".join(to_rst(docstring.splitlines())).strip() == rst


def record(**metrics) -> Record:
    values = {f"loop/{name}": entry for name, entry in metrics.items()}
    source = Source("A paper", "section 1", "it works", "key")
    return Record(
        "x", "02", "It works.", source, {}, values, "partly", "", "", 3, "cpu", "latentkit reproduce x", 1.0, {}
    )


def test_an_open_question_has_a_command_and_no_measurements():
    source = Source("A paper", "section 1", "it works", "key")
    verdict, command = "not tested at this scale", "latentkit reproduce x --seeds 3"
    text = section(Record("x", "11", "It works.", source, {}, {}, verdict, "rule", "", 0, "cpu", command, 0.0, {}))
    assert "lk-not-tested-at-this-scale" in text and command in text and "rule" in text
    assert "Run on" not in text and "every seed" not in text


def test_numbers_are_listed_by_seed_and_curves_are_drawn():
    table = metrics_table(
        record(
            solved={"values": [31, 32, 32], "mean": 31.667, "min": 31, "max": 32},
            by_depth={"values": [[1.0, 0.5], [1.0, 0.0]]},
        )
    )
    assert "| loop | solved | 31, 32, 32 | 31.67 (31 to 32) |" in table
    assert table.count("<svg") == 2


def test_measurements_after_different_numbers_of_passes_share_a_row():
    numbers = {f"solved@{t}": {"values": [t, t + 1], "mean": t, "min": t, "max": t + 1} for t in (1, 8)}
    curves = {f"by_depth@{t}": {"values": [[1.0, 0.1 * t]]} for t in (1, 8)}
    table = metrics_table(record(**numbers, **curves))
    assert "| loop | solved @ 1, 8 | **1:** 1, 2; **8:** 8, 9 |  |" in table
    assert table.count("<svg") == 1
    assert 'viewBox="0 0 2 2"' in table


def test_a_map_is_drawn_row_by_row_and_equal_neighbours_as_one():
    drawn = shades([[1.0, 1.0, 0.0], [0.0, 0.5, 1.0]])
    assert 'viewBox="0 0 3 2"' in drawn
    assert drawn.count("<rect") == 5
    assert '<rect x="0" y="0" width="2" height="1" fill-opacity="1.00"/>' in drawn


def test_what_could_not_be_measured_is_a_gap():
    drawn = shades([[None, 0.5, None]])
    assert drawn.count("<rect") == 1 and '<rect x="1"' in drawn and "<title>none, 0.50, none</title>" in drawn
