# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Lab 10 · Memorised subgraphs
#
# {{ badge }}
#
# **Claim.** A transformer that is right on new questions of the size it knows may be wrong on larger ones, because it has stored pieces of computation and not the computation. The claim has several parts. This lab takes them apart, and tests each by itself.
#
# | | |
# |---|---|
# | You need | [lab 02](02_loop_it.ipynb) for the looped block, [lab 07](07_the_copying_limit.ipynb) for attention with windows |
# | Your time | 110 minutes |
# | Computer time | {{ cpu_seconds }} CPU seconds |
#
# By the end you can
#
# - draw a task as a computation graph, and say how deep it is;
# - tell a mistake that a model makes from one that it inherits;
# - ask whether a right answer was seen in training, and what that proves;
# - test whether errors compound at a constant rate.

# %% [markdown]
# ## Cold open: the same rows, twice as long
#
# Lab 09 asked what a model should predict. This one asks what it has learned, once it predicts well.
#
# Read numbers from -3 to 3, one after the other. After each, say the largest sum that can be had from the numbers so far, if no two of them may be neighbours.
#
# A transformer of two layers was trained on 8,000 rows of six numbers. It answers in one pass, at every position. Here is a row of twelve.
#
# **Predict:** where will it first go wrong?

# %%
import torch

from latentkit import paths
from latentkit.claims import subgraphs as claim
from latentkit.layers import count_parameters
from latentkit.tasks import NonAdjacentSum
from latentkit.training import load_weights

task = NonAdjacentSum()
names = ["one-pass", "interleaved", "looped"]
models = {
    name: load_weights(paths.find(f"checkpoints/sums-{name}.safetensors"))
    for name in names
}
rows = claim.long_rows(12, 6)
long = task.batch(rows)
with torch.no_grad():
    twelve = models["one-pass"](long.tokens)
task.show(long, twelve, example=5)

# %% facts
with torch.no_grad():
    new = task.batch(claim.unseen_rows(2000))
    right_6 = models["one-pass"](new.tokens).argmax(-1) == new.targets
right_12 = twelve.argmax(-1) == long.targets
print(f"new rows of 6, all sums right:  {right_6.all(1).float().mean():.0%}")
print(f"rows of 12, the last sum right: {right_12[:, -1].float().mean():.0%}")

# %% [markdown]
# Inside the trained length it is right on rows that it has never seen. Twice as far it is lost. [Dziri, Lu, Sclar and others (2023)](https://arxiv.org/abs/2305.18654) found the same with large language models, on this task, on multiplication and on logic puzzles. Their explanation: the model matches pieces of computation that it has seen. That can be tested.

# %% [markdown]
# ## The task by hand
#
# One step a number, and every step looks two back:
#
# $$v_k = \max(v_{k-1},\; x_k + v_{k-2},\; 0), \qquad v_0 = v_{-1} = 0 .$$
#
# Leave $x_k$ out, or take it and skip its neighbour, or take nothing at all.

# %% [markdown]
# ### Exercise 1 · The recurrence
#
# **Difficulty** ●○○○○ · **Time** 5 minutes · **Skill** dynamic programming
#
# Write `best_sums(x)`: from a list of whole numbers [n], the list $v_1, \dots, v_n$.


# %% exercise="best_sums" points=1
@lab.exercise("best_sums")
def best_sums(x):
    ### BEGIN SOLUTION
    values = [0, 0]
    for number in x:
        values.append(max(values[-1], number + values[-2], 0))
    return values[2:]
    ### END SOLUTION


# %% check="best_sums" points=1
lab.check("best_sums")
### BEGIN HIDDEN TESTS
assert best_sums([3, -1, 2, 2, -3]) == [3, 3, 5, 5, 5]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Begin with two zeros in the list, so that the first number has two values before it.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# The value before is `values[-1]`, the one before that `values[-2]`. Only the second may be added to.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# values = two zeros; for each number append the largest of three; return all but the two zeros.
#
# </details>

# %% [markdown] solution
# Without the 0 in the maximum nothing changes here: $v_{k-1}$ is never below 0, since $v_0 = 0$. The paper writes it; so do we.

# %% [markdown]
# **Common mistake.** `number + values[-1]`: neighbours are then allowed.

# %% [markdown]
# ## A task is a graph
#
# Every value that has to be computed is a node. Edges say from what. What counts is the **depth**: the longest way from an input to a node. It is the number of steps that must follow one another.
#
# | name | shape | meaning |
# |---|---|---|
# | x | [b, n] | the numbers: inputs, depth 0 |
# | v | [b, n] | the sums: $v_k$ has depth k |
# | said | [b, n] | what a model says of v |
# | known | [r, w] | the rows in training: 8,000 of six |

