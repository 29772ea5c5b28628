"""Golden case `init_occ`: initial occupancy in published mode, weights by rule through the checkpoint reader."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from im2hands.hands.bone_frames import PALM_UNIT
from im2hands.hands.frames import PalmFrames, mirrored_wrist
from im2hands.hands.sides import SIDES, Side
from im2hands.networks.initial_occupancy import EncodedImages, InitialOccupancyNetwork
from im2hands.networks.published import initial_occupancy as published
from im2hands.networks.two_hands import CameraBatch, HandBatch, Hands
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder
from im2hands.parity.network_fields import (
    Backward,
    compare_image_features,
    compare_probe,
    compare_training,
    golden_image,
    gradients_of,
    jittered,
    through_a_file,
    without_dropout,
)
from im2hands.parity.weights_rule import rule_weights
from im2hands.training.losses import occupancy_loss

PRECISIONS = {"eval": torch.float32, "train": torch.float64}
"""Of the training case. Statistics of a batch of 2 amplify rounding: see the tolerances."""


def network_of(golden: Golden) -> InitialOccupancyNetwork:
    network = InitialOccupancyNetwork(depth_reference="published", penetration_frame="published")
    weights = rule_weights(published.LAYOUT.shapes, int(golden["seed_weights"]))
    network.load_state_dict(published.from_published(through_a_file({"model": weights})))
    return network.eval()


def hand_of(golden: Golden, side: Side, prefix: str = "") -> HandBatch:
    """A hand of the file. The file's wrists of left hands are mirrored; its bone matrices act on points / 0.4."""
    field = f"{prefix}{side.value}"
    wrist = mirrored_wrist(torch.from_numpy(golden[f"{field}_root_xyz"]), side)
    rotation = torch.from_numpy(golden[f"{field}_root_rot_mat"])[:, :3, :3]
    frames = golden[f"{field}_inputs"] @ np.diag([1 / PALM_UNIT] * 3 + [1])
    return HandBatch(
        side,
        PalmFrames(wrist, rotation, side),
        torch.from_numpy(frames).float(),
        torch.from_numpy(golden[f"{field}_bone_lengths"]),
        torch.from_numpy(golden[f"{field}_points"]),
    )


def hands_of(golden: Golden, prefix: str = "") -> Hands:
    return {side: hand_of(golden, side, prefix) for side in SIDES}


def camera_of(golden: Golden, prefix: str = "") -> CameraBatch:
    rotation, translation, intrinsics = (torch.from_numpy(golden[prefix + name]) for name in ("R", "T", "camera"))
    return CameraBatch(rotation, translation, intrinsics.float())


def training_batch(golden: Golden, precision: torch.dtype) -> tuple[Tensor, Hands, CameraBatch, dict[Side, Tensor]]:
    """Images, hands, camera and labels of the training case."""
    hands = {side: hand.to(precision) for side, hand in hands_of(golden, "train_").items()}
    labels = {side: torch.from_numpy(golden[f"train_{side.value}_occ"]).to(precision) for side in SIDES}
    images = golden_image(int(golden["train_seed_image"]), len(golden["train_R"]))
    return images.to(precision), hands, camera_of(golden, "train_").to(precision), labels


def run(golden: Golden, folder: GoldenFolder) -> Iterator[Comparison]:
    network = network_of(golden)
    yield from compare_forward(golden, network)
    yield from _training(golden, without_dropout(network))


@torch.no_grad()
def compare_forward(golden: Golden, network: InitialOccupancyNetwork) -> Iterator[Comparison]:
    """All numbers of the inference case."""
    features = network.image_encoder(golden_image(int(golden["seed_image"]), 1))
    yield from compare_image_features(golden, features, "forward")
    image = network.image_map(features)
    yield from compare_probe(golden, "img_feat", image, "forward")

    hands, camera, encoded = hands_of(golden), camera_of(golden), network.encode_map(image)
    for side, hand in hands.items():
        for name, tensor in _steps(network, image, encoded, hand, camera).items():
            yield _compare(golden, f"{side.value}_{name}", tensor)
        reverse = hand.with_points(hand.points.flip(1))
        turned = network.occupancy(encoded, reverse, camera).flip(1)
        yield _compare(golden, f"reversed_{side.value}_occupancy", turned)
    for side, occupancy in network.penetration(encoded, hands, camera).items():
        yield _compare(golden, f"pen_{side.value}_occupancy", occupancy)
        seen = network.seen_by(hands[side.other], camera)
        yield _compare(golden, f"pen_{side.value}_camera_points", seen)
    left = hands[Side.LEFT]
    nothing = network.occupancy(encoded, left.with_points(left.points[:, :0]), camera)
    yield golden.compare("empty_left_left_shape", np.array(nothing.shape))


def _steps(
    network: InitialOccupancyNetwork, image: Tensor, encoded: EncodedImages, hand: HandBatch, camera: CameraBatch
) -> dict[str, Tensor]:
    """What the network computes for a hand, by field name."""
    seen = network.seen_by(hand, camera)
    features = network.point_features(encoded, hand.side, seen)
    decoder = network.decoders[hand.side.value]
    return {
        "camera_points": seen,
        "point_feature": network.point_codes(seen, hand.side),
        "grid_feature": network.image_attention[hand.side.value].tokens(image),
        "image_feature": features,
        "bone_logits": decoder(hand.points, hand.bone_from_palm, hand.bone_lengths, features),
        "occupancy": network.occupancy(encoded, hand, camera),
    }


def _training(golden: Golden, network: InitialOccupancyNetwork) -> Iterator[Comparison]:
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    statistics: dict[str, np.ndarray] = {}
    for mode, precision in PRECISIONS.items():

        def training_pass(precision: torch.dtype, jitter: int | None, mode: str = mode) -> Backward:
            images, hands, camera, labels = training_batch(golden, precision)
            network.to(precision).load_state_dict(weights)
            network.train(mode == "train").zero_grad(set_to_none=True)
            with jittered(network, jitter):
                loss = occupancy_loss(network(images, hands, camera), labels)
                loss.backward()
            if mode == "train":
                norm = network.image_encoder.resnet.bn1
                statistics.setdefault("running_mean", norm.running_mean.numpy().copy())
                statistics.setdefault("running_var", norm.running_var.numpy().copy())
            return Backward.of({"loss": loss}, published.by_published_key(gradients_of(network)))

        yield from compare_training(golden, mode, training_pass, precision)
    for name, ours in statistics.items():
        yield golden.compare(f"train_bn1_{name}", ours, "forward", relative_to="largest")


def _compare(golden: Golden, field: str, tensor: Tensor) -> Comparison:
    return golden.compare(field, tensor.numpy(), "forward", relative_to="largest")


CASE = Case("init_occ", frozenset({"right_point_feature", "empty_left_left_shape"}), run)
