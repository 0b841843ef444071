"""Batches of pairs, and all pictures of one side, in order, whatever the number of workers.

Every pair draws from its own generator, seeded by (seed, epoch, batch, position): results do not
depend on workers, and a training resumed at batch n of an epoch sees what it would have seen.
Workers are separate interpreters (spawn), so they start alike on Linux, macOS and Windows; they
send uint8 arrays, a quarter of the bytes of floats, and the training process normalises.

A run over many thousand files must not die at the last one: an unreadable picture comes as
:class:`Unreadable` in its place. Whoever reads decides at the end: :func:`refuse_unreadable`, or
leave the pictures out (``PairTable.without``) and say how many they were.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from crossview.arrays import F32, F64, I64, U8
from crossview.errors import BadData, BadImage, InvalidValue, TrainingFailed
from crossview.geo.points import measure_pair_distances_m
from crossview.pairs.batch import PairPixels, RawBatch, TrainingLength, TrainingProgress, Views
from crossview.pairs.page_ref import PageRef
from crossview.pairs.reading import Files, Source
from crossview.pairs.table import PairTable
from crossview.views.symmetry import roll_ground

JOBS_PER_WORKER = 3  # under way at a time, so that results never pile up
CHUNK = 16  # pictures per job of a worker
_NAMED_UNREADABLE = 5  # unreadable pictures that an error names
Copies = tuple[PairPixels, ...]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Everything a worker needs to make a batch; it travels to workers once, by pickle."""

    table: PairTable
    source: Source
    views: Views
    places: I64  # [P]
    page: PageRef | None  # whose ``augment`` is called; None: pairs as they are
    config: dict[str, Any]
    seed: int
    span: TrainingLength | None = None  # of the training; with it, a page's ``staged`` is called
    share: tuple[int, int] = (0, 1)  # which of how many equal parts of every batch is read

    def batch(self, epoch: int, number: int, rows: list[int]) -> RawBatch:
        """Batch ``number`` of ``epoch``: read, augment, aerial view, stack.

        Of a part (``share``), the pairs are those that they are in the whole batch.
        """
        own = self._find_share(len(rows))
        copies = zip(*self._read_copies(rows, own, (self.seed, epoch, number)), strict=True)
        first, *others = (self._stack_pairs(list(pairs), rows, own) for pairs in copies)
        return replace(first, more=tuple(others))

    def _find_share(self, pairs: int) -> slice:
        part, of = self.share
        if pairs % of:
            raise InvalidValue(f"A batch of {pairs} pairs cannot be cut into {of} equal parts.")
        return slice(pairs // of * part, pairs // of * (part + 1))

    def _stack_pairs(self, pairs: list[PairPixels], batch: list[int], own: slice) -> RawBatch:
        rows = batch[own]
        return RawBatch(
            ground=_stack([pair.ground for pair in pairs], "ground"),
            aerial=_stack([self._view_aerial(pair) for pair in pairs], "aerial"),
            rows=np.array(rows, dtype=np.int64),
            places=self.places[rows],
            fov_deg=np.array([pair.fov_deg for pair in pairs], dtype=np.float32),
            heading_deg=np.array([pair.heading_deg for pair in pairs], dtype=np.float32),
            camera=np.array([self._place_camera(pair) for pair in pairs], dtype=np.float32),
            told=np.array([pair.told for pair in pairs], np.float32) if pairs[0].told else None,
            apart_m=(
                self._measure_apart_m(batch)[own] if self.config.get("negatives_from_m") else None
            ),
        )

    def _measure_apart_m(self, rows: list[int]) -> F32:
        """Metres between all places of a batch; NaN where one is unknown."""
        latlon, count = self._latlon[rows], len(rows)
        metres = measure_pair_distances_m(latlon.repeat(count, 0), np.tile(latlon, (count, 1)))
        return metres.reshape(count, count).astype(np.float32)

    @cached_property
    def _latlon(self) -> F64:
        return self.table.rows_latlon()

    def _place_camera(self, pair: PairPixels) -> tuple[float, float]:
        """``camera_m`` in halves of the aerial view's side."""
        spec, down_m, right_m = self.views.aerial, *pair.camera_m
        own_m = pair.metres_per_px * pair.aerial.shape[1]  # of a whole file; NaN where unrolled
        half_m = (own_m if spec.whole else spec.footprint_m or math.nan) / 2.0
        return down_m / half_m, right_m / half_m

    def _read_copies(self, rows: list[int], own: slice, key: tuple[int, int, int]) -> list[Copies]:
        """What each own row becomes: one pair, or as many as the page's ``augment`` makes."""
        if self.page is None:
            return [(read_pair(self.table, self.source, row),) for row in rows[own]]
        page = self.page.load()
        config = self._read_config(page, key)
        all_copies = []
        for k in range(len(rows))[own]:
            row, rng = rows[k], np.random.default_rng((*key, k))
            pair = read_pair(self.table, self.source, row)
            if getattr(config, "near_misses", False):
                pair = replace(pair, companion=self._draw_near_miss(row, rng))
            elif getattr(config, "companions", False):
                pair = replace(pair, companion=self._draw_companion(row, rng))
            copies = page.augment(pair, config, rng)
            all_copies.append((copies,) if isinstance(copies, PairPixels) else copies)
        return all_copies

    def _read_config(self, page: Any, key: tuple[int, int, int]) -> Any:
        """The page's Config, as it is in this batch if the page has a curriculum."""
        config = page.Config(**self.config)
        if self.span is None:
            return config
        seed, epoch, batch = key
        return TrainingProgress(span=self.span, epoch=epoch, batch=batch).stage(page, config, seed)

    def _draw_companion(self, row: int, rng: np.random.Generator) -> PairPixels | None:
        others = self._rows_by_place[self.places[row]]
        others = others[others != row]
        if not len(others):
            return None
        return read_pair(self.table, self.source, int(others[rng.integers(len(others))]))

    def _draw_near_miss(self, row: int, rng: np.random.Generator) -> PairPixels | None:
        numbers = self._near_misses.get(int(self.table.pairs[row, 0]), ())
        if not len(numbers):
            return None
        number = int(numbers[rng.integers(len(numbers))])
        return read_pair(self.table, self.source, number, near=True)

    @cached_property
    def _near_misses(self) -> dict[int, list[int]]:
        """Numbers of the near-misses of each ground picture that has any."""
        by_ground: dict[int, list[int]] = {}
        for number, (ground, _) in enumerate(self.table.ignored.tolist()):
            by_ground.setdefault(ground, []).append(number)
        return by_ground

    @cached_property
    def _rows_by_place(self) -> list[I64]:
        order = np.argsort(self.places, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.places))[:-1])

    def _view_aerial(self, pair: PairPixels) -> U8:
        from crossview.views.aerial import make_aerial_view

        if pair.viewed or self.views.aerial.whole:
            return pair.aerial
        return make_aerial_view(pair.aerial, pair.metres_per_px, self.views.aerial)


