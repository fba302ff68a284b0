import math
import weakref
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from latentkit.layers import BlockConfig
from latentkit.models import Looped, LoopedConfig
from latentkit.recurrence import (
    ArgmaxStable,
    FixedPasses,
    HaltValue,
    Nested,
    OutputKL,
    RelativeStep,
    TimeRecurrent,
    Trajectory,
    advance,
    stream,
    unroll,
)


class Scripted:
    """A depth model that plays a script [t, b, n, d], whatever its state; the state is also the logits."""

    def __init__(self, script):
        self.script, self.decoded = torch.as_tensor(script, dtype=torch.float32), 0

    def encode(self, tokens):
        self.t = 0
        return tokens

    def initial_state(self, context):
        return torch.zeros_like(self.script[0])

    def step(self, state, context):
        self.t += 1
        return self.script[self.t - 1]

    def decode(self, state):
        self.decoded += 1
        return state


def play(*positions, **options) -> Trajectory:
    """A run over one sequence; each position is its script, a list of states (lists of numbers) by pass."""
    script = torch.tensor(positions, dtype=torch.float32).transpose(0, 1)[:, None]  # n t d -> t 1 n d
    return unroll(Scripted(script), torch.zeros(1, len(positions), dtype=torch.long), len(script), **options)


def growing(*values: float) -> list[list[float]]:
    """A script of one-dimensional states."""
    return [[v] for v in values]


def loop() -> tuple[Looped, Tensor]:
    torch.manual_seed(0)
    model = Looped(LoopedConfig(5, 4, block=BlockConfig(8, 2, 1)))
    return model, torch.randint(5, (3, 6), generator=torch.Generator().manual_seed(0))


# -- unroll


def test_a_run_is_the_step_applied_again_and_again():
    model, tokens = loop()
    run = unroll(model, tokens, 5)
    context = model.encode(tokens)
    h = model.initial_state(context)
    with torch.no_grad():
        for t in range(5):
            before, h = h, model.step(h, context)
            assert torch.equal(run.states[t], h)
            assert torch.equal(run.logits[t], model.decode(h))
            expected = (h - before).pow(2).sum(-1).sqrt() / h.pow(2).sum(-1).sqrt()
            torch.testing.assert_close(run.residuals[t], expected)
        start = model.initial_state(context)
        assert torch.equal(advance(model, start, context, 5), h)
    assert run.passes == (1, 2, 3, 4, 5)
    assert torch.equal(run.tokens, tokens)
    assert not run.halted_at.any()
    assert (run.passes_used == 5).all()
    assert torch.equal(run.predictions, run.logits.argmax(-1))
    assert not run.logits.requires_grad


@pytest.mark.parametrize(
    ("keep", "kept"),
    [("all", (1, 2, 3, 4, 5, 6, 7)), ("last", (7,)), (3, (3, 6, 7)), (7, (7,)), (9, (7,)), (1, tuple(range(1, 8)))],
)
def test_what_is_kept_is_the_same_run(keep, kept):
    model, tokens = loop()
    every, some = unroll(model, tokens, 7), unroll(model, tokens, 7, keep=keep)
    assert some.passes == kept
    assert len(some.states) == len(some.logits) == len(kept)
    for i, t in enumerate(kept):
        assert torch.equal(some.states[i], every.states[t - 1])
        assert torch.equal(some.logits[i], every.logits[t - 1])
    assert torch.equal(some.residuals, every.residuals)


def test_only_kept_passes_are_decoded():
    model = Scripted(torch.ones(8, 1, 1, 2))
    unroll(model, torch.zeros(1, 1, dtype=torch.long), 8, keep="last")
    assert model.decoded == 1


def test_residual_by_hand():
    run = play([[3, 4], [3, 4], [0, 4]], [[0, 0], [0, 2], [0, 1]])
    assert run.residuals[:, 0].tolist() == [[1, 0], [0, 1], [pytest.approx(3 / 4), 1]]


def test_a_run_can_go_on_from_a_state():
    model, tokens = loop()
    whole, half = unroll(model, tokens, 6), unroll(model, tokens, 3)
    rest = unroll(model, tokens, 3, state=half.states[-1])
    assert torch.equal(rest.logits, whole.logits[3:])
    assert torch.equal(rest.residuals, whole.residuals[3:])


