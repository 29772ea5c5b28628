"""Files of MANO's parameters: InterHand2.6M's fits, ARCTIC's, and the arrays that people save."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from im2hands.hands.model import HandModel
from im2hands.hands.model_files import builtin_hand_models, load_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_layouts.content import UNNAMED, Content, nobody
from im2hands.photographs.keypoint_layouts.mano_parameters import (
    NAMES,
    HandParameters,
    hand_parameters,
    has_parameters,
    posed_keypoints,
)

BUILT_IN = "built-in"
"""Said in place of a folder of hand models."""
BUILT_IN_HAND = "read with the built-in hand, so the hands are right only if the parameters were made with it"
OF_FRAMES = ("pose", "root", "translation", "shape")


def is_mano_entry(entry: Mapping[str, Any]) -> bool:
    """Whether an object has left and right with parameters, or null."""
    sides = [entry.get(side.value) for side in SIDES]
    return any(map(has_parameters, sides)) and all(one is None or has_parameters(one) for one in sides)


def read_mano_entry(entry: Mapping[str, Any], where: str) -> dict[Side, HandParameters]:
    """The parameters of the hands that are there."""
    return {
        side: hand_parameters(entry[side.value], f"{where}{side.value} hand: ")
        for side in SIDES
        if entry.get(side.value) is not None
    }


def is_mano_frames(content: Any, path: Path) -> bool:
    """Whether the poses of one or both hands are stacked by frame, or the names of NPZ arrays begin with the side."""
    hands = _sides(content)
    return bool(hands) and (_flat_names(content) or has_parameters(content) or any(map(_stacked, hands.values())))


def _flat_names(content: Any) -> bool:
    names = [f"{side.value}_{name}" for side in SIDES for name in NAMES["pose"]]
    return isinstance(content, Mapping) and bool(set(names) & set(content))


def _sides(content: Any) -> dict[Side | None, Mapping[str, Any]]:
    """Side -> its parameters; None for the side of a file that has one hand and does not say which."""
    if not isinstance(content, Mapping):
        return {}
    if _flat_names(content):
        split: dict[Side | None, Mapping[str, Any]] = {
            side: {
                key.removeprefix(f"{side.value}_"): value
                for key, value in content.items()
                if str(key).startswith(f"{side.value}_")
            }
            for side in SIDES
        }
        return {side: part for side, part in split.items() if has_parameters(part)}
    if has_parameters(content):
        said = str(content.get("side", content.get("hand_side", ""))).lower()
        return {Side(said) if said in ("left", "right") else None: content}
    return {side: content[side.value] for side in SIDES if has_parameters(content.get(side.value))}


def _stacked(hand: Mapping[str, Any]) -> bool:
    pose = next(hand[key] for key in NAMES["pose"] if hand.get(key) is not None)
    return isinstance(pose, (np.ndarray, list)) and np.ndim(pose) == 2


def read_mano_frames(content: Any, path: Path) -> Content:
    """A picture per frame, numbered from 0; one without name if the file has one."""
    found: dict[str, dict[Side, HandParameters]] = {}
    one_hand = False
    for side, hand in _sides(content).items():
        one_hand |= side is None
        frames = _frames(hand)
        for number, frame in enumerate(frames):
            name = UNNAMED if len(frames) == 1 and not _stacked(hand) else str(number)
            where = f"{path}: {f'frame {name}: ' if name else ''}{'' if side is None else f'{side.value} hand: '}"
            found.setdefault(name, {})[side or Side.RIGHT] = hand_parameters(frame, where)
    return Content(unit="m", order="standard", parameters=found, one_hand=one_hand)


def _frames(hand: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One object of parameters per frame; what has no axis of frames holds for all of them."""
    if not _stacked(hand):
        return [{key: _plain(value) for key, value in hand.items()}]
    named = {key for name in OF_FRAMES for key in NAMES[name] if hand.get(key) is not None}
    count = len(next(hand[key] for key in NAMES["pose"] if hand.get(key) is not None))
    arrays = {key: np.asarray(hand[key]) for key in named}
    stacked = {key: array.ndim > 1 and len(array) == count for key, array in arrays.items()}
    rest = {key: _plain(value) for key, value in hand.items() if key not in named}
    return [
        rest | {key: array[number] if stacked[key] else array.reshape(-1) for key, array in arrays.items()}
        for number in range(count)
    ]


def _plain(value: Any) -> Any:
    """A number or flag that NPZ keeps as an array, as itself."""
    return value.item() if isinstance(value, np.ndarray) and value.shape == () else value


def hand_models_of(folder: str | os.PathLike | None) -> Mapping[Side, HandModel] | None:
    """The hand models of a folder, or the built-in ones for the word `built-in`. Raises as `load_hand_models`."""
    if folder is None:
        return None
    return builtin_hand_models() if os.fspath(folder) == BUILT_IN else load_hand_models(folder)


def posed(content: Content, models: Mapping[Side, HandModel] | None, path: str, side: Side | None) -> Content:
    """The content with keypoints in place of parameters. side: of a file that does not say it.

    Raises DataError if there is no hand model, or the side is not known.
    """
    if not content.parameters:
        return content
    if models is None:
        raise DataError(
            f"{path}: has MANO's parameters; give the folder of MANO_RIGHT and MANO_LEFT (--hand-model), or `built-in` for "
            "parameters of the built-in hand, whose numbers mean other hands than MANO's."
        )
    if content.one_hand and side is None:
        raise DataError(f"{path}: does not say whether its hand is left or right; say it (--side left, --side right).")
    hands = {name: nobody() for name in content.parameters}
    for which in SIDES:
        label = Side.RIGHT if content.one_hand else which
        given = {name: one[label] for name, one in content.parameters.items() if label in one}
        if content.one_hand and which is not side:
            continue
        for name, points in zip(given, posed_keypoints(list(given.values()), models, which), strict=True):
            hands[name][which.index] = points
    said = (BUILT_IN_HAND,) if models[Side.RIGHT].source == builtin_hand_models()[Side.RIGHT].source else ()
    return Content(hands, unit="m", order="standard", refused=content.refused, notes=(*content.notes, *said))
