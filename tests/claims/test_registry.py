import json
import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from latentkit import claims, models, paths
from latentkit.claims import REGISTRY, depth_wall, ledger
from latentkit.claims.experiment import Arm, Claim, Results
from latentkit.layers import count_parameters
from latentkit.models import SudokuGraphConfig
from latentkit.training import load_weights
from latentkit.training.fit import step_generator
from tests.conftest import ROOT

CLAIMS = [pytest.param(claim, id=claim.id) for claim in REGISTRY.values()]
OPEN = [pytest.param(claim, id=claim.id) for claim in REGISTRY.values() if claim.id in claims.OPEN]
RUN = [
    pytest.param(claim, id=claim.id)
    for claim in REGISTRY.values()
    if claim.id not in claims.PENDING and claim.id not in claims.OPEN
]


def results_of(record: ledger.Record) -> Results:
    """The measurements that a verdict was given on, from a ledger entry."""
    results: dict[str, list[dict]] = {}
    for key, entry in record.metrics.items():
        arm, _, metric = key.partition("/")
        runs = results.setdefault(arm, [{} for _ in range(record.seeds)])
        for run, value in zip(runs, entry["values"], strict=True):
            run[metric] = value
    return results


def arms_of(claim_id: str) -> dict[str, Arm]:
    return {arm.name: arm for arm in REGISTRY[claim_id].arms("cpu")}


def test_ids_are_unique():
    registered = [claim for module in claims.MODULES for claim in module.CLAIMS]
    assert len(registered) == len(REGISTRY)


def test_an_unknown_id_lists_the_known_ones():
    with pytest.raises(KeyError, match=r"no claim 'x'; choose one of .*loop-a5, .*stack-wall-s3"):
        claims.get("x")
    assert claims.get("loop-a5").id == "loop-a5"


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_says_what_is_claimed_by_whom_and_how_it_is_judged(claim):
    assert re.fullmatch(r"[a-z0-9-]+", claim.id)
    assert re.fullmatch(r"\d\d", claim.lab)
    for text in (claim.statement, claim.rule, claim.source.paper, claim.source.section, claim.source.claim):
        assert text.strip()
    assert "reproduced" in claim.rule and "partly" in claim.rule
    bibliography = (ROOT / "book/references.bib").read_text()
    assert re.search(rf"@\w+\{{{re.escape(claim.source.cite)},", bibliography), claim.source.cite


@pytest.mark.parametrize("claim", CLAIMS)
def test_arms_are_well_formed(claim):
    arms = {budget: claim.arms(budget) for budget in ("cpu", "gpu")}
    names = [arm.name for arm in arms["cpu"]]
    assert len(set(names)) == len(names)
    assert not any("/" in name for name in names)  # the ledger's keys are "arm/metric"
    assert set(claim.ship) <= set(names)
    assert all(name.endswith(".safetensors") for name in claim.ship.values())
    for arm in arms["cpu"]:
        task = arm.batches.task
        if isinstance(arm.config, SudokuGraphConfig):
            assert task.num_classes == arm.config.box_rows * arm.config.box_cols
        else:
            assert (arm.config.vocab_size, arm.config.num_classes) == (task.vocab_size, task.num_classes)
        json.dumps(arm.describe())
    assert [a.fit.steps for a in arms["gpu"]] == [10 * a.fit.steps for a in arms["cpu"]]


def test_nothing_is_shipped_under_one_name_by_two():
    files = [file for claim in REGISTRY.values() for file in claim.ship.values()]
    assert len(set(files)) == len(files)


# -- the ledger against the registry


def test_what_is_pending_has_no_entry():
    assert {claim.id for claim in REGISTRY.values()} - {record.id for record in ledger.load_all()} == claims.PENDING


@pytest.mark.parametrize("claim", RUN)
def test_the_ledger_says_what_is_registered(claim: Claim):
    record = ledger.load(claim.id)
    assert (record.lab, record.statement, record.source) == (claim.lab, claim.statement, claim.source)
    assert (record.rule, record.note) == (claim.rule, claim.note)


