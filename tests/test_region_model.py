"""A region in one command: divided, gone on with, done again where it changed, told in words."""

# ruff: noqa: F811 - fixtures of another file
from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.imagery.map_services import BOX, XyzService
from tests.street.service_twins import PanoramaxTwin
from tests.street.test_gathering import some
from tests.test_adaptation import base, small, write_photo_from_above  # noqa: F401 - fixtures
from tests.web_server import serving

from crossview import region_model
from crossview.cli import main
from crossview.errors import BadData, InUse, InvalidValue, UnknownName, UsageError
from crossview.geo.points import LatLon, measure_distance_m
from crossview.imagery.sources import SourceOptions, open_sources
from crossview.imagery.windows import Tiling, cut_windows
from crossview.index.index_options import IndexOptions
from crossview.index.store import Index
from crossview.locks import lock
from crossview.model import read_info
from crossview.region_model import (
    STEPS,
    RegionOptions,
    choose_kept_share,
    divide_photos,
    make_region,
    plan_region,
)
from crossview.views.aerial import make_aerial_view

GAP_M = 104.0

pytestmark = pytest.mark.usefixtures("preloaded_workers")


def scatter(count, side_m=1000.0, seed=0):
    """Places [count, 2] in a square, latitude and longitude."""
    rng = np.random.default_rng(seed)
    metre = 1.0 / 111_195.0
    return (
        50.0 + rng.uniform(0, side_m, count) * metre,
        8.0 + rng.uniform(0, side_m, count) * metre / np.cos(np.radians(50.0)),
    )


def measure_gap(lat, lon, first, second):
    """The shortest way between two groups of photos, by a slow loop."""
    return min(
        measure_distance_m(LatLon(lat[i], lon[i]), LatLon(lat[j], lon[j]))
        for i in np.flatnonzero(first)
        for j in np.flatnonzero(second)
    )


def test_three_areas_lie_apart_by_the_ground_of_a_window():
    lat, lon = scatter(400)
    parts = divide_photos(lat, lon, float(np.median(lat)), gap_m=GAP_M)
    areas = parts.adapting, parts.calibrating, parts.testing
    assert all(area.sum() >= 25 for area in areas)
    assert (sum(area.astype(int) for area in areas) <= 1).all()
    assert parts.in_gap == 400 - sum(area.sum() for area in areas)
    for n, first in enumerate(areas):
        for second in areas[n + 1 :]:
            assert measure_gap(lat, lon, first, second) >= GAP_M - 0.1
    assert lat[parts.adapting].min() > lat[parts.calibrating | parts.testing].max()


def test_few_photos_are_all_for_the_test():
    lat, lon = scatter(60)
    parts = divide_photos(lat, lon, float(np.median(lat)), gap_m=GAP_M)
    assert not parts.calibrating.any()
    assert 10 < parts.testing.sum() < 30
    nothing = divide_photos(np.empty(0), np.empty(0), 50.0, gap_m=GAP_M)
    assert nothing.in_gap == 0


def test_without_training_all_photos_calibrate_and_test():
    lat, lon = scatter(120)
    parts = divide_photos(lat, lon, float("nan"), gap_m=GAP_M, trained=False)
    assert not parts.adapting.any()
    assert parts.calibrating.sum() >= 25
    assert parts.testing.sum() >= 25


