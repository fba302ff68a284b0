# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Lab 05 · What really drives it: TRM, EqR
#
# {{ badge }}
#
# **Claim.** On small Sudokus almost every part of HRM can go; running one shared step many times cannot. With Sudoku's symmetries built in, a step of fewer than 5,000 weights solves published 9x9 puzzles.
#
# | | |
# |---|---|
# | You need | [lab 04](04_two_timescales.ipynb); [lab 03](03_what_the_loop_does.ipynb) for fixed points |
# | Your time | 120 minutes |
# | Computer time | {{ cpu_seconds }} CPU seconds |
#
# By the end you can
#
# - build TRM from HRM, and say which of HRM's parts can go;
# - tell, by experiment, whether a loop reasons step by step or guesses;
# - scale depth and breadth at test time, and choose among restarts without the answer;
# - say when a model knows from inside that it is wrong.

# %% [markdown]
# ## Cold open: throw one network away
#
# Lab 04's HRM, and a model with one of its two networks thrown away: half of the weights, half of the updates a segment.
#
# **Predict:** how many of 150 held-out puzzles does each solve in four segments?

# %%
import torch

from latentkit import paths
from latentkit.layers import count_parameters
from latentkit.recurrence import unroll
from latentkit.tasks import Sudoku
from latentkit.training import load_weights

small = Sudoku(2, 3)
test = small.test(150)
hrm = load_weights(paths.find("checkpoints/sudoku6-hrm.safetensors"))
trm = load_weights(paths.find("checkpoints/sudoku6-loop.safetensors"))


def solved(model, batch, segments):
    """Share of the puzzles with every cell right, after each segment."""
    run = unroll(model, batch.tokens, segments)
    return (run.predictions == batch.targets).all(-1).float().mean(1).tolist()


for name, model in {"HRM": hrm, "TRM": trm}.items():
    share = solved(model, test, 4)[-1]
    print(f"{name} {count_parameters(model):>8,} parameters: {share:.0%} solved")

# %% [markdown]
# Half the model, and the better one. But three things differ: the networks, the updates a segment (six and three), and how far back the gradient goes (one step, a whole segment). Which of them did it?

# %% [markdown]
# ## The idea by hand
#
# TRM, the *tiny recursive model* ([Jolicoeur-Martineau, 2025](https://arxiv.org/abs/2510.04871)), is HRM with parts taken out:
#
# | | HRM | TRM |
# |---|---|---|
# | networks | $f_L$ and $f_H$ | one f |
# | think, n times | $z_L \leftarrow f_L(z_L + (z_H + x))$ | $z \leftarrow f(z + (y + x))$ |
# | answer, once | $z_H \leftarrow f_H(z_H + z_L)$ | $y \leftarrow f(y + z)$ |
# | gradient | last L, last H | all updates of the last recursion |
# | halting | values of halting and of going on | of halting only |
#
# | name | shape | meaning |
# |---|---|---|
# | x | [b, m, d] | the puzzle's m cells, embedded |
# | y | [b, m, d] | the answer so far; digits are read from it |
# | z | [b, m, d] | the thought so far |
#
# One network can do both: the puzzle x is in the sum or is not, and that tells it which.

# %% [markdown]
# ### Exercise 1 · One network, two roles
#
# **Difficulty** ●●○○○ · **Time** 6 minutes · **Skill** reading an update rule
#
# Write `recursion(f, y, z, x, n)`: y, z, x are [b, m, d], f is a function from [b, m, d] to [b, m, d]. Think n times, then answer once. Return (y, z).


# %% exercise="recursion" points=2
@lab.exercise("recursion")
def recursion(f, y, z, x, n):
    ### BEGIN SOLUTION
    for _ in range(n):
        z = f(z + y + x)
    return f(y + z), z
    ### END SOLUTION


# %% check="recursion" points=2
lab.check("recursion")
### BEGIN HIDDEN TESTS
one = torch.ones(1, 1, 1)
assert [v.item() for v in recursion(lambda v: v, one, one, 2 * one, 2)] == [8, 7]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Which of the three tensors change, and how often each?
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# A loop over n for the thought; y stays as it is all that time. One more call for the answer, after the loop.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# n times: z becomes f of the sum of all three. Then y becomes f of the sum of y and z.
#
# </details>

# %% [markdown] solution
# The answer is written from the thought alone. If y needs anything of the puzzle, z must hold it.

# %% [markdown]
# **Common mistake.** Adding x to the answer's update as well. Then nothing tells the network which role it is in.

# %% [markdown]
# **Parity.** Four segments with the trained network inside, in float64:

# %% facts
import copy

exact = copy.deepcopy(trm).double()
few = test.tokens[:20]
with torch.no_grad():
    x = exact.encode(few)
    y, z = exact.initial_state(x)
    for _ in range(4):
        y, z = recursion(exact.f, y, z, x, n=2)
gap = (y - unroll(exact, few, 4).states[-1].y).abs().max().item()
print("four segments equal to 1e-6:", gap < 1e-6)

