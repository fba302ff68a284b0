"""The depth-memory map: every architecture of the course on every task, at equal parameters and an equal budget.

    latentkit map               run what is missing; killed, it goes on where it was; several processes share the work
    latentkit map --status      what there is

`load_map` reads the result; `latentkit.plots.depth_memory_map` and `latentkit.widgets.depth_memory` draw it.
"""

from pathlib import Path

from latentkit.depth_memory.results import Cell, DepthMemoryMap, Line, load

__all__ = ["Cell", "DepthMemoryMap", "Line", "load_map"]


def load_map(folder: Path | None = None) -> DepthMemoryMap:
    """The whole map as it stands: measured, not applicable (with the reason), or not run.

    Args:
        folder: where the cells' files are; default: the reader's own, then those shipped with the course.

    Raises:
        ValueError: a file that is no cell of the map; says which.
    """
    # Here, so that what only draws a map does not import every task and architecture.
    from latentkit.depth_memory.columns import COLUMNS
    from latentkit.depth_memory.rows import ROWS

    return load(ROWS, COLUMNS, folder)
