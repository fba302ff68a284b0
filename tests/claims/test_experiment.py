import json
import shutil
from dataclasses import replace

import pytest
import torch

from latentkit import claims, cli
from latentkit.claims import ledger
from latentkit.claims.experiment import Arm, Claim, collect, reproduce, runs_dir
from latentkit.claims.ledger import Source
from latentkit.layers import BlockConfig
from latentkit.models import LoopedConfig, TransformerConfig, build
from latentkit.tasks import WordProblem
from latentkit.training import ConstantPasses, Curriculum, FinalLoss, FitConfig, load_weights

SMALL = BlockConfig(4, 1, 1)


class Killed(BaseException):
    pass


class Words(WordProblem):
    """Parity; kills the run at a given sample."""

    calls, kill_at = 0, -1

    def sample(self, batch, length, generator):
        type(self).calls += 1
        if self.calls == self.kill_at:
            raise Killed
        return super().sample(batch, length, generator)


def arms(budget, steps=3):
    words, fit = Curriculum(Words("Z2"), batch=2, low=2, high=3), FitConfig(steps=steps if budget == "cpu" else 5)
    return [
        Arm("stack", TransformerConfig(3, 2, 1, SMALL), words, fit),
        Arm("loop", LoopedConfig(3, 2, block=SMALL), words, replace(fit, steps=4), FinalLoss(ConstantPasses(2))),
    ]


def measure(model, arm):
    assert not model.training
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return {"total": weights.double().sum().item(), "curve": weights[:3].tolist()}


CLAIM = Claim(
    id="tiny",
    lab="02",
    statement="Weights are numbers.",
    source=Source("Nobody 1900", "section 1", "they are", "nobody1900"),
    arms=arms,
    measure=measure,
    judge=lambda results: "reproduced" if len(results["stack"]) > 1 else "partly",
    rule="reproduced if there is more than one seed",
    ship={"loop": "tiny-loop.safetensors"},
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTKIT_HOME", str(tmp_path))
    monkeypatch.setattr(Words, "calls", 0)
    monkeypatch.setitem(claims.REGISTRY, "tiny", CLAIM)
    return tmp_path


def without_time(record) -> dict:
    data = json.loads(json.dumps(vars(record) | {"source": vars(record.source)}))
    data.pop("cpu_seconds")
    return data | {"metrics": {k: v for k, v in data["metrics"].items() if "cpu_seconds" not in k}}


def test_a_claim_is_run_over_its_seeds_and_written(home, capsys):
    assert cli.main(["reproduce", "tiny", "--seeds", "2"]) == 0
    out, err = capsys.readouterr()
    assert (
        f"tiny: reproduced (2 seeds, {ledger.load('tiny').cpu_seconds:.0f} CPU s), written to {home}/claims/tiny.json"
        in out
    )
    assert err.count("tiny  stack  seed") == err.count("tiny  loop  seed") == 2
    record = ledger.load("tiny")
    assert record.seeds == 2
    assert record.command == "latentkit reproduce tiny --seeds 2"
    assert record.setup.keys() == {"stack", "loop"}
    for arm in ("stack", "loop"):
        one, two = record.values(f"{arm}/total")
        assert one != two
        assert len(record.values(f"{arm}/curve")[0]) == 3
    assert record.environment["device"] == "cpu"
    assert record.environment["threads"] == 1
    assert not (home / ".runs").exists()  # nothing half-trained is left behind


def test_a_training_that_two_claims_share_is_run_once(home, monkeypatch):
    monkeypatch.setitem(claims.REGISTRY, "other", replace(CLAIM, id="other", arms=lambda budget: arms(budget)[:1]))
    assert cli.main(["reproduce", "tiny", "other", "--seeds", "2", "--keep-runs"]) == 0
    assert Words.calls == 2 * (3 + 4)
    assert ledger.load("other").values("stack/total") == ledger.load("tiny").values("stack/total")
    assert len(list((home / ".runs").iterdir())) == 4


def test_the_last_weights_are_measured_of_the_same_training_as_the_averaged_ones():
    fit = FitConfig(steps=4, ema=0.9)
    averaged = replace(arms("cpu")[1], fit=fit)
    both = [averaged, replace(averaged, name="last", weights="last")]
    record = reproduce(replace(CLAIM, arms=lambda budget: both, ship={}, judge=lambda results: "partly"), seeds=1)
    assert Words.calls == 4
    assert record.values("loop/total") != record.values("last/total")
    assert (record.setup["loop"]["weights"], record.setup["last"]["weights"]) == ("averaged", "last")


def test_a_claim_about_a_file_asks_for_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(claims.REGISTRY, "tiny", replace(CLAIM, data="puzzles in rows"))
    assert cli.main(["reproduce", "tiny"]) == 2
    assert "tiny is measured on a file that you have to name: --data FILE, puzzles in rows" in capsys.readouterr().err
    assert cli.main(["reproduce", "tiny", "--data", str(tmp_path / "none.csv")]) == 2
    assert "no file" in capsys.readouterr().err


def test_more_seeds_begin_with_the_same_ones():
    one, two = reproduce(CLAIM, seeds=1), reproduce(CLAIM, seeds=2)
    assert (one.verdict, two.verdict) == ("partly", "reproduced")
    assert two.values("stack/total")[:1] == one.values("stack/total")


def test_a_seed_chooses_the_first_weights():
    still = FitConfig(steps=1, learning_rate=1e-12, weight_decay=0.0)
    arm = replace(arms("cpu")[1], fit=still)
    record = reproduce(replace(CLAIM, arms=lambda budget: [arm], judge=lambda results: "partly"), seeds=3)
    for seed, total in enumerate(record.values("loop/total")):
        torch.manual_seed(seed)
        assert total == pytest.approx(measure(build(arm.config).eval(), arm)["total"], abs=1e-6)


class Seeded(Words):
    """A task that draws something once: here it only remembers by which seed."""

    def __init__(self, group, seed=0):
        super().__init__(group)
        self.seed = seed

    def for_seed(self, seed):
        return Seeded("Z2", seed)


def test_what_a_task_draws_once_it_draws_anew_for_every_seed():
    arm = replace(arms("cpu")[0], batches=Curriculum(Seeded("Z2"), batch=2, low=2, high=3))
    measured = []
    claim = replace(CLAIM, arms=lambda budget: [arm], ship={}, judge=lambda results: "partly")
    reproduce(replace(claim, measure=lambda model, arm: measured.append(arm.batches.task.seed) or {}), seeds=3)
    assert measured == [0, 1, 2]


def test_the_first_seeds_weights_are_shipped(home):
    record = reproduce(CLAIM, seeds=2)
    model = load_weights(home / "checkpoints/tiny-loop.safetensors")
    assert measure(model, None)["total"] == record.values("loop/total")[0]
    sidecar = json.loads((home / "checkpoints/tiny-loop.json").read_text())
    assert (sidecar["claim"], sidecar["arm"], sidecar["seed"]) == ("tiny", "loop", 0)
    assert sidecar["command"] == "latentkit reproduce tiny"
    assert len(sidecar["losses"]["values"]) == 4


def killed_and_resumed(claim: Claim, kill_at: int, monkeypatch) -> tuple[int, int]:
    """The samples drawn by an uninterrupted run, and by one killed at a sample and started again; same records."""
    whole, used = reproduce(claim, seeds=2), Words.calls
    shutil.rmtree(runs_dir())
    monkeypatch.setattr(Words, "calls", 0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Words, "kill_at", kill_at)
        reproduce(claim, seeds=2)
    assert without_time(reproduce(claim, seeds=2)) == without_time(whole)
    return used, Words.calls


@pytest.mark.parametrize("kill_at", [1, 2, 4, 7, 14])
def test_a_killed_claim_goes_on_to_the_same_record(kill_at, monkeypatch):
    """Models that were finished are kept: at most the steps of one are repeated."""
    whole, resumed = killed_and_resumed(CLAIM, kill_at, monkeypatch)
    assert whole < resumed <= whole + 4


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [102, 103, 206])
def test_a_half_trained_model_is_kept(kill_at, monkeypatch):
    claim = replace(CLAIM, arms=lambda budget: arms(budget, steps=105))
    whole, resumed = killed_and_resumed(claim, kill_at, monkeypatch)
    assert whole < resumed <= whole + 5


