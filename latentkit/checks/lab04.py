"""Checks of lab 04: HRM's block, segment and one-step gradient; and a step of its training."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from latentkit.checks.harness import CheckFailed, Exercise, compare, rng, shapes
from latentkit.layers import rms_norm

Network = Callable[[Tensor], Tensor]
Latents = tuple[Tensor, Tensor]
Carry = dict[str, Tensor]


def post_norm(x: Tensor, mix: Network, mlp: Network) -> Tensor:
    """One block: rms(x + mix(x)), then the same with the channels' mlp."""
    for part in (mix, mlp):
        x = rms_norm(x + part(x))
    return x


def _check_post_norm(answer: Callable) -> None:
    for b, n, d in shapes(3, low=2, high=6):
        generator = rng(d)
        x = 3 * torch.randn(b, n, d, generator=generator)
        across, along = torch.randn(n, n, generator=generator), torch.randn(d, d, generator=generator)

        def mix(x: Tensor, across: Tensor = across) -> Tensor:
            return torch.tanh(across @ x) + 1.0  # not linear, not centred: an order or a residual that is off shows

        def mlp(x: Tensor, along: Tensor = along) -> Tensor:
            return torch.sin(x @ along) - 0.5

        middle = _rms_by_hand(x + mix(x))
        expected = _rms_by_hand(middle + mlp(middle))
        compare(expected, answer(x, mix, mlp), name="post_norm", inputs={"x": x}, rtol=1e-3, atol=1e-4)


def _rms_by_hand(x: Tensor) -> Tensor:
    rows = [v / math.sqrt(sum(c * c for c in v.tolist()) / len(v) + 1e-5) for v in x.flatten(0, 1)]
    return torch.stack(rows).view_as(x)


def _f_L(s: Tensor) -> Tensor:
    return torch.tanh(1.3 * s + 0.4) + 0.2 * s


def _f_H(s: Tensor) -> Tensor:
    return torch.sin(0.9 * s - 0.3) + 0.1 * s


def segment(z_H: Tensor, z_L: Tensor, x: Tensor, f_L: Network, f_H: Network, N: int, T: int) -> Latents:
    """N cycles of T updates of L, which reads both latents and x, and one of H, which reads both latents."""
    for _ in range(N):
        for _ in range(T):
            z_L = f_L(z_L + (z_H + x))
        z_H = f_H(z_H + z_L)
    return z_H, z_L


def _check_segment(answer: Callable) -> None:
    for shape, (N, T) in zip(shapes(3, low=2, high=6), ((2, 2), (3, 1), (1, 3), (2, 4)), strict=True):
        generator = rng(shape[-1])
        z_H, z_L, x = (torch.randn(shape, generator=generator) for _ in range(3))
        calls: list[str] = []

        def f_L(s: Tensor, calls: list[str] = calls) -> Tensor:
            calls.append("L")
            return _f_L(s)

        def f_H(s: Tensor, calls: list[str] = calls) -> Tensor:
            calls.append("H")
            return _f_H(s)

        high, low = z_H, z_L
        for k in range(1, N * T + 1):  # every T-th update of the fast network is followed by one of the slow
            low = _f_L(low + high + x)
            high = _f_H(high + low) if k % T == 0 else high
        got = answer(z_H, z_L, x, f_L, f_H, N, T)
        wanted = N * ("L" * T + "H")
        if "".join(calls) != wanted:
            raise CheckFailed(
                f"segment: with N = {N} and T = {T} the networks run {wanted}; yours ran {''.join(calls)}."
            )
        compare((high, low), got, name="segment", inputs={"z_H": z_H, "N": N, "T": T}, rtol=1e-3, atol=1e-4)


def one_step(z_H: Tensor, z_L: Tensor, x: Tensor, f_L: Network, f_H: Network, N: int, T: int) -> Latents:
    """The same latents, with gradient through the last update of L and the last of H only."""
    with torch.no_grad():
        z_H, z_L = segment(z_H, z_L, x, f_L, f_H, N - 1, T)  # all cycles but the last, of which all L but the last
        for _ in range(T - 1):
            z_L = f_L(z_L + (z_H + x))
    return segment(z_H, z_L, x, f_L, f_H, 1, 1)


