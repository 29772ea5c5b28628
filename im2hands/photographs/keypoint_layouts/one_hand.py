"""The side of hands in files that have one hand per picture and do not say which: as the user says, or as the hand bends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_layouts.content import Content, pair
from im2hands.photographs.keypoint_layouts.headset_files import DUMPS
from im2hands.photographs.landmark_files import PictureLandmarks
from im2hands.photographs.plausible_hands import OTHER_SIDE, bend_to_the_back

ASK = "does not say whether its hands are left or right; say it (--side left, --side right)"
BARE = ("array", "mano", "freihand")
"""Formats of which the side has been used by the reader."""


def with_side(content: Content, side: Side | None, path: str, format: str) -> Content:
    """The content with every hand on its side. side: what the user says.

    Raises DataError if the side is needed and neither known nor seen, or given for a file that says it itself.
    """
    landmarks = any(one.one_hand for one in content.landmarks.values())
    if not content.one_hand and not landmarks:
        given = [one for one in SIDES if any(np.isfinite(both[one.index]).any() for both in content.hands.values())]
        if side is not None and (format not in (*BARE, *DUMPS) or given != [side]):
            raise DataError(f"{path}: says the sides of its hands itself; leave --side out.")
        return content
    if content.one_hand and side is None:
        side = _seen(content)
        if side is None:
            raise DataError(f"{path}: {ASK}.")
    if landmarks and side is None:
        raise DataError(f"{path}: {ASK}.")
    assert side is not None
    hands = {
        name: pair({side: both[Side.RIGHT.index]}) if content.one_hand else both for name, both in content.hands.items()
    }
    return replace(
        content,
        hands=hands,
        landmarks={name: _labelled(one, side) for name, one in content.landmarks.items()},
        one_hand=False,
    )


def _seen(content: Content) -> Side | None:
    """The side to which nearly all hands bend; None if that is not clear."""
    hands = np.stack([both[Side.RIGHT.index] for both in content.hands.values()])
    bends = bend_to_the_back(hands[np.isfinite(hands).all(axis=(1, 2))], Side.RIGHT)
    bends = bends[np.isfinite(bends)]
    if not bends.size or abs(bends.mean()) < OTHER_SIDE:
        return None
    return Side.LEFT if bends.mean() > 0 else Side.RIGHT


def _labelled(picture: PictureLandmarks, side: Side) -> PictureLandmarks:
    if not picture.one_hand:
        return picture
    return replace(picture, hands={side: picture.hands[Side.RIGHT]}, one_hand=False)
