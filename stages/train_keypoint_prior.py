"""Stage `train_keypoint_prior`: train the network that takes errors out of keypoints; continues a killed run."""

from im2hands.config.training import KeypointPriorTraining
from im2hands.io.stage import stage_main
from im2hands.training.keypoint_prior import KEYPOINT_PRIOR, KeypointPriorInputs
from im2hands.training.run import Run, train


def main(inputs: KeypointPriorInputs, params: KeypointPriorTraining, run: Run) -> None:
    metrics = train(KEYPOINT_PRIOR, params, inputs, run)
    print(f"{run.output}: " + ", ".join(f"{name} {value}" for name, value in metrics.items()))


if __name__ == "__main__":
    stage_main(main)
