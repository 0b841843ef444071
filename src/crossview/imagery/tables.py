"""CSV of images whose places stand in columns: file, lat, lon and metres_per_px or width_m."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crossview.errors import BadImagery, InvalidValue
from crossview.geo.points import LatLon
from crossview.imagery.options import SourceOptions

NEEDED = ("file", "lat", "lon")
SCALES = ("metres_per_px", "width_m")
KNOWN = (*NEEDED, *SCALES, "up_bearing_deg", "attribution", "date")


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """One image of a table: its file, its centre and its scale."""

    path: Path
    centre: LatLon
    metres_per_px: float | None
    width_m: float | None
    up_bearing_deg: float
    attribution: str
    date: str

    def scale(self, width_px: int) -> float:
        """Ground metres per pixel of an image ``width_px`` wide."""
        if self.metres_per_px is not None:
            return self.metres_per_px
        if self.width_m is not None:
            return self.width_m / width_px
        raise BadImagery(
            f"{self.path.name} has neither metres_per_px nor width_m in its table.\n"
            "Add one of the columns, or give --metres-per-px or --width-m for all images."
        )


def is_image_table(path: Path) -> bool:
    """Whether a CSV has the columns of an image table, a scale among them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            columns = set(next(csv.reader(lines), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return set(NEEDED) <= columns and bool(columns & set(SCALES))


def read_image_table(path: Path, options: SourceOptions) -> list[ImageRow]:
    """Rows of a table; image files are looked for beside it.

    The scale of ``options`` stands in where a row has none.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            columns = reader.fieldnames or []
            if missing := [name for name in NEEDED if name not in columns]:
                raise BadImagery(
                    f"{path} has no column {', '.join(missing)}; it has: {', '.join(columns)}.\n"
                    f"Known columns: {', '.join(KNOWN)}."
                )
            return [_row(path, line, values, options) for line, values in enumerate(reader, 2)]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise BadImagery(f"{path} cannot be read as a table: {problem}.") from problem


def _row(
    table: Path, line: int, values: Mapping[str, str | None], options: SourceOptions
) -> ImageRow:
    where = f"{table}, line {line}"
    scale = {name: _number(values, name, where) for name in SCALES}
    if scale["metres_per_px"] is None and scale["width_m"] is None:
        scale = {"metres_per_px": options.metres_per_px, "width_m": options.width_m}
    for name, value in scale.items():
        if value is not None and not value > 0.0:
            raise BadImagery(f"{where}: {name} must be > 0, got {value:g}.")
    return ImageRow(
        path=table.parent / str(values["file"]),
        centre=_centre(values, where),
        metres_per_px=scale["metres_per_px"],
        width_m=scale["width_m"],
        up_bearing_deg=_number(values, "up_bearing_deg", where) or 0.0,
        attribution=(values.get("attribution") or "").strip(),
        date=(values.get("date") or "").strip(),
    )


def _centre(values: Mapping[str, str | None], where: str) -> LatLon:
    lat, lon = _number(values, "lat", where), _number(values, "lon", where)
    if lat is None or lon is None or not values.get("file"):
        raise BadImagery(f"{where}: file, lat and lon must not be empty.")
    try:
        return LatLon(lat, lon)
    except InvalidValue as problem:
        raise BadImagery(f"{where}: {problem}") from problem


def _number(values: Mapping[str, str | None], name: str, where: str) -> float | None:
    text = (values.get(name) or "").strip()
    try:
        return float(text) if text else None
    except ValueError as problem:
        raise BadImagery(f"{where}: {name} must be a number, got {text!r}.") from problem
