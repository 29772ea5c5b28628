"""`im2hands reconstruct` without pictures: meshes of both hands from a keypoint file alone, by HALO's field."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from jaxtyping import Float

from im2hands.evaluation.penetration import penetration
from im2hands.geometry.components import Removed, largest_component
from im2hands.geometry.isosurface import subdivision
from im2hands.geometry.mesh import Mesh
from im2hands.hands.sides import SIDES, Side
from im2hands.io.atomic import atomic_folder, require_writable, write_bytes, write_json
from im2hands.io.errors import DataError, DiskFullError, Im2HandsError, NotWritableError
from im2hands.io.progress import progress
from im2hands.networks.catalogue import METHODS
from im2hands.networks.halo import load_halo
from im2hands.networks.model_folder import model_root
from im2hands.photographs.command import check_settings
from im2hands.photographs.files import IMAGES
from im2hands.photographs.keypoint_files import KeypointFile, read_keypoints
from im2hands.photographs.keypoint_layouts.mano_files import hand_models_of
from im2hands.photographs.pixel_hands import corrected
from im2hands.photographs.reconstructor import hand_inputs
from im2hands.photographs.results import COLOURS, MESH_FRAMES, PICTURE, RESULT, Settings, keypoint_history, write_meshes
from im2hands.reconstruction.failures import Reason
from im2hands.reconstruction.inputs import HaloFields
from im2hands.reconstruction.surfaces import Extraction, HandSurface, reconstruct_hands
from im2hands.report.pictures import from_the_right, over, painted, render

METHOD = "halo"
AWAY = 0.5
"""Metres between the eye and the hands in pictures; the keypoints' frame may have its origin between them."""


def reconstruct_keypoints(output: str | os.PathLike, settings: Settings) -> Iterator[tuple[str, bool]]:
    """A line per entry of the keypoint file, and whether meshes were made. Raises what concerns all entries at once."""
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: is a file; give a folder for the results.")
    check_settings(settings)
    subdivision(settings.resolution, "default")
    if settings.method not in (METHOD, "im2hands"):
        raise DataError(f"--method {settings.method} needs pictures; give them, or leave the method out for HALO.")
    found = _metric_keypoints(settings)
    folder = model_root(settings.model) / METHODS[METHOD].network
    load_halo(folder)
    fields = HaloFields(str(folder), settings.device)
    require_writable(output)
    for name in progress(found.pictures, "reconstruct", unit="entries"):
        yield _reconstruct_entry(output / folder_name(name, found.path), found, name, fields, settings)


def _metric_keypoints(settings: Settings) -> KeypointFile:
    if not Path(settings.keypoints).exists():
        raise DataError(f"{settings.keypoints}: no such keypoint file; without pictures, keypoints come from a file.")
    found = read_keypoints(
        settings.keypoints,
        unit=settings.unit,
        order=settings.order,
        swap_sides=settings.swap_sides,
        hand_models=hand_models_of(settings.hand_model),
    ).in_space()
    if found.landmarks:
        raise DataError(f"{found.path}: pixels need the camera of their picture; give the pictures too.")
    return found


def folder_name(name: str, path: str) -> str:
    """The folder of an entry's results: its name without a picture's suffix; the file's own if it has none."""
    last = Path(name or path)
    return last.stem if not name or last.suffix.lower() in IMAGES else last.name


def _reconstruct_entry(
    folder: Path, found: KeypointFile, name: str, fields: HaloFields, settings: Settings
) -> tuple[str, bool]:
    if (folder / RESULT).is_file():
        return f"{folder.name}: already done, skipped", True
    begun = perf_counter()
    try:
        if name in found.refused:
            raise DataError(found.refused[name])
        keypoints = found.hands[name]
        if settings.noise_mm is not None:
            keypoints = corrected(keypoints, settings.noise_mm)
        hands = hand_inputs(keypoints)
        extraction = Extraction("default", settings.resolution, METHODS[METHOD].threshold, settings.separate_hands)
        made = {one.side: one for one in reconstruct_hands(fields, hands, extraction)}
        failures = {side: made[side].failure if side in made else Reason.NO_KEYPOINTS.value for side in SIDES}
        meshes, removed = _parts(made, settings.all_parts)
        if not meshes:
            reasons = "; ".join(f"{side.value} hand: {reason}" for side, reason in failures.items())
            raise DataError(f"no hand surface was found ({reasons}).")
        with atomic_folder(folder) as temporary:
            write_meshes(temporary, meshes, settings.formats)
            write_bytes(temporary / "side.png", cv2.imencode(".png", _side_view(meshes))[1].tobytes())
            write_json(
                temporary / RESULT, _content(keypoints, settings, meshes, removed, failures, perf_counter() - begun)
            )
    except (DiskFullError, NotWritableError):
        raise  # so it would be for every other entry
    except Im2HandsError as error:
        text = str(error)
        named = text if found.path in text else f"{found.path}: {f'entry {name}: ' if name else ''}{text}"
        return f"im2hands: error: {named}", False
    return f"{folder.name}: {folder} ({perf_counter() - begun:.1f} s)", True


def _parts(made: dict[Side, HandSurface], all_parts: bool) -> tuple[dict[Side, Mesh], dict[Side, Removed]]:
    """The surfaces that there are, each its largest connected part unless all are wanted, and what was left out."""
    meshes = {side: one.mesh for side, one in made.items() if one.mesh is not None and not one.mesh.is_empty}
    if all_parts:
        return meshes, {}
    largest = {side: largest_component(mesh) for side, mesh in meshes.items()}
    return {side: mesh for side, (mesh, _) in largest.items()}, {
        side: removed for side, (_, removed) in largest.items()
    }


def _content(
    keypoints: Float[np.ndarray, "2 21 3"],
    settings: Settings,
    meshes: dict[Side, Mesh],
    removed: dict[Side, Removed],
    failures: dict[Side, str | None],
    seconds: float,
) -> dict:
    overlap = penetration(*(meshes[side] for side in SIDES)) if len(meshes) == len(SIDES) else None
    return {
        "image": None,
        "method": METHOD,
        "keypoint_source": keypoint_history(settings),
        "keypoints": {
            side.value: keypoints[side.index].tolist() if np.isfinite(keypoints[side.index]).all() else None
            for side in SIDES
        },
        "failures": {side.value: failures[side] for side in SIDES},
        "removed": {side.value: vars(removed.get(side, Removed())) for side in SIDES},
        "penetration": overlap and {"volume_cm3": overlap.volume_cm3, "depth_mm": overlap.depth_mm},
        "seconds": {"surfaces": seconds},
        "units": "metres; the frame of the keypoints",
        "mesh_frames": MESH_FRAMES,
    }


def _side_view(meshes: dict[Side, Mesh]) -> np.ndarray:
    """The hands from the right of their frame, BGR."""
    together = np.concatenate([mesh.vertices for mesh in meshes.values()])
    centre = (together.min(axis=0) + together.max(axis=0)) / 2 - [0, 0, AWAY]
    clouds, view = from_the_right([mesh.vertices - centre for mesh in meshes.values()], PICTURE)
    coloured = [
        painted(cloud, mesh.faces, COLOURS[side]) for cloud, (side, mesh) in zip(clouds, meshes.items(), strict=True)
    ]
    picture = over(render(coloured, view), np.ones((PICTURE, PICTURE, 4)))[..., 2::-1]
    return np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)
