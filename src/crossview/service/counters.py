"""Metrics in the text form that Prometheus reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from crossview import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
Labels = tuple[tuple[str, str], ...]


@dataclass
class Counter:
    """How often something happened, by labels."""

    name: str
    help: str
    values: dict[Labels, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, count: float = 1.0, **labels: str) -> None:
        """It happened ``count`` more times."""
        key = tuple(labels.items())
        with self.lock:
            self.values[key] = self.values.get(key, 0.0) + count

    def lines(self) -> Iterator[str]:
        """The counter as text."""
        yield from _head(self.name, self.help, "counter")
        for labels, value in list(self.values.items()):
            yield f"{self.name}{_braces(labels)} {value:g}"


@dataclass
class Durations:
    """A histogram of seconds, and how many photos they were about."""

    name: str
    help: str
    counts: dict[Labels, list[float]] = field(default_factory=dict)  # buckets, sum, count, photos
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def observe(self, seconds: float, *, photos: int = 0, **labels: str) -> None:
        """Something took so long."""
        key = tuple(labels.items())
        with self.lock:
            row = self.counts.setdefault(key, [0.0] * (len(_SECONDS) + 3))
            for n, most in enumerate(_SECONDS):
                row[n] += seconds <= most
            row[-3] += seconds
            row[-2] += 1
            row[-1] += photos

    def lines(self) -> Iterator[str]:
        """The histogram as text."""
        yield from _head(self.name, self.help, "histogram")
        for labels, row in list(self.counts.items()):
            for most, count in zip(_SECONDS, row, strict=False):
                yield f"{self.name}_bucket{_braces((*labels, ('le', f'{most:g}')))} {count:g}"
            yield f"{self.name}_bucket{_braces((*labels, ('le', '+Inf')))} {row[-2]:g}"
            yield f"{self.name}_sum{_braces(labels)} {row[-3]:g}"
            yield f"{self.name}_count{_braces(labels)} {row[-2]:g}"


@dataclass(frozen=True)
class Metrics:
    """Everything that is counted. Labels never hold what a client may choose freely."""

    requests: Counter = field(
        default_factory=lambda: Counter("crossview_requests_total", "Requests by route and status.")
    )
    photos: Counter = field(
        default_factory=lambda: Counter("crossview_photos_total", "Photos by region and outcome.")
    )
    answers: Durations = field(
        default_factory=lambda: Durations("crossview_request_seconds", "From request to answer.")
    )
    batches: Durations = field(
        default_factory=lambda: Durations("crossview_batch_seconds", "Network and search.")
    )
    gauges: dict[str, tuple[str, Callable[[], float]]] = field(default_factory=dict)

    def gauge(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """Tell a number that goes up and down, asked for when the metrics are read."""
        self.gauges[name] = (help_text, value)

    def text(self) -> str:
        """All of it, one sample per line."""
        lines = [*_head("crossview_info", "The version.", "gauge")]
        lines.append(f'crossview_info{{version="{__version__}"}} 1')
        for part in (self.requests, self.photos, self.answers, self.batches):
            lines += part.lines()
        batched = sum(row[-1] for row in self.batches.counts.values())
        lines += _head("crossview_batch_photos_total", "Photos that went through.", "counter")
        lines.append(f"crossview_batch_photos_total {batched:g}")
        for name, (help_text, value) in self.gauges.items():
            lines += [*_head(name, help_text, "gauge"), f"{name} {value():g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, help_text: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} {kind}"


def _braces(labels: Labels) -> str:
    if not labels:
        return ""
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{inside}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