def read_pair(table: PairTable, source: Source, row: int, *, near: bool = False) -> PairPixels:
    """The pair of one row; a panorama of known heading is rolled until the aerial's up is in front.

    The roll is by whole columns; what remains of the angle (under half a column) is in
    ``heading_deg``. A photo stays as it is. ``near``: the near-miss of that number, not a row.
    """
    g, a = (int(i) for i in (table.ignored if near else table.pairs)[row])
    canvas, fov = source.ground(g)
    heading = float((table.heading_deg[g] - table.up_bearing_deg[a] + 180.0) % 360.0 - 180.0)
    if not table.perspective[g] and np.isfinite(heading):
        canvas = roll_ground(canvas, -heading)
        heading -= round(heading / 360.0 * canvas.shape[1]) * 360.0 / canvas.shape[1]
    aerial, metres_per_px = source.aerial(a)
    return PairPixels(
        ground=canvas,
        aerial=aerial,
        metres_per_px=metres_per_px,
        fov_deg=fov,
        heading_deg=heading,
        camera_m=table.find_camera_m(row, near=near),
    )


def make_plain_reader(table: PairTable, views: Views, seed: int = 0) -> Reader:
    """Reads the files of a table as they are: exact decoding, no augmentation."""
    return Reader(
        table=table,
        source=Files(table, views),
        views=views,
        places=table.places(),
        page=None,
        config={},
        seed=seed,
    )


class Loader:
    """Batches of a :class:`Reader`, prepared by ``workers`` processes (0: in this one).

    A context manager: workers live from ``__enter__`` to ``__exit__``, across epochs.
    """

    def __init__(self, reader: Reader, workers: int) -> None:
        if workers < 0:
            raise InvalidValue(f"workers must be at least 0, got {workers}.")
        self._reader, self._workers = reader, workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Loader:
        if self._workers:
            self._pool = _start_workers(self._workers, self._reader)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def epoch(self, epoch: int, batches: Iterable[list[int]], start: int = 0) -> Iterator[RawBatch]:
        """The batches of one epoch in order, from batch number ``start`` on."""
        jobs = ((epoch, n, rows) for n, rows in enumerate(batches) if n >= start)
        if self._pool is None:
            yield from (self._reader.batch(*job) for job in jobs)
            return
        try:
            yield from _collect(self._pool, self._workers, _read_batch, jobs)
        except BrokenProcessPool as problem:
            raise TrainingFailed(
                "A loading worker died; the machine may be out of memory.\n"
                "Try fewer --workers (0 loads in the training process)."
            ) from problem

    def read_rows(self, rows: Sequence[int], size: int) -> Iterator[RawBatch]:
        """The rows in order, at most ``size`` at a time."""
        yield from self.epoch(0, (list(rows[i : i + size]) for i in range(0, len(rows), size)))


def read_whole_pictures(reader: Reader, rows: Sequence[int], size: int = 16) -> Iterator[RawBatch]:
    """The pictures of ``rows`` in order, neither turned nor cut, ``size`` rows at a time.

    They are read in this process; ``reader`` must have no ``augment``.
    """
    with Loader(reader, 0) as loader:
        yield from loader.read_rows(rows, size)


