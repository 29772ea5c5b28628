"""Inside tests of 100 000 points (half uniform in the published cube, half near the surface): ours against public libraries.

One core; the time of every row includes building its index. All rows must give the labels of the exact winding number.
"""

from __future__ import annotations

from benchmarks.harness import Benchmark  # first: it sets the number of threads

# isort: split
import igl
import numpy as np
import trimesh

from im2hands.datasets.query_sampling import CUBE
from im2hands.geometry.inside import InsideTest, inside_mesh
from im2hands.geometry.surface import sample_surface
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side

POINTS = 100_000
SIGMA = 0.01


def sealed_hand() -> tuple[np.ndarray, np.ndarray]:
    """The built-in right hand, sealed at the wrist, palm units: 779 vertices, 1554 faces."""
    model = builtin_hand_models()[Side.RIGHT]
    vertices = model.seal(model.template.double().numpy())
    return (vertices - vertices[-1]) / 0.4, model.sealed_faces


def mixed_points(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    near = sample_surface(vertices, faces, POINTS // 2, rng).points
    return np.concatenate([rng.uniform(-CUBE, CUBE, near.shape), near + rng.normal(0, SIGMA, near.shape)])


def compare(benchmark: Benchmark, job: str, vertices: np.ndarray, faces: np.ndarray, targets: dict[str, float]) -> None:
    points = mixed_points(vertices, faces)
    forms = {
        "ours, numpy form": lambda: inside_mesh(points, vertices, faces, backend="numpy"),
        "ours, published parity rule": lambda: inside_mesh(points, vertices, faces, "parity"),
        "ours, published parity rule, numpy form": lambda: inside_mesh(points, vertices, faces, "parity", "numpy"),
        "trimesh contains with embreex": lambda: trimesh.Trimesh(vertices, faces, process=False).contains(points),
        "libigl fast_winding_number": lambda: igl.fast_winding_number(vertices, faces, points) > 0.5,
    }
    exact = np.rint(igl.winding_number(vertices, faces, points[::5])) != 0

    def ours() -> np.ndarray:
        return InsideTest(vertices, faces, "numba").contains(points)

    different = {name: int(np.count_nonzero(form()[::5] != exact)) for name, form in {"ours": ours, **forms}.items()}
    assert different["ours"] == different["ours, numpy form"] == 0
    benchmark.compare(
        job,
        ours,
        forms,
        targets,
        repeats=9,
        faces=len(faces),
        points=POINTS,
        inside_share=round(float(ours().mean()), 3),
        labels_different_from_the_exact_winding_number=different,
        labels_checked=len(exact),
    )


def main() -> None:
    benchmark = Benchmark("inside", ("numpy", "numba", "trimesh", "embreex", "libigl"))
    vertices, faces = sealed_hand()
    targets = {"trimesh contains with embreex": 3, "libigl fast_winding_number": 20}
    compare(benchmark, "sealed hand, 1 554 faces", vertices, faces, targets)
    fine = trimesh.Trimesh(vertices, faces, process=False).subdivide().subdivide()
    compare(benchmark, "the same, each face in 16", np.asarray(fine.vertices), np.asarray(fine.faces), {})
    benchmark.save()


if __name__ == "__main__":
    main()
