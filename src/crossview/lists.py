r"""Lists of pictures, places and scores, as people, spreadsheets and other programs write them.

One rule for every list that the package reads, so that a list is right everywhere or nowhere:

text       UTF-8, with or without a byte order mark, or UTF-16 and UTF-32 with one. Other encodings
           are refused with the line: nothing in a file tells Latin-1 from its kin.
lines      end in ``\n``, ``\r\n`` or ``\r``, and nowhere else. Lines of nothing but spaces and
           separators are left out. There are no comments.
cells      are separated by commas, semicolons or tabs, whichever gives the header its columns (a
           first line ``sep=;`` as spreadsheets write it is obeyed), quoted as in RFC 4180. Spaces
           around a cell do not count.
header     names columns in upper or lower case, each once. Every line has as many cells as it.
numbers    are written with a point. A comma is the decimal mark too where it cannot be another
           thing: in lists separated by semicolons, in quoted cells, and after tabs, unless the
           number could be one with thousands (1,234). A list uses one of the two marks.
names      of files are compared without regard to how they are spelled: ``./a.jpg``, ``a//b.jpg``,
           ``a\b.jpg`` and the two Unicode forms of an umlaut are one file each.
"""

from __future__ import annotations

import codecs
import csv
import math
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from crossview.errors import BadData, CrossviewError

