"""Hints: what is known of a picture besides its pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypedDict

from crossview.errors import InvalidValue, require
from crossview.geo.perimeters import Perimeter, parse_perimeter, read_perimeter
from crossview.geo.points import LatLon, parse_latlon
from crossview.model import ModelInfo
from crossview.views.exif import Heading
from crossview.views.lens import require_fov

HEADING_SIGMAS = 3.0  # of a known heading: turns within so many are tried
GIVEN_SIGMA_DEG = 5.0  # of a heading that a person gives without saying how good it is
MOST_SIGMA_DEG = 180.0 / HEADING_SIGMAS  # all turns are tried
DEFAULT_RERANK = 0  # windows of a photo that are compared again (localization.reranking)
MOST_RERANK = 1000
HeadingSource = Literal["given", "PoseHeadingDegrees", "GPSImgDirection"]
GPS_SIGMA_M = 30.0  # assumed of a place in a file that does not say how good it is
MOST_SIGMA_M = 1_000_000.0  # of a prior; one that is less certain says nothing


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Where a picture was probably taken: weighs all windows, and excludes none.

    A normal distribution about ``place``. ``sigma_m``: its standard deviation in every direction.
    ``source``: "given", or "file" for the place in the photo's own file.
    """

    place: LatLon
    sigma_m: float
    source: Literal["given", "file"] = "given"

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", to_latlon(self.place))
        sigma = _to_number("sigma_m", self.sigma_m)
        require(
            sigma is not None and 0.0 < sigma <= MOST_SIGMA_M,
            f"the standard deviation of a place lies in (0, {MOST_SIGMA_M / 1000:g} km], got "
            f"{sigma} m.\nGive how far off the place may well be, in metres; of a place that is "
            "not known at all, give none.",
        )
        object.__setattr__(self, "sigma_m", sigma)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        place = {"lat": self.place.lat, "lon": self.place.lon}
        return {**place, "sigma_m": self.sigma_m, "source": self.source}


