"""Two hands of one photograph, from Python: `Reconstructor.from_pretrained(folder).reconstruct(image, keypoints, camera)`.

World and camera in metres (OpenCV axes: x right, y down, z forward), keypoints in STANDARD order, hands in the order of
`Side.index` (left, right). The fields and surfaces are those of the workflow's stage `reconstruct`.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from time import perf_counter
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from im2hands.datasets.images import CropSettings, crop_image, hands_crop
from im2hands.datasets.keypoints import implausible
from im2hands.evaluation.penetration import Penetration, penetration
from im2hands.geometry.cameras import Affine, Camera
from im2hands.geometry.components import Removed, largest_component
from im2hands.geometry.isosurface import FULL, subdivision
from im2hands.geometry.mesh import Mesh
from im2hands.hands.frames import PalmFrame
from im2hands.hands.joints import BONE_ENDS, BONE_STARTS, WRIST
from im2hands.hands.model import HandModel
from im2hands.hands.model_fit import FittedHand, fit_hand_model
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.io.parallel import ordered_stream
from im2hands.networks.catalogue import METHODS, ImageMethod
from im2hands.networks.initial_occupancy import InitialOccupancyNetwork, load_initial_occupancy
from im2hands.networks.model_folder import BUILT_IN, model_root
from im2hands.networks.refined_occupancy import RefinedOccupancyNetwork, load_refined_occupancy
from im2hands.networks.two_hands import query_points_in_camera
from im2hands.photographs.plausible_hands import OTHER_SIDE, bend_to_the_back
from im2hands.reconstruction.anchors import AnchorSettings, ImagedField, ImagedHand
from im2hands.reconstruction.failures import Reason, bone_frames
from im2hands.reconstruction.hand_extent import extent
from im2hands.reconstruction.image_fields import imaged_pair
from im2hands.reconstruction.surfaces import Extraction, HandInput, reconstruct_hands

NO_POINTS = np.zeros((0, 3))
_reconstructor: Reconstructor
"""Of a worker process of `Reconstructor.reconstruct_many`."""
Photograph = tuple[UInt8[np.ndarray, "rows columns 3"], Float[np.ndarray, "2 21 3"], Camera]


@dataclass(frozen=True, eq=False)
class TwoHands:
    """What a photograph gave.

    meshes: world, m; None where a hand was not given or cannot be reconstructed, empty where its field has no surface;
    `failures` says why (see `reconstruction.failures`).  removed: loose parts that were left out.
    keypoints: as given (world, m); NaN for a hand that was not given.
    camera: camera of the crop.  crop: RGB.  affine: photograph -> crop pixels.  timings: seconds of each part.
    method: `im2hands`, or `initial` also where refined occupancy was requested but only one hand is seen.
    """

    meshes: dict[Side, Mesh | None]
    failures: dict[Side, str | None]
    removed: dict[Side, Removed]
    keypoints: Float[np.ndarray, "2 21 3"]
    camera: Camera
    crop: UInt8[np.ndarray, "size size 3"]
    affine: Affine
    timings: dict[str, float]
    method: ImageMethod
    _network: InitialOccupancyNetwork | RefinedOccupancyNetwork
    _imaged: dict[Side, ImagedHand]

    def occupancy(
        self, points: Float[Tensor, "points 3"], side: Side, frame: Literal["camera", "world"] = "camera"
    ) -> Float[Tensor, " points"]:
        """Occupancy of points (m) in the field of a hand, 0 to 1, differentiable in `points` (autograd).

        frame: what the points' coordinates are; `world` is the frame that the camera's rotation and translation start from, the
        same one where they are the identity.  Raises DataError for a hand without a field.
        """
        imaged, network = self._imaged.get(side), self._network
        if imaged is None:
            raise DataError(f"the {side.value} hand has no field: {self.failures[side]}.")
        palm = imaged.hand.palm
        asked = points.to(palm.wrist)
        if frame == "camera":
            rotation, translation = imaged.camera.rotation[0], imaged.camera.translation[0]
            asked = (asked - translation) @ rotation
        hand = imaged.hand.with_points(palm.from_world(asked[None]))
        depth = None
        if network.depth_reference == "published" and len(points):
            depth = query_points_in_camera(hand, imaged.camera)[:, 0, 2].detach()
        return network.occupancy(imaged.encoded, hand, imaged.camera, depth)[0]

    @cached_property
    def penetration(self) -> Penetration | None:
        """How far the hands penetrate each other; None unless both have a surface."""
        pair = [self.meshes[side] for side in SIDES]
        return None if any(mesh is None or mesh.is_empty for mesh in pair) else penetration(*pair)

    @cached_property
    def confidence(self) -> dict[Side, float | None]:
        """Mean occupancy along each hand's own bones, 0 to 1: near 1 where photograph and keypoints agree on a hand there, low
        where the field does not follow the keypoints. Not a calibrated probability. None for a hand without a field, or whose
        field is not finite there."""
        found: dict[Side, float | None] = dict.fromkeys(SIDES)
        for side in self._imaged:
            joints = self.keypoints[side.index]
            along = np.linspace(0.1, 0.9, 5)[:, None, None]
            points = joints[list(BONE_STARTS)] * (1 - along) + joints[list(BONE_ENDS)] * along
            with torch.no_grad():
                mean = float(self.occupancy(torch.from_numpy(points.reshape(-1, 3)), side, "world").mean())
            found[side] = mean if np.isfinite(mean) else None
        return found

    def fit_hand_model(self, models: dict[Side, HandModel] | None = None) -> dict[Side, FittedHand]:
        """Pose, shape and translation of the hand model, least squares to each mesh; see `hands.model_fit`.

        models: by default the built-in ones.  Hands without a surface are left out.
        """
        from im2hands.hands.model_files import builtin_hand_models

        models = models or builtin_hand_models()
        return {
            side: fit_hand_model(models[side], mesh, self.keypoints[side.index])
            for side, mesh in self.meshes.items()
            if mesh is not None and not mesh.is_empty
        }


@dataclass(frozen=True, eq=False)
class Reconstructor:
    """A network with the settings of its surfaces.

    extraction, anchors: see their classes.  seed: seed for drawing the anchors.  one_part: whether a hand is its largest
    connected part alone.
    """

    network: InitialOccupancyNetwork | RefinedOccupancyNetwork
    extraction: Extraction
    anchors: AnchorSettings
    seed: int = 0
    one_part: bool = False

    @classmethod
    def from_pretrained(
        cls,
        models: str | os.PathLike = BUILT_IN,
        method: ImageMethod = "im2hands",
        resolution: int = 256,
        device: str = "cpu",
        seed: int = 0,
        one_part: bool = False,
        apart: bool = False,
    ) -> Reconstructor:
        """models: folder with the folder of each network, as the workflow writes it; `builtin`: the package's own weights;
        `hf:OWNER/NAME`: a repository of the Hugging Face Hub.

        resolution: cells along a side of the searched box of 0.44 m; 16 times a power of two.  one_part: see the class.
        apart: whether the hands share no point, see `reconstruction.apart`.
        Raises DataError if the network is missing, CheckpointError if the folder contains another one.
        """
        if method not in get_args(ImageMethod):
            raise DataError(
                f"unknown method {method!r} for single photographs; use {' or '.join(get_args(ImageMethod))}."
            )
        subdivision(resolution, "default")
        load = load_initial_occupancy if method == "initial" else load_refined_occupancy
        network, _ = load(model_root(models) / METHODS[method].network, device)
        extraction = Extraction("default", resolution, METHODS[method].threshold, apart)
        return cls(network, extraction, AnchorSettings(), seed, one_part)

    def reconstruct(
        self,
        image: UInt8[np.ndarray, "rows columns 3"],
        keypoints: Float[np.ndarray, "2 21 3"],
        camera: Camera,
    ) -> TwoHands:
        """Both hands of a photograph.

        image: RGB.  keypoints: left, right; STANDARD order, world, m; NaN for a missing hand.  camera: camera of the image's
        pixels.
        Raises DataError for another image type, keypoints that are no hands in metres, or hands behind the camera.
        """
        begun = perf_counter()
        hands = hand_inputs(keypoints)
        crop, affine, camera = photograph_crop(image, usable(hands), camera)
        return self.reconstruct_crop(crop, affine, camera, hands, perf_counter() - begun)

    def reconstruct_many(self, photographs: Iterable[Photograph], at_once: int = 1) -> Iterator[TwoHands]:
        """Many photographs (image, keypoints, camera), results in their order.

        at_once: worker processes that share the cores; more need less time for each photograph, and memory for a copy of the
        network each. Results differ in the last bits at most. At most so many photographs are in work or wait to be taken. A
        script that uses more than 1 needs the usual guard `if __name__ == "__main__"`. On a GPU it is 1 in any case.
        """
        if at_once <= 1 or self.network.image_projection.weight.device.type != "cpu":
            yield from (self.reconstruct(*photograph) for photograph in photographs)
            return
        # as bytes: torch would move tensors that go to another process into shared memory, of which containers have little
        work = pickle.dumps((self, max(1, torch.get_num_threads() // at_once)))
        for made in ordered_stream(_reconstruct_in_worker, photographs, at_once, partial(_start_worker, work)):
            hands, own_network = pickle.loads(made)
            yield replace(hands, _network=self.network if own_network else self.network.initial)

    def reconstruct_crop(
        self,
        crop: UInt8[np.ndarray, "256 256 3"],
        affine: Affine,
        camera: Camera,
        hands: Sequence[HandInput],
        crop_s: float = 0.0,
    ) -> TwoHands:
        """The hands of a crop that was made already, with the crop's camera; `reconstruct` without its first part."""
        begun = perf_counter()
        there = usable(hands)
        network, extraction, method = self._for(len(there))
        imaged = imaged_pair(network, crop, camera, there, self.anchors, self.seed)
        encoded = perf_counter()
        surfaces = reconstruct_hands(lambda _: ImagedField(network, imaged), hands, extraction)
        finished = perf_counter()
        made = {hand.side: hand for hand in surfaces}
        whole = {side: made[side].mesh if side in made else None for side in SIDES}
        largest = {side: largest_component(mesh or Mesh()) for side, mesh in whole.items()}
        taken = {side: mesh and largest[side][0] for side, mesh in whole.items()} if self.one_part else whole
        keypoints = np.full((len(SIDES), 21, 3), np.nan)
        for hand in hands:
            keypoints[hand.frame.side.index] = hand.keypoints
        return TwoHands(
            meshes=taken | {hand.side: Mesh() for hand in surfaces if hand.failure == FULL},
            failures={side: made[side].failure if side in made else Reason.NO_KEYPOINTS.value for side in SIDES},
            removed={side: largest[side][1] if self.one_part else Removed() for side in SIDES},
            keypoints=keypoints,
            camera=camera,
            crop=crop,
            affine=affine,
            timings={"crop": crop_s, "encode": encoded - begun, "surfaces": finished - encoded},
            method=method,
            _network=network,
            _imaged={hand.frame.side: one for hand, one in zip(there, imaged, strict=True)},
        )

    def _for(self, hands: int) -> tuple[InitialOccupancyNetwork | RefinedOccupancyNetwork, Extraction, ImageMethod]:
        """Network, settings and method for so many hands: refined occupancy needs both, its initial network does not."""
        if not isinstance(self.network, RefinedOccupancyNetwork):
            return self.network, self.extraction, "initial"
        if hands == len(SIDES):
            return self.network, self.extraction, "im2hands"
        once = Extraction(self.extraction.grid, self.extraction.resolution, self.anchors.threshold)
        return self.network.initial, once, "initial"


