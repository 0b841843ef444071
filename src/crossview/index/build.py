"""Build an index, add new imagery to it, or estimate what building takes.

An index grows in a folder beside its name and gets its name when it is complete. That folder holds
finished units (:mod:`crossview.index.units`) and ``progress.json``, which says what is built of
what. Any number of processes may help; who began it puts the units together. A killed run goes on
after its last finished unit and ends with the same vectors, bit by bit. An index that imagery is
added to stays as it was until all of it is in.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from crossview._version import __version__
from crossview.arrays import F32, F64, U8
from crossview.errors import BadIndex, BadModel, CannotWrite, EmptyRegion, UsageError
from crossview.files import explain_failure, is_half_written, list_entries, replace_folder, sweep
from crossview.geo.footprints import measure_covered_km2
from crossview.imagery.provenance import SourceOptions
from crossview.imagery.sources import Imagery, is_grey, open_sources
from crossview.imagery.windows import (
    Tiling,
    Window,
    WindowCutter,
    count_cut_short,
    count_windows,
    cut_windows,
)
from crossview.index.index_options import (
    IndexOptions,
    choose_batch,
    choose_default_model,
    choose_tiling,
    choose_view,
    collect_settings,
    compute_finest_useful_m,
    is_coarse,
    list_doubts,
    require_allowed,
)
from crossview.index.store import (
    MANIFEST_NAME,
    PARTIAL_SUFFIX,
    THUMBNAIL_PX,
    Embedded,
    HeightFacts,
    Index,
    KeptSegment,
    Manifest,
    ModelFacts,
    Segment,
    is_part_file,
    read_manifest,
    read_places,
    require_unchanged,
    write_manifest,
)
from crossview.index.terrain import look_at_heights, open_terrain, write_heights
from crossview.index.units import (
    PROGRESS_NAME,
    SEEN_NAME,
    UNITS_NAME,
    Order,
    SharedUnits,
    Unit,
    UnitQueue,
    count_units,
    find_kept,
    make_order_id,
    read_order,
    read_seen,
    remove_units,
    write_order,
    write_seen,
)
from crossview.locks import INSIDE_NAME, lock
from crossview.model import Embedder, Model, open_model
from crossview.runtime import Drift, count_sample
from crossview.views.aerial import make_aerial_view
from crossview.views.spec import ViewSpec

_JPEG_QUALITY = 75
Item = TypeVar("Item")
Progress = Callable[[int, int], None]  # windows done, windows in all
COLLAPSED = 1e-6  # mean pairwise 1 - cosine below which a model sees no difference between places
_LEAST_JUDGED = 16  # windows; fewer may be alike by chance
ADDING_SUFFIX = ".adding"
TIMED_WINDOWS = 20
SHARD_WINDOWS = 10_000_000  # more were not tried on one machine
USUAL_THUMBNAIL_BYTES = 3_000
_IN_A_ROW = 8  # windows that are looked at from one place on
GREY = (
    "the imagery has no colour (one band, such as infrared, or greys), and models learn from "
    "colour: other bands are chosen with --bands"
)
WAIT_S = 0.5  # between looks at what others do
LONG_S = 3600.0  # from here on a smaller area or a larger stride is suggested


def is_own_file(path: Path) -> bool:
    """Whether this is a file that indexing writes into its folder; links and folders are not."""
    ours = path.name in {MANIFEST_NAME, PROGRESS_NAME, SEEN_NAME, INSIDE_NAME}
    ours = ours or is_part_file(path.name) or is_half_written(path.name)
    return ours and path.is_file() and not path.is_symlink()


def list_foreign_files(folder: Path) -> list[str]:
    """Names in a folder that indexing has not written, nor a file manager on its own."""
    return [path.name for path in list_entries(folder) if not is_own_file(path)]


def remove_index(folder: Path) -> None:
    """Remove the files of an index, and the folder unless something else is in it.

    The manifest goes first: what is left of an index that is half removed is none.
    """
    paths = sorted(folder.iterdir(), key=lambda path: path.name != MANIFEST_NAME)
    for path in paths:
        if is_own_file(path):
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):  # not empty
        folder.rmdir()


def _require_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    other = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if other:
        changes = ", ".join(f"{name} {before.get(name)} -> {now.get(name)}" for name in other)
        raise UsageError(
            f"{folder} was begun with other settings: {changes[:300]}.\n"
            "Give the same ones to go on from there, or add --restart to begin again."
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir()
    except FileNotFoundError as problem:
        raise CannotWrite(
            f"Cannot write {folder}: there is no folder {folder.parent}. Create it first."
        ) from problem
    except FileExistsError as problem:
        raise CannotWrite(
            f"Cannot write {folder}: something else has this name. Choose another --out."
        ) from problem
    except OSError as problem:
        raise CannotWrite(f"Cannot write {folder}: {problem.strerror}.") from problem


def build_index(
    imagery: Imagery,
    embedder: Embedder,
    out: str | Path,
    *,
    options: IndexOptions | None = None,
    progress: Progress | None = None,
    crew: Crew | None = None,
) -> Index:
    """Index all windows of ``imagery`` into the folder ``out``, or go on doing so.

    ``crew``: who helps. Raises :class:`SyntheticModel`, :class:`TooCoarse`, :class:`EmptyRegion`,
    :class:`BadImagery`, :class:`CannotWrite`, and :class:`UsageError` for an ``out`` that exists
    already or was begun with other settings.
    """
    job, out = IndexJob.plan(imagery, embedder, options or IndexOptions()), Path(out)
    require_allowed(imagery.info, embedder.info, job.view, job.options)
    _find_finished(out, job)  # refuse a wrong name before waiting for others
    with lock(out, "crossview index", wait=job.options.may_replace):
        if whole := _find_finished(out, job):
            return whole
        _ = job.height_notes  # or what is wrong with them, before hours of work
        partial = out.with_name(out.name + PARTIAL_SUFFIX)
        if not _is_put_together(partial, job):
            replaces = str(out.resolve()) if job.options.replace and out.exists() else ""
            units = begin_units(partial, job, replaces=replaces)
            embed_units(units, job, progress, crew)
            segments, seen = units.collect(partial, 0)
            manifest = _make_manifest(partial, tuple(segments), job)
            if job.options.heights is not None:
                heights = _lay_heights(partial, manifest, job)
                manifest = replace(manifest, heights=heights)
            write_seen(partial, manifest, seen)
            write_manifest(partial, _keep_calibration(manifest, replaces))
        remove_units(partial)
        with explain_failure(out):
            (partial / PROGRESS_NAME).unlink(missing_ok=True)
            sweep(partial)
            _take_name(partial, out)
    return Index.open(out)


def add_to_index(
    imagery: Imagery,
    embedder: Embedder,
    out: str | Path,
    *,
    options: IndexOptions | None = None,
    progress: Progress | None = None,
    crew: Crew | None = None,
) -> Index:
    """Add new imagery to the index ``out``, which stays as it was until all is added.

    Footprint and stride are the index's own. Raises as :func:`build_index`, and
    :class:`ModelMismatch` for another model than the one that made the index.
    """
    path = Path(os.path.realpath(out))  # a link stays a link
    Index.open(path).require_model(embedder.fingerprint)
    with lock(path, "crossview index --add", wait=True):
        index = Index.open(path)  # others may have added meanwhile
        index.require_model(embedder.fingerprint)
        job = IndexJob.plan(imagery, embedder, _adopt_tiling(index, options or IndexOptions()))
        folder = path.with_name(path.name + ADDING_SUFFIX)
        step = _digest_step(job, added=True)
        if step in index.manifest.steps:  # this command was killed before it could say so
            discard(folder)
            return index
        _require_new(index, imagery)
        require_allowed(imagery.info, embedder.info, job.view, job.options)
        _require_heights_alike(index, job)
        first = len(index.manifest.segments)
        units = begin_units(folder, job, first_segment=first)
        embed_units(units, job, progress, crew)
        with explain_failure(path):
            segments, seen = units.collect(path, first)
        added = _make_manifest(path, tuple(segments), job)
        if job.options.heights is not None:
            added = replace(added, heights=_lay_heights(path, added, job, index))
        merged = _merge_manifests(index, added, step)
        write_seen(path, merged, {**read_seen(path, index.manifest), **seen})
        write_manifest(path, merged, index.manifest)
        discard(folder)
        return Index.open(path)


def begin_units(
    folder: Path, job: IndexJob, *, first_segment: int = 0, replaces: str = ""
) -> SharedUnits:
    """Cut the units of a job in ``folder``, or take up those that were begun with its settings.

    ``replaces``: an index, of which units are kept whose imagery is as it was. Other settings are a
    :class:`UsageError` that names them; ``restart`` begins again instead.
    """
    if folder.is_symlink():
        raise CannotWrite(
            f"Cannot write {folder}: it is a symbolic link, and what it points to may not be "
            "ours.\nRemove the link, or choose another --out."
        )
    settings = {**_collect_settings(job), "first_segment": first_segment}
    order = None if job.options.restart else read_order(folder)
    if order is not None:
        _require_same(folder, order.settings, settings)
        if (folder / UNITS_NAME).is_dir():  # else a kill came while it was removed
            return SharedUnits(folder, order)
    discard(folder)
    _make_folder(folder)
    order = job.make_order(settings, replaces)
    write_order(folder, order)
    return SharedUnits(folder, order)


def discard(folder: Path) -> None:
    """Remove what was begun: our files, and the folder unless something in it is not ours."""
    if folder.is_dir() and not folder.is_symlink():
        remove_units(folder)
        remove_index(folder)


def _keep_calibration(manifest: Manifest, replaces: str) -> Manifest:
    """The manifest with the calibration of the index that it replaces, if nothing has changed."""
    before = read_manifest(Path(replaces)) if replaces else manifest
    same = (before.segments, before.heights) == (manifest.segments, manifest.heights)
    return replace(manifest, calibration=before.calibration) if same else manifest


def _is_put_together(partial: Path, job: IndexJob) -> bool:
    """Whether a run that was killed has left an index that only lacks its name."""
    is_there = (partial / MANIFEST_NAME).is_file() and not partial.is_symlink()
    if job.options.restart or not is_there:
        return False
    try:
        return read_manifest(partial).steps == (_digest_step(job, added=False),)
    except BadIndex:
        return False


def give_heights(out: str | Path, heights: str | Path) -> Index:
    """Let the index ``out`` know the heights of a raster, instead of those that it knew.

    Vectors stay as they are; a calibration does not outlive it, because ranks may change. Raises
    :class:`BadImagery` for heights of another place, and as ``read_surface``.
    """
    path = Path(os.path.realpath(out))
    Index.open(path)
    with lock(path, "crossview index --heights", wait=True):
        index = Index.open(path)
        before = index.manifest.heights
        _remove_unnamed(path, index.manifest)  # of a run that was killed
        number = 0 if before is None else _count_next(before)
        facts = write_heights(path, Path(heights), index.lat, index.lon, number=number)
        manifest = replace(index.manifest, heights=facts, calibration=None)
        if before is not None and _list_contents(before) == _list_contents(facts):
            manifest = index.manifest  # a run that was killed, or one before, gave the same
        else:
            write_manifest(path, manifest, index.manifest)
        _remove_unnamed(path, manifest)
        return Index.open(path)


def _list_contents(facts: HeightFacts) -> list[tuple[object, ...]]:
    """What heights are, whatever the names of their files."""
    parts = [sorted(file.sha256 for file in part.files.values()) for part in facts.parts]
    return [(facts.source, facts.cell_deg), *map(tuple, parts)]


def _remove_unnamed(folder: Path, manifest: Manifest) -> None:
    """Remove heights that the manifest does not name."""
    named = {name for part in manifest.parts for name in part.files}
    for path in folder.iterdir():
        if path.name.startswith("heights-") and path.name not in named and is_own_file(path):
            path.unlink(missing_ok=True)


def _lay_heights(
    folder: Path, manifest: Manifest, job: IndexJob, index: Index | None = None
) -> HeightFacts:
    """Write the heights about the windows of a manifest; they join those that ``index`` knows."""
    lat, lon = (np.concatenate(_read_column(folder, manifest, column)) for column in (0, 1))
    known = None if index is None else open_terrain(index)
    number = 0 if known is None else _count_next(known.facts)
    return write_heights(
        folder, Path(str(job.options.heights)), lat, lon, number=number, known=known,
        options=job.height_options,
    )  # fmt: skip


def _count_next(facts: HeightFacts) -> int:
    """The number of the next part of heights."""
    return 1 + max(int(part.name.rpartition("-")[2]) for part in facts.parts)


def _require_heights_alike(index: Index, job: IndexJob) -> None:
    """Refuse windows without heights beside windows with heights, and the other way around."""
    given, knows = job.options.heights, index.manifest.heights is not None
    if knows and given is None:
        raise UsageError(
            f"{index.path} knows heights, by which places are checked; the new imagery needs them "
            "too.\nGive a raster that covers it: --heights dsm.tif"
        )
    if given is not None and not knows:
        raise UsageError(
            f"{index.path} knows no heights, and would know them of its new part only.\n"
            f"Give them to the index first: crossview index {index.path} --heights dsm.tif"
        )
    _ = job.height_notes


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """At most ``windows`` windows (those without data are not known yet), and what they take.

    ``timed``: of how many windows the rate was measured, and of what.
    """

    windows: int
    bytes: int
    seconds: float
    stride_m: float
    units: int = 1
    timed: str = ""

    @property
    def rate(self) -> float:
        """Windows a second, of one process such as this one."""
        return self.windows / self.seconds

    @property
    def shards(self) -> int:
        """Parts by geography, none of which is larger than what one machine should search."""
        return math.ceil(self.windows / SHARD_WINDOWS)

    @property
    def is_long(self) -> bool:
        """More than an hour."""
        return self.seconds > LONG_S

    @property
    def stride_for_an_hour_m(self) -> float:
        """The stride in whole metres with which it would take about an hour."""
        return math.ceil(self.stride_m * math.sqrt(self.seconds / LONG_S))

    def scale_to(self, km2: float, options: IndexOptions) -> Estimate:
        """The same for an area of so many km2, whose edges do not matter."""
        windows = math.ceil(km2 * 1e6 / self.stride_m**2)
        return replace(
            self,
            windows=windows,
            bytes=round(self.bytes / self.windows * windows),
            seconds=windows / self.rate,
            units=count_units(windows, options),
        )


def estimate_build(job: IndexJob) -> Estimate:
    """Count the windows and time the first ones with data, on this machine and this imagery.

    Cutting, thumbnails and network are timed; reading happens meanwhile and adds little.
    Raises :class:`EmptyRegion` when there is no window or none of them has data.
    """
    count = count_windows(job.imagery, job.tiling)
    timed = job.options.batch if job.view.spans_m else TIMED_WINDOWS
    windows = [
        window._replace(pixels=window.pixels.copy())
        for window in islice(cut_windows(job.imagery, job.tiling), timed)
    ]
    if not windows:
        raise EmptyRegion(_explain_empty(count, job.tiling))
    (batch,) = batch_windows(windows, job.view, len(windows))
    job.embedder.aerial(batch.views)  # the first run of a network sets it up
    start = time.perf_counter()
    for batch in batch_windows(windows, job.view, len(windows)):
        job.embedder.aerial(batch.views)
    seconds = (time.perf_counter() - start) / len(windows)
    return Estimate(
        windows=count,
        bytes=round(count * _count_window_bytes(batch, job.embedder.info.dim)),
        seconds=count * seconds,
        stride_m=job.tiling.stride_m,
        units=count_units(count, job.options),
        timed=f"{len(windows)} tiles of this imagery",
    )


def estimate_area(embedder: Embedder, options: IndexOptions, km2: float) -> Estimate:
    """The same of an area of which no imagery is at hand: the network is timed, on noise.

    Reading and cutting happen beside the network and are not in it.
    """
    tiling = choose_tiling(embedder.info, options)
    view = choose_view(embedder.info, tiling)
    options = choose_batch(embedder.info, options)
    shape = (options.batch, view.height_px, view.width_px, 3)
    views = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    embedder.aerial(views)  # the first run of a network sets it up
    start = time.perf_counter()
    embedder.aerial(views)
    seconds = (time.perf_counter() - start) / len(views)
    one = Estimate(
        windows=1,
        bytes=4 * embedder.info.dim + 3 * 8 + 8 + USUAL_THUMBNAIL_BYTES,
        seconds=seconds,
        stride_m=tiling.stride_m,
        timed=f"{len(views)} tiles of noise; reading and cutting come beside it",
    )
    return one.scale_to(km2, options)


@contextmanager
def open_job(
    sources: Sequence[str | Path],
    model: str | Path | Model | None,
    options: IndexOptions,
    source_options: SourceOptions,
    *,
    threads: int = 0,
) -> Iterator[IndexJob]:
    """Open imagery and model and fit them to each other; closes the imagery at the end.

    ``model`` is a name, a folder or an open model. None: the packaged model for this imagery
    (:func:`crossview.index.index_options.choose_default_model`).
    """
    if model is None:
        with open_sources(sources, source_options) as imagery:
            model = choose_default_model(imagery.info)
    embedder = (
        model
        if isinstance(model, Model)
        else open_model(model, threads=threads, arithmetic=options.arithmetic)
    )
    runtime, precision = embedder.arithmetic.runtime, embedder.arithmetic.precision
    options = replace(options, model_name=embedder.name, runtime=runtime, precision=precision)
    view = choose_view(embedder.info, choose_tiling(embedder.info, options))
    fitted = replace(source_options, finest_useful_m=compute_finest_useful_m(view))
    with open_sources(sources, fitted) as imagery:
        job = IndexJob.plan(imagery, embedder, options)
        embedder.settle("This imagery", lambda: draw_views(job))
        yield job


def draw_views(job: IndexJob) -> U8:
    """Views [n, h, w, 3] of some windows with data, a footprint apart in rows all over a region.

    Raises :class:`EmptyRegion` where there are none.
    """
    wanted, total = count_sample(job.view), count_windows(job.imagery, job.tiling)
    step = max(1, round(job.tiling.footprint_m / job.tiling.stride_m))
    step = max(1, min(step, total // wanted))
    views: dict[int, U8] = {}
    for start in np.linspace(0, total, -(-wanted // _IN_A_ROW), endpoint=False).astype(int):
        windows = cut_windows(job.imagery, job.tiling, int(start))
        for window in islice(windows, 0, _IN_A_ROW * step, step):
            if window.number not in views and len(views) < wanted:
                (batch,) = batch_windows([window], job.view, 1)
                views[window.number] = batch.views[0]
    if not views:
        raise EmptyRegion(_explain_empty(total, job.tiling))
    return np.stack([views[number] for number in sorted(views)])


@dataclass(frozen=True)
class IndexJob:
    """What goes into an index."""

    imagery: Imagery
    embedder: Embedder
    options: IndexOptions
    tiling: Tiling
    view: ViewSpec

    @staticmethod
    def plan(imagery: Imagery, embedder: Embedder, options: IndexOptions) -> IndexJob:
        """The windows and the view that follow from model and options."""
        tiling = choose_tiling(embedder.info, options)
        options = choose_batch(embedder.info, options)
        return IndexJob(imagery, embedder, options, tiling, choose_view(embedder.info, tiling))

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What is doubtful of the imagery, for this model; known before it is indexed."""
        info = self.imagery.info
        grey = (GREY,) if is_grey(self.imagery) else ()
        doubts = list_doubts(info, self.embedder.info, self.view)
        return (*info.warnings, *grey, *doubts, *self._describe_edge())

    def make_order(self, settings: dict[str, Any], replaces: str = "") -> Order:
        """What another process needs to embed units of this job as we would."""
        return Order(
            id=make_order_id(),
            settings=settings,
            windows=count_windows(self.imagery, self.tiling),
            version=__version__,
            sources=self.imagery.info.sources,
            source_options=self.imagery.info.options,
            model=self.options.model_name,
            tiling=self.tiling,
            batch=self.options.batch,
            segment_windows=self.options.segment_windows,
            runtime=self.options.runtime,
            precision=self.options.precision,
            replaces=replaces,
        )

    @property
    def height_options(self) -> SourceOptions:
        """How the raster of heights is read: as the imagery, where that says which files may be."""
        return SourceOptions(allow_vrt=self.imagery.info.options.allow_vrt)

    @cached_property
    def height_notes(self) -> tuple[str, ...]:
        """What the raster of heights is, if one is given; or its error, before the work."""
        if (path := self.options.heights) is None:
            return ()
        tiling, (south, west, north, east) = self.tiling, self.imagery.info.bounds
        lat, lon = np.array([south, south, north, north]), np.array([west, east, west, east])
        if tiling.near is not None:
            lat, lon = np.array([tiling.near.lat]), np.array([tiling.near.lon])
        return look_at_heights(Path(path), lat, lon, self.height_options).notes

    def _describe_edge(self) -> tuple[str, ...]:
        """How many windows would see beyond the imagery, if they see more than themselves."""
        tiling = self.tiling
        if not tiling.seen_m or not (short := count_cut_short(self.imagery, tiling)):
            return ()
        total = count_windows(self.imagery, tiling)
        return (
            f"{short} of {total} cells lie nearer than {tiling.seen_m / 2.0:.0f} m to the "
            "imagery's edge; what the model sees of them beyond it is white",
        )


