import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from latentkit import models
from latentkit.claims import presets
from latentkit.claims.presets import PRESETS, with_split
from latentkit.layers import count_parameters
from latentkit.tasks import Sudoku
from latentkit.training import ACT, DeepSupervision, StableMax

NAMES = {"hrm-sudoku", "trm-sudoku", "eqr-sudoku", "hrm-maze", "trm-maze", "looped-words"}
SMALL = [name for name in PRESETS if not name.endswith("-paper")]
EASY = Sudoku(3, 3, "sudoku-9x9-easy")


def test_each_comes_small_and_at_its_papers_size():
    assert set(PRESETS) == NAMES | {f"{name}-paper" for name in NAMES}


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(KeyError, match=r"no preset 'hrm'; choose one of hrm-sudoku, trm-sudoku, .*looped-words-paper"):
        presets.get("hrm")


@pytest.mark.parametrize("name", SMALL)
def test_a_small_preset_fits_its_data(name):
    preset = presets.get(name)
    batches = preset.curriculum(None)
    task = batches.task
    assert (preset.config.vocab_size, preset.config.num_classes) == (task.vocab_size, task.num_classes)
    batch = batches(10**6, torch.Generator().manual_seed(0))
    assert batch.tokens.shape[0] == preset.batch
    assert batch.tokens.shape[1] <= preset.positions
    model = models.build(preset.config)
    assert preset.supervision(model, batch, torch.Generator(), {}).value.isfinite()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "steps"),
    [
        ("hrm-sudoku-paper", 27_275_266, 26_041),  # the count of HRM's public code
        ("trm-sudoku-paper", 4_979_201, 78_125),  # "5M"
        ("eqr-sudoku-paper", 4_854_785, 50_000),
        ("hrm-maze-paper", 27_267_074, 26_041),
        ("trm-maze-paper", 6_819_329, 78_125),  # "7M"
        ("looped-words-paper", 936_076, 50_000),
    ],
)
def test_a_large_preset_has_its_papers_size(name, parameters, steps):
    preset = presets.get(name)
    assert count_parameters(models.build(preset.config)) == parameters
    assert preset.fit.steps == steps
    assert preset.fit.precision == "bf16"


@pytest.mark.parametrize("name", ["hrm-sudoku-paper", "trm-sudoku-paper", "eqr-sudoku-paper"])
def test_a_large_sudoku_preset_follows_its_paper(name):
    preset = presets.get(name)
    fit, supervision = preset.fit, preset.supervision
    assert (fit.optimiser, fit.schedule, fit.learning_rate, fit.weight_decay) == ("adam-atan2", "constant", 1e-4, 1.0)
    assert (fit.betas, fit.warmup, preset.batch, preset.passes) == ((0.9, 0.95), 2000, 768, 16)
    assert isinstance(supervision, DeepSupervision)
    assert (supervision.segments, supervision.loss) == (16, StableMax())
    hrm = name.startswith("hrm")
    assert fit.ema == (None if hrm else 0.999)
    assert supervision.gradient_updates == (2 if hrm else 7)
    assert supervision.halting == ACT(exploration=0.1, weight=0.5, continue_value=hrm)


def write(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_large_preset_reads_the_published_format(tmp_path):
    batch = EASY.test(30)
    text = [
        ["".join(map(str, row)) for row in rows.tolist()]
        for rows in (batch.tokens, batch.targets + 1)  # 0 for a blank, as Sudoku-Extreme may have it
    ]
    rows = [["x", question.replace("0", "."), answer, "3"] for question, answer in zip(*text, strict=True)]
    path = write(tmp_path / "train.csv", [["source", "question", "answer", "rating"], *rows])
    preset = presets.get("trm-sudoku-paper")
    batches = preset.curriculum(path)
    drawn = batches(0, torch.Generator().manual_seed(0))
    assert drawn.tokens.shape == (768, 81)
    assert drawn.tokens.max() < preset.config.vocab_size
    assert drawn.targets.max() < preset.config.num_classes
    assert len(batches.task.test().tokens) == 3  # a tenth


@pytest.mark.parametrize("name", ["hrm-maze-paper", "trm-maze-paper"])
def test_only_trm_turns_the_mazes(name, tmp_path):
    wall = "#" * 30
    maze = [wall, "#S" + " " * 26 + "G#", *[wall] * 28]
    question, answer = "".join(maze), "".join(maze).replace(" ", "o")
    path = write(
        tmp_path / "train.csv", [["source", "question", "answer", "rating"], *[["x", question, answer, "1"]] * 4]
    )
    drawn = presets.get(name).curriculum(path)(0, torch.Generator().manual_seed(0))
    assert drawn.tokens.shape == (768, 900)
    assert len(drawn.tokens.unique(dim=0)) == (1 if name.startswith("hrm") else 8)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.endswith("-paper") and "words" not in name])
def test_a_missing_file_is_asked_for(name):
    wanted = "30x30 mazes" if "maze" in name else "9x9 Sudokus"
    with pytest.raises(ValueError, match=f"--data FILE, a csv of {wanted}"):
        presets.get(name).curriculum(None)


def test_a_file_without_a_split_is_split_at_random_and_once():
    puzzles = dataclasses.replace(EASY.puzzles, split=np.array([""] * len(EASY.puzzles)))
    split = with_split(puzzles, train=100)
    train, test = split.select(split="train"), split.select(split="test")
    assert (len(train), len(test)) == (100, len(puzzles) // 10)
    rows = [set(map(tuple, part.tokens.tolist())) for part in (train, test)]
    assert not rows[0] & rows[1]
    assert torch.equal(with_split(puzzles, train=100).tokens, split.tokens)
    assert with_split(EASY.puzzles) is EASY.puzzles
    with pytest.raises(ValueError, match="1 puzzle; one to train on and another"):
        with_split(puzzles[:1])
