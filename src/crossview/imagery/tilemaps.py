"""What tile archives say of their numbering and place, and which way their rows run."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from crossview.errors import BadImagery
from crossview.files import list_files
from crossview.geo.mercator import HALF_WORLD_M, MAX_LAT, find_tile, unproject
from crossview.geo.points import LatLon, wrap_lon
from crossview.imagery.drivers import read_elements

Scheme = Literal["tms", "xyz"]  # rows counted from the south; from the north
Degrees = tuple[float, float, float, float]  # west, south, east, north

TILEMAP = "tilemapresource.xml"  # of TMS 1.0.0, as gdal2tiles and MapTiler write it
_MOST_BYTES = 1_000_000  # of a file beside the tiles
_UNKNOWN_ORDER = (
    ", so the order of the tiles' rows is not known.\n"
    "Correct it, or remove it and give the order: --tms or --no-tms."
)
_MERCATOR = {"3857", "900913", "3785", "41001", "102100", "102113", "54004"}
_AS_NEAR = 0.5  # tiles: orders of rows that differ by less fit equally well
_NEAR_TILES = 1.01  # how far stated bounds may lie from the tiles' edges to fit them closely


@dataclass(frozen=True, kw_only=True)
class TileFacts:
    """What an archive says of itself; None and empty where it says nothing.

    ``bounds`` are readings of the bounds that it states, in degrees: two where the axes may be
    swapped. ``contradiction`` says what does not fit together.
    """

    scheme: Scheme | None = None
    bounds: tuple[Degrees, ...] = ()
    attribution: str = ""
    date: str = ""
    files: tuple[Path, ...] = field(default=())
    contradiction: str = ""


def read_facts_beside(folder: Path) -> TileFacts:
    """What ``tilemapresource.xml``, ``metadata.json`` or a TileJSON in a folder of tiles say.

    Raises :class:`BadImagery` for grids other than Web Mercator's, vector tiles, and files that
    cannot be read.
    """
    named = list_files(folder, {".json", ".xml"})
    tilemaps = [path for path in named if path.name.lower() == TILEMAP]
    stated = [_read_tilemap(path) for path in tilemaps]
    used = list(tilemaps)
    for path in (path for path in named if path.suffix.lower() == ".json"):
        if values := _read_json(path):
            stated.append(parse_metadata(values, path))
            used.append(path)
    schemes = {facts.scheme for facts in stated if facts.scheme}
    wrong = [facts.contradiction for facts in stated if facts.contradiction]
    if len(schemes) > 1:
        wrong.append(f"{' and '.join(path.name for path in used)} name different row orders")
    return TileFacts(
        scheme=schemes.pop() if len(schemes) == 1 else None,
        bounds=next((facts.bounds for facts in stated if facts.bounds), ()),
        attribution=next((facts.attribution for facts in stated if facts.attribution), ""),
        date=next((facts.date for facts in stated if facts.date), ""),
        files=tuple(used),
        contradiction="; ".join(wrong),
    )


def parse_metadata(values: dict[str, Any], path: Path) -> TileFacts:
    """What a TileJSON, or the metadata of MBTiles or PMTiles, says. ``path`` is for errors."""
    if str(values.get("format", "")).lower() in ("pbf", "mvt"):
        raise vector_tiles_error(path)
    grid = values.get("crs") or values.get("srs") or values.get("projection") or ""
    if isinstance(grid, str) and grid and not _is_mercator(grid):
        raise _grid_error(path, grid)
    templates = values.get("tiles") if isinstance(values.get("tiles"), list) else []
    turned = any("{-y}" in str(template) for template in templates or ())
    scheme = str(values.get("scheme", "")).strip().lower()
    stated: Scheme | None = "tms" if scheme == "tms" or turned else None
    if scheme == "xyz" and not turned:
        stated = "xyz"
    contradiction = scheme == "xyz" and turned
    return TileFacts(
        scheme=None if contradiction else stated,
        bounds=parse_bounds(values.get("bounds")),
        attribution=str(values.get("attribution") or "").strip(),
        date=str(values.get("date") or "").strip(),
        contradiction=f"{path.name} says xyz and has {{-y}} in its address" * contradiction,
    )


def parse_bounds(stated: object) -> tuple[Degrees, ...]:
    """Bounds written as four numbers, or as text with commas; none where they mean nothing."""
    parts = stated.split(",") if isinstance(stated, str) else stated
    if not isinstance(parts, list | tuple) or len(parts) != 4:
        return ()
    try:
        west, south, east, north = (float(part) for part in parts)
    except (TypeError, ValueError):
        return ()
    box = (west, south, east, north)
    is_empty = west == east and south == north  # what writers leave that do not know
    return () if is_empty or not _is_on_earth(box) else (box,)


def choose_row_order(
    tiles: Iterable[tuple[int, int]],
    zoom: int,
    facts: TileFacts,
    from_south: bool | None,
    name: str,
) -> tuple[bool, str]:
    """Whether the rows of ``tiles`` (x, row as stored) count from the south, and a note.

    Stated bounds that only one order of rows fits decide; else what the archive says, else from
    the north. ``from_south`` overrides what the archive says. Raises :class:`BadImagery` where
    bounds and rows contradict each other and nothing decides.
    """
    numbers = sorted(tiles)
    _require_on_grid(numbers, zoom, name)
    fitting = _find_fitting_orders(numbers, zoom, facts.bounds) if facts.bounds else ["tms", "xyz"]
    if from_south is not None:
        wanted = "tms" if from_south else "xyz"
        if fitting and wanted not in fitting:
            raise BadImagery(
                f"{name}: {'--tms' if from_south else '--no-tms'} contradicts the bounds that it "
                f"states ({_format_bounds(facts.bounds[0])}).\n"
                "Remove the option, or correct the bounds."
            )
        return from_south, ""
    if not fitting:
        raise BadImagery(
            f"{name} states the bounds {_format_bounds(facts.bounds[0])} (west, south, east, "
            "north), but its tiles lie elsewhere, from whichever side their rows count.\n"
            "Correct the bounds, or give the order of rows: --tms (from the south) or --no-tms "
            "(from the north)."
        )
    if len(fitting) == 1:
        (order,) = fitting
        if facts.scheme == order or (facts.scheme is None and not facts.contradiction):
            return order == "tms", ""
        side = "south" if order == "tms" else "north"
        return order == "tms", (
            f"{name}: its rows were read as counted from the {side}, because only so do they lie "
            "in the bounds that it states"
        )
    if facts.contradiction:
        raise BadImagery(
            f"{name}: {facts.contradiction}.\n"
            "Give the order of rows: --tms (from the south) or --no-tms (from the north)."
        )
    if facts.scheme is None:  # and its bounds, if it states any, fit both orders
        return False, (
            f"{name} does not say how its rows count: taken as from the north (XYZ); "
            "--tms if from the south"
        )
    return facts.scheme == "tms", ""


def require_one_order(zooms: Sequence[tuple[int, Sequence[tuple[int, int]]]], name: str) -> None:
    """All zooms must count rows from one side: their ``tiles`` (x, row as stored) lie together.

    Raises :class:`BadImagery` where the tiles of a zoom lie apart from those of the deepest, and
    together with them if counted from the other side.
    """
    deepest = max(zoom for zoom, _ in zooms)
    below, parents = deepest, set(dict(zooms)[deepest])
    for zoom, others in sorted(zooms, reverse=True):
        parents = {(x >> (below - zoom), row >> (below - zoom)) for x, row in parents}
        below = zoom
        turned = {(x, 2**zoom - 1 - row) for x, row in others}
        if parents.isdisjoint(others) and not parents.isdisjoint(turned):
            raise BadImagery(
                f"{name}: the rows of its zooms {zoom} and {deepest} count from different sides.\n"
                "Remove one of the two zooms, or make the tiles again."
            )


def vector_tiles_error(path: Path) -> BadImagery:
    """The error for an archive of map shapes."""
    return BadImagery(
        f"{path} holds vector tiles: the shapes of a map, not pictures from above.\n"
        "crossview compares photos with imagery; give an archive of PNG, JPEG or WebP tiles."
    )


def _require_on_grid(numbers: Sequence[tuple[int, int]], zoom: int, name: str) -> None:
    outside = [tile for tile in numbers if not (min(tile) >= 0 and max(tile) < 2**zoom)]
    if outside:
        x, y = outside[0]
        raise BadImagery(
            f"{name} has a tile {zoom}/{x}/{y}; Web Mercator numbers them 0 to {2**zoom - 1} there."
            "\nIts grid is another one (of degrees, perhaps); make Web Mercator tiles of it, or "
            "give the imagery as a GeoTIFF."
        )


def _find_fitting_orders(
    numbers: Sequence[tuple[int, int]], zoom: int, bounds: Sequence[Degrees]
) -> list[Scheme]:
    """The orders of rows with which the tiles lie in the bounds: closely, else at all."""
    xs, rows = {x for x, _ in numbers}, [row for _, row in numbers]
    last = 2**zoom - 1
    spans = {"xyz": (min(rows), max(rows) + 1), "tms": (last - max(rows), last - min(rows) + 1)}
    at_all: list[Scheme] = []
    closely: dict[Scheme, float] = {}  # tiles between the edges
    orders: tuple[Scheme, ...] = ("tms", "xyz")
    for box in bounds:
        top, bottom = (_compute_tile_row(lat, zoom) for lat in (box[3], box[1]))
        if not _columns_meet(xs, zoom, box):
            continue
        for order in orders:
            first, end = spans[order]
            if first - 1 < bottom and top < end + 1:
                at_all.append(order)
            off = max(abs(first - top), abs(end - bottom))
            if off <= min(_NEAR_TILES, closely.get(order, _NEAR_TILES)):
                closely[order] = off
    best = min(closely.values(), default=0.0)
    return [order for order, off in closely.items() if off <= best + _AS_NEAR] or [
        order for order in orders if order in at_all
    ]


def _columns_meet(xs: set[int], zoom: int, box: Degrees) -> bool:
    """Whether any column, or its neighbour, lies between west and east."""
    west, _, east, _ = box
    if east - west >= 360.0:
        return True
    wide = (east - west) % 360.0
    tile_deg = 360.0 / 2**zoom
    starts = ((x * tile_deg - 180.0 - west + tile_deg) % 360.0 for x in xs)
    return any(start < wide + 2.0 * tile_deg for start in starts)


def _compute_tile_row(lat: float, zoom: int) -> float:
    return find_tile(LatLon(min(max(lat, -MAX_LAT), MAX_LAT), 0.0), zoom)[1]


def _format_bounds(box: Degrees) -> str:
    return ", ".join(f"{value:.6g}" for value in box)


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON file that describes tiles; empty for any other."""
    if path.stat().st_size > _MOST_BYTES:
        return {}
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        if path.name.lower() != "metadata.json":
            return {}
        raise BadImagery(
            f"{path} cannot be read as JSON, so the order of the tiles' rows is not known."
        ) from problem
    marks = {"scheme", "bounds", "tilejson", "tiles", "format"}
    return values if isinstance(values, dict) and marks & set(values) else {}


