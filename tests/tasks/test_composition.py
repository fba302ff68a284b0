import itertools

import pytest
import torch

from latentkit.tasks import NO_TARGET, Composition, Task

TASK = Composition()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def walk(task: Composition, tokens: list[int]) -> list[int]:
    """Fact by fact, in Python."""
    people = [tokens[0]]
    for token in tokens[1:]:
        people.append(int(task.facts[people[-1], token - task.entities]))
    return people


def uses_ood(task: Composition, tokens: list[int]) -> list[bool]:
    people = walk(task, tokens)
    return [bool(task.ood[person, token - task.entities]) for person, token in zip(people, tokens[1:], strict=False)]


def test_a_task_like_the_others():
    assert isinstance(TASK, Task)
    one, same, other = (TASK.sample(50, 3, generator(seed)) for seed in (1, 1, 2))
    assert all(map(torch.equal, one, same))
    assert not torch.equal(one.tokens, other.tokens)
    assert one.tokens.shape == one.targets.shape == one.depth.shape == (50, 4)
    assert len(set(TASK.token_names)) == TASK.vocab_size == 46
    assert len(set(TASK.class_names)) == TASK.num_classes == 40
    again = eval(repr(TASK), {"Composition": Composition})
    assert torch.equal(again.facts, TASK.facts) and torch.equal(again.ood, TASK.ood)
    names = Composition(100, 20)
    assert len(set(names.token_names)) == 120


def test_a_chain_by_hand():
    task = Composition(3, 2)
    task.facts = torch.tensor([[1, 2], [2, 2], [0, 1]])
    batch = task.batch(torch.tensor([0]), torch.tensor([[0, 1, 0]]))
    assert batch.tokens.tolist() == [[0, 3, 4, 3]]
    assert batch.targets.tolist() == [[0, 1, 2, 0]]
    assert batch.depth.tolist() == [[0, 1, 2, 3]]


def test_the_world_is_drawn_by_its_seed():
    other = TASK.for_seed(1)
    assert not torch.equal(other.facts, TASK.facts)
    assert repr(other) == "Composition(40, 6, ood=0.25, seed=1)"
    assert torch.equal(TASK.for_seed(0).facts, TASK.facts)
    assert int(TASK.ood.sum()) == 60
    assert int(Composition(200, 12, ood=0.05).ood.sum()) == 120
    assert 0.1 < float(TASK.held_out.float().mean()) < 0.3


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_what_training_shows(length):
    """Single facts of both kinds, chains of ID facts without a held-out beginning; every answer follows the facts."""
    batch = TASK.sample(400, length, generator())
    singles = 0
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        people, silent = walk(TASK, tokens), [t == NO_TARGET for t in targets]
        assert silent[:2] == [False, False]
        assert [t for t in targets if t != NO_TARGET] == people[: silent.count(False)]
        if length > 1 and silent[2]:
            assert all(silent[2:])
            singles += 1
        elif length > 1:
            assert not any(silent) and not any(uses_ood(TASK, tokens))
            assert not TASK.held_out[tokens[0], tokens[1] - 40, tokens[2] - 40]
    assert length == 1 or 150 < singles < 250


def test_training_shows_every_fact_alone():
    batch = TASK.sample(5000, 1, generator())
    assert len({tuple(row) for row in batch.tokens.tolist()}) == 240


def test_single_facts_are_all_facts_in_order():
    batch = TASK.single_facts()
    assert torch.equal(batch.targets[:, 1], TASK.facts.flatten())
    assert torch.equal(TASK.hops_ood(batch)[:, 0], TASK.ood.flatten())


@pytest.mark.parametrize("kind", [k for n in (2, 3) for k in itertools.product([False, True], repeat=n)], ids=str)
def test_chains_are_all_those_of_their_kind(kind):
    """Against a list of all chains, made in Python."""
    wanted = set()
    for start, *hops in itertools.product(range(40), *[range(6)] * len(kind)):
        tokens = [start, *(40 + r for r in hops)]
        if uses_ood(TASK, tokens) != list(kind):
            continue
        if any(kind) or TASK.held_out[start, hops[0], hops[1]]:
            wanted.add(tuple(tokens))
    batch = TASK.chains(kind, most=10_000)
    found = [tuple(row) for row in batch.tokens.tolist()]
    assert len(found) == len(set(found))
    assert set(found) == wanted
    assert TASK.hops_ood(batch).tolist() == [list(kind)] * len(found)
    assert all(walk(TASK, list(row)) == targets for row, targets in zip(found, batch.targets.tolist(), strict=True))
    some = {tuple(row) for row in TASK.chains(kind, most=50).tokens.tolist()}
    assert some <= wanted and len(some) == min(50, len(wanted))


def test_long_chains_are_a_random_part():
    one, same = (TASK.chains([False] * 8) for _ in range(2))
    assert torch.equal(one.tokens, same.tokens)
    assert len({tuple(row) for row in one.tokens.tolist()}) == 500
    assert len(set(one.tokens[:, 0].tolist())) > 20
    assert not TASK.hops_ood(one).any()


def test_a_perfect_answer_scores_one_everywhere():
    batch = TASK.sample(100, 3, generator())
    perfect = torch.nn.functional.one_hot(batch.targets.clamp(min=0), 40).float()
    assert TASK.score(perfect, batch).tolist() == [1.0] * 4


def test_bad_input_is_refused(learners_view):
    for bad in ({"entities": 1}, {"relations": 0}, {"ood": 0.0}, {"ood": 1.0}):
        with pytest.raises(ValueError, match="need at least 2, at least 1, and a share"):
            Composition(**bad)
    with pytest.raises(ValueError, match="batch=0, length=2"):
        TASK.sample(0, 2, generator())
    with pytest.raises(ValueError, match="1 hops, most=500; a chain has at least 2 hops"):
        TASK.chains([True])
    with pytest.raises(ValueError, match=r"people must be 0\.\.39; found 0\.\.40"):
        TASK.batch(torch.tensor([0, 40]), torch.tensor([[0], [0]]))
    with pytest.raises(ValueError, match=r"relations must be 0\.\.5; found 6\.\.6"):
        TASK.batch(torch.tensor([0]), torch.tensor([[6]]))
    with pytest.raises(ValueError, match="has no chain whose hops are OOD as in"):
        Composition(8, 1, ood=0.01).chains([True, True])  # one fact in a hundred: here none


def test_pictures_mark_what_is_right():
    batch = TASK.chains([True, False])
    logits = torch.nn.functional.one_hot(batch.targets, 40).float()
    logits[0, 2] = -logits[0, 2]
    texts = [text.get_text() for text in TASK.show(batch, logits).axes[0].texts]
    assert sum("✗" in text for text in texts) == 1
    assert TASK.class_names[batch.targets[0, 1]] in texts
    single = TASK.sample(20, 2, generator())
    row = int((single.targets[:, 2] == NO_TARGET).nonzero()[0])
    texts = [text.get_text() for text in TASK.show(single, example=row).axes[0].texts]
    assert "?" in texts and "model" not in texts
