"""Places as people type them."""

import pytest

from crossview.errors import InvalidValue
from crossview.geo.points import LatLon, parse_latlon


@pytest.mark.parametrize("text", ["52.52,13.4", " 52.52 , 13.4 "])
def test_a_place_is_latitude_and_longitude(text):
    assert parse_latlon(text) == LatLon(52.52, 13.4)


@pytest.mark.parametrize("text", ["", "52.52", "52.52,13.4,7", "north,east", "52,52,13,40"])
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(InvalidValue, match=r"Write latitude and longitude.* 52\.52,13\.40"):
        parse_latlon(text)


@pytest.mark.parametrize("text", ["91,0", "0,181", "nan,0"])
def test_a_place_off_the_globe_is_refused(text):
    with pytest.raises(InvalidValue, match="must lie in"):
        parse_latlon(text)
