# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Lab 08 · Bolting memory on
#
# {{ badge }}
#
# **Claim.** A memory of 32 × 32 numbers, trained by gradient descent *while the model reads*, recalls needles far beyond the length of training. What it is good for, and what it is not, shows when you measure it against its ancestors.
#
# | | |
# |---|---|
# | You need | [lab 07](07_the_copying_limit.ipynb) |
# | Your time | 130 minutes |
# | Computer time | {{ cpu_seconds }} CPU seconds |
#
# By the end you can
#
# - write an associative memory as an optimiser: delta rule, momentum, forgetting;
# - run it a chunk at a time, with matrix products only, and say what that changes;
# - read a model's surprise, token by token;
# - say where linear attention, DeltaNet and Titans differ, and where they do not.

# %% [markdown]
# ## Cold open: four needles
#
# Lab 07 showed the price of a fixed state: it cannot copy everything. But must it? Here are four pairs of a key (one of 16) and a value (one of 16) in filler; lines without any are left out. At the end every key is asked, and the model's answer is marked. (The true value stands right behind each question, and is read after it.) Guessing gets one in sixteen.
#
# The model has no attention at all. Its memory is one 32 × 32 matrix (and a second one of momentum). It was trained on sequences of up to 128 tokens; this one has 1,024. **Predict:** how many of the four answers are right?

# %%
import torch

from latentkit import paths
from latentkit.claims.test_time_memory import NEEDLES as needles
from latentkit.training import load_weights

matrix = load_weights(paths.find("checkpoints/needles-matrix.safetensors"))
test = needles.sample(
    batch=64, length=1024, generator=torch.Generator().manual_seed(2024)
)
with torch.no_grad():
    answers = matrix(test.tokens)
needles.show(test, answers)

# %% facts
print("recall over 64 sequences:", round(needles.recall(answers, test), 3))

# %% [markdown]
# A thousand tokens passed through one matrix, and most of what mattered is still in it. (These are the weights of the weakest of three seeds, in another sample than the ledger's: there it recalls {{ claim needles-recall matrix/recall@1024 min }}.) This lab opens the matrix.

# %% [markdown]
# ## The idea by hand
#
# Of every token the model makes a key k, a value v and a query q. The memory M should answer v when asked k. So train it on that, *now*, with one step of gradient descent on
#
# $$\ell(M) = \tfrac12 \lVert M k - v \rVert^2, \qquad \nabla \ell = (Mk - v)\,k^\top.$$
#
# Then read it: $y = M q$. There are two loops of learning. The **outer** one is the training that you know: it learns the projections. The **inner** one runs at test time, inside the forward pass: it learns M, anew for every sequence.
#
# | name | shape | meaning |
# |---|---|---|
# | k, v, q | [b, n, d] | key, value, query of every token |
# | M | [b, d, d] | the memory, one for each sequence |
# | θ, η, α | [b, n] | step, momentum, forgetting: chosen by every token |
# | surprise | [b, n] | length of the token's gradient |

# %% [markdown]
# ### Exercise 1 · Write
#
# **Difficulty** ●●○○○ · **Time** 10 minutes · **Skill** a gradient by hand
#
# Write `delta_write(M, k, v, theta)`: M is [b, d, d], k and v are [b, d], theta is a number. Return the memory after one step, and the surprise [b]: the length (Frobenius norm) of the gradient.


# %% exercise="delta_write" points=2
@lab.exercise("delta_write")
def delta_write(M, k, v, theta):
    ### BEGIN SOLUTION
    error = torch.einsum("boi,bi->bo", M, k) - v
    gradient = torch.einsum("bo,bi->boi", error, k)
    return M - theta * gradient, gradient.flatten(1).norm(dim=-1)
    ### END SOLUTION


# %% check="delta_write" points=2
lab.check("delta_write")
### BEGIN HIDDEN TESTS
_M, _s = delta_write(
    torch.zeros(1, 2, 2),
    torch.tensor([[1.0, 0.0]]),
    torch.tensor([[3.0, 4.0]]),
    1.0,
)
assert _M.tolist() == [[[3.0, 0.0], [4.0, 0.0]]] and _s.item() == 5.0
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# First the error that the memory makes on this pair; the gradient is an outer product of two vectors.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `M @ k[..., None]` is [b, d, 1]. The gradient's rows belong to the output (the error), its columns to the input (the key).
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# e = M k - v; G = e times k transposed; return M - theta G, and the root of the sum of squares of G.
#
# </details>

# %% [markdown] solution
# The gradient is of rank one, so its length is just $|e|\,|k|$. That will make the chunked form cheap.

# %% [markdown]
# **Common mistake.** Adding $v k^\top$ without looking at what is there: the Hebbian rule, which is linear attention. It does not know what it knows.