class Crew(Protocol):
    """Other processes that embed units beside us, or instead of us."""

    @property
    def embeds_here(self) -> bool:
        """Whether this process works too."""

    @property
    def threads(self) -> int:
        """Threads of each one's network; 0: all."""

    def hire(self, units: SharedUnits) -> AbstractContextManager[Callable[[], None]]:
        """Have them work while this lasts. What it gives raises when nobody is at work."""


def embed_units(
    units: SharedUnits, job: IndexJob, progress: Progress | None = None, crew: Crew | None = None
) -> None:
    """Have all units embedded. EmptyRegion where none has a window with data.

    ``progress`` is called first where the work begins, then after every batch of ours, and about
    every second while we wait for others.
    """
    kept = find_kept(units.order)
    with _discard_if_untouched(units):
        if units.windows == 0:
            raise EmptyRegion(_explain_empty(0, job.tiling))
        if crew is None:
            drain(units, job, progress, kept=kept)
        else:
            with crew.hire(units) as require_work:
                drain(units, job, progress, require_work, embeds=crew.embeds_here, kept=kept)
        if not units.holds_windows():
            discard(units.folder.parent)
            raise EmptyRegion(_explain_empty(units.windows, job.tiling))


def drain(
    units: UnitQueue,
    job: IndexJob,
    progress: Progress | None = None,
    require_work: Callable[[], None] = lambda: None,
    *,
    embeds: bool = True,
    kept: Mapping[str, KeptSegment] | None = None,
) -> int:
    """Embed units until all are finished, by us or by others; gives how many windows we did.

    ``kept``: by what they were made from, segments that are taken instead of being made again.

    A thread reads, cuts and encodes the next batches while the network works on one. What others
    hold is waited for: should they die, it becomes ours. ``embeds``: else we only wait.
    """
    report = progress or (lambda _done, _total: None)
    cutter, ours = WindowCutter(job.imagery, job.tiling), 0
    with units.keep_claims():
        report(units.count_done(), units.windows)
        while True:
            opened = _OpenUnit()
            read = _read_batches(units, cutter, job, kept or {}) if embeds else ()
            with closing(prefetch(read)) as batches:
                for unit, batch in batches:
                    if isinstance(batch, WindowBatch):
                        opened.add(batch, _embed(batch, job.embedder))
                        report(units.count_done() + batch.last + 1 - unit.start, units.windows)
                        continue
                    if units.finish(unit, batch or opened.close(job.embedder.info.dim)):
                        ours += unit.windows
                    report(units.count_done(), units.windows)
                    opened = _OpenUnit()
            report(units.count_done(), units.windows)
            if units.is_complete():
                return ours
            require_work()
            time.sleep(WAIT_S)


