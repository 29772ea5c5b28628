"""Stage `draw_crops`: draw the crops of a split, with the tables of frames and hands, in place of a dataset."""

from im2hands.config.sections import DrawCrops
from im2hands.datasets.synthetic.crop_tables import FIRST_PERSONS, CropRange, draw_crops
from im2hands.io.stage import stage_main


def main(split: str, output: str, params: DrawCrops, seed: int, threads: int = 1) -> None:
    draw_crops(output, split, CropRange(seed, FIRST_PERSONS[split], params.persons[split], params.hiding), threads)


if __name__ == "__main__":
    stage_main(main)
