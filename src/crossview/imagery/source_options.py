"""SourceOptions: what the user says about imagery that it does not say itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How to read sources. None means: as the source says, or the usual.

    ``finest_useful_m``: ground metres per pixel below which more detail is of no use (the model
    would average it away); finer rasters are averaged while reading, pyramids use a lower zoom.
    """

    bands: tuple[int, ...] | None = None  # three for red, green, blue, or one for grey; from 1
    stretch: tuple[float, float] | None = None  # percentiles that become black and white
    crs: str | None = None  # of all files and tables, whatever they say themselves
    metres_per_px: float | None = None  # of images in a CSV that have none
    width_m: float | None = None  # likewise
    zoom: int | None = None  # of tile pyramids
    tms: bool | None = None  # of tile pyramids: rows from the south, from the north, as they say
    nodata: tuple[float, ...] | None = None  # stored value of no data: one, or one per band
    allow_vrt: bool | None = None  # read lists of local files (GDAL's VRT)
    attribution: str | None = None
    date: str | None = None
    finest_useful_m: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> SourceOptions:
        """The inverse of :meth:`to_json`."""
        tuples: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return SourceOptions(**tuples)
