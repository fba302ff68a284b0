"""Two tasks of Dziri, Lu, Sclar et al. 2023 (arXiv 2305.18654): the largest sum of non-neighbours, and products.

    numbers        x_1 x_2 .. x_n                     whole numbers from -3 to 3
    targets        v_1 v_2 .. v_n                     v_k = max(v_{k-1}, x_k + v_{k-2}, 0): one step a number

    appended       x_1 .. x_n | v_1 .. v_{n-1}        the paper's scratchpad: behind the input
    targets                   v_1 v_2 .. v_n

    interleaved    x_1 v_1 x_2 v_2 .. v_{n-1} x_n     the same values, each right behind its number
    targets        v_1  .  v_2  .  ..  .  v_n

    product        2 7 x 4 6 = 1 2 4                  the digits of 27 * 46 = 1242, the first one first
    targets                  1 2 4 2

The paper writes dp for v, and counts from the other end: our x_1 is the last number of its list, so that a model which
reads from left to right can go along with the recurrence. Its lists hold -5 .. 5, and it also asks which numbers make
up the sum; `chosen` says so. Computation graphs: `latentkit.tasks.graphs`.

`depth` is k for v_k; for a product it is the depth of the digit in `product_graph`.
"""

from typing import Literal, get_args

import matplotlib.pyplot as plt
import torch
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from latentkit.style import RIGHT, WRONG
from latentkit.tasks import NO_TARGET, Batch, accuracy_by_depth
from latentkit.tasks.graphs import product_graph

Scratchpad = Literal["none", "appended", "interleaved"]
LARGEST = 3
LONGEST = 16
KNOWN_SEED = 2305  # of the rows that a task knows; no claim's evaluation draws from it (tests/claims)


def best_sums(x: Int[Tensor, "b n"]) -> Int[Tensor, "b n"]:
    """v_1 .. v_n: the largest sum of non-neighbours among the first k numbers; 0 is the sum of none."""
    before = last_but_one = torch.zeros_like(x[:, 0])
    values = []
    for column in x.T:
        value = torch.maximum(before, column + last_but_one).clamp(min=0)
        values.append(value)
        last_but_one, before = before, value
    return torch.stack(values, 1)


