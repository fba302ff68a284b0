"""Trainings by name, for `latentkit train`: each at the labs' size, and `-paper` at the size of its paper.

The small ones are arms of the claims, so that there is one recipe and not two. The large ones follow the papers and,
where these are silent, their public code (`latentkit.models` says where the two differ). What is ours in all of them:

    data       every draw of a puzzle gets a fresh symmetry, instead of one of 1,000 that are drawn beforehand
    positions  none in front of the puzzle but HRM's register
    words      no paper trains a loop on group words: width and heads of Yang et al. 2024, passes as many as letters and
               the loss on the last as in Fan et al. 2025; batch, rate and steps are ours
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from latentkit.claims.drivers import EQR6, STEPS_OF
from latentkit.claims.experiment import Arm
from latentkit.claims.looping import loop_arm
from latentkit.claims.puzzles import HRM6, MAZE, SEGMENTS, STEPS, TRM6, TRM_MAZE, puzzle_arm
from latentkit.layers import BlockConfig, MixingConfig
from latentkit.models import EqRConfig, HRMConfig, LoopedConfig, TRMConfig
from latentkit.tasks import Maze, PuzzleSet, Sudoku, WordProblem, read_sudoku_csv
from latentkit.tasks.maze import read_maze_csv
from latentkit.training import ACT, Curriculum, DeepSupervision, FinalLoss, FitConfig, PassesPerPosition, StableMax
from latentkit.training.supervision import Supervision


@dataclass(frozen=True)
class Preset:
    """One training.

    Attributes:
        config: of the model.
        supervision, fit: how it is trained.
        positions, batch: positions of the longest example, and examples a step.
        passes: passes (segments) at which the held-out examples are answered.
        evaluate_every: steps from one such evaluation to the next.
        curriculum: the batches, from the file that `--data` names.
        needs: that file in words; "" where the course has or makes its own data.
    """

    config: Any
    supervision: Supervision
    fit: FitConfig
    positions: int
    batch: int
    passes: int
    evaluate_every: int
    curriculum: Callable[[Path | None], Curriculum]
    needs: str = ""


def get(name: str) -> Preset:
    """The preset of this name.

    Raises:
        KeyError: unknown; lists those there are.
    """
    if name not in PRESETS:
        raise KeyError(f"no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()


def _small(arm: Arm, passes: int) -> Preset:
    """An arm of a claim, as it is."""
    return Preset(
        arm.config,
        arm.supervision,
        replace(arm.fit, checkpoint_every=100),
        getattr(arm.batches.task, "num_positions", arm.batches.high + 1),
        arm.batches.batch,
        passes,
        evaluate_every=100,
        curriculum=lambda _: arm.batches,
    )


# The papers' deep supervision. HRM's continue value costs 6 of its 16 runs of a module a step.
HRM_SUPERVISION = DeepSupervision(16, gradient_updates=2, halting=ACT(continue_value=True), loss=StableMax())
TRM_SUPERVISION = DeepSupervision(16, gradient_updates=7, loss=StableMax())
PAPER_FIT = FitConfig(
    steps=78_125,  # 60,000 epochs of 1,000 puzzles, in batches of 768
    learning_rate=1e-4,
    weight_decay=1.0,
    betas=(0.9, 0.95),
    warmup=2000,
    clip=float("inf"),
    ema=0.999,
    optimiser="adam-atan2",
    schedule="constant",
    precision="bf16",
    checkpoint_every=500,
)
HRM_FIT = replace(PAPER_FIT, steps=26_041, ema=None)  # 20,000 epochs
# Inner widths as the public code rounds them: 8/3 of the width up to 256s, for tokens 8/3 of TRM's 97 positions. Ours
# are 81, without its padding, so that this TRM is a little smaller than the public one; EqR's code has 81 as well.
TOKENS = MixingConfig(81, d_model=512, hidden=1536, token_hidden=512)
ATTENTION = MixingConfig(81, d_model=512, hidden=1536, mixer="attention", num_heads=8, rotary=True)
MAZE_ATTENTION = replace(ATTENTION, num_positions=900)
SUDOKU_IDS = (11, 11)  # as in HRM's data, where 0 is padding: tokens and classes alike, of which ours leave some unused
MAZE_IDS = (Maze.vocab_size, Maze.num_classes)


def _hrm(ids: tuple[int, int], block: MixingConfig) -> HRMConfig:
    return HRMConfig(*ids, block, num_layers=4, positions="none", register=True)


def _large(config: Any, supervision: Supervision, fit: FitConfig, read: Callable[[Path], Any], needs: str) -> Preset:
    """A training at a paper's size, on a file of its data."""
    n = config.block.num_positions

    def curriculum(data: Path | None) -> Curriculum:
        if data is None:
            raise ValueError(f"this preset trains on a file that you have to name: --data FILE, {needs}")
        return Curriculum(read(data), batch=768, low=n, high=n)

    return Preset(config, supervision, fit, n, 768, 16, 1000, curriculum, needs)


