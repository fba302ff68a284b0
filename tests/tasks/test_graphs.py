import itertools
import random

import pytest
import torch

from latentkit.tasks import ComputationGraph, nonadjacent_graph, product_graph
from latentkit.tasks.graphs import Node


def digits(number: int, count: int) -> list[int]:
    """The last one first."""
    return [int(c) for c in reversed(str(number).zfill(count))]


def test_a_graph_by_hand():
    """y = a + b, z = 2 y, w = z + a."""
    graph = ComputationGraph(
        (
            Node("a"),
            Node("b"),
            Node("y", (0, 1), lambda a, b: a + b),
            Node("z", (2,), lambda y: 2 * y),
            Node("w", (3, 0), lambda z, a: z + a),
        ),
        (4,),
    )
    assert graph.inputs == (0, 1)
    assert graph.depths == (0, 0, 1, 2, 3)
    assert (graph.depth, graph.width, graph.parallelism) == (3, 1, 1.0)
    assert graph.ancestors == ((0,), (1,), (0, 1), (0, 1), (0, 1))
    assert graph.run(torch.tensor([[3, 4]])).tolist() == [[3, 4, 7, 14, 17]]
    # every rule once, on what stands there: 3 + 4, 2 * 8, 20 + 3
    assert graph.once(torch.tensor([[3, 4, 8, 20, 1]])).tolist() == [[3, 4, 7, 16, 23]]


def test_the_graph_of_the_sums():
    graph = nonadjacent_graph(5)
    assert [graph.nodes[i].name for i in graph.answer] == ["v1", "v2", "v3", "v4", "v5"]
    assert [graph.depths[i] for i in graph.answer] == [1, 2, 3, 4, 5] == list(range(1, graph.depth + 1))
    assert graph.width == 1 and graph.parallelism == 1.0
    assert [graph.ancestors[i] for i in graph.answer] == [tuple(range(k)) for k in range(1, 6)]
    #      x    3  -1  2  2  -3
    values = graph.run(torch.tensor([[3, -1, 2, 2, -3]]))
    assert values[0, 5:].tolist() == [3, 3, 5, 5, 5]


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 1), (1, 2), (2, 2), (3, 3), (4, 2)])
def test_long_multiplication_multiplies(m, n):
    graph, draw = product_graph(m, n), random.Random(m * 10 + n)
    pairs = [(draw.randrange(10**m), draw.randrange(10**n)) for _ in range(50)]
    pairs += [(10**m - 1, 10**n - 1), (0, 0)]
    values = graph.run(torch.tensor([digits(a, m) + digits(b, n) for a, b in pairs]))
    for row, (a, b) in zip(values, pairs, strict=True):
        assert row[list(graph.answer)].tolist() == digits(a * b, m + n)


def test_a_product_is_deeper_the_more_digits_it_has():
    graphs = [product_graph(k, k) for k in (1, 2, 3, 4)]
    assert [g.depth for g in graphs] == sorted({g.depth for g in graphs})
    assert all(a.parallelism < b.parallelism for a, b in itertools.pairwise(graphs))
    assert graphs[0].depth == 2  # 1 x 1: a product, then its two digits
    two = graphs[1]
    last, first = two.answer[0], two.answer[-1]
    assert two.ancestors[last] == (0, 2)  # the last digit: that of a, that of b
    assert two.ancestors[first] == (0, 1, 2, 3)


def test_what_does_not_fit_is_refused(learners_view):
    with pytest.raises(ValueError, match=r"node 1 \(y\) has parents \(1,\); they must come before it"):
        ComputationGraph((Node("a"), Node("y", (1,), lambda a: a)), (1,))
    with pytest.raises(ValueError, match=r"node 1 \(y\): an input has neither"):
        ComputationGraph((Node("a"), Node("y", (0,))), (1,))
    with pytest.raises(ValueError, match=r"answer=\(3,\); there are nodes 0 to 0"):
        ComputationGraph((Node("a"),), (3,))
    with pytest.raises(ValueError, match="2 inputs given; this graph has 3"):
        nonadjacent_graph(3).run(torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="3 values given; this graph has 6 nodes"):
        nonadjacent_graph(3).once(torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="n=0"):
        nonadjacent_graph(0)
    with pytest.raises(ValueError, match="digits=0, other=2"):
        product_graph(0, 2)
