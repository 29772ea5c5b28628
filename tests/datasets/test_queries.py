"""Query shards: labels belong to the stored points, nothing depends on order or workers, blocks are fair, damage is named."""

import pickle

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.config.sections import SampleEvaluationQueries, SampleQueries
from im2hands.datasets.hands import HANDS, SHAPES
from im2hands.datasets.queries import SETS, EvaluationQueries, Quantisation, QuerySet
from im2hands.datasets.query_sampling import (
    CUBE,
    MILLIMETRE,
    PalmMesh,
    Sampling,
    palm_meshes,
    query_row,
    write_query_shard,
)
from im2hands.geometry.inside import inside_mesh
from im2hands.hands.bone_frames import canonical_frames
from im2hands.hands.model_files import builtin_hand_models, load_hand_models, write_hand_model_folder
from im2hands.hands.sides import Side
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance, write_parquet
from stages import gather_shards, sample_evaluation_queries, sample_queries
from tests.geometry.meshes import joined, sphere
from tests.naive.winding_number import solid_angle_winding

COUNTS = {"near_surface": 200, "uniform_cube": 104, "uniform_hand": 203}
SAMPLING = Sampling.of_params(4, 8, "consistent", seed=7)
MODELS = builtin_hand_models()


def hand_rows(poses):
    """Rows of a hand table: both hands in random poses; the last left hand has no palm frame."""
    rng = np.random.default_rng(0)
    rows = []
    for frame_idx in range(poses):
        for side, model in MODELS.items():
            posed = model.pose(
                torch.tensor(rng.normal(0, 0.3, (1, 48))), torch.tensor(rng.normal(0, 1, (1, 10))), torch.ones(1, 3)
            )
            frame = canonical_frames(posed.keypoints, [side])
            row = {name: np.zeros(shape) for name, shape in SHAPES.items()}
            row |= {"vertices": posed.vertices[0], "wrist": frame.wrist[0], "palm_rotation": frame.palm_rotation[0]}
            if frame_idx == poses - 1 and side is Side.LEFT:
                row["palm_rotation"] = np.full((3, 3), np.nan)
            lists = {name: np.ravel(value).tolist() for name, value in row.items()}
            place = {"capture": 1, "frame_idx": frame_idx, "side": side.value, "subject": 0, "joint_distance_mm": None}
            names = {"pair_id": f"1_{frame_idx}", "hand_id": f"1_{frame_idx}_{side.value}"}
            rows.append(names | place | lists | {"annotation_valid": [False] * 21})
    return rows


@pytest.fixture(scope="module")
def hands(tmp_path_factory):
    path = tmp_path_factory.mktemp("hands") / "train.parquet"
    write_parquet(path, pa.Table.from_pylist(hand_rows(3), HANDS.schema), HANDS, Provenance())
    return path


@pytest.fixture(scope="module")
def meshes(hands):
    return palm_meshes(hands, MODELS, 0, 1)[0]


def write_set(folder, meshes, sampling=SAMPLING, counts=COUNTS, shards=1, threads=1):
    paths = [folder / f"{shard}-of-{shards}.arrow" for shard in range(shards)]
    for path, part in zip(paths, np.array_split(np.arange(len(meshes)), shards), strict=True):
        write_query_shard(path, [meshes[index] for index in part], counts, sampling, Provenance(), threads)
    write_manifest(folder / "manifest.json", paths)
    return QuerySet.read(folder / "manifest.json")


def test_hands_come_sealed_in_their_palm_frame(hands, meshes):
    """Wrist at the origin, middle finger along -x, right-hand space, outward faces; hands without a palm frame left out."""
    assert palm_meshes(hands, MODELS, 0, 1)[1] == 1
    assert [mesh.hand_id for mesh in meshes] == [
        row["hand_id"] for row in hand_rows(3) if np.isfinite(row["palm_rotation"]).all()
    ]
    for mesh in meshes:
        a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
        assert mesh.vertices.shape == (779, 3)
        assert np.einsum("ij,ij->", a, np.cross(b, c)) > 0
        assert -0.65 < mesh.vertices[:, 0].min() < -0.2


def test_shards_share_the_hands_without_loss(hands, meshes):
    parts = [palm_meshes(hands, MODELS, shard, 4)[0] for shard in range(4)]
    assert [mesh.hand_id for part in parts for mesh in part] == [mesh.hand_id for mesh in meshes]


def test_labels_belong_to_the_stored_points(tmp_path, meshes):
    """Every label is the exact winding number's at the very coordinates that readers return."""
    queries = write_set(tmp_path, meshes)
    for row, mesh in enumerate(meshes):
        assert queries.hand_ids[row] == mesh.hand_id
        for name in SETS:
            found = queries.points(row, name)
            assert found.points.shape == (COUNTS[name], 3)
            assert found.points.dtype == np.float32
            winding = solid_angle_winding(mesh.vertices, mesh.faces, found.points.astype(np.float64))
            np.testing.assert_array_equal(found.labels, np.rint(winding) != 0)


