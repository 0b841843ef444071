"""Counters: what a server tells Prometheus. No label holds what a client may choose freely."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from crossview._version import __version__

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Counters:
    """The numbers of one application, apart from those of others in the same process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        Info("crossview", "The version.", registry=self._registry).info({"version": __version__})
        self._requests = Counter(
            "crossview_requests_total", "Requests by route and status.",
            ["route", "method", "status"], registry=self._registry,
        )  # fmt: skip
        self._photos = Counter(
            "crossview_photos_total", "Photos by region and outcome.",
            ["region", "outcome"], registry=self._registry,
        )  # fmt: skip
        self._request_s = Histogram(
            "crossview_request_seconds", "From request to answer.",
            ["route"], buckets=_BUCKETS_S, registry=self._registry,
        )  # fmt: skip
        self._batch_s = Histogram(
            "crossview_batch_seconds", "Network and search.",
            buckets=_BUCKETS_S, registry=self._registry,
        )  # fmt: skip
        self._batch_photos = Counter(
            "crossview_batch_photos_total", "Photos that went through the network.",
            registry=self._registry,
        )  # fmt: skip
        ProcessCollector(registry=self._registry)  # memory, processor time, open files (Linux)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request and how long its answer took."""
        self._requests.labels(route, method, str(status)).inc()
        self._request_s.labels(route).observe(seconds)

    def count_photo(self, region: str, outcome: str) -> None:
        """Count one photo: located, refused or cancelled."""
        self._photos.labels(region, outcome).inc()

    def count_batch(self, photos: int, seconds: float) -> None:
        """Count one batch of photos through network and search."""
        self._batch_s.observe(seconds)
        self._batch_photos.inc(photos)

    def add_gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a number that goes up and down; ``read`` gives it when the counters are fetched."""
        Gauge(name, help_text, registry=self._registry).set_function(read)

    def to_text(self) -> bytes:
        """All counters in the text format 0.0.4 of Prometheus."""
        return generate_latest(self._registry)
