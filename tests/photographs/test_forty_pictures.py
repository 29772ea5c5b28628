"""A folder of 40 pictures, ten of them unusable in ten ways: 30 results, ten sentences."""

from __future__ import annotations

import json

import cv2
import pytest

PICTURES = 40


@pytest.mark.slow
def test_thirty_results_and_ten_sentences(run, scene, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    names = [f"{number:02d}.png" for number in range(PICTURES)]
    for name in names:
        assert cv2.imwrite(str(folder / name), scene.pixels)
    rows, columns = scene.pixels.shape[:2]
    entries = {name: {"size": [columns, rows], "hands": scene.landmarks()} for name in names}
    whole = (folder / names[0]).read_bytes()
    left, right = scene.landmarks()

    (folder / "03.png").write_bytes(whole[: len(whole) // 2])
    (folder / "07.png").write_text("no picture at all\n")
    (folder / "11.png").write_bytes(b"")
    middle = len(whole) // 2
    (folder / "14.png").write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    entries["17.png"]["hands"] = []
    entries["20.png"]["hands"] = [left, left]
    entries["24.png"]["hands"] = [left, right | {"pixels": right["pixels"][:20]}]
    entries["28.png"]["size"] = [rows, columns + 1]
    entries["33.png"]["hands"] = [left, right | {"pixels": [[0.0, 0.0]] * 21}]
    del entries["39.png"]
    said = {
        "03.png": "does not decode",
        "07.png": "does not decode",
        "11.png": "the file is empty",
        "14.png": "does not decode",
        "17.png": "there is no hand",
        "20.png": "two hands are labelled left",
        "24.png": "must be 21 points",
        "28.png": f"of a picture of {rows} x {columns + 1} pixels",
        "33.png": "right hand: the coordinates are not pixels",
        "39.png": "has no entry 39.png",
    }
    keypoints = tmp_path / "landmarks.json"
    keypoints.write_text(json.dumps(entries))
    code, text = run(folder, keypoints=keypoints, method="initial", formats="ply")
    assert code == 1
    made = sorted(path.parent.name for path in (tmp_path / "out").glob("*/result.json"))
    assert made == [name.removesuffix(".png") for name in names if name not in said]
    errors = [line for line in text.splitlines() if line.startswith("im2hands: error: ")]
    assert len(errors) == len(said)
    for name, words in said.items():
        line = next(line for line in errors if name in line)
        assert words in line, line
    for name in made:
        assert all(json.loads((tmp_path / "out" / name / "result.json").read_text())["keypoints"].values())
