import math

import pytest
import torch

from latentkit.training import CrossEntropy, PermutationCrossEntropy, StableMax
from latentkit.training.losses import TokenLoss, cross_entropy

LOSSES = [CrossEntropy(), StableMax(), PermutationCrossEntropy(1, 4)]


def solution(box_rows: int, box_cols: int) -> torch.Tensor:
    """The textbook Sudoku grid of these boxes: each row is the one above, shifted; digits from 0."""
    side = box_rows * box_cols
    return torch.tensor(
        [(box_cols * (r % box_rows) + r // box_rows + c) % side for r in range(side) for c in range(side)]
    )


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_loss_is_in_nats_and_in_float32(loss):
    assert isinstance(loss, TokenLoss)
    value = loss(torch.zeros(2, 16, 4, dtype=torch.bfloat16), solution(1, 4).repeat(2, 1))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(math.log(4))


def test_cross_entropy_is_the_mean_over_positions():
    logits = torch.tensor([[[0.0, math.log(3)], [math.log(4), 0.0]]])
    expected = -(math.log(3 / 4) + math.log(1 / 5)) / 2
    assert cross_entropy(logits, torch.tensor([[1, 1]])).item() == pytest.approx(expected)
    assert CrossEntropy()(logits, torch.tensor([[1, 1]])).item() == pytest.approx(expected)


def stable_max(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Word for word, in float64."""
    x = logits.double()
    s = torch.where(x < 0, 1 / (1 - torch.where(x < 0, x, 0)), x + 1)
    p = s / s.sum(-1, keepdim=True)
    return -p.gather(-1, targets[..., None]).log().mean()


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 30.0, 1e5])
def test_stable_max_and_its_gradient_follow_the_formula(scale):
    generator = torch.Generator().manual_seed(0)
    logits = (scale * torch.randn(3, 5, 7, generator=generator)).requires_grad_()
    targets = torch.randint(7, (3, 5), generator=generator)
    expected = stable_max(logits, targets)
    [gradient] = torch.autograd.grad(expected, logits)
    got = StableMax()(logits, targets)
    torch.testing.assert_close(got, expected.float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*torch.autograd.grad(got, logits), gradient, rtol=1e-4, atol=1e-8)


def test_stable_max_by_hand():
    value = StableMax()(torch.tensor([[[3.0, -1.0, 0.0]]]), torch.tensor([[1]]))  # s = 4, 1/2, 1
    assert value.item() == pytest.approx(-math.log(0.5 / 5.5))


@pytest.mark.parametrize(("box_rows", "box_cols"), [(2, 2), (2, 3), (3, 2), (3, 3)])
def test_permutation_cross_entropy_asks_cell_row_column_and_box(box_rows, box_cols):
    """Against a loop over all units, each a list of cells."""
    side = box_rows * box_cols
    targets = solution(box_rows, box_cols)
    logits = torch.randn(2, side * side, side, generator=torch.Generator().manual_seed(0)).requires_grad_()
    cells = [(r, c) for r in range(side) for c in range(side)]
    units = [[i for i, (r, _) in enumerate(cells) if r == k] for k in range(side)]
    units += [[i for i, (_, c) in enumerate(cells) if c == k] for k in range(side)]
    units += [
        [i for i, (r, c) in enumerate(cells) if r // box_rows * box_rows + c // box_cols == k] for k in range(side)
    ]
    total = torch.zeros(())
    for puzzle in logits:
        total = total - puzzle.log_softmax(-1)[range(side * side), targets].sum()
        for unit in units:
            assert sorted(targets[unit].tolist()) == list(range(side))
            for digit in range(side):
                where = targets[unit].tolist().index(digit)
                total = total - puzzle[unit, digit].log_softmax(0)[where]
    expected = total / (4 * 2 * side * side)
    got = PermutationCrossEntropy(box_rows, box_cols)(logits, targets.repeat(2, 1))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=0)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (got, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)


def test_boxes_of_another_side_are_refused():
    with pytest.raises(ValueError, match=r"logits of 16 positions and 4 classes; boxes of 2x3 need 36 and 6"):
        PermutationCrossEntropy(2, 3)(torch.zeros(1, 16, 4), solution(2, 2)[None])
