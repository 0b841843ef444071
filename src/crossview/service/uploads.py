"""Uploads: photos out of a request's body, counted while they arrive, kept in memory only.

Forms are read here with python-multipart and not with starlette's ``request.form``, which writes
large files to the disk and does not count the bytes of other requests.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Receive

from crossview.errors import require
from crossview.files import printable
from crossview.service.problems import Refusal
from crossview.service.settings import Settings

FIELDS = {"photo", "photos", "file"}
_MAX_HEADER_BYTES = 8192  # of one part
_MAX_HEADERS = 16  # of one part; more are not kept
_MAX_BOUNDARY = 70  # characters, RFC 2046, 5.1.1
_MAX_NAME = 200  # characters
_DRAIN_S = 10.0
_DRAIN_BYTES = 64_000_000  # read and thrown away, so that a refusal reaches its client


@dataclass(frozen=True)
class Upload:
    """A file as it came; its name is for display only."""

    name: str
    data: bytes = field(repr=False)


class MemoryBudget:
    """Bytes of all uploads that wait in memory, of all requests together. For any thread."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.used_bytes = max_bytes, 0
        self._lock = threading.Lock()

    def reserve(self, count: int) -> None:
        """Count ``count`` more bytes; raises :class:`Refusal` when there is no room."""
        with self._lock:
            if self.used_bytes + count > self.max_bytes:
                raise Refusal(
                    429, "busy", "The memory for waiting photos is full.", retry_after_s=2
                )
            self.used_bytes += count

    def release(self, count: int) -> None:
        """``count`` bytes are no longer in memory."""
        with self._lock:
            self.used_bytes -= count


