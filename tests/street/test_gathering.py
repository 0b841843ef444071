"""Gathering: nothing asked twice, licences, tokens, what goes wrong; against small servers."""

from __future__ import annotations

import csv
import json
import logging
import re
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
from tests.street.service_twins import (
    TOKEN,
    KartaViewTwin,
    MapillaryTwin,
    PanoramaxTwin,
    photo,
    picture,
)
from tests.web_server import Answer, serving

from crossview.downloads import Downloads, Politeness
from crossview.errors import (
    AccessRefused,
    BadAnswer,
    BadData,
    CrossviewError,
    EmptyRegion,
    InvalidValue,
    ServiceBusy,
    ServiceDown,
    UnknownName,
    UsageError,
)
from crossview.geo.perimeters import parse_box
from crossview.street import gathering
from crossview.street.gathering import (
    SERVICES,
    GatherOptions,
    ServiceAccess,
    gather_photos,
    judge_licence,
    list_area,
    parse_street,
    read_token,
    require_gatherable,
)
from crossview.street.street_photos import SelectionOptions

AREA = parse_box("13.3700,52.5000,13.3800,52.5060")
HURRY = Politeness(requests_per_s=1e6, burst=10**6, tries=2, timeout_s=2.0, longest_wait_s=0.2)
TWINS = {"panoramax": PanoramaxTwin, "mapillary": MapillaryTwin, "kartaview": KartaViewTwin}


