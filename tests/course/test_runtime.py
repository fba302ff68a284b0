import json
import os
import random
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

import latentkit
from latentkit.checks.harness import CheckFailed, Exercise
from latentkit.course import runtime

BITS = torch.tensor([[1, 1, 0, 1]])
PARITY = [[1, 0, 0, 1]]


@pytest.fixture
def lab(lab99, monkeypatch):
    monkeypatch.delenv("LATENTKIT_GRADING", raising=False)
    return runtime.Lab("99")


def unsolved(lab):
    @lab.exercise("parity")
    def parity(bits):
        raise NotImplementedError("exercise 'parity'")

    return parity


def test_start_prints_one_line_and_seeds(lab99, capsys):
    lab = latentkit.start("99", seed=3)
    drawn = random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002
    latentkit.start("99", seed=3)
    assert drawn == (random.random(), np.random.random(), torch.rand(()).item())  # noqa: NPY002
    assert capsys.readouterr().out == f"latentkit {latentkit.__version__} · device cpu · seed 3\n" * 2
    assert (lab.id, lab.seed, lab.device) == ("99", 3, torch.device("cpu"))


def test_start_takes_one_thread_unless_threads_are_set(lab99, monkeypatch):
    threads = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    latentkit.start("99")
    monkeypatch.delenv("OMP_NUM_THREADS")
    latentkit.start("99")
    assert threads == [1]


def test_start_turns_on_widgets_in_colab(lab99, monkeypatch):
    calls = []
    output = ModuleType("google.colab.output")
    output.enable_custom_widget_manager = lambda: calls.append("on")
    for name, module in {"google": ModuleType("google"), "google.colab": ModuleType("google.colab")}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    latentkit.start("99")
    assert calls == ["on"]


def test_unknown_names_list_the_valid_ones(lab):
    with pytest.raises(ValueError, match=r"no lab '9': choose from .*99"):
        latentkit.start("9")
    with pytest.raises(ValueError, match="lab 99 has no exercise 'party': choose from parity"):
        lab.exercise("party")
    with pytest.raises(ValueError, match="choose from parity"):
        lab.check("party")


def test_an_unsolved_exercise_falls_back_with_one_notice(lab, capsys):
    parity = unsolved(lab)
    assert parity(BITS).tolist() == parity(BITS).tolist() == PARITY
    assert capsys.readouterr().out == "Exercise parity is not solved yet: latentkit's version runs in its place.\n"
    lab.check("parity")
    assert capsys.readouterr().out.startswith("○ parity: not attempted.")


def test_the_notice_is_html_with_a_plain_alternative(lab, monkeypatch):
    shown = []
    monkeypatch.setattr(runtime, "_ipython", object)
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    unsolved(lab)(BITS)
    assert len(shown) == 1
    assert shown[0]["text/plain"].startswith("Exercise parity is not solved yet")
    assert shown[0]["text/html"].startswith("<div style=") and "latentkit&#x27;s version" in shown[0]["text/html"]


def test_grading_has_no_fallback(lab, monkeypatch):
    parity = unsolved(lab)
    monkeypatch.setenv("LATENTKIT_GRADING", "1")
    with pytest.raises(NotImplementedError, match="exercise 'parity'"):
        parity(BITS)
    with pytest.raises(NotImplementedError, match="exercise 'parity'"):
        lab.check("parity")


def test_a_right_answer_passes_and_is_used(lab, capsys):
    @lab.exercise("parity")
    def parity(bits):
        """Mine."""
        return bits.cumsum(1) % 2

    assert (parity.__name__, parity.__doc__) == ("parity", "Mine.")
    assert parity(BITS).tolist() == PARITY
    assert lab.check("parity") is None  # a value would be read by nbgrader as a partial score
    assert capsys.readouterr().out == "✓ parity: passed.\n"


def test_a_wrong_answer_raises_and_is_used(lab):
    @lab.exercise("parity")
    def parity(bits):
        return bits

    assert parity(BITS) is BITS
    with pytest.raises(CheckFailed, match=r"parity\[.*\]: expected"):
        lab.check("parity")


def test_a_notebook_shows_a_failed_check_without_the_checks_own_lines(lab, capsys):
    shell = InteractiveShell()
    shell.user_ns["lab"] = lab
    lab.exercise("parity")(lambda bits: bits)
    shell.run_cell("lab.check('parity')")
    shown = capsys.readouterr().out
    assert shown.startswith("CheckFailed: parity[") and "check_parity" not in shown


def test_the_learners_own_exception_comes_through(lab):
    @lab.exercise("parity")
    def parity(bits):
        raise NotImplementedError("some operator on this device")

    for call in (lambda: parity(BITS), lambda: lab.check("parity")):
        with pytest.raises(NotImplementedError, match="some operator") as error:
            call()
        assert error.traceback[-1].name == "parity"


def test_checking_before_defining_says_what_to_run(lab):
    with pytest.raises(RuntimeError, match=r'run the cell with @lab.exercise\("parity"\) first'):
        lab.check("parity")


def test_solving_after_a_check_found_it_open(lab, capsys):
    unsolved(lab)
    lab.check("parity")
    lab.exercise("parity")(lambda bits: bits.cumsum(1) % 2)
    lab.check("parity")
    assert capsys.readouterr().out.endswith("✓ parity: passed.\n")


class Reference:
    """A class as the reference of an exercise."""

    def __init__(self, width):
        self.width = width

    def double(self):
        return 2 * self.width


def check_class(answer):
    assert answer(3).double() == 6


def test_a_class_falls_back_when_constructed(lab, capsys):
    lab._exercises = {"double": Exercise(Reference, check_class)}

    @lab.exercise("double")
    class Double:
        def __init__(self, width):
            raise NotImplementedError("exercise 'double'")

    assert isinstance(Double(3), Reference)
    lab.check("double")
    assert "not attempted" in capsys.readouterr().out


def test_a_class_with_an_open_method_falls_back_once_its_check_has_met_it(lab, capsys):
    lab._exercises = {"double": Exercise(Reference, check_class)}

    @lab.exercise("double")
    class Double:
        def __init__(self, width):
            self.width = width

        def double(self):
            raise NotImplementedError("exercise")  # nbgrader's stub

    lab.check("double")
    assert "not attempted" in capsys.readouterr().out
    assert Double(3).double() == 6


def test_the_meter_writes_a_line_a_cell(lab99, monkeypatch, tmp_path):
    shell = InteractiveShell()
    monkeypatch.setattr(runtime, "_ipython", lambda: shell)
    monkeypatch.setenv("LATENTKIT_METER", str(tmp_path / "meter.jsonl"))
    shell.run_cell("import latentkit\nlab = latentkit.start('99')")
    shell.run_cell("lab = latentkit.start('99')  # again: still one line a cell")
    shell.run_cell("\n# burn\nsum(range(3_000_000)); None")
    shell.run_cell("1 / 0")
    lines = [json.loads(line) for line in (tmp_path / "meter.jsonl").read_text().splitlines()]
    assert [(line["lab"], line["run"], line["cell"]) for line in lines] == [("99", os.getpid(), i) for i in range(4)]
    assert [line["line"] for line in lines][2:] == ["# burn", "1 / 0"]
    assert lines[2]["cpu_seconds"] > 0.01 and lines[2]["max_rss"] > 2**20
