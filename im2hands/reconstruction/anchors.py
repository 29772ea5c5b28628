"""Anchors: points on the surfaces of the initial occupancy of both hands of a frame.

A coarse surface is enough: on the synthetic set anchors from a grid of 64 cells lie 0.9 mm from the surface of one of 256 (95 %
within 2.1 mm) for a fifth of the time; 128 cells 0.4 mm for a third. Fields are extracted in the
palm frame (1 unit = 0.4 m); anchors are in the world, metres. What is drawn for a hand depends on its field and its seed alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from im2hands.datasets.anchors import ANCHORS, anchors_row
from im2hands.datasets.frame_items import FrameItem, FrameSet
from im2hands.datasets.frames import shard_range
from im2hands.datasets.queries import QueryPoints
from im2hands.geometry.isosurface import EMPTY, FULL, Field, Surface, extract_surfaces, subdivision
from im2hands.geometry.surface import sample_surface
from im2hands.hands.frames import PalmFrame
from im2hands.hands.joints import BONE_ENDS, BONE_STARTS
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.io.hashing import seed_of
from im2hands.io.parallel import chunks, ordered_map
from im2hands.io.tables import Provenance, ShardWriter
from im2hands.io.threads import one_thread
from im2hands.networks.frame_batches import frame_batch
from im2hands.networks.initial_occupancy import EncodedImages, InitialOccupancyNetwork, load_initial_occupancy
from im2hands.networks.refined_occupancy import EncodedPair, RefinedOccupancyNetwork
from im2hands.networks.two_hands import CameraBatch, HandBatch, query_points_in_camera

POINTS = 512
"""Published number of anchors per hand and draw."""
BONE_RADIUS = 0.008
"""Metres: how far from the bones anchors of a hand without a surface are."""
FRAMES_PER_TASK = 8
POINTS_PER_CALL = 16384
NO_POINTS = QueryPoints(np.zeros((0, 3), np.float32), np.zeros(0, bool))


@dataclass(frozen=True)
class AnchorSettings:
    """How anchors are made.

    grid, resolution: settings of the search, see `isosurface.subdivision`.  threshold: initial occupancy at the surface.
    draws: how many sets of `points` anchors per hand.
    """

    grid: Literal["published", "default"] = "default"
    resolution: int = 64
    threshold: float = 0.5
    draws: int = 1
    points: int = POINTS


@dataclass(frozen=True, eq=False)
class AnchoredHand:
    """Where a hand is, for its anchors. frame: palm frame.  keypoints: world, m.  seed: seed for drawing its anchors, see
    `anchor_seed`."""

    frame: PalmFrame
    keypoints: Float[np.ndarray, "21 3"]
    seed: Sequence[int]


@dataclass(frozen=True, eq=False)
class HandAnchors:
    """points: world, m.  reason: why they are not on a surface but around the bones; None if they are on one."""

    points: Float[np.ndarray, "draws points 3"]
    reason: str | None = None


def anchor_seed(seed: int, frame_id: int, side: Side) -> list[int]:
    """Of all draws of a hand in a frame; draw i is the same however many there are."""
    return seed_of(seed, "anchors", frame_id, side.value)


def anchors_of(field: Field, hands: Sequence[AnchoredHand], settings: AnchorSettings) -> list[HandAnchors]:
    """Anchors of some hands; item i of `field` is the occupancy of hand i in its palm frame.

    A hand without a surface, because its field is on one side of the threshold or not finite, gets points around its bones,
    with the reason.
    """
    start, depth = subdivision(settings.resolution, settings.grid)
    surfaces = extract_surfaces(field, len(hands), start=start, depth=depth, level=settings.threshold)
    return [_anchors(surface, hand, settings) for surface, hand in zip(surfaces, hands, strict=True)]


def points_around_bones(
    keypoints: Float[np.ndarray, "21 3"], count: int, random: np.random.Generator
) -> Float[np.ndarray, "count 3"]:
    """Points about as far from the bones as the skin is: uniform along the bones, BONE_RADIUS away in a random direction.

    keypoints: STANDARD order, m.
    """
    starts, ends = keypoints[list(BONE_STARTS)], keypoints[list(BONE_ENDS)]
    lengths = np.linalg.norm(ends - starts, axis=1)
    bones = random.choice(len(lengths), count, p=lengths / lengths.sum())
    along, away = random.random((count, 1)), random.normal(size=(count, 3))
    away *= BONE_RADIUS / np.linalg.norm(away, axis=1, keepdims=True)
    return starts[bones] + along * (ends[bones] - starts[bones]) + away


def _anchors(surface: Surface, hand: AnchoredHand, settings: AnchorSettings) -> HandAnchors:
    words = {
        EMPTY: f"the field is nowhere above {settings.threshold}",
        FULL: f"the field is nowhere below {settings.threshold}",
    }
    reason = words.get(surface.failure, surface.failure)
    draws = []
    for draw in range(settings.draws):
        random = np.random.default_rng([*hand.seed, draw])
        if reason is not None:
            draws.append(points_around_bones(hand.keypoints, settings.points, random))
        else:
            try:
                drawn = sample_surface(surface.vertices, surface.faces, settings.points, random).points
            except DataError as error:
                return _anchors(Surface(failure=str(error)), hand, settings)
            draws.append(hand.frame.to_world(drawn))
    return HandAnchors(np.stack(draws).astype(np.float32), reason)


@dataclass(frozen=True, eq=False)
class ImagedHand:
    """A hand in a photograph: what a network must know to be asked about points. All batches are of one."""

    encoded: EncodedImages | EncodedPair
    hand: HandBatch
    camera: CameraBatch


class ImagedField:
    """The occupancies of several hands in photographs as one field; item i is hand i and does not depend on the others.

    network: initial or refined occupancy; `hands` contain what it made of the photographs.
    In published mode depths are relative to that of an item's first point of a call, however the call is split.
    """

    def __init__(
        self,
        network: InitialOccupancyNetwork | RefinedOccupancyNetwork,
        hands: Sequence[ImagedHand],
        points_per_call: int = POINTS_PER_CALL,
    ) -> None:
        self.network, self.hands, self.points_per_call = network, hands, points_per_call
        self.device = network.image_projection.weight.device

    @torch.no_grad()
    def __call__(
        self, item_index: Int[np.ndarray, " points"], points: Float[np.ndarray, "points 3"]
    ) -> Float[np.ndarray, " points"]:
        """Occupancy of each point (palm units) in the field of its hand. item_index: which hand, ascending."""
        values = np.empty(len(points), np.float32)
        bounds = np.searchsorted(item_index, np.arange(len(self.hands) + 1))
        for imaged, start, stop in zip(self.hands, bounds, bounds[1:], strict=False):
            asked = torch.from_numpy(np.ascontiguousarray(points[start:stop], np.float32))[None].to(self.device)
            depth = None
            for place in range(0, stop - start, self.points_per_call):
                hand = imaged.hand.with_points(asked[:, place : place + self.points_per_call])
                if self.network.depth_reference == "published" and depth is None:
                    depth = query_points_in_camera(hand, imaged.camera)[:, 0, 2]
                answer = self.network.occupancy(imaged.encoded, hand, imaged.camera, depth)[0]
                first = start + place
                values[first : first + len(answer)] = answer.float().cpu().numpy()
        return values


@dataclass(frozen=True)
class AnchorWork:
    """What a worker must know to make anchors of frames. Picklable; network and frames are read once per process.

    frames, hands: tables of the split.  images: manifest of its crops.  model: folder of the initial network.
    per_pose: how many frames of every pose there are, None: all.
    """

    frames: str
    hands: str
    images: str
    model: str
    settings: AnchorSettings
    seed: int
    device: str = "cpu"
    per_pose: int | None = None

    def __call__(self, places: Sequence[int]) -> list[dict]:
        """Rows of ANCHORS of the frames at some places of the frame set."""
        with one_thread():
            frames, network = self._frames(), _network(self.model, self.device)
            items = [frames.item(place) for place in places]
            imaged = [hand for item in items for hand in imaged_hands(network, item)]
            field = ImagedField(network, imaged)
            ids = [int(frames.frame_ids[place]) for place in places]
            hands = [
                AnchoredHand(
                    PalmFrame(side, item.wrist[side.index], item.palm_rotation[side.index]),
                    item.keypoints[side.index],
                    anchor_seed(self.seed, frame_id, side),
                )
                for item, frame_id in zip(items, ids, strict=True)
                for side in SIDES
            ]
            made = anchors_of(field, hands, self.settings)
        rows = []
        for number, frame_id in enumerate(ids):
            pair = {side: made[2 * number + side.index] for side in SIDES}
            anchors = {side: each.points for side, each in pair.items()}
            rows.append(anchors_row(frame_id, anchors, {side: each.reason for side, each in pair.items()}))
        return rows

    def shard(self, index: int, count: int) -> range:
        """Places of the frames of part `index` of `count` nearly equal runs."""
        return range(*shard_range(len(self._frames()), index, count))

    def _frames(self) -> FrameSet:
        return _frames(self.frames, self.hands, self.images, self.per_pose)


@torch.no_grad()
def imaged_hands(network: InitialOccupancyNetwork, item: FrameItem) -> list[ImagedHand]:
    """Both hands of a frame, in the order of SIDES, without points; the image is encoded once."""
    batch = frame_batch([item], [[NO_POINTS, NO_POINTS]]).to(network.image_projection.weight.device)
    encoded = network.encode(batch.images)
    return [ImagedHand(encoded, batch.hands[side], batch.camera) for side in SIDES]


def anchors_of_frames(work: AnchorWork, places: Sequence[int], workers: int = 1) -> Iterator[dict]:
    """Rows of ANCHORS of frames. workers: processes; the result does not depend on it. Use 1 with a GPU."""
    tasks = chunks(places, FRAMES_PER_TASK)
    label = f"draw anchors (x{FRAMES_PER_TASK} frames)"
    for rows in ordered_map(partial(_rows_of, work), tasks, workers, label, unit="batches"):
        yield from rows


def write_anchors(
    output: str | os.PathLike, work: AnchorWork, places: Sequence[int], provenance: Provenance, workers: int = 1
) -> list[str]:
    """Writes the shard of the frames at `places`, and returns what went wrong with hands, a sentence each."""
    problems = []
    with ShardWriter(output, ANCHORS, provenance, {"points": work.settings.points}) as shard:
        for row in anchors_of_frames(work, places, workers):
            shard.append(row)
            for side in SIDES:
                reason = row[f"{side.value}_reason"]
                if reason is not None:
                    problems.append(f"frame {row['frame_id']}, {side.value} hand: {reason}; anchors around its bones")
    return problems


def _rows_of(work: AnchorWork, places: Sequence[int]) -> list[dict]:
    return work(places)


@lru_cache(maxsize=1)
def _frames(frames: str, hands: str, images: str, per_pose: int | None) -> FrameSet:
    return FrameSet(frames, hands, images).first_of_poses(per_pose)


@lru_cache(maxsize=1)
def _network(model: str, device: str) -> InitialOccupancyNetwork:
    return load_initial_occupancy(model, device)[0]
