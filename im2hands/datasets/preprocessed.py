"""`im2hands import-preprocessed`: reads folders of the original preprocessing scripts instead of running our stages.

IntagHand's folder replaces index_frames, fit_hands and normalize_images; HALO's replaces sample_queries. The output has the
layout, names and number of shards that the workflow expects.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from im2hands.config.choices import Behaviour
from im2hands.datasets import preprocessed_halo, preprocessed_intaghand
from im2hands.datasets.audit import require_few_damaged
from im2hands.datasets.frames import write_index
from im2hands.datasets.hands import HandTable, pose_fits, write_hands
from im2hands.hands.model_files import load_hand_models
from im2hands.io.errors import DataError
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance, file_card

Kind = Literal["intaghand", "halo"]
MARKS: Mapping[Kind, str] = {"intaghand": "anno", "halo": "points"}
"""The folder below a split by which it is known."""


@dataclass(frozen=True)
class ImportSettings:
    """Settings from the parameters. shards: number of image or query shards per split.  dataset: its name, for every table.

    For kind intaghand alone: hand_model (folder), angle_clamp, degenerate_hands (see `fit_hands`), masks, dense_maps,
    max_unreadable_fraction and suspicious_joint_distance_mm (see the stages).
    """

    dataset: str
    shards: Mapping[str, int]
    hand_model: str = ""
    angle_clamp: Behaviour = "consistent"
    degenerate_hands: Behaviour = "consistent"
    masks: bool = True
    dense_maps: bool = True
    max_unreadable_fraction: float = 0.0


def import_preprocessed(
    kind: Kind, folder: str | os.PathLike, to: str | os.PathLike, splits: Sequence[str], settings: ImportSettings
) -> Iterator[str]:
    """Imports every split of `splits` that the folder contains; yields lines for the user.

    to: the folder `data` of the workflow.  Raises DataError if the folder contains none of the splits, and what its readers
    raise.
    """
    if kind not in MARKS:
        raise DataError(f"{folder}: the kind must be {' or '.join(MARKS)}, not {kind!r}.")
    found = [split for split in splits if Path(folder, split, MARKS[kind]).is_dir()]
    if not found:
        raise DataError(
            f"{folder}: contains none of the folders {', '.join(f'{split}/{MARKS[kind]}' for split in splits)}; give the "
            "folder that contains the splits."
        )
    for split in found:
        if settings.shards[split] < 1:
            yield f"{split}: skipped, because params.yaml gives it no shards"
        elif kind == "intaghand":
            yield from _import_intaghand(Path(folder), Path(to), split, settings)
        else:
            yield _import_halo(Path(folder), Path(to), split, settings)


def _import_intaghand(folder: Path, to: Path, split: str, settings: ImportSettings) -> Iterator[str]:
    models, damage = load_hand_models(settings.hand_model), settings.max_unreadable_fraction
    data = preprocessed_intaghand.read_annotations(folder, split, models, damage)
    facts = {"dataset": settings.dataset, "split": split, "preprocessed_by": "IntagHand"}
    frames, hands = to / f"frames/{split}.parquet", to / f"hands/{split}.parquet"
    write_index(frames, frames.with_name(f"audit_{split}.parquet"), data.frames.table, data.audit, Provenance(facts))
    table, audit = pose_fits(
        data.frames, data.fits, {}, models, float("inf"), settings.angle_clamp, settings.degenerate_hands
    )
    behaviour = {"angle_clamp": settings.angle_clamp, "degenerate_hands": settings.degenerate_hands}
    sources = {"frames": frames, **{f"hand_model_{side.value}": models[side].source for side in models}}
    write_hands(
        hands, hands.with_name(f"audit_{split}.parquet"), table, audit, Provenance(facts | behaviour, None, sources)
    )
    require_few_damaged(audit.counts, 2 * len(data.frames.pairs()), damage, f"{folder / split}: hands")
    yield f"{split}: {len(data.frames)} frames ({data.audit.summary()} left out), {len(table)} hands"
    paths, quarantined = _shard_paths(to / "images" / split, settings.shards[split]), 0
    for shard, path in enumerate(paths):
        provenance = Provenance(facts, sources={"frames": frames, "hands": hands})
        counts = preprocessed_intaghand.write_crops(
            path, data, shard, len(paths), provenance, damage, settings.masks, settings.dense_maps
        )
        quarantined += counts.total()
    write_manifest(to / "images" / split / "manifest.json", paths)
    yield f"{split}: {len(data.frames)} crops in {len(paths)} shards, {quarantined} quarantined"
    for name in preprocessed_intaghand.JOINT_FOLDERS:
        output = to / "external" / f"{name}_{split}.parquet"
        count = preprocessed_intaghand.write_joints(output, data, name)
        if count:
            yield f"{split}: joints of {count} frames in {output}, a file for external.<name>.keypoints"


def _import_halo(folder: Path, to: Path, split: str, settings: ImportSettings) -> str:
    source = to / f"hands/{split}.parquet"
    if not source.is_file():
        raise DataError(
            f"{source}: the hand table of {split} is missing; import the IntagHand folder or run fit_hands first."
        )
    hands = HandTable.read(source, preprocessed_halo.COLUMNS)
    names = preprocessed_halo.hands_with_points(folder, split, hands)
    dataset = file_card(source)["provenance"]["parameters"].get("dataset", settings.dataset)
    facts = {"dataset": dataset, "preprocessed_by": "HALO", "label_rule": "published"}
    paths = _shard_paths(to / "queries" / split, settings.shards[split])
    for shard, path in enumerate(paths):
        provenance = Provenance(facts, sources={"hands": source})
        preprocessed_halo.write_query_shard(path, folder, split, names, hands, shard, len(paths), provenance)
    write_manifest(to / "queries" / split / "manifest.json", paths)
    missing = len(hands) - len(names)
    return f"{split}: points of {len(names)} hands in {len(paths)} shards, {missing} hands without a file"


def _shard_paths(folder: Path, count: int) -> list[Path]:
    return [folder / f"{shard:04d}-of-{count:04d}.arrow" for shard in range(count)]
