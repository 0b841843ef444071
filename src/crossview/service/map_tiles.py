"""Map tiles of a region's own imagery, drawn when they are requested, the last ones cached."""

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
from crossview.geo import mercator
from crossview.geo.points import EARTH_RADIUS_M, measure_lon_offsets_deg
from crossview.imagery.sheets import Sheet
from crossview.imagery.sources import Imagery, open_sources
from crossview.outputs.map_layers import drape, draw_thumbnails

if TYPE_CHECKING:
    from crossview.index.store import Index


TILE_PX = 512
_CACHE_BYTES = 48_000_000
_QUALITY = 80
_MAX_ZOOM = 22
_MAX_OPEN = 6  # zooms whose imagery stays open


class MapTile(NamedTuple):
    """A picture file and its media type."""

    data: bytes
    kind: str


class MapTiles:
    """XYZ tiles of 512 pixels in Web Mercator, of the imagery that the index was made from.

    Where that can no longer be read, the index's small pictures are drawn instead.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._cache: OrderedDict[tuple[int, int, int], MapTile | None] = OrderedDict()
        self._bytes = 0
        self._open: OrderedDict[int, Imagery | None] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def extent(self) -> mercator.Extent:
        """The box around all windows."""
        return mercator.enclose_points(
            self._index.lat, self._index.lon, self._index.manifest.footprint_m / 2.0
        )

    @property
    def max_zoom(self) -> int:
        """The zoom that shows all detail of the imagery."""
        coarsest = mercator.compute_metres_per_px(float(np.abs(self._index.lat).mean()), 0, TILE_PX)
        wanted = math.log2(coarsest / self._index.manifest.metres_per_px)
        return min(_MAX_ZOOM, max(0, math.ceil(wanted - 0.25)))

    def get(self, zoom: int, x: int, y: int) -> MapTile | None:
        """One tile, None without imagery there. Raises :class:`InvalidValue` outside the world."""
        if not (0 <= zoom <= _MAX_ZOOM and 0 <= x < 2**zoom and 0 <= y < 2**zoom):
            raise InvalidValue(f"there is no tile {zoom}/{x}/{y}.")
        address = (zoom, x, y)
        with self._lock:
            if address in self._cache:
                self._cache.move_to_end(address)
                return self._cache[address]
            tile = self._draw(zoom, mercator.Extent(*mercator.find_tile_edges(*address)))
            self._keep(address, tile)
            return tile

    def _keep(self, address: tuple[int, int, int], tile: MapTile | None) -> None:
        self._cache[address] = tile
        self._bytes += len(tile.data) if tile else 100
        while self._bytes > _CACHE_BYTES:
            _, old = self._cache.popitem(last=False)
            self._bytes -= len(old.data) if old else 100

    def _draw(self, zoom: int, box: mercator.Extent) -> MapTile | None:
        if not box.meets(self.extent):
            return None
        sheets = self._open_sheets(zoom, box)
        try:
            if sheets:
                return _encode_tile(drape(sheets, box, (TILE_PX, TILE_PX)))
        except CrossviewError:  # the imagery was moved or damaged since
            self._open[zoom] = None
        reach = self._index.manifest.footprint_m
        up = math.degrees(reach / EARTH_RADIUS_M)
        across = up / math.cos(
            math.radians(min(mercator.MAX_LAT, max(abs(box.south), abs(box.north))))
        )
        lat, lon = self._index.lat, self._index.lon
        from_middle = np.abs(measure_lon_offsets_deg(lon, (box.west + box.east) / 2.0))
        rows = np.flatnonzero(
            (lat > box.south - up) & (lat < box.north + up)
            & (from_middle < (box.east - box.west) / 2.0 + across)
        )  # fmt: skip
        if not len(rows):
            return None
        return _encode_tile(draw_thumbnails(self._index, rows, box, (TILE_PX, TILE_PX)))

    def _open_sheets(self, zoom: int, box: mercator.Extent) -> tuple[Sheet, ...]:
        """The imagery, read no finer than this zoom can show; empty where it is gone."""
        if zoom not in self._open:
            info = self._index.manifest.imagery
            step_m = max(box.size_m()) / TILE_PX
            options = replace(info.options, finest_useful_m=step_m / 1.5)
            try:
                self._open[zoom] = open_sources(info.sources, options)
            except CrossviewError:
                self._open[zoom] = None
            self._close_oldest()
        self._open.move_to_end(zoom)
        imagery = self._open[zoom]
        return imagery.sheets if imagery is not None else ()

    def _close_oldest(self) -> None:
        while len(self._open) > _MAX_OPEN:
            _, old = self._open.popitem(last=False)
            if old is not None:
                old.close()


def _encode_tile(rgba: U8) -> MapTile | None:
    import simplejpeg

    alpha = rgba[..., 3]
    if not alpha.any():
        return None
    if alpha.all():
        rgb = np.ascontiguousarray(rgba[..., :3])
        return MapTile(simplejpeg.encode_jpeg(rgb, _QUALITY, colorsubsampling="420"), "image/jpeg")
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(rgba).save(stream, "WEBP", quality=_QUALITY, method=0)
    return MapTile(stream.getvalue(), "image/webp")
