import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from latentkit.analysis import evaluate
from latentkit.analysis.evaluate import Answers, answer_all, by_band, first_of_each_band, in_order, wilson, with_bands
from latentkit.layers import MixingConfig
from latentkit.models import FeedForward, FeedForwardConfig, SudokuGraph, SudokuGraphConfig, TRMConfig, build
from latentkit.recurrence import DepthRecurrent
from latentkit.tasks.maze import cell_depth, solve
from latentkit.tasks.puzzles import PuzzleSet
from latentkit.training import save_weights


class Recaller:
    """Knows some answers by heart, the later ones only after more passes: answer i after i + 1."""

    def __init__(self, tokens, answers, classes):
        self.table = {
            tuple(row): (i, answer) for i, (row, answer) in enumerate(zip(tokens.tolist(), answers, strict=True))
        }
        self.classes = classes

    def encode(self, tokens):
        known = [self.table[tuple(row)] for row in tokens.tolist()]
        return torch.tensor([i for i, _ in known]), torch.stack([answer for _, answer in known])

    def initial_state(self, context):
        return torch.cat([torch.rand(*context[1].shape, 1), torch.zeros(*context[1].shape, self.classes)], -1)

    def step(self, state, context):
        passes = state[..., :1].floor() + 1
        ready = passes > context[0][:, None, None]
        answer = torch.where(ready, one_hot(context[1].long(), self.classes).float(), 0.1)
        return torch.cat([passes, answer], -1)

    def decode(self, state):
        return 9 * state[..., 1:]


