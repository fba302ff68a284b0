"""Several processes, one run.

Hugging Face Accelerate starts them and moves tensors between them:

    accelerate launch -m latentkit train PRESET

Every process has the whole model and draws the same global batch, of which it takes its own rows. After the backward
pass gradients are averaged over processes, so that every one makes the same update. A model of the course is called
through `encode`, `step` and `decode`, not through `forward`; DDP's wrapper, which hooks into `forward`, does not fit.

Outside of `accelerate launch` all of this does nothing, and Accelerate need not be installed.
"""

import os
from collections.abc import Sequence

import torch
from torch import Tensor, distributed


def launched() -> tuple[int, int]:
    """What a launcher says of this process before it has joined the others: its rank, and how many they are."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def start(cpu: bool) -> torch.device:
    """Joins the other processes of the launcher; returns this one's device: a GPU of its own, unless on the CPU.

    Raises:
        ValueError: Accelerate is not installed.
    """
    try:
        from accelerate import PartialState
    except ImportError:
        raise ValueError("several processes need Hugging Face Accelerate: pip install 'latentkit[gpu]'") from None
    return PartialState(cpu=cpu).device


def rank() -> int:
    """This process's number, from 0: the one that prints and writes."""
    return distributed.get_rank() if _several() else 0


def size() -> int:
    """How many processes share the run."""
    return distributed.get_world_size() if _several() else 1


def own_rows(x: Tensor) -> Tensor:
    """This process's part of a global batch: the rank-th of `size` equal parts along the first dimension.

    Raises:
        ValueError: the batch cannot be shared equally.
    """
    if size() == 1:
        return x
    if len(x) % size():
        raise ValueError(f"a batch of {len(x)} cannot be shared equally by {size()} processes")
    return x.chunk(size())[rank()]


def all_rows(x: Tensor) -> Tensor:
    """The global batch from every process's part; inverse of `own_rows`, called by all processes together."""
    if size() == 1:
        return x
    from accelerate.utils import gather

    return gather(x.contiguous())


def average_(tensors: Sequence[Tensor]) -> None:
    """Puts the mean over processes in the place of every tensor; called by all processes together."""
    if size() == 1 or not tensors:
        return
    from accelerate.utils import reduce

    # As one long vector: a message for each of many small tensors would cost more than what is in it.
    mean = reduce(torch.cat([x.flatten() for x in tensors]), reduction="mean")
    for x, new in zip(tensors, mean.split([x.numel() for x in tensors]), strict=True):
        x.copy_(new.view_as(x))


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()
