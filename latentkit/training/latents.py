"""Supervision without labels: a network predicts its own latents, level by level or all at once (lab 09)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from latentkit.models import LatentPredictor, LatentTeacher
from latentkit.training.supervision import Batch, Carry, Loss


@dataclass(frozen=True)
class PredictCousins:
    """One stage of a `LatentPredictor`: the codes of one level, those below it being done.

        loss = cross-entropy of the cousins - spread (1 - t) H(mean code),     beta = 1 + 3 t

    t goes from 0 to 1 over the stage: at first the entropy H keeps every code in use and the codes are soft, at the end
    neither. `live_codes`, exp of the entropy, is noted beside the cross-entropy.

    Attributes:
        level: 1 to L - 1.
        steps: of the stage, for t.
        spread: weight of the entropy.
    """

    level: int
    steps: int
    spread: float = 0.3

    def __call__(self, model: LatentPredictor, batch: Batch, generator: torch.Generator, carry: Carry) -> Loss:
        """The loss of this step; the carry counts them."""
        done = carry.get("done", torch.zeros(()))
        t = float(done) / self.steps
        cross_entropy, use = model.cousin_loss(batch.tokens, self.level, beta=1 + 3 * t)
        entropy = -(use * use.clamp_min(1e-9).log()).sum()
        noted: dict[str, Tensor] = {"cross_entropy": cross_entropy.detach(), "live_codes": entropy.detach().exp()}
        return Loss(cross_entropy - self.spread * (1 - t) * entropy, {"done": done + 1}, noted)


@dataclass(frozen=True)
class TeacherLatents:
    """All levels of a `LatentTeacher` at once; its teacher follows the student first.

    The spread of the teacher's latents is noted by level, as `spread_1`, `spread_2`, ...: a falling loss with a falling
    spread is collapse.

    Attributes:
        decay: of the teacher's moving average.
    """

    decay: float = 0.99

    def __call__(self, model: LatentTeacher, batch: Batch, generator: torch.Generator, carry: Carry) -> Loss:
        """The loss of this step."""
        model.update_teacher(self.decay)
        loss, spreads = model.teacher_loss(batch.tokens)
        return Loss(loss, carry, {f"spread_{level}": value for level, value in enumerate(spreads, start=1)})