def _read_batches(
    units: UnitQueue, cutter: WindowCutter, job: IndexJob, kept: Mapping[str, KeptSegment]
) -> Iterator[tuple[Unit, WindowBatch | KeptSegment | None]]:
    """The batches of all units that we get hold of; None ends a unit, or what is there already."""
    while (unit := units.claim()) is not None:
        if kept:
            seen = hashlib.sha256()
            for batch in _cut_batches(unit, cutter, job):
                batch.digest(seen)
            if (same := kept.get(seen.hexdigest())) is not None:
                yield unit, same
                continue
        for batch in _cut_batches(unit, cutter, job):
            yield unit, batch
        yield unit, None


def _cut_batches(unit: Unit, cutter: WindowCutter, job: IndexJob) -> Iterator[WindowBatch]:
    windows = cutter.cut(unit.start, unit.stop)
    return batch_windows(windows, job.view, job.options.batch)


def _explain_empty(total: int, tiling: Tiling) -> str:
    """The message when none of ``total`` planned windows can be indexed."""
    size = f"{tiling.footprint_m:g} m"
    if tiling.near is not None and total == 0:
        return (
            f"No window of {size} has its centre within {tiling.within_m:g} m of {tiling.near}.\n"
            "Check --near and --within, or whether the imagery reaches there."
        )
    if total == 0:
        return (
            f"The imagery is smaller than one window of {size}.\n"
            "Give more imagery, or a smaller --footprint (best near the model's own)."
        )
    return (
        f"None of {total} windows of {size} holds imagery: all is no data or one single colour.\n"
        "Check that this is the right file; for multi-band imagery choose --bands."
    )


