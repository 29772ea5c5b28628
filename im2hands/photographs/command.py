"""The command `im2hands reconstruct`: a user's pictures to meshes, pictures and a JSON file each, one folder per picture.

A folder appears completely or not at all, and a picture with a folder is skipped, so an interrupted run can be continued.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float, UInt8

from im2hands.datasets.images import CropSettings, crop_image, hands_crop
from im2hands.datasets.keypoints import implausible
from im2hands.geometry.cameras import Camera, square_crop
from im2hands.geometry.mesh_files import WRITABLE
from im2hands.hands.joints import WRIST
from im2hands.hands.model import HandModel
from im2hands.hands.model_files import builtin_hand_models, load_hand_models
from im2hands.hands.sides import Side
from im2hands.io.atomic import atomic_folder, read_json, require_writable
from im2hands.io.documents import require_object
from im2hands.io.errors import DataError, DiskFullError, Im2HandsError, NotWritableError
from im2hands.io.parallel import ordered_stream
from im2hands.io.progress import progress
from im2hands.networks.intaghand import IntagHandNetwork, load_intaghand
from im2hands.networks.keypoint_prior import KeypointPriorNetwork, load_keypoint_prior
from im2hands.networks.keypoint_refinement import RefinementNetwork, load_keypoint_refinement
from im2hands.networks.model_folder import model_root
from im2hands.photographs.cameras import camera_source
from im2hands.photographs.detection.landmark_entries import DETECTED, detected_keypoints
from im2hands.photographs.files import Photograph, number_of_photographs, photographs
from im2hands.photographs.keypoints import keypoint_source
from im2hands.photographs.landmark_files import GivenHands
from im2hands.photographs.pixel_hands import check_noise, corrected
from im2hands.photographs.reconstructor import Reconstructor, hand_inputs, photograph_crop, usable
from im2hands.photographs.results import (
    PREDICTED,
    RESULT,
    Made,
    Settings,
    listed,
    warnings_of,
    write_results,
)
from im2hands.reconstruction.likely_keypoints import likely_hands
from im2hands.reconstruction.predicted_hands import hands_in
from im2hands.reconstruction.refined_keypoints import refined_hands


def reconstruct_images(
    images: Sequence[str | os.PathLike], output: str | os.PathLike, settings: Settings
) -> Iterator[tuple[str, bool]]:
    """A line per picture, and whether it was reconstructed. Raises what concerns all pictures at once."""
    yield from reconstruct_photographs(photographs(images), number_of_photographs(images), output, settings)


def reconstruct_photographs(
    pictures: Iterable[Photograph], count: int, output: str | os.PathLike, settings: Settings
) -> Iterator[tuple[str, bool]]:
    """As `reconstruct_images`, of `count` pictures that were found already."""
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: is a file; give a folder for the results.")
    if settings.at_once < 1:
        raise DataError(f"--at-once {settings.at_once}: give 1 or more.")
    work = Work(settings)  # in any case, so that what concerns all pictures is said now
    one = partial(_reconstruct_image, output, work) if settings.at_once == 1 else partial(_in_worker, output, settings)
    start = partial(torch.set_num_threads, max(1, torch.get_num_threads() // settings.at_once))
    require_writable(output)
    lines = ordered_stream(one, pictures, settings.at_once, start)
    yield from progress(lines, "reconstruct", count, "images")


def _in_worker(output: Path, settings: Settings, photograph: Photograph) -> tuple[str, bool]:
    return _reconstruct_image(output, _work_of(settings), photograph)


@lru_cache(maxsize=1)
def _work_of(settings: Settings) -> Work:
    return Work(settings)


def _reconstruct_image(output: Path, work: Work, photograph: Photograph) -> tuple[str, bool]:
    folder = output / photograph.name
    if _is_done(folder / RESULT, work, photograph):
        return f"{photograph.name}: already done, skipped", True
    try:
        begun = perf_counter()
        made = work(photograph)
        with atomic_folder(folder) as temporary:
            write_results(temporary, photograph, made, work.settings)
    except (DiskFullError, NotWritableError):
        raise  # so it would be for every other picture
    except Im2HandsError as error:
        text = str(error)
        named = text if str(photograph.file) in text else f"{photograph.file}: {text}"
        return f"im2hands: error: {named}", False
    said = "".join(f"; {warning}" for warning in warnings_of(photograph, made, work.settings))
    return f"{photograph.name}: {folder} ({perf_counter() - begun:.1f} s){said}", True


def _is_done(path: Path, work: Work, photograph: Photograph) -> bool:
    """Whether a picture has its result; one of a film must be of the film's present keypoints."""
    if not path.is_file() or not work.settings.history:
        return path.is_file()
    made = require_object(path, read_json(path, "result"), "result").get("keypoints")
    present = work.keypoints_of(photograph, Camera(np.eye(3), np.eye(3), np.zeros(3)), (0, 0)).keypoints
    return made == {side.value: listed(present[side.index]) for side in Side}


def check_settings(settings: Settings) -> None:
    """Raises DataError for an unknown mesh format, a noise that is none, and a device that is not there."""
    for name in settings.formats:
        if f".{name}" not in WRITABLE:
            raise DataError(f"--formats {name}: not a mesh format; use {', '.join(x[1:] for x in WRITABLE)}.")
    check_noise(settings.noise_mm)
    if settings.device != "cpu" and not torch.cuda.is_available():
        raise DataError(f"--device {settings.device}: CUDA is not available here; use cpu.")


