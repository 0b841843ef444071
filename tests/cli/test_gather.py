"""``crossview gather`` as it is typed: a server of the tests' own answers."""

from __future__ import annotations

import csv
import json
import sys

import pytest
from tests.imagery.map_services import XyzService
from tests.street.service_twins import TOKEN, MapillaryTwin, PanoramaxTwin, photo
from tests.street.test_gathering import some
from tests.street.test_pairing import texture, write_map
from tests.web_server import Answer, serving

from crossview.cli import main
from crossview.geo.points import LatLon
from crossview.street import gathering

BOX = "13.3700,52.5000,13.3800,52.5060"


def typed(server, out, *others, service="panoramax", box=BOX):
    street = f"{service}:{server.address}"
    return main([
        "gather", "--street", street, "--bbox", box, "--out", str(out), *map(str, others)
    ])  # fmt: skip


@pytest.fixture
def panoramax():
    twin = PanoramaxTwin([*some(12), photo("unknown", 13.3751, 52.5001, license="other")])
    with serving(twin) as server:
        twin.address = server.address
        yield twin, server


def test_a_dry_run_says_what_would_be_fetched_and_writes_nothing(panoramax, tmp_path, capsys):
    twin, server = panoramax
    assert typed(server, tmp_path / "out", "--dry-run", "--most", 8) == 0
    said = capsys.readouterr().out
    assert "has 13 photos; 8 are chosen, 0 of them with a heading that can be trusted" in said
    assert "CC-BY-SA-4.0 8" in said
    assert "balance 4, licence 1" in said
    assert "8 pictures are to be fetched: about 3.6 MB" in said
    assert not (tmp_path / "out").exists()
    assert twin.pictures == {}


def test_photos_are_fetched_and_more_of_them_later(panoramax, tmp_path, capsys):
    twin, server = panoramax
    assert typed(server, tmp_path / "out", "--most", 8, "--quiet") == 0
    assert "8 of 13 photos" in capsys.readouterr().out
    assert typed(server, tmp_path / "out", "--accept-photo-licence", "other", "--quiet") == 0
    assert "13 of 13 photos" in capsys.readouterr().out
    assert set(twin.pictures.values()) == {1}
    assert typed(server, tmp_path / "out", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "licence 1" in said
    assert "All of them are there" in said


def test_an_area_may_be_drawn(panoramax, tmp_path, capsys):
    _, server = panoramax
    drawn = tmp_path / "area.geojson"
    drawn.write_text(
        '{"type": "Polygon", "coordinates": [[[13.37, 52.5], [13.3718, 52.5], [13.3718, 52.506],'
        " [13.37, 52.506], [13.37, 52.5]]]}"
    )
    street = f"panoramax:{server.address}"
    words = ["gather", "--street", street, "--area", str(drawn), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "4 of 4 photos" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "--bbox W,S,E,N"),
        (("--bbox", "13.37,52.5,13.37,52.5"), 2, "no inside"),
        (("--bbox", "5.9,47.3,15.0,55.0"), 2, "km2"),
        (("--bbox", "one,two"), 2, "no box"),
        (("--bbox", BOX, "--area", "x.geojson"), 2, "both name"),
        (("--bbox", BOX, "--max-age", "3"), 2, "--date"),
    ],
)
def test_what_is_wrong_is_told_before_anybody_is_asked(words, code, said, tmp_path, capsys):
    line = ["gather", "--street", "panoramax:http://127.0.0.1:1", "--out", str(tmp_path / "out")]
    assert main([*line, *words]) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_service_that_nobody_knows_and_one_that_is_not_there(tmp_path, capsys, monkeypatch):
    line = ["gather", "--bbox", BOX, "--out", str(tmp_path / "out"), "--street"]
    assert main([*line, "gogle"]) == 2
    assert "panoramax" in capsys.readouterr().err
    monkeypatch.setattr("crossview.downloads._FIRST_WAIT_S", 0.0)
    assert main([*line, "panoramax:http://127.0.0.1:1"]) == 1
    assert "cannot be reached" in capsys.readouterr().err


