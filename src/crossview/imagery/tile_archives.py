"""Pyramids of Web Mercator tiles as sheets: an XYZ folder, an MBTiles database, a PMTiles archive.

One zoom is chosen; its tiles that touch become a sheet. What an archive says of its numbering and
place is read first, and which way its rows run.
"""

from __future__ import annotations

import io
import json
import math
import re
import sqlite3
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from crossview.errors import BadImage, BadImagery, EmptyRegion, InvalidValue
from crossview.files import list_entries, list_files
from crossview.geo.grids import RasterGrid
from crossview.geo.mercator import (
    HALF_WORLD_M,
    MAX_LAT,
    build_tile_grid,
    compute_metres_per_px,
    find_tile,
    unproject,
)
from crossview.geo.points import LatLon, label_touching_cells, wrap_lon
from crossview.imagery.drivers import read_elements
from crossview.imagery.sheets import Box, MosaicStore, Patch, Piece, Sheet, shrink_patch
from crossview.views.decode import (
    OPAQUE,
    convert_to_rgb_alpha,
    require_few_scans,
    require_webp_within,
)

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


MOST_TILE_PX = 4096  # a side; usual are 256 and 512
TileNumber = tuple[int, int]  # x from the west, and the row
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
DOUBLE_MARK = "@2x"  # of tiles for sharp screens, which count only where a zoom has no others
DEEPEST = 24  # zooms beyond are not imagery
MOST_DIGITS = 9
MOST_TILES = 2_000_000  # of an archive, over all zooms
MOST_TILE_BYTES = 32_000_000  # of one tile's picture file
_MOST_TEXT_BYTES = 10_000_000  # of an archive's metadata
_MOST_DIRECTORY_BYTES = 64_000_000  # of all directories of a PMTiles archive, unpacked
_MOST_LEAVES = 3  # directories below each other; writers use one level
_TABLE_S, _VIEW_S = 60.0, 3.0  # for one query; views may compute for ever
_OPS = 100_000  # of SQLite's machine between looks at the clock
_HARMLESS = {"coalesce", "ifnull"}  # SQL functions that a view of tiles may call


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
    widths = {width for width in widths if 1.0 <= width <= MOST_TILE_PX}
    for values in tilesets:
        stated = _parse_numbers(values, ("units-per-pixel", "order"))
        if not stated or not 0.0 <= stated[1] <= DEEPEST:  # deeper ones are not read
            continue
        units, zoom = stated
        usual = [2.0 * HALF_WORLD_M / (width * 2.0**zoom) for width in widths]
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


class TileArchive(Protocol):
    """Pictures by zoom, x and row; :class:`NorthUpArchive` counts rows from the north in any."""

    name: str
    facts: TileFacts

    def zooms(self) -> list[int]:
        """The zooms that hold tiles, ascending."""

    def tiles(self, zoom: int) -> set[TileNumber]:
        """The tiles of a zoom that exist."""

    def data(self, zoom: int, tile: TileNumber) -> bytes:
        """The picture file of a tile that exists."""

    def files(self) -> list[Path]:
        """What changes on disk when the archive does."""

    def close(self) -> None:
        """Let go of the file."""


class NorthUpArchive:
    """An archive whose rows count from the north, whichever way they are stored.

    ``from_south``: as the user says, overruling the archive; None: as the archive says.
    ``notes`` are what was assumed. Raises :class:`BadImagery` where rows and bounds contradict.
    """

    def __init__(self, archive: TileArchive, from_south: bool | None) -> None:
        self._archive = archive
        self.name, self.facts = archive.name, archive.facts
        zooms = archive.zooms()
        self._turned, note = False, ""
        if zooms:
            tiles = [(zoom, sorted(archive.tiles(zoom))) for zoom in zooms]
            self._turned, note = choose_row_order(
                tiles[-1][1], zooms[-1], archive.facts, from_south, archive.name
            )
            require_one_order(tiles, archive.name)
        self.notes = (note,) if note else ()

    def zooms(self) -> list[int]:
        """See :class:`TileArchive`."""
        return self._archive.zooms()

    def tiles(self, zoom: int) -> set[TileNumber]:
        """See :class:`TileArchive`."""
        return {self._stored(zoom, tile) for tile in self._archive.tiles(zoom)}

    def data(self, zoom: int, tile: TileNumber) -> bytes:
        """See :class:`TileArchive`."""
        return self._archive.data(zoom, self._stored(zoom, tile))

    def files(self) -> list[Path]:
        """See :class:`TileArchive`."""
        return self._archive.files()

    def close(self) -> None:
        """See :class:`TileArchive`."""
        self._archive.close()

    def _stored(self, zoom: int, tile: TileNumber) -> TileNumber:
        """The number in the archive of a tile, or the reverse: turning twice changes nothing."""
        x, row = tile
        return (x, 2**zoom - 1 - row) if self._turned else tile


