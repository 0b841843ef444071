"""Pyramids of Web Mercator tiles: a zoom is chosen, its tiles become sheets."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from crossview.errors import BadImage, BadImagery, EmptyRegion, InvalidValue
from crossview.geo.components import label_touching_cells
from crossview.geo.mercator import HALF_WORLD_M, latlon_from_xy, metres_per_px, tile_grid
from crossview.imagery.mosaics import MosaicStore, Piece, shrunk_patch
from crossview.imagery.sheets import Box, Patch, Sheet
from crossview.imagery.tilemaps import TileFacts, require_one_order, rows_from_south
from crossview.views.decode import require_few_scans, require_webp_within
from crossview.views.rgb import OPAQUE, rgb_and_alpha

MOST_TILE_PX = 4096  # a side; usual are 256 and 512
TileNumber = tuple[int, int]  # x from the west, and the row


class TileArchive(Protocol):
    """Pictures by zoom, x and row. :class:`NorthUp` counts rows from the north in any archive."""

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


class NorthUp:
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
            self._turned, note = rows_from_south(
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


@dataclass(frozen=True)
class TileStore:
    """One tile as a store; decoded anew at each call."""

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
        return self._whole().cut(box)

    def shrunk(self, height_px: int, width_px: int) -> Patch:
        """See :class:`Store`."""
        return shrunk_patch(self._whole(), height_px, width_px)

    def _whole(self) -> Patch:
        where = f"tile {self.zoom}/{self.tile[0]}/{self.tile[1]} of {self.archive.name}"
        stored = self.archive.data(self.zoom, self.tile)
        if not stored:  # what downloaders write where there is no imagery
            nothing = np.zeros((self.size_px, self.size_px), np.uint8)
            return Patch(np.repeat(nothing[..., None], 3, axis=-1), nothing)
        patch = decoded(stored, where)
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


def decoded(data: bytes, where: str) -> Patch:
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
            rgb, alpha = rgb_and_alpha(picture)
    except (BadImage, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        why = "" if isinstance(problem, UnidentifiedImageError) else f" ({problem})"
        raise BadImagery(
            f"{where} cannot be decoded; it is damaged or not PNG, JPEG or WebP{why}."
        ) from problem
    if alpha is None or (alpha == 255).all():
        return Patch(rgb, None)
    return Patch(rgb, np.where(alpha >= OPAQUE, 255, 0).astype(np.uint8))


def pyramid_sheets(
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
    chosen = _chosen_zoom(archive, zoom, finest_useful_m)
    numbers = archive.tiles(chosen)
    size = _tile_px(archive, chosen)
    return [_sheet(archive, chosen, group, size, nodata) for group in connected(numbers, 2**chosen)]


def _chosen_zoom(archive: TileArchive, zoom: int | None, finest_useful_m: float | None) -> int:
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
    lat = latlon_from_xy(0.0, north_m).lat
    for candidate in zooms[:-1]:
        if metres_per_px(lat, candidate, _tile_px(archive, candidate)) <= finest_useful_m:
            return candidate
    return zooms[-1]


def _tile_px(archive: TileArchive, zoom: int) -> int:
    """The side of a zoom's tiles; whatever it is, all tiles of a zoom cover the same ground."""
    for x, row in sorted(archive.tiles(zoom)):
        if data := archive.data(zoom, (x, row)):
            where = f"tile {zoom}/{x}/{row} of {archive.name}"
            return int(decoded(data, where).pixels.shape[0])
    raise EmptyRegion(f"{archive.name} holds only empty tiles at zoom {zoom}.")


def connected(tiles: set[TileNumber], columns: int) -> Iterator[set[TileNumber]]:
    """Groups of tiles that touch at an edge or a corner, from the west; columns go round."""
    numbers = np.array(sorted(tiles), np.int64)
    labels = label_touching_cells(numbers[:, ::-1], columns)
    for group in range(int(labels.max()) + 1):
        yield {(int(x), int(y)) for x, y in numbers[labels == group]}


def _sheet(
    archive: TileArchive,
    zoom: int,
    tiles: set[TileNumber],
    size_px: int,
    nodata: tuple[float, ...] | None,
) -> Sheet:
    """One sheet; of tiles on both sides of longitude 180 its columns run on beyond."""
    columns, ys = 2**zoom, [y for _, y in tiles]
    xs = np.unique([x for x, _ in tiles])
    gaps = np.diff(xs, append=xs[0] + columns)
    west = int(xs[(int(gaps.argmax()) + 1) % len(xs)]) if gaps.max() > 1 else int(xs[0])
    east = west + max((int(x) - west) % columns for x in xs)
    north = min(ys)
    grid = tile_grid(zoom, (west, north), (east, max(ys)), size_px)
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
