"""IntagHand's network: equal to its plain form and to the reference, left and right as data, files both ways."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import CheckpointError, DataError
from im2hands.networks.hand_graphs import FINE_PER_NODE, HandGraph, build_hand_graph
from im2hands.networks.image_encoder import ImageFeatures
from im2hands.networks.intaghand import IntagHandNetwork, load_intaghand, project
from im2hands.networks.inter_hand_attention import InterHandAttention
from im2hands.networks.model_folder import ModelCard, write_model
from im2hands.networks.published.importing import export_weights, import_weights
from im2hands.parity.case import Golden
from im2hands.parity.cases.intaghand_network import (
    CASE,
    compare_hands,
    graphs_of,
    image_of,
    network_of,
    published_weights,
)
from tests.naive.intaghand import naive_decode, naive_inter_hand, spelt_out
from tests.networks.comparing import full_float32
from tests.networks.test_hand_graphs import published_content
from tests.reference import FOLDER

TOLERANCES = [(torch.float32, 2e-4), (torch.float64, 1e-11)]
"""Single precision is itself up to 4e-5 away from double precision in the gradients of this deep network."""
WIDTHS = (64, 32, 32, 32)


@pytest.fixture(scope="module")
def golden() -> Golden:
    return FOLDER.find(CASE.name)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return FOLDER.find("mano_forward")["model_f"]


@pytest.fixture(scope="module")
def graph(faces) -> HandGraph:
    return build_hand_graph(faces)


@pytest.fixture(scope="module")
def golden_run(golden):
    """The full-size network and its image features."""
    network = network_of(golden, graphs_of(FOLDER))
    with torch.no_grad():
        return network, network.image_encoder(image_of(golden))


def shuffled(graph: HandGraph, seed: int = 2) -> HandGraph:
    """Another graph of as many nodes: the coarsest nodes in another order, and edges of other weights."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(graph.sizes[0]))
    orders = [order]
    for _ in range(4):
        orders.append(torch.stack([2 * orders[-1], 2 * orders[-1] + 1], dim=1).flatten())
    factors = (0.9, 0.95, 0.85)
    laplacians = tuple(
        factor * matrix[places][:, places]
        for factor, matrix, places in zip(factors, graph.laplacians, orders, strict=False)
    )
    places = torch.argsort(orders[-1])
    return HandGraph(laplacians, graph.vertex_of_node[orders[-1]], places[graph.node_of_vertex])


def small_network(graphs: dict[Side, HandGraph], dtype=torch.float32, seed: int = 0, **options) -> IntagHandNetwork:
    """Small widths, norms and biases not trivial."""
    torch.manual_seed(seed)
    network = IntagHandNetwork(graphs, torch.rand(778, 3), encoder="resnet18", widths=WIDTHS, **options)
    for module in (*network.levels, network.global_projection):
        for name, parameter in module.named_parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, 1.0 if name.endswith(".weight") else 0.0, 0.1)
    return network.to(dtype)


def two_graphs(graph: HandGraph) -> dict[Side, HandGraph]:
    return {Side.LEFT: graph, Side.RIGHT: shuffled(graph)}


def random_features(batch: int, dtype=torch.float32) -> ImageFeatures:
    generator = torch.Generator().manual_seed(batch)

    def maps(*channels: int) -> list[Tensor]:
        return [
            torch.randn(batch, width, 8 * 2**level, 8 * 2**level, generator=generator, dtype=torch.float64).to(dtype)
            for level, width in enumerate(channels)
        ]

    unused = torch.zeros(batch, 1, dtype=dtype)
    return ImageFeatures(unused, unused, unused, maps(512, 256, 128, 64), maps(*[128] * 4), maps(*[128] * 4))


def values_and_gradients(function, network: nn.Module, features: ImageFeatures) -> dict[str, Tensor | None]:
    """All outputs, then gradients for the image maps and every trained weight (None where there is none)."""
    leaves = [features.backbone[0], features.backbone[2], features.of_heat_maps[0], features.of_dense_maps[1]]
    for leaf in leaves:
        leaf.requires_grad_()
    outputs = function(network, features)
    total = sum(
        (value * torch.linspace(-1, 1, value.numel(), dtype=value.dtype).reshape(value.shape)).sum()
        / (1 + value.abs().max().detach())
        for value in outputs.values()
    )
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    leaves += [network.get_parameter(name) for name in names]
    gradients = torch.autograd.grad(total, leaves, allow_unused=True)
    return outputs | {f"gradient {place}": value for place, value in enumerate(gradients)}


