import pytest
import torch

from latentkit.widgets import memory_scope
from tests.widgets.examples import memory_run


def test_frames_hold_what_was_given():
    run = memory_run()
    widget = memory_scope(**run)
    assert [frame["pass"] for frame in widget.view["frames"]] == [1, 2, 3]
    for i, frame in enumerate(widget.view["frames"]):
        assert frame["tokens"] == run["blocks"][i]
        assert frame["read"] == run["read"][i].tolist()
        assert frame["right"] == [int(a == b) for a, b in zip(frame["read"], run["answer"], strict=True)]
        for layer, rows in enumerate(frame["weights"]):
            for j, row in enumerate(rows):
                assert row == [round(100 * float(w)) for w in run["attention"][i, layer, j]]


def test_text_says_what_is_read_and_where_the_memory_looks():
    run = memory_run()
    run["read"] = torch.tensor([[4, 2], [4, 0], [1, 0]])
    run["attention"] = torch.tensor([0.1, 0.1, 0.3, 0.25, 0.25]).expand(3, 2, 2, 5)
    widget = memory_scope(**run, start=2)
    assert widget.text == (
        "Block 2 of 3: the probe reads 4 0, 1 of 2 right; the memory gives 80% of its attention to the block, the rest "
        "to itself."
    )
    widget.value = 1
    assert "reads 4 2, 2 of 2 right" in widget.text
    assert "reads 1 0, 0 of 2 right" in widget.table()


@pytest.mark.usefixtures("learners_view")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"blocks": [list("abc")]}, "attention has 3 blocks, blocks has 1"),
        ({"blocks": [list("ab")] * 3}, "a block of 2 tokens; 2 memory tokens and 5 weights leave 3 tokens"),
        ({"answer": [4]}, "read has 2 values a block, answer 1"),
        ({"norms": torch.ones(3, 1)}, "norms has 1 layers, attention 2"),
        ({"start": 4}, "start=4 was not kept"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        memory_scope(**{**memory_run(), **wrong})
