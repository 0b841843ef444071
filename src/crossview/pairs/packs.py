"""Packs: many pictures in one file that is written once, whole or not at all, and memory-mapped.

A pack is 8 bytes of kind, the number of pictures as int64, one entry per picture, then the pixels.
Its name follows from the keys of its pictures, so that processes that write the same pack at the
same time write the same file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossview.arrays import U8
from crossview.files import writing

Packed = tuple[bytes, U8, float]  # key of 16 bytes, [h, w, 3], a number about the picture

KIND = b"cvpack01"
SUFFIX = ".pack"
ENTRY = np.dtype(
    [("key", "V16"), ("offset", "<i8"), ("rows", "<i8"), ("columns", "<i8"), ("number", "<f8")]
)
_HEAD = len(KIND) + 8


def write_pack(folder: Path, pictures: Sequence[Packed]) -> Path:
    """Write the pictures as one pack in ``folder``; its path. CannotWrite if the disk refuses."""
    keys = b"".join(key for key, _, _ in pictures)
    path = folder / f"{hashlib.blake2b(keys, digest_size=12).hexdigest()}{SUFFIX}"
    entries = np.zeros(len(pictures), ENTRY)
    start = _HEAD + entries.nbytes
    for entry, (key, pixels, number) in zip(entries, pictures, strict=True):
        rows, columns = pixels.shape[:2]
        entry["key"], entry["offset"], entry["number"] = key, start, number
        entry["rows"], entry["columns"] = rows, columns
        start += pixels.nbytes
    with writing(path) as temporary, temporary.open("wb") as stream:
        stream.write(KIND + np.int64(len(entries)).tobytes() + entries.tobytes())
        for _, pixels, _ in pictures:
            stream.write(pixels.tobytes())
    return path


def pack_entries(path: Path) -> NDArray[Any]:
    """The entries [n] of a pack; none of a file that is no pack or not whole."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
        count = int.from_bytes(head[len(KIND) :], "little")
        held = path.stat().st_size
        if head[: len(KIND)] != KIND or len(head) < _HEAD or count * ENTRY.itemsize > held:
            return np.zeros(0, ENTRY)
        entries = np.frombuffer(stream.read(count * ENTRY.itemsize), ENTRY)
    ends = entries["offset"] + 3 * entries["rows"] * entries["columns"]
    return entries[:0] if len(entries) and int(ends.max()) != held else entries


def packed_pixels(path: Path, entry: NDArray[Any]) -> U8:
    """The picture of an entry; read-only memory of the file."""
    offset, rows, columns = (int(entry[name]) for name in ("offset", "rows", "columns"))
    pixels: U8 = _mapped(path)[offset : offset + rows * columns * 3]
    return pixels.reshape(rows, columns, 3)


@lru_cache(maxsize=4096)
def _mapped(path: Path) -> Any:
    return np.memmap(path, dtype=np.uint8, mode="r")
