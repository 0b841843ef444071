"""The list of training tiles is whole, and only the pictures that it lists are opened."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scripts import fetch_orthophotos
from tests.shared_data import shared

from crossview.errors import BadImagery, UnknownName
from crossview.worlds.camera import render_orthophoto
from crossview.worlds.ortho_sets import choose_tiles, list_sets, list_tiles, open_tile, split_places
from crossview.worlds.town import build_town


def test_every_tile_has_a_digest_a_place_a_licence_and_an_attribution():
    tiles = list_tiles()
    assert len({tile.sha256 for tile in tiles}) == len(tiles) > 1000
    for tile in tiles:
        assert len(tile.sha256) == 64
        assert 0.1 < tile.metres_per_px < 0.9
        assert abs(tile.up_bearing_deg) < 3.0
        assert tile.source.licence
        assert tile.source.attribution


def test_sets_that_must_stay_tests_are_not_listed():
    names = {one.name for one in list_sets()}
    assert not names & {"usgs_ucmerced", "helsinki", "test_panoramax_larochelle"}
    assert len({one.country for one in list_sets()}) >= 5


def test_a_tile_without_an_address_belongs_to_a_set_that_says_why():
    for tile in list_tiles():
        assert tile.address.startswith("https://") or "tile" in tile.source.note


def test_a_country_is_left_out_as_a_whole():
    rest = choose_tiles(without_countries=["United States"])
    left = choose_tiles(countries=["United States"])
    assert {tile.source.name for tile in left} == {"naip_california", "us_public_domain"}
    assert len(rest) + len(left) == len(list_tiles())
    with pytest.raises(UnknownName, match="Czechia"):
        choose_tiles(countries=["Czechi"])


def test_other_years_of_a_place_stay_on_its_side_of_a_split():
    train, apart = split_places(choose_tiles(sets=["naip_california"]), 0.2)
    assert not {tile.place for tile in train} & {tile.place for tile in apart}
    area = sum(tile.area_km2 for tile in apart)
    assert area == pytest.approx(0.2 * (area + sum(tile.area_km2 for tile in train)), rel=0.05)


def test_a_set_of_one_place_is_cut_along_its_rows():
    train, apart = split_places(choose_tiles(sets=["cuzk_pardubice"]), 0.2)
    assert len(apart) == 20
    assert max(tile.centre.lat for tile in apart) < min(tile.centre.lat for tile in train)


@pytest.fixture(scope="module")
def survey():
    """A town's aerial picture of 300 x 300 pixels, as one would lie in a set."""
    return render_orthophoto(build_town("suburb", 20_000, 160.0))[:300, :300]


def write_tile(tmp_path, picture):
    listed = choose_tiles(sets=["zurich"])[0]
    data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    path = tmp_path / "zurich" / "own.jpg"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    sketch = cv2.resize(stored, (4, 4), interpolation=cv2.INTER_AREA).tobytes().hex()
    digest = hashlib.sha256(data).hexdigest()
    return replace(
        listed, file="own.jpg", sha256=digest, sketch=sketch, width_px=300, height_px=300
    )


def test_a_listed_picture_is_opened_and_its_grid_lies_around_its_centre(tmp_path, survey):
    tile = write_tile(tmp_path, survey)
    opened = open_tile(tmp_path, tile)
    assert np.abs(opened.rgb.astype(int) - survey).mean() < 8
    assert opened.valid.all()
    lat, lon = tile.grid.latlon(150.0, 150.0)
    assert (lat, lon) == pytest.approx((tile.centre.lat, tile.centre.lon), abs=1e-9)
    assert tile.grid.ground(150.0, 150.0).right_m == pytest.approx(tile.metres_per_px, rel=1e-3)


def test_the_same_picture_stored_anew_is_known_and_another_one_refused(tmp_path, survey):
    tile = write_tile(tmp_path, survey)
    again = write_tile(tmp_path, np.clip(survey.astype(int) + 1, 0, 255).astype(np.uint8))
    assert again.sha256 != tile.sha256
    assert open_tile(tmp_path, tile).rgb.shape == survey.shape
    write_tile(tmp_path, survey[::-1].copy())
    with pytest.raises(BadImagery, match="sha256"):
        open_tile(tmp_path, tile)
    with pytest.raises(BadImagery, match="sha256"):
        open_tile(tmp_path, replace(tile, source=replace(tile.source, bytes=True)))


def test_a_missing_tile_says_how_to_get_it(tmp_path):
    with pytest.raises(BadImagery, match="fetch_orthophotos"):
        open_tile(tmp_path, list_tiles()[0])


def test_a_hole_of_a_survey_is_not_valid(tmp_path, survey):
    holed = survey.copy()
    holed[100:200, 50:200] = 255
    opened = open_tile(tmp_path, write_tile(tmp_path, holed))
    assert not opened.valid[110:190, 60:190].any()
    assert opened.valid[:, 210:].all()


def test_the_listed_tiles_lie_in_the_shared_folder():
    folder = shared("data", "ortho")
    first = {tile.source.name: tile for tile in reversed(list_tiles())}
    for tile in first.values():
        assert open_tile(folder, tile).rgb.shape == (tile.height_px, tile.width_px, 3)


def encode_geotiff(picture):
    """A source as it lies at an address: four bands, larger than the tile that is cut from it."""
    from rasterio.io import MemoryFile

    rows, columns = picture.shape[:2]
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=columns, height=rows, count=4, dtype="uint8"
        ) as raster:
            raster.write(np.dstack([picture, picture[..., :1]]).transpose(2, 0, 1))
        return memory.read()


def test_a_tile_is_cut_from_its_source_and_kept_only_if_it_is_the_listed_one(
    tmp_path, survey, monkeypatch
):
    tile = replace(write_tile(tmp_path, survey), left_px=20, top_px=10, source=list_sets()[1])
    around = cv2.copyMakeBorder(survey, 10, 5, 20, 7, cv2.BORDER_CONSTANT)
    monkeypatch.setattr(fetch_orthophotos, "download", lambda _: encode_geotiff(around))
    fetch_orthophotos.fetch(tmp_path / "new", tile)
    assert np.abs(open_tile(tmp_path / "new", tile).rgb.astype(int) - survey).mean() < 8
    monkeypatch.setattr(fetch_orthophotos, "download", lambda _: encode_geotiff(around[::-1]))
    with pytest.raises(ValueError, match="listed"):
        fetch_orthophotos.fetch(tmp_path / "other", tile)
    assert not (tmp_path / "other").exists()


def test_a_set_that_is_kept_byte_for_byte_is_checked_by_its_digest(tmp_path, survey, monkeypatch):
    tile = replace(
        write_tile(tmp_path, survey), source=choose_tiles(sets=["cuzk_pardubice"])[0].source
    )
    data = (tmp_path / "zurich" / "own.jpg").read_bytes()
    monkeypatch.setattr(fetch_orthophotos, "download", lambda _: data)
    fetch_orthophotos.fetch(tmp_path, tile)
    assert (tmp_path / "cuzk_pardubice" / "own.jpg").read_bytes() == data
    monkeypatch.setattr(fetch_orthophotos, "download", lambda _: data + b"\0")
    with pytest.raises(ValueError, match="listed"):
        fetch_orthophotos.fetch(tmp_path, tile)


def test_only_https_is_fetched():
    with pytest.raises(ValueError, match="https"):
        fetch_orthophotos.download("file:///etc/hosts")
