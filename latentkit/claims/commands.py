"""`latentkit claims` and `latentkit reproduce`."""

import argparse
import sys
from typing import Any

from latentkit.claims import ledger


def add_parser(subparsers: Any, name: str) -> None:
    """Adds the command `name`."""
    if name == "claims":
        parser = subparsers.add_parser(name, help="the ledger as a table")
        parser.add_argument("--markdown", action="store_true", help="print a Markdown table, as the README has it")
        parser.set_defaults(func=_claims)
        return
    parser = subparsers.add_parser(name, help="rerun one claim and rewrite its entry in data/claims/")
    parser.add_argument("id", help="a claim's id; `latentkit claims` lists them")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0..N-1 (default 3)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, mps or auto")
    parser.add_argument(
        "--budget", choices=("cpu", "gpu"), default="cpu", help="gpu: ten times the steps, kept in a file of its own"
    )
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1, the fastest at this size)")
    parser.set_defaults(func=_reproduce)


def _claims(arguments: argparse.Namespace) -> int:
    from latentkit.claims import REGISTRY

    records = ledger.load_all()
    if arguments.markdown:
        print(ledger.markdown_table(records))
        return 0
    for record in records:
        cost = f"{record.seeds} seeds  {record.cpu_seconds:6.0f} CPU s"
        print(f"{record.name:26} lab {record.lab}  {record.verdict:16} {cost}")
        print(f"    {record.statement}")
    for missing in sorted(set(REGISTRY) - {record.id for record in records}):
        print(f"{missing:26} never run: latentkit reproduce {missing}")
    return 0


def _reproduce(arguments: argparse.Namespace) -> int:
    import torch

    from latentkit.claims import get
    from latentkit.claims.experiment import reproduce

    if arguments.threads < 1:
        raise ValueError(f"threads={arguments.threads}; at least 1 is needed")
    torch.set_num_threads(arguments.threads)
    record = reproduce(
        get(arguments.id),
        seeds=arguments.seeds,
        device=arguments.device,
        budget=arguments.budget,
        log=lambda line: print(line, file=sys.stderr, flush=True),
    )
    path = ledger.save(record)
    print(f"{record.id}: {record.verdict} ({record.seeds} seeds, {record.cpu_seconds:.0f} CPU s), written to {path}")
    return 0
