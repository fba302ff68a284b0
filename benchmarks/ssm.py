"""One state-space layer against what people would use instead: `make bench`.

Milliseconds on the clock for one layer on 4,096 tokens, forward, and forward with backward: the median of the rounds.
All layers take turns in one process, so that a busy second of the machine hits them alike.

    python benchmarks/ssm.py                        writes data/benchmarks/ssm.json
    python benchmarks/ssm.py --lengths 256 --threads 1 --rounds 3     fewer cases, printed and not written
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mambapy.mamba import MambaBlock, MambaConfig
from torch import Tensor, nn

from latentkit.models.ssm import SSMConfig, SSMLayer

TOKENS, STATE, HEAD = 4096, 16, 32
WIDTHS, LENGTHS, THREADS = (64, 128), (256, 1024, 4096), (1, 2)
LOOP_UP_TO = 1024  # positions; mambapy's own loop takes a minute for more
NOTE = (
    f"Both state-space layers have {STATE} numbers a channel, 2 d channels and a convolution over 4 positions. They "
    "are not the same recurrence: ours (Mamba-2) has one decay a head of 32 channels, which is what makes it a matrix "
    "product; mambapy's (Mamba-1) has one decay for each of its 2 d x 16 numbers. The GRU has d hidden numbers, "
    "attention 4 heads; neither has a convolution, a gate or a norm. mambapy's loop is not run beyond 1,024 positions."
)


class SSD(nn.Module):
    """Latentkit's layer, from an empty state."""

    def __init__(self, d: int):
        super().__init__()
        self.layer = SSMLayer(SSMConfig(1, 1, d_model=d, num_heads=2 * d // HEAD, state_size=STATE))
        self.d = d

    def forward(self, x: Tensor) -> Tensor:
        """The output of every position."""
        b, d = len(x), self.d
        return self.layer(x, x.new_zeros(b, 2 * d // HEAD, HEAD, STATE), x.new_zeros(b, 3, 2 * d + 2 * STATE))[0]


class GRULayer(nn.GRU):
    """torch's GRU, d to d."""

    def __init__(self, d: int):
        super().__init__(d, d, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """The output of every position."""
        return super().forward(x)[0]


class CausalAttention(nn.Module):
    """torch's scaled dot-product attention with its projections."""

    def __init__(self, d: int):
        super().__init__()
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The output of every position."""
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "latentkit SSM": SSD,
    "mambapy scan": lambda d: MambaBlock(MambaConfig(d_model=d, n_layers=1, d_state=STATE, pscan=True)),
    "mambapy loop": lambda d: MambaBlock(MambaConfig(d_model=d, n_layers=1, d_state=STATE, pscan=False)),
    "torch GRU": GRULayer,
    "causal attention": CausalAttention,
}


def once(layer: nn.Module, x: Tensor, backward: bool) -> float:
    """Milliseconds of one call."""
    layer.zero_grad()
    begun = time.perf_counter()
    if backward:
        layer(x).sum().backward()
    else:
        with torch.no_grad():
            layer(x)
    return 1000 * (time.perf_counter() - begun)


def rows(d: int, length: int, threads: int, rounds: int) -> list[dict[str, Any]]:
    """The forward row and the row with backward of one setting."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x = torch.randn(max(1, TOKENS // length), length, d, requires_grad=True)
    layers = {name: make(d) for name, make in LAYERS.items() if length <= LOOP_UP_TO or name != "mambapy loop"}
    table = []
    for backward in (False, True):
        times: dict[str, list[float]] = {name: [] for name in layers}
        for turn in range(rounds + 1):
            for name, layer in layers.items():
                slow = name == "mambapy loop" and turn > min(2, rounds)  # two rounds of it are enough
                took = 0.0 if slow else once(layer, x, backward)
                if turn and not slow:  # the first call allocates
                    times[name].append(took)
        medians = {name: round(statistics.median(found), 1) for name, found in times.items()}
        table.append(
            {
                "d": d,
                "length": length,
                "threads": threads,
                "pass": "forward + backward" if backward else "forward",
                **{f"{name} (ms)": medians.get(name) for name in LAYERS},
                "scan / ours": round(medians["mambapy scan"] / medians["latentkit SSM"], 2),
            }
        )
        print(table[-1], flush=True)
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", nargs="*", type=int, default=WIDTHS)
    parser.add_argument("--lengths", nargs="*", type=int, default=LENGTHS)
    parser.add_argument("--threads", nargs="*", type=int, default=THREADS)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    settings = [(d, length, threads) for threads in asked.threads for d in asked.widths for length in asked.lengths]
    table = [row for setting in settings for row in rows(*setting, asked.rounds)]
    if (tuple(asked.widths), tuple(asked.lengths), tuple(asked.threads)) != (WIDTHS, LENGTHS, THREADS):
        return
    counts = {name: [sum(p.numel() for p in make(d).parameters()) for d in WIDTHS] for name, make in LAYERS.items()}
    sizes = "; ".join(f"{name} {small:,} and {large:,}" for name, (small, large) in counts.items())
    record = {
        "title": "One state-space layer",
        "what": f"One layer on {TOKENS:,} tokens ({TOKENS:,} / length sequences), float32, milliseconds on the clock, "
        f"median of {asked.rounds} rounds in turn.",
        "command": "make bench",
        "environment": {name: metadata.version(name) for name in ("torch", "mambapy")}
        | {"Python": platform.python_version(), "machine": platform.machine()},
        "rows": table,
        "note": f"{NOTE} Parameters at d = 64 and 128: {sizes}.",
    }
    path = Path(__file__).resolve().parent.parent / "data/benchmarks/ssm.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
