"""The routes of the service: those that take photos, and those that say what is there.

Each of the first checks its hints, which stand in the query of the address, reads the photos and
queues them. :class:`CheckedRoute` checks every JSON answer against its type before it is sent.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Path, Query, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Receive, Scope, Send

from crossview import __version__
from crossview.errors import UnknownName, require
from crossview.geo.perimeters import parse_perimeter
from crossview.geo.points import parse_latlon
from crossview.localization.belief import MOST_TOGETHER, answer_together, parse_turns, turn_hints
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
from crossview.outputs.map_page import render_live_page
from crossview.service.counters import CONTENT_TYPE
from crossview.service.jobs import describe_problem, follow_events
from crossview.service.photo_queue import PhotoResult
from crossview.service.problems import Refusal, make_refusal
from crossview.service.regions import Region
from crossview.service.responses import (
    EVENTS,
    Cells,
    Coverage,
    JobState,
    LocateAnswers,
    RegionFacts,
    RegionList,
    ServerHealth,
    WindowScores,
    build_answer,
    build_cells,
    build_coverage,
    build_region,
    build_scores,
    make_version,
)
from crossview.service.state import Service
from crossview.service.uploads import Upload
from crossview.texts import LANGUAGE, choose_language, match_language, speak
from crossview.views.lens import FOV_RANGE_DEG

_HALF_EARTH_KM = 20_040.0
Format = Literal["json", "geojson", "kml", "kmz", "gpx", "csv"]


class WrongAnswer(Exception):
    """An error of the server: an answer does not match its schema."""


def require_type(kind: Any, text: str | bytes) -> None:
    """Raise :class:`WrongAnswer` unless ``text`` is JSON of this type.

    The message names fields and no values, which may be a photo's name or place.
    """
    try:
        TypeAdapter(kind).validate_json(text)
    except ValidationError as problem:
        faults = problem.errors(include_url=False, include_input=False, include_context=False)
        fields = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['type']}" for fault in faults[:5]
        )
        raise WrongAnswer(
            f"An answer is not a {getattr(kind, '__name__', kind)}: {fields}"
        ) from None


class GeoJson(JSONResponse):
    """JSON with the media type of GeoJSON (RFC 7946)."""

    media_type = "application/geo+json"


class CheckedRoute(APIRoute):
    """A route whose answers are checked against its response model, also ready-made ones."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, followed by the check."""
        handler = super().get_route_handler()
        response_class: Any = getattr(self.response_class, "value", self.response_class)

        async def handle_checked(request: Request) -> Response:
            response = await handler(request)
            kind = response.headers.get("content-type", "").partition(";")[0]
            if self.response_model is not None and kind == response_class.media_type:
                require_type(self.response_model, bytes(response.body))
            return response

        return handle_checked


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


class TogetherQuery(LocateQuery):
    """Hints for photos of one spot, and how they are turned."""

    turns: str | None = Field(
        None, max_length=2000,
        description="of each photo, degrees clockwise from the first, such as 0,90,180,270; "
        "default: by the directions in the files if all have one, else unknown",
    )  # fmt: skip


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

    def format_result(photo: PhotoResult) -> Any:
        return _format_answer(photo, query)

    results = service.submit(uploads, region, query.to_hints(), format_result)
    answers, problems = await _wait_for_results(service, request, uploads, results)
    return _respond(region, query, answers, problems)


def _format_answer(photo: PhotoResult, query: LocateQuery) -> Any:
    """An answer as JSON, or as it is where another format is written of all together."""
    if query.format in _WRITERS:
        return photo.answer
    with speak(query.language):
        return build_answer(photo, heat=query.heat, view=query.view)


def _respond(
    region: Region, query: LocateQuery, answers: list[Any], problems: list[dict[str, Any]]
) -> Response:
    if (writer := _WRITERS.get(query.format)) is not None:
        with speak(query.language):
            return Response(writer.write(answers), media_type=writer.media_type)
    model = region.embedder.fingerprint
    body = {"region": region.name, "model": model, "answers": answers, "problems": problems}
    return JSONResponse(body)


