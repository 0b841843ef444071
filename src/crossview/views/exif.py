"""What a photo's file says of itself: EXIF (lens, place, direction) and GPano (panoramas).

Nothing here raises. What is absent, damaged or absurd counts as unknown, and so does what
contradicts the pixels or itself; then a sentence says why. The shape of a picture never overrides
its file; where the file says nothing, what the shape suggests is a stated assumption.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from xml.parsers import expat

from PIL.ExifTags import GPS, IFD, Base

from crossview.errors import InvalidValue
from crossview.geo.points import LatLon
from crossview.views.lens import Kind

Projection = Literal["equirectangular", "cylindrical"]
North = Literal["true", "magnetic", "unknown"]

POSE_SIGMA_DEG = 5.0  # error of PoseHeadingDegrees (one standard deviation)
COMPASS_SIGMA_DEG = 20.0  # error of a phone's compass, GPSImgDirection
WIDEST_LENS_RATIO = 2.2  # long side over short side; beyond it no lens took the picture alone
WIDE_FOV_DEG = (180.0, 360.0)  # also tried for wider pictures
STRIP_RATIO = 4.0  # width over height: a lens of 100 degrees would show 25 from top to bottom

_FILM_LONG_SIDE_MM = 36.0  # of the frame that "35 mm equivalent" refers to
_LENS_TAGS = (
    Base.FNumber, Base.ApertureValue, Base.MaxApertureValue,
    Base.LensSpecification, Base.LensMake, Base.LensModel,
)  # fmt: skip
_STITCHED = 6  # CustomRendered of panoramas that phones stitched
_LIKE_WGS84 = re.compile(r"WGS|WORLD|JGD|ETRS|ITRF|NAD83|GDA|NZGD2000|SIRGAS|CGCS2000|PZ90")
_UNSET = 0xFFFFFFFF  # over itself: a rational that was never filled in
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # inch, centimetre, millimetre, micrometre
_AGREE = 0.04  # relative; EXIF rounds the 35 mm equivalent to whole millimetres
_EXTENTS_AGREE = 0.02  # relative, of GPano's shapes
_FOV_RANGE_DEG = (1.0, 150.0)
_STEEPEST_DEG = 85.0  # of a picture's middle, or of a cylinder's edges
_GPANO = "http://ns.google.com/photos/1.0/panorama/"
_EXTENTS = (
    "FullPanoWidthPixels", "FullPanoHeightPixels", "CroppedAreaImageWidthPixels",
    "CroppedAreaImageHeightPixels", "CroppedAreaLeftPixels", "CroppedAreaTopPixels",
)  # fmt: skip
_LETTERS = {
    "NORTH": "N", "SOUTH": "S", "EAST": "E", "WEST": "W", "TRUE": "T", "MAGNETIC": "M",
}  # fmt: skip
_NO_HORIZON = "GPano does not tell the row of the horizon: taken to be the middle"
_FLAT = ("rectilinear", "perspective", "flat", "planar")


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The direction of a picture's middle column, as its file says."""

    degrees: float  # [0, 360) clockwise from north
    sigma_deg: float  # one standard deviation of its error
    north: North
    source: Literal["PoseHeadingDegrees", "GPSImgDirection"]

    def turn(self, degrees: float) -> Heading:
        """The heading of the column that lies ``degrees`` to the right."""
        return replace(self, degrees=(self.degrees + degrees) % 360.0)


@dataclass(frozen=True, kw_only=True)
class Panorama:
    """How a picture lies on the sphere around the camera, in the camera's own frame.

    Rows are equal angles (equirectangular), or equal steps on a cylinder. ``top`` and ``bottom``
    of the picture are elevations in degrees, or tangents of elevations for a cylinder.
    ``pitch_deg`` and ``roll_deg`` are the tilt of the camera: the sphere's front points
    ``pitch_deg`` up, and with a positive roll the camera's right side is lower (the horizon turns
    counter-clockwise in the picture).
    """

    projection: Projection = "equirectangular"
    fov_deg: float = 360.0
    middle_deg: float = 0.0  # azimuth of the picture's middle column from the sphere's front
    top: float = 90.0
    bottom: float = -90.0
    pitch_deg: float = 0.0  # [-90, 90]
    roll_deg: float = 0.0  # [-180, 180]


