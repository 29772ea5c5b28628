"""Golden-like files of the full-size networks: weights and images of any seed, numbers of the plain forms in float32.

What the plain forms do not give (the image encoder's maps, for one) is our own number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.sides import SIDES
from im2hands.parity.cases import init_occ, intaghand_network, kpts_ref, ref_occ
from im2hands.parity.network_fields import Backward, golden_image, gradients_of, training_prefix, without_dropout
from im2hands.parity.weights_rule import rule_weights
from im2hands.training.keypoint_losses import refinement_loss, refinement_scores
from im2hands.training.losses import occupancy_loss
from im2hands.training.refined_losses import PENETRATION_WEIGHT, penetration
from tests.naive.initial_occupancy import naive_occupancy, naive_penetration
from tests.naive.intaghand import naive_decode
from tests.naive.keypoint_refinement import naive_refinement
from tests.naive.published_bones import naive_published_hand
from tests.naive.refined_occupancy import naive_refined
from tests.parity.fresh_files import FOLDER, NAMES, Recorder
from tests.parity.fresh_hands import fresh_camera, fresh_pair

BATCHES = (("", 1), ("train_", 2))


def fill_training(file: Recorder, mode: str, losses: dict[str, Tensor], published: Any, network: nn.Module) -> None:
    """All numbers of a training pass."""
    prefix = training_prefix(mode)
    losses["loss"].backward()
    ours = gradients_of(network)
    if published is kpts_ref.published:
        names = {key: published.our_name(key) for key in published.LAYOUT.shapes}
        by_key = {key: ours[name] for key, name in names.items() if name in ours}
    else:
        by_key = published.by_published_key(ours)
    found = Backward.of(losses, by_key)
    file.replace({f"{prefix}{name}": value for name, value in found.losses.items()})
    file.replace({f"{prefix}grad_norm": [found.norms[str(key)] for key in file[f"{prefix}grad_name"]]})
    file.replace({f"{prefix}module_grad_norm": [found.modules[str(key)] for key in file[f"{prefix}module_name"]]})


def fill_seeds(file: Recorder, rng: np.random.Generator) -> None:
    seeds = rng.integers(1, 2**31, 3)
    file.replace(dict(zip(("seed_weights", "seed_image", "train_seed_image"), seeds, strict=True)))


def fill_pairs(file: Recorder, rng: np.random.Generator) -> dict[str, list[dict[str, np.ndarray]]]:
    """Cameras and wrists of fresh hands; the pairs by prefix."""
    pairs = {prefix: [fresh_pair(rng) for _ in range(count)] for prefix, count in BATCHES}
    for prefix, batch in pairs.items():
        cameras = [fresh_camera(rng, pair) for pair in batch]
        file.replace(
            {f"{prefix}{field}": [c[key] for c in cameras] for field, key in (("R", "R"), ("T", "t"), ("camera", "K"))}
        )
        for name in NAMES:
            mirrored = np.array([-1, 1, 1]) if name == "left" else 1
            file.replace({f"{prefix}{name}_root_xyz": [pair[name][0] * mirrored for pair in batch]})
    return pairs


def fill_init_occ(file: Recorder, rng: np.random.Generator) -> None:
    fill_seeds(file, rng)
    for prefix, batch in fill_pairs(file, rng).items():
        for name in NAMES:
            hands = [naive_published_hand(pair[name], name == "left") for pair in batch]
            fields = ("inputs", "bone_lengths", "root_rot_mat")
            file.replace({f"{prefix}{name}_{field}": [hand[field] for hand in hands] for field in fields})
            file.replace({f"{prefix}{name}_points": rng.uniform(-0.5, 0.5, file[f"{prefix}{name}_points"].shape)})
    network = without_dropout(init_occ.network_of(file))
    list(init_occ.compare_forward(file, network))
    hands, camera = init_occ.hands_of(file), init_occ.camera_of(file)
    with torch.no_grad():
        image = network.image_map(network.image_encoder(golden_image(int(file["seed_image"]), 1)))
        for side, hand in hands.items():
            turned = naive_occupancy(network, image, hand.with_points(hand.points.flip(1)), camera).flip(1)
            occupancy = naive_occupancy(network, image, hand, camera)
            file.replace({f"{side.value}_occupancy": occupancy, f"reversed_{side.value}_occupancy": turned})
        for side, values in naive_penetration(network, image, hands, camera).items():
            file.replace({f"pen_{side.value}_occupancy": values})
    images, hands, camera, labels = init_occ.training_batch(file, torch.float32)
    for mode in ("eval", "train"):
        network.train(mode == "train").zero_grad(set_to_none=True)
        image = network.image_map(network.image_encoder(images))
        values = {side: naive_occupancy(network, image, hand, camera) for side, hand in hands.items()}
        fill_training(file, mode, {"loss": occupancy_loss(values, labels)}, init_occ.published, network)
    statistics = network.image_encoder.resnet.bn1
    file.replace({f"train_bn1_{name}": getattr(statistics, name) for name in ("running_mean", "running_var")})


def fill_ref_occ(file: Recorder, rng: np.random.Generator) -> None:
    """Of the given anchors and queries, whose neighbours no rounding exchanges; with overrides that bring the logits near 0."""
    fill_seeds(file, rng)
    last = "trans_dec.fc_out.weight"
    rule = rule_weights({last: ref_occ.published.LAYOUT.shapes[last]}, int(file["seed_weights"]))
    file.replace({f"override_{last}": 0.025 * rule[last]})
    network = ref_occ.network_of(file)
    list(ref_occ.compare_forward(file, network))
    hands, camera = init_occ.hands_of(file), init_occ.camera_of(file)
    with torch.no_grad():
        images = golden_image(int(file["seed_image"]), 1)
        own, others = naive_refined(network, images, ref_occ.anchors_of(file, hands), hands, camera, penetration=True)
    for side in SIDES:
        file.replace({f"{side.value}_occupancy": own[side], f"pen_{side.value}_occupancy": others[side]})
    images, hands, camera, labels = init_occ.training_batch(file, torch.float32)
    anchors = ref_occ.anchors_of(file, hands, "train_")
    for mode in ("eval", "train"):
        without_dropout(ref_occ.load_weights(network, file, overrides=mode == "eval")).train(mode == "train")
        network.zero_grad(set_to_none=True)
        own, others = naive_refined(network, images, anchors, hands, camera, penetration=True)
        losses = {"occ_loss": occupancy_loss(own, labels), "pen_loss": penetration(own, others, "published")}
        losses["loss"] = losses["occ_loss"] + PENETRATION_WEIGHT * losses["pen_loss"]
        fill_training(file, mode, losses, ref_occ.published, network)


def fill_kpts_ref(file: Recorder, rng: np.random.Generator) -> None:
    fill_seeds(file, rng)
    for prefix, batch in fill_pairs(file, rng).items():
        for name in NAMES:
            joints = np.stack([naive_published_hand(pair[name], name == "left")["joints_halo"] for pair in batch])
            noisy = joints + 0.005 * rng.standard_normal(joints.shape)
            file.replace({f"{prefix}{name}_joints_gt": joints, f"{prefix}{name}_joints_pred": noisy - noisy[:, :1]})
    network = without_dropout(kpts_ref.network_of(file))
    list(kpts_ref.compare_forward(file, network))
    with torch.no_grad():
        image = network.image_map(golden_image(int(file["seed_image"]), 1))
        refined = naive_refinement(network, image, kpts_ref.keypoints_of(file, "pred"))
    for side, joints in zip(SIDES, refined, strict=True):
        file.replace({f"{side.value}_out": reorder(joints, JointOrder.STANDARD, JointOrder.MANO)})
    images = golden_image(int(file["train_seed_image"]), 2)
    given, true = kpts_ref.keypoints_of(file, "pred", "train_"), kpts_ref.keypoints_of(file, "gt", "train_")
    for mode in ("eval", "train"):
        network.train(mode == "train").zero_grad(set_to_none=True)
        refined = type(given)(*naive_refinement(network, network.image_map(images), given), given.origin)
        if mode == "eval":
            scores = refinement_scores(refined, given, true)
            file.replace({f"eval_{name}": values.mean().item() for name, values in scores.items()})
        fill_training(file, mode, {"loss": refinement_loss(refined, true)}, kpts_ref.published, network)


def fill_intaghand_network(file: Recorder, rng: np.random.Generator) -> None:
    file.replace({"seed": rng.integers(1, 2**31)})
    list(intaghand_network.CASE.run(file, FOLDER))
    network = intaghand_network.network_of(file, intaghand_network.graphs_of(FOLDER))
    with torch.no_grad():
        found = naive_decode(network, network.image_encoder(intaghand_network.image_of(file)))
    for name in NAMES:
        file.replace({f"{name}_coarse3d": found[f"{name}_coarse"], f"{name}_coarse2d": found[f"{name}_coarse_2d"]})
        file.replace({f"{name}_verts3d_every7": found[f"{name}_vertices"][:, ::7]})
        file.replace({f"{name}_verts2d_every7": found[f"{name}_vertices_2d"][:, ::7]})


NETWORKS = {
    "init_occ": fill_init_occ,
    "kpts_ref": fill_kpts_ref,
    "intaghand_network": fill_intaghand_network,
    "ref_occ": fill_ref_occ,
}
