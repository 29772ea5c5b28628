"""Sides and persons over time: whatever a detector confuses in single pictures, the film puts right."""

from __future__ import annotations

import json

import numpy as np
import pytest

from im2hands.films.detections import Detection, detections_of_file
from im2hands.films.tracking import follow
from im2hands.geometry.cameras import Camera
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.files import Photograph

PICTURES = 40
TIMES = np.arange(PICTURES) / 30
HAND = np.random.default_rng(0).uniform(-50, 50, (21, 2))
NO_CUTS = np.zeros(PICTURES, bool)


def hand(side: Side, picture: int, at: float = 0.0, person: int | None = None, size: float = 1.0) -> Detection:
    """A hand that crosses the picture; the two of a person pass over each other."""
    away = (-1 if side is Side.LEFT else 1) * (100 - 5.0 * picture)
    mirrored = HAND * ([-1, 1] if side is Side.LEFT else [1, 1])
    noise = np.random.default_rng(picture).normal(0, 1, (21, 2))
    return Detection(
        side, size * mirrored + [320 + away + at, 240 + (20 if side is Side.LEFT else -20)] + noise, person=person
    )


def film(change=lambda picture, found: found) -> list[list[Detection]]:
    return [change(picture, [hand(side, picture) for side in SIDES]) for picture in range(PICTURES)]


def labelled(one: Detection, side: Side) -> Detection:
    return Detection(side, one.pixels, person=one.person)


def sides_are_right(found: list[list[Detection]], chosen: np.ndarray) -> bool:
    """Whether what was chosen is where the hand of this side is."""
    return all(
        chosen[picture, side.index] < 0
        or np.allclose(found[picture][chosen[picture, side.index]].pixels, hand(side, picture).pixels)
        for picture in range(len(found))
        for side in SIDES
    )


def test_hands_that_cross_keep_their_sides():
    found = film()
    followed = follow(found, TIMES, NO_CUTS)
    assert sides_are_right(found, followed.chosen) and (followed.chosen >= 0).all() and followed.exchanged == 0


def test_exchanged_labels_are_put_right():
    """In a third of the pictures both labels are exchanged, in some the two are the same."""

    def change(picture, found):
        left, right = found
        if picture % 3 == 0:
            return [labelled(left, Side.RIGHT), labelled(right, Side.LEFT)]
        return [left, labelled(right, Side.LEFT)] if picture % 7 == 0 else found[:: 1 if picture % 2 else -1]

    found = film(change)
    followed = follow(found, TIMES, NO_CUTS)
    assert sides_are_right(found, followed.chosen) and (followed.chosen >= 0).all()
    assert followed.exchanged == sum(picture % 3 == 0 or picture % 7 == 0 for picture in range(PICTURES))


def test_missing_hands_stay_missing_and_second_detections_are_left_out():
    def change(picture, found):
        left, right = found
        if 10 <= picture < 16:
            return [left]
        return [left, right, Detection(Side.LEFT, left.pixels + 2)] if picture % 4 == 0 else found

    found = film(change)
    followed = follow(found, TIMES, NO_CUTS)
    right = followed.chosen[:, Side.RIGHT.index]
    assert (right[10:16] < 0).all() and (np.delete(right, range(10, 16)) >= 0).all()
    assert (followed.chosen[:, Side.LEFT.index] >= 0).all() and followed.ignored == 9


@pytest.mark.parametrize("told", [True, False])
def test_the_larger_and_longer_seen_person_is_kept(told):
    """A second person beside, in a wild order; with and without numbers of persons."""

    def change(picture, found):
        first = [hand(side, picture, person=0 if told else None) for side in SIDES]
        second = [hand(side, picture, at=700, person=1 if told else None, size=0.8) for side in SIDES]
        mixed = first + (second if picture > 5 else [])
        return [mixed[k] for k in np.random.default_rng(picture).permutation(len(mixed))]

    found = film(change)
    followed = follow(found, TIMES, NO_CUTS)
    assert sides_are_right(found, followed.chosen) and (followed.chosen >= 0).all()
    assert followed.ignored == 2 * (PICTURES - 6)


def test_hands_on_both_sides_of_a_cut_are_others():
    def change(picture, found):
        return [Detection(one.side, one.pixels + (0 if picture < 20 else [0, 900])) for one in found]

    cuts = NO_CUTS.copy()
    cuts[20] = True
    assert (follow(film(change), TIMES, cuts).chosen >= 0).all()


def test_no_hands_anywhere():
    assert (follow([[]] * PICTURES, TIMES, NO_CUTS).chosen == -1).all()


def of(path, number: int, **options) -> list[Detection]:
    source = detections_of_file(str(path), **options)
    camera = Camera(np.diag([500.0, 500, 1]), np.eye(3), np.zeros(3))
    return source(Photograph(f"film-{number:06d}", path.with_name("film.mp4"), None, number), camera)


def test_files_give_every_hand(tmp_path):
    """Two hands of one side and two people are read; a picture of which nothing is known has no hands."""
    pixels = (HAND + 200).tolist()
    hands = [{"side": "left", "pixels": pixels}, {"side": "left", "pixels": pixels}]
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps({"0": {"hands": hands, "palm": 0.08}, "1": {"hands": hands[:1]}, "3": {"hands": []}}))
    assert [one.side for one in of(path, 0)] == [Side.LEFT, Side.LEFT] and of(path, 0)[0].palm == 0.08
    assert [one.side for one in of(path, 1, swap_sides=True)] == [Side.RIGHT] and of(path, 2) == of(path, 3) == []
    flat = np.column_stack([HAND + 200, np.ones(21)]).ravel().tolist()
    person = {"hand_left_keypoints_2d": flat, "hand_right_keypoints_2d": [0.0] * 63}
    (tmp_path / "op").mkdir()
    for number in range(2):
        text = json.dumps({"people": [person] * (2 - number)})
        (tmp_path / f"op/film_{number:012d}_keypoints.json").write_text(text)
    assert [one.person for one in of(tmp_path / "op", 0)] == [0, 1] and len(of(tmp_path / "op", 1)) == 1
    bad = {"hands": [{"side": "left", "pixels": [[1, 2]]}]}
    path.write_text(json.dumps({"0": bad, "1": {"hands": hands}}))
    with pytest.raises(DataError, match="picture 0: left hand: pixels must be 21 points"):
        of(path, 0)
    assert len(of(path, 1)) == 2
    path.write_text(json.dumps({"0": bad}))
    with pytest.raises(DataError, match="pixels must be 21 points"):
        detections_of_file(str(path))
    path.write_text(json.dumps({"left": None, "right": [[0, 0, 1]] * 21}))
    assert detections_of_file(str(path)) is None


@pytest.mark.parametrize(
    "hand",
    [None, 5, {}, {"side": "left"}, {"side": "left", "pixels": None}, {"side": "up", "pixels": [[1, 2]] * 21}],
)
def test_a_picture_of_nonsense_is_refused_and_the_others_are_read(tmp_path, hand):
    path = tmp_path / "landmarks.json"
    good = {"side": "left", "pixels": (HAND + 200).tolist()}
    path.write_text(json.dumps({"0": {"hands": [hand]}, "1": {"hands": [good]}}))
    with pytest.raises(DataError, match="picture 0: hand 0 must have side"):
        of(path, 0)
    assert len(of(path, 1)) == 1
