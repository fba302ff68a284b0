"""The solved lab 02 in a real JupyterLab: everything runs, and the scrubber shows what the kernel's trajectory says."""

import ast
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client import BlockingKernelClient
from playwright.sync_api import expect

ROOT = Path(__file__).parents[2]
NOTEBOOK = "solved/02_loop_it.ipynb"
RUN_SECONDS = 900  # the lab's budget is 120 CPU seconds; this is wall time on a busy machine
# The first one made is the first one on the page.
FIRST_SCRUBBER = (
    "[w for w in __import__('ipywidgets').widgets.widget._instances.values() if type(w).__name__ == 'Scrubber'][0]"
)


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.5)
    return pytest.fail(f"after {seconds:.0f} s: {what}")


class Lab:
    """A JupyterLab server on a copy of the labs (JupyterLab saves by itself), with no settings but its own."""

    def __init__(self, folder: Path):
        self.labs, self.runtime, self.log = folder / "labs", folder / "runtime", folder / "server.log"
        shutil.copytree(ROOT / "labs", self.labs, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        settings = folder / "settings/@jupyterlab"
        for plugin, values in {
            "apputils-extension/notification": {
                "fetchNews": "false",
                "checkForUpdates": False,
            },  # no pop-up over the page
            "notebook-extension/tracker": {
                "windowingMode": "none"
            },  # every cell is in the page, not only those in sight
        }.items():
            (settings / plugin).parent.mkdir(parents=True)
            (settings / f"{plugin}.jupyterlab-settings").write_text(json.dumps(values))
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.token = secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{port}"
        places = {name: folder / name.lower() for name in ("CONFIG", "DATA", "RUNTIME")}
        lab_places = {name: folder / name.lower() for name in ("SETTINGS", "WORKSPACES")}
        environment = {
            **os.environ,
            **{f"JUPYTER_{name}_DIR": str(path) for name, path in places.items()},
            **{f"JUPYTERLAB_{name}_DIR": str(path) for name, path in lab_places.items()},
        }
        options = [
            "--no-browser",
            "--allow-root",
            "--ip=127.0.0.1",
            f"--port={port}",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.labs}",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly",
        ]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterlab", *options],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def get(self, path: str) -> Any:
        """A question to the server; None while it does not answer."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"token {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return json.load(answer)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return None

    def idle_kernel(self) -> str | None:
        """The id of the notebook's kernel, once it is idle: the server's word, which is ahead of the page's."""
        sessions = self.get("/api/sessions") or []
        return next(
            (s["kernel"]["id"] for s in sessions if s["path"] == NOTEBOOK and s["kernel"]["execution_state"] == "idle"),
            None,
        )

    def stop(self) -> None:
        """Ends the server and its kernels."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Kernel:
    """A second client of the notebook's kernel."""

    def __init__(self, connection_file: Path):
        self.client = BlockingKernelClient(connection_file=str(connection_file))
        self.client.load_connection_file()
        self.client.start_channels()

    def value(self, expression: str) -> Any:
        """What an expression of literals is worth in the notebook; leaves no trace in its history."""
        reply = self.client.execute(
            "", silent=True, user_expressions={"x": expression}, reply=True, timeout=RUN_SECONDS
        )
        answer = reply["content"]["user_expressions"]["x"]
        assert answer["status"] == "ok", answer
        return ast.literal_eval(answer["data"]["text/plain"])

    def close(self) -> None:
        """Hangs up."""
        self.client.stop_channels()


@pytest.fixture
def lab(chromium, tmp_path):
    server = Lab(tmp_path)
    try:
        wait_for(lambda: server.get("/api/status"), 180, f"JupyterLab does not answer; see {server.log}")
        yield server
    finally:
        server.stop()


def forget_outputs(path: Path) -> int:
    """Empties a notebook, so that what it shows afterwards was made by this run; its number of code cells."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs, cell.execution_count = [], None
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, path)
    return len(code)


def test_the_scrubber_follows_the_keyboard_in_jupyterlab(lab, chromium, scrubbers):
    code_cells = forget_outputs(lab.labs / NOTEBOOK)
    page = chromium.new_page(viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(60_000)
    page.goto(f"{lab.url}/lab/tree/{NOTEBOOK}?reset&token={lab.token}", wait_until="domcontentloaded")
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    wait_for(lab.idle_kernel, 120, "the kernel does not start")

    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
    page.locator(".lm-Menu-itemLabel", has_text="Restart Kernel and Run All Cells").click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    last, failure = (
        page.locator(".jp-InputPrompt", has_text=f"[{code_cells}]:"),
        page.locator(".jp-RenderedText[data-mime-type*=error]"),
    )
    wait_for(lambda: last.count() or failure.count(), RUN_SECONDS, "the notebook still runs")
    assert failure.all_inner_texts() == []
    kernel_id = wait_for(lab.idle_kernel, 60, "the kernel is not idle after its last cell")

    kernel = Kernel(lab.runtime / f"kernel-{kernel_id}.json")
    try:
        assert kernel.value("get_ipython().execution_count") == code_cells + 1
        view = json.loads(kernel.value(f"__import__('json').dumps({FIRST_SCRUBBER}.frames)"))
        start = kernel.value(f"{FIRST_SCRUBBER}.value")
        passes = [frame["pass"] for frame in view["frames"]]
        scrubber = page.locator(".jp-OutputArea .lk-scrubber[data-pass]").first
        scrubber.scroll_into_view_if_needed()
        assert scrubbers.shown(scrubber) == scrubbers.expected(view, passes.index(start))

        slider = scrubber.get_by_role("slider")
        slider.focus()
        slider.press("Home")
        for index, number in enumerate(passes):
            expect(scrubber).to_have_attribute("data-pass", str(number))
            assert scrubbers.shown(scrubber) == scrubbers.expected(view, index)
            slider.press("ArrowRight")
        assert len({str(frame["prediction"]) for frame in view["frames"]}) > 1, (
            "this example cannot tell one pass from another"
        )
        wait_for(
            lambda: kernel.value(f"{FIRST_SCRUBBER}.value") == passes[-1],
            30,
            "the widget's value in Python did not follow",
        )
    finally:
        kernel.close()
        page.close()
