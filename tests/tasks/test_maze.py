from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from latentkit import paths
from latentkit.tasks import Batch, Maze, Task
from latentkit.tasks.maze import SYMBOLS, cell_depth, read_maze_csv, solve, symmetries, valid_shortest
from latentkit.tasks.maze_generator import generate_mazes, maze_csv, symmetry_classes
from latentkit.tasks.puzzles import PuzzleSet

# Two shortest paths of 6 cells from S to G, and blind alleys.
RING = "S   #/ ##  /   G#/ ####/     "
# From corner to corner of an open square, each of six ways is a shortest path.
WAYS = ["Soo/  o/  G", "So / oo/  G", "So / o / oG", "S  /oo / oG", "S  /o  /ooG", "S  /ooo/  G"]


def read(picture: str) -> torch.Tensor:
    """Rows between slashes."""
    return torch.tensor([[SYMBOLS.index(symbol) for symbol in picture.replace("/", "")]])


def answer(picture: str) -> torch.Tensor:
    return torch.tensor([[int(symbol in "oSG") for symbol in picture.replace("/", "")]])


def onehot(classes: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(classes.long(), 2).float()


def breadth_first(maze: list[int], source: int) -> dict[int, int]:
    """Distances by a queue of single cells: nothing in common with `flood`."""
    side = round(len(maze) ** 0.5)
    distance, queue = {source: 0}, deque([source])
    while queue:
        cell = queue.popleft()
        row, column = divmod(cell, side)
        for r, c in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if 0 <= r < side and 0 <= c < side and maze[r * side + c] != 0 and r * side + c not in distance:
                distance[r * side + c] = distance[cell] + 1
                queue.append(r * side + c)
    return distance


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.integers(3, 12), st.sampled_from([0.0, 0.2, 1.0]), st.integers(0, 2**30))
def test_paths_and_depths_agree_with_an_independent_search(side, loops, seed):
    batch = solve(generate_mazes(3, side, seed=seed, loops=loops))
    for maze, path, depth in zip(*(field.tolist() for field in batch), strict=True):
        start, goal = maze.index(2), maze.index(3)
        from_start, from_goal = breadth_first(maze, start), breadth_first(maze, goal)
        on_path = [cell for cell, on in enumerate(path) if on]
        assert len(on_path) == from_start[goal] + 1
        assert sorted(from_start[cell] for cell in on_path) == list(range(len(on_path)))
        assert all(from_start[cell] + from_goal[cell] == from_start[goal] for cell in on_path)
        assert depth == [max(from_start[c], from_goal[c]) if maze[c] else 0 for c in range(len(maze))]


def test_a_perfect_maze_is_a_tree_and_loops_are_not():
    side, cells = 9, 25
    perfect, some, all_open = (generate_mazes(50, side, loops=loops) for loops in (0.0, 0.5, 1.0))
    for maze in perfect.tolist():
        assert sum(token != 0 for token in maze) == 2 * cells - 1, "a tree has one opening less than cells"
        assert len(breadth_first(maze, maze.index(2))) == 2 * cells - 1, "all of it hangs together"
    assert ((some != 0).sum(1).float().mean() - (2 * cells - 1)).item() == pytest.approx(8, abs=1), "half of 16 walls"
    assert ((all_open != 0).sum(1) == cells + 2 * 4 * 5).all(), "every wall between two cells"


def test_mazes_in_the_format_of_maze_hard():
    mazes = generate_mazes(8, 30, seed=1, min_path=111)
    batch = solve(mazes)
    assert mazes.shape == (8, 900)
    assert (batch.targets.sum(1) > 110).all()
    assert valid_shortest(mazes, batch.targets).all()


def test_depth_where_no_flood_comes():
    maze = read("S G#/  ##/ ## /##  ")
    assert cell_depth(maze)[0].view(4, 4).tolist() == [[2, 1, 2, 0], [3, 2, 0, 0], [4, 0, 0, 5], [0, 0, 5, 5]]


