"""Two ways up a hierarchy of latents, one level after the other: by counting, and by gradient.

Both look at tuples of s symbols and ask what stands in their *cousins*, the other tuples of the same grandparent.
Tuples with one parent have the same cousins, on average: so they are put into one cluster, the cluster's number takes
the place of the tuple, and the next level begins. What differs is what the cousins are described by, the `target`:

    own      their symbols, one level below what is being found: the tokens at first, then the clusters found so far
    tokens   the tokens under them, however deep these lie
    root     not the cousins at all, but the label of the whole sentence

ITERATIVE LATENT CLUSTERING (ILC of Korchinski et al. 2026, arXiv 2605.27734), `LatentClustering`

    n(t, c)    how often tuple t has context c, over the sample; a histogram for every place of every cousin
    code(t)    = k-means of the rows n(t, .) / n(t), each weighted by n(t), with as many clusters as there are symbols

PREDICTOR AND CLUSTERER, stage by stage, `LatentPredictor`

    p(k | t)   = softmax(beta f_l(t))_k               soft code of a tuple, f_l an MLP
    p(c | t)   = softmax(W_l p(. | t))_c              for every place of every cousin, linear in the code
    code(t)    = argmax_k f_l(t)_k                    what the next level reads; no gradient passes

Where the paper is silent, or we chose: k-means++ with four restarts; codes by softmax and not by a contrastive
codebook; twice as many codes as symbols (with as many, two latents that share a code early stay together). The
predictor is linear, so that all that is said of a tuple passes through its code.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.layers import check_tokens

Target = Literal["own", "tokens", "root"]
RESTARTS, ITERATIONS = 4, 25  # of k-means


@dataclass(frozen=True)
class ClusteringConfig:
    """Iterative latent clustering.

    Attributes:
        vocab_size: symbols v of every level, and so clusters.
        num_classes: labels of a root.
        s, L: symbols of a tuple, levels of the hierarchy.
        target: what tells tuples apart.
    """

    vocab_size: int
    num_classes: int
    s: int = 2
    L: int = 3
    target: Target = "own"

    def __post_init__(self) -> None:
        _check(self.s, self.L)
        if self.target not in get_args(Target):
            raise ValueError(f"target={self.target!r}; choose 'own', 'tokens' or 'root'")


@dataclass(frozen=True)
class LatentPredictorConfig:
    """The stage-wise network.

    Attributes:
        vocab_size, num_classes: tokens and root labels; of the latter the network never hears.
        s, L: symbols of a tuple, levels of the hierarchy.
        target: what is predicted of the cousins.
        codes, hidden: codes K of a level, width of the MLPs.
    """

    vocab_size: int
    num_classes: int
    s: int = 2
    L: int = 3
    target: Literal["own", "tokens"] = "own"
    codes: int = 16
    hidden: int = 128

    def __post_init__(self) -> None:
        _check(self.s, self.L)
        if self.target not in ("own", "tokens"):
            raise ValueError(f"target={self.target!r}; choose 'own' or 'tokens'")
        if min(self.codes, self.hidden) < 1:
            raise ValueError(f"codes={self.codes}, hidden={self.hidden}; both must be at least 1")


class LatentClustering(nn.Module):
    """See the module's docstring. It has no weights: `learn` fills a table of codes from a sample.

    Attributes:
        codes: [L - 1, v^s], the code of every tuple of levels 0 to L - 2.
        examples: sentences that it learnt from; 0 before it did.
    """

    codes: Int[Tensor, "l t"]
    examples: Int[Tensor, ""]

    def __init__(self, config: ClusteringConfig):
        super().__init__()
        self.config = config
        self.register_buffer("codes", torch.zeros(config.L - 1, config.vocab_size**config.s, dtype=torch.long))
        self.register_buffer("examples", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def learn(
        self, tokens: Int[Tensor, "b n"], generator: torch.Generator, root: Int[Tensor, " b"] | None = None
    ) -> None:
        """Finds the codes of every level anew, from the bottom up. The label is needed for the target "root" only.

        Raises:
            ValueError: no sentences, sentences of another length, or no labels where they are the target.
        """
        v, s, L, target = self.config.vocab_size, self.config.s, self.config.L, self.config.target
        if tokens.shape[1] != s**L or len(tokens) == 0:
            raise ValueError(f"tokens {list(tokens.shape)}; at least one sentence of s^L = {s**L} tokens is needed")
        if target == "root" and root is None:
            raise ValueError("target 'root' needs the label of every sentence")
        check_tokens(tokens, v)
        self.examples.fill_(len(tokens))
        symbols = tokens
        for level in range(L - 1):
            tuples = tuple_ids(symbols, v, s)
            if target == "root":
                assert root is not None
                rows = label_contexts(tuples, root, v**s, self.config.num_classes)
            else:
                rows = cousin_contexts(tuples, symbols if target == "own" else tokens, s, v**s, v)
            count = torch.bincount(tuples.flatten(), minlength=v**s)
            seen = count > 0
            self.codes[level] = 0  # what was never seen has to be something
            self.codes[level, seen] = weighted_kmeans(rows[seen], count[seen].double(), v, generator)
            symbols = self.codes[level][tuples]

    def forward(self, tokens: Int[Tensor, "b n"]) -> list[Int[Tensor, "b _"]]:
        """The codes of levels 1 to L - 1: [b, n / s], [b, n / s^2], ..."""
        check_tokens(tokens, self.config.vocab_size)
        symbols, found = tokens, []
        for table in self.codes:
            symbols = table[tuple_ids(symbols, self.config.vocab_size, self.config.s)]
            found.append(symbols)
        return found


class LatentPredictor(nn.Module):
    """See the module's docstring. Level l is trained by `cousin_loss(tokens, l, ...)` when those below it are done."""

    def __init__(self, config: LatentPredictorConfig):
        super().__init__()
        self.config = config
        v, s, K = config.vocab_size, config.s, config.codes
        self.encoders, self.predictors = nn.ModuleList(), nn.ParameterList()
        for level in range(1, config.L):
            read = self.alphabet(level - 1)
            self.encoders.append(
                nn.Sequential(nn.Linear(s * read, config.hidden), nn.ReLU(), nn.Linear(config.hidden, K))
            )
            places, said = (s, read) if config.target == "own" else (s**level, v)
            # [own slot, cousin's slot, place in the cousin, what stands there, own code]
            self.predictors.append(nn.Parameter(torch.randn(s, s, places, said, K) * K**-0.5))
            self.register_buffer(f"tuples{level}", every_tuple(read, s), persistent=False)

    def alphabet(self, level: int) -> int:
        """Symbols of a level as the network knows them: tokens, then codes."""
        return self.config.vocab_size if level == 0 else self.config.codes

    def code_scores(self, level: int) -> Float[Tensor, "t k"]:
        """f_l of every tuple there is."""
        return self.encoders[level - 1](getattr(self, f"tuples{level}"))

    @torch.no_grad()
    def forward(self, tokens: Int[Tensor, "b n"], up_to: int | None = None) -> list[Int[Tensor, "b _"]]:
        """The codes of levels 1 to `up_to` (default L - 1)."""
        check_tokens(tokens, self.config.vocab_size)
        symbols, found = tokens, []
        for level in range(1, self.config.L if up_to is None else up_to + 1):
            table = self.code_scores(level).argmax(-1)
            symbols = table[tuple_ids(symbols, self.alphabet(level - 1), self.config.s)]
            found.append(symbols)
        return found

    def cousin_loss(
        self, tokens: Int[Tensor, "b n"], level: int, beta: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " k"]]:
        """Cross-entropy of what stands in the cousins, in nats a symbol; and how often each code is used.

        Args:
            level: the level whose codes are being learnt, 1 to L - 1.
            beta: inverse temperature of the soft codes.

        Raises:
            ValueError: no such level.
        """
        if not 1 <= level < self.config.L:
            raise ValueError(f"level={level}; codes are learnt for levels 1 to {self.config.L - 1}")
        s = self.config.s
        symbols = [tokens, *self.forward(tokens, level - 1)][-1]
        tuples = tuple_ids(symbols, self.alphabet(level - 1), s).unflatten(1, (-1, s))  # [b, grandparents, s]
        soft = F.embedding(tuples, (beta * self.code_scores(level)).softmax(-1))
        said = (symbols if self.config.target == "own" else tokens).unflatten(1, (tuples.shape[1], s, -1))
        scores = torch.einsum("bgak,aupck->bgaupc", soft, self.predictors[level - 1]).log_softmax(-1)
        right = said[:, :, None, ..., None].expand(-1, -1, s, -1, -1, 1)
        loss = -scores.gather(-1, right)[..., 0].mean((0, 1, 4))  # [own slot, cousin's slot]
        others = ~torch.eye(s, dtype=torch.bool, device=loss.device)
        return loss[others].mean(), soft.mean((0, 1, 2))


