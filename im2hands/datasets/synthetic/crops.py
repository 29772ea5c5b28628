"""Crops of two hands drawn as the networks see them, some seventy a second on a core: crop `number` of a seed.

A pose of `crop_poses` is seen by several cameras. What does not depend on the camera (skin, openness to the sky) is computed
once per pose; each view has its own camera, light, clothes, background and photograph. The surface, skin and light are those of
the synthetic dataset (`render`), so the pictures look alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from im2hands.datasets.synthetic.crop_clothes import Clothing
from im2hands.datasets.synthetic.crop_looks import background, occluded, photographed
from im2hands.datasets.synthetic.crop_painter import CropPainter, CropScene
from im2hands.datasets.synthetic.crop_poses import PAIRS_PER_PERSON, DrawnPair, PairSource
from im2hands.datasets.synthetic.forearm import Arm, draw_bend
from im2hands.datasets.synthetic.render import Light
from im2hands.datasets.synthetic.sequences import Fit
from im2hands.geometry.cameras import CROP_SIZE, HAND_SHARE, Camera, square_crop
from im2hands.hands.model import HandModel
from im2hands.hands.sides import SIDES, Side
from im2hands.io.hashing import seed_of
from im2hands.rendering.closed_meshes import seen_by
from im2hands.rendering.shading import cross, frame_of_direction

VIEWS = 6
"""Cameras that see one pose."""
DETAIL = (200, 301)
"""Pixels across the crop in the photograph that it is cut from."""
DISTANCE = (0.45, 1.4)
OFF_CENTRE = np.radians(7)
ANY_TURN_SHARE, UPRIGHT_TURN = 0.3, np.radians(22)
SHARES, CUT_SHARE, CUT_SCALE, SHIFT = (0.85, 1.12), 0.06, 1.5, 0.05
"""Size of the hands in the crop in units of `HAND_SHARE`; larger and cut by the border in a share; largest shift in crops."""
ARMS_BEHIND = 0.75
"""Cosine between a forearm and the direction to the camera from which on the arm would hide the hand."""
DIRECTIONS = 40
CHOSEN_SHARE, CANDIDATES = 0.85, 24
"""Share of cameras that see the hands well, and from how many directions each is chosen."""
APART, HAND_WIDTH = 0.3, 0.12
"""What it is worth that the hands are seen this far (m) beside each other, in units of seeing palms and backs face-on."""
ELBOW = 0.5
"""Standard deviation (radians) of how far an elbow is bent."""


@dataclass(frozen=True)
class DrawnCrop:
    """A crop and its truth.

    image: RGB.  camera: of the crop's pixels; the world is the pair's frame.  fits: as annotated.  vertices: world, metres,
    left and right.
    """

    image: UInt8[np.ndarray, "size size 3"]
    camera: Camera
    fits: Mapping[Side, Fit]
    vertices: Float[np.ndarray, "2 778 3"]


class CropSource:
    """Crop `number` of a seed, the same whoever asks; views of one pose follow each other, so ask in order.

    hiding: share of the persons whose hands all touch or nearly do and are seen from anywhere.
    """

    def __init__(self, models: Mapping[Side, HandModel], seed: int, hiding: float = 0.0) -> None:
        self.seed = seed
        self.pairs, self.painter = PairSource(models, seed, hiding), CropPainter(models)
        self.posed = lru_cache(1)(self._posed)

    def crop(self, number: int) -> DrawnCrop:
        """Crop `number`: its view of pose `number // VIEWS`."""
        pair, scene, arms = self.posed(number // VIEWS)
        rng = np.random.default_rng(seed_of(self.seed, "drawn crop", number))
        hides = self.pairs.hides(number // (VIEWS * PAIRS_PER_PERSON))
        camera = draw_camera(rng, pair, arms, 0.0 if hides else CHOSEN_SHARE)
        image = self._picture(rng, pair, scene, camera)
        return DrawnCrop(image, camera, pair.fits, np.stack([pair.vertices[side] for side in SIDES]))

    def _posed(self, number: int) -> tuple[DrawnPair, CropScene, Float[np.ndarray, "2 3"]]:
        """The pair, its scene in the world, and the unit directions of both forearms (left, right)."""
        pair = self.pairs.pair(number)
        rng = np.random.default_rng(seed_of(self.seed, "drawn arms", number))
        arms, directions = {}, []
        for side in SIDES:
            bend = side.mirror_axis_angles(draw_bend(rng))
            root = Rotation.from_rotvec(pair.fits[side].pose[:3]).as_matrix()
            direction = self.painter.forearms[side].direction(root, bend)
            arms[side] = Arm(bend, rng.normal(0, ELBOW) * frame_of_direction(direction)[rng.integers(2)])
            directions.append(direction)
        return pair, self.painter.scene(pair, arms), np.stack(directions)

    def _picture(
        self, rng: np.random.Generator, pair: DrawnPair, scene: CropScene, camera: Camera
    ) -> UInt8[np.ndarray, "size size 3"]:
        size = int(rng.integers(*DETAIL))
        intrinsics = np.diag([size / CROP_SIZE, size / CROP_SIZE, 1]) @ camera.intrinsics
        light, clothing = Light.draw(rng), Clothing.draw(rng)
        canvas = background(rng, size)
        self.painter.paint(canvas, scene, replace(camera, intrinsics=intrinsics), light, pair.person, clothing)
        return photographed(rng, occluded(rng, canvas), CROP_SIZE)


def draw_camera(
    rng: np.random.Generator, pair: DrawnPair, arms: Float[np.ndarray, "2 3"], chosen_share: float = CHOSEN_SHARE
) -> Camera:
    """A camera around the pair, cut to its hands; mostly with the forearms coming from below.

    arms: unit directions from the wrists to the elbows.  chosen_share: of cameras that see the hands well.
    """
    points = np.concatenate([pair.vertices[side] for side in SIDES])
    centre = points.mean(0)
    towards = _direction(rng, pair, arms, chosen_share)
    across, down, _ = frame_of_direction(towards)
    elbows = arms.mean(0)
    upright = np.arctan2(elbows @ across, elbows @ down)
    turn = rng.uniform(-np.pi, np.pi) if rng.uniform() < ANY_TURN_SHARE else upright + rng.normal(0, UPRIGHT_TURN)
    x, y = np.cos(turn) * across - np.sin(turn) * down, np.sin(turn) * across + np.cos(turn) * down
    rotation = np.stack([x, y, cross(x, y)])
    if rotation[2] @ towards > 0:  # looks at the hands, not away from them
        rotation[[0, 2]] *= -1
    aim = Rotation.from_rotvec([*rng.normal(0, OFF_CENTRE, 2), 0]).as_matrix()
    rotation = aim @ rotation
    distance = rng.uniform(*DISTANCE)
    translation = distance * aim[:, 2] - rotation @ centre
    camera = Camera(np.diag([1000.0, 1000.0, 1.0]), rotation, translation)
    share = HAND_SHARE * (rng.uniform(1.1, CUT_SCALE) if rng.uniform() < CUT_SHARE else rng.uniform(*SHARES))
    across, down = np.ascontiguousarray(seen_by(points, camera, 0.0)[1].T)
    box = np.array([[across.min(), down.min()], [across.max(), down.max()]])
    affine = square_crop(box, CROP_SIZE, share)
    affine[:, 2] += rng.uniform(-SHIFT, SHIFT, 2) * CROP_SIZE
    return camera.cropped(affine)


def _direction(
    rng: np.random.Generator, pair: DrawnPair, arms: Float[np.ndarray, "2 3"], chosen_share: float
) -> Float[np.ndarray, "3"]:
    """Unit direction towards the camera: any from which no forearm hides its hand, or, as photographers choose, one of several
    from which palms or backs are seen and the hands do not hide each other.
    """
    towards = rng.normal(size=(DIRECTIONS, 3))
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    usable = towards[(towards @ arms.T).max(1) < ARMS_BEHIND]
    chosen = rng.uniform() < chosen_share
    if len(usable) == 0:
        return towards[-1]
    if not chosen:
        return usable[0]
    candidates = usable[:CANDIDATES]
    left, right = (pair.vertices[side].mean(0) for side in SIDES)
    facing = np.abs(candidates @ np.stack([pair.backs[side] for side in SIDES]).T).min(1)
    apart = np.sqrt(np.maximum((left - right) @ (left - right) - (candidates @ (left - right)) ** 2, 0))
    return candidates[(facing + APART * np.minimum(apart / HAND_WIDTH, 1)).argmax()]
