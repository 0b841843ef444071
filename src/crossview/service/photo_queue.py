"""Desk: photos of all requests, taken in turn, a few at a time through the network.

Two threads share the work: one takes photos and decodes them (in a small pool) while the other
runs the network on those before. Turns go round the requests, so a small one waits for a batch or
two and never for a large one's end. What a batch holds follows from how long the last ones took.
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
from crossview.localization.locate import answered
from crossview.localization.queries import Query, embedded, prepared
from crossview.service.counters import Counters
from crossview.service.problems import Refusal
from crossview.service.regions import Region
from crossview.service.settings import Settings
from crossview.service.uploads import Upload
from crossview.views.decode import photo_of_bytes

_DECODERS = 2
_FORGET = 0.7  # of what is known about speed, when a new batch tells


class Located(NamedTuple):
    """What came of one photo."""

    answer: Answer
    strip: U8  # [h, w, 3]: what the network was shown
    region: Region


@dataclass(frozen=True, kw_only=True)
class Task:
    """One photo to be located, and who turns the result into what its request wants."""

    upload: Upload
    hints: Hints
    region: Region
    tell: Callable[[Located], Any]


@dataclass(frozen=True)
class _Ticket:
    task: Task
    result: Future[Any] = field(default_factory=Future)


class _Ready(NamedTuple):
    """A ticket whose photo is decoded and cut into what the network takes."""

    ticket: _Ticket
    query: Query
    strips: list[U8]


class Desk:
    """Takes tasks from any thread and answers them as futures."""

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self._settings, self._counters = settings, counters
        self._orders: deque[deque[_Ticket]] = deque()
        self._waiting = 0
        self._photo_s = 0.05  # that one photo takes of the network, as far as is known
        self._state = threading.Condition()
        self._closed = False
        self._ready: queue.Queue[list[_Ready] | None] = queue.Queue(maxsize=1)
        self._pool = ThreadPoolExecutor(_DECODERS, thread_name_prefix="crossview-decode")
        self._threads = [
            threading.Thread(target=loop, name=name, daemon=True)
            for name, loop in (
                ("crossview-take", self._take_all),
                ("crossview-network", self._embed_all),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Photos that nobody has begun with."""
        return self._waiting

    def retry_after_s(self) -> float:
        """How long what waits will take, as far as is known."""
        return max(1.0, self._waiting * self._photo_s)

    def require_room(self, photos: int = 1) -> None:
        """Refuse when so many more photos cannot wait."""
        if self._closed:
            raise Refusal(503, "closing", "The server is shutting down.", retry_after_s=5)
        if self._waiting + photos > self._settings.queue_photos:
            raise Refusal(
                429, "busy", "Too many photos are waiting.", retry_after_s=self.retry_after_s()
            )

    def submit(self, tasks: Sequence[Task]) -> list[Future[Any]]:
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
        """Finish what is there, then stop. Nothing new is taken."""
        with self._state:
            self._closed = True
            self._state.notify()
        for thread in self._threads:
            thread.join()
        self._pool.shutdown()

    # The thread that takes and decodes.

    def _take_all(self) -> None:
        while tickets := self._next_batch():
            ready = [one for one in self._pool.map(self._prepared, tickets) if one is not None]
            if ready:
                self._ready.put(ready)
        self._ready.put(None)

    def _next_batch(self) -> list[_Ticket]:
        """Photos in turn from all requests; empty when there will be none."""
        with self._state:
            while True:
                while not self._orders and not self._closed:
                    self._state.wait()
                if not self._closed and self._waiting < self._size():
                    self._state.wait(self._settings.wait_s)
                taken = self._in_turn(self._size())
                if taken or (self._closed and not self._orders):
                    return taken

    def _size(self) -> int:
        fits = int(self._settings.batch_s / max(self._photo_s, 1e-6))
        return min(max(1, fits), self._settings.batch)

    def _in_turn(self, count: int) -> list[_Ticket]:
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

    def _prepared(self, ticket: _Ticket) -> _Ready | None:
        task = ticket.task
        try:
            photo = photo_of_bytes(
                task.upload.data,
                task.upload.name,
                max_pixels=self._settings.max_pixels,
                max_memory_bytes=self._settings.max_memory_bytes,
            )
            query, strips = prepared(photo, task.hints, task.region.embedder.info)
        except BaseException as problem:
            ticket.result.set_exception(problem)
            return None
        return _Ready(ticket, query, strips)

    # The thread of the network.

    def _embed_all(self) -> None:
        while (ready := self._ready.get()) is not None:
            start = time.perf_counter()
            for region in dict.fromkeys(one.ticket.task.region for one in ready):
                self._answer([one for one in ready if one.ticket.task.region is region], region)
            seconds = time.perf_counter() - start
            self._counters.count_batch(len(ready), seconds)
            each = seconds / len(ready)
            self._photo_s = _FORGET * self._photo_s + (1.0 - _FORGET) * each

    def _answer(self, ready: list[_Ready], region: Region) -> None:
        try:
            queries = list(embedded([(one.query, one.strips) for one in ready], region.embedder))
            answers = answered(region.index, queries)
        except BaseException as problem:
            self._one_by_one(ready, region, problem)
            return
        for one, answer in zip(ready, answers, strict=True):
            self._pool.submit(_tell, one, answer)

    def _one_by_one(self, ready: list[_Ready], region: Region, problem: BaseException) -> None:
        """A batch that failed is asked again photo by photo: one may be the others' trouble."""
        if len(ready) == 1:
            ready[0].ticket.result.set_exception(problem)
            return
        for one in ready:
            self._answer([one], region)


def _tell(one: _Ready, answer: Answer) -> None:
    """Turn an answer into what its request wants, in a thread of the pool."""
    task, result = one.ticket.task, one.ticket.result
    at = next(
        (n for n, reading in enumerate(one.query.readings) if reading.fov_deg == answer.fov_deg), 0
    )
    try:
        result.set_result(task.tell(Located(answer, one.strips[at], task.region)))
    except BaseException as problem:
        result.set_exception(problem)