def _start_worker(work: bytes) -> None:
    global _reconstructor
    _reconstructor, threads = pickle.loads(work)
    torch.set_num_threads(threads)


def _reconstruct_in_worker(photograph: Photograph) -> bytes:
    """The hands without the network, and whether it is the reconstructor's own or the initial one inside."""
    hands = _reconstructor.reconstruct(*photograph)
    return pickle.dumps((replace(hands, _network=None), hands._network is _reconstructor.network))


def hand_inputs(keypoints: Float[np.ndarray, "2 21 3"]) -> list[HandInput]:
    """The hands that are there, with their bone frames. keypoints: world, m; all NaN for a hand that is not there.

    If only one hand has usable keypoints, the other one is kept but rejected with its reason; see `usable`.
    Raises DataError if there are no keypoints or none can be used.
    """
    keypoints = np.asarray(keypoints, np.float64)
    if keypoints.shape != (len(SIDES), 21, 3):
        raise DataError(f"the keypoints have shape {keypoints.shape}; give (2, 21, 3): left and right hand, metres.")
    there = [side for side in SIDES if not np.isnan(keypoints[side.index]).all()]
    if not there:
        raise DataError("there are no keypoints; give those of at least one hand.")
    chosen = keypoints[[side.index for side in there]]
    frames, reasons = bone_frames(chosen, there)
    if None not in reasons:
        problem = implausible(chosen[None])
        if problem is not None:
            raise DataError(f"the keypoints are not hands in metres: {problem[1]}.")
        raise DataError(
            f"bone frames cannot be computed from the keypoints of the {there[0].value} hand: {frames.rejected[0]}."
        )
    if reasons == [None] * len(SIDES) and all(
        bend_to_the_back(hand[None], side)[0] > OTHER_SIDE for hand, side in zip(chosen, there, strict=True)
    ):
        raise DataError("the fingers of both hands bend backwards; swap left and right.")
    palms, bones, lengths = (x.numpy() for x in (frames.palm_rotation, frames.bone_from_palm, frames.bone_lengths))
    return [
        HandInput(
            pair_id="photograph",
            hand_id=side.value,
            frame=PalmFrame(side, chosen[place][WRIST], palms[place]),
            bone_from_palm=bones[place],
            bone_lengths=lengths[place],
            keypoints=chosen[place],
            published_points=NO_POINTS,
            uniform_points=NO_POINTS,
            rejected=reasons[place],
        )
        for place, side in enumerate(there)
    ]


