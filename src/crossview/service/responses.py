"""Responses: the types of the API's answers, and how answers and regions are put into them.

The OpenAPI document is made from the types, and every JSON answer is checked against its own.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from crossview.arrays import U8
from crossview.files import printable
from crossview.geo.mercator import enclose_points
from crossview.geo.points import build_geometry, split_regions
from crossview.hub import drop_folders
from crossview.localization.answer import Answer
from crossview.localization.posterior import compute_posterior
from crossview.outputs.map_layers import describe_heat_grid, describe_scores
from crossview.outputs.map_page import outline_smallest_area
from crossview.outputs.records import (
    describe_answer,
    describe_footprint,
    describe_place,
    describe_view,
    stands_out,
)
from crossview.service.photo_queue import PhotoResult
from crossview.service.regions import Region


class Record(BaseModel):
    """A JSON object with exactly the declared fields."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Point(Record):
    """A place in WGS84 degrees."""

    lat: float
    lon: float


class GroundRectangle(Point):
    """The ground rectangle of a place's best window, around its centre."""

    width_m: float
    height_m: float
    up_bearing_deg: float = Field(description="bearing of the rectangle's upper edge")


class ViewShape(Record):
    """What the camera saw from a place: a wedge; of a picture all around, a circle."""

    length_m: float = Field(description="as it is drawn; how far the camera saw, nobody knows")
    ring: list[list[float]] = Field(description="of (lat, lon), closed; longitudes may pass 180")


class RankedPlace(Point):
    """One candidate; overlapping windows are merged."""

    rank: int = Field(description="from 1")
    score: float = Field(description="comparable within one photo only; not a probability")
    window: int = Field(description="number of the tile, for /windows/{window}")
    position_sigma_m: float | None = Field(
        None, description="two of three positions are right to this, where the place is"
    )
    heading_deg: float | None = Field(None, description="of the photo's middle, from true north")
    heading_sigma_deg: float | None = Field(
        None, description="two of three headings are right to this, where the place is"
    )
    probability: float | None = Field(None, description="of lying within 25 m; calibrated only")
    openstreetmap: str = Field(description="address of a page that marks the place")
    footprint: GroundRectangle
    view: ViewShape | None = Field(None, description="with heat=true, where the heading is known")


class Heat(Record):
    """One byte per cell of /cells: 0 not searched, 1 to 255 from ``low`` to ``high``.

    Of the scores; with a calibration that fits the photo, of the probability of each cell.
    """

    of: Literal["scores", "posterior"]
    low: float
    high: float
    codes: str = Field(description="base64")


class ConformalArea(Record):
    """An area that holds the true place with a stated coverage."""

    coverage: float
    km2: float
    share: float = Field(description="of the cells that were searched")
    windows: str | None = Field(None, description="base64 of little-endian uint32; with heat=true")


class CalibratedFacts(Record):
    """What the region's calibration says about one photo."""

    elsewhere: float = Field(description="probability of another region")
    refused: bool = Field(description="probably not in this region")
    false_reject: float = Field(description="share of the region's own photos that are refused")
    areas: list[ConformalArea]
    kind: str
    n: int = Field(description="photos it was calibrated on")
    date: str
    carried_from: list[str] | None = Field(
        None, description="regions that it was measured on, where it was not this one"
    )


class ClaimedPlace(Point):
    """A place that was claimed, and where it stands; rank and score only where it was searched."""

    openstreetmap: str = Field(description="address of a page that marks the place")
    inside: bool = Field(description="whether the region has ground within 25 m of it")
    nearest_m: float = Field(description="to the middle of the nearest window")
    says: str = Field(description="the same in words; no rank is a proof")
    rank: int | None = Field(None, description="of its best window, from 1, among all searched")
    windows: int | None = Field(None, description="that were searched")
    percentile: float | None = Field(None, description="percent of the windows that score lower")
    score: float | None = None
    window: int | None = Field(None, description="number of the tile, for /windows/{window}")
    footprint: GroundRectangle | None = None
    heading_deg: float | None = Field(None, description="of the photo's middle, from true north")
    listed: int | None = Field(None, description="rank of the place that stands for this ground")
    probability: float | None = Field(None, description="of lying within 25 m; calibrated only")
    areas: list[float] | None = Field(None, description="coverages of the areas that hold it")


class PriorFacts(Point):
    """A place that was roughly known, and how far the photo moved what is believed of it."""

    sigma_m: float = Field(description="standard deviation of the given place, in each direction")
    source: Literal["given", "file"]
    first_moved_m: float = Field(description="from there to the first place")
    mean: Point = Field(description="of all that is believed with the photo")
    mean_moved_m: float = Field(description="from the given place to that mean")
    spread_m: float = Field(description="standard deviation about that mean, in each direction")
    bits: float = Field(description="by which the photo adds to the given place")
    holds: float = Field(description="share of the belief in which the given place is right")
    says: str = Field(description="the same in words")


