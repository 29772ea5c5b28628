"""The `im2hands` command. Heavy packages are imported inside the commands that need them."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from im2hands import __version__
from im2hands.io.atomic import writing_failed
from im2hands.io.errors import ConfigError, Im2HandsError, Im2HandsWarning

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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only print what would change")] = False,
) -> None:
    """Merge a preset into params.yaml and print what changed."""
    from im2hands.config.presets import configure_params

    for line in configure_params(preset, params, dry_run=dry_run):
        typer.echo(line)


@app.command("check-data")
def check_data(
    params: Annotated[Path, typer.Option(help="the parameter file with the paths of the data")] = Path("params.yaml"),
    images: Annotated[int, typer.Option(help="number of images to decode per split")] = 200,
) -> None:
    """Check that dataset and hand model are complete and of the right version; exit code 1 if something is missing."""
    from im2hands.config.choices import SPLITS
    from im2hands.config.params import read_params
    from im2hands.datasets.check import check_data as look

    dataset = read_params(params).dataset
    found = []
    for one in look(dataset.root, dataset.hand_model, SPLITS, images):
        typer.echo(one.line())
        found.append(one)
    lacking = [one.subject for one in found if not one.ok]
    typer.echo(f"not ready: {', '.join(lacking)}" if lacking else "everything is in place")
    if lacking:
        raise typer.Exit(1)


@app.command()
def doctor(
    params: Annotated[Path, typer.Option(help="the parameter file of the checkout")] = Path("params.yaml"),
) -> None:
    """Report what works here, what is missing and how to install it; exit code 1 if there is a problem."""
    from im2hands.doctor import examine

    hindering = []
    for found in examine(params.parent, params.name):
        typer.echo(found.line())
        hindering += [found.subject] if found.hinders else []
    typer.echo(f"problems: {', '.join(hindering)}" if hindering else "ready")
    if hindering:
        raise typer.Exit(1)


@app.command()
def reconstruct(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="folder for the results; every image gets a folder in it")
    ],
    keypoints: Annotated[
        str,
        typer.Option(help="keypoint file, `detect` to find the hands, or `intaghand` to predict them"),
    ],
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            help="images, folders of images, or videos; without any, HALO makes meshes of the keypoints alone"
        ),
    ] = None,
    model: Annotated[Path, typer.Option(help="folder of networks, builtin or hf:OWNER/NAME")] = Path("builtin"),
    camera: Annotated[str, typer.Option(help="auto, focal=<pixels>, a .json file or a frame table")] = "auto",
    method: Annotated[str, typer.Option(help="im2hands or initial; halo if no image is given")] = "im2hands",
    refine_keypoints: Annotated[
        bool, typer.Option("--refine-keypoints", help="refine the keypoints with the photograph")
    ] = False,
    box: Annotated[str, typer.Option(help="left,top,right,bottom of both hands in pixels, for `intaghand`")] = "",
    hand_model: Annotated[
        Path | None, typer.Option(help="hand model folder, for `intaghand` and for keypoint files of MANO's parameters")
    ] = None,
    formats: Annotated[str, typer.Option(help="mesh formats, separated by commas: glb,obj,ply")] = "glb",
    resolution: Annotated[int, typer.Option(help="cells along a side of the searched box")] = 256,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    order: Annotated[
        str | None, typer.Option(help="joint order of the keypoint file: standard, mano, interhand, biomech")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="unit of the keypoint file: m or mm")] = None,
    palm: Annotated[
        float | None, typer.Option(help="mean distance of the finger bases from the wrist in metres, for landmarks")
    ] = None,
    at_once: Annotated[int, typer.Option(help="photographs to process at the same time, one process each")] = 1,
    all_parts: Annotated[
        bool, typer.Option("--all-parts", help="keep loose parts of a hand's surface, not the largest alone")
    ] = False,
    noise_mm: Annotated[
        float | None, typer.Option(help="standard deviation of 3-D keypoints in mm; the keypoint prior corrects them")
    ] = None,
    separate_hands: Annotated[
        bool, typer.Option("--separate-hands", help="a point in both hands goes to the one of larger occupancy")
    ] = False,
    swap_sides: Annotated[
        bool, typer.Option("--swap-sides", help="the keypoint file calls left what is right, as of a mirrored picture")
    ] = False,
    independent: Annotated[
        bool, typer.Option("--independent", help="every picture of a film by itself, not followed and smoothed")
    ] = False,
    animation_only: Annotated[
        bool, typer.Option("--animation-only", help="of a film only film.glb, BVH files and keypoints, no meshes")
    ] = False,
    fps: Annotated[
        float | None,
        typer.Option(help="pictures per second; makes a folder of pictures a film, and corrects a video's own times"),
    ] = None,
    detector: Annotated[
        Path | None, typer.Option(help="folder of the detector's two files, for `detect`; see `im2hands detect`")
    ] = None,
) -> None:
    """Reconstruct both hands of your own photographs or films, or of keypoints alone; exit code 1 if one could not be used."""
    from im2hands.films.command import FilmSettings
    from im2hands.films.command import reconstruct as reconstruct_pictures
    from im2hands.photographs.keypoint_meshes import reconstruct_keypoints
    from im2hands.photographs.results import Settings

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
        all_parts,
        swap_sides,
        noise_mm,
        detector,
        separate_hands=separate_hands,
    )
    failed = 0
    film = FilmSettings(independent, animation_only, fps)
    lines = reconstruct_pictures(images, output, settings, film) if images else reconstruct_keypoints(output, settings)
    for line, good in lines:
        typer.echo(line, err=not good)
        failed += not good
    if failed:
        raise typer.Exit(1)


@app.command("convert-keypoints")
def convert_keypoints(
    source: Annotated[Path, typer.Argument(help="keypoint file or folder of any known format")],
    target: Annotated[Path, typer.Argument(help="file to write, or a new folder for formats of one file per picture")],
    to: Annotated[str, typer.Option(help="format to write: see docs/keypoint-formats.md")],
    format: Annotated[
        str | None, typer.Option("--from", help="format of the source, if it is not seen in it (bare arrays)")
    ] = None,
    side: Annotated[
        str | None, typer.Option(help="left or right, for a source of single hands that does not say it")
    ] = None,
    only: Annotated[str | None, typer.Option(help="write only the left or the right hands")] = None,
    hand_model: Annotated[
        str | None, typer.Option(help="hand model folder for a source of MANO's parameters, or `built-in`")
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="focal=<pixels> or a camera file, between pixels and hands in space")
    ] = None,
    size: Annotated[str, typer.Option(help="width,height of the pictures in pixels")] = "",
    unit: Annotated[str | None, typer.Option(help="unit of the source: m or mm")] = None,
    order: Annotated[
        str | None, typer.Option(help="joint order of the source: standard, mano, interhand, biomech")
    ] = None,
    swap_sides: Annotated[bool, typer.Option("--swap-sides", help="the source calls left what is right")] = False,
) -> None:
    """Write keypoints of one format in another, and say what is lost; exit code 1 if a picture could not be used."""
    from im2hands.photographs.keypoint_conversion import Conversion, picture_size
    from im2hands.photographs.keypoint_conversion import convert_keypoints as convert

    settings = Conversion(to, format, side, only, hand_model, camera, picture_size(size), unit, order, swap_sides)
    failed = 0
    for line, good in convert(source, target, settings):
        typer.echo(line, err=not good)
        failed += not good
    if failed:
        raise typer.Exit(1)


@app.command()
def detect(
    pictures: Annotated[list[Path] | None, typer.Argument(help="images, folders of images, or videos")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="landmark file to write (.json)")] = None,
    install: Annotated[
        bool, typer.Option("--install", help="fetch the two network files first: pip downloads MediaPipe's wheel")
    ] = False,
    wheel: Annotated[
        Path | None, typer.Option(help="for --install: a wheel of mediapipe 0.10.21 that is already here")
    ] = None,
    detector: Annotated[
        Path | None, typer.Option(help="folder of the two network files, instead of the user's cache")
    ] = None,
    overlays: Annotated[Path | None, typer.Option(help="folder for pictures with the hands drawn on them")] = None,
    every_hand: Annotated[
        bool, typer.Option("--every-hand", help="write also hands that do not belong to the pair, for films")
    ] = False,
    at_once: Annotated[int, typer.Option(help="pictures to look at at the same time, one process each")] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="keep the pictures that the output file already has")
    ] = False,
) -> None:
    """Find both hands in pictures, and write landmarks for `reconstruct`; exit code 1 if a picture could not be used."""
    from im2hands.photographs.detection.network_files import install as install_files

    if not install and not (pictures and output):
        raise ConfigError("give pictures and -o FILE, or --install")
    if install:
        for path in install_files(detector, wheel):
            typer.echo(f"{path}: ready")
    if not pictures:
        return
    if output is None:
        raise ConfigError("give the landmark file to write: -o FILE")
    from im2hands.photographs.detection.command import Settings, detect_pictures

    failed = 0
    for line, good in detect_pictures(pictures, output, Settings(detector, every_hand, overlays, at_once, resume)):
        typer.echo(line, err=not good)
        failed += not good
    if failed:
        raise typer.Exit(1)


@app.command()
def view(
    files: Annotated[list[Path], typer.Argument(help="mesh files, or folders of results (one panel each)")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML file to write instead of serving the page")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="ground truth: a mesh file or a folder of mesh files")] = None,
    frames: Annotated[int, typer.Option(help="largest number of frames in the page, evenly chosen")] = 60,
    port: Annotated[int, typer.Option(help="port on 127.0.0.1 for the page; 0: any free port")] = 0,
    opened: Annotated[bool, typer.Option("--open/--no-open", help="open the page in the browser")] = True,
) -> None:
    """View meshes or results in an interactive 3-D page; several folders are shown side by side with one camera."""
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
    folder: Annotated[Path, typer.Argument(help="folder of golden .npz files with any names")],
) -> None:
    """Compare this software with numbers recorded from the original code; exit code 1 if anything deviates."""
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
    """Import published weights as safetensors with a model card; nothing in the files is executed."""
    from im2hands.networks.published.importing import import_weights as import_files

    for line in import_files(files, to, graphs):
        typer.echo(line)


@app.command("import-preprocessed")
def import_preprocessed(
    folder: Annotated[Path, typer.Argument(help="folder that contains the splits train, val, test")],
    kind: Annotated[str, typer.Option(help="script that made it: intaghand (crops, annotations) or halo (points)")],
    to: Annotated[Path, typer.Option(help="the checkout's folder `data`")] = Path("data"),
    split: Annotated[list[str] | None, typer.Option(help="import only this split (may be repeated)")] = None,
    dataset: Annotated[str, typer.Option(help="name of the dataset in tables and cards")] = "InterHand2.6M",
    params: Annotated[Path, typer.Option(help="the parameter file of the checkout")] = Path("params.yaml"),
) -> None:
    """Import data preprocessed by the original scripts; nothing in the files is executed."""
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
    """Write a model's weights to a file that the published code can read."""
    from im2hands.networks.published.importing import export_weights as export

    export(model, to)


def main() -> None:
    """Entry point of the console script: user errors and failed writes give one sentence and exit code 1.

    SIGTERM ends the command like Ctrl-C, so that partial files are removed; exit code 143.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", Im2HandsWarning)
            warnings.showwarning = _say(warnings.showwarning)
            app()
    except Im2HandsError as error:
        sys.exit(f"im2hands: error: {error}")
    except OSError as error:
        said = writing_failed(error.filename or "the output", error)
        if said is None:
            raise
        sys.exit(f"im2hands: error: {said}")


def _say(otherwise: Callable[..., None]) -> Callable[..., None]:
    """Shows our own warnings as a sentence, and others as before."""

    def show(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        if issubclass(category, Im2HandsWarning):
            typer.echo(f"im2hands: {message}", err=True)
        else:
            otherwise(message, category, *where, **options)

    return show


def _terminated(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
