"""Joint views against their plain form, what they do not depend on, and the network that looks at them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from im2hands.geometry.cameras import Camera
from im2hands.hands.frames import RefinementKeypoints
from im2hands.hands.joints import MIDDLE_BASE, PARENTS
from im2hands.networks.joint_views import JointViews, square_grid
from im2hands.networks.keypoint_refinement import load_keypoint_refinement
from im2hands.networks.view_refinement import ViewRefinementNetwork
from tests.training.untrained import write_network

MIRROR = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))


def hands(batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Keypoints of pairs (camera frame, m) that project into the middle of a crop, and its intrinsics; double precision."""
    generator = torch.Generator().manual_seed(seed)
    keypoints = 0.02 * torch.randn(batch, 2, 21, 3, generator=generator, dtype=torch.float64)
    keypoints[..., 2] += 0.7
    intrinsics = torch.tensor([[700.0, 0, 120], [0, 710, 131], [0, 0, 1]], dtype=torch.float64).expand(batch, 3, 3)
    return keypoints, intrinsics


def slope(batch: int = 2) -> Tensor:
    """A map of two channels that contain the column and the row of every pixel."""
    row, column = torch.meshgrid(*[torch.arange(256, dtype=torch.float64)] * 2, indexing="ij")
    return torch.stack([column, row]).expand(batch, 2, 256, 256)


def network(seed: int = 0, **sizes) -> ViewRefinementNetwork:
    """A small network whose last layer is not zero."""
    torch.manual_seed(seed)
    made = ViewRefinementNetwork("resnet10_narrow", **({"width": 16, "layers": 1} | sizes))
    torch.nn.init.normal_(made.moves.weight, std=0.1)
    return made.eval()


