import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from latentkit.tasks import PointerChasing


def draw(nodes=16, chains=2, batch=500, seed=0):
    task = PointerChasing(nodes, chains)
    return task, task.sample(batch, nodes, torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.integers(2, 20), st.data(), st.integers(0, 2**30))
def test_targets_and_depths_agree_with_a_walk_to_the_root(nodes, data, seed):
    chains = data.draw(st.integers(2, nodes))
    _, sample = draw(nodes, chains, batch=3, seed=seed)
    for parents, roots, depths in zip(*(field.tolist() for field in sample), strict=True):
        for j in range(nodes):
            node, steps = j, 0
            while parents[node] != node:
                node, steps = parents[node], steps + 1
                assert steps < nodes, "a cycle"
            assert (roots[j], depths[j]) == (node, steps)
        assert sum(parent == j for j, parent in enumerate(parents)) == chains
        children = [p for j, p in enumerate(parents) if p != j]
        assert len(set(children)) == len(children), "a chain does not branch"


def test_names_say_nothing():
    """Every name is a root, a leaf, shallow and deep about equally often."""
    _, sample = draw(nodes=8, batch=4000)
    root_share = (sample.tokens == torch.arange(8)).float().mean(0)
    assert root_share.tolist() == pytest.approx([2 / 8] * 8, abs=0.03)
    mean_depth = sample.depth.float().mean(0)
    assert mean_depth.tolist() == pytest.approx([sample.depth.float().mean().item()] * 8, abs=0.1)
    follows = torch.zeros(8, 8).index_put(
        (torch.arange(8).expand(4000, 8), sample.tokens), torch.ones(()), accumulate=True
    )
    off_diagonal = follows[~torch.eye(8, dtype=torch.bool)] / 4000
    assert off_diagonal.tolist() == pytest.approx([0.75 / 7] * 56, abs=0.03)


@pytest.mark.parametrize("chains", [2, 4])
def test_naming_any_root_is_right_by_chance_only(chains):
    """The fault of trees with one root: who knows the roots, and nothing else, must stay at 1/chains at every depth."""
    task, sample = draw(nodes=16, chains=chains, batch=4000)
    is_root = sample.tokens == torch.arange(16)
    guess = torch.where(is_root, torch.rand(4000, 16, generator=torch.Generator().manual_seed(1)), -1).argmax(1)
    logits = torch.nn.functional.one_hot(guess[:, None].expand(-1, 16), 16).float()
    score = task.score(logits, sample)
    often = torch.bincount(sample.depth.flatten()) > 1500
    assert often.sum() > 4
    assert score[often].tolist() == pytest.approx([1 / chains] * int(often.sum()), abs=0.05)


def test_there_is_something_to_chase():
    _, sample = draw()
    assert (sample.depth.amax(1) >= 7).all()
    assert sample.depth.max() > 10


def test_names_are_letters_and_stay_distinct():
    assert PointerChasing(3).token_names == ["a", "b", "c"]
    names = PointerChasing(60, 2).class_names
    assert names[25:28] == ["z", "a1", "b1"]
    assert len(set(names)) == 60


@pytest.mark.parametrize("with_logits", [False, True])
def test_show_draws_every_node_and_crosses_the_wrong_ones(with_logits):
    task, sample = draw(nodes=6, batch=2)
    answer = sample.targets[1].clone()
    answer[3] = (answer[3] + 1) % 6
    logits = torch.nn.functional.one_hot(answer, 6).float()[None].expand(2, -1, -1)
    figure = task.show(sample, logits if with_logits else None, example=1)
    assert isinstance(figure, Figure)
    texts = [text.get_text() for text in figure.axes[0].texts if text.get_text()]
    assert sorted(texts) == sorted([*task.class_names, *(["✗"] if with_logits else [])])


@pytest.mark.parametrize(("nodes", "chains"), [(16, 1), (16, 0), (3, 4), (1, 1)])
def test_too_few_chains_or_nodes_are_refused(nodes, chains):
    with pytest.raises(ValueError, match=f"chains={chains} with nodes={nodes}; need 2 <= chains"):
        PointerChasing(nodes, chains)


def test_another_length_is_refused():
    task = PointerChasing(8)
    with pytest.raises(ValueError, match=r"batch=2, length=9; .*length 8"):
        task.sample(2, 9, torch.Generator())
    with pytest.raises(ValueError, match="batch=0"):
        task.sample(0, 8, torch.Generator())
