"""Copying: read a random string, then say it again; and its little sister, n-gram lookup.

    copy      tokens    $  x_1 .. x_n  |   x_1 x_2 .. x_n
              targets                 x_1  x_2 x_3 .. .            the first at the bar; "." says that it is over

    lookup    tokens    $  x_1 .. x_n  |  k_1 k_2  a_1 a_2 a_3     "suffix": the key comes after the string
              tokens    $  k_1 k_2  |  x_1 .. x_n  |  a_1 a_2 a_3  "prefix": it is known beforehand
              targets                          a_1 a_2 a_3 a_4     what followed the key in x

Jelassi et al. 2024 (arXiv 2402.01032) put transformers and state-space models to these tests. A random string cannot be
compressed: to say n of V letters again takes n log2 V bits of memory. To look up a key that is known beforehand takes
few.

`depth` counts the letters of the answer from 1 at its first; nothing is sequential here but the saying.
"""

import math
from typing import Literal, get_args

import matplotlib.pyplot as plt
import torch
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from latentkit.style import RIGHT, WRONG
from latentkit.tasks import NO_TARGET, Batch, accuracy_by_depth

KeyAt = Literal["suffix", "prefix"]


class _Letters:
    """What both tasks share: letters 0..V-1, the start `$`, the bar `|`."""

    vocab_size: int
    num_classes: int

    def __init__(self, letters: int):
        if not 2 <= letters <= 26:
            raise ValueError(f"letters={letters}; an alphabet has 2 to 26 of them")
        self.letters = letters
        self.start, self.bar = letters, letters + 1
        self.vocab_size = letters + 2
        names = [chr(ord("a") + i) for i in range(letters)]
        self.token_names = [*names, "$", "|"]
        self.class_names = names

    def check_letters(self, x: Int[Tensor, "b w"]) -> None:
        """Raises ValueError where a letter is outside the alphabet."""
        if x.numel() and not 0 <= int(x.min()) <= int(x.max()) < self.letters:
            raise ValueError(f"letters must be 0..{self.letters - 1}; found {int(x.min())}..{int(x.max())}")

    def score(self, logits: Float[Tensor, "b n v"], batch: Batch) -> Float[Tensor, " m"]:
        """Accuracy at each letter of the answer, where all before it were given right."""
        return accuracy_by_depth(logits, batch)

    def show(self, batch: Batch, logits: Float[Tensor, "b n v"] | None = None, example: int = 0) -> Figure:
        """One string: what is read, what is asked for, and (where logits are given) what the model says."""
        targets = batch.targets[example].tolist()
        asked = [t != NO_TARGET for t in targets]
        rows = [("reads", [self.token_names[t] for t in batch.tokens[example].tolist()])]
        rows.append(("should say", [self.class_names[t] if a else "" for t, a in zip(targets, asked, strict=True)]))
        if logits is not None:
            said = logits[example].argmax(-1).tolist()
            rows.append(("says", [self.class_names[s] if a else "" for s, a in zip(said, asked, strict=True)]))
        n = len(targets)
        figure, axes = plt.subplots(figsize=(min(14, 0.34 * n + 1.4), 0.45 * len(rows) + 0.4))
        for r, (label, cells) in enumerate(rows):
            axes.text(-0.8, -r, label, ha="right", va="center", fontsize=9)
            for i, text in enumerate(cells):
                if not text:
                    continue
                right = said[i] == targets[i] if r == 2 else None
                colour, hatch = {None: ("none", ""), True: (RIGHT, ""), False: (WRONG, "//")}[right]
                box = plt.Rectangle((i - 0.46, -r - 0.4), 0.92, 0.8, facecolor=colour, edgecolor="0.7", hatch=hatch)
                axes.add_patch(box)
                axes.text(i, -r, text, ha="center", va="center", fontsize=9)
        axes.set(xlim=(-4, n - 0.4), ylim=(-len(rows) + 0.4, 0.6))
        axes.axis("off")
        plt.close(figure)  # the notebook shows the returned figure once, not twice
        return figure


class Copying(_Letters):
    """Say the string again, letter by letter, then "." (the last class).

    Attributes:
        letters: size V of the alphabet; a letter holds log2 V bits.

    Raises:
        ValueError: fewer than 2 letters or more than 26.
    """

    def __init__(self, letters: int = 16):
        super().__init__(letters)
        self.name = f"copy, {letters} letters"
        self.end = letters
        self.num_classes = letters + 1
        self.class_names = [*self.class_names, "."]

    def __repr__(self) -> str:
        return f"Copying({self.letters})"

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """Random strings of `length` letters; 2 length + 2 positions.

        Raises:
            ValueError: batch or length below 1.
        """
        if batch < 1 or length < 1:
            raise ValueError(f"batch={batch}, length={length}; both must be at least 1")
        return self.batch(torch.randint(self.letters, (batch, length), generator=generator))

    def batch(self, x: Int[Tensor, "b w"]) -> Batch:
        """The batch for given strings.

        Raises:
            ValueError: a letter outside the alphabet.
        """
        self.check_letters(x)
        b, n = x.shape
        start, bar, end = (x.new_full((b, 1), token) for token in (self.start, self.bar, self.end))
        silent = x.new_full((b, n + 1), NO_TARGET)
        depth = torch.cat([torch.zeros(n + 1, dtype=torch.long), torch.arange(1, n + 2)]).expand(b, -1)
        return Batch(torch.cat([start, x, bar, x], 1), torch.cat([silent, x, end], 1), depth)


