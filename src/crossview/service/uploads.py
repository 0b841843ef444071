"""Uploads: photos out of a request's body, counted while they arrive, held in memory only."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Receive

from crossview.errors import require
from crossview.files import printable
from crossview.service.problems import Refusal
from crossview.service.settings import Settings

FIELDS = {"photo", "photos", "file"}
_MOST_HEADER_BYTES = 8192  # of one part
_LONGEST_BOUNDARY = 70  # RFC 2046, 5.1.1
_LONGEST_NAME = 200
_DRAIN_S = 10.0
_DRAIN_BYTES = 64_000_000  # read and thrown away, so that a refusal reaches its client


@dataclass(frozen=True)
class Upload:
    """A file as it came; its name is for showing only."""

    name: str
    data: bytes = field(repr=False)


class Held:
    """Bytes of uploads that wait in memory, of all requests together. For any thread."""

    def __init__(self, most: int) -> None:
        self.most, self.now = most, 0
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Count ``count`` more bytes; refuse when there is no room."""
        with self._lock:
            if self.now + count > self.most:
                raise Refusal(
                    429, "busy", "The server holds as many photos as it may.", retry_after_s=2
                )
            self.now += count

    def give(self, count: int) -> None:
        """``count`` bytes are let go."""
        with self._lock:
            self.now -= count


async def read_uploads(
    headers: Any,
    body: AsyncIterator[bytes],
    settings: Settings,
    held: Held,
    problem: Refusal | None = None,
) -> list[Upload]:
    """All photos of a request: multipart fields named photo, or one picture as the whole body.

    The caller gives their bytes back to ``held``. A body that is refused (by a ``problem`` that is
    known before, or on the way) is read to its end, up to a limit: a connection that closes early
    loses the refusal.
    """
    reader = _reader(headers.get("content-type", ""), settings, held)
    problem = problem or _announced_too_much(headers, settings)
    read = 0
    try:
        async with asyncio.timeout(settings.upload_idle_s) as limit:
            clock = asyncio.get_running_loop().time
            end = clock() + settings.upload_timeout_s
            async for chunk in body:
                limit.reschedule(min(end, clock() + settings.upload_idle_s))
                read += len(chunk)
                if problem is None:
                    problem = _feed(reader, chunk)
                elif read > _DRAIN_BYTES:
                    break
            if problem is None:
                problem = _feed(reader, None)
    except TimeoutError:
        problem = Refusal(408, "slow-upload", "The photos took too long to arrive.")
    except BaseException:
        held.give(reader.taken)
        raise
    if problem is not None:
        held.give(reader.taken)
        raise problem
    return reader.uploads


async def drained(receive: Receive) -> None:
    """Read the rest of a body that nobody wants, up to limits: see :func:`read_uploads`."""
    read = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while read <= _DRAIN_BYTES:
                message = await receive()
                read += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return


def _announced_too_much(headers: Any, settings: Settings) -> Refusal | None:
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > settings.max_request_bytes:
        return _too_many_bytes("A request", settings.max_request_bytes)
    return None


def _too_many_bytes(what: str, most: int) -> Refusal:
    return Refusal(413, "too-large", f"{what} may hold {most / 1e6:g} MB at most.")


def _feed(reader: _Reader, chunk: bytes | None) -> Refusal | None:
    """Pass a chunk on (None: the end); what is wrong with it, if anything."""
    try:
        if chunk is None:
            reader.end()
        else:
            reader.feed(chunk)
    except Refusal as problem:
        return problem
    except Exception:  # the parser's several kinds
        return Refusal(400, "bad-form", "The form's body is damaged or cut off.")
    return None


def _reader(content_type: str, settings: Settings, held: Held) -> _Reader:
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary") or b"-"
        if len(boundary) > _LONGEST_BOUNDARY:
            return _Nothing(settings, held)
        return _Form(settings, held, boundary)
    if kind.startswith(b"image/") or kind == b"application/octet-stream":
        return _OnePicture(settings, held)
    return _Nothing(settings, held)