def assert_close(ours: dict, naive: dict, tolerance: float) -> None:
    assert ours.keys() == naive.keys()
    for name, a in ours.items():
        b = naive[name]
        assert (a is None) == (b is None), name
        if a is not None:
            torch.testing.assert_close(a, b, rtol=0, atol=tolerance * max(1.0, b.abs().max().item()), msg=name)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("batch", [1, 3])
def test_network_equals_naive_with_two_different_graphs(graph, dtype, tolerance, batch):
    """Values and gradients, each hand on its own graph and vertex order."""
    network = small_network(two_graphs(graph), dtype, train_upsampling=True).eval()
    ours, naive = (
        values_and_gradients(function, network, random_features(batch, dtype)) for function in (spelt_out, naive_decode)
    )
    assert_close(ours, naive, tolerance)


def test_mixing_up_two_different_graphs_is_noticed(graph):
    graphs = two_graphs(graph)
    network = small_network(graphs).eval()
    exchanged = small_network({side: graphs[side.other] for side in Side}).eval()
    features = random_features(1)
    with torch.no_grad():
        ours, other = spelt_out(network, features), spelt_out(exchanged, features)
    for name in ("left_coarse", "right_coarse"):
        assert (ours[name] - other[name]).abs().max() > 1e-3 * ours[name].abs().max()


