"""The dataset on disk: layout, annotations that fit the pictures, hard cases, determinism, resuming, refusals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from im2hands.datasets.frames import index_frames
from im2hands.datasets.interhand26m import InterHand26M, annotated_joints, dataset_name, hand_fit
from im2hands.datasets.synthetic.dataset import draw_picture, make_split, picture_tasks
from im2hands.datasets.synthetic.gestures import ANGLE_NAMES, GesturePrior, limits_of
from im2hands.datasets.synthetic.plan import SPLITS, Settings
from im2hands.hands.joints import JointOrder
from im2hands.hands.model_files import builtin_hand_models, load_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.hashing import sha256_file
from im2hands.rendering.rasterizer import hand_maps
from tests.datasets.synthetic import bars

ROOT = Path(__file__).parents[3]
DEMO = Settings({"train": 64, "val": 16, "test": 16}, {"train": 4, "val": 2, "test": 2}, 2, 1.0, 2, 92, 20230618)


def files(root):
    """Hash of every file below a folder."""
    return {path.relative_to(root).as_posix(): sha256_file(path) for path in sorted(root.rglob("*")) if path.is_file()}


def load(root, split, kind):
    return json.loads((root / "annotations" / split / f"InterHand2.6M_{split}_{kind}.json").read_text())


def copy(made, folder):
    shutil.copytree(made.root, folder)
    return folder


@pytest.mark.parametrize("split", SPLITS)
def test_data_file_has_the_schema_of_the_real_one(mini, split):
    content = load(mini.root, split, "data")
    images, annotations = content["images"], content["annotations"]
    assert len(images) == len(annotations) == mini.settings.usable_poses(split) * 2 + 6
    for image, annotation in zip(images, annotations, strict=True):
        assert list(image) == [
            *("id", "file_name", "width", "height", "capture", "subject", "seq_name", "camera", "frame_idx")
        ]
        assert annotation["image_id"] == image["id"]
        assert len(annotation["joint_valid"]) == 42 and set(annotation["joint_valid"]) <= {0, 1}
        x, y, width, height = annotation["bbox"]
        assert x >= 0 and y >= 0 and width > 10 and height > 10 and x + width <= 334 and y + height <= 512
        pixels = cv2.imread(str(mini.root / "images" / split / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3) == (512, 334, 3)
        parts = image["file_name"].split("/")
        assert parts[0] == f"Capture{image['capture']}" and parts[1] == image["seq_name"]
        assert parts[2] == f"cam{image['camera']}" and parts[3] == f"image{image['frame_idx']}.jpg"
    assert len({image["id"] for image in images}) == len(images)


@pytest.mark.parametrize("split", SPLITS)
def test_selection_keeps_exactly_the_usable_frames(mini, split):
    """Hard cases are dropped, each for the reason it was made for."""
    table, audit = index_frames(mini.root, split, max_unreadable_fraction=0.0)
    assert len(table) == mini.settings.usable_poses(split) * mini.settings.cameras
    assert {str(reason): count for reason, count in audit.counts.items()} == {
        "single_hand": 2,
        "fit_null": 1,
        "fit_frame_missing": 1,
        "black_image": 1,
        "hand_type_invalid": 1,
    }


def test_one_single_hand_of_each_side(mini):
    kinds = [annotation["hand_type"] for annotation in load(mini.root, "train", "data")["annotations"]]
    assert kinds.count("right") == kinds.count("left") == 1


def test_invalid_hand_type_means_too_few_joints(mini):
    for annotation in load(mini.root, "val", "data")["annotations"]:
        if annotation["hand_type"] == "interacting":
            assert annotation["hand_type_valid"] == (sum(annotation["joint_valid"]) > 30)


def test_shared_files_say_what_the_set_is(mini):
    assert dataset_name(mini.root) == "im2hands synthetic stand-in"
    lines = [
        line.split()
        for line in (mini.root / "annotations" / "skeleton.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert [int(index) for _, index, _ in lines] == list(range(42))
    parents = {name: int(parent) for name, _, parent in lines}
    assert parents["r_thumb4"] == 1 and parents["r_thumb1"] == 20 and parents["r_wrist"] == -1
    assert parents["l_pinky4"] == 38 and parents["l_pinky1"] == 41
    subjects = (mini.root / "annotations" / "subject.txt").read_text().splitlines()[1:]
    assert [line.split()[:2] for line in subjects] == [
        ["0", "train/Capture0"],
        ["1", "val/Capture0"],
        ["2", "test/Capture0"],
    ]


def test_annotated_joints_are_the_models_with_noise(mini):
    """joint_3d in the files' order and millimetres, about 2 mm from the keypoints of the fits."""
    models, dataset = load_hand_models(mini.hand_model), InterHand26M.open(mini.root)
    fits = {(capture, frame): entry for capture, frame, entry in dataset.fits("train")}
    distances = []
    for capture, frame, entry in dataset.joints("train"):
        found = annotated_joints(entry)
        for side in Side:
            fit = fits.get((capture, frame), {}).get(side.value)
            if fit is None:
                continue
            given = hand_fit({side.value: fit}, side)
            model = models[side].pose(given.pose[None], given.shape[None], given.translation[None])
            distances.append(found[side][0] - model.keypoints[0].numpy())
    distances = np.concatenate(distances)
    assert np.abs(distances).max() < 0.012
    assert distances.std() == pytest.approx(0.002, rel=0.1)
    raw = np.array(next(iter(load(mini.root, "train", "joint_3d")["0"].values()))["world_coord"])
    assert 500 < raw[:, 1].mean() < 1500  # millimetres


