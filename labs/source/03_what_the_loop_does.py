# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Lab 03 · What the loop does
#
# {{ badge }}
#
# **Claim.** Many looped blocks come to rest. Whether that rest can be trusted is told, in the loops of this course, by one test that never looks at an answer: start it somewhere else, and see whether it ends at the same point.
#
# | | |
# |---|---|
# | You need | [lab 02](02_loop_it.ipynb); derivatives as matrices |
# | Your time | 110 minutes |
# | Computer time | {{ cpu_seconds }} CPU seconds |
#
# By the end you can
#
# - find the fixed points of a loop, and test whether they depend on the start;
# - measure how a small push grows or dies, without the mistake that makes stable loops look unstable;
# - look into a pass: layers that settle apart, stages that repeat;
# - let each position stop by itself, and say what that saves, against the right reference.

# %% [markdown]
# ## Cold open: too much thinking
#
# Lab 02's pointer loop was trained with 3 to 8 passes. These are its answers after 8; a crossed node names the wrong root.
#
# **Predict** before you move the slider below: will 128 passes be better, the same, or worse? And will the state still be moving?

# %%
import torch

from latentkit import paths
from latentkit.recurrence import unroll
from latentkit.tasks import PointerChasing, WordProblem
from latentkit.training import load_weights

words, pointers = WordProblem("S3"), PointerChasing(nodes=16, chains=2)
loop = load_weights(paths.find("checkpoints/s3-loop.safetensors"))
follower = load_weights(paths.find("checkpoints/pointers-loop.safetensors"))
chains = pointers.sample(128, 16, torch.Generator().manual_seed(5))
long_run = unroll(follower, chains.tokens, passes=128)
fallen = (long_run.predictions[-1] != chains.targets).sum(1).argmax().item()
pointers.show(chains, long_run.logits[7], example=fallen)

# %%
from latentkit.widgets import latent_path, pca_paths, scrub

one_chain = chains.tokens[fallen : fallen + 1]
scrub(
    unroll(follower, one_chain, passes=128, keep=4),
    targets=chains.targets[fallen : fallen + 1],
    token_names=pointers.token_names,
    class_names=pointers.class_names,
    title="The same nodes, run on",
    start=8,
)

# %% facts
for t in (8, 32, 128):
    share = (long_run.predictions[t - 1] == chains.targets).float().mean().item()
    moved = long_run.residuals[t - 1].median().item()
    print(f"{t:3} passes: {share:.1%} right, median residual {moved:.0e}")

# %% [markdown]
# (The example falls most; the shares are over 128.) The loop is at rest, some answers are wrong, and a halting rule would be content. Does anything inside tell that *this* rest is not to be trusted?

# %% [markdown]
# ## The idea by hand
#
# A **fixed point** of f is a state with $f(h^*) = h^*$. Two maps of one number:


# %% facts
def run_map(f, h, passes=40):
    for _ in range(passes):
        h = f(h)
    return h


for start in (-2.0, -0.1, 0.1, 2.0):
    halve = run_map(lambda h: h / 2 + 1, start)
    squash = run_map(lambda h: torch.tanh(torch.tensor(2 * h)).item(), start)
    print(
        f"start {start:4}: h/2 + 1 ends at {halve:.3f}, tanh(2h) ends at {squash:6.3f}"
    )

# %% [markdown]
# Both come to rest. The first has one fixed point, and forgets its start. The second has two that attract, and the *start* decides: what it says at rest is a memory of where it began.
#
# For a loop, f is one pass, with the input inside:
#
# | name | shape | meaning |
# |---|---|---|
# | h | [b, n, d] | the state: one vector at each position |
# | f(h) | [b, n, d] | one pass |
# | residual | [b, n] | $\lVert f(h) - h \rVert / \lVert f(h) \rVert$ at each position |

