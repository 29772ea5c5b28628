"""Reader of the InterHand2.6M v1.0 layout: files, raw entries, cameras and fits in metres.

Units on disk: `campos` and `world_coord` are in millimetres, the translations of fits in metres. Everything returned
here is in metres, world frame, with OpenCV axes for cameras. Capture numbers are local to a split.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from im2hands.datasets.annotation_values import (
    canonical_key,
    flag,
    hand_type,
    name,
    relative_path,
    size_in_pixels,
    whole_number,
)
from im2hands.datasets.audit import Finding, Reason, Unusable
from im2hands.datasets.image_files import find_image
from im2hands.datasets.json_stream import JsonStream
from im2hands.geometry.cameras import Camera, camera_translation
from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.sides import Side
from im2hands.io.atomic import read_json
from im2hands.io.documents import require_object
from im2hands.io.errors import DamagedFileError, DataError

NAME = "InterHand2.6M"
OLD_FOLDERS = ("all", "human_annot", "machine_annot")
ROTATION_TOLERANCE = 1e-3
LARGEST_TRANSLATION = 10.0
"""Metres; the capture dome is about 2 m wide, a fit further away is in millimetres or broken."""
SPLITS = ("train", "val", "test")
LISTED = 6
"""Names that a message lists."""
LARGEST_TURN = 4 * np.pi
"""Radians; a joint that is turned by more than twice all the way round is in degrees or broken."""
LEAST_FOCAL = 10.0
"""Pixels; a shorter focal length is in units of the image's width, or broken."""
LEAST_SPREAD = 1.0
"""Millimetres; joints of one hand that lie closer together are in metres."""


class AnnotatedImage(NamedTuple):
    """An entry of `images` with its entry of `annotations`.

    fault: what is wrong with values other than the ids, "" if nothing; a faulty value is 0, False or "".
    """

    image_id: int
    annotation_id: int
    file_name: str
    width: int
    height: int
    capture: int
    subject: int
    sequence: str
    camera: str
    frame_idx: int
    hand_type: str
    hand_type_valid: bool
    fault: str = ""


class HandFit(NamedTuple):
    """A fit as annotated. pose: 48 axis-angle numbers, fingers minus the mean pose; translation: metres, world."""

    pose: Float[np.ndarray, "48"]
    shape: Float[np.ndarray, "10"]
    translation: Float[np.ndarray, "3"]


