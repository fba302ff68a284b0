import json

import numpy as np
import pytest
import torch

from latentkit import cli, paths
from latentkit.tasks import commands, puzzles, read_sudoku_csv
from latentkit.tasks.puzzles import COLUMNS, csv_text
from latentkit.tasks.sudoku_solver import Board, singles_depth

PUZZLE, SOLUTION = "1...34..2..3....", "1234341221434321"
NINE = (
    "4.85..967..5.3.....6.......5....867...1..2........7..5....1.2.8.....4.3.8.....1.4",
    "438521967915736842267849513524398671671452389389167425743615298152984736896273154",
)


def row(**other) -> dict[str, object]:
    fixed = {"split": "train", "source": "own", "puzzle": PUZZLE, "solution": SOLUTION, "n_clues": 6, "band": "easy"}
    return fixed | {"guesses": 1.5, "grid_class": ""} | other


@pytest.fixture
def file(tmp_path):
    """Writes a text, gives its path."""

    def write(text: str | bytes):
        path = tmp_path / "file.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def test_what_is_written_is_read_again(file):
    path = file(csv_text([row(), row(split="test", band="hard", guesses=3, source="x")]))
    read = read_sudoku_csv(path)
    assert len(read) == 2
    assert read.tokens.tolist()[0] == [int(c) for c in PUZZLE.replace(".", "0")]
    assert read.targets.tolist()[1] == [int(c) - 1 for c in SOLUTION]
    assert read.guesses.tolist() == [1.5, 3]
    assert [list(column) for column in (read.split, read.band, read.source)] == [
        ["train", "test"],
        ["easy", "hard"],
        ["own", "x"],
    ]
    assert read.skipped == ()
    assert torch.equal(read.depth, torch.from_numpy(singles_depth(read.tokens.numpy(), Board(2, 2))))


def test_the_columns_of_the_verified_collection_are_read(file):
    """The columns of ../shared/data/sudoku_real.csv."""
    header = "split,source,puzzle,solution,n_clues,se_rating,band,guesses,tdoku_guesses,grid_class"
    read = read_sudoku_csv(file(f"{header}\ntest,forum,{NINE[0]},{NINE[1]},25,7.2,hard,4.33,1.22,155c5a49b0e4\n"))
    assert (read.split[0], read.source[0], read.band[0]) == ("test", "forum", "hard")
    assert read.guesses.tolist() == pytest.approx([4.33])
    assert read.tokens.shape == (1, 81)


def test_sudoku_extreme_as_published_is_read(file):
    """With its byte-order mark, Windows line ends, an empty line and zeros for blanks."""
    text = f"\ufeffsource,question,answer,rating\r\npuzzles0,{NINE[0].replace('.', '0')},{NINE[1]},12\r\n\r\n"
    read = read_sudoku_csv(file(text))
    assert read.tokens[0, :4].tolist() == [4, 0, 8, 5]
    assert (read.source[0], read.band[0], read.split[0]) == ("puzzles0", "", "")
    assert read.guesses.tolist() == [12]


def test_the_board_is_what_the_length_says_unless_told_otherwise(file):
    shape = "123456" + "456123" + "231564" + "564231" + "312645" + "645312"  # boxes of 2x3 and of 3x2 alike? only 2x3
    path = file(f"puzzle,solution\n{'.' * 36},{shape}\n")
    assert read_sudoku_csv(path).tokens.shape == (1, 36)
    with pytest.raises(ValueError, match="line 2: solution has a digit twice"):
        read_sudoku_csv(path, Board(3, 2))


