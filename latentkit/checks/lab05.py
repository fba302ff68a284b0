"""Checks of lab 05: TRM's recursion, what runs beside a training, and what tells a right answer from a wrong one."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from latentkit.checks.harness import CheckFailed, Exercise, compare, rng, shapes


def recursion(f: Callable[[Tensor], Tensor], y: Tensor, z: Tensor, x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """TRM's recursion: n times z = f(z + (y + x)), then once y = f(y + z)."""
    for _ in range(n):
        z = f(z + (y + x))
    return f(y + z), z


def damped(
    f: Callable[[Tensor], Tensor], y: Tensor, z: Tensor, x: Tensor, n: int, damping: float
) -> tuple[Tensor, Tensor]:
    """The same recursion, in which every update goes only the part `damping` of its way."""
    for _ in range(n):
        z = (1 - damping) * z + damping * f(z + (y + x))
    return (1 - damping) * y + damping * f(y + z), z


def _check_recursion(answer: Callable) -> None:
    _check_updates(lambda f, y, z, x, n, _: answer(f, y, z, x, n), "recursion", (1.0,))


def _check_damped(answer: Callable) -> None:
    # At 1 it is the recursion without damping; 0.95 alone would hide a damping that is the wrong way round.
    _check_updates(answer, "damped", (1.0, 0.7, 0.2))


def _check_updates(answer: Callable, name: str, dampings: tuple[float, ...]) -> None:
    """Every entry by itself: f mixes positions by a matrix, then bends; all sums are written out."""
    for b, m, d in shapes(3, low=2, high=5):
        generator = rng(d)
        y, z, x = (torch.randn(b, m, d, generator=generator) for _ in range(3))
        mixing = torch.randn(m, m, generator=generator) / m

        def f(v: Tensor, mixing: Tensor = mixing) -> Tensor:
            return torch.tanh(mixing @ v) + 0.3

        for damping in dampings:
            for n in (1, 3):
                after_z, after_y = z.tolist(), y.tolist()
                for _ in range(n):
                    after_z = _update(after_z, [after_z, y.tolist(), x.tolist()], mixing.tolist(), damping)
                after_y = _update(after_y, [after_y, after_z], mixing.tolist(), damping)
                inputs = {"y": y, "z": z, "x": x, "n": n} | ({"damping": damping} if len(dampings) > 1 else {})
                got = answer(f, y.clone(), z.clone(), x.clone(), n, damping)
                if isinstance(got, list | tuple) and len(got) == 2:
                    compare(torch.tensor(after_z), got[1], name=f"z of {name}", inputs=inputs, rtol=1e-3, atol=1e-4)
                expected = (torch.tensor(after_y), torch.tensor(after_z))
                compare(expected, got, name=name, inputs=inputs, rtol=1e-3, atol=1e-4)


def _update(old: list, inputs: list, mixing: list, damping: float) -> list:
    """(1 - damping) old + damping (tanh(mixing @ sum of inputs) + 0.3), number by number."""
    b, m, d = len(old), len(old[0]), len(old[0][0])
    new = []
    for i in range(b):
        total = [[sum(one[i][j][k] for one in inputs) for k in range(d)] for j in range(m)]
        mixed = [[sum(mixing[j][o] * total[o][k] for o in range(m)) for k in range(d)] for j in range(m)]
        new.append(
            [
                [(1 - damping) * old[i][j][k] + damping * (math.tanh(mixed[j][k]) + 0.3) for k in range(d)]
                for j in range(m)
            ]
        )
    return new


def one_blank(tokens: Tensor, targets: Tensor, cell: Tensor) -> Tensor:
    """Every cell given, but for one blank a puzzle."""
    filled = targets + 1
    return filled.scatter(1, cell[:, None], 0)


def _check_one_blank(answer: Callable) -> None:
    for b, n in shapes(2, low=3, high=9):
        generator = rng(n)
        targets = torch.randint(6, (b, n), generator=generator)
        targets[:, 0] = 0  # a class of 0 is the digit 1, and no blank
        tokens = (targets + 1) * (torch.rand(b, n, generator=generator) < 0.4)
        cell = torch.randint(n, (b,), generator=generator)
        expected = torch.zeros(b, n, dtype=torch.long)
        for i in range(b):
            for j in range(n):
                expected[i, j] = 0 if j == int(cell[i]) else int(targets[i, j]) + 1
        kept = tokens.clone(), targets.clone()
        got = answer(tokens, targets, cell)
        inputs = {"tokens": tokens, "targets": targets, "cell": cell}
        compare(expected, got, name="one_blank", inputs=inputs)
        compare(kept, (tokens, targets), name="the tensors handed in, which must stay as they are")


