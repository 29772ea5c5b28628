"""Stage `apply_keypoint_prior`: a keypoint source of a split, corrected by the keypoint prior, as a new keypoint source."""

from pathlib import Path

from im2hands.datasets.frames import FrameTable, pair_id
from im2hands.datasets.keypoints import KeypointTable, write_keypoints
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance
from im2hands.networks.keypoint_prior import load_keypoint_prior
from im2hands.networks.model_folder import WEIGHTS
from im2hands.reconstruction.likely_keypoints import likely_keypoints
from im2hands.training.determinism import deterministic_torch


def main(frames: str, keypoints: str, model: str, source: str, split: str, output: str) -> None:
    deterministic_torch(1)
    given = KeypointTable.read(keypoints)
    pair_ids = [pair_id(*key) for key in FrameTable.read(frames).pair_keys]
    given.require_frames(pair_ids, frames)
    network, card = load_keypoint_prior(model)
    likely, reasons = likely_keypoints(network, given)
    parameters = {
        "source": source,
        "origin": f"{given.source}, corrected by the prior",
        "split": split,
        "weights": dict(card.origin),
    }
    sources = {"frames": frames, "keypoints": keypoints, "model": Path(model, WEIGHTS)}
    write_keypoints(output, pair_ids, likely, reasons, Provenance(parameters, sources=sources))
    print(f"{output}: {len(reasons)} frames, {len(reasons) - reasons.count(None)} without keypoints")


if __name__ == "__main__":
    stage_main(main)