def _read_tilemap(path: Path) -> TileFacts:
    """What a TMS tile map says; raises :class:`BadImagery` unless it is of Web Mercator."""
    elements = list(read_elements(path, _MOST_BYTES, "a tile map", _UNKNOWN_ORDER))
    attributes = {tag: values for tag, values, _ in reversed(elements)}
    texts = {tag: text.strip() for tag, _, text in reversed(elements)}
    if "TileMap" not in attributes:
        raise BadImagery(f"{path} is not a tile map: it has no element TileMap.")
    profile = attributes.get("TileSets", {}).get("profile", "").lower().removeprefix("global-")
    grid = texts.get("SRS", "")
    if profile not in ("", "mercator", "none", "local") or (grid and not _is_mercator(grid)):
        raise _grid_error(path, grid or f"profile {profile}")
    _require_usual_scale(path, [values for tag, values, _ in elements if tag == "TileSet"],
                         attributes.get("TileFormat", {}))  # fmt: skip
    box = _parse_numbers(attributes.get("BoundingBox", {}), ("minx", "miny", "maxx", "maxy"))
    origin = _parse_numbers(attributes.get("Origin", {}), ("x", "y"))
    north = bool(origin) and origin[1] > 0.99 * HALF_WORLD_M
    wrong = f"{path.name} has its origin in the north, where TMS has it in the south" * north
    return TileFacts(
        scheme=None if north else "tms", bounds=_interpret_box(box), contradiction=wrong
    )


