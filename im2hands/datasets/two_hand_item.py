"""IntagHand's training item: a crop with its maps and both hands' labels, randomly turned, scaled, tinted and mirrored.

All randomness is in `Augmentation`, drawn from a generator that the caller seeds per sample. Images are BGR uint8 as stored
up to the tensors, which are RGB. Left comes before right in everything but the mask, whose channel 0 is the right hand.

`heat_maps` chooses between two targets: `published` repeats the JPEG files of the original data, whose maps leave their 2-D
labels by up to one heat-map pixel under rotation and mirroring, and mirrors labels one pixel off the image; `consistent`
draws the maps from the augmented joints and mirrors labels with the image.
Source: IntagHand (CVPR 2022), training data.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from im2hands.config.choices import Behaviour
from im2hands.datasets.heat_maps import HEAT_MAP_SIZE, draw_heat_maps, pass_through_jpeg, stack_files
from im2hands.geometry.cameras import Affine, Camera, apply_affine, crop_axes
from im2hands.hands.joints import MIDDLE_BASE, WRIST

IMAGE_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGE_STD = np.array([0.229, 0.224, 0.225], np.float32)
BONE_LENGTH = 0.095
"""Mean wrist to middle base length that items are scaled to, metres."""
MASK_THRESHOLD = 127
GREY_LEVELS = np.arange(256, dtype=np.uint8)[:, None]
_NETWORK_LEVELS = ((GREY_LEVELS.astype(np.float32) / 255 - IMAGE_MEAN) / IMAGE_STD)[None]
"""What each grey level of each channel of an RGB image is to the networks."""
LEFT, RIGHT = 0, 1


@dataclass(frozen=True)
class AugmentationRanges:
    """Largest changes. angle: degrees.  scale, gain: about 1.  shift: crop pixels.  offset: share of 255."""

    angle: float = 90.0
    scale: float = 0.1
    shift: float = 0.0
    flip_probability: float = 0.5
    gain: float = 0.3
    offset: float = 0.05
    noise: float = 0.0


@dataclass(frozen=True)
class Augmentation:
    """One draw. angle: degrees.  shift: (u, v) crop pixels.  gains: per colour channel (BGR).  offset: grey levels.

    noise: standard deviation in grey levels, drawn from `noise_seed`.
    """

    angle: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    flip: bool = False
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0

    @classmethod
    def draw(cls, generator: np.random.Generator, ranges: AugmentationRanges = AugmentationRanges()) -> Augmentation:
        """A random draw; the same generator state gives the same draw."""

        def spread(width: float) -> float:
            return float(generator.uniform(-width, width))

        return cls(
            angle=spread(ranges.angle),
            scale=1 + spread(ranges.scale),
            shift=(spread(ranges.shift), spread(ranges.shift)),
            flip=bool(generator.random() < ranges.flip_probability),
            gains=tuple(1 + spread(ranges.gain) for _ in range(3)),
            offset=255 * spread(ranges.offset),
            noise=ranges.noise,
            noise_seed=int(generator.integers(2**32)),
        )

    def rotation(self) -> Float[np.ndarray, "3 3"]:
        """What the turn does to camera-space points: a rotation about the optical axis. Scale and shift do nothing."""
        turn = np.eye(3)
        turn[:2, :2] = _rotation(self.angle)
        return turn

    def affine(self, size: int) -> Affine:
        """What it does to pixels of a size x size crop before a flip: turn and scale about the middle, then shift."""
        linear = self.scale * _rotation(self.angle)
        middle = np.full(2, size / 2)
        return np.column_stack([linear, middle + self.shift - linear @ middle])


@dataclass(frozen=True)
class TwoHandSample:
    """A crop with its labels before augmentation, arrays of both hands in the order left, right.

    image: BGR.  mask: the left hand in channel 2, the right hand in channel 1.  dense: rest-pose x, y, z in channels
    0, 1, 2, the order in which published weights predict them.
    vertices, joints: metres, in the camera frame or turned to `crop_axes`, joints in STANDARD order.
    vertices_2d, joints_2d: crop pixels.
    """

    image: UInt8[np.ndarray, "size size 3"]
    mask: UInt8[np.ndarray, "size size 3"]
    dense: UInt8[np.ndarray, "size size 3"]
    vertices: Float[np.ndarray, "2 778 3"]
    joints: Float[np.ndarray, "2 21 3"]
    vertices_2d: Float[np.ndarray, "2 778 2"]
    joints_2d: Float[np.ndarray, "2 21 2"]

    @classmethod
    def of_hands(
        cls,
        image: UInt8[np.ndarray, "size size 3"],
        mask: UInt8[np.ndarray, "size size 3"],
        dense: UInt8[np.ndarray, "size size 3"],
        camera: Camera,
        vertices: Float[np.ndarray, "2 778 3"],
        joints: Float[np.ndarray, "2 21 3"],
        axes: Behaviour = "published",
    ) -> TwoHandSample:
        """From hands in the world frame (m) and the crop's camera. axes: published are the camera's, consistent the crop's."""
        turn = np.eye(3) if axes == "published" else crop_axes(camera.intrinsics, len(image))
        return cls(
            image,
            mask,
            dense,
            camera.to_camera(vertices) @ turn.T,
            camera.to_camera(joints) @ turn.T,
            camera.project(vertices),
            camera.project(joints),
        )


