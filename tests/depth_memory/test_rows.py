from dataclasses import replace

import pytest
import torch

from latentkit import models
from latentkit.depth_memory.columns import COLUMNS
from latentkit.depth_memory.rows import PARAMETERS, ROWS, arm_for, config_for, parameters_of
from latentkit.layers import count_parameters
from latentkit.training.fit import step_generator

PAIRS = [pytest.param(row, column, id=f"{row.id}-{column.id}") for row in ROWS for column in COLUMNS]
APPLY = [pytest.param(*p.values, id=p.id) for p in PAIRS if not p.values[0].refuses(p.values[1])]


def test_parameters_differ_by_at_most_five_percent():
    counts = {p.id: parameters_of(config_for(*p.values)) for p in APPLY}
    assert max(counts.values()) <= 1.05 * min(counts.values()), counts
    assert all(abs(count / PARAMETERS - 1) < 0.025 for count in counts.values())


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_parameters_are_counted_as_the_model_has_them(row):
    config = config_for(row, COLUMNS[0])
    assert parameters_of(config) == count_parameters(models.build(config))


@pytest.mark.parametrize(("row", "column"), APPLY)
def test_one_step_trains_every_parameter_that_matters(row, column):
    """The loss is a number, and nearly all weights have a gradient."""
    torch.manual_seed(0)
    arm = arm_for(row, column)
    model = models.build(arm.config)
    batch = arm.batches(0, step_generator(0, 0))
    assert int(batch.tokens.max()) < arm.config.vocab_size
    loss = arm.supervision(model, batch, step_generator(0, 0), {}).value
    loss.backward()
    assert loss.isfinite()
    reached = sum(p.numel() for p in model.parameters() if p.grad is not None)
    assert reached > 0.95 * count_parameters(model)


def test_what_does_not_apply_says_why():
    refused = {(p.values[0].id, p.values[1].id): p.values[0].refuses(p.values[1]) for p in PAIRS}
    refused = {pair: reason for pair, reason in refused.items() if reason}
    assert set(refused) == {(row, "copying") for row in ("hrm", "trm", "eqr")}
    assert all("reads all positions at once" in reason for reason in refused.values())
    hrm, copying = (next(x for x in xs if x.id == i) for xs, i in ((ROWS, "hrm"), (COLUMNS, "copying")))
    with pytest.raises(ValueError, match="hrm on copying: HRM reads all positions at once"):
        config_for(hrm, copying)


def test_a_target_out_of_reach_is_named():
    make, _ = next(ROWS[0].shapes((3, 6), COLUMNS[0]))
    narrow = replace(ROWS[0], id="narrow", shapes=lambda ids, column: iter([(make, range(16, 20, 2))]))
    with pytest.raises(ValueError, match=r"narrow on words: no model near 34000 parameters, only of \["):
        config_for(narrow, COLUMNS[0])
