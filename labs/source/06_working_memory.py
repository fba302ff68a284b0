# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Lab 06 · Working memory: TransformerFAM
#
# {{ badge }}
#
# **Claim.** Four feedback tokens, and not one new weight in any layer, carry a key over thousands of tokens. A sliding window loses it after a few blocks.
#
# | | |
# |---|---|
# | You need | [lab 02](02_loop_it.ipynb); attention with queries, keys and values |
# | Your time | 110 minutes |
# | Computer time | {{ cpu_seconds }} CPU seconds |
#
# By the end you can
#
# - build sliding-window attention over blocks, and feedback attention on top of it;
# - test a model for causality, by perturbation, and say where such models leak;
# - measure a memory in two ways: by what the model answers, and by what a linear probe still reads;
# - say why the feedback grows, and judge four remedies by their numbers.

# %% [markdown]
# ## Cold open: keep this in mind
#
# So far the models looked at one input again and again: recurrence along *depth*. Now the input is longer than what a model may look at. It reads block after block, and what it wants to know later it must **remember**: recurrence along *time*.
#
# A key of three digits stands in the first block. Then filler. Then the question.

# %%
import torch

from latentkit import paths
from latentkit.tasks import Passkey
from latentkit.training import load_weights

passkey = Passkey(block=16)
example = passkey.sample(
    batch=1, length=12, generator=torch.Generator().manual_seed(6)
)
passkey.show(example)

# %% [markdown]
# Two models of two layers and the same width, trained alike. **BSWA** sees its own block and the one before. **FAM** sees its own block and four vectors of its own making.
#
# **Predict** how many of the three digits each gets right, 12 blocks on. (A guess is right one time in ten. At `?` a model names the first digit, at each true digit the next one; the first can only come from memory.)

# %%
bswa = load_weights(paths.find("checkpoints/passkey-bswa.safetensors"))
fam = load_weights(paths.find("checkpoints/passkey-fam.safetensors"))
with torch.no_grad():
    window_says = bswa(example.tokens)
passkey.show(example, window_says)

# %%
with torch.no_grad():
    memory_says = fam(example.tokens)
passkey.show(example, memory_says)

# %% facts
from latentkit.layers import count_parameters

many = passkey.sample(
    batch=200, length=12, generator=torch.Generator().manual_seed(12)
)
for name, model in {"BSWA": bswa, "FAM": fam}.items():
    with torch.no_grad():
        right = passkey.score(model(many.tokens), many)[-1].item()
    size = f"{count_parameters(model):,} parameters"
    print(f"{name:4} {size}: {right:.0%} of the digits right")

# %% [markdown]
# ## The idea by hand
#
# Tokens come in blocks of B. **Block sliding-window attention (BSWA)** keeps keys and values of the m blocks before, and nothing else. With $i_t$ the layer's input at token t of block τ:
#
# $$a_t = \mathrm{SA}\big(q_t;\ [K_{mem},\ K_\tau \text{ up to } t]\big) + i_t, \qquad o_t = \mathrm{FF}(\mathrm{LN}(a_t)) + a_t.$$
#
# **Feedback attention memory (FAM)** adds f vectors $F_\tau$ to every layer. They go through the layer's *own* norms, projections and feed-forward net. Tokens attend to the old ones; the new ones attend to the old and to the whole block:
#
# $$a_t = \mathrm{SA}\big(q_t;\ [K_{mem},\ K^F_{\tau-1},\ K_\tau \text{ up to } t]\big) + i_t,$$
#
# $$A_\tau = \mathrm{SA}\big(Q^F_{\tau-1};\ [K^F_{\tau-1},\ K_\tau]\big) + F_{\tau-1}, \qquad F_\tau = \mathrm{FF}(\mathrm{LN}(A_\tau)) + A_\tau.$$
#
# | name | shape | meaning |
# |---|---|---|
# | block | [b, n, d] | n = B tokens, read together |
# | $F_\tau$ | [b, f, d] | the feedback of one layer, after block τ |
# | $K_{mem}$ | [b, s, e] | keys of the memory segment, s = m B; e is the width of a head |
# | $K^F$ | [b, f, e] | keys of the feedback, by the same projection |
#
# SA(q; K) is softmax attention with the values that belong to K; queries, keys and values come from normed inputs. Our FAM has m = 0: feedback alone, no memory segment. All that is new is where $F_0$ comes from: a learned prompt of f embeddings, f · d numbers for the whole model.