@dataclass(frozen=True)
class TwoHandItem:
    """Network input and targets, float32, arrays of both hands in the order left, right.

    raw_image: augmented, BGR uint8.  image: RGB, ImageNet mean and deviation.  mask: right, left.  heat_maps: 21 left, 21
    right.  vertices, joints: relative to each hand's middle base, in units in which the mean palm is BONE_LENGTH.
    root_offset: right middle base minus left one, same unit.  vertices_2d, joints_2d: crop pixels.
    """

    raw_image: UInt8[np.ndarray, "size size 3"]
    image: Float[np.ndarray, "3 size size"]
    mask: Float[np.ndarray, "2 64 64"]
    dense: Float[np.ndarray, "3 64 64"]
    heat_maps: Float[np.ndarray, "42 64 64"]
    vertices_2d: Float[np.ndarray, "2 778 2"]
    joints_2d: Float[np.ndarray, "2 21 2"]
    vertices: Float[np.ndarray, "2 778 3"]
    joints: Float[np.ndarray, "2 21 3"]
    root_offset: Float[np.ndarray, "3"]


def two_hand_item(
    sample: TwoHandSample,
    augmentation: Augmentation = Augmentation(),
    heat_maps: Behaviour = "consistent",
) -> TwoHandItem:
    """The training item of a sample under a given augmentation."""
    size = sample.image.shape[0]
    affine, turn = augmentation.affine(size), augmentation.rotation()
    image, mask, dense = (warped(part, affine) for part in (sample.image, sample.mask, sample.dense))
    vertices_2d, joints_2d = apply_affine(affine, sample.vertices_2d), apply_affine(affine, sample.joints_2d)
    vertices, joints = sample.vertices @ turn.T, sample.joints @ turn.T
    image = tinted(image, augmentation)
    if augmentation.flip:
        image, mask, dense = (part[:, ::-1] for part in (image, mask[..., [0, 2, 1]], dense))
        vertices, joints = (points[::-1] * (-1, 1, 1) for points in (vertices, joints))
        width = size if heat_maps == "published" else size - 1
        vertices_2d, joints_2d = (_mirrored_pixels(points[::-1], width) for points in (vertices_2d, joints_2d))
    maps = (
        _published_heat_maps(sample.joints_2d, affine, augmentation.flip, size)
        if heat_maps == "published"
        else draw_heat_maps(joints_2d.reshape(-1, 2) * HEAT_MAP_SIZE / size)
    )
    vertices, joints, root_offset = _normalised(vertices, joints)
    return TwoHandItem(
        raw_image=np.ascontiguousarray(image),
        image=image_tensor(image[..., ::-1]),
        mask=_channels_first(_small(mask) > MASK_THRESHOLD)[1:],
        dense=_channels_first(_small(dense)) / 255,
        heat_maps=maps,
        vertices_2d=vertices_2d.astype(np.float32),
        joints_2d=joints_2d.astype(np.float32),
        vertices=vertices.astype(np.float32),
        joints=joints.astype(np.float32),
        root_offset=root_offset.astype(np.float32),
    )


