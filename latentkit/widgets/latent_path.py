"""The latent path: where the states of a run go, in two dimensions.

    trajectories --pca_paths--> Paths (two numbers a state) --latent_path--> LatentPath (drawn by latent_path.js)

How a widget reaches a page: `latentkit.widgets.base`.
"""

import html
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import traitlets
from jaxtyping import Bool, Float
from torch import Tensor

from latentkit.recurrence import State, Trajectory
from latentkit.widgets import base

_JS, _CSS = base.script("latent_path"), base.style("latent_path")
_WIDTH, _HEIGHT = 1000, 640  # the picture; both directions have one scale, so that distances can be compared


class Paths(NamedTuple):
    """Paths in a plane.

    Attributes:
        points: after each of k kept passes, for each of b paths, its coordinates along the two principal components.
        passes: the number of each kept pass.
        explained: the share of the variance along either component.
    """

    points: Float[Tensor, "k b 2"]
    passes: tuple[int, ...]
    explained: tuple[float, float]


def all_values(state: State) -> Float[Tensor, "b s"]:
    """A state as one vector an example: all positions, all parts."""
    parts = (state,) if isinstance(state, Tensor) else tuple(state)
    return torch.cat([part.flatten(1) for part in parts], -1)


def pca_paths(
    trajectories: Trajectory | Sequence[Trajectory], *, read: Callable[[State], Float[Tensor, "b s"]] = all_values
) -> Paths:
    """The paths of all examples of one or several runs, along the two directions in which their states vary most.

    The directions are fitted to all states of all kept passes together, about their mean, in float64. The time it takes
    grows with the cube of the number of states (or of s, where that is smaller): a hundred paths of sixteen passes take
    about a second.

    Args:
        trajectories: runs that kept the same passes, such as one puzzle from several starts.
        read: what to take of a state: one vector a path. `lambda h: h[:, 3]` is position 3 of each example,
            `lambda h: h[0]` makes a path of each position of example 0, `lambda h: h.z_H.flatten(1)` reads one part.

    Raises:
        ValueError: no runs, runs that kept other passes, fewer than two states or values, or one that is not finite.
    """
    runs = [trajectories] if isinstance(trajectories, Trajectory) else list(trajectories)
    if not runs:
        raise ValueError("no trajectories; expected one or several runs of `unroll`")
    passes = runs[0].passes
    for run in runs:
        if run.passes != passes:
            raise ValueError(f"one run kept passes {base.ranges(passes)}, another {base.ranges(run.passes)}")
    states = torch.stack([torch.cat([read(run.states[i]) for run in runs]) for i in range(len(passes))])
    k, b, _ = states.shape
    if not states.isfinite().all():
        raise ValueError("a state is not finite: the run diverged; draw the passes before that")
    if min(k * b, states.shape[2]) < 2:
        raise ValueError(f"{k * b} states of {states.shape[2]} values; a plane needs at least two of both")
    x = states.detach().double().cpu().flatten(0, 1)
    x = x - x.mean(0)
    # X = U S V^T; the smaller of X X^T = U S^2 U^T and X^T X = V S^2 V^T gives the coordinates X V = U S.
    wide = x.shape[1] > x.shape[0]
    variances, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    variances, vectors = variances.flip(0)[:2].clamp_min(0), vectors.flip(1)[:, :2]
    points = vectors * variances.sqrt() if wide else x @ vectors
    # A direction is as good as its opposite: the farthest point is put on the positive side.
    farthest = points.gather(0, points.abs().argmax(0, keepdim=True))
    points = points * torch.where(farthest < 0, -1.0, 1.0)
    share = (variances / x.square().sum().clamp_min(1e-30)).tolist()
    return Paths(points.reshape(k, b, 2), passes, (share[0], share[1]))


