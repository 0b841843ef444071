"""Regions: the indexes that a server answers from, opened once, exchanged when they change."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from crossview.errors import CrossviewError, UnknownName, UsageError, require
from crossview.index.store import MANIFEST_NAME, Index
from crossview.localization.hints import explain_unusable_heading
from crossview.localization.locate import require_ready
from crossview.model import Embedder, open_index_model, open_model
from crossview.outputs.map_layers import HeatGrid, build_heat_grid
from crossview.service.map_tiles import MapTiles

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
    """Regions by name, in the order given. Names are those of the index folders."""

    def __init__(self, paths: Sequence[str | Path], open_model: OpenModel) -> None:
        self._open_model = open_model
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
        for _ in index.blocks():  # once mapped, they stay readable when the folder is exchanged
            pass
        embedder = self._open_model(index)
        require_ready(index, embedder)
        return Region(name, index, embedder, MapTiles(index))


class ModelPool:
    """The networks of all regions; regions with the same one share it."""

    def __init__(self, path: str | None = None, *, threads: int = 0) -> None:
        self._path, self._threads = path, threads
        self._open: dict[str, Embedder] = {}

    def __call__(self, index: Index) -> Embedder:
        """The model that made an index; raises :class:`BadModel` where it is missing."""
        made_by = index.manifest.model
        if made_by.fingerprint in self._open:
            return self._open[made_by.fingerprint]
        # Decoding and other requests want the cores while the network waits: no spinning.
        if self._path is not None:
            embedder = open_model(self._path, threads=self._threads, spinning=False, fetch=False)
        else:
            embedder = open_index_model(
                made_by.name_or_path, index.path, threads=self._threads, spinning=False
            )
        return self._open.setdefault(embedder.fingerprint, embedder)


def _name_regions(paths: Sequence[str | Path]) -> dict[str, Path]:
    require(len(paths) > 0, "give at least one index: --index region.cvx")
    named: dict[str, Path] = {}
    for path in map(Path, paths):
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.absolute().stem).strip("-.") or "region"
        if name in named:
            raise UsageError(
                f"Two indexes are called {name}: {named[name]} and {path}.\nRename one of them."
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
