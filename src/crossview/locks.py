"""Locks: one process at a time writes an index, a run folder, a model, an audit file or a cache.

A lock is a file ``.NAME.lock`` beside what is written, locked by the operating system: it falls
with its process, also when that is killed, and what a killed process leaves of it blocks nobody.
The file says who holds it. Those who only read take no lock: they need no right to write.

Across machines (NFS and other network file systems) locks hold only as far as the file system
carries ``flock`` from one machine to the others; where it has none, a warning says so.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from crossview.errors import CannotWrite, InUse
from crossview.files import atomic_write, make_folder, require_file, sweep_beside

if TYPE_CHECKING:
    from filelock import FileLock

INSIDE_NAME = ".lock"  # of a folder whose parent may not be written to
LOG = logging.getLogger("crossview.locks")

_FOREVER_S, _AT_ONCE_S = -1.0, 0.0
_SOON_S = 2.0  # waiting that nobody is told of
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
_thread = threading.local()  # paths that this thread holds


@contextmanager
def lock(
    path: str | Path, verb: str, *, wait: bool = False, make_parents: bool = False
) -> Iterator[None]:
    """Write ``path`` (a file or folder, there or not) while no other process does.

    Another process that writes it is waited for with ``wait``, which is logged; else it is an
    :class:`InUse` that says who it is. ``verb`` is what others are told of us, such as
    ``crossview index``. A thread may lock again what it holds already. :class:`CannotWrite` where
    no lock file can be made. What killed processes left half-written of ``path`` is removed.
    """
    target = Path(os.path.realpath(path))
    mine: set[Path] = _thread.__dict__.setdefault("held", set())
    if target in mine:
        yield
        return
    if make_parents:
        make_folder(target.parent)
    elif not target.parent.is_dir():
        raise CannotWrite(
            f"Cannot write {path}: there is no folder {target.parent}. Create it first."
        )
    lock = _take(path, target, verb, wait)
    mine.add(target)
    try:
        with suppress(OSError):
            sweep_beside(target)
        yield
    finally:
        mine.discard(target)
        if lock is not None:
            with suppress(OSError):  # Windows removes it on release
                os.unlink(lock.lock_file)  # before the release: those who wait see that it is gone
            lock.release()


def _take(path: str | Path, target: Path, verb: str, wait: bool) -> FileLock | None:
    """The lock of ``target``, held; None where the file system has no locks."""
    places = _places(target)
    for place in places:
        try:
            return _acquire(path, place, verb, wait)
        except OSError as problem:
            if problem.errno in _READ_ONLY and place != places[-1]:
                continue
            if problem.errno not in _NO_LOCKS:
                raise CannotWrite(
                    f"Cannot write {path}: {problem.strerror}. Choose another place or change the "
                    "permissions."
                ) from problem
    LOG.warning(
        "%s lies on a file system without locks: see to it that only one process writes it.", path
    )
    return None


def _acquire(path: str | Path, place: Path, verb: str, wait: bool) -> FileLock:
    from filelock import FileLock, Timeout  # 20 ms that only a writer should pay

    lock = FileLock(place, on_acquired=_Note(verb).write)
    try:
        lock.acquire(timeout=_SOON_S if wait else _AT_ONCE_S)
    except Timeout:
        who = holder(place)
        if not wait:
            raise InUse(
                f"{path} is being written by another process: {who}.\n"
                "Wait until it has ended, or choose another name."
            ) from None
        LOG.warning("Waiting for %s, which another process writes: %s.", path, who)
        lock.acquire(timeout=_FOREVER_S)
    return lock


def sweep_locks(folder: Path) -> None:
    """Remove the lock files in ``folder`` whose processes are gone.

    They block nobody. This is for folders in which a process locks files that the next one may
    have no need to write.
    """
    from filelock import FileLock, Timeout

    for place in folder.glob(".*.lock"):
        with suppress(OSError, Timeout):
            lock = FileLock(place)
            lock.acquire(timeout=_AT_ONCE_S)
            with suppress(OSError):
                os.unlink(place)
            lock.release()


def write_alone(path: str | Path, data: bytes | str, verb: str) -> None:
    """Write one file as :func:`crossview.files.atomic_write` does, while no other process does.

    Another writer is waited for.
    """
    target = Path(path)
    require_file(target)
    with lock(target, verb, wait=True):
        atomic_write(target, data)


def holder(lock_file: Path) -> str:
    """Who holds a lock, in words: what it does, its process, its machine, since when."""
    try:
        note = json.loads(lock_file.read_text(encoding="utf-8"))
        return f"{note['verb']}, process {note['pid']} on {note['host']}, since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "one that has not said who it is"


class _Note:
    """What a lock file says of its holder."""

    def __init__(self, verb: str) -> None:
        self._verb = verb

    def write(self, descriptor: int) -> None:
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        note = {"verb": self._verb, "pid": os.getpid(), "host": platform.node(), "since": since}
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(note).encode())


def _places(target: Path) -> list[Path]:
    """Where the lock of ``target`` may lie: beside it, or in a folder whose parent is closed."""
    beside = [target.with_name(f".{target.name}.lock")] if target.name else []
    return [*beside, *([target / INSIDE_NAME] if target.is_dir() else [])]
