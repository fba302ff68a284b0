import math
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentkit.layers import BlockConfig
from latentkit.models import Looped, LoopedConfig, Transformer, TransformerConfig
from latentkit.tasks import WordProblem
from latentkit.training import (
    ACT,
    ConstantPasses,
    Curriculum,
    DeepSupervision,
    EveryPassLoss,
    FinalLoss,
    PassesPerPosition,
    PlainLoss,
    StableMax,
    UniformPasses,
)
from latentkit.training.supervision import Supervision

S3 = WordProblem("S3")
BATCH = S3.sample(4, 5, torch.Generator().manual_seed(0))


def model(dtype=torch.float64) -> Looped:
    torch.manual_seed(0)
    return Looped(LoopedConfig(3, 6, block=BlockConfig(8, 2, 1), prelude_layers=1, coda_layers=1)).to(dtype)


def loss_by_hand(logits: Tensor) -> Tensor:
    probabilities = logits.exp() / logits.exp().sum(-1, keepdim=True)
    return -probabilities.gather(-1, BATCH.targets[..., None]).log().mean()


def in_double(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def gradients(model, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("passes", [1, 4])
@pytest.mark.parametrize("gradient_passes", [1, 2, 3, None, 9])
def test_final_loss_sends_the_gradient_through_the_last_passes_only(passes, gradient_passes):
    net = model()
    supervision = FinalLoss(ConstantPasses(passes), gradient_passes)
    got = supervision(net, BATCH, torch.Generator(), {})

    context = net.encode(BATCH.tokens)
    h = net.initial_state(context)
    for t in range(passes):
        if gradient_passes is not None and t == passes - gradient_passes:
            h = h.detach()
        h = net.step(h, context)
    expected = loss_by_hand(net.decode(h))

    torch.testing.assert_close(got.value.double(), expected, rtol=0, atol=1e-6)  # the loss is float32
    exact = cross_entropy_in_double(supervision, net)
    for name, gradient in gradients(net, expected).items():
        torch.testing.assert_close(exact[name], gradient, rtol=0, atol=1e-10)


def cross_entropy_in_double(supervision, net) -> dict[str, Tensor]:
    """The supervision's gradients, its float32 cross-entropy replaced by the same in float64."""
    return gradients(net, replace(supervision, loss=in_double)(net, BATCH, torch.Generator(), {}).value)


def test_how_far_the_gradient_goes_makes_a_difference():
    net = model()
    by_depth = [
        cross_entropy_in_double(FinalLoss(ConstantPasses(4), k), net)["adapter.weight"] for k in (1, 2, 3, None)
    ]
    for i, one in enumerate(by_depth):
        for other in by_depth[i + 1 :]:
            assert not torch.allclose(one, other, atol=1e-6)


def test_the_one_step_gradient_still_reaches_the_prelude():
    """Through the injection of the last pass: the input is encoded with gradient, however many passes go without."""
    reached = cross_entropy_in_double(FinalLoss(ConstantPasses(4), 1), model())
    assert reached["prelude.0.mlp.0.weight"].abs().max() > 0
    assert reached["embed.token.weight"].abs().max() > 0


def test_every_pass_loss_is_the_mean_over_passes():
    net = model()
    context = net.encode(BATCH.tokens)
    h, losses = net.initial_state(context), []
    for _ in range(3):
        h = net.step(h, context)
        losses.append(loss_by_hand(net.decode(h)))
    supervision = EveryPassLoss(ConstantPasses(3))
    torch.testing.assert_close(
        supervision(net, BATCH, torch.Generator(), {}).value.double(), sum(losses) / 3, rtol=0, atol=1e-6
    )
    exact = cross_entropy_in_double(supervision, net)
    for name, gradient in gradients(net, sum(losses) / 3).items():
        torch.testing.assert_close(exact[name], gradient, rtol=0, atol=1e-10)


def test_plain_loss_is_one_forward_call():
    torch.manual_seed(0)
    net = Transformer(TransformerConfig(3, 6, 2, BlockConfig(8, 2, 1))).double()
    got = PlainLoss()(net, BATCH, torch.Generator(), {}).value
    torch.testing.assert_close(got.double(), loss_by_hand(net(BATCH.tokens)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "supervision",
    [PlainLoss(), FinalLoss(ConstantPasses(2)), FinalLoss(ConstantPasses(2), 1), EveryPassLoss(ConstantPasses(2))],
    ids=repr,
)
def test_a_supervision_keeps_its_hands_off_the_carry_and_the_global_random_state(supervision):
    assert isinstance(supervision, Supervision)
    net = model() if not isinstance(supervision, PlainLoss) else Transformer(TransformerConfig(3, 6)).double()
    carry, before = {"x": torch.ones(2)}, torch.get_rng_state()
    assert supervision(net, BATCH, torch.Generator(), carry).carry is carry
    assert torch.equal(torch.get_rng_state(), before)


# -- deep supervision


class Halves(NamedTuple):
    y: Tensor
    z: Tensor


class Two(nn.Module):
    """Two timescales in float64: z <- tanh(W (z + y + x)) twice, then y <- tanh(V (y + z)); two halting values."""

    schedule = ("z", "z", "y")

    def __init__(self, d: int = 8):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(3, d), nn.Linear(d, 6)
        self.w, self.v, self.q = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, 2)
        self.double()

    def encode(self, tokens):
        return self.embed(tokens)

    def initial_state(self, x):
        return Halves(torch.zeros_like(x), torch.ones_like(x))

    def update(self, state, x, module):
        if module == "z":
            return Halves(state.y, (self.w(state.z + state.y + x)).tanh())
        return Halves(self.v(state.y + state.z).tanh(), state.z)

    def step(self, state, x):
        for module in self.schedule:
            state = self.update(state, x, module)
        return state

    def decode(self, state):
        return self.head(state.y)

    def halt_values(self, state):
        return self.q(state.y.mean(1))

    def halt_logit(self, state):
        return self.halt_values(state)[:, 0]


def segment_by_hand(net: Two, state: Halves, tokens: Tensor, passes: int, gradient_updates: int | None) -> Halves:
    """Word for word: y and z one after the other, cut off from the graph where the gradient begins."""
    x, (y, z) = net.embed(tokens), state
    left = 3 * passes
    for _ in range(passes):
        for module in ("z", "z", "y"):
            if left == gradient_updates:
                y, z = y.detach(), z.detach()
            if module == "z":
                z = net.w(z + y + x).tanh()
            else:
                y = net.v(y + z).tanh()
            left -= 1
    return Halves(y, z)


@pytest.mark.parametrize("gradient_updates", [None, 1, 2, 3])
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("continue_value", [False, True])
def test_segments_of_one_puzzle_by_hand(passes, gradient_updates, continue_value):
    """Losses and gradients of three steps: token loss + 0.5 BCE(q_halt, solved) (+ 0.5 BCE(q_continue, ...))."""
    net, segments = Two(), 3
    act = ACT(exploration=0.0, continue_value=continue_value)
    supervision = DeepSupervision(segments, passes, gradient_updates, act, in_double)
    carry: dict = {}
    x = net.embed(BATCH.tokens)
    state = Halves(torch.zeros_like(x), torch.ones_like(x))
    for segment in range(1, segments + 1):
        got = supervision(net, BATCH, torch.Generator(), carry)
        carry = got.carry
        state = segment_by_hand(net, Halves(*(s.detach() for s in state)), BATCH.tokens, passes, gradient_updates)
        logits, q = net.head(state.y), net.q(state.y.mean(1))
        solved = (logits.argmax(-1) == BATCH.targets).all(1).double()
        loss = loss_by_hand(logits) + 0.5 * F.binary_cross_entropy_with_logits(q[:, 0], solved)
        halts = q[:, 0] > 0
        if continue_value:
            y = segment_by_hand(net, state, BATCH.tokens, passes, None).y
            ahead = net.q(y.mean(1)).detach()
            best = ahead[:, 0] if segment == segments else torch.maximum(ahead[:, 0], ahead[:, 1])
            loss = loss + 0.5 * F.binary_cross_entropy_with_logits(q[:, 1], best.sigmoid())
            halts = q[:, 0] > q[:, 1]
        torch.testing.assert_close(got.value.double(), loss, rtol=0, atol=1e-6)
        expected = gradients(net, loss)
        for name, gradient in gradients(net, got.value).items():
            torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-7)  # halting is float32
        assert torch.equal(carry["done"], halts | (segment == segments))
        carry["done"] = torch.zeros_like(carry["done"])  # watched to the end


@pytest.mark.parametrize("gradient_updates", [1, 2, 3])
def test_final_loss_may_count_its_gradient_in_updates(gradient_updates):
    net = Two()
    x = net.embed(BATCH.tokens)
    start = Halves(torch.zeros_like(x), torch.ones_like(x))
    expected = loss_by_hand(net.head(segment_by_hand(net, start, BATCH.tokens, 2, gradient_updates).y))
    supervision = FinalLoss(ConstantPasses(2), gradient_updates=gradient_updates)
    exact = cross_entropy_in_double(supervision, net)
    for name, gradient in gradients(net, expected).items():
        torch.testing.assert_close(exact[name], gradient, rtol=0, atol=1e-10)


def test_the_carry_is_detached_and_named():
    carry = DeepSupervision(4)(Two(), BATCH, torch.Generator(), {}).carry
    assert carry.keys() == {"tokens", "targets", "segment", "done", "state.0", "state.1"}
    assert not any(tensor.requires_grad for tensor in carry.values())


class Scripted(nn.Module):
    """Answers and halts as its tokens say: token i of a row is what happens after pass i of its puzzle.

    0: wrong, goes on; 1: right, goes on; 2: right, halts; 3: wrong, halts. The right class is 0 everywhere.
    """

    def encode(self, tokens):
        return tokens

    def initial_state(self, tokens):
        return torch.zeros(len(tokens), 1, 2 + tokens.shape[1])

    def step(self, state, tokens):
        """state: passes done, what the script says, and the script itself."""
        passes = state[:, 0, 0].long()
        return torch.cat([passes[:, None] + 1, tokens[range(len(tokens)), passes][:, None], tokens], 1)[:, None].float()

    def decode(self, state):
        wrong = (state[..., 1] == 0) | (state[..., 1] == 3)
        return F.one_hot(wrong.long(), 2).float().requires_grad_()

    def halt_logit(self, state):
        return (2 * (state[:, 0, 1] >= 2).float() - 1).requires_grad_()


class Puzzles(NamedTuple):
    tokens: Tensor
    targets: Tensor


def scripts(*rows: str) -> Puzzles:
    tokens = torch.tensor([[int(c) for c in row] for row in rows])
    return Puzzles(tokens, torch.zeros(len(rows), 1, dtype=torch.long))


def played(supervision, batches: list[Puzzles]) -> list[tuple[list[str], list[int], list[bool]]]:
    """After each step: the slots' scripts, their segments, and which are done."""
    carry, seen = {}, []
    for step, batch in enumerate(batches):
        loss = supervision(Scripted(), batch, torch.Generator().manual_seed(step), carry)
        carry = loss.carry
        assert loss.metrics["left"] == carry["done"].float().mean()
        names = ["".join(map(str, row)) for row in carry["tokens"].tolist()]
        seen.append((names, carry["segment"].tolist(), carry["done"].tolist()))
    return seen


def test_a_slot_that_is_done_takes_the_fresh_puzzle_at_its_place():
    batches = [scripts(*rows) for rows in (("020", "000", "200"), ("111", "222", "333"), ("101", "202", "303"))]
    assert played(DeepSupervision(3, halting=ACT(exploration=0.0)), [*batches, batches[0]]) == [
        (["020", "000", "200"], [1, 1, 1], [False, False, True]),
        (["020", "000", "333"], [2, 2, 1], [True, False, True]),  # 3: wrong, but it says so itself
        (["101", "000", "303"], [1, 3, 1], [False, True, True]),
        (["101", "000", "200"], [2, 1, 1], [False, False, True]),
    ]


def test_without_halting_a_puzzle_has_all_its_segments():
    batches = [scripts("222"), scripts("333"), scripts("111")]
    assert played(DeepSupervision(2, halting=None), batches) == [
        (["222"], [1], [False]),
        (["222"], [2], [True]),
        (["111"], [1], [False]),
    ]


def test_exploration_keeps_a_share_from_halting_before_a_random_minimum():
    many = scripts(*["222"] * 4000)
    [(_, _, never)] = played(DeepSupervision(3, halting=ACT(exploration=0.0)), [many])
    assert all(never)
    [(_, _, always)] = played(DeepSupervision(3, halting=ACT(exploration=1.0)), [many])
    assert not any(always)  # the minimum is at least 2
    first, second, third = played(DeepSupervision(3, halting=ACT(exploration=0.5)), [many] * 3)
    assert sum(first[2]) / 4000 == pytest.approx(0.5, abs=0.04)
    # Those held back at segment 1 draw again: held back (1/2) at a minimum of 3 (1 of {2, 3}).
    stayed = [done for segment, done in zip(second[1], second[2], strict=True) if segment == 2]
    assert sum(stayed) / len(stayed) == pytest.approx(0.75, abs=0.04)
    assert all(done for segment, done in zip(third[1], third[2], strict=True) if segment == 3)


def test_a_right_answer_leaves_by_chance_where_leave_says_so():
    many = scripts(*["111"] * 2000, *["000"] * 2000)
    (_, _, first), (_, segments, second) = played(DeepSupervision(2, halting=None, leave=0.25), [many] * 2)
    assert sum(first[:2000]) / 2000 == pytest.approx(0.25, abs=0.04)
    assert not any(first[2000:])
    assert all(second[2000:])
    assert all(done for segment, done in zip(segments, second, strict=True) if segment == 2)


def test_a_drawn_horizon_is_log_uniform_and_a_puzzles_own():
    many = scripts(*["0000"] * 6000)
    supervision = DeepSupervision(4, halting=None, horizon="log-uniform")
    first, second, *_ = played(supervision, [many] * 2)
    left_at_once = torch.tensor(first[2])
    assert left_at_once.float().mean().item() == pytest.approx(math.log(2) / math.log(5), abs=0.03)
    # Those who stayed keep their horizon: of k = 2, 3, 4 those with 2 leave now.
    stayed = torch.tensor(second[1]) == 2
    assert torch.equal(stayed, ~left_at_once)
    share = math.log(3 / 2) / math.log(5 / 2)
    assert torch.tensor(second[2])[stayed].float().mean().item() == pytest.approx(share, abs=0.03)
    assert all(done for segment, done in zip(*played(supervision, [many] * 4)[-1][1:], strict=True) if segment == 4)


def test_halting_that_does_not_stop_is_trained_all_the_same():
    halts = scripts("2222")
    assert played(DeepSupervision(3, halting=ACT(exploration=0.0, stops=False)), [halts] * 3) == [
        (["2222"], [1], [False]),
        (["2222"], [2], [False]),
        (["2222"], [3], [True]),
    ]
    losses = [
        DeepSupervision(3, halting=act)(Scripted(), halts, torch.Generator(), {}).value
        for act in (ACT(stops=False), ACT(), None)
    ]
    assert losses[0] == losses[1] > losses[2]


@pytest.mark.parametrize("continue_value", [False, True])
def test_a_detached_halting_value_leaves_the_recurrence_alone(continue_value):
    net = Two()
    with_value, without = (
        gradients(net, DeepSupervision(3, halting=act, loss=in_double)(net, BATCH, torch.Generator(), {}).value)
        for act in (ACT(detach=True, continue_value=continue_value), None)
    )
    assert with_value["q.weight"].abs().max() > 0
    for name, gradient in without.items():
        torch.testing.assert_close(with_value[name], gradient, rtol=0, atol=1e-12)


def test_every_pass_of_a_segment_may_have_its_loss():
    net = Two()
    got = DeepSupervision(4, passes=3, halting=None, loss=in_double, every_pass=True)(net, BATCH, torch.Generator(), {})
    x = net.embed(BATCH.tokens)
    state, losses = Halves(torch.zeros_like(x), torch.ones_like(x)), []
    for _ in range(3):
        state = segment_by_hand(net, state, BATCH.tokens, 1, None)
        losses.append(loss_by_hand(net.head(state.y)))
    torch.testing.assert_close(got.value, sum(losses) / 3, rtol=0, atol=1e-10)
    expected = gradients(net, sum(losses) / 3)
    for name, gradient in gradients(net, got.value).items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-10)
    assert torch.equal(got.carry["state.0"], state.y) and torch.equal(got.carry["state.1"], state.z)


