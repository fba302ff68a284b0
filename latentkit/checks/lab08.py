"""Checks of lab 08: a memory that is trained while it reads, token by token and a chunk at a time."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from latentkit.checks.harness import Exercise, compare, rng, shapes


def delta_write(M: Tensor, k: Tensor, v: Tensor, theta: float) -> tuple[Tensor, Tensor]:
    """One step of gradient descent on 1/2 |M k - v|^2, and the length of the gradient; M [b, d, d], k and v [b, d]."""
    error = (M @ k[..., None])[..., 0] - v
    gradient = error[..., :, None] * k[..., None, :]
    return M - theta * gradient, error.norm(dim=-1) * k.norm(dim=-1)


def _check_delta_write(answer: Callable) -> None:
    for b, d in shapes(2, low=2, high=6):
        g = rng(d)
        M, k, v = (
            torch.randn(b, d, d, generator=g),
            2 * torch.randn(b, d, generator=g),
            torch.randn(b, d, generator=g),
        )
        weight = M.clone().requires_grad_()
        loss = 0.5 * (torch.einsum("boi,bi->bo", weight, k) - v).square().sum()
        (gradient,) = torch.autograd.grad(loss, weight)
        expected = M - 0.3 * gradient, gradient.flatten(1).norm(dim=-1)
        compare(expected, answer(M, k, v, 0.3), name="delta_write", inputs={"M": M, "k": k, "v": v, "theta": 0.3})


def momentum_step(D: Tensor, S: Tensor, gradient: Tensor, theta: float, eta: float, alpha: float) -> tuple:
    """S_t = eta S_{t-1} - theta gradient;  D_t = (1 - alpha) D_{t-1} + S_t."""
    S = eta * S - theta * gradient
    return (1 - alpha) * D + S, S


def _check_momentum_step(answer: Callable) -> None:
    for b, rows, columns in shapes(3, low=2, high=6):
        g = rng(rows)
        D, S, gradient = (torch.randn(b, rows, columns, generator=g) for _ in range(3))
        for theta, eta, alpha in ((0.5, 0.8, 0.1), (0.2, 0.0, 0.3), (1.0, 0.9, 0.0)):
            pushed = torch.stack([eta * S, -theta * gradient]).sum(0)
            expected = torch.stack([D, -alpha * D, pushed]).sum(0), pushed
            inputs = {"D": D, "S": S, "gradient": gradient, "theta": theta, "eta": eta, "alpha": alpha}
            compare(expected, answer(D, S, gradient, theta, eta, alpha), name="momentum_step", inputs=inputs)


def mlp_gradients(W1: Tensor, W2: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of 1/2 |W2 silu(W1 k) - v|^2 for one token, by hand; W1 [h, d], W2 [d, h], k and v [d]."""
    z = W1 @ k
    s = z.sigmoid()
    a = z * s
    error = W2 @ a - v
    delta = (W2.T @ error) * s * (1 + z * (1 - s))
    return torch.outer(delta, k), torch.outer(error, a)


def _check_mlp_gradients(answer: Callable) -> None:
    for d, h in shapes(2, low=2, high=7):
        g = rng(d)
        W1, W2 = torch.randn(h, d, generator=g), torch.randn(d, h, generator=g)
        k, v = torch.randn(d, generator=g), torch.randn(d, generator=g)
        first, second = W1.clone().requires_grad_(), W2.clone().requires_grad_()
        loss = 0.5 * (second @ F.silu(first @ k) - v).square().sum()
        expected = torch.autograd.grad(loss, (first, second))
        compare(expected, answer(W1, W2, k, v), name="mlp_gradients", inputs={"W1": W1, "W2": W2, "k": k, "v": v})


def decay_products(factor: Tensor) -> Tensor:
    """[c] to [c, c]: entry [i, j] is the product of factor_l over j < l <= i; 0 above the diagonal."""
    c = len(factor)
    below = torch.ones(c, c).tril(-1).bool()
    return torch.where(below, factor[:, None], torch.ones(())).cumprod(0).tril()


