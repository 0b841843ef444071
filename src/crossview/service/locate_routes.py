"""The routes that take photos: each parses, hands over to the desk, and tells the result."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse

from crossview.outputs.formats import FORMATS
from crossview.service.asking import AskedBatch, AskedHeat, AskedPlaces, Format
from crossview.service.jobs import events, trouble
from crossview.service.photo_queue import Located
from crossview.service.problems import Refusal, refusal_of
from crossview.service.regions import Region
from crossview.service.responses import answer_facts, heat_features
from crossview.service.schemas import (
    EVENTS,
    Answers,
    CheckedRoute,
    GeoJson,
    JobState,
    WindowScores,
    require_as,
)
from crossview.service.state import Service
from crossview.service.uploads import Upload

router = APIRouter(prefix="/v1", route_class=CheckedRoute)
WRITERS = {name: FORMATS[name] for name in get_args(Format) if name != "json"}
PHOTOS: dict[str, Any] = {
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
AS_FILES: dict[str, Any] = {one.media_type.partition(";")[0]: {} for one in WRITERS.values()}


def service_of(request: Request) -> Service:
    """The server's shared state."""
    service: Service = request.app.state.service
    return service


@router.post(
    "/locate", response_model=Answers, openapi_extra=PHOTOS, responses={200: {"content": AS_FILES}}
)
async def locate(request: Request, asked: Annotated[AskedPlaces, Query()]) -> Response:
    """Where photos were taken. With several, those that cannot be read are listed as problems."""
    service = service_of(request)
    region, uploads = await _taken(service, request, asked)
    writer = WRITERS.get(asked.format)

    def tell(found: Located) -> Any:
        if writer is not None:
            return found.answer
        return answer_facts(found, heat=asked.heat, view=asked.view)

    results = service.submit(uploads, region, asked.hints(), tell)
    answers, problems = await _results(service, request, uploads, results)
    if writer is not None:
        return Response(writer.write(answers), media_type=writer.media_type)
    model = region.embedder.fingerprint
    facts = {"region": region.name, "model": model, "answers": answers, "problems": problems}
    return JSONResponse(facts)


@router.post("/heat", response_model=WindowScores, response_class=GeoJson, openapi_extra=PHOTOS)
async def heat(request: Request, asked: Annotated[AskedHeat, Query()]) -> Response:
    """Scores of the windows that fit one photo best, as GeoJSON points: a heat layer."""
    service = service_of(request)
    region, uploads = await _taken(service, request, asked)
    if len(uploads) != 1:
        service.give_back(uploads)
        raise Refusal(422, "one-photo", "A heat layer is of one photo.")

    def tell(found: Located) -> Any:
        return heat_features(found.answer, found.region, asked.most)

    results = service.submit(uploads, region, asked.hints(), tell)
    answers, _ = await _results(service, request, uploads, results)
    return GeoJson(answers[0])


@router.post("/jobs", status_code=202, response_model=JobState, openapi_extra=PHOTOS)
async def start_job(request: Request, asked: Annotated[AskedBatch, Query()]) -> Response:
    """Begin a long batch; follow it at /jobs/{job}/events or ask /jobs/{job} now and then."""
    service = service_of(request)
    region, uploads = await _taken(service, request, asked, job=True)

    def tell(found: Located) -> Any:
        return answer_facts(found, heat=asked.heat, view=asked.view)

    results = service.submit(uploads, region, asked.hints(), tell)
    names = [upload.name for upload in uploads]
    job = service.jobs.start(region.name, request.state.caller, names, results)
    where = {"Location": f"/v1/jobs/{job.id}"}
    return JSONResponse(job.to_json(), status_code=202, headers=where)


@router.get("/jobs/{job_id}", response_model=JobState)
async def job_state(request: Request, job_id: str) -> Response:
    """What came of a batch so far."""
    return JSONResponse(service_of(request).jobs.get(job_id, request.state.caller).to_json())


@router.delete("/jobs/{job_id}", response_model=JobState)
async def cancel_job(request: Request, job_id: str) -> Response:
    """Take what has not begun out of a batch."""
    job = service_of(request).jobs.get(job_id, request.state.caller)
    job.cancel()
    return JSONResponse(job.to_json())


@router.get("/jobs/{job_id}/events")
async def job_events(request: Request, job_id: str) -> Response:
    """Server-sent events: "answer" and "problem" per photo, then "end".

    A header Last-Event-ID continues after that event.
    """
    job = service_of(request).jobs.get(job_id, request.state.caller)
    last = request.headers.get("last-event-id", "0")
    after = int(last) if last.isdecimal() and len(last) < 9 else 0

    async def lines() -> AsyncIterator[str]:
        async for number, kind, facts in events(job, after):
            if not kind:
                yield ": alive\n\n"
                continue
            told = json.dumps(facts)
            require_as(EVENTS[kind], told)
            marked = f"id: {number}\n" if number is not None else ""
            yield f"{marked}event: {kind}\ndata: {told}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


async def _taken(
    service: Service, request: Request, asked: Any, *, job: bool = False
) -> tuple[Region, list[Upload]]:
    """The region and the photos; what is wrong with the hints is told before anything is read."""
    problem: Exception | None = None
    region = None
    try:
        region = service.regions.get(asked.region)
        asked.hints()
    except Exception as wrong:
        problem = wrong
    uploads = await service.uploads(
        request.headers, request.stream(), request.state.caller, job=job
    )
    if problem is not None or region is None:
        service.give_back(uploads)
        raise problem or Refusal(404, "unknown-region", "There is no such region.")
    return region, uploads


async def _results(
    service: Service, request: Request, uploads: Sequence[Upload], results: list[Future[Any]]
) -> tuple[list[Any], list[dict[str, Any]]]:
    """Answers and problems, in the order of the photos; the first problem if all have one."""
    waiting: asyncio.Future[list[Any]] = asyncio.gather(
        *map(asyncio.wrap_future, results), return_exceptions=True
    )
    leaving = asyncio.create_task(_left(request))
    try:
        first: set[asyncio.Future[Any]] = {waiting, leaving}
        await asyncio.wait(
            first, timeout=service.settings.timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if not waiting.done() and leaving.done():
            raise ClientDisconnect  # nobody waits for an answer any more
        if not waiting.done():
            raise Refusal(
                503, "too-long", "It took too long; send fewer photos, or a batch to /v1/jobs.",
                retry_after_s=service.desk.retry_after_s(),
            )  # fmt: skip
    finally:
        leaving.cancel()
        for result in results:
            result.cancel()
    outcomes = await waiting
    failed = [pair for pair in zip(uploads, outcomes, strict=True) if _is_problem(pair[1])]
    if len(failed) == len(outcomes):
        raise refusal_of(failed[0][1])
    problems = [trouble(upload.name, problem) for upload, problem in failed]
    return [one for one in outcomes if not _is_problem(one)], problems


def _is_problem(outcome: Any) -> bool:
    return isinstance(outcome, BaseException)


async def _left(request: Request) -> None:
    """Ends when the client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
