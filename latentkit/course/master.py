"""A lab as it is written: one master (jupytext py:percent) and its self-quiz, from which everything else is built.

What a cell is for stands on its `# %%` line, and comes off again in what is built:

    # %% exercise="inject" points=2     the stub; its solution stands between ### BEGIN SOLUTION and ### END SOLUTION
    # %% check="inject" points=2        its check; what learners do not see, between ### BEGIN / END HIDDEN TESTS
    # %% facts                          prints facts, which nbval compares
    # %% [markdown] solution            in the solved notebook only, folded

Markdown may hold {{ badge }}, {{ cpu_seconds }}, {{ quiz }} and {{ claim ID METRIC [mean|min|max|n] }}.
"""

import hashlib
import html
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
from nbformat import NotebookNode

from latentkit.course.runtime import UNSOLVED

ROLES = {"code": {"", "exercise", "check", "facts"}, "markdown": {"", "solution"}}
REGIONS = {"exercise": "SOLUTION", "check": "HIDDEN TESTS"}  # which region belongs in which role
REGION = re.compile(
    r"^(?P<indent> *)### BEGIN (?P<kind>SOLUTION|HIDDEN TESTS)\n(?P<body>.*?)^ *### END (?P=kind)\n", re.M | re.S
)
Cost = dict[str, float | int]
QUOTE = re.compile(r"\{\{ (.*?) \}\}")


class MasterError(ValueError):
    """Something in a master, its quiz or the data it quotes is not as it must be; the message names file and line."""


@dataclass(frozen=True)
class Cell:
    """One cell of a master."""

    type: str  # "code" or "markdown"
    source: str
    line: int  # of its "# %%", in the master
    id: str  # a hash of type and source: an insertion elsewhere does not change it
    role: str = ""
    name: str = ""  # of the exercise that the cell poses or checks
    points: int = 1

    @property
    def open(self) -> str:
        """The source that a learner gets: solutions replaced by the line that says so, hidden tests gone."""
        line = f"raise NotImplementedError(\"{UNSOLVED} '{self.name}'\")\n"
        return self._with_regions(lambda region: region["indent"] + line if self.role == "exercise" else "")

    @property
    def solved(self) -> str:
        """The source without the lines that mark regions."""
        return self._with_regions(lambda region: region["body"])

    @property
    def solutions(self) -> list[str]:
        """The text of each solution region."""
        return [region["body"] for region in REGION.finditer(self.source + "\n")] if self.role == "exercise" else []

    def _with_regions(self, replacement: Callable[[re.Match[str]], str]) -> str:
        if self.role not in REGIONS:
            return self.source
        return REGION.sub(replacement, self.source + "\n").rstrip("\n")


@dataclass(frozen=True)
class Master:
    """A lab's master: a file `labs/source/NN_name.py` of a repository."""

    path: Path
    cells: tuple[Cell, ...]

    @property
    def lab(self) -> str:
        """The lab's number, such as "02"."""
        return self.path.stem[:2]

    @property
    def root(self) -> Path:
        """The repository."""
        return self.path.parent.parent.parent

    @property
    def repository(self) -> str:
        """The repository's public address, from the one place that names it."""
        project = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return project["urls"]["Repository"].rstrip("/")

    def fill(self, cell: Cell, *, images: str) -> str:
        """The markdown of `cell` with each `{{ ... }}` replaced; `images` is where the notebook finds its images.

        Raises:
            MasterError: an unknown name, or data that does not hold what is quoted.
        """
        quotes: dict[str, Callable[..., str]] = {
            "badge": lambda: _badge(self, images),
            "claim": lambda *words: _claim(self.root, *words),
            "cpu_seconds": lambda: _cpu_seconds(self),
            "quiz": lambda: quiz(self.path.with_name(f"{self.lab}_quiz.toml")),
        }

        def replace(match: re.Match[str]) -> str:
            where = f"{self.path.name}:{cell.line + 1 + cell.source.count(chr(10), 0, match.start())}: {match[0]}"
            word, *arguments = match[1].split()
            if word not in quotes:
                raise MasterError(f"{where} is unknown; there are {', '.join(quotes)}")
            try:
                return quotes[word](*arguments)
            except (KeyError, OSError, TypeError, ValueError) as error:
                raise MasterError(f"{where}: {error}") from error

        return QUOTE.sub(replace, cell.source)


