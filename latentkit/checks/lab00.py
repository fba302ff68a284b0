"""Checks of lab 00: the two axes of recurrence, by hand."""

from collections.abc import Callable

import torch
from torch import Tensor

from latentkit.checks.harness import Exercise, compare, rng, shapes


def running_product(table: Tensor, letters: Tensor) -> list[int]:
    """The product after each letter: s_0 = 0, s_t = table[g_t, s_{t-1}]."""
    state, products = 0, []
    for letter in letters.tolist():
        state = int(table[letter, state])
        products.append(state)
    return products


def _check_running_product(answer: Callable) -> None:
    # First as many letters as states, so that a table read sideways is wrong and not just out of range.
    for generators, states, length in ((4, 4, 6), *shapes(3, high=7)):
        generator = rng(states)
        # Columns are permutations that move 0, so that a table read sideways or a skipped first letter shows.
        table = torch.stack([torch.randperm(states, generator=generator) for _ in range(generators)])
        letters = torch.randint(generators, (length,), generator=generator)
        expected, state = [], 0
        for t in range(length):
            state = int(table[letters[t]][state])
            expected.append(state)
        got = answer(table, letters)
        compare(expected, got, name="running_product", inputs={"table": table, "letters": letters})


def double(pointer: Tensor) -> Tensor:
    """Every node's pointer, followed once more from where it points: new[j] = pointer[pointer[j]]."""
    return pointer[pointer]


def _check_double(answer: Callable) -> None:
    # By hand: a chain 4 -> 3 -> 2 -> 1 -> 0 with root 0. Doubling twice goes four steps, not three.
    chain = torch.tensor([0, 0, 1, 2, 3])
    compare(torch.tensor([0, 0, 0, 1, 2]), answer(chain.clone()), name="double(pointer)", inputs={"pointer": chain})
    twice = answer(answer(chain.clone()))
    compare(torch.tensor([0, 0, 0, 0, 0]), twice, name="double(double(pointer))", inputs={"pointer": chain})
    for (nodes,) in shapes(1, low=3, high=12):
        pointer = torch.randint(nodes, (nodes,), generator=rng(nodes))
        before = pointer.clone()
        expected = torch.tensor([int(before[int(before[j])]) for j in range(nodes)])
        compare(expected, answer(pointer), name="double(pointer)", inputs={"pointer": before})
        compare(before, pointer, name="the input after the call (it must not be changed in place): pointer")


EXERCISES = {
    "running_product": Exercise(running_product, _check_running_product),
    "double": Exercise(double, _check_double),
}
