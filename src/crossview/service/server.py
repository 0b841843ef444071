"""The server: runs the application, handles signals, and ends in time without losing photos."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import threading
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI
from prometheus_client import disable_created_metrics

from crossview.errors import CrossviewError
from crossview.service.state import LOG, Service

LINGER_S = 1.0  # for late requests; health checks see that it is closing
_KEEP_ALIVE_S = 30
_BACKLOG = 1024  # connections that may wait to be accepted
SPARE_S = 5.0  # after the time to finish, for the end itself


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
