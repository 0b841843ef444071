"""The application: routes, the gate before them, and one way to say that something went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match

from crossview import __version__
from crossview.errors import CrossviewError
from crossview.service import locate_routes as routes
from crossview.service import region_routes as looking
from crossview.service.middleware import OPEN, Gate
from crossview.service.problems import Refusal, refusal_of
from crossview.service.regions import Regions
from crossview.service.schemas import Problem
from crossview.service.settings import OnlineMap, Settings
from crossview.service.state import LOG, Service
from crossview.service.uploads import drain_body

_PROBLEM = "application/problem+json"
_REFUSED = (400, 401, 403, 404, 408, 413, 415, 421, 422, 429, 503)

KEYS = {  # either will do
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def create_app(
    regions: Regions, settings: Settings | None = None, keys: Mapping[str, str] | None = None
) -> FastAPI:
    """An ASGI application that answers from these regions.

    ``keys`` are hashes by name (:func:`crossview.service.keys.read_keys`); without any, everybody
    may ask.
    """
    settings = settings or Settings()
    service = Service.of(regions, settings)
    app = FastAPI(
        title="crossview",
        version=__version__,
        summary="Where in an indexed region a photo was taken.",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        lifespan=_life,
        responses={status: {"model": Problem} for status in _REFUSED},
    )
    app.state.service = service
    app.include_router(routes.router)
    app.include_router(looking.router)
    for kind in (Refusal, CrossviewError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _refused)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type", "Last-Event-ID"],
        )
    app.add_middleware(
        Gate,
        settings=settings,
        counters=service.counters,
        keys=keys or {},
        policy=policy(settings.online_map),
    )
    _describe(app, with_keys=bool(keys))
    return app


def policy(online_map: OnlineMap | None) -> str:
    """The page may run its own scripts and talk to its own server, and nothing else."""
    elsewhere = f" {online_map.origin}" if online_map else ""
    return (
        "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "
        f"img-src 'self' data: blob:{elsewhere}; connect-src 'self'{elsewhere}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    """While the server runs, indexes are watched; at the end the desk finishes what it has."""
    service: Service = app.state.service
    watching = asyncio.create_task(service.watch())
    yield
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    await service.close()


async def _refused(request: Request, problem: Exception) -> Response:
    if isinstance(problem, RequestValidationError):  # told before the body was looked at
        await drain_body(request.receive)
    refusal = _as_refusal(problem)
    if refusal.status in (500, 503) and isinstance(problem, CrossviewError):
        LOG.error("%s", problem)
    headers = {**refusal.headers}
    if isinstance(problem, HTTPException) and problem.headers:
        headers |= dict(problem.headers)
    if refusal.status == 405:
        headers["Allow"] = ", ".join(_methods(request))
    return JSONResponse(
        refusal.to_json(), status_code=refusal.status, headers=headers, media_type=_PROBLEM
    )


def every_route(app: FastAPI) -> list[BaseRoute]:
    """The application's own routes and those of its routers, which it may hold folded up."""
    return [*routes.router.routes, *looking.router.routes, *app.routes]


def _methods(request: Request) -> list[str]:
    """Methods of all routes with the request's path; the gate answers HEAD wherever GET is."""
    fits = [one for one in every_route(request.app) if one.matches(request.scope)[0] != Match.NONE]
    methods = {name for one in fits for name in getattr(one, "methods", None) or ()}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _as_refusal(problem: Exception) -> Refusal:
    if isinstance(problem, RequestValidationError):
        said = "; ".join(
            f"{'.'.join(str(part) for part in error['loc'][1:])}: {error['msg']}"
            for error in problem.errors()[:3]
        )
        return Refusal(422, "invalid-value", said)
    if isinstance(problem, HTTPException):
        codes = {404: "unknown-path", 405: "wrong-method"}
        code = codes.get(problem.status_code, "refused")
        return Refusal(problem.status_code, code, str(problem.detail))
    return refusal_of(problem)


def _describe(app: FastAPI, *, with_keys: bool) -> None:
    """Let the OpenAPI document name the keys, and say that problems come as problem documents."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        document = plain()
        if with_keys:
            document.setdefault("components", {})["securitySchemes"] = KEYS
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if with_keys and path not in OPEN:
                    operation["security"] = [{name: []} for name in KEYS]
                for status, response in operation["responses"].items():
                    content = response.get("content", {})
                    if int(status) >= 400 and content:
                        response["content"] = {_PROBLEM: next(iter(content.values()))}
        return document

    app.openapi = described  # type: ignore[method-assign]
