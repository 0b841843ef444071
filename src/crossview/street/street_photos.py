"""One photo taken on the ground at a known place, whoever took it and wherever it lies."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from crossview.errors import require
from crossview.geo.points import LatLon

OWN_SERVICE = "own"  # of photos that no service gave
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")  # a file's name on every system


@dataclass(frozen=True, kw_only=True)
class StreetPhoto:
    """A photo, its place, and what is known of both. None and "" stand for what is not known.

    ``id`` is unique in its service and may be (a part of) a file's name everywhere. ``heading_deg``
    is of the picture's middle, clockwise from true north in [0, 360); only what can be trusted:
    one that was computed from the places of neighbours is none. ``fov_deg`` is horizontal, in
    (0, 360]; 360 is a whole panorama. Exactly one of ``file`` and ``url`` says where the picture
    is. ``captured`` has a time zone. Raises :class:`InvalidValue` for anything else.
    """

    id: str
    service: str  # "own", "panoramax", "mapillary", "kartaview"
    place: LatLon
    captured: datetime | None = None  # UTC
    heading_deg: float | None = None
    fov_deg: float | None = None
    position_sigma_m: float | None = None  # one standard deviation, horizontal
    sequence: str | None = None  # photos of one drive or walk share it
    file: Path | None = None
    url: str | None = None
    licence: str = ""
    licence_url: str = ""
    attribution: str = ""  # who is to be named
    page_url: str = ""  # where people see the photo
    notes: tuple[str, ...] = ()  # what was assumed, in sentences

    def __post_init__(self) -> None:
        require(
            _ID.fullmatch(self.id) is not None and not self.id.endswith("."),
            f"the id {self.id[:60]!r} of a photo cannot be a file's name: letters, digits, '.', "
            "'_' and '-' are allowed, 120 at most.",
        )
        require(
            _ID.fullmatch(self.service) is not None,
            f"the service {self.service[:60]!r} of a photo must be one word, such as 'own'.",
        )
        require(
            (self.file is None) != (self.url is None),
            f"photo {self.id}: exactly one of file and url must say where the picture is.",
        )
        limits = {
            "heading_deg": (0.0, math.nextafter(360.0, 0.0)),
            "fov_deg": (math.nextafter(0.0, 1.0), 360.0),
            "position_sigma_m": (0.0, math.inf),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            require(
                value is None or (math.isfinite(value) and low <= value <= high),
                f"photo {self.id}: {name} is {value}; allowed: {low:g} to {high:g}, or None.",
            )
        require(
            self.captured is None or self.captured.utcoffset() is not None,
            f"photo {self.id}: the time {self.captured} has no zone; give it in UTC.",
        )
        if self.captured is not None:
            object.__setattr__(self, "captured", self.captured.astimezone(UTC))

    @property
    def key(self) -> str:
        """A name that is unique among all services, and may be a file's."""
        return f"{self.service}-{self.id}"

    @property
    def is_panorama(self) -> bool:
        """Whether it is known to show all directions."""
        return self.fov_deg is not None and self.fov_deg >= 360.0