def _check_one_step(answer: Callable) -> None:
    for N, T in ((2, 2), (1, 3), (3, 1), (2, 4), (1, 1)):
        a, b, x = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.8, -1.1, 0.5))
        start = torch.tensor(0.3, dtype=torch.float64), torch.tensor(-0.2, dtype=torch.float64)

        def f_L(s: Tensor, a: Tensor = a) -> Tensor:
            return torch.sin(a * s + 0.2)

        def f_H(s: Tensor, b: Tensor = b) -> Tensor:
            return torch.tanh(b * s - 0.1)

        high, low, slope = _forward_mode(N, T)
        got = answer(*start, x, f_L, f_H, N, T)
        inputs = {"N": N, "T": T}
        compare((high, low), tuple(z.item() for z in got), name="the latents of one_step", inputs=inputs)
        for latent, z, expected in zip(("z_H", "z_L"), got, slope, strict=True):
            if not z.requires_grad:
                raise CheckFailed(f"one_step: no gradient flows to {latent}. Called with N = {N}, T = {T}.")
            gradient = torch.autograd.grad(z, (a, b, x), retain_graph=True, allow_unused=True)
            found = tuple(0.0 if g is None else g.item() for g in gradient)
            name = f"the gradient of {latent} by (a weight of f_L, a weight of f_H, x)"
            compare(expected, found, name=name, inputs=inputs, atol=1e-9)


def _forward_mode(N: int, T: int) -> tuple[float, float, tuple[tuple[float, ...], ...]]:
    """z_H, z_L and their slopes by (a, b, x), carried along by hand; they count from the last L on."""
    a, b, x, high, low = 0.8, -1.1, 0.5, 0.3, -0.2
    d_high, d_low = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    last = N * T
    for k in range(1, last + 1):
        counts = float(k == last)
        s = low + high + x
        low, bend = math.sin(a * s + 0.2), math.cos(a * s + 0.2)
        d_low = [counts * bend * s, 0.0, counts * bend * a]
        if k % T == 0:
            s = high + low
            high = math.tanh(b * s - 0.1)
            bend = 1 - high**2
            d_high = [bend * (b * d_low[0]), counts * bend * s, bend * b * d_low[2]]
    return high, low, (tuple(d_high), tuple(d_low))


def refill(carry: Carry, fresh: Carry) -> Carry:
    """Slots that are done take everything from the same row of `fresh`, the others keep what they have."""
    return {
        name: torch.where(carry["done"].view(-1, *[1] * (new.ndim - 1)), new, carry[name])
        for name, new in fresh.items()
    }


def _pool(b: int, n: int, d: int, seed: int) -> Carry:
    """Puzzles, latents and segment counts of b slots."""
    generator = rng(seed)
    return {
        "tokens": torch.randint(1, 7, (b, n), generator=generator),
        "targets": torch.randint(6, (b, n), generator=generator),
        "z_H": torch.randn(b, n, d, generator=generator),
        "z_L": torch.randn(b, n, d, generator=generator),
        "segment": torch.randint(1, 4, (b,), generator=generator),
    }


def _check_refill(answer: Callable) -> None:
    for b, n, d in shapes(3, low=3, high=7):
        for pattern in ("some", "none", "all"):
            carry, fresh = _pool(b, n, d, seed=d), _pool(b, n, d, seed=d + 50)
            fresh["segment"] = torch.zeros(b, dtype=torch.long)
            done = [pattern == "all" or (pattern == "some" and slot % 2 == 1) for slot in range(b)]
            carry["done"] = torch.tensor(done)
            expected = {
                name: torch.stack([(fresh if done[slot] else carry)[name][slot] for slot in range(b)]) for name in fresh
            }
            got = answer({k: v.clone() for k, v in carry.items()}, {k: v.clone() for k, v in fresh.items()})
            if isinstance(got, dict):
                got = {name: value for name, value in got.items() if name != "done"}  # kept or not: it is made anew
            compare(expected, got, name="refill", inputs={"done": carry["done"]})


def halting(q: Tensor, right: Tensor, count: Tensor, least: Tensor | int, most: int) -> tuple[Tensor, Tensor]:
    """The loss that teaches q to say "every cell is right", and which puzzles leave."""
    loss = F.binary_cross_entropy_with_logits(q, right.to(q.dtype))
    return loss, ((q > 0) & (count >= least)) | (count >= most)


def _check_halting(answer: Callable) -> None:
    for b in (8, 5, 1):
        generator = rng(b)
        q = 2 * torch.randn(b, generator=generator)
        right = torch.rand(b, generator=generator) < 0.5
        count = torch.randint(1, 5, (b,), generator=generator)
        least = torch.randint(1, 4, (b,), generator=generator)
        # Just above 0, and allowed from this segment on; sure, but too early; unsure to the last.
        for slot, case in zip(range(b), ((0.25, 2, 2), (1.5, 1, 3), (-1.0, 4, 1)), strict=False):
            q[slot], count[slot], least[slot] = case
        terms, stop = [], []
        for value, good, k, enough in zip(q.tolist(), right.tolist(), count.tolist(), least.tolist(), strict=True):
            probability = 1 / (1 + math.exp(-value))
            terms.append(-math.log(probability if good else 1 - probability))
            stop.append(k >= 4 or (value > 0 and k >= enough))
        expected = (torch.tensor(sum(terms) / b), torch.tensor(stop))
        inputs = {"q": q, "right": right, "count": count, "least": least, "most": 4}
        compare(expected, answer(q, right, count, least, 4), name="halting", inputs=inputs)


