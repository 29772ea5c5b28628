"""`im2hands convert-keypoints`: keypoints of any format in any other that can hold them, and what is lost by it.

What is written is read back before it takes its place, so that no file comes out that means something else; the difference is
what is said to be lost.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from im2hands.geometry.cameras import Camera
from im2hands.hands.sides import SIDES, Side
from im2hands.io.atomic import atomic_folder, atomic_path
from im2hands.io.errors import DataError
from im2hands.photographs.cameras import AUTO, camera_source
from im2hands.photographs.files import Photograph
from im2hands.photographs.keypoint_files import KeypointFile, read_keypoints
from im2hands.photographs.keypoint_formats import of_picture
from im2hands.photographs.keypoint_layouts.content import Hands, nobody
from im2hands.photographs.keypoint_layouts.mano_files import hand_models_of
from im2hands.photographs.keypoint_layouts.space_writers import there
from im2hands.photographs.keypoint_layouts.table import LAYOUTS
from im2hands.photographs.keypoint_layouts.writers import READ_ONLY, WRITERS, Writer
from im2hands.photographs.landmark_files import LARGEST_SIDE, PALMS, PictureLandmarks
from im2hands.photographs.landmarks import Landmarks, palm_size

SAME_MM = 0.01
"""Millimetres: what is read back nearer than this is the same."""


@dataclass(frozen=True)
class Conversion:
    """Settings of the command; see `im2hands convert-keypoints --help`."""

    to: str
    format: str | None = None
    side: str | None = None
    only: str | None = None
    hand_model: str | None = None
    camera: str | None = None
    size: tuple[int, int] | None = None
    unit: str | None = None
    order: str | None = None
    swap_sides: bool = False


def convert_keypoints(
    source: str | os.PathLike, target: str | os.PathLike, settings: Conversion
) -> Iterator[tuple[str, bool]]:
    """Sentences on what was written and lost, and whether each is good; pictures that cannot be used are named.

    Raises DataError if the source cannot be read, or the format cannot hold it; then nothing is written.
    """
    target = Path(target)
    if settings.only is not None and settings.only not in [side.value for side in SIDES]:
        raise DataError(f"--only {settings.only}: must be left or right.")
    writer = _writer(target, settings.to)
    found = read_keypoints(
        source,
        format=settings.format,
        unit=settings.unit,
        order=settings.order,
        swap_sides=settings.swap_sides,
        side=settings.side,
        hand_models=hand_models_of(settings.hand_model),
    )
    refused = dict(found.refused)
    _check_camera(found, settings, writer)
    convert = _in_space if writer.needs == "space" else _in_pictures
    given = convert(found, settings, refused)
    given = {name: one for name, one in ((name, _only(one, settings.only)) for name, one in given.items()) if _any(one)}
    if not given:
        raise DataError(
            next(iter(refused.values()), f"{source}: has no {settings.only or ''} hand; nothing was written.")
        )
    with TemporaryDirectory() as folder:
        place = Path(folder) / target.name
        if writer.folder:
            place.mkdir()
        try:
            writer.write(place, given)
            again = read_keypoints(place, side=settings.only if settings.to == "dexycb-results" else None)
        except DataError as error:
            raise DataError(
                f"{source}: cannot be written as {settings.to}: {str(error).replace(f'{place}: ', '')}"
            ) from None
        _move(place, target)
    hands = sum(len(_sides(again.of(name))) for name in again.pictures)
    yield (
        f"{target}: {_counted(hands, 'hand')} of {_counted(len(again.pictures), 'picture')} in the format {settings.to}",
        True,
    )
    for note in found.notes:
        yield f"note: {note}", True
    for loss in losses(found, given, again, settings.to):
        yield f"lost: {loss}", True
    extra = LAYOUTS[again.format].extra
    if extra:
        yield f"note: {len(extra)} points of each hand are none of the 21 joints; they are estimated", True
    for sentence in refused.values():
        yield f"im2hands: error: {sentence}", False


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def picture_size(text: str) -> tuple[int, int] | None:
    """Width and height of `1920,1080`; None for nothing. Raises DataError for anything else."""
    if not text:
        return None
    sides = [int(side) for side in text.split(",") if side.isdigit() and 0 < int(side) < LARGEST_SIDE]
    if len(sides) != 2 or text.count(",") != 1:
        raise DataError(f"--size {text}: give width and height in pixels, as in --size 1920,1080.")
    return sides[0], sides[1]


def _writer(target: Path, name: str) -> Writer:
    if name in READ_ONLY:
        raise DataError(f"--to {name}: {READ_ONLY[name]}.")
    if name not in WRITERS:
        raise DataError(f"--to {name}: must be one of {', '.join(WRITERS)}.")
    writer = WRITERS[name]
    if writer.folder and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target}: {name} is a folder of files, and this one is in use; give a new one.")
    if not writer.folder and not target.name.endswith(writer.ends):
        raise DataError(
            f"{target}: the name of a file of {name} ends in {' or '.join(writer.ends)}; give it such a name."
        )
    if not writer.folder and target.is_dir():
        raise DataError(f"{target}: is a folder; give the name of a file.")
    return writer


def _move(place: Path, target: Path) -> None:
    """What was written and read back, in its place, completely or not at all."""
    if place.is_dir():
        with atomic_folder(target) as temporary:
            shutil.copytree(place, temporary, dirs_exist_ok=True)
    else:
        with atomic_path(target) as temporary:
            shutil.copyfile(place, temporary)


def _camera(name: str, size: tuple[int, int] | None, settings: Conversion) -> Camera | None:
    """The user's camera of a picture, if there is one. size: width and height of the picture, if known."""
    if settings.camera is None:
        return None
    width, height = settings.size or size or (1, 1)
    photograph = Photograph(Path(name).stem, Path(name), lambda: np.zeros((height, width, 3), np.uint8))
    return camera_source(settings.camera)(photograph, (height, width))


