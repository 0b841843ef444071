"""Geotagged photos of one's own: by what their files say, by a list, or by a track of a receiver.

Times in EXIF have no zone unless OffsetTime gives one. A time without one counts only where a zone
is stated; the time of the GPS fix, which is in UTC, stands in for it where none is.
"""

from __future__ import annotations

import bisect
import hashlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from xml.parsers import expat

from crossview.errors import BadData, BadImage, InvalidValue, require
from crossview.files import printable
from crossview.geo.points import LatLon, measure_distance_m, move_point, project_to_local_m
from crossview.lists import Folder, ListRow, read_table
from crossview.schema import read_bytes
from crossview.street.street_photos import OWN_SERVICE, DroppedPhoto, PhotoRule, StreetPhoto
from crossview.views.exif import Capture, PhotoFacts
from crossview.views.lens import FOV_RANGE_DEG
from crossview.views.photo_folders import list_photos

LIST_SUFFIXES = (".csv", ".tsv", ".txt")
COLUMNS = (
    "file", "lat", "lon", "heading_deg", "fov_deg", "captured", "position_sigma_m", "sequence",
    "licence", "licence_url", "attribution", "page_url",
)  # fmt: skip
LONGEST_GAP_S = 60.0  # between the points of a track that a photo lies between
HDOP_M = 5.0  # metres of error for each unit of a receiver's HDOP
MOST_TRACK_BYTES = 200_000_000
MOST_TRACK_POINTS = 5_000_000
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9]+")