def test_a_mistake_in_the_judge_does_not_cost_the_training(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        reproduce(replace(CLAIM, judge=lambda results: 1 / 0), seeds=1)
    monkeypatch.setattr(Words, "calls", 0)
    reproduce(CLAIM, seeds=1)
    assert Words.calls == 0


def test_a_gpu_budget_has_a_file_of_its_own_and_ships_nothing(home):
    assert cli.main(["reproduce", "tiny", "--seeds", "1", "--budget", "gpu"]) == 0
    assert [file.name for file in (home / "claims").iterdir()] == ["tiny-gpu.json"]
    assert not (home / "checkpoints").exists()
    record = ledger.load("tiny-gpu")
    assert record.setup["stack"]["fit"]["steps"] == 5
    assert (record.budget, record.command) == ("gpu", "latentkit reproduce tiny --seeds 1 --budget gpu")


def test_an_arm_describes_itself():
    stack, loop = (arm.describe() for arm in arms("cpu"))
    assert stack["model"]["type"] == "TransformerConfig"
    assert stack["parameters"] > 0
    assert stack["task"] == "Z2"
    assert stack["batches"] == {"batch": 2, "low": 2, "high": 3, "ramp": 0}
    assert stack["fit"]["steps"] == 3
    assert stack["supervision"] == "PlainLoss()"
    assert loop["supervision"] == "FinalLoss(passes=ConstantPasses(passes=2), gradient_passes=None)"


def test_collect_keeps_every_seed_and_the_spread():
    table = collect({"a": [{"x": 1, "curve": [1, 2]}, {"x": 4, "curve": [3, 4]}, {"x": 2, "curve": [5, 6]}]})
    assert table == {
        "a/x": {"values": [1, 4, 2], "mean": 2.333, "min": 1, "max": 4},
        "a/curve": {"values": [[1, 2], [3, 4], [5, 6]]},
    }


def test_no_seeds_are_refused():
    with pytest.raises(ValueError, match="seeds=0; at least 1 is needed, 3 for a spread"):
        reproduce(CLAIM, seeds=0)
