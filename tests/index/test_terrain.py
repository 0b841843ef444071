"""An index keeps heights as they are, in whole files, and refuses what would not fit together."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.imagery.test_elevations import write_raster
from tests.index.regions import added, indexed, region, vectors_of

from crossview.cli import main
from crossview.errors import BadImagery, BadIndex, UsageError
from crossview.geo.points import LatLon, move_point
from crossview.index.build import give_heights
from crossview.index.store import MANIFEST_NAME, Index, write_manifest
from crossview.index.terrain import open_terrain, write_heights


def block(cells=700, metres=12.0, base=0.0, slope=0.0):
    """Flat or sloping ground with one block of 40 m by 40 m, 60 m east of the raster's middle."""
    surface = base + slope * np.arange(cells)[None, :] * np.ones((cells, 1))
    middle = cells // 2
    surface[middle - 20 : middle + 20, middle + 40 : middle + 80] += metres
    return surface


def middle_of(index):
    return LatLon(float(index.lat.mean()), float(index.lon.mean()))


def surface_at(index, east_m, north_m):
    """Metres above the ground at a place, by the smallest patch around it."""
    here = move_point(middle_of(index), east_m=east_m, north_m=north_m)
    patch = open_terrain(index).cut(here, 2.0)
    row, column = (int(at) for at in patch.at)
    return float(patch.surface_m[row, column]), float(patch.ground_m[row, column])


def with_heights(tmp_path, surface=None, index=None):
    index = index or indexed(tmp_path, stride_m=40.0)
    raster = write_raster(
        tmp_path / "dsm.tif", block() if surface is None else surface, 1.0, at=middle_of(index),
        crs=25833,
    )  # fmt: skip
    return give_heights(index.path, raster)


def test_a_block_stands_where_the_raster_has_it(tmp_path):
    index = with_heights(tmp_path)
    assert surface_at(index, 60.0, 0.0)[0] == pytest.approx(12.0, abs=0.1)
    assert surface_at(index, 44.0, 16.0)[0] == pytest.approx(12.0, abs=0.1)
    for east, north in ((30.0, 0.0), (90.0, 0.0), (60.0, 30.0), (60.0, -30.0)):
        assert surface_at(index, east, north)[0] == pytest.approx(0.0, abs=0.1)


def test_the_ground_keeps_its_slope(tmp_path):
    index = with_heights(tmp_path, block(base=300.0, slope=0.03))
    (high, ground), (low, _) = surface_at(index, 60.0, 0.0), surface_at(index, -60.0, 0.0)
    assert high - ground == pytest.approx(12.0, abs=1.5)
    assert high - low == pytest.approx(12.0 + 120.0 * 0.03, abs=1.0)


def test_heights_change_no_vector_and_are_checked_like_everything_else(tmp_path):
    before = indexed(tmp_path, stride_m=40.0)
    vectors = np.array(vectors_of(before))
    index = with_heights(tmp_path, index=before)
    assert np.array_equal(vectors_of(index), vectors)
    assert index.verify() == 4 * len(index.manifest.segments) + 3
    file = index.path / "heights-00000.above.npy"
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    file.write_bytes(data)
    with pytest.raises(BadIndex, match=r"heights-00000.above.npy has changed"):
        Index.open(index.path)


def test_an_index_without_heights_is_written_as_before(tmp_path):
    index = indexed(tmp_path, stride_m=40.0)
    assert "heights" not in json.loads((index.path / MANIFEST_NAME).read_text())
    assert open_terrain(index) is None


def test_heights_come_with_the_index_or_later_and_are_the_same(tmp_path):
    later = with_heights(tmp_path)
    paths = [tmp_path / "aerial.tif"]
    once = indexed(tmp_path, paths=paths, name="b.cvx", stride_m=40.0, heights=tmp_path / "dsm.tif")
    assert once.manifest.heights == later.manifest.heights


