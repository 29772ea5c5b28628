"""A hand of a film as a BVH file, which motion capture programs read: a skeleton, and angles for every picture.

One file per hand, because files with two roots break several readers. Metres, y up (the camera's axes turned by half a turn
about x), joint frames parallel at rest, angles in degrees in the order Z, X, Y. A hand that is not there keeps its pose. BVH
knows a constant rate only; an irregular film is resampled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from im2hands.films.motion import FilmClock, HandMotion
from im2hands.films.rig import RIG_PARENTS, Rig
from im2hands.geometry.mesh_files import GLTF_FROM_CAMERA
from im2hands.hands.model import JOINTS
from im2hands.io.atomic import write_text

ANGLES = "Zrotation Xrotation Yrotation"
DECIMALS = 6


def write_bvh(path: str | os.PathLike, rig: Rig, motion: HandMotion, clock: FilmClock) -> None:
    """Writes the file, completely or not at all. rig, motion: of one hand; the motion's frame in camera axes.

    Raises DataError for a hand that is never there.
    """
    held = motion.held()
    wrist, rotations = held.wrist, held.rotations
    if not clock.is_regular:
        wrist, rotations = _resampled(held, clock)
    order = _file_order()
    turns = rotations.copy()
    turns[:, 0] = GLTF_FROM_CAMERA @ turns[:, 0]
    angles = Rotation.from_matrix(turns[:, order].reshape(-1, 3, 3)).as_euler("ZXY", degrees=True)
    angles = np.rad2deg(np.unwrap(np.deg2rad(angles.reshape(len(turns), len(order), 3)), axis=0))
    rows = np.concatenate([wrist @ GLTF_FROM_CAMERA.T, angles.reshape(len(turns), -1)], axis=1)
    lines = [
        "HIERARCHY",
        *_joint_lines(rig, 0, 0),
        "MOTION",
        f"Frames: {len(rows)}",
        f"Frame Time: {1 / float(clock.rate):.8f}",
        *(" ".join(f"{value:.{DECIMALS}f}" for value in row) for row in rows + 0.0),
    ]
    write_text(path, "\n".join(lines) + "\n")


def _joint_lines(rig: Rig, joint: int, depth: int) -> Iterator[str]:
    """A joint and what hangs from it."""
    indent, name = "  " * depth, rig.names()[joint]
    offset = rig.joints[joint] - rig.joints[RIG_PARENTS[joint]] if joint else np.zeros(3)
    numbers = " ".join(f"{value:.{DECIMALS}f}" for value in offset + 0.0)
    kind = "ROOT" if joint == 0 else "JOINT" if joint < JOINTS else "End"
    yield f"{indent}{kind} {name if joint < JOINTS else 'Site'}"
    yield f"{indent}{{"
    yield f"{indent}  OFFSET {numbers}"
    if joint < JOINTS:
        channels = f"6 Xposition Yposition Zposition {ANGLES}" if joint == 0 else f"3 {ANGLES}"
        yield f"{indent}  CHANNELS {channels}"
    for child in _children(joint):
        yield from _joint_lines(rig, child, depth + 1)
    yield f"{indent}}}"


def _children(joint: int) -> list[int]:
    return [child for child, parent in enumerate(RIG_PARENTS) if parent == joint]


def _file_order(joint: int = 0) -> list[int]:
    """The joints in the order in which the file has them."""
    below = [place for child in _children(joint) if child < JOINTS for place in _file_order(child)]
    return [joint, *below]


def _resampled(
    motion: HandMotion, clock: FilmClock
) -> tuple[Float[np.ndarray, "pictures 3"], Float[np.ndarray, "pictures 16 3 3"]]:
    """Places and rotations at the times of the rate, from the first picture to the last."""
    times = clock.times
    wanted = np.minimum(
        np.arange(int(np.floor(times[-1] * float(clock.rate) + 1e-6)) + 1) / float(clock.rate), times[-1]
    )
    wrist = np.stack([np.interp(wanted, times, motion.wrist[:, axis]) for axis in range(3)], axis=1)
    turned = [
        Slerp(times, Rotation.from_matrix(motion.rotations[:, joint]))(wanted).as_matrix() for joint in range(JOINTS)
    ]
    return wrist, np.stack(turned, axis=1)
