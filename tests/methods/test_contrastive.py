from dataclasses import replace

import numpy as np
import pytest
from tests.shared_data import shared

from crossview.errors import InvalidValue
from crossview.methods._contrastive import Positives, check_theta, crop_sector, make_positives
from crossview.pairs.batch import PairPixels, Views
from crossview.studies import singeo_variant
from crossview.views.crops import choose_quarter_turns, turn_quarters
from crossview.views.spec import ViewSpec

NARROW = ViewSpec(side="ground", height_px=4, width_px=64)
PADDED = replace(NARROW, representation="padded")
PLAIN = {"colour": 0.0, "mirror": 0.0}


def marked_pair():
    """Column c of the panorama holds c + 1; quadrants of the aerial hold 10, 20, 30, 40."""
    ground = np.tile(np.arange(1, 65, dtype=np.uint8)[None, :, None], (4, 1, 3))
    aerial = np.kron([[10, 20], [30, 40]], np.ones((8, 8))).astype(np.uint8)
    return PairPixels(
        ground=ground,
        aerial=np.repeat(aerial[..., None], 3, axis=2),
        metres_per_px=1.0,
        heading_deg=0.0,
    )


def positives_of(seed, spec=NARROW, pair=None, **settings):
    """A pair and its positives, as SinGeo makes them."""
    theta = settings.pop("theta_deg", 90.0)
    keep = settings.pop("keep", 1.0)
    config = singeo_variant.Config(
        **(PLAIN | settings),
        theta_deg=(theta, theta),
        keep=(keep, keep),
        representation=spec.representation,
    )
    positives = Positives(
        theta_deg=theta,
        change_aerial=lambda aerial, side_px, rng: turn_by_quarters(aerial, keep, rng),
        reading=config.reading,
    )
    rng = np.random.default_rng(seed)
    return make_positives(pair or marked_pair(), positives, config, views_of(spec), rng)


def turn_by_quarters(aerial, keep, rng):
    return turn_quarters(aerial, choose_quarter_turns(keep, float(rng.random())))


def views_of(ground):
    return Views(
        ground=ground,
        aerial=ViewSpec(side="aerial", height_px=16, width_px=16, footprint_m=16.0),
    )


def corner(pair):
    return pair.aerial[[0, 0, -1, -1], [0, -1, 0, -1], 0].tolist()


def steps(columns):
    return set(np.diff(columns.astype(int)) % 64)


def test_a_sector_is_whole_when_the_turn_comes_first_and_torn_when_it_comes_after():
    whole, torn = 0, 0
    for seed in range(200):
        settings = {"theta_deg": 100.0, "turn": 1.0}
        _, second = positives_of(seed, reading="intent", **settings)
        assert second.ground.shape == (4, 17, 3)
        whole += steps(second.ground[0, :, 0]) == {1}
        torn += steps(positives_of(seed, reading="release", **settings)[1].ground[0, :, 0]) != {1}
    assert whole == 200
    assert torn == 200


def test_the_satellite_positive_turns_with_its_pair_in_one_reading_only():
    turned_alike = {"intent": 0, "release": 0}
    for reading in turned_alike:
        for seed in range(200):
            first, second = positives_of(seed, reading=reading, turn=1.0, keep=1.0)
            turned_alike[reading] += corner(first) == corner(second)
    assert turned_alike == {"intent": 200, "release": 0}


def test_the_heading_of_the_positive_is_that_of_its_middle_column():
    for seed in range(50):
        _, second = positives_of(seed, turn=0.0)
        columns = second.ground[0, :, 0].astype(int) - 1
        middle = (columns[0] + len(columns) / 2) * 360 / 64 - 180
        assert (second.heading_deg - middle) % 360 == pytest.approx(0, abs=1e-9)
        assert second.fov_deg == 90.0


