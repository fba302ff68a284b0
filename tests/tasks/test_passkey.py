import pytest
import torch

from latentkit.tasks import NO_TARGET, Passkey


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize(("block", "digits"), [(16, 3), (8, 3), (4, 1), (12, 2)])
def test_every_sequence_is_read_by_eye(length, block, digits):
    task = Passkey(block, digits)
    batch = task.sample(200, length, generator())
    places = set()
    for row, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        assert len(row) == length * block
        assert row.count(task.key) == row.count(task.question) == 1
        place = row.index(task.key)
        secret = row[place + 1 : place + 1 + digits]
        assert place + digits < block and all(0 <= d < 10 for d in secret)
        assert row.index(task.question) == len(row) - digits - 1 and row[-digits:] == secret
        asked = range(len(row) - digits - 1, len(row) - 1)
        assert [targets[i] for i in asked] == secret
        assert all(t == NO_TARGET for i, t in enumerate(targets) if i not in asked)
        rest = [t for i, t in enumerate(row[: -digits - 1]) if not place <= i <= place + digits]
        assert all(10 <= t < 26 for t in rest)
        places.add(place)
    assert places == set(range(block - (digits + 1) * (2 if length == 1 else 1) + 1))
    assert (batch.depth == length - 1).all()
    assert task.secret(batch).tolist() == [row[-digits:] for row in batch.tokens.tolist()]


def test_the_same_generator_gives_the_same_batch():
    first, again, other = (Passkey().sample(4, 3, generator(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.tokens, other.tokens)


def test_score_counts_the_digits_asked_for_and_nothing_else():
    task = Passkey()
    batch = task.sample(8, 4, generator())
    logits = torch.nn.functional.one_hot(batch.targets.clamp(min=0), 10).float()
    assert task.score(logits, batch)[-1] == 1
    logits[:, -2] = logits[:, -2].roll(1, -1)  # the third digit
    score = task.score(logits, batch)
    assert score.shape == (4,) and score[:3].isnan().all()
    assert score[-1] == pytest.approx(2 / 3)


def test_show_draws_short_and_long_ones():
    task = Passkey()
    for length in (1, 3, 9):
        batch = task.sample(2, length, generator())
        figure = task.show(batch, torch.randn(2, length * 16, 10), example=1)
        words = [text.get_text() for text in figure.axes[0].texts]
        assert f"block {length}" in words and "model" in words and "key" in words


@pytest.mark.parametrize(("block", "digits"), [(7, 3), (16, 0), (3, 1)])
def test_a_block_must_hold_key_and_question(block, digits):
    with pytest.raises(ValueError, match=f"block={block}, digits={digits}"):
        Passkey(block, digits)


@pytest.mark.parametrize(("batch", "length"), [(0, 1), (1, 0)])
def test_bad_sizes_are_refused(batch, length):
    with pytest.raises(ValueError, match=f"batch={batch}, length={length}"):
        Passkey().sample(batch, length, generator())


@pytest.mark.parametrize("length", [1, 3])
def test_a_continued_sequence_holds_filler_the_question_and_the_old_key(length):
    task = Passkey(block=8, digits=2)
    secret = torch.tensor([[1, 2], [0, 9], [7, 7]])
    batch = task.continued(secret, length, generator())
    assert batch.tokens.shape == (3, 8 * length)
    assert ((batch.tokens[:, :-3] >= 10) & (batch.tokens[:, :-3] < 26)).all()
    assert (batch.tokens[:, -3] == task.question).all() and torch.equal(batch.tokens[:, -2:], secret)
    assert torch.equal(batch.targets[:, -3:-1], secret)
    assert (batch.targets[:, :-3] == NO_TARGET).all() and (batch.targets[:, -1] == NO_TARGET).all()
    assert (batch.depth == length - 1).all() and torch.equal(task.secret(batch), secret)


@pytest.mark.parametrize(
    ("secret", "length", "message"),
    [
        ([[1, 2]], 1, r"keys of shape \[1, 2\]; expected \[b, 3\]"),
        ([1, 2, 3], 1, r"keys of shape \[3\]"),
        ([[1, 2, 10]], 1, "keys from 1 to 10; digits are 0 to 9"),
        ([[-1, 2, 3]], 1, "keys from -1 to 3"),
        ([[1, 2, 3]], 0, "length=0 blocks; it must be at least 1"),
    ],
)
def test_what_cannot_go_on_is_refused(learners_view, secret, length, message):
    with pytest.raises(ValueError, match=message):
        Passkey().continued(torch.tensor(secret), length, generator())
