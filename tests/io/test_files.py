"""Files are whole or absent, say where they come from, and are refused with one sentence when they are damaged."""

import errno
import json
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pytest

from im2hands.io.atomic import atomic_folder, atomic_path, read_json, write_json
from im2hands.io.errors import DamagedFileError, DataError, DiskFullError
from im2hands.io.hashing import digest, seed_of
from im2hands.io.manifest import Manifest, write_manifest
from im2hands.io.pickles import load_pickle
from im2hands.io.tables import (
    Layout,
    Provenance,
    ShardReader,
    ShardWriter,
    as_array,
    count_rows,
    flat,
    read_parquet,
    write_parquet,
)

LAYOUT = Layout(
    "example", 1, pa.schema([("name", pa.string()), ("points", pa.list_(pa.float32())), ("labels", pa.binary())])
)


def write_shard(path, count, first=0):
    with ShardWriter(path, LAYOUT, Provenance({"count": count}, seed=1), extra={"range": [-1, 1]}) as shard:
        for index in range(first, first + count):
            points = np.full((4, 3), index, np.float32)
            shard.append({"name": f"row {index}", "points": flat(points), "labels": bytes([index])})


def test_a_full_disk_is_said_in_one_sentence(tmp_path):
    with (
        pytest.raises(DiskFullError, match=r"a\.json: the disk is full; free some space"),
        atomic_path(tmp_path / "a.json"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_recognised_without_an_error_number(tmp_path, monkeypatch):
    """PyTorch's writer ends in `RuntimeError: iostream error`."""
    with pytest.raises(RuntimeError, match="iostream"), atomic_path(tmp_path / "a.ckpt"):
        raise RuntimeError("iostream error")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 0))
    with pytest.raises(DiskFullError), atomic_path(tmp_path / "a.ckpt"):
        raise RuntimeError("iostream error")
    with pytest.raises(DataError, match="not the disk"), atomic_path(tmp_path / "a.ckpt"):
        raise DataError("not the disk's fault")


