import json
from dataclasses import replace

import pytest

from latentkit import cli
from latentkit.claims import REGISTRY, ledger
from latentkit.claims.experiment import collect
from latentkit.claims.ledger import Record, Source

RECORD = Record(
    id="zz-test",
    lab="07",
    statement="A state h_t = [h; e] with [ odd ] brackets, “quotes” and ≥.",
    source=Source("Paper 2020", "section 2", "42 of 43", "paper2020"),
    setup={"a": {"parameters": 7, "batches": {"low": 2}}},
    metrics=collect({"a": [{"x": 31, "y": 0.5, "curve": [0.1, 0.25]}, {"x": 32, "y": 0.5, "curve": [0.3, 1.0]}]}),
    verdict="partly",
    rule="a rule",
    note="",
    seeds=2,
    budget="cpu",
    command="latentkit reproduce zz-test --seeds 2",
    cpu_seconds=12.6,
    environment={"torch": "2", "threads": 1},
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTKIT_HOME", str(tmp_path))
    return tmp_path


def test_an_entry_comes_back_as_it_was_written(home):
    path = ledger.save(RECORD)
    assert path == home / "claims/zz-test.json"
    assert ledger.load("zz-test") == RECORD
    assert [file.name for file in path.parent.iterdir()] == ["zz-test.json"]


def test_an_entry_is_readable_with_one_list_a_line(home):
    text = ledger.save(RECORD).read_text()
    assert json.loads(text)["statement"] == RECORD.statement
    assert '"values": [31, 32],' in text
    assert "[0.1, 0.25]" in text


def test_a_larger_budget_is_kept_beside(home):
    ledger.save(RECORD)
    ledger.save(replace(RECORD, budget="gpu", verdict="reproduced"))
    assert ledger.load("zz-test").verdict == "partly"
    assert ledger.load("zz-test-gpu").verdict == "reproduced"


def test_the_readers_own_run_replaces_the_shipped_entry(home):
    shipped = next(record.id for record in ledger.load_all())
    ledger.save(replace(RECORD, id=shipped))
    assert ledger.load(shipped).statement == RECORD.statement
    assert [record.id for record in ledger.load_all()].count(shipped) == 1


def test_all_entries_come_by_lab_and_id(home):
    for name, lab in (("b", "99"), ("a", "99"), ("c", "00")):
        ledger.save(replace(RECORD, id=name, lab=lab))
    ids = [record.id for record in ledger.load_all()]
    assert ids[0] == "c"
    assert ids[-2:] == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "digits", "text"),
    [
        ([31, 32, 32], 2, "31.67 (31 to 32)"),
        ([32, 32], 2, "32"),
        ([0.5, 0.25], 2, "0.38 (0.25 to 0.50)"),
        ([0.5, 0.25], 1, "0.4 (0.2 to 0.5)"),
        ([1.001, 1.002], 2, "1.00"),  # equal to as many digits as are shown
    ],
)
def test_spread_as_text(values, digits, text):
    record = replace(RECORD, metrics=collect({"a": [{"x": value} for value in values]}))
    assert record.spread("a/x", digits) == text


def test_values_and_mean():
    assert RECORD.values("a/x") == [31, 32]
    assert RECORD.values("a/curve") == [[0.1, 0.25], [0.3, 1.0]]
    assert RECORD.mean("a/y") == 0.5


def test_an_unknown_metric_or_entry_lists_the_known_ones(home):
    for read in (RECORD.values, RECORD.mean, RECORD.spread):
        with pytest.raises(KeyError, match="claim 'zz-test' has no metric 'a/z'; it has a/x, a/y, a/curve"):
            read("a/z")
    with pytest.raises(FileNotFoundError, match=r"'claims/none\.json'; claims/ holds .*\.json"):
        ledger.load("none")


def test_markdown_table():
    lines = ledger.markdown_table([RECORD]).splitlines()
    assert lines[0].split("|")[1:-1] == [" lab ", " claim ", " verdict ", " seeds ", " CPU s "]
    assert lines[2] == f"| 07 | {RECORD.statement} | **partly** | 2 | 13 |"


def test_the_claims_command_shows_what_was_run_and_what_never_was(home, capsys, monkeypatch):
    monkeypatch.setattr(ledger, "load_all", lambda: [RECORD])
    assert cli.main(["claims"]) == 0
    said = capsys.readouterr().out
    assert "zz-test" in said and "partly" in said and "2 seeds" in said and RECORD.statement in said
    assert all(f"never run: latentkit reproduce {claim}" in said for claim in REGISTRY)
    assert cli.main(["claims", "--markdown"]) == 0
    assert capsys.readouterr().out == ledger.markdown_table([RECORD]) + "\n"
