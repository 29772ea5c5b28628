"""Every published file through the command line: imported, the reference's numbers, exported with the same bits; or refused."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner, Result

from im2hands.cli import app
from im2hands.hands.sides import Side
from im2hands.io.errors import CheckpointError, Im2HandsError
from im2hands.networks.halo import load_halo
from im2hands.networks.initial_occupancy import load_initial_occupancy
from im2hands.networks.intaghand import load_intaghand
from im2hands.networks.keypoint_refinement import load_keypoint_refinement
from im2hands.networks.published import halo, initial_occupancy, intaghand, keypoint_refinement, refined_occupancy
from im2hands.networks.refined_occupancy import load_refined_occupancy
from im2hands.parity.case import Comparison, Golden
from im2hands.parity.cases import halo_decoder, init_occ, intaghand_network, kpts_ref, ref_occ
from im2hands.parity.weights_rule import rule_weights
from tests.hostile import Hostile
from tests.networks.test_hand_graphs import published_content
from tests.reference import FOLDER


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def training_state(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a file of the published training contains in addition to the weights: Adam's state, counters, a NumPy scalar."""
    moments = {place: torch.zeros_like(tensor) for place, tensor in enumerate(list(weights.values())[:5])}
    state = {
        place: {"step": torch.tensor(4000.0), "exp_avg": each, "exp_avg_sq": each} for place, each in moments.items()
    }
    groups = [{"lr": 1e-5, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "params": list(range(len(weights)))}]
    return {
        "optimizer": {"state": state, "param_groups": groups},
        "epoch_it": 7,
        "it": 4000,
        "loss_val_best": np.float64(0.61),
    }


def rule_of(shapes: Mapping[str, tuple[int, ...]], golden: Golden) -> OrderedDict[str, Tensor]:
    return rule_weights(shapes, int(golden["seed_weights"]))


def weights_of_ref_occ(golden: Golden) -> OrderedDict[str, Tensor]:
    weights = rule_of(refined_occupancy.LAYOUT.shapes, golden)
    overrides = {field: torch.from_numpy(golden[field]) for field in golden if field.startswith(ref_occ.OVERRIDE)}
    return weights | OrderedDict((field.removeprefix(ref_occ.OVERRIDE), each) for field, each in overrides.items())


def halo_numbers(golden: Golden, folder: Path) -> Iterator[Comparison]:
    decoders = load_halo(folder)[0].decoders
    yield golden.compare("halo_bone_logits", decoders(*halo_decoder.hand_inputs(golden, "halo")).numpy())


def intaghand_numbers(golden: Golden, folder: Path) -> Iterator[Comparison]:
    image, graphs = intaghand_network.image_of(golden), intaghand_network.graphs_of(FOLDER)
    with torch.no_grad():
        yield from intaghand_network.compare_network(golden, load_intaghand(folder)[0], image, graphs)


@dataclass(frozen=True)
class Published:
    """A kind of published file. file: its name.  case: the golden case of its numbers.  enough: how many are compared."""

    file: str
    network: str
    case: str
    weights: Callable[[Golden], Mapping[str, Tensor]]
    numbers: Callable[[Golden, Path], Iterator[Comparison]]
    enough: int
    prefix: str = ""
    bare: bool = False

    def write(self, folder: Path) -> tuple[Path, Mapping[str, Tensor], Golden]:
        golden = FOLDER.find(self.case)
        weights = self.weights(golden)
        stored = OrderedDict((self.prefix + key, tensor) for key, tensor in weights.items())
        torch.save(stored if self.bare else {"model": stored, **training_state(weights)}, folder / self.file)
        return folder / self.file, weights, golden


INITIAL = Published(
    "init_occ.pt",
    "initial_occupancy",
    "init_occ",
    lambda golden: rule_of(initial_occupancy.LAYOUT.shapes, golden),
    lambda golden, folder: init_occ.compare_forward(golden, load_initial_occupancy(folder)[0]),
    60,
)
REFINED = Published(
    "ref_occ.pt",
    "refined_occupancy",
    "ref_occ",
    weights_of_ref_occ,
    lambda golden, folder: ref_occ.compare_forward(golden, load_refined_occupancy(folder)[0]),
    120,
)
HALO = Published(
    "halo.pt", "halo", "halo_decoder", lambda g: halo_decoder.published_weights(g, "halo"), halo_numbers, 1
)
KEYPOINTS = Published(
    "model_best.pt",
    "keypoint_refinement",
    "kpts_ref",
    lambda golden: rule_of(keypoint_refinement.LAYOUT.shapes, golden),
    lambda golden, folder: kpts_ref.compare_forward(golden, load_keypoint_refinement(folder)[0]),
    70,
)
INTAGHAND = Published(
    "intaghand_baseline.pth",
    "intaghand",
    "intaghand_network",
    intaghand_network.published_weights,
    intaghand_numbers,
    30,
    bare=True,
)


