"""Access: who may ask, and what every request passes before its route sees it.

API keys are stored as hashes, compared in constant time. :class:`AccessMiddleware` checks host,
origin and key, and counts every answer on its way out.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossview.errors import BadData, require
from crossview.files import atomic_write
from crossview.locks import lock
from crossview.schema import read_object
from crossview.service.counters import Counters
from crossview.service.problems import Refusal, make_refusal
from crossview.service.settings import Settings
from crossview.service.uploads import drain_body

LOG = logging.getLogger("crossview.service")
PUBLIC_PATHS = {"/v1/health", "/v1/ready", "/v1/openapi.json"}  # need no key; nor does the page
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_CLIENT_LEFT = 499  # before its answer began; a status for counters and log only
_MAX_NAME = 64  # characters of a name of a key


def hash_key(key: str) -> str:
    """sha256 as 64 hex digits. Keys hold 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def create_key(path: Path, name: str) -> str:
    """Make a key, write only its hash to the file, and return it: it is shown this once."""
    require(
        0 < len(name) <= _MAX_NAME and name.isprintable(),
        f"a key's name has 1 to {_MAX_NAME} printable characters, got {name!r}.",
    )
    key = secrets.token_urlsafe(32)
    with lock(path, "crossview serve --new-key", wait=True):
        hashes = dict(read_keys(path)) if path.exists() else {}
        require(
            name not in hashes,
            f"{path} already has a key called {name!r}; choose another name.",
        )
        atomic_write(path, json.dumps({**hashes, name: hash_key(key)}, indent=1) + "\n")
    return key


def read_keys(path: Path) -> Mapping[str, str]:
    """Hashes by name; raises :class:`BadData` for anything else."""
    try:
        values = read_object(path)
    except (OSError, ValueError) as problem:
        raise BadData(f"{path} cannot be read as keys: {problem}") from problem
    valid = all(
        isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")
        for text in values.values()
    )
    if not valid:
        raise BadData(
            f"{path} is not a file of keys: expected names with sha256 hashes.\n"
            "Make it with: crossview serve --keys FILE --new-key NAME"
        )
    return dict(values)


def find_owner(keys: Mapping[str, str], key: str) -> str | None:
    """The name of a key, None if there is none. Every hash is compared, so time tells nothing."""
    presented = hash_key(key)
    owner = None
    for name, stored in keys.items():
        if hmac.compare_digest(presented, stored):
            owner = name
    return owner


class _BodyNotWanted(OSError):
    """Ends a stream of which only the headers are wanted."""


