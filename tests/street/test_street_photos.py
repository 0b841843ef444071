"""What a record of a photo takes, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from crossview.errors import InvalidValue
from crossview.geo.points import LatLon
from crossview.street.street_photos import StreetPhoto


def photo(**facts: Any) -> StreetPhoto:
    usual = {
        "id": "a1",
        "service": "own",
        "place": LatLon(52.5, 13.4),
        "file": None if facts.get("url") else Path("a.jpg"),
    }
    return StreetPhoto(**(usual | facts))


def test_times_become_utc_and_need_a_zone():
    summer = datetime(2024, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert photo(captured=summer).captured == datetime(2024, 7, 1, 10, tzinfo=UTC)
    with pytest.raises(InvalidValue, match="no zone"):
        photo(captured=datetime(2024, 7, 1, 12))


@pytest.mark.parametrize(
    "facts",
    [
        {"id": "../a"},
        {"id": ""},
        {"id": "a."},
        {"id": "a" * 121},
        {"service": "a b"},
        {"heading_deg": 360.0},
        {"heading_deg": -1.0},
        {"heading_deg": float("nan")},
        {"fov_deg": 0.0},
        {"fov_deg": 361.0},
        {"position_sigma_m": float("inf")},
        {"file": None},
        {"file": Path("a.jpg"), "url": "http://127.0.0.1/a.jpg"},
    ],
)
def test_what_cannot_be_is_refused(facts):
    with pytest.raises(InvalidValue):
        photo(**facts)


def test_only_a_whole_circle_is_a_panorama():
    assert photo(fov_deg=360.0).is_panorama
    assert not photo(fov_deg=359.0).is_panorama
    assert not photo().is_panorama


def test_a_key_tells_services_apart():
    assert photo(service="panoramax", url="http://127.0.0.1/a.jpg").key == "panoramax-a1"
