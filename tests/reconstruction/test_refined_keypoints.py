"""Refining a keypoint source: the input of the network, the position of its result, what is left out and why."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.images import IMAGES
from im2hands.datasets.keypoints import KEYPOINTS, KeypointTable
from im2hands.hands.frames import RefinementKeypoints
from im2hands.io.errors import DataError
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance, ShardReader, ShardWriter, write_parquet
from im2hands.networks.keypoint_prior import load_keypoint_prior
from im2hands.networks.keypoint_refinement import KeypointRefinementNetwork
from im2hands.networks.view_refinement import STEP_UNIT, ViewRefinementNetwork
from im2hands.reconstruction.likely_keypoints import likely_hands
from im2hands.reconstruction.refined_keypoints import SMALLEST_MOVE, refined_keypoints, weight_of_moves
from stages import refine_keypoints
from tests.training.two_hand_frames import TwoHandSplit, make_split, write_noisy
from tests.training.untrained import write_network, write_prior


class Recorder:
    """Stands for the network: keeps what it is shown, moves the left fingers by 5 mm to the right of the picture, and puts both
    hands 90 mm further away, which must not count."""

    def __init__(self, shift_mm=(5.0, 0.0, 0.0)) -> None:
        self.shown: list[RefinementKeypoints] = []
        self.shift = torch.tensor(shift_mm)

    def __call__(self, images, keypoints, intrinsics):
        assert images.shape[1:] == (3, 256, 256)
        self.shown.append(keypoints)
        left, right = keypoints.left.clone(), keypoints.right
        left[:, 1:] += self.shift
        away = torch.tensor([0.0, 0.0, 90.0])
        return RefinementKeypoints(left + away, right + away, keypoints.origin)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TwoHandSplit:
    return make_split(tmp_path_factory.mktemp("two_hands"), "test", poses=3)


@pytest.fixture(scope="module")
def frames(data) -> FrameSet:
    return FrameSet(data.frames, data.hands, data.images)


@pytest.fixture(scope="module")
def given(data) -> KeypointTable:
    return KeypointTable.read(data.keypoints("noisy"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a network that changes nothing."""
    network = KeypointRefinementNetwork("resnet18", token_widths=(8,), image_channels=4)
    network.start_as_identity()
    folder = tmp_path_factory.mktemp("model")
    return write_network(folder, "keypoint_refinement", network, joint_regressors="consistent")


def test_the_network_sees_wrists_in_place_and_its_change_arrives_in_the_world(frames, given):
    """Shown: true wrists, camera axes. Back: wrists as predicted, left fingers 5 mm along the camera's x."""
    recorder = Recorder()
    refined, reasons = refined_keypoints(recorder, frames, given, batch_frames=4)
    assert reasons == [None] * 6
    assert [len(shown.left) for shown in recorder.shown] == [4, 2]
    left, right = (torch.cat([shown.in_camera()[side] for shown in recorder.shown]).numpy() for side in (0, 1))
    for frame in range(6):
        item = frames.item(frame)
        shown = np.stack([left[frame], right[frame]])
        np.testing.assert_allclose(shown[:, 0], item.camera.to_camera(item.wrist), atol=1e-12)
        rotated = given.keypoints()[frame] @ item.camera.rotation.T
        np.testing.assert_allclose(shown - shown[:, :1], rotated - rotated[:, :1], atol=1e-12)
        moved = refined[frame] - given.keypoints()[frame]
        np.testing.assert_allclose(moved[0, 1:], np.tile(0.005 * item.camera.rotation[0], (20, 1)), atol=1e-12)
        np.testing.assert_allclose(moved[0, 0], 0, atol=1e-12)
        np.testing.assert_allclose(moved[1], 0, atol=1e-12)


def test_the_prior_makes_hands_of_what_the_network_says(frames, given, tmp_path):
    """It is told that they are nearly right; what is no hand stays none."""

    class TornAtLast(Recorder):
        def __call__(self, images, keypoints, intrinsics):
            self.shift = torch.full((3,), float("nan") if len(self.shown) == 5 else 5.0)
            return super().__call__(images, keypoints, intrinsics)

    prior = load_keypoint_prior(write_prior(tmp_path / "keypoint_prior"))[0]
    torn, _ = refined_keypoints(TornAtLast(), frames, given, batch_frames=1)
    likely, reasons = refined_keypoints(TornAtLast(), frames, given, batch_frames=1, prior=prior)
    np.testing.assert_allclose(likely[:5], likely_hands(prior, torn[:5], 0.003), atol=1e-6)
    assert np.abs(likely[:5] - torn[:5]).max() > 1e-3
    assert reasons == [None] * 5 + ["refined to no hands: not all are numbers"]
    np.testing.assert_array_equal(likely[5], torn[5])  # nothing is filled in