def make_pyramid_sheets(
    archive: TileArchive,
    *,
    zoom: int | None,
    finest_useful_m: float | None,
    nodata: tuple[float, ...] | None = None,
) -> list[Sheet]:
    """The sheets of one zoom: as asked, else the coarsest that is fine enough, else the finest.

    Fine enough means at most ``finest_useful_m`` ground metres per pixel.
    """
    if nodata is not None and not all(0 <= v <= 255 and v == int(v) for v in nodata):
        text = ",".join(f"{value:g}" for value in nodata)
        raise InvalidValue(f"--nodata {text}: {archive.name} holds whole numbers from 0 to 255.")
    chosen = _choose_zoom(archive, zoom, finest_useful_m)
    numbers = archive.tiles(chosen)
    size = _measure_tile_px(archive, chosen)
    lattice = Lattice(
        size, 2**chosen, lambda first, last: build_tile_grid(chosen, first, last, size)
    )
    return [
        make_tile_sheet(archive, chosen, group, lattice, nodata)
        for group in group_touching_tiles(numbers, lattice.columns)
    ]


@dataclass(frozen=True)
class TileStore:
    """One tile as a store; decoded again at each call."""

    archive: TileArchive
    zoom: int
    tile: TileNumber
    size_px: int
    nodata: tuple[float, ...] | None = None  # of 8-bit red, green and blue

    @property
    def block_px(self) -> tuple[int, int]:
        """See :class:`Store`."""
        return self.size_px, self.size_px

    def read(self, box: Box) -> Patch:
        """See :class:`Store`."""
        return self._decode().cut(box)

    def shrunk(self, height_px: int, width_px: int) -> Patch:
        """See :class:`Store`."""
        return shrink_patch(self._decode(), height_px, width_px)

    def _decode(self) -> Patch:
        where = f"tile {self.zoom}/{self.tile[0]}/{self.tile[1]} of {self.archive.name}"
        stored = self.archive.data(self.zoom, self.tile)
        if not stored:  # what downloaders write where there is no imagery
            nothing = np.zeros((self.size_px, self.size_px), np.uint8)
            return Patch(np.repeat(nothing[..., None], 3, axis=-1), nothing)
        patch = decode_tile(stored, where)
        height, width = patch.pixels.shape[:2]
        if (height, width) != (self.size_px, self.size_px):
            raise BadImagery(
                f"{where} has {width} x {height} pixels where others have {self.size_px}.\n"
                "All tiles of a pyramid must be squares of one size."
            )
        if self.nodata is None:
            return patch
        same = (patch.pixels == np.array(self.nodata)).all(axis=-1)
        data = np.where(same, np.uint8(0), np.uint8(255))
        return Patch(patch.pixels, data if patch.valid is None else np.minimum(patch.valid, data))


