"""Damaged data: a few bad frames are set aside and counted, many stop the run, each with a sentence that says what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from tests.workflow.checkout import Checkout, make_checkout

MINI = Path(__file__).parent / "mini.yaml"
OWN = "data/raw/own"
CAMERAS = 3

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("damaged")]


@pytest.fixture(scope="module")
def with_data(tmp_path_factory) -> Checkout:
    """A checkout whose dataset is the user's: a copy of a synthetic one with three cameras per pose."""
    checkout = make_checkout(tmp_path_factory.mktemp("damaged") / "checkout", fake_stages=False)
    checkout.run(sys.executable, "-m", "im2hands.cli", "configure", str(MINI))
    checkout.change("synthesize_dataset.cameras", CAMERAS)
    checkout.snakemake("--", "all_synthesize_dataset")
    shutil.move(checkout.path / "data/raw/synthetic", checkout.path / OWN)
    checkout.change("dataset.root", OWN)
    checkout.run(sys.executable, "-m", "workflow.dvc_stages")
    return checkout


@pytest.fixture
def own(with_data: Checkout, tmp_path: Path) -> Checkout:
    return with_data.copy(tmp_path / "copy")


def annotation(checkout: Checkout, split: str, kind: str) -> Path:
    return checkout.path / OWN / f"annotations/{split}/InterHand2.6M_{split}_{kind}.json"


def damage(checkout: Checkout) -> None:
    """In every split: one image cut short; in train another one missing and one fit without numbers."""
    for split in ("train", "val", "test"):
        images = sorted((checkout.path / OWN / "images" / split).rglob("*.jpg"))
        images[0].write_bytes(images[0].read_bytes()[:-100])
        if split == "train":
            images[1].unlink()
            file = annotation(checkout, split, "MANO_NeuralAnnot")
            fits = json.loads(file.read_text())
            pose = last_pose_seen_by_all_cameras(checkout, split)
            next(iter(fits.values()))[pose]["left"]["trans"] = [float("nan")] * 3
            file.write_text(json.dumps(fits))


def last_pose_seen_by_all_cameras(checkout: Checkout, split: str) -> str:
    """An ordinary pose: frames that the selection leaves out on purpose are photographed once."""
    images = json.loads(annotation(checkout, split, "data").read_text())["images"]
    views = Counter(str(image["frame_idx"]) for image in images)
    return [pose for pose, count in views.items() if count == CAMERAS][-1]


def frame_of(image: Path) -> str:
    return image.stem.removeprefix("image")


def test_a_few_bad_frames_are_counted_and_the_run_ends_with_tables(own):
    damage(own)
    own.change("index_frames.max_unreadable_fraction", 0.6)
    own.change("normalize_images.max_unreadable_fraction", 0.6)
    own.change("reconstruct.shards", 2)
    printed = own.snakemake()
    assert (own.path / "results/tables/shape_given_keypoints.csv").is_file()
    audit = pd.read_parquet(own.path / "data/frames/audit_train.parquet")
    reasons = audit.loc[~audit["kept"], "reason"].value_counts()
    assert reasons["image_unreadable"] == 1
    assert reasons["image_missing"] == 1
    assert reasons["fit_not_finite"] == CAMERAS
    assert "left out: " in printed
    assert "image_unreadable" in printed
    assert own.plan() == {}


def test_many_bad_frames_stop_the_run(own):
    damage(own)
    done = own.run(sys.executable, "-m", "snakemake", check=False)
    assert done.returncode == 1
    assert "max_unreadable_fraction" in done.stdout


def test_truncated_annotations_stop_index_frames_with_one_sentence(own):
    file = annotation(own, "val", "data")
    file.write_bytes(file.read_bytes()[:-50])
    done = own.run(sys.executable, "-m", "snakemake", "--", "all_index_frames", check=False)
    assert done.returncode == 1
    sentences = [line for line in done.stdout.splitlines() if file.name in line and "error" in line.lower()]
    assert sentences
    assert "Traceback" not in done.stdout


def test_a_corrupted_shard_is_refused_and_named(own):
    """As a disk corrupts it: other content, the same time stamp."""
    own.snakemake("--", "data/queries/train/manifest.json")
    shard = own.path / "data/queries/train/0000-of-0002.arrow"
    times = shard.stat()
    change_a_point(shard)
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = own.run(sys.executable, "-m", "snakemake", "--", "models/halo/model.safetensors", check=False)
    refused(done, shard)


def test_a_shard_corrupted_with_a_new_time_stamp_is_refused_until_it_is_deleted(own):
    manifest = "data/queries/train/manifest.json"
    own.snakemake("--", manifest)
    shard = own.path / "data/queries/train/0001-of-0002.arrow"
    whole = shard.read_bytes()
    change_a_point(shard)
    refused(own.run(sys.executable, "-m", "snakemake", "--", manifest, check=False), shard)
    shard.unlink()
    own.snakemake("--", manifest)
    assert shard.read_bytes() == whole


def change_a_point(shard: Path) -> None:
    """Inverts one byte of a query point; some bytes elsewhere are padding, whose change harms nobody."""
    content = shard.read_bytes()
    points = pa.ipc.open_file(pa.BufferReader(content)).get_batch(0)["points"][0].as_buffer()
    place = content.index(points.to_pybytes()) + points.size // 2
    shard.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])


def refused(done: subprocess.CompletedProcess[str], shard: Path) -> None:
    assert done.returncode == 1
    assert f"{shard.name}: the content does not match its checksum; delete this file" in done.stdout
    assert "Traceback" not in done.stdout
