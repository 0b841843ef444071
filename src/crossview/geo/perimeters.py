"""Polygons as search areas: GeoJSON of strangers in, the places that lie inside of it out.

Corners are joined by straight lines of longitude and latitude (RFC 7946, 3.1.1), the short way
round the Earth, so that an area across longitude 180 may be cut there or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossview.arrays import F64, Bool
from crossview.errors import BadData, CrossviewError, InvalidValue, UsageError
from crossview.geo.grids import convert_to_latlon, convert_to_wkt
from crossview.geo.mercator import enclose_points
from crossview.geo.points import (
    EARTH_RADIUS_M,
    LatLon,
    LonLat,
    build_geometry,
    compute_twice_area,
    mark_inside,
    measure_distances_m,
    measure_lon_offsets_deg,
    parse_latlon,
    unroll_ring,
    wrap_lon,
)
from crossview.schema import parse_object, read_bytes

MOST_CORNERS = 10_000  # of an area: whether it crosses itself takes seconds at most
MOST_BYTES = 50_000_000  # of a file
_DEGREES = 540.0  # beyond, a number is no longitude, however it is counted
_SHOWN = 8  # digits of a number in a message
_SOME = 400  # corners, and windows for each of them, whose distances are told


@dataclass(frozen=True)
class Perimeter:
    """The ground inside of polygons, as :func:`parse_perimeter` and :func:`read_perimeter` make it.

    Each polygon is a closed outer ring of (longitude, latitude), counter-clockwise, followed by
    its holes, clockwise. No ring crosses itself. Longitudes run on beyond 180 instead of jumping.
    """

    polygons: tuple[tuple[tuple[LonLat, ...], ...], ...]

    def contains(self, lat: F64, lon: F64) -> Bool:
        """Whether places [N] lie inside of any polygon and of none of its holes."""
        inside = np.zeros(len(lat), np.bool_)
        for outer, *holes in self.polygons:
            rows = np.flatnonzero(_mark_in_ring(outer, lat, lon))
            for hole in holes:
                rows = rows[~_mark_in_ring(hole, lat[rows], lon[rows])]
            inside[rows] = True
        return inside

    def measure_distance_m(self, lat: F64, lon: F64) -> float:
        """About how far the nearest of places [N], N >= 1, that lie outside is from a corner."""
        corners = [corner for polygon in self.polygons for corner in polygon[0]]
        some = slice(None, None, max(1, len(lat) // _SOME))
        return min(
            float(measure_distances_m(_place_corner(corner), lat[some], lon[some]).min())
            for corner in corners[:: max(1, len(corners) // _SOME)]
        )

    def measure_km2(self) -> float:
        """Square kilometres of ground on a sphere; what polygons overlap counts in each."""
        turn = [abs(_measure_steradians(ring)) for polygon in self.polygons for ring in polygon[:1]]
        holes = [abs(_measure_steradians(ring)) for part in self.polygons for ring in part[1:]]
        return (sum(turn) - sum(holes)) * (EARTH_RADIUS_M / 1000.0) ** 2

    def swap(self) -> Perimeter | None:
        """The area that is meant if latitudes were written first; None if none can be."""
        rings = [ring for polygon in self.polygons for ring in polygon]
        if any(abs(lon) > 90.0 for ring in rings for lon, _ in ring):
            return None
        return Perimeter(
            tuple(
                tuple(tuple((lat, lon) for lon, lat in ring[::-1]) for ring in polygon)
                for polygon in self.polygons
            )
        )

    def to_geojson(self) -> dict[str, Any]:
        """A GeoJSON Polygon or MultiPolygon, cut at longitude 180."""
        return build_geometry([[list(ring) for ring in polygon] for polygon in self.polygons])


def read_perimeter(path: str | Path) -> Perimeter:
    """The area in a file of GeoJSON: a geometry, a Feature, or a FeatureCollection of them.

    Raises :class:`BadData` for a file that cannot be read, or that holds anything but polygons.
    """
    try:
        return parse_perimeter(parse_object(read_bytes(Path(path), MOST_BYTES)))
    except InvalidValue as problem:
        raise BadData(f"{path}: {problem}") from problem
    except (OSError, ValueError) as problem:
        raise BadData(
            f"{path} cannot be read as an area: {_shorten(problem)}.\n"
            "Give a file of GeoJSON that holds a Polygon or MultiPolygon, in WGS84 degrees."
        ) from problem


def parse_perimeter(content: str | Mapping[str, Any]) -> Perimeter:
    """The area that GeoJSON holds, as text or as its values; :class:`InvalidValue` for any other.

    Several polygons are one area. Old files may name another reference system than WGS84.
    """
    if isinstance(content, str):
        try:
            content = parse_object(content.encode("utf-8", "replace"))
        except ValueError as problem:
            raise InvalidValue(
                f"the area is no GeoJSON: {_shorten(problem)}.\n"
                'Write {"type": "Polygon", "coordinates": [[[LON, LAT], ...]]}.'
            ) from problem
    try:
        crs = find_named_crs(content)
        polygons = list(_list_polygons(content))
        _require_few_corners(polygons)
        parsed = tuple(
            tuple(_close_ring(ring, crs, number) for number, ring in enumerate(polygon))
            for polygon in polygons
        )
    except (ValueError, RecursionError) as problem:
        raise InvalidValue(
            f"{_shorten(problem)}.\nAn area is a GeoJSON Polygon or MultiPolygon in WGS84 degrees: "
            "longitude first, rings that are closed and do not cross themselves."
        ) from problem
    return Perimeter(parsed)


def find_named_crs(content: Mapping[str, Any]) -> str | None:
    """The reference system that old GeoJSON names, as WKT; None for WGS84. ValueError: unknown."""
    try:
        name = str(content["crs"]["properties"]["name"])
    except (KeyError, TypeError):
        return None
    if "CRS84" in name or "4326" in name:
        return None
    try:
        return convert_to_wkt(name)
    except CrossviewError as problem:
        raise ValueError(f"its reference system {name[:80]!r} is not known") from problem


def parse_box(text: str) -> Perimeter:
    """The area between ``W,S,E,N`` in degrees; a west beyond the east crosses longitude 180.

    :class:`InvalidValue` for anything else, and for a box without an inside.
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as problem:
        raise InvalidValue(
            f"{text[:80]!r} is no box. Write west, south, east and north in degrees: "
            "13.37,52.50,13.40,52.52"
        ) from problem
    corners = (LatLon(south, west), LatLon(north, east))  # each of them checked
    if north <= south or east == west:
        turned = " Is south given as north?" if north < south else ""
        raise InvalidValue(
            f"The box {text} has no inside: north must lie above south, and east beside west."
            f"{turned}\nWrite west, south, east and north: 13.37,52.50,13.40,52.52"
        )
    east += 360.0 * (east < west)
    if east - west >= 180.0:
        raise InvalidValue(
            f"The box {text} reaches over {east - west:g} degrees of longitude. Are west and east "
            "swapped?\nWrite west, south, east and north: 13.37,52.50,13.40,52.52"
        )
    low, high = corners[0].lat, corners[1].lat
    ring = ((west, low), (east, low), (east, high), (west, high), (west, low))
    return Perimeter(((ring,),))