def test_solved_means_every_position():
    loss = DeepSupervision(2, halting=None)(Scripted(), scripts("10", "00", "20", "30"), torch.Generator(), {})
    assert loss.metrics["solved"].item() == 0.5


@pytest.mark.parametrize(
    ("supervision", "name"),
    [
        (FinalLoss(ConstantPasses(2)), "FinalLoss(passes=ConstantPasses(passes=2), gradient_passes=None)"),
        (
            FinalLoss(ConstantPasses(2), gradient_updates=2, loss=StableMax()),
            "FinalLoss(passes=ConstantPasses(passes=2), gradient_passes=None, gradient_updates=2, loss=StableMax())",
        ),
        (EveryPassLoss(ConstantPasses(2)), "EveryPassLoss(passes=ConstantPasses(passes=2))"),
        (
            DeepSupervision(4, leave=0.5, halting=None),
            "DeepSupervision(segments=4, passes=1, gradient_updates=None, halting=None, leave=0.5)",
        ),
    ],
)
def test_a_name_leaves_out_what_is_as_always(supervision, name):
    """Ledger entries and checkpoints are compared by it."""
    assert repr(supervision) == name


def drawn(schedule, batch=BATCH, times: int = 400) -> set[int]:
    generator = torch.Generator().manual_seed(0)
    return {schedule(batch, generator) for _ in range(times)}