class _OpenUnit:
    """Embedded windows until their unit is finished; the views are not kept."""

    def __init__(self) -> None:
        self._vectors: list[F32] = []
        self._places: list[F64] = []
        self._thumbnails: list[bytes] = []
        self._seen = hashlib.sha256()

    def add(self, batch: WindowBatch, vectors: F32) -> None:
        self._vectors.append(vectors)
        self._places.append(batch.places)
        self._thumbnails += batch.thumbnails
        batch.digest(self._seen)

    def close(self, dim: int) -> Embedded:
        """What the unit holds."""
        vectors = np.concatenate([np.empty((0, dim), np.float32), *self._vectors])
        _refuse_collapsed(vectors)
        places = np.concatenate([np.empty((0, 3)), *self._places])
        return Embedded(vectors, places, self._thumbnails, self._seen.hexdigest())


def _embed(batch: WindowBatch, embedder: Embedder) -> F32:
    vectors = embedder.aerial(batch.views)
    if vectors.shape != (len(batch), embedder.info.dim):
        raise BadModel(
            f"The model {embedder.info.name!r} gave vectors {list(vectors.shape)} where its "
            f"model.json says [{len(batch)}, {embedder.info.dim}]; export it again."
        )
    return vectors


def _refuse_collapsed(vectors: F32) -> None:
    """Stop when all unit vectors are one: 1 - |mean|^2 is their mean pairwise 1 - cosine."""
    if len(vectors) < _LEAST_JUDGED:
        return
    mean = vectors.mean(axis=0, dtype=np.float64)
    if 1.0 - float(mean @ mean) < COLLAPSED:
        raise BadModel(
            f"The model gives the same vector for {len(vectors)} different windows; it has "
            "collapsed in training and can find nothing."
        )


