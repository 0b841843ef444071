"""The page's files: our own, those shared with the map page of a file, and what is vendored."""

from __future__ import annotations

import hashlib
import mimetypes
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_KINDS = {".mjs": "text/javascript", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HELPERS = ("shared/dom.js", "shared/angles.js")  # of the map page that is a file
_HELPED = (
    "el", "svg", "byId", "RADIANS", "METRES_PER_DEGREE", "WINDS", "wind", "wrapped", "metres",
    "coordinates", "lonNear", "wrappedLon", "mapAddress", "mapLink", "along", "offset", "bearingAt",
    "shareAt",
)  # fmt: skip


class Asset(NamedTuple):
    """A file as the browser gets it."""

    data: bytes
    kind: str
    tag: str  # changes when the data do


@cache
def table() -> dict[str, Asset]:
    """All files by the name under which the page asks for them."""
    vendored = {k: v for k, v in _folder("vendor").items() if k.startswith("maplibre-gl")}
    named = {**_folder("region"), **vendored, "shared.js": _shared()}
    named["theme.css"] = (files("crossview.web") / "shared/theme.css").read_bytes()
    return {name: _asset(name, data) for name, data in named.items()}


def _folder(name: str) -> dict[str, bytes]:
    folder = files("crossview.web") / name
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def _shared() -> bytes:
    """Scripts of the other map page as one module."""
    web = files("crossview.web")
    body = "\n".join((web / name).read_text(encoding="utf-8") for name in _HELPERS)
    return f"{body}\nexport {{ {', '.join(_HELPED)} }};\n".encode()


def _asset(name: str, data: bytes) -> Asset:
    ending = name[name.rfind(".") :]
    kind = _KINDS.get(ending) or mimetypes.guess_type(name)[0] or "text/plain"
    return Asset(data, f"{kind}; charset=utf-8", hashlib.sha256(data).hexdigest()[:16])