class ContributionFacts(Record):
    """What one of several photos of one spot says of their first place."""

    photo: str
    sha256: str
    score: float = Field(description="of the first place's window")
    bits: float = Field(description="by which it alone makes that ground likelier than average")
    foreign: float = Field(description="share of the belief in which it was taken elsewhere")
    heading_deg: float | None = Field(None, description="of this photo's middle, from true north")
    alone: Point | None = Field(None, description="its first place if it were alone")
    alone_m: float | None = Field(None, description="from there to the place of all")


class SpotFacts(Record):
    """What several photos of one spot say together."""

    turns: str = Field(description="how their directions hang together: unknown, given or file")
    mean: Point = Field(description="of all that is believed")
    spread_m: float = Field(description="standard deviation about that mean, in each direction")


class PhotoAnswer(Record):
    """The answer for one photo."""

    photo: str
    sha256: str
    kind: Literal["panorama", "perspective"]
    fov_deg: float
    fov_source: Literal["panorama", "exif", "given", "assumed", "unused"]
    heading_source: Literal["given", "PoseHeadingDegrees", "GPSImgDirection"] | None = Field(
        None, description="of the heading that the search relied on, if it did"
    )
    assumptions: list[str]
    warnings: list[str]
    confidence: str
    advice: str | None = Field(None, description="what would help most, if anything is known to")
    stands_out: bool = Field(description="a rule of thumb: the first place leads clearly")
    calibrated: CalibratedFacts | None = Field(None, description="only where it was measured")
    places: list[RankedPlace] = Field(description="best first")
    claim: ClaimedPlace | None = Field(None, description="where a place was claimed")
    prior: PriorFacts | None = Field(None, description="where a place was roughly known")
    together: list[ContributionFacts] | None = Field(None, description="of photos of one spot")
    spot: SpotFacts | None = Field(None, description="of photos of one spot")
    heat: Heat | None = Field(None, description="with heat=true")
    outline: list[list[list[list[float]]]] | None = Field(
        None, description="the first calibrated area as polygons of rings of (lat, lon); with heat"
    )
    view: str | None = Field(None, description="with view=true: a data URL of the model's input")


class PhotoProblem(Record):
    """A photo that was not located, and why."""

    photo: str
    code: str
    detail: str


class LocateAnswers(Record):
    """The result of a request."""

    region: str
    model: str = Field(description="fingerprint of the network")
    answers: list[PhotoAnswer]
    problems: list[PhotoProblem]


class RegionFacts(Record):
    """A region that is served."""

    name: str
    tiles: int
    area_km2: float
    bounds: list[float] = Field(description="south, west, north, east; west > east across 180")
    footprint_m: float
    stride_m: float
    metres_per_px: float
    attribution: str
    date: str
    model: str = Field(description="a packaged name, or the name of its folder")
    model_fingerprint: str
    model_trained_on: str
    model_licence: str
    model_attributions: list[str] = Field(description="of whose pictures it was trained on")
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
    """A base map of another server, if one is set."""

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


class AnswerEvent(PhotoAnswer):
    """An answer as an event of a batch, with the progress."""

    done: int
    photos: int


class ProblemEvent(PhotoProblem):
    """A photo of a batch that was not located."""

    done: int
    photos: int


class EndEvent(Record):
    """A batch is over."""

    state: Literal["running", "done", "cancelled"]
    done: int
    photos: int


EVENTS: dict[str, type[Record]] = {
    "answer": AnswerEvent, "problem": ProblemEvent, "end": EndEvent,
}  # fmt: skip


class JobState(Record):
    """A long batch."""

    job: str
    region: str
    state: Literal["running", "done", "cancelled"]
    photos: int
    done: int
    answers: list[PhotoAnswer]
    problems: list[PhotoProblem]


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


class ServerHealth(Record):
    """Whether the server is alive, or ready for requests."""

    status: Literal["alive", "ready", "stuck", "closing"]


class Problem(Record):
    """Why there is no answer (RFC 9457)."""

    title: str
    status: int
    code: str
    detail: str
    problems: list[PhotoProblem] | None = None


# What is said: answers and regions as JSON.

_HIDDEN = ("truth", "error_m")


