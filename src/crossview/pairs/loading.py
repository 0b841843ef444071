"""Row numbers in, batches out, in order, whatever the number of workers.

Every pair draws from its own generator, seeded by (seed, epoch, batch, position): results do not
depend on workers, and a training resumed at batch n of an epoch sees what it would have seen.
Workers are separate interpreters (spawn), so they start alike on Linux, macOS and Windows; they
send uint8 arrays, a quarter of the bytes of floats, and the training process normalises.

Every picture of one side, in order, by several processes; what cannot be read is collected.

A run over many thousand files must not die at the last one: an unreadable picture comes as
:class:`Unreadable` in its place. Whoever reads decides at the end: :func:`refuse_unreadable`, or
leave the pictures out (``PairTable.without``) and say how many they were.
"""

from __future__ import annotations

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
from typing import TYPE_CHECKING, Any

import numpy as np

from crossview.arrays import F32, I64, U8
from crossview.errors import BadData, BadImage, InvalidValue, TrainingFailed
from crossview.pairs.batch import Batch, PairPixels, TrainingLength, TrainingProgress, Views
from crossview.pairs.page_ref import PageRef
from crossview.pairs.reading import Files, Source, read_pair
from crossview.pairs.table import PairTable
from crossview.views.spec import ViewSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

AHEAD = 3  # batches under way per worker
OF_THE_BATCH = 1_000_000_007  # where pairs have their position: the draws that a batch shares
Copies = tuple[PairPixels, ...]


@dataclass(frozen=True, kw_only=True)
class RawBatch:
    """A batch as workers send it."""

    ground: U8  # [B, h, w, 3]
    aerial: U8  # [B, H, W, 3]
    rows: I64  # [B]
    places: I64  # [B]
    fov_deg: F32  # [B]
    heading_deg: F32  # [B]
    more: tuple[RawBatch, ...] = ()  # the same rows again, if ``augment`` makes several copies


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
    span: TrainingLength | None = None  # of the training; with it, a page's ``staged`` is asked

    def batch(self, epoch: int, number: int, rows: list[int]) -> RawBatch:
        """Batch ``number`` of ``epoch``: read, augment, aerial view, stack."""
        copies = zip(*self._copies(rows, (self.seed, epoch, number)), strict=True)
        first, *others = (self._stacked(list(pairs), rows) for pairs in copies)
        return replace(first, more=tuple(others))

    def _stacked(self, pairs: list[PairPixels], rows: list[int]) -> RawBatch:
        return RawBatch(
            ground=_stack([pair.ground for pair in pairs], "ground"),
            aerial=_stack([self._aerial(pair) for pair in pairs], "aerial"),
            rows=np.array(rows, dtype=np.int64),
            places=self.places[rows],
            fov_deg=np.array([pair.fov_deg for pair in pairs], dtype=np.float32),
            heading_deg=np.array([pair.heading_deg for pair in pairs], dtype=np.float32),
        )

    def _copies(self, rows: list[int], key: tuple[int, int, int]) -> list[Copies]:
        """What each row becomes: one pair, or as many as the page's ``augment`` makes."""
        if self.page is None:
            return [(read_pair(self.table, self.source, row),) for row in rows]
        page = self.page.load()
        config = self._config(page, key)
        made = []
        for k, row in enumerate(rows):
            rng = np.random.default_rng((*key, k))
            pair = read_pair(self.table, self.source, row)
            if getattr(config, "companions", False):
                pair = replace(pair, companion=self._companion(row, rng))
            copies = page.augment(pair, config, rng)
            made.append((copies,) if isinstance(copies, PairPixels) else copies)
        return made

    def _config(self, page: Any, key: tuple[int, int, int]) -> Any:
        """The page's Config, as it is in this batch if the page has a course to follow."""
        config = page.Config(**self.config)
        if self.span is None or not hasattr(page, "staged"):
            return config
        moment = TrainingProgress(span=self.span, epoch=key[1], batch=key[2])
        return page.staged(config, moment, np.random.default_rng((*key, OF_THE_BATCH)))

    def _companion(self, row: int, rng: np.random.Generator) -> PairPixels | None:
        others = self._by_place[self.places[row]]
        others = others[others != row]
        if not len(others):
            return None
        return read_pair(self.table, self.source, int(others[rng.integers(len(others))]))

    @cached_property
    def _by_place(self) -> list[I64]:
        order = np.argsort(self.places, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.places))[:-1])

    def _aerial(self, pair: PairPixels) -> U8:
        from crossview.views.aerial import make_aerial_view

        if pair.viewed or self.views.aerial.whole:
            return pair.aerial
        return make_aerial_view(pair.aerial, pair.metres_per_px, self.views.aerial)


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
            self._pool = start_workers(self._workers, _keep, self._reader)
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
        waiting: deque[Future[RawBatch]] = deque()
        try:
            for job in jobs:
                waiting.append(self._pool.submit(_work, *job))
                if len(waiting) >= AHEAD * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as problem:
            raise TrainingFailed(
                "A loading worker died; the machine may be out of memory.\n"
                "Try fewer --workers (0 loads in the training process)."
            ) from problem
        finally:
            for future in waiting:
                future.cancel()


