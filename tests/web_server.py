"""A small web server on loopback for tests: answers by a function, and remembers what was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    path: str
    query: dict[str, str]  # names in lower case
    headers: dict[str, str]  # names in lower case

    @property
    def target(self) -> str:
        return self.path + ("?" + "&".join(f"{k}={v}" for k, v in self.query.items()))


@dataclass(frozen=True)
class Answer:
    content: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    claimed_bytes: int | None = None  # Content-Length, where it lies
    before: Callable[[], None] = lambda: None


@dataclass
class WebServer:
    address: str
    asked: list[Asked]

    def paths(self) -> list[str]:
        return [one.path for one in self.asked]


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[WebServer]:
    """A server on a port of its own; every request goes through ``answer``."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {k.lower(): v for k, v in parse_qsl(parts.query, keep_blank_values=True)}
            headers = {k.lower(): v for k, v in self.headers.items()}
            asked.append(one := Asked(parts.path, query, headers))
            said = answer(one)
            said.before()
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            length = len(said.content) if said.claimed_bytes is None else said.claimed_bytes
            self.send_header("Content-Length", str(length))
            if length != len(said.content):
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            self.wfile.write(said.content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield WebServer(f"http://127.0.0.1:{server.server_port}", asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
