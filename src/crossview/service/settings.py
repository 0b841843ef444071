"""Settings: a server's limits, names and allowed sites."""

from __future__ import annotations

import math
from dataclasses import dataclass
from urllib.parse import urlsplit

from crossview.errors import require
from crossview.views.decoders import DEADLINE_S

MEGABYTE = 1_000_000
MEGAPIXEL = 1_000_000


@dataclass(frozen=True, kw_only=True)
class OnlineMap:
    """A base map of another server, drawn below the region's own imagery. Off by default."""

    url: str  # a template with {z}, {x} and {y}
    attribution: str

    def __post_init__(self) -> None:
        require(
            self.origin.startswith(("https://", "http://"))
            and not self.origin.endswith("/")
            and all(place in self.url for place in ("{z}", "{x}", "{y}")),
            f"--base-map {self.url}: give a template such as https://HOST/{{z}}/{{x}}/{{y}}.png",
        )
        require(bool(self.attribution), "--base-map needs --base-map-attribution: its maker.")

    @property
    def origin(self) -> str:
        """The server that the page's policy must allow besides this one."""
        try:
            parts = urlsplit(self.url)
        except ValueError:  # such as brackets around what is not an IPv6 address
            return ""
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits, all checked before any picture is decoded, and their defaults.

    The options of ``crossview serve`` take their defaults from here.
    """

    max_file_bytes: int = 100 * MEGABYTE
    max_request_bytes: int = 500 * MEGABYTE
    max_held_bytes: int = 1000 * MEGABYTE  # uploads of all requests that wait for answers
    max_files: int = 200  # of one request
    max_pixels: int = 200 * MEGAPIXEL  # of one picture
    max_memory_bytes: int = 800 * MEGABYTE  # of one while it is decoded; three are at a time
    decode_s: float = DEADLINE_S  # of one photo
    max_places: int = 100
    max_jobs: int = 64  # that run, or are done and not yet forgotten
    queue_photos: int = 512  # that may wait; more get a 429
    batch: int = 16  # photos that go through the network together
    batch_s: float = 0.25  # time of a batch, which a small request waits for
    wait_s: float = 0.004  # that an idle server waits for more photos
    timeout_s: float = 60.0  # of a request from its last byte to its answer
    stuck_s: float = 20.0  # photos wait and none moves: not ready
    finish_s: float = 60.0  # for requests and batches that have begun when the server is to end
    upload_timeout_s: float = 600.0  # of a request's body in all
    upload_idle_s: float = 30.0  # without a byte of it
    keep_job_s: float = 600.0  # a finished job's answers
    photos_per_minute: float | None = None  # of one key, or of all without keys
    hosts: tuple[str, ...] | None = None  # names of the server; None: any
    origins: tuple[str, ...] = ()  # other sites whose scripts may send photos
    online_map: OnlineMap | None = None

    def __post_init__(self) -> None:
        require(
            1 <= self.max_files <= self.queue_photos,
            f"a request of {self.max_files} files cannot fit a queue of {self.queue_photos}.",
        )
        require(self.batch >= 1, f"a batch holds at least one photo, got {self.batch}.")
        require(
            0 < self.max_file_bytes <= self.max_request_bytes <= self.max_held_bytes,
            "limits in bytes must grow from a file to a request to all requests.",
        )
        require(
            self.max_pixels > 0 and self.max_memory_bytes > 0,
            "--max-megapixels and --max-memory-mb must be above 0.",
        )
        for name, seconds in (
            ("a timeout", self.timeout_s), ("the time to decode a photo", self.decode_s),
            ("the time after which a queue is stuck", self.stuck_s),
            ("the time to finish", self.finish_s),
        ):  # fmt: skip
            require(0 < seconds < math.inf, f"{name} is longer than 0 s, got {seconds}.")
        require(
            self.photos_per_minute is None or self.photos_per_minute > 0,
            f"--rate {self.photos_per_minute}: give photos per minute, more than 0.",
        )
