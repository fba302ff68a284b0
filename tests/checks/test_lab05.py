"""Every check of lab 05 passes its reference and fails wrong answers, the classic mistakes first."""

import pytest
import torch

from latentkit.checks import lab05
from latentkit.checks.harness import assert_kills


def _recursion(x_in_y=False, y_first=False, y_inside=False, forgets=False, extra=0, swap=False):
    def answer(f, y, z, x, n):
        if y_first:
            y = f(y + z)
        for _ in range(n + extra):
            z = f((0 if forgets else z) + (y + x))
            if y_inside:
                y = f(y + z)
        if not (y_first or y_inside):
            y = f(y + z + (x if x_in_y else 0))
        return (z, y) if swap else (y, z)

    return answer


def _damped(old, new, only_y=False, from_start=False):
    def answer(f, y, z, x, n, damping):
        a, b = old(damping), new(damping)
        start = z
        for _ in range(n):
            target = f(z + (y + x))
            z = target if only_y else a * (start if from_start else z) + b * target
        return a * y + b * f(y + z), z

    return answer


def _messages(box=None, digits=False, no_triads=False, exclude_self=False, turned=False):
    def answer(h, box_rows, box_cols):
        rows, columns, boxes, cells, row_triads, column_triads = lab05.messages(h, box_rows, box_cols)
        if turned:
            wide = h.unflatten(1, (-1, box_rows)).unflatten(0, (-1, box_cols))
            boxes = wide.sum((1, 3), keepdim=True).expand_as(wide).flatten(2, 3).flatten(0, 1)
        if digits:
            rows = h.sum((1, 2), keepdim=True).expand_as(h)
        if no_triads:
            row_triads, column_triads = rows, columns
        if exclude_self:
            rows, columns, boxes, cells = rows - h, columns - h, boxes - h, cells - h
        if box == "swapped":
            rows, columns = columns, rows
        return rows, columns, boxes, cells, row_triads, column_triads

    return answer


MUTANTS = {
    "recursion": {
        "the puzzle in y's update too": _recursion(x_in_y=True),
        "y first": _recursion(y_first=True),
        "y after every z": _recursion(y_inside=True),
        "z forgets itself": _recursion(forgets=True),
        "n + 1 updates of z": _recursion(extra=1),
        "z and y swapped": _recursion(swap=True),
    },
    "one_blank": {
        "classes for digits": lambda t, y, c: y.scatter(1, c[:, None], 0),
        "the puzzle's own blanks stay": lambda t, y, c: t.scatter(1, c[:, None], 0),
        "no blank at all": lambda t, y, c: y + 1,
        "blank in the same cell everywhere": lambda t, y, c: (y + 1).scatter(1, c[:1].expand(len(c))[:, None], 0),
        "only that cell filled": lambda t, y, c: torch.zeros_like(y).scatter(
            1, c[:, None], (y + 1).gather(1, c[:, None])
        ),
    },
    "auc": {
        "a tie is a loss": lambda s, r: (s[r][:, None] > s[~r]).float().mean().item(),
        "a tie is a win": lambda s, r: (s[r][:, None] >= s[~r]).float().mean().item(),
        "right and wrong exchanged": lambda s, r: lab05.auc(s, ~r),
        "larger of the two ways": lambda s, r: max(lab05.auc(s, r), 1 - lab05.auc(s, r)),
        "accuracy at the median": lambda s, r: ((s > s.median()) == r).float().mean().item(),
        "pairs of all answers": lambda s, r: (s[r][:, None] > s).float().mean().item(),
    },
    "damped": {
        "damping the wrong way round": _damped(lambda a: a, lambda a: 1 - a),
        "only y": _damped(lambda a: 1 - a, lambda a: a, only_y=True),
        "back to the start": _damped(lambda a: 1 - a, lambda a: a, from_start=True),
        "the old state in full": _damped(lambda a: 1.0, lambda a: a),
        "not damped": _damped(lambda a: 0.0, lambda a: 1.0),
    },
    "choose": {
        "smallest signal": lambda p, s: lab05.choose(p, -s),
        "one run for all puzzles": lambda p, s: p[int(s.mean(1).argmax())],
        "the first run": lambda p, s: p[0],
        "most common digit": lambda p, s: p.mode(0).values,
        "largest absolute signal": lambda p, s: lab05.choose(p, s.abs()),
    },
    "messages": {
        "boxes turned on their side": _messages(turned=True),
        "digits mixed along a row": _messages(digits=True),
        "whole lines for triads": _messages(no_triads=True),
        "without the cell itself": _messages(exclude_self=True),
        "rows and columns exchanged": _messages(box="swapped"),
    },
}


@pytest.mark.parametrize("name", lab05.EXERCISES)
def test_check_tells_right_from_wrong(name):
    assert_kills(lab05.EXERCISES[name], MUTANTS[name])
