"""Map tiles of a region's own imagery, drawn when they are asked for and kept for a while."""

from __future__ import annotations

import io
import math
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crossview.arrays import U8
from crossview.errors import CrossviewError, InvalidValue
from crossview.geo.mercator import MAX_LAT, Extent, enclose_points, metres_per_px, tile_edges
from crossview.geo.points import EARTH_RADIUS_M, lon_offsets_deg
from crossview.imagery.drape import drape
from crossview.imagery.sheets import Sheet
from crossview.imagery.sources import Imagery, open_sources
from crossview.outputs.map_layers import draw_thumbnails

if TYPE_CHECKING:
    from crossview.index.store import Index


TILE_PX = 512
_KEPT_BYTES = 48_000_000
_QUALITY = 80
_DEEPEST = 22
_OPEN_AT_ONCE = 6  # zooms whose imagery stays open


class Tile(NamedTuple):
    """A picture file and its media type."""

    data: bytes
    kind: str


class Tiles:
    """XYZ tiles of 512 pixels in Web Mercator, out of the imagery that the index was made from.

    Where that cannot be read any more they are laid out of the index's small pictures.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._kept: OrderedDict[tuple[int, int, int], Tile | None] = OrderedDict()
        self._bytes = 0
        self._open: OrderedDict[int, Imagery | None] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def extent(self) -> Extent:
        """The box around all windows."""
        return enclose_points(
            self._index.lat, self._index.lon, self._index.manifest.footprint_m / 2.0
        )

    @property
    def deepest(self) -> int:
        """The zoom that shows all the detail there is."""
        coarsest = metres_per_px(float(np.abs(self._index.lat).mean()), 0, TILE_PX)
        wanted = math.log2(coarsest / self._index.manifest.metres_per_px)
        return min(_DEEPEST, max(0, math.ceil(wanted - 0.25)))

    def tile(self, zoom: int, x: int, y: int) -> Tile | None:
        """One tile, None where there is no imagery. Raises :class:`InvalidValue` off the world."""
        if not (0 <= zoom <= _DEEPEST and 0 <= x < 2**zoom and 0 <= y < 2**zoom):
            raise InvalidValue(f"there is no tile {zoom}/{x}/{y}.")
        where = (zoom, x, y)
        with self._lock:
            if where in self._kept:
                self._kept.move_to_end(where)
                return self._kept[where]
            tile = self._drawn(zoom, Extent(*tile_edges(*where)))
            self._keep(where, tile)
            return tile

    def _keep(self, where: tuple[int, int, int], tile: Tile | None) -> None:
        self._kept[where] = tile
        self._bytes += len(tile.data) if tile else 100
        while self._bytes > _KEPT_BYTES:
            _, old = self._kept.popitem(last=False)
            self._bytes -= len(old.data) if old else 100

    def _drawn(self, zoom: int, box: Extent) -> Tile | None:
        if not box.meets(self.extent):
            return None
        sheets = self._sheets(zoom, box)
        try:
            if sheets:
                return _encoded(drape(sheets, box, (TILE_PX, TILE_PX)))
        except CrossviewError:  # the imagery was moved or damaged since
            self._open[zoom] = None
        reach = self._index.manifest.footprint_m
        up = math.degrees(reach / EARTH_RADIUS_M)
        across = up / math.cos(math.radians(min(MAX_LAT, max(abs(box.south), abs(box.north)))))
        lat, lon = self._index.lat, self._index.lon
        from_middle = np.abs(lon_offsets_deg(lon, (box.west + box.east) / 2.0))
        rows = np.flatnonzero(
            (lat > box.south - up) & (lat < box.north + up)
            & (from_middle < (box.east - box.west) / 2.0 + across)
        )  # fmt: skip
        if not len(rows):
            return None
        return _encoded(draw_thumbnails(self._index, rows, box, (TILE_PX, TILE_PX)))

    def _sheets(self, zoom: int, box: Extent) -> tuple[Sheet, ...]:
        """The imagery, read no finer than this zoom can show; none when it is gone."""
        if zoom not in self._open:
            info = self._index.manifest.imagery
            step_m = max(box.size_m()) / TILE_PX
            options = replace(info.options, finest_useful_m=step_m / 1.5)
            try:
                self._open[zoom] = open_sources(info.sources, options)
            except CrossviewError:
                self._open[zoom] = None
            self._let_go()
        self._open.move_to_end(zoom)
        imagery = self._open[zoom]
        return imagery.sheets if imagery is not None else ()

    def _let_go(self) -> None:
        while len(self._open) > _OPEN_AT_ONCE:
            _, old = self._open.popitem(last=False)
            if old is not None:
                old.close()


def _encoded(rgba: U8) -> Tile | None:
    import simplejpeg

    alpha = rgba[..., 3]
    if not alpha.any():
        return None
    if alpha.all():
        rgb = np.ascontiguousarray(rgba[..., :3])
        return Tile(simplejpeg.encode_jpeg(rgb, _QUALITY, colorsubsampling="420"), "image/jpeg")
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(rgba).save(stream, "WEBP", quality=_QUALITY, method=0)
    return Tile(stream.getvalue(), "image/webp")
