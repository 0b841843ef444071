"""Turn the pictures of docs/real-data.md into what crossview reads: GeoTIFFs and places.csv.

    python docs/examples/real_places.py DATA OUT

DATA holds helsinki/ (street photos, orthophotos, pairs.csv) and berlin_dop/ (orthophoto
tiles of 128 m). OUT gets aerial/*.tif at their true extents, photos/*.jpg, places.csv and LICENCE.
The data set says that the orthophotos of Helsinki span 200 m. They span 250 m, 0.5 m per pixel:
at no other scale do the point clouds beside them fit (benchmarks/clouds.py).
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from pyproj import Transformer
from rasterio.transform import from_origin

HELSINKI_M, HELSINKI_CRS = 250.0, 3067  # ETRS-TM35FIN, the projection of the orthophoto sheets
BERLIN_M, BERLIN_CRS = 128.0, 25833  # ETRS89 / UTM 33N
LICENCES = """Street photos of Helsinki: Mapillary, CC BY-SA.
Orthophotos: Helsinki (c) National Land Survey of Finland, CC BY 4.0;
Berlin (c) GeoBasis-DE/LGB, dl-de/by-2-0. Through CVH3D (Khan, Rodrigues, Tani, IGARSS 2025).
"""
HELSINKI_BY = "Orthophotos: National Land Survey of Finland, CC BY 4.0"
BERLIN_BY = "(c) GeoBasis-DE/LGB, dl-de/by-2-0"


def write_geotiff(picture: Path, out: Path, lat: float, lon: float, ground: tuple) -> None:
    """Write a square picture centred on a place, ``ground`` = (side in metres, EPSG, credit)."""
    side_m, epsg, credit = ground
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    east, north = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    step = side_m / pixels.shape[1]
    profile = {
        "driver": "GTiff", "count": 3, "dtype": "uint8", "crs": f"EPSG:{epsg}",
        "height": pixels.shape[0], "width": pixels.shape[1], "photometric": "RGB",
        "transform": from_origin(east - side_m / 2, north + side_m / 2, step, step),
    }  # fmt: skip
    with rasterio.open(out, "w", **profile) as raster:
        raster.write(pixels.transpose(2, 0, 1))
        raster.update_tags(TIFFTAG_COPYRIGHT=credit)


def main(data: Path, out: Path) -> None:
    """Write everything below ``out``."""
    for folder in ("aerial", "photos"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    rows = []
    with (data / "helsinki/pairs.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name, lat, lon = row["pair_id"], float(row["lat"]), float(row["lon"])
            ground = (HELSINKI_M, HELSINKI_CRS, HELSINKI_BY)
            tif = out / f"aerial/helsinki_{name}.tif"
            write_geotiff(data / "helsinki" / row["aerial"], tif, lat, lon, ground)
            shutil.copy(data / "helsinki" / row["ground"], out / f"photos/{name}.jpg")
            rows.append([f"photos/{name}.jpg", lat, lon, row["compass_deg"], "", "photo"])
    for table in ("tiles.json", "train/train.json"):
        path = data / "berlin_dop" / table
        for tile in json.loads(path.read_text(encoding="utf-8"))["tiles"]:
            source = path.parent / tile["file"]
            tif = out / f"aerial/berlin_{source.stem}.tif"
            ground = (BERLIN_M, BERLIN_CRS, BERLIN_BY)
            write_geotiff(source, tif, tile["lat"], tile["lon"], ground)
    with (out / "places.csv").open("w", encoding="utf-8", newline="") as file:
        columns = ["file", "lat", "lon", "heading_deg", "fov_deg", "kind"]
        csv.writer(file).writerows([columns, *rows])
    (out / "LICENCE").write_text(LICENCES, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
