"""Buildings that others have mapped: outlines on Earth, with heights or storeys where told.

GeoJSON and the JSON of OpenStreetMap extracts (Overpass) are read with no more than Python;
GeoPackage, Shapefile, FlatGeobuf and OSM's own formats need the extra ``geo``.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crossview.arrays import F64, Bool
from crossview.errors import BadData, InvalidValue
from crossview.geo.grids import RasterGrid
from crossview.geo.perimeters import find_named_crs, list_geometry_rings, parse_ring
from crossview.geo.points import LatLon, measure_distance_m, measure_lon_offsets_deg
from crossview.schema import parse_object, read_bytes
from crossview.worlds.relief import HIGHEST_M, Outlines
from crossview.worlds.town import STOREY_M

MOST_BYTES = 400_000_000  # of a file of outlines, unpacked: a city of a million people
HEIGHT_NAMES = ("height", "building:height", "measured_height", "measuredheight", "roof_height",
                "height_m", "hoehe", "hauteur", "altura", "h")  # fmt: skip
STOREY_NAMES = ("building:levels", "levels", "storeys", "stories", "num_floors", "floors",
                "nb_etages", "lv")  # fmt: skip
_NUMBER = re.compile(r"\s*(\d+(?:[.,]\d+)?)\s*(m|metres?|meters?|ft|feet|')?\s*(?:[;-].*)?", re.I)
_FEET_M = 0.3048
_MARGIN_DEG = 0.0004  # some 40 m around the outermost corners
_REACH_DEG = 0.02  # no building begins farther from the ground that it covers
_LATTICE = 60  # parts of a side that are within the extent or not
_LIBRARY = {".gpkg", ".shp", ".fgb", ".pbf", ".osm", ".gml", ".parquet"}


@dataclass(frozen=True)
class Plan:
    """A building's rings [k, 2] of latitude and longitude, and its height (NaN: not told).

    Rings of a building may be several parts and holes: what lies inside of an odd number of them
    is built.
    """

    rings: tuple[F64, ...]
    height_m: float


def read_plans(path: Path, *, height_name: str | None = None) -> tuple[Plan, ...]:
    """Buildings of a file, whatever they are used for.

    ``height_name``: the property that holds metres; else the usual ones are looked for, then
    numbers of storeys (of ``STOREY_M``). Raises :class:`BadData` for files that hold no buildings.
    """
    if not path.is_file():
        raise BadData(f"There is no {path}. Give a file of building outlines, such as GeoJSON.")
    try:
        features = list(_list_features(path))
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zlib.error) as problem:
        raise BadData(
            f"{path} cannot be read as building outlines: {problem}.\n"
            "Give GeoJSON, or the JSON of an OpenStreetMap extract (Overpass, 'out geom')."
        ) from problem
    plans = []
    for rings, facts in features:
        usable = tuple(ring for ring in rings if len(ring) >= 3)
        if usable:
            plans.append(Plan(usable, find_height_m(facts, height_name)))
    if not plans:
        raise BadData(
            f"{path} holds no polygons of buildings.\nGive outlines, not points; in an extract of "
            "OpenStreetMap, with their geometry ('out geom')."
        )
    _require_heights(path, plans, height_name)
    return tuple(plans)


def find_height_m(facts: Mapping[str, Any], height_name: str | None = None) -> float:
    """A building's height in metres by its properties; NaN where none tells it."""
    lower = {str(name).lower(): value for name, value in facts.items()}
    for name in (height_name.lower(),) if height_name else HEIGHT_NAMES:
        height = _parse_length_m(lower.get(name))
        if height > 0.0:
            return height
    if height_name:
        return math.nan
    for name in STOREY_NAMES:
        storeys = _parse_length_m(lower.get(name))
        if 0.0 < storeys < 200.0:
            return STOREY_M * storeys
    return math.nan


def draw_outlines(
    plans: Sequence[Plan], grid: RasterGrid, *, must_meet: bool = True
) -> Outlines:  # fmt: skip
    """Plans over the pixels of ``grid``, those that do not touch it left out.

    Where two overlap, the smaller one is seen. Beyond the plans' own extent buildings are not
    known. Raises :class:`BadData` if none touches the grid, unless they need not (``must_meet``).
    """
    near = _find_near(plans, grid)
    points, starts = _project(near, grid)
    place = np.zeros((grid.height_px, grid.width_px), np.int32)
    found: list[tuple[float, int, list[Any]]] = []
    for row, plan in enumerate(near):
        rings = [points[first:last] for first, last in _list_rings(plan, starts[row])]
        corners = np.concatenate(rings)
        low, high = corners.min(axis=0), corners.max(axis=0)
        if not np.isfinite(corners).all() or (high <= 0.0).any():
            continue
        if (low >= (grid.width_px, grid.height_px)).any() or (high - low).max() > 30_000:
            continue
        found.append((float(np.prod(high - low)), row, rings))
    if not found and must_meet:
        raise BadData(_say_how_far(plans, grid))
    found.sort(key=lambda one: -one[0])
    heights = np.array([near[row].height_m for _, row, _ in found], np.float32)
    if found:
        from rasterio.features import rasterize
        from rasterio.transform import Affine

        shapes = (
            ({"type": "Polygon", "coordinates": [ring.tolist() for ring in rings]}, number)
            for number, (_, _, rings) in enumerate(found, 1)
        )
        rasterize(shapes, out=place, transform=Affine.identity())
    return Outlines(place, heights, _find_known(plans, grid))