def tuple_ids(symbols: Int[Tensor, "b n"], v: int, s: int) -> Int[Tensor, "b t"]:
    """Each run of s symbols as one number 0..v^s - 1, the first symbol the most significant."""
    return (symbols.unflatten(1, (-1, s)) * v ** torch.arange(s - 1, -1, -1, device=symbols.device)).sum(-1)


def every_tuple(v: int, s: int) -> Float[Tensor, "t f"]:
    """All v^s tuples in the order of their numbers, s one-hot symbols each: [v^s, s v]."""
    digits = torch.cartesian_prod(*(torch.arange(v),) * s).view(-1, s)
    return F.one_hot(digits, v).flatten(1).float()


def cousin_contexts(
    tuples: Int[Tensor, "b t"], symbols: Int[Tensor, "b n"], s: int, num_tuples: int, v: int
) -> Float[Tensor, "r f"]:
    """A row for every tuple: shares of what stands at each place of each cousin.

    Args:
        tuples: numbers of the tuples, s in a row belonging to one grandparent.
        symbols: what describes them, n / t symbols each, of v.
        num_tuples: rows; a tuple that does not occur has the same share of everything.

    Returns:
        s (s - 1) n / t blocks of v shares, for every slot of the tuple itself, of its cousin, and every place there.
    """
    own = tuples.unflatten(1, (-1, s))
    said = symbols.unflatten(1, (own.shape[1], s, -1))
    blocks = [
        histogram(own[:, :, a], said[:, :, u, place], num_tuples, v)
        for a in range(s)
        for u in range(s)
        if u != a
        for place in range(said.shape[-1])
    ]
    return torch.cat(blocks, 1)


