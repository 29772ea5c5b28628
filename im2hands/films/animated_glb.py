"""Both hands of a film as one animated GLB that Blender, three, Babylon and VTK play alike.

Every hand has a root node that carries the wrist through the film; its children are the skinned mesh and the wrist joint. A
viewer that culls by the mesh node's place then keeps the hand, and readers of still meshes show it where picture 0 has it. One
animation moves both hands, because most viewers play the first one only. Axes are glTF's (y up): the camera's turned by half a
turn about x, in the root nodes alone. Skinning leaves out the hand model's pose corrections.

Source: Khronos glTF 2.0 specification; what readers do with valid files was tried with each of them.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from im2hands import __version__
from im2hands.films.motion import FilmClock, HandMotion
from im2hands.films.rig import RIG_PARENTS, Rig
from im2hands.geometry.mesh_files import GLTF_FRAME, GLTF_FROM_CAMERA
from im2hands.hands.model import JOINTS
from im2hands.hands.sides import Side
from im2hands.io.atomic import write_bytes
from im2hands.io.errors import DataError

FLOAT, UNSIGNED_BYTE, UNSIGNED_SHORT = 5126, 5121, 5123
VERTEX_DATA, INDEX_DATA = 34962, 34963
KINDS = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
TYPES = {"f": FLOAT, "B": UNSIGNED_BYTE, "H": UNSIGNED_SHORT}
GLB_HEADER, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942


def write_animated_hands(
    path: str | os.PathLike,
    hands: Sequence[tuple[Rig, HandMotion]],
    clock: FilmClock,
    source: str,
    colours: dict[Side, tuple[float, float, float]],
) -> None:
    """Writes the file, completely or not at all.

    hands: rig and motion of each hand that is in the film, frame of the motion in camera axes.  source: name of the film, for
    the file's `extras`.  colours: sRGB, 0 to 1.  Raises DataError without hands, and if the numbers of pictures differ.
    """
    if not hands:
        raise DataError(f"{path}: nothing to write, because the film shows no hand.")
    for _, motion in hands:
        if len(motion.wrist) != len(clock.times):
            raise DataError(f"{path}: {len(motion.wrist)} poses for {len(clock.times)} pictures.")
    file = _Pieces()
    times = file.add(clock.times.astype(np.float32), limits=True)
    channels, samplers, roots = [], [], []

    def animate(node: int, what: str, values: np.ndarray, how: str = "LINEAR") -> None:
        samplers.append({"input": times, "output": file.add(values.astype(np.float32)), "interpolation": how})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": what}})

    for rig, motion in hands:
        held = motion.held()
        skin = _add_skin(file, rig, colours[rig.side])
        root = len(file.nodes)
        roots.append(root)
        wrist = root + 2
        local = _local_rotations(rig, held)
        places = held.wrist @ GLTF_FROM_CAMERA.T
        turns = _quaternions(GLTF_FROM_CAMERA @ held.rotations[:, 0])
        name = rig.side.value.capitalize()
        file.nodes.append(
            {
                "name": name,
                "translation": places[0].tolist(),
                "rotation": turns[0].tolist(),
                "children": [root + 1, wrist],
            }
        )
        file.nodes.append({"name": f"{name}_mesh", "mesh": skin, "skin": skin})
        file.nodes += _joint_nodes(rig, local[0], wrist, bool(motion.present[0]))
        file.skins[skin] |= {"skeleton": wrist, "joints": list(range(wrist, wrist + len(rig.joints)))}
        animate(root, "translation", places)
        animate(root, "rotation", turns)
        for joint in range(1, JOINTS):
            animate(wrist + joint, "rotation", local[:, joint])
        if not motion.present.all():
            animate(wrist, "scale", np.repeat(motion.present[:, None].astype(float), 3, axis=1), "STEP")
    about = {"pictures": len(clock.times), "rate": str(clock.rate), "source": source, "frame": f"{GLTF_FRAME}, metres"}
    write_bytes(path, file.packed(roots, {"name": "Film", "channels": channels, "samplers": samplers}, about))


class _Pieces:
    """Arrays and objects of a GLB while it is put together."""

    def __init__(self) -> None:
        self.binary = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.nodes: list[dict[str, Any]] = []
        self.meshes: list[dict[str, Any]] = []
        self.materials: list[dict[str, Any]] = []
        self.skins: list[dict[str, Any]] = []

    def add(self, values: np.ndarray, target: int | None = None, limits: bool = False) -> int:
        """The accessor of an array; matrices are given by rows and stored by columns."""
        stored = np.ascontiguousarray(values.swapaxes(-1, -2) if values.ndim == 3 else values)
        self.binary += bytes(-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": stored.nbytes}
        self.views.append(view if target is None else view | {"target": target})
        self.binary += stored.tobytes()
        made = {
            "bufferView": len(self.views) - 1,
            "componentType": TYPES[stored.dtype.char],
            "count": len(values),
            "type": KINDS[values.shape[1:]],
        }
        if limits:
            low, high = (np.atleast_1d(of(values, axis=0)).astype(float).tolist() for of in (np.min, np.max))
            made |= {"min": low, "max": high}
        self.accessors.append(made)
        return len(self.accessors) - 1

    def packed(self, roots: list[int], animation: dict[str, Any], extras: dict[str, Any]) -> bytes:
        """The bytes of the GLB."""
        content = {
            "asset": {"version": "2.0", "generator": f"im2hands {__version__}"},
            "scene": 0,
            "scenes": [{"name": "Film", "nodes": roots, "extras": extras}],
            "nodes": self.nodes,
            "meshes": self.meshes,
            "materials": self.materials,
            "skins": self.skins,
            "animations": [animation],
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.binary)}],
        }
        text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self.binary) + bytes(-len(self.binary) % 4)
        length = 12 + 8 + len(text) + 8 + len(binary)
        return b"".join(
            [
                struct.pack("<III", GLB_HEADER, 2, length),
                struct.pack("<II", len(text), JSON_CHUNK),
                text,
                struct.pack("<II", len(binary), BINARY_CHUNK),
                binary,
            ]
        )


def _add_skin(file: _Pieces, rig: Rig, colour: Sequence[float]) -> int:
    """Mesh, material and skin of a hand; all three have the same index."""
    linear = [float(channel) ** 2.2 for channel in colour]
    file.materials.append(
        {
            "name": f"{rig.side.value.capitalize()}_skin",
            "pbrMetallicRoughness": {"baseColorFactor": [*linear, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.8},
        }
    )
    attributes = {
        "POSITION": file.add(rig.vertices.astype(np.float32), VERTEX_DATA, limits=True),
        "NORMAL": file.add(rig.normals.astype(np.float32), VERTEX_DATA),
        "JOINTS_0": file.add(rig.joint_of_weight, VERTEX_DATA),
        "WEIGHTS_0": file.add(rig.weights.astype(np.float32), VERTEX_DATA),
    }
    indices = file.add(rig.faces.astype(np.uint16).ravel(), INDEX_DATA)
    primitive = {"attributes": attributes, "indices": indices, "material": len(file.materials) - 1}
    file.meshes.append({"name": f"{rig.side.value.capitalize()}_mesh", "primitives": [primitive]})
    bind = np.zeros((len(rig.joints), 4, 4))
    bind[:, :3, :3] = rig.frames.swapaxes(1, 2)
    bind[:, :3, 3] = -np.einsum("jba,jb->ja", rig.frames, rig.joints)
    bind[:, 3, 3] = 1
    file.skins.append({"name": rig.side.value.capitalize(), "inverseBindMatrices": file.add(bind.astype(np.float32))})
    return len(file.skins) - 1


def _joint_nodes(rig: Rig, rotations: Float[np.ndarray, "21 4"], first: int, present: bool) -> list[dict[str, Any]]:
    """The 16 joints and five tips as nodes in the pose of picture 0."""
    nodes = []
    for joint, name in enumerate(rig.names()):
        children = [first + child for child, parent in enumerate(RIG_PARENTS) if parent == joint]
        node: dict[str, Any] = {"name": name, "rotation": rotations[joint].tolist()}
        if joint:
            parent = RIG_PARENTS[joint]
            node["translation"] = (rig.frames[parent].T @ (rig.joints[joint] - rig.joints[parent])).tolist()
        elif not present:
            node["scale"] = [0.0, 0.0, 0.0]
        nodes.append(node | ({"children": children} if children else {}))
    return nodes


def _local_rotations(rig: Rig, motion: HandMotion) -> Float[np.ndarray, "pictures 21 4"]:
    """Rotations of the joints relative to their parents in the rest frames; the root's own rotation is in the root node."""
    pictures = len(motion.wrist)
    turns = np.broadcast_to(np.eye(3), (pictures, len(rig.joints), 3, 3)).copy()
    turns[:, 1:JOINTS] = motion.rotations[:, 1:]
    parents = np.concatenate([np.eye(3)[None], rig.frames[list(RIG_PARENTS[1:])]])
    return _quaternions(parents.swapaxes(1, 2) @ turns @ rig.frames)


def _quaternions(rotations: Float[np.ndarray, "pictures *rest 3 3"]) -> Float[np.ndarray, "pictures *rest 4"]:
    """Unit quaternions (x, y, z, w) of which neighbours in time have the same sign."""
    shape = rotations.shape[:-2]
    found = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat().reshape(*shape, 4)
    turned = (found[1:] * found[:-1]).sum(axis=-1) < 0
    signs = np.where(np.logical_xor.accumulate(turned, axis=0), -1.0, 1.0)
    return np.concatenate([found[:1], signs[..., None] * found[1:]])
