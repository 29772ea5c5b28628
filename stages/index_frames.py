"""Stage `index_frames`: select the two-hand frames of a split, and record why every other frame was left out."""

from im2hands.config.sections import IndexFrames
from im2hands.datasets.frames import index_frames, write_index
from im2hands.datasets.interhand26m import InterHand26M, dataset_name
from im2hands.io.stage import stage_main
from im2hands.io.tables import Provenance


def main(root: str, split: str, output: str, audit: str, params: IndexFrames, threads: int = 1) -> None:
    table, notes = index_frames(root, split, params.max_unreadable_fraction, params.min_image_mean, threads)
    dataset = InterHand26M.open(root)
    sources = {kind: dataset.annotation_file(split, kind) for kind in ("data", "camera", "MANO_NeuralAnnot")}
    settings = params.model_dump() | {"dataset": dataset_name(root), "split": split}
    write_index(output, audit, table, notes, Provenance(settings, sources=sources))
    print(f"{split}: kept {len(table)} two-hand frames; in the audit: {notes.summary()}")


if __name__ == "__main__":
    stage_main(main)
