"""Stage `train_refined_occupancy`: train occupancy of two hands that see each other; continues a killed run."""

from im2hands.config.training import RefinedOccupancyTraining
from im2hands.io.stage import stage_main
from im2hands.training.refined_occupancy import REFINED_OCCUPANCY, RefinedOccupancyInputs, RefinedOccupancyOptions
from im2hands.training.run import Run, train


def main(
    inputs: RefinedOccupancyInputs, options: RefinedOccupancyOptions, params: RefinedOccupancyTraining, run: Run
) -> None:
    metrics = train(REFINED_OCCUPANCY, params, inputs, run, options)
    print(f"{run.output}: " + ", ".join(f"{name} {value}" for name, value in metrics.items()))


if __name__ == "__main__":
    stage_main(main)
