"""Widgets: what people look at. They read a `Trajectory`, or a table of results, and nothing else."""

from latentkit.widgets.board import Board, board, maze_board
from latentkit.widgets.latent_path import LatentPath, Paths, latent_path, pca_paths
from latentkit.widgets.scrubber import Frame, Scrubber, frame, frames, scrub
from latentkit.widgets.surface import Surface, surface

__all__ = [
    "Board",
    "Frame",
    "LatentPath",
    "Paths",
    "Scrubber",
    "Surface",
    "board",
    "frame",
    "frames",
    "latent_path",
    "maze_board",
    "pca_paths",
    "scrub",
    "surface",
]
