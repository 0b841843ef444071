"""Decoded pictures, kept on disk as two memory-mapped packs, so that each file is decoded once.

A pack is ``NAME.bin`` (pixels, one picture after the other) and ``NAME.index`` (four int64 per
picture: offset, height, width, field of view in micro-degrees). Both only grow; the index entry is
written after its pixels, so a killed build goes on at the first missing entry.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from crossview.errors import BadData, CannotWrite
from crossview.pairs.batch import Pixels
from crossview.pairs.loading import AHEAD, worker_pool
from crossview.pairs.reading import Files
from crossview.pairs.table import Ints, PairTable
from crossview.views.spec import ViewSpec

FORMAT = 1
SIDES = ("ground", "aerial")
CHUNK = 16  # pictures per job of a worker


@dataclass(frozen=True)
class Cache:
    """A finished cache; a :class:`crossview.pairs.reading.Source`."""

    folder: Path

    def ground(self, index: int) -> tuple[Pixels, float]:
        """Canvas and field of view in degrees."""
        _, _, _, fov = _pack(self.folder, "ground")[1][index]
        return self._picture("ground", index), float(fov) / 1e6

    def aerial(self, index: int) -> Pixels:
        """Picture as stored; read-only memory."""
        return self._picture("aerial", index)

    def _picture(self, side: str, index: int) -> Pixels:
        pixels, entries = _pack(self.folder, side)
        offset, height, width, _ = (int(n) for n in entries[index])
        picture: Pixels = pixels[offset : offset + height * width * 3]
        return picture.reshape(height, width, 3)


def cache_key(table: PairTable, spec: ViewSpec) -> str:
    """16 hex digits that change with the files (name, size, time), their angles, or the canvas."""
    digest = hashlib.sha256(json.dumps([FORMAT, spec.to_json()], sort_keys=True).encode())
    for path in (*table.ground, *table.aerial):
        try:
            facts = path.stat()
        except OSError as problem:
            raise BadData(f"{path}, named in the table of pairs, cannot be read.") from problem
        digest.update(f"{path.resolve()}|{facts.st_size}|{facts.st_mtime_ns}\n".encode())
    digest.update(table.fov_deg.tobytes() + table.perspective.tobytes())
    return digest.hexdigest()[:16]


def fill_cache(folder: Path, files: Files, workers: int) -> Iterator[tuple[int, int]]:
    """Decode everything that ``folder`` lacks; yields (pictures done, pictures in all)."""
    counts = {"ground": len(files.table.ground), "aerial": len(files.table.aerial)}
    total, before = sum(counts.values()), 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for side in SIDES:
            for done in _fill_side(folder, side, counts[side], files, workers):
                yield before + done, total
            before += counts[side]
    except OSError as problem:
        raise CannotWrite(f"Cannot write the cache {folder}: {problem.strerror}.") from problem


def _fill_side(folder: Path, side: str, count: int, files: Files, workers: int) -> Iterator[int]:
    done = _trim(folder, side)
    yield done
    if done >= count:
        return
    chunks = [range(i, min(i + CHUNK, count)) for i in range(done, count, CHUNK)]
    offset = _size(folder / f"{side}.bin")
    with (folder / f"{side}.bin").open("ab") as pixels, (folder / f"{side}.index").open("ab") as ix:
        for pictures in _decoded(files, side, chunks, workers):
            entries = []
            for picture, fov in pictures:
                pixels.write(picture.tobytes())
                entries.append((offset, *picture.shape[:2], round(fov * 1e6)))
                offset += picture.nbytes
            pixels.flush()
            ix.write(np.array(entries, dtype=np.int64).tobytes())
            ix.flush()
            done += len(entries)
            yield done


def _decoded(
    files: Files, side: str, chunks: list[range], workers: int
) -> Iterator[list[tuple[Pixels, float]]]:
    if not workers:
        yield from (_decode(files, side, chunk) for chunk in chunks)
        return
    pool: ProcessPoolExecutor = worker_pool(workers, _keep, files)
    waiting: deque[Future[list[tuple[Pixels, float]]]] = deque()
    with pool:
        for chunk in chunks:
            waiting.append(pool.submit(_decode_kept, side, chunk))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_kept: list[Files] = []  # of this worker process


def _keep(files: Files) -> None:
    _kept[:] = [files]


def _decode_kept(side: str, chunk: range) -> list[tuple[Pixels, float]]:
    return _decode(_kept[0], side, chunk)


def _decode(files: Files, side: str, chunk: range) -> list[tuple[Pixels, float]]:
    if side == "ground":
        return [files.ground(i) for i in chunk]
    return [(files.aerial(i), 0.0) for i in chunk]


def _trim(folder: Path, side: str) -> int:
    """Cut off what a killed build left half-written; returns the number of whole pictures."""
    bin_file, index_file = folder / f"{side}.bin", folder / f"{side}.index"
    entries = _entries(index_file)
    held = _size(bin_file)
    ends = entries[:, 0] + 3 * entries[:, 1] * entries[:, 2]
    whole = int(np.searchsorted(ends, held, side="right"))
    if index_file.exists():
        with index_file.open("r+b") as stream:
            stream.truncate(whole * 32)
        with bin_file.open("r+b") as stream:
            stream.truncate(int(ends[whole - 1]) if whole else 0)
    elif bin_file.exists():
        bin_file.unlink()
    return whole


def _entries(index_file: Path) -> Ints:
    data = index_file.read_bytes() if index_file.exists() else b""
    return np.frombuffer(data[: len(data) // 32 * 32], dtype=np.int64).reshape(-1, 4)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@cache
def _pack(folder: Path, side: str) -> tuple[Any, Ints]:
    pixels = np.memmap(folder / f"{side}.bin", dtype=np.uint8, mode="r")
    return pixels, _entries(folder / f"{side}.index")
