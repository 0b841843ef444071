"""What ``crossview serve`` does once its options are read."""

from __future__ import annotations

import logging
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from crossview.cli import console
from crossview.service.app import create_app
from crossview.service.keys import new_key, read_keys
from crossview.service.regions import Models, Regions
from crossview.service.server import bound, serve
from crossview.service.settings import Settings

_BROWSER_AFTER_S = 1.0  # the socket listens already; what is asked before waits


@dataclass(frozen=True, kw_only=True)
class Request:
    """The command line, read."""

    indexes: tuple[Path, ...]
    model: str | None
    host: str
    port: int
    open_browser: bool
    threads: int
    keys: Path | None
    quiet: bool


def make_key(path: Path, name: str) -> None:
    """Print a new key, once; its file keeps only a hash."""
    console.result(new_key(path, name))
    console.note(f"Only its hash is in {path}: keep the key, it is not shown again.")


def hosts(host: str, named: Sequence[str]) -> tuple[str, ...] | None:
    """Names the server answers to; None (any) when it listens to others and was told no name."""
    if not named and not is_loopback(host):
        return None
    return (host.lower(), *(name.lower() for name in named))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run(request: Request, settings: Settings) -> None:
    """Open the regions and serve until told to stop."""
    keys = {} if request.keys is None else read_keys(request.keys)
    regions = Regions(request.indexes, Models(request.model, threads=request.threads))
    listening = bound(request.host, request.port)
    port = listening.getsockname()[1]
    shown = f"[{request.host}]" if ":" in request.host else request.host
    address = f"http://{shown}:{port}/"
    if not is_loopback(request.host) and not keys:
        console.warn("Everybody who can reach this address may ask; --keys restricts it.")
    _log(quiet=request.quiet)
    names = ", ".join(region.name for region in regions)
    console.note(f"Serving {names} at {address} (Ctrl-C ends it)")
    if request.open_browser:
        threading.Timer(_BROWSER_AFTER_S, webbrowser.open, [address]).start()
    serve(create_app(regions, settings, keys), listening)


def _log(*, quiet: bool) -> None:
    """What the server has to say goes to stderr, as everything that is no result."""
    log = logging.getLogger("crossview.service")
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.propagate = False
    log.addHandler(logging.StreamHandler())  # plain: a rich line costs more than a small answer