def usable(hands: Sequence[HandInput]) -> list[HandInput]:
    """The hands that are not rejected."""
    return [hand for hand in hands if hand.rejected is None]


def photograph_crop(
    image: UInt8[np.ndarray, "rows columns 3"], hands: Sequence[HandInput], camera: Camera
) -> tuple[UInt8[np.ndarray, "256 256 3"], Affine, Camera]:
    """The crop around the hands as in training, its place (photograph -> crop pixels) and its camera.

    Raises DataError for another image type, hands behind the camera or all outside the picture.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"the image is {image.dtype} {image.shape}; give 8-bit RGB of shape (rows, columns, 3).")
    points = np.concatenate([extent(hand.keypoints, hand.frame, camera) for hand in hands])
    settings = CropSettings()
    affine, cropped = hands_crop(camera, points[None], settings)
    pixels, (rows, columns) = camera.project(np.concatenate([hand.keypoints for hand in hands])), image.shape[:2]
    if not ((pixels >= -0.5) & (pixels < [columns - 0.5, rows - 0.5])).all(axis=1).any():
        low, high = pixels.min(axis=0).round().astype(int), pixels.max(axis=0).round().astype(int)
        raise DataError(
            f"no keypoint is in the picture of {columns} x {rows} pixels: they project to columns {low[0]} to {high[0]}, "
            f"rows {low[1]} to {high[1]}; do camera and keypoints belong to this photograph?"
        )
    return crop_image(image, affine, settings.size), affine, cropped
