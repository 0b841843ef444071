"""The servers themselves: they show the town as it is, and where Panoramax makes things up."""

import io
import math
import socket

import httpx
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_bounds
from rasterio.warp import Resampling, reproject
from tests.services.cage import list_interfaces
from tests.services.servers import LAYER, LICENCE

WORLD_M = 2.0 * math.pi * 6378137.0
NEAR_LEVELS = 2.0  # of 255, over squares of 8 pixels: finer grain depends on who resampled


def fetch(url, **params):
    return httpx.get(url, params=params or None, timeout=60.0, trust_env=False).raise_for_status()


def picture(answer):
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"), np.float64)


def differ(seen, wanted):
    """The mean difference of two pictures' squares of 8 pixels."""
    height, width = (side // 8 for side in seen.shape[:2])
    off = (seen - wanted)[: height * 8, : width * 8].reshape(height, 8, width, 8, 3)
    return np.abs(off.mean((1, 3))).mean()


def local_picture(town, bounds, size, crs):
    """The orthophoto in another grid, by GDAL: [height, width, 3]."""
    height, width = size
    seen = np.zeros((3, height, width), np.uint8)
    with rasterio.open(town.orthophoto) as raster:
        reproject(
            rasterio.band(raster, (1, 2, 3)), seen, dst_crs=crs, resampling=Resampling.bilinear,
            dst_transform=from_bounds(*bounds, width, height),
        )  # fmt: skip
    return seen.transpose(1, 2, 0).astype(np.float64)


def middle_tile(town, zoom):
    """The tile in the middle of the town, and its bounds in Web Mercator."""
    west, south, east, north = town.bounds
    lat, lon = math.radians((south + north) / 2.0), (west + east) / 2.0
    x = int((lon + 180.0) / 360.0 * 2**zoom)
    y = int((1.0 - math.asinh(math.tan(lat)) / math.pi) / 2.0 * 2**zoom)
    side = WORLD_M / 2**zoom
    left, top = x * side - WORLD_M / 2.0, WORLD_M / 2.0 - y * side
    return (zoom, x, y), (left, top - side, left + side, top)


def test_this_process_sees_loopback_alone(why_not_caged):
    if why_not_caged:
        pytest.skip(f"this system gives no network of one's own: {why_not_caged}")
    assert list_interfaces() == ["lo"]
    with pytest.raises(OSError, match="unreachable"):
        socket.create_connection(("192.0.2.1", 80), 2.0)  # an address for documentation


def test_titiler_shows_the_orthophoto(titiler, town):
    tile, bounds = middle_tile(town, 18)
    address = titiler.name_tiles(town.orthophoto).replace("{z}/{x}/{y}", "{}/{}/{}").format(*tile)
    seen = picture(fetch(address))
    wanted = local_picture(town, bounds, seen.shape[:2], "EPSG:3857")
    assert seen.shape == (256, 256, 3)
    assert differ(seen, wanted) < NEAR_LEVELS < 5.0 < differ(seen, wanted[::-1])


def test_mapproxy_shows_the_orthophoto_as_wmts(mapproxy, town):
    tile, bounds = middle_tile(town, 18)
    assert "ResourceURL" in fetch(mapproxy.wmts).text
    zoom, x, y = tile
    grid = "webmercator"
    seen = picture(fetch(f"{mapproxy.url}/wmts/{LAYER}/{grid}/{zoom}/{x}/{y}.png"))
    wanted = local_picture(town, bounds, seen.shape[:2], "EPSG:3857")
    assert differ(seen, wanted) < NEAR_LEVELS < 5.0 < differ(seen, wanted[::-1])


def test_mapproxy_shows_the_orthophoto_as_wms_in_its_own_projection(mapproxy, town):
    with rasterio.open(town.orthophoto) as raster:
        east, north = raster.xy(raster.height // 2, raster.width // 2)
    bounds = (east - 60.0, north - 60.0, east + 60.0, north + 60.0)
    answer = fetch(
        f"{mapproxy.url}/service", SERVICE="WMS", REQUEST="GetMap", VERSION="1.3.0", LAYERS=LAYER,
        CRS=f"EPSG:{town.epsg}", BBOX=",".join(map(str, bounds)), WIDTH=300, HEIGHT=300,
        FORMAT="image/png", STYLES="",
    )  # fmt: skip
    seen = picture(answer)
    wanted = local_picture(town, bounds, (300, 300), f"EPSG:{town.epsg}")
    assert differ(seen, wanted) < NEAR_LEVELS < 5.0 < differ(seen, wanted[::-1])


def test_files_are_served_in_ranges(files, town):
    answer = httpx.get(
        f"{files.url}/{town.orthophoto.name}", headers={"Range": "bytes=100-199"}, trust_env=False
    )
    assert answer.status_code == 206
    assert answer.content == town.orthophoto.read_bytes()[100:200]


@pytest.fixture(scope="module")
def items(panoramax, town):
    """Every picture that the server tells of, by the name of the file that was uploaded."""
    box = ",".join(f"{value:.7f}" for value in town.bounds)
    found = fetch(f"{panoramax.url}/api/search", bbox=box, limit=1000).json()["features"]
    return {item["properties"]["original_file:name"]: item for item in found}


def test_panoramax_holds_every_picture_at_its_place(items, town):
    assert items.keys() == {shown.name for shown in town.shown}
    for shown in town.shown:
        lon, lat = items[shown.name]["geometry"]["coordinates"]
        assert (lat, lon) == pytest.approx((shown.lat, shown.lon), abs=1e-6)
        lens = items[shown.name]["properties"]["pers:interior_orientation"]
        assert lens["field_of_view"] == pytest.approx(shown.fov_deg, abs=2.0)
        assert items[shown.name]["properties"]["license"] == LICENCE[0]


def test_panoramax_says_the_accuracy_that_the_file_says(items, town):
    for shown in town.shown:
        told = items[shown.name]["properties"]["quality:horizontal_accuracy"]
        assert told == pytest.approx(shown.sigma_m)


def test_panoramax_makes_up_headings_and_does_not_say_so(items, town):
    """Why ``view:azimuth`` alone may not be believed: it follows from the order of a sequence.

    So it does even where a panorama says its pose, which stands in ``exif`` all the same.
    """
    made_up = []
    for shown in town.shown:
        told = items[shown.name]["properties"]
        wrong = abs((told["view:azimuth"] - shown.heading_deg + 180.0) % 360.0 - 180.0)
        if shown.says == "GPSImgDirection":
            assert wrong <= 1.0, "the heading of the file, in whole degrees"
            continue
        made_up.append(wrong)
        pose = told["exif"].get("Xmp.GPano.PoseHeadingDegrees")
        assert pose == (f"{shown.said_heading_deg:.2f}" if shown.says else None)
    assert len(made_up) == 170
    assert np.median(made_up) > 30.0


def test_panoramax_gives_every_picture_in_three_sizes(items):
    assets = next(iter(items.values()))["assets"]
    assert {"hd", "sd", "thumb"} <= assets.keys()
    with Image.open(io.BytesIO(fetch(assets["sd"]["href"]).content)) as image:
        assert image.format == "JPEG"
