# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Lab 00 · Start here
#
# {{ badge }}
#
# **Claim.** One step, re-applied to its own state, follows a chain of eight pointers in three passes. The same idea along the other axis reads a sequence of any length.
#
# | | |
# |---|---|
# | You need | Python, and what a tensor is |
# | Your time | 30 minutes |
# | Computer time | {{ cpu_seconds }} CPU seconds |
#
# By the end you can
#
# - say what the two axes of recurrence are, and write a step for each;
# - run a recurrence with `unroll` or `stream`, and read the `Trajectory` that comes back;
# - work an exercise: stub, check, hints;
# - move through a run's passes with the scrubber, the widget of this course.

# %% [markdown]
# ## One question
#
# A transformer has a fixed number of layers. Some problems need more steps than that. Can a model take more steps by running the *same* layers again, on its own hidden state?
#
# That is **latent recurrence**. There are two ways to do it:
#
# $$\text{depth:}\quad h_t = \mathrm{step}(h_{t-1},\ \text{context}) \qquad\qquad \text{time:}\quad h_t,\ o_t = \mathrm{step}(h_{t-1},\ \text{block}_t)$$
#
# Along **depth**, the model looks at the same input again and again: more passes, more thought. Along **time**, it reads one block after another: more blocks, more memory.
#
# Nothing is trained in this lab. Both recurrences are written by hand, so you know exactly what they do.

# %% [markdown]
# ## The time axis, by hand
#
# A *word problem*: letters come in one at a time, each is a permutation of three things, and after each letter we want the product of all letters so far. Three things can be ordered in 6 ways, so the state is one of 6.

# %%
import torch

from latentkit.tasks import WordProblem

words = WordProblem("S3")
batch = words.sample(batch=4, length=12, generator=torch.Generator().manual_seed(7))
words.show(batch)

# %% [markdown]
# `⊢` marks the start. The product of no letters is `e`, which leaves everything in place. `(12)` swaps the first two things. `(123)` sends 1 to 2, 2 to 3 and 3 to 1.
#
# The step is a table look-up: `words.table[g, s]` is the state that letter `g` makes of state `s`.

# %% [markdown]
# ### Exercise 1 · Read a word
#
# **Difficulty** ●○○○○ · **Time** 3 minutes · **Skill** a recurrence over time
#
# One line is missing, and Hint 3 all but spells it out: this exercise only shows how exercises work. Run the next two cells as they are; the check says *not attempted*. Then replace the `raise` line by your own, and run both again.
#
# Write `running_product(table, letters)`. `table` is an integer tensor [g, s], `letters` an integer tensor [n]. Return a list of n ints: the state after each letter, starting from state 0.


# %% exercise="running_product" points=1
@lab.exercise("running_product")
def running_product(table, letters):
    state, products = 0, []
    for letter in letters.tolist():
        ### BEGIN SOLUTION
        state = int(table[letter, state])
        ### END SOLUTION
        products.append(state)
    return products


# %% check="running_product" points=1
lab.check("running_product")
### BEGIN HIDDEN TESTS
assert running_product(
    torch.tensor([[1, 2, 0], [0, 1, 2]]), torch.tensor([0, 0, 1, 0])
) == [1, 2, 2, 0]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# One line is missing: the new state, from the letter and the old state.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# It is a look-up in `table`: first index the letter, second index the state.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# The new `state` is the entry of `table` at index (`letter`, `state`), turned into an `int`.
#
# </details>

# %% [markdown] solution
# The state is overwritten at every letter: that is all there is to a recurrence over time.

# %% [markdown]
# **Common mistake.** `table[state, letter]`: the table is read sideways. With six states and two letters this crashes; with as many letters as states it would be wrong without a sound, which is why the check uses unequal sizes.

# %% [markdown]
# ## The same, as a model
#
# latentkit asks a time-recurrent model for three methods: `initial_state`, `step`, `decode`. `stream` feeds it block after block. Here the state is a one-hot vector over the six group elements, and a block is one letter.

# %%
import torch.nn.functional as F

from latentkit.recurrence import stream


class ReadLetters:
    def initial_state(self, batch):
        return F.one_hot(torch.zeros(batch, dtype=torch.long), 6).float()

    def step(self, state, block):  # state [b, 6], block [b, 1]
        letter = block[:, 0]
        state = F.one_hot(words.table[letter, state.argmax(-1)], 6).float()
        return state, state[:, None]

    def decode(self, output):  # [b, 1, 6]: here the output is the answer
        return output


letters = batch.tokens[:, 1:]
run = stream(ReadLetters(), letters.split(1, dim=1))

# %% [markdown]
# What comes back is a `Trajectory`: the record of a run. Everything that looks at a model in this course reads a `Trajectory`.

# %% facts
print("blocks read        ", len(run.passes))
print(
    "predictions        ", [words.class_names[c] for c in run.predictions[:, 0, 0]]
)
print(
    "your product       ",
    [words.class_names[c] for c in running_product(words.table, letters[0])],
)

# %% [markdown]
# Twelve letters took twelve steps, one after the other. The state never grew: one of six, whatever the length. That is the bargain of the time axis, and labs 06 to 08 are about its price.

# %% [markdown]
# ## The depth axis, by hand
#
# Now a different problem. Every node names its parent; a root names itself. Which root does each node hang from?

# %%
from latentkit.tasks import PointerChasing

pointers = PointerChasing(nodes=16, chains=2)
chains = pointers.sample(
    batch=1, length=16, generator=torch.Generator().manual_seed(3)
)
pointers.show(chains)

