"""`make test`: every stage in order, then a table, then one line that counts passed, failed and skipped.

A failing stage does not hide the later ones, except that a book is only built from notebooks that passed. The counts
come from the tests themselves (junit files); lint, types and the book's build count as one check each.
"""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / ".reports"
METER = REPORTS / "meter.jsonl"
STAGE_TIMEOUT = 30 * 60  # seconds: a hanging stage fails, and the stages after it still report


class Counts(NamedTuple):
    """What a stage, or all of them, came to."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def run(command: list[str]) -> int:
    """Exit status of a command run in the repository with nothing on its standard input."""
    sys.stdout.flush()
    try:
        return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=STAGE_TIMEOUT).returncode
    except subprocess.TimeoutExpired:
        print(f"stopped after {STAGE_TIMEOUT} s")
        return 124


def make(target: str) -> Counts:
    """A target of the Makefile, as one check."""
    return Counts(passed=1) if run(["make", "--no-print-directory", target]) == 0 else Counts(failed=1)


def pytest(name: str, *arguments: str) -> Counts:
    """A pytest run; a run that ends badly without a failing test (nothing collected, a crash) counts as one failure."""
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    status = run([sys.executable, "-m", "pytest", "-q", "-rs", f"--junitxml={report}", *arguments])
    counts = read_junit(report) if report.exists() else Counts()
    return counts if status == 0 or counts.failed else counts + Counts(failed=1)


def read_junit(report: Path) -> Counts:
    """The counts in a junit file."""
    total = Counts()
    for suite in ElementTree.parse(report).iter("testsuite"):
        tests, failures, errors, skipped = (
            int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")
        )
        total += Counts(tests - failures - errors - skipped, failures + errors, skipped)
    return total


def unit() -> Counts:
    """Every tier but the browser's and the book's, on all cores."""
    ignored = [f"--ignore=tests/{folder}" for folder in ("notebooks", "book", "browser")]
    return pytest(
        "unit", "-n", str(os.cpu_count()), "--dist=worksteal", "-m", "not browser and not book", *ignored, "tests"
    )


def solved() -> Counts:
    """nbval: each solved notebook runs, and its printed facts are still true."""
    METER.unlink(missing_ok=True)
    lax = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300"]
    # The plugin brings the quarantine list along; a lab may warn, it runs as a learner would run it.
    return pytest("solved", "-p", "tests.conftest", "-W", "default", *lax, "labs/solved")


def main() -> int:
    """Runs the stages; 0 where nothing failed."""
    REPORTS.mkdir(exist_ok=True)
    os.environ["LATENTKIT_METER"] = str(METER)
    stages = {
        "lint": lambda: make("lint"),
        "types": lambda: make("types"),
        "unit tests": unit,
        "solved notebooks": solved,
        "notebook tests": lambda: pytest("notebooks", "-m", "not browser", "tests/notebooks"),
        "book": lambda: make("book"),
        "book tests": lambda: pytest("book", "-m", "not browser", "tests/book"),
        "browser tests": lambda: pytest("browser", "-m", "", "tests/browser"),
    }
    needs = {"book": "solved notebooks", "book tests": "book"}
    results: dict[str, Counts] = {}
    seconds: dict[str, float] = {}
    for name, stage in stages.items():
        print(f"\n=== {name}", flush=True)
        begun = time.perf_counter()
        basis = needs.get(name)
        if basis and (results[basis].failed or not results[basis].passed):
            print(f"skipped: {basis} did not pass")
            results[name] = Counts(skipped=1)
        else:
            results[name] = stage()
        seconds[name] = time.perf_counter() - begun
    print()
    for name, counts in results.items():
        print(f"{'FAIL' if counts.failed else 'ok':<5} {name:<17} {seconds[name]:6.0f} s   {counts}")
    total = sum(results.values(), Counts())
    print(f"\n{total}")
    return int(total.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
