"""`im2hands reconstruct` for films: hands are followed and smoothed before meshes are made of them.

The output folder gets `keypoints.parquet`, `film.glb`, `left.bvh` and `right.bvh`, and the folder of every picture as for
single pictures. The table is written last: where it is and fits the inputs, a run that was interrupted goes on with the meshes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from im2hands import __version__
from im2hands.films.animated_glb import write_animated_hands
from im2hands.films.bvh import write_bvh
from im2hands.films.detections import Detection, detections_of_file, detections_of_hands
from im2hands.films.film_file import Film, FindHands, is_film, read_film
from im2hands.films.film_motion import FilmHands, film_hands
from im2hands.films.motion import HandMotion
from im2hands.films.rig import rig_of
from im2hands.geometry.rotations import matrix_to_axis_angle
from im2hands.hands.model import HandModel
from im2hands.hands.model_files import builtin_hand_models, load_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.io.atomic import require_writable
from im2hands.io.errors import DataError
from im2hands.io.hashing import digest, sha256_file
from im2hands.io.progress import progress
from im2hands.photographs.cameras import AUTO, camera_source
from im2hands.photographs.command import Work, check_settings, reconstruct_images, reconstruct_photographs
from im2hands.photographs.detection.command import Settings as DetectSettings
from im2hands.photographs.detection.command import detect_pictures
from im2hands.photographs.detection.landmark_entries import DETECTED
from im2hands.photographs.files import Photograph, number_of_photographs, photographs
from im2hands.photographs.film_table import FilmTable, is_film_table
from im2hands.photographs.hand_fit import HandFit
from im2hands.photographs.keypoints import keypoint_source
from im2hands.photographs.landmark_files import GivenHands
from im2hands.photographs.results import COLOURS, PREDICTED, Settings, keypoint_history

TABLE, ANIMATION, LANDMARKS = "keypoints.parquet", "film.glb", "landmarks.json"
PICTURE = 384
"""Pixels of the pictures of a film's frames: those of single pictures take a third of the time of a frame."""
INTAGHAND_SIGMA = 0.02
"""Metres per coordinate: standard deviation of IntagHand's keypoints."""


@dataclass(frozen=True)
class FilmSettings:
    """What a user may want of a film.

    independent: every picture by itself, as if it were no film.  animation_only: no meshes.  rate: pictures per second; for a
    folder it says that its pictures are a film.
    """

    independent: bool = False
    animation_only: bool = False
    rate: float | None = None


def reconstruct(
    images: Sequence[str | os.PathLike], output: str | os.PathLike, settings: Settings, film: FilmSettings
) -> Iterator[tuple[str, bool]]:
    """A line per picture, and whether it was reconstructed; for a film also what became of it.

    Raises what concerns all pictures at once.
    """
    paths = [Path(path) for path in images]
    films = [path for path in paths if is_film(path) or (film.rate is not None and path.is_dir())]
    if film.independent or not films:
        if film.animation_only or film.rate is not None:
            option = "--animation-only" if film.animation_only else "--fps"
            raise DataError(
                f"{option} is for films; give a video, or a folder of its pictures with --fps, and not --independent."
            )
        yield from reconstruct_images(images, output, settings)
        return
    if settings.refine_keypoints:
        raise DataError("--refine-keypoints looks at single pictures, so a film would jitter again; add --independent.")
    if pictures := [path for path in paths if path not in films]:
        yield from reconstruct_images(pictures, output, settings)
    for path in films:
        yield from _reconstruct_film(path, Path(output), f"{path.stem}-" if len(films) > 1 else "", settings, film)


