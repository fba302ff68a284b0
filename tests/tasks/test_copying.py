import pytest
import torch

from latentkit.tasks import NO_TARGET, Copying, NgramLookup, Task


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def text(names, row) -> str:
    return "".join("." if i == NO_TARGET else names[i] for i in row)


def test_a_copy_by_hand():
    task = Copying(4)
    batch = task.batch(torch.tensor([[2, 0, 3]]))
    assert text(task.token_names, batch.tokens[0].tolist()) == "$cad|cad"
    assert batch.targets.tolist() == [[NO_TARGET] * 4 + [2, 0, 3, task.end]]
    assert batch.depth.tolist() == [[0, 0, 0, 0, 1, 2, 3, 4]]
    assert task.class_names[task.end] == "."


@pytest.mark.parametrize("task", [Copying(5), NgramLookup(5), NgramLookup(5, "prefix"), NgramLookup(5, twice=True)])
def test_a_task_like_the_others(task):
    assert isinstance(task, Task)
    a, b = (task.sample(3, 14, generator(4)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert 0 <= int(a.tokens.min()) <= int(a.tokens.max()) < task.vocab_size == len(task.token_names)
    asked = a.targets != NO_TARGET
    assert 0 <= int(a.targets[asked].min()) <= int(a.targets[asked].max()) < task.num_classes == len(task.class_names)
    assert torch.equal(a.depth > 0, asked)
    right = torch.nn.functional.one_hot(a.targets.clamp(min=0), task.num_classes).float()
    assert task.score(right, a)[1:].tolist() == [1.0] * int(a.depth.max())
    assert eval(repr(task), {"Copying": Copying, "NgramLookup": NgramLookup}).name == task.name


@pytest.mark.parametrize("key_at", ["suffix", "prefix"])
@pytest.mark.parametrize("twice", [False, True])
def test_an_independent_solver_finds_the_answer(key_at, twice):
    """In text: what follows the key. With a key that stands twice, one of the two places is meant."""
    task = NgramLookup(4, key_at, twice=twice)
    batch = task.sample(200, 13, generator())
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        line = text(task.token_names, tokens)
        first, second = line[1:].split("|")[:2]
        x, key = (first, second[:2]) if key_at == "suffix" else (second, first)
        places = [i for i in range(len(x)) if x.startswith(key, i)]
        assert len(places) == 1 + twice
        answer = "".join(task.class_names[t] for t in targets if t != NO_TARGET)
        assert answer in [x[i + 2 : i + 6] for i in places]
        assert line.endswith(answer[:-1])
        assert targets[-4:] == [task.class_names.index(c) for c in answer]


def test_twice_means_two_answers():
    task = NgramLookup(8, twice=True)
    batch = task.sample(100, 16, generator())
    first = 0
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        x, key = tokens[1:17], tokens[18:20]
        places = [i for i in range(15) if x[i : i + 2] == key]
        assert places[1] - places[0] >= 6
        first += x[places[0] + 2 : places[0] + 6] == targets[-4:]
    assert 25 < first < 75  # neither the first nor the last place is always meant


def test_every_place_is_asked_for():
    task = NgramLookup(16)
    batch = task.sample(400, 8, generator())
    x, key = batch.tokens[:, 1:9], batch.tokens[:, 10:12]
    places = (x.unfold(1, 2, 1) == key[:, None]).all(-1).int().argmax(1)
    assert set(places.tolist()) == {0, 1, 2}


def test_bad_input_is_refused(learners_view):
    with pytest.raises(ValueError, match="letters=1; an alphabet has 2 to 26"):
        Copying(1)
    with pytest.raises(ValueError, match="batch=2, length=0"):
        Copying().sample(2, 0, generator())
    with pytest.raises(ValueError, match=r"letters must be 0\.\.3; found 1\.\.4"):
        Copying(4).batch(torch.tensor([[1, 4]]))
    with pytest.raises(ValueError, match="key_at='middle'; choose 'suffix' or 'prefix'"):
        NgramLookup(4, "middle")
    with pytest.raises(ValueError, match="key=0, answer=4"):
        NgramLookup(4, key=0)
    with pytest.raises(ValueError, match="length=5; need a batch of at least 1 and 6 letters"):
        NgramLookup(4).sample(1, 5, generator())
    with pytest.raises(ValueError, match="and 12 letters: 2 of key and 4 of answer, twice"):
        NgramLookup(4, twice=True).sample(1, 11, generator())


def test_a_key_that_could_hardly_stand_once_is_refused(learners_view):
    """Drawing again until it does would not end: with 2 letters, 40 others must not be the key's."""
    with pytest.raises(ValueError, match=r"length=40: a key of 1 of 2 letters .* at most 10 letters, or take a larger"):
        NgramLookup(2, key=1).sample(1, 40, generator())
    assert NgramLookup(2, key=1).sample(2, 10, generator()).tokens.shape == (2, 1 + 10 + 1 + 1 + 3)
    assert NgramLookup(16).sample(2, 128, generator()).tokens.shape == (2, 1 + 128 + 1 + 2 + 3)


def test_a_lookup_by_hand():
    task = NgramLookup(4, answer=2)
    batch = task.batch(torch.tensor([[0, 1, 2, 3, 0]]), torch.tensor([1]))
    assert text(task.token_names, batch.tokens[0].tolist()) == "$abcda|bcd"
    assert text(task.class_names, batch.targets[0].tolist()) == "........da"


@pytest.mark.parametrize("place", [[2], [-1], [0, 0], []])
def test_places_that_do_not_fit_are_refused(place, learners_view):
    with pytest.raises(ValueError, match="one place a string, from 0 to 1"):
        NgramLookup(4, answer=2).batch(torch.tensor([[0, 1, 2, 3, 0]]), torch.tensor(place, dtype=torch.long))


def test_lookup_refuses_letters_outside_the_alphabet(learners_view):
    with pytest.raises(ValueError, match=r"letters must be 0\.\.3; found 1\.\.4"):
        NgramLookup(4, answer=1).batch(torch.tensor([[1, 2, 4]]), torch.tensor([0]))


def test_pictures_mark_what_is_right():
    task = Copying(4)
    batch = task.batch(torch.tensor([[2, 0, 3]]))
    logits = torch.nn.functional.one_hot(torch.tensor([[0, 0, 0, 0, 2, 1, 3, 4]]), 5).float()
    figure = task.show(batch, logits)
    texts = [t.get_text() for t in figure.axes[0].texts]
    assert texts == ["reads", *"$cad|cad", "should say", *"cad.", "says", *"cbd."]
    assert sum(patch.get_hatch() == "//" for patch in figure.axes[0].patches) == 1
    assert len(task.show(batch).axes[0].texts) == len(texts) - 5