def read_masters(root: Path, names: list[str] | None = None) -> list[Master]:
    """The masters of the repository at `root`: all, or those named by number ("02") or in full ("02_loop_it").

    Raises:
        MasterError: a name matches none, or a master is malformed.
    """
    paths = sorted((root / "labs/source").glob("[0-9][0-9]_*.py"))
    known = {name: path for path in paths for name in (path.stem, path.stem[:2])}
    if unknown := sorted(set(names or ()) - known.keys()):
        raise MasterError(f"no lab {', '.join(unknown)}; there are {', '.join(path.stem for path in paths) or 'none'}")
    return [read_master(path) for path in paths if not names or path in {known[name] for name in names}]


def read_master(path: Path) -> Master:
    """Reads one master.

    Raises:
        MasterError: an unknown option, a region that does not close, an exercise without its check, or the like.
    """
    text = path.read_text(encoding="utf-8")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.startswith("# %%")]
    nodes = jupytext.reads(text, fmt="py:percent").cells
    if len(lines) != len(nodes) or not nodes or nodes[0].cell_type != "markdown":
        raise MasterError(f"{path.name}:1: a master begins with the '# %% [markdown]' of its card")
    repeats: Counter[str] = Counter()
    cells = []
    for node, line in zip(nodes, lines, strict=True):
        digest = hashlib.sha256(f"{node.cell_type}\n{node.source}".encode()).hexdigest()[:8]
        repeats[digest] += 1
        id = digest if repeats[digest] == 1 else f"{digest}-{repeats[digest]}"
        cells.append(_cell(node, line=line, id=id, where=f"{path.name}:{line}"))
    _pair(path.name, cells)
    return Master(path, tuple(cells))


def _cell(node: NotebookNode, *, line: int, id: str, where: str) -> Cell:
    """A notebook's cell as a `Cell`: its role read off its options, its regions in order."""
    options = {key: value for key, value in node.metadata.items() if key != "lines_to_next_cell"}
    points = options.pop("points", 1)
    posed = [role for role in REGIONS if role in options]
    role = posed[0] if posed else options.pop("title", "")
    name = options.pop(role) if posed else ""
    if options or role not in ROLES[node.cell_type]:
        unknown = ", ".join(map(str, options or [role]))
        raise MasterError(f"{where}: unknown option on a {node.cell_type} cell: {unknown}")
    if node.cell_type == "code":
        regions = [region["kind"] for region in REGION.finditer(node.source + "\n")]
        if len(re.findall(r"### *(?:BEGIN|END)\b", node.source)) != 2 * len(regions):
            raise MasterError(f"{where}: a ### BEGIN without its ### END, or one that is misspelt")
        if set(regions) - {REGIONS.get(role)}:
            raise MasterError(f"{where}: {regions[0]} has no place in this cell")
        if role == "exercise" and not regions:
            raise MasterError(f"{where}: exercise {name!r} has no solution")
    calls = {"exercise": f'@lab.exercise("{name}")', "check": f'lab.check("{name}")'}
    if calls.get(role, "") not in node.source:
        raise MasterError(f"{where}: the {role} cell of {name!r} does not hold {calls[role]}")
    return Cell(node.cell_type, node.source, line, id, role, name, points)