BAD = {
    "short": (row(puzzle=PUZZLE[:-1]), "puzzle has 15 cells, expected 16"),
    "long": (row(solution=SOLUTION + "1"), "solution has 17 cells, expected 16"),
    "letter": (row(puzzle="x" + PUZZLE[1:]), "puzzle has the unknown symbol 'x'; expected . or 0 to 4"),
    "digit": (row(puzzle="5" + PUZZLE[1:]), "puzzle has the unknown symbol '5'"),
    "accent": (row(puzzle="é" + PUZZLE[1:]), "puzzle has the unknown symbol 'é'"),
    "blank": (row(solution="." + SOLUTION[1:]), "solution has blanks"),
    "rules": (row(puzzle="." * 16, solution="1" + SOLUTION[:-1]), "solution has a digit twice in a row, column or box"),
    "given": (row(puzzle="2" + "." * 15), "solution differs from a given"),
    "number": (row(guesses="many"), "'many' guesses is not a number"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_row_is_named_by_file_line_and_reason(name, file):
    bad, reason = BAD[name]
    path = file(csv_text([row(), bad, row()]))
    with pytest.raises(ValueError) as refused:
        read_sudoku_csv(path)
    assert str(refused.value).startswith(f"{path}, line 3: {reason}")
    assert "more malformed" not in str(refused.value)


def test_the_others_are_counted_or_left_out_with_a_report_and_nothing_else_is_lost(file, monkeypatch):
    monkeypatch.setattr(puzzles, "_CHUNK", 4)
    path = file(csv_text([entry for bad, _ in BAD.values() for entry in (row(), bad)]) + "too,few\n")
    with pytest.raises(ValueError, match=rf"line 3: puzzle has 15 cells, expected 16 \(and {len(BAD)} more malformed"):
        read_sudoku_csv(path)
    read = read_sudoku_csv(path, skip_malformed=True)
    assert len(read) == len(BAD)
    assert (read.tokens == read.tokens[0]).all()
    expected = [reason for _, reason in BAD.values()] + ["2 columns, the header has 8"]
    lines = [*range(3, 2 * len(BAD) + 2, 2), 2 * len(BAD) + 2]
    for said, line, reason in zip(read.skipped, lines, expected, strict=True):
        assert said.startswith(f"{path}, line {line}: {reason}")


def test_a_byte_that_is_no_text_is_an_unknown_symbol(file):
    path = file(csv_text([row(), row()]).encode()[:-30] + b"\xff\n")
    assert len(read_sudoku_csv(path, skip_malformed=True).skipped) == 1


def test_a_first_row_that_is_malformed_does_not_hide_the_board(file):
    path = file(csv_text([row(puzzle="1"), row()]))
    assert len(read_sudoku_csv(path, skip_malformed=True)) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no puzzle in it"),
        ("a,b\n1,2\n", "columns a, b; needs puzzle and solution, or question and answer"),
        ("puzzle,solution\n", "no puzzle in it"),
        ("puzzle,solution\n12,12\n", r"line 2: a puzzle of 2 cells; expected 16 \(4x4\), 36 \(6x6\) or 81 \(9x9\)"),
        (f"puzzle,solution\n{PUZZLE},{PUZZLE}\n", "line 2: solution has blanks"),
    ],
)
def test_a_file_without_puzzles_is_refused(text, said, file):
    with pytest.raises(ValueError, match=said):
        read_sudoku_csv(file(text), skip_malformed=True)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        read_sudoku_csv(tmp_path / "nothing.csv")


def test_rows_are_selected_by_what_the_file_says(file):
    bands = ["easy", "hard", "easy", "hard"]
    read = read_sudoku_csv(
        file(csv_text([row(band=band, split="test" if i > 1 else "train", guesses=i) for i, band in enumerate(bands)]))
    )
    assert read.select().guesses.tolist() == [0, 1, 2, 3]
    assert read.select(band="hard").guesses.tolist() == [1, 3]
    assert read.select(split="test", band="hard", source="own").guesses.tolist() == [3]
    assert read.select(band="easy", limit=1).guesses.tolist() == [0]
    assert read[1:3].guesses.tolist() == read[[1, 2]].guesses.tolist() == [1, 2]
    assert read[np.array([True, False, False, True])].band.tolist() == ["easy", "hard"]
    batch = read[2:].batch()
    assert [field.dtype for field in batch] == [torch.int64] * 3
    assert torch.equal(batch.depth, read.depth[2:])
    with pytest.raises(ValueError, match="no puzzle has band 'medium'; there are 'easy', 'hard'"):
        read.select(band="medium")


def test_depth_is_measured_once_when_asked_for(file):
    read = read_sudoku_csv(file(csv_text([row(), row()])))
    depth = read.depth
    assert read.depth is depth
    assert read[:1].__dict__["depth"].data_ptr() == depth[:1].data_ptr() or torch.equal(read[:1].depth, depth[:1])


@pytest.mark.parametrize(
    "name", [name for name in commands.RECIPES if (paths.shipped_dir() / f"puzzles/{name}.csv").exists()]
)
def test_what_is_shipped_has_the_recipe_s_columns_and_counts(name):
    text = (paths.shipped_dir() / f"puzzles/{name}.csv").read_text()
    about = json.loads((paths.shipped_dir() / f"puzzles/{name}.json").read_text())
    seconds = about.pop("cpu_seconds")
    assert 0 < seconds < 1000
    assert about | {"cpu_seconds": 0.0} == commands.about(name, commands.RECIPES[name].seed, text, 0.0)
    if name.startswith("sudoku"):
        assert text.splitlines()[0] == ",".join(COLUMNS)
    assert "\r" not in text


@pytest.mark.parametrize("name", ["maze-7x7", "sudoku-4x4", pytest.param("sudoku-6x6", marks=pytest.mark.slow)])
def test_the_command_makes_the_shipped_file_again(name, tmp_path, capsys):
    made = tmp_path / "new" / "made.csv"
    assert cli.main(["puzzles", name, "--out", str(made)]) == 0
    assert made.read_bytes() == (paths.shipped_dir() / f"puzzles/{name}.csv").read_bytes()
    assert str(made) in capsys.readouterr().err
    assert json.loads(made.with_suffix(".json").read_text())["command"] == f"latentkit puzzles {name}"


def test_new_puzzles_go_where_one_says(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LATENTKIT_HOME", str(tmp_path))
    assert cli.main(["puzzles", "sudoku-4x4", "--seed", "1"]) == 2
    assert "--seed 1 without --out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    other = tmp_path / "other.csv"
    assert cli.main(["puzzles", "sudoku-4x4", "--seed", "1", "--out", str(other)]) == 0
    assert other.read_text() != (paths.shipped_dir() / "puzzles/sudoku-4x4.csv").read_text()
    assert len(read_sudoku_csv(other)) == 300
    assert cli.main(["puzzles", "sudoku-4x4"]) == 0
    assert (tmp_path / "puzzles/sudoku-4x4.csv").exists()
