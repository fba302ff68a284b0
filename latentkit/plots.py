"""The figures of the labs and the book. Each function returns a closed figure: as a cell's last value it shows once."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from latentkit.depth_memory.results import DepthMemoryMap
from latentkit.style import BLUE, CYCLE, GREEN, GREY, INK, ORANGE, figure_style

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
    ylabel: str = "passes",
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
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title, xlim=(-0.5, width - 0.5), ylim=(edges[0], edges[-1]))
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
    at: Sequence[int] | None = None,
    xlabel: str = "pass",
    lines: Mapping[str, float] | None = None,
    trained_to: int | None = None,
    ylim: tuple[float, float] | None = None,
    log_x: bool = False,
    title: str = "",
) -> Figure:
    """Anything by pass: by label, one curve a run; the line is their mean (geometric if `log`), the band their range.

    Args:
        log: logarithmic scale; what is 0 is left out.
        first: the pass of the first value; `at` the pass of every value, where there are gaps between them.
        lines: by label, levels to draw across.
        trained_to: the most passes in training, drawn as the edge of a shaded region.
        ylim: ends of the vertical axis, where those of the data would mislead.
        log_x: passes on a scale of powers of two.
    """
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    if trained_to is not None:
        axes.axvspan(first - 0.5, trained_to + 0.5, color="#f3f4f6", zorder=0, label="seen in training")
    for i, (label, runs) in enumerate(curves.items()):
        values = np.array(runs, dtype=float)
        if log:
            values = np.where(values > 0, values, np.nan)
        x, colour = np.array(at or range(first, first + values.shape[1])), CYCLE[i % len(CYCLE)]
        mean = np.exp(np.log(values).mean(0)) if log else values.mean(0)
        axes.fill_between(x, values.min(0), values.max(0), alpha=0.18, linewidth=0, color=colour)
        every = max(1, len(x) // 24)
        axes.plot(x, mean, color=colour, label=label, marker="osD^vP*"[i % 7], markersize=3.5, markevery=every)
    for label, level in (lines or {}).items():
        axes.axhline(level, color=GREY, linestyle=":", linewidth=1.4)
        axes.annotate(label, (0.01, level), xycoords=("axes fraction", "data"), va="bottom", color=GREY, fontsize=9)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title, yscale="log" if log else "linear")
    if ylim is not None:  # None would freeze the limits as they are
        axes.set_ylim(ylim)
    if log_x:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
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
def halting_curves(
    rules: Mapping[str, Sequence[tuple[str, float, float]]], *, full: tuple[int, float] | None = None, title: str = ""
) -> Figure:
    """What halting costs: by rule, (threshold, mean passes, accuracy) of each point; `full`: all passes' accuracy."""
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    for i, (rule, points) in enumerate(rules.items()):
        names, passes, accuracy = zip(*points, strict=True)
        axes.plot(passes, accuracy, marker="osD^"[i % 4], markersize=5, label=rule)
        for name, x, y in zip(names, passes, accuracy, strict=True):
            above = (0, (6, -13, -23)[i % 3])  # a height for each rule: where they meet, their labels do not
            axes.annotate(name, (x, y), xytext=above, textcoords="offset points", ha="center", fontsize=8, color=GREY)
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


@_figure
def cost_bars(
    ours: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    papers: Mapping[str, float | None],
    *,
    labels: tuple[str, str] = ("here", "paper"),
    title: str = "",
) -> Figure:
    """What each change of a recipe costs, ours beside a paper's.

    Args:
        ours: by change, the recipe's accuracies and the changed one's, one a seed, in percent. The bar is the
            difference of the means; a dot for each seed of the changed one; the shaded band is the recipe's own range.
        papers: by change, the paper's cost in points; None where it has none.
    """
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 0.42 * len(ours) + 1.2), sharex=True, sharey=True)
    for row, (base, changed) in enumerate(ours.values()):
        mean = float(np.mean(base))
        cost = mean - np.array(changed, dtype=float)
        axes[0].barh(row, cost.mean(), color=BLUE, alpha=0.35, height=0.6)
        offsets = np.linspace(-0.14, 0.14, len(cost)) if len(cost) > 1 else np.zeros(1)
        axes[0].plot(cost, row + offsets, "o", color=BLUE, markersize=4.5)
    every = np.concatenate([np.array(base) - np.mean(base) for base, _ in ours.values()])
    axes[0].axvspan(every.min(), every.max(), color=GREY, alpha=0.25, linewidth=0)
    for row, name in enumerate(ours):
        paper = papers.get(name)
        if paper is None:
            axes[1].text(0.5, row, "not reported", va="center", color=GREY, fontsize=9)
        else:
            axes[1].barh(row, paper, color=ORANGE, alpha=0.35, height=0.6)
            axes[1].plot(paper, row, "s", color=ORANGE, markersize=5)
    for axis, label in zip(axes, labels, strict=True):
        axis.axvline(0, color=INK, linewidth=1)
        axis.set(xlabel="points lost", title=label)
        axis.grid(axis="y", visible=False)
        axis.margins(x=0.08)
    axes[0].set_yticks(range(len(ours)), list(ours))
    axes[0].invert_yaxis()
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