@dataclass(frozen=True)
class InterHand26M:
    """A dataset on disk. images, annotations: the folders of that name, wherever the root has them."""

    root: Path
    images: Path
    annotations: Path

    @classmethod
    def open(cls, root: str | os.PathLike) -> InterHand26M:
        """Finds the folders below `root`, with or without a top folder such as InterHand2.6M_5fps_batch1.

        Raises DataError for a missing or ambiguous folder and for the layout of v0.0.
        """
        root = Path(root)
        if not root.is_dir():
            raise DataError(f"{root}: the dataset folder is missing; correct dataset.root in params.yaml.")
        dataset = cls(root, _find(root, "images"), _find(root, "annotations"))
        old = [name for name in OLD_FOLDERS if (dataset.annotations / name).is_dir()]
        if old:
            raise DataError(
                f"{dataset.annotations}: the folder {old[0]}/ belongs to InterHand2.6M v0.0, which is not supported; "
                "download the annotations of v1.0, where annotations/<split>/ contains the files directly."
            )
        return dataset

    def annotation_file(self, split: str, kind: str) -> Path:
        """kind: data, camera, joint_3d or MANO_NeuralAnnot. Raises DataError with what lies there instead."""
        path = self.annotations / split / f"InterHand2.6M_{split}_{kind}.json"
        if not path.is_file():
            raise DataError(f"{path}: the annotation file is missing; {self._instead(path, kind)}.")
        return path

    def _instead(self, missing: Path, kind: str) -> str:
        """Why an annotation file may be missing, with the remedy."""
        obsolete = missing.with_name(missing.name.replace("_NeuralAnnot", ""))
        if kind == "MANO_NeuralAnnot" and obsolete.is_file():
            return f"{obsolete.name} is the obsolete file with one fit per view"
        if (self.annotations / missing.name).is_file():
            return f"it is one level too high, in {self.annotations}: move it into {missing.parent.name}/"
        if not missing.parent.is_dir():
            return f"{self.annotations} {_listed(self.annotations)}, but the splits must be called {', '.join(SPLITS)}"
        return "check dataset.root and that the annotations of v1.0 are unpacked"

    def image_file(self, split: str, file_name: str) -> Path:
        """The image of that name, also if it lies there as .png or .JPG, see `find_image`."""
        return find_image(self.images / split, file_name)

    def require_images(self, split: str) -> None:
        """Raises DataError if a split has no folder of images or they lie in one of the same name below it."""
        folder = self.images / split
        if not folder.is_dir():
            raise DataError(
                f"{folder}: the images of the split are missing; {self.images} {_listed(self.images)}, but the splits must be "
                f"called {', '.join(SPLITS)}: unpack the images there."
            )
        inner = [path.name for path in folder.iterdir() if path.is_dir()]
        if inner in ([split], ["images"]):
            raise DataError(
                f"{folder / inner[0]}: the images are one level too deep; move its Capture folders up into {folder}."
            )

    def annotated_images(self, split: str) -> Iterator[AnnotatedImage]:
        """All images of a split with their annotations, in file order, in constant memory per image.

        The original pipeline pairs both lists by position; joining by image_id must give the same pairs.
        Raises DataError where it does not, or where an image id occurs twice.
        """
        path = self.annotation_file(split, "data")
        image_ids = array("q")
        with JsonStream(path, "data file") as images_file, JsonStream(path, "data file") as annotations_file:
            images, annotations = _array_in(images_file, "images"), _array_in(annotations_file, "annotations")
            for position, image in enumerate(images):
                annotation = next(annotations, None)
                if annotation is None:
                    raise _unpaired(path, f"there are more images than annotations ({position})")
                try:
                    entry = _annotated_image(image, annotation)
                    paired_id = whole_number(annotation["image_id"])
                except (KeyError, TypeError, ValueError) as error:
                    raise DamagedFileError(
                        f"{path}: entry {position} of images or annotations is not as in v1.0 "
                        f"({type(error).__name__}: {error}); fetch the v1.0 annotations again."
                    ) from None
                if paired_id != entry.image_id:
                    raise _unpaired(
                        path, f"images[{position}] has id {entry.image_id}, annotations[{position}] has {paired_id}"
                    )
                image_ids.append(entry.image_id)
                yield entry
            if next(annotations, None) is not None:
                raise _unpaired(path, f"there are more annotations than images ({len(image_ids)})")
        if len(np.unique(np.frombuffer(image_ids, np.int64))) < len(image_ids):
            raise DataError(f"{path}: an image id occurs twice, so annotations cannot be joined; fetch the file again.")

    def cameras(self, split: str) -> Cameras:
        path = self.annotation_file(split, "camera")
        return Cameras(require_object(path, read_json(path, "camera file"), "camera file"))

    def fits(self, split: str) -> Iterator[tuple[str, str, Any]]:
        """(capture, frame_idx, raw {"right": fit, "left": fit}) of all frames; see `hand_fit`."""
        return self._by_frame(split, "MANO_NeuralAnnot", "fit file")

    def joints(self, split: str) -> Iterator[tuple[str, str, Any]]:
        """(capture, frame_idx, raw entry) of all frames; see `annotated_joints`."""
        return self._by_frame(split, "joint_3d", "joint file")

    def _by_frame(self, split: str, kind: str, purpose: str) -> Iterator[tuple[str, str, Any]]:
        with JsonStream(self.annotation_file(split, kind), purpose) as stream:
            for capture in stream.members():
                for frame in stream.members():
                    yield canonical_key(capture), canonical_key(frame), stream.value()