def _pair(file: str, cells: list[Cell]) -> None:
    """Every exercise is followed by its own check, worth as many points, before the next exercise."""
    posed: Cell | None = None
    for cell in cells:
        if cell.role == "exercise":
            if posed:
                break
            posed = cell
        elif cell.role == "check":
            if posed is None or (cell.name, cell.points) != (posed.name, posed.points):
                raise MasterError(f"{file}:{cell.line}: check {cell.name!r} does not match the exercise above it")
            posed = None
    if posed:
        raise MasterError(f"{file}:{posed.line}: exercise {posed.name!r} has no check below it")


def _badge(master: Master, images: str) -> str:
    """Opens the learner's notebook in Colab; the picture is a local file."""
    path = master.repository.removeprefix("https://github.com/")
    target = f"https://colab.research.google.com/github/{path}/blob/main/labs/{master.path.stem}.ipynb"
    return f"[![Open in Colab]({images}/colab-badge.svg)]({target})"


def _claim(root: Path, id: str, metric: str, part: str = "") -> str:
    """A number of the ledger: the mean over seeds with its range, or one part of it. Or a record's text, by name."""
    record = json.loads((root / "data/claims" / f"{id}.json").read_text(encoding="utf-8"))
    if metric not in record["metrics"]:
        if isinstance(record.get(metric), str):
            return record[metric]
        raise ValueError(f"{id} measures {', '.join(record['metrics'])}")
    found = record["metrics"][metric]
    if part == "n":
        return str(len(found["values"]))
    if part:
        return f"{found[part]:.3g}"
    spread = "" if found["min"] == found["max"] else f" ({found['min']:.3g} to {found['max']:.3g})"
    return f"{found['mean']:.3g}{spread}"


def timings(root: Path) -> dict[str, Cost]:
    """What each lab cost when last recorded: cpu_seconds, slowest_cell_seconds, peak_megabytes."""
    path = root / "data/labs/timings.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _cpu_seconds(master: Master) -> str:
    recorded = timings(master.root).get(master.lab)
    return str(recorded["cpu_seconds"]) if recorded else "not yet measured"


def quiz(path: Path) -> str:
    """The self-quiz as markdown: a choice unfolds to whether it is right, and why. Needs neither kernel nor script.

    Raises:
        MasterError: not five questions, fewer than three choices, not exactly one right, or a choice without its why.
    """
    questions = tomllib.loads(path.read_text(encoding="utf-8")).get("question", [])
    if len(questions) != 5:
        raise MasterError(f"{path.name} has {len(questions)} questions; a self-quiz has five")
    asked = []
    for number, question in enumerate(questions, 1):
        if fault := _fault(question):
            raise MasterError(f"{path.name}, question {number}: {fault}")
        choices = [_choice(letter, choice) for letter, choice in zip("ABCDEF", question["choice"], strict=False)]
        asked.append("\n\n".join([f"**{number}.** {question['text'].strip()}", *choices]))
    return "\n\n---\n\n".join(asked)


def _fault(question: dict[str, Any]) -> str | None:
    """What keeps a question from being asked."""
    if question.keys() != {"text", "choice"} or not question["text"].strip():
        return "it has a text and choices, and nothing else"
    choices = question["choice"]
    if any(choice.keys() != {"text", "correct", "why"} or not choice["why"].strip() for choice in choices):
        return "a choice has a text, says whether it is correct, and why"
    if not 3 <= len(choices) <= 6 or [choice["correct"] for choice in choices].count(True) != 1:
        return "it has three to six choices, exactly one of them correct"
    if any("$" in choice["text"] for choice in choices):
        return "maths does not render in the fold of a choice: put it in the question or the why"
    return None


def _choice(letter: str, choice: dict[str, Any]) -> str:
    # Markdown is not read inside <summary>; code is the one mark that a choice needs.
    text = re.sub(r"`(.+?)`", r"<code>\1</code>", html.escape(choice["text"].strip(), quote=False))
    verdict = "**Right.**" if choice["correct"] else "**Not so.**"
    return f"<details><summary>{letter}. {text}</summary>\n\n{verdict} {choice['why'].strip()}\n\n</details>"
