"""A town is the same for the same seed, differs by seed and style, and keeps its version."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from crossview.errors import InUse, InvalidValue, UnknownName
from crossview.locks import locked
from crossview.worlds.overhead import render_orthophoto
from crossview.worlds.styles import SEEN_STYLES, STYLES, UNSEEN_STYLE
from crossview.worlds.town import TOWN_VERSION, GroundCover, build_town, measured_version
from crossview.worlds.write import PhotoSeries, write_world


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
    buildings = np.flatnonzero(np.array(town.objects.kind) == 1)
    built = np.isin(town.thing, buildings)
    assert built.any()
    assert not (built & (town.streets.kerb_m < 0.0)).any()


def test_every_style_has_streets_buildings_and_trees():
    for name in STYLES:
        drawn = build_town(name, 20_002, 240.0)
        assert (drawn.ground == GroundCover.ASPHALT).mean() > 0.04, name
        assert (drawn.thing > 0).mean() > 0.03, name
        assert (drawn.crown_top_m > 0).mean() > 0.002, name


def test_one_style_is_kept_from_training():
    assert UNSEEN_STYLE in STYLES
    assert UNSEEN_STYLE not in SEEN_STYLES
    assert len(SEEN_STYLES) >= 4


def test_the_version_names_what_the_generator_draws():
    assert measured_version() == TOWN_VERSION, (
        "the town changed: renew TOWN_VERSION and every figure"
    )


def test_an_unknown_style_is_refused_with_the_nearest_one():
    with pytest.raises(UnknownName, match="Did you mean 'suburb'"):
        build_town("suburbs", 1)


def test_a_town_larger_than_memory_is_refused():
    with pytest.raises(InvalidValue, match="side must lie in"):
        build_town("old", 1, 50_000.0)


def test_a_world_that_was_killed_is_begun_anew_and_another_map_is_left_alone(tmp_path):
    made = write_world(tmp_path / "town", "old", 20_000, side_m=200.0, series=(PhotoSeries(1),))
    (made.folder / "places.csv").unlink()  # as a killed command leaves it
    (made.folder / ".0123456789abcdef.partial.tif").write_bytes(b"half")
    again = write_world(tmp_path / "town", "old", 20_000, side_m=200.0, series=(PhotoSeries(1),))
    names = {p.name for p in again.folder.iterdir()}
    assert names == {"aerial.tif", "ground", "places.csv", "sheet.png"}
    with pytest.raises(InvalidValue, match="already holds a world"):
        write_world(tmp_path / "town", "old", 20_000)
    (tmp_path / "mine").mkdir()
    for content in (
        b"II*\0",
        made.map_file.read_bytes().replace(b"CROSSVIEW_SYNTHETIC", b"X" * 19),
    ):
        (tmp_path / "mine" / "aerial.tif").write_bytes(content)
        with pytest.raises(InvalidValue, match="already holds a world"):
            write_world(tmp_path / "mine", "old", 20_000)
        assert (tmp_path / "mine" / "aerial.tif").read_bytes() == content


def test_a_folder_in_which_another_process_draws_a_town_is_refused(tmp_path):
    with locked(tmp_path / "town", "crossview world"):
        thread = ThreadPoolExecutor(1).submit(write_world, tmp_path / "town", "old", 20_000)
        with pytest.raises(InUse, match="crossview world, process"):
            thread.result()
