"""Errors as detectors make them, drawn onto true keypoints: what the keypoint prior learns to take away.

Besides independent normal errors there are errors that grow along a finger, errors along the viewing ray (depth is what
detectors know worst), a shift of the whole hand, single joints that are far off, and joints, fingers or a whole hand that is
missing. A detector may say how large its errors are, roughly, or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from im2hands.hands.joints import FINGERS, JOINT_NAMES

JOINTS = len(JOINT_NAMES)
LARGEST_MM = 30.0
SHARES = {"independent": 0.5, "heavy": 0.15, "fingers": 0.2, "ray": 0.15}
"""Shares of the kinds of errors; every kind also has an independent part."""
HAND_SHIFT = 1.0
"""Standard deviation of the shift of a whole hand, in parts of its errors' size."""
WRONG_HANDS, WRONG_JOINTS, WRONG_MM = 0.15, (1, 4), (25.0, 100.0)
"""Share of hands that have joints far off, how many, and how far."""
SPARSE_HANDS, LOST_FINGERS, LOST_HANDS = 0.25, 0.1, 0.06
"""Shares of hands that miss single joints (up to half of them), one or two fingers, or all joints (of pairs, one hand)."""
TOLD = 0.6
"""Share of hands with known standard deviations; those are wrong by a factor of exp(N(0, 0.25))."""


@dataclass(frozen=True)
class GivenKeypoints:
    """Keypoints as a detector gives them.

    keypoints: m, NaN where a joint is missing.  sigma: standard deviation per coordinate (m), NaN where it is not known.
    """

    keypoints: Float[np.ndarray, "pairs 2 21 3"]
    sigma: Float[np.ndarray, "pairs 2 21"]


def with_errors(
    true: Float[np.ndarray, "pairs 2 21 3"], rng: np.random.Generator, largest_mm: float = LARGEST_MM
) -> GivenKeypoints:
    """True keypoints with errors whose size is drawn for each hand, up to `largest_mm` per coordinate."""
    pairs = len(true)
    hands = 2 * pairs
    size = largest_mm / 1000 * rng.beta(1.0, 1.6, (hands, 1)) * np.exp(rng.normal(0, 0.3, (hands, JOINTS)))
    kind = rng.choice(len(SHARES), hands, p=list(SHARES.values()))
    errors = np.stack(
        [_independent(rng, hands), _heavy(rng, hands), _along_fingers(rng, hands), _along_ray(rng, pairs)]
    )
    errors = errors[kind, np.arange(hands)] * size[..., None]
    errors += rng.normal(0, HAND_SHIFT, (hands, 1, 3)) * size.mean(1)[:, None, None] * (rng.random((hands, 1, 1)) < 0.5)
    wrong = _wrong(rng, hands)
    direction = _unit(rng.normal(size=(hands, JOINTS, 3)))
    errors += wrong[..., None] * direction * rng.uniform(*WRONG_MM, (hands, JOINTS, 1)) / 1000
    told = size * np.exp(rng.normal(0, 0.25, size.shape))
    noticed = wrong & (rng.random(wrong.shape) < 0.5)
    told = np.where(noticed, 0.05, told)
    told[rng.random(hands) >= TOLD] = np.nan
    given = true.reshape(hands, JOINTS, 3) + errors
    given[_missing(rng, pairs)] = np.nan
    return GivenKeypoints(given.reshape(true.shape), told.reshape(pairs, 2, JOINTS))


def _independent(rng: np.random.Generator, hands: int) -> Float[np.ndarray, "hands 21 3"]:
    return rng.normal(size=(hands, JOINTS, 3))


def _heavy(rng: np.random.Generator, hands: int) -> Float[np.ndarray, "hands 21 3"]:
    """Student's t with three degrees of freedom, of standard deviation one."""
    return rng.standard_t(3, (hands, JOINTS, 3)) / np.sqrt(3)


def _along_fingers(rng: np.random.Generator, hands: int) -> Float[np.ndarray, "hands 21 3"]:
    """An error per finger that grows from base to tip, and a small one per joint."""
    of_finger = rng.normal(size=(hands, len(FINGERS), 1, 3)) * np.linspace(0.3, 1.2, 4)[:, None]
    errors = 0.5 * rng.normal(size=(hands, JOINTS, 3))
    errors[:, 1:] += of_finger.reshape(hands, JOINTS - 1, 3)
    return errors


def _along_ray(rng: np.random.Generator, pairs: int) -> Float[np.ndarray, "hands 21 3"]:
    """Small errors across a direction that both hands share, large ones along it."""
    ray = np.repeat(_unit(rng.normal(size=(pairs, 3))), 2, axis=0)[:, None]
    errors = 0.5 * rng.normal(size=(2 * pairs, JOINTS, 3))
    return errors + 1.5 * rng.normal(size=(2 * pairs, JOINTS, 1)) * ray


def _wrong(rng: np.random.Generator, hands: int) -> np.ndarray:
    """Which joints are far off."""
    count = np.where(rng.random(hands) < WRONG_HANDS, rng.integers(WRONG_JOINTS[0], WRONG_JOINTS[1] + 1, hands), 0)
    return rng.random((hands, JOINTS)).argsort(1).argsort(1) < count[:, None]


def _missing(rng: np.random.Generator, pairs: int) -> np.ndarray:
    """Which joints are not given; a pair always keeps one hand."""
    hands = 2 * pairs
    share = np.where(rng.random(hands) < SPARSE_HANDS, rng.uniform(0, 0.5, hands), 0)
    missing = rng.random((hands, JOINTS)) < share[:, None]
    lost = rng.random((hands, len(FINGERS))).argsort(1).argsort(1) < rng.integers(1, 3, (hands, 1))
    lost &= (rng.random(hands) < LOST_FINGERS)[:, None]
    missing[:, 1:] |= np.repeat(lost, 4, axis=1)
    gone = (rng.random(pairs) < LOST_HANDS)[:, None] & (np.arange(2) == rng.integers(0, 2, (pairs, 1)))
    return missing | gone.reshape(hands, 1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
