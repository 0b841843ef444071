"""Datum shifts: how accurately PROJ converts a reference system to WGS84."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossview.geo.points import LatLon, measure_distance_m

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
