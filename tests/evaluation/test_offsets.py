"""Where a model's offsets put queries within their references, in metres."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.methods.test_vigor_offset import SMALL
from tests.tiny_tiles import write_tiles

from crossview.assessment import AssessmentOptions, open_assessment
from crossview.datasets.pair_lists import load
from crossview.errors import BadModel
from crossview.evaluation.evaluation_record import Evaluation
from crossview.evaluation.metrics import OFFSET_RADII_M, AerialViews, RegressedPlaces
from crossview.geo.points import LatLon, measure_distance_m
from crossview.methods import vigor_offset as page
from crossview.model import OFFSET_NAME, check_folder, open_model
from crossview.training.export import export, reopen
from crossview.training.run_folder import RunFolder
from crossview.training.train_state import save_weights

OFFSET = (0.5, -0.25)  # halves down and right: 15 m and -7.5 m of a tile of 60 m


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder of a network of random weights, whose head always says OFFSET."""
    config = page.Config(**SMALL)
    torch.manual_seed(1)
    model = page.build(config)
    torch.nn.init.zeros_(model.offset.outer.weight)
    model.offset.outer.bias.data = torch.tensor(OFFSET)
    folder = tmp_path_factory.mktemp("offsets")
    run = RunFolder(folder / "run")
    settings = {**SMALL, "ground_px": [32, 64], "aerial_px": [32, 32]}
    run.begin(
        {"method": "vigor-offset", "config": settings, "data": "pairs:p"}, {"synthetic": True}
    )
    save_weights(model.state_dict(), run.weights)
    return run, config, write_tiles(folder / "data", splits=("train", "test"))


def evaluate(model, pairs):
    options = AssessmentOptions(data=f"pairs:{pairs}", workers=0, device="cpu")
    opened = open_assessment(options, model, note=print, warn=print)
    ((_, record),) = opened.measure(lambda title, done, total: None)
    return record


def move_slowly(middle, down_m, right_m):
    """North up: degrees of latitude and longitude from metres."""
    per_deg = math.radians(1.0) * 6_371_008.8
    lat = middle[0] - down_m / per_deg
    return lat, middle[1] + right_m / (per_deg * math.cos(math.radians(middle[0])))


@pytest.fixture(scope="module")
def exported(run):
    folder, config, _ = run
    export(folder, page, config, folder.path.parent / "model")
    return folder.path.parent / "model"


def test_metres_are_measured_from_the_middle_and_from_the_regressed_place(run):
    folder, _, pairs = run
    record = evaluate(folder.path, pairs)
    table = load(pairs)["test"]
    by_name = dict(zip(table.ground_ids(), table.ground_latlon, strict=True))
    middles = dict(zip(table.aerial_ids(), table.aerial_latlon, strict=True))
    queries, ids = record.queries, record.references.ids
    first, right, plain = [], [], []
    for row, name in enumerate(queries.ids):
        truth = LatLon(*by_name[name])
        shifted = move_slowly(middles[ids[queries.best[row, 0]]], 15.0, -7.5)
        first.append(measure_distance_m(truth, LatLon(*shifted)))
        own = middles[ids[queries.truth[row]]]
        plain.append(measure_distance_m(truth, LatLon(*own)))
        right.append(measure_distance_m(truth, LatLon(*move_slowly(own, 15.0, -7.5))))
    assert queries.offset_error_m == pytest.approx(first, abs=1e-3)
    assert queries.right_error_m == pytest.approx(plain, abs=1e-3)
    assert queries.right_offset_error_m == pytest.approx(right, abs=1e-3)

    def told(name):
        return record.figure(name).value

    assert told("mean error by offset m") == pytest.approx(np.mean(first), abs=1e-3)
    assert told("median error by offset m") == pytest.approx(np.median(first), abs=1e-3)
    assert told("mean error in right tile m") == pytest.approx(np.mean(plain), abs=1e-3)
    assert told("mean error in right tile by offset m") == pytest.approx(np.mean(right), abs=1e-3)
    for radius in OFFSET_RADII_M:
        within = 100.0 * np.mean(np.array(first) <= radius)
        assert told(f"within {radius} m by offset") == pytest.approx(within)
        assert told(f"within {radius} m") == pytest.approx(100 * np.mean(queries.error_m <= radius))


def test_the_record_keeps_them_and_an_exported_model_says_the_same(run, exported, tmp_path):
    record = evaluate(exported, run[2])
    record.write(tmp_path / "record")
    read = Evaluation.read(tmp_path / "record")
    trained = evaluate(run[0].path, run[2])
    for name in ("offset_latlon", "offset_error_m", "right_error_m", "right_offset_error_m"):
        kept = getattr(read.queries, name)
        assert np.array_equal(kept, getattr(record.queries, name))
        assert kept == pytest.approx(getattr(trained.queries, name), abs=1e-3)
    assert read.figures == record.figures


def test_a_model_that_regresses_nothing_has_no_such_figures(run, exported):
    model = open_model(exported)
    model.offset = None
    options = AssessmentOptions(data=f"pairs:{run[2]}", workers=0)
    ((_, record),) = open_assessment(options, model, note=print, warn=print).measure(
        lambda title, done, total: None
    )
    names = {figure.name for figure in record.figures}
    assert not {name for name in names if "offset" in name or "right tile" in name}
    assert "within 10 m" not in names
    assert record.queries.offset_error_m is None


def test_places_follow_the_picture_s_own_up_and_unknown_ones_stay_unknown():
    references = AerialViews(
        np.eye(3, dtype=np.float32),
        np.array([100.0, 100.0, np.nan]),
        np.array([0.0, 90.0, 0.0]),
        np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]),
    )
    answers = SimpleNamespace(truth=np.array([0, 1, 2, -1]), best=np.array([[0], [1], [2], [0]]))
    up = np.tile(np.float32([-1.0, 0.0]), (4, 1))  # to the upper rim: 50 m
    placed = RegressedPlaces.of(lambda ground, aerial: up, np.eye(4, 3), references, answers)
    degrees = 50.0 / (math.radians(1.0) * 6_371_008.8)
    assert placed.right[0] == pytest.approx([degrees, 0.0], abs=1e-9)  # north
    assert placed.right[1] == pytest.approx([0.0, degrees], abs=1e-9)  # its up is east
    assert np.isnan(placed.right[2:]).all()
    assert placed.first[3] == pytest.approx([degrees, 0.0], abs=1e-9)
    assert np.isnan(placed.right_middle[3]).all()


def test_the_head_is_part_of_the_model_s_fingerprint_and_of_what_is_checked(exported, tmp_path):
    model = open_model(exported)
    vectors = np.eye(3, model.info.dim, dtype=np.float32)
    assert model.offset(vectors, vectors) == pytest.approx(np.tile(OFFSET, (3, 1)))
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / OFFSET_NAME).unlink()
    without = open_model(tmp_path)
    assert without.offset is None
    assert without.fingerprint != model.fingerprint
    (tmp_path / OFFSET_NAME).write_bytes(b"\x07no network")
    with pytest.raises(BadModel, match=r"model\.offset\.onnx is not a network"):
        check_folder(tmp_path)
    (tmp_path / OFFSET_NAME).write_bytes((tmp_path / "model.ground.onnx").read_bytes())
    with pytest.raises(BadModel, match="Expected: ground and aerial vectors, and offset"):
        open_model(tmp_path)


def test_an_exported_head_can_be_trained_further(run, exported):
    _, config, _ = run
    again = reopen(exported, page, config, page.views(config))
    assert again.offset.outer.bias.tolist() == pytest.approx(OFFSET)
