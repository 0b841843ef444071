"""Reads damaged inputs in forked workers that may hang, swell or die without harm.

A worker notes the number of an input before it reads it. It is ended by the kernel when one input
takes more processor time than its kind may, and cannot map more memory than its kind may, so that
a hang, a crash of a library or a bomb is a finding about one input, and the next worker goes on.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tests.fuzz.kinds import KINDS, Kind
from tests.fuzz.mutators import damage

from crossview.errors import CrossviewError

_made: dict[Callable[[Path], None], tempfile.TemporaryDirectory[str]] = {}
LONGEST_S = 300.0  # of waiting for a worker that does nothing, on a busy machine
ROOM_BYTES = 512 << 20  # of addresses that a worker may map beyond a kind's memory


@dataclass
class Tally:
    """What came of the inputs of one kind."""

    kind: str
    inputs: int = 0
    read: int = 0
    refused: int = 0
    silent: int = 0
    hangs: int = 0
    memory_bytes: int = 0
    slowest_s: float = 0.0
    faults: dict[str, list[int]] = field(default_factory=dict)  # what went wrong: which inputs

    @property
    def ok(self) -> bool:
        return not self.faults

    def blame(self, what: str, number: int) -> None:
        self.faults.setdefault(what, []).append(number)


def fuzz(name: str, inputs: int, *, seed: int = 0, first: int = 0, seconds: float = 1e9) -> Tally:
    """Read ``inputs`` damaged files of a kind, from number ``first`` on, or for so long."""
    tally = Tally(name)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "whole"
        shutil.copytree(_make_once(KINDS[name].make), base)
        number, end = first, time.monotonic() + seconds
        while number < first + inputs and time.monotonic() < end:
            number = _run_worker(tally, base, seed, number, first + inputs, end)
    return tally


def _make_once(make: Callable[[Path], None]) -> Path:
    """The folder of whole files that several kinds may begin with; it goes with this process."""
    if make not in _made:
        holder = tempfile.TemporaryDirectory()
        _in_a_fork(lambda: make(Path(holder.name)))
        _made[make] = holder
    return Path(_made[make].name)


def make_input(base: Path, folder: Path, kind: Kind, name: str, seed: int, number: int) -> str:
    """Damage one file of ``folder``, a copy of ``base``; returns its name."""
    draw = random.Random(f"{name} {seed} {number}")
    chosen = draw.choice(list_damaged(base, kind))
    (folder / chosen).write_bytes(damage(chosen, (base / chosen).read_bytes(), draw))
    return chosen


def list_damaged(base: Path, kind: Kind) -> list[str]:
    """The names of the files that a kind damages."""
    names = (str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())
    return sorted(name for name in names if any(fnmatch(name, p) for p in kind.damaged))


def _run_worker(tally: Tally, base: Path, seed: int, number: int, stop: int, end: float) -> int:
    """Let a worker read inputs until it ends or dies; returns the number of the next input."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        status = 1
        try:
            _work(tally.kind, base, seed, range(number, stop), end, writer)
            status = 0
        except BaseException:
            text = json.dumps({"failure": traceback.format_exc()})
            os.write(writer, text.encode() + b"\n")
        finally:
            os._exit(status)
    os.close(writer)
    reading = None
    failure = ""
    for line in _lines(reader, child):
        failure = line.get("failure", failure)
        if failure:
            continue
        if "begin" in line:
            reading = line["begin"]
            continue
        _count(tally, line)
        reading = None
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if reading is None:
        if code:
            raise RuntimeError(f"a worker of {tally.kind} ended with {code}\n{failure}")
        return int(line["number"]) + 1
    tally.inputs += 1
    if code in {-signal.SIGPROF, -signal.SIGKILL}:
        tally.hangs += 1
        tally.blame("no end in time", reading)
    else:
        name = signal.Signals(-code).name if code < 0 else f"status {code}"
        tally.blame(f"the process ended: {name}", reading)
    return int(reading) + 1


