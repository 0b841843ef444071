"""Checksums of an index's files, each compared once for as long as the file stays as it is.

What was compared is remembered by the file's place on the disk, size and times: in the process,
and for indexes from 64 MB on also in the user's cache folder, so that the next command need not
read them all again. A file that changed in the last two seconds is not remembered: it may change
again within the same tick of its clock.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from crossview.errors import CannotWrite
from crossview.files import atomic_write
from crossview.index.manifest import FileFacts, Segment
from crossview.index.segments import damaged
from crossview.schema import parse_object, read_bytes

KEPT_FROM_BYTES = 64_000_000  # smaller indexes are compared by every command: 0.1 s
_SETTLED_NS = 2_000_000_000
_compared: dict[str, list[int | str]] = {}  # by path: what the file was when it was compared


def compare(folder: Path, segments: Iterable[Segment]) -> None:
    """Every file holds what was written; raises :class:`BadIndex` for the first that does not."""
    root = os.path.realpath(folder)
    files = {name: facts for segment in segments for name, facts in segment.files.items()}
    large = sum(facts.bytes for facts in files.values()) >= KEPT_FROM_BYTES
    before = _kept(root) if large else {}
    _compared.update({path: facts for path, facts in before.items() if path not in _compared})
    for name, facts in files.items():
        _compare(os.path.join(root, name), facts)
    now = {
        path: _compared[path]
        for path in (os.path.join(root, n) for n in files)
        if path in _compared
    }
    if large and now != before:
        _keep(root, now)


def _compare(path: str, facts: FileFacts) -> None:
    try:
        with open(path, "rb") as file:
            before = _identity(os.fstat(file.fileno()), facts)
            if _compared.get(path) == before:
                return
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = _identity(os.fstat(file.fileno()), facts)
    except OSError as problem:
        raise damaged(Path(path), f"cannot be read ({problem.strerror})") from problem
    if digest != facts.sha256:
        raise damaged(Path(path), "has changed since it was written")
    newest = max(int(after[3]), int(after[4]))
    if before == after and newest < time.time_ns() - _SETTLED_NS:
        _compared[path] = after


def _identity(status: os.stat_result, facts: FileFacts) -> list[int | str]:
    return [
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
        facts.sha256,
    ]  # fmt: skip


def _file(root: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
    return Path(base) / "crossview" / "compared" / f"{name}.json"


def _kept(root: str) -> dict[str, list[int | str]]:
    try:
        values = parse_object(read_bytes(_file(root)))
    except (OSError, ValueError):
        return {}
    return {path: facts for path, facts in values.items() if isinstance(facts, list)}


def _keep(root: str, compared: dict[str, list[int | str]]) -> None:
    """Best effort: where nothing may be written, the next command compares again."""
    file = _file(root)
    with suppress(OSError, CannotWrite):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_write(file, json.dumps(compared))