# %% [markdown]
# ### Exercise 1 · Who may see whom
#
# **Difficulty** ●○○○○ · **Time** 5 minutes · **Skill** masks
#
# A token sees everything that came before its block, and of its own block what comes up to itself. Write `block_mask(n, before)`: booleans [n, before + n], True where token i of the block may look. The first `before` columns are what came before (memory and feedback), the other n are the block itself.


# %% exercise="block_mask" points=1
@lab.exercise("block_mask")
def block_mask(n, before):
    ### BEGIN SOLUTION
    return torch.ones(n, before + n, dtype=torch.bool).tril(diagonal=before)
    ### END SOLUTION


# %% check="block_mask" points=1
lab.check("block_mask")
### BEGIN HIDDEN TESTS
assert block_mask(2, 1).tolist() == [[True, True, False], [True, True, True]]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Without anything before it, this is the causal mask that you know: a lower triangle.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# A triangle may begin further right: look at the second argument of `torch.tril`.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# A matrix of True with n rows and before + n columns; keep what is on or below the diagonal that begins at column `before`.
#
# </details>

# %% [markdown] solution
# One matrix for all: memory, feedback and block need no masks of their own, as long as the block comes last.

# %% [markdown]
# **Common mistake.** The triangle of the plain causal mask, from column 0: the first token then sees one entry of the memory and nothing else, itself included.

# %% [markdown]
# ### Exercise 2 · Read
#
# **Difficulty** ●●○○○ · **Time** 10 minutes · **Skill** attention over several sources
#
# Write `read(q, memory, feedback, block)` for one head: q is [b, n, e]; the other three are pairs (keys, values), [b, s, e], [b, f, e] and [b, n, e] each. Put them side by side, the block last, mask with your `block_mask`, and return softmax$(q k^\top / \sqrt e)\, v$, [b, n, e]. s may be 0.


# %% exercise="read" points=2
@lab.exercise("read")
def read(q, memory, feedback, block):
    ### BEGIN SOLUTION
    keys = torch.cat([memory[0], feedback[0], block[0]], 1)
    values = torch.cat([memory[1], feedback[1], block[1]], 1)
    before = keys.shape[1] - q.shape[1]
    scores = (q @ keys.mT) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~block_mask(q.shape[1], before), float("-inf"))
    return torch.softmax(scores, -1) @ values
    ### END SOLUTION


# %% check="read" points=2
lab.check("read")
### BEGIN HIDDEN TESTS
one = torch.ones(1, 1, 1)
empty = one[:, :0]
assert read(one, (empty, empty), (one, 3 * one), (one, one)).item() == 2
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Three sources, one softmax. To the attention it is all one long list of keys.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `torch.cat` along the token axis, for keys and for values. How many columns come before the block? Fill with minus infinity where the mask is False.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# k, v = the three side by side; scores = q times k transposed, over the root of e; where not block_mask(n, columns before the block): minus infinity; softmax over the last axis, times v.
#
# </details>

# %% [markdown] solution
# With f = 0 the feedback is empty and this is BSWA. With s = 0 as well it is plain causal attention in a block.

# %% [markdown]
# **Common mistake.** A softmax for each source, and the results added: the sources then no longer compete, and a token cannot ignore the memory.

# %% [markdown]
# ### Exercise 3 · Write
#
# **Difficulty** ●●○○○ · **Time** 8 minutes · **Skill** residual branches
#
# The feedback's queries attend to the feedback and the whole block, without a mask. Then comes the update. Write `update(mixed, feedback, first, norm, mlp)`: `mixed` is what attention brought, `feedback` is $F_{\tau-1}$, both [b, f, d]; `norm` and `mlp` are functions. Return $F_\tau$, [b, f, d]. At the **first** update (`first` is True) there is no residual: $A_1 = \mathrm{SA}(\ldots)$ alone.


# %% exercise="update" points=2
@lab.exercise("update")
def update(mixed, feedback, first, norm, mlp):
    ### BEGIN SOLUTION
    total = mixed if first else mixed + feedback
    return total + mlp(norm(total))
    ### END SOLUTION


