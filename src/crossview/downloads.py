"""Downloads: the one place that talks to servers, politely, into files that are whole or absent.

Nothing here runs unless somebody named an address. Each host has a token bucket; ``Retry-After`` is
obeyed; what fails for the moment is tried again, with longer and longer waits. Secrets are cut from
whatever is said. What servers answer is hostile: sizes are bounded, and a redirection neither
carries tokens to another host nor leaves https.
"""

from __future__ import annotations

import email.utils
import io
import json
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, quote_plus, urlsplit

from crossview._version import __version__
from crossview.errors import (
    AccessRefused,
    BadAnswer,
    DownloadFailed,
    InvalidValue,
    NotOnServer,
    ServiceBusy,
    ServiceDown,
    require,
)
from crossview.files import atomic_write, make_folder, printable

if TYPE_CHECKING:
    import httpx

LOG = logging.getLogger("crossview.downloads")
CACHE_VARIABLE = "CROSSVIEW_CACHE"
USER_AGENT = f"crossview/{__version__} (cross-view geo-localization)"
BLOCK_BYTES = 1 << 18  # of what is read by ranges
MOST_REDIRECTS = 5
LEAST_BYTES_PER_S = 1000.0  # of an answer that takes longer than the time limit
_MOST_BLOCKS = 32  # in one request
_FIRST_WAIT_S, _LONGEST_BACKOFF_S = 0.5, 30.0
_FOR_THE_MOMENT = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
_SHOWN = 200  # characters of an answer in a message

# Says what an answer without success means in a service's own words: raises, or returns where the
# status tells enough. Gets the status and the content.
Judge = Callable[[int, bytes], None]


@dataclass(frozen=True, kw_only=True)
class Politeness:
    """How one host is asked. A request that fails for the moment is made ``tries`` times in all.

    ``longest_wait_s``: a server that wants a longer pause before one request is not waited for.
    """

    requests_per_s: float = 10.0
    burst: int = 10
    tries: int = 5
    timeout_s: float = 30.0
    longest_wait_s: float = 120.0

    def __post_init__(self) -> None:
        require(
            self.requests_per_s > 0.0 and self.burst >= 1 and self.tries >= 1,
            "politeness needs a rate above 0, a burst and tries of 1 or more.",
        )


@dataclass(frozen=True)
class Reply:
    """What a server answered with success: the final address, headers in lower case, content."""

    url: str
    headers: Mapping[str, str]
    content: bytes


