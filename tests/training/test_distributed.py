"""One process is the special case of several; several are one run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from latentkit.training import distributed


def test_alone_there_is_nothing_to_share():
    x = torch.arange(6).view(3, 2)
    assert (distributed.rank(), distributed.size(), distributed.launched()) == (0, 1, (0, 1))
    assert distributed.own_rows(x) is x
    assert distributed.all_rows(x) is x
    distributed.average_([x])
    assert torch.equal(x, torch.arange(6).view(3, 2))


def test_every_process_has_its_rows(monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 3)
    rows = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        rows.append(distributed.own_rows(torch.arange(6)).tolist())
    assert rows == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match="a batch of 7 cannot be shared equally by 3 processes"):
        distributed.own_rows(torch.arange(7))


def test_what_a_launcher_says(monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert distributed.launched() == (2, 4)


def test_accelerate_is_missed_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ValueError, match=r"need Hugging Face Accelerate: pip install 'latentkit\[gpu\]'"):
        distributed.start(cpu=True)


def train(out: Path, *launcher: str) -> tuple[dict, dict[str, torch.Tensor]]:
    """A short `latentkit train`; returns its checkpoint."""
    command = [*launcher, "-m", "latentkit", "train", "trm-maze", "--device", "cpu", "--steps", "4", "--out", str(out)]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("held-out examples right") == 1, run.stdout  # one process speaks for all
    about = json.loads((out / "checkpoint/checkpoint.json").read_text())
    return about, load_file(out / "checkpoint" / about["tensors"])


@pytest.mark.slow
def test_two_processes_are_one_run(tmp_path):
    """The same loss curve at the same global batch, and one checkpoint with the slots of both."""
    one, tensors = train(tmp_path / "one", sys.executable)
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    two, tensors_of_two = train(tmp_path / "two", *launcher)
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert two["metrics"]["left"] == pytest.approx(one["metrics"]["left"])
    assert tensors.keys() == tensors_of_two.keys()
    for name in ("tokens", "targets", "segment", "done"):
        assert torch.equal(tensors[f"carry.{name}"], tensors_of_two[f"carry.{name}"])
    torch.testing.assert_close(tensors["ema.module.head.weight"], tensors_of_two["ema.module.head.weight"])