# %% check="update" points=2
lab.check("update")
### BEGIN HIDDEN TESTS
four, two = torch.full((1, 1, 1), 4.0), torch.full((1, 1, 1), 2.0)
assert update(four, two, True, lambda x: x / 2, lambda x: 3 * x).item() == 10
assert update(four, two, False, lambda x: x / 2, lambda x: 3 * x).item() == 15
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# It is the second half of any pre-norm layer. Only the first residual is special.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# Two sums: A is `mixed` with or without `feedback`; the result is A plus something computed from A.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# A = mixed, and unless it is the first time, plus feedback; return A plus mlp of norm of A.
#
# </details>

# %% [markdown] solution
# $F_0$ is a prompt that knows nothing of the sequence: it is good as query and key, but not worth keeping.

# %% [markdown]
# **Common mistake.** Leaving the feed-forward net out, since it "only" belongs to the tokens. The paper tried: what comes out is then no longer the kind of vector that the layer expects as input.

# %% [markdown]
# **Parity.** Your three functions with the trained weights, two layers, four heads, five blocks in a row, against latentkit's `forward`, in float64:

# %% facts
import copy

exact = copy.deepcopy(fam).double()
config = exact.config
size, f = config.block_size, config.num_feedback
five = many.tokens[:4, : 5 * size]


def heads(x):  # [b, h, n, e] to [b h, n, e]: a head is one more example
    return x.flatten(0, 1)


def merge(layer, mixed):  # back, and through the layer's output projection
    return layer.out(mixed.unflatten(0, (4, -1)).transpose(1, 2).flatten(2))


def my_block(block, feedback, first):
    x, new = exact.embed(block), []
    for layer, old in zip(exact.layers, feedback, strict=True):
        q, k, v = layer.project(x)
        qf, kf, vf = layer.project(old)
        q, k, v = heads(exact.turn(q)), heads(exact.turn(k)), heads(v)
        qf, kf = heads(exact.turn(qf, size - f)), heads(exact.turn(kf, -f))
        vf = heads(vf)
        tokens_get = read(q, (k[:, :0], v[:, :0]), (kf, vf), (k, v))
        scores = qf @ torch.cat([kf, k], 1).mT / k.shape[-1] ** 0.5
        memory_gets = scores.softmax(-1) @ torch.cat([vf, v], 1)
        norm, mlp = layer.norm2, layer.mlp
        new.append(update(merge(layer, memory_gets), old, first, norm, mlp))
        x = update(merge(layer, tokens_get), x, False, norm, mlp)
    return exact.decode(x), new


with torch.no_grad():
    feedback = [start.expand(4, -1, -1) for start in exact.initial_feedback()]
    mine = []
    for t, block in enumerate(five.split(size, 1)):
        logits, feedback = my_block(block, feedback, first=t == 0)
        mine.append(logits)
    gap = (torch.cat(mine, 1) - exact(five)).abs().max().item()
print("logits of five blocks equal to 1e-6:", gap < 1e-6)

# %% [markdown]
# Yours reads block after block; latentkit's `forward` goes *layer by layer*. It may, because a layer's feedback comes from that layer's own inputs, and not from the layer above: all blocks at once, except for the four feedback tokens, which have to wait for one another.
#
# ## Look inside
#
# Four vectors a layer are all that is left of the past. What do they look at, and what do they know? A **linear probe** answers the second: one matrix that tries to read the three digits from the feedback. This one is fitted once, on the feedback after block 8, and used after every block: early mistakes may be its own. You will write it below; here is latentkit's.
#
# **Before you move the slider:** in which block will the memory look outward most, and in which will it look at itself?

# %%
from latentkit.analysis.working_memory import (
    LinearProbe,
    feedback_attention,
    feedback_path,
)
from latentkit.claims.working_memory import PROBE_RIDGE
from latentkit.widgets import memory_scope

BLOCKS = 48
train = passkey.sample(
    batch=320, length=BLOCKS, generator=torch.Generator().manual_seed(1)
)
test = passkey.sample(
    batch=100, length=BLOCKS, generator=torch.Generator().manual_seed(2)
)
path = feedback_path(fam, train.tokens)  # [blocks, b, layers, f, d]
test_path = feedback_path(fam, test.tokens)
print("the feedback, block by block:", list(path.shape))


