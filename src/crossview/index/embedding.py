"""Embed all windows of some imagery into the segments of a partial index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, F64
from crossview.errors import BadModel, EmptyRegion
from crossview.imagery.sources import Imagery
from crossview.imagery.windows import Tiling, count, cut
from crossview.index.index_options import IndexOptions, segment_size, tiling_for, view_for
from crossview.index.partial import Partial
from crossview.index.prefetch import read_ahead
from crossview.index.tiles import TileBatch, tile_batches
from crossview.model.onnx import Embedder
from crossview.views.spec import ViewSpec

Progress = Callable[[int, int], None]  # windows done, windows in all
COLLAPSED = 1e-6  # mean pairwise 1 - cosine below which a model tells no place from another
_ENOUGH_TO_JUDGE = 16  # windows


@dataclass(frozen=True)
class Job:
    """What goes into an index."""

    imagery: Imagery
    embedder: Embedder
    options: IndexOptions
    tiling: Tiling
    view: ViewSpec

    @staticmethod
    def of(imagery: Imagery, embedder: Embedder, options: IndexOptions) -> Job:
        """The windows and the view that follow from model and options."""
        tiling = tiling_for(embedder.info, options)
        return Job(imagery, embedder, options, tiling, view_for(embedder.info, tiling))


def fill(partial: Partial, job: Job, progress: Progress | None = None) -> None:
    """Embed from the window that ``partial`` waits for to the last one, segment by segment.

    A thread reads, cuts and encodes the next batches while the network works on one. ``progress``
    is told first where the work begins, then after every batch.
    """
    report = progress or (lambda _done, _total: None)
    with _removed_if_empty(partial):
        total = count(job.imagery, job.tiling)
        report(partial.next_window, total)
        gathered = _Gathered()
        for batch in _batches(partial, job):
            gathered.add(batch, _embedded(batch, job.embedder))
            if gathered.windows == segment_size(job.options, len(partial.segments)):
                gathered.write(partial, batch.last + 1)
            report(batch.last + 1, total)
        if gathered.windows:
            gathered.write(partial, total)
        if partial.windows == 0:
            raise EmptyRegion(why_empty(total, job.tiling))
        report(total, total)


class _Gathered:
    """What embedded windows leave behind until they become a segment; their views are let go."""

    def __init__(self) -> None:
        self._vectors: list[F32] = []
        self._places: list[F64] = []
        self._thumbnails: list[bytes] = []

    @property
    def windows(self) -> int:
        return len(self._thumbnails)

    def add(self, batch: TileBatch, vectors: F32) -> None:
        self._vectors.append(vectors)
        self._places.append(batch.places)
        self._thumbnails += batch.thumbnails

    def write(self, partial: Partial, next_window: int) -> None:
        vectors, places = np.concatenate(self._vectors), np.concatenate(self._places)
        _refuse_collapsed(vectors)
        partial.add(vectors, places, self._thumbnails, next_window)
        self._vectors, self._places, self._thumbnails = [], [], []


def _batches(partial: Partial, job: Job) -> Iterator[TileBatch]:
    windows = cut(job.imagery, job.tiling, partial.next_window)
    with closing(read_ahead(tile_batches(windows, job.view, job.options.batch))) as batches:
        yield from batches


def _embedded(batch: TileBatch, embedder: Embedder) -> F32:
    vectors = embedder.aerial(batch.views)
    if vectors.shape != (len(batch), embedder.info.dim):
        raise BadModel(
            f"The model {embedder.info.name!r} gave vectors {list(vectors.shape)} where its "
            f"model.json says [{len(batch)}, {embedder.info.dim}]; export it again."
        )
    return vectors


def _refuse_collapsed(vectors: F32) -> None:
    """Stop when all unit vectors are one: 1 - |mean|^2 is their mean pairwise 1 - cosine."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    if len(vectors) >= _ENOUGH_TO_JUDGE and 1.0 - float(mean @ mean) < COLLAPSED:
        raise BadModel(
            f"The model gives the same vector for {len(vectors)} different windows; it has "
            "collapsed in training and can find nothing."
        )


@contextmanager
def _removed_if_empty(partial: Partial) -> Iterator[None]:
    """Leave nothing behind when it fails before there is anything to go on from."""
    try:
        yield
    except BaseException:
        if not partial.segments:
            partial.discard()
        raise


def why_empty(total: int, tiling: Tiling) -> str:
    """What to say when none of ``total`` planned windows can be indexed."""
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