@dataclass(frozen=True, kw_only=True)
class PhotoFacts:
    """All that a file says of its picture, checked against the picture's size."""

    kind: Kind
    fov_deg: float | None = None  # horizontal; None: unknown
    also_try_fov_deg: tuple[float, ...] = ()  # besides the usual ones, if fov_deg is unknown
    panorama: Panorama | None = None  # its place on the sphere, if known
    by_shape: bool = False  # only the picture's shape suggests a panorama
    heading: Heading | None = None
    gps: LatLon | None = None
    gps_sigma_m: float | None = None  # of that place: GPSHPositioningError
    view_assumptions: tuple[str, ...] = ()  # on kind and field of view; void if those are stated
    assumptions: tuple[str, ...] = ()  # on everything else


def read_facts(exif: Any, xmp: Sequence[str], size_px: tuple[int, int]) -> PhotoFacts:
    """Read EXIF and all XMP packets of an upright picture of (width, height) pixels.

    GPano comes first, then a focal length, then the shape.
    """
    gps = _read_ifd(exif, IFD.GPSInfo)
    place, heading, notes = _read_gps(gps)
    view = _read_gpano(xmp, size_px) or _read_lens(exif, size_px)
    if view.heading is not None:
        heading = view.heading
    return replace(
        view,
        heading=heading,
        gps=place,
        gps_sigma_m=None if place is None else _read_position_sigma_m(gps),
        assumptions=(*view.assumptions, *notes),
    )


def guess_facts(size_px: tuple[int, int]) -> PhotoFacts:
    """What the shape of a picture suggests if nothing else is known; a stated assumption."""
    return _read_lens(None, size_px)


# EXIF: when, how well placed, and how bright it was.


@dataclass(frozen=True, kw_only=True)
class Capture:
    """When a photo was taken, and what its file says of the fix and of the light."""

    clock: datetime | None = None  # what the camera's clock showed; it has no zone
    offset: timedelta | None = None  # of that clock from UTC; None: the file does not say
    fix: datetime | None = None  # UTC, of the GPS fix
    position_sigma_m: float | None = None  # GPSHPositioningError, taken for one standard deviation
    exposure_ev: float | None = None  # exposure value at ISO 100: about 15 in the sun


def read_capture(exif: Any) -> Capture:
    """What EXIF says of the moment; a time in EXIF has no zone unless OffsetTime gives one."""
    details, gps = _read_ifd(exif, IFD.Exif), _read_ifd(exif, IFD.GPSInfo)
    clock, offset = None, None
    for taken, zone in (
        (Base.DateTimeOriginal, Base.OffsetTimeOriginal),
        (Base.DateTimeDigitized, Base.OffsetTimeDigitized),
    ):
        clock = _parse_time(_decode_text(details.get(taken)))
        if clock is not None:
            offset = _parse_offset(_decode_text(details.get(zone)))
            break
    return Capture(
        clock=clock,
        offset=offset,
        fix=_read_fix(gps),
        position_sigma_m=_read_position_sigma_m(gps),
        exposure_ev=_compute_exposure_ev(details),
    )


def _read_position_sigma_m(gps: Mapping[int, Any]) -> float | None:
    """GPSHPositioningError, taken for one standard deviation; None if the file has none."""
    sigma = _read_number(gps, GPS.GPSHPositioningError)
    return sigma if sigma is not None and sigma >= 0.0 else None


def _parse_time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None


def _parse_offset(text: str) -> timedelta | None:
    found = re.fullmatch(r"([+-])(\d\d):?([0-5]\d)", text)
    if text == "Z":
        return timedelta(0)
    if found is None or int(found[2]) > 14:
        return None
    size = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return -size if found[1] == "-" else size


def _read_fix(gps: Mapping[int, Any]) -> datetime | None:
    """GPSDateStamp and GPSTimeStamp, which are in UTC."""
    parts = _parse_numbers(gps.get(GPS.GPSTimeStamp))
    try:
        day = datetime.strptime(_decode_text(gps.get(GPS.GPSDateStamp)), "%Y:%m:%d")
    except ValueError:
        return None
    limits = (24.0, 60.0, 61.0)
    if parts is None or len(parts) != 3:
        return None
    if not all(0.0 <= x < most for x, most in zip(parts, limits, strict=True)):
        return None
    hours, minutes, seconds = parts
    span = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return day.replace(tzinfo=UTC) + span


