"""Every check of lab 10 passes its reference and fails wrong answers, the classic mistakes first."""

import math

import pytest
import torch

from latentkit.analysis import subgraphs
from latentkit.checks import lab10
from latentkit.checks.harness import assert_kills
from latentkit.tasks import nonadjacent_graph, product_graph
from latentkit.tasks.arithmetic import best_sums


def _sums(rule):
    def answer(x):
        values = [0, 0]
        for number in x:
            values.append(rule(values[-1], values[-2], number))
        return values[2:]

    return answer


def _greedy(x):
    """Takes a number whenever it is positive and its neighbour was not taken."""
    total, free, values = 0, True, []
    for number in x:
        free = not (free and number > 0)
        total += 0 if free else number
        values.append(total)
    return values


def _depths(start=0, pick=max):
    def answer(parents):
        depths = []
        for above in parents:
            depths.append(1 + pick(depths[p] for p in above) if above else start)
        return depths

    return answer


def _ancestors(parents):
    below = []
    for i, above in enumerate(parents):
        below.append({i}.union(*(below[p] for p in above)))
    return [len(b) - 1 for b in below]


def _seen(same, beyond=False):
    def answer(known, x):
        seen = torch.full(x.shape, beyond)
        for k in range(min(x.shape[1], known.shape[1])):
            seen[:, k] = same(known, x, k)
        return seen

    return answer


def _begins(known, x, k):
    return (known[None, :, :k] == x[:, None, :k]).all(-1).any(-1)


def _anywhere(known, x):
    everything = "".join(map(str, (known + 1).flatten().tolist()))
    rows = ["".join(map(str, row)) for row in (x + 1).tolist()]
    return torch.tensor([[row[: k + 1] in everything for k in range(len(row))] for row in rows])


def _codes(change):
    def answer(x, said):
        zero = torch.zeros_like(x[:, :1])
        truth = torch.tensor([lab10.best_sums(row) for row in x.tolist()])
        before = [torch.cat([zero, zero, v], 1) for v in (said, truth)]
        (two, one), (true_two, true_one) = ((v[:, :-2], v[:, 1:-1]) for v in before)
        by_rule = torch.maximum(one, x + two).clamp(min=0)
        right, parents_right = said == truth, (one == true_one) & (two == true_two)
        return change(right, parents_right, said, by_rule, torch.maximum(true_one, x + true_two).clamp(min=0), one)

    return answer


def _restored(parents_wrong):
    def answer(x, said):
        truth = torch.tensor([lab10.best_sums(row) for row in x.tolist()])
        wrong = torch.nn.functional.pad(said != truth, (2, 0))
        codes = lab10.outcome_codes(x, said)
        return torch.where(said == truth, torch.where(parents_wrong(wrong), 3, 0), codes)

    return answer


def _usual(right, parents_right, follows):
    return torch.where(right, torch.where(parents_right, 0, 3), torch.where(follows, 2, 1))


def _alive(right):
    return right.long().cumprod(1).double().mean(0)


def _drops(right):
    alive = _alive(right)
    return torch.cat([torch.ones(1).double(), alive[:-1]]) - alive


def _entropy(values):
    p = values.unique(return_counts=True)[1].double() / len(values)
    return float(-(p * p.log2()).sum())


def _shared(x, y):
    return _entropy(x) + _entropy(y) - _entropy(10 * x + y)


