"""The formats that places are written in: one table of names, endings, media types, writers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from crossview.errors import InvalidValue, UnknownName
from crossview.outputs.geojson import to_geojson
from crossview.outputs.gpx import to_gpx
from crossview.outputs.kml import to_kml, to_kmz
from crossview.outputs.text import to_csv, to_jsonl, to_table
from crossview.retrieval.places import Answer


class Format(NamedTuple):
    """One way of writing answers."""

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


def format_named(name: str | None, path: Path | None) -> str:
    """The format that was named, else the one of the file's ending, else a table.

    Raises :class:`UnknownName` for a name and :class:`InvalidValue` for an ending that no format
    has, and for an ending that belongs to another format than the one named.
    """
    if name is not None and name not in FORMATS:
        raise UnknownName("format", name, FORMATS)
    if path is None:
        return name or "table"
    ending = path.suffix.lower()
    meant = format_of_ending(ending)
    if name is None and meant is None:
        advice = f"A map page is written by --map {path}." if ending in PAGE_ENDINGS else (
            "Or name the format: --format NAME."
        )  # fmt: skip
        endings = ", ".join(each for one in FORMATS.values() for each in one.endings)
        raise InvalidValue(
            f"--out {path}: the ending {ending or '(none)'} names no format.\n"
            f"Endings: {endings}. {advice}"
        )
    if name is not None and meant is not None and name != meant:
        raise InvalidValue(
            f"--out {path} and --format {name} disagree: {ending} is the ending of {meant}.\n"
            "Leave one of them away."
        )
    return name or str(meant)


def format_of_ending(ending: str) -> str | None:
    """The format whose files end so (``.csv``), or None."""
    return next((name for name, one in FORMATS.items() if ending.lower() in one.endings), None)