class _Reader(ABC):
    """Counts what arrives against the limits."""

    def __init__(self, settings: Settings, held: Held) -> None:
        self.settings, self.held = settings, held
        self.uploads: list[Upload] = []
        self.taken = self.read = 0
        self.part = bytearray()

    @abstractmethod
    def feed(self, chunk: bytes) -> None:
        """One more piece of the body."""

    @abstractmethod
    def end(self) -> None:
        """The body is complete."""

    def count(self, chunk: bytes) -> None:
        """Refuse a body that is too long, however it is cut into parts."""
        self.read += len(chunk)
        if self.read > self.settings.max_request_bytes:
            raise _too_many_bytes("A request", self.settings.max_request_bytes)

    def add(self, data: bytes) -> None:
        """More of the current file."""
        self.held.take(len(data))
        self.taken += len(data)
        self.part += data
        if len(self.part) > self.settings.max_file_bytes:
            raise _too_many_bytes("A photo", self.settings.max_file_bytes)

    def close_file(self, name: str) -> None:
        """The current file is complete."""
        if len(self.uploads) >= self.settings.max_files:
            raise Refusal(
                413, "too-many-files", f"A request may hold {self.settings.max_files} photos."
            )
        self.uploads.append(Upload(shown_name(name), bytes(self.part)))
        self.part = bytearray()


class _Nothing(_Reader):
    """A body of a kind that holds no photo."""

    def feed(self, chunk: bytes) -> None:
        """See :class:`_Reader`."""
        self.end()

    def end(self) -> None:
        """See :class:`_Reader`."""
        raise Refusal(
            415, "wrong-type", "Send photos as multipart/form-data in the field photo, or one "
            "picture as the body with its own type, such as image/jpeg.",
        )  # fmt: skip


class _OnePicture(_Reader):
    """A picture that is the whole body."""

    def feed(self, chunk: bytes) -> None:
        """See :class:`_Reader`."""
        self.count(chunk)
        self.add(chunk)

    def end(self) -> None:
        """See :class:`_Reader`."""
        self.close_file("photo")


class _Form(_Reader):
    """multipart/form-data; every part must be a photo."""

    def __init__(self, settings: Settings, held: Held, boundary: bytes) -> None:
        super().__init__(settings, held)
        self.header, self.value, self.about = bytearray(), bytearray(), dict[bytes, bytes]()
        self.finished = False
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self.about.clear,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_part_data": lambda data, start, end: self.add(data[start:end]),
                "on_part_end": self._part_end,
                "on_end": self._all_read,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """See :class:`_Reader`."""
        self.count(chunk)
        self.parser.write(chunk)

    def end(self) -> None:
        """See :class:`_Reader`."""
        if not self.finished:
            raise Refusal(400, "bad-form", "The form's body is damaged or cut off.")
        if not self.uploads:
            raise Refusal(422, "no-photo", "The form holds no photo: name its field photo.")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self.header += data[start:end]
        require(len(self.header) <= _MOST_HEADER_BYTES, "a part's header is too long.")

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]
        require(len(self.value) <= _MOST_HEADER_BYTES, "a part's header is too long.")

    def _header_end(self) -> None:
        if len(self.about) < 16:
            self.about[bytes(self.header).lower()] = bytes(self.value)
        self.header, self.value = bytearray(), bytearray()

    def _part_end(self) -> None:
        _, options = parse_options_header(self.about.get(b"content-disposition", b""))
        field_name = options.get(b"name", b"").decode("utf-8", "replace")
        if field_name not in FIELDS:
            raise Refusal(
                422, "unknown-field", "The form may only hold photos, in the field photo. "
                "Hints such as fov belong into the address.",
            )  # fmt: skip
        self.close_file(options.get(b"filename", b"").decode("utf-8", "replace"))

    def _all_read(self) -> None:
        self.finished = True


def shown_name(name: str) -> str:
    """A file's name without folders and control characters; never used as a path."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return printable(last)[:_LONGEST_NAME] or "photo"