# %% facts
g = torch.Generator().manual_seed(0)
keys = torch.nn.functional.normalize(torch.randn(3, 1, 8, generator=g), dim=-1)
values = torch.randn(4, 1, 8, generator=g)
M, hebb = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
for key, value in [(0, 0), (1, 1), (2, 2), (0, 3), (0, 3)]:  # key 0 is written anew
    M, surprise = delta_write(M, keys[key], values[value], 1.0)
    hebb = hebb + values[value].mT @ keys[key]
    print(f"key {key} -> value {value}: surprise {surprise.item():.2f}")
for name, memory in (("delta", M), ("Hebbian", hebb)):
    wrong = (keys[0] @ memory[0].T - values[3]).norm() / values[3].norm()
    print(f"{name}: asked for key 0, off by {wrong:.0%}")

# %% [markdown]
# Written a second time, the same pair is no surprise, and nothing changes. The Hebbian sum has added the old value of key 0 and the new one twice.

# %% [markdown]
# ## Watch it being surprised
#
# No training yet: random vectors for tokens, constant gates. The stream repeats a pattern of eight tokens; the memory's task at every token is to say the next. Four odd tokens (marked) interrupt it, and in the middle the same eight tokens go on in another order.
#
# **Before you move the pointer:** where will surprise be large? And how will a memory that forgets 2% at every token differ from one that forgets nothing?

# %%
from latentkit.analysis.associative import Rule, interrupted, recovery, write
from latentkit.widgets import surprise_strip

flow = interrupted(torch.Generator().manual_seed(0))
rules = {
    "matrix": (Rule(), 0.2),
    "matrix, forgets 2% a token": (Rule(alpha=0.02), 0.2),
    "MLP of 64": (Rule(hidden=64), 0.15),
    "MLP, forgets 2% towards zero": (
        Rule(hidden=64, alpha=0.02, initial=False),
        0.15,
    ),
}
felt = {
    name: write(rule, flow.keys, flow.values, theta).surprise[0]
    for name, (rule, theta) in rules.items()
}
letters = [chr(ord("a") + int(t)) for t in flow.tokens]
marks = dict.fromkeys(flow.odd, "An odd token")
marks |= {i - 1: "An odd token comes next" for i in flow.odd}
marks |= {flow.switch: "From here on another order"}
surprise_strip(
    letters,
    felt,
    marks=marks,
    start=flow.odd[0],
    title="Surprise, without any training",
)

# %% facts
for name, s in felt.items():
    calm = s[flow.switch - 64 : flow.switch].mean().item()
    jump = s[flow.switch : flow.switch + 8].mean().item()
    print(
        f"{name:30} calm {calm:.3f}   at the switch {jump:.2f}   "
        f"calm again after {recovery(s, flow.switch)} tokens"
    )

# %% [markdown]
# At an odd token surprise comes twice: one token before it, where the odd one was not foretold, and at it, where nothing is known to follow. Calm again means: below twice the level before the switch, plus 0.05 (a memory whose surprise is zero could otherwise never be back). Forgetting is a trade. The forgetful matrix is over the switch within one period, because it had never quite learned the pattern: half of every token stays a surprise. The last row looks best, and is dead. You will see why.

# %% [markdown]
# ## Momentum and forgetting
#
# Titans adds two terms. Surprise goes on acting for a while (a needle's neighbours matter, too), and what is in the memory fades:
#
# $$S_t = \eta_t S_{t-1} - \theta_t \nabla \ell, \qquad D_t = (1 - \alpha_t) D_{t-1} + S_t, \qquad M_t = W_0 + D_t.$$
#
# $W_0$ are the initial weights, D is what was learned while reading. An optimiser would call these momentum and weight decay.

# %% [markdown]
# ### Exercise 2 · One step of the inner optimiser
#
# **Difficulty** ●○○○○ · **Time** 5 minutes · **Skill** the order of updates
#
# Write `momentum_step(D, S, gradient, theta, eta, alpha)`: three tensors [b, d, d], three numbers. Return the new D and the new S.


# %% exercise="momentum_step" points=1
@lab.exercise("momentum_step")
def momentum_step(D, S, gradient, theta, eta, alpha):
    ### BEGIN SOLUTION
    push = eta * S - theta * gradient
    return D - alpha * D + push, push
    ### END SOLUTION


# %% check="momentum_step" points=1
lab.check("momentum_step")
### BEGIN HIDDEN TESTS
_D, _S = momentum_step(*(torch.tensor(x) for x in (2.0, 1.0, 3.0)), 1.0, 0.5, 0.25)
assert (_D.item(), _S.item()) == (-1.0, -2.5)
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# S first; D uses the new S.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# Alpha is the share that is lost, so 1 - alpha is kept. It acts on the old D only, not on what has just been learned.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# new S = eta S - theta gradient; new D = (1 - alpha) D + new S.
#
# </details>

# %% [markdown] solution
# With eta = alpha = 0 this is the delta rule, and the model is DeltaNet. With eta = 0 it is close to Gated DeltaNet, and exactly that model with the step $(1-\alpha)\beta$ and the value $v/(1-\alpha)$: there the decay comes before the comparison. Titans' matrix memory is that family with momentum.

