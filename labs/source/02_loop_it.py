# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Lab 02 · Loop it
#
# {{ badge }}
#
# **Claim.** One transformer block, run again and again on its own state, solves words of 32 letters after training on words of at most 12. Stacks of equal parameters and of equal training compute do not.
#
# | | |
# |---|---|
# | You need | [lab 01](01_the_depth_wall.ipynb) |
# | Your time | 110 minutes |
# | Computer time | {{ cpu_seconds }} CPU seconds |
#
# By the end you can
#
# - build a looped transformer: input injection, a shared block, a norm inside the loop;
# - train it through a varying number of passes, and cut its gradient where you choose;
# - read a map of passes against depth, and let the model stop by itself;
# - say what the loop beats, at equal parameters and at equal compute, and where it fails.

# %% [markdown]
# ## Cold open: the wall, again
#
# Lab 01's stack of four layers, on a word of 24 letters, and beside it a model with **one** layer, which may use it 32 times. Fewer than a third of the weights.
#
# **Predict** the second line before you run the cell. Where does a single layer stop, if it has no more parameters to offer?

# %%
import torch

from latentkit import paths
from latentkit.recurrence import unroll as run_passes
from latentkit.tasks import WordProblem
from latentkit.training import load_weights

words = WordProblem("S3")
test = words.sample(
    batch=256, length=32, generator=torch.Generator().manual_seed(2024)
)
word = words.batch(test.tokens[25:26, 1:25])
stack4 = load_weights(paths.find("checkpoints/s3-stack4.safetensors"))
loop = load_weights(paths.find("checkpoints/s3-loop.safetensors"))
with torch.no_grad():
    four_layers = stack4(word.tokens)
words.show(word, four_layers)

# %%
words.show(word, run_passes(loop, word.tokens, passes=32).logits[-1])

# %% [markdown]
# Both were trained on words of up to 12 letters.

# %% [markdown]
# ## The idea by hand
#
# Take one block and feed it its own output. Two additions are usual:
#
# $$h_0 = 0, \qquad h_t = \mathrm{norm}\big(\mathrm{Block}(W\,[h_{t-1};\, e])\big), \qquad \text{logits} = W_o\, \mathrm{norm}(h_T).$$
#
# | name | shape | meaning |
# |---|---|---|
# | e | [b, n, d] | the embedded input, the same at every pass |
# | $h_t$ | [b, n, d] | the state after pass t |
# | $[h; e]$ | [b, n, 2d] | both side by side: **input injection** |
# | W | [d, 2d] | back to d channels |
#
# T is not part of the model. It is chosen at every call.

# %% [markdown]
# ### Exercise 1 · Injection
#
# **Difficulty** ●○○○○ · **Time** 5 minutes · **Skill** concatenation and a linear map
#
# Write `inject(h, e, weight)`: h and e are [b, n, d], weight is [d, 2d]; return $W\,[h; e]$, [b, n, d].


# %% exercise="inject" points=1
@lab.exercise("inject")
def inject(h, e, weight):
    ### BEGIN SOLUTION
    return torch.cat([h, e], -1) @ weight.T
    ### END SOLUTION


# %% check="inject" points=1
lab.check("inject")
### BEGIN HIDDEN TESTS
assert (
    inject(
        torch.ones(1, 1, 1), torch.zeros(1, 1, 1), torch.tensor([[3.0, 5.0]])
    ).item()
    == 3
)
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# First make one vector of length 2d at each position.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `torch.cat` along the last axis, state first. A weight [out, in] acts as `x @ weight.T`.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# Put h and e side by side along the channels; multiply by the transposed weight.
#
# </details>

# %% [markdown] solution
# W sees state and input in different columns, so it can weigh them differently; adding h + e could not.

# %% [markdown]
# **Common mistake.** `[e; h]`: the shapes fit, the trained weights do not.

# %% [markdown]
# ### Exercise 2 · One pass
#
# **Difficulty** ●●○○○ · **Time** 8 minutes · **Skill** composing a step
#
# Write `looped_step(h, e, weight, block, gain)`: inject, then call `block` (a function from [b, n, d] to [b, n, d]), then an RMS norm with gain [d]:
#
# $$\mathrm{norm}(x) = \frac{x}{\sqrt{\tfrac1d \sum_i x_i^2}} \odot \text{gain}.$$


