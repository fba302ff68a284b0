import math

import pytest
import torch
from torch import nn

from latentkit.training.optimisers import AdamATan2, make_optimisers


def quadratic(optimiser_class, steps: int, **settings) -> torch.Tensor:
    """Where an optimiser goes on f(x) = |x - 1|^2 / 2 + noise that is the same for all."""
    x = nn.Parameter(torch.tensor([0.0, 2.0, -3.0]))
    optimiser = optimiser_class([x], **settings)
    generator = torch.Generator().manual_seed(0)
    path = []
    for _ in range(steps):
        x.grad = x.detach() - 1 + 0.1 * torch.randn(3, generator=generator)
        optimiser.step()
        path.append(x.detach().clone())
    return torch.stack(path)


def test_adam_atan2_follows_its_formula():
    """In Python's floats, number by number."""
    lr, (b1, b2), decay = 0.05, (0.9, 0.95), 0.1
    path = quadratic(AdamATan2, 20, lr=lr, betas=(b1, b2), weight_decay=decay)
    generator = torch.Generator().manual_seed(0)
    p, m, v = [0.0, 2.0, -3.0], [0.0] * 3, [0.0] * 3
    for t in range(1, 21):
        noise = torch.randn(3, generator=generator).tolist()
        for i in range(3):
            g = p[i] - 1 + 0.1 * noise[i]
            m[i] = b1 * m[i] + (1 - b1) * g
            v[i] = b2 * v[i] + (1 - b2) * g * g
            p[i] *= 1 - lr * decay
            p[i] -= lr / (1 - b1**t) * math.atan2(m[i], math.sqrt(v[i] / (1 - b2**t)))
        assert path[t - 1].tolist() == pytest.approx(p, abs=1e-5)


def test_adam_atan2_does_not_care_for_the_gradients_scale():
    paths = []
    for scale in (1.0, 1e-12):
        x = nn.Parameter(torch.ones(2))
        optimiser = AdamATan2([x], lr=0.1, weight_decay=0.0)
        for g in (1.0, -2.0, 0.5):
            x.grad = torch.tensor([scale * g, -scale])
            optimiser.step()
        paths.append(x.detach())
    torch.testing.assert_close(*paths)


def test_adam_atan2_leaves_alone_what_has_no_gradient():
    used, unused = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimiser = AdamATan2([used, unused], lr=0.1, weight_decay=0.5)
    used.grad = torch.ones(1)
    optimiser.step()
    assert unused.item() == 1 and used.item() < 1


def test_muon_takes_the_matrices_and_adamw_the_rest():
    model = nn.ModuleDict(
        {"table": nn.Embedding(20, 10), "wide": nn.Linear(10, 20), "thin": nn.Linear(10, 2), "norm": nn.RMSNorm(10)}
    )
    muon, adamw = make_optimisers("muon", model, 0.1, (0.8, 0.9), 0.01)
    assert [type(o).__name__ for o in (muon, adamw)] == ["Muon", "AdamW"]
    names = {id(p): name for name, p in model.named_parameters()}
    groups = [{names[id(p)] for group in o.param_groups for p in group["params"]} for o in (muon, adamw)]
    assert groups == [
        {"wide.weight"},
        {"table.weight", "wide.bias", "thin.weight", "thin.bias", "norm.weight"},
    ]
    assert muon.param_groups[0]["momentum"] == 0.8
    assert muon.param_groups[0]["adjust_lr_fn"] == "match_rms_adamw"


def test_muon_alone_where_all_are_matrices():
    assert len(make_optimisers("muon", nn.Linear(8, 8, bias=False), 0.1, (0.9, 0.9), 0.0)) == 1


def test_muon_is_missed_by_name(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ValueError, match=r"torch .* has no Muon .*use optimiser='adamw' or a newer torch"):
        make_optimisers("muon", nn.Linear(8, 8), 0.1, (0.9, 0.9), 0.0)


def test_muon_without_matrices_is_refused():
    with pytest.raises(ValueError, match=r"no matrix .* use optimiser='adamw'"):
        make_optimisers("muon", nn.Linear(8, 2), 0.1, (0.9, 0.9), 0.0)