# %% [markdown]
# **Common mistake.** Forgetting after the step, $(1-\alpha)(D + S)$: the newest token is then already faded when it is read.

# %% [markdown]
# ## A deeper memory
#
# M may be any network. Titans' is an MLP: $M(k) = W_2\,\mathrm{silu}(W_1 k)$. Its gradients are two outer products.

# %% [markdown]
# ### Exercise 3 · Backpropagation in the forward pass
#
# **Difficulty** ●●●○○ · **Time** 12 minutes · **Skill** two layers of chain rule
#
# Write `mlp_gradients(W1, W2, k, v)` for one token: W1 is [h, d], W2 is [d, h], k and v are [d]. Return the gradients of $\tfrac12|W_2\,\mathrm{silu}(W_1k) - v|^2$ with respect to W1 and W2, without autograd. The slope of silu at z, with $s = \sigma(z)$, is $s\,(1 + z(1 - s))$.


# %% exercise="mlp_gradients" points=3
@lab.exercise("mlp_gradients")
def mlp_gradients(W1, W2, k, v):
    ### BEGIN SOLUTION
    z = W1 @ k
    gate = torch.sigmoid(z)
    hidden = gate * z
    miss = W2 @ hidden - v
    back = (miss @ W2) * gate * (1 + z * (1 - gate))
    return back[:, None] * k, miss[:, None] * hidden
    ### END SOLUTION


# %% check="mlp_gradients" points=3
lab.check("mlp_gradients")
### BEGIN HIDDEN TESTS
_one = torch.ones(1, 1)
_g1, _g2 = mlp_gradients(_one, 0 * _one, torch.ones(1), torch.ones(1))
assert _g1.item() == 0 and abs(_g2.item() + 0.7310586) < 1e-6
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Forward first, and keep what you need: z, the hidden layer, the error at the output.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# The gradient of a linear layer is (error at its output) times (its input), an outer product. The error travels back through W2 transposed, then through the slope.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# z = W1 k; a = silu(z); e = W2 a - v; gradient of W2: e times a; delta = (W2 transposed e) times slope; gradient of W1: delta times k.
#
# </details>

# %% [markdown] solution
# Look at the two results together: if W2 is zero, so is the gradient of W1; if W1 is zero, the hidden layer is, and with it the gradient of W2.

# %% [markdown]
# **Common mistake.** Leaving out the slope: the shapes fit, and for large positive z it is nearly 1.

# %% facts
torch.manual_seed(0)
key, value = torch.randn(8), torch.randn(8)
for scale in (1.0, 0.1, 0.01, 0.0):
    W1, W2 = scale * torch.randn(16, 8), scale * torch.randn(8, 16)
    lengths = [x.norm().item() for x in mlp_gradients(W1, W2, key, value)]
    print(
        f"weights of scale {scale:4}: gradients {lengths[0]:.4f}, {lengths[1]:.4f}"
    )

# %% [markdown]
# At zero nothing is surprising any more: a dead point, for any key and any value. The paper lets the memory decay to zero, and an MLP that forgets that way, 1% a token or more, gets there. That was the calm last row above. Latentkit decays towards $W_0$, which is learned.

# %% [markdown]
# ## What fits in
#
# Still without training: pairs written once, in order, then all keys asked. The memory has 32 × 32 numbers throughout (momentum carries as many again), and every rule gets its best step from a grid. Three kinds of keys: independent; **correlated** (they share a direction); **rewritten** (every key gets four values in turn, the last counts).
#
# **Predict** for each kind: does correcting errors beat adding up?

# %%
from latentkit import plots
from latentkit.analysis.associative import associations, best_recall, ceiling

contenders = {
    "delta rule": Rule(),
    "linear attention": Rule(hebbian=True),
    "delta + momentum": Rule(eta=0.8),
    "MLP of the same size": Rule(hidden=16),
}
sizes = {
    "independent": (16, 32, 64),
    "correlated": (8, 16, 32),
    "rewritten": (8, 16, 32),
}
stored = {}
for regime, counts in sizes.items():
    sets = [
        associations(regime, n, torch.Generator().manual_seed(1)) for n in counts
    ]
    stored[regime] = {
        name: [best_recall(rule, data)[0] for data in sets]
        for name, rule in contenders.items()
    }
    stored[regime]["best matrix there is"] = [ceiling(data) for data in sets]
plots.capacity_panels(
    stored, sizes, title="Recall after one pass, memory of 32 × 32 numbers"
)

# %% [markdown]
# For independent keys the plain sum is as good as the delta rule (the two lines lie on one another). Error correction earns its keep on correlated keys and on overwriting. Momentum helps nowhere here, and hurts on rewritten keys. The MLP is the worst on independent keys and among the best on correlated ones. On a few rewritten keys the delta rule does as well as the best matrix there is; on many keys no rule does, for one pass is not a fit.

