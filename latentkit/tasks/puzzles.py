"""Puzzle files: sets of puzzles as tensors, read from and written to csv, every malformed row named.

    split,source,puzzle,solution,n_clues,band,guesses,grid_class      what the project ships
    source,question,answer,rating                                     Sudoku-Extreme as published

Other columns are ignored. A puzzle is one string, row by row: `.` or 0 for a blank, then 1..9.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
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
    """Sudokus of a csv in any of the formats above; tokens 0 (blank) to side, targets digit - 1.

    The board follows from the first puzzle's length (16: 2x2 boxes, 36: 2x3, 81: 3x3) unless it is given.

    Raises:
        FileNotFoundError: no such file.
        ValueError: columns that none of the formats has; a malformed row (wrong length, unknown symbol, a solution that
            breaks the rules or does not extend the givens), named by file and line, unless they are to be skipped.
    """
    path = Path(path)
    malformed: list[str] = []
    chunks = []
    for names, lines, rows in _chunks(path):
        puzzle, solution = (("puzzle", "solution") if "puzzle" in names else ("question", "answer"))
        if not {puzzle, solution} <= set(names):
            raise ValueError(
                f"{path}: columns {', '.join(names)}; needs puzzle and solution, or question and answer (Sudoku-Extreme)"
            )
        at = {name: i for i, name in enumerate(names)}
        board = board or _board(path, lines[0], rows[0], at[puzzle])
        why = [""] * len(rows)
        grids = []
        for name in (puzzle, solution):
            texts = [row[at[name]] if len(row) == len(names) else "" for row in rows]
            grids.append(_digits(name, texts, board, why))
        _check(grids[0], grids[1], board, why)
        for i, row in enumerate(rows):
            if len(row) != len(names):
                why[i] = f"{len(row)} columns, the header has {len(names)}"
        malformed += [f"{path}, line {line}: {reason}" for line, reason in zip(lines, why, strict=True) if reason]
        good = [i for i, reason in enumerate(why) if not reason]
        text = {
            name: np.array([rows[i][at[name]] for i in good] if name in at else [""] * len(good))
            for name in ("band", "source", "split")
        }
        number = at.get("guesses", at.get("rating"))
        guesses = [float(rows[i][number] or "nan") if number is not None else np.nan for i in good]
        chunks.append((grids[0][good], grids[1][good], text, guesses))
    if malformed and not skip_malformed:
        more = f" (and {len(malformed) - 1} more malformed rows)" if len(malformed) > 1 else ""
        raise ValueError(malformed[0] + more)
    if not chunks or board is None:
        raise ValueError(f"{path}: no puzzle in it")
    known_board = board

    def measure(tokens: Tensor, targets: Tensor) -> Tensor:
        return torch.from_numpy(singles_depth(tokens.numpy(), known_board))

    return PuzzleSet(
        tokens=torch.from_numpy(np.concatenate([c[0] for c in chunks]).astype(np.int8)),
        targets=torch.from_numpy(np.concatenate([c[1] for c in chunks]).astype(np.int8) - np.int8(1)),
        band=np.concatenate([c[2]["band"] for c in chunks]),
        source=np.concatenate([c[2]["source"] for c in chunks]),
        split=np.concatenate([c[2]["split"] for c in chunks]),
        guesses=torch.tensor([g for c in chunks for g in c[3]]),
        measure=measure,
        skipped=tuple(malformed),
    )


def _chunks(path: Path) -> Iterator[tuple[list[str], list[int], list[list[str]]]]:
    """Header, line numbers and rows, some thousands at a time; empty lines are passed over."""
    with path.open(newline="") as file:
        reader = csv.reader(file)
        names = next(reader, [])
        lines: list[int] = []
        rows: list[list[str]] = []
        for row in reader:
            if row:
                lines.append(reader.line_num)
                rows.append(row)
            if len(rows) == _CHUNK:
                yield names, lines, rows
                lines, rows = [], []
        if rows:
            yield names, lines, rows


def _board(path: Path, line: int, row: list[str], column: int) -> Board:
    length = len(row[column]) if column < len(row) else 0
    if length not in BOARDS:
        raise ValueError(f"{path}, line {line}: a puzzle of {length} cells; expected 16 (4x4), 36 (6x6) or 81 (9x9)")
    return BOARDS[length]


def _digits(name: str, texts: list[str], board: Board, why: list[str]) -> np.ndarray:
    """The grids of all rows; zeros, and a reason in `why`, where a text is not one."""
    blank = "." * board.cells
    for i, text in enumerate(texts):
        if len(text) != board.cells:
            why[i] = why[i] or f"{name} has {len(text)} cells, expected {board.cells}"
            texts[i] = blank
        elif not text.isascii():
            symbol = next(s for s in text if not s.isascii())
            why[i] = why[i] or f"{name} has the unknown symbol {symbol!r}"
            texts[i] = blank
    codes = np.frombuffer("".join(texts).encode(), np.uint8).reshape(len(texts), board.cells)
    table = np.full(256, 255, np.uint8)
    table[[ord(".")]] = 0
    table[[ord(str(d)) for d in range(board.side + 1)]] = np.arange(board.side + 1)
    grids = table[codes]
    for i in np.flatnonzero((grids == 255).any(1)):
        symbol = chr(codes[i][grids[i] == 255][0])
        why[i] = why[i] or f"{name} has the unknown symbol {symbol!r}; expected . or 0 to {board.side}"
        grids[i] = 0
    return grids


def _check(puzzles: np.ndarray, solutions: np.ndarray, board: Board, why: list[str]) -> None:
    """Solutions must be full, obey the rules and extend the givens."""
    blank = (solutions == 0).any(1)
    broken = breaks_rules(solutions, board).any(1)
    differs = ((puzzles != 0) & (puzzles != solutions)).any(1)
    for bad, reason in (
        (blank, "solution has blanks"),
        (broken, "solution has a digit twice in a row, column or box"),
        (differs, "solution differs from a given"),
    ):
        for i in np.flatnonzero(bad):
            why[i] = why[i] or reason


def write_csv(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Writes rows with the columns of the project's own format, in one go."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue())