def supervise(run: Callable, decode: Callable, q_of: Callable, slots: Carry, most: int) -> tuple[Tensor, Carry]:
    """One step of deep supervision: the loss of a segment, and what the next step begins with."""
    z_H, z_L = run(slots["z_H"], slots["z_L"], slots["tokens"])
    logits, count = decode(z_H), slots["segment"] + 1
    right = (logits.argmax(-1) == slots["targets"]).all(-1)
    halting_loss, done = halting(q_of(z_H), right, count, least=1, most=most)
    loss = F.cross_entropy(logits.flatten(0, 1), slots["targets"].flatten()) + 0.5 * halting_loss
    return loss, {**slots, "z_H": z_H.detach(), "z_L": z_L.detach(), "segment": count, "done": done}


def _check_supervise(answer: Callable) -> None:
    for b, n, d in shapes(3, low=3, high=6):
        generator = rng(d)
        slots = _pool(b, n, d, seed=d)
        slots["segment"] = torch.arange(b) % 4  # the last of four segments among them
        weight = torch.randn(d, 6, generator=generator, requires_grad=True)
        slope, gain = torch.randn(d, generator=generator), torch.tensor(1.2, requires_grad=True)

        def run(z_H: Tensor, z_L: Tensor, tokens: Tensor, gain: Tensor = gain) -> Latents:
            low = torch.tanh(gain * (z_L + z_H + tokens[..., None] / 6))
            return torch.sin(z_H + low), low

        def decode(z_H: Tensor, weight: Tensor = weight) -> Tensor:
            return z_H @ weight

        def q_of(z_H: Tensor, slope: Tensor = slope) -> Tensor:
            return z_H.mean(1) @ slope + 0.1

        with torch.no_grad():
            z_H, z_L = run(slots["z_H"], slots["z_L"], slots["tokens"])
            logits, q = decode(z_H), q_of(z_H)
            slots["targets"][0] = logits[0].argmax(-1)  # one puzzle is right, the others are not
        cells = [
            math.log(sum(math.exp(v) for v in row)) - row[target]
            for row, target in zip(logits.flatten(0, 1).tolist(), slots["targets"].flatten().tolist(), strict=True)
        ]
        right = [torch.equal(logits[i].argmax(-1), slots["targets"][i]) for i in range(b)]
        halts = [math.log1p(math.exp(-v if good else v)) for v, good in zip(q.tolist(), right, strict=True)]
        loss = sum(cells) / len(cells) + 0.5 * sum(halts) / b
        done = [v > 0 or k + 1 >= 4 for v, k in zip(q.tolist(), slots["segment"].tolist(), strict=True)]
        carry = {**slots, "z_H": z_H, "z_L": z_L, "segment": slots["segment"] + 1, "done": torch.tensor(done)}

        got = answer(run, decode, q_of, {k: v.clone() for k, v in slots.items()}, 4)
        if not isinstance(got, tuple) or len(got) != 2 or not isinstance(got[1], dict):
            raise CheckFailed("supervise: return two things, the loss and the carry (a dictionary).")
        inputs = {"tokens": slots["tokens"], "segment": slots["segment"], "most": 4}
        compare(torch.tensor(loss), got[0], name="the loss of supervise", inputs=inputs, rtol=1e-3, atol=1e-4)
        compare(carry, got[1], name="the carry of supervise", inputs=inputs)
        if not (got[0].requires_grad and torch.autograd.grad(got[0], gain, allow_unused=True)[0]):
            raise CheckFailed("supervise: no gradient flows from the loss to the networks.")
        if held := [name for name, tensor in got[1].items() if tensor.requires_grad]:
            raise CheckFailed(f"supervise: {', '.join(held)} of the carry still drags this step's gradient along.")


EXERCISES = {
    "post_norm": Exercise(post_norm, _check_post_norm),
    "segment": Exercise(segment, _check_segment),
    "one_step": Exercise(one_step, _check_one_step),
    "refill": Exercise(refill, _check_refill),
    "halting": Exercise(halting, _check_halting),
    "supervise": Exercise(supervise, _check_supervise),
}
