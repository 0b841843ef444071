"""Pictures decoded and resized once, kept in a folder that any number of processes may share.

Each is found by a key made of the file's content, the settings of its side and what the table says
of it; so a data set that was moved, a part of it, or another list of the same files all find what
is there. What files contain is remembered by their size and time, so that each is hashed once.

Pictures lie in packs: many in one file that is written once, whole or not at all, and
memory-mapped. A pack is 8 bytes of kind, the number of pictures as int64, one entry per picture,
then the pixels. Its name follows from the keys of its pictures, so that processes that write the
same pack at the same time write the same file. Packs are added, never changed: a killed run goes
on, and two at once do no harm. What a killed run left half-written is removed an hour later, when
nobody can be writing it any more.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossview.arrays import I64, U8
from crossview.errors import BadData, BadImage, CannotWrite
from crossview.files import atomic_write, list_files, sweep, writing
from crossview.locks import lock, sweep_locks
from crossview.pairs.loading import CHUNK, Unreadable, describe_unreadable, run_in_order
from crossview.pairs.reading import Files
from crossview.pairs.table import SIDES
from crossview.views.decode import read_picture_size

Packed = tuple[bytes, U8, float]  # key of 16 bytes, [h, w, 3], a number about the picture
PACK_MAGIC = b"cvpack01"
PACK_SUFFIX = ".pack"
ENTRY = np.dtype(
    [("key", "V16"), ("offset", "<i8"), ("rows", "<i8"), ("columns", "<i8"), ("number", "<f8")]
)
_HEAD = len(PACK_MAGIC) + 8
DIGESTS_NAME = "digests.jsonl"
FORMAT = 2
PACK_BYTES = 128 << 20
_MOST_PX = 1 << 20  # along a side of a picture
ABANDONED_AFTER_S = 3600.0  # a pack that takes longer to write has been left by a killed process
REPORT_EVERY = 512  # files after which progress is reported even if all were there
PackIndex = dict[bytes, tuple[Path, NDArray[Any]]]  # key: pack and entry
SAMPLE = 64  # headers that are read where sizes differ from file to file


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
        return map_pixels(pack, entry), float(entry["number"])


def fill_cache(folder: Path, files: Files, workers: int) -> Iterator[CacheProgress]:
    """Decode everything that ``folder`` lacks. Unreadable pictures are collected, not raised."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise CannotWrite(f"Cannot write the cache {folder}: {problem.strerror}.") from problem
    sweep(folder, older_than_s=ABANDONED_AFTER_S)
    sweep_locks(folder)
    digests = Digests(folder)
    state = CacheProgress(done=0, total=len(files.table.ground) + len(files.table.aerial))
    yield state
    for side in SIDES:
        tally = _Tally(_index_packs(folder))
        for decoded in _fill_side(folder, files, side, workers, tally, digests):
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
    packed, digests = _index_packs(folder), Digests(folder)
    packs: dict[Path, int] = {}
    entries, pack_of = {}, {}
    for side in SIDES:
        count = len(getattr(files.table, side))
        settings = _encode_settings(files, side)
        keys = [_compute_key(files, side, index, settings, digests) for index in range(count)]
        held = [packed[key] for key in keys if not isinstance(key, Unreadable) and key in packed]
        if len(held) < count:
            raise BadData(
                f"The cache {folder} holds {len(held)} of {count} {side} pictures.\n"
                "Fill it with: crossview data cache"
            )
        entries[side] = np.array([entry for _, entry in held], dtype=ENTRY)
        pack_of[side] = np.array([packs.setdefault(p, len(packs)) for p, _ in held], dtype=np.int64)
    return Cache(tuple(packs), entries, pack_of)


@dataclass(frozen=True, kw_only=True)
class CacheProgress:
    """How far :func:`fill_cache` is."""

    done: int
    total: int
    unreadable: tuple[Unreadable, ...] = ()


def list_packs(folder: Path) -> list[Path]:
    """The packs of a cache, sorted by name; those that a killed run left half-written are hidden.

    None if there is no such folder.
    """
    return list_files(folder, (PACK_SUFFIX,)) if folder.is_dir() else []


@dataclass(frozen=True)
class CacheSize:
    """Bytes that a cache of all pictures takes; ``exact`` unless it rests on a sample."""

    bytes: int
    exact: bool


