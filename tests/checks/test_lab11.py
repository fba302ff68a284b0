"""Every check of lab 11 passes its reference and fails wrong answers, the classic mistakes first."""

import pytest
import torch

from latentkit.checks import lab11
from latentkit.checks.harness import assert_kills
from latentkit.tasks import Composition


def _follow(forget=False, from_start=False, swapped=False):
    def answer(facts, start, hops):
        people = [start]
        for relation in hops.flip(1).T if swapped else hops.T:
            people.append(facts[start if from_start else people[-1], relation])
        return torch.stack(people[1:] if forget else people, 1)

    return answer


def _think(reread=True, hard=False, late=False, once=False):
    @torch.no_grad()
    def answer(model, tokens, passes):
        context = model.encode(tokens)
        state = model.initial_state(context)
        for t in range(passes):
            logits = model.decode(state)
            mixture = lab11.soft_entity(logits, model.entities)
            if hard:
                mixture = model.entities[logits.argmax(-1)]
            if reread and not (late and t == 0) and not (once and t > 0):
                state = state._replace(h=mixture)
            state = model.step(state, context)
        return model.decode(state)

    return answer


@torch.no_grad()
def _read_at_the_end(model, tokens, passes):
    context = model.encode(tokens)
    state = model.initial_state(context)
    for _ in range(passes):
        state = model.step(state, context)
        state = state._replace(h=lab11.soft_entity(model.decode(state), model.entities))
    return model.decode(state)


def _outcomes(change):
    def answer(facts, start, hops, middle, answer):
        people = lab11.follow(facts, start, hops)
        middle_right, right = middle == people[:, 1], answer == people[:, 2]
        hop_right = answer == facts[middle, hops[:, 1]]
        kinds = {
            "correct": right & middle_right,
            "restoration": right & ~middle_right,
            "propagation": ~right & hop_right,
            "local": ~right & ~hop_right,
        }
        kinds = change(kinds, middle_right, right, hop_right)
        return {kind: float(found.float().mean()) for kind, found in kinds.items()}

    return answer


def _surprise(missing=None, signed=False, square=False):
    def answer(guesses, measured):
        distances = []
        for cell, guess in guesses.items():
            value = measured.get(cell)
            if value is None and missing is None:
                continue
            gap = guess - (missing if value is None else value)
            distances.append(gap if signed else gap**2 if square else abs(gap))
        return sum(distances) / len(distances) if distances else float("nan")

    return answer


def _overwrites(p, facts, relation):
    q = torch.zeros_like(p)
    for i in range(len(p)):
        q[i, facts[:, relation[i]]] = p[i]
    return q


MUTANTS = {
    "follow": {
        "always from the start": _follow(from_start=True),
        "start forgotten": _follow(forget=True),
        "hops in reverse": _follow(swapped=True),
    },
    "hops_ood": {
        "the person after the hop": lambda ood, people, hops: ood[people[:, 1:], hops],
        "the first person, always": lambda ood, people, hops: ood[people[:, :1], hops],
        "any hop": lambda ood, people, hops: ood[people[:, :-1], hops].any(1),
        "ID for OOD": lambda ood, people, hops: ~ood[people[:, :-1], hops],
    },
    "soft_hop": {
        "overwrites": _overwrites,
        "backwards": lambda p, facts, relation: p.gather(1, facts[:, relation].T),
        "the first relation for all": lambda p, facts, relation: lab11.soft_hop(p, facts, relation[:1].expand(len(p))),
        "hard": lambda p, facts, relation: lab11.soft_hop(
            torch.nn.functional.one_hot(p.argmax(1), p.shape[1]).to(p.dtype), facts, relation
        ),
    },
    "soft_entity": {
        "the best one only": lambda logits, entities: entities[logits.argmax(-1)],
        "no softmax": lambda logits, entities: logits @ entities,
        "softmax over positions": lambda logits, entities: logits.softmax(1) @ entities,
        "sigmoid": lambda logits, entities: logits.sigmoid() @ entities,
        "no gradient": lambda logits, entities: logits.detach().softmax(-1) @ entities,
    },
    "think": {
        "never re-reads": _think(reread=False),
        "takes the best one only": _think(hard=True),
        "not before the first pass": _think(late=True),
        "before the first pass only": _think(once=True),
        "answers from what was read": _read_at_the_end,
        "one pass too many": lambda model, tokens, passes: lab11.think(model, tokens, passes + 1),
    },
    "outcomes": {
        "every error is local": _outcomes(
            lambda k, middle, right, hop: k | {"local": ~right, "propagation": torch.zeros_like(right)}
        ),
        "every wrong middle propagates": _outcomes(
            lambda k, middle, right, hop: k | {"local": ~right & middle, "propagation": ~right & ~middle}
        ),
        "restorations count as correct": _outcomes(
            lambda k, middle, right, hop: k | {"correct": right, "restoration": torch.zeros_like(right)}
        ),
        "shares of the wrong ones": lambda *a: {
            kind: share / max(1e-9, 1 - lab11.outcomes(*a)["correct"]) for kind, share in lab11.outcomes(*a).items()
        },
    },
    "surprise": {
        "not measured is zero": _surprise(missing=0.0),
        "signs cancel": _surprise(signed=True),
        "squares": _surprise(square=True),
        "a score of 0.0 is dropped": lambda guesses, measured: lab11.surprise(
            guesses, {cell: value or None for cell, value in measured.items()}
        ),
    },
}


@pytest.mark.parametrize("name", lab11.EXERCISES)
def test_check_tells_right_from_wrong(name):
    assert_kills(lab11.EXERCISES[name], MUTANTS[name])


def test_the_references_are_the_course_s_own():
    """Where latentkit has the same thing, the exercise's answer is that."""
    task = Composition()
    batch = task.chains([True, False, True])
    hops = batch.tokens[:, 1:] - task.entities
    people = lab11.follow(task.facts, batch.tokens[:, 0], hops)
    assert torch.equal(people, batch.targets)
    assert torch.equal(lab11.hops_ood(task.ood, people, hops), task.hops_ood(batch))
    one = torch.nn.functional.one_hot(people[:, 0], task.entities).float()
    assert torch.equal(lab11.soft_hop(one, task.facts, hops[:, 0]).argmax(1), people[:, 1])