# %% exercise="looped_step" points=2
@lab.exercise("looped_step")
def looped_step(h, e, weight, block, gain):
    ### BEGIN SOLUTION
    x = block(inject(h, e, weight))
    return x / x.pow(2).mean(-1, keepdim=True).sqrt() * gain
    ### END SOLUTION


# %% check="looped_step" points=2
lab.check("looped_step")
### BEGIN HIDDEN TESTS
x = torch.tensor([[[3.0, 4.0]]])
assert torch.allclose(
    looped_step(x, x, torch.eye(2).repeat(1, 2), lambda y: y, torch.ones(2))
    .pow(2)
    .mean(),
    torch.tensor(1.0),
)
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Three things in the order in which the formula reads from the inside out.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# The mean of squares runs over the last axis; keep that axis, so that the division broadcasts.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# Call your `inject`, hand the result to `block`; divide by the root of the mean of squares over channels; times gain.
#
# </details>

# %% [markdown] solution
# The block has its own residual connections inside; there is none around the pass. The state is replaced, not added to.

# %% [markdown]
# **Common mistake.** The norm before the block instead of after it: the shapes fit, the trained weights do not.

# %% [markdown]
# ### Exercise 3 · The loop
#
# **Difficulty** ●●○○○ · **Time** 8 minutes · **Skill** recording a run
#
# Write `unroll(step, h, passes)`: apply `step` to h [b, n, d] `passes` times. Return two tensors: all states after each pass [t, b, n, d], and the residuals $\|h_t - h_{t-1}\| / \|h_t\|$ [t, b, n], with the norm over channels.


# %% exercise="unroll" points=2
@lab.exercise("unroll")
def unroll(step, h, passes):
    states, residuals = [], []
    ### BEGIN SOLUTION
    for _ in range(passes):
        before, h = h, step(h)
        states.append(h)
        residuals.append((h - before).norm(dim=-1) / h.norm(dim=-1))
    ### END SOLUTION
    return torch.stack(states), torch.stack(residuals)


# %% check="unroll" points=2
lab.check("unroll")
### BEGIN HIDDEN TESTS
states, residuals = unroll(lambda h: 2 * h, torch.ones(1, 1, 4), 3)
assert states[:, 0, 0, 0].tolist() == [
    2,
    4,
    8,
] and residuals.flatten().tolist() == [0.5, 0.5, 0.5]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Keep the old state until you have compared it with the new one.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `x.norm(dim=-1)` is the length of each position's vector. The starting state itself is not recorded.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# repeat `passes` times: before = h; h = step(h); append h; append |h - before| / |h|.
#
# </details>

# %% [markdown] solution
# Dividing by the length of the *new* state makes the first residual from $h_0 = 0$ exactly 1, instead of a division by zero.

# %% [markdown]
# **Common mistake.** Calling `step` on the starting state every time: all states come out equal, and the residuals after the first look like perfect convergence.

# %% [markdown]
# **Parity.** Your loop, with the trained weights inside, against latentkit's:

# %% facts
import copy

exact = copy.deepcopy(loop).double()  # in float64, a difference is a mistake
with torch.no_grad():
    context = exact.encode(test.tokens)


def my_block(x):
    return exact.core[0](x, context.biases[0])


def my_step(h):
    weight, gain = exact.adapter.weight, exact.loop_norm.weight
    return looped_step(h, context.e, weight, my_block, gain)


with torch.no_grad():
    states, residuals = unroll(my_step, exact.initial_state(context), 16)
theirs = run_passes(exact, test.tokens, passes=16)
same = (states[-1] - theirs.states[-1]).abs().max() < 1e-5
print("states equal to 1e-5:   ", bool(same))
print(
    "residuals equal to 1e-5:",
    bool((residuals - theirs.residuals).abs().max() < 1e-5),
)

# %% [markdown]
# ## Watch it think
#
# The trained loop on 16 letters, pass by pass. **Before you move the slider:** lab 01's stack settled its letters all at once, in its last layer. How will the loop do it?