class _Exchange:
    """One request and its answer."""

    def __init__(self, receive: Receive, send: Send, *, only_head: bool) -> None:
        self._receive, self._send, self._only_head = receive, send, only_head
        self.status = 0  # none yet
        self.has_left = False  # before its answer began

    async def receive(self) -> Message:
        """The client's next message; notes when it disconnects."""
        message = await self._receive()
        self.has_left |= message["type"] == "http.disconnect" and not self.status
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the answer; for HEAD without the body."""
        if message["type"] == "http.response.start":
            self.status = _CLIENT_LEFT if self.has_left else message["status"]
        elif self._only_head:
            if message.get("more_body"):
                raise _BodyNotWanted
            message = {**message, "body": b""}
        await self._send(message)

    async def end(self) -> None:
        """The client has left, or has all that it wants."""
        if self.status and not self.has_left:
            await self._send({"type": "http.response.body", "body": b""})
        self.status = self.status or _CLIENT_LEFT


class AccessMiddleware:
    """Host, origin and key are checked; headers are added; the answer is counted and logged.

    HEAD is answered as GET is, without the body (RFC 9110, 9.3.2), so routes need not handle it. A
    client that leaves before its answer began is counted as 499 and is not an error.

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
        start, method = time.perf_counter(), _name_method(scope)
        exchange = _Exchange(receive, send, only_head=method == "HEAD")
        if method == "HEAD":
            scope = {**scope, "method": "GET"}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(MutableHeaders(scope=message))
            await exchange.send(message)

        try:
            await self._forward(scope, exchange, send_with_headers, method)
        finally:
            self._count(scope, method, exchange.status or _CLIENT_LEFT, time.perf_counter() - start)

    async def _forward(self, scope: Scope, exchange: _Exchange, send: Send, method: str) -> None:
        try:
            scope.setdefault("state", {})["caller"] = self._admit(scope)
        except Refusal as refusal:
            await drain_body(exchange.receive)
            await send_refusal(refusal, send)
            return
        try:
            await self.app(scope, exchange.receive, send)
        except (_BodyNotWanted, ClientDisconnect):
            await exchange.end()
        except asyncio.CancelledError:  # the server ends, and this took too long
            if exchange.status or exchange.has_left:
                raise
            await send_refusal(Refusal(503, "closing", "The server is shutting down."), send)
        except Exception as problem:  # the client gets a problem document and no details
            if exchange.status:
                raise
            LOG.exception("%s %s failed", method, _name_route(scope))
            await send_refusal(make_refusal(problem), send)

    def _admit(self, scope: Scope) -> str:
        """The name of the caller's key, empty without keys; raises :class:`Refusal`."""
        headers = Headers(scope=scope)
        _check_framing(headers)
        _check_query(scope["query_string"])
        _require_one_host(scope, headers)
        self._check_host(headers)
        self._check_origin(scope, headers)
        if not self.keys or scope["method"] == "OPTIONS" or not _needs_key(scope["path"]):
            return ""
        name = find_owner(self.keys, _read_key(headers))
        if name is None:
            raise Refusal(401, "key", "This server needs a key: Authorization: Bearer KEY")
        return name

    def _check_host(self, headers: Headers) -> None:
        """Refuse names of other sites that lead here (DNS rebinding)."""
        host = headers.get("host")
        if self.settings.hosts is None or host is None:
            return
        host = host.lower()
        name = host.rpartition(":")[0] if _has_port(host) else host
        if name.strip("[]") not in {*_LOOPBACK, *self.settings.hosts}:
            raise Refusal(421, "host", "This server has another name; --allow-host adds one.")

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Refuse what other sites make a visitor's browser send here."""
        origin = headers.get("origin")
        if scope["method"] in _SAFE_METHODS or origin is None or origin in self.settings.origins:
            return
        if origin.partition("://")[2].lower() != headers.get("host", "").lower():
            raise Refusal(403, "origin", "Other sites may not use this server.")

    def _add_headers(self, headers: MutableHeaders) -> None:
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
        route = _name_route(scope)
        self.counters.count_request(route, method, status, seconds)
        LOG.info("%s %s %d %.0f ms", method, route, status, 1e3 * seconds)


def _check_framing(headers: Headers) -> None:
    """Refuse a body with two lengths: it may hide a second request (RFC 9112, 6.3).

    The connection is closed after the answer, so that nothing reads its rest as a request.
    """
    if "content-length" in headers and "transfer-encoding" in headers:
        raise Refusal(
            400, "two-lengths", "Send Content-Length or Transfer-Encoding, not both.",
            headers={"Connection": "close"},
        )  # fmt: skip


def _check_query(query: bytes) -> None:
    """Refuse a parameter that is given twice, perhaps with two values."""
    names = [name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise Refusal(422, "invalid-value", f"{repeated[0][:60]!r} is in the address twice.")


def _require_one_host(scope: Scope, headers: Headers) -> None:
    """Require one header Host, as RFC 9112, 3.2; only HTTP/1.0 may omit it.

    Health checks of load balancers do. Browsers always send Host, so a name that leads here from
    another site (DNS rebinding) is always seen.
    """
    hosts = headers.getlist("host")
    if len(hosts) > 1 or (not hosts and scope["http_version"] != "1.0"):
        raise Refusal(400, "host", "Send one Host header.")


async def send_refusal(refusal: Refusal, send: Send) -> None:
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
    return (path.startswith("/v1/") or path == "/metrics") and path not in PUBLIC_PATHS


def _read_key(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and not host.endswith("]")


def _name_route(scope: Scope) -> str:
    """The template of the path, so that a client's text reaches neither log nor counters."""
    route: Any = scope.get("route")
    return getattr(route, "path", None) or "other"


def _name_method(scope: Scope) -> str:
    method = str(scope["method"])
    methods = {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"}
    return method if method in methods else "other"