@contextmanager
def _discard_if_untouched(units: SharedUnits) -> Iterator[None]:
    """Leave nothing behind when it fails before there is anything to go on from."""
    try:
        yield
    except BaseException:
        with suppress(CannotWrite):  # it is gone already
            if units.is_untouched():
                discard(units.folder.parent)
        raise


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """n windows as the network takes them, and what the index keeps of them."""

    views: U8  # [n, h, w, 3]
    places: F64  # [n, 3]: latitude, longitude, bearing of up
    thumbnails: tuple[bytes, ...]
    last: int  # number of the last window

    def __len__(self) -> int:
        return len(self.views)

    def digest(self, digest: hashlib._Hash) -> None:
        """Add to a digest all that becomes vectors, places and pictures."""
        digest.update(f"{len(self)} {self.views.shape}".encode())
        for part in (self.views.tobytes(), self.places.tobytes(), *self.thumbnails):
            digest.update(part)


def batch_windows(windows: Iterable[Window], spec: ViewSpec, size: int) -> Iterator[WindowBatch]:
    """Group windows in order into batches of ``size``; the last may be smaller."""
    waiting = iter(windows)
    while True:
        views = np.empty((size, spec.height_px, spec.width_px, 3), np.uint8)
        places, thumbnails, last = np.empty((size, 3)), [], -1
        for i, window in enumerate(islice(waiting, size)):
            seen = window.pixels if window.around is None else window.around
            views[i] = make_aerial_view(seen, window.metres_per_px, spec, window.up_bearing_deg)
            places[i] = window.lat, window.lon, window.up_bearing_deg
            thumbnails.append(encode_thumbnail(window.pixels))
            last = window.number
        if thumbnails:
            n = len(thumbnails)
            yield WindowBatch(views[:n], places[:n], tuple(thumbnails), last)
        if len(thumbnails) < size:
            return


