"""Widgets: what people look at. They read a `Trajectory`, or a table of results, and nothing else."""

from latentkit.widgets.board import Board, board, maze_board
from latentkit.widgets.latent_path import LatentPath, Paths, latent_path, pca_paths
from latentkit.widgets.lookup import LookupReader, lookup_reader
from latentkit.widgets.memory import MemoryScope, memory_scope
from latentkit.widgets.scrubber import Frame, Scrubber, frame, frames, scrub
from latentkit.widgets.surface import Surface, surface
from latentkit.widgets.surprise import SurpriseStrip, surprise_strip

__all__ = [
    "Board",
    "Frame",
    "LatentPath",
    "LookupReader",
    "MemoryScope",
    "Paths",
    "Scrubber",
    "Surface",
    "SurpriseStrip",
    "board",
    "frame",
    "frames",
    "latent_path",
    "lookup_reader",
    "maze_board",
    "memory_scope",
    "pca_paths",
    "scrub",
    "surface",
    "surprise_strip",
]
