"""The queue: photos of all requests, taken in turn, a few at a time through the network.

One thread takes photos and has them decoded, in processes of their own, while another runs the
network on those that are ready. Requests take turns, so a small one waits for a batch or two and
never until a large one ends; and a photo that is hard to decode waits for itself only. The most
photos of a batch follow from how long the last ones took.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from crossview.arrays import U8
from crossview.localization.answer import Answer
from crossview.localization.hints import Hints
from crossview.localization.locate import answer_queries
from crossview.localization.queries import Query, embed_queries, find_common_bearing, prepare_file
from crossview.service.counters import Counters
from crossview.service.problems import Refusal
from crossview.service.regions import Region
from crossview.service.settings import Settings
from crossview.service.uploads import Upload
from crossview.views.decoders import DECODERS, Decoders, DecodingBudget, Turns

_SLOW_DECODERS = 1  # beside the others
_ENDING_S = 1.0  # for threads to see that all is over
_OLD_SHARE = 0.7  # of the estimate of speed that remains when a new batch is measured


class PhotoResult(NamedTuple):
    """One photo's answer."""

    answer: Answer
    strip: U8  # [h, w, 3]: the network's input
    region: Region
    query: Query  # that it was located by


@dataclass(frozen=True, kw_only=True)
class PhotoTask:
    """One photo to be located, and what turns the answer into the result of its request."""

    upload: Upload
    hints: Hints
    region: Region
    format_result: Callable[[PhotoResult], Any]


@dataclass(frozen=True, eq=False)
class _Ticket:
    task: PhotoTask
    owner: object  # its request
    result: Future[Any] = field(default_factory=Future)


class _Prepared(NamedTuple):
    """A ticket whose photo is decoded and cut into the network's inputs."""

    ticket: _Ticket
    query: Query


