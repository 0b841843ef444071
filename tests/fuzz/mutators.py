"""Damage by a seed: bits, lengths and pieces of any file; values of JSON, cells of lists.

What wraps its content (gzip, zip, MATLAB's elements) is damaged inside as well and wrapped again,
because most damage to the outside ends at a checksum and never reaches the reader behind it.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
           0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)  # fmt: skip
VALUES = (None, -1, 0, 1, 1.5, 1e308, 2**70, "", "x", "\ud800", "\x00", "../../x", "/etc/passwd",
          "https://localhost/x", [], [1], {}, {"a": 1}, True, False, float("nan"), float("inf"),
          [[[[1]]]], "9" * 400)  # fmt: skip
CELLS = ("", "-1", "0", "nan", "inf", "1e999", "1,5", "x", '"', "'", "\0", "\u2028", "../x",
         "/etc/passwd", "9" * 5000, "\ufeff", "-200", "1_0", "\u0661", ";", "\t")  # fmt: skip
WORDS = ("+init=epsg:4326",
         "+nadgrids=/etc/passwd", "+proj=longlat +nadgrids=@x,null", "EPSG:4326",
         "EPSG:999999", "urn:ogc:def:crs:EPSG::25833", "PROJCS[", "GEOGCS[\"x\"]", "/vsicurl/x",
         "+proj=pipeline +step +proj=axisswap", "@/etc/passwd", "file:///etc/passwd")  # fmt: skip

Damage = Callable[[bytes, random.Random], bytes]


def damage(name: str, data: bytes, draw: random.Random) -> bytes:
    """``data`` of a file of this name, damaged once or a few times."""
    kinds: list[Damage] = [flip_bits, cut, set_number, splice, repeat]
    suffix = Path(name).suffix.lower()
    kinds += _BY_SUFFIX.get(suffix, [])
    if suffix in _BY_SUFFIX and draw.random() < 0.5:
        kinds = _BY_SUFFIX[suffix]
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        try:
            data = draw.choice(kinds)(data, draw)
        except Exception:  # it took apart what was damaged before
            data = flip_bits(data, draw)
    return data


def flip_bits(data: bytes, draw: random.Random) -> bytes:
    """One to eight bits are others."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        if changed:
            changed[_somewhere(changed, draw)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(data: bytes, draw: random.Random) -> bytes:
    """The end is missing, or the beginning."""
    at = draw.randrange(len(data) + 1)
    return data[:at] if draw.random() < 0.8 else data[at:]


def set_number(data: bytes, draw: random.Random) -> bytes:
    """A number of 1, 2, 4 or 8 bytes is an extreme one: lengths, offsets, counts, sizes."""
    width = draw.choice((1, 2, 4, 8))
    if len(data) < width:
        return data
    at = min(_somewhere(data, draw), len(data) - width)
    order = draw.choice(("<", ">"))
    number = draw.choice((*NUMBERS, draw.randrange(2**16), len(data)))
    packed = struct.pack(f"{order}Q", number & (2 ** (8 * width) - 1))
    packed = packed[:width] if order == "<" else packed[-width:]
    return data[:at] + packed + data[at + width :]


def splice(data: bytes, draw: random.Random) -> bytes:
    """A piece of it stands in another place too, or is gone."""
    if not data:
        return data
    start = draw.randrange(len(data))
    piece = data[start : start + draw.choice((1, 4, 16, 256, 4096))]
    at = draw.randrange(len(data))
    gone = draw.choice((0, len(piece)))
    return data[:at] + piece * draw.choice((0, 1, 1)) + data[at + gone :]


def repeat(data: bytes, draw: random.Random) -> bytes:
    """A piece of it stands there many times."""
    start = draw.randrange(len(data) + 1)
    piece = data[start : start + draw.choice((1, 8, 64))]
    return data[:start] + piece * draw.choice((2, 16, 1000)) + data[start:]


def _somewhere(data: bytes | bytearray, draw: random.Random) -> int:
    """A place, the beginning more often: headers stand there."""
    most = len(data) if draw.random() < 0.6 else min(len(data), 256)
    return draw.randrange(most)


def swap_json(data: bytes, draw: random.Random) -> bytes:
    """A value at any depth is another one, gone or new; or all of it is laid out anew."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return flip_bits(data, draw)
    if draw.random() < 0.02:
        return draw.choice((b"[" * 100_000, b'{"a":' * 100_000, b"[]", b"null", b"1" * 5000, b'"'))
    values = _swap(values, draw)
    text = json.dumps(values, indent=draw.choice((None, 1, 2)))
    if draw.random() < 0.05:
        text = text.replace("null", "NaN").replace("1", "1e400", 1)
    return text.encode()


def _swap(values: Any, draw: random.Random) -> Any:
    place = values
    while isinstance(place, dict | list) and place:
        key: Any = (
            draw.choice(list(place)) if isinstance(place, dict) else draw.randrange(len(place))
        )
        if isinstance(place[key], dict | list) and place[key] and draw.random() < 0.8:
            place = place[key]
            continue
        what = draw.random()
        if what < 0.55:
            place[key] = draw.choice(VALUES)
        elif what < 0.7 and isinstance(place[key], int | float):
            place[key] = place[key] * draw.choice((-1, 2, 0.5, 1e6)) + draw.choice((0, 1))
        elif what < 0.8:
            place[key] = draw.choice(list(place.values() if isinstance(place, dict) else place))
        elif what < 0.9:
            del place[key]
        elif isinstance(place, dict):
            place[draw.choice(("surprise", "__class__", key + "x"))] = draw.choice(VALUES)
        else:
            place.insert(key, draw.choice(VALUES))
        break
    return values


def swap_lines(data: bytes, draw: random.Random) -> bytes:
    """A line of JSON is changed, torn or stands twice."""
    lines = data.split(b"\n")
    at = draw.randrange(len(lines))
    what = draw.random()
    if what < 0.6:
        lines[at] = swap_json(lines[at], draw)
    elif what < 0.8:
        lines[at] = lines[at][: draw.randrange(len(lines[at]) + 1)]
    else:
        lines.insert(at, lines[draw.randrange(len(lines))])
    return b"\n".join(lines)


def swap_cells(data: bytes, draw: random.Random) -> bytes:
    """A cell of a list is another, gone or new; or the list is in another encoding."""
    what = draw.random()
    text = data.decode("utf-8", "replace")
    if what < 0.15:
        encoding = draw.choice(("utf-16", "utf-32", "latin-1", "utf-8-sig", "cp1252", "utf-16-be"))
        return text.encode(encoding, "replace")
    separator = "," if "," in text else " "
    rows = [line.split(separator) for line in text.split("\n")]
    row = draw.choice(rows)
    at = draw.randrange(len(row))
    if what < 0.75:
        row[at] = draw.choice((*CELLS, *draw.choice(rows)))
    elif what < 0.85:
        row.insert(at, draw.choice(CELLS))
    elif what < 0.95:
        del row[at]
    else:
        rows.append(list(row))
    joined = draw.choice((separator, separator, separator, ";", "\t"))
    return (
        draw.choice(("\n", "\n", "\r\n", "\r"))
        .join(joined.join(r) for r in rows)
        .encode("utf-8", "surrogatepass")
    )


def swap_words(data: bytes, draw: random.Random) -> bytes:
    """A text says something else: another reference system, a path, an address."""
    word = draw.choice((*WORDS, *CELLS)).encode("utf-8", "replace")
    if draw.random() < 0.5:
        return word
    at = draw.randrange(len(data) + 1)
    return data[:at] + word + data[at:]


def inside_zip(data: bytes, draw: random.Random) -> bytes:
    """A member of a zip file is damaged, and the file made anew."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {i.filename: archive.read(i) for i in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, zlib.error, EOFError,
            RuntimeError):  # fmt: skip
        return flip_bits(data, draw)
    name = draw.choice(list(members) or [""])
    what = draw.random()
    if what < 0.8:
        members[name] = damage(name, members.get(name, b""), draw)
    elif what < 0.9:
        members.pop(name, None)
    else:
        members[draw.choice(("extra", "../x", "x/" * 50 + "y"))] = members.get(name, b"")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", draw.choice((0, 8))) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return stream.getvalue()


