"""Meshes as OBJ, PLY and GLB files (OFF can be read too). Written whole or not at all; the unit is the caller's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float

from im2hands.geometry.mesh import Mesh
from im2hands.io.atomic import write_bytes
from im2hands.io.errors import DamagedFileError, DataError

READABLE = (".obj", ".ply", ".glb", ".off")
WRITABLE = (".obj", ".ply", ".glb")


def read_mesh(path: str | os.PathLike) -> Mesh:
    """The triangles of a file; several parts (GLB scenes) become one mesh, vertices stay in their order.

    Raises DataError if the file is missing or of another format, DamagedFileError if it cannot be read.
    """

    def joined(file: Path) -> dict[str, Mesh]:
        return {file.stem: _mesh(trimesh.load(file, process=False, maintain_order=True, force="mesh"))}

    return next(iter(_read(Path(path), joined).values()))


def read_parts(path: str | os.PathLike) -> dict[str, Mesh]:
    """The named meshes of a GLB scene, in the scene's frame; of another format its one mesh under the file's name.

    Raises what `read_mesh` raises.
    """

    def apart(file: Path) -> dict[str, Mesh]:
        scene = trimesh.load(file, process=False, maintain_order=True, force="scene")
        parts = {}
        for name in scene.graph.nodes_geometry:
            placement, geometry = scene.graph[name]
            parts[name] = _mesh(scene.geometry[geometry].copy().apply_transform(placement))
        return parts

    return _read(Path(path), apart) if Path(path).suffix.lower() == ".glb" else {Path(path).stem: read_mesh(path)}


def _mesh(loaded: trimesh.Trimesh) -> Mesh:
    return Mesh(
        np.asarray(loaded.vertices, np.float64).reshape(-1, 3), np.asarray(loaded.faces, np.int64).reshape(-1, 3)
    )


def _read(path: Path, load: Callable[[Path], dict[str, Mesh]]) -> dict[str, Mesh]:
    if path.suffix.lower() not in READABLE:
        raise DataError(f"{path}: not a mesh format that can be read; use {', '.join(READABLE)}.")
    if not path.is_file():
        raise DataError(f"{path}: the mesh file is missing; correct the path or run the stage that makes it.")
    try:
        parts = load(path)
    except Exception as error:  # trimesh raises whatever its parsers meet in a damaged file
        raise DamagedFileError(
            f"{path}: not a readable {path.suffix[1:]} mesh ({type(error).__name__}: {error})."
        ) from None
    for mesh in parts.values():
        vertices, faces = mesh.vertices, mesh.faces
        if not np.isfinite(vertices).all() or (len(faces) and not 0 <= faces.min() <= faces.max() < len(vertices)):
            raise DamagedFileError(f"{path}: the mesh has vertices that are not finite, or faces without vertices.")
    return parts


def read_points(path: str | os.PathLike) -> Float[np.ndarray, "points 3"]:
    """The points of a file, with or without triangles, in its order. Raises as `read_mesh`, but takes what is not finite."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: the file of points is missing; correct the path.")
    try:
        return np.asarray(trimesh.load(path, process=False, maintain_order=True).vertices, np.float64).reshape(-1, 3)
    except Exception as error:  # trimesh raises whatever its parsers meet in a damaged file
        raise DamagedFileError(
            f"{path}: not a readable {path.suffix[1:]} file ({type(error).__name__}: {error})."
        ) from None


def write_mesh(path: str | os.PathLike, mesh: Mesh) -> None:
    """Writes one mesh in the format of the path's suffix (GLB and PLY store float32, OBJ eight decimals)."""
    write_scene(path, {Path(path).stem: mesh})


def write_scene(
    path: str | os.PathLike, meshes: Mapping[str, Mesh], colours: Mapping[str, tuple[int, int, int]] | None = None
) -> None:
    """Writes named meshes to one file: named nodes of a GLB, or joined into one mesh of an OBJ or PLY.

    colours: name -> red, green, blue (0-255).  Empty meshes are left out.
    Raises DataError for another format or if nothing is left to write.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise DataError(f"{path}: not a mesh format that can be written; use {', '.join(WRITABLE)}.")
    parts = {name: _coloured(mesh, (colours or {}).get(name)) for name, mesh in meshes.items() if not mesh.is_empty}
    if not parts:
        raise DataError(f"{path}: there is nothing to write, all meshes are empty.")
    if suffix == ".glb":
        content = trimesh.Scene(parts).export(file_type="glb")
    else:
        content = trimesh.util.concatenate(list(parts.values())).export(file_type=suffix[1:])
    write_bytes(path, content.encode() if isinstance(content, str) else content)


def _coloured(mesh: Mesh, colour: tuple[int, int, int] | None) -> trimesh.Trimesh:
    made = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    if colour is not None:
        made.visual = trimesh.visual.ColorVisuals(made, vertex_colors=np.tile([*colour, 255], (len(mesh.vertices), 1)))
    return made
