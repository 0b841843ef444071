"""Pictures decoded and resized once, kept in a folder that any number of processes may share.

Each is found by a key made of the file's content, the settings of its side and what the table says
of it; so a data set that was moved, a part of it, or another list of the same files all find what
is there. Packs are added, never changed: a killed run goes on, and two at once do no harm. What a
killed run left half-written is removed an hour later, when nobody can be writing it any more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossview.arrays import I64, U8
from crossview.errors import BadData, BadImage, CannotWrite
from crossview.files import list_files, sweep
from crossview.pairs.digests import Digests
from crossview.pairs.packs import (
    ENTRY,
    SUFFIX,
    Packed,
    pack_entries,
    packed_pixels,
    write_pack,
)
from crossview.pairs.pictures import CHUNK, Unreadable, in_order, unreadable
from crossview.pairs.reading import Files
from crossview.pairs.table import SIDES

FORMAT = 2
PACK_BYTES = 128 << 20
LEFT_OVER_S = 3600.0  # a pack that takes longer to write has been left by a killed process
BREATH = 512  # files after which progress is told even if all were there
Found = dict[bytes, tuple[Path, NDArray[Any]]]  # key: pack and entry


@dataclass(frozen=True, eq=False)
class Cache:
    """The pictures of one table; a :class:`crossview.pairs.reading.Source`."""

    packs: tuple[Path, ...]
    entries: dict[str, NDArray[Any]]  # by side
    pack_of: dict[str, I64]  # by side: row of ``packs``

    def ground(self, index: int) -> tuple[U8, float]:
        """Canvas and field of view in degrees; read-only memory."""
        return self._picture("ground", index)

    def aerial(self, index: int) -> tuple[U8, float]:
        """Picture and metres per pixel; read-only memory."""
        return self._picture("aerial", index)

    def _picture(self, side: str, index: int) -> tuple[U8, float]:
        entry = self.entries[side][index]
        pack = self.packs[int(self.pack_of[side][index])]
        return packed_pixels(pack, entry), float(entry["number"])


@dataclass(frozen=True, kw_only=True)
class Filled:
    """How far :func:`fill_cache` is."""

    done: int
    total: int
    unreadable: tuple[Unreadable, ...] = ()


def fill_cache(folder: Path, files: Files, workers: int) -> Iterator[Filled]:
    """Decode everything that ``folder`` lacks. Unreadable pictures are collected, not raised."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise CannotWrite(f"Cannot write the cache {folder}: {problem.strerror}.") from problem
    sweep(folder, older_than_s=LEFT_OVER_S)
    digests = Digests(folder)
    state = Filled(done=0, total=len(files.table.ground) + len(files.table.aerial))
    yield state
    for side in SIDES:
        tally = _Tally(_found(folder))
        for decoded in _filled(folder, files, side, workers, tally, digests):
            yield replace(
                state,
                done=state.done + tally.settled + decoded,
                unreadable=(*state.unreadable, *tally.lost),
            )
        lost = (*state.unreadable, *tally.all_lost(getattr(files.table, side)))
        state = replace(state, done=state.done + len(getattr(files.table, side)), unreadable=lost)
        yield state


def open_cache(folder: Path, files: Files) -> Cache:
    """The cached pictures of the table; BadData if some are not there."""
    found, digests = _found(folder), Digests(folder)
    packs: dict[Path, int] = {}
    entries, pack_of = {}, {}
    for side in SIDES:
        count = len(getattr(files.table, side))
        settings = _settings(files, side)
        keys = [_key(files, side, index, settings, digests) for index in range(count)]
        at = [found[key] for key in keys if not isinstance(key, Unreadable) and key in found]
        if len(at) < count:
            raise BadData(
                f"The cache {folder} holds {len(at)} of {count} {side} pictures.\n"
                "Fill it with: crossview data cache"
            )
        entries[side] = np.array([entry for _, entry in at], dtype=ENTRY)
        pack_of[side] = np.array([packs.setdefault(p, len(packs)) for p, _ in at], dtype=np.int64)
    return Cache(tuple(packs), entries, pack_of)