def test_a_token_typed_where_a_file_was_meant_is_shown_nowhere(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MAPILLARY_TOKEN", raising=False)
    log = tmp_path / "log.txt"
    line = ["gather", "--street", "mapillary", "--bbox", BOX, "--out", str(tmp_path / "out")]
    assert main([*line, "--log", str(log)]) == 2
    assert "MAPILLARY_TOKEN" in capsys.readouterr().err
    assert main([*line, "--log", str(log), "--token-file", TOKEN]) == 2
    said = capsys.readouterr()
    for text in (said.out, said.err, log.read_text()):
        assert TOKEN.partition("|")[2] not in text
    assert "--token-file" in said.err


def test_a_refused_token_is_told_without_showing_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MAPILLARY_TOKEN", TOKEN)
    twin = MapillaryTwin(some(3), tokens=("MLY|another",))
    log = tmp_path / "log.txt"
    with serving(twin) as server:
        assert typed(server, tmp_path / "out", "--log", log, "--verbose", service="mapillary") == 1
    said = capsys.readouterr()
    assert "refuses the token" in said.err
    for text in (said.out, said.err, log.read_text()):
        assert TOKEN.partition("|")[2] not in text


def test_when_a_service_is_busy_for_long_the_command_ends_and_goes_on_later(
    panoramax, tmp_path, capsys
):
    twin, server = panoramax
    twin.before = lambda asked: (
        Answer(b"", 429, {"Retry-After": "7200"}) if len(twin.pictures) >= 5 else None
    )
    assert typed(server, tmp_path / "out") == 1
    assert "Run the same command again later" in capsys.readouterr().err
    twin.before = lambda asked: None
    assert typed(server, tmp_path / "out") == 0
    assert "12 of 13 photos" in capsys.readouterr().out
    assert set(twin.pictures.values()) == {1}


def test_the_extra_is_named_where_it_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    line = ["gather", "--street", "panoramax", "--bbox", BOX, "--out", str(tmp_path / "out")]
    assert main(line) == 1
    assert "crossview[online]" in capsys.readouterr().err


def test_services_that_are_shipped_are_asked_over_https():
    assert all(one.address.startswith("https://") for one in gathering.SERVICES.values())


# With imagery.

SMALL = ("--quiet", "--workers", 0, "--footprint", 40)


@pytest.fixture
def city(tmp_path):
    """An orthophoto of 900 x 700 m, 0.5 m a pixel, that covers all photos."""
    file = tmp_path / "city.tif"
    write_map(file, 25833, LatLon(52.5015, 13.3745), texture(1, 1400, 1800), 0.5)
    return file


def read_pairs(out):
    with (out / "pairs.csv").open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["relation"] == "match"]


def read_report(out):
    return json.loads((out / "report.json").read_text())


def test_with_imagery_pairs_are_made_and_more_of_them_later(panoramax, city, tmp_path, capsys):
    twin, server = panoramax
    out = tmp_path / "out"
    assert typed(server, out, "--imagery", city, "--most", 8, *SMALL) == 0
    said = capsys.readouterr().out
    assert "8 of 13 photos" in said
    rows = read_pairs(out)
    assert len(rows) + len(read_report(out)["left_out"]) == 8
    assert rows
    for row in rows:
        assert (out / row["ground"]).is_file()
        assert (out / row["aerial"]).is_file()
    credits_ = (out / "ATTRIBUTION.md").read_text()
    assert "walker" in credits_
    assert "CC-BY-SA-4.0" in credits_
    assert typed(server, out, "--imagery", city, *SMALL) == 0
    assert len(read_pairs(out)) + len(read_report(out)["left_out"]) == 12
    assert set(twin.pictures.values()) == {1}


