"""What `im2hands reconstruct` is asked for, and what it writes of a picture: meshes, drawings and the JSON file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from im2hands.geometry.mesh import Mesh
from im2hands.geometry.mesh_files import GLTF_FRAME, write_mesh, write_scene
from im2hands.hands.sides import Side
from im2hands.io.atomic import write_bytes, write_json
from im2hands.io.errors import DataError
from im2hands.photographs.cameras import AUTO, guessed_focal
from im2hands.photographs.detection.landmark_entries import DETECTED
from im2hands.photographs.files import Photograph, exif_focal
from im2hands.photographs.landmark_files import GivenHands
from im2hands.photographs.reconstructor import TwoHands
from im2hands.report.colours import PREDICTION
from im2hands.report.pictures import View, backdrop, from_the_right, over, painted, render

RESULT, PREDICTED = "result.json", "intaghand"
COLOURS = PREDICTION
"""Of the hands in pictures and scenes; `im2hands view` has the same."""
MESH_FRAMES = {"obj": "as units says", "ply": "as units says", "glb": f"glTF's, y up: {GLTF_FRAME}"}
PICTURE = 768
FAR_APART = 0.4
"""Metres between the nearest joints of two hands; hands further apart may be those of two people."""


@dataclass(frozen=True)
class Settings:
    """Of the command; see `im2hands reconstruct --help`.

    history: what keypoint_history says, where it is known already.  picture: pixels along a side of the drawn pictures.
    """

    model: Path
    keypoints: str
    camera: str = "auto"
    method: str = "im2hands"
    refine_keypoints: bool = False
    box: str = ""
    hand_model: Path | None = None
    formats: tuple[str, ...] = ("glb",)
    resolution: int = 256
    device: str = "cpu"
    order: str | None = None
    unit: str | None = None
    palm: float | None = None
    at_once: int = 1
    all_parts: bool = False
    swap_sides: bool = False
    noise_mm: float | None = None
    detector: Path | None = None
    history: str = ""
    separate_hands: bool = False
    picture: int | None = None


def keypoint_history(settings: Settings) -> str:
    """Where the keypoints come from, and what was done to them; `settings.history` if that is known already."""
    if settings.history:
        return settings.history
    noise = "" if settings.noise_mm is None else f", corrected by the prior for {settings.noise_mm:g} mm"
    return settings.keypoints + noise + (", refined" if settings.refine_keypoints else "")


@dataclass(frozen=True, eq=False)
class Made:
    """A picture's hands, what they were made of, and the shape of the picture."""

    hands: TwoHands
    given: GivenHands
    shape: tuple[int, ...]


def write_results(folder: Path, photograph: Photograph, made: Made, settings: Settings) -> None:
    """Meshes of each hand and of both, the overlay, the side view and the JSON file of one picture."""
    begun = perf_counter()
    hands, given = made.hands, made.given
    meshes = {side: mesh for side, mesh in hands.meshes.items() if mesh is not None and not mesh.is_empty}
    if not meshes:
        reasons = "; ".join(f"{side.value} hand: {reason}" for side, reason in hands.failures.items())
        raise DataError(f"no hand surface was found ({reasons}).")
    write_meshes(folder, meshes, settings.formats)
    for name, picture in pictures(hands, settings.picture or PICTURE).items():
        write_bytes(folder / f"{name}.png", cv2.imencode(".png", picture)[1].tobytes())
    overlap, confidence = hands.penetration, hands.confidence
    content = {
        "image": str(photograph.file),
        "method": hands.method,
        "keypoint_source": keypoint_history(settings),
        "camera_source": _camera_source(photograph, made, settings),
        "keypoints": {side.value: listed(hands.keypoints[side.index]) for side in Side},
        "camera_of_crop": {
            "K": hands.camera.intrinsics.tolist(),
            "R": hands.camera.rotation.tolist(),
            "t": hands.camera.translation.tolist(),
        },
        "crop_from_image": hands.affine.tolist(),
        "warnings": warnings_of(photograph, made, settings),
        "removed": {side.value: vars(hands.removed[side]) for side in Side},
        "uncertainty": {side.value: _uncertainty(given, side) for side in Side},
        "failures": {side.value: hands.failures[side] for side in Side},
        "confidence": {side.value: confidence[side] for side in Side},
        "penetration": overlap and {"volume_cm3": overlap.volume_cm3, "depth_mm": overlap.depth_mm},
        "seconds": hands.timings | {"files": perf_counter() - begun},
        "units": "metres; world frame of the camera's R and t",
        "mesh_frames": MESH_FRAMES,
    }
    write_json(folder / RESULT, content)


