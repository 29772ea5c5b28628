"""Made-up artifacts and the page of them, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from im2hands.report.page import Artifacts, write_report
from tests.report.fake_results import FakeResults, make_fake_results


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> FakeResults:
    return make_fake_results(tmp_path_factory.mktemp("results"), pairs=5, subdivisions=0)


@pytest.fixture(scope="session")
def page(results: FakeResults) -> Path:
    output = results.folder / "results/report.html"
    write_report(output, Artifacts(**results.arguments), contact_sheet_images=6, gallery_pairs=3, viewer_pairs=3)
    return output