def test_new_heights_replace_old_ones_and_end_the_calibration(tmp_path):
    index = with_heights(tmp_path)
    raster = write_raster(
        tmp_path / "other.tif", block(metres=20.0), 1.0, at=middle_of(index), crs=25833
    )
    index = give_heights(index.path, raster)
    assert surface_at(index, 60.0, 0.0)[0] == pytest.approx(20.0, abs=0.1)
    assert {p.name for p in index.path.glob("heights-*")} == {
        *index.manifest.heights.parts[0].files
    }


def test_the_same_heights_again_change_nothing(tmp_path):
    index = with_heights(tmp_path)
    write_manifest(index.path, replace(index.manifest, calibration={"kept": True}))
    again = give_heights(index.path, tmp_path / "dsm.tif")
    assert again.manifest.heights == index.manifest.heights
    assert again.manifest.calibration == {"kept": True}
    assert len(list(index.path.glob("heights-*"))) == 3


def test_heights_of_another_place_say_how_far(tmp_path):
    index = indexed(tmp_path, stride_m=40.0)
    raster = write_raster(tmp_path / "dsm.tif", block(), 1.0, at=LatLon(50.03, 15.76))
    with pytest.raises(BadImagery, match=r"its middle lies 3\d\d\.\d km away"):
        give_heights(index.path, raster)
    assert Index.open(index.path).manifest.heights is None
    with pytest.raises(BadImagery, match="does not cover the imagery"):
        indexed(tmp_path, paths=[tmp_path / "aerial.tif"], name="b.cvx", heights=raster)


def test_imagery_that_is_added_needs_heights_if_the_index_has_them(tmp_path):
    index = with_heights(tmp_path)
    more = [region(tmp_path, "b.tif", seed=3)]
    with pytest.raises(UsageError, match="the new imagery needs them too"):
        added(tmp_path, more)
    index = added(tmp_path, more, heights=tmp_path / "dsm.tif")
    assert [part.name for part in index.manifest.heights.parts] == [
        "heights-00000",
        "heights-00001",
    ]
    assert surface_at(index, 60.0, 0.0)[0] == pytest.approx(12.0, abs=0.1)


def test_heights_for_added_imagery_alone_are_refused(tmp_path):
    index = indexed(tmp_path, stride_m=40.0)
    write_raster(tmp_path / "dsm.tif", block(), 1.0, at=middle_of(index), crs=25833)
    with pytest.raises(UsageError, match="Give them to the index first"):
        added(tmp_path, [region(tmp_path, "b.tif", seed=3)], heights=tmp_path / "dsm.tif")


def test_what_a_new_raster_does_not_hold_stays_as_it_was(tmp_path):
    index = with_heights(tmp_path)
    hole = block(metres=25.0)
    hole[:, : 700 // 2 + 60] = -9999.0
    raster = write_raster(
        tmp_path / "b.tif", hole, 1.0, nodata=-9999.0, at=middle_of(index), crs=25833
    )
    known = open_terrain(index)
    facts = write_heights(index.path, raster, index.lat, index.lon, number=1, known=known)
    assert len(facts.parts) == 2
    write_manifest(index.path, replace(index.manifest, heights=facts))
    index = Index.open(index.path)
    assert surface_at(index, 50.0, 0.0)[0] == pytest.approx(12.0, abs=0.1)
    assert surface_at(index, 75.0, 0.0)[0] == pytest.approx(25.0, abs=0.1)


def test_the_command_gives_heights_to_an_index_and_says_so(tmp_path, capsys):
    index = indexed(tmp_path, stride_m=40.0)
    write_raster(tmp_path / "dsm.tif", block(), 1.0, at=middle_of(index), crs=25833)
    assert main(["index", str(index.path), "--heights", str(tmp_path / "dsm.tif")]) == 0
    assert "knows the heights of dsm.tif" in capsys.readouterr().out
    assert main(["index", str(index.path), "--heights", str(tmp_path / "none.tif")]) != 0