def watch(model, batch, path, probe, blocks, title):
    """The first sequence of `batch`, block by block."""
    state, weights, names = model.initial_state(1), [], []
    for block in batch.tokens[:1, : blocks * size].split(size, 1):
        weights.append(feedback_attention(model, state, block)[0].mean(1))
        names.append([passkey.token_names[i] for i in block[0].tolist()])
        state, _ = model.step(state, block)
    path = path[:blocks, 0]
    return memory_scope(
        names,
        torch.stack(weights),
        torch.stack([probe.predict(state[None])[0] for state in path]),
        passkey.secret(batch)[0].tolist(),
        norms=path.norm(dim=-1).mean(-1),
        title=title,
    )


early = LinearProbe.fit(path[7], passkey.secret(train), 10, ridge=PROBE_RIDGE)
watch(fam, test, test_path, early, 12, "FAM: twelve blocks")

# %% [markdown]
# After the first block there is nothing worth having. What remains is the work of keeping: each block brings filler, and the memory must come through it unharmed.
#
# ## No peeking
#
# A model that reads in blocks can cheat without anybody noticing. The feedback of block τ has seen *all* of block τ, so no token of block τ may see it. The dangerous place is the start: the paper does not say how the prompt gets to layer 2. If it goes up the stack **together with the first block**, layer 2's $F_0$ has seen that block to its end, and the block's first token can look at it.
#
# ### Exercise 4 · A test for causality
#
# **Difficulty** ●●●○○ · **Time** 10 minutes · **Skill** perturbation tests
#
# Write `changed(model, tokens, place, vocab_size)`: tokens are [1, n], `model` maps them to outputs [1, n, v]. Replace the token at `place` by another one (the next in the vocabulary, after the last the first). Return booleans [n]: at which positions does *any* output differ? Leave `tokens` as they were.


# %% exercise="changed" points=3
@lab.exercise("changed")
def changed(model, tokens, place, vocab_size):
    ### BEGIN SOLUTION
    perturbed = tokens.clone()
    perturbed[0, place] = (tokens[0, place] + 1) % vocab_size
    return (model(perturbed) != model(tokens))[0].any(-1)
    ### END SOLUTION


# %% check="changed" points=3
lab.check("changed")
### BEGIN HIDDEN TESTS
assert changed(
    lambda x: x[..., None].cumsum(1), torch.tensor([[0, 2, 1]]), 1, 3
).tolist() == [False, True, True]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Run the model twice, on sequences that differ in one token.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# Copy before you write. The remainder keeps the new token in the vocabulary. Compare all v outputs, not just the largest.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# Clone; put (old + 1) mod vocab_size at `place`; run both; positions where any of the v outputs is unequal.
#
# </details>

# %% [markdown] solution
# "Unequal" and not "far apart": in a causal model the earlier outputs are the same bits, since nothing in their computation has changed.

# %% [markdown]
# **Common mistake.** To compare predictions. A leak that changes no argmax today will still be used by the optimiser tomorrow.

# %% [markdown]
# The real model, and one whose prompt travels with the first block:

# %% facts
from latentkit.models.fam import FAM


class Leaky(FAM):
    """Layer 2's initial feedback has been through layer 1 together with the first block."""

    def forward(self, tokens):
        first = self.step(
            self.initial_state(1), tokens[:, : self.config.block_size]
        )
        self.seen_too_early = first[0].feedback[0, 0]
        return super().forward(tokens)

    def initial_feedback(self):
        start = super().initial_feedback()
        early = getattr(self, "seen_too_early", None)
        return start if early is None else [start[0], early]


leaky = Leaky(config)
leaky.load_state_dict(fam.state_dict())
probe_me = many.tokens[:1, : 3 * size]
for name, model in {"latentkit's": fam, "the leaky one": leaky}.items():
    with torch.no_grad():
        late = [
            int(changed(model, probe_me, place, passkey.vocab_size)[:place].sum())
            for place in (5, 15, 20, 47)
        ]
    print(f"{name}: earlier outputs that change, for four places: {late}")

# %% [markdown]
# Position 0 of the leaky model knows what stands at position 15. Only the first block leaks, which makes it easy to miss, and training would use it.
#
# ## Train one live
#
# Both models on passkeys of up to four blocks, 200 steps. Two layers of one memory block each reach two blocks back: with three blocks the key is within what BSWA can reach, with four it is not. The longest passkey grows with the step: 1, 2, then 4 blocks.

# %%
from latentkit.models import FAMConfig, build
from latentkit.training import FitConfig, GeometricCurriculum, PlainLoss, fit

