"""Needles in filler: a few pairs of a key and a value, somewhere in a long text without meaning; at the end, questions.

    tokens   . . k3 v7 . . . . . . k1 v2 . . . .   ...   . .  k1 v2 k3 v7
    targets                                                   v2    v7

A test of recall at a distance, that is of writing what matters and of not being worn down by what does not. At the end
every key is asked once, in a new order, and its value follows. A needle in a haystack of words is Kamradt's test of
2023; Titans is tested on RULER's (arXiv 2404.06654). Recall of random pairs is that of Arora et al. 2023 (arXiv
2312.04927).
"""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from latentkit.style import RIGHT, WRONG
from latentkit.tasks import NO_TARGET, Batch, accuracy_by_depth


class Needles:
    """`needles` pairs of `keys` different keys and `values` values; `fillers` further tokens say nothing.

    The length of a sequence is its number of tokens, of which the last 2 * needles are the questions. The classes are
    the values; chance is 1 / values.

    Raises:
        ValueError: more needles than keys, or none of something.
    """

    def __init__(self, needles: int = 4, keys: int = 16, values: int = 16, fillers: int = 8):
        if min(needles, values, fillers) < 1 or needles > keys:
            raise ValueError(
                f"needles={needles}, keys={keys}, values={values}, fillers={fillers}: at least 1 of each, and no more "
                "needles than keys, for a key must not have two values"
            )
        self.name = "needles"
        self.needles, self.keys, self.values, self.fillers = needles, keys, values, fillers
        self.vocab_size, self.num_classes = keys + values + fillers, values
        self.class_names = [f"v{i}" for i in range(values)]
        self.token_names = [*(f"k{i}" for i in range(keys)), *self.class_names, *("·" for _ in range(fillers))]

    def __repr__(self) -> str:
        sizes = (self.needles, self.keys, self.values, self.fillers)
        return "Needles(needles={}, keys={}, values={}, fillers={})".format(*sizes)

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """Sequences of `length` tokens; depth is the number of tokens from a needle to its question.

        Raises:
            ValueError: no batch, or a length that does not hold needles and questions.
        """
        shortest = 4 * self.needles
        if batch < 1 or length < shortest:
            raise ValueError(
                f"batch={batch}, length={length}; batch must be at least 1, and {self.needles} needles and their "
                f"questions take {shortest} tokens"
            )
        n, context = self.needles, length - 2 * self.needles
        filler = self.keys + self.values
        tokens = torch.randint(filler, self.vocab_size, (batch, length), generator=generator)
        key = torch.rand(batch, self.keys, generator=generator).argsort(-1)[:, :n]
        value = torch.randint(self.values, (batch, n), generator=generator)
        # Gaps drawn as sorted places without the needles' own room, so that needles never overlap.
        gaps = torch.randint(context - 2 * n + 1, (batch, n), generator=generator).sort(-1).values
        place = gaps + 2 * torch.arange(n)
        order = torch.rand(batch, n, generator=generator).argsort(-1)
        ask = context + 2 * torch.arange(n).expand(batch, -1)
        asked_key, asked_value = key.gather(1, order), value.gather(1, order)
        targets = torch.full_like(tokens, NO_TARGET)
        depth = torch.zeros_like(tokens)
        for where, k, v in ((place, key, value), (ask, asked_key, asked_value)):
            tokens.scatter_(1, where, k)
            tokens.scatter_(1, where + 1, v + self.keys)
        targets.scatter_(1, ask, asked_value)
        depth.scatter_(1, ask, ask - place.gather(1, order))
        return Batch(tokens, targets, depth)

    def blocks(self, batch: int, length: int, distance: int, block: int, generator: torch.Generator) -> Iterator[Batch]:
        """A stream of `length` tokens, block by block: needles about `distance` tokens before its end, then questions.

        All needles lie in one block; the last block ends with the questions. The depth is not told (zeros).

        Raises:
            ValueError: lengths that are no multiples of `block`, needles that would lie outside, or too short a block.
        """
        if block < 2 * self.needles:
            raise ValueError(f"block={block}; {self.needles} needles take {2 * self.needles} tokens: make it as long")
        if length % block or distance % block or not block <= distance < length:
            raise ValueError(
                f"length={length}, distance={distance}, block={block}; need multiples of the block, and "
                "block <= distance < length"
            )
        short = self.sample(batch, block + 2 * self.needles, generator)
        asked = 2 * self.needles
        for start in range(0, length, block):
            tokens = torch.randint(self.keys + self.values, self.vocab_size, (batch, block), generator=generator)
            targets = torch.full_like(tokens, NO_TARGET)
            if start == length - distance - block:
                tokens = short.tokens[:, :block]
            if start == length - block:
                tokens[:, -asked:], targets[:, -asked:] = short.tokens[:, block:], short.targets[:, block:]
            yield Batch(tokens, targets, torch.zeros_like(tokens))

    def score(self, logits: Float[Tensor, "b n v"], batch: Batch) -> Float[Tensor, " m"]:
        """Recall by the number of tokens from needle to question."""
        return accuracy_by_depth(logits, batch)

    def recall(self, logits: Float[Tensor, "b n v"], batch: Batch) -> float:
        """Share of questions answered right; logits may be those of the last n positions only.

        Raises:
            ValueError: logits that are not finite; a model that has diverged would count as one that guesses.
        """
        if not bool(logits.isfinite().all()):
            raise ValueError(
                "logits hold numbers that are not finite: the memory diverged, and has no recall to measure"
            )
        targets = batch.targets[:, -logits.shape[1] :]
        asked = targets != NO_TARGET
        return float((logits.argmax(-1) == targets)[asked].float().mean())

    def show(self, batch: Batch, logits: Float[Tensor, "b n v"] | None = None, example: int = 0) -> Figure:
        """One sequence, 32 tokens a row (of a long one the rows with needles and the last), and what the model says."""
        width = min(32, batch.tokens.shape[1])
        tokens, targets, _ = (field[example].tolist() for field in batch)
        said = None if logits is None else logits[example].argmax(-1).tolist()
        starts = list(range(0, len(tokens), width))
        full = [start for start in starts if min(tokens[start : start + width]) < self.keys + self.values]
        shown = starts if len(starts) <= 4 else sorted({*full, starts[-1]})
        figure, axes = plt.subplots(figsize=(0.34 * width + 1, 0.5 * len(shown) + (0.3 if said else 0.1)))
        for line, start in enumerate(shown):
            axes.text(-0.9, -line, f"{start + 1}", ha="right", va="center", fontsize=8, color="0.4")
            for i, token in enumerate(tokens[start : start + width]):
                filler, asked = token >= self.keys + self.values, targets[start + i] != NO_TARGET
                colour = "none" if filler else "0.9"
                if asked and said is not None:
                    colour = RIGHT if said[start + i] == targets[start + i] else WRONG
                wrong = colour == WRONG
                axes.add_patch(
                    plt.Rectangle(
                        (i - 0.46, -line - 0.36),
                        0.92,
                        0.72,
                        facecolor=colour,
                        edgecolor="0.9" if filler else "0.4",
                        linewidth=2 if asked else 0.8,
                        hatch="///" if wrong else "",
                    )
                )
                axes.text(i, -line, self.token_names[token], ha="center", va="center", fontsize=6.5)
                if asked and said is not None:
                    answer = self.class_names[said[start + i]]
                    axes.text(i, -line - 0.52, f"→{answer}", ha="center", va="center", fontsize=6.5)
        axes.set(xlim=(-2.5, width - 0.4), ylim=(-len(shown) + 0.3, 0.6))
        axes.axis("off")
        plt.close(figure)  # the notebook shows the returned figure once, not twice
        return figure
