"""The index of a region: vectors of its windows, with their places, thumbnails and a manifest.

An index is a folder. ``manifest.json`` says what it is, and is replaced as a whole. Windows that
were written together are a segment, whose files never change and are memory-mapped:

``NAME.vectors.npy``     float32 [n, D]
``NAME.places.npy``      float64 [n, 3]: latitude, longitude, bearing of up
``NAME.thumbnails.bin``  JPEG files end to end
``NAME.offsets.npy``     int64 [n + 1]: where each of them begins, and the end

Heights, where they are known, lie beside them (``terrain``).

Every file is compared with its checksum once for as long as it stays as it is. What was compared
is remembered by the file's place on the disk, size and times: in the process, and for indexes from
64 MB on also in the user's cache folder, so that the next command need not read them all again. A
file that changed in the last two seconds is not remembered: it may change again within the same
tick of its clock.
"""

from __future__ import annotations

import bisect
import copy
import hashlib
import io
import json
import logging
import math
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from crossview.arrays import F32, F64, I64
from crossview.errors import BadIndex, CannotWrite, InvalidValue, ModelMismatch
from crossview.files import atomic_write, identity, make_folder, sweep, writing_folder
from crossview.geo.footprints import Footprint
from crossview.geo.points import LatLon, measure_distances_m, wrap_lon
from crossview.imagery.provenance import ImageryInfo
from crossview.index.candidates import (
    BEST,
    ByteFilter,
    Candidates,
    SearchArea,
    choose_best,
    count_facts,
    find_contenders,
    keep_above,
)
from crossview.index.similarity import Asked
from crossview.runtime import Drift
from crossview.schema import (
    AtLeastOne,
    Count,
    NotNegative,
    Positive,
    Sentence,
    Sha256,
    Text,
    check,
    compute_checksum,
    parse_object,
    read_bytes,
)