# %% [markdown]
# ## A chunk at a time
#
# One token after another is slow. Titans (like TTT before it) takes the gradients of a whole chunk of C tokens at the memory's state *at the chunk's start*. Then no gradient waits for another, and the memory after token i is a weighted sum:
#
# $$M_i = M_0 - \sum_{j \le i} \theta_j\, e_j k_j^\top, \qquad e_j = M_0 k_j - v_j.$$
#
# What we read is $M_i q_i$. Put the sum into it, and $M_i$ never has to be built.

# %% [markdown]
# ### Exercise 4 · Read a chunk
#
# **Difficulty** ●●●○○ · **Time** 12 minutes · **Skill** from a sum over outer products to matrix products
#
# Write `delta_chunk(M, k, v, q, theta)`: M is [d, d], k, v and q are [c, d], theta is [c]. Return all answers $M_i q_i$, [c, d], without a loop.


# %% exercise="delta_chunk" points=3
@lab.exercise("delta_chunk")
def delta_chunk(M, k, v, q, theta):
    ### BEGIN SOLUTION
    scores = torch.tril(q @ k.T)  # how much query i looks like key j, for j <= i
    return q @ M.T + (scores * theta) @ (v - k @ M.T)
    ### END SOLUTION


# %% check="delta_chunk" points=3
lab.check("delta_chunk")
### BEGIN HIDDEN TESTS
_x = torch.eye(2)
assert delta_chunk(
    torch.zeros(2, 2), _x, _x, _x, torch.tensor([1.0, 0.5])
).tolist() == [
    [1.0, 0.0],
    [0.0, 0.5],
]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# $(e_j k_j^\top) q_i = (k_j \cdot q_i)\, e_j$: a number times a vector.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# The numbers form a [c, c] matrix; token i may use j up to and including i. Theta belongs to the token that writes.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# A = lower triangle of q times k transposed; weigh its columns with theta; answers = q M transposed, minus A times errors.
#
# </details>

# %% [markdown] solution
# It looks like attention without a softmax, over what the memory got wrong instead of over the values.

# %% [markdown]
# **Common mistake.** `tril(-1)`: reading before the token's own write.

# %% [markdown]
# ### Exercise 5 · Products of gates
#
# **Difficulty** ●●○○○ · **Time** 8 minutes · **Skill** cumulative products on a triangle
#
# With momentum and forgetting a gradient from token j reaches token i through every gate in between. Write `decay_products(factor)`: factor is [c]; entry [i, j] of the [c, c] result is $\prod_{j < l \le i} \text{factor}_l$, 1 on the diagonal, 0 above it.


# %% exercise="decay_products" points=2
@lab.exercise("decay_products")
def decay_products(factor):
    ### BEGIN SOLUTION
    rows = factor[:, None].repeat(1, len(factor))
    later = torch.tril(torch.ones_like(rows), -1)
    return torch.tril(torch.cumprod(later * rows + (1 - later), 0))
    ### END SOLUTION


# %% check="decay_products" points=2
lab.check("decay_products")
### BEGIN HIDDEN TESTS
assert decay_products(torch.tensor([7.0, 2.0, 3.0])).tolist() == [
    [1, 0, 0],
    [2, 1, 0],
    [6, 3, 1],
]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Column j starts with 1 at row j and is multiplied by one more factor at every row below.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# Build a matrix that holds factor_i strictly below the diagonal and 1 elsewhere; then `cumprod` down the rows.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# X[i, j] = factor[i] if i > j else 1; cumulative product over i; set everything above the diagonal to 0.
#
# </details>

# %% [markdown] solution
# Dividing cumulative products, $P_i / P_j$, is shorter and ends in 0 / 0 after some hundred small factors.

# %% [markdown]
# **Common mistake.** Counting the writing token's own factor: a gradient is not forgotten at the moment of its write. (A sum or a quotient of logarithms fails where a factor is 0.)

# %% [markdown]
# ### Exercise 6 · The whole memory
#
# **Difficulty** ●●●●○ · **Time** 18 minutes · **Skill** two linear recurrences as one matrix
#
# S is a sum over gradients, and D is a sum over S. With `decay_products` both are matrices, and the two sums become one product:
#
# $$D_i = b_i D_0 + c_i S_0 - \sum_{j \le i} G_{ij}\, e_j k_j^\top.$$
#
# Write `titans_chunk(D, S, k, v, q, theta, eta, alpha)`: D and S (the $D_0$ and $S_0$ of the chunk) are [d, d], k, v, q [c, d], the gates [c]; W₀ is zero, so $e_j = D_0 k_j - v_j$. Return the answers $D_i q_i$, [c, d].
#
# First write down b, c and G, with `decay_products(1 - alpha)` and `decay_products(eta)`. What was there before the chunk passes *every* gate, the first token's too: b and c also need a plain cumulative product.


