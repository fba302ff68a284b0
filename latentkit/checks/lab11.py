"""Checks of lab 11: facts in a table, a loop over soft entities, and what went wrong where."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from latentkit.checks.harness import Exercise, compare, rng, shapes
from latentkit.layers import BlockConfig
from latentkit.models import EntityLoop, EntityLoopConfig
from latentkit.recurrence import advance


def follow(facts: Tensor, start: Tensor, hops: Tensor) -> Tensor:
    """Who one is at after 0, 1, .., k hops: [b, k + 1]."""
    people = [start]
    for relation in hops.T:
        people.append(facts[people[-1], relation])
    return torch.stack(people, 1)


def _world(entities: int, relations: int, seed: int) -> Tensor:
    return torch.randint(entities, (entities, relations), generator=rng(seed))


def _check_follow(answer: Callable) -> None:
    for b, k, relations in shapes(3, low=2, high=6):
        facts = _world(7, relations, b)
        start = torch.randint(7, (b,), generator=rng(b))
        hops = torch.randint(relations, (b, k), generator=rng(k))
        expected = torch.zeros(b, k + 1, dtype=torch.long)
        for i in range(b):
            person = int(start[i])
            expected[i, 0] = person
            for j in range(k):
                person = int(facts[person, int(hops[i, j])])
                expected[i, j + 1] = person
        inputs = {"facts": facts, "start": start, "hops": hops}
        compare(expected, answer(facts, start, hops), name="follow", inputs=inputs)


def hops_ood(ood: Tensor, people: Tensor, hops: Tensor) -> Tensor:
    """Which hops use an OOD fact: the fact of the person before the hop, [b, k]."""
    return ood[people[:, :-1], hops]


def _check_hops_ood(answer: Callable) -> None:
    for b, k, relations in shapes(3, low=2, high=6, seed=1):
        facts = _world(7, relations, b)
        ood = torch.rand(7, relations, generator=rng(k)) < 0.4
        hops = torch.randint(relations, (b, k), generator=rng(k))
        people = follow(facts, torch.randint(7, (b,), generator=rng(b)), hops)
        expected = torch.tensor([[bool(ood[people[i, j], hops[i, j]]) for j in range(k)] for i in range(b)])
        inputs = {"ood": ood, "people": people, "hops": hops}
        compare(expected, answer(ood, people, hops), name="hops_ood", inputs=inputs)


def soft_hop(p: Tensor, facts: Tensor, relation: Tensor) -> Tensor:
    """One hop of a distribution over people, p [b, e]: q[b, j] is the sum of p[b, i] over all i whose fact is j."""
    return torch.zeros_like(p).scatter_add(1, facts[:, relation].T, p)


def _check_soft_hop(answer: Callable) -> None:
    for b, entities, relations in shapes(3, low=3, high=8, seed=2):
        entities += 2
        facts = _world(entities, relations, 3 * b)
        facts[1] = facts[0]  # two people with the same boss, whatever the draw
        p = torch.rand(b, entities, generator=rng(b)).double()
        p = p / p.sum(1, keepdim=True)
        relation = torch.randint(relations, (b,), generator=rng(entities))
        expected = torch.zeros_like(p)
        for i in range(b):
            for j in range(entities):
                expected[i, facts[j, relation[i]]] += p[i, j]
        inputs = {"p": p, "facts": facts, "relation": relation}
        compare(expected, answer(p, facts, relation), name="soft_hop", inputs=inputs)


def soft_entity(logits: Tensor, entities: Tensor) -> Tensor:
    """The mixture of embeddings that the logits [b, n, v] stand for: softmax times entities [v, d]."""
    return logits.softmax(-1) @ entities


def _check_soft_entity(answer: Callable) -> None:
    for b, n, v in shapes(3, low=2, high=6, seed=3):
        generator = rng(v)
        logits = 3 * torch.randn(b, n, v + 1, generator=generator, dtype=torch.float64)
        entities = torch.randn(v + 1, 4, generator=generator, dtype=torch.float64)
        weights = logits.exp()
        expected = torch.einsum("bnv,vd->bnd", weights, entities) / weights.sum(-1, keepdim=True)
        inputs = {"logits": logits, "entities": entities}
        compare(expected, answer(logits, entities), name="soft_entity", inputs=inputs)
    # Training goes through the mixture: the gradient of its sum, by the softmax's own Jacobian.
    leaf = logits.clone().requires_grad_()
    mixture = answer(leaf, entities)
    (got,) = torch.autograd.grad(mixture.sum(), leaf) if mixture.requires_grad else (torch.zeros_like(logits),)
    shares, worth = weights / weights.sum(-1, keepdim=True), entities.sum(-1)
    expected = shares * (worth - (shares * worth).sum(-1, keepdim=True))
    compare(expected, got, name="the gradient through soft_entity", inputs=inputs)


@torch.no_grad()
def think(model: EntityLoop, tokens: Tensor, passes: int) -> Tensor:
    """Logits [b, n, v] of a plain loop after some passes, each of which takes the state in as a soft entity."""
    context = model.encode(tokens)
    state = model.initial_state(context)
    for _ in range(passes):
        state = state._replace(h=soft_entity(model.decode(state), model.entities))
        state = model.step(state, context)
    return model.decode(state)


def _check_think(answer: Callable) -> None:
    for b, n, passes in shapes(3, low=2, high=5, seed=4):
        config = EntityLoopConfig(7, 5, reread=False, block=BlockConfig(8, 2, 1))
        with torch.random.fork_rng():
            torch.manual_seed(b)
            plain, rereading = EntityLoop(config), EntityLoop(EntityLoopConfig(7, 5, block=config.block))
        for weight in plain.parameters():
            weight.data.mul_(1.5)  # far from a mixture that is the same for every state
        rereading.load_state_dict(plain.state_dict())
        first = torch.randint(5, (b, 1), generator=rng(b))
        tokens = torch.cat([first, torch.randint(5, 7, (b, n), generator=rng(n))], 1)
        with torch.no_grad():
            context = rereading.encode(tokens)
            expected = rereading.decode(advance(rereading, rereading.initial_state(context), context, passes))
            got = answer(plain, tokens, passes)
        compare(expected, got, name="think", inputs={"tokens": tokens, "passes": passes}, rtol=1e-3, atol=1e-4)


def outcomes(facts: Tensor, start: Tensor, hops: Tensor, middle: Tensor, answer: Tensor) -> dict[str, float]:
    """What became of two hops, given what a model says in the middle and at the end: lab 10's four outcomes."""
    people = follow(facts, start, hops)
    middle_right, right = middle == people[:, 1], answer == people[:, 2]
    hop_right = answer == facts[middle, hops[:, 1]]
    kinds = {
        "correct": right & middle_right,
        "restoration": right & ~middle_right,
        "propagation": ~right & hop_right,
        "local": ~right & ~hop_right,
    }
    return {kind: float(found.float().mean()) for kind, found in kinds.items()}