class Cameras:
    """The cameras of one split. They move slightly between captures, so both names are needed."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = {canonical_key(capture): cameras for capture, cameras in content.items()}
        self._built: dict[tuple[str, str], Camera | Finding] = {}

    def get(self, capture: int | str, camera: str) -> Camera:
        """The camera, metres. Raises Unusable with a reason if it is missing, not finite or not a camera."""
        key = (str(capture), camera)
        if key not in self._built:
            try:
                self._built[key] = self._build(*key)
            except Unusable as unusable:
                self._built[key] = unusable.finding
        found = self._built[key]
        if isinstance(found, Finding):
            raise Unusable(*found)
        return found

    def _build(self, capture: str, camera: str) -> Camera:
        try:
            centre, rotation, focal, centre_px = (
                np.asarray(self._value(capture, key, camera), np.float64)
                for key in ("campos", "camrot", "focal", "princpt")
            )
        except (TypeError, ValueError):
            raise Unusable(Reason.CAMERA_IMPLAUSIBLE, f"camera {camera}: values that are no numbers") from None
        if (centre.shape, rotation.shape, focal.shape, centre_px.shape) != ((3,), (3, 3), (2,), (2,)):
            raise Unusable(Reason.CAMERA_IMPLAUSIBLE, "wrong number of values")
        if not all(np.isfinite(part).all() for part in (centre, rotation, focal, centre_px)):
            raise Unusable(Reason.CAMERA_NOT_FINITE)
        error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
        if error > ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
            raise Unusable(Reason.CAMERA_IMPLAUSIBLE, "camrot is not a rotation, deviation", error)
        if not (focal > LEAST_FOCAL).all():
            raise Unusable(Reason.CAMERA_IMPLAUSIBLE, "focal length in pixels", float(focal.min()))
        intrinsics = np.array([[focal[0], 0, centre_px[0]], [0, focal[1], centre_px[1]], [0, 0, 1.0]])
        return Camera(intrinsics, rotation, camera_translation(rotation, centre / 1000))

    def _value(self, capture: str, key: str, camera: str) -> Any:
        entry = self._content.get(capture)
        values = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(values, dict) or camera not in values:
            what = f"capture {capture}" if entry is None else f"{key} of camera {camera} in capture {capture}"
            raise Unusable(Reason.CAMERA_MISSING, f"the camera file has no {what}")
        return values[camera]


def hand_fit(entry: Any, side: Side) -> HandFit:
    """The fit of one hand out of a frame's entry. Raises Unusable with a reason."""
    if not isinstance(entry, dict) or side.value not in entry:
        raise Unusable(Reason.FIT_SIDE_MISSING, side.value)
    fit = entry[side.value]
    if fit is None:
        raise Unusable(Reason.FIT_NULL, side.value)
    try:
        pose, shape, translation = (np.asarray(fit[key], np.float64).reshape(-1) for key in ("pose", "shape", "trans"))
    except (KeyError, TypeError, ValueError) as error:
        raise Unusable(Reason.FIT_MALFORMED, f"{side.value}: {type(error).__name__}: {error}") from None
    if (len(pose), len(shape), len(translation)) != (48, 10, 3):
        raise Unusable(Reason.FIT_MALFORMED, f"{side.value}: {len(pose)} + {len(shape)} + {len(translation)} values")
    if not all(np.isfinite(part).all() for part in (pose, shape, translation)):
        raise Unusable(Reason.FIT_NOT_FINITE, side.value)
    distance = float(np.linalg.norm(translation))
    if distance > LARGEST_TRANSLATION:
        detail = f"{side.value}: length of the translation in metres; is the file in millimetres?"
        raise Unusable(Reason.FIT_TRANSLATION_IMPLAUSIBLE, detail, distance)
    turn = float(np.linalg.norm(pose.reshape(16, 3), axis=1).max())
    if turn > LARGEST_TURN:
        detail = f"{side.value}: largest turn of a joint in radians; is the file in degrees?"
        raise Unusable(Reason.FIT_POSE_IMPLAUSIBLE, detail, turn)
    return HandFit(pose, shape, translation)


