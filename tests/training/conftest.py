"""Made-up data that train in seconds: balls of different sizes instead of hands, and a few frames of two hands."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from im2hands.datasets.hands import HANDS
from im2hands.datasets.occupancy_items import LabelledHands
from im2hands.datasets.queries import QUERIES, SETS, Quantisation
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance, ShardWriter, write_parquet
from tests.training import trained as small
from tests.training.occupancy_frames import write_initial, write_queries, write_split_anchors
from tests.training.trained import balls_inputs, trained
from tests.training.two_hand_frames import TwoHandSplit, make_split
from tests.training.untrained import write_halo, write_intaghand, write_prior

POINTS = {"near_surface": 1024, "uniform_cube": 512, "uniform_hand": 1024}


def write_split(folder: Path, split: str, hands: int, counts=POINTS, radii=(0.15, 0.25)) -> None:
    """Query shards (two) and hand table of `hands` balls about the wrist, radii evenly spaced (palm units)."""
    random = np.random.default_rng(len(split))
    names = [f"{number}_0_{side}" for number in range(hands // 2) for side in ("left", "right")]
    radii = np.linspace(*radii, hands)
    shards = [folder / "queries" / split / f"000{part}-of-0002.arrow" for part in range(2)]
    for part, shard in enumerate(shards):
        with ShardWriter(shard, QUERIES, Provenance({"label_rule": "consistent"}), {"range": [-0.65, 0.65]}) as writer:
            for name, radius in list(zip(names, radii, strict=True))[part::2]:
                writer.append(_row(name, radius, counts, random))
    write_manifest(folder / "queries" / split / "manifest.json", shards)
    write_parquet(
        folder / f"{split}.parquet",
        _hand_table(names, radii),
        HANDS,
        Provenance({"angle_clamp": "consistent", "dataset": "balls"}),
    )


def _row(name, radius, counts, random) -> dict:
    quantisation, points, labels, row, start = Quantisation(), [], [], {}, 0
    for set_name in SETS:
        count = counts[set_name]
        directions = random.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        if set_name == "near_surface":
            drawn = directions * (radius + 0.02 * random.normal(size=(count, 1)))
        else:
            drawn = random.uniform(-0.3, 0.3, (count, 3))
        stored = quantisation.stored(drawn)
        points.append(stored)
        labels.append(np.packbits(np.linalg.norm(quantisation.points(stored), axis=1) < radius))
        row |= {f"{set_name}_start": start, f"{set_name}_stop": start + count}
        start += count
    data = {"points": np.concatenate(points).tobytes(), "labels": np.concatenate(labels).tobytes()}
    return {**row, **data, "hand_id": name, "side": name.split("_")[2], "label_rule": "consistent", "conflict_count": 0}


def _hand_table(names, radii) -> pa.Table:
    columns = {}
    for field in HANDS.schema:
        if pa.types.is_fixed_size_list(field.type):
            length = field.type.list_size
            values = np.zeros((len(names), length))
            if field.name == "bone_from_palm":
                values[:] = np.tile(np.eye(4).ravel(), 16)
            elif field.name == "palm_rotation":
                values[:] = np.eye(3).ravel()
            elif field.name == "bone_lengths":
                values[:] = radii[:, None] * 0.4
            elif field.name == "keypoints_model":
                values[:] = np.random.default_rng(0).normal(scale=0.03, size=length)
            columns[field.name] = [row.astype(field.type.value_type.to_pandas_dtype()) for row in values]
        elif field.name in ("hand_id", "pair_id", "side"):
            columns[field.name] = [
                {"hand_id": n, "pair_id": n.rsplit("_", 1)[0], "side": n.split("_")[2]}[field.name] for n in names
            ]
        else:
            columns[field.name] = [0] * len(names)
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in HANDS.schema})


@pytest.fixture(scope="session")
def balls(tmp_path_factory) -> Path:
    """Folder with splits train (12 hands) and val (4 hands)."""
    folder = tmp_path_factory.mktemp("balls")
    write_split(folder, "train", 12)
    write_split(folder, "val", 4)
    return folder


@pytest.fixture(scope="session")
def two_hands(hand_model, tmp_path_factory) -> dict[str, Path]:
    """Everything that the trainings on photographs read, by the names of their inputs: 4 training and 2 validation frames."""
    folder = tmp_path_factory.mktemp("two_hands")
    found = {"hand_model": hand_model, "intaghand": write_intaghand(folder / "intaghand")}
    found["prior"] = write_prior(folder / "prior")
    for split, poses in (("train", 2), ("val", 1)):
        data = make_split(folder, split, poses, maps=True)
        queries = write_queries(data)
        if split == "train":
            found["halo"] = write_halo(folder / "halo", LabelledHands(queries, data.hands))
            found["initial"] = write_initial(folder / "initial", data.hands, queries)
        found |= data.inputs()
        found |= {f"{split}_queries": queries, f"{split}_anchors": write_split_anchors(data, found["initial"])}
    return found


@pytest.fixture(scope="session")
def finished(balls, two_hands, tmp_path_factory) -> Callable[[str], Path]:
    """The folder of an undisturbed training of a network on this data, trained when it is first asked for."""

    @cache
    def folder_of(network: str) -> Path:
        recipe = getattr(import_module(f"im2hands.training.{network}"), network.upper())
        inputs = balls_inputs(balls) if network == "halo" else two_hands
        folder = tmp_path_factory.mktemp(f"finished_{network}")
        trained(recipe, getattr(small, network.upper()), inputs, folder)
        return folder

    return folder_of


@pytest.fixture
def undisturbed_halo(finished) -> Path:
    """Made before the test disturbs anything."""
    return finished("halo")


@pytest.fixture(scope="module")
def two_hand_splits(tmp_path_factory) -> dict[str, TwoHandSplit]:
    """Four poses to train on, two to validate."""
    folder = tmp_path_factory.mktemp("two_hands")
    return {"train": make_split(folder, "train", poses=4), "val": make_split(folder, "val", poses=2)}


@pytest.fixture(scope="module")
def refinement_files(two_hand_splits, two_hands) -> dict[str, Path]:
    """What keypoint refinement reads: both splits, IntagHand and the prior."""
    of_splits = two_hand_splits["train"].inputs() | two_hand_splits["val"].inputs()
    return of_splits | {name: two_hands[name] for name in ("intaghand", "prior")}
