import pytest

from tests.evaluation.small_data import make_small_data


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    return make_small_data(tmp_path_factory.mktemp("small_data"), pairs=3)
