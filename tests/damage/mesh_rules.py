"""Rules for meshes; see document_rules."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

from tests.damage.document_rules import Rule, changed


def _line(before: bytes, after: bytes) -> Rule:
    """Replaces the first place; there must be one."""

    def change(whole: bytes) -> bytes:
        assert before in whole
        return whole.replace(before, after, 1)

    return changed(change)


OBJ: dict[str, Rule] = {
    "vertex 0": changed(lambda whole: whole + b"\nf 0 1 2\n"),
    "vertex 99999": changed(lambda whole: whole + b"\nf 1 2 99999\n"),
    "1e38": changed(lambda whole: whole + b"\nv 1e38 0 0\n" + b"f 1 2 779\n"),
    "NaN": changed(lambda whole: whole + b"\nv nan 0 0\n" + b"f 1 2 779\n"),
    "two numbers": changed(lambda whole: b"v 1 2\n" + whole),
    "a word": _line(b"v ", b"v x"),
    "points": changed(lambda whole: b"\n".join(line for line in whole.split(b"\n") if not line.startswith(b"f"))),
}


def counted_ply(count_of: bytes, count: int) -> Rule:
    def change(whole: bytes) -> bytes:
        start = whole.index(count_of) + len(count_of)
        return whole[:start] + str(count).encode() + whole[whole.index(b"\n", start) :]

    return changed(change)


PLY: dict[str, Rule] = {
    "a billion vertices": counted_ply(b"element vertex ", 10**9),
    "more vertices": counted_ply(b"element vertex ", 5000),
    "fewer vertices": counted_ply(b"element vertex ", 10),
    "no format": _line(b"format ", b"form "),
    "no end of header": _line(b"end_header", b"end_heade"),
    "another type": _line(b"property float x", b"property hand x"),
}
SURFACE_PLY: dict[str, Rule] = {
    "points": lambda path: path.write_text(
        "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
        "0 0 0\n1 0 0\n0 1 0\n"
    ),
    "1e38": lambda path: path.write_text(_small_ply("1e38 0 0", "3 0 1 2")),
    "NaN": lambda path: path.write_text(_small_ply("nan 0 0", "3 0 1 2")),
    "vertex 9": lambda path: path.write_text(_small_ply("1 0 0", "3 0 1 9")),
    "vertex -1": lambda path: path.write_text(_small_ply("1 0 0", "3 0 1 -1")),
    "more faces": counted_ply(b"element face ", 1600),
}


def _small_ply(vertex: str, face: str) -> str:
    return (
        "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n{vertex}\n0 1 0\n{face}\n"
    )


OFF: dict[str, Rule] = {
    "points": lambda path: path.write_text("OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n"),
    "a billion": lambda path: path.write_text("OFF\n1000000000 1 0\n0 0 0\n"),
    "no counts": lambda path: path.write_text("OFF\nhand\n"),
    "1e38": lambda path: path.write_text("OFF\n3 1 0\n0 0 0\n1e38 0 0\n0 1 0\n3 0 1 2\n"),
    "vertex 9": lambda path: path.write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n"),
}


def _scene(change: Callable[[dict], object]) -> Rule:
    """Writes the JSON part of a GLB again."""

    def rule(path: Path) -> None:
        whole = path.read_bytes()
        length = struct.unpack_from("<I", whole, 12)[0]
        made = json.dumps(change(json.loads(whole[20 : 20 + length]))).encode()
        made += b" " * (-len(made) % 4)
        rest = whole[20 + length :]
        path.write_bytes(
            b"glTF" + struct.pack("<IIII", 2, 20 + len(made) + len(rest), len(made), 0x4E4F534A) + made + rest
        )

    return rule


def _accessor(**changed: object) -> Rule:
    return _scene(lambda scene: {**scene, "accessors": [{**one, **changed} for one in scene["accessors"]]})


def _nested_scene(path: Path) -> None:
    made = b'{"asset": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    made += b" " * (-len(made) % 4)
    path.write_bytes(b"glTF" + struct.pack("<IIII", 2, 20 + len(made), len(made), 0x4E4F534A) + made)


GLB: dict[str, Rule] = {
    "a billion numbers": _accessor(count=10**9),
    "negative numbers": _accessor(count=-1),
    "numbers as text": _accessor(count="many"),
    "another type": _accessor(componentType=17),
    "other files": _scene(lambda scene: {**scene, "buffers": [{"uri": "other.bin", "byteLength": 8}]}),
    "meshes a number": _scene(lambda scene: {**scene, "meshes": 3}),
    "no meshes": _scene(lambda scene: {"asset": {"version": "2.0"}, "scenes": [{"nodes": []}], "scene": 0}),
    "nested": _nested_scene,
    "version 9": changed(lambda whole: whole[:4] + struct.pack("<I", 9) + whole[8:]),
    "another length": changed(lambda whole: whole[:8] + struct.pack("<I", len(whole) + 4) + whole[12:]),
}
