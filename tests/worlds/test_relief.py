"""What stands on the ground: as measured, as told, or guessed anew, in this order."""

from __future__ import annotations

import numpy as np
import pytest

from crossview.errors import BadImagery, InvalidValue
from crossview.worlds.land_cover import Land, LandCover
from crossview.worlds.relief import (
    Heights,
    Outlines,
    check_alignment,
    check_heights,
    compute_height_above_ground,
    guess_relief,
    make_relief,
    measure_misfit,
)
from crossview.worlds.town import CELL_M, ObjectKind, build_town


class Known:
    """A town's true layers over its mapped square, and the land that a perfect eye would see."""

    def __init__(self):
        town = build_town("suburb", 20_000, 200.0)
        inner = slice(town.apron_cells, town.cells - town.apron_cells)
        kinds = np.array(town.objects.kind)[town.object_row[inner, inner]]
        self.built = kinds == ObjectKind.BUILDING
        self.height_m = np.where(self.built, town.height_m[inner, inner], 0.0).astype(np.float32)
        self.crown_top_m = town.crown_top_m[inner, inner]
        self.row = np.where(self.built, town.object_row[inner, inner], 0)
        self.leafy = (self.crown_top_m > 0) & ~self.built
        cover = np.full(self.built.shape, LandCover.PAVED, np.uint8)
        cover[self.built], cover[self.leafy] = LandCover.ROOF, LandCover.TREE
        score = self.built.astype(np.float32)
        self.land = Land(cover, np.zeros(self.built.shape, np.bool_), score)
        self.top_m = np.maximum(self.height_m, self.crown_top_m).astype(np.float32)

    def draw_outlines(self):
        """Every building, numbered; every second one with its height."""
        rows = np.unique(self.row[self.row > 0])
        number = np.zeros(self.row.max() + 1, np.int32)
        number[rows] = np.arange(1, len(rows) + 1)
        tops = np.array([self.height_m[self.row == row].max() for row in rows], np.float32)
        tops[1::2] = np.nan
        return Outlines(number[self.row], tops)


@pytest.fixture(scope="module")
def known():
    return Known()


def generator(seed=0):
    return np.random.default_rng(seed)


def test_guesses_stand_on_roofs_and_trees_and_nowhere_else(known):
    relief = guess_relief(known.land, generator())
    assert relief.height_m.shape == known.built.shape
    assert (relief.building > 0)[known.built].mean() > 0.9
    assert (relief.building > 0)[~known.built].mean() < 0.03
    assert ((relief.crown_top_m > 0) == known.leafy)[~(relief.building > 0)].all()
    assert (relief.crown_base_m <= relief.crown_top_m).all()
    assert relief.trunk.any()
    assert not (relief.trunk & ~known.leafy).any()


def test_every_world_draws_other_heights_and_the_same_one_the_same(known):
    once, again = (guess_relief(known.land, generator(1)) for _ in range(2))
    assert np.array_equal(once.height_m, again.height_m)
    tallest = [guess_relief(known.land, generator(n)).height_m.max() for n in range(6)]
    assert np.ptp(tallest) > 2.0
    # Neighbouring worlds disagree about single buildings, so that a network cannot lean on them.
    one, other = (guess_relief(known.land, generator(n)).height_m for n in (2, 3))
    assert np.abs(one - other)[known.built].mean() > 1.0


def test_buildings_lie_in_their_boxes_with_eaves_below_their_tops(known):
    relief = guess_relief(known.land, generator())
    assert len(relief.buildings) == relief.building.max()
    for number, building in enumerate(relief.buildings, 1):
        rows, columns = np.nonzero(relief.building == number)
        east = (columns + 0.5) * CELL_M - building.box.east_m
        south = (rows + 0.5) * CELL_M - building.box.south_m
        c, s = np.cos(building.box.angle), np.sin(building.box.angle)
        assert np.abs(east * c + south * s).max() < building.box.half_along_m + 0.5
        assert np.abs(south * c - east * s).max() < building.box.half_across_m + 0.5
        top = relief.height_m[rows, columns]
        assert 2.0 < building.eave_m <= top.max() + 1e-3
        assert top.max() < 60.0


def test_outlines_keep_their_places_and_the_heights_that_they_tell(known):
    outlines = known.draw_outlines()
    bare = Land(
        np.zeros_like(known.land.cover), known.land.shadow, np.zeros_like(known.land.roof_score)
    )
    relief = make_relief(bare, generator(), outlines=outlines)
    assert ((relief.building > 0) == known.built).mean() > 0.995
    for number, told in enumerate(outlines.height_m, 1):
        top = relief.height_m[(outlines.building == number) & (relief.building > 0)]
        if np.isfinite(told) and top.size:
            assert top.max() == pytest.approx(told, rel=0.05), number


