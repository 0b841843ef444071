"""Writing files so that they are whole or absent, and listing folders without what is no data.

What is written survives a crash of the machine: a file's bytes are on the disk before it gets its
name, and the name is before the next step begins.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from crossview.errors import BadData, CannotWrite

# What file managers, network drives and archivers leave in folders; compared in lower case.
_SYSTEM_NAMES = {
    "thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini",
    "icon\r", "__macosx", "network trash folder", "temporary items", "thevolumesettingsfolder",
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@synologydrive", "#recycle",
    "#snapshot", "$recycle.bin", "recycler", "system volume information", "found.000", "lost+found",
}  # fmt: skip
_APPLE_MAGIC = (b"\x00\x05\x16\x07", b"\x00\x05\x16\x00")  # AppleDouble, AppleSingle

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NEARLY_NOTHING_BYTES = 1 << 20
_CHECKED_BYTES = 1 << 12  # of a file that is added to
_HALF_WRITTEN = re.compile(r"\.[0-9a-f]{16}\.partial(\.\w+)?")  # as _temporary names them
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def atomic_write(path: str | Path, data: bytes | str, *, durable: bool = True) -> None:
    """Write ``data`` (text as UTF-8, line ends as given) so that ``path`` is never half-written.

    ``durable``: as in :func:`writing`. Raises :class:`CannotWrite`; what was at ``path`` before
    then stays as it was.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    with writing(path, durable=durable) as temporary:
        temporary.write_bytes(content)


def is_system_file(path: str | Path) -> bool:
    """Whether a file or folder is of the operating system, not data: judged by its name alone.

    Hidden names (``._photo.jpg``, ``.DS_Store``), ``Thumbs.db``, ``desktop.ini``, ``__MACOSX``,
    ``@eaDir``, ``#recycle`` and their kin, in upper or lower case.
    """
    name = Path(path).name
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def is_apple_double(path: str | Path) -> bool:
    """Whether a file holds what macOS knows about another one (``._NAME``), judged by its bytes."""
    try:
        with Path(path).open("rb") as file:
            return file.read(4) in _APPLE_MAGIC
    except OSError:
        return False


def list_entries(folder: str | Path) -> list[Path]:
    """What lies in a folder, sorted by name, without system files. OSError as of ``iterdir``."""
    return sorted(entry for entry in Path(folder).iterdir() if not is_system_file(entry))


def list_files(folder: str | Path, suffixes: Collection[str] | None = None) -> list[Path]:
    """The files in a folder, as :func:`list_entries`; of these suffixes (lower case) if given."""
    return [
        entry
        for entry in list_entries(folder)
        if (suffixes is None or entry.suffix.lower() in suffixes) and entry.is_file()
    ]


def list_folders(folder: str | Path) -> list[Path]:
    """The folders in a folder, as :func:`list_entries`."""
    return [entry for entry in list_entries(folder) if entry.is_dir()]


def walk_files(folder: str | Path, suffixes: Collection[str] | None = None) -> list[Path]:
    """The files in a folder and below it, sorted; system folders are not entered, nor links."""
    files: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_system_file(name)]
        files += [Path(place, name) for name in names if not is_system_file(name)]
    return sorted(file for file in files if suffixes is None or file.suffix.lower() in suffixes)


