"""The server: its application, with routes and answers to failures, and the process that runs it.

:func:`create_app` makes the application; :func:`serve` runs it, handles signals, and ends in time
without losing photos.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import disable_created_metrics
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match

from crossview._version import __version__
from crossview.errors import CrossviewError
from crossview.service import routes
from crossview.service.access import PUBLIC_PATHS, AccessMiddleware
from crossview.service.problems import Refusal, make_refusal
from crossview.service.regions import Regions
from crossview.service.responses import Problem
from crossview.service.settings import OnlineMap, Settings
from crossview.service.state import LOG, Service
from crossview.service.uploads import drain_body

_PROBLEM = "application/problem+json"
_STATUSES = (400, 401, 403, 404, 408, 413, 415, 421, 422, 429, 503)
LINGER_S = 1.0  # for late requests; health checks see that it is closing
_KEEP_ALIVE_S = 30
_BACKLOG = 1024  # connections that may wait to be accepted
SPARE_S = 5.0  # after the time to finish, for the end itself

KEYS = {  # either will do
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def create_app(
    regions: Regions, settings: Settings | None = None, keys: Mapping[str, str] | None = None
) -> FastAPI:
    """An ASGI application that answers from these regions.

    ``keys`` are hashes by name (:func:`crossview.service.access.read_keys`); without any, everyone
    may send photos.
    """
    settings = settings or Settings()
    service = Service.start(regions, settings)
    app = FastAPI(
        title="crossview",
        version=__version__,
        summary="Where in an indexed region a photo was taken.",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # such pages load scripts from other servers
        redoc_url=None,
        lifespan=_run_background_tasks,
        responses={status: {"model": Problem} for status in _STATUSES},
    )
    app.state.service = service
    app.include_router(routes.router)
    app.include_router(routes.page_router)
    for kind in (Refusal, CrossviewError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _send_problem)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type", "Last-Event-ID"],
        )
    app.add_middleware(
        AccessMiddleware,
        settings=settings,
        counters=service.counters,
        keys=keys or {},
        policy=write_content_policy(settings.online_map),
    )
    _complete_openapi(app, with_keys=bool(keys))
    return app


def write_content_policy(online_map: OnlineMap | None) -> str:
    """The content security policy: the page runs its own scripts and talks to its own server."""
    map_origin = f" {online_map.origin}" if online_map else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"img-src 'self' data: blob:{map_origin}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@asynccontextmanager
async def _run_background_tasks(app: FastAPI) -> AsyncIterator[None]:
    """Watch the indexes while the server runs; at the end, finish the photos in the queue."""
    service: Service = app.state.service
    watching = asyncio.create_task(service.watch())
    yield
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    await service.close()


async def _send_problem(request: Request, problem: Exception) -> Response:
    if isinstance(problem, RequestValidationError):  # raised before the body was read
        await drain_body(request.receive)
    refusal = _translate_problem(problem)
    if refusal.status in (500, 503) and isinstance(problem, CrossviewError):
        LOG.error("%s", problem)
    headers = {**refusal.headers}
    if isinstance(problem, HTTPException) and problem.headers:
        headers |= dict(problem.headers)
    if refusal.status == 405:
        headers["Allow"] = ", ".join(_list_methods(request))
    return JSONResponse(
        refusal.to_json(), status_code=refusal.status, headers=headers, media_type=_PROBLEM
    )


def list_routes(app: FastAPI) -> list[BaseRoute]:
    """The routes of the application and of its routers, which it may keep apart."""
    return [*routes.router.routes, *routes.page_router.routes, *app.routes]


def _list_methods(request: Request) -> list[str]:
    """Methods of all routes with the request's path; HEAD is answered wherever GET is."""
    methods: set[str] = set()
    for route in list_routes(request.app):
        if route.matches(request.scope)[0] != Match.NONE:
            methods |= set(getattr(route, "methods", None) or ())
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _translate_problem(problem: Exception) -> Refusal:
    if isinstance(problem, RequestValidationError):
        detail = "; ".join(
            f"{'.'.join(str(part) for part in error['loc'][1:])}: {error['msg']}"
            for error in problem.errors()[:3]
        )
        return Refusal(422, "invalid-value", detail)
    if isinstance(problem, HTTPException):
        codes = {404: "unknown-path", 405: "wrong-method"}
        code = codes.get(problem.status_code, "refused")
        return Refusal(problem.status_code, code, str(problem.detail))
    return make_refusal(problem)


def _complete_openapi(app: FastAPI, *, with_keys: bool) -> None:
    """Add the keys to the OpenAPI document, and the media type of problem documents."""
    make_document = app.openapi

    def complete() -> dict[str, Any]:
        document = make_document()
        if with_keys:
            document.setdefault("components", {})["securitySchemes"] = KEYS
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if with_keys and path not in PUBLIC_PATHS:
                    operation["security"] = [{name: []} for name in KEYS]
                for status, response in operation["responses"].items():
                    content = response.get("content", {})
                    if int(status) >= 400 and content:
                        response["content"] = {_PROBLEM: next(iter(content.values()))}
        return document

    app.openapi = complete  # type: ignore[method-assign]


class Server(uvicorn.Server):
    """uvicorn that finishes long batches before it stops listening, and reloads at SIGHUP."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down in order at the first signal, at once at the second."""
        service: Service = self.config.app.state.service  # type: ignore[union-attr]
        if service.draining:
            service.ends_at = -math.inf
            self.config.timeout_graceful_shutdown = 1
            super().handle_exit(sig, frame)
            return
        service.begin_end()
        guard = threading.Timer(service.left_s + SPARE_S, _end_process)
        guard.daemon = True
        guard.start()
        self._shutdown = asyncio.get_running_loop().create_task(self._shut_down(service))

    async def _shut_down(self, service: Service) -> None:
        await service.drain(LINGER_S)
        self.config.timeout_graceful_shutdown = max(1, math.floor(service.left_s))
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Also handle SIGHUP, where there is one."""
        await super().startup(sockets)
        service: Service = self.config.app.state.service  # type: ignore[union-attr]
        with suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(
                signal.SIGHUP,
                lambda: setattr(self, "_reloading", loop.create_task(service.reload())),
            )


def _end_process() -> None:
    """End at once: something does not let itself be ended, such as a library in a thread."""
    LOG.error("The server does not end in order; it is ended now.")
    os._exit(1)


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any that is free. Raises :class:`CrossviewError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as problem:
        listening.close()
        raise CrossviewError(
            f"Cannot listen on {host}, port {port}: {problem.strerror}.\n"
            "Choose another with --port; 0 takes any that is free."
        ) from problem
    return listening


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Answer requests until SIGTERM or Ctrl-C, then finish those that have begun.

    After that the process is to end: five seconds after its time to finish it is ended.
    """
    # No time of creation beside each counter: Prometheus needs none, and it doubles the text.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    with suppress(AttributeError, ValueError):  # until the loop listens for it; not on Windows
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    Server(config).run(sockets=[listening])
