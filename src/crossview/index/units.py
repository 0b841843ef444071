"""Units of an index that is being built: ranges of windows that any number of processes share.

A unit becomes one segment. Which windows it holds follows from their number and from the options
alone, so that whoever embeds it, and in whichever order, the index is the same. While an index is
built, ``progress.json`` in its folder is the order (what is to be embedded, of what, with which
model) and the folder ``units`` beside it holds, ID being the order's:

``unit-ID-00012``         a finished unit: the four files of its segment, and ``unit.json``
``unit-ID-00012.lease``   who is embedding it now

Two steps of the file system carry this, and both happen once or not at all, also on NFS: a lease
is a *link*, which fails where there is one; a finished unit is a folder that gets its *name*, which
fails where there is one. So a unit is there whole, vectors and "done" at the same instant, or not
at all, and of two that embed the same one the second is thrown away. Between lease and work one
looks again whether the unit was finished meanwhile.

No clock is compared with another machine's. Who holds a lease touches it every few seconds. Who
wants it watches it with a clock of its own, and takes it over when it has not changed for
:data:`LEASE_S`: all that is assumed is that seconds are about as long everywhere, and that a file
server shows changes to others within two minutes (NFS caches facts of files for one). A holder on
the same machine whose process is gone is noticed at once. A worker that only slept finds at its end
that somebody else was faster, which costs time and nothing else.

:class:`UnitQueue` is all that the work needs of it; a database can take the place of the folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from crossview.errors import BadIndex, CannotWrite
from crossview.files import (
    atomic_write,
    explain_failure,
    is_half_written,
    remove_whole,
    sweep,
    writing_folder,
)
from crossview.imagery.provenance import SourceOptions
from crossview.imagery.windows import Tiling
from crossview.index.index_options import IndexOptions, compute_segment_size
from crossview.index.store import (
    SEGMENT_PARTS,
    VECTORS,
    FileFacts,
    KeptSegment,
    Manifest,
    Segment,
    is_part_file,
    read_manifest,
)
from crossview.schema import (
    AtLeastOne,
    Count,
    Sha256,
    Text,
    check,
    compute_checksum,
    read_bytes,
    read_object,
)

LOG = logging.getLogger("crossview.index")
PROGRESS_NAME = "progress.json"  # of an index that is being built: the order
UNITS_NAME = "units"
SEEN_NAME = "seen.json"  # of an index: what its segments were made from
LEASE_S = 150.0  # a lease that does not change for so long is nobody's
BEAT_S = 15.0  # how often its holder touches it
LOOKED_SHARE = 0.02  # of the time, at most, goes into looking at the folder
_RECORD = "unit.json"
_NAME = re.compile(r"unit-(?P<order>[0-9a-f]{8})-(?P<number>\d{5,9})(?P<lease>\.lease)?")


@dataclass(frozen=True, slots=True)
class Unit:
    """Windows [start, stop) of those that are planned."""

    number: int
    start: int
    stop: int

    @property
    def windows(self) -> int:
        """How many are planned; those without data are only found when read."""
        return self.stop - self.start


class Made(Protocol):
    """What was made of a unit: an ``Embedded``, or a ``KeptSegment``."""

    @property
    def windows(self) -> int:
        """How many had data."""

    @property
    def seen(self) -> str:
        """A digest of what the model saw."""

    def write(self, folder: Path, name: str) -> Segment:
        """Write it as a segment."""


class UnitQueue(Protocol):
    """Units that wait for somebody to embed them."""

    def claim(self) -> Unit | None:
        """A unit that is ours from now on; None while all are finished or others'."""

    def finish(self, unit: Unit, made: Made) -> bool:
        """Store what was made, and that it is done, at one instant; False: another was faster."""

    def count_done(self) -> int:
        """Windows of all finished units, whoever finished them."""

    @property
    def windows(self) -> int:
        """Windows of all units."""

    def is_complete(self) -> bool:
        """Whether every unit is finished."""

    def keep_claims(self) -> AbstractContextManager[None]:
        """While this lasts, what is claimed stays ours; what is not finished at its end, is not."""


