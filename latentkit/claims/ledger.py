"""The ledger: what the course asserts, with the paper's number and ours beside it.

One json file a claim, `data/claims/<id>.json`, written by `latentkit reproduce <id>`. Labs, book and README read it;
no number is typed by hand twice.
"""

import dataclasses
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from latentkit import paths

Verdict = Literal["reproduced", "partly", "not reproduced", "not tested at this scale"]


@dataclass(frozen=True)
class Source:
    """Where a claim comes from: `cite` is the key in `book/references.bib`, `claim` the paper's statement or number."""

    paper: str
    section: str
    claim: str
    cite: str


@dataclass(frozen=True)
class Record:
    """One entry of the ledger; see `latentkit.claims.experiment.Claim` for what runs.

    Attributes:
        setup: every arm's model, parameters, task, budget and supervision.
        metrics: by "arm/metric": `values` (one per seed) and, for numbers, `mean`, `min`, `max`.
        cpu_seconds: spent in training, all arms and seeds.
    """

    id: str
    lab: str
    statement: str
    source: Source
    setup: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    verdict: Verdict
    rule: str
    note: str
    seeds: int
    budget: str
    command: str
    cpu_seconds: float
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        """The id, and the budget where it is not the CPU's."""
        return self.id if self.budget == "cpu" else f"{self.id}-{self.budget}"

    def values(self, metric: str) -> list[Any]:
        """Every seed's value of "arm/metric".

        Raises:
            KeyError: no such metric; lists those there are.
        """
        return self._metric(metric)["values"]

    def mean(self, metric: str) -> float:
        """Mean over seeds of "arm/metric"."""
        return self._metric(metric)["mean"]

    def spread(self, metric: str, digits: int = 2) -> str:
        """The mean with the range over seeds, as text: "31.7 (31 to 32)"; a single number where all seeds agree."""
        entry = self._metric(metric)
        low, mean, high = (_number(entry[k], digits) for k in ("min", "mean", "max"))
        return mean if low == high else f"{mean} ({low} to {high})"

    def _metric(self, metric: str) -> dict[str, Any]:
        if metric not in self.metrics:
            raise KeyError(f"claim {self.id!r} has no metric {metric!r}; it has {', '.join(self.metrics)}")
        return self.metrics[metric]


def load(claim_id: str) -> Record:
    """The ledger entry of a claim, by its name.

    Raises:
        FileNotFoundError: never run; lists the entries there are.
    """
    data = json.loads(paths.find(f"claims/{claim_id}.json").read_text(encoding="utf-8"))
    return Record(**{**data, "source": Source(**data["source"])})


def load_all() -> list[Record]:
    """Every entry, by lab and id."""
    folders = (paths.shipped_dir() / "claims", paths.writable_dir() / "claims")
    ids = {file.stem for folder in folders if folder.is_dir() for file in folder.glob("*.json")}
    return sorted((load(i) for i in ids), key=lambda r: (r.lab, r.id))


def save(record: Record) -> Path:
    """Writes (or replaces) an entry; a larger budget's is kept beside the CPU's, which the labs read."""
    path = paths.writable_dir() / "claims" / f"{record.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(_dumps(dataclasses.asdict(record)) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return path


def markdown_table(records: list[Record]) -> str:
    """The ledger as a Markdown table: what ran on the CPU's budget, which the labs read."""
    lines = ["| lab | claim | verdict | seeds | CPU s |", "|---|---|---|---|---|"]
    cpu = [r for r in records if r.budget == "cpu"]
    lines += [f"| {r.lab} | {r.statement} | **{r.verdict}** | {r.seeds} | {r.cpu_seconds:.0f} |" for r in cpu]
    return "\n".join(lines)


def _number(value: float | int, digits: int) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.{digits}f}"


def _dumps(data: Any) -> str:
    """Indented json with every list of plain values on one line: a diff then shows which measurement changed."""
    text = json.dumps(data, indent=1, ensure_ascii=False)
    return re.sub(
        r"\[\n[^\[\]{}]*\]", lambda plain: re.sub(r"\n\s*", " ", plain[0]).replace("[ ", "[").replace(" ]", "]"), text
    )
