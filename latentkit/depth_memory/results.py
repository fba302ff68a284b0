"""The depth-memory map as it stands: what the cells' files say, and what is not in them yet."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from latentkit import paths

Status = Literal["ok", "unstable", "failed", "not applicable", "not run"]
APART = 0.25
"""Seeds whose scores differ by more than this are called unstable: some have learned the task, others have not."""


@dataclass(frozen=True)
class Cell:
    """One architecture on one task.

    Attributes:
        row, column: their ids.
        status: "ok"; "unstable" where the seeds are `APART`; "failed" where the training of a seed broke down; "not
            applicable"; "not run".
        reason: in words, where it is not "ok".
        scores: share right at the column's difficulty, one a seed.
        chance: the score of whoever always gives the most frequent answer, or guesses better without the work.
        curves: for each seed the score on some held-out examples, as (step, score).
        parameters, flops, steps, batch: of one training.
        cpu_seconds: of one training on one thread with its curve, mean over seeds.
        setup: model, task, budget and supervision in full.
    """

    row: str
    column: str
    status: Status = "not run"
    reason: str = ""
    scores: tuple[float, ...] = ()
    chance: float = 0.0
    curves: tuple[tuple[tuple[int, float], ...], ...] = ()
    parameters: int = 0
    flops: float = 0.0
    steps: int = 0
    batch: int = 0
    cpu_seconds: float = 0.0
    setup: dict[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> float | None:
        """Over seeds; None where there is no score."""
        return sum(self.scores) / len(self.scores) if self.scores else None

    @property
    def low(self) -> float | None:
        """The worst seed's."""
        return min(self.scores, default=None)

    @property
    def high(self) -> float | None:
        """The best seed's."""
        return max(self.scores, default=None)

    def over_chance(self, score: float | None) -> float | None:
        """The share of the way from chance to all right: (score - chance) / (1 - chance); negative below chance."""
        return None if score is None else (score - self.chance) / (1 - self.chance)

    @property
    def above(self) -> float | None:
        """The mean, over chance: what the heat map draws."""
        return self.over_chance(self.mean)

    @property
    def curve(self) -> list[tuple[int, float]]:
        """The mean of the curves, at the steps that all of them have."""
        by_step = [dict(curve) for curve in self.curves]
        steps = sorted(set.intersection(*map(set, by_step))) if by_step else []
        return [(step, sum(curve[step] for curve in by_step) / len(by_step)) for step in steps]

    @property
    def text(self) -> str:
        """In a sentence or two, for readers who do not see the picture."""
        if self.mean is None:
            return f"{self.status}{': ' if self.reason else ''}{self.reason}."
        seeds = len(self.scores)
        spread = f", {self.low:.2f} to {self.high:.2f} over {seeds} seeds" if seeds > 1 else ", one seed"
        above = f"{round(100 * (self.above or 0))}% of the way from chance ({self.chance:.2f}) to all right"
        mark = "" if self.status == "ok" else f" {self.status.capitalize()}: {self.reason}."
        return f"{self.mean:.2f} right{spread}; {above}.{mark}"


@dataclass(frozen=True)
class Line:
    """A row or a column of the map.

    Attributes:
        id, title: its name in files, and in figures.
        kind: of a row the axis of its recurrence, "depth" or "time"; of a column what it loads, "depth" or "memory".
        text: of a column, what is scored.
    """

    id: str
    title: str
    kind: str
    text: str = ""

    @property
    def axis(self) -> str:
        """`kind`, as a row calls it."""
        return self.kind

    @property
    def loads(self) -> str:
        """`kind`, as a column calls it."""
        return self.kind

    @property
    def difficulty(self) -> str:
        """`text`, as a column calls it."""
        return self.text


