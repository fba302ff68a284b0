"""Computation graphs: what an algorithm computes on the way to its answer, node by node.

Dziri, Lu, Sclar et al. 2023 (arXiv 2305.18654) look at an answer as a graph: nodes are intermediate values, edges say
from what each is computed. `nonadjacent_graph` and `product_graph` are the graphs of the two tasks of
`latentkit.tasks.arithmetic`.

    inputs        numbers that are given
    rule          what a node does with the values of its parents
    depth         longest way from an input: how many steps must follow one another
    width         nodes at the fullest depth; parallelism = nodes per depth
    ancestors     the inputs below a node. In a graph of fixed rules they settle every value of its *full subgraph*

Depth and width follow the paper's use of the words; the exact definitions are ours.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

Rule = Callable[..., Tensor]


@dataclass(frozen=True)
class Node:
    """One value.

    Attributes:
        name: short, for drawings.
        parents: places in the graph's list of nodes, in the order in which `rule` takes them; none for an input.
        rule: from the parents' values, tensors of one shape, to this one's; None for an input.
    """

    name: str
    parents: tuple[int, ...] = ()
    rule: Rule | None = None


@dataclass(frozen=True)
class ComputationGraph:
    """A list of nodes in which parents come before their children.

    Attributes:
        nodes: all of them.
        answer: places of the nodes that make up the answer, in the order in which it is written.

    Raises:
        ValueError: a parent that does not come before its child, a node that has a rule or parents but not both, or an
            answer that is no node.
    """

    nodes: tuple[Node, ...]
    answer: tuple[int, ...]

    def __post_init__(self) -> None:
        for i, node in enumerate(self.nodes):
            if any(not 0 <= p < i for p in node.parents):
                raise ValueError(f"node {i} ({node.name}) has parents {node.parents}; they must come before it")
            if bool(node.parents) != (node.rule is not None):
                raise ValueError(f"node {i} ({node.name}): an input has neither parents nor a rule, any other has both")
        if any(not 0 <= i < len(self.nodes) for i in self.answer):
            raise ValueError(f"answer={self.answer}; there are nodes 0 to {len(self.nodes) - 1}")

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """Places of the inputs."""
        return tuple(i for i, node in enumerate(self.nodes) if node.rule is None)

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """Of every node the longest way from an input; 0 for an input."""
        found: list[int] = []
        for node in self.nodes:
            found.append(1 + max(found[p] for p in node.parents) if node.parents else 0)
        return tuple(found)

    @property
    def depth(self) -> int:
        """Of the deepest node."""
        return max(self.depths)

    @property
    def width(self) -> int:
        """Nodes at the depth that has most of them, inputs aside."""
        return max(Counter(d for d in self.depths if d).values())

    @property
    def parallelism(self) -> float:
        """Nodes, inputs aside, per depth: what could be computed at once, on average."""
        return (len(self.nodes) - len(self.inputs)) / self.depth

    @cached_property
    def ancestors(self) -> tuple[tuple[int, ...], ...]:
        """Of every node the inputs below it, counted as columns of what `run` reads."""
        column = {place: c for c, place in enumerate(self.inputs)}
        found: list[frozenset[int]] = []
        for i, node in enumerate(self.nodes):
            own = () if node.parents else (column[i],)
            found.append(frozenset(own).union(*(found[p] for p in node.parents)))
        return tuple(tuple(sorted(columns)) for columns in found)

    def run(self, inputs: Int[Tensor, "b m"]) -> Int[Tensor, "b nodes"]:
        """The value of every node, from those of the inputs.

        Raises:
            ValueError: another number of inputs.
        """
        if inputs.shape[1] != len(self.inputs):
            raise ValueError(f"{inputs.shape[1]} inputs given; this graph has {len(self.inputs)}")
        given = iter(inputs.T)
        values: list[Tensor] = []
        for node in self.nodes:
            values.append(node.rule(*(values[p] for p in node.parents)) if node.rule else next(given))
        return torch.stack(values, 1)

    def once(self, values: Int[Tensor, "b nodes"]) -> Int[Tensor, "b nodes"]:
        """What every rule makes of the values that its parents have in `values`, right or wrong; inputs stay.

        Raises:
            ValueError: another number of nodes.
        """
        if values.shape[1] != len(self.nodes):
            raise ValueError(f"{values.shape[1]} values given; this graph has {len(self.nodes)} nodes")
        made = [
            node.rule(*(values[:, p] for p in node.parents)) if node.rule else values[:, i]
            for i, node in enumerate(self.nodes)
        ]
        return torch.stack(made, 1)


def nonadjacent_graph(n: int) -> ComputationGraph:
    """The largest sum of non-neighbours: inputs x_1 .. x_n and v_k = max(v_{k-1}, x_k + v_{k-2}, 0) behind them.

    The answer is v_1 .. v_n; node n - 1 + k is v_k, its depth is k.

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"n={n}; at least 1 number is needed")
    nodes = [Node(f"x{k}") for k in range(1, n + 1)]
    for k in range(1, n + 1):
        x, before, last_but_one = k - 1, n + k - 2, n + k - 3
        if k == 1:
            nodes.append(Node("v1", (x,), lambda x: x.clamp(min=0)))
        elif k == 2:
            nodes.append(Node("v2", (x, before), lambda x, one: torch.maximum(x, one).clamp(min=0)))
        else:
            rule: Rule = lambda x, one, two: torch.maximum(one, x + two).clamp(min=0)  # noqa: E731
            nodes.append(Node(f"v{k}", (x, before, last_but_one), rule))
    return ComputationGraph(tuple(nodes), tuple(range(n, 2 * n)))


def product_graph(digits: int, other: int) -> ComputationGraph:
    """Long multiplication as it is taught: each digit of b times a with carries, then column sums with carries.

    Inputs are the digits a_0 .. of the first number, then b_0 .. of the second, the last digit of each first. The
    answer is the digits of the product, the last one first: digits + other of them.

    Raises:
        ValueError: a number without digits.
    """
    if min(digits, other) < 1:
        raise ValueError(f"digits={digits}, other={other}; both numbers need at least 1 digit")
    nodes = [*(Node(f"a{i}") for i in range(digits)), *(Node(f"b{j}") for j in range(other))]

    def add(name: str, parents: Sequence[int], rule: Rule) -> int:
        nodes.append(Node(name, tuple(parents), rule))
        return len(nodes) - 1

    columns: list[list[int]] = [[] for _ in range(digits + other)]
    for j in range(other):
        carry: list[int] = []
        for i in range(digits):
            times = add(f"a{i}b{j}", [i, digits + j, *carry], lambda a, b, *c: a * b + sum(c))
            columns[i + j].append(add(f"r{j}.{i}", [times], lambda t: t % 10))
            carry = [add(f"c{j}.{i}", [times], lambda t: t // 10)]
        columns[digits + j] += carry  # the row's first digit
    answer: list[int] = []
    over: list[int] = []
    for k, column in enumerate(columns):
        terms = column + over
        if len(terms) == 1:  # nothing to add
            answer.append(terms[0])
            over = []
            continue
        total = add(f"s{k}", terms, lambda *t: torch.stack(t).sum(0))
        answer.append(add(f"y{k}", [total], lambda s: s % 10))
        over = [add(f"o{k}", [total], lambda s: s // 10)] if k < digits + other - 1 else []
    return ComputationGraph(tuple(nodes), tuple(answer))
