"""What a raster's tags, and files beside it, say of its place: world files, .prj, TIFF tags."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crossview.errors import BadData, NotGeoreferenced
from crossview.geo.grids import Affine6
from crossview.lists import decode_text

_MOST_BYTES = 100_000  # of a world file or a .prj
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?")
_SCALE, _TIEPOINTS, _MATRIX, _GEO_KEYS = 33550, 33922, 34264, 34735
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2


def decode_any_text(data: bytes) -> str:
    """Text with or without a byte order mark, in UTF-8, UTF-16 or (of old programs) Latin-1."""
    try:
        return decode_text(data, "")
    except BadData:  # here it must not be lost: the numbers count, names need not be right
        if b"\0" in data[:4]:  # UTF-16 of something ASCII, without its mark
            return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le", "replace")
        return data.decode("cp1252", "replace")


def read_prj(path: Path) -> str | None:
    """The coordinate reference system in a .prj file beside a raster, or None."""
    for beside in _list_beside(path, [".prj"]):
        if text := decode_any_text(_read(beside)).strip():
            return text
    return None


def read_world_file(path: Path) -> tuple[Affine6, Path] | None:
    """The transform in a world file beside a raster and that file's path, or None.

    Raises :class:`NotGeoreferenced` for one that cannot be read with certainty, and for two that
    disagree.
    """
    suffix = path.suffix.lower()
    endings = [f".{suffix[1:2]}{suffix[-1:]}w", f"{suffix}w", ".wld"]
    transforms = [(_read_transform(beside), beside) for beside in _list_beside(path, endings)]
    if not transforms:
        return None
    first, first_file = transforms[0]
    for transform, beside in transforms[1:]:
        if not agree(transform, first, 1000):
            raise NotGeoreferenced(
                f"{path} has two world files that disagree: {first_file.name} and {beside.name}.\n"
                "Remove the wrong one."
            )
    return first, first_file


def agree(one: Affine6, other: Affine6, size_px: int) -> bool:
    """Whether two transforms put a picture of so many pixels to the same place, to half a pixel."""
    pixel = max(math.hypot(one[0], one[3]), 1e-12)
    scale = max(abs(one[i] - other[i]) for i in (0, 1, 3, 4)) * size_px
    return max(scale, abs(one[2] - other[2]), abs(one[5] - other[5])) <= 0.5 * pixel


def read_tiff_tags(path: Path) -> dict[int, Any]:
    """The tags of a TIFF's first picture by number, texts as bytes; none if it is not a TIFF."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        with path.open("rb") as file:
            header = file.read(8)
            if header[2:3] == b"\x2b" or header[3:4] == b"\x2b":
                header += file.read(8)  # BigTIFF
            directory = ImageFileDirectory_v2(header)
            file.seek(directory.next)
            directory.load(file)
            return dict(directory)
    except Exception:  # Pillow's own, struct's, index errors: then it has none
        return {}


def read_text_tag(tags: dict[int, Any], number: int) -> str:
    """A text tag in whatever encoding it has; Pillow hands texts over as if in Latin-1."""
    value = tags.get(number)
    if isinstance(value, tuple):
        value = value[0] if value else ""
    data = value if isinstance(value, bytes) else str(value or "").encode("latin-1", "replace")
    return decode_any_text(data).replace("\0", " ").strip()


def read_tag_transform(tags: dict[int, Any]) -> Affine6 | None:
    """The transform in a GeoTIFF's own tags, for when its reference system cannot be read."""
    try:
        if matrix := tags.get(_MATRIX):
            a, b, _, c, d, e, _, f = (float(value) for value in matrix[:8])
        elif tags.get(_SCALE) and len(tags.get(_TIEPOINTS, ())) == 6:
            a, down = (float(value) for value in tags[_SCALE][:2])
            column, row, _, x, y, _ = (float(value) for value in tags[_TIEPOINTS])
            b, d, e = 0.0, 0.0, -down
            c, f = x - a * column, y - e * row
        else:
            return None
    except (TypeError, ValueError, IndexError):
        return None
    keys = tags.get(_GEO_KEYS, ())
    for at in range(4, len(keys) - 3, 4):
        if keys[at] == _RASTER_TYPE and keys[at + 3] == _PIXEL_IS_POINT:
            c, f = c - (a + b) / 2.0, f - (d + e) / 2.0
    return a, b, c, d, e, f


def _list_beside(path: Path, endings: list[str]) -> Iterator[Path]:
    """Files beside a raster with its name and one of the endings, in any case; each once."""
    seen: list[Path] = []
    for ending in dict.fromkeys(endings):
        world = f"{ending[:-1]}W" if ending.endswith("w") else ending
        for case in (ending, ending.upper(), f".{ending[1:].capitalize()}", world):
            beside = path.with_suffix(case)
            if beside.is_file() and not any(beside.samefile(other) for other in seen):
                seen.append(beside)
                yield beside


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as problem:
        raise NotGeoreferenced(f"{path} cannot be read: {problem.strerror}.") from problem


def _read_transform(path: Path) -> Affine6:
    """Six numbers, a line each: of the pixels' scale and turn, and the first pixel's centre."""
    words = decode_any_text(_read(path)).split()[:6]
    wrong = [word for word in words if not _NUMBER.fullmatch(word)]
    if wrong or len(words) < 6:
        what = f"{wrong[0][:40]!r} is not a number" if wrong else f"only {len(words)} numbers"
        comma = " with a decimal point" if wrong and "," in wrong[0] else ""
        raise NotGeoreferenced(
            f"{path} cannot be read as a world file: {what}.\n"
            f"It must hold six numbers{comma}, each on a line of its own."
        )
    a, d, b, e, x, y = (float(word.lower().replace("d", "e")) for word in words)
    c, f = x - 0.5 * a - 0.5 * b, y - 0.5 * d - 0.5 * e
    if not all(map(math.isfinite, (a, b, c, d, e, f))):
        raise NotGeoreferenced(f"{path} cannot be read as a world file: its numbers are too large.")
    return a, b, c, d, e, f
