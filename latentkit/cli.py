"""The command line: `latentkit COMMAND`. Each command lives beside what it runs, and is imported only when called."""

import argparse
import importlib
import sys

from latentkit import __version__

COMMANDS = {
    "doctor": ("latentkit.doctor", "can the labs run here, and if not, how to mend it"),
    "claims": ("latentkit.claims.commands", "the ledger: every claim, its verdict and its seeds"),
    "reproduce": ("latentkit.claims.commands", "rerun one claim and rewrite its entry"),
    "map": ("latentkit.depth_memory.commands", "every architecture on every task: run the map, or show it"),
    "train": ("latentkit.claims.train", "train a model by name, on any device"),
    "evaluate": ("latentkit.analysis.commands", "how many Sudokus or mazes of a file a model solves"),
    "solve": ("latentkit.analysis.commands", "watch a model solve a Sudoku, pass by pass"),
    "puzzles": ("latentkit.tasks.commands", "make a shipped file of puzzles again, byte for byte"),
    "course": ("latentkit.course.nbgrader", "export a lab as an nbgrader assignment"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns its exit code. Errors that a user can mend are one line on stderr and exit code 2."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="latentkit", description=__doc__.split(":")[0] + " of the latent recurrence course."
    )
    parser.add_argument("--version", action="version", version=f"latentkit {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    # Only the command asked for is imported: `latentkit doctor` must run where torch is broken.
    for name, (module, help_text) in COMMANDS.items():
        if argv[:1] == [name]:
            importlib.import_module(module).add_parser(subparsers, name)
        else:
            subparsers.add_parser(name, help=help_text)
    arguments = parser.parse_args(argv)
    try:
        return arguments.func(arguments)
    except (ValueError, KeyError, FileNotFoundError) as error:
        said = error.args[0] if isinstance(error, KeyError) else error  # str() of a KeyError has quotes around it
        print(f"latentkit {arguments.command}: {said}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