def some(count, lon=13.371, lat=52.5005, step=5e-4):
    """Photos on a grid of 10 columns, about 30 and 55 metres apart."""
    return [photo(f"p{n:05d}", lon + step * (n % 10), lat + step * (n // 10)) for n in range(count)]


@contextmanager
def asking(name, twin, token=TOKEN):
    """The access of a service that is answered by a small server."""
    with serving(twin) as server, Downloads(politeness={"": HURRY}) as downloads:
        twin.address = server.address
        address = f"{server.address}/api" if name == "panoramax" else server.address
        service = replace(SERVICES[name], address=address)
        yield ServiceAccess(service, downloads, token if name == "mapillary" else None)


@pytest.fixture(params=list(TWINS))
def kind(request):
    return request.param


def test_every_photo_of_the_area_is_fetched_and_named(kind, tmp_path):
    twin = TWINS[kind]([*some(12), photo("outside", 13.39, 52.503)])
    with asking(kind, twin) as access:
        done = gather_photos(AREA, access, tmp_path / "out", GatherOptions())
    assert {one.id for one in done.photos} == {f"p{n:05d}" for n in range(12)}
    assert all(count == 1 for count in twin.pictures.values())
    assert all(one.file.read_bytes() == picture(sum(one.id.encode())) for one in done.photos)
    named = (tmp_path / "out" / "photos" / "ATTRIBUTION.md").read_text()
    assert all(f"`{one.key}`" in named for one in done.photos)
    assert named.count("walker") == 12
    assert named.count("CC-BY-SA-4.0") == 12
    rows = list(csv.DictReader((tmp_path / "out" / "photos.csv").open()))
    assert [row["file"] for row in rows] == [f"photos/{kind}-p{n:05d}.jpg" for n in range(12)]
    assert float(rows[0]["lat"]) == pytest.approx(52.5005, abs=1e-6)


def test_a_stopped_gathering_goes_on_and_fetches_no_picture_twice(kind, tmp_path):
    twin = TWINS[kind](some(12))
    given = []

    def fail_after_five(asked):
        if asked.path.startswith(("/pictures/", "/thumb/", "/proc/")):
            given.append(asked.path)
            if len(given) > 5:
                return Answer(b"", 503)
        return None

    twin.before = fail_after_five
    with asking(kind, twin) as access, pytest.raises(CrossviewError):
        for _ in range(3):
            later = gather_photos(AREA, access, tmp_path / "out", GatherOptions())
            assert later.later > 0  # another host than the service's: the others can still be had
            raise ServiceDown("as a user reads it")
    first = dict(twin.pictures)
    assert 0 < len(first) < 12
    listings, twin.before = twin.listings, lambda asked: None
    with serving(twin) as server, Downloads(politeness={"": HURRY}) as downloads:
        # The same address, as the folder remembers it; pictures come from where the twin is now.
        twin.address = server.address
        address = json.loads((tmp_path / "out" / "gathering.json").read_text())["address"]
        service = replace(SERVICES[kind], address=address)
        port = server.address.rpartition(":")[2]
        moved = _MovedDownloads(downloads, address, server.address)
        access = ServiceAccess(service, moved, TOKEN if kind == "mapillary" else None)
        done = gather_photos(AREA, access, tmp_path / "out", GatherOptions())
    assert port
    assert len(done.photos) == 12
    assert set(twin.pictures.values()) == {1}, "a picture was fetched twice"
    if kind != "mapillary":
        assert twin.listings == listings, "the area was listed twice"


class _MovedDownloads:
    """Downloads that find a server on its new port."""

    def __init__(self, downloads, old, new):
        self._downloads, self._old, self._new = downloads, old.removesuffix("/api"), new

    def __getattr__(self, name):
        return getattr(self._downloads, name)

    def read(self, url, **more):
        return self._downloads.read(url.replace(self._old, self._new), **more)

    def fetch(self, url, into, **more):
        return self._downloads.fetch(url.replace(self._old, self._new), into, **more)


def test_more_may_be_gathered_later_and_no_picture_is_fetched_again(kind, tmp_path):
    twin = TWINS[kind](some(40))
    with asking(kind, twin) as access:
        for most, total in ((5, 5), (15, 15), (None, 40)):
            options = GatherOptions(selection=SelectionOptions(most=most))
            done = gather_photos(AREA, access, tmp_path / "out", options)
            assert len(done.photos) == total
    assert set(twin.pictures.values()) == {1}


def test_what_is_drawn_is_spread_over_the_area(tmp_path):
    crowd = [photo(f"c{n}", 13.3711 + 1e-5 * n, 52.5001) for n in range(50)]
    twin = PanoramaxTwin([*crowd, photo("north", 13.3790, 52.5050), photo("east", 13.379, 52.5001)])
    with asking("panoramax", twin) as access:
        options = GatherOptions(selection=SelectionOptions(most=3))
        done = gather_photos(AREA, access, tmp_path / "out", options)
    assert {"north", "east"} < {one.id for one in done.photos}


def test_the_place_of_a_picture_that_is_gone_is_taken_by_another(kind, tmp_path):
    twin = TWINS[kind](some(40))
    options = GatherOptions(selection=SelectionOptions(most=20))
    with asking(kind, twin) as access:
        plan = gathering.plan_gathering(
            list_area(AREA, access), access.service, options, area_km2=1.0
        )
        gone = {one.id for one in plan.chosen[:4]}
        if kind == "mapillary":
            twin.photos = [one for one in twin.photos]
            twin.deleted = frozenset()
        twin.before = lambda asked: (
            Answer(b"", 404) if any(f"/{name}" in asked.path for name in gone) else None
        )
        done = gather_photos(AREA, access, tmp_path / "out", options)
        assert len(done.photos) == 20
        assert not gone & {one.id for one in done.photos}
        asked = access.downloads.requests
        gather_photos(AREA, access, tmp_path / "out", options)
        assert access.downloads.requests == asked, "what is gone was asked for again"
    said = {one["photo"]: one["why"] for one in read_jsonl(tmp_path / "out" / "gone.jsonl")}
    assert set(said) == {f"{kind}-{name}" for name in gone}


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "content", [b"", b"<html>login</html>", b"\xff\xd8\xff\xe0 not much", picture(size=(8, 8))]
)
def test_what_is_no_picture_is_not_kept(content, tmp_path):
    twin = PanoramaxTwin(some(3))
    twin.before = lambda asked: Answer(content) if asked.path == "/pictures/p00001/sd.jpg" else None
    with asking("panoramax", twin) as access:
        done = gather_photos(AREA, access, tmp_path / "out", GatherOptions())
    assert {one.id for one in done.photos} == {"p00000", "p00002"}
    assert [path.name for path in sorted((tmp_path / "out" / "photos").glob("*.jpg"))] == [
        "panoramax-p00000.jpg",
        "panoramax-p00002.jpg",
    ]


# Licences.


@pytest.mark.parametrize(
    ("licence", "judged"),
    [
        ("CC-BY-SA-4.0", "open"),
        ("CC BY 4.0", "open"),
        ("cc0-1.0", "open"),
        ("etalab-2.0", "open"),
        ("CC-BY-NC-SA-4.0", "forbidding"),
        ("CC BY-ND 4.0", "forbidding"),
        ("proprietary", "forbidding"),
        ("All rights reserved", "forbidding"),
        ("other", "unknown"),
        ("", "unknown"),
        ("various", "unknown"),
        ("CC-BY-SA-4.0-but-not-really", "unknown"),
    ],
)
def test_only_licences_that_are_known_by_name_are_open(licence, judged):
    assert judge_licence(licence) == judged


def test_photos_without_an_open_licence_are_left_out_unless_it_is_accepted_by_name(tmp_path):
    photos = some(4)
    photos[0]["license"], photos[1]["license"] = "other", "CC-BY-NC-4.0"
    twin = PanoramaxTwin(photos)
    with asking("panoramax", twin) as access:
        done = gather_photos(AREA, access, tmp_path / "out", GatherOptions())
        assert {one.id for one in done.photos} == {"p00002", "p00003"}
        assert done.plan.reasons == {"licence": 2}
        options = GatherOptions(accepted_licences=("Other",))
        done = gather_photos(AREA, access, tmp_path / "out", options)
        assert {one.id for one in done.photos} == {"p00000", "p00002", "p00003"}


def test_an_area_where_no_licence_is_open_says_so(tmp_path):
    twin = PanoramaxTwin([one | {"license": "other"} for one in some(3)])
    with (
        asking("panoramax", twin) as access,
        pytest.raises(EmptyRegion, match="--accept-photo-licence"),
    ):
        gather_photos(AREA, access, tmp_path / "out", GatherOptions())
    assert twin.pictures == {}


def test_texts_of_strangers_stay_texts_in_what_is_written(tmp_path):
    photos = some(1)
    photos[0]["providers"] = [{"name": "a|b](http://x) <script>\n# c"}]
    photos[0]["license"] = "CC-BY-SA-4.0"
    photos[0]["licence_url"] = "https://example.org/a)|<b>"
    twin = PanoramaxTwin(photos)
    with asking("panoramax", twin) as access:
        gather_photos(AREA, access, tmp_path / "out", GatherOptions())
    named = (tmp_path / "out" / "photos" / "ATTRIBUTION.md").read_text()
    assert "<script>" not in named
    assert "](http://x)" not in named
    row = next(line for line in named.splitlines() if "panoramax-p00000" in line)
    assert row.replace("\\|", "").count("|") == 5


# Tokens.


def test_a_token_is_in_no_file_no_message_and_no_log_line(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MAPILLARY_TOKEN", TOKEN)
    token = read_token(SERVICES["mapillary"])
    assert token == TOKEN
    twin = MapillaryTwin(some(3))
    said = ""
    with asking("mapillary", twin, token) as access:
        gather_photos(AREA, access, tmp_path / "out", GatherOptions())
        twin.tokens = ()
        with pytest.raises(AccessRefused) as refused:
            gather_photos(AREA, access, tmp_path / "new", GatherOptions())
        said += str(refused.value)
        twin.before = lambda asked: Answer(f"who are you, {TOKEN}?".encode(), 403)
        with pytest.raises(AccessRefused) as refused:
            gather_photos(AREA, access, tmp_path / "other", GatherOptions())
        said += str(refused.value)
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for secret in (TOKEN, TOKEN.partition("|")[2]):
        assert secret not in said
        assert secret not in caplog.text
        assert all(secret.encode() not in content for content in kept)


def test_a_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("MAPILLARY_TOKEN", raising=False)
    with pytest.raises(UsageError, match="MAPILLARY_TOKEN"):
        read_token(SERVICES["mapillary"])
    assert read_token(SERVICES["panoramax"]) is None
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(SERVICES["mapillary"], tmp_path / "token") == TOKEN
    (tmp_path / "token").write_text("two words of nothing")
    with pytest.raises(UsageError, match="holds no token") as problem:
        read_token(SERVICES["mapillary"], tmp_path / "token")
    assert "two words" not in str(problem.value)
    with pytest.raises(UsageError, match="names no file") as problem:
        read_token(SERVICES["mapillary"], tmp_path / TOKEN)
    assert TOKEN not in str(problem.value)


def test_a_token_is_not_sent_in_the_open(monkeypatch):
    monkeypatch.setenv("MAPILLARY_TOKEN", TOKEN)
    with pytest.raises(UsageError, match="https"):
        read_token(replace(SERVICES["mapillary"], address="http://mapillary.example"))


# What goes wrong.


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("google", UnknownName),
        ("panoramax:ftp://host", InvalidValue),
        ("panoramax:https://me:secret@host", InvalidValue),
        ("panoramax:host", InvalidValue),
        ("panoramax:https://user@host", InvalidValue),
    ],
)
def test_what_street_cannot_mean_is_refused(text, problem):
    with pytest.raises(problem) as said:
        parse_street(text)
    assert "secret" not in str(said.value)


def test_what_street_means():
    assert parse_street("Panoramax") == SERVICES["panoramax"]
    for address in ("https://host.example/", "https://host.example/api"):
        assert parse_street(f"panoramax:{address}").address == "https://host.example/api"


def test_a_country_is_refused_with_its_size():
    with pytest.raises(InvalidValue, match=r"has 54\d,\d\d\d km2"):
        require_gatherable(parse_box("5.9,47.3,15.0,55.0"))


def test_an_area_without_photos_says_so(kind, tmp_path):
    with asking(kind, TWINS[kind]([])) as access, pytest.raises(EmptyRegion, match="no photos"):
        gather_photos(AREA, access, tmp_path / "out", GatherOptions())
    assert not (tmp_path / "out" / "gathering.json").exists()


def test_a_service_that_is_down_ends_it_with_a_message(kind, tmp_path):
    with asking(kind, TWINS[kind]([])) as access:
        pass  # its server is gone
    with Downloads(politeness={"": HURRY}) as downloads, pytest.raises(ServiceDown):
        access = replace(access, downloads=downloads)
        gather_photos(AREA, access, tmp_path / "out", GatherOptions())


def test_a_service_that_is_busy_for_long_ends_it_and_tells_to_come_back(kind, tmp_path):
    twin = TWINS[kind](some(3))
    twin.before = lambda asked: Answer(b"{}", 429, {"Retry-After": "3600"})
    with asking(kind, twin) as access, pytest.raises(ServiceBusy, match="3600|later|again"):
        gather_photos(AREA, access, tmp_path / "out", GatherOptions())


@pytest.mark.parametrize(
    "content",
    [
        b"", b"<html>hello</html>", b"[]", b"{}", b"null", b'{"features": 7, "data": 7}',
        b'{"features": null, "data": "x", "status": {"httpCode": 200}, "result": {"data": 3}}',
        b"[" * 100_000, b"\xff\xfe\x00",
    ],
)  # fmt: skip
def test_nonsense_is_named_as_such(kind, content, tmp_path):
    twin = TWINS[kind]([])
    twin.before = lambda asked: Answer(content)
    with asking(kind, twin) as access, pytest.raises(BadAnswer):
        gather_photos(AREA, access, tmp_path / "out", GatherOptions())


def test_items_that_are_nonsense_are_left_out(kind):
    """Any value of an item may be anything: none of them ends the gathering."""
    odd = [
        None,
        [],
        {},
        "x" * 10_000,
        -1,
        1e308,
        "1e999999",
        True,
        "../../etc/passwd",
        [{}],
        "0/0",
        "http://[",
        "//host:port/",
    ]
    whole = TWINS[kind]([]).item(some(1)[0])

    def spoil(values):
        for name, value in values.items():
            for other in odd:
                yield values | {name: other}
            if isinstance(value, dict):
                yield from (values | {name: inner} for inner in spoil(value))

    read_photo = getattr(gathering, kind).read_photo
    found = [read_photo(item, "http://127.0.0.1:1") for item in spoil(whole)]
    assert None in found
    assert len(found) > 100
    assert all(one is None or re.fullmatch(r"[\w.-]{1,100}", one.id) for one in found)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    twin = PanoramaxTwin(some(2))
    with asking("panoramax", twin) as access:
        with pytest.raises(UsageError, match="thesis"):
            gather_photos(AREA, access, tmp_path, GatherOptions())
        gather_photos(AREA, access, tmp_path / "out", GatherOptions())
        other = parse_box("13.3700,52.5000,13.3790,52.5060")
        with pytest.raises(UsageError, match="another area"):
            gather_photos(other, access, tmp_path / "out", GatherOptions())


def test_a_damaged_record_is_named(tmp_path):
    twin = PanoramaxTwin(some(2))
    with asking("panoramax", twin) as access:
        gather_photos(AREA, access, tmp_path / "out", GatherOptions())
        path = tmp_path / "out" / "gathering.json"
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(BadData, match="listed again"):
            gather_photos(AREA, access, tmp_path / "out", GatherOptions())


def test_a_disk_that_is_too_small_is_told_before_a_picture_is_fetched(tmp_path, monkeypatch):
    twin = PanoramaxTwin(some(2))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
    with asking("panoramax", twin) as access, pytest.raises(CrossviewError, match="GB are free"):
        gather_photos(AREA, access, tmp_path / "out", GatherOptions())
    assert twin.pictures == {}


def test_an_area_across_longitude_180_is_gathered_on_both_sides(kind, tmp_path):
    area = parse_box("179.996,-16.8,-179.996,-16.794")
    photos = [photo("west", 179.998, -16.797), photo("east", -179.998, -16.797)]
    twin = TWINS[kind]([*photos, photo("far", 0.5, -16.797)])
    with asking(kind, twin) as access:
        options = GatherOptions(selection=SelectionOptions(keep_night=True))
        done = gather_photos(area, access, tmp_path / "out", options)
    assert {one.id for one in done.photos} == {"west", "east"}
