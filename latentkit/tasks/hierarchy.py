r"""The random hierarchy model: sentences with a hidden tree, of which every latent is known.

    level L                  x            the root: one of v symbols, all equally likely
                           /   \
    level L-1            p       q        a symbol owns m tuples of s symbols of the level below, its synonyms;
                        / \     / \      one of them is drawn, independently of everything else
    ...
    level 0            a   b   c   d      the tokens, s^L of them

No two symbols of a level own the same tuple: a sentence has exactly one tree, and `parse` finds it. That needs
v m <= v^s. The rules are drawn once, by `seed`.

After Cagnetta et al. 2024 (PRX 14, 031001) and Korchinski et al. 2026 (arXiv 2605.27734), with their letters. As a task
it asks for the root at the last token; what lab 09 is about are the latents between.
"""

from collections.abc import Sequence
from functools import cached_property

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from latentkit.style import GREY, INK, RIGHT, WRONG
from latentkit.tasks import NO_TARGET, Batch, accuracy_by_depth

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
MAX_TUPLES = 2**20  # v^s are listed, level by level


class RandomHierarchy:
    """Sentences of a random grammar.

    Attributes:
        v: symbols of every level.
        m: synonyms of a symbol: tuples that it may be written as.
        s: symbols of a tuple.
        L: levels of rules; a sentence has s^L tokens, its root is the one symbol of level L.
        seed: of the rules, and of the finite sample.
        examples: where given, `sample` draws from so many sentences, made once; else every sentence is fresh.
        rules: rules[l] is [v, m, s]: what a symbol of level l + 1 may be written as, in symbols of level l.
        owner: owner[l] is [v^s]: the symbol of level l + 1 that owns a tuple (`tuple_ids`), or -1.

    Raises:
        ValueError: sizes for which there is no such grammar.
    """

    def __init__(self, v: int = 8, m: int = 4, s: int = 2, L: int = 3, *, seed: int = 0, examples: int | None = None):
        if not 2 <= v <= 26 or m < 1 or s < 2 or L < 1:
            raise ValueError(f"v={v}, m={m}, s={s}, L={L}; need 2 <= v <= 26, m >= 1, s >= 2, L >= 1")
        if v**s > MAX_TUPLES:
            raise ValueError(f"v={v}, s={s}: {v**s:,} tuples are more than the {MAX_TUPLES:,} that are kept in a table")
        if v * m > v**s:
            raise ValueError(f"v={v}, m={m}, s={s}: {v} symbols with {m} tuples each, but there are only {v**s} tuples")
        if examples is not None and examples < 1:
            raise ValueError(f"examples={examples}; a finite sample has at least 1")
        self.v, self.m, self.s, self.L, self.seed, self.examples = v, m, s, L, seed, examples
        self.name = f"hierarchy v={v} m={m} s={s} L={L}" + (f", {examples:,} sentences" if examples else "")
        self.vocab_size = self.num_classes = v
        self.num_positions = s**L
        self.token_names = self.names(0)
        self.class_names = self.names(L)
        generator = torch.Generator().manual_seed(seed)
        self.rules: list[Int[Tensor, "v m s"]] = []
        self.owner: list[Int[Tensor, " t"]] = []
        for _ in range(L):
            ids = torch.randperm(v**s, generator=generator)[: v * m]
            powers = v ** torch.arange(s - 1, -1, -1)
            self.rules.append((ids[:, None] // powers % v).view(v, m, s))
            owner = torch.full((v**s,), -1)
            owner[ids] = torch.arange(v).repeat_interleave(m)
            self.owner.append(owner)

    def __repr__(self) -> str:
        examples = f", examples={self.examples}" if self.examples else ""
        return f"RandomHierarchy({self.v}, {self.m}, {self.s}, {self.L}, seed={self.seed}{examples})"

    def for_seed(self, seed: int) -> "RandomHierarchy":
        """The same sizes with another grammar, and another finite sample of it."""
        return RandomHierarchy(self.v, self.m, self.s, self.L, seed=seed, examples=self.examples)

    def names(self, level: int) -> list[str]:
        """What the symbols of a level are called: a, b, c for tokens, A₂ for latents of level 2."""
        first, below = ("A", str(level).translate(SUBSCRIPTS)) if level else ("a", "")
        return [chr(ord(first) + i) + below for i in range(self.v)]

    def draw(self, batch: int, generator: torch.Generator) -> list[Int[Tensor, "b _"]]:
        """Fresh sentences with all their latents: levels 0 (tokens, [b, s^L]) to L (roots, [b, 1]).

        Raises:
            ValueError: batch below 1.
        """
        if batch < 1:
            raise ValueError(f"batch={batch}; it must be at least 1")
        levels = [torch.randint(self.v, (batch, 1), generator=generator)]
        for rules in reversed(self.rules):
            above = levels[-1]
            choice = torch.randint(self.m, above.shape, generator=generator)
            levels.append(rules[above, choice].flatten(1))
        return levels[::-1]

    def parse(self, tokens: Int[Tensor, "b n"]) -> list[Int[Tensor, "b _"]]:
        """The levels of given sentences, 0 to L, found from the bottom up.

        Raises:
            ValueError: another length than s^L, a token outside the alphabet, or a tuple that no symbol owns.
        """
        if tokens.shape[1] != self.num_positions:
            raise ValueError(f"{tokens.shape[1]} tokens; a sentence has s^L = {self.num_positions}")
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < self.v:
            raise ValueError(f"tokens must be 0..{self.v - 1}; found {int(tokens.min())}..{int(tokens.max())}")
        levels = [tokens]
        for level, owner in enumerate(self.owner):
            above = owner[tuple_ids(levels[-1], self.v, self.s)]
            if (above < 0).any():
                row, place = (above < 0).nonzero()[0].tolist()
                raise ValueError(f"sentence {row} is not of this grammar: tuple {place} of level {level} has no owner")
            levels.append(above)
        return levels

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """Sentences, fresh or out of the finite sample; the root is asked for at the last token.

        Raises:
            ValueError: batch below 1, or a length other than s^L.
        """
        if length != self.num_positions:
            raise ValueError(f"length={length}; a sentence has s^L = {self.num_positions} tokens")
        if self.examples is None:
            levels = self.draw(batch, generator)
            tokens, roots = levels[0], levels[-1]
        else:
            if batch < 1:
                raise ValueError(f"batch={batch}; it must be at least 1")
            rows = torch.randint(self.examples, (batch,), generator=generator)
            tokens, roots = self.finite[0][rows], self.finite[-1][rows]
        targets = torch.full_like(tokens, NO_TARGET)
        targets[:, -1:] = roots
        depth = torch.zeros_like(tokens)
        depth[:, -1] = self.L
        return Batch(tokens, targets, depth)

    @cached_property
    def finite(self) -> list[Int[Tensor, "b _"]]:
        """The finite sample, level by level, as `draw` gives it.

        Raises:
            ValueError: a task without one.
        """
        if self.examples is None:
            raise ValueError("this task draws fresh sentences; for a finite sample give it `examples`")
        # Apart from the rules, which have `seed`, and from held-out sentences, which have small seeds.
        return self.draw(self.examples, torch.Generator().manual_seed(1_000_003 + self.seed))

    def score(self, logits: Float[Tensor, "b n v"], batch: Batch) -> Float[Tensor, " m"]:
        """Accuracy at each depth; there is one, L."""
        return accuracy_by_depth(logits, batch)

    def show(self, batch: Batch, logits: Float[Tensor, "b n v"] | None = None, example: int = 0) -> Figure:
        """The tree of one sentence; with logits, the root's box says whether the model finds it."""
        levels = [symbols[0].tolist() for symbols in self.parse(batch.tokens[example : example + 1])]
        fill = "white"
        if logits is not None:
            fill = RIGHT if int(logits[example, -1].argmax()) == levels[-1][0] else WRONG
        return self._tree(levels, fill)

    def _tree(self, levels: Sequence[Sequence[int]], root: str) -> Figure:
        n, s = self.num_positions, self.s
        figure, axes = plt.subplots(figsize=(min(14, 0.5 * n + 1.6), 0.75 * self.L + 1))
        for level, symbols in enumerate(levels):
            names, width = self.names(level), s**level
            axes.text(-1, level, "tokens" if level == 0 else f"level {level}", ha="right", va="center", fontsize=9)
            for place, symbol in enumerate(symbols):
                x = (place + 0.5) * width - 0.5
                if level < self.L:
                    above = (place // s + 0.5) * width * s - 0.5
                    axes.plot((x, above), (level, level + 1), color=GREY, linewidth=1, zorder=1)
                shape = "round" if level else "square"
                colour = root if level == self.L else "white"
                box = {"boxstyle": f"{shape},pad=0.28", "facecolor": colour, "edgecolor": INK if level else GREY}
                axes.text(x, level, names[symbol], ha="center", va="center", fontsize=9, bbox=box, zorder=2)
        axes.set(xlim=(-3.2, n - 0.3), ylim=(-0.5, self.L + 0.5))
        axes.axis("off")
        plt.close(figure)  # the notebook shows the returned figure once, not twice
        return figure


def tuple_ids(symbols: Int[Tensor, "b n"], v: int, s: int) -> Int[Tensor, "b t"]:
    """Each run of s symbols as one number 0..v^s - 1, the first symbol the most significant digit to base v."""
    return (symbols.unflatten(1, (-1, s)) * v ** torch.arange(s - 1, -1, -1)).sum(-1)
