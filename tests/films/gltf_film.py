"""An evaluation of skinned, animated GLB files by the specification alone: where every vertex is at a time."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

TYPES = {5126: np.float32, 5121: np.uint8, 5123: np.uint16}
SIZES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class GltfFilm:
    """A GLB file: its JSON (`content`), and `vertices` of its skinned meshes at a time."""

    def __init__(self, path: Path) -> None:
        raw = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", raw)
        assert (magic, version, length) == (b"glTF", 2, len(raw))
        size, kind = struct.unpack_from("<I4s", raw, 12)
        assert kind == b"JSON" and size % 4 == 0
        self.content = json.loads(raw[20 : 20 + size])
        binary_size, kind = struct.unpack_from("<I4s", raw, 20 + size)
        assert kind == b"BIN\0" and binary_size % 4 == 0
        self.binary = raw[28 + size :]
        assert len(self.binary) == binary_size

    def array(self, accessor: int) -> np.ndarray:
        about = self.content["accessors"][accessor]
        view = self.content["bufferViews"][about["bufferView"]]
        width = SIZES[about["type"]]
        flat = np.frombuffer(
            self.binary, TYPES[about["componentType"]], about["count"] * width, view["byteOffset"]
        ).astype(float)
        if about["type"] == "MAT4":
            return flat.reshape(-1, 4, 4).swapaxes(1, 2)
        return flat if width == 1 else flat.reshape(-1, width)

    def node(self, name: str) -> int:
        return [node.get("name") for node in self.content["nodes"]].index(name)

    def pose(self, time: float | None) -> list[dict]:
        """The nodes with their transforms at a time; as they rest for None."""
        nodes = [dict(node) for node in self.content["nodes"]]
        (animation,) = self.content["animations"]
        for channel in animation["channels"] if time is not None else []:
            sampler = animation["samplers"][channel["sampler"]]
            times, values = self.array(sampler["input"]), self.array(sampler["output"])
            at = float(np.clip(time, times[0], times[-1]))
            place = min(int(np.searchsorted(times, at, side="right")) - 1, len(times) - 1)
            if sampler["interpolation"] == "STEP" or place == len(times) - 1:
                value = values[place]
            elif channel["target"]["path"] == "rotation":
                value = Slerp(times[place : place + 2], Rotation.from_quat(values[place : place + 2]))(at).as_quat()
            else:
                share = (at - times[place]) / (times[place + 1] - times[place])
                value = (1 - share) * values[place] + share * values[place + 1]
            nodes[channel["target"]["node"]][channel["target"]["path"]] = value
        return nodes

    def globals(self, time: float | None) -> dict[int, np.ndarray]:
        nodes, found = self.pose(time), {}

        def visit(index: int, above: np.ndarray) -> None:
            node = nodes[index]
            local = np.eye(4)
            local[:3, :3] = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).as_matrix() * node.get(
                "scale", [1, 1, 1]
            )
            local[:3, 3] = node.get("translation", [0, 0, 0])
            found[index] = above @ local
            for child in node.get("children", []):
                visit(child, found[index])

        for root in self.content["scenes"][self.content["scene"]]["nodes"]:
            visit(root, np.eye(4))
        return found

    def vertices(self, name: str, time: float | None) -> np.ndarray:
        """Of the mesh node of this name, skinned, glTF's axes."""
        node = self.content["nodes"][self.node(name)]
        skin = self.content["skins"][node["skin"]]
        (primitive,) = self.content["meshes"][node["mesh"]]["primitives"]
        rest, weights = (self.array(primitive["attributes"][key]) for key in ("POSITION", "WEIGHTS_0"))
        joints = self.array(primitive["attributes"]["JOINTS_0"]).astype(int)
        placed = self.globals(time)
        moves = np.stack([placed[joint] for joint in skin["joints"]]) @ self.array(skin["inverseBindMatrices"])
        homogeneous = np.concatenate([rest, np.ones((len(rest), 1))], axis=1)
        return np.einsum("vw,vwab,vb->va", weights, moves[joints], homogeneous)[:, :3]

    def faces(self, name: str) -> np.ndarray:
        (primitive,) = self.content["meshes"][self.content["nodes"][self.node(name)]["mesh"]]["primitives"]
        return self.array(primitive["indices"]).astype(int).reshape(-1, 3)
