"""The page holds everything it needs, says what it was measured on, and is the same for the same files."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from im2hands.io.errors import DataError
from im2hands.io.stage import stage_main
from im2hands.report.page import Artifacts, write_report
from stages.make_report import main
from tests.report.fake_results import DATASET

ADDRESSES = {
    "src",
    "href",
    "srcset",
    "action",
    "formaction",
    "poster",
    "data",
    "background",
    "ping",
    "manifest",
    "cite",
}
VOID = {"meta", "link", "img", "input", "br", "path", "circle", "rect"}
MIB = 2**20


class Reader(HTMLParser):
    """Addresses, ids, unclosed elements, and the text of elements of some kinds."""

    def __init__(self, kinds: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.addresses, self.ids, self.open, self.images = [], [], [], []
        self.kinds, self.texts = kinds, []
        self._collecting: list[list[str]] = []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [(tag, value) for name, value in attributes.items() if name in ADDRESSES]
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag == "img":
            self.images.append(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag in self.kinds:
            self._collecting.append([])

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open.pop() == tag
        if tag in self.kinds:
            self.texts.append((tag, " ".join(self._collecting.pop())))

    def handle_data(self, data):
        for text in self._collecting:
            text.append(data)


def read(page, *kinds) -> Reader:
    reader = Reader(kinds)
    reader.feed(page.read_text())
    return reader


def test_nothing_is_asked_of_the_network(page):
    reader = read(page)
    assert len(reader.addresses) > 20
    outside = [(tag, value[:60]) for tag, value in reader.addresses if not value.startswith(("data:", "#"))]
    assert not outside
    style = re.search(r"<style>(.*?)</style>", page.read_text(), re.S).group(1)
    assert "@import" not in style
    assert all(address.startswith("data:") for address in re.findall(r"url\(\s*['\"]?([^)]*)", style))
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|sendBeacon|importScripts)\b", own_scripts(page))


def own_scripts(page) -> str:
    """The page's scripts without the bundled library."""
    scripts = re.findall(r"<script>(.*?)</script>", page.read_text(), re.S)
    return "".join(script for script in scripts if not script.startswith("/*! three.js"))


def test_markup_is_whole_and_links_lead_somewhere(page):
    reader = read(page)
    assert reader.open == []
    assert len(set(reader.ids)) == len(reader.ids)
    assert {value[1:] for _, value in reader.addresses if value.startswith("#")} <= set(reader.ids)
    assert all("alt" in image for image in reader.images)


def test_every_table_and_figure_with_numbers_names_the_synthetic_stand_in(page):
    texts = read(page, "figcaption", "caption", "header", "table").texts
    captions = [text for tag, text in texts if tag == "caption"]
    assert len(captions) >= 5
    assert all(DATASET in text or text.startswith("Not measured here") for text in captions)
    assert sum(text.startswith("Not measured here") for text in captions) == 1
    charts = [text for tag, text in texts if tag == "figcaption" and re.search(r"\d", text) and "mm" not in text]
    assert charts
    assert all("synthetic stand-in" in text for text in charts)
    assert "synthetic stand-in" in next(text for tag, text in texts if tag == "header")


def test_numbers_of_the_tables_are_those_of_the_records(page, results):
    import pandas as pd

    summary = pd.read_parquet(results.folder / "results/tables/shape_given_keypoints.parquet").iloc[0]
    tables = [text for tag, text in read(page, "table").texts if tag == "table"]
    assert any(
        f"{summary['mesh_iou_percent']:.1f}" in text and f"{summary['chamfer_l1_mm']:.2f}" in text for text in tables
    )
    assert "1 / 10" in " ".join(tables)  # the failed hand


def test_failures_are_said_in_words(page):
    assert "left hand: no mesh (degenerate keypoints)" in page.read_text()


def test_expectations_are_said_to_be_met_or_missed(page):
    cells = [text for tag, text in read(page, "td").texts if tag == "td"]
    place = next(
        place for place, text in enumerate(cells) if text.startswith("Keypoint refinement lowers the error of")
    )
    assert cells[place + 1 : place + 3] == ["9.1 mm after 14.2 mm", "met"]


def test_same_files_same_page(page, results, tmp_path):
    again = tmp_path / "again.html"
    write_report(again, Artifacts(**results.arguments), contact_sheet_images=6, gallery_pairs=3, viewer_pairs=3)
    assert again.read_bytes() == page.read_bytes()


def test_page_stays_small_and_carries_its_licences(page):
    text = page.read_text()
    assert len(text) < 15 * MIB
    assert "Permission is hereby granted, free of charge" in text
    assert text.count("SIL Open Font License") >= 2


def test_viewer_data_is_json_of_the_chosen_pairs(page):
    data = json.loads(
        re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page.read_text(), re.S).group(1)
    )
    assert len(data["pairs"]) == 3
    roles = [[part["role"] for part in pair["parts"]] for pair in data["pairs"]]
    assert data["methods"] == ["halo/model", "initial/model"]
    assert (roles[0].count("truth"), roles[0].count("prediction")) == (2, 4)
    assert roles[-1].count("prediction") == 2  # the worst pair lacks a hand
    positions = base64.b64decode(data["pairs"][0]["parts"][0]["positions"])
    assert len(positions) % 6 == 0


def test_stage_writes_the_page_and_explains_a_mistake(results, tmp_path, capsys):
    words = []
    for name, value in results.arguments.items():
        value = [":".join(edge) for edge in value] if name == "graph" else value
        words += [f"--{name.replace('_', '-')}", *(value if isinstance(value, list) else [value])]
    params = json.dumps({"contact_sheet_images": 1, "gallery_pairs": 1, "viewer_pairs": 1})
    output = tmp_path / "report.html"
    stage_main(main, [*words, "--output", str(output), "--params", params])
    assert output.read_text().startswith("<!doctype html>")
    words[words.index("halo")] = "intaghand"
    with pytest.raises(SystemExit) as error:
        stage_main(main, [*words, "--output", str(tmp_path / "other.html"), "--params", params])
    assert "no rows of the method intaghand" in str(error.value)
    assert not (tmp_path / "other.html").exists()


@pytest.mark.parametrize(
    ("missing", "argument", "named"),
    [
        ("results/tables/protocol_card.json", None, "protocol_card.json"),
        ("models/halo/curves.csv", None, "curves.csv"),
    ],
)
def test_missing_artifacts_are_named(results, tmp_path, missing, argument, named):
    arguments = dict(results.arguments)
    if missing:
        folder = tmp_path / "copy"
        shutil.copytree(results.folder, folder)
        (folder / missing).unlink()
        arguments = type(results)(folder, results.pairs).arguments
    with pytest.raises(DataError, match=re.escape(named)):
        write_report(tmp_path / "x.html", Artifacts(**(arguments | (argument or {}))), 1, 1, 1)
