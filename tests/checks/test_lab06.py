"""Every check of lab 06 passes its reference and fails wrong answers, the classic mistakes first."""

import pytest
import torch
from torch.nn.functional import one_hot

from latentkit.checks import lab06
from latentkit.checks.harness import CheckFailed, assert_kills


def _read(mask=lab06.block_mask, scale=True, order=(0, 1, 2), drop=None):
    def answer(q, memory, feedback, block):
        parts = [memory, feedback, block]
        if drop is not None:
            parts[drop] = tuple(part[:, :0] for part in parts[drop])
        keys, values = (torch.cat([parts[i][j] for i in order], 1) for j in (0, 1))
        n = q.shape[1]
        scores = q @ keys.mT / (q.shape[-1] ** 0.5 if scale else 1)
        return scores.masked_fill(~mask(n, keys.shape[1] - n), -torch.inf).softmax(-1) @ values

    return answer


def _in_place(model, tokens, place, vocab_size):
    before = model(tokens)
    tokens[:, place] = (tokens[:, place] + 1) % vocab_size
    return (model(tokens) != before).any(-1).any(0)


def _changed(compare, replace=lambda t, v: (t + 1) % v):
    def answer(model, tokens, place, vocab_size):
        other = tokens.clone()
        other[:, place] = replace(other[:, place], vocab_size)
        return compare(model(other), model(tokens))

    return answer


def _probe(ridge_matrix=lambda r, d: r * torch.eye(d, dtype=torch.float64), signs=False):
    def answer(x, labels, num_classes, ridge):
        y = one_hot(labels, num_classes).to(x.dtype)
        y = 2 * y - 1 if signs else y
        return torch.linalg.lstsq(x.mT @ x + ridge_matrix(ridge, x.shape[1]), x.mT @ y, driver="gelsd").solution

    return answer


MUTANTS = {
    "block_mask": {
        "causal over everything": lambda n, before: torch.ones(n, before + n, dtype=torch.bool).tril(),
        "the block is open": lambda n, before: torch.ones(n, before + n, dtype=torch.bool),
        "not itself": lambda n, before: torch.ones(n, before + n, dtype=torch.bool).tril(before - 1),
        "only the block": lambda n, before: torch.ones(n, before + n, dtype=torch.bool).tril(before).triu(before),
        "what must not be seen": lambda n, before: ~torch.ones(n, before + n, dtype=torch.bool).tril(before),
    },
    "read": {
        "causal over everything": _read(lambda n, before: torch.ones(n, before + n, dtype=torch.bool).tril()),
        "sees the future": _read(lambda n, before: torch.ones(n, before + n, dtype=torch.bool)),
        "not scaled": _read(scale=False),
        "feedback left out": _read(drop=1),
        "memory left out": _read(drop=0),
        "block first": _read(order=(2, 0, 1)),
    },
    "update": {
        "residual at the first update": lambda m, f, first, norm, mlp: mlp(norm(m + f)) + m + f,
        "never a residual": lambda m, f, first, norm, mlp: mlp(norm(m)) + m,
        "no feed-forward net": lambda m, f, first, norm, mlp: m if first else m + f,
        "no norm": lambda m, f, first, norm, mlp: (a := m if first else m + f) + mlp(a),
        "second residual forgotten": lambda m, f, first, norm, mlp: mlp(norm(m if first else m + f)),
        "the other way round": lambda m, f, first, norm, mlp: (a := m + f if first else m) + mlp(norm(a)),
    },
    "changed": {
        "writes into its input": _in_place,
        "the largest output only": _changed(lambda a, b: (a.argmax(-1) != b.argmax(-1)).any(0)),
        "the first output only": _changed(lambda a, b: (a != b)[..., 0].any(0)),
        "all outputs must change": _changed(lambda a, b: (a != b).all(-1).any(0)),
        "the other way round": _changed(lambda a, b: (a == b).all(-1).any(0)),
        "leaves the vocabulary": _changed(lambda a, b: (a != b).any(-1).any(0), lambda t, v: t + 1),
        "the same token": _changed(lambda a, b: (a != b).any(-1).any(0), lambda t, v: t),
    },
    "mean_norms": {
        "norm of the mean": lambda path: path.mean((1, 3)).norm(dim=-1),
        "RMS": lambda path: path.pow(2).mean(-1).sqrt().mean((1, 3)),
        "by token": lambda path: path.norm(dim=-1).mean((1, 2)),
        "one long vector": lambda path: path.transpose(1, 2).flatten(3).norm(dim=-1).mean(2),
    },
    "fit_probe": {
        "no ridge": _probe(lambda r, d: torch.zeros(d, d, dtype=torch.float64)),
        "ridge everywhere": _probe(lambda r, d: torch.full((d, d), r, dtype=torch.float64)),
        "targets of -1 and 1": _probe(signs=True),
        "ridge squared": _probe(lambda r, d: r**2 * torch.eye(d, dtype=torch.float64)),
        "transposed": lambda x, labels, c, ridge: lab06.fit_probe(x, labels, c, ridge).mT,
    },
}


@pytest.mark.parametrize("name", lab06.EXERCISES)
def test_check_tells_right_from_wrong(name):
    assert_kills(lab06.EXERCISES[name], MUTANTS[name])


def test_what_was_written_over_is_named():
    with pytest.raises(CheckFailed, match="wrote into `tokens`"):
        lab06.EXERCISES["changed"].check(_in_place)