@pytest.mark.parametrize(
    ("path", "valid"),
    [
        ("Sooo#/ ##o /  oG#/ ####/     ", False),  # one cell off the path, and one missing
        ("Sooo#/ ##o /   G#/ ####/     ", True),
        ("Sooo#/ ##  /   G#/ ####/    o", False),  # breaks off before the goal
        ("S   #/o##  /oooG#/ ####/     ", True),
        ("Sooo#/o##o /oooG#/ ####/     ", False),  # both ways at once
        ("S   #/o##  /oooG#/o####/     ", False),  # a blind alley
        ("S   #/ooo  /  oG#/ ####/     ", False),  # through a wall
        ("    #/o##  /ooo #/ ####/     ", False),  # neither start nor goal
        ("     /     /     /     /     ", False),
    ],
)
def test_valid_shortest_by_hand(path, valid):
    assert valid_shortest(read(RING), answer(path)).tolist() == [valid]


def test_a_maze_without_a_way_has_no_valid_answer():
    maze = read("S#G/###/   ")
    assert not valid_shortest(maze, torch.zeros(1, 9, dtype=torch.long)).any()
    assert not valid_shortest(maze, answer("SoG/   /   ")).any()


def test_another_shortest_path_is_valid_and_not_exact():
    maze = read("S  /   /  G")
    batch = solve(maze)
    task = Maze(3, puzzles_of(maze))
    answers = torch.cat([answer(way) for way in WAYS])
    assert valid_shortest(maze.expand(6, -1), answers).all()
    exact = task.exact(onehot(answers), Batch(*(field.expand(6, -1) for field in batch)))
    assert exact.sum() == 1


def test_a_longer_way_is_not_valid():
    maze = read("S  /## /G  ")
    assert valid_shortest(maze, answer("Soo/  o/Goo")).all()
    assert not valid_shortest(read("S  /#  /G  ".replace("#", " ")), answer("Soo/  o/Goo")).any()


def puzzles_of(mazes: torch.Tensor):
    batch = solve(mazes)
    words = np.array([""] * len(mazes))
    unknown = torch.full((len(mazes),), torch.nan)
    tokens, targets = mazes.to(torch.int8), batch.targets.to(torch.int8)
    return PuzzleSet(tokens, targets, words, words, words, guesses=unknown, measure=cell_depth)


def test_symmetries_are_the_eight_of_a_square():
    images = symmetries(4)
    assert len({tuple(image) for image in images.tolist()}) == 8
    batch = solve(generate_mazes(20, 5, seed=3))
    for image in symmetries(5):
        turned = solve(batch.tokens[:, image])
        assert torch.equal(turned.targets, batch.targets[:, image])
        assert torch.equal(turned.depth, batch.depth[:, image])


def test_a_symmetry_class_knows_its_members():
    mazes = generate_mazes(30, 7, seed=4)
    key = symmetry_classes(mazes)
    assert len(set(key)) == 30
    exchanged = torch.tensor([0, 1, 3, 2])[mazes]
    for image in symmetries(7):
        assert symmetry_classes(mazes[:, image]) == key == symmetry_classes(exchanged[:, image])


@pytest.fixture(scope="module")
def shipped() -> Maze:
    return Maze()


