"""How many CPU threads are useful for a training step; imports nothing heavy, because the workflow plans with it."""

from __future__ import annotations

from im2hands.config.base import Section
from im2hands.config.training import (
    HaloTraining,
    ImageNetworkTraining,
    InitialOccupancyTraining,
    RefinedOccupancyTraining,
)
from im2hands.io.threads import threads_for

HIDDEN_WIDTH = 64
FIELDS_PER_FRAME = {InitialOccupancyTraining: 2, RefinedOccupancyTraining: 4}
"""How often a step evaluates each query point of a hand, both hands together; penetration doubles it."""


def trains_image_encoder(section: Section) -> bool:
    """Whether steps go through an image encoder, forwards and backwards."""
    return isinstance(section, ImageNetworkTraining) and getattr(section, "image_encoder", "trained") == "trained"


def step_threads(section: Section, threads: int) -> int:
    """How many of `threads` a step is worth: all with an image encoder, otherwise what its query points say."""
    if trains_image_encoder(section):
        return threads
    if isinstance(section, HaloTraining):
        return threads_for(section.batch_hands * section.points_per_hand * section.width / HIDDEN_WIDTH, threads)
    fields = FIELDS_PER_FRAME.get(type(section))
    return 1 if fields is None else threads_for(fields * section.batch_frames * section.points_per_hand, threads)