def read_area(
    box: str | None, file: str | Path | None, near: str | None = None, within_km: float = 0.0
) -> Perimeter | None:
    """The area that ``--bbox``, ``--area`` or ``--near`` and ``--within`` name; None: none does.

    UsageError for more than one. A box across longitude 180 has its west greater than its east.
    """
    options = {"--bbox": box, "--area": file, "--near": near}
    named = [name for name, given in options.items() if given is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} both name an area: give one of them.")
    if box is not None:
        return parse_box(box)
    if file is not None:
        return read_perimeter(file)
    if near is None or within_km <= 0.0:
        return None
    centre = parse_latlon(near)
    return surround_points(np.array([centre.lat]), np.array([centre.lon]), within_km * 1000.0)


def surround_points(lat: F64, lon: F64, reach_m: float) -> Perimeter:
    """The box around points [N] in degrees, N >= 1, and ``reach_m`` metres around each."""
    south, west, north, east = enclose_points(lat, lon, reach_m).bounds
    return parse_box(f"{west},{max(south, -90.0)},{east},{min(north, 90.0)}")


def parse_ring(ring: Any, crs: str | None = None) -> F64:
    """A ring [k, 2] of (lat, lon), from pairs of x (longitude) and y; ValueError for others."""
    try:
        points = np.array([(float(point[0]), float(point[1])) for point in ring], np.float64)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        raise ValueError("a ring is no list of pairs of numbers") from None
    points = points.reshape(-1, 2)
    if not np.isfinite(points).all():
        raise ValueError("a coordinate is no number")
    if crs is not None:
        try:
            lat, lon = convert_to_latlon(crs, points[:, 0], points[:, 1])
        except CrossviewError as problem:
            raise ValueError(str(problem)) from problem
        return np.stack([lat, lon], axis=1)
    x, y = np.abs(points).max(axis=0, initial=0.0)
    if y > 90.0 or x > _DEGREES:
        swapped = x <= 90.0 < y <= 180.0
        raise ValueError(
            f"coordinates such as {points[np.abs(points[:, 1]).argmax()].tolist()} are not degrees "
            "of longitude and latitude"
            + (". Are the two swapped? Longitude comes first" if swapped else "")
            + ("" if swapped else ", and it names no reference system")
        )
    return points[:, ::-1].copy()


