"""The box of hands in a photograph from their keypoints: joints with their flesh, and the stump behind the wrist.

Training crops contain the box of the whole hand model; keypoints end at the wrist joint, the model 2 cm behind it. The stump
rotates with the palm, the flesh around a joint is nearly round, and both scale with the hand, so lengths are in units of the
palm (wrist to middle base). Numbers: means over the 128 hands of the built-in training set; between hands the stump's points
vary by 0.014. Frame: palm axes (middle metacarpal along -x, palm normal along +y) from the wrist.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from im2hands.geometry.cameras import Camera
from im2hands.hands.bone_frames import PALM_UNIT
from im2hands.hands.frames import PalmFrame
from im2hands.hands.joints import MIDDLE_BASE, WRIST

THUMB, FINGER = (0.14, 0.11, 0.05, 0.03), (0.046, 0.044, 0.045, 0.024)
FLESH = np.array([0.0, *THUMB, *FINGER, *FINGER, *FINGER, *FINGER])
"""Radius of the flesh about each joint, STANDARD order; tips are on the skin. For the wrist the stump is more accurate."""
STUMP = np.array(
    [
        [0.204, -0.166, 0.120],
        [0.217, -0.210, -0.035],
        [0.232, -0.154, -0.157],
        [0.241, 0.095, -0.195],
        [0.227, 0.185, 0.014],
        [0.212, 0.152, 0.164],
        [0.201, 0.055, 0.252],
        [0.198, -0.091, 0.214],
    ]
)


def extent(keypoints: Float[np.ndarray, "21 3"], palm: PalmFrame, camera: Camera) -> Float[np.ndarray, "points 3"]:
    """World points (m) whose box in the picture is about that of the hand: the joints moved by the radius of their flesh to
    all sides of the picture, and the stump.

    keypoints: STANDARD order, world, m.  palm: palm frame of the same keypoints.
    """
    size = np.linalg.norm(keypoints[MIDDLE_BASE] - keypoints[WRIST])
    reach = (FLESH * size)[:, None]
    around = [keypoints + sign * reach * camera.rotation[axis] for axis in (0, 1) for sign in (-1, 1)]
    return np.concatenate([*around, palm.to_world(STUMP * size / PALM_UNIT)])
