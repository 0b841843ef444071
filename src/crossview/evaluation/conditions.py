"""What a query shows: its field of view, what is known of its heading, and what weather it has.

Which columns of a panorama are kept is said in ``views.crops``. The turn is drawn by the query's id
and a seed, in degrees: every model, whatever its size, sees the same part of the same panorama.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from crossview.arrays import U8
from crossview.errors import InvalidValue, require
from crossview.model import ModelInfo
from crossview.views import crops
from crossview.views.corruption import corrupt
from crossview.views.spec import ViewSpec

ANY_FOV_DEG = (70.0, 360.0)  # what "any" draws from, uniformly per query


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One cell of a robustness grid."""

    fov_deg: float | None = 360.0  # None: drawn per query from ANY_FOV_DEG
    within_deg: float = 180.0  # the heading is known to +- this: 0 aligned, 180 unknown
    seed: int = 0
    corruption: str = ""  # "" or a name of views.corruption
    severity: int = 0  # 1 to 5
    change: str = ""  # "mirrored" or "turned": a hard sample, which shows another layout

    @property
    def headings(self) -> str:
        """In words."""
        if self.within_deg in (0.0, 180.0):
            return "unknown" if self.within_deg else "aligned"
        return f"within {self.within_deg:g} degrees"

    @property
    def weather(self) -> str:
        """Corruption and severity, or nothing."""
        return f"{self.corruption} {self.severity}" if self.corruption else ""

    @property
    def folder(self) -> str:
        """A name for the record among others."""
        fov = "any" if self.fov_deg is None else f"{self.fov_deg:g}"
        headings = self.headings.replace(" ", "-")
        weather = f"-{self.weather.replace(' ', '-')}" if self.corruption else ""
        return f"fov-{fov}-{headings}{weather}-seed-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class QueryCanvas:
    """One query's canvas: what the network would see of all of it."""

    name: str  # id: decides what is drawn
    canvas: U8  # [h, w, 3] of the ground view
    fov_deg: float  # that the canvas shows
    ahead_deg: float  # azimuth of its middle from the reference's up; NaN unknown


def draw_query(asked: QueryCanvas, spec: ViewSpec, condition: Condition) -> tuple[U8, float]:
    """The picture [h, w', 3] of a query under a condition, and the field of view that it shows.

    Photos are never turned. Where the heading of a panorama is unknown, its file counts as aligned.
    """
    turn, wanted = _draw_turn(asked.name, condition)
    turn += 90.0 if condition.change == "turned" else 0.0
    ahead = asked.ahead_deg if np.isfinite(asked.ahead_deg) else 0.0
    seen = crops.crop_view(asked.canvas, spec, wanted, turn - ahead, has_deg=asked.fov_deg)
    canvas, mask = seen.pixels, seen.mask
    if condition.change == "mirrored":
        canvas, mask = canvas[:, ::-1], mask[:, ::-1]
    if condition.corruption:
        key = zlib.crc32(f"{asked.name}/{condition.weather}".encode())
        rng = np.random.default_rng((condition.seed, key))
        canvas = corrupt(canvas, condition.corruption, condition.severity, rng)
        canvas = np.where(mask[..., None], canvas, np.array(spec.mean_colour, np.uint8))
    return np.ascontiguousarray(canvas), seen.fov_deg


def _draw_turn(name: str, condition: Condition) -> tuple[float, float]:
    """Turn and field of view in degrees."""
    rng = np.random.default_rng((condition.seed, zlib.crc32(name.encode())))
    turn, share = rng.uniform(-1.0, 1.0), rng.random()
    low, high = ANY_FOV_DEG
    fov = low + share * (high - low) if condition.fov_deg is None else condition.fov_deg
    return turn * condition.within_deg, fov


def list_untrained(info: ModelInfo, condition: Condition) -> tuple[str, ...]:
    """Sentences about what a model did not see in training; empty: it was trained for this."""
    sentences = []
    wanted = (condition.fov_deg,) if condition.fov_deg is not None else ANY_FOV_DEG
    if not all(info.covers(fov) for fov in wanted):
        low, high = info.fov_seen_deg
        seen = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        width = "any" if condition.fov_deg is None else f"{condition.fov_deg:g}"
        sentences.append(f"not trained for a field of view of {width} degrees (seen: {seen})")
    if info.headings_seen == "aligned" and condition.within_deg > 0.0:
        sentences.append("trained on aligned panoramas only")
    return tuple(sentences)


def parse_conditions(
    fovs: str, headings: str, seeds: int, corruptions: list[str]
) -> list[Condition]:
    """All cells of a grid from what was typed.

    ``fovs``: "360,180,90" or "any" among them; ``headings``: "aligned", "unknown" or degrees;
    ``corruptions``: "fog:3" or "fog" for all five severities; clean pictures always come first.
    """
    from crossview.views.corruption import SEVERITIES, require_corruption

    require(seeds >= 1, f"seeds must be at least 1, got {seeds}.")
    cells: list[tuple[str, int]] = [("", 0)]
    for text in corruptions:
        name, _, severity = text.partition(":")
        require_corruption(name)
        if severity and severity not in {str(s) for s in SEVERITIES}:
            raise InvalidValue(f"severity {severity!r} of {name}; allowed: 1 to {SEVERITIES[-1]}.")
        cells += [(name, s) for s in ([int(severity)] if severity else SEVERITIES)]
    within = _parse_within(headings)
    seeded = range(seeds if within or "any" in fovs or corruptions else 1)
    return [
        Condition(fov_deg=fov, within_deg=within, seed=seed, corruption=name, severity=severity)
        for fov in _parse_fovs(fovs)
        for name, severity in cells
        for seed in seeded
    ]


def _parse_fovs(text: str) -> list[float | None]:
    fovs: list[float | None] = []
    for part in text.split(","):
        if part.strip() == "any":
            fovs.append(None)
            continue
        try:
            fov = float(part)
        except ValueError:
            fov = 0.0
        require(0.0 < fov <= 360.0, f"--fov takes degrees in (0, 360] or any, got {part!r}.")
        fovs.append(fov)
    return list(dict.fromkeys(fovs))


def _parse_within(text: str) -> float:
    if text in ("aligned", "unknown"):
        return 0.0 if text == "aligned" else 180.0
    try:
        degrees = float(text)
    except ValueError:
        degrees = -1.0
    require(
        0.0 < degrees <= 180.0,
        f"--headings takes aligned, unknown or degrees in (0, 180], got {text!r}.",
    )
    return degrees
