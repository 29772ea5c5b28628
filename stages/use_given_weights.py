"""Stage `use_given_weights`: use an imported model instead of a training, see `training.<network>.weights` in params.yaml."""

from im2hands.io.stage import stage_main
from im2hands.training.trained_model import use_given_weights


def main(weights: str, network: str, output: str) -> None:
    metrics = use_given_weights(weights, network, output)
    print(f"{output}: weights of {weights}; " + ", ".join(f"{name} {value}" for name, value in metrics.items()))


if __name__ == "__main__":
    stage_main(main)
