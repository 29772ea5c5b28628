"""Checks what mesh files announce before a parser reads them, because parsers trust counts and indices."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from im2hands.io.documents import parsed_json

HEADER = 1 << 16
"""Bytes within which a PLY header ends."""
PLY_ELEMENT = re.compile(rb"^element\s+(\w+)\s+(\d{1,18})\s*$", re.MULTILINE)
PLY_FORMAT = re.compile(rb"^format +(ascii|binary_little_endian|binary_big_endian) +1\.0\s*$", re.MULTILINE)
OBJ_LINE = re.compile(rb"^[ \t]*([vf])[ \t]+[^\r\n]*", re.MULTILINE)
OBJ_INDEX_ZERO = re.compile(rb"^[ \t]*f[ \t][^\r\n#]*?(?<=[ \t])[-+]?0+(?=[/\s]|\Z)", re.MULTILINE)
MOST_PLACED = 50_000_000
"""Number of vertices and indices of a GLB scene, counting a mesh once per node that places it."""
GLB_MAGIC, GLB_JSON = b"glTF", 0x4E4F534A
LOOKS_ONLY = re.compile(r"(KHR_(materials|texture|lights)|EXT_(texture|lights|materials))_\w+")
"""Extensions of glTF that leave positions and triangles as they are."""


@dataclass(frozen=True)
class GlbFacts:
    """What the JSON part of a GLB says about its meshes.

    animated: they move with joints or with nodes.  frame: what our writers say about its axes, "" in other people's files.
    """

    animated: bool
    frame: str


def glb_facts(path: Path) -> GlbFacts:
    """Of a GLB that `announced` has accepted."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<I", content, 12)
    scene = parsed_json(content[20 : 20 + length].decode())
    extras = [one.get("extras") for one in _objects(scene, "scenes")]
    frame = next((str(one["frame"]) for one in extras if isinstance(one, dict) and "frame" in one), "")
    return GlbFacts(bool(scene.get("skins") or scene.get("animations")), frame)


def announced(path: Path) -> tuple[int, int] | None:
    """Points and faces that a PLY, OBJ or OFF file announces; None for a GLB, which is checked all the same.

    Raises ValueError, with the reason, for what no parser should be given.
    """
    content = path.read_bytes()
    if not content:
        raise ValueError("the file is empty")
    reader = {".ply": _ply, ".obj": _obj, ".off": _off, ".glb": _glb}[path.suffix.lower()]
    return reader(content)


def _ply(content: bytes) -> tuple[int, int]:
    end = content.find(b"end_header", 0, HEADER)
    if not content.startswith(b"ply") or end < 0:
        raise ValueError("it does not begin with a PLY header")
    if PLY_FORMAT.search(content[:end]) is None:
        raise ValueError("its header does not name a format")
    elements = {name: int(count) for name, count in PLY_ELEMENT.findall(content[:end])}
    if sum(elements.values()) > len(content):
        raise ValueError(f"its header announces {sum(elements.values())} elements in {len(content)} bytes")
    return elements.get(b"vertex", 0), elements.get(b"face", 0)


def _obj(content: bytes) -> tuple[int, int]:
    if b"\0" in content:
        raise ValueError("it contains bytes that are not text")
    points = faces = 0
    for match in OBJ_LINE.finditer(content):
        points, faces = points + (match[1] == b"v"), faces + (match[1] == b"f")
    if not points:
        raise ValueError("it has no line `v x y z`")
    if OBJ_INDEX_ZERO.search(content):
        raise ValueError("a face refers to vertex 0; indices in OBJ files start at 1")
    return points, faces


def _off(content: bytes) -> tuple[int, int]:
    words = re.sub(rb"#[^\r\n]*", b"", content[:HEADER]).split(None, 4)
    if len(words) < 4 or not words[0].upper().endswith(b"OFF") or not all(w.isdigit() for w in words[1:3]):
        raise ValueError("it does not begin with OFF and the numbers of points and faces")
    points, faces = int(words[1][:18]), int(words[2][:18])
    if points + faces > len(content):
        raise ValueError(f"its header announces {points + faces} elements in {len(content)} bytes")
    return points, faces


def _glb(content: bytes) -> None:
    if len(content) < 20 or not content.startswith(GLB_MAGIC):
        raise ValueError("it does not begin like a GLB file")
    announced_length, length, kind = struct.unpack_from("<III", content, 8)
    if kind != GLB_JSON or 20 + length > len(content):
        raise ValueError("its JSON part is missing or truncated")
    if announced_length != len(content):
        raise ValueError(f"it announces {announced_length} bytes but has {len(content)}")
    scene = parsed_json(content[20 : 20 + length].decode())
    if not isinstance(scene, dict):
        raise ValueError("its JSON part is not an object")
    needed = scene.get("extensionsRequired", [])
    unknown = [name for name in needed if not (isinstance(name, str) and LOOKS_ONLY.fullmatch(name))]
    if unknown:
        raise ValueError(f"it requires the extension {str(unknown[0])[:60]}, which is not read; export it without")
    accessors = _objects(scene, "accessors")
    if sum(_whole(one, "count") for one in accessors) > len(content) + HEADER:
        raise ValueError("its accessors announce more numbers than it has bytes")
    if any("uri" in part for name in ("buffers", "images") for part in _objects(scene, name)):
        raise ValueError("it refers to other files; save it as one file")
    sizes = [_placed(mesh, accessors) for mesh in _objects(scene, "meshes")]
    meshes = [_whole(node, "mesh") for node in _objects(scene, "nodes") if "mesh" in node]
    if any(mesh >= len(sizes) for mesh in meshes):
        raise ValueError("a node refers to a missing mesh")
    if sum(sizes[mesh] for mesh in meshes) > MOST_PLACED:
        raise ValueError(f"its nodes repeat meshes to more than {MOST_PLACED} numbers")


def _placed(mesh: dict[str, Any], accessors: list[dict[str, Any]]) -> int:
    """Vertices and indices of a mesh."""
    total = 0
    for primitive in _objects(mesh, "primitives"):
        named = [primitive["indices"]] if "indices" in primitive else []
        named.append((primitive.get("attributes") or {}).get("POSITION"))
        for index in named:
            if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(accessors):
                raise ValueError("a mesh refers to missing numbers")
            total += accessors[index]["count"]
    return total


def _objects(holder: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = holder.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"its {name} are not a list of objects")
    return found


def _whole(holder: dict[str, Any], name: str) -> int:
    value = holder.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is {str(value)[:40]}, not a whole number")
    return value