MAX_BYTES = 1 << 30
SEPARATORS = (",", ";", "\t")
LATITUDE_DEG, LONGITUDE_DEG = (-90.0, 90.0), (-180.0, 180.0)
Comma = Literal["never", "if clear", "mark"]  # may a comma be the decimal mark
_MARKS = (  # UTF-32 before UTF-16, whose mark it begins with
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAVE = "Save it as UTF-8 (in a spreadsheet: CSV UTF-8)."
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_CELL = re.compile(r"[^ \t]+")
_SPACE = " \t\r\n"
_POINT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_HINT = re.compile(r'"?sep=([,;\t])"?[,;\t]*', re.IGNORECASE)  # cells may follow, all empty
_LONGEST_HINT = 10_000
_ODD = re.compile(r"[^\x20-\x5b\x5d-\x7e]|//|(?:^|/)\.{1,2}(?:/|$)|/$")


# --- text


def decode_text(data: bytes, name: str, error: type[CrossviewError] = BadData) -> str:
    """The text of a file's bytes; ``error`` that starts with ``name`` and the line, if none.

    A byte order mark decides the encoding and is left out; without one it is UTF-8.
    """
    mark, encoding = next((m for m in _MARKS if data.startswith(m[0])), (b"", "utf-8"))
    body = data[len(mark) :]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as problem:
        before = body[: problem.start].decode(encoding, "ignore")
        shown = " ".join(f"0x{byte:02X}" for byte in body[problem.start : problem.end][:4])
        raise error(
            f"{name}, line {_line_after(before)}: {shown} is not {encoding.upper()}; the file has "
            f"another encoding, or is no text.\n{_SAVE}"
        ) from problem
    if "\0" in text:
        line = _line_after(text[: text.index("\0")])
        raise error(
            f"{name}, line {line}: a NUL byte; the file is damaged, no text, or UTF-16 without its "
            f"byte order mark.\n{_SAVE}"
        )
    return text.lstrip("\ufeff")  # programs that append to each other's files write two


def read_text(path: Path, what: str = "list", error: type[CrossviewError] = BadData) -> str:
    """The text of the file at ``path``; ``error`` that says ``what`` it should be, if it has none.

    At most 1 GiB is read.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as problem:
        raise error(f"No {what} at {path}.") from problem
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{path} cannot be read as a {what}: {reason}.") from problem
    if len(data) > MAX_BYTES:
        raise error(f"{path} is larger than 1 GiB; expected a {what}.")
    return decode_text(data, str(path), error)


def split_lines(text: str) -> Iterator[str]:
    r"""The lines of a text with their ends, which are ``\n``, ``\r\n`` or ``\r`` only."""
    return (match.group() for match in _LINE.finditer(text))


def _line_after(text: str) -> int:
    return 1 + text.count("\n") + text.count("\r") - text.count("\r\n")


# --- tables with a header


@dataclass(eq=False)
class Table:
    """A list with a header, read once from its first line to its last: ``for row in table``."""

    path: Path
    columns: tuple[str, ...]  # in lower case; "" where the header has no name
    separator: str
    error: type[CrossviewError]
    _records: Iterator[tuple[int, list[str]]] = field(repr=False)
    _marked: dict[str, int] = field(default_factory=dict, repr=False)  # decimal mark: first line

    def __post_init__(self) -> None:
        self._at = {name: n for n, name in enumerate(self.columns) if name}
        self._nameless = [n for n, name in enumerate(self.columns) if not name]

    def __iter__(self) -> Iterator[ListRow]:
        width = len(self.columns)
        for line, cells in self._records:
            if len(cells) != width:
                if not any(cell.strip() for cell in cells):
                    continue
                raise self.error(
                    f"{self.path}, line {line}: {len(cells)} cells, but the header has {width}."
                    + (_ABOUT_COMMAS if len(cells) > width and self.separator == "," else "")
                )
            if not cells[0] and not any(cell.strip() for cell in cells):
                continue
            if self._nameless and any(cells[n].strip() for n in self._nameless):
                raise self.error(
                    f"{self.path}, line {line}: a cell stands under no name of the header."
                )
            yield ListRow(self, line, cells)


_ABOUT_COMMAS = (
    "\nCommas separate its cells: put quotes around what holds one, and write numbers with a point."
)


@dataclass(frozen=True, slots=True, eq=False)
class ListRow:
    """One line of a :class:`Table`; its errors name the file and the line."""

    table: Table
    line: int  # its first one, where a quoted cell holds line ends
    cells: Sequence[str]

    def __str__(self) -> str:
        return f"{self.table.path}, line {self.line}"

    @property
    def where(self) -> str:
        """The words "FILE, line N"."""
        return str(self)

    def text(self, column: str) -> str:
        """The cell of a column without spaces around it; "" where the list has no such column."""
        n = self.table._at.get(column)
        return "" if n is None else self.cells[n].strip(_SPACE)

    def number(self, column: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number from ``low`` to ``high``, or NaN where the cell is empty or absent."""
        table, text = self.table, self.text(column)
        if not text:
            return math.nan
        comma: Comma = "mark" if table.separator == ";" else "if clear"
        value = number(column, text, (low, high), self, comma=comma, error=table.error)
        for mark in ".,":
            if mark in text and mark not in table._marked:
                table._marked[mark] = self.line
        if len(table._marked) == 2:
            raise table.error(
                f"{self.where}: {column} is {text!r}, but line {min(table._marked.values())} "
                "writes numbers with the other decimal mark.\nUse the point everywhere."
            )
        return value

    def place(self, lat: str = "lat", lon: str = "lon") -> tuple[float, float]:
        """Latitude and longitude in degrees of two columns; neither may be empty."""
        values = self.number(lat, *LATITUDE_DEG), self.number(lon, *LONGITUDE_DEG)
        for column, value in zip((lat, lon), values, strict=True):
            if math.isnan(value):
                raise self.table.error(f"{self.where}: {column} is empty.")
        return values

    def choice(self, column: str, allowed: Sequence[str]) -> str:
        """One of ``allowed``; the first of them where the cell is empty or absent."""
        return choice(column, self.text(column), allowed, self, error=self.table.error)


def read_table(
    path: Path,
    *,
    needed: Sequence[str],
    allowed: Sequence[str] | None = None,
    what: str = "list",
    error: type[CrossviewError] = BadData,
) -> Table:
    """Open a list whose first line names its columns (lower case), of which some are ``needed``.

    Columns beside ``allowed`` are refused; None: they are read like the others. ``error`` names the
    file and the line of whatever cannot be used.
    """
    text = read_text(path, what, error)
    start, hinted = _begin(text)
    for separator in (hinted,) if hinted else SEPARATORS:
        records = _records(split_lines(text), separator, f"{path}", error, start)
        first = next(records, (start, []))
        names = tuple(cell.strip().lower() for cell in first[1])
        if set(needed) <= set(names):
            break
    else:
        raise error(_about_header(path, text, start, needed, allowed))
    where = f"{path}, line {first[0]}"
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise error(f"{where}: the column {twice[0]} is there twice; keep one of them.")
    unknown = [name for name in names if name and allowed is not None and name not in allowed]
    if unknown:
        raise error(
            f"{where}: unknown columns {', '.join(unknown)}.\nKnown: {', '.join(allowed or ())}."
        )
    return Table(path, names, separator, error, records)


def read_header(path: Path) -> set[str]:
    """The names of a list's columns, in lower case, from its first 64 KiB; none if it is no list.

    With the separator that gives the most of them.
    """
    try:
        with path.open("rb") as stream:
            text = decode_text(_whole_lines(stream.read(1 << 16)), str(path))
        start, hinted = _begin(text)
        return set(_names(text, start, (hinted,) if hinted else SEPARATORS))
    except (OSError, BadData):
        return set()


def _whole_lines(data: bytes) -> bytes:
    """Without the last line of a piece of a file, which may be cut; of UTF-16 an even number."""
    if len(data) < 1 << 16:
        return data
    cut = max(data.rfind(b"\n"), data.rfind(b"\r"))
    return data[: cut - cut % 4] if cut > 0 else data


def _names(text: str, start: int, separators: Iterable[str]) -> list[str]:
    """The header as the separator reads it that gives it the most names."""
    names_of_line: list[str] = []
    for separator in separators:
        records = _records(split_lines(text), separator, "", BadData, start)
        names = [cell.strip().lower() for cell in next(records, (0, []))[1]]
        names_of_line = max(names_of_line, [name for name in names if name], key=len)
    return names_of_line


def _begin(text: str) -> tuple[int, str]:
    """The line (from 1) where the header is looked for, and the separator of a ``sep=`` line."""
    first = next(split_lines(text), "")[:_LONGEST_HINT].strip("\r\n ")
    hint = _HINT.fullmatch(first)
    return (2, hint.group(1)) if hint else (1, "")


def _about_header(
    path: Path, text: str, start: int, needed: Sequence[str], allowed: Sequence[str] | None
) -> str:
    names = _names(text, start, SEPARATORS)
    missing = [name for name in needed if name not in names]
    return (
        f"{path}, line {start}: the header has no column {', '.join(missing)}; it has: "
        f"{', '.join(names)[:300] or 'nothing'}.\n"
        f"Expected {', '.join(allowed or needed)}, separated by commas, semicolons or tabs."
    )


def _records(
    lines: Iterable[str], separator: str, name: str, error: type[CrossviewError], start: int = 1
) -> Iterator[tuple[int, list[str]]]:
    """Line (from 1) and cells of every record from line ``start`` on, blank lines left out."""
    rest = iter(lines)
    for _ in range(start - 1):
        next(rest, None)
    reader = csv.reader(rest, delimiter=separator, skipinitialspace=True, strict=True)
    begun = start
    try:
        for cells in reader:
            if cells and not (len(cells) == 1 and not cells[0].strip()):
                yield begun, cells
            begun = start + reader.line_num
    except csv.Error as problem:
        raise error(
            f"{name}, line {begun}: {problem}.\nQuotes open and close a cell; write a quote inside "
            'one as "".'
        ) from problem


# --- lists without a header


def read_cells(
    path: Path,
    separator: str | None = ",",
    *,
    what: str = "list",
    error: type[CrossviewError] = BadData,
) -> Iterator[tuple[int, list[str]]]:
    """Line (from 1) and cells of every line that is not blank, of a list without a header.

    ``separator`` None: any number of spaces and tabs, and quotes are quotes.
    """
    lines = split_lines(read_text(path, what, error))
    if separator is None:
        for line, text in enumerate(lines, 1):
            if cells := _CELL.findall(text.rstrip("\r\n")):
                yield line, cells
        return
    for line, cells in _records(lines, separator, str(path), error):
        if any(stripped := [cell.strip(_SPACE) for cell in cells]):
            yield line, stripped


# --- cells


def number(
    name: str,
    text: str,
    limits: tuple[float, float],
    where: object,
    *,
    comma: Comma = "never",
    error: type[CrossviewError] = BadData,
) -> float:
    """A finite number within ``limits`` (both included), or NaN where ``text`` is empty.

    ``where``: what errors begin with, as ``str`` has it.
    ``comma``: whether it may be the decimal mark: "never"; "if clear", unless it could part
    thousands and the number still lay within the limits; "mark", always.
    """
    if not text:
        return math.nan
    low, high = limits
    value = math.nan
    if _POINT.fullmatch(text):
        value = float(text)
    elif comma != "never" and _COMMA.fullmatch(text):
        value = float(text.replace(",", "."))
        thousands = float(text.replace(",", "")) if _THOUSANDS.fullmatch(text) else math.nan
        if comma == "if clear" and low <= thousands <= high:
            raise error(
                f"{where}: {name} is {text!r}, which is {value:g} or {thousands:g}.\n"
                "Write it with a decimal point, and thousands without a mark."
            )
    if not (math.isfinite(value) and low <= value <= high):
        raise error(f"{where}: {name} is {text[:60]!r}; expected {_range(low, high)}.")
    return value


def _range(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return "a finite number"
    if math.isinf(high):
        return f"a number of at least {low:g}"
    return f"a number from {low:g} to {high:g}"


def choice(
    name: str,
    text: str,
    allowed: Sequence[str],
    where: object,
    *,
    error: type[CrossviewError] = BadData,
) -> str:
    """``text``, or the first of ``allowed`` where it is empty; ``error`` if it is not allowed."""
    value = text or allowed[0]
    if value not in allowed:
        known = ", ".join(name for name in allowed if name)
        raise error(f"{where}: {name} is {text[:60]!r}; allowed: {known}.")
    return value


# --- names of files


def name_key(name: str) -> str:
    """A file's name as all its spellings have it: composed (NFC), with slashes, no detours."""
    if not _ODD.search(name):
        return name
    return posixpath.normpath(unicodedata.normalize("NFC", name).replace("\\", "/"))


class Folder:
    """The files that a list names, in or below the folder of the list."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts: tuple[str, ...] | None = None
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def key(self, name: str) -> str:
        """What all spellings of a name have alike, absolute ones included."""
        key = name_key(name)
        absolute = os.path.isabs(key)
        if not absolute and not key.startswith("."):
            return key
        if self._starts is None:
            places = dict.fromkeys((os.path.abspath(self.path), os.path.realpath(self.path)))
            self._starts = tuple(name_key(Path(place).as_posix()).rstrip("/") for place in places)
        whole = key if absolute else name_key(posixpath.join(self._starts[0], key))
        for start in self._starts:
            if whole.startswith(f"{start}/"):
                return whole[len(start) + 1 :]
        return whole

    def file(self, name: str) -> Path:
        """The path of a named file: as it is called on the disk, if it is there in any spelling."""
        as_written = self.path / name
        if not _ODD.search(name) or os.path.lexists(as_written):
            return as_written
        place = self.path
        for part in PurePosixPath(name.replace("\\", "/")).parts:
            spellings = [] if part in ("/", "..") else self._listing(place).get(name_key(part), [])
            place = place / (spellings[0] if len(spellings) == 1 else part)
        return place

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        """What a folder holds on the disk, by what all spellings have alike."""
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            try:
                names = sorted(os.listdir(folder))
            except (OSError, ValueError):
                names = []
            for name in names:
                listing.setdefault(unicodedata.normalize("NFC", name), []).append(name)
            self._listings[folder] = listing
        return self._listings[folder]