# %% [markdown]
# ### Exercise 2 · The average of the weights
#
# **Difficulty** ●○○○○ · **Time** 5 minutes · **Skill** exponential averages
#
# Beside the weights in training TRM keeps a running average of them; only that is tested. Write `average(mean, weights, decay)`: two dictionaries of tensors [p, q] or of other shapes, with the same names. Return a new one: decay times the mean so far, plus 1 − decay times the new weights.


# %% exercise="average" points=1
@lab.exercise("average")
def average(mean, weights, decay):
    ### BEGIN SOLUTION
    return {k: decay * mean[k] + (1 - decay) * weights[k] for k in mean}
    ### END SOLUTION


# %% check="average" points=1
lab.check("average")
### BEGIN HIDDEN TESTS
assert (
    average({"a": torch.tensor(4.0)}, {"a": torch.tensor(0.0)}, 0.75)["a"].item()
    == 3
)
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# One line for each name. A dictionary comprehension does it.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# With a decay near 1 the result must stay near `mean`.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# For each name: decay times the old mean, plus the rest (1 minus decay) times the new weight.
#
# </details>

# %% [markdown] solution
# A decay of 0.99 averages over roughly the last hundred steps.

# %% [markdown]
# **Common mistake.** The two factors exchanged: the "average" is then almost the last weights.

# %% [markdown]
# ## Train it live: three contracts
#
# The same TRM, the same 4x4 puzzles, as many steps, three *training contracts*:
#
# - **deep supervision** (HRM, TRM): a step is one segment; the state is carried to the next, cut off from its gradient;
# - **recursive stem** ([Hakimi, 2026](https://arxiv.org/abs/2603.15641)): a step starts anew, runs 1 to 5 segments, and only the last has gradient and loss;
# - **one segment**: start anew, one segment, loss.
#
# The gradient always sees one segment. **Predict** which of the three gain from a second, a fourth, an eighth segment at test. Your average runs beside the first training.

# %%
from latentkit.layers import MixingConfig
from latentkit.models import TRMConfig, build
from latentkit.training import (
    ConstantPasses,
    Curriculum,
    DeepSupervision,
    FinalLoss,
    FitConfig,
    UniformPasses,
    fit,
)

tiny = Sudoku(2, 2)
cells = MixingConfig(16, d_model=32, hidden=64, token_hidden=32, init_gain=0.75)
config = TRMConfig(tiny.vocab_size, tiny.num_classes, cells)
puzzles = Curriculum(tiny, batch=32, low=16, high=16)
recipe = FitConfig(
    steps=200,
    learning_rate=5e-3,
    weight_decay=0.1,
    warmup=20,
    ema=0.97,
    seed=lab.seed,
)


def new_model():
    torch.manual_seed(lab.seed)
    return build(config)


deep, mean = new_model(), {}


def keep_average(step, _):
    weights = {k: v.detach().clone() for k, v in deep.named_parameters()}
    mean.update(average(mean, weights, recipe.ema) if mean else weights)


trained = fit(deep, puzzles, DeepSupervision(4), recipe, watch=keep_average)
theirs = dict(trained.averaged.named_parameters())
gap = max((mean[k] - theirs[k]).abs().max().item() for k in mean)
print("your average equals latentkit's to 1e-5:", gap < 1e-5)

# %%
contracts = {
    "recursive stem": FinalLoss(UniformPasses(1, 5), gradient_passes=1),
    "one segment": FinalLoss(ConstantPasses(1)),
}
models = {"deep supervision": trained.averaged}
for name, contract in contracts.items():
    models[name] = fit(new_model(), puzzles, contract, recipe).averaged

# %%
from latentkit import plots

held_out = tiny.test(200)
plots.pass_curves(
    {name: [solved(model, held_out, 8)] for name, model in models.items()},
    xlabel="segments at test",
    ylabel="share solved",
    title="One model, one number of steps, three contracts",
)

# %% [markdown]
# Who never saw a second segment gains from one, and then loses its answers: it *overthinks*. The others go on. (One seed, seconds of training; the stem spends more compute a step. Do not conclude yet.)

# %% [markdown]
# ## What drives it
#
# One part at a time: 6x6 puzzles, two CPU-minutes a model, three seeds; beside it TRM's own table, on 9x9. **Predict** the change that costs most.

# %%
from latentkit.claims import ledger

drivers, two_networks = ledger.load("drivers-sudoku6"), ledger.load("hrm-sudoku6")
changes = {
    "one-step gradient": (drivers, "one-step", 87.4 - 56.5),
    "single segments, no carry": (drivers, "one-supervision", None),
    "one latent": (drivers, "one-latent", 87.4 - 71.9),
    "no average of weights": (drivers, "no-ema", 87.4 - 79.9),
    "HRM, one-step gradient": (two_networks, "one-step", 87.4 - 55.0),
    "HRM, full gradient": (two_networks, "full-gradient", None),
}  # the third entry: the paper's 87.4% less the changed model's
recipe_scores = drivers.values("loop/exact@4")
plots.cost_bars(
    {
        name: (recipe_scores, record.values(f"{arm}/exact@4"))
        for name, (record, arm, _) in changes.items()
    },
    {name: cost for name, (_, _, cost) in changes.items()},
    labels=("6x6, here", "9x9, TRM's paper"),
    title="What each change costs TRM, after four segments",
)

