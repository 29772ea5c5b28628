"""Stage `import_meshes`: meshes of another system for some pairs of the test split, stored like our own."""

from im2hands.config.sections import External
from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.frames import FrameTable
from im2hands.datasets.hands import HandTable
from im2hands.datasets.keypoints import KeypointTable
from im2hands.datasets.queries import EvaluationQueries
from im2hands.hands.model_files import load_hand_models
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance
from im2hands.reconstruction.external import MeshFolder, Placement, external_surfaces
from im2hands.reconstruction.inputs import COLUMNS, bone_inputs, evaluated_frames
from im2hands.reconstruction.storage import write_surfaces


def main(
    method: str,
    source: str,
    folder: str,
    frames: str,
    hands: str,
    images: str,
    queries: str,
    hand_model: str,
    shard: int,
    shards: int,
    meshes: str,
    scenes: str,
    params: External,
    formats: list[str],
    keypoints: str | None = None,
    frames_per_pose: int | None = None,
) -> None:
    inputs = bone_inputs(
        HandTable.read(hands, COLUMNS),
        EvaluationQueries.read(queries),
        evaluated_frames(FrameSet(frames, hands, images), frames_per_pose),
        from_photographs=True,
    )
    placement = Placement(
        params.alignment, load_hand_models(hand_model), KeypointTable.read(keypoints) if keypoints else None
    )
    files = MeshFolder(folder, params.unit, params.frame)
    pairs = external_surfaces(files, FrameTable.read(frames), inputs, placement, shard, shards)
    settings = {
        "method": method,
        "source": source,
        **params.model_dump(include={"unit", "frame", "alignment"}),
        "wrist": "of its keypoints"
        if keypoints
        else "regressed from its mesh"
        if params.alignment == "wrist"
        else "unused",
        "photograph": "each evaluated frame",
        "frames_per_pose": frames_per_pose,
    }
    sources = {"hands": hands, "queries": queries, **({"keypoints": keypoints} if keypoints else {})}
    summary = write_surfaces(meshes, None, scenes, pairs, Provenance(settings, sources=sources), formats)
    print(f"{meshes}: {summary}")


if __name__ == "__main__":
    stage_main(main)
