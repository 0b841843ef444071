import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from tests.index.regions import indexed, region, vectors_of
from tests.toy_embedder import ToyEmbedder, toy_info

from crossview.cli import main
from crossview.errors import BadModel
from crossview.geo.points import LatLon, move_point
from crossview.imagery.sources import open_sources
from crossview.imagery.windows import Tiling, cut_windows
from crossview.localization import locate as finding
from crossview.outputs.formats import FORMATS
from crossview.views.aerial import make_aerial_view

TOY = ToyEmbedder(toy_info(azimuth_bins=8))
FIRST, SECOND = 40, 3  # windows that the two pictures look like


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index, two panoramas that look exactly like windows of it, their truth, a broken file."""
    folder = tmp_path_factory.mktemp("region with ünïcode [1]")
    source = region(folder)
    index = indexed(folder, embedder=TOY, paths=[source], stride_m=20.0)
    with open_sources([source]) as imagery:
        windows = list(cut_windows(imagery, Tiling(footprint_m=40.0, stride_m=20.0)))
    rows = ["file,lat,lon"]
    for name, number in (("first.png", FIRST), ("second.png", SECOND)):
        window = windows[number]
        view = make_aerial_view(window.pixels, window.metres_per_px, TOY.info.aerial)
        panorama = np.pad(view, ((8, 8), (0, 0), (0, 0)))  # the middle 90 of 180 degrees
        Image.fromarray(panorama).save(folder / name)
        rows.append(f"{name},{window.lat},{window.lon}")
    (folder / "places.csv").write_text("\n".join(rows), encoding="utf-8")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much")
    assert len(vectors_of(index)) == len(windows)
    return index


@pytest.fixture(autouse=True)
def _toy_model(monkeypatch):
    monkeypatch.setattr(finding, "get_index_model", lambda index, **_: TOY)


def run(made, *arguments, names=("first.png",)):
    photos = [str(made.path.parent / name) for name in names]
    return main(["locate", *photos, "--index", str(made.path), *map(str, arguments)])


def records(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_table_shows_the_best_places_and_what_was_assumed(made, capsys):
    assert run(made) == 0
    printed = capsys.readouterr()
    assert f"{made.lat[FIRST]:.6f}" in printed.out
    assert len([line for line in printed.out.splitlines() if "60." in line or "°" in line]) >= 5
    assert printed.err == ""


def test_jsonl_geojson_and_kml_hold_the_same_places(made, capsys):
    found = []
    for name in ("jsonl", "geojson", "kml"):
        assert run(made, "--format", name, "--places", 3) == 0
        found.append(capsys.readouterr().out)
    places = records(found[0])[0]["places"]
    assert [place["rank"] for place in places] == [1, 2, 3]
    assert places[0]["window"] == FIRST
    features = [f["properties"] for f in json.loads(found[1])["features"]]
    told = [facts["score"] for facts in features if facts["role"] == "place"]
    assert told == [place["score"] for place in places]
    pins = ET.fromstring(found[2]).iter("{http://www.opengis.net/kml/2.2}Point")
    assert len(list(pins)) == 3


def test_a_filter_of_8_bits_changes_no_place(made, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = []
    for words in ([], ["--filter"]):
        assert run(made, "--format", "jsonl", *words, names=("first.png", "second.png")) == 0
        found.append([record["places"] for record in records(capsys.readouterr().out)])
    assert [places[0]["window"] for places in found[1]] == [FIRST, SECOND]
    for one, other in zip(*found, strict=True):
        assert [place["window"] for place in one] == [place["window"] for place in other]
        assert [place["score"] for place in one] == pytest.approx([p["score"] for p in other])
    assert len(list(tmp_path.rglob("codes.npy"))) == 1


def claim_of(made, capsys, *options, **photos):
    assert run(made, "--format", "jsonl", *options, **photos) == 0
    printed = capsys.readouterr()
    return [record.get("claim") for record in records(printed.out)], printed.err


def test_a_claimed_place_is_ranked_and_the_table_says_so(made, capsys):
    place = f"{made.lat[FIRST]},{made.lon[FIRST]}"
    ((claim,), _) = claim_of(made, capsys, "--claim", place)
    assert (claim["rank"], claim["windows"], claim["window"]) == (1, made.count, FIRST)
    assert run(made, "--claim", place) == 0
    assert f"ranks 1 of {made.count:,} windows" in capsys.readouterr().out


def test_a_claim_outside_of_the_region_is_an_answer_and_no_error(made, capsys):
    ((claim,), errors) = claim_of(made, capsys, "--claim", "10,10", "--quiet")
    assert (claim["inside"], errors) == (False, "")
    assert "lies outside of this region" in claim["says"]


@pytest.mark.parametrize("claim", ["52.5", "north", "95,0", "1,2,3"])
def test_a_claim_that_is_no_place_is_refused(made, capsys, claim):
    assert run(made, "--claim", claim) == 2
    assert "latitude" in capsys.readouterr().err


def test_the_gps_of_each_file_may_be_the_claim(made, capsys):
    told = Image.Exif()
    lat, lon = float(made.lat[FIRST]), float(made.lon[FIRST])
    told[0x8825] = {1: "N", 2: (lat, 0.0, 0.0), 3: "E", 4: (lon, 0.0, 0.0)}
    folder = made.path.parent
    Image.open(folder / "first.png").save(folder / "told.png", exif=told)
    names = ("told.png", "second.png")
    claims, errors = claim_of(made, capsys, "--claim", "exif", names=names)
    assert (claims[0]["rank"], claims[1]) == (1, None)
    assert "second.png: no usable GPS in the file, so no claim." in errors


def area_file(folder, places):
    ring = [[lon, lat] for lat, lon in [*places, places[0]]]
    path = folder / "area.geojson"
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}), encoding="utf-8")
    return path


def test_only_what_lies_inside_of_an_area_is_searched(made, capsys, tmp_path):
    lat, lon, step = made.lat[SECOND], made.lon[SECOND], 0.0002
    area = area_file(tmp_path, [(lat - step, lon - step), (lat - step, lon + step),
                                (lat + step, lon + step), (lat + step, lon - step)])  # fmt: skip
    assert run(made, "--format", "jsonl", "--area", area, "--audit", tmp_path / "a.jsonl") == 0
    (record,) = records(capsys.readouterr().out)
    windows = {place["window"] for place in record["places"]}
    inside = (np.abs(made.lat - lat) < step) & (np.abs(made.lon - lon) < step)
    assert windows <= set(np.flatnonzero(inside).tolist())
    assert FIRST not in windows
    audited = records((tmp_path / "a.jsonl").read_text())[0]["hints"]["area"]
    assert audited["type"] == "Polygon"


def test_an_area_elsewhere_or_with_latitude_first_is_refused_with_what_to_do(
    made, capsys, tmp_path
):
    assert run(made, "--area", area_file(tmp_path, [(1, 1), (1, 2), (2, 2)])) == 2
    assert "no window of the index lies in the area" in capsys.readouterr().err
    lat, lon = made.lat[0], made.lon[0]
    swapped = [(lon - 1, lat - 1), (lon - 1, lat + 1), (lon + 1, lat + 1), (lon + 1, lat - 1)]
    assert run(made, "--area", area_file(tmp_path, swapped)) == 2
    assert "GeoJSON writes longitude first" in capsys.readouterr().err
    assert run(made, "--area", tmp_path / "absent.geojson") == 1
    assert "cannot be read as an area" in capsys.readouterr().err


def test_the_map_page_may_be_german_and_everything_else_stays_english(made, capsys, tmp_path):
    page = tmp_path / "map.html"
    assert run(made, "--map", page, "--language", "de-AT", "--claim", "10,10") == 0
    written = page.read_text(encoding="utf-8")
    assert "Der behauptete Ort" in written
    assert "The claimed place" not in written
    assert "The claimed place" in capsys.readouterr().out


def test_a_language_that_there_is_not_is_refused_before_any_work(made, capsys, tmp_path):
    assert run(made, "--map", tmp_path / "map.html", "--language", "klingon") == 2
    assert "Unknown language 'klingon'" in capsys.readouterr().err


def test_the_ending_of_out_sets_the_format(made, capsys, tmp_path):
    assert run(made, "--out", tmp_path / "places.geojson") == 0
    assert json.loads((tmp_path / "places.geojson").read_text())["type"] == "FeatureCollection"
    assert capsys.readouterr().out == ""


def test_csv_gpx_and_kmz_are_written_whole_under_their_names(made, capsys, tmp_path):
    for ending, beginning in (("csv", b"photo,rank,"), ("gpx", b"<?xml"), ("kmz", b"PK")):
        out = tmp_path / f"places.{ending}"
        assert run(made, "--out", out) == 0
        assert out.read_bytes().startswith(beginning)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "places.csv", "places.gpx", "places.kmz",
    ]  # fmt: skip
    assert run(made, "--format", "csv") == 0
    assert capsys.readouterr().out.startswith("photo,rank,")


def test_one_bad_photo_is_reported_and_the_rest_are_located(made, capsys):
    names = ("first.png", "broken.jpg", "absent.jpg", "second.png")
    assert run(made, "--format", "jsonl", names=names) == 1
    printed = capsys.readouterr()
    assert [r["places"][0]["window"] for r in records(printed.out)] == [FIRST, SECOND]
    assert "broken.jpg" in printed.err
    assert "absent.jpg: no such file" in printed.err
    assert "Traceback" not in printed.err


def test_a_hint_that_fits_one_photo_only_fails_for_the_other_only(made, capsys):
    Image.new("RGB", (64, 640)).save(made.path.parent / "tall.png")
    names = ("tall.png", "first.png")
    assert run(made, "--horizon-px", 300, "--format", "jsonl", names=names) == 1
    printed = capsys.readouterr()
    assert [r["photo"].endswith("tall.png") for r in records(printed.out)] == [True]
    assert "first.png: a horizon at row 300" in printed.err


def test_truth_adds_errors_and_recall(made, capsys):
    truth = made.path.parent / "places.csv"
    assert run(made, "--truth", truth, names=("first.png", "second.png")) == 0
    printed = capsys.readouterr().out
    assert "2 photos of known truth: first place within 25 m for 100.0%" in printed
    assert "median error 0.0 m" in printed
    assert "R@1 100.0%, R@5 100.0%, R@10 100.0%" in printed
    assert run(made, "--truth", truth, "--format", "jsonl", "--places", 3) == 0
    printed = capsys.readouterr()
    assert len(records(printed.out)[0]["places"]) == 3
    assert "R@10 100.0%" in printed.err
    assert records(printed.out)[0]["error_m"] == pytest.approx(0.0, abs=0.01)


def test_gps_in_a_photo_is_shown_used_as_a_hint_or_as_truth_only_when_asked(made, capsys, tmp_path):
    exif = Image.Exif()
    lat, lon = float(made.lat[SECOND]), float(made.lon[SECOND])
    assert lat > 0 < lon
    exif[0x8825] = {1: "N", 2: (lat, 0.0, 0.0), 3: "E", 4: (lon, 0.0, 0.0)}
    path = tmp_path / "gps.png"
    with Image.open(made.path.parent / "first.png") as picture:
        picture.save(path, exif=exif)
    call = ["locate", str(path), "--index", str(made.path), "--format", "jsonl"]
    assert main(call) == 0
    printed = records(capsys.readouterr().out)[0]
    assert printed["places"][0]["window"] == FIRST
    assert any("not used" in text for text in printed["assumptions"])
    assert "truth" not in printed
    assert main([*call, "--truth", "exif"]) == 0
    assert records(capsys.readouterr().out)[0]["error_m"] > 50
    assert main([*call, "--use-gps-as-hint", "--within", "0.03"]) == 0
    assert records(capsys.readouterr().out)[0]["places"][0]["window"] != FIRST


def test_an_audit_record_per_photo_is_added_to_the_file(made, tmp_path):
    audit = tmp_path / "audit.jsonl"
    for _ in range(2):
        assert run(made, "--audit", audit, names=("first.png", "second.png")) == 0
    written = records(audit.read_text())
    assert [r["places"][0]["window"] for r in written] == [FIRST, SECOND] * 2
    assert {r["model_fingerprint"] for r in written} == {TOY.fingerprint}


def test_a_map_page_is_written(made, tmp_path, capsys):
    page = tmp_path / "map.html"
    assert run(made, "--map", page) == 0
    assert "<html" in page.read_text(encoding="utf-8")
    assert str(page) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--fov", "400"], 2, "(0, 360]"),
        (["--fov", "0"], 2, "(0, 360]"),
        (["--near", "95,0", "--within", "1"], 2, "latitude"),
        (["--near", "12;60", "--within", "1"], 2, "not a place"),
        (["--near", "12,60"], 2, "radius"),
        (["--within", "1"], 2, "centre"),
        (["--near", "-12.25,60.5", "--within", "1"], 2, "km away"),
        (["--heading", "-9999"], 2, "heading"),
        (["--places", "0"], 2, "place"),
        (["--format", "geojsn"], 2, "Did you mean 'geojson'"),
        (["--truth", "absent.csv"], 1, "absent.csv"),
        (["--out", "absent/out.kml"], 1, "no folder"),
        (["--map", "."], 1, "folder"),
        (["--out", "places.xlsx"], 2, ".csv"),
        (["--out", "places"], 2, "no format has the ending"),
        (["--out", "places.csv", "--format", "kml"], 2, "disagree"),
        (["--out", "map.html"], 2, "--map map.html"),
        (["--map", "places.kml"], 2, "--out places.kml"),
        (["--format", "kmz"], 2, "--out places.kmz"),
        (["--out", "a.json", "--audit", "a.json"], 2, "different files"),
        (["--use-gps-as-hint", "--near", "1,2"], 2, "not both"),
        (["--near", "12,60", "--sigma", "0"], 2, "lies in (0, 1000 km]"),
        (["--near", "12,60", "--sigma", "-3"], 2, "lies in (0, 1000 km]"),
        (["--near", "12,60", "--sigma", "nan"], 2, "lies in (0, 1000 km]"),
        (["--near", "12,60", "--sigma", "30"], 2, "outside of the region"),
        (["--sigma", "30"], 2, "--near LAT,LON"),
        (["--prior", "exif"], 2, "only gps is known"),
        (["--prior", "gps", "--near", "12,60", "--sigma", "30"], 2, "not both"),
        (["--together"], 2, "two photos"),
        (["--together", "--turns", "0,90"], 2, "1 photos, but 2 turns"),
        (["--together", "--turns", "left"], 2, "are no turns"),
        (["--turns", "0,90"], 2, "belongs to --together"),
        (["--fvo", "90"], 2, "--fov"),
    ],
)
def test_mistakes_are_explained_before_or_instead_of_work(made, capsys, arguments, code, message):
    assert run(made, *arguments) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert len(printed.err.splitlines()) <= 3


def test_a_heading_may_be_negative(made, capsys):
    assert run(made, "--heading", "-45", "--format", "jsonl") == 0
    headings = [p["heading_deg"] for p in records(capsys.readouterr().out)[0]["places"]]
    assert headings == pytest.approx([315.0] * len(headings), abs=3.0)  # grid north is not north


def test_a_photo_as_index_and_an_index_as_photo_are_refused_with_their_kinds(made, capsys):
    photo = str(made.path.parent / "first.png")
    assert main(["locate", photo, "--index", photo]) == 1
    assert "not an index" in capsys.readouterr().err
    assert main(["locate", str(made.path), "--index", str(made.path)]) == 1
    assert "folder" in capsys.readouterr().err


def test_another_model_is_refused_and_a_missing_one_named(made, capsys, monkeypatch):
    monkeypatch.setattr(finding, "open_model", lambda name, **_: ToyEmbedder(seed=5))
    assert run(made, "--model", "other") == 1
    assert "build the index again" in capsys.readouterr().err
    monkeypatch.undo()
    with pytest.raises(BadModel, match="--model"):
        finding.get_index_model(made)


def test_a_demo_only_index_warns_in_every_format(made, capsys, tmp_path):
    folder = tmp_path
    town = ToyEmbedder(toy_info(azimuth_bins=8, synthetic=True))
    index = indexed(folder, embedder=town, demo_only=True, stride_m=40.0)
    photo = str(made.path.parent / "first.png")
    for name in set(FORMATS) - {"kmz"}:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(finding, "get_index_model", lambda index, **_: town)
            assert main(["locate", photo, "--index", str(index.path), "--format", name]) == 0
        assert "places are not evidence" in capsys.readouterr().out


def test_a_video_and_a_raw_file_are_answered_with_what_to_do_and_the_rest_is_located(made, capsys):
    folder = made.path.parent
    (folder / "film.MOV").write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(5000))
    (folder / "IMG_1.CR2").write_bytes(b"II*\0\x10\0\0\0CR\x02\0" + bytes(5000))
    assert run(made, "--format", "jsonl", names=("film.MOV", "first.png", "IMG_1.CR2")) == 1
    printed = capsys.readouterr()
    assert [record["photo"] for record in records(printed.out)] == [str(folder / "first.png")]
    assert "is a video, not a photo" in printed.err
    assert "-frames:v 1" in printed.err
    assert "Develop it to JPEG first" in printed.err


@pytest.fixture
def album(made, tmp_path):
    """A folder with both pictures, what is no photo, and what the system left there."""
    folder = tmp_path / "album"
    (folder / "below" / "@eaDir").mkdir(parents=True)
    for name, source in (
        ("a.png", "first.png"), ("below/b.PNG", "second.png"), ("._a.png", "broken.jpg"),
        ("below/@eaDir/b.png", "broken.jpg"),
    ):  # fmt: skip
        (folder / name).write_bytes((made.path.parent / source).read_bytes())
    (folder / "notes.txt").write_text("on the way")
    (folder / "film.mov").write_bytes(b"\0")
    return folder


def test_a_folder_stands_for_the_photos_below_it(made, album, capsys):
    call = ["locate", str(album), "--index", str(made.path), "--format", "jsonl"]
    assert main(call) == 0
    printed = capsys.readouterr()
    assert [r["places"][0]["window"] for r in records(printed.out)] == [FIRST, SECOND]
    assert [r["photo"] for r in records(printed.out)] == [
        str(album / "a.png"), str(album / "below" / "b.PNG"),
    ]  # fmt: skip
    assert f"Left out as videos or raw files below {album}: 1." in printed.err
    assert f"Left out, not photos, below {album}: 1." in printed.err
    assert main([*call, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_files_and_folders_may_be_mixed_and_a_folder_without_photos_is_an_error(
    made, album, capsys, tmp_path
):
    empty = tmp_path / "empty"
    empty.mkdir()
    named = [str(album / "a.png"), str(empty), str(album)]
    assert main(["locate", *named, "--index", str(made.path), "--format", "jsonl"]) == 1
    printed = capsys.readouterr()
    assert [r["places"][0]["window"] for r in records(printed.out)] == [FIRST, SECOND]
    assert f"{empty}: no photos in this folder" in printed.err
    assert main(["locate", str(empty), "--index", str(made.path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{empty}: no photos in this folder" in printed.err
    assert len(printed.err.splitlines()) <= 3


def test_a_broken_photo_in_a_folder_is_reported_and_the_rest_are_located(made, album, capsys):
    (album / "c.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much")
    assert main(["locate", str(album), "--index", str(made.path), "--format", "jsonl"]) == 1
    printed = capsys.readouterr()
    assert len(records(printed.out)) == 2
    assert "c.jpg" in printed.err


def test_a_direction_in_a_file_is_used_unless_it_is_to_be_ignored(made, capsys, tmp_path):
    exif = Image.Exif()
    exif[0x8825] = {16: "T", 17: 180.0}
    path = tmp_path / "north.png"
    with Image.open(made.path.parent / "first.png") as picture:
        picture.save(path, exif=exif)
    call = ["locate", str(path), "--index", str(made.path), "--format", "jsonl"]
    printed = {}
    for more in ((), ("--ignore-direction",), ("--heading", "0")):
        assert main([*call, *more]) == 0
        printed[more] = records(capsys.readouterr().out)[0]
    used, ignored, given = printed.values()
    assert used["heading_source"] == "GPSImgDirection"
    assert {round(place["heading_deg"] / 45) % 8 for place in used["places"]} <= {3, 4, 5}
    assert any("180 degrees from true north) used" in text for text in used["assumptions"])
    assert "heading_source" not in ignored
    assert (ignored["places"][0]["window"], given["places"][0]["window"]) == (FIRST, FIRST)
    assert any("ignored, as asked" in text for text in ignored["assumptions"])
    assert given["heading_source"] == "given"
    assert any("tells another direction" in text for text in given["assumptions"])
    assert main(["locate", str(path), "--index", str(made.path), "--format", "csv"]) == 0
    assert ",GPSImgDirection," in capsys.readouterr().out


def test_verbose_tells_what_was_opened_and_how_long_it_took(made, capsys):
    assert run(made, "--format", "jsonl", "--verbose") == 0
    said = capsys.readouterr().err
    assert "crossview.index: Opened Index(" in said
    assert "crossview.localization: 1 of 1 photos located" in said


def test_a_prior_weighs_places_and_says_how_far_the_photo_moved_it(made, capsys):
    first, second = (LatLon(float(made.lat[n]), float(made.lon[n])) for n in (FIRST, SECOND))
    near = move_point(first, east_m=3.0, north_m=0.0)
    call = ["--near", str(near), "--sigma", 20, "--format", "jsonl"]
    assert run(made, *call) == 0
    answer = records(capsys.readouterr().out)[0]
    assert answer["places"][0]["window"] == FIRST
    assert answer["prior"]["sigma_m"] == 20.0
    assert answer["prior"]["first_moved_m"] < 10.0
    assert answer["prior"]["holds"] > 0.9
    assert f"prior given: {near}, taken as good to 20 m" in answer["assumptions"]
    far = ["--near", str(second), "--sigma", 5, "--format", "jsonl"]
    assert run(made, *far) == 0  # a clear picture is stronger than a wrong prior
    contradicted = records(capsys.readouterr().out)[0]
    assert contradicted["places"][0]["window"] == FIRST
    assert contradicted["prior"]["holds"] < 0.1


@pytest.mark.parametrize(("tags", "sigma_m"), [({}, 30.0), ({31: 12.5}, 12.5)])
def test_gps_in_the_file_is_a_prior_when_asked_for(made, capsys, tmp_path, tags, sigma_m):
    photo = tmp_path / "gps.png"
    exif = Image.Exif()
    lat, lon = float(made.lat[FIRST]), float(made.lon[FIRST])
    exif[0x8825] = {1: "N", 2: (lat, 0.0, 0.0), 3: "E", 4: (lon, 0.0, 0.0), **tags}
    with Image.open(made.path.parent / "first.png") as picture:
        picture.save(photo, exif=exif)
    call = ["locate", str(photo), "--index", str(made.path), "--format", "jsonl", "--prior", "gps"]
    assert main(call) == 0
    answer = records(capsys.readouterr().out)[0]
    assert (answer["prior"]["source"], answer["prior"]["sigma_m"]) == ("file", sigma_m)
    said = "as the file says" if tags else "which the file does not say"
    assert any(f"good to {sigma_m:g} m, {said}" in text for text in answer["assumptions"])
    assert run(made, "--prior", "gps", "--format", "jsonl") == 0  # a file without GPS
    answer = records(capsys.readouterr().out)[0]
    assert "prior" not in answer
    assert any("no prior" in text for text in answer["assumptions"])


def test_photos_of_one_spot_have_one_answer(made, capsys, tmp_path):
    names = ("first.png", "first.png", "second.png")
    photos = [str(made.path.parent / name) for name in names]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    page = tmp_path / "map.html"
    call = ["locate", *photos[:2], str(broken), photos[2], "--index", str(made.path)]
    options = ["--together", "--turns", "0,0,90,0", "--format", "jsonl", "--map", str(page)]
    assert main([*call, *options]) == 1  # one of them cannot be read
    captured = capsys.readouterr()
    assert "broken.jpg" in captured.err
    (answer,) = records(captured.out)
    assert answer["places"][0]["window"] == FIRST
    told = answer["together"]
    assert [photo["sha256"] == answer["sha256"] for photo in told] == [True, True, False]
    assert [photo["foreign"] > 0.5 for photo in told] == [False, False, True]
    assert page.is_file()
