"""What each service's page makes of its traps: headings, limits, tokens, addresses that expire."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from shapely.geometry import Polygon, box
from tests.street.service_twins import (
    TOKEN,
    KartaViewTwin,
    MapillaryTwin,
    PanoramaxTwin,
    answer_json,
    photo,
)
from tests.street.test_gathering import AREA, asking, some
from tests.web_server import Answer

from crossview.errors import AccessRefused, BadAnswer, ServiceBusy, ServiceDown, UsageError
from crossview.geo.perimeters import parse_box, parse_perimeter
from crossview.street import kartaview, mapillary, panoramax
from crossview.street.box_search import is_touched, list_boxes, parse_number
from crossview.street.gathering import GatherOptions, gather_photos


def listed(name, twin, area=AREA, token=TOKEN):
    with asking(name, twin, token) as access:
        return {one.id: one for one in access.list_photos(area)}


# Boxes.


def test_boxes_cover_an_area_and_none_lies_beside_it():
    area = parse_perimeter(
        {
            "type": "Polygon",
            "coordinates": [
                [[0, 0], [1, 0], [1, 0.3], [0.3, 0.3], [0.3, 1], [0, 1], [0, 0]],
                [[0.05, 0.05], [0.25, 0.05], [0.25, 0.25], [0.05, 0.25], [0.05, 0.05]],
            ],
        }
    )
    outer, hole = area.polygons[0]
    ground = Polygon(outer, [hole])
    boxes = list_boxes(area, 0.0501)
    drawn = [box(one.west, one.south, one.east, one.north) for one in boxes]
    assert sum(one.intersection(ground).area for one in drawn) == pytest.approx(ground.area)
    assert all(one.intersects(ground) for one in drawn)
    assert len(boxes) < 400  # of the whole square


@pytest.mark.parametrize("seed", range(20))
def test_touching_is_what_geometry_says(seed):
    rng = np.random.default_rng(seed)
    turns = np.sort(rng.uniform(0, 2 * math.pi, 9))
    reach = rng.uniform(0.2, 1.0, 9)
    corners = [(math.cos(t) * r, math.sin(t) * r) for t, r in zip(turns, reach, strict=True)]
    ring = [*corners, corners[0]]
    for _ in range(60):
        west, south = rng.uniform(-1.2, 1.1, 2).tolist()
        east, north = west + rng.uniform(0.01, 0.8), south + rng.uniform(0.01, 0.8)
        from crossview.street.box_search import SearchBox

        told = is_touched(SearchBox(west, south, east, north), [ring])
        assert told == Polygon(ring).intersects(box(west, south, east, north))


def test_an_area_across_longitude_180_has_boxes_on_both_sides():
    boxes = list_boxes(parse_box("179.9,-17,-179.9,-16.9"), 0.01)
    assert {one.west < 0 for one in boxes} == {True, False}
    assert all(-180.0 <= one.west < one.east <= 180.0 for one in boxes)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("103/1", 103.0), ("41/2", 20.5), (" 7.25 ", 7.25), (5, 5.0), ("0/0", None), ("1/0", None),
        ("9e9999999", None), ("nan", None), (float("inf"), None), (True, None), (None, None),
        ("1" * 400, None), ([1], None),
    ],
)  # fmt: skip
def test_numbers_of_strangers(value, number):
    begun = time.monotonic()
    assert parse_number(value) == number
    assert time.monotonic() - begun < 0.1


# Panoramax.


def test_a_heading_that_the_server_invented_is_not_believed():
    """True 103 came back as 236: only what the file held is a heading."""
    exif = {"Exif.GPSInfo.GPSImgDirection": "103/1", "Exif.GPSInfo.GPSImgDirectionRef": "T"}
    pose = {"Xmp.GPano.PoseHeadingDegrees": "86.4"}
    found = listed(
        "panoramax",
        PanoramaxTwin([
            photo("invented", 13.371, 52.501, azimuth=236),
            photo("compass", 13.372, 52.501, azimuth=103, exif=exif),
            photo("pose", 13.373, 52.501, azimuth=86, exif=pose),
            photo("unread", 13.3735, 52.501, azimuth=236, exif=pose),  # so the real server tells
            photo("contrary", 13.3736, 52.501, azimuth=103, exif=pose | exif),
            photo("flat", 13.374, 52.501, azimuth=86, exif=pose, camera={"field_of_view": 70}),
            photo("magnetic", 13.375, 52.501, azimuth=103, exif=exif | {
                "Exif.GPSInfo.GPSImgDirectionRef": "M"}),
            photo("edited", 13.376, 52.501, azimuth=341, exif=exif),
            photo("beyond", 13.377, 52.501, azimuth=463, exif=exif),
            photo("nonsense", 13.378, 52.501, exif={"Exif.GPSInfo.GPSImgDirection": "north"}),
            photo("partial", 13.379, 52.501, azimuth=86, exif=pose | {
                "Xmp.GPano.CroppedAreaImageWidthPixels": "3000",
                "Xmp.GPano.FullPanoWidthPixels": "4000"}),
        ]),
    )  # fmt: skip
    headings = {name: one.heading_deg for name, one in found.items()}
    assert headings == {
        "invented": None, "compass": 103.0, "pose": 86.4, "unread": 86.4, "contrary": None,
        "flat": None, "magnetic": None, "edited": None, "beyond": 103.0, "nonsense": None,
        "partial": None,
    }  # fmt: skip
    assert "guessed from its sequence" in found["invented"].notes[0]


def test_a_box_with_more_than_a_page_is_quartered_until_nothing_is_missing(monkeypatch):
    monkeypatch.setattr(panoramax, "MOST_ITEMS", 20)
    twin = PanoramaxTwin(some(110))
    assert len(listed("panoramax", twin)) == 110


def test_a_server_that_cuts_off_earlier_than_asked_is_found_out():
    twin = PanoramaxTwin(some(110))
    twin.most = 12
    assert len(listed("panoramax", twin)) == 110


def test_very_many_photos_at_one_spot_do_not_go_on_for_ever(monkeypatch, caplog):
    monkeypatch.setattr(panoramax, "MOST_ITEMS", 20)
    twin = PanoramaxTwin([photo(f"p{n}", 13.372, 52.502) for n in range(50)])
    assert 0 < len(listed("panoramax", twin)) <= 50
    assert "some are missing" in caplog.text


def test_licence_and_names_are_those_of_each_item():
    providers = [{"name": "City of Lens", "roles": ["producer"]}, {"name": "IGN"}, 7, {"name": 3}]
    found = listed(
        "panoramax",
        PanoramaxTwin([
            photo("ign", 13.371, 52.501, license="etalab-2.0", providers=providers,
                  licence_url="https://licence.example/2.0"),
            photo("other", 13.372, 52.501, license="other", accuracy=2.5),
            photo("none", 13.373, 52.501, license=None, providers=None),
            photo("hidden", 13.374, 52.501, status="hidden"),
        ]),
    )  # fmt: skip
    assert set(found) == {"ign", "other", "none"}
    ign = found["ign"]
    assert (ign.licence, ign.licence_url) == ("etalab-2.0", "https://licence.example/2.0")
    assert ign.attribution == "City of Lens, IGN, 3 (Panoramax)"
    assert found["other"].licence == "other"
    assert found["other"].position_sigma_m == 2.5
    assert found["none"].licence == ""
    assert found["none"].attribution == "walker (Panoramax)"
    assert ign.captured == datetime(2023, 6, 1, 10, tzinfo=UTC)


def test_a_field_of_view_is_read_and_never_asked_for():
    sphere = {
        "Xmp.GPano.ProjectionType": "equirectangular",
        "Xmp.GPano.CroppedAreaImageWidthPixels": "4000",
        "Xmp.GPano.FullPanoWidthPixels": "4000",
    }
    found = listed(
        "panoramax",
        PanoramaxTwin([
            photo("sphere", 13.371, 52.501),
            photo("lens", 13.372, 52.501, camera={"field_of_view": 67}),
            photo("told", 13.373, 52.501, camera={}, exif=sphere),
            photo("unknown", 13.374, 52.501, camera={"focal_length": 3}),
            photo("absurd", 13.375, 52.501, camera={"field_of_view": 900}),
        ]),
    )  # fmt: skip
    fovs = {name: one.fov_deg for name, one in found.items()}
    assert fovs == {"sphere": 360, "lens": 67, "told": 360, "unknown": None, "absurd": None}


def test_a_token_of_an_instance_goes_to_its_own_host_only():
    twin = PanoramaxTwin(some(1))
    with asking("panoramax", twin) as access:
        member = replace(access, token="of-a-member")
        (one,) = member.list_photos(AREA)
        assert member.locate_picture(one)[1] == {"Authorization": "Bearer of-a-member"}
        elsewhere = replace(one, url="https://elsewhere.example/sd.jpg")
        assert member.locate_picture(elsewhere)[1] == {}
        assert access.locate_picture(one)[1] == {}


# Mapillary, by its documentation.


def test_computed_values_are_used_and_raw_headings_are_not():
    found = listed(
        "mapillary",
        MapillaryTwin([
            photo("100", 13.371, 52.501, heading=200.5),
            photo("101", 13.372, 52.501, item={
                "computed_geometry": None, "computed_compass_angle": None}),
            photo("102", 13.373, 52.501, camera="perspective", parameters=[0.5, 0.0, 0.0]),
            photo("103", 13.374, 52.501, camera="perspective", parameters=[0.5, 0.0, 0.0],
                  width=3000, height=4000),
            photo("104", 13.375, 52.501, camera="fisheye", parameters=[0.5, 0.0, 0.0]),
            photo("105", 13.376, 52.501, camera="equirectangular", heading=-10.0),
        ]),
    )  # fmt: skip
    assert found["100"].heading_deg == 200.5
    assert found["100"].place.lon == pytest.approx(13.371)
    assert found["101"].heading_deg is None
    assert found["101"].place.lon == pytest.approx(13.3721)  # what its camera said
    assert len(found["101"].notes) == 2
    fovs = {name: one.fov_deg for name, one in found.items()}
    assert fovs["100"] == fovs["105"] == 360.0
    assert fovs["102"] == pytest.approx(90.0)
    assert fovs["103"] == pytest.approx(2 * math.degrees(math.atan(0.75)))
    assert fovs["104"] is None
    assert found["105"].heading_deg == 350.0
    assert found["100"].captured == datetime(2023, 6, 1, 10, tzinfo=UTC)
    assert {one.licence for one in found.values()} == {"CC-BY-SA-4.0"}


def test_a_wide_area_is_asked_for_in_boxes_below_a_hundredth_of_a_degree():
    twin = MapillaryTwin(some(60, step=3e-3))
    assert len(listed("mapillary", twin, parse_box("13.36,52.49,13.41,52.53"))) == 60


@pytest.mark.parametrize("refuses", [True, False])
def test_a_dense_box_is_quartered_whether_it_is_refused_or_cut_off(refuses, monkeypatch):
    twin = MapillaryTwin(some(110))
    if refuses:
        twin.dense = 30
    else:
        monkeypatch.setattr(mapillary, "MOST_ITEMS", 40)
        monkeypatch.setattr(mapillary, "_SURELY_WHOLE", 20)
        twin.most = 40
        twin.deleted = frozenset(f"p{n:05d}" for n in range(0, 110, 11))  # they count as given
    assert len(listed("mapillary", twin)) == 110 - len(twin.deleted)


def test_an_address_that_expired_is_asked_for_anew(tmp_path):
    twin = MapillaryTwin(some(6))
    expired = []

    def expire_once(asked):
        if asked.path.startswith("/thumb/") and asked.path not in expired and len(expired) < 3:
            expired.append(asked.path)
            return Answer(b"URL signature expired", 403)
        return None

    twin.before = expire_once
    with asking("mapillary", twin) as access:
        done = gather_photos(AREA, access, tmp_path / "out", GatherOptions())
    assert len(expired) == 3
    assert len(done.photos) == 6
    assert set(twin.pictures.values()) == {1}


def test_a_picture_that_its_user_deleted_is_left_out(tmp_path):
    twin = MapillaryTwin(some(6))
    with asking("mapillary", twin) as access:
        gone = lambda asked: setattr(twin, "deleted", frozenset({"p00002"}))  # noqa: E731
        twin.before = lambda asked: gone(asked) if asked.path != "/images" else None
        done = gather_photos(AREA, access, tmp_path / "out", GatherOptions())
    assert "p00002" not in {one.id for one in done.photos}
    assert len(done.photos) == 5
    assert "does not know this picture" in (tmp_path / "out" / "gone.jsonl").read_text()


@pytest.mark.parametrize(
    ("code", "status", "problem"),
    [
        (190, 400, AccessRefused), (463, 401, AccessRefused), (4, 403, ServiceBusy),
        (613, 400, ServiceBusy), (368, 400, ServiceBusy), (100, 400, BadAnswer),
        (2, 500, ServiceDown),
    ],
)  # fmt: skip
def test_errors_are_told_by_their_codes(code, status, problem):
    twin = MapillaryTwin([])
    twin.before = lambda asked: twin.error(status, code, "as the service says it")
    with pytest.raises(problem):
        listed("mapillary", twin)


def test_a_token_that_expires_half_way_ends_it_and_a_new_one_goes_on(tmp_path):
    twin = MapillaryTwin(some(9))
    with asking("mapillary", twin) as access:
        twin.before = lambda asked: (
            setattr(twin, "tokens", ("MLY|the-next-one",)) if len(twin.pictures) >= 4 else None
        )
        with pytest.raises(AccessRefused, match="expired"):
            gather_photos(AREA, access, tmp_path / "out", GatherOptions())
        twin.before = lambda asked: None
        renewed = replace(access, token="MLY|the-next-one")
        done = gather_photos(AREA, renewed, tmp_path / "out", GatherOptions())
    assert len(done.photos) == 9
    assert set(twin.pictures.values()) == {1}


def test_without_a_token_nothing_is_asked():
    twin = MapillaryTwin([])
    with pytest.raises(UsageError, match="MAPILLARY_TOKEN"):
        listed("mapillary", twin, token=None)
    assert twin.listings == 0


# KartaView, by its documentation.


def test_pages_of_a_box_are_read_to_the_last():
    twin = KartaViewTwin(some(470, step=1e-5))
    assert len(listed("kartaview", twin)) == 470
    assert twin.listings >= 4


def test_a_box_with_too_many_pages_is_quartered(monkeypatch):
    monkeypatch.setattr(kartaview, "MOST_PAGES", 2)
    monkeypatch.setattr(kartaview, "ITEMS_PER_PAGE", 10)
    assert len(listed("kartaview", KartaViewTwin(some(110)))) == 110


def test_headings_are_not_used_and_what_is_not_public_or_not_blurred_is_left_out():
    found = listed(
        "kartaview",
        KartaViewTwin([
            photo("1", 13.371, 52.501),
            photo("2", 13.372, 52.501, item={"visibility": "private"}),
            photo("3", 13.373, 52.501, item={"status": "deleted"}),
            photo("4", 13.374, 52.501, item={"autoImgProcessingStatus": "NEW"}),
            photo("5", 13.375, 52.501, item={"fileurlProc": None}),
            photo("6", 13.376, 52.501, item={"projection": "SPHERE", "fieldOfView": "360.00"}),
            photo("7", 13.377, 52.501, item={"projection": "DUAL_FISHEYE", "gpsAccuracy": "0.0"}),
            photo("8", 13.378, 52.501, item={"fieldOfView": "64.5", "heading": None}),
        ]),
    )  # fmt: skip
    assert set(found) == {"1", "6", "7", "8"}
    assert {one.heading_deg for one in found.values()} == {None}
    assert "not used" in found["1"].notes[0]
    assert found["8"].notes == ()
    assert {name: one.fov_deg for name, one in found.items()} == {
        "1": None, "6": 360.0, "7": None, "8": 64.5,
    }  # fmt: skip
    assert found["1"].position_sigma_m == 4.5
    assert found["7"].position_sigma_m is None
    assert found["1"].attribution == "© Grab and KartaView contributors, walker"
    assert found["1"].page_url == "https://kartaview.org/details/500/3"


def test_of_a_time_without_a_zone_only_the_day_is_used():
    """Noon by the sun there, so that no photo is taken for one by night."""
    (one,) = listed("kartaview", KartaViewTwin([photo("1", 13.371, 52.501)])).values()
    assert abs((one.captured - datetime(2016, 4, 16, 11, 6, tzinfo=UTC)).total_seconds()) < 60


@pytest.mark.parametrize(
    ("code", "problem"),
    [(403, AccessRefused), (401, AccessRefused), (429, ServiceBusy), (400, BadAnswer),
     (500, ServiceDown), (503, ServiceDown)],
)  # fmt: skip
def test_an_error_inside_of_an_answer_with_status_200_is_one(code, problem):
    twin = KartaViewTwin([])
    twin.before = lambda asked: answer_json(
        {"status": {"httpCode": code, "apiMessage": "Restricted access"}, "result": {"data": []}}
    )
    with pytest.raises(problem):
        listed("kartaview", twin)


def test_a_server_that_fails_once_is_asked_again():
    twin = KartaViewTwin(some(3))
    failed = []

    def fail_once(asked):
        failed.append(asked.path)
        status = {"httpCode": 500, "apiMessage": "Timeout"}
        return answer_json({"status": status}) if len(failed) == 1 else None

    twin.before = fail_once
    assert len(listed("kartaview", twin)) == 3


def test_an_empty_place_is_no_error():
    twin = KartaViewTwin([])
    twin.before = lambda asked: answer_json(
        {"status": {"httpCode": 404, "apiCode": 601, "apiMessage": "empty response"}}
    )
    assert listed("kartaview", twin) == {}
