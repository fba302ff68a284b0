import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from latentkit.models.fast_weights import Fast, Gates, decay_products, run_memory

B, N, D, HIDDEN = 2, 12, 5, 3


def draw(seed=0):
    """Keys, values, queries and gates in float64."""
    g = torch.Generator().manual_seed(seed)
    k, v, q = (torch.randn(B, N, D, generator=g, dtype=torch.float64) for _ in range(3))
    theta, eta, alpha = (torch.rand(B, N, generator=g, dtype=torch.float64) for _ in range(3))
    return k, v, q, Gates(0.2 * theta, 0.9 * eta, 0.2 * alpha)


def start(depth, momentum=True, seed=1):
    """Weights as after some reading, and W_0 of an MLP."""
    g = torch.Generator().manual_seed(seed)
    shapes = [(D, D)] if depth == 1 else [(HIDDEN, D), (D, HIDDEN)]
    values, momenta, initial = (
        tuple(0.3 * torch.randn(*lead, *shape, generator=g, dtype=torch.float64) for shape in shapes)
        for lead in ((B,), (B,), ())
    )
    return Fast(values, momenta if momentum else ()), initial if depth == 2 else ()


def naive(fast, k, v, q, gates, chunk, initial, gradients="chunk"):
    """The definition, token by token, one sequence at a time, with gradients from autograd."""
    answers, surprises = torch.zeros(B, N, D, dtype=torch.float64), torch.zeros(B, N, dtype=torch.float64)
    rows = []
    for b in range(B):
        weights = [(initial[i] if initial else 0) + fast.D[i][b] for i in range(len(fast.D))]
        D_ = [W[b] for W in fast.D]
        S_ = [W[b] for W in fast.S] or [torch.zeros_like(W) for W in D_]
        answer, surprise = [], []
        for t in range(N):
            if t % chunk == 0 or gradients == "token":
                weights = [(initial[i] if initial else 0) + D_[i] for i in range(len(D_))]
            loss = 0.5 * (memory(weights, k[b, t]) - v[b, t]).square().sum()
            grads = torch.autograd.grad(loss, weights, create_graph=True)
            eta = gates.eta[b, t] if gates.eta is not None else 0.0
            alpha = gates.alpha[b, t] if gates.alpha is not None else 0.0
            S_ = [eta * S - gates.theta[b, t] * g for S, g in zip(S_, grads, strict=True)]
            D_ = [(1 - alpha) * W + S for W, S in zip(D_, S_, strict=True)]
            now = [(initial[i] if initial else 0) + D_[i] for i in range(len(D_))]
            answer.append(memory(now, q[b, t]))
            surprise.append(sum(g.square().sum() for g in grads).sqrt())
        rows.append((torch.stack(answer), torch.stack(surprise), D_, S_))
    answers, surprises = (torch.stack([row[i] for row in rows]) for i in (0, 1))
    after = [tuple(map(torch.stack, zip(*(row[i] for row in rows), strict=True))) for i in (2, 3)]
    return answers, surprises.detach(), Fast(*after)


def memory(weights: list[Tensor], x: Tensor) -> Tensor:
    for i, W in enumerate(weights):
        x = W @ (x if i == 0 else F.silu(x))
    return x


def leaves(*tensors):
    return [x.clone().requires_grad_() for x in tensors]