# %% [markdown]
# The model sees all pointers at once, in shuffled order: nothing has to be read in sequence. But a node far down a chain has many pointers to follow.
#
# **Predict, before you go on:** if every pass follows one pointer, how many passes does the deepest node need? And if every pass follows *the result of the last pass*?

# %% [markdown]
# ### Exercise 2 · Double the reach
#
# **Difficulty** ●○○○○ · **Time** 5 minutes · **Skill** a recurrence over depth
#
# Write `double(pointer)`: `pointer` is an integer tensor [n], `pointer[j]` is where node j points. Return a new tensor [n] in which every node points to where its target pointed. Do not change the input.


# %% exercise="double" points=2
@lab.exercise("double")
def double(pointer):
    ### BEGIN SOLUTION
    return pointer[pointer]
    ### END SOLUTION


# %% check="double" points=2
lab.check("double")
### BEGIN HIDDEN TESTS
assert double(torch.tensor([0, 0, 1, 2, 3, 4])).tolist() == [0, 0, 0, 1, 2, 3]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# If 4 points to 3 and 3 points to 2, then 4 shall point to 2.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# For every j you want `pointer[pointer[j]]`. A tensor can be indexed by a tensor, for all j at once.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# new[j] = pointer at index (pointer at index j). In one line: index `pointer` by itself.
#
# </details>

# %% [markdown] solution
# The step is applied to its own result: after T passes every node points $2^T$ steps up.

# %% [markdown]
# **Common mistake.** A loop that writes into `pointer` while it reads from it: nodes visited later then see pointers that are already doubled.

# %% [markdown]
# ## The same, as a model
#
# A depth-recurrent model has four methods. `encode` makes the context that every pass may read, `initial_state` and `step` make the recurrence, `decode` gives an answer at any pass.
#
# Two models, which differ in one line of `step`:

# %%
from latentkit.recurrence import unroll


class FollowOne:
    """Every pass follows one pointer of the input."""

    def encode(self, tokens):
        return tokens

    def initial_state(self, tokens):
        return F.one_hot(
            tokens, 16
        ).float()  # [b, n, 16]: where each node points now

    def step(self, state, tokens):
        target = state.argmax(-1)
        return F.one_hot(tokens.gather(1, target), 16).float()

    def decode(self, state):
        return state


class Double(FollowOne):
    """Every pass follows the state's own pointers."""

    def step(self, state, tokens):
        target = torch.stack([double(row) for row in state.argmax(-1)])
        return F.one_hot(target, 16).float()


one = unroll(FollowOne(), chains.tokens, passes=10)
doubled = unroll(Double(), chains.tokens, passes=10)

# %% [markdown]
# ## The scrubber
#
# This is the widget of the course. Drag the slider, press play, or use the arrow keys: it shows the state after each pass. **Before you move it: at which pass will the last node be right?**

# %%
from latentkit.widgets import scrub

scrub(
    one,
    targets=chains.targets,
    token_names=pointers.token_names,
    class_names=pointers.class_names,
    depth=chains.depth,
    title="One pointer a pass",
)

# %% [markdown]
# The small map at the bottom is the whole run: one row a pass, one column a node. Now the model that doubles:

# %%
scrub(
    doubled,
    targets=chains.targets,
    token_names=pointers.token_names,
    class_names=pointers.class_names,
    title="Doubling",
)

# %% facts
right_one = (one.predictions[:, 0] == chains.targets[0]).sum(-1)
right_doubled = (doubled.predictions[:, 0] == chains.targets[0]).sum(-1)
print("deepest node           ", int(chains.depth.max()))
print("right, one a pass      ", right_one.tolist())
print("right, doubling        ", right_doubled.tolist())

# %% [markdown]
# Both start one pointer up, since that is what the input says, and run the same step again and again. One needs about as many passes as the chain is long, the other its logarithm. A model that *learns* its step may find either; lab 02 shows which.

# %% [markdown]
# ## Standing still
#
# Besides predictions, a trajectory holds *residuals*: how far the state moved in each pass, relative to its own length, $\|h_t - h_{t-1}\| / \|h_t\|$. When nothing moves any more, the state is a **fixed point**, and further passes are wasted. A halting rule can notice:

# %% facts
from latentkit.recurrence import RelativeStep

halted = unroll(
    Double(), chains.tokens, passes=10, halting=RelativeStep(threshold=0.01)
)
print("passes run             ", len(halted.residuals))
print("passes used, by node   ", halted.passes_used[0].tolist())

# %% [markdown]
# The run stopped by itself, and every node stopped one pass after *it* was done, when nothing had moved: roots at once, deep nodes last. The model was never told how deep the chains are.

# %% [markdown]
# ## How the course keeps its word
#
# What this course asserts is written in a **ledger**: each claim with the paper it comes from, what was run, every seed's number, and a verdict by a rule that was fixed before. You will meet its entries in every lab; no measured number in the text is typed by hand.

# %%
from latentkit.claims import ledger

for record in ledger.load_all():
    print(f"lab {record.lab}   {record.verdict:15} {record.statement}")

# %% [markdown]
# `latentkit reproduce ID` in a terminal measures any of them again on your machine.

# %% [markdown]
# ## Self-quiz
#
# Click on an answer to see whether it holds.
#
# {{ quiz }}

# %% [markdown]
# ## Next
#
# Both steps here were written by hand. In [lab 01](01_the_depth_wall.ipynb) a transformer has to learn them, with a fixed number of layers, and hits a wall.