def header_of_array(data: bytes, draw: random.Random) -> bytes:
    """The header of a .npy says something else: another type, order or shape."""
    old = draw.choice((b"(", b"'<f4'", b"'<f8'", b"False", b"'<i8'", b",)", b"'|u1'"))
    new = draw.choice((b"(9" * 1, b"'|O8'", b"'<f2'", b"True", b"'<U9'", b"(-1,", b"'<M8'",
                       b"(" * 60, b"999999999999"))  # fmt: skip
    return data.replace(old, new, 1)


def header_of_tensors(data: bytes, draw: random.Random) -> bytes:
    """The JSON before the tensors says something else, with the right length before it."""
    if len(data) < 8:
        return data
    length = int.from_bytes(data[:8], "little")
    header = swap_json(data[8 : 8 + length], draw)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def inside_matlab(data: bytes, draw: random.Random) -> bytes:
    """A compressed element of a .mat file is damaged inside, and packed again."""
    elements, at = [], 128
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        elements.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size
    if not elements:
        return flip_bits(data, draw)
    chosen = draw.randrange(len(elements))
    kind, content = elements[chosen]
    try:
        unpacked = zlib.decompress(content) if kind == 15 else content
    except zlib.error:
        return flip_bits(data, draw)
    unpacked = draw.choice((flip_bits, cut, set_number, set_number, splice))(unpacked, draw)
    elements[chosen] = (kind, zlib.compress(unpacked) if kind == 15 else unpacked)
    return data[:128] + b"".join(struct.pack("<II", k, len(c)) + c for k, c in elements)


