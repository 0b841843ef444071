"""RasterGrid: pixels placed on Earth by a coordinate reference system and an affine transform."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossview.arrays import F64
from crossview.errors import InvalidValue, NotGeoreferenced, require
from crossview.geo.points import LatLon, wrap_lon

_FURTHEST_LON = 540.0  # degrees: 360 east of longitude 180
Affine6 = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class GroundScale:
    """What a pixel measures on the ground, arrays of one shape.

    Metres along a row (``right_m``) and along a column (``down_m``), and the bearing of the
    column's upper end, clockwise from true north in [-180, 180).
    """

    right_m: F64
    down_m: F64
    up_bearing_deg: F64


@dataclass(frozen=True, slots=True)
class RasterGrid:
    """A raster's place on Earth, whatever its projection.

    ``crs`` is WKT. ``transform`` (a, b, c, d, e, f) maps continuous pixel coordinates (pixel
    centres at halves) to x = a column + b row + c and y = d column + e row + f. Rows must run
    clockwise of columns as in any picture that is not mirrored: a e - b d < 0.
    """

    crs: str
    transform: Affine6
    width_px: int
    height_px: int

    def __post_init__(self) -> None:
        a, b, _, d, e, _ = self.transform
        require(
            self.width_px > 0 and self.height_px > 0 and math.isfinite(sum(self.transform)),
            f"a grid needs pixels and a finite transform, got {self.width_px} x {self.height_px} "
            f"pixels and {self.transform}.",
        )
        require(a * e - b * d < 0.0, f"the grid's transform {self.transform} mirrors the picture.")

    @staticmethod
    def around(
        centre: LatLon, metres_per_px: float, size_px: tuple[int, int], up_bearing_deg: float = 0.0
    ) -> RasterGrid:
        """A picture of known centre, scale, (width, height) and bearing of up, in ground metres."""
        require(metres_per_px > 0.0, f"metres_per_px must be > 0, got {metres_per_px}.")
        crs = f"+proj=aeqd +lat_0={centre.lat!r} +lon_0={centre.lon!r} +datum=WGS84 +units=m"
        cos, sin = (
            turn(math.radians(up_bearing_deg)) * metres_per_px for turn in (math.cos, math.sin)
        )
        a, b, d, e = cos, -sin, -sin, -cos
        width, height = size_px
        c, f = -(a * width + b * height) / 2.0, -(d * width + e * height) / 2.0
        return RasterGrid(convert_to_wkt(crs), (a, b, c, d, e, f), width, height)

    def crop(self, left_px: float, top_px: float, width_px: int, height_px: int) -> RasterGrid:
        """The grid of a part of this one (or of a larger one around it)."""
        a, b, c, d, e, f = self.transform
        x, y = a * left_px + b * top_px + c, d * left_px + e * top_px + f
        return replace(self, transform=(a, b, x, d, e, y), width_px=width_px, height_px=height_px)

    def shrink(self, times: int) -> RasterGrid:
        """Every ``times`` x ``times`` pixels as one; the rest at the end is dropped."""
        a, b, c, d, e, f = self.transform
        return RasterGrid(
            self.crs,
            (a * times, b * times, c, d * times, e * times, f),
            self.width_px // times,
            self.height_px // times,
        )

    def latlon(self, column_px: ArrayLike, row_px: ArrayLike) -> tuple[F64, F64]:
        """Latitudes and longitudes of continuous pixel coordinates (arrays of one shape)."""
        a, b, c, d, e, f = self.transform
        column, row = np.asarray(column_px, float), np.asarray(row_px, float)
        return convert_to_latlon(self.crs, a * column + b * row + c, d * column + e * row + f)

    def pixel(self, lat: ArrayLike, lon: ArrayLike) -> tuple[F64, F64]:
        """Continuous (columns, rows) of places; the inverse of :meth:`latlon`.

        Also for grids that go beyond longitude 180 or count longitudes to 360.
        """
        x, y = make_transformer(self.crs).transform(
            np.asarray(lon, float), np.asarray(lat, float), direction="INVERSE"
        )
        a, b, c, d, e, f = self.transform
        x, y, determinant = np.asarray(x) - c, np.asarray(y) - f, a * e - b * d
        if (turn := find_x_period(self.crs)) is not None:
            middle = (a * self.width_px + b * self.height_px) / 2.0
            x = x - turn * np.rint((x - middle) / turn)
        return (e * x - b * y) / determinant, (a * y - d * x) / determinant

    def contains_pole(self, pole: float) -> bool:
        """Whether a pole, latitude 90 or -90, lies within the raster, not at its edge."""
        with np.errstate(invalid="ignore"):  # many projections have no pole
            column, row = self.pixel(pole, 0.0)
        return bool(0.5 < column < self.width_px - 0.5 and 0.5 < row < self.height_px - 0.5)

    def ground(self, column_px: ArrayLike, row_px: ArrayLike) -> GroundScale:
        """Ground metres per pixel and the bearing of up, geodesic on WGS84.

        In Web Mercator this is the nominal pixel size times cos(latitude), within 0.34 % (the
        ellipsoid's share).
        """
        column, row = np.asarray(column_px, float), np.asarray(row_px, float)
        left, right = self.latlon(column - 0.5, row), self.latlon(column + 0.5, row)
        above, below = self.latlon(column, row - 0.5), self.latlon(column, row + 0.5)
        _, _, right_m = _make_ellipsoid().inv(left[1], left[0], right[1], right[0])
        up, _, down_m = _make_ellipsoid().inv(below[1], below[0], above[1], above[0])
        bearing = (np.asarray(up) + 180.0) % 360.0 - 180.0
        return GroundScale(np.asarray(right_m), np.asarray(down_m), bearing)

    def skew_deg(self, column_px: float, row_px: float) -> float:
        """How far the ground angle from up to right differs from 90 degrees there."""
        left, right = (self.latlon(column_px + step, row_px) for step in (-0.5, 0.5))
        along, _, _ = _make_ellipsoid().inv(left[1], left[0], right[1], right[0])
        up = float(self.ground(column_px, row_px).up_bearing_deg)
        return (float(along) - up - 90.0 + 180.0) % 360.0 - 180.0


def convert_to_latlon(crs: str, x: ArrayLike, y: ArrayLike) -> tuple[F64, F64]:
    """Latitudes and longitudes of coordinates (arrays of one shape) in a reference system.

    Longitudes are in [-180, 180]. Raises :class:`NotGeoreferenced` for coordinates that are not a
    place on Earth.
    """
    lon, lat = make_transformer(crs).transform(x, y)
    lat, lon = np.asarray(lat, float), np.asarray(lon, float)
    if not (np.isfinite(lat).all() and np.isfinite(lon).all()):
        raise NotGeoreferenced(
            "The imagery's coordinates lie outside of its own projection's range.\n"
            "Check its coordinate reference system, or give the right one with --crs."
        )
    if np.abs(lat).max(initial=0.0) > 90.0 or np.abs(lon).max(initial=0.0) > _FURTHEST_LON:
        raise NotGeoreferenced(
            f"The imagery's coordinates, such as latitude {np.ravel(lat)[0]:.8g} and longitude "
            f"{np.ravel(lon)[0]:.8g}, are not degrees on Earth.\nThe two may be swapped, or its "
            "coordinate reference system is wrong: give the right one with --crs."
        )
    return lat, wrap_lon(lon)


_MOST_CRS_CHARACTERS = 100_000
_CRS_FILE = re.compile(
    r"(?<![a-z])(nadgrids|geoidgrids|[xyz]*_?grids|file|model|init)\s*=\s*(?!@?null\b)"
    r"|proj\s*=\s*pipeline|proj4_grids\"\s*,\s*\"(?!@?null\")|parameterfile\s*\[|\"filename\"",
    re.IGNORECASE,
)


def names_files(crs: str) -> bool:
    """Whether the text of a reference system makes PROJ open files, or is longer than any is.

    Grids of datum shifts, ``+init=``, pipelines. ``+nadgrids=@null`` names none. A stranger's file
    must not choose what is opened here.
    """
    return len(crs) > _MOST_CRS_CHARACTERS or _CRS_FILE.search(crs) is not None


def measure_turns(grid: RasterGrid) -> float:
    """How often the longer side of a raster would reach around the Earth."""
    import pyproj

    system = pyproj.CRS.from_user_input(grid.crs)
    per_unit = system.axis_info[0].unit_conversion_factor if system.axis_info else 1.0
    a, b, _, d, e, _ = grid.transform
    w, h = grid.width_px, grid.height_px
    side = max(abs(a) * w + abs(b) * h, abs(d) * w + abs(e) * h)
    return float(side * (per_unit or 1.0) / (2.0 * math.pi if system.is_geographic else 4.0075e7))


def convert_to_wkt(crs: str) -> str:
    """WKT of a reference system given as WKT, ``EPSG:25833``, a PROJ string and the like.

    Raises :class:`InvalidValue` for what PROJ does not know, :class:`NotGeoreferenced` for a
    system without a tie to Earth (a local or engineering one).
    """
    import pyproj

    try:
        system = pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError as problem:
        raise InvalidValue(
            f"Unknown coordinate reference system {crs[:80]!r}. "
            "Give an EPSG code such as EPSG:25833."
        ) from problem
    if not (system.is_geographic or system.is_projected):
        raise NotGeoreferenced(
            f"The coordinate reference system {system.name!r} is not tied to a place on Earth.\n"
            "Give the right one with --crs, for example --crs EPSG:25833."
        )
    return str(system.to_wkt())


@lru_cache(maxsize=256)
def make_transformer(crs: str) -> Any:
    """The transformer from a reference system to WGS84 (longitude, latitude in degrees).

    Raises :class:`NotGeoreferenced` for systems that PROJ knows by name only.
    """
    import pyproj

    try:
        return pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    except pyproj.exceptions.ProjError as problem:
        raise NotGeoreferenced(
            f"PROJ cannot convert {pyproj.CRS.from_user_input(crs).name!r} to WGS84.\n"
            "Convert the imagery elsewhere, or give another reference system with --crs."
        ) from problem


@lru_cache(maxsize=256)
def find_x_period(crs: str) -> float | None:
    """The length of x once around the Earth; None if x cannot go beyond longitude 180."""
    import pyproj

    system = pyproj.CRS.from_user_input(crs)
    if system.is_geographic:
        per_unit = system.axis_info[0].unit_conversion_factor  # radians
        return 2.0 * math.pi / per_unit if per_unit > 0.0 else 360.0
    operation = system.coordinate_operation
    if operation is None or "Mercator" not in operation.method_name:
        return None
    if "Transverse" in operation.method_name or "Oblique" in operation.method_name:
        return None
    radius_m = system.ellipsoid.semi_major_metre if system.ellipsoid else 6_378_137.0
    scales = [p.value for p in operation.params if "Scale factor" in p.name]
    plain = all(p.value == 0.0 for p in operation.params if "standard parallel" in p.name)
    metres = 1.0 if system.axis_info[0].unit_conversion_factor == 1.0 else math.nan
    turn = 2.0 * math.pi * radius_m * (scales[0] if scales else 1.0) * metres
    return turn if plain and math.isfinite(turn) else None


@lru_cache(maxsize=1)
def _make_ellipsoid() -> Any:
    import pyproj

    return pyproj.Geod(ellps="WGS84")


def convert_rows_to_latlon(crs: str, x: F64, y: F64) -> F64:
    """[N, 2] latitude and longitude of ``x`` (east) and ``y`` (north), [N] each, in ``crs``.

    Coordinates that are not a place on Earth give numbers that are not finite.
    """
    longitude, latitude = make_transformer(crs).transform(x, y)
    return np.stack([np.asarray(latitude, np.float64), wrap_lon(longitude)], axis=-1)
