"""Service: everything that the routes of one server share."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from crossview.localization.hints import Hints, match_hints
from crossview.service.counters import Counters
from crossview.service.jobs import BatchJobs
from crossview.service.photo_queue import PhotoQueue, PhotoResult, PhotoTask
from crossview.service.problems import Refusal
from crossview.service.regions import Region, Regions
from crossview.service.settings import Settings
from crossview.service.uploads import MemoryBudget, RateLimit, Upload, read_uploads

LOG = logging.getLogger("crossview.service")
RELOAD_EVERY_S = 2.0  # indexes that changed on disk
_POLL_S = 0.05  # while jobs are finished at the end


@dataclass
class Service:
    """Regions, the queue of photos, and all limits and counters."""

    regions: Regions
    settings: Settings
    counters: Counters
    queue: PhotoQueue
    jobs: BatchJobs
    memory: MemoryBudget
    rates: RateLimit
    draining: bool = False  # shutting down; finishes the photos that it has
    ends_at: float = math.inf  # then at the latest, on the monotonic clock

    @staticmethod
    def start(regions: Regions, settings: Settings) -> Service:
        """A service whose threads are running."""
        counters = Counters()
        queue = PhotoQueue(settings, counters)
        memory = MemoryBudget(settings.max_held_bytes)
        jobs = BatchJobs(settings.max_jobs, settings.keep_job_s)
        counters.add_gauge("crossview_waiting_photos", "Photos that wait.", lambda: queue.waiting)
        counters.add_gauge("crossview_held_bytes", "Uploads in memory.", lambda: memory.used_bytes)
        counters.add_gauge("crossview_running_jobs", "Batches that run.", jobs.count_running)
        rates = RateLimit(settings.photos_per_minute)
        return Service(regions, settings, counters, queue, jobs, memory, rates)

    async def receive_uploads(
        self, headers: Any, body: AsyncIterator[bytes], caller: str, *, for_job: bool = False
    ) -> list[Upload]:
        """The photos of a request, within all limits; their bytes are counted in ``memory``."""
        refusal: Refusal | None = None
        try:
            self.queue.require_room()
            if for_job:
                self._require_job()
        except Refusal as full:
            refusal = full
        uploads = await read_uploads(headers, body, self.settings, self.memory, refusal)
        try:
            self.rates.take(caller, len(uploads))
        except Refusal:
            self.release(uploads)
            raise
        return uploads

    def _require_job(self) -> None:
        if self.draining:
            raise Refusal(503, "closing", "The server is shutting down.", retry_after_s=5)
        self.jobs.require_room()

    def release(self, uploads: Sequence[Upload]) -> None:
        """These photos are no longer in memory."""
        self.memory.release(sum(len(upload.data) for upload in uploads))

    def submit(
        self,
        uploads: Sequence[Upload],
        region: Region,
        hints: Hints | Sequence[Hints],
        format_result: Callable[[PhotoResult], Any],
    ) -> list[Future[Any]]:
        """Queue photos; the bytes of each are released when it is done.

        ``hints`` are for all photos or one for each.
        """
        tasks = [
            PhotoTask(upload=upload, hints=own, region=region, format_result=format_result)
            for upload, own in zip(uploads, match_hints(hints, len(uploads)), strict=True)
        ]
        try:
            results = self.queue.submit(tasks)
        except Refusal:
            self.release(uploads)
            raise
        for upload, result in zip(uploads, results, strict=True):
            result.add_done_callback(self._make_callback(region.name, len(upload.data)))
        return results

    def _make_callback(self, region: str, size: int) -> Callable[[Future[Any]], None]:
        def finish(result: Future[Any]) -> None:
            self.memory.release(size)
            if result.cancelled():
                outcome = "cancelled"
            else:
                outcome = "refused" if result.exception() else "located"
            self.counters.count_photo(region, outcome)

        return finish

    async def watch(self) -> None:
        """Exchange indexes that change on disk, until cancelled. Requests go on meanwhile."""
        while True:
            await asyncio.sleep(RELOAD_EVERY_S)
            await self.reload()

    async def reload(self) -> None:
        """Exchange the indexes that have changed on disk."""
        for name in await asyncio.to_thread(self.regions.reload):
            LOG.info("Region %s was exchanged.", name)
        for name, text in self.regions.failures.items():
            LOG.warning("Region %s changed but cannot be opened; the old one stays. %s", name, text)

    def begin_end(self) -> None:
        """Take no new work; what has begun has ``finish_s`` from now on."""
        self.draining = True
        self.ends_at = time.monotonic() + self.settings.finish_s

    @property
    def left_s(self) -> float:
        """What is left of the time to finish."""
        return min(self.settings.finish_s, max(0.0, self.ends_at - time.monotonic()))

    async def drain(self, linger_s: float) -> None:
        """Wait until long batches are done, and a little longer for clients that fetch them."""
        while (self.jobs.count_running() or self.queue.waiting) and self.left_s > linger_s:
            await asyncio.sleep(_POLL_S)
        await asyncio.sleep(min(linger_s, self.left_s))

    async def close(self) -> None:
        """Finish the photos in the queue, then stop its threads."""
        await asyncio.to_thread(self.queue.close, self.left_s)
