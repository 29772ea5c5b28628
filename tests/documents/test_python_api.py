"""The examples of docs/python-api.md run unchanged, with tiny networks."""

from __future__ import annotations

import re
from functools import partial

import cv2
import pytest

from im2hands.datasets.frame_items import FrameSet
from im2hands.hands.sides import Side
from im2hands.photographs.reconstructor import Reconstructor
from tests.documents.commands import ROOT
from tests.photographs.one_photograph import photographs, write_models

CODE = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/python-api.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with `models` and `photograph.jpg`; the names that the page takes as given."""
    data = photographs(tmp_path / "data")
    write_models(data).rename(tmp_path / "models")
    item = FrameSet(data.frames, data.hands, data.images).item(0)
    cv2.imwrite(str(tmp_path / "photograph.jpg"), item.image[..., ::-1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Reconstructor, "from_pretrained", partial(Reconstructor.from_pretrained, resolution=32))
    camera = item.camera
    return {
        "keypoints": item.keypoints,
        "K": camera.intrinsics,
        "R": camera.rotation,
        "t": camera.translation,
        "photographs": [(item.image, item.keypoints, camera)],
    }


def test_examples_run_in_their_order(place):
    assert len(CODE) >= 2
    for block in CODE:
        exec(compile(block, "docs/python-api.md", "exec"), place)
    assert set(place["hands"].meshes) == set(Side)
    assert place["points"].grad.isfinite().all()
    assert set(place["pair"].meshes) == set(Side)
