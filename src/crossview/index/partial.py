"""Partial: an index in the making, which a killed command can take up again.

A folder beside the index with finished segments and ``progress.json``, which says with which
settings it was begun and which window comes next. A segment counts once ``progress.json`` names it;
what else lies there is left over from a kill and removed.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crossview.arrays import F32, F64
from crossview.errors import CannotWrite, UsageError
from crossview.files import atomic_write, is_half_written, list_entries
from crossview.index.store import MANIFEST_NAME, Segment, is_segment_file, write_segment
from crossview.locks import INSIDE_NAME
from crossview.schema import read_object

PROGRESS_NAME = "progress.json"


class Partial:
    """Finished segments, the settings that made them, and the window to go on with."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = settings
        self.segments: list[Segment] = []
        self.next_window = 0

    @staticmethod
    def begin_or_resume(folder: Path, settings: dict[str, Any], *, restart: bool) -> Partial:
        """Take up what is in ``folder`` if it was begun with ``settings``, or begin.

        Other settings are a :class:`UsageError` that names them; ``restart`` begins again instead.
        """
        if folder.is_symlink():
            raise CannotWrite(
                f"Cannot write {folder}: it is a symbolic link, and what it points to may not be "
                "ours.\nRemove the link, or choose another --out."
            )
        partial = Partial(folder, settings)
        progress = None if restart else _read_progress(folder / PROGRESS_NAME)
        if progress is None:
            partial.discard()
            _make_folder(folder)
            partial._save()
            return partial
        _require_same(folder, progress["settings"], settings)
        partial.segments = [Segment.from_json(segment) for segment in progress["segments"]]
        partial.next_window = progress["next_window"]
        partial._sweep()
        return partial

    @property
    def windows(self) -> int:
        """How many windows the finished segments hold."""
        return sum(segment.windows for segment in self.segments)

    def add(
        self,
        vectors: F32,
        places: F64,
        thumbnails: list[bytes],
        next_window: int,
    ) -> None:
        """Write one segment; from then on the work goes on at ``next_window``."""
        name = f"segment-{self.settings['first_segment'] + len(self.segments):05d}"
        segment = write_segment(self.folder, name, vectors, places, thumbnails)
        self.segments.append(segment)
        self.next_window = next_window
        self._save()

    def discard(self) -> None:
        """Remove our files, and the folder unless something in it is not ours."""
        if self.folder.is_dir() and not self.folder.is_symlink():
            remove_index(self.folder)

    def _sweep(self) -> None:
        """Remove what a kill left half-written or unnamed."""
        named = {name for segment in self.segments for name in segment.files} | {PROGRESS_NAME}
        for path in self.folder.iterdir():
            if path.name not in named and is_own_file(path):
                path.unlink(missing_ok=True)

    def _save(self) -> None:
        values = {
            "settings": self.settings,
            "next_window": self.next_window,
            "segments": [asdict(segment) for segment in self.segments],
        }
        atomic_write(self.folder / PROGRESS_NAME, json.dumps(values, indent=1) + "\n")


def is_own_file(path: Path) -> bool:
    """Whether this is a file that indexing writes into its folder; links and folders are not."""
    ours = path.name in {MANIFEST_NAME, PROGRESS_NAME, INSIDE_NAME}
    ours = ours or is_segment_file(path.name) or is_half_written(path.name)
    return ours and path.is_file() and not path.is_symlink()


def list_foreign_files(folder: Path) -> list[str]:
    """Names in a folder that indexing has not written, nor a file manager on its own."""
    return [path.name for path in list_entries(folder) if not is_own_file(path)]


def remove_index(folder: Path) -> None:
    """Remove the files of an index, and the folder unless something else is in it.

    The manifest goes first: what is left of an index that is half removed is none.
    """
    paths = sorted(folder.iterdir(), key=lambda path: path.name != MANIFEST_NAME)
    for path in paths:
        if is_own_file(path):
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):  # not empty
        folder.rmdir()


def _read_progress(path: Path) -> dict[str, Any] | None:
    """What was begun, or None when nothing usable was."""
    try:
        values = read_object(path)
    except (OSError, ValueError):
        return None
    if not isinstance(values.get("settings"), dict):
        return None
    try:
        for segment in values["segments"]:
            Segment.from_json(segment)
        return values if int(values["next_window"]) >= 0 else None
    except (KeyError, TypeError, ValueError):
        return None


def _require_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    other = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if other:
        changes = ", ".join(f"{name} {before.get(name)} -> {now.get(name)}" for name in other)
        raise UsageError(
            f"{folder} was begun with other settings: {changes[:300]}.\n"
            "Give the same ones to go on from there, or add --restart to begin again."
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir()
    except FileNotFoundError as problem:
        raise CannotWrite(
            f"Cannot write {folder}: there is no folder {folder.parent}. Create it first."
        ) from problem
    except FileExistsError as problem:
        raise CannotWrite(
            f"Cannot write {folder}: something else has this name. Choose another --out."
        ) from problem
    except OSError as problem:
        raise CannotWrite(f"Cannot write {folder}: {problem.strerror}.") from problem
