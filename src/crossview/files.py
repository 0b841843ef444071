"""Writing files so that they are whole or absent, and listing folders without what is no data."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crossview.errors import CannotWrite

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


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Write ``data`` (text as UTF-8, line ends as given) so that ``path`` is never half-written.

    Raises :class:`CannotWrite`; what was at ``path`` before then stays as it was.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    with writing(path) as temporary:
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
def writing(path: str | Path) -> Iterator[Path]:
    """Give a temporary file beside ``path`` (same suffix); rename it to ``path`` at the end.

    On any error, Ctrl-C included, the temporary file is removed and ``path`` stays as it was. A
    full disk, a missing folder or missing permission becomes :class:`CannotWrite`; an error that
    has nothing to do with this file passes through unchanged.
    """
    target = Path(path)
    _refuse_what_is_no_file(target)
    if target.is_symlink():
        target = target.resolve()  # the link stays a link
    temporary = target.parent / f".{secrets.token_hex(8)}.partial{target.suffix}"
    try:
        temporary.open("xb").close()  # a folder that refuses is told before the work is done
        yield temporary
        os.replace(temporary, target)
    except OSError as problem:
        if reason := _reason(problem, temporary, target):
            raise CannotWrite(f"Cannot write {path}: {reason}") from problem
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(path: str | Path) -> Path:
    """Create a folder and those above it where they are missing; raises :class:`CannotWrite`."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise CannotWrite(f"Cannot create the folder {path}: {problem.strerror}.") from problem
    return folder


def _refuse_what_is_no_file(target: Path) -> None:
    """Stop before a folder or a device such as /dev/null would be replaced by a file."""
    try:
        occupied = target.exists() and not target.is_file()
    except OSError as problem:
        raise CannotWrite(f"Cannot write {target}: {problem.strerror}.") from problem
    if occupied:
        what = "a folder" if target.is_dir() else "not an ordinary file"
        raise CannotWrite(f"Cannot write {target}: it is {what}. Choose another name.")


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


def _silently_full(problem: OSError, folder: Path) -> bool:
    """Some libraries (GDAL among them) report a full disk without its error number."""
    if problem.errno is not None:
        return False
    try:
        return shutil.disk_usage(folder).free < _NEARLY_NOTHING_BYTES
    except OSError:
        return False
