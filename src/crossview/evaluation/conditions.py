"""What a query shows: its field of view, what is known of its heading, and how it is damaged.

Which columns of a panorama are kept is said in ``views.crops``. The turn is drawn by the query's id
and a seed, in degrees: every model, whatever its size, sees the same part of the same panorama.

Pictures are damaged at five severities, after Hendrycks and Dietterich, "Benchmarking Neural
Network Robustness to Common Corruptions and Perturbations" (ICLR 2019); written anew, seeded, on
pictures of any size. Numbers are those of their table where it has one and pictures differ from
theirs in detail, so figures are comparable between runs of this package, not with theirs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from crossview.arrays import F32, U8
from crossview.errors import InvalidValue, UnknownName, require
from crossview.model import ModelInfo
from crossview.views import crops
from crossview.views.spec import ViewSpec

SEVERITIES = (1, 2, 3, 4, 5)


ANY_FOV_DEG = (70.0, 360.0)  # what "any" draws from, uniformly per query


def corrupt(pixels: U8, name: str, severity: int, rng: np.random.Generator) -> U8:
    """Damage a picture [h, w, 3]; the same ``rng`` state gives the same pixels."""
    require_corruption(name)
    require(severity in SEVERITIES, f"severity must be 1 to {SEVERITIES[-1]}, got {severity}.")
    damaged = _CORRUPTIONS[name](pixels.astype(np.float32) / 255.0, severity - 1, rng)
    rounded: U8 = np.rint(np.clip(damaged, 0.0, 1.0) * 255.0).astype(np.uint8)
    return rounded


def require_corruption(name: str) -> None:
    """Raise :class:`UnknownName` unless ``name`` is a corruption."""
    if name not in _CORRUPTIONS:
        raise UnknownName("corruption", name, _CORRUPTIONS)


def _add_noise(picture: F32, level: int, rng: np.random.Generator) -> F32:
    deviation = (0.08, 0.12, 0.18, 0.26, 0.38)[level]
    return picture + deviation * rng.standard_normal(picture.shape, dtype=np.float32)


def _blur_gaussian(picture: F32, level: int, rng: np.random.Generator) -> F32:
    """Gaussian; in pixels of a picture 224 high, as theirs."""
    import cv2

    sigma = (1.0, 2.0, 3.0, 4.0, 6.0)[level] * picture.shape[0] / 224.0
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), dtype=np.float32)


def _blur_motion(picture: F32, level: int, rng: np.random.Generator) -> F32:
    """Along a straight line of random direction, as of a camera that moves."""
    import cv2

    length = max(3, round((10, 15, 15, 15, 20)[level] * picture.shape[0] / 224.0)) | 1
    kernel = np.zeros((length, length), np.float32)
    middle, angle = length // 2, rng.uniform(0.0, np.pi)
    reach = middle * np.array([np.cos(angle), np.sin(angle)])
    ends = np.rint([middle - reach, middle + reach]).astype(int)
    cv2.line(kernel, tuple(map(int, ends[0])), tuple(map(int, ends[1])), (1.0,))
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()), dtype=np.float32)


def _brighten(picture: F32, level: int, rng: np.random.Generator) -> F32:
    return picture + np.float32((0.1, 0.2, 0.3, 0.4, 0.5)[level])


def _add_fog(picture: F32, level: int, rng: np.random.Generator) -> F32:
    strength = (1.5, 2.0, 2.5, 2.5, 3.0)[level]
    clouds = _draw_clouds(picture.shape[:2], (2.0, 2.0, 1.7, 1.5, 1.4)[level], rng)
    highest = picture.max()
    foggy = picture + np.float32(strength) * clouds[..., None]
    return np.asarray(foggy * highest / (highest + strength), dtype=np.float32)


def _add_snow(picture: F32, level: int, rng: np.random.Generator) -> F32:
    """A whitened scene behind streaks that fall aslant."""
    import cv2

    amount = (0.02, 0.04, 0.06, 0.09, 0.13)[level]
    white = (0.2, 0.3, 0.35, 0.4, 0.5)[level]
    flakes = (rng.random(picture.shape[:2]) < amount).astype(np.float32)
    length = max(3, round((4 + 2 * level) * picture.shape[0] / 224.0))
    streak = np.eye(length, dtype=np.float32)
    falling = np.clip(cv2.filter2D(flakes, -1, streak), 0.0, 1.0)[..., None]
    grey = picture.mean(axis=2, keepdims=True) * 1.5 + 0.5
    pale = (1.0 - white) * picture + white * np.maximum(picture, grey)
    return np.asarray(np.maximum(pale, 0.9 * falling), dtype=np.float32)


def _compress_jpeg(picture: F32, level: int, rng: np.random.Generator) -> F32:
    import simplejpeg

    pixels = np.rint(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)
    quality = (25, 18, 15, 10, 7)[level]
    small = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality)
    return np.asarray(simplejpeg.decode_jpeg(small), dtype=np.float32) / np.float32(255.0)


def _draw_clouds(shape: tuple[int, int], decay: float, rng: np.random.Generator) -> F32:
    """[h, w] in [0, 1]: noise of doubled grain at every step, each ``decay`` times as strong."""
    import cv2

    height, width = shape
    total = np.zeros(shape, np.float32)
    grain, weight = 2, 1.0
    while grain <= 2 * max(shape):
        small = rng.random((max(2, height // grain + 1), max(2, width // grain + 1)), np.float32)
        total += weight * cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        grain, weight = 2 * grain, weight * decay
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / max(high - low, 1e-6), dtype=np.float32)


_CORRUPTIONS: dict[str, Callable[[F32, int, np.random.Generator], F32]] = {
    "noise": _add_noise,
    "blur": _blur_gaussian,
    "motion-blur": _blur_motion,
    "brightness": _brighten,
    "fog": _add_fog,
    "snow": _add_snow,
    "jpeg": _compress_jpeg,
}
CORRUPTIONS = tuple(_CORRUPTIONS)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One cell of a robustness grid."""

    fov_deg: float | None = 360.0  # None: drawn per query from ANY_FOV_DEG
    within_deg: float = 180.0  # the heading is known to +- this: 0 aligned, 180 unknown
    seed: int = 0
    corruption: str = ""  # "" or a name of evaluation.conditions
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


class DrawnQuery(NamedTuple):
    """A query as the network sees it.

    ``turned_deg``: azimuth of the middle of what is shown, clockwise from the middle of the canvas
    that it was cut from. It means nothing of a mirrored picture.
    """

    pixels: U8  # [h, w', 3]
    fov_deg: float  # that it shows
    turned_deg: float


def draw_query(asked: QueryCanvas, spec: ViewSpec, condition: Condition) -> DrawnQuery:
    """The picture of a query under a condition.

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
    return DrawnQuery(np.ascontiguousarray(canvas), seen.fov_deg, seen.heading_deg)


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