@dataclass(frozen=True, kw_only=True)
class OwnPhotoOptions:
    """What is known of all photos. None and "" stand for what is not.

    ``clock_offset_s``: seconds to add to the camera's clock to have the true time.
    ``declination_deg``: of magnetic north, clockwise from true north: added to magnetic headings.
    ``fov_deg``: of photos that do not tell it. ``tracks``: GPX files; then places come from them.
    """

    zone: tzinfo | None = None
    clock_offset_s: float = 0.0
    declination_deg: float | None = None
    fov_deg: float | None = None
    tracks: tuple[Path, ...] = ()
    licence: str = ""
    attribution: str = ""

    def __post_init__(self) -> None:
        limits = {
            "clock_offset_s": (-1e8, 1e8),
            "declination_deg": (-180.0, 180.0),
            "fov_deg": FOV_RANGE_DEG,
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            require(
                value is None or low <= value <= high,
                f"{name} is {value}; allowed: {low:g} to {high:g}.",
            )


@dataclass(frozen=True, kw_only=True)
class OwnPhotos:
    """Photos with places, in their order; those without, and remarks."""

    photos: tuple[StreetPhoto, ...]
    left_out: tuple[DroppedPhoto, ...]
    notes: tuple[str, ...]


def parse_zone(text: str) -> tzinfo:
    """A time zone written as ``UTC``, ``+02:00`` or ``Europe/Berlin``."""
    if text.upper() in {"UTC", "Z"}:
        return UTC
    if found := re.fullmatch(r"([+-])(\d\d):?([0-5]\d)", text):
        span = timedelta(hours=int(found[2]), minutes=int(found[3]))
        if span <= timedelta(hours=14):
            return timezone(-span if found[1] == "-" else span)
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(text)
    except (ValueError, OSError, LookupError) as problem:
        raise InvalidValue(
            f"{text!r} is not a time zone. Write UTC, +02:00 or a name such as Europe/Berlin."
        ) from problem


def read_own_photos(paths: Sequence[Path], options: OwnPhotoOptions) -> OwnPhotos:
    """The photos of files, folders and lists (``file, lat, lon`` and more of COLUMNS).

    Only headers are read. Raises :class:`BadData` for lists and tracks that cannot be used.
    """
    lists = [path for path in paths if path.suffix.lower() in LIST_SUFFIXES and not path.is_dir()]
    if lists and options.tracks:
        raise InvalidValue("A list tells where photos were taken, and so does a track: give one.")
    others = [path for path in paths if path not in lists]
    files, remarks, problems = list_photos(others)
    if problems:
        raise problems[0]
    track = read_tracks(options.tracks) if options.tracks else None
    photos: list[StreetPhoto] = []
    left: list[DroppedPhoto] = []
    magnetic = 0
    rows: Iterator[tuple[Path, ListRow | None]] = (
        *((file, None) for file in files),
        *(found for path in lists for found in _read_list(path)),
    ).__iter__()
    for file, row in rows:
        read = _read_header(file)
        key = f"{OWN_SERVICE}-{_make_id(file)}"
        if isinstance(read, str):
            left.append(DroppedPhoto(photo=key, rule="unreadable", why=read))
            continue
        photo = _make_photo(file, row, read, track, options)
        if isinstance(photo, StreetPhoto):
            photos.append(photo)
            magnetic += any("magnetic" in note for note in photo.notes)
        else:
            left.append(photo)
    notes = list(remarks)
    if magnetic and options.declination_deg is None:
        notes.append(
            f"{magnetic} headings are from magnetic north and are not used: state its direction "
            "there with --declination"
        )
    return OwnPhotos(photos=tuple(photos), left_out=tuple(left), notes=tuple(notes))


def _read_list(path: Path) -> Iterator[tuple[Path, ListRow | None]]:
    folder, seen = Folder(path.parent), set()
    for row in read_table(path, needed=COLUMNS[:3], what="list of photos"):
        if not (name := row.text("file")):
            raise BadData(f"{row.where}: file is empty.")
        if folder.key(name) in seen:
            raise BadData(f"{row.where}: {name} is listed twice; keep the line that is right.")
        seen.add(folder.key(name))
        yield folder.file(name), row


def _read_header(file: Path) -> tuple[PhotoFacts, Capture] | str:
    from crossview.views.decode import read_photo_header

    try:
        return read_photo_header(file)
    except BadImage as problem:
        return printable(str(problem).removeprefix(f"{file}: ").partition("\n")[0])


def _make_id(file: Path) -> str:
    """The file's name, as far as every system takes it, and a mark of its whole path."""
    whole = os.path.abspath(file)
    mark = hashlib.blake2b(os.fsencode(whole), digest_size=4).hexdigest()
    name = _NOT_IN_IDS.sub("-", Path(whole).stem)[:60].strip("-")
    return f"{name}-{mark}" if name else mark


def _make_photo(
    file: Path,
    row: ListRow | None,
    read: tuple[PhotoFacts, Capture],
    track: ReceiverTrack | None,
    options: OwnPhotoOptions,
) -> StreetPhoto | DroppedPhoto:
    facts, capture = read
    name = _make_id(file)

    def leave(rule: PhotoRule, why: str) -> DroppedPhoto:
        return DroppedPhoto(photo=f"{OWN_SERVICE}-{name}", rule=rule, why=why)

    captured = find_time(capture, options)
    place, sigma_m = facts.gps, capture.position_sigma_m
    if row is not None:
        place, captured = LatLon(*row.place()), _read_captured(row) or captured
        sigma_m = _unless_nan(row.number("position_sigma_m", 0.0, 1e6))
    elif track is not None:
        if (found := track.find_photo(capture, captured)) is None:
            return leave("no place", track.explain_lack(capture, captured))
        place, sigma_m = found
    if place is None:
        said = next((note for note in facts.assumptions if "GPS" in note), "")
        return leave("no place", said or "its file does not tell where it was taken")
    heading_deg, fov_deg, notes = _choose_view(facts, row, options)

    def text(column: str, usual: str = "") -> str:
        return printable((row.text(column) if row is not None else "") or usual)

    return StreetPhoto(
        id=name,
        service=OWN_SERVICE,
        place=place,
        captured=captured,
        heading_deg=heading_deg,
        fov_deg=fov_deg,
        position_sigma_m=sigma_m,
        sequence=text("sequence") or None,
        file=file,
        licence=text("licence", options.licence),
        licence_url=text("licence_url"),
        attribution=text("attribution", options.attribution),
        page_url=text("page_url"),
        notes=notes,
    )


def _choose_view(
    facts: PhotoFacts, row: ListRow | None, options: OwnPhotoOptions
) -> tuple[float | None, float | None, tuple[str, ...]]:
    """Heading and field of view as a list says them, else as the file does; what was assumed."""
    heading_deg, notes = _choose_heading_deg(facts, options)
    fov_deg = facts.fov_deg
    if row is not None:
        given = row.number("heading_deg", -360.0, 360.0)
        if not math.isnan(given):
            heading_deg, notes = given % 360.0 % 360.0, ()
        fov_deg = _unless_nan(row.number("fov_deg", *FOV_RANGE_DEG)) or fov_deg
    if fov_deg is None and facts.kind == "perspective" and options.fov_deg is not None:
        fov_deg = options.fov_deg
        notes = (*notes, f"field of view stated for all that do not tell it: {fov_deg:g} degrees")
    return heading_deg, fov_deg, notes


def find_time(capture: Capture, options: OwnPhotoOptions) -> datetime | None:
    """When a photo was taken, in UTC; None where no zone is known and the GPS fix has no time."""
    if capture.clock is not None:
        zone = timezone(capture.offset) if capture.offset is not None else options.zone
        if zone is not None:
            late = timedelta(seconds=options.clock_offset_s)
            try:
                return (capture.clock.replace(tzinfo=zone) + late).astimezone(UTC)
            except OverflowError:  # year 1 or 9999
                return None
    return capture.fix


def _choose_heading_deg(
    facts: PhotoFacts, options: OwnPhotoOptions
) -> tuple[float | None, tuple[str, ...]]:
    """The heading from true north that the file tells, and what was assumed of it."""
    heading = facts.heading
    if heading is None:
        return None, ()
    if heading.north == "magnetic":
        if options.declination_deg is None:
            return None, ("the heading in the file is from magnetic north: not used",)
        return (heading.degrees + options.declination_deg) % 360.0 % 360.0, (
            f"heading from magnetic north, turned by {options.declination_deg:g} degrees",
        )
    if heading.north == "unknown" and heading.source == "GPSImgDirection":
        note = "from true or magnetic north is not told: the heading is taken from true north"
        return heading.degrees, (note,)
    return heading.degrees, ()


def _unless_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _read_captured(row: ListRow) -> datetime | None:
    """The cell ``captured``: a time of ISO 8601 with its zone."""
    text = row.text("captured")
    if not text:
        return None
    try:
        captured = datetime.fromisoformat(text)
        if captured.utcoffset() is None:
            raise ValueError("no zone")
        return captured.astimezone(UTC)
    except (ValueError, OverflowError) as problem:
        raise BadData(
            f"{row.where}: captured is {text[:60]!r}; expected a time with its zone, such as "
            "2024-05-01T12:00:00+02:00."
        ) from problem


# Tracks.


@dataclass(frozen=True, kw_only=True)
class ReceiverPoint:
    """Where a receiver was, and how good its fix was (HDOP; None: not told)."""

    time: datetime  # UTC
    place: LatLon
    hdop: float | None
    segment: int


@dataclass(frozen=True)
class ReceiverTrack:
    """Points in the order of their times."""

    points: tuple[ReceiverPoint, ...]

    def find_photo(
        self, capture: Capture, captured: datetime | None
    ) -> tuple[LatLon, float | None] | None:
        """The place of a photo by its camera's clock; None without a known time of it."""
        return None if capture.clock is None or captured is None else self.find(captured)

    def explain_lack(self, capture: Capture, captured: datetime | None) -> str:
        """Why :meth:`find_photo` found no place."""
        if capture.clock is None or captured is None:
            return "its time, or the zone of its time (--time-zone), is not known"
        when = captured.strftime("%Y-%m-%d %H:%M:%S")
        return f"the track has no points within {LONGEST_GAP_S:.0f} s of {when} UTC"

    def find(self, time: datetime) -> tuple[LatLon, float | None] | None:
        """The place at a time, between the two points around it, and its error; None: unknown.

        Points are joined by a straight line if they are of one segment and at most 60 s apart.
        """
        at = bisect.bisect_left(self.points, time, key=lambda point: point.time)
        if at < len(self.points) and self.points[at].time == time:
            return self.points[at].place, _estimate_sigma_m(self.points[at])
        if not 0 < at < len(self.points):
            return None
        before, after = self.points[at - 1], self.points[at]
        span_s = (after.time - before.time).total_seconds()
        if before.segment != after.segment or span_s > LONGEST_GAP_S:
            return None
        share = (time - before.time).total_seconds() / span_s
        east, north = project_to_local_m(before.place, after.place.lat, after.place.lon)
        place = move_point(before.place, east_m=share * float(east), north_m=share * float(north))
        sigma = _estimate_sigma_m(before)
        # The way between the points is unknown: at most as far off it as a quarter of their step.
        bend_m = measure_distance_m(before.place, after.place) * share * (1.0 - share)
        return place, None if sigma is None else math.hypot(sigma, bend_m)


def _estimate_sigma_m(point: ReceiverPoint) -> float | None:
    return None if point.hdop is None else point.hdop * HDOP_M


def read_tracks(paths: Sequence[Path]) -> ReceiverTrack:
    """The track points of GPX files that have a time; :class:`BadData` for what is no GPX."""
    points: list[ReceiverPoint] = []
    for path in paths:
        found = _parse_gpx(path, 0 if not points else points[-1].segment + 1)
        if not found:
            raise BadData(f"{path} holds no point of a track (trkpt) that has a place and a time.")
        points += found
    return ReceiverTrack(tuple(sorted(points, key=lambda point: (point.time, point.segment))))


class _GpxReader:
    """What expat tells of a file of GPX, as points."""

    def __init__(self, segment: int) -> None:
        self.points: list[ReceiverPoint] = []
        self._segment = segment
        self._inside: list[str] = []
        self._attributes: dict[str, str] = {}
        self._texts: dict[str, list[str]] = {}

    def start(self, name: str, given: dict[str, str]) -> None:
        tag = name.rpartition(" ")[2]
        self._inside.append(tag)
        self._segment += tag == "trkseg"
        if tag == "trkpt":
            self._attributes, self._texts = dict(given), {}

    def end(self, _: str) -> None:
        if self._inside.pop() != "trkpt":
            return
        point = _make_point(self._attributes, self._texts, self._segment)
        if point is not None:
            self.points.append(point)
        if len(self.points) > MOST_TRACK_POINTS:
            raise ValueError(f"more than {MOST_TRACK_POINTS:,} points")

    def write(self, data: str) -> None:
        if self._inside[-2:-1] == ["trkpt"] and self._inside[-1] in {"time", "hdop"}:
            self._texts.setdefault(self._inside[-1], []).append(data[:100])

    @staticmethod
    def refuse(*_: object) -> None:
        raise ValueError("entities have no use in GPX")


def _parse_gpx(path: Path, segment: int) -> list[ReceiverPoint]:
    reader, parser = _GpxReader(segment), expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler, parser.EntityDeclHandler = reader.write, reader.refuse
    try:
        parser.Parse(read_bytes(path, MOST_TRACK_BYTES), True)
    except FileNotFoundError as problem:
        raise BadData(f"There is no track at {path}.") from problem
    except (expat.ExpatError, ValueError, OSError) as problem:
        raise BadData(f"{path} cannot be read as a GPX track: {problem}.") from problem
    return reader.points


def _make_point(
    attributes: dict[str, str], texts: dict[str, list[str]], segment: int
) -> ReceiverPoint | None:
    """A point; None without a place or a time. Times of GPX are in UTC if they name no zone."""
    try:
        place = LatLon(float(attributes["lat"]), float(attributes["lon"]))
        time = datetime.fromisoformat("".join(texts["time"]).strip())
        time = (time if time.utcoffset() is not None else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (KeyError, ValueError, InvalidValue, OverflowError):
        return None
    try:
        hdop = float("".join(texts.get("hdop", [])))
    except ValueError:
        hdop = math.nan
    known = math.isfinite(hdop) and hdop > 0.0
    return ReceiverPoint(time=time, place=place, hdop=hdop if known else None, segment=segment)