@contextmanager
def writing(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary file beside ``path`` (same suffix); rename it to ``path`` at the end.

    ``durable``: wait until it is on the disk. Who writes very many files can do without, and call
    :func:`wait_for_disk` once before what vouches for them is written.

    On any error, Ctrl-C included, the temporary file is removed and ``path`` stays as it was. A
    full disk, a missing folder or missing permission becomes :class:`CannotWrite`; an error that
    has nothing to do with this file passes through unchanged.
    """
    target = Path(path)
    require_file(target)
    if target.is_symlink():
        target = target.resolve()  # the link stays a link
    temporary = _temporary(target)
    try:
        temporary.open("xb").close()  # a folder that refuses is told before the work is done
        yield temporary
        if durable:
            _to_disk(temporary)
        os.replace(temporary, target)
        if durable:
            _to_disk(target.parent)
    except OSError as problem:
        if reason := _reason(problem, temporary, target):
            raise CannotWrite(f"Cannot write {path}: {reason}") from problem
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


Content = bytes | str | Callable[[Path], None]  # or what writes it at a path


def write_together(
    folder: str | Path, contents: Mapping[str, Content], names: Collection[str]
) -> None:
    """Write files by name that mean something only together, so that no mixture can be opened.

    ``names`` are all that such a folder may hold; those that are not written now go. The last of
    ``contents`` vouches for the others. A folder with nothing else in it is exchanged as a whole:
    a killed process leaves the old files or the new ones. In one with other files, or that cannot
    be renamed, the vouching file goes first and comes last. Hold the folder's lock. Raises
    :class:`CannotWrite`.
    """
    target = Path(os.path.realpath(folder))
    make_folder(target.parent)
    if _may_be_exchanged(target, names):
        with writing_folder(target) as new:
            for name, content in contents.items():
                _write(new / name, content)
        return
    sweep(make_folder(target))
    vouching = list(contents)[-1]
    for name in (vouching, *(set(names) - set(contents))):
        with explain_failure(target / name):
            (target / name).unlink(missing_ok=True)
    for name, content in contents.items():
        _write(target / name, content)


def _write(path: Path, content: Content) -> None:
    if callable(content):
        content(path)
    else:
        atomic_write(path, content)


def _may_be_exchanged(target: Path, names: Collection[str]) -> bool:
    if not target.exists():
        return True
    here = Path.cwd()
    if not target.is_dir() or target == here or target in here.parents or os.path.ismount(target):
        return False
    if not os.access(target.parent, os.W_OK):
        return False
    there = {path.name for path in target.iterdir()}
    return all(name in names or is_half_written(name) for name in there)


@contextmanager
def explain_failure(path: Path) -> Iterator[None]:
    """Say :class:`CannotWrite` of ``path`` when the system refuses what is done to its files."""
    try:
        yield
    except OSError as problem:
        raise CannotWrite(f"Cannot write {path}: {problem.strerror}.") from problem


def remove_whole(folder: Path) -> None:
    """Remove a folder that is ours with all that is in it, as far as that can be done."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing_folder(path: str | Path, *, once: bool = False) -> Iterator[Path]:
    """Give an empty folder beside ``path``, with what is to lie there; rename it at the end.

    A folder that is there already is exchanged for the new one at one instant (on Windows it is
    moved away first) and removed: a killed process leaves the old or the new one, never some files
    of both. The caller has made sure that the old one may go. With ``once`` it stays instead, and
    that is a FileExistsError: of several that write the same folder, one does. On any error the
    new folder is removed. Raises :class:`CannotWrite`.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    temporary = _temporary_folder(target)
    try:
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            _to_disk(file)
        _to_disk(temporary)
        if once:
            _rename_once(temporary, target)
        else:
            replace_folder(temporary, target)
    except FileExistsError:
        raise
    except OSError as problem:
        if reason := _reason(problem, temporary, target):
            raise CannotWrite(f"Cannot write {path}: {reason}") from problem
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename_once(folder: Path, target: Path) -> None:
    """Give ``folder``, which is not empty, a name that no folder with files in it has."""
    try:
        os.rename(folder, target)
    except OSError as problem:  # of a folder that is there, systems say it in different words
        if target.is_dir():
            raise FileExistsError(errno.EEXIST, "is there already", str(target)) from problem
        raise
    _to_disk(target.parent)


def replace_folder(
    folder: Path, target: Path, remove: Callable[[Path], None] = remove_whole
) -> None:
    """Give ``folder`` the name ``target``; what had the name is removed last of all."""
    if target.exists():
        if _exchanged(folder, target):
            _to_disk(target.parent)
            remove(folder)
            return
        replaced = _temporary_folder(target)
        os.replace(target, replaced)
        os.replace(folder, target)
        remove(replaced)
    else:
        os.replace(folder, target)
    _to_disk(target.parent)


def sweep(folder: Path, *, older_than_s: float = 0.0) -> None:
    """Remove what killed processes left half-written in ``folder``: only names that are ours.

    Whoever calls this holds the lock of the folder, so that nobody is writing there now; where many
    write without one, ``older_than_s`` tells what is left over from what is being written.
    """
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if is_half_written(path.name):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime < older_than_s:
                    continue
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def sweep_beside(path: Path) -> None:
    """Remove what killed processes left half-written of a file or folder whose lock is held."""
    for left in path.parent.glob(f".{_mark(path)}*.partial*"):
        if not is_half_written(left.name) or left.is_symlink():
            continue
        if left.is_dir():
            remove_whole(left)
        else:
            left.unlink(missing_ok=True)


def identity(path: Path) -> tuple[int, int] | None:
    """What stays the same of a file or folder until another takes its name; None if absent."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def is_half_written(name: str) -> bool:
    """Whether this is the name of a file or folder that has not got its own yet."""
    return _HALF_WRITTEN.fullmatch(name) is not None


def append_lines(
    path: str | Path, entries: Iterable[dict[str, Any]], *, durable: bool = False
) -> None:
    """Add a line of JSON per entry to ``path``, in one write, each on a line of its own.

    A last line that a killed process left torn is ended first. The JSON is strict: strings are made
    :func:`printable`, null stands for what is not finite. ``durable``: wait until the lines are on
    the disk. Raises :class:`CannotWrite`. Where several processes write, hold the file's lock.
    """
    lines = [json.dumps(_strict(entry), allow_nan=False) + "\n" for entry in entries]
    data = "".join(lines).encode()
    try:
        with Path(path).open("ab+") as stream:
            if end := stream.seek(0, os.SEEK_END):
                stream.seek(end - 1)
                data = data if stream.read(1) == b"\n" else b"\n" + data
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
    except OSError as problem:
        raise CannotWrite(f"{path} cannot be added to: {problem.strerror}.") from problem


def read_lines(path: str | Path) -> tuple[list[dict[str, Any]], bool]:
    """The entries of a log of JSON lines, and whether its last line was torn and left out.

    Any other line that is no JSON object is a :class:`BadData` that names file and line. OSError
    where the file cannot be read.
    """
    entries: list[dict[str, Any]] = []
    lines = Path(path).read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError("no JSON object")
        except (ValueError, RecursionError) as problem:
            if number == len(lines):  # no line end after it: its writer was killed
                return entries, True
            raise BadData(
                f"{path}, line {number} is damaged ({problem}).\n"
                "Remove that line, or copy the file again if it was copied."
            ) from problem
        entries.append(entry)
    return entries, False


def printable(text: str) -> str:
    """``text`` that terminals, JSON, XML and HTML all accept.

    File names may hold any bytes: control characters and undecodable bytes become U+FFFD.
    """
    return _NOT_TEXT.sub("\ufffd", text)


def _strict(value: Any) -> Any:
    """A JSON value that every reader of JSON takes."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_strict(name): _strict(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def make_folder(path: str | Path) -> Path:
    """Create a folder and those above it where they are missing; raises :class:`CannotWrite`."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise CannotWrite(f"Cannot create the folder {path}: {problem.strerror}.") from problem
    return folder


def _temporary(target: Path) -> Path:
    return target.parent / f".{_mark(target)}{secrets.token_hex(4)}.partial{target.suffix}"


def _temporary_folder(target: Path) -> Path:
    return target.parent / f".{_mark(target)}{secrets.token_hex(4)}.partial"


def _mark(target: Path) -> str:
    """8 hex digits that temporary files of ``target`` share."""
    return hashlib.blake2b(os.fsencode(target.name), digest_size=4).hexdigest()


def wait_for_disk() -> None:
    """Wait until all that has been written is on the disk, where the system has such a call."""
    if hasattr(os, "sync"):
        os.sync()


def _to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    if path.is_dir() and sys.platform == "win32":
        return  # it has no such call for folders
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
            raise  # else the file system does not offer it
    finally:
        os.close(descriptor)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names at one instant, where the system can; whether it could."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            call, arguments = libc.renameat2, (-100, os.fsencode(one), -100, os.fsencode(other), 2)
        else:
            call, arguments = libc.renamex_np, (os.fsencode(one), os.fsencode(other), 2)
        return bool(call(*arguments) == 0)
    except (OSError, TypeError, AttributeError):
        return False


def require_file(target: Path) -> None:
    """Stop before a folder or a device such as /dev/null would be replaced by a file."""
    try:
        occupied = target.exists() and not target.is_file()
    except OSError as problem:
        raise CannotWrite(f"Cannot write {target}: {problem.strerror}.") from problem
    if occupied:
        what = "a folder" if target.is_dir() else "not an ordinary file"
        raise CannotWrite(f"Cannot write {target}: it is {what}. Choose another name.")


def require_text(path: Path) -> None:
    """Refuse to add to a file that is not text, such as a photo named by mistake."""
    try:
        if path.exists():
            require_file(path)
            with path.open("rb") as stream:
                stream.read(_CHECKED_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        if not (isinstance(problem, UnicodeDecodeError) and problem.start > _CHECKED_BYTES - 4):
            raise CannotWrite(f"{path} cannot be added to: {problem}.") from problem


def _reason(problem: OSError, temporary: Path, target: Path) -> str | None:
    """Why writing failed, or None when ``problem`` is about something else."""
    if problem.errno in _FULL or _silently_full(problem, target.parent):
        return "the disk is full. Free some space or choose another place."
    if problem.errno == errno.EROFS:
        return "the disk is read-only. Choose another place."
    if problem.filename is None or Path(os.fsdecode(problem.filename)) != temporary:
        return None
    if isinstance(problem, FileNotFoundError | NotADirectoryError):
        return f"there is no folder {target.parent}. Create it or choose another place."
    if isinstance(problem, PermissionError):
        return "permission denied. Choose another place or change the permissions."
    return f"{problem.strerror}."


def measure_free_bytes(path: Path) -> int:
    """Bytes that are free where a file or folder lies, or would lie."""
    nearest = next(p for p in (path, *path.absolute().parents) if p.is_dir())
    return shutil.disk_usage(nearest).free


def require_room(path: Path, needed_bytes: float, what: str, advice: str) -> None:
    """Raise :class:`CannotWrite` before work is done whose files the disk has no room for.

    ``what`` is what takes the room, with its verb; ``advice`` says what to do instead.
    """
    free = measure_free_bytes(path)
    if free < needed_bytes:
        raise CannotWrite(
            f"{what} about {needed_bytes / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free where "
            f"{path} lies.\n{advice}"
        )


def _silently_full(problem: OSError, folder: Path) -> bool:
    """Some libraries (GDAL among them) report a full disk without its error number."""
    if problem.errno is not None:
        return False
    try:
        return shutil.disk_usage(folder).free < _NEARLY_NOTHING_BYTES
    except OSError:
        return False