# %% facts
for name, (record, arm, _) in {"TRM": (drivers, "loop", 0), **changes}.items():
    at = [record.mean(f"{arm}/exact@{k}") for k in (1, 4, 16)]
    print(
        f"{name:28} 1 segment {at[0]:5.1f}%   4: {at[1]:5.1f}%   16: {at[2]:5.1f}%"
    )
print("verdict on TRM's table:", drivers.verdict)

# %% [markdown]
# **No change to TRM costs a point worth naming.** The papers say otherwise: TRM's table puts the gradient first, the [ARC Prize's analysis of HRM](https://arcprize.org/blog/hrm-analysis) the outer loop of supervised segments.
#
# - *Gradient.* A segment here has three updates, of which the one-step gradient keeps two; TRM's last recursion has seven. Little is cut off.
# - *Outer loop.* A step trained on single segments solves {{ claim drivers-sudoku6 one-supervision/exact@1 mean }}% in one. Repeated, it goes on to {{ claim drivers-sudoku6 one-supervision/exact@16 mean }}%, though nobody asked it to, and does not overthink like the tiny one above. Why, we do not know.
# - *What does cost* is HRM itself: two networks, six updates a segment and, with the full gradient, half of the steps in two minutes. We did not take these apart; "two networks hurt" is not shown.
#
# Now look along the rows: in each, going from 1 segment to 16 gains more than any change loses. What drives it is the repetition.

# %% [markdown]
# ## Reasoning or guessing?
#
# [Ren and Liu (2026)](https://arxiv.org/abs/2601.10679) looked inside a trained HRM. It can fail where a **single cell is blank**; a puzzle is solved not bit by bit but at **one critical segment**; and there are **wrong resting points**, where it stays. It guesses, they say. We look for all three.

# %% [markdown]
# ### Exercise 3 · One blank
#
# **Difficulty** ●●○○○ · **Time** 6 minutes · **Skill** classes and digits, scatter
#
# Write `one_blank(tokens, targets, cell)`: tokens [b, m] hold digits, 0 for a blank; targets [b, m] hold *classes*, digit − 1; cell [b] names one cell of each puzzle. Return new tokens [b, m] with every cell given, but for that one.


# %% exercise="one_blank" points=2
@lab.exercise("one_blank")
def one_blank(tokens, targets, cell):
    ### BEGIN SOLUTION
    filled = targets + 1
    return filled.scatter(1, cell[:, None], 0)
    ### END SOLUTION


# %% check="one_blank" points=2
lab.check("one_blank")
### BEGIN HIDDEN TESTS
assert one_blank(
    torch.tensor([[0, 0, 3]]), torch.tensor([[0, 1, 2]]), torch.tensor([1])
).tolist() == [[1, 0, 3]]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# You do not need the puzzle at all: start from its solution.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# Class 0 is the digit 1. Then one entry a row becomes 0; `scatter` along axis 1, or an index with `torch.arange(b)`.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# digits = classes plus one; in row i put 0 at cell[i]; return.
#
# </details>

# %% [markdown] solution
# `scatter` without an underscore makes a copy, so that the targets stay as they were.

# %% [markdown]
# **Common mistake.** Forgetting the + 1. Every puzzle is then unsolvable, and you would report that the finding holds.

# %% facts
generator = torch.Generator().manual_seed(7)
cell = (
    torch.rand(test.tokens.shape, generator=generator) * (test.tokens == 0)
).argmax(1)
easy = test._replace(tokens=one_blank(test.tokens, test.targets, cell))
for name, model in {"HRM": hrm, "TRM": trm}.items():
    print(
        f"{name}: one blank, {solved(model, easy, 1)[0]:.0%} solved in one segment"
    )


# %% [markdown]
# Now the critical segment. Solved bit by bit, a puzzle's count of wrong cells would walk down to 0.

# %%
run = unroll(trm, test.tokens, 8)
wrong = (run.predictions != test.targets).sum(-1)
plots.critical_segment(wrong, title="Wrong cells on the way to the solution")

# %% [markdown]
# **None of the three shows in this loop.**
#
# - *One blank:* {{ claim guessing-sudoku6 loop/one_blank_exact@16 }}% solved on every seed, though it never saw a nearly full board.
# - *One critical segment:* one segment before it is right, a puzzle has on average {{ claim guessing-sudoku6 loop/wrong_cells_before }} wrong cells; four or more in {{ claim guessing-sudoku6 loop/several_at_once mean }}% of the puzzles. A few large steps, not one leap.
# - *Wrong resting points:* of its failures ({{ claim guessing-sudoku6 loop/failures }} in 1,000), {{ claim guessing-sudoku6 loop/failures_settled mean }}% keep their answer over the last 8 of 32 segments. The others wander.
#
# No refutation: theirs is a larger model on harder puzzles. But "such models guess" is about a model, and here is one that does not.

