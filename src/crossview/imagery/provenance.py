"""What is said of imagery: by the user (SourceOptions), and by an index later (ImageryInfo)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from crossview.arrays import F64
from crossview.errors import BadImagery
from crossview.geo.points import find_lon_range
from crossview.imagery.sheets import Sheet
from crossview.schema import Positive, Text, check

_Lat = Annotated[float, Interval(ge=-90.0, le=90.0)]
_Lon = Annotated[float, Interval(ge=-540.0, le=540.0)]  # earlier indexes went beyond 180
Bounds = tuple[_Lat, _Lon, _Lat, _Lon]  # south, west, north, east


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How to read sources. None means: as the source says, or the usual.

    ``finest_useful_m``: ground metres per pixel below which more detail is of no use (the model
    would average it away); finer rasters are averaged while reading, pyramids use a lower zoom.
    """

    bands: tuple[int, ...] | None = None  # three for red, green, blue, or one for grey; from 1
    stretch: tuple[float, float] | None = None  # percentiles that become black and white
    crs: str | None = None  # of all files and tables, whatever they say themselves
    metres_per_px: float | None = None  # of images in a CSV that have none
    width_m: float | None = None  # likewise
    zoom: int | None = None  # of tile pyramids
    tms: bool | None = None  # of tile pyramids: rows from the south, from the north, as they say
    nodata: tuple[float, ...] | None = None  # stored value of no data: one, or one per band
    allow_vrt: bool | None = None  # read lists of local files (GDAL's VRT)
    attribution: str | None = None
    date: str | None = None
    finest_useful_m: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> SourceOptions:
        """The inverse of :meth:`to_json`."""
        tuples: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return SourceOptions(**tuples)


@dataclass(frozen=True, kw_only=True)
class ImageryInfo:
    """Where imagery came from and how it was read.

    ``synthetic`` names the town (``town 1a2b3c4d``) when all of it was made by ``crossview
    world``, and is None as soon as one source was not. ``signature`` changes when a file does.
    """

    sources: tuple[Text, ...]  # absolute paths
    attribution: Text
    date: Text
    metres_per_px: Positive  # ground metres, of the coarsest sheet as it was read
    synthetic: Text | None
    bounds: Bounds  # west > east where the imagery crosses longitude 180 (RFC 7946, 5.2)
    options: SourceOptions
    stretched: tuple[tuple[float, float], ...] | None  # values that became black and white
    signature: Text
    warnings: tuple[Text, ...] = ()  # what every answer must carry, such as a missing datum shift

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> ImageryInfo:
        """The inverse of :meth:`to_json`; ValueError for anything else."""
        return check(ImageryInfo, values)

    def merge(self, other: ImageryInfo) -> ImageryInfo:
        """What holds of an index that was made from both."""
        both = self.synthetic is not None and other.synthetic is not None
        return ImageryInfo(
            sources=(*self.sources, *other.sources),
            attribution=join_texts([self.attribution, other.attribution]),
            date=join_texts([self.date, other.date]),
            metres_per_px=max(self.metres_per_px, other.metres_per_px),
            synthetic=join_texts([self.synthetic or "", other.synthetic or ""]) if both else None,
            bounds=join_bounds([self.bounds, other.bounds]),
            options=other.options,
            stretched=other.stretched,
            signature=hashlib.sha256(f"{self.signature}{other.signature}".encode()).hexdigest(),
            warnings=tuple(dict.fromkeys((*self.warnings, *other.warnings))),
        )


def join_texts(texts: Iterable[str]) -> str:
    """Different texts once each, in order: ``"(c) A; (c) B"``."""
    return "; ".join(dict.fromkeys(part for text in texts for part in text.split("; ") if part))


def compute_signature(files: Iterable[Path]) -> str:
    """sha256 over names, sizes and times of change, in the given order."""
    digest = hashlib.sha256()
    for path in files:
        try:
            facts = path.stat()
        except OSError as problem:
            raise BadImagery(f"{path} cannot be read: {problem.strerror}.") from problem
        digest.update(f"{path.name}\n{facts.st_size}\n{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def compute_bounds(sheets: Sequence[Sheet]) -> Bounds:
    """South, west, north, east of all sheets, from points around their edges.

    West is greater than east where they cross longitude 180; around a pole is every longitude.
    """
    along = np.linspace(0.0, 1.0, 9)
    zeros, ones = np.zeros(9), np.ones(9)
    columns = np.concatenate([along, along, zeros, ones])
    rows = np.concatenate([zeros, ones, along, along])
    boxes = []
    for grid in (sheet.grid for sheet in sheets):
        lat, lon = grid.latlon(columns * grid.width_px, rows * grid.height_px)
        south, west, north, east = _bound_points(lat, lon)
        if grid.contains_pole(90.0):
            north, west, east = 90.0, -180.0, 180.0
        if grid.contains_pole(-90.0):
            south, west, east = -90.0, -180.0, 180.0
        boxes.append((south, west, north, east))
    return join_bounds(boxes)


def join_bounds(boxes: Sequence[Bounds]) -> Bounds:
    """The smallest box around boxes, N >= 1; of arcs of longitude the shortest that holds all."""
    arcs = sorted((west, west + _measure_width_deg(west, east), east) for _, west, _, east in boxes)
    _, reach, east_of_gap = arcs[0]
    west, _, east = arcs[0]  # beside the gap from the last arc over 180 to the first
    gap = -math.inf
    for start, end, edge in arcs[1:]:
        if start - reach > gap:
            gap, west, east = start - reach, start, east_of_gap
        if end > reach:
            reach, east_of_gap = end, edge
    around = arcs[0][0] + 360.0 - reach
    if around >= gap:
        west, east = arcs[0][0], east_of_gap
    if max(around, gap) <= 0.0:
        west, east = -180.0, 180.0
    return min(box[0] for box in boxes), west, max(box[2] for box in boxes), east


def _measure_width_deg(west: float, east: float) -> float:
    """Degrees from west to east, over longitude 180 where west is greater."""
    return east - west if west <= east else east - west + 360.0


def _bound_points(lat: F64, lon: F64) -> Bounds:
    """The box of places around a sheet's edge."""
    west, east = find_lon_range(lon)
    return float(lat.min()), west, float(lat.max()), east
