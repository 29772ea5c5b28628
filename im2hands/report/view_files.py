"""Reads the inputs of `im2hands view`: mesh files, folders of them, folders of `im2hands reconstruct`, results of the workflow.

Each becomes a panel with frames; a frame has named meshes. Files are in metres, or in millimetres if a scene is larger than
LARGEST_SCENE_M. Axes are the camera's (x right, y down, z away) unless a camera is known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from im2hands.datasets.frames import FrameTable
from im2hands.datasets.hands import HandTable
from im2hands.geometry.cameras import checked_rotation
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.mesh_files import READABLE, read_parts
from im2hands.hands.model_files import load_hand_models
from im2hands.hands.sides import Side
from im2hands.io.arrays import number_array
from im2hands.io.atomic import read_json
from im2hands.io.documents import require_object
from im2hands.io.errors import DataError
from im2hands.reconstruction.storage import SurfaceShard, read_surfaces

LARGEST_SCENE_M = 10.0
SPLITS = ("test", "val", "train")


@dataclass(frozen=True)
class Part:
    """A mesh in metres. side: None if its name says none."""

    name: str
    side: Side | None
    mesh: Mesh


@dataclass(frozen=True)
class ViewFrame:
    """names: under which other panels may have the same frame.  parts: reads the meshes.  rotation: world -> camera."""

    label: str
    names: frozenset[str]
    parts: Callable[[], list[Part]]
    rotation: Float[np.ndarray, "3 3"] | None = None


@dataclass(frozen=True)
class Panel:
    """truth: the true hands of a frame, [] if they are not known."""

    title: str
    frames: Sequence[ViewFrame]
    truth: Callable[[ViewFrame], list[Part]]


def read_panels(paths: Sequence[str | os.PathLike], truth: str | os.PathLike | None = None) -> list[Panel]:
    """A panel per folder; mesh files share one.

    truth: mesh file or folder with true surfaces, whose frames are found by name; those of a single frame serve all.
    Raises DataError, naming the path, for what is missing or contains nothing to show.
    """
    known = None if truth is None else _known(_panel_of(Path(truth)))
    files = [Path(path) for path in paths if not Path(path).is_dir()]
    panels = [_of_files(files)] if files else []
    panels += [_panel_of(Path(path)) for path in paths if Path(path).is_dir()]
    return [panel if known is None else Panel(panel.title, panel.frames, known) for panel in panels]


def side_of(name: str) -> Side | None:
    """The side that a name of a mesh says: left_hand, 0_113_right."""
    found = [side for side in Side if side.value in name.lower()]
    return found[0] if len(found) == 1 else None


def _known(panel: Panel) -> Callable[[ViewFrame], list[Part]]:
    def parts(frame: ViewFrame) -> list[Part]:
        fitting = panel.frames if len(panel.frames) == 1 else [one for one in panel.frames if one.names & frame.names]
        return fitting[0].parts() if fitting else []

    return parts


def _nothing(_: ViewFrame) -> list[Part]:
    return []


def _panel_of(path: Path) -> Panel:
    if not path.is_dir():
        return _of_files([path])
    shards = sorted(path.glob("*.arrow")) or sorted((path / "meshes").glob("*.arrow"))
    if shards:
        return _of_shards(path, shards)
    frames = [
        _reconstructed(folder) for folder in [path, *sorted(path.iterdir())] if (folder / "result.json").is_file()
    ]
    frames = frames or _of_folder(path)
    if not frames:
        raise DataError(
            f"{path}: contains no mesh ({', '.join(READABLE)}), no results of `im2hands reconstruct` and no mesh shards "
            "(meshes/*.arrow); give the folder of one method and keypoint source, such as results/im2hands/model."
        )
    return Panel(_title(path), frames, _nothing)


def _title(path: Path) -> str:
    return "/".join(path.resolve().parts[-2:])


def _of_files(files: Sequence[Path]) -> Panel:
    for file in files:
        if not file.exists():
            raise DataError(f"{file}: does not exist; give mesh files or folders of results.")
    title = files[0].name if len(files) == 1 else f"{len(files)} files"
    frame = ViewFrame(title, frozenset(file.stem for file in files), lambda: _parts(files))
    return Panel(title, [frame], _nothing)


def _of_folder(folder: Path) -> list[ViewFrame]:
    """A frame per scene, or per `<name>_<side>` of both sides; of equal names in several formats the first one."""
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in READABLE:
            files.setdefault(file.stem, file)
    frames: dict[str, list[Path]] = {}
    for stem, file in files.items():
        ending = next((f"_{side.value}" for side in Side if stem.endswith(f"_{side.value}")), "")
        frames.setdefault(stem.removesuffix(ending), []).append(file)
    return [ViewFrame(name, frozenset([name]), lambda chosen=chosen: _parts(chosen)) for name, chosen in frames.items()]


def _reconstructed(folder: Path) -> ViewFrame:
    """A picture's folder that `im2hands reconstruct` wrote."""
    rotation = _rotation(folder / "result.json")
    found = [next(iter(sorted(folder.glob(f"{side.value}.*"))), None) for side in Side]
    files = [file for file in found if file is not None and file.suffix in READABLE]
    if not files:
        raise DataError(f"{folder}: contains a result.json but no hand mesh; run reconstruct again.")
    name = folder.resolve().name
    return ViewFrame(name, frozenset([name]), lambda: _parts(files), rotation)


