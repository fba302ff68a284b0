"""What every test runs under: shape types checked, one thread, tiers by folder, and the dated quarantine list."""

import datetime
import functools
import os
import sys
import tomllib
from pathlib import Path

# Before torch is imported: results that do not depend on the machine's core count, and no contention between workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import jaxtyping
import pytest

ROOT = Path(__file__).parent.parent
TIERS = {"browser", "book"}  # folders of tests/ whose name is their tier

if "latentkit" in sys.modules:
    raise RuntimeError("latentkit is imported already: its shape types cannot be switched on any more")
jaxtyping.install_import_hook("latentkit", "beartype.beartype")


@functools.cache
def quarantined() -> list[dict]:
    """The entries of tests/quarantine.toml."""
    return tomllib.loads((ROOT / "tests/quarantine.toml").read_text()).get("quarantine", [])


def quarantine_verdict(nodeid: str, entries: list[dict], today: datetime.date) -> tuple[str, str] | None:
    """("skip" or "fail", message) where an entry names this test, a file that holds it, or its parametrised parent."""
    for entry in entries:
        if nodeid == entry["test"] or nodeid.startswith((entry["test"] + "::", entry["test"] + "[")):
            if today > entry["until"]:
                return "fail", f"quarantined until {entry['until']} and not mended: {entry['reason']}"
            return "skip", f"quarantined until {entry['until']}: {entry['reason']}"
    return None


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by the folder they lie in."""
    for item in items:
        for tier in TIERS.intersection(item.path.relative_to(ROOT).parts):
            item.add_marker(tier)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips quarantined tests, fails overdue ones, and skips GPU tests where there is no GPU."""
    if verdict := quarantine_verdict(item.nodeid, quarantined(), datetime.date.today()):
        (pytest.skip if verdict[0] == "skip" else pytest.fail)(verdict[1])
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no GPU")


@pytest.fixture
def learners_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switches the shape types off, as they are outside the tests: for what latentkit itself says about bad input."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
