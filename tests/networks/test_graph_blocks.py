"""Graph convolutions: the weight-first form against the plain one and against the numbers of the reference blocks."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from im2hands.networks.graph_blocks import ChebyshevLinear, GraphBlock, GraphLayer
from im2hands.networks.published.naming import GRAPH_BLOCKS, renamed
from im2hands.parity.weights_rule import rule_weights
from tests.naive.graph_blocks import naive_block, naive_chebyshev, naive_graph_layer
from tests.networks.comparing import assert_same, values_and_gradients

TOLERANCES = [(torch.float32, 1e-5), (torch.float64, 1e-12)]


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parents[1] / "golden" / "intaghand_network.npz") as content:
        names = [name for name in content.files if name.startswith(("gcn_", "graph_")) or name == "seed"]
        return {name: content[name] for name in names}


def load_rule_weights(module: nn.Module, golden: dict, case: str) -> None:
    shapes = json.loads(golden[f"{case}_keys"].tobytes())
    weights = rule_weights(shapes, int(golden["seed"]))
    module.load_state_dict({renamed(f".{key}", GRAPH_BLOCKS)[1:]: tensor for key, tensor in weights.items()})
    module.eval()


def inputs_of(golden: dict, case: str) -> tuple[Tensor, Tensor, np.ndarray]:
    nodes, graph = torch.from_numpy(golden[f"{case}_in0"]), torch.from_numpy(golden["graph_L_used_0"])
    return nodes, graph, golden[f"{case}_out0"]


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("form", [GraphBlock.forward, naive_block])
def test_block_gives_the_reference_numbers(golden, order, form):
    case = f"gcn_resblock_k{order}"
    nodes, graph, expected = inputs_of(golden, case)
    block = GraphBlock(12, 8, order)
    load_rule_weights(block, golden, case)
    np.testing.assert_allclose(form(block, nodes, graph).detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("form", [GraphLayer.forward, naive_graph_layer])
def test_layer_gives_the_reference_numbers(golden, form):
    nodes, graph, expected = inputs_of(golden, "graph_layer")
    layer = GraphLayer(graph, 12, 8, blocks=4)
    load_rule_weights(layer, golden, "graph_layer")
    np.testing.assert_allclose(form(layer, nodes).detach().numpy(), expected, atol=1e-5)


def random_case(order: int, dtype: torch.dtype, batch: int, nodes: int) -> tuple[GraphLayer, Tensor]:
    """A layer over a random, directed graph that is far from symmetric, and features."""
    torch.manual_seed(10 * order + nodes)
    layer = GraphLayer(torch.randn(nodes, nodes) / max(nodes, 1), 7, 5, blocks=3, order=order, dropout=0)
    return layer.to(dtype), torch.randn(batch, nodes, 7, dtype=dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize(("batch", "nodes"), [(0, 4), (1, 1), (3, 21)])
def test_layer_equals_naive(dtype, tolerance, order, batch, nodes):
    """Applying the weight before the graph changes the cost, not values or gradients."""
    layer, features = random_case(order, dtype, batch, nodes)
    naive = values_and_gradients(partial(naive_graph_layer, layer), (features,), layer.parameters())
    assert_same(values_and_gradients(layer, (features,), layer.parameters()), naive, tolerance)


def test_direction_of_edges_and_interleaving():
    """Row i of the graph says from whom node i receives; even weight columns meet the node itself, odd ones its senders."""
    layer = ChebyshevLinear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 10.0, 100.0, 1000.0]]))
        layer.bias.zero_()
    graph = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    nodes = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    torch.testing.assert_close(layer(nodes, graph), torch.tensor([[[1.0 + 200 + 30 + 4000], [3.0 + 400]]]))
    torch.testing.assert_close(naive_chebyshev(layer, nodes, graph), layer(nodes, graph))


def test_unused_norm_changes_nothing_and_gets_no_gradient():
    layer, features = random_case(2, torch.float32, 2, 6)
    before = layer(features)
    with torch.no_grad():
        for block in layer.blocks:
            block.unused_norm.weight.fill_(7)
    torch.testing.assert_close(layer(features), before, rtol=0, atol=0)
    before.sum().backward()
    without = {name.split(".", 2)[2] for name, parameter in layer.named_parameters() if parameter.grad is None}
    assert without == {"unused_norm.weight", "unused_norm.bias"}


def test_dropout_stands_between_second_convolution_and_shortcut():
    """With everything dropped only the shortcut is left; evaluation drops nothing."""
    torch.manual_seed(0)
    block, nodes, graph = GraphBlock(4, 3, dropout=1.0), torch.randn(2, 5, 4), torch.randn(5, 5)
    torch.testing.assert_close(block(nodes, graph), block.norm(block.shortcut(nodes)))
    block.eval()
    assert not torch.allclose(block(nodes, graph), block.norm(block.shortcut(nodes)))
    torch.testing.assert_close(block(nodes, graph), naive_block(block, nodes, graph))


def test_graph_moves_with_the_layer_but_is_no_weight():
    layer = GraphLayer(torch.eye(3), 2, 2).double()
    assert layer.graph.dtype == torch.float64
    assert "graph" not in layer.state_dict()


def test_impossible_layers_are_refused():
    with pytest.raises(ValueError, match="2 or 3, not 4"):
        ChebyshevLinear(2, 2, order=4)
    with pytest.raises(ValueError, match=r"square, not \(3, 2\)"):
        GraphLayer(torch.zeros(3, 2), 2, 2)
