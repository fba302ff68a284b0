"""Random runs to show: what the tests of the widgets, in Python and in the browser, share."""

import torch

from latentkit.depth_memory import Cell, DepthMemoryMap, Line
from latentkit.recurrence import Trajectory
from latentkit.tasks import nonadjacent_graph
from latentkit.widgets import (
    board,
    depth_memory,
    grammar_tree,
    latent_path,
    lookup_reader,
    maze_board,
    memory_scope,
    outcome_graph,
    pca_paths,
    scrub,
    surface,
    surprise_strip,
)

PASSES = 6
BOX = (2, 3)
SIDE = 6
HALT = (-3.0, -1.0, 0.5, -0.5, 2.0, 3.0)
HOSTILE = '</script><script>alert(1)</script><!-- &amp; " \u2028 é \\'
MAZE = ["#####", "#S  #", "# # #", "#  G#", "#####"]


def random_run(tokens, classes, seed=0, halt=None, passes=PASSES, kept=None):
    """Random logits and states of width 3; distances that shrink."""
    generator = torch.Generator().manual_seed(seed)
    kept = tuple(range(1, passes + 1)) if kept is None else kept
    b, n = tokens.shape
    states = tuple(torch.randn(b, n, 3, generator=generator) for _ in kept)
    logits = 3 * torch.randn(len(kept), b, n, classes, generator=generator)
    residuals = torch.rand(passes, b, n, generator=generator) * 0.5 ** torch.arange(passes)[:, None, None]
    halts = None if halt is None else torch.tensor([halt[k - 1] for k in kept])[:, None].expand(-1, b).contiguous()
    return Trajectory(tokens, kept, states, logits, residuals, torch.zeros(b, n, dtype=torch.long), halts)


def sudoku_run(batch=2, box=BOX, seed=0, halt=HALT, classes=None, **options):
    """Tokens, a run whose logits favour the answers more and more, and targets; half of the cells are given."""
    generator = torch.Generator().manual_seed(seed + 100)
    side = box[0] * box[1]
    targets = torch.randint(side, (batch, side * side), generator=generator)
    given = torch.rand(targets.shape, generator=generator) < 0.5
    run = random_run(torch.where(given, targets + 1, 0), classes or side, seed, halt, **options)
    favour = torch.nn.functional.one_hot(targets, classes or side) * torch.tensor(run.passes)[:, None, None, None]
    run.logits.add_(1.2 * favour)
    return run, targets


def maze_run(halt=None, **options):
    """One maze of 5 x 5 cells, with the path down the left side."""
    tokens = torch.tensor([["# SG".index(c) for row in MAZE for c in row]])
    targets = torch.tensor([[int(c) for row in ("00000", "01000", "01000", "01110", "00000") for c in row]])
    return random_run(tokens, 2, seed=2, halt=halt, **options), targets


def memory_run():
    """Three blocks of three tokens, two layers, two memory tokens, a key of two digits."""
    generator = torch.Generator().manual_seed(5)
    return {
        "blocks": [list("abc"), list("bca"), list("cab")],
        "attention": torch.randn(3, 2, 2, 5, generator=generator).softmax(-1),
        "read": torch.randint(10, (3, 2), generator=generator),
        "answer": [4, 2],
        "norms": torch.rand(3, 2, generator=generator) + 1,
    }


def graph_run():
    """Sums of four numbers, right in the first row; in the second, one node of every outcome."""
    graph = nonadjacent_graph(4)
    truth = graph.run(torch.tensor([[2, -1, 3, 1], [3, -1, 2, 1]]))
    said = truth.clone()
    said[1, 4:] = torch.tensor([3, 5, 5, 6])
    return graph, truth, said


def small_map(title=""):
    """Two architectures on three tasks: measured, unstable, failed with and without a score, n.a., not run."""
    rows = (Line("stack", "stack", "depth"), Line("gru", f"GRU {title}", "time"))
    columns = (
        Line("words", "words", "depth", "letters 9 to 12"),
        Line("maze", f"maze {title}", "depth", "open cells"),
        Line("needles", "needles", "memory", "values"),
    )
    budget = {"parameters": 36_012, "flops": 1.2e11, "steps": 400, "batch": 32, "cpu_seconds": 12.4}
    curve = ((200, 0.5), (400, 0.75))
    cells = (
        Cell("stack", "words", "ok", "", (0.6, 0.7), 0.2, (curve, ((200, 0.25), (400, 0.7))), **budget),
        Cell("stack", "maze", "unstable", "seeds differ by 0.60", (0.4, 1.0, 0.9), 0.5, (curve,) * 3, **budget),
        Cell("stack", "needles", "failed", "seed 0: the loss is nan at step 7", (), 0.1, (), **budget),
        Cell("gru", "words", "not run"),
        Cell("gru", "maze", "not applicable", f"it cannot see {title}"),
        Cell("gru", "needles", "failed", "seed 1: the loss is nan at step 7", (0.05,), 0.1, (curve, ()), **budget),
    )
    return DepthMemoryMap(rows, columns, cells)


def one_of_each(title=""):
    """The widgets by the name of their files, each showing something that can be told from its neighbours."""
    run, targets = sudoku_run()
    maze, answers = maze_run(halt=HALT)
    right = torch.tensor([True, False])
    shares = {f"band {title}": [[0.125, 0.5], [0.25, 1.0]], "other": [[0.0, 0.5], [float("nan"), 0.75]]}
    return {
        "scrubber": scrub(run, targets=targets, title=title),
        "board": board(run, box=BOX, targets=targets, title=title),
        "maze": maze_board(maze, targets=answers, title=title),
        "latent_path": latent_path(pca_paths(run), right=right, labels=["a", f"b {title}"], title=title),
        "surprise": surprise_strip(
            list("abcb"),
            {f"matrix {title}": torch.tensor([1.0, 0.5, 2.0, 0.25]), "mlp": torch.tensor([3.0, 0.5, 0.0, 0.25])},
            gates={"step": torch.tensor([0.1, 0.2, 0.0, 0.4])},
            marks={2: f"odd {title}"},
            title=title,
        ),
        "grammar": grammar_tree(
            [[0, 1, 1, 1, 0, 0, 1, 0], [2, 0, 1, 2], [1, 0], [2]],
            [list("abc"), ["A1", "B1", "C1"], ["A2", "B2", "C2"], ["A3", "B3", f"C3 {title}"]],
            m=2,
            needs={"own": [400.0, 900.0], "tokens": [400.0, 5000.0], "root": [12_345.0, float("inf")]},
            found=[[True, False, True, True], [True, True]],
            title=title,
            start=(2, 0),
        ),
        "lookup": lookup_reader(
            list("$ab|ab"),
            torch.tensor([[[0.0] * 6] * 6, [[0.25, 0.5, 0.25, 0.0, 0.0, 0.0]] * 6]),
            heads=["window 1", f"all {title}"],
            says={3: "a", 4: "c", 5: "."},
            should={3: "a", 4: "b", 5: "."},
            bits={"attention": [4.0, 6.5, 6.5], f"GRU {title}": [1.0, 0.5, 0.5]},
            most_bits=8.0,
            title=title,
            start=4,
        ),
        "memory": memory_scope(**memory_run(), title=title),
        "graph": outcome_graph(*graph_run(), seen=torch.tensor([[1, 0] * 4] * 2), title=title),
        "surface": surface(shares, [4, 8], [1, 2], number=dict.fromkeys(shares, 40), title=title),
        "depth_memory": depth_memory(small_map(title), title=title),
    }