def estimate_cache(files: Files) -> CacheSize:
    """The room of a cache of these files; of pictures that share their content, less is used."""
    aerial, exact = _estimate_aerial_bytes(files)
    return CacheSize(_count_ground_bytes(files) + aerial, exact)


def _count_ground_bytes(files: Files) -> int:
    spec = files.views.ground
    if spec.whole or spec.representation == "padded":
        columns = spec.width_px * len(files.table.ground)
    else:
        fovs = np.nan_to_num(files.table.fov_deg, nan=360.0)
        columns = sum(spec.columns(float(fov)) for fov in fovs)
    return 3 * spec.height_px * columns


def _estimate_aerial_bytes(files: Files) -> tuple[int, bool]:
    spec, count = files.views.aerial, len(files.table.aerial)
    if spec.whole:
        return 3 * spec.height_px * spec.width_px * count, True
    if not count:
        return 0, True
    chosen = np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).round().astype(int))
    bytes_each = [_count_stored_bytes(files, int(index)) for index in chosen]
    return round(count * float(np.mean(bytes_each))), False


def _count_stored_bytes(files: Files, index: int) -> int:
    rows, columns = read_picture_size(files.table.aerial[index])
    share = float(files.table.metres_per_px[index]) / files.views.aerial.metres_per_px
    if files.decoding == "fast" and share < 1.0:
        eighths = math.ceil(8 * share)
        rows, columns = math.ceil(rows * eighths / 8), math.ceil(columns * eighths / 8)
    return 3 * rows * columns


@dataclass
class _Tally:
    """What is known of one side while its files are gone through."""

    found: PackIndex
    indices: dict[bytes, list[int]] = field(default_factory=dict)  # pictures of each key
    settled: int = 0  # pictures that need no decoding
    lost: list[Unreadable] = field(default_factory=list)
    broken: dict[bytes, Unreadable] = field(default_factory=dict)

    def all_lost(self, paths: Sequence[Path]) -> list[Unreadable]:
        """Every unreadable picture, also those whose content is that of another one."""
        same = [
            replace(picture, index=index, path=paths[index])
            for key, picture in self.broken.items()
            for index in self.indices[key]
        ]
        return [*self.lost, *same]


def _fill_side(
    folder: Path, files: Files, side: str, workers: int, tally: _Tally, digests: Digests
) -> Iterator[int]:
    """Decode what is missing; yields how many pictures have been decoded so far."""
    waiting: list[Packed] = []
    decoded = 0
    for pictures, broken in run_in_order(
        _decode_chunk, files, _plan_jobs(files, side, tally, digests), workers
    ):
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


def _plan_jobs(
    files: Files, side: str, tally: _Tally, digests: Digests
) -> Iterator[tuple[str, list[tuple[bytes, int]]]]:
    """What is to be decoded, some at a time; files are hashed on the way."""
    chunk: list[tuple[bytes, int]] = []
    settings = _encode_settings(files, side)
    for index in range(len(getattr(files.table, side))):
        key = _compute_key(files, side, index, settings, digests)
        if isinstance(key, Unreadable):
            tally.lost.append(key)
            tally.settled += 1
        elif key in tally.found or key in tally.indices:
            tally.indices.setdefault(key, []).append(index)
            tally.settled += 1
        else:
            tally.indices[key] = [index]
            chunk.append((key, index))
        if (
            len(chunk) == CHUNK or (index + 1) % REPORT_EVERY == 0
        ):  # report, also where nothing is missing
            yield side, chunk
            chunk = []
    yield side, chunk


