"""Stage `import_keypoints`: the keypoints of another system for the frames of the test split, as a keypoint source."""

from pathlib import Path

from im2hands.config.sections import External
from im2hands.datasets.external_keypoints import external_keypoints
from im2hands.datasets.frames import FrameTable, pair_id
from im2hands.datasets.keypoints import write_keypoints
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance


def main(frames: str, keypoints: str, output: str, params: External) -> None:
    table = FrameTable.read(frames)
    found, reasons = external_keypoints(keypoints, table, params.order, params.unit, params.frame)
    parameters = {"source": Path(output).parent.name, **params.model_dump(include={"order", "unit", "frame"})}
    sources = {"frames": frames, "keypoints": keypoints}
    pair_ids = [pair_id(*key) for key in table.pair_keys]
    write_keypoints(output, pair_ids, found, reasons, Provenance(parameters, sources=sources))
    print(f"{output}: {len(table)} frames, {len(table) - reasons.count(None)} without keypoints")


if __name__ == "__main__":
    stage_main(main)
