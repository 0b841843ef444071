"""Inboxes: a folder in which photos arrive, and the file that keeps what came of each of them.

The file of answers is the memory too. The line of a photo says which state of which file it is of,
and is added by one write that is brought to the disk: so a photo is answered, and known to be
answered, at the same instant. Killed before it, the next watch answers the photo; after it, none
does. A photo of the same name with another size or time is another photo.

A photo is whole once its size and time have stayed the same for two seconds. Where an upload stops
for longer, what is there cannot be read, which is kept; when the upload goes on it is another
state, and is tried again. Links are never followed: who may put files into a folder should not
choose files outside of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossview.errors import BadData, BadImage, CannotWrite
from crossview.files import append_lines, explain_failure, printable, require_text, walk_files
from crossview.views.decode import SUFFIXES

SETTLE_S = 2.0
MOST_PHOTOS = 1_000_000  # that are remembered, 100 bytes each
FILE_KEY = "file"  # of a line: whose answer it is


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One state of a file in the folder."""

    path: Path
    name: str  # below the folder
    size: int  # bytes
    modified_us: int  # since 1970

    def to_json(self) -> dict[str, Any]:
        """What a line says of the file."""
        return {"name": self.name, "bytes": self.size, "modified_us": self.modified_us}


class Inbox:
    """The photos of a folder that are whole and not answered yet; hold the lock of ``out``.

    ``out`` holds JSON lines, of which those with ``"file"`` are remembered; what a killed process
    left of a line goes. Raises :class:`BadImage` for a folder that is not there, :class:`BadData`
    for a file with lines that are no JSON, :class:`CannotWrite`.
    """

    def __init__(
        self,
        folder: Path,
        out: Path,
        *,
        keep_last: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not folder.is_dir():
            raise BadImage(f"{folder}: no such folder. Make it, then watch it.")
        self.folder, self.out, self._clock = folder, out, clock
        self._answered: set[bytes] = set()
        self._unsettled: dict[Path, tuple[Arrival, float]] = {}
        self._last: deque[dict[str, Any]] = deque(maxlen=keep_last)
        for facts, is_answer in _read_facts(out):
            self._remember(_mark(facts))
            if is_answer:
                self._last.append(facts)

    @property
    def is_waiting(self) -> bool:
        """Whether there is a photo that may still be written to."""
        return bool(self._unsettled)

    def list_last(self) -> list[Arrival]:
        """The last photos that were answered before, at most ``keep_last``, if still the same."""
        wanted = [_mark(facts) for facts in self._last]
        found = {_mark(a.to_json()): a for a in self._list_arrivals()} if wanted else {}
        return [found[mark] for mark in wanted if mark in found]

    def list_whole(self) -> list[Arrival]:
        """Photos that are whole and not answered, by their names. OSError: no such folder now."""
        now, whole = self._clock(), list[Arrival]()
        unsettled: dict[Path, tuple[Arrival, float]] = {}
        os.scandir(self.folder).close()  # where it cannot be read, this says why
        for arrival in self._list_arrivals():
            if _mark(arrival.to_json()) in self._answered:
                continue
            before, since = self._unsettled.get(arrival.path, (None, now))
            since = since if before == arrival else now
            unsettled[arrival.path] = (arrival, since)
            if now - since >= SETTLE_S:
                whole.append(arrival)
        self._unsettled = unsettled
        return whole

    def is_unchanged(self, arrival: Arrival) -> bool:
        """Whether the file still is what was listed: not removed, written to, or replaced."""
        return self._look(arrival.path) == arrival

    def keep(self, arrival: Arrival, record: dict[str, Any]) -> None:
        """Add the line of a photo, and know from now on that it is answered."""
        append_lines(self.out, [{**record, FILE_KEY: arrival.to_json()}], durable=True)
        self._remember(_mark(arrival.to_json()))
        self._unsettled.pop(arrival.path, None)

    def _remember(self, mark: bytes) -> None:
        self._answered.add(mark)
        if len(self._answered) > MOST_PHOTOS:
            raise BadData(
                f"{self.out} holds answers of more than {MOST_PHOTOS} photos.\n"
                "Move the photos that are answered away, and begin a new file."
            )

    def _list_arrivals(self) -> Iterator[Arrival]:
        for path in walk_files(self.folder, SUFFIXES):
            if (arrival := self._look(path)) is not None:
                yield arrival

    def _look(self, path: Path) -> Arrival | None:
        try:
            facts = path.lstat()
        except OSError:  # gone since
            return None
        if not stat.S_ISREG(facts.st_mode):
            return None
        return Arrival(
            path=path,
            name=printable(path.relative_to(self.folder).as_posix()),
            size=facts.st_size,
            modified_us=facts.st_mtime_ns // 1000,
        )


def _mark(facts: dict[str, Any]) -> bytes:
    text = "\0".join(str(facts.get(key)) for key in ("name", "bytes", "modified_us"))
    return hashlib.blake2b(text.encode(), digest_size=12).digest()


def _read_facts(out: Path) -> Iterator[tuple[dict[str, Any], bool]]:
    """Whose lines ``out`` holds, and whether each is an answer; a torn last line is removed."""
    require_text(out)
    if not out.exists():
        return
    torn_at = None
    try:
        with out.open("rb") as stream:
            at = 0
            for number, line in enumerate(stream, 1):
                try:
                    record = json.loads(line) if line.strip() else {}
                except (ValueError, RecursionError) as problem:
                    if line.endswith(b"\n"):
                        raise BadData(
                            f"{out}, line {number} is no JSON ({problem}).\n"
                            "Remove that line, or name another file."
                        ) from problem
                    torn_at = at
                    break
                at += len(line)
                facts = record.get(FILE_KEY) if isinstance(record, dict) else None
                if isinstance(facts, dict):
                    yield facts, "error" not in record
    except OSError as problem:
        raise CannotWrite(f"{out} cannot be read: {problem.strerror}.") from problem
    if torn_at is not None:
        with explain_failure(out):
            os.truncate(out, torn_at)