def test_poses_are_within_the_joint_limits(mini):
    models, dataset = load_hand_models(mini.hand_model), InterHand26M.open(mini.root)
    prior, seen = GesturePrior(models[Side.RIGHT]), 0
    for split in SPLITS:
        for _, _, entry in dataset.fits(split):
            for side in Side:
                if entry[side.value] is None:
                    continue
                angles = prior.angles_of(hand_fit(entry, side).pose[3:], side)
                for name, angle in zip(ANGLE_NAMES, angles, strict=True):
                    low, high = limits_of(name)
                    assert low - 1 <= angle <= high + 1, name
                seen += 1
    assert seen > 20


@pytest.mark.parametrize("split", ["train", "test"])
def test_fits_and_cameras_fall_on_the_drawn_hands(mini, split):
    """From the files alone: at least 97 % of the visible vertices lie in their hand's mask, depths agree within 3 mm."""
    tasks = [task for task in picture_tasks(mini.root, mini.settings, split) if not task.black and len(task.fits) == 2]
    content, dataset = load(mini.root, split, "data"), InterHand26M.open(mini.root)
    names = {str(dataset.image_file(split, image["file_name"])): image for image in content["images"]}
    models, cameras = load_hand_models(mini.hand_model), dataset.cameras(split)
    fits = {(capture, frame): entry for capture, frame, entry in dataset.fits(split)}
    inside, checked = [], 0
    for task in tasks[:5]:
        image = names[task.path]
        entry = fits.get((str(image["capture"]), str(image["frame_idx"])))
        if entry is None or None in entry.values():
            continue
        picture, camera = draw_picture(task), cameras.get(image["capture"], image["camera"])
        given = {side: hand_fit(entry, side) for side in Side}
        vertices = {
            side: models[side].pose(fit.pose[None], fit.shape[None], fit.translation[None]).vertices[0].numpy()
            for side, fit in given.items()
        }
        maps = hand_maps(
            [camera.to_camera(vertices[side]) for side in Side],
            [models[side].faces for side in Side],
            [models[side].template.numpy() for side in Side],
            camera.intrinsics,
            512,
            334,
        )
        for label, side in enumerate(Side, start=1):
            seen, depth = visible(camera, vertices[side], picture, models[side])
            column, row = seen.T
            inside.append((picture.labels[row, column] == label).mean())
            assert np.abs(picture.depth[row, column] - depth).max() < 0.003
            drawn, derived = picture.labels == label, maps.labels == label
            assert (drawn & derived).sum() / max((derived & (picture.labels < 3)).sum(), 1) > 0.97
            both = drawn & derived & (np.abs(picture.depth - maps.depth) < 0.001)
            assert both.sum() > 500
            assert np.median(np.linalg.norm(picture.rest[both] - maps.rest[both], axis=1)) < 0.001
        checked += 1
    assert checked >= 2
    assert min(inside) >= 0.97


