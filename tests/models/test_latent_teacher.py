import pytest
import torch

from latentkit.models import LatentTeacher, LatentTeacherConfig
from latentkit.models.latent_teacher import spread, standardised

TOKENS = torch.randint(4, (6, 8), generator=torch.Generator().manual_seed(1))


def small(**options):
    torch.manual_seed(0)
    return LatentTeacher(LatentTeacherConfig(4, 4, 2, 3, d_model=3, hidden=5, **options))


def test_the_teacher_begins_as_the_student_and_lags_behind():
    model = small()
    assert all(torch.equal(a, b) for a, b in zip(model.teacher.parameters(), model.student.parameters(), strict=True))
    slow, fast = next(model.teacher.parameters()), next(model.student.parameters())
    with torch.no_grad():
        fast.add_(1.0)
    before = slow.clone()
    model.update_teacher(0.75)
    torch.testing.assert_close(slow, before + 0.25)
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())


def test_latents_are_those_of_the_tree():
    model = small()
    z1, z2 = model(TOKENS)
    assert (z1.shape, z2.shape) == ((6, 4, 3), (6, 2, 3))
    torch.testing.assert_close(z1.square().mean(-1), torch.ones(6, 4), rtol=1e-3, atol=1e-3)
    other = TOKENS.clone()
    other[:, 2] = (other[:, 2] + 1) % 4  # the third token stands under the second node, and under the first above it
    changed = [(a != b).any(-1).any(0).tolist() for a, b in zip(model(other), (z1, z2), strict=True)]
    assert changed == [[False, True, False, False], [True, False]]
    same = torch.tensor([[0, 1] * 4])  # one MLP for every node of a level
    assert torch.allclose(model(same)[0][0, 0], model(same)[0][0, 3])


@pytest.mark.parametrize("standardise", [True, False])
def test_the_loss_is_the_squared_error_at_the_siblings(standardise):
    model = small(standardise=standardise)
    with torch.no_grad():
        for parameter in model.teacher.parameters():  # so that it is no matter of which is which
            parameter.mul_(1.3)
    by_level = []
    for z, taught, W in zip(model.student(TOKENS), model.teacher(TOKENS), model.predictors, strict=True):
        y = standardised(taught) if standardise else taught
        errors = []
        for row in range(6):
            for i in range(z.shape[1]):
                j = i ^ 1
                errors.append((z[row, i] @ W[i % 2, j % 2] - y[row, j]).square().mean())
        by_level.append(torch.stack(errors).mean())
    loss, spreads = model.teacher_loss(TOKENS)
    torch.testing.assert_close(loss, torch.stack(by_level).mean())
    torch.testing.assert_close(spreads, torch.stack([spread(z) for z in model.teacher(TOKENS)]))


def test_tokens_as_targets():
    model = small(target="tokens")
    by_level = []
    for level, (z, W) in enumerate(zip(model.student(TOKENS), model.predictors, strict=True), start=1):
        n, losses = 2**level, []
        for row in range(6):
            for i in range(z.shape[1]):
                j = i ^ 1
                scores = (z[row, i] @ W[i % 2, j % 2]).view(n, 4).log_softmax(-1)
                losses.append(-scores[torch.arange(n), TOKENS[row, j * n : j * n + n]].mean())
        by_level.append(torch.stack(losses).mean())
    torch.testing.assert_close(model.teacher_loss(TOKENS)[0], torch.stack(by_level).mean())


def test_the_gradient_goes_through_all_levels_and_not_into_the_teacher():
    model = small()
    model.teacher_loss(TOKENS)[0].backward()
    assert all(parameter.grad is None for parameter in model.teacher.parameters())
    model.zero_grad()
    z = model.student(TOKENS)
    z[-1].sum().backward()
    assert model.student.embed.weight.grad.abs().sum() > 0


def test_spread_tells_collapse():
    free = torch.randn(500, 4, 8, generator=torch.Generator().manual_seed(0))
    assert float(spread(free)) == pytest.approx(1, abs=0.05)
    assert float(spread(free[:1, :1].expand(500, 4, 8))) < 1e-10
    y = standardised(3 + 5 * free)
    torch.testing.assert_close(y.mean((0, 1)), torch.zeros(8), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.var((0, 1), unbiased=False), torch.ones(8), rtol=1e-3, atol=1e-3)


def test_bad_configs(learners_view):
    with pytest.raises(ValueError, match="target='own'; choose 'teacher' or 'tokens'"):
        LatentTeacherConfig(4, 4, target="own")
    with pytest.raises(ValueError, match="L=1"):
        LatentTeacherConfig(4, 4, L=1)
