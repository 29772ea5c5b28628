"""The z-buffer against its plain numpy form and against rays (trimesh with embree), for both hands of one picture.

`python -m benchmarks.bm_renderer`
"""

from __future__ import annotations

from benchmarks.harness import Benchmark  # first: it sets the number of threads

# isort: split
import numpy as np
import trimesh

from im2hands.datasets.synthetic.dataset import draw_picture, picture_tasks
from im2hands.datasets.synthetic.plan import Settings
from im2hands.geometry.cameras import project, square_crop
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.rendering.rasterizer import rasterize
from tests.naive.rasterizer import rasterize as naive_rasterize

SIZE = 256
SETTINGS = Settings(
    dict.fromkeys(("train", "val", "test"), 4), dict.fromkeys(("train", "val", "test"), 1), 1, 1.0, 2, 92, 20230618
)


def main() -> None:
    task = picture_tasks("unused", SETTINGS, "val")[0]
    models = builtin_hand_models()
    world = {
        side: models[side].pose(fit.pose[None], fit.shape[None], fit.translation[None]).vertices[0].numpy()
        for side, fit in task.fits.items()
    }
    camera = task.camera.camera
    camera = camera.cropped(square_crop(camera.project(np.concatenate(list(world.values()))), SIZE))
    vertices = camera.to_camera(np.concatenate([world[side] for side in Side]))
    faces = np.concatenate([models[Side.RIGHT].faces, models[Side.LEFT].faces + 778])
    pixels, depth = project(vertices, camera.intrinsics), vertices[:, 2]
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    directions = np.stack([columns, rows, np.ones_like(rows)], -1).reshape(-1, 3) @ np.linalg.inv(camera.intrinsics).T
    origins = np.zeros_like(directions)

    def rays() -> np.ndarray:
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        return mesh.ray.intersects_first(origins, directions).reshape(SIZE, SIZE)

    ours = rasterize(pixels, depth, faces, SIZE, SIZE).triangle
    benchmark = Benchmark("renderer", ("numpy", "numba", "trimesh", "embreex"))
    benchmark.compare(
        f"two hands, {SIZE} x {SIZE}: depth, triangle, barycentrics",
        lambda: rasterize(pixels, depth, faces, SIZE, SIZE),
        {
            "plain numpy, one triangle at a time": lambda: naive_rasterize(pixels, depth, faces, SIZE, SIZE),
            "rays, trimesh + embree (triangle alone, with index)": rays,
        },
        equal_triangles_naive=float((ours == naive_rasterize(pixels, depth, faces, SIZE, SIZE)[1]).mean()),
        equal_triangles_rays=float((ours == rays()).mean()),
        covered_pixels=int((ours >= 0).sum()),
    )
    benchmark.compare("one picture, 512 x 334, drawn twice as large", lambda: draw_picture(task), {}, repeats=5)
    benchmark.save()


if __name__ == "__main__":
    main()
