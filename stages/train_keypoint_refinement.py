"""Stage `train_keypoint_refinement`: train the network that refines keypoints; continues a killed run."""

from im2hands.config.training import KeypointRefinementTraining
from im2hands.io.stage import stage_main
from im2hands.training.keypoint_refinement import (
    KEYPOINT_REFINEMENT,
    KeypointRefinementInputs,
    KeypointRefinementOptions,
)
from im2hands.training.run import Run, train


def main(
    inputs: KeypointRefinementInputs, options: KeypointRefinementOptions, params: KeypointRefinementTraining, run: Run
) -> None:
    metrics = train(KEYPOINT_REFINEMENT, params, inputs, run, options)
    print(f"{run.output}: " + ", ".join(f"{name} {value}" for name, value in metrics.items()))


if __name__ == "__main__":
    stage_main(main)