# %%
from latentkit.widgets import scrub

shown = words.batch(test.tokens[25:26, 1:17])
run = run_passes(loop, shown.tokens, passes=24)
scrub(
    run,
    targets=shown.targets,
    token_names=words.token_names,
    class_names=words.class_names,
    depth=shown.depth,
    title="One block, looped",
)

# %% [markdown]
# A staircase: each pass settles about one more letter, and what is settled stays. The loop has learned lab 00's time recurrence, and runs it along *depth*: position t waits for position t − 1, one pass each.
#
# Look at the bars, too. Where the answer is settled, the state stops moving.

# %% [markdown]
# ## Training through a loop
#
# How many passes should a training step run? If always the same number, the model may learn to be right at just that pass. Here T is drawn anew for each batch: as many passes as letters, plus 0 to 4.
#
# And through how many passes should the gradient flow? All of them is exact, and costs memory for each. Cutting it to the last k saves memory and half of the time, and gives a gradient that is no longer that of the loss.

# %% [markdown]
# ### Exercise 4 · Cut the gradient
#
# **Difficulty** ●●○○○ · **Time** 10 minutes · **Skill** truncated backpropagation
#
# Write `truncated(step, h, passes, k)`: the state [n] after `passes` steps from h [n], with gradient through the last k steps only. If k is at least `passes`, nothing is cut.


# %% exercise="truncated" points=3
@lab.exercise("truncated")
def truncated(step, h, passes, k):
    ### BEGIN SOLUTION
    for t in range(passes):
        with torch.set_grad_enabled(t >= passes - k):
            h = step(h)
    return h
    ### END SOLUTION


# %% check="truncated" points=3
lab.check("truncated")
### BEGIN HIDDEN TESTS
w = torch.tensor(2.0, requires_grad=True)
truncated(lambda h: w * h, torch.tensor(1.0), 3, 1).backward()
assert w.grad.item() == 4
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# The first passes leave no trace, the last k do.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# Under `torch.no_grad()` nothing is recorded, so no memory is spent. Which passes belong there, if k may be larger than `passes`?
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# Pass t = 0, 1, ... carries gradient exactly if t is at least passes - k. (Two loops do as well.)
#
# </details>

# %% [markdown] solution
# `h.detach()` at the right pass gives the same gradient, but records the first passes for nothing.

# %% [markdown]
# **Common mistake.** Detaching one pass too early or too late. The loss falls either way; only the gradient tells.

# %% [markdown]
# ## Train one live
#
# The loop on words of up to 8 letters, with as many passes plus 0 to 2; and beside it a plain single layer of **equal parameters** (its feed-forward part is wider, to make up for W). Same batches, same steps.

# %%
from latentkit.layers import BlockConfig, count_parameters
from latentkit.models import LoopedConfig, TransformerConfig, build
from latentkit.training import (
    Curriculum,
    FinalLoss,
    FitConfig,
    PassesPerPosition,
    PlainLoss,
    fit,
)

lengths = Curriculum(words, batch=32, low=2, high=8, ramp=300)
recipe = FitConfig(steps=600, learning_rate=3e-3, seed=lab.seed)

torch.manual_seed(lab.seed)
mine = build(LoopedConfig(words.vocab_size, words.num_classes))
looped_run = fit(mine, lengths, FinalLoss(PassesPerPosition(extra=2)), recipe)

# %%
plain = build(
    TransformerConfig(
        words.vocab_size, words.num_classes, block=BlockConfig(mlp_ratio=5)
    )
)
plain_run = fit(plain, lengths, PlainLoss(), recipe)
print(f"{count_parameters(mine):,} and {count_parameters(plain):,} parameters")

# %%
from latentkit import plots

plots.loss_curves(
    {"looped": looped_run.losses, "plain": plain_run.losses},
    title="The same weights, used once or many times",
)

# %% [markdown]
# The loop pays with compute: it ran its block about 6 times a step. Whether that is a fair price comes below. How far does *your* loop reach?

