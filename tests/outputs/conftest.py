"""One small real index for all tests of map pages."""

import pytest
from tests.index.regions import indexed


@pytest.fixture(scope="session")
def index(tmp_path_factory):
    """250 m x 200 m of coloured lumps at 0.5 m per pixel, its GeoTIFF still there."""
    return indexed(tmp_path_factory.mktemp("region"), stride_m=20.0)
