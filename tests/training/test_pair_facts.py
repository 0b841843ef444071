"""What a decoded picture in a cache is found by: all that its pixels depend on."""

from dataclasses import replace

import numpy as np
import pytest

from crossview.pairs.batch import Views
from crossview.pairs.reading import Files
from crossview.training.contract import example_table
from crossview.views.spec import ViewSpec

NARROW = ViewSpec(side="ground", height_px=16, width_px=64)
PADDED = replace(NARROW, representation="padded")
ABOVE = ViewSpec(side="aerial", height_px=8, width_px=8, footprint_m=8.0)


@pytest.mark.parametrize(
    ("spec", "photo", "fov", "cut"),
    [
        (NARROW, False, 360.0, False),
        (NARROW, False, np.nan, False),
        (NARROW, True, 65.0, True),
        (NARROW, True, np.nan, True),
        (NARROW, False, 200.0, True),
        (PADDED, False, 200.0, True),
        (PADDED, True, 65.0, False),
        (replace(NARROW, whole=True), True, 65.0, False),
    ],
)
def test_pictures_cut_by_the_rounding_of_old_are_decoded_anew(spec, photo, fov, cut):
    """65 degrees of 768 columns were 139 of them; now they are the 138 that training shows."""
    table = replace(
        example_table(1), fov_deg=np.array([fov]), perspective=np.array([photo], dtype=bool)
    )
    facts = Files(table, Views(ground=spec, aerial=ABOVE)).facts("ground", 0)
    assert ("whole columns" in facts) is cut
    assert facts[0] is photo
