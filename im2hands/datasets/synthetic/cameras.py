"""The fixed camera rig of a capture.

Cameras look at the hands' centre from the front half space. World: metres, y up; camera: OpenCV axes. The values are rounded
as the annotation file contains them, so that what is drawn and what is read agree exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from im2hands.datasets.synthetic.sequences import PAIR_CENTRE
from im2hands.geometry.cameras import Camera, camera_translation
from im2hands.io.errors import DataError
from im2hands.io.hashing import seed_of

WIDTH, HEIGHT = 334, 512
AZIMUTH, ELEVATION = (-75.0, 75.0), (-35.0, 50.0)
DISTANCE, FOCAL = (0.850, 1.150), (1180.0, 1320.0)
AIM_DEVIATION, ROLL_DEVIATION = 0.008, 0.12
PRINCIPAL, PRINCIPAL_DEVIATION = np.array([167.0, 256.0]), 6.0
ASPECT_DEVIATION = 0.001
NAMES = tuple(f"{400200 + 13 * k:06d}" for k in range(64))
ENOUGH_INSIDE, DRAWS, MORE_DRAWS = 0.995, 20, 400
FOREARM_COSINE = 0.75
"""Forearms that point more directly at a camera count against it."""
MIN_VALID_JOINTS = 31
"""Of 42 joints inside the image: the least with which a two-hand annotation counts as valid."""


@dataclass(frozen=True)
class RigCamera:
    """A named camera in the units of the annotation file: millimetres and pixels, rounded."""

    name: str
    centre_mm: Float[np.ndarray, "3"]
    rotation: Float[np.ndarray, "3 3"]
    focal: Float[np.ndarray, "2"]
    principal: Float[np.ndarray, "2"]

    @property
    def camera(self) -> Camera:
        """Metres."""
        intrinsics = np.array([[self.focal[0], 0, self.principal[0]], [0, self.focal[1], self.principal[1]], [0, 0, 1]])
        return Camera(intrinsics, self.rotation, camera_translation(self.rotation, self.centre_mm / 1000))


def inside_image(pixels: Float[np.ndarray, "*batch 2"]) -> np.ndarray:
    """Whether pixels lie on the image, up to the centres of its border pixels."""
    return ((pixels >= 0) & (pixels <= (WIDTH - 1, HEIGHT - 1))).all(-1)


def draw_rig(
    seed: int,
    split: int,
    capture: int,
    cameras: int,
    vertices: Float[np.ndarray, "frames vertices 3"],
    joints: Float[np.ndarray, "frames 42 3"],
    forearms: Float[np.ndarray, "arms 3"],
) -> list[RigCamera]:
    """The cameras of a capture, each drawn again until it sees (nearly) all of every pose, the best of twenty otherwise.

    vertices, joints: of all frames of the capture, world, metres.  forearms: unit directions of all forearms, from the wrist;
    cameras towards which one points would see little else.
    Raises DataError if no camera is found that sees most joints of every frame.
    """
    rng = np.random.default_rng(seed_of(seed, split, capture, "rig"))
    names = sorted(rng.choice(len(NAMES), cameras, replace=False))
    sectors = rng.permutation(cameras)
    edges = np.linspace(*AZIMUTH, cameras + 1)
    return [
        _best_camera(
            NAMES[name],
            np.random.default_rng(seed_of(seed, split, capture, "camera", int(name))),
            (edges[sector], edges[sector + 1]),
            vertices,
            joints,
            forearms,
        )
        for name, sector in zip(names, sectors, strict=True)
    ]


def _best_camera(
    name: str,
    rng: np.random.Generator,
    azimuth: tuple[float, float],
    vertices: np.ndarray,
    joints: np.ndarray,
    forearms: np.ndarray,
) -> RigCamera:
    best, best_share = None, -np.inf
    for attempt in range(MORE_DRAWS):
        if attempt >= DRAWS and best is not None:
            break
        drawn = _draw_camera(name, rng, azimuth)
        valid = inside_image(drawn.camera.project(joints)).sum(1).min()
        share = inside_image(drawn.camera.project(vertices)).mean(1).min()
        towards = (forearms @ -drawn.rotation[2]).max(initial=0.0)
        share -= max(0.0, towards - FOREARM_COSINE)
        if valid >= MIN_VALID_JOINTS and share > best_share:
            best, best_share = drawn, share
        if best_share >= ENOUGH_INSIDE:
            break
    if best is None:
        raise DataError(
            f"no camera in {MORE_DRAWS} draws sees most joints in every frame of a capture; change the seed."
        )
    return best


def _draw_camera(name: str, rng: np.random.Generator, azimuth: tuple[float, float]) -> RigCamera:
    turn, rise = np.radians(rng.uniform(*azimuth)), np.radians(rng.uniform(*ELEVATION))
    way = np.array([np.sin(turn) * np.cos(rise), np.sin(rise), -np.cos(turn) * np.cos(rise)])
    centre = PAIR_CENTRE + rng.uniform(*DISTANCE) * way
    forward = PAIR_CENTRE + rng.normal(0, AIM_DEVIATION, 3) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    level = np.stack([right, np.cross(forward, right), forward])
    rotation = Rotation.from_rotvec([0, 0, rng.normal(0, ROLL_DEVIATION)]).as_matrix() @ level
    focal = rng.uniform(*FOCAL) * np.array([1.0, 1 + np.clip(rng.normal(0, ASPECT_DEVIATION), -0.002, 0.002)])
    principal = PRINCIPAL + rng.normal(0, PRINCIPAL_DEVIATION, 2)
    parts = (centre * 1000, rotation, focal, principal)
    return RigCamera(name, *(np.round(part, 6) for part in parts))
