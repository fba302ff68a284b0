import itertools

import pytest
import torch

from latentkit.tasks import NO_TARGET, RandomHierarchy
from latentkit.tasks.hierarchy import tuple_ids

SIZES = [(8, 4, 2, 4), (3, 2, 3, 2), (2, 1, 2, 3), (4, 4, 2, 2), (5, 3, 2, 1)]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def written_out(task, level, symbol):
    """Every sentence below a symbol, by recursion over the rules."""
    if level == 0:
        return {(symbol,)}
    found = set()
    for rule in task.rules[level - 1][symbol].tolist():
        parts = [written_out(task, level - 1, child) for child in rule]
        found |= {sum(choice, ()) for choice in itertools.product(*parts)}
    return found


@pytest.mark.parametrize("sizes", SIZES)
def test_no_tuple_has_two_owners(sizes):
    task = RandomHierarchy(*sizes, seed=3)
    v, m, s, L = sizes
    assert len(task.rules) == len(task.owner) == L
    for rules, owner in zip(task.rules, task.owner, strict=True):
        tuples = [tuple(rule) for rule in rules.flatten(0, 1).tolist()]
        assert len(set(tuples)) == v * m
        for symbol in range(v):
            for rule in rules[symbol]:
                assert owner[tuple_ids(rule[None], v, s)[0, 0]] == symbol
        assert int((owner >= 0).sum()) == v * m


@pytest.mark.parametrize("sizes", SIZES)
def test_every_latent_is_returned_and_found_again(sizes):
    task = RandomHierarchy(*sizes, seed=1)
    v, _, s, L = sizes
    levels = task.draw(50, rng())
    assert [list(level.shape) for level in levels] == [[50, s ** (L - level)] for level in range(L + 1)]
    assert all(int(level.min()) >= 0 and int(level.max()) < v for level in levels)
    for level, (below, above) in enumerate(itertools.pairwise(levels)):
        rules = [{tuple(rule) for rule in symbol} for symbol in task.rules[level].tolist()]
        for row, symbols in zip(below.tolist(), above.tolist(), strict=True):
            for place, symbol in enumerate(symbols):
                assert tuple(row[place * s : place * s + s]) in rules[symbol]
    assert all(torch.equal(a, b) for a, b in zip(task.parse(levels[0]), levels, strict=True))


def test_every_sentence_has_one_root():
    """All sentences of a small grammar, by recursion: no two roots share one, and each parses to its own."""
    task = RandomHierarchy(3, 2, 2, 2, seed=5)
    by_root = [written_out(task, 2, root) for root in range(3)]
    assert [len(sentences) for sentences in by_root] == [2**3] * 3
    assert len(set.union(*by_root)) == 24
    for root, sentences in enumerate(by_root):
        assert (task.parse(torch.tensor(sorted(sentences)))[-1] == root).all()
    drawn = {tuple(row) for row in task.draw(2000, rng())[0].tolist()}
    assert drawn == set.union(*by_root)


def test_symbols_and_synonyms_are_equally_likely():
    task = RandomHierarchy(4, 3, 2, 2)
    levels = task.draw(40_000, rng())
    assert torch.bincount(levels[-1].flatten()).tolist() == pytest.approx([10_000] * 4, rel=0.05)
    used = torch.bincount(tuple_ids(levels[1], 4, 2).flatten(), minlength=16)
    assert used[used > 0].tolist() == pytest.approx([40_000 / 12] * 12, rel=0.08)


def test_the_batch_asks_for_the_root_at_the_last_token():
    task = RandomHierarchy(L=3)
    batch = task.sample(6, 8, rng(4))
    assert (batch.targets[:, :-1] == NO_TARGET).all()
    assert torch.equal(batch.targets[:, -1:], task.parse(batch.tokens)[-1])
    assert batch.depth[0].tolist() == [0] * 7 + [3]
    logits = torch.nn.functional.one_hot(batch.targets.clamp(min=0), 8).float()
    assert task.score(logits, batch)[3] == 1
    assert task.score(-logits, batch)[3] == 0


def test_seeds_decide_everything():
    one, same, other = (RandomHierarchy(seed=seed) for seed in (2, 2, 3))
    assert all(torch.equal(a, b) for a, b in zip(one.rules, same.rules, strict=True))
    assert not torch.equal(one.rules[0], other.rules[0])
    assert torch.equal(one.sample(5, 8, rng(1)).tokens, same.sample(5, 8, rng(1)).tokens)
    assert not torch.equal(one.sample(5, 8, rng(1)).tokens, one.sample(5, 8, rng(2)).tokens)
    moved = RandomHierarchy(4, 2, 2, 2, seed=0, examples=9).for_seed(3)
    assert repr(moved) == "RandomHierarchy(4, 2, 2, 2, seed=3, examples=9)"


def test_a_finite_sample_is_drawn_from():
    task = RandomHierarchy(L=3, examples=7, seed=1)
    assert len(task.finite[0]) == 7
    known = {tuple(row) for row in task.finite[0].tolist()}
    batch = task.sample(200, 8, rng())
    assert {tuple(row) for row in batch.tokens.tolist()} == known
    assert torch.equal(batch.targets[:, -1:], task.parse(batch.tokens)[-1])
    again = RandomHierarchy(L=3, examples=7, seed=1)
    assert torch.equal(again.finite[0], task.finite[0])
    with pytest.raises(ValueError, match="for a finite sample give it `examples`"):
        _ = RandomHierarchy().finite


def test_names_and_picture():
    task = RandomHierarchy(L=3)
    assert task.names(0)[:2] == ["a", "b"]
    assert task.names(2)[:2] == ["A₂", "B₂"]
    batch = task.sample(2, 8, rng())
    for logits in (None, torch.zeros(2, 8, 8)):
        texts = [text.get_text() for text in task.show(batch, logits, example=1).axes[0].texts]
        assert texts.count("tokens") == 1 and len(texts) == 4 + 8 + 4 + 2 + 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((1, 1, 2, 2), "need 2 <= v <= 26"),
        ((8, 4, 1, 2), "s >= 2"),
        ((8, 9, 2, 2), "8 symbols with 9 tuples each, but there are only 64 tuples"),
        ((26, 2, 5, 2), "11,881,376 tuples are more than"),
    ],
)
def test_sizes_without_a_grammar_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        RandomHierarchy(*sizes)


def test_what_is_no_sentence_is_refused(learners_view):
    task = RandomHierarchy(4, 1, 2, 2)
    with pytest.raises(ValueError, match="3 tokens; a sentence has s\\^L = 4"):
        task.parse(torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"tokens must be 0\.\.3; found 0\.\.4"):
        task.parse(torch.tensor([[0, 4, 0, 0]]))
    free = int((task.owner[0] < 0).nonzero()[0])
    with pytest.raises(ValueError, match="sentence 0 is not of this grammar: tuple 0 of level 0 has no owner"):
        task.parse(torch.tensor([[free // 4, free % 4, 0, 0]]))
    with pytest.raises(ValueError, match="length=5; a sentence has s\\^L = 4 tokens"):
        task.sample(1, 5, rng())
    for finite in (task, RandomHierarchy(4, 1, 2, 2, examples=3)):
        with pytest.raises(ValueError, match="batch=0"):
            finite.sample(0, 4, rng())
    with pytest.raises(ValueError, match="examples=0"):
        RandomHierarchy(examples=0)
