"""Distance of true hands and what a photograph shows of them, against plain counting and known shapes."""

from functools import partial

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.keypoints import KeypointTable, write_keypoints
from im2hands.evaluation.difficulty import surface_distance, visible_fractions
from im2hands.geometry.cameras import Camera
from im2hands.hands.sides import SIDES, Side
from im2hands.io.tables import Provenance
from im2hands.reconstruction.inputs import NO_VIEW, bone_inputs, evaluated_frames
from tests.evaluation.shapes import sphere

SIZE = 64
ball = partial(sphere, 0.1, subdivisions=3)
CAMERA = Camera(np.array([[100.0, 0, 31.5], [0, 100, 31.5], [0, 0, 1]]), np.eye(3), np.zeros(3))


@settings(max_examples=30)
@given(gap=st.floats(0.001, 0.2), turn=st.integers(0, 100))
def test_distance_of_two_balls(gap, turn):
    """Within the height of the balls' facets; the same in both orders."""
    direction = np.random.default_rng(turn).normal(size=3)
    direction /= np.linalg.norm(direction)
    first, second = ball(np.zeros(3)), ball((0.2 + gap) * direction)
    found = surface_distance(first, second)
    assert found == surface_distance(second, first)
    assert gap - 1e-9 <= found <= gap + 0.003


def test_distance_is_that_of_all_vertices_to_a_dense_cloud_of_the_other_surface():
    first, second = sphere(0.08, (0, 0, 0), 2), sphere(0.06, (0.15, 0.09, -0.02), 2)
    found = surface_distance(first, second)
    plain = min(_to_samples(first, second), _to_samples(second, first))
    assert found <= plain <= found + 0.001


def _to_samples(points, surface):
    samples = trimesh.Trimesh(surface.vertices, surface.faces).sample(20000, seed=1)
    return np.linalg.norm(points.vertices[:, None] - samples[None], axis=-1).min()


def test_penetration_is_a_negative_distance():
    assert surface_distance(ball([0, 0, 0]), ball([0.17, 0, 0])) == pytest.approx(-0.03, abs=0.002)


def counted(hands, camera, side):
    """Pixel by pixel: a ray through each pixel centre of a large canvas, the nearest crossing with each mesh."""
    own = seen = 0
    tests = {one: trimesh.Trimesh(camera.to_camera(mesh.vertices), mesh.faces) for one, mesh in hands.items()}
    grid = np.stack(np.meshgrid(np.arange(-SIZE, 2 * SIZE), np.arange(-SIZE, 2 * SIZE)), -1).reshape(-1, 2)
    rays = np.column_stack([(grid - camera.intrinsics[:2, 2]) / np.diag(camera.intrinsics)[:2], np.ones(len(grid))])
    depth = {one: _first_crossing(mesh, rays) for one, mesh in tests.items()}
    inside = ((grid >= 0) & (grid < SIZE)).all(axis=1)
    own = np.isfinite(depth[side])
    others = np.min([depth[one] for one in depth if one is not side], axis=0, initial=np.inf)
    seen = own & inside & (depth[side] <= others)
    return seen.sum() / own.sum()


def _first_crossing(mesh, rays):
    places, ray, _ = mesh.ray.intersects_location(np.zeros_like(rays), rays)
    nearest = np.full(len(rays), np.inf)
    np.minimum.at(nearest, ray, places[:, 2])
    return nearest


@pytest.mark.parametrize(
    "right",
    [[0.05, 0.02, 1.2], [0.05, 0.02, 0.9], [0.6, 0, 1], [0.3, 0.3, 0.8]],
    ids=["behind", "before", "out", "cut"],
)
def test_visible_share_is_that_of_rays_counted_one_by_one(right):
    hands = {Side.LEFT: ball([0, 0, 1.0], subdivisions=1), Side.RIGHT: ball(right, subdivisions=1)}
    found = visible_fractions(hands, CAMERA, SIZE)
    for side in Side:
        assert found[side] == pytest.approx(counted(hands, CAMERA, side), abs=0.02)