# %%
mine_after = run_passes(mine, test.tokens, passes=40)
for t in (4, 8, 16, 24, 40):
    right = (mine_after.predictions[t - 1] == test.targets).float().mean(0)
    print(
        f"{t:2} passes: accuracy at letter 8 {right[8]:.2f}, letter 16 {right[16]:.2f}"
    )

# %% [markdown]
# It was trained on 8 letters. What it does with more, given more passes, is the subject of the next figure.

# %% [markdown]
# ## The map
#
# ### Exercise 5 · Passes against depth
#
# **Difficulty** ●●○○○ · **Time** 5 minutes · **Skill** reducing the right axis
#
# Write `depth_map(predictions, targets)`: predictions [k, b, n] at k passes, targets [b, n]; return the share of right answers [k, n].


# %% exercise="depth_map" points=2
@lab.exercise("depth_map")
def depth_map(predictions, targets):
    ### BEGIN SOLUTION
    return (predictions == targets).float().mean(1)
    ### END SOLUTION


# %% check="depth_map" points=2
lab.check("depth_map")
### BEGIN HIDDEN TESTS
assert depth_map(
    torch.tensor([[[1, 0], [1, 1]]]), torch.tensor([[1, 0], [0, 1]])
).tolist() == [[0.5, 1.0]]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Compare first, average after.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# [k, b, n] compared with [b, n] broadcasts over k by itself. Booleans have no mean: make them floats.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# right = predictions equal targets, as float; mean over the batch, which is axis 1.
#
# </details>

# %% [markdown] solution
# Position is depth in a word problem, so this is accuracy by pass and by depth.

# %% [markdown]
# **Common mistake.** Averaging over positions as well: a single accuracy per pass hides where it fails, and that is the whole story here.

# %% [markdown]
# The signature figure of this lab, from the shipped model trained on at most 12 letters:

# %%
full = run_passes(loop, test.tokens, passes=40)
plots.pass_map(
    depth_map(full.predictions, test.targets),
    full.passes,
    line=lambda t: t,
    line_label="one letter a pass",
    title="Trained on 12 letters: what 40 passes reach",
)

# %% facts
from latentkit.claims import ledger
from latentkit.tasks import solved_depth

for t in (4, 8, 12, 16, 24, 32, 40):
    accuracy = words.score(full.logits[t - 1], test)
    print(f"{t:2} passes solve letters 1 to {solved_depth(accuracy, 0.99)}")

# %% [markdown]
# The frontier moves with the passes, far beyond the 12 letters and the 16 passes that training ever saw. Out there it lags behind one letter a pass; the ledger has all three seeds:

# %% facts
extrapolates = ledger.load("loop-extrapolates-s3")
for t in (12, 24, 32, 40, 64):
    solved = extrapolates.values(f"loop/solved_depth@{t}")
    print(f"{t} passes: letters solved by seed {solved}")
print("verdict:", extrapolates.verdict)

# %% [markdown]
# ## Is that fair?
#
# Two fair opponents. **Equal parameters:** one layer with as many weights. **Equal training compute:** a stack of 11 layers, which does as many multiplications a training step as the loop. Both may choose the best of three learning rates, and the single layer, being cheap, trains more than three times as long; the loop keeps the rate it was set up with.

# %%
from latentkit.claims.looping import solved_by

versus = ledger.load("loop-vs-stacks-s3")
plots.reach_bars(
    {
        "loop, 40 passes": versus.values("loop/solved_depth@40"),
        "equal parameters": solved_by(versus, "equal-parameters"),
        "equal compute": solved_by(versus, "equal-compute"),
    },
    xlabel="letters solved, out of 32 (each dot a seed)",
    trained_to=12,
    title="Trained on words of up to 12 letters: how far each goes",
)

# %% facts
for arm, setup in versus.setup.items():
    metric = f"{arm}/solved_depth" + ("@40" if arm == "loop" else "")
    size = f"{setup['parameters']:>8,} parameters"
    print(f"{arm:22} {size}   letters solved {versus.values(metric)}")
print("verdict:", versus.verdict)

# %% [markdown]
# One thing is *not* equal: at test time the loop spends 40 passes where the stack spends 11 layers. But the stack has no way to spend more. That is the point of a loop.