# %% [markdown]
# ### Exercise 2 · How deep?
#
# **Difficulty** ●●○○○ · **Time** 6 minutes · **Skill** longest paths
#
# Write `node_depths(parents)`: `parents` is a list of lists [nodes]: for each node, the places of those it is computed from. Parents stand before their children; an input has none. Return the depth of every node. An input has 0.


# %% exercise="node_depths" points=1
@lab.exercise("node_depths")
def node_depths(parents):
    ### BEGIN SOLUTION
    depths = []
    for above in parents:
        depths.append(1 + max(depths[p] for p in above) if above else 0)
    return depths
    ### END SOLUTION


# %% check="node_depths" points=1
lab.check("node_depths")
### BEGIN HIDDEN TESTS
assert node_depths([[], [], [0, 1], [2, 0]]) == [0, 0, 1, 2]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Go through the nodes in order. The depths of the parents are known by then.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# A node is one deeper than its *deepest* parent.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# for each list: if it is empty append 0, else 1 plus the largest depth among those it names.
#
# </details>

# %% [markdown] solution
# It is a recurrence too, over the graph instead of over a row.

# %% [markdown]
# **Common mistake.** The shortest way: with it, $v_{12}$ would have depth 1, since $x_{12}$ is its parent.

# %% [markdown]
# The same on latentkit's graphs. A product is long multiplication as it is taught, with all its carries.

# %% facts
from latentkit.tasks import nonadjacent_graph, product_graph

for name, graph in {
    "sums of 6 numbers": nonadjacent_graph(6),
    "sums of 12 numbers": nonadjacent_graph(12),
    "2 × 2 digits": product_graph(2, 2),
    "3 × 3 digits": product_graph(3, 3),
    "5 × 5 digits": product_graph(5, 5),
}.items():
    depths = node_depths([list(node.parents) for node in graph.nodes])
    print(
        f"{name:19} nodes {len(graph.nodes) - len(graph.inputs):3}, depth {max(depths):2}"
        f" (latentkit {graph.depth:2}), per depth {graph.parallelism:.1f}"
    )

# %% [markdown]
# ## Was it seen?
#
# The **full subgraph** of a node is everything below it. For $v_k$ that is $x_1, \dots, x_k$ and all sums on the way. Since the rule is fixed, it occurs in training exactly if some known row *begins with the same k numbers*.

# %% [markdown]
# ### Exercise 3 · Seen in training
#
# **Difficulty** ●●○○○ · **Time** 10 minutes · **Skill** comparing all pairs by broadcasting
#
# Write `was_seen(known, x)`: for known rows [r, w] and rows x [b, n], booleans [b, n]: whether the subgraph of $v_k$ occurs. What needs more than w numbers does not.


# %% exercise="was_seen" points=2
@lab.exercise("was_seen")
def was_seen(known, x):
    seen = torch.zeros(x.shape, dtype=torch.bool)
    ### BEGIN SOLUTION
    for k in range(1, min(x.shape[1], known.shape[1]) + 1):
        same = known[None, :, :k] == x[:, None, :k]
        seen[:, k - 1] = same.all(-1).any(-1)
    ### END SOLUTION
    return seen


# %% check="was_seen" points=2
lab.check("was_seen")
### BEGIN HIDDEN TESTS
assert was_seen(torch.tensor([[1, 2]]), torch.tensor([[1, 3, 2]])).tolist() == [
    [True, False, False]
]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# For one k: compare the first k numbers of every row with those of every known row.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `known[None, :, :k] == x[:, None, :k]` is [b, r, k]. All of k must agree, for any of r.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# for k = 1 up to the shorter of both widths: column k - 1 = any over known rows of all over k of equality. The rest stays false.
#
# </details>

# %% [markdown] solution
# A set of tuples does the same, faster for many rows. latentkit counts with one number for each row of digits.

# %% [markdown]
# **Common mistake.** Letting each number be found in another row: any over rows first, then all over numbers.

# %% facts
some = claim.unseen_rows(2000)[:300]
mine = was_seen(claim.known_rows(), some)
print("share seen, by depth:", [round(s, 2) for s in mine.float().mean(0).tolist()])

# %% [markdown]
# Up to depth 3 everything was seen, at 6 nothing (these rows were chosen so). The interesting depths are 4 and 5.

# %% [markdown]
# ## Whose mistake?
#
# A node that says something wrong may have applied the rule wrongly. Or it may have applied it well, to parents that were wrong already. The paper names four outcomes:
#
# | outcome | the value said is | the parents are |
# |---|---|---|
# | 0 correct | right | right |
# | 1 local | wrong, and not what the rule makes of the parents *as they were said* | any |
# | 2 propagation | wrong, but what the rule makes of them | at least one wrong |
# | 3 restoration | right | at least one wrong |

