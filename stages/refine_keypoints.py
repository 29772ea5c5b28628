"""Stage `refine_keypoints`: a keypoint source of a split, refined with the photographs, as a new keypoint source."""

from pathlib import Path

from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.frames import FrameTable, pair_id
from im2hands.datasets.keypoints import KeypointTable, write_keypoints
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance
from im2hands.networks.keypoint_prior import load_keypoint_prior
from im2hands.networks.keypoint_refinement import load_keypoint_refinement
from im2hands.networks.model_folder import WEIGHTS
from im2hands.reconstruction.refined_keypoints import refined_keypoints, shown_to
from im2hands.training.determinism import deterministic_torch
from im2hands.training.gpu import claim_device

SHOWN = {"wrist": "predicted wrist on the true one", "camera": "hands where they were predicted"}


def main(
    frames: str,
    hands: str,
    images: str,
    keypoints: str,
    model: str,
    source: str,
    split: str,
    output: str,
    prior: str | None = None,
    gpus: int = 0,
    threads: int = 1,
) -> None:
    device = claim_device(gpus)
    deterministic_torch(threads)
    given = KeypointTable.read(keypoints)
    pair_ids = [pair_id(*key) for key in FrameTable.read(frames).pair_keys]
    given.require_frames(pair_ids, frames)
    network, card = load_keypoint_refinement(model, device)
    likely = None if prior is None else load_keypoint_prior(prior)[0]
    refined, reasons = refined_keypoints(network, FrameSet(frames, hands, images), given, device, prior=likely)
    parameters = {
        "source": source,
        "origin": f"{given.source}, refined",
        "shown_to_network": SHOWN[shown_to(network)],
        "split": split,
        "weights": dict(card.origin),
        "compat": dict(card.compat),
    }
    sources = {
        "frames": frames,
        "hands": hands,
        "images": images,
        "keypoints": keypoints,
        "model": Path(model, WEIGHTS),
        **({} if prior is None else {"prior": Path(prior, WEIGHTS)}),
    }
    write_keypoints(output, pair_ids, refined, reasons, Provenance(parameters, sources=sources))
    print(f"{output}: {len(reasons)} frames, {len(reasons) - reasons.count(None)} without keypoints; on {device}")


if __name__ == "__main__":
    stage_main(main)