lengths = GeometricCurriculum(passkey, batch=24, low=1, high=4, ramp=160)
recipe = FitConfig(steps=200, seed=lab.seed)
sizes = {
    "FAM, no window": FAMConfig(passkey.vocab_size, passkey.num_classes),
    "BSWA, one block": FAMConfig(
        passkey.vocab_size,
        passkey.num_classes,
        num_feedback=0,
        memory_blocks=1,
    ),
}
live = {}


def train_live(name):
    torch.manual_seed(lab.seed)
    live[name] = build(sizes[name])
    fit(live[name], lengths, PlainLoss(), recipe)


train_live("FAM, no window")

# %%
train_live("BSWA, one block")

# %%
for name, model in live.items():
    shares = []
    for t in (1, 2, 3, 4, 6):
        batch = passkey.sample(200, t, torch.Generator().manual_seed(t))
        with torch.no_grad():
            score = passkey.score(model(batch.tokens), batch)[-1].item()
        shares.append(f"{t}: {score:.0%}")
    print(f"{name:16} digits right at blocks  {'  '.join(shares)}")

# %% [markdown]
# A few seconds of training: neither is finished. Within two blocks the window learns faster. Beyond its reach it has nothing to say, however long it trains.
#
# ## Far beyond the window
#
# The shipped models were trained on up to 48 blocks. Three seeds, up to 256 blocks, 4,096 tokens:

# %%
from latentkit import plots
from latentkit.claims import ledger
from latentkit.claims.working_memory import BLOCKS as LENGTHS

record = ledger.load("fam-passkey")
TRAINED_TO = record.setup["fam"]["batches"]["high"]


def by_seed(metric, at):
    """One curve a seed."""
    return torch.tensor([record.values(f"{metric}@{t}") for t in at]).T.tolist()


plots.pass_curves(
    {
        "FAM": by_seed("fam/accuracy", LENGTHS),
        "BSWA": by_seed("bswa/accuracy", LENGTHS),
    },
    at=LENGTHS,
    xlabel="blocks (16 tokens each)",
    ylabel="digits right (%)",
    lines={"chance": 10},
    trained_to=TRAINED_TO,
    log_x=True,
    ylim=(0, 104),
    title="One key, and up to 4,096 tokens",
)

# %% facts
for t in (3, 4, 8, 64, 256):
    found = {arm: record.values(f"{arm}/accuracy@{t}") for arm in ("fam", "bswa")}
    print(f"{t:3} blocks: FAM {found['fam']}   BSWA {found['bswa']}")
print("verdict:", record.verdict)

# %% [markdown]
# At one block BSWA is ahead. Beyond its reach it is at chance, and already at three blocks it is worse than at two: what a window reaches on paper it need not reach in use. FAM's reach has no end. What it has is *wear*. And all this in a state of fixed size:

# %% facts
for blocks in (1, 4, 256):
    state = fam.initial_state(1)
    for block in many.tokens[:1].repeat(1, 22)[:, : blocks * size].split(size, 1):
        with torch.no_grad():
            state, _ = fam.step(state, block)
    kept = sum(part.numel() for part in state)
    print(f"after {blocks * size:5,} tokens the state holds {kept} numbers")

# %% [markdown]
# ## What many blocks do to a memory
#
# ### Exercise 5 · How long is the memory?
#
# **Difficulty** ●○○○○ · **Time** 5 minutes · **Skill** norms and axes
#
# Write `mean_norms(path)`: path is [t, b, l, f, d], the feedback after each of t blocks. Return [t, l]: the length of a feedback token in each layer, averaged over sequences and tokens.


# %% exercise="mean_norms" points=1
@lab.exercise("mean_norms")
def mean_norms(path):
    ### BEGIN SOLUTION
    return torch.linalg.vector_norm(path, dim=-1).mean(dim=(1, 3))
    ### END SOLUTION


# %% check="mean_norms" points=1
lab.check("mean_norms")
### BEGIN HIDDEN TESTS
assert mean_norms(torch.tensor([3.0, 4.0]).view(1, 1, 1, 1, 2)).tolist() == [[5.0]]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# First one number for each vector, then averages.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# The norm runs over the last axis. Which two axes of the result are left over, counted from 0?
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# The vector norm over d; its mean over b and f.
#
# </details>

# %% [markdown] solution
# The other order, the norm of the mean vector, would be small where the vectors of different sequences point in different directions.

