"""Meshes as OBJ, PLY and GLB files (OFF can be read too). Written completely or not at all; the unit is the caller's.

Viewers take the y axis of a GLB for up, as glTF has it. Meshes in camera axes (y down) are therefore turned when they are
written as GLB, the file says so, and the readers here turn them back: all formats give one frame. Other people's files are
taken as they are.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float

from im2hands.geometry.mesh import Mesh
from im2hands.geometry.mesh_headers import announced, glb_facts
from im2hands.io.atomic import write_bytes
from im2hands.io.errors import DamagedFileError, DataError, Im2HandsWarning
from im2hands.io.limits import LARGEST_MESH, readable_file

READABLE = (".obj", ".ply", ".glb", ".off")
WRITABLE = (".obj", ".ply", ".glb")
GLTF_FROM_CAMERA = np.diag([1.0, -1.0, -1.0])
"""Camera axes (x right, y down, z away) to those of glTF (y up), and back: half a turn about x."""
GLTF_FRAME = "camera axes (x right, y down, z away) turned by (x, -y, -z)"
"""What a GLB whose vertices were turned says about itself."""
FARTHEST = 1e6
"""Largest coordinate, in whichever unit: a kilometre in millimetres."""


class NoTrianglesError(DamagedFileError):
    """A file that should contain a surface contains only points, or nothing."""


def read_mesh(path: str | os.PathLike) -> Mesh:
    """The triangles of a file; several parts (GLB scenes) become one mesh, vertices stay in their order.

    Raises DataError if the file is missing or of another format, NoTrianglesError if it contains no triangles, DamagedFileError
    if it cannot be read, is not finite or not of a size that has to do with hands.
    """

    def joined(file: Path) -> dict[str, Mesh]:
        return {file.stem: _mesh(_loaded(file, force="mesh"))}

    return next(iter(_read(Path(path), joined).values()))


def read_parts(path: str | os.PathLike) -> dict[str, Mesh]:
    """The named meshes of a GLB scene, in the scene's frame; of another format its one mesh under the file's name.

    Raises what `read_mesh` raises.
    """

    def apart(file: Path) -> dict[str, Mesh]:
        scene = _loaded(file, force="scene")
        parts = {}
        for name in scene.graph.nodes_geometry:
            placement, geometry = scene.graph[name]
            if isinstance(scene.geometry[geometry], trimesh.Trimesh):
                parts[name] = _mesh(scene.geometry[geometry].copy().apply_transform(placement))
        return parts

    return _read(Path(path), apart) if Path(path).suffix.lower() == ".glb" else {Path(path).stem: read_mesh(path)}


def read_points(path: str | os.PathLike) -> Float[np.ndarray, "points 3"]:
    """The points of a file, with or without triangles, in its order. Raises as `read_mesh`, but takes what is not finite."""
    path = readable_file(path, "point file", LARGEST_MESH)
    if path.suffix.lower() not in READABLE:
        raise DataError(f"{path}: not a readable format for points; use {', '.join(READABLE)}.")
    try:
        counts = announced(path)
        points = np.asarray(_loaded(path).vertices, np.float64)
        if points.ndim != 2 or points.shape[1] != 3 or (counts and len(points) != counts[0]):
            raise ValueError("its points do not have three numbers each, or there are fewer than announced")
    except Exception as error:  # trimesh raises whatever its parsers meet in a damaged file
        raise _unreadable(path, f"{path.suffix[1:].upper()} file", error) from None
    return points


def _loaded(path: Path, **options: Any) -> Any:
    """What trimesh makes of the file alone: no materials, no other files."""
    with path.open("rb") as file:
        return trimesh.load(
            file,
            file_type=path.suffix[1:].lower(),
            process=False,
            maintain_order=True,
            skip_materials=True,
            **options,
        )


def _mesh(loaded: trimesh.Trimesh) -> Mesh:
    vertices, faces = np.asarray(loaded.vertices, np.float64), np.asarray(loaded.faces, np.int64)
    for name, numbers in (("points", vertices), ("triangles", faces)):
        if numbers.size and (numbers.ndim != 2 or numbers.shape[1] != 3):
            raise ValueError(f"its {name} do not have three numbers each")
    return Mesh(vertices.reshape(-1, 3), faces.reshape(-1, 3))


def _read(path: Path, load: Callable[[Path], dict[str, Mesh]]) -> dict[str, Mesh]:
    if path.suffix.lower() not in READABLE:
        raise DataError(f"{path}: not a readable mesh format; use {', '.join(READABLE)}.")
    readable_file(path, "mesh file", LARGEST_MESH, "correct the path or run the stage that makes it")
    try:
        counts = announced(path)
        parts = load(path) if counts is None or counts[1] else {}
        points = sum(len(mesh.vertices) for mesh in parts.values())
        if parts and counts and (points != counts[0] or sum(len(mesh.faces) for mesh in parts.values()) < counts[1]):
            raise ValueError(f"it announces {counts[0]} points and {counts[1]} faces, but contains other numbers")
    except Exception as error:  # trimesh raises whatever its parsers meet in a damaged file
        raise _unreadable(path, f"{path.suffix[1:]} mesh", error) from None
    parts = {name: mesh for name, mesh in parts.items() if len(mesh.faces)}
    if not parts:
        raise NoTrianglesError(f"{path}: contains points but no triangles; give the surface as a mesh.")
    for mesh in parts.values():
        _check(path, mesh)
    return parts if path.suffix.lower() != ".glb" else _in_own_axes(path, parts)


def _in_own_axes(path: Path, parts: dict[str, Mesh]) -> dict[str, Mesh]:
    """Meshes of a GLB in the axes that they had before they were written; says that a moving one is read at rest."""
    facts = glb_facts(path)
    if facts.animated:
        warnings.warn(f"{path}: animated; its rest pose is used.", Im2HandsWarning, stacklevel=4)
    if not facts.frame.startswith(GLTF_FRAME):
        return parts
    return {name: Mesh(mesh.vertices @ GLTF_FROM_CAMERA, mesh.faces) for name, mesh in parts.items()}


def _check(path: Path, mesh: Mesh) -> None:
    vertices, faces = mesh.vertices, mesh.faces
    if not np.isfinite(vertices).all() or not 0 <= faces.min() <= faces.max() < len(vertices):
        raise DamagedFileError(f"{path}: the mesh has vertices that are not finite, or faces without vertices.")
    farthest = float(np.abs(vertices).max())
    if farthest > FARTHEST:
        raise DamagedFileError(
            f"{path}: the mesh has a coordinate of {farthest:.3g}; hands in metres or millimetres stay below {FARTHEST:g}."
        )


def _unreadable(path: Path, purpose: str, error: Exception) -> DamagedFileError:
    reason = " ".join(str(error).split())[:160].rstrip(".")
    named = reason if isinstance(error, ValueError) else f"{type(error).__name__}: {reason}"
    return DamagedFileError(f"{path}: not a readable {purpose} ({named}); write or copy it again.")


def write_mesh(path: str | os.PathLike, mesh: Mesh, camera_axes: bool = False) -> None:
    """Writes one mesh in the format of the path's suffix (GLB and PLY store float32, OBJ eight decimals).

    camera_axes: see `write_scene`.
    """
    write_scene(path, {Path(path).stem: mesh}, camera_axes=camera_axes)


def write_scene(
    path: str | os.PathLike,
    meshes: Mapping[str, Mesh],
    colours: Mapping[str, tuple[int, int, int]] | None = None,
    camera_axes: bool = False,
) -> None:
    """Writes named meshes to one file: named nodes of a GLB, or joined into one mesh of an OBJ or PLY.

    colours: name -> red, green, blue (0-255).  camera_axes: the meshes have y down; a GLB gets them with y up, and says so.
    Empty meshes are left out.
    Raises DataError for another format or if nothing is left to write.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise DataError(f"{path}: not a writable mesh format; use {', '.join(WRITABLE)}.")
    turn = GLTF_FROM_CAMERA if camera_axes and suffix == ".glb" else np.eye(3)
    parts = {
        name: _coloured(Mesh(mesh.vertices @ turn, mesh.faces) if camera_axes else mesh, (colours or {}).get(name))
        for name, mesh in meshes.items()
        if not mesh.is_empty
    }
    if not parts:
        raise DataError(f"{path}: nothing to write, because all meshes are empty.")
    if suffix == ".glb":
        about = {"frame": GLTF_FRAME} if camera_axes else None
        content = trimesh.Scene(parts, metadata=about).export(file_type="glb")
    else:
        content = trimesh.util.concatenate(list(parts.values())).export(file_type=suffix[1:])
    write_bytes(path, content.encode() if isinstance(content, str) else content)


def _coloured(mesh: Mesh, colour: tuple[int, int, int] | None) -> trimesh.Trimesh:
    made = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    if colour is not None:
        made.visual = trimesh.visual.ColorVisuals(made, vertex_colors=np.tile([*colour, 255], (len(mesh.vertices), 1)))
    return made
