import numpy as np
import pytest
from tests.shared_data import shared

from crossview.errors import InvalidValue
from crossview.views.aerial import compute_authors_positions, unroll_as_authors

CASES = ["polar0_S96_32x128", "polar1_S64_24x96", "polar2_S97_20x60", "polar3_S100_61x167"]


@pytest.fixture(scope="module")
def official():
    return np.load(shared("parity", "polar.npz"))


@pytest.mark.parametrize("case", CASES)
def test_the_exact_transform_gives_the_authors_numbers(official, case):
    image, expected = official[f"{case}/image"], official[f"{case}/float"]
    height, width = expected.shape[:2]
    rows, columns = compute_authors_positions(len(image), height, width)
    np.testing.assert_allclose(rows, official[f"{case}/source_row"], atol=1e-9)
    np.testing.assert_allclose(columns, official[f"{case}/source_col"], atol=1e-9)
    exact = unroll_as_authors(image, height, width)
    np.testing.assert_allclose(exact, expected, atol=1e-4)
    saved = official[f"{case}/geodtr_saved_uint8"]
    off = np.abs(exact.astype(np.uint8).astype(int) - saved)
    assert off.max() <= 1
    whole = np.abs(expected - np.rint(expected)) < 1e-4  # truncation of these may go either way
    assert not off[~whole].any()


@pytest.mark.parametrize("case", CASES)
def test_the_fast_transform_is_close_to_the_exact_one(official, case):
    image = official[f"{case}/image"]
    height, width = official[f"{case}/float"].shape[:2]
    off = np.abs(unroll_as_authors(image, height, width, how="fast") - official[f"{case}/float"])
    assert off.mean() < 1.0  # on noise, the hardest case
    assert off.max() < 8.0  # half a step of 1/32 pixel, both ways, from black to white


def test_pictures_that_are_not_square_are_refused():
    with pytest.raises(InvalidValue, match="S, S, C"):
        unroll_as_authors(np.zeros((4, 5, 3), np.uint8), 4, 8)
