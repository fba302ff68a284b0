"""What four or eight feedback tokens cost: FAM against BSWA with the same window, both streamed: `make bench`.

Both read the same tokens block by block, in one process and in turn, so that a busy minute of the machine hits both.
What is compared is CPU time a block, the median over rounds. There is no package to compare with: none was found.

    python benchmarks/fam.py              all cells; writes data/benchmarks/fam.json
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from latentkit.models import FAM, FAMConfig

BLOCK, FEEDBACK, VOCAB = 256, 8, 64
BATCH, BLOCKS, ROUNDS = 4, 8, 15


def stream(model: FAM, tokens: torch.Tensor, train: bool) -> None:
    """Reads all blocks; in training the loss is on every token and its gradient goes through all blocks."""
    with torch.set_grad_enabled(train):
        state, outputs = model.initial_state(len(tokens)), []
        for block in tokens.split(BLOCK, 1):
            state, output = model.step(state, block)
            if train:
                outputs.append(model.decode(output))
    if train:
        model.zero_grad()
        torch.cat(outputs, 1).logsumexp(-1).mean().backward()


def in_turn(calls: dict[str, Callable[[], None]]) -> dict[str, float]:
    """CPU milliseconds a block: the median over rounds, in each of which every call is made once."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(ROUNDS + 1):
        for name, call in calls.items():
            started = time.process_time()
            call()
            if i:  # the first round warms up
                times[name].append(1000 * (time.process_time() - started) / BLOCKS)
    return {name: statistics.median(values) for name, values in times.items()}


def row(width: int, segment: int, threads: int, train: bool) -> dict[str, Any]:
    """One line of the table."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    shape = FAMConfig(
        VOCAB, VOCAB, FEEDBACK, BLOCK, memory_blocks=segment, d_model=width, num_heads=width // 16, mlp_ratio=4
    )
    tokens = torch.randint(VOCAB, (BATCH, BLOCKS * BLOCK))
    models = {"FAM": FAM(shape), "BSWA": FAM(replace(shape, num_feedback=0))}
    took = in_turn({name: lambda m=model: stream(m, tokens, train) for name, model in models.items()})
    return {
        "width": width,
        "memory blocks": segment,
        "mode": "forward+backward" if train else "forward",
        "threads": threads,
        "FAM, CPU ms a block": round(took["FAM"], 2),
        "BSWA": round(took["BSWA"], 2),
        "times as slow": round(took["FAM"] / took["BSWA"], 3),
    }


def main() -> None:
    """Runs all cells and writes them."""
    cells = [(d, m, n, t) for d in (64, 128) for m in (0, 1) for t in (False, True) for n in (1, 2)]
    record = {
        "title": "What a working memory costs",
        "what": f"{FEEDBACK} feedback tokens on blocks of {BLOCK} tokens, two layers, {BATCH} sequences of {BLOCKS} "
        f"blocks, float32, read block by block by both. CPU time a block over all threads, the median of {ROUNDS} "
        "rounds.",
        "note": "The paper reports 154.9 s against 154.1 s for 258k tokens, with a model of a billion weights. The bar "
        "here: at most 10% slower.",
        "command": "make bench",
        "environment": {"torch": metadata.version("torch"), "machine": platform.machine()},
        "rows": [],
    }
    for cell in cells:
        record["rows"].append(row(*cell))
        print(record["rows"][-1], flush=True)
    path = Path(__file__).resolve().parent.parent / "data/benchmarks/fam.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