LOG = logging.getLogger("crossview.index")
FORMAT_VERSION = 2  # of manifests; from 2 on they must have their own checksum
FIRST_FORMAT = 1
SEGMENT_FORMAT = 1  # of the files that a manifest lists
MANIFEST_NAME = "manifest.json"
SEGMENT_PARTS = ("vectors.npy", "places.npy", "thumbnails.bin", "offsets.npy")
EDITED = "the manifest of its index was edited by hand, not by crossview"
DEMO_ONLY = "made with a model trained on a synthetic town; its places are not evidence"
REBUILD = "Copy the index again if it was copied, or build it again with crossview index."
VECTORS, PLACES, THUMBNAILS, OFFSETS = SEGMENT_PARTS
ABOVE, GROUND, TILES = "above.npy", "ground.npy", "tiles.npy"
HEIGHT_PARTS = (ABOVE, GROUND, TILES)
_PART_FILE = re.compile(
    rf"segment-\d+\.({'|'.join(map(re.escape, SEGMENT_PARTS))})"
    rf"|heights-\d+\.({'|'.join(map(re.escape, HEIGHT_PARTS))})"
)
KEPT_FROM_BYTES = 64_000_000  # smaller indexes are compared by every command: 0.1 s
_SETTLED_NS = 2_000_000_000
_compared: dict[str, list[int | str]] = {}  # by path: what the file was when it was compared
_TRIES = 5  # of opening an index that is being replaced
PARTIAL_SUFFIX = ".partial"
ENGINES = {name: "crossview.index.postgresql" for name in ("postgresql", "postgres")}
"""Modules that open indexes elsewhere than in a folder, by the scheme of their addresses."""
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
        self._maps: dict[str, F32] = {}  # opened once: a server searches many times
        self._folder = identity(path)
        if self.count != manifest.windows or self._starts[-1] != manifest.windows:
            raise BadIndex(
                f"The index {path} is damaged: {manifest.windows} windows announced, "
                f"{self.count} found.\n{REBUILD}"
            )

    def __repr__(self) -> str:
        manifest = self.manifest
        return (
            f"Index({str(self.path)!r}: {self.count} windows of {manifest.footprint_m:g} m, "
            f"{manifest.area_km2:.3g} km2, model {manifest.model.name_or_path})"
        )

    @staticmethod
    def open(path: str | Path) -> Index:
        """Open an index folder. Raises :class:`BadIndex` for anything else, or a damaged one.

        The address of a database gives what answers as an index does (``selection.Windows``), and
        has no folder.
        """
        if (engine := find_engine(path)) is not None:
            return cast(Index, import_module(engine).open_windows(path))
        folder = Path(path)
        _require_folder(folder)
        for _ in range(_TRIES):
            before = identity(folder)
            try:
                manifest, fingerprint = read_fingerprinted_manifest(folder)
                for part in manifest.parts:
                    check_sizes(folder, part)
                require_unchanged(folder, manifest.parts)
                index = Index(folder, manifest, fingerprint)
            except BadIndex:
                if identity(folder) == before:
                    raise
            else:
                if identity(folder) == before:
                    LOG.debug("Opened %r, manifest %s.", index, fingerprint[:16])
                    return index
        raise BadIndex(f"{folder} is being replaced again and again. Try again later.")

    @property
    def count(self) -> int:
        """N, the number of windows."""
        return len(self.lat)

    # What every engine answers (``selection.Windows``); here all windows are in memory.

    weights: F64 | None = None  # every window stands for itself
    complete_above = -math.inf  # no window is missing

    @property
    def name(self) -> str:
        """How messages call it."""
        return str(self.path)

    filter: ByteFilter | None = None  # by which few windows need be scored

    @property
    def held(self) -> Index | None:
        """All windows: they are in memory, or mapped into it. None with a filter."""
        return self if self.filter is None else None

    def quicken(self) -> Index:
        """Give the index with a filter of 8 bits: all windows are bounded, and few are scored.

        The best windows are the same. An answer holds them, those around its places and a sample,
        as that of a database does, not the scores of all. The filter is made once and kept in the
        user's cache; where that cannot be, it is held in memory.
        """
        quick = copy.copy(self)
        quick.filter = open_filter(self)
        return quick

    @property
    def total(self) -> int:
        """N: of all windows that these stand for."""
        return self.count

    def number(self, rows: I64) -> I64:
        """The numbers of windows in the index: their rows."""
        return rows

    def sample_bearings(self, most: int) -> F64:
        """Where up points in at least ``most`` windows, evenly spread, or in all."""
        some: F64 = self.up_bearing_deg[:: max(1, self.count // most)]
        return some

    def take_places(self, rows: I64) -> F64:
        """Latitude, longitude and bearing of up [n, 3] of some windows, in their order."""
        table: F64 = np.stack([self.lat[rows], self.lon[rows], self.up_bearing_deg[rows]], axis=1)
        return table

    def score(self, asked: Sequence[Asked], rows: I64) -> Candidates:
        """What readings of a picture score at some windows, ascending."""
        places = self.take_places(rows)
        scores = np.empty((len(asked), len(rows)), np.float32)
        headings = np.empty_like(scores)
        for block_rows, block in self.blocks():
            here = slice(*np.searchsorted(rows, [block_rows.start, block_rows.stop]))
            some = rows[here] - block_rows.start
            vectors = block if len(some) == len(block) else block[some]
            for reading, one in enumerate(asked):
                found = one.score(vectors, places[here, 2])
                scores[reading, here], headings[reading, here] = found
        return Candidates(
            numbers=rows,
            places=places,
            scores=scores,
            heading_deg=headings,
            chosen=np.ones(len(rows), np.bool_),
            complete_above=np.full(len(asked), np.inf),
            searched=len(rows),
        )

    def best(
        self,
        asked: Sequence[Asked],
        k: int = BEST,
        limits: SearchArea = SearchArea(),  # noqa: B008 - frozen
        *,
        drawn: int = 0,
        seed: int = 0,
    ) -> Candidates:
        """The best ``k`` windows of each reading within limits, and ``drawn`` others by lot."""
        rows = np.flatnonzero(limits.contains(self.lat, self.lon))
        lots = rows[np.random.default_rng(seed).permutation(len(rows))[:drawn]]
        scored = rows
        if self.filter is not None:
            contenders = self._find_contenders(asked, rows, k, self.filter)
            scored = np.union1d(contenders, lots)
        found = self.score(asked, scored)
        chosen, floors = choose_best(found.scores, k, len(rows))
        kept = chosen | np.isin(scored, lots)
        return replace(found, chosen=chosen, complete_above=floors, searched=len(rows)).keep(kept)

    def _find_contenders(self, asked: Sequence[Asked], rows: I64, k: int, quick: ByteFilter) -> I64:
        """Of ``rows`` those that, for certain, hold the best ``k`` of each reading."""
        found, few, up = [], quick.take(rows), self.up_bearing_deg[rows]
        for one in asked:

            def score(some: I64, one: Asked = one) -> F32:
                scores: F32 = self.score([one], rows[some]).scores[0]
                return scores

            found.append(find_contenders(few.compute_bounds(one, up), k, score))
        return rows[np.unique(np.concatenate(found))]

    def above(
        self,
        asked: Asked,
        floor: float,
        limits: SearchArea = SearchArea(),  # noqa: B008 - frozen
        *,
        most: int,
    ) -> Candidates:
        """All windows within limits that score at least ``floor``; the best ``most`` if more do."""
        if self.filter is None:
            return keep_above(self.best([asked], most, limits), floor)
        rows = np.flatnonzero(limits.contains(self.lat, self.lon))
        bounds = self.filter.take(rows).compute_bounds(asked, self.up_bearing_deg[rows])
        found = self.score([asked], rows[bounds >= floor])
        chosen, floors = choose_best(found.scores, most, len(rows))
        if np.count_nonzero(found.scores[0] >= floor) <= most:
            floors[:] = floor
        every = replace(found, chosen=chosen, complete_above=floors, searched=len(rows))
        return keep_above(every, floor)

    def near(self, places: Sequence[LatLon], radius_m: float) -> I64:
        """Rows of the windows whose middle is within ``radius_m`` of any of some places."""
        inside = np.zeros(self.count, np.bool_)
        for place in places:
            inside |= measure_distances_m(place, self.lat, self.lon) <= radius_m
        return np.flatnonzero(inside)

    def keep_readable(self) -> None:
        """Map all vectors: once mapped, they stay readable when the folder is exchanged."""
        for _ in self.blocks():
            pass

    def blocks(self) -> Iterator[tuple[slice, F32]]:
        """The vectors [n, D] in order, a segment at a time, with the rows they belong to."""
        for start, segment in zip(self._starts, self.manifest.segments, strict=False):
            if segment.name not in self._maps:
                vectors = read_vectors(self.path, segment, self.manifest.model.dim)
                self._require_same_folder()
                self._maps[segment.name] = vectors
            yield slice(start, start + segment.windows), self._maps[segment.name]

    def take_vectors(self, rows: I64) -> F32:
        """The vectors [n, D] of some windows, in their order."""
        chosen = np.empty((len(rows), self.manifest.model.dim), np.float32)
        for block_rows, block in self.blocks():
            here = np.flatnonzero((rows >= block_rows.start) & (rows < block_rows.stop))
            chosen[here] = block[rows[here] - block_rows.start]
        return chosen

    def footprint(self, row: int) -> Footprint:
        """The ground that window ``row`` shows, in pixels of its thumbnail."""
        here = np.array([self.lat[row], self.lon[row], self.up_bearing_deg[row]])
        return place_footprint(self.manifest, here)

    def thumbnail(self, row: int) -> bytes:
        """The picture of window ``row`` as a small JPEG file."""
        if not 0 <= row < self.count:
            raise InvalidValue(f"window {row}: the index has windows 0 to {self.count - 1}.")
        segment = bisect.bisect_right(self._starts, row) - 1
        within = row - self._starts[segment]
        try:
            return read_thumbnail(self.path, self.manifest.segments[segment], within)
        finally:
            self._require_same_folder()  # what was exchanged meanwhile is not damaged

    def require_model(self, fingerprint: str) -> None:
        """Raise :class:`ModelMismatch` unless the model of this fingerprint made the index."""
        require_same_model(self.name, self.manifest, fingerprint)

    def _require_same_folder(self) -> None:
        """Refuse files of an index that has taken the name of this one (--overwrite)."""
        if identity(self.path) != self._folder:
            raise BadIndex(
                f"{self.path} was replaced by another index while it was read.\n"
                "Run the same command again."
            )

    def verify(self) -> int:
        """Compare all files with their checksums; returns how many, raises :class:`BadIndex`."""
        for part in self.manifest.parts:
            check_contents(self.path, part)
        return sum(len(part.files) for part in self.manifest.parts)


def require_same_model(name: str, manifest: Manifest, fingerprint: str) -> None:
    """Raise :class:`ModelMismatch` unless the model of this fingerprint made an index."""
    made_by = manifest.model
    if fingerprint != made_by.fingerprint:
        raise ModelMismatch(
            f"{name} was made by the model {made_by.name_or_path} "
            f"({made_by.fingerprint[:12]}); this model is {fingerprint[:12]}.\n"
            "Use the model that made the index, or build the index again with this one."
        )


def hide_password(address: str | Path) -> str:
    """An address as messages show it."""
    return re.sub(r"(:/+[^:@/;]*):[^@/;]*@", r"\1:...@", str(address))


def _require_folder(folder: Path) -> None:
    """Raise :class:`BadIndex` unless there is a folder, which is no index that was only begun."""
    if folder.is_file():
        raise BadIndex(
            f"{folder} is a file, not an index (a folder such as region.cvx).\n"
            "Photos are given first, the index with --index."
        )
    if not folder.is_dir():
        raise BadIndex(_explain_absent(folder))
    if folder.name.endswith(PARTIAL_SUFFIX) and not (folder / MANIFEST_NAME).exists():
        raise BadIndex(
            f"{folder} is not finished.\n"
            "Run the crossview index command that began it again; it goes on from there."
        )


def find_engine(address: str | Path) -> str | None:
    """The module that opens an address; None: it is a folder."""
    scheme = re.match(r"([a-z]+):/", str(address))  # a path has eaten a slash
    return ENGINES.get(scheme[1]) if scheme else None


def place_footprint(manifest: Manifest, place: F64) -> Footprint:
    """The ground of a window at ``place`` [3] (latitude, longitude, up), in thumbnail pixels."""
    return Footprint(
        LatLon(float(place[0]), float(place[1])),
        manifest.footprint_m / THUMBNAIL_PX,
        THUMBNAIL_PX,
        THUMBNAIL_PX,
        float(place[2]),
    )


def _explain_absent(folder: Path) -> str:
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    if partial.is_dir():
        return (
            f"There is no {folder}; {partial.name} is there, begun but not finished.\n"
            "Run the crossview index command that began it again; it goes on from there."
        )
    return f"There is no {folder}. Make it with: crossview index IMAGERY --out {folder.name}"


@dataclass(frozen=True)
class FileFacts:
    """Size and sha256 of a file of the index."""

    bytes: Count
    sha256: Sha256


@dataclass(frozen=True)
class Segment:
    """Windows that were written together; their files are never changed again."""

    name: Text
    windows: AtLeastOne
    files: dict[str, FileFacts]  # by file name within the index folder

    def __post_init__(self) -> None:
        _require_inside(self.name, self.files)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Segment:
        """The inverse of ``dataclasses.asdict``; ValueError for anything else."""
        return check(Segment, values)


def _require_inside(name: str, files: Iterable[str]) -> None:
    if any(Path(file).name != file for file in (name, *files)):
        raise ValueError(f"part {name!r} names a file outside of the index")


@dataclass(frozen=True)
class HeightPart:
    """Tiles of heights that were written together; their files are never changed again."""

    name: Text
    tiles: AtLeastOne
    files: dict[str, FileFacts]  # by file name within the index folder

    def __post_init__(self) -> None:
        _require_inside(self.name, self.files)


@dataclass(frozen=True, kw_only=True)
class HeightFacts:
    """What is known of heights: names of the rasters, a cell's size northwards and eastwards."""

    source: Text
    cell_deg: tuple[Positive, Positive]
    parts: tuple[HeightPart, ...]


@dataclass(frozen=True)
class ModelFacts:
    """The model that made the vectors; ``name_or_path`` is how it was called."""

    name_or_path: Text
    fingerprint: Sha256
    dim: AtLeastOne
    azimuth_bins: AtLeastOne


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Facts about an index.

    ``demo_only``: a model of the synthetic town over imagery of the real world, on demand.
    ``coarse``: imagery coarser than twice the model's metres per pixel, on demand.
    ``model_caution``: what the model says of itself (``ModelInfo.caution``).
    ``drifts``: what computed vectors, where that was not float32 by onnxruntime, and how far it is
    from it (:mod:`crossview.runtime`).
    ``area_km2``: each window counts with its stride cell, the ground whose nearest pin it is.
    """

    model: ModelFacts
    model_synthetic: bool
    demo_only: bool
    coarse: bool
    imagery: ImageryInfo
    footprint_m: Positive
    stride_m: Positive
    metres_per_px: Positive
    windows: Count
    area_km2: NotNegative
    segments: tuple[Segment, ...]
    created: Text  # UTC, ISO 8601
    calibration: dict[str, Any] | None = None
    steps: tuple[Text, ...] = ()  # digests of what was indexed and added, and how
    edited: bool = False  # by hand; noted by versions that read such a manifest
    model_caution: Sentence = ""
    heights: HeightFacts | None = None
    drifts: tuple[Drift, ...] = ()
    format_version: int = FORMAT_VERSION

    @property
    def parts(self) -> tuple[Segment | HeightPart, ...]:
        """Everything that consists of files: segments, and parts of heights."""
        return (*self.segments, *(() if self.heights is None else self.heights.parts))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What every answer from this index must carry."""
        warnings = [DEMO_ONLY] if self.demo_only else []
        if self.model_caution:
            warnings.append(f"made with a model {self.model_caution}")
        if self.edited:
            warnings.append(EDITED)
        if self.coarse:
            warnings.append(
                f"the imagery ({self.metres_per_px:.3g} m per pixel) is coarser than the model's"
            )
        return (*warnings, *self.imagery.warnings)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an index folder; raises :class:`BadIndex` with what to do."""
    return read_fingerprinted_manifest(folder)[0]


def read_fingerprinted_manifest(folder: Path) -> tuple[Manifest, str]:
    """:func:`read_manifest`, and the sha256 of the file's bytes that it was read from."""
    path = folder / MANIFEST_NAME
    try:
        data = read_bytes(path)
        values = parse_object(data)
    except FileNotFoundError as problem:
        raise BadIndex(
            f"{folder} is not an index: it has no {MANIFEST_NAME}.\n"
            f"Make one with: crossview index IMAGERY --out {folder.stem}.cvx"
        ) from problem
    except (OSError, ValueError) as problem:
        raise BadIndex(f"{path} is damaged ({problem}).\n{REBUILD}") from problem
    version = values.get("format_version")
    if type(version) is not int or version not in {FIRST_FORMAT, FORMAT_VERSION}:
        raise BadIndex(
            f"{folder} has index format {version}; this crossview reads formats {FIRST_FORMAT} "
            f"and {FORMAT_VERSION}.\n"
            "Build the index again, or use the crossview that made it."
        )
    checksum = values.pop("checksum", None)
    try:
        manifest = _parse_manifest(values)
        if checksum is None and version > FIRST_FORMAT:
            raise ValueError("it has lost its checksum")
        if checksum is not None and checksum != compute_checksum(values):
            raise ValueError("it has changed since crossview wrote it")
        manifest = replace(manifest, format_version=FORMAT_VERSION)  # as it would be written
        return manifest, hashlib.sha256(data).hexdigest()
    except ValueError as problem:
        raise BadIndex(f"{path} is damaged ({problem}).\n{REBUILD}") from problem


def _parse_manifest(values: dict[str, Any]) -> Manifest:
    """ValueError where a value, or what several of them say together, cannot be."""
    manifest = check(Manifest, values)
    names = [part.name for part in manifest.parts]
    files = [name for part in manifest.parts for name in part.files]
    total = sum(segment.windows for segment in manifest.segments)
    for fits, what in (
        (len({*names}) == len(names), "two parts have one name"),
        (len({*files}) == len(files), "two parts have a file together"),
        (total == manifest.windows, f"{manifest.windows} windows announced, {total} in segments"),
        (manifest.model.dim % manifest.model.azimuth_bins == 0, "its bins do not divide dim"),
    ):
        if not fits:
            raise ValueError(what)
    for part in manifest.parts:
        ends = SEGMENT_PARTS if isinstance(part, Segment) else HEIGHT_PARTS
        if {*part.files} != {f"{part.name}.{end}" for end in ends}:
            raise ValueError(f"part {part.name!r} has other files than it should have")
    return manifest


def write_manifest(folder: Path, manifest: Manifest, before: Manifest | None = None) -> None:
    """Replace the manifest of an index folder atomically. Hold the folder's lock.

    ``before``: what was read of it; if it is another one now, that is a :class:`CannotWrite`.
    """
    if before is not None and read_manifest(folder) != before:
        raise CannotWrite(
            f"{folder} was changed by another process meanwhile; it is left as it is now.\n"
            "Run the same command again."
        )
    sweep(folder)  # what a killed command left of another manifest
    values = {**asdict(manifest), "imagery": manifest.imagery.to_json()}
    if not manifest.model_caution:  # as earlier versions write and read it
        del values["model_caution"]
    if manifest.heights is None:
        del values["heights"]
    if not manifest.drifts:
        del values["drifts"]
    values = {**values, "checksum": compute_checksum(values)}
    atomic_write(folder / MANIFEST_NAME, json.dumps(values, indent=1) + "\n")


def write_segment(
    folder: Path,
    name: str,
    vectors: F32,
    places: F64,
    thumbnails: Sequence[bytes],
) -> Segment:
    """Write the files of one segment, each whole or not at all, and describe them."""
    offsets = np.cumsum([0, *map(len, thumbnails)], dtype=np.int64)
    contents = {
        f"{name}.{VECTORS}": encode_array(vectors),
        f"{name}.{PLACES}": encode_array(places),
        f"{name}.{THUMBNAILS}": b"".join(thumbnails),
        f"{name}.{OFFSETS}": encode_array(offsets),
    }
    files = {}
    for file, content in contents.items():
        atomic_write(folder / file, content)
        files[file] = FileFacts(len(content), hashlib.sha256(content).hexdigest())
    return Segment(name, len(vectors), files)


class FolderWriter:
    """Fills a new folder unit by unit, in any order; :meth:`seal` makes it an index.

    A unit is a segment. What is there of it already is left, so that a unit may be put again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, unit: int, vectors: F32, places: F64, thumbnails: Sequence[bytes]) -> bool:
        """Put the windows of a unit, and then that it is done; False if it was there already.

        Raises :class:`CannotWrite` where another unit of this number is there.
        """
        note, name = self._folder / f"unit-{unit:06d}.json", f"segment-{unit:06d}"
        if note.is_file():
            held = Segment.from_json(parse_object(read_bytes(note)))
            digest = hashlib.sha256(encode_array(vectors)).hexdigest()
            if held.windows != len(vectors) or held.files[f"{name}.{VECTORS}"].sha256 != digest:
                raise CannotWrite(
                    f"{self._folder} holds another unit {unit} already.\n"
                    "Fill it with one model, imagery and settings, or begin anew: --restart"
                )
            return False
        segment = write_segment(self._folder, name, vectors, places, thumbnails)
        atomic_write(note, json.dumps(asdict(segment)))
        return True

    def seal(self, manifest: Manifest) -> None:
        """Write the manifest of the units that are there, and remove what says that they are."""
        notes = sorted(self._folder.glob("unit-*.json"))
        segments = tuple(Segment.from_json(parse_object(read_bytes(note))) for note in notes)
        windows = sum(segment.windows for segment in segments)
        write_manifest(self._folder, replace(manifest, segments=segments, windows=windows))
        for note in notes:
            note.unlink()


@dataclass(frozen=True)
class Embedded:
    """What became of windows that were embedded together. ``seen``: a digest of what was seen."""

    vectors: F32  # [n, D]
    places: F64  # [n, 3]: latitude, longitude, bearing of up
    thumbnails: Sequence[bytes]
    seen: str

    @property
    def windows(self) -> int:
        """N."""
        return len(self.thumbnails)

    def write(self, folder: Path, name: str) -> Segment:
        """Write it as a segment."""
        return write_segment(folder, name, self.vectors, self.places, self.thumbnails)


@dataclass(frozen=True)
class KeptSegment:
    """A segment of another index that is what would be made anew; of its files nothing is read."""

    folder: Path
    segment: Segment
    seen: str

    @property
    def windows(self) -> int:
        """How many it holds."""
        return self.segment.windows

    def write(self, folder: Path, name: str) -> Segment:
        """Write it as a segment: links where the file system has them, else copies."""
        files = {}
        for file, facts in self.segment.files.items():
            new = name + file.removeprefix(self.segment.name)
            try:
                os.link(self.folder / file, folder / new)
            except OSError:
                shutil.copyfile(self.folder / file, folder / new)
            files[new] = facts
        return Segment(name, self.segment.windows, files)


def is_part_file(name: str) -> bool:
    """Whether a file of a segment, or of heights, has names such as this."""
    return _PART_FILE.fullmatch(name) is not None


def read_vectors(folder: Path, segment: Segment, dim: int) -> F32:
    """Vectors [n, ``dim``], memory-mapped."""
    return map_array(folder / f"{segment.name}.{VECTORS}", (segment.windows, dim), np.float32)


def read_places(folder: Path, segment: Segment) -> F64:
    """Latitude, longitude and bearing of up [n, 3].

    Longitudes lie in [-180, 180], also of old indexes that were written with others.
    """
    path = folder / f"{segment.name}.{PLACES}"
    places: F64 = np.array(map_array(path, (segment.windows, 3), np.float64))
    if not np.isfinite(places).all() or np.abs(places[:, 0]).max() > 90.0:
        raise make_damage_error(path, "holds places that are not on Earth")
    places[:, 1] = wrap_lon(places[:, 1])
    return places


def read_thumbnail(folder: Path, segment: Segment, row: int) -> bytes:
    """The JPEG file of one window."""
    offsets = map_array(folder / f"{segment.name}.{OFFSETS}", (segment.windows + 1,), np.int64)
    start, stop = int(offsets[row]), int(offsets[row + 1])
    path = folder / f"{segment.name}.{THUMBNAILS}"
    if not 0 <= start <= stop <= segment.files[path.name].bytes:
        raise make_damage_error(
            folder / f"{segment.name}.{OFFSETS}", "points outside of the thumbnails"
        )
    try:
        with path.open("rb") as blob:
            blob.seek(start)
            return blob.read(stop - start)
    except OSError as problem:
        raise make_damage_error(path, problem.strerror or "cannot be read") from problem


def check_sizes(folder: Path, part: Segment | HeightPart) -> None:
    """Every file is there and as long as it was written; raises :class:`BadIndex`."""
    for name, facts in part.files.items():
        path = folder / name
        if not path.is_file():
            raise make_damage_error(path, "is missing")
        if (size := path.stat().st_size) != facts.bytes:
            raise make_damage_error(path, f"holds {size} of {facts.bytes} bytes")


def check_contents(folder: Path, part: Segment | HeightPart) -> None:
    """Every file holds what was written; raises :class:`BadIndex`."""
    check_sizes(folder, part)
    for name, facts in part.files.items():
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != facts.sha256:
                raise make_damage_error(folder / name, "has changed since it was written")


def make_damage_error(path: Path, what: str) -> BadIndex:
    """The error for a file of an index."""
    return BadIndex(f"The index {path.parent} is damaged: {path.name} {what}.\n{REBUILD}")


def encode_array(array: NDArray[Any]) -> bytes:
    """The bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def map_array(path: Path, shape: tuple[int, ...], kind: type[np.generic]) -> NDArray[Any]:
    """The array, memory-mapped: whatever its header claims, no memory is reserved for it."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as problem:  # numpy reads the header as Python: many kinds of errors
        raise make_damage_error(path, f"cannot be read ({problem})") from problem
    if array.shape != shape or array.dtype != kind:
        raise make_damage_error(path, f"holds {array.dtype} {list(array.shape)}, not {list(shape)}")
    return array


def require_unchanged(folder: Path, parts: Iterable[Segment | HeightPart]) -> None:
    """Every file holds what was written; raises :class:`BadIndex` for the first that does not."""
    root = os.path.realpath(folder)
    files = {name: facts for part in parts for name, facts in part.files.items()}
    large = sum(facts.bytes for facts in files.values()) >= KEPT_FROM_BYTES
    before = _read_record(root) if large else {}
    _compared.update({path: facts for path, facts in before.items() if path not in _compared})
    for name, facts in files.items():
        _require_unchanged_file(os.path.join(root, name), facts)
    now = {
        path: _compared[path]
        for path in (os.path.join(root, n) for n in files)
        if path in _compared
    }
    if large and now != before:
        _write_record(root, now)


def _require_unchanged_file(path: str, facts: FileFacts) -> None:
    try:
        with open(path, "rb") as file:
            before = _identify(os.fstat(file.fileno()), facts)
            if _compared.get(path) == before:
                return
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = _identify(os.fstat(file.fileno()), facts)
    except OSError as problem:
        raise make_damage_error(Path(path), f"cannot be read ({problem.strerror})") from problem
    if digest != facts.sha256:
        raise make_damage_error(Path(path), "has changed since it was written")
    newest = max(int(after[3]), int(after[4]))
    if before == after and newest < time.time_ns() - _SETTLED_NS:
        _compared[path] = after


def _identify(status: os.stat_result, facts: FileFacts) -> list[int | str]:
    return [
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
        facts.sha256,
    ]  # fmt: skip


def _locate_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "crossview"


def _locate_record(root: str) -> Path:
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
    return _locate_cache() / "compared" / f"{name}.json"


def _read_record(root: str) -> dict[str, list[int | str]]:
    try:
        values = parse_object(read_bytes(_locate_record(root)))
    except (OSError, ValueError):
        return {}
    return {path: facts for path, facts in values.items() if isinstance(facts, list)}


def _write_record(root: str, compared: dict[str, list[int | str]]) -> None:
    """Best effort: where nothing may be written, the next command compares again."""
    file = _locate_record(root)
    with suppress(OSError, CannotWrite):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_write(file, json.dumps(compared))


def open_filter(index: Index) -> ByteFilter:
    """The 8-bit filter of an index, mapped from the user's cache, by the digests of its vectors.

    It is made there if it is missing or damaged; in memory, where nothing can be written.
    """
    model = index.manifest.model
    digests = [segment.files[f"{segment.name}.{VECTORS}"] for segment in index.manifest.segments]
    facts = json.dumps([FILTER_FORMAT, model.azimuth_bins, [file.sha256 for file in digests]])
    folder = _locate_cache() / "filters" / hashlib.sha256(facts.encode()).hexdigest()[:32]
    shapes = (index.count, model.dim), (index.count, count_facts(model.azimuth_bins))
    with suppress(BadIndex):
        return _map_filter(folder, shapes)
    try:
        LOG.info("Making the 8-bit filter of %s: once, in %s.", index.path, folder)
        make_folder(folder.parent)
        with writing_folder(folder) as new:
            codes, rows = (
                np.lib.format.open_memmap(new / name, "w+", kind, shape)
                for (name, kind), shape in zip(_FILTER_FILES, shapes, strict=True)
            )
            _fill_filter(index, ByteFilter(codes, rows))
            codes.flush()
            rows.flush()
        return _map_filter(folder, shapes)
    except CannotWrite as problem:
        LOG.warning("The 8-bit filter is not kept: %s", str(problem).splitlines()[0])
        held = ByteFilter(np.empty(shapes[0], np.uint8), np.empty(shapes[1], np.float32))
        _fill_filter(index, held)
        return held


FILTER_FORMAT = 1
_FILTER_FILES: tuple[tuple[str, type[np.generic]], ...] = (
    ("codes.npy", np.uint8),
    ("facts.npy", np.float32),
)


def _map_filter(folder: Path, shapes: tuple[tuple[int, int], tuple[int, int]]) -> ByteFilter:
    return ByteFilter(
        *(
            map_array(folder / name, shape, kind)
            for (name, kind), shape in zip(_FILTER_FILES, shapes, strict=True)
        )
    )


def _fill_filter(index: Index, into: ByteFilter) -> None:
    for rows, vectors in index.blocks():
        part = ByteFilter.round(vectors, index.manifest.model.azimuth_bins)
        into.codes[rows], into.facts[rows] = part.codes, part.facts