def cut_units(windows: int, options: IndexOptions) -> tuple[Unit, ...]:
    """The units of so many planned windows: small ones first, so that early work is soon safe."""
    units, start = list[Unit](), 0
    while start < windows:
        stop = min(windows, start + compute_segment_size(options, len(units)))
        units.append(Unit(len(units), start, stop))
        start = stop
    return tuple(units)


def count_units(windows: int, options: IndexOptions) -> int:
    """How many :func:`cut_units` would give, of any number of windows."""
    count, start = 0, 0
    while start < windows and (size := compute_segment_size(options, count)):
        if size == options.segment_windows:
            return count + -(-(windows - start) // size)
        count, start = count + 1, start + size
    return count


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be embedded: enough for another process, perhaps elsewhere, to do it alike.

    ``settings``: all that changes what is written; who goes on, or helps, must have the same. The
    rest says how to open it again.
    """

    id: Text
    settings: dict[str, Any]
    windows: Count
    version: Text
    sources: tuple[Text, ...]
    source_options: SourceOptions
    model: Text
    tiling: Tiling
    batch: AtLeastOne
    segment_windows: AtLeastOne
    runtime: Text
    precision: Text
    replaces: Text = ""  # an index, of which segments are kept that would be made again

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """All units."""
        options = IndexOptions(batch=self.batch, segment_windows=self.segment_windows)
        return cut_units(self.windows, options)


def read_order(folder: Path) -> Order | None:
    """The order of an index that is being built in a folder; None where there is none.

    :class:`BadIndex` for a damaged one, or one of another version of crossview.
    """
    path = folder / PROGRESS_NAME
    try:
        values = read_object(path)
        if "next_window" in values:
            raise BadIndex(f"{folder} was begun by an earlier version of crossview.\n{_ANEW}")
        if values.pop("checksum", None) != compute_checksum(values):
            raise ValueError("it has changed since crossview wrote it")
        return check(Order, values)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as problem:
        raise BadIndex(f"{path} is damaged ({problem}).\n{_ANEW}") from problem


_ANEW = "Begin again with: crossview index ... --restart"


def write_order(folder: Path, order: Order) -> None:
    """Have the folder's units embedded as ``order`` says."""
    (folder / UNITS_NAME).mkdir(exist_ok=True)
    values = json.loads(json.dumps(asdict(order)))
    values = {**values, "checksum": compute_checksum(values)}
    atomic_write(folder / PROGRESS_NAME, json.dumps(values, indent=1) + "\n")


def make_order_id() -> str:
    """A name that no other order has, so that workers of an earlier one cannot disturb it."""
    return secrets.token_hex(4)


@dataclass(frozen=True)
class _UnitRecord:
    """``unit.json``: how many windows had data, and their files (none where none had)."""

    windows: Count
    seen: Sha256
    files: dict[str, FileFacts]


class SharedUnits:
    """Units in a folder that processes share, perhaps of several machines; a :class:`UnitQueue`.

    One thread may claim while another one finishes.
    """

    def __init__(self, folder: Path, order: Order) -> None:
        self.folder, self.order = folder / UNITS_NAME, order
        self._done: set[int] = set()
        self._leased: set[int] = set()  # by others, when we looked last
        self._held: dict[int, Path] = {}
        self._watched: dict[int, tuple[tuple[int, ...], float]] = {}
        self._last = -1  # the unit that we claimed last
        self._lock = threading.RLock()
        self._looked_s, self._look_again_s = 0.0, 0.0
        self.look()

    @property
    def windows(self) -> int:
        """See :class:`UnitQueue`."""
        return self.order.windows

    def is_complete(self) -> bool:
        """See :class:`UnitQueue`."""
        return len(self._done) == len(self.order.units)

    def is_untouched(self) -> bool:
        """Whether nothing is finished, and nobody else is at work."""
        self.look()
        return not self._done and not self._leased

    def count_done(self) -> int:
        """See :class:`UnitQueue`."""
        if time.monotonic() >= self._look_again_s:
            self.look()
        with self._lock:
            return sum(self.order.units[number].windows for number in self._done)

    def look(self) -> None:
        """See what others have finished, and what they hold."""
        begun = time.monotonic()
        try:
            names = os.listdir(self.folder)
        except OSError as problem:
            raise CannotWrite(
                f"{self.folder.parent} is gone: the index is complete, or was begun anew.\n"
                "Run the command again if there is more to do."
            ) from problem
        found = [match for name in names if (match := _NAME.fullmatch(name))]
        found = [match for match in found if match["order"] == self.order.id]
        with self._lock:
            for match in found:
                if not match["lease"] and int(match["number"]) < len(self.order.units):
                    self._done.add(int(match["number"]))
            self._leased = {int(match["number"]) for match in found if match["lease"]}
            self._leased -= self._done | self._held.keys()
            now = time.monotonic()
            self._look_again_s = now + max(0.5, (now - begun) / LOOKED_SHARE)

    def claim(self) -> Unit | None:
        """See :class:`UnitQueue`. One goes on where one is: so most pixels are read once."""
        with self._lock:
            follows = self._last + 1
            is_free = follows < len(self.order.units) and not self._is_known(follows)
            if is_free and self._lease(follows):
                return self._take(follows)
            self.look()
            for number in self._list_free():
                if self._lease(number):
                    return self._take(number)
            return None

    def _take(self, number: int) -> Unit:
        self._last = number
        return self.order.units[number]

    def _is_known(self, number: int) -> bool:
        return number in self._done or number in self._leased or number in self._held

    def _list_free(self) -> list[int]:
        """Units that nobody has, best first: those of the longest stretch, far from its owner.

        Who works on what lies before a stretch goes on into it, so we begin in its middle.
        """
        busy = {number for number in self._leased if not self._take_over(number)}
        taken = self._done | busy | self._held.keys()
        free = [unit.number for unit in self.order.units if unit.number not in taken]
        runs = list[list[int]]()
        for number in free:
            if runs and runs[-1][-1] == number - 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        if not runs:
            return []
        longest = max(runs, key=len)
        begin = longest[len(longest) // 2 if longest[0] - 1 in busy else 0]
        return sorted(free, key=lambda number: (number < begin, number))

    def _lease(self, number: int) -> bool:
        """Take the lease of a unit; False where another has it, or the unit is finished."""
        lease = self._locate(number, ".lease")
        with explain_failure(self.folder):
            if not _link(self._note, lease):
                return False
        if self._locate(number).exists():
            lease.unlink(missing_ok=True)
            self._done.add(number)
            return False
        self._held[number] = lease
        return True

    @property
    def _note(self) -> bytes:
        note = {"machine": _name_machine(), "pid": os.getpid(), "began": _read_start(os.getpid())}
        return json.dumps({**note, "host": platform.node()}).encode()

    def _take_over(self, number: int) -> bool:
        """Whether a lease is nobody's any more; it is removed then."""
        lease = self._locate(number, ".lease")
        try:
            mark, since = _mark(lease), time.monotonic()
        except OSError:
            return True
        seen = self._watched.get(number)
        if seen is None or seen[0] != mark:
            self._watched[number] = mark, since
            if not _is_of_the_dead(lease):
                return False
        elif since - seen[1] < LEASE_S:
            return False
        aside = lease.with_name(f".{secrets.token_hex(8)}.partial")
        try:
            os.rename(lease, aside)
        except OSError:
            return not lease.exists()
        if _mark(aside) != mark:  # another has taken it over before us: give it back
            with suppress(OSError):
                os.link(aside, lease)
        else:
            LOG.warning("Embedding unit %d again: its worker is gone.", number)
        aside.unlink(missing_ok=True)
        return not lease.exists()

    def finish(self, unit: Unit, made: Made) -> bool:
        """See :class:`UnitQueue`."""
        target = self._locate(unit.number)
        try:
            with writing_folder(target, once=True) as folder:
                files: dict[str, FileFacts] = {}
                if made.windows:
                    files = made.write(folder, _name_segment(unit.number)).files
                record = asdict(_UnitRecord(made.windows, made.seen, files))
                atomic_write(folder / _RECORD, json.dumps(record) + "\n")
        except (OSError, CannotWrite):
            if not target.exists():
                raise
            mine = False  # our lease was taken over, and the other one was faster
        else:
            mine = True
        with self._lock:
            self._done.add(unit.number)
        self._let_go(unit.number)
        return mine

    @contextmanager
    def keep_claims(self) -> Iterator[None]:
        """See :class:`UnitQueue`."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT_S):
                for lease in list(self._held.values()):
                    with suppress(OSError):
                        os.utime(lease)

        thread = threading.Thread(target=beat, name="crossview-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            for number in list(self._held):
                self._let_go(number)
            if self.is_complete():
                self._tidy()

    def _let_go(self, number: int) -> None:
        if (lease := self._held.pop(number, None)) is not None:
            with suppress(OSError):
                lease.unlink(missing_ok=True)

    def _tidy(self) -> None:
        """Remove what killed workers left, when nothing is to be done any more."""
        with suppress(OSError):
            sweep(self.folder)
            for path in list(self.folder.iterdir()):
                if (match := _NAME.fullmatch(path.name)) and match["lease"]:
                    path.unlink(missing_ok=True)

    def holds_windows(self) -> bool:
        """Whether any finished unit has a window with data."""
        return any(self._read_record(number).windows for number in sorted(self._done))

    def collect(self, target: Path, first: int) -> tuple[list[Segment], dict[str, str]]:
        """Move what was embedded into ``target``, as segments from number ``first`` on.

        Also gives what each of them was made from (``seen``), by name. May be called again where it
        was killed. Damage is a :class:`BadIndex`.
        """
        segments, seen = list[Segment](), dict[str, str]()
        for unit in self.order.units:
            record = self._read_record(unit.number)
            if record.windows:
                name, own = _name_segment(first + len(segments)), _name_segment(unit.number)
                files = {}
                for end in SEGMENT_PARTS:
                    made = self._locate(unit.number) / f"{own}.{end}"
                    if made.exists():  # else a run that was killed here has moved it
                        os.replace(made, target / f"{name}.{end}")
                    files[f"{name}.{end}"] = record.files[made.name]
                segments.append(Segment(name, record.windows, files))
                seen[name] = record.seen
        return segments, seen

    def _read_record(self, number: int) -> _UnitRecord:
        path = self._locate(number) / _RECORD
        try:
            record = check(_UnitRecord, read_object(path))
            wanted = {f"{_name_segment(number)}.{end}" for end in SEGMENT_PARTS}
            if {*record.files} != (wanted if record.windows else set()):
                raise ValueError("it names other files than it should")
        except (OSError, ValueError) as problem:
            raise BadIndex(f"{path} is damaged ({problem}).\n{_ANEW}") from problem
        return record

    def _locate(self, number: int, end: str = "") -> Path:
        return self.folder / f"unit-{self.order.id}-{number:05d}{end}"


def write_seen(folder: Path, manifest: Manifest, seen: Mapping[str, str]) -> None:
    """Keep beside an index, by segment, what it was made from: ``--replace`` looks there.

    A segment is known by its vectors too, so that nothing false is believed of another index.
    """
    vectors = {s.name: s.files[f"{s.name}.{VECTORS}"].sha256 for s in manifest.segments}
    values = {name: [vectors[name], seen[name]] for name in vectors if name in seen}
    atomic_write(folder / SEEN_NAME, json.dumps(values, indent=1) + "\n")


def read_seen(folder: Path, manifest: Manifest) -> dict[str, str]:
    """What segments were made from, by name; nothing of those of which that is not known."""
    try:
        values = read_object(folder / SEEN_NAME)
    except (OSError, ValueError):
        return {}
    seen = {}
    for segment in manifest.segments:
        known = values.get(segment.name)
        vectors = segment.files[f"{segment.name}.{VECTORS}"].sha256
        if isinstance(known, list) and len(known) == 2 and known[0] == vectors:
            seen[segment.name] = str(known[1])
    return seen


def find_kept(order: Order) -> dict[str, KeptSegment]:
    """By what they were made from, the segments of the index that ``order`` replaces.

    None of another model or another arithmetic, nor of an index that is gone or damaged: all is
    made anew then.
    """
    path = Path(order.replaces)
    try:
        manifest = read_manifest(path) if order.replaces else None
    except BadIndex:
        return {}
    if manifest is None or manifest.model.fingerprint != order.settings["model"]:
        return {}
    if {drift.arithmetic for drift in manifest.drifts} != {*_list_arithmetic(order)}:
        return {}
    seen = read_seen(path, manifest)
    kept = (s for s in manifest.segments if s.name in seen)
    return {seen[s.name]: KeptSegment(path, s, seen[s.name]) for s in kept}


def _list_arithmetic(order: Order) -> list[str]:
    """How vectors are computed, if not as usual."""
    return [order.settings["arithmetic"]] if "arithmetic" in order.settings else []


def remove_units(folder: Path) -> None:
    """Remove the units of an index that is, or is not to be, complete: first their name, at once.

    What is not ours stays, and then the folder does.
    """
    units = folder / UNITS_NAME
    if not units.is_dir() or units.is_symlink():
        return
    ours = [path for path in units.iterdir() if _is_own(path)]
    if len(ours) == len(os.listdir(units)):
        aside = folder / f".{secrets.token_hex(8)}.partial"
        with suppress(OSError):  # else they go one by one
            os.rename(units, aside)
            remove_whole(aside)
            return
    for path in ours:
        remove_whole(path) if path.is_dir() else path.unlink(missing_ok=True)
    with suppress(OSError):
        units.rmdir()


def _is_own(path: Path) -> bool:
    """Whether this is what units are written as."""
    if path.is_symlink():
        return False
    if is_half_written(path.name):
        return True
    if (match := _NAME.fullmatch(path.name)) is None:
        return False
    if match["lease"]:
        return path.is_file()
    return path.is_dir() and all(
        inner.name == _RECORD or is_part_file(inner.name) or is_half_written(inner.name)
        for inner in path.iterdir()
    )


def _name_segment(number: int) -> str:
    return f"segment-{number:05d}"


def _link(content: bytes, name: Path) -> bool:
    """Write a small file under a name that nobody has; False where somebody has it."""
    note = name.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        note.write_bytes(content)
        try:
            os.link(note, name)
        except OSError:
            # An answer of NFS may be lost: then the link is there all the same.
            if os.stat(note).st_nlink == 2:
                return True
            if name.exists():
                return False
            return _create(content, name)
        return True
    finally:
        note.unlink(missing_ok=True)


def _create(content: bytes, name: Path) -> bool:
    """The same on file systems without links."""
    try:
        with name.open("xb") as stream:
            stream.write(content)
    except FileExistsError:
        return False
    return True


def _mark(path: Path) -> tuple[int, ...]:
    """What changes of a lease when its holder, or another one, touches it."""
    facts = path.stat()
    return facts.st_ino, facts.st_mtime_ns


def _is_of_the_dead(lease: Path) -> bool:
    """Whether the holder of a lease is a process of this machine that is gone."""
    try:
        note = json.loads(read_bytes(lease, 10_000))
        machine, pid, began = note["machine"], int(note["pid"]), str(note["began"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return False
    if not machine or machine != _name_machine():
        return False
    return _read_start(pid) != began


def _name_machine() -> str:
    """Of this machine since it was started, and of its numbers of processes; "" if not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return hashlib.sha256(f"{boot} {os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()
    except (OSError, ValueError):
        return ""


def _read_start(pid: int) -> str:
    """When a process of this machine began, in the system's words; "" if it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *others = words.rpartition(")")[2].split()
        return "" if state in {"Z", "X"} else others[18]
    except (OSError, IndexError, ValueError):
        return ""
