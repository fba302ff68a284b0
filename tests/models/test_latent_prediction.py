import itertools

import pytest
import torch

from latentkit.models import ClusteringConfig, LatentClustering, LatentPredictor, LatentPredictorConfig
from latentkit.models.latent_prediction import (
    cousin_contexts,
    every_tuple,
    label_contexts,
    tuple_ids,
    weighted_kmeans,
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def hierarchy(sentences, L=3, seed=0):
    """A grammar of 4 symbols with 2 synonyms each, and its sentences: levels 0 to L. Written apart from the task's."""
    generator = rng(seed)
    rules = [torch.randperm(16, generator=generator)[:8].view(4, 2) for _ in range(L)]
    levels = [torch.randint(4, (sentences, 1), generator=generator)]
    for rule in reversed(rules):
        above = levels[0]
        ids = rule[above, torch.randint(2, above.shape, generator=generator)]
        levels.insert(0, torch.stack([ids // 4, ids % 4], -1).flatten(1))
    return levels


def same_partition(codes, truth):
    """Whether codes are the latents under other names."""
    pairs = set(zip(codes.flatten().tolist(), truth.flatten().tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


# -- tuples and contexts


def test_tuples_have_numbers_and_one_hot_rows():
    assert tuple_ids(torch.tensor([[1, 2, 0, 3]]), 4, 2).tolist() == [[6, 3]]
    assert tuple_ids(torch.tensor([[1, 0, 2]]), 3, 3).tolist() == [[11]]
    table = every_tuple(4, 2)
    assert table.shape == (16, 8)
    assert table[6].nonzero().flatten().tolist() == [1, 4 + 2]


def test_contexts_by_hand():
    """Two grandparents of two tuples: (0, 1), (1, 1) | (0, 1), (0, 0), symbols of 2."""
    symbols = torch.tensor([[0, 1, 1, 1, 0, 1, 0, 0]])
    tuples = tuple_ids(symbols, 2, 2)
    rows = cousin_contexts(tuples, symbols, 2, 4, 2)
    # Blocks: in slot 0, the cousin's first and second symbol; in slot 1, likewise.
    assert rows.shape == (4, 8)
    assert rows[1].tolist() == [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]  # slot 0 before (1, 1) and before (0, 0)
    assert rows[3].tolist() == [0.5, 0.5, 0.5, 0.5, 1, 0, 0, 1]  # slot 1 after (0, 1)
    assert rows[2].tolist() == [0.5] * 8  # never seen


@pytest.mark.parametrize(("s", "places"), [(2, 2), (2, 4), (3, 3)])
def test_contexts_count_what_stands_in_the_cousins(s, places):
    generator = rng(s + places)
    v, b, grandparents = 3, 20, 2
    tuples = torch.randint(v**s, (b, grandparents * s), generator=generator)
    said = torch.randint(v, (b, grandparents * s * places), generator=generator)
    counts = torch.zeros(v**s, s, s, places, v)
    for row in range(b):
        for g, a, u, p in itertools.product(range(grandparents), range(s), range(s), range(places)):
            symbol = said[row, ((g * s + u) * places) + p]
            counts[tuples[row, g * s + a], a, u, p, symbol] += 1
    total = counts.sum(-1, keepdim=True)
    shares = torch.where(total > 0, counts / total.clamp(min=1), 1 / v)
    expected = torch.cat([shares[:, a, u].flatten(1) for a in range(s) for u in range(s) if a != u], 1)
    torch.testing.assert_close(cousin_contexts(tuples, said, s, v**s, v), expected.double())


def test_label_contexts_keep_places_apart():
    tuples, label = torch.tensor([[0, 1], [0, 0], [1, 1]]), torch.tensor([1, 0, 1])
    rows = label_contexts(tuples, label, 2, 2)
    assert rows.tolist() == [[0.5, 0.5, 1, 0], [0, 1, 0, 1]]


# -- k-means


def test_kmeans_finds_separate_groups():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]).double()
    truth = torch.arange(3).repeat(20)
    x = centres[truth] + torch.randn(60, 2, generator=rng(), dtype=torch.float64)
    assert same_partition(weighted_kmeans(x, torch.ones(60).double(), 3, rng()), truth)


def test_kmeans_weighs_its_rows():
    """Two clusters for three points: the heavy pair of neighbours is split, or else merged."""
    x = torch.tensor([[0.0], [1.0], [3.0]]).double()
    light = weighted_kmeans(x, torch.tensor([1.0, 1.0, 1.0]).double(), 2, rng())
    heavy = weighted_kmeans(x, torch.tensor([50.0, 50.0, 1.0]).double(), 2, rng())
    assert light[0] == light[1] != light[2]
    assert heavy[0] != heavy[1] == heavy[2]


def test_kmeans_of_fewer_rows_than_clusters():
    x = torch.tensor([[0.0], [0.0], [1.0]]).double()
    codes = weighted_kmeans(x, torch.ones(3).double(), 5, rng())
    assert codes[0] == codes[1] != codes[2]


# -- clustering


@pytest.mark.parametrize("target", ["own", "tokens", "root"])
def test_every_level_is_found(target):
    levels = hierarchy(20_000)
    model = LatentClustering(ClusteringConfig(4, 4, 2, 3, target))
    model.learn(levels[0], rng(), levels[-1][:, 0])
    fresh = [level[:100] for level in hierarchy(200)]
    found = model(fresh[0])
    assert [list(codes.shape) for codes in found] == [[100, 4], [100, 2]]
    assert all(same_partition(codes, truth) for codes, truth in zip(found, fresh[1:-1], strict=True))
    assert int(model.examples) == 20_000


def test_at_two_levels_own_latents_are_the_tokens():
    levels = hierarchy(300, L=2)
    models = [LatentClustering(ClusteringConfig(4, 4, 2, 2, target)) for target in ("own", "tokens")]
    for model in models:
        model.learn(levels[0], rng(3))
    assert torch.equal(models[0].codes, models[1].codes)


def test_learning_anew_forgets():
    model, levels = LatentClustering(ClusteringConfig(4, 4)), hierarchy(2000)
    model.learn(levels[0], rng(1))
    first = model.codes.clone()
    model.learn(hierarchy(2000, seed=5)[0], rng(1))
    assert not torch.equal(model.codes, first)
    model.learn(levels[0], rng(1))
    assert torch.equal(model.codes, first)


def test_bad_input_to_the_clustering(learners_view):
    with pytest.raises(ValueError, match="target='labels'; choose"):
        ClusteringConfig(4, 4, target="labels")
    with pytest.raises(ValueError, match="L=1; there are latents between tokens and root for"):
        ClusteringConfig(4, 4, L=1)
    model = LatentClustering(ClusteringConfig(4, 4, target="root"))
    with pytest.raises(ValueError, match=r"tokens \[3, 7\]; at least one sentence of s\^L = 8 tokens"):
        model.learn(torch.zeros(3, 7, dtype=torch.long), rng())
    with pytest.raises(ValueError, match="needs the label of every sentence"):
        model.learn(torch.zeros(3, 8, dtype=torch.long), rng())
    with pytest.raises(ValueError, match="4"):
        model(torch.full((1, 8), 4))


# -- the network


def small(**options):
    torch.manual_seed(0)
    return LatentPredictor(LatentPredictorConfig(4, 4, 2, 3, codes=5, hidden=8, **options))


@pytest.mark.parametrize("target", ["own", "tokens"])
@pytest.mark.parametrize("level", [1, 2])
def test_the_loss_is_the_cross_entropy_of_the_cousins(target, level):
    model, beta = small(target=target), 1.7
    tokens = hierarchy(6)[0]
    below = tokens if level == 1 else model(tokens)[0]
    K = model.alphabet(level - 1)
    said = below if target == "own" else tokens
    places = said.shape[1] // (below.shape[1] // 2)
    soft = (beta * model.encoders[level - 1](every_tuple(K, 2))).softmax(-1)
    losses, codes = [], []
    for row in range(6):
        ids = tuple_ids(below[row : row + 1], K, 2)[0].tolist()
        for i, tuple_ in enumerate(ids):
            cousin, slot = i ^ 1, i % 2
            codes.append(soft[tuple_])
            for place in range(places):
                scores = model.predictors[level - 1][slot, cousin % 2, place] @ soft[tuple_]
                losses.append(-scores.log_softmax(-1)[said[row, cousin * places + place]])
    loss, use = model.cousin_loss(tokens, level, beta)
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    torch.testing.assert_close(use, torch.stack(codes).mean(0))


def test_a_stage_trains_its_own_level_only():
    model = small()
    model.cousin_loss(hierarchy(4)[0], 2, 1.0)[0].backward()
    assert model.encoders[0][0].weight.grad is None and model.predictors[0].grad is None
    assert model.encoders[1][0].weight.grad is not None and model.predictors[1].grad is not None


def test_codes_are_read_level_by_level():
    model, tokens = small(), hierarchy(4)[0]
    one, two = model(tokens)
    assert torch.equal(model(tokens, up_to=1)[0], one)
    table = model.code_scores(2).argmax(-1)
    assert torch.equal(two, table[tuple_ids(one, 5, 2)])


def test_bad_input_to_the_network(learners_view):
    with pytest.raises(ValueError, match="target='root'; choose 'own' or 'tokens'"):
        LatentPredictorConfig(4, 4, target="root")
    with pytest.raises(ValueError, match="codes=0"):
        LatentPredictorConfig(4, 4, codes=0)
    with pytest.raises(ValueError, match="level=3; codes are learnt for levels 1 to 2"):
        small().cousin_loss(hierarchy(2)[0], 3, 1.0)
