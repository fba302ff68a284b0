"""`latentkit evaluate` and `latentkit solve`."""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor, nn

from latentkit.analysis import evaluate
from latentkit.layers import count_parameters
from latentkit.recurrence import DepthRecurrent, check_passes, unroll
from latentkit.tasks.maze import read_maze_csv
from latentkit.tasks.puzzles import BOARDS, PuzzleSet, read_sudoku_csv
from latentkit.tasks.sudoku_solver import Board, solve

SHIPPED = {"sudoku": "sudoku-graph", "maze": "maze"}
"""The model that a command takes if it is not told otherwise."""
SIGNALS = ("min_confidence", "residual", "halt_logit", "agreement")


def add_parser(subparsers: Any, name: str) -> None:
    """Adds the command `name`."""
    if name == "evaluate":
        parser = subparsers.add_parser(name, help="whole puzzles right, by difficulty band and source")
        parser.add_argument("task", choices=tuple(SHIPPED))
        parser.add_argument(
            "--data",
            required=True,
            metavar="FILE",
            help="csv with columns puzzle and solution, or question and answer as published; "
            "source, band and split are used where they are there",
        )
        parser.add_argument("--split", default="test", help="which split (default test); all for the whole file")
        parser.add_argument("--limit", type=int, metavar="N", help="only the first N puzzles of each band")
        parser.add_argument("--restarts", type=int, default=1, metavar="B", help="runs a puzzle (default 1)")
        parser.add_argument(
            "--guesses", type=int, default=0, metavar="G", help="digits that each restart supposes (default 0)"
        )
        parser.add_argument(
            "--select", choices=SIGNALS, default=SIGNALS[0], help=f"what picks one of several runs ({SIGNALS[0]})"
        )
        parser.add_argument("--json", action="store_true", help="print the bands as json and nothing else")
        parser.set_defaults(func=_evaluate)
    else:
        parser = subparsers.add_parser(
            name,
            help="a Sudoku, pass by pass",
            description="Solves a Sudoku with the shipped model, pass by pass. Exit code 0: solved; 1: the model's "
            "answer is wrong; 2: not a puzzle that can be solved.",
        )
        parser.add_argument("puzzle", help="16, 36 or 81 characters, row by row: 0 or . for a blank, else a digit")
        parser.set_defaults(func=_solve)
    parser.add_argument("--model", metavar="NAME|FILE", help="a shipped model, or weights (.safetensors)")
    parser.add_argument("--passes", type=int, metavar="N", help="default: 256 for SudokuGraph, 16 for other models")
    parser.add_argument("--seed", type=int, default=0, help="of the random starts (default 0)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")


def _evaluate(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    mazes = arguments.task == "maze"
    model, name, passes = _model(arguments, arguments.task)
    puzzles = _read(Path(arguments.data), mazes)
    for line in puzzles.skipped[:5]:
        print(f"left out: {line}", file=sys.stderr)
    if len(puzzles.skipped) > 5:
        print(f"left out: {len(puzzles.skipped) - 5} more malformed rows", file=sys.stderr)
    split = arguments.split if arguments.split != "all" and (puzzles.split != "").any() else None
    puzzles = puzzles.select(split=split)
    cells = puzzles.tokens.shape[1]
    classes = 2 if mazes else BOARDS[cells].side
    evaluate.check_fit(
        model, puzzles.tokens[:1].long(), classes, arguments.restarts, arguments.select, arguments.guesses
    )
    puzzles, said_by = evaluate.with_bands(puzzles, mazes, arguments.limit)
    if arguments.limit is not None:
        puzzles = evaluate.first_of_each_band(puzzles, arguments.limit)
    layout = "{l_bar}{bar}| {n:.0f}/{total_fmt} puzzles [{elapsed}<{remaining}]"
    with tqdm(total=len(puzzles), file=sys.stderr, bar_format=layout) as bar:
        answers = evaluate.answer_all(
            model,
            puzzles,
            passes=passes,
            runs=arguments.restarts,
            guesses=arguments.guesses,
            signal=arguments.select,
            seed=arguments.seed,
            mazes=mazes,
            progress=bar.update,
        )
    bands = evaluate.by_band(puzzles, answers, mazes)
    if arguments.json:
        print(json.dumps({"bands": bands}))
        return 0
    runs = "one run each" if arguments.restarts == 1 else f"best of {arguments.restarts} runs by {arguments.select}"
    runs += f", each but the first supposing {arguments.guesses} digits" if arguments.guesses else ""
    print(f"{name}, {count_parameters(cast(nn.Module, model)):,} parameters, {passes} passes, {runs}")
    print(f"{arguments.data}, {f'split {split}' if split else 'all rows'}; bands by {said_by}\n")
    print(f"{'':32} {'n':>6} {'exact':>7}   95% interval{'   valid and shortest' if mazes else ''}")
    for band, row in bands.items():
        print(_row(band, row))
        if len(row["sources"]) > 1 or "" not in row["sources"]:
            for source, part in row["sources"].items():
                print(_row(f"  {source or '(no source)'}", part))
    if len(bands) > 1:
        print(_row("all", evaluate.tally(answers, mazes)))
    return 0


def _read(path: Path, mazes: bool) -> PuzzleSet:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        return (read_maze_csv if mazes else read_sudoku_csv)(path, skip_malformed=True)
    except (OSError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def _row(label: str, row: dict[str, Any]) -> str:
    low, high = row["ci95"]
    valid = f"    {row['valid']:7.1%}" if "valid" in row else ""
    return f"{label:32.32} {row['n']:6} {row['exact']:7.1%}   {low:6.1%} to {high:6.1%}{valid}"


def _model(arguments: argparse.Namespace, task: str) -> tuple[DepthRecurrent, str, int]:
    """The model, its name and its number of passes."""
    if arguments.threads < 1:
        raise ValueError(f"threads={arguments.threads}; at least 1 is needed")
    torch.set_num_threads(arguments.threads)
    name = arguments.model or SHIPPED[task]
    model = evaluate.load_model(name)
    passes = evaluate.default_passes(model) if arguments.passes is None else arguments.passes
    check_passes(passes)
    return cast(DepthRecurrent, model), Path(name).stem, passes


def _solve(arguments: argparse.Namespace) -> int:
    tokens, board = parse(arguments.puzzle)
    model, name, passes = _model(arguments, "sudoku")
    evaluate.check_fit(model, tokens, board.side)
    print(f"{name}: {passes} passes; a line for every pass that changed the answer\n")
    print(f"    puzzle  {_text(tokens[0])}")
    torch.manual_seed(arguments.seed)
    state, answer, changed_at = None, tokens[0], 0
    for t in range(1, passes + 1):
        run = unroll(model, tokens, 1, keep="last", state=state)
        state, before, answer = run.states[-1], answer, run.predictions[-1, 0] + 1
        if changed := int((answer != before).sum()):
            changed_at = t
            print(f"pass {t:5}  {_text(answer)}  {changed} changed", flush=True)
    print(f"\n{_grid(answer, board)}\n")
    wrong = faults(tokens[0], answer, board)
    print("wrong: " + "; ".join(wrong) if wrong else "right: every row, column and box holds each digit once")
    confidence, cell = run.logits[-1, 0].softmax(-1).amax(-1).min(0)
    settled = changed_at <= passes - max(1, passes // 8)
    print(
        f"{'settled' if settled else 'unsettled'}: the answer last changed at pass {changed_at} of {passes}, the state "
        f"moved by {float(run.residuals[-1].mean()):.1%} in the last; lowest confidence {float(confidence):.3f} "
        f"({_place(int(cell), board)})"
    )
    return 1 if wrong else 0


def parse(text: str) -> tuple[Int[Tensor, "1 n"], Board]:
    """The tokens and the board of a puzzle with exactly one solution.

    Raises:
        ValueError: another length, an unknown symbol, clashing givens, no solution or several.
    """
    text = "".join(text.split())
    if len(text) not in BOARDS:
        raise ValueError(f"a puzzle of {len(text)} characters; expected 16 (4x4), 36 (6x6) or 81 (9x9)")
    board = BOARDS[len(text)]
    symbols = "." + "".join(map(str, range(1, board.side + 1)))
    digits = [symbols.find("." if symbol == "0" else symbol) for symbol in text]
    if -1 in digits:
        at = digits.index(-1)
        raise ValueError(f"unknown symbol {text[at]!r} at {_place(at, board)}; expected 1 to {board.side}, 0 or .")
    tokens = torch.tensor([digits])
    if clashes := _clashes(tokens[0], board):
        raise ValueError(f"clashing givens: {clashes[0]}")
    solutions = int(solve(tokens.numpy(), board, limit=2).solutions[0])
    if solutions != 1:
        raise ValueError(
            f"the puzzle has {'more than one solution' if solutions else 'no solution'}; it needs exactly one"
        )
    return tokens, board


def faults(tokens: Int[Tensor, " n"], digits: Int[Tensor, " n"], board: Board) -> list[str]:
    """What is wrong with a filled grid by the rules, in words; empty for a solution."""
    changed = int(((tokens > 0) & (tokens != digits)).sum())
    clashes = _clashes(digits, board)
    more = [f"{len(clashes) - 3} more such clashes"] if len(clashes) > 3 else []
    return ([f"{changed} of the givens changed"] if changed else []) + clashes[:3] + more


def _clashes(digits: Int[Tensor, " n"], board: Board) -> list[str]:
    """Which digits stand twice in a unit."""
    said = []
    for unit in range(3 * board.side):
        kind, number = ("row", "column", "box")[unit // board.side], unit % board.side + 1
        here = digits[torch.from_numpy((board.units == unit).any(0))]
        for digit in range(1, board.side + 1):
            if int((here == digit).sum()) > 1:
                said.append(f"{digit} twice in {kind} {number}")
    return said


def _place(cell: int, board: Board) -> str:
    return f"row {cell // board.side + 1}, column {cell % board.side + 1}"


def _text(digits: Int[Tensor, " n"]) -> str:
    return "".join("." if digit == 0 else str(digit) for digit in digits.tolist())


def _grid(digits: Int[Tensor, " n"], board: Board) -> str:
    """The grid with its boxes."""
    width = board.box_cols
    lines = []
    for number, row in enumerate(digits.view(board.side, board.side).tolist()):
        if number and number % board.box_rows == 0:
            lines.append("-+-".join("-" * (2 * width - 1) for _ in range(board.side // width)))
        boxes = [row[i : i + width] for i in range(0, board.side, width)]
        lines.append(" | ".join(" ".join(map(str, box)) for box in boxes))
    return "\n".join("    " + line for line in lines)
