"""Stage `train_intaghand`: train IntagHand, both hands' meshes from a photograph; goes on where a killed run stopped."""

from im2hands.config.choices import Behaviour
from im2hands.config.training import IntagHandTraining
from im2hands.datasets.two_hand_item import AugmentationRanges
from im2hands.io.stage import stage_main
from im2hands.training.gpu import claim_device
from im2hands.training.intaghand import train_intaghand
from im2hands.training.loop import LoopSettings


def main(
    train_frames: str,
    val_frames: str,
    train_hands: str,
    val_hands: str,
    train_images: str,
    val_images: str,
    hand_model: str,
    checkpoints: str,
    output: str,
    seed: int,
    heat_maps: Behaviour,
    params: IntagHandTraining,
    gpus: int = 0,
    threads: int = 1,
    logs: str = "logs/training/intaghand",
) -> None:
    device = claim_device(gpus)
    metrics = train_intaghand(
        train_frames=train_frames,
        val_frames=val_frames,
        train_hands=train_hands,
        val_hands=val_hands,
        train_images=train_images,
        val_images=val_images,
        hand_model=hand_model,
        output=output,
        checkpoint_folder=checkpoints,
        logs=logs,
        settings=LoopSettings.of(params, seed, device, threads),
        batch_frames=params.batch_frames,
        validation_frames=params.validation_frames,
        encoder=params.encoder,
        widths=params.widths,
        edge_loss_from=params.edge_loss_from,
        augmentation=AugmentationRanges(angle=params.largest_turn) if params.augmentation else None,
        heat_maps=heat_maps,
        start_components=params.start_components,
        dropout=params.dropout,
        decoder_from=params.decoder_from,
        loss_weights=params.loss_weights.model_dump(),
        device=device,
        threads=threads,
    )
    print(f"{output}: " + ", ".join(f"{name} {value}" for name, value in metrics.items()))


if __name__ == "__main__":
    stage_main(main)
