"""A town's own aerial picture, given as an orthophoto, becomes worlds whose two views agree."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import replace

import numpy as np
import pytest
from simplejpeg import decode_jpeg, encode_jpeg

from crossview.catalogue import open_data
from crossview.errors import EmptyRegion
from crossview.geo.points import LatLon, measure_distance_m
from crossview.worlds.camera import Shot, Sky, render_orthophoto, render_panorama
from crossview.worlds.land_cover import LandCover
from crossview.worlds.ortho_pairs import (
    INSET_M,
    ORTHO_VERSION,
    OrthoPlan,
    ensure_ortho_pairs,
    load_skies,
    load_textures,
)
from crossview.worlds.orthoworld import (
    Orthophoto,
    draw_standing_places,
    draw_world,
    read_ground,
    start_ortho_drive,
)
from crossview.worlds.town import CELL_M, build_town
from crossview.worlds.write import is_synthetic_picture

PLACE = LatLon(50.0, 15.0)


@pytest.fixture(scope="module")
def tile():
    picture = render_orthophoto(build_town("suburb", 20_005, 240.0))
    return Orthophoto("suburb", picture, CELL_M, PLACE, up_bearing_deg=2.0)


@pytest.fixture(scope="module")
def ground(tile):
    return read_ground(tile)


@pytest.fixture(scope="module")
def world(ground):
    return draw_world(ground, 0)


def test_the_same_number_draws_the_same_world_and_another_one_other_heights(ground, world):
    again, other = draw_world(ground, 0), draw_world(ground, 1)
    assert np.array_equal(world.height_m, again.height_m)
    assert np.array_equal(start_ortho_drive(world).top, start_ortho_drive(again).top)
    assert not np.array_equal(world.height_m, other.height_m)


def test_cameras_stand_on_open_ground_inside_of_the_tile(ground, world):
    for east, south, eye_m in draw_standing_places(
        world, start_ortho_drive(world), 60, INSET_M, "test"
    ):
        row, column = int(south / CELL_M), int(east / CELL_M)
        assert ground.land.cover[row, column] not in {LandCover.ROOF, LandCover.WATER}
        assert world.height_m[row, column] == 0.0
        assert 1.5 < eye_m < 3.1
        assert INSET_M <= min(east, south) <= max(east, south) <= 240.0 - INSET_M


def test_the_ground_ahead_of_the_camera_has_the_colour_that_the_picture_has_there(ground):
    """A red square 8 m north of the camera stands in the middle of the strip that looks north."""
    picture = np.full((600, 600, 3), 128, np.uint8)
    picture[270:290, 290:310] = (250, 20, 20)
    flat = draw_world(read_ground(Orthophoto("square", picture, CELL_M, PLACE)), 0)
    flat.height_m[:], flat.object_row[:], flat.crown_top_m[:] = 0.0, 0, 0.0
    shot = Shot(120.0, 120.0, 0.0, width_px=360, height_px=90, eye_m=2.0)
    drive = start_ortho_drive(flat)
    drive.cars.height_m[:], drive.solid_m[:] = 0.0, 0.0
    view = render_panorama(drive, shot, (-45.0, 45.0)).astype(int)
    red = view[..., 0] - view[..., 1] > 60
    rows, columns = np.nonzero(red)
    assert np.median(columns) == pytest.approx(180.0, abs=3.0)
    middle = np.degrees(np.arctan2(2.0, 8.0))
    assert np.median(45.0 - rows) == pytest.approx(-middle, abs=4.0)


def test_a_place_on_the_tile_is_as_far_from_its_middle_as_its_metres_say(ground):
    centre = ground.locate(120.0, 120.0)
    assert measure_distance_m(centre, PLACE) < 0.001
    assert measure_distance_m(PLACE, ground.locate(120.0, 20.0)) == pytest.approx(100.0, rel=1e-3)
    up = ground.locate(120.0, 20.0)
    turn = np.degrees(np.arctan2((up.lon - PLACE.lon) * np.cos(np.radians(50.0)), up.lat - 50.0))
    assert turn == pytest.approx(2.0, abs=0.01)


def test_pairs_are_written_once_and_only_the_ground_pictures_say_that_they_are_synthetic(
    tmp_path, tile
):
    plan = OrthoPlan(least=3, most=3, pairs_per_world=2)
    pairs = ensure_ortho_pairs(tmp_path, [tile], plan, workers=1)
    rows = list(csv.DictReader(pairs.open(encoding="utf-8")))
    assert len(rows) == 3
    assert {row["split"] for row in rows} == {"train"}
    for row in rows:
        assert is_synthetic_picture(tmp_path / row["ground"])
        assert not is_synthetic_picture(tmp_path / row["aerial"])
        assert float(row["up_bearing_deg"]) == 2.0
    assert open_data(f"pairs:{pairs}").info["synthetic"] is False  # from above it is Earth
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}
    pairs.unlink()  # as a killed command leaves it
    assert ensure_ortho_pairs(tmp_path, [tile], plan, workers=1).read_bytes()
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}


def test_the_picture_from_above_may_be_of_another_year(tmp_path, tile):
    other = replace(tile, other_years=(np.full_like(tile.picture, 30),))
    pairs = ensure_ortho_pairs(tmp_path, [other], OrthoPlan(least=8, most=8), workers=1)
    dark = [
        decode_jpeg((tmp_path / row["aerial"]).read_bytes()).mean() < 35.0
        for row in csv.DictReader(pairs.open(encoding="utf-8"))
    ]
    assert 0 < sum(dark) < len(dark)


def test_skies_and_walls_are_taken_from_folders(tmp_path, world):
    sky = np.full((64, 128, 3), (90, 140, 220), np.uint8)
    forest = np.full((64, 128, 3), (30, 90, 20), np.uint8)
    brick = np.full((16, 16, 3), (180, 60, 40), np.uint8)
    for name, picture in (("sky", sky), ("forest", forest), ("red_brick", brick)):
        (tmp_path / f"{name}.jpg").write_bytes(encode_jpeg(picture, quality=95))
    skies, textures = load_skies(tmp_path), load_textures(tmp_path)
    assert [np.median(s[..., 2]) for s in skies] == [pytest.approx(220, abs=3)]
    assert textures.shape == (1, 128, 128, 3)
    spot = next(draw_standing_places(world, start_ortho_drive(world), 1, INSET_M, "test"))
    shot = Shot(*spot[:2], 0.0, width_px=128, height_px=64, eye_m=spot[2])
    lone = replace(start_ortho_drive(world), sky=Sky(skies[0], 0.0), textures=textures)
    zenith = render_panorama(lone, shot)[:4].reshape(-1, 3).mean(axis=0)
    assert zenith[2] > zenith[1] > zenith[0]


def test_a_folder_without_an_open_sky_or_a_wall_is_refused(tmp_path):
    (tmp_path / "forest.jpg").write_bytes(
        encode_jpeg(np.full((64, 128, 3), (30, 90, 20), np.uint8), quality=95)
    )
    for load, match in ((load_skies, "no panorama"), (load_textures, "no picture of a wall")):
        with pytest.raises(EmptyRegion, match=match):
            load(tmp_path)


def test_what_has_no_room_for_a_crop_gives_no_pairs():
    small = Orthophoto("small", np.zeros((250, 250, 3), np.uint8), CELL_M, PLACE)
    assert OrthoPlan().count_pairs(small) == 0


def test_a_picture_of_water_alone_has_no_place_to_stand():
    sea = np.random.Generator(np.random.PCG64(1)).normal((30, 60, 110), 1.0, (400, 400, 3))
    ground = read_ground(Orthophoto("sea", sea.astype(np.uint8), CELL_M, PLACE))
    ground.land.cover[:] = LandCover.WATER
    world = draw_world(ground, 0)
    with pytest.raises(EmptyRegion, match="no ground to stand on"):
        list(draw_standing_places(world, start_ortho_drive(world), 1, INSET_M, "test"))


def test_the_version_names_what_is_drawn():
    assert hash_views() == ORTHO_VERSION, "worlds changed: renew ORTHO_VERSION and every figure"


def hash_views():
    """8 hex digits of coarse, thinned panoramas, so that the last bit of a sine is irrelevant."""
    digest = hashlib.sha256()
    for style in ("old", "suburb"):
        picture = render_orthophoto(build_town(style, 7, 200.0))
        ground = read_ground(Orthophoto(style, picture, CELL_M, PLACE))
        world = draw_world(ground, 0)
        drive = start_ortho_drive(world)
        east, south, eye_m = next(draw_standing_places(world, drive, 1, 60.0, "version"))
        shot = Shot(east, south, 0.0, width_px=64, height_px=32, eye_m=eye_m)
        digest.update((render_panorama(drive, shot) >> 5).tobytes())
    return digest.hexdigest()[:8]
