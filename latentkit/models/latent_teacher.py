"""One network that learns a whole hierarchy end to end from its own latents: student and teacher, as in data2vec.

    z_0      = E[token]
    z_l(i)   = rms(f_l(z_{l-1} of the s children of i))              f_l an MLP, the same for every node of a level
    teacher    the same network, its weights an exponential moving average of the student's:  w' <- tau w' + (1 - tau) w
    y_l(j)   = standardised z'_l(j)                                  the teacher's latents, each feature over the batch
    loss     = mean over levels l, nodes i and siblings j of i:      || W_l z_l(i) - y_l(j) ||^2 / d

Every level learns at once, from one loss, with gradient through all levels; no token is a target. Such a loss has a
trivial solution: latents that are the same for every input predict each other perfectly (collapse). What stands
against it are the teacher's lag and the standardised targets, and both are no proof. So `teacher_loss` returns, beside
the loss, the spread of the teacher's latents by level, before they are standardised: 1 where a feature varies freely, 0
where nothing is left.

After data2vec (Baevski et al. 2022, arXiv 2202.03555) and its use on random hierarchies (Korchinski et al. 2026, arXiv
2605.27734), with what we chose: a tree of MLPs in the place of the transformer (the tree's shape is given, as in the
paper's fixed topology); a node is predicted from its sibling alone, where data2vec hides some parts and shows all
others; the target is the teacher's latent of one level, not an average of its last layers; squared error; targets
standardised over the batch, where data2vec normalises over a sequence. With `target` "tokens" the same network predicts
the tokens under the sibling instead, by cross-entropy.
"""

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.layers import check_tokens, rms_norm


@dataclass(frozen=True)
class LatentTeacherConfig:
    """Student and teacher.

    Attributes:
        vocab_size, num_classes: tokens and root labels; of the latter the network never hears.
        s, L: symbols of a tuple, levels of the hierarchy.
        d_model, hidden: width of a latent, and of the MLPs.
        target: the teacher's latents, or the tokens.
        standardise: targets have mean 0 and variance 1 over the batch; without it, the control that must collapse.
    """

    vocab_size: int
    num_classes: int
    s: int = 2
    L: int = 3
    d_model: int = 16
    hidden: int = 128
    target: Literal["teacher", "tokens"] = "teacher"
    standardise: bool = True

    def __post_init__(self) -> None:
        if self.s < 2 or self.L < 2 or min(self.d_model, self.hidden) < 1:
            raise ValueError(
                f"s={self.s}, L={self.L}, d_model={self.d_model}, hidden={self.hidden}; "
                "need s >= 2, L >= 2 and widths of at least 1"
            )
        if self.target not in ("teacher", "tokens"):
            raise ValueError(f"target={self.target!r}; choose 'teacher' or 'tokens'")


class TreeEncoder(nn.Module):
    """The latents of every node below the root, from the tokens up."""

    def __init__(self, config: LatentTeacherConfig):
        super().__init__()
        self.s = config.s
        d, hidden = config.d_model, config.hidden
        self.embed = nn.Embedding(config.vocab_size, d)
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Linear(config.s * d, hidden), nn.ReLU(), nn.Linear(hidden, d)) for _ in range(config.L - 1)
        )

    def forward(self, tokens: Int[Tensor, "b n"]) -> list[Float[Tensor, "b _ d"]]:
        """z_1 to z_{L-1}: [b, n / s, d], [b, n / s^2, d], ..."""
        z, found = rms_norm(self.embed(tokens)), []
        for f in self.levels:
            z = rms_norm(f(z.unflatten(1, (-1, self.s)).flatten(2)))
            found.append(z)
        return found


class LatentTeacher(nn.Module):
    """See the module's docstring for the equations. What it has learnt are the teacher's latents, `forward`."""

    def __init__(self, config: LatentTeacherConfig):
        super().__init__()
        self.config = config
        s, d = config.s, config.d_model
        self.student = TreeEncoder(config)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        said = [d if config.target == "teacher" else s**level * config.vocab_size for level in range(1, config.L)]
        # [own slot, sibling's slot, own latent, what is predicted]
        self.predictors = nn.ParameterList(torch.randn(s, s, d, width) * d**-0.5 for width in said)

    def forward(self, tokens: Int[Tensor, "b n"]) -> list[Float[Tensor, "b _ d"]]:
        """The teacher's latents of levels 1 to L - 1."""
        check_tokens(tokens, self.config.vocab_size)
        return self.teacher(tokens)

    @torch.no_grad()
    def update_teacher(self, decay: float) -> None:
        """Moves every weight of the teacher's encoder: w' <- decay w' + (1 - decay) w."""
        for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)

    def teacher_loss(self, tokens: Int[Tensor, "b n"]) -> tuple[Float[Tensor, ""], Float[Tensor, " l"]]:
        """The loss, and the spread of the teacher's latents of levels 1 to L - 1: 1 is free, 0 is collapsed."""
        config, others = self.config, ~torch.eye(self.config.s, dtype=torch.bool, device=tokens.device)
        with torch.no_grad():
            taught = self.forward(tokens)
        losses = []
        for level, (z, W) in enumerate(zip(self.student(tokens), self.predictors, strict=True), start=1):
            own = z.unflatten(1, (-1, config.s))  # [b, parents, own slot, d]
            guess = torch.einsum("bgad,aude->bgaue", own, W)
            if config.target == "teacher":
                y = standardised(taught[level - 1]) if config.standardise else taught[level - 1]
                error = (guess - y.unflatten(1, (-1, config.s))[:, :, None]).square().mean(-1)
            else:
                right = tokens.unflatten(1, (own.shape[1], config.s, -1))[:, :, None, ..., None]  # [b, g, 1, u, n, 1]
                score = guess.unflatten(-1, (-1, config.vocab_size)).log_softmax(-1)
                error = -score.gather(-1, right.expand(-1, -1, config.s, -1, -1, 1))[..., 0].mean(-1)
            losses.append(error.mean((0, 1))[others].mean())
        return torch.stack(losses).mean(), torch.stack([spread(z) for z in taught])


def standardised(z: Float[Tensor, "b g d"]) -> Float[Tensor, "b g d"]:
    """Every feature with mean 0 and variance 1 over batch and nodes."""
    centred = z - z.mean((0, 1))
    return centred / (centred.square().mean((0, 1)) + 1e-5).sqrt()


def spread(z: Float[Tensor, "b g d"]) -> Float[Tensor, ""]:
    """Variance of the latents over batch and nodes, mean over features; of rms-normalised latents it is at most 1."""
    return z.var((0, 1), unbiased=False).mean()
