"""Index: the vectors of a region's windows, opened read-only and memory-mapped."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crossview.arrays import F32
from crossview.errors import BadIndex, InvalidValue, ModelMismatch
from crossview.files import identity
from crossview.geo.footprints import Footprint
from crossview.geo.points import LatLon
from crossview.index.checksums import compare
from crossview.index.manifest import MANIFEST_NAME, REBUILD, Manifest, read_fingerprinted
from crossview.index.segments import (
    check_contents,
    check_sizes,
    read_places,
    read_thumbnail,
    read_vectors,
)

_TRIES = 5  # of opening an index that is being replaced
PARTIAL_SUFFIX = ".partial"
THUMBNAIL_PX = 96  # the side of a window's stored picture


class Index:
    """A finished ``region.cvx``: N windows with a vector, a place and a thumbnail each.

    ``lat``, ``lon`` and ``up_bearing_deg`` are float64 [N]; row i of all of them is window i.
    ``fingerprint``: sha256 of the manifest's file as it was opened; the manifest holds the
    checksums of everything else.
    """

    def __init__(self, path: Path, manifest: Manifest, fingerprint: str) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self.manifest = manifest
        places = [read_places(path, segment) for segment in manifest.segments]
        table = np.concatenate(places) if places else np.empty((0, 3))
        self.lat, self.lon, self.up_bearing_deg = np.ascontiguousarray(table.T)
        self._starts = np.cumsum([0, *(s.windows for s in manifest.segments)]).tolist()
        self._maps: dict[str, F32] = {}  # opened once: a server asks many times
        self._folder = identity(path)
        if self.count != manifest.windows or self._starts[-1] != manifest.windows:
            raise BadIndex(
                f"The index {path} is damaged: {manifest.windows} windows announced, "
                f"{self.count} found.\n{REBUILD}"
            )

    @staticmethod
    def open(path: str | Path) -> Index:
        """Open an index folder. Raises :class:`BadIndex` for anything else, or a damaged one."""
        folder = Path(path)
        if folder.is_file():
            raise BadIndex(
                f"{folder} is a file, not an index (a folder such as region.cvx).\n"
                "Photos are given first, the index with --index."
            )
        if not folder.is_dir():
            raise BadIndex(_absent(folder))
        if folder.name.endswith(PARTIAL_SUFFIX) and not (folder / MANIFEST_NAME).exists():
            raise BadIndex(
                f"{folder} is not finished.\n"
                "Run the crossview index command that began it again; it goes on from there."
            )
        for _ in range(_TRIES):
            before = identity(folder)
            try:
                manifest, fingerprint = read_fingerprinted(folder)
                for segment in manifest.segments:
                    check_sizes(folder, segment)
                compare(folder, manifest.segments)
                index = Index(folder, manifest, fingerprint)
            except BadIndex:
                if identity(folder) == before:
                    raise
            else:
                if identity(folder) == before:
                    return index
        raise BadIndex(f"{folder} is being replaced again and again. Try again later.")

    @property
    def count(self) -> int:
        """N, the number of windows."""
        return len(self.lat)

    def blocks(self) -> Iterator[tuple[slice, F32]]:
        """The vectors [n, D] in order, a segment at a time, with the rows they belong to."""
        for start, segment in zip(self._starts, self.manifest.segments, strict=False):
            if segment.name not in self._maps:
                vectors = read_vectors(self.path, segment, self.manifest.model.dim)
                self._require_same_folder()
                self._maps[segment.name] = vectors
            yield slice(start, start + segment.windows), self._maps[segment.name]

    def footprint(self, row: int) -> Footprint:
        """The ground that window ``row`` shows, in pixels of its thumbnail."""
        return Footprint(
            LatLon(float(self.lat[row]), float(self.lon[row])),
            self.manifest.footprint_m / THUMBNAIL_PX,
            THUMBNAIL_PX,
            THUMBNAIL_PX,
            float(self.up_bearing_deg[row]),
        )

    def thumbnail(self, row: int) -> bytes:
        """The picture of window ``row`` as a small JPEG file."""
        if not 0 <= row < self.count:
            raise InvalidValue(f"window {row}: the index has windows 0 to {self.count - 1}.")
        segment = bisect.bisect_right(self._starts, row) - 1
        within = row - self._starts[segment]
        picture = read_thumbnail(self.path, self.manifest.segments[segment], within)
        self._require_same_folder()
        return picture

    def require_model(self, fingerprint: str) -> None:
        """Raise :class:`ModelMismatch` unless the model of this fingerprint made the index."""
        made_by = self.manifest.model
        if fingerprint != made_by.fingerprint:
            raise ModelMismatch(
                f"{self.path} was made by the model {made_by.name_or_path} "
                f"({made_by.fingerprint[:12]}); this model is {fingerprint[:12]}.\n"
                "Use the model that made the index, or build the index again with this one."
            )

    def _require_same_folder(self) -> None:
        """Refuse files of an index that has taken the name of this one (--overwrite)."""
        if identity(self.path) != self._folder:
            raise BadIndex(
                f"{self.path} was replaced by another index while it was read.\n"
                "Run the same command again."
            )

    def verify(self) -> int:
        """Compare all files with their checksums; returns how many, raises :class:`BadIndex`."""
        for segment in self.manifest.segments:
            check_contents(self.path, segment)
        return sum(len(segment.files) for segment in self.manifest.segments)


def _absent(folder: Path) -> str:
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    if partial.is_dir():
        return (
            f"There is no {folder}; {partial.name} is there, begun but not finished.\n"
            "Run the crossview index command that began it again; it goes on from there."
        )
    return f"There is no {folder}. Make it with: crossview index IMAGERY --out {folder.name}"
