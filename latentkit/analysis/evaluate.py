"""How many whole puzzles a model gets right, by difficulty band and source, with confidence intervals."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from latentkit import paths
from latentkit.analysis.guessing import guessing_restarts
from latentkit.analysis.reliability import check_restarts, restarts, select
from latentkit.models import SudokuGraph
from latentkit.recurrence import DepthRecurrent
from latentkit.tasks.maze import valid_shortest
from latentkit.tasks.puzzles import BOARDS, PuzzleSet
from latentkit.tasks.sudoku_generator import bands_of
from latentkit.tasks.sudoku_solver import solve
from latentkit.training.checkpoint import load_weights

BANDS = ("singles", "short", "easy", "medium", "long", "hard", "extreme")
"""The order in which bands are shown; any other name comes after these."""
_BLOCK = 256  # puzzles whose restarts are held at a time


def wilson(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95% interval for a share of `right` in `n`; unlike p +- z s it is of use near 0 and 1.

    Raises:
        ValueError: not 0 <= right <= n with n at least 1.
    """
    if not 0 <= right <= n or n < 1:
        raise ValueError(f"right={right}, n={n}; needs 0 <= right <= n and n >= 1")
    share, weight = right / n, z * z / n
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * (share * (1 - share) / n + weight / (4 * n)) ** 0.5
    # At the ends half equals the centre's distance to them, up to rounding.
    return max(0.0, centre - half) if right else 0.0, min(1.0, centre + half) if right < n else 1.0


@dataclass(frozen=True)
class Answers:
    """What a model answered to each of N puzzles.

    Attributes:
        exact: every cell as in the file.
        valid: for mazes, a shortest path, the file's or another; as `exact` for Sudokus, which have one solution.
    """

    exact: Bool[Tensor, " N"]
    valid: Bool[Tensor, " N"]

    def __getitem__(self, mask: np.ndarray) -> "Answers":
        """The answers to the puzzles that the mask picks."""
        rows = torch.from_numpy(np.flatnonzero(mask))
        return Answers(self.exact[rows], self.valid[rows])


@torch.no_grad()
def answer_all(
    model: DepthRecurrent,
    puzzles: PuzzleSet,
    *,
    passes: int,
    runs: int = 1,
    guesses: int = 0,
    signal: str = "min_confidence",
    seed: int = 0,
    mazes: bool = False,
    progress: Callable[[float], object] | None = None,
) -> Answers:
    """Runs the model on all puzzles; memory depends neither on passes nor on the number of puzzles.

    Args:
        passes, runs: depth and breadth; of several runs of a puzzle, `signal` picks the answer (`reliability.select`).
        guesses: cells that each run but the first supposes (`guessing`); 0 for runs that differ in their start only.
        progress: called with the number of puzzles, or the part of one, that was done since the last call.
    """
    exact, valid = [], []
    done = (lambda work: progress(work / (passes * runs))) if progress else None
    for block, start in enumerate(range(0, len(puzzles), _BLOCK)):
        part = puzzles[start : start + _BLOCK]
        tokens = part.tokens.long()
        if guesses:
            found = guessing_restarts(
                cast(SudokuGraph, model), tokens, passes, runs, guesses=guesses, seed=seed + 7919 * block
            )
            if progress:
                progress(len(part))
        else:
            found = restarts(model, tokens, passes, runs, seed=seed + 7919 * block, progress=done)
        answer = select(found, signal) if runs > 1 else found.predictions[0]
        exact.append((answer == part.targets).all(-1))
        valid.append(valid_shortest(tokens, answer) if mazes else exact[-1])
    return Answers(torch.cat(exact), torch.cat(valid))


def tally(answers: Answers, mazes: bool = False) -> dict[str, Any]:
    """{"n", "exact", "ci95"} of these answers, and for mazes "valid", the share that is a shortest path; all 0 to 1."""
    n, k = len(answers.exact), int(answers.exact.sum())
    row = {"n": n, "exact": round(k / n, 4), "ci95": [round(end, 4) for end in wilson(k, n)]}
    return row | {"valid": round(int(answers.valid.sum()) / n, 4)} if mazes else row


def by_band(puzzles: PuzzleSet, answers: Answers, mazes: bool = False) -> dict[str, dict[str, Any]]:
    """For each band the tally of its puzzles, and under "sources" that of each source in it."""
    table: dict[str, dict[str, Any]] = {}
    for band in in_order(puzzles.band):
        here = puzzles.band == band
        sources = np.unique(puzzles.source[here]).tolist()
        table[band] = tally(answers[here], mazes)
        table[band]["sources"] = {name: tally(answers[here & (puzzles.source == name)], mazes) for name in sources}
    return table


