"""One set of whole files and one server for all damaged ones."""

from __future__ import annotations

import pytest

from tests.damage.commands import Commands
from tests.damage.whole import write_whole_files


@pytest.fixture(scope="session")
def commands(tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole")
    write_whole_files(whole)
    made = Commands(whole, tmp_path_factory.mktemp("cases"))
    yield made
    made.close()
