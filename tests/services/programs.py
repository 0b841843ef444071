"""Programs that run beside the tests: started on loopback, waited for, and ended by their id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx

LOOPBACK = "127.0.0.1"
LONGEST_S = float(os.environ.get("CROSSVIEW_SERVICES_WAIT_S", "120"))
"""The longest that anything is waited for: four times what the slowest takes on two cores."""


class Program:
    """A program with a log. It ends with the tests, also if these are killed (Linux alone).

    ``user``: whose it is, if the tests are run by root. ``last`` is the signal that ends it well.
    Start programs from the main thread: the kernel ends them with the thread that started them.
    """

    running: list[Program] = []  # noqa: RUF012 - all that were started and not stopped

    def __init__(
        self,
        name: str,
        words: Sequence[str | Path],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        last: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name, self.last = name, last
        self.log = folder / f"{name}.log"
        # Not by preexec_fn, which may hang where threads run: the tests have some.
        owner = ["--reuid", user, "--regid", user, "--clear-groups"] if user else []
        given = ["setpriv", "--pdeathsig", "KILL", *owner, "--", *map(str, words)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                given, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        Program.running.append(self)

    def wait_until(self, is_true: Callable[[], object], what: str) -> None:
        """Until ``what`` is true; an error, with the log, if the program ends or it takes long."""
        wait_until(is_true, f"{self.name}: {what}", self)

    def tell(self, lines: int = 40) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def kill(self) -> None:
        """SIGKILL for the program and all that it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(LONGEST_S)
        Program.running.remove(self)

    def stop(self) -> None:
        """Ask it to end; what has not ended after ten seconds is killed."""
        if self not in Program.running:
            return
        Program.running.remove(self)
        if self.process.poll() is None:
            self.process.send_signal(self.last)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10.0)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(LONGEST_S)


def wait_until(is_true: Callable[[], object], what: str, program: Program | None = None) -> None:
    """Ask every tenth of a second; an error after :data:`LONGEST_S`."""
    end = time.monotonic() + LONGEST_S
    while not is_true():
        if program and program.process.poll() is not None:
            status = program.process.returncode
            raise RuntimeError(f"{what}: it ended with {status}\n{program.tell()}")
        if time.monotonic() > end:
            log = program.tell() if program else ""
            raise RuntimeError(f"{what}: not within {LONGEST_S:g} s\n{log}")
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Whether a server answers, with whatever status below 500."""
    try:
        return httpx.get(url, timeout=30.0, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False


def find_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def run(words: Sequence[str | Path], **how) -> str:
    """What a short program says; an error with all of it where it fails."""
    done = subprocess.run(
        [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=LONGEST_S, check=False, **how,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}\n{done.stdout[-8000:]}")
    return done.stdout