@router.post(
    "/together",
    name="together",
    response_model=LocateAnswers,
    openapi_extra=_PHOTOS,
    responses={200: {"content": _FILE_TYPES}},
)
async def locate_spot(request: Request, query: Annotated[TogetherQuery, Query()]) -> Response:
    """Where photos were taken that are all of one spot: one answer for them.

    Those that cannot be read are listed as problems, and play no part in it.
    """
    service = get_service(request)
    region, uploads = await _receive_photos(service, request, query)
    try:
        if not 2 <= len(uploads) <= MOST_TOGETHER:
            raise Refusal(
                422, "several-photos",
                f"Photos of one spot are 2 to {MOST_TOGETHER}; here are {len(uploads)}.",
            )  # fmt: skip
        turns = None if query.turns is None else parse_turns(query.turns)
        hints = turn_hints(query.to_hints(), len(uploads), turns)
    except BaseException:
        service.release(uploads)
        raise
    results = service.submit(uploads, region, hints, lambda photo: photo)
    found, problems = await _wait_for_results(service, request, uploads, results)
    if len(found) < 2:
        raise Refusal(
            422, "several-photos",
            f"Only one of {len(uploads)} photos can be read. {problems[0]['detail']}",
        )  # fmt: skip
    if turns is not None:
        pairs = zip(turns, results, strict=True)
        turns = [turn for turn, result in pairs if result.exception() is None]
    queries = [photo.query for photo in found]

    def answer() -> Any:
        joint = answer_together(region.index, queries, turns)
        return _format_answer(found[0]._replace(answer=joint), query)

    (outcome,) = await _wait_for_all(service, request, [service.queue.compute(answer)])
    if isinstance(outcome, BaseException):
        raise make_refusal(outcome)
    return _respond(region, query, [outcome], problems)


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
    answers, failures = [], []
    outcomes = await _wait_for_all(service, request, results)
    for upload, outcome in zip(uploads, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            failures.append((upload.name, outcome))
        else:
            answers.append(outcome)
    if not answers:
        raise make_refusal(failures[0][1])
    return answers, [describe_problem(name, failure) for name, failure in failures]


async def _wait_for_all(
    service: Service, request: Request, results: Sequence[Future[Any]]
) -> list[Any]:
    """What each gave, or its exception; not longer than the client stays, or is allowed to wait."""
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
    return await waiting


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


# What is there: regions, their tiles, the page and its files, health and counters.

page_router = APIRouter(route_class=CheckedRoute)
_CACHE_FOR_AN_HOUR = "private, max-age=3600"
FilePath = str | os.PathLike[str]


class PageFile(FileResponse):
    """A file of the page, compressed for clients that accept it, and revalidated by its ETag."""

    def __init__(self, path: FilePath, stat_result: os.stat_result) -> None:
        is_script = str(path).endswith(".js")  # systems differ in the type of scripts
        super().__init__(
            path,
            stat_result=stat_result,
            media_type="text/javascript" if is_script else None,
            headers={
                "Cache-Control": "no-cache",
                # With the version: some installers give the files of all versions one date.
                "ETag": f'"{__version__}-{stat_result.st_mtime_ns}-{stat_result.st_size}"',
            },
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        await GZipMiddleware(super().__call__, compresslevel=6)(scope, receive, send)


class PageFiles(StaticFiles):
    """The files of the map page, under their names without folders."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or 304 for a client that has it; raises :class:`Refusal` without a file."""
        try:
            return await super().get_response(path, scope)
        except HTTPException:
            raise Refusal(404, "unknown-file", "The page has no such file.") from None

    def file_response(
        self, full_path: FilePath, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """As the base class, with :class:`PageFile`."""
        response = PageFile(full_path, stat_result)
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            return NotModifiedResponse(response.headers)
        return response


PAGE_FILES = PageFiles(packages=[("crossview.web", folder) for folder in ("page", "vendor")])


@page_router.get(
    "/v1/regions", name="regions", response_model=RegionList, response_model_exclude_none=True
)
async def list_regions(request: Request) -> dict[str, Any]:
    """All regions, the default first, and what this server allows."""
    service = get_service(request)
    settings = service.settings
    online = settings.online_map
    return {
        "regions": [build_region(region) for region in service.regions],
        "limits": {
            "files": settings.max_files,
            "file_bytes": settings.max_file_bytes,
            "request_bytes": settings.max_request_bytes,
            "places": settings.max_places,
        },
        "online_map": online and {"url": online.url, "attribution": online.attribution},
    }


@page_router.get("/v1/regions/{region}", name="region_of_name", response_model=RegionFacts)
async def get_region(request: Request, region: str) -> dict[str, Any]:
    """One region in figures."""
    return build_region(get_service(request).regions.get(region))


@page_router.get(
    "/v1/regions/{region}/coverage",
    name="region_coverage",
    response_model=Coverage,
    response_class=GeoJson,
)
async def get_coverage(request: Request, region: str) -> Response:
    """The region's area, as GeoJSON: a box around each group of neighbouring windows."""
    served = get_service(request).regions.get(region)
    shapes = await run_in_threadpool(build_coverage, served)
    return GeoJson(shapes)


@page_router.get("/v1/regions/{region}/cells", name="region_cells", response_model=Cells)
async def get_cells(request: Request, region: str) -> Response:
    """The positions of a heat layer's cells."""
    served = get_service(request).regions.get(region)
    record = await run_in_threadpool(build_cells, served)
    return _allow_caching(request, JSONResponse(record), f"{make_version(served)}-cells")


@page_router.get(
    "/v1/regions/{region}/windows/{window}",
    name="window_picture",
    responses={200: {"content": {"image/jpeg": {}}}},
)
async def get_window_picture(
    request: Request, region: str, window: int = Path(ge=0, le=2**40)
) -> Response:
    """The small picture of one window; its upper edge is the window's."""
    served = get_service(request).regions.get(region)
    if window >= served.index.count:
        last = served.index.count - 1
        raise Refusal(404, "unknown-window", f"The region has windows 0 to {last}.")
    try:
        data = await run_in_threadpool(served.index.thumbnail, window)
    except (IndexError, ValueError) as problem:  # its folder holds another index by now
        raise Refusal(
            503, "exchanged", "The index of this region is being replaced.", retry_after_s=2
        ) from problem
    return _allow_caching(
        request, Response(data, media_type="image/jpeg"), f"{make_version(served)}-w{window}"
    )


@page_router.get(
    "/v1/regions/{region}/tiles/{zoom}/{x}/{y}",
    name="map_tile",
    responses={
        200: {"content": {"image/jpeg": {}, "image/webp": {}}},
        204: {"description": "no imagery there"},
    },
)
async def get_map_tile(
    request: Request,
    region: str,
    zoom: int = Path(ge=0, le=22),
    x: int = Path(ge=0, lt=2**22),
    y: int = Path(ge=0, lt=2**22),
) -> Response:
    """A Web Mercator map tile of 512 pixels of the region's own imagery."""
    served = get_service(request).regions.get(region)
    tag = f"{make_version(served)}-{zoom}-{x}-{y}"
    if request.headers.get("if-none-match") == f'"{tag}"':
        return _allow_caching(request, Response(), tag)
    tile = await run_in_threadpool(served.tiles.get, zoom, x, y)
    if tile is None:
        return Response(status_code=204, headers={"Cache-Control": _CACHE_FOR_AN_HOUR})
    return _allow_caching(request, Response(tile.data, media_type=tile.kind), tag)


@page_router.get("/v1/health", name="health", response_model=ServerHealth)
async def report_health() -> dict[str, str]:
    """Whether the server is alive."""
    return {"status": "alive"}


@page_router.get(
    "/v1/ready", name="ready", response_model=ServerHealth, responses={503: {"model": ServerHealth}}
)
async def report_readiness(request: Request) -> Response:
    """Whether the server takes new requests; 503 while it shuts down or its queue is stuck."""
    service = get_service(request)
    if service.draining:
        return JSONResponse({"status": "closing"}, status_code=503)
    if service.queue.is_stuck:
        return JSONResponse({"status": "stuck"}, status_code=503)
    return JSONResponse({"status": "ready"})


@page_router.get("/metrics", include_in_schema=False)
async def send_counters(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(get_service(request).counters.to_text(), media_type=CONTENT_TYPE)


@page_router.get("/", include_in_schema=False)
async def send_page(request: Request, language: str | None = None) -> Response:
    """The map page, in the language of the address, else the first that the browser asks for."""
    accepted = request.headers.get("accept-language", "")
    chosen = choose_language(f"{language or ''},{accepted}")
    headers = {
        "Cache-Control": "no-cache", "Content-Language": chosen, "Vary": "Accept-Language",
    }  # fmt: skip
    return HTMLResponse(_render_page(chosen), headers=headers)


@cache
def _render_page(language: str) -> str:
    with speak(language):
        return render_live_page()


@page_router.get("/favicon.ico", include_in_schema=False)
async def redirect_icon() -> Response:
    """The page's icon."""
    return RedirectResponse("/assets/icon.svg", status_code=308)


@page_router.get("/assets/{name}", include_in_schema=False)
async def send_page_file(request: Request, name: str) -> Response:
    """A file of the page."""
    return await PAGE_FILES.get_response(name, request.scope)


def _allow_caching(request: Request, answer: Response, tag: str) -> Response:
    """Let the browser cache an answer, and send 304 where it already has it."""
    headers: Mapping[str, str] = {"ETag": f'"{tag}"', "Cache-Control": _CACHE_FOR_AN_HOUR}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=dict(headers))
    answer.headers.update(headers)
    return answer