def test_pass_schedules_draw_from_their_range():
    assert drawn(ConstantPasses(7)) == {7}
    assert drawn(UniformPasses(3, 8)) == {3, 4, 5, 6, 7, 8}
    assert drawn(UniformPasses(2, 2)) == {2}
    assert drawn(PassesPerPosition(extra=4)) == {5, 6, 7, 8, 9}  # 5 letters, 6 positions
    assert drawn(PassesPerPosition(extra=0)) == {5}
    one_position = type(BATCH)(*(field[:, :1] for field in BATCH))
    assert drawn(PassesPerPosition(extra=1), one_position) == {1, 2}


def test_a_schedule_is_a_function_of_the_generator():
    for schedule in (UniformPasses(1, 1000), PassesPerPosition(1000)):
        one, same, other = (schedule(BATCH, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert one == same != other


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: ConstantPasses(0), ValueError, "passes=0"),
        (lambda: ConstantPasses(2.0), TypeError, "passes=2.0"),
        (lambda: UniformPasses(0, 4), ValueError, "low=0, high=4"),
        (lambda: UniformPasses(5, 4), ValueError, "low=5, high=4"),
        (lambda: PassesPerPosition(-1), ValueError, "extra=-1"),
        (lambda: FinalLoss(ConstantPasses(4), -1), ValueError, "passes=-1"),
        (lambda: FinalLoss(ConstantPasses(4), True), TypeError, "passes=True"),
        (lambda: FinalLoss(ConstantPasses(4), 1, 2), ValueError, "gradient_passes=1 and gradient_updates=2"),
        (lambda: ACT(exploration=1.5), ValueError, r"exploration=1\.5"),
        (lambda: ACT(weight=0.0), ValueError, r"weight=0\.0"),
        (lambda: DeepSupervision(0), ValueError, "segments=0"),
        (lambda: DeepSupervision(4, passes=-2), ValueError, "passes=-2"),
        (lambda: DeepSupervision(4, gradient_updates=2, every_pass=True), ValueError, "gradient_updates=2 for less"),
        (lambda: DeepSupervision(4, horizon="late"), ValueError, "horizon='late'; choose 'fixed' or 'log-uniform'"),
        (lambda: DeepSupervision(4, leave=0.5), ValueError, "leave=0.5, halting=ACT"),
        (lambda: DeepSupervision(4, halting=None, leave=0.0), ValueError, r"leave=0\.0"),
        (
            lambda: DeepSupervision(4)(model(), BATCH, torch.Generator(), {}),
            ValueError,
            "Looped has no halt_logit, which ACT.* trains; use halting=None",
        ),
        (lambda: Curriculum(S3, batch=0, low=1, high=2), ValueError, "batch=0"),
        (lambda: Curriculum(S3, batch=1, low=3, high=2), ValueError, "low=3, high=2"),
        (lambda: Curriculum(S3, batch=1, low=0, high=2), ValueError, "low=0"),
        (lambda: Curriculum(S3, batch=1, low=1, high=2, ramp=-1), ValueError, "ramp=-1"),
    ],
)
def test_bad_choices_are_refused(make, error, said, learners_view):
    with pytest.raises(error, match=said):
        make()
