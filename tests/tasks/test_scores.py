import pytest
import torch

from latentkit.tasks import Batch, PointerChasing, Task, WordProblem, accuracy_by_depth, solved_depth

NAN = float("nan")


def batch(targets, depth) -> Batch:
    targets = torch.tensor(targets)
    return Batch(torch.zeros_like(targets), targets, torch.tensor(depth))


def logits_for(predictions, classes: int = 3) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(predictions), classes).float()


def test_accuracy_by_depth_by_hand():
    right = batch([[0, 1, 2], [2, 1, 0]], [[0, 1, 1], [3, 1, 0]])
    score = accuracy_by_depth(logits_for([[0, 1, 0], [2, 0, 1]]), right)
    assert score.tolist() == pytest.approx([0.5, 1 / 3, NAN, 1.0], nan_ok=True)


def test_accuracy_refuses_logits_of_another_batch(learners_view):
    with pytest.raises(ValueError, match=r"\[1, 3\].*\[2, 3\]"):
        accuracy_by_depth(logits_for([[0, 1, 0]]), batch([[0, 1, 2], [2, 1, 0]], [[0, 1, 2], [0, 1, 2]]))


@pytest.mark.parametrize(
    ("accuracy", "solved"),
    [
        ([1, 1, 1, 1], 3),
        ([0, 1, 1, 1], 3),  # depth 0 asks for no step
        ([1, 0.98, 1, 1], 0),
        ([1, 1, 0.989, 1], 1),
        ([1, 0.99, 0.99], 2),
        ([1], 0),
        ([1, NAN, 1, 0], 2),
        ([1, 1, NAN, 1, 0], 3),
        ([1, 1, NAN, NAN, 0.5], 1),  # nothing was asked at depths 2 and 3: they are not solved
        ([1, NAN, NAN], 0),
    ],
)
def test_solved_depth_by_hand(accuracy, solved):
    assert solved_depth(torch.tensor(accuracy, dtype=torch.float32)) == solved


def test_solved_depth_takes_another_threshold():
    curve = torch.tensor([1, 0.9, 0.6, 0.4])
    assert [solved_depth(curve, threshold) for threshold in (0.95, 0.9, 0.5, 0.0)] == [0, 1, 2, 3]


@pytest.mark.parametrize("task", [WordProblem("S3"), PointerChasing(8, 2)], ids=lambda t: t.name)
def test_a_batch_is_a_function_of_the_generator(task):
    length = task.nodes if isinstance(task, PointerChasing) else 7
    one, same, other = (task.sample(5, length, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(map(torch.equal, one, same))
    assert not torch.equal(one.tokens, other.tokens)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    task.sample(5, length, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("task", [WordProblem("Z2"), WordProblem("A5"), PointerChasing(30, 3)], ids=lambda t: t.name)
def test_what_is_sampled_fits_what_is_declared(task):
    assert isinstance(task, Task)
    sample = task.sample(50, getattr(task, "nodes", 30), torch.Generator().manual_seed(0))
    assert sample.tokens.shape == sample.targets.shape == sample.depth.shape
    assert sample.tokens.unique().tolist() == list(range(task.vocab_size))
    assert sample.targets.unique().tolist() == list(range(task.num_classes))
    assert len(set(task.token_names)) == task.vocab_size
    assert len(set(task.class_names)) == task.num_classes


@pytest.mark.parametrize("task", [WordProblem("S3"), PointerChasing(12, 2)], ids=lambda t: t.name)
def test_a_perfect_answer_scores_one_everywhere(task):
    sample = task.sample(64, getattr(task, "nodes", 9), torch.Generator().manual_seed(0))
    perfect = torch.nn.functional.one_hot(sample.targets, task.num_classes).float()
    assert (task.score(perfect, sample) == 1).all()
    assert (task.score(-perfect, sample) == 0).all()
