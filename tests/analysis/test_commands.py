import json

import pytest
import torch
from torch.nn.functional import one_hot

from latentkit import cli
from latentkit.analysis import evaluate
from latentkit.analysis.commands import faults, parse
from latentkit.layers import MixingConfig
from latentkit.models import TRM, SudokuGraph, SudokuGraphConfig, TRMConfig
from latentkit.tasks.maze_generator import maze_csv
from latentkit.tasks.puzzles import BOARDS
from latentkit.tasks.sudoku_solver import solve
from latentkit.training import save_weights

PUZZLE, SOLUTION = "...3.2.1.....4..", "4123324123141432"
NINE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


class Filler(torch.nn.Module):
    """Solves 4x4 Sudokus one cell a pass; `tires` is the pass after which it swaps digits for ever."""

    def __init__(self, tires: int = 1000):
        super().__init__()
        self.tires, self.weight = tires, torch.nn.Parameter(torch.zeros(3))

    def encode(self, tokens):
        self.answer = torch.from_numpy(solve(tokens.numpy(), BOARDS[16], 1).solution).long() - 1
        return self.answer

    def initial_state(self, context):
        return torch.rand(*context.shape, 1)

    def step(self, state, context):
        return state + 1

    def decode(self, state):
        passes = int(state[0, 0, 0])
        answer = self.answer.clone()
        answer[:, passes:] = 0
        if passes > self.tires:
            answer = (answer + passes) % 4
        return 3 * one_hot(answer, 4).float()


@pytest.fixture
def filler(monkeypatch):
    def use(**options):
        monkeypatch.setattr(evaluate, "load_model", lambda name: Filler(**options).eval())

    use()
    return use


def run(*argv) -> int:
    return cli.main([str(word) for word in argv])


def write(path, *rows, header="split,source,puzzle,solution,band"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def rows() -> list[str]:
    """Twelve puzzles, by symmetry of the one: digits moved round; two sources, two bands, two splits."""
    found = []
    for i in range(12):
        moved = str.maketrans("1234", "".join(str((d + i) % 4 + 1) for d in range(4)))
        split = "train" if i >= 10 else "test"
        puzzle, solution = PUZZLE.translate(moved), SOLUTION.translate(moved)
        found.append(f"{split},{'ab'[i % 2]},{puzzle},{solution},{('hard', 'singles')[i % 5 == 0]}")
    return found


def test_solve_prints_each_change_and_the_verdict(filler, capsys):
    assert run("solve", PUZZLE, "--passes", 40) == 0
    said = capsys.readouterr().out
    changes = [line for line in said.splitlines() if line.startswith("pass")]
    assert "puzzle  " + PUZZLE in said
    assert changes[0].startswith("pass     1  4111111111111111  ")
    assert changes[1] == "pass     3  4121111111111111  1 changed", "pass 2 sets a digit that stood there already"
    assert SOLUTION in changes[-1]
    assert "    4 1 | 2 3\n    3 2 | 4 1\n    ----+----\n    2 3 | 1 4\n    1 4 | 3 2" in said
    assert "right: every row, column and box holds each digit once\nsettled: the answer last changed at pass 16" in said


def test_solve_says_when_it_is_wrong_or_unsettled(filler, capsys):
    assert run("solve", PUZZLE, "--passes", 9) == 1
    said = capsys.readouterr().out
    assert "wrong: 1 of the givens changed; 1 twice in row 3; " in said
    filler(tires=18)
    assert run("solve", PUZZLE, "--passes", 20) == 0, "four swaps of four digits"
    said = capsys.readouterr().out
    assert "right" in said
    assert "unsettled: the answer last changed at pass 20 of 20" in said


@pytest.mark.parametrize(
    ("puzzle", "said"),
    [
        ("123", "a puzzle of 3 characters; expected 16 (4x4), 36 (6x6) or 81 (9x9)"),
        ("", "a puzzle of 0 characters"),
        (PUZZLE + ".", "a puzzle of 17 characters"),
        (PUZZLE.replace("4", "5"), "unknown symbol '5' at row 4, column 2; expected 1 to 4, 0 or ."),
        (PUZZLE.replace("4", "x"), "unknown symbol 'x'"),
        (PUZZLE.replace("4", "²"), "unknown symbol '²'"),
        ("3" + PUZZLE[1:], "clashing givens: 3 twice in row 1"),
        ("12..............", "the puzzle has more than one solution; it needs exactly one"),
        ("123....4........", "the puzzle has no solution; it needs exactly one"),
    ],
)
def test_solve_refuses_what_is_no_puzzle_in_one_line(puzzle, said, filler, capsys):
    assert run("solve", puzzle) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"latentkit solve: {said}")
    assert err.count("\n") == 1