# %% [markdown]
# ## When to stop
#
# Forty passes for every letter is a waste: letter 3 is done after 3. The residual can tell.
#
# ### Exercise 6 · Halting
#
# **Difficulty** ●●●○○ · **Time** 8 minutes · **Skill** first occurrence along an axis
#
# Write `halting_pass(residuals, threshold)`: residuals [t, b, n]; return integers [b, n]: the *first* pass, counted from 1, at which the position's residual is below the threshold, and 0 where that never happens.


# %% exercise="halting_pass" points=3
@lab.exercise("halting_pass")
def halting_pass(residuals, threshold):
    ### BEGIN SOLUTION
    below = residuals < threshold
    first = below.int().argmax(0) + 1
    return torch.where(below.any(0), first, 0)
    ### END SOLUTION


# %% check="halting_pass" points=3
lab.check("halting_pass")
### BEGIN HIDDEN TESTS
assert (
    halting_pass(torch.tensor([0.9, 0.1, 0.5, 0.1])[:, None, None], 0.2).item() == 2
)
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Make a boolean tensor first. Where is its first True along the passes?
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `argmax` of zeros and ones gives the first one. It also gives 0 where there is none, so treat that case apart.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# Compare residuals with the threshold; take the argmax (of 0s and 1s) over the passes, plus 1; put 0 where no pass is below.
#
# </details>

# %% [markdown] solution
# `argmax` returns the first of several equal maxima; `any` tells "at pass 1" from "never".

# %% [markdown]
# **Common mistake.** Taking the *last* pass above the threshold, plus one. A residual may dip and come back, and a model that halts cannot know the future.

# %% [markdown]
# Now with real freezing: latentkit's `RelativeStep` rule stops a position's state for good, while the others go on and still attend to it.

# %%
from latentkit.recurrence import RelativeStep

halted = run_passes(
    loop, test.tokens, passes=64, halting=RelativeStep(threshold=0.03)
)
scrub(
    run_passes(loop, shown.tokens, passes=24, halting=RelativeStep(threshold=0.03)),
    targets=shown.targets,
    token_names=words.token_names,
    class_names=words.class_names,
    title="Halting at a relative step of 0.03",
)

# %% [markdown]
# First a test of your function: on a run without freezing, it should name the pass at which latentkit's rule would first have stopped each letter.

# %% facts
free = run_passes(loop, shown.tokens, passes=24)
frozen = run_passes(
    loop, shown.tokens, passes=24, halting=RelativeStep(threshold=0.03)
)
print("yours:    ", halting_pass(free.residuals, 0.03)[0].tolist())
print("latentkit:", frozen.halted_at[0].tolist())

# %% facts
used = halted.passes_used.float()
accuracy = (halted.predictions[-1] == test.targets).float().mean()
position = test.depth.float()
agree = torch.corrcoef(torch.stack([used.flatten(), position.flatten()]))[0, 1]
print("accuracy with halting             ", round(accuracy.item(), 3))
print("passes a letter, on average       ", round(used.mean().item(), 1))
print("passes of the slowest letter      ", int(used.max()))
print("correlation of passes and position", round(agree.item(), 2))

# %% [markdown]
# Late letters get more passes than early ones, though nobody taught the model to halt, and next to nothing is lost. (Try a threshold of 0.1: cheaper, and it stops some letters too early.) Mind the reference when you quote the saving: per *letter* it is about half of 40 passes, but the run as a whole ends only when the last letter is done.

# %% [markdown]
# ## Logarithmic depth
#
# On words the loop took one letter a pass. On pointers it could double. The block is that of lab 01's pointer stacks (bidirectional, each position a name), with 3 to 8 passes in training:

# %%
pointer_loop = ledger.load("loop-log-depth-pointers")
plots.depth_curves(
    {
        f"{t} pass{'es' * (t > 1)}": pointer_loop.values(
            f"loop/accuracy_by_depth@{t}"
        )
        for t in (1, 2, 3, 4, 8)
    },
    xlabel="depth (pointers to the root)",
    title="Pointer chasing: what each pass reaches",
)

