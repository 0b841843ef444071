"""What is said of reference systems whose way to WGS84 is rough, or not known at all."""

import pytest
from pyproj.transformer import AreaOfInterest, TransformerGroup

from crossview.geo.grids import ROUGH_M, find_datum_shift
from crossview.geo.points import LatLon

KNOWN = [("EPSG:25833", 52.5, 13.4), ("EPSG:3857", 52.5, 13.4), ("EPSG:4326", 52.5, 13.4),
         ("EPSG:2154", 48.0, 2.0),
         ("+proj=aeqd +lat_0=1 +lon_0=2 +datum=WGS84", 1.0, 2.0)]  # fmt: skip


@pytest.mark.parametrize(("crs", "lat", "lon"), KNOWN)
def test_of_systems_that_are_well_known_nothing_is_said(crs, lat, lon):
    assert find_datum_shift(crs, LatLon(lat, lon)) is None


@pytest.mark.parametrize(
    ("crs", "lat", "lon", "low", "high"),
    [
        ("EPSG:2029", 44.0, -81.0, 5, 100),  # NAD27(76): what NAD27 is off there
        ("EPSG:2414", 40.0, 120.0, 20, 1000),  # Beijing 1954: what others of Krassowsky are off
        ("EPSG:4547", 30.0, 114.0, 1, 5),  # CGCS2000: made to be WGS84
        ("EPSG:4610", 40.0, 116.0, 100, 1000),  # Xian 1980: 3 m larger, and elsewhere
    ],
)
def test_copied_degrees_are_reported_with_a_bound_in_metres(crs, lat, lon, low, high):
    shift = find_datum_shift(crs, LatLon(lat, lon))
    assert shift.copied
    assert low <= shift.off_m <= high
    assert shift.is_rough is (shift.off_m >= ROUGH_M)
    assert f"off by up to about {shift.off_m:.0f} m" in str(shift)


def skip_where_grids_are(crs, place):
    here = AreaOfInterest(place.lon, place.lat, place.lon, place.lat)
    if TransformerGroup(crs, 4326, always_xy=True, area_of_interest=here).best_available:
        pytest.skip(f"this machine has the grids of {crs}")


@pytest.mark.filterwarnings("ignore:Best transformation is not available")
def test_a_missing_grid_is_named_with_what_is_used_instead():
    skip_where_grids_are("EPSG:26717", LatLon(44.0, -81.0))
    shift = find_datum_shift("EPSG:26717", LatLon(44.0, -81.0))  # NAD27, without its grids
    assert shift.is_rough
    assert "to WGS84 to about 10 m; the grid ca_nrc_ntv2_0.tif is missing" in str(shift)


def test_what_is_rough_is_5_metres_or_more():
    assert ROUGH_M == 5.0


@pytest.mark.filterwarnings("ignore:Best transformation is not available")
@pytest.mark.parametrize(
    ("crs", "lat", "lon", "said"),
    [
        ("EPSG:27700", 52.0, -1.0, "to about 2 m; the grid uk_os_OSTN15"),
        ("EPSG:28992", 52.0, 5.0, None),  # good to 1 m: not worth a word
    ],
)
def test_a_missing_grid_is_reported_where_errors_may_exceed_a_metre(crs, lat, lon, said):
    shift = find_datum_shift(crs, LatLon(lat, lon))
    if said is None:
        assert shift is None
    else:
        skip_where_grids_are(crs, LatLon(lat, lon))
        assert said in str(shift)
        assert not shift.is_rough


def test_an_unknown_ellipsoid_is_reported_with_a_kilometre():
    shift = find_datum_shift(
        "+proj=longlat +a=6377000 +rf=300 +no_defs +type=crs", LatLon(1.0, 2.0)
    )
    assert "off by up to about 1000 m" in str(shift)
