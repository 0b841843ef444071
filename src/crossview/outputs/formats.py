"""The formats of answers: one table of names, file endings, media types and writers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from crossview.errors import InvalidValue, UnknownName
from crossview.localization.answer import Answer
from crossview.outputs.geojson import to_geojson
from crossview.outputs.gpx import to_gpx
from crossview.outputs.kml import to_kml, to_kmz
from crossview.outputs.text import to_csv, to_jsonl, to_table


class Format(NamedTuple):
    """How answers are written to one kind of file."""

    endings: tuple[str, ...]  # of file names, the usual one first
    media_type: str
    write: Callable[[Sequence[Answer]], str | bytes]


FORMATS = {
    "table": Format((".txt",), "text/plain; charset=utf-8", to_table),
    "jsonl": Format((".jsonl", ".ndjson"), "application/jsonl", to_jsonl),
    "geojson": Format((".geojson", ".json"), "application/geo+json", to_geojson),
    "kml": Format((".kml",), "application/vnd.google-earth.kml+xml", to_kml),
    "kmz": Format((".kmz",), "application/vnd.google-earth.kmz", to_kmz),
    "gpx": Format((".gpx",), "application/gpx+xml", to_gpx),
    "csv": Format((".csv",), "text/csv; charset=utf-8", to_csv),
}
PAGE_ENDINGS = (".html", ".htm")


def choose_format(name: str | None, path: Path | None) -> str:
    """The format ``name``, else the one of the file's ending, else "table".

    Raises :class:`UnknownName` for an unknown name, :class:`InvalidValue` for an unknown ending and
    for an ending that belongs to another format than ``name``.
    """
    if name is not None and name not in FORMATS:
        raise UnknownName("format", name, FORMATS)
    if path is None:
        return name or "table"
    ending = path.suffix.lower()
    by_ending = find_format(ending)
    if name is None and by_ending is None:
        advice = f"A map page is written by --map {path}." if ending in PAGE_ENDINGS else (
            "Or name the format: --format NAME."
        )  # fmt: skip
        endings = ", ".join(item for form in FORMATS.values() for item in form.endings)
        raise InvalidValue(
            f"--out {path}: no format has the ending {ending or '(none)'}.\n"
            f"Endings: {endings}. {advice}"
        )
    if name is not None and by_ending is not None and name != by_ending:
        raise InvalidValue(
            f"--out {path} and --format {name} disagree: {ending} is the ending of {by_ending}.\n"
            "Remove one of them."
        )
    return name or str(by_ending)


def find_format(ending: str) -> str | None:
    """The name of the format with this file ending (such as ``.csv``), or None."""
    return next((name for name, form in FORMATS.items() if ending.lower() in form.endings), None)
