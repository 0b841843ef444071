"""Aerial views are cut or taken whole, resized by the rule asked for, or unrolled."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.shared_data import shared

from crossview.errors import BadModel, InvalidValue
from crossview.model import compute_fingerprint, read_view, resolve_model
from crossview.views.aerial import (
    compute_authors_positions,
    count_needed_px,
    make_aerial_view,
    make_turned_view,
    make_whole_view,
    resize_view,
    unroll_as_authors,
)
from crossview.views.ground import make_ground_view
from crossview.views.spec import IMAGENET_MEAN, IMAGENET_STD, ViewSpec
from crossview.views.symmetry import mirror_pair, turn_pair

POLAR = ViewSpec(side="aerial", height_px=64, width_px=256, footprint_m=80.0, polar=True)
FLAT = ViewSpec(side="aerial", height_px=64, width_px=64, footprint_m=80.0)


def ground_colours(east_m, north_m):
    waves = np.sin(east_m / 6.0) * np.cos(north_m / 7.0)
    return np.stack([128.0 + east_m, 128.0 + north_m, 128.0 + 100.0 * waves], axis=-1)


def seen_from_above(side_px, metres_per_px):
    """A north-up picture of the analytic ground, the origin in its exact middle."""
    across = (np.arange(side_px) + 0.5 - side_px / 2.0) * metres_per_px
    colours = ground_colours(across[None, :] + 0 * across[:, None], -across[:, None] + 0 * across)
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("side_px", "metres_per_px"),
    [(160, 0.5), (161, 0.5), (320, 0.25), (321, 0.25), (423, 0.25), (90, 1.0), (999, 0.0811)],
)
def test_columns_are_azimuths_and_rows_are_distances(side_px, metres_per_px):
    view = make_aerial_view(seen_from_above(side_px, metres_per_px), metres_per_px, POLAR)
    azimuth = np.radians(360.0 * (np.arange(256) + 0.5) / 256 - 180.0)
    distance_m = (40.0 * (64 - np.arange(64) - 0.5) / 64)[:, None]
    expected = ground_colours(distance_m * np.sin(azimuth), distance_m * np.cos(azimuth))
    assert np.abs(view - expected).max() < 2.0


def test_the_bottom_row_is_the_centre_and_the_middle_column_north():
    pixels = np.zeros((160, 160, 3), np.uint8)
    pixels[:80] = 255  # north half
    view = make_aerial_view(pixels, 0.5, POLAR)
    assert (view[:50, 128] == 255).all()
    assert (view[:50, 0] == 0).all()
    assert 50 < view[-1].mean() < 200


@pytest.mark.parametrize("quarters", [1, 2, 3, 5, -1])
def test_turning_the_aerial_image_shifts_its_polar_view_like_a_panorama(quarters):
    pixels = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    view = make_aerial_view(pixels, 0.5, POLAR)
    shifted, turned = turn_pair(view, pixels, quarters)
    assert np.abs(make_aerial_view(turned, 0.5, POLAR).astype(int) - shifted).max() <= 8


def test_mirroring_the_aerial_image_mirrors_its_polar_view():
    pixels = np.random.default_rng(1).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    mirrored_view, mirrored = mirror_pair(make_aerial_view(pixels, 0.5, POLAR), pixels)
    assert np.abs(make_aerial_view(mirrored, 0.5, POLAR).astype(int) - mirrored_view).max() <= 8


@pytest.mark.parametrize("spec", [POLAR, FLAT])
def test_what_lies_beyond_the_footprint_does_not_show(spec):
    pixels = seen_from_above(200, 0.5)
    framed = np.full((240, 240, 3), 77, np.uint8)
    framed[20:220, 20:220] = pixels
    assert (make_aerial_view(framed, 0.5, spec) == make_aerial_view(pixels, 0.5, spec)).all()


def test_a_flat_view_is_the_mean_of_the_area_under_each_pixel():
    pixels = np.random.default_rng(2).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    expected = pixels.reshape(64, 5, 64, 5, 3).mean(axis=(1, 3))
    assert np.abs(make_aerial_view(pixels, 0.25, FLAT) - expected).max() <= 0.51


@pytest.mark.parametrize("spec", [POLAR, FLAT])
@pytest.mark.parametrize("metres_per_px", [0.3, 0.0, -1.0, float("nan")])
def test_a_picture_smaller_than_the_footprint_is_refused(spec, metres_per_px):
    with pytest.raises(InvalidValue, match="footprint of 80 m"):
        make_aerial_view(seen_from_above(160, 0.5), metres_per_px, spec)


@pytest.mark.parametrize("spec", [POLAR, FLAT])
def test_a_pixel_too_few_is_tolerated(spec):
    assert make_aerial_view(seen_from_above(159, 0.5), 0.5, spec).shape == (64, spec.width_px, 3)


NOISE = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)


def test_area_is_the_mean_of_what_a_pixel_covers():
    expected = NOISE.reshape(100, 3, 100, 3, 3).mean(axis=(1, 3))
    assert np.abs(resize_view(NOISE, (100, 100), "area") - expected).max() <= 0.51


def test_antialiased_linear_is_pillows():
    expected = Image.fromarray(NOISE).resize((96, 64), Image.Resampling.BILINEAR)
    assert (resize_view(NOISE, (64, 96), "linear-antialias") == np.asarray(expected)).all()


def test_plain_linear_aliases_and_the_others_do_not():
    spread = {
        r: resize_view(NOISE, (60, 60), r).std() for r in ("linear", "area", "linear-antialias")
    }
    assert spread["linear"] > 2 * spread["linear-antialias"]
    assert spread["linear"] > 2 * spread["area"]


@pytest.mark.parametrize("rule", ["linear", "area", "linear-antialias"])
def test_a_picture_of_the_right_size_is_left_alone(rule):
    assert (resize_view(NOISE, (300, 300), rule) == NOISE).all()
    assert resize_view(NOISE, (600, 450), rule).shape == (600, 450, 3)


@pytest.mark.parametrize(
    ("loader", "view", "rule"),
    [
        ("sample4geo", "satellite", "linear"),
        ("sample4geo", "ground", "linear"),
        ("singeo", "ground", "linear"),
        ("geodtrplus_nopolar", "aerial", "linear-antialias"),
        ("transgeo", "ground", "linear-antialias"),
        ("l2ltr_nopolar", "ground", "linear-antialias"),
    ],
)
def test_resized_and_normalised_pictures_are_those_of_the_official_loaders(loader, view, rule):
    official = np.load(shared("parity", "preprocess.npz"))
    seed, *shape = official[f"input_{'ground' if view == 'ground' else 'aerial'}_seed_then_shape"]
    picture = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, shape, dtype=np.uint8)
    size = tuple(official[f"{loader}/{view}/shape"][1:])
    small = resize_view(picture, size, rule) / 255.0
    normal = np.moveaxis((small - IMAGENET_MEAN) / IMAGENET_STD, -1, 0)
    expected = official[f"{loader}/{view}/every7th_row_11th_col"]
    np.testing.assert_allclose(normal[:, ::7, ::11], expected, atol=1e-5)


WHOLE_NOISE = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
SPEC = ViewSpec(side="aerial", height_px=20, width_px=40, footprint_m=1.0, whole=True)


def test_the_whole_file_is_squashed_by_the_rule_of_the_view():
    for rule in ("area", "linear", "linear-antialias"):
        view = make_whole_view(WHOLE_NOISE, replace(SPEC, resize=rule))
        assert (view == resize_view(WHOLE_NOISE, (20, 40), rule)).all()


def test_only_the_kept_rows_are_shown():
    panorama = np.random.default_rng(1).integers(0, 256, (832, 100, 3), dtype=np.uint8)
    view = make_whole_view(panorama, replace(SPEC, keep_rows=(0.25, 0.75)))
    assert (view == resize_view(panorama[208:624], (20, 40), "area")).all()  # as GeoDTR cuts CVACT


def test_a_polar_view_is_the_authors_cut_to_integers():
    spec = replace(SPEC, polar=True)
    exact = unroll_as_authors(WHOLE_NOISE, 20, 40)
    assert (make_whole_view(WHOLE_NOISE, spec) == exact.astype(np.uint8)).all()
    fast = make_whole_view(WHOLE_NOISE, spec, fast=True).astype(float)
    assert np.abs(fast - exact).mean() < 1.0


def test_a_fast_view_is_by_area_and_needs_no_more_pixels_than_it_shows():
    spec = replace(SPEC, resize="linear", keep_rows=(0.0, 0.5))
    assert (
        make_whole_view(WHOLE_NOISE, spec, fast=True)
        == resize_view(WHOLE_NOISE[:50], (20, 40), "area")
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
        make_aerial_view(WHOLE_NOISE, 0.5, UNKNOWN)
    with pytest.raises(BadModel, match="Which angles the model's ground pictures span"):
        make_ground_view(WHOLE_NOISE, "panorama", GROUND, fov_deg=360.0)
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
    small = resize_view(WHOLE_NOISE[:20], (20, WHOLE_NOISE.shape[1] // 2), "area").astype(float)
    means = WHOLE_NOISE[:20, : 2 * small.shape[1]].reshape(20, -1, 2, 3).mean(axis=2)
    assert np.abs(small - means).max() <= 0.5


CASES = ["polar0_S96_32x128", "polar1_S64_24x96", "polar2_S97_20x60", "polar3_S100_61x167"]


@pytest.fixture(scope="module")
def official():
    return np.load(shared("parity", "polar.npz"))


@pytest.mark.parametrize("case", CASES)
def test_the_exact_transform_gives_the_authors_numbers(official, case):
    image, expected = official[f"{case}/image"], official[f"{case}/float"]
    height, width = expected.shape[:2]
    rows, columns = compute_authors_positions(len(image), height, width)
    np.testing.assert_allclose(rows, official[f"{case}/source_row"], atol=1e-9)
    np.testing.assert_allclose(columns, official[f"{case}/source_col"], atol=1e-9)
    exact = unroll_as_authors(image, height, width)
    np.testing.assert_allclose(exact, expected, atol=1e-4)
    saved = official[f"{case}/geodtr_saved_uint8"]
    off = np.abs(exact.astype(np.uint8).astype(int) - saved)
    assert off.max() <= 1
    whole = np.abs(expected - np.rint(expected)) < 1e-4  # truncation of these may go either way
    assert not off[~whole].any()


@pytest.mark.parametrize("case", CASES)
def test_the_fast_transform_is_close_to_the_exact_one(official, case):
    image = official[f"{case}/image"]
    height, width = official[f"{case}/float"].shape[:2]
    off = np.abs(unroll_as_authors(image, height, width, how="fast") - official[f"{case}/float"])
    assert off.mean() < 1.0  # on noise, the hardest case
    assert off.max() < 8.0  # half a step of 1/32 pixel, both ways, from black to white


def test_pictures_that_are_not_square_are_refused():
    with pytest.raises(InvalidValue, match="S, S, C"):
        unroll_as_authors(np.zeros((4, 5, 3), np.uint8), 4, 8)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_closer_view_is_that_of_a_smaller_footprint_turned(quarters):
    pixels = np.random.default_rng(4).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    spec = ViewSpec(side="aerial", height_px=16, width_px=16, footprint_m=32.0)
    seen = make_turned_view(pixels, 1.0, spec, quarters=quarters, share=0.75)
    closer = make_aerial_view(pixels, 1.0, replace(spec, footprint_m=24.0))
    np.testing.assert_array_equal(np.rot90(seen, -quarters), closer)
    whole = replace(spec, whole=True, footprint_m=None)
    seen = make_turned_view(pixels, math.nan, whole, quarters=quarters, share=0.5)
    np.testing.assert_array_equal(
        np.rot90(seen, -quarters), resize_view(pixels[10:30, 10:30], (16, 16), "area")
    )


def test_an_unrolled_view_is_not_turned_like_a_window():
    pixels = np.zeros((40, 40, 3), np.uint8)
    polar = ViewSpec(side="aerial", height_px=16, width_px=32, footprint_m=32.0, polar=True)
    with pytest.raises(InvalidValue, match="turned by rolling"):
        make_turned_view(pixels, 1.0, polar, quarters=1)
    with pytest.raises(InvalidValue, match="share of the footprint"):
        make_turned_view(pixels, 1.0, replace(polar, polar=False), quarters=1, share=1.5)
