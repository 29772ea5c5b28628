"""Rules for arrays, tables, weights and pickles; see document_rules."""

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

from tests.damage.document_rules import Rule, changed, changed_json
from tests.damage.whole import read_pickle


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
    **{f"header of {name}": changed(lambda _, made=made: made) for name, made in HEADERS.items()},
    "wrong shape": changed(lambda _: _array(np.zeros((20, 3)))),
    "one number": changed(lambda _: _array(np.array(1.0))),
    "text": changed(lambda _: _array(np.full((2, 21, 3), "x"))),
    "complex": changed(lambda _: _array(np.ones((2, 21, 3), complex))),
    "flags": changed(lambda _: _array(np.ones((2, 21, 3), bool))),
    "NaN": changed(lambda _: _array(np.full((2, 21, 3), np.nan))),
    "1e38": changed(lambda _: _array(np.full((2, 21, 3), 1e38))),
}


def _members(change: Callable[[dict[str, bytes]], dict[str, bytes]], method: int = zipfile.ZIP_STORED) -> Rule:
    """Writes the members of a ZIP again."""

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
    "no end": changed(lambda whole: whole[:-30]),
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
    "footer bytes": changed(lambda whole: whole[:-8] + b"\xff\xff\xff\x7f" + whole[-4:]),
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


def flipped_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = len(content) // 2
    content[place : place + 64] = bytes(value ^ 0x5A for value in content[place : place + 64])
    path.write_bytes(content)


ARROW: dict[str, Rule] = {
    "flipped row": flipped_middle,
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
    "no end": changed(lambda whole: whole[:-30]),
}


SAFETENSORS: dict[str, Rule] = {
    "a bit": flipped_middle,
    "a long header": changed(lambda whole: struct.pack("<Q", 1 << 60) + whole[8:]),
    "a longer header": changed(lambda whole: struct.pack("<Q", len(whole) + 1) + whole[8:]),
    "no JSON": changed(lambda whole: whole[:8] + b"?" + whole[9:]),
}


def diverged(path: Path) -> None:
    """NaN in weights whose card is right about them, as a training leaves that diverged."""
    tensors = load_file(path)
    next(one for one in tensors.values() if one.is_floating_point()).view(-1)[0] = float("nan")
    save_file(tensors, path)
    card = path.with_name("card.json")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    card.write_text(json.dumps(json.loads(card.read_text()) | {"weights_sha256": checksum}))


CARD: dict[str, Rule] = {
    "no checksum": changed_json(lambda card: {name: one for name, one in card.items() if name != "weights_sha256"}),
    "architecture a list": changed_json(lambda card: {**card, "architecture": [1, 2]}),
    "architecture unknown": changed_json(lambda card: {**card, "architecture": {"no_such": 1}}),
    "origin a text": changed_json(lambda card: {**card, "origin": "here"}),
    "network a number": changed_json(lambda card: {**card, "network": 5}),
    "another checksum": changed_json(lambda card: {**card, "weights_sha256": "0" * 64}),
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
    "a high number": changed(lambda whole: whole[:2] + b"N" + b"r" + struct.pack("<I", 1 << 20) + b"0" + whole[2:]),
    "an object": _pickled(lambda content: {**content, "camera": Foreign()}),
    "something behind": changed(lambda whole: whole + b"text"),
    "no end": changed(lambda whole: whole[:-1]),
}
