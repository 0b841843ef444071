"""Which photos are chosen: by place, age, light, series; drawn evenly; divided by area."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import combinations

import numpy as np
import pytest
from tests.street.test_street_photos import photo

from crossview.errors import InvalidValue
from crossview.geo.points import EARTH_RADIUS_M, LatLon, move_point
from crossview.street.street_photos import (
    SelectionOptions,
    balance_photos,
    compute_sun_elevation_deg,
    find_dates,
    find_series,
    judge_light,
    measure_age_years,
    measure_level,
    select_photos,
    split_by_area,
)

NOON = datetime(2023, 6, 21, 11, tzinfo=UTC)
HERE = LatLon(52.5, 13.4)


def at(east_m: float, north_m: float = 0.0) -> LatLon:
    return move_point(HERE, east_m=east_m, north_m=north_m)


def rules(photos, **options) -> dict[str, str]:
    selection = select_photos(photos, SelectionOptions(**options))
    assert len(selection.kept) + len(selection.left_out) == len(photos)
    again = select_photos(selection.kept, SelectionOptions(**options))
    assert again.kept == selection.kept
    assert not again.left_out
    return {one.photo: one.rule for one in selection.left_out}


def test_a_place_that_is_badly_known_is_left_out_and_one_of_unknown_error_is_kept():
    photos = [
        photo(id="bad", position_sigma_m=16.0),
        photo(id="good", position_sigma_m=14.0),
        photo(id="unknown"),
    ]
    assert rules(photos) == {"own-bad": "position error"}
    assert rules(photos, max_sigma_m=None) == {}


def test_the_age_is_measured_to_the_nearest_day_of_the_imagery():
    photos = [
        photo(id="old", captured=datetime(2018, 6, 1, 10, tzinfo=UTC)),
        photo(id="fits", captured=datetime(2022, 6, 1, 10, tzinfo=UTC)),
        photo(id="unknown"),
    ]
    options = {"max_age_years": 2.0, "imagery_date": "2021-05-01; 2023"}
    assert rules(photos, **options) == {"own-old": "age", "own-unknown": "age"}
    assert rules(photos) == {}


def test_an_age_without_a_date_of_the_imagery_is_an_error():
    with pytest.raises(InvalidValue, match="--date"):
        SelectionOptions(max_age_years=2.0, imagery_date="summer")


@pytest.mark.parametrize(
    ("text", "dates"),
    [
        ("2023", (date(2023, 1, 1), date(2023, 12, 28))),
        ("2021-05-01; 2022-07", (date(2021, 5, 1), date(2022, 7, 28))),
        ("flown in 2019, 2020", (date(2019, 1, 1), date(2020, 12, 28))),
        ("12023, 3023, 2023-13", None),
        ("", None),
    ],
)
def test_dates_are_read_from_what_imagery_says(text, dates):
    assert find_dates(text) == dates


def test_age_is_nought_between_the_dates():
    span = date(2020, 1, 1), date(2022, 1, 1)
    assert measure_age_years(date(2021, 1, 1), span) == 0.0
    assert measure_age_years(date(2024, 1, 1), span) == pytest.approx(2.0, abs=0.01)
    assert measure_age_years(date(2018, 1, 1), span) == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(
    ("when", "place", "expected"),
    [  # at noon of a solstice or an equinox, by the tilt of the Earth; at the pole by date
        (datetime(2024, 3, 20, 12, 7, tzinfo=UTC), LatLon(0.0, 0.0), 89.85),
        (datetime(2024, 6, 20, 12, 2, tzinfo=UTC), LatLon(51.4779, 0.0), 90.0 - 51.4779 + 23.44),
        (datetime(2024, 12, 21, 11, 58, tzinfo=UTC), LatLon(51.4779, 0.0), 90.0 - 51.4779 - 23.44),
        (datetime(2024, 6, 20, 20, 51, tzinfo=UTC), LatLon(90.0, 0.0), 23.44),
        (datetime(2024, 12, 21, 9, 20, tzinfo=UTC), LatLon(90.0, 0.0), -23.44),
    ],
)
def test_the_sun_stands_where_the_solstices_say(when, place, expected):
    assert compute_sun_elevation_deg(when, place) == pytest.approx(expected, abs=0.15)


def test_night_is_told_by_the_sun():
    day = photo(id="day", place=HERE, captured=NOON)
    night = photo(id="night", place=HERE, captured=NOON + timedelta(hours=12))
    assert rules([day, night]) == {"own-night": "night"}
    assert rules([day, night], keep_night=True) == {}


def test_night_and_roofs_are_told_by_pixels_and_exposure():
    one, options = photo(), SelectionOptions()
    assert judge_light(one, 120.0, None, options) is None
    assert judge_light(one, 120.0, 12.0, options) is None
    assert judge_light(one, 20.0, None, options).rule == "night"
    assert judge_light(one, 120.0, 5.0, options).rule == "indoors"
    everything = SelectionOptions(keep_night=True, keep_indoors=True)
    assert judge_light(one, 20.0, 5.0, everything) is None


def test_the_level_is_the_median_brightness():
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[:200] = 90
    assert measure_level(pixels) == pytest.approx(90.0)


def test_own_photos_of_one_walk_are_a_series():
    walk = [photo(id=f"{n}", place=at(20.0 * n), captured=NOON + n * timedelta(seconds=15))
            for n in range(4)]  # fmt: skip
    later = photo(id="later", place=at(60.0), captured=NOON + timedelta(hours=1))
    theirs = photo(id="t", sequence="abc", captured=NOON)
    unknown = photo(id="unknown")
    found = find_series([later, *walk, theirs, unknown])
    assert len(set(found[1:5])) == 1
    assert found[0] not in found[1:]
    assert found[5] == "own/abc"
    assert found[6] is None


def test_a_series_that_stands_still_gives_one_photo_for_each_direction():
    def taken(number: int, heading: float | None, east_m: float = 0.0) -> object:
        when = NOON + number * timedelta(seconds=5)
        return photo(
            id=str(number), place=at(east_m), captured=when, heading_deg=heading, fov_deg=70.0
        )

    photos = [taken(0, 355.0), taken(1, 5.0), taken(2, 90.0), taken(3, 4.0, 10.0), taken(4, None)]
    assert rules(photos) == {"own-1": "series"}
    assert rules(photos, keep_series=True) == {}


def test_balance_takes_one_of_each_square_and_direction_before_a_second():
    crowd = [
        photo(id=f"c{n}", place=at(5.0 + 0.1 * n, 5.0), heading_deg=0.0, fov_deg=70.0)
        for n in range(40)
    ]
    lonely = [
        photo(id=f"l{n}", place=at(1000.0 + 300.0 * n), heading_deg=0.0, fov_deg=70.0)
        for n in range(6)
    ]
    turned = photo(id="t", place=at(5.0, 5.0), heading_deg=180.0, fov_deg=70.0)
    photos = [*crowd, turned, *lonely]
    chosen = {photos[n].id for n in balance_photos(photos, 8)}
    assert {one.id for one in lonely} <= chosen
    assert "t" in chosen
    assert len(chosen) == 8
    assert balance_photos(photos, 8) == balance_photos(photos, 8)
    kept = rules(photos, most=8)
    assert Counter(kept.values()) == {"balance": len(photos) - 8}


def test_of_equals_the_better_place_is_drawn():
    photos = [photo(id=str(n), place=HERE, position_sigma_m=10.0 - n) for n in range(5)]
    assert balance_photos(photos, 1) == [4]


def test_no_window_of_one_split_shows_ground_of_another():
    rng = np.random.default_rng(3)
    lat = HERE.lat + np.degrees(rng.uniform(0.0, 3000.0, 200) / EARTH_RADIUS_M)
    reach = rng.uniform(50.0, 75.0, 200)
    found = split_by_area(lat, reach)
    north = np.radians(lat) * EARTH_RADIUS_M
    counts = Counter(found.splits)
    assert 15 <= counts["test"] <= 45
    assert 15 <= counts["val"] <= 45
    for a, b in combinations(range(200), 2):  # the slow, obvious loop
        if None not in {found.splits[a], found.splits[b]} and found.splits[a] != found.splits[b]:
            assert abs(north[a] - north[b]) >= reach[a] + reach[b] - 1e-6
    order = {"test": 0, "val": 1, "train": 2}
    ranked = [order[s] for _, s in sorted(zip(lat, found.splits, strict=True)) if s is not None]
    assert ranked == sorted(ranked)


def test_a_line_moves_to_where_it_costs_nothing():
    lat = np.array([52.0, 52.0001, 52.1, 52.1001, 52.1002, 52.1003, 52.1004, 52.1005])
    found = split_by_area(lat, np.full(8, 52.0), val_share=0.0, test_share=0.3)
    assert found.splits == ("test",) * 2 + ("train",) * 6
    assert not found.notes


def test_what_cannot_be_divided_trains_and_says_so():
    found = split_by_area(np.array([52.0, 52.0]), np.full(2, 52.0))
    assert set(found.splits) == {"train"}
    assert len(found.notes) == 2
    with pytest.raises(InvalidValue, match=r"0\.8"):
        split_by_area(np.array([52.0]), np.array([52.0]), val_share=0.9)