def puzzles(n: int, band=(), source=(), cells: int = 4) -> PuzzleSet:
    tokens = torch.arange(n)[:, None].expand(n, cells).to(torch.int8)
    targets = (torch.ones(n, cells) + torch.arange(n)[:, None] % 2).to(torch.int8)
    words = [np.array(column or [""] * n) for column in (band, source, ())]
    return PuzzleSet(tokens, targets, *words, guesses=torch.full((n,), torch.nan), measure=cell_depth)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # Brown, Cai and DasGupta 2001 recommend it; values from R's prop.test(right, n, correct=FALSE)
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (5, 10, 0.23659, 0.76341), (81, 263, 0.25527, 0.36622)],
)
def test_wilson_by_table(right, n, low, high):
    assert wilson(right, n) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("right", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_share(right, n):
    with pytest.raises(ValueError, match=f"right={right}, n={n}"):
        wilson(right, n)


def test_wilson_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).binomial(80, 0.9, 4000)
    inside = [low <= 0.9 <= high for low, high in (wilson(int(k), 80) for k in draws)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_more_passes_solve_more_and_progress_counts_puzzles():
    some = puzzles(6)
    model = Recaller(some.tokens, some.targets, 3)
    done: list[float] = []
    assert isinstance(model, DepthRecurrent)
    for passes in (1, 4, 20):
        answers = answer_all(model, some, passes=passes, runs=2, progress=done.append)
        assert answers.exact.tolist() == [i < passes for i in range(6)]
        assert answers.valid.tolist() == answers.exact.tolist()
        assert sum(done) == pytest.approx(6)
        done.clear()


def test_blocks_are_put_together_in_order(monkeypatch):
    some = puzzles(7)
    model = Recaller(some.tokens, some.targets, 3)
    monkeypatch.setattr(evaluate, "_BLOCK", 3)
    assert answer_all(model, some, passes=5).exact.tolist() == [i < 5 for i in range(7)]


def test_a_maze_may_have_another_shortest_path():
    open_square = torch.tensor([[2, 1, 1, 3]])
    stored = solve(open_square).targets
    other = torch.tensor([[1, 1, 1, 1]]) - stored + torch.tensor([[1, 0, 0, 1]])
    words = np.array([""])
    maze = PuzzleSet(
        open_square.to(torch.int8), stored.to(torch.int8), words, words, words, torch.full((1,), torch.nan), cell_depth
    )
    answers = answer_all(Recaller(open_square, other, 2), maze, passes=2, mazes=True)
    assert (answers.exact.tolist(), answers.valid.tolist()) == ([False], [True])


def test_by_band_counts_bands_and_sources():
    some = puzzles(5, band=["hard", "easy", "hard", "hard", "odd"], source=["a", "a", "b", "a", ""])
    answers = Answers(torch.tensor([True, True, False, False, True]), torch.tensor([True, True, True, False, True]))
    table = by_band(some, answers)
    assert list(table) == ["easy", "hard", "odd"]
    assert (table["hard"]["n"], table["hard"]["exact"]) == (3, 0.3333)
    assert table["hard"]["ci95"] == pytest.approx(wilson(1, 3), abs=1e-4)
    assert {s: (row["n"], row["exact"]) for s, row in table["hard"]["sources"].items()} == {
        "a": (2, 0.5),
        "b": (1, 0.0),
    }
    assert "valid" not in table["hard"]
    assert by_band(some, answers, mazes=True)["hard"]["valid"] == 0.6667


def test_bands_are_in_order_of_difficulty():
    assert in_order(["extreme", "singles", "zebra", "hard", "medium"]) == [
        "singles",
        "medium",
        "hard",
        "extreme",
        "zebra",
    ]
    assert in_order(["long", "medium", "short", "short"]) == ["short", "medium", "long"]


def test_the_first_of_each_band_stay_in_file_order():
    some = puzzles(6, band=["b", "a", "b", "b", "a", "c"])
    assert first_of_each_band(some, 2).tokens[:, 0].tolist() == [0, 1, 2, 4, 5]
    with pytest.raises(ValueError, match="limit=0"):
        first_of_each_band(some, 0)


EASY = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
INKALA = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."


def sudokus(texts: list[str]) -> PuzzleSet:
    tokens = torch.tensor([[0 if symbol == "." else int(symbol) for symbol in text] for text in texts])
    words = np.array([""] * len(texts))
    return PuzzleSet(
        tokens.to(torch.int8),
        tokens.to(torch.int8),
        words,
        words,
        words,
        torch.full((len(texts),), torch.nan),
        cell_depth,
    )


def test_sudokus_without_a_band_are_sorted_by_our_own_guesses():
    found, said = with_bands(sudokus([EASY, INKALA, EASY]))
    assert found.band.tolist() == ["singles", "extreme", "singles"]
    assert said == "guesses of our own solver"


def test_a_band_for_every_puzzle_is_taken_from_the_file():
    named = puzzles(2, band=["fiendish", "mild"], cells=81)
    assert with_bands(named) == (named, "the file's band column")
    half = sudokus([EASY, INKALA])
    half.band[0] = "fiendish"
    assert with_bands(half)[0].band.tolist() == ["singles", "extreme"]


def test_counting_stops_when_every_band_has_enough(monkeypatch):
    guesses = iter([[0, 1, 5, 50], [0, 0, 0, 0], [0, 0, 0, 0]])

    class Said:
        def __init__(self, *_, **__):
            self.guesses = np.array(next(guesses))

    monkeypatch.setattr(evaluate, "_BLOCK", 1)
    monkeypatch.setattr(evaluate, "solve", Said)
    found, _ = with_bands(puzzles(12, cells=81), enough=1)
    assert found.band.tolist() == ["singles", "medium", "hard", "extreme"]
    assert len(found) == 4


def test_mazes_without_a_band_are_sorted_by_the_path():
    some = puzzles(3, cells=49)
    some.targets[:] = 0
    for i, length in enumerate((7, 14, 15)):
        some.targets[i, :length] = 1
    found, said = with_bands(some, mazes=True)
    assert found.band.tolist() == ["short", "medium", "long"]
    assert said == "cells on the path"


def test_models_are_found_by_file_and_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTKIT_HOME", str(tmp_path))
    save_weights(SudokuGraph(SudokuGraphConfig(2, 2, channels=2, hidden=2)), tmp_path / "checkpoints/mine.safetensors")
    by_file, by_name = (evaluate.load_model(name) for name in (str(tmp_path / "checkpoints/mine.safetensors"), "mine"))
    assert torch.equal(by_file.head.weight, by_name.head.weight)
    assert not by_file.training
    assert evaluate.default_passes(by_file) == 256
    with pytest.raises(ValueError, match=r"no model 'yours'; give a \.safetensors file or one of .*s3-loop"):
        evaluate.load_model("yours")
    save_weights(FeedForward(FeedForwardConfig(3, 2, MixingConfig(9))), tmp_path / "stack.safetensors")
    with pytest.raises(ValueError, match="is a FeedForward, which has no passes"):
        evaluate.load_model(str(tmp_path / "stack.safetensors"))
    with pytest.raises(FileNotFoundError):
        evaluate.load_model(str(tmp_path / "none.safetensors"))


def test_a_model_of_another_board_is_refused(learners_view):
    model = SudokuGraph(SudokuGraphConfig(2, 2, channels=2, hidden=2))
    with pytest.raises(ValueError, match="this SudokuGraph does not fit puzzles of 81 cells"):
        evaluate.check_fit(model, torch.zeros(1, 81, dtype=torch.long), 9)
    with pytest.raises(ValueError, match="answers with 4 classes, the puzzles need 5"):
        evaluate.check_fit(model, torch.zeros(1, 16, dtype=torch.long), 5)
    with pytest.raises(ValueError, match="no halt_logit to select by"):
        evaluate.check_fit(model, torch.zeros(1, 16, dtype=torch.long), 4, runs=2, signal="halt_logit")
    evaluate.check_fit(model, torch.zeros(1, 16, dtype=torch.long), 4)


def test_guesses_are_refused_where_a_model_cannot_suppose():
    model = build(TRMConfig(5, 4, MixingConfig(16)))
    with pytest.raises(ValueError, match="guesses=2 with a TRM"):
        evaluate.check_fit(model, torch.zeros(1, 16, dtype=torch.long), 4, guesses=2)
