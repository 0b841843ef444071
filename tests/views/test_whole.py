from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.shared_data import shared

from crossview.errors import BadModel, InvalidValue
from crossview.model.info import compute_fingerprint, read_view
from crossview.model.onnx import resolve_model
from crossview.views.aerial import (
    count_needed_px,
    make_aerial_view,
    make_whole_view,
    resize_view,
    unroll_as_authors,
)
from crossview.views.ground import make_ground_view
from crossview.views.spec import IMAGENET_MEAN, IMAGENET_STD, ViewSpec

NOISE = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
SPEC = ViewSpec(side="aerial", height_px=20, width_px=40, footprint_m=1.0, whole=True)


def test_the_whole_file_is_squashed_by_the_rule_of_the_view():
    for rule in ("area", "linear", "linear-antialias"):
        view = make_whole_view(NOISE, replace(SPEC, resize=rule))
        assert (view == resize_view(NOISE, (20, 40), rule)).all()


def test_only_the_kept_rows_are_shown():
    panorama = np.random.default_rng(1).integers(0, 256, (832, 100, 3), dtype=np.uint8)
    view = make_whole_view(panorama, replace(SPEC, keep_rows=(0.25, 0.75)))
    assert (view == resize_view(panorama[208:624], (20, 40), "area")).all()  # as GeoDTR cuts CVACT


def test_a_polar_view_is_the_authors_cut_to_integers():
    spec = replace(SPEC, polar=True)
    exact = unroll_as_authors(NOISE, 20, 40)
    assert (make_whole_view(NOISE, spec) == exact.astype(np.uint8)).all()
    fast = make_whole_view(NOISE, spec, fast=True).astype(float)
    assert np.abs(fast - exact).mean() < 1.0


def test_a_fast_view_is_by_area_and_needs_no_more_pixels_than_it_shows():
    spec = replace(SPEC, resize="linear", keep_rows=(0.0, 0.5))
    assert (
        make_whole_view(NOISE, spec, fast=True) == resize_view(NOISE[:50], (20, 40), "area")
    ).all()
    assert count_needed_px(spec) == (40, 40)
    assert count_needed_px(replace(spec, polar=True)) == (40, 40)


def test_rows_that_cannot_be_kept_are_refused():
    for rows in ((0.5, 0.5), (-0.1, 1.0), (0.0, 1.1)):
        with pytest.raises(InvalidValue, match="keep_rows"):
            replace(SPEC, keep_rows=rows)


def test_a_view_that_is_not_whole_is_written_as_before():
    """Fingerprints of models made before ``whole`` must not change."""
    spec = ViewSpec(side="aerial", height_px=20, width_px=40, footprint_m=1.0)
    assert not {"whole", "keep_rows"} & set(spec.to_json())
    for one in (spec, SPEC, replace(SPEC, keep_rows=(0.25, 0.75))):
        assert read_view(one.to_json()) == one


@pytest.mark.parametrize(
    ("loader", "views", "rule"),
    [
        ("geodtr_nopolar", ("ground", "aerial"), "linear-antialias"),
        ("geodtr_polar", ("ground", "aerial"), "linear-antialias"),
        ("geodtrplus_nopolar", ("ground", "aerial"), "linear-antialias"),
        ("geodtrplus_polar", ("ground", "aerial"), "linear-antialias"),
        ("l2ltr_nopolar", ("ground", "aerial"), "linear-antialias"),
        ("l2ltr_polar", ("ground", "aerial"), "linear-antialias"),
        ("transgeo", ("ground", "aerial"), "linear-antialias"),
        ("transgeo_stage2", ("aerial",), "linear-antialias"),
        ("sample4geo", ("ground", "satellite"), "linear"),
        ("singeo", ("ground", "satellite"), "linear"),
    ],
)
def test_every_official_cvusa_loader_is_reproduced_from_the_file_on(tmp_path, loader, views, rule):
    from crossview.views.decode import read_rgb

    official = np.load(shared("parity", "preprocess.npz"))
    for view in views:
        polar = loader.endswith("_polar") and view == "aerial"
        source = "polar" if polar else "ground" if view == "ground" else "aerial"
        seed, *shape = official[f"input_{source}_seed_then_shape"]
        noise = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "picture.png")
        height, width = (int(n) for n in official[f"{loader}/{view}/shape"][1:])
        spec = replace(SPEC, height_px=height, width_px=width, resize=rule)
        shown = make_whole_view(read_rgb(tmp_path / "picture.png"), spec) / 255.0
        mean, std = ((0.5,), (0.5,)) if "geodtr_" in loader else (IMAGENET_MEAN, IMAGENET_STD)
        normal = np.moveaxis((shown - np.array(mean)) / std, -1, 0)
        expected = official[f"{loader}/{view}/every7th_row_11th_col"]
        np.testing.assert_allclose(normal[:, ::7, ::11], expected, atol=1e-5)
        expected = official[f"{loader}/{view}/last_row"]
        np.testing.assert_allclose(normal[:, -1, ::5], expected, atol=1e-5)


