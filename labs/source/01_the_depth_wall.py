# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Lab 01 · The depth wall
#
# {{ badge }}
#
# **Claim.** A transformer of fixed depth learns to track a state only up to a length that grows with its number of layers. A single layer that may write its intermediate results down goes on to 32 letters, as far as we looked.
#
# | | |
# |---|---|
# | You need | [lab 00](00_start_here.ipynb); matrix products, softmax |
# | Your time | 100 minutes |
# | Computer time | {{ cpu_seconds }} CPU seconds |
#
# By the end you can
#
# - write a causal transformer from scratch and show that it equals latentkit's;
# - measure how deep a trained stack reaches, and say how far 1, 2 and 4 layers get;
# - say which part of the depth wall is a theorem and which part is only what training finds;
# - say what a chain of thought buys, and what it costs.

# %% [markdown]
# ## Cold open: four layers, one word
#
# Below is a trained transformer with four layers. It has seen thousands of words of up to 12 letters and must name the product of all letters so far. Lab 00 needed one table look-up a letter for that.
#
# **Predict:** up to which letter will it be right?

# %%
import torch

from latentkit import paths
from latentkit.tasks import WordProblem
from latentkit.training import load_weights

words = WordProblem("S3")
test = words.sample(
    batch=256, length=32, generator=torch.Generator().manual_seed(2024)
)
stack4 = load_weights(paths.find("checkpoints/s3-stack4.safetensors"))
with torch.no_grad():
    logits = stack4(test.tokens)
words.show(words.batch(test.tokens[25:26, 1:17]), logits[25:26, :17])

# %% [markdown]
# It starts well and then guesses: hatched boxes are wrong. (We chose a word that shows it cleanly; the curves below are means over a thousand words.) A letter later is not a harder letter. It is one *step* further: computed letter by letter, product 10 needs product 9, which needs product 8, and so on. Four layers have to fold this chain into four steps.
#
# You will now build such a model, watch the wall, and then take it away.

# %% [markdown]
# ## The idea by hand: attention
#
# Every position asks a question $q_i$, offers a key $k_j$ and a value $v_j$. It receives a weighted mean of the values it may see:
#
# $$a_{ij} = \operatorname{softmax}_j\!\left(\frac{q_i \cdot k_j}{\sqrt{c}} + \text{bias}_{ij}\right), \qquad o_i = \sum_j a_{ij}\, v_j .$$
#
# | name | shape | meaning |
# |---|---|---|
# | q, k, v | [b, n, c] | batch, positions, channels of one head |
# | bias | [n, n] | what a score gains from position alone; $-\infty$ forbids looking |
# | result | [b, n, c] | |

# %% [markdown]
# ### Exercise 1 · Attention
#
# **Difficulty** ●●○○○ · **Time** 8 minutes · **Skill** batched matrix products
#
# Write `attention(q, k, v, bias)` for tensors [b, n, c] and a bias [n, n]; return [b, n, c]. Use `@`, `transpose(-1, -2)` and `softmax`, not torch's ready-made attention: written so, further axes in front do no harm, and Exercise 3 brings one.


# %% exercise="attention" points=2
@lab.exercise("attention")
def attention(q, k, v, bias):
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias
    return scores.softmax(-1) @ v
    ### END SOLUTION


# %% check="attention" points=2
lab.check("attention")
### BEGIN HIDDEN TESTS
ones = torch.ones(1, 2, 4)
assert torch.allclose(
    attention(
        ones, ones, torch.eye(2)[None], torch.tensor([[0.0, -9e9], [0.0, 0.0]])
    )[0, 1],
    torch.tensor([0.5, 0.5]),
)
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# All scores at once are one matrix product of q with k turned on its side: [b, n, n].
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `k.transpose(-1, -2)` swaps the last two axes. Divide by the root of c, add the bias, then softmax over the *keys*, which is the last axis.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# scores = (q times k transposed) / sqrt(c) + bias; weights = softmax of scores along the last axis; return weights times v.
#
# </details>

# %% [markdown] solution
# The softmax runs over the last axis because row i of the scores belongs to the position that asks.

# %% [markdown]
# **Common mistake.** Dividing by c, or not at all. With large inputs the softmax is one-hot either way, and the mistake does not show; the check uses scores of order one.

# %%
from latentkit import plots

