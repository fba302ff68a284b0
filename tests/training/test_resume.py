"""A run that is killed at any instant goes on to the very numbers of an uninterrupted one.

Run as a program, this file is the run that gets killed.
"""

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from latentkit.layers import BlockConfig, MixingConfig
from latentkit.models import EqRConfig, Looped, LoopedConfig, build
from latentkit.tasks import Batch, WordProblem
from latentkit.training import (
    ACT,
    CheckpointError,
    ConstantPasses,
    Curriculum,
    DeepSupervision,
    FinalLoss,
    FitConfig,
    fit,
)
from latentkit.training.supervision import Loss, cross_entropy


@dataclass(frozen=True)
class Carried:
    """Needs all that a checkpoint holds: the state is carried on, noise comes from both sources of randomness."""

    passes: int = 2

    def __call__(self, model, batch, generator, carry):
        context = model.encode(batch.tokens)
        state = carry.get("state", model.initial_state(context))
        for _ in range(self.passes):
            noise = torch.randn(state.shape, generator=generator) + torch.randn(state.shape)
            state = model.step(state + 0.01 * noise, context)
        return Loss(cross_entropy(model.decode(state), batch.targets), {"state": state})


CONFIG = FitConfig(steps=20, checkpoint_every=3, ema=0.9, warmup=5)
WORDS = Curriculum(WordProblem("S3"), batch=4, low=5, high=5)


def make(seed: int = 0) -> Looped:
    torch.manual_seed(seed)
    return Looped(LoopedConfig(3, 6, block=BlockConfig(8, 2, 1)))


def train(run_dir: Path, model=None, batches=WORDS, config=CONFIG, supervision=None):
    return fit(model or make(), batches, supervision or Carried(), config, run_dir=run_dir, progress=False)