# %% [markdown]
# ### Exercise 4 · Four outcomes
#
# **Difficulty** ●●●○○ · **Time** 12 minutes · **Skill** a rule on what was said, not on what is true
#
# Write `outcome_codes(x, said)`: for numbers x [b, n] and sums said [b, n], the codes 0 to 3, [b, n]. Your `best_sums` gives the truth of one row. Before the first sum stand two zeros, and these are right.


# %% exercise="outcome_codes" points=3
@lab.exercise("outcome_codes")
def outcome_codes(x, said):
    truth = torch.tensor([best_sums(row) for row in x.tolist()])
    ### BEGIN SOLUTION
    zero = torch.zeros_like(x[:, :1])
    two, one = (torch.cat([zero, zero, said], 1)[:, i : i - 2] for i in (0, 1))
    wrong_two, wrong_one = (
        torch.cat([zero, zero, said - truth], 1)[:, i : i - 2] != 0 for i in (0, 1)
    )
    by_rule = torch.maximum(one, x + two).clamp(min=0)
    if_right = torch.where(wrong_one | wrong_two, 3, 0)
    if_wrong = torch.where(said == by_rule, 2, 1)
    return torch.where(said == truth, if_right, if_wrong)
    ### END SOLUTION


# %% check="outcome_codes" points=3
lab.check("outcome_codes")
### BEGIN HIDDEN TESTS
assert outcome_codes(
    torch.tensor([[3, -1, 2, 1]]), torch.tensor([[3, 5, 5, 6]])
).tolist() == [[0, 1, 3, 2]]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Put two zeros in front of `said`. Columns 0 to n - 1 are then the sums two back, columns 1 to n those one back.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `by_rule` is the maximum of one back, x plus two back, and 0, all as said. Do the same shift with `said == truth` to learn whether the parents are right.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# where said equals truth: 0 if both parents are right, else 3. Elsewhere: 2 if said equals by_rule, else 1.
#
# </details>

# %% [markdown] solution
# A wrong rule on wrong parents counts as local: that node has made a mistake of its own.

# %% [markdown]
# **Common mistake.** The rule applied to the *true* parents. Then every wrong value looks like a mistake of its own, and nothing is ever inherited.

# %% [markdown]
# ## Watch it go wrong
#
# Twelve rows, answered in one pass. Underlined nodes have a subgraph that was seen in training. **Before you move the slider:** after the first mistake, which outcome should follow, if the model does apply the rule to what it has said?

# %%
from latentkit.analysis.subgraphs import best_sums_of, subgraph_counts
from latentkit.widgets import outcome_graph

graph = nonadjacent_graph(12)


def graph_of(said, x, title, start=1):
    """The widget for the sums said of the rows x."""
    truth = torch.cat([x, task.batch(x).targets], 1)
    return outcome_graph(
        graph,
        truth,
        torch.cat([x, said], 1),
        seen=subgraph_counts(graph, claim.known_rows(), x),
        title=title,
        start=start,
    )


graph_of(twelve[:12].argmax(-1), rows[:12], "One pass over twelve numbers", 6)

# %% [markdown]
# **Parity.** Your codes and latentkit's, on all thousand rows:

# %% facts
from latentkit.analysis import subgraphs

said = twelve.argmax(-1)
truth = torch.cat([rows, long.targets], 1)
theirs = subgraphs.outcomes(graph, truth, torch.cat([rows, said], 1))[:, 12:]
print("equal:", torch.equal(outcome_codes(rows, said), theirs))

# %% [markdown]
# ## Write the sums down
#
# The paper also trained with a **scratchpad**: the model writes all sums, one by one, and reads what it has written. It makes a difference *where* they stand:
#
# ```text
# one pass      x1 x2 x3                 answers at every position, at once
# appended      x1 x2 x3 | v1 v2 v3      the paper's place for it
# interleaved   x1 v1 x2 v2 x3 v3        each sum behind its number
# ```
#
# Train one pass and interleaved here: the same transformer, the same rows, the same 300 steps (of nearly twice the tokens).

# %%
from latentkit import plots
from latentkit.models import build
from latentkit.training import Curriculum, FitConfig, PlainLoss, fit

recipe = FitConfig(steps=300, weight_decay=0.05, seed=lab.seed)
live, curves = {}, {}
for name, layout in {
    "one pass": claim.ONE_PASS,
    "interleaved": claim.INTERLEAVED,
}.items():
    torch.manual_seed(lab.seed)
    live[name] = build(claim.transformer(layout))
    batches = Curriculum(layout, batch=96, low=6, high=6)
    fit(live[name], batches, PlainLoss(), recipe)
    said = best_sums_of(live[name], layout, rows[:400])
    right = (said == long.targets[:400]).float().mean(0)
    curves[name] = [[float("nan"), *right.tolist()]]