def inside_gzip(data: bytes, draw: random.Random) -> bytes:
    """What is packed by gzip, anywhere in the file, is damaged inside; its length may change."""
    starts = [i for i in range(len(data) - 2) if data[i : i + 3] == b"\x1f\x8b\x08"]
    if not starts:
        return flip_bits(data, draw)
    start = draw.choice(starts)
    reader = zlib.decompressobj(31)
    try:
        content = reader.decompress(data[start:], 1 << 24)
    except zlib.error:
        return flip_bits(data, draw)
    end = len(data) - len(reader.unused_data)
    changed = gzip.compress(draw.choice((flip_bits, cut, set_number, splice))(content, draw))
    return data[:start] + changed + data[end:]


def change_rows(data: bytes, draw: random.Random) -> bytes:
    """A value of a SQLite file is another one, written by SQLite itself."""
    import sqlite3

    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(data)
        (table,) = draw.choice(
            connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        )
        columns = [row[1] for row in connection.execute(f"pragma table_info('{table}')")]
        column = draw.choice(columns)
        value = draw.choice(
            (
                *(
                    v
                    for v in VALUES
                    if isinstance(v, str | int | float | None)
                    and not (isinstance(v, int) and abs(v) > 2**62)
                ),
                *CELLS,
                b"\x89PNG",
            )
        )
        if isinstance(value, str) and "\ud800" in value:
            value = "x"
        where = draw.choice(("", f" where rowid = (select min(rowid) from {table})"))
        connection.execute(f'update "{table}" set "{column}" = ?{where}', (value,))
        connection.commit()
        return connection.serialize()
    except (sqlite3.Error, IndexError, MemoryError, OverflowError):
        return flip_bits(data, draw)
    finally:
        connection.close()


_BY_SUFFIX: dict[str, list[Damage]] = {
    ".json": [swap_json],
    ".jsonl": [swap_lines],
    ".csv": [swap_cells],
    ".txt": [swap_cells, swap_words],
    ".prj": [swap_words],
    ".pgw": [swap_cells, swap_words],
    ".npz": [inside_zip],
    ".npy": [header_of_array],
    ".pth": [inside_zip],
    ".safetensors": [header_of_tensors],
    ".mat": [inside_matlab],
    ".pmtiles": [inside_gzip],
    ".mbtiles": [change_rows],
    ".xml": [swap_words],
}