@pytest.mark.parametrize("claim", RUN)
def test_every_claim_has_been_run_as_it_is_registered(claim: Claim):
    record = ledger.load(claim.id)
    assert record.id == claim.id
    assert record.budget == "cpu"
    assert record.seeds >= 3
    assert record.command == f"latentkit reproduce {claim.id} --seeds {record.seeds}" + " --data FILE" * bool(
        claim.data
    )
    assert record.setup == json.loads(json.dumps({arm.name: arm.describe() for arm in claim.arms("cpu")}))


@pytest.mark.parametrize("claim", OPEN)
def test_an_open_question_is_written_down_and_not_answered(claim: Claim):
    """By `latentkit claims --register ID`; whoever has run it takes it out of `claims.OPEN`."""
    record = ledger.load(claim.id)
    assert (record.verdict, record.seeds, record.metrics) == ("not tested at this scale", 0, {})
    assert (record.lab, record.statement, record.source) == (claim.lab, claim.statement, claim.source)
    assert (record.rule, record.note) == (claim.rule, claim.note)
    assert record.command == f"latentkit reproduce {claim.id} --seeds 3"
    assert record.setup == json.loads(json.dumps({arm.name: arm.describe() for arm in claim.arms("cpu")}))


@pytest.mark.parametrize("claim", RUN)
def test_the_verdict_follows_from_the_measurements(claim: Claim):
    record = ledger.load(claim.id)
    results = results_of(record)
    assert results.keys() == record.setup.keys()
    assert all(len(entry["values"]) == record.seeds for entry in record.metrics.values())
    assert claim.judge(results) == record.verdict
    for entry in record.metrics.values():
        if "mean" in entry:
            values = entry["values"]
            assert (entry["min"], entry["max"]) == (min(values), max(values))
            assert entry["mean"] == pytest.approx(sum(values) / len(values), rel=1e-3, abs=1e-4)
    seconds = sum(run["train_cpu_seconds"] for runs in results.values() for run in runs)
    assert record.cpu_seconds == pytest.approx(seconds, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("claim", RUN)
def test_shipped_weights_are_those_of_the_claim(claim: Claim):
    for name, file in claim.ship.items():
        sidecar = json.loads(paths.find(f"checkpoints/{file}").with_suffix(".json").read_text())
        assert (sidecar["claim"], sidecar["arm"], sidecar["seed"]) == (claim.id, name, 0)
        arm = arms_of(claim.id)[name]
        model = load_weights(paths.find(f"checkpoints/{file}"))
        assert model.config == arm.config
        if claim.lab in ("04", "05"):
            continue  # minutes to measure; the labs' notebooks run these weights on some of the puzzles
        measured = claim.measure(model, arm)
        record = ledger.load(claim.id)
        for metric in (m for m in measured if m.startswith("solved_depth")):
            assert measured[metric] == record.values(f"{name}/{metric}")[0]


def test_the_bars_of_lab_02():
    """Under 60,000 weights, at most 60 CPU seconds a seed, all 32 positions with 40 passes on each of three seeds."""
    record = ledger.load("loop-extrapolates-s3")
    assert record.setup["loop"]["parameters"] == 58_522
    assert record.setup["loop"]["batches"]["high"] == 12
    assert record.values("loop/solved_depth@40") == [32] * record.seeds
    assert max(record.values("loop/train_cpu_seconds")) <= 60


# -- what the comparisons rest on


def test_no_training_step_sees_the_evaluation_batch():
    """torch seeds the CPU generator with the lower 32 bits of a seed: these must differ."""
    generators = []

    class Spy:
        def sample(self, batch, length, generator):
            generators.append(generator.initial_seed())
            return depth_wall.S3.sample(batch, length, generator)

    depth_wall.held_out(Spy(), 32)
    assert generators[0] % 2**32 not in {
        step_generator(seed, step).initial_seed() % 2**32 for seed in range(3) for step in range(3000)
    }


def test_equal_parameters_are_equal():
    arms = arms_of("loop-vs-stacks-s3")
    loop, stack = (count_parameters(models.build(arms[name].config)) for name in ("loop", "equal-parameters-0.002"))
    assert stack == pytest.approx(loop, rel=0.01)


def multiplications(function, *arguments) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(*arguments)
    return counter.get_total_flops()


def test_equal_compute_is_equal_and_in_the_stacks_favour():
    """Multiplications of every forward run of a whole training, counted by torch."""
    arms = arms_of("loop-vs-stacks-s3")
    loop, stack = (models.build(arms[name].config) for name in ("loop", "equal-compute-0.002"))
    costs = {}
    for n in range(3, 14):
        tokens = torch.zeros(1, n, dtype=torch.long)
        context = loop.encode(tokens)
        state = loop.initial_state(context)
        encode_decode = multiplications(loop.encode, tokens) + multiplications(loop.decode, state)
        costs[n] = encode_decode, multiplications(loop.step, state, context), multiplications(stack, tokens)
    looped = stacked = 0
    arm = arms["loop"]
    for step in range(arm.fit.steps):
        generator = step_generator(0, step)
        batch = arm.batches(step, generator)
        n, passes = batch.tokens.shape[1], arm.supervision.passes(batch, generator)
        fixed, each, whole = costs[n]
        looped += fixed + passes * each
        stacked += whole
    assert looped <= stacked <= 1.08 * looped
    assert arms["equal-compute-0.002"].batches == arm.batches
    assert arms["equal-compute-0.002"].fit == arm.fit


def test_the_loops_opponents_get_no_less_than_it_does():
    arms = arms_of("loop-vs-stacks-s3")
    loop = arms.pop("loop")
    assert {arm.fit.learning_rate for arm in arms.values()} > {loop.fit.learning_rate}
    for arm in arms.values():
        assert arm.fit.steps >= loop.fit.steps
        assert (arm.batches.batch, arm.batches.low, arm.batches.high) == (64, 2, 12)


def test_ablations_see_the_same_data_for_as_many_steps():
    arms = arms_of("loop-ablations-s3")
    for arm in arms.values():
        assert arm.batches == arms["full"].batches
        assert arm.fit == arms["full"].fit


@torch.no_grad()
def test_the_scratchpad_is_written_by_the_model_itself():
    """A model that multiplies the product it reads by the letter it reads, and errs once: the error is carried on."""
    task = depth_wall.Scratchpad(depth_wall.S3)
    s3 = depth_wall.S3
    batch = s3.sample(3, 6, torch.Generator().manual_seed(0))
    table = torch.cat([s3.table, torch.arange(6)[None]])  # the start token leaves the product as it is

    class Perfect(torch.nn.Module):
        def forward(self, tokens):
            return perfect(tokens)

    def perfect(tokens):
        before = tokens[:, -2] - s3.vocab_size if tokens.shape[1] > 1 else torch.zeros(3, dtype=torch.long)
        answer = table[tokens[:, -1], before]
        if tokens.shape[1] == error_at:
            answer = (answer + 1) % 6
        return torch.nn.functional.one_hot(answer, 6)[:, None].float()

    error_at = None
    assert torch.equal(depth_wall.write_scratchpad(Perfect(), batch.tokens, s3.vocab_size), batch.targets)
    error_at = 5  # at the third token, which is the second letter
    written = depth_wall.write_scratchpad(Perfect(), batch.tokens, s3.vocab_size)
    assert torch.equal(written[:, :2], batch.targets[:, :2])
    assert (written[:, 2:] != batch.targets[:, 2:]).all()

    sample = task.sample(4, 5, torch.Generator().manual_seed(0))
    word = s3.sample(4, 5, torch.Generator().manual_seed(0))
    assert torch.equal(sample.tokens[:, ::2], word.tokens)
    assert torch.equal(sample.tokens[:, 1::2], word.targets + s3.vocab_size)
    assert torch.equal(sample.targets[:, ::2], word.targets)
    assert sample.tokens.max() < task.vocab_size
