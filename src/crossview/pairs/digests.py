"""What files contain, remembered by their size and time, so that each is hashed once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from crossview.files import atomic_write
from crossview.locks import locked

NAME = "digests.jsonl"


class Digests:
    """Digests of files, kept in ``folder``/digests.jsonl between runs.

    A file that was moved, or touched without a change, has the digest that it had.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / NAME
        self._known = _read(self._file)
        self._new: dict[str, list[int | str]] = {}

    def of(self, path: Path) -> str:
        """32 hex digits (BLAKE2b) of the content; OSError where it cannot be read."""
        facts = path.stat()
        name, stamp = str(path.absolute()), [facts.st_size, facts.st_mtime_ns]
        known = self._known.get(name)
        if known is None or known[:2] != stamp:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16))
            known = [*stamp, digest.hexdigest()]
            self._known[name] = self._new[name] = known
        return str(known[2])

    def save(self) -> None:
        """Add what is new to the file, beside what other processes have written meanwhile."""
        if self._new:
            with locked(self._file, "crossview data cache", wait=True):
                atomic_write(self._file, _lines({**_read(self._file), **self._new}.items()))
            self._new = {}


def _read(file: Path) -> dict[str, list[int | str]]:
    """What a file holds; one that is absent or damaged only costs the hashing."""
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return {str(name): [int(size), int(time), str(digest)] for name, size, time, digest in rows}
    except (OSError, ValueError, TypeError):
        return {}


def _lines(known: Iterable[tuple[str, list[int | str]]]) -> str:
    return "".join(json.dumps([name, *facts]) + "\n" for name, facts in known)
