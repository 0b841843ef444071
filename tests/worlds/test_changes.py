"""Towns change between the picture from above and those from the ground, or stay as they are."""

from __future__ import annotations

import numpy as np
import pytest

from crossview.cli import main
from crossview.errors import InvalidValue
from crossview.worlds.camera import Shot, draw_camera_places, render_panorama, start_drive
from crossview.worlds.changes import Changes, rebuild, start_changed_drive
from crossview.worlds.town import ObjectKind, build_town


@pytest.fixture(scope="module")
def town():
    return build_town("suburb", 20_005, 240.0)


def count_buildings(town):
    rows = np.unique(town.object_row)
    return int((np.array(town.objects.kind)[rows] == ObjectKind.BUILDING).sum())


def picture(town, changes, n=0):
    east, south = draw_camera_places(town, 3, "changes")[n]
    shot = Shot(float(east), float(south), 10.0, width_px=128, height_px=64, look=n)
    return render_panorama(start_changed_drive(town, changes), shot).astype(float)


def test_without_changes_a_drive_is_the_towns_own(town):
    assert str(Changes()) == ""
    shot = Shot(
        *draw_camera_places(town, 1, "changes")[0].tolist(), 10.0, width_px=128, height_px=64
    )
    own = render_panorama(start_drive(town), shot)
    assert np.array_equal(own, render_panorama(start_changed_drive(town, Changes()), shot))


def test_a_share_of_the_buildings_goes_and_others_come_elsewhere_or_otherwise(town):
    before = town.height_m.copy(), town.object_row.copy(), len(town.objects.kind)
    later = rebuild(town, 0.4)
    old = np.array(town.objects.kind) == ObjectKind.BUILDING
    still = np.unique(later.object_row[later.object_row < len(old)])
    assert old[still].sum() == pytest.approx(0.6 * count_buildings(town), abs=1.0)
    assert count_buildings(later) > 0.8 * count_buildings(town)
    new = later.object_row >= len(old)
    assert (later.height_m[new] > 2.0).mean() > 0.99
    assert (later.crown_top_m[new] == 0.0).all()
    assert np.array_equal(town.height_m, before[0])  # the town itself stays
    assert np.array_equal(town.object_row, before[1])
    assert len(town.objects.kind) == before[2]
    assert np.array_equal(rebuild(town, 0.4).height_m, later.height_m)  # and again the same


def test_streets_stay_where_they_were(town):
    later = rebuild(town, 0.8)
    street = town.streets.kerb_m < 0.0
    assert np.array_equal(later.ground[street], town.ground[street])
    assert (later.height_m[street] == town.height_m[street]).all()


def test_nights_are_dark_with_bright_lamps_and_snow_is_white(town):
    for n in range(3):
        day, night, snow = (
            picture(town, changes, n)
            for changes in (Changes(), Changes(night=True), Changes(snow=True))
        )
        sky, ground = np.s_[:20], np.s_[40:]
        assert night[sky].mean() < 0.35 * day[sky].mean()
        assert 15.0 < night[ground].mean() < 0.8 * day[ground].mean()
        assert night.max() > 200.0
        assert snow[ground].mean() > day[ground].mean() + 5.0
        assert np.abs(snow[sky] - day[sky]).mean() < 12.0


@pytest.mark.parametrize("share", [-0.1, 0.9, float("nan")])
def test_a_share_that_cannot_be_is_refused(share):
    with pytest.raises(InvalidValue, match="share of buildings"):
        Changes(outdated=share)


def write(out, *words):
    return main([
        "world", "--out", str(out), "--style", "suburb", "--seed", "20005", "--side-m", "200",
        "--panoramas", "1", "--photos", "1", "--quiet", *words,
    ])  # fmt: skip


def test_the_aerial_picture_stays_what_the_ground_pictures_change(tmp_path, capsys):
    import rasterio

    assert write(tmp_path / "a") == 0
    assert write(tmp_path / "b", "--night", "--outdated", "0.5", "--with-heights") == 0
    pictures = []
    for name in ("a", "b"):
        with rasterio.open(tmp_path / name / "aerial.tif") as above:
            pictures.append(above.read())
            said = above.tags()["TIFFTAG_IMAGEDESCRIPTION"]
    assert np.array_equal(*pictures)
    assert said.endswith("photographed later: outdated 0.5, night (changes 1)")
    ground = [sorted((tmp_path / name / "ground").iterdir()) for name in ("a", "b")]
    assert all(one.read_bytes() != other.read_bytes() for one, other in zip(*ground, strict=True))
    assert write(tmp_path / "a", "--snow") != 0  # another world is in that folder
    assert "already holds a world" in capsys.readouterr().err


def test_the_height_map_is_the_surface_of_the_town(tmp_path):
    import rasterio

    assert write(tmp_path / "a", "--with-heights") == 0
    town = build_town("suburb", 20_005, 200.0)
    with (
        rasterio.open(tmp_path / "a" / "heights.tif") as heights,
        rasterio.open(tmp_path / "a" / "aerial.tif") as above,
    ):
        surface = heights.read(1)
        row, column = heights.index(*above.xy(0, 0))
    assert np.array_equal(surface, np.maximum(town.height_m, town.crown_top_m))
    assert (row, column) == (town.apron_cells, town.apron_cells)


def test_changes_are_of_towns_only(tmp_path, capsys):
    assert write(tmp_path / "a", "--from", "city.tif", "--snow") == 2
    assert "belong to synthetic towns" in capsys.readouterr().err
