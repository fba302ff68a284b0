"""`latentkit claims` and `latentkit reproduce`."""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from latentkit.claims import ledger


def add_parser(subparsers: Any, name: str) -> None:
    """Adds the command `name`."""
    if name == "claims":
        parser = subparsers.add_parser(name, help="the ledger as a table")
        parser.add_argument("--markdown", action="store_true", help="print a Markdown table, as the README has it")
        parser.add_argument(
            "--register",
            nargs="+",
            metavar="ID",
            help="write claims down that nobody has run, as 'not tested at this scale'",
        )
        parser.set_defaults(func=_claims)
        return
    parser = subparsers.add_parser(name, help="rerun claims and rewrite their entries in data/claims/")
    parser.add_argument(
        "id",
        nargs="+",
        help="a claim's id (`latentkit claims` lists them); trainings that several have in common are run once",
    )
    parser.add_argument("--data", help="the file that some claims are measured on; the course cannot ship it")
    parser.add_argument("--keep-runs", action="store_true", help="keep the trained models for other claims")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0..N-1 (default 3)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, mps or auto")
    parser.add_argument(
        "--budget", choices=("cpu", "gpu"), default="cpu", help="gpu: ten times the steps, kept in a file of its own"
    )
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1, the fastest at this size)")
    parser.set_defaults(func=_reproduce)


def _claims(arguments: argparse.Namespace) -> int:
    from latentkit.claims import REGISTRY, get

    records = ledger.load_all()
    if arguments.register:
        from latentkit.claims.experiment import register

        for claim in [get(claim_id) for claim_id in arguments.register]:
            if any(record.id == claim.id and record.seeds for record in records):
                raise ValueError(f"{claim.id} has been run: its entry holds measurements, and stays")
            print(f"{claim.id}: not tested at this scale, written to {ledger.save(register(claim))}")
        return 0
    if arguments.markdown:
        print(ledger.markdown_table(records))
        return 0
    for record in records:
        cost = f"{record.seeds} seeds  {record.cpu_seconds:6.0f} CPU s" if record.seeds else record.command
        print(f"{record.name:26} lab {record.lab}  {record.verdict:16} {cost}")
        print(f"    {record.statement}")
    for missing in sorted(set(REGISTRY) - {record.id for record in records}):
        print(f"{missing:26} never run: latentkit reproduce {missing}")
    return 0


def _reproduce(arguments: argparse.Namespace) -> int:
    import torch

    from latentkit.claims import get
    from latentkit.claims.experiment import reproduce, runs_dir

    if arguments.threads < 1:
        raise ValueError(f"threads={arguments.threads}; at least 1 is needed")
    torch.set_num_threads(arguments.threads)
    chosen = [get(claim_id) for claim_id in arguments.id]
    for claim in chosen:
        if claim.data and not arguments.data:
            raise ValueError(f"{claim.id} is measured on a file that you have to name: --data FILE, {claim.data}")
    if arguments.data:
        if not Path(arguments.data).is_file():
            raise FileNotFoundError(f"no file {arguments.data}")
        os.environ["LATENTKIT_DATA"] = arguments.data
    for claim in chosen:
        record = reproduce(
            claim,
            seeds=arguments.seeds,
            device=arguments.device,
            budget=arguments.budget,
            log=lambda line: print(line, file=sys.stderr, flush=True),
        )
        path = ledger.save(record)
        cost = f"{record.seeds} seeds, {record.cpu_seconds:.0f} CPU s"
        print(f"{record.id}: {record.verdict} ({cost}), written to {path}", flush=True)
    if not arguments.keep_runs:  # last: a mistake in a `judge` must not cost the training
        shutil.rmtree(runs_dir(), ignore_errors=True)
    return 0