def everything(run_dir: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """All that the last checkpoint holds, but the time it took."""
    about = json.loads((run_dir / "checkpoint.json").read_text())
    return load_file(run_dir / about["tensors"]), {k: v for k, v in about.items() if k != "cpu_seconds"}


def assert_same_run(one: Path, other: Path) -> None:
    (tensors, about), (expected, expected_about) = everything(one), everything(other)
    assert about == expected_about
    assert tensors.keys() == expected.keys()
    assert {name.split(".")[0] for name in tensors} == {"model", "optimiser", "ema", "carry"}
    different = [name for name in tensors if not torch.equal(tensors[name], expected[name])]
    assert different == []


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    result, model = train(run_dir, model := make()), model
    return run_dir, result, model


class Killed(BaseException):
    pass


def killed_at(*steps: int):
    """The data source, which kills the run when it comes to one of these steps, once each."""
    left = set(steps)

    def batches(step, generator):
        if step in left:
            left.remove(step)
            raise Killed
        return WORDS(step, generator)

    batches.__qualname__ = repr(WORDS)  # a checkpoint remembers its source by name, and this is the same source
    return batches, left


@pytest.mark.parametrize("steps", [(0,), (1,), (3,), (4,), (19,), (2, 3, 4, 9, 11, 18)], ids=str)
def test_a_resumed_run_is_the_uninterrupted_one(steps, uninterrupted, tmp_path):
    whole_dir, whole, whole_model = uninterrupted
    batches, left = killed_at(*steps)
    while left:
        with pytest.raises(Killed):
            train(tmp_path, batches=batches)
        torch.manual_seed(random.randrange(1000))  # a new process has another random state
    # Where there is a checkpoint, what the new process starts from is overwritten.
    model = make(seed=5 if (tmp_path / "checkpoint.json").exists() else 0)
    result = train(tmp_path, model=model, batches=batches)
    assert_same_run(tmp_path, whole_dir)
    assert result.losses == whole.losses
    assert all(map(torch.equal, model.state_dict().values(), whole_model.state_dict().values()))
    assert all(map(torch.equal, result.averaged.state_dict().values(), whole.averaged.state_dict().values()))


NESTED = EqRConfig(4, 3, MixingConfig(num_positions=9, d_model=8, hidden=8, token_hidden=8))
RUNS = {
    "deep supervision": (DeepSupervision(4, halting=ACT(exploration=0.5)), {}),
    "a pool that is left by chance": (DeepSupervision(3, 2, halting=None, every_pass=True, leave=0.3), {}),
    "a drawn horizon": (DeepSupervision(6, horizon="log-uniform", halting=ACT(stops=False)), {}),
    "AdamATan2": (DeepSupervision(4), {"optimiser": "adam-atan2", "schedule": "constant"}),
    "Muon": (DeepSupervision(4), {"optimiser": "muon"}),
}


def puzzles(step: int, generator: torch.Generator) -> Batch:
    if step in stop_at:
        stop_at.remove(step)
        raise Killed
    tokens = torch.randint(4, (8, 9), generator=generator)
    return Batch(tokens, (tokens - 1).clamp(min=0), tokens)


stop_at: set[int] = set()


@pytest.mark.parametrize(("supervision", "settings"), RUNS.values(), ids=RUNS)
def test_every_way_to_train_is_resumed(supervision, settings, tmp_path):
    """With a model that draws its start and noise from the global generator."""
    if settings.get("optimiser") == "muon" and not hasattr(torch.optim, "Muon"):
        return  # before torch 2.9; tests/training/test_optimisers.py says what happens then

    def run(folder: Path):
        torch.manual_seed(0)
        model = build(NESTED)
        return train(folder, model, puzzles, replace(CONFIG, **settings), supervision)

    whole = run(tmp_path / "whole")
    stop_at.update((2, 5, 16))
    while stop_at:
        with pytest.raises(Killed):
            run(tmp_path / "killed")
    resumed = run(tmp_path / "killed")
    assert_same_run(tmp_path / "killed", tmp_path / "whole")
    assert (resumed.losses, resumed.metrics) == (whole.losses, whole.metrics)
    assert len(whole.metrics["solved"]) == 20


def test_a_checkpoint_does_not_change_the_run(uninterrupted, tmp_path):
    _, whole, _ = uninterrupted
    rare = fit(make(), WORDS, Carried(), replace(CONFIG, checkpoint_every=0), run_dir=tmp_path, progress=False)
    none = fit(make(), WORDS, Carried(), CONFIG, progress=False)
    assert rare.losses == none.losses == whole.losses
    assert everything(tmp_path)[1]["step"] == 20


def test_a_finished_run_is_not_trained_again(uninterrupted):
    run_dir, whole, whole_model = uninterrupted

    def batches(step, generator):
        raise AssertionError("trained again")

    batches.__qualname__ = repr(WORDS)
    model = make(seed=5)
    result = train(run_dir, model=model, batches=batches)
    assert result.losses == whole.losses
    assert result.cpu_seconds == pytest.approx(whole.cpu_seconds)
    assert all(map(torch.equal, model.state_dict().values(), whole_model.state_dict().values()))
    assert not model.training


def test_cpu_seconds_add_up_over_interruptions(tmp_path):
    batches, _ = killed_at(10)
    with pytest.raises(Killed):
        train(tmp_path, batches=batches)
    before = json.loads((tmp_path / "checkpoint.json").read_text())["cpu_seconds"]
    assert train(tmp_path).cpu_seconds > before > 0


def other_model():
    torch.manual_seed(0)
    return Looped(LoopedConfig(3, 6, block=BlockConfig(16, 2, 1)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": other_model()}, "its model is .*'d_model': 8.*yours is .*'d_model': 16"),
        ({"config": replace(CONFIG, learning_rate=1e-3)}, r"its fit is .*0\.002.*yours is .*0\.001"),
        ({"config": replace(CONFIG, seed=1)}, "its fit is .*'seed': 0.*yours is .*'seed': 1"),
        ({"supervision": Carried(3)}, r"its supervision is Carried\(passes=2\), yours is Carried\(passes=3\)"),
        ({"supervision": FinalLoss(ConstantPasses(2))}, "its supervision is .*yours is FinalLoss"),
    ],
    ids=["model", "fit", "seed", "supervision", "other supervision"],
)
def test_another_runs_checkpoint_is_refused(change, said, uninterrupted):
    run_dir, _, _ = uninterrupted
    with pytest.raises(CheckpointError, match=rf"checkpoint\.json belongs to another run: {said}"):
        train(run_dir, **change)


def test_a_damaged_checkpoint_stops_the_run(uninterrupted, tmp_path):
    for file in uninterrupted[0].iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[: len(content) // 2] if file.suffix == ".safetensors" else content)
    with pytest.raises(CheckpointError, match="is truncated"):
        train(tmp_path)


# -- with a real SIGKILL

KILL_CONFIG = replace(CONFIG, steps=400, checkpoint_every=2)


@pytest.mark.slow
def test_sigkill_at_random_moments(tmp_path):
    seed = random.randrange(2**32)
    print(f"random.seed({seed})")
    chance, run_dir, kills = random.Random(seed), tmp_path / "killed", 0
    command = [sys.executable, __file__, str(run_dir)]
    for _ in range(4):
        child = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        sidecar, before = run_dir / "checkpoint.json", None
        before = sidecar.read_text() if sidecar.exists() else None
        while child.poll() is None and (not sidecar.exists() or sidecar.read_text() == before):
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.3))
        kills += child.poll() is None
        child.kill()
        child.wait()
    assert kills >= 2
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    train(tmp_path / "whole", config=KILL_CONFIG)
    assert_same_run(run_dir, tmp_path / "whole")


if __name__ == "__main__":
    train(Path(sys.argv[1]), config=KILL_CONFIG)