def _read_batch(reader: Reader, epoch: int, number: int, rows: list[int]) -> RawBatch:
    return reader.batch(epoch, number, rows)


def _stack(images: list[U8], side: str) -> U8:
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise InvalidValue(
            f"{side} views of one batch differ in size: {sorted(shapes)}.\n"
            "Let the method's augment give one size per batch, or use representation='padded'."
        )
    return np.stack(images)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture as a network takes it."""

    index: int
    pixels: U8  # ground: canvas [h, w, 3]; aerial: the view [h, w, 3] of the aerial ViewSpec
    number: float  # ground: field of view in degrees; aerial: metres per pixel of the view


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A picture that could not be read, and why."""

    side: str
    index: int
    path: Path
    reason: str  # without the path


@dataclass(frozen=True)
class PictureReader:
    """Reads pictures of ``table`` from ``source``; it travels to workers once, by pickle."""

    table: PairTable
    source: Source
    views: Views

    def read(self, side: str, index: int) -> Picture | Unreadable:
        """One picture; errors other than :class:`BadImage` are about all of them, and raise."""
        try:
            pixels, number = (
                self._read_ground(index) if side == "ground" else self._read_aerial(index)
            )
        except BadImage as problem:
            return describe_unreadable(side, index, getattr(self.table, side)[index], problem)
        return Picture(index=index, pixels=pixels, number=number)

    def _read_ground(self, index: int) -> tuple[U8, float]:
        return self.source.ground(index)

    def _read_aerial(self, index: int) -> tuple[U8, float]:
        from crossview.views.aerial import make_aerial_view

        spec = self.views.aerial
        pixels, metres_per_px = self.source.aerial(index)
        if spec.whole:
            return pixels, metres_per_px
        return make_aerial_view(pixels, metres_per_px, spec), spec.metres_per_px


def read_pictures(
    reader: PictureReader, side: str, indices: Sequence[int], workers: int
) -> Iterator[Picture | Unreadable]:
    """The pictures ``indices`` of one side, in that order, read by ``workers`` processes.

    ``workers`` 0: in this process.
    """
    chunks = [list(indices[i : i + CHUNK]) for i in range(0, len(indices), CHUNK)]
    jobs = [(side, chunk) for chunk in chunks]
    for pictures in run_in_order(_read_chunk, reader, jobs, workers):
        yield from pictures


def _read_chunk(reader: PictureReader, side: str, indices: list[int]) -> list[Picture | Unreadable]:
    return [reader.read(side, index) for index in indices]


def describe_unreadable(side: str, index: int, path: Path, problem: BadImage) -> Unreadable:
    """The record of ``problem``; its first line without the path that it starts with."""
    reason = str(problem).removeprefix(f"{path}: ").partition("\n")[0]
    return Unreadable(side=side, index=index, path=path, reason=reason)


def refuse_unreadable(unreadable: Sequence[Unreadable], pictures: int) -> None:
    """Raise BadData that names the first unreadable ones of ``pictures``; nothing if none."""
    if not unreadable:
        return
    lines = [f"{picture.path}: {picture.reason}" for picture in unreadable[:_NAMED_UNREADABLE]]
    if (unnamed := len(unreadable) - _NAMED_UNREADABLE) > 0:
        lines.append(f"... and {unnamed} more")
    raise BadData(
        f"{len(unreadable)} of {pictures} pictures cannot be read:\n" + "\n".join(lines) + "\n"
        "Replace them, or skip and count them with --skip-unreadable."
    )


def run_in_order(
    work: Callable[..., Any], shared: object, jobs: Iterable[tuple[Any, ...]], workers: int
) -> Iterator[Any]:
    """``work(shared, *job)`` of each job, in order; ``shared`` is sent to each worker once.

    Never more than a few results wait, however slow the consumer is.
    """
    if not workers:
        yield from (work(shared, *job) for job in jobs)
        return
    with _start_workers(workers, shared) as pool:
        try:
            yield from _collect(pool, workers, work, jobs)
        except BrokenProcessPool as problem:
            raise BadData(
                "A reading process died; the machine may be out of memory.\nTry fewer --workers."
            ) from problem


def _collect(
    pool: ProcessPoolExecutor,
    workers: int,
    work: Callable[..., Any],
    jobs: Iterable[tuple[Any, ...]],
) -> Iterator[Any]:
    """What the workers of a pool make of the jobs, in their order, a few jobs in advance."""
    waiting: deque[Future[Any]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(_run, work, job))
            if len(waiting) >= JOBS_PER_WORKER * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _start_workers(workers: int, shared: object) -> ProcessPoolExecutor:
    """A pool of spawned processes that ignore Ctrl-C and SIGTERM and end when this process does."""
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(shared,),
    )


_shared: list[object] = []  # of this worker process: the first argument of all its work


def _start_worker(shared: object) -> None:
    import cv2

    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to a whole group by shells
        signal.signal(number, signal.SIG_IGN)  # the training process decides when to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _shared[:] = [shared]


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)  # a parent that was killed (-9) cannot end its workers


def _run(work: Callable[..., Any], job: tuple[Any, ...]) -> Any:
    return work(_shared[0], *job)
