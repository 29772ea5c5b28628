"""Fresh hands for files of other seeds: STANDARD keypoints (m) of a forward-kinematics hand, some of its joints straight."""

from __future__ import annotations

import numpy as np

from tests.naive.bone_frames import rot, unit

FAN = np.radians([-48, -14, 0, 13, 27])
"""Of the metacarpals in the palm's plane, from thumb to little finger."""
LENGTHS = np.array(
    [
        [0.043, 0.034, 0.028, 0.024],
        [0.092, 0.041, 0.024, 0.020],
        [0.089, 0.045, 0.029, 0.022],
        [0.082, 0.041, 0.028, 0.022],
        [0.078, 0.033, 0.020, 0.019],
    ]
)


def fresh_hand(
    rng: np.random.Generator, left: bool, straight: np.ndarray | None = None, flat: bool = False
) -> np.ndarray:
    """Keypoints (21, 3) in the world. straight: (5, 3) joints that do not bend.  flat: no arch of the palm."""
    straight = np.zeros((5, 3), bool) if straight is None else straight
    scale = rng.uniform(0.85, 1.15)
    joints = [np.zeros(3)]
    for finger in range(5):
        arch = 0 if flat else rng.uniform(-0.15, 0.15) - 0.5 * (finger == 0)
        angle = FAN[finger] + (0 if flat else rng.uniform(-0.05, 0.05))
        direction = np.array([np.cos(arch) * np.sin(angle), np.cos(arch) * np.cos(angle), np.sin(arch)])
        joints.append(scale * LENGTHS[finger, 0] * direction)
        across = unit(np.cross(direction, [0, 0, 1]))
        for level in range(3):
            if not straight[finger, level]:
                sideways = rot(np.array([0, 0, 1]), rng.uniform(-0.2, 0.2)) if level == 0 else np.eye(3)
                direction = rot(sideways @ across, rng.uniform(-1.4, 0.1)) @ sideways @ direction
            joints.append(joints[-1] + scale * LENGTHS[finger, 1 + level] * direction)
    keypoints = np.array(joints) * (np.array([-1, 1, 1]) if left else 1)
    turn = rot(unit(rng.standard_normal(3)), rng.uniform(0, np.pi))
    return keypoints @ turn.T + rng.uniform(-0.3, 0.3, 3)


def fresh_hands(rng: np.random.Generator) -> list[tuple[str, bool, np.ndarray]]:
    """Name of the kind, whether a left hand, and keypoints; names are none of the given file's but `random`."""
    kinds = {
        "random": lambda: {},
        "single straight joints": lambda: {"straight": rng.random((5, 3)) < 0.3},
        "all straight": lambda: {"straight": np.ones((5, 3), bool)},
        "straight above the base": lambda: {"straight": np.arange(3) > np.zeros((5, 1))},
        "flat": lambda: {"straight": rng.random((5, 3)) < 0.7, "flat": True},
    }
    counts = {"random": 24, "single straight joints": 24, "all straight": 4, "straight above the base": 4, "flat": 8}
    hands = []
    for kind, count in counts.items():
        for place in range(count):
            left = place % 2 == 1
            hands.append((kind, left, fresh_hand(rng, left, **kinds[kind]())))
    return hands


def fresh_pair(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Keypoints of a left and a right hand, wrists some decimetres apart."""
    pair = {name: fresh_hand(rng, name == "left") for name in ("left", "right")}
    for name, keypoints in pair.items():
        pair[name] = keypoints - keypoints.mean(0) + rng.uniform(-0.05, 0.05, 3) + (0.3, -0.1, 0.2)
    return pair


def fresh_camera(rng: np.random.Generator, pair: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """R, t (m) and K (pixels of a crop of 256) that see both hands from about 0.9 m, in 0.8 of the crop."""
    rotation = rot(unit(rng.standard_normal(3)), rng.uniform(0, np.pi)).astype(np.float32)
    points = np.concatenate(list(pair.values()))
    translation = (np.array([0, 0, rng.uniform(0.8, 1)]) - rotation @ points.mean(0)).astype(np.float32)
    seen = points @ rotation.T + translation
    rays = seen[:, :2] / seen[:, 2:]
    low, high = rays.min(0), rays.max(0)
    focal = 0.8 * 256 / (high - low).max()
    intrinsics = np.array([[focal, 0, 0], [0, focal, 0], [0, 0, 1]])
    intrinsics[:2, 2] = 128 - focal * (low + high) / 2
    return {"R": rotation, "t": translation, "K": intrinsics}
