"""Graphs of a hand mesh from fine to coarse, for the convolutions of IntagHand's decoder, and the maps between them and the
mesh.

Four rounds of heavy-edge matching merge vertices in pairs. The nodes of every level are then ordered so that the two children
of node i are nodes 2i and 2i + 1 of the next finer level; where a child is missing a fake one without edges fills its place.
The decoder uses the three coarsest levels, 16, 8 and 4 finest nodes to a node.

Matching depends on the order in which vertices of equal degree are visited. Published graph files were made with an unstable
sort and cannot be rebuilt (`published.graph_files` reads them); here the sort is stable, and graphs are kept with the weights.
Source: IntagHand (CVPR 2022), section 3.3; Defferrard et al., Convolutional neural networks on graphs (NeurIPS 2016), 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from im2hands.io.errors import DataError

ROUNDS = 4
USED_LEVELS = 3
MEANS_WEIGHT = 1e4
"""How much the nodes' values weigh against smoothness in `smooth_upsampling`."""
FINE_PER_NODE = tuple(2 ** (ROUNDS - level) for level in range(USED_LEVELS))
"""Finest nodes to a node of each used level, coarse to fine: 16, 8, 4."""


@dataclass(frozen=True)
class HandGraph:
    """The graphs of one hand as the decoder needs them.

    laplacians: Laplacians of the three coarsest levels, coarse to fine, rescaled as published.  vertex_of_node: the mesh
    vertex that each finest node represents (fake nodes represent the vertex of their sibling).  node_of_vertex: finest node of
    each vertex.
    """

    laplacians: tuple[Float[Tensor, "nodes nodes"], ...]
    vertex_of_node: Int[Tensor, " finest"]
    node_of_vertex: Int[Tensor, " vertices"]

    def __post_init__(self) -> None:
        sizes = [len(laplacian) for laplacian in self.laplacians]
        finest, vertices = len(self.vertex_of_node), len(self.node_of_vertex)
        if sizes != [finest // per_node for per_node in FINE_PER_NODE] or finest % FINE_PER_NODE[0]:
            raise DataError(
                f"the levels of a hand graph must double in size up to its {finest} finest nodes, but have {sizes} nodes."
            )
        if any(laplacian.shape != (size, size) for laplacian, size in zip(self.laplacians, sizes, strict=True)):
            raise DataError("the Laplacians of a hand graph must be square matrices.")
        if not torch.equal(
            self.vertex_of_node[self.node_of_vertex], torch.arange(vertices, device=self.node_of_vertex.device)
        ):
            raise DataError("the two vertex orders of a hand graph do not match.")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Nodes of the used levels, coarse to fine."""
        return tuple(len(laplacian) for laplacian in self.laplacians)

    def pooled(
        self, values: Float[Tensor, "*batch vertices channels"], level: int
    ) -> Float[Tensor, "*batch nodes channels"]:
        """Means of vertex values over the nodes of a used level (0 is the coarsest)."""
        per_node = FINE_PER_NODE[level]
        nodes = values[..., self.vertex_of_node.to(values.device), :]
        return nodes.unflatten(-2, (-1, per_node)).mean(-2)

    def spread(
        self, nodes: Float[Tensor, "*batch nodes channels"], level: int
    ) -> Float[Tensor, "*batch vertices channels"]:
        """For every vertex the value of the node that it belongs to."""
        return nodes[..., self.node_of_vertex.to(nodes.device) // FINE_PER_NODE[level], :]


def vertex_adjacency(faces: Int[np.ndarray, "faces 3"]) -> Float[np.ndarray, "vertices vertices"]:
    """Symmetric 0/1 matrix of the edges of a mesh."""
    faces = np.asarray(faces, dtype=np.int64)
    adjacency = np.zeros((faces.max() + 1,) * 2)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        adjacency[faces[:, a], faces[:, b]] = adjacency[faces[:, b], faces[:, a]] = 1
    return adjacency


def build_hand_graph(faces: Int[np.ndarray, "faces 3"]) -> HandGraph:
    """The graphs of a mesh; the same faces always give the same graphs.

    Raises DataError if a vertex belongs to no triangle.
    """
    adjacency = vertex_adjacency(faces)
    if not adjacency.any(axis=1).all():
        raise DataError(
            f"vertex {int(np.argmin(adjacency.any(axis=1)))} of the mesh belongs to no triangle; "
            "graphs need a mesh without loose vertices."
        )
    adjacencies, parents = coarsen(adjacency, ROUNDS)
    orders = binary_orders(parents)
    laplacians = []
    for level in range(ROUNDS, ROUNDS - USED_LEVELS, -1):
        laplacian = normalised_laplacian(reordered(adjacencies[level], orders[level]))
        laplacians.append(laplacian if level == ROUNDS else published_rescaling(laplacian))
    finest, vertices = orders[0], len(adjacency)
    node_of_vertex = np.argsort(finest, kind="stable")[:vertices]
    return HandGraph(
        tuple(torch.from_numpy(laplacian).float() for laplacian in laplacians),
        torch.from_numpy(without_fakes(finest, vertices)),
        torch.from_numpy(node_of_vertex),
    )


def coarsen(
    adjacency: Float[np.ndarray, "vertices vertices"], rounds: int
) -> tuple[list[Float[np.ndarray, "nodes nodes"]], list[Int[np.ndarray, " nodes"]]]:
    """Weighted graphs from fine to coarse, and for each but the last the parent of every node.

    Weights of merged edges are added up; edges inside a pair stay as a self loop of twice their weight.
    """
    graphs, parents = [adjacency], []
    for place in range(rounds):
        weights = graphs[-1]
        degrees = weights.sum(axis=1) - (np.diagonal(weights) if place == 0 else 0)
        parents.append(match_pairs(weights, degrees))
        members = np.eye(parents[-1].max() + 1)[parents[-1]]
        graphs.append(members.T @ weights @ members)
    return graphs, parents


def match_pairs(
    weights: Float[np.ndarray, "nodes nodes"], degrees: Float[np.ndarray, " nodes"]
) -> Int[np.ndarray, " nodes"]:
    """Number of the pair (or single) of every node, in the order in which they are formed.

    Nodes are visited by ascending degree. Each takes the free neighbour with the largest
    (2 w_ij + w_ii + w_jj) / (d_i + d_j + 1e-9); the first in column order among equals.

    Two slips of the published code are kept, since graphs are what weights were trained on: the loops' weights w_ii and w_jj
    are the first entries of the rows, whatever their column; and node 0 also sees the first entry of row 1 while the last node
    misses its own last entry.
    """
    rows = [list(zip(np.flatnonzero(row), row[row != 0], strict=True)) for row in weights]
    firsts = [row[0][1] for row in rows]
    if len(rows) > 1:
        rows[0] = rows[0] + rows[1][:1]
        rows[-1] = rows[-1][:-1]
    pair_of = np.full(len(rows), -1)
    pairs = 0
    for node in np.argsort(degrees, kind="stable"):
        if pair_of[node] >= 0:
            continue
        pair_of[node] = pairs
        partner, best = -1, 0.0
        for neighbour, weight in rows[node]:
            if pair_of[neighbour] < 0:
                score = (2 * weight + firsts[node] + firsts[neighbour]) / (degrees[node] + degrees[neighbour] + 1e-9)
                if score > best:
                    partner, best = neighbour, score
        if partner >= 0:
            pair_of[partner] = pairs
        pairs += 1
    return pair_of


def binary_orders(parents: list[Int[np.ndarray, " nodes"]]) -> list[Int[np.ndarray, " nodes"]]:
    """Order of the nodes of every level, fine to coarse, in which the children of place i are at 2i and 2i + 1.

    Fake children are numbered after the real nodes of their level and follow a real sibling.
    """
    orders = [np.arange(parents[-1].max() + 1)]
    for parent in reversed(parents):
        children: dict[int, list[int]] = {}
        for node, pair in enumerate(parent):
            children.setdefault(int(pair), []).append(node)
        order, fake = [], len(parent)
        for node in orders[0]:
            places = list(children.get(int(node), []))
            while len(places) < 2:
                places.append(fake)
                fake += 1
            order += places
        orders.insert(0, np.array(order))
    return orders


def reordered(
    weights: Float[np.ndarray, "real real"], order: Int[np.ndarray, " nodes"]
) -> Float[np.ndarray, "nodes nodes"]:
    """The graph with fake, unconnected nodes after the real ones, in an order."""
    padded = np.zeros((len(order), len(order)))
    padded[: len(weights), : len(weights)] = weights
    return padded[np.ix_(order, order)]


def without_fakes(order: Int[np.ndarray, " nodes"], real: int) -> Int[np.ndarray, " nodes"]:
    """An order of the finest nodes in which fake ones are replaced: wholly fake blocks become copies of their sibling block."""
    order = order.copy()
    size = 1
    while size < 2**ROUNDS:
        blocks = order.reshape(-1, 2, size)
        fake: Bool[np.ndarray, "pairs 2"] = (blocks >= real).all(axis=-1)
        for place in (0, 1):
            copied = fake[:, place] & ~fake[:, 1 - place]
            blocks[copied, place] = blocks[copied, 1 - place]
        size *= 2
    return order


def normalised_laplacian(weights: Float[np.ndarray, "nodes nodes"]) -> Float[np.ndarray, "nodes nodes"]:
    """I - D^(-1/2) W D^(-1/2), self loops included in W and D; 1 on the diagonal of unconnected nodes."""
    degrees = weights.sum(axis=1)
    scale = np.divide(1, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    return np.eye(len(weights)) - scale[:, None] * weights * scale


def published_rescaling(laplacian: Float[np.ndarray, "nodes nodes"]) -> Float[np.ndarray, "nodes nodes"]:
    """L / (2 l) - I with the largest eigenvalue l: spectrum -1 to -1/2.

    The usual rescaling for Chebyshev polynomials would be 2 L / l - I; published weights were trained with this one.
    """
    return laplacian / (2 * np.linalg.eigvalsh(laplacian)[-1]) - np.eye(len(laplacian))


def nearest_upsampling(graphs: tuple[HandGraph, HandGraph]) -> Float[Tensor, "vertices nodes"]:
    """Weights from the finest used level to the vertices: each takes its own node, in the mean of both hands' graphs."""
    nodes = graphs[0].sizes[-1]
    return sum(graph.spread(torch.eye(nodes), USED_LEVELS - 1) for graph in graphs) / len(graphs)


def smooth_upsampling(
    graphs: tuple[HandGraph, HandGraph], faces: Int[np.ndarray, "faces 3"]
) -> Float[Tensor, "vertices nodes"]:
    """Weights from the finest used level to the vertices: of all values whose means over the nodes are the given ones (or
    nearly: a fake node shares its vertices with others), the smoothest, by the sum of squares of their differences from the
    mean of their neighbours.

    Nearest weights put every vertex onto the place of its node, which makes meshes of steps and flat triangles.
    """
    adjacency = vertex_adjacency(faces)
    vertices = len(adjacency)
    roughness = np.eye(vertices) - adjacency / adjacency.sum(axis=1, keepdims=True)
    identity = torch.eye(vertices, dtype=torch.float64)
    means = sum(graph.pooled(identity, USED_LEVELS - 1).numpy() for graph in graphs) / len(graphs)
    normal = roughness.T @ roughness + MEANS_WEIGHT * means.T @ means
    return torch.from_numpy(np.linalg.solve(normal, MEANS_WEIGHT * means.T)).float()
