"""Word problems over finite groups: after each letter, which group element is the product so far?

    tokens   <bos> g_1 g_2 ... g_n            g_i from a small generating set
    targets    1   s_1 s_2 ... s_n            s_t = g_t ... g_2 g_1   (the empty word is the identity)

The task isolates state tracking. What is known: parity (Z2) and S3 are solvable groups, for which constant-depth
shortcuts exist in principle (Liu et al. 2023); A5 and S5 are not solvable, their word problems are NC1-complete
(Barrington 1989), so that no fixed-depth transformer solves them at all lengths unless TC0 = NC1 (Merrill and
Sabharwal 2023).
"""

import itertools
import re

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from latentkit.style import RIGHT, WRONG
from latentkit.tasks import Batch, accuracy_by_depth

# Generators as permutations: p[i] is where i goes. Two are enough for each symmetric or alternating group.
_GENERATORS: dict[str, list[tuple[int, ...]]] = {
    "S3": [(1, 0, 2), (1, 2, 0)],
    "A5": [(1, 2, 0, 3, 4), (1, 2, 3, 4, 0)],
    "S5": [(1, 0, 2, 3, 4), (1, 2, 3, 4, 0)],
}


class WordProblem:
    """The word problem of `group`: "Z2" (parity), "Zn" for any n >= 2, "S3", "A5" or "S5".

    Attributes:
        table: the transition table, table[g, s] = g s.
        vocab_size: generators plus the start token; num_classes: the group's order.

    Raises:
        ValueError: an unknown group.
    """

    def __init__(self, group: str = "S3"):
        self.group = self.name = group
        table, self.class_names, generator_names = _group(group)
        self.table: Int[Tensor, "g s"] = torch.tensor(table)
        self.num_generators, self.num_classes = self.table.shape
        self.bos = self.num_generators
        self.vocab_size = self.num_generators + 1
        self.token_names = [*generator_names, "⊢"]

    def __repr__(self) -> str:
        return f"WordProblem({self.group!r})"

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """Random words of `length` letters, n = length + 1 positions; depth is the number of letters read.

        Raises:
            ValueError: batch or length below 1.
        """
        if batch < 1 or length < 1:
            raise ValueError(f"batch={batch}, length={length}; both must be at least 1")
        letters = torch.randint(self.num_generators, (batch, length), generator=generator)
        return self.batch(letters)

    def batch(self, letters: Int[Tensor, "b w"]) -> Batch:
        """The batch for given words.

        Raises:
            ValueError: a letter that is not a generator.
        """
        if letters.numel() and not 0 <= int(letters.min()) <= int(letters.max()) < self.num_generators:
            raise ValueError(
                f"letters must be 0..{self.num_generators - 1}, the generators of {self.group}; "
                f"found {int(letters.min())}..{int(letters.max())}"
            )
        state = torch.zeros(len(letters), dtype=torch.long)
        states = [state]
        for column in letters.T:
            state = self.table[column, state]
            states.append(state)
        bos = torch.full_like(letters[:, :1], self.bos)
        depth = torch.arange(letters.shape[1] + 1).expand(len(letters), -1)
        return Batch(torch.cat([bos, letters], 1), torch.stack(states, 1), depth)

    def score(self, logits: Float[Tensor, "b n v"], batch: Batch) -> Float[Tensor, " n"]:
        """Accuracy at each position, that is after each number of letters."""
        return accuracy_by_depth(logits, batch)

    def show(self, batch: Batch, logits: Float[Tensor, "b n v"] | None = None, example: int = 0) -> Figure:
        """One word, its running product, and (where logits are given) what the model says."""
        rows = [("letter", [self.token_names[i] for i in batch.tokens[example]])]
        rows.append(("product", [self.class_names[i] for i in batch.targets[example]]))
        right = None
        if logits is not None:
            predicted = logits[example].argmax(-1)
            right = (predicted == batch.targets[example]).tolist()
            rows.append(("model", [self.class_names[i] for i in predicted]))
        return _strip(rows, right)


def _group(name: str) -> tuple[list[list[int]], list[str], list[str]]:
    """Transition table of the generators, names of the elements (identity first), names of the generators."""
    if match := re.fullmatch(r"Z(\d+)", name):
        n = int(match[1])
        if n < 2:
            raise ValueError(f"group {name!r} is trivial; Zn needs n >= 2")
        return [[(s + i) % n for s in range(n)] for i in (0, 1)], [str(s) for s in range(n)], ["0", "1"]
    if name not in _GENERATORS:
        raise ValueError(f"unknown group {name!r}; choose Z2 (parity), Zn for n >= 2, {', '.join(_GENERATORS)}")
    n = int(name[1])
    elements = list(itertools.permutations(range(n)))
    if name[0] == "A":
        elements = [p for p in elements if _is_even(p)]
    index = {p: i for i, p in enumerate(elements)}
    # (g s)[i] = g[s[i]]: the letter acts after everything read before it.
    table = [[index[tuple(g[i] for i in s)] for s in elements] for g in _GENERATORS[name]]
    return table, [_cycles(p) for p in elements], [_cycles(g) for g in _GENERATORS[name]]


def _is_even(p: tuple[int, ...]) -> bool:
    return sum(p[i] > p[j] for i in range(len(p)) for j in range(i + 1, len(p))) % 2 == 0


def _cycles(p: tuple[int, ...]) -> str:
    """Cycle notation, counted from 1: (1 2 3) is written (123), the identity e."""
    seen: set[int] = set()
    text = ""
    for start in range(len(p)):
        cycle, i = [], start
        while i not in seen:
            seen.add(i)
            cycle.append(i + 1)
            i = p[i]
        if len(cycle) > 1:
            text += "(" + "".join(map(str, cycle)) + ")"
    return text or "e"


def _strip(rows: list[tuple[str, list[str]]], right: list[bool] | None) -> Figure:
    """Rows of boxed symbols; the last row is marked right (filled) or wrong (hatched, crossed) where that is known."""
    n = len(rows[0][1])
    figure, axes = plt.subplots(figsize=(min(14, 0.62 * n + 1.2), 0.5 * len(rows) + 0.5))
    for r, (label, cells) in enumerate(rows):
        axes.text(-0.7, -r, label, ha="right", va="center", fontsize=9)
        for i, text in enumerate(cells):
            mark = right[i] if right is not None and r == len(rows) - 1 else None
            wrong = mark is False
            colour = {None: "none", True: RIGHT, False: WRONG}[mark]
            axes.add_patch(
                plt.Rectangle(
                    (i - 0.46, -r - 0.38), 0.92, 0.76, facecolor=colour, edgecolor="0.6", hatch="//" if wrong else ""
                )
            )
            axes.text(i, -r, text, ha="center", va="center", fontsize=8)
    axes.set(xlim=(-2.2, n - 0.4), ylim=(-len(rows) + 0.4, 0.6))
    axes.axis("off")
    plt.close(figure)  # the notebook shows the returned figure once, not twice
    return figure
