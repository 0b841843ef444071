"""The formats of answers: one table of names, file endings, media types and writers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from crossview.errors import InvalidValue, UnknownName
from crossview.localization.answer import Answer
from crossview.outputs.geojson import to_geojson, to_geojson_track
from crossview.outputs.gpx import to_gpx, to_gpx_track
from crossview.outputs.kml import to_kml, to_kml_track, to_kmz
from crossview.outputs.text import to_csv, to_csv_track, to_jsonl, to_table, to_table_track

if TYPE_CHECKING:
    from crossview.localization.track import Track


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
TRACK_FORMATS: dict[str, Callable[[Track], str]] = {
    "table": to_table_track,
    "geojson": to_geojson_track,
    "kml": to_kml_track,
    "gpx": to_gpx_track,
    "csv": to_csv_track,
}
"""How a track is written, by those of ``FORMATS`` that can hold one."""

PAGE_ENDINGS = (".html", ".htm")


def choose_format(
    name: str | None, path: Path | None, among: Mapping[str, object] = FORMATS
) -> str:
    """The format ``name``, else the one of the file's ending, else "table"; one of ``among``.

    Raises :class:`UnknownName` for an unknown name, :class:`InvalidValue` for an unknown ending and
    for an ending that belongs to another format than ``name``.
    """
    if name is not None and name not in among:
        raise UnknownName("format", name, among)
    if path is None:
        return name or "table"
    ending = path.suffix.lower()
    by_ending = found if (found := find_format(ending)) in among else None
    if name is None and by_ending is None:
        advice = f"A map page is written by --map {path}." if ending in PAGE_ENDINGS else (
            "Or name the format: --format NAME."
        )  # fmt: skip
        endings = ", ".join(item for known in among for item in FORMATS[known].endings)
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
