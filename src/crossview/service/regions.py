"""Regions: the indexes that a server answers from, opened once, exchanged when they change.

Map tiles of a region's own imagery are drawn when they are requested; the last ones are cached.
"""

from __future__ import annotations

import io
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crossview.arrays import U8
from crossview.errors import CrossviewError, InvalidValue, UnknownName, UsageError, require
from crossview.geo import mercator
from crossview.geo.points import EARTH_RADIUS_M, measure_lon_offsets_deg
from crossview.imagery.sheets import Sheet
from crossview.imagery.sources import Imagery, open_sources
from crossview.index.selection import require_held
from crossview.index.store import MANIFEST_NAME, Index, hide_password
from crossview.localization.hints import explain_unusable_heading
from crossview.localization.locate import require_ready, require_settled
from crossview.model import Embedder, open_index_model, open_model
from crossview.outputs.map_layers import HeatGrid, build_heat_grid, drape, draw_thumbnails
from crossview.runtime import YARDSTICK, Arithmetic

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


MAX_CELLS = 60_000  # of a heat layer; in larger regions windows share cells
Stamp = tuple[int, int, int]
OpenModel = Callable[[Index], Embedder]


@dataclass(frozen=True, eq=False)
class Region:
    """One index as it was when it was opened. A request keeps the one it began with."""

    name: str
    index: Index
    embedder: Embedder
    tiles: MapTiles = field(repr=False)

    @property
    def uses_heading(self) -> bool:
        """Whether a heading helps to locate a panorama."""
        return not explain_unusable_heading(self.embedder.info, 360.0)

    @cached_property
    def cells(self) -> HeatGrid:
        """The cells of a heat layer."""
        index = self.index
        return build_heat_grid(index.lat, index.lon, index.manifest.stride_m, MAX_CELLS)


class Regions:
    """Regions by name, in the order given. Names are those of the index folders.

    ``filter_first``: as ``Index.quicken``.
    """

    def __init__(
        self, paths: Sequence[str | Path], open_model: OpenModel, *, filter_first: bool = False
    ) -> None:
        self._open_model = open_model
        self._filter_first = filter_first
        self._paths = _name_regions(paths)
        self._stamps = {name: _read_stamp(path) for name, path in self._paths.items()}
        self._open = {name: self._open_region(name) for name in self._paths}
        self.failures: dict[str, str] = {}  # why a changed index was not opened

    def __iter__(self) -> Iterator[Region]:
        return iter(list(self._open.values()))

    def get(self, name: str | None) -> Region:
        """The region of this name; None is the first. Raises :class:`UnknownName`."""
        if name is None:
            return next(iter(self._open.values()))
        if name not in self._open:
            raise UnknownName("region", name, self._open)
        return self._open[name]

    def reload(self) -> list[str]:
        """Reopen what has changed on disk; returns the names of regions that were exchanged.

        An index that cannot be opened (it is being copied, say) leaves the old one in place and is
        tried again when it changes again.
        """
        exchanged = []
        for name, path in self._paths.items():
            stamp = _read_stamp(path)
            if stamp is None or stamp == self._stamps[name]:
                continue
            self._stamps[name] = stamp
            try:
                self._open[name] = self._open_region(name)
            except CrossviewError as problem:
                self.failures[name] = str(problem)
            else:
                self.failures.pop(name, None)
                exchanged.append(name)
        return exchanged

    def _open_region(self, name: str) -> Region:
        index = Index.open(self._paths[name])
        index.keep_readable()
        if self._filter_first:
            index = require_held(index, "--filter").quicken()
        embedder = self._open_model(index)
        require_ready(index, embedder)
        return Region(name, index, embedder, MapTiles(index))


class ModelPool:
    """The networks of all regions; regions with the same one share it."""

    def __init__(
        self, path: str | None = None, *, threads: int = 0, arithmetic: Arithmetic = YARDSTICK
    ) -> None:
        self._path, self._threads, self._arithmetic = path, threads, arithmetic
        self._open: dict[str, Embedder] = {}

    def __call__(self, index: Index) -> Embedder:
        """The model that made an index; raises :class:`BadModel` where it is missing.

        :class:`ModelMismatch` where the arithmetic changes too much in this region.
        """
        fingerprint = index.manifest.model.fingerprint
        embedder = self._open.get(fingerprint) or self._open_first(index)
        if embedder.fingerprint == fingerprint:  # else the index says so itself
            require_settled(index, embedder)
        return self._open.setdefault(embedder.fingerprint, embedder)

    def _open_first(self, index: Index) -> Embedder:
        # Decoding and other requests want the cores while the network waits: no spinning.
        if self._path is not None:
            return open_model(
                self._path,
                threads=self._threads,
                spinning=False,
                fetch=False,
                arithmetic=self._arithmetic,
            )
        return open_index_model(
            index.manifest.model.name_or_path,
            index.path,
            threads=self._threads,
            spinning=False,
            arithmetic=self._arithmetic,
        )


def _name_regions(paths: Sequence[str | Path]) -> dict[str, Path]:
    require(len(paths) > 0, "give at least one index: --index region.cvx")
    named: dict[str, Path] = {}
    for path in map(Path, paths):
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.absolute().stem).strip("-.") or "region"
        if name in named:
            raise UsageError(
                f"Two indexes are called {name}: {hide_password(named[name])} and "
                f"{hide_password(path)}.\nRename one of them."
            )
        named[name] = path
    return named


def _read_stamp(path: Path) -> Stamp | None:
    """Identifies the state of an index; None while it has no manifest."""
    try:
        facts = (path / MANIFEST_NAME).stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns, facts.st_size
