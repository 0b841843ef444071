"""Pictures decoded and resized once, kept in a folder that any number of processes may share.

Each is found by a key made of the file's content, the settings of its side and what the table says
of it; so a data set that was moved, a part of it, or another list of the same files all find what
is there. Packs are added, never changed: a killed run goes on, and two at once do no harm.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossview.errors import BadData, BadImage, CannotWrite
from crossview.pairs.batch import Pixels
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
Found = dict[bytes, tuple[Path, NDArray[Any]]]  # key: pack and entry


@dataclass(frozen=True, eq=False)
class Cache:
    """The pictures of one table; a :class:`crossview.pairs.reading.Source`."""

    packs: tuple[Path, ...]
    entries: dict[str, NDArray[Any]]  # by side
    pack_of: dict[str, NDArray[np.int64]]  # by side: row of ``packs``

    def ground(self, index: int) -> tuple[Pixels, float]:
        """Canvas and field of view in degrees; read-only memory."""
        return self._picture("ground", index)

    def aerial(self, index: int) -> tuple[Pixels, float]:
        """Picture and metres per pixel; read-only memory."""
        return self._picture("aerial", index)

    def _picture(self, side: str, index: int) -> tuple[Pixels, float]:
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
    found, digests = _found(folder), Digests(folder)
    state = Filled(done=0, total=len(files.table.ground) + len(files.table.aerial))
    yield state
    for side in SIDES:
        keys, lost = _keys(files, side, digests)
        missing: dict[bytes, list[int]] = {}
        for index, key in keys.items():
            if key not in found:
                missing.setdefault(key, []).append(index)
        state = replace(
            state,
            done=state.done + len(keys) + len(lost) - sum(map(len, missing.values())),
            unreadable=(*state.unreadable, *lost),
        )
        yield state
        digests.save()
        for step in _filled(folder, files, side, missing, workers, state):
            yield (state := step)


def open_cache(folder: Path, files: Files) -> Cache:
    """The cached pictures of the table; BadData if some are not there."""
    found, digests = _found(folder), Digests(folder)
    packs: dict[Path, int] = {}
    entries, pack_of = {}, {}
    for side in SIDES:
        keys, lost = _keys(files, side, digests)
        count = len(getattr(files.table, side))
        if len(lost) or any(key not in found for key in keys.values()):
            there = sum(key in found for key in keys.values())
            raise BadData(
                f"The cache {folder} holds {there} of {count} {side} pictures.\n"
                "Fill it with: crossview data cache"
            )
        at = [found[keys[index]] for index in range(count)]
        entries[side] = np.array([entry for _, entry in at], dtype=ENTRY)
        pack_of[side] = np.array([packs.setdefault(p, len(packs)) for p, _ in at], dtype=np.int64)
    return Cache(tuple(packs), entries, pack_of)


def _filled(
    folder: Path,
    files: Files,
    side: str,
    missing: dict[bytes, list[int]],
    workers: int,
    state: Filled,
) -> Iterator[Filled]:
    items = list(missing.items())
    jobs = [(side, items[i : i + CHUNK]) for i in range(0, len(items), CHUNK)]
    waiting: list[Packed] = []
    for pictures, lost, count in in_order(_decoded, files, jobs, workers):
        waiting += pictures
        if sum(pixels.nbytes for _, pixels, _ in waiting) >= PACK_BYTES:
            write_pack(folder, waiting)
            waiting = []
        state = replace(state, done=state.done + count, unreadable=(*state.unreadable, *lost))
        yield state
    if waiting:
        write_pack(folder, waiting)


def _decoded(
    files: Files, side: str, items: list[tuple[bytes, list[int]]]
) -> tuple[list[Packed], list[Unreadable], int]:
    """Pictures of a chunk, what of it cannot be read, and how many files those stand for."""
    read = files.ground if side == "ground" else files.aerial
    paths: Sequence[Path] = getattr(files.table, side)
    done: list[Packed] = []
    lost: list[Unreadable] = []
    for key, indices in items:
        try:
            done.append((key, *read(indices[0])))
        except BadImage as problem:
            first = unreadable(side, indices[0], paths[indices[0]], problem)
            lost += [replace(first, index=index, path=paths[index]) for index in indices]
    return done, lost, sum(len(indices) for _, indices in items)


def _keys(files: Files, side: str, digests: Digests) -> tuple[dict[int, bytes], list[Unreadable]]:
    """Index to key of every picture that can be opened, and the others."""
    keys, lost = {}, []
    settings = json.dumps([FORMAT, side, *files.settings(side)], sort_keys=True)
    for index, path in enumerate(getattr(files.table, side)):
        try:
            digest = digests.of(path)
        except OSError as problem:
            reason = BadImage(problem.strerror or "cannot be opened")
            lost.append(unreadable(side, index, path, reason))
            continue
        about = json.dumps([settings, digest, *files.facts(side, index)])
        keys[index] = hashlib.blake2b(about.encode(), digest_size=16).digest()
    return keys, lost


def _found(folder: Path) -> Found:
    found: Found = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.name.startswith("."):
            continue  # of a run that was killed while writing
        found |= {entry["key"].tobytes(): (path, entry) for entry in pack_entries(path)}
    return found