def _find_near(plans: Sequence[Plan], grid: RasterGrid) -> list[Plan]:
    """Plans that begin within some kilometre of the grid: the others need no exact look."""
    first = np.array([plan.rings[0][0] for plan in plans]).reshape(-1, 2)
    edge = np.linspace(0.0, 1.0, 3)
    lat, lon = grid.latlon(*np.meshgrid(edge * grid.width_px, edge * grid.height_px))
    near = (first[:, 0] > lat.min() - _REACH_DEG) & (first[:, 0] < lat.max() + _REACH_DEG)
    about = float(lon[1, 1])
    reach = float(np.abs(measure_lon_offsets_deg(lon, about)).max()) + _REACH_DEG
    near &= np.abs(measure_lon_offsets_deg(first[:, 1], about)) < reach
    return list(compress(plans, near))


def _find_known(plans: Sequence[Plan], grid: RasterGrid) -> Bool | None:
    """Pixels within the plans' extent; None where that is all of them."""
    if not plans:
        return np.zeros((grid.height_px, grid.width_px), np.bool_)
    corners = np.concatenate([plan.rings[0][:1] for plan in plans])
    low, high = corners.min(axis=0) - _MARGIN_DEG, corners.max(axis=0) + _MARGIN_DEG
    middles = (np.arange(_LATTICE) + 0.5) / _LATTICE
    lat, lon = grid.latlon(*np.meshgrid(middles * grid.width_px, middles * grid.height_px))
    inside = (lat >= low[0]) & (lat <= high[0]) & (lon >= low[1]) & (lon <= high[1])
    if inside.all():
        return None
    size = (grid.width_px, grid.height_px)
    whole = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(whole > 0, np.bool_)


def _project(plans: Sequence[Plan], grid: RasterGrid) -> tuple[F64, list[int]]:
    """All corners as continuous pixels [n, 2], and where each plan's begin."""
    starts = np.cumsum([0, *(sum(map(len, plan.rings)) for plan in plans)]).tolist()
    every = np.concatenate([ring for plan in plans for ring in plan.rings] or [np.zeros((0, 2))])
    column, row = grid.pixel(every[:, 0], every[:, 1])
    return np.stack([column, row], axis=1), starts


def _list_rings(plan: Plan, start: int) -> Iterator[tuple[int, int]]:
    for ring in plan.rings:
        yield start, start + len(ring)
        start += len(ring)


def _say_how_far(plans: Sequence[Plan], grid: RasterGrid) -> str:
    lat, lon = grid.latlon(grid.width_px / 2.0, grid.height_px / 2.0)
    middle = LatLon(float(lat), float(lon))
    corners = np.concatenate([plan.rings[0][:1] for plan in plans])
    inside = np.abs(corners[:, 0]) <= 90.0
    far = min(
        (measure_distance_m(middle, LatLon(float(a), float(b))) for a, b in corners[inside][:2000]),
        default=math.inf,
    )
    return (
        f"None of {len(plans)} building outlines touches the imagery; the nearest begins about "
        f"{far / 1000.0:,.1f} km from its middle ({middle.lat:.5f}, {middle.lon:.5f}).\n"
        "Give outlines of the same place, or check their coordinate reference system."
    )


def _require_heights(path: Path, plans: Sequence[Plan], height_name: str | None) -> None:
    told = np.array([plan.height_m for plan in plans])
    told = told[np.isfinite(told)]
    if height_name and told.size == 0:
        raise InvalidValue(
            f"No building of {path} has a height in the property {height_name!r}.\n"
            "Give the name of a property that holds metres above the ground."
        )
    if told.size and (np.median(told) > 120.0 or np.percentile(told, 99.0) > HIGHEST_M):
        raise BadData(
            f"The heights of {path} are not metres above the ground: half of them are above "
            f"{np.median(told):.0f}.\nElevations above the sea, feet and centimetres must be "
            "converted first."
        )


def _parse_length_m(value: object) -> float:
    if isinstance(value, bool) or value is None:
        return math.nan
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else math.nan
    found = _NUMBER.fullmatch(str(value)[:40])
    if not found:
        return math.nan
    number = float(found[1].replace(",", "."))
    feet = (found[2] or "").lower() in {"ft", "feet", "'"}
    return number * _FEET_M if feet else number


Feature = tuple[list[F64], Mapping[str, Any]]


def _list_features(path: Path) -> Iterator[Feature]:
    """Rings (latitude, longitude) and properties of every polygon."""
    suffixes = [part.lower() for part in path.suffixes]
    if suffixes and suffixes[-1] in _LIBRARY:
        yield from _read_by_library(path)
        return
    content = parse_object(_unpack(path))
    if "elements" in content:
        yield from _list_extract(content["elements"])
    elif content.get("type") in {"FeatureCollection", "Feature"}:
        yield from _list_geojson(content)
    else:
        raise ValueError(
            "it is neither GeoJSON ('type': 'FeatureCollection') nor an extract ('elements')"
        )


