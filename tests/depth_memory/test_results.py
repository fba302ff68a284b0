import json

import pytest

from latentkit import cli
from latentkit.depth_memory import load_map
from latentkit.depth_memory.cells import training_id
from latentkit.depth_memory.columns import COLUMNS, chance
from latentkit.depth_memory.commands import status
from latentkit.depth_memory.results import Cell, load, parse
from latentkit.depth_memory.rows import ROWS, arm_for
from latentkit.paths import shipped_dir
from tests.widgets.examples import small_map


def file(*scores, **changes):
    """The json of a cell whose seeds have these scores; None for one that broke down."""
    seeds = {
        str(i): {
            "status": "failed" if score is None else "ok",
            "reason": "the loss is nan" if score is None else "",
            "score": score,
            "cpu_seconds": None if score is None else 10.0 + i,
            "curve": [[5, 0.1 * i], [10, 0.2]],
        }
        for i, score in enumerate(scores)
    }
    about = {"parameters": 9, "flops": 1.0, "steps": 10, "batch": 2, "setup": {}, "chance": 0.2, "training": "x"}
    return {"row": "gru", "column": "words", "status": "", "reason": "", "seeds": seeds, **about, **changes}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.6, 0.7, 0.79), "ok"),  # less than a quarter of the way from chance, 0.2
        ((0.2,), "ok"),
        ((0.6, 0.86), "unstable"),
        ((0.6, None), "failed"),
        ((None,), "failed"),
        ((), "not run"),
    ],
)
def test_a_status_follows_from_the_seeds(scores, expected):
    cell = parse(file(*scores))
    assert cell.status == expected
    assert bool(cell.reason) == (expected in ("unstable", "failed"))
    assert cell.scores == tuple(score for score in scores if score is not None)


def test_numbers_of_a_cell():
    cell = parse(file(0.6, 0.7, 0.8))
    assert cell.mean == pytest.approx(0.7) and (cell.low, cell.high) == (0.6, 0.8)
    assert cell.above == pytest.approx((0.7 - 0.2) / 0.8)
    assert cell.cpu_seconds == 11.0
    assert [step for step, _ in cell.curve] == [5, 10]
    assert [value for _, value in cell.curve] == pytest.approx([0.1, 0.2])
    assert cell.text.startswith("0.70 right, 0.60 to 0.80 over 3 seeds; 62% of the way from chance (0.20)")
    empty = Cell("gru", "words")
    assert (empty.mean, empty.low, empty.above, empty.curve, empty.text) == (None, None, None, [], "not run.")


def test_a_map_knows_its_cells():
    table = small_map()
    assert table.cell("stack", "maze").status == "unstable"
    assert table.counts() == {"ok": 1, "unstable": 1, "failed": 2, "not run": 1, "not applicable": 1}
    assert table.best("needles") == ["gru"] and table.best("words") == ["stack"]
    with pytest.raises(KeyError, match="no cell 'stack' x 'sums'"):
        table.best("sums")


def test_what_has_no_file_is_not_run_or_does_not_apply(tmp_path):
    table = load_map(tmp_path)
    assert len(table.cells) == len(ROWS) * len(COLUMNS)
    assert table.counts() == {"not run": len(table.cells) - 3, "not applicable": 3}
    (tmp_path / "gru-words.json").write_text(json.dumps(file(0.5)))
    assert load_map(tmp_path).cell("gru", "words").scores == (0.5,)


@pytest.mark.parametrize("text", ["{", "[]", '{"row": "gru"}'])
def test_a_broken_file_is_named(text, tmp_path):
    (tmp_path / "gru-words.json").write_text(text)
    with pytest.raises(ValueError, match=r"gru-words\.json is no cell of the map .* `latentkit map` writes it"):
        load(ROWS, COLUMNS, tmp_path)


def test_the_shipped_map_was_trained_as_it_is_registered():
    """A cell whose recipe has changed since must be run again."""
    outdated = []
    for row in ROWS:
        for column in COLUMNS:
            path = shipped_dir() / "map" / f"{row.id}-{column.id}.json"
            if path.exists() and not row.refuses(column):
                found = json.loads(path.read_text())
                if found["training"] != training_id(arm_for(row, column), column):
                    outdated.append(path.name)
    assert outdated == []


def test_the_status_is_a_table():
    lines = status(small_map()).splitlines()
    assert lines[1].split() == ["stack", "56", "(2)", "~53", "(3)", "failed"]
    assert lines[2].split() == ["gru", "-", "n.a.", "failed"]
    assert lines[-1].startswith("6 cells: 1 ok, 1 unstable, 2 failed, 1 not run, 1 not applicable; 1 CPU minutes")


def test_the_command(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTKIT_HOME", str(tmp_path))
    assert cli.main(["map", "--status", "--rows", "gru", "--columns", "words", "copying"]) == 0
    said = capsys.readouterr().out
    assert "gru" in said and "words" in said and "copying" in said and "looped" not in said
    assert cli.main(["map", "--rows", "hrm", "--columns", "copying"]) == 0
    assert (tmp_path / "map" / "hrm-copying.json").is_file()
    assert capsys.readouterr().out.startswith("0 trained, written to ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rows", "lstm"], "no row 'lstm'; choose from transformer, "),
        (["--columns", "sums"], "no column 'sums'; choose from words, "),
        (["--seeds", "0"], "seeds=0"),
        (["--threads", "0"], "threads=0"),
    ],
)
def test_a_bad_option_is_one_line(options, said, capsys):
    assert cli.main(["map", *options]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_guess_that_skips_the_work_is_chance():
    """Two roots can be seen without following a pointer."""
    assert (parse(file(0.5)).chance, parse(file(0.5), guess=0.5).chance) == (0.2, 0.5)
    pointers = next(column for column in COLUMNS if column.id == "pointers")
    assert chance(pointers) == pointers.guess == 1 / pointers.task.chains
