import os
import shutil
from pathlib import Path

import pytest

import latentkit.checks
from latentkit.course.master import read_master

FIXTURE = Path(__file__).parent / "fixture"


@pytest.fixture
def lab99(monkeypatch):
    """The fixture lab's checks, importable here and in the kernels that a test starts."""
    monkeypatch.setattr(latentkit.checks, "__path__", [*latentkit.checks.__path__, str(FIXTURE)])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FIXTURE), *filter(None, [os.environ.get("PYTHONPATH")])]))


@pytest.fixture
def repository(tmp_path, lab99):
    """A repository of its own that holds the fixture lab."""
    return Path(shutil.copytree(FIXTURE, tmp_path / "repository", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def master(repository):
    """The fixture lab's master."""
    return read_master(repository / "labs/source/99_fixture.py")
