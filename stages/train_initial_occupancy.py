"""Stage `train_initial_occupancy`: occupancy from keypoints and the image; goes on where a killed run stopped."""

from im2hands.config.choices import Behaviour
from im2hands.config.training import InitialOccupancyTraining
from im2hands.io.stage import stage_main
from im2hands.training.gpu import claim_device
from im2hands.training.initial_occupancy import train_initial_occupancy
from im2hands.training.loop import LoopSettings


def main(
    train_frames: str,
    val_frames: str,
    train_hands: str,
    val_hands: str,
    train_images: str,
    val_images: str,
    train_queries: str,
    val_queries: str,
    halo: str,
    intaghand: str,
    checkpoints: str,
    output: str,
    seed: int,
    depth_reference: Behaviour,
    penetration_frame: Behaviour,
    params: InitialOccupancyTraining,
    gpus: int = 0,
    threads: int = 1,
    logs: str = "logs/training/initial_occupancy",
) -> None:
    device = claim_device(gpus)
    metrics = train_initial_occupancy(
        train_frames=train_frames,
        val_frames=val_frames,
        train_hands=train_hands,
        val_hands=val_hands,
        train_images=train_images,
        val_images=val_images,
        train_queries=train_queries,
        val_queries=val_queries,
        halo=halo,
        intaghand=intaghand,
        output=output,
        checkpoint_folder=checkpoints,
        logs=logs,
        settings=LoopSettings.of(params, seed, device, threads),
        batch_frames=params.batch_frames,
        points_per_hand=params.points_per_hand,
        uniform_share=params.uniform_share,
        validation_frames=params.validation_frames,
        validation_points=params.validation_points,
        depth_reference=depth_reference,
        penetration_frame=penetration_frame,
        image_encoder=params.image_encoder,
        image_attention=params.image_attention,
        augmentation=params.augmentation,
        device=device,
        threads=threads,
    )
    print(f"{output}: " + ", ".join(f"{name} {value}" for name, value in metrics.items()))


if __name__ == "__main__":
    stage_main(main)