# %% [markdown]
# ### Exercise 1 · Run until it rests
#
# **Difficulty** ●○○○○ · **Time** 6 minutes · **Skill** a stopping condition
#
# Write `rest(step, h, tolerance, most)` for h [b, n, d]: apply `step` until *every* position has moved by less than `tolerance` of its new length in the last pass, or `most` passes are spent. Return the last state, and the number of passes, an int.


# %% exercise="rest" points=1
@lab.exercise("rest")
def rest(step, h, tolerance, most):
    ### BEGIN SOLUTION
    for passes in range(1, most + 1):
        before, h = h, step(h)
        moved = (h - before).norm(dim=-1) / h.norm(dim=-1)
        if moved.max() < tolerance:
            return h, passes
    return h, most
    ### END SOLUTION


# %% check="rest" points=1
lab.check("rest")
### BEGIN HIDDEN TESTS
assert rest(lambda h: h / 2, torch.ones(1, 1, 2), 0.1, 5)[1] == 5
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Keep the old state, make the new one, compare.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# Lengths are norms over the last axis. All positions are below the tolerance exactly if the largest is.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# for passes = 1 to most: before = h; h = step(h); if the largest of |h - before| / |h| is below tolerance, return h and passes. At the end, return h and most.
#
# </details>

# %% [markdown] solution
# The state returned is the one after the last pass: it is the closest to rest that was computed.

# %% [markdown]
# **Common mistake.** Averaging the residuals. A hundred positions at rest hide one that has just begun to move.

# %% [markdown]
# Now a trained loop. `frozen_input` hides the input inside the pass, so that f takes the state alone:


# %% facts
def frozen_input(model, tokens):
    with torch.no_grad():
        context = model.encode(tokens)
    return torch.no_grad()(lambda h: model.step(h, context))


test = words.sample(128, 12, torch.Generator().manual_seed(2024))
step = frozen_input(loop, test.tokens)
for tolerance in (1e-1, 1e-2, 1e-3, 1e-4):
    h, passes = rest(step, torch.zeros(128, 13, 64), tolerance, 200)
    right = (loop.decode(h).argmax(-1) == test.targets).float().mean().item()
    print(
        f"every letter moves by less than {tolerance:g} after {passes} passes: {right:.1%} right"
    )

# %%
from latentkit import plots

run = unroll(loop, test.tokens, passes=64)
plots.pass_curves(
    {f"letter {n}": run.residuals[..., n].T.tolist()[:64] for n in (1, 4, 8, 12)},
    ylabel="residual",
    log=True,
    lines={"float32": 1.2e-7},
    title="The word loop comes to rest, letter by letter",
)

# %% [markdown]
# Letter after letter falls, by a steady factor a pass, until float32 has no more digits. In the ledger, after 128 passes: median residual {{ claim path-independence loop/residual_median }}.

# %% [markdown]
# ## Does the start matter?
#
# ### Exercise 2 · Start elsewhere
#
# **Difficulty** ●●○○○ · **Time** 8 minutes · **Skill** designing a control
#
# Write `end_distance(step, starts, passes)`: starts is [s, b, n, d], s states to start from. Run each for `passes`. Return [s, b, n]: how far each ends from where the *first* ends, as a share of the length of the first one's end.


# %% exercise="end_distance" points=2
@lab.exercise("end_distance")
def end_distance(step, starts, passes):
    ### BEGIN SOLUTION
    ends = []
    for h in starts:
        for _pass in range(passes):
            h = step(h)
        ends.append(h)
    reference = ends[0]
    distances = torch.stack(
        [(end - reference).norm(dim=-1) / reference.norm(dim=-1) for end in ends]
    )
    return distances
    ### END SOLUTION


# %% check="end_distance" points=2
lab.check("end_distance")
### BEGIN HIDDEN TESTS
assert end_distance(
    lambda h: h, torch.tensor([[[[3.0, 4.0]]], [[[3.0, 9.0]]]]), 2
).flatten().tolist() == [0.0, 1.0]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# First collect all the ends. Only then compare.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `for h in starts` gives one [b, n, d] after the other. Norms run over d, and the divisor is always the first end's.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# ends = each start after `passes` steps; return the stack of |end - ends[0]| / |ends[0]|.
#
# </details>

