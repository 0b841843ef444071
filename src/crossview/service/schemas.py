"""What the API says, as types: the OpenAPI document and the checks follow from them.

Nothing leaves the server that is not as its type here says: :class:`CheckedRoute` reads every
answer's JSON once more before it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.responses import JSONResponse, Response


class Record(BaseModel):
    """Only what is declared goes out; what is unknown is left away."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class WrongAnswer(Exception):
    """A fault of the server: what it was about to send is not as its schema says."""


def require_as(kind: Any, text: str | bytes) -> None:
    """Raise :class:`WrongAnswer` unless ``text`` is JSON of a type.

    The message names fields and never values, which may be a photo's name or place.
    """
    try:
        TypeAdapter(kind).validate_json(text)
    except ValidationError as problem:
        faults = problem.errors(include_url=False, include_input=False, include_context=False)
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in faults[:5])
        raise WrongAnswer(f"An answer is no {getattr(kind, '__name__', kind)}: {said}") from None


class GeoJson(JSONResponse):
    """JSON with the media type of GeoJSON (RFC 7946)."""

    media_type = "application/geo+json"


class CheckedRoute(APIRoute):
    """A route whose answers are compared with its response model, also those made by hand."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, and the check behind it."""
        handler = super().get_route_handler()
        made: Any = getattr(self.response_class, "value", self.response_class)

        async def checked(request: Request) -> Response:
            response = await handler(request)
            kind = response.headers.get("content-type", "").partition(";")[0]
            if self.response_model is not None and kind == made.media_type:
                require_as(self.response_model, bytes(response.body))
            return response

        return checked


class Point(Record):
    """A place in WGS84 degrees."""

    lat: float
    lon: float


class Ground(Point):
    """The ground rectangle of a place's best window, around its centre."""

    width_m: float
    height_m: float
    up_bearing_deg: float = Field(description="bearing of the rectangle's upper edge")


class FoundPlace(Point):
    """One candidate; overlapping windows are merged."""

    rank: int = Field(description="from 1")
    score: float = Field(description="comparable within one photo only; no probability")
    window: int = Field(description="number of the tile, for /windows/{window}")
    heading_deg: float | None = Field(None, description="of the photo's middle, from true north")
    probability: float | None = Field(None, description="of lying within 25 m; calibrated only")
    openstreetmap: str = Field(description="address of a page that marks the place")
    footprint: Ground


class Heat(Record):
    """One byte per cell of /cells: 0 not searched, 1 to 255 from ``low`` to ``high``.

    Of the scores; with a calibration that fits the photo, of the probability of each cell.
    """

    of: Literal["scores", "posterior"]
    low: float
    high: float
    codes: str = Field(description="base64")


class ConformalArea(Record):
    """Ground that holds the truth with a stated coverage."""

    coverage: float
    km2: float
    share: float = Field(description="of the cells that were searched")
    windows: str | None = Field(None, description="base64 of little-endian uint32; with heat=true")


class CalibratedFacts(Record):
    """What the region's calibration says of one photo."""

    elsewhere: float = Field(description="probability of another region")
    refused: bool = Field(description="probably not in this region")
    false_reject: float = Field(description="share of the region's own photos that are refused")
    areas: list[ConformalArea]
    kind: str
    n: int = Field(description="photos it was calibrated on")
    date: str


class Found(Record):
    """All that is said about one photo."""

    photo: str
    sha256: str
    kind: Literal["panorama", "perspective"]
    fov_deg: float
    fov_source: Literal["panorama", "exif", "given", "assumed"]
    heading_source: Literal["given", "PoseHeadingDegrees", "GPSImgDirection"] | None = Field(
        None, description="of the heading that the search relied on, if it did"
    )
    assumptions: list[str]
    warnings: list[str]
    confidence: str
    stands_out: bool = Field(description="a rule of thumb: the first place leads clearly")
    calibrated: CalibratedFacts | None = Field(None, description="only where it was measured")
    places: list[FoundPlace] = Field(description="best first")
    heat: Heat | None = Field(None, description="with heat=true")
    view: str | None = Field(None, description="with view=true: a data URL of what the model saw")


