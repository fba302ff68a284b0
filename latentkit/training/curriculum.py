"""Batches as a function of the step: which lengths a run sees when."""

from dataclasses import dataclass
from typing import Any, Literal

import torch


@dataclass(frozen=True)
class Curriculum:
    """Lengths drawn uniformly from low..top, where top grows linearly from `low` to `high` over the first `ramp` steps.

    Attributes:
        task: anything with `sample(batch, length, generator)`.
        batch: examples a step.
        low, high: shortest and longest length; equal for a fixed length.
        ramp: steps until the longest length may be drawn; 0 for no curriculum.
    """

    task: Any
    batch: int
    low: int
    high: int
    ramp: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1 or not 1 <= self.low <= self.high or self.ramp < 0:
            raise ValueError(
                f"batch={self.batch}, low={self.low}, high={self.high}, ramp={self.ramp}: "
                "need batch >= 1, 1 <= low <= high, ramp >= 0"
            )

    def __call__(self, step: int, generator: torch.Generator) -> Any:
        """The batch of this step."""
        reached = 1.0 if step >= self.ramp else step / self.ramp
        length = int(torch.randint(self.low, self.top(reached) + 1, (), generator=generator))
        return self.task.sample(self.batch, length, generator)

    def top(self, reached: float) -> int:
        """The longest length, a share `reached` of the way up the ramp."""
        return self.low + int((self.high - self.low) * reached)


@dataclass(frozen=True)
class GeometricCurriculum(Curriculum):
    """As `Curriculum`, but top doubles at equal intervals: low * (high / low)^(step / ramp).

    For what is hard to learn at all and then extends from one length to its double, such as a memory.
    """

    growth: Literal["geometric"] = "geometric"  # a field, so that ledger and checkpoints name it

    def top(self, reached: float) -> int:
        """The longest length, a share `reached` of the way up the ramp."""
        return int(self.low * (self.high / self.low) ** reached + 1e-9)  # (4/1)^(1/2) may come out below 2
