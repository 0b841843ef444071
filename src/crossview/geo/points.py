"""Points on Earth in WGS84 degrees, the metres between them, and longitudes as a circle.

Polygons across longitude 180 are cut there, as GeoJSON requires (RFC 7946, 3.1.9); by hand, because
the antimeridian package would bring shapely. Points and cells that touch, directly or through
others, are one group or region. Groups are found by hand too: cells are sparse and columns may go
around the Earth, for which cv2 would need the whole grid, and scipy is not in the base install.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossview.arrays import F64, I64, Bool
from crossview.errors import InvalidValue, require

EARTH_RADIUS_M = 6_371_008.8  # IUGG mean radius


@dataclass(frozen=True, slots=True)
class LatLon:
    """A point in WGS84 degrees: latitude in [-90, 90], longitude in [-180, 180]."""

    lat: float
    lon: float

    def __post_init__(self) -> None:
        require(
            -90.0 <= self.lat <= 90.0 and -180.0 <= self.lon <= 180.0,
            f"latitude {self.lat}, longitude {self.lon}: "
            "latitude must lie in [-90, 90] and longitude in [-180, 180] degrees."
            + (f" {self.lon:g} east is {self.lon - 360.0:g}." if 180.0 < self.lon < 360.0 else "")
            + (" Are the two swapped?" if abs(self.lon) <= 90.0 < abs(self.lat) <= 180.0 else ""),
        )

    def __str__(self) -> str:
        return f"{self.lat:.6f},{self.lon:.6f}"


def parse_latlon(text: str) -> LatLon:
    """Read a place written as ``52.52,13.40``: latitude and longitude in degrees."""
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError as problem:
        raise InvalidValue(
            f"{text!r} is not a place. Write latitude and longitude in degrees: 52.52,13.40"
        ) from problem
    return LatLon(lat, lon)


def wrap_lon(lon: ArrayLike) -> F64:
    """Longitudes of any size as degrees in [-180, 180]; those in it stay bit for bit."""
    degrees = np.asarray(lon, np.float64)
    inside = (degrees >= -180.0) & (degrees <= 180.0)
    with np.errstate(invalid="ignore"):  # infinite values become NaN
        wrapped: F64 = np.where(inside, degrees, (degrees + 180.0) % 360.0 - 180.0)
    return wrapped


def measure_lon_offsets_deg(lon: ArrayLike, about: ArrayLike) -> F64:
    """Degrees east of ``about``, the short way round: ``lon`` - ``about`` in [-180, 180]."""
    return wrap_lon(np.asarray(lon, np.float64) - np.asarray(about, np.float64))


def find_lon_range(lon: ArrayLike) -> tuple[float, float]:
    """West and east edge in [-180, 180] of the shortest arc that holds longitudes [N], N >= 1.

    West is greater than east where the arc crosses longitude 180 (RFC 7946, 5.2).
    """
    rising = np.unique(wrap_lon(lon))
    low, high = float(rising[0]), float(rising[-1])
    gaps = np.diff(rising)
    if not gaps.size or gaps.max() <= low + 360.0 - high:
        return low, high
    widest = int(gaps.argmax())
    return float(rising[widest + 1]), float(rising[widest])


def unroll_lon(lon: ArrayLike) -> F64:
    """Remove the jump at 180 from longitudes [N]: those beyond it become 180 and more.

    Unchanged, bit for bit, if their shortest arc does not cross it.
    """
    wrapped = wrap_lon(lon)
    if not wrapped.size:
        return wrapped
    west, east = find_lon_range(wrapped)
    unrolled: F64 = wrapped if west <= east else np.where(wrapped < west, wrapped + 360.0, wrapped)
    return unrolled


def find_middle(lat: F64, lon: F64) -> LatLon:
    """The mean of nearby places [N], N >= 1, on either side of longitude 180."""
    return LatLon(float(np.mean(lat)), float(wrap_lon(np.mean(unroll_lon(lon)))))


def project_to_local_m(origin: LatLon, lat: ArrayLike, lon: ArrayLike) -> tuple[F64, F64]:
    """Metres east and north of ``origin`` on the local tangent plane; undoes :func:`move_point`."""
    turn_m = math.radians(1.0) * EARTH_RADIUS_M
    north: F64 = (np.asarray(lat, np.float64) - origin.lat) * turn_m
    east: F64 = measure_lon_offsets_deg(lon, origin.lon) * (
        turn_m * math.cos(math.radians(origin.lat))
    )
    return east, north


def turn_axes_m(right: ArrayLike, up: ArrayLike, bearing_deg: ArrayLike) -> tuple[F64, F64]:
    """Metres right and up of a picture whose up has this bearing, as metres east and north.

    With the bearing's sign turned it is the other way round. Shapes broadcast.
    """
    turn = np.radians(np.asarray(bearing_deg, np.float64))
    cos, sin = np.cos(turn), np.sin(turn)
    x, y = np.asarray(right, np.float64), np.asarray(up, np.float64)
    return x * cos + y * sin, y * cos - x * sin


def measure_distance_m(a: LatLon, b: LatLon) -> float:
    """Great-circle distance in metres on a sphere of radius 6 371 008.8 m.

    Against the WGS84 ellipsoid the error is below 0.6 %: 15 cm at the 25 m threshold.
    """
    return float(measure_distances_m(a, np.array([b.lat]), np.array([b.lon]))[0])


def measure_distances_m(origin: LatLon, lat: F64, lon: F64) -> F64:
    """Great-circle distances in metres from ``origin`` to ``lat``, ``lon`` [N] in degrees."""
    here = np.array([[origin.lat, origin.lon]])
    return measure_pair_distances_m(here, np.stack([lat, lon], axis=-1))


def measure_pair_distances_m(a: F64, b: F64) -> F64:
    """Great-circle metres between places [N, 2] (latitude, longitude in degrees), row by row."""
    phi_1, phi_2 = np.radians(a[..., 0]), np.radians(b[..., 0])
    half_phi, half_lambda = (phi_2 - phi_1) / 2.0, np.radians(b[..., 1] - a[..., 1]) / 2.0
    chord = np.sin(half_phi) ** 2 + np.cos(phi_1) * np.cos(phi_2) * np.sin(half_lambda) ** 2
    distances: F64 = 2.0 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0)))
    return distances


def measure_bearing_deg(a: LatLon, b: LatLon) -> float:
    """Initial bearing from ``a`` to ``b``, degrees clockwise from true north in [0, 360)."""
    phi_1, phi_2 = math.radians(a.lat), math.radians(b.lat)
    d_lambda = math.radians(b.lon - a.lon)
    east = math.sin(d_lambda) * math.cos(phi_2)
    north = math.cos(phi_1) * math.sin(phi_2) - math.sin(phi_1) * math.cos(phi_2) * math.cos(
        d_lambda
    )
    return math.degrees(math.atan2(east, north)) % 360.0


def measure_turns_deg(one_deg: ArrayLike, other_deg: ArrayLike) -> F64:
    """Degrees in [0, 180] between two directions, however often they went around."""
    apart = np.asarray(one_deg, np.float64) - np.asarray(other_deg, np.float64)
    turns: F64 = np.abs((apart + 180.0) % 360.0 - 180.0)
    return turns


def move_point(origin: LatLon, *, east_m: float, north_m: float) -> LatLon:
    """The point ``east_m`` and ``north_m`` metres away, on the local tangent plane of the sphere.

    Exact to 1 mm within 1 km of ``origin`` below 70 degrees of latitude.
    """
    lat = origin.lat + math.degrees(north_m / EARTH_RADIUS_M)
    lon = origin.lon + math.degrees(east_m / (EARTH_RADIUS_M * math.cos(math.radians(origin.lat))))
    return LatLon(lat, float(wrap_lon(lon)))


def reach_point(origin: LatLon, bearing_deg: float, distance_m: float) -> LatLon:
    """The point ``distance_m`` metres away along a great circle that leaves at a bearing.

    As exact at the poles as elsewhere: there a bearing counts from the meridian of ``origin``.
    """
    lat, lon = reach_points(origin, np.array([bearing_deg]), distance_m)
    return LatLon(float(lat[0]), float(lon[0]))


def reach_points(origin: LatLon, bearing_deg: F64, distance_m: float) -> tuple[F64, F64]:
    """Latitudes and longitudes [N] of :func:`reach_point` for bearings [N]."""
    lat, lon, turn = math.radians(origin.lat), math.radians(origin.lon), np.radians(bearing_deg)
    reach = distance_m / EARTH_RADIUS_M
    up = np.array([math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)])
    north = [-math.sin(lat) * math.cos(lon), -math.sin(lat) * math.sin(lon), math.cos(lat)]
    east = [-math.sin(lon), math.cos(lon), 0.0]
    ahead = np.outer(north, np.cos(turn)) + np.outer(east, np.sin(turn))
    x, y, z = math.cos(reach) * up[:, None] + math.sin(reach) * ahead
    return np.degrees(np.arctan2(z, np.hypot(x, y))), wrap_lon(np.degrees(np.arctan2(y, x)))


def number_square(place: LatLon, side_m: float) -> tuple[int, int]:
    """Row and column of the square of about ``side_m`` on Earth that holds a place.

    The two squares of a row that longitude 180 cuts are one.
    """
    step = math.degrees(side_m / EARTH_RADIUS_M)
    row = math.floor(place.lat / step)
    per_deg = math.cos(math.radians((row + 0.5) * step)) / step
    column, first, last = (math.floor(lon * per_deg) for lon in (place.lon, -180.0, 180.0 - 1e-12))
    return row, first if column == last else column


LonLat = tuple[float, float]  # longitude, latitude
Ring = list[LonLat]  # closed: the last point is the first
Polygon = list[Ring]  # the outer ring, counter-clockwise; then holes, clockwise

_DIGITS = 7  # 1 cm
_CHORD_DEG = 7.5  # of an arc


def build_geometry(polygons: Sequence[Polygon]) -> dict[str, Any]:
    """Build a GeoJSON Polygon or MultiPolygon; longitudes of ``polygons`` may go beyond 180."""
    parts = [part for polygon in polygons for part in cut_at_180(polygon)]
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def build_lines(lines: Sequence[Sequence[LonLat]]) -> dict[str, Any]:
    """Build a GeoJSON LineString or MultiLineString of lines of two points and more.

    Longitudes lie in [-180, 180]; a line takes the short way round, and is cut where it crosses
    180. What is left of a line by a cut at one of its own ends is no line.
    """
    parts = [part for line in lines for part in _cut_line(line) if len(set(part)) > 1]
    if len(parts) == 1:
        return {"type": "LineString", "coordinates": parts[0]}
    return {"type": "MultiLineString", "coordinates": parts}


def _cut_line(line: Sequence[LonLat]) -> Iterator[list[LonLat]]:
    part = [line[0]]
    for (lon, lat), (to_lon, to_lat) in pairwise(line):
        if abs(to_lon - lon) > 180.0:
            edge = math.copysign(180.0, lon)
            share = (edge - lon) / (to_lon + 2.0 * edge - lon) if lon != edge else 0.0
            crossing = round(lat + share * (to_lat - lat), _DIGITS)
            yield [*part, (edge, crossing)]
            part = [(-edge, crossing)]
        part.append((to_lon, to_lat))
    yield part


def outline_sector(apex: LatLon, bearing_deg: float, width_deg: float, radius_m: float) -> Polygon:
    """The sector of a circle whose middle lies at a bearing; from 360 degrees on, the whole circle.

    Counter-clockwise, longitudes without a jump, to a centimetre. Its arc is drawn by chords of at
    most 7.5 degrees, 0.2 % of the radius inside of it. A circle around a pole is closed along it.
    Raises :class:`InvalidValue` for a width or a radius that is not above 0.
    """
    require(
        width_deg > 0.0 and radius_m > 0.0,
        f"a sector needs a width and a radius above 0, got {width_deg} degrees, {radius_m} m.",
    )
    width_deg = min(width_deg, 360.0)
    steps = math.ceil(width_deg / _CHORD_DEG)
    turns = bearing_deg + width_deg * (0.5 - np.arange(steps + 1) / steps)
    lat, lon = reach_points(apex, turns, radius_m)
    corners = list(zip(lon.tolist(), lat.tolist(), strict=True))
    corners = corners[:-1] if width_deg == 360.0 else [(apex.lon, apex.lat), *corners]
    ring = [(round(x, _DIGITS), round(y, _DIGITS)) for x, y in (*corners, corners[0])]
    return [_close_over_pole(unroll_ring(ring))]


def _close_over_pole(ring: Ring) -> Ring:
    """A ring whose longitudes run once around the Earth, closed along the pole that it encloses.

    It begins and ends at longitude 180, which thus cuts it.
    """
    turn = 360.0 * round((ring[-1][0] - ring[0][0]) / 360.0)
    if not turn:
        return ring
    sides = [math.floor((lon + 180.0) / 360.0) for lon, _ in ring]
    at = next(i for i, (a, b) in enumerate(pairwise(sides)) if a != b)
    meridian = 360.0 * max(sides[at], sides[at + 1]) - 180.0
    (lon, lat), (to_lon, to_lat) = ring[at : at + 2]
    lat += (meridian - lon) / (to_lon - lon) * (to_lat - lat)
    round_it = [*ring[at + 1 :], *((lon + turn, lat) for lon, lat in ring[1 : at + 1])]
    pole = math.copysign(90.0, lat)
    last = meridian + turn
    closed = [(meridian, lat), *round_it, (last, lat), (last, pole), (meridian, pole)]
    less = min(meridian, last) + 180.0
    closed = [(lon - less, lat) for lon, lat in (*closed, closed[0])]
    return closed if compute_twice_area(closed) > 0.0 else closed[::-1]


def unroll_ring(ring: Sequence[LonLat]) -> Ring:
    """Remove the jump at 180: each point lies within 180 degrees of the one before."""
    unrolled = [ring[0]]
    for lon, lat in ring[1:]:
        last = unrolled[-1][0]
        unrolled.append((lon - 360.0 * round((lon - last) / 360.0), lat))
    return unrolled


def cut_at_180(polygon: Polygon) -> list[Polygon]:
    """The parts of a polygon on both sides of longitude 180, all longitudes in [-180, 180].

    The polygon's longitudes have no jump and span less than 360 degrees. A polygon that does not
    cross is returned unchanged.
    """
    west = min(lon for lon, _ in polygon[0])
    east = max(lon for lon, _ in polygon[0])
    if west >= -180.0 and east <= 180.0:
        return [polygon]
    turns = 360.0 * ((west + 180.0) // 360.0)
    shifted = [[(lon - turns, lat) for lon, lat in ring] for ring in polygon]
    if east - turns <= 180.0:
        return [_round_points(shifted, 0.0)]
    return [
        *(_round_points(part, 0.0) for part in _cut_side(shifted, is_east=False)),
        *(_round_points(part, 360.0) for part in _cut_side(shifted, is_east=True)),
    ]


def _cut_side(polygon: Polygon, *, is_east: bool) -> Iterator[Polygon]:
    """The parts of a polygon on one side of longitude 180, closed along it."""
    chains: list[Ring] = []
    whole: list[Ring] = []
    for ring in polygon:
        inside = [(lon >= 180.0) == is_east for lon, _ in ring[:-1]]
        if all(inside):
            whole.append(ring)
        elif any(inside):
            chains += _trace_chains(ring[:-1], inside)
    rings = [*_link_chains(chains), *whole]
    outer = [ring for ring in rings if compute_twice_area(ring) > 0.0]
    for ring in outer:
        holes = [
            hole
            for hole in rings
            if compute_twice_area(hole) < 0.0 and mark_inside(ring, *hole[0])[0]
        ]
        yield [ring, *holes]


def _trace_chains(ring: Ring, inside: list[bool]) -> Iterator[Ring]:
    """The runs of a ring's points that lie inside, with the points where they cross."""
    count = len(ring)
    for start in (i for i in range(count) if inside[i] and not inside[i - 1]):
        chain = [_find_crossing(ring[start - 1], ring[start])]
        at = start
        while inside[at % count]:
            chain.append(ring[at % count])
            at += 1
        yield [*chain, _find_crossing(ring[(at - 1) % count], ring[at % count])]


