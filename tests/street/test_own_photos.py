"""Photos of one's own: what files, lists and tracks say of place, time and heading."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from PIL.TiffImagePlugin import IFDRational

from crossview.errors import BadData, InvalidValue
from crossview.geo.points import LatLon, measure_distance_m
from crossview.street.own_photos import (
    OwnPhotoOptions,
    OwnPhotos,
    parse_zone,
    read_own_photos,
    read_tracks,
)

GPX = (
    '<gpx xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>{}</trkseg><trkseg>{}</trkseg>'
    "</trk></gpx>"
)
POINT = '<trkpt lat="{}" lon="{}"><time>2024-05-01T{}Z</time><hdop>{}</hdop></trkpt>'


def write_photo(path: Path, *, gps: dict[int, Any] | None = None, **details: Any) -> Path:
    exif = Image.Exif()
    if gps is not None:
        exif.get_ifd(IFD.GPSInfo).update(gps)
    exif.get_ifd(IFD.Exif).update({getattr(Base, name): value for name, value in details.items()})
    Image.new("RGB", (64, 48), (120, 130, 90)).save(path, exif=exif)
    return path


PLACE = {
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (52.0, 30.0, 0.0),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (13.0, 24.0, 0.0),
}


def read(path: Path, **options: Any) -> OwnPhotos:
    return read_own_photos([path], OwnPhotoOptions(**options))


def test_a_geotagged_photo(tmp_path):
    path = write_photo(
        tmp_path / "a b.jpg",
        gps={**PLACE, GPS.GPSHPositioningError: 4.5, GPS.GPSImgDirection: 90.0,
             GPS.GPSImgDirectionRef: "T"},
        DateTimeOriginal="2024:05:01 14:00:00", OffsetTimeOriginal="+02:00",
        FocalLengthIn35mmFilm=28,
    )  # fmt: skip
    (photo,) = read(path, zone=UTC).photos  # the file's own zone counts
    assert measure_distance_m(photo.place, LatLon(52.5, 13.4)) < 0.01
    assert photo.captured == datetime(2024, 5, 1, 12, tzinfo=UTC)
    assert (photo.heading_deg, photo.position_sigma_m) == (90.0, 4.5)
    assert photo.fov_deg == pytest.approx(65.5, abs=0.1)
    assert photo.file == path


def test_a_time_without_a_zone_counts_only_where_one_is_stated(tmp_path):
    path = write_photo(tmp_path / "a.jpg", gps=PLACE, DateTimeOriginal="2024:05:01 14:00:00")
    assert read(path).photos[0].captured is None
    berlin = read(path, zone=parse_zone("Europe/Berlin"), clock_offset_s=30.0).photos[0]
    assert berlin.captured == datetime(2024, 5, 1, 12, 0, 30, tzinfo=UTC)


def test_the_time_of_the_fix_is_in_utc(tmp_path):
    fix = {GPS.GPSDateStamp: "2024:05:01", GPS.GPSTimeStamp: (12.0, 1.0, 2.0)}
    path = write_photo(tmp_path / "a.jpg", gps=PLACE | fix, DateTimeOriginal="2024:05:01 14:00:00")
    assert read(path).photos[0].captured == datetime(2024, 5, 1, 12, 1, 2, tzinfo=UTC)


def test_a_magnetic_heading_needs_the_declination(tmp_path):
    gps = {**PLACE, GPS.GPSImgDirection: 355.0, GPS.GPSImgDirectionRef: "M"}
    path = write_photo(tmp_path / "a.jpg", gps=gps)
    found = read(path)
    assert found.photos[0].heading_deg is None
    assert "--declination" in found.notes[-1]
    assert read(path, declination_deg=10.0).photos[0].heading_deg == pytest.approx(5.0)
    told = write_photo(tmp_path / "b.jpg", gps={**PLACE, GPS.GPSImgDirection: 355.0})
    (photo,) = read(told).photos
    assert photo.heading_deg == 355.0
    assert "not told" in photo.notes[0]


def test_a_photo_without_a_place_is_left_out(tmp_path):
    write_photo(tmp_path / "a.jpg", gps=PLACE)
    write_photo(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    found = read(tmp_path)
    assert len(found.photos) == 1
    assert sorted(one.rule for one in found.left_out) == ["no place", "unreadable"]


def test_a_list_says_more_than_the_file(tmp_path):
    write_photo(tmp_path / "a.jpg", gps=PLACE)
    (tmp_path / "list.csv").write_text(
        "file;lat;lon;heading_deg;fov_deg;captured;position_sigma_m;sequence;licence;attribution\n"
        "a.jpg;10,5;20,5;-90;80;2024-05-01T12:00:00+02:00;3;walk;CC0;Me\n"
    )
    (photo,) = read(tmp_path / "list.csv").photos
    assert photo.place == LatLon(10.5, 20.5)
    assert (photo.heading_deg, photo.fov_deg, photo.position_sigma_m) == (270.0, 80.0, 3.0)
    assert (photo.licence, photo.attribution, photo.sequence) == ("CC0", "Me", "walk")
    assert photo.captured == datetime(2024, 5, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a.jpg,10,20,2024-05-01T12:00:00", "zone"),
        ("a.jpg,100,20,", "lat"),
        ("a.jpg,,20,", "empty"),
        (",10,20,", "file is empty"),
        ("a.jpg,10,20,\n./a.jpg,10,20,", "twice"),
    ],
)
def test_a_wrong_list_names_its_line(tmp_path, line, said):
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "list.csv").write_text(f"file,lat,lon,captured\n{line}\n")
    with pytest.raises(BadData, match=f"(?s)line .*{said}"):
        read(tmp_path / "list.csv")


def track(folder: Path) -> Path:
    first = POINT.format(52.5, 13.4, "12:00:00", 1.0) + POINT.format(52.501, 13.4, "12:00:40", 2.0)
    second = POINT.format(52.6, 13.4, "12:01:00", 1.0) + POINT.format(52.6, 13.4, "12:10:00", 1.0)
    (folder / "track.gpx").write_text(GPX.format(first, second))
    return folder / "track.gpx"


@pytest.mark.parametrize(
    ("clock", "offset_s", "lat"),
    [
        ("14:00:10", 0.0, 52.50025),  # a quarter of the way
        ("14:00:00", 10.0, 52.50025),  # the camera's clock is 10 s late
        ("14:00:40", 0.0, 52.501),
        ("14:00:50", 0.0, None),  # between two segments
        ("14:05:00", 0.0, None),  # points nine minutes apart
        ("13:59:00", 0.0, None),  # before the track
    ],
)
def test_a_track_tells_the_place_by_the_clock(tmp_path, clock, offset_s, lat):
    path = write_photo(tmp_path / "a.jpg", gps=PLACE, DateTimeOriginal=f"2024:05:01 {clock}")
    summer = timezone(timedelta(hours=2))
    found = read(path, zone=summer, clock_offset_s=offset_s, tracks=(track(tmp_path),))
    if lat is None:
        assert [one.rule for one in found.left_out] == ["no place"]
    else:
        assert found.photos[0].place.lat == pytest.approx(lat, abs=1e-7)
        assert found.photos[0].position_sigma_m >= 5.0


def test_a_track_without_a_zone_of_the_photos_finds_nothing(tmp_path):
    path = write_photo(tmp_path / "a.jpg", DateTimeOriginal="2024:05:01 14:00:10")
    (left,) = read(path, tracks=(track(tmp_path),)).left_out
    assert "--time-zone" in left.why


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not xml",
        "<gpx></gpx>",
        '<!DOCTYPE g [<!ENTITY a "b">]><gpx>&a;</gpx>',
        GPX.format('<trkpt lat="95" lon="0"><time>2024-05-01T12:00:00Z</time></trkpt>', ""),
        GPX.format('<trkpt lat="5" lon="0"></trkpt>', ""),
    ],
)
def test_what_is_no_track_is_refused(tmp_path, content):
    (tmp_path / "a.gpx").write_text(content)
    with pytest.raises(BadData, match=r"a\.gpx"):
        read_tracks([tmp_path / "a.gpx"])


@pytest.mark.parametrize("text", ["", "Berlin", "+25:00", "../etc/passwd", "+1"])
def test_a_zone_that_is_none_is_refused(text):
    with pytest.raises(InvalidValue, match="time zone"):
        parse_zone(text)


def test_exposure_tells_a_room_from_the_street(tmp_path):
    from crossview.views.decode import read_photo_header

    path = write_photo(
        tmp_path / "a.jpg", FNumber=IFDRational(4, 1), ExposureTime=IFDRational(1, 16),
        ISOSpeedRatings=200,
    )  # fmt: skip
    capture = read_photo_header(path)[1]
    assert capture.exposure_ev == pytest.approx(7.0)  # log2(16 * 16) - 1
