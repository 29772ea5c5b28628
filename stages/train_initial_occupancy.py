"""Stage `train_initial_occupancy`: train occupancy from keypoints and the image; continues a killed run."""

from im2hands.config.training import InitialOccupancyTraining
from im2hands.io.stage import stage_main
from im2hands.training.initial_occupancy import INITIAL_OCCUPANCY, InitialOccupancyInputs, InitialOccupancyOptions
from im2hands.training.run import Run, train


def main(
    inputs: InitialOccupancyInputs, options: InitialOccupancyOptions, params: InitialOccupancyTraining, run: Run
) -> None:
    metrics = train(INITIAL_OCCUPANCY, params, inputs, run, options)
    print(f"{run.output}: " + ", ".join(f"{name} {value}" for name, value in metrics.items()))


if __name__ == "__main__":
    stage_main(main)