def test_the_shipped_mazes_are_what_they_say(shipped):
    train, test = (shipped.puzzles.select(split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (4000, 1000)
    assert shipped.puzzles.skipped == ()
    tokens, targets, _ = shipped.puzzles.batch()
    assert ((tokens != 0).sum(1) == 31).all(), "perfect"
    assert valid_shortest(tokens, targets).all()
    classes = [set(symmetry_classes(part.tokens)) for part in (train, test)]
    assert [len(c) for c in classes] == [4000, 1000]
    assert not classes[0] & classes[1]


@pytest.mark.slow
def test_the_shipped_file_can_be_made_again():
    assert paths.find("puzzles/maze-7x7.csv").read_text() == maze_csv(4000, 1000, 7, seed=0)


def test_a_sample_is_a_turned_maze_of_the_training_split(shipped):
    one, same, other = (shipped.sample(40, 49, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(map(torch.equal, one, same))
    assert not torch.equal(one.tokens, other.tokens)
    assert isinstance(shipped, Task)
    assert one.tokens.dtype == one.targets.dtype == one.depth.dtype == torch.long
    known = set(symmetry_classes(shipped.puzzles.select(split="train").tokens))
    assert known.issuperset(symmetry_classes(one.tokens))
    assert shipped.check(one.tokens, one.targets).all()
    as_stored = {tuple(maze) for maze in shipped.puzzles.tokens.tolist()}
    assert 0 < sum(tuple(maze) in as_stored for maze in one.tokens.tolist()) < 20, "about one in eight"
    plain = Maze(7, shipped.puzzles, augment=False).sample(40, 49, torch.Generator().manual_seed(1))
    assert all(tuple(maze) in as_stored for maze in plain.tokens.tolist())


def test_all_eight_images_are_drawn(shipped):
    task = Maze(7, shipped.puzzles[:1])
    images = task.sample(400, 49, torch.Generator().manual_seed(0)).tokens.unique(dim=0, return_counts=True)
    assert len(images[0]) == 8
    assert images[1].min() > 25


def test_the_test_split_stands_as_in_the_file(shipped):
    batch = shipped.test()
    assert torch.equal(batch.tokens, shipped.puzzles.select(split="test").tokens.long())
    assert len(shipped.test(7).tokens) == 7
    assert torch.equal(shipped.test(7).depth, batch.depth[:7])
    assert shipped.exact(onehot(batch.targets), batch).all()
    wrong = batch.targets.clone()
    wrong[3, 0] = 1 - wrong[3, 0]
    assert (~shipped.exact(onehot(wrong), batch)).nonzero().tolist() == [[3]]


def test_show_marks_right_missed_and_invented():
    maze = read(RING)
    task, batch = Maze(5, puzzles_of(maze)), solve(maze)
    said = batch.targets.clone()
    on_path = batch.targets[0].nonzero().flatten().tolist()
    missed = next(cell for cell in on_path if maze[0, cell] == 1)
    invented = 24
    said[0, missed], said[0, invented] = 0, 1
    for logits, marks in ((None, "•" * 4), (onehot(batch.targets), "•" * 4), (onehot(said), "•" * 3 + "○✗")):
        figure = task.show(batch, logits)
        assert isinstance(figure, Figure)
        texts = "".join(text.get_text() for text in figure.axes[0].texts)
        assert sorted(texts) == sorted("SG" + marks)
    assert "wrong" in task.show(batch, onehot(said)).axes[0].get_title("left")
    assert task.show(batch, onehot(batch.targets)).axes[0].get_title("left") == "right"


def test_show_says_when_the_path_is_another_one():
    maze = read("S  /   /  G")
    task, batch = Maze(3, puzzles_of(maze)), solve(maze)
    titles = {task.show(batch, onehot(answer(way))).axes[0].get_title("left") for way in WAYS}
    assert titles == {"right", "another shortest path"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"count": 0}, "count=0"),
        ({"side": 2}, "side=2"),
        ({"loops": 1.5}, "loops=1.5"),
        ({"side": 5, "min_path": 18}, "path through 5 x 5 characters has at most 17"),
        ({"side": 15, "loops": 1.0, "min_path": 60}, "min_path=60: 0 of"),
    ],
)
def test_what_cannot_be_generated_is_refused(arguments, said, learners_view):
    with pytest.raises(ValueError, match=said):
        generate_mazes(**{"count": 3} | arguments)


def test_too_few_symmetry_classes_are_reported():
    with pytest.raises(ValueError, match=r"symmetry classes with side=3; 300 \+ 50 were asked for"):
        maze_csv(300, 50, 3, seed=0)


@pytest.mark.parametrize(
    ("maze", "said"),
    [("S  /   /   ", "maze 0 has 0 cells 'G'"), ("S S/   /  G", "2 cells 'S'"), ("S#G/###/   ", "no way from S")],
)
def test_what_has_no_solution_is_refused(maze, said):
    with pytest.raises(ValueError, match=said):
        solve(read(maze))


def test_bad_sizes_are_refused(shipped):
    with pytest.raises(ValueError, match=r"mazes of 49 cells; side=9 needs 9 x 9 = 81"):
        Maze(9, shipped.puzzles)
    with pytest.raises(ValueError, match=r"batch=2, length=9; .*length 49"):
        shipped.sample(2, 9, torch.Generator())
    with pytest.raises(ValueError, match="batch=0"):
        shipped.sample(0, 49, torch.Generator())
    with pytest.raises(FileNotFoundError, match="maze-7x7"):
        Maze(7, "maze-8x8")


def write(path, *rows, header="source,question,answer,rating"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_the_published_format(tmp_path):
    mazes = generate_mazes(3, 30, seed=2, min_path=111)
    rows = []
    for maze, path in zip(mazes.tolist(), solve(mazes).targets.tolist(), strict=True):
        question = "".join(SYMBOLS[token] for token in maze)
        shown = "".join("o" if on and s == " " else s for s, on in zip(question, path, strict=True))
        rows.append(f"maze,{question},{shown},{sum(path)}")
    puzzles = read_maze_csv(write(tmp_path / "hard.csv", *rows))
    assert torch.equal(puzzles.tokens.long(), mazes)
    assert torch.equal(puzzles.targets.long(), solve(mazes).targets)
    assert torch.equal(puzzles.depth, solve(mazes).depth)
    assert set(puzzles.source) == {"maze"}
    assert set(puzzles.split) == set(puzzles.band) == {""}
    assert len(Maze(30, puzzles).test().tokens) == 3


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("m,S G####  ,SoG#### ,1", "8 characters in the answer, 9 in the puzzle"),
        ("m,S G#### ,SoG#### ,1", "8 characters in the puzzle; expected 9"),
        ("m,S G####    ####,SoG####    ####,1", "15 characters in the puzzle; expected 9"),
        ("m,S G####x ,SoG####x ,1", "unknown symbol 'x'"),
        ("m,S G####o ,SoG####  ,1", "unknown symbol 'o'"),
        ("m,S S####  ,SoS####  ,1", "2 cells 'S'; a maze needs exactly one"),
        ("m,S  ####  ,Soo####  ,1", "0 cells 'G'"),
        ("m,S G####  ,SoG #  # ,1", "another maze than the puzzle"),
        ("m,S G      ,S Goooo  ,1", "not a shortest path from S to G"),
        ("m,S G      ,S Go oooo,1", "not a shortest path from S to G"),
        ("m,S#G####  ,S#G####  ,1", "not a shortest path from S to G"),
        ("m,,SoG####  ,1", "the puzzle or its answer is missing"),
        ("m,S G####  ", "another number of columns than the header, which has 4"),
        ("m,S G####  ,SoG####  ,1,2", "another number of columns"),
    ],
)
def test_a_malformed_row_is_refused_by_line_and_only_that_row(row, reason, tmp_path):
    good = "m,S G####  ,SoG####  ,1"
    path = write(tmp_path / "mazes.csv", good, row, good)
    with pytest.raises(ValueError) as refusal:
        read_maze_csv(path)
    assert str(refusal.value).startswith(f"{path}, line 3: ")
    assert reason in str(refusal.value)
    puzzles = read_maze_csv(path, skip_malformed=True)
    assert len(puzzles) == 2
    assert len(puzzles.skipped) == 1
    assert reason in puzzles.skipped[0]


def test_a_file_without_mazes_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"columns a, b; needs question and answer, or puzzle and solution"):
        read_maze_csv(write(tmp_path / "a.csv", "1,2", header="a,b"))
    with pytest.raises(ValueError, match="no maze in it"):
        read_maze_csv(write(tmp_path / "b.csv"))
    bad = write(tmp_path / "c.csv", "m,SG,SG,1", "m,SG,SG,1")
    with pytest.raises(ValueError, match=r"line 2: .* \(and 1 more malformed rows\)"):
        read_maze_csv(bad)
    with pytest.raises(ValueError, match=r"no maze in it; .*, line 2: 2 characters"):
        read_maze_csv(bad, skip_malformed=True)
    with pytest.raises(FileNotFoundError):
        read_maze_csv(tmp_path / "none.csv")
