"""Damaged photos at five severities: noise, blur, brightness, fog, snow, JPEG.

After Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019); written anew, seeded, on pictures of any size. Numbers are those of
their table where it has one and pictures differ from theirs in detail, so figures are comparable
between runs of this package, not with theirs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from crossview.arrays import F32, U8
from crossview.errors import UnknownName, require

SEVERITIES = (1, 2, 3, 4, 5)


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
NAMES = tuple(_CORRUPTIONS)
