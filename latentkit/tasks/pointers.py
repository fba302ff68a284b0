"""Pointer chasing: every node knows its parent; which root does it hang from?

    token at node j     the name of its parent (its own name, if it is a root)
    target at node j    the name of its root
    depth of node j     pointers to follow

A model that follows one pointer a layer needs depth layers; one that squares the pointer function (p <- p o p, pointer
doubling) needs log2 of that: L layers reach depth 2^L (Sanford et al. 2024 for induction heads and k-hop; Merrill and
Sabharwal 2025 for graph connectivity in logarithmic depth). There are several chains, since
with a single root "name the only root" would look like reasoning. Even so a deep node says something by being deep: its
chain is probably, and beyond half of the nodes certainly, the longest.
"""

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from latentkit.style import RIGHT, WRONG
from latentkit.tasks import Batch, accuracy_by_depth


class PointerChasing:
    """`chains` disjoint chains over shuffled node names.

    Raises:
        ValueError: chains below 2.
    """

    def __init__(self, nodes: int = 16, chains: int = 2):
        if not 2 <= chains <= nodes:
            raise ValueError(f"chains={chains} with nodes={nodes}; need 2 <= chains <= nodes")
        self.name = "pointers"
        self.nodes, self.chains = nodes, chains
        self.vocab_size = self.num_classes = nodes
        self.token_names = self.class_names = [_name(i) for i in range(nodes)]

    def __repr__(self) -> str:
        return f"PointerChasing(nodes={self.nodes}, chains={self.chains})"

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """Random chains over n = `length` nodes: each further node is hung on the tip of a chain drawn at random.

        Raises:
            ValueError: length other than the task's number of nodes (a position is a node's name here).
        """
        if batch < 1 or length != self.nodes:
            raise ValueError(
                f"batch={batch}, length={length}; batch must be at least 1 and length {self.nodes}, one position a node"
            )
        rows = torch.arange(batch)
        parent = torch.arange(self.nodes).repeat(batch, 1)
        root, depth = parent.clone(), torch.zeros_like(parent)
        tip = torch.arange(self.chains).repeat(batch, 1)
        for node in range(self.chains, self.nodes):
            chain = torch.randint(self.chains, (batch,), generator=generator)
            above = tip[rows, chain]
            parent[:, node], root[:, node] = above, root[rows, above]
            depth[:, node] = depth[rows, above] + 1
            tip[rows, chain] = node
        # Names are drawn anew for every example, so that nothing can be read off a name.
        name = torch.rand(batch, self.nodes, generator=generator).argsort(1)
        place = name.argsort(1)
        return Batch(
            name.gather(1, parent).gather(1, place), name.gather(1, root).gather(1, place), depth.gather(1, place)
        )

    def score(self, logits: Float[Tensor, "b n v"], batch: Batch) -> Float[Tensor, " m"]:
        """Accuracy at each depth."""
        return accuracy_by_depth(logits, batch)

    def show(self, batch: Batch, logits: Float[Tensor, "b n v"] | None = None, example: int = 0) -> Figure:
        """The chains of one example, roots at the left; a node is crossed where the model names the wrong root."""
        parent, root, depth = (field[example].tolist() for field in batch)
        wrong = set()
        if logits is not None:
            wrong = {j for j, p in enumerate(logits[example].argmax(-1).tolist()) if p != root[j]}
        lanes = {r: lane for lane, r in enumerate(sorted(set(root)))}
        figure, axes = plt.subplots(figsize=(0.75 * (max(depth) + 1) + 0.6, 0.8 * len(lanes) + 0.3))
        for j, p in enumerate(parent):
            x, y = depth[j], -lanes[root[j]]
            if p != j:
                axes.annotate("", (x - 0.72, y), (x - 0.28, y), arrowprops={"arrowstyle": "->", "color": "0.5"})
            colour = WRONG if j in wrong else RIGHT if logits is not None else "white"
            axes.plot(x, y, "o", markersize=19, markerfacecolor=colour, markeredgecolor="0.4")
            axes.text(x, y, self.class_names[j], ha="center", va="center", fontsize=9)
            if j in wrong:
                axes.text(x, y - 0.42, "✗", ha="center", va="center", fontsize=8)
        axes.set(xlim=(-0.6, max(depth) + 0.6), ylim=(-len(lanes) + 0.4, 0.6))
        axes.axis("off")
        plt.close(figure)  # the notebook shows the returned figure once, not twice
        return figure


def _name(i: int) -> str:
    """a, b, ..., z, a1, b1, ..."""
    return chr(ord("a") + i % 26) + (str(i // 26) if i >= 26 else "")
