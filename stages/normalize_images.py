"""Stage `normalize_images`: cut the crop around both hands of every kept frame, one Arrow shard per call."""

from im2hands.config.sections import NormalizeImages
from im2hands.datasets.frames import FrameTable, hands_of
from im2hands.datasets.hands import HandTable
from im2hands.datasets.images import CropSettings, write_crop_shard
from im2hands.datasets.surface_maps import SurfaceMaps
from im2hands.hands.model_files import load_hand_models
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance


def main(
    root: str,
    hand_model: str,
    split: str,
    frames: str,
    hands: str,
    shard: int,
    shards: int,
    output: str,
    params: NormalizeImages,
    threads: int = 1,
) -> None:
    table = FrameTable.read(frames).shard(shard, shards)
    counts = write_crop_shard(
        output,
        root,
        split,
        table,
        HandTable.read(hands, ["vertices"], hands_of(table)),
        Provenance(params.model_dump(exclude={"shards"}), sources={"frames": frames, "hands": hands}),
        params.max_unreadable_fraction,
        CropSettings(params.size, params.hand_share, params.jpeg_quality),
        SurfaceMaps.of_models(load_hand_models(hand_model), params.masks, params.dense_maps),
        threads,
    )
    print(f"{output}: {len(table)} frames, {sum(counts.values())} quarantined")


if __name__ == "__main__":
    stage_main(main)
