"""Golden case `init_occ`: initial occupancy in published mode, weights by rule through the checkpoint reader."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from im2hands.hands.bone_frames import PALM_UNIT
from im2hands.hands.frames import PalmFrames, mirrored_wrist
from im2hands.hands.sides import Side
from im2hands.networks.initial_occupancy import EncodedImages, InitialOccupancyNetwork
from im2hands.networks.published import initial_occupancy as published
from im2hands.networks.published.reader import read_published
from im2hands.networks.two_hands import CameraBatch, HandBatch, Hands
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder
from im2hands.parity.network_fields import (
    compare_gradients,
    compare_image_features,
    compare_probe,
    golden_image,
    without_dropout,
)
from im2hands.parity.weights_rule import rule_weights
from im2hands.training.losses import occupancy_loss

SIDES = (Side.LEFT, Side.RIGHT)


def published_weights(golden: Golden) -> dict[str, Tensor]:
    """The case's published state dict, written to a file and read back."""
    weights = rule_weights(published.LAYOUT.shapes, int(golden["seed_weights"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "init_occ.pt"
        torch.save({"model": weights}, path)
        return read_published(path).weights


def network_of(golden: Golden) -> InitialOccupancyNetwork:
    network = InitialOccupancyNetwork(depth_reference="published", penetration_frame="published")
    network.load_state_dict(published.from_published(published_weights(golden)))
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


def run(golden: Golden, folder: GoldenFolder) -> Iterator[Comparison]:
    network = network_of(golden)
    yield from _forward(golden, network)
    yield from _training(golden, without_dropout(network))


@torch.no_grad()
def _forward(golden: Golden, network: InitialOccupancyNetwork) -> Iterator[Comparison]:
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
    hands, camera = hands_of(golden, "train_"), camera_of(golden, "train_")
    labels = {side: torch.from_numpy(golden[f"train_{side.value}_occ"]) for side in SIDES}
    images = golden_image(int(golden["train_seed_image"]), len(golden["train_R"]))
    for mode in ("eval", "train"):
        prefix = "train_eval_mode_" if mode == "eval" else "train_"
        network.train(mode == "train").zero_grad(set_to_none=True)
        loss = occupancy_loss(network(images, hands, camera), labels)
        loss.backward()
        yield golden.compare(f"{prefix}loss", loss.item(), f"{mode} loss", relative_to="each")
        gradients = published.by_published_key({name: weight.grad for name, weight in network.named_parameters()})
        yield from compare_gradients(golden, prefix, gradients, f"{mode} encoder", f"{mode} others")
    statistics = network.image_encoder.resnet.bn1
    for name in ("running_mean", "running_var"):
        ours = getattr(statistics, name).numpy()
        yield golden.compare(f"train_bn1_{name}", ours, "forward", relative_to="largest")


def _compare(golden: Golden, field: str, tensor: Tensor) -> Comparison:
    return golden.compare(field, tensor.numpy(), "forward", relative_to="largest")


CASE = Case("init_occ", frozenset({"right_point_feature", "empty_left_left_shape"}), run)
