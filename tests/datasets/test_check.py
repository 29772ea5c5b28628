"""`im2hands check-data` says what is there, and names what is missing or damaged with a remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from im2hands.datasets.check import check_data
from im2hands.hands.model_files import builtin_hand_models, model_arrays, write_hand_model_folder


@pytest.fixture(scope="module")
def hand_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hand_model")
    write_hand_model_folder(folder)
    return folder


def findings(interhand, hand_model):
    return {one.subject: one for one in check_data(interhand.root, hand_model, [interhand.split])}


def test_a_whole_dataset_is_ready(interhand, hand_model):
    found = findings(interhand, hand_model)
    assert all(one.ok for one in found.values()), [one.line() for one in found.values()]
    assert f"{len(interhand.images):,} images" in found[f"{interhand.split} annotations"].text


def test_a_part_of_the_published_release_is_told(interhand, hand_model):
    assert "this is only a part" in findings(interhand, hand_model)[f"{interhand.split} annotations"].text


@pytest.mark.parametrize("kind", ["data", "camera", "MANO_NeuralAnnot", "joint_3d"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_damaged_annotations_are_named(interhand, hand_model, kind, damage):
    path = interhand.annotation_file(kind)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20])
    lacking = [one for one in findings(interhand, hand_model).values() if not one.ok]
    assert len(lacking) == 1
    assert path.name in lacking[0].text


def test_missing_and_truncated_images_are_named(interhand, hand_model):
    interhand.image_file(0).unlink()
    whole = interhand.image_file(1)
    whole.write_bytes(whole.read_bytes()[:-40])
    found = findings(interhand, hand_model)[f"{interhand.split} images"]
    assert not found.ok
    assert interhand.images[0]["file_name"] in found.text
    assert interhand.images[1]["file_name"] in found.text
    assert "checksum" in found.text


def test_cameras_without_values_are_counted(interhand, hand_model):
    for capture in interhand.camera.values():
        capture["focal"] = {}
    interhand.write_annotations()
    assert not findings(interhand, hand_model)[f"{interhand.split} cameras"].ok


def lacking(interhand, hand_model):
    interhand.write_annotations()
    return {subject: one.text for subject, one in findings(interhand, hand_model).items() if not one.ok}


def test_values_of_another_kind_are_named(interhand, hand_model):
    interhand.annotations[2]["hand_type_valid"] = "perhaps"
    found = lacking(interhand, hand_model)
    assert list(found) == ["train entries"]
    assert "1 of 6 have unusable values (image 702 has hand_type_valid: 'perhaps'" in found["train entries"]


def scaled(values, factor):
    return [scaled(one, factor) if isinstance(one, list) else one * factor for one in values]


def test_units_are_looked_at(interhand, hand_model):
    for capture, frames in interhand.joints.items():
        for frame, entry in frames.items():
            entry["world_coord"] = scaled(entry["world_coord"], 0.001)
            interhand.fits[capture][frame]["left"]["trans"] = [80.0, 900.0, 20.0]
    found = lacking(interhand, hand_model)
    assert set(found) == {"train joints", "train fits"}
    assert "3 joints_in_metres of 3" in found["train joints"]
    assert "3 fit_translation_implausible of 3" in found["train fits"]


def test_camera_positions_in_metres_are_named(interhand, hand_model):
    for capture in interhand.camera.values():
        capture["campos"] = {name: scaled(place, 0.001) for name, place in capture["campos"].items()}
    found = lacking(interhand, hand_model)
    assert list(found) == ["train cameras"]
    assert "4 camera_position_implausible of 4 cameras" in found["train cameras"]
    assert "must be in millimetres but look like metres" in found["train cameras"]


def test_resized_images_are_counted_and_others_named(interhand, hand_model):
    interhand.write_image(1, np.full((40, 32, 3), 90, np.uint8))
    found = findings(interhand, hand_model)["train images"]
    assert found.ok
    assert "6 of 6 inspected images are intact, 1 of them resized" in found.text
    interhand.write_image(2, np.full((64, 80, 3), 90, np.uint8))
    text = lacking(interhand, hand_model)["train images"]
    assert "5 of 6 inspected images are intact, 1 of them resized" in text
    assert "image_sides_exchanged: announced 64 x 80, found 80 x 64" in text
    assert "checksum" not in text


def test_images_under_another_split_name_are_named(interhand, hand_model):
    folder = interhand.root / "images" / "train"
    folder.rename(folder.with_name("training"))
    assert "contains the folders training" in lacking(interhand, hand_model)["train images"]


def test_a_missing_root_and_hand_model_are_two_findings(tmp_path):
    found = list(check_data(tmp_path / "nowhere", tmp_path / "no_model", ["train"]))
    assert [one.ok for one in found] == [False, False]
    assert "params.yaml" in found[1].text


def test_a_hand_model_in_millimetres_is_named(interhand, tmp_path):
    for side, model in builtin_hand_models().items():
        arrays = model_arrays(model)
        arrays |= {name: 1000 * arrays[name] for name in ("v_template", "shapedirs", "posedirs")}
        np.savez(tmp_path / f"MANO_{side.name}.npz", **arrays)
    found = lacking(interhand, tmp_path)
    assert list(found) == ["hand model"]
    assert "must be in metres" in found["hand model"]


def test_command_exits_with_1_and_a_summary(tmp_path):
    from typer.testing import CliRunner

    from im2hands.cli import app

    params = tmp_path / "params.yaml"
    shipped = (Path(__file__).parents[2] / "params.yaml").read_text()
    params.write_text(shipped.replace("root: data/raw/synthetic", f"root: {tmp_path / 'nowhere'}"))
    result = CliRunner().invoke(app, ["check-data", "--params", str(params)])
    assert result.exit_code == 1
    assert "not ready: " in result.output
