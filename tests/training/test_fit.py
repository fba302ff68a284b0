import itertools
import math
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from latentkit.layers import BlockConfig, MixingConfig
from latentkit.models import HRMConfig, Looped, LoopedConfig, Transformer, TransformerConfig, TRMConfig, build
from latentkit.tasks import Batch, WordProblem
from latentkit.training import (
    ConstantPasses,
    Curriculum,
    DeepSupervision,
    FinalLoss,
    FitConfig,
    PlainLoss,
    UniformPasses,
    fit,
    pick_device,
)
from latentkit.training.fit import casts_once, draw_batches, learning_rate_at, step_generator
from latentkit.training.supervision import Loss

WORDS = Curriculum(WordProblem("Z2"), batch=4, low=2, high=5)
SMALL = BlockConfig(8, 2, 1)


def stack(seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(TransformerConfig(3, 2, 1, SMALL))


def loop(seed: int = 0) -> Looped:
    torch.manual_seed(seed)
    return Looped(LoopedConfig(3, 2, block=SMALL))


def train(model, supervision=None, batches=WORDS, **config):
    return fit(model, batches, supervision or PlainLoss(), FitConfig(**{"steps": 8, **config}), progress=False)


def weights(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def watched(model: nn.Module, seen: list, batches=WORDS):
    """The same batches; notes the weights that each step starts from."""

    def source(step, generator):
        seen.append(weights(model))
        return batches(step, generator)

    return source


def test_training_learns_parity_of_short_words():
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(3, 2, 1, BlockConfig(16, 2)))
    words = Curriculum(WordProblem("Z2"), batch=32, low=2, high=2)
    result = train(model, batches=words, steps=80, learning_rate=1e-2, warmup=5)
    assert len(result.losses) == 80
    assert result.losses[0] > 0.5
    assert sum(result.losses[-10:]) / 10 < 0.1
    assert result.cpu_seconds > 0
    assert not model.training


def test_a_run_is_a_function_of_weights_and_seed():
    one, same, other = stack(), stack(), stack()
    losses = [train(model, seed=seed).losses for model, seed in ((one, 1), (same, 1), (other, 2))]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(weights(one), weights(same))


def test_one_step_by_hand():
    """AdamW's first step, in its own words: m and v corrected for their start are g and g^2."""
    model, reference = stack(), stack()
    train(model, steps=1, warmup=4, learning_rate=0.1, weight_decay=0.5, clip=1e9)
    generator = step_generator(0, 0)
    PlainLoss()(reference, WORDS(0, generator), generator, {}).value.backward()
    rate = 0.1 / 4
    for got, p in zip(model.parameters(), reference.parameters(), strict=True):
        expected = p * (1 - rate * 0.5) - rate * p.grad / (p.grad.abs() + 1e-8)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_learning_rate_warms_up_and_falls_along_a_cosine():
    config = FitConfig(steps=100, learning_rate=2.0, warmup=10)
    at = [learning_rate_at(step, config) for step in range(100)]
    assert at[0] == pytest.approx(2 * 0.1)
    assert at[4] == pytest.approx(2 * 0.5 * (0.05 + 0.95 * 0.5 * (1 + math.cos(0.04 * math.pi))))
    assert at[50] == pytest.approx(2 * (0.05 + 0.95 / 2))
    assert at[99] == pytest.approx(2 * 0.05, rel=0.01)
    assert max(at) == at[9] or max(at) == at[10]
    assert all(a > b for a, b in itertools.pairwise(at[10:]))
    assert learning_rate_at(0, FitConfig(steps=9, learning_rate=2.0, warmup=0)) == 2.0


def test_the_learning_rate_is_used():
    model, seen = stack(), []
    train(model, batches=watched(model, seen), steps=3, warmup=2, weight_decay=0.0, betas=(0.0, 0.0))
    moved = [(b - a).abs().max().item() for a, b in zip(seen, [*seen[1:], weights(model)], strict=True)]
    # Without momentum every weight moves by exactly the learning rate.
    assert moved == pytest.approx([learning_rate_at(step, FitConfig(3, warmup=2)) for step in range(3)], rel=1e-2)


def test_a_constant_schedule_warms_up_and_stays():
    config = FitConfig(steps=100, learning_rate=2.0, warmup=10, schedule="constant")
    assert [learning_rate_at(step, config) for step in (0, 4, 9, 10, 99)] == pytest.approx([0.2, 1, 2, 2, 2])


@pytest.mark.parametrize("optimiser", ["adam-atan2", "muon"])
def test_other_optimisers_train(optimiser):
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(3, 2, 1, BlockConfig(16, 2)))
    words = Curriculum(WordProblem("Z2"), batch=32, low=2, high=2)
    settings = {"batches": words, "steps": 80, "learning_rate": 1e-2, "warmup": 5, "optimiser": optimiser}
    if optimiser == "muon" and not hasattr(torch.optim, "Muon"):  # before torch 2.9
        with pytest.raises(ValueError, match="has no Muon"):
            train(model, **settings)
    else:
        assert sum(train(model, **settings).losses[-10:]) / 10 < 0.2


