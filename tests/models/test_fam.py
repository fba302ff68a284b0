import pytest
import torch

from latentkit.layers import count_parameters
from latentkit.models import FAM, FAMConfig
from latentkit.models.fam import FAMLayer
from latentkit.recurrence import TimeRecurrent, stream

VOCAB = 11


def make(f: int = 2, m: int = 1, **fields) -> FAM:
    torch.manual_seed(0)
    fields = {"num_classes": 5, "block_size": 4, "d_model": 8, "num_heads": 2, **fields}
    return FAM(FAMConfig(VOCAB, num_feedback=f, memory_blocks=m, **fields)).double()


def tokens(blocks: int, batch: int = 2, size: int = 4) -> torch.Tensor:
    return torch.randint(VOCAB, (batch, blocks * size), generator=torch.Generator().manual_seed(1))


def naive(model: FAM, x: torch.Tensor) -> torch.Tensor:
    """Algorithm 2 for one sequence, token by token, head by head, with absolute positions (the model's: float32)."""
    c = model.config
    size, f, m, d, h = c.block_size, c.num_feedback, c.memory_blocks, c.d_model, c.num_heads

    def norm(module, v):
        return module.weight * v / torch.sqrt((v**2).mean(-1, keepdim=True) + torch.finfo(v.dtype).eps)

    def rope(v, place):  # one head's vector
        half = len(v) // 2
        angle = place / 10000 ** (torch.arange(half, dtype=v.dtype) / half)
        a, b = v[:half], v[half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()])

    def project(layer, v):
        q, k, w = (layer.qkv.weight @ norm(layer.norm1, v)).view(3, h, d // h)
        return q, k, w

    def attend(layer, query, place, entries):
        """entries: (key, value, place) per token seen."""
        heads = []
        for i in range(h):
            scores = torch.stack([rope(query[i], place) @ rope(k[i], p) for k, _, p in entries]) / (d // h) ** 0.5
            heads.append(sum(w * v[i] for w, (_, v, _) in zip(scores.softmax(0), entries, strict=True)))
        return layer.out.weight @ torch.cat(heads)

    def finish(layer, a):
        return layer.mlp(norm(layer.norm2, a)) + a

    feedback, prompt = [], list(model.prompt) if f else []
    for layer in model.layers:
        feedback.append(prompt)
        parts = [project(layer, v) for v in prompt]
        entries = [(k, v, i) for i, (_, k, v) in enumerate(parts)]
        prompt = [
            finish(layer, attend(layer, q, i, entries) + v)
            for i, ((q, _, _), v) in enumerate(zip(parts, prompt, strict=True))
        ]
    outputs, past = [], [[] for _ in model.layers]
    for t in range(len(x) // size):
        inputs = [model.embed.token.weight[i] for i in x[t * size : (t + 1) * size]]
        for number, layer in enumerate(model.layers):
            parts = [project(layer, v) for v in inputs]
            own = [(k, v, t * size + i) for i, (_, k, v) in enumerate(parts)]
            memory = past[number][-m * size :] if m else []
            fam_parts = [project(layer, v) for v in feedback[number]]
            fam = [(k, v, t * size - f + i) for i, (_, k, v) in enumerate(fam_parts)]
            out = []
            for i, (q, _, _) in enumerate(parts):
                entries = memory + fam + own[: i + 1]
                out.append(finish(layer, attend(layer, q, t * size + i, entries) + inputs[i]))
            feedback[number] = [
                finish(layer, attend(layer, q, (t + 1) * size - f + i, fam + own) + (v if t else 0))
                for i, ((q, _, _), v) in enumerate(zip(fam_parts, feedback[number], strict=True))
            ]
            past[number] += own
            inputs = out
        outputs += inputs
    return model.head(norm(model.norm, torch.stack(outputs)))


@pytest.mark.parametrize(("f", "m"), [(2, 0), (2, 1), (1, 2), (0, 0), (0, 1), (4, 2)])
def test_equals_the_algorithm_token_by_token(f, m):
    model, x = make(f, m), tokens(4)
    with torch.no_grad():
        by_hand = torch.stack([naive(model, row) for row in x])
        torch.testing.assert_close(model(x), by_hand, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("f", "m"), [(2, 0), (2, 1), (1, 2), (0, 0), (0, 1)])
def test_streaming_equals_the_batched_run(f, m):
    model, x = make(f, m), tokens(5)
    assert isinstance(model, TimeRecurrent)
    run = stream(model, x.split(4, 1))
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(list(run.logits), 1), model(x), rtol=0, atol=1e-10)


def test_streaming_has_the_gradient_of_the_batched_run():
    model, x = make(), tokens(4)
    model(x).square().mean().backward()
    batched = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    state, logits = model.initial_state(2), []
    for block in x.split(4, 1):
        state, output = model.step(state, block)
        logits.append(model.decode(output))
    torch.cat(logits, 1).square().mean().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, batched[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("f", [1, 2, 4])
def test_all_that_is_new_is_the_prompt(f):
    assert count_parameters(make(f)) == count_parameters(make(0)) + f * 8


@pytest.mark.parametrize(("f", "m"), [(2, 0), (2, 1), (4, 2), (0, 1)])
def test_no_output_changes_with_a_later_token(f, m):
    model, x = make(f, m), tokens(3, batch=1)
    with torch.no_grad():
        before = model(x)
        for place in range(x.shape[1]):
            other = x.clone()
            other[:, place] = (other[:, place] + 1) % VOCAB
            after = model(other)
            assert torch.equal(after[:, :place], before[:, :place])
            assert not torch.equal(after[:, place], before[:, place])


@pytest.mark.parametrize(("f", "m"), [(2, 0), (2, 1)])
def test_no_gradient_comes_from_a_later_token(f, m):
    model, x = make(f, m), tokens(3, batch=1)
    embedded = model.embed(x).detach().requires_grad_()
    model.embed.forward = lambda _: embedded
    logits = model(x)
    for place in range(x.shape[1]):
        (gradient,) = torch.autograd.grad(logits[0, place].sum(), embedded, retain_graph=True)
        reached = gradient[0].abs().sum(-1) > 0
        assert not reached[place + 1 :].any()
        assert reached[: place + 1].all()  # through the feedback, all the way back


def test_without_feedback_nothing_runs_block_by_block(monkeypatch):
    model, x = make(0, 1), tokens(5)
    calls = []
    project = FAMLayer.project
    monkeypatch.setattr(FAMLayer, "project", lambda layer, x: calls.append(len(x)) or project(layer, x))
    model(x)
    assert calls == [10, 10]  # all blocks of both sequences at once, a layer a call


@pytest.mark.parametrize(("f", "m", "masks"), [(2, 0, 1), (0, 0, 1), (2, 1, 3)])
def test_without_a_memory_segment_one_mask_is_enough(f, m, masks):
    model, seen = make(f, m), torch.tensor([[0], [1], [2]])
    mask = model._mask(seen)
    assert mask.shape == (masks, 1, f + 4, 4 * m + f + 4)
    for i, row in enumerate(mask.expand(3, -1, -1, -1)[:, 0].tolist()):
        blank = 4 * (m - min(i, m))
        assert row[:f] == [[k >= 4 * m for k in range(4 * m + f + 4)]] * f
        assert row[f:] == [[blank <= k <= 4 * m + f + q for k in range(4 * m + f + 4)] for q in range(4)]


@pytest.mark.parametrize("m", [0, 1])
def test_a_cut_gradient_is_cut_through_the_feedback_only(m):
    """The memory segment still carries one, from the block before."""
    model, x = make(2, m, through_time=False, num_layers=1), tokens(2, batch=1)
    embedded = model.embed(x).detach().requires_grad_()
    model.embed.forward = lambda _: embedded
    (gradient,) = torch.autograd.grad(model(x)[0, 4:].sum(), embedded)
    assert (gradient[0, :4].abs().sum() > 0) == bool(m) and gradient[0, 4:].abs().sum() > 0


def test_without_feedback_the_window_ends():
    """Each layer looks m blocks back: two layers of one block each, and two blocks back is the end of it."""
    model, x = make(0, 1), tokens(5, batch=1)
    embedded = model.embed(x).detach().requires_grad_()
    model.embed.forward = lambda _: embedded
    (gradient,) = torch.autograd.grad(model(x)[0, -1].sum(), embedded)
    reached = gradient[0].abs().sum(-1) > 0
    assert reached[8:].all() and not reached[:8].any()


def test_the_state_does_not_grow():
    model = make()
    first = [part.shape for part in model.initial_state(2)]
    run = stream(model, tokens(9).split(4, 1))
    assert all([part.shape for part in state] == first for state in run.states)


def test_first_update_has_no_residual():
    """F_1 is the same whatever is added to what F_0 adds, and nothing else."""
    model, x = make(f=2, m=0, num_layers=1), tokens(1, batch=1)
    layer, state = model.layers[0], model.initial_state(1)
    with torch.no_grad():
        first = model.step(state, x)[0].feedback
        second = model.step(state._replace(seen=torch.ones(1, 1, dtype=torch.long)), x)[0].feedback
        undone = {}
        for name, feedback in (("first", first), ("second", second)):
            # a is what the feed-forward net was added to: found by iterating a = F - FF(LN(a)), tested below
            a = feedback[0].clone()
            for _ in range(500):
                a = 0.5 * a + 0.5 * (feedback[0] - layer.mlp(layer.norm2(a)))
            torch.testing.assert_close(layer.mlp(layer.norm2(a)) + a, feedback[0], rtol=0, atol=1e-8)
            undone[name] = a
    torch.testing.assert_close(undone["second"] - undone["first"], state.feedback[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"f": 5}, "num_feedback=5 with block_size=4"),
        ({"f": -1}, "num_feedback=-1"),
        ({"m": -1}, "memory_blocks=-1"),
        ({"d_model": 6}, "d_model=6, num_heads=2"),
        ({"num_layers": 0}, "num_layers=0"),
    ],
)
def test_bad_configs_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        make(**fields)


def test_bad_input_is_refused(learners_view):
    model = make()
    with pytest.raises(ValueError, match="10 tokens are no whole number of blocks of 4"):
        model(tokens(3)[:, :10])
    with pytest.raises(ValueError, match="a block of 3 tokens; this model reads blocks of exactly 4"):
        model.step(model.initial_state(2), tokens(1)[:, :3])
    with pytest.raises(ValueError, match="token 11"):
        model(tokens(1) * 0 + 11)
