"""What a self-check is made of: an exercise, a failure that says what differs, and inputs that give mistakes away.

A check is a function of the learner's answer. It calls the answer on several random shapes, compares the result with an
independent expectation and raises `CheckFailed`. An exception inside the learner's own code is not caught: its
traceback ends in the line to mend, which says more than any message of ours. So a planted wrong answer must fail as an
answer, by `CheckFailed`; one that merely crashes shows nothing about the check, and `assert_kills` refuses it.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class CheckFailed(AssertionError):
    """The answer ran, and its result is wrong; the message gives what was expected and what came."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the message alone, for the lines of the check are no help to the learner."""
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True)
class Exercise:
    """One exercise: the answer that stands in for an unsolved one, and the check that any answer must pass."""

    reference: Callable[..., Any]
    check: Callable[[Callable[..., Any]], None]


def rng(seed: int = 0) -> torch.Generator:
    """A CPU generator at `seed`; check inputs come from one, so that the learner's own random state is left alone."""
    return torch.Generator().manual_seed(seed)


def shapes(dims: int, *, count: int = 3, low: int = 2, high: int = 9, seed: int = 0) -> Iterator[tuple[int, ...]]:
    """Yields `count` shapes of `dims` unequal sizes in [low, high], then one in which a size is 1.

    Unequal sizes show a transposed or wrongly broadcast axis; a size of 1 shows a stray `squeeze`.
    """
    generator = rng(seed)
    for index in range(count + 1):
        sizes = (low + torch.randperm(high - low + 1, generator=generator)[:dims]).tolist()
        if index == count:
            sizes[int(torch.randint(dims, (), generator=generator))] = 1
        yield tuple(sizes)


def compare(
    expected: Any,
    got: Any,
    *,
    name: str = "result",
    inputs: Mapping[str, Any] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    """Passes where `got` equals `expected`: floats within `atol + rtol * |expected|`, all else exactly.

    Tensors, numbers, booleans, strings, and lists, tuples, named tuples and dictionaries of these. `inputs` (name to
    value) are described at the end of the message, so that the learner can repeat the call.

    Raises:
        CheckFailed: with the type, shape or dtype that differs, else expected and got at the first differing index.
    """
    difference = _difference(expected, got, name, rtol, atol)
    if difference and inputs:
        difference += "\nCalled with " + ", ".join(f"{key} = {_describe(value)}" for key, value in inputs.items()) + "."
    if difference:
        raise CheckFailed(difference)


def assert_kills(exercise: Exercise, mutants: Mapping[str, Callable[..., Any]]) -> None:
    """For tests: the check passes the reference and fails each of at least three planted wrong answers.

    Raises:
        AssertionError: too few mutants, one that passes, or one that crashes where a wrong result was planted.
    """
    assert len(mutants) >= 3, f"{len(mutants)} mutants: plant at least three, one of them the classic mistake"
    exercise.check(exercise.reference)
    for name, mutant in mutants.items():
        try:
            exercise.check(mutant)
        except CheckFailed:
            continue
        except Exception as error:
            raise AssertionError(f"mutant {name!r} crashes instead of giving a wrong answer: {error!r}") from error
        raise AssertionError(f"mutant {name!r} passes the check")


def _difference(expected: Any, got: Any, name: str, rtol: float, atol: float) -> str | None:
    """What differs first, in a sentence; None where nothing does."""
    if got is None and expected is not None:
        return f"{name} is None. Is a `return` missing?"
    if isinstance(expected, Tensor):
        return _tensor_difference(expected, got, name, rtol, atol)
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        if expected.keys() != got.keys():
            return f"{name}: expected the keys {sorted(expected)}, got {sorted(got)}."
        parts = [(f"{name}[{key!r}]", expected[key], got[key]) for key in expected]
        return _first_difference(parts, rtol, atol)
    if isinstance(expected, list | tuple):
        fields = getattr(expected, "_fields", None)
        if not isinstance(got, list | tuple) or (fields and getattr(got, "_fields", None) != fields):
            return f"{name}: expected {type(expected).__name__}, got {_describe(got)}."
        if len(expected) != len(got):
            return f"{name}: expected {len(expected)} items, got {len(got)}."
        labels = [f"{name}.{field}" for field in fields] if fields else [f"{name}[{i}]" for i in range(len(expected))]
        return _first_difference(list(zip(labels, expected, got, strict=True)), rtol, atol)
    if isinstance(expected, float) and isinstance(got, float | int) and not isinstance(got, bool):
        close = math.isclose(expected, got, rel_tol=rtol, abs_tol=atol) or (math.isnan(expected) and math.isnan(got))
        return None if close else f"{name}: expected {_number(expected)}, got {_number(got)}."
    if type(expected) is not type(got):
        return f"{name}: expected {type(expected).__name__}, got {_describe(got)}."
    return None if expected == got else f"{name}: expected {expected!r}, got {got!r}."


def _first_difference(parts: list[tuple[str, Any, Any]], rtol: float, atol: float) -> str | None:
    found = (_difference(expected, got, label, rtol, atol) for label, expected, got in parts)
    return next((difference for difference in found if difference), None)


def _tensor_difference(expected: Tensor, got: Any, name: str, rtol: float, atol: float) -> str | None:
    if not isinstance(got, Tensor):
        return f"{name}: expected a tensor of shape {list(expected.shape)}, got {_describe(got)}."
    if expected.shape != got.shape:
        return f"{name}: expected shape {list(expected.shape)}, got {list(got.shape)}."
    if expected.dtype != got.dtype:
        return f"{name}: expected dtype {_dtype(expected)}, got {_dtype(got)}."
    expected, got = expected.detach().cpu(), got.detach().cpu()
    inexact = expected.is_floating_point() or expected.is_complex()
    wrong = ~torch.isclose(got, expected, rtol=rtol, atol=atol, equal_nan=True) if inexact else got != expected
    if not wrong.any():
        return None
    index = tuple(wrong.nonzero()[0].tolist())
    place = f"{name}[{', '.join(map(str, index))}]" if index else name
    message = f"{place}: expected {_number(expected[index].item())}, got {_number(got[index].item())}."
    if index:
        message += f" {int(wrong.sum())} of {wrong.numel()} values differ"
        gaps = (got[wrong] - expected[wrong]).abs() if expected.dtype != torch.bool else torch.empty(0)
        gaps = gaps[torch.isfinite(gaps)]
        message += f", by {_number(gaps.max().item())} at most." if gaps.numel() else "."
    return message


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _describe(value: Any) -> str:
    """A value in a few words: a tensor by dtype and shape, small things by their repr, the rest by type."""
    if isinstance(value, Tensor):
        small = value.numel() <= 12 and not value.is_floating_point()
        return str(value.tolist()) if small else f"{_dtype(value)} {list(value.shape)}"
    text = repr(value)
    return text if len(text) <= 40 else f"a {type(value).__name__}"
