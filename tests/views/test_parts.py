"""Training pictures are parts of larger ones: what is kept, and where the centre goes."""

from dataclasses import replace

import numpy as np

from crossview.views.ground import count_spare_px, crop_as_photo, cut_window
from crossview.views.spec import ViewSpec

SPEC = ViewSpec(
    side="ground",
    height_px=40,
    width_px=72,
    elevation_deg=(-40.0, 40.0),
    representation="padded",
)


def rows_and_columns():
    rows, columns = np.indices((40, 72))
    return np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)


def test_a_photo_keeps_the_middle_columns_and_leaves_the_rest_in_the_mean_colour():
    part = crop_as_photo(rows_and_columns(), SPEC, 90.0, 4 / 3)
    seen = (part != np.array(SPEC.mean_colour)).any(axis=2)
    columns = np.flatnonzero(seen.any(axis=0))
    assert (columns.min(), columns.max()) == (27, 44)
    assert np.array_equal(part[seen], rows_and_columns()[seen])


def test_a_photo_of_a_narrow_view_is_the_middle_columns_of_a_padded_one():
    padded = crop_as_photo(rows_and_columns(), SPEC, 90.0, 4 / 3)
    narrow = crop_as_photo(rows_and_columns(), replace(SPEC, representation="narrow"), 90.0, 4 / 3)
    assert np.array_equal(narrow, padded[:, 27:45])


def test_a_tilted_camera_of_known_horizon_sees_higher_rows_at_their_place():
    level = crop_as_photo(rows_and_columns(), SPEC, 60.0, 4 / 3)
    up = crop_as_photo(rows_and_columns(), SPEC, 60.0, 4 / 3, pitch_deg=8.0)
    middle = [np.flatnonzero((p[:, 36] != SPEC.mean_colour).any(axis=1)) for p in (level, up)]
    assert middle[1].min() < middle[0].min()
    assert (up[middle[1], 36, 0] == middle[1]).all()


def test_of_unknown_horizon_its_rows_lie_too_low():
    up = crop_as_photo(rows_and_columns(), SPEC, 60.0, 1.0, pitch_deg=8.0, horizon_known=False)
    assert up[20, 36, 0] == 20 - 4  # 8 degrees are 4 rows of 2


def test_a_window_moves_by_whole_pixels_within_its_room():
    aerial = rows_and_columns()
    room = count_spare_px(
        aerial, metres_per_px=0.5, footprint_m=14.0
    )  # 28 px and one more on each side
    assert room.tolist() == [10, 42]
    window = cut_window(aerial, room, np.array([2.0, -7.0]))
    assert window.shape[:2] == (30, 30)
    assert window[0, 0, :2].tolist() == [5 + 2, 21 - 7]
