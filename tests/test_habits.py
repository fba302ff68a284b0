"""What we agreed on and would otherwise forget. (Docstrings are ruff's business.)"""

import ast
import datetime
import re
import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest
import torch

from tests.conftest import ROOT, quarantine_verdict, quarantined

PACKAGE = sorted((ROOT / "latentkit").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
ALLOWED_SKIPS = ("no GPU", "no Chromium")

# The floors of latentkit, from the ground up: a module imports from its own floor and from those below.
FLOORS = [
    {"paths", "style"},
    {"layers", "recurrence"},
    {"tasks", "models"},
    {"training"},
    {"analysis"},
    {"checks"},
    {"claims", "depth_memory"},
    {"plots", "widgets"},
    {"course"},
    {"doctor"},
    {"cli", "__main__"},
]
STRANGERS = {"tasks", "models"}  # a claim is where they meet
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, dotted module) of every absolute import, wherever in the file it stands."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            # `from latentkit import layers` imports a module of latentkit, `from torch import nn` names torch
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def calls(path: Path) -> list[tuple[int, str, ast.Call]]:
    """(line, dotted name, node) of every call."""
    return [(node.lineno, ast.unparse(node.func), node) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]


def floor(name: str) -> int:
    return next(number for number, names in enumerate(FLOORS) if name in names)


def module_name(path: Path) -> str:
    """`layers` for latentkit/layers.py, `models` for latentkit/models/looped.py."""
    return path.relative_to(ROOT / "latentkit").parts[0].removesuffix(".py")


def test_every_module_has_its_floor():
    assert {module_name(path) for path in PACKAGE} - set().union(*FLOORS) == {"__init__"}


def test_imports_only_go_down():
    wrong = []
    for path in PACKAGE:
        here = module_name(path)
        if here == "__init__":
            continue  # re-exports lazily
        for line, name in imports(path):
            top, _, rest = name.partition(".")
            there = rest.partition(".")[0]
            if top != "latentkit" or not any(there in names for names in FLOORS):
                continue  # another package, or a name such as latentkit.__version__
            if floor(there) > floor(here) or {here, there} == STRANGERS:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {here} imports {there}")
    assert wrong == []


def test_nothing_is_pickled():
    wrong = [f"{p}:{line}: {name}" for p in PACKAGE for line, name in imports(p) if name.partition(".")[0] in PICKLES]
    for path in PACKAGE:
        for line, name, call in calls(path):
            pickles = any(word.arg == "allow_pickle" for word in call.keywords)
            if name in ("torch.load", "torch.save") or pickles:
                wrong.append(f"{path}:{line}: {name}")
    assert wrong == []


def test_importing_latentkit_is_light():
    """`latentkit doctor` must run where torch is broken."""
    code = "import sys, latentkit, latentkit.cli, latentkit.doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_skip_names_an_allowed_reason(path):
    """Everything else that a test needs is in requirements.txt: where it is missing, the test fails."""
    for line, name, call in calls(path):
        if name not in ("pytest.skip", "pytest.mark.skip", "pytest.mark.skipif", "pytest.importorskip"):
            continue
        reason = next(
            (word.value for word in call.keywords if word.arg == "reason"), call.args[0] if call.args else None
        )
        text = reason.value if isinstance(reason, ast.Constant) else ""
        assert str(text).startswith(ALLOWED_SKIPS), f"{path}:{line}: {name} with {text!r}: use tests/quarantine.toml"


def test_quarantine_skips_until_its_day_and_then_fails():
    day = datetime.date(2026, 3, 1)
    entry = {"test": "tests/test_a.py::test_b", "reason": "why", "since": datetime.date(2026, 2, 1), "until": day}
    later = day + datetime.timedelta(days=1)
    assert quarantine_verdict("tests/test_a.py::test_b", [entry], day)[0] == "skip"
    assert quarantine_verdict("tests/test_a.py::test_b[1]", [entry], day)[0] == "skip"
    assert quarantine_verdict("tests/test_a.py::test_b", [entry], later)[0] == "fail"
    assert quarantine_verdict("tests/test_a.py::test_bc", [entry], later) is None
    assert "why" in quarantine_verdict("labs/solved/x.ipynb::Cell 3", [entry | {"test": "labs/solved/x.ipynb"}], day)[1]


def test_quarantine_entries_are_complete_short_and_about_something():
    for entry in quarantined():
        assert entry.keys() == {"test", "reason", "since", "until"}, entry
        assert len(entry["reason"]) > 10, entry
        assert datetime.timedelta(0) < entry["until"] - entry["since"] <= datetime.timedelta(days=60), entry
        file, _, name = entry["test"].partition("::")
        assert (ROOT / file).is_file(), entry
        assert name.partition("[")[0].rpartition("::")[2] in (ROOT / file).read_text(), entry


def test_every_make_target_has_help():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", text, re.M))
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split())
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets == phony == set(re.findall(r"^  make ([\w-]+) +\S", listed, re.M))


def test_shape_types_are_checked_in_tests():
    from latentkit.layers import Attention, BlockConfig

    attention = Attention(BlockConfig(d_model=8, num_heads=2))
    x, bias_of_another_length = torch.zeros(3, 5, 8), torch.zeros(2, 1, 5)
    with pytest.raises(jaxtyping.TypeCheckError):
        attention(x, bias_of_another_length)  # torch itself would broadcast it


def test_shape_types_can_be_switched_off(learners_view):
    from latentkit.layers import Attention, BlockConfig

    assert Attention(BlockConfig(d_model=8, num_heads=2))(torch.zeros(3, 5, 8), torch.zeros(2, 1, 5)).shape == (3, 5, 8)
