"""RasterGrid: pixels placed on Earth by a coordinate reference system and an affine transform.

And what is known of reference systems, such as how accurately PROJ converts one to WGS84.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossview.arrays import F64
from crossview.errors import InvalidValue, NotGeoreferenced, require
from crossview.geo.points import LatLon, measure_distance_m, wrap_lon

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


# Datum shifts: how accurately PROJ converts a reference system to WGS84.

ROUGH_M = 5.0  # operations that are less accurate are noted with every answer
_FINE_M = 1.0  # operations at least this accurate are not mentioned
_UNKNOWN_M = 1000.0  # if no system of the same ellipsoid has a known shift there
_GEOCENTRIC_M = 3.0  # of systems on the ellipsoids of satellites (GRS80, WGS84), however named
_SATELLITE_AXES_M = (6_378_137.0, 6_356_752.314)
_WEB_SPHERE_M = (6_378_137.0, 6_378_137.0)  # of web maps, whose degrees are WGS84's by custom
_ALIKE = 1e-7  # of semi-axes that are the same; Xian 1980 is 5e-7 off those of satellites


@dataclass(frozen=True, slots=True, kw_only=True)
class DatumShift:
    """How PROJ converts between a reference system and WGS84 at a place.

    ``off_m``: the largest error of places; None if PROJ does not say. ``copied``: PROJ knows no
    shift and copies the degrees; then ``off_m`` is a bound, the furthest that other systems of the
    same ellipsoid lie from WGS84 there. ``missing``: files of grids that are more accurate.
    """

    system: str
    copied: bool
    off_m: float | None
    missing: tuple[str, ...]

    @property
    def is_rough(self) -> bool:
        """Whether every answer should carry it."""
        return self.off_m is not None and self.off_m >= ROUGH_M

    def __str__(self) -> str:
        grid = (
            f"; the grid {self.missing[0]} is missing (projsync --file {self.missing[0]})"
            if self.missing
            else ""
        )
        if self.copied:
            return (
                f"PROJ knows no datum shift from {self.system} to WGS84 and copies the degrees: "
                f"places may be off by up to about {self.off_m:.0f} m{grid}"
            )
        return f"PROJ converts {self.system} to WGS84 to about {self.off_m or 0:g} m{grid}"


def find_datum_shift(crs: str, place: LatLon) -> DatumShift | None:
    """The shift from ``crs`` to WGS84 at ``place``; None if there is nothing to report."""
    import pyproj

    system = pyproj.CRS.from_user_input(crs)
    operation = _find_operation(system, place)
    copied = "ballpark" in str(operation.description).lower()
    accuracy_m = float(operation.accuracy)
    off_m = accuracy_m if accuracy_m >= 0.0 else None
    if not copied and (off_m is None or off_m <= _FINE_M):
        return None
    missing = _list_missing_grids(system, place)
    if copied:
        off_m = max(1.0, _bound_shift_m(_find_geographic(system), place))
    shift = DatumShift(system=system.name, copied=copied, off_m=off_m, missing=missing)
    return shift if copied or shift.is_rough or missing else None


def _find_operation(system: Any, place: LatLon) -> Any:
    """The operation that PROJ uses there."""
    import pyproj

    transformer = pyproj.Transformer.from_crs(system, 4326, always_xy=True)
    x, y = transformer.transform(place.lon, place.lat, direction="INVERSE")
    if not (np.isfinite(x) and np.isfinite(y)):
        return transformer
    transformer.transform(x, y)
    try:
        return transformer.get_last_used_operation()
    except pyproj.exceptions.ProjError:
        return transformer  # there is only one


def _list_missing_grids(system: Any, place: LatLon) -> tuple[str, ...]:
    """Grids that PROJ would prefer there but does not have."""
    import warnings

    from pyproj.transformer import AreaOfInterest, TransformerGroup

    here = AreaOfInterest(place.lon, place.lat, place.lon, place.lat)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DatumShift says it in our words
        group = TransformerGroup(system, 4326, always_xy=True, area_of_interest=here)
    if group.best_available:
        return ()
    grids = (grid for way in group.unavailable_operations for grid in way.grids)
    return tuple(dict.fromkeys(grid.short_name for grid in grids if not grid.available))


def _find_geographic(system: Any) -> Any:
    return system if system.is_geographic else system.geodetic_crs or system


def _bound_shift_m(geographic: Any, place: LatLon) -> float:
    """The furthest that systems of the same ellipsoid in use there lie from WGS84."""
    ellipsoid = geographic.ellipsoid
    if ellipsoid is None:
        return _UNKNOWN_M
    axes = ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre
    if _have_same_axes(axes, _SATELLITE_AXES_M) or _have_same_axes(axes, _WEB_SPHERE_M):
        return _GEOCENTRIC_M
    return max(_measure_shifts_m(axes, place), default=_UNKNOWN_M)


def _have_same_axes(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return all(abs(x / y - 1.0) <= _ALIKE for x, y in zip(a, b, strict=True))


def _measure_shifts_m(axes: tuple[float, float], place: LatLon) -> Iterator[float]:
    """Metres between equal degrees in WGS84 and in systems of an ellipsoid, where PROJ knows."""
    import pyproj
    from pyproj.aoi import AreaOfInterest
    from pyproj.database import query_crs_info
    from pyproj.enums import PJType
    from pyproj.exceptions import ProjError

    here = AreaOfInterest(place.lon, place.lat, place.lon, place.lat)
    kind = PJType.GEOGRAPHIC_2D_CRS
    for info in query_crs_info(auth_name="EPSG", pj_types=kind, area_of_interest=here):
        system = pyproj.CRS.from_epsg(int(info.code))
        own = system.ellipsoid
        if own is not None and _have_same_axes((own.semi_major_metre, own.semi_minor_metre), axes):
            with suppress(ProjError):  # one that PROJ knows by name only
                if (shift := _measure_shift_m(system, place)) is not None:
                    yield shift


def _measure_shift_m(system: Any, place: LatLon) -> float | None:
    """Metres from a place to that of the same degrees in ``system``; None if not known."""
    operation = _find_operation(system, place)
    if "ballpark" in str(operation.description).lower():
        return None
    meridian = system.prime_meridian
    if system.axis_info[0].unit_name != "degree" or (meridian and meridian.longitude):
        return None  # equal numbers do not mean equal degrees there
    import pyproj

    transformer = pyproj.Transformer.from_crs(system, 4326, always_xy=True)
    lon, lat = transformer.transform(place.lon, place.lat)
    if not (np.isfinite(lon) and np.isfinite(lat)) or abs(lat) > 90.0 or abs(lon) > 180.0:
        return None
    return measure_distance_m(place, LatLon(float(lat), float(lon)))
