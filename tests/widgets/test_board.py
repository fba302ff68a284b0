import re
from dataclasses import replace

import pytest
import torch

from latentkit.widgets import board, maze_board
from latentkit.widgets.board import board_frames, maze_layout, sudoku_layout
from tests.widgets.examples import BOX, HALT, PASSES, SIDE, maze_run, sudoku_run


def sudoku(example=0, **options):
    run, targets = sudoku_run(**options)
    return run, targets, sudoku_layout(run.tokens[example], BOX)


@pytest.mark.parametrize("kept", [None, (2, 4, 6), (6,)], ids=["all", "every-second", "last"])
@pytest.mark.parametrize("judged", [True, False])
def test_frames_say_what_the_trajectory_says(kept, judged):
    for example in range(2):
        run, targets, layout = sudoku(example, kept=kept)
        shown = board_frames(run, layout, targets=targets if judged else None, example=example)
        assert [f.pass_number for f in shown] == list(run.passes)
        for k, f in enumerate(shown):
            logits = run.logits[k, example]
            assert f.passes_run == PASSES
            assert f.predictions == logits.argmax(-1).tolist()
            assert f.confidence == pytest.approx(logits.softmax(-1).amax(-1).tolist())
            assert f.residual == pytest.approx(run.residuals[f.pass_number - 1, example].mean().item())
            assert f.halt_logit == HALT[f.pass_number - 1]
            predictions, givens = run.predictions[k, example], run.tokens[example]
            assert f.changed == (predictions != run.predictions[max(k - 1, 0), example]).nonzero().flatten().tolist()
            wrong = predictions != targets[example] if judged else (predictions + 1 != givens) & (givens > 0)
            assert f.wrong == wrong.nonzero().flatten().tolist()
            blanks_right = (predictions == targets[example])[givens == 0].sum()
            assert not judged or f.num_right(layout) == blanks_right


def test_halting_is_the_first_positive_logit():
    run, _, layout = sudoku()
    assert [f.halted_at for f in board_frames(run, layout)] == [None, None, 3, 3, 3, 3]  # later, it dips below 0
    without = board_frames(sudoku_run(halt=None)[0], layout)
    assert {(f.halted_at, f.halt_logit) for f in without} == {(None, None)}
    assert board(run, box=BOX).view["halted_at"] == 3


def test_text_alternative():
    run, targets, _ = sudoku()
    run.logits[:] = 5.0 * torch.nn.functional.one_hot(targets, SIDE)
    run.residuals[2] = 0.31
    blank, given = (int((run.tokens[0] == 0).nonzero()[0]), int((run.tokens[0] > 0).nonzero()[0]))
    for cell in (blank, given):
        run.logits[2, 0, cell] = 5.0 * torch.nn.functional.one_hot((targets[0, cell] + 1) % SIDE, SIDE)
    blanks = int((run.tokens[0] == 0).sum())
    texts = [f["text"] for f in board(run, box=BOX, targets=targets).view["frames"]]
    place = f"row {blank // SIDE + 1} column {blank % SIDE + 1}"
    assert texts[2] == (
        f"Pass 3 of 6: {blanks - 1} of {blanks} blanks right; 1 given contradicted; wrong in {place}; 2 cells changed; "
        "mean distance to the previous state 0.31; halt logit 0.5; the model would halt here."
    )
    assert texts[3].startswith(f"Pass 4 of 6: {blanks} of {blanks} blanks right; solved; 2 cells changed; ")
    assert texts[3].endswith("; the model would have halted at 3.")
    assert "right" not in board(run, box=BOX).text


def test_mazes_fix_walls_and_ends():
    run, targets = maze_run()
    layout = maze_layout(run.tokens[0])
    tokens, free = run.tokens[0], run.tokens[0] == 1
    assert [fixed is None for fixed in layout.fixed] == free.tolist()
    assert [fixed for fixed in layout.fixed if fixed is not None] == targets[0][~free].tolist()
    counts = [int((tokens == t).sum()) for t in (0, 2, 3)]
    assert [layout.labels.count(word) for word in ("wall", "start", "goal")] == counts
    widget = maze_board(run, targets=targets, start=4)
    assert re.match(rf"Pass 4 of 6: \d of {int(free.sum())} free cells right; ", widget.text)


def test_classes_that_no_cell_uses_are_shown_as_a_question_mark():
    run, targets = sudoku_run(classes=SIDE + 2)
    run.logits[-1, 0, 0, SIDE + 1] = 99
    widget = board(run, box=BOX, targets=targets)
    assert widget.view["names"][-3:] == ["6", "?", "?"]
    assert 0 in widget.view["frames"][-1]["wrong"]


def test_the_table_is_the_board():
    run, targets = sudoku_run()
    rows = re.findall(r"<tr>(.*?)</tr>", board(run, box=BOX, targets=targets).table())
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows]
    assert [len(row) for row in cells] == [SIDE] * SIDE
    for i, cell in enumerate(cell for row in cells for cell in row):
        given, answer = int(run.tokens[0, i]), int(run.predictions[-1, 0, i])
        assert cell.startswith(f"<b>{given}</b>" if given else str(answer + 1))
        assert cell.endswith("✗") == (answer != targets[0, i])


def test_a_diverged_run_is_shown():
    run, targets = sudoku_run()
    run.residuals[3:] = torch.inf
    run.logits[3:] = torch.nan
    view = board(run, box=BOX, targets=targets).view
    assert view["residuals"][3:] == [None] * 3
    assert view["frames"][4]["confidence"] == [None] * SIDE**2 and "not finite" in view["frames"][4]["text"]


def test_a_run_with_a_register_has_more_residuals_than_cells():
    run, targets = sudoku_run()
    padded = {name: torch.nn.functional.pad(getattr(run, name), (1, 0)) for name in ("residuals", "halted_at")}
    frames = board(replace(run, **padded), box=BOX, targets=targets).view["frames"]
    assert len(frames[0]["prediction"]) == SIDE**2


@pytest.mark.usefixtures("learners_view")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"box": (2, 2)}, r"36 cells; boxes of 2 x 2 make 4 x 4 = 16"),
        ({"example": 2}, r"example=2; this trajectory holds examples 0 to 1"),
        ({"start": 9}, r"start=9 was not kept; this trajectory holds passes 1 to 6"),
        ({"targets": torch.zeros(2, 35, dtype=torch.long)}, r"targets have shape \[2, 35\]; expected \[2, 36\]"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        board(sudoku_run()[0], **{"box": BOX, **wrong})


def test_tokens_of_another_puzzle_are_refused():
    run, _ = sudoku_run()
    with pytest.raises(ValueError, match=r"tokens from 0 to 6; expected 0 wall"):
        maze_board(run)
    with pytest.raises(ValueError, match="37 cells make no square"):
        maze_layout(torch.ones(37, dtype=torch.long))
    with pytest.raises(ValueError, match=r"tokens from 0 to 9; expected 0 \(blank\) to 6"):
        sudoku_layout(torch.arange(36) % 10, BOX)
    layout = sudoku_layout(torch.zeros(16, dtype=torch.long), (2, 2))
    with pytest.raises(ValueError, match="36 predictions a pass for 16 cells"):
        board_frames(run, layout)
