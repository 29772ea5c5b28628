"""Frames as items of the image networks: the crop of a hand pair, its camera, and both hands' frames, with augmentation.

Arrays of both hands are in the order of `Side.index` (left, right). World and camera in metres, palm units as in
`hands.bone_frames`, pixels of the 256 x 256 crop.
"""

from __future__ import annotations

import os
from collections import Counter
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, UInt8

from im2hands.datasets.frames import FrameTable, hand_id, pair_id
from im2hands.datasets.hands import HandTable
from im2hands.datasets.images import CropSet
from im2hands.datasets.two_hand_item import Augmentation, tinted, warped
from im2hands.geometry.cameras import Camera
from im2hands.hands.sides import SIDES
from im2hands.io.errors import DataError
from im2hands.io.hashing import seed_of

HAND_COLUMNS = ("wrist", "palm_rotation", "bone_from_palm", "bone_lengths", "keypoints_model")
MIRROR = np.diag([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class FrameItem:
    """A frame with both hands.

    frame: index in the set.  hand_ids: hands to which the query points belong.  image: RGB, None if not requested.
    camera: camera of the crop.  wrist: world, m.  palm_rotation: world to palm axes.  keypoints: `model`, world, m.
    mirrored: whether this is the mirror image of the frame: then "left" was right, and the world is mirrored in x.
    """

    frame: int
    hand_ids: tuple[str, str]
    image: UInt8[np.ndarray, "size size 3"] | None
    camera: Camera
    wrist: Float[np.ndarray, "2 3"]
    palm_rotation: Float[np.ndarray, "2 3 3"]
    bone_from_palm: Float[np.ndarray, "2 16 4 4"]
    bone_lengths: Float[np.ndarray, "2 16"]
    keypoints: Float[np.ndarray, "2 21 3"]
    mirrored: bool = False

    def augmented(self, augmentation: Augmentation) -> FrameItem:
        """The frame under a turn, scale, shift, tint and flip of its image, with the camera and hands that go with it.

        A turned and scaled image is that of a camera turned about its axis with another focal length and principal point; a
        mirrored one shows the mirrored world, in which a left hand is a right hand. Both are exact, so that every joint stays
        on its pixel.
        """
        size = 256 if self.image is None else len(self.image)
        affine, turn = augmentation.affine(size), augmentation.rotation()
        image = self.image
        if image is not None:
            image = tinted(warped(image[..., ::-1], affine), augmentation)[..., ::-1]
        pixels = np.vstack([affine, [0, 0, 1]])
        camera = Camera(
            pixels @ self.camera.intrinsics @ turn.T, turn @ self.camera.rotation, turn @ self.camera.translation
        )
        item = replace(self, image=image, camera=camera)
        return item.flipped(size) if augmentation.flip else item

    def flipped(self, size: int = 256) -> FrameItem:
        """The mirror image: sides swap; palm-frame data, which are those of a right hand always, go with their hand."""
        pixels = np.array([[-1.0, 0, size - 1], [0, 1, 0], [0, 0, 1]])
        camera = Camera(
            pixels @ self.camera.intrinsics @ MIRROR,
            MIRROR @ self.camera.rotation @ MIRROR,
            MIRROR @ self.camera.translation,
        )
        return FrameItem(
            frame=self.frame,
            hand_ids=self.hand_ids[::-1],
            image=None if self.image is None else self.image[:, ::-1],
            camera=camera,
            wrist=self.wrist[::-1] @ MIRROR,
            palm_rotation=self.palm_rotation[::-1],
            bone_from_palm=self.bone_from_palm[::-1],
            bone_lengths=self.bone_lengths[::-1],
            keypoints=self.keypoints[::-1] @ MIRROR,
            mirrored=not self.mirrored,
        )


class FrameSet:
    """The usable frames of a split: those with a crop whose hands are both fitted. Picklable.

    frames, hands: tables of the split.  images: manifest of its crops.
    Raises DataError if there is no such frame, or the files are of different runs.
    """

    def __init__(self, frames: str | os.PathLike, hands: str | os.PathLike, images: str | os.PathLike) -> None:
        self.frames_path, self.hands_path = os.fspath(frames), os.fspath(hands)
        table, self.crops = FrameTable.read(frames), CropSet(images)
        if len(self.crops) != len(table):
            raise DataError(
                f"{images}: has {len(self.crops)} crops for the {len(table)} frames of {frames}; run normalize_images again."
            )
        hand_table = HandTable.read(hands, list(HAND_COLUMNS))
        names = [tuple(hand_id(*key, side) for side in SIDES) for key in table.pair_keys]
        fitted = np.array([all(name in hand_table.rows for name in pair) for pair in names])
        self.frame_ids: Int[np.ndarray, " frames"] = np.flatnonzero(fitted & self.crops.usable())
        if not len(self.frame_ids):
            raise DataError(f"{frames}: no frame has a crop and two fitted hands; read the audits of this split.")
        self.hand_ids = [names[frame] for frame in self.frame_ids]
        self.pair_ids = [pair_id(*table.pair_keys[frame]) for frame in self.frame_ids]
        self.file_names = [table.table["file_name"][int(frame)].as_py() for frame in self.frame_ids]
        self._rows = np.array([[hand_table.rows[name] for name in pair] for pair in self.hand_ids])
        self._hands = {name: hand_table.array(name) for name in HAND_COLUMNS}

    def __len__(self) -> int:
        return len(self.frame_ids)

    def first_of_poses(self, per_pose: int | None) -> FrameSet:
        """The set of the first `per_pose` frames of every pose; None: all of them."""
        if per_pose is None:
            return self
        seen: Counter[str] = Counter()
        kept = []
        for place, pair in enumerate(self.pair_ids):
            if seen[pair] < per_pose:
                kept.append(place)
            seen[pair] += 1
        found = copy(self)
        for name in ("hand_ids", "pair_ids", "file_names"):
            setattr(found, name, [getattr(self, name)[place] for place in kept])
        found.frame_ids, found._rows = self.frame_ids[kept], self._rows[kept]
        return found

    def place_of(self, frame_id: int) -> int:
        """The place of a frame id in this set. Raises DataError if it is not usable."""
        place = int(np.searchsorted(self.frame_ids, frame_id))
        if place == len(self) or self.frame_ids[place] != frame_id:
            raise DataError(f"{self.frames_path}: frame {frame_id} is not a usable frame; run reconstruct again.")
        return place

    def item(self, frame: int, with_image: bool = True) -> FrameItem:
        """The frame at a place of this set (not a frame id)."""
        image, camera = self.crops.photograph(int(self.frame_ids[frame]), with_image)
        hands = {name: values[self._rows[frame]] for name, values in self._hands.items()}
        hands["keypoints"] = hands.pop("keypoints_model")
        return FrameItem(frame=frame, hand_ids=self.hand_ids[frame], image=image, camera=camera, **hands)

    def image(self, frame: int) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB crop of the frame at a place of this set."""
        return self.crops.image(int(self.frame_ids[frame]))


class Rounds:
    """An endless sequence of rounds, in each of which every item comes once, in a random order of its own."""

    def __init__(self, count: int, seed: int, purpose: str) -> None:
        self.count, self.seed, self.purpose = count, seed, purpose
        self._round: tuple[int, np.ndarray] | None = None

    def __getitem__(self, place: int) -> int:
        """The item at a position, independent of earlier requests."""
        turn, index = divmod(place, self.count)
        if self._round is None or self._round[0] != turn:
            random = np.random.default_rng(seed_of(self.seed, self.purpose, turn))
            self._round = turn, random.permutation(self.count)
        return int(self._round[1][index])