def _rotation(path: Path) -> Float[np.ndarray, "3 3"] | None:
    """Of the camera in a result.json; None if it names no camera."""
    camera = require_object(path, read_json(path, "result"), "result").get("camera_of_crop")
    if camera is None:
        return None
    matrix = require_object(path, camera, "camera_of_crop of the result").get("R")
    try:
        return None if matrix is None else checked_rotation(number_array(matrix), f"{path}: R of camera_of_crop")
    except ValueError as error:
        raise DataError(f"{path}: R of camera_of_crop is wrong: {error}; correct it.") from None


def _parts(files: Sequence[Path]) -> list[Part]:
    parts = []
    for file in files:
        for name, mesh in read_parts(file).items():
            if not mesh.is_empty:
                named = name if len(files) == 1 or name == file.stem else f"{file.stem} {name}"
                parts.append(Part(named, side_of(name), mesh))
    if not parts:
        raise DataError(f"{', '.join(map(str, files))}: no mesh has a triangle; give other files.")
    points = np.concatenate([part.mesh.vertices for part in parts])
    if np.ptp(points, axis=0).max() > LARGEST_SCENE_M:
        return [Part(part.name, part.side, Mesh(part.mesh.vertices / 1e3, part.mesh.faces)) for part in parts]
    return parts


def _of_shards(folder: Path, paths: Sequence[Path]) -> Panel:
    shards = [read_surfaces(path) for path in paths]
    made_with = shards[0].parameters
    views = [(shard, view, rows) for shard in shards for view, rows in shard.rows_of_views().items()]
    checkout = Checkout(folder.resolve(), frozenset(view[0] for _, view, _ in views))
    frames = []
    for shard, (pair, frame_ids), rows in views:
        first = f" frame {frame_ids[0]}" if frame_ids else ""
        frames.append(
            ViewFrame(
                f"{pair}{first}",
                frozenset([pair, *(f"{pair}/{frame}" for frame in frame_ids)]),
                lambda shard=shard, rows=rows: _stored(shard, rows),
                checkout.rotations.get(int(frame_ids[0])) if frame_ids else None,
            )
        )
    if not frames:
        raise DataError(f"{folder}: its mesh shards contain no hands; run reconstruct again.")
    title = f"{made_with.get('method', _title(folder))}, {made_with.get('source', 'unknown')} keypoints"
    return Panel(title, frames, checkout.truth)


def _stored(shard: SurfaceShard, rows: Sequence[int]) -> list[Part]:
    hands = [shard[row] for row in rows]
    return [
        Part(f"{hand.side.value} hand", hand.side, hand.mesh)
        for hand in hands
        if hand.mesh is not None and not hand.mesh.is_empty
    ]


@dataclass(frozen=True)
class Checkout:
    """The data that belong to a results folder; without them there is no ground truth and the camera's axes are used."""

    folder: Path
    pairs: frozenset[str]

    @cached_property
    def _hands(self) -> tuple[Path, HandTable] | None:
        """The table of the split that has these pairs."""
        ids = [f"{pair}_{side.value}" for pair in self.pairs for side in Side]
        for parent in self.folder.parents:
            for split in SPLITS:
                path = parent / f"data/hands/{split}.parquet"
                if path.is_file() and len(hands := HandTable.read(path, ["vertices"], ids)):
                    return path, hands
        return None

    @cached_property
    def _models(self) -> Mapping:
        return load_hand_models(self._hands[0].parents[1] / "hand_model")

    @cached_property
    def rotations(self) -> dict[int, np.ndarray]:
        """frame_id -> world -> camera."""
        if self._hands is None:
            return {}
        path = self._hands[0].parents[1] / "frames" / self._hands[0].name
        if not path.is_file():
            return {}
        table = FrameTable.read(path).table
        return {
            frame: np.array(rotation).reshape(3, 3)
            for frame, rotation in zip(table["frame_id"].to_pylist(), table["R"].to_pylist(), strict=True)
        }

    def truth(self, frame: ViewFrame) -> list[Part]:
        """True hands of a frame, world metres."""
        if self._hands is None:
            return []
        hands, parts = self._hands[1], []
        for row, (pair, side) in enumerate(zip(hands.table["pair_id"].to_pylist(), hands.sides, strict=True)):
            if pair in frame.names:
                model = self._models[side]
                sealed = model.seal(hands.array("vertices")[row].astype(np.float64))
                parts.append(Part(f"true {side.value} hand", side, Mesh(sealed, model.sealed_faces)))
        return parts