def test_padded_sectors_lie_in_the_middle_or_in_the_release_anywhere():
    places = {"intent": set(), "release": set()}
    for reading, found in places.items():
        for seed in range(40):
            _, second = positives_of(seed, PADDED, reading=reading, turn=0.0)
            mean = (second.ground[0] == PADDED.mean_colour).all(axis=1)
            assert mean.sum() >= 48
            found.add(tuple(np.flatnonzero(~mean)))
    assert places["intent"] == {tuple(range(24, 40))}
    assert len(places["release"]) > 10


def test_quarter_turns_of_the_second_picture_come_as_often_as_asked():
    kept = sum(
        corner(positives_of(s, turn=0.0, keep=0.25)[1]) == [10, 20, 30, 40] for s in range(800)
    )
    assert 150 < kept < 250


@pytest.mark.parametrize("reading", ["intent", "release"])
def test_the_first_picture_keeps_panorama_and_picture_together(reading):
    layouts = {
        (int(first.ground[0, 0, 0]), tuple(corner(first)))
        for first, _ in (
            positives_of(s, reading=reading, mirror=0.5, turn=0.75) for s in range(200)
        )
    }
    assert len(layouts) == 8


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_layouts_in_the_release_reading_are_those_of_the_authors_loader(flip, turn):
    """q2 after its crop is rolled by whole quarters of the panorama's width, r2 stays."""
    data = np.load(shared("parity", "layout.npz"))
    ground, aerial = data["w48/pair_ground_rgb_uint8"], data["w48/pair_satellite_rgb_uint8"]
    if flip:
        ground, aerial = ground[:, ::-1], aerial[:, ::-1]
    here = f"w48/singeo/flip{flip}_turn{turn}"
    cut = data[f"{here}/q2_cropped_before"].shape[2]
    q2 = np.roll(ground[:, :cut], -turn * (48 // 4), axis=1)
    r2 = data[f"{here}/r2"]
    assert np.array_equal(r2, aerial.transpose(2, 0, 1))
    assert np.array_equal(data[f"{here}/q2_cropped_before"], q2.transpose(2, 0, 1))


def test_a_photo_is_paired_with_another_photo_of_its_place_or_with_its_mirror_image():
    photo = replace(marked_pair(), fov_deg=60.0)
    first, second = positives_of(1, pair=photo)
    assert np.array_equal(first.ground, photo.ground)
    assert np.array_equal(second.ground, photo.ground[:, ::-1])
    other = replace(photo, ground=np.full((4, 64, 3), 7, np.uint8))
    _, second = positives_of(1, pair=replace(photo, companion=other))
    assert np.unique(second.ground).tolist() == [7]


def test_a_single_crop_is_a_sector_at_a_random_heading():
    found = {
        int(crop_sector(marked_pair(), 90.0, NARROW, np.random.default_rng(s)).ground[0, 0, 0])
        for s in range(300)
    }
    assert len(found) > 40


def test_a_field_of_view_of_361_is_drawn_anew_for_every_picture():
    """The authors' code draws whole degrees from 180 to 360, and keeps 32 to 64 of 64 columns."""
    drawn, kept = [], []
    for seed in range(400):
        _, second = positives_of(seed, PADDED, theta_deg=361.0, turn=0.0, reading="release")
        drawn.append(second.fov_deg)
        mean = (second.ground[0] == PADDED.mean_colour).all(axis=1)
        kept.append(64 - int(mean.sum()))
    assert set(drawn) <= set(range(180, 361))
    assert len(set(drawn)) > 120
    assert kept == [int(fov / 360 * 64) for fov in drawn]
    single = crop_sector(marked_pair(), 361.0, PADDED, np.random.default_rng(0))
    assert 180 <= single.fov_deg <= 360


@pytest.mark.parametrize("wrong", [{"keep": (1.5, 1.5)}, {"reading": "x"}, {"from_above": "x"}])
def test_impossible_positives_are_refused(wrong):
    with pytest.raises(InvalidValue):
        singeo_variant.Config(**wrong)


@pytest.mark.parametrize("theta_deg", [0.0, 400.0])
def test_impossible_fields_of_view_are_refused(theta_deg):
    with pytest.raises(InvalidValue, match="theta must lie in"):
        check_theta((theta_deg,), "narrow")
