"""Service: everything the routes of one server share."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from crossview.localization.hints import Hints
from crossview.service.counters import Counters
from crossview.service.jobs import Jobs
from crossview.service.keys import Rates
from crossview.service.photo_queue import Desk, Located, Task
from crossview.service.problems import Refusal
from crossview.service.regions import Region, Regions
from crossview.service.settings import Settings
from crossview.service.uploads import MemoryBudget, Upload, read_uploads

LOG = logging.getLogger("crossview.service")
LOOK_EVERY_S = 2.0  # for indexes that changed on disk


@dataclass
class Service:
    """Regions, the desk where photos wait, and all that is counted."""

    regions: Regions
    settings: Settings
    counters: Counters
    desk: Desk
    jobs: Jobs
    memory: MemoryBudget
    rates: Rates
    draining: bool = False  # told to stop; finishes what it has
    started: float = field(default_factory=time.monotonic)

    @staticmethod
    def of(regions: Regions, settings: Settings) -> Service:
        """A service at work: its threads are running."""
        counters = Counters()
        desk = Desk(settings, counters)
        memory = MemoryBudget(settings.max_held_bytes)
        jobs = Jobs(settings.max_jobs, settings.keep_job_s)
        counters.add_gauge("crossview_waiting_photos", "Photos that wait.", lambda: desk.waiting)
        counters.add_gauge("crossview_held_bytes", "Uploads in memory.", lambda: memory.used_bytes)
        counters.add_gauge("crossview_running_jobs", "Batches on their way.", jobs.running)
        rates = Rates(settings.photos_per_minute)
        return Service(regions, settings, counters, desk, jobs, memory, rates)

    async def uploads(
        self, headers: Any, body: AsyncIterator[bytes], caller: str, *, job: bool = False
    ) -> list[Upload]:
        """The photos of a request, within all limits; their bytes are counted in ``memory``."""
        problem: Refusal | None = None
        try:
            self.desk.require_room()
            if job:
                self._require_job()
        except Refusal as full:
            problem = full
        uploads = await read_uploads(headers, body, self.settings, self.memory, problem)
        try:
            self.rates.take(caller, len(uploads))
        except Refusal:
            self.give_back(uploads)
            raise
        return uploads

    def _require_job(self) -> None:
        if self.draining:
            raise Refusal(503, "closing", "The server is shutting down.", retry_after_s=5)
        self.jobs.require_room()

    def give_back(self, uploads: Sequence[Upload]) -> None:
        """These photos are not waited for any more."""
        self.memory.release(sum(len(upload.data) for upload in uploads))

    def submit(
        self,
        uploads: Sequence[Upload],
        region: Region,
        hints: Hints,
        tell: Callable[[Located], Any],
    ) -> list[Future[Any]]:
        """Hand photos to the desk; their bytes are given back as each is done."""
        tasks = [Task(upload=u, hints=hints, region=region, tell=tell) for u in uploads]
        try:
            results = self.desk.submit(tasks)
        except Refusal:
            self.give_back(uploads)
            raise
        for upload, result in zip(uploads, results, strict=True):
            result.add_done_callback(self._done(region.name, len(upload.data)))
        return results

    def _done(self, region: str, size: int) -> Callable[[Future[Any]], None]:
        def note(result: Future[Any]) -> None:
            self.memory.release(size)
            if result.cancelled():
                outcome = "cancelled"
            else:
                outcome = "refused" if result.exception() else "located"
            self.counters.count_photo(region, outcome)

        return note

    async def watch(self) -> None:
        """Exchange indexes that change on disk, until cancelled. Requests go on meanwhile."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.reload()

    async def reload(self) -> None:
        """Look once whether an index has changed."""
        for name in await asyncio.to_thread(self.regions.reload):
            LOG.info("Region %s was exchanged.", name)
        for name, text in self.regions.troubles.items():
            LOG.warning("Region %s changed but cannot be opened; the old one stays. %s", name, text)

    async def drained(self, most_s: float, linger_s: float) -> None:
        """Wait until long batches are done, and a little longer for those who ask for them."""
        self.draining = True
        end = time.monotonic() + most_s
        while (self.jobs.running() or self.desk.waiting) and time.monotonic() < end:
            await asyncio.sleep(0.05)
        await asyncio.sleep(linger_s)

    async def close(self) -> None:
        """Finish what is at the desk, then end its threads."""
        await asyncio.to_thread(self.desk.close)
