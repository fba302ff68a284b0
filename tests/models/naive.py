"""HRM's layers, transcribed from the paper and its code one vector at a time: what the models are held to."""

import math

import torch
from torch import Tensor

from latentkit.layers import MixingBlock, MixingConfig, MixingStack

# One small block of each kind, on four cells (a grid of 2 x 2).
BLOCKS = {
    "attention": MixingConfig(4, 8, 5, "attention", num_heads=2),
    "rotary": MixingConfig(4, 8, 5, "attention", num_heads=2, rotary=True),
    "tokens": MixingConfig(4, 8, 5, "tokens", token_hidden=3),
    "grid": MixingConfig(4, 8, 5, "grid"),
}
TOKENS = torch.tensor([[0, 1, 2, 0], [4, 0, 3, 1], [0, 0, 0, 2]])


def rms(x: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).sum(-1, keepdim=True) / x.shape[-1] + 1e-5)


def swiglu(module, x: Tensor) -> Tensor:
    """Of one vector."""
    gate, up = module.gate.weight @ x, module.up.weight @ x
    return module.down.weight @ (gate / (1 + torch.exp(-gate)) * up)


def turned(x: Tensor, position: int) -> Tensor:
    """RoPE by complex numbers: channels i and i + w/2 are one number, turned by position / 10000^(2i/w)."""
    half = len(x) // 2
    angle = torch.tensor([position * 10000 ** (-2 * i / len(x)) for i in range(half)], dtype=x.dtype)
    z = torch.complex(x[:half], x[half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag])


def attention(module, x: Tensor, rotary: bool) -> Tensor:
    """Of one sequence [n, d]."""
    n, d = x.shape
    width = d // module.num_heads
    w_q, w_k, w_v = module.qkv.weight.split(d)
    rows = []
    for i in range(n):
        heads = []
        for head in range(module.num_heads):
            part = slice(head * width, (head + 1) * width)
            q, keys = w_q[part] @ x[i], [w_k[part] @ x[j] for j in range(n)]
            if rotary:
                q, keys = turned(q, i), [turned(k, j) for j, k in enumerate(keys)]
            scores = torch.stack([q @ k / math.sqrt(width) for k in keys])
            weights = scores.exp() / scores.exp().sum()
            heads.append(sum(weights[j] * (w_v[part] @ x[j]) for j in range(n)))
        rows.append(module.out.weight @ torch.cat(heads))
    return torch.stack(rows)


def convolution(kernel: Tensor, x: Tensor) -> Tensor:
    """Of one grid [n, d] with a kernel [d, d, 3, 3]: the sum over the neighbours that there are."""
    side = math.isqrt(len(x))
    out = []
    for row in range(side):
        for column in range(side):
            total = torch.zeros(x.shape[1], dtype=x.dtype)
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    r, c = row + down, column + right
                    if 0 <= r < side and 0 <= c < side:
                        total = total + kernel[:, :, down + 1, right + 1] @ x[r * side + c]
            out.append(total)
    return torch.stack(out)


def mixed(block: MixingBlock, x: Tensor) -> Tensor:
    if block.config.mixer == "attention":
        return torch.stack([attention(block.mixer, sequence, block.config.rotary) for sequence in x])
    if block.config.mixer == "grid":
        return torch.stack([convolution(block.mixer.weight, grid) for grid in x])
    columns = [torch.stack([swiglu(block.mixer, s[:, c]) for c in range(x.shape[2])], 1) for s in x]
    return torch.stack(columns)


def channels(block: MixingBlock, x: Tensor) -> Tensor:
    return torch.stack([torch.stack([swiglu(block.mlp, cell) for cell in sequence]) for sequence in x])


def stack(module: MixingStack, x: Tensor) -> Tensor:
    """Post-norm, or pre-norm where the config says so."""
    for block in module:
        if block.config.norm == "post":
            x = rms(x + mixed(block, x))
            x = rms(x + channels(block, x))
        else:
            x = x + mixed(block, rms(x))
            x = x + channels(block, rms(x))
    return x


def embedded(model, tokens: Tensor) -> Tensor:
    """sqrt(d) tok, or sqrt(d) 0.7071 (tok + pos)."""
    embed = model.embed.embed
    d = embed.token.weight.shape[1]
    x = torch.stack([torch.stack([embed.token.weight[t] for t in row]) for row in tokens])
    if embed.position is not None:
        x = math.sqrt(0.5) * (x + embed.position.weight)
    return math.sqrt(d) * x


def gradients(model, *outputs: Tensor) -> dict[str, Tensor]:
    """Of a fixed weighted sum of the outputs; zero where a parameter has none."""
    generator = torch.Generator().manual_seed(7)
    loss = sum((o * torch.randn(o.shape, generator=generator, dtype=o.dtype)).sum() for o in outputs)
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return {name: torch.zeros_like(p) if g is None else g for name, p, g in zip(names, parameters, found, strict=True)}


def randomised(model):
    """Double precision, and no parameter left at zero, where it would hide a mistake."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.double().parameters():
        scale = 1.0 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
        parameter.data = scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def assert_same(got, expected) -> None:
    """To 1e-6, for tensors or named tensors."""
    if isinstance(got, Tensor):
        got, expected = {"value": got}, {"value": expected}
    assert got.keys() == expected.keys()
    for name, value in got.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
