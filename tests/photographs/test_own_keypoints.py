"""`im2hands reconstruct` with keypoints that networks predict or correct, and with what a user says of a keypoint file."""

from __future__ import annotations

import re
from functools import cached_property

import numpy as np
import pytest
import torch
from PIL import Image

from im2hands.datasets.images import CropSettings
from im2hands.geometry.cameras import square_crop
from im2hands.geometry.mesh_files import read_mesh
from im2hands.hands.frames import RefinementKeypoints
from im2hands.hands.joints import WRIST, JointOrder
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.networks.keypoint_prior import load_keypoint_prior
from im2hands.networks.model_folder import ModelCard
from im2hands.photographs import command
from im2hands.photographs.files import Photograph, exif_focal
from im2hands.photographs.film_table import FilmTable
from im2hands.reconstruction.likely_keypoints import likely_hands
from im2hands.reconstruction.predicted_hands import placed
from im2hands.reconstruction.refined_keypoints import REFINED_SIGMA
from tests.photographs.own_photograph import Scene, result
from tests.photographs.test_films import FRAMES, film
from tests.reconstruction.rest_prediction import prediction
from tests.training.untrained import write_prior

BOX = (40, 50, 200, 190)
SCALES, SHIFTS = [4.0, 4.0], [[0.1, -0.1], [0.1, -0.1]]


def card(keypoint_prior: str) -> ModelCard:
    return ModelCard("keypoint_refinement", {}, {}, "", "", compat={"keypoint_prior": keypoint_prior})


class AtRest:
    """In place of IntagHand: two hands at rest in the middle of every crop; counts the crops that it is shown."""

    def __init__(self) -> None:
        self.crops: list[torch.Tensor] = []

    def __call__(self, images: torch.Tensor) -> object:
        assert images.shape == (1, 3, 256, 256)
        self.crops.append(images)
        return prediction(builtin_hand_models(), SCALES, SHIFTS)


class Bent:
    """In place of keypoint refinement: moves the tip of the left thumb by 5 mm along the picture's columns."""

    def __call__(
        self, images: torch.Tensor, keypoints: RefinementKeypoints, intrinsics: torch.Tensor
    ) -> RefinementKeypoints:
        left = keypoints.left.clone()
        left[:, 4, 0] += 5.0
        return RefinementKeypoints(left, keypoints.right, keypoints.origin)


@pytest.fixture
def intaghand(monkeypatch) -> AtRest:
    network = AtRest()
    monkeypatch.setattr(command, "load_intaghand", lambda folder, device: (network, None))
    return network


def test_predicted_keypoints_stand_where_the_box_says(run, scene: Scene, tmp_path, intaghand):
    code, text = run(keypoints="intaghand", box=",".join(map(str, BOX)), method="initial", model=scene.models)
    assert code == 0, text
    settings = CropSettings()
    affine = square_crop(np.array([BOX[:2], BOX[2:]], float), settings.size, settings.hand_share)
    expected = placed(
        prediction(models := builtin_hand_models(), SCALES, SHIFTS), 0, 0, scene.seen.cropped(affine), models
    )
    found = result(tmp_path / "out/photograph")
    assert found["keypoint_source"] == "intaghand"
    for side in Side:
        np.testing.assert_allclose(found["keypoints"][side.value], expected.keypoints[side.index], atol=1e-9)
    assert len(intaghand.crops) == 1


def test_without_a_box_the_network_looks_twice(run, tmp_path, intaghand):
    code, text = run(keypoints="intaghand", method="initial")
    assert code == 0, text
    whole, hands = intaghand.crops
    assert not torch.equal(whole, hands)


def test_a_film_of_predicted_keypoints(run, scene: Scene, tmp_path, intaghand):
    """The network looks at every frame; what it says is smoothed, because it is uncertain."""
    box = ",".join(map(str, BOX))
    code, text = run(film(scene), keypoints="intaghand", box=box, method="initial", animation_only=True)
    assert code == 0, text
    assert len(intaghand.crops) == FRAMES and "left hand in 5, right hand in 5" in text
    table = FilmTable.read(tmp_path / "out/keypoints.parquet")
    assert table.parameters["keypoints"] == "intaghand" and table.seen.all()
    assert np.ptp(table.keypoints, axis=0).max() < 0.002  # the frames are alike


def test_refined_keypoints_keep_their_wrists(run, scene: Scene, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "load_keypoint_refinement", lambda folder, device: (Bent(), card("published")))
    code, text = run(refine_keypoints=True, method="initial")
    assert code == 0, text
    found = result(tmp_path / "out/photograph")
    assert found["keypoint_source"].endswith(", refined")
    moved = {side: np.array(found["keypoints"][side]) - scene.hands[side] for side in ("left", "right")}
    np.testing.assert_allclose(moved["left"][4], 0.005 * scene.seen.rotation[0], atol=1e-9)
    np.testing.assert_allclose(np.delete(moved["left"], 4, axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(moved["right"], 0, atol=1e-9)


def test_the_prior_comes_before_refinement_that_was_trained_after_it(run, scene: Scene, tmp_path, monkeypatch):
    """Its hands are refined where it put them, and made hands again; a model folder without it is named."""
    monkeypatch.setattr(command, "load_keypoint_refinement", lambda folder, device: (Bent(), card("consistent")))
    code, text = run(refine_keypoints=True, method="initial", output=tmp_path / "without")
    assert code == 1 and "keypoint_prior/card.json" in text
    prior = write_prior(tmp_path / "keypoint_prior")
    monkeypatch.setattr(command, "load_keypoint_prior", lambda folder: load_keypoint_prior(prior))
    code, text = run(refine_keypoints=True, method="initial")
    assert code == 0, text
    given = np.stack([scene.hands[side] for side in ("left", "right")])
    likely = likely_hands(load_keypoint_prior(prior)[0], given[None])[0]
    found = result(tmp_path / "out/photograph")["keypoints"]
    bent = likely.copy()
    bent[0, 4] += 0.005 * scene.seen.rotation[0]
    again = likely_hands(load_keypoint_prior(prior)[0], bent[None], REFINED_SIGMA)[0]
    np.testing.assert_allclose(np.stack([found["left"], found["right"]]), again, atol=1e-6)
    assert np.abs(likely - given).max() > 0.001 and np.abs(again - bent).max() > 0.001


def test_pixels_alone_are_enough(run, scene: Scene, tmp_path):
    """Hands lie on the pixels; result.json says how certain they are, for 3-D keypoints it does not."""
    hands = [{name: hand[name] for name in ("side", "pixels")} for hand in scene.landmarks()]
    file = scene.written("pixels.json", {"photograph.png": {"hands": hands}})
    code, text = run(keypoints=file, method="initial")
    assert code == 0, text
    found = result(tmp_path / "out/photograph")
    for hand in hands:
        seen = scene.seen.project(np.array(found["keypoints"][hand["side"]]))
        assert np.linalg.norm(seen - hand["pixels"], axis=1).mean() < 2
        uncertainty = found["uncertainty"][hand["side"]]
        low, high = uncertainty["distance_90_m"]
        assert low < uncertainty["distance_m"] < high < 1.5 * low
        assert uncertainty["joint_sigma_mm"][0] == 0 and 0.5 < max(uncertainty["joint_sigma_mm"]) < 50
    code, text = run(method="initial", output=tmp_path / "metric")
    assert code == 0 and result(tmp_path / "metric/photograph")["uncertainty"] == {"left": None, "right": None}


def test_noisy_keypoints_are_corrected_if_the_user_says_how_noisy(run, scene: Scene, tmp_path):
    """10 mm of noise: nearer to the truth about the wrist than what was given; pixels alone need no such number."""
    true = np.stack([scene.hands[side] for side in ("left", "right")])
    noisy = true + np.random.default_rng(3).normal(0, 0.01, true.shape)
    file = scene.written("noisy.json", {"left": noisy[0].tolist(), "right": noisy[1].tolist(), "order": "standard"})
    code, text = run(keypoints=file, noise_mm=10, method="initial")
    assert code == 0, text
    found = result(tmp_path / "out/photograph")
    assert found["keypoint_source"] == f"{file}, corrected by the prior for 10 mm"
    corrected = np.stack([found["keypoints"][side] for side in ("left", "right")])
    before, after = (np.linalg.norm(hands - true, axis=-1).mean() for hands in (noisy, corrected))
    assert after < 0.75 * before
    hands = [{name: hand[name] for name in ("side", "pixels")} for hand in scene.landmarks()]
    pixels = scene.written("only_pixels.json", {"hands": hands})
    for options, sentence in (
        ({"keypoints": pixels, "noise_mm": 5}, "--noise-mm is for 3-D keypoints"),
        ({"noise_mm": -1}, "--noise-mm -1: give a standard deviation from 0 to 50 mm"),
    ):
        code, text = run(method="initial", output=tmp_path / "bad", **options)
        assert code == 1 and sentence in text


def test_what_a_user_should_know_is_said(run, scene: Scene, tmp_path):
    """On the screen and in result.json: one hand, hands far apart, a focal length that nobody knows; else nothing."""
    pixels = [{name: hand[name] for name in ("side", "pixels")} for hand in scene.landmarks()]
    far = {**scene.hands, "right": (np.array(scene.hands["right"]) + scene.seen.rotation[2] * 0.6).tolist()}
    cases = (
        (scene.keypoints, {}, None),
        (
            scene.written("one.json", {**scene.hands, "left": None}),
            {"method": "im2hands"},
            "only the right hand has keypoints",
        ),
        (scene.written("far.json", far), {}, "m apart: do they belong to one person?"),
        (
            scene.written("pixels.json", {"hands": pixels}),
            {"camera": "auto"},
            "is assumed: the distance of the hands is not known",
        ),
    )
    for number, (keypoints, options, sentence) in enumerate(cases):
        output = tmp_path / str(number)
        code, text = run(keypoints=keypoints, output=output, **({"method": "initial"} | options))
        assert code == 0, text
        said = result(output / "photograph")["warnings"]
        assert said == [] if sentence is None else (len(said) == 1 and sentence in said[0] and sentence in text)


def test_loose_parts_are_left_out_and_counted(run, scene: Scene, tmp_path):
    """With --all-parts they stay; the counts are those of the mesh files."""
    counts = {}
    for name, options in (("one", {}), ("all", {"all_parts": True})):
        code, text = run(method="initial", output=tmp_path / name, **options)
        assert code == 0, text
        folder = tmp_path / name / "photograph"
        counts[name] = {side: len(read_mesh(folder / f"{side}.glb").vertices) for side in ("left", "right")}
        removed = result(folder)["removed"]
        nothing = {"parts": 0, "vertices": 0}
        assert name == "one" or removed == {"left": nothing, "right": nothing}
        if name == "one":
            left_out = {side: removed[side]["vertices"] for side in removed}
    assert {side: counts["one"][side] + left_out[side] for side in left_out} == counts["all"]
    assert min(left_out.values()) > 0


def test_missing_networks_are_named_before_any_picture_is_read(run, monkeypatch):
    def read(self):
        raise AssertionError("a picture was read")

    monkeypatch.setattr(Photograph, "read", cached_property(read), raising=False)
    for options, missing in (
        ({"keypoints": "intaghand"}, "intaghand/card.json"),
        ({"refine_keypoints": True}, "keypoint_refinement/card.json"),
    ):
        code, text = run(**options)
        assert code == 1 and missing in text


def test_a_users_order_and_unit_are_taken_at_their_word(run, scene: Scene, tmp_path):
    """Keypoints whose bones tell no order: without --order they would count as standard."""
    noise = np.random.default_rng(0).normal(0, 0.012, (2, 21, 3))
    hands = {side: np.array(scene.hands[side]) + noise[place] for place, side in enumerate(("left", "right"))}
    mano = {side: (1e3 * points[list(JointOrder.MANO.value)]).tolist() for side, points in hands.items()}
    file = scene.written("noisy_mano.json", mano)
    code, text = run(keypoints=file, order="mano", unit="mm", method="initial")
    assert code == 0, text
    np.testing.assert_allclose(result(tmp_path / "out/photograph")["keypoints"]["left"], hands["left"], atol=1e-9)
    code, text = run(keypoints=file, order="mano", unit="m", method="initial", output=tmp_path / "metres")
    assert code == 1 and "m was stated" in text


def test_a_palm_says_how_far_away_landmarks_are(run, scene: Scene, tmp_path):
    depths = []
    for name, palm in (("small", 0.08), ("large", 0.096)):
        file = scene.written("landmarks.json", {"photograph.png": {"hands": scene.landmarks()}})
        code, text = run(output=tmp_path / name, keypoints=file, palm=palm, method="initial")
        assert code == 0, text
        wrist = np.array(result(tmp_path / name / "photograph")["keypoints"]["left"])[WRIST]
        depths.append(scene.seen.to_camera(wrist[None])[0, 2])
    assert depths[1] / depths[0] == pytest.approx(1.2, abs=1e-3)
    code, text = run(palm=0.08, output=tmp_path / "metric")
    assert code == 1 and "leave it out" in text


def test_several_at_once_are_the_same_as_one_by_one(run, scene: Scene, tmp_path):
    pictures = [scene.picture(f"many_{number}.png", np.roll(scene.pixels, 3 * number, axis=1)) for number in range(3)]
    damaged = scene.folder / "many_damaged.jpg"
    damaged.write_bytes(b"\xff\xd8 cut short")
    found = {}
    for at_once in (1, 3):
        code, text = run(*pictures[:2], damaged, pictures[2], output=tmp_path / str(at_once), at_once=at_once)
        assert code == 1
        assert [name for name in re.findall(r"many_\w+(?=: )", text)] == ["many_0", "many_1", "many_2"]
        assert "many_damaged.jpg: the image cannot be used" in text
        found[at_once] = [(tmp_path / str(at_once) / picture.stem / "left.glb").read_bytes() for picture in pictures]
    assert found[1] == found[3]
    code, text = run(at_once=0)
    assert code == 1 and "1 or more" in text


def test_the_cameras_own_focal_length_is_taken_where_none_is_given(run, scene: Scene, tmp_path):
    """A 35 mm equivalent of 26 mm: 26 / 43.27 of the diagonal."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 26
    marked, plain = (scene.folder / f"{name}.jpg" for name in ("marked", "plain"))
    picture = Image.fromarray(scene.pixels[..., ::-1])
    picture.save(marked, exif=exif)
    picture.save(plain)
    assert exif_focal(marked, (300, 400, 3)) == pytest.approx(500 * 26 / 43.27)
    assert exif_focal(plain, (300, 400, 3)) is None
    cut_short = scene.folder / "cut_short.jpg"
    cut_short.write_bytes(marked.read_bytes()[:100])
    assert exif_focal(cut_short, (300, 400, 3)) is None
    file = scene.written("any_landmarks.json", {"hands": scene.landmarks()})
    code, text = run(marked, plain, camera="auto", keypoints=file, method="initial")
    assert code == 0, text
    scale = result(tmp_path / "out/plain")["crop_from_image"][0][0]
    focal = result(tmp_path / "out/plain")["camera_of_crop"]["K"][0][0] / scale
    assert focal == pytest.approx(128 / np.tan(np.radians(30)))
    assert "assumed" in result(tmp_path / "out/plain")["camera_source"]
    found = result(tmp_path / "out/marked")
    assert found["camera_source"] == "auto: focal length 218 pixels, from the picture's EXIF"
    assert found["camera_of_crop"]["K"][0][0] / found["crop_from_image"][0][0] == pytest.approx(
        256 * 2**0.5 * 26 / 43.27
    )
