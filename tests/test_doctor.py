import json
import resource
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from latentkit import doctor, paths


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of shipped data that does not depend on what the checkout holds."""
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims/one.json").write_text("{}")
    monkeypatch.setattr(paths, "shipped_dir", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def jupyterlab(monkeypatch):
    """A JupyterLab of some version, also where there is none (`make floors`)."""
    monkeypatch.setattr(doctor, "version", lambda package: "4.0")


def test_every_check_is_ok_here(data):
    assert {finding.name: finding.found for finding in doctor.examine() if finding.status == "fail"} == {}
    assert [finding.name for finding in doctor.examine()] == list(doctor.CHECKS)


def test_report_ends_with_a_verdict_and_says_how_to_mend():
    good = doctor.Finding("torch", "ok", "2.6")
    bad = doctor.Finding("memory", "fail", "0.1 GiB available", "close other programs")
    assert doctor.report([good]).endswith("The labs can run here.")
    assert doctor.report([good, bad]).splitlines()[1:] == [
        "FAIL  memory  0.1 GiB available",
        "              -> close other programs",
        "",
        "The labs do not run here yet: 1 to mend.",
    ]


def test_json_names_everything_and_hides_the_home_folder(monkeypatch, data):
    monkeypatch.setattr(doctor.Path, "home", lambda: data.parent)
    described = doctor.as_json(doctor.examine())
    assert str(data) not in described
    assert "~/" in described
    assert [check["name"] for check in json.loads(described)["checks"]] == list(doctor.CHECKS)


@pytest.mark.parametrize("missing", ["torch", "ipykernel", "jupyter_client.kernelspec", "jupyter_core.paths", "psutil"])
def test_a_missing_package_is_a_finding_not_a_crash(monkeypatch, jupyterlab, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    failed = [finding for finding in doctor.examine() if finding.status == "fail" and missing in finding.found]
    assert failed
    assert all(f"pip install {missing.partition('.')[0]}`" in finding.mend for finding in failed)


def test_a_check_that_crashes_is_a_finding(monkeypatch):
    monkeypatch.setitem(doctor.CHECKS, "port", lambda: 1 / 0)
    assert next(f for f in doctor.examine() if f.found.startswith("ZeroDivisionError")).mend == doctor.REINSTALL


def test_wrong_gradient_fails(monkeypatch):
    import torch

    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: a + b)
    assert doctor.check_torch().status == "fail"


def test_kernel_of_another_python_fails(monkeypatch):
    from jupyter_client.kernelspec import KernelSpecManager

    def kernel(program):
        spec = SimpleNamespace(argv=[program])
        monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda self, name: spec)
        return doctor.check_kernel().status

    assert kernel("/somewhere/else/bin/python") == "fail"
    assert kernel("python") == "ok"
    assert kernel(sys.executable) == "ok"


def test_widgets_without_their_extension_fail(monkeypatch, jupyterlab):
    import jupyter_core.paths

    monkeypatch.setattr(jupyter_core.paths, "jupyter_path", lambda name: [])
    finding = doctor.check_widgets()
    assert finding.status == "fail"
    assert "@jupyter-widgets/jupyterlab-manager" in finding.found


@pytest.mark.parametrize(("gib", "status"), [(0.5, "fail"), (1.5, "warn"), (2.5, "ok")])
def test_memory(monkeypatch, gib, status):
    monkeypatch.setattr(doctor, "available_memory", lambda: int(gib * doctor.GIB))
    assert doctor.check_memory().status == status


def test_port_skips_what_is_taken(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        monkeypatch.setattr(doctor, "FIRST_PORT", port)
        assert str(port) not in doctor.check_port().found
        monkeypatch.setattr(doctor, "PORTS", 1)
        assert doctor.check_port().status == "warn"


def test_data_missing_fails(data):
    (data / "claims/one.json").unlink()
    assert doctor.check_data().status == "fail"


def test_data_with_a_full_disk_warns(data, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    assert doctor.check_data().status == "warn"


def doctor_as_command(*command: str) -> tuple[subprocess.CompletedProcess, float]:
    """The process, and the CPU seconds it took (what it takes on an idle machine)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
def test_as_a_command():
    done, seconds = doctor_as_command("-m", "latentkit.doctor")
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("The labs can run here.\n")
    assert seconds < 10


@pytest.mark.slow
def test_as_a_command_without_torch_or_jupyter():
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'ipykernel', 'jupyter_client']))"
    done, _ = doctor_as_command("-c", f"{blocked}; from latentkit import cli; sys.exit(cli.main(['doctor', '--json']))")
    assert done.returncode == 1, done.stderr
    status = {check["name"]: check["status"] for check in json.loads(done.stdout)["checks"]}
    assert (status["PyTorch"], status["Jupyter kernel"], status["Python"]) == ("fail", "fail", "ok")