SUDOKU_EXTREME = "a csv of 9x9 Sudokus: Sudoku-Extreme's train.csv, or any with columns puzzle and solution"
MAZE_HARD = "a csv of 30x30 mazes: Maze-Hard's train.csv, or any with columns puzzle and solution"


def _sudoku(data: Path) -> Sudoku:
    return Sudoku(3, 3, with_split(read_sudoku_csv(data)))


def _maze(data: Path) -> Maze:
    return Maze(30, with_split(read_maze_csv(data)))


def _unturned_maze(data: Path) -> Maze:
    return Maze(30, with_split(read_maze_csv(data)), augment=False)  # as in HRM's paper


def with_split(puzzles: PuzzleSet, train: int = 1000, seed: int = 0) -> PuzzleSet:
    """The set as it is, where its file has a split; else at most `train` puzzles drawn to train on, others held out.

    The papers train on 1,000. A tenth of the file is held out, at most 1,000.
    """
    if (puzzles.split != "").any():
        return puzzles
    if len(puzzles) < 2:
        raise ValueError(f"{len(puzzles)} puzzle; one to train on and another to hold out are needed at least")
    order = np.random.default_rng(seed).permutation(len(puzzles))
    test = min(1000, max(1, len(puzzles) // 10))
    chosen = puzzles[order[: test + train]]
    return replace(chosen, split=np.array(["test"] * test + ["train"] * (len(chosen) - test)))


def _words_paper() -> Preset:
    task = WordProblem("A5")
    block = BlockConfig(d_model=256, num_heads=8)
    steps, letters = 50_000, 32
    return Preset(
        LoopedConfig(task.vocab_size, task.num_classes, block=block),
        FinalLoss(PassesPerPosition(extra=0)),
        FitConfig(steps, learning_rate=1e-3, ema=0.999, warmup=1000, precision="bf16", checkpoint_every=500),
        positions=letters + 1,
        batch=256,
        passes=letters,
        evaluate_every=1000,
        curriculum=lambda _: Curriculum(task, batch=256, low=2, high=letters, ramp=steps // 2),
    )


PRESETS: dict[str, Callable[[], Preset]] = {
    "hrm-sudoku": lambda: _small(
        puzzle_arm("hrm", HRM6, DeepSupervision(SEGMENTS, gradient_updates=2), STEPS["HRM one-step"]), 16
    ),
    "trm-sudoku": lambda: _small(puzzle_arm("trm", TRM6, DeepSupervision(SEGMENTS), STEPS["TRM"]), 16),
    "eqr-sudoku": lambda: _small(puzzle_arm("eqr", EQR6, DeepSupervision(SEGMENTS), STEPS_OF["EqR"]), 16),
    "hrm-maze": lambda: _small(
        puzzle_arm(
            "hrm",
            HRMConfig(MAZE.vocab_size, MAZE.num_classes, TRM_MAZE.block),
            DeepSupervision(SEGMENTS, gradient_updates=2),
            STEPS["maze"],
            MAZE,
        ),
        SEGMENTS,
    ),
    "trm-maze": lambda: _small(puzzle_arm("trm", TRM_MAZE, DeepSupervision(SEGMENTS), STEPS["maze"], MAZE), SEGMENTS),
    "looped-words": lambda: _small(loop_arm("loop"), 16),
    "hrm-sudoku-paper": lambda: _large(_hrm(SUDOKU_IDS, ATTENTION), HRM_SUPERVISION, HRM_FIT, _sudoku, SUDOKU_EXTREME),
    "trm-sudoku-paper": lambda: _large(
        TRMConfig(*SUDOKU_IDS, TOKENS, n=6, T=3, positions="none"), TRM_SUPERVISION, PAPER_FIT, _sudoku, SUDOKU_EXTREME
    ),
    "eqr-sudoku-paper": lambda: _large(
        EqRConfig(*SUDOKU_IDS, replace(TOKENS, token_hidden=256), n=6, T=3, positions="none"),
        TRM_SUPERVISION,
        replace(PAPER_FIT, steps=50_000),
        _sudoku,
        SUDOKU_EXTREME,
    ),
    "hrm-maze-paper": lambda: _large(
        _hrm(MAZE_IDS, MAZE_ATTENTION), HRM_SUPERVISION, HRM_FIT, _unturned_maze, MAZE_HARD
    ),
    "trm-maze-paper": lambda: _large(
        TRMConfig(*MAZE_IDS, MAZE_ATTENTION, n=6, T=3, positions="none"), TRM_SUPERVISION, PAPER_FIT, _maze, MAZE_HARD
    ),
    "looped-words-paper": _words_paper,
}
