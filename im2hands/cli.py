"""The `im2hands` command. Heavy packages are imported inside the commands that need them."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from im2hands import __version__
from im2hands.io.atomic import writing_failed
from im2hands.io.errors import Im2HandsError

app = typer.Typer(
    help="Two interacting hands as occupancy fields: from photographs to trained networks, meshes and tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"im2hands {__version__}")


@app.command()
def configure(
    preset: Annotated[str, typer.Argument(help="demo, synthetic-full, paper, or the path of a YAML file")],
    params: Annotated[Path, typer.Option(help="the parameter file to change")] = Path("params.yaml"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only print the difference")] = False,
) -> None:
    """Merge a preset into params.yaml and print what changed."""
    from im2hands.config.presets import configure_params

    for line in configure_params(preset, params, dry_run=dry_run):
        typer.echo(line)


@app.command("check-data")
def check_data(
    params: Annotated[Path, typer.Option(help="the parameter file that names the data")] = Path("params.yaml"),
    images: Annotated[int, typer.Option(help="images of each split that are decoded")] = 200,
) -> None:
    """Look whether dataset and hand model are complete and of the right version; exit code 1 if something is missing."""
    from im2hands.config.choices import SPLITS
    from im2hands.config.params import read_params
    from im2hands.datasets.check import check_data as look

    dataset = read_params(params).dataset
    found = []
    for one in look(dataset.root, dataset.hand_model, SPLITS, images):
        typer.echo(one.line())
        found.append(one)
    lacking = [one.subject for one in found if not one.ok]
    typer.echo(f"not ready: {', '.join(lacking)}" if lacking else "everything is there")
    if lacking:
        raise typer.Exit(1)


@app.command()
def doctor(
    params: Annotated[Path, typer.Option(help="the parameter file of the checkout")] = Path("params.yaml"),
) -> None:
    """Say what works here, what is missing and how to get it; exit code 1 if something hinders."""
    from im2hands.doctor import examine

    hindering = []
    for found in examine(params.parent, params.name):
        typer.echo(found.line())
        hindering += [found.subject] if found.hinders else []
    typer.echo(f"in the way: {', '.join(hindering)}" if hindering else "ready")
    if hindering:
        raise typer.Exit(1)


@app.command()
def reconstruct(
    images: Annotated[list[Path], typer.Argument(help="images, folders of images, or videos")],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder of the results, one folder per image")],
    keypoints: Annotated[str, typer.Option(help="keypoint file (.json, .parquet), or `intaghand` to predict them")],
    model: Annotated[Path, typer.Option(help="folder with the folder of each network")] = Path("models"),
    camera: Annotated[str, typer.Option(help="auto, focal=<pixels>, a .json file or a frame table")] = "auto",
    method: Annotated[str, typer.Option(help="im2hands or initial")] = "im2hands",
    refine_keypoints: Annotated[
        bool, typer.Option("--refine-keypoints", help="correct them by the photograph")
    ] = False,
    box: Annotated[str, typer.Option(help="left,top,right,bottom of both hands in pixels, for `intaghand`")] = "",
    hand_model: Annotated[Path | None, typer.Option(help="hand model folder, for `intaghand`")] = None,
    formats: Annotated[str, typer.Option(help="mesh formats, of glb,obj,ply")] = "glb",
    resolution: Annotated[int, typer.Option(help="cells along a side of the searched box")] = 256,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    order: Annotated[
        str | None, typer.Option(help="joint order of the file: standard, mano, interhand, biomech")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="unit of the keypoint file: m or mm")] = None,
    palm: Annotated[
        float | None, typer.Option(help="mean distance of finger bases from wrist, m, for landmarks")
    ] = None,
    at_once: Annotated[int, typer.Option(help="photographs in work at the same time, a process each")] = 1,
) -> None:
    """Reconstruct both hands of your own photographs; exit code 1 if one of them could not be used."""
    from im2hands.photographs.command import Settings, reconstruct_images

    settings = Settings(
        model,
        keypoints,
        camera,
        method,
        refine_keypoints,
        box,
        hand_model,
        tuple(formats.split(",")),
        resolution,
        device,
        order,
        unit,
        palm,
        at_once,
    )
    failed = 0
    for line, good in reconstruct_images(images, output, settings):
        typer.echo(line, err=not good)
        failed += not good
    if failed:
        raise typer.Exit(1)


@app.command()
def view(
    files: Annotated[list[Path], typer.Argument(help="mesh files, or folders of results: a panel each")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file to write instead of serving")] = None,
    truth: Annotated[Path | None, typer.Option(help="true surfaces: a mesh file or a folder of them")] = None,
    frames: Annotated[int, typer.Option(help="frames in the page at most, evenly chosen")] = 60,
    port: Annotated[int, typer.Option(help="port of 127.0.0.1 that the page is served on; 0 for any free one")] = 0,
    opened: Annotated[bool, typer.Option("--open/--no-open", help="open the page in the browser")] = True,
) -> None:
    """Look at meshes or results in an interactive 3-D page; several folders stand side by side, with one camera."""
    from im2hands.io.atomic import write_text
    from im2hands.report.view_files import read_panels
    from im2hands.report.view_page import serve, view_page

    page = view_page(read_panels(files, truth), frames)
    if output is None:
        serve(page, opened, typer.echo, port)
    else:
        write_text(output, page)
        typer.echo(f"{output}: {len(page.encode()) / 1e6:.1f} MB")


@app.command()
def parity(
    folder: Annotated[Path, typer.Argument(help="folder of golden .npz files, whatever they are called")],
) -> None:
    """Compare this software with numbers of the original code; exit code 1 if anything deviates."""
    from im2hands.parity.runner import run_parity

    report = run_parity(folder)
    for line in report.lines():
        typer.echo(line)
    if report.failed:
        raise typer.Exit(1)


@app.command("import-weights")
def import_weights(
    files: Annotated[list[Path], typer.Argument(help="published checkpoint files")],
    to: Annotated[Path, typer.Option(help="model folder to write, e.g. models/halo")],
    graphs: Annotated[
        Path | None,
        typer.Option(help="folder of IntagHand's graph files: graph_{left,right}.pkl, v_color.pkl, upsample.pkl"),
    ] = None,
) -> None:
    """Read published weights without executing anything from them, and write safetensors with a model card."""
    from im2hands.networks.published.importing import import_weights as import_files

    for line in import_files(files, to, graphs):
        typer.echo(line)


@app.command("import-preprocessed")
def import_preprocessed(
    folder: Annotated[Path, typer.Argument(help="the folder above the splits train, val, test")],
    kind: Annotated[str, typer.Option(help="whose script made it: intaghand (crops, annotations) or halo (points)")],
    to: Annotated[Path, typer.Option(help="the folder data of the checkout")] = Path("data"),
    split: Annotated[list[str] | None, typer.Option(help="import only this split (may be repeated)")] = None,
    dataset: Annotated[str, typer.Option(help="name of the dataset, for tables and cards")] = "InterHand2.6M",
    params: Annotated[Path, typer.Option(help="the parameter file of the checkout")] = Path("params.yaml"),
) -> None:
    """Take over what the original scripts preprocessed, without executing anything from it."""
    from im2hands.config.choices import SPLITS
    from im2hands.config.options import resolve_option
    from im2hands.config.params import read_params
    from im2hands.datasets.preprocessed import ImportSettings
    from im2hands.datasets.preprocessed import import_preprocessed as import_folder

    read = read_params(params)
    options = {name: resolve_option(read.model_dump(), name) for name in ("angle_clamp", "degenerate_hands")}
    shards = (read.sample_queries if kind == "halo" else read.normalize_images).shards
    settings = ImportSettings(
        dataset=dataset,
        shards=shards.model_dump(),
        hand_model=read.dataset.hand_model,
        masks=read.normalize_images.masks,
        dense_maps=read.normalize_images.dense_maps,
        max_unreadable_fraction=read.normalize_images.max_unreadable_fraction,
        **options,
    )
    for line in import_folder(kind, folder, to, split or SPLITS, settings):
        typer.echo(line)


@app.command("export-weights")
def export_weights(
    model: Annotated[Path, typer.Argument(help="model folder, e.g. models/halo")],
    to: Annotated[Path, typer.Option(help="file to write")],
) -> None:
    """Write a model's weights as a file that the published code reads."""
    from im2hands.networks.published.importing import export_weights as export

    export(model, to)


def main() -> None:
    """Entry point of the console script: a user's mistake and a disk that takes nothing end in one sentence and exit code 1.

    SIGTERM ends the command as Ctrl-C does, so that what is half-written is removed; exit code 143.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except Im2HandsError as error:
        sys.exit(f"im2hands: error: {error}")
    except OSError as error:
        said = writing_failed(error.filename or "the output", error)
        if said is None:
            raise
        sys.exit(f"im2hands: error: {said}")


def _terminated(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