class Work:
    """A picture to its hands. Everything that is the same for all pictures is read, and refused, at once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        check_settings(settings)
        self.models = model_root(settings.model)
        self.box = None if not settings.box else _box(settings.box)
        self.camera_of = camera_source(settings.camera)
        self.predicted = settings.keypoints == PREDICTED
        self.keypoints_of = None
        if self.predicted or settings.keypoints == DETECTED:
            for name in ("order", "unit") + (("palm",) if self.predicted else ()):
                if getattr(settings, name) is not None:
                    raise DataError(
                        f"--{name} describes a keypoint file; leave it out with --keypoints {settings.keypoints}."
                    )
        if settings.keypoints == DETECTED:
            self.keypoints_of = detected_keypoints(settings.detector, settings.palm)
        elif not self.predicted:
            self.keypoints_of = keypoint_source(
                settings.keypoints,
                settings.camera,
                settings.order,
                settings.unit,
                settings.palm,
                settings.swap_sides,
                settings.hand_model,
            )
        self.reconstructor = Reconstructor.from_pretrained(
            self.models,
            settings.method,
            settings.resolution,
            settings.device,
            one_part=not settings.all_parts,
            apart=settings.separate_hands,
        )
        if self.predicted:
            self.intaghand, self.hand_models  # noqa: B018 - read now, so that what is missing is said now
        if settings.refine_keypoints:
            self.refinement  # noqa: B018

    def __call__(self, photograph: Photograph) -> Made:
        image = photograph.read()
        camera = self.camera_of(photograph, image.shape)
        begun = perf_counter()
        rows, columns = image.shape[:2]
        given = (
            GivenHands(self.predicted_keypoints(image, camera))
            if self.predicted
            else self.keypoints_of(photograph, camera, (columns, rows))
        )
        keypoints = given.keypoints
        if self.settings.noise_mm is not None:
            if given.sigma is not None:
                raise DataError("--noise-mm is for 3-D keypoints; hands that come from pixels need no correction.")
            keypoints = corrected(keypoints, self.settings.noise_mm)
        if self.settings.refine_keypoints:
            keypoints = self._refined(image, keypoints, camera)
        seconds = perf_counter() - begun
        hands = self.reconstructor.reconstruct(image, keypoints, camera)
        hands.timings["keypoints"] = seconds
        return Made(hands, given, image.shape)

    @cached_property
    def intaghand(self) -> IntagHandNetwork:
        return load_intaghand(self.models / "intaghand", self.settings.device)[0]

    @cached_property
    def refinement(self) -> tuple[RefinementNetwork, KeypointPriorNetwork | None]:
        """Keypoint refinement, and the prior that comes before it if it was trained so."""
        network, card = load_keypoint_refinement(self.models / "keypoint_refinement", self.settings.device)
        after_prior = card.compat.get("keypoint_prior") == "consistent"
        return network, load_keypoint_prior(self.models / "keypoint_prior")[0] if after_prior else None

    @cached_property
    def hand_models(self) -> dict[Side, HandModel]:
        folder = self.settings.hand_model
        return builtin_hand_models() if folder is None else load_hand_models(folder)

    def predicted_keypoints(
        self, image: UInt8[np.ndarray, "rows columns 3"], camera: Camera
    ) -> Float[np.ndarray, "2 21 3"]:
        """IntagHand's keypoints: from the box of the hands, or from the whole picture and then from where it found them."""
        rows, columns = image.shape[:2]
        corners = np.array([[0.0, 0.0], [columns - 1.0, rows - 1.0]]) if self.box is None else self.box
        settings = CropSettings()
        affine = square_crop(corners, settings.size, 1.0 if self.box is None else settings.hand_share)
        vertices, keypoints = self._placed(image, affine, camera)
        if self.box is None:
            affine, _ = hands_crop(camera, vertices, settings)
            vertices, keypoints = self._placed(image, affine, camera)
        return keypoints

    def _placed(self, image: np.ndarray, affine: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        crop = crop_image(image, affine, CropSettings().size)
        hands = hands_in(self.intaghand, self.hand_models, [crop], [camera.cropped(affine)], self.settings.device)[0]
        problem = hands.reason or ((found := implausible(hands.keypoints[None])) and found[1])
        if problem:
            raise DataError(f"IntagHand does not find two hands in the picture: {problem}; give a --box or keypoints.")
        return hands.vertices, hands.keypoints

    def _refined(self, image: np.ndarray, keypoints: np.ndarray, camera: Camera) -> np.ndarray:
        network, prior = self.refinement
        if len(usable(hand_inputs(keypoints))) < len(Side):
            raise DataError("--refine-keypoints needs keypoints of both hands.")
        if prior is not None:
            keypoints = likely_hands(prior, keypoints[None])[0]
        crop, _, cropped = photograph_crop(image, usable(hand_inputs(keypoints)), camera)
        shown, wrists = keypoints[None], keypoints[None, :, WRIST]
        refined = refined_hands(network, crop[None], [cropped], shown, wrists, self.settings.device, prior)
        problem = implausible(refined)
        if problem is not None:
            raise DataError(f"keypoint refinement turns the keypoints into impossible hands: {problem[1]}.")
        return refined[0]


def _box(text: str) -> Float[np.ndarray, "2 2"]:
    try:
        left, top, right, bottom = map(float, text.split(","))
    except ValueError:
        left = top = right = bottom = 0.0
    if not (right > left and bottom > top):
        raise DataError(f"--box {text}: give left,top,right,bottom in pixels, with right > left and bottom > top.")
    return np.array([[left, top], [right, bottom]])