@pytest.mark.parametrize(("depth", "chunk", "gradients"), [(1, 4, "chunk"), (2, 4, "chunk"), (1, 6, "token")])
def test_closed_form_equals_the_definition_forward_and_backward(depth, chunk, gradients):
    k, v, q, gates = draw()
    fast, initial = start(depth)
    inputs = leaves(k, v, q, *gates, *fast.D, *fast.S, *initial)

    def split(xs):
        n = len(fast.D)
        rest = xs[6:]
        return Fast(tuple(rest[:n]), tuple(rest[n : 2 * n])), xs[0], xs[1], xs[2], Gates(*xs[3:6]), rest[2 * n :]

    def total(y, state):  # a scalar that every output reaches with a weight of its own
        weigh = lambda x: (x * torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x)).sum()  # noqa: E731
        return weigh(y) + sum(map(weigh, (*state.D, *state.S)))

    state, *rest, W0 = split(inputs)
    y, surprise, after = run_memory(state, *rest, chunk, initial=W0, gradients=gradients)
    wanted, surprise_wanted, after_wanted = naive(state, *rest, chunk, W0, gradients)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-10)
    torch.testing.assert_close(surprise, surprise_wanted, rtol=0, atol=1e-10)
    for got, want in zip((*after.D, *after.S), (*after_wanted.D, *after_wanted.S), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    grads = torch.autograd.grad(total(y, after), inputs)
    for got, want in zip(grads, torch.autograd.grad(total(wanted, after_wanted), inputs), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("depth", [1, 2])
def test_chunks_of_one_token_are_the_sequential_recurrence(depth):
    k, v, q, gates = draw()
    fast, initial = start(depth)
    y, _, _ = run_memory(fast, k, v, q, gates, 1, initial=initial)
    wanted, _, _ = naive(
        Fast(*(tuple(W.requires_grad_() for W in part) for part in fast)), k, v, q, gates, 1, initial, "token"
    )
    torch.testing.assert_close(y, wanted.detach(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("chunk", [1, 3, 12])
@pytest.mark.parametrize("forget", [False, True])
def test_delta_net_and_our_gated_delta_are_special_cases(chunk, forget):
    """M_t = (1 - alpha) M_{t-1} + theta (v - M_{t-1} k) k^T, with eta = 0 or without any; alpha = 0 for DeltaNet."""
    k, v, q, gates = draw()
    k = F.normalize(k, dim=-1)
    M = torch.zeros(B, D, D, dtype=torch.float64)
    answers = []
    for t in range(N):
        kt, vt, theta = k[:, t, :, None], v[:, t, :, None], gates.theta[:, t, None, None]
        keep = 1 - gates.alpha[:, t, None, None] if forget else 1.0
        M = keep * M + theta * (vt - M @ kt) @ kt.mT
        answers.append((M @ q[:, t, :, None])[..., 0])
    special = Gates(gates.theta, None, gates.alpha if forget else None)
    zero = Fast((torch.zeros(B, D, D, dtype=torch.float64),), ())
    y, _, _ = run_memory(zero, k, v, q, special, chunk, gradients="token")
    torch.testing.assert_close(y, torch.stack(answers, 1), rtol=0, atol=1e-10)
    none = torch.zeros_like(gates.theta)
    both = Fast(zero.D, zero.D)  # with momentum, but all of it zero
    y, _, _ = run_memory(
        both, k, v, q, Gates(gates.theta, none, gates.alpha if forget else none), chunk, gradients="token"
    )
    torch.testing.assert_close(y, torch.stack(answers, 1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("chunk", [1, 4, 12])
def test_gated_delta_net_is_exactly_one_choice_of_step_and_value(chunk):
    """S_t = S_{t-1} a (I - beta k k^T) + beta v k^T (Yang et al. 2025): theta = a beta, v / a, with a = 1 - alpha."""
    k, v, q, gates = draw()
    k, a, beta = F.normalize(k, dim=-1), 1 - gates.alpha, 4 * gates.theta
    S, answers = torch.zeros(B, D, D, dtype=torch.float64), []
    for t in range(N):
        projector = torch.eye(D, dtype=torch.float64) - beta[:, t, None, None] * torch.einsum(
            "bi,bj->bij", k[:, t], k[:, t]
        )
        S = a[:, t, None, None] * (S @ projector) + torch.einsum("b,bi,bj->bij", beta[:, t], v[:, t], k[:, t])
        answers.append(torch.einsum("bij,bj->bi", S, q[:, t]))
    zero = Fast((torch.zeros(B, D, D, dtype=torch.float64),), ())
    mapped = Gates(a * beta, None, gates.alpha)
    y, _, _ = run_memory(zero, k, v / a[..., None], q, mapped, chunk, gradients="token")
    torch.testing.assert_close(y, torch.stack(answers, 1), rtol=0, atol=1e-10)
    plain, _, _ = run_memory(zero, k, v, q, Gates(beta, None, gates.alpha), chunk, gradients="token")
    assert (plain - y).abs().max() > 1e-3  # without the mapping it is another model


def test_hebbian_rule_is_causal_linear_attention():
    k, v, q, _ = draw()
    y, _, _ = run_memory(
        Fast((torch.zeros(B, D, D, dtype=torch.float64),), ()),
        k,
        v,
        q,
        Gates(torch.ones(B, N, dtype=torch.float64)),
        4,
        hebbian=True,
    )
    torch.testing.assert_close(y, (q @ k.mT).tril() @ v, rtol=0, atol=1e-10)


def test_gradients_at_every_token_do_not_depend_on_the_chunk():
    k, v, q, gates = draw()
    fast, _ = start(1)
    one, *_ = run_memory(fast, k, v, q, gates, 1, gradients="token")
    for chunk in (2, 6, 12):
        y, *_ = run_memory(fast, k, v, q, gates, chunk, gradients="token")
        torch.testing.assert_close(y, one, rtol=0, atol=1e-10)
    other, *_ = run_memory(fast, k, v, q, gates, 6)
    assert (other - one).abs().max() > 1e-3  # at the chunk's start they do


def test_decay_products_by_hand_and_where_a_factor_is_zero():
    got = decay_products(torch.tensor([0.5, 0.25, 0.0, 3.0]))
    assert got.tolist() == [[1, 0, 0, 0], [0.25, 1, 0, 0], [0, 0, 1, 0], [0, 0, 3, 1]]


def test_a_long_run_of_small_factors_stays_finite():
    factor = torch.full((1, 64), 1e-4, requires_grad=True)
    total = decay_products(factor).sum()
    total.backward()
    assert total.isfinite() and factor.grad.isfinite().all()


def test_no_whole_number_of_chunks_is_refused():
    k, v, q, gates = draw()
    with pytest.raises(ValueError, match="12 tokens are no whole number of chunks of 5"):
        run_memory(start(1)[0], k, v, q, gates, 5)
