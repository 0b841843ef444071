"""What a photo's file says of itself: EXIF (focal length, place) and GPano (panoramas).

Nothing here raises: metadata that is absent, damaged or absurd counts as unknown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossview.errors import InvalidValue
from crossview.geo.points import LatLon

_FILM_LONG_SIDE_MM = 36.0  # of the frame that "35 mm equivalent" refers to
_EXIF_PART, _GPS_PART = 0x8769, 0x8825
_FOCAL_MM, _FOCAL_35_MM = 0x920A, 0xA405
_PIXELS_ACROSS, _PIXELS_DOWN = 0xA002, 0xA003
_PLANE_X, _PLANE_UNIT = 0xA20E, 0xA210
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # inch, centimetre, millimetre, micrometre
_AGREE = 0.04  # relative; EXIF rounds the 35 mm equivalent to whole millimetres
_FOV_RANGE_DEG = (1.0, 150.0)


@dataclass(frozen=True, kw_only=True)
class Panorama:
    """How GPano places a picture on the sphere, in pixels of the picture as it is."""

    fov_deg: float
    horizon_px: float
    heading_deg: float | None  # of the middle column of the picture, clockwise from north


def photo_fov_deg(exif: Any, size_px: tuple[int, int]) -> float | None:
    """Horizontal field of view of an upright picture of (width, height) from its EXIF.

    A 35 mm equivalent f belongs to a frame whose long side is 36 mm; the exact focal length over
    the sensor's width (FocalPlaneXResolution) is preferred where both agree. Unknown (None) if the
    picture has another shape than the camera took: it was cut.
    """
    part = _part(exif, _EXIF_PART)
    width, height = size_px
    taken = (_number(part, _PIXELS_ACROSS), _number(part, _PIXELS_DOWN))
    if taken[0] and taken[1] and not _same_shape(taken[0] / taken[1], width / height):
        return None
    long_side = _long_sides_per_focal(part, taken, max(size_px))
    if long_side is None:
        return None
    fov = 2.0 * math.degrees(math.atan(long_side * width / max(size_px) / 2.0))
    return fov if _FOV_RANGE_DEG[0] <= fov <= _FOV_RANGE_DEG[1] else None


def _long_sides_per_focal(
    part: Mapping[int, Any], taken: tuple[float | None, float | None], long_px: int
) -> float | None:
    """Length of the sensor's long side in focal lengths."""
    film = _number(part, _FOCAL_35_MM)
    rough = _FILM_LONG_SIDE_MM / film if film else None
    focal, density = _number(part, _FOCAL_MM), _number(part, _PLANE_X)
    unit_mm = _UNIT_MM.get(int(_number(part, _PLANE_UNIT) or 2))
    if not focal or not density or not unit_mm:
        return rough
    exact = max(taken[0] or long_px, taken[1] or 0) / density * unit_mm / focal
    if rough is None or abs(exact / rough - 1.0) <= _AGREE:
        return exact
    return rough


def _same_shape(a: float, b: float) -> bool:
    return abs(a / b - 1.0) < _AGREE or abs(a * b - 1.0) < _AGREE  # or turned by 90 degrees


def gps(exif: Any) -> tuple[LatLon | None, float | None]:
    """The place in the EXIF, and the direction of the view clockwise from true north."""
    part = _part(exif, _GPS_PART)
    lat, lon = _degrees(part.get(2)), _degrees(part.get(4))
    heading = _number(part, 17)
    if heading is not None and str(part.get(16, "T"))[:1].upper() != "T":
        heading = None  # magnetic north is not ours
    if lat is None or lon is None or (lat == 0.0 and lon == 0.0):
        return None, heading
    lat = -lat if str(part.get(1, "N"))[:1].upper() == "S" else lat
    lon = -lon if str(part.get(3, "E"))[:1].upper() == "W" else lon
    try:
        return LatLon(lat, lon), heading
    except InvalidValue:
        return None, heading


def gpano(xmp: str, size_px: tuple[int, int]) -> Panorama | None:
    """The panorama that XMP metadata describe, whole or a part of one; None if there is none.

    Photo Sphere XMP: ProjectionType, FullPano..., CroppedArea... (pixels of the original file; the
    picture may have been resized since).
    """
    kind = re.search(r"GPano:ProjectionType\s*(?:=\s*[\"']|>)\s*(\w+)", xmp)
    if kind is None or kind[1].lower() not in ("equirectangular", "cylindrical"):
        return None
    height = size_px[1]
    full_width = _xmp(xmp, "FullPanoWidthPixels")
    part_width = _xmp(xmp, "CroppedAreaImageWidthPixels") or full_width
    part_height = _xmp(xmp, "CroppedAreaImageHeightPixels")
    full_height = _xmp(xmp, "FullPanoHeightPixels") or part_height
    fov, horizon = 360.0, height / 2.0
    if full_width and part_width and 0.0 < part_width <= full_width:
        fov = 360.0 * part_width / full_width
    if full_height and part_height and 0.0 < part_height <= full_height:
        top = _xmp(xmp, "CroppedAreaTopPixels") or 0.0
        horizon = (full_height / 2.0 - top) * height / part_height
    heading = _xmp(xmp, "PoseHeadingDegrees")
    if heading is not None and full_width and part_width:
        left = _xmp(xmp, "CroppedAreaLeftPixels") or 0.0
        heading += ((left + part_width / 2.0) / full_width - 0.5) * 360.0
    return Panorama(
        fov_deg=fov,
        horizon_px=horizon,
        heading_deg=None if heading is None else heading % 360.0,
    )


def _xmp(xmp: str, name: str) -> float | None:
    """A GPano number, written as an attribute or as an element."""
    found = re.search(rf"GPano:{name}\s*(?:=\s*[\"']|>)\s*(-?[\d.]+)", xmp)
    return _finite(found[1]) if found else None


def _part(exif: Any, tag: int) -> Mapping[int, Any]:
    try:
        part: Mapping[int, Any] = exif.get_ifd(tag)
    except Exception:  # Pillow raises whatever the damage makes it stumble over
        return {}
    return part


def _number(part: Mapping[int, Any], tag: int) -> float | None:
    """A finite number, or None; EXIF writes 0 for unknown in all lengths that are asked for."""
    return _finite(part.get(tag))


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _degrees(parts: Any) -> float | None:
    """Degrees, minutes, seconds as one number."""
    try:
        d, m, s = (float(x) for x in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return _finite(d + m / 60.0 + s / 3600.0)