@pytest.mark.parametrize(("lat", "share"), [([], 0.3), ([50.1], 0.3), ([50.4], 0.4), ([50.9], 0.5)])
def test_about_half_of_the_photos_are_kept_apart_within_limits(lat, share):
    assert choose_kept_share(np.array(lat), 50.0, 51.0) == pytest.approx(share)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Imagery, and pairs of it whose panoramas look like the windows around them."""
    folder = tmp_path_factory.mktemp("place")
    write_photo_from_above(folder / "city.tif", 500)
    return folder


@pytest.fixture(scope="module")
def pairs(place, base):
    info, rng = read_info(base), np.random.default_rng(0)
    rows = [
        ("ground", "aerial", "ground_lat", "ground_lon", "metres_per_px", "heading_deg", "kind")
    ]
    with open_sources([place / "city.tif"]) as imagery:
        for window in cut_windows(imagery, Tiling(footprint_m=GAP_M, stride_m=26.0)):
            name = f"{window.number:04d}.png"
            view = make_aerial_view(window.pixels, window.metres_per_px, info.aerial)
            ground = rng.integers(0, 255, (view.shape[0], 2 * view.shape[0], 3), dtype=np.uint8)
            Image.fromarray(window.pixels[::4, ::4].copy()).save(place / f"a{name}")
            Image.fromarray(ground).save(place / f"g{name}")
            rows.append(
                (f"g{name}", f"a{name}", window.lat, window.lon, 4 * window.metres_per_px,
                 float(rng.uniform(0, 360)), "panorama")
            )  # fmt: skip
    with (place / "pairs.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    (place / "pairs.json").write_text(json.dumps({"licence": "CC BY-SA 4.0, (c) A. Walker"}))
    return place / "pairs.csv"


def options(place, base, out, **more):
    return RegionOptions(
        out=out,
        sources=(place / "city.tif",),
        model=str(base),
        index_options=IndexOptions(demo_only=True, stride_m=40.0),
        workers=1,
        **more,
    )


def quiet(*_):
    pass


class Killed(BaseException):
    """A kill, as far as a test can tell."""


def read_times(out):
    return {name: json.loads((out / "steps" / f"{name}.json").read_text())["created"]
            for name in STEPS}  # fmt: skip


def test_a_region_is_made_killed_gone_on_with_and_not_repeated(
    place,
    pairs,
    base,
    small,
    tmp_path,
    monkeypatch,
):
    asked = options(place, base, tmp_path / "mine", street=f"pairs:{pairs}")
    plan = plan_region(asked, quiet)
    assert plan.seconds > 0.0
    assert not any(step.done for step in plan.steps)
    assert list(tmp_path.iterdir()) == []
    for job in ("train", "index"):

        def kill(name, *_, job=job):
            if name.startswith(job):
                raise Killed

        with pytest.raises(Killed):
            make_region(asked, kill, quiet)
        assert not (asked.out / "report.html").exists()
    report = make_region(asked, quiet, quiet)
    steps = report["steps"]
    assert steps["model"]["why"] == ""
    assert (asked.out / "model" / "adaptation.json").is_file()
    counts = steps["division"]
    assert counts["adapting"] >= 64
    assert counts["testing"] > 0
    adapted = json.loads((asked.out / "model" / "adaptation.json").read_text())
    assert adapted["region"]["kept_km2"] > 0.0
    (kind,) = steps["test"]["kinds"]
    assert kind["name"] == "panoramas"
    assert set(kind["conditions"]) == {"heading unknown", "heading known"}
    page = (asked.out / "report.html").read_text()
    assert "How well it works here" in page
    assert "CC BY-SA 4.0, (c) A. Walker" in page
    assert "CC BY-SA 4.0, (c) A. Walker" in (asked.out / "ATTRIBUTION.md").read_text()
    assert not list(asked.out.glob("before.cvx*"))
    assert not list(asked.out.glob("*.adapting"))
    Index.open(asked.out / "region.cvx").verify()

    files = {path: path.stat().st_mtime_ns for path in asked.out.rglob("*") if path.is_file()}
    assert make_region(asked, Killed, quiet) == report  # no job is begun
    after = {path: path.stat().st_mtime_ns for path in asked.out.rglob("*") if path.is_file()}
    assert after == files
    assert all(s.done for s in plan_region(asked, quiet).steps)

    model = (asked.out / "steps" / "model.json").read_bytes()
    finer = replace(asked, index_options=IndexOptions(demo_only=True, stride_m=30.0))
    again = make_region(finer, quiet, quiet)
    assert again["steps"]["index"]["windows"] > steps["index"]["windows"]
    assert (asked.out / "steps" / "model.json").read_bytes() == model


def test_without_torch_and_with_enough_photos_it_calibrates_and_tests(
    place,
    pairs,
    base,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setattr(region_model, "_has_torch", lambda: False)
    asked = options(place, base, tmp_path / "mine", street=f"pairs:{pairs}", language="de")
    report = make_region(asked, quiet, quiet)
    steps = report["steps"]
    assert "PyTorch is not installed" in steps["model"]["why"]
    assert not (asked.out / "model").exists()
    ((kind, n),) = steps["calibration"]["kinds"]
    assert kind == "panoramas"
    assert n == steps["division"]["calibrating"] >= 25
    (tested,) = steps["test"]["calibration"]
    assert tested["n"] == steps["division"]["testing"]
    assert 0.0 <= tested["sets"][0]["coverage"]["value"] <= 1.0
    assert Index.open(asked.out / "region.cvx").manifest.calibration is not None
    assert any("PyTorch installieren" in text for text in report["says"]["next"])


def test_photos_of_a_folder_are_paired_and_their_list_may_tell_where_they_are(
    place, pairs, base, tmp_path
):
    with pairs.open(newline="") as stream:
        listed = [(r["ground"], r["ground_lat"], r["ground_lon"], 360) for r in
                  csv.DictReader(stream)]  # fmt: skip
    with (place / "photos.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "lat", "lon", "fov_deg"), *listed])
    street = f"folder:{place / 'photos.csv'}"
    asked = options(place, base, tmp_path / "mine", street=street, training=False, most=100)
    assert any("photos that know their place" in s.what for s in plan_region(asked, quiet).steps)
    steps = make_region(asked, quiet, quiet)["steps"]
    counts = steps["division"]
    used = counts["calibrating"] + counts["testing"] + counts["in_gap"]
    assert 50 < used <= 100
    assert (asked.out / "street" / "pairs" / "sheet.png").is_file()
    assert set(steps["test"]["kinds"][0]["conditions"]) == {"heading unknown"}


def test_old_photos_are_left_out_if_asked(place, pairs, base, tmp_path):
    with pairs.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    listed = [
        (r["ground"], r["ground_lat"], r["ground_lon"], 360, f"{2010 + n % 2 * 10}-07-01T12:00Z")
        for n, r in enumerate(rows)
    ]
    with (place / "dated.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "lat", "lon", "fov_deg", "captured"), *listed])
    more = {"street": f"folder:{place / 'dated.csv'}", "training": False, "max_age_years": 2.0}
    with pytest.raises(InvalidValue, match="--date"):
        plan_region(options(place, base, tmp_path / "mine", **more), quiet)
    dated = options(
        place, base, tmp_path / "mine", source_options=SourceOptions(date="2021"), **more
    )
    steps = make_region(dated, quiet, quiet)["steps"]
    assert steps["street"]["left_out"]["age"] == len(rows) - len(rows) // 2
    with pytest.raises(UsageError, match="--max-age"):
        options(place, base, tmp_path / "other", max_age_years=2.0)


def test_without_street_photos_it_says_that_nobody_knows(
    place,
    base,
    tmp_path,
    monkeypatch,
):
    asked = options(place, base, tmp_path / "mine", training=False)
    report = make_region(asked, quiet, quiet)
    assert report["says"]["works"] == [
        "Not measured: there were no photos of known place to test on. What this model finds here "
        "is a lead, and nobody knows how often it is right."
    ]
    assert any("--no-training" in text for text in report["says"]["helps"])
    assert (asked.out / "map.html").is_file()
    assert not (asked.out / "testing.csv").exists()


def test_what_is_there_and_not_a_region_is_left_alone(place, base, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("dear")
    asked = options(place, base, out)
    for act in (lambda: plan_region(asked, quiet), lambda: make_region(asked, quiet, quiet)):
        with pytest.raises(UsageError, match="not made by crossview region"):
            act()
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_two_at_once_are_one_too_many(place, base, tmp_path):
    asked = options(place, base, tmp_path / "mine", training=False)
    import threading

    problems = []

    def attempt():
        try:
            make_region(asked, quiet, quiet)
        except InUse as problem:
            problems.append(str(problem))

    with lock(asked.out, "crossview region", make_parents=True):
        other = threading.Thread(target=attempt)
        other.start()
        other.join()
    assert "is being written by another process: crossview region" in problems[0]


def test_what_cannot_be_is_said(place, base, tmp_path):
    with pytest.raises(InvalidValue, match="--most must lie in"):
        options(place, base, tmp_path / "mine", most=0)
    with pytest.raises(BadData, match="No table of pairs"):
        plan_region(options(place, base, tmp_path / "m", street="pairs:none.csv"), quiet)
    with pytest.raises(UnknownName, match="skyview"):
        plan_region(options(place, base, tmp_path / "m", street="skyview"), quiet)


def test_the_command_prints_its_plan_and_asks_before_it_goes_on(
    place,
    base,
    tmp_path,
    capsys,
    monkeypatch,
):
    out = tmp_path / "mine"
    command = ["region", "--imagery", str(place / "city.tif"), "--model", str(base), "--demo-only",
               "--stride", "60", "--no-training", "--out", str(out)]  # fmt: skip
    assert main([*command, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"index: index \d+ windows, every 60 m", said)
    assert "Without street photos nothing is calibrated" in said
    assert "Licence of the imagery: not stated" in said
    assert not out.exists()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(command) == 2
    assert "Add --yes" in capsys.readouterr().err
    assert not out.exists()
    assert main([*command, "--yes", "--quiet"]) == 0
    assert "nobody knows" in capsys.readouterr().out


def test_imagery_by_address_is_told_with_the_photos_and_wants_its_own_yes(
    base, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("CROSSVIEW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    out = tmp_path / "mine"
    twin = PanoramaxTwin(some(12))
    with serving(XyzService()) as maps, serving(twin) as photos:
        twin.address = photos.address
        command = ["region", "--imagery", maps.address + "/{z}/{x}/{y}.png", "--bbox", BOX,
                   "--street", f"panoramax:{photos.address}", "--model", str(base), "--demo-only",
                   "--stride", "60", "--no-training", "--out", str(out)]  # fmt: skip
        assert main([*command, "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert re.search(r"\d+ tiles of", said)
        assert "licence unknown" in said
        assert re.search(r"street: fetch \d+ of \d+ photos", said)
        assert "CC-BY-SA-4.0" in said
        assert main(command) == 2
        assert "Add --yes" in capsys.readouterr().err
        assert main([*command, "--yes", "--accept-photo-licence", "other"]) == 2
        assert "--accept-licence" in capsys.readouterr().err
        assert maps.asked == []
        assert twin.pictures == {}
        assert not out.exists()
        command += ["--yes", "--accept-licence", "--quiet"]
        assert main(command) == 0
        asked = len(maps.asked)
        assert asked > 0
        assert set(twin.pictures.values()) == {1}
        assert main(command) == 0
        assert len(maps.asked) == asked
        assert set(twin.pictures.values()) == {1}
    assert (out / "report.html").is_file()
