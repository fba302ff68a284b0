"""Widgets: what people look at. They read a `Trajectory` and nothing else."""

from latentkit.widgets.scrubber import Frame, Scrubber, frame, frames, scrub

__all__ = ["Frame", "Scrubber", "frame", "frames", "scrub"]
