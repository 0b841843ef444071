"""A model of one's own region: how it is divided, judged, stopped, gone on with, and refused."""

from __future__ import annotations

import json
import re
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from crossview import adaptation, catalogue
from crossview.adaptation import (
    BOTH,
    GIVEN,
    RENEWED,
    TUNED,
    AdaptOptions,
    Measured,
    QueryHits,
    adapt,
    choose_better,
    estimate,
    judge_scores,
)
from crossview.cli import main
from crossview.errors import (
    BadIndex,
    BadModel,
    CannotWrite,
    EmptyRegion,
    InvalidValue,
    TooCoarse,
    UsageError,
)
from crossview.imagery.provenance import SourceOptions
from crossview.index.build import build_index, open_job
from crossview.index.index_options import IndexOptions
from crossview.model import Model, open_model
from crossview.worlds.town_pairs import TownPlan

SMALL = {
    "height_px": 16, "width_px": 64, "widths": (4, 8, 8), "blocks": (0, 0, 0), "depth": 4,
    "batch": 8, "apart_m": 5.0,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("preloaded_workers")


def test_hits_are_what_a_slow_loop_finds():
    rng = np.random.default_rng(0)
    scores = np.round(rng.random((20, 15)), 1)  # with ties
    right = rng.random((20, 15)) < 0.1
    right[:, 0] = True
    away_m = rng.random((20, 15)) * 60.0
    hits = judge_scores(scores, right, away_m)
    for q in range(20):
        best = max(scores[q, r] for r in range(15) if right[q, r])
        wrong = [scores[q, r] for r in range(15) if not right[q, r]]
        assert hits.first[q] == all(score < best for score in wrong)
        assert hits.percentile[q] == pytest.approx(
            sum(score >= best for score in wrong) / len(wrong)
        )
        assert hits.near[q] == (away_m[q, list(scores[q]).index(max(scores[q]))] <= 25.0)


def measured(hits):
    hits = np.asarray(hits, dtype=bool)
    one = QueryHits(first=hits, near=hits, percentile=1.0 - hits)
    return Measured(hits={"asked": one}, spots=np.arange(len(hits)), references=len(hits))


def test_the_best_of_what_is_surely_better_is_kept():
    given = np.arange(100) % 4 == 0
    better, best = given | (np.arange(100) % 4 == 1), np.ones(100)
    found = {GIVEN: measured(given), RENEWED: measured(better), TUNED: measured(best)}
    choice = choose_better(found, "worlds")
    assert choice.kept == TUNED
    assert choice.comparisons[RENEWED].difference == pytest.approx(0.25)
    assert choice.comparisons[RENEWED].low > 0.1


def test_what_may_be_chance_or_is_worse_is_not_kept():
    given = np.arange(100) % 4 == 0
    hardly, worse = given.copy(), np.zeros(100)
    hardly[1] = True
    found = {GIVEN: measured(given), RENEWED: measured(hardly), TUNED: measured(worse)}
    choice = choose_better(found, "worlds")
    assert choice.kept == GIVEN
    assert choice.comparisons[TUNED].difference == pytest.approx(-0.25)


def test_what_was_measured_survives_its_file():
    before = measured(np.arange(10) % 3 == 0)
    after = Measured.from_json(json.loads(json.dumps(before.to_json())))
    assert after.summarise() == before.summarise()
    assert after.compute_scores().tolist() == before.compute_scores().tolist()


EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "adapt.py"


def write_photo_from_above(path, side_m=400, metres_per_px=0.5, *, grey=False):
    """A GeoTIFF of fields, roads and roofs that worlds can be drawn on."""
    rng = np.random.default_rng(4)
    side = round(side_m / metres_per_px)
    picture = np.full((side, side, 3), (90, 125, 70), np.int16)
    for at in range(40, side, 110):
        picture[at : at + 14] = picture[:, at : at + 14] = (125, 125, 128)
    for _ in range(60):
        row, column = rng.integers(0, side - 40, 2)
        picture[row : row + 24, column : column + 30] = rng.integers(70, 200, 3)
    picture += rng.integers(-12, 12, picture.shape)
    if grey:
        picture[:] = picture.mean(axis=2, keepdims=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8",
        crs="EPSG:32633", transform=from_origin(500_000, 5_540_000, metres_per_px, metres_per_px),
    ) as raster:  # fmt: skip
        raster.write(np.clip(picture, 0, 255).astype(np.uint8).transpose(2, 0, 1))
    return path


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    return write_photo_from_above(tmp_path_factory.mktemp("imagery") / "city.tif")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model folder of a small network that has learned nothing."""
    import torch

    from crossview.training.export import export
    from crossview.training.run_folder import RunFolder
    from crossview.training.train_state import save_weights

    page = catalogue.method_page("compass").load()
    config = catalogue.make_config(page, SMALL)
    torch.manual_seed(2)
    run = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    run.begin({"method": "compass"}, {"training_data": "nothing", "synthetic": True})
    save_weights(page.build(config).state_dict(), run.weights)
    return export(run, page, config, tmp_path_factory.mktemp("models") / "base").folder


@pytest.fixture
def small(monkeypatch):
    """Few pairs, one town, few steps: seconds instead of minutes."""
    town = TownPlan(
        styles=("suburb",), towns_per_style=1, pairs_per_town=12, validation_pairs_per_style=0,
        side_m=300.0,
    )  # fmt: skip
    monkeypatch.setattr(adaptation, "TOWNS", town)
    monkeypatch.setattr(adaptation, "PAIRS_PER_HA", (4.0, 4.0))
    monkeypatch.setattr(adaptation, "LEAST_QUERIES", 8)
    monkeypatch.setattr(adaptation, "MOST_STEPS", 12)
    monkeypatch.setattr(adaptation, "_EXPORT_S", 0.0)
    monkeypatch.setattr(adaptation, "CANDIDATES", (GIVEN, BOTH))
    monkeypatch.setattr(adaptation, "time_network", lambda base: (0.1, 0.001))


def options(region, base, out, **more):
    return AdaptOptions(sources=(region,), out=out, model=str(base), workers=1, **more)


class Killed(BaseException):
    """A kill, as far as a test can tell."""


def kill_at(job, done=0):
    def progress(name, at, _total):
        if name.startswith(job) and at >= done:
            raise Killed

    return progress


def quiet(*_):
    pass


def test_a_killed_run_goes_on_and_a_finished_one_is_not_repeated(
    region, base, small, tmp_path, capsys
):
    """Killed while it draws, measures, trains and exports; what is done is not done again."""
    asked = options(region, base, tmp_path / "my-model")
    work = tmp_path / "my-model.adapting"
    both = f"export: {BOTH}"
    for job, done in (("draw towns", 0), ("measure: worlds-as given", 0), ("train", 5), (both, 1)):
        with pytest.raises(Killed):
            adapt(asked, kill_at(job, done), quiet)
        assert not asked.out.exists()
    with pytest.raises(UsageError, match="begun with another minutes, seed"):
        adapt(replace(asked, seed=3, minutes=50.0), quiet, quiet)
    pairs = (work / "worlds" / "pairs.csv").stat().st_mtime_ns
    plan = (work / "plan.json").read_bytes()
    seen = []

    def watch(name, *_):
        if not seen:
            assert (work / "worlds" / "pairs.csv").stat().st_mtime_ns == pairs
            assert (work / "plan.json").read_bytes() == plan
        seen.append(name)

    finish = runpy.run_path(str(EXAMPLE))["main"]  # as the documents show it
    finish.__globals__["show"] = watch
    outcome = finish(region, asked.out, str(base))
    assert re.search(r"^kept: .* judged by worlds$", capsys.readouterr().out, re.MULTILINE)
    assert not [name for name in seen if name.startswith(("draw", "train"))]
    assert set(outcome.figures["worlds"]) == {GIVEN, BOTH}
    assert not work.exists()
    made = {path.name: path.read_bytes() for path in asked.out.iterdir()}
    again = adapt(asked, quiet, quiet)
    assert again.was_there
    assert replace(again, was_there=False).figures == json.loads(json.dumps(outcome.figures))
    assert {path.name: path.read_bytes() for path in asked.out.iterdir()} == made
    _check_model(asked.out, base, outcome)
    _check_other_commands(asked)


def _check_model(folder, base, outcome):
    """A model as any other, which says what it was made from."""
    model, before = Model(folder), open_model(base)
    record = json.loads((folder / "adaptation.json").read_text())
    assert record["base"] == {"model": before.info.name, "fingerprint": before.fingerprint}
    assert record["region"]["sources"] == ["city.tif"]
    assert record["kept"] == outcome.kept
    assert "crossview adapt" in model.info.notes
    assert model.info.name == folder.name
    assert 0.0 < record["region"]["kept_km2"] < record["region"]["trained_km2"]
    adaptation.open_base(str(folder))  # can be adapted again


def _check_other_commands(asked):
    with pytest.raises(UsageError, match="adapted from other imagery"):
        adapt(replace(asked, seed=7), quiet, quiet)


def test_what_is_there_and_not_ours_is_left_alone(region, base, small, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("dear")
    with pytest.raises(UsageError, match="not made by crossview adapt"):
        adapt(options(region, base, out), quiet, quiet)
    assert (out / "thesis.txt").read_text() == "dear"
    work = tmp_path / "other.adapting"
    work.mkdir()
    (work / "thesis.txt").write_text("dear")
    with pytest.raises(UsageError, match="is in the way"):
        adapt(options(region, base, tmp_path / "other"), quiet, quiet)


def test_a_dry_run_writes_nothing(region, base, small, tmp_path, capsys):
    command = [
        "adapt",
        str(region),
        "--model",
        str(base),
        "--out",
        str(tmp_path / "m"),
        "--dry-run",
    ]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "km2 kept apart" in said
    assert "12 steps" in said
    assert list(tmp_path.iterdir()) == []


def test_an_index_stands_for_its_imagery_as_long_as_that_is_there(region, base, small, tmp_path):
    imagery = shutil.copy(region, tmp_path / "city.tif")
    allowed = IndexOptions(demo_only=True, stride_m=100.0)
    with open_job([imagery], str(base), allowed, SourceOptions()) as job:
        build_index(job.imagery, job.embedder, tmp_path / "region.cvx", options=job.options)
    asked = options(tmp_path / "region.cvx", base, tmp_path / "out")
    survey, _ = estimate(asked)
    assert survey.area_km2 == pytest.approx(0.16, rel=0.2)
    Path(imagery).unlink()
    with pytest.raises(BadIndex, match="city.tif, which is not there any more"):
        estimate(asked)


def test_imagery_that_worlds_cannot_be_drawn_from_is_refused(base, small, tmp_path):
    out = tmp_path / "out"
    for name, problem, facts in (
        ("coarse.tif", TooCoarse, {"metres_per_px": 1.25}),
        ("tiny.tif", EmptyRegion, {"side_m": 200}),
        ("point.tif", EmptyRegion, {"side_m": 60}),
    ):
        path = write_photo_from_above(tmp_path / name, **facts)
        with pytest.raises(problem):
            adapt(options(path, base, out), quiet, quiet)
        assert not list(tmp_path.glob("out*"))


def test_too_little_time_and_too_small_a_disk_are_said_at_once(
    region, base, small, tmp_path, monkeypatch
):
    asked = options(region, base, tmp_path / "out")
    monkeypatch.setattr(adaptation, "time_network", lambda base: (1000.0, 0.001))
    with pytest.raises(InvalidValue, match=r"too short: .* take about \d+ minutes"):
        adapt(asked, quiet, quiet)
    monkeypatch.setattr(adaptation, "time_network", lambda base: (0.1, 0.001))
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(CannotWrite, match=r"need about 0\.\d+ GB, and 0\.00 GB are free"):
        adapt(asked, quiet, quiet)
    for minutes in (-1.0, 1.0, 1e5, float("nan")):
        with pytest.raises(InvalidValue, match=r"minutes must lie in \[5, 10000\]"):
            replace(asked, minutes=minutes)


def test_a_network_of_another_origin_cannot_be_adapted(region, base, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(base, other)
    origin = json.loads((other / "training.json").read_text())
    (other / "training.json").write_text(json.dumps({**origin, "method": "mine.py"}))
    with pytest.raises(BadModel, match=r"trained by mine\.py"):
        adapt(options(region, other, tmp_path / "out"), quiet, quiet)
    (other / "training.json").unlink()
    with pytest.raises(BadModel, match=r"no training\.json"):
        adapt(options(region, other, tmp_path / "out"), quiet, quiet)


def test_known_photos_are_read_with_what_the_list_says_of_them(tmp_path):
    path = tmp_path / "places.csv"
    path.write_text("file,lat,lon,heading_deg,fov_deg\na.jpg,50,15,90,\nb.jpg,50.001,15,,70\n")
    photos = adaptation.read_known_photos(path)
    assert [photo.name for photo in photos.paths] == ["a.jpg", "b.jpg"]
    assert photos.places[1].lat == 50.001
    assert np.isnan(photos.heading_deg[1])
    assert photos.heading_deg[0] == 90.0
    assert np.isnan(photos.fov_deg[0])
    assert photos.fov_deg[1] == 70.0