def _find_crossing(a: LonLat, b: LonLat) -> LonLat:
    share = (180.0 - a[0]) / (b[0] - a[0])
    return 180.0, a[1] + share * (b[1] - a[1])


def _link_chains(chains: list[Ring]) -> Iterator[Ring]:
    """Join chains to closed rings: along the meridian, crossings bound the inside in pairs."""
    ends = sorted(
        (chain[end][1], number, end) for number, chain in enumerate(chains) for end in (0, -1)
    )
    follower: dict[int, int] = {}
    for (_, lower, end), (_, upper, _) in zip(ends[::2], ends[1::2], strict=True):
        first, second = (upper, lower) if end == 0 else (lower, upper)
        follower[first] = second
    waiting = set(range(len(chains)))
    while waiting:
        number = min(waiting)
        ring: Ring = []
        while number in waiting:
            waiting.discard(number)
            ring += chains[number]
            number = follower.get(number, -1)  # none where a ring of others runs back on itself
        yield [*ring, ring[0]]


def compute_twice_area(ring: Sequence[LonLat]) -> float:
    """Twice the area of a closed ring in square degrees; below 0 where it runs clockwise."""
    lon, lat = ring[0]
    return sum((a[0] - lon) * (b[1] - lat) - (b[0] - lon) * (a[1] - lat) for a, b in pairwise(ring))


