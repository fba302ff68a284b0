"""`latentkit puzzles`: how each shipped file of puzzles was made, so that anybody can make it again."""

import argparse
import csv
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latentkit import paths
from latentkit.tasks import sudoku_generator
from latentkit.tasks.maze_generator import maze_csv
from latentkit.tasks.puzzles import csv_text


class Recipe(NamedTuple):
    """What makes the text of a file from a seed, and the seed of the file that is shipped."""

    make: Callable[[int], str]
    seed: int
    what: str


def _sudokus(make: Callable[[np.random.Generator], list[dict[str, object]]]) -> Callable[[int], str]:
    return lambda seed: csv_text(make(np.random.default_rng(seed)))


RECIPES: dict[str, Recipe] = {
    "maze-7x7": Recipe(lambda seed: maze_csv(4000, 1000, 7, seed), 0, "perfect mazes; a second"),
    "sudoku-4x4": Recipe(_sudokus(sudoku_generator.make_4x4), 0, "minimal clues; a second"),
    "sudoku-6x6": Recipe(_sudokus(sudoku_generator.make_6x6), 0, "minimal clues; seconds"),
    "sudoku-9x9-easy": Recipe(_sudokus(sudoku_generator.make_9x9_easy), 0, "38 clues, for singles; seconds"),
    "sudoku-9x9": Recipe(_sudokus(sudoku_generator.make_9x9), 9, "minimal clues, by bands; minutes"),
    "sudoku-9x9-extreme": Recipe(
        _sudokus(sudoku_generator.make_9x9_extreme), 16, "bred for the guesses that they cost, not shipped; minutes"
    ),
}


def add_parser(subparsers: Any, name: str) -> None:
    """Adds the command `name`."""
    parser = subparsers.add_parser(
        name,
        help="make a shipped file of puzzles again, byte for byte",
        description="Makes a file of puzzles; the same seed gives the same bytes. "
        + " ".join(f"{known}: {recipe.what}." for known, recipe in RECIPES.items()),
    )
    parser.add_argument("name", choices=tuple(RECIPES))
    parser.add_argument("--seed", type=int, help="another seed, for other puzzles; then --out is needed")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to (default: among the course's data)")
    parser.set_defaults(func=_puzzles)


def _puzzles(arguments: argparse.Namespace) -> int:
    recipe = RECIPES[arguments.name]
    seed = recipe.seed if arguments.seed is None else arguments.seed
    if seed < 0 or (seed != recipe.seed and arguments.out is None):
        raise ValueError(
            f"--seed {seed} without --out; a seed is at least 0, and the shipped file is made with seed {recipe.seed}"
        )
    path = arguments.out or paths.writable_dir() / "puzzles" / f"{arguments.name}.csv"
    started = time.process_time()
    text = recipe.make(seed)
    seconds = time.process_time() - started
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, newline="")
    path.with_suffix(".json").write_text(json.dumps(about(arguments.name, seed, text, seconds), indent=1) + "\n")
    print(f"{path}: {text.count(chr(10)) - 1} puzzles, {seconds:.1f} CPU seconds", file=sys.stderr)
    return 0


def about(name: str, seed: int, text: str, seconds: float) -> dict[str, object]:
    """What the file beside the csv says: how it was made, and what is in it."""
    rows = list(csv.DictReader(io.StringIO(text)))
    counts: dict[str, object] = dict(Counter(row["split"] for row in rows))
    if len({row.get("band") for row in rows}) > 1:
        counts["bands"] = {
            split: dict(Counter(row["band"] for row in rows if row["split"] == split)) for split in ("train", "test")
        }
    return {
        "command": f"latentkit puzzles {name}",
        "seed": seed,
        **counts,
        "columns": list(rows[0]),
        "cpu_seconds": round(seconds, 1),
    }
