import math

import pytest
import torch
from torch import Tensor

from latentkit.layers import BlockConfig
from latentkit.models import Looped, LoopedConfig, Transformer, TransformerConfig
from latentkit.tasks import WordProblem
from latentkit.training import (
    ConstantPasses,
    Curriculum,
    EveryPassLoss,
    FinalLoss,
    PassesPerPosition,
    PlainLoss,
    UniformPasses,
)
from latentkit.training.supervision import Supervision, cross_entropy

S3 = WordProblem("S3")
BATCH = S3.sample(4, 5, torch.Generator().manual_seed(0))


def model(dtype=torch.float64) -> Looped:
    torch.manual_seed(0)
    return Looped(LoopedConfig(3, 6, block=BlockConfig(8, 2, 1), prelude_layers=1, coda_layers=1)).to(dtype)


def loss_by_hand(logits: Tensor) -> Tensor:
    probabilities = logits.exp() / logits.exp().sum(-1, keepdim=True)
    return -probabilities.gather(-1, BATCH.targets[..., None]).log().mean()


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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "latentkit.training.supervision.cross_entropy",
            lambda logits, targets: torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()),
        )
        return gradients(net, supervision(net, BATCH, torch.Generator(), {}).value)


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


def test_cross_entropy_is_in_nats_over_every_position_and_in_float32():
    logits = torch.zeros(2, 3, 6, dtype=torch.bfloat16)
    value = cross_entropy(logits, torch.zeros(2, 3, dtype=torch.long))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(math.log(6))


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
        (lambda: Curriculum(S3, batch=0, low=1, high=2), ValueError, "batch=0"),
        (lambda: Curriculum(S3, batch=1, low=3, high=2), ValueError, "low=3, high=2"),
        (lambda: Curriculum(S3, batch=1, low=0, high=2), ValueError, "low=0"),
        (lambda: Curriculum(S3, batch=1, low=1, high=2, ramp=-1), ValueError, "ramp=-1"),
    ],
)
def test_bad_choices_are_refused(make, error, said, learners_view):
    with pytest.raises(error, match=said):
        make()