def annotated_joints(entry: Any) -> dict[Side, tuple[Float[np.ndarray, "21 3"], Bool[np.ndarray, "21"]]]:
    """Per side the annotated joints (STANDARD order, metres, world) and which of them are annotated.

    entry: raw entry of joint_3d.json, or the bare 42 x 3 list of very old files (all joints annotated).
    Joints that are not finite count as not annotated.
    Raises Unusable: ANNOTATION_MISSING if it is neither, JOINTS_IN_METRES if all joints of a hand lie within a millimetre.
    """
    try:
        bare = not isinstance(entry, dict)
        coordinates = np.asarray(entry if bare else entry["world_coord"], np.float64).reshape(2, 21, 3) / 1000
        valid = np.ones((2, 21), bool) if bare else np.asarray(entry["joint_valid"], np.float64).reshape(2, 21) > 0
    except (KeyError, TypeError, ValueError) as error:
        raise Unusable(Reason.ANNOTATION_MISSING, f"{type(error).__name__}: {error}") from None
    valid &= np.isfinite(coordinates).all(axis=-1)
    for points in (hand[annotated] * 1000 for hand, annotated in zip(coordinates, valid, strict=True)):
        spread = float(np.ptp(points, axis=0).max()) if len(points) > 1 else 0.0
        if 0 < spread < LEAST_SPREAD:
            raise Unusable(Reason.JOINTS_IN_METRES, "extent of a hand in millimetres; is the file in metres?", spread)
    places = {Side.RIGHT: 0, Side.LEFT: 1}
    return {
        side: (
            reorder(coordinates[place], JointOrder.INTERHAND, JointOrder.STANDARD),
            reorder(valid[place], JointOrder.INTERHAND, JointOrder.STANDARD, axis=-1),
        )
        for side, place in places.items()
    }


def dataset_name(root: str | os.PathLike) -> str:
    """What the dataset calls itself: `name` of <root>/dataset.json, else InterHand2.6M."""
    card = Path(root) / "dataset.json"
    if not card.is_file():
        return NAME
    content = read_json(card, "dataset card")
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise DamagedFileError(f"{card}: its `name` is not text; make the dataset again or delete the file.")
    return content["name"]


def _find(root: Path, name: str) -> Path:
    """root/name, or the one folder of that name below a top folder of the original archives."""
    if (root / name).is_dir():
        return root / name
    below = sorted(path for path in root.glob(f"InterHand2.6M*/{name}") if path.is_dir())
    if len(below) == 1:
        return below[0]
    if below:
        listed = ", ".join(path.parent.name for path in below)
        raise DataError(f"{root}: several folders contain {name}/ ({listed}); set dataset.root to one of them.")
    raise DataError(
        f"{root}: {name}/ is neither here nor in an InterHand2.6M_* folder; set dataset.root to the folder "
        f"that contains images/ and annotations/ ({root.name} {_listed(root)})."
    )


def _listed(folder: Path) -> str:
    """The subfolders of a folder, in words."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    shown = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
    return f"contains the folders {shown}" if names else "contains no folders"


def _array_in(stream: JsonStream, wanted: str) -> Iterator[Any]:
    for key in stream.members():
        if key == wanted:
            yield from stream.items()
        else:
            stream.skip()
            continue
        return
    raise DamagedFileError(
        f"{stream.path}: the list `{wanted}` is missing; this is not the data file of InterHand2.6M v1.0."
    )


def _annotated_image(image: dict[str, Any], annotation: dict[str, Any]) -> AnnotatedImage:
    """Raises KeyError, TypeError or ValueError without the keys of v1.0 or for ids that are no numbers."""
    faults: list[str] = []

    def read(entry: dict[str, Any], key: str, as_type: Callable[[Any], Any], otherwise: Any) -> Any:
        value = entry[key]
        try:
            return as_type(value)
        except ValueError as error:
            faults.append(f"{key}: {error}")
            return otherwise

    found = AnnotatedImage(
        image_id=whole_number(image["id"]),
        annotation_id=whole_number(annotation["id"]),
        file_name=read(image, "file_name", relative_path, ""),
        width=read(image, "width", size_in_pixels, 0),
        height=read(image, "height", size_in_pixels, 0),
        capture=read(image, "capture", whole_number, 0),
        subject=read(image, "subject", whole_number, 0),
        sequence=read(image, "seq_name", name, ""),
        camera=read(image, "camera", name, ""),
        frame_idx=read(image, "frame_idx", whole_number, 0),
        hand_type=read(annotation, "hand_type", hand_type, ""),
        hand_type_valid=read(annotation, "hand_type_valid", flag, False),
    )
    return found._replace(fault="; ".join(faults)) if faults else found


def _unpaired(path: Path, what: str) -> DataError:
    return DataError(
        f"{path}: images and annotations are not parallel ({what}), so the numbering of frames would differ from the "
        "published one; use the unmodified v1.0 file."
    )