def visible(camera, vertices, picture, model):
    """Nearest pixels (column, row) and depths of the vertices that the picture sees at their own depth.

    The wrist's rim is left out: the forearm begins there too.
    """
    vertices = np.delete(vertices, model.wrist_ring, axis=0)
    in_camera = camera.to_camera(vertices)
    pixels = np.rint(camera.project(vertices)).astype(int)
    on_image = ((pixels >= 0) & (pixels < [334, 512])).all(1)
    pixels, depth = pixels[on_image], in_camera[on_image, 2]
    near = np.abs(picture.depth[pixels[:, 1], pixels[:, 0]] - depth) < 0.003
    return pixels[near], depth[near]


def test_pictures_are_bright_enough_and_differ(mini):
    means, hashes = [], set()
    for image in load(mini.root, "train", "data")["images"]:
        path = mini.root / "images" / "train" / image["file_name"]
        means.append(cv2.imread(str(path)).mean())
        hashes.add(sha256_file(path))
    assert sum(mean < 10 for mean in means) == 1  # the hard case
    assert sorted(means)[1] > 25 and len(hashes) == len(means)


def test_manifest_lists_every_image(mini):
    listed = json.loads((mini.root / "manifest_test.json").read_text())["files"]
    images = sorted(path.relative_to(mini.root).as_posix() for path in (mini.root / "images" / "test").rglob("*.jpg"))
    assert sorted(entry["path"] for entry in listed) == images
    assert all(sha256_file(mini.root / entry["path"]) == entry["sha256"] for entry in listed)


def test_same_bytes_for_any_number_of_workers_and_splits_made_alone(mini, tmp_path):
    make_split(tmp_path / "root", tmp_path / "hand_model", mini.settings, "test", threads=3)
    again = files(tmp_path / "root")
    assert again == {name: content for name, content in files(mini.root).items() if name in again}
    assert sum(name.endswith(".jpg") for name in again) == mini.settings.usable_poses("test") * 2 + 6
    assert files(tmp_path / "hand_model") == files(mini.hand_model)


def test_another_seed_gives_other_hands(mini, tmp_path):
    other = picture_tasks(tmp_path, replace(mini.settings, seed=1), "val")
    same = picture_tasks(tmp_path, mini.settings, "val")
    assert not np.allclose(other[0].fits[Side.RIGHT].pose, same[0].fits[Side.RIGHT].pose)


def test_resuming_keeps_whole_images_and_repairs_the_others(mini, tmp_path):
    root = copy(mini, tmp_path / "root")
    wanted = files(root)
    first, second, third = sorted((root / "images" / "val").rglob("*.jpg"))[:3]
    first.write_bytes(first.read_bytes()[:1000])
    second.unlink()
    (third.parent / ".image1.abc.part.jpg").write_bytes(b"half")
    for path in (root / "annotations" / "val").iterdir():
        path.unlink()
    before = third.stat().st_mtime_ns
    make_split(root, mini.hand_model, mini.settings, "val", threads=1)
    assert files(root) == wanted
    assert third.stat().st_mtime_ns == before


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_a_killed_run_continues_to_the_same_bytes(mini, tmp_path):
    """kill -9 in the middle of the images: no worker stays behind, and the same command again completes the set."""
    params = {
        key: getattr(mini.settings, key)
        for key in ("poses", "subjects", "cameras", "scale", "supersampling", "jpeg_quality")
    }
    command = [sys.executable, "-m", "stages.synthesize_dataset", "--split", "test", "--output", str(tmp_path / "root")]
    command += [
        "--hand-model",
        str(tmp_path / "hand_model"),
        "--params",
        json.dumps(params),
        "--seed",
        str(mini.settings.seed),
        *("--threads", "2"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "root").rglob("image*.jpg"))) < 3:
        assert run.poll() is None and time.monotonic() < deadline, "no image was written"
        time.sleep(0.02)
    workers = descendants(run.pid)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert len(workers) > 2
    while any(runs(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers stayed behind"
        time.sleep(0.05)
    assert not (tmp_path / "root" / "manifest_test.json").exists()
    make_split(tmp_path / "root", tmp_path / "hand_model", mini.settings, "test", threads=1)
    again = files(tmp_path / "root")
    assert again == {name: content for name, content in files(mini.root).items() if name in again}


def descendants(pid):
    """Processes below a process (Linux)."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [below for child in children for below in descendants(child)]


def runs(pid):
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_other_settings_clear_the_old_images(mini, tmp_path):
    root = copy(mini, tmp_path / "root")
    make_split(root, mini.hand_model, replace(mini.settings, cameras=1), "val", threads=1)
    table, _ = index_frames(root, "val", 0.0)
    assert len(table) == 1 and len(list((root / "images" / "val").rglob("*.jpg"))) == 7


def test_a_folder_of_real_images_is_left_alone(mini, tmp_path):
    image = tmp_path / "images" / "test" / "Capture0" / "image1.jpg"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"precious")
    with pytest.raises(DataError, match="did not make"):
        make_split(tmp_path, tmp_path / "hand_model", mini.settings, "test", threads=1)
    assert image.read_bytes() == b"precious"


def test_a_folder_of_mano_files_is_left_alone(mini, tmp_path):
    (tmp_path / "MANO_LEFT.pkl").write_bytes(b"licensed")
    with pytest.raises(DataError, match="another folder"):
        make_split(tmp_path / "root", tmp_path, mini.settings, "test", threads=1)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".npz"] == []


def test_contact_sheet_shows_crops_of_valid_frames(mini, tmp_path):
    picture = tmp_path / "sheet.png"
    module, sizes = "im2hands.datasets.synthetic.contact_sheet", ["--images", "7", "--columns", "3", "--size", "64"]
    subprocess.run(
        [sys.executable, "-m", module, "--root", str(mini.root), "--output", str(picture), *sizes], check=True
    )
    sheet = cv2.imread(str(picture))
    assert sheet.shape == (192, 192, 3)
    cells = sheet.reshape(3, 64, 3, 64, 3).transpose(0, 2, 1, 3, 4).reshape(9, -1)
    assert (cells.mean(1) > 5).tolist() == [True] * 7 + [False] * 2


@pytest.mark.slow
def test_quality_bars_at_demo_size():
    """Every two-hand pose of the demo, from its fits: self-penetration, shared volume, share of touching pairs."""
    models, nearest = builtin_hand_models(), []
    for split in SPLITS:
        tasks = picture_tasks("unused", DEMO, split)
        poses = {
            task.path.rsplit("/cam", 1)[0] + task.path.rsplit("/", 1)[1]: task for task in tasks if len(task.fits) == 2
        }
        for task in poses.values():
            vertices = vertices_of(models, task)
            assert bars.shared_volume_cm3(vertices, models) <= 0.3
            assert max(bars.share_inside_itself(vertices[side], models[side]) for side in Side) <= 0.03
            nearest.append(bars.distance_to_samples(vertices, models))
    assert len(nearest) == 96 + 3 * 4
    assert 0.60 <= np.mean(np.array(nearest) < 0.002) <= 0.90


@pytest.mark.slow
def test_every_picture_of_the_demo_shows_its_hands():
    """All test pictures: both hands are seen, most of them whole, and their visible vertices lie in their own masks."""
    models, shares, pixels = builtin_hand_models(), [], []
    for task in picture_tasks("unused", DEMO, "test"):
        if task.black or len(task.fits) < 2:
            continue
        picture, camera = draw_picture(task), task.camera.camera
        pixels.append(min((picture.labels == label).sum() for label in (1, 2)))
        assert picture.image.mean() > 25
        for label, side in enumerate(Side, start=1):
            seen, _ = visible(camera, vertices_of(models, task)[side], picture, models[side])
            shares.append((picture.labels[seen[:, 1], seen[:, 0]] == label).mean())
    assert np.mean(shares) >= 0.99 and min(shares) >= 0.95
    # A hand may be behind the other one, but not gone.
    assert min(pixels) > 200 and np.mean(np.array(pixels) > 600) > 0.9


def vertices_of(models, task):
    return {
        side: models[side].pose(fit.pose[None], fit.shape[None], fit.translation[None]).vertices[0].numpy()
        for side, fit in task.fits.items()
    }


def test_joint_order_of_the_files_is_right_hand_first(mini):
    """Entry 20 is the right wrist, 41 the left one (skeleton.txt): they are the farthest from all finger tips."""
    entry = np.array(next(iter(load(mini.root, "test", "joint_3d")["0"].values()))["world_coord"]).reshape(2, 21, 3)
    assert JointOrder.INTERHAND.value[20] == 0
    for hand in entry:
        distances = np.linalg.norm(hand[[0, 4, 8, 12, 16]] - hand[20], axis=1)
        assert (distances > 50).all()