# %% exercise="titans_chunk" points=4
@lab.exercise("titans_chunk")
def titans_chunk(D, S, k, v, q, theta, eta, alpha):
    ### BEGIN SOLUTION
    fade, push = decay_products(1 - alpha), decay_products(eta)
    G = fade @ (push * theta)
    of_D = torch.cumprod(1 - alpha, 0)
    of_S = fade @ torch.cumprod(eta, 0)
    read = of_D[:, None] * (q @ D.T) + of_S[:, None] * (q @ S.T)
    return read - (G * (q @ k.T)) @ (k @ D.T - v)
    ### END SOLUTION


# %% check="titans_chunk" points=4
lab.check("titans_chunk")
### BEGIN HIDDEN TESTS
_z, _o = torch.zeros(1, 1), torch.ones(2, 1)
_got = titans_chunk(
    _z, _z, _o, _o, _o, torch.ones(2), torch.full((2,), 0.5), _o[:, 0] / 4
)
assert _got.flatten().tolist() == [1.0, 2.25]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Unroll S first: $S_i = (\eta_1 \cdots \eta_i) S_0 - \sum_{j \le i} (\eta_{j+1} \cdots \eta_i)\, \theta_j\, e_j k_j^\top$. The same formula, with other factors, turns S into D.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# Let E = `decay_products(eta)`, K = `decay_products(1 - alpha)`. The gradients' weights in S are E with its columns times theta; in D they are K times that.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# G = K @ (E * theta); b = cumprod(1 - alpha); c = K @ cumprod(eta); answers as in exercise 4, with b, c and G (G is lower-triangular already).
#
# </details>

# %% [markdown] solution
# No weights of single tokens are ever stored. For an MLP the same G serves both layers, one after the other.

# %% [markdown]
# **Common mistake.** Weighing the rows with theta instead of the columns: the step belongs to the token that wrote.

# %% [markdown]
# **Parity.** Your chunk against latentkit's memory, with random gates, in float64:

# %% facts
from latentkit.models.fast_weights import Fast, Gates, run_memory

torch.manual_seed(0)
D, S = torch.randn(2, 8, 8, dtype=torch.float64)
k, v, q = torch.randn(3, 16, 8, dtype=torch.float64)
theta, eta, alpha = torch.rand(3, 16, dtype=torch.float64)
theirs, _, _ = run_memory(
    Fast((D[None],), (S[None],)),
    *(x[None] for x in (k, v, q)),
    Gates(*(x[None] for x in (theta, eta, alpha))),
    chunk=16,
)
mine = titans_chunk(D, S, k, v, q, theta, eta, alpha)
same = (mine - theirs[0]).abs().max() < 1e-6 * theirs.abs().max()
print("equal to one part in a million:", bool(same))

# %% [markdown]
# ## Train one live
#
# The outer loop, short: sequences of up to 48 tokens. A matrix memory, and beside it linear attention with a matrix of the same size, the same projections and the same batches. Two things are other: it adds up instead of correcting, and it has no gates. Its step is always 1; the matrix memory learns its steps, and carries a second matrix of momentum.

# %%
from dataclasses import replace

from latentkit.claims.test_time_memory import MEMORIES
from latentkit.layers import count_parameters
from latentkit.models import TitansConfig, build
from latentkit.training import Curriculum, FitConfig, PlainLoss, fit

lengths = Curriculum(needles, batch=32, low=16, high=48, ramp=200)
recipe = FitConfig(steps=300, learning_rate=5e-3, seed=lab.seed)
shape = TitansConfig(needles.vocab_size, needles.num_classes)

torch.manual_seed(lab.seed)
live = build(replace(shape, memory=MEMORIES["matrix"]))
live_run = fit(live, lengths, PlainLoss(), recipe)

# %%
torch.manual_seed(lab.seed)
linear = build(replace(shape, memory=MEMORIES["linear-attention"]))
linear_run = fit(linear, lengths, PlainLoss(), recipe)
print(f"{count_parameters(live):,} and {count_parameters(linear):,} parameters")

# %%
plots.loss_curves(
    {"matrix memory": live_run.losses, "linear attention": linear_run.losses},
    title="Four needles in up to 48 tokens",
)

# %%
from latentkit.claims.test_time_memory import recall_at

for name, model in (("matrix memory", live), ("linear attention", linear)):
    found = {n: recall_at(model, n, questions=256) for n in (48, 256, 1024)}
    print(f"{name:17}", found)

# %% [markdown]
# Three hundred steps are few, and one seed is one seed. The ledger has the full runs.

# %% [markdown]
# ## How far it carries
#
# Trained on up to 128 tokens, three seeds, all with a memory of 32 × 32 numbers. Titans' momentum carries a second matrix of that size, so its state is twice that of the others. Our linear attention is the plain sum: no gate, no feature map, no normaliser. DeltaNet, gated delta and the second curve take their gradients at every token, the others at the start of chunks of 16. The bar was set before the run: at 1,024 tokens the matrix memory recalls at least 95% on every seed, linear attention less than 70%. Linear attention had two learning rates and shows the better at 128 tokens (the other, 0.002, is undertrained after 700 steps); everything else had 0.005 only.

