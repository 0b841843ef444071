"""A reverse proxy on loopback that counts what is asked of a server, and can hold or refuse it."""

from __future__ import annotations

import http.client
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.services.programs import LONGEST_S, LOOPBACK

_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """One request, and what was answered."""

    method: str
    target: str  # path and query
    status: int
    sent_bytes: int
    agent: str
    range: str  # of the bytes that were wanted; empty: all of them


class Gate:
    """Stands before the server at ``port``; all its links lead back through the gate.

    Links do because a client's Host is passed on, and servers write their links with it.
    ``port`` 0: nothing stands behind, every request is written down and refused (502).
    """

    def __init__(self, port: int = 0) -> None:
        self.behind = port
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._hold: tuple[re.Pattern[str], int] | None = None
        self._drops = False
        self._refusals: list[tuple[re.Pattern[str], int, Headers]] = []
        self.holds, self._open = threading.Event(), threading.Event()
        handler = type("_GateHandler", (_Handler,), {"gate": self})
        self._server = ThreadingHTTPServer((LOOPBACK, 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://{LOOPBACK}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Let everything through and stop."""
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def find(self, pattern: str, status: int = 200) -> list[Request]:
        """Requests whose target has the pattern and that were answered with ``status``."""
        with self._lock:
            return [r for r in self.requests if r.status == status and re.search(pattern, r.target)]

    def hold_after(self, pattern: str, count: int) -> None:
        """Hold requests of this kind once ``count`` of them were answered; ``holds`` tells it."""
        self.holds.clear()
        self._open.clear()
        self._drops = False
        self._hold = re.compile(pattern), count + len(self.find(pattern))

    def release(self, *, drop: bool = False) -> None:
        """Let everything through again. ``drop``: what is held ends without an answer, uncounted.

        That is for clients that were killed: nothing was sent to them.
        """
        self._hold, self._drops = None, drop
        self._open.set()

    def refuse_next(self, pattern: str, status: int, **headers: str) -> None:
        """Answer the next request of this kind with this status instead of passing it on."""
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        with self._lock:
            self._refusals.append((re.compile(pattern), status, named))

    def _is_dropped(self, target: str) -> bool:
        hold = self._hold
        if hold and hold[0].search(target) and len(self.find(hold[0].pattern)) >= hold[1]:
            self.holds.set()
            return not self._open.wait(LONGEST_S) or self._drops
        return False

    def _take_refusal(self, target: str) -> tuple[int, Headers] | None:
        with self._lock:
            for refusal in self._refusals:
                if refusal[0].search(target):
                    self._refusals.remove(refusal)
                    return refusal[1:]
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gate: Gate

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.gate._is_dropped(self.path):
            self.close_connection = True
        elif refusal := self.gate._take_refusal(self.path):
            self._answer(refusal[0], refusal[1], b"refused by the gate")
        elif not self.gate.behind:
            self._answer(502, [], b"nothing leaves this machine")
        else:
            self._answer(*self._pass_on(body))

    do_POST = do_HEAD = do_CONNECT = do_GET  # noqa: N815 - the names of BaseHTTPRequestHandler

    def _pass_on(self, body: bytes) -> tuple[int, Headers, bytes]:
        headers = {n: v for n, v in self.headers.items() if n.lower() not in _HOP}
        connection = http.client.HTTPConnection(LOOPBACK, self.gate.behind, timeout=LONGEST_S)
        try:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as problem:
            return 502, [], str(problem).encode()
        finally:
            connection.close()
        return answer.status, answer.getheaders(), content

    def _answer(self, status: int, headers: Headers, content: bytes) -> None:
        said = (self.headers.get(name, "") for name in ("User-Agent", "Range"))
        request = Request(self.command, self.path, status, len(content), *said)
        with self.gate._lock:
            self.gate.requests.append(request)
        try:
            self.send_response_only(status)
            length = str(len(content))
            for name, value in headers:
                if name.lower() == "content-length":
                    length = value if self.command == "HEAD" else length
                elif name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
        except ConnectionError:
            self.close_connection = True  # the client was killed meanwhile

    def log_message(self, *_) -> None:
        pass
