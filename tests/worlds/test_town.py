"""A town lies in a real coordinate system: its metres are metres, its grid north is known."""

from __future__ import annotations

import pytest
from pyproj import Proj

from crossview.geo.points import measure_bearing_deg, measure_distance_m
from crossview.worlds.town import EPSG, build_town


@pytest.fixture(scope="module")
def site():
    return build_town("blocks", 20_003, 160.0).site


def test_grid_north_differs_from_true_north_by_the_convergence(site):
    here, up = site.latlon(200.0, 200.0), site.latlon(200.0, 100.0)
    turn = (measure_bearing_deg(here, up) + 180.0) % 360.0 - 180.0
    exact = Proj(EPSG).get_factors(here.lon, here.lat).meridian_convergence
    assert site.convergence_deg(here) == pytest.approx(exact, abs=1e-3)
    assert turn == pytest.approx(exact, abs=0.01)


def test_a_hundred_grid_metres_are_a_hundred_metres(site):
    apart = measure_distance_m(site.latlon(100.0, 100.0), site.latlon(200.0, 100.0))
    assert apart == pytest.approx(100.0, rel=0.004)  # UTM scale, sphere against ellipsoid
