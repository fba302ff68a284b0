import re

import pytest

from latentkit.analysis.evaluate import wilson
from latentkit.widgets import surface

PASSES, RESTARTS = [4, 16, 64], [1, 8]
NAN = float("nan")
VALUES = {"easy": [[0.5, 0.625], [0.75, 0.875], [1.0, 1.0]], "hard": [[0.0, NAN], [0.1, 0.2], [0.15, 0.4]]}
NUMBER = {"easy": 80, "hard": 200}


def show(**changes):
    return surface(**{"values": VALUES, "passes": PASSES, "restarts": RESTARTS, "number": NUMBER, **changes})


def test_cells_are_percent_with_their_interval():
    bands = show().view["bands"]
    for name, rows in VALUES.items():
        assert bands[name]["number"] == NUMBER[name]
        for cells, row in zip(bands[name]["cells"], rows, strict=True):
            for cell, share in zip(cells, row, strict=True):
                if share != share:
                    assert cell is None
                    continue
                ends = wilson(round(share * NUMBER[name]), NUMBER[name])
                assert cell == [round(100 * x, 1) for x in (share, *ends)]
                assert cell[1] <= cell[0] <= cell[2]


def test_text_follows_the_band():
    widget = show(band="hard")
    assert widget.text == (
        "hard: from 0.0% right (passes 4, restarts 1) to 40.0% right (passes 64, restarts 8); 200 puzzles."
    )
    widget.value = "easy"
    assert widget.text.startswith("easy: from 50.0% right (passes 4, restarts 1) to 100.0% right")
    assert show(values={"none": [[NAN] * 2] * 3}, number={"none": 1}).text == "none: nothing measured."


def test_the_table_has_every_number():
    table = show().table()
    rows = re.findall(r"<tr><th>restarts 8</th>(.*?)</tr>", table)
    assert [re.findall("<td>(.*?)</td>", row)[1][:4] for row in rows] == ["87.5", "20.0"]
    assert re.findall("<td>(.*?)</td>", rows[1])[0] == ""  # not measured


@pytest.mark.usefixtures("learners_view")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"values": {}}, "values is empty"),
        ({"passes": [4, 4, 16]}, r"passes=\[4, 4, 16\]; expected whole numbers from 1 on"),
        ({"restarts": []}, r"restarts=\[\]"),
        ({"restarts": [1, 2, 4]}, r"band 'easy' has rows of \[2, 2, 2\] values; expected 3 rows \(passes\) of 3"),
        ({"values": {"easy": [[50, 60]] * 3}}, r"band 'easy' holds 50; a share lies in 0..1"),
        ({"number": {"easy": 80}}, "band 'hard': number=0"),
        ({"band": "extreme"}, "band='extreme'; choose from easy, hard"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        show(**wrong)