head = torch.randn(3, 1, 12, 8, generator=torch.Generator().manual_seed(1))
causal = torch.zeros(12, 12).masked_fill(
    torch.ones(12, 12).triu(1).bool(), float("-inf")
)
expected = torch.nn.functional.scaled_dot_product_attention(*head, attn_mask=causal)
plots.side_by_side(expected[0], attention(*head, causal)[0])

# %% [markdown]
# ## Where am I?
#
# Attention by itself does not know order. Our blocks add a bias per head that depends on distance alone: a learned number for each distance up to a clip, minus a learned slope times the distance (ALiBi), and $-\infty$ for the future:
#
# $$\text{bias}_{h,i,j} = r_{h,\min(i-j,\,\text{clip})} - \operatorname{softplus}(s_h)\,(i-j) \quad (j \le i), \qquad -\infty \quad (j > i).$$

# %% [markdown]
# ### Exercise 2 · Position bias
#
# **Difficulty** ●●●○○ · **Time** 10 minutes · **Skill** broadcasting and masks
#
# Write `position_bias(n, relative, slope)`. `relative` is [h, clip + 1], `slope` is [h]; return [h, n, n].


# %% exercise="position_bias" points=2
@lab.exercise("position_bias")
def position_bias(n, relative, slope):
    ### BEGIN SOLUTION
    i = torch.arange(n)
    distance = i[:, None] - i[None, :]
    near = relative[:, distance.clamp(0, relative.shape[1] - 1)]
    far = torch.nn.functional.softplus(slope)[:, None, None] * distance
    return (near - far).masked_fill(distance < 0, float("-inf"))
    ### END SOLUTION


# %% check="position_bias" points=2
lab.check("position_bias")
### BEGIN HIDDEN TESTS
assert (
    position_bias(3, torch.zeros(1, 2), torch.zeros(1))[0, 2, 0].item()
    == -2 * torch.tensor(2.0).log().item()
)
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Make the matrix of distances i - j first. Everything else is a function of it.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# A tensor [h, clip + 1] indexed by an integer matrix [n, n] in its last axis gives [h, n, n]. Clamp the distances to 0..clip before.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# distance[i, j] = i - j; bias = relative at clamped distance - softplus(slope) times distance; where distance is negative, minus infinity.
#
# </details>

# %% [markdown] solution
# Negative distances are the future. They are clamped only so that the look-up does not fail; the mask removes them.

# %% [markdown]
# **Common mistake.** Masking where distance is *positive*: the model then reads the future and never the past. It trains beautifully on a task whose answers lie to the right.

# %% [markdown]
# ## A block
#
# A pre-norm block reads a normalised copy of the stream, and adds what it computes to the stream itself:
#
# $$x \leftarrow x + \mathrm{Attention}(\mathrm{norm}_1(x)), \qquad x \leftarrow x + \mathrm{MLP}(\mathrm{norm}_2(x)).$$
#
# Version 2 of your attention has heads: `layer.attention.qkv` maps d channels to 3d, which are q, k and v, each split into heads of c = d / h channels; `layer.attention.out` mixes the heads again.

# %% [markdown]
# ### Exercise 3 · The block
#
# **Difficulty** ●●●○○ · **Time** 15 minutes · **Skill** residual streams, heads
#
# Write `block(x, layer, bias)` for x [b, n, d] and bias [h, n, n]; return [b, n, d]. Use `layer.norm1`, `layer.norm2`, `layer.mlp`, `layer.attention.qkv` and `layer.attention.out`, all of them callable. Do not call `layer` or `layer.attention` itself.