def auc(signal: Tensor, right: Tensor) -> float:
    """Share of the pairs of a right and a wrong answer in which the right one's signal is larger; ties count half."""
    above = signal[right][:, None] - signal[~right]
    return ((above > 0).float() + 0.5 * (above == 0).float()).mean().item()


def _check_auc(answer: Callable) -> None:
    for m in (5, 12, 31):
        generator = rng(m)
        right = torch.rand(m, generator=generator) < 0.7
        right[:2] = torch.tensor([True, False])
        smooth = torch.randn(m, generator=generator) + right.float()
        for signal in (smooth, -smooth, smooth.round(), torch.ones(m)):  # rounded: with ties; ones: ties only
            pairs, won = 0, 0.0
            for i in range(m):
                for j in range(m):
                    if right[i] and not right[j]:
                        pairs += 1
                        won += 1.0 if signal[i] > signal[j] else 0.5 if signal[i] == signal[j] else 0.0
            got = answer(signal, right)
            got = got.item() if isinstance(got, Tensor) and got.ndim == 0 else got
            compare(won / pairs, got, name="auc", inputs={"signal": signal, "right": right})


def choose(predictions: Tensor, signal: Tensor) -> Tensor:
    """For each puzzle the answer of the run whose signal is largest."""
    best = signal.argmax(0)
    return predictions[best, torch.arange(predictions.shape[1])]


def _check_choose(answer: Callable) -> None:
    for r, b, n in shapes(3, low=2, high=7):
        generator = rng(n)
        predictions = torch.randint(6, (r, b, n), generator=generator)
        signal = torch.randn(r, b, generator=generator) - 1
        expected = torch.zeros(b, n, dtype=torch.long)
        for i in range(b):
            said = signal[:, i].tolist()
            expected[i] = predictions[said.index(max(said)), i]
        got = answer(predictions, signal)
        compare(expected, got, name="choose", inputs={"predictions": predictions, "signal": signal})


def messages(h: Tensor, box_rows: int, box_cols: int) -> tuple[Tensor, ...]:
    """What each cell and digit hears: sums along row, column, box and cell, and over what row or column share with it.

    Args:
        h: [row, column, digit, channel] of one board.

    Returns:
        Six tensors like h: rows, columns, boxes, cells, row triads, column triads.
    """
    x = h.unflatten(1, (-1, box_cols)).unflatten(0, (-1, box_rows))  # [band, row, stack, column, digit, channel]
    axes = ((2, 3), (0, 1), (1, 3), (4,), (3,), (1,))
    return tuple(x.sum(axis, keepdim=True).expand_as(x).flatten(2, 3).flatten(0, 1) for axis in axes)


MESSAGES = ("rows", "columns", "boxes", "cells", "row triads", "column triads")


def _check_messages(answer: Callable) -> None:
    for box_rows, box_cols, c in ((2, 3, 4), (2, 2, 1), (3, 2, 2)):  # unequal sides show a box that is turned
        side = box_rows * box_cols
        h = torch.randn(side, side, side, c, generator=rng(c))
        expected = [torch.zeros_like(h) for _ in MESSAGES]
        for i in range(side):
            for j in range(side):
                row, column = [(i, k) for k in range(side)], [(k, j) for k in range(side)]
                box = [
                    (u, v)
                    for u in range(side)
                    for v in range(side)
                    if u // box_rows == i // box_rows and v // box_cols == j // box_cols
                ]
                shared = [place for place in row if place in box], [place for place in column if place in box]
                for which, places in enumerate((row, column, box, None, *shared)):
                    heard = h[i, j].sum(0) if places is None else sum(h[place] for place in places)
                    expected[which][i, j] = heard
        got = answer(h.clone(), box_rows, box_cols)
        if not isinstance(got, list | tuple) or len(got) != len(MESSAGES):
            found = f"{len(got)} items" if isinstance(got, list | tuple) else type(got).__name__
            raise CheckFailed(f"messages: expected six tensors ({', '.join(MESSAGES)}), got {found}.")
        inputs = {"h": h, "box_rows": box_rows, "box_cols": box_cols}
        for name, wanted, found in zip(MESSAGES, expected, got, strict=True):
            compare(wanted, found, name=f"{name} of messages", inputs=inputs)


EXERCISES = {
    "recursion": Exercise(recursion, _check_recursion),
    "one_blank": Exercise(one_blank, _check_one_blank),
    "auc": Exercise(auc, _check_auc),
    "damped": Exercise(damped, _check_damped),
    "choose": Exercise(choose, _check_choose),
    "messages": Exercise(messages, _check_messages),
}
