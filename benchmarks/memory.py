"""A neural memory's layer, side by side with titans-pytorch: `make bench`.

Every case runs in a process of its own (forked from one that has only imported the packages), one thread, and the two
sides alternate, several rounds, so that a busy minute of the machine hits both. What is compared is CPU time a call
(the smallest over rounds of the median within a round) and peak memory above what the process held once the layer was
built.

    python benchmarks/memory.py               all cells; writes data/benchmarks/memory.json
    python benchmarks/memory.py --cells NAME  only these; writes nothing
"""

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
WIDTHS, CHUNKS, LENGTHS, MODES = (64, 128), (16, 64), (1024, 4096, 16384), ("forward", "forward+backward")
ROUNDS, SECONDS = 3, 0.5  # a round repeats a call until it has taken so long
Layer = Callable[[Any], Any]


def latentkit(d: int, chunk: int, depth: int) -> tuple[Any, Layer]:
    """Gates, momentum and forgetting at every token; weights that are new at every chunk."""
    import torch

    from latentkit.models import MemoryConfig, NeuralMemory

    torch.manual_seed(0)
    memory = NeuralMemory(MemoryConfig(d_model=d, depth=depth, hidden=2 * d, chunk=chunk))
    return memory, lambda x: memory(x, memory.initial_state(len(x)))[0]


def titans_pytorch(d: int, chunk: int, depth: int) -> tuple[Any, Layer]:
    """The same memory in the package, with weights that are new every four chunks, as its README recommends.

    By default its gradients are all taken at the initial weights. Momentum and forgetting are one a chunk.
    """
    import torch
    from titans_pytorch import NeuralMemory

    torch.manual_seed(0)
    shape = {"depth": depth, "expansion_factor": 2.0}
    memory = NeuralMemory(dim=d, chunk_size=chunk, batch_size=4 * chunk, default_model_kwargs=shape)
    return memory, lambda x: memory(x)[0]


SIDES = {"latentkit": latentkit, "titans-pytorch": titans_pytorch}
MEMORIES = {"matrix": 1, "MLP": 2}
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["torch", "latentkit.models", "titans_pytorch"])


def measure(case: str) -> dict[str, float]:
    """Runs one case, "SIDE/MEMORY/d/chunk/length/mode", in this process."""
    import torch

    torch.set_num_threads(1)
    side, memory, d, chunk, length, mode = case.split("/")
    module, layer = SIDES[side](int(d), int(chunk), MEMORIES[memory])
    x = torch.randn(1, int(length), int(d))
    built = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def call() -> None:
        if mode == "forward":
            with torch.no_grad():
                layer(x)
        else:
            module.zero_grad()
            layer(x).square().mean().backward()

    call()  # the first one allocates
    seconds: list[float] = []
    while not seconds or (sum(seconds) < SECONDS and len(seconds) < 20):
        begun = time.process_time()
        call()
        seconds.append(time.process_time() - begun)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - built
    return {
        "parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
        "cpu_ms": round(1000 * statistics.median(seconds), 1),
        "peak_mib": round(grown / (1 if platform.system() == "Linux" else 1024) / 1024, 1),
    }


def run_cell(cell: str) -> dict[str, Any]:
    """One cell, both sides in turn, each case in a fresh process: one row of the table."""
    rounds: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(ROUNDS):
        for side, found in rounds.items():
            with FRESH.Pool(1) as process:
                found.append(process.apply(measure, (f"{side}/{cell}",)))
    ours, theirs = (
        {"parameters": found[0]["parameters"]} | {key: min(f[key] for f in found) for key in ("cpu_ms", "peak_mib")}
        for found in rounds.values()
    )
    memory, d, chunk, length, mode = cell.split("/")
    return {
        "memory": memory,
        "width": int(d),
        "chunk": int(chunk),
        "tokens": int(length),
        "call": mode,
        "times as fast": round(theirs["cpu_ms"] / ours["cpu_ms"], 2),
        "times the memory": round(ours["peak_mib"] / max(theirs["peak_mib"], 0.1), 2),
        "tokens/s, ours": round(1000 * int(length) / ours["cpu_ms"]),
        "theirs": round(1000 * int(length) / theirs["cpu_ms"]),
        "MiB, ours": ours["peak_mib"],
        "MiB, theirs": theirs["peak_mib"],
        "parameters, ours": ours["parameters"],
        "parameters, theirs": theirs["parameters"],
    }


def main() -> None:
    """The command line."""
    cells = ["/".join(map(str, cell)) for cell in itertools.product(MEMORIES, WIDTHS, CHUNKS, LENGTHS, MODES)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="*", default=cells, help=f"such as {cells[0]}")
    arguments = parser.parse_args()
    rows = []
    for cell in arguments.cells:
        rows.append(run_cell(cell))
        print(f"{cell:36} {rows[-1]['times as fast']:5.2f} x as fast, {rows[-1]['times the memory']:5.2f} x the memory")
        sys.stdout.flush()
    if arguments.cells != cells:
        return
    packages = ("torch", "titans-pytorch")
    record = {
        "title": "A neural memory",
        "what": "One layer with its projections and gates, batch 1, float32, one thread; the MLP's inner width is "
        "twice the layer's. CPU time a call, and peak memory above what the process holds once the layer is built; the "
        "smallest of three rounds. The other side's weights are new every four chunks (`batch_size` of 4 chunks): its "
        "default takes all gradients at the initial weights.",
        "note": "What ours does more: weights that are new every chunk, momentum and forgetting at every token "
        "(theirs: one a chunk), convolutions before the projections, and the surprise of every token.",
        "command": "make bench",
        "environment": {name: metadata.version(name) for name in packages} | {"machine": platform.machine()},
        "rows": rows,
    }
    path = Path(__file__).resolve().parent.parent / "data/benchmarks/memory.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