def latent_path(
    paths: Paths,
    *,
    right: Bool[Tensor, " b"] | None = None,
    labels: Sequence[str] | None = None,
    title: str = "",
    example: int = 0,
    start: int | None = None,
) -> "LatentPath":
    """A picture of all paths, with a slider over the passes and one path drawn in full.

    Args:
        paths: from `pca_paths`.
        right: whether the run that each path belongs to ends with the right answer; drawn as a dot or a cross.
        labels: what each path is called; default "path 0", "path 1" and so on.
        title: a heading.
        example: the path chosen first.
        start: the pass shown first; default: the first kept.

    Raises:
        ValueError: other than one label or verdict a path, no such path, or `start` was not kept.
    """
    b = paths.points.shape[1]
    names = [f"path {i}" for i in range(b)] if labels is None else list(labels)
    for what, values in (("labels", names), ("right", right)):
        if values is not None and len(values) != b:
            raise ValueError(f"{len(values)} {what} for {b} paths")
    if not 0 <= example < b:
        raise ValueError(f"example={example}; there are paths {base.ranges(range(b))}")
    verdicts = None if right is None else [int(r) for r in right.tolist()]
    steps = (paths.points[1:] - paths.points[:-1]).norm(dim=-1).sum(0)
    direct = (paths.points[-1] - paths.points[0]).norm(dim=-1)
    view = {
        "title": title,
        "width": _WIDTH,
        "height": _HEIGHT,
        "passes": list(paths.passes),
        "first": base.first_pass(paths.passes, start),
        "explained": [base.rounded(100 * share, 2) for share in paths.explained],
        "points": _on_picture(paths.points),
        "right": verdicts,
        "labels": names,
        "texts": [
            _text(name, None if verdicts is None else bool(verdicts[i]), steps[i].item(), direct[i].item())
            for i, name in enumerate(names)
        ],
        "summary": "" if verdicts is None else f"{sum(verdicts)} of {b} end right",
    }
    return LatentPath(view=view, value=example)


def _on_picture(points: Float[Tensor, "k b 2"]) -> list[list[list[int]]]:
    """Whole numbers on the picture, by path and pass; y grows downwards."""
    low, high = points.amin((0, 1)), points.amax((0, 1))
    margin = 30
    room = torch.tensor([_WIDTH - 2 * margin, _HEIGHT - 2 * margin], dtype=points.dtype)
    scale = (room / (high - low).clamp_min(1e-12)).min()
    placed = (points - (low + high) / 2) * scale * torch.tensor([1, -1]) + torch.tensor([_WIDTH / 2, _HEIGHT / 2])
    return placed.round().int().transpose(0, 1).tolist()


def _text(name: str, right: bool | None, length: float, direct: float) -> str:
    verdict = "" if right is None else f" ends {'right' if right else 'wrong'};"
    if direct == 0:
        detour = "ends where it began"
    elif length < 1.05 * direct:
        detour = "is a straight line"
    else:
        detour = f"is {length / direct:.2g} times as long as a straight line"
    return f"{name}{verdict or ':'} its way in this plane {detour}"


class LatentPath(base.Widget):
    """All paths, with a slider over the passes; made by `latent_path`.

    Attributes:
        value: the path chosen, counted from 0; follows a click on its end point, and moves the choice.
    """

    kind = "latent-path"
    _esm = _JS
    _css = _CSS
    value = traitlets.Int(0).tag(sync=True)

    @traitlets.validate("value")
    def _there(self, proposal: traitlets.Bunch) -> int:
        number = len(self.view.get("labels", []))
        if number and not 0 <= proposal.value < number:
            raise traitlets.TraitError(f"value={proposal.value}: choose a path from {base.ranges(range(number))}")
        return proposal.value

    @property
    def text(self) -> str:
        """The path chosen, in a sentence."""
        summary = self.view["summary"]
        return f"{self.view['texts'][self.value]}{'; ' if summary else ''}{summary}."

    def table(self) -> str:
        """Where each path begins and ends, in the picture's units, and whether the answer is right."""
        rows = []
        for i, (name, points) in enumerate(zip(self.view["labels"], self.view["points"], strict=True)):
            verdict = [] if self.view["right"] is None else ["right" if self.view["right"][i] else "wrong"]
            rows.append([name, *(f"({x}, {y})" for x, y in (points[0], points[-1])), *verdict])
        header = ["path", "begins at", "ends at"] + ([] if self.view["right"] is None else ["answer"])
        return f"<p>{html.escape(self.view['title'])} {html.escape(self.text)}</p>{base.table(header, rows)}"