def chosen(x: Int[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
    """Which numbers make up the last sum; among several choices, the first in the paper's order.

    The second half of the paper's scratchpad: from x_n down, a number is taken if v_k = x_k + v_{k-2} and its neighbour
    was not. (The paper writes 1 for taken and 2 for not, and asks for the lexicographically smallest list.)
    """
    values = torch.nn.functional.pad(best_sums(x), (2, 0))
    taken, free = torch.zeros_like(x, dtype=torch.bool), torch.ones(len(x), dtype=torch.bool, device=x.device)
    for k in reversed(range(x.shape[1])):
        taken[:, k] = free & (values[:, k + 2] == x[:, k] + values[:, k])
        free = ~taken[:, k]
    return taken


class _Written:
    """What both tasks share: an answer of several numbers, written one after the other or marked in place.

    Attributes:
        first_answer: the token of the answer 0; that of the answer v is v behind it.
    """

    name: str
    token_names: list[str]
    class_names: list[str]
    first_answer: int

    def score(self, logits: Float[Tensor, "b n v"], batch: Batch) -> Float[Tensor, " m"]:
        """Accuracy at each depth; what was written before is given right."""
        return accuracy_by_depth(logits, batch)

    def show(self, batch: Batch, logits: Float[Tensor, "b n v"] | None = None, example: int = 0) -> Figure:
        """One example: what is read, what is asked for, and (where logits are given) what the model says."""
        targets = batch.targets[example].tolist()
        rows = [("reads", [self.token_names[t] for t in batch.tokens[example].tolist()])]
        rows.append(("should say", ["" if t == NO_TARGET else self.class_names[t] for t in targets]))
        said = [] if logits is None else logits[example].argmax(-1).tolist()
        if said:
            shown = zip(said, targets, strict=True)
            rows.append(("says", ["" if t == NO_TARGET else self.class_names[s] for s, t in shown]))
        n = len(targets)
        figure, axes = plt.subplots(figsize=(min(14, 0.44 * n + 1.4), 0.45 * len(rows) + 0.4))
        for r, (label, cells) in enumerate(rows):
            axes.text(-0.8, -r, label, ha="right", va="center", fontsize=9)
            for i, text in enumerate(cells):
                if text:
                    colour, hatch = "none", ""
                    if r == 2:
                        colour, hatch = (RIGHT, "") if said[i] == targets[i] else (WRONG, "//")
                    where, size = (i - 0.46, -r - 0.4), (0.92, 0.8)
                    axes.add_patch(plt.Rectangle(where, *size, facecolor=colour, edgecolor="0.7", hatch=hatch))
                    axes.text(i, -r, text, ha="center", va="center", fontsize=9)
        axes.set(xlim=(-3.4, n - 0.4), ylim=(-len(rows) + 0.4, 0.6))
        axes.axis("off")
        plt.close(figure)  # the notebook shows the returned figure once, not twice
        return figure


class NonAdjacentSum(_Written):
    """The largest sum of numbers of which no two are neighbours, at every length up to n.

    Attributes:
        scratchpad: whether, and where, the sums so far are written out.
        known: (r, w): draw from a fixed set of r random rows of w numbers, or their first numbers where fewer are asked
            for; None for fresh rows.
        seed: which set; `for_seed` gives the task with another one.
        cap: only rows none of whose sums is above it; None for all. (A long row has sums that no short row has.)
        rows: the known rows [r, w]; None without.

    Raises:
        ValueError: another scratchpad, no known rows, or a cap below 1.
    """

    def __init__(
        self,
        scratchpad: Scratchpad = "none",
        *,
        known: tuple[int, int] | None = None,
        seed: int = 0,
        cap: int | None = None,
    ):
        if scratchpad not in get_args(Scratchpad):
            raise ValueError(f"scratchpad={scratchpad!r}; choose one of {', '.join(get_args(Scratchpad))}")
        if known is not None and (min(known) < 1 or known[1] > LONGEST):
            raise ValueError(f"known={known}; it is (rows, numbers in a row), from 1 on, with up to {LONGEST} numbers")
        if cap is not None and cap < 1:
            raise ValueError(f"cap={cap}; the smallest that leaves rows with a sum is 1")
        self.scratchpad, self.known, self.seed, self.cap = scratchpad, known, seed, cap
        self.num_classes = LARGEST * ((LONGEST + 1) // 2) + 1
        self.bar = 2 * LARGEST + 1
        self.first_answer = self.bar + 1
        self.vocab_size = self.bar if scratchpad == "none" else self.first_answer + self.num_classes
        self.class_names = [str(v) for v in range(self.num_classes)]
        numbers = [str(x) for x in range(-LARGEST, LARGEST + 1)]
        self.token_names = [*numbers, "|", *(f"={v}" for v in self.class_names)][: self.vocab_size]
        self.name = "non-adjacent sum" + (f", {scratchpad} scratchpad" if scratchpad != "none" else "")
        self.name += f", {known[0]} known rows of {known[1]}" if known else ""
        self.name += f", sums up to {cap}" if cap else ""
        self.rows = None if known is None else self._draw(*known, torch.Generator().manual_seed(KNOWN_SEED + seed))

    def __repr__(self) -> str:
        return f"NonAdjacentSum({self.scratchpad!r}, known={self.known}, seed={self.seed}, cap={self.cap})"

    def for_seed(self, seed: int) -> "NonAdjacentSum":
        """The task as a claim's seed runs it: with known rows of its own."""
        return NonAdjacentSum(self.scratchpad, known=self.known, seed=seed, cap=self.cap)

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """Rows of `length` numbers.

        Raises:
            ValueError: batch or length below 1, or rows longer than the known ones or than 16, which may have no class.
        """
        longest = LONGEST if self.rows is None else self.rows.shape[1]
        if batch < 1 or not 1 <= length <= longest:
            raise ValueError(f"batch={batch}, length={length}; need a batch of at least 1 and 1 to {longest} numbers")
        if self.rows is None:
            return self.batch(self._draw(batch, length, generator))
        return self.batch(self.rows[torch.randint(len(self.rows), (batch,), generator=generator), :length])

    def _draw(self, count: int, length: int, generator: torch.Generator) -> Int[Tensor, "c n"]:
        """Random rows; where there is a cap, drawn again until none is above it."""
        if self.cap is None:
            return torch.randint(-LARGEST, LARGEST + 1, (count, length), generator=generator)
        found: list[Tensor] = []
        while sum(map(len, found)) < count:
            x = torch.randint(-LARGEST, LARGEST + 1, (max(count, 4096), length), generator=generator)
            found.append(x[best_sums(x)[:, -1] <= self.cap])  # the last sum is the largest
            if len(found[0]) < len(x) / 500:
                raise ValueError(f"cap={self.cap}: hardly any row of {length} numbers stays below it; choose more")
        return torch.cat(found)[:count]

    def batch(self, x: Int[Tensor, "b n"]) -> Batch:
        """The batch for given numbers, from -3 to 3.

        Raises:
            ValueError: another number, or a row longer than 16.
        """
        if x.numel() and not -LARGEST <= int(x.min()) <= int(x.max()) <= LARGEST:
            raise ValueError(f"numbers must be -{LARGEST}..{LARGEST}; found {int(x.min())}..{int(x.max())}")
        b, n = x.shape
        if n > LONGEST:
            raise ValueError(f"{n} numbers in a row; at most {LONGEST}: a longer one may have a sum without a class")
        values, k = best_sums(x), torch.arange(1, n + 1).expand(b, -1)
        numbers, written = x + LARGEST, self.first_answer + values
        if self.scratchpad == "none":
            return Batch(numbers, values, k)
        if self.scratchpad == "appended":
            bar, silent = x.new_full((b, 1), self.bar), x.new_full((b, n), NO_TARGET)
            tokens, targets = torch.cat([numbers, bar, written], 1), torch.cat([silent, values], 1)
            return Batch(tokens[:, :-1], targets, torch.cat([torch.zeros_like(k), k], 1))
        pairs = [(numbers, written), (values, torch.full_like(values, NO_TARGET)), (k, torch.zeros_like(k))]
        return Batch(*(torch.stack(pair, -1).flatten(1)[:, :-1] for pair in pairs))

    def pieces(self, x: Int[Tensor, "b n"]) -> list[Int[Tensor, "b _"]]:
        """With a scratchpad: what stands before each value that is to be written, without the values themselves."""
        numbers = x + LARGEST
        if self.scratchpad == "interleaved":
            return list(numbers.split(1, 1))
        return [torch.nn.functional.pad(numbers, (0, 1), value=self.bar), *[numbers[:, :0]] * (x.shape[1] - 1)]


class Multiplication(_Written):
    """Products of two numbers of `length` digits each, or of one of `length` digits and a single digit.

    Long numbers do not begin with 0; a single digit is 2 to 9, for with 0 and 1 there is little to compute.

    Attributes:
        by_one: the second number is a single digit.
        backwards: the answer's last digit is written first.
        part: "train" and "test" are nine and one of ten pairs, drawn once and for all; "all" is both. Longer pairs than
            those of `longest_split` digits are in "all" only.

    Raises:
        ValueError: another part.
    """

    vocab_size = 12
    num_classes = 10
    first_answer = 0

    def __init__(self, part: Literal["train", "test", "all"] = "all", *, by_one: bool = False, backwards: bool = False):
        if part not in ("train", "test", "all"):
            raise ValueError(f"part={part!r}; choose 'train', 'test' or 'all'")
        self.part, self.by_one, self.backwards = part, by_one, backwards
        self.name = "multiplication" + " by one digit" * by_one + ", last digit first" * backwards
        self.name += f", {part} pairs" * (part != "all")
        self.class_names = [str(d) for d in range(10)]
        self.token_names = [*self.class_names, "×", "="]
        self.longest_split = 3 if by_one else 2
        self._test = torch.rand(1000, 100, generator=torch.Generator().manual_seed(KNOWN_SEED)) < 0.1

    def __repr__(self) -> str:
        return f"Multiplication({self.part!r}, by_one={self.by_one}, backwards={self.backwards})"

    def sizes(self, length: int) -> tuple[int, int]:
        """Digits of both numbers."""
        return length, 1 if self.by_one else length

    def pairs(self, length: int) -> Int[Tensor, "p 2"]:
        """All pairs of this part.

        Raises:
            ValueError: no digits, or more than are split into parts.
        """
        if not 1 <= length <= self.longest_split:
            raise ValueError(f"length={length}; only pairs of 1 to {self.longest_split} digits are listed")
        pairs = torch.cartesian_prod(*(torch.arange(*_range(size)) for size in self.sizes(length)))
        return pairs if self.part == "all" else pairs[self._test[pairs[:, 0], pairs[:, 1]] == (self.part == "test")]

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """Random pairs.

        Raises:
            ValueError: batch below 1, no digits, more than 8, or more of "train" or "test" than are split.
        """
        most = 8 if self.part == "all" else self.longest_split
        if batch < 1 or not 1 <= length <= most:
            raise ValueError(f"batch={batch}, length={length}; need a batch of at least 1 and 1 to {most} digits")
        if self.part == "all":
            numbers = (torch.randint(*_range(size), (batch,), generator=generator) for size in self.sizes(length))
            return self.batch(torch.stack(list(numbers), 1), length)
        pairs = self.pairs(length)
        return self.batch(pairs[torch.randint(len(pairs), (batch,), generator=generator)], length)

    def batch(self, pairs: Int[Tensor, "b 2"], length: int) -> Batch:
        """The batch for given pairs, every place of the product written, zeros in front.

        Raises:
            ValueError: a number with more digits.
        """
        sizes = self.sizes(length)
        for number, size in zip(pairs.T, sizes, strict=True):
            if len(number) and not 0 <= int(number.min()) <= int(number.max()) < 10**size:
                raise ValueError(f"numbers from {int(number.min())} to {int(number.max())} do not have {size} digits")
        answer, graph = digits_of(pairs.prod(1), sum(sizes)), product_graph(*sizes)
        deep = torch.tensor([graph.depths[i] for i in graph.answer])  # the last digit first
        answer, deep = (answer.flip(1), deep) if self.backwards else (answer, deep.flip(0))
        tokens = torch.cat([self.pieces(pairs, length)[0], answer[:, :-1]], 1)
        silent = torch.full((len(pairs), sum(sizes) + 1), NO_TARGET)
        depth = torch.cat([torch.zeros_like(silent), deep.expand(len(pairs), -1)], 1)
        return Batch(tokens, torch.cat([silent, answer], 1), depth)

    def pieces(self, pairs: Int[Tensor, "b 2"], length: int) -> list[Int[Tensor, "b _"]]:
        """What stands before each digit that is to be written: the question, and then nothing but what was written."""
        times, equals = pairs.new_full((len(pairs), 1), 10), pairs.new_full((len(pairs), 1), 11)
        first, second = (digits_of(number, size) for number, size in zip(pairs.T, self.sizes(length), strict=True))
        question = torch.cat([first, times, second, equals], 1)
        return [question, *[question[:, :0]] * (sum(self.sizes(length)) - 1)]


def digits_of(numbers: Int[Tensor, " b"], count: int) -> Int[Tensor, "b count"]:
    """Decimal digits, the first one first, with zeros in front."""
    return numbers[:, None] // 10 ** torch.arange(count - 1, -1, -1, device=numbers.device) % 10


def _range(length: int) -> tuple[int, int]:
    """The numbers of so many digits: from, and up to."""
    return (10 ** (length - 1) if length > 1 else 2), 10**length
