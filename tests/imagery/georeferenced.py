"""Small rasters whose every pixel tells its own column and row."""

import sqlite3

import cv2
import numpy as np
import rasterio
from rasterio.transform import Affine

from crossview.geo.mercator import build_tile_grid, find_tile
from crossview.geo.points import LatLon
from crossview.imagery.provenance import SourceOptions
from crossview.imagery.sources import open_sources

UTM33 = "EPSG:32633"
BERLIN = LatLon(52.52, 13.40)


def draw_positions(height, width, top=0, left=0):
    """RGB [height, width, 3]: red = column % 256, green = row % 256, blue = the rest of both."""
    rows, columns = np.mgrid[top : top + height, left : left + width]
    return np.stack(
        [columns % 256, rows % 256, (columns // 256) * 16 + rows // 256], axis=-1
    ).astype(np.uint8)


def read_position(pixel):
    """(column, row) of a pixel of :func:`draw_positions`."""
    red, green, blue = (int(value) for value in pixel)
    return red + 256 * (blue // 16), green + 256 * (blue % 16)


def geotiff(path, pixels, *, crs=UTM33, transform=None, tags=None, mask=None, **profile):
    """Write pixels [H, W, bands]; the default is 0.5 m per pixel near Berlin."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    transform = transform or Affine(0.5, 0, 391_000.0, 0, -0.5, 5_820_000.0)
    height, width, bands = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=bands, crs=crs,
        dtype=pixels.dtype, transform=transform, **profile,
    ) as raster:  # fmt: skip
        raster.write(np.moveaxis(pixels, -1, 0))
        raster.update_tags(**(tags or {}))
        if mask is not None:
            raster.write_mask(mask)
    return path


def png(pixels):
    return cv2.imencode(".png", pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]])[1].tobytes()


def tiles_around(place, zoom, across, size=64):
    """{(x, y): pixels} of across x across tiles of :func:`draw_positions`, and their grid."""
    x, y = (int(v) for v in find_tile(place, zoom))
    tiles = {
        (x + i, y + j): draw_positions(size, size, j * size, i * size)
        for i in range(across)
        for j in range(across)
    }
    return tiles, build_tile_grid(zoom, (x, y), (x + across - 1, y + across - 1), size)


def xyz_folder(folder, tiles, zoom):
    for (x, y), pixels in tiles.items():
        (folder / str(zoom) / str(x)).mkdir(parents=True, exist_ok=True)
        (folder / str(zoom) / str(x) / f"{y}.png").write_bytes(png(pixels))
    return folder


def mbtiles(path, tiles, zoom, **facts):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE metadata (name text, value text)")
        db.execute(
            "CREATE TABLE tiles"
            " (zoom_level integer, tile_column integer, tile_row integer, tile_data blob)"
        )
        db.executemany("INSERT INTO metadata VALUES (?, ?)", facts.items())
        rows = [(zoom, x, 2**zoom - 1 - y, png(pixels)) for (x, y), pixels in tiles.items()]
        db.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", rows)
    db.close()
    return path


def pmtiles(path, tiles, zoom, **facts):
    from pmtiles.tile import Compression, TileType, zxy_to_tileid
    from pmtiles.writer import Writer

    with path.open("wb") as file:
        writer = Writer(file)
        numbered = {zxy_to_tileid(zoom, x, y): pixels for (x, y), pixels in tiles.items()}
        for number in sorted(numbered):
            writer.write_tile(number, png(numbered[number]))
        header = {"tile_type": TileType.PNG, "tile_compression": Compression.NONE}
        extent = {"min_zoom": zoom, "max_zoom": zoom, "center_zoom": zoom}
        corners = ("min_lon_e7", "min_lat_e7", "max_lon_e7", "max_lat_e7")
        centre = ("center_lon_e7", "center_lat_e7")
        places = dict.fromkeys((*corners, *centre), 0)
        writer.finalize(header | extent | places, facts)
    return path


def read_only_sheet(*paths, **options):
    """(pixels, valid, sheet) of the only sheet of some sources."""
    with open_sources(paths, SourceOptions(**options)) as imagery:
        (sheet,) = imagery.sheets
        return (*sheet.store.read(sheet.box), sheet)


def info(*paths, **options):
    with open_sources(paths, SourceOptions(**options)) as imagery:
        return imagery.info
