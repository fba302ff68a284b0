"""Where the course's data lives: one locator for a source checkout and for an installed wheel."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _checkout() -> Path | None:
    """The repository root when this package is imported from a source checkout."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "data").is_dir() else None


def shipped_dir() -> Path:
    """The folder of shipped data: `data/` of a checkout, the copy inside the package of an installed wheel."""
    root = _checkout()
    return root / "data" if root else _PACKAGE / "_data"


def writable_dir() -> Path:
    """Where new results go: `$LATENTKIT_HOME`, else a writable checkout's `data/`, else `~/.latentkit`."""
    if os.environ.get("LATENTKIT_HOME"):
        return Path(os.environ["LATENTKIT_HOME"])
    root = _checkout()
    return root / "data" if root and os.access(root / "data", os.W_OK) else Path.home() / ".latentkit"


def find(name: str) -> Path:
    """The file `name` (such as `claims/stack-wall-s3.json`): the reader's own copy first, then the shipped one.

    Raises:
        FileNotFoundError: neither exists; the message lists what the folder holds.
    """
    for folder in (writable_dir(), shipped_dir()):
        if (folder / name).exists():
            return folder / name
    parent = (shipped_dir() / name).parent
    there = ", ".join(sorted(p.name for p in parent.iterdir())) if parent.is_dir() else "nothing: the folder is missing"
    raise FileNotFoundError(f"no data file {name!r}; {parent.name}/ holds {there}")
