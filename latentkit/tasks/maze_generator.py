"""Random mazes, their symmetry classes, and the set that the project ships.

Cells lie at even rows and columns; the character between two neighbouring cells is a wall or an opening. A depth-first
walk from a random cell opens a spanning tree: a perfect maze with long, winding corridors. Opening further walls makes
loops. An odd `side` needs no outer wall; with an even one the last row and column stay wall.
"""

import csv
import io
import random
from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

from latentkit.tasks.maze import FREE, GOAL, PATH, START, SYMBOLS, WALL, solve, symmetries


def generate_mazes(
    count: int, side: int = 7, *, seed: int = 0, loops: float = 0.0, min_path: int = 0
) -> Int[Tensor, "b n"]:
    """`count` random mazes of side x side characters with start and goal in different cells.

    `generate_mazes(1000, 30, min_path=111)` has the format of Maze-Hard (Wang et al. 2025: path over 110).

    Args:
        loops: share of the walls between neighbouring cells that are opened after the spanning tree.
        min_path: fewest characters on the shortest path, start and goal included; shorter ones are thrown away.

    Raises:
        ValueError: a bad argument, or a `min_path` that no maze in a thousand reaches.
    """
    most = ((side + 1) // 2) ** 2 * 2 - 1
    if count < 1 or side < 3 or not 0 <= loops <= 1 or min_path > most:
        raise ValueError(
            f"count={count}, side={side}, loops={loops}, min_path={min_path}; count must be at least 1, side at least "
            f"3, loops 0..1, and a path through {side} x {side} characters has at most {most}"
        )
    mazes = _random_mazes(side, random.Random(seed), loops)
    kept: list[Tensor] = []
    drawn = found = 0
    while found < count:
        tokens = torch.tensor([next(mazes) for _ in range(max(16, count - found, drawn))])
        long_enough = solve(tokens).targets.sum(1) >= min_path
        kept.append(tokens[long_enough])
        drawn, found = drawn + len(tokens), found + int(long_enough.sum())
        if drawn >= 1000 and found * 1000 < drawn:
            raise ValueError(f"min_path={min_path}: {found} of {drawn} mazes with side={side}, loops={loops} reach it")
    return torch.cat(kept)[:count]


def _random_mazes(side: int, rng: random.Random, loops: float) -> Iterator[list[int]]:
    def below(n: int) -> int:
        return int(rng.random() * n)  # the one method whose numbers Python promises never to change

    cells = (side + 1) // 2
    while True:
        grid = [WALL] * (side * side)
        stack = [(below(cells), below(cells))]
        grid[2 * stack[0][0] * side + 2 * stack[0][1]] = FREE
        while stack:
            row, column = stack[-1]
            ways = [
                (r, c)
                for r, c in ((row - 1, column), (row, column - 1), (row, column + 1), (row + 1, column))
                if 0 <= r < cells and 0 <= c < cells and grid[2 * r * side + 2 * c] == WALL
            ]
            if not ways:
                stack.pop()
                continue
            r, c = ways[below(len(ways))]
            grid[(row + r) * side + column + c] = grid[2 * r * side + 2 * c] = FREE
            stack.append((r, c))
        if loops:
            for row in range(2 * cells - 1):
                for column in range(1 - row % 2, 2 * cells - 1, 2):  # between two cells: one index even, one odd
                    if grid[row * side + column] == WALL and rng.random() < loops:
                        grid[row * side + column] = FREE
        start = below(cells * cells)
        goal = (start + 1 + below(cells * cells - 1)) % (cells * cells)
        for cell, mark in ((start, START), (goal, GOAL)):
            grid[2 * (cell // cells) * side + 2 * (cell % cells)] = mark
        yield grid


def symmetry_classes(tokens: Int[Tensor, "b n"]) -> list[bytes]:
    """For each maze, the smallest of its 16 equivalents: turned, mirrored, start and goal exchanged."""
    images = tokens.long()[:, symmetries(round(tokens.shape[1] ** 0.5))]
    exchange = torch.tensor([WALL, FREE, GOAL, START])
    images = torch.cat([images, exchange[images]], 1).to(torch.uint8)
    return [min(bytes(image) for image in maze) for maze in images.numpy()]


def maze_csv(train: int, test: int, side: int, seed: int) -> str:
    """The text of perfect mazes, no two of one symmetry class; the first `train` of them are for training."""
    rows: dict[bytes, Tensor] = {}
    for tokens in generate_mazes((train + test) * 11 // 10, side, seed=seed).split(1000):
        for key, maze in zip(symmetry_classes(tokens), tokens, strict=True):
            rows.setdefault(key, maze)
    if len(rows) < train + test:
        raise ValueError(f"{len(rows)} symmetry classes with side={side}; {train} + {test} were asked for")
    tokens = torch.stack(list(rows.values()))[: train + test]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("split", "source", "puzzle", "solution"))
    for i, (maze, path) in enumerate(zip(tokens.tolist(), solve(tokens).targets.tolist(), strict=True)):
        puzzle = "".join(SYMBOLS[token] for token in maze)
        solution = "".join(PATH if on and s == " " else s for s, on in zip(puzzle, path, strict=True))
        writer.writerow(("train" if i < train else "test", "perfect", puzzle, solution))
    return text.getvalue()
