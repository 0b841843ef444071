"""Segments of an index on disk: vectors, places and thumbnails of some windows.

``NAME.vectors.npy``     float32 [n, D]
``NAME.places.npy``      float64 [n, 3]: latitude, longitude, bearing of up
``NAME.thumbnails.bin``  JPEG files end to end
``NAME.offsets.npy``     int64 [n + 1]: where each of them begins, and the end
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossview.arrays import F32, F64
from crossview.errors import BadIndex
from crossview.files import atomic_write
from crossview.geo.points import wrap_lon
from crossview.index.manifest import REBUILD, SEGMENT_PARTS, FileFacts, Segment

VECTORS, PLACES, THUMBNAILS, OFFSETS = SEGMENT_PARTS
_SEGMENT_FILE = re.compile(
    rf"segment-\d+\.({'|'.join(map(re.escape, (VECTORS, PLACES, THUMBNAILS, OFFSETS)))})"
)


def write_segment(
    folder: Path,
    name: str,
    vectors: F32,
    places: F64,
    thumbnails: Sequence[bytes],
) -> Segment:
    """Write the files of one segment, each whole or not at all, and describe them."""
    offsets = np.cumsum([0, *map(len, thumbnails)], dtype=np.int64)
    contents = {
        f"{name}.{VECTORS}": _npy(vectors),
        f"{name}.{PLACES}": _npy(places),
        f"{name}.{THUMBNAILS}": b"".join(thumbnails),
        f"{name}.{OFFSETS}": _npy(offsets),
    }
    files = {}
    for file, content in contents.items():
        atomic_write(folder / file, content)
        files[file] = FileFacts(len(content), hashlib.sha256(content).hexdigest())
    return Segment(name, len(vectors), files)


def is_segment_file(name: str) -> bool:
    """Whether :func:`write_segment` gives names such as this."""
    return _SEGMENT_FILE.fullmatch(name) is not None


def read_vectors(folder: Path, segment: Segment, dim: int) -> F32:
    """Vectors [n, ``dim``], memory-mapped."""
    return _load(folder / f"{segment.name}.{VECTORS}", (segment.windows, dim), np.float32)


def read_places(folder: Path, segment: Segment) -> F64:
    """Latitude, longitude and bearing of up [n, 3].

    Longitudes lie in [-180, 180], also of old indexes that were written with others.
    """
    path = folder / f"{segment.name}.{PLACES}"
    places: F64 = np.array(_load(path, (segment.windows, 3), np.float64))
    if not np.isfinite(places).all() or np.abs(places[:, 0]).max() > 90.0:
        raise damaged(path, "holds places that are not on Earth")
    places[:, 1] = wrap_lon(places[:, 1])
    return places


def read_thumbnail(folder: Path, segment: Segment, row: int) -> bytes:
    """The JPEG file of one window."""
    offsets = _load(folder / f"{segment.name}.{OFFSETS}", (segment.windows + 1,), np.int64)
    start, stop = int(offsets[row]), int(offsets[row + 1])
    path = folder / f"{segment.name}.{THUMBNAILS}"
    if not 0 <= start <= stop <= segment.files[path.name].bytes:
        raise damaged(folder / f"{segment.name}.{OFFSETS}", "points outside of the thumbnails")
    try:
        with path.open("rb") as blob:
            blob.seek(start)
            return blob.read(stop - start)
    except OSError as problem:
        raise damaged(path, problem.strerror or "cannot be read") from problem


def check_sizes(folder: Path, segment: Segment) -> None:
    """Every file is there and as long as it was written; raises :class:`BadIndex`."""
    for name, facts in segment.files.items():
        path = folder / name
        if not path.is_file():
            raise damaged(path, "is missing")
        if (size := path.stat().st_size) != facts.bytes:
            raise damaged(path, f"holds {size} of {facts.bytes} bytes")


def check_contents(folder: Path, segment: Segment) -> None:
    """Every file holds what was written; raises :class:`BadIndex`."""
    check_sizes(folder, segment)
    for name, facts in segment.files.items():
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != facts.sha256:
                raise damaged(folder / name, "has changed since it was written")


def damaged(path: Path, what: str) -> BadIndex:
    """The error for a file of an index."""
    return BadIndex(f"The index {path.parent} is damaged: {path.name} {what}.\n{REBUILD}")


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _load(path: Path, shape: tuple[int, ...], kind: type[np.generic]) -> NDArray[Any]:
    """The array, memory-mapped: what its header claims is no memory until it is there."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as problem:  # numpy reads the header as Python: many kinds of errors
        raise damaged(path, f"cannot be read ({problem})") from problem
    if array.shape != shape or array.dtype != kind:
        raise damaged(path, f"holds {array.dtype} {list(array.shape)}, not {list(shape)}")
    return array