def test_sets_are_where_they_should_be(tmp_path, meshes):
    counts = {"near_surface": 4000, "uniform_cube": 4000, "uniform_hand": 4000}
    queries = write_set(tmp_path, meshes[:1], counts=counts)
    near, cube, hand = (queries.points(0, name) for name in SETS)
    low, high = meshes[0].vertices.min(axis=0) - 8 * MILLIMETRE, meshes[0].vertices.max(axis=0) + 8 * MILLIMETRE
    step = 1.3 / 65535
    assert np.abs(cube.points).max() <= CUBE + step
    np.testing.assert_allclose(cube.points.std(axis=0), CUBE / np.sqrt(3), rtol=0.05)
    assert (hand.points >= low - step).all()
    assert (hand.points <= high + step).all()
    np.testing.assert_allclose(hand.points.mean(axis=0), (low + high) / 2, atol=0.02)
    assert 0.4 < near.labels.mean() < 0.6
    assert 0.04 < hand.labels.mean() < 0.4
    assert cube.labels.mean() < 0.02
    nearest = np.linalg.norm(near.points[:300, None] - meshes[0].vertices, axis=2).min(axis=1)
    assert nearest.max() < 0.1


def test_results_depend_on_the_hand_and_the_seed_alone(tmp_path, meshes):
    """Order, sharding, number of workers and the sizes of other sets change nothing; the seed and the hand do."""
    first = write_set(tmp_path / "a", meshes)
    second = write_set(tmp_path / "b", meshes[::-1], shards=2, threads=2, counts=COUNTS | {"near_surface": 16})
    other = write_set(tmp_path / "c", meshes, Sampling.of_params(4, 8, "consistent", seed=8))
    for row, mesh in enumerate(meshes):
        for name in ("uniform_cube", "uniform_hand"):
            expected = first.points(row, name)
            found = second.points(second.row_of(mesh.hand_id), name)
            np.testing.assert_array_equal(found.points, expected.points)
            np.testing.assert_array_equal(found.labels, expected.labels)
            assert (other.points(row, name).points != expected.points).any()
    assert (first.points(0, "uniform_cube").points != first.points(1, "uniform_cube").points).any()


def test_files_are_equal_to_the_byte_for_any_number_of_workers(tmp_path, meshes):
    for threads in (1, 2):
        write_query_shard(tmp_path / f"{threads}.arrow", meshes, COUNTS, SAMPLING, Provenance(), threads)
    assert (tmp_path / "1.arrow").read_bytes() == (tmp_path / "2.arrow").read_bytes()


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), wanted=st.tuples(*(st.integers(0, size) for size in COUNTS.values())))
def test_blocks_are_runs_of_their_sets(query_set, seed, wanted):
    """Each set contributes a run of the right length that starts at a multiple of 8 and goes round; no point comes twice."""
    counts = dict(zip(COUNTS, wanted, strict=True))
    block = query_set.block(1, np.random.default_rng(seed), counts)
    assert block.points.shape == (sum(wanted), 3)
    assert block.labels.shape == (sum(wanted),)
    start = 0
    for name, count in counts.items():
        whole = query_set.points(1, name)
        part = block.points[start : start + count]
        runs = [np.roll(np.arange(COUNTS[name]), -offset)[:count] for offset in range(0, COUNTS[name], 8)]
        fitting = [run for run in runs if np.array_equal(whole.points[run], part)]
        assert fitting
        np.testing.assert_array_equal(block.labels[start : start + count], whole.labels[fitting[0]])
        start += count


@pytest.fixture(scope="module")
def query_set(tmp_path_factory, meshes):
    return write_set(tmp_path_factory.mktemp("queries"), meshes)


def test_every_point_of_a_set_is_read_sooner_or_later(query_set):
    whole = {tuple(point) for point in query_set.points(0, "uniform_hand").points}
    rng, seen = np.random.default_rng(0), set()
    for _ in range(200):
        seen |= {tuple(point) for point in query_set.block(0, rng, {"uniform_hand": 40}).points}
    assert seen == whole


def test_blocks_follow_the_generator(query_set):
    first, again, other = (query_set.block(0, np.random.default_rng(s), {"near_surface": 64}) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.points, again.points)
    assert (first.points != other.points).any()


def test_a_set_travels_to_workers(query_set):
    copy = pickle.loads(pickle.dumps(query_set))
    np.testing.assert_array_equal(copy.points(2, "near_surface").points, query_set.points(2, "near_surface").points)


def test_asking_for_more_than_is_stored_is_refused(query_set):
    with pytest.raises(DataError, match="has 104 uniform_cube points, but 105"):
        query_set.block(0, np.random.default_rng(0), {"uniform_cube": 105})
    with pytest.raises(DataError, match="no query points for the hand 9_9_left"):
        query_set.row_of("9_9_left")


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1))
def test_quantisation_rounds_to_the_nearest_step_and_keeps_stored_points(seed):
    quantisation = Quantisation()
    points = np.random.default_rng(seed).uniform(-0.65, 0.65, (50, 3))
    stored = quantisation.stored(points)
    read = quantisation.points(stored)
    assert np.abs(read - points).max() <= 0.5 * 1.3 / 65535 + 2e-7
    np.testing.assert_array_equal(quantisation.stored(read), stored)
    np.testing.assert_array_equal(quantisation.stored(np.array([-9.0, 0.65, 9])), [0, 65535, 65535])


