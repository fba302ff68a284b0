"""One look for every figure of the course."""

from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from cycler import cycler

# Okabe and Ito's palette: told apart by readers with any colour vision, and in print.
INK, BLUE, ORANGE, GREEN, PURPLE, GREY = "#1b1e23", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a8f98"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, "#56b4e9", "#e69f00", GREY)
RIGHT, WRONG = "#bfe0d6", "#f3c9b5"
"""Fill of what a model got right or wrong; never the only mark."""

_RC: dict[Any, Any] = {
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=CYCLE),
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


def figure_style() -> AbstractContextManager[None]:
    """A context in which every figure of the course is drawn; a learner's own figures keep their settings."""
    return mpl.rc_context(_RC)
