"""Stage `fit_hands`: meshes, keypoints, palm and bone frames of both hands of every pose that a kept frame shows."""

from im2hands.config.choices import Behaviour
from im2hands.config.sections import FitHands
from im2hands.datasets.frames import FrameTable
from im2hands.datasets.hands import fit_hands, write_hands
from im2hands.datasets.interhand26m import InterHand26M, dataset_name
from im2hands.hands.model_files import load_hand_models
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance


def main(
    root: str,
    hand_model: str,
    split: str,
    frames: str,
    output: str,
    audit: str,
    angle_clamp: Behaviour,
    degenerate_hands: Behaviour,
    params: FitHands,
) -> None:
    models = load_hand_models(hand_model)
    table, notes = fit_hands(
        root,
        split,
        FrameTable.read(frames),
        models,
        params.suspicious_joint_distance_mm,
        angle_clamp=angle_clamp,
        degenerate_hands=degenerate_hands,
    )
    dataset = InterHand26M.open(root)
    sources = {kind: dataset.annotation_file(split, kind) for kind in ("joint_3d", "MANO_NeuralAnnot")}
    sources |= {"frames": frames, **{f"hand_model_{side.value}": models[side].source for side in models}}
    settings = params.model_dump() | {"angle_clamp": angle_clamp, "degenerate_hands": degenerate_hands}
    settings["dataset"] = dataset_name(root)
    write_hands(output, audit, table, notes, Provenance(settings, sources=sources))
    print(f"{split}: {len(table)} hands; in the audit: {notes.summary()}")


if __name__ == "__main__":
    stage_main(main)