@_figure
def critical_segment(wrong: Int[Tensor, "k b"], *, before: int = 4, title: str = "") -> Figure:
    """Wrong cells by segment, of the puzzles that end right: their mean, and each one aligned where it became right."""
    solved = wrong[:, wrong[-1] == 0].numpy()
    # The segment after which a puzzle stayed right.
    last_wrong = len(solved) - 1 - (solved[::-1] > 0).argmax(0)
    at = np.where((solved > 0).any(0), last_wrong + 1, 0)
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
    shown = int(at.max()) + 2
    axes[0].plot(np.arange(1, shown + 1), solved[:shown].mean(1), marker="o", color=BLUE, markersize=4)
    axes[0].set(xlabel="segment", ylabel="wrong cells", title="mean over puzzles")
    offsets = np.arange(-before, 2)
    aligned = np.full((len(offsets), solved.shape[1]), np.nan)
    for row, offset in enumerate(offsets):
        there = (at + offset >= 0) & (at + offset < len(solved))
        aligned[row, there] = solved[at[there] + offset, there.nonzero()[0]]
    axes[1].plot(offsets, aligned[:, :60], color=GREY, linewidth=0.8, alpha=0.4)
    counted = (~np.isnan(aligned)).any(1)
    axes[1].plot(offsets[counted], np.nanmean(aligned[counted], 1), marker="s", color=ORANGE, markersize=4)
    axes[1].set(xlabel="segments from the one that solves it", title="each puzzle aligned")
    for axis in axes:
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


