"""Stage `train_halo`: train HALO, occupancy of a hand from its keypoints; goes on where a killed run stopped."""

from im2hands.config.training import HaloTraining
from im2hands.io.stage import stage_main
from im2hands.training.gpu import claim_device
from im2hands.training.halo import train_halo
from im2hands.training.loop import LoopSettings


def main(
    train: str,
    val: str,
    train_hands: str,
    val_hands: str,
    checkpoints: str,
    output: str,
    seed: int,
    params: HaloTraining,
    gpus: int = 0,
    threads: int = 1,
    logs: str = "logs/training/halo",
) -> None:
    device = claim_device(gpus)
    metrics = train_halo(
        train=train,
        val=val,
        train_hands=train_hands,
        val_hands=val_hands,
        output=output,
        checkpoint_folder=checkpoints,
        logs=logs,
        settings=LoopSettings.of(params, seed, device, threads),
        batch_hands=params.batch_hands,
        points_per_hand=params.points_per_hand,
        uniform_share=params.uniform_share,
        validation_points=params.validation_points,
        width=params.width,
        loss=params.loss,
        initial_weights=params.initial_weights,
        size_spread=params.size_spread,
        device=device,
        threads=threads,
    )
    print(f"{output}: " + ", ".join(f"{name} {value}" for name, value in metrics.items()))


if __name__ == "__main__":
    stage_main(main)