def list_geometry_rings(geometry: Mapping[str, Any]) -> list[list[Any]]:
    """The rings of each polygon of a geometry, as they are written; none for other kinds."""
    kind, parts = geometry.get("type"), geometry.get("coordinates")
    if not isinstance(parts, list | tuple):
        return []
    if kind == "Polygon":
        return [list(parts)]
    if kind == "MultiPolygon":
        return [list(part) if isinstance(part, list | tuple) else [] for part in parts]
    return []


def _list_polygons(content: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Rings of every polygon; ValueError for anything else that has a place."""
    kind = content.get("type")
    if kind in ("FeatureCollection", "Feature"):
        features = content.get("features") if kind == "FeatureCollection" else [content]
        if not isinstance(features, list | tuple):
            raise ValueError("its 'features' are no list")
        geometries = [f.get("geometry") if isinstance(f, dict) else f for f in features]
    else:
        geometries = [content]
    found = False
    for geometry in geometries:
        if geometry is None:  # a feature without a place (RFC 7946, 3.2)
            continue
        polygons = list_geometry_rings(geometry) if isinstance(geometry, Mapping) else []
        if not polygons or not all(polygons):
            raise ValueError(f"it holds {_describe_kind(geometry)}, which is no area")
        found = True
        yield from polygons
    if not found:
        raise ValueError("it holds no polygon")


def _describe_kind(geometry: Any) -> str:
    if not isinstance(geometry, Mapping):
        return "what is no geometry"
    kind = str(geometry.get("type"))[:40]
    return f"an empty {kind}" if kind in {"Polygon", "MultiPolygon"} else f"a geometry {kind!r}"


def _require_few_corners(polygons: Sequence[Sequence[Any]]) -> None:
    rings = [ring for polygon in polygons for ring in polygon]
    if not all(isinstance(ring, list | tuple) for ring in rings):
        raise ValueError("a ring is no list of pairs of numbers")
    corners = sum(len(ring) for ring in rings)
    if corners > MOST_CORNERS:
        raise ValueError(
            f"it has {corners:,} corners, and {MOST_CORNERS:,} are allowed. Simplify it, such as "
            "with: ogr2ogr -simplify 0.0001 SMALL.geojson LARGE.geojson"
        )


def _close_ring(ring: Any, crs: str | None, number: int) -> tuple[LonLat, ...]:
    """A ring without a jump at 180, turned as its number wants; ValueError for what is none."""
    corners = [(lon, lat) for lat, lon in parse_ring(ring, crs).tolist()]
    if len(corners) < 4:
        raise ValueError(f"a ring needs four corners, the last equal to the first: {len(corners)}")
    if corners[0] != corners[-1]:
        raise ValueError(
            f"a ring is open: it begins at {_show(corners[0])} and ends at {_show(corners[-1])}"
        )
    unrolled = unroll_ring(corners)
    lons = [lon for lon, _ in unrolled]
    if abs(lons[0] - lons[-1]) > 180.0 or max(lons) - min(lons) >= 360.0:
        raise ValueError("a ring goes round the whole Earth, or round a pole")
    if (crossing := _find_crossing(np.array(unrolled))) is not None:
        raise ValueError(
            f"a ring crosses itself near {_show(crossing)}. Draw it anew, or repair it (QGIS: Fix "
            "geometries)"
        )
    area = compute_twice_area(unrolled)
    if area == 0.0:
        raise ValueError(f"a ring near {_show(corners[0])} encloses nothing")
    return tuple(unrolled if (area > 0.0) == (number == 0) else unrolled[::-1])


def _find_crossing(ring: F64) -> LonLat | None:
    """Where two sides of a closed ring [k, 2] cross; touching does not count.

    Sides are taken from south to north, so that each is compared with those alone that begin
    below its northern end.
    """
    a, b = ring[:-1], ring[1:]
    south, north = np.minimum(a[:, 1], b[:, 1]), np.maximum(a[:, 1], b[:, 1])
    order = np.argsort(south, kind="stable")
    a, b, south, north = a[order], b[order], south[order], north[order]
    ends = np.searchsorted(south, north, side="right")
    for row, end in enumerate(ends):
        others = slice(row + 1, int(end))
        c, d = a[others], b[others]
        if not len(c):
            continue
        apart = _turn(a[row], b[row], c) * _turn(a[row], b[row], d) < 0.0
        apart &= _turn(c, d, a[row]) * _turn(c, d, b[row]) < 0.0
        if apart.any():
            crossing = (a[row] + b[row]) / 2.0
            return float(crossing[0]), float(crossing[1])
    return None


def _turn(a: F64, b: F64, c: F64) -> F64:
    """-1, 0 or 1: to which side of the lines from ``a`` to ``b`` the points ``c`` lie."""
    ab, ac = b - a, c - a
    side: F64 = np.sign(ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0])
    return side


def _mark_in_ring(ring: Sequence[LonLat], lat: F64, lon: F64) -> Bool:
    """Places [N] inside of a ring, whichever way round the Earth they are counted."""
    lons = [corner[0] for corner in ring]
    middle = (min(lons) + max(lons)) / 2.0
    return mark_inside(
        [(corner[0] - middle, corner[1]) for corner in ring],
        measure_lon_offsets_deg(lon, middle),
        lat,
    )


def _measure_steradians(ring: Sequence[LonLat]) -> float:
    """The solid angle in a ring whose sides are straight in longitude and sin(latitude)."""
    corners = np.radians(np.array(ring))
    east, up = np.diff(corners[:, 0]), np.sin(corners[:, 1])
    return float((east * (up[:-1] + up[1:])).sum() / 2.0)


def _place_corner(corner: LonLat) -> LatLon:
    return LatLon(corner[1], float(wrap_lon(corner[0])))


def _show(corner: LonLat) -> str:
    return json.dumps([round(value, _SHOWN) for value in corner])


def _shorten(problem: BaseException) -> str:
    """What is wrong, in one line."""
    text = " ".join(str(problem).split()) or type(problem).__name__
    return text[:300].rstrip(".")