def _compute_exposure_ev(part: Mapping[int, Any]) -> float | None:
    """log2(N^2 / t) of aperture N and seconds t, less what the sensitivity adds to ISO 100."""
    aperture = _read_positive(part, Base.FNumber)
    seconds = _read_positive(part, Base.ExposureTime)
    iso = _parse_numbers(part.get(Base.ISOSpeedRatings))
    if aperture is None or seconds is None or not iso or iso[0] <= 0.0:
        return None
    return math.log2(aperture**2 / seconds) - math.log2(iso[0] / 100.0)


# EXIF: the lens.


def _read_lens(exif: Any, size_px: tuple[int, int]) -> PhotoFacts:
    """Kind and field of view of a picture without GPano."""
    width, height = size_px
    part = _read_ifd(exif, IFD.Exif)
    has_lens = any(
        _has_value(part.get(tag))
        for tag in (Base.FocalLength, Base.FocalLengthIn35mmFilm, *_LENS_TAGS)
    )
    fov, why = compute_photo_fov_deg(part, size_px)
    ratio = width / height
    if ratio > WIDEST_LENS_RATIO or _read_number(part, Base.CustomRendered) == _STITCHED:
        also = " and ".join(f"{fov:g}" for fov in WIDE_FOV_DEG)
        why = why or f"{ratio:.1f} times as wide as high: it may be stitched of several"
        why = f"{why}; {also} degrees are tried" + (" too" if ratio < STRIP_RATIO else "")
        return PhotoFacts(
            kind="perspective", also_try_fov_deg=WIDE_FOV_DEG, view_assumptions=(why,)
        )
    zoom = _read_number(part, Base.DigitalZoomRatio) or 0.0
    if fov is not None and zoom > 1.0:
        why = f"EXIF tells of a digital zoom of {zoom:g}: its focal length is taken to count it"
    sphere = _is_twice_as_wide(size_px)
    if sphere and not has_lens and not why:
        why = (
            "twice as wide as high and nothing tells of a lens: taken for a panorama of 360 degrees"
        )
        return PhotoFacts(
            kind="panorama",
            fov_deg=360.0,
            panorama=Panorama(),
            by_shape=True,
            view_assumptions=(why,),
        )
    return PhotoFacts(
        kind="perspective",
        fov_deg=fov,
        also_try_fov_deg=(360.0,) if sphere and fov is None else (),
        view_assumptions=(why,) if why else (),
    )


def _has_value(value: Any) -> bool:
    """Whether a value of EXIF is a text that is not empty, or has a number above 0."""
    if isinstance(value, str | bytes):
        return bool(_decode_text(value))
    values = value if isinstance(value, tuple | list) else (value,)
    return any((_parse_finite(x) or 0.0) > 0.0 for x in values)


