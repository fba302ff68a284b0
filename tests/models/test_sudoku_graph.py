import math

import pytest
import torch

from latentkit.layers import MixingConfig, count_parameters
from latentkit.models import TRM, SudokuGraph, SudokuGraphConfig, TRMConfig
from latentkit.recurrence import DepthRecurrent, unroll
from tests.models import naive

# rows in a band or bands exchanged, columns likewise, everything at once, and rows for columns
KINDS = ["digits", "rows", "bands", "columns", "stacks", "all", "transposed"]


def make(box_rows=3, box_cols=3, **fields) -> SudokuGraph:
    torch.manual_seed(0)
    return naive.randomised(SudokuGraph(SudokuGraphConfig(box_rows, box_cols, **fields))).eval()


def puzzles(side: int, b: int = 3) -> torch.Tensor:
    """A model looks at no rule but the groups: any filling will do. A third of the cells is given."""
    generator = torch.Generator().manual_seed(1)
    digits = torch.randint(1, side + 1, (b, side**2), generator=generator)
    return digits * (torch.rand(b, side**2, generator=generator) < 1 / 3)


def shuffled(m: int) -> list[int]:
    """A random order that is another one."""
    while (order := torch.randperm(m).tolist()) == list(range(m)):
        pass
    return order


def lines(groups: int, size: int, within: bool, between: bool) -> list[int]:
    """An order of the rows (or columns) that permutes them within each group, and the groups."""
    order = shuffled(groups) if between else range(groups)
    return [g * size + i for g in order for i in (shuffled(size) if within else range(size))]


