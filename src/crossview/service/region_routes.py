"""The routes without photos: regions, their pictures, health, counters, and the page's files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Receive, Scope, Send

from crossview import __version__
from crossview.outputs.map_page import render_live_page
from crossview.service.counters import CONTENT_TYPE
from crossview.service.locate_routes import get_service
from crossview.service.problems import Refusal
from crossview.service.responses import build_cells, build_coverage, build_region, make_version
from crossview.service.schemas import (
    Cells,
    CheckedRoute,
    Coverage,
    GeoJson,
    RegionFacts,
    RegionList,
    ServerHealth,
)
from crossview.texts import choose_language, speak

router = APIRouter(route_class=CheckedRoute)
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


@router.get(
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


@router.get("/v1/regions/{region}", name="region_of_name", response_model=RegionFacts)
async def get_region(request: Request, region: str) -> dict[str, Any]:
    """One region in figures."""
    return build_region(get_service(request).regions.get(region))


@router.get(
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


@router.get("/v1/regions/{region}/cells", name="region_cells", response_model=Cells)
async def get_cells(request: Request, region: str) -> Response:
    """The positions of a heat layer's cells."""
    served = get_service(request).regions.get(region)
    record = await run_in_threadpool(build_cells, served)
    return _allow_caching(request, JSONResponse(record), f"{make_version(served)}-cells")


@router.get(
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


@router.get(
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


@router.get("/v1/health", name="health", response_model=ServerHealth)
async def report_health() -> dict[str, str]:
    """Whether the server is alive."""
    return {"status": "alive"}


@router.get(
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


@router.get("/metrics", include_in_schema=False)
async def send_counters(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(get_service(request).counters.to_text(), media_type=CONTENT_TYPE)


@router.get("/", include_in_schema=False)
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


@router.get("/favicon.ico", include_in_schema=False)
async def redirect_icon() -> Response:
    """The page's icon."""
    return RedirectResponse("/assets/icon.svg", status_code=308)


@router.get("/assets/{name}", include_in_schema=False)
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
