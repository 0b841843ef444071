"""Asking a service for what lies in an area, box by box, and reading what it answers.

No service of street photos is asked for an area of any shape or size: each takes boxes, up to some
size, and cuts its answer off at some number, with or without saying so. So an area is covered with
boxes, and a box whose answer may be cut off is quartered.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import numpy as np

from crossview.arrays import F64
from crossview.errors import BadAnswer, InvalidValue
from crossview.geo.perimeters import Perimeter
from crossview.geo.points import LatLon, Polygon, cut_at_180, mark_inside, wrap_lon
from crossview.schema import parse_object

if TYPE_CHECKING:
    from crossview.downloads import Downloads, Judge
    from crossview.street.street_photos import StreetPhoto

LOG = logging.getLogger("crossview.street")

SMALLEST_DEG = 1e-5  # of a box: about a metre; what is at one spot cannot be told apart
MOST_ANSWER_BYTES = 1 << 26  # of one box: 1,000 items of Panoramax have about 6 MB
_LONGEST_NUMBER = 60  # signs of one that is written as a text
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ADDRESS = re.compile(r"https?://[^\s\x00-\x1f]+", re.IGNORECASE)
_LONGEST_ADDRESS = 4000


@dataclass(frozen=True, slots=True)
class SearchBox:
    """A box of WGS84 degrees that does not cross longitude 180: west < east, south < north."""

    west: float
    south: float
    east: float
    north: float

    def __str__(self) -> str:
        return ",".join(f"{edge:.7f}" for edge in (self.west, self.south, self.east, self.north))

    @property
    def side_deg(self) -> float:
        """The longer side."""
        return max(self.east - self.west, self.north - self.south)

    def divide(self, columns: int, rows: int) -> Iterator[SearchBox]:
        """Equal boxes without a gap, row by row from the south-west."""
        x = np.linspace(self.west, self.east, columns + 1).tolist()
        y = np.linspace(self.south, self.north, rows + 1).tolist()
        for row in range(rows):
            for column in range(columns):
                yield SearchBox(x[column], y[row], x[column + 1], y[row + 1])


@dataclass(frozen=True, slots=True)
class BoxAnswer:
    """What a service says of a box: its items, and whether these are all."""

    items: list[dict[str, Any]]
    is_whole: bool


def list_boxes(area: Perimeter, widest_deg: float) -> list[SearchBox]:
    """Boxes with sides of at most ``widest_deg`` that together hold an area, and touch it.

    An area across longitude 180 is cut there.
    """
    boxes = []
    for polygon in area.polygons:
        for part in cut_at_180([list(ring) for ring in polygon]):
            corners = np.array(part[0])
            (west, south), (east, north) = corners.min(axis=0), corners.max(axis=0)
            columns = max(1, math.ceil((east - west) / widest_deg))
            rows = max(1, math.ceil((north - south) / widest_deg))
            whole = SearchBox(float(west), float(south), float(east), float(north))
            boxes += [box for box in whole.divide(columns, rows) if is_touched(box, part)]
    return boxes


def is_touched(box: SearchBox, polygon: Polygon) -> bool:
    """Whether a box has a point in common with a polygon (a ring, then its holes)."""
    if any(_cross(box, np.array(ring)) for ring in polygon):
        return True
    outer, *holes = polygon
    if not mark_inside(outer, box.west, box.south)[0]:
        return False
    return not any(mark_inside(hole, box.west, box.south)[0] for hole in holes)


def _cross(box: SearchBox, ring: F64) -> bool:
    """Whether a side of a ring [k, 2] touches a box: no axis and not its own line part the two."""
    a, b = ring[:-1], ring[1:]
    low, high = np.minimum(a, b), np.maximum(a, b)
    near = (low[:, 0] <= box.east) & (high[:, 0] >= box.west)
    near &= (low[:, 1] <= box.north) & (high[:, 1] >= box.south)
    a, along = a[near], (b - a)[near]
    x = np.array([box.west, box.east, box.east, box.west])
    y = np.array([box.south, box.south, box.north, box.north])
    side = along[:, :1] * (y - a[:, 1:]) - along[:, 1:] * (x - a[:, :1])
    return bool(((side.min(axis=1) <= 0.0) & (side.max(axis=1) >= 0.0)).any())


def search_area(
    area: Perimeter, read_box: Callable[[SearchBox], BoxAnswer], *, widest_deg: float = 1.0
) -> Iterator[dict[str, Any]]:
    """All items of a service in the boxes of an area, those at their seams perhaps twice.

    A box whose answer is not whole is asked again in quarters.
    """
    waiting = list_boxes(area, widest_deg)[::-1]
    while waiting:
        box = waiting.pop()
        answer = read_box(box)
        if not answer.is_whole:
            if box.side_deg > SMALLEST_DEG:
                waiting += list(box.divide(2, 2))[::-1]
                continue
            LOG.warning("More pictures lie at %s than the service gives; some are missing.", box)
        yield from answer.items


def list_found(
    items: Iterable[dict[str, Any]],
    read_photo: Callable[[dict[str, Any]], StreetPhoto | None],
    what_is_odd: str,
) -> Iterator[StreetPhoto]:
    """The photos that items stand for, each once; a warning counts those that stand for none."""
    known: set[str] = set()
    odd = 0
    for item in items:
        photo = read_photo(item)
        odd += photo is None
        if photo is not None and photo.id not in known:
            known.add(photo.id)
            yield photo
    if odd:
        LOG.warning("%d items of %s.", odd, what_is_odd)


def read_answer(
    downloads: Downloads,
    address: str,
    params: Mapping[str, str],
    *,
    headers: Mapping[str, str] | None = None,
    judge: Judge | None = None,
) -> dict[str, Any]:
    """The JSON object that a service answers; :class:`BadAnswer` for anything else."""
    reply = downloads.read(
        address, params=params, headers=headers, most_bytes=MOST_ANSWER_BYTES, judge=judge
    )
    try:
        return parse_object(reply.content)
    except ValueError as problem:
        raise BadAnswer(
            f"{address} answered what is no JSON object ({str(problem)[:80]}).\n"
            "Is it the address of such a service? Try again later if it is."
        ) from problem


def read_items(answer: Mapping[str, Any], name: str, address: str) -> list[dict[str, Any]]:
    """The list of objects under ``name``; :class:`BadAnswer` if there is none."""
    items = answer.get(name)
    if not isinstance(items, list):
        raise BadAnswer(
            f"{address} answered without a list {name!r}.\n"
            "Is it the address of such a service? Try again later if it is."
        )
    return [item for item in items if isinstance(item, dict)]


# Values of strangers: each is what it should be, or None.


def parse_number(value: Any, low: float = -math.inf, high: float = math.inf) -> float | None:
    """A finite number in [low, high], also one written as text, such as ``103/1``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and (len(value) > _LONGEST_NUMBER or "e" in value.lower()):
        return None  # a fraction of 1e999999 takes all memory
    try:
        number = float(Fraction(value.strip())) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and low <= number <= high else None