def symmetry(kind: str, box_rows: int, box_cols: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each cell comes from, and the new name of each digit (0 stays the blank)."""
    torch.manual_seed(2)
    side = box_rows * box_cols
    rows = lines(box_cols, box_rows, kind in ("rows", "all"), kind in ("bands", "all"))
    columns = lines(box_rows, box_cols, kind in ("columns", "all"), kind in ("stacks", "all"))
    cells = torch.arange(side**2).view(side, side)[rows][:, columns]
    if kind == "transposed" or (kind == "all" and box_rows == box_cols):
        cells = cells.T
    named = torch.tensor(shuffled(side) if kind in ("digits", "all") else range(side))
    return cells.flatten(), torch.cat([torch.zeros(1, dtype=torch.long), named + 1])


def moved(x: torch.Tensor, cells: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
    """States or logits [b, n, digits * any], seen through a symmetry."""
    side = len(names) - 1
    old = torch.argsort(names[1:])  # which digit bears the new name
    return x.unflatten(-1, (side, -1))[:, cells][:, :, old].flatten(2)


@pytest.mark.parametrize(
    ("box", "kind"),
    [((3, 3), kind) for kind in KINDS] + [((2, 3), kind) for kind in KINDS[:-1]] + [((2, 2), "all")],
    ids=str,
)
@pytest.mark.parametrize("layers", [1, 2])
def test_a_permuted_puzzle_and_state_give_the_permuted_answer(box, kind, layers):
    model, tokens = make(*box, layers=layers), puzzles(box[0] * box[1])
    cells, names = symmetry(kind, *box)
    start = model.initial_state(model.encode(tokens))
    plain = unroll(model, tokens, 4, state=start)
    other = unroll(model, names[tokens][:, cells], 4, state=moved(start, cells, names))
    for got, expected in ((other.states[-1], plain.states[-1]), (other.logits[-1], plain.logits[-1])):
        torch.testing.assert_close(got, moved(expected, cells, names), rtol=0, atol=1e-12)
    assert (plain.logits[-1] - plain.logits[0]).abs().max() > 0.01


@pytest.mark.parametrize("kind", ["two rows of different bands", "two cells", "transposed"])
def test_what_is_no_symmetry_of_the_rules_is_none_of_the_model(kind):
    """Transposition is none where boxes are not square."""
    box = (2, 3) if kind == "transposed" else (3, 3)
    side = box[0] * box[1]
    model, tokens = make(*box), puzzles(side)
    cells = torch.arange(side**2).view(side, side)
    if kind == "two rows of different bands":
        cells = cells[[3, 1, 2, 0, 4, 5, 6, 7, 8]]
    elif kind == "transposed":
        cells = cells.T
    cells = cells.flatten()
    if kind == "two cells":
        cells[[0, 1]] = cells[[1, 0]]
    names = torch.arange(side + 1)
    start = model.initial_state(model.encode(tokens))
    plain = unroll(model, tokens, 3, state=start).logits[-1]
    other = unroll(model, tokens[:, cells], 3, state=moved(start, cells, names)).logits[-1]
    assert (other - moved(plain, cells, names)).abs().max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_the_structure_has_no_symmetry(kind):
    """The control: TRM's state starts the same at every cell, and its answer is still not the permuted one."""
    torch.manual_seed(0)
    model, tokens = TRM(TRMConfig(10, 9, MixingConfig(81, 16, 16, token_hidden=16))).double(), puzzles(9)
    cells, names = symmetry(kind, 3, 3)
    plain = unroll(model, tokens, 2).logits[-1]
    other = unroll(model, names[tokens][:, cells], 2).logits[-1]
    assert (other - moved(plain, cells, names)).abs().max() > 0.1


def step_by_hand(model: SudokuGraph, layer: int, tokens: list[int], h: torch.Tensor) -> torch.Tensor:
    """The equations of the module's docstring for one puzzle, one cell and digit at a time; h is [n, side, C]."""
    r, k = model.config.box_rows, model.config.box_cols
    side, hidden, step = r * k, model.config.hidden, model.steps[layer]
    v = model.code.weight[:, layer * hidden : (layer + 1) * hidden]

    def total(cells, digit: int) -> torch.Tensor:
        return torch.stack([h[j, digit] for j in cells]).sum(0)

    new = []
    for i, token in enumerate(tokens):
        at = range(side**2)
        row = {j for j in at if j // side == i // side}
        column = {j for j in at if j % side == i % side}
        box = {j for j in at if j // side // r == i // side // r and j % side // k == i % side // k}
        for digit in range(side):
            code = 0 if token == 0 else 1 if token == digit + 1 else 2
            triads = total(row & box, digit) + total(column & box, digit)
            lines = (total(row, digit) + total(column, digit)) / math.sqrt(side)
            boxes, digits = total(box, digit) / math.sqrt(side), h[i].sum(0) / math.sqrt(side)
            z = step.here.weight @ h[i, digit] + v[code] + step.triad.weight @ triads
            z = z + step.line.weight @ lines + step.box.weight @ boxes + step.cell.weight @ digits
            new.append(h[i, digit] + step.out.weight @ (z / (1 + torch.exp(-z))) + step.out.bias)
    return naive.rms(torch.stack(new)).view_as(h)


@pytest.mark.parametrize(("box", "layers"), [((2, 2), 1), ((2, 3), 1), ((2, 2), 2)], ids=str)
def test_model_equals_its_equations_forward_and_gradient(box, layers):
    model, side = make(*box, channels=4, hidden=5, layers=layers), box[0] * box[1]
    tokens = puzzles(side, b=1)
    context = model.encode(tokens)
    state = model.initial_state(context)
    h = list(state.unflatten(-1, (side, 4)))
    passes = 3 - layers
    for _ in range(passes):
        state = model.step(state, context)
        for layer in range(layers):
            h = [step_by_hand(model, layer, row, one) for row, one in zip(tokens.tolist(), h, strict=True)]
    expected = torch.stack(h) @ model.head.weight[0] + model.head.bias
    naive.assert_same(state, torch.stack(h).flatten(2))
    naive.assert_same(model.decode(state), expected)
    naive.assert_same(naive.gradients(model, model.decode(state)), naive.gradients(model, expected))


def test_starts_are_random_and_of_unit_scale():
    model = make()
    context = model.encode(puzzles(9))
    torch.manual_seed(0)
    first, second = model.initial_state(context), model.initial_state(context)
    torch.manual_seed(0)
    assert torch.equal(model.initial_state(context), first)
    assert not torch.equal(first, second)
    assert first.shape == (3, 81, 9 * 16)
    square = first.unflatten(-1, (9, 16)).pow(2).mean(-1)
    torch.testing.assert_close(square, torch.ones_like(square), rtol=0, atol=1e-3)


def test_noise_is_for_training_only():
    model, tokens = make(noise=0.1), puzzles(9)
    context = model.encode(tokens)
    start = model.initial_state(context)
    assert torch.equal(model.step(start, context), model.step(start, context))
    model.train()
    assert not torch.equal(model.step(start, context), model.step(start, context))
    quiet = make(noise=0.0).train()
    assert torch.equal(quiet.step(start, context), quiet.step(start, context))


def test_it_is_small():
    assert count_parameters(make()) == 4_785
    assert count_parameters(make(channels=24, hidden=64)) == 9_457
    assert count_parameters(make(layers=16)) == 16 * (4_785 - 17) + 17


def test_it_keeps_the_protocol():
    assert isinstance(make(), DepthRecurrent)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"box_rows": 0}, "box_rows=0; .*at least 1"),
        ({"channels": 0, "hidden": -1}, "channels=0, hidden=-1"),
        ({"layers": 0}, "layers=0"),
        ({"noise": -0.1}, "noise=-0.1; .*at least 0"),
    ],
)
def test_config_names_what_it_refuses(fields, said):
    with pytest.raises(ValueError, match=said):
        SudokuGraphConfig(**{"box_rows": 3, "box_cols": 3, **fields})


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (torch.zeros(1, 36, dtype=torch.long), "36 cells, but this model is made for puzzles of exactly 81"),
        (torch.full((1, 81), 10), r"token 10 is outside .* 0\.\.9"),
    ],
)
def test_another_puzzle_is_refused(tokens, said, learners_view):
    with pytest.raises(ValueError, match=said):
        make().encode(tokens)
