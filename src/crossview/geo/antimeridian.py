"""Polygons across longitude 180, cut there as GeoJSON requires (RFC 7946, 3.1.9).

By hand: the antimeridian package would bring shapely.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

LonLat = tuple[float, float]  # longitude, latitude
Ring = list[LonLat]  # closed: the last point is the first
Polygon = list[Ring]  # the outer ring, counter-clockwise; then holes, clockwise

_DIGITS = 7  # 1 cm


def build_geometry(polygons: Sequence[Polygon]) -> dict[str, Any]:
    """Build a GeoJSON Polygon or MultiPolygon; longitudes of ``polygons`` may go beyond 180."""
    parts = [part for polygon in polygons for part in cut_at_180(polygon)]
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


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
    outer = [ring for ring in rings if _compute_twice_area(ring) > 0.0]
    for ring in outer:
        holes = [
            hole for hole in rings if _compute_twice_area(hole) < 0.0 and _contains(ring, hole[0])
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
            number = follower[number]
        yield [*ring, ring[0]]


def _compute_twice_area(ring: Ring) -> float:
    lon, lat = ring[0]
    return sum((a[0] - lon) * (b[1] - lat) - (b[0] - lon) * (a[1] - lat) for a, b in pairwise(ring))


def _contains(ring: Ring, point: LonLat) -> bool:
    """Whether a point lies within a ring, by counting the crossings of a line from it."""
    inside = False
    for (lon_a, lat_a), (lon_b, lat_b) in pairwise(ring):
        if (lat_a > point[1]) != (lat_b > point[1]):
            inside ^= point[0] < lon_a + (point[1] - lat_a) / (lat_b - lat_a) * (lon_b - lon_a)
    return inside


def _round_points(polygon: Polygon, less: float) -> Polygon:
    return [[(round(lon - less, _DIGITS), round(lat, _DIGITS)) for lon, lat in r] for r in polygon]