# %% [markdown]
# **Common mistake.** Averaging the vectors before taking their length.

# %%
plots.pass_curves(
    {
        f"layer {i + 1}": [layer.tolist()]
        for i, layer in enumerate(mean_norms(test_path).T)
    },
    ylabel="length of a feedback token",
    xlabel="block",
    title="Block by block, the feedback grows",
)

# %% [markdown]
# Look at the update: $F_\tau = \ldots + F_{\tau-1}$. Every block adds, nothing divides. The layers read the feedback through a norm, so its length as such does no harm. But a new contribution of constant length matters less and less to a vector that grows: the memory becomes **harder to write**, block by block. All three seeds, to block 256:

# %%
grown = {f"layer {i}": record.values(f"fam/norm_layer{i}") for i in (1, 2)}
plots.pass_curves(
    grown,
    at=LENGTHS,
    log=True,
    log_x=True,
    trained_to=TRAINED_TO,
    xlabel="block",
    ylabel="length of a feedback token",
    title="The norm of the feedback, far beyond training",
)

# %% facts
print("growth from block 16 to 256:", record.values("fam/norm_growth"))

# %% [markdown]
# ### Exercise 6 · A linear probe
#
# **Difficulty** ●●●○○ · **Time** 12 minutes · **Skill** ridge regression
#
# Is the key lost, or can the model only not read it any more? Write `fit_probe(x, labels, num_classes, ridge)`: x is [m, d], labels [m], x of any float type. With Y [m, c] the labels as one-hots, return the W [d, c] that makes $\|XW - Y\|^2 + \text{ridge} \cdot \|W\|^2$ smallest.


# %% exercise="fit_probe" points=3
@lab.exercise("fit_probe")
def fit_probe(x, labels, num_classes, ridge):
    ### BEGIN SOLUTION
    y = torch.nn.functional.one_hot(labels, num_classes).to(x)
    penalty = ridge * torch.eye(x.shape[1]).to(x)
    return torch.linalg.solve(x.T @ x + penalty, x.T @ y)
    ### END SOLUTION


# %% check="fit_probe" points=3
lab.check("fit_probe")
### BEGIN HIDDEN TESTS
assert torch.allclose(
    fit_probe(torch.eye(2), torch.tensor([1, 0]), 2, 1.0),
    torch.tensor([[0.0, 0.5], [0.5, 0.0]]),
)
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Set the gradient with respect to W to zero. What is left is a system of linear equations.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# The matrix of the system is X transposed times X, with the ridge on its diagonal; the right side is X transposed times Y. `torch.linalg.solve`.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# Y = one-hot(labels, num_classes) in x's dtype; solve (XᵀX + ridge I) W = XᵀY for W.
#
# </details>

# %% [markdown] solution
# The ridge is needed: 512 inputs and a few hundred sequences would fit anything exactly, and nothing on new sequences.

# %% [markdown]
# **Common mistake.** Adding the ridge to *all* entries of XᵀX instead of its diagonal.

# %% [markdown]
# Your probe on the first digit, fitted anew after each block, on the normed feedback of both layers, and tested on other sequences:

# %% facts
from latentkit.layers import rms_norm


def inputs(feedback):  # [b, l, f, d] to [b, l f d]
    return rms_norm(feedback).flatten(1).double()


digit, answer = passkey.secret(train)[:, 0], passkey.secret(test)[:, 0]
for t in (1, 8, 24, 47):
    weight = fit_probe(inputs(path[t - 1]), digit, 10, PROBE_RIDGE)
    said = (inputs(test_path[t - 1]) @ weight).argmax(-1)
    print(f"after block {t:2}: {(said == answer).float().mean():.0%} right")

# %% [markdown]
# Now all three digits, three seeds, up to 256 blocks, with two kinds of probe: one fitted **anew** after the block that is asked about (is the key still there?), and one fitted **once**, after block 8 (is it where it was?). Beside them, what the model itself answers.

# %%
beyond = [t for t in LENGTHS if t >= 8]
plots.pass_curves(
    {
        "probe, fitted anew": by_seed("fam/probe", beyond),
        "probe of block 8": by_seed("fam/early_probe", beyond),
        "the model's answer": by_seed("fam/accuracy", beyond),
    },
    at=beyond,
    log_x=True,
    lines={"chance": 10},
    xlabel="block",
    ylabel="digits right (%)",
    ylim=(0, 104),
    title="Still there, still readable, still read?",
)

