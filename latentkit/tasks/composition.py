"""Composition of facts that only the weights can hold: who is the boss of the friend of Ada?

    tokens    x_0  r_1  r_2  ..  r_k       a person, then relations; the facts themselves are never in the input
    targets   x_0  x_1  x_2  ..  x_k       x_i = fact(x_{i-1}, r_i): the person after i hops
    depth      0    1    2   ..   k

One world of facts is drawn once, by `seed`. A part of the facts is *out of distribution* (OOD): training shows each of
them as a single hop and never inside a longer chain. So a chain of two OOD facts asks for something that was never
asked, although everything it needs has been learned: systematic generalisation, as in Wang et al. 2024 (Grokked
transformers, arXiv 2405.15071) and Kohli et al. 2026 (Loop, think, and generalize, arXiv 2604.07822).

Of the chains of in-distribution (ID) facts, those that begin with a held-out pair of hops are kept for tests. The pair
is held out as the *beginning* of a chain, at every length; in the middle of a longer chain it may occur.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from latentkit.style import RIGHT, WRONG
from latentkit.tasks import NO_TARGET, Batch, accuracy_by_depth

_PEOPLE = (
    *("Ada", "Ali", "Amy", "Ann", "Ben", "Bob", "Cal", "Dan", "Dee", "Eli", "Eva", "Fay", "Gus", "Guy", "Hal", "Ian"),
    *("Ida", "Ivy", "Jan", "Jay", "Jim", "Joe", "Kay", "Ken", "Kim", "Lea", "Leo", "Liz", "Mae", "Max", "Mia", "Ned"),
    *("Nia", "Oli", "Pam", "Ray", "Roy", "Sam", "Sue", "Tom"),
)
_RELATIONS = ("friend", "boss", "rival", "coach", "tutor", "guest")
SINGLE = 0.5  # of the training examples: one fact alone
HELD_OUT = 0.2  # of the pairs of ID hops


class Composition:
    """A world of `entities` times `relations` facts, each drawn at random.

    Attributes:
        facts: [e, r], who that is; any person, the same one possibly several times.
        ood: [e, r], the facts that training shows as single hops only.
        held_out: [e, r, r], the pairs of hops with which no chain in training begins.

    Raises:
        ValueError: fewer than 2 entities or 1 relation, or a share `ood` outside 0..1 (both ends excluded).
    """

    def __init__(self, entities: int = 40, relations: int = 6, ood: float = 0.25, seed: int = 0):
        if entities < 2 or relations < 1 or not 0 < ood < 1:
            raise ValueError(
                f"entities={entities}, relations={relations}, ood={ood}; need at least 2, at least 1, and a share "
                "between 0 and 1"
            )
        self.entities, self.relations, self.ood_share, self.seed = entities, relations, ood, seed
        self.name = f"composition, {entities} x {relations} facts" + (f", {ood:.0%} OOD" if ood != 0.25 else "")
        self.vocab_size, self.num_classes = entities + relations, entities
        self.class_names = [_name(_PEOPLE, i) for i in range(entities)]
        self.token_names = [*self.class_names, *(_name(_RELATIONS, i) for i in range(relations))]
        generator = torch.Generator().manual_seed(seed)
        self.facts: Int[Tensor, "e r"] = torch.randint(entities, (entities, relations), generator=generator)
        # Exactly that share, so that worlds drawn by other seeds are comparable.
        order = torch.rand(entities * relations, generator=generator).argsort()
        self.ood: Bool[Tensor, "e r"] = (order < round(ood * len(order))).view(entities, relations)
        self.held_out: Bool[Tensor, "e r r"] = (
            torch.rand(entities, relations, relations, generator=generator) < HELD_OUT
        )

    def __repr__(self) -> str:
        return f"Composition({self.entities}, {self.relations}, ood={self.ood_share}, seed={self.seed})"

    def for_seed(self, seed: int) -> "Composition":
        """The world of another seed, of the same size: what a claim draws anew for each of its seeds."""
        return Composition(self.entities, self.relations, self.ood_share, seed)

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """A training batch of `length` hops, n = length + 1 positions.

        Half of the examples, and all where length is 1, show a single fact, ID or OOD: what follows it is drawn at
        random and has no target. The others are chains of ID facts that do not begin with a held-out pair.

        Raises:
            ValueError: batch or length below 1.
        """
        if batch < 1 or length < 1:
            raise ValueError(f"batch={batch}, length={length}; both must be at least 1")
        start, hops = self._draw(batch, length, generator)
        single = torch.ones(batch, dtype=torch.bool)
        if length > 1:
            single = torch.rand(batch, generator=generator) < SINGLE
        wrong = ~(single | self._in_training(start, hops))
        while wrong.any():
            start[wrong], hops[wrong] = self._draw(int(wrong.sum()), length, generator)
            wrong = ~(single | self._in_training(start, hops))
        made = self.batch(start, hops)
        silent = single[:, None] & (made.depth > 1)
        return made._replace(targets=made.targets.masked_fill(silent, NO_TARGET))

    def single_facts(self) -> Batch:
        """Every fact as a single hop; row e * relations + r."""
        start = torch.arange(self.entities).repeat_interleave(self.relations)
        return self.batch(start, torch.arange(self.relations).repeat(self.entities)[:, None])

    def chains(self, ood: Sequence[bool], most: int = 500) -> Batch:
        """Test chains of len(ood) >= 2 hops: hop i is an OOD fact where ood[i], else an ID one; none in training.

        All chains of that kind, or `most` of them, chosen at random and always the same. Where no hop is OOD, only
        those that begin with a held-out pair.

        Raises:
            ValueError: fewer than 2 hops, or a world that has no such chain.
        """
        if len(ood) < 2 or most < 1:
            raise ValueError(f"{len(ood)} hops, most={most}; a chain has at least 2 hops (see `single_facts`)")
        generator = torch.Generator().manual_seed(self.seed)
        start = now = torch.arange(self.entities)
        hops = torch.empty(self.entities, 0, dtype=torch.long)
        for i, wanted in enumerate(ood):
            row, relation = (self.ood[now] == wanted).nonzero().T
            start, now, hops = start[row], self.facts[now[row], relation], torch.cat([hops[row], relation[:, None]], 1)
            fine = torch.ones(len(start), dtype=torch.bool)
            if i == 1 and not any(ood):
                fine = self.held_out[start, hops[:, 0], hops[:, 1]]
            # Long chains are too many to list: a random part of the shorter ones goes on.
            kept = fine.nonzero()[:, 0]
            limit = most if i == len(ood) - 1 else max(most, 1000)
            kept = kept[torch.rand(len(kept), generator=generator).argsort()[:limit]].sort().values
            start, now, hops = start[kept], now[kept], hops[kept]
        if not len(start):
            raise ValueError(f"{self!r} has no chain whose hops are OOD as in {list(ood)}; take another seed")
        return self.batch(start, hops)

    def batch(self, start: Int[Tensor, " b"], hops: Int[Tensor, "b k"]) -> Batch:
        """The batch for given people and relations, the latter counted from 0; every position has its target.

        Raises:
            ValueError: a person or relation that there is not.
        """
        for what, ids, many in (("people", start, self.entities), ("relations", hops, self.relations)):
            if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < many:
                raise ValueError(f"{what} must be 0..{many - 1}; found {int(ids.min())}..{int(ids.max())}")
        people = self._walk(start, hops)
        depth = torch.arange(people.shape[1]).expand(len(start), -1)
        return Batch(torch.cat([start[:, None], hops + self.entities], 1), people, depth)

    def hops_ood(self, batch: Batch) -> Bool[Tensor, "b k"]:
        """Which hops of each chain use an OOD fact; the chains must have all their targets."""
        return self.ood[batch.targets[:, :-1], batch.tokens[:, 1:] - self.entities]

    def score(self, logits: Float[Tensor, "b n v"], batch: Batch) -> Float[Tensor, " m"]:
        """Accuracy after each number of hops."""
        return accuracy_by_depth(logits, batch)

    def show(self, batch: Batch, logits: Float[Tensor, "b n v"] | None = None, example: int = 0) -> Figure:
        """One chain, hop by hop; a dashed arrow is an OOD fact. Below, what the model says (where logits are given)."""
        targets = batch.targets[example].tolist()
        relations = (batch.tokens[example, 1:] - self.entities).tolist()
        said = None if logits is None else logits[example].argmax(-1).tolist()
        n = len(targets)
        figure, axes = plt.subplots(figsize=(1.75 * n + 0.9, 1.1 + 0.6 * (said is not None)))
        known = 1 + next((i for i, t in enumerate(targets[1:]) if t == NO_TARGET), n - 1)
        for i in range(n):
            name = self.class_names[targets[i]] if i < known else "?"
            axes.text(i, 0, name, ha="center", va="center", fontsize=10, bbox={"boxstyle": "round", "fc": "white"})
            if i:
                ood = i < known and bool(self.ood[targets[i - 1], relations[i - 1]])
                style = {"arrowstyle": "->", "color": "0.4", "linestyle": "--" if ood else "-"}
                axes.annotate("", (i - 0.24, 0), (i - 0.76, 0), arrowprops=style)
                axes.text(i - 0.5, 0.2, self.token_names[self.entities + relations[i - 1]], ha="center", fontsize=9)
            if said is not None:
                right = said[i] == targets[i] if i < known else None
                colour = {None: "white", True: RIGHT, False: WRONG}[right]
                text = self.class_names[said[i]] + (" ✗" if right is False else "")
                box = {"boxstyle": "round", "fc": colour, "ec": "0.7"}
                axes.text(i, -0.72, text, ha="center", va="center", fontsize=10, bbox=box)
        axes.text(-0.45, 0, "asked", ha="right", va="center", fontsize=9)
        if said is not None:
            axes.text(-0.45, -0.72, "model", ha="right", va="center", fontsize=9)
        axes.set(xlim=(-0.95, n - 0.55), ylim=(-1.05 if said is not None else -0.35, 0.5))
        axes.axis("off")
        plt.close(figure)  # the notebook shows the returned figure once, not twice
        return figure

    def _draw(self, batch: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        start = torch.randint(self.entities, (batch,), generator=generator)
        return start, torch.randint(self.relations, (batch, length), generator=generator)

    def _in_training(self, start: Int[Tensor, " b"], hops: Int[Tensor, "b k"]) -> Bool[Tensor, " b"]:
        """Whether training may show the chain: only ID facts, and no held-out pair at its beginning."""
        people = self._walk(start, hops)
        clean = ~self.ood[people[:, :-1], hops].any(1)
        return clean & ~self.held_out[start, hops[:, 0], hops[:, 1]] if hops.shape[1] > 1 else clean

    def _walk(self, start: Int[Tensor, " b"], hops: Int[Tensor, "b k"]) -> Int[Tensor, "b n"]:
        """Who one is at, after 0, 1, .., k hops."""
        people = [start]
        for relation in hops.T:
            people.append(self.facts[people[-1], relation])
        return torch.stack(people, 1)


def _name(names: Sequence[str], i: int) -> str:
    """The i-th name; a number is added once all have been used."""
    return names[i % len(names)] + (str(i // len(names) + 1) if i >= len(names) else "")