UNKNOWN = replace(SPEC, footprint_m=None)
GROUND = ViewSpec(side="ground", height_px=18, width_px=36, whole=True, elevation_deg=None)


def test_what_whole_files_span_may_be_unknown_and_nothing_is_laid_out_by_it():
    assert UNKNOWN.to_json()["footprint_m"] is None
    for spec in (UNKNOWN, GROUND):
        assert read_view(spec.to_json()) == spec
    with pytest.raises(BadModel, match="--footprint METRES"):
        make_aerial_view(NOISE, 0.5, UNKNOWN)
    with pytest.raises(BadModel, match="Which angles the model's ground pictures span"):
        make_ground_view(NOISE, "panorama", GROUND, fov_deg=360.0)
    for side, fact in (("ground", {"elevation_deg": None}), ("aerial", {"footprint_m": None})):
        with pytest.raises(InvalidValue, match="only where files are taken whole"):
            ViewSpec(side=side, height_px=8, width_px=8, **{"footprint_m": 1.0, **fact})


def test_of_a_photo_only_the_rows_that_the_model_saw_are_shown():
    """A model of CVUSA's files saw 32.7 degrees up and down, whatever a sphere shows."""
    sphere = np.repeat(np.arange(180, dtype=np.uint8)[:, None, None], 360, axis=1)
    sphere = np.repeat(sphere, 3, axis=2)  # a row's value is its angle from the zenith
    cvusa = replace(GROUND, elevation_deg=(-32.7, 32.7))
    strip = make_ground_view(sphere, "panorama", cvusa, fov_deg=360.0)
    assert strip[0].min() >= 57
    assert strip[-1].max() <= 123
    wider = replace(GROUND, elevation_deg=(-90.0, 90.0))
    upper = make_ground_view(sphere[:90], "panorama", wider, fov_deg=360.0, horizon_px=90.0)
    assert (upper[10:] == GROUND.mean_colour).all()  # below what the picture shows: unseen
    assert (upper[:8] != GROUND.mean_colour).any()


def test_models_of_before_take_all_rows_where_they_resize_as_sample4geo():
    for rule, all_rows in (("linear", True), ("linear-antialias", False), ("area", False)):
        spec = replace(SPEC, resize=rule, all_rows=all_rows)
        assert "all_rows" not in spec.to_json()
        assert read_view(spec.to_json()) == spec
        other = replace(spec, all_rows=not all_rows)
        assert read_view(other.to_json()) == other


def test_the_fingerprint_of_the_packaged_model_is_what_it_was():
    assert compute_fingerprint(resolve_model("town")).startswith("858cd009f1eef43de934016a690b135a")


def test_area_averages_columns_also_where_no_row_is_lost():
    small = resize_view(NOISE[:20], (20, NOISE.shape[1] // 2), "area").astype(float)
    means = NOISE[:20, : 2 * small.shape[1]].reshape(20, -1, 2, 3).mean(axis=2)
    assert np.abs(small - means).max() <= 0.5