def test_alone_and_free_is_seen_whole():
    hands = {Side.LEFT: ball([-0.15, 0, 1.0]), Side.RIGHT: ball([0.15, 0, 1.0])}
    assert visible_fractions(hands, CAMERA, SIZE) == {Side.LEFT: 1.0, Side.RIGHT: 1.0}


def test_hands_that_no_pixel_shows_are_not_seen():
    hands = {Side.LEFT: ball([30, 0, 1.0]), Side.RIGHT: ball([0, 0, -1.0])}
    assert visible_fractions(hands, CAMERA, SIZE) == {Side.LEFT: 0.0, Side.RIGHT: 0.0}
    assert visible_fractions({Side.RIGHT: ball([0, 0, -1.0])}, CAMERA, SIZE) == {Side.RIGHT: 0.0}


@pytest.fixture
def frame_set(small_data):
    return FrameSet(small_data.frames, small_data.hands, small_data.images)


def test_first_frames_are_among_all(frame_set):
    every, first = evaluated_frames(frame_set, None), evaluated_frames(frame_set, 1)
    assert every == {"5_0": (0, 1), "5_1": (2, 3), "5_2": (4, 5)}
    assert first == {pair: frames[:1] for pair, frames in every.items()}
    assert evaluated_frames(frame_set, 9) == every


def test_every_method_stands_for_the_same_frames(small_data, frame_set, tmp_path):
    """Without a photograph one reconstruction for all frames of a pose, else one for each; a pose without any is kept."""
    evaluated = {name: frames for name, frames in evaluated_frames(frame_set, None).items() if name != "5_2"}
    path = tmp_path / "keypoints.parquet"
    table = small_data.hand_table
    joints = np.stack([np.stack([table.array("keypoints_model")[table.rows[f"5_{frame // 2}_{side.value}"]]
                                 for side in SIDES]) for frame in range(6)])  # fmt: skip
    joints[3] = np.nan
    reasons = [None, None, None, "nothing seen", None, None]
    write_keypoints(path, [f"5_{i // 2}" for i in range(6)], joints, reasons, Provenance({"source": "made up"}))
    keypoints = KeypointTable.read(path)
    free, seen, predicted = (
        bone_inputs(small_data.hand_table, small_data.evaluation, evaluated, table, from_photographs=photographs)
        for table, photographs in ((None, False), (None, True), (keypoints, False))
    )
    assert free.views == [("5_0", (0, 1)), ("5_1", (2, 3)), ("5_2", ())]
    assert seen.views == predicted.views == [("5_0", (0,)), ("5_0", (1,)), ("5_1", (2,)), ("5_1", (3,)), ("5_2", ())]
    assert [hand.rejected for hand in free(("5_2", ()))] == [None, None]
    assert [hand.rejected for hand in seen(("5_2", ()))] == [NO_VIEW] * 2
    assert [hand.rejected for hand in predicted(("5_1", (3,)))] == ["no keypoints: nothing seen"] * 2
    for inputs in (free, seen, predicted):
        for view in inputs.views:
            assert {hand.frame_ids for hand in inputs(view)} == {view[1]}
            assert len(inputs(view)) == 2


def test_a_method_of_whole_pairs_makes_no_hand_alone(small_data, frame_set):
    """The other hand of a rejected one is rejected by name, and complete pairs are unchanged."""
    table, evaluated = small_data.hand_table, evaluated_frames(frame_set, 1)
    joints = np.zeros((6, 2, 21, 3))
    for frame in range(6):
        for side in Side:
            joints[frame, side.index] = table.array("keypoints_model")[table.rows[f"5_{frame // 2}_{side.value}"]]
    joints[2, Side.LEFT.index] = joints[2, Side.LEFT.index, :1]
    known = {"keypoints": lambda self: joints, "usable": np.ones(6, bool), "reasons": [None] * 6}
    source = type("Source", (), known)()
    inputs = bone_inputs(table, small_data.evaluation, evaluated, source).of_whole_pairs()
    reasons = {hand.hand_id: hand.rejected for pair in inputs.hands.values() for hand in pair}
    assert reasons.pop("5_1_left").startswith("no palm frame: ")
    assert reasons.pop("5_1_right") == "the other hand cannot be reconstructed"
    assert set(reasons.values()) == {None}
