"""Stage `synthesize_dataset`: make the built-in synthetic dataset and its hand model."""

from typing import Literal

from im2hands.config.sections import SynthesizeDataset
from im2hands.datasets.synthetic.dataset import make_dataset, make_split
from im2hands.datasets.synthetic.plan import Settings
from im2hands.io.stage import stage_main


def main(
    output: str,
    hand_model: str,
    params: SynthesizeDataset,
    seed: int,
    split: Literal["train", "val", "test", "all"] = "all",
    threads: int = 1,
) -> None:
    settings = Settings(
        poses=params.poses.model_dump(),
        subjects=params.subjects.model_dump(),
        cameras=params.cameras,
        scale=params.scale,
        supersampling=params.supersampling,
        jpeg_quality=params.jpeg_quality,
        seed=seed,
    )
    if split == "all":
        make_dataset(output, hand_model, settings, threads)
    else:
        make_split(output, hand_model, settings, split, threads)


if __name__ == "__main__":
    stage_main(main)
