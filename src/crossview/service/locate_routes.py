"""The routes that take photos: each checks its hints, reads the photos and queues them.

Hints stand in the query of the address.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse

from crossview.errors import UnknownName, require
from crossview.geo.perimeters import parse_perimeter
from crossview.geo.points import parse_latlon
from crossview.localization.hints import (
    DEFAULT_RERANK,
    GIVEN_SIGMA_DEG,
    MOST_RERANK,
    MOST_SIGMA_DEG,
    MOST_SIGMA_M,
    Hints,
    Prior,
)
from crossview.outputs.formats import FORMATS
from crossview.service.jobs import describe_problem, follow_events
from crossview.service.photo_queue import PhotoResult
from crossview.service.problems import Refusal, make_refusal
from crossview.service.regions import Region
from crossview.service.responses import build_answer, build_scores
from crossview.service.schemas import (
    EVENTS,
    CheckedRoute,
    GeoJson,
    JobState,
    LocateAnswers,
    WindowScores,
    require_type,
)
from crossview.service.state import Service
from crossview.service.uploads import Upload
from crossview.texts import LANGUAGE, match_language, speak
from crossview.views.lens import FOV_RANGE_DEG

_HALF_EARTH_KM = 20_040.0
Format = Literal["json", "geojson", "kml", "kmz", "gpx", "csv"]


class HintsQuery(BaseModel):
    """Hints; all are optional."""

    model_config = ConfigDict(extra="forbid")

    region: str | None = Field(None, max_length=200, description="default: the first region")
    fov: float | None = Field(
        None, ge=FOV_RANGE_DEG[0], le=FOV_RANGE_DEG[1], allow_inf_nan=False,
        description="horizontal field of view, degrees",
    )  # fmt: skip
    heading: float | None = Field(
        None, ge=-360, le=360, allow_inf_nan=False,
        description="of the middle of the photo, degrees clockwise from true north",
    )  # fmt: skip
    heading_sigma: float | None = Field(
        None, gt=0, le=MOST_SIGMA_DEG, allow_inf_nan=False,
        description=f"standard deviation of that heading, degrees; default {GIVEN_SIGMA_DEG:g}",
    )  # fmt: skip
    ignore_direction: bool = Field(False, description="do not use the heading in the photo's file")
    near: str | None = Field(None, max_length=60, description="LAT,LON; with within or sigma_m")
    within: float | None = Field(
        None, gt=0, le=_HALF_EARTH_KM, allow_inf_nan=False, description="kilometres around near"
    )
    sigma_m: float | None = Field(
        None, gt=0, le=MOST_SIGMA_M, allow_inf_nan=False,
        description="metres, standard deviation of near as a prior: weighs, and excludes nothing",
    )  # fmt: skip
    prior: Literal["gps"] | None = Field(
        None, description="gps: the place in the photo's file is a prior, as good as it says"
    )
    area: str | None = Field(
        None, max_length=20_000, description="search only inside: GeoJSON Polygon or MultiPolygon",
        json_schema_extra={"contentMediaType": "application/geo+json"},
    )  # fmt: skip
    claim: str | None = Field(
        None, max_length=60, description="LAT,LON: a place to be ranked; no place changes by it"
    )
    places: int = Field(10, ge=1, le=100)
    rerank: int = Field(
        DEFAULT_RERANK, ge=0, le=MOST_RERANK,
        description="how many of the best windows are compared again",
    )  # fmt: skip
    language: str = Field(LANGUAGE, max_length=35, description="of sentences: en or de")

    @field_validator("language")
    @classmethod
    def _match_language(cls, name: str) -> str:
        try:
            return match_language(name)
        except UnknownName as problem:
            raise ValueError(str(problem)) from problem

    def to_hints(self) -> Hints:
        """Hints for the search; raises :class:`InvalidValue` for a combination that cannot be."""
        place = None if self.near is None else parse_latlon(self.near)
        require(
            (place is not None) == (self.within is not None or self.sigma_m is not None),
            "near needs within (kilometres; nothing is searched outside), sigma_m (metres, "
            "by which places are weighed), or both; and these need near.",
        )
        known = None
        if place is not None and self.sigma_m is not None:
            known = Prior(place=place, sigma_m=self.sigma_m)
        return Hints(
            fov_deg=self.fov,
            heading_deg=self.heading,
            heading_sigma_deg=self.heading_sigma,
            near=None if self.within is None else place,
            within_m=None if self.within is None else 1000.0 * self.within,
            area=None if self.area is None else parse_perimeter(self.area),
            claim=None if self.claim is None else parse_latlon(self.claim),
            places=self.places,
            ignore_direction=self.ignore_direction,
            prior=known,
            gps_prior=self.prior is not None,
            rerank=self.rerank,
        )


class BatchQuery(HintsQuery):
    """Hints, and what is added to each answer."""

    heat: bool = Field(False, description="add the scores of all cells, see /cells")
    view: bool = Field(False, description="add a picture of what the model saw of the photo")


class LocateQuery(BatchQuery):
    """Hints, what is added to each answer, and the format of the result."""

    format: Format = "json"


class HeatQuery(HintsQuery):
    """Hints, and how many windows are listed."""

    most: int = Field(2000, ge=1, le=100_000, description="how many of the best windows")


router = APIRouter(prefix="/v1", route_class=CheckedRoute)
_WRITERS = {name: FORMATS[name] for name in get_args(Format) if name != "json"}
_PHOTOS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["photo"],
                    "additionalProperties": False,
                    "properties": {
                        "photo": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_FILE_TYPES: dict[str, Any] = {
    writer.media_type.partition(";")[0]: {} for writer in _WRITERS.values()
}


def get_service(request: Request) -> Service:
    """The server's shared state."""
    service: Service = request.app.state.service
    return service