# %% exercise="block" points=3
@lab.exercise("block")
def block(x, layer, bias):
    b, n, d = x.shape
    h = layer.attention.num_heads
    ### BEGIN SOLUTION
    q, k, v = (
        layer.attention.qkv(layer.norm1(x))
        .view(b, n, 3, h, d // h)
        .permute(2, 0, 3, 1, 4)
    )
    heads = attention(
        q, k, v, bias
    )  # [b, h, n, c]: your attention does not mind the extra axis
    x = x + layer.attention.out(heads.transpose(1, 2).reshape(b, n, d))
    return x + layer.mlp(layer.norm2(x))
    ### END SOLUTION


# %% check="block" points=3
lab.check("block")
### BEGIN HIDDEN TESTS
from latentkit.layers import Block, BlockConfig

one_head = Block(BlockConfig(d_model=6, num_heads=1))
x = torch.randn(2, 5, 6)
assert torch.allclose(
    block(x, one_head, one_head.bias(5)), one_head(x, one_head.bias(5)), atol=1e-5
)
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Two lines add to x. The first needs heads: an extra axis of size h in front of the positions.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# View the output of `qkv` as [b, n, 3, h, c], then bring the axes into the order 3, b, h, n, c: it unpacks into q, k, v.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# q, k, v = split(qkv(norm1(x))); o = attention(q, k, v, bias); bring heads behind positions and merge them to d; x = x + out(o); return x + mlp(norm2(x)).
#
# </details>

# %% [markdown] solution
# `attention` works on the last two axes only, so heads are just one more batch axis.

# %% [markdown]
# **Common mistake.** Adding to the *normalised* stream instead of the stream. The loss still falls, more slowly the deeper the stack.

# %% [markdown]
# ## A stack
#
# Version 3 is the whole model: embed, L blocks, a last norm, an output layer.

# %% [markdown]
# ### Exercise 4 · The transformer
#
# **Difficulty** ●●○○○ · **Time** 8 minutes · **Skill** composing modules
#
# Write `stack(tokens, model)` for integer tokens [b, n]; return logits [b, n, v]. Use your `block`, and of the model: `embed`, `blocks` (each has `.bias(n)`), `norm`, `head`.


# %% exercise="stack" points=2
@lab.exercise("stack")
def stack(tokens, model):
    x = model.embed(tokens)
    ### BEGIN SOLUTION
    for layer in model.blocks:
        x = block(x, layer, layer.bias(tokens.shape[1]))
    return model.head(model.norm(x))
    ### END SOLUTION


# %% check="stack" points=2
lab.check("stack")
### BEGIN HIDDEN TESTS
assert stack(test.tokens[:2, :5], stack4).shape == (2, 5, 6)
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# A loop over the blocks, then two calls.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# Each block has a bias of its own: `layer.bias(n)`, with n the number of positions.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# for each layer: x = block(x, layer, the layer's bias); return head(norm(x)).
#
# </details>

# %% [markdown] solution
# Each block has its own weights: that is what lab 02 will change, and it is the only thing.

# %% [markdown]
# **Common mistake.** Leaving out the last norm. The residual stream grows with every block, and the output layer sees ever larger numbers.

# %% [markdown]
# **Parity.** Your model, with the trained weights, against latentkit's:

# %% facts
import copy

with torch.no_grad():
    exact = copy.deepcopy(stack4).double()  # in float64, a difference is a mistake
    gap = (stack(test.tokens, exact) - exact(test.tokens)).abs().max().item()
print("equal to 1e-5 on 256 words:", gap < 1e-5)

# %% [markdown]
# ## Look inside, layer by layer
#
# If we read out an answer after *each* layer (the "logit lens"), the scrubber shows a stack the way it showed lab 00's passes. **Before you move it:** do you expect every layer to settle a few more letters, or the last layer to settle all at once?

# %%
from latentkit.analysis import logit_lens
from latentkit.widgets import scrub

short = words.batch(test.tokens[25:26, 1:13])
scrub(
    logit_lens(stack4, short.tokens),
    targets=short.targets,
    token_names=words.token_names,
    class_names=words.class_names,
    title="Four layers, read after each",
    start=4,
)

# %% [markdown]
# Mostly at once, in the last layer. Mind what that shows: the early layers were never asked for an answer, so that theirs cannot be read does not mean that they know nothing. Keep this picture; in lab 02 it will look very different.

# %% [markdown]
# ## Train one live
#
# One layer, words of up to 12 letters, lengths growing over the first half of the run.

# %%
from latentkit.models import TransformerConfig, build
from latentkit.training import Curriculum, FitConfig, PlainLoss, fit

torch.manual_seed(lab.seed)
one_layer = build(
    TransformerConfig(words.vocab_size, words.num_classes, num_layers=1)
)
lengths = Curriculum(words, batch=64, low=2, high=12, ramp=250)
trained = fit(one_layer, lengths, PlainLoss(), FitConfig(steps=500, seed=lab.seed))

# %%
plots.loss_curves({"one layer": trained.losses}, title="Live: one layer, 500 steps")

# %% [markdown]
# The loss climbs while the words get longer, and stays far from zero. How far does this model get? And does longer training help? First we need a measure.

# %% [markdown]
# ### Exercise 5 · How deep does it reach?
#
# **Difficulty** ●●○○○ · **Time** 8 minutes · **Skill** defining a measurement
#
# Write `solved_depth(accuracy, threshold)`. `accuracy` is a float tensor [m]: the accuracy at depth 0, 1, ..., m - 1. Return the largest depth D, an int, such that *every* depth from 1 to D has at least `threshold`. Depth 0 needs no step and does not count.


# %% exercise="solved_depth" points=2
@lab.exercise("solved_depth")
def solved_depth(accuracy, threshold):
    ### BEGIN SOLUTION
    solved = 0
    for depth in range(1, len(accuracy)):
        if accuracy[depth] < threshold:
            break
        solved = depth
    return solved
    ### END SOLUTION


# %% check="solved_depth" points=2
lab.check("solved_depth")
### BEGIN HIDDEN TESTS
assert solved_depth(torch.tensor([0.0, 1.0, 1.0, 0.98, 1.0]), 0.99) == 2
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# A gap ends the count: what is right beyond it was not reached step by step.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# Walk from depth 1 upwards and stop at the first accuracy below the threshold.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# Start with 0 solved. For each depth from 1 to m - 1: below the threshold, stop; otherwise remember this depth. Return what you remember.
#
# </details>

# %% [markdown] solution
# The definition is strict on purpose: a model that is right at depth 9 and wrong at depth 7 has found a regularity, not the chain of steps.

# %% [markdown]
# **Common mistake.** Returning the *last* solved depth, or the number of solved depths. Both let a lucky depth beyond a gap count.

# %%
with torch.no_grad():
    accuracy = words.score(one_layer(test.tokens), test)
print("your one-layer model solves letters 1 to", solved_depth(accuracy, 0.99))

# %% [markdown]
# ## The wall
#
# One run proves little. The ledger holds 54: three depths, three learning rates, two lengths of training, three seeds. Here is, for each depth, the setting that reached furthest.

# %%
from latentkit.claims import ledger
from latentkit.claims.depth_wall import best_arm

wall = ledger.load("stack-wall-s3")
best = {layers: best_arm(wall, layers) for layers in (1, 2, 4)}
plots.depth_curves(
    {
        f"{layers} layer{'s' * (layers > 1)}": wall.values(
            f"{arm}/accuracy_by_depth"
        )
        for layers, arm in best.items()
    },
    chance=1 / 6,
    trained_to=12,
    title="S3 words: each depth has its wall",
)

# %% facts
for layers, arm in best.items():
    _, steps, rate = arm.split("-", 2)
    solved = wall.values(f"{arm}/solved_depth")
    print(
        f"L = {layers}   letters solved by seed {solved}   ({steps} steps, rate {rate})"
    )
print("verdict:", wall.verdict)

# %% [markdown]
# The line is the mean of three seeds, the band their range. Words of up to 12 letters were *seen in training*, so this is not about generalisation: the stacks do not even fit their training lengths.
#
# Where exactly the wall stands depends on training: the longer runs reached further. Our first trials had found letters 4, 6 and 8 to be the last, which is what the claim says; better training moved each wall a little. It did not remove any, and each doubling of depth bought only a letter or two.

# %% [markdown]
# ## A wall at powers of two
#
# Depth need not be spent one step a layer. In lab 00 you doubled pointers, and T doublings reached depth $2^T$. Does a trained stack find that? Here each stack must name the root of every node, and there are two chains, so that naming either root at random is right half the time.

# %% [markdown]
# ### Exercise 6 · How many layers?
#
# **Difficulty** ●●○○○ · **Time** 5 minutes · **Skill** logarithms without rounding errors
#
# Write `layers_needed(depth)`: the least L, an int, with $2^L \ge$ depth, for an int depth of at least 1. (A single number this time, no tensor [n].)


# %% exercise="layers_needed" points=1
@lab.exercise("layers_needed")
def layers_needed(depth):
    ### BEGIN SOLUTION
    return (depth - 1).bit_length()
    ### END SOLUTION


# %% check="layers_needed" points=1
lab.check("layers_needed")
### BEGIN HIDDEN TESTS
assert [layers_needed(d) for d in (1, 2, 3, 4, 5)] == [0, 1, 2, 2, 3]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# How often can you double 1 before it is at least depth?
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# A while loop is fine. So is the number of binary digits, with care at the powers of two.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# reach = 1, layers = 0; while reach < depth: reach doubles, layers + 1. Return layers.
#
# </details>

# %% [markdown] solution
# `(depth - 1).bit_length()` is exact; `ceil(log2(depth))` is not for large numbers, where the logarithm is rounded.

# %% [markdown]
# **Common mistake.** Rounding down: five pointers need three layers, since two reach only four.

# %%
doubling = ledger.load("stack-wall-pointers")
plots.depth_curves(
    {
        f"{layers} layer{'s' * (layers > 1)}": doubling.values(
            f"L{layers}/accuracy_by_depth"
        )
        for layers in (1, 2, 3)
    },
    xlabel="depth (pointers to the root)",
    title="Pointer chasing: the wall doubles with every layer",
)

# %% facts
for layers in (1, 2, 3):
    solved = doubling.values(f"L{layers}/solved_depth")
    print(f"L = {layers}   depth solved by seed {solved}   theory: {2**layers}")
print("verdict:", doubling.verdict)

# %% [markdown]
# Why do the curves rise again at the far right? There are 16 nodes in two chains, so a node deeper than eight is always in the longer one, and a model may learn to guess "the longer chain". That is not following pointers, and the strict measure of Exercise 5 does not count it.
#
# One example, with two layers: nodes up to four pointers from their root are right, those beyond are a coin toss.

# %%
from latentkit.tasks import PointerChasing

pointers = PointerChasing(nodes=16, chains=2)
chains = pointers.sample(
    batch=1, length=16, generator=torch.Generator().manual_seed(23)
)
stack2 = load_weights(paths.find("checkpoints/pointers-stack2.safetensors"))
with torch.no_grad():
    guesses = stack2(chains.tokens)
pointers.show(chains, guesses)

# %% [markdown]
# Look inside this one, too. **Before you move it:** if the stack doubles pointers, what must its *first* layer know?

# %%
scrub(
    logit_lens(stack2, chains.tokens),
    targets=chains.targets,
    token_names=pointers.token_names,
    class_names=pointers.class_names,
    depth=chains.depth,
    title="Two layers on pointers, read after each",
)

# %% facts
many = pointers.sample(
    batch=256, length=16, generator=torch.Generator().manual_seed(5)
)
after_one = logit_lens(stack2, many.tokens).predictions[0]
two_up = many.tokens.gather(1, many.tokens)
share = (after_one == two_up).float().mean().item()
print(f"after layer 1, {share:.0%} of all nodes name the node two steps up")

# %% [markdown]
# Nobody asked the first layer for an answer, and here it can be read all the same: it has doubled the pointers. The second layer doubles them again. That is lab 00's recurrence, with a new set of weights for every pass.

# %% [markdown]
# ## What is theorem, and what is only learned
#
# **Theorem.** A transformer of fixed depth with logarithmic precision computes only what is in the circuit class uniform TC0, at any fixed width ([Merrill and Sabharwal, 2023](https://arxiv.org/abs/2207.00729)). The word problems of A5 and S5 are complete for NC1 (Barrington, 1989). So, if TC0 is smaller than NC1 (which nearly everybody believes and nobody has proved), *no* fixed-depth transformer solves them at all lengths.
#
# **Not a theorem.** S3 and parity are solvable groups, and for these shallow shortcuts exist: a constant number of layers can solve any length in principle ([Liu et al., 2023](https://arxiv.org/abs/2210.10749)). The wall you saw on S3 is what *training* finds, at this width and this budget. Other training may move it.
#
# **Nor for pointers.** That $\log_2 k$ layers are needed for k hops rests on a conjecture about parallel computation ([Sanford et al., 2024](https://arxiv.org/abs/2402.09268)); that they suffice is a construction. The clean powers of two above are again what training found.

# %% [markdown]
# ## Taking the wall away: write it down
#
# Give the model paper. Between the letters stands the product so far, and the model writes the next one itself: $g_1\, s_1\, g_2\, s_2 \dots$ Each product now needs *one* composition, of the letter with the product just written. One layer is enough.

# %%
from latentkit.claims.depth_wall import write_scratchpad

writer = load_weights(paths.find("checkpoints/s3-scratchpad.safetensors"))
some = words.batch(test.tokens[:64, 1:])
written = write_scratchpad(writer, some.tokens, words.vocab_size)
print(
    "64 words of 32 letters, right to the last:",
    int((written == some.targets).all(1).sum()),
)
note = ledger.load("scratchpad-s3")
plots.depth_curves(
    {
        "1 layer, scratchpad": note.values("L1/accuracy_by_depth"),
        "4 layers, no scratchpad": wall.values(f"{best[4]}/accuracy_by_depth"),
    },
    chance=1 / 6,
    trained_to=12,
    title="One layer with paper against four without",
)

# %% facts
print("letters solved, by seed:          ", note.values("L1/solved_depth"))
print(
    "forward passes, one after another:",
    note.values("L1/sequential_forward_passes")[0],
)
print("verdict:", note.verdict)

# %% [markdown]
# That is what a chain of thought does: it turns depth into length. And that is what it costs: one forward pass after another, one for each position, where the stack needs one in all; a written token per step; and, in training, the right products as *input*, where the stack saw them only as targets. Here these come for free, since each prefix has its own answer. For a harder task somebody would have to write the reasoning down.

# %% [markdown]
# ## Break it: a control that must fail
#
# Does the model really read its paper? Change **one** written product, at letter 10, and leave all letters alone. If it recomputed from the letters, nothing would happen.


# %% facts
@torch.no_grad()
def with_one_slip(tokens, slip_at):
    paper, answers = tokens[:, :0], []
    for t, letter in enumerate(tokens.T):
        paper = torch.cat([paper, letter[:, None]], 1)
        answer = writer(paper)[:, -1].argmax(-1)
        answer = (answer + 1) % 6 if t == slip_at else answer
        paper = torch.cat([paper, answer[:, None] + words.vocab_size], 1)
        answers.append(answer)
    return torch.stack(answers, 1)


slipped = (with_one_slip(some.tokens, 10) == some.targets).float().mean(0)
print("accuracy just before the slip:", round(slipped[9].item(), 2))
print("accuracy ever after:          ", round(slipped[11:].mean().item(), 2))

# %% [markdown]
# Everything after the slip is wrong, to the last letter: the composition is a permutation, so an error never heals. A chain of thought is only as good as its weakest link. Lab 10 measures how such errors compound when the model makes them by itself.

# %% [markdown]
# ## What the papers leave open
#
# | The papers are silent about | We chose | Does it matter? |
# |---|---|---|
# | what counts as "solved" | accuracy of at least 0.99 at *every* depth up to D | a looser threshold moves the wall by a letter or so |
# | how long to train before saying "cannot" | 1,500 and 3,000 steps, three learning rates, the best of all | measured above: the best setting is shown |
# | positions | relative bias and ALiBi | with learned absolute positions nothing could go beyond 12 letters at all |
# | size | d = 64, two heads | a wider model was not tested here |
#
# | Claim | Verdict | What was measured |
# |---|---|---|
# | fixed depth, S3 | **{{ claim stack-wall-s3 verdict }}** | {{ claim stack-wall-s3 rule }} |
# | $2^L$ pointers | **{{ claim stack-wall-pointers verdict }}** | {{ claim stack-wall-pointers rule }} |
# | scratchpad | **{{ claim scratchpad-s3 verdict }}** | {{ claim scratchpad-s3 rule }} |

# %% [markdown]
# ## Self-quiz
#
# {{ quiz }}

# %% [markdown]
# ## Stretch
#
# - Train a stack of two layers on **parity** (`WordProblem("Z2")`). Parity is in TC0. Where is its wall?
# - Train with letters drawn from *all six* elements of S3 instead of two generators (subclass `WordProblem`, change `table`). Does the wall move?
# - Give the four-layer stack words of up to 8 letters only. Does it reach 8 sooner, and does it go beyond?
#
# ## Reading
#
# - Merrill and Sabharwal, [The parallelism tradeoff](https://arxiv.org/abs/2207.00729), 2023: why fixed depth means TC0.
# - Liu et al., [Transformers learn shortcuts to automata](https://arxiv.org/abs/2210.10749), 2023: shallow solutions, and how brittle they are.
# - Merrill and Sabharwal, [The expressive power of transformers with chain of thought](https://arxiv.org/abs/2310.07923), 2024: what each written step buys.
# - Sanford et al., [Transformers, parallel computation, and logarithmic depth](https://arxiv.org/abs/2402.09268), 2024: the powers of two.
#
# ## Next
#
# A chain of thought buys steps with tokens. [Lab 02](02_loop_it.ipynb) buys them with nothing but time: one layer, run again and again on its own hidden state, no word written.
