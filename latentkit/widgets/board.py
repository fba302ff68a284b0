"""A puzzle on its board, pass by pass: digits of a Sudoku that settle, or the path through a maze.

    trajectory --board_frames--> BoardFrame (numbers of one pass) --board, maze_board--> Board (drawn by board.js)

Cells are counted row by row from 0. Some are fixed by the puzzle (givens; walls, start and goal); the model answers
them too, and a wrong answer there is shown as one. How a widget reaches a page: `latentkit.widgets.base`.
"""

import html
import math
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from latentkit.recurrence import Trajectory
from latentkit.widgets import base

_JS, _CSS = base.script("board"), base.style("board")


@dataclass(frozen=True)
class Layout:
    """How a puzzle lies on the board.

    Attributes:
        kind: how cells are drawn: "sudoku" or "maze".
        cols: cells in a row.
        box: rows and columns of a box; None where there are none.
        fixed: the class that the puzzle itself fixes in each cell; None where the model must find it.
        labels: what is written in each fixed cell, "" in the others.
        names: what each class is called.
        open_word, fixed_word: what a cell that the model must find is called, and one that the puzzle fixes.
    """

    kind: str
    cols: int
    box: tuple[int, int] | None
    fixed: list[int | None]
    labels: list[str]
    names: list[str]
    open_word: str
    fixed_word: str


@dataclass(frozen=True)
class BoardFrame:
    """What is shown of one puzzle after one pass.

    Attributes:
        pass_number, passes_run: this pass, counted from 1, and how many were run.
        predictions: the most likely class in each cell.
        confidence: its probability.
        wrong: cells whose prediction is not the target; without targets, fixed cells that it contradicts.
        changed: cells whose prediction is not that of the kept pass before.
        residual: mean distance to the previous state, ||h_t - h_{t-1}|| / ||h_t||.
        halt_logit: the model's own logit of "this answer is right"; None where it has none.
        halted_at: the first kept pass with a positive one; None where there is none by this pass.
    """

    pass_number: int
    passes_run: int
    predictions: list[int]
    confidence: list[float]
    wrong: list[int]
    changed: list[int]
    residual: float
    halt_logit: float | None
    halted_at: int | None

    def num_right(self, layout: Layout) -> int:
        """Open cells that are not wrong."""
        wrong = set(self.wrong)
        return sum(fixed is None and i not in wrong for i, fixed in enumerate(layout.fixed))

    def text(self, layout: Layout, judged: bool) -> str:
        """The frame in a sentence, for readers who do not see the picture; `judged`: there were targets."""
        parts = []
        if judged:
            parts.append(f"{self.num_right(layout)} of {_count(layout.fixed.count(None), layout.open_word)} right")
            if not self.wrong:
                parts.append("solved")
        open_wrong = [i for i in self.wrong if layout.fixed[i] is None]
        if len(self.wrong) > len(open_wrong):
            parts.append(f"{_count(len(self.wrong) - len(open_wrong), layout.fixed_word)} contradicted")
        if 0 < len(open_wrong) <= 3:
            places = (f"row {i // layout.cols + 1} column {i % layout.cols + 1}" for i in open_wrong)
            parts.append(f"wrong in {', '.join(places)}")
        parts.append(f"{_count(len(self.changed), 'cell')} changed")
        parts.append(f"mean distance to the previous state {_short(self.residual)}")
        if self.halt_logit is not None:
            parts.append(f"halt logit {_short(self.halt_logit)}")
        if self.halted_at is not None:
            here = self.halted_at == self.pass_number
            parts.append("the model would halt here" if here else f"the model would have halted at {self.halted_at}")
        return f"Pass {self.pass_number} of {self.passes_run}: {'; '.join(parts)}."


def sudoku_layout(tokens: Int[Tensor, " n"], box: tuple[int, int]) -> Layout:
    """A Sudoku of boxes of `box` rows and columns: token 0 is blank, token d the given d; class c is the digit c + 1.

    Raises:
        ValueError: a number of cells that the boxes do not make, or a token that is no digit of this size.
    """
    side, givens = box[0] * box[1], tokens.tolist()
    if len(givens) != side * side:
        raise ValueError(f"{len(givens)} cells; boxes of {box[0]} x {box[1]} make {side} x {side} = {side * side}")
    if not 0 <= min(givens) <= max(givens) <= side:
        raise ValueError(f"tokens from {min(givens)} to {max(givens)}; expected 0 (blank) to {side}")
    return Layout(
        kind="sudoku",
        cols=side,
        box=box,
        fixed=[d - 1 if d else None for d in givens],
        labels=[str(d) if d else "" for d in givens],
        names=[str(d) for d in range(1, side + 1)],
        open_word="blank",
        fixed_word="given",
    )


def maze_layout(tokens: Int[Tensor, " n"]) -> Layout:
    """A square maze: tokens 0 wall, 1 free, 2 start, 3 goal; classes 0 off the path, 1 on it, as start and goal are.

    Raises:
        ValueError: cells that make no square, or another token.
    """
    cells = tokens.tolist()
    side = math.isqrt(len(cells))
    if side * side != len(cells):
        raise ValueError(f"{len(cells)} cells make no square")
    if not 0 <= min(cells) <= max(cells) <= 3:
        raise ValueError(f"tokens from {min(cells)} to {max(cells)}; expected 0 wall, 1 free, 2 start, 3 goal")
    return Layout(
        kind="maze",
        cols=side,
        box=None,
        fixed=[(0, None, 1, 1)[t] for t in cells],
        labels=[("wall", "", "start", "goal")[t] for t in cells],
        names=["off the path", "on the path"],
        open_word="free cell",
        fixed_word="fixed cell",
    )