@router.post(
    "/locate",
    response_model=LocateAnswers,
    openapi_extra=_PHOTOS,
    responses={200: {"content": _FILE_TYPES}},
)
async def locate(request: Request, query: Annotated[LocateQuery, Query()]) -> Response:
    """Where photos were taken. With several, those that cannot be read are listed as problems."""
    service = get_service(request)
    region, uploads = await _receive_photos(service, request, query)
    writer = _WRITERS.get(query.format)

    def format_result(photo: PhotoResult) -> Any:
        if writer is not None:
            return photo.answer
        with speak(query.language):
            return build_answer(photo, heat=query.heat, view=query.view)

    results = service.submit(uploads, region, query.to_hints(), format_result)
    answers, problems = await _wait_for_results(service, request, uploads, results)
    if writer is not None:
        with speak(query.language):
            return Response(writer.write(answers), media_type=writer.media_type)
    model = region.embedder.fingerprint
    body = {"region": region.name, "model": model, "answers": answers, "problems": problems}
    return JSONResponse(body)


@router.post(
    "/heat",
    name="heat",
    response_model=WindowScores,
    response_class=GeoJson,
    openapi_extra=_PHOTOS,
)
async def score_windows(request: Request, query: Annotated[HeatQuery, Query()]) -> Response:
    """Scores of the windows that fit one photo best, as GeoJSON points: a heat layer."""
    service = get_service(request)
    region, uploads = await _receive_photos(service, request, query)
    if len(uploads) != 1:
        service.release(uploads)
        raise Refusal(422, "one-photo", "A heat layer is of one photo: send one.")

    def format_result(photo: PhotoResult) -> Any:
        return build_scores(photo.answer, photo.region, query.most)

    results = service.submit(uploads, region, query.to_hints(), format_result)
    answers, _ = await _wait_for_results(service, request, uploads, results)
    return GeoJson(answers[0])


