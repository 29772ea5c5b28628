"""Rules that make a damaged file of a whole one. Each names what it breaks and leaves no doubt that it is broken."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from tests.damage.whole import read_pickle

Rule = Callable[[Path], None]
"""Changes a whole file in its place."""
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PAGE = b"<!DOCTYPE html><html><head><title>404 not found</title></head><body>not here</body></html>\n"


def _content(change: Callable[[bytes], bytes]) -> Rule:
    def rule(path: Path) -> None:
        whole = path.read_bytes()
        changed = change(whole)
        assert changed != whole
        path.write_bytes(changed)

    return rule


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


ANY: dict[str, Rule] = {
    "empty": _content(lambda _: b""),
    "a byte": _content(lambda whole: whole[:1]),
    "a third": _content(lambda whole: whole[: len(whole) // 3]),
    "two thirds": _content(lambda whole: whole[: 2 * len(whole) // 3]),
    "another format": _content(lambda _: PICTURE),
    "a web page": _content(lambda _: PAGE),
    "zeros": _content(lambda whole: bytes(min(len(whole), 4096))),
    "a folder": _folder,
}


def _json(change: Callable[[object], object]) -> Rule:
    return lambda path: path.write_text(json.dumps(change(json.loads(path.read_text()))))


def _nested(path: Path) -> None:
    path.write_text('{"left": ' + "[" * 20_000 + "]" * 20_000 + "}")


def _twice(path: Path) -> None:
    content = json.loads(path.read_text())
    inner = content[0] if isinstance(content, list) else content
    key = next(iter(inner))
    text = json.dumps(inner)
    doubled = text[:-1] + f", {json.dumps(key)}: {json.dumps(inner[key])}}}"
    path.write_text(f"[{doubled}]" if isinstance(content, list) else doubled)


def _every_number(value: object, into: Callable[[float], object]) -> object:
    """Numbers replaced in place; text, flags and null stay."""
    if isinstance(value, dict):
        return {key: _every_number(one, into) for key, one in value.items()}
    if isinstance(value, list):
        return [_every_number(one, into) for one in value]
    return into(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


JSON: dict[str, Rule] = {
    "last byte gone": _content(lambda whole: whole.rstrip()[:-1]),
    "a comma more": _content(lambda whole: whole.rstrip()[:-1] + b",}"),
    "single quotes": _content(lambda whole: whole.replace(b'"', b"'")),
    "latin-1": _content(lambda whole: whole.replace(b"{", b'{"\xe9": 1, ', 1)),
    "utf-16": _content(lambda whole: whole.decode().encode("utf-16")),
    "half a character": _content(lambda whole: whole.replace(b"{", b'{"\\ud800": 1, ', 1)),
    "nested": _nested,
    "a key twice": _twice,
    "null": _content(lambda _: b"null"),
    "true": _content(lambda _: b"true"),
    "a number": _content(lambda _: b"17"),
    "a text": _content(lambda _: b'"text"'),
    "an empty list": _content(lambda _: b"[]"),
    "lists of lists": _content(lambda _: b"[[[[]]]]"),
    "400 digits": _content(lambda whole: whole.replace(b"{", b'{"a": ' + b"9" * 400 + b", ", 1)),
    "5000 digits": _content(lambda whole: whole.replace(b"{", b'{"a": ' + b"9" * 5000 + b", ", 1)),
}
NUMBERS: dict[str, Rule] = {
    "all true": _json(lambda whole: _every_number(whole, lambda _: True)),
    "all text": _json(lambda whole: _every_number(whole, str)),
    "all NaN": _json(lambda whole: _every_number(whole, lambda _: float("nan"))),
    "all 1e38": _json(lambda whole: _every_number(whole, lambda _: 1e38)),
    "all zero": _json(lambda whole: _every_number(whole, lambda _: 0)),
    "all in lists": _json(lambda whole: _every_number(whole, lambda number: [number])),
    "all objects": _json(lambda whole: _every_number(whole, lambda number: {"value": number})),
}
"""For files in which numbers are what counts."""


def _yaml(text: str) -> Rule:
    return lambda path: path.write_text(text)


def _aliases() -> str:
    """Seven lists of eight, each of the one before: two million values, in one line each."""
    lines = ["a: &a [x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]" for old, new in zip("abcdef", "bcdefg", strict=True)]
    return "\n".join(lines)


YAML: dict[str, Rule] = {
    "20,000 brackets": _yaml("seed: " + "[" * 20_000),
    "deep sections": _yaml("- " * 500 + "a"),
    "aliases": _yaml(_aliases()),
    "itself": _yaml("seed: &a [*a]\n"),
    "a key twice": _yaml("seed: 1\nseed: 2\n"),
    "a tag": _yaml("seed: !!set {a, b}\n"),
    "400 digits": _yaml(f"seed: {'9' * 400}\n"),
    "a date": _yaml("seed: 2026-99-99\n"),
    "latin-1": _content(lambda whole: b"# caf\xe9\n" + whole),
    "tabs": _yaml("seed:\n\t- 1\n"),
    "a list": _yaml("- seed\n"),
    "only a text": _yaml("seed\n"),
    "two documents": _yaml("seed: 1\n---\nseed: 2\n"),
    "an unknown key": _yaml("no_such_key: 1\n"),
    "another type": _yaml("seed: {a: 1}\n"),
}


def _array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _header(shape: str, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64)


HEADERS = {
    "terabytes": _header("(1000000, 1000000, 8)"),
    "a negative extent": _header("(-1, 21, 3)"),
    "objects": _header("(2, 21, 3)", "'|O'"),
    "no tuple": _header("'two'"),
    "no type": _header("(2, 21, 3)", "'hand'"),
}
NPY: dict[str, Rule] = {
    **{f"header of {name}": _content(lambda _, made=made: made) for name, made in HEADERS.items()},
    "wrong shape": _content(lambda _: _array(np.zeros((20, 3)))),
    "one number": _content(lambda _: _array(np.array(1.0))),
    "text": _content(lambda _: _array(np.full((2, 21, 3), "x"))),
    "complex": _content(lambda _: _array(np.ones((2, 21, 3), complex))),
    "flags": _content(lambda _: _array(np.ones((2, 21, 3), bool))),
    "NaN": _content(lambda _: _array(np.full((2, 21, 3), np.nan))),
    "1e38": _content(lambda _: _array(np.full((2, 21, 3), 1e38))),
}


def _members(change: Callable[[dict[str, bytes]], dict[str, bytes]], method: int = zipfile.ZIP_STORED) -> Rule:
    """Writes the members of a ZIP anew."""

    def rule(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in change(members).items():
                archive.writestr(name, content)

    return rule


def _first(content: bytes) -> Rule:
    return _members(
        lambda members: {name: content if place == 0 else one for place, (name, one) in enumerate(members.items())}
    )


def _flipped_content(path: Path) -> None:
    """A bit of a stored member: its checksum tells."""
    with zipfile.ZipFile(path) as archive:
        member = max(archive.infolist(), key=lambda one: one.compress_size)
    content = bytearray(path.read_bytes())
    content[member.header_offset + 60 + len(member.filename) + member.compress_size // 2] ^= 0x10
    path.write_bytes(content)


NPZ: dict[str, Rule] = {
    **{f"header of {name}": _first(made) for name, made in HEADERS.items()},
    "no array": _first(b"text"),
    "a cut array": _members(lambda members: {name: one[:90] for name, one in members.items()}),
    "a bit": _flipped_content,
    "no end": _content(lambda whole: whole[:-30]),
}


def _table(change: Callable[[pa.Table], pa.Table]) -> Rule:
    return lambda path: pq.write_table(change(pq.read_table(path)), path)


def _card(content: bytes) -> Rule:
    return _table(lambda table: table.replace_schema_metadata({b"im2hands": content}))


def _flipped_page(path: Path) -> None:
    """Bytes at the place of the first page, which is compressed."""
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(value ^ 0x5A for value in content[4:60])
    path.write_bytes(content)


PARQUET: dict[str, Rule] = {
    "footer bytes": _content(lambda whole: whole[:-8] + b"\xff\xff\xff\x7f" + whole[-4:]),
    "flipped page": _flipped_page,
    "card no JSON": _card(b"layout"),
    "card a list": _card(b"[1, 2]"),
    "card a number": _card(b"7"),
    "card not UTF-8": _card(b"\xff\xfe"),
    "card of another kind": _card(b'{"layout": "hands", "version": 1, "provenance": {}}'),
    "card with odd provenance": _card(b'{"layout": "frames", "version": 1, "provenance": 3}'),
    "no rows": _table(lambda table: table.slice(0, 0)),
    "no columns": _table(lambda table: table.select([])),
}
ROWS: dict[str, Rule] = {
    "column of text": _table(lambda table: table.set_column(1, "left", pa.array(["x"] * len(table)))),
    "column of numbers": _table(lambda table: table.set_column(1, "left", pa.array([1.0] * len(table)))),
    "column gone": _table(lambda table: table.drop_columns(["left"])),
}


def _retyped(table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index("frame_id")
    return table.set_column(place, "frame_id", table.column(place).cast(pa.string()))


TABLE: dict[str, Rule] = {
    "frame ids as text": _table(_retyped),
    "column gone": _table(lambda table: table.drop_columns(["K"])),
    "no card": _table(lambda table: table.replace_schema_metadata(None)),
}


def _arrow_card(content: bytes) -> Rule:
    def rule(path: Path) -> None:
        with pa.ipc.open_file(pa.BufferReader(path.read_bytes())) as reader:
            batches = [reader.get_batch(place) for place in range(reader.num_record_batches)]
        schema = batches[0].schema.with_metadata({b"im2hands": content})
        with pa.ipc.new_file(str(path), schema) as writer:
            for batch in batches:
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))

    return rule


def _flipped_row(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = len(content) // 2
    content[place : place + 64] = bytes(value ^ 0x5A for value in content[place : place + 64])
    path.write_bytes(content)


ARROW: dict[str, Rule] = {
    "flipped row": _flipped_row,
    "card no JSON": _arrow_card(b"layout"),
    "card a list": _arrow_card(b"[1, 2]"),
    "card not UTF-8": _arrow_card(b"\xff\xfe"),
    "rows without checksums": _arrow_card(b'{"layout": "meshes", "version": 2, "provenance": {"parameters": {}}}'),
}


def _weights(change: Callable[[dict], object], **options: object) -> Rule:
    return lambda path: torch.save(change(torch.load(path, weights_only=False)), path, **options)


def _first_tensor(change: Callable[[torch.Tensor], object]) -> Rule:
    def changed(content: dict) -> dict:
        name = next(iter(content["model"]))
        return {**content, "model": {**content["model"], name: change(content["model"][name])}}

    return _weights(changed)


def _one_number(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def changed(tensor: torch.Tensor) -> torch.Tensor:
        made = tensor.clone()
        made.view(-1)[0] = value
        return made

    return changed


def _expanding(path: Path) -> None:
    """As a compressed archive: 20 MB of zeros in some 20 KB, harmless, and refused by what it declares."""
    _members(lambda members: {**members, "archive/data/zeros": bytes(20_000_000)}, zipfile.ZIP_DEFLATED)(path)


PT: dict[str, Rule] = {
    "NaN": _first_tensor(_one_number(float("nan"))),
    "infinity": _first_tensor(_one_number(float("inf"))),
    "complex": _first_tensor(lambda tensor: tensor.to(torch.complex64)),
    "sparse": _first_tensor(lambda tensor: tensor.to_sparse()),
    "without content": _first_tensor(lambda tensor: tensor.to("meta")),
    "repeated": _first_tensor(lambda _: torch.zeros(1).expand(5000, 5000)),
    "expanding": _expanding,
    "a list": _weights(lambda content: list(content["model"].values())),
    "no tensors": _weights(lambda content: {"model": {"a": 1}}),
    "other names": _weights(lambda content: {"model": {f"x.{name}": one for name, one in content["model"].items()}}),
    "other shapes": _weights(
        lambda content: {"model": {name: torch.zeros(3, 3, 3, 3, 3) for name in content["model"]}}
    ),
    "an object": _weights(lambda content: {**content, "path": Path("a")}),
    "old format, cut": lambda path: (
        _weights(lambda content: content, _use_new_zipfile_serialization=False)(path),
        path.write_bytes(path.read_bytes()[:5000]),
    )[0],
    "no end": _content(lambda whole: whole[:-30]),
}


SAFETENSORS: dict[str, Rule] = {
    "a bit": _flipped_row,
    "a long header": _content(lambda whole: struct.pack("<Q", 1 << 60) + whole[8:]),
    "a longer header": _content(lambda whole: struct.pack("<Q", len(whole) + 1) + whole[8:]),
    "no JSON": _content(lambda whole: whole[:8] + b"?" + whole[9:]),
}


def _card_of_weights(change: Callable[[dict], object]) -> Rule:
    return _json(change)


def _diverged(path: Path) -> None:
    """NaN in weights whose card is right about them, as a training leaves that diverged."""
    tensors = load_file(path)
    next(one for one in tensors.values() if one.is_floating_point()).view(-1)[0] = float("nan")
    save_file(tensors, path)
    card = path.with_name("card.json")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    card.write_text(json.dumps(json.loads(card.read_text()) | {"weights_sha256": checksum}))


CARD: dict[str, Rule] = {
    "no checksum": _json(lambda card: {name: one for name, one in card.items() if name != "weights_sha256"}),
    "architecture a list": _json(lambda card: {**card, "architecture": [1, 2]}),
    "architecture unknown": _json(lambda card: {**card, "architecture": {"no_such": 1}}),
    "origin a text": _json(lambda card: {**card, "origin": "here"}),
    "network a number": _json(lambda card: {**card, "network": 5}),
    "another checksum": _json(lambda card: {**card, "weights_sha256": "0" * 64}),
}


def _pickled(change: Callable[[dict], object]) -> Rule:
    return lambda path: path.write_bytes(pickle.dumps(change(read_pickle(path))))


class Foreign:
    """An object of a class that no file of data may ask for."""


PICKLE: dict[str, Rule] = {
    "a list": _pickled(lambda content: [content]),
    "nothing": _pickled(lambda content: None),
    "camera gone": _pickled(lambda content: {name: one for name, one in content.items() if name != "camera"}),
    "camera of text": _pickled(lambda content: {**content, "camera": dict.fromkeys(content["camera"], "x")}),
    "a high number": _content(lambda whole: whole[:2] + b"N" + b"r" + struct.pack("<I", 1 << 20) + b"0" + whole[2:]),
    "an object": _pickled(lambda content: {**content, "camera": Foreign()}),
    "something behind": _content(lambda whole: whole + b"text"),
    "no end": _content(lambda whole: whole[:-1]),
}


def _line(before: bytes, after: bytes) -> Rule:
    """Replaces the first place; there must be one."""

    def change(whole: bytes) -> bytes:
        assert before in whole
        return whole.replace(before, after, 1)

    return _content(change)


OBJ: dict[str, Rule] = {
    "vertex 0": _content(lambda whole: whole + b"\nf 0 1 2\n"),
    "vertex 99999": _content(lambda whole: whole + b"\nf 1 2 99999\n"),
    "1e38": _content(lambda whole: whole + b"\nv 1e38 0 0\n" + b"f 1 2 779\n"),
    "NaN": _content(lambda whole: whole + b"\nv nan 0 0\n" + b"f 1 2 779\n"),
    "two numbers": _content(lambda whole: b"v 1 2\n" + whole),
    "a word": _line(b"v ", b"v x"),
    "points": _content(lambda whole: b"\n".join(line for line in whole.split(b"\n") if not line.startswith(b"f"))),
}


def _ply(count_of: bytes, count: int) -> Rule:
    def change(whole: bytes) -> bytes:
        start = whole.index(count_of) + len(count_of)
        return whole[:start] + str(count).encode() + whole[whole.index(b"\n", start) :]

    return _content(change)


PLY: dict[str, Rule] = {
    "a billion vertices": _ply(b"element vertex ", 10**9),
    "more vertices": _ply(b"element vertex ", 5000),
    "fewer vertices": _ply(b"element vertex ", 10),
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
    "more faces": _ply(b"element face ", 1600),
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
    """Writes the JSON part of a GLB anew."""

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
    "version 9": _content(lambda whole: whole[:4] + struct.pack("<I", 9) + whole[8:]),
    "another length": _content(lambda whole: whole[:8] + struct.pack("<I", len(whole) + 4) + whole[12:]),
}
RULES: dict[str, dict[str, Rule]] = {
    "json": JSON,
    "yaml": YAML,
    "npy": NPY,
    "npz": NPZ,
    "parquet": PARQUET | ROWS,
    "table": PARQUET | TABLE,
    "arrow": ARROW,
    "pt": PT,
    "safetensors": SAFETENSORS,
    "pickle": PICKLE,
    "obj": OBJ,
    "ply": PLY,
    "off": OFF,
    "glb": GLB,
}
"""Kind of a file -> its rules beside those of any file."""
OF_SUBJECT: dict[str, dict[str, Rule]] = {
    **dict.fromkeys(("keypoints", "landmarks", "camera"), NUMBERS),
    **dict.fromkeys(("model-json", "exported"), CARD),
    **{name: {"NaN": _diverged} for name in ("model-safetensors", "given-weights")},
    "mesh-ply": SURFACE_PLY,
    "joints": {"another count": _ply(b"element vertex ", 20)},
    "result": {
        "R with NaN": _json(lambda result: {**result, "camera_of_crop": {"R": [[float("nan")] * 3] * 3}}),
        "R of text": _json(lambda result: {**result, "camera_of_crop": {"R": "x"}}),
        "R no rotation": _json(lambda result: {**result, "camera_of_crop": {"R": [[2, 0, 0], [0, 2, 0], [0, 0, 2]]}}),
        "camera a list": _json(lambda result: {**result, "camera_of_crop": [1]}),
    },
    "camera": NUMBERS
    | {
        "R with NaN": _json(lambda camera: {**camera, "R": [[float("nan")] * 3] * 3}),
        "R a mirror": _json(lambda camera: {**camera, "R": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]}),
        "K transposed": _json(lambda camera: {**camera, "K": np.transpose(camera["K"]).tolist()}),
    },
    "landmarks": NUMBERS
    | {
        "left twice": _json(lambda content: {"hands": [content["hands"][0], content["hands"][0]]}),
        "no side": _json(lambda content: {"hands": [{**hand, "side": None} for hand in content["hands"]]}),
        "a pixel true": _json(
            lambda content: {
                "hands": [{**hand, "pixels": [[True, 1.0], *hand["pixels"][1:]]} for hand in content["hands"]]
            }
        ),
    },
}
"""Rules of single subjects."""
WHOLE_STILL = {
    ("mesh-obj", "two thirds"),
    *(("dataset-data", rule) for rule in ("last byte gone", "a comma more", "half a character", "a key twice")),
    ("dataset-MANO_NeuralAnnot", "a key twice"),
    ("external-table", "no rows"),
}
"""Subject and rule that leave what the command reads as it is: a list of triangles may end anywhere; files of gigabytes are
read as a stream up to the last entry that is needed; of a table without frames the file that names them is said not to fit."""


def rules_of(name: str, kind: str) -> dict[str, Rule]:
    every = ANY | RULES[kind] | OF_SUBJECT.get(name, {})
    return {rule: change for rule, change in every.items() if (name, rule) not in WHOLE_STILL}