def _reconstruct_film(
    path: Path, output: Path, prefix: str, settings: Settings, film: FilmSettings
) -> Iterator[tuple[str, bool]]:
    """prefix: of the files that belong to the whole film, where there are several."""
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: is a file; give a folder for the results.")
    check_settings(settings)
    if settings.keypoints == DETECTED:
        landmarks = output / f"{prefix}{LANDMARKS}"
        looking = DetectSettings(settings.detector, every_hand=True, at_once=settings.at_once, resume=True)
        yield from (said for said in detect_pictures([path], landmarks, looking) if not said[1])
        settings = replace(settings, keypoints=str(landmarks), history="found by the detector")
    work = None if film.animation_only and settings.keypoints != PREDICTED else Work(settings)
    find, sigma = _find_hands(settings, work)
    require_writable(output)
    models = builtin_hand_models() if settings.hand_model is None else load_hand_models(settings.hand_model)
    inputs = _inputs(path, settings, film)
    table_path = output / f"{prefix}{TABLE}"
    if _is_finished(table_path, output / f"{prefix}{ANIMATION}", inputs):
        table = FilmTable.read(table_path)
        yield f"{path.name}: {table_path}: already done, skipped", True
    else:
        count = number_of_photographs([path])
        shown = progress(photographs([path]), "read film", count, "images")
        read = read_film(path, shown, find, camera_source(settings.camera), film.rate)
        fit = None if settings.hand_model is None else HandFit(models)
        try:
            hands = film_hands(read.pictures, read.clock, read.cuts, sigma, settings.palm, fit)
        except DataError as error:
            reason = next(iter(read.problems.values()), None)
            raise DataError(f"{path}: {error}" + (f" The first reason: {reason}" if reason else "")) from None
        table = _table(hands, models, _parameters(inputs, path, settings, read, hands))
        _write_animation(output, prefix, path.name, hands, models)
        table.write(table_path)
    yield _said(path, table), True
    if not film.animation_only:
        yield from _meshes(path, output, table_path, table, settings)
    about = table.parameters
    yield f"{output / f'{prefix}{ANIMATION}'}: {blender_words(about['rate'], about['regular'], table.times)}", True


def _meshes(
    path: Path, output: Path, table_path: Path, table: FilmTable, settings: Settings
) -> Iterator[tuple[str, bool]]:
    """Those of every picture in which a hand is there."""
    there = {name for name, known in zip(table.names, table.present.any(axis=1), strict=True) if known}
    own = replace(
        settings,
        keypoints=str(table_path),
        history=f"{keypoint_history(settings)}, followed through {path.name}",
        noise_mm=None,
        order=None,
        unit=None,
        palm=None,
        swap_sides=False,
        box="",
        picture=PICTURE,
    )
    pictures = (photograph for photograph in photographs([path]) if photograph.name in there)
    yield from reconstruct_photographs(pictures, len(there), output, own)


def _find_hands(settings: Settings, work: Work | None) -> tuple[FindHands, float | None]:
    """What finds the hands of a picture, and the standard deviation of metric points (m; None: they are exact)."""
    noise = None if settings.noise_mm is None else settings.noise_mm / 1000
    if settings.keypoints == PREDICTED:

        def predicted(photograph: Photograph, image: np.ndarray, camera) -> list[Detection]:
            return detections_of_hands(GivenHands(work.predicted_keypoints(image, camera)), camera)

        return predicted, noise or INTAGHAND_SIGMA
    of_file = None
    if settings.order is None and settings.unit is None:
        of_file = detections_of_file(settings.keypoints, settings.swap_sides, settings.palm)
    if of_file is not None:
        if noise is not None:
            raise DataError("--noise-mm is for 3-D keypoints; hands that come from pixels need no correction.")
        return lambda photograph, _, camera: of_file(photograph, camera), None
    given = keypoint_source(
        settings.keypoints, settings.camera, settings.order, settings.unit, settings.palm, settings.swap_sides
    )

    def of_picture(photograph: Photograph, image: np.ndarray, camera) -> list[Detection]:
        return detections_of_hands(given(photograph, camera, (image.shape[1], image.shape[0])), camera)

    return of_picture, noise


def _inputs(path: Path, settings: Settings, film: FilmSettings) -> str:
    """A digest of everything that the motion depends on."""
    used = ("keypoints", "camera", "box", "order", "unit", "palm", "swap_sides", "noise_mm", "hand_model")
    return digest(
        {
            "film": _content(path),
            "keypoints": _content(Path(settings.keypoints)),
            "camera": _content(Path(settings.camera)),
            "settings": {name: value for name, value in asdict(settings).items() if name in used},
            "rate": film.rate,
            "version": __version__,
        }
    )


def _content(path: Path) -> str | list[str]:
    """Hash of a file, or of the files of a folder; of a word that is no file nothing."""
    if path.is_dir():
        return [f"{file.name} {sha256_file(file)}" for file in sorted(path.iterdir()) if file.is_file()]
    return sha256_file(path) if path.is_file() else ""


