import pytest
import torch

from latentkit.claims import REGISTRY
from latentkit.claims.working_memory import BLOCKS, PASSKEY, PLAIN, REMEDIES, StatePassing, norms
from latentkit.models import FAM, FAMConfig


def runs(blocks: int, *values: float, **more: float) -> list[dict]:
    return [{f"accuracy@{blocks}": float(value), **more} for value in values]


def passkey(fam, bswa):
    window = [{f"accuracy@{t}": float(100 if t < 4 else value) for t in BLOCKS} for value in bswa]
    return {"fam": runs(256, *fam), "bswa": window}


@pytest.mark.parametrize(
    ("fam", "bswa", "verdict"),
    [
        ((80, 90, 100), (5, 10, 15), "reproduced"),
        ((79.9, 90, 100), (10, 10, 10), "partly"),
        ((70, 60, 79), (10, 10, 10), "not reproduced"),
        ((80, 90, 100), (10, 10, 15.1), "not reproduced"),
        ((80, 90, 100), (4.9, 10, 10), "not reproduced"),
    ],
)
def test_passkey(fam, bswa, verdict):
    assert REGISTRY["fam-passkey"].judge(passkey(fam, bswa)) == verdict


@pytest.mark.parametrize(
    ("growth", "plain", "best", "verdict"),
    [
        (4, (40, 50, 60), (80, 80, 80), "reproduced"),
        (4, (40, 50, 60), (79.9, 80, 80), "not reproduced"),  # 20 points more than the best seed without, not 19.9
        (4, (40, 50, 50), (79.9, 80, 80), "partly"),
        (4, (40, 40, 75), (94, 94, 94), "not reproduced"),
        (4, (80, 80, 80), (100, 100, 100), "partly"),  # nothing to mend, and yet better
        (3.9, (40, 50, 60), (80, 80, 80), "not reproduced"),
    ],
)
def test_remedies(growth, plain, best, verdict):
    results = {arm: runs(256, 10, 10, 10) for arm in REMEDIES}
    results |= {PLAIN: runs(256, *plain, norm_growth=growth), REMEDIES[-1]: runs(256, *best)}
    assert REGISTRY["fam-remedies"].judge(results) == verdict


@pytest.mark.parametrize(
    ("cut", "flat", "segment", "verdict"),
    [
        ((10, 70), (10, 70), (0, 95), "reproduced"),
        ((10, 70), (10, 70), (0, 95.1), "partly"),  # the segment is worth something
        ((10, 70.1), (10, 70), (0, 0), "partly"),
        ((10, 70), (10, 70.1), (0, 0), "partly"),
        ((71, 71), (10, 99), (0, 0), "not reproduced"),
    ],
)
def test_ablations(cut, flat, segment, verdict):
    results = {PLAIN: runs(16, 90, 100), "with a memory segment": runs(16, *segment)}
    results |= {"no gradient through time": runs(16, *cut), "no curriculum": runs(16, *flat)}
    assert REGISTRY["fam-ablations"].judge(results) == verdict


def test_growth_is_from_block_16_to_256():
    path = torch.ones(len(BLOCKS), 2, 2, 4, 9) * torch.tensor(BLOCKS)[:, None, None, None, None]
    measured = norms(path, BLOCKS)
    assert measured["norm_growth"] == 16
    assert measured["norm_layer2"] == [float(f"{3 * t:.4g}") for t in BLOCKS]


class Recorder(FAM):
    """Notes the blocks that it reads and the states that it reads them in."""

    def step(self, state, block):
        self.read.append((state, block))
        return super().step(state, block)


def passed(share: float, ages=(1, 1), steps: int = 100):
    torch.manual_seed(0)
    model = Recorder(FAMConfig(PASSKEY.vocab_size, 10, num_feedback=2, d_model=8, num_heads=2))
    model.read = []
    batch = PASSKEY.sample(2, 3, torch.Generator().manual_seed(1))
    carry = {
        "feedback": torch.full((2, 2, 2, 8), 7.0),
        "secret": torch.tensor([[1, 2, 3], [4, 5, 6]]),
        "age": torch.tensor(ages)[:, None],
        "steps": torch.full((2, 1), steps),
    }
    loss = StatePassing(share, ramp=100)(model, batch, torch.Generator().manual_seed(2), carry)
    return model, batch, carry, loss


def test_a_sequence_goes_on_with_its_key_and_its_state():
    model, _, carry, loss = passed(share=1.0)
    state, _ = model.read[0]
    assert torch.equal(state.feedback, carry["feedback"]) and (state.seen == 1).all()
    read = torch.cat([block for _, block in model.read], 1)
    assert not (read == PASSKEY.key).any()
    assert torch.equal(read[:, -3:], carry["secret"]) and (read[:, -4] == PASSKEY.question).all()
    assert torch.equal(loss.carry["secret"], carry["secret"])
    assert loss.carry["age"].flatten().tolist() == [3, 3]
    # What is handed on has not read the question, which holds the answer.
    assert torch.equal(loss.carry["feedback"], model.read[-1][0].feedback)


@pytest.mark.parametrize(("share", "ages", "steps"), [(0.0, (1, 1), 100), (1.0, (0, 0), 100), (1.0, (1, 1), 0)])
def test_a_sequence_starts_anew(share, ages, steps):
    """By chance, because it has not seen its key yet, or because the ramp has not begun."""
    model, batch, _, loss = passed(share, ages, steps)
    assert torch.equal(torch.cat([block for _, block in model.read], 1), batch.tokens)
    assert (model.read[0][0].seen == 0).all()
    assert torch.equal(loss.carry["secret"], PASSKEY.secret(batch))
    assert loss.carry["age"].flatten().tolist() == [2, 2]


def test_without_a_carry_it_is_the_plain_loss():
    from latentkit.training import PlainLoss

    torch.manual_seed(0)
    model = FAM(FAMConfig(PASSKEY.vocab_size, 10, num_feedback=2, d_model=8, num_heads=2))
    batch, generator = PASSKEY.sample(2, 3, torch.Generator().manual_seed(1)), torch.Generator()
    passed_, plain = (loss(model, batch, generator, {}) for loss in (StatePassing(0.8, 100), PlainLoss()))
    torch.testing.assert_close(passed_.value, plain.value)
