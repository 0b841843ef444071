"""A town's photos say of themselves what a camera's would, and not where they were taken."""

import numpy as np
import pytest

from crossview.views.decode import load_photo
from crossview.worlds.write import write_photo


def test_a_panorama_says_what_it_shows(tmp_path):
    write_photo(tmp_path / "p.jpg", np.zeros((64, 128, 3), np.uint8), 360.0)
    photo = load_photo(tmp_path / "p.jpg")
    assert (photo.kind, photo.fov_deg, photo.horizon_px) == ("panorama", 360.0, 32.0)
    assert photo.view_assumptions == photo.assumptions == ()
    assert photo.heading is photo.gps is None


@pytest.mark.parametrize("fov", [50.0, 90.0, 100.0])
def test_a_photo_says_its_field_of_view(tmp_path, fov):
    write_photo(tmp_path / "p.jpg", np.zeros((96, 128, 3), np.uint8), fov)
    photo = load_photo(tmp_path / "p.jpg")
    assert (photo.kind, photo.fov_deg) == ("perspective", pytest.approx(fov, abs=0.1))
    assert photo.view_assumptions == photo.assumptions == ()
