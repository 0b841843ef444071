"""Jobs: long batches that report their progress, can be cancelled, and are forgotten in time."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, Literal

from crossview.service.problems import Refusal, make_refusal

JobState = Literal["running", "done", "cancelled"]
_HEARTBEAT_S = 15.0


@dataclass
class BatchJob:
    """Photos of one batch, and the results of those that are done, in the order they ended."""

    id: str
    region: str
    caller: str
    photos: int
    results: list[Future[Any]]
    state: JobState = "running"
    ended_at: float = 0.0
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # "answer", "problem"
    changed: asyncio.Condition = field(default_factory=asyncio.Condition, repr=False)

    @property
    def done(self) -> int:
        """Photos that have an answer or a problem."""
        return len(self.events)

    def cancel(self) -> None:
        """Take the photos that have not begun out of the queue."""
        for result in self.results:
            result.cancel()

    def to_json(self) -> dict[str, Any]:
        """State and results so far."""
        return {
            "job": self.id,
            "region": self.region,
            "state": self.state,
            "photos": self.photos,
            "done": self.done,
            "answers": [facts for kind, facts in self.events if kind == "answer"],
            "problems": [facts for kind, facts in self.events if kind == "problem"],
        }


class BatchJobs:
    """All jobs of a server. Used from its event loop only."""

    def __init__(
        self, max_jobs: int, keep_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_jobs, self._keep_s, self._clock = max_jobs, keep_s, clock
        self._jobs: dict[str, BatchJob] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def require_room(self) -> None:
        """Raise :class:`Refusal` where no other job may start."""
        self._forget()
        if len(self._jobs) >= self._max_jobs:
            raise Refusal(429, "busy", "Too many batches are kept.", retry_after_s=10)

    def start(
        self, region: str, caller: str, names: Sequence[str], results: list[Future[Any]]
    ) -> BatchJob:
        """Follow the futures of a batch."""
        job = BatchJob(secrets.token_urlsafe(16), region, caller, len(results), results)
        self._jobs[job.id] = job
        task = asyncio.create_task(self._follow(job, names))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def get(self, job_id: str, caller: str) -> BatchJob:
        """A caller's own job; another's does not exist."""
        self._forget()
        job = self._jobs.get(job_id)
        if job is None or job.caller != caller:
            raise Refusal(404, "unknown-job", "There is no such batch, or it was forgotten.")
        return job

    def count_running(self) -> int:
        """Jobs that are not done."""
        return sum(job.state == "running" for job in self._jobs.values())

    async def wait(self) -> None:
        """Wait until no job runs any more."""
        await asyncio.gather(*self._tasks)

    def _forget(self) -> None:
        now = self._clock()
        for job in list(self._jobs.values()):
            if job.state != "running" and now - job.ended_at > self._keep_s:
                del self._jobs[job.id]

    async def _follow(self, job: BatchJob, names: Sequence[str]) -> None:
        photos = zip(names, job.results, strict=True)
        await asyncio.gather(*(self._follow_photo(job, name, result) for name, result in photos))
        cancelled = any(result.cancelled() for result in job.results)
        job.results = []
        async with job.changed:
            job.state, job.ended_at = "cancelled" if cancelled else "done", self._clock()
            job.changed.notify_all()

    async def _follow_photo(self, job: BatchJob, name: str, result: Future[Any]) -> None:
        event: tuple[str, dict[str, Any]]
        try:
            event = ("answer", await asyncio.wrap_future(result))
        except (CancelledError, asyncio.CancelledError):
            return
        except Exception as problem:
            event = ("problem", describe_problem(name, problem))
        async with job.changed:
            job.events.append(event)
            job.changed.notify_all()


def describe_problem(name: str, problem: BaseException) -> dict[str, Any]:
    """Why one photo of several was not located."""
    refusal = make_refusal(problem)
    return {"photo": name, "code": refusal.code, "detail": refusal.detail}


async def follow_events(
    job: BatchJob, after: int
) -> AsyncIterator[tuple[int | None, str, dict[str, Any]]]:
    """(number, kind, facts) of each event after ``after``, then one of kind "end".

    Kind "" is a sign of life.
    """
    sent = after
    while True:
        async with job.changed:
            if sent >= job.done and job.state == "running":
                try:
                    async with asyncio.timeout(_HEARTBEAT_S):
                        await job.changed.wait()
                except TimeoutError:
                    pass
            fresh, state = job.events[sent:], job.state
        if not fresh and state == "running":
            yield None, "", {}
        for kind, facts in fresh:
            sent += 1
            yield sent, kind, {**facts, "done": sent, "photos": job.photos}
        if state != "running" and sent >= job.done:
            yield None, "end", {"state": state, "done": sent, "photos": job.photos}
            return
