"""Keypoint refinement against its plain form and the reference's numbers, its options, its training and its files."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from im2hands.hands.frames import RefinementKeypoints
from im2hands.hands.joints import JOINT_NAMES, JointOrder, reorder
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import CheckpointError
from im2hands.networks.keypoint_refinement import KeypointRefinementNetwork, joint_graph, load_keypoint_refinement
from im2hands.networks.published import keypoint_refinement as published
from im2hands.networks.published.importing import export_weights
from im2hands.parity.case import Golden
from im2hands.parity.cases.kpts_ref import CASE, compare_refinement, keypoints_of, network_of, of_side, wrist_of
from im2hands.parity.network_fields import golden_image
from im2hands.training.keypoint_losses import refinement_loss, refinement_scores
from tests.naive.keypoint_refinement import naive_refinement
from tests.networks.comparing import assert_same, full_float32, values_and_gradients
from tests.reference import FOLDER
from tests.training.untrained import write_network

TOLERANCES = [(torch.float32, 2e-5), (torch.float64, 1e-11)]


def small_network(dtype: torch.dtype = torch.float32, **options) -> KeypointRefinementNetwork:
    torch.manual_seed(0)
    network = KeypointRefinementNetwork("resnet18", token_widths=(12, 22), image_channels=6, **options)
    return network.to(dtype)


def random_case(batch: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, RefinementKeypoints]:
    """An image map and keypoints (mm), as if measured: double precision."""
    generator = torch.Generator().manual_seed(batch)
    image = torch.randn(batch, 6, 64, 64, generator=generator, dtype=torch.float64).to(dtype)
    left, right = 0.1 * torch.randn(2, batch, 21, 3, generator=generator, dtype=torch.float64)
    return image, RefinementKeypoints.of(left, right)


@pytest.fixture(scope="module")
def golden() -> Golden:
    return FOLDER.find(CASE.name)


@pytest.fixture(scope="module")
def golden_run(golden):
    """The full-size network with the case's weights, its image map and its keypoints."""
    network = network_of(golden)
    with torch.no_grad():
        image = network.image_map(golden_image(int(golden["seed_image"]), 1))
    return network, image, keypoints_of(golden, "pred")


def deviation_from_golden(golden: Golden, left: Tensor, right: Tensor) -> float:
    """Largest deviation of refined joints, as a fraction of the largest value."""
    worst = 0.0
    for side, ours in ((Side.LEFT, left), (Side.RIGHT, right)):
        expected = golden[f"{side.value}_out"]
        ours = reorder(ours, JointOrder.STANDARD, JointOrder.MANO).detach().numpy()
        worst = max(worst, float(np.abs(ours - expected).max() / np.abs(expected).max()))
    return worst


def fast(network: KeypointRefinementNetwork, image: Tensor, keypoints: RefinementKeypoints) -> tuple[Tensor, Tensor]:
    refined = network.refine(image, keypoints)
    return refined.left, refined.right


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("joint_regressors", ["published", "consistent"])
@pytest.mark.parametrize("batch", [1, 3])
def test_network_equals_naive(dtype, tolerance, joint_regressors, batch):
    """Sharing the image's tokens between joints changes the cost, not values or gradients."""
    network = small_network(dtype, joint_regressors=joint_regressors).eval()
    image, keypoints = random_case(batch, dtype)
    ours, naive = (
        values_and_gradients(
            lambda image, form=form: torch.cat(form(network, image, keypoints), dim=1), (image,), network.parameters()
        )
        for form in (fast, naive_refinement)
    )
    assert_same(ours, naive, tolerance)


def test_naive_form_gives_the_reference_numbers(golden, golden_run):
    with torch.no_grad():
        assert deviation_from_golden(golden, *naive_refinement(*golden_run)) < 1e-5


@pytest.mark.parametrize("mistake", ["symmetric graph", "norm eps", "standard order of codes", "own heads"])
def test_a_wrong_detail_is_noticed(golden, golden_run, mistake):
    """Each changed alone, a number of the reference is missed by more than its tolerance."""
    network = copy.deepcopy(golden_run[0])
    for module in network.modules():
        if mistake == "norm eps" and isinstance(module, nn.LayerNorm):
            module.eps = 1e-5
        if mistake == "symmetric graph" and hasattr(module, "graph") and isinstance(module.graph, Tensor):
            module.graph.copy_(module.graph + module.graph.T)
    if mistake == "standard order of codes":
        for codes in network.identities.values():
            codes.weight.data = reorder(codes.weight.data, JointOrder.STANDARD, JointOrder.MANO)
    if mistake == "own heads":
        network.joint_regressors = "consistent"
    assert all(comparison.passed for comparison in compare_refinement(golden, *golden_run))
    assert not all(comparison.passed for comparison in compare_refinement(golden, network, *golden_run[1:]))


