"""The gate: every request passes here before anything looks at it, and every answer leaves here."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossview.service.counters import Counters
from crossview.service.keys import owner
from crossview.service.problems import Refusal, refusal_of
from crossview.service.settings import Settings
from crossview.service.uploads import drain_body

LOG = logging.getLogger("crossview.service")
OPEN = {"/v1/health", "/v1/ready", "/v1/openapi.json"}  # without a key; the page's files too
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_SAFE = {"GET", "HEAD", "OPTIONS"}
_LEFT = 499  # the client left before its answer began; nobody hears this status


class _BodyNotWanted(OSError):
    """Ends a stream whose head was all that was asked for."""


class _Exchange:
    """One request and its answer on their way through the gate."""

    def __init__(self, receive: Receive, send: Send, *, only_head: bool) -> None:
        self._receive, self._send, self._only_head = receive, send, only_head
        self.status = 0  # none yet
        self.has_left = False  # before its answer began

    async def receive(self) -> Message:
        """What the client sends; notes when it hangs up."""
        message = await self._receive()
        self.has_left |= message["type"] == "http.disconnect" and not self.status
        return message

    async def send(self, message: Message) -> None:
        """What is answered; of HEAD without the body."""
        if message["type"] == "http.response.start":
            self.status = _LEFT if self.has_left else message["status"]
        elif self._only_head:
            if message.get("more_body"):
                raise _BodyNotWanted
            message = {**message, "body": b""}
        await self._send(message)

    async def end(self) -> None:
        """The client has left, or has all that it asked for."""
        if self.status and not self.has_left:
            await self._send({"type": "http.response.body", "body": b""})
        self.status = self.status or _LEFT


class Gate:
    """Host, origin and key are checked; headers are added; the answer is counted and logged.

    HEAD is answered as GET is, without the body (RFC 9110, 9.3.2): no route has to know of it. A
    client that leaves before its answer began is counted as 499 and is nobody's fault.

    The log holds method, route and status: no query (it may hold a place) and no file name.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        counters: Counters,
        keys: Mapping[str, str],
        policy: str,
    ) -> None:
        self.app, self.settings, self.counters, self.keys = app, settings, counters, keys
        self.policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, method = time.perf_counter(), _method(scope)
        exchange = _Exchange(receive, send, only_head=method == "HEAD")
        if method == "HEAD":
            scope = {**scope, "method": "GET"}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._dress(scope, MutableHeaders(scope=message))
            await exchange.send(message)

        try:
            await self._pass(scope, exchange, sending, method)
        finally:
            self._count(scope, method, exchange.status or _LEFT, time.perf_counter() - start)

    async def _pass(self, scope: Scope, exchange: _Exchange, send: Send, method: str) -> None:
        try:
            scope.setdefault("state", {})["caller"] = self._admitted(scope)
        except Refusal as refusal:
            await drain_body(exchange.receive)
            await refuse(refusal, send)
            return
        try:
            await self.app(scope, exchange.receive, send)
        except (_BodyNotWanted, ClientDisconnect):
            await exchange.end()
        except Exception as problem:  # nothing may reach the client but a refusal
            if exchange.status:
                raise
            LOG.exception("%s %s failed", method, _route(scope))
            await refuse(refusal_of(problem), send)

    def _admitted(self, scope: Scope) -> str:
        """The caller's name; raises :class:`Refusal`."""
        headers = Headers(scope=scope)
        _check_framing(headers)
        _check_query(scope["query_string"])
        self._check_host(headers)
        self._check_origin(scope, headers)
        if not self.keys or scope["method"] == "OPTIONS" or not _needs_key(scope["path"]):
            return ""
        name = owner(self.keys, _key(headers))
        if name is None:
            raise Refusal(401, "key", "This server wants a key: Authorization: Bearer KEY")
        return name

    def _check_host(self, headers: Headers) -> None:
        """A name that leads here from elsewhere (DNS rebinding) is not ours."""
        if self.settings.hosts is None:
            return
        host = headers.get("host", "").lower()
        name = host.rpartition(":")[0] if _has_port(host) else host
        if name.strip("[]") not in {*_LOOPBACK, *self.settings.hosts}:
            raise Refusal(421, "host", "This server does not answer to that name.")

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Other sites may not make a visitor's browser send anything here."""
        origin = headers.get("origin")
        if scope["method"] in _SAFE or origin is None or origin in self.settings.origins:
            return
        if origin.partition("://")[2].lower() != headers.get("host", "").lower():
            raise Refusal(403, "origin", "Other sites may not ask this server.")

    def _dress(self, scope: Scope, headers: MutableHeaders) -> None:
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Content-Security-Policy"] = self.policy
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
        headers.setdefault("Cache-Control", "no-store")
        headers["Cross-Origin-Resource-Policy"] = (
            "cross-origin" if self.settings.origins else "same-origin"
        )

    def _count(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = _route(scope)
        self.counters.count_request(route, method, status, seconds)
        LOG.info("%s %s %d %.0f ms", method, route, status, 1e3 * seconds)


def _check_framing(headers: Headers) -> None:
    """A body with two lengths is where one request hides in another (RFC 9112, 6.3).

    Such a connection is answered and closed: who reads its rest otherwise would be misled.
    """
    if "content-length" in headers and "transfer-encoding" in headers:
        raise Refusal(
            400, "two-lengths", "Give Content-Length or Transfer-Encoding, not both.",
            headers={"Connection": "close"},
        )  # fmt: skip


def _check_query(query: bytes) -> None:
    """What is asked twice, differently perhaps, is not guessed."""
    names = [name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Refusal(422, "invalid-value", f"{twice[0][:60]!r} is in the address twice.")


async def refuse(refusal: Refusal, send: Send) -> None:
    """Send a problem document."""
    body = json.dumps(refusal.to_json()).encode()
    headers = {
        "Content-Type": "application/problem+json", "Content-Length": str(len(body)),
        **refusal.headers,
    }  # fmt: skip
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _needs_key(path: str) -> bool:
    return (path.startswith("/v1/") or path == "/metrics") and path not in OPEN


def _key(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and not host.endswith("]")


def _route(scope: Scope) -> str:
    """The template of the path, so that what a client writes reaches neither log nor metrics."""
    route: Any = scope.get("route")
    return getattr(route, "path", None) or "other"


def _method(scope: Scope) -> str:
    method = str(scope["method"])
    known = {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"}
    return method if method in known else "other"