# %% [markdown]
# ### Exercise 4 · Does a signal know?
#
# **Difficulty** ●●●○○ · **Time** 10 minutes · **Skill** ranking, pairs
#
# A *signal* is a number that needs no answer: how much the state still moves, the lowest confidence of a cell. Of all pairs of a right and a wrong answer, the **AUC** is the share in which the right one has the larger signal; a tie counts one half. Write `auc(signal, right)` for floats [k] and booleans [k]; return a float.


# %% exercise="auc" points=3
@lab.exercise("auc")
def auc(signal, right):
    ### BEGIN SOLUTION
    gap = signal[right][:, None] - signal[~right][None, :]
    wins = (gap > 0).float() + 0.5 * (gap == 0).float()
    return wins.mean().item()
    ### END SOLUTION


# %% check="auc" points=3
lab.check("auc")
### BEGIN HIDDEN TESTS
assert auc(torch.tensor([2.0, 1.0, 1.0]), torch.tensor([True, True, False])) == 0.75
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# A boolean tensor picks entries: the signals of the right answers, and those of the wrong ones.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# A column minus a row gives the table of all pairs. Count positive entries as 1, zeros as one half.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# table[i, j] = signal of right answer i - signal of wrong answer j; return the mean of (1 if above 0, 0.5 if 0, else 0).
#
# </details>

# %% [markdown] solution
# 0.5 is a coin, 1 is certainty. Below 0.5, choosing by the signal is worse than not choosing.

# %% [markdown]
# **Common mistake.** Ties as losses. A signal that says the same of every answer then gets 0 instead of 0.5.

# %% [markdown]
# On 6x6, after 32 segments: residual {{ claim guessing-sudoku6 loop/auc_residual }}, lowest confidence {{ claim guessing-sudoku6 loop/auc_min_confidence }}, halting value {{ claim guessing-sudoku6 loop/auc_halt }}. With a dozen failures a seed, mind the noise; we come back to this twice.

# %% [markdown]
# ## Made to settle: EqR
#
# Where a run is stuck, start again elsewhere. TRM cannot: it has one start. *Equilibrium reasoners* ([Huang, Geng and Kolter, 2026](https://arxiv.org/abs/2605.21488)) change three things:
#
# $$z \leftarrow (1-\lambda)\, z + \lambda\, f(z + y + x) + \varepsilon, \qquad \lambda = 0.95,$$
#
# the same for y; small noise $\varepsilon$ (0.01) in every update; and a **random start** at every position, in training and at test.

# %% [markdown]
# ### Exercise 5 · Damped
#
# **Difficulty** ●●○○○ · **Time** 6 minutes · **Skill** extending your own code
#
# Version 2 of your recursion, `damped(f, y, z, x, n, damping)`: every update, of z [b, m, d] and of y [b, m, d], goes only the part `damping` of the way from the old state to the new. No noise here. Return (y, z).


# %% exercise="damped" points=2
@lab.exercise("damped")
def damped(f, y, z, x, n, damping):
    ### BEGIN SOLUTION
    for _ in range(n):
        z = torch.lerp(z, f(z + y + x), damping)
    return torch.lerp(y, f(y + z), damping), z
    ### END SOLUTION


# %% check="damped" points=2
lab.check("damped")
### BEGIN HIDDEN TESTS
zero = torch.zeros(1)
assert damped(lambda v: v + 4, zero, zero, zero, 1, 0.5)[1].item() == 2
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Where version 1 replaces a state, version 2 mixes the old one with the replacement.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# With damping 1 you must get version 1 back; with damping 0 nothing moves. `torch.lerp(a, b, w)` is (1 − w) a + w b.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# n times: z = mix of z and f(sum of all three). Then y = mix of y and f(sum of y and the new z).
#
# </details>

# %% [markdown] solution
# A resting point of f stays one under damping: there old and new are equal.

# %% [markdown]
# **Common mistake.** λ on the old state. At 0.95 the loop then crawls, a twentieth of a step at a time.

# %% facts
eqr = load_weights(paths.find("checkpoints/sudoku6-eqr.safetensors"))
still = copy.deepcopy(eqr).double()
still.config = type(eqr.config)(**{**vars(eqr.config), "noise": 0.0})
with torch.no_grad():
    x = still.encode(few)
    start = still.initial_state(x)
    mine = damped(still.f, *start, x, eqr.config.n, eqr.config.damping)
    gap = (mine[0] - still.step(start, x).y).abs().max().item()
print("a segment of EqR without noise, equal to 1e-6:", gap < 1e-6)

# %% [markdown]
# **Before you move anything:** *one* hard puzzle from 24 random starts. If the solution were the only resting point, where would all paths end?

# %%
from latentkit.widgets import latent_path, pca_paths