def board_frames(
    trajectory: Trajectory, layout: Layout, *, targets: Int[Tensor, "b n"] | None = None, example: int = 0
) -> list[BoardFrame]:
    """What every kept pass shows of one example.

    Raises:
        ValueError: no such example, targets of another shape, or other than one prediction a cell.
    """
    base.check_example(trajectory, example)
    shape = trajectory.predictions.shape[1:]
    if shape[1] != len(layout.fixed):
        raise ValueError(f"{shape[1]} predictions a pass for {len(layout.fixed)} cells; a board needs one a cell")
    if targets is not None and targets.shape != shape:
        raise ValueError(f"targets have shape {list(targets.shape)}; expected {list(shape)} [batch, cells]")
    expected = layout.fixed if targets is None else targets[example].tolist()
    confidence = trajectory.logits[:, example].float().softmax(-1).amax(-1).tolist()
    residuals = trajectory.residuals[:, example].mean(-1).tolist()
    halt = None if trajectory.halt_logits is None else trajectory.halt_logits[:, example].tolist()
    shown: list[BoardFrame] = []
    halted_at = None
    for i, (t, cells) in enumerate(zip(trajectory.passes, trajectory.predictions[:, example].tolist(), strict=True)):
        before = shown[-1].predictions if shown else cells
        halt_logit = None if halt is None else halt[i]
        if halted_at is None and halt_logit is not None and halt_logit > 0:
            halted_at = t
        shown.append(
            BoardFrame(
                pass_number=t,
                passes_run=len(residuals),
                predictions=cells,
                confidence=confidence[i],
                wrong=[j for j, (c, right) in enumerate(zip(cells, expected, strict=True)) if right not in (None, c)],
                changed=[j for j, (c, b) in enumerate(zip(cells, before, strict=True)) if c != b],
                residual=residuals[t - 1],
                halt_logit=halt_logit,
                halted_at=halted_at,
            )
        )
    return shown


def board(
    trajectory: Trajectory,
    *,
    box: tuple[int, int],
    targets: Int[Tensor, "b n"] | None = None,
    example: int = 0,
    title: str = "",
    start: int | None = None,
) -> "Board":
    """A Sudoku with a slider over the passes (segments) of one puzzle.

    Args:
        trajectory: a run over depth; keep some tens of passes at most, each adds about half a kilobyte.
        box: rows and columns of a box: (2, 2), (2, 3), (3, 3).
        targets: right answers (class c is the digit c + 1); without them only contradicted givens are marked.
        example: which row of the batch.
        title: a heading.
        start: the pass shown first; default: the first kept.

    Raises:
        ValueError: see `sudoku_layout` and `board_frames`; or `start` was not kept.
    """
    base.check_example(trajectory, example)
    return _board(trajectory, sudoku_layout(trajectory.tokens[example], box), targets, example, title, start)


def maze_board(
    trajectory: Trajectory,
    *,
    targets: Int[Tensor, "b n"] | None = None,
    example: int = 0,
    title: str = "",
    start: int | None = None,
) -> "Board":
    """A square maze with a slider over the passes (segments) of one puzzle; arguments and errors: see `board`."""
    base.check_example(trajectory, example)
    return _board(trajectory, maze_layout(trajectory.tokens[example]), targets, example, title, start)


def _board(
    trajectory: Trajectory,
    layout: Layout,
    targets: Int[Tensor, "b n"] | None,
    example: int,
    title: str,
    start: int | None,
) -> "Board":
    shown = board_frames(trajectory, layout, targets=targets, example=example)
    judged = targets is not None
    # A model may have classes that no cell uses, such as the papers' padding; if it names one, it is shown as "?".
    names = layout.names + ["?"] * (trajectory.logits.shape[-1] - len(layout.names))
    view = {
        "title": title,
        "kind": layout.kind,
        "cols": layout.cols,
        "box": layout.box and list(layout.box),
        "labels": layout.labels,
        "names": names,
        "open_word": f"{layout.open_word}s",
        "targets": None if targets is None else targets[example].tolist(),
        "passes_run": shown[-1].passes_run,
        "halted_at": shown[-1].halted_at,
        "residuals": [base.rounded(r, 2) for r in trajectory.residuals[:, example].mean(-1).tolist()],
        "frames": [
            {
                "pass": f.pass_number,
                "prediction": f.predictions,
                "confidence": [base.rounded(c, 2) for c in f.confidence],
                "wrong": f.wrong,
                "changed": f.changed,
                "right": f.num_right(layout) if judged else None,
                "text": f.text(layout, judged),
            }
            for f in shown
        ],
    }
    return Board(view=view, value=base.first_pass(trajectory.passes, start))


class Board(base.PassWidget):
    """All frames of one puzzle, with a slider; made by `board` or `maze_board`.

    Attributes:
        value: the pass shown; follows the slider, and moves it.
    """

    kind = "board"
    _esm = _JS
    _css = _CSS

    def table(self) -> str:
        """The puzzle as it stands after the last pass: fixed cells in bold, wrong ones with a cross."""
        view = self.view
        last, cols = view["frames"][-1], view["cols"]
        cells = []
        for i, (label, c) in enumerate(zip(view["labels"], last["prediction"], strict=True)):
            text = html.escape(label or view["names"][c])
            cells.append(f"<td>{f'<b>{text}</b>' if label else text}{' ✗' if i in last['wrong'] else ''}</td>")
        rows = (f"<tr>{''.join(cells[i : i + cols])}</tr>" for i in range(0, len(cells), cols))
        return f"<p>{html.escape(view['title'])} {html.escape(last['text'])}</p><table>{''.join(rows)}</table>"


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def _short(x: float) -> str:
    return f"{x:.2g}" if math.isfinite(x) else "not finite"
