"""`latentkit train`, with a preset that takes a second."""

import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from latentkit import cli
from latentkit.claims import presets, train
from latentkit.layers import MixingConfig
from latentkit.models import EqRConfig
from latentkit.training import Curriculum, DeepSupervision, FitConfig, load_weights
from tests.claims.test_presets import EASY

TINY = presets.Preset(
    EqRConfig(10, 9, MixingConfig(81, d_model=8, hidden=8, token_hidden=8)),
    DeepSupervision(3),
    FitConfig(steps=25, ema=0.9, checkpoint_every=4),
    positions=81,
    batch=4,
    passes=2,
    evaluate_every=6,
    curriculum=lambda _: Curriculum(EASY, batch=4, low=81, high=81),
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    asks = replace(TINY, curriculum=presets.get("trm-sudoku-paper").curriculum, needs="a csv")
    monkeypatch.setitem(presets.PRESETS, "tiny", lambda: TINY)
    monkeypatch.setitem(presets.PRESETS, "tiny-paper", lambda: asks)
    monkeypatch.setattr(train, "HELD_OUT", 20)


def run(out, *options: str, preset: str = "tiny") -> int:
    return cli.main(["train", preset, "--device", "cpu", "--out", str(out), *options])


def metrics(out) -> list[dict]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run from beginning to end."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "tiny", lambda: TINY)
        patch.setattr(train, "HELD_OUT", 20)
        assert run(out) == 0
    return out


def test_a_run_says_what_it_costs_and_what_came_of_it(tmp_path, capsys):
    assert run(tmp_path, "--steps", "3") == 0
    out, err = capsys.readouterr()
    head, memory, flops, time, result = out.splitlines()
    assert head.startswith("tiny: EqR, ") and head.endswith(" parameters")
    assert memory.startswith("  memory  ") and "MiB for weights" in memory
    assert "MFLOP a step" in flops
    assert "for 3 steps on cpu" in time
    assert "of 20 held-out examples right after 2 passes; " in result
    assert "3/3 steps" in err


def test_what_a_run_leaves(whole):
    assert sorted(path.name for path in whole.iterdir()) == [
        "checkpoint",
        "metrics.jsonl",
        "run.json",
        "weights.json",
        "weights.safetensors",
    ]
    lines = metrics(whole)
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == [10, 20, 25]
    assert all({"solved", "left", "learning_rate"} < line.keys() for line in lines if "loss" in line)
    evaluations = [line for line in lines if "exact" in line]
    assert [line["step"] for line in evaluations] == [6, 12, 18, 24, 25]
    assert all((line["passes"], line["of"]) == (2, 20) for line in evaluations)
    averaged = load_file(whole / "checkpoint" / "step-00000025.safetensors")
    for name, weight in load_weights(whole / "weights.safetensors").state_dict().items():
        assert torch.equal(weight, averaged[f"ema.module.{name}"])
    assert json.loads((whole / "weights.json").read_text())["preset"] == "tiny"


def test_a_killed_run_is_resumed_to_the_same_numbers(whole, tmp_path, monkeypatch, capsys):
    calls = []

    def dying(step, generator):
        calls.append(step)
        if step == 14:
            raise KeyboardInterrupt
        return TINY.curriculum(None)(step, generator)

    dying.__qualname__, dying.task, dying.high = repr(TINY.curriculum(None)), EASY, 81
    monkeypatch.setitem(presets.PRESETS, "tiny", lambda: replace(TINY, curriculum=lambda _: dying))
    assert run(tmp_path) == 130
    assert "--resume" in capsys.readouterr().err
    assert metrics(tmp_path)[-1]["step"] == 12
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "lo')  # killed while it wrote
    monkeypatch.setitem(presets.PRESETS, "tiny", lambda: TINY)
    assert run(tmp_path, "--resume") == 0
    assert metrics(tmp_path) == metrics(whole)
    one, other = (load_file(folder / "weights.safetensors") for folder in (tmp_path, whole))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_finished_run_may_be_resumed(whole, capsys):
    before = metrics(whole)
    assert run(whole, "--resume") == 0
    assert metrics(whole) == before
    assert "held-out examples right" in capsys.readouterr().out


def test_options_reach_the_training(tmp_path):
    assert run(tmp_path, "--steps", "2", "--precision", "bf16", "--seed", "7") == 0
    fit = json.loads((tmp_path / "checkpoint/checkpoint.json").read_text())["fit"]
    assert (fit["steps"], fit["precision"], fit["seed"], fit["compile"]) == (2, "bf16", 7, False)


def test_a_large_preset_says_what_it_costs_before_it_asks_for_its_file(tmp_path, capsys):
    assert run(tmp_path / "x", preset="tiny-paper") == 2
    out, err = capsys.readouterr()
    assert "for 25 steps on cpu" in out
    assert err.count("\n") == 1 and "--data FILE, a csv of 9x9 Sudokus" in err
    assert not (tmp_path / "x").exists()


def test_it_trains_on_the_file(tmp_path, capsys):
    from latentkit import paths

    file = str(paths.find("puzzles/sudoku-9x9-easy.csv"))
    small = replace(presets.get("tiny-paper"), batch=768, positions=81, fit=replace(TINY.fit, steps=1))
    presets.PRESETS["tiny-paper"] = lambda: small
    assert run(tmp_path, "--data", file, preset="tiny-paper") == 0
    assert json.loads((tmp_path / "run.json").read_text()) == {"preset": "tiny-paper", "data": file}
    capsys.readouterr()
    assert run(tmp_path, "--resume", preset="tiny-paper") == 2
    assert "the run in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "there is a run in .* already: go on with it by --resume, or name another folder by --out"),
        (["--resume", "--steps", "30"], "belongs to another run: its fit is"),
        (["--resume", "--data", "x.csv"], "tiny has data of its own; --data is for a -paper preset"),
        (["--threads", "0"], "threads=0; at least 1"),
        (["--steps", "0"], "steps=0"),
        (["--device", "abacus"], "device 'abacus' is not available here"),
    ],
)
def test_a_mistake_is_one_line(options, said, whole, capsys):
    before = metrics(whole)
    assert cli.main(["train", "tiny", "--device", "cpu", "--out", str(whole), *options]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert re.search(said, err)
    assert metrics(whole) == before


def test_nothing_to_resume_is_one_line(tmp_path, capsys):
    assert run(tmp_path, "--resume") == 2
    assert f"no run to resume in {tmp_path}; leave --resume out to begin one" in capsys.readouterr().err


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert run(tmp_path) == 2
    assert "a batch of 4 cannot be shared equally by 3 processes" in capsys.readouterr().err
