"""A picture by address: only the ranges of the area, of the overview that is needed, are read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.shutil import copy as copy_raster
from rasterio.transform import from_origin
from tests.web_server import Answer, Asked, WebServer, serving

from crossview.downloads import Downloads
from crossview.errors import BadAnswer, BadImagery, NotGeoreferenced, NotOnServer
from crossview.geo.grids import convert_to_latlon
from crossview.geo.perimeters import Perimeter, parse_perimeter
from crossview.imagery.cogs import (
    Credit,
    CutJob,
    fetch_cut,
    list_missing,
    name_folder,
    place_cut,
    plan_cut,
)
from crossview.imagery.sources import open_sources

EAST, NORTH, PX_M, SIDE_PX = 400_000.0, 5_800_000.0, 0.5, 5000
CREDIT = Credit(attribution="Some Survey (CC BY 4.0)", date="2024-06-18")


@pytest.fixture(scope="module")
def cog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,000 x 5,000 random pixels in UTM, tiles of 512, overviews: 100 MB."""
    folder = tmp_path_factory.mktemp("cog")
    random = np.random.default_rng(7)
    pixels = random.integers(0, 255, (3, SIDE_PX, SIDE_PX), np.uint8)
    profile = dict(driver="GTiff", width=SIDE_PX, height=SIDE_PX, count=3, dtype="uint8",
                   crs="EPSG:25833", transform=from_origin(EAST, NORTH, PX_M, PX_M),
                   tiled=True, blockxsize=512, blockysize=512)  # fmt: skip
    plain = folder / "plain.tif"
    with rasterio.open(plain, "w", **profile) as file:
        file.write(pixels)
        file.build_overviews([2, 4], Resampling.average)
    out = folder / "a.tif"
    copy_raster(plain, out, driver="COG", compress="NONE", blocksize=512)
    return out


def make_area(left_m: float, top_m: float, width_m: float, height_m: float) -> Perimeter:
    """A box on the picture, in metres from its upper left corner."""
    x = np.array([left_m, left_m + width_m, left_m + width_m, left_m, left_m]) + EAST
    y = NORTH - np.array([top_m, top_m, top_m + height_m, top_m + height_m, top_m])
    lat, lon = convert_to_latlon("EPSG:25833", x, y)
    ring = [[float(a), float(b)] for a, b in zip(lon, lat, strict=True)]
    return parse_perimeter({"type": "Polygon", "coordinates": [ring[::-1]]})


@pytest.fixture
def server(cog: Path) -> Iterator[WebServer]:
    data = cog.read_bytes()

    def answer(asked: Asked) -> Answer:
        if asked.path != "/a.tif":
            return Answer(b"", 404)
        first, last = asked.headers["range"].removeprefix("bytes=").split("-")
        part = data[int(first) : int(last) + 1]
        end = int(first) + len(part) - 1
        return Answer(part, 206, {"Content-Range": f"bytes {first}-{end}/{len(data)}", "ETag": "1"})

    with serving(answer) as running:
        yield running


def test_only_the_ranges_of_the_area_are_read_and_pixels_and_place_are_the_files_own(
    server: WebServer, cog: Path, tmp_path: Path
) -> None:
    area = make_area(1000.0, 1100.0, 150.0, 120.0)
    with Downloads() as downloads:
        url = f"{server.address}/a.tif"

        def stream() -> io.BufferedIOBase:
            return downloads.open_ranges(url, tmp_path / "ranges")

        cut = plan_cut(stream, url, area, 0.5)
        paths = list(fetch_cut(stream, url, cut, tmp_path / "out", CREDIT))
        assert cut.level == -1
        assert downloads.bytes < 0.2 * cog.stat().st_size
    imagery = open_sources(paths)
    assert imagery.info.attribution == CREDIT.attribution
    assert imagery.info.date == "2024-06-18"
    with rasterio.open(cog) as whole:
        for path in paths:
            with rasterio.open(path) as block:
                window = whole.window(*block.bounds)
                assert np.array_equal(block.read(), whole.read(window=window))
                assert block.crs == whole.crs
    lons, lats = zip(*area.polygons[0][0], strict=True)
    for lat, lon in zip(lats, lons, strict=True):
        inside = [sheet.grid.pixel(lat, lon) for sheet in imagery.sheets]
        assert any(
            -0.5 <= c <= s.grid.width_px + 0.5 and -0.5 <= r <= s.grid.height_px + 0.5
            for (c, r), s in zip(inside, imagery.sheets, strict=True)
        )
    imagery.close()


@pytest.mark.parametrize(
    ("wanted_m", "level"), [(0.3, -1), (0.5, -1), (0.9, -1), (1.1, 0), (9.0, 1)]
)
def test_the_coarsest_overview_that_is_fine_enough_is_taken(
    cog: Path, tmp_path: Path, wanted_m: float, level: int
) -> None:
    area = make_area(100.0, 100.0, 300.0, 300.0)
    cut = plan_cut(lambda: cog.open("rb"), "a.tif", area, wanted_m)
    assert cut.level == level
    assert cut.metres_per_px == pytest.approx(PX_M * 2 ** (level + 1), rel=1e-3)
    (path,) = fetch_cut(lambda: cog.open("rb"), "a.tif", cut, tmp_path, CREDIT)
    with rasterio.open(path) as block, rasterio.open(cog) as whole:
        assert block.bounds.left >= whole.bounds.left - 1e-6
        assert block.res[0] == pytest.approx(PX_M * 2 ** (level + 1), rel=1e-3)