def test_blanks_may_be_noughts_and_a_grid_may_be_written_in_lines():
    plain = parse(PUZZLE)[0]
    assert torch.equal(parse(PUZZLE.replace(".", "0"))[0], plain)
    assert torch.equal(parse("...3\n.2.1\n....\n.4..\n")[0], plain)
    assert parse(NINE)[1].side == 9


def test_faults_in_words():
    tokens, board = parse(PUZZLE)
    solution = torch.tensor([int(digit) for digit in SOLUTION])
    assert faults(tokens[0], solution, board) == []
    swapped = solution[[1, 0, *range(2, 16)]]
    assert faults(tokens[0], swapped, board) == ["1 twice in column 1", "4 twice in column 2"]
    assert faults(tokens[0], torch.ones(16, dtype=torch.long), board)[:2] == [
        "3 of the givens changed",
        "1 twice in row 1",
    ]


def test_evaluate_by_band_and_source(filler, tmp_path, capsys):
    data = write(tmp_path / "four.csv", *rows())
    assert run("evaluate", "sudoku", "--data", data) == 0
    out, err = capsys.readouterr()
    assert "sudoku-graph, 3 parameters, 16 passes, one run each" in out
    assert "split test; bands by the file's band column" in out
    lines = [line.split() for line in out.splitlines()[4:]]
    assert [(line[0], line[1], line[2]) for line in lines] == [
        ("singles", "2", "100.0%"), ("a", "1", "100.0%"), ("b", "1", "100.0%"),
        ("hard", "8", "100.0%"), ("a", "4", "100.0%"), ("b", "4", "100.0%"), ("all", "10", "100.0%"),
    ]  # fmt: skip
    assert "10/10 puzzles" in err


def test_json_is_all_that_is_on_stdout(filler, tmp_path, capsys):
    data = write(tmp_path / "four.csv", *rows())
    assert run("evaluate", "sudoku", "--data", data, "--json", "--passes", 14, "--limit", 3) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert list(found) == ["bands"]
    assert list(found["bands"]) == ["singles", "hard"]
    assert {"n", "exact", "ci95"} <= found["bands"]["hard"].keys()
    assert (found["bands"]["singles"]["n"], found["bands"]["hard"]["n"]) == (2, 3)
    low, high = found["bands"]["hard"]["ci95"]
    assert 0 <= low <= found["bands"]["hard"]["exact"] <= high <= 1
    assert "puzzles" in err


@pytest.mark.parametrize(("split", "n"), [("test", 10), ("train", 2), ("all", 12)])
def test_the_split_is_what_was_asked_for(split, n, filler, tmp_path, capsys):
    data = write(tmp_path / "four.csv", *rows())
    assert run("evaluate", "sudoku", "--data", data, "--split", split, "--json") == 0
    assert sum(band["n"] for band in json.loads(capsys.readouterr().out)["bands"].values()) == n


def test_the_published_format_has_neither_split_nor_band(filler, tmp_path, capsys):
    data = write(tmp_path / "x.csv", f"s,{PUZZLE},{SOLUTION},0", header="source,question,answer,rating")
    assert run("evaluate", "sudoku", "--data", data) == 0
    out = capsys.readouterr().out
    assert "all rows; bands by guesses of our own solver" in out
    assert "singles" in out


