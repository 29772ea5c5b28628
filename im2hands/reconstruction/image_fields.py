"""The fields of hands in photographs: initial and refined occupancy, for surface extraction and evaluation.

Points are in the palm frame of the keypoints in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import UInt8

from im2hands.datasets.frame_items import FrameSet
from im2hands.geometry.cameras import Camera
from im2hands.hands.frames import PalmFrames
from im2hands.hands.sides import Side
from im2hands.networks.catalogue import ImageMethod
from im2hands.networks.image_encoder import normalise
from im2hands.networks.initial_occupancy import InitialOccupancyNetwork, load_initial_occupancy
from im2hands.networks.refined_occupancy import RefinedOccupancyNetwork, load_refined_occupancy
from im2hands.networks.two_hands import CameraBatch, HandBatch
from im2hands.reconstruction.anchors import (
    AnchoredHand,
    AnchorSettings,
    ImagedField,
    ImagedHand,
    anchor_seed,
    anchors_of,
)
from im2hands.reconstruction.surfaces import Field, HandInput, View


@dataclass(frozen=True)
class ImageFields:
    """Makes the occupancy field of some hands from their photographs. Picklable; files are read once per process.

    model: folder of the weights.  frames, hands: tables of the split.  images: manifest of its crops.
    seed, anchors: settings for the anchors of refined occupancy, drawn from the initial surfaces of the same hands.
    """

    method: ImageMethod
    model: str
    frames: str
    hands: str
    images: str
    seed: int
    anchors: AnchorSettings
    device: str = "cpu"

    def __call__(self, hands: list[HandInput]) -> Field:
        frames, network = _frames(self.frames, self.hands, self.images), _network(self.method, self.model, self.device)
        views: dict[View, list[HandInput]] = {}
        for hand in hands:
            views.setdefault((hand.pair_id, hand.frame_ids), []).append(hand)
        imaged = {
            (view, hand.hand_id): one
            for view, pair in views.items()
            for hand, one in zip(pair, self._imaged(network, frames, pair), strict=True)
        }
        return _PartlyMissing(network, [imaged[(hand.pair_id, hand.frame_ids), hand.hand_id] for hand in hands])

    def _imaged(
        self,
        network: InitialOccupancyNetwork | RefinedOccupancyNetwork,
        frames: FrameSet,
        pair: Sequence[HandInput],
    ) -> list[ImagedHand | None]:
        frame_id = pair[0].frame_ids[0]
        item = frames.item(frames.place_of(frame_id))
        return imaged_pair(network, item.image, item.camera, pair, self.anchors, self.seed, frame_id)


@torch.no_grad()
def imaged_pair(
    network: InitialOccupancyNetwork | RefinedOccupancyNetwork,
    crop: UInt8[np.ndarray, "256 256 3"],
    camera: Camera,
    pair: Sequence[HandInput],
    anchors: AnchorSettings,
    seed: int = 0,
    frame_id: int = 0,
) -> list[ImagedHand | None]:
    """What the network made of a photograph for every hand of a pair; None where it needs the other hand too.

    crop: RGB, with its camera.  anchors, seed, frame_id: for the anchors of refined occupancy.
    """
    device = network.image_projection.weight.device
    images = normalise(torch.from_numpy(crop[None].copy())).to(device)
    cameras = CameraBatch(*(_tensor(x) for x in (camera.rotation, camera.translation, camera.intrinsics))).to(device)
    batches = [hand_batch(hand).to(device) for hand in pair]
    initial = network.initial if isinstance(network, RefinedOccupancyNetwork) else network
    encoded = initial.encode(images)
    first = [ImagedHand(encoded, batch, cameras) for batch in batches]
    if initial is network:
        return first
    if len(pair) < len(Side):
        return [None] * len(pair)
    hands = [AnchoredHand(hand.frame, hand.keypoints, anchor_seed(seed, frame_id, hand.frame.side)) for hand in pair]
    made = anchors_of(ImagedField(initial, first), hands, anchors)
    points = {
        hand.frame.side: torch.from_numpy(one.points[:1]).to(device) for hand, one in zip(pair, made, strict=True)
    }
    refined = network.encode(images, points, cameras)
    return [ImagedHand(refined, one.hand, cameras) for one in first]


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))[None]


def hand_batch(hand: HandInput) -> HandBatch:
    """A hand as the networks take it, without points."""
    palm = PalmFrames(_tensor(hand.frame.wrist), _tensor(hand.frame.rotation), hand.frame.side)
    return HandBatch(
        hand.frame.side, palm, _tensor(hand.bone_from_palm), _tensor(hand.bone_lengths), torch.zeros(1, 0, 3)
    )


class _PartlyMissing:
    """A field in which some hands have none: not a number everywhere."""

    def __init__(
        self, network: InitialOccupancyNetwork | RefinedOccupancyNetwork, hands: Sequence[ImagedHand | None]
    ) -> None:
        self.present = np.array([hand is not None for hand in hands], bool)
        self.field = ImagedField(network, [hand for hand in hands if hand is not None])
        self.place = np.cumsum(self.present) - 1

    def __call__(self, item_index: np.ndarray, points: np.ndarray) -> np.ndarray:
        values = np.full(len(points), np.nan, np.float32)
        asked = self.present[item_index]
        values[asked] = self.field(self.place[item_index[asked]], points[asked])
        return values


@lru_cache(maxsize=1)
def _frames(frames: str, hands: str, images: str) -> FrameSet:
    return FrameSet(frames, hands, images)


@lru_cache(maxsize=1)
def _network(method: ImageMethod, model: str, device: str) -> InitialOccupancyNetwork | RefinedOccupancyNetwork:
    load = load_initial_occupancy if method == "initial" else load_refined_occupancy
    return load(model, device)[0]