@dataclass
class _Tally:
    """What is known of one side while its files are gone through."""

    found: Found
    indices: dict[bytes, list[int]] = field(default_factory=dict)  # pictures of each key
    settled: int = 0  # pictures that need no decoding
    lost: list[Unreadable] = field(default_factory=list)
    broken: dict[bytes, Unreadable] = field(default_factory=dict)

    def all_lost(self, paths: Sequence[Path]) -> list[Unreadable]:
        """Every unreadable picture, also those whose content is that of another one."""
        same = [
            replace(one, index=index, path=paths[index])
            for key, one in self.broken.items()
            for index in self.indices[key]
        ]
        return [*self.lost, *same]


def _filled(
    folder: Path, files: Files, side: str, workers: int, tally: _Tally, digests: Digests
) -> Iterator[int]:
    """Decode what is missing; yields how many pictures have been decoded so far."""
    waiting: list[Packed] = []
    decoded = 0
    for pictures, broken in in_order(_decoded, files, _jobs(files, side, tally, digests), workers):
        tally.broken |= broken
        waiting += pictures
        decoded += len(pictures) + len(broken)
        if sum(pixels.nbytes for _, pixels, _ in waiting) >= PACK_BYTES:
            write_pack(folder, waiting)
            digests.save()
            waiting = []
        yield decoded
    if waiting:
        write_pack(folder, waiting)
    digests.save()


def _jobs(
    files: Files, side: str, tally: _Tally, digests: Digests
) -> Iterator[tuple[str, list[tuple[bytes, int]]]]:
    """What is to be decoded, some at a time; files are hashed on the way."""
    chunk: list[tuple[bytes, int]] = []
    settings = _settings(files, side)
    for index in range(len(getattr(files.table, side))):
        key = _key(files, side, index, settings, digests)
        if isinstance(key, Unreadable):
            tally.lost.append(key)
            tally.settled += 1
        elif key in tally.found or key in tally.indices:
            tally.indices.setdefault(key, []).append(index)
            tally.settled += 1
        else:
            tally.indices[key] = [index]
            chunk.append((key, index))
        if len(chunk) == CHUNK or (index + 1) % BREATH == 0:  # tell, also where nothing is missing
            yield side, chunk
            chunk = []
    yield side, chunk


def _decoded(
    files: Files, side: str, items: list[tuple[bytes, int]]
) -> tuple[list[Packed], dict[bytes, Unreadable]]:
    """Pictures of a chunk, and what of it cannot be read."""
    read = files.ground if side == "ground" else files.aerial
    paths: Sequence[Path] = getattr(files.table, side)
    done: list[Packed] = []
    broken: dict[bytes, Unreadable] = {}
    for key, index in items:
        try:
            done.append((key, *read(index)))
        except BadImage as problem:
            broken[key] = unreadable(side, index, paths[index], problem)
    return done, broken


def _key(
    files: Files, side: str, index: int, settings: str, digests: Digests
) -> bytes | Unreadable:
    """What a picture is found by: its file's content, and all else that its pixels depend on."""
    path: Path = getattr(files.table, side)[index]
    try:
        digest = digests.of(path)
    except OSError as problem:
        reason = BadImage(problem.strerror or "cannot be opened")
        return unreadable(side, index, path, reason)
    about = json.dumps([settings, digest, *files.facts(side, index)])
    return hashlib.blake2b(about.encode(), digest_size=16).digest()


def _settings(files: Files, side: str) -> str:
    return json.dumps([FORMAT, side, *files.settings(side)], sort_keys=True)


def packs_in(folder: Path) -> list[Path]:
    """The packs of a cache, sorted by name; those that a killed run left half-written are hidden.

    None if there is no such folder.
    """
    return list_files(folder, (SUFFIX,)) if folder.is_dir() else []


def _found(folder: Path) -> Found:
    found: Found = {}
    for path in packs_in(folder):
        found |= {entry["key"].tobytes(): (path, entry) for entry in pack_entries(path)}
    return found
