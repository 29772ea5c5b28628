"""Golden files of any other weights: files that the plain forms make with another seed pass as the given ones do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from im2hands.cli import app
from im2hands.hands.joints import JointOrder, reorder
from im2hands.parity.case import Comparison, Golden, GoldenFolder
from im2hands.parity.cases import halo_decoder, init_occ, intaghand_network, kpts_ref, ref_occ
from im2hands.parity.network_fields import compare_gradients, golden_image, training_prefix, without_dropout
from im2hands.parity.registry import all_cases
from im2hands.parity.runner import run_parity
from im2hands.parity.weights_rule import rule_weights
from im2hands.training.losses import occupancy_loss
from im2hands.training.refined_losses import PENETRATION_WEIGHT, penetration
from tests.naive.bone_decoders import naive_bone_logits
from tests.naive.initial_occupancy import naive_occupancy, naive_penetration
from tests.naive.intaghand import naive_decode
from tests.naive.keypoint_refinement import naive_refinement
from tests.naive.refined_occupancy import naive_refined

FOLDER = GoldenFolder(Path(__file__).parents[1] / "golden", all_cases())
SIDES = init_occ.SIDES
SEED = 20231


class Recorder(Golden):
    """A golden file in the making: whatever is compared with it becomes its number, in the type that the field has."""

    def compare(self, name: str, ours: Any, tolerance: str | None = None, where: Any = ..., **_: Any) -> Comparison:
        numbers = np.array(self[name])
        numbers[where] = ours
        self._fields[name] = numbers
        return Comparison(name, 0.0, 0.0)

    def replace(self, **fields: np.ndarray) -> None:
        assert self._fields.keys() >= fields.keys()
        self._fields.update(fields)

    def write(self, path: Path) -> None:
        np.savez(path, **self._fields)


def record_halo_decoder(file: Recorder) -> None:
    file.replace(halo_seed=np.array(SEED), im2hands_seed=np.array(SEED + 1))
    for tag in ("halo", "im2hands"):
        logits = naive_bone_logits(halo_decoder.decoders_of(file, tag), *halo_decoder.hand_inputs(file, tag))
        file.compare(f"{tag}_bone_logits", logits.numpy())
        file.compare(f"{tag}_occupancy", torch.sigmoid(logits).amax(-1).numpy())


def record_training(file: Recorder, mode: str, losses: dict[str, Tensor], published: Any, network: nn.Module) -> None:
    for name, value in losses.items():
        file.compare(f"{training_prefix(mode)}{name}", value.item())
    losses["loss"].backward()
    gradients = published.by_published_key({name: weight.grad for name, weight in network.named_parameters()})
    list(compare_gradients(file, mode, gradients))


def record_init_occ(file: Recorder) -> None:
    """The training numbers in float32, as in given files."""
    file.replace(seed_weights=np.array(SEED))
    list(init_occ.CASE.run(file, FOLDER))
    network = without_dropout(init_occ.network_of(file))
    hands, camera = init_occ.hands_of(file), init_occ.camera_of(file)
    with torch.no_grad():
        image = network.image_map(network.image_encoder(golden_image(int(file["seed_image"]), 1)))
        for side, hand in hands.items():
            file.compare(f"{side.value}_occupancy", naive_occupancy(network, image, hand, camera).numpy())
            turned = naive_occupancy(network, image, hand.with_points(hand.points.flip(1)), camera).flip(1)
            file.compare(f"reversed_{side.value}_occupancy", turned.numpy())
        for side, values in naive_penetration(network, image, hands, camera).items():
            file.compare(f"pen_{side.value}_occupancy", values.numpy())
    images, hands, camera, labels = init_occ.training_batch(file, torch.float32)
    for mode in ("eval", "train"):
        network.train(mode == "train").zero_grad(set_to_none=True)
        image = network.image_map(network.image_encoder(images))
        values = {side: naive_occupancy(network, image, hand, camera) for side, hand in hands.items()}
        record_training(file, mode, {"loss": occupancy_loss(values, labels)}, init_occ.published, network)


def record_ref_occ(file: Recorder) -> None:
    """With overrides of its own, which bring the logits near 0 as those of given files do."""
    file.replace(seed_weights=np.array(SEED))
    last = "trans_dec.fc_out.weight"
    rule = rule_weights({last: ref_occ.published.LAYOUT.shapes[last]}, SEED)
    file.replace(**{f"override_{last}": 0.025 * rule[last].numpy()})
    list(ref_occ.CASE.run(file, FOLDER))
    network, hands, camera = ref_occ.network_of(file), init_occ.hands_of(file), init_occ.camera_of(file)
    with torch.no_grad():
        images = golden_image(int(file["seed_image"]), 1)
        own, others = naive_refined(network, images, ref_occ.anchors_of(file, hands), hands, camera, penetration=True)
    for side in SIDES:
        file.compare(f"{side.value}_occupancy", own[side].numpy())
        file.compare(f"pen_{side.value}_occupancy", others[side].numpy())
    images, hands, camera, labels = init_occ.training_batch(file, torch.float32)
    anchors = ref_occ.anchors_of(file, hands, "train_")
    for mode in ("eval", "train"):
        without_dropout(ref_occ.load_weights(network, file, overrides=mode == "eval")).train(mode == "train")
        network.zero_grad(set_to_none=True)
        own, others = naive_refined(network, images, anchors, hands, camera, penetration=True)
        of_labels, of_penetration = occupancy_loss(own, labels), penetration(own, others, "published")
        total = of_labels + PENETRATION_WEIGHT * of_penetration
        losses = {"loss": total, "occ_loss": of_labels, "pen_loss": of_penetration}
        record_training(file, mode, losses, ref_occ.published, network)


def record_kpts_ref(file: Recorder) -> None:
    file.replace(seed_weights=np.array(SEED))
    list(kpts_ref.CASE.run(file, FOLDER))
    network = kpts_ref.network_of(file)
    with torch.no_grad():
        image = network.image_map(golden_image(int(file["seed_image"]), 1))
        refined = naive_refinement(network, image, kpts_ref.keypoints_of(file, "pred"))
    for side, joints in zip(SIDES, refined, strict=True):
        file.compare(f"{side.value}_out", reorder(joints, JointOrder.STANDARD, JointOrder.MANO).numpy())


def record_intaghand_network(file: Recorder) -> None:
    file.replace(seed=np.array(SEED))
    list(intaghand_network.CASE.run(file, FOLDER))
    network = intaghand_network.network_of(file, intaghand_network.graphs_of(FOLDER))
    with torch.no_grad():
        found = naive_decode(network, network.image_encoder(intaghand_network.image_of(file)))
    for side in SIDES:
        name = side.value
        file.compare(f"{name}_coarse3d", found[f"{name}_coarse"].numpy())
        file.compare(f"{name}_verts3d_every7", found[f"{name}_vertices"][:, ::7].numpy())
        file.compare(f"{name}_verts2d_every7", found[f"{name}_vertices_2d"][:, ::7].numpy())


@pytest.mark.parametrize(
    ("case", "record", "field"),
    [
        ("halo_decoder", record_halo_decoder, "halo_occupancy"),
        pytest.param("init_occ", record_init_occ, "left_occupancy", marks=pytest.mark.slow),
        pytest.param("kpts_ref", record_kpts_ref, "right_out", marks=pytest.mark.slow),
        pytest.param("intaghand_network", record_intaghand_network, "left_coarse3d", marks=pytest.mark.slow),
        pytest.param("ref_occ", record_ref_occ, "right_logit", marks=pytest.mark.slow),
    ],
)
def test_a_file_of_another_seed_passes(case, record, field, tmp_path):
    """Under another name, through the command; its numbers really are others than the given file's."""
    (given,) = FOLDER.files_of(case)
    file = Recorder(given, case)
    record(file)
    file.write(tmp_path / "other seed.npz")
    if case == "intaghand_network":  # its graphs and losses need the stand-in hands
        (hands,) = FOLDER.files_of("mano_forward")
        (tmp_path / hands.name).symlink_to(hands)
    assert not np.allclose(file[field], Golden(given)[field], rtol=0.01)
    result = CliRunner().invoke(app, ["parity", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert f"{case} (other seed.npz): pass" in result.output


def test_numbers_of_another_seed_than_the_file_says_fail(tmp_path):
    (given,) = FOLDER.files_of("halo_decoder")
    file = Recorder(given, "halo_decoder")
    file.replace(halo_seed=np.array(SEED))
    file.write(tmp_path / "wrong seed.npz")
    (outcome,) = run_parity(tmp_path).outcomes
    failed = {comparison.field for comparison in outcome.comparisons if not comparison.passed}
    assert failed == {"halo_bone_logits", "halo_occupancy"}