class NgramLookup(_Letters):
    """Find the key in the string, and say the letters that follow it there.

    Attributes:
        letters: size V of the alphabet.
        key_at: whether the key is given after the string ("suffix") or before it ("prefix").
        key, answer: letters of the key and of the answer; 2 and 4 in every claim, only tests take others.
        twice: plant the key at a second place, with another answer, which is wrong; for the control that must fail.

    Raises:
        ValueError: a bad alphabet or `key_at`, or an empty key or answer.
    """

    def __init__(
        self, letters: int = 16, key_at: KeyAt = "suffix", *, key: int = 2, answer: int = 4, twice: bool = False
    ):
        super().__init__(letters)
        if key_at not in get_args(KeyAt):
            raise ValueError(f"key_at={key_at!r}; choose 'suffix' or 'prefix'")
        if key < 1 or answer < 1:
            raise ValueError(f"key={key}, answer={answer}; both must be at least 1")
        self.key_at, self.key, self.answer, self.twice = key_at, key, answer, twice
        self.name = f"{key_at} lookup, {letters} letters, key {key}" + ", twice" * twice
        self.num_classes = letters

    def __repr__(self) -> str:
        twice = ", twice=True" * self.twice
        return f"NgramLookup({self.letters}, {self.key_at!r}, key={self.key}, answer={self.answer}{twice})"

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """Random strings of `length` letters in which the key stands exactly once (or twice, where that is wanted).

        Raises:
            ValueError: batch below 1, no room for key and answer in `length` letters, or so many letters that by chance
                the key would stand elsewhere in 999 of 1,000 strings, and the search for others would not end.
        """
        block = self.key + self.answer
        if batch < 1 or length < block * (1 + self.twice):
            raise ValueError(
                f"batch={batch}, length={length}; need a batch of at least 1 and {block * (1 + self.twice)} letters: "
                f"{self.key} of key and {self.answer} of answer" + ", twice" * self.twice
            )
        most = self.key + int(math.log(1e-3) / math.log1p(-(self.letters**-self.key)))
        if length > most:
            raise ValueError(
                f"length={length}: a key of {self.key} of {self.letters} letters would hardly ever stand only where it "
                f"should; pass at most {most} letters, or take a larger alphabet or a longer key"
            )
        x = torch.empty(batch, length, dtype=torch.long)
        place = torch.empty(batch, dtype=torch.long)
        missing = torch.arange(batch)
        while len(missing):  # draw again where the key happens to stand elsewhere, too
            x[missing], place[missing], fine = self._draw(len(missing), length, generator)
            missing = missing[~fine]
        return self.batch(x, place)

    def _draw(
        self, count: int, length: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, "c w"], Int[Tensor, " c"], Bool[Tensor, " c"]]:
        """Strings, the key's place in each, and whether it stands where it should and nowhere else."""
        x = torch.randint(self.letters, (count, length), generator=generator)
        most = length - self.key - self.answer
        places = torch.randint(most + 1, (count, 1 + self.twice), generator=generator)
        key = x.gather(1, places[:, :1] + torch.arange(self.key))
        fine = torch.ones(count, dtype=torch.bool)
        if self.twice:
            x = x.scatter(1, places[:, 1:] + torch.arange(self.key), key)
            fine = (places[:, 0] - places[:, 1]).abs() >= self.key + self.answer
        found = (x.unfold(1, self.key, 1) == key[:, None]).all(-1).sum(1)
        return x, places[:, 0], fine & (found == 1 + self.twice)

    def batch(self, x: Int[Tensor, "b w"], place: Int[Tensor, " b"]) -> Batch:
        """The batch for given strings, with the key at `place`, counted from 0.

        Raises:
            ValueError: a letter outside the alphabet, not one place a string, or one without room for key and answer.
        """
        b, n = x.shape
        self.check_letters(x)
        most = n - self.key - self.answer
        if len(place) != b or (b and not 0 <= int(place.min()) <= int(place.max()) <= most):
            raise ValueError(
                f"place={place.tolist()} for {b} strings of {n} letters; one place a string, from 0 to {most}, so that "
                f"{self.key} letters of key and {self.answer} of answer fit"
            )
        start, bar = x.new_full((b, 1), self.start), x.new_full((b, 1), self.bar)
        asked = x.gather(1, place[:, None] + torch.arange(self.key + self.answer))
        key, answer = asked[:, : self.key], asked[:, self.key :]
        parts = [start, x, bar, key] if self.key_at == "suffix" else [start, key, bar, x, bar]
        tokens = torch.cat([*parts, answer[:, :-1]], 1)
        silent = tokens.shape[1] - self.answer
        depth = torch.cat([torch.zeros(silent, dtype=torch.long), torch.arange(1, self.answer + 1)])
        return Batch(tokens, torch.cat([x.new_full((b, silent), NO_TARGET), answer], 1), depth.expand(b, -1))