@_figure
def scaling_curves(
    x: Sequence[int],
    curves: Mapping[str, Sequence[Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str = "puzzles right (%)",
    title: str = "",
) -> Figure:
    """Percent by passes or restarts, on a doubling scale: by label, one curve a seed; mean and range are drawn."""
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    for i, (label, seeds) in enumerate(curves.items()):
        values, colour = np.array(seeds, dtype=float), CYCLE[i % len(CYCLE)]
        axes.fill_between(x, values.min(0), values.max(0), alpha=0.18, linewidth=0, color=colour)
        axes.plot(x, values.mean(0), color=colour, label=label, marker="osD^vP*"[i % 7], markersize=4.5)
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(-3, 104), title=title)
    axes.set_xscale("log", base=2)
    axes.set_xticks(x, [str(value) for value in x])
    axes.minorticks_off()
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@_figure
def length_curves(
    curves: Mapping[str, Sequence[Sequence[float]]],
    lengths: Sequence[int],
    *,
    chance: float | None = None,
    trained_to: int | None = None,
    xlabel: str = "tokens in the sequence",
    ylabel: str = "recall",
    title: str = "",
) -> Figure:
    """Shares by length, on a doubling scale: by label, one curve a seed; the line is their mean, the band their range.

    Args:
        chance: drawn as a dotted line.
        trained_to: the longest length seen in training; drawn as the edge of a shaded region.
    """
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    for i, (label, seeds) in enumerate(curves.items()):
        values, colour = np.array(seeds, dtype=float), CYCLE[i % len(CYCLE)]
        axes.fill_between(lengths, values.min(0), values.max(0), alpha=0.18, linewidth=0, color=colour)
        axes.plot(lengths, values.mean(0), color=colour, label=label, marker="osD^vP*"[i % 7], markersize=4.5)
    axes.set_xscale("log", base=2)
    if trained_to is not None:
        axes.axvspan(lengths[0] / 1.3, trained_to, color="#f3f4f6", zorder=0)
        axes.annotate("seen in training", (0.01, 0.5), xycoords="axes fraction", color=GREY, fontsize=9)
    if chance is not None:
        axes.axhline(chance, color=GREY, linestyle=":", linewidth=1.4)
        axes.annotate("chance", (0.4, chance), xycoords=("axes fraction", "data"), va="top", color=GREY, fontsize=9)
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.03, 1.04), title=title)
    axes.set_xlim(lengths[0] / 1.3, lengths[-1] * 1.3)
    axes.set_xticks(lengths, [f"{n:,}" for n in lengths])
    axes.minorticks_off()
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@_figure
def capacity_panels(
    panels: Mapping[str, Mapping[str, Sequence[float]]], sizes: Mapping[str, Sequence[int]], *, title: str = ""
) -> Figure:
    """Recall by the number of pairs, a panel a kind of keys, a curve a rule; the last rule is drawn as a ceiling."""
    figure, axes = plt.subplots(1, len(panels), figsize=(7.6, 3.0), sharey=True)
    for axis, (name, rules) in zip(axes, panels.items(), strict=True):
        places = range(len(sizes[name]))
        for i, (rule, recall) in enumerate(rules.items()):
            last = i == len(rules) - 1
            style = {"color": GREY, "linestyle": "--"} if last else {"color": CYCLE[i], "marker": "osD^vP*"[i % 7]}
            axis.plot(places, recall, label=rule if axis is axes[0] else None, markersize=4.5, **style)
        axis.set_xticks(places, [str(n) for n in sizes[name]])
        axis.set(xlabel="keys", ylim=(-0.03, 1.06))
        axis.set_title(name, fontweight="normal", fontsize=10)
    axes[0].set_ylabel("recall")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@_figure