def _check_decay_products(answer: Callable) -> None:
    for (c,) in shapes(1, low=2, high=7):
        factor = 0.2 + torch.rand(c, generator=rng(c))
        expected = torch.zeros(c, c)
        for i in range(c):
            for j in range(i + 1):
                expected[i, j] = float(torch.tensor([float(f) for f in factor[j + 1 : i + 1]]).prod())
        compare(expected, answer(factor), name="decay_products", inputs={"factor": factor})
    # A factor of 0 leaves 0 of what was before, and float64 stays float64.
    factor = torch.tensor([0.5, 0.25, 0.0, 3.0], dtype=torch.float64)
    expected = torch.tensor([[1, 0, 0, 0], [0.25, 1, 0, 0], [0, 0, 1, 0], [0, 0, 3, 1]], dtype=torch.float64)
    compare(expected, answer(factor), name="decay_products", inputs={"factor": factor})


def delta_chunk(M: Tensor, k: Tensor, v: Tensor, q: Tensor, theta: Tensor) -> Tensor:
    """Answers of a chunk whose gradients are all taken at M; M [d, d], k, v and q [c, d], theta [c]."""
    errors = k @ M.T - v
    return q @ M.T - ((q @ k.T).tril() * theta) @ errors


def _check_delta_chunk(answer: Callable) -> None:
    for c, d in shapes(2, low=2, high=7):
        g = rng(c)
        M = torch.randn(d, d, generator=g)
        k, v, q = (torch.randn(c, d, generator=g) for _ in range(3))
        theta = 0.1 + torch.rand(c, generator=g)
        now, answers = M.clone(), []
        for i in range(c):
            now = now - theta[i] * torch.outer(M @ k[i] - v[i], k[i])
            answers.append(now @ q[i])
        inputs = {"M": M, "k": k, "v": v, "q": q, "theta": theta}
        compare(
            torch.stack(answers), answer(M, k, v, q, theta), name="delta_chunk", inputs=inputs, rtol=1e-3, atol=1e-4
        )


def titans_chunk(
    D: Tensor, S: Tensor, k: Tensor, v: Tensor, q: Tensor, theta: Tensor, eta: Tensor, alpha: Tensor
) -> Tensor:
    """The same with momentum eta and forgetting alpha [c]: D_i = b_i D + c_i S - sum_{j<=i} G_ij e_j k_j^T."""
    kept = decay_products(1 - alpha)
    G = kept @ (decay_products(eta) * theta)
    b, c = (1 - alpha).cumprod(0), kept @ eta.cumprod(0)
    errors = k @ D.T - v
    return b[:, None] * (q @ D.T) + c[:, None] * (q @ S.T) - (G * (q @ k.T)) @ errors


def _check_titans_chunk(answer: Callable) -> None:
    for size, d in shapes(2, low=2, high=7, seed=1):
        g = rng(size)
        D, S = torch.randn(d, d, generator=g), torch.randn(d, d, generator=g)
        k, v, q = (torch.randn(size, d, generator=g) for _ in range(3))
        theta, eta, alpha = (0.1 + 0.7 * torch.rand(size, generator=g) for _ in range(3))
        now, push, answers = D, S, []
        for i in range(size):
            push = eta[i] * push - theta[i] * torch.outer(D @ k[i] - v[i], k[i])
            now = (1 - alpha[i]) * now + push
            answers.append(now @ q[i])
        inputs = {"D": D, "S": S, "k": k, "v": v, "q": q, "theta": theta, "eta": eta, "alpha": alpha}
        got = answer(D, S, k, v, q, theta, eta, alpha)
        compare(torch.stack(answers), got, name="titans_chunk", inputs=inputs, rtol=1e-3, atol=1e-4)


EXERCISES = {
    "delta_write": Exercise(delta_write, _check_delta_write),
    "momentum_step": Exercise(momentum_step, _check_momentum_step),
    "mlp_gradients": Exercise(mlp_gradients, _check_mlp_gradients),
    "decay_products": Exercise(decay_products, _check_decay_products),
    "delta_chunk": Exercise(delta_chunk, _check_delta_chunk),
    "titans_chunk": Exercise(titans_chunk, _check_titans_chunk),
}
