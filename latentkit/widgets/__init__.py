"""Widgets: what people look at. They read a `Trajectory`, or a table of results, and nothing else."""

from latentkit.widgets.board import Board, board, maze_board
from latentkit.widgets.depth_memory import DepthMemory, depth_memory
from latentkit.widgets.grammar import GrammarTree, grammar_tree
from latentkit.widgets.graph import OutcomeGraph, outcome_graph
from latentkit.widgets.latent_path import LatentPath, Paths, latent_path, pca_paths
from latentkit.widgets.lookup import LookupReader, lookup_reader
from latentkit.widgets.memory import MemoryScope, memory_scope
from latentkit.widgets.scrubber import Frame, Scrubber, frame, frames, scrub
from latentkit.widgets.surface import Surface, surface
from latentkit.widgets.surprise import SurpriseStrip, surprise_strip

__all__ = [
    "Board",
    "DepthMemory",
    "Frame",
    "GrammarTree",
    "LatentPath",
    "LookupReader",
    "MemoryScope",
    "OutcomeGraph",
    "Paths",
    "Scrubber",
    "Surface",
    "SurpriseStrip",
    "board",
    "depth_memory",
    "frame",
    "frames",
    "grammar_tree",
    "latent_path",
    "lookup_reader",
    "maze_board",
    "memory_scope",
    "outcome_graph",
    "pca_paths",
    "scrub",
    "surface",
    "surprise_strip",
]