# %% [markdown] solution
# The first row is zero by construction. It costs nothing, and tells you at once whether the reference is the right one.

# %% [markdown]
# **Common mistake.** Going on from the last end instead of the next start: then every loop looks independent of its start.

# %% [markdown]
# **Predict:** both loops get their own start, h = 0, and a random one. Where do they end?


# %% facts
def two_starts(model, tokens):
    like = model.initial_state(model.encode(tokens))
    noise = torch.randn(like.shape, generator=torch.Generator().manual_seed(1))
    return torch.stack([like, noise])


for name, model, batch in (
    ("words", loop, test),
    ("pointers", follower, chains),
):
    tokens, targets = batch.tokens[:32], batch.targets[:32]
    starts = two_starts(model, tokens)
    apart = end_distance(frozen_input(model, tokens), starts, 128)[1]
    other = unroll(model, tokens, 128, keep="last", state=starts[1])
    right = (other.predictions[-1] == targets).float().mean().item()
    print(
        f"{name:8}: same point (to 1%) at {(apart < 0.01).float().mean():.0%} of the positions; "
        f"from the random start {right:.0%} right"
    )

# %% [markdown]
# That is the sign. The word loop rests where the input alone sends it (*path independence*, Anil et al. 2022). The pointer loop has many resting points, and from a random start it is little better than a coin between the two roots. Its answer is made on the way from zero, and lasts for a while.

# %% [markdown]
# **Before you run this:** each path is the *same* node from another random start. What will the pictures of the two loops look like?


# %%
def from_many_starts(model, batch, example, position, starts=24, passes=48):
    tokens = batch.tokens[example].repeat(starts, 1)
    noise = torch.randn(
        starts, tokens.shape[1], 64, generator=torch.Generator().manual_seed(3)
    )
    run = unroll(model, tokens, passes, state=noise)
    right = run.predictions[-1, :, position] == batch.targets[example, position]
    return pca_paths(run, read=lambda h: h[:, position]), right


deep = chains.depth[fallen].argmax().item()
picture, right = from_many_starts(follower, chains, fallen, deep)
latent_path(picture, right=right, title="Pointers: one node, 24 starts")

# %%
picture, right = from_many_starts(loop, test, 0, 12)
latent_path(picture, right=right, title="Words: one letter, 24 starts")

# %% [markdown]
# ## Where does it rest?
#
# ### Exercise 3 · The principal plane
#
# **Difficulty** ●●○○○ · **Time** 8 minutes · **Skill** singular value decomposition
#
# Write `principal_plane(points)`: points [m, d] to their coordinates [m, 2] along the two directions in which they vary most, about their mean. Signs are free.


# %% exercise="principal_plane" points=2
@lab.exercise("principal_plane")
def principal_plane(points):
    ### BEGIN SOLUTION
    centred = points - points.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    return centred @ axes[:2].T
    ### END SOLUTION