def _unpack(path: Path) -> bytes:
    data = read_bytes(path, MOST_BYTES)
    if data[:2] != b"\x1f\x8b":
        return data
    with gzip.open(path) as stream:
        data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"unpacked it has more than {MOST_BYTES} bytes")
    return data


def _list_geojson(content: Mapping[str, Any]) -> Iterator[Feature]:
    """Features of GeoJSON; old files may name another reference system than WGS84."""
    crs = find_named_crs(content)
    features = content.get("features", [content])
    if not isinstance(features, list):
        raise ValueError("its 'features' are no list")
    for feature in features:
        if not isinstance(feature, dict) or not isinstance(feature.get("geometry"), dict):
            continue
        polygons = list_geometry_rings(feature["geometry"])
        rings = [parse_ring(ring, crs) for polygon in polygons for ring in polygon]
        facts = feature.get("properties")
        yield rings, facts if isinstance(facts, dict) else {}


def _list_extract(elements: Any) -> Iterator[Feature]:
    """Buildings of an OpenStreetMap extract in JSON; nodes may stand in the ways or apart."""
    if not isinstance(elements, list):
        raise ValueError("its 'elements' are no list")
    known = [one for one in elements if isinstance(one, dict)]
    nodes = {one.get("id"): one for one in known if one.get("type") == "node"}
    ways = {one.get("id"): one for one in known if one.get("type") == "way"}
    for one in known:
        tags = one.get("tags")
        if not isinstance(tags, dict) or tags.get("building", "no") == "no":
            continue
        if one.get("type") == "way":
            yield [_parse_way(one, nodes)], tags
        elif one.get("type") == "relation":
            members = [m for m in one.get("members", []) if isinstance(m, dict)]
            parts = [m if "geometry" in m else ways.get(m.get("ref"), {}) for m in members]
            yield _close_rings([_parse_way(part, nodes) for part in parts if part]), tags


def _parse_way(way: Mapping[str, Any], nodes: Mapping[Any, Any]) -> F64:
    corners = way.get("geometry") or [nodes.get(ref) for ref in way.get("nodes", [])]
    return parse_ring([(p.get("lon"), p.get("lat")) for p in corners if isinstance(p, dict)])


def _close_rings(ways: Sequence[F64]) -> list[F64]:
    """Rings of a relation: its closed ways, and open ones chained end to end."""
    rings: list[F64] = []
    rest = [way for way in ways if len(way) >= 2]
    while rest:
        ring = rest.pop()
        while (ring[0] != ring[-1]).any():
            for n, other in enumerate(rest):
                if (other[0] == ring[-1]).all() or (other[-1] == ring[-1]).all():
                    onward = other if (other[0] == ring[-1]).all() else other[::-1]
                    ring = np.concatenate([ring, onward[1:]])
                    del rest[n]
                    break
            else:
                break  # what is missing lies outside of the extract
        rings.append(ring)
    return rings


def _read_by_library(path: Path) -> Iterator[Feature]:
    try:
        import geopandas
    except ImportError as problem:
        raise BadData(
            f"{path.name}: files of this kind need the extra 'geo': pip install 'crossview[geo]'.\n"
            "Or convert it to GeoJSON, which needs nothing."
        ) from problem
    layers = {"layer": "multipolygons"} if path.suffix.lower() in {".pbf", ".osm"} else {}
    try:
        read = geopandas.read_parquet if path.suffix.lower() == ".parquet" else geopandas.read_file
        frame = read(path, **layers)
        if frame.crs is None:
            raise ValueError("it does not say its coordinate reference system")
        frame = frame.to_crs(4326)
    except (ValueError, OSError, RuntimeError, TypeError) as problem:
        raise ValueError(str(problem).splitlines()[0][:200]) from problem
    except Exception as problem:  # its drivers have errors of their own
        if type(problem).__module__.partition(".")[0] not in {"pyogrio", "pyproj", "pyarrow"}:
            raise
        raise ValueError(str(problem).splitlines()[0][:200]) from problem
    if layers and "building" in frame:
        frame = frame[frame["building"].notna()]
    names = [str(name) for name in frame.columns if name != frame.geometry.name]
    for shape, facts in zip(frame.geometry, frame[names].to_dict("records"), strict=True):
        if shape is not None and not shape.is_empty:
            polygons = list_geometry_rings(shape.__geo_interface__)
            rings = [parse_ring(ring) for polygon in polygons for ring in polygon]
            yield rings, facts | _parse_other_tags(facts)


def _parse_other_tags(facts: Mapping[str, Any]) -> dict[str, str]:
    """GDAL keeps OSM's rarer tags in one text: "height"=>"12","building:levels"=>"3"."""
    return dict(re.findall(r'"([^"]{1,80})"=>"([^"]{0,80})"', str(facts.get("other_tags") or "")))
