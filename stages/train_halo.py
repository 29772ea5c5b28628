"""Stage `train_halo`: train HALO, occupancy of a hand from its keypoints; continues a killed run."""

from im2hands.config.training import HaloTraining
from im2hands.io.stage import stage_main
from im2hands.training.halo import HALO, HaloInputs
from im2hands.training.run import Run, train


def main(inputs: HaloInputs, params: HaloTraining, run: Run) -> None:
    metrics = train(HALO, params, inputs, run)
    print(f"{run.output}: " + ", ".join(f"{name} {value}" for name, value in metrics.items()))


if __name__ == "__main__":
    stage_main(main)