def in_order(bands: Iterable[str]) -> list[str]:
    """The bands that occur, from easy to hard as far as we know their names."""
    return sorted(set(map(str, bands)), key=lambda band: (BANDS.index(band) if band in BANDS else len(BANDS), band))


def with_bands(puzzles: PuzzleSet, mazes: bool = False, enough: int | None = None) -> tuple[PuzzleSet, str]:
    """The puzzles with a band each, and where the bands come from: the file's column if it says one for every puzzle.

    Else mazes are sorted by the cells on their path ("short": at most the side, "medium": at most twice the side,
    "long"), Sudokus by the guesses of our own solver, as our own puzzles are (`sudoku_generator.BAND_FROM`).
    With `enough` guesses are counted only until each band has so many puzzles; the rest is left out.
    """
    if (puzzles.band != "").all():
        return puzzles, "the file's band column"
    if mazes:
        side = round(puzzles.tokens.shape[1] ** 0.5)
        cells = puzzles.targets.sum(1).numpy()
        band = np.array(["short", "medium", "long"])[np.searchsorted([side, 2 * side], cells)]
        return replace(puzzles, band=band), "cells on the path"
    board, bands = BOARDS[puzzles.tokens.shape[1]], np.array([], str)
    while len(bands) < len(puzzles):
        part = puzzles.tokens[len(bands) : len(bands) + 4 * _BLOCK].numpy()
        guesses = solve(part, board, limit=1).guesses
        bands = np.concatenate([bands, bands_of(guesses)])
        if enough and len(counts := np.unique(bands, return_counts=True)[1]) == 4 and counts.min() >= enough:
            break
    return replace(puzzles[: len(bands)], band=bands), "guesses of our own solver"


def first_of_each_band(puzzles: PuzzleSet, limit: int) -> PuzzleSet:
    """The first `limit` puzzles of every band, in file order.

    Raises:
        ValueError: limit below 1.
    """
    if limit < 1:
        raise ValueError(f"limit={limit}; at least 1 puzzle a band is needed")
    rows = [np.flatnonzero(puzzles.band == band)[:limit] for band in np.unique(puzzles.band)]
    return puzzles[np.sort(np.concatenate(rows))]


def load_model(name: str) -> nn.Module:
    """A shipped model by its name ("sudoku-graph"), or the weights in a .safetensors file.

    Raises:
        ValueError: a model without passes, or no model of that name (those there are are listed).
        CheckpointError: a file that cannot be loaded.
    """
    path = Path(name)
    if path.suffix != ".safetensors":
        try:
            path = paths.find(f"checkpoints/{name}.safetensors")
        except FileNotFoundError:
            there = sorted({p.stem for p in (paths.shipped_dir() / "checkpoints").glob("*.safetensors")})
            raise ValueError(f"no model {name!r}; give a .safetensors file or one of {', '.join(there)}") from None
    model = load_weights(path)
    if not isinstance(model, DepthRecurrent):
        raise ValueError(f"{name} is a {type(model).__name__}, which has no passes; a recurrent model is needed")
    return model


def check_fit(
    model: DepthRecurrent,
    tokens: Int[Tensor, "1 n"],
    classes: int,
    runs: int = 1,
    signal: str = "min_confidence",
    guesses: int = 0,
) -> None:
    """Refuses a model of another board or task, and runs or a signal that it does not have, before anything is run.

    Raises:
        ValueError: what does not fit.
    """
    kind = type(model).__name__
    try:
        logits = model.decode(model.initial_state(model.encode(tokens)))
    except (ValueError, RuntimeError, IndexError) as error:  # each model says it in its own way
        raise ValueError(f"this {kind} does not fit puzzles of {tokens.shape[1]} cells: {error}") from None
    if logits.shape[1] != tokens.shape[1] or logits.shape[2] < classes:
        raise ValueError(f"this {kind} answers with {logits.shape[2]} classes, the puzzles need {classes}")
    check_restarts(model, tokens, runs)
    if guesses and not (isinstance(model, SudokuGraph) and signal == "min_confidence" and guesses > 0):
        raise ValueError(
            f"guesses={guesses} with a {kind}, selected by {signal}: only SudokuGraph can suppose digits, and "
            "its runs are then told apart by min_confidence"
        )
    if runs > 1 and signal == "halt_logit" and not hasattr(model, "halt_logit"):
        raise ValueError(f"this {kind} has no halt_logit to select by; choose min_confidence, residual or agreement")


def default_passes(model: nn.Module) -> int:
    """Enough passes for what a model's pass is: one small step of SudokuGraph, or a whole segment of the others."""
    return 256 if isinstance(model, SudokuGraph) else 16