def parse_heading(value: Any) -> float | None:
    """Degrees in [0, 360)."""
    degrees = parse_number(value, -360.0, 720.0)
    turned = None if degrees is None else degrees % 360.0
    return 0.0 if turned == 360.0 else turned  # of -1e-20


def parse_text(value: Any, most: int = 300) -> str:
    """A text in one line without control characters; "" for what is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in value[:most]).split())


def parse_id(value: Any) -> str | None:
    """An identifier that can stand in a file name; whole numbers too."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return text if _ID.fullmatch(text) else None


def parse_address(value: Any, base: str = "") -> str | None:
    """An address of http or https; one that says less is completed by ``base``."""
    if not isinstance(value, str) or len(value) > _LONGEST_ADDRESS:
        return None
    try:
        address = urljoin(base, value) if base else value
        _ = urlsplit(address).port  # ValueError where it is none
    except ValueError:
        return None
    return address if _ADDRESS.fullmatch(address) else None


def parse_place(lon: Any, lat: Any) -> LatLon | None:
    """A place; None for what is none, and for 0, 0, which cameras without a fix write."""
    x, y = parse_number(lon, -540.0, 540.0), parse_number(lat, -90.0, 90.0)
    if x is None or y is None or (x == 0.0 and y == 0.0):
        return None
    try:
        return LatLon(y, float(wrap_lon(x)))
    except InvalidValue:
        return None


def parse_point(geometry: Any) -> LatLon | None:
    """The place of a GeoJSON Point."""
    if not isinstance(geometry, Mapping) or geometry.get("type") != "Point":
        return None
    at = geometry.get("coordinates")
    if not isinstance(at, Sequence) or isinstance(at, str) or len(at) < 2:
        return None
    return parse_place(at[0], at[1])


def parse_time(value: Any) -> datetime | None:
    """A moment in UTC: of ISO 8601, or of milliseconds since 1970. Without a zone: UTC."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000.0, UTC)
        if not isinstance(value, str) or len(value) > _LONGEST_NUMBER:
            return None
        moment = datetime.fromisoformat(value.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
