"""The loop-depth scrubber: one run of a depth-recurrent model, pass by pass.

    trajectory --frame--> Frame (numbers of one pass) --scrub--> Scrubber (all frames, drawn by scrubber.js)

`frame` is pure and holds all that is computed; scrubber.js only draws. All frames travel at once, so that the slider
needs no kernel. How it reaches a page: `latentkit.widgets.base`.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor

from latentkit.recurrence import Trajectory
from latentkit.widgets import base

_JS, _CSS = base.script("scrubber"), base.style("scrubber")


@dataclass(frozen=True)
class Frame:
    """What is shown of one example at one pass; every list has one entry a position.

    Attributes:
        pass_number, passes_run: this pass, counted from 1, and how many were run.
        predictions: the most likely class.
        confidence: its probability.
        right: whether it is the target; None where no targets were given.
        residuals: ||h_t - h_{t-1}|| / ||h_t||, the relative distance to the previous state.
        halted_at: the pass after which the position was frozen; 0 where it has not been, by this pass.
        settled: whether the prediction is the same at every later pass that was kept.
    """

    pass_number: int
    passes_run: int
    predictions: list[int]
    confidence: list[float]
    right: list[bool] | None
    residuals: list[float]
    halted_at: list[int]
    settled: list[bool]

    @property
    def num_right(self) -> int | None:
        """Positions answered right; None where no targets were given."""
        return None if self.right is None else sum(self.right)

    @property
    def mean_residual(self) -> float:
        """Over all positions; a frozen one counts as 0."""
        return sum(self.residuals) / len(self.residuals)

    @property
    def text(self) -> str:
        """The frame in one sentence, for readers who do not see the picture."""
        parts = [] if self.right is None else [f"{self.num_right} of {len(self.right)} positions right"]
        settled = [i for i, s in enumerate(self.settled) if s]
        if self.pass_number < self.passes_run and settled:
            verb = "keeps its prediction" if len(settled) == 1 else "keep their prediction"
            parts.append(f"{_positions(settled)} {verb} from here on")
        if halted := [i for i, t in enumerate(self.halted_at) if t]:
            parts.append(f"{_positions(halted)} halted")
        mean = f"{self.mean_residual:.2g}" if math.isfinite(self.mean_residual) else "not finite"
        parts.append(f"mean distance to the previous state {mean}")
        return f"Pass {self.pass_number} of {self.passes_run}: {'; '.join(parts)}."


def frame(trajectory: Trajectory, k: int, *, targets: Int[Tensor, "b n"] | None = None, example: int = 0) -> Frame:
    """What pass k shows of one example.

    Raises:
        ValueError: pass k was not kept, no such example, targets of another shape, or a run along time.
    """
    _, batch, positions = trajectory.predictions.shape
    if trajectory.residuals.shape[2] != positions or trajectory.tokens.shape[1] != positions:
        raise ValueError(
            f"this trajectory has {positions} predictions a pass for {trajectory.tokens.shape[1]} tokens and "
            f"{trajectory.residuals.shape[2]} residuals; the scrubber needs as many of each: a run of `unroll`"
        )
    if k not in trajectory.passes:
        raise ValueError(f"pass {k} was not kept; this trajectory holds passes {base.ranges(trajectory.passes)}")
    base.check_example(trajectory, example)
    if targets is not None and targets.shape != (batch, positions):
        raise ValueError(f"targets have shape {list(targets.shape)}; expected {[batch, positions]} [batch, positions]")

    index = trajectory.passes.index(k)
    later = trajectory.predictions[index:, example]
    confidence = trajectory.logits[index, example].float().softmax(-1).amax(-1)
    return Frame(
        pass_number=k,
        passes_run=len(trajectory.residuals),
        predictions=later[0].tolist(),
        confidence=confidence.tolist(),
        right=None if targets is None else (later[0] == targets[example].to(later.device)).tolist(),
        residuals=trajectory.residuals[k - 1, example].tolist(),
        halted_at=[t if t <= k else 0 for t in trajectory.halted_at[example].tolist()],
        settled=(later == later[0]).all(0).tolist(),
    )


def frames(trajectory: Trajectory, *, targets: Int[Tensor, "b n"] | None = None, example: int = 0) -> list[Frame]:
    """`frame` at every kept pass."""
    return [frame(trajectory, k, targets=targets, example=example) for k in trajectory.passes]


def scrub(
    trajectory: Trajectory,
    *,
    targets: Int[Tensor, "b n"] | None = None,
    example: int = 0,
    token_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    depth: Int[Tensor, "b n"] | None = None,
    title: str = "",
    start: int | None = None,
) -> "Scrubber":
    """A widget with a slider over the passes of one example.

    Args:
        trajectory: a run over depth.
        targets: right answers; without them, predictions are compared with the last pass.
        example: which row of the batch.
        token_names, class_names: short names, by token and class; default: the numbers.
        depth: sequential steps that each position needs: drawn as the passes that one step a pass would take.
        title: a heading.
        start: the pass shown first; default: the first kept.

    Raises:
        ValueError: see `frame`; also depth of another shape, or a token or class without a name.
    """
    shown = frames(trajectory, targets=targets, example=example)
    if depth is not None and depth.shape != trajectory.tokens.shape:
        raise ValueError(f"depth has shape {list(depth.shape)}; expected {list(trajectory.tokens.shape)}")
    start = base.first_pass(trajectory.passes, start)
    answers = None if targets is None else targets[example].tolist()
    used = sorted({c for f in shown for c in f.predictions})
    view = {
        "title": title,
        "passes_run": len(trajectory.residuals),
        "tokens": _named(trajectory.tokens[example].tolist(), token_names, "token_names"),
        "targets": None if answers is None else _named(answers, class_names, "class_names"),
        "depth": None if depth is None else depth[example].tolist(),
        "halted_at": trajectory.halted_at[example].tolist(),
        "names": dict(zip(map(str, used), _named(used, class_names, "class_names"), strict=True)),
        "frames": [
            {
                "pass": f.pass_number,
                "prediction": f.predictions,
                "right": None if f.right is None else [int(r) for r in f.right],
                "confidence": [base.rounded(c, 2) for c in f.confidence],
                "residual": [base.rounded(r, 2) for r in f.residuals],
                "mean": base.rounded(f.mean_residual, 3),
                "text": f.text,
            }
            for f in shown
        ],
    }
    return Scrubber(view=view, value=start)


class Scrubber(base.PassWidget):
    """All frames of one example, with a slider; made by `scrub`.

    Attributes:
        frames: what scrubber.js draws, computed once.
        value: the pass shown; follows the slider, and moves it.
    """

    kind = "scrubber"
    _esm = _JS
    _css = _CSS

    @property
    def frames(self) -> dict[str, Any]:
        """See the class."""
        return self.view

    def table(self) -> str:
        """The last pass, as a table."""
        last = self.view["frames"][-1]
        cells = [self.view["names"][str(c)] for c in last["prediction"]]
        if last["right"] is not None:
            cells = [f"{cell} {'✓' if right else '✗'}" for cell, right in zip(cells, last["right"], strict=True)]
        rows = {
            "position": range(len(cells)),
            "input": self.view["tokens"],
            "target": self.view["targets"],
            "prediction": cells,
        }
        shown = base.table([], [[name, *row] for name, row in rows.items() if row is not None])
        return f"<p>{html.escape(self.view['title'])} {html.escape(last['text'])}</p>{shown}"


def _named(ids: list[int], names: Sequence[str] | None, argument: str) -> list[str]:
    if names is None:
        return [str(i) for i in ids]
    if ids and not 0 <= min(ids) <= max(ids) < len(names):
        raise ValueError(f"{argument} has {len(names)} names for ids {min(ids)} to {max(ids)}; ids count from 0")
    return [names[i] for i in ids]


def _positions(numbers: list[int]) -> str:
    ranges = base.ranges(numbers)
    if ranges.count(",") > 3:
        return f"{len(numbers)} positions"
    return f"position{'' if len(numbers) == 1 else 's'} {ranges}"
