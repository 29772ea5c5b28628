"""The methods by name. Each turns hands with keypoints and photographs into surfaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.keypoints import Alignment
from im2hands.hands.model_files import load_hand_models
from im2hands.networks.catalogue import method_of
from im2hands.networks.halo import load_halo
from im2hands.networks.intaghand import load_intaghand
from im2hands.reconstruction.anchors import AnchorSettings
from im2hands.reconstruction.image_fields import ImageFields
from im2hands.reconstruction.inputs import BoneInputs, HaloFields
from im2hands.reconstruction.predicted_hands import predicted_surfaces
from im2hands.reconstruction.surfaces import Extraction, HandSurface, reconstruct_pairs

PAIRS_PER_BATCH = {"halo": 4, "initial": 2, "im2hands": 2}
"""Pairs that are extracted together on a CPU; a GPU takes GPU_FACTOR times as many. Bounds the memory, changes no value."""
GPU_FACTOR = 4


@dataclass(frozen=True)
class MethodFiles:
    """What methods read. model: folder of the weights.  frames, hands: tables.  images: manifest.  hand_model: folder."""

    model: str
    frames: str
    hands: str
    images: str
    hand_model: str


def surfaces_of(
    method: str,
    files: MethodFiles,
    inputs: BoneInputs,
    extraction: Extraction,
    anchors: AnchorSettings,
    alignment: Alignment,
    seed: int,
    device: torch.device,
    threads: int = 1,
) -> Iterator[list[HandSurface]]:
    """The surfaces of every pair of `inputs`, in its order.

    anchors: how refined occupancy draws them.  alignment: of IntagHand's meshes.  threads: worker processes on a CPU; the
    result does not depend on them.  Raises ConfigError for an unknown method, and what reading its weights raises, at once.
    """
    known = method_of(method)
    if method == "intaghand":
        network, _ = load_intaghand(files.model, device)
        frames = FrameSet(files.frames, files.hands, files.images)
        return predicted_surfaces(network, load_hand_models(files.hand_model), frames, inputs, alignment, device)
    if method == "halo":
        load_halo(files.model)
        fields = HaloFields(files.model, str(device))
    else:
        fields = ImageFields(method, files.model, files.frames, files.hands, files.images, seed, anchors, str(device))
    if known.needs_both_hands:
        inputs = inputs.of_whole_pairs()
    on_cpu = device.type == "cpu"
    together = PAIRS_PER_BATCH[method] * (1 if on_cpu else GPU_FACTOR)
    return reconstruct_pairs(fields, inputs, inputs.views, extraction, together, threads if on_cpu else 1)