@dataclass(frozen=True, kw_only=True)
class Hints:
    """Everything is optional. A hint is taken as true; what contradicts it is not tried.

    A ``prior`` may be wrong: it weighs places, and excludes none. A ``claim`` is no hint: it is
    ranked, and changes no place. ``near`` and ``claim`` may be a pair (lat, lon) or a text
    "lat,lon" when it is made, ``area`` GeoJSON or the path of such a file, ``prior`` a pair (place,
    metres).
    Raises :class:`InvalidValue` for what cannot be.
    """

    fov_deg: float | None = None  # horizontal; overrides the file's own metadata
    heading_deg: float | None = None  # of the picture's middle, clockwise from true north
    heading_sigma_deg: float | None = None  # of that heading; None: 5 degrees
    horizon_px: float | None = None  # row of the horizon in the upright picture, 0 = top edge
    near: LatLon | None = None
    within_m: float | None = None  # of ``near``
    area: Perimeter | None = None  # polygons to search in; with ``near``, where both are
    claim: LatLon | None = None  # a place that somebody names
    places: int = 10  # how many to give, best first
    ignore_direction: bool = False  # do not use the heading in the file
    rerank: int = DEFAULT_RERANK  # how many of the best windows are compared again; 0: none
    prior: Prior | None = None  # weighs places instead of excluding any
    gps_prior: bool = False  # the place in the photo's file is its prior

    def __post_init__(self) -> None:
        for name in ("fov_deg", "heading_deg", "heading_sigma_deg", "horizon_px", "within_m"):
            object.__setattr__(self, name, _to_number(name, getattr(self, name)))
        for name in ("near", "claim"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, to_latlon(getattr(self, name)))
        if self.area is not None:
            object.__setattr__(self, "area", to_perimeter(self.area))
        if self.prior is not None:
            object.__setattr__(self, "prior", to_prior(self.prior))
        heading = self.heading_deg
        if self.fov_deg is not None:
            require_fov(self.fov_deg)
        require(
            heading is None or -360.0 <= heading <= 360.0,
            f"a heading lies in [-360, 360] degrees, clockwise from north, got {heading}.",
        )
        sigma = self.heading_sigma_deg
        require(
            sigma is None or heading is not None,
            f"a heading's error of {sigma} degrees needs the heading: give both, or neither.",
        )
        require(
            sigma is None or 0.0 < sigma <= MOST_SIGMA_DEG,
            f"the standard deviation of a heading lies in (0, {MOST_SIGMA_DEG:g}] degrees, got "
            f"{sigma}; of a less certain one every direction would be searched: leave it out.",
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
        require(
            isinstance(self.places, Integral)
            and not isinstance(self.places, bool)
            and self.places >= 1,
            f"at least one place must be asked for, in whole numbers, got {self.places!r}.",
        )
        object.__setattr__(self, "places", int(self.places))
        for name in ("ignore_direction", "gps_prior"):
            value = getattr(self, name)
            require(isinstance(value, bool), f"{name} is True or False, got {value!r}.")
        require(
            self.prior is None or not self.gps_prior,
            "a prior place is given, or taken from the photo's file: not both.",
        )
        require(
            isinstance(self.rerank, Integral)
            and not isinstance(self.rerank, bool)
            and 0 <= self.rerank <= MOST_RERANK,
            f"0 (none) to {MOST_RERANK} windows are compared again, got {self.rerank!r}.",
        )
        object.__setattr__(self, "rerank", int(self.rerank))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values of the hints that were given."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.rerank == DEFAULT_RERANK:
            del values["rerank"]
        for name in ("ignore_direction", "gps_prior"):
            if not values[name]:
                del values[name]
        for name in ("near", "claim"):
            if (place := values[name]) is not None:
                values[name] = {"lat": place.lat, "lon": place.lon}
        if self.area is not None:
            values["area"] = self.area.to_geojson()
        if self.prior is not None:
            values["prior"] = self.prior.to_json()
        return {name: value for name, value in values.items() if value is not None}


class HintValues(TypedDict, total=False):
    """The keywords of :class:`Hints`, as ``crossview.locate`` takes them."""

    fov_deg: float | None
    heading_deg: float | None
    heading_sigma_deg: float | None
    horizon_px: float | None
    near: Any  # what to_latlon takes
    within_m: float | None
    area: Any  # what to_perimeter takes
    claim: Any  # what to_latlon takes
    places: int
    ignore_direction: bool
    rerank: int
    prior: Any  # what to_prior takes
    gps_prior: bool


def to_latlon(value: Any) -> LatLon:
    """A place from a :class:`LatLon`, a pair (lat, lon) in degrees, or a text "lat,lon"."""
    if isinstance(value, LatLon):
        return value
    if isinstance(value, str):
        return parse_latlon(value)
    try:
        lat, lon = (float(degrees) for degrees in value)
    except (TypeError, ValueError) as problem:
        raise InvalidValue(
            f"{value!r} is not a place. Give latitude and longitude in degrees: (52.52, 13.40)"
        ) from problem
    return LatLon(lat, lon)


def to_prior(value: Any) -> Prior:
    """A prior from a :class:`Prior`, or a pair of a place and its standard deviation in metres."""
    if isinstance(value, Prior):
        return value
    try:
        place, sigma_m = value
    except (TypeError, ValueError) as problem:
        raise InvalidValue(
            f"{value!r} is no prior. Give a place and its standard deviation in metres: "
            "((52.52, 13.40), 30)"
        ) from problem
    return Prior(place=place, sigma_m=sigma_m)


def to_perimeter(value: Any) -> Perimeter:
    """An area from a :class:`Perimeter`, GeoJSON, a shape that gives it, or the path of a file."""
    if isinstance(value, Perimeter):
        return value
    if isinstance(value, str | Path):
        return read_perimeter(value)
    geometry = getattr(value, "__geo_interface__", value)  # of shapely and geopandas
    require(
        isinstance(geometry, Mapping),
        f"{str(value)[:80]!r} is no area. Give GeoJSON, a shape, or the path of a .geojson file.",
    )
    return parse_perimeter(geometry)


def choose_prior(
    gps: LatLon | None, gps_sigma_m: float | None, hints: Hints
) -> tuple[Prior | None, tuple[str, ...]]:
    """The prior of a picture, given or of its file, and what was assumed about it.

    ``gps_sigma_m``: how good the place in the file is, as far as the file says it.
    """
    if not hints.gps_prior:
        if hints.prior is None:
            return None, ()
        place, sigma_m = hints.prior.place, hints.prior.sigma_m
        return hints.prior, (f"prior given: {place}, taken as good to {sigma_m:g} m",)
    if gps is None:
        return None, ("no usable GPS in the file: no prior, all places weigh alike",)
    known = gps_sigma_m is not None and 0.0 < gps_sigma_m <= MOST_SIGMA_M
    sigma_m = gps_sigma_m if gps_sigma_m is not None and known else GPS_SIGMA_M
    said = "as the file says" if known else "which the file does not say"
    used = Prior(place=gps, sigma_m=sigma_m, source="file")
    return used, (f"GPS in the file ({gps}) used as a prior: good to {sigma_m:g} m, {said}",)


def match_hints(hints: Hints | Sequence[Hints], pictures: int) -> list[Hints]:
    """One :class:`Hints` per picture, from one for all of them or one for each."""
    all_hints = [hints] * pictures if isinstance(hints, Hints) else list(hints)
    require(len(all_hints) == pictures, f"{pictures} pictures, but hints for {len(all_hints)}.")
    return all_hints


@dataclass(frozen=True, kw_only=True)
class KnownHeading:
    """A heading that the search relies on, and where it comes from."""

    degrees: float  # of the picture's middle, clockwise from true north
    sigma_deg: float  # one standard deviation of its error
    source: HeadingSource

    @property
    def slack_deg(self) -> float:
        """How far from it turns are tried: 15 degrees for a heading that a person gives."""
        return HEADING_SIGMAS * self.sigma_deg


@dataclass(frozen=True, kw_only=True)
class HeadingChoice:
    """The heading that is used of all that are stated, and what was assumed about it.

    ``wanted``: none is known, and the model could use one.
    """

    heading: KnownHeading | None = None
    assumptions: tuple[str, ...] = ()
    wanted: bool = False


def choose_heading(
    in_file: Heading | None, hints: Hints, info: ModelInfo, fov_deg: float
) -> HeadingChoice:
    """Which heading a picture of ``fov_deg`` is looked for with: the one given, else the file's.

    Raises :class:`InvalidValue` for a heading that is given and that the model cannot use; the
    heading in a file is then left alone, which the assumptions say.
    """
    if hints.heading_deg is not None:
        require_usable_heading(info, fov_deg)
        sigma_deg = hints.heading_sigma_deg or GIVEN_SIGMA_DEG
        used = KnownHeading(degrees=hints.heading_deg, sigma_deg=sigma_deg, source="given")
        given = (
            f"heading given: {used.degrees % 360.0:g} degrees, taken as good to {sigma_deg:g}"
            f"{_describe_slack(used, info)}"
        )
        return HeadingChoice(
            heading=used, assumptions=(given, *_describe_contradiction(used, in_file))
        )
    why = explain_unusable_heading(info, fov_deg)
    if in_file is None:
        return HeadingChoice(wanted=not why)
    direction = f"direction in the file ({_describe_heading(in_file)})"
    if hints.ignore_direction:
        return HeadingChoice(assumptions=(f"{direction} ignored, as asked",), wanted=not why)
    if why:
        return HeadingChoice(assumptions=(f"{direction} not used: {why}",))
    used = KnownHeading(degrees=in_file.degrees, sigma_deg=in_file.sigma_deg, source=in_file.source)
    assumption = (
        f"{direction} used as a hint: taken as good to {in_file.sigma_deg:g} degrees"
        f"{_describe_north(in_file)}{_describe_slack(used, info)}"
    )
    return HeadingChoice(heading=used, assumptions=(assumption,))


def require_usable_heading(info: ModelInfo, fov_deg: float) -> None:
    """Raise :class:`InvalidValue` unless a model can use the heading of a picture this wide."""
    if why := explain_unusable_heading(info, fov_deg):
        raise InvalidValue(f"{why}.\nRemove the heading.")


def explain_unusable_heading(info: ModelInfo, fov_deg: float) -> str:
    """Why a model cannot use the heading of a picture this wide; "" if it can."""
    if info.azimuth_bins > 1:
        return ""
    if info.headings_seen != "aligned":
        return (
            f"the model {info.name!r} cannot use a heading: its vectors do not tell directions "
            "apart, and it was trained on pictures of any heading"
        )
    if info.ground.representation == "narrow" and fov_deg < 360.0:
        return (
            f"the model {info.name!r} cannot use the heading of a photo, only of a panorama: "
            "to it a photo is a strip that belongs nowhere"
        )
    return ""


def _to_number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    require(
        isinstance(value, Real) and not isinstance(value, bool),
        f"{name} must be a number, got {value!r}.",
    )
    return float(value)


def _describe_contradiction(used: KnownHeading, in_file: Heading | None) -> Sequence[str]:
    """A sentence if the file states another heading than the one given, beyond both slacks."""
    if in_file is None:
        return ()
    apart = abs((in_file.degrees - used.degrees + 180.0) % 360.0 - 180.0)
    if apart <= max(used.slack_deg, HEADING_SIGMAS * in_file.sigma_deg):
        return ()
    return (
        f"the file tells another direction ({_describe_heading(in_file)}), {apart:.0f} degrees "
        "from the heading that was given: the one given is used",
    )


def _describe_slack(used: KnownHeading, info: ModelInfo) -> str:
    """What a known heading leaves to the search; a model without bins is shown it as it is."""
    if info.azimuth_bins == 1:
        return ""
    return f"; headings within {used.slack_deg:g} degrees of it are looked at"


def _describe_heading(heading: Heading) -> str:
    north = "" if heading.north == "unknown" else f" from {heading.north} north"
    return f"{heading.source}, {heading.degrees:.0f} degrees{north}"


def _describe_north(heading: Heading) -> str:
    if heading.north == "true":
        return ""
    if heading.north == "magnetic":
        return ", taken as if from true north"
    return ", from true or magnetic north is not told"
