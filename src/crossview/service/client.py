"""A small client of the API. Needs nothing but Python's own library.

from crossview.service.client import Client
client = Client("http://127.0.0.1:8765")
print(client.locate("photo.jpg", fov=90)["places"][0])
"""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from crossview.errors import CrossviewError, InvalidValue

_MAX_WAIT_S = 30.0


class ServiceRefused(CrossviewError):
    """The server refused; ``status`` and ``code`` are those of its problem document."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code = status, code


class Client:
    """A client of one server. ``patience_s``: how long to retry while it is busy (429, 503)."""

    def __init__(
        self,
        address: str,
        *,
        key: str | None = None,
        timeout_s: float = 120.0,
        patience_s: float = 60.0,
    ) -> None:
        if not address.startswith(("http://", "https://")):
            raise InvalidValue(f"{address}: give an address such as http://127.0.0.1:8765")
        self.address, self.timeout_s, self.patience_s = address.rstrip("/"), timeout_s, patience_s
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    def regions(self) -> list[dict[str, Any]]:
        """The server's regions in figures, the default first."""
        regions: list[dict[str, Any]] = self._send("GET", "/v1/regions")["regions"]
        return regions

    def locate(self, photo: str | Path, **hints: Any) -> dict[str, Any]:
        """Where a photo was taken.

        Hints: region, fov, heading, ignore_direction, near, within (km), area (GeoJSON), claim,
        places, rerank, language. Places are texts "lat,lon" or pairs.
        Raises :class:`ServiceRefused`.
        """
        answers = self._send("POST", "/v1/locate", hints, [photo])["answers"]
        answer: dict[str, Any] = answers[0]
        return answer

    def locate_many(self, photos: Sequence[str | Path], **hints: Any) -> Iterator[dict[str, Any]]:
        """An answer per photo as it comes; where one was not located, ``detail`` says why."""
        job = self._send("POST", "/v1/jobs", hints, list(photos))["job"]
        with self._open("GET", f"/v1/jobs/{quote(job)}/events") as events:
            kind = ""
            for line in events:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind != "end":
                    yield json.loads(value)

    def _send(
        self,
        method: str,
        path: str,
        hints: dict[str, Any] | None = None,
        photos: Sequence[str | Path] = (),
    ) -> Any:
        known = {name: value for name, value in (hints or {}).items() if value is not None}
        query = {name: _write_hint(value) for name, value in known.items()}
        address = f"{path}?{urlencode(query)}" if query else path
        with self._open(method, address, photos) as answer:
            return json.load(answer)

    def _open(self, method: str, path: str, photos: Sequence[str | Path] = ()) -> Any:
        body, headers = _write_form(photos) if photos else (None, {})
        end = time.monotonic() + self.patience_s
        while True:
            request = urllib.request.Request(  # noqa: S310 - http or https, checked above
                self.address + path, body, {**self._headers, **headers}, method=method
            )
            try:
                return urllib.request.urlopen(request, timeout=self.timeout_s)  # noqa: S310
            except urllib.error.HTTPError as problem:
                wait_s = float(problem.headers.get("Retry-After", "0") or 0)
                if not wait_s or time.monotonic() + wait_s > end:
                    raise _read_problem(problem) from problem
                time.sleep(min(wait_s, _MAX_WAIT_S))
            except OSError as problem:
                raise ServiceRefused(0, "offline", f"{self.address}: {problem}") from problem


def _write_hint(value: Any) -> Any:
    """As the address has it: GeoJSON as JSON, a pair as two numbers with a comma."""
    if isinstance(value, Mapping):
        return json.dumps(value, separators=(",", ":"))
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else value


def _write_form(photos: Sequence[str | Path]) -> tuple[bytes, dict[str, str]]:
    boundary = secrets.token_hex(16)
    parts = []
    for photo in map(Path, photos):
        name = photo.name.replace("\\", "_").replace('"', "_").replace("\r", "_").replace("\n", "_")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="photo"; filename="{name}"'
        parts += [head.encode("utf-8", "replace"), b"\r\n\r\n", photo.read_bytes(), b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def _read_problem(problem: urllib.error.HTTPError) -> ServiceRefused:
    try:
        facts = json.load(problem)
        return ServiceRefused(problem.code, str(facts["code"]), str(facts["detail"]))
    except (ValueError, KeyError, TypeError):
        return ServiceRefused(problem.code, "refused", f"The server answered {problem.code}.")