def test_atomic_path_keeps_the_old_file_when_writing_fails(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"version": 1})
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(target.read_text()) == {"version": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_atomic_folder_replaces_the_old_folder_as_a_whole(tmp_path):
    for name in ("first", "second"):
        with atomic_folder(tmp_path / "out") as folder:
            (folder / name).write_text(name)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["second"]


def test_read_json_names_the_truncated_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"images": [1, 2')
    with pytest.raises(DamagedFileError, match=r"a\.json.*truncated"):
        read_json(path)
    with pytest.raises(DataError, match="missing"):
        read_json(tmp_path / "b.json")


def test_shard_rows_come_back_and_readers_survive_pickling(tmp_path):
    write_shard(tmp_path / "s.arrow", 3)
    reader = ShardReader(tmp_path / "s.arrow", LAYOUT)
    assert len(reader) == 3 and reader.metadata["range"] == [-1, 1]
    for opened in (reader, pickle.loads(pickle.dumps(reader))):
        row = opened.row(2)
        assert row["name"] == "row 2" and bytes(row["labels"]) == b"\x02"
        assert as_array(row["points"], np.float32, (4, 3)).tolist() == [[2.0] * 3] * 4
    assert reader.column("name") == ["row 0", "row 1", "row 2"]


def test_shard_is_absent_after_a_failure(tmp_path):
    with pytest.raises(DataError, match="no column"), ShardWriter(tmp_path / "s.arrow", LAYOUT, Provenance()) as shard:
        shard.append({"nonsense": 1})
    assert list(tmp_path.iterdir()) == []


def test_shard_set_spans_shards_and_removes_left_overs(tmp_path):
    for index, count in enumerate((2, 3)):
        write_shard(tmp_path / f"{index}.arrow", count, first=2 * index)
    write_shard(tmp_path / "left_over.arrow", 1)
    write_manifest(tmp_path / "manifest.json", [tmp_path / "0.arrow", tmp_path / "1.arrow"])
    shards = Manifest.read(tmp_path / "manifest.json").open(LAYOUT)
    assert [shards.row(index, ["name"])["name"] for index in range(len(shards))] == [f"row {i}" for i in range(5)]
    assert not (tmp_path / "left_over.arrow").exists()
    with pytest.raises(IndexError):
        shards.row(5)


def test_corrupted_shard_is_refused_and_named(tmp_path):
    write_shard(tmp_path / "0.arrow", 2)
    write_manifest(tmp_path / "manifest.json", [tmp_path / "0.arrow"])
    content = bytearray((tmp_path / "0.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "0.arrow").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"0\.arrow.*checksum.*delete this file"):
        Manifest.read(tmp_path / "manifest.json").open(LAYOUT).row(0)


def test_row_that_cannot_be_read_names_the_shard(tmp_path):
    """Damage that stood in the file before its checksum was taken."""
    write_shard(tmp_path / "0.arrow", 2)
    content = bytearray((tmp_path / "0.arrow").read_bytes())
    first_row = content.index(CONTINUATION, content.index(CONTINUATION) + 1)
    content[first_row + 8 : first_row + 40] = b"\xff" * 32
    (tmp_path / "0.arrow").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"0\.arrow: row 0 cannot be read .*delete this file"):
        ShardReader(tmp_path / "0.arrow", LAYOUT).row(0)


def test_a_changed_byte_anywhere_in_a_shard_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "0.arrow"
    write_shard(path, 2)
    whole, rows = path.read_bytes(), readable_rows(path)
    refused: list[str] = []
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 0x81
        path.unlink()
        path.write_bytes(content)
        try:
            count = count_rows(path)
        except DamagedFileError as error:
            refused.append(str(error))
        else:
            assert count == 2
            assert readable_rows(path) == rows
    assert len(refused) > len(whole) // 2
    assert all("0.arrow: " in text and "delete this file" in text for text in refused)


def readable_rows(path):
    reader = ShardReader(path, LAYOUT)
    names = LAYOUT.column_names()
    return [[np.asarray(reader.row(index)[name]).tolist() for name in names] for index in range(len(reader))]


def test_manifest_refuses_a_shard_damaged_before_it_was_gathered(tmp_path):
    write_shard(tmp_path / "0.arrow", 2)
    content = (tmp_path / "0.arrow").read_bytes()
    points = np.full(12, 1, np.float32).tobytes()
    (tmp_path / "0.arrow").write_bytes(content.replace(points, points[:-1] + b"\x40"))
    with pytest.raises(DamagedFileError, match=r"0\.arrow.*checksum.*delete this file"):
        write_manifest(tmp_path / "manifest.json", [tmp_path / "0.arrow"])
    assert not (tmp_path / "manifest.json").exists()


def test_manifest_names_opencv_and_refuses_shards_of_two_kinds(tmp_path):
    """Versions 4 and 5 cut crops that differ by up to six grey levels."""
    versions = {"0.arrow": "4.10.0", "1.arrow": "4.12.0"}
    for name, version in versions.items():
        with ShardWriter(tmp_path / name, LAYOUT, Provenance(), {"opencv": version}) as shard:
            shard.append({"name": "row", "points": [1.0], "labels": b"1"})
    write_manifest(tmp_path / "manifest.json", [tmp_path / "0.arrow", tmp_path / "1.arrow"])
    assert read_json(tmp_path / "manifest.json")["opencv"] == ["4.10.0", "4.12.0"]
    assert len(Manifest.read(tmp_path / "manifest.json").files) == 2
    with ShardWriter(tmp_path / "2.arrow", LAYOUT, Provenance(), {"opencv": "5.0.0"}) as shard:
        shard.append({"name": "row", "points": [1.0], "labels": b"1"})
    with pytest.raises(DataError, match=r"shards of OpenCV 4 and 5 are mixed.*delete the shards and run again"):
        write_manifest(tmp_path / "manifest.json", [tmp_path / "0.arrow", tmp_path / "2.arrow"])


CONTINUATION = b"\xff\xff\xff\xff"
"""What every message of an Arrow file begins with: first the schema, then the rows."""


def test_tables_of_another_kind_or_version_are_refused(tmp_path):
    layout = Layout("numbers", 1, pa.schema([("value", pa.int64())]))
    write_parquet(tmp_path / "t.parquet", pa.table({"value": [1, 2]}), layout, Provenance())
    assert read_parquet(tmp_path / "t.parquet", layout)["value"].to_pylist() == [1, 2]
    newer = Layout("numbers", 2, layout.schema)
    with pytest.raises(DamagedFileError, match="expected numbers version 2, found numbers version 1"):
        read_parquet(tmp_path / "t.parquet", newer)
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[len(b"PAR1") + 30] ^= 1
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(DamagedFileError, match="not a readable numbers table"):
        read_parquet(tmp_path / "t.parquet", layout)
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DamagedFileError, match="not a readable numbers table"):
        read_parquet(tmp_path / "t.parquet", layout)


class Hostile:
    def __reduce__(self):
        return (print, ("executed",))


def test_pickles_build_data_and_execute_nothing(tmp_path, capsys):
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps({"a": [1, 2.0, "x"]}))
    assert load_pickle(path, {}) == {"a": [1, 2.0, "x"]}
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(DataError, match=r"m\.pkl.*builtins\.print.*nothing was executed"):
        load_pickle(path, {})
    assert capsys.readouterr().out == ""
    path.write_bytes(pickle.dumps(list(range(100)))[:40])
    with pytest.raises(DamagedFileError, match="not a readable pickle"):
        load_pickle(path, {})


def test_digest_ignores_key_order_and_seed_depends_on_every_part():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    draws = {np.random.default_rng(seed_of(1, name, 2)).integers(1 << 60) for name in ("left", "right")}
    assert len(draws) == 2