def test_left_and_right_are_data(graph):
    """Exchanging graphs and all sided weights exchanges the hands, and nothing else."""
    graphs = two_graphs(graph)
    network = small_network(graphs).eval()
    mirrored = small_network({side: graphs[side.other] for side in Side}, seed=1).eval()
    other = {"left": "right", "right": "left"}
    state = {
        re.sub(r"\b(left|right)(?=\.|_)", lambda m: other[m[0]], name): x for name, x in network.state_dict().items()
    }
    mirrored.load_state_dict(state)
    features = random_features(2)
    with torch.no_grad():
        ours, theirs = network.decode(features).hands, mirrored.decode(features).hands
    for side in Side:
        torch.testing.assert_close(theirs[side].vertices, ours[side.other].vertices, rtol=0, atol=1e-5)
        torch.testing.assert_close(theirs[side].shift, ours[side.other].shift, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize(("width", "heads"), [(12, 4), (7, 2)])
def test_inter_hand_attention_equals_naive(dtype, tolerance, width, heads):
    """Also where heads do not divide the width, and for hands of different length."""
    torch.manual_seed(0)
    block = InterHandAttention(width, heads).to(dtype).eval()
    hands = {Side.LEFT: torch.randn(2, 9, width, dtype=dtype), Side.RIGHT: torch.randn(2, 5, width, dtype=dtype)}
    ours, naive = block(hands), naive_inter_hand(block, hands[Side.LEFT], hands[Side.RIGHT])
    for side, expected in zip(SIDES, naive, strict=True):
        torch.testing.assert_close(ours[side], expected, rtol=0, atol=tolerance)


def test_naive_form_gives_the_reference_numbers(golden, golden_run):
    network, features = golden_run
    with torch.no_grad():
        found = naive_decode(network, features)
    for side in SIDES:
        name = side.value
        for field, ours, scale in (
            (f"{name}_coarse3d", found[f"{name}_coarse"], 1),
            (f"{name}_verts3d_every7", found[f"{name}_vertices"][:, ::7], 1),
            (f"{name}_coarse2d", found[f"{name}_coarse_2d"], 1000),
            (f"{name}_verts2d_every7", found[f"{name}_vertices_2d"][:, ::7], 1000),
            (f"{name}_scale", found[f"{name}_scale"], 1),
            (f"{name}_trans2d", found[f"{name}_shift"], 1),
        ):
            np.testing.assert_allclose(ours, golden[field], rtol=0, atol=2e-5 * scale, err_msg=field)


@pytest.mark.parametrize(
    "mistake", ["norm eps", "no exchange", "swapped norms", "other pooling", "no positions", "shift"]
)
def test_a_wrong_detail_is_noticed(golden, golden_run, mistake):
    """Each changed alone, some golden number is missed by more than its tolerance."""
    network, features = golden_run
    network = copy.deepcopy(network)
    with torch.no_grad():
        if mistake == "norm eps":
            for module in network.modules():
                if isinstance(module, nn.LayerNorm):
                    module.eps = 1e-5
        if mistake == "no exchange":
            network.levels[2].hand_attention.output.weight.zero_()
        if mistake == "swapped norms":
            norms = network.levels[0].hand_attention.norms
            norms["left"], norms["right"] = norms["right"], norms["left"]
        if mistake == "other pooling":
            network.left_vertex_of_node.copy_(network.left_vertex_of_node.flip(0))
        if mistake == "no positions":
            network.levels[1].positions.weight.zero_()
        if mistake == "shift":
            network.projection.bias[1] += 0.01
        comparisons = list(compare_hands(golden, network.decode(features).hands, graphs_of(FOLDER)))
        original = list(compare_hands(golden, golden_run[0].decode(features).hands, graphs_of(FOLDER)))
    assert all(comparison.passed for comparison in original)
    assert not all(comparison.passed for comparison in comparisons)


def test_projection_by_hand():
    """Scale 1/2 makes a unit 128 pixels; shift (1, -1) is the right end of the top row."""
    points = torch.tensor([[[0.0, 0.0, 3.0], [1.0, 2.0, 0.0]]])
    pixels = project(points, torch.tensor([0.5]), torch.tensor([[1.0, -1.0]]))
    assert pixels.tolist() == [[[256.0, 0.0], [384.0, 256.0]]]


def test_whole_network_from_the_photograph(graph):
    network = small_network(two_graphs(graph)).eval()
    with torch.no_grad():
        prediction = network(torch.randn(2, 3, 256, 256))
    for hand in prediction.hands.values():
        assert hand.vertices.shape == (2, 778, 3)
        assert hand.vertices_2d.shape == (2, 778, 2)
        assert hand.coarse.shape == (2, 200, 3)
        assert hand.scale.shape == (2,)
    assert prediction.features.heat_maps.shape == (2, 42, 64, 64)


def test_dropout_acts_in_training_only(graph):
    network, features = small_network(two_graphs(graph)), random_features(2)
    rates = {module.p for module in network.modules() if isinstance(module, nn.Dropout)}
    assert rates == {0.05}
    with torch.no_grad():
        for part in network.feature_mixer.modules():
            part.eval()
        assert not torch.equal(*(network.decode(features).hands[Side.LEFT].coarse for _ in range(2)))
        network.eval()
        assert torch.equal(*(network.decode(features).hands[Side.LEFT].coarse for _ in range(2)))


def test_initial_weights_follow_the_publication(graph):
    torch.manual_seed(0)
    network = IntagHandNetwork({side: graph for side in Side}, torch.rand(778, 3), encoder="resnet18")
    coarse = network.levels[0]
    bound = (6 / (256 + 256)) ** 0.5
    assert 0.99 * bound < coarse.hand_attention.query.weight.abs().max() <= bound
    assert coarse.hand_attention.query.bias.abs().max() == 0
    first = coarse.graph["left"].blocks[0].first
    assert 0.99 * (6 / (1024 + 256)) ** 0.5 < first.weight.abs().max() <= (6 / (1024 + 256)) ** 0.5
    deviation = network.image_encoder.heat_map_decoder.stages[1][0].weight.std().item()
    assert deviation == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert coarse.positions.weight.std().item() == pytest.approx(1, rel=0.03)
    assert network.global_projection["left"][0].bias.abs().max() > 0
    assert not network.upsampling.weight.requires_grad
    assert torch.equal(network.upsampling.weight, graph.spread(torch.eye(200), 2))


def test_graphs_that_do_not_fit_are_refused(graph):
    short = HandGraph(graph.laplacians, graph.vertex_of_node, graph.node_of_vertex[:700])
    with pytest.raises(DataError, match="mesh of 778 vertices"):
        small_network({Side.LEFT: graph, Side.RIGHT: short})
    half = {level: nodes // 2 for level, nodes in enumerate(graph.sizes)}
    laplacians = tuple(matrix[: half[level], : half[level]] for level, matrix in enumerate(graph.laplacians))
    vertices = graph.vertex_of_node[: 16 * half[0]]
    known = torch.unique(vertices)
    smaller = HandGraph(
        laplacians, torch.searchsorted(known, vertices), _first_places(torch.searchsorted(known, vertices))
    )
    with pytest.raises(DataError, match=r"the same numbers of nodes, not \(50, 100, 200\) and \(25, 50, 100\)"):
        small_network({Side.LEFT: graph, Side.RIGHT: smaller})
    with pytest.raises(DataError, match="the upsampling has shape"):
        small_network({side: graph for side in Side}, upsampling=torch.zeros(778, 252))


def _first_places(vertices: Tensor) -> Tensor:
    return torch.stack([(vertices == vertex).nonzero()[0, 0] for vertex in range(int(vertices.max()) + 1)])


# ---- model folders and published files


def model_of(network: IntagHandNetwork) -> ModelCard:
    return ModelCard("intaghand", network.architecture, {"kind": "trained"}, dataset="none", licence="none")


def test_model_folder_holds_the_graphs(graph, tmp_path):
    """A trained network needs no file but its own: the graphs come back with the weights, also by `load_state_dict`."""
    network = small_network(two_graphs(graph)).eval()
    write_model(tmp_path / "model", network.state_dict(), model_of(network))
    again, _ = load_intaghand(tmp_path / "model")
    into_another = small_network({side: graph for side in Side}, seed=5).eval()
    before = graph.laplacians[0].clone()
    into_another.load_state_dict(network.state_dict())
    assert torch.equal(graph.laplacians[0], before)
    features = random_features(1)
    with torch.no_grad():
        expected = spelt_out(network, features)
        for other in (again, into_another):
            assert_close(spelt_out(other, features), expected, 1e-6)
    for level, per_node in enumerate(FINE_PER_NODE):
        assert torch.equal(again.graph(Side.RIGHT).laplacians[level], shuffled(graph).laplacians[level])
        assert 50 * 16 // per_node == again.graph(Side.RIGHT).sizes[level]
    with pytest.raises(CheckpointError, match="no published layout; only the published sizes have"):
        export_weights(tmp_path / "model", tmp_path / "back.pth")


def test_start_hands_of_the_earlier_form_are_refused(graph, tmp_path):
    """Folders trained before start hands were turned hands hold other numbers; they are named, and what to do."""
    network = small_network(two_graphs(graph), start_components=3)
    write_model(tmp_path / "model", network.state_dict(), model_of(network))
    assert load_intaghand(tmp_path / "model")[0].start_hands.components.shape == (3, 2, 200, 3)
    earlier = network.state_dict()
    earlier["start_hands.weights.weight"] = earlier.pop("start_hands.numbers.weight")
    write_model(tmp_path / "model", earlier, model_of(network))
    with pytest.raises(CheckpointError, match=r"model: the start hands have an old format .* train IntagHand again"):
        load_intaghand(tmp_path / "model")


@pytest.fixture(scope="module")
def weights(golden) -> dict[str, Tensor]:
    return published_weights(golden)


@pytest.fixture(scope="module")
def graph_folder(graph, faces, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    for side, of_side in two_graphs(graph).items():
        (folder / f"graph_{side.value}.pkl").write_bytes(pickle.dumps(published_content(of_side, faces)))
    return folder


def test_imported_network_stands_on_the_imported_graphs(weights, graph_folder, graph, tmp_path):
    torch.save(weights, tmp_path / "interhand.pth")
    list(import_weights([tmp_path / "interhand.pth"], tmp_path / "intaghand", graph_folder))
    network, card = load_intaghand(tmp_path / "intaghand")
    assert card.origin["loaded"] == 1093
    for side, expected in two_graphs(graph).items():
        for level in range(3):
            assert torch.equal(network.levels[level].graph[side.value].graph, expected.laplacians[level])
        assert torch.equal(network.graph(side).node_of_vertex, expected.node_of_vertex)


def test_weights_without_their_graphs_are_refused(weights, graph_folder, tmp_path):
    torch.save(weights, tmp_path / "interhand.pth")
    with pytest.raises(CheckpointError, match="--graphs"):
        list(import_weights([tmp_path / "interhand.pth"], tmp_path / "intaghand"))
    key = "decoder.dual_gcn.layers.0.position_embeddings.weight"
    torch.save(weights | {key: torch.zeros(63, 512)}, tmp_path / "interhand.pth")
    with pytest.raises(CheckpointError, match="50 nodes on level 0, the weights were trained with 63"):
        list(import_weights([tmp_path / "interhand.pth"], tmp_path / "intaghand", graph_folder))
    without = {key: tensor for key, tensor in weights.items() if key != "decoder.dense_coor"}
    torch.save(without, tmp_path / "interhand.pth")
    with pytest.raises(CheckpointError, match=r"v_color.pkl: is missing"):
        list(import_weights([tmp_path / "interhand.pth"], tmp_path / "intaghand", graph_folder))
    torch.save({"image_encoder.resnet.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="does not use graph files"):
        list(import_weights([tmp_path / "other.pt"], tmp_path / "keypoint_refinement", graph_folder))
    assert not (tmp_path / "intaghand").exists()


@pytest.mark.gpu
def test_gpu_gives_the_reference_numbers(golden, golden_run):
    network = copy.deepcopy(golden_run[0]).cuda()
    with torch.no_grad(), full_float32():
        hands = network(image_of(golden).cuda()).hands
    for side in SIDES:
        np.testing.assert_allclose(hands[side].coarse.cpu(), golden[f"{side.value}_coarse3d"], rtol=0, atol=1e-4)
