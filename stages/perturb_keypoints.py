"""Stage `perturb_keypoints`: true keypoints of a split with normal noise, as a keypoint source."""

from pathlib import Path

from im2hands.config.sections import PerturbKeypoints
from im2hands.datasets.frames import FrameTable, pair_id
from im2hands.datasets.hands import HandTable
from im2hands.datasets.keypoints import write_keypoints
from im2hands.datasets.perturbed_keypoints import perturbed_keypoints
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance


def main(frames: str, hands: str, split: str, seed: int, output: str, params: PerturbKeypoints) -> None:
    table = FrameTable.read(frames)
    keypoints, reasons = perturbed_keypoints(table, HandTable.read(hands, ["keypoints_model"]), params.sigma_mm, seed)
    parameters = {"source": Path(output).parent.name, "origin": "model", "split": split, **params.model_dump()}
    sources = {"frames": frames, "hands": hands}
    pair_ids = [pair_id(*key) for key in table.pair_keys]
    write_keypoints(output, pair_ids, keypoints, reasons, Provenance(parameters, seed, sources))
    print(f"{output}: {len(table)} frames, {len(table) - reasons.count(None)} without keypoints")


if __name__ == "__main__":
    stage_main(main)