def _is_twice_as_wide(size_px: tuple[int, int]) -> bool:
    width, height = size_px
    return abs(width - 2 * height) <= max(2, width // 200)


def compute_photo_fov_deg(
    part: Mapping[int, Any], size_px: tuple[int, int]
) -> tuple[float | None, str]:
    """Horizontal field of view of an upright picture of (width, height), or why it is unknown.

    A 35 mm equivalent f belongs to a frame whose long side is 36 mm; the exact focal length over
    the sensor's width (FocalPlaneXResolution) is preferred where both agree. None without them,
    and where the picture's shape contradicts them: it is not what the camera took (it was cut), or
    no lens takes it alone (it was stitched). The reason is "" if the file says nothing.
    """
    width, height = size_px
    camera_px = (_read_number(part, Base.ExifImageWidth), _read_number(part, Base.ExifImageHeight))
    across, down = camera_px
    if across and down and not _have_same_shape(across / down, width / height):
        return None, (
            f"EXIF tells of {across:g} x {down:g} pixels and the picture has "
            f"{width} x {height}: it was cut, its field of view is unknown"
        )
    long_side = _compute_long_sides_per_focal(part, camera_px, max(size_px))
    if long_side is None:
        return None, ""
    if _read_number(part, Base.CustomRendered) == _STITCHED:
        return None, "EXIF tells of a panorama that was stitched: its field of view is unknown"
    ratio = max(size_px) / min(size_px)
    if ratio > WIDEST_LENS_RATIO:
        return None, (
            f"EXIF tells a focal length, and a shape of {ratio:.1f} to 1 tells of a stitched or "
            "cut picture: its field of view is unknown"
        )
    fov = 2.0 * math.degrees(math.atan(long_side * width / max(size_px) / 2.0))
    if _FOV_RANGE_DEG[0] <= fov <= _FOV_RANGE_DEG[1]:
        return fov, ""
    return None, f"a focal length that means {fov:.3g} degrees is absurd: field of view unknown"


def _compute_long_sides_per_focal(
    part: Mapping[int, Any], camera_px: tuple[float | None, float | None], long_px: int
) -> float | None:
    """Length of the sensor's long side in focal lengths."""
    film = _read_positive(part, Base.FocalLengthIn35mmFilm)
    rough = _FILM_LONG_SIDE_MM / film if film else None
    focal = _read_positive(part, Base.FocalLength)
    density = _read_positive(part, Base.FocalPlaneXResolution)
    unit_mm = _UNIT_MM.get(int(_read_number(part, Base.FocalPlaneResolutionUnit) or 2))
    if not focal or not density or not unit_mm:
        return rough
    exact = max(camera_px[0] or long_px, camera_px[1] or 0) / density * unit_mm / focal
    if rough is None or abs(exact / rough - 1.0) <= _AGREE:
        return exact
    return rough


def _have_same_shape(a: float, b: float) -> bool:
    return abs(a / b - 1.0) < _AGREE or abs(a * b - 1.0) < _AGREE  # or turned by 90 degrees


# EXIF: place and direction.


def _read_gps(part: Mapping[int, Any]) -> tuple[LatLon | None, Heading | None, tuple[str, ...]]:
    """The place, the direction, and sentences on what is wrong with either."""
    heading, notes = _read_compass(part)
    if GPS.GPSLatitude not in part and GPS.GPSLongitude not in part:
        return None, heading, notes
    lat, lat_problem = _read_signed_deg(part, GPS.GPSLatitude, GPS.GPSLatitudeRef, "NS")
    lon, lon_problem = _read_signed_deg(part, GPS.GPSLongitude, GPS.GPSLongitudeRef, "EW")
    problem = lat_problem or lon_problem or _explain_datum(part)
    if problem:
        lat = lon = None
    if _decode_text(part.get(GPS.GPSStatus)).upper() == "V":
        notes = (*notes, "GPS had no fix when the photo was taken (GPSStatus V)")
    if lat is not None and lon is not None:
        if lat == 0.0 and lon == 0.0:  # what cameras without a fix write
            problem = "0, 0"
        else:
            try:
                return LatLon(lat, lon), heading, notes
            except InvalidValue:
                problem = f"{lat:g}, {lon:g} is no place on Earth"
    return None, heading, (*notes, f"GPS in the file cannot be trusted ({problem}): place unknown")


def _read_signed_deg(
    part: Mapping[int, Any], tag: int, ref_tag: int, letters: str
) -> tuple[float | None, str]:
    """Signed degrees, or None and the reason.

    EXIF stores degrees, minutes and seconds without a sign, and the hemisphere as a letter. Some
    programs sign the degrees; the sign must then agree with the letter. Nothing is guessed.
    """
    name = "latitude" if letters == "NS" else "longitude"
    parts = _parse_numbers(part.get(tag))
    if parts is None or not 1 <= len(parts) <= 3 or any(abs(x) > 60.0 for x in parts[1:]):
        return None, f"the {name} is unreadable"
    if any(x % 1.0 and any(parts[n + 1 :]) for n, x in enumerate(parts)):
        return None, f"the {name} has a fraction and smaller units beside it"
    negative = next((x for x in parts if x), 0.0) < 0.0
    if not negative and min(parts) < 0.0:
        return None, f"the {name} mixes signs"
    size = sum(abs(x) / 60.0**n for n, x in enumerate(parts))
    letter = _read_letter(part.get(ref_tag), letters)
    if letter is None and not negative:
        return None, f"the {name} has no readable reference, {letters[0]} or {letters[1]}"
    if negative and letter == letters[0]:
        return None, f"the {name} is negative and its reference says {letter}"
    return (-size if negative or letter == letters[1] else size), ""


def _read_letter(value: Any, letters: str) -> str | None:
    """One of ``letters``, written in any case, as bytes, or as its English word; None if not."""
    text = _decode_text(value).upper()
    letter = _LETTERS.get(text, text)
    return letter if len(letter) == 1 and letter in letters else None


def _explain_datum(part: Mapping[int, Any]) -> str:
    """Why a place is not in WGS84, or within a few metres of it; "" if it is."""
    datum = _decode_text(part.get(GPS.GPSMapDatum))
    letters = re.sub(r"[^A-Z0-9]", "", datum.upper())
    if len(letters) < 3 or _LIKE_WGS84.search(letters):  # shorter: not filled in
        return ""
    return f"it is in the datum {datum[:20]!r}, not in WGS84"


def _decode_text(value: Any) -> str:
    """A text of EXIF, also of type BYTE, without its padding."""
    if isinstance(value, tuple | list) and all(isinstance(x, int) and 0 <= x < 256 for x in value):
        value = bytes(value)
    if isinstance(value, int) and 0 <= value < 256:
        value = bytes([value])
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    return text.strip("\0 \t\r\n")


def _read_compass(part: Mapping[int, Any]) -> tuple[Heading | None, tuple[str, ...]]:
    if GPS.GPSImgDirection not in part:
        return None, ()
    degrees = _read_number(part, GPS.GPSImgDirection)
    if degrees is None or not 0.0 <= degrees <= 360.0:
        return None, ("the direction in the file (GPSImgDirection) is unreadable: unknown",)
    letter = _read_letter(part.get(GPS.GPSImgDirectionRef), "TM")
    north: North = "true" if letter == "T" else "magnetic" if letter == "M" else "unknown"
    heading = Heading(
        degrees=degrees % 360.0,
        sigma_deg=COMPASS_SIGMA_DEG,
        north=north,
        source="GPSImgDirection",
    )
    return heading, ()


# XMP: panoramas.


def _read_gpano(xmp: Sequence[str], size_px: tuple[int, int]) -> PhotoFacts | None:
    """Kind, field of view, tilt and heading of a picture with GPano; None if it has none.

    Photo Sphere XMP: ProjectionType, FullPano..., CroppedArea... (pixels of the original file; the
    picture may have been resized since), Pose... (of the camera, in degrees).
    """
    values = _collect_gpano(xmp)
    kind = values.get("ProjectionType", "").strip().lower()
    if not kind and not any(name in values for name in _EXTENTS):
        return None
    if kind in _FLAT:
        return None
    if kind not in ("equirectangular", "cylindrical", ""):
        return PhotoFacts(
            kind="perspective",
            view_assumptions=(
                f"GPano names the projection {kind[:30]!r}, which crossview does not read: its "
                "field of view is unknown",
            ),
        )
    sphere, why = _read_extents(values, kind or "equirectangular", size_px)
    assumptions = [why] if why else []
    if not kind:
        assumptions.append("GPano names no projection: equirectangular assumed")
    if sphere is None:
        return PhotoFacts(
            kind="panorama", also_try_fov_deg=WIDE_FOV_DEG, view_assumptions=tuple(assumptions)
        )
    sphere, heading, notes = _apply_pose(sphere, values)
    return PhotoFacts(
        kind="panorama",
        fov_deg=sphere.fov_deg,
        panorama=sphere,
        heading=heading,
        view_assumptions=tuple(assumptions),
        assumptions=notes,
    )


def _read_extents(
    values: Mapping[str, str], kind: str, size_px: tuple[int, int]
) -> tuple[Panorama | None, str]:
    """Where the picture lies on the sphere, and what was assumed, or why it is not known."""
    if not any(name in values for name in _EXTENTS):
        if kind == "equirectangular" and _is_twice_as_wide(size_px):
            return Panorama(), (
                "GPano does not tell what part of the sphere the picture shows; twice as wide as "
                "high: taken for all of it"
            )
        return None, "GPano does not tell what part of the sphere it shows: field of view unknown"
    numbers = {name: _parse_finite(values[name]) for name in _EXTENTS if name in values}
    problem = next(
        (f"{name} is {values[name][:20]!r}" for name, x in numbers.items() if x is None), ""
    )
    full, across = numbers.get(_EXTENTS[0]), numbers.get(_EXTENTS[2])
    down = numbers.get(_EXTENTS[3])
    if not problem and full is None:
        problem = "FullPanoWidthPixels is missing"
    if not problem and full is not None:
        if kind == "cylindrical":
            sphere, problem = _place_on_cylinder(numbers, full, across or full, down, size_px)
        else:
            sphere, problem = _place_on_sphere(numbers, full, across or full, down, size_px)
        if sphere is not None:
            return sphere, problem
    return None, f"GPano contradicts the picture or itself ({problem}): field of view unknown"


def _place_on_sphere(
    numbers: Mapping[str, float | None],
    full: float,
    across: float,
    down: float | None,
    size_px: tuple[int, int],
) -> tuple[Panorama | None, str]:
    tall = numbers.get("FullPanoHeightPixels")
    tall = full / 2.0 if tall is None else tall
    down = tall if down is None else down
    left, top = numbers.get("CroppedAreaLeftPixels"), numbers.get("CroppedAreaTopPixels")
    problem = _explain_size(full, tall, across, down, size_px)
    slack = _compute_rounding_px(full)
    if not problem and abs(full / tall / 2.0 - 1.0) > _EXTENTS_AGREE:
        problem = f"a whole sphere of {full:g} x {tall:g} pixels is not twice as wide as high"
    if not problem and (down > tall + slack or (top or 0.0) + down > tall + slack):
        problem = "the cropped area is larger than the whole"
    if not problem and (across > full + slack or (left or 0.0) + across > full + slack):
        problem = "the cropped area is larger than the whole"
    if not problem and min(left or 0.0, top or 0.0) < 0.0:
        problem = "the cropped area begins outside of the whole"
    if problem:
        return None, problem
    across, down = min(across, full), min(down, tall)
    assumption = ""
    if top is None and down < tall:
        top, assumption = (tall - down) / 2.0, _NO_HORIZON
    degrees = 180.0 / tall  # of a pixel
    upper = 90.0 - (top or 0.0) * degrees
    lower = upper - down * degrees
    if abs(upper + lower) / 2.0 > _STEEPEST_DEG:
        return None, "the picture shows only the zenith or the nadir"
    middle = 0.0 if left is None else ((left + across / 2.0) / full - 0.5) * 360.0
    fov = 360.0 * across / full
    return Panorama(fov_deg=fov, middle_deg=middle, top=upper, bottom=lower), assumption


def _place_on_cylinder(
    numbers: Mapping[str, float | None],
    full: float,
    across: float,
    down: float | None,
    size_px: tuple[int, int],
) -> tuple[Panorama | None, str]:
    """On a cylinder CroppedAreaTopPixels counts from the horizon: negative is above it."""
    width, height = size_px
    tall = numbers.get("FullPanoHeightPixels")
    down = across * height / width if down is None else down
    left, top = numbers.get("CroppedAreaLeftPixels"), numbers.get("CroppedAreaTopPixels")
    problem = _explain_size(full, tall or down, across, down, size_px)
    if not problem and (left or 0.0) + across > full + _compute_rounding_px(full):
        problem = "the cropped area is larger than the whole"
    if problem:
        return None, problem
    assumption = ""
    if top is None or (top == 0.0 and tall == down):
        top, assumption = -down / 2.0, _NO_HORIZON
    radius = full / (2.0 * math.pi)
    upper, lower = -top / radius, -(top + down) / radius
    if max(abs(upper), abs(lower)) > math.tan(math.radians(_STEEPEST_DEG)):
        return None, "the cylinder reaches beyond 85 degrees up or down"
    across = min(across, full)
    middle = 0.0 if left is None else ((left + across / 2.0) / full - 0.5) * 360.0
    fov = 360.0 * across / full
    return Panorama(
        projection="cylindrical", fov_deg=fov, middle_deg=middle, top=upper, bottom=lower
    ), assumption


def _compute_rounding_px(full: float) -> float:
    """Pixels by which a cropped area may reach beyond the whole: programs round and scale."""
    return 1.0 + full / 500.0


def _explain_size(
    full: float, tall: float, across: float, down: float, size_px: tuple[int, int]
) -> str:
    width, height = size_px
    if min(full, tall, across, down) <= 0.0:
        return "a width or height is not above 0"
    slack = max(_EXTENTS_AGREE, 1.5 / min(width, height))
    if abs(across / down * height / width - 1.0) > slack:
        return f"it tells of {across:g} x {down:g} pixels, and the picture has {width} x {height}"
    return ""


def _apply_pose(
    sphere: Panorama, values: Mapping[str, str]
) -> tuple[Panorama, Heading | None, tuple[str, ...]]:
    """The sphere with its camera's tilt, the heading of the picture's middle, and problems."""
    notes = []
    angles = {}
    for name, limits in (("Pitch", 90.0), ("Roll", 180.0)):
        angle = _parse_finite(values.get(f"Pose{name}Degrees", "0"))
        if angle is None or abs(angle) > limits:
            notes.append(f"the tilt in the file (Pose{name}Degrees) is unreadable: level assumed")
            angle = 0.0
        angles[name] = angle
    sphere = replace(sphere, pitch_deg=angles["Pitch"], roll_deg=angles["Roll"])
    if "PoseHeadingDegrees" not in values:
        return sphere, None, tuple(notes)
    degrees = _parse_finite(values["PoseHeadingDegrees"])
    if degrees is None or not 0.0 <= degrees <= 360.0:
        notes.append("the direction in the file (PoseHeadingDegrees) is unreadable: unknown")
        return sphere, None, tuple(notes)
    heading = Heading(
        degrees=(degrees + sphere.middle_deg) % 360.0,
        sigma_deg=POSE_SIGMA_DEG,
        north="unknown",
        source="PoseHeadingDegrees",
    )
    return sphere, heading, tuple(notes)


def _collect_gpano(xmp: Sequence[str]) -> dict[str, str]:
    """GPano's values by name, as attributes or elements, whatever the namespace's prefix.

    Packets that disagree give "several: A, B", which is not read as a number.
    """
    values: dict[str, set[str]] = {}
    for packet in xmp:
        for name, text in _parse_packet(packet) or _search_packet(packet):
            values.setdefault(name, set()).add(text.strip())
    return {
        name: next(iter(texts)) if len(texts) == 1 else f"several: {', '.join(sorted(texts))}"
        for name, texts in values.items()
    }


def _parse_packet(packet: str) -> list[tuple[str, str]]:
    """GPano's names and values in a packet of well-formed XML; none otherwise."""
    values: list[tuple[str, str]] = []
    texts: list[list[str]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        texts.append([])
        for key, value in attributes.items():
            if key.startswith(_GPANO + " "):
                values.append((key.rpartition(" ")[2], value))

    def end(name: str) -> None:
        text = "".join(texts.pop())
        if name.startswith(_GPANO + " "):
            values.append((name.rpartition(" ")[2], text))

    def character(data: str) -> None:
        if texts:
            texts[-1].append(data)

    def refuse(*_: object) -> None:
        raise ValueError("entities have no use in XMP")

    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = character, refuse
    try:
        parser.Parse(packet.strip("\ufeff\0 \t\r\n").encode("utf-8", "replace"), True)
    except (expat.ExpatError, ValueError):
        return []
    return values


def _search_packet(packet: str) -> Iterator[tuple[str, str]]:
    """The same for XML that is damaged or does not declare its prefixes."""
    prefixes = re.findall(rf"xmlns:([\w.-]{{1,40}})\s*=\s*[\"']{re.escape(_GPANO)}[\"']", packet)
    packet = re.sub(r"<!--.*?-->", "", packet, flags=re.DOTALL)
    for prefix in {"GPano", *prefixes}:
        matches = re.findall(
            rf"(?<![\w./-]){re.escape(prefix)}:(\w{{1,60}})\s*"
            r"(?:=\s*\"([^\"]{0,80})\"|=\s*'([^']{0,80})'|(?:\s[^<>]{0,200})?>([^<]{0,80})<)",
            packet,
        )
        for name, *texts in matches:
            yield name, "".join(texts)


# Numbers.


def _read_ifd(exif: Any, tag: int) -> Mapping[int, Any]:
    try:
        part: Mapping[int, Any] = exif.get_ifd(tag)
    except Exception:  # damaged EXIF makes Pillow raise all kinds of errors
        return {}
    return part


def _read_number(part: Mapping[int, Any], tag: int) -> float | None:
    """A finite number, or None."""
    return _parse_finite(part.get(tag))


def _read_positive(part: Mapping[int, Any], tag: int) -> float | None:
    number = _read_number(part, tag)
    return number if number is not None and number > 0.0 else None


def _parse_finite(value: Any) -> float | None:
    if getattr(value, "numerator", 0) == getattr(value, "denominator", 1) == _UNSET:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _parse_numbers(values: Any) -> list[float] | None:
    """Finite numbers out of a sequence or a single one; None if any is not."""
    if isinstance(values, str | bytes):
        return None
    parts = [_parse_finite(x) for x in (values if isinstance(values, tuple | list) else (values,))]
    return None if any(x is None for x in parts) else [x for x in parts if x is not None]
