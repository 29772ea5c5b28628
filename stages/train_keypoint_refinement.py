"""Stage `train_keypoint_refinement`: train the network that refines keypoints; goes on where a killed run stopped."""

from im2hands.config.choices import Behaviour
from im2hands.config.training import KeypointRefinementTraining
from im2hands.io.stage import stage_main
from im2hands.training.gpu import claim_device
from im2hands.training.keypoint_refinement import train_keypoint_refinement
from im2hands.training.loop import LoopSettings


def main(
    train_frames: str,
    val_frames: str,
    train_hands: str,
    val_hands: str,
    train_images: str,
    val_images: str,
    train_predictions: str,
    val_predictions: str,
    intaghand: str,
    checkpoints: str,
    output: str,
    seed: int,
    joint_regressors: Behaviour,
    params: KeypointRefinementTraining,
    gpus: int = 0,
    threads: int = 1,
    logs: str = "logs/training/keypoint_refinement",
) -> None:
    device = claim_device(gpus)
    metrics = train_keypoint_refinement(
        train_frames=train_frames,
        val_frames=val_frames,
        train_hands=train_hands,
        val_hands=val_hands,
        train_images=train_images,
        val_images=val_images,
        train_predictions=train_predictions,
        val_predictions=val_predictions,
        intaghand=intaghand,
        output=output,
        checkpoint_folder=checkpoints,
        logs=logs,
        settings=LoopSettings(
            steps=params.steps,
            validate_every=params.validate_every,
            learning_rate=params.lr,
            schedule=params.schedule,
            gradient_clip=params.gradient_clip,
            weight_average=params.weight_average,
            precision=params.precision,
            workers=min(4, threads // 2) if device.type == "cuda" else 0,
            seed=seed,
        ),
        batch_frames=params.batch_frames,
        validation_frames=params.validation_frames,
        joint_regressors=joint_regressors,
        image_encoder=params.image_encoder,
        initial_weights=params.initial_weights,
        token_widths=params.token_widths,
        image_channels=params.image_channels,
        predicted_share=params.predicted_share,
        noise_mm=params.noise_mm,
        augmentation=params.augmentation,
        device=device,
        threads=threads,
    )
    print(f"{output}: " + ", ".join(f"{name} {value}" for name, value in metrics.items()))


if __name__ == "__main__":
    stage_main(main)
