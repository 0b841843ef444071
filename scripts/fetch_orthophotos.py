"""Fetch the open orthophotos that the packaged model is trained on, from their public addresses.

    python scripts/fetch_orthophotos.py FOLDER                     all sets that have addresses
    python scripts/fetch_orthophotos.py FOLDER --set naip_california

The list is ``src/crossview/worlds/ortho_tiles.csv``. What is there already stays; each picture must
be the listed one: by its sha256 where the source is kept as it is, else by its size and look (it
is cut and stored as JPEG again, and another encoder writes other bytes). Sets without addresses
(Banepa, Berlin) are named at the end, with what is known of their origin.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import urllib.request
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from crossview.errors import CrossviewError
from crossview.files import atomic_write
from crossview.imagery.drivers import gdal, open_raster
from crossview.worlds.ortho_sets import (
    ListedTile,
    choose_tiles,
    find_file,
    is_listed,
    list_sets,
    open_tile,
)

MOST_BYTES = 200_000_000
QUALITY = 90


def main() -> int:
    """Fetch what is missing; 1 if a picture could not be had or is not the listed one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", action="append", default=[], help="only these sets")
    wanted = parser.parse_args()
    failed = 0
    tiles = choose_tiles(sets=wanted.set)
    for number, tile in enumerate(tiles, 1):
        try:
            open_tile(wanted.folder, tile)
            continue
        except CrossviewError:
            pass  # missing, or not the listed picture
        if not tile.address:
            continue
        try:
            fetch(wanted.folder, tile)
            print(f"{number}/{len(tiles)} {tile.source.name}/{tile.file}", flush=True)
        except (OSError, ValueError, CrossviewError) as problem:
            failed += 1
            print(f"{tile.source.name}/{tile.file}: {problem}", file=sys.stderr)
    for one in list_sets():
        lacking = [t for t in tiles if t.source is one and not t.address]
        if lacking and not find_file(wanted.folder, lacking[0]).is_file():
            print(f"{one.name}: no address of single tiles is known. {one.note}")
    return 1 if failed else 0


def fetch(folder: Path, tile: ListedTile) -> None:
    """Download a tile's source, cut it, and write it whole if it is the listed picture."""
    data = download(tile.address)
    if not tile.source.bytes:
        picture = decode(data)[
            tile.top_px : tile.top_px + tile.height_px,
            tile.left_px : tile.left_px + tile.width_px,
        ]
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=QUALITY)
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if stored is None or not is_listed(data, stored, tile):
        raise ValueError(f"{tile.address} does not give the picture that is listed")
    path = folder / tile.source.folder / tile.file
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, data)


@lru_cache(maxsize=1)
def download(address: str) -> bytes:
    """The bytes at an address; one source may be cut into many tiles."""
    if not address.startswith("https://"):
        raise ValueError(f"{address} is no https address")
    with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - https only
        data = answer.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"{address} gives more than {MOST_BYTES} bytes")
    return bytes(data)


def decode(data: bytes) -> np.ndarray:
    """Red, green and blue [h, w, 3] of a downloaded picture, by one of the drivers we trust."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "source"
        path.write_bytes(data)
        with gdal(), open_raster(path) as source:
            return np.moveaxis(source.read((1, 2, 3)), 0, -1).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
