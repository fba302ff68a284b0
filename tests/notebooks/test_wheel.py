"""A learner without a clone: each learner notebook runs, open as it is, where there is only the built wheel.

The environment holds the wheel; its dependencies are borrowed from this one through a .pth file, which Python does not
follow into the .pth file of an editable install, so that this checkout stays out of sight. The network is blocked.
"""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from latentkit.course import build
from latentkit.course.master import read_master
from tests.conftest import ROOT
from tests.notebooks.test_budget import over_budget, read_meter
from tests.notebooks.test_masters import LABS

pytestmark = pytest.mark.slow

MAX_WHEEL_BYTES = 25_000_000
BLOCK_NETWORK = """
import socket

HERE = {"localhost", "127.0.0.1", "::1", ""}


def guard(connect):
    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in HERE:
            raise OSError(f"a lab must not use the network: {address}")
        return connect(self, address)
    return guarded


socket.socket.connect = guard(socket.socket.connect)
socket.socket.connect_ex = guard(socket.socket.connect_ex)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", folder, ROOT], check=True)
    (path,) = folder.glob("latentkit-*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The Python of a fresh environment with nothing but the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (site / "sitecustomize.py").write_text(BLOCK_NETWORK)
    spec = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "language": "python"}
    kernel = folder / "share/jupyter/kernels/wheel/kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps(spec | {"display_name": "wheel"}))
    return python


def test_the_wheel_is_small_and_carries_what_labs_load(wheel):
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES
    inside = set(zipfile.ZipFile(wheel).namelist())
    listing = ["git", "ls-files", "-co", "--exclude-standard", "data", "latentkit"]
    for name in subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        assert name.replace("data/", "latentkit/_data/", 1) in inside
    assert {Path(name).suffix for name in inside if name.startswith("latentkit/widgets/")} >= {".py", ".js", ".css"}


def test_the_environment_is_the_wheels_and_has_no_network(python, tmp_path):
    where = "import latentkit; print(latentkit.__file__)"
    found = subprocess.run([python, "-c", where], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(python.parents[1])
    reach = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    tried = subprocess.run([python, "-c", reach], cwd=tmp_path, capture_output=True, text=True)
    assert "a lab must not use the network" in tried.stderr


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_an_unsolved_lab_runs_from_an_empty_folder(path, python, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(python.parents[1] / "share/jupyter"))
    notebook = nbformat.read(build.learner_path(read_master(path)), 4)
    meter, work = tmp_path / "meter.jsonl", tmp_path / "work"
    work.mkdir()
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "LATENTKIT_GRADING")}
    client = NotebookClient(notebook, timeout=300, kernel_name="wheel", resources={"metadata": {"path": str(work)}})
    client.execute(env={**kept, "LATENTKIT_METER": str(meter)})
    posed = {cell.name for cell in read_master(path).cells if cell.role == "exercise"}
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert {name for name in posed if f"{name}: not attempted" in said} == posed
    assert list(work.iterdir()) == []
    assert over_budget(read_meter(meter)) == []