def to_batch(raw: RawBatch, views: Views, device: torch.device) -> Batch:
    """Normalised tensors on ``device`` in channels-last memory order."""
    import torch

    return Batch(
        ground=normalise(raw.ground, views.ground, device),
        aerial=normalise(raw.aerial, views.aerial, device),
        rows=torch.from_numpy(raw.rows).to(device),
        places=torch.from_numpy(raw.places).to(device),
        fov_deg=torch.from_numpy(raw.fov_deg).to(device),
        heading_deg=torch.from_numpy(raw.heading_deg).to(device),
        more=tuple(to_batch(copy, views, device) for copy in raw.more),
    )


def normalise(images: U8, spec: ViewSpec, device: torch.device) -> Tensor:
    """uint8 [B, h, w, 3] -> float32 [B, 3, h, w], (x / 255 - mean) / std, channels last."""
    import torch

    mean = torch.tensor(spec.mean, device=device)
    std = torch.tensor(spec.std, device=device)
    pixels = torch.from_numpy(images).to(device).float()
    return pixels.sub_(255.0 * mean).div_(255.0 * std).permute(0, 3, 1, 2)


def start_workers(workers: int, initializer: Any, *arguments: Any) -> ProcessPoolExecutor:
    """A pool of spawned processes that ignore Ctrl-C and SIGTERM and end when this process does."""
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(initializer, arguments),
    )


_kept: list[Reader] = []  # of this worker process


def _start_worker(initializer: Any, arguments: tuple[Any, ...]) -> None:
    import cv2

    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to a whole group by shells
        signal.signal(number, signal.SIG_IGN)  # the training process decides when to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initializer(*arguments)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)  # killed -9, the parent cannot tell its workers


def _keep(reader: Reader) -> None:
    _kept[:] = [reader]


def _work(epoch: int, number: int, rows: list[int]) -> RawBatch:
    return _kept[0].batch(epoch, number, rows)


def _stack(images: list[U8], side: str) -> U8:
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise InvalidValue(
            f"{side} views of one batch differ in size: {sorted(shapes)}.\n"
            "Let the method's augment give one size per batch, or use representation='padded'."
        )
    return np.stack(images)


CHUNK = 16  # pictures per job of a worker
_SHOWN = 5  # unreadable pictures that an error names


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
            pixels, number = self._ground(index) if side == "ground" else self._aerial(index)
        except BadImage as problem:
            return describe_unreadable(side, index, getattr(self.table, side)[index], problem)
        return Picture(index=index, pixels=pixels, number=number)

    def _ground(self, index: int) -> tuple[U8, float]:
        return self.source.ground(index)

    def _aerial(self, index: int) -> tuple[U8, float]:
        from crossview.views.aerial import make_aerial_view

        spec = self.views.aerial
        pixels, metres_per_px = self.source.aerial(index)
        if spec.whole:
            return pixels, metres_per_px
        return make_aerial_view(pixels, metres_per_px, spec), spec.metres_per_px


def read_pictures(
    pictures: PictureReader, side: str, indices: Sequence[int], workers: int
) -> Iterator[Picture | Unreadable]:
    """The pictures ``indices`` of one side, in that order, read by ``workers`` processes.

    ``workers`` 0: in this process.
    """
    chunks = [list(indices[i : i + CHUNK]) for i in range(0, len(indices), CHUNK)]
    for done in run_in_order(_read_chunk, pictures, [(side, chunk) for chunk in chunks], workers):
        yield from done


def run_in_order(
    work: Callable[..., Any], kept: object, jobs: Iterable[tuple[Any, ...]], workers: int
) -> Iterator[Any]:
    """``work(kept, *job)`` of each job, in order; ``kept`` is sent to each worker once.

    Never more than a few results wait, however slow the consumer is.
    """
    if not workers:
        yield from (work(kept, *job) for job in jobs)
        return
    waiting: deque[Future[Any]] = deque()
    with start_workers(workers, _pictures_keep, kept) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(_with_kept, work, job))
                if len(waiting) >= AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as problem:
            raise BadData(
                "A reading process died; the machine may be out of memory.\nTry fewer --workers."
            ) from problem
        finally:
            for future in waiting:
                future.cancel()


def describe_unreadable(side: str, index: int, path: Path, problem: BadImage) -> Unreadable:
    """The record of ``problem``; its first line without the path that it starts with."""
    reason = str(problem).removeprefix(f"{path}: ").partition("\n")[0]
    return Unreadable(side=side, index=index, path=path, reason=reason)


def refuse_unreadable(found: Sequence[Unreadable], pictures: int) -> None:
    """Raise BadData that names the first unreadable ones of ``pictures``; nothing if none."""
    if not found:
        return
    lines = [f"{one.path}: {one.reason}" for one in found[:_SHOWN]]
    more = f"\n... and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise BadData(
        f"{len(found)} of {pictures} pictures cannot be read:\n" + "\n".join(lines) + more + "\n"
        "Replace them, or leave them out and have them counted with --skip-unreadable."
    )


_pictures_kept: list[object] = []  # of this worker process


def _pictures_keep(kept: object) -> None:
    _pictures_kept[:] = [kept]


def _with_kept(work: Callable[..., Any], job: tuple[Any, ...]) -> Any:
    return work(_pictures_kept[0], *job)


def _read_chunk(
    pictures: PictureReader, side: str, indices: list[int]
) -> list[Picture | Unreadable]:
    return [pictures.read(side, index) for index in indices]