class Pair(NamedTuple):
    slow: Tensor
    fast: Tensor


class TwoParts(Scripted):
    def __init__(self, as_state):
        super().__init__([[[[3.0, 4, 12]]], [[[3, 0, 12]]], [[[3, 0, 12]]], [[[9, 9, 9]]]])
        self.as_state = as_state

    def initial_state(self, context):
        return self.as_state(torch.zeros(1, 1, 1), torch.zeros(1, 1, 2))

    def step(self, state, context):
        h = super().step(state, context)
        return self.as_state(h[..., :1], h[..., 1:])

    def decode(self, state):
        return state[1]


@pytest.mark.parametrize("as_state", [Pair, lambda slow, fast: (slow, fast)], ids=["named", "tuple"])
def test_a_state_of_several_tensors_is_one_long_vector(as_state):
    run = unroll(TwoParts(as_state), torch.zeros(1, 1, dtype=torch.long), 4, halting=RelativeStep(0.01))
    assert run.residuals.flatten().tolist() == [1, pytest.approx(4 / math.sqrt(9 + 144)), 0]
    assert run.halted_at.item() == 3
    assert type(run.states[-1]) is type(as_state(1, 2))
    assert [part.flatten().tolist() for part in run.states[-1]] == [[3], [0, 12]]


@pytest.mark.parametrize(
    ("passes", "error", "said"),
    [
        (0, ValueError, "passes=0; .*at least 1"),
        (-3, ValueError, "passes=-3"),
        (2.0, TypeError, "passes=2.0 is a float"),
        (True, TypeError, "passes=True is a bool"),
        ("8", TypeError, "passes='8' is a str"),
    ],
)
def test_passes_that_are_no_count_are_refused(passes, error, said, learners_view):
    model, tokens = loop()
    with pytest.raises(error, match=said):
        unroll(model, tokens, passes)
    with pytest.raises(error, match=said):
        advance(model, model.initial_state(model.encode(tokens)), model.encode(tokens), passes)


@pytest.mark.parametrize("keep", ["first", 0, -1, True, 1.5, None])
def test_a_bad_keep_is_refused(keep, learners_view):
    model, tokens = loop()
    with pytest.raises(ValueError, match=f"keep={keep!r}; choose 'all', 'last'"):
        unroll(model, tokens, 2, keep=keep)
    with pytest.raises(ValueError, match=f"keep={keep!r}"):
        stream(Automaton(3), [tokens], keep=keep)


# -- advance with part of its gradient


class Telling(Scripted):
    """A nested model whose state counts updates, and which notes where gradients were on."""

    schedule = ("fast", "fast", "slow")

    def __init__(self):
        super().__init__(torch.zeros(1, 1, 1, 1))
        self.seen = []

    def update(self, state, context, module):
        self.seen.append((module, torch.is_grad_enabled()))
        return state + 1

    def step(self, state, context):
        for module in self.schedule:
            state = self.update(state, context, module)
        return state


@pytest.mark.parametrize("updates", [1, 2, 3])
@pytest.mark.parametrize("passes", [1, 3])
def test_only_the_last_updates_carry_gradient(passes, updates):
    model = Telling()
    assert isinstance(model, Nested)
    state = advance(model, torch.zeros(1, 1, 1), None, passes, gradient_updates=updates)
    assert state.item() == 3 * passes
    modules, gradients = zip(*model.seen, strict=True)
    assert modules == model.schedule * passes
    assert gradients == (False,) * (3 * passes - updates) + (True,) * updates


def test_without_a_schedule_a_pass_is_one_update():
    model, tokens = loop()
    context = model.encode(tokens)
    start = model.initial_state(context)
    with torch.no_grad():
        before = advance(model, start, context, 3)
    last, got = model.step(before, context), advance(model, start, context, 4, gradient_updates=1)
    assert torch.equal(got, last)
    parameters = list(model.core.parameters())
    grads = [torch.autograd.grad(h.sum(), parameters, retain_graph=True) for h in (got, last)]
    for mine, theirs in zip(*grads, strict=True):
        assert torch.equal(mine, theirs)