def _interpret_box(box: list[float]) -> tuple[Degrees, ...]:
    """A bounding box in metres or degrees; degrees also with the axes swapped, as some have it."""
    if not box or (box[0] == box[2] and box[1] == box[3]):
        return ()
    if max(map(abs, box)) > 360.0:
        if max(map(abs, box)) > 1.01 * HALF_WORLD_M:
            return ()
        xs = [value / HALF_WORLD_M * 180.0 for value in box[::2]]
        lats = [unproject(0.0, value).lat for value in box[1::2]]
        return ((xs[0], lats[0], xs[1], lats[1]),)
    swapped = (box[1], box[0], box[3], box[2])
    west, south, east, north = box
    return tuple(way for way in ((west, south, east, north), swapped) if _is_on_earth(way))


def _is_on_earth(box: Degrees) -> bool:
    west, south, east, north = box
    return (
        all(map(math.isfinite, box))
        and -90.0 <= south <= north <= 90.0
        and -360.0 <= west <= 360.0
        and -360.0 <= east <= 360.0
        and (west <= east or float(wrap_lon(west)) > float(wrap_lon(east)))
    )


def _require_usual_scale(
    path: Path, tilesets: Sequence[dict[str, str]], tile_format: dict[str, str]
) -> None:
    """Tiles of zoom z must be 2^-z of the world wide, counted in their own or in 256 pixels.

    gdal2tiles writes the units of 256 pixels whatever the size of its tiles.
    """
    widths = {256.0, *_parse_numbers(tile_format, ("width",))}
    for values in tilesets:
        stated = _parse_numbers(values, ("units-per-pixel", "order"))
        if not stated:
            continue
        units, zoom = stated
        usual = [2.0 * HALF_WORLD_M / (width * 2.0**zoom) for width in widths if width > 0.0]
        if not any(abs(units / expected - 1.0) < 0.001 for expected in usual):
            raise BadImagery(
                f"{path}: {units:g} units per pixel at zoom {zoom:g}; in Web Mercator they are "
                f"{usual[0]:g}.\nIts tiles lie on another grid; make Web Mercator tiles of the "
                "imagery, or give it as a GeoTIFF."
            )


def _parse_numbers(values: dict[str, str], names: Sequence[str]) -> list[float]:
    """The finite numbers of these names; none if any is missing or not a number."""
    try:
        numbers = [float(values[name]) for name in names]
    except (KeyError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _is_mercator(grid: str) -> bool:
    codes = re.findall(r"\d{4,6}", grid)
    return codes[-1] in _MERCATOR if codes else "mercator" in grid.lower()


def _grid_error(path: Path, grid: str) -> BadImagery:
    return BadImagery(
        f"{path}: its tiles lie on the grid {grid[:60]!r}; only Web Mercator (EPSG:3857) is read.\n"
        "Make such tiles (gdal2tiles -p mercator), or give the imagery as a GeoTIFF."
    )
