"""A keypoint file of any format with one value changed, left out or given twice is read, or refused in one sentence."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from im2hands.io.errors import Im2HandsError
from im2hands.photographs.keypoint_files import read_keypoints
from im2hands.photographs.keypoint_layouts.writers import WRITERS
from tests.photographs import test_mano_files
from tests.photographs.test_keypoint_layouts import landmarks, pictures, written
from tests.photographs.test_keypoint_tools import PIXELS, coco, flat

DAMAGES = 8
"""Per format."""
ODD = (None, True, "x", [], {}, -1, 1e300, [1, 2], {"a": 1}, [[]], [None], 10**30, "left")


def write_coco(path: Path) -> None:
    hands = [{"image_id": number, "keypoints": flat(pixels)} for number, pixels in enumerate(PIXELS.values())]
    path.write_text(json.dumps(coco(hands)))


OTHERS = {**test_mano_files.FILES, "single_hands.json": write_coco}


def places(content: Any, path: tuple = ()) -> Iterator[tuple]:
    """Keys to every value, with the first few of a list only."""
    yield path
    items = (
        content.items() if isinstance(content, dict) else enumerate(content[:3]) if isinstance(content, list) else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


def damaged(content: Any, chance: random.Random) -> Any:
    content = copy.deepcopy(content)
    path = chance.choice(list(places(content)))
    if not path:
        return chance.choice(ODD)
    around = content
    for key in path[:-1]:
        around = around[key]
    change = chance.randrange(3)
    if change == 0:
        around[path[-1]] = chance.choice(ODD)
    elif change == 1:
        del around[path[-1]]
    elif isinstance(around, dict):
        around["left"] = around.pop(path[-1])
    else:
        around.append(around[path[-1]])
    return content


def damage(file: Path, chance: random.Random) -> None:
    """Changes a file in its own way."""
    content = file.read_bytes()
    if file.suffix == ".json":
        file.write_text(json.dumps(damaged(json.loads(content), chance)))
    elif file.suffix in (".pkl", ".pickle"):
        file.write_bytes(pickle.dumps(damaged(pickle.loads(content), chance)))
    elif file.suffix == ".npy":
        array = np.load(file, allow_pickle=True)
        whole = array.dtype != object
        np.save(file, array.ravel()[:-1] if whole else np.array(damaged(array.item(), chance), dtype=object))
    elif file.suffix == ".npz":
        arrays = dict(np.load(file))
        arrays[chance.choice(list(arrays))] = np.zeros(chance.choice([(), (3,), (2, 2)]))
        np.savez(file, **arrays)
    else:
        place = chance.randrange(len(content))
        file.write_bytes(content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :])


def refusal(path: Path) -> str | None:
    """The sentence with which a file is refused; None if it is read."""
    try:
        read_keypoints(path, hand_models=test_mano_files.MODELS)
    except Im2HandsError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", [*WRITERS, *OTHERS])
def test_damage_is_one_sentence(tmp_path, name):
    if name in OTHERS:
        OTHERS[name](path := tmp_path / name)
    else:
        path = written(tmp_path, name, (pictures if WRITERS[name].needs == "space" else landmarks)(name))
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    chance = random.Random(name)
    for _ in range(DAMAGES):
        file = chance.choice(files)
        before = file.read_bytes()
        damage(file, chance)
        said = refusal(path)
        file.write_bytes(before)
        assert said is None or ("\n" not in said and str(path) in said)