def encode_thumbnail(pixels: U8) -> bytes:
    """A small JPEG file of a window: whole pixels averaged first, the rest by interpolation.

    Averaging by a fraction is ten times slower and looks the same at this size.
    """
    import cv2
    import simplejpeg

    height, width = pixels.shape[:2]
    if (times := min(height, width) // THUMBNAIL_PX) > 1:
        size = (width // times, height // times)
        whole = pixels[: size[1] * times, : size[0] * times]
        pixels = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
    side = (THUMBNAIL_PX, THUMBNAIL_PX)
    small = cv2.resize(pixels, side, interpolation=cv2.INTER_LINEAR)
    return bytes(
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(small), _JPEG_QUALITY, colorsubsampling="420", fastdct=True
        )
    )


def prefetch(items: Iterable[Item], depth: int = 3) -> Generator[Item, None, None]:
    """Yield ``items`` in order while a thread makes the next ``depth`` of them.

    What the iterator raises is raised here. Closing the generator ends the thread.
    """
    iterator, end = iter(items), object()
    thread = ThreadPoolExecutor(1, thread_name_prefix="crossview-prefetch")
    try:
        waiting = deque(thread.submit(next, iterator, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, iterator, end))
            yield cast(Item, item)
    finally:
        thread.shutdown(cancel_futures=True)


def _digest_step(job: IndexJob, *, added: bool) -> str:
    """A digest of what is indexed and how: the same command over the same files has the same."""
    settings = [added, _collect_settings(job)]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _collect_settings(job: IndexJob) -> dict[str, Any]:
    return collect_settings(job.imagery.info, job.embedder.fingerprint, job.tiling, job.options)


def _make_manifest(folder: Path, segments: tuple[Segment, ...], job: IndexJob) -> Manifest:
    """The manifest of segments that lie in ``folder``, checked to be there."""
    require_unchanged(folder, segments)
    info, imagery = job.embedder.info, job.imagery.info
    name = job.options.model_name or info.name
    places = np.concatenate([read_places(folder, segment) for segment in segments])
    return Manifest(
        model=ModelFacts(name, job.embedder.fingerprint, info.dim, info.azimuth_bins),
        model_synthetic=info.synthetic,
        demo_only=info.synthetic and imagery.synthetic is None,
        model_caution=info.caution,
        coarse=is_coarse(imagery, job.view),
        imagery=replace(imagery, warnings=job.warnings),
        footprint_m=job.tiling.footprint_m,
        stride_m=job.tiling.stride_m,
        metres_per_px=imagery.metres_per_px,
        windows=len(places),
        area_km2=measure_covered_km2(places[:, 0], places[:, 1], job.tiling.footprint_m),
        segments=segments,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        steps=(_digest_step(job, added=False),),
        drifts=_list_drifts(job.embedder),
    )


def _list_drifts(embedder: Embedder) -> tuple[Drift, ...]:
    """What the model's arithmetic changes, where it is not the yardstick."""
    drift = embedder.drift if isinstance(embedder, Model) else None
    return () if drift is None else (drift,)


def _find_finished(out: Path, job: IndexJob) -> Index | None:
    """The index ``out`` if the same command has made it, and was killed before it could say so.

    None when the name is free or may be taken. UsageError for anything else of that name.
    """
    if out.is_symlink():
        raise UsageError(
            f"{out} is a symbolic link to {os.path.realpath(out)}.\n"
            "Give that name itself as --out, or another one."
        )
    if not out.exists():
        return None
    try:
        steps = read_manifest(out).steps
    except BadIndex as problem:
        raise UsageError(
            f"{out} exists and is not an index that can be read.\n"
            "Remove it yourself, or choose another --out, such as region.cvx."
        ) from problem
    if job.options.may_replace:
        if foreign := list_foreign_files(out):
            raise UsageError(
                f"{out} holds what crossview has not written: {', '.join(foreign[:5])}.\n"
                "Move that elsewhere, or choose another --out."
            )
        return None
    if steps == (_digest_step(job, added=False),) and not job.options.restart:
        with explain_failure(out):
            (out / PROGRESS_NAME).unlink(missing_ok=True)
        return Index.open(out)
    raise UsageError(
        f"There is an index {out} already.\n"
        "Add new imagery to it with --add, replace it with --overwrite, or choose another name."
    )


def _take_name(folder: Path, out: Path) -> None:
    """Rename a complete index to its name; our files of one that had it go last of all."""
    if out.exists():
        for path in out.iterdir():
            if not is_own_file(path) and not (folder / path.name).exists():
                os.replace(path, folder / path.name)  # a file manager's, such as .DS_Store
    replace_folder(folder, out, remove_index)
    (out / PROGRESS_NAME).unlink(missing_ok=True)


def _merge_manifests(index: Index, added: Manifest, step: str) -> Manifest:
    """The manifest of an index and what was added; a calibration does not outlive that."""
    old = index.manifest
    lat = np.concatenate([index.lat, *_read_column(index.path, added, 0)])
    lon = np.concatenate([index.lon, *_read_column(index.path, added, 1)])
    return replace(
        old,
        demo_only=old.demo_only or added.demo_only,
        coarse=old.coarse or added.coarse,
        imagery=old.imagery.merge(added.imagery),
        metres_per_px=max(old.metres_per_px, added.metres_per_px),
        windows=old.windows + added.windows,
        area_km2=measure_covered_km2(lat, lon, old.footprint_m),
        segments=(*old.segments, *added.segments),
        created=added.created,
        calibration=None,
        heights=added.heights,
        steps=(*old.steps, step),
        drifts=tuple(dict.fromkeys((*old.drifts, *added.drifts))),
    )


def _read_column(folder: Path, manifest: Manifest, column: int) -> list[F64]:
    return [read_places(folder, segment)[:, column] for segment in manifest.segments]


def _require_new(index: Index, imagery: Imagery) -> None:
    twice = sorted({*index.manifest.imagery.sources} & {*imagery.info.sources})
    if twice:
        raise UsageError(f"{twice[0]} is in {index.path} already; nothing was added.")


def _adopt_tiling(index: Index, options: IndexOptions) -> IndexOptions:
    """Options with the index's footprint and stride; others are refused."""
    manifest = index.manifest
    for name, wanted, existing in (
        ("--footprint", options.footprint_m, manifest.footprint_m),
        ("--stride", options.stride_m, manifest.stride_m),
    ):
        if wanted is not None and wanted != existing:
            raise UsageError(
                f"{name} {wanted:g}: the windows of {index.path} have {existing:g} m.\n"
                f"Remove {name}, or build another index."
            )
    return replace(options, footprint_m=manifest.footprint_m, stride_m=manifest.stride_m)


def _count_window_bytes(batch: WindowBatch, dim: int) -> float:
    """Vector, place, offset and thumbnail of one window."""
    return 4 * dim + 3 * 8 + 8 + float(np.mean([len(jpeg) for jpeg in batch.thumbnails]))
