"""Coordinate frames of the networks against the published code."""

from __future__ import annotations

import numpy as np

from im2hands.geometry.cameras import Camera
from im2hands.parity.cases.halo_frames import CASE
from tests.naive.hand_frames import naive_frames
from tests.reference import FOLDER


def test_joints_reproject_onto_their_pixels():
    """The first 21 queries are the joints themselves: the numpy camera sees them where the published chain does."""
    golden = FOLDER.find(CASE.name)
    for side in ("left", "right"):
        for pair in range(3):
            camera = Camera(*(golden[f"camera_{name}"][pair] for name in ("K", "R", "t")))
            pixels = camera.project(golden[f"{side}_joints_world_m"][pair])
            assert np.abs(pixels - golden[f"{side}_pixels"][pair, :21]).max() < 1e-3


def test_naive_form_passes_the_golden_numbers():
    golden = FOLDER.find(CASE.name)
    looser = {"inputs": 5e-5, "sampled": 1e-4, "pixels": 1e-3, "mm": 1e-4, "init_mesh_vertices": 1e-4}
    for field, values in naive_frames(golden).items():
        tolerance = next((bound for ending, bound in looser.items() if field.endswith(ending)), 2e-6)
        assert np.abs(values.astype(float) - golden[field]).max() < tolerance, field
