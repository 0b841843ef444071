"""Decoders: processes that look at photos, each photo with a deadline and a budget of memory.

A decoder of pictures is a large program in C that a file of a stranger can keep busy for minutes,
fill the memory with, or break. No thread can be stopped in there; a process can. So each photo is
decoded in a process of its own kind: one that has its memory limited by the system, and that is
killed and replaced when its photo takes too long. The photo is refused then; no other one is.

``concurrent.futures`` gives up the whole pool when one process dies, and no package that we know
lets a slow task make way for others, so the processes are kept here.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from crossview.errors import BadImage, CrossviewError, require

DECODERS = 2  # at a time; the network wants the other cores
DEADLINE_S = 20.0  # of processor time for one photo; the largest that are allowed take about 3 s
_ON_THE_CLOCK = 3.0  # times as long, on a machine that is busy with other things
_QUICK_S = 0.5  # of processor time; ordinary photos take a tenth of that
_START_S = 120.0  # for a process to import what it needs; half a second on a quiet machine
_LOOK_S = 0.1  # how often a photo that takes longer is looked at
_KILLED_BY_ITSELF_S = 5.0  # after the deadline, should the process that would kill it be gone
_MORE_BYTES = 100_000_000  # beside pixels and file: tables of decoders, stacks of their threads
_LOWER = 5  # priority of a slow photo: a third of the processor time that another one gets


@dataclass(frozen=True, kw_only=True)
class DecodingBudget:
    """What one photo may take of the machine."""

    memory_bytes: int  # while it is decoded, as estimated before from its header
    file_bytes: int  # of the largest file
    deadline_s: float = DEADLINE_S  # of processor time, and three times as long on the clock

    def __post_init__(self) -> None:
        require(self.deadline_s > 0, f"a deadline is longer than 0 s, got {self.deadline_s}.")

    @property
    def most_bytes(self) -> int:
        """That a process may take beside what it needs without a photo; the system holds it."""
        return self.memory_bytes + self.file_bytes + _MORE_BYTES

    @property
    def most_s(self) -> float:
        """The deadline on the clock."""
        return _ON_THE_CLOCK * self.deadline_s


class Turns:
    """Things that wait, of several owners who take turns: many of one hold up no other.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._lines: dict[Hashable, deque[Any]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, owner: Hashable, thing: Any) -> None:
        """Put ``thing`` behind what its owner has waiting."""
        self._lines.setdefault(owner, deque()).append(thing)
        self._count += 1

    def take(self) -> Any:
        """The next thing, of the owner whose turn it is."""
        owner = next(iter(self._lines))
        line = self._lines.pop(owner)
        thing = line.popleft()
        self._count -= 1
        if line:
            self._lines[owner] = line  # behind all others
        return thing


@dataclass(eq=False)
class _Job:
    arguments: tuple[Any, ...]
    name: str
    owner: Hashable
    is_slow: bool = False  # it had its time among the quick ones
    result: Future[Any] = field(default_factory=Future)

    def settle(self, outcome: object) -> None:
        """Set the result or the problem, unless nobody wants it any more."""
        if not self.result.set_running_or_notify_cancel():
            return
        if isinstance(outcome, BaseException):
            self.result.set_exception(outcome)
        else:
            self.result.set_result(outcome)


class Decoders:
    """Calls ``work`` for photos in processes of their own; a context manager.

    ``work`` is a function of a module; it, its arguments and its results are pickled, and arrays
    travel without being copied into the pickle.

    ``workers`` photos are decoded at a time. With ``slow`` above 0 none of them is kept waiting by
    a difficult one: a photo that takes longer than half a second of a processor makes way for
    others and goes on beside them at a lower priority. At most ``slow`` do so at a time; more of
    them are stopped and wait for their turn, in which they begin anew. So ``workers + slow``
    processes live, and each takes ``budget.most_bytes`` at most, where the system limits the
    memory of a process (Linux).

    ``changed`` is called, in any thread, whenever another photo may be submitted.
    """

    def __init__(
        self,
        work: Callable[..., Any],
        budget: DecodingBudget,
        *,
        workers: int = DECODERS,
        slow: int = 0,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._work, self._budget, self._changed = work, budget, changed
        self._places = {False: workers, True: slow}  # by ``is_slow``
        self._waiting = {False: Turns(), True: Turns()}
        self._busy = {False: 0, True: 0}
        self._state = threading.Condition()
        self._closed = False
        self._keepers = [
            threading.Thread(target=self._keep_process, name="crossview-decoder", daemon=True)
            for _ in range(workers + slow)
        ]
        for keeper in self._keepers:
            keeper.start()
        # A process that ignores SIGTERM must be gone before Python waits for it.
        atexit.register(self.close)

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def free(self) -> int:
        """How many more photos would be begun at once."""
        return self._places[False] - self._busy[False] - len(self._waiting[False])

    @property
    def slow(self) -> int:
        """Difficult photos that are decoded, or wait for their turn."""
        return self._busy[True] + len(self._waiting[True])

    def submit(self, *arguments: Any, name: str, owner: Hashable = None) -> Future[Any]:
        """``work(*arguments)`` of a photo called ``name``; photos of several owners take turns.

        Its errors are those of ``work``, and :class:`BadImage` if it takes too long, needs too much
        memory, or ends its process. Cancelling it works until it is done.
        """
        job = _Job(arguments, name, owner)
        with self._state:
            if self._closed:
                raise CrossviewError("The decoders are closed.")
            self._waiting[False].add(owner, job)
            self._state.notify()
        return job.result

    def close(self) -> None:
        """End all processes at once; photos that are not done are cancelled."""
        atexit.unregister(self.close)
        with self._state:
            self._closed = True
            dropped = [line.take() for line in self._waiting.values() for _ in range(len(line))]
            self._state.notify_all()
        for job in dropped:
            job.result.cancel()
        for keeper in self._keepers:
            keeper.join()

    # Each thread keeps one process.

    def _keep_process(self) -> None:
        process: _Process | None = None
        while True:
            try:
                process = process or _Process(self._work, self._budget, lambda: self._closed)
            except CrossviewError as problem:  # no memory, say; the next photo tries again
                if (job := self._take()) is None:
                    return
                self._end(job, problem)
                continue
            if (job := self._take()) is None:
                process.kill()
                return
            try:
                outcome = self._follow(process, job)
            except (EOFError, OSError):
                outcome = BadImage(
                    f"{job.name}: broke the program that decodes it ({process.describe_end()}); it "
                    "is damaged, or made to do so."
                )
            except Exception as problem:  # such as arguments that cannot be pickled
                outcome = problem
            if outcome is _AGAIN or isinstance(outcome, _Stopped) or process.has_ended:
                process.kill()
                process = None
            self._end(job, outcome)

    def _take(self) -> _Job | None:
        """The next photo; None once there are to be no more."""
        with self._state:
            while not self._closed:
                for is_slow in (True, False):
                    if self._waiting[is_slow] and self._busy[is_slow] < self._places[is_slow]:
                        self._busy[is_slow] += 1
                        job: _Job = self._waiting[is_slow].take()
                        return job
                self._state.wait()
        return None

    def _end(self, job: _Job, outcome: object) -> None:
        """Give the place free, and the photo its outcome, or its turn among the slow ones."""
        with self._state:
            self._busy[job.is_slow] -= 1
            if outcome is _AGAIN:
                job.is_slow = True
                self._waiting[True].add(job.owner, job)
            self._state.notify_all()
        if isinstance(outcome, _Stopped):
            outcome = outcome.reason
        if outcome is not _AGAIN:
            job.settle(outcome)
        self._changed()

    def _turn_slow(self, job: _Job) -> bool:
        """Whether a photo may go on beside the others, as a slow one."""
        with self._state:
            if self._waiting[True] or self._busy[True] >= self._places[True]:
                return False
            self._busy[False] -= 1
            self._busy[True] += 1
            job.is_slow = True
            self._state.notify_all()
        self._changed()
        return True

    def _follow(self, process: _Process, job: _Job) -> object:
        """What came of the photo; ``_AGAIN``: it must wait for its turn among the slow ones."""
        if job.result.cancelled():
            return _Dropped()
        process.begin(job.arguments)
        if job.is_slow:
            process.make_way()
        while not process.wait(_LOOK_S):
            if job.result.cancelled() or self._closed:
                job.result.cancel()
                return _Stopped(_Dropped())
            spent_s, clock_s = process.measure_time()
            if self._places[True] and not job.is_slow and spent_s > _QUICK_S:
                if not self._turn_slow(job):
                    return _AGAIN
                process.make_way()
            if spent_s > self._budget.deadline_s or clock_s > self._budget.most_s:
                return _Stopped(
                    BadImage(
                        f"{job.name}: takes longer than {self._budget.deadline_s:g} s to decode.\n"
                        "Save a smaller copy of it, or an ordinary JPEG."
                    )
                )
        outcome = process.receive()
        return _Stopped(outcome) if job.is_slow else outcome  # its process has made way for good


@dataclass(frozen=True)
class _Stopped:
    """An outcome whose process must be replaced."""

    reason: object


class _Dropped(CrossviewError):
    """Nobody wants the photo any more."""


_AGAIN = object()
_LOADED = ("cv2", "simplejpeg", "PIL.Image", __name__)
_STARTING = threading.Lock()  # multiprocessing counts its children without one


class _Process:
    """A process that decodes, as its keeper sees it."""

    def __init__(
        self, work: Callable[..., Any], budget: DecodingBudget, is_closed: Callable[[], bool]
    ) -> None:
        self._began_at = 0.0  # of the photo
        self._cpu_s: float | None = None  # until then
        context = _choose_start(work)
        self._line, theirs = context.Pipe()
        self._process = context.Process(
            target=_decode_on,
            args=(theirs, work, budget),
            name="crossview-decoder",
            daemon=True,
        )
        try:
            with _STARTING:
                self._process.start()
            theirs.close()
            end = time.monotonic() + _START_S
            while not self._line.poll(_LOOK_S):
                if is_closed() or time.monotonic() > end:
                    raise TimeoutError
            self._line.recv_bytes()  # it is ready
        except (OSError, EOFError) as problem:
            theirs.close()
            self.kill()
            raise CrossviewError(
                f"A process that decodes photos does not start ({self.describe_end()}).\n"
                "The machine may be out of memory."
            ) from problem

    @property
    def has_ended(self) -> bool:
        with _STARTING:
            return not self._process.is_alive()

    def begin(self, arguments: tuple[Any, ...]) -> None:
        _send(self._line, arguments)
        self._began_at, self._cpu_s = time.monotonic(), self._read_cpu_s()

    def measure_time(self) -> tuple[float, float]:
        """Seconds that the photo has taken: of processors, and on the clock.

        Where the system does not tell (not Linux), the clock is all.
        """
        clock_s = time.monotonic() - self._began_at
        now_s = self._read_cpu_s()
        if now_s is None or self._cpu_s is None:
            return clock_s, clock_s
        return now_s - self._cpu_s, clock_s

    def _read_cpu_s(self) -> float | None:
        try:
            text = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii")
            in_user, in_system = text.rpartition(")")[2].split()[11:13]
        except (OSError, ValueError):
            return None
        return (int(in_user) + int(in_system)) / os.sysconf("SC_CLK_TCK")

    def wait(self, seconds: float) -> bool:
        """Whether there is a result, or an end, within so many seconds."""
        return bool(self._line.poll(seconds))

    def receive(self) -> object:
        return _receive(self._line)

    def make_way(self) -> None:
        """Lower the priority of the process, where there are some; it cannot be raised again."""
        if hasattr(os, "setpriority"):
            usual = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, self._process.pid or 0, min(19, usual + _LOWER))

    def describe_end(self) -> str:
        code = None
        with _STARTING:
            if self._process.pid is not None:
                self._process.join(1.0)
                code = self._process.exitcode
        if code is not None and code < 0:
            return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}"

    def kill(self) -> None:
        self._line.close()
        with _STARTING:
            if self._process.pid is not None:
                self._process.kill()
                self._process.join()


def _choose_start(work: Callable[..., Any]) -> Any:
    """How processes are started: on Linux as copies of one that has loaded what they need.

    That takes a twentieth of the time, and most of their memory is shared. It has no threads but
    those of libraries that know of copies (OpenBLAS), and is started anew should it end.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__module__, *_LOADED])
    return context


# In the process.


def _decode_on(line: Connection, work: Callable[..., Any], budget: DecodingBudget) -> None:
    """Decode what comes over ``line`` until it is closed at the other end."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to a whole group by shells and systemd
        signal.signal(number, signal.SIG_IGN)  # the other end decides when to stop
    _load_decoders()
    _limit_memory(budget.most_bytes)
    with suppress(OSError):  # the other end was killed meanwhile: the loop ends at once
        line.send_bytes(b"ready")
    while True:
        try:
            arguments = _receive(line)
        except (EOFError, OSError):
            return
        _set_alarm(budget.most_s + _KILLED_BY_ITSELF_S)
        try:
            outcome = work(*arguments)
        except MemoryError:
            outcome = BadImage(_describe_memory(budget))
        except Exception as problem:
            outcome = _make_portable(problem, budget)
        try:
            _send(line, outcome)
        except OSError:
            return
        _set_alarm(0.0)
        del arguments, outcome


def _load_decoders() -> None:
    """Load what would count as memory of the first photo."""
    import cv2
    import simplejpeg  # noqa: F401
    from PIL import Image

    cv2.setNumThreads(1)
    Image.init()


def _limit_memory(more_bytes: int) -> None:
    """Let the process take only so much more than it has; counted is what it may write to."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    except (ImportError, OSError, IndexError, ValueError):  # not Linux
        return
    most = pages * resource.getpagesize() + more_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _set_alarm(seconds: float) -> None:
    """End this process after so many seconds, even in the midst of a decoder; 0: never."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _make_portable(problem: Exception, budget: DecodingBudget) -> Exception:
    """A problem as it can be sent: errors of OpenCV, for one, cannot."""
    if type(problem).__module__.startswith("cv2") and getattr(problem, "code", 0) == -4:
        return BadImage(_describe_memory(budget))
    try:
        pickle.loads(pickle.dumps(problem))  # noqa: S301 - our own
    except Exception:
        problem = RuntimeError(f"{type(problem).__name__}: {problem}")
    if not isinstance(problem, CrossviewError):
        problem.add_note(traceback.format_exc())
    return problem


def _describe_memory(budget: DecodingBudget) -> str:
    return (
        f"needs more than the {budget.most_bytes / 1e6:.0f} MB of memory that a photo may take.\n"
        "Save a smaller copy of it, or an ordinary JPEG."
    )


def _send(line: Connection, message: object) -> None:
    """Send a message; the buffers of its arrays follow it as they are."""
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    line.send_bytes(len(buffers).to_bytes(4, "little") + text)
    for buffer in buffers:
        line.send_bytes(buffer.raw())


def _receive(line: Connection) -> Any:
    """The next message; its arrays cannot be written to."""
    text = line.recv_bytes()
    buffers = [line.recv_bytes() for _ in range(int.from_bytes(text[:4], "little"))]
    return pickle.loads(memoryview(text)[4:], buffers=buffers)  # noqa: S301 - of our own process
