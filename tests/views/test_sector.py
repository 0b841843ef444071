import json

import numpy as np
import pytest
from tests.shared_data import shared

from crossview.errors import InvalidValue
from crossview.views.sector import middle_shift, narrow, padded, sector

COLUMNS = np.tile(np.arange(1, 769, dtype=np.int64)[None, :, None], (2, 1, 3))  # c holds c + 1


def columns_of(segments, width):
    """[output columns] of source columns, -1 where nothing is."""
    out = np.full(width, -1)
    for first, last, source, _ in segments:
        out[first : last + 1] = np.arange(source, source + last - first + 1)
    return out


def schedule():
    return json.loads(shared("parity", "singeo_schedule.json").read_text(encoding="utf-8"))


def test_kept_columns_are_those_of_the_authors_code():
    cases = [case for case in schedule()["kept_columns"]["cases"] if case["theta"] > 0]
    assert len(cases) == 64
    for case in cases:
        ours = narrow(COLUMNS, sector(768, case["theta"], case["angle"]))[0, :, 0] - 1
        assert ours.tolist() == columns_of(case["segments"], case["width"]).tolist()


def test_padded_columns_are_those_of_the_authors_code():
    official = schedule()["kept_columns_padded"]
    drawn = [case | {"theta": case["drawn_fov"]} for case in official["code_361_draws_theta"]]
    for case in [*official["cases"], *drawn]:
        if case["theta"] <= 0:
            continue
        shift = int(case["second_angle"] / 360 * 768)
        ours = padded(COLUMNS, sector(768, case["theta"], case["angle"]), (0, 0, 0), shift)
        assert (ours[0, :, 0] - 1).tolist() == columns_of(case["segments"], 768).tolist()


@pytest.mark.parametrize(("theta", "width"), [(360, 768), (180, 384), (90, 192), (70, 149)])
def test_the_widths_of_the_paper(theta, width):
    assert len(sector(768, theta, 0).columns) == width


@pytest.mark.parametrize(("theta", "angle"), [(90, 0), (90, 270), (180, 33), (360, 0), (70, 200)])
def test_the_heading_is_the_azimuth_of_the_middle(theta, angle):
    kept = sector(720, theta, angle)
    first, last = kept.columns[0], kept.columns[-1]
    azimuth = [360 * (c + 0.5) / 720 - 180 for c in (first, last)]
    middle = np.angle(np.exp(1j * np.radians(azimuth)).sum(), deg=True)
    if theta < 180:
        assert np.cos(np.radians(middle - kept.heading_deg)) == pytest.approx(1, abs=1e-9)
    assert -180 <= kept.heading_deg < 180


def test_a_padded_sector_in_the_middle_looks_ahead_of_its_canvas():
    kept = sector(768, 90, 17)
    canvas = padded(COLUMNS, kept, (0, 0, 0), middle_shift(768, kept))
    seen = np.flatnonzero(canvas[0, :, 0])
    assert seen[0] + seen[-1] == 767


@pytest.mark.parametrize("theta", [0, -10, 361, float("nan")])
def test_a_theta_outside_a_circle_is_refused(theta):
    with pytest.raises(InvalidValue, match="theta"):
        sector(768, theta, 0)