class Downloads:
    """One client for all servers. Use as a context manager; any thread may call it.

    ``politeness`` by host (``""``: all others). ``headers`` go with every request, but never to a
    host that somebody was redirected to. ``secrets`` are cut from messages and log lines.
    ``requests`` and ``bytes`` say what was spent so far.
    """

    def __init__(
        self,
        *,
        politeness: Mapping[str, Politeness] | None = None,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        self._politeness = dict(politeness or {})
        self._headers = dict(headers or {})
        self._secrets = _list_spellings(secrets)
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._stopped = threading.Event()
        self.requests = 0
        self.bytes = 0

    def __enter__(self) -> Downloads:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all connections; waits of other threads end with :class:`ServiceDown`."""
        self._stopped.set()
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def keep_secret(self, *secrets: str) -> None:
        """Cut these, too, from every message and log line from now on."""
        self._secrets = _list_spellings([*self._secrets, *secrets])

    def set_politeness(self, host: str, politeness: Politeness) -> None:
        """How ``host`` is asked from now on; what it has asked us to wait stays."""
        with self._lock:
            self._politeness[host] = politeness
            if bucket := self._buckets.get(host):
                bucket.politeness = politeness

    def read(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        most_bytes: int = 1 << 24,
        judge: Judge | None = None,
    ) -> Reply:
        """What is at ``url``, kept nowhere. Raises a kind of :class:`DownloadFailed`.

        ``judge`` gets each answer without success first, before it is tried again.
        """
        return self._ask(url, params or {}, headers or {}, most_bytes, judge)

    def fetch(
        self,
        url: str,
        into: Path,
        *,
        headers: Mapping[str, str] | None = None,
        most_bytes: int = 1 << 26,
        check: Callable[[bytes], None] | None = None,
    ) -> bool:
        """Keep what is at ``url`` as the file ``into``, whole or not at all.

        False where the file is there already: nothing is asked then. ``check`` raises for content
        that is not what it should be, which is then not kept. The folder is made. Raises a kind of
        :class:`DownloadFailed`, and :class:`CannotWrite`.
        """
        if into.is_file():
            return False
        reply = self._ask(url, {}, headers or {}, most_bytes)
        if check is not None:
            check(reply.content)
        make_folder(into.parent)
        atomic_write(into, reply.content)
        return True

    def open_ranges(self, url: str, into: Path) -> BinaryIO:
        """A large file on a server, read by ranges; its blocks are kept below the folder ``into``.

        To be sought in and read from any thread. What was read once is not asked for again, also by
        another process. :class:`BadAnswer` where the server knows no ranges, or where the file has
        changed since the first blocks were kept.
        """
        return io.BufferedReader(_RangeFile(self, url, into), BLOCK_BYTES)

    def conceal(self, text: object) -> str:
        """``text`` without secrets, in one line that any terminal shows."""
        said = str(text)
        for secret in self._secrets:
            said = said.replace(secret, "...")
        return printable(said)

    def _ask(
        self,
        url: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        most_bytes: int,
        judge: Judge | None = None,
    ) -> Reply:
        """One answer of success, after as many tries, waits and redirections as it takes."""
        where = _build_url(url, params)
        own = {**self._headers, **headers}
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._ask_patiently(where, own, most_bytes, judge)
            if answer.moved is None:
                return Reply(where, answer.headers, answer.content)
            where, own = self._follow(where, answer.moved, own)
        raise BadAnswer(f"{self.conceal(url)} leads from one address to the next without an end.")

    def _follow(
        self, where: str, moved: str, headers: dict[str, str]
    ) -> tuple[str, dict[str, str]]:
        import httpx

        try:
            target = str(httpx.URL(where).join(moved))
        except (httpx.InvalidURL, ValueError) as problem:
            raise BadAnswer(f"{self.conceal(where)} leads to no address.") from problem
        old, new = urlsplit(where), urlsplit(target)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            raise BadAnswer(
                f"{self.conceal(where)} leads to {self.conceal(target)[:_SHOWN]}, which is not "
                "https.\nIf you trust that address, give it yourself."
            )
        same = (old.scheme, old.netloc) == (new.scheme, new.netloc)
        kept = headers if same else {k: v for k, v in headers.items() if k.lower() == "range"}
        return target, kept

    def _ask_patiently(
        self, url: str, headers: Mapping[str, str], most_bytes: int, judge: Judge | None
    ) -> _Answer:
        """An answer of success or a redirection; what fails for the moment is tried again."""
        bucket = self._find_bucket(url)
        tries = bucket.politeness.tries
        for number in range(1, tries + 1):
            bucket.take(self._stopped)
            try:
                answer = self._ask_once(url, headers, most_bytes, bucket.politeness.timeout_s)
            except ServiceDown as problem:
                if number == tries or self._stopped.is_set():
                    raise
                why, asked_s = str(problem).partition("\n")[0], None
            else:
                if judge is not None and answer.status >= 400:
                    judge(answer.status, answer.content)
                if answer.status not in _FOR_THE_MOMENT:
                    self._require_success(url, answer)
                    return answer
                asked_s = _parse_retry_after(answer.headers.get("retry-after", ""))
                why = f"{self._name(url)} answers {answer.status}"
                if number == tries or (asked_s or 0.0) > bucket.politeness.longest_wait_s:
                    raise self._give_up(url, answer, asked_s, number)
            wait_s = asked_s
            if wait_s is None:
                wait_s = min(_FIRST_WAIT_S * 2.0 ** (number - 1), _LONGEST_BACKOFF_S)
                wait_s *= 0.75 + 0.5 * random.random()  # so that many do not come back at once
            LOG.info("%s; asked again in %.1f s", self.conceal(why), wait_s)
            if asked_s is None:
                self._sleep(wait_s)
            else:
                bucket.pause(wait_s)  # for all threads that ask this host
        raise AssertionError("unreachable")

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise ServiceDown("The download was stopped.")

    def _ask_once(
        self, url: str, headers: Mapping[str, str], most_bytes: int, timeout_s: float
    ) -> _Answer:
        """One request; :class:`ServiceDown` where no whole answer came."""
        import httpx

        name, begun = self._name(url), time.monotonic()
        with self._lock:
            self.requests += 1
        try:
            with self._open_client().stream(
                "GET", url, headers=dict(headers), timeout=timeout_s, follow_redirects=False
            ) as response:
                plain = {key.lower(): value for key, value in response.headers.items()}
                if plain.get("content-encoding", "identity") not in ("identity", "gzip"):
                    raise BadAnswer(f"{name} packs its answer in a way that nobody asked for.")
                content = bytearray()
                for chunk in response.iter_bytes(1 << 16):
                    content += chunk
                    with self._lock:
                        self.bytes += len(chunk)
                    if len(content) > most_bytes:
                        raise BadAnswer(
                            f"{name} answers with more than {most_bytes:,} bytes, which is more "
                            f"than this can be.\nAsked for: {self.conceal(url)[:_SHOWN]}"
                        )
                    spent_s = time.monotonic() - begun
                    if spent_s > timeout_s and len(content) < LEAST_BYTES_PER_S * spent_s:
                        raise httpx.ReadTimeout("")
                moved = plain.get("location") if 300 <= response.status_code < 400 else None
                return _Answer(response.status_code, plain, bytes(content), moved)
        except httpx.TimeoutException as problem:
            raise ServiceDown(
                f"{name} did not answer within {timeout_s:g} s.\nTry again later: what was fetched "
                "is kept."
            ) from problem
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError) as problem:
            raise InvalidValue(
                f"{self.conceal(url)[:_SHOWN]} is no address that can be asked: "
                f"{self.conceal(problem)}."
            ) from problem
        except (httpx.HTTPError, OSError, RuntimeError) as problem:
            if self._stopped.is_set():
                raise ServiceDown("The download was stopped.") from problem
            if isinstance(problem, RuntimeError) and not isinstance(problem, httpx.HTTPError):
                raise
            reason = self.conceal(problem).rstrip(".") or type(problem).__name__
            raise ServiceDown(
                f"{name} cannot be reached: {reason}.\nCheck the address and the network, or try "
                "again later: what was fetched is kept."
            ) from problem

    def _require_success(self, url: str, answer: _Answer) -> None:
        """Raise what fits unless an answer is one of success, or a redirection."""
        if 200 <= answer.status < 300 or answer.moved is not None:
            return
        name, shown = self._name(url), self.conceal(url)[:_SHOWN]
        if answer.status in (401, 403):
            raise AccessRefused(
                f"{name} refuses access ({answer.status}): {shown}\n"
                "It may want a token, another one, or a contract; see the service's own pages."
            )
        if answer.status in (404, 410):
            raise NotOnServer(f"{name} has no {shown} ({answer.status}).\nCheck the address.")
        said = " ".join(re.sub(r"<[^>]*>", " ", answer.content[:4000].decode("utf-8", "replace"))
                        .split())[:_SHOWN]  # fmt: skip
        raise BadAnswer(
            f"{name} answers {answer.status}{f': {self.conceal(said)}' if said else ''}.\n"
            f"Asked for: {shown}"
        )

    def _give_up(
        self, url: str, answer: _Answer, asked_s: float | None, tries: int
    ) -> DownloadFailed:
        name = self._name(url)
        if answer.status in (429, 503) and (asked_s is not None or answer.status == 429):
            pause = f" and asks for a pause of {asked_s:.0f} s" if asked_s else ""
            return ServiceBusy(
                f"{name} has had enough of requests ({answer.status}){pause}.\n"
                "Run the same command again later: what was fetched is kept."
            )
        return ServiceDown(
            f"{name} answers {answer.status}, {tries} times.\n"
            "Run the same command again later: what was fetched is kept."
        )

    def _name(self, url: str) -> str:
        return self.conceal(urlsplit(url).netloc.rpartition("@")[2] or url)

    def _find_bucket(self, url: str) -> _Bucket:
        parts = urlsplit(url)
        with self._lock:
            host, port = parts.hostname or "", parts.netloc.rpartition("@")[2]
            if port not in self._buckets:
                usual = self._politeness.get("", Politeness())
                chosen = self._politeness.get(host, self._politeness.get(port, usual))
                self._buckets[port] = _Bucket(chosen)
            return self._buckets[port]

    def _open_client(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._stopped.is_set():
                raise ServiceDown("The download was stopped.")
            if self._client is None:
                for name in ("httpx", "httpcore"):  # they write whole addresses, tokens included
                    logging.getLogger(name).setLevel(logging.WARNING)
                self._client = httpx.Client(
                    headers={"User-Agent": USER_AGENT, "Accept-Encoding": "gzip"},
                    limits=httpx.Limits(max_connections=16),
                )
            return self._client


def cache_folder() -> Path:
    """Where downloads lie that several commands may use: ``CROSSVIEW_CACHE``, or the system's."""
    if given := os.environ.get(CACHE_VARIABLE, "").strip():
        return Path(given).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("crossview", appauthor=False)


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes
    moved: str | None


@dataclass
class _Bucket:
    """A token bucket: ``burst`` requests at once, then ``requests_per_s``."""

    politeness: Politeness
    _tokens: float = field(init=False)
    _at_s: float = field(default_factory=time.monotonic)
    _closed_until_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._tokens = float(self.politeness.burst)

    def take(self, stopped: threading.Event) -> None:
        """Wait for a token, and for the end of a pause that the host has asked for."""
        while wait_s := self._try():
            if stopped.wait(wait_s):
                raise ServiceDown("The download was stopped.")

    def pause(self, seconds: float) -> None:
        """Nobody asks this host for so long."""
        with self._lock:
            self._closed_until_s = max(self._closed_until_s, time.monotonic() + seconds)

    def _try(self) -> float:
        """0.0 and a token, or how long to wait before trying again."""
        with self._lock:
            now, rate = time.monotonic(), self.politeness.requests_per_s
            if now < self._closed_until_s:
                return self._closed_until_s - now
            filled = self._tokens + (now - self._at_s) * rate
            self._tokens, self._at_s = min(filled, float(self.politeness.burst)), now
            if self._tokens >= 1.0:
                self._tokens -= 1.0
                return 0.0
            return max((1.0 - self._tokens) / rate, 1e-4)


def _parse_retry_after(text: str) -> float | None:
    """Seconds that a header asks for, as a number or a date; None where it says nothing."""
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return max(0.0, moment.timestamp() - time.time())
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _build_url(url: str, params: Mapping[str, str]) -> str:
    """``url`` with ``params`` added to those that it has; InvalidValue unless it is of the web."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as problem:
        raise InvalidValue(f"{url[:_SHOWN]} is no address: {problem}.") from problem
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidValue(
            f"{url[:_SHOWN]} is no address that can be asked. Give one that begins with https://."
        )
    if not params:
        return url
    added = "&".join(f"{quote(k)}={quote(v, safe='/:,')}" for k, v in params.items())
    joined = f"{parts.query}&{added}" if parts.query else added
    return parts._replace(query=joined, fragment="").geturl()


def _list_spellings(secrets: Sequence[str]) -> list[str]:
    """Secrets as they may stand in an address, too; the longest first."""
    ways = {way for s in secrets if s for way in (s, quote(s), quote(s, safe=""), quote_plus(s))}
    return sorted(ways, key=len, reverse=True)


class _RangeFile(io.RawIOBase):
    """A file on a server: blocks that were asked for are kept, beside what tells its version."""

    def __init__(self, downloads: Downloads, url: str, into: Path) -> None:
        self._downloads, self._url, self._into = downloads, url, into
        self._at = 0
        self._lock = threading.RLock()
        self._facts = self._open()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._lock:
            start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._facts["size"]}
            self._at = max(0, start[whence] + offset)
            return self._at

    def readinto(self, buffer: Any) -> int:
        with self._lock:
            view = memoryview(buffer).cast("B")
            length: int = max(0, min(len(view), self._facts["size"] - self._at))
            first, done = self._at // BLOCK_BYTES, 0
            last = (self._at + length - 1) // BLOCK_BYTES
            if length:
                self._fetch_missing(first, last)
            while done < length:
                number, skip = divmod(self._at + done, BLOCK_BYTES)
                part = self._place(number).read_bytes()[skip : skip + length - done]
                if not part:
                    raise BadAnswer(f"{self._place(number)} is damaged. Remove {self._into}.")
                view[done : done + len(part)] = part
                done += len(part)
            self._at += length
            return length

    def _place(self, number: int) -> Path:
        return self._into / f"{number:06d}.block"

    def _fetch_missing(self, first: int, last: int) -> None:
        for start, end in _group_runs([n for n in range(first, last + 1)
                                       if not self._place(n).is_file()]):  # fmt: skip
            content = self._ask_range(start, end)
            for number in range(start, end + 1):
                at = (number - start) * BLOCK_BYTES
                atomic_write(self._place(number), content[at : at + BLOCK_BYTES])

    def _open(self) -> dict[str, Any]:
        """Size and version: as kept, else as the answer with the first block says."""
        place, shown = self._into / "facts.json", self._downloads.conceal(self._url)
        try:
            facts = json.loads(place.read_bytes())
            if facts["url"] == shown and isinstance(facts["size"], int) and facts["size"] > 0:
                return {"size": facts["size"], "version": str(facts["version"]), "url": shown}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        make_folder(self._into)
        self._facts = {"size": 0, "version": "", "url": shown}
        content = self._ask_range(0, 0)
        for old in self._into.glob("*.block"):
            old.unlink(missing_ok=True)
        atomic_write(self._place(0), content)
        atomic_write(place, json.dumps(self._facts))
        return self._facts

    def _ask_range(self, first: int, last: int) -> bytes:
        """The content of blocks, whole; the first answer says how large the file is."""
        size = self._facts["size"]
        start, end = first * BLOCK_BYTES, (last + 1) * BLOCK_BYTES
        asked = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        try:
            reply = self._downloads.read(self._url, headers=asked, most_bytes=end - start)
        except BadAnswer as problem:
            if "more than" not in str(problem):
                raise
            raise self._no_ranges() from problem
        stated = re.fullmatch(
            r"bytes (\d+)-(\d+)/(\d+)", reply.headers.get("content-range", "").strip()
        )
        if stated is None:
            raise self._no_ranges()
        begun, _, total = (int(number) for number in stated.groups())
        version = reply.headers.get("etag") or reply.headers.get("last-modified") or ""
        if size == 0:
            self._facts |= {"size": total, "version": version}
        elif (total, version) != (size, self._facts["version"]):
            raise BadAnswer(
                f"{self._downloads.conceal(self._url)[:_SHOWN]} has changed on the server since it "
                f"was begun.\nRemove {self._into}, then run the same command again."
            )
        if begun != start or len(reply.content) != min(end, total) - start:
            raise BadAnswer(f"{self._downloads.conceal(self._url)[:_SHOWN]}: not the bytes asked.")
        return reply.content

    def _no_ranges(self) -> BadAnswer:
        return BadAnswer(
            f"{self._downloads.conceal(self._url)[:_SHOWN]}: its server gives whole files only, no "
            "ranges.\nDownload the file, then give its path."
        )


def _group_runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of runs of consecutive numbers, none longer than one request may be."""
    start = previous = None
    for number in numbers:
        if start is None or previous is None:
            start = number
        elif number != previous + 1 or number - start >= _MOST_BLOCKS:
            yield start, previous
            start = number
        previous = number
    if start is not None and previous is not None:
        yield start, previous
