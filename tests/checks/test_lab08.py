"""Every check of lab 08 passes its reference and fails wrong answers, the classic mistakes first."""

import pytest
import torch
import torch.nn.functional as F

from latentkit.checks import lab08
from latentkit.checks.harness import assert_kills
from latentkit.checks.lab08 import decay_products


def _write(error=lambda Mk, v: Mk - v, outer=lambda e, k: e[..., :, None] * k[..., None, :], length=None, sign=-1):
    def answer(M, k, v, theta):
        e = error((M @ k[..., None])[..., 0], v)
        surprise = e.norm(dim=-1) * k.norm(dim=-1) if length is None else length(e, k)
        return M + sign * theta * outer(e, k), surprise

    return answer


def _gradients(slope=lambda z: z.sigmoid() * (1 + z * (1 - z.sigmoid())), through=True, into=F.silu, error=None):
    def answer(W1, W2, k, v):
        z = W1 @ k
        e = W2 @ F.silu(z) - v if error is None else error(W2 @ F.silu(z), v)
        delta = (W2.T @ e) * slope(z) if through else W2.T @ e
        return torch.outer(delta, k), torch.outer(e, into(z))

    return answer


def _decay(start=1, end=1):
    """Products over j + start - 1 < l <= i + end - 1."""

    def answer(factor):
        c = len(factor)
        rows = [[float(factor[j + start : i + end].prod()) if j <= i else 0.0 for j in range(c)] for i in range(c)]
        return torch.tensor(rows)

    return answer


def _ratio(factor):
    """Right wherever it is not 0 / 0, but untidy: nothing is cut off above the diagonal."""
    total = factor.cumprod(0)
    return total[:, None] / total[None, :]


def _delta_chunk(mask=torch.tril, weigh=lambda A, theta: A * theta, errors=lambda Mk, v: Mk - v):
    def answer(M, k, v, q, theta):
        return q @ M.T - weigh(mask(q @ k.T), theta) @ errors(k @ M.T, v)

    return answer


def _moving_weights(M, k, v, q, theta):
    """DeltaNet itself: the gradient at the newest weights."""
    answers = []
    for i in range(len(k)):
        M = M - theta[i] * torch.outer(M @ k[i] - v[i], k[i])
        answers.append(M @ q[i])
    return torch.stack(answers)


def _chunk(kept=None, weight=None, from_S=True, b=None):
    def answer(D, S, k, v, q, theta, eta, alpha):
        keep = decay_products(1 - alpha) if kept is None else kept(alpha)
        G = keep @ (decay_products(eta) * theta) if weight is None else weight(keep, decay_products(eta), theta)
        first = (1 - alpha).cumprod(0) if b is None else b(alpha)
        push = (keep @ eta.cumprod(0)) if from_S is True else from_S(eta)
        return first[:, None] * (q @ D.T) + push[:, None] * (q @ S.T) - (G * (q @ k.T)) @ (k @ D.T - v)

    return answer


MUTANTS = {
    "delta_write": {
        "adds the value (Hebbian, the classic)": _write(error=lambda Mk, v: -v),
        "climbs the gradient": _write(sign=1),
        "outer product the other way round": _write(outer=lambda e, k: k[..., :, None] * e[..., None, :]),
        "surprise without the key": _write(length=lambda e, k: e.norm(dim=-1)),
        "surprise is the loss": _write(length=lambda e, k: 0.5 * e.square().sum(-1)),
    },
    "momentum_step": {
        "forgets after the step (the classic)": lambda D, S, g, theta, eta, alpha: (
            (1 - alpha) * (D + eta * S - theta * g),
            eta * S - theta * g,
        ),
        "the old S moves the memory": lambda D, S, g, theta, eta, alpha: ((1 - alpha) * D + S, eta * S - theta * g),
        "alpha is what is kept": lambda D, S, g, theta, eta, alpha: (
            alpha * D + eta * S - theta * g,
            eta * S - theta * g,
        ),
        "average instead of sum": lambda D, S, g, theta, eta, alpha: (
            (1 - alpha) * D + eta * S - (1 - eta) * theta * g,
            eta * S - (1 - eta) * theta * g,
        ),
    },
    "mlp_gradients": {
        "no slope of the silu (the classic)": _gradients(through=False),
        "slope of a sigmoid": _gradients(slope=lambda z: z.sigmoid() * (1 - z.sigmoid())),
        "second layer fed with W1 k": _gradients(into=lambda z: z),
        "sign of the error": _gradients(error=lambda p, v: v - p),
    },
    "decay_products": {
        "counts the token's own factor (the classic)": _decay(start=0),
        "one factor too few": _decay(end=0),
        "nothing above the diagonal is cut off": _ratio,
        "divides": lambda factor: _ratio(factor).tril(),
        "in float32": lambda factor: lab08.decay_products(factor).float(),
        "cumulative sums": lambda factor: factor.cumsum(0)[:, None].expand(len(factor), len(factor)).tril(),
    },
    "delta_chunk": {
        "reads before it writes (the classic)": _delta_chunk(mask=lambda A: A.tril(-1)),
        "sees the whole chunk": _delta_chunk(mask=lambda A: A),
        "step of the reader": _delta_chunk(weigh=lambda A, theta: A * theta[:, None]),
        "gradients at the newest weights": _moving_weights,
        "Hebbian": _delta_chunk(errors=lambda Mk, v: -v),
    },
    "titans_chunk": {
        "steps weighed by row (the classic)": _chunk(weight=lambda keep, e, theta: keep @ (e * theta[:, None])),
        "products multiplied entry by entry": _chunk(weight=lambda keep, e, theta: keep * e * theta),
        "no forgetting": _chunk(kept=lambda alpha: torch.ones(len(alpha), len(alpha)).tril()),
        "S pushes once": _chunk(from_S=lambda eta: eta.cumprod(0)),
        "D is never forgotten": _chunk(b=lambda alpha: torch.ones_like(alpha)),
    },
}


@pytest.mark.parametrize("name", lab08.EXERCISES)
def test_wrong_answers_are_found(name):
    assert_kills(lab08.EXERCISES[name], MUTANTS[name])