def variant(published: Published, **changes: Any) -> Published:
    return Published(**{**vars(published), **changes})


@pytest.fixture(scope="module")
def graph_folder(tmp_path_factory) -> Path:
    """IntagHand's graph files of the stand-in hands."""
    folder = tmp_path_factory.mktemp("graphs")
    for side, graph in intaghand_network.graphs_of(FOLDER).items():
        content = published_content(graph, FOLDER.find("mano_forward")["model_f"])
        (folder / f"graph_{side.value}.pkl").write_bytes(pickle.dumps(content))
    (folder / "v_color.pkl").write_bytes(pickle.dumps(np.zeros((778, 3))))
    return folder


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "published",
    [
        pytest.param(HALO, id="HALO's base file"),
        pytest.param(variant(HALO, file="model_best.pt", prefix="module."), id="HALO, data parallel"),
        pytest.param(INITIAL, id="init_occ.pt"),
        pytest.param(variant(INITIAL, file="model_best.pt", prefix="module."), id="initial, data parallel", marks=SLOW),
        pytest.param(KEYPOINTS, id="keypoints model_best.pt"),
        pytest.param(INTAGHAND, id="intaghand", marks=SLOW),
        pytest.param(variant(INTAGHAND, prefix="module."), id="intaghand, data parallel"),
        pytest.param(REFINED, id="ref_occ.pt", marks=SLOW),
        pytest.param(variant(REFINED, file="model_best.pt", prefix="module."), id="refined, data parallel", marks=SLOW),
    ],
)
def test_imported_file_gives_the_reference_numbers_and_comes_back(published, graph_folder, tmp_path):
    file, weights, golden = published.write(tmp_path)
    folder = tmp_path / "models" / published.network
    graphs = ["--graphs", graph_folder] if published.network == "intaghand" else []
    result = command("import-weights", file, "--to", folder, *graphs)
    assert result.exit_code == 0, result.output
    counts = [f"loaded: {len(weights)} tensors", "initial: 0 tensors", "ignored: 0 tensors"]
    assert result.output.splitlines()[1:] == counts
    notes = json.loads((folder / "card.json").read_text())["origin"]["notes"]
    assert notes == ({} if published.bare else {"epoch_it": 7, "it": 4000, "loss_val_best": 0.61, **notes})

    comparisons = list(published.numbers(golden, folder))
    assert len(comparisons) >= published.enough
    assert not [comparison for comparison in comparisons if not comparison.passed]

    assert command("export-weights", folder, "--to", tmp_path / "back.pt").exit_code == 0
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    back = back if published.bare else back["model"]
    assert list(back) == list(weights)
    assert all(back[key].dtype == tensor.dtype and torch.equal(back[key], tensor) for key, tensor in weights.items())


@pytest.mark.parametrize(
    ("published", "tensors", "numbers"),
    [
        (halo, 196, 238_024),
        (initial_occupancy, 848, 28_043_162),
        (intaghand, 1093, 38_978_949),
        (keypoint_refinement, 882, 39_672_016),
        (refined_occupancy, 1596, 61_547_437),
    ],
)
def test_layouts_are_the_published_ones_there_and_back(published, tensors, numbers):
    """As many tensors and trained numbers; same keys, same order, same bits."""
    shapes = published.LAYOUT.shapes
    trained = [shape for key, shape in shapes.items() if "running_" not in key and "num_batches" not in key]
    assert (len(shapes), sum(int(np.prod(shape)) for shape in trained)) == (tensors, numbers)
    weights = rule_weights(shapes, 3)
    back = published.to_published(published.from_published(weights))
    assert list(back) == list(shapes)
    assert all(torch.equal(back[key], weights[key]) for key in back)


