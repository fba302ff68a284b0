import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from latentkit.tasks import WordProblem

GROUPS = {"Z2": 2, "Z3": 3, "Z7": 7, "S3": 6, "A5": 60, "S5": 120}
A, B = 0, 1  # the generators of S3: the swap (12) and the cycle (123)


def permutation(name: str, n: int) -> tuple[int, ...]:
    """What a name in cycle notation stands for: p[i] is where i goes."""
    p = list(range(n))
    for cycle in name.replace("e", "").strip("()").split(")("):
        points = [int(c) - 1 for c in cycle]
        for i, point in enumerate(points):
            p[point] = points[(i + 1) % len(points)]
    return tuple(p)


def words(problem: WordProblem, length: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(problem.num_generators), repeat=length)))


@pytest.mark.parametrize(("group", "order"), GROUPS.items())
def test_the_generators_act_as_a_group_and_reach_all_of_it(group, order):
    problem = WordProblem(group)
    assert problem.table.shape == (2, order)
    assert problem.vocab_size == 3
    assert problem.num_classes == order
    for row in problem.table.tolist():
        assert sorted(row) == list(range(order))  # g s is again an element, and g can be undone
    reached, frontier = {0}, [0]
    while frontier:
        frontier = [s for s in set(problem.table[:, frontier].flatten().tolist()) if s not in reached]
        reached |= set(frontier)
    assert reached == set(range(order))
    assert problem.class_names[0] == ("0" if group[0] == "Z" else "e")
    assert len(set(problem.class_names)) == order


@pytest.mark.parametrize("group", ["S3", "A5", "S5"])
def test_the_whole_multiplication_table_is_a_groups(group):
    """From the names alone: closed, associative by construction, with inverses; and the table is that product."""
    problem, n = WordProblem(group), int(group[1])
    elements = [permutation(name, n) for name in problem.class_names]
    assert elements[0] == tuple(range(n))
    known = set(elements)
    assert len(known) == len(elements) == (math.factorial(n) // 2 if group[0] == "A" else math.factorial(n))
    for p in elements:
        assert tuple(sorted(range(n), key=p.__getitem__)) in known
    for g, row in enumerate(problem.table.tolist()):
        letter = permutation(problem.token_names[g], n)
        for s, product in enumerate(row):
            assert elements[product] == tuple(letter[elements[s][i]] for i in range(n))


def test_a5_is_the_even_permutations():
    def sign(p):
        return math.prod((p[j] - p[i]) // abs(p[j] - p[i]) for i, j in itertools.combinations(range(5), 2))

    names = WordProblem("A5").class_names
    assert all(sign(permutation(name, 5)) == 1 for name in names)
    assert sum(sign(permutation(name, 5)) == 1 for name in WordProblem("S5").class_names) == 60


def test_s3_by_hand():
    """First (12), then (123): 1 goes to 2 and on to 3, 2 to 1 and on to 2, 3 stays and goes to 1: (13)."""
    problem = WordProblem("S3")
    assert problem.token_names == ["(12)", "(123)", "⊢"]

    def names(*letters: int) -> list[str]:
        return [problem.class_names[s] for s in problem.batch(torch.tensor([letters])).targets[0]]

    assert names(A, B) == ["e", "(12)", "(13)"]
    assert names(B, A) == ["e", "(123)", "(23)"]
    assert names(A, A, B, B, B) == ["e", "(12)", "e", "(123)", "(132)", "e"]


def test_parity_counts_ones():
    problem = WordProblem("Z2")
    letters = words(problem, 6)
    assert torch.equal(problem.batch(letters).targets[:, 1:], letters.cumsum(1) % 2)


def test_zn_counts_modulo_n():
    letters = torch.randint(2, (20, 30), generator=torch.Generator().manual_seed(0))
    assert torch.equal(WordProblem("Z5").batch(letters).targets[:, 1:], letters.cumsum(1) % 5)


@pytest.mark.parametrize("group", ["S3", "A5", "S5"])
def test_targets_agree_with_matrices(group):
    """An independent algorithm: products of permutation matrices, newest letter on the left."""
    problem, n = WordProblem(group), int(group[1])

    def matrix(name: str) -> torch.Tensor:
        m = torch.zeros(n, n, dtype=torch.long)
        for i, image in enumerate(permutation(name, n)):
            m[image, i] = 1
        return m

    batch = problem.sample(20, 15, torch.Generator().manual_seed(0))
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        product = torch.eye(n, dtype=torch.long)
        for token, target in zip(tokens, targets, strict=True):
            if token != problem.bos:
                product = matrix(problem.token_names[token]) @ product
            assert torch.equal(product, matrix(problem.class_names[target]))


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.sampled_from([*GROUPS]), st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**30))
def test_every_sample_is_a_word_and_its_prefix_products(group, b, length, seed):
    problem = WordProblem(group)
    batch = problem.sample(b, length, torch.Generator().manual_seed(seed))
    assert batch.tokens.shape == (b, length + 1)
    assert (batch.tokens[:, 0] == problem.bos).all()
    assert (batch.tokens[:, 1:] < problem.bos).all()
    assert (batch.targets[:, 0] == 0).all()
    assert batch.depth.tolist() == [list(range(length + 1))] * b
    for t in range(1, length + 1):
        assert torch.equal(batch.targets[:, t], problem.table[batch.tokens[:, t], batch.targets[:, t - 1]])


def test_letters_are_uniform():
    batch = WordProblem("S3").sample(2000, 10, torch.Generator().manual_seed(0))
    assert batch.tokens[:, 1:].float().mean().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("with_logits", [False, True])
def test_show_draws_the_word_and_marks_what_is_wrong(with_logits):
    problem = WordProblem("S3")
    batch = problem.batch(torch.tensor([[A, A], [A, B]]))
    logits = torch.zeros(2, 3, 6)
    logits[..., 0] = 1  # "e" everywhere: right at the start only
    figure = problem.show(batch, logits if with_logits else None, example=1)
    assert isinstance(figure, Figure)
    texts = [text.get_text() for text in figure.axes[0].texts]
    expected = ["letter", "⊢", "(12)", "(123)", "product", "e", "(12)", "(13)"]
    assert texts == expected + (["model", "e", "e", "e"] if with_logits else [])
    hatched = [bool(patch.get_hatch()) for patch in figure.axes[0].patches]
    assert hatched == [False] * 6 + ([False, True, True] if with_logits else [])


@pytest.mark.parametrize("group", ["D4", "Z1", "Z", "s3", "S4", ""])
def test_an_unknown_group_is_refused(group):
    with pytest.raises(ValueError, match=repr(group)):
        WordProblem(group)


def test_bad_sizes_and_letters_are_refused(learners_view):
    problem, generator = WordProblem("S3"), torch.Generator()
    with pytest.raises(ValueError, match="batch=0, length=3"):
        problem.sample(0, 3, generator)
    with pytest.raises(ValueError, match="batch=2, length=0"):
        problem.sample(2, 0, generator)
    with pytest.raises(ValueError, match=r"0\.\.1, the generators of S3; found 0\.\.2"):
        problem.batch(torch.tensor([[0, 2]]))
    with pytest.raises(ValueError, match=r"found -1\.\.1"):
        problem.batch(torch.tensor([[-1, 1]]))
