"""API keys: stored as hashes, compared in constant time, each with its own rate limit.

The rate limit is a token bucket of 25 lines, less than a dependency would cost.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from crossview.errors import BadData, require
from crossview.files import atomic_write
from crossview.locks import lock
from crossview.schema import read_object
from crossview.service.problems import Refusal

_MAX_NAME = 64


def hash_key(key: str) -> str:
    """sha256 as 64 hex digits. Keys hold 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def create_key(path: Path, name: str) -> str:
    """Make a key, write only its hash to the file, and return it: it is shown this once."""
    require(
        0 < len(name) <= _MAX_NAME and name.isprintable(),
        f"a key's name has 1 to {_MAX_NAME} printable characters, got {name!r}.",
    )
    key = secrets.token_urlsafe(32)
    with lock(path, "crossview serve --new-key", wait=True):
        hashes = dict(read_keys(path)) if path.exists() else {}
        require(
            name not in hashes,
            f"{path} already has a key called {name!r}; choose another name.",
        )
        atomic_write(path, json.dumps({**hashes, name: hash_key(key)}, indent=1) + "\n")
    return key


def read_keys(path: Path) -> Mapping[str, str]:
    """Hashes by name; raises :class:`BadData` for anything else."""
    try:
        values = read_object(path)
    except (OSError, ValueError) as problem:
        raise BadData(f"{path} cannot be read as keys: {problem}") from problem
    valid = all(
        isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")
        for text in values.values()
    )
    if not valid:
        raise BadData(
            f"{path} is not a file of keys: expected names with sha256 hashes.\n"
            "Make it with: crossview serve --keys FILE --new-key NAME"
        )
    return dict(values)


def find_owner(keys: Mapping[str, str], key: str) -> str | None:
    """The name of a key, None if there is none. Every hash is compared, so time tells nothing."""
    presented = hash_key(key)
    owner = None
    for name, stored in keys.items():
        if hmac.compare_digest(presented, stored):
            owner = name
    return owner


class RateLimit:
    """Photos per minute and key: a token bucket that holds one minute's photos."""

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