def test_gradient_updates_turn_nothing_on_under_no_grad():
    model = Telling()
    with torch.no_grad():
        advance(model, torch.zeros(1, 1, 1), None, 1, gradient_updates=3)
    assert not any(gradient for _, gradient in model.seen)
    assert torch.is_grad_enabled()


def test_gradient_updates_that_a_pass_has_not_are_refused():
    model, _ = loop()
    assert not isinstance(model, Nested)
    for other, updates, said in ((model, 2, "a pass of Looped has 1..1"), (Telling(), 4, "a pass of Telling has 1..3")):
        with pytest.raises(ValueError, match=rf"gradient_updates={updates}; {said}"):
            advance(other, None, None, 1, gradient_updates=updates)
    with pytest.raises(ValueError, match="gradient_updates=0"):
        advance(Telling(), None, None, 1, gradient_updates=0)


# -- halting


def test_fixed_passes_stop_everywhere_at_once():
    run = play(growing(1, 2, 3, 4), growing(5, 6, 7, 8), halting=FixedPasses(3))
    assert run.halted_at.tolist() == [[3, 3]]
    assert len(run.residuals) == 3
    assert run.states[-1].flatten().tolist() == [3, 7]


def test_relative_step_by_hand():
    steps = growing(1, 2, 2.2, 2.21, 9)  # residuals 1, .5, .091, .0045, ...
    never = growing(1, 2, 4, 8, 16)
    assert play(steps, never, halting=RelativeStep(0.6)).halted_at.tolist() == [[2, 2]]
    assert play(steps, never, halting=RelativeStep(0.1)).halted_at.tolist() == [[3, 0]]
    assert play(steps, never, halting=RelativeStep(0.01)).halted_at.tolist() == [[4, 0]]
    assert play(steps, never, halting=RelativeStep(0.001)).halted_at.tolist() == [[0, 0]]


def test_patience_counts_passes_in_a_row():
    shaky = growing(1, 1, 2, 2, 2, 2, 2)  # settled in passes 2, 4, 5, 6, 7
    steady = growing(1, 1, 1, 1, 1, 1, 1)
    for patience, halts in ((1, [2, 2]), (2, [5, 3]), (3, [6, 4]), (4, [7, 5]), (5, [0, 6])):
        assert play(shaky, steady, halting=RelativeStep(0.1, patience)).halted_at.tolist() == [halts]


def log(*probabilities: float) -> list[float]:
    return [math.log(p) for p in probabilities]


def test_output_kl_by_hand_in_nats_and_in_the_right_direction():
    script = [log(0.5, 0.5), log(0.6, 0.4), log(0.6, 0.4)]
    kl = 0.6 * math.log(0.6 / 0.5) + 0.4 * math.log(0.4 / 0.5)  # 0.0201; the other way round 0.0204; in bits 0.0290
    assert play(script, halting=OutputKL(kl + 1e-5)).halted_at.item() == 2
    assert play(script, halting=OutputKL(kl - 1e-5)).halted_at.item() == 3
    other_way = 0.5 * math.log(0.5 / 0.6) + 0.5 * math.log(0.5 / 0.4)
    assert kl + 1e-5 < other_way


def test_output_kl_looks_at_probabilities_not_at_logits():
    assert play([[0, 1], [5, 6], [50, 51]], halting=OutputKL(1e-6)).halted_at.item() == 2


def test_the_first_output_has_nothing_to_be_compared_with():
    for rule in (OutputKL(1e9), ArgmaxStable(patience=1)):
        assert play([[0, 1], [0, 1]], halting=rule).halted_at.item() == 2


def test_argmax_stable_by_hand():
    a, b = [1, 0], [0, 1]
    script = [a, a, b, b, b, b, b]  # comparisons in passes 2..7: same, other, same, same, same, same
    for patience, halt in ((1, 2), (2, 5), (3, 6), (4, 7), (5, 0)):
        assert play(script, halting=ArgmaxStable(patience)).halted_at.item() == halt
    assert ArgmaxStable().patience == 5


