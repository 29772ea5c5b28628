"""Stage `train_refined_occupancy`: occupancy of both hands that see each other; goes on where a killed run stopped."""

from im2hands.config.choices import Behaviour
from im2hands.config.training import RefinedOccupancyTraining
from im2hands.io.stage import stage_main
from im2hands.training.gpu import claim_device
from im2hands.training.loop import LoopSettings
from im2hands.training.refined_occupancy import train_refined_occupancy


def main(
    train_frames: str,
    val_frames: str,
    train_hands: str,
    val_hands: str,
    train_images: str,
    val_images: str,
    train_queries: str,
    val_queries: str,
    train_anchors: str,
    val_anchors: str,
    initial: str,
    checkpoints: str,
    output: str,
    seed: int,
    depth_reference: Behaviour,
    penetration_frame: Behaviour,
    penetration_context: Behaviour,
    penetration_reduction: Behaviour,
    fps_dead_ball: Behaviour,
    feature_lookup: Behaviour,
    params: RefinedOccupancyTraining,
    gpus: int = 0,
    threads: int = 1,
    logs: str = "logs/training/refined_occupancy",
) -> None:
    device = claim_device(gpus)
    metrics = train_refined_occupancy(
        train_frames=train_frames,
        val_frames=val_frames,
        train_hands=train_hands,
        val_hands=val_hands,
        train_images=train_images,
        val_images=val_images,
        train_queries=train_queries,
        val_queries=val_queries,
        train_anchors=train_anchors,
        val_anchors=val_anchors,
        initial=initial,
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
        penetration_context=penetration_context,
        penetration_reduction=penetration_reduction,
        fps_dead_ball=fps_dead_ball,
        feature_lookup=feature_lookup,
        image_encoder=params.image_encoder,
        initial_weights=params.initial_weights,
        anchor_widths=params.anchor_widths,
        anchor_blocks=params.anchor_blocks,
        query_width=params.query_width,
        context=params.context,
        shared_statistics=params.shared_statistics,
        weight_decay=params.weight_decay,
        penetration_weight=params.penetration_weight,
        augmentation=params.augmentation,
        device=device,
        threads=threads,
    )
    print(f"{output}: " + ", ".join(f"{name} {value}" for name, value in metrics.items()))


if __name__ == "__main__":
    stage_main(main)