def test_a_fine_raster_gives_every_cell_its_height(known):
    relief = make_relief(known.land, generator(), heights=Heights(known.top_m))
    top = np.maximum(relief.height_m, relief.crown_top_m)
    assert np.abs(top - known.top_m).mean() < 0.35
    solid = known.built & (relief.building > 0)
    assert solid.sum() > 0.9 * known.built.sum()
    assert np.median(np.abs(relief.height_m - known.height_m)[solid]) < 0.1


def test_a_coarse_raster_gives_every_building_its_usual_height(known):
    import cv2

    shape = known.top_m.shape[::-1]
    few = cv2.resize(known.height_m, (25, 25), interpolation=cv2.INTER_NEAREST)
    coarse = cv2.resize(few, shape, interpolation=cv2.INTER_NEAREST)
    relief = make_relief(known.land, generator(), heights=Heights(coarse, 8.0))
    solid = known.built & (relief.building > 0)
    measured = np.abs(relief.height_m - known.height_m)[solid].mean()
    guessed = guess_relief(known.land, generator())
    assert measured < 0.7 * np.abs(guessed.height_m - known.height_m)[known.built].mean()


def test_what_a_raster_does_not_know_is_guessed(known):
    above = known.top_m.copy()
    above[:, : above.shape[1] // 2] = np.nan
    relief = make_relief(known.land, generator(), heights=Heights(above))
    left = np.s_[:, : above.shape[1] // 2 - 40]
    assert (relief.building > 0)[left][known.built[left]].mean() > 0.8
    assert np.isfinite(relief.height_m).all()
    assert np.isfinite(relief.crown_top_m).all()


def test_layers_of_other_sizes_are_refused(known):
    with pytest.raises(InvalidValue, match="cover the cells"):
        make_relief(known.land, generator(), heights=Heights(known.top_m[:-1]))


def test_the_ground_below_a_slope_is_found():
    east = np.arange(400, dtype=np.float32)[None, :] * 0.5
    surface = 300.0 + 0.05 * east + np.zeros((400, 1), np.float32)
    surface[150:190, 150:210] += 8.0
    surface[:20, :20] = np.nan
    above = compute_height_above_ground(surface, 0.5)
    assert np.isnan(above[:20, :20]).all()
    assert np.median(above[155:185, 155:205]) == pytest.approx(8.0, abs=1.6)
    assert np.nanpercentile(above[250:], 95.0) < 2.2


@pytest.mark.parametrize("values", [np.full((9, 9), 231.5), np.full((9, 9), np.nan)])
def test_elevations_and_nodata_are_no_heights_above_ground(values):
    with pytest.raises(BadImagery, match=r"dsm\.tif"):
        check_heights(values.astype(np.float32), "dsm.tif")


def test_heights_that_lie_beside_the_picture_are_noticed(known):
    raised = known.top_m > 2.2
    assert measure_misfit(known.land, raised)[:2] == (0.0, 0.0)
    check_alignment(known.land, raised, "ndsm.tif")
    moved = np.roll(raised, (-30, 50), axis=(0, 1))  # 12 m north, 20 m east
    east, south, best, here = measure_misfit(known.land, moved)
    assert (east, south) == pytest.approx((-20.0, 12.0), abs=1.0)
    assert best > here + 0.3
    with pytest.raises(BadImagery, match=r"-20 m east and -12 m north"):
        check_alignment(known.land, moved, "ndsm.tif")


def test_nothing_raised_is_not_called_misplaced(known):
    check_alignment(known.land, np.zeros(known.built.shape, np.bool_), "ndsm.tif")


def test_where_outlines_do_not_reach_buildings_are_guessed(known):
    outlines = known.draw_outlines()
    half = np.zeros(known.built.shape, np.bool_)
    half[:, : half.shape[1] // 2] = True
    mapped = Outlines(np.where(half, outlines.building, 0), outlines.height_m, half)
    relief = make_relief(known.land, generator(), outlines=mapped)
    assert ((relief.building > 0) == known.built)[half].mean() > 0.995
    assert (relief.building > 0)[~half][known.built[~half]].mean() > 0.85
    blind = make_relief(
        known.land, generator(), outlines=Outlines(mapped.building, mapped.height_m)
    )
    assert not (blind.building > 0)[:, half.shape[1] // 2 + 60 :].any()
