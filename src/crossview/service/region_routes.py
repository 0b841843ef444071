"""The routes that take nothing: regions, their pictures, health, metrics, and the page's files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Receive, Scope, Send

from crossview.service.counters import CONTENT_TYPE
from crossview.service.locate_routes import service_of
from crossview.service.problems import Refusal
from crossview.service.responses import cells_record, coverage, region_facts, version
from crossview.service.schemas import (
    Cells,
    CheckedRoute,
    Coverage,
    GeoJson,
    Health,
    RegionFacts,
    RegionList,
)

router = APIRouter(route_class=CheckedRoute)
_KEEP = "private, max-age=3600"
FilePath = str | os.PathLike[str]


class PageFile(FileResponse):
    """A file of the page: compressed for who takes that, and asked for anew by its ETag."""

    def __init__(self, path: FilePath, stat_result: os.stat_result) -> None:
        # Browsers run nothing else as a script, and systems differ in what they take .mjs for.
        is_script = str(path).endswith((".js", ".mjs"))
        super().__init__(
            path,
            stat_result=stat_result,
            media_type="text/javascript" if is_script else None,
            headers={"Cache-Control": "no-cache"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        await GZipMiddleware(super().__call__, compresslevel=6)(scope, receive, send)


class PageFiles(StaticFiles):
    """The files of the map page, under their names without folders."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or 304 to who has it; raises :class:`Refusal` where there is none."""
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


PAGE_FILES = PageFiles(
    packages=[("crossview.web", folder) for folder in ("region", "shared", "vendor")]
)


@router.get("/v1/regions", response_model=RegionList, response_model_exclude_none=True)
async def regions(request: Request) -> dict[str, Any]:
    """All regions, the default first, and what this server allows."""
    service = service_of(request)
    settings = service.settings
    online = settings.online_map
    return {
        "regions": [region_facts(region) for region in service.regions],
        "limits": {
            "files": settings.max_files,
            "file_bytes": settings.max_file_bytes,
            "request_bytes": settings.max_request_bytes,
            "places": settings.max_places,
        },
        "online_map": online and {"url": online.url, "attribution": online.attribution},
    }


@router.get("/v1/regions/{region}", response_model=RegionFacts)
async def region_of_name(request: Request, region: str) -> dict[str, Any]:
    """One region in figures."""
    return region_facts(service_of(request).regions.get(region))


@router.get("/v1/regions/{region}/coverage", response_model=Coverage, response_class=GeoJson)
async def region_coverage(request: Request, region: str) -> Response:
    """Where the region lies, as GeoJSON: a box around each part whose windows lie together."""
    found = service_of(request).regions.get(region)
    shapes = await run_in_threadpool(coverage, found)
    return GeoJson(shapes)


@router.get("/v1/regions/{region}/cells", response_model=Cells)
async def region_cells(request: Request, region: str) -> Response:
    """Where the codes of a heat layer lie."""
    found = service_of(request).regions.get(region)
    record = await run_in_threadpool(cells_record, found)
    return _kept(request, JSONResponse(record), f"{version(found)}-cells")


@router.get(
    "/v1/regions/{region}/windows/{window}", responses={200: {"content": {"image/jpeg": {}}}}
)
async def window_picture(
    request: Request, region: str, window: int = Path(ge=0, le=2**40)
) -> Response:
    """The small picture of one window, its own up at the top."""
    found = service_of(request).regions.get(region)
    if window >= found.index.count:
        raise Refusal(
            404, "unknown-window", f"The region has windows 0 to {found.index.count - 1}."
        )
    try:
        data = await run_in_threadpool(found.index.thumbnail, window)
    except (IndexError, ValueError) as problem:  # its folder holds another index by now
        raise Refusal(
            503, "exchanged", "The region is being exchanged.", retry_after_s=2
        ) from problem
    return _kept(request, Response(data, media_type="image/jpeg"), f"{version(found)}-w{window}")


@router.get(
    "/v1/regions/{region}/tiles/{zoom}/{x}/{y}",
    responses={
        200: {"content": {"image/jpeg": {}, "image/webp": {}}},
        204: {"description": "no imagery there"},
    },
)
async def map_tile(
    request: Request,
    region: str,
    zoom: int = Path(ge=0, le=22),
    x: int = Path(ge=0, lt=2**22),
    y: int = Path(ge=0, lt=2**22),
) -> Response:
    """A Web Mercator map tile of 512 pixels of the region's own imagery."""
    found = service_of(request).regions.get(region)
    tag = f"{version(found)}-{zoom}-{x}-{y}"
    if request.headers.get("if-none-match") == f'"{tag}"':
        return _kept(request, Response(), tag)
    tile = await run_in_threadpool(found.tiles.tile, zoom, x, y)
    if tile is None:
        return Response(status_code=204, headers={"Cache-Control": _KEEP})
    return _kept(request, Response(tile.data, media_type=tile.kind), tag)


@router.get("/v1/health", response_model=Health)
async def health() -> dict[str, str]:
    """Whether the server lives."""
    return {"status": "alive"}


@router.get("/v1/ready", response_model=Health, responses={503: {"model": Health}})
async def ready(request: Request) -> Response:
    """Whether new requests should be sent here; 503 while it shuts down."""
    if service_of(request).draining:
        return JSONResponse({"status": "closing"}, status_code=503)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(service_of(request).counters.to_text(), media_type=CONTENT_TYPE)


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """The map page."""
    return await PAGE_FILES.get_response("page.html", request.scope)


@router.get("/favicon.ico", include_in_schema=False)
async def icon() -> Response:
    """The page's icon."""
    return RedirectResponse("/assets/icon.svg", status_code=308)


@router.get("/assets/{name}", include_in_schema=False)
async def asset(request: Request, name: str) -> Response:
    """A file of the page."""
    return await PAGE_FILES.get_response(name, request.scope)


def _kept(request: Request, answer: Response, tag: str) -> Response:
    """Let the browser keep it, and tell it when it has it already."""
    headers: Mapping[str, str] = {"ETag": f'"{tag}"', "Cache-Control": _KEEP}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=dict(headers))
    answer.headers.update(headers)
    return answer
