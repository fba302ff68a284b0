import math
from collections import Counter

import pytest
import torch

from latentkit.analysis import subgraphs
from latentkit.analysis.subgraphs import OUTCOMES
from latentkit.tasks import Multiplication, NonAdjacentSum, nonadjacent_graph, product_graph
from latentkit.tasks.arithmetic import best_sums


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bits(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor(rows).bool()


# -- outcomes


def test_each_outcome_by_hand():
    """x = 3 -1 2 1: the sums are 3 3 5 5."""
    x, truth = torch.tensor([[3, -1, 2, 1]]), torch.tensor([[3, 3, 5, 5]])
    graph = nonadjacent_graph(4)

    def named(said):
        nodes = (torch.cat([x, torch.tensor([values])], 1) for values in (truth[0].tolist(), said))
        return [OUTCOMES[i] for i in subgraphs.outcomes(graph, *nodes)[0].tolist()][4:]

    assert named([3, 3, 5, 5]) == ["correct"] * 4
    # v2 is wrong of itself; v3 = max(4, 2 + 3) is right all the same; v4 = max(5, 1 + 4).
    assert named([3, 4, 5, 5]) == ["correct", "local", "restoration", "restoration"]
    # v1 wrong; what follows obeys the rule: max(1, -1), max(1, 2 + 1), max(3, 1 + 1).
    assert named([1, 1, 3, 3]) == ["local", "propagation", "propagation", "propagation"]
    # A wrong rule on wrong parents is an error of its own.
    assert named([1, 2, 3, 3]) == ["local", "local", "propagation", "propagation"]


def test_outcomes_do_not_depend_on_the_graph_being_a_chain():
    graph = product_graph(2, 2)
    truth = graph.run(torch.tensor([[7, 2, 6, 4]]))
    said = truth.clone()
    first = graph.answer[0]
    said[0, first] += 1  # the last digit of the product
    code = subgraphs.outcomes(graph, truth, said)[0]
    assert OUTCOMES[code[first]] == "local"
    assert (code != subgraphs.CORRECT).sum() == 1  # nothing is computed from it


# -- what was seen


def test_counts_are_those_of_looking_through_all_rows():
    known = torch.randint(-1, 2, (60, 3), generator=generator())
    x = torch.randint(-1, 2, (40, 5), generator=generator(1))
    counts = subgraphs.subgraph_counts(nonadjacent_graph(5), known, x)[:, 5:]
    rows = known.tolist()
    for row, found in zip(x.tolist(), counts.tolist(), strict=True):
        assert found == [sum(r[: k + 1] == row[: k + 1] for r in rows) if k < 3 else 0 for k in range(5)]


def test_counts_of_a_product_look_at_the_digits_below_a_node():
    graph = product_graph(2, 2)
    known = torch.tensor([[1, 2, 3, 4], [1, 9, 3, 9]])
    counts = subgraphs.subgraph_counts(graph, known, torch.tensor([[1, 5, 3, 4]]))[0]
    assert counts[graph.answer[0]] == 2 and counts[graph.answer[-1]] == 0
    names = {node.name: int(counts[i]) for i, node in enumerate(graph.nodes)}
    assert (names["a0"], names["a1"], names["b1"], names["a0b1"]) == (2, 0, 1, 1)


def test_seen_and_right():
    seen, right = bits([[1], [1], [1], [0], [0]])[:, 0], bits([[1], [1], [0], [1], [0]])[:, 0]
    found = subgraphs.seen_and_right(seen, right)
    assert found == pytest.approx((2 / 3, 1 / 2, 2 / 3, 1 / 2, 2))
    assert math.isnan(subgraphs.seen_and_right(seen, seen).right_if_seen) is False
    assert math.isnan(subgraphs.seen_and_right(seen, torch.ones(5).bool()).seen_if_wrong)


# -- survival


def test_survival_and_hazard_by_hand():
    right = bits([[1, 1, 1], [1, 0, 1], [1, 0, 0], [0, 1, 1]])
    assert subgraphs.survival(right).tolist() == [0.75, 0.25, 0.25]
    assert subgraphs.hazard(right).tolist() == pytest.approx([0.25, 2 / 3, 0.0])
    assert subgraphs.constant_hazard(right) == pytest.approx(3 / 8)  # 4 + 3 + 1 steps at risk, three first mistakes


def test_the_hazard_ends_where_nobody_is_left():
    hazard = subgraphs.hazard(bits([[0, 1], [0, 1]])).tolist()
    assert hazard[0] == 1 and math.isnan(hazard[1])


def test_coins_of_one_chance_are_recognised():
    right = torch.rand(4000, 12, generator=generator()) > 0.05
    eps = subgraphs.constant_hazard(right)
    assert eps == pytest.approx(0.05, abs=0.005)
    fitted = (1 - eps) ** torch.arange(1, 13)
    assert (subgraphs.survival(right) - fitted).abs().max() < 0.02


def test_recovery_is_that_of_a_chain():
    eps, c, states = 0.2, 0.3, [torch.ones(20_000).bool()]
    coins = torch.rand(30, 20_000, generator=generator())
    for coin in coins:
        states.append(torch.where(states[-1], coin > eps, coin < c))
    right = torch.stack(states, 1)
    found = subgraphs.recovery(right)
    assert found == pytest.approx((eps, c, c / (c + eps)), abs=0.01)
    assert float(right[:, -1].float().mean()) == pytest.approx(found.limit, abs=0.01)
    assert math.isnan(subgraphs.recovery(torch.ones(3, 4).bool()).c)


# -- information


def test_information_of_all_two_digit_products():
    pairs = torch.cartesian_prod(torch.arange(100), torch.arange(100))
    product = pairs.prod(1)
    last, ends = product % 10, pairs % 10
    assert subgraphs.relative_information(ends, last) == pytest.approx(1)
    one = subgraphs.relative_information(ends[:, :1], last)
    # By the definition: H(Y) - H(Y | X), over X.
    counts = Counter((a * b) % 10 for a in range(10) for b in range(10))

    def entropy(numbers):
        return -sum(n / sum(numbers) * math.log2(n / sum(numbers)) for n in numbers)

    h = entropy(counts.values())
    given = sum(entropy(Counter(a * b % 10 for b in range(10)).values()) for a in range(10)) / 10
    assert one == pytest.approx((h - given) / h)
    tens = pairs[:, :1] // 10
    assert subgraphs.relative_information(tens, last) == pytest.approx(0, abs=1e-9)
    assert math.isnan(subgraphs.relative_information(tens, torch.zeros(10_000, dtype=torch.long)))


# -- what a model says


def test_what_is_written_is_read_again():
    """A scratchpad that follows the rule from what it reads: an error planted early is carried on."""
    task = NonAdjacentSum("interleaved")
    x = torch.tensor([[2, 1, 3, 2], [-1, 0, 1, 2]])

    def run(tokens):
        numbers = tokens[:, ::2] - 3
        sums = tokens[:, 1::2] - task.first_answer
        one = sums[:, -1] if sums.shape[1] > 0 else torch.zeros(2, dtype=torch.long)
        two = sums[:, -2] if sums.shape[1] > 1 else torch.zeros(2, dtype=torch.long)
        answer = torch.maximum(one, numbers[:, -1] + two).clamp(min=0)
        if numbers.shape[1] == error_at:
            answer = answer + 1
        return torch.nn.functional.one_hot(answer, task.num_classes)[:, None].float()

    error_at = None
    assert torch.equal(subgraphs.best_sums_of(run, task, x), best_sums(x))
    error_at = 2
    said = subgraphs.best_sums_of(run, task, x)
    graph, truth = nonadjacent_graph(4), best_sums(x)
    code = subgraphs.outcomes(graph, torch.cat([x, truth], 1), torch.cat([x, said], 1))[:, 4:]
    assert code[:, 1].tolist() == [subgraphs.LOCAL] * 2
    assert not bool((code[:, 2:] == subgraphs.LOCAL).any())


def test_without_a_scratchpad_there_is_one_pass():
    task, calls = NonAdjacentSum(), []

    def run(tokens):
        calls.append(tokens.shape)
        return torch.nn.functional.one_hot(best_sums(tokens - 3), task.num_classes).float()

    x = torch.tensor([[2, 1, 3, 2]])
    assert torch.equal(subgraphs.best_sums_of(run, task, x), best_sums(x))
    assert calls == [(1, 4)]


def test_a_product_is_written_digit_by_digit():
    task = Multiplication()
    pairs = torch.tensor([[27, 46]])
    answer, read = [1, 2, 4, 2], []

    def run(tokens):
        read.append("".join(task.token_names[t] for t in tokens[0].tolist()))
        return torch.nn.functional.one_hot(torch.tensor([[answer[len(read) - 1]]]), 10).float()

    assert subgraphs.write(run, task.pieces(pairs, 2), task.first_answer).tolist() == [answer]
    assert read == ["27×46=", "27×46=1", "27×46=12", "27×46=124"]


def test_bad_input_is_refused(learners_view):
    graph, row = nonadjacent_graph(2), torch.tensor([[1, 2, 1, 2]])
    with pytest.raises(ValueError, match="must be alike"):
        subgraphs.outcomes(graph, row, row[:, :3])
    with pytest.raises(ValueError, match="inputs differ between truth and said"):
        subgraphs.outcomes(graph, row, row + 1)
    with pytest.raises(ValueError, match="x has 4 columns; this graph has 2 inputs"):
        subgraphs.subgraph_counts(graph, row, row)
    with pytest.raises(ValueError, match="too many for one 64-bit code"):
        subgraphs.relative_information(torch.randint(9, (5, 30)), torch.arange(5))
