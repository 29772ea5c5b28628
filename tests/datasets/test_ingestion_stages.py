"""The three stages one after another on the made-up dataset, as the DAG calls them, and their messages for the user."""

from __future__ import annotations

import json

import pytest

from im2hands.datasets.audit import AUDIT
from im2hands.datasets.images import CropSet
from im2hands.hands.model_files import write_hand_model_folder
from im2hands.io.manifest import write_manifest
from im2hands.io.stage import stage_main
from im2hands.io.tables import file_card, read_parquet
from stages.fit_hands import main as fit_hands
from stages.index_frames import main as index_frames
from stages.normalize_images import main as normalize_images


def call(main, **arguments):
    words = []
    for name, value in arguments.items():
        words += [f"--{name.replace('_', '-')}", json.dumps(value) if isinstance(value, dict) else str(value)]
    stage_main(main, words)


@pytest.fixture
def folders(interhand, tmp_path):
    write_hand_model_folder(tmp_path / "hand_model")
    return interhand, tmp_path


def index(dataset, work, **options):
    call(
        index_frames,
        root=dataset.root,
        split="train",
        output=work / "frames.parquet",
        audit=work / "audit_frames.parquet",
        params={"min_image_mean": 10, "max_unreadable_fraction": 0.2},
        **options,
    )


def test_the_stages_work_one_after_another(folders, capsys):
    dataset, work = folders
    dataset.image_file(3).unlink()
    index(dataset, work, threads=2)
    assert "train: kept 5 two-hand frames; in the audit: 1 image_missing" in capsys.readouterr().out
    common = {
        "root": dataset.root,
        "hand_model": work / "hand_model",
        "split": "train",
        "frames": work / "frames.parquet",
    }
    call(
        fit_hands,
        **common,
        output=work / "hands.parquet",
        audit=work / "audit_hands.parquet",
        angle_clamp="consistent",
        degenerate_hands="consistent",
        params={"suspicious_joint_distance_mm": 20},
    )
    settings = {
        "shards": {"train": 2, "val": 0, "test": 0},
        "size": 256,
        "hand_share": 0.8,
        "jpeg_quality": 95,
        "masks": True,
        "dense_maps": False,
        "max_unreadable_fraction": 0,
    }
    shards = [work / "images" / f"{shard}-of-0002.arrow" for shard in ("0000", "0001")]
    for shard, path in enumerate(shards):
        call(
            normalize_images,
            **common,
            hands=work / "hands.parquet",
            shard=f"{shard:04d}",
            shards="0002",
            output=path,
            params=settings,
        )
    write_manifest(work / "images" / "manifest.json", shards)
    crops = CropSet(work / "images" / "manifest.json")
    assert [crop.frame_id for crop in crops] == [0, 1, 2, 3, 4] and crops.usable().all()
    assert crops[0].masks is not None and crops[0].dense is None
    assert read_parquet(work / "audit_frames.parquet", AUDIT)["image_id"].to_pylist() == [703]
    card = file_card(shards[0])
    assert card["opencv"] and set(card["provenance"]["sources"]) == {"frames", "hands"}
    assert set(file_card(work / "frames.parquet")["provenance"]["sources"]) == {"data", "camera", "MANO_NeuralAnnot"}


def test_a_mistake_of_the_user_ends_in_one_sentence_and_no_output(folders):
    dataset, work = folders
    for position in (1, 3):
        dataset.image_file(position).unlink()
    with pytest.raises(SystemExit, match=r"error: .*2 of 6 cannot be used \(2 image_missing\).*unpacked in images"):
        index(dataset, work)
    assert not (work / "frames.parquet").exists()