print({name: f"{count_parameters(m):,}" for name, m in live.items()})
plots.depth_curves(
    curves,
    trained_to=6,
    xlabel="depth (numbers read)",
    title="300 steps on rows of six, live",
)

# %% [markdown]
# A few hundred steps, and the one with its sums between the numbers goes on beyond six. It has to learn one step only: from $x_k$, $v_{k-1}$ and $v_{k-2}$, which stand at the same few places behind it at any k.

# %% [markdown]
# ## Three seeds, two caps
#
# A row of twelve has larger sums than a row of six. If a model fails there, is it for want of depth, or because it has hardly ever seen the number 9? So every model is tested on two kinds of rows: with sums up to 9, and with sums up to 6, which were all common in training.

# %%
from latentkit.claims import ledger

cliff, remedies = ledger.load("subgraph-cliff"), ledger.load("subgraph-remedies")
arms = {
    "one pass": (cliff, "one-pass"),
    "appended": (cliff, "appended"),
    "looped block": (remedies, "looped"),
    "GRU": (remedies, "gru"),
    "interleaved": (remedies, "interleaved"),
}


def by_depth(cap):
    metric = f"accuracy_by_depth@12-cap{cap}"
    return {
        label: [[float("nan"), *seed] for seed in record.values(f"{arm}/{metric}")]
        for label, (record, arm) in arms.items()
    }


plots.depth_curves(
    by_depth(6),
    trained_to=6,
    xlabel="depth (numbers read)",
    title="Sums up to 6: every value was common in training",
)

# %%
plots.depth_curves(
    by_depth(9),
    trained_to=6,
    xlabel="depth (numbers read)",
    title="Sums up to 9: the same models, with values rarely seen",
)

# %% facts
for label, (record, arm) in {
    **arms,
    "one pass, twice the steps": (cliff, "one-pass-double"),
}.items():
    at = [record.spread(f"{arm}/accuracy@12-cap{cap}") for cap in claim.CAPS]
    size = record.setup[arm]["parameters"]
    print(
        f"{label:26} {size:7,} weights, six: {record.mean(f'{arm}/whole@6'):.2f},"
        f" twelfth sum: cap 6 {at[0]}, cap 9 {at[1]}"
    )
print("the cliff:", cliff.verdict, "· remedies:", remedies.verdict)

# %% [markdown]
# The paper's finding is there, in miniature. In one pass, accuracy begins to fall right behind the trained length, and at twice that length at most a quarter or so is left: on every seed, at both caps, and twice the training does not move it. The appended scratchpad does no better.
#
# But look where *that* one fails: in rows of twelve already at depths 2 and 3, where one pass is right. So depth is not its reason. To write $v_k$ it must find $x_k$, which now stands twelve tokens back and not six. Whether that is the reason, a stretch item asks.

# %% [markdown]
# And the cliff is not in the task. From the same rows, the *same transformer* with each sum behind its number gets {{ claim subgraph-remedies interleaved/accuracy@12-cap6 }} of the twelfth sums, if values are common. A looped block with six tenths of the weights is far above one pass, at both caps, and so is a GRU of its size. (The block runs fourteen layers deep. An unshared transformer of as many layers was not tried.)
#
# The cap changes the height of every curve: with rare values the looped block has {{ claim subgraph-remedies looped/accuracy@12-cap9 }} of the twelfth sums, near our bar for a cliff, at most 0.4. The order of the models stays. Missing values are a part of it, and easier steps another: rows kept below a cap have fewer positive numbers, and more sums that only repeat the one before.

# %% [markdown]
# ## What became of the nodes
#
# Your four outcomes, from the ledger, as means over three seeds on rows with sums up to 9. **Predict:** which outcome takes over with depth?

# %%
plots.outcome_areas(
    {
        label: {
            outcome: torch.tensor(record.values(f"{arm}/{outcome}@12-cap9"))
            .mean(0)
            .tolist()
            for outcome in ("correct", "restoration", "local", "propagation")
        }
        for label, (record, arm) in arms.items()
    },
    title="Outcomes by depth, rows of twelve",
)

# %% [markdown]
# In one pass, right behind the trained length, mistakes are the model's own: local. From there on more and more count as inherited, yet local mistakes remain the larger part to the end; only in the appended scratchpad do the inherited ones overtake. (Some of that is cheap: where the rule says "as before", a mistake that is merely repeated obeys it.)
#
# The appended scratchpad has something else: restorations. It is right *again* after a mistake: at those nodes it cannot have gone by the rule alone.

# %% [markdown]
# ## Right because seen?
#
# Now the heart of the paper's claim. Inside the trained length, on new rows: do right nodes have subgraphs that were seen more often than those of wrong nodes? Every seed:

# %% facts
seen = ledger.load("subgraphs-seen")
for arm in seen.setup:
    print(arm)
    for depth in (4, 5):
        table = [
            [seed[depth - 1] for seed in seen.values(f"{arm}/{name}")]
            for name in subgraphs.Seen._fields
        ]
        shares = ["/".join(f"{v:.2f}" for v in row) for row in table[:4]]
        print(
            f"  depth {depth}: seen if right {shares[0]}, if wrong {shares[1]};"
            f" right if seen {shares[2]}, if not {shares[3]}"
        )
print("verdict:", seen.verdict)

# %% [markdown]
# By the rule that we wrote down (at depths 4 and 5 the subgraphs of right nodes seen at least 0.1 more often, and unseen nodes right at most 0.9 of the time) the verdict is "{{ claim subgraphs-seen verdict }}". Depth 4 was a bad choice: nearly every subgraph of that depth was seen, right or wrong, so that a handful of others decide. The rule stays as it was.
#
# Depth 5 can tell something. In one pass the paper's direction is there, on every seed: wrong nodes were seen less than half as often as right ones. But look at the last number of the line. Nodes whose subgraph was *never* seen are right nearly always. Being seen helps a little; it is not why the model is right. With the appended scratchpad, which has many more wrong nodes, the difference is gone.
#
# A control. If it is the *training* that matters, then 8,000 other rows, which nobody was trained on, must tell nothing:

# %% facts
unseen = task.batch(claim.unseen_rows(20_000))
with torch.no_grad():
    right = models["one-pass"](unseen.tokens).argmax(-1) == unseen.targets
x = claim.numbers(unseen.tokens)
other = torch.randint(-3, 4, (8000, 6), generator=torch.Generator().manual_seed(99))
for name, known in {
    "training rows": claim.known_rows(),
    "other rows": other,
}.items():
    counts = subgraph_counts(nonadjacent_graph(6), known, x)[:, 6:]
    for depth in (4, 5):
        found = subgraphs.seen_and_right(
            counts[:, depth - 1] > 0, right[:, depth - 1]
        )
        print(
            f"{name:13} depth {depth}: in them if right {found.seen_if_right:.2f},"
            f" if wrong {found.seen_if_wrong:.2f} ({found.wrong} wrong)"
        )

# %% [markdown]
# And the other way round: seen, and wrong all the same? At depth 3 everything was seen. These are all the rows that it gets wrong there:

# %% facts
from collections import Counter

wrong_3 = x[~right[:, 2], :3].tolist()
starts = claim.known_rows()[:, :3].tolist()
for start, count in sorted(Counter(map(tuple, wrong_3)).items()):
    print(
        f"begins with {start}: wrong {count} times of"
        f" {x[:, :3].tolist().count(list(start))},"
        f" known rows that begin so: {starts.count(list(start))}"
    )

# %% [markdown]
# Equal numbers, each time. Our attention has windows, but no positions: where all numbers it sees are equal, their average is the same whether there are two or three, and it cannot count them. No amount of training rows mends that. It is a limit of the architecture, at depth 3, and has nothing to do with what was seen. (The fully trained interleaved model gets them right, for between equal numbers it reads sums, which are other tokens; the looped block, with the same attention, does not.)

# %% [markdown]
# ## Do errors compound?
#
# If every step fails with the same chance ε, independently, then after n steps something is wrong with probability $1 - (1-\epsilon)^n$. It is a theorem. Whether it describes a trained model is a question for measurement.

# %% [markdown]
# ### Exercise 5 · Survival and hazard
#
# **Difficulty** ●●○○○ · **Time** 8 minutes · **Skill** conditional shares
#
# Write `survival_and_hazard(right)`: for booleans [b, n], two series [n]. $S_k$ is the share of rows without a mistake up to step k. $h_k = 1 - S_k / S_{k-1}$, with $S_0 = 1$, is the chance of a first mistake at step k, for those that had none. (Some row is right to the end.)


# %% exercise="survival_and_hazard" points=2
@lab.exercise("survival_and_hazard")
def survival_and_hazard(right):
    ### BEGIN SOLUTION
    survival = right.long().cumprod(1).double().mean(0)
    before = torch.cat([torch.ones(1).double(), survival[:-1]])
    return survival, 1 - survival / before
    ### END SOLUTION


# %% check="survival_and_hazard" points=2
lab.check("survival_and_hazard")
### BEGIN HIDDEN TESTS
_s, _h = survival_and_hazard(torch.tensor([[True, True], [True, False]]))
assert [float(v) for v in _s] == [1, 0.5] and float(_h[1]) == 0.5
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# A row has survived k steps if the product of its first k entries is 1.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `cumprod` along the steps, then a mean over the rows. For the hazard, put a 1 in front and drop the last.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# S = mean over rows of the running product; before = 1 followed by S without its last; h = 1 - S / before.
#
# </details>