def label_contexts(
    tuples: Int[Tensor, "b t"], label: Int[Tensor, " b"], num_tuples: int, classes: int
) -> Float[Tensor, "r f"]:
    """A row for every tuple: shares of the sentence's labels, a block for every place that the tuple may stand at."""
    return torch.cat([histogram(column, label, num_tuples, classes) for column in tuples.T], 1)


def histogram(rows: Int[Tensor, "*n"], columns: Int[Tensor, "*n"], num_rows: int, v: int) -> Float[Tensor, "r v"]:
    """Shares of the columns in every row; equal ones in a row that does not occur."""
    counts = torch.bincount((rows * v + columns).flatten(), minlength=num_rows * v).view(num_rows, v).double()
    total = counts.sum(1, keepdim=True)
    return torch.where(total > 0, counts / total.clamp_min(1), 1 / v)


def weighted_kmeans(
    x: Float[Tensor, "r f"], weight: Float[Tensor, " r"], k: int, generator: torch.Generator
) -> Int[Tensor, " r"]:
    """The cluster of every row, of at most k: the best of four starts by k-means++ in the sum of weighted squares."""
    best, found = math.inf, torch.zeros(len(x), dtype=torch.long)
    for _ in range(RESTARTS):
        centres = _spread_out(x, weight, k, generator)
        nearest, distance = found, torch.empty(0)
        for step in range(ITERATIONS):
            distance, now = _squares(x, centres).min(1)
            if step and torch.equal(now, nearest):
                break
            nearest = now
            share = F.one_hot(nearest, k).to(x.dtype) * weight[:, None]
            mass = share.sum(0)[:, None]
            centres = torch.where(mass > 0, share.T @ x / mass.clamp_min(1e-12), centres)
        cost = float((weight * distance).sum())
        if cost < best:
            best, found = cost, nearest
    return found


def _spread_out(x: Tensor, weight: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """First centres: each drawn among the rows in proportion to weight times squared distance from those before it."""
    centres = x[torch.multinomial(weight, 1, generator=generator)]
    for _ in range(k - 1):
        chance = weight * _squares(x, centres).min(1).values
        if not chance.sum() > 0:  # fewer different rows than clusters
            chance = weight
        centres = torch.cat([centres, x[torch.multinomial(chance, 1, generator=generator)]])
    return centres


def _squares(x: Tensor, centres: Tensor) -> Tensor:
    # Not by the expanded square: rows that are equal must have distance 0.
    return torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist").square()


def _check(s: int, L: int) -> None:
    if s < 2 or L < 2:
        raise ValueError(f"s={s}, L={L}; there are latents between tokens and root for s >= 2 and L >= 2")
