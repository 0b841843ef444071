"""The queue: photos of all requests, taken in turn, a few at a time through the network.

Two threads share the work: one takes photos and decodes them (in a small pool) while the other
runs the network on those before. Requests take turns, so a small one waits for a batch or two and
never until a large one ends. The size of a batch follows from how long the last ones took.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from crossview.arrays import U8
from crossview.localization.answer import Answer
from crossview.localization.hints import Hints
from crossview.localization.locate import answer_queries
from crossview.localization.queries import Query, embed_queries, prepare_query
from crossview.localization.search import find_common_bearing
from crossview.service.counters import Counters
from crossview.service.problems import Refusal
from crossview.service.regions import Region
from crossview.service.settings import Settings
from crossview.service.uploads import Upload
from crossview.views.decode import load_photo

_DECODERS = 2
_OLD_SHARE = 0.7  # of the estimate of speed that remains when a new batch is measured


class PhotoResult(NamedTuple):
    """One photo's answer."""

    answer: Answer
    strip: U8  # [h, w, 3]: the network's input
    region: Region


@dataclass(frozen=True, kw_only=True)
class PhotoTask:
    """One photo to be located, and what turns the answer into the result of its request."""

    upload: Upload
    hints: Hints
    region: Region
    format_result: Callable[[PhotoResult], Any]


@dataclass(frozen=True)
class _Ticket:
    task: PhotoTask
    result: Future[Any] = field(default_factory=Future)


class _Prepared(NamedTuple):
    """A ticket whose photo is decoded and cut into the network's inputs."""

    ticket: _Ticket
    query: Query
    strips: list[U8]


class PhotoQueue:
    """Takes tasks from any thread and answers them as futures."""

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self._settings, self._counters = settings, counters
        self._orders: deque[deque[_Ticket]] = deque()
        self._waiting = 0
        self._photo_s = 0.05  # estimate: time of one photo in the network
        self._state = threading.Condition()
        self._closed = False
        self._ready: queue.Queue[list[_Prepared] | None] = queue.Queue(maxsize=1)
        self._pool = ThreadPoolExecutor(_DECODERS, thread_name_prefix="crossview-decode")
        self._threads = [
            threading.Thread(target=loop, name=name, daemon=True)
            for name, loop in (
                ("crossview-take", self._run_decoding),
                ("crossview-network", self._run_network),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Photos that are not yet being decoded."""
        return self._waiting

    def retry_after_s(self) -> float:
        """Estimate of how long the waiting photos will take, at least one second."""
        return max(1.0, self._waiting * self._photo_s)

    def require_room(self, photos: int = 1) -> None:
        """Raise :class:`Refusal` where so many more photos cannot wait."""
        if self._closed:
            raise Refusal(503, "closing", "The server is shutting down.", retry_after_s=5)
        if self._waiting + photos > self._settings.queue_photos:
            raise Refusal(
                429, "busy", "Too many photos are waiting.", retry_after_s=self.retry_after_s()
            )

    def submit(self, tasks: Sequence[PhotoTask]) -> list[Future[Any]]:
        """A future per task, in order; cancelling one takes its photo out of the queue."""
        order = deque(_Ticket(task) for task in tasks)
        results = [ticket.result for ticket in order]
        with self._state:
            self.require_room(len(order))
            self._orders.append(order)
            self._waiting += len(order)
            self._state.notify()
        return results

    def close(self) -> None:
        """Finish the waiting photos, then stop. No new ones are taken."""
        with self._state:
            self._closed = True
            self._state.notify()
        for thread in self._threads:
            thread.join()
        self._pool.shutdown()

    # The thread that takes and decodes photos.

    def _run_decoding(self) -> None:
        while tickets := self._take_batch():
            ready = [
                prepared
                for prepared in self._pool.map(self._prepare, tickets)
                if prepared is not None
            ]
            if ready:
                self._ready.put(ready)
        self._ready.put(None)

    def _take_batch(self) -> list[_Ticket]:
        """Photos of all requests in turn; empty when the queue is closed and done."""
        with self._state:
            while True:
                while not self._orders and not self._closed:
                    self._state.wait()
                if not self._closed and self._waiting < self._choose_size():
                    self._state.wait(self._settings.wait_s)
                taken = self._take_in_turn(self._choose_size())
                if taken or (self._closed and not self._orders):
                    return taken

    def _choose_size(self) -> int:
        fits = int(self._settings.batch_s / max(self._photo_s, 1e-6))
        return min(max(1, fits), self._settings.batch)

    def _take_in_turn(self, count: int) -> list[_Ticket]:
        taken: list[_Ticket] = []
        while self._orders and len(taken) < count:
            order = self._orders.popleft()
            ticket = order.popleft()
            self._waiting -= 1
            if order:
                self._orders.append(order)
            if ticket.result.set_running_or_notify_cancel():
                taken.append(ticket)
        return taken

    def _prepare(self, ticket: _Ticket) -> _Prepared | None:
        task = ticket.task
        try:
            photo = load_photo(
                task.upload.data,
                name=task.upload.name,
                max_pixels=self._settings.max_pixels,
                max_memory_bytes=self._settings.max_memory_bytes,
            )
            info = task.region.embedder.info
            bearing = find_common_bearing(task.region.index, info.azimuth_bins)
            query, strips = prepare_query(photo, task.hints, info, bearing)
        except BaseException as problem:
            ticket.result.set_exception(problem)
            return None
        return _Prepared(ticket, query, strips)

    # The thread of the network.

    def _run_network(self) -> None:
        while (ready := self._ready.get()) is not None:
            start = time.perf_counter()
            for region in dict.fromkeys(prepared.ticket.task.region for prepared in ready):
                self._answer(
                    [prepared for prepared in ready if prepared.ticket.task.region is region],
                    region,
                )
            seconds = time.perf_counter() - start
            self._counters.count_batch(len(ready), seconds)
            each = seconds / len(ready)
            self._photo_s = _OLD_SHARE * self._photo_s + (1.0 - _OLD_SHARE) * each

    def _answer(self, ready: list[_Prepared], region: Region) -> None:
        try:
            queries = list(
                embed_queries(
                    [(prepared.query, prepared.strips) for prepared in ready], region.embedder
                )
            )
            answers = answer_queries(region.index, queries)
        except BaseException as problem:
            self._answer_one_by_one(ready, region, problem)
            return
        for prepared, answer in zip(ready, answers, strict=True):
            self._pool.submit(_set_result, prepared, answer)

    def _answer_one_by_one(
        self, ready: list[_Prepared], region: Region, problem: BaseException
    ) -> None:
        """Repeat a failed batch photo by photo: perhaps only one of them fails."""
        if len(ready) == 1:
            ready[0].ticket.result.set_exception(problem)
            return
        for prepared in ready:
            self._answer([prepared], region)


def _set_result(prepared: _Prepared, answer: Answer) -> None:
    """Turn an answer into the result of its request, in a thread of the pool."""
    task, result = prepared.ticket.task, prepared.ticket.result
    at = next(
        (
            n
            for n, reading in enumerate(prepared.query.readings)
            if reading.fov_deg == answer.fov_deg
        ),
        0,
    )
    try:
        result.set_result(task.format_result(PhotoResult(answer, prepared.strips[at], task.region)))
    except BaseException as problem:
        result.set_exception(problem)