# %% [markdown] solution
# A right sum after a wrong one counts for accuracy, not for survival.

# %% [markdown]
# **Common mistake.** The plain share of mistakes at each step. It mixes first mistakes with inherited ones.

# %% [markdown]
# Three models on rows of sixteen, with sums up to 6. The third one is the interleaved scratchpad, stopped after 150 steps, so that a small error is left. Dashed: the best constant ε of each, from its first mistakes within twelve steps. **Predict:** whose hazard is flat?

# %%
compound = ledger.load("errors-compound")
labels = {
    "one-pass": "one pass",
    "appended": "appended",
    "interleaved-short": "interleaved, 150 steps",
}
plots.survival_panels(
    {label: compound.values(f"{arm}/survival") for arm, label in labels.items()},
    {label: compound.values(f"{arm}/eps") for arm, label in labels.items()},
    fitted=12,
    title="Does one chance of an error describe it?",
)

# %% facts
for arm, label in labels.items():
    eps = [round(e, 4) for e in compound.values(f"{arm}/eps")]
    gap = compound.spread(f"{arm}/largest_gap")
    print(f"{label:23} eps {eps}, largest gap in twelve steps {gap}")
print("verdict:", compound.verdict)

# %% [markdown]
# For the interleaved model, stopped early, the curve of one ε stays close to the measured one. But it loses so few rows in twelve steps that any curve would, and its hazard rises within them, too. For the other two a constant is plainly wrong: one pass makes next to no mistakes up to six, and from seven on its hazard climbs to about three in ten. That is a cliff, and not bad luck that adds up. The verdict is "{{ claim errors-compound verdict }}".
#
# There is a second formula in the paper: with a chance c of recovery, accuracy tends to $c/(c+\epsilon)$. For it, restorations must happen. In the ledger, on rows with sums up to 9, ε from all steps behind a right one and not only first mistakes (so it is not that of above; the limits are means over seeds):

# %% facts
for label, (record, arm) in arms.items():
    parts = [
        f"{name} {record.mean(f'{arm}/{name}@12-cap9'):.3f}"
        for name in ("eps", "c", "limit")
        if f"{arm}/{name}@12-cap9" in record.metrics
    ]
    last = record.mean(f"{arm}/accuracy@12-cap9")
    print(f"{label:13}", ", ".join(parts), f"· measured at depth 12: {last:.2f}")

# %% [markdown]
# With constant chances, accuracy would fall *to* this limit and stop. One pass, appended and looped are below theirs already; GRU and interleaved are still above. Chances that change with depth have no limit.

# %% [markdown]
# ## The loop, pass by pass
#
# The looped block answers all positions at once, too, but in several passes over its own state. **Before you move the slider:** in one pass, how many sums can become right?

# %%
from latentkit.recurrence import unroll
from latentkit.widgets import scrub

loop = models["looped"]
many = unroll(loop, long.tokens[:500], passes=14)
right = (many.predictions == long.targets[:500]).float().mean(1)
for t in (1, 4, 8, 14):
    at = {k: round(right[t - 1, k - 1].item(), 2) for k in (3, 6, 9, 12)}
    print(f"right after {t:2} passes, by depth:", at)
run = unroll(loop, long.tokens[5:6], passes=14)
scrub(
    run,
    targets=long.targets[5:6],
    token_names=task.token_names,
    class_names=task.class_names,
    depth=long.depth[5:6],
    title="One block, looped over twelve numbers",
)

# %% [markdown]
# The loop settles more than one sum a pass. It was trained with six to eight passes, and is best there: further ones help none of the depths printed, and some answers near depth 12 flip from right to wrong and back. Rest is not always right, as you saw in lab 03.

# %% [markdown]
# ## Break it: a lie in the scratchpad
#
# Does the interleaved model compute, or does it know the rows? Write something false into its scratchpad. When it has written $v_5$, put $v_5 + 1$ in its place, or $v_5 - 2$. With such a lie no row of the training has the same whole subgraph. A model that matches rows must be lost; one that applies the rule must go on, with the lie.

# %%
layout = claim.INTERLEAVED


@torch.no_grad()
def with_a_lie(x, shift):
    """The sums that the interleaved model says, where v_5 + shift stands in place of v_5."""
    tokens, said = x[:, :0], []
    for k, piece in enumerate(layout.pieces(x), start=1):
        tokens = torch.cat([tokens, piece], 1)
        value = models["interleaved"](tokens)[:, -1].argmax(-1)
        value = (value + shift).clamp(min=0) if k == 5 else value
        said.append(value)
        tokens = torch.cat([tokens, value[:, None] + layout.first_answer], 1)
    return torch.stack(said, 1)


