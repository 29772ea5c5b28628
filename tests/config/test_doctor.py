"""`im2hands doctor` finds what is broken, says how to repair it, and accepts a fresh checkout."""

import shutil
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from im2hands import doctor
from im2hands.cli import app
from im2hands.doctor import examine

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with parameters only; the package counts as installed with what this machine has."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.setattr(metadata, "requires", lambda _: ["numpy>=1", "torch>=2", "snakemake>=9; extra == 'workflow'"])
    return tmp_path


def findings(folder):
    return {found.subject: found for found in examine(folder)}


def test_a_fresh_checkout_is_ready(checkout):
    found = findings(checkout)
    assert not [one.subject for one in found.values() if one.hinders]
    assert "is made by the first run" in found["dataset"].text
    assert found["weights of halo"].line().startswith("without weights of halo: not trained yet; run snakemake, or")


def test_weights_are_found(checkout):
    for name in ("model.safetensors", "card.json"):
        (checkout / "models/halo").mkdir(parents=True, exist_ok=True)
        (checkout / "models/halo" / name).write_text("x")
    found = findings(checkout)
    assert found["weights of halo"].ok
    assert not found["weights of intaghand"].ok


@pytest.mark.parametrize(
    ("change", "subject", "sentence"),
    [
        (("root: data/raw/synthetic", "root: /nowhere/InterHand"), "dataset", "/nowhere/InterHand does not exist"),
        (("hand_model: data/hand_model", "hand_model: /nowhere/mano"), "hand model", "docs/real-data.md"),
        (("  halo:\n    weights: null", "  halo:\n    weights: given"), "weights of halo", "given contains no weights"),
        (("seed: ", "sed: "), "parameters", "params.yaml: "),
    ],
)
def test_what_stands_in_the_way_is_named(checkout, change, subject, sentence):
    file = checkout / "params.yaml"
    assert change[0] in file.read_text()
    file.write_text(file.read_text().replace(*change))
    found = findings(checkout)[subject]
    assert found.hinders
    assert sentence in found.text


def test_the_hand_model_is_found_or_what_is_missing_is_named(checkout):
    file = checkout / "params.yaml"
    file.write_text(file.read_text().replace("hand_model: data/hand_model", f"hand_model: {checkout / 'body'}"))
    folder = checkout / "body" / "mano_v1_2" / "models"
    folder.mkdir(parents=True)
    (folder / "mano_right.pkl").touch()
    lacking = findings(checkout)["hand model"]
    assert lacking.hinders
    assert "contains neither MANO_RIGHT.pkl nor MANO_RIGHT.npz" in lacking.text
    (folder / "mano_left.pkl").touch()
    found = findings(checkout)["hand model"]
    assert found.ok
    assert "mano_right.pkl and mano_left.pkl" in found.text


def test_missing_and_old_packages_are_named(checkout, monkeypatch):
    needed = ["numpy>=99", "no-such-package>=1", "torch>=2", "no-such-extra; extra == 'penetration'"]
    monkeypatch.setattr(metadata, "requires", lambda _: needed)
    found = findings(checkout)
    assert found["packages"].hinders
    assert "numpy " in found["packages"].text
    assert "does not satisfy >=99; no-such-package is missing" in found["packages"].text
    extra = found["extra penetration"]
    assert not extra.ok
    assert not extra.hinders
    assert "pip install 'im2hands[penetration]'" in extra.text


def test_too_little_disk_and_old_python_are_named(checkout, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_DISK_GB", 10**9)
    monkeypatch.setattr(doctor, "LEAST_PYTHON", (99, 0))
    found = findings(checkout)
    assert found["disk"].hinders
    assert found["Python"].hinders


def test_command_ends_with_what_is_in_the_way(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    ready = CliRunner().invoke(app, ["doctor"])
    assert (ready.exit_code, ready.output.splitlines()[-1]) == (0, "ready")
    monkeypatch.setattr(metadata, "requires", lambda _: ["no-such-package"])
    broken = CliRunner().invoke(app, ["doctor"])
    assert (broken.exit_code, broken.output.splitlines()[-1]) == (1, "problems: packages")
    elsewhere = CliRunner().invoke(app, ["doctor", "--params", "none/params.yaml"])
    assert elsewhere.exit_code == 1


def test_the_weights_of_the_package_are_named_and_damage_is_noticed(checkout, tmp_path):
    found = findings(checkout)["built-in weights of keypoint_prior"]
    assert found.ok and "14000 steps on hands drawn from the built-in hand model" in found.text
    shutil.copytree(doctor.SHIPPED, tmp_path / "weights")
    file = tmp_path / "weights/keypoint_prior/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    damaged = {one.subject: one for one in doctor._shipped(tmp_path / "weights")}
    assert "is damaged; install im2hands again" in damaged["built-in weights of keypoint_prior"].text
    assert all(one.optional for one in doctor._shipped(tmp_path / "nothing"))


def test_drawn_crops_need_no_dataset(checkout):
    file = checkout / "params.yaml"
    file.write_text(file.read_text().replace("root: data/raw/synthetic", "root: drawn"))
    assert "crops are drawn by the first run" in findings(checkout)["dataset"].text