@router.post("/jobs", status_code=202, response_model=JobState, openapi_extra=_PHOTOS)
async def start_job(request: Request, query: Annotated[BatchQuery, Query()]) -> Response:
    """Start a long batch; follow it at /jobs/{job}/events or poll /jobs/{job}."""
    service = get_service(request)
    region, uploads = await _receive_photos(service, request, query, for_job=True)

    def format_result(photo: PhotoResult) -> Any:
        with speak(query.language):
            return build_answer(photo, heat=query.heat, view=query.view)

    results = service.submit(uploads, region, query.to_hints(), format_result)
    names = [upload.name for upload in uploads]
    job = service.jobs.start(region.name, request.state.caller, names, results)
    headers = {"Location": f"/v1/jobs/{job.id}"}
    return JSONResponse(job.to_json(), status_code=202, headers=headers)


@router.get("/jobs/{job_id}", name="job_state", response_model=JobState)
async def get_job(request: Request, job_id: str) -> Response:
    """The results of a batch so far."""
    return JSONResponse(get_service(request).jobs.get(job_id, request.state.caller).to_json())


@router.delete("/jobs/{job_id}", response_model=JobState)
async def cancel_job(request: Request, job_id: str) -> Response:
    """Cancel the photos of a batch that have not begun."""
    job = get_service(request).jobs.get(job_id, request.state.caller)
    job.cancel()
    return JSONResponse(job.to_json())


@router.get("/jobs/{job_id}/events", name="job_events")
async def stream_events(request: Request, job_id: str) -> Response:
    """Server-sent events: "answer" and "problem" per photo, then "end".

    A header Last-Event-ID continues after that event.
    """
    job = get_service(request).jobs.get(job_id, request.state.caller)
    last = request.headers.get("last-event-id", "0")
    after = int(last) if last.isdecimal() and len(last) < 9 else 0

    async def write_lines() -> AsyncIterator[str]:
        async for number, kind, facts in follow_events(job, after):
            if not kind:
                yield ": alive\n\n"
                continue
            data = json.dumps(facts)
            require_type(EVENTS[kind], data)
            id_line = f"id: {number}\n" if number is not None else ""
            yield f"{id_line}event: {kind}\ndata: {data}\n\n"

    return StreamingResponse(write_lines(), media_type="text/event-stream")


async def _receive_photos(
    service: Service, request: Request, query: HintsQuery, *, for_job: bool = False
) -> tuple[Region, list[Upload]]:
    """The region and the photos. Wrong hints are refused before any photo is decoded."""
    problem: Exception | None = None
    region = None
    try:
        region = service.regions.get(query.region)
        query.to_hints()
    except Exception as wrong_hint:
        problem = wrong_hint
    uploads = await service.receive_uploads(
        request.headers, request.stream(), request.state.caller, for_job=for_job
    )
    if problem is not None or region is None:
        service.release(uploads)
        raise problem or Refusal(404, "unknown-region", "There is no such region.")
    return region, uploads


async def _wait_for_results(
    service: Service, request: Request, uploads: Sequence[Upload], results: list[Future[Any]]
) -> tuple[list[Any], list[dict[str, Any]]]:
    """Answers and problems, in the order of the photos; raises the first problem if all fail."""
    waiting: asyncio.Future[list[Any]] = asyncio.gather(
        *map(asyncio.wrap_future, results), return_exceptions=True
    )
    leaving = asyncio.create_task(_wait_for_disconnect(request))
    try:
        first: set[asyncio.Future[Any]] = {waiting, leaving}
        await asyncio.wait(
            first, timeout=service.settings.timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if not waiting.done() and leaving.done():
            raise ClientDisconnect
        if not waiting.done():
            raise Refusal(
                503, "too-long", "It took too long; send fewer photos, or a batch to /v1/jobs.",
                retry_after_s=service.queue.retry_after_s(),
            )  # fmt: skip
    finally:
        leaving.cancel()
        for result in results:
            result.cancel()
    answers, failures = [], []
    for upload, outcome in zip(uploads, await waiting, strict=True):
        if isinstance(outcome, BaseException):
            failures.append((upload.name, outcome))
        else:
            answers.append(outcome)
    if not answers:
        raise make_refusal(failures[0][1])
    return answers, [describe_problem(name, failure) for name, failure in failures]


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
