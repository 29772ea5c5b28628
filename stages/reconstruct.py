"""Stage `reconstruct`: meshes of both hands of some pairs of the test split, and their field at the evaluation points."""

from pathlib import Path

from im2hands.config.choices import Behaviour
from im2hands.config.sections import Reconstruct
from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.hands import HandTable
from im2hands.datasets.keypoints import KeypointTable
from im2hands.datasets.queries import EvaluationQueries
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance
from im2hands.networks.catalogue import method_of
from im2hands.networks.model_folder import WEIGHTS
from im2hands.reconstruction.anchors import AnchorSettings
from im2hands.reconstruction.fields import choose_device, device_name
from im2hands.reconstruction.inputs import COLUMNS, bone_inputs, evaluated_frames
from im2hands.reconstruction.methods import MethodFiles, surfaces_of
from im2hands.reconstruction.storage import write_surfaces
from im2hands.reconstruction.surfaces import Extraction


def main(
    method: str,
    source: str,
    frames: str,
    hands: str,
    images: str,
    queries: str,
    model: str,
    hand_model: str,
    shard: int,
    shards: int,
    meshes: str,
    timings: str,
    scenes: str,
    seed: int,
    angle_clamp: Behaviour,
    query_frame: Behaviour,
    params: Reconstruct,
    keypoints: str = "",
    gpus: int = 0,
    threads: int = 1,
) -> None:
    device, sees_image = choose_device(gpus), method_of(method).sees_image
    table = HandTable.read(hands, COLUMNS)
    inputs = bone_inputs(
        table,
        EvaluationQueries.read(queries),
        evaluated_frames(FrameSet(frames, hands, images), params.frames_per_pose),
        KeypointTable.read(keypoints) if keypoints else None,
        params.alignment,
        sees_image,
        angle_clamp,
        query_frame,
    )
    extraction = Extraction(
        params.grid, params.resolution, getattr(params.thresholds, method, 0.5), params.separate_hands
    )
    files = MethodFiles(model, frames, hands, images, hand_model)
    anchors = AnchorSettings("default", params.anchor_resolution, params.thresholds.initial)
    part = inputs.shard(shard, shards)
    pairs = surfaces_of(method, files, part, extraction, anchors, params.alignment, seed, device, threads)
    settings = params.model_dump(include={"grid", "resolution", "anchor_resolution", "separate_hands"}) | {
        "threshold": extraction.threshold,
        "method": method,
        "source": source,
        "alignment": params.alignment,
        "angle_clamp": angle_clamp,
        "query_frame": query_frame,
        "photograph": "none" if not (sees_image or keypoints) else "each evaluated frame",
        "frames_per_pose": params.frames_per_pose,
    }
    sources = {"hands": hands, "queries": queries, "model": Path(model, WEIGHTS)}
    sources |= {"keypoints": keypoints} if keypoints else {}
    machine = {"device": device_name(device), "threads": threads}
    summary = write_surfaces(
        meshes, timings, scenes, pairs, Provenance(settings, seed, sources), params.formats, machine
    )
    print(f"{meshes}: {summary}; on {device}")


if __name__ == "__main__":
    stage_main(main)