# %% check="principal_plane" points=2
lab.check("principal_plane")
### BEGIN HIDDEN TESTS
line = torch.tensor([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
assert torch.allclose(
    principal_plane(line)[:, 0].abs(), torch.tensor([2.0, 0.0, 2.0]), atol=1e-5
)
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Subtract the mean point. The directions are those of the singular value decomposition of what is left.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `torch.linalg.svd(x, full_matrices=False)` returns U, S and V transposed; the *rows* of the third are directions, the largest first.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# x = points - mean; take the first two rows of V transposed; return x times their transpose.
#
# </details>

# %% [markdown] solution
# Projecting x on V gives U S: the same coordinates, without a second product.

# %% [markdown]
# **Common mistake.** Not subtracting the mean: the first direction then points from the origin to the cloud, and shows nothing of its shape.

# %%
letters = run.states[-1][:, 1:].flatten(0, 1)  # every letter of every word, at rest
way = torch.stack(run.states)[:16, 0, 12]  # letter 12 of the first word
drawn = principal_plane(torch.cat([letters, way]))
plots.state_plane(
    drawn[: len(letters)],
    test.targets[:, 1:].flatten(),
    words.class_names,
    path=drawn[len(letters) :],
    title="Where letters rest, by the product they stand for",
)

# %% [markdown]
# Six products, six clouds; two overlap in this plane, which holds about half of the variance. Letters of one product rest close together, whatever the word. The dark path, letter 12 of one word, hops about while the letters before it are unsettled.

# %% [markdown]
# ## Can it be trained?
#
# If rest depends on the start, train *from random starts*: then the answer must be reached from anywhere. Two live loops on ten pointers, the same but for the start. **Predict** what each does after 128 passes.

# %%
from dataclasses import replace

from latentkit.claims.fixed_points import POINTERS, RandomStart, pointer_arm
from latentkit.models import build
from latentkit.training import FinalLoss, UniformPasses, fit


def train(supervision):
    arm = pointer_arm("cpu", "live", supervision)
    torch.manual_seed(lab.seed)
    model = build(arm.config)
    batches = replace(
        arm.batches, batch=32
    )  # a smaller and shorter run than the ledger's
    fit(model, batches, supervision, replace(arm.fit, steps=350))
    return model


from_zero = train(FinalLoss(UniformPasses(2, 6)))

# %%
from_anywhere = train(RandomStart(UniformPasses(2, 6)))

# %%
small = POINTERS.sample(128, 10, torch.Generator().manual_seed(11))
live = {}
for name, model in (("from zero", from_zero), ("from anywhere", from_anywhere)):
    predictions = unroll(model, small.tokens, 128).predictions
    live[f"trained {name}"] = [
        (predictions == small.targets).float().mean((1, 2)).tolist()
    ]
plots.pass_curves(
    live,
    ylabel="accuracy",
    title="Trained with 2 to 6 passes, run for 128",
)

# %% [markdown]
# Three seeds of each, from the ledger (*growth* comes next):

# %% facts
from latentkit.claims import ledger

rested = ledger.load("path-independence")
for arm in ("loop", "two-layer", "pointers", "pointers-random-start"):
    print(arm)
    for metric in ("best_accuracy", "rest_accuracy", "same_answers", "growth"):
        print(f"    {metric:14}", rested.values(f"{arm}/{metric}"))
print("path-independence:", rested.verdict)
print("random-start-pointers:", ledger.load("random-start-pointers").verdict)

# %% [markdown]
# At rest, {{ claim path-independence pointers/rest_accuracy }} of the answers are right after training from zero, and {{ claim path-independence pointers-random-start/rest_accuracy }} from anywhere, for the same steps. On all twelve models both marks agree: the same answers from another start, and answers that last. (The word loops needed no cure. In their training early letters run longer than they need; that may be why.)
#
# A caution: a single resting point can still be a wrong one.

# %% [markdown]
# ## How firmly does it rest?
#
# Push the resting state a little. One pass turns a small push v into J v, where J, (n d) × (n d), is the derivative of f at $h^*$. If its largest eigenvalue is below 1 in size, every push dies in the end. **Power iteration** finds that size without writing J down: apply, measure, shrink back, again.
#
# ### Exercise 4 · Power iteration
#
# **Difficulty** ●●●○○ · **Time** 10 minutes · **Skill** normalising per example
#
# Write `power_iteration(apply, push, iterations)`. `apply` turns a push [b, n, d] into J v [b, n, d]. Before each application, shrink every example's push (over n and d together) to length 1. Return the lengths after each [iterations, b].


# %% exercise="power_iteration" points=3
@lab.exercise("power_iteration")
def power_iteration(apply, push, iterations):
    factors = []
    ### BEGIN SOLUTION
    for _ in range(iterations):
        push = apply(push / push.flatten(1).norm(dim=1)[:, None, None])
        factors.append(push.flatten(1).norm(dim=1))
    ### END SOLUTION
    return torch.stack(factors)


# %% check="power_iteration" points=3
lab.check("power_iteration")
### BEGIN HIDDEN TESTS
assert torch.allclose(
    power_iteration(lambda v: 3 * v, torch.ones(2, 3, 4), 2),
    torch.full((2, 2), 3.0),
)
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Each example has its own J, so it needs its own length: b numbers, not one.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `push.flatten(1).norm(dim=1)` is [b]. Give it two more axes before dividing.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# repeat: push = push / its length; push = apply(push); note its length.
#
# </details>

# %% [markdown] solution
# The lengths are growth factors because the push was of length 1 before each application.

# %% [markdown]
# **Common mistake.** Normalising each position by itself. That hides the one thing that matters here: how a push travels from early letters to late ones.

# %% [markdown]
# First a toy: 13 positions, one number each. A pass keeps half of each and adds 0.7 of the one before. J is triangular, its eigenvalues stand on the diagonal: all are 0.5. **Predict** the first 12 factors, and the last of 2,000. Then the word loop, whose J, for one word, can be written down.

# %% facts
chain = 0.5 * torch.eye(13) + 0.7 * torch.diag(torch.ones(12), -1)
toy = power_iteration(
    lambda v: (chain @ v.flatten()).view_as(v), torch.ones(1, 13, 1), 2000
).flatten()
print(
    f"toy: mean of the first 12 factors {toy[:12].mean():.2f}, last {toy[-1]:.2f}"
)

from latentkit.analysis import jacobian

one = test.tokens[:1]
resting = unroll(loop, one, 128, keep="last").states[-1]
J = jacobian(loop, one, resting)
push = torch.randn(
    1, 13, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
)
factors = power_iteration(
    lambda v: (J @ v.flatten()).view_as(v), push, 80
).flatten()
print(f"loop: largest eigenvalue    {torch.linalg.eigvals(J).abs().max():.2f}")
print(f"      your factors, last 40 {factors[40:].log().mean().exp():.2f}")
print(f"      your factors, first 8 {factors[:8].log().mean().exp():.2f}")
print(f"      worst single pass     {torch.linalg.matrix_norm(J, 2):.2f}")

# %% [markdown]
# In the toy, a push grows as it is carried along the chain; only when it has fallen off the end does the 0.5 show. Stop after 12 iterations, and you report an unstable map. The word loop is of that form: letters read earlier letters. Every push dies in the end, yet one pass can nearly *double* the worst.

# %%
worst = {}
for n in (2, 4, 8):
    tokens = test.tokens[:1, : n + 1]
    J = jacobian(loop, tokens, unroll(loop, tokens, 128, keep="last").states[-1])
    power, sizes = torch.eye(len(J), dtype=J.dtype), []
    for _ in range(12):
        power = J @ power
        sizes.append(torch.linalg.matrix_norm(power, 2).item())
    worst[f"{n} letters"] = [sizes]
plots.pass_curves(
    worst,
    ylabel="worst push (began at 1)",
    log=True,
    lines={"": 1.0},
    xlabel="passes after the push",
    title="A push grows before it dies, and lives longer in longer words",
)

# %% [markdown]
# So `latentkit.analysis.growth` refuses fewer than four iterations a position: our own first estimate, 12 for 12 letters, called a stable loop unstable. And code that opens a pass up must give the model's own states, or it raises: our very first analysis ran on weights not yet loaded.
#
# Now look at the ledger's growths again. In the pointer loop trained from zero the slowest pushes hardly fade: {{ claim path-independence pointers/growth_max }} a pass.

# %% [markdown]
# ## Inside a pass
#
# A loop of **two** layers, trained on the same words with 2 to 8 passes. After many passes, is there one resting point, or two?
#
# ### Exercise 5 · Layers in a cycle
#
# **Difficulty** ●●●○○ · **Time** 10 minutes · **Skill** axes of a tensor
#
# Write `layer_cycle(states)`: states [t, k, b, n, d] after each of k layers in each of t passes. Make every state a unit vector over d. Return two tensors: steps [t − 1, k, b, n], how far each layer's vector moved since the pass before; and gaps [t, k, b, n], how far it is from that of the *next* layer in the same pass, the last layer's next being the first.


# %% exercise="layer_cycle" points=3
@lab.exercise("layer_cycle")
def layer_cycle(states):
    ### BEGIN SOLUTION
    directions = states / states.norm(dim=-1, keepdim=True)
    steps = (directions[1:] - directions[:-1]).norm(dim=-1)
    gaps = (directions - directions.roll(-1, dims=1)).norm(dim=-1)
    return steps, gaps
    ### END SOLUTION


# %% check="layer_cycle" points=3
lab.check("layer_cycle")
### BEGIN HIDDEN TESTS
assert layer_cycle(torch.ones(3, 2, 1, 1, 4))[1].sum() == 0
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Steps compare along the first axis, gaps along the second.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `x.roll(-1, dims=1)` puts the next layer where this one was, and the first behind the last.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# unit = states / norm; steps = norm of unit[1:] - unit[:-1]; gaps = norm of unit - rolled unit.
#
# </details>

# %% [markdown] solution
# Unit vectors, because the norms that read a state see its direction only; the stream's length grows from layer to layer.

# %% [markdown]
# **Common mistake.** Comparing each layer with the one before instead of the one after: with two layers the result is the same, with three it is not.

# %%
from latentkit.analysis import layer_run

loop2 = load_weights(paths.find("checkpoints/s3-loop2.safetensors"))
torch.manual_seed(lab.seed)
untrained = build(loop2.config).eval()
curves = {}
for name, model in (("trained", loop2), ("untrained", untrained)):
    inside = layer_run(model, test.tokens[:64], passes=40)
    steps, gaps = layer_cycle(inside.states)
    curves[f"{name}: a layer's step"] = [steps.mean((1, 2, 3)).tolist()]
    curves[f"{name}: layer to layer"] = [gaps[1:].mean((1, 2, 3)).tolist()]
plots.pass_curves(
    curves,
    ylabel="distance of unit vectors",
    log=True,
    first=2,
    title="Two layers, each at its own resting point",
)

# %% [markdown]
# Trained, each layer stops moving while the two stay apart ({{ claim cyclic-layers-s3 two-layer/layer_gap }}): a cycle of two points, as Blayney et al. (2026) find in large models. But look at the control. An untrained loop has the gap too ({{ claim cyclic-layers-s3 untrained/layer_gap }}): any layer that adds something leaves the stream elsewhere. The one drawn never rests; the ledger's other two do, so the verdict is *{{ claim cyclic-layers-s3 verdict }}*. What training adds is *when*: a letter's exit pass (below) correlates with its place, {{ claim cyclic-layers-s3 two-layer/correlation@0.1 }} trained, {{ claim cyclic-layers-s3 untrained/correlation@0.1 }} untrained.
#
# What does each layer do? Read the answer after every layer.

# %%
inside = layer_run(loop2, test.tokens, passes=8)
layer_by_layer = inside.states.flatten(0, 1)  # pass 1 layer 1, pass 1 layer 2, ...
answers = torch.stack(
    [loop2.decode(loop2.loop_norm(h)).argmax(-1) for h in layer_by_layer]
)
plots.pass_map(
    (answers == test.targets).float().mean(1),
    range(1, 17),
    line=lambda layers: layers,
    line_label="one letter a layer",
    ylabel="layers run",
    title="Two layers, eight passes, read after every layer",
)

# %% [markdown]
# One letter a *layer*. The paper sees the stages of an ordinary stack, repeated in every pass. Here it is one stage, the step of lab 02, twice a pass.

# %% [markdown]
# ## When to stop
#
# ### Exercise 6 · Stop each position
#
# **Difficulty** ●●●●○ · **Time** 15 minutes · **Skill** masks that outlive a pass
#
# Write `freeze_run(step, h, threshold, passes)` for h [b, n, d]. In each pass, positions that have stopped keep their state; the others take the new one. A position stops *after* the first pass in which it moves by less than `threshold` of its new length. Return the last state [b, n, d], and integers [b, n]: the pass (from 1) after which each stopped, 0 where it did not.


# %% exercise="freeze_run" points=4
@lab.exercise("freeze_run")
def freeze_run(step, h, threshold, passes):
    halted_at = torch.zeros(h.shape[:2], dtype=torch.long)
    ### BEGIN SOLUTION
    for t in range(1, passes + 1):
        stopped = halted_at > 0
        moved = torch.where(stopped[..., None], h, step(h))
        small = (moved - h).norm(dim=-1) / moved.norm(dim=-1) < threshold
        halted_at = torch.where(small & ~stopped, t, halted_at)
        h = moved
    ### END SOLUTION
    return h, halted_at


# %% check="freeze_run" points=4
lab.check("freeze_run")
### BEGIN HIDDEN TESTS
assert freeze_run(lambda h: h, torch.ones(1, 2, 3), 0.1, 3)[1].tolist() == [[1, 1]]
### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# `halted_at > 0` says who has stopped. Nobody else needs to be remembered.
#
# </details>
#
# <details><summary>Hint 2: closer</summary>
#
# `torch.where(stopped[..., None], h, step(h))`: those that stopped still stand in h, so the others read them in the next pass.
#
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# for t = 1 to passes: new = old state where stopped, else step(h); where not stopped and |new - h| / |new| is below threshold, halted_at = t; h = new.
#
# </details>

# %% [markdown] solution
# The step still computes all positions: this measures what could be saved. A serving system would gather the moving ones.

# %% [markdown]
# **Common mistake.** Running to the end and reading each answer off at its exit pass. Then the others have read states that a stopped position would never have had.

# %% [markdown]
# **Parity.** Your run against latentkit's `RelativeStep`:

# %% facts
from latentkit.recurrence import ArgmaxStable, OutputKL, RelativeStep

mine, stopped = freeze_run(step, torch.zeros(128, 13, 64), 0.1, 16)
theirs = unroll(loop, test.tokens, 16, halting=RelativeStep(0.1))
print(
    "same exits:           ",
    bool((stopped == theirs.halted_at).float().mean() > 0.999),
)
print("states equal to 1e-3: ", bool((mine - theirs.states[-1]).abs().max() < 1e-3))

# %% [markdown]
# Three rules, looser to tighter: the state's relative step; the KL divergence of successive outputs; the same answer several times.

# %%
settings = {
    "relative step": {str(x): RelativeStep(x) for x in (0.5, 0.3, 0.1, 0.03)},
    "output KL": {str(x): OutputKL(x) for x in (0.1, 0.01, 0.001)},
    "same answer": {f"{x} times": ArgmaxStable(x) for x in (2, 3, 5)},
}
cost = {}
for rule, choices in settings.items():
    cost[rule] = []
    for label, halting in choices.items():
        halted = unroll(loop, test.tokens, 16, keep="last", halting=halting)
        used = halted.passes_used[:, 1:].float().mean().item()
        good = (halted.predictions[-1] == test.targets)[:, 1:].float().mean().item()
        cost[rule].append((label, used, good))
all_16 = (run.predictions[15] == test.targets)[:, 1:].float().mean().item()
plots.halting_curves(
    cost, full=(16, all_16), title="Letters 1 to 12: what halting costs"
)

# %% facts
exits = ledger.load("token-exit-s3")
for arm in ("loop", "two-layer"):
    print(arm)
    for metric in (
        "accuracy@full",
        "accuracy@0.3",
        "accuracy@0.1",
        "passes@0.1",
        "correlation@0.1",
        "smallest_depth",
        "passes_whole_word@0.1",
        "saving_of_longest@0.1",
        "saving_of_smallest@0.1",
    ):
        print(f"    {metric:23}", exits.values(f"{arm}/{metric}"))
print("verdict:", exits.verdict)

# %% [markdown]
# At 0.1 accuracy stays within 0.2 points, and late letters get more passes, on every seed. The bar of 9 passes is met by two one-block seeds of three: *{{ claim token-exit-s3 verdict }}*. At 0.3 the one-block loop is still right; two of three two-layer loops are not. A threshold does not carry over.
#
# **What is saved?** Against 16 passes {{ claim token-exit-s3 loop/saving_of_longest@0.1 }}; against the *smallest* fixed number that suffices, {{ claim token-exit-s3 loop/smallest_depth }}, only {{ claim token-exit-s3 loop/saving_of_smallest@0.1 }}; with two layers {{ claim token-exit-s3 two-layer/saving_of_smallest@0.1 }}. A whole word, run until its last letter stops, takes {{ claim token-exit-s3 loop/passes_whole_word@0.1 }} passes: more than the fixed number.

# %% [markdown]
# ## Break it
#
# Loops of labs 02 and 03 after their last pass (word loops on 32 letters). **Predict:** the less they move, the more they are right?

# %%
ablations, a5 = ledger.load("loop-ablations-s3"), ledger.load("loop-a5")


def lab02(record, arm):
    return (
        record.values(f"{arm}/final_residual"),
        record.values(f"{arm}/mean_accuracy@last"),
    )


plots.rest_scatter(
    {
        "S3": lab02(ablations, "full"),
        "S3, no norm": lab02(ablations, "no-norm"),
        "S3, no ALiBi": lab02(ablations, "no-alibi"),
        "S3, no injection": lab02(ablations, "no-injection"),
        "A5": lab02(a5, "loop"),
        "pointers": (
            rested.values("pointers/residual_mean"),
            rested.values("pointers/rest_accuracy"),
        ),
    },
    title="Rest (left) is not right (up)",
)

# %% [markdown]
# No. Without ALiBi, one seed moves as little as the full recipe's slowest, and is wrong on a third of the letters. Pointers rest, wrong on a tenth. Without a norm in the loop nothing changes. Only the other direction holds here: what still moves much, as A5 does, is not right. **Convergence is not correctness.**

# %% [markdown]
# ## What the papers leave open
#
# | The papers differ about, or leave open | We chose | Effect measured |
# |---|---|---|
# | start in training: zeros or random | both | large: above |
# | a control for "layers settle apart" | an untrained block | above |
# | threshold of a halting rule | 0.1, fixed before the run | above |
# | halting in training | none, added afterwards | lab 04 trains it |
#
# | Claim | Verdict |
# |---|---|
# | {{ claim path-independence statement }} | **{{ claim path-independence verdict }}** |
# | {{ claim random-start-pointers statement }} | **{{ claim random-start-pointers verdict }}** |
# | {{ claim cyclic-layers-s3 statement }} | **{{ claim cyclic-layers-s3 verdict }}** |
# | {{ claim token-exit-s3 statement }} | **{{ claim token-exit-s3 verdict }}** |

# %% [markdown]
# ## Self-quiz
#
# {{ quiz }}

# %% [markdown]
# ## Stretch
#
# - Start the word loop from states ten and a hundred times as large (`random_start` has a `scale`). Does it find its way back?
# - Train the sixteen-pointer loop from random starts. Does it keep its answers?
# - Take away ALiBi (lab 02) and train. Does the loop that rests at wrong answers pass the test of two starts?
#
# ## Reading
#
# - Bai et al., [Deep equilibrium models](https://arxiv.org/abs/1909.01377), 2019: straight to the fixed point.
# - Anil et al., [Path independent equilibrium models](https://arxiv.org/abs/2211.09961), 2022: the test of this lab.
# - Geiping et al., [Latent reasoning](https://arxiv.org/abs/2502.05171), 2025: random starts in training, halting per token.
# - Blayney et al., [A mechanistic analysis of looped reasoning language models](https://arxiv.org/abs/2604.11791), 2026: cycles, and stages that repeat.
#
# ## Next
#
# One loop runs at one pace. Lab 04 nests two: a fast one that comes to rest again and again, and a slow one that moves its target.
