import math

import pytest
import torch

from latentkit.models import LatentPredictor, LatentPredictorConfig, LatentTeacher, LatentTeacherConfig
from latentkit.tasks import RandomHierarchy
from latentkit.training import Curriculum, FitConfig, PredictCousins, TeacherLatents, fit

TASK = RandomHierarchy(4, 2, 2, 3, examples=50)
SENTENCES = Curriculum(TASK, batch=8, low=8, high=8)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def predictor():
    torch.manual_seed(0)
    return LatentPredictor(LatentPredictorConfig(4, 4, 2, 3, codes=5, hidden=8))


def test_the_stage_softens_first_and_keeps_codes_alive():
    model, batch = predictor(), SENTENCES(0, rng())
    stage = PredictCousins(level=1, steps=10, spread=0.5)
    start = stage(model, batch, rng(), {})
    loss, use = model.cousin_loss(batch.tokens, 1, beta=1.0)
    entropy = -(use * use.log()).sum()
    torch.testing.assert_close(start.value, loss - 0.5 * entropy)
    torch.testing.assert_close(start.metrics["live_codes"], entropy.exp())
    torch.testing.assert_close(start.metrics["cross_entropy"], loss)
    assert start.carry["done"] == 1
    end = stage(model, batch, rng(), {"done": torch.tensor(10.0)})
    torch.testing.assert_close(end.value, model.cousin_loss(batch.tokens, 1, beta=4.0)[0])


def test_the_teacher_follows_before_the_loss():
    torch.manual_seed(0)
    model = LatentTeacher(LatentTeacherConfig(4, 4, 2, 3, d_model=3, hidden=5))
    with torch.no_grad():
        model.student.embed.weight.add_(1.0)
    before = model.teacher.embed.weight.clone()
    step = TeacherLatents(decay=0.5)(model, SENTENCES(0, rng()), rng(), {})
    torch.testing.assert_close(model.teacher.embed.weight, before + 0.5)
    assert set(step.metrics) == {"spread_1", "spread_2"}


@pytest.mark.parametrize("make", [predictor, lambda: LatentTeacher(LatentTeacherConfig(4, 4, 2, 3, hidden=8))])
def test_killed_and_resumed_trainings_are_the_same(make, tmp_path):
    supervision = PredictCousins(1, 8) if make is predictor else TeacherLatents()
    config = FitConfig(steps=8, checkpoint_every=3)

    class Killed(Exception):
        pass

    def kill(step, result):
        if step == 5:
            raise Killed

    torch.manual_seed(1)
    whole = make()
    expected = fit(whole, SENTENCES, supervision, config, progress=False)
    torch.manual_seed(1)
    resumed = make()
    with pytest.raises(Killed):
        fit(resumed, SENTENCES, supervision, config, run_dir=tmp_path, progress=False, watch=kill)
    result = fit(resumed, SENTENCES, supervision, config, run_dir=tmp_path, progress=False)
    assert result.losses == expected.losses and all(map(math.isfinite, result.losses))
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