puzzle = 88
torch.manual_seed(lab.seed)
starts = unroll(eqr, test.tokens[puzzle].repeat(24, 1), 16)
right = (starts.predictions[-1] == test.targets[puzzle]).all(-1)
unchanged = (starts.predictions[-8:] == starts.predictions[-1]).all(-1).all(0)
print(f"ends right: {int(right.sum())} of 24, of them", end=" ")
print(f"{int(unchanged[right].sum())} with the same answer for 8 segments")
print(f"ends wrong: {int((~right).sum())} of 24, of them", end=" ")
print(f"{int(unchanged[~right].sum())} with the same answer for 8 segments")
latent_path(
    pca_paths(starts), right=right, title="One puzzle, 24 starts, 16 segments"
)

# %% [markdown]
# The right ends are at rest, up to the noise. The wrong ones are caught in a region of their own and still move: not a wrong fixed point, but a place from where the solution is not found. A signal could tell.

# %% [markdown]
# ### Exercise 6 · Choose
#
# **Difficulty** ●●○○○ · **Time** 6 minutes · **Skill** indexing with two tensors
#
# r restarts give r answers. Write `choose(predictions, signal)`: predictions [r, b, m], signal [r, b], the larger the better; return [b, m], for each puzzle the answer of its best run.


# %% exercise="choose" points=2
@lab.exercise("choose")
def choose(predictions, signal):
    ### BEGIN SOLUTION
    best = signal.argmax(0)
    return predictions[best, torch.arange(len(best))]
    ### END SOLUTION


# %% check="choose" points=2
lab.check("choose")
### BEGIN HIDDEN TESTS
assert choose(
    torch.tensor([[[1], [2]], [[3], [4]]]), torch.tensor([[0.1, 0.9], [0.2, 0.8]])
).tolist() == [[3], [2]]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Each puzzle may take another run. So you need an index for every puzzle.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `argmax` over the axis of runs gives [b]. Indexing with two tensors of length b picks one run for each puzzle.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# best[i] = run with the largest signal of puzzle i; answer i = predictions[best[i], i].
#
# </details>

# %% [markdown] solution
# Choosing is not counting: that *any* run is right helps nobody who cannot pick it.

# %% [markdown]
# **Common mistake.** One best run for all puzzles together.

# %% [markdown]
# More segments (depth) or more restarts (breadth)? Thirty puzzles, eight starts, eight segments; your `choose` picks by the signal named. "By an oracle" looks at the answers: the ceiling. **Before you switch signals:** which will do worse than a single run?

# %%
from latentkit.widgets import surface

thirty, goal = test.tokens[:30], test.targets[:30]
torch.manual_seed(lab.seed)
many = unroll(eqr, thirty.repeat(8, 1), 8)
answers = many.predictions.unflatten(1, (8, 30))  # [segment, restart, puzzle, cell]
correct = (answers == goal).all(-1)
confidence = many.logits.softmax(-1).amax(-1).amin(-1)
signals = {
    "by residual": -many.residuals.mean(-1).unflatten(1, (8, 30)),
    "by lowest confidence": confidence.unflatten(1, (8, 30)),
    "by halting value": many.halt_logits.unflatten(1, (8, 30)),
    "by an oracle": correct.float(),
}


def share(signal, segments, restarts):
    """Share right of the runs chosen among the first restarts."""
    t = segments - 1
    chosen = choose(answers[t, :restarts], signal[t, :restarts])
    return (chosen == goal).all(-1).float().mean().item()


for name, signal in list(signals.items())[:3]:
    aucs = [f"{auc(signal[t - 1], correct[t - 1]):.2f}" for t in (2, 4, 8)]
    print(f"{name:22} AUC after 2, 4, 8 segments: {', '.join(aucs)}")
surface(
    {
        name: [[share(signal, t, r) for r in (1, 2, 4, 8)] for t in (1, 2, 4, 8)]
        for name, signal in signals.items()
    },
    passes=(1, 2, 4, 8),
    restarts=(1, 2, 4, 8),
    number=dict.fromkeys(signals, 30),
    title="EqR on 6x6: depth against breadth",
)

# %% [markdown]
# Breadth pays if the choice is good; the lowest confidence comes near the oracle. The residual **turns around**: early its AUC is below one half, and it picks the *worse* runs. (Plausibly, a run that moves much is just finding the solution.) Late, when right ones rest and wrong ones wander, it is good; late is when EqR's paper uses it. And at equal price, here, depth beats breadth. (One seed, thirty puzzles.)

# %% [markdown]
# ## Real puzzles: two recurrences
#
# **(a) Structure-free:** TRM with 81 cells. That cells in a row clash, that digits are only names, it must learn. **(b) Symmetric:** one small vector per cell *and digit*, all weights shared over cells, digits and passes; a cell hears sums along its row, column, box and own digits (messages as in [Palm et al., 2018](https://arxiv.org/abs/1711.08028)):
#
# $$h \leftarrow \mathrm{rms}\big(h + W_2\, \mathrm{silu}(W h + V_{\text{given, blank or other}} + \textstyle\sum_k W_k\, \text{message}_k) + b\big).$$