# %% facts
for t in (8, 64, 256):
    row = {
        name: record.mean(f"fam/{name}@{t}")
        for name in ("probe", "early_probe", "accuracy")
    }
    print(f"{t:3} blocks, means of three seeds: {row}")

# %% [markdown]
# Compare the lines before you blame the memory. Where the new probe reads more than the model answers, the key is still there and *reading* has failed. Where it reads more than the old probe, the code has drifted. Where all three fall together, the key is gone.
#
# At 256 blocks the new probe still reads nearly everything, the model answers less, the old probe least: the key is there, the code has drifted, and the model reads less than it could. (At 256 the probes look after the question, whose answer has then been read as well; everywhere else before it. All probes have the same ridge, chosen by hand.)
#
# The same model, 48 blocks, with the probe of block 8. **Predict** how often it errs.

# %%
watch(fam, test, test_path, early, BLOCKS, "FAM: 48 blocks, one probe")

# %% [markdown]
# ## Remedies
#
# If growth is the illness, bound it: bring $F_{\tau-1}$ to RMS 1 before it is added (**normed residual**), or leave it out at every update (**no residual**). Or change the training. **Quiet memory** charges for the mean square of $F_\tau - F_{\tau-1}$, so that a block of filler is best met with no update. **State passing** lets each sequence go on in the next step where it stood, old key and old memory, so that a state may be many times 16 blocks old, while a step computes, and takes gradients through, at most 16. (The paper passes one state to a whole batch.)
#
# All trained on up to 16 blocks, equal steps; the unchanged FAM (*algorithm 2*, its name in the paper) is the baseline. **Predict** the order at 256.

# %%
from latentkit.claims.working_memory import SHORT

remedies = ledger.load("fam-remedies")
trained_short = remedies.setup["algorithm 2"]["batches"]["high"]
curves = {
    arm: torch.tensor([remedies.values(f"{arm}/accuracy@{t}") for t in SHORT])
    for arm in remedies.setup
}
plots.pass_curves(
    {arm: curve.T.tolist() for arm, curve in curves.items()},
    at=SHORT,
    log_x=True,
    lines={"chance": 10},
    trained_to=trained_short,
    xlabel="blocks",
    ylabel="digits right (%)",
    ylim=(0, 104),
    title="Four remedies, all trained on 16 blocks",
)

# %% facts
for arm in remedies.setup:
    growth = remedies.values(f"{arm}/norm_growth")
    far = remedies.values(f"{arm}/accuracy@256")
    print(f"{arm:16} growth 16 to 256: {growth}   right at 256: {far}")
print("verdict:", remedies.verdict)

# %% [markdown]
# None of the four keeps 80% on every seed: **not reproduced**, and worth a closer look.
#
# - **A bounded norm is worse, and much.** The normed residual learns its 16 blocks well, and soon after them the key is gone; without a residual not even the 16 are learned in this budget. A likely reason, which we did not test: in a memory of constant length every block takes the same share of what was there, so forgetting is exponential; in a growing one each block weighs less, and what was written is protected. The growth looked like an illness, and may be part of what keeps the key.
# - **The charge** is too small at this weight to change anything, the growth included. A larger one is a stretch exercise.
# - **State passing** has the best mean at 256, but its seeds overlap with the baseline's, and it pays with a little at 16. The best of four remedies is somewhat better by chance alone: the rule asks for 20 points.
#
# What did work is further up: longer training sequences, 48 blocks instead of 16 (and 600 steps instead of 450).
#
# ## Break it
#
# Is the feedback really what the answer comes from? Exchange it. After six blocks, every sequence gets the memory of its neighbour, in both layers or in one; then filler, then the question. **Predict** whose key the model names.

# %% facts
eleven = test.tokens[:, : 11 * size].split(size, 1)
asked = passkey.continued(
    passkey.secret(test), 1, torch.Generator().manual_seed(9)
).tokens
own = passkey.secret(test)
others = own.roll(1, 0)
for swapped in ([], [0], [1], [0, 1]):
    state = fam.initial_state(len(own))
    with torch.no_grad():
        for t, block in enumerate([*eleven, asked]):
            if t == 6 and swapped:
                mixed_up = state.feedback.clone()
                mixed_up[:, swapped] = state.feedback[:, swapped].roll(1, 0)
                state = state._replace(feedback=mixed_up)
            state, output = fam.step(state, block)
        said = fam.decode(output)[:, -4].argmax(-1)
    layers = " and ".join(f"layer {i + 1}" for i in swapped) or "nothing"
    mine, theirs = ((said == key[:, 0]).float().mean() for key in (own, others))
    print(
        f"{layers:19} exchanged: own key {mine:.0%}, the neighbour's {theirs:.0%}"
    )