def signal_dots(
    signals: Mapping[str, Mapping[str, Sequence[float | None]]], *, line: float | None = None, title: str = ""
) -> Figure:
    """How well each signal tells right from wrong: by group (a row) and signal (a colour), the AUC of each seed.

    A seed without enough right and wrong answers is None, and has no dot.
    """
    names = list(dict.fromkeys(name for group in signals.values() for name in group))
    figure, axes = plt.subplots(figsize=(7.2, 0.5 * len(signals) + 1.2))
    for i, name in enumerate(names):
        offset = (i - (len(names) - 1) / 2) * 0.62 / max(1, len(names))
        points = [
            (value, row + offset)
            for row, group in enumerate(signals.values())
            for value in group.get(name, ())
            if value is not None
        ]
        if points:
            axes.plot(*zip(*points, strict=True), "osD^vP*"[i % 7], color=CYCLE[i % 7], markersize=5, label=name)
    axes.axvline(0.5, color=GREY, linestyle=":", linewidth=1.4)
    axes.annotate(
        "no better than a coin",
        (0.5, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, 2),
        textcoords="offset points",
        color=GREY,
        fontsize=9,
    )
    if line is not None:
        axes.axvline(line, color=INK, linestyle="--", linewidth=1)
    shown = [v for group in signals.values() for values in group.values() for v in values if v is not None]
    axes.set(xlabel="AUC (each mark a seed)", xlim=(min(0.45, *shown) - 0.03, 1.03))
    axes.set_title(title, pad=18)
    axes.set_yticks(range(len(signals)), list(signals))
    axes.set_ylim(len(signals) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@_figure
def update_schedule(schedule: Sequence[str], *, gradient_updates: int, segments: int = 2, title: str = "") -> Figure:
    """When each module of a nested recurrence is updated; a square where the update carries gradient, else a ring."""
    figure, axes = plt.subplots(figsize=(7.2, 1.9))
    rows = list(dict.fromkeys(schedule))  # the fast module first, at the bottom
    updates = len(schedule)
    kinds = (("no gradient", "o", "white", GREY), ("gradient", "s", CYCLE[1], CYCLE[1]))
    for carries, (label, marker, face, edge) in enumerate(kinds):
        at = [i for i in range(updates) if (i >= updates - gradient_updates) == bool(carries)]
        x = [s * updates + i + 1 for s in range(segments) for i in at]
        y = [rows.index(schedule[i]) for _ in range(segments) for i in at]
        axes.plot(
            x, y, marker, markersize=11, markerfacecolor=face, markeredgecolor=edge, markeredgewidth=1.6, label=label
        )
    for s in range(1, segments + 1):
        axes.axvline(s * updates + 0.5, color=INK, linestyle="--", linewidth=1)
        axes.annotate(
            "loss, optimiser step", (s * updates + 0.42, len(rows) - 0.28), ha="right", va="bottom", fontsize=8.5
        )
    axes.set(xlabel="update", title=title, ylim=(-0.6, len(rows) + 0.1), xlim=(0.3, segments * updates + 0.7))
    axes.set_xticks(range(1, segments * updates + 1))
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(axis="x", visible=False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@_figure
def halting_scatter(
    halted: Int[Tensor, " b"], level: Int[Tensor, " b"], right: Bool[Tensor, " b"], *, xlabel: str, title: str = ""
) -> Figure:
    """Where each puzzle halts, by how hard it is: a dot where its answer is right then, a cross where it is not.

    Args:
        halted: the segment at which it halts; 0 where it never does, which is drawn above all others.
        level: any whole number that says how hard the puzzle is. The line is the mean at each level.
    """
    figure, axes = plt.subplots(figsize=(7.2, 3.6))
    never = int(halted.max()) + 2
    y = torch.where(halted > 0, halted, never).double()
    around = 0.6 * torch.rand(2, len(y), generator=torch.Generator().manual_seed(0)) - 0.3  # apart, and always the same
    for kept, label, marker, colour in ((right, "right", "o", CYCLE[2]), (~right, "wrong", "x", CYCLE[1])):
        axes.plot(
            (level + around[0])[kept], (y + around[1])[kept], marker, color=colour, markersize=4, alpha=0.7, label=label
        )
    levels = level[halted > 0].unique()
    means = [float(y[(level == at) & (halted > 0)].mean()) for at in levels]
    axes.plot(levels, means, "-", color=INK, label="mean")
    axes.set(xlabel=xlabel, ylabel="halts after segment", title=title)
    ticks = list(range(1, never - 1))
    axes.set_yticks(ticks[:: max(1, len(ticks) // 8)])
    if bool((halted == 0).any()):
        axes.set_yticks([*axes.get_yticks(), never], [*map(str, ticks[:: max(1, len(ticks) // 8)]), "never"])
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@_figure
def recovered_bits(
    lengths: Sequence[int],
    curves: Mapping[str, Sequence[Sequence[float]]],
    most: Mapping[str, Mapping[int, Sequence[float]]],
    *,
    letters: int,
    trained_to: int | None = None,
    title: str = "",
) -> Figure:
    """Bits of a random string said again: left by its length, right the most of them by the numbers in the state.

    Args:
        lengths: letters in the string.
        curves: bits by label, one curve a seed; the dashed line is all there are, n log2 V.
        most: by kind of model, for each number of numbers in its state, the most bits at any length, one a seed.
        letters: size V of the alphabet.
        trained_to: the longest string in training.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.8), width_ratios=(1.25, 1))
    all_bits = np.array(lengths) * np.log2(letters)
    left.plot(lengths, all_bits, "--", color=INK, linewidth=1.4, label=r"all: $n\,\log_2 V$")
    for i, (label, seeds) in enumerate(curves.items()):
        values, colour = np.array(seeds, dtype=float), CYCLE[i % len(CYCLE)]
        left.fill_between(lengths, values.min(0), values.max(0), alpha=0.18, linewidth=0, color=colour)
        left.plot(lengths, values.mean(0), color=colour, label=label, marker="osD^vP*"[i % 7], markersize=4.5)
    if trained_to is not None:
        left.axvspan(0, trained_to, color="#f3f4f6", zorder=0)
    # A model that is sure of wrong letters goes far below zero: that it does is all there is to see.
    left.set(xlabel="letters in the string", ylabel="bits", xlim=(0, lengths[-1] + 1), ylim=(-12, 1.04 * all_bits[-1]))
    left.set_title(title)
    left.legend(fontsize=8.5, loc="upper left")
    for i, (label, points) in enumerate(most.items()):
        colour = CYCLE[(1 + 3 * i) % len(CYCLE)]
        sizes = sorted(points)
        right.plot(sizes, [np.mean(points[s]) for s in sizes], color=colour, label=label)
        for size in sizes:
            right.plot([size] * len(points[size]), points[size], "o", color=colour, markersize=4.5)
    sizes = sorted({size for points in most.values() for size in points})
    right.plot(sizes, [32 * size for size in sizes], ":", color=INK, linewidth=1.4, label="32 bits a number")
    right.set(xlabel="numbers in the state", title="most bits at any length", xscale="log", yscale="log")
    right.legend(fontsize=8.5)
    return figure


@_figure
def depth_memory_map(table: DepthMemoryMap, *, title: str = "") -> Figure:
    """Every architecture on every task: how far above chance, in percent, with the range over seeds below it.

    A broken frame: the seeds differ much; a cross: a training broke down; hatched: the task does not apply; a dash: not
    run yet. The line across parts models that recur over depth from those over time, the line down tasks that load
    depth from those that load memory.
    """
    height, width = len(table.rows), len(table.columns)
    figure, axes = plt.subplots(figsize=(1.05 * width + 2.4, 0.52 * height + 1.9))
    above = [[table.cell(row.id, column.id).above for column in table.columns] for row in table.rows]
    shown = np.ma.masked_invalid([[np.nan if value is None else max(0.0, value) for value in row] for row in above])
    mesh = axes.pcolormesh(shown, vmin=0, vmax=1, cmap="cividis", edgecolors="white", linewidth=1.5)
    for y, row in enumerate(table.rows):
        for x, column in enumerate(table.columns):
            cell = table.cell(row.id, column.id)
            ends = [cell.over_chance(value) for value in (cell.low, cell.high)]
            centre: dict[str, Any] = {"ha": "center", "va": "center"}
            if cell.above is None:
                patch, text = _UNMEASURED[cell.status]
                axes.add_patch(plt.Rectangle((x + 0.02, y + 0.03), 0.96, 0.94, **patch))
                axes.text(x + 0.5, y + 0.5, text, fontsize=8.5, color=INK, **centre)
                continue
            ink = "white" if cell.above < 0.62 else INK
            mark = "✗ " if cell.status == "failed" else ""
            axes.text(x + 0.5, y + 0.38, f"{mark}{round(100 * cell.above)}", color=ink, fontsize=10.5, **centre)
            spread = " to ".join(f"{round(100 * end)}" for end in ends if end is not None)
            spread = spread if len(cell.scores) > 1 else "one seed"
            axes.text(x + 0.5, y + 0.74, spread, color=ink, fontsize=7, **centre)
            if cell.status == "unstable":
                axes.add_patch(
                    plt.Rectangle((x + 0.06, y + 0.09), 0.88, 0.82, fill=False, edgecolor=ink, linestyle="--", lw=1.2)
                )
    for lines, draw in ((table.rows, axes.axhline), (table.columns, axes.axvline)):
        for i in range(1, len(lines)):
            if lines[i].kind != lines[i - 1].kind:
                draw(i, color=ORANGE, linewidth=2.2)
    axes.set_xticks(
        np.arange(width) + 0.5, [column.title.replace(" ", "\n", 1) for column in table.columns], fontsize=9
    )
    axes.set_yticks(np.arange(height) + 0.5, [row.title for row in table.rows])
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.grid(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    figure.colorbar(mesh, label="way from chance to all right", format=lambda share, _: f"{100 * share:.0f}%", pad=0.02)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


_UNMEASURED: dict[str, tuple[dict[str, Any], str]] = {
    "failed": ({"facecolor": "#f3c9b5", "edgecolor": ORANGE, "lw": 1.2}, "✗ failed"),
    "not applicable": ({"facecolor": "#f3f4f6", "edgecolor": "#c9cdd3", "hatch": "///", "lw": 0}, "n.a."),
    "not run": ({"facecolor": "white", "edgecolor": "#c9cdd3", "linestyle": ":", "lw": 1}, "not run"),
}


@_figure
def outcome_areas(panels: Mapping[str, Mapping[str, Sequence[float]]], *, title: str = "") -> Figure:
    """What became of the nodes, by depth from 1: a panel a model, its outcomes' shares stacked from below.

    Args:
        panels: by model, then by outcome, the share at each depth; the shares of a depth add up to 1.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(2.0 * len(panels), 2.9), sharey=True, squeeze=False)
    looks = [(GREEN, ""), ("#9ad7c2", ".."), (ORANGE, "//"), ("#f3c9b5", "\\\\")]
    for axis, (name, shares) in zip(axes[0], panels.items(), strict=True):
        depth = np.arange(1, 1 + len(next(iter(shares.values()))))
        floor = np.zeros(len(depth))
        for (label, values), (colour, hatch) in zip(shares.items(), looks, strict=False):
            axis.bar(depth, values, 0.92, bottom=floor, color=colour, hatch=hatch, edgecolor="white", lw=0, label=label)
            floor = floor + np.array(values)
        axis.set(xlabel="depth", ylim=(0, 1), xlim=(0.4, len(depth) + 0.6), xticks=depth[2::3])
        axis.set_title(name, fontweight="normal", fontsize=10)
        axis.grid(False)
    axes[0][0].set_ylabel("share of nodes")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


@_figure
def survival_panels(
    survival: Mapping[str, Sequence[Sequence[float]]],
    eps: Mapping[str, Sequence[float]],
    *,
    fitted: int,
    title: str = "",
) -> Figure:
    """Left: rows without a mistake so far, by step, and the curve of one constant chance; right: the chance by step.

    Args:
        survival: by model, one curve a seed, from step 1.
        eps: by model, the constant chance of each seed; (1 - eps)^k is drawn for their mean.
        fitted: the last step that eps was counted on, drawn as the edge of a shaded region.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6), width_ratios=(1.1, 1))
    for i, (label, seeds) in enumerate(survival.items()):
        values, colour = np.array(seeds, dtype=float), CYCLE[i % len(CYCLE)]
        step, marker = np.arange(1, 1 + values.shape[1]), "osD^vP*"[i % 7]
        before = np.concatenate([np.ones((len(values), 1)), values[:, :-1]], 1)
        # Of very few rows a share says nothing.
        hazard = np.where(before > 0.02, 1 - values / np.where(before > 0, before, 1), np.nan)
        left.fill_between(step, values.min(0), values.max(0), alpha=0.18, linewidth=0, color=colour)
        left.plot(step, values.mean(0), color=colour, marker=marker, markersize=4, label=label)
        constant = float(np.mean(eps[label]))
        left.plot(step, (1 - constant) ** step, "--", color=colour, linewidth=1.4)
        right.plot(step, np.ma.masked_invalid(hazard).mean(0), color=colour, marker=marker, markersize=4)
        right.axhline(constant, color=colour, linestyle="--", linewidth=1.4)
    for axis in (left, right):
        axis.axvspan(0.5, fitted + 0.5, color="#f3f4f6", zorder=0)
        axis.set(xlabel="step", ylim=(-0.03, 1.04), xlim=(0.5, step[-1] + 0.5))
    left.set(ylabel="rows right so far", title=title)
    left.plot([], [], "--", color=INK, linewidth=1.4, label=r"one constant chance: $(1-\epsilon)^k$")
    left.legend(fontsize=8.5)
    right.set(ylabel="chance of a first mistake")
    return figure


@_figure
def information_map(
    shares: Float[Tensor, "r c"], rows: Sequence[str], columns: Sequence[str], *, xlabel: str, title: str = ""
) -> Figure:
    """Shares 0 to 1 in a grid, each written into its cell: of the columns, what the rows tell."""
    figure, axes = plt.subplots(figsize=(0.95 * len(columns) + 2.2, 0.5 * len(rows) + 1.3))
    axes.imshow(shares.numpy(), vmin=0, vmax=1, cmap="cividis", aspect="auto")
    for r, row in enumerate(shares.tolist()):
        for c, share in enumerate(row):
            ink = "white" if share < 0.62 else INK
            axes.text(c, r, f"{share:.2f}", ha="center", va="center", color=ink, fontsize=9)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=xlabel, title=title)
    axes.tick_params(length=0)
    axes.grid(False)
    return figure


@_figure
def context_rows(tables: Mapping[str, Float[Tensor, "t f"]], owner: Int[Tensor, " t"], *, title: str = "") -> Figure:
    """Contexts of tuples as rows of shades, sorted by the latent that owns them; the lines separate latents.

    Args:
        tables: by label, a row for every tuple.
        owner: the latent of each tuple; tuples of none (-1) are left out.
    """
    kept = (owner >= 0).nonzero()[:, 0]
    order = kept[owner[kept].argsort(stable=True)]
    edges = owner[order].diff().nonzero()[:, 0].numpy() + 0.5
    top = max(float(table[order].max()) for table in tables.values())
    figure, axes = plt.subplots(1, len(tables), figsize=(7.6, 3.4), sharey=True)
    for axis, (label, table) in zip(np.atleast_1d(axes), tables.items(), strict=True):
        mesh = axis.imshow(table[order].numpy(), vmin=0, vmax=top, cmap="cividis", aspect="auto", interpolation="none")
        axis.hlines(edges, -0.5, table.shape[1] - 0.5, color="white", linewidth=1.4)
        axis.set(xlabel="what stands in the cousin", xticks=[], yticks=[])
        axis.set_title(label, fontweight="normal", fontsize=10)
        axis.grid(False)
    np.atleast_1d(axes)[0].set_ylabel("tuples, by their latent")
    figure.colorbar(mesh, ax=axes, label="share", pad=0.02)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


@_figure
def sample_complexity(
    depths: Sequence[int],
    predicted: Mapping[str, Sequence[Sequence[float]]],
    needed: Mapping[str, Sequence[Sequence[float]]],
    found: Mapping[str, Sequence[Sequence[bool]]],
    *,
    title: str = "",
) -> Figure:
    """Sentences needed by depth: left as the grammar predicts, right as measured.

    Args:
        depths: levels L of the hierarchy.
        predicted, needed: by kind of target, one curve a grammar; the line is their geometric mean.
        found: whether so many were enough; where not, the mark is an open triangle: more would be needed.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.8), sharey=True)
    for axis, curves, name in zip(axes, (predicted, needed), ("predicted: dof / φ²", "measured"), strict=True):
        for i, (label, seeds) in enumerate(curves.items()):
            values, colour = np.array(seeds, dtype=float), CYCLE[i % len(CYCLE)]
            enough = np.array(found[label]) if axis is axes[1] else np.ones(values.shape, bool)
            mean = np.exp(np.log(values).mean(0))
            axis.plot(depths, mean, color=colour, label=label, marker="osD^vP*"[i % 7], markersize=5)
            x = np.broadcast_to(np.array(depths), values.shape) + 0.06 * (i - 1)
            axis.plot(x[enough], values[enough], ".", color=colour, markersize=5, alpha=0.7)
            axis.plot(x[~enough], values[~enough], "^", color=colour, markersize=7, markerfacecolor="white")
        axis.set(xlabel="levels L of the hierarchy", yscale="log", title=name)
        axis.set_xticks(depths)
    axes[0].set_ylabel("sentences")
    axes[0].legend(loc="upper left", fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


@_figure
def loss_and_spread(
    losses: Mapping[str, Sequence[float]],
    spreads: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    title: str = "",
) -> Figure:
    """Loss by training step, and beside it what is left of the latents: a loss that falls with its spread is collapse.

    Args:
        losses: by run.
        spreads: by run and level, between 0 (all latents the same) and 1; a run has one colour, a level one line style.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.2))
    for i, (label, values) in enumerate(losses.items()):
        colour = CYCLE[i % len(CYCLE)]
        left.plot(np.arange(1, len(values) + 1), values, color=colour, label=label, linewidth=1.4)
        for j, (level, series) in enumerate(spreads[label].items()):
            style = ("-", "--", ":", "-.")[j % 4]
            right.plot(
                np.arange(1, len(series) + 1), series, style, color=colour, label=f"{label}, {level}", linewidth=1.6
            )
    left.set(xlabel="training step", title="loss", yscale="log")
    right.set(xlabel="training step", title="spread of the targets", yscale="log")
    left.legend(fontsize=9)
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure
