"""Commands that are killed at the n-th change of the file system, each in a fork of its own.

``python -m tests.crashes.trials`` imports everything once, then makes a fork for every line of JSON
that it reads and answers with a line: the new interpreter, which takes longest, is paid once.

A change is what Python is about to do to a path below the working folder: create or open for
writing, rename, exchange, remove, make or remove a folder, truncate, link, set a mode or time.
Python tells all of these to audit hooks, so nothing is patched and no writer can be forgotten.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 240.0  # a trial that takes longer hangs
ORPHANS_S = 10.0
_PR_SET_PDEATHSIG = 1

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS = {  # how many of the first arguments are paths, and where their folders' descriptors are
    "os.rename": (2, (2, 3)),
    "os.remove": (1, (1,)),
    "os.mkdir": (1, (2,)),
    "os.rmdir": (1, (1,)),
    "os.truncate": (1, ()),
    "os.link": (2, (2, 3)),
    "os.symlink": (2, (-1, 2)),
    "os.chmod": (1, (2,)),
    "os.utime": (1, (3,)),
}


@dataclass(frozen=True)
class Ended:
    """How a trial ended: its status (negative: the signal), its changes, and the last of them.

    ``opened`` is the file whose content was being written at the kill, and its size before.
    """

    status: int
    changes: int
    seconds: float
    said: str
    opened: tuple[str, int] | None = None

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Counter:
    """The audit hook: counts changes below a folder and kills the process before the n-th."""

    def __init__(self, folder: str, fatal: int, channel: int) -> None:
        self.folder = folder + os.sep
        self.fatal = fatal
        self.channel = channel
        self.count = 0
        self.opened: tuple[str, int] | None = None
        self.process = os.getpid()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & _WRITES or isinstance(path, int):
                return
            if place := self._below(path):
                self._step()
                self.opened = (place, _size(place))
        elif event in _PATHS:
            paths, folders = _PATHS[event]
            folders_of = [arguments[i] if 0 <= i < len(arguments) else -1 for i in folders]
            folders_of += [-1] * (paths - len(folders_of))
            if any(map(self._below, arguments[:paths], folders_of)):
                self._step()
                self.opened = None
        elif event == "ctypes.dlsym" and arguments[1] in {"renameat2", "renamex_np"}:
            self._step()
            self.opened = None

    def finish(self, status: int) -> None:
        """At the end of the command: die here if that is the instant, else say how it went."""
        if self.fatal == self.count + 1:
            self._die()
        self._tell(status)

    def _step(self) -> None:
        if os.getpid() != self.process:
            return
        self.count += 1
        if self.count == self.fatal:
            self._die()

    def _die(self) -> None:
        self._tell(-signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # another thread may run until the signal comes

    def _tell(self, status: int) -> None:
        line = json.dumps({"status": status, "changes": self.count, "opened": self.opened})
        os.write(self.channel, line.encode())

    def _below(self, path: Any, folder: int = -1) -> str:
        """The whole path of one below the folder, else nothing."""
        if isinstance(path, int) or path is None:
            return ""
        text = os.fsdecode(path)
        if not os.path.isabs(text):
            base = os.getcwd() if folder is None or folder < 0 else f"/proc/self/fd/{folder}"
            text = os.path.join(os.path.realpath(base), text)
        text = os.path.normpath(text)
        return text if text.startswith(self.folder) and "/.tmp/pymp-" not in text else ""


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


class Server:
    """Runs functions of a module in forks of a process that has imported it."""

    def __init__(self, module: str = "tests.crashes.verbs") -> None:
        places = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, module],
            cwd=ROOT,
            env=os.environ | one_thread | {"PYTHONPATH": os.pathsep.join(places)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it has no child now, and nothing to tidy up
        self._process.wait()

    def run(self, *jobs: dict[str, Any]) -> list[Ended]:
        """Run jobs at the same time: ``function``, ``folder``, and ``fatal`` or ``after_s``.

        ``fatal``: the change before which it is killed, one more than all: at its very end.
        ``after_s``: killed so many seconds after its start.
        """
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the server of trials has ended")
        return [
            Ended(**(one | {"opened": one["opened"] and tuple(one["opened"])}))
            for one in json.loads(answer)
        ]


def serve(module: str) -> None:
    """Answer every line of stdin; stdout is for the answers alone."""
    import importlib

    functions = importlib.import_module(module)
    functions.import_everything()
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        running = [_start(functions, job) for job in json.loads(line)]
        channel.write(json.dumps([_wait(*one) for one in running]) + "\n")
        channel.flush()


def _start(functions: Any, job: dict[str, Any]) -> tuple[int, int, str, float, dict[str, Any]]:
    folder = os.path.realpath(job["folder"])
    beside = f"{folder}-outside-{time.monotonic_ns()}"
    os.mkdir(beside)
    Path(beside, "said").touch()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.close(reader)
            os.setsid()
            status = _act(functions, job, folder, beside, writer)
        except BaseException:  # a fork must not return into the server
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writer)
    return child, reader, beside, time.monotonic(), job


def _act(functions: Any, job: dict[str, Any], folder: str, beside: str, writer: int) -> int:
    log = os.open(f"{beside}/said", os.O_WRONLY)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target in (1, 2):
        os.dup2(log, target)
    os.dup2(nothing, 0)
    os.chdir(folder)
    os.environ |= {
        "XDG_CACHE_HOME": f"{folder}/.cache",
        "TMPDIR": f"{folder}/.tmp",
        "CROSSVIEW_CONFIG": os.devnull,
    }
    os.makedirs(f"{folder}/.tmp", exist_ok=True)
    import tempfile

    tempfile.tempdir = None
    _fork_workers()
    counter = Counter(folder, job.get("fatal", 0), writer)
    sys.addaudithook(counter)
    status = int(getattr(functions, job["function"])(*job.get("arguments", ())) or 0)
    counter.finish(status)
    return status


def _fork_workers(find: Callable[..., Any] = multiprocessing.get_context) -> None:
    """Have the workers of this trial begin with everything imported: that takes longest.

    They hold the pipe that they wait at open, and would not see that the command was killed: the
    system (Linux) ends them with it, in the middle of what they write.
    """
    multiprocessing.get_context = lambda method=None: find("fork" if method == "spawn" else method)
    end = ctypes.CDLL(None).prctl
    os.register_at_fork(after_in_child=lambda: end(_PR_SET_PDEATHSIG, signal.SIGKILL))


def _wait(
    child: int, reader: int, beside: str, start: float, job: dict[str, Any]
) -> dict[str, Any]:
    limit = job.get("after_s") or LONGEST_S
    timer = threading.Timer(max(0.0, start + limit - time.monotonic()), _kill_all, (child,))
    timer.start()
    _, code = os.waitpid(child, 0)
    seconds = time.monotonic() - start
    timer.cancel()
    _end_orphans(child)
    with os.fdopen(reader) as stream:
        told = json.loads(stream.read() or "{}")
    said = Path(beside, "said").read_text(errors="replace")
    Path(beside, "said").unlink()
    os.rmdir(beside)
    status = os.waitstatus_to_exitcode(code)
    if status == -signal.SIGKILL and not told and not job.get("after_s"):
        said += f"\nno end within {LONGEST_S:g} s"
    return {"changes": 0, "opened": None} | told | {
        "status": status,
        "seconds": seconds,
        "said": said,
    }  # fmt: skip


def _end_orphans(child: int) -> None:
    """Its own workers see that it is gone; those that do not within seconds are killed too."""
    end = time.monotonic() + ORPHANS_S
    while time.monotonic() < end:
        try:
            os.killpg(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    _kill(child)


def _kill_all(child: int) -> None:
    """A trial and its workers; at the very first it is no group of its own yet."""
    _kill(child)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    serve(sys.argv[1])
