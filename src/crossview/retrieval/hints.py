"""Hints: what is known of a picture besides its pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crossview.errors import InvalidValue, require
from crossview.geo.points import LatLon
from crossview.retrieval.model import ModelInfo
from crossview.views.lens import require_fov


@dataclass(frozen=True, kw_only=True)
class Hints:
    """Everything is optional. A hint is taken as true; what contradicts it is not looked at."""

    fov_deg: float | None = None  # horizontal; overrides the file's own metadata
    heading_deg: float | None = None  # of the picture's middle, clockwise from true north
    horizon_px: float | None = None  # row of the horizon in the upright picture, 0 = top edge
    near: LatLon | None = None
    within_m: float | None = None  # of ``near``
    places: int = 10  # how many to give, best first

    def __post_init__(self) -> None:
        heading = self.heading_deg
        if self.fov_deg is not None:
            require_fov(self.fov_deg)
        require(
            heading is None or -360.0 <= heading <= 360.0,
            f"a heading lies in [-360, 360] degrees, clockwise from north, got {heading}.",
        )
        require(
            self.horizon_px is None or math.isfinite(self.horizon_px),
            f"the horizon's row must be a number, got {self.horizon_px}.",
        )
        require(
            (self.near is None) == (self.within_m is None),
            "an area needs both a centre and a radius: near and within.",
        )
        require(
            self.within_m is None or 0.0 < self.within_m < math.inf,
            f"the radius of an area must be > 0, got {self.within_m} m.",
        )
        require(self.places >= 1, f"at least one place must be asked for, got {self.places}.")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values of the hints that were given."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def hints_for(hints: Hints | Sequence[Hints], pictures: int) -> list[Hints]:
    """One :class:`Hints` per picture, from one for all of them or one for each."""
    given = [hints] * pictures if isinstance(hints, Hints) else list(hints)
    require(len(given) == pictures, f"{pictures} pictures, but hints for {len(given)}.")
    return given


def require_usable_heading(info: ModelInfo, fov_deg: float) -> None:
    """Raise :class:`InvalidValue` unless a model can use the heading of a picture this wide."""
    if info.azimuth_bins > 1:
        return
    if info.headings_seen != "aligned":
        raise InvalidValue(
            f"the model {info.name!r} cannot use a heading: its vectors do not tell directions "
            "apart, and it was trained on pictures of any heading.\nLeave the heading away."
        )
    if info.ground.representation == "narrow" and fov_deg < 360.0:
        raise InvalidValue(
            f"the model {info.name!r} cannot use the heading of a photo, only of a panorama: "
            "to it a photo is a strip that belongs nowhere.\nLeave the heading away."
        )
