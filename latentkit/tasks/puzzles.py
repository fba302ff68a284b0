"""Puzzle files: sets of puzzles as tensors, read from and written to csv, every malformed row named.

    split,source,puzzle,solution,n_clues,band,guesses,grid_class      what the project ships
    source,question,answer,rating                                     Sudoku-Extreme as published

Other columns are ignored. A puzzle is one string, row by row: `.` or 0 for a blank, then 1..9.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int8, Integer
from torch import Tensor

from latentkit.tasks import Batch
from latentkit.tasks.sudoku_solver import Board, breaks_rules, singles_depth

BOARDS = {16: Board(2, 2), 36: Board(2, 3), 81: Board(3, 3)}
"""The board that a puzzle of so many characters is read as, where none is given."""

COLUMNS = ("split", "source", "puzzle", "solution", "n_clues", "band", "guesses", "grid_class")
_CHUNK = 20_000


@dataclass(frozen=True, eq=False)
class PuzzleSet:
    """Puzzles and their solutions, one row each; small integers, so that millions fit into memory.

    Attributes:
        tokens: what the model reads; targets: the class that is right at each cell.
        band, source, split: as in the file; "" where it does not say.
        guesses: of the file's `guesses` or `rating` column; NaN where it has neither.
        measure: depth of every cell from tokens and targets, called once, when `depth` is first asked for.
        skipped: one line for every malformed row that was left out.
    """

    tokens: Int8[Tensor, "N n"]
    targets: Int8[Tensor, "N n"]
    band: np.ndarray
    source: np.ndarray
    split: np.ndarray
    guesses: Float[Tensor, " N"]
    measure: Callable[[Tensor, Tensor], Tensor]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def depth(self) -> Integer[Tensor, "N n"]:
        """Sequential steps that each cell needs; see the task."""
        return self.measure(self.tokens, self.targets)

    def __getitem__(self, index: Any) -> "PuzzleSet":
        """The rows that `index` (a slice, mask or list of numbers) picks."""
        index = np.arange(len(self))[index]
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        rows = {name: columns[name][index] for name in ("tokens", "targets", "band", "source", "split", "guesses")}
        chosen = PuzzleSet(**columns | rows)
        if "depth" in self.__dict__:
            chosen.__dict__["depth"] = self.depth[index]
        return chosen

    def select(
        self, split: str | None = None, band: str | None = None, source: str | None = None, limit: int | None = None
    ) -> "PuzzleSet":
        """The rows of a split, a band, a source; the first `limit` of them, in file order.

        Raises:
            ValueError: a value that does not occur; the message lists those that do.
        """
        keep = np.ones(len(self), bool)
        for name, wanted in (("split", split), ("band", band), ("source", source)):
            column = getattr(self, name)
            if wanted is not None:
                if not (column == wanted).any():
                    there = ", ".join(map(repr, np.unique(column).tolist()))
                    raise ValueError(f"no puzzle has {name} {wanted!r}; there are {there}")
                keep &= column == wanted
        return self[np.flatnonzero(keep)[:limit]]

    def batch(self) -> Batch:
        """All rows, as a batch."""
        return Batch(self.tokens.long(), self.targets.long(), self.depth.long())


def read_sudoku_csv(path: Path | str, board: Board | None = None, skip_malformed: bool = False) -> PuzzleSet:
    """Sudokus of a csv in either format above; tokens 0 (blank) to side, targets digit - 1.

    The board is `board`, or what the first puzzle's length says (`BOARDS`). Whether a solution is the only one is not
    checked here: that takes a search (`sudoku_solver.solve`).

    Raises:
        FileNotFoundError: no such file.
        ValueError: no puzzle, or columns of no known format; malformed rows (wrong length, unknown symbol, a solution
            that breaks the rules or differs from a given), the first of them named by line and the others counted.
            With `skip_malformed` they are left out, and `PuzzleSet.skipped` says why.
    """
    path = Path(path)
    malformed: list[str] = []
    parts: list[dict[str, np.ndarray]] = []
    for header, lines, rows in _chunks(path):
        columns = _columns(path, header)
        if board is None:
            board = _board(path, lines, rows, columns["puzzle"])
        part, reasons = _parse(rows, len(header), columns, board)
        malformed += [f"{path}, line {line}: {why}" for line, why in zip(lines, reasons, strict=True) if why]
        keep = [not why for why in reasons]
        parts.append({name: column[keep] for name, column in part.items()})
    if malformed and not skip_malformed:
        more = f" (and {len(malformed) - 1} more malformed rows)" if len(malformed) > 1 else ""
        raise ValueError(malformed[0] + more)
    if board is None or not any(len(part["puzzle"]) for part in parts):
        raise ValueError(f"{path}: no puzzle in it" + (f"; {malformed[0]}" if malformed else ""))
    column = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    known_board = board  # for mypy: a closure sees the variable, not that it is set by now
    return PuzzleSet(
        tokens=torch.from_numpy(column["puzzle"].astype(np.int8)),
        targets=torch.from_numpy(column["solution"].astype(np.int8) - np.int8(1)),
        band=column["band"],
        source=column["source"],
        split=column["split"],
        guesses=torch.from_numpy(column["guesses"].astype(np.float32)),
        measure=lambda tokens, targets: torch.from_numpy(singles_depth(tokens.numpy(), known_board)),
        skipped=tuple(malformed),
    )


def _chunks(path: Path) -> Iterator[tuple[list[str], list[int], list[list[str]]]]:
    """Header, line numbers and rows, some thousands at a time; empty lines are passed over."""
    # A byte-order mark is dropped; a byte that is no text becomes a symbol that the parser will name.
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        numbered = ((reader.line_num, row) for row in reader if row)
        while chunk := list(islice(numbered, _CHUNK)):
            yield header, [line for line, _ in chunk], [row for _, row in chunk]


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    """Where each column stands; those that the file lacks are missing here as well."""
    at = {name: i for i, name in enumerate(header)}
    if "guesses" not in at and "rating" in at:
        at["guesses"] = at["rating"]
    for puzzle, solution in (("puzzle", "solution"), ("question", "answer")):
        if puzzle in at and solution in at:
            return {"puzzle": at[puzzle], "solution": at[solution]} | {
                name: at[name] for name in ("band", "source", "split", "guesses") if name in at
            }
    raise ValueError(
        f"{path}: columns {', '.join(header)}; needs puzzle and solution, or question and answer as in Sudoku-Extreme"
    )


def _board(path: Path, lines: list[int], rows: list[list[str]], column: int) -> Board:
    lengths = [len(row[column]) if column < len(row) else 0 for row in rows]
    for length in lengths:
        if length in BOARDS:
            return BOARDS[length]
    raise ValueError(
        f"{path}, line {lines[0]}: a puzzle of {lengths[0]} cells; expected 16 (4x4), 36 (6x6) or 81 (9x9)"
    )


def _parse(
    rows: list[list[str]], width: int, columns: dict[str, int], board: Board
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The columns of all rows, and what is wrong with each row ("" where nothing is)."""
    reasons = ["" if len(row) == width else f"{len(row)} columns, the header has {width}" for row in rows]
    text = {
        name: [
            row[columns[name]] if name in columns and not why else "" for row, why in zip(rows, reasons, strict=True)
        ]
        for name in ("puzzle", "solution", "band", "source", "split", "guesses")
    }
    grids = {name: _digits(name, text[name], board, reasons) for name in ("puzzle", "solution")}
    differs = (grids["puzzle"] != 0) & (grids["puzzle"] != grids["solution"])
    for bad, reason in (
        ((grids["solution"] == 0).any(1), "solution has blanks"),
        (breaks_rules(grids["solution"], board).any(1), "solution has a digit twice in a row, column or box"),
        (differs.any(1), "solution differs from a given"),
    ):
        _note(reasons, np.asarray(bad), reason)
    numbers = np.full(len(rows), np.nan)
    for i, number in enumerate(text["guesses"]):
        try:
            numbers[i] = float(number or "nan")
        except ValueError:
            reasons[i] = reasons[i] or f"{number!r} guesses is not a number"
    words = {name: np.array(text[name], str) for name in ("band", "source", "split")}
    return {**grids, **words, "guesses": numbers}, reasons


def _digits(name: str, texts: list[str], board: Board, reasons: list[str]) -> np.ndarray:
    """The grids of all texts; blank where a text is not one, and why."""
    for i, text in enumerate(texts):
        if len(text) != board.cells:
            reasons[i] = reasons[i] or f"{name} has {len(text)} cells, expected {board.cells}"
    whole = [text if len(text) == board.cells else "." * board.cells for text in texts]
    codes = np.frombuffer("".join(whole).encode("utf-32-le"), np.uint32).reshape(-1, board.cells)
    grids = np.where(codes == ord("."), 0, codes - np.uint32(ord("0")))  # other symbols wrap around to large numbers
    unknown = grids > board.side
    for i in map(int, np.flatnonzero(unknown.any(1))):
        symbol = chr(codes[i, unknown[i]][0])
        reasons[i] = reasons[i] or f"{name} has the unknown symbol {symbol!r}; expected . or 0 to {board.side}"
    return np.where(unknown, 0, grids).astype(np.uint8)


def _note(reasons: list[str], bad: np.ndarray, reason: str) -> None:
    for i in np.flatnonzero(bad):
        reasons[i] = reasons[i] or reason


def csv_text(rows: Iterable[dict[str, object]]) -> str:
    """The text of a file with the project's own columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