def decode_tile(data: bytes, where: str) -> Patch:
    """RGB and validity of a PNG, JPEG or WebP file in memory."""
    from PIL import Image, UnidentifiedImageError

    try:
        require_webp_within(data, MOST_TILE_PX**2)
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture,
        ):
            if max(picture.size) > MOST_TILE_PX:
                width, height = picture.size
                raise BadImage(f"{width} x {height} pixels; at most {MOST_TILE_PX} a side")
            if picture.format in ("JPEG", "MPO"):
                require_few_scans(data, picture.size)
            picture.load()
            rgb, alpha = convert_to_rgb_alpha(picture)
    except (BadImage, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        why = "" if isinstance(problem, UnidentifiedImageError) else f" ({problem})"
        raise BadImagery(
            f"{where} cannot be decoded; it is damaged or not PNG, JPEG or WebP{why}."
        ) from problem
    if alpha is None or (alpha == 255).all():
        return Patch(rgb, None)
    return Patch(rgb, np.where(alpha >= OPAQUE, 255, 0).astype(np.uint8))


def group_touching_tiles(tiles: set[TileNumber], columns: int) -> Iterator[set[TileNumber]]:
    """Groups of tiles that touch at an edge or a corner, from the west; columns go round."""
    numbers = np.array(sorted(tiles), np.int64)
    labels = label_touching_cells(numbers[:, ::-1], columns)
    for group in range(int(labels.max()) + 1):
        yield {(int(x), int(y)) for x, y in numbers[labels == group]}


def _choose_zoom(archive: TileArchive, zoom: int | None, finest_useful_m: float | None) -> int:
    zooms = archive.zooms()
    if not zooms:
        raise EmptyRegion(f"{archive.name} holds no tiles.")
    if zoom is not None:
        if zoom not in zooms:
            held = ", ".join(map(str, zooms))
            raise InvalidValue(f"--zoom {zoom}: {archive.name} holds the zooms {held}.")
        return zoom
    if finest_useful_m is None:
        return zooms[-1]
    _, y = min(archive.tiles(zooms[-1]))
    north_m = HALF_WORLD_M * (1.0 - 2.0 * (y + 0.5) / 2 ** zooms[-1])
    lat = unproject(0.0, north_m).lat
    for candidate in zooms[:-1]:
        if (
            compute_metres_per_px(lat, candidate, _measure_tile_px(archive, candidate))
            <= finest_useful_m
        ):
            return candidate
    return zooms[-1]


def _measure_tile_px(archive: TileArchive, zoom: int) -> int:
    """The side of a zoom's tiles; whatever it is, all tiles of a zoom cover the same ground."""
    for x, row in sorted(archive.tiles(zoom)):
        if data := archive.data(zoom, (x, row)):
            where = f"tile {zoom}/{x}/{row} of {archive.name}"
            return int(decode_tile(data, where).pixels.shape[0])
    raise EmptyRegion(f"{archive.name} holds only empty tiles at zoom {zoom}.")


@dataclass(frozen=True)
class Lattice:
    """Where the tiles of a zoom lie: ``columns`` around the Earth, a grid from first to last."""

    size_px: int
    columns: int
    place: Callable[[TileNumber, TileNumber], RasterGrid]


def make_tile_sheet(
    archive: TileArchive,
    zoom: int,
    tiles: set[TileNumber],
    lattice: Lattice,
    nodata: tuple[float, ...] | None,
) -> Sheet:
    """One sheet; of tiles on both sides of longitude 180 its columns run on beyond."""
    size_px, columns = lattice.size_px, lattice.columns
    ys = [y for _, y in tiles]
    xs = np.unique([x for x, _ in tiles])
    gaps = np.diff(xs, append=xs[0] + columns)
    west = int(xs[(int(gaps.argmax()) + 1) % len(xs)]) if gaps.max() > 1 else int(xs[0])
    east = west + max((int(x) - west) % columns for x in xs)
    north = min(ys)
    grid = lattice.place((west, north), (east, max(ys)))
    whole = Box(0, grid.height_px, 0, grid.width_px)

    def pieces_in(box: Box) -> Iterable[Piece]:
        for y in range(box.top // size_px, (box.bottom - 1) // size_px + 1):
            for x in range(box.left // size_px, (box.right - 1) // size_px + 1):
                tile = ((x + west) % columns, y + north)
                if tile in tiles:
                    place = Box(y * size_px, (y + 1) * size_px, x * size_px, (x + 1) * size_px)
                    yield Piece(place, TileStore(archive, zoom, tile, size_px, nodata))

    store = MosaicStore(whole, (size_px, size_px), pieces_in)
    return Sheet(f"{archive.name} (zoom {zoom})", grid, store)


class XyzFolder:
    """``zoom/x/y.png`` (or .jpg, .webp); files beside the zooms may say how rows count."""

    def __init__(self, path: Path, *, stated: bool = True) -> None:
        self.name = str(path)
        self._path = path
        self.facts = read_facts_beside(path) if stated else TileFacts()
        self._pictures: dict[tuple[int, TileNumber], Path] = {}

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether a folder holds at least one zoom/x/y picture."""
        return any(
            _list_numbered_pictures(column)
            for zoom in _list_zooms(path)
            for column in _list_numbered_folders(zoom)
        )

    def zooms(self) -> list[int]:
        """See :class:`TileArchive`."""
        return [
            int(zoom.name)
            for zoom in _list_zooms(self._path)
            if any(map(_list_numbered_pictures, _list_numbered_folders(zoom)))
        ]

    def tiles(self, zoom: int) -> set[TileNumber]:
        """See :class:`TileArchive`."""
        usual: dict[TileNumber, Path] = {}
        double: dict[TileNumber, Path] = {}
        for folder in (folder for folder in _list_zooms(self._path) if int(folder.name) == zoom):
            for column in _list_numbered_folders(folder):
                for picture in _list_numbered_pictures(column):
                    stem = picture.stem.removesuffix(DOUBLE_MARK)
                    named = usual if stem == picture.stem else double
                    named[int(column.name), int(stem)] = picture
        tiles = usual or double
        self._pictures |= {(zoom, tile): picture for tile, picture in tiles.items()}
        return set(tiles)

    def data(self, zoom: int, tile: TileNumber) -> bytes:
        """See :class:`TileArchive`."""
        path = self._pictures[zoom, tile]
        try:
            if path.stat().st_size > MOST_TILE_BYTES:
                raise _too_large(str(path))
            return path.read_bytes()
        except OSError as problem:
            raise BadImagery(f"{path} cannot be read: {problem.strerror}.") from problem

    def files(self) -> list[Path]:
        """The folders of columns: they change when a tile comes or goes; and what is beside."""
        columns = sorted(
            column for zoom in _list_zooms(self._path) for column in _list_numbered_folders(zoom)
        )
        return [*columns, *self.facts.files]

    def close(self) -> None:
        """Nothing is held open."""


def _list_zooms(path: Path) -> list[Path]:
    return sorted(
        (folder for folder in _list_numbered_folders(path) if int(folder.name) <= DEEPEST),
        key=lambda folder: int(folder.name),
    )


def _list_numbered_folders(path: Path) -> list[Path]:
    """Folders named by a number."""
    return [entry for entry in list_entries(path) if _is_number(entry.name) and entry.is_dir()]


def _list_numbered_pictures(path: Path) -> list[Path]:
    """Pictures named by a number, those of double resolution too."""
    return [
        entry
        for entry in list_entries(path)
        if entry.suffix.lower() in PICTURE_SUFFIXES
        and _is_number(entry.stem.removesuffix(DOUBLE_MARK))
    ]


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) <= MOST_DIGITS


class MbTiles:
    """An SQLite database of tiles (MBTiles 1.3); its rows should count from the south."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        source = f"{path.resolve().as_uri()}?mode=ro"
        if not path.with_name(path.name + "-wal").exists():
            source += "&immutable=1"  # nothing is made beside it
        try:
            self._db = sqlite3.connect(source, uri=True, check_same_thread=False)
        except sqlite3.Error as problem:
            raise BadImagery(f"{path} cannot be read as MBTiles: {problem}.") from problem
        self._until, self._seconds = 0.0, _TABLE_S
        self._db.set_progress_handler(lambda: time.monotonic() > self._until, _OPS)
        self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_TILE_BYTES)
        try:
            self._query("PRAGMA trusted_schema=OFF")
            self._db.set_authorizer(_authorize)
            query = "SELECT name, type, sql FROM sqlite_master LIMIT 10000"
            tables = {name: (kind, sql) for name, kind, sql in self._query(query)}
            for name in ("tiles", "metadata"):
                kind, sql = tables.get(name, ("table", ""))
                if kind not in ("table", "view") or "virtual" in str(sql or "").lower().split()[:2]:
                    raise BadImagery(
                        f"{path} cannot be read as MBTiles: its {name} are neither a table nor a "
                        "view of tables."
                    )
            if any(kind == "view" for kind, _ in tables.values()):
                self._seconds = _VIEW_S
            query = "SELECT name, value FROM metadata LIMIT 10000"
            rows = self._query(query) if "metadata" in tables else []
            stated = {str(k): str(v) for k, v in rows}
            # Some writers name a scheme here, of what they wrote or of what they read.
            xyz = stated.get("scheme", "").strip().lower() == "xyz"
            wrong = "its metadata say xyz, and MBTiles count rows from the south" * xyz
            stated["scheme"] = "tms"
            self.facts = replace(parse_metadata(stated, path), contradiction=wrong)
        except BadImagery:
            self._db.close()
            raise

    def zooms(self) -> list[int]:
        """See :class:`TileArchive`."""
        query = "SELECT count(*) FROM (SELECT 1 FROM tiles LIMIT ?)"
        if self._query(query, MOST_TILES + 1)[0][0] > MOST_TILES:
            raise _too_many(self.name)
        query = "SELECT DISTINCT zoom_level FROM tiles ORDER BY 1 LIMIT 1000"
        return [zoom for (zoom,) in self._read_numbers(query) if 0 <= zoom <= DEEPEST]

    def tiles(self, zoom: int) -> set[TileNumber]:
        """See :class:`TileArchive`."""
        query = "SELECT tile_column, tile_row FROM tiles WHERE zoom_level = ? LIMIT ?"
        return {(x, row) for x, row in self._read_numbers(query, zoom, MOST_TILES)}

    def data(self, zoom: int, tile: TileNumber) -> bytes:
        """See :class:`TileArchive`."""
        query = (
            "SELECT tile_data FROM tiles "
            "WHERE zoom_level = ? AND tile_column = ? AND tile_row = ? LIMIT 1"
        )
        stored = self._query(query, zoom, *tile)[0][0]
        if stored is None:
            return b""
        if not isinstance(stored, bytes):
            raise BadImagery(f"{self.name}: tile {zoom}/{tile[0]}/{tile[1]} is not a picture.")
        return stored

    def files(self) -> list[Path]:
        """See :class:`TileArchive`."""
        return [Path(self.name)]

    def close(self) -> None:
        """See :class:`TileArchive`."""
        self._db.close()

    def _read_numbers(self, query: str, *values: int) -> list[Any]:
        rows = self._query(query, *values)
        if not all(isinstance(value, int) for row in rows for value in row):
            raise BadImagery(f"{self.name} is damaged: its tiles are not numbered.")
        return rows

    def _query(self, query: str, *values: int) -> list[Any]:
        self._until = time.monotonic() + self._seconds
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as problem:
            if "authorized" in str(problem) or "prohibited" in str(problem):
                raise BadImagery(
                    f"{self.name}: its tiles are computed by functions or recursion; only tables, "
                    "and views that join tables, are read.\nWrite its tiles into a table."
                ) from problem
            if str(problem) == "interrupted":
                raise BadImagery(
                    f"{self.name} does not answer within {self._seconds:g} s what tiles it holds.\n"
                    "If its tiles are a view, write them into a table; add an index of zoom_level, "
                    "tile_column, tile_row."
                ) from problem
            raise BadImagery(f"{self.name} cannot be read as MBTiles: {problem}.") from problem


def _authorize(action: int, name: str | None, function: str | None, *_: object) -> int:
    """Of SQL only what reads: no recursion, and of functions only those that make nothing large."""
    if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ):
        return sqlite3.SQLITE_OK
    harmless = {*_HARMLESS, "count"}  # which we use ourselves
    if action == sqlite3.SQLITE_FUNCTION and function in harmless:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


class PmTiles:
    """A PMTiles archive (version 3) of pictures, memory-mapped."""

    def __init__(self, path: Path) -> None:
        from pmtiles.reader import MmapSource
        from pmtiles.tile import TileType, deserialize_header

        self.name = str(path)
        try:
            with path.open("rb") as file:
                self._bytes = MmapSource(file)
            self._header = deserialize_header(self._bytes(0, 127))
            stated = self._read_metadata()
        except Exception as problem:  # pmtiles raises its own, struct's and index errors
            raise BadImagery(
                f"{path} cannot be read as PMTiles (version 3): {type(problem).__name__} {problem}."
            ) from problem
        if self._header["tile_type"] == TileType.MVT:
            raise vector_tiles_error(path)
        corners = ("min_lon_e7", "min_lat_e7", "max_lon_e7", "max_lat_e7")
        stated |= {"scheme": "xyz", "bounds": [self._header[name] / 1e7 for name in corners]}
        self.facts = parse_metadata(stated, path)
        self._tiles: dict[int, dict[TileNumber, tuple[int, int]]] = {}
        self._entries: list[tuple[int, int, int, int]] = []

    def zooms(self) -> list[int]:
        """See :class:`TileArchive`."""
        named = range(self._header["min_zoom"], min(self._header["max_zoom"], DEEPEST) + 1)
        return [zoom for zoom in named if self._locate_tiles(zoom)]

    def tiles(self, zoom: int) -> set[TileNumber]:
        """See :class:`TileArchive`."""
        return set(self._locate_tiles(zoom))

    def data(self, zoom: int, tile: TileNumber) -> bytes:
        """See :class:`TileArchive`."""
        from pmtiles.tile import Compression

        offset, length = self._locate_tiles(zoom)[tile]
        where = f"tile {zoom}/{tile[0]}/{tile[1]} of {self.name}"
        if length > MOST_TILE_BYTES:
            raise _too_large(where)
        data: bytes = self._bytes(self._header["tile_data_offset"] + offset, length)
        if self._header["tile_compression"] != Compression.GZIP:
            return data
        try:
            return _unpack(data, MOST_TILE_BYTES)
        except ValueError as problem:
            raise BadImagery(f"{where} cannot be decoded: {problem}.") from problem

    def files(self) -> list[Path]:
        """See :class:`TileArchive`."""
        return [Path(self.name)]

    def close(self) -> None:
        """The mapped file goes with the object."""

    def _locate_tiles(self, zoom: int) -> dict[TileNumber, tuple[int, int]]:
        """Offset and length of every tile of a zoom."""
        if zoom not in self._tiles:
            from pmtiles.tile import tileid_to_zxy, zxy_to_tileid

            first, last = zxy_to_tileid(zoom, 0, 0), zxy_to_tileid(zoom + 1, 0, 0)
            tiles: dict[TileNumber, tuple[int, int]] = {}
            for start, run, offset, length in self._read_entries():
                for number in range(max(start, first), min(start + run, last)):
                    _, x, y = tileid_to_zxy(number)
                    tiles[x, y] = (offset, length)
            self._tiles[zoom] = tiles
        return self._tiles[zoom]

    def _read_entries(self) -> list[tuple[int, int, int, int]]:
        """(first tile id, run, offset, length) of every entry; refused before there are too many.

        Directories name directories: none twice, and few below each other.
        """
        if self._entries:
            return self._entries
        entries: list[tuple[int, int, int, int]] = []
        left = [(self._header["root_offset"], self._header["root_length"], 0)]
        seen, tiles, unpacked = set(left), 0, 0
        while left:
            offset, length, deep = left.pop()
            directory, size = self._read_directory(offset, length, _MOST_DIRECTORY_BYTES - unpacked)
            unpacked += size
            for entry in directory:
                tiles += max(1, entry.run_length)
                if tiles > MOST_TILES:
                    raise _too_many(self.name)
                if entry.run_length > 0:
                    entries.append((entry.tile_id, entry.run_length, entry.offset, entry.length))
                    continue
                leaf = (
                    self._header["leaf_directory_offset"] + entry.offset,
                    entry.length,
                    deep + 1,
                )
                if deep >= _MOST_LEAVES or leaf in seen:
                    raise BadImagery(f"{self.name} is damaged: its directories name each other.")
                seen.add(leaf)
                left.append(leaf)
        self._entries = entries
        return entries

    def _read_directory(self, offset: int, length: int, most_bytes: int) -> tuple[list[Any], int]:
        """The entries of a directory, and its bytes once unpacked."""
        from pmtiles.tile import deserialize_directory

        try:
            data = self._bytes(offset, length)
            size = len(_unpack(data, most_bytes))
            return deserialize_directory(data), size
        except Exception as problem:  # a cut file: struct's and index errors
            raise BadImagery(f"{self.name} is truncated or damaged: {problem}.") from problem

    def _read_metadata(self) -> dict[str, Any]:
        from pmtiles.tile import Compression

        data = self._bytes(self._header["metadata_offset"], self._header["metadata_length"])
        if self._header["internal_compression"] == Compression.GZIP:
            data = _unpack(data, _MOST_TEXT_BYTES)
        elif len(data) > _MOST_TEXT_BYTES:
            raise ValueError(f"its metadata are more than {_MOST_TEXT_BYTES:,} bytes")
        facts = json.loads(data) if data else {}
        return facts if isinstance(facts, dict) else {}


def _unpack(data: bytes, most_bytes: int) -> bytes:
    """The content of gzip data; ValueError if it is more than ``most_bytes``, or damaged."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        content = unpacker.decompress(data, most_bytes + 1)
    except zlib.error as problem:
        raise ValueError(f"its compressed data are damaged: {problem}") from problem
    if len(content) > most_bytes:
        raise ValueError(f"unpacked it is more than {most_bytes:,} bytes")
    if not unpacker.eof:
        raise ValueError("its compressed data are truncated")
    return content


def _too_many(name: str) -> BadImagery:
    return BadImagery(
        f"{name} holds more than {MOST_TILES:,} tiles, over all zooms; more are not read.\n"
        "Cut the region that you need out of it."
    )


def _too_large(where: str) -> BadImagery:
    return BadImagery(
        f"{where} is larger than {MOST_TILE_BYTES:,} bytes; that is not a tile.\n"
        "All tiles of a pyramid must be squares of one size."
    )
