"""What given paths are: rasters with a place, images of a table, tile archives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crossview.errors import BadImagery, NotGeoreferenced
from crossview.files import list_files
from crossview.geo.grids import RasterGrid
from crossview.imagery.image_tables import ImageRow, is_image_table, read_image_table
from crossview.imagery.pyramids import NorthUp
from crossview.imagery.rasters import RasterFile, read_facts
from crossview.imagery.source_options import SourceOptions
from crossview.imagery.tile_archives import MbTiles, PmTiles, XyzFolder
from crossview.imagery.tilemaps import TILEMAP

RASTERS = {".tif", ".tiff", ".jp2", ".j2k", ".jpg", ".jpeg", ".png", ".webp", ".vrt", ".img"}


@dataclass(frozen=True, kw_only=True)
class PlacedRaster:
    """A raster file and its grid. ``alone``: with a grid of its own, no part of a mosaic."""

    file: RasterFile
    grid: RasterGrid
    alone: bool
    attribution: str
    date: str


@dataclass
class Found:
    """What paths turned out to be; ``ignored`` are pictures without a place in a folder."""

    rasters: list[PlacedRaster] = field(default_factory=list)
    archives: list[NorthUp] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def recognise(paths: Sequence[str | Path], options: SourceOptions) -> Found:
    """Look at each path. Raises :class:`BadImagery` for what is missing or of no known kind."""
    found = Found()
    for path in map(Path, paths):
        if path.is_dir():
            _look_into(path, options, found)
        elif path.is_file():
            _look_at(path, options, found)
        else:
            raise BadImagery(
                f"There is no {path}. Give existing files or folders of imagery; addresses, and "
                "paths that mean something to GDAL only, are not read."
            )
    return found


def _look_at(path: Path, options: SourceOptions, found: Found) -> None:
    suffix = path.suffix.lower()
    if suffix == ".mbtiles":
        found.archives.append(NorthUp(MbTiles(path), options.tms))
    elif suffix == ".pmtiles":
        found.archives.append(NorthUp(PmTiles(path), options.tms))
    elif path.name.lower() == TILEMAP:
        _look_into(path.parent, options, found)
    elif suffix == ".csv":
        found.rasters.extend(_placed_by(row, options) for row in read_image_table(path, options))
    else:
        found.rasters.append(_placed(path, options))


def _look_into(folder: Path, options: SourceOptions, found: Found) -> None:
    if XyzFolder.looks_like(folder):
        found.archives.append(NorthUp(XyzFolder(folder), options.tms))
        return
    files = list_files(folder)
    tables = [path for path in files if path.suffix.lower() == ".csv" and is_image_table(path)]
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise BadImagery(f"{folder} holds several image tables ({names}); give one of them.")
    if tables:
        _look_at(tables[0], options, found)
        return
    before, problem = len(found.rasters), None
    pictures = [path for path in files if path.suffix.lower() in RASTERS]
    lists = (
        [] if options.allow_vrt else [path for path in pictures if path.suffix.lower() == ".vrt"]
    )
    if 0 < len(lists) < len(pictures):  # most likely lists of the files beside them
        found.notes.append(
            f"{lists[0]} was left out: it is a list of other files; --allow-vrt reads it"
        )
        pictures = [path for path in pictures if path not in lists]
    for path in pictures:
        try:
            found.rasters.append(_placed(path, options))
        except NotGeoreferenced as why:
            problem = problem or why
            found.ignored.append(path)
    if len(found.rasters) == before:
        raise problem or BadImagery(
            f"{folder} holds no imagery that crossview knows.\n"
            "Expected GeoTIFFs, pictures with world files, a CSV (file,lat,lon,metres_per_px) or "
            "an XYZ folder (zoom/x/y.png)."
        )


def _placed(path: Path, options: SourceOptions) -> PlacedRaster:
    file, grid = read_facts(path, options).placed(options.crs)
    return PlacedRaster(
        file=file, grid=grid, alone=False, attribution=file.attribution, date=file.date
    )


def _placed_by(row: ImageRow, options: SourceOptions) -> PlacedRaster:
    if not row.path.is_file():
        raise BadImagery(f"There is no {row.path}, which the table names.")
    file = read_facts(row.path, options).upright()
    scale = row.scale(file.size_px[0])
    return PlacedRaster(
        file=file,
        grid=RasterGrid.around(row.centre, scale, file.size_px, row.up_bearing_deg),
        alone=True,
        attribution=row.attribution or file.attribution,
        date=row.date or file.date,
    )
