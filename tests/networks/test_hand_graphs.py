"""Graphs of a hand's mesh: equal to the reference on the stand-in, deterministic, and correct for any mesh."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.networks.hand_graphs import (
    HandGraph,
    binary_orders,
    build_hand_graph,
    coarsen,
    nearest_upsampling,
    smooth_upsampling,
    vertex_adjacency,
    without_fakes,
)
from im2hands.networks.published.graph_files import read_graph_files, read_hand_graph
from im2hands.parity.case import Golden
from tests.naive.intaghand import naive_coarsening
from tests.reference import FOLDER


@pytest.fixture(scope="module")
def golden() -> Golden:
    return FOLDER.find("intaghand_network")


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return FOLDER.find("mano_forward")["model_f"]


@pytest.fixture(scope="module")
def graph(faces) -> HandGraph:
    return build_hand_graph(faces)


def grid_faces(rows: int, columns: int) -> np.ndarray:
    """Triangles of a rectangular sheet."""
    corners = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = corners[:-1, :-1], corners[:-1, 1:], corners[1:, :-1], corners[1:, 1:]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])


def test_graph_of_the_stand_in_is_the_reference_one(graph, golden):
    assert graph.sizes == (50, 100, 200)
    np.testing.assert_array_equal(graph.vertex_of_node, golden["graph_perm"])
    np.testing.assert_array_equal(graph.node_of_vertex, golden["graph_perm_reverse"][:778])
    for level, laplacian in enumerate(graph.laplacians):
        np.testing.assert_allclose(laplacian, golden[f"graph_L_used_{level}"], atol=1e-6)


def test_sizes_halve_on_every_level(faces):
    _, parents = coarsen(vertex_adjacency(faces), 4)
    assert [len(order) for order in binary_orders(parents)] == [800, 400, 200, 100, 50]


def test_order_of_triangles_and_their_corners_does_not_matter(faces, graph):
    shuffled = np.random.default_rng(4).permutation(faces)[:, ::-1]
    again = build_hand_graph(shuffled)
    assert torch.equal(again.vertex_of_node, graph.vertex_of_node)
    assert all(torch.equal(a, b) for a, b in zip(again.laplacians, graph.laplacians, strict=True))


def test_spectra_are_those_of_the_published_rescaling(graph):
    """The coarsest level is not rescaled, the finer ones are brought to -1..-1/2 instead of -1..1."""
    coarse, *finer = (np.linalg.eigvalsh(laplacian.double()) for laplacian in graph.laplacians)
    assert abs(coarse[0]) < 1e-6
    assert 0.6 < coarse[-1] < 0.7
    for spectrum in finer:
        np.testing.assert_allclose(spectrum[[0, -1]], [-1, -0.5], atol=1e-6)


@settings(max_examples=25)
@given(st.integers(2, 7), st.integers(2, 9), st.integers(0, 2**31))
def test_matching_equals_naive(rows, columns, seed):
    """On sheets with vertices numbered at random, level by level: the same pairs and the same weights."""
    numbers = np.random.default_rng(seed).permutation(rows * columns)
    mesh = numbers[grid_faces(rows, columns)]
    graphs, parents = coarsen(vertex_adjacency(mesh), 3)
    naive_graphs, naive_parents = naive_coarsening(mesh, 3)
    for ours, naive in zip(parents, naive_parents, strict=True):
        assert ours.tolist() == naive
    for ours, naive in zip(graphs, naive_graphs, strict=True):
        assert {(int(i), int(j)): ours[i, j] for i, j in zip(*np.nonzero(ours), strict=True)} == naive


@settings(max_examples=25)
@given(st.integers(2, 8), st.integers(2, 9), st.integers(0, 2**31))
def test_properties_of_any_mesh(rows, columns, seed):
    """Orders are there and back; blocks of 16 nodes are what was merged; constants survive pooling and spreading."""
    vertices = rows * columns
    mesh = np.random.default_rng(seed).permutation(vertices)[grid_faces(rows, columns)]
    graph = build_hand_graph(mesh)
    assert torch.equal(graph.vertex_of_node[graph.node_of_vertex], torch.arange(vertices))
    _, parents = coarsen(vertex_adjacency(mesh), 4)
    ancestors = np.arange(vertices)
    for parent in parents:
        ancestors = parent[ancestors]
    np.testing.assert_array_equal(graph.node_of_vertex // 16, ancestors)
    for laplacian in graph.laplacians:
        assert torch.equal(laplacian, laplacian.T)
    for level in range(3):
        constant = torch.full((2, vertices, 3), 0.25)
        pooled = graph.pooled(constant, level)
        assert pooled.shape == (2, graph.sizes[level], 3)
        assert torch.equal(pooled, torch.full_like(pooled, 0.25))
        assert torch.equal(graph.spread(pooled, level), constant)


def test_fake_blocks_become_copies_of_their_siblings():
    """Vertices 0..3 are real. Sizes 1, 2, 4, 8 in turn: single fakes first, then whole blocks."""
    order = np.array([0, 7, 8, 9, 1, 2, 3, 10, *range(11, 19)])
    assert without_fakes(order, 4).tolist() == [0, 0, 0, 0, 1, 2, 3, 3, 0, 0, 0, 0, 1, 2, 3, 3]


def test_upsampling_gives_every_vertex_its_own_node(graph):
    weights = nearest_upsampling((graph, graph))
    assert torch.equal(weights.sum(dim=1), torch.ones(778))
    nodes = torch.randn(200, 3)
    torch.testing.assert_close(weights @ nodes, graph.spread(nodes, 2))


def test_unusable_meshes_and_orders_are_refused(graph):
    with pytest.raises(DataError, match="vertex 1 of the mesh belongs to no triangle"):
        build_hand_graph(np.array([[0, 2, 3]]))
    with pytest.raises(DataError, match="must double in size"):
        HandGraph(graph.laplacians[::-1], graph.vertex_of_node, graph.node_of_vertex)
    with pytest.raises(DataError, match="do not match"):
        HandGraph(graph.laplacians, graph.vertex_of_node.flip(0), graph.node_of_vertex)


# ---- published files


def published_content(graph: HandGraph, faces: np.ndarray, matrix=scipy.sparse.csr_matrix) -> dict:
    """What a published graph file holds."""
    adjacencies, _ = coarsen(vertex_adjacency(faces), 4)
    fine = [np.zeros((800, 800), np.float32), np.zeros((400, 400), np.float32)]
    levels = fine + [laplacian.numpy() for laplacian in reversed(graph.laplacians)]
    fakes = np.setdiff1d(np.arange(800), graph.node_of_vertex)
    return {
        "mesh_faces": faces,
        "mesh_adj": matrix(adjacencies[0]),
        "graph_mask": np.ones(800),
        "coarsen_graphs_adj": [matrix(adjacency) for adjacency in adjacencies],
        "coarsen_graphs_L": [matrix(level) for level in levels],
        "graph_perm": graph.vertex_of_node.tolist(),
        "graph_perm_reverse": np.concatenate([graph.node_of_vertex, fakes]),
    }


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "coo_array", "dense"])
def test_graph_files_are_read_in_any_matrix_format(tmp_path, graph, faces, kind, protocol):
    matrix = np.asarray if kind == "dense" else getattr(scipy.sparse, kind)
    for side in Side:
        content = published_content(graph, faces, matrix)
        (tmp_path / f"graph_{side.value}.pkl").write_bytes(pickle.dumps(content, protocol))
    (tmp_path / "v_color.pkl").write_bytes(pickle.dumps(np.full((778, 3), 0.5), protocol))
    (tmp_path / "upsample.pkl").write_bytes(pickle.dumps(np.full((778, 200), 2.0, np.float32), protocol))
    files = read_graph_files(tmp_path)
    for read in files.graphs.values():
        assert torch.equal(read.vertex_of_node, graph.vertex_of_node)
        assert torch.equal(read.node_of_vertex, graph.node_of_vertex)
        assert all(torch.equal(a, b) for a, b in zip(read.laplacians, graph.laplacians, strict=True))
    assert torch.equal(files.vertex_codes, torch.full((778, 3), 0.5))
    assert torch.equal(files.upsampling, torch.full((778, 200), 2.0))


def test_old_module_names_of_scipy_are_understood(tmp_path, graph, faces):
    content = pickle.dumps(published_content(graph, faces), 2).replace(b"scipy.sparse._csr\n", b"scipy.sparse.csr\n")
    (tmp_path / "graph_left.pkl").write_bytes(content.replace(b"numpy._core.", b"numpy.core."))
    assert read_hand_graph(tmp_path / "graph_left.pkl").sizes == (50, 100, 200)


class Malicious:
    def __reduce__(self):
        return (print, ("executed",))


def test_unusable_graph_files_are_refused_in_one_sentence(tmp_path, graph, faces, capsys):
    path = tmp_path / "graph_left.pkl"
    with pytest.raises(DataError, match="the folder of graph files does not exist"):
        read_graph_files(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"graph_right\.pkl: the pickle file is missing"):
        read_graph_files(tmp_path)
    path.write_bytes(pickle.dumps({"graph_perm": Malicious()}))
    with pytest.raises(DataError, match=r"asks for `builtins\.print`"):
        read_hand_graph(path)
    assert capsys.readouterr().out == ""
    path.write_bytes(pickle.dumps({"something": 1}))
    with pytest.raises(DamagedFileError, match="not a graph file of IntagHand"):
        read_hand_graph(path)
    content = published_content(graph, faces)
    path.write_bytes(pickle.dumps({**content, "coarsen_graphs_L": content["coarsen_graphs_L"][:3]}))
    with pytest.raises(DataError, match="has 3 levels instead of 5"):
        read_hand_graph(path)
    path.write_bytes(pickle.dumps({**content, "graph_perm": content["graph_perm"][:790]}))
    with pytest.raises(DamagedFileError, match="do not match"):
        read_hand_graph(path)
    path.write_bytes(pickle.dumps({**content, "graph_perm": content["graph_perm"][::-1]}))
    with pytest.raises(DataError, match=r"graph_left\.pkl: the two vertex orders"):
        read_hand_graph(path)
    path.write_bytes(pickle.dumps(content)[:-100])
    with pytest.raises(DamagedFileError, match="not a readable pickle"):
        read_hand_graph(path)
    for side in Side:
        (tmp_path / f"graph_{side.value}.pkl").write_bytes(pickle.dumps(content))
    (tmp_path / "upsample.pkl").write_bytes(pickle.dumps(np.zeros((778, 252))))
    with pytest.raises(DataError, match=r"upsample.pkl: has shape \(778, 252\)"):
        read_graph_files(tmp_path)


def test_smooth_upsampling_keeps_means_and_makes_no_steps():
    """A hand's nodes come back as means over their vertices, constants as constants, and the hand nearer than from steps."""
    models = builtin_hand_models()
    graphs = tuple(build_hand_graph(models[side].faces) for side in Side)
    smooth = smooth_upsampling(graphs, models[Side.RIGHT].faces)
    torch.testing.assert_close(smooth.sum(1), torch.ones(778), atol=1e-4, rtol=0)
    template = models[Side.RIGHT].template.float()
    coarse = graphs[0].pooled(template, 2)
    torch.testing.assert_close(graphs[0].pooled(smooth @ coarse, 2), coarse, atol=2e-4, rtol=0)
    distances = [(weights @ coarse - template).norm(dim=-1).mean() for weights in (smooth, nearest_upsampling(graphs))]
    assert distances[0] < 0.002 < 0.005 < distances[1]