def _lines(reader: int, child: int) -> Iterator[dict[str, Any]]:
    import select

    rest = b""
    with os.fdopen(reader, "rb", buffering=0) as stream:
        while True:
            if not select.select([stream], [], [], LONGEST_S)[0]:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            data = stream.read(65536)
            if not data:
                return
            *whole, rest = (rest + data).split(b"\n")
            yield from map(json.loads, whole)


def _count(tally: Tally, line: dict[str, Any]) -> None:
    tally.inputs += 1
    tally.slowest_s = max(tally.slowest_s, line["seconds"])
    tally.memory_bytes = max(tally.memory_bytes, line["memory"])
    what = line["what"]
    tally.read += what in {"read", "another answer"}
    tally.refused += what == "refused"
    tally.silent += what == "another answer"
    if what not in {"read", "refused"}:
        tally.blame(what, line["number"])
    if line["memory"] > KINDS[tally.kind].memory_bytes:
        tally.blame("more memory than it may take", line["number"])


def _work(name: str, base: Path, seed: int, numbers: range, end: float, writer: int) -> None:
    kind = KINDS[name]
    os.environ["XDG_CACHE_HOME"] = str(base.parent / "cache")
    folder = base.parent / "work"
    _renew(base, folder)
    whole = kind.read(folder, list_damaged(base, kind)[0])  # what is whole must be read
    answer = whole if kind.same else None
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    most = _status("VmSize") + kind.memory_bytes + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    for number in numbers:
        if time.monotonic() > end and number > numbers.start:
            return
        _renew(base, folder)
        chosen = make_input(base, folder, kind, name, seed, number)
        os.write(writer, json.dumps({"begin": number}).encode() + b"\n")
        before = _begin_measuring()
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, kind.seconds)
        what = _read(kind, folder, chosen, answer)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        facts = {
            "number": number,
            "what": what,
            "seconds": round(time.process_time() - started, 3),
            "memory": max(0, _status("VmHWM") - before),
        }
        os.write(writer, json.dumps(facts).encode() + b"\n")


def _read(kind: Kind, folder: Path, chosen: str, answer: Any) -> str:
    """What came of an input, in words; one line per kind of fault."""
    try:
        now = kind.read(folder, chosen)
    except CrossviewError:
        return "refused"
    except BaseException as problem:
        frames = traceback.extract_tb(problem.__traceback__)
        own = [f for f in frames if "/crossview/" in f.filename] or frames[-1:]
        place = f"{Path(own[-1].filename).name}:{own[-1].name}"
        return f"{type(problem).__name__} in {place}: {str(problem)[:80]!a}"
    if kind.same and now != answer:
        return "another answer"
    return "read"


def _renew(base: Path, folder: Path) -> None:
    """``folder`` as ``base``, with other files, so that nothing is remembered of the last input."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)


def _status(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _begin_measuring() -> int:
    """Memory now; the highest is counted anew from here."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def _in_a_fork(work: Any) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            log = os.open(os.devnull, os.O_WRONLY)
            os.dup2(log, 1)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the whole files could not be made")


def summarize(tallies: list[Tally]) -> str:
    """A table, and below it what went wrong."""
    lines = [
        "| kind | inputs | read | refused | tracebacks | hangs | silent changes | slowest, s | "
        "memory peak, MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    total: Counter[str] = Counter()
    for t in tallies:
        wrong = sum(map(len, t.faults.values())) - t.hangs - t.silent
        row = (t.inputs, t.read, t.refused, wrong, t.hangs, t.silent)
        total.update(dict(zip("abcdef", row, strict=True)))
        cells = [t.kind, *map(str, row), f"{t.slowest_s:.1f}", f"{t.memory_bytes / 1e6:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    slowest = max((t.slowest_s for t in tallies), default=0.0)
    memory = max((t.memory_bytes for t in tallies), default=0)
    cells = ["all", *(str(total[c]) for c in "abcdef"), f"{slowest:.1f}", f"{memory / 1e6:.0f}"]
    lines.append(f"| {' | '.join(cells)} |")
    for t in tallies:
        for what, numbers in sorted(t.faults.items(), key=lambda item: -len(item[1])):
            lines.append(f"{t.kind}: {what}: {len(numbers)} inputs, such as {numbers[:5]}")
    return "\n".join(lines)