def test_a_halted_position_is_frozen_and_the_others_go_on():
    run = play(growing(1, 1, 7, 8, 9), growing(1, 2, 3, 4, 5), halting=RelativeStep(0.01))
    assert run.halted_at.tolist() == [[2, 0]]
    assert [state.flatten().tolist() for state in run.states] == [[1, 1], [1, 2], [1, 3], [1, 4], [1, 5]]
    assert run.logits[:, 0, 0, 0].tolist() == [1, 1, 1, 1, 1]
    assert run.residuals[2:, 0, 0].tolist() == [0, 0, 0]
    assert run.passes_used.tolist() == [[2, 5]]


def test_positions_that_go_on_see_the_frozen_ones():
    """Against a plain loop that overwrites halted positions by hand."""
    model, tokens = loop()
    run = unroll(model, tokens, 40, halting=RelativeStep(0.05))
    assert (run.halted_at > 0).sum() > 0
    assert run.halted_at[run.halted_at > 0].unique().numel() > 1
    context = model.encode(tokens)
    with torch.no_grad():
        h = model.initial_state(context)
        halted = torch.zeros(tokens.shape, dtype=torch.bool)
        for t, state in enumerate(run.states, start=1):
            before, h = h, model.step(h, context)
            h[halted] = before[halted]
            assert torch.equal(state, h)
            halted |= (h - before).norm(dim=-1) / h.norm(dim=-1) < 0.05
            assert torch.equal(halted, (run.halted_at > 0) & (run.halted_at <= t))


@pytest.mark.parametrize(("keep", "kept"), [("all", (1, 2, 3)), ("last", (3,)), (2, (2, 3))])
def test_a_run_stops_early_where_every_position_has_halted(keep, kept):
    run = play(growing(1, 1, 5, 6, 7, 8), growing(1, 2, 2, 6, 7, 8), halting=RelativeStep(0.01), keep=keep)
    assert run.halted_at.tolist() == [[2, 3]]
    assert run.passes == kept
    assert len(run.residuals) == 3
    assert run.states[-1].flatten().tolist() == [1, 2]


class Believing(Scripted):
    """Two sequences of one position; the halt logit is the state."""

    def halt_logit(self, state):
        return state[:, 0, 0]


def test_the_halt_logit_is_recorded_and_stops_whole_sequences():
    model = Believing([[[[-2.0], [9]], [[1], [9]]], [[[0], [9]], [[1], [9]]], [[[3], [9]], [[1], [9]]]])  # t b n d
    tokens = torch.zeros(2, 2, dtype=torch.long)
    assert unroll(model, tokens, 3).halt_logits.tolist() == [[-2, 1], [0, 1], [3, 1]]
    assert unroll(model, tokens, 3, keep=2).halt_logits.tolist() == [[0, 1], [3, 1]]
    for threshold, halts in ((0.0, [3, 1]), (-0.5, [2, 1]), (1.0, [3, 0]), (5.0, [0, 0])):
        run = unroll(model, tokens, 3, halting=HaltValue(threshold))
        assert run.halted_at.tolist() == [[halt] * 2 for halt in halts]
    run = unroll(model, tokens, 3, halting=HaltValue(-5.0))
    assert run.passes == (1,)


def test_a_model_without_halt_logits_records_none():
    model, tokens = loop()
    assert unroll(model, tokens, 2).halt_logits is None
    with pytest.raises(
        TypeError, match=r"HaltValue\(threshold=0.0\) reads a halt logit, but Looped has none; use .*KL"
    ):
        unroll(model, tokens, 2, halting=HaltValue())


def test_a_register_in_front_is_no_position():
    """Three state positions for two tokens: the first has no residual and stays until both others have halted."""
    script = torch.tensor([[1.0, 1, 1], [2, 1, 2], [3, 1, 2], [4, 5, 6]])[:, None, :, None]
    run = unroll(Scripted(script), torch.zeros(1, 2, dtype=torch.long), 4, halting=RelativeStep(0.01))
    assert run.halted_at.tolist() == [[2, 3]]
    assert run.residuals.shape == (3, 1, 2)
    assert [state.flatten().tolist() for state in run.states] == [[1, 1, 1], [2, 1, 2], [3, 1, 2]]
    late = unroll(Scripted(script), torch.zeros(1, 2, dtype=torch.long), 4, halting=RelativeStep(0.01, patience=2))
    assert late.halted_at.tolist() == [[3, 0]]
    assert late.states[-1].flatten().tolist() == [4, 1, 6]