def image_tensor(rgb: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3 h w"]:
    """An RGB image as the networks take it: float32, channels first, ImageNet mean and deviation."""
    return _channels_first(cv2.LUT(rgb, _NETWORK_LEVELS))


def _rotation(degrees: float) -> Float[np.ndarray, "2 2"]:
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cosine, -sine], [sine, cosine]])


def warped(image: UInt8[np.ndarray, "h w c"], affine: Affine) -> UInt8[np.ndarray, "h w c"]:
    """An image under an affine map of its pixels, black outside."""
    return cv2.warpAffine(image, affine, image.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def tinted(image: UInt8[np.ndarray, "h w 3"], augmentation: Augmentation) -> UInt8[np.ndarray, "h w 3"]:
    """Gains per channel, one offset, noise; clipped, then truncated to whole grey levels."""
    if augmentation.noise == 0:
        levels = GREY_LEVELS * np.asarray(augmentation.gains) + augmentation.offset
        return cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8)[None])
    values = image * np.asarray(augmentation.gains) + augmentation.offset
    generator = np.random.default_rng(augmentation.noise_seed)
    values += generator.normal(0, augmentation.noise, image.shape)
    return np.clip(values, 0, 255).astype(np.uint8)


def _mirrored_pixels(points: Float[np.ndarray, "... 2"], width: float) -> Float[np.ndarray, "... 2"]:
    """x' = width - x. Images are mirrored by size - 1 - x; the published labels by size - x, one pixel off."""
    return np.stack([width - points[..., 0], points[..., 1]], axis=-1)


def _published_heat_maps(
    joints_2d: Float[np.ndarray, "2 21 2"], affine: Affine, flip: bool, size: int
) -> Float[np.ndarray, "42 64 64"]:
    """Drawn before augmentation, through JPEG files, enlarged, warped, mirrored, reduced."""
    maps = []
    for hand in joints_2d:
        files = pass_through_jpeg(draw_heat_maps(hand * HEAT_MAP_SIZE / size))
        enlarged = [warped(cv2.resize(file, (size, size)), affine) for file in files]
        maps.append(stack_files([_small(file[:, ::-1] if flip else file) for file in enlarged]))
    return np.concatenate(maps[::-1] if flip else maps).astype(np.float32) / 255


def _small(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "64 64 c"]:
    return cv2.resize(np.ascontiguousarray(image), (HEAT_MAP_SIZE, HEAT_MAP_SIZE))


def _normalised(
    vertices: Float[np.ndarray, "2 778 3"], joints: Float[np.ndarray, "2 21 3"]
) -> tuple[Float[np.ndarray, "2 778 3"], Float[np.ndarray, "2 21 3"], Float[np.ndarray, "3"]]:
    """Hands about their own middle base, and the offset between both, scaled to a mean palm of BONE_LENGTH."""
    roots = joints[:, MIDDLE_BASE]
    palm = np.linalg.norm(joints[:, MIDDLE_BASE] - joints[:, WRIST], axis=-1).mean()
    scale = BONE_LENGTH / palm
    offset = (roots[RIGHT] - roots[LEFT]) * scale
    return (vertices - roots[:, None]) * scale, (joints - roots[:, None]) * scale, offset


def _channels_first(image: np.ndarray) -> Float[np.ndarray, "c h w"]:
    return np.ascontiguousarray(np.moveaxis(image, -1, 0), dtype=np.float32)