# %% facts
stacks = ledger.load("stack-wall-pointers")
for t in (1, 2, 3):
    passes = pointer_loop.values(f"loop/solved_depth@{t}")
    layers = stacks.values(f"L{t}/solved_depth")
    print(f"{t} passes: {passes}   {t} layers: {layers}   theory: {2**t}")
for t in (8, 16):
    print(f"{t} passes: {pointer_loop.values(f'loop/solved_depth@{t}')}")
print("verdict:", pointer_loop.verdict)

# %%
from latentkit.tasks import PointerChasing

pointers = PointerChasing(nodes=16, chains=2)
chains = pointers.sample(
    batch=1, length=16, generator=torch.Generator().manual_seed(3)
)
follower = load_weights(paths.find("checkpoints/pointers-loop.safetensors"))
scrub(
    run_passes(follower, chains.tokens, passes=8),
    targets=chains.targets,
    token_names=pointers.token_names,
    class_names=pointers.class_names,
    depth=chains.depth,
    title="A learned pointer doubler",
)

# %% [markdown]
# Where a pass does not reach the root, accuracy is near 0 in the figure above, not at chance. So it is not guessing. What does it name instead? In lab 00, `Double` pointed $2^t$ steps up after t passes:

# %% facts
many = pointers.sample(
    batch=256, length=16, generator=torch.Generator().manual_seed(5)
)
run = run_passes(follower, many.tokens, passes=3)
pointer = many.tokens
for t in (1, 2, 3):
    pointer = pointer.gather(1, pointer)  # the input's pointers, doubled t times
    beyond = many.depth > 2**t  # nodes whose root is out of reach
    named = (run.predictions[t - 1] == pointer)[beyond].float().mean().item()
    print(
        f"pass {t}: {named:.0%} of the deeper nodes name the node {2**t} steps up"
    )

# %% [markdown]
# It is pointer doubling, and you can read it off. Nobody told it to double. The same file, `models/looped.py`, learned a linear recurrence for one task and a logarithmic one for the other.
#
# But look at 16 passes, twice what it was trained with: it solves less. This is **overthinking**, and the word loop, at 64 passes, shows no trace of it.

# %% facts
run = run_passes(follower, many.tokens, passes=64)
for t in (4, 8, 16, 64):
    share = (run.predictions[t - 1] == many.targets).float().mean().item()
    moved = run.residuals[t - 1].mean().item()
    print(f"{t:2} passes: accuracy {share:.3f}, mean residual {moved:.4f}")

# %% [markdown]
# The state comes to rest, and on the way some right answers turn wrong. **Convergence is not correctness**: a halting rule would stop here, content. Lab 03 asks when the two go together.

# %% [markdown]
# ## Break it
#
# Take one part of the recipe away at a time. **Predict** which one it misses most: the norm in the loop, the injection, the varying number of passes, or ALiBi.

# %%
ablations = ledger.load("loop-ablations-s3")
names = {
    "full": "full recipe",
    "no-norm": "no norm in the loop",
    "no-injection": "no input injection",
    "fixed-passes": "always 12 passes",
    "no-alibi": "no ALiBi",
}
plots.reach_bars(
    {
        label: ablations.values(f"{arm}/solved_depth@40")
        for arm, label in names.items()
    },
    xlabel="letters solved with 40 passes (each dot a seed)",
    trained_to=12,
    title="What each part is for",
)

# %% facts
for arm, label in names.items():
    at = {t: ablations.values(f"{arm}/solved_depth@{t}") for t in (12, 40)}
    print(f"{label:20} 12 passes {at[12]}   40 passes {at[40]}")
print("verdict:", ablations.verdict)

# %% [markdown]
# Did you predict that? Two parts can go, and nothing is lost *on this task*: without the norm, or with always 12 passes (which is more compute), every seed still goes all the way. Large models may need both: this says nothing about those.
#
# Two parts cannot. **Without injection** the loop is as good as ever at 12 passes and has lost its way by 40: only the starting state held the input, and passes probably wear it down. **Without ALiBi** the frontier stops soon after the training length, and more passes do not move it, probably because attention spreads over ever more letters.