class PhotoQueue:
    """Takes tasks from any thread and answers them as futures."""

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self._settings, self._counters = settings, counters
        self._orders = Turns()  # of tickets, by request
        self._decoding = 0
        self._prepared: deque[_Prepared] = deque()
        self._in_network = 0
        self._moved_at = time.monotonic()
        self._photo_s = 0.05  # estimate: time of one photo in the network
        self._state = threading.Condition()
        self._closed = False
        self._formatters = ThreadPoolExecutor(DECODERS, thread_name_prefix="crossview-format")
        budget = DecodingBudget(
            memory_bytes=settings.max_memory_bytes,
            file_bytes=settings.max_file_bytes,
            deadline_s=settings.decode_s,
        )
        self._decoders = Decoders(
            prepare_file, budget, slow=_SLOW_DECODERS, changed=self._notify_threads
        )
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
        """Photos that are not yet being decoded, or are hard to decode."""
        return len(self._orders) + self._decoders.slow

    @property
    def is_stuck(self) -> bool:
        """Whether photos wait and nothing has moved for ``stuck_s``."""
        with self._state:
            waits = self._orders or self._prepared or self._in_network
            return bool(waits) and time.monotonic() - self._moved_at > self._settings.stuck_s

    def retry_after_s(self) -> float:
        """Estimate of how long the waiting photos will take, at least one second."""
        return max(1.0, self.waiting * self._photo_s)

    def require_room(self, photos: int = 1) -> None:
        """Raise :class:`Refusal` where so many more photos cannot wait."""
        if self._closed:
            raise Refusal(503, "closing", "The server is shutting down.", retry_after_s=5)
        if self.waiting + photos > self._settings.queue_photos:
            raise Refusal(
                429, "busy", "Too many photos are waiting.", retry_after_s=self.retry_after_s()
            )

    def submit(self, tasks: Sequence[PhotoTask]) -> list[Future[Any]]:
        """A future per task, in order; cancelling one takes its photo out of the queue.

        That works until it is decoded; the process that decodes it is stopped.
        """
        owner = object()
        tickets = [_Ticket(task, owner) for task in tasks]
        with self._state:
            self.require_room(len(tickets))
            if not (self._orders or self._prepared or self._in_network):
                self._moved_at = time.monotonic()
            for ticket in tickets:
                self._orders.add(owner, ticket)
            self._state.notify_all()
        return [ticket.result for ticket in tickets]

    def compute(self, work: Callable[[], Any]) -> Future[Any]:
        """Have something computed of what photos gave, in a thread of those that format results."""
        if self._closed:
            raise Refusal(503, "closing", "The server is shutting down.", retry_after_s=5)
        return self._formatters.submit(work)

    def close(self, max_s: float | None = None) -> None:
        """Finish the waiting photos, for so long, then stop. No new ones are taken.

        Default: ``finish_s``. What is decoded then is given up.
        """
        with self._state:
            self._closed = True
            self._state.notify_all()
        end = time.monotonic() + (self._settings.finish_s if max_s is None else max_s)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._decoders.close()
        for thread in self._threads:
            thread.join(_ENDING_S)
        self._formatters.shutdown(wait=not any(thread.is_alive() for thread in self._threads))

    def _notify_threads(self) -> None:
        with self._state:
            self._state.notify_all()

    # The thread that takes photos and has them decoded.

    def _run_decoding(self) -> None:
        while (ticket := self._take_ticket()) is not None:
            task, settings = ticket.task, self._settings
            region = task.region
            try:
                decoding = self._decoders.submit(
                    pickle.PickleBuffer(task.upload.data),
                    task.upload.name,
                    task.hints,
                    region.embedder.info,
                    find_common_bearing(region.index, region.embedder.info.azimuth_bins),
                    (settings.max_pixels, settings.max_memory_bytes),
                    name=task.upload.name,
                    owner=ticket.owner,
                )
            except BaseException as problem:
                decoding = Future()
                decoding.set_exception(problem)
            decoding.add_done_callback(partial(self._add_prepared, ticket))
            ticket.result.add_done_callback(partial(_cancel_too, decoding))

    def _take_ticket(self) -> _Ticket | None:
        """The next photo, once there is room for it; None when the queue is closed and done."""
        with self._state:
            while self._orders or not self._closed:
                if self._orders and self._has_room():
                    ticket: _Ticket = self._orders.take()
                    self._moved_at = time.monotonic()
                    if not ticket.result.cancelled():
                        self._decoding += 1
                        return ticket
                else:
                    self._state.wait()
            self._state.notify_all()  # perhaps all that waited were cancelled
        return None

    def _has_room(self) -> bool:
        """Whether a photo can be decoded at once, and the network will soon want it."""
        free = self._decoders.free
        quick = DECODERS - free
        return free > 0 and quick + len(self._prepared) < max(DECODERS, self._choose_size()) + 1

    def _choose_size(self) -> int:
        fits = int(self._settings.batch_s / max(self._photo_s, 1e-6))
        return min(max(1, fits), self._settings.batch)

    def _add_prepared(self, ticket: _Ticket, decoding: Future[Any]) -> None:
        """Pass a decoded photo on to the network, or fail its ticket. In any thread."""
        prepared: _Prepared | None = None
        problem: BaseException | None = None
        try:
            prepared = _Prepared(ticket, decoding.result())
        except CancelledError:
            problem = Refusal(503, "closing", "The server is shutting down.", retry_after_s=5)
        except BaseException as failure:
            problem = failure
        wanted = ticket.result.set_running_or_notify_cancel()
        with self._state:
            self._decoding -= 1
            self._moved_at = time.monotonic()
            if wanted and prepared is not None:
                self._prepared.append(prepared)
            self._state.notify_all()
        if wanted and problem is not None:
            ticket.result.set_exception(problem)

    # The thread of the network.

    def _run_network(self) -> None:
        while ready := self._take_prepared():
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
            with self._state:
                self._in_network = 0
                self._moved_at = time.monotonic()

    def _take_prepared(self) -> list[_Prepared]:
        """A batch of what is ready; empty when the queue is closed and done."""
        with self._state:
            self._state.notify_all()  # there is room for more
            while not self._prepared:
                if self._closed and not self._orders and not self._decoding:
                    return []
                self._state.wait()
            size = self._choose_size()
            end = time.monotonic() + self._settings.wait_s
            while (
                len(self._prepared) < size
                and self._decoding > self._decoders.slow
                and (left := end - time.monotonic()) > 0
            ):
                self._state.wait(left)
            count = min(size, len(self._prepared))
            self._in_network = count
            return [self._prepared.popleft() for _ in range(count)]

    def _answer(self, ready: list[_Prepared], region: Region) -> None:
        try:
            queries = list(embed_queries([prepared.query for prepared in ready], region.embedder))
            answers = answer_queries(region.index, region.embedder, queries)
        except BaseException as problem:
            self._answer_one_by_one(ready, region, problem)
            return
        for prepared, query, answer in zip(ready, queries, answers, strict=True):
            self._formatters.submit(_set_result, prepared.ticket, query, answer)

    def _answer_one_by_one(
        self, ready: list[_Prepared], region: Region, problem: BaseException
    ) -> None:
        """Repeat a failed batch photo by photo: perhaps only one of them fails."""
        if len(ready) == 1:
            ready[0].ticket.result.set_exception(problem)
            return
        for prepared in ready:
            self._answer([prepared], region)


def _set_result(ticket: _Ticket, query: Query, answer: Answer) -> None:
    """Turn an answer into the result of its request, in a thread of the pool."""
    task, result = ticket.task, ticket.result
    fovs = [reading.fov_deg for reading in query.readings]
    try:
        strip = query.strips[fovs.index(answer.fov_deg) if answer.fov_deg in fovs else 0]
        result.set_result(task.format_result(PhotoResult(answer, strip, task.region, query)))
    except BaseException as problem:
        result.set_exception(problem)


def _cancel_too(decoding: Future[Any], result: Future[Any]) -> None:
    """Stop decoding a photo that is not wanted any more."""
    if result.cancelled():
        decoding.cancel()