@pytest.mark.parametrize("columns", [0, 19], ids=["64x64", "64x83"])
def test_halo_baseline_starts_both_hands_with_the_reference_numbers(columns, tmp_path):
    """64x83: the decoder with image features. 64x64: HALO's, which does not see them."""
    golden, tag = FOLDER.find("halo_decoder"), "im2hands" if columns else "halo"
    prefix = str(golden[f"{tag}_key_prefix"])
    of_tag = halo_decoder.published_weights(golden, tag)
    weights = OrderedDict(
        (f"decoder.{key.removeprefix(prefix)}", of_tag[key]) for key in of_tag if key.startswith(prefix)
    )
    assert list(weights) == list(halo.LAYOUT.shapes)
    assert weights["decoder.lin3_2.weight"].shape == (64, 64 + columns)
    torch.save({"model": weights, **training_state(weights)}, tmp_path / "halo_baseline.pt")
    folder = tmp_path / "models" / "initial_occupancy"
    result = command("import-weights", tmp_path / "halo_baseline.pt", "--to", folder)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[1] == f"loaded: {2 * len(weights)} tensors"
    points, frames, lengths, features = halo_decoder.hand_inputs(golden, tag)
    if features is None:
        features = torch.randn(*points.shape[:2], 19, generator=torch.Generator().manual_seed(1))
    for decoder in load_initial_occupancy(folder)[0].decoders.values():
        assert golden.compare(f"{tag}_bone_logits", decoder(points, frames, lengths, features).numpy()).passed
    assert command("export-weights", folder, "--to", tmp_path / "back.pt").exit_code == 0
    back = torch.load(tmp_path / "back.pt", weights_only=True)["model"]
    for side in Side:
        for key, tensor in weights.items():
            ours = back[f"{side.value}_{key}"]
            assert torch.equal(ours[:, : tensor.shape[1]] if tensor.ndim == 2 else ours, tensor)
            assert tensor.ndim == 1 or not ours[:, tensor.shape[1] :].any()


@pytest.mark.slow
def test_init_occ_starts_refined_occupancy(tmp_path):
    """The file fills the frozen network, whose numbers come out, and the image encoder and its last layer."""
    file, weights, _ = INITIAL.write(tmp_path)
    folder = tmp_path / "models" / "refined_occupancy"
    result = command("import-weights", file, "--to", folder)
    shared = {key for key in weights if key.startswith(("image_encoder.", "image_final_layer."))}
    assert result.output.splitlines()[1] == f"loaded: {len(weights) + len(shared)} tensors"
    network, card = load_refined_occupancy(folder)
    initial = {key.partition(".")[0] for key in card.origin["initial"]}
    assert initial == {"hms_global_layer", "dp_global_layer", "trans_enc", "trans_dec", "context_enc"}
    golden = FOLDER.find("init_occ")
    assert all(comparison.passed for comparison in init_occ.compare_forward(golden, network.initial))
    state = refined_occupancy.to_published(network.state_dict())
    assert all(torch.equal(state[key], weights[key]) for key in shared)
    assert all(torch.equal(state[f"init_occ.{key}"], tensor) for key, tensor in weights.items())


KNOWN_KEYS = {
    "halo": ("decoder.lin0_0.bias", 64),
    "initial_occupancy": ("image_final_layer.bias", 32),
    "refined_occupancy": ("context_enc.0.bias", 256),
    "keypoint_refinement": ("img_proj_layer.bias", 256),
    "intaghand": ("encoder.resnet.bn1.weight", 64),
}
BAD_FILES = [
    "hostile",
    "hostile plain pickle",
    "truncated",
    "empty",
    "text",
    "nothing matches",
    "wrong shapes",
    "missing",
]


def write_bad(kind: str, network: str, path: Path) -> None:
    key, size = KNOWN_KEYS[network]
    good = {"model": {key: torch.ones(size)}, "it": 3}
    if kind == "hostile":
        torch.save({**good, "optimizer": Hostile(path.parent / "ran")}, path)
    elif kind == "hostile plain pickle":
        path.write_bytes(pickle.dumps(Hostile(path.parent / "ran"), protocol=2))
    elif kind == "truncated":
        torch.save(good, path)
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("<html>404 Not Found</html>")
    elif kind == "nothing matches":
        torch.save({"model": {"conv1.weight": torch.ones(3)}}, path)
    elif kind == "wrong shapes":
        torch.save({"model": {key: torch.ones(size, 2, 2)}}, path)


@pytest.mark.parametrize("network", KNOWN_KEYS)
@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_one_sentence_and_leave_nothing(kind, network, graph_folder, tmp_path):
    """Nothing of the file runs, and neither folder nor half a model remains."""
    file, folder = tmp_path / "bad.pt", tmp_path / "models" / network
    write_bad(kind, network, file)
    graphs = ["--graphs", graph_folder] if network == "intaghand" else []
    result = command("import-weights", file, "--to", folder, *graphs)
    assert result.exit_code != 0
    assert isinstance(result.exception, Im2HandsError)  # the console script prints it as one sentence
    message = str(result.exception)
    assert "bad.pt" in message
    assert "\n" not in message
    assert message.endswith((".", "?"))
    assert not (tmp_path / "ran").exists()
    assert not folder.exists()


def test_a_bad_second_file_leaves_an_older_model_as_it_was(tmp_path):
    folder = tmp_path / "models" / "halo"
    file, *_ = HALO.write(tmp_path)
    assert command("import-weights", file, "--to", folder).exit_code == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_bad("hostile", "halo", tmp_path / "bad.pt")
    result = command("import-weights", file, tmp_path / "bad.pt", "--to", folder)
    assert isinstance(result.exception, CheckpointError)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not (tmp_path / "ran").exists()
