"""Stage `make_report`: the results as one HTML page that works offline."""

from pathlib import Path

from im2hands.config.sections import MakeReport
from im2hands.io.stage import stage_main
from im2hands.report.page import Artifacts, write_report


def main(
    method: str,
    source: str,
    tables: str,
    records: list[str],
    meshes: list[str],
    hands: str,
    frames: list[str],
    frame_audits: list[str],
    hand_audits: list[str],
    images: str,
    hand_model: str,
    models: list[str],
    graph: list[str],
    output: str,
    params: MakeReport,
) -> None:
    artifacts = Artifacts(
        method=method,
        source=source,
        tables=tables,
        records=records,
        meshes=meshes,
        hands=hands,
        frames=frames,
        frame_audits=frame_audits,
        hand_audits=hand_audits,
        images=images,
        hand_model=hand_model,
        models=models,
        graph=[tuple(edge.split(":")) for edge in graph],
    )
    write_report(output, artifacts, params.contact_sheet_images, params.gallery_pairs, params.viewer_pairs)
    size = Path(output).stat().st_size / 1e6
    print(
        f"{output}: {size:.1f} MB, {params.gallery_pairs} pairs in pictures, {params.viewer_pairs} in the interactive view"
    )


if __name__ == "__main__":
    stage_main(main)