#
# | rule | what a token does to M | gates | its state |
# |---|---|---|---|
# | linear attention | adds $v k^\top$ | none | 1 matrix |
# | DeltaNet | corrects the error, $-\theta (Mk - v) k^\top$ | θ | 1 matrix |
# | gated delta | and forgets | θ, α | 1 matrix |
# | Titans | and has momentum | θ, η, α | 2 matrices, or 2 MLPs |

# %%
from latentkit.claims import ledger

recall = ledger.load("needles-recall")
LENGTHS = (64, 128, 256, 1024, 4096, 16384)
labels = {  # of linear attention the run that the verdict uses
    "matrix": "Titans, matrix",
    "matrix-token": "the same, every token",
    "mlp": "Titans, MLP",
    "delta": "DeltaNet",
    "gated-delta": "gated delta",
    max(
        ("linear-attention", "linear-attention-0.002"),
        key=lambda arm: recall.mean(f"{arm}/recall@128"),
    ): "linear attention",
}


def curves(record, names):
    return {
        label: [
            [record.values(f"{arm}/recall@{n}")[seed] for n in LENGTHS]
            for seed in range(record.seeds)
        ]
        for arm, label in names.items()
    }


plots.length_curves(
    curves(recall, labels),
    LENGTHS,
    trained_to=128,
    chance=1 / 16,
    title="Needles recalled, by the length of the sequence",
)

# %% facts
for arm, label in labels.items():
    at = [recall.spread(f"{arm}/recall@{n}") for n in (1024, 4096, 16384)]
    print(f"{label:22}", "   ".join(f"{text:20}" for text in at))
print("verdict:", recall.verdict)

# %% [markdown]
# Of the bar one half is met, the other missed: the matrix has its 95% on every seed, but linear attention is not below 70%. Read the rest with care (columns: 1,024, 4,096 and 16,384 tokens; bands are the range of the seeds). The MLP, the deeper memory, falls first of those that correct errors. At 16,384 a seed was asked only 64 questions. The plain sum of linear attention holds out longer than we had expected; the rules part in earnest at 4,096.
#
# **Is Titans better than plain DeltaNet?** Not its matrix memory as trained in chunks: at 1,024 tokens it recalls {{ claim needles-recall matrix/recall@1024 }}, DeltaNet {{ claim needles-recall delta/recall@1024 }}; at 4,096 {{ claim needles-recall matrix/recall@4096 }} against {{ claim needles-recall delta/recall@4096 }}. DeltaNet does it with half the state. What carries here is the error correction that both have. The like-for-like pair takes its gradients at every token, and differs in momentum and forgetting only: at 4,096 {{ claim needles-recall matrix-token/recall@4096 }} against DeltaNet's {{ claim needles-recall delta/recall@4096 }}, at 16,384 {{ claim needles-recall matrix-token/recall@16384 }} against {{ claim needles-recall delta/recall@16384 }}. A lead in the mean, with twice the state, over three seeds and one learning rate. (Gated delta's band is wide because one of its three seeds had not finished learning.)
#
# What the trained gates do explains much of it (values include the answers among the questions):

# %% facts
for gate in ("theta", "eta", "alpha"):
    kinds = {
        kind: recall.mean(f"matrix/{gate}_{kind}") for kind in ("value", "filler")
    }
    print(
        f"{gate:5} at values {kinds['value']:.5f}, at filler {kinds['filler']:.5f}"
    )

# %% [markdown]
# Two things. Forgetting is nearly switched off: on this task nothing becomes out of date. And filler *is* written, with a step of the same order as a value's. So what ends recall at 16,384 tokens is interference more than forgetting: over that many tokens about half of what was written is kept. (Over a million nothing is: see below.) The model had no reason to learn better: in 128 tokens it does no harm.
#
# The trained memory on a short sequence, with its gates. **Before you look:** which tokens surprise it?

# %%
short = needles.sample(
    batch=1, length=96, generator=torch.Generator().manual_seed(11)
)
with torch.no_grad():
    seen = matrix.read(short.tokens)
gates = seen.memories[0].gates
places = (short.tokens[0] < 32).nonzero().flatten().tolist()
surprise_strip(
    [needles.token_names[t] for t in short.tokens[0]],
    {"matrix": seen.surprise[0, :, 0]},
    gates={
        "step θ": gates.theta[0],
        "momentum η": gates.eta[0],
        "forget α": gates.alpha[0],
    },
    marks=dict.fromkeys(places, "Needle or question"),
    title="A trained memory reads four needles",
)

# %% [markdown]
# The value tokens stand out more than the keys, and so do the tokens right behind them: the convolution of width 4 in front of the memory has brought key and value together at one place. At the end every pair comes by again, and surprises again, most of them *more* than at first. That a step of θ / (1 − η) writes only a part of a pair cannot explain this: half-known should be half as surprising. What stands in the way by then, other pairs or filler, we have not measured. The answer is right all the same: it has to be nearer to its value than to fifteen others, and no more.

