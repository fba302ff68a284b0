"""Passkey: a key of a few digits in the first block, filler after filler, and at the very end the question.

    tokens   .. k d_1 d_2 d_3 ..   .. .. .. ..   ...   .. .. ? d_1 d_2 d_3        `digits` = 3
    targets                                                  d_1 d_2 d_3          (at the question mark and after it)

A test of working memory: between key and question nothing matters but to keep it. "Pass key" is the task of Mohtashami
and Jaggi 2023 (arXiv 2305.16300), in words; TransformerFAM is tested on it (arXiv 2404.09173, passkey retrieval).
"""

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from latentkit.style import RIGHT, WRONG
from latentkit.tasks import NO_TARGET, Batch, accuracy_by_depth

TEN, FILLERS = 10, 16


class Passkey:
    """Passkeys in sequences of blocks of `block` tokens; the classes are the ten digits, chance is 10%.

    The length of a sequence is its number of blocks T. The key stands at a random place of the first block, the
    question at the end of the last; the digits that are asked for are tokens too, so that the second is predicted with
    the first in sight.

    Raises:
        ValueError: a block that cannot hold key and question, or no digits.
    """

    vocab_size = TEN + FILLERS + 2
    num_classes = TEN
    key, question = TEN + FILLERS, TEN + FILLERS + 1

    def __init__(self, block: int = 16, digits: int = 3):
        if digits < 1 or block < 2 * digits + 2:
            raise ValueError(
                f"block={block}, digits={digits}: at least 1 digit, and a block of at least 2 digits + 2, which holds "
                "key and question where there is only one"
            )
        self.name = "passkey"
        self.block, self.digits = block, digits
        self.class_names = [str(i) for i in range(TEN)]
        self.token_names = [*self.class_names, *"abcdefghijklmnop", "key", "?"]

    def __repr__(self) -> str:
        return f"Passkey(block={self.block}, digits={self.digits})"

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """Sequences of `length` blocks, T * block tokens; depth is the number of blocks from key to question.

        Raises:
            ValueError: batch or length below 1.
        """
        if batch < 1 or length < 1:
            raise ValueError(f"batch={batch}, length={length} blocks; both must be at least 1")
        tokens = torch.randint(TEN, TEN + FILLERS, (batch, length * self.block), generator=generator)
        secret = torch.randint(TEN, (batch, self.digits), generator=generator)
        room = self.block - (self.digits + 1) * (2 if length == 1 else 1)
        place = torch.randint(room + 1, (batch, 1), generator=generator)
        tokens.scatter_(1, place, self.key)
        tokens.scatter_(1, place + torch.arange(1, self.digits + 1), secret)
        return self._asked(tokens, secret)

    def continued(self, secret: Int[Tensor, "b digits"], length: int, generator: torch.Generator) -> Batch:
        """`length` blocks more of sequences whose key came before: nothing but filler, and again the question.

        Raises:
            ValueError: no sequences, keys that are not `digits` digits each, or length below 1.
        """
        if secret.ndim != 2 or len(secret) < 1 or secret.shape[1] != self.digits:
            raise ValueError(f"keys of shape {list(secret.shape)}; expected [b, {self.digits}], b at least 1")
        if secret.min() < 0 or secret.max() >= TEN:
            raise ValueError(f"keys from {int(secret.min())} to {int(secret.max())}; digits are 0 to {TEN - 1}")
        if length < 1:
            raise ValueError(f"length={length} blocks; it must be at least 1")
        tokens = torch.randint(TEN, TEN + FILLERS, (len(secret), length * self.block), generator=generator)
        return self._asked(tokens, secret)

    def _asked(self, tokens: Int[Tensor, "b n"], secret: Int[Tensor, "b digits"]) -> Batch:
        """Puts the question and its answer at the end."""
        tokens[:, -self.digits - 1] = self.question
        tokens[:, -self.digits :] = secret
        targets = torch.full_like(tokens, NO_TARGET)
        targets[:, -self.digits - 1 : -1] = secret
        return Batch(tokens, targets, torch.full_like(tokens, tokens.shape[1] // self.block - 1))

    def score(self, logits: Float[Tensor, "b n v"], batch: Batch) -> Float[Tensor, " m"]:
        """Share of right digits by the number of blocks from key to question."""
        return accuracy_by_depth(logits, batch)

    def secret(self, batch: Batch) -> Int[Tensor, "b digits"]:
        """The keys."""
        return batch.tokens[:, -self.digits :]

    def show(self, batch: Batch, logits: Float[Tensor, "b n v"] | None = None, example: int = 0) -> Figure:
        """One sequence, a row a block (of a long one the first three and the last), and what the model says."""
        rows = batch.tokens[example].reshape(-1, self.block)
        shown = list(range(len(rows))) if len(rows) <= 5 else [0, 1, 2, len(rows) - 1]
        figure, axes = plt.subplots(figsize=(0.42 * self.block + 1.4, 0.5 * (len(shown) + (logits is not None)) + 0.3))
        for line, row in enumerate(shown):
            axes.text(-0.8, -line, f"block {row + 1}", ha="right", va="center", fontsize=9)
            for i, token in enumerate(rows[row].tolist()):
                plain = TEN <= token < TEN + FILLERS
                face, edge = ("none", "0.85") if plain else ("0.9", "0.4")
                axes.add_patch(plt.Rectangle((i - 0.46, -line - 0.4), 0.92, 0.8, facecolor=face, edgecolor=edge))
                name = self.token_names[token]
                axes.text(i, -line, name, ha="center", va="center", fontsize=7.5, color="0.6" if plain else "black")
        if logits is not None:
            said = logits[example].argmax(-1)
            line = len(shown)
            axes.text(-0.8, -line, "model", ha="right", va="center", fontsize=9)
            for i in range(self.block - self.digits - 1, self.block - 1):
                at = i - self.block
                right = bool(said[at] == batch.targets[example, at])
                colour, hatch = (RIGHT, "") if right else (WRONG, "//")
                axes.add_patch(
                    plt.Rectangle((i - 0.46, -line - 0.4), 0.92, 0.8, facecolor=colour, edgecolor="0.6", hatch=hatch)
                )
                axes.text(i, -line, self.class_names[int(said[at])], ha="center", va="center", fontsize=8)
        axes.set(xlim=(-3, self.block - 0.4), ylim=(-len(shown) - (logits is not None) + 0.4, 0.6))
        axes.axis("off")
        plt.close(figure)  # the notebook shows the returned figure once, not twice
        return figure
