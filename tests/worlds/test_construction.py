"""A town is the same for the same seed, differs by seed and style, and keeps its version."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from crossview.errors import InvalidValue, UnknownName
from crossview.worlds.camera import (
    Shot,
    draw_camera_places,
    render_orthophoto,
    render_panorama,
    start_drive,
)
from crossview.worlds.styles import SEEN_STYLES, STYLES, UNSEEN_STYLE
from crossview.worlds.town import TOWN_VERSION, GroundCover, ObjectKind, build_town


@pytest.fixture(scope="module")
def town():
    return build_town("old", 20_000, 240.0)


def test_the_same_seed_draws_the_same_town(town):
    again = build_town("old", 20_000, 240.0)
    assert np.array_equal(again.height_m, town.height_m)
    assert np.array_equal(render_orthophoto(again), render_orthophoto(town))


@pytest.mark.parametrize(("style", "seed"), [("old", 20_001), ("blocks", 20_000)])
def test_another_seed_or_style_draws_another_town(town, style, seed):
    other = build_town(style, seed, 240.0)
    assert (other.ground != town.ground).mean() > 0.2


def test_the_map_covers_its_square_at_the_cell_size(town):
    assert render_orthophoto(town).shape == (600, 600, 3)


def test_nothing_is_built_on_the_street(town):
    buildings = np.flatnonzero(np.array(town.objects.kind) == ObjectKind.BUILDING)
    built = np.isin(town.object_row, buildings)
    assert built.any()
    assert not (built & (town.streets.kerb_m < 0.0)).any()


def test_every_style_has_streets_buildings_and_trees():
    for name in STYLES:
        drawn = build_town(name, 20_002, 240.0)
        assert (drawn.ground == GroundCover.ASPHALT).mean() > 0.04, name
        assert (drawn.object_row > 0).mean() > 0.03, name
        assert (drawn.crown_top_m > 0).mean() > 0.002, name


def test_one_style_is_kept_from_training():
    assert UNSEEN_STYLE in STYLES
    assert UNSEEN_STYLE not in SEEN_STYLES
    assert len(SEEN_STYLES) >= 4


def test_the_version_names_what_the_generator_draws():
    assert hash_pictures() == TOWN_VERSION, "the town changed: renew TOWN_VERSION and every figure"


def hash_pictures():
    """8 hex digits; pictures are thinned and coarsened, so the last bit of a sine is irrelevant."""
    digest = hashlib.sha256()
    for name in sorted(STYLES):
        town = build_town(name, 7, 320.0)
        digest.update((render_orthophoto(town)[::9, ::9] >> 5).tobytes())
        east, south = draw_camera_places(town, 1, "version")[0]
        shot = Shot(float(east), float(south), 0.0, width_px=64, height_px=32)
        digest.update((render_panorama(start_drive(town), shot) >> 5).tobytes())
    return digest.hexdigest()[:8]


def test_an_unknown_style_is_refused_with_the_nearest_one():
    with pytest.raises(UnknownName, match="Did you mean 'suburb'"):
        build_town("suburbs", 1)


def test_a_town_larger_than_memory_is_refused():
    with pytest.raises(InvalidValue, match="side must lie in"):
        build_town("old", 1, 50_000.0)