def _check_camera(found: KeypointFile, settings: Conversion, writer: Writer) -> None:
    """Raises DataError if the camera that the conversion needs is missing, or lacks the size of the pictures."""
    if settings.camera is None:
        if writer.needs == "pixels" and found.hands:
            raise DataError(
                f"--to {settings.to}: is about pixels, and {found.path} has none; give the --camera that sees them."
            )
        if writer.needs != "pixels" and any(one.stated is None for one in found.landmarks.values()):
            raise DataError(
                f"{found.path}: has pixels and no place in space, which {settings.to} needs; give the --camera of the pictures."
            )
    elif settings.camera == AUTO:
        raise DataError("--camera auto needs pictures; give focal=<pixels> with --size, or a camera file.")
    elif settings.camera.startswith("focal=") and settings.size is None and _without_size(found):
        raise DataError(f"--camera {settings.camera}: give the size of the pictures too, as in --size 1920,1080.")


def _without_size(found: KeypointFile) -> bool:
    return bool(found.hands) or any(one.size is None for one in found.landmarks.values())


def _in_space(found: KeypointFile, settings: Conversion, refused: dict[str, str]) -> dict[str, Hands]:
    """Hands in metres. Pixels are placed with the user's camera, or as their detector placed them."""
    hands = dict(found.hands)
    for name, picture in found.landmarks.items():
        try:
            camera = _camera(name, picture.size, settings)
            hands[name] = picture.stated if camera is None else picture.placed(camera, settings.size).keypoints
        except DataError as error:
            refused[name] = _about(found, name, error)
    return {name: hands[name] for name in found.pictures if name in hands}


def _in_pictures(found: KeypointFile, settings: Conversion, refused: dict[str, str]) -> dict[str, PictureLandmarks]:
    """Landmarks; hands in space are seen by the user's camera."""
    made: dict[str, PictureLandmarks] = {}
    for name in found.pictures:
        picture = found.landmarks.get(name)
        try:
            if picture is not None:
                seen = picture.in_pixels(settings.size)
                made[name] = _placed(replace(seen, size=seen.size or settings.size), name, settings)
            elif name in found.hands:
                made[name] = _seen(found.hands[name], _camera(name, None, settings), settings)
        except DataError as error:
            refused[name] = _about(found, name, error)
    return made