def warnings_of(photograph: Photograph, made: Made, settings: Settings) -> list[str]:
    """What a user should know before trusting the result."""
    hands, given = made.hands, made.given
    found = list(given.notes)
    there = [side for side in Side if np.isfinite(given.keypoints[side.index]).all()]
    if len(there) == 1 and settings.method != hands.method:
        found.append(f"only the {there[0].value} hand has keypoints: made with the initial field")
    if len(there) == len(Side):
        left, right = given.keypoints
        apart = np.linalg.norm(left[:, None] - right[None], axis=-1).min()
        if apart > FAR_APART:
            found.append(f"the hands are {apart:.2f} m apart: do they belong to one person?")
    if settings.camera == AUTO and (given.sigma is not None or settings.keypoints in (PREDICTED, DETECTED)):
        focal, _ = guessed_focal(photograph, made.shape)
        if exif_focal(photograph.file, made.shape) is None:
            found.append(f"the focal length ({focal:.0f} pixels) is assumed: the distance of the hands is not known")
    return found


def write_meshes(folder: Path, meshes: Mapping[Side, Mesh], formats: Sequence[str]) -> None:
    """Each hand, and both together in their colours, in every format."""
    colours = {side.value: tuple(round(255 * x) for x in COLOURS[side]) for side in meshes}
    for suffix in formats:
        for side, mesh in meshes.items():
            write_mesh(folder / f"{side.value}.{suffix}", mesh, camera_axes=True)
        together = {side.value: mesh for side, mesh in meshes.items()}
        write_scene(folder / f"hands.{suffix}", together, colours, camera_axes=True)


def _camera_source(photograph: Photograph, made: Made, settings: Settings) -> str:
    if settings.camera != AUTO:
        return settings.camera
    return f"auto: focal length {guessed_focal(photograph, made.shape)[1]}"


def pictures(hands: TwoHands, size: int) -> dict[str, UInt8[np.ndarray, "size size 3"]]:
    """Overlay on the crop, and the hands from the right of the picture; BGR."""
    meshes = {side: mesh for side, mesh in hands.meshes.items() if mesh is not None and not mesh.is_empty}
    clouds = [hands.camera.to_camera(mesh.vertices) for mesh in meshes.values()]
    front = View(hands.camera.intrinsics, len(hands.crop)).enlarged(size / len(hands.crop))
    turned, side_view = from_the_right(clouds, size)
    white, drawn = np.ones((size, size, 4)), {}
    for name, places, view, back in (
        ("overlay", clouds, front, backdrop(hands.crop, size)),
        ("side", turned, side_view, white),
    ):
        coloured = [
            painted(place, mesh.faces, COLOURS[side])
            for place, (side, mesh) in zip(places, meshes.items(), strict=True)
        ]
        picture = over(render(coloured, view), back)[..., 2::-1]
        drawn[name] = np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    return drawn


def _uncertainty(given: GivenHands, side: Side) -> dict[str, Any] | None:
    """Standard deviations of the joints about the wrist, and the distance from the camera with its 90 % interval."""
    if given.sigma is None or np.isnan(given.sigma[side.index]).any():
        return None
    distance, low, high = given.distance[side.index]
    return {
        "joint_sigma_mm": [round(1000 * float(one), 2) for one in given.sigma[side.index]],
        "distance_m": round(float(distance), 4),
        "distance_90_m": [round(float(low), 4), round(float(high), 4)],
    }


def listed(keypoints: np.ndarray) -> list | None:
    """Keypoints as lists; None for a hand that is not whole."""
    return keypoints.tolist() if np.isfinite(keypoints).all() else None