# %% [markdown]
# ## Where it fails
#
# A5 has 60 elements and, unlike S3, no constant-depth shortcut (unless TC0 = NC1). In theory a loop *can* solve it, with a number of passes that grows as log n ([Merrill and Sabharwal, 2025](https://arxiv.org/abs/2503.03961)). At this size and budget:

# %%
a5 = ledger.load("loop-a5")
plots.depth_curves(
    {
        "loop, 16 passes": a5.values("loop/accuracy_by_depth@16"),
        "loop, 32 passes": a5.values("loop/accuracy_by_depth@32"),
        "2-layer stack": a5.values("stack-L2/accuracy_by_depth"),
    },
    chance=1 / 60,
    trained_to=10,
    title="A5: not solved",
)

# %% facts
for t in (16, 32):
    print(f"letters solved, loop, {t} passes:", a5.values(f"loop/solved_depth@{t}"))
print("letters solved, 2-layer stack:  ", a5.values("stack-L2/solved_depth"))
print("last residual of the loop:      ", a5.values("loop/final_residual"))
print("verdict:", a5.verdict)

# %% [markdown]
# 32 passes solve no more letters than 16, though the tail of the curve gains a little. The two-layer stack beside it had far less compute, so its one letter less proves nothing. And look at the last residual: after 32 passes the state still moves by a good part of its length. On S3 it came to rest; on A5 it is right for a few letters, and restless beyond.

# %% [markdown]
# ## What the papers leave open
#
# | The papers differ about | We chose | Effect measured |
# |---|---|---|
# | injection: add, concatenate, or none | concatenate (Geiping et al.) | large: above, without it |
# | $h_0$: zeros or random | zeros | lab 03 starts at random |
# | norm in the loop | RMSNorm after each pass | none here: above, without it |
# | passes in training: fixed, uniform, log-normal Poisson | letters + 0 to 4 | none here: above, fixed |
# | gradient: all passes or the last k | all | stretch exercise |
#
# | Claim | Verdict |
# |---|---|
# | {{ claim loop-extrapolates-s3 statement }} | **{{ claim loop-extrapolates-s3 verdict }}** |
# | {{ claim loop-vs-stacks-s3 statement }} | **{{ claim loop-vs-stacks-s3 verdict }}** |
# | {{ claim loop-log-depth-pointers statement }} | **{{ claim loop-log-depth-pointers verdict }}** |
# | {{ claim loop-ablations-s3 statement }} | **{{ claim loop-ablations-s3 verdict }}** |
# | {{ claim loop-a5 statement }} | **{{ claim loop-a5 verdict }}** |

# %% [markdown]
# ## Self-quiz
#
# {{ quiz }}

# %% [markdown]
# ## Stretch
#
# - `FinalLoss(PassesPerPosition(2), gradient_passes=k)` trains with a cut gradient. How small may k be before the live model stops learning?
# - Loop a core of **two** layers (`core_layers=2`). Does the frontier move two letters a pass?
# - Give A5 ten times the steps, on a GPU: `latentkit reproduce loop-a5 --budget gpu --device cuda`.
#
# ## Reading
#
# - Dehghani et al., [Universal transformers](https://arxiv.org/abs/1807.03819), 2019: sharing weights over depth.
# - Fan et al., [Looped transformers for length generalization](https://arxiv.org/abs/2409.15647), 2025: adaptive numbers of passes.
# - Saunshi et al., [Reasoning with latent thoughts](https://arxiv.org/abs/2502.17416), 2025: k layers looped L times against kL layers.
# - Merrill and Sabharwal, [A little depth goes a long way](https://arxiv.org/abs/2503.03961), 2025: what logarithmic depth buys.
# - Geiping et al., [Scaling up test-time compute with latent reasoning](https://arxiv.org/abs/2502.05171), 2025: prelude, core, coda, at 3.5 billion parameters.
#
# ## Next
#
# One loop comes to rest at the right answers, one at some wrong ones, one never settles. [Lab 03](03_what_the_loop_does.ipynb) asks what a loop is doing all that time: fixed points, cycles, and when convergence may be trusted. Until then: pick a stretch exercise.