@pytest.mark.parametrize("move_mm", [0, 1.5, 3, 12])
def test_joint_views_count_as_much_as_they_move(frames, given, tmp_path, move_mm):
    """Moves that keypoints which are right get too change nothing, not even through the prior; large ones count whole."""
    prior = load_keypoint_prior(write_prior(tmp_path / "keypoint_prior"))[0]
    network = ViewRefinementNetwork("resnet18", width=8, layers=1).eval()
    with torch.no_grad():
        network.moves.bias[5] = move_mm / STEP_UNIT  # all joints, away from the camera
    before = given.keypoints()
    moved, _ = refined_keypoints(network, frames, given)
    distances = np.linalg.norm(moved - before, axis=-1)
    np.testing.assert_allclose(distances, move_mm / 1000, atol=1e-5)
    refined, reasons = refined_keypoints(network, frames, given, prior=prior)
    assert reasons == [None] * 6
    weight = max(0.0, 1 - (1000 * SMALLEST_MOVE / max(move_mm, 1e-9)) ** 4)
    np.testing.assert_allclose(weight_of_moves(before, moved), weight, atol=1e-3)
    np.testing.assert_allclose(refined, before + weight * (likely_hands(prior, moved, 0.003) - before), atol=1e-4)
    if weight == 0:
        np.testing.assert_array_equal(refined, before)


def test_a_hand_of_another_place_is_refined_there(frames, given, data):
    """Moving a predicted hand changes nothing but the place of the refined one."""
    moved = given.keypoints() + np.array([0.1, -0.2, 0.3])
    far = KeypointTable.read(write_noisy(data, moved, [None] * 6, "far"))
    near, elsewhere = (refined_keypoints(Recorder(), frames, table)[0] for table in (given, far))
    np.testing.assert_allclose(elsewhere - near, np.broadcast_to([0.1, -0.2, 0.3], near.shape), atol=1e-12)


def test_identity_network_returns_the_source_in_a_file_of_its_own(data, given, model, tmp_path):
    output = tmp_path / "refined" / "test.parquet"
    refine_keypoints.main(
        *map(str, (data.frames, data.hands, data.images, data.keypoints("noisy"), model)),
        source="refined",
        split="test",
        output=str(output),
    )
    written = KeypointTable.read(output)
    np.testing.assert_allclose(written.keypoints(), given.keypoints(), atol=1e-7)
    assert written.source == "refined"
    assert written.parameters["origin"] == "noisy, refined"
    assert written.parameters["compat"] == {"joint_regressors": "consistent"}


def test_unusable_frames_keep_their_row_and_say_why(data, given, tmp_path):
    """No prediction for frame 1, no crop of frame 2, and a network that tears frame 4 apart."""
    rows = ShardReader(data.images.parent / "0000-of-0001.arrow", IMAGES)
    shard = tmp_path / "0000-of-0001.arrow"
    with ShardWriter(shard, IMAGES, Provenance()) as writer:
        for index in range(6):
            row = rows.row(index)
            if index == 2:
                row |= {name: None for name in ("jpeg", "crop_affine", "crop_K")}
                row |= {"quarantined": True, "reason": "image_missing: gone"}
            writer.append(row)
    write_manifest(tmp_path / "manifest.json", [shard])
    reasons = [None, "no hand was found", None, None, None, None]
    table = KeypointTable.read(write_noisy(data, given.keypoints(), reasons, "gaps"))

    class Torn(Recorder):
        def __call__(self, images, keypoints, intrinsics):
            self.shift = torch.full((3,), float("nan") if len(self.shown) == 2 else 0.0)
            return super().__call__(images, keypoints, intrinsics)

    frames = FrameSet(data.frames, data.hands, tmp_path / "manifest.json")
    refined, found = refined_keypoints(Torn(), frames, table, batch_frames=1)
    assert found == [None, reasons[1], "image_missing: gone", None, "refined to no hands: not all are numbers", None]
    assert np.isfinite(refined[[0, 3, 5]]).all()
    nothing = KeypointTable.read(write_noisy(data, given.keypoints(), ["none"] * 6, "nothing"))
    refined, found = refined_keypoints(Recorder(), frames, nothing)
    assert found == ["none"] * 6 and np.isnan(refined).all()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("other frames", r"its keypoints do not belong to the frames of .*frames.*test\.parquet"),
        ("millimetres", "are they in millimetres"),
        ("not a number", "not all are numbers"),
    ],
)
def test_bad_keypoint_files(data, given, model, tmp_path, damage, sentence):
    table = given.table
    if damage == "other frames":
        table = table.slice(0, 4)
    else:
        factor = 1000.0 if damage == "millimetres" else np.nan
        left = pa.array((given.keypoints()[:, 0] * factor).reshape(6, 63).tolist(), KEYPOINTS.schema.field("left").type)
        table = table.set_column(table.column_names.index("left"), "left", left)
    write_parquet(tmp_path / "bad.parquet", table, KEYPOINTS, Provenance({"source": "bad"}))
    paths = (data.frames, data.hands, data.images, tmp_path / "bad.parquet", model)
    with pytest.raises(DataError, match=sentence):
        refine_keypoints.main(*map(str, paths), source="refined", split="test", output=str(tmp_path / "out.parquet"))
    assert not (tmp_path / "out.parquet").exists()