def _decode_chunk(
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
            broken[key] = describe_unreadable(side, index, paths[index], problem)
    return done, broken


def _compute_key(
    files: Files, side: str, index: int, settings: str, digests: Digests
) -> bytes | Unreadable:
    """What a picture is found by: its file's content, and all else that its pixels depend on."""
    path: Path = getattr(files.table, side)[index]
    try:
        digest = digests.digest(path)
    except OSError as problem:
        reason = BadImage(problem.strerror or "cannot be opened")
        return describe_unreadable(side, index, path, reason)
    about = json.dumps([settings, digest, *files.facts(side, index)])
    return hashlib.blake2b(about.encode(), digest_size=16).digest()


def _encode_settings(files: Files, side: str) -> str:
    return json.dumps([FORMAT, side, *files.settings(side)], sort_keys=True)


def _index_packs(folder: Path) -> PackIndex:
    entries: PackIndex = {}
    for path in list_packs(folder):
        entries |= {entry["key"].tobytes(): (path, entry) for entry in read_entries(path)}
    return entries


def write_pack(folder: Path, pictures: Sequence[Packed]) -> Path:
    """Write the pictures as one pack in ``folder``; its path. CannotWrite if the disk refuses."""
    keys = b"".join(key for key, _, _ in pictures)
    path = folder / f"{hashlib.blake2b(keys, digest_size=12).hexdigest()}{PACK_SUFFIX}"
    entries = np.zeros(len(pictures), ENTRY)
    start = _HEAD + entries.nbytes
    for entry, (key, pixels, number) in zip(entries, pictures, strict=True):
        rows, columns = pixels.shape[:2]
        entry["key"], entry["offset"], entry["number"] = key, start, number
        entry["rows"], entry["columns"] = rows, columns
        start += pixels.nbytes
    with (
        lock(path, "crossview data cache", wait=True),
        writing(path) as temporary,
        temporary.open("wb") as stream,
    ):
        stream.write(PACK_MAGIC + np.int64(len(entries)).tobytes() + entries.tobytes())
        for _, pixels, _ in pictures:
            stream.write(pixels.tobytes())
    return path


def read_entries(path: Path) -> NDArray[Any]:
    """The entries [n] of a pack; none of a file that is not a pack or not complete."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
        count = int.from_bytes(head[len(PACK_MAGIC) :], "little")
        held = path.stat().st_size
        if (
            head[: len(PACK_MAGIC)] != PACK_MAGIC
            or len(head) < _HEAD
            or count * ENTRY.itemsize > held
        ):
            return np.zeros(0, ENTRY)
        table = stream.read(count * ENTRY.itemsize)
    if len(table) < count * ENTRY.itemsize:
        return np.zeros(0, ENTRY)
    entries = np.frombuffer(table, ENTRY)
    sides = np.stack([entries["rows"], entries["columns"]])
    if ((sides < 1) | (sides > _MOST_PX)).any() or (entries["offset"] < _HEAD).any():
        return entries[:0]
    ends = entries["offset"] + 3 * entries["rows"] * entries["columns"]
    return entries[:0] if len(entries) and int(ends.max()) != held else entries


def map_pixels(path: Path, entry: NDArray[Any]) -> U8:
    """The picture of an entry; read-only memory of the file."""
    offset, rows, columns = (int(entry[name]) for name in ("offset", "rows", "columns"))
    pixels: U8 = _map_file(path)[offset : offset + rows * columns * 3]
    return pixels.reshape(rows, columns, 3)


@lru_cache(maxsize=4096)
def _map_file(path: Path) -> Any:
    return np.memmap(path, dtype=np.uint8, mode="r")


class Digests:
    """Digests of files, kept in ``folder``/digests.jsonl between runs.

    A file that was moved, or touched without a change, has the digest that it had.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / DIGESTS_NAME
        self._entries = _read_digests(self._file)
        self._new: dict[str, list[int | str]] = {}

    def digest(self, path: Path) -> str:
        """32 hex digits (BLAKE2b) of the content; OSError where it cannot be read."""
        facts = path.stat()
        name, stamp = str(path.absolute()), [facts.st_size, facts.st_mtime_ns]
        entry = self._entries.get(name)
        if entry is None or entry[:2] != stamp:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16))
            entry = [*stamp, digest.hexdigest()]
            self._entries[name] = self._new[name] = entry
        return str(entry[2])

    def save(self) -> None:
        """Add what is new to the file, beside what other processes have written meanwhile."""
        if self._new:
            with lock(self._file, "crossview data cache", wait=True):
                atomic_write(
                    self._file, _format_digests({**_read_digests(self._file), **self._new}.items())
                )
            self._new = {}


def _read_digests(file: Path) -> dict[str, list[int | str]]:
    """What a file holds; one that is absent or damaged only costs the hashing."""
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return {str(name): [int(size), int(time), str(digest)] for name, size, time, digest in rows}
    except (OSError, ValueError, TypeError, OverflowError, RecursionError):
        return {}


def _format_digests(digests: Iterable[tuple[str, list[int | str]]]) -> str:
    return "".join(json.dumps([name, *facts]) + "\n" for name, facts in digests)