def _check_outcomes(answer: Callable) -> None:
    for seed in range(4):
        facts = _world(4, 2, seed)
        facts[2] = facts[1]  # a wrong person in the middle may lead to the right answer
        start, middle, said = (torch.randint(4, (60,), generator=rng(10 * seed + i)) for i in range(3))
        hops = torch.randint(2, (60, 2), generator=rng(seed))
        counts = dict.fromkeys(("correct", "restoration", "propagation", "local"), 0)
        for i in range(60):
            first, second = hops[i].tolist()
            true_middle = int(facts[start[i], first])
            if said[i] == facts[true_middle, second]:
                counts["correct" if middle[i] == true_middle else "restoration"] += 1
            else:
                counts["propagation" if said[i] == facts[middle[i], second] else "local"] += 1
        expected = {kind: count / 60 for kind, count in counts.items()}
        got = answer(facts, start, hops, middle, said)
        inputs = {"facts": facts, "start": start, "hops": hops, "middle": middle, "answer": said}
        compare(expected, got, name="outcomes", inputs=inputs)


Cell = tuple[str, str]


def surprise(guesses: Mapping[Cell, float], measured: Mapping[Cell, float | None]) -> float:
    """Mean distance between guesses and measurements, over the cells that have both; NaN where none has."""
    distances = [abs(guess - value) for cell, guess in guesses.items() if (value := measured.get(cell)) is not None]
    return sum(distances) / len(distances) if distances else float("nan")


def _check_surprise(answer: Callable) -> None:
    cases: list[tuple[dict[Cell, float], dict[Cell, float | None]]] = [
        ({("gru", "words"): 0.5, ("ssm", "words"): 0.9}, {("gru", "words"): 0.75, ("ssm", "words"): 0.4}),
        ({("gru", "words"): 0.5, ("hrm", "copying"): 0.2}, {("gru", "words"): 0.0, ("hrm", "copying"): None}),
        ({("gru", "words"): 0.5, ("trm", "maze"): 0.2}, {("gru", "words"): 1.0, ("eqr", "maze"): 0.9}),
        ({("hrm", "copying"): 0.2}, {("hrm", "copying"): None}),
    ]
    for guesses, measured in cases:
        total, count = 0.0, 0
        for cell, value in measured.items():
            if cell in guesses and value is not None:
                total, count = total + abs(value - guesses[cell]), count + 1
        expected = total / count if count else float("nan")
        got = answer(dict(guesses), dict(measured))
        got = got if got is None else float(got)  # a forgotten `return` has a message of its own
        compare(expected, got, name="surprise", inputs={"guesses": guesses, "measured": measured})


EXERCISES = {
    "follow": Exercise(follow, _check_follow),
    "hops_ood": Exercise(hops_ood, _check_hops_ood),
    "soft_hop": Exercise(soft_hop, _check_soft_hop),
    "soft_entity": Exercise(soft_entity, _check_soft_entity),
    "think": Exercise(think, _check_think),
    "outcomes": Exercise(outcomes, _check_outcomes),
    "surprise": Exercise(surprise, _check_surprise),
}
