"""One task a file: `sample` draws a batch, `score` judges logits, `show` draws one example.

Every task speaks of *depth*: the number of sequential steps that the answer at a position needs, if nothing is skipped
(prefix length in a word problem, distance to the root in pointer chasing). All claims about depth are accuracies by
depth.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

NO_TARGET = -100
"""The target of a position that asks for nothing: it has no loss (torch's own convention) and no score."""


class Batch(NamedTuple):
    """A batch of any task."""

    tokens: Int[Tensor, "b n"]
    targets: Int[Tensor, "b n"]
    depth: Int[Tensor, "b n"]


@runtime_checkable
class Task(Protocol):
    """What models, training and claims rely on."""

    name: str
    vocab_size: int
    num_classes: int

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """A batch; the same generator state gives the same batch."""

    def score(self, logits: Float[Tensor, "b n v"], batch: Batch) -> Float[Tensor, " m"]:
        """Accuracy at each depth."""

    def show(self, batch: Batch, logits: Float[Tensor, "b n v"] | None = None, example: int = 0) -> Figure:
        """A picture of one example."""


def accuracy_by_depth(logits: Float[Tensor, "b n v"], batch: Batch) -> Float[Tensor, " m"]:
    """Share of right answers at each depth 0..max, where there is a target; NaN at a depth that does not occur.

    Raises:
        ValueError: logits of another batch shape.
    """
    if logits.shape[:2] != batch.targets.shape:
        raise ValueError(
            f"logits are for {list(logits.shape[:2])} [batch, positions], targets for {list(batch.targets.shape)}"
        )
    # On the CPU, wherever the model is: mps has no float64, and a batch may have stayed behind.
    asked = (batch.targets != NO_TARGET).cpu()
    right = (logits.argmax(-1).cpu() == batch.targets.cpu())[asked].double()
    depth = batch.depth.cpu()[asked]
    count = torch.bincount(depth).double()
    return (torch.bincount(depth, weights=right) / count).float()


def solved_depth(accuracy: Float[Tensor, " m"], threshold: float = 0.99) -> int:
    """The largest depth D such that all of 1..D that occur have at least `threshold` accuracy; 0 if none."""
    solved = 0
    for depth in range(1, len(accuracy)):
        if accuracy[depth] < threshold:
            break
        if not accuracy[depth].isnan():  # NaN: a depth that does not occur
            solved = depth
    return solved


from latentkit.tasks.arithmetic import Multiplication, NonAdjacentSum  # noqa: E402  (the tasks need Batch)
from latentkit.tasks.composition import Composition  # noqa: E402
from latentkit.tasks.copying import Copying, NgramLookup  # noqa: E402
from latentkit.tasks.graphs import ComputationGraph, nonadjacent_graph, product_graph  # noqa: E402
from latentkit.tasks.hierarchy import RandomHierarchy  # noqa: E402
from latentkit.tasks.maze import Maze  # noqa: E402
from latentkit.tasks.needles import Needles  # noqa: E402
from latentkit.tasks.passkey import Passkey  # noqa: E402
from latentkit.tasks.pointers import PointerChasing  # noqa: E402
from latentkit.tasks.puzzles import PuzzleSet, read_sudoku_csv  # noqa: E402
from latentkit.tasks.sudoku import Sudoku  # noqa: E402
from latentkit.tasks.words import WordProblem  # noqa: E402

__all__ = [
    "NO_TARGET",
    "Batch",
    "Composition",
    "ComputationGraph",
    "Copying",
    "Maze",
    "Multiplication",
    "Needles",
    "NgramLookup",
    "NonAdjacentSum",
    "Passkey",
    "PointerChasing",
    "PuzzleSet",
    "RandomHierarchy",
    "Sudoku",
    "Task",
    "WordProblem",
    "accuracy_by_depth",
    "nonadjacent_graph",
    "product_graph",
    "read_sudoku_csv",
    "solved_depth",
]
