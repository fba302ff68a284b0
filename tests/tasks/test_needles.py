import pytest
import torch
from matplotlib.figure import Figure

from latentkit.tasks import NO_TARGET, Needles


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("length", [16, 17, 24, 200])
def test_answers_are_those_of_a_reader_with_a_dictionary(length):
    task = Needles()
    batch = task.sample(50, length, generator())
    for tokens, targets, depth in zip(*(field.tolist() for field in batch), strict=True):
        known, where = {}, {}
        for t in range(length - 8):  # the context: a key is followed by its value
            if tokens[t] < task.keys:
                assert tokens[t] not in known, "a key has one value"
                known[tokens[t]], where[tokens[t]] = tokens[t + 1] - task.keys, t
        assert len(known) == task.needles
        fillers = sum(token >= task.keys + task.values for token in tokens)
        assert fillers == length - 16
        asked = [t for t in range(length) if targets[t] != NO_TARGET]
        assert asked == [length - 8, length - 6, length - 4, length - 2]
        for t in asked:
            assert targets[t] == known.pop(tokens[t]) == tokens[t + 1] - task.keys
            assert depth[t] == t - where[tokens[t]]
        assert not known


def test_the_same_generator_gives_the_same_batch():
    one, two, other = (Needles().sample(4, 40, generator(seed)) for seed in (3, 3, 4))
    assert all(map(torch.equal, one, two))
    assert not torch.equal(one.tokens, other.tokens)


def test_needles_are_anywhere_and_every_value_is_as_likely():
    task = Needles()
    batch = task.sample(4000, 32, generator())
    found = (batch.tokens[:, :24] < task.keys).float().mean(0)
    assert found.min() > 0.05 or found[-1] == 0  # a key may stand everywhere but at the context's last place
    counts = torch.bincount(batch.targets[batch.targets != NO_TARGET], minlength=16) / 16000
    assert counts.tolist() == pytest.approx([1 / 16] * 16, abs=0.01)


@pytest.mark.parametrize("distance", [16, 48, 112])
def test_a_stream_holds_its_needles_at_the_distance_and_asks_at_its_end(distance):
    task = Needles()
    parts = list(task.blocks(3, 128, distance, 16, generator()))
    tokens, targets = (torch.cat(field, 1) for field in list(zip(*parts, strict=True))[:2])
    assert tokens.shape == (3, 128)
    for row, wanted in zip(tokens.tolist(), targets.tolist(), strict=True):
        start = 128 - distance - 16
        known = {row[t]: row[t + 1] for t in range(start, start + 15) if row[t] < task.keys}
        assert len(known) == 4
        assert all(token >= 32 for t, token in enumerate(row[:120]) if not start <= t < start + 16)
        assert [t for t in range(128) if wanted[t] != NO_TARGET] == [120, 122, 124, 126]
        assert all(wanted[t] + 16 == known[row[t]] == row[t + 1] for t in (120, 122, 124, 126))


def test_scores():
    task = Needles()
    batch = task.sample(5, 40, generator())
    perfect = torch.nn.functional.one_hot(batch.targets.clamp(min=0), 16).float()
    assert task.recall(perfect, batch) == 1
    assert task.recall(perfect[:, -8:], batch) == 1
    assert task.recall(perfect.roll(1, -1), batch) == 0
    by_distance = task.score(perfect, batch)
    assert (by_distance[~by_distance.isnan()] == 1).all()
    assert isinstance(task.show(batch, perfect), Figure)
    assert isinstance(task.show(task.sample(1, 300, generator())), Figure)


def test_bad_input_says_what_would_be_right():
    with pytest.raises(ValueError, match="a key must not have two values"):
        Needles(needles=5, keys=4)
    with pytest.raises(ValueError, match="4 needles and their questions take 16 tokens"):
        Needles().sample(2, 15, generator())
    with pytest.raises(ValueError, match="block <= distance < length"):
        list(Needles().blocks(2, 64, 64, 16, generator()))
    with pytest.raises(ValueError, match="block=4; 4 needles take 8 tokens"):
        list(Needles().blocks(2, 64, 32, 4, generator()))
    with pytest.raises(ValueError, match="the memory diverged"):
        Needles().recall(torch.full((2, 20, 16), float("nan")), Needles().sample(2, 20, generator()))