# %% [markdown]
# ### Exercise 7 · Messages
#
# **Difficulty** ●●●●○ · **Time** 15 minutes · **Skill** reshaping a grid into boxes
#
# Write `messages(h, box_rows, box_cols)` for one board h [s, s, s, c]: row, column, digit, channels. Return six tensors [s, s, s, c]; at each cell and digit they hold the sum of h over
#
# 1. its row (of the same digit, as everywhere but in 4),
# 2. its column,
# 3. its box,
# 4. the digits of its cell,
# 5. the cells that its row and its box have in common,
# 6. the cells that its column and its box have in common.


# %% exercise="messages" points=4
@lab.exercise("messages")
def messages(h, box_rows, box_cols):
    # [band, row in band, stack, column in stack, digit, channel]
    x = h.unflatten(1, (-1, box_cols)).unflatten(0, (-1, box_rows))
    ### BEGIN SOLUTION
    axes = [(2, 3), (0, 1), (1, 3), (4,), (3,), (1,)]
    sums = [x.sum(axis, keepdim=True).expand_as(x) for axis in axes]
    return [total.flatten(2, 3).flatten(0, 1) for total in sums]
    ### END SOLUTION


# %% check="messages" points=4
lab.check("messages")
### BEGIN HIDDEN TESTS
board_of_ones = torch.ones(6, 6, 6, 1)
assert [int(m[0, 0, 0, 0]) for m in messages(board_of_ones, 2, 3)] == [
    6,
    6,
    6,
    6,
    3,
    2,
]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# In x every message is a sum over one or two of the first five axes.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# A row runs over stacks and columns, axes 2 and 3; a box over rows and columns in it, axes 1 and 3. `keepdim=True`, then `expand_as(x)`, gives every cell its group's sum.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# for each of the six groups of axes: sum with kept axes, expand to x's shape, flatten stack with column, then band with row.
#
# </details>

# %% [markdown] solution
# On 9x9 an exchange of box rows and columns cannot show; the check uses 2x3 boxes.

# %% [markdown]
# **Common mistake.** Summing over the digits in the row message too: then none can be told from another.

# %% [markdown]
# **Parity.** One pass, built from your messages and the trained weights:

# %% facts
nine = Sudoku(3, 3)
graph = load_weights(paths.find("checkpoints/sudoku-graph.safetensors"))
g = copy.deepcopy(graph).double()
layer = g.steps[0]
hard = nine.puzzles.select(split="test", band="hard", limit=6).batch()
tokens = hard.tokens[:1]
with torch.no_grad():
    context = g.encode(tokens)
    before = g.initial_state(context)
    after = g.step(before, context)
    h = before.view(9, 9, 9, -1)
    rows, columns, boxes, own_digits, row3, column3 = messages(h, 3, 3)
    total = layer.here(h) + context[0].reshape(9, 9, 9, -1)
    total = total + layer.line(rows + columns) / 3 + layer.box(boxes) / 3
    total = total + layer.cell(own_digits) / 3 + layer.triad(row3 + column3)
    h = h + layer.out(torch.nn.functional.silu(total))
    mine = h / (h.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    gap = (mine.reshape(after.shape) - after).abs().max().item()
print("one pass equal to 1e-6:", gap < 1e-6)

# %% [markdown]
# **A test of symmetry.** Rename the digits, shuffle bands, rows, stacks and columns, transpose: the solution moves along. If we move puzzle *and state* so, does the next state? TRM's state holds no digits: there we ask whether its *answer* moves along. **Predict** both.

# %% facts
import numpy as np

from latentkit.tasks.sudoku_symmetry import random_symmetries

symmetry = random_symmetries(1, nine.board, np.random.default_rng(0))
places, names = torch.tensor(symmetry.cells[0]), torch.tensor(symmetry.digits[0])


def moved_state(state):
    old_digit = names[1:].argsort()
    by_digit = state.unflatten(-1, (9, -1))[:, places]
    return by_digit[:, :, old_digit].flatten(2)


with torch.no_grad():
    moved_puzzle = g.encode(names[tokens[:, places]])
    gap = g.step(moved_state(before), moved_puzzle) - moved_state(after)
print("graph: the next state moves along, to 1e-6:", bool(gap.abs().max() < 1e-6))

trm9 = load_weights(paths.find("checkpoints/sudoku9-trm.safetensors"))
everyday = Sudoku(3, 3, "sudoku-9x9-easy").test(20)
answer = unroll(trm9, everyday.tokens, 16, keep="last").predictions[-1] + 1
moved_tokens = names[everyday.tokens[:, places]]
other = unroll(trm9, moved_tokens, 16, keep="last").predictions[-1] + 1
same = int((other == names[answer[:, places]]).all(-1).sum())
print(f"TRM: the whole answer moves along in {same} of 20 puzzles")

# %%
extreme = nine.puzzles.select(split="test", band="extreme", limit=20).batch()
torch.manual_seed(lab.seed)
for name, model, passes in (("TRM", trm9, 16), ("graph", graph, 256)):
    counts = []
    for batch, most in ((everyday, 64), (extreme, 256)):
        run = unroll(model, batch.tokens, min(passes, most), keep="last")
        right = (run.predictions[-1] == batch.targets).all(-1)
        counts.append(int(right.sum()))
    print(
        f"{name:6} {count_parameters(model):>8,} parameters: {counts[0]} of 20 "
        f"with 43 blanks, {counts[1]} of 20 extreme ones"
    )

# %% [markdown]
# TRM, told nothing, has nearly learned the symmetry, from 500 puzzles and their symmetric forms. Three seeds, four CPU-minutes: {{ claim trm-sudoku9 trm/exact@8 }}% of 1,000 puzzles with 43 blanks after 8 segments, {{ claim trm-sudoku9 trm/exact@16 }}% after 16. Extreme puzzles it never saw, and solves none. The graph had the symmetry before its first step: what it learns of one puzzle it knows of all its forms. The price: rows and boxes are built in, and it can do nothing else.

# %% [markdown]
# A hard puzzle, 256 passes. **Before you move the slider:** do digits settle one by one, like lab 02's letters, or in a few large steps?

# %%
from latentkit.widgets import board

torch.manual_seed(lab.seed)
walk = unroll(graph, hard.tokens, 256, keep=8)
solves = (walk.predictions == hard.targets).all(-1)
latest = int(torch.where(solves[-1], solves.int().argmax(0), -1).argmax())
board(walk, box=(3, 3), targets=hard.targets, example=latest, title="A hard puzzle")

# %%
graphs = ledger.load("sudoku-graph")
bands = ("singles", "medium", "hard", "extreme")
plots.scaling_curves(
    (16, 64, 256),
    {
        band: list(
            zip(
                *(
                    graphs.values(f"generated/real_{band}@{p}")
                    for p in (16, 64, 256)
                ),
                strict=True,
            )
        )
        for band in bands
    },
    xlabel="passes",
    title="Published puzzles, trained on the course's own",
)

# %% [markdown]
# After 16 passes next to nothing is solved; after 256, {{ claim sudoku-graph generated/real_singles@256 }}% of the puzzles that need no guess, {{ claim sudoku-graph generated/real_hard@256 }}% of the hard and {{ claim sudoku-graph generated/real_extreme@256 }}% of the extreme ones, from two CPU-minutes on the course's own puzzles. (Of its own extreme ones, which need far fewer guesses, {{ claim sudoku-graph generated/own_extreme@256 }}%.)

# %% [markdown]
# ## Knowing from inside
#
# Anyone can check a Sudoku by its rules; that is no merit of the model. What does it know *itself*? Your `auc`, of the twenty extreme puzzles above; then three seeds:


# %%
lowest = run.logits[-1].softmax(-1).amax(-1).amin(-1)
still = -run.residuals[-3:].mean((0, 2))
if 0 < right.sum() < len(right):
    print(
        f"20 extreme puzzles: lowest confidence {auc(lowest, right):.2f}, ", end=""
    )
    print(f"residual {auc(still, right):.2f}")


def by_seed(metric):
    """The seeds' values; None where there were too few right or wrong answers."""
    return [value or None for value in graphs.metrics[metric]["values"]]


plots.signal_dots(
    {
        label: {
            "lowest confidence": by_seed(f"generated/auc_min_confidence_{key}"),
            "residual": by_seed(f"generated/auc_residual_{key}"),
        }
        for label, key in {
            "published, medium": "real_medium",
            "published, hard": "real_hard",
            "published, extreme": "real_extreme",
            "own, extreme": "own_extreme",
        }.items()
    },
    line=0.95,
    title="Which signal knows? Three seeds, 256 passes",
)


# %% [markdown]
# The **lowest confidence** has an AUC of {{ claim sudoku-graph generated/auc_min_confidence_real_hard }} (to three decimals) on hard puzzles, on every seed, and no less in the other bands. The **residual** is as good on one seed and far worse on another.
#
# On 6x6 it was the other way round. The graph is trained with noise and a loss at every pass: it learned to hedge, and undecided is what wrong looks like. A signal belongs to a model and its training. Measure it before you trust it.

# %% [markdown]
# ## Restarts that hold a guess
#
# Extreme puzzles stay undecided: the state settles with some cells between two digits. `analysis/guessing.py` restarts with two guesses *held*, drawn from the model's belief, and takes the run whose least certain cell is most certain. **This is random search wrapped around the recurrence.** No rule is consulted, no guess taken back.

# %%
held = ledger.load("sudoku-guessing")
plots.scaling_curves(
    (1, 2, 4, 8, 16, 32, 64),
    {
        band: held.values(f"generated/guessing_{band}")
        for band in ("hard", "extreme")
    },
    xlabel="restarts, at most",
    title="Held guesses, chosen by lowest confidence",
)

# %% [markdown]
# Plain restarts, best of 16 by lowest confidence: from {{ claim sudoku-guessing generated/single_hard mean }}% of the hard puzzles to {{ claim sudoku-guessing generated/by16_min_confidence_hard mean }}%, as many as *any* of the 16 gets right ({{ claim sudoku-guessing generated/any16_hard mean }}%): the choice is perfect, the runs are not. Held guesses, 64 runs, 60 puzzles a band: {{ claim sudoku-guessing generated/guessing64_hard }}% of the hard, {{ claim sudoku-guessing generated/guessing64_extreme }}% of the extreme ones. What the loop alone lacks is to commit, and to take back.

# %% [markdown]
# ## What the paper's size would cost
#
# `latentkit train trm-sudoku-paper` prints this before it starts:

# %%
from dataclasses import replace

from latentkit.claims import presets
from latentkit.training import cost

preset = presets.get("trm-sudoku-paper")
estimate = cost.estimate(
    build(preset.config),
    preset.supervision,
    replace(preset.fit, precision="fp32"),
    preset.batch,
    preset.positions,
)
print(f"{estimate.parameters:,} parameters")
print(cost.in_words(estimate, "cpu"))

# %% [markdown]
# ## Your puzzle
#
# 81 characters, row by row, a dot for a blank. (`latentkit solve` in a terminal shows every pass.)

# %%
from latentkit.analysis.commands import faults, parse

PUZZLE = """
7.......3
........5
.35.1.4.2
.....29..
.9.7.....
512.9....
94...72..
.6..8..1.
.....6..8
"""
typed, grid = parse(PUZZLE)
torch.manual_seed(lab.seed)
run = unroll(graph, typed, 256, keep="last")
answer = run.predictions[-1, 0] + 1
print("\n".join("".join(map(str, row)) for row in answer.view(9, 9).tolist()))
wrong = faults(typed[0], answer, grid)
print("wrong: " + "; ".join(wrong) if wrong else "right by the rules")
lowest = run.logits[-1, 0].softmax(-1).amax(-1).min().item()
print(f"lowest confidence {lowest:.3f}: {'sure' if lowest > 0.9 else 'undecided'}")

# %% [markdown]
# ## What the papers leave open
#
# | | TRM's paper | its public code | here |
# |---|---|---|---|
# | optimiser | AdamW | AdamATan2 | AdamW; Muon for the graph |
# | halting loss | weight 1 in the pseudocode | 0.5 | 0.5 |
# | cross-entropy | softmax in the pseudocode, stable-max in the text | stable-max | softmax |
# | positions in front of the puzzle | 1 | 16, of which 15 are zeros | none |
# | recursions a segment | 3, gradient in the last | the same | 1, gradient in all |
# | training | 60,000 epochs | 50,000 | two CPU-minutes |
#
# **Open here:** whether two networks hurt or only cost time; whether *sharing* helps at equal depth, or only lets the loop run longer (claim `sudoku-sharing`, not finished); breadth over three seeds (`eqr-breadth-sudoku6`, likewise); how a loop could learn to commit and take back.
#
# | Claim | Verdict |
# |---|---|
# | {{ claim drivers-sudoku6 statement }} | **{{ claim drivers-sudoku6 verdict }}** |
# | {{ claim guessing-sudoku6 statement }} | **{{ claim guessing-sudoku6 verdict }}** |
# | {{ claim trm-sudoku9 statement }} | **{{ claim trm-sudoku9 verdict }}** |
# | {{ claim sudoku-graph statement }} | **{{ claim sudoku-graph verdict }}** |
# | {{ claim sudoku-guessing statement }} | **{{ claim sudoku-guessing verdict }}** |

# %% [markdown]
# ## Self-quiz
#
# {{ quiz }}

# %% [markdown]
# ## Stretch
#
# - Run the contracts on 6x6 (950 steps, width 64). Does the recursive stem overtake deep supervision?
# - `guessing_restarts(graph, tokens, 256, 64, guesses=1)` of `latentkit.analysis.guessing`: is one guess enough?
# - Train the graph on hard and extreme puzzles only, after a start on all: `latentkit.claims.real_sudoku.graph_arm`.
#
# ## Reading
#
# - Jolicoeur-Martineau, [Less is more: recursive reasoning with tiny networks](https://arxiv.org/abs/2510.04871), 2025: TRM and its table.
# - ARC Prize, [The hidden drivers of HRM's performance](https://arcprize.org/blog/hrm-analysis), 2025: the outer loop matters most.
# - Ren and Liu, [Are your reasoning models reasoning or guessing?](https://arxiv.org/abs/2601.10679), 2026.
# - Huang, Geng and Kolter, [Equilibrium reasoners](https://arxiv.org/abs/2605.21488), 2026: attractors, depth and breadth.
# - Hakimi, [Form follows function: recursive stem model](https://arxiv.org/abs/2603.15641), 2026.
# - Palm, Paquet and Winther, [Recurrent relational networks](https://arxiv.org/abs/1711.08028), 2018: messages between cells, long before.
#
# ## Next
#
# All of this recurs along *depth*: one input, looked at again and again. Lab 06 (planned) turns to the other axis: a text longer than the window must be *remembered*.
