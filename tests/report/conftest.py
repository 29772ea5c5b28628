"""Made-up artifacts and the page of them, made once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from im2hands.report.page import Artifacts, write_report
from tests.report.chromium import Page, chromium, chromium_program
from tests.report.fake_results import FakeResults, make_fake_results


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> FakeResults:
    return make_fake_results(tmp_path_factory.mktemp("results"), pairs=5, subdivisions=0)


@pytest.fixture(scope="session")
def page(results: FakeResults) -> Path:
    output = results.folder / "results/report.html"
    write_report(output, Artifacts(**results.arguments), contact_sheet_images=6, gallery_pairs=3, viewer_pairs=3)
    return output


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    if chromium_program() is None and "IM2HANDS_REQUIRE_BROWSER" not in os.environ:
        pytest.skip("Chromium is not installed")
    with chromium() as tab:
        yield tab
