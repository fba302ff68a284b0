"""Prints what `make floors` installs: the lowest version of each dependency, and the tools that the tests need."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = "beartype|hatchling|hypothesis|ipykernel|jupytext|nbclient|nbformat|pytest|pytest-xdist"

dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
print(*(dependency.replace(">=", "==") for dependency in dependencies), sep="\n")
print(*re.findall(rf"^(?:{TOOLS})==.*$", (ROOT / "requirements.txt").read_text(), re.M), sep="\n")
