"""Optimisers by name: fused AdamW (the default), AdamATan2 in plain torch, and torch's own Muon."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

OptimiserName = Literal["adamw", "adam-atan2", "muon"]


class AdamATan2(torch.optim.Optimizer):
    """Adam with atan2 in place of the division, as HRM, TRM and EqR are trained (Everett et al. 2024, 2407.05872).

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        p <- (1 - lr wd) p - lr / (1 - b1^t) atan2(m, sqrt(v / (1 - b2^t)))

    There is no epsilon. The bias correction of m stands outside the atan2 and there is no factor 4 / pi, as in the
    compiled extension that the papers' code calls. The package `adam-atan2-pytorch` differs in both.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.1,
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            (b1, b2), lr = group["betas"], group["lr"]
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads = [p.grad for p in params]
            for p in params:
                if not self.state[p]:
                    # The step count is read by Python, so it stays on the CPU.
                    self.state[p] = {
                        "step": torch.zeros(()),
                        "exp_avg": torch.zeros_like(p),
                        "exp_avg_sq": torch.zeros_like(p),
                    }
            states = [self.state[p] for p in params]
            m, v = [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states]
            for s in states:
                s["step"] += 1
            t = int(states[0]["step"])
            torch._foreach_lerp_(m, grads, 1 - b1)
            torch._foreach_mul_(v, b2)
            torch._foreach_addcmul_(v, grads, grads, 1 - b2)
            scale = torch._foreach_sqrt(torch._foreach_div(v, 1 - b2**t))
            torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
            torch._foreach_add_(
                params, [mi.atan2(si) for mi, si in zip(m, scale, strict=True)], alpha=-lr / (1 - b1**t)
            )
        return loss


def make_optimisers(
    name: OptimiserName,
    model: nn.Module,
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> list[torch.optim.Optimizer]:
    """What trains `model`: one optimiser, or for "muon" two (matrices, and the rest).

    Raises:
        ValueError: an unknown name, or Muon where this torch has none, or the model no matrices.
    """
    parameters = list(model.parameters())
    if name == "adam-atan2":
        return [AdamATan2(parameters, learning_rate, betas, weight_decay)]
    # fused: one kernel for the whole update. The plain loop over tensors costs as much as a small forward pass.
    fused = all(p.device.type != "mps" for p in parameters)

    def adamw(group: Sequence[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(group, learning_rate, betas, weight_decay=weight_decay, fused=fused)

    if name == "adamw":
        return [adamw(parameters)]
    if name != "muon":
        raise ValueError(f"optimiser={name!r}; choose 'adamw', 'adam-atan2' or 'muon'")
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(f"torch {torch.__version__} has no Muon (2.9 has); use optimiser='adamw' or a newer torch")
    # Muon orthogonalises its update, which says nothing of a lookup table or of a matrix of a few rows.
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices = [p for p in parameters if p.ndim == 2 and min(p.shape) > 4 and id(p) not in tables]
    if not matrices:
        raise ValueError("this model has no matrix of more than 4 rows and columns for Muon; use optimiser='adamw'")
    rest = [p for p in parameters if not any(p is q for q in matrices)]
    muon = torch.optim.Muon(matrices, learning_rate, weight_decay, momentum=betas[0], adjust_lr_fn="match_rms_adamw")
    return [muon, *([adamw(rest)] if rest else [])]
