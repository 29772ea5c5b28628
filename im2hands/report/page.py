"""The report: one self-contained HTML file that loads nothing from the network.

Equal inputs give an equal file: it contains no date and no paths except those it was given.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from im2hands.datasets.hands import HandTable
from im2hands.datasets.images import CropSet
from im2hands.evaluation.records import read_records
from im2hands.hands.model_files import load_hand_models
from im2hands.hands.sides import Side
from im2hands.io.atomic import read_json, write_text
from im2hands.io.errors import DataError
from im2hands.networks.catalogue import TITLES
from im2hands.reconstruction.storage import read_surfaces
from im2hands.report import facts
from im2hands.report.charts import Chart, Line, Mark
from im2hands.report.checks import checks
from im2hands.report.colours import ERROR_STOPS, PENETRATION, PREDICTION, TRUTH, css, error_gradient, scale_limit
from im2hands.report.curves import training_curves
from im2hands.report.gallery import gallery, photograph
from im2hands.report.graph import graph_svg
from im2hands.report.pairs import (
    PICTURED_FACES,
    RULE,
    ChosenPair,
    RankedPair,
    ShownPair,
    choose,
    load_pairs,
    rank_pairs,
    with_penetration,
)
from im2hands.report.pictures import data_uri, webp
from im2hands.report.viewer import UNKNOWN_DISTANCE, key_of, viewer_data

FILES_OF_TABLES = (
    *("shape_given_keypoints.parquet", "shape_predicted_keypoints.parquet"),
    *(f"{name}.parquet" for name in facts.PLAIN_TABLES),
    "protocol_card.json",
)
UNKNOWN_COLOUR = (0.55, 0.57, 0.60)
"""Of true surface without any prediction."""
FONTS = {"Inter": "inter-latin-wght-normal.woff2", "Newsreader": "newsreader-latin-wght-normal.woff2"}
LICENCES = {
    "three.js": "three.LICENSE",
    "Inter (typeface)": "fonts/inter.LICENSE",
    "Newsreader (typeface)": "fonts/newsreader.LICENSE",
}


@dataclass(frozen=True)
class Artifacts:
    """Paths of what the report shows.

    method, source: the numbers shown at the top and used to choose the pairs.  tables: folder of make_tables.  records:
    evaluation files, of any method.  meshes: the mesh shards of everything that the gallery and the view show.  hands, images
    (manifest): of the test split.  frames, frame_audits, hand_audits: one file per split.  hand_model: folder.
    models: folders of trained networks with card.json and curves.csv.  graph: (stage that makes, stage that uses).
    """

    method: str
    source: str
    tables: str
    records: Sequence[str]
    meshes: Sequence[str]
    hands: str
    frames: Sequence[str]
    frame_audits: Sequence[str]
    hand_audits: Sequence[str]
    images: str
    hand_model: str
    models: Sequence[str]
    graph: Sequence[tuple[str, str]]


def write_report(
    output: str | os.PathLike,
    artifacts: Artifacts,
    contact_sheet_images: int,
    gallery_pairs: int,
    viewer_pairs: int,
) -> None:
    """Writes the page.

    contact_sheet_images: crops on the contact sheet.  gallery_pairs, viewer_pairs: pairs shown as pictures and in the
    interactive view, a third each from the best, the median and the worst.
    Raises DataError if an artifact is missing or they do not belong together.
    """
    card, summary = facts.read_card(artifacts.tables), facts.read_summary(artifacts.tables)
    ranked = rank_pairs(_records_of(artifacts))
    chosen, viewed = with_penetration(choose(ranked, gallery_pairs), ranked), choose(ranked, viewer_pairs)
    crops = CropSet(artifacts.images)
    results = _load(artifacts, [*chosen, *viewed], crops)
    main = artifacts.method, artifacts.source
    shown = results[main]
    hands = [hand for pair in shown.values() for hand in pair.hands]
    predicted, keypoints = (
        facts.read_summary(artifacts.tables, name) for name in ("shape_predicted_keypoints", "keypoint_refinement")
    )
    limit = scale_limit(np.concatenate([hand.prediction_errors_mm for hand in hands] or [np.zeros(0)]))
    context = {
        "dataset": card["dataset"],
        "synthetic": facts.SYNTHETIC in card["dataset"],
        "split": card["split"],
        "method": TITLES.get(artifacts.method, artifacts.method),
        "headline": _headline(summary, artifacts, card),
        "rows": gallery(chosen, results, limit),
        "pictured_faces": PICTURED_FACES,
        "method_names": TITLES,
        "rank_chart": _rank_chart(ranked, chosen, card["dataset"]),
        "rule": RULE,
        "limit": limit,
        "tables": facts.result_tables(summary, card),
        "predicted": facts.result_tables(predicted, card),
        "plain_tables": facts.plain_tables(artifacts.tables),
        "shared_facts": facts.shared_facts(card),
        "checks": checks(summary, predicted, keypoints, artifacts.models),
        "trainings": [_training(folder) for folder in artifacts.models],
        "contact_sheet": _contact_sheet(crops, contact_sheet_images),
        "quarantined": int((~crops.usable()).sum()),
        "splits": facts.split_counts(artifacts.frames),
        "audit": facts.audit_lines([*artifacts.frame_audits, *artifacts.hand_audits]),
        "graph": graph_svg(artifacts.graph),
        "software": facts.software(),
        "sources": facts.sources(_files(artifacts)),
        **_view(viewed, results, main, limit),
        **static(),
    }
    write_text(output, environment().get_template("report.html.j2").render(context))


def _records_of(artifacts: Artifacts) -> pd.DataFrame:
    records = read_records(artifacts.records)
    chosen = records[(records["method"] == artifacts.method) & (records["source"] == artifacts.source)]
    if chosen.empty:
        raise DataError(
            f"{', '.join(artifacts.records)}: no rows of the method {artifacts.method} with {artifacts.source} keypoints; "
            "run evaluate for them, or show another method."
        )
    return chosen


Results = dict[tuple[str, str], dict[str, ShownPair]]


def _load(artifacts: Artifacts, chosen: Sequence[ChosenPair], crops: CropSet) -> Results:
    """(method, keypoint source) -> the chosen pairs by name, all as the same photographs show them."""
    names = list(dict.fromkeys(one.pair.pair_id for one in chosen))
    hands = HandTable.read(artifacts.hands, ["vertices"], [f"{name}_{side.value}" for name in names for side in Side])
    models = load_hand_models(artifacts.hand_model)
    shards: dict[tuple[str, str], list[str]] = {}
    for path in artifacts.meshes:
        made_with = read_surfaces(path).parameters
        shards.setdefault((made_with["method"], made_with["source"]), []).append(path)
    main = artifacts.method, artifacts.source
    if main not in shards:
        raise DataError(
            f"no mesh shard of the method {main[0]} with {main[1]} keypoints was given; run reconstruct again."
        )
    pairs = load_pairs(names, hands, models, shards[main], crops)
    photographs = {name: pair.crop.frame_id for name, pair in pairs.items()}
    return {
        one: pairs if one == main else load_pairs(names, hands, models, paths, crops, photographs)
        for one, paths in shards.items()
    }


def _headline(summary: pd.DataFrame, artifacts: Artifacts, card: dict[str, Any]) -> dict[str, str]:
    if artifacts.source != "model":
        summary = facts.read_summary(artifacts.tables, "shape_predicted_keypoints")
    row = summary[(summary["method"] == artifacts.method) & (summary["source"] == artifacts.source)].iloc[0]
    return {
        "mesh_iou": facts.number(row["mesh_iou_percent"], 1),
        "chamfer": facts.number(row["chamfer_l1_mm"], 2),
        "normals": facts.number(row["normal_consistency"], 3),
        "failures": str(row["failures"]),
        "hands": str(row["hands"]),
        "pairs": str(row["poses"]),
        "keypoints": next(
            (one["keypoints"] for one in card["methods"] if one["keypoint_source"] == artifacts.source),
            artifacts.source,
        ),
    }


def _rank_chart(ranked: Sequence[RankedPair], chosen: Sequence[ChosenPair], dataset: str) -> str:
    """Every pair by its place in the order of mesh IoU, the chosen ones marked."""
    share = np.array([100 * pair.share for pair in ranked])
    overlap = np.array([100 * pair.mesh_iou for pair in ranked])
    marks = [Mark(100 * one.pair.share, 100 * one.pair.mesh_iou, "", f"mark-{one.place}") for one in chosen]
    summary = (
        f"Mesh IoU of all {len(ranked)} test pairs in order ({dataset}): best {overlap.max():.1f} %, median "
        f"{np.median(overlap):.1f} %, worst {overlap.min():.1f} %."
    )
    line = Line("", share, overlap, "series-all", dots=len(ranked) <= 60)
    return Chart(summary, "pairs, best to worst (%)", "Mesh IoU (%)", [line], marks, limits=(0.0, 100.0)).svg()


def _training(folder: str) -> dict[str, Any]:
    card = read_json(Path(folder) / "card.json", "model card")
    return {
        "name": TITLES.get(Path(folder).name, Path(folder).name),
        "curves": training_curves(Path(folder) / "curves.csv"),
        "card": json.dumps(card, indent=2, ensure_ascii=False),
    }


def _contact_sheet(crops: CropSet, count: int) -> list[str]:
    """Evenly spaced crops as embedded images."""
    usable = np.flatnonzero(crops.usable())
    places = np.unique(np.linspace(0, len(usable) - 1, min(count, len(usable))).round().astype(int))
    images = []
    for frame_id in usable[places]:
        rgb = crops.image(int(frame_id)) / 255.0
        images.append(data_uri(webp(np.concatenate([rgb, np.ones((*rgb.shape[:2], 1))], -1), quality=80), "image/webp"))
    return images


def _view(viewed: Sequence[ChosenPair], results: Results, main: tuple[str, str], limit: float) -> dict[str, Any]:
    data, shown = viewer_data(viewed, results), results[main]
    content = {
        "pairs": data.pairs,
        "methods": [key_of(*one) for one in results],
        "limit": limit,
        "stops": ERROR_STOPS,
        "unknown": UNKNOWN_COLOUR,
        "unknownDistance": UNKNOWN_DISTANCE,
        "colours": {
            "truth": {side.value: TRUTH[side] for side in Side},
            "prediction": {side.value: PREDICTION[side] for side in Side},
        },
    }
    return {
        "viewer": [
            {"place": one.place, "pair": one.pair, "photograph": photograph(shown[one.pair.pair_id])} for one in viewed
        ],
        "viewer_methods": [
            {"key": key_of(*one), "method": one[0], "source": one[1], "checked": one == main} for one in results
        ],
        "viewer_json": json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"),
        "unpredicted": any(
            not hand.has_prediction
            for pairs in results.values()
            for one in viewed
            for hand in pairs[one.pair.pair_id].hands
        ),
        "simplified": data.simplified,
        "most_faces": data.faces,
    }


def _files(artifacts: Artifacts) -> list[str]:
    """Every file that the page was made of, results first."""
    tables = [str(Path(artifacts.tables) / name) for name in FILES_OF_TABLES]
    networks = [str(Path(folder) / name) for folder in artifacts.models for name in ("card.json", "curves.csv")]
    data = [artifacts.hands, artifacts.images, *artifacts.frames, *artifacts.frame_audits, *artifacts.hand_audits]
    return [*tables, *artifacts.records, *artifacts.meshes, *networks, *data]


def static() -> dict[str, Any]:
    """Styles, scripts, typefaces, licences and colours of every page."""
    folder = resources.files("im2hands.report") / "static"
    fonts = {name: base64.b64encode((folder / "fonts" / file).read_bytes()).decode() for name, file in FONTS.items()}
    colours = {
        "truth": {side.value: css(TRUTH[side]) for side in Side},
        "prediction": {side.value: css(PREDICTION[side]) for side in Side},
        "unknown": css(UNKNOWN_COLOUR),
        "penetration": css(PENETRATION),
    }
    return {
        "fonts": fonts,
        "style": (folder / "report.css").read_text(),
        "three": (folder / "three.bundle.min.js").read_text(),
        "surface_script": (folder / "surface.js").read_text(),
        "viewer_script": (folder / "viewer.js").read_text(),
        "view_script": (folder / "view.js").read_text(),
        "licences": {name: (folder / file).read_text() for name, file in LICENCES.items()},
        "colours": colours,
        "error_gradient": error_gradient(),
    }


def environment() -> jinja2.Environment:
    """Where the templates are."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("im2hands.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
