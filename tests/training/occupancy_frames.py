"""What trainings of occupancy from photographs read in addition to `two_hand_frames`: query points, an initial network,
anchors."""

from __future__ import annotations

from pathlib import Path

import torch

from im2hands.datasets.occupancy_items import LabelledHands
from im2hands.datasets.query_sampling import Sampling, palm_meshes, write_query_shard
from im2hands.hands.model_files import builtin_hand_models
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance
from im2hands.networks.halo import HaloNetwork
from im2hands.networks.initial_occupancy import NAME, POINT_FEATURES, InitialOccupancyNetwork
from im2hands.reconstruction.anchors import AnchorSettings, AnchorWork, write_anchors
from im2hands.training.initial_occupancy import widened
from tests.training.two_hand_frames import TwoHandSplit
from tests.training.untrained import write_network

COUNTS = {"near_surface": 512, "uniform_hand": 1024}
SAMPLING = Sampling.of_params(6.0, 16.0, "consistent", seed=5)


def write_queries(data: TwoHandSplit) -> Path:
    """Query points of all hands of a split; returns their manifest."""
    meshes, _ = palm_meshes(data.hands, builtin_hand_models(), 0, 1)
    shard = data.folder / "queries" / data.split / "0000-of-0001.arrow"
    write_query_shard(shard, meshes, COUNTS, SAMPLING, Provenance({"label_rule": "consistent"}))
    write_manifest(shard.parent / "manifest.json", [shard])
    return shard.parent / "manifest.json"


def write_initial(folder: Path, hands: Path, queries: Path, depth_reference: str = "consistent") -> Path:
    """Folder of an untrained initial network whose fields are soft balls about the bones, and a little of the image."""
    torch.manual_seed(0)
    options = {"depth_reference": depth_reference, "penetration_frame": "consistent"}
    network, balls = InitialOccupancyNetwork("resnet10_narrow", width=24, **options), HaloNetwork(width=24)
    balls.decoders.start_as_balls(LabelledHands(queries, hands).bone_centres())
    for decoder in network.decoders.values():
        decoder.load_state_dict(widened(balls, POINT_FEATURES))
        with torch.no_grad():
            decoder.layers[2].weight[..., -POINT_FEATURES:].normal_(std=0.1)
        decoder.layers[2].weight.data[..., decoder.width :] *= 0.1  # what was seen moves the balls' surface a little
        decoder.layers[-1].bias.data += 1  # so few units make small balls
    return write_network(folder, NAME, network, **options)


def write_split_anchors(
    data: TwoHandSplit, initial: Path, draws: int = 2, points: int = 256, per_pose: int | None = None
) -> Path:
    """Anchors of a split, in two shards; returns their manifest. per_pose: of so many frames of each pose, None: all."""
    settings = AnchorSettings(resolution=32, draws=draws, points=points)
    work = AnchorWork(
        str(data.frames), str(data.hands), str(data.images), str(initial), settings, seed=3, per_pose=per_pose
    )
    shards = [data.folder / "anchors" / data.split / f"000{part}-of-0002.arrow" for part in range(2)]
    for part, shard in enumerate(shards):
        write_anchors(shard, work, work.shard(part, 2), Provenance({"frames_per_pose": per_pose}, seed=3))
    write_manifest(shards[0].parent / "manifest.json", shards)
    return shards[0].parent / "manifest.json"