def test_parents_receive_from_children():
    graph = joint_graph()
    received = {JOINT_NAMES[i]: [JOINT_NAMES[j] for j in graph[i].nonzero()[:, 0]] for i in range(21)}
    assert received["wrist"] == ["thumb1", "index1", "middle1", "ring1", "little1"]
    assert received["ring2"] == ["ring3"]
    assert received["little4"] == []
    assert graph.sum() == 20


def test_published_regressors_use_the_left_head_for_both_hands():
    network = small_network(joint_regressors="published").eval()
    image, keypoints = random_case(2)
    left, right = fast(network, image, keypoints)
    (left.sum() + right.sum()).backward()
    assert all(parameter.grad is None for parameter in network.heads["right"].parameters())
    with torch.no_grad():
        network.heads["right"][3].bias += 1
        torch.testing.assert_close(fast(network, image, keypoints)[1], right, rtol=0, atol=0)
        network.heads["left"][3].bias += 1
        torch.testing.assert_close(fast(network, image, keypoints)[1], right + 1)


def test_consistent_regressors_are_one_per_side():
    network = small_network().eval()
    image, keypoints = random_case(2)
    before = fast(network, image, keypoints)
    with torch.no_grad():
        network.heads["right"][3].bias += 1
        after = fast(network, image, keypoints)
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
    torch.testing.assert_close(after[1], before[1] + 1)
    with pytest.raises(ValueError, match="published or consistent, not 'both'"):
        small_network(joint_regressors="both")


def test_hands_meet_only_in_the_image():
    """Moving the right hand does not change the refined left one."""
    network = small_network().eval()
    image, keypoints = random_case(2)
    moved = RefinementKeypoints(keypoints.left, keypoints.right + 5, keypoints.origin)
    before, after = fast(network, image, keypoints), fast(network, image, moved)
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
    assert not torch.allclose(after[1], before[1])


def test_whole_network_from_the_photograph():
    """Image to joints in one call; the origin stays, so that `in_camera` gives metres."""
    network = small_network().eval()
    _, keypoints = random_case(2)
    with torch.no_grad():
        refined = network(torch.randn(2, 3, 256, 256), keypoints)
    assert refined.left.shape == refined.right.shape == (2, 21, 3)
    assert refined.origin is keypoints.origin
    left, _ = refined.in_camera()
    torch.testing.assert_close(left, refined.left.double() / 1000 + keypoints.origin)


def test_dropout_acts_in_training_only():
    network, (image, keypoints) = small_network(dropout=0.3), random_case(1)
    with torch.no_grad():
        assert not torch.equal(fast(network, image, keypoints)[0], fast(network, image, keypoints)[0])
        network.eval()
        assert torch.equal(fast(network, image, keypoints)[0], fast(network, image, keypoints)[0])
    rates = {module.p for module in KeypointRefinementNetwork("resnet18").modules() if isinstance(module, nn.Dropout)}
    assert rates == {0.01}


@pytest.mark.parametrize("joint_regressors", ["published", "consistent"])
def test_identity_start_changes_nothing_and_can_learn(joint_regressors):
    """Bit for bit the given keypoints, in training mode too; every weight that is 0 at first has a gradient."""
    network = small_network(joint_regressors=joint_regressors, dropout=0.0)
    network.start_as_identity()
    image, keypoints = random_case(3)
    refined = network.refine(image, keypoints)
    assert torch.equal(refined.left, keypoints.left.float())
    assert torch.equal(refined.right, keypoints.right.float())
    ((refined.left - 3).square().mean() + (refined.right + 3).square().mean()).backward()
    used = Side.LEFT if joint_regressors == "published" else Side.RIGHT
    start = [network.heads[used.value][-1], network.layers[1].image_attention["right"].attention.output]
    assert all(layer.weight.grad.abs().max() > 0 and layer.bias.grad.abs().max() > 0 for layer in start)


def test_identity_start_learns_at_once():
    """Twenty steps towards joints that are half as far from the middle base."""
    network = small_network(dropout=0.0)
    network.start_as_identity()
    image, given = random_case(4)
    true = RefinementKeypoints(given.left / 2, given.right / 2, given.origin)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = refinement_loss(network.refine(image, given), true)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# ---- training