def build_region(region: Region) -> dict[str, Any]:
    """A region in figures; nothing of where its files lie."""
    index, manifest = region.index, region.index.manifest
    box, model = region.tiles.extent, region.embedder.info
    return {
        "name": region.name,
        "tiles": index.count,
        "area_km2": round(manifest.area_km2, 4),
        "bounds": [round(v, 7) for v in box.bounds],
        "footprint_m": manifest.footprint_m,
        "stride_m": manifest.stride_m,
        "metres_per_px": manifest.metres_per_px,
        "attribution": printable(manifest.imagery.attribution or ""),
        "date": printable(manifest.imagery.date or ""),
        "model": printable(drop_folders(manifest.model.name_or_path)),
        "model_fingerprint": manifest.model.fingerprint,
        "model_trained_on": printable(model.training_data),
        "model_licence": printable(model.licence),
        "model_attributions": [printable(text) for text in model.attributions],
        "synthetic_model": manifest.model_synthetic,
        "synthetic_imagery": manifest.imagery.synthetic is not None,
        "uses_heading": region.uses_heading,
        "fov_seen_deg": [float(v) for v in model.fov_seen_deg],
        "warnings": [printable(text) for text in manifest.warnings],
        "deepest_zoom": region.tiles.max_zoom,
        "version": make_version(region),
    }


def make_version(region: Region) -> str:
    """A short text that changes when the index does; for caches."""
    manifest = region.index.manifest
    segments = ",".join(segment.name for segment in manifest.segments)
    calibrated = (manifest.calibration or {}).get("created", "")
    contents = hashlib.sha256(f"{manifest.created}{segments}{calibrated}".encode()).hexdigest()
    return f"{manifest.model.fingerprint[:8]}-{contents[:8]}"


def build_answer(photo: PhotoResult, *, heat: bool, view: bool) -> dict[str, Any]:
    """One photo's answer as plain JSON values."""
    answer = photo.answer
    record = {k: v for k, v in describe_answer(answer).items() if k not in _HIDDEN}
    record["stands_out"] = stands_out(answer)
    record["places"] = [
        {**describe_place(place, None), "footprint": describe_footprint(place.footprint)}
        for place in answer.places
    ]
    if heat:
        for told, place in zip(record["places"], answer.places, strict=True):
            if (shape := describe_view(place, answer.fov_deg)) is not None:
                told["view"] = shape
        record["heat"] = _build_heat(answer, photo.region)
        if answer.confidence is not None:
            record["outline"] = outline_smallest_area(answer)
            areas = zip(record["calibrated"]["areas"], answer.confidence.areas, strict=True)
            for area_record, area in areas:
                area_record["windows"] = _encode_base64(area.rows.astype("<u4").tobytes())
    if view:
        record["view"] = _make_data_url(photo.strip)
    return record


def _build_heat(answer: Answer, region: Region) -> dict[str, object] | None:
    """Codes of all cells: of the posterior where the answer is calibrated, else of the scores."""
    posterior = compute_posterior(answer.held or region.index, answer)
    if posterior is not None:
        shown = np.where(np.isfinite(answer.scores), posterior, np.nan)
        answer = replace(answer, scores=shown.astype(np.float32))
    record = describe_scores(answer, region.cells)
    return record and {"of": "scores" if posterior is None else "posterior", **record}


def build_cells(region: Region) -> dict[str, object]:
    """Where the cells lie."""
    return describe_heat_grid(region.cells)


def build_coverage(region: Region) -> dict[str, Any]:
    """A GeoJSON feature per part of the region whose windows lie together: the box around them."""
    index = region.index
    footprint_m = index.manifest.footprint_m
    features = []
    for rows in split_regions(index.lat, index.lon, gap_m=4.0 * footprint_m):
        box = enclose_points(index.lat[rows], index.lon[rows], footprint_m / 2.0)
        ring = [
            (box.west, box.south), (box.east, box.south), (box.east, box.north),
            (box.west, box.north), (box.west, box.south),
        ]  # fmt: skip
        geometry = build_geometry([[[(round(lon, 7), round(lat, 7)) for lon, lat in ring]]])
        features.append(
            {"type": "Feature", "geometry": geometry, "properties": {"tiles": len(rows)}}
        )
    return {"type": "FeatureCollection", "features": features}


def build_scores(answer: Answer, region: Region, most: int) -> dict[str, Any]:
    """The best ``most`` windows of an answer as GeoJSON points with their scores."""
    scores = np.where(np.isfinite(answer.scores), answer.scores, -np.inf)
    rows = np.argsort(-scores, kind="stable")[:most]
    held = answer.held or region.index
    posterior = compute_posterior(held, answer)
    features = []
    for row in rows[np.isfinite(scores[rows])]:
        lon, lat = float(held.lon[row]), float(held.lat[row])
        number = int(row if answer.held is None else answer.held.numbers[row])
        properties = {"window": number, "score": round(float(scores[row]), 6)}
        if posterior is not None:
            properties["probability"] = float(f"{posterior[row]:.6g}")
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": [round(lon, 7), round(lat, 7)]},
                "properties": properties,
            }
        )
    return {"type": "FeatureCollection", "features": features}


def _make_data_url(pixels: U8) -> str:
    """A small JPEG picture inside an address."""
    import simplejpeg

    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 85, colorsubsampling="420")
    return f"data:image/jpeg;base64,{_encode_base64(jpeg)}"


def _encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