def gradient_norm(model: nn.Module) -> float:
    return math.sqrt(sum(p.grad.pow(2).sum().item() for p in model.parameters()))


def test_long_gradients_are_clipped_and_short_ones_are_not():
    norms = []
    for clip in (1e9, 1e-3):
        model = stack()
        train(model, steps=1, clip=clip)
        norms.append(gradient_norm(model))
    assert norms[0] > 0.01
    assert norms[1] == pytest.approx(1e-3, rel=1e-2)


def test_ema_by_hand():
    model, seen = stack(), []
    result = train(model, batches=watched(model, seen), steps=5, ema=0.9, learning_rate=0.05, warmup=0)
    after = [*seen[1:], weights(model)]
    average = after[0]
    for w in after[1:]:
        average = 0.9 * average + 0.1 * w
    torch.testing.assert_close(weights(result.averaged), average, rtol=0, atol=1e-6)
    assert not torch.allclose(average, after[-1], atol=1e-3)
    assert isinstance(result.averaged, Transformer)
    assert not result.averaged.training
    assert train(stack(), steps=1).averaged is None


def test_ema_does_not_touch_the_training():
    assert train(stack(), ema=0.9).losses == train(stack()).losses


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_says_at_which_step(bad):
    calls = []

    def supervision(model, batch, generator, carry):
        calls.append(1)
        loss = PlainLoss()(model, batch, generator, carry)
        return loss._replace(value=loss.value * (bad if len(calls) == 4 else 1))

    with pytest.raises(FloatingPointError, match=f"the loss is {bad} at step 3; lower learning_rate=0.002"):
        train(stack(), supervision)


def test_carry_is_handed_on_detached():
    seen = []

    def supervision(model, batch, generator, carry):
        seen.append(carry)
        loss = PlainLoss()(model, batch, generator, carry).value
        return Loss(loss, {"last": loss * 2})

    losses = train(stack(), supervision, steps=3).losses
    assert seen[0] == {}
    assert [c["last"].item() for c in seen[1:]] == pytest.approx([2 * x for x in losses[:2]])
    assert not seen[1]["last"].requires_grad


def test_metrics_are_kept_beside_the_losses():
    def supervision(model, batch, generator, carry):
        loss = PlainLoss()(model, batch, generator, carry)
        return loss._replace(metrics={"half": loss.value.detach() / 2})

    result = train(stack(), supervision)
    assert result.metrics["half"] == pytest.approx([loss / 2 for loss in result.losses])


