"""``crossview serve``: an indexed region behind HTTP, with a map page."""

from __future__ import annotations

import logging
import math
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossview.cli import console
from crossview.errors import UsageError, require
from crossview.service.settings import MEGABYTE, MEGAPIXEL, OnlineMap, Settings

if TYPE_CHECKING:
    from crossview.runtime import Arithmetic

_BROWSER_AFTER_S = 1.0  # the socket listens already; earlier requests wait


@dataclass(frozen=True, kw_only=True)
class ServeCommand:
    """The command line, read."""

    indexes: tuple[Path, ...]
    model: str | None
    host: str
    port: int
    open_browser: bool
    threads: int
    arithmetic: Arithmetic
    filter_first: bool
    keys: Path | None
    quiet: bool


def serve(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    index: Annotated[
        list[Path] | None, typer.Option(help="Made by crossview index; repeatable.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Where the indexes' model is now, if it was moved.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is reached by this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.", min=0, max=65535)] = 8765,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the map page in the browser.")
    ] = False,
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.", min=0)] = 0,
    filter_first: console.FilterFirst = False,
    runtime: console.RuntimeName = "onnxruntime",
    precision: console.PrecisionName = "float32",
    keys: Annotated[
        Path | None, typer.Option(help="File of API keys; without it, everyone may send photos.")
    ] = None,
    new_key: Annotated[
        str | None, typer.Option(help="Make a key of this name in --keys, print it, and stop.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Photos per minute and key (or of all, without keys).")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another host name of the server; repeatable.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Another site whose scripts may send photos (CORS); repeatable."),
    ] = None,
    max_mb: Annotated[float, typer.Option(help="Largest file of a photo.")] = (
        Settings.max_file_bytes / MEGABYTE
    ),
    max_megapixels: Annotated[float, typer.Option(help="Largest photo.")] = (
        Settings.max_pixels / MEGAPIXEL
    ),
    max_memory_mb: Annotated[
        float,
        typer.Option(help="Memory to decode one photo; a large JPEG is decoded smaller."),
    ] = Settings.max_memory_bytes / MEGABYTE,
    max_files: Annotated[int, typer.Option(help="Most photos of one request.")] = (
        Settings.max_files
    ),
    queue: Annotated[int, typer.Option(help="Photos that may wait; others get a 429.")] = (
        Settings.queue_photos
    ),
    timeout: Annotated[
        float, typer.Option(help="Longest time from a request to its answer, in seconds.")
    ] = Settings.timeout_s,
    decode_timeout: Annotated[
        float,
        typer.Option(help="Longest time to decode one photo, in seconds of a processor."),
    ] = Settings.decode_s,
    grace: Annotated[
        float, typer.Option(help="Time to finish what has begun, at SIGTERM, in seconds.")
    ] = Settings.finish_s,
    base_map: Annotated[
        str | None,
        typer.Option(help="Tiles of an online map: an address with {z}, {x}, {y}."),
    ] = None,
    base_map_attribution: Annotated[str, typer.Option(help="Who made the online base map.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="No line per request.")] = False,
) -> None:
    """Serve indexed regions: an HTTP API and a map page.

    Only this machine can reach it, unless --host says otherwise.
    """
    from crossview.runtime import Arithmetic

    if new_key is not None:
        if keys is None:
            raise UsageError("Give the file that keeps the key: --keys FILE --new-key NAME")
        _make_key(keys, new_key)
        return
    for option, value in (
        ("--max-mb", max_mb), ("--max-megapixels", max_megapixels),
        ("--max-memory-mb", max_memory_mb), ("--timeout", timeout),
        ("--decode-timeout", decode_timeout), ("--grace", grace),
        ("--rate", 1.0 if rate is None else rate),
    ):  # fmt: skip
        require(0.0 < value < math.inf, f"{option} takes a number above 0, got {value}.")
    for option, count in (("--max-files", max_files), ("--queue", queue)):
        require(count >= 1, f"{option} takes a whole number of at least 1, got {count}.")
    if not index:
        raise UsageError("Give at least one index: crossview serve --index region.cvx")
    online = None if base_map is None else OnlineMap(url=base_map, attribution=base_map_attribution)
    file_bytes = int(max_mb * MEGABYTE)
    request_bytes = max(Settings.max_request_bytes, file_bytes)
    settings = Settings(
        max_file_bytes=file_bytes,
        max_request_bytes=request_bytes,
        max_held_bytes=2 * request_bytes,
        max_pixels=int(max_megapixels * MEGAPIXEL),
        max_memory_bytes=int(max_memory_mb * MEGABYTE),
        max_files=min(max_files, queue),
        queue_photos=queue,
        timeout_s=timeout,
        decode_s=decode_timeout,
        finish_s=grace,
        photos_per_minute=rate,
        hosts=_host_names(host, allow_host or []),
        origins=tuple(allow_origin or ()),
        online_map=online,
    )
    command = ServeCommand(
        indexes=tuple(index),
        model=model,
        host=host,
        port=port,
        open_browser=open_browser,
        threads=threads,
        arithmetic=Arithmetic(runtime, precision),
        filter_first=filter_first,
        keys=keys,
        quiet=quiet,
    )
    _run(command, settings)


def _make_key(path: Path, name: str) -> None:
    """Print a new key, once; its file keeps only a hash."""
    from crossview.service.access import create_key

    console.print_result(create_key(path, name))
    console.note(f"Only its hash is in {path}. Keep the key: it is not shown again.")


def _host_names(host: str, names: Sequence[str]) -> tuple[str, ...] | None:
    """Names that the server answers to; None (any) where others reach it and no name is given."""
    if not names and not _is_loopback(host):
        return None
    return (host.lower(), *(name.lower() for name in names))


def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _run(command: ServeCommand, settings: Settings) -> None:
    """Open the regions and serve until it is stopped."""
    from crossview.service import server
    from crossview.service.access import read_keys
    from crossview.service.regions import ModelPool, Regions
    from crossview.service.server import create_app

    keys = {} if command.keys is None else read_keys(command.keys)
    pool = ModelPool(command.model, threads=command.threads, arithmetic=command.arithmetic)
    regions = Regions(command.indexes, pool, filter_first=command.filter_first)
    listening = server.open_socket(command.host, command.port)
    port = listening.getsockname()[1]
    host = f"[{command.host}]" if ":" in command.host else command.host
    address = f"http://{host}:{port}/"
    if not _is_loopback(command.host) and not keys:
        console.warn("Everyone who can reach this address may send photos. --keys restricts it.")
    _set_up_log(quiet=command.quiet)
    names = ", ".join(region.name for region in regions)
    console.note(f"Serving {names} at {address} (Ctrl-C stops it)")
    if command.open_browser:
        threading.Timer(_BROWSER_AFTER_S, webbrowser.open, [address]).start()
    server.serve(create_app(regions, settings, keys), listening)


def _set_up_log(*, quiet: bool) -> None:
    """Send the server's messages to stderr, like everything that is not a result."""
    log = logging.getLogger("crossview.service")
    log.setLevel(logging.INFO)
    printed = logging.StreamHandler()  # plain: a rich line costs more than a small answer
    printed.setLevel(logging.WARNING if quiet else logging.INFO)
    log.addHandler(printed)
