"""Stage `train_intaghand`: train IntagHand, both hands' meshes from a photograph; continues a killed run."""

from im2hands.config.training import IntagHandTraining
from im2hands.io.stage import stage_main
from im2hands.training.intaghand import INTAGHAND, IntagHandInputs, IntagHandOptions
from im2hands.training.run import Run, train


def main(inputs: IntagHandInputs, options: IntagHandOptions, params: IntagHandTraining, run: Run) -> None:
    metrics = train(INTAGHAND, params, inputs, run, options)
    print(f"{run.output}: " + ", ".join(f"{name} {value}" for name, value in metrics.items()))


if __name__ == "__main__":
    stage_main(main)
