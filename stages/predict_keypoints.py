"""Stage `predict_keypoints`: keypoints of both hands predicted by IntagHand for every frame of a split."""

from pathlib import Path

from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.frames import FrameTable, pair_id
from im2hands.datasets.keypoints import write_keypoints
from im2hands.hands.model_files import load_hand_models
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance
from im2hands.networks.intaghand import load_intaghand
from im2hands.networks.model_folder import WEIGHTS
from im2hands.reconstruction.predicted_hands import predicted_keypoints
from im2hands.training.determinism import deterministic_torch
from im2hands.training.gpu import claim_device


def main(
    frames: str,
    hands: str,
    images: str,
    model: str,
    hand_model: str,
    split: str,
    output: str,
    gpus: int = 0,
    threads: int = 1,
) -> None:
    device = claim_device(gpus)
    deterministic_torch(threads)
    network, card = load_intaghand(model, device)
    frame_set = FrameSet(frames, hands, images)
    keypoints, reasons = predicted_keypoints(network, load_hand_models(hand_model), frame_set, device)
    pair_ids = [pair_id(*key) for key in FrameTable.read(frames).pair_keys]
    parameters = {"source": "intaghand", "joints": "regressed", "split": split, "weights": dict(card.origin)}
    sources = {"frames": frames, "hands": hands, "images": images, "model": Path(model, WEIGHTS)}
    write_keypoints(output, pair_ids, keypoints, reasons, Provenance(parameters, sources=sources))
    print(f"{output}: {len(reasons)} frames, {len(reasons) - reasons.count(None)} without keypoints; on {device}")


if __name__ == "__main__":
    stage_main(main)