def mark_inside(ring: Sequence[LonLat], lon: ArrayLike, lat: ArrayLike) -> Bool:
    """Whether points [N] lie within a closed ring, by counting what a line east from each crosses.

    Longitudes are counted as the ring's are, without a jump.
    """
    x, y = np.atleast_1d(np.asarray(lon, np.float64)), np.atleast_1d(np.asarray(lat, np.float64))
    order = np.argsort(y, kind="stable")
    x, y = x[order], y[order]
    corners = np.asarray(ring, np.float64)
    lows = np.searchsorted(y, np.minimum(corners[:-1, 1], corners[1:, 1]))
    highs = np.searchsorted(y, np.maximum(corners[:-1, 1], corners[1:, 1]))
    odd = np.zeros(len(x), np.bool_)
    for side in np.flatnonzero(lows < highs):  # of others no point lies on a level
        (lon_a, lat_a), (lon_b, lat_b) = corners[side], corners[side + 1]
        level = slice(lows[side], highs[side])
        crossing = lon_a + (y[level] - lat_a) / (lat_b - lat_a) * (lon_b - lon_a)
        odd[level] ^= x[level] < crossing
    inside = np.empty_like(odd)
    inside[order] = odd
    return inside


def _round_points(polygon: Polygon, less: float) -> Polygon:
    return [[(round(lon - less, _DIGITS), round(lat, _DIGITS)) for lon, lat in r] for r in polygon]