@dataclass(frozen=True)
class DepthMemoryMap:
    """Every cell of the map, in the order of its rows and columns."""

    rows: tuple[Line, ...]
    columns: tuple[Line, ...]
    cells: tuple[Cell, ...]

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], Cell]:
        return {(cell.row, cell.column): cell for cell in self.cells}

    def cell(self, row: str, column: str) -> Cell:
        """One cell, by the ids of its row and column.

        Raises:
            KeyError: no such row or column; names those there are.
        """
        if (row, column) not in self._by_name:
            lists = " x ".join(", ".join(line.id for line in lines) for lines in (self.rows, self.columns))
            raise KeyError(f"the map has no cell {row!r} x {column!r}; it has {lists}")
        return self._by_name[row, column]

    def counts(self) -> dict[str, int]:
        """Cells by status."""
        return dict(Counter(cell.status for cell in self.cells))

    def best(self, column: str) -> list[str]:
        """The rows with a score in that column, best mean first.

        Raises:
            KeyError: no such column.
        """
        cells = [self.cell(row.id, column) for row in self.rows]
        return [cell.row for cell in sorted(cells, key=lambda cell: -(cell.mean or 0)) if cell.mean is not None]


def path_of(folder: Path, row: str, column: str) -> Path:
    """The file of a cell."""
    return folder / f"{row}-{column}.json"


def parse(data: dict[str, Any], guess: float = 0.0) -> Cell:
    """A cell from its file's json; chance is not below the column's `guess`."""
    seeds = list(data["seeds"].values())
    if data["status"] == "not applicable" or not seeds:
        status: Status = "not applicable" if data["status"] == "not applicable" else "not run"
        return Cell(data["row"], data["column"], status, data["reason"])
    scores = tuple(seed["score"] for seed in seeds if seed["score"] is not None)
    status, reason = "ok", ""
    if broken := [f"seed {name}: {seed['reason']}" for name, seed in data["seeds"].items() if seed["status"] != "ok"]:
        status, reason = "failed", "; ".join(broken)
    elif (max(scores) - min(scores)) / (1 - max(guess, data["chance"])) > APART:
        status, reason = "unstable", f"seeds differ by {max(scores) - min(scores):.2f}"
    spent = [seed["cpu_seconds"] for seed in seeds if seed["cpu_seconds"] is not None]
    return Cell(
        row=data["row"],
        column=data["column"],
        status=status,
        reason=reason,
        scores=scores,
        chance=max(guess, data["chance"]),
        curves=tuple(tuple((step, value) for step, value in seed["curve"]) for seed in seeds),
        parameters=data["parameters"],
        flops=data["flops"],
        steps=data["steps"],
        batch=data["batch"],
        cpu_seconds=round(sum(spent) / len(spent), 1) if spent else 0.0,
        setup=data["setup"],
    )


def load(rows: Sequence[Any], columns: Sequence[Any], folder: Path | None = None) -> DepthMemoryMap:
    """The map of these rows and columns from the files of `folder`; default: the reader's own, then those shipped.

    Raises:
        ValueError: a file that is no cell of the map; says which.
    """
    folders = [folder] if folder else [paths.writable_dir() / "map", paths.shipped_dir() / "map"]
    cells = []
    for row in rows:
        for column in columns:
            found = next((p for f in folders if (p := path_of(f, row.id, column.id)).is_file()), None)
            if found:
                try:
                    cells.append(parse(json.loads(found.read_text(encoding="utf-8")), column.guess))
                except (ValueError, KeyError, TypeError) as error:
                    raise ValueError(f"{found} is no cell of the map ({error!r}); `latentkit map` writes it") from None
            elif reason := row.refuses(column):
                cells.append(Cell(row.id, column.id, "not applicable", reason))
            else:
                cells.append(Cell(row.id, column.id))
    return DepthMemoryMap(
        tuple(Line(row.id, row.title, row.axis) for row in rows),
        tuple(Line(column.id, column.title, column.loads, column.difficulty) for column in columns),
        tuple(cells),
    )