def test_conflicts_between_the_rules_are_counted():
    """Two overlapping shells: the published rule calls the overlap outside, and both rules report how many points lie there."""
    vertices, faces = joined(sphere(0.2, (-0.08, 0, 0), 3), sphere(0.2, (0.08, 0, 0), 3))
    mesh = PalmMesh("1_1_right", Side.RIGHT, vertices, faces)
    counts = {"uniform_cube": 8000}
    rows = {rule: query_row(mesh, counts, Sampling.of_params(4, 8, rule, 0)) for rule in ("published", "consistent")}
    inside = {rule: np.unpackbits(np.frombuffer(row["labels"], np.uint8)) for rule, row in rows.items()}
    assert rows["published"]["points"] == rows["consistent"]["points"]
    conflicts = np.count_nonzero(inside["published"] != inside["consistent"])
    assert conflicts == rows["published"]["conflict_count"] == rows["consistent"]["conflict_count"] > 10
    assert {rule: row["label_rule"] for rule, row in rows.items()} == {rule: rule for rule in rows}
    points = Quantisation().points(np.frombuffer(rows["published"]["points"], np.uint16).reshape(-1, 3))
    np.testing.assert_array_equal(inside["published"], inside_mesh(points, vertices, faces, rule="parity"))


def test_hands_beyond_the_stored_range_are_refused(meshes):
    far = PalmMesh("1_1_left", Side.LEFT, meshes[0].vertices * 1000, meshes[0].faces)
    with pytest.raises(DataError, match=r"1_1_left.*metres"):
        query_row(far, COUNTS, SAMPLING)


def test_a_corrupted_shard_is_refused_by_name(tmp_path, meshes):
    """One changed byte in the middle of the points: the message says which file to delete."""
    write_set(tmp_path, meshes, shards=2)
    damaged = tmp_path / "1-of-2.arrow"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged.write_bytes(content)
    queries = QuerySet.read(tmp_path / "manifest.json")
    with pytest.raises(DamagedFileError, match=r"1-of-2\.arrow.*delete this file"):
        queries.points(len(meshes) - 1, "near_surface")
    queries.points(0, "near_surface")


def test_stages_write_what_readers_read(tmp_path, hands):
    """The three stages in a row, from a hand table to labelled points, surfaces and normals."""
    write_hand_model_folder(tmp_path / "model")
    common = {"hand_model": str(tmp_path / "model"), "hands": str(hands), "shards": 1, "shard": 0}
    per_split = {"train": 0, "val": 0, "test": 0}
    widths = {"near_surface_sigma_mm": 4, "hand_margin_mm": 8}
    params = SampleQueries(shards=per_split, **COUNTS, **widths)
    shard = str(tmp_path / "queries/0-of-1.arrow")
    sample_queries.main(**common, output=shard, label_rule="consistent", seed=3, params=params)
    gather_shards.main([shard], str(tmp_path / "queries/manifest.json"))
    queries = QuerySet.read(tmp_path / "queries/manifest.json")
    assert len(queries) == 5
    assert [queries.count(0, name) for name in SETS] == [COUNTS[name] for name in SETS]

    params = SampleEvaluationQueries(
        shards=per_split,
        published=per_split | {"test": 301},
        uniform_hand=per_split | {"test": 50},
        surface=per_split | {"test": 400, "val": 9},
        **widths,
    )
    shard = str(tmp_path / "eval/0-of-1.arrow")
    for split in ("test", "val"):
        sample_evaluation_queries.main(
            **common, split=split, output=shard, label_rule="published", seed=3, params=params
        )
        gather_shards.main([shard], str(tmp_path / "eval/manifest.json"))
        sets = EvaluationQueries.read(tmp_path / "eval/manifest.json").hand("1_0_left")
        sizes = [len(part) for part in (sets.published.labels, sets.uniform_hand.labels, sets.surface_points)]
        assert sizes == ([301, 50, 400] if split == "test" else [0, 0, 9])
        if split == "test":
            check_evaluation_sets(sets, palm_meshes(hands, load_hand_models(common["hand_model"]), 0, 1)[0])


def check_evaluation_sets(sets, meshes):
    mesh = next(mesh for mesh in meshes if mesh.hand_id == "1_0_left")
    for part in (sets.published, sets.uniform_hand):
        expected = inside_mesh(part.points, mesh.vertices, mesh.faces, rule="parity")
        np.testing.assert_array_equal(part.labels, expected)
    assert np.abs(sets.published.points[:151]).max() > 0.5
    inner, outer = (
        inside_mesh(sets.surface_points + sign * 0.002 * sets.surface_normals, mesh.vertices, mesh.faces)
        for sign in (-1, 1)
    )
    assert inner.mean() > 0.97
    assert outer.mean() < 0.03
    np.testing.assert_allclose(np.linalg.norm(sets.surface_normals, axis=1), 1, atol=1e-4)