graph_of(with_a_lie(rows[:12], 1), rows[:12], "v5 is a lie", 6)

# %% facts
for shift in (0, 1, -2):
    said = with_a_lie(rows[:500], shift)
    lied = said[:, 4] < said[:, 3] if shift < 0 else said[:, 4] >= 0  # a real fall
    values = torch.cat([rows[:500], said], 1)[lied]
    ruled = (values == graph.once(values))[:, 17:].float()  # the nodes v6 to v12
    right = (said == long.targets[:500])[lied, 5:]
    kept = ", ".join(f"v{6 + i} {ruled[:, i].mean():.0%}" for i in range(3))
    print(
        f"v5 {shift:+}: {len(values)} rows, the rule is kept at {kept}, all later nodes "
        f"{ruled.mean():.1%}; {right.float().mean():.0%} of them are right"
    )

# %% [markdown]
# With a lie of 1, the model goes on by the rule, from the false value. It has never seen such a whole subgraph, though nearly always the one step.
#
# A lie of -2 is another matter (it counts only where $v_5$ really falls below $v_4$). Sums never fall, so that the step from $v_4$ to a smaller $v_5$ occurs in no row. At the very next node the rule breaks often; later it holds more and more. So what this model (one seed) has stored looks like one *step*: the rule for the triples that training showed. That would be the grain of truth in the paper's picture: subgraphs are matched, and here they have depth one.

# %% [markdown]
# ## Multiplication: right on the surface
#
# A product is deeper than it looks, but some of its digits are not. Its last digit depends on two digits only. How much of a digit can be told from little? The **relative information gain** of X about Y is $I(X;Y)/H(Y)$: 1 if X settles Y, 0 if it tells nothing.

# %% [markdown]
# ### Exercise 6 · Relative information gain
#
# **Difficulty** ●●●○○ · **Time** 10 minutes · **Skill** entropies by counting
#
# Write `information_gain(x, y)`: x [m] are whole numbers from 0, y [m] digits. Return $I(X;Y)/H(Y)$, from the shares of the values. You may use $I(X;Y) = H(X) + H(Y) - H(X, Y)$.


# %% exercise="information_gain" points=2
@lab.exercise("information_gain")
def information_gain(x, y):
    ### BEGIN SOLUTION
    def entropy(values):
        p = values.unique(return_counts=True)[1].double() / len(values)
        return float(-(p * p.log2()).sum())

    return (entropy(x) + entropy(y) - entropy(10 * x + y)) / entropy(y)
    ### END SOLUTION


# %% check="information_gain" points=2
lab.check("information_gain")
### BEGIN HIDDEN TESTS
_d = torch.arange(10)
assert abs(information_gain(_d, _d) - 1) < 1e-9
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Write a small function for the entropy of one series first. `unique(return_counts=True)` counts.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# The pair (x, y) is one number, too: 10 x + y, since y is a digit.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# H = minus the sum of p log p; then (H(x) + H(y) - H(10 x + y)) / H(y).
#
# </details>

# %% [markdown] solution
# The base of the logarithm cancels.

# %% [markdown]
# **Common mistake.** Dividing by H(X): how much of the *question* the answer tells.

# %% [markdown]
# All products of two numbers of two digits, $a_1 a_0 \times b_1 b_0 = y_3 y_2 y_1 y_0$. **Predict** the two largest numbers of the table.