def refined(of: ViewRefinementNetwork, images: Tensor, keypoints: Tensor, intrinsics: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack(of(images, RefinementKeypoints.of(*keypoints.unbind(1)), intrinsics).in_camera(), 1)


def plain_points(keypoints: np.ndarray, intrinsics: np.ndarray, side: int, joint: int, offsets: Tensor) -> np.ndarray:
    """Pixels of offsets in the frame of one joint, step by step."""
    camera = Camera(intrinsics, np.eye(3), np.zeros(3))
    pixels = camera.project(keypoints)
    along = pixels[joint] - pixels[PARENTS[joint]] if joint else pixels[MIDDLE_BASE] - pixels[0]
    along /= np.linalg.norm(along)
    across = np.array([-along[1], along[0]]) * (1 if side == 0 else -1)
    per_mm = intrinsics[0, 0] / keypoints[joint, 2] / 1000
    return np.array([pixels[joint] + per_mm * (x * along + y * across) for x, y in offsets.tolist()])


def test_views_equal_their_plain_form():
    keypoints, intrinsics = hands()
    offsets = square_grid(3, 4.0)
    seen = JointViews.of(keypoints, intrinsics).seen(slope(), offsets)
    for pair in range(2):
        for side in range(2):
            for joint in range(21):
                plain = plain_points(
                    *(of.numpy() for of in (keypoints[pair, side], intrinsics[pair])), side, joint, offsets
                )
                np.testing.assert_allclose(seen[pair, side, joint], plain, atol=1e-9)


def test_a_map_of_its_own_is_read_at_the_same_places():
    keypoints, intrinsics = hands()
    views, offsets = JointViews.of(keypoints, intrinsics), square_grid(3, 4.0)
    own = torch.randn(2, 2, 21, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    seen = views.seen_of_own(own, offsets)
    for side, joint in ((0, 0), (1, 7), (0, 20)):
        torch.testing.assert_close(
            seen[:, side, joint], views.seen(own[:, side, joint, None], offsets)[:, side, joint, :, 0]
        )


def test_offsets_are_millimetres_at_the_joint():
    """A centimetre along a bone's direction in the picture, at the joint's depth, is where the offset (10, 0) is."""
    keypoints, intrinsics = hands()
    intrinsics = intrinsics.clone()
    intrinsics[:, 1, 1] = intrinsics[:, 0, 0]
    views = JointViews.of(keypoints, intrinsics)
    seen = views.seen(slope(), torch.tensor([[10.0, 0], [0, 10.0]], dtype=torch.float64))
    for place, move in enumerate(([10.0, 0, 0], [0, 10.0, 0])):
        step = views.in_camera(torch.tensor(move, dtype=torch.float64).expand(2, 2, 21, 3)) / 1000
        torch.testing.assert_close(seen[..., place, :], JointViews.of(keypoints + step, intrinsics).places)


def test_a_mirrored_crop_shows_the_same_of_the_other_side():
    keypoints, intrinsics = hands()
    image = torch.rand(2, 3, 256, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mirrored = intrinsics.clone()
    mirrored[:, 0, 2] = 255 - mirrored[:, 0, 2]
    offsets = square_grid(5, 3.0)
    seen = JointViews.of(keypoints, intrinsics).seen(image, offsets)
    again = JointViews.of((keypoints @ MIRROR).flip(1), mirrored).seen(image.flip(-1), offsets)
    torch.testing.assert_close(again.flip(1), seen)


def test_an_untrained_network_moves_nothing():
    keypoints, intrinsics = hands()
    images = torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(3))
    unmoved = refined(ViewRefinementNetwork("resnet10_narrow", 16, 1).eval(), images, keypoints, intrinsics)
    torch.testing.assert_close(unmoved, keypoints, rtol=0, atol=1e-12)


def test_the_network_looks_at_the_photograph_where_the_joints_are():
    """What is far from every joint has no influence on a patch, what lies at a joint has."""
    keypoints, intrinsics = hands(1)
    made = network()
    images = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(4))
    views = JointViews.of(keypoints, intrinsics)
    column, row = (int(of) for of in views.places[0, 1, 7].round())

    def patches(changed: Tensor) -> Tensor:
        with torch.no_grad():
            return made._views(made.seen(made.image_encoder(images), changed), views)[0]

    before = patches(images)
    near, far = images.clone(), images.clone()
    near[:, :, row - 2 : row + 3, column - 2 : column + 3] += 3
    far[:, :, :8, :8] += 3
    assert not torch.equal(patches(near)[0, 1, 7], before[0, 1, 7])
    assert torch.equal(patches(far), before)
    assert not torch.equal(refined(made, near, keypoints, intrinsics), refined(made, images, keypoints, intrinsics))


@pytest.mark.parametrize("part", ["patch", "map_window", "heat_window", "joints", "exchange"])
def test_every_part_has_an_influence(part):
    keypoints, intrinsics = hands(1)
    images = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(5))
    made, other = network(), network()
    changed = getattr(other, part)
    with torch.no_grad():
        for tensor in [changed] if isinstance(changed, torch.nn.Parameter) else changed.parameters():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(6)))
    assert not torch.equal(refined(made, images, keypoints, intrinsics), refined(other, images, keypoints, intrinsics))


def test_one_hand_answers_to_the_other():
    keypoints, intrinsics = hands(1)
    images = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(7))
    made, moved = network(), keypoints.clone()
    moved[:, 1] += 0.02
    moves = [refined(made, images, of, intrinsics) - of for of in (keypoints, moved)]
    assert not torch.allclose(moves[0][:, 0], moves[1][:, 0], rtol=0, atol=1e-6)


def test_a_batch_is_its_samples():
    keypoints, intrinsics = hands(3)
    images = torch.randn(3, 3, 256, 256, generator=torch.Generator().manual_seed(8))
    made = network()
    together = refined(made, images, keypoints, intrinsics)
    for row in range(3):
        alone = refined(made, images[row, None], keypoints[row, None], intrinsics[row, None])
        torch.testing.assert_close(together[row, None], alone, rtol=0, atol=1e-6)


def test_hands_behind_the_camera_stay_finite():
    keypoints, intrinsics = hands(1)
    keypoints[..., 2] -= 1.4
    assert refined(network(), torch.zeros(1, 3, 256, 256), keypoints, intrinsics).isfinite().all()


def test_a_saved_network_comes_back(tmp_path):
    keypoints, intrinsics = hands(1)
    images = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(9))
    made = network(width=24, layers=2)
    write_network(tmp_path / "model", "keypoint_refinement", made, joint_views="consistent")
    again, _ = load_keypoint_refinement(tmp_path / "model")
    assert isinstance(again, ViewRefinementNetwork)
    assert torch.equal(refined(again, images, keypoints, intrinsics), refined(made, images, keypoints, intrinsics))
