"""The figures of the labs and the book. Each function returns a closed figure: as a cell's last value it shows once."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import ParamSpec

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from latentkit.style import CYCLE, GREY, INK, figure_style

P = ParamSpec("P")


def _figure(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draws in the course's style and closes the figure."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with figure_style():
            figure = draw(*args, **kwargs)
            figure.canvas.draw()  # the layout is settled now, under this style
            plt.close(figure)
        return figure

    return styled


@_figure
def depth_curves(
    curves: Mapping[str, Sequence[Sequence[float]]],
    *,
    chance: float | None = None,
    trained_to: int | None = None,
    xlabel: str = "depth (letters read)",
    title: str = "",
) -> Figure:
    """Accuracy by depth: by label, one curve a seed; the line is their mean, the band their range.

    Args:
        curves: accuracies from depth 0 on, in 0..1; NaN where a depth does not occur.
        chance: drawn as a dotted line.
        trained_to: the largest depth seen in training, drawn as the edge of a shaded region.
    """
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    markers = "osD^vP*"
    for i, (label, seeds) in enumerate(curves.items()):
        values = np.array(seeds, dtype=float)
        depth = np.arange(values.shape[1])
        colour = CYCLE[i % len(CYCLE)]
        axes.fill_between(depth, values.min(0), values.max(0), alpha=0.18, linewidth=0, color=colour)
        axes.plot(depth, values.mean(0), marker=markers[i % 7], markersize=4, label=label, color=colour)
    if chance is not None:
        axes.axhline(chance, color=GREY, linestyle=":", linewidth=1.4)
        axes.annotate(
            "chance", (1, chance), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=GREY, fontsize=9
        )
    if trained_to is not None:
        axes.axvspan(-0.5, trained_to + 0.5, color="#f3f4f6", zorder=0)
        axes.annotate(
            "seen in training",
            (trained_to, 0.1),
            xycoords=("data", "axes fraction"),
            ha="right",
            color=GREY,
            fontsize=9,
        )
    axes.set(xlabel=xlabel, ylabel="accuracy", ylim=(-0.03, 1.04), title=title)
    axes.set_xlim(-0.5, None)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@_figure
def pass_map(
    accuracy: Float[Tensor, "k m"],
    passes: Sequence[int],
    *,
    line: Callable[[int], float] | None = None,
    line_label: str = "",
    xlabel: str = "depth (letters read)",
    title: str = "",
) -> Figure:
    """Accuracy by pass (up) and depth (right); `line` gives the depth expected to be reached after a pass."""
    figure, axes = plt.subplots(figsize=(7.2, 4.2))
    width = accuracy.shape[1]
    edges = np.array([*passes, passes[-1] + 1]) - 0.5
    mesh = axes.pcolormesh(np.arange(width + 1) - 0.5, edges, accuracy.numpy(), vmin=0, vmax=1, cmap="cividis")
    if line is not None:
        reach = [line(t) for t in passes]
        axes.plot(reach, list(passes), color="white", linewidth=3.2)
        axes.plot(reach, list(passes), color=INK, linestyle="--", linewidth=1.6, label=line_label)
        axes.legend(loc="upper left", frameon=True, framealpha=0.92)
    axes.set(xlabel=xlabel, ylabel="passes", title=title, xlim=(-0.5, width - 0.5), ylim=(edges[0], edges[-1]))
    axes.grid(False)
    figure.colorbar(mesh, label="accuracy", pad=0.02)
    return figure


@_figure
def loss_curves(losses: Mapping[str, Sequence[float]], *, every: int = 1, title: str = "") -> Figure:
    """Training loss by step, on a logarithmic scale, smoothed over twenty values."""
    figure, axes = plt.subplots(figsize=(7.2, 2.8))
    for label, values in losses.items():
        window = min(20, len(values))
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        axes.plot((np.arange(len(smooth)) + window - 1) * every, smooth, label=label)
    axes.set(xlabel="training step", ylabel="cross-entropy (nats)", yscale="log", title=title)
    axes.legend()
    return figure


@_figure
def reach_bars(
    reach: Mapping[str, Sequence[float]], *, xlabel: str, trained_to: int | None = None, title: str = ""
) -> Figure:
    """By label, one value a seed: the bar is their mean, every seed a dot."""
    figure, axes = plt.subplots(figsize=(7.2, 0.5 * len(reach) + 1.1))
    for row, (label, values) in enumerate(reach.items()):
        colour = CYCLE[row % len(CYCLE)]
        axes.barh(row, np.mean(values), color=colour, alpha=0.35, height=0.6)
        offsets = np.linspace(-0.14, 0.14, len(values)) if len(values) > 1 else [0.0]
        axes.plot(values, row + np.array(offsets), "o", color=colour, markersize=5)
        axes.annotate(
            f"{np.mean(values):.3g}", (max(values), row), xytext=(8, 0), textcoords="offset points", va="center"
        )
        axes.text(-0.01, row, label, transform=axes.get_yaxis_transform(), ha="right", va="center")
    if trained_to is not None:
        axes.axvline(trained_to, color=GREY, linestyle="--", linewidth=1.2)
        axes.annotate(
            "longest in training",
            (trained_to, 1.0),
            xycoords=("data", "axes fraction"),
            color=GREY,
            fontsize=9,
            xytext=(4, 2),
            textcoords="offset points",
        )
    axes.set(xlabel=xlabel, yticks=[])
    axes.set_title(title, pad=18 if trained_to is not None else None)
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    return figure


@_figure
def side_by_side(
    expected: Float[Tensor, "r c"], yours: Float[Tensor, "r c"], *, labels: tuple[str, str] = ("expected", "yours")
) -> Figure:
    """Two matrices on one colour scale, and where they differ: a target beside a learner's own result."""
    a, b = (np.ma.masked_invalid(x.detach().double().numpy()) for x in (expected, yours))
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.6), sharey=True)
    # An infinite entry on both sides is agreement, on one side a difference that no scale can show.
    gap = np.where(
        a.mask & b.mask if np.ma.is_masked(a) else np.zeros(a.shape, bool), 0.0, np.abs(a.filled(1e3) - b.filled(-1e3))
    )
    for axis, values, title in ((axes[0], a, labels[0]), (axes[1], b, labels[1])):
        axis.imshow(values, vmin=low, vmax=high, cmap="cividis", aspect="auto")
        axis.set_title(title)
    axes[2].imshow(gap, vmin=0, vmax=max(float(high - low), 1e-9), cmap="Reds", aspect="auto")
    axes[2].set_title("difference: none" if gap.max() < 1e-4 else f"difference: up to {gap.max():.2g}")
    for axis in axes:
        axis.grid(False)
        axis.set(xticks=[], yticks=[])
        axis.set_facecolor("#e6e8eb")
    return figure