def test_a_rule_without_patience_is_refused():
    model, tokens = loop()
    with pytest.raises(ValueError, match=r"RelativeStep\(threshold=0.03, patience=0\): patience must be at least 1"):
        unroll(model, tokens, 2, halting=RelativeStep(patience=0))


# -- stream


class Automaton:
    """Counts modulo k: the state is the running sum of all tokens so far, the output its value at each position."""

    def __init__(self, k: int):
        self.k, self.alive = k, []

    def initial_state(self, batch):
        return torch.zeros(batch, 1)

    def step(self, state, block):
        output = (state + block.cumsum(1)) % self.k
        new = output[:, -1:].clone()
        self.alive += map(weakref.ref, (new, output))
        return new, output

    def decode(self, output):
        return torch.nn.functional.one_hot(output.long(), self.k).float()


def test_a_stream_reads_blocks_in_order_through_its_state():
    tokens = torch.randint(3, (2, 12), generator=torch.Generator().manual_seed(0))
    expected = tokens.cumsum(1) % 3
    for size in (1, 2, 3, 4, 6, 12):
        run = stream(Automaton(3), tokens.split(size, 1))
        assert torch.cat(tuple(run.predictions), 1).equal(expected)
        assert torch.equal(run.tokens, tokens)
        assert torch.equal(torch.stack(run.states)[:, :, 0].T, expected[:, size - 1 :: size].float())
        assert run.passes == tuple(range(1, 12 // size + 1))


def test_residuals_along_time_by_hand():
    run = stream(Automaton(9), [torch.tensor([[1], [0]]), torch.tensor([[3], [0]])])
    assert run.residuals[:, :, 0].tolist() == [[1, 0], [0.75, 0]]


@pytest.mark.parametrize(
    ("keep", "kept"), [("last", (7,)), (3, (3, 6, 7)), (7, (7,)), (10, (7,)), (1, (1, 2, 3, 4, 5, 6, 7))]
)
def test_what_a_stream_keeps_is_the_same_run(keep, kept):
    blocks = torch.randint(3, (2, 14), generator=torch.Generator().manual_seed(0)).split(2, 1)
    every, some = stream(Automaton(3), blocks), stream(Automaton(3), blocks, keep=keep)
    assert some.passes == kept
    for i, t in enumerate(kept):
        assert torch.equal(some.states[i], every.states[t - 1])
        assert torch.equal(some.logits[i], every.logits[t - 1])
        assert torch.equal(some.tokens[:, 2 * i : 2 * i + 2], blocks[t - 1])
    assert torch.equal(some.residuals[-1], every.residuals[-1])
    assert some.passes_used.tolist() == [[7], [7]]


def test_a_long_stream_runs_in_constant_memory():
    model, blocks, most = Automaton(5), [], 0

    def endless():
        nonlocal most
        for _ in range(500):
            block = torch.randint(5, (2, 8))
            blocks.append(weakref.ref(block))
            yield block
            most = max(
                most,
                sum(ref() is not None for ref in (*blocks[-50:], *model.alive[-100:], *blocks[:9], *model.alive[:9])),
            )

    run = stream(model, endless(), keep="last")
    assert run.passes == (500,)
    assert len(run.residuals) == len(run.states) == 1
    assert most < 12


def test_a_stream_refuses_what_it_cannot_read(learners_view):
    with pytest.raises(ValueError, match="no blocks"):
        stream(Automaton(2), [])
    with pytest.raises(ValueError, match=r"block 2 has shape \[1, 3\], block 1 had \[1, 2\]; pad"):
        stream(Automaton(2), torch.zeros(1, 5, dtype=torch.long).tensor_split([2], 1))
    with pytest.raises(ValueError, match=r"block 1 has shape \[4\]; expected \[batch, positions\]"):
        stream(Automaton(2), torch.zeros(3, 4, dtype=torch.long))


def test_the_automaton_keeps_the_protocol():
    assert isinstance(Automaton(2), TimeRecurrent)
