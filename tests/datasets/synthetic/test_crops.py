"""Drawn crops: functions of seed and number, truth that lies on the picture, tables that the trainings read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from im2hands.datasets.surface_maps import SurfaceMaps
from im2hands.datasets.synthetic import crop_looks, crop_poses, crop_tables, crops
from im2hands.datasets.synthetic.contact import SurfaceSamples
from im2hands.datasets.synthetic.crop_poses import MAX_PAIR_DEPTH, PAIRS_PER_PERSON, PairSource
from im2hands.datasets.synthetic.crop_tables import CropRange, draw_crops
from im2hands.datasets.synthetic.crops import VIEWS, CropSource
from im2hands.datasets.synthetic.pairs import ELBOW_DISTANCE, FOREARM, MIN_ELBOWS, arms_fit
from im2hands.datasets.synthetic.sequences import subject_shape
from im2hands.datasets.two_hand_item import Augmentation
from im2hands.geometry.cameras import CROP_SIZE
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.training.intaghand_items import TwoHandFrames

MODELS = builtin_hand_models()
SEED, ROOT = 5, Path(__file__).parents[3]


@pytest.fixture(scope="module")
def source():
    return CropSource(MODELS, SEED)


def test_a_crop_does_not_depend_on_what_was_drawn_before(source):
    first = [source.crop(number) for number in (0, 1, VIEWS)]
    again = [CropSource(MODELS, SEED).crop(number) for number in (VIEWS, 1, 0)][::-1]
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.vertices, other.vertices)
    assert np.array_equal(first[0].vertices, first[1].vertices)  # views of one pose
    assert not np.array_equal(first[0].image, first[1].image)
    assert np.abs(first[0].vertices - first[2].vertices).max() > 0.01  # another pose
    assert not np.array_equal(first[0].image, CropSource(MODELS, SEED + 1).crop(0).image)


def test_hands_lie_where_their_truth_is(monkeypatch, source):
    """On a green background: nearly all pixels of the true masks show something else, and little else does but arms."""
    green = np.array([0.0, 1.0, 0.0], np.float32)
    monkeypatch.setattr(crops, "background", lambda rng, size: np.tile(green, (size, size, 1)))
    for name in ("OCCLUDER_SHARE", "GREY_SHARE", "TINT_SHARE", "BLUR_SHARE"):
        monkeypatch.setattr(crop_looks, name, 0.0)
    maps = SurfaceMaps.of_models(MODELS, masks=True, dense_maps=True)
    covered = []
    for number in range(0, 8 * VIEWS, VIEWS + 1):
        crop = source.crop(number)
        labels, _ = maps.draw(crop.camera, crop.vertices, CROP_SIZE)
        image = crop.image.astype(int)
        shown = image[..., 1] < 2 * image[..., 0]
        covered.append(shown[labels > 0].mean())
    assert np.mean(covered) > 0.97
    assert min(covered) > 0.9


def test_cameras_are_proper_and_look_at_the_hands(source):
    shares = []
    for number in range(40):
        crop = source.crop(number)
        rotation = crop.camera.rotation
        assert np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-12
        assert np.linalg.det(rotation) == pytest.approx(1)
        pixels = crop.camera.project(crop.vertices).reshape(-1, 2)
        shares.append(((pixels >= 0) & (pixels < CROP_SIZE)).all(1).mean())
    assert np.mean(shares) > 0.95
    assert min(shares) < 1  # some are cut by the border


def test_pairs_are_bounded_in_depth_and_belong_to_one_person():
    pairs = PairSource(MODELS, SEED)
    found = [pairs.pair(number) for number in range(12)]
    for pair in found:
        right, left = (pair.vertices[side] for side in (Side.RIGHT, Side.LEFT))
        for mesh, other, side in ((right, left, Side.RIGHT), (left, right, Side.LEFT)):
            depth = SurfaceSamples.of(mesh, MODELS[side].faces).depth_and_distance(other)[0]
            assert depth <= MAX_PAIR_DEPTH + 1e-9
        for side in SIDES:
            fit = pair.fits[side]
            posed = MODELS[side].pose(fit.pose[None], fit.shape[None], fit.translation[None])
            assert np.abs(posed.vertices[0].numpy() - pair.vertices[side]).max() < 1e-7
            turned = MODELS[side].pose(fit.pose[None], fit.shape[None]).joint_transforms[0, 0, :3, :3].numpy()
            assert pair.backs[side] == pytest.approx(turned[:, 1])
        elbow = left_wrist(pair) + ELBOW_DISTANCE * turned_left(pair) @ -FOREARM
        assert np.linalg.norm(ELBOW_DISTANCE * FOREARM - elbow) >= MIN_ELBOWS
    assert len({tuple(pair.person.shape) for pair in found}) == 1
    assert not np.array_equal(pairs.pair(PAIRS_PER_PERSON).person.shape, found[0].person.shape)


@pytest.mark.parametrize("beside", [0.0, 1.0])
def test_hands_are_beside_each_other_in_a_share_of_the_pairs(monkeypatch, beside):
    """Those that touch have arms of one person by the rule of the dataset; the others have the thumbs towards each other."""
    monkeypatch.setattr(crop_poses, "BESIDE_SHARE", beside)
    pairs = [PairSource(MODELS, SEED).pair(0)] + [PairSource(MODELS, SEED + 1).pair(number) for number in range(5)]
    for pair in pairs:
        wrist = left_wrist(pair)
        if beside:
            assert wrist[2] >= crop_poses.BESIDE_AT[0][2]
            assert (turned_left(pair) @ -FOREARM)[0] > -0.8  # forearms come from the same half
        else:
            assert arms_fit(turned_left(pair), wrist)


def test_most_cameras_see_the_hands_well(source):
    """Palms or backs rather face-on than from a random direction; never a forearm before its hand."""
    facing = {}
    for share in (0.0, 1.0):
        rng, seen = np.random.default_rng(1), []
        for number in range(30):
            pair, _, arms = source.posed(number)
            towards = crops._direction(rng, pair, arms, share)
            assert (arms @ towards).max() < crops.ARMS_BEHIND
            seen.append([abs(towards @ pair.backs[side]) for side in SIDES])
        facing[share] = np.mean(seen)
    assert facing[1.0] > facing[0.0] + 0.15


def test_the_hands_of_a_share_of_persons_hide_each_other(monkeypatch):
    """All of theirs touch or nearly do and are seen from anywhere; other persons are drawn as without them."""
    shares = []
    monkeypatch.setattr(
        crops, "_direction", lambda rng, pair, arms, share: shares.append(share) or pair.backs[Side.LEFT]
    )
    some = PairSource(MODELS, SEED, 0.5)
    hides = [some.hides(person) for person in range(200)]
    assert 0.4 < np.mean(hides) < 0.6
    of_kind = {kind: hides.index(kind) for kind in (True, False)}
    for kind, person in of_kind.items():
        plain = PairSource(MODELS, SEED)
        beside = []
        for number in range(person * PAIRS_PER_PERSON, (person + 1) * PAIRS_PER_PERSON):
            pair = some.pair(number)
            same = all(np.array_equal(pair.vertices[side], plain.pair(number).vertices[side]) for side in SIDES)
            beside.append(not arms_fit(turned_left(pair), left_wrist(pair)))
            assert same or kind
        assert not (kind and any(beside))
        draw_from = CropSource(MODELS, SEED, 0.5)
        draw_from.crop(person * PAIRS_PER_PERSON * VIEWS)
    assert shares == [0.0, crops.CHOSEN_SHARE]


def turned_left(pair):
    """Root rotation of the left hand."""
    return Rotation.from_rotvec(pair.fits[Side.LEFT].pose[:3]).as_matrix()


def left_wrist(pair):
    fit = pair.fits[Side.LEFT]
    return MODELS[Side.LEFT].rest_joints(fit.shape[None])[0, 0].numpy() + fit.translation


def test_tables_are_what_a_training_reads_and_drawing_continues(monkeypatch, tmp_path):
    monkeypatch.setattr(crop_tables, "PAIRS_PER_PERSON", 2)
    monkeypatch.setattr(crop_tables, "CROPS_PER_PERSON", 2 * VIEWS)
    draw_crops(tmp_path, "train", CropRange(SEED, 3, 2))
    images = tmp_path / "images" / "train"
    frames = TwoHandFrames(
        tmp_path / "frames" / "train.parquet", tmp_path / "hands" / "train.parquet", images / "manifest.json"
    )
    assert len(frames) == 4 * VIEWS
    for place in (0, VIEWS, 4 * VIEWS - 1):
        item = frames.item(place, Augmentation(), "consistent")
        inside = ((item.joints_2d >= 0) & (item.joints_2d < CROP_SIZE)).all(-1)
        peaks = item.heat_maps.reshape(42, -1).max(1).reshape(2, 21)
        assert (peaks[inside] > 0.85).all()
        assert item.mask.sum() > 50
    shards = sorted(images.glob("*.arrow"))
    before = [shard.stat().st_mtime_ns for shard in shards]
    content = shards[1].read_bytes()
    os.remove(shards[1])
    draw_crops(tmp_path, "train", CropRange(SEED, 3, 2))
    assert shards[0].stat().st_mtime_ns == before[0]
    assert shards[1].read_bytes() == content


def test_shards_of_other_code_or_another_seed_are_drawn_again(monkeypatch, tmp_path):
    monkeypatch.setattr(crop_tables, "PAIRS_PER_PERSON", 1)
    monkeypatch.setattr(crop_tables, "CROPS_PER_PERSON", 2)
    draw_crops(tmp_path, "val", CropRange(SEED, 0, 2))
    shard = tmp_path / "images" / "val" / "person-000000.arrow"
    first = shard.read_bytes()
    draw_crops(tmp_path, "val", CropRange(SEED + 1, 0, 1))
    other = shard.read_bytes()
    assert other != first
    assert not (shard.parent / "person-000001.arrow").exists()
    monkeypatch.setattr(crop_tables, "code_digest", lambda: "other code")
    draw_crops(tmp_path, "val", CropRange(SEED + 1, 0, 1))
    assert shard.read_bytes() != other


def test_nobody_of_the_demo_is_in_pretraining(monkeypatch):
    """Neither shapes nor skins of the two seeds agree, nor do persons of the splits of pretraining among themselves."""
    demo, pretrain = (
        yaml.safe_load((ROOT / file).read_text()) for file in ("presets/demo.yaml", "presets/pretrain.yaml")
    )
    assert demo["seed"] != pretrain["seed"]
    monkeypatch.setattr(PairSource, "_usable_hands", lambda *_: [None] * 16)  # who a person is comes first
    source, counts = PairSource(MODELS, pretrain["seed"]), pretrain["draw_crops"]["persons"]
    persons = [
        source._person(first + number)
        for split, first in crop_tables.FIRST_PERSONS.items()
        for number in range(counts[split])
    ]
    subjects = sum(demo["synthesize_dataset"]["subjects"].values())
    ours = np.stack([subject_shape(demo["seed"], subject) for subject in range(subjects)])
    shapes = np.concatenate([np.stack([person.shape for person in persons]), ours])
    apart = np.linalg.norm(shapes[:, None] - shapes, axis=-1) + 9 * np.eye(len(shapes))
    assert apart.min() > 0.3
    assert len({person.skin_seed for person in persons}) == len(persons)
