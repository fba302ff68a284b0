"""The self-check behind each exercise: a module `labNN` for each lab, whose `EXERCISES` maps names to `Exercise`s."""

import importlib
import pkgutil

from latentkit.checks.harness import Exercise


def labs() -> list[str]:
    """The labs that have exercises, such as `["00", "01", "02"]`."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(name.removeprefix("lab") for name in names if name.startswith("lab"))


def exercises(lab: str) -> dict[str, Exercise]:
    """The exercises of a lab by name.

    Raises:
        ValueError: there is no such lab; the message lists those there are.
    """
    if lab not in labs():
        raise ValueError(f"no lab {lab!r}: choose from {', '.join(labs())}")
    return importlib.import_module(f"{__name__}.lab{lab}").EXERCISES
