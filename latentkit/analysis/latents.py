"""Have the latents of a hierarchy been found, and how many sentences should that take?

    found     share of nodes whose code is right: one code a latent (`matched_share`), or any number (`purity`)
    should    phi^2 between a tuple and its target, exactly, from the grammar's rules (`signal`), and the number of
              sentences at which it stands out of the noise (`predicted_samples`)

    phi^2(a, b) = sum over a, b of (p(a, b) - p(a) p(b))^2 / (p(a) p(b))

Of N independent pairs, chi^2 is N phi^2 where there is dependence, and (rows - 1)(columns - 1) = dof by mere chance.
The two are equal at N = dof / phi^2.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentkit.models.latent_prediction import Target
from latentkit.tasks import RandomHierarchy

MAX_MATCHED = 16  # subsets of so many latents are tried


def confusion(codes: Int[Tensor, "*n"], truth: Int[Tensor, "*n"], k: int, v: int) -> Int[Tensor, "k v"]:
    """How often each code meets each latent."""
    return torch.bincount((codes * v + truth).flatten(), minlength=k * v).view(k, v)


def purity(codes: Int[Tensor, "*n"], truth: Int[Tensor, "*n"], k: int, v: int) -> float:
    """Share of nodes that are right where each of k codes stands for the latent that it meets most often."""
    table = confusion(codes, truth, k, v)
    return float(table.max(1).values.sum() / table.sum())


def matched_share(codes: Int[Tensor, "*n"], truth: Int[Tensor, "*n"], v: int) -> float:
    """Share of nodes that are right under the best one-to-one naming of v codes by v latents.

    Raises:
        ValueError: more than 16 latents: the search is over their subsets.
    """
    if v > MAX_MATCHED:
        raise ValueError(f"v={v}; the best naming is searched for among at most {MAX_MATCHED} latents")
    table = confusion(codes, truth, v, v)
    # best[names]: most nodes that are right, with the first codes (as many as there are names) named by this subset.
    best = {0: 0}
    for row in table.tolist():
        longer: dict[int, int] = {}
        for names, right in best.items():
            for latent in range(v):
                if not names >> latent & 1:
                    more = names | 1 << latent
                    longer[more] = max(longer.get(more, 0), right + row[latent])
        best = longer
    return best[2**v - 1] / int(table.sum())


def chi_squared(a: Int[Tensor, " n"], b: Int[Tensor, " n"], rows: int, columns: int) -> tuple[float, int]:
    """phi^2 of two series of symbols, less what chance alone gives, and dof; symbols never seen do not count."""
    counts = confusion(a, b, rows, columns).double()
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    dof = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    return max(0.0, float(phi_squared(counts / len(a))) - dof / len(a)), dof


def phi_squared(joint: Float[Tensor, "*batch r c"]) -> Float[Tensor, "*batch"]:
    """phi^2 of joint probabilities; rows and columns of probability 0 do not count."""
    expected = joint.sum(-1, keepdim=True) * joint.sum(-2, keepdim=True)
    return torch.where(expected > 0, (joint - expected).square() / expected.clamp_min(1e-300), 0).sum((-2, -1))


def signal(task: RandomHierarchy, level: int, target: Target) -> float:
    """phi^2 between a tuple that is to become a latent of `level` and what it is told apart by; exact.

    The mean over the places at which the target stands: for "own" and "tokens" over the slots of the tuple and its
    cousin and the places in the cousin, tuples pooled over the sentence; for "root" over the places of the tuple,
    which are not pooled. That a tuple is drawn from its latent's synonyms at random leaves phi^2 as it is.

    Raises:
        ValueError: no latents of that level, or another target.
    """
    if not 1 <= level < task.L:
        raise ValueError(f"level={level}; a sentence has latents to find of levels 1 to {task.L - 1}")
    if target == "root":
        above = _descent(task, task.L, level)  # [places, v, v]
        return float(phi_squared(above / task.v).mean())
    if target not in ("own", "tokens"):
        raise ValueError(f"target={target!r}; choose 'own', 'tokens' or 'root'")
    grandparents = (_descent(task, task.L, level + 1) / task.v).sum(1).mean(0)  # [v], pooled over the sentence
    below = _descent(task, level, level - 1 if target == "own" else 0)
    found = []
    rules = task.rules[level]
    for a in range(task.s):
        for u in range(task.s):
            if a != u:
                pairs = torch.zeros(task.v, task.v, dtype=torch.float64)
                chance = (grandparents / task.m)[:, None].expand(-1, task.m).flatten()
                pairs.index_put_((rules[..., a].flatten(), rules[..., u].flatten()), chance, accumulate=True)
                found.append(phi_squared(pairs @ below))
    return float(torch.stack(found).mean())


def samples_by_level(task: RandomHierarchy, target: Target) -> list[float]:
    """Sentences at which the signal of levels 1 to L - 1 equals the noise: dof / phi^2, by pairs in a sentence.

    A tuple and a cousin stand once below each of the s^(L - level - 1) grandparents of a sentence; a tuple at one
    place and the root, once.
    """
    dof = (task.v * task.m - 1) * (task.v - 1)
    pairs = [1 if target == "root" else task.s ** (task.L - level - 1) for level in range(1, task.L)]
    phis = [signal(task, level, target) for level in range(1, task.L)]
    return [dof / (phi * each) if phi > 0 else float("inf") for phi, each in zip(phis, pairs, strict=True)]


def predicted_samples(task: RandomHierarchy, target: Target) -> float:
    """Sentences that the level which needs most of them asks for; a prediction up to a constant factor."""
    return max(samples_by_level(task, target))


def _descent(task: RandomHierarchy, top: int, bottom: int) -> Float[Tensor, "places v v"]:
    """p(symbol at a place of level `bottom` | symbol of level `top` above it), for all s^(top - bottom) places."""
    chain = torch.eye(task.v, dtype=torch.float64)[None]
    for level in reversed(range(bottom, top)):
        child = torch.nn.functional.one_hot(task.rules[level], task.v).double().mean(1).transpose(0, 1)  # [s, v, v]
        chain = torch.einsum("pxy,cyz->pcxz", chain, child).flatten(0, 1)
    return chain