def _placed(picture: PictureLandmarks, name: str, settings: Conversion) -> PictureLandmarks:
    """Landmarks with their place before the user's camera, if the new format has it and they have none."""
    camera = None if WRITERS[settings.to].needs == "pixels" else _camera(name, picture.size, settings)
    if camera is None or picture.stated is not None:
        return picture
    return replace(picture, stated=camera.to_camera(picture.placed(camera, settings.size).keypoints))


def _about(found: KeypointFile, name: str, error: DataError) -> str:
    text = str(error)
    return text if found.path in text else f"{found.path}: {of_picture(name)}{text}"


def _seen(both: Hands, camera: Camera | None, settings: Conversion) -> PictureLandmarks:
    """Hands in space as a detector has them: with pixels if there is a camera, and in its frame."""
    before = both if camera is None else camera.to_camera(both)
    marks = {}
    for side in SIDES:
        if there(both[side.index]):
            pixels = np.full((21, 2), np.nan) if camera is None else camera.project(both[side.index])
            marks[side] = Landmarks(pixels, before[side.index])
    palm = float(np.mean([palm_size(before[side.index]) for side in marks])) if marks else 0.0
    known = palm if camera is not None and PALMS[0] <= palm <= PALMS[1] else None
    return PictureLandmarks(marks, known, "camera", settings.size, stated=before)


def _sides(one: Hands | PictureLandmarks) -> list[Side]:
    if isinstance(one, PictureLandmarks):
        return list(one.hands)
    return [side for side in SIDES if there(one[side.index])]


def _any(one: Hands | PictureLandmarks) -> bool:
    return bool(_sides(one))


def _only(one: Hands | PictureLandmarks, side: str | None) -> Hands | PictureLandmarks:
    """The hands of one side, or all."""
    if side is None:
        return one
    wanted = Side(side)
    if isinstance(one, PictureLandmarks):
        return replace(one, hands={which: hand for which, hand in one.hands.items() if which is wanted})
    found = nobody()
    found[wanted.index] = one[wanted.index]
    return found


def losses(
    found: KeypointFile, given: Mapping[str, Hands | PictureLandmarks], again: KeypointFile, to: str
) -> Iterator[str]:
    """What a file in the new format no longer says."""
    layout = LAYOUTS.get("openpose" if to == "openpose-3d" else to)
    before, after = list(given), again.pictures
    if before != after:
        yield f"the names of the pictures; they are called {', '.join(name or 'nothing' for name in after[:3])}, in this order"
    lost = sum(len(_sides(one)) for one in given.values()) - sum(len(_sides(again.of(name))) for name in after)
    if lost:
        yield f"{_counted(lost, 'hand')}, which the format has no place for"
    space = [one for one in given.values() if isinstance(one, np.ndarray)]
    if space and not again.landmarks and not lost and len(space) == len(again.hands):
        largest = 1000 * np.nanmax(np.abs(np.stack(space) - np.stack(list(again.hands.values()))))
        if layout is not None and layout.origin == "own":
            yield "where the hands are, and how they are turned"
        elif largest > SAME_MM:
            yield f"up to {largest:.2g} mm" + (
                " at the base of the thumb, which is estimated" if layout and layout.lacks else ""
            )
    if found.landmarks and again.hands and not again.landmarks:
        yield "the pixels"
    relative = any(one.relative is not None for picture in found.landmarks.values() for one in picture.hands.values())
    kept = any(one.relative is not None for picture in again.landmarks.values() for one in picture.hands.values())
    if again.landmarks and (relative or found.hands) and not kept:
        yield "everything but the pixels"
    elif (
        again.landmarks
        and found.hands
        and all(one.stated is None and one.palm is None for one in again.landmarks.values())
    ):
        yield "the distance of the hands, which follows from a camera and the size of the palm"
    sizes = [one.size for one in found.landmarks.values() if one.size is not None]
    if sizes and not any(one.size for one in again.landmarks.values()) and again.landmarks:
        yield "the size of the pictures"
