"""What a running lab leans on: `start`, the exercises' fallback and checks, and the meter of what each cell costs.

Environment variables:
    LATENTKIT_GRADING=1   no fallback: an unsolved exercise raises, in its check too, so that it scores 0
    LATENTKIT_METER=FILE  every executed cell appends its cost to FILE, a JSON object a line
"""

import functools
import html
import importlib
import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

import latentkit
from latentkit import checks

Answer = TypeVar("Answer", bound=Callable[..., Any])

# A stub raises NotImplementedError with a message that begins so. The name may follow: nbgrader has one stub for all.
UNSOLVED = "exercise"


class Lab:
    """One lab in a running notebook: the learner's answers so far, and what stands in for the missing ones.

    Attributes:
        id: the lab's number, such as "02".
        device: where the lab's models run.
        seed: what torch, numpy and random were seeded with.
    """

    def __init__(self, id: str, *, seed: int = 0, device: str = "cpu") -> None:
        self.id, self.seed, self.device = id, seed, torch.device(device)
        self._exercises = checks.exercises(id)
        self._answers: dict[str, Callable[..., Any]] = {}
        self._unsolved: set[str] = set()  # found so by their check: a stub may also hide in a branch or a method
        self._noticed: set[str] = set()

    def exercise(self, name: str) -> Callable[[Answer], Answer]:
        """Decorates the learner's answer, a function or a class: where it is still a stub, latentkit's version runs.

        A class falls back when it is constructed, so its `__init__` holds the first stub.

        Raises:
            ValueError: the lab has no such exercise.
        """
        reference = self._exercise(name).reference

        def register(answer: Answer) -> Answer:
            self._answers[name] = answer
            self._unsolved.discard(name)

            @functools.wraps(answer, updated=())
            def call(*args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                if name not in self._unsolved:
                    try:
                        return answer(*args, **kwargs)
                    except NotImplementedError as error:
                        if _grading() or not _is_stub(error):
                            raise
                self._notice(name)
                return reference(*args, **kwargs)

            return call  # type: ignore[return-value]

        return register

    def check(self, name: str) -> None:
        """Checks the learner's answer: says that it passes or was not attempted.

        Raises:
            CheckFailed: it is wrong; the message says where.
            NotImplementedError: it is unsolved, and the lab is being graded.
            RuntimeError: no answer was defined in this session.
            ValueError: the lab has no such exercise.
        """
        __tracebackhide__ = True
        check = self._exercise(name).check
        if name not in self._answers:
            raise RuntimeError(f'run the cell with @lab.exercise("{name}") first: it defines what is checked here')
        try:
            check(self._answers[name])
        except NotImplementedError as error:
            if _grading() or not _is_stub(error):
                raise
            self._unsolved.add(name)
            print(f"○ {name}: not attempted. Until you write it, the cells below use latentkit's version.")
        else:
            print(f"✓ {name}: passed.")

    def _exercise(self, name: str) -> checks.Exercise:
        if name not in self._exercises:
            raise ValueError(f"lab {self.id} has no exercise {name!r}: choose from {', '.join(self._exercises)}")
        return self._exercises[name]

    def _notice(self, name: str) -> None:
        if name not in self._noticed:
            self._noticed.add(name)
            _show_notice(f"Exercise {name} is not solved yet: latentkit's version runs in its place.")


def start(lab: str, *, seed: int = 0, device: str = "cpu") -> Lab:
    """Starts a lab: seeds torch, numpy and random, and prints one line with version, device and seed.

    The device is the CPU unless asked for: the labs' numbers were measured there, and other devices round differently.

    Raises:
        ValueError: there is no such lab.
    """
    started = Lab(lab, seed=seed, device=device)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- learners' own code draws from the global generator
    torch.manual_seed(seed)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # one order of summation, so the same numbers everywhere; small models lose little
    if "google.colab" in sys.modules:
        importlib.import_module("google.colab.output").enable_custom_widget_manager()
    if os.environ.get("LATENTKIT_METER"):
        _meter_cells(os.environ["LATENTKIT_METER"], lab)
    print(f"latentkit {latentkit.__version__} · device {started.device} · seed {seed}")
    return started


def _grading() -> bool:
    return os.environ.get("LATENTKIT_GRADING") == "1"


def _is_stub(error: NotImplementedError) -> bool:
    return str(error).startswith(UNSOLVED)


def _ipython() -> Any:
    from IPython import get_ipython

    return get_ipython()


def _show_notice(text: str) -> None:
    if _ipython() is None:
        print(text)
        return
    from IPython.display import display

    style = "border-left: 4px solid #d97706; padding: 0.3em 0.8em; margin: 0.3em 0"  # legible in light and in dark
    display({"text/html": f'<div style="{style}">{html.escape(text)}</div>', "text/plain": text}, raw=True)


class _Meter:
    """Appends what each executed cell cost: CPU seconds of all threads, and the process's peak memory so far."""

    def __init__(self, path: str, lab: str) -> None:
        self.path, self.lab, self.cell = os.path.abspath(path), lab, 0
        self.begun = 0.0  # the first cell, which is running, is charged with the kernel's start as well

    def before(self, info: Any) -> None:
        self.begun = time.process_time()

    def after(self, result: Any) -> None:
        import resource  # not on Windows, where nothing is metered

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        record = {
            "lab": self.lab,
            "run": os.getpid(),
            "cell": self.cell,
            "line": next(iter(result.info.raw_cell.strip().splitlines()), ""),
            "cpu_seconds": round(time.process_time() - self.begun, 3),
            "max_rss": peak if sys.platform == "darwin" else peak * 1024,
        }
        with open(self.path, "a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        self.cell += 1


@functools.cache  # once a process, however often the set-up cell is run
def _meter_cells(path: str, lab: str) -> None:
    if shell := _ipython():
        meter = _Meter(path, lab)
        shell.events.register("pre_run_cell", meter.before)
        shell.events.register("post_run_cell", meter.after)