class PhotoTrouble(Record):
    """A photo that was not located, and why."""

    photo: str
    code: str
    detail: str


class Answers(Record):
    """What came of a request."""

    region: str
    model: str = Field(description="fingerprint of the network")
    answers: list[Found]
    problems: list[PhotoTrouble]


class RegionFacts(Record):
    """A region that can be asked."""

    name: str
    tiles: int
    area_km2: float
    bounds: list[float] = Field(description="south, west, north, east; west > east across 180")
    footprint_m: float
    stride_m: float
    metres_per_px: float
    attribution: str
    date: str
    model: str
    model_fingerprint: str
    synthetic_model: bool = Field(description="trained on a synthetic town, not on Earth")
    synthetic_imagery: bool
    uses_heading: bool = Field(description="whether a heading hint helps")
    fov_seen_deg: list[float] = Field(description="fields of view seen in training")
    warnings: list[str]
    deepest_zoom: int
    version: str = Field(description="changes when the index does")


class Limits(Record):
    """What a request may hold."""

    files: int
    file_bytes: int
    request_bytes: int
    places: int


class OnlineMapFacts(Record):
    """A base map from elsewhere, if this server was told to use one."""

    url: str
    attribution: str


class RegionList(Record):
    """All regions, the default first, and what this server allows."""

    regions: list[RegionFacts]
    limits: Limits
    online_map: OnlineMapFacts | None = None


class Cells(Record):
    """Where heat is drawn: base64 of little-endian float64."""

    lat: str
    lon: str
    spacing_m: float
    merged: bool


class FoundEvent(Found):
    """An answer as an event of a batch, and how far it has come."""

    done: int
    photos: int


class TroubleEvent(PhotoTrouble):
    """A photo of a batch that was not located."""

    done: int
    photos: int


class EndEvent(Record):
    """A batch is over."""

    state: Literal["running", "done", "cancelled"]
    done: int
    photos: int


EVENTS: dict[str, type[Record]] = {
    "answer": FoundEvent, "problem": TroubleEvent, "end": EndEvent,
}  # fmt: skip


class JobState(Record):
    """A long batch."""

    job: str
    region: str
    state: Literal["running", "done", "cancelled"]
    photos: int
    done: int
    answers: list[Found]
    problems: list[PhotoTrouble]


Position = tuple[float, float]  # longitude, latitude


class PointShape(Record):
    """A point of GeoJSON."""

    type: Literal["Point"]
    coordinates: Position


class PolygonShape(Record):
    """A polygon of GeoJSON: the outer ring first."""

    type: Literal["Polygon"]
    coordinates: list[list[Position]]


class MultiPolygonShape(Record):
    """Several polygons, such as one that the antimeridian cuts."""

    type: Literal["MultiPolygon"]
    coordinates: list[list[list[Position]]]


class WindowFacts(Record):
    """How well a window fits a photo."""

    window: int
    score: float
    probability: float | None = Field(None, description="of its cell; calibrated only")


class WindowFeature(Record):
    """A window's centre."""

    type: Literal["Feature"]
    geometry: PointShape
    properties: WindowFacts


class WindowScores(Record):
    """The windows that fit one photo best, as GeoJSON."""

    type: Literal["FeatureCollection"]
    features: list[WindowFeature]


class PartFacts(Record):
    """How many windows a part of a region has."""

    tiles: int


class PartFeature(Record):
    """The box around windows that lie together."""

    type: Literal["Feature"]
    geometry: PolygonShape | MultiPolygonShape
    properties: PartFacts


class Coverage(Record):
    """Where a region lies, as GeoJSON."""

    type: Literal["FeatureCollection"]
    features: list[PartFeature]


class Health(Record):
    """Whether the server lives, or is ready for requests."""

    status: Literal["alive", "ready", "closing"]


class Problem(Record):
    """Why there is no answer (RFC 9457)."""

    title: str
    status: int
    code: str
    detail: str
    problems: list[PhotoTrouble] | None = None