def test_loss_ignores_where_a_hand_stands():
    _, true = random_case(3)
    predicted = RefinementKeypoints(true.left + 4, true.right - 7, true.origin)
    assert refinement_loss(predicted, true).item() < 1e-18
    assert refinement_scores(predicted, true, true)["jpe"].max() < 1e-9


def test_loss_and_scores_by_hand():
    """One left fingertip 3 mm off in one of two samples; the given joints are 6 mm off there."""
    _, true = random_case(2)
    left, given_left = true.left.clone(), true.left.clone()
    left[1, 20, 0] += 3
    given_left[1, 20, 2] += 6
    predicted = RefinementKeypoints(left.float(), true.right.float(), true.origin)
    given = RefinementKeypoints(given_left, true.right, true.origin)
    assert refinement_loss(predicted, true).item() == pytest.approx(9 / (2 * 21 * 3), rel=1e-4)
    scores = refinement_scores(predicted, given, true)
    assert scores["joint_err"].mean().item() == pytest.approx(refinement_loss(predicted, true).item())
    np.testing.assert_allclose(scores["joint_err"], [0, 9 / 63], atol=1e-4)
    np.testing.assert_allclose(scores["jpe"], [0, 3 / 42], atol=1e-4)
    np.testing.assert_allclose(scores["in_jpe"], [0, 6 / 42], atol=1e-9)


def test_loss_counts_the_middle_base_as_root():
    """Moving only the middle base moves all other joints relative to it."""
    _, true = random_case(1)
    left = true.left.clone()
    left[:, 9, 1] += 2
    predicted = RefinementKeypoints(left, true.right, true.origin)
    assert refinement_loss(predicted, true).item() == pytest.approx(4 * 20 / 63)


# ---- published files


def test_published_initial_values():
    """Xavier normal for every linear map and convolution, biases 0.01; norms and codes as the framework makes them."""
    network = small_network()
    network.start_as_published()
    state = network.state_dict()
    patches = state["layers.0.image_attention.left.tokens.patches.weight"]
    assert patches.std().item() == pytest.approx((2 / (64 * (6 + 12))) ** 0.5, rel=0.05)
    projection = state["image_projection.weight"]
    assert projection.std().item() == pytest.approx((2 / (320 + 6)) ** 0.5, rel=0.1)
    assert (state["layers.1.graph.right.blocks.0.second.bias"] == 0.01).all()
    assert (state["layers.1.graph.right.blocks.0.norm.bias"] == 0).all()
    assert (state["layers.1.graph.right.blocks.0.norm.weight"] == 1).all()
    assert state["identities.left.weight"].std().item() == pytest.approx(1, rel=0.1)


def test_other_sizes_have_no_published_layout(tmp_path):
    network = small_network()
    write_network(tmp_path / "model", "keypoint_refinement", network, joint_regressors="consistent")
    again, _ = load_keypoint_refinement(tmp_path / "model")
    assert again.joint_regressors == "consistent"
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(CheckpointError, match="only the published sizes"):
        export_weights(tmp_path / "model", tmp_path / "back.pt")


def test_written_joints_are_the_refined_ones_but_for_their_place(golden_run, golden):
    """The published script's files are the refined joints in MANO order turned into world axes, at another place."""
    _, _, keypoints = golden_run
    rotation = torch.from_numpy(golden["R"])
    wrists = {side: wrist_of(golden, side) for side in SIDES}
    written = published.written_joints(keypoints, rotation, wrists[Side.LEFT], wrists[Side.RIGHT])
    for side in SIDES:
        joints = reorder(written[side], JointOrder.MANO, JointOrder.STANDARD)
        turned = of_side(keypoints, side) / 1000 @ rotation.double()
        torch.testing.assert_close(joints - joints[:, :1], turned - turned[:, :1], rtol=0, atol=1e-9)


@pytest.mark.gpu
def test_gpu_gives_the_reference_numbers(golden, golden_run):
    network, _, keypoints = golden_run
    on_gpu = RefinementKeypoints(keypoints.left.cuda(), keypoints.right.cuda(), keypoints.origin.cuda())
    network = copy.deepcopy(network).cuda()
    with torch.no_grad(), full_float32():
        refined = network(golden_image(int(golden["seed_image"]), 1).cuda(), on_gpu)
    assert deviation_from_golden(golden, refined.left.cpu(), refined.right.cpu()) < 1e-5