# %% [markdown]
# The first digit only: the later ones are predicted with the true ones in sight. With both layers exchanged, the model names another sequence's key as surely as its own: the key is in the feedback and nowhere else. And the single layers? Whatever layer 1 keeps, this model answers from layer 2.

# %% [markdown]
# Now the training. Take away the gradient between blocks, or the curriculum (all lengths up to 16 from the first step, which is twice the compute), or add a memory segment of one block. **Predict** which one hurts.

# %%
ablations = ledger.load("fam-ablations")
plots.pass_curves(
    {
        arm: torch.tensor(
            [ablations.values(f"{arm}/accuracy@{t}") for t in SHORT]
        ).T.tolist()
        for arm in ablations.setup
    },
    at=SHORT,
    log_x=True,
    lines={"chance": 10},
    trained_to=trained_short,
    xlabel="blocks",
    ylabel="digits right (%)",
    ylim=(0, 104),
    title="What it takes to learn to remember",
)

# %% facts
for arm in ablations.setup:
    at = {t: ablations.values(f"{arm}/accuracy@{t}") for t in SHORT}
    print(f"{arm:24} 16: {at[16]}   256: {at[256]}")
print("verdict:", ablations.verdict)

# %% [markdown]
# With the gradient cut at every block the memory learns something, and never well: no later loss tells an update what to keep. The other two changes cost less than you may have predicted. Look at 256 before you call one of them worse.

# %% [markdown]
# ## What the paper leaves open
#
# | The paper | What is unclear | What we took |
# |---|---|---|
# | the prompt is pushed up the stack | alone, or with the first block (which leaks) | alone |
# | FAM positions: the end of the block that it compressed | the same tokens are keys for one block and queries in the next | key at the end of the block before, query at the end of this one |
# | random position offsets help | rotary scores do not change when everything is shifted | left out |
# | random state passing, p = 0.8 | is the residual of the first update dropped for a passed state? | kept |
# | "no additional weights" | the prompt has f · d numbers | counted |
# | a language model, fine-tuned | what it takes to train from scratch | a curriculum on the number of blocks |
#
# **Open here:** whether the memory lasts on text, where every block holds something worth keeping; what 64 feedback tokens would do; whether a memory can learn *when* to write, with a gate.
#
# | Claim | Verdict |
# |---|---|
# | {{ claim fam-passkey statement }} | **{{ claim fam-passkey verdict }}** |
# | {{ claim fam-remedies statement }} | **{{ claim fam-remedies verdict }}** |
# | {{ claim fam-ablations statement }} | **{{ claim fam-ablations verdict }}** |

# %% [markdown]
# ## Self-quiz
#
# {{ quiz }}

# %% [markdown]
# ## Stretch
#
# - `QuietMemory(weight)` of `latentkit.claims.working_memory` with ten and a hundred times the weight: does the norm stop growing, and does the key last?
# - One feedback token instead of four (`num_feedback=1`): is it enough for three digits?
# - Ask for a key in *each* of two blocks, the first or the second by two kinds of question. What does the memory do with the first key when the second comes?
# - Stream the shipped model over a million tokens with `latentkit.recurrence.stream(..., keep="last")` and watch the process's memory.
#
# ## Reading
#
# - Hwang et al., [TransformerFAM: Feedback attention is working memory](https://arxiv.org/abs/2404.09173), 2024.
# - Dai et al., [Transformer-XL](https://arxiv.org/abs/1901.02860), 2019: cached keys and values, without a gradient.
# - Bulatov et al., [Recurrent memory transformer](https://arxiv.org/abs/2207.06881), 2022: memory tokens from the top layer to the next segment's input.
# - Mohtashami and Jaggi, [Landmark attention](https://arxiv.org/abs/2305.16300), 2023: where the passkey task comes from.
#
# ## Next
#
# A memory of fixed size keeps three digits over thousands of tokens. How much *can* a state of fixed size keep? Lab 07 counts the bits, with the simplest task there is: copy what you have read.