@_figure
def pass_curves(
    curves: Mapping[str, Sequence[Sequence[float]]],
    *,
    ylabel: str,
    log: bool = False,
    first: int = 1,
    xlabel: str = "pass",
    lines: Mapping[str, float] | None = None,
    title: str = "",
) -> Figure:
    """Anything by pass: by label, one curve a run; the line is their mean (geometric if `log`), the band their range.

    Args:
        log: logarithmic scale; what is 0 is left out.
        first: the pass of the first value.
        lines: by label, levels to draw across.
    """
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    for i, (label, runs) in enumerate(curves.items()):
        values = np.array(runs, dtype=float)
        if log:
            values = np.where(values > 0, values, np.nan)
        x, colour = first + np.arange(values.shape[1]), CYCLE[i % len(CYCLE)]
        mean = np.exp(np.log(values).mean(0)) if log else values.mean(0)
        axes.fill_between(x, values.min(0), values.max(0), alpha=0.18, linewidth=0, color=colour)
        every = max(1, len(x) // 24)
        axes.plot(x, mean, color=colour, label=label, marker="osD^vP*"[i % 7], markersize=3.5, markevery=every)
    for label, level in (lines or {}).items():
        axes.axhline(level, color=GREY, linestyle=":", linewidth=1.4)
        axes.annotate(label, (0.01, level), xycoords=("axes fraction", "data"), va="bottom", color=GREY, fontsize=9)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if log:
        axes.set_yscale("log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@_figure
def state_plane(
    points: Float[Tensor, "m 2"],
    classes: Int[Tensor, " m"],
    names: Sequence[str],
    *,
    path: Float[Tensor, "t 2"] | None = None,
    title: str = "",
) -> Figure:
    """States in a plane, coloured and named by class; `path` is one state's way there, pass by pass."""
    figure, axes = plt.subplots(figsize=(7.2, 4.4))
    for c in classes.unique().tolist():
        x, y = points[classes == c].T.numpy()
        axes.plot(x, y, "osD^vP*"[c % 7], color=CYCLE[c % len(CYCLE)], markersize=3, alpha=0.35, label=names[c])
    if path is not None:
        x, y = path.T.numpy()
        axes.plot(x, y, "-", color=INK, linewidth=1)
        axes.plot(x, y, "o", color=INK, markersize=3.5, label="one letter, pass by pass")
        axes.annotate("start", (x[0], y[0]), textcoords="offset points", xytext=(6, 6), fontsize=9)
        axes.annotate("rest", (x[-1], y[-1]), textcoords="offset points", xytext=(6, 6), fontsize=9)
    axes.set(xlabel="first principal component", ylabel="second", title=title)
    axes.set_aspect("equal", adjustable="datalim")
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return figure


@_figure
def stage_map(
    values: Float[Tensor, "t r"], rows: Sequence[str], *, label: str, first: int = 1, title: str = ""
) -> Figure:
    """One number in 0..1 a pass (right) and a row, such as a head: a row of one colour does the same at every pass."""
    figure, axes = plt.subplots(figsize=(7.2, 0.42 * len(rows) + 1.2))
    edges = first - 0.5 + np.arange(len(values) + 1)
    mesh = axes.pcolormesh(edges, np.arange(len(rows) + 1) - 0.5, values.T.numpy(), vmin=0, vmax=1, cmap="cividis")
    axes.set(xlabel="pass", title=title)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.grid(False)
    figure.colorbar(mesh, label=label, pad=0.02)
    return figure


@_figure
def halting_curves(
    rules: Mapping[str, Sequence[tuple[str, float, float]]], *, full: tuple[int, float] | None = None, title: str = ""
) -> Figure:
    """What halting costs: by rule, (threshold, mean passes, accuracy) of each point; `full`: all passes' accuracy."""
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    for i, (rule, points) in enumerate(rules.items()):
        names, passes, accuracy = zip(*points, strict=True)
        axes.plot(passes, accuracy, marker="osD^"[i % 4], markersize=5, label=rule)
        for name, x, y in zip(names, passes, accuracy, strict=True):
            axes.annotate(name, (x, y), textcoords="offset points", xytext=(5, -10 - 2 * i), fontsize=8, color=GREY)
    if full is not None:
        axes.plot(*full, "*", color=INK, markersize=10, label=f"all {full[0]} passes")
    axes.set(xlabel="passes a letter, on average", ylabel="accuracy", title=title)
    axes.margins(x=0.08, y=0.15)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@_figure
def rest_scatter(models: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, title: str = "") -> Figure:
    """By model: last residuals and accuracies, a point a seed. Rest is at the left, right at the top."""
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    for i, (label, (residuals, accuracy)) in enumerate(models.items()):
        axes.plot(residuals, accuracy, "osD^vP*"[i % 7], markersize=6, alpha=0.8, label=label)
    axes.set(xlabel="last residual", ylabel="accuracy", xscale="log", ylim=(0, 1.05), title=title)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