MUTANTS = {
    "best_sums": {
        "neighbours allowed": _sums(lambda one, two, x: max(one, x + one, 0)),
        "the empty sum forgotten": lambda x: [v or max(x[: k + 1]) for k, v in enumerate(lab10.best_sums(x))],
        "always takes": _sums(lambda one, two, x: max(x + two, 0)),
        "greedy": _greedy,
        "the last sum only": lambda x: lab10.best_sums(x)[-1:],
    },
    "node_depths": {
        "shortest way": _depths(pick=min),
        "inputs count as one": _depths(start=1),
        "number of ancestors": _ancestors,
        "number of parents": lambda parents: [len(above) for above in parents],
    },
    "was_seen": {
        "the number alone": _seen(lambda known, x, k: (known[None, :, k] == x[:, None, k]).any(-1)),
        "the whole row": _seen(lambda known, x, k: _begins(known, x, min(known.shape[1], x.shape[1]))),
        "each number somewhere": _seen(
            lambda known, x, k: (known[None, :, : k + 1] == x[:, None, : k + 1]).any(1).all(-1)
        ),
        "what is too long counts as seen": _seen(lambda known, x, k: _begins(known, x, k + 1), beyond=True),
        "anywhere in the data": _anywhere,
        "one step late": _seen(_begins),
    },
    "outcome_codes": {  # of right, right parents, said, made by the rule, made of true parents, the value before
        "only with right parents local": _codes(lambda r, p, *_: _usual(r, p, ~p)),
        "no restoration": _codes(lambda r, p, said, rule, *_: _usual(r, torch.ones_like(p), said == rule)),
        "the rule on true parents": _codes(lambda r, p, said, rule, true_rule, one: _usual(r, p, said == true_rule)),
        "local and propagation swapped": _codes(lambda r, p, said, rule, *_: _usual(r, p, said != rule)),
        "copying counts as the rule": _codes(
            lambda r, p, said, rule, true_rule, one: _usual(r, p, (said == rule) | (said == one))
        ),
        "restoration looks at the sum before only": _restored(lambda wrong: wrong[:, 1:-1]),
        "restoration after any mistake": _restored(lambda wrong: wrong.cumsum(1)[:, 1:-1] > 0),
    },
    "survival_and_hazard": {
        "accuracy at each step": lambda right: (right.double().mean(0), lab10.survival_and_hazard(right)[1]),
        "the drop, not the share": lambda right: (_alive(right), _drops(right)),
        "mistakes at each step": lambda right: (_alive(right), 1 - right.double().mean(0)),
        "divided by what is left": lambda right: (_alive(right), _drops(right) / _alive(right)),
    },
    "information_gain": {
        "not relative": _shared,
        "relative to x": lambda x, y: _shared(x, y) / _entropy(x) if _entropy(x) else 0.0,
        "nats over bits": lambda x, y: _shared(x, y) * math.log(2) / _entropy(y),
        "what is not known": lambda x, y: 1 - _shared(x, y) / _entropy(y),
        "pairs added, not paired": lambda x, y: (_entropy(x) + _entropy(y) - _entropy(x + y)) / _entropy(y),
    },
}


@pytest.mark.parametrize("name", lab10.EXERCISES)
def test_check_tells_right_from_wrong(name):
    assert_kills(lab10.EXERCISES[name], MUTANTS[name])


def test_the_references_are_the_course_s_own():
    """Where latentkit has the same thing, the exercise's answer is that."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-3, 4, (30, 6), generator=generator)
    truth = best_sums(x)
    assert [lab10.best_sums(row) for row in x.tolist()] == truth.tolist()
    for graph in (nonadjacent_graph(5), product_graph(3, 2)):
        assert lab10.node_depths([list(node.parents) for node in graph.nodes]) == list(graph.depths)
    known, graph = torch.randint(-3, 4, (200, 4), generator=generator), nonadjacent_graph(6)
    assert torch.equal(lab10.was_seen(known, x), subgraphs.subgraph_counts(graph, known, x)[:, 6:] > 0)
    said = (truth + (torch.rand(30, 6, generator=generator) < 0.3)).clamp(min=0)
    codes = subgraphs.outcomes(graph, torch.cat([x, truth], 1), torch.cat([x, said], 1))[:, 6:]
    assert torch.equal(lab10.outcome_codes(x, said), codes)
    assert set(codes.flatten().tolist()) == {0, 1, 2, 3}
    right = torch.rand(300, 5, generator=generator) < 0.9
    for mine, theirs in zip(lab10.survival_and_hazard(right), (subgraphs.survival, subgraphs.hazard), strict=True):
        torch.testing.assert_close(mine, theirs(right))
    a, b = torch.cartesian_prod(torch.arange(10), torch.arange(10)).T
    y = a * b % 10
    assert lab10.information_gain(a, y) == pytest.approx(subgraphs.relative_information(a[:, None], y))
