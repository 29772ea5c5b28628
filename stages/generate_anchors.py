"""Stage `generate_anchors`: points on the initial surfaces of both hands of every usable frame, for refined occupancy."""

from pathlib import Path

from im2hands.config.sections import GenerateAnchors
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance
from im2hands.networks.model_folder import WEIGHTS
from im2hands.reconstruction.anchors import AnchorSettings, AnchorWork, write_anchors
from im2hands.reconstruction.fields import choose_device


def main(
    frames: str,
    hands: str,
    images: str,
    model: str,
    shard: int,
    shards: int,
    seed: int,
    output: str,
    params: GenerateAnchors,
    gpus: int = 0,
    threads: int = 1,
) -> None:
    device = choose_device(gpus)
    settings = AnchorSettings(params.grid, params.resolution, params.threshold, params.draws)
    work = AnchorWork(frames, hands, images, model, settings, seed, str(device), params.frames_per_pose)
    places = work.shard(shard, shards)
    parameters = params.model_dump(exclude={"shards"})
    sources = {"frames": frames, "hands": hands, "images": images, "model": Path(model, WEIGHTS)}
    provenance = Provenance(parameters, seed, sources)
    problems = write_anchors(output, work, places, provenance, threads if device.type == "cpu" else 1)
    for problem in problems:
        print(f"warning: {problem}")
    print(f"{output}: {len(places)} frames, {len(problems)} hands without a surface; on {device}")


if __name__ == "__main__":
    stage_main(main)
