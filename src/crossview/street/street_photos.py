"""Photos taken on the ground at known places, whoever took them, and which are worth a pair.

Photos are chosen by rules on what is known of them, by balance, and split by area. Every rule says
in a sentence why it leaves a photo out. What is not known breaks no rule, except where a rule was
asked for that needs it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from crossview.arrays import F64, U8
from crossview.errors import InvalidValue, require
from crossview.geo.points import EARTH_RADIUS_M, LatLon, measure_distance_m, number_square

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


# Which are worth a pair.

PhotoRule = Literal[
    "no picture", "no place", "unreadable", "position error", "age", "night", "indoors",
    "field of view", "repeat", "near-duplicate", "series", "balance", "outside", "no data", "line",
    "licence",
]  # fmt: skip
SPLITS = ("train", "val", "test")
DUSK_DEG = -6.0  # the sun's elevation at the end of civil twilight
DARK_LEVEL = 40.0  # of 255; the median of a picture by night is below
DARKEST_DAY_EV = 7.0  # at ISO 100: under an overcast sky 12, in deep shade 9, in a lit room 6
CELL_M = 100.0  # squares that photos are balanced over
OCTANTS = 8  # directions that they are balanced over
SERIES_S, SERIES_M = 120.0, 100.0  # photos as near to the one before belong to one series
STILL_M, STILL_DEG = 3.0, 20.0  # of a series, photos as near and alike show the same
ALIKE_BITS = 5  # of 64: pictures whose hashes differ by as few are near-duplicates
ALIKE_M = 25.0  # ... if they were taken as near to each other
_SLACK = 0.5  # relative, of the share of a split: how far a line may move to lose fewer photos
_YEAR_DAYS = 365.25
_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)(?:[-/.](\d{1,2})(?:[-/.](\d{1,2}))?)?(?!\d)")


@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """What a photo must be. None: the rule does not hold.

    ``imagery_date``: as the imagery says it, such as "2023" or "2021-05-01; 2022"; a rule on age
    needs it. ``most``: photos, drawn evenly over area and direction.
    """

    most: int | None = None
    max_sigma_m: float | None = 15.0
    max_age_years: float | None = None
    imagery_date: str = ""
    keep_night: bool = False
    keep_indoors: bool = False
    keep_series: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.most is None or self.most >= 1, f"most must be at least 1, got {self.most}.")
        for name in ("max_sigma_m", "max_age_years"):
            value = getattr(self, name)
            require(
                value is None or (math.isfinite(value) and value > 0.0),
                f"{name} must be a number above 0, got {value}.",
            )
        if self.max_age_years is not None and find_dates(self.imagery_date) is None:
            said = f" (it says {self.imagery_date[:40]!r})" if self.imagery_date else ""
            raise InvalidValue(
                f"The age of photos against the imagery cannot be judged: no year is known of the "
                f"imagery{said}.\nSay when it was taken with --date, such as --date 2023."
            )


@dataclass(frozen=True, kw_only=True)
class DroppedPhoto:
    """A photo that is not used: its key, the rule, and a sentence."""

    photo: str
    rule: PhotoRule
    why: str


@dataclass(frozen=True, kw_only=True)
class PhotoSelection:
    """Photos in their order, and those left out."""

    kept: tuple[StreetPhoto, ...]
    left_out: tuple[DroppedPhoto, ...] = ()

    def count_rules(self) -> dict[str, int]:
        """How many photos each rule left out."""
        return dict(Counter(one.rule for one in self.left_out))


def select_photos(photos: Sequence[StreetPhoto], options: SelectionOptions) -> PhotoSelection:
    """The photos that all rules keep which need no pixel; of series one at each stand; the most.

    Doing it twice with the same options changes nothing.
    """
    dates = find_dates(options.imagery_date)
    left: list[DroppedPhoto] = []
    kept: list[StreetPhoto] = []
    for photo in photos:
        found = next(_judge_facts(photo, options, dates), None)
        if found is None:
            kept.append(photo)
        else:
            left.append(found)
    if not options.keep_series:
        kept, still = thin_series(kept)
        left += still
    if options.most is not None and len(kept) > options.most:
        chosen = set(balance_photos(kept, options.most, options.seed))
        left += [
            _leave(photo, "balance", f"{options.most:,} are evenly drawn; its square has others")
            for n, photo in enumerate(kept)
            if n not in chosen
        ]
        kept = [photo for n, photo in enumerate(kept) if n in chosen]
    return PhotoSelection(kept=tuple(kept), left_out=tuple(left))


def _judge_facts(
    photo: StreetPhoto, options: SelectionOptions, dates: tuple[date, date] | None
) -> Iterator[DroppedPhoto]:
    sigma, most_m = photo.position_sigma_m, options.max_sigma_m
    if sigma is not None and most_m is not None and sigma > most_m:
        why = f"its place is good to {sigma:.0f} m only, and {most_m:g} m are asked"
        yield _leave(photo, "position error", why)
    if options.max_age_years is not None and dates is not None:
        if photo.captured is None:
            yield _leave(photo, "age", "when it was taken is not known")
        else:
            years = measure_age_years(photo.captured.date(), dates)
            if years > options.max_age_years:
                why = f"it was taken {years:.1f} years before or after the imagery"
                yield _leave(photo, "age", why)
    if not options.keep_night and photo.captured is not None:
        elevation = compute_sun_elevation_deg(photo.captured, photo.place)
        if elevation < DUSK_DEG:
            why = f"the sun stood {-elevation:.0f} degrees below the horizon"
            yield _leave(photo, "night", why)


def _leave(photo: StreetPhoto, rule: PhotoRule, why: str) -> DroppedPhoto:
    return DroppedPhoto(photo=photo.key, rule=rule, why=why)


def judge_light(
    photo: StreetPhoto, level: float, exposure_ev: float | None, options: SelectionOptions
) -> DroppedPhoto | None:
    """Whether a picture was taken by night or under a roof, by its pixels and its exposure.

    ``level``: :func:`measure_level` of it. ``exposure_ev``: what its EXIF says, at ISO 100. A
    tunnel that is lit like day, and a room with large windows, are not found.
    """
    if not options.keep_indoors and exposure_ev is not None and exposure_ev < DARKEST_DAY_EV:
        why = f"its exposure (EV {exposure_ev:.1f} at ISO 100) is of a room, a tunnel or the night"
        return _leave(photo, "indoors", why)
    if not options.keep_night and level < DARK_LEVEL:
        return _leave(photo, "night", f"it is dark: its median brightness is {level:.0f} of 255")
    return None


def measure_level(pixels: U8) -> float:
    """The median brightness (Rec. 601) of a picture [h, w, 3], 0 to 255."""
    small = pixels[:: max(1, len(pixels) // 256), :: max(1, pixels.shape[1] // 256)]
    return float(np.median(small.astype(np.float64) @ (0.299, 0.587, 0.114)))


# Age and sun.


def find_dates(text: str) -> tuple[date, date] | None:
    """The first and the last day that a text names by years, months or days; None: no year."""
    first: list[date] = []
    last: list[date] = []
    for year, month, day in _DATE.findall(text):
        try:
            if day:
                first.append(date(int(year), int(month), int(day)))
                last.append(first[-1])
                continue
            first.append(date(int(year), int(month or 1), 1))
            last.append(date(int(year), int(month or 12), 28))
        except ValueError:  # such as a 13th month: part of another number
            continue
    return (min(first), max(last)) if first else None


def measure_age_years(taken: date, dates: tuple[date, date]) -> float:
    """Years between a day and the nearest of ``dates``; 0 between them."""
    days = max((dates[0] - taken).days, (taken - dates[1]).days, 0)
    return days / _YEAR_DAYS


def compute_sun_elevation_deg(captured: datetime, place: LatLon) -> float:
    """Elevation of the sun's middle in degrees, without refraction, good to a tenth of a degree.

    The low-precision formulae of the Astronomical Almanac (1950 to 2050). ``captured`` has a zone.
    """
    days = (captured.astimezone(UTC) - datetime(2000, 1, 1, 12, tzinfo=UTC)).total_seconds() / 86400
    mean = math.radians(357.528 + 0.9856003 * days)
    longitude = math.radians(
        280.460 + 0.9856474 * days + 1.915 * math.sin(mean) + 0.020 * math.sin(2.0 * mean)
    )
    tilt = math.radians(23.439 - 4e-7 * days)
    ascension = math.atan2(math.cos(tilt) * math.sin(longitude), math.cos(longitude))
    declination = math.asin(math.sin(tilt) * math.sin(longitude))
    sidereal = math.radians(280.46062 + 360.98564737 * days + place.lon)
    lat = math.radians(place.lat)
    up = math.sin(lat) * math.sin(declination)
    up += math.cos(lat) * math.cos(declination) * math.cos(sidereal - ascension)
    return math.degrees(math.asin(max(-1.0, min(1.0, up))))


# Series.


def find_series(photos: Sequence[StreetPhoto]) -> list[str | None]:
    """The series of each photo: as its service says, else photos of one walk by time and place.

    Photos whose time is not known are in none, unless their service says so.
    """
    series: list[str | None] = [
        None if photo.sequence is None else f"{photo.service}/{photo.sequence}" for photo in photos
    ]
    loose = [n for n, photo in enumerate(photos) if photo.sequence is None and photo.captured]
    loose.sort(key=lambda n: (photos[n].service, photos[n].captured, photos[n].id))
    walk = 0
    for before, n in zip([None, *loose], loose, strict=False):
        if before is None or not _follows(photos[before], photos[n]):
            walk += 1
        series[n] = f"{photos[n].service}/walk {walk}"
    return series


def _follows(before: StreetPhoto, photo: StreetPhoto) -> bool:
    if before.captured is None or photo.captured is None or before.service != photo.service:
        return False
    waited_s = (photo.captured - before.captured).total_seconds()
    return waited_s <= SERIES_S and measure_distance_m(before.place, photo.place) <= SERIES_M


def thin_series(photos: Sequence[StreetPhoto]) -> tuple[list[StreetPhoto], list[DroppedPhoto]]:
    """Photos without those that a series took where it stood still and looked the same way."""
    series = find_series(photos)
    stands: dict[tuple[str, int, int], list[StreetPhoto]] = defaultdict(list)
    kept: list[StreetPhoto] = []
    left: list[DroppedPhoto] = []
    for photo, name in zip(photos, series, strict=True):
        if name is None:
            kept.append(photo)
            continue
        row, column = number_square(photo.place, 2.0 * STILL_M)
        around = [
            other
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            for other in stands.get((name, row + down, column + right), [])
        ]
        same = next((other for other in around if _shows_the_same(other, photo)), None)
        if same is None:
            kept.append(photo)
            stands[name, row, column].append(photo)
        else:
            left.append(_leave(photo, "series", f"{same.key} of the same series shows the same"))
    return kept, left


def _shows_the_same(one: StreetPhoto, other: StreetPhoto) -> bool:
    if measure_distance_m(one.place, other.place) > STILL_M or one.fov_deg != other.fov_deg:
        return False
    if one.is_panorama and other.is_panorama:
        return True
    if one.heading_deg is None or other.heading_deg is None:
        return False  # they may look different ways
    turn = (one.heading_deg - other.heading_deg + 180.0) % 360.0 - 180.0
    return abs(turn) <= STILL_DEG


# Balance.


def balance_photos(photos: Sequence[StreetPhoto], most: int, seed: int = 0) -> list[int]:
    """``most`` of the photos, by their numbers, evenly over squares of 100 m and directions.

    Each square gives its first photo before any gives a second, and in a square each direction
    does. Of equals those of better known place come first, then chance by ``seed``.
    """
    squares: dict[tuple[int, int], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    directions: Counter[int] = Counter()
    chance = [_draw(photo, seed) for photo in photos]
    for n, photo in enumerate(photos):
        octant = _find_octant(photo)
        squares[number_square(photo.place, CELL_M)][octant].append(n)
        directions[octant] += 1

    def quality(n: int) -> tuple[float, bytes]:
        sigma = photos[n].position_sigma_m
        return (math.inf if sigma is None else sigma), chance[n]

    turns: list[tuple[int, int, bytes, int]] = []
    for by_octant in squares.values():
        ordered = [
            (place, directions[octant], quality(n), n)
            for octant, members in by_octant.items()
            for place, n in enumerate(sorted(members, key=quality))
        ]
        turns += [
            (turn, rare, chance[n], n) for turn, (_, rare, _, n) in enumerate(sorted(ordered))
        ]
    return sorted(n for _, _, _, n in sorted(turns)[:most])


def _find_octant(photo: StreetPhoto) -> int:
    """0 to 7 from north, clockwise; -1 for all directions, and for one that is not known."""
    if photo.is_panorama or photo.heading_deg is None:
        return -1
    return int(((photo.heading_deg + 180.0 / OCTANTS) % 360.0) // (360.0 / OCTANTS))


def _draw(photo: StreetPhoto, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{photo.key}".encode(), digest_size=8).digest()


# Split by area.


@dataclass(frozen=True, kw_only=True)
class AreaSplit:
    """A split of each window: train, val or test from north to south; None on a line."""

    splits: tuple[str | None, ...]
    lines_lat: tuple[float, ...] = ()  # between test and val, val and train: those there are
    notes: tuple[str, ...] = field(default=())


def split_by_area(
    lat: F64, reach_m: F64, *, val_share: float = 0.15, test_share: float = 0.15
) -> AreaSplit:
    """Divide windows [N] at latitudes ``lat`` by lines from west to east that none of them shows.

    ``reach_m`` [N]: from a window's centre to its northernmost corner. About ``test_share`` of the
    windows in the south test, the next ``val_share`` validate. A line moves by up to half of the
    share, to where it lies on the fewest windows. No ground is seen in windows of two splits.
    """
    require(
        val_share >= 0.0 and test_share >= 0.0 and val_share + test_share <= 0.8,
        f"the shares kept apart must be at least 0 and 0.8 in all, got {val_share:g} to validate "
        f"and {test_share:g} to test.",
    )
    north_m = np.radians(np.asarray(lat, np.float64)) * EARTH_RADIUS_M
    low, high = north_m - reach_m, north_m + reach_m
    splits: list[str | None] = ["train"] * len(north_m)
    rest = np.arange(len(north_m))
    lines: list[float] = []
    notes: list[str] = []
    for name, share in (("test", test_share), ("val", val_share)):
        if share <= 0.0:
            continue
        line = _choose_line(low[rest], high[rest], share * len(north_m))
        if line is None:
            notes.append(
                f"nothing is kept apart as {name}: all windows overlap, or there are too few"
            )
            continue
        lines.append(math.degrees(line / EARTH_RADIUS_M))
        for n in rest[high[rest] <= line]:
            splits[n] = name
        for n in rest[(low[rest] < line) & (high[rest] > line)]:
            splits[n] = None
        rest = rest[low[rest] >= line]
    return AreaSplit(splits=tuple(splits), lines_lat=tuple(lines), notes=tuple(notes))


def _choose_line(low: F64, high: F64, wanted: float) -> float | None:
    """Where the windows [low, high] are divided with about ``wanted`` south; None: nowhere."""
    if len(low) < 2:
        return None
    lines = np.unique(high)
    south = np.searchsorted(np.sort(high), lines, side="right")
    north = len(low) - np.searchsorted(np.sort(low), lines, side="left")
    lost = len(low) - south - north
    usable = (south > 0) & (north > 0)
    if not usable.any():
        return None
    near = usable & (np.abs(south - wanted) <= max(_SLACK * wanted, 0.5))
    pool = np.flatnonzero(near if near.any() else usable)
    away = np.abs(south - wanted)
    best = min(pool, key=lambda n: (lost[n], away[n]) if near.any() else (away[n], lost[n]))
    return float(lines[best])