# What hangs together.

MOST_REGIONS = 256  # a map draws each by itself


def label_components(count: int, neighbours: Callable[[int], Iterable[int]]) -> I64:
    """Group numbers [count], in the order of each group's first member.

    ``neighbours`` gives the members (0 to ``count`` - 1) that touch one; touching is mutual.
    """
    labels: I64 = np.full(count, -1, np.int64)
    group = -1
    for seed in range(count):
        if labels[seed] >= 0:
            continue
        group += 1
        labels[seed] = group
        border = [seed]
        while border:
            for near in neighbours(border.pop()):
                if labels[near] < 0:
                    labels[near] = group
                    border.append(near)
    return labels


def label_touching_cells(cells: I64, columns: int | None = None) -> I64:
    """Group numbers [N] of different cells [N, 2] (row, column) that touch at a side or a corner.

    ``columns``: how many go round the Earth, where the last touches the first. Cells may lie far
    apart: nothing between them is walked.
    """
    members = {(int(row), int(column)): i for i, (row, column) in enumerate(cells)}
    keys = list(members)

    def neighbours(member: int) -> Iterable[int]:
        row, column = keys[member]
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                across = column + j if columns is None else (column + j) % columns
                near = members.get((row + i, across))
                if near is not None:
                    yield near

    return label_components(len(keys), neighbours)


def split_regions(lat: F64, lon: F64, gap_m: float) -> list[I64]:
    """Rows of points [N] of each region, the largest first.

    Points less than about ``gap_m`` metres apart are in one region; where that gives more than
    ``MOST_REGIONS``, the gap is doubled until it does not.
    """
    if not len(lat):
        return []
    unrolled = unroll_lon(lon)
    groups = _join_points(lat, unrolled, gap_m)
    while len(groups) > MOST_REGIONS:
        gap_m *= 2.0
        groups = _join_points(lat, unrolled, gap_m)
    return sorted(groups, key=len, reverse=True)


def _join_points(lat: F64, lon: F64, gap_m: float) -> list[I64]:
    step = float(np.degrees(gap_m / EARTH_RADIUS_M))
    across = step / np.cos(np.radians(np.round(lat)))
    keys = np.stack([np.floor(lat / step), np.floor(lon / across)], axis=1).astype(np.int64)
    cells, number = np.unique(keys, axis=0, return_inverse=True)
    of_point = label_touching_cells(cells)[number.reshape(-1)]
    return [np.flatnonzero(of_point == region) for region in range(int(of_point.max()) + 1)]