# %%
pairs = torch.cartesian_prod(torch.arange(10, 100), torch.arange(10, 100))
a, b = pairs.T
told = {
    "a₁": a // 10,
    "a₀": a % 10,
    "a₁ and b₁": 10 * (a // 10) + b // 10,
    "a₀ and b₀": 10 * (a % 10) + b % 10,
    "a": a,
}
digits = {f"y{'₃₂₁₀'[i]}": a * b // 10 ** (3 - i) % 10 for i in range(4)}
shares = torch.tensor(
    [[information_gain(x, y) for y in digits.values()] for x in told.values()]
)
plots.information_map(
    shares,
    list(told),
    list(digits),
    xlabel="digit of the product",
    title="What little tells of it",
)

# %% [markdown]
# The ends of a product are cheap: a pair of digits settles the last one, and tells most of the first. Of the middle, no row of the table tells much. So a model may look good digit by digit, and know nothing of multiplication.
#
# Three trainings from the ledger, each on nine of ten pairs: up to three digits times one digit, the same with the last digit written first, and two digits times two. Tested on the pairs left out, and on numbers twice as long.

# %%
products = ledger.load("multiplication-surface")
kinds = {
    "3 × 1 digits": "by-one-digit",
    "3 × 1, last first": "by-one-digit-backwards",
    "2 × 2 digits": "square",
}
plots.pass_curves(
    {
        label: products.values(f"{arm}/digits-inside")
        for label, arm in kinds.items()
    },
    ylabel="right",
    xlabel="digit of the product, the first one first",
    ylim=(-0.03, 1.04),
    title="New products of the trained sizes, digit by digit",
)

# %% facts
for label, arm in kinds.items():
    for where in ("inside", "outside"):
        parts = [
            f"{name} {products.spread(f'{arm}/{name}-{where}')}"
            for name in ("whole", "first", "middle", "last")
        ]
        print(f"{label}, {where}:", ", ".join(parts))
print("verdict:", products.verdict)

# %% [markdown]
# Three parts, three answers.
#
# - **Inside**, our models are far from perfect. The bar for whole products was 0.85; no order of writing reaches it. The paper's models are far larger, and saw far more examples. So this part is not shown here, and not refuted.
# - **Outside**, of a thousand products twice as long not one is right, in any arm. That says little: inside, too, they are often wrong, and so long a question has distances that training never had.
# - **Surface:** of two digits times two, the first and the last digit come out right nearly always, those in between far less often. The two ends are those of your table. (`middle` is the third digit written: with the last digit first, the second of the figure.) (A pair left out may be in training the other way round.) Written first, the last digit is right even outside: its part of the graph has depth 2, whatever the size.
#
# The verdict is "{{ claim multiplication-surface verdict }}".

# %% [markdown]
# ## So, memorised?
#
# - **It holds**, in miniature, that one pass fails right behind the trained size, that the paper's scratchpad and more training do not help, and that the ends of a product look better than it is.
# - **It does not hold** that errors compound at a constant chance: every hazard that we measured rises. With small errors, over few steps, one constant comes near.
# - **It does not hold** that nodes are right because their whole subgraph was seen. Unseen ones are nearly always right. And some that were seen many times are always wrong.
# - **What is stored is smaller:** single steps. Whether they can be chained depends on where the parents stand, and on what carries the values from step to step: a scratchpad in the right place, a recurrence, and in part a loop.

# %% [markdown]
# ## What the paper leaves open
#
# | The paper says, or does not say | We chose | Effect |
# |---|---|---|
# | language models, some of them tuned on many examples | two layers from scratch, 8,000 rows | a miniature: what fails here may work at size, and the other way round |
# | the scratchpad stands behind the question | behind it, and between the numbers | above: the place decides |
# | the scratchpad goes on to say which numbers were chosen | the sums only | half of the paper's graph |
# | lists of numbers from -5 to 5, read from the end | -3 to 3, so that about one in fifteen of all rows of six is known | subgraphs of depth 4 and 5 are seen for some rows and not for others |
# | sizes grow, and values with them | two caps | depth and rare values told apart |
# | whether a wrong rule on wrong parents is local | local | the share of local errors is larger than if it were not |
# | positions of the model | windows of 1 to 4 tokens in half of the heads | interleaved sums are within reach; with other positions they may not be |
#
# | Claim | Verdict |
# |---|---|
# | {{ claim subgraph-cliff statement }} | **{{ claim subgraph-cliff verdict }}** |
# | {{ claim subgraphs-seen statement }} | **{{ claim subgraphs-seen verdict }}** |
# | {{ claim errors-compound statement }} | **{{ claim errors-compound verdict }}** |
# | {{ claim multiplication-surface statement }} | **{{ claim multiplication-surface verdict }}** |
# | {{ claim subgraph-remedies statement }} | **{{ claim subgraph-remedies verdict }}** |

# %% [markdown]
# ## Self-quiz
#
# {{ quiz }}

# %% [markdown]
# ## Stretch
#
# - Train the interleaved model on rows of which none has a sum above 4, and test with sums up to 6. Does it know the rule, or the numbers?
# - `NonAdjacentSum("appended")` with `BlockConfig.with_positions("rope")` and learned positions: is it the place of the scratchpad, or that windows cannot count?
# - Take the lie further: two lies, or a lie at every step. When does the rule break?
# - Lay multiplication out as `product_graph` does, a node after the other. What must stand next to what?
#
# ## Reading
#
# - Dziri, Lu, Sclar et al., [Faith and fate](https://arxiv.org/abs/2305.18654), 2023: the claim, the graphs, the four outcomes.
# - Merrill and Sabharwal, [The expressive power of transformers with chain of thought](https://arxiv.org/abs/2310.07923), 2024: what writing things down adds.
# - Jelassi et al., [Repeat after me](https://arxiv.org/abs/2402.01032), 2024: the windows that our transformer has.
#
# ## Next
#
# Here the steps of the computation stood in the input, or were written down. In lab 11 they are facts in the weights, which nobody writes down: does a loop put two of them together that it has never seen together?
