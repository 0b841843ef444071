"""An index in real PostgreSQL servers with pgvector: alone, as three shards, and when one dies."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.index.windows_contract import CHECKS, MANIFEST, READINGS, TOWN, UNIT, fill
from tests.services.postgresql import PostgreSQL, find_wheel_programs
from tests.services.programs import LOOPBACK, find_port

from crossview.errors import (
    AccessRefused,
    BadIndex,
    CannotWrite,
    InvalidValue,
    ModelMismatch,
    ServiceDown,
    UsageError,
)
from crossview.geo.points import LatLon, measure_distance_m
from crossview.index import postgresql as engine
from crossview.index.postgresql import (
    STEPS,
    DatabaseWriter,
    fill_database,
    open_windows,
    upgrade_tables,
)
from crossview.index.store import Index
from crossview.localization import search
from crossview.localization.hints import Hints
from crossview.localization.locate import get_index_model, locate_many
from crossview.localization.posterior import compute_posterior

UNITS = -(-TOWN.count // UNIT)
SHARDS = 3


@pytest.fixture(scope="module")
def servers():
    """Three servers; what they acknowledge is written before they say so."""
    running = [PostgreSQL(find_wheel_programs(), synchronous_commit="on") for _ in range(SHARDS)]
    try:
        for server in running:
            server.start()
            server.make_database("city", "vector")
        yield running
    finally:
        for server in running:
            server.stop()


def name(servers, schema):
    """The address of an index over some servers."""
    return ";".join(f"{server.address('city')}#{schema}" for server in servers)


def filled(servers, schema):
    writer = DatabaseWriter(name(servers, schema), dim=24, bins=6, units=UNITS)
    fill(writer)
    return name(servers, schema)


@pytest.fixture(scope="module", params=[1, SHARDS], ids=["one database", "three shards"])
def windows(request, servers):
    opened = open_windows(filled(servers[: request.param], f"contract{request.param}"))
    yield opened
    opened.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_databases_keep_the_contract(windows, check):
    check(windows)


def test_a_price_of_turns_is_that_of_the_folder_at_every_bearing(windows):
    """The nearest turn is kept however the heading lies between the turns."""
    for degrees in (0.0, 29.9, 30.0, 59.99, 181.3, -90.0):
        for reading in ("heading in a file", "heading of a person"):
            asked = READINGS[reading]
            asked = replace(asked, facing=replace(asked.facing, degrees=degrees, slack_deg=1.0))
            rows = np.arange(0, TOWN.count, 7)
            scores, headings = asked.score(TOWN.vectors[rows], TOWN.places[rows, 2])
            found = windows.score([asked], rows)
            np.testing.assert_allclose(found.scores[0], scores, atol=2e-6)
            np.testing.assert_allclose(found.heading_deg[0], headings, atol=1e-4)


# The town of the other tests: three shards and the folder that they are filled from.


@pytest.fixture(scope="module")
def folder(crossview, town):
    """An index of the town, calibrated; calibrated on 40 of its panoramas and its 40 photos."""
    source, out = town.orthophoto.parent, crossview.folder / "shards.cvx"
    crossview.run("index", town.orthophoto, "--model", "town", "--stride", "16", "--out", out)
    with (source / "places.csv").open(encoding="utf-8", newline="") as stream:
        files = [source / row["file"] for row in csv.DictReader(stream)]
    known = [file for file in files if "photo_" in file.name] + files[:40]
    crossview.run(
        "calibrate", out, *known, "--truth", source / "places.csv", "--coverage", "80",
        "--ignore-direction",
    )  # fmt: skip
    return Index.open(out)


@pytest.fixture(scope="module")
def city(folder, servers):
    """The same index in three shards."""
    opened = fill_database(folder, name(servers, "town"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def photos(town):
    """20 panoramas and 20 photos."""
    files = sorted((town.orthophoto.parent / "ground").glob("*.jpg"))
    kinds = [[f for f in files if f.name.startswith(kind)] for kind in ("panorama", "photo")]
    assert min(map(len, kinds)) >= 40
    return [*kinds[0][60:80], *kinds[1][:20]]


def require_same(one, other, folder):
    """Places, headings and areas, and what is stated of them."""
    assert [p.window for p in other.places] == [p.window for p in one.places]
    for place, same in zip(one.places, other.places, strict=True):
        assert measure_distance_m(place.latlon, same.latlon) < 1e-3
        assert same.heading_deg == pytest.approx(place.heading_deg, abs=1e-3)
        assert same.score == pytest.approx(place.score, abs=1e-5)
        if place.probability is not None:
            assert same.probability == pytest.approx(place.probability, abs=1e-4)
    assert (one.confidence is None) == (other.confidence is None)
    if one.confidence is not None:
        assert other.confidence.refused == one.confidence.refused
        for area, same in zip(one.confidence.areas, other.confidence.areas, strict=True):
            np.testing.assert_array_equal(same.rows, area.rows)
            assert same.km2 == pytest.approx(area.km2)
            np.testing.assert_array_equal(same.lat, area.lat)


def test_three_shards_give_the_places_headings_and_areas_of_the_folder(folder, city, photos):
    embedder = get_index_model(folder)
    hints = Hints(ignore_direction=True)
    for photo in photos:
        (whole,) = locate_many(folder, embedder, [photo], hints)
        (shards,) = locate_many(city, embedder, [photo], hints)
        assert whole.confidence is not None
        require_same(whole, shards, folder)
        posterior = compute_posterior(shards.held, shards)
        assert posterior.sum() == pytest.approx(compute_posterior(folder, whole).sum(), abs=1e-5)


def test_the_face_of_the_package_takes_an_address_and_what_is_open(folder, city, servers, photos):
    import crossview as package

    opened = package.Index.open(name(servers, "town"))
    first = [
        package.locate(index, photos[0]).places[0].window
        for index in (folder, city, opened, name(servers, "town"))
    ]
    assert len({*first}) == 1


def test_an_area_to_search_in_is_kept_to(folder, city, photos):
    embedder, some = get_index_model(folder), photos[::8]
    row = folder.count // 2
    middle = LatLon(float(folder.lat[row]), float(folder.lon[row]))
    for hints in (
        Hints(near=middle, within_m=150.0),
        Hints(area={"type": "Polygon", "coordinates": [_outline(folder)]}),
    ):
        whole = locate_many(folder, embedder, some, hints)
        shards = locate_many(city, embedder, some, hints)
        for one, other in zip(whole, shards, strict=True):
            require_same(one, other, folder)
            assert other.held.weights.sum() == np.isfinite(one.scores).sum()


def _outline(folder):
    """A triangle of half the region, as GeoJSON writes corners."""
    west, east = float(folder.lon.min()), float(folder.lon.max())
    south, north = float(folder.lat.min()), float(folder.lat.max())
    return [[west, south], [east, south], [east, north], [west, south]]


def test_a_part_of_the_windows_stands_for_all(folder, city, photos, monkeypatch):
    """The best 300 and 1,000 by lot: the same places, and probabilities that are close."""
    monkeypatch.setattr(search, "DRAWN", 600)
    embedder, gaps = get_index_model(folder), []
    for photo in photos[::2]:
        (whole,) = locate_many(folder, embedder, [photo], Hints(ignore_direction=True))
        (some,) = locate_many(city, embedder, [photo], Hints(ignore_direction=True))
        assert some.held.count < folder.count
        assert [p.window for p in some.places] == [p.window for p in whole.places]
        for place, same in zip(whole.places, some.places, strict=True):
            assert measure_distance_m(place.latlon, same.latlon) < 1e-3
        gaps += [
            abs(place.probability - same.probability)
            for place, same in zip(whole.places, some.places, strict=True)
        ]
        areas = zip(whole.confidence.areas, some.confidence.areas, strict=True)
        assert all(same.km2 == pytest.approx(area.km2, rel=0.15, abs=0.003) for area, same in areas)
    assert max(gaps) < 0.02


def test_the_program_fills_and_locates_as_in_a_folder(crossview, folder, servers, photos):
    address = name(servers, "cli")
    said = crossview.run("index", folder.path, "--out", address)
    assert f"{folder.count} windows" in said
    places = []
    for number, where in enumerate((folder.path, address)):
        out = crossview.folder / f"told-{number}.jsonl"
        crossview.run(
            "locate", photos[0], photos[-1], "--index", where, "--format", "jsonl", "--out", out
        )
        lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
        places.append([[place["window"] for place in line["places"]] for line in lines])
    assert places[0] == places[1]
    assert all(len(each) == 10 for each in places[0])
    with pytest.raises(RuntimeError, match="There is an index in .* already"):
        crossview.run("index", folder.path, "--out", address)
    crossview.run("index", folder.path, "--out", address, "--overwrite")
    for server in servers:
        assert server.address("city").split(":")[2].split("@")[0] not in said


def test_a_server_answers_from_shards(crossview, city, servers, photos):
    port = find_port()
    served = crossview.start(
        "serve", "serve", "--index", name(servers, "town"), "--port", str(port)
    )
    url = f"http://{LOOPBACK}:{port}"
    served.wait_until(lambda: _answers(f"{url}/v1/regions"), "does not answer")
    regions = httpx.get(f"{url}/v1/regions", trust_env=False).json()["regions"]
    assert regions[0]["tiles"] == city.count
    answer = httpx.post(
        f"{url}/v1/locate",
        files={"photo": photos[0].read_bytes()},
        timeout=60.0,
        trust_env=False,
    ).raise_for_status()
    first = answer.json()["answers"][0]["places"][0]
    picture = httpx.get(
        f"{url}/v1/regions/{regions[0]['name']}/windows/{first['window']}", trust_env=False
    )
    assert picture.content == city.thumbnail(first["window"])
    served.stop()


def _answers(url):
    try:
        return httpx.get(url, timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


# What may go wrong.


def test_a_shard_that_is_killed_is_said_and_comes_back_with_all_that_it_acknowledged(servers):
    address = name(servers, "killed")
    writer = DatabaseWriter(address, dim=24, bins=6, units=UNITS)
    units = list(TOWN.units())
    acknowledged = [unit[0] for unit in units[:5] if writer.put(*unit)]
    servers[1].kill()
    with pytest.raises(ServiceDown, match="does not answer"):
        for unit in units[5:] + units[:5]:
            if writer.put(*unit):
                acknowledged.append(unit[0])
    servers[1].run()
    put = {unit[0]: writer.put(*unit) for unit in units}
    assert [unit for unit in acknowledged if put[unit]] == []  # none had to be put again
    writer.seal(MANIFEST)
    opened = open_windows(address)
    try:
        asked = [READINGS["photo"]]
        before = opened.best(asked, 10)
        servers[1].kill()
        with pytest.raises(ServiceDown, match=r"shard 2 of 3 \(127.0.0.1:\d+/city#killed\)"):
            opened.best(asked, 10)
        servers[1].run()
        after = opened.best(asked, 10)  # by new connections
        np.testing.assert_array_equal(after.numbers, before.numbers)
        np.testing.assert_array_equal(opened.take_vectors(np.arange(400)), TOWN.vectors)
    finally:
        opened.close()


def test_no_server_at_the_address_is_said_without_its_password():
    with pytest.raises(ServiceDown, match="Is the server running") as refused:
        open_windows(f"postgresql://me:secret77@{LOOPBACK}:{find_port()}/city")
    assert "secret77" not in str(refused.value)


def test_a_wrong_password_is_said_without_it(servers):
    with pytest.raises(AccessRefused, match="refuses this user or password") as refused:
        open_windows(servers[0].address("city", password="secret77"))
    assert "secret77" not in str(refused.value)


def test_a_database_or_an_index_that_is_not_there_is_said(servers):
    with pytest.raises(BadIndex, match="no such database"):
        open_windows(servers[0].address("village"))
    with pytest.raises(BadIndex, match="holds no index that this user may read"):
        open_windows(f"{servers[0].address('city')}#nothing")
    with pytest.raises(InvalidValue, match="'Big Town' cannot name an index"):
        open_windows(f"{servers[0].address('city')}#Big Town")


@pytest.fixture(scope="module")
def three(servers):
    """The name of an index in three shards."""
    filled(servers, "three")
    return "three"


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ((0, 1), r"has 3 shards, and the addresses are those of 1, 2"),
        ((0, 1, 1), r"are those of 1, 2, 2"),
    ],
)
def test_a_missing_shard_is_said(servers, three, chosen, said):
    with pytest.raises(BadIndex, match=said):
        open_windows(name([servers[n] for n in chosen], three))


def test_shards_in_another_order_are_the_same_index(servers, three):
    turned = open_windows(name([servers[n] for n in (2, 0, 1)], three))
    np.testing.assert_array_equal(turned.take_vectors(np.array([0, 399])), TOWN.vectors[[0, 399]])
    turned.close()


def test_shards_of_two_indexes_are_no_index(servers):
    filled(servers[:2], "mixed")
    other = DatabaseWriter(name(servers[:2], "other"), dim=24, bins=6, units=UNITS)
    for unit in TOWN.units():
        other.put(*unit)
    other.seal(replace(MANIFEST, created="2026-01-02T00:00:00+00:00"))
    address = f"{servers[0].address('city')}#mixed;{servers[1].address('city')}#other"
    with pytest.raises(BadIndex, match="hold different indexes"):
        open_windows(address)


def test_tables_of_another_version_are_refused(servers):
    address = filled(servers[:1], "future")
    servers[0].execute("update future.facts set version = 99", "city")
    said = f"version 99; this crossview reads version {len(STEPS)}.\nUse the crossview that filled"
    with pytest.raises(BadIndex, match=said):
        open_windows(address)


def test_tables_of_an_earlier_version_are_brought_up_to_date(servers):
    address = filled(servers, "past")
    servers[1].execute(
        "drop index past.windows_lat_lon_idx; update past.facts set version = 1", "city"
    )
    with pytest.raises(BadIndex, match=r"shard 2 of 3 .*version 1.*\n.*upgrade_tables"):
        open_windows(address)
    assert upgrade_tables(address) == [len(STEPS), 1, len(STEPS)]
    opened = open_windows(address)
    np.testing.assert_array_equal(opened.take_vectors(np.arange(400)), TOWN.vectors)
    opened.close()
    held = "select count(*) from pg_indexes where indexname = 'windows_lat_lon_idx' and "
    assert servers[1].execute(f"{held} schemaname = 'past'", "city").strip() == "1"
    assert upgrade_tables(address) == [len(STEPS)] * SHARDS


def test_another_model_is_refused(windows):
    with pytest.raises(ModelMismatch, match="was made by the model toy"):
        windows.require_model("0" * 64)


def test_an_index_that_is_not_sealed_is_none_and_cannot_be_sealed_in_part(servers):
    address = name(servers[:1], "begun")
    writer = DatabaseWriter(address, dim=24, bins=6, units=UNITS)
    writer.put(*next(iter(TOWN.units())))
    with pytest.raises(BadIndex, match="holds no index"):
        open_windows(address)
    with pytest.raises(CannotWrite, match=f"1 of {UNITS} units are there"):
        writer.seal(MANIFEST)
    with pytest.raises(CannotWrite, match="another index is being filled"):
        DatabaseWriter(address, dim=48, bins=6, units=UNITS)
    DatabaseWriter(address, dim=48, bins=6, units=UNITS, restart=True)


def test_a_schema_of_other_things_is_not_touched(servers):
    servers[0].execute("create schema roads; create table roads.names (name text)", "city")
    writer = DatabaseWriter(name(servers[:1], "lanes"), dim=24, bins=6, units=UNITS)
    for unit in TOWN.units():
        writer.put(*unit)
    servers[0].execute("create schema lanes; create table lanes.names (name text)", "city")
    with pytest.raises(CannotWrite, match="the schema lanes holds other things"):
        writer.seal(MANIFEST)
    for schema in ("roads", "public"):
        with pytest.raises(CannotWrite, match=f"the schema {schema} holds other things"):
            DatabaseWriter(name(servers[:1], schema), dim=24, bins=6, units=UNITS)
    held = "select count(*) from pg_tables where tablename = 'names'"
    assert servers[0].execute(held, "city").strip() == "2"


def test_a_reader_needs_to_select_and_can_do_no_more(servers):
    address = filled(servers[:1], "read")
    for statement in (
        "create role reader login password 'onlyreads'",
        "grant usage on schema read to reader",
        "grant select on all tables in schema read to reader",
    ):
        servers[0].execute(statement, "city")
    uri = servers[0].address("city", "reader", "onlyreads")
    reading = open_windows(f"{uri}#read")
    found = reading.best([READINGS["photo"]], 5, drawn=50)
    assert len(found.numbers) >= 50
    with pytest.raises(AccessRefused, match="may not read"):
        DatabaseWriter(f"{uri}#read", dim=24, bins=6, units=UNITS)
    filled(servers[:1], "unread")
    with pytest.raises(BadIndex, match="holds no index that this user may read"):
        open_windows(f"{uri}#unread")
    servers[0].execute("grant usage on schema unread to reader", "city")
    with pytest.raises(AccessRefused, match="USAGE of its schema and SELECT"):
        open_windows(f"{uri}#unread")
    with pytest.raises(BadIndex, match="cannot execute DELETE in a read-only transaction"):
        reading._shards[0].ask("delete from windows returning id")
    # One that takes its place may be read by the same, and what was opened before says so.
    again = DatabaseWriter(address, dim=24, bins=6, units=UNITS)
    for unit in TOWN.units():
        again.put(*unit)
    again.seal(replace(MANIFEST, created="2026-01-03T00:00:00+00:00"))
    with pytest.raises(BadIndex, match="was replaced by another index since it was opened"):
        reading.best([READINGS["photo"]], 5, drawn=50)
    reading.close()
    open_windows(f"{uri}#read").close()


def test_an_answer_that_takes_too_long_is_said(servers, monkeypatch):
    address = filled(servers[:1], "slow")
    monkeypatch.setattr(engine, "STATEMENT_S", 0.2)
    opened = open_windows(address)
    with pytest.raises(ServiceDown, match="did not answer in time"):
        opened._shards[0].ask("select pg_sleep(5)")
    opened.close()


def test_heights_do_not_go_into_a_database(servers):
    class WithHeights:
        path = Path("region.cvx")
        manifest = replace(MANIFEST, heights=object())

    with pytest.raises(InvalidValue, match=r"region.cvx knows heights"):
        fill_database(WithHeights(), name(servers[:1], "high"))


def test_without_the_driver_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg_pool", None)
    with pytest.raises(UsageError, match=r"crossview\[postgres\]"):
        open_windows("postgresql://host/city")


def test_servers_run_as_somebody_of_no_rights():
    if os.geteuid() != 0:
        pytest.skip("root alone has to become somebody else")
    assert PostgreSQL(find_wheel_programs()).user == "postgres"
