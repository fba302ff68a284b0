"""Every check of lab 00 passes its reference and fails wrong answers, the classic mistakes first."""

import pytest
import torch

from latentkit.checks import lab00
from latentkit.checks.harness import assert_kills


def _sideways(table, letters):
    state, products = 0, []
    for letter in letters.tolist():
        state = int(table.T.reshape(table.shape)[letter, state])
        products.append(state)
    return products


def _without_memory(table, letters):
    return [int(table[letter, 0]) for letter in letters.tolist()]


def _state_before(table, letters):
    products = lab00.running_product(table, letters)
    return [0, *products[:-1]]


def _final_only(table, letters):
    return lab00.running_product(table, letters)[-1:] * len(letters)


def _in_place(pointer):
    for j in range(len(pointer)):
        pointer[j] = pointer[pointer[j]]
    return pointer


MUTANTS = {
    "running_product": {
        "table read sideways": _sideways,
        "state never updated": _without_memory,
        "state before the letter": _state_before,
        "last product everywhere": _final_only,
    },
    "double": {
        "in place": _in_place,
        "one step only": lambda pointer: pointer.clone(),
        "three steps": lambda pointer: pointer[pointer[pointer]],
        "doubled numbers": lambda pointer: (2 * pointer).clamp(max=len(pointer) - 1),
        "inverse": lambda pointer: torch.argsort(pointer, stable=True),
    },
}


@pytest.mark.parametrize("name", lab00.EXERCISES)
def test_check_tells_right_from_wrong(name):
    assert_kills(lab00.EXERCISES[name], MUTANTS[name])