def test_blocks_that_are_there_are_not_read_again_and_half_written_ones_are_no_blocks(
    server: WebServer, tmp_path: Path
) -> None:
    area = make_area(0.0, 0.0, 1200.0, 1200.0)
    with Downloads() as downloads:
        url = f"{server.address}/a.tif"

        def stream() -> io.BufferedIOBase:
            return downloads.open_ranges(url, tmp_path / "ranges")

        cut = plan_cut(stream, url, area, 0.5)
        assert len(cut.boxes) == 4
        writing = fetch_cut(stream, url, cut, tmp_path / "out", CREDIT)
        first = next(writing)
        writing.close()  # as if it had been killed
        assert first.is_file()
        assert len(list_missing(cut, tmp_path / "out")) == 3
        before, written = downloads.requests, first.stat().st_mtime_ns
        paths = list(fetch_cut(stream, url, cut, tmp_path / "out", CREDIT))
        assert first.stat().st_mtime_ns == written
        assert downloads.requests > before
        asked = downloads.requests
        assert list(fetch_cut(stream, url, cut, tmp_path / "out", CREDIT)) == paths
        assert downloads.requests == asked
    ranges = [one.headers["range"] for one in server.asked]
    assert len(ranges) == len(set(ranges))  # nothing is fetched twice


def test_an_area_beside_the_picture_has_no_blocks(cog: Path, tmp_path: Path) -> None:
    cut = plan_cut(lambda: cog.open("rb"), "a.tif", make_area(9000.0, 0.0, 100.0, 100.0), 0.5)
    assert cut.is_empty
    assert list(fetch_cut(lambda: cog.open("rb"), "a.tif", cut, tmp_path, CREDIT)) == []


def test_what_a_server_lacks_or_refuses_is_said_as_it_was(
    server: WebServer, tmp_path: Path
) -> None:
    area = make_area(0.0, 0.0, 100.0, 100.0)
    with Downloads() as downloads:
        url = f"{server.address}/none.tif"
        with pytest.raises(NotOnServer):
            plan_cut(lambda: downloads.open_ranges(url, tmp_path / "r"), url, area, 0.5)


def test_a_failure_in_the_middle_of_reading_is_said_as_it_was(cog: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 1_000_000:
                raise BadAnswer("not the bytes asked")
            return super().read(size)

    area = make_area(2000.0, 2000.0, 100.0, 100.0)
    data = cog.read_bytes()
    cut = plan_cut(lambda: io.BytesIO(data), "a.tif", area, 0.5)
    with pytest.raises(BadAnswer, match="not the bytes asked"):
        list(fetch_cut(lambda: Failing(data), "a.tif", cut, cog.parent / "failing", CREDIT))


def write(path: Path, **profile: object) -> Path:
    values = dict(driver="GTiff", width=64, height=64, count=3, dtype="uint8", crs="EPSG:25833",
                  transform=from_origin(EAST, NORTH, PX_M, PX_M)) | profile  # fmt: skip
    with rasterio.open(path, "w", **values) as file:
        if int(str(values["width"])) < 5000:
            file.write(np.zeros((3, 64, 64), np.uint8))
    return path


def test_hostile_files_are_refused_before_pixels_are_read(tmp_path: Path) -> None:
    area = make_area(0.0, 0.0, 10.0, 10.0)

    def plan(path: Path) -> None:
        plan_cut(lambda: path.open("rb"), path.name, area, 0.5)

    (text := tmp_path / "list.tif").write_text("<VRTDataset><SourceFilename>/etc/passwd")
    with pytest.raises(BadImagery, match="cannot be read as a cloud-optimised GeoTIFF"):
        plan(text)
    with pytest.raises(NotGeoreferenced):
        plan(write(tmp_path / "nowhere.tif", crs=None))
    strips = write(tmp_path / "strips.tif", width=9000, height=64, compress="deflate")
    with pytest.raises(BadImagery, match="stored in pieces"):
        plan(strips)
    huge = write(tmp_path / "huge.tif", width=20_000_000, height=64, tiled=True, blockxsize=256,
                 blockysize=256, compress="deflate", sparse_ok=True)  # fmt: skip
    with pytest.raises(BadImagery, match="more than any picture has"):
        plan(huge)


def test_nothing_beside_the_file_is_asked_for(server: WebServer, tmp_path: Path) -> None:
    area = make_area(0.0, 0.0, 100.0, 100.0)
    with Downloads() as downloads:
        url = f"{server.address}/a.tif"
        plan_cut(lambda: downloads.open_ranges(url, tmp_path / "r"), url, area, 0.5)
    assert set(server.paths()) == {"/a.tif"}


def test_a_new_signature_is_no_new_file_and_another_name_in_the_query_is() -> None:
    first = "https://host/get?file=a.tif&se=2026-01-01&sig=abc%2B"
    assert name_folder(first) == name_folder("https://host/get?file=a.tif&se=2027-01-01&sig=d")
    assert name_folder(first) != name_folder("https://host/get?file=b.tif&se=2026-01-01&sig=abc%2B")
    assert name_folder("https://host/a.tif") != name_folder("https://host/b.tif")


def test_a_token_in_the_address_is_kept_nowhere(server: WebServer, tmp_path: Path) -> None:
    area = make_area(0.0, 0.0, 100.0, 100.0)
    with Downloads(secrets=["s3cr3t"]) as downloads:
        url = f"{server.address}/a.tif?token=s3cr3t"
        placed = place_cut(url, area, 0.5, CREDIT, downloads=downloads, folder=tmp_path)
        assert placed is not None
        paths = CutJob((placed,)).fetch(downloads, lambda done, total: None)
    assert paths
    assert server.asked[0].query["token"] == "s3cr3t"
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "facts.json" for path in kept)
    assert [path for path in kept if b"s3cr3t" in path.read_bytes() or "s3cr3t" in str(path)] == []
