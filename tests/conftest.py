"""Settings of all tests, and the order in which several workers take them."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("im2hands", deadline=None, derandomize=True)
settings.load_profile("im2hands")

LONGEST_FIRST = ("mini", "stand-ins", "broken", "pages", "borrowed", "paper", "damaged", "damage", "externals")
"""xdist groups that one worker keeps busy for minutes; begun late, the last would leave the other workers idle.

Runs that several need are made by the first two; who needs one early waits for it.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=place_in_order)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


def place_in_order(item: pytest.Item) -> int:
    group = item.get_closest_marker("xdist_group")
    return LONGEST_FIRST.index(group.args[0]) if group else len(LONGEST_FIRST)


@pytest.fixture(scope="session")
def hand_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the built-in hands."""
    from im2hands.hands.model_files import write_hand_model_folder

    folder = tmp_path_factory.mktemp("hand_model")
    write_hand_model_folder(folder)
    return folder
