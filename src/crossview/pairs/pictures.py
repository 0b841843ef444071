"""Every picture of one side, in order, by several processes; what cannot be read is collected.

A run over many thousand files must not die at the last one: an unreadable picture comes as
:class:`Unreadable` in its place. Whoever reads decides at the end: :func:`refuse`, or leave the
pictures out (``PairTable.without``) and say how many they were.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossview.arrays import U8
from crossview.errors import BadData, BadImage
from crossview.pairs.batch import Views
from crossview.pairs.loading import AHEAD, worker_pool
from crossview.pairs.reading import Source
from crossview.pairs.table import PairTable

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
class Pictures:
    """Reads pictures of ``table`` from ``source``; it travels to workers once, by pickle."""

    table: PairTable
    source: Source
    views: Views

    def read(self, side: str, index: int) -> Picture | Unreadable:
        """One picture; errors other than :class:`BadImage` are about all of them, and raise."""
        try:
            pixels, number = self._ground(index) if side == "ground" else self._aerial(index)
        except BadImage as problem:
            return unreadable(side, index, getattr(self.table, side)[index], problem)
        return Picture(index=index, pixels=pixels, number=number)

    def _ground(self, index: int) -> tuple[U8, float]:
        return self.source.ground(index)

    def _aerial(self, index: int) -> tuple[U8, float]:
        from crossview.views.aerial import aerial_view

        spec = self.views.aerial
        pixels, metres_per_px = self.source.aerial(index)
        if spec.whole:
            return pixels, metres_per_px
        return aerial_view(pixels, metres_per_px, spec), spec.metres_per_px


def read_pictures(
    pictures: Pictures, side: str, indices: Sequence[int], workers: int
) -> Iterator[Picture | Unreadable]:
    """The pictures ``indices`` of one side, in that order, read by ``workers`` processes.

    ``workers`` 0: in this process.
    """
    chunks = [list(indices[i : i + CHUNK]) for i in range(0, len(indices), CHUNK)]
    for done in in_order(_read_chunk, pictures, [(side, chunk) for chunk in chunks], workers):
        yield from done


def in_order(
    work: Callable[..., Any], kept: object, jobs: Iterable[tuple[Any, ...]], workers: int
) -> Iterator[Any]:
    """``work(kept, *job)`` of each job, in order; ``kept`` is sent to each worker once.

    Never more than a few results wait, however slow the consumer is.
    """
    if not workers:
        yield from (work(kept, *job) for job in jobs)
        return
    waiting: deque[Future[Any]] = deque()
    with worker_pool(workers, _keep, kept) as pool:
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


def unreadable(side: str, index: int, path: Path, problem: BadImage) -> Unreadable:
    """The record of ``problem``; its first line without the path that it starts with."""
    reason = str(problem).removeprefix(f"{path}: ").partition("\n")[0]
    return Unreadable(side=side, index=index, path=path, reason=reason)


def refuse(found: Sequence[Unreadable], pictures: int) -> None:
    """Raise BadData that names the first unreadable ones of ``pictures``; nothing if none."""
    if not found:
        return
    lines = [f"{one.path}: {one.reason}" for one in found[:_SHOWN]]
    more = f"\n... and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise BadData(
        f"{len(found)} of {pictures} pictures cannot be read:\n" + "\n".join(lines) + more + "\n"
        "Replace them, or leave them out and have them counted with --skip-unreadable."
    )


_kept: list[object] = []  # of this worker process


def _keep(kept: object) -> None:
    _kept[:] = [kept]


def _with_kept(work: Callable[..., Any], job: tuple[Any, ...]) -> Any:
    return work(_kept[0], *job)


def _read_chunk(pictures: Pictures, side: str, indices: list[int]) -> list[Picture | Unreadable]:
    return [pictures.read(side, index) for index in indices]
