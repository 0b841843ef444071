"""Lists (CSV) of images with their places: columns file, lat, lon and metres_per_px or width_m."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from crossview.errors import BadImagery
from crossview.geo.points import LatLon
from crossview.imagery.provenance import SourceOptions
from crossview.lists import Folder, ListRow, read_header, read_table

NEEDED = ("file", "lat", "lon")
SCALES = ("metres_per_px", "width_m")
AGREE = 0.05  # relative; metres_per_px is often rounded
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
        """Ground metres per pixel of an image ``width_px`` wide; what contradicts is refused."""
        if self.metres_per_px is not None:
            across_m = self.metres_per_px * width_px
            if self.width_m is not None and not math.isclose(across_m, self.width_m, rel_tol=AGREE):
                raise BadImagery(
                    f"{self.path.name}: {width_px} pixels of {self.metres_per_px:g} m are "
                    f"{across_m:g} m, but width_m is {self.width_m:g}.\nKeep one of the two."
                )
            return self.metres_per_px
        if self.width_m is not None:
            return self.width_m / width_px
        raise BadImagery(
            f"{self.path.name} has neither metres_per_px nor width_m in its table.\n"
            "Add one of the columns, or give --metres-per-px or --width-m for all images."
        )


def is_image_table(path: Path) -> bool:
    """Whether a list has the columns of an image table, a scale among them."""
    columns = read_header(path)
    return set(NEEDED) <= columns and bool(columns & set(SCALES))


def read_image_table(path: Path, options: SourceOptions) -> list[ImageRow]:
    """Rows of a table (:mod:`crossview.lists`); image files are looked for beside it.

    The scale of ``options`` is used where a row has none. Columns other than `KNOWN` are not read.
    BadImagery names the line that is wrong, and an image that is listed with other facts twice.
    """
    folder = Folder(path.parent)
    rows: dict[str, tuple[int, ImageRow]] = {}
    for row in read_table(path, needed=NEEDED, what="table of images", error=BadImagery):
        image = _parse_image(row, folder, options)
        line, earlier = rows.setdefault(folder.key(row.text("file")), (row.line, image))
        if earlier != replace(image, path=earlier.path):
            raise BadImagery(
                f"{row.where}: {row.text('file')} is in line {line} too, with other facts.\n"
                "Keep the line that is right."
            )
    return [image for _, image in rows.values()]


def _parse_image(row: ListRow, folder: Folder, options: SourceOptions) -> ImageRow:
    if not (file := row.text("file")):
        raise BadImagery(f"{row.where}: file is empty.")
    scale = {name: _read_positive(row, name) for name in SCALES}
    if scale["metres_per_px"] is None and scale["width_m"] is None:
        scale = {"metres_per_px": options.metres_per_px, "width_m": options.width_m}
    bearing = row.number("up_bearing_deg", -360.0, 360.0)
    return ImageRow(
        path=folder.file(file),
        centre=LatLon(*row.place()),
        metres_per_px=scale["metres_per_px"],
        width_m=scale["width_m"],
        up_bearing_deg=0.0 if math.isnan(bearing) else bearing,
        attribution=row.text("attribution"),
        date=row.text("date"),
    )


def _read_positive(row: ListRow, name: str) -> float | None:
    value = row.number(name)
    if not value > 0.0 and not math.isnan(value):
        raise BadImagery(f"{row.where}: {name} must be > 0, got {value:g}.")
    return None if math.isnan(value) else value