class RateLimit:
    """Photos per minute and key: a token bucket that holds one minute's photos.

    25 lines, less than a dependency would cost. For any thread.
    """

    def __init__(
        self, per_minute: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._left: dict[str, tuple[float, float]] = {}  # photos, at which time
        self._lock = threading.Lock()

    def take(self, caller: str, photos: int) -> None:
        """Count photos of a caller; raises :class:`Refusal` beyond the rate."""
        if self._per_minute is None:
            return
        most = max(1.0, self._per_minute)
        if photos > most:
            raise Refusal(413, "too-many-files", f"Your key may send {most:g} photos per minute.")
        with self._lock:
            now = self._clock()
            left, then = self._left.get(caller, (most, now))
            left = min(most, left + (now - then) * self._per_minute / 60.0)
            if left < photos:
                wait_s = (photos - left) * 60.0 / self._per_minute
                self._left[caller] = (left, now)
                raise Refusal(429, "rate", "Too many photos per minute.", retry_after_s=wait_s + 1)
            self._left[caller] = (left - photos, now)


async def read_uploads(
    headers: Any,
    body: AsyncIterator[bytes],
    settings: Settings,
    budget: MemoryBudget,
    refusal: Refusal | None = None,
) -> list[Upload]:
    """All photos of a request: multipart fields named photo, or one picture as the whole body.

    The caller releases their bytes from ``budget``. A body that is refused (by ``refusal``, which
    is decided before, or on the way) is read to its end, up to a limit: a connection that closes
    early loses the answer.
    """
    reader = _Body(settings, budget)
    read = 0
    try:
        if refusal is None:
            reader = _open_body(headers, settings, budget)
    except Refusal as problem:
        refusal = problem
    try:
        async with asyncio.timeout(settings.upload_idle_s) as limit:
            clock = asyncio.get_running_loop().time
            end = clock() + settings.upload_timeout_s
            async for chunk in body:
                limit.reschedule(min(end, clock() + settings.upload_idle_s))
                read += len(chunk)
                if refusal is None:
                    refusal = _feed(reader, chunk)
                elif read > _DRAIN_BYTES:
                    break
            if refusal is None:
                refusal = _feed(reader, None)
    except TimeoutError:
        refusal = Refusal(408, "slow-upload", "The photos took too long to arrive.")
    except BaseException:
        budget.release(reader.reserved_bytes)
        raise
    if refusal is not None:
        budget.release(reader.reserved_bytes)
        raise refusal
    return reader.uploads


async def drain_body(receive: Receive) -> None:
    """Read the rest of a body that is not needed, up to limits: see :func:`read_uploads`."""
    read = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while read <= _DRAIN_BYTES:
                message = await receive()
                read += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return


def _open_body(headers: Any, settings: Settings, budget: MemoryBudget) -> _Body:
    """The reader for a body with these headers; raises :class:`Refusal` where there is none."""
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > settings.max_request_bytes:
        raise _refuse_size("A request", settings.max_request_bytes)
    kind, options = parse_options_header(headers.get("content-type", ""))
    boundary = options.get(b"boundary") or b"-"
    if kind == b"multipart/form-data" and len(boundary) <= _MAX_BOUNDARY:
        return _Form(settings, budget, boundary)
    if kind.startswith(b"image/") or kind == b"application/octet-stream":
        return _Body(settings, budget)
    raise Refusal(
        415, "wrong-type", "Send photos as multipart/form-data in the field photo, or one picture "
        "as the body with its own type, such as image/jpeg.",
    )  # fmt: skip


def _refuse_size(what: str, max_bytes: int) -> Refusal:
    return Refusal(413, "too-large", f"{what} may hold at most {max_bytes / 1e6:g} MB.")


def _refuse_form() -> Refusal:
    return Refusal(400, "bad-form", "The form is damaged or incomplete.")


def _feed(reader: _Body, chunk: bytes | None) -> Refusal | None:
    """Pass a chunk on (None: the end); returns what is wrong with it, if anything."""
    try:
        if chunk is None:
            reader.finish()
        else:
            reader.feed(chunk)
    except Refusal as refusal:
        return refusal
    except Exception:  # the parser raises several kinds
        return _refuse_form()
    return None


class _Body:
    """A body that is one picture. Counts what arrives against the limits."""

    def __init__(self, settings: Settings, budget: MemoryBudget) -> None:
        self._settings, self._budget = settings, budget
        self.uploads: list[Upload] = []
        self.reserved_bytes = self._read = 0
        self._file = bytearray()  # the current one

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of the body."""
        self._count(chunk)
        self._extend_file(chunk)

    def finish(self) -> None:
        """The body is complete."""
        self._close_file("photo")

    def _count(self, chunk: bytes) -> None:
        """Refuse a body that is too long, however it is cut into parts."""
        self._read += len(chunk)
        if self._read > self._settings.max_request_bytes:
            raise _refuse_size("A request", self._settings.max_request_bytes)

    def _extend_file(self, data: bytes) -> None:
        self._budget.reserve(len(data))
        self.reserved_bytes += len(data)
        self._file += data
        if len(self._file) > self._settings.max_file_bytes:
            raise _refuse_size("A photo", self._settings.max_file_bytes)

    def _close_file(self, name: str) -> None:
        most = self._settings.max_files
        if len(self.uploads) >= most:
            raise Refusal(413, "too-many-files", f"A request may hold at most {most} photos.")
        self.uploads.append(Upload(clean_name(name), bytes(self._file)))
        self._file = bytearray()


class _Form(_Body):
    """multipart/form-data; every part must be a photo."""

    def __init__(self, settings: Settings, budget: MemoryBudget, boundary: bytes) -> None:
        super().__init__(settings, budget)
        self._name, self._value, self._headers = bytearray(), bytearray(), dict[bytes, bytes]()
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": _pass_piece(partial(self._extend_header, self._name)),
                "on_header_value": _pass_piece(partial(self._extend_header, self._value)),
                "on_header_end": self._close_header,
                "on_part_data": _pass_piece(self._extend_file),
                "on_part_end": self._close_part,
                "on_end": self._close_form,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of the body."""
        self._count(chunk)
        self._parser.write(chunk)

    def finish(self) -> None:
        """The body is complete."""
        if not self._complete:
            raise _refuse_form()
        if not self.uploads:
            raise Refusal(422, "no-photo", "The form has no photo: name its field photo.")

    def _extend_header(self, text: bytearray, data: bytes) -> None:
        text += data
        require(len(text) <= _MAX_HEADER_BYTES, "a part's header is too long.")

    def _close_header(self) -> None:
        if len(self._headers) < _MAX_HEADERS:
            self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _close_part(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        field_name = options.get(b"name", b"").decode("utf-8", "replace")
        if field_name not in FIELDS:
            raise Refusal(
                422, "unknown-field", "The form may only hold photos, in the field photo. "
                "Hints such as fov belong in the address.",
            )  # fmt: skip
        self._close_file(options.get(b"filename", b"").decode("utf-8", "replace"))

    def _close_form(self) -> None:
        self._complete = True


def _pass_piece(take: Callable[[bytes], None]) -> Callable[[bytes, int, int], None]:
    """As the parser calls back: with a buffer and what of it is meant."""
    return lambda data, start, end: take(data[start:end])


def clean_name(name: str) -> str:
    """A file's name without folders and control characters; never used as a path."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return printable(last)[:_MAX_NAME] or "photo"
