"""Every check of lab 04 passes its reference and fails wrong answers, the classic mistakes first."""

import pytest
import torch
import torch.nn.functional as F

from latentkit.checks import lab04
from latentkit.checks.harness import assert_kills
from latentkit.layers import rms_norm


def _low(z_H, z_L, x):
    return z_L + z_H + x


def _high(z_H, z_L, x):
    return z_H + z_L


def _segment(order=lambda N, T: ("L" * T + "H") * N, low=_low, high=_high):
    def answer(z_H, z_L, x, f_L, f_H, N, T):
        for module in order(N, T):
            if module == "L":
                z_L = f_L(low(z_H, z_L, x))
            else:
                z_H = f_H(high(z_H, z_L, x))
        return z_H, z_L

    return answer


def _old_slow_state(z_H, z_L, x, f_L, f_H, N, T):
    """L reads the H from before the segment in all cycles."""
    start = z_H
    for _ in range(N):
        for _ in range(T):
            z_L = f_L(z_L + start + x)
        z_H = f_H(z_H + z_L)
    return z_H, z_L


def _with_gradient(updates, cut_between=False):
    def answer(z_H, z_L, x, f_L, f_H, N, T):
        schedule = ("L" * T + "H") * N
        for i, module in enumerate(schedule):
            with torch.set_grad_enabled(i >= len(schedule) - updates(N, T)):
                if module == "L":
                    z_L = f_L(z_L + z_H + x)
                else:
                    z_H = f_H(z_H + (z_L.detach() if cut_between else z_L))
        return z_H, z_L

    return answer


def _refill(*, keep=(), take=lambda done, new: new, invert=False, whole=False):
    def answer(carry, fresh):
        done = carry["done"].any().expand_as(carry["done"]) if whole else carry["done"]
        done = ~done if invert else done
        return {
            name: carry[name]
            if name in keep
            else torch.where(done.view(-1, *[1] * (new.ndim - 1)), take(done, new), carry[name])
            for name, new in fresh.items()
        }

    return answer


def _compacted(done, new):
    """The next unused row of the fresh batch, instead of the slot's own."""
    return new[(done.long().cumsum(0) - 1).clamp(min=0)]


def _halting(loss=F.binary_cross_entropy_with_logits, threshold=0.0, least=True, most=True, strictly=False):
    def answer(q, right, count, least_, most_):
        enough = (count > least_ if strictly else count >= least_) if least else torch.ones_like(right)
        stop = (q > threshold) & enough
        return loss(q, right.to(q.dtype)), stop | (count >= most_) if most else stop

    return answer


def _supervise(weight=0.5, detach=True, advance=1, decode_low=False, leave_right=False, old_state=False, cut=False):
    def answer(run, decode, q_of, slots, most):
        z_H, z_L = run(slots["z_H"], slots["z_L"], slots["tokens"])
        if cut:
            z_H = z_H.detach()
        logits, count = decode(z_L if decode_low else z_H), slots["segment"] + advance
        right = (logits.argmax(-1) == slots["targets"]).all(-1)
        halting_loss, done = lab04.halting(q_of(z_H), right, count, 1, most)
        loss = F.cross_entropy(logits.flatten(0, 1), slots["targets"].flatten()) + weight * halting_loss
        if leave_right:
            done = right | (count >= most)
        kept = (z_H.detach(), z_L.detach()) if detach else (z_H, z_L)
        states = {} if old_state else dict(zip(("z_H", "z_L"), kept, strict=True))
        return loss, {**slots, **states, "segment": count, "done": done}

    return answer


MUTANTS = {
    "post_norm": {
        "pre-norm": lambda x, mix, mlp: x + mlp(rms_norm(x + mix(rms_norm(x)))),
        "norm at the end only": lambda x, mix, mlp: rms_norm(x + mix(x) + mlp(x + mix(x))),
        "norm before the residual": lambda x, mix, mlp: x + rms_norm(mlp(x + rms_norm(mix(x)))),
        "second residual from the input": lambda x, mix, mlp: rms_norm(x + mlp(rms_norm(x + mix(x)))),
        "channels first": lambda x, mix, mlp: lab04.post_norm(x, mlp, mix),
    },
    "segment": {
        "H after every L": _segment(order=lambda N, T: "LH" * (N * T)),
        "H at the end only": _segment(order=lambda N, T: "L" * (N * T) + "H" * N),
        "N and T exchanged": _segment(order=lambda N, T: ("L" * N + "H") * T),
        "H first": _segment(order=lambda N, T: ("H" + "L" * T) * N),
        "L reads an old H": _old_slow_state,
        "H reads the input too": _segment(high=lambda z_H, z_L, x: z_H + z_L + x),
        "H replaced, not updated": _segment(high=lambda z_H, z_L, x: z_L),
        "L does not read the input": _segment(low=lambda z_H, z_L, x: z_L + z_H),
        "L does not read H": _segment(low=lambda z_H, z_L, x: z_L + x),
        "L forgets itself": _segment(low=lambda z_H, z_L, x: z_H + x),
    },
    "one_step": {
        "gradient through the last cycle": _with_gradient(lambda N, T: T + 1),
        "gradient through everything": _with_gradient(lambda N, T: N * (T + 1)),
        "last update only": _with_gradient(lambda N, T: 1),
        "cut between L and H": _with_gradient(lambda N, T: 2, cut_between=True),
        "no gradient": _with_gradient(lambda N, T: 0),
    },
    "refill": {
        "latents not reset": _refill(keep=("z_H", "z_L")),
        "segments not reset": _refill(keep=("segment",)),
        "the others refilled": _refill(invert=True),
        "all as soon as one is done": _refill(whole=True),
        "next fresh row, not the slot's own": _refill(take=_compacted),
    },
    "halting": {
        "logit against one half": _halting(threshold=0.5),
        "right and wrong exchanged": _halting(loss=lambda q, y: F.binary_cross_entropy_with_logits(q, 1 - y)),
        "logit taken for a probability": _halting(loss=lambda q, y: F.binary_cross_entropy_with_logits(q.sigmoid(), y)),
        "sum, not mean": _halting(loss=lambda q, y: F.binary_cross_entropy_with_logits(q, y, reduction="sum") + 1e-3),
        "no minimum": _halting(least=False),
        "minimum excluded": _halting(strictly=True),
        "no maximum": _halting(most=False),
    },
    "supervise": {
        "carry keeps its gradient": _supervise(detach=False),
        "halting loss in full": _supervise(weight=1.0),
        "the answer decides who leaves": _supervise(leave_right=True),
        "segments not counted": _supervise(advance=0),
        "carry of the old latents": _supervise(old_state=True),
        "decoded from the fast latent": _supervise(decode_low=True),
        "cut before the loss": _supervise(cut=True),
    },
}


@pytest.mark.parametrize("name", lab04.EXERCISES)
def test_check_tells_right_from_wrong(name):
    assert_kills(lab04.EXERCISES[name], MUTANTS[name])
