"""The run ends with tables that count the failures, whatever a network says: random, constant, huge or no numbers at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import pytest

from im2hands.evaluation.failure_table import KEYPOINTS_ALONE
from im2hands.evaluation.records import read_records
from im2hands.reconstruction.failures import Reason, reason_of
from tests.workflow.broken_networks import KINDS, LOADERS, break_network
from tests.workflow.checkout import Checkout
from tests.workflow.warm import WarmCheckout, WarmProcess
from workflow.paths import NETWORK_OF

NETWORKS, FROM_PHOTOGRAPHS = tuple(LOADERS), ("intaghand", "intaghand_prior", "refined")
CORRECTED_BY = {"keypoint_prior": ("_prior", "refined"), "keypoint_refinement": ("refined",)}
"""Network -> what the names of those keypoint sources end in that went through it."""
TABLES = ("shape_given_keypoints", "shape_predicted_keypoints")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("broken")]


@pytest.fixture(scope="module")
def given(undisturbed: tuple[Checkout, int], tmp_path_factory) -> Iterator[WarmCheckout]:
    """A finished run whose networks are all given, so that nothing is trained when they change."""
    with WarmProcess() as warm:
        checkout = copied(undisturbed[0], tmp_path_factory.mktemp("given") / "checkout", warm)
        for network in NETWORKS:
            shutil.copytree(checkout.path / "models" / network, checkout.path / "given" / network)
            checkout.change(f"training.{network}.weights", f"given/{network}")
        run(checkout)
        yield checkout


def copied(checkout: Checkout, path: Path, warm: WarmProcess) -> WarmCheckout:
    """The files that Snakemake looks at, with their time stamps; the run is not recorded in DVC."""
    shutil.copytree(checkout.path, path, symlinks=True, ignore=shutil.ignore_patterns("cache", ".git", "checkpoints"))
    return WarmCheckout(path, warm)


def run(checkout: WarmCheckout, *target: str) -> str:
    return checkout.snakemake("--cores", "1", *target, IM2HANDS_RECORD="0")


def with_broken(given: WarmCheckout, path: Path, kinds: Mapping[str, str], *target: str) -> WarmCheckout:
    """A run that ended although these networks are broken. kinds: network -> kind.  target: of Snakemake."""
    checkout = copied(given, path, given.warm)
    for network, kind in kinds.items():
        break_network(network, kind, given.path / "given" / network, checkout.path / "given" / network)
    run(checkout, *target)
    return checkout


def results(checkout: Checkout) -> list[tuple[str, str]]:
    """(method, keypoint source) of everything that was measured."""
    return sorted(folder.parts[-3:-1] for folder in (checkout.path / "results").glob("*/*/metrics"))


def depends(result: tuple[str, str], network: str) -> bool:
    """Whether a result depends on the weights of a network; refined occupancy holds its own initial network."""
    method, source = result
    if network == "intaghand":
        return source in FROM_PHOTOGRAPHS
    return NETWORK_OF[method] == network or source.endswith(CORRECTED_BY.get(network, ()))


def contents(checkout: Checkout, folder: str) -> dict[str, str]:
    files = (file for file in (checkout.path / folder).rglob("*") if file.is_file() and "timings" not in file.parts)
    return {str(file.relative_to(checkout.path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def rows(checkout: Checkout) -> dict[tuple[str, str], str]:
    """(method, keypoint source) -> its row in the tables of shapes, with all digits."""
    lines = [
        line for name in TABLES for line in (checkout.path / f"results/tables/{name}.csv").read_text().splitlines()
    ]
    return {tuple(line.split(",")[:2]): line for line in lines}


@pytest.mark.parametrize("shift", range(len(KINDS)))
def test_every_network_is_broken_in_every_way(given, tmp_path, shift):
    """All networks at once, each in another way: four runs, in which each is broken in each of the four ways."""
    kinds = {network: [*KINDS, *KINDS][(shift + place) % len(KINDS)] for place, network in enumerate(NETWORKS)}
    checkout = with_broken(given, tmp_path / "checkout", kinds)
    tables = checkout.path / "results/tables"
    counted = pd.read_csv(tables / "failures.csv").groupby(["method", "keypoints"])["failed"].sum()
    means = pd.concat([pd.read_csv(tables / f"{name}.csv") for name in TABLES]).set_index(["method", "source"])
    for method, source in results(checkout):
        files = sorted((checkout.path / f"results/{method}/{source}/metrics").glob("*.parquet"))
        records = read_records(files)
        failed = int(records["failure"].notna().sum())
        assert counted.get((method, source), 0) == means.loc[(method, source), "failures"] == failed
        sentences = records.loc[records["failure"].notna(), "failure_detail"]
        assert Reason.OTHER not in {reason_of(sentence) for sentence in sentences}
        assert (
            means.loc[(method, source), "mesh_iou_percent"] >= 0
        )  # failures count with their penalty: never undefined
        if any(depends((method, source), network) for network, kind in kinds.items() if kind == "not_finite"):
            assert failed == len(records) > 0
    alone = {source for method, source in counted.index if method == KEYPOINTS_ALONE}
    assert kinds["keypoint_refinement"] != "not_finite" or {"refined", "perturbed_10mm_refined"} <= alone
    assert kinds["intaghand"] != "not_finite" or {"intaghand", "refined"} <= alone
    assert (checkout.path / "results/report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        ("halo", "constant"),
        ("keypoint_prior", "not_finite"),
        ("intaghand", "not_finite"),
        ("initial_occupancy", "huge"),
        ("keypoint_refinement", "huge"),
        ("refined_occupancy", "not_finite"),
    ],
)
def test_a_broken_network_changes_nothing_else(given, tmp_path, network, kind):
    """Records, meshes and table rows of what does not depend on it are the same bytes."""
    checkout = with_broken(given, tmp_path / "checkout", {network: kind}, "--", "all_make_tables")
    assert results(checkout) == results(given)
    for result in results(given):
        folder, same = "results/{}/{}".format(*result), not depends(result, network)
        assert (contents(checkout, folder) == contents(given, folder)) == same, result
        assert (rows(checkout)[result] == rows(given)[result]) == same, result
    assert contents(checkout, "data/hands") == contents(given, "data/hands")
    assert contents(checkout, "data/keypoints/perturbed_10mm") == contents(given, "data/keypoints/perturbed_10mm")
    of_intaghand = contents(checkout, "data/keypoints/intaghand") == contents(given, "data/keypoints/intaghand")
    assert of_intaghand == (network != "intaghand")


def test_given_weights_of_the_same_network_give_the_same_results(given, undisturbed):
    for result in results(given):
        folder = "results/{}/{}/metrics".format(*result)
        assert contents(given, folder) == contents(undisturbed[0], folder)
    assert rows(given) == rows(undisturbed[0])