def _is_finished(table: Path, animation: Path, inputs: str) -> bool:
    return animation.is_file() and is_film_table(table) and FilmTable.read(table).parameters.get("inputs") == inputs


def _parameters(inputs: str, path: Path, settings: Settings, read: Film, hands: FilmHands) -> dict:
    followed = hands.followed
    return {
        "inputs": inputs,
        "film": path.name,
        "keypoints": keypoint_history(settings),
        "rate": str(read.clock.rate),
        "regular": read.clock.is_regular,
        "cuts": [hands.names[cut] for cut in np.flatnonzero(read.cuts)],
        "sides_put_right": followed.exchanged,
        "detections_left_out": followed.ignored,
        "focal_assumed": settings.camera == AUTO
        and is_film(path)
        and any(one.points is None for each in read.pictures for one in each.found),
        "unusable": len(read.problems),
        "first_unusable": next(iter(read.problems.values()), ""),
        "frame": "world of the camera file's R and t; without them the camera: x right, y down, z away; metres",
    }


def _table(hands: FilmHands, models: dict[Side, HandModel], parameters: dict) -> FilmTable:
    pictures = len(hands.names)
    pose, shape, translation = (np.full((pictures, len(SIDES), width), np.nan) for width in (48, 10, 3))
    for side, motion in hands.motions.items():
        turns = matrix_to_axis_angle(torch.from_numpy(motion.rotations)).flatten(1).numpy()
        turns[:, 3:] -= models[side].mean_pose.double().numpy()
        rest = models[side].rest_joints(torch.from_numpy(motion.shape)[None])[0, 0].numpy()
        there, hand = motion.present, side.index
        pose[there, hand], shape[there, hand] = turns[there], motion.shape
        translation[there, hand] = motion.wrist[there] - rest
    return FilmTable(
        hands.names,
        hands.clock.times,
        hands.keypoints,
        hands.sigma,
        hands.distance,
        pose,
        shape,
        translation,
        hands.seen & hands.present,
        parameters,
    )


def _write_animation(output: Path, prefix: str, source: str, hands: FilmHands, models: dict[Side, HandModel]) -> None:
    rigged: list[tuple] = []
    for side in SIDES:
        motion: HandMotion | None = hands.motions.get(side)
        if motion is not None:
            rigged.append((rig_of(models[side], motion.shape), motion))
            write_bvh(output / f"{prefix}{side.value}.bvh", *rigged[-1], hands.clock)
    write_animated_hands(output / f"{prefix}{ANIMATION}", rigged, hands.clock, source, COLOURS)


def _said(path: Path, table: FilmTable) -> str:
    """What became of the film."""
    about = table.parameters
    count, present = len(table.names), table.present
    parts = [f"{path.name}: {count} pictures"]
    parts += [f"{side.value} hand in {int(present[:, side.index].sum())}" for side in SIDES]
    bridged = int((present & ~table.seen).sum())
    counted = {
        "bridged": bridged,
        "sides put right in": about["sides_put_right"],
        "detections of others left out:": about["detections_left_out"],
        "cuts:": len(about["cuts"]),
    }
    parts += [f"{what} {number}" for what, number in counted.items() if number]
    if about["focal_assumed"]:
        parts.append("the focal length is assumed: the distance of the hands is not known")
    if about["unusable"]:
        parts.append(f"{about['unusable']} pictures without usable keypoints ({about['first_unusable']})")
    return ", ".join(parts)


def blender_words(rate: str, regular: bool, times: np.ndarray) -> str:
    """Which rate and last frame to set in Blender; its scene stays at 24 otherwise."""
    exact = Fraction(rate)
    whole = round(exact)
    if not regular:
        last = int(np.ceil(times[-1] * whole - 1e-6))
        return f"irregular pictures; in Blender set the frame rate to {whole} before importing, and frames 0 to {last}"
    last = len(times) - 1
    if exact == whole:
        return f"in Blender set the frame rate to {whole} before importing, and frames 0 to {last}"
    base = float(whole / exact)
    return (
        f"{float(exact):.5g} pictures per second ({exact}); in Blender set the frame rate to {whole} with base "
        f"{1 / base:.6f} before importing, then the base to {base:.6g}, and frames 0 to {last}"
    )
