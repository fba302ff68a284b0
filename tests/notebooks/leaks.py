"""What of a master's solutions shows in what learners are given."""

import re

from nbformat import NotebookNode

from latentkit.course.master import Master

SHORTEST = 12  # characters; shorter lines, such as `return x`, tell nothing


def squeeze(text: str) -> str:
    """Without white space, so that neither indentation nor line breaks hide a line."""
    return re.sub(r"\s", "", text)


def leaks(master: Master, notebook: NotebookNode) -> list[str]:
    """The lines of solutions that occur anywhere in the sources, outputs or metadata of `notebook`."""
    everything = squeeze(" ".join(_strings(notebook)))
    lines = {line.strip() for cell in master.cells for solution in cell.solutions for line in solution.splitlines()}
    return sorted(line for line in lines if len(squeeze(line)) >= SHORTEST and squeeze(line) in everything)


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []
