"""Golden files are recognised by their fields, and a single altered number is noticed."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from im2hands.io.errors import DataError
from im2hands.parity.case import Comparison, Golden, largest_deviation, tolerance_of
from im2hands.parity.registry import CASES
from im2hands.parity.runner import run_parity
from tests.reference import FOLDER

GOLDEN = FOLDER.path
LIGHT = {
    "mano_forward": (22, ("seed",)),
    "halo_keypoints": (338, ()),
    "halo_frames": (45, ()),
    "halo_decoder": (8, ("halo_hand_index", "im2hands_hand_index")),
    "halo_metrics_mise": (3 + 11 + 3 + 5 * 5, ()),
    "intaghand_preprocess": (182, ("mano_model_seed",)),
    "metrics": (23, ("left_gt_joints_kinematic", "mano_model_seed", "right_gt_joints_kinematic", "seed")),
}
LARGE = {
    "init_occ": (83, []),
    "kpts_ref": (102, ["camera", "train_camera"]),
    "intaghand_network": (71, ["loss_rng", "mano_model_seed"]),
    "ref_occ": (140, []),
}
"""Case -> how many numbers are compared, and which fields are not used. Large: cases of full-size networks."""


def altered(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy with one number (or letter) changed by more than any tolerance allows."""
    array = np.array(array)
    place = tuple(int(rng.integers(size)) for size in array.shape)
    if array.dtype.kind in "US":
        array = array.astype(object)
        array[place] = str(array[place]) + "x"
        return array.astype(str)
    if array.dtype.kind == "b":
        array[place] ^= True
    elif array.dtype.kind in "iu":
        array[place] = array[place] ^ 0x55
    else:
        array[place] = 1.0 if np.isnan(array[place]) else array[place] + 10 * (1 + abs(array[place]))
    return array


def write_altered(source: Path, target: Path, names: list[str], rng: np.random.Generator) -> None:
    with np.load(source) as content:
        fields = {name: content[name] for name in content.files}
    np.savez(target, **{**fields, **{name: altered(fields[name], rng) for name in names}})


def names_of(comparisons: Iterable[Comparison]) -> set[str]:
    """Fields of comparisons; `field (mean)` is one of the comparisons of `field`."""
    return {comparison.field.partition(" (")[0] for comparison in comparisons}


def test_every_output_agrees_under_any_file_name(tmp_path):
    files = [file for file in sorted(GOLDEN.glob("*.npz")) if file.stem not in LARGE]
    for number, file in enumerate(files):
        shutil.copy(file, tmp_path / f"renamed_{number}.npz")
    (tmp_path / "notes.txt").write_text("not a case")
    report = run_parity(tmp_path)
    found = {each.case.name: (each.status, len(each.comparisons), each.unused) for each in report.outcomes}
    assert found == {name: ("pass", *expected) for name, expected in LIGHT.items()}
    assert {*LIGHT, *LARGE} == set(CASES)
    assert [path.name for path in report.unknown] == ["notes.txt"]
    assert not report.failed
    assert any("notes.txt" in line for line in report.lines())


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "ref_occ" else n for n in LARGE])
def test_every_output_of_a_full_size_network_agrees(name):
    """Tolerances leave room for other seeds; the loss of `init_occ` agrees to 1e-5, which float32 alone would miss."""
    golden = FOLDER.find(name)
    comparisons = list(import_module(f"im2hands.parity.cases.{name}").CASE.run(golden, FOLDER))
    assert not [comparison for comparison in comparisons if not comparison.passed]
    assert (len(comparisons), golden.unused) == LARGE[name]
    if name == "init_occ":
        assert {each.field: each for each in comparisons}["train_loss"].deviation < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("case_name", CASES)
def test_one_altered_number_of_any_compared_field_fails(case_name, tmp_path):
    """Every field that counts as compared must really be compared, in full.

    Fields that are nothing but compared are altered together, each must fail; those that also steer the run, one by one.
    """
    rng = np.random.default_rng([7, len(case_name)])
    case = next(case for case in FOLDER.cases if case.name == case_name)
    (file,) = FOLDER.files_of(case_name)
    reference = Golden(file, case_name)
    fields = names_of(case.run(reference, FOLDER))
    assert fields == reference.compared
    outputs = sorted(fields - reference.read)
    write_altered(file, tmp_path / "altered.npz", outputs, rng)
    comparisons = case.run(Golden(tmp_path / "altered.npz", case_name), FOLDER)
    failed = names_of(comparison for comparison in comparisons if not comparison.passed)
    assert failed >= set(outputs), f"altering {sorted(set(outputs) - failed)} went unnoticed"
    for field in sorted(fields & reference.read):
        write_altered(file, tmp_path / "altered.npz", [field], rng)
        try:
            comparisons = list(case.run(Golden(tmp_path / "altered.npz", case_name), FOLDER))
        except Exception:  # an altered field that is also an input may break the computation: noticed too
            continue
        assert not all(comparison.passed for comparison in comparisons), f"altering {field} went unnoticed"


def test_damaged_and_missing_files_are_reported(tmp_path):
    (tmp_path / "truncated.npz").write_bytes((GOLDEN / "halo_decoder.npz").read_bytes()[:1000])
    report = run_parity(tmp_path)
    assert report.failed
    assert "truncated.npz" in report.damaged[0]
    with pytest.raises(DataError, match="does not exist"):
        run_parity(tmp_path / "nowhere")


def test_a_folder_with_nothing_to_compare_fails(tmp_path):
    assert run_parity(tmp_path).failed


def test_a_missing_field_fails_with_its_name(tmp_path):
    with np.load(GOLDEN / "halo_decoder.npz") as content:
        fields = {name: content[name] for name in content.files if name != "halo_bone_logits"}
    np.savez(tmp_path / "halo.npz", **fields)
    report = run_parity(tmp_path)
    assert report.failed
    assert any("halo_bone_logits" in line for line in report.lines()) or report.unknown


def test_deviation_treats_nan_text_and_shape_strictly():
    nan = np.array([1.0, np.nan])
    assert largest_deviation(nan, nan) == 0
    assert largest_deviation(np.array([1.0, 2.0]), nan) == float("inf")
    assert largest_deviation(np.array([1.5, np.nan]), nan) == 0.5
    assert largest_deviation(["a"], np.array(["a"])) == 0
    assert largest_deviation(["b"], np.array(["a"])) == float("inf")
    assert largest_deviation(np.zeros(3), np.zeros(2)) == float("inf")
    assert largest_deviation(np.array([1]), np.array([2])) == float("inf")
    assert largest_deviation(np.array([1.001]), np.array([1.0]), tolerance_of(None, "x")) == pytest.approx(0.001)
