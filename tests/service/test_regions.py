"""Regions: their figures and pictures, and exchanging one that changes on disk."""

import base64
import io
import math
import shutil

import numpy as np
import pytest
from PIL import Image
from tests.index.regions import TOY, indexed, region
from tests.service.conftest import jpeg, photos

from crossview.errors import BadIndex, UsageError
from crossview.service.regions import Regions
from crossview.service.schemas import Cells, RegionList


def tile_of(lat, lon, zoom):
    share = 0.5 - math.asinh(math.tan(math.radians(lat))) / (2 * math.pi)
    return f"{zoom}/{int((lon + 180) / 360 * 2**zoom)}/{int(share * 2**zoom)}"


def test_a_region_is_told_in_figures_and_without_paths(client, folder):
    listed = client.get("/v1/regions")
    told = RegionList.model_validate(listed.json()).regions[0]
    assert told.name == "region"
    assert told.tiles > 50
    assert str(folder.parent) not in listed.text
    assert client.get("/v1/regions/region").json()["version"] == told.version


def test_coverage_is_a_box_around_all_windows(client):
    south, west, north, east = client.get("/v1/regions/region").json()["bounds"]
    (feature,) = client.get("/v1/regions/region/coverage").json()["features"]
    ring = np.array(feature["geometry"]["coordinates"][0])
    assert [*ring.min(0), *ring.max(0)] == pytest.approx([west, south, east, north], abs=1e-6)


def test_cells_are_as_many_as_windows(client):
    told = Cells.model_validate(client.get("/v1/regions/region/cells").json())
    lat = np.frombuffer(base64.b64decode(told.lat), "<f8")
    assert len(lat) == client.get("/v1/regions/region").json()["tiles"]


def test_a_window_s_picture_is_the_index_s(client, regions):
    found = client.get("/v1/regions/region/windows/3")
    assert found.content == regions.get(None).index.thumbnail(3)
    assert client.get("/v1/regions/region/windows/99999").status_code == 404
    assert client.get("/v1/regions/none/windows/1").status_code == 404


def test_a_map_tile_shows_the_imagery_and_nothing_lies_elsewhere(client, regions):
    index = regions.get(None).index
    where = tile_of(index.lat.mean(), index.lon.mean(), 19)
    found = client.get(f"/v1/regions/region/tiles/{where}")
    pixels = np.asarray(Image.open(io.BytesIO(found.content)).convert("RGB"))
    assert pixels.shape == (512, 512, 3)
    assert pixels.std() > 20
    assert client.get("/v1/regions/region/tiles/19/0/0").status_code == 204
    assert client.get("/v1/regions/region/tiles/3/8/0").status_code == 422


def test_a_tile_the_browser_has_is_not_sent_again(client, regions):
    index = regions.get(None).index
    path = f"/v1/regions/region/tiles/{tile_of(index.lat.mean(), index.lon.mean(), 16)}"
    tag = client.get(path).headers["etag"]
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 304


def test_tiles_are_laid_out_of_thumbnails_when_the_imagery_is_gone(tmp_path):
    index = indexed(tmp_path, stride_m=20.0)
    with_imagery = Regions([tmp_path / "region.cvx"], lambda _: TOY).get(None).tiles
    where = tuple(map(int, tile_of(index.lat.mean(), index.lon.mean(), 19).split("/")))
    first = pixels_of(with_imagery.get(*where))
    (tmp_path / "aerial.tif").unlink()
    without = Regions([tmp_path / "region.cvx"], lambda _: TOY).get(None).tiles
    second = pixels_of(without.get(*where))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.6


def pixels_of(tile):
    return np.asarray(Image.open(io.BytesIO(tile.data)).convert("L"), float)


def test_an_index_that_changes_is_exchanged_and_a_damaged_one_is_not(tmp_path, served):
    place = tmp_path / "region.cvx"
    indexed(tmp_path, stride_m=40.0)
    regions = Regions([place], lambda _: TOY)
    client = served(regions=regions)
    before = client.get("/v1/regions/region").json()
    assert regions.reload() == []
    (tmp_path / "finer").mkdir()
    indexed(tmp_path / "finer", stride_m=20.0, paths=[region(tmp_path / "finer")])
    shutil.rmtree(place)
    shutil.move(tmp_path / "finer" / "region.cvx", place)
    assert regions.reload() == ["region"]
    after = client.get("/v1/regions/region").json()
    assert after["tiles"] > before["tiles"]
    assert after["version"] != before["version"]
    (place / "manifest.json").write_text("{damaged")
    assert regions.reload() == []
    assert "manifest" in regions.failures["region"]
    assert client.post("/v1/locate", files=photos(jpeg())).status_code == 200


def test_a_request_finishes_with_the_index_it_began_with(tmp_path):
    indexed(tmp_path, stride_m=40.0)
    index = Regions([tmp_path / "region.cvx"], lambda _: TOY).get(None).index
    before = [block.copy() for _, block in index.blocks()]
    shutil.rmtree(tmp_path / "region.cvx")
    after = [block for _, block in index.blocks()]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_two_regions_are_asked_by_name(tmp_path, served, folder):
    indexed(tmp_path, stride_m=40.0, name="other town.cvx", paths=[region(tmp_path, seed=5)])
    client = served(regions=Regions([folder, tmp_path / "other town.cvx"], lambda _: TOY))
    assert [r["name"] for r in client.get("/v1/regions").json()["regions"]] == [
        "region",
        "other-town",
    ]
    found = client.post("/v1/locate?region=other-town", files=photos(jpeg()))
    assert found.json()["region"] == "other-town"


def test_names_must_differ_and_indexes_exist(tmp_path, folder):
    with pytest.raises(UsageError, match="Two indexes"):
        Regions([folder, folder], lambda _: TOY)
    with pytest.raises(BadIndex):
        Regions([tmp_path / "none.cvx"], lambda _: TOY)