# %% [markdown]
# ## Where the memory goes
#
# The state is a point in a space of a thousand dimensions and more. Twenty sequences of 2,048 tokens, their memories after every 128 tokens, in two dimensions. A cross marks the end where at least one needle was lost. (The two directions drawn explain less than half of the variance: see the axes.) **Predict:** does a path come to rest towards the end?

# %%
from latentkit.recurrence import stream
from latentkit.widgets import latent_path, pca_paths

many = needles.sample(
    batch=20, length=2048, generator=torch.Generator().manual_seed(5)
)
run = stream(matrix, many.tokens.split(128, 1))
said = torch.cat(list(run.logits), 1).argmax(-1)
asked = many.targets >= 0
all_right = ((said == many.targets) | ~asked).all(1)
latent_path(
    pca_paths(run, read=lambda state: state[1].flatten(1)),
    right=all_right,
    labels=[f"sequence {i}" for i in range(20)],
    title="The memory while it reads",
)

# %% [markdown]
# No path rests. What they have in common is the drift: filler moves every memory, a little and for ever, and much the same way.

# %% [markdown]
# ## Memory beside attention
#
# Titans proposes three ways of putting the memory beside a short window of attention: as **context** (MAC: what the memory says is attended to), as **gate** (MAG: multiplied with attention's output) and as **layer** (MAL: one after the other). Against attention alone with the same window of 16 tokens and as many parameters:

# %%
hybrids = ledger.load("titans-hybrids-needles")
plots.length_curves(
    curves(
        hybrids,
        {
            "MAC": "MAC",
            "MAG": "MAG",
            "MAL": "MAL",
            "attention": "attention alone",
        },
    ),
    LENGTHS,
    trained_to=128,
    chance=1 / 16,
    title="Memory beside a window of 16 tokens",
)

# %% facts
for arm in ("MAC", "MAG", "MAL", "attention"):
    at = {n: hybrids.spread(f"{arm}/recall@{n}") for n in (128, 256, 1024)}
    print(f"{arm:10}", "  ".join(f"{n}: {text}" for n, text in at.items()))
print("verdict:", hybrids.verdict)

# %% [markdown]
# Attention alone answers what lies in its window and guesses the rest: it cannot do otherwise, and beating it is no feat. The comparison shows that the memory works inside each of the three designs. It does not show that a hybrid is better than a memory alone: at 256 tokens the matrix alone recalls {{ claim needles-recall matrix/recall@256 }}. Our bar (at 256 tokens, at least 95% on every seed, and 50 points above attention, for each of the three) was missed by a seed that learned more slowly than its siblings. Three seeds and 700 steps do not rank the three designs. A warning about MAC: in the paper's equations every token of a segment may see what the memory said to the *later* tokens of that segment. That is a leak; latentkit's MAC is causal, and tested for it.

# %% [markdown]
# ## Break it: the chunk size
#
# Gradients at the chunk's start were an approximation of the definition. Is the chunk size a matter of speed, then? **Predict:** the same weights, run with chunks of 64 instead of 16. And with chunks of 1?

# %% facts
import warnings

config = matrix.config
other = build(replace(config, memory=replace(config.memory, chunk=64)))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    other.load_state_dict(matrix.state_dict())
print("latentkit says:", caught[0].message)
for n in (128, 256):
    print(
        f"recall at {n} tokens: chunk 16 {recall_at(matrix, n):.3f}, "
        f"chunk 64 {recall_at(other, n):.3f}"
    )
print("verdict:", ledger.load("chunk-size-is-part").verdict)

# %%
sizes_of_chunks = (1, 4, 8, 16, 32, 64)
chunked = ledger.load("chunk-size-is-part")
plots.length_curves(
    {
        label: [
            [chunked.values(f"{arm}/recall@chunk{c}")[s] for c in sizes_of_chunks]
            for s in range(chunked.seeds)
        ]
        for arm, label in {
            "matrix": "matrix, chunk's start",
            "mlp": "MLP, chunk's start",
            "matrix-token": "matrix, every token",
        }.items()
    },
    sizes_of_chunks,
    chance=1 / 16,
    xlabel="chunk at test time (tokens); trained with 16",
    title="The same weights, other chunks, 128 tokens",
)

# %% [markdown]
# The chunk size is part of the model, in one direction. Smaller chunks take the gradients nearer to where the definition has them, and nothing is lost. Larger ones add up steps that were learned for 16 tokens, and overshoot. Our bar was that both memories fall below half at 64, on 128 tokens. Neither does: the matrix loses some, the MLP hardly notices. So the claim, as written down before the run, is **{{ claim chunk-size-is-part verdict }}**. But 128 tokens are two such chunks. Look at 256, above: there the matrix (this seed) is at chance. Each chunk overshoots the one before, and the memory diverges. How soon depends on how large the learned steps are, so measure it on your own model, and at the length you need.
#
# The third curve is the control: a matrix whose gradients are taken at every token can still run in chunks (the errors then follow from a small triangular system, DeltaNet's trick), and for it the chunk size *is* a matter of speed. That is algebra, so it counts as a check of the measurement and not towards the verdict. An MLP has no such form.

