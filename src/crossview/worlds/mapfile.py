"""The orthophoto as a GeoTIFF that says of itself that it is synthetic."""

from __future__ import annotations

from pathlib import Path

from crossview.arrays import U8
from crossview.files import writing
from crossview.worlds.photofile import ATTRIBUTION, GDAL_METADATA, SYNTHETIC_TAG
from crossview.worlds.raster import CELL_M
from crossview.worlds.siting import EPSG, site
from crossview.worlds.town import Town
from crossview.worlds.version import TOWN_VERSION


def is_synthetic(path: Path) -> bool:
    """Whether a file is a map that :func:`write_map` has written."""
    from PIL import Image

    try:
        with Image.open(path, formats=["TIFF"]) as image:
            return SYNTHETIC_TAG in str(image.getexif().get(GDAL_METADATA, ""))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def write_map(path: Path, town: Town, picture: U8) -> None:
    """Write [n, n, 3] as a tiled, compressed GeoTIFF in UTM, tagged with the town's version."""
    import rasterio
    from rasterio.transform import from_origin

    spot = site(town)
    profile = {
        "driver": "GTiff", "width": picture.shape[1], "height": picture.shape[0], "count": 3,
        "dtype": "uint8", "crs": f"EPSG:{EPSG}", "tiled": True, "compress": "deflate",
        "photometric": "RGB", "blockxsize": 256, "blockysize": 256,
        "transform": from_origin(spot.west_m, spot.north_m, CELL_M, CELL_M),
    }  # fmt: skip
    with writing(path) as temporary, rasterio.open(temporary, "w", **profile) as raster:
        raster.write(picture.transpose(2, 0, 1))
        raster.update_tags(**{
            SYNTHETIC_TAG: f"town {TOWN_VERSION}",
            "TIFFTAG_COPYRIGHT": ATTRIBUTION,
            "TIFFTAG_IMAGEDESCRIPTION": f"style {town.style_name}, seed {town.seed}",
        })  # fmt: skip