def test_malformed_rows_are_named_and_the_rest_counts(filler, tmp_path, capsys):
    bad = f"test,a,{PUZZLE[:-1]},{SOLUTION},hard"
    data = write(tmp_path / "four.csv", bad, *rows(), *[bad] * 6)
    assert run("evaluate", "sudoku", "--data", data, "--json") == 0
    out, err = capsys.readouterr()
    assert sum(band["n"] for band in json.loads(out)["bands"].values()) == 10
    assert f"left out: {data}, line 2: puzzle has 15 cells, expected 16" in err
    assert "left out: 2 more malformed rows" in err


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Small models with random weights, as files."""
    folder = tmp_path_factory.mktemp("weights")
    save_weights(SudokuGraph(SudokuGraphConfig(2, 2, channels=2, hidden=2)), folder / "graph4.safetensors")
    block = MixingConfig(49, d_model=8, hidden=8, mixer="grid")
    save_weights(TRM(TRMConfig(4, 2, block)), folder / "maze.safetensors")
    return folder


def test_evaluate_with_weights_from_a_file(weights, tmp_path, capsys):
    data = write(tmp_path / "four.csv", *rows())
    model = weights / "graph4.safetensors"
    options = ["--model", model, "--passes", 3, "--restarts", 2, "--select", "agreement"]
    outs = []
    for seed in (0, 0):
        assert run("evaluate", "sudoku", "--data", data, *options, "--seed", seed) == 0
        outs.append(capsys.readouterr().out)
    assert "graph4, " in outs[0]
    assert "3 passes, best of 2 runs by agreement" in outs[0]
    assert outs[0] == outs[1]


def test_evaluate_mazes(weights, tmp_path, capsys):
    data, model = tmp_path / "mazes.csv", weights / "maze.safetensors"
    data.write_text(maze_csv(10, 90, 7, seed=1))
    options = ["--data", data, "--model", model, "--passes", 1, "--limit", 4]
    assert run("evaluate", "maze", *options) == 0
    assert "bands by cells on the path" in capsys.readouterr().out
    assert run("evaluate", "maze", *options, "--json") == 0
    bands = json.loads(capsys.readouterr().out)["bands"]
    assert {name: row["n"] for name, row in bands.items()} == {"short": 4, "medium": 4, "long": 4}
    assert all(0 <= row["valid"] <= 1 for row in bands.values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "none.csv"], "no file none.csv"),
        (["--data", "."], "no file ."),
        (["--data", "four.csv", "--split", "val"], "no puzzle has split 'val'; there are 'test', 'train'"),
        (
            ["--data", "four.csv", "--model", "deep-thought"],
            "no model 'deep-thought'; give a .safetensors file or one of ",
        ),
        (["--data", "four.csv", "--model", "s3-stack4"], "s3-stack4 is a Transformer, which has no passes"),
        (["--data", "nine.csv"], "this SudokuGraph does not fit puzzles of 81 cells: "),
        (["--data", "four.csv", "--passes", "0"], "passes=0"),
        (["--data", "four.csv", "--restarts", "0"], "restarts=0"),
        (["--data", "four.csv", "--limit", "0"], "limit=0"),
        (["--data", "four.csv", "--threads", "0"], "threads=0"),
        (["--data", "four.csv", "--restarts", "2", "--select", "halt_logit"], "this SudokuGraph has no halt_logit"),
        (["--data", "four.csv", "--model", "maze.safetensors"], "this TRM does not fit puzzles of 16 cells: "),
        (["--data", "noise.csv"], "noise.csv: columns "),
        (["--data", "empty.csv"], "empty.csv"),
        (["--data", "bad.csv"], "bad.csv: no puzzle in it; bad.csv, line 2: solution has blanks"),
    ],
)
def test_bad_input_is_one_line(options, said, weights, tmp_path, monkeypatch, capsys, learners_view):
    write(tmp_path / "four.csv", *rows())
    nine = "".join(str(d) for d in solve(parse(NINE)[0].numpy(), BOARDS[81]).solution[0])
    write(tmp_path / "nine.csv", f"test,a,{NINE},{nine},easy")
    (tmp_path / "noise.csv").write_bytes(bytes(range(256)))
    (tmp_path / "empty.csv").write_text("")
    write(tmp_path / "bad.csv", f"test,a,{PUZZLE},{PUZZLE},easy")
    for file in weights.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    model = [] if "--model" in options else ["--model", "graph4.safetensors"]
    assert run("evaluate", "sudoku", *options, *model) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"latentkit evaluate: {said}")
    assert err.count("\n") == 1