# %% [markdown]
# ## A million tokens
#
# Titans' abstract promises more than two million tokens. The paper's tables end at 16 thousand. What can be shown here: space and recall, in a process of its own.

# %% facts
million = ledger.load("million-tokens")
for metric, text in {
    "resident_mb@64k": "resident memory after 64k tokens, MB ",
    "resident_mb@1M": "resident memory after 1M tokens, MB  ",
    "growth_percent": "growth, %                            ",
    "recall_from_1024_before": "recall from 1,024 to 2,048 tokens ago",
    "recall_from_start": "recall of needles from the start     ",
}.items():
    print(text, million.values(f"matrix/{metric}"))
print("a fresh memory, 1,024 tokens in all: ", recall.values("matrix/recall@1024"))
print("a fresh memory, 4,096 tokens in all: ", recall.values("matrix/recall@4096"))
print(
    "guessing:                             0.0625; from the start: 32 questions a seed"
)
for tokens in (2**14, 2**20):
    kept = [(1 - alpha) ** tokens for alpha in recall.values("matrix/alpha_filler")]
    print(
        f"share left after {tokens:,} tokens of forgetting:",
        [f"{x:.1g}" for x in kept],
    )
print("verdict:", million.verdict)

# %% [markdown]
# Constant space is easy: there is a state, and it does not grow. Recall is another matter. What came in at the start is gone, and here forgetting alone would do it: tiny as α is, over a million tokens nothing is left (the last two lines). What came in one or two thousand tokens ago was not forgotten, and yet is recalled less often than by a fresh memory that has read 4,096 tokens in all: the matrix is full of filler. A context length in an abstract speaks of the first thing until recall at that length is shown.

# %% [markdown]
# ## What the papers leave open
#
# | The paper leaves open | We chose | Effect measured |
# |---|---|---|
# | read before or after the write | after | not measured |
# | decay towards zero or towards $W_0$ | $W_0$ | large for an MLP that forgets 1% a token or more: above, the dead point |
# | range of the gates at the start | θ ≈ 0.05, η < 0.9 | not measured |
# | order of convolution, SiLU, norm | convolution, norm; no SiLU | not measured |
# | chunk size in training and test | the same, 16 | larger ones lose, and diverge on longer sequences; smaller ones do not: above |
# | MAC: who sees which part of a segment's recall | causal | the other way leaks |
# | Gated DeltaNet as a special case | v compared with $M_{t-1}k$, not with $(1-\alpha)M_{t-1}k$ | not measured |
# | linear attention as a baseline | the plain sum: no gate, feature map or normaliser | not measured |
# | where MAC's recall starts its convolution | from zeros at each segment | not measured |
#
# | Claim | Verdict |
# |---|---|
# | {{ claim needles-recall statement }} | **{{ claim needles-recall verdict }}** |
# | {{ claim titans-hybrids-needles statement }} | **{{ claim titans-hybrids-needles verdict }}** |
# | {{ claim chunk-size-is-part statement }} | **{{ claim chunk-size-is-part verdict }}** |
# | {{ claim million-tokens statement }} | **{{ claim million-tokens verdict }}** |
#
# An independent reimplementation ([Di Nepi et al., 2025](https://arxiv.org/abs/2510.09551)) found that full Titans does not always beat its baselines, because of chunking, and that the memory helps over attention alone. Nothing here contradicts it.

# %% [markdown]
# ## Self-quiz
#
# {{ quiz }}

# %% [markdown]
# ## Stretch
#
# - Train a second stage on 512 tokens: `Curriculum(needles, 32, 16, 512)` for 100 steps from the shipped weights. Does θ at filler fall? Does recall at 16,384 rise?
# - Needles whose keys are written twice, with two values: which rules recall the second?
# - `replace(MEMORIES["matrix"], chunk=4)`, trained: what do smaller chunks buy, and cost?
#
# ## Reading
#
# - Behrouz, Zhong, Mirrokni, [Titans](https://arxiv.org/abs/2501.00663), 2025: momentum, forgetting, three hybrids.
# - Schlag, Irie, Schmidhuber, [Linear transformers are secretly fast weight programmers](https://arxiv.org/abs/2102.11174), 2021: the delta rule as a layer.
# - Yang et al., [Parallelizing linear transformers with the delta rule](https://arxiv.org/abs/2406.06484), 2024: the triangular system.
# - Yang, Kautz, Hatamizadeh, [Gated delta networks](https://arxiv.org/abs/2412.06464), 2025: forgetting, added.
# - Sun et al., [Learning to (learn at test time)](https://arxiv.org/abs/2407.04620), 2024: the state as the weights of a network.
#
# ## Next
#
# The recurrences so far think in depth, or remember in time. [Lab 09](09_predict_latents.ipynb) asks what a latent is good for in *learning*: a network that predicts its own latents, not tokens.