def test_pairs_that_were_cut_off_are_made_without_fetching_again(panoramax, city, tmp_path):
    twin, server = panoramax
    out = tmp_path / "out"
    assert typed(server, out, "--imagery", city, *SMALL) == 0
    once = (out / "pairs.csv").read_bytes()
    asked = len(server.asked)
    (out / "report.json").unlink()
    (out / "pairs.csv").unlink()
    assert typed(server, out, "--imagery", city, *SMALL) == 0
    assert (out / "pairs.csv").read_bytes() == once
    assert len(server.asked) == asked
    assert set(twin.pictures.values()) == {1}


def test_the_age_of_photos_counts_from_the_date_of_the_imagery(panoramax, city, tmp_path, capsys):
    _, server = panoramax
    given = ("--imagery", city, "--max-age", 1, *SMALL)
    assert typed(server, tmp_path / "none", *given) == 2
    assert "--date" in capsys.readouterr().err
    (tmp_path / "city.json").unlink(missing_ok=True)
    import rasterio

    with rasterio.open(city, "r+") as raster:
        raster.update_tags(TIFFTAG_DATETIME="1995:05:01 12:00:00")
    assert typed(server, tmp_path / "out", *given) == 1
    assert "12 age" in capsys.readouterr().err


def test_a_dry_run_with_imagery_says_whose_all_of_it_is(panoramax, city, tmp_path, capsys):
    twin, server = panoramax
    given = ("--imagery", city, "--attribution", "City", "--dry-run")
    assert typed(server, tmp_path / "out", *given) == 0
    said = capsys.readouterr().out
    assert "Imagery: City" in said
    assert "CC-BY-SA-4.0 12" in said
    assert not (tmp_path / "out").exists()
    assert twin.pictures == {}


def test_photos_of_one_s_own_are_paired_too(city, tmp_path, capsys):
    from tests.street.test_pairing import write_photo

    rows = ["file,lat,lon,heading_deg,fov_deg"]
    for n in range(8):
        write_photo(tmp_path, f"p{n}.png", texture(n))
        rows.append(f"p{n}.png,{52.5005 + 3e-4 * n},13.3745,90,70")
    (tmp_path / "photos.csv").write_text("\n".join(rows) + "\n")
    words = ["gather", "--street", f"folder:{tmp_path / 'photos.csv'}", "--out",
             str(tmp_path / "out")]  # fmt: skip
    assert main(words) == 2
    assert "--imagery" in capsys.readouterr().err
    words += ["--imagery", str(city), *map(str, SMALL)]
    assert main([*words, "--dry-run"]) == 0
    assert "8 of 8 photos" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert main(words) == 0
    assert len(read_pairs(tmp_path / "out")) >= 4
    part = [*words, "--bbox", "13.37,52.5000,13.38,52.5012"]
    assert main(part) == 0
    assert {row["ground"][-6:] for row in read_pairs(tmp_path / "out")} <= {
        "p0.png", "p1.png", "p2.png"
    }  # fmt: skip


def test_imagery_by_address_has_a_licence_of_its_own(panoramax, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CROSSVIEW_CACHE", str(tmp_path / "cache"))
    twin, server = panoramax
    box = "13.3705,52.5003,13.3740,52.5013"
    with serving(XyzService()) as maps:
        given = ("--imagery", maps.address + "/{z}/{x}/{y}.png", *SMALL)
        assert typed(server, tmp_path / "out", *given, "--dry-run", box=box) == 0
        said = capsys.readouterr().out
        assert "tiles of" in said
        assert "pictures are to be fetched" in said
        assert (
            typed(server, tmp_path / "out", *given, "--accept-photo-licence", "other", box=box) == 2
        )
        assert "--accept-licence" in capsys.readouterr().err
        assert maps.asked == []
        assert twin.pictures == {}
        given += ("--accept-licence",)
        assert typed(server, tmp_path / "out", *given, box=box) == 0
        asked = len(maps.asked)
        assert typed(server, tmp_path / "out", *given, box=box) == 0
        assert len(maps.asked) == asked
    assert "unknown" not in {row["ground"] for row in read_pairs(tmp_path / "out")}
    assert len(read_pairs(tmp_path / "out")) >= 3
