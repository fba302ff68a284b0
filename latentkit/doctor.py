"""`latentkit doctor`: can the labs run here, and how to mend what is missing.

Everything that may be broken is imported inside the check that looks at it, so that the doctor runs where torch or
Jupyter do not.
"""

import argparse
import json
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Literal

import latentkit
from latentkit import paths

GIB = 2**30
FIRST_PORT, PORTS = 8888, 10  # JupyterLab starts at the first and tries the following ones
REINSTALL = "run `make lab` again (from a checkout), or `pip install latentkit`"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: what was looked at.
        status: "ok"; "warn": labs run, with a drawback; "fail": labs do not run.
        found: what is there.
        mend: what to do about it; empty where nothing needs doing.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    mend: str = ""


def check_python() -> Finding:
    """Python 3.11 or newer."""
    found = f"{platform.python_version()} in {_short(sys.prefix)}"
    if sys.version_info[:2] < (3, 11):  # noqa: UP036 (pip refuses an older one, a bare checkout does not)
        return Finding("Python", "fail", found, "install Python 3.11 or newer, then `make lab PYTHON=/path/to/python3`")
    return Finding("Python", "ok", found)


def check_latentkit() -> Finding:
    """Which latentkit this is, and whether from a checkout or a wheel."""
    try:
        origin = json.loads(distribution("latentkit").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return Finding("latentkit", "warn", f"{latentkit.__version__}, importable but not installed", REINSTALL)
    how = "editable" if origin.get("dir_info", {}).get("editable") else "installed"
    return Finding("latentkit", "ok", f"{latentkit.__version__}, {how}, {_short(Path(latentkit.__file__).parent)}")


def check_torch() -> Finding:
    """PyTorch multiplies and differentiates."""
    import torch

    x = torch.arange(4.0).view(2, 2).requires_grad_()
    (x @ x).sum().backward()
    if x.grad is None or x.grad.tolist() != [[3.0, 7.0], [5.0, 9.0]]:
        return Finding("PyTorch", "fail", f"{torch.__version__} computes a wrong gradient", "reinstall torch")
    return Finding("PyTorch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")


def check_device() -> Finding:
    """The fastest device that really computes."""
    import torch

    for device, there in {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.items():
        if not there:
            continue
        name = torch.cuda.get_device_name() if device == "cuda" else platform.processor()
        try:
            torch.ones(2, 2, device=device).sum().item()
        except RuntimeError as error:
            return Finding("device", "warn", f"{device} ({name}) fails: {error}", "labs use the CPU; update the driver")
        return Finding("device", "ok", f"{device} ({name})")
    return Finding("device", "ok", f"cpu, {os.cpu_count()} cores (every lab is made for it)")


def check_kernel() -> Finding:
    """The notebooks' kernel, python3, is this very Python."""
    import ipykernel
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    mend = "`python -m ipykernel install --sys-prefix`, with the Python that has latentkit"
    try:
        program = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return Finding("Jupyter kernel", "fail", "no kernel named python3", mend)
    # Jupyter starts a bare "python" as the Python it runs under itself.
    if Path(program).name != program and not _same_program(program, sys.executable):
        return Finding("Jupyter kernel", "fail", f"python3 is another Python: {_short(program)}", mend)
    return Finding("Jupyter kernel", "ok", f"python3, ipykernel {ipykernel.__version__}")


def check_widgets() -> Finding:
    """The widgets' Python side, and their JupyterLab side where there is a JupyterLab."""
    found = f"anywidget {version('anywidget')}, ipywidgets {version('ipywidgets')}"
    try:
        version("jupyterlab")
    except PackageNotFoundError:
        return Finding("widgets", "warn", f"{found}; no JupyterLab", "fine in Colab; else `pip install jupyterlab`")
    from jupyter_core.paths import jupyter_path

    folders = [Path(folder) for folder in jupyter_path("labextensions")]
    for extension in ("@jupyter-widgets/jupyterlab-manager", "anywidget"):
        if not any((folder / extension / "package.json").is_file() for folder in folders):
            mend = "`pip install --force-reinstall --no-deps jupyterlab_widgets anywidget`"
            return Finding("widgets", "fail", f"{found}; JupyterLab lacks the extension {extension}", mend)
    return Finding("widgets", "ok", f"{found}, JupyterLab {version('jupyterlab')}")


def check_memory() -> Finding:
    """2 GiB of memory to spare: a lab's budget."""
    spare = available_memory() / GIB
    if spare < 2:
        mend = "close other programs and notebooks; a lab needs up to 2 GB"
        return Finding("memory", "fail" if spare < 1 else "warn", f"{spare:.1f} GiB available", mend)
    return Finding("memory", "ok", f"{spare:.1f} GiB available")


def check_port() -> Finding:
    """A free port for JupyterLab on this computer."""
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return Finding("port", "ok", f"127.0.0.1:{port} is free")
    taken = f"127.0.0.1:{FIRST_PORT} to {FIRST_PORT + PORTS - 1} are taken"
    return Finding("port", "warn", taken, "close a JupyterLab, or `make lab ARGS=--port=9999`")


def check_data() -> Finding:
    """What the labs load is there, and what they write has room."""
    folder = paths.shipped_dir()
    files = [file for file in folder.glob("[!.]*/**/*") if file.is_file()]
    if not files:
        return Finding("data", "fail", f"nothing in {_short(folder)}", REINSTALL)
    unreadable = next((file for file in files if not os.access(file, os.R_OK)), None)
    if unreadable:
        return Finding("data", "fail", f"cannot read {_short(unreadable)}", f"`chmod -R u+r {_short(folder)}`")
    target = paths.writable_dir()
    standing = next(place for place in (target, *target.parents) if place.exists())
    free = shutil.disk_usage(standing).free / GIB
    found = f"{len(files)} files in {_short(folder)}; results go to {_short(target)}, {free:.1f} GiB free"
    if not os.access(standing, os.W_OK):
        return Finding("data", "warn", f"{found}, not writable", "set LATENTKIT_HOME to a folder of yours")
    if free < 0.5:
        return Finding("data", "warn", found, "free some disk space")
    return Finding("data", "ok", found)


CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": check_python,
    "latentkit": check_latentkit,
    "PyTorch": check_torch,
    "device": check_device,
    "Jupyter kernel": check_kernel,
    "widgets": check_widgets,
    "memory": check_memory,
    "port": check_port,
    "data": check_data,
}


def examine() -> list[Finding]:
    """Runs every check; one that cannot even start is a finding too."""
    findings = []
    for name, check in CHECKS.items():
        try:
            findings.append(check())
        except ImportError as error:
            package = (error.name or "").partition(".")[0]
            mend = f"`pip install {package}`, or {REINSTALL}" if package else REINSTALL
            findings.append(Finding(name, "fail", f"cannot import {package or 'a part of it'}: {error}", mend))
        except Exception as error:  # a broken installation fails in ways that cannot be listed
            findings.append(Finding(name, "fail", f"{type(error).__name__}: {error}", REINSTALL))
    return findings


def available_memory() -> int:
    """Bytes that a new process may use: what is free here, or what is left of a container's limit if that is less."""
    import psutil

    free = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return free
    return free if limit == "max" else min(free, int(limit) - int(used))


def report(findings: list[Finding]) -> str:
    """The findings as text, a line each, with what to do under it; the last line is the verdict."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status.upper():<5} {finding.name:<{width}}  {finding.found}")
        if finding.mend:
            lines.append(f"{'':<{width + 6}}  -> {finding.mend}")
    failed = sum(finding.status == "fail" for finding in findings)
    lines.append(f"\nThe labs do not run here yet: {failed} to mend." if failed else "\nThe labs can run here.")
    return "\n".join(lines)


def as_json(findings: list[Finding]) -> str:
    """The findings for a bug report, with the platform; the home folder is written `~`."""
    ok = all(finding.status != "fail" for finding in findings)
    described = {"ok": ok, "platform": platform.platform(), "checks": [asdict(finding) for finding in findings]}
    return json.dumps(described, indent=2)


def run(args: argparse.Namespace) -> int:
    """Prints the report; 0 where the labs can run, else 1."""
    findings = examine()
    print(as_json(findings) if args.json else report(findings))
    return int(any(finding.status == "fail" for finding in findings))


def add_parser(subparsers: argparse._SubParsersAction, name: str) -> None:
    """Adds the command `name`."""
    parser = subparsers.add_parser(name, help="can the labs run here, and if not, how to mend it")
    parser.add_argument("--json", action="store_true", help="for a bug report")
    parser.set_defaults(func=run)


def _short(path: str | Path) -> str:
    home = str(Path.home())
    return str(path).replace(home, "~", 1) if home != "/" and str(path).startswith(home) else str(path)


def _same_program(one: str, other: str) -> bool:
    """Same file in the same folder: the link itself counts, since every virtual environment links to one Python."""
    one, other = (os.path.realpath(os.path.dirname(program)) for program in (one, other))
    return one == other


if __name__ == "__main__":  # the command line may itself be what is broken
    command = argparse.ArgumentParser()
    add_parser(command.add_subparsers(), "doctor")
    sys.exit(run(command.parse_args(["doctor", *sys.argv[1:]])))