def test_the_models_own_draws_are_a_function_of_seed_and_step():
    seen = {}

    def supervision(model, batch, generator, carry):
        seen.setdefault(name, []).append(torch.rand(()).item())
        return PlainLoss()(model, batch, generator, carry)

    before = torch.get_rng_state()
    for run, seed in (("one", 0), ("same", 0), ("other", 1)):
        name = run
        train(stack(), supervision, seed=seed)
        torch.rand(3)
    torch.set_rng_state(before)
    assert seen["one"] == seen["same"]
    assert len(set(seen["one"] + seen["other"])) == 16


def test_a_step_leaves_the_global_random_state_alone():
    model = stack()
    before = torch.get_rng_state()
    train(model, lambda *arguments: (torch.rand(3), PlainLoss()(*arguments))[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_watcher_sees_every_step():
    seen = []
    result = fit(
        stack(),
        WORDS,
        PlainLoss(),
        FitConfig(5, ema=0.9),
        progress=False,
        watch=lambda step, so_far: seen.append((step, so_far.losses[-1], so_far.averaged is not None)),
    )
    assert seen == [(step + 1, loss, True) for step, loss in enumerate(result.losses)]


@pytest.mark.parametrize("ahead", [1, 2, 5, 100])
def test_batches_drawn_ahead_are_the_same(ahead):
    config, asked = FitConfig(steps=9, seed=3), []

    def source(step, generator):
        asked.append(step)
        return WORDS(step, generator)

    now = list(draw_batches(WORDS, config, first=2, ahead=0))
    for done, (batch, generator) in enumerate(draw_batches(source, config, first=2, ahead=ahead)):
        expected, expected_generator = now[done]
        assert all(map(torch.equal, batch, expected))
        assert torch.equal(generator.get_state(), expected_generator.get_state())
        assert max(asked) <= min(8, 2 + done + ahead)
    assert asked == list(range(2, 9))
    assert len(now) == 7


def test_an_error_in_a_batch_drawn_ahead_comes_at_its_step():
    def source(step, generator):
        if step == 2:
            raise RuntimeError("no more puzzles")
        return WORDS(step, generator)

    drawn = draw_batches(source, FitConfig(steps=9), first=0, ahead=2)
    next(drawn), next(drawn)
    with pytest.raises(RuntimeError, match="no more puzzles"):
        next(drawn)


def test_a_model_of_ones_own_needs_no_config():
    """Lab 01's learners train the stack that they have built themselves."""

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(3, 2)

        def forward(self, tokens):
            return self.table(tokens)

    assert len(train(Own()).losses) == 8


class Recorder(nn.Module):
    """A head that notes in which precision it is called."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head, self.seen = head, set()

    def forward(self, x):
        y = self.head(x)
        self.seen.add(y.dtype)
        return y


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("gradient_passes", [None, 1])
def test_bf16_runs_the_model_only(gradient_passes):
    supervision, runs = FinalLoss(ConstantPasses(3), gradient_passes), {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        model = loop()
        model.head = Recorder(model.head)
        losses = []

        def noted(*arguments, losses=losses):
            losses.append(supervision(*arguments))
            return losses[-1]

        runs[precision] = train(model, noted, precision=precision).losses
        assert model.head.seen == {dtype}
        assert {loss.value.dtype for loss in losses} == {torch.float32}
        assert {p.dtype for p in model.parameters()} == {p.grad.dtype for p in model.parameters()} == {torch.float32}
        # autocast keeps cast weights: those cast in passes without gradient must not serve in the passes with it
        assert all(p.grad.abs().max() > 0 for name, p in model.named_parameters() if "slope" not in name)
    assert runs["bf16"] == pytest.approx(runs["fp32"], abs=0.02)
    assert runs["bf16"] != runs["fp32"]


PUZZLE = MixingConfig(num_positions=9, d_model=16, hidden=32, token_hidden=16)
NESTED = {
    "HRM": (HRMConfig(4, 3, PUZZLE), 2),
    "TRM": (TRMConfig(4, 3, PUZZLE, n=2, T=2), 3),
    "every update": (TRMConfig(4, 3, PUZZLE, n=2, T=2), None),
}


def puzzles(step: int, generator: torch.Generator) -> Batch:
    """Copy the clue, or guess: nothing that could be learned in a few steps."""
    tokens = torch.randint(4, (8, 9), generator=generator)
    return Batch(tokens, (tokens - 1).clamp(min=0), tokens)


def first_gradients(config, gradient_updates, precision: str, compile: bool = False) -> torch.Tensor:
    torch.manual_seed(0)
    model = build(config)
    supervision = DeepSupervision(3, gradient_updates=gradient_updates)
    fit(model, puzzles, supervision, FitConfig(1, precision=precision, compile=compile, clip=1e9), progress=False)
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    assert "update" not in vars(model)
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize(("config", "gradient_updates"), NESTED.values(), ids=NESTED)
def test_bf16_gradients_are_right_where_passes_go_without(config, gradient_updates, monkeypatch):
    """Each weight is cast once a step, in an update without gradient: those with gradient must still reach it."""
    exact, rounded = (first_gradients(config, gradient_updates, precision) for precision in ("fp32", "bf16"))
    assert torch.cosine_similarity(exact, rounded, dim=0) > 0.97
    monkeypatch.setattr(sys.modules[fit.__module__], "casts_once", lambda _: False)
    cast_anew = first_gradients(config, gradient_updates, "bf16")
    # Not bit for bit: the gradients of one cast, used in several updates, are added up in bfloat16.
    assert torch.cosine_similarity(rounded, cast_anew, dim=0) > 0.9999


def test_a_weight_is_cast_once_a_step():
    class Casts(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.of = Counter()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten._to_copy.default and isinstance(args[0], nn.Parameter):
                self.of[id(args[0])] += 1
            return function(*args, **(kwargs or {}))

    config, gradient_updates = NESTED["TRM"]
    with Casts() as casts:
        first_gradients(config, gradient_updates, "bf16")
    assert len(casts.of) >= 2 * 6 + 1  # two blocks of two SwiGLUs, and the head
    assert max(casts.of.values()) == (1 if casts_once("cpu") else 6)  # 6 updates in T = 2 recursions of n + 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what the compiler of the day deprecates in itself
def test_compiled_updates_of_a_nested_model_in_bf16(learners_view):
    """By gradients, not by losses: those of later segments differ, since the compiler rounds less often."""
    config = TRMConfig(4, 3, PUZZLE, num_layers=1, n=1, T=2)
    exact = first_gradients(config, 2, "fp32")
    assert torch.cosine_similarity(exact, first_gradients(config, 2, "bf16", compile=True), dim=0) > 0.97


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what the compiler of the day deprecates in itself
@pytest.mark.parametrize("make", [stack, loop])
def test_compiled_training_gives_the_same_losses(make, learners_view):
    supervision = PlainLoss() if make is stack else FinalLoss(UniformPasses(1, 3))
    model = make()
    compiled = train(model, supervision, compile=True, steps=12).losses
    assert compiled == pytest.approx(train(make(), supervision, steps=12).losses, abs=1e-4)
    assert "step" not in vars(model) and "forward" not in vars(model)
    assert model.state_dict().keys() == make().state_dict().keys()


def test_every_step_has_draws_of_its_own():
    draws = {
        (seed, step): torch.randint(2**62, (), generator=step_generator(seed, step)).item()
        for seed in range(4)
        for step in range(1500)
    }
    assert len(set(draws.values())) == len(draws)
    assert draws[3, 7] == torch.randint(2**62, (), generator=step_generator(3, 7)).item()
    # torch seeds the CPU generator with the lower 32 bits only
    assert len({step_generator(seed, step).initial_seed() % 2**32 for seed, step in draws}) == len(draws)
    uniform = torch.tensor([draws[0, step] / 2**62 for step in range(1500)])
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.03)
    assert torch.corrcoef(torch.stack([uniform[1:], uniform[:-1]]))[0, 1].abs() < 0.1


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")


def test_a_device_that_is_not_here_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device 'cuda:1' is not available here; choose auto or one of .*cpu"):
        pick_device("cuda:1")
    with pytest.raises(ValueError, match="device 'tpu'"):
        train(stack(), device="tpu")


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")  # what the compiler of the day deprecates in itself
@pytest.mark.parametrize("compile", [False, True])
def test_deep_supervision_on_a_gpu(compile, learners_view):
    """Batches pinned and drawn ahead, bfloat16, compiled updates: the losses of a plain run on the CPU, roughly."""
    config, gradient_updates = NESTED["TRM"]
    runs = []
    for settings in ({}, {"device": "cuda", "precision": "bf16", "compile": compile}):
        torch.manual_seed(0)
        supervision = DeepSupervision(3, gradient_updates=gradient_updates)
        runs.append(fit(build(config), puzzles, supervision, FitConfig(8, **settings), progress=False).losses)
    assert runs[1] == pytest.approx(runs[0], abs=0.05)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_goes_on_where_it_was_on_a_gpu(tmp_path, precision):
    config = FitConfig(steps=10, device="cuda", precision=precision, checkpoint_every=4, ema=0.9)

    def stopping(step, generator):
        if step == 6:
            raise KeyboardInterrupt
        return WORDS(step, generator)

    supervision = FinalLoss(UniformPasses(1, 3))
    with pytest.raises(KeyboardInterrupt):
        fit(loop(), stopping, supervision, config, run_dir=tmp_path, progress=False)
    model = loop(seed=9)
    resumed = fit(model, WORDS, supervision, config, run_dir=tmp_path, progress=False)
    whole = fit(loop(), WORDS, supervision, config, progress=False)
    assert next(model.parameters()).device.type == "cuda"
    assert resumed.losses == pytest.approx(whole.losses, abs=1e-3)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"steps": 0}, "steps=0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"checkpoint_every": -1}, "checkpoint_every=-1"),
        ({"learning_rate": 0.0}, r"learning_rate=0\.0"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"clip": -1.0}, r"clip=-1\.0"),
        ({"precision": "fp8"}, "precision='fp8'; choose 'fp32' or 'bf16'"),
        ({"ema": 1.0}, r"ema=1\.0"),
        ({"ema": 0.0}, r"ema=0\.0"),
        ({"schedule": "linear"}, "schedule='linear'; choose 'cosine' or 'constant'"),
        ({"optimiser": "sgd"}, "optimiser='sgd'; choose one of adamw, adam-atan2, muon"),
    ],
)
def test_config_names_what_it_refuses(fields, said, learners_view):
    with pytest.raises(ValueError, match=said):
        FitConfig(**{"steps": 5, **fields})


def test_the_bar_tells_size_steps_and_loss(capsys):
    result = fit(stack(), WORDS, PlainLoss(), FitConfig(steps=8))
    said = capsys.readouterr().err
    assert "8/8 steps" in said
    assert f"{sum(p.numel() for p in stack().parameters()):,} parameters" in said
    assert f"loss {result.losses[-1]:.3f}" in said
    train(stack())
    assert capsys.readouterr() == ("", "")


def test_in_a_notebook_the_bar_is_one_output_replaced_in_place(monkeypatch, capsys):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown[-1] = data["text/plain"]

    def display(data, *, raw, display_id):
        assert raw and display_id
        shown.append(data["text/plain"])
        return Handle()

    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=...))
    monkeypatch.setattr("IPython.display.display", display)
    train(stack())
    assert shown == []
    fit(stack(), WORDS, PlainLoss(), FitConfig(steps=8))
    assert len(shown) == 1
    assert "8/8 steps" in shown[0]
    assert "\r" not in shown[0] and "\x1b" not in shown[0]
    assert capsys.readouterr() == ("", "")
