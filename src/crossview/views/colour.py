"""Colour augmentation of uint8 RGB pictures, seeded and fast, as two groups of authors do it.

:func:`augment_photometric`: numbers of SinGeo's and Sample4Geo's training scripts (which use
albumentations 1.3.1), written anew on OpenCV. Deviation: hue turns about the grey axis, so that all
four colour changes are one linear map; their order is fixed.

:func:`augment_semantic`: numbers of the released code of GeoDTR and GeoDTR+ (arXiv 2212.04074,
2308.09624), which uses torchvision; written on OpenCV. Each view, and each copy, draws its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from crossview.arrays import F32, F64, U8, Bool
from crossview.errors import UnknownName, require

_LUMA = np.array([0.299, 0.587, 0.114])
# Rows: brightness and two colour differences (YIQ); hue turns the latter two.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_YIQ_INVERSE = np.linalg.inv(_YIQ)
Strength = Literal["strong", "weak", "none"]
_LEVELS = np.arange(256, dtype=np.float64)


def augment_photometric(
    image: U8, rng: np.random.Generator, strength: float = 1.0, *, grid_ratio: float = 0.5
) -> U8:
    """Apply one random draw of all changes to [H, W, 3]; a new array.

    JPEG artefacts (p 0.5), colour (p 0.5), blur or sharpening (p 0.3), holes in a grid or anywhere
    (p 0.3). ``strength`` scales colours and JPEG quality: 1 as the authors do, 0 changes nothing.
    ``grid_ratio``: the authors use 0.5 for ground and 0.4 for aerial pictures.
    """
    require(strength >= 0.0, f"strength must be >= 0, got {strength}.")
    if strength == 0.0:
        return image.copy()
    out = image
    if rng.random() < 0.5:
        out = compress_jpeg(out, int(rng.integers(max(20, round(100 - 10 * strength)), 101)))
    if rng.random() < 0.5:
        out = jitter_colour(out, rng, 0.15 * strength)
    if rng.random() < 0.3:
        out = blur(out, rng) if rng.random() < 0.5 else sharpen(out, rng)
    if rng.random() < 0.3:
        out = drop_grid(out, grid_ratio) if rng.random() < 0.5 else drop_boxes(out, rng)
    return out.copy() if out is image else out


def compress_jpeg(image: U8, quality: int) -> U8:
    """Save the image as JPEG of ``quality`` 1..100 and read it again."""
    import cv2

    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


def jitter_colour(image: U8, rng: np.random.Generator, amount: float) -> U8:
    """Change brightness, contrast and saturation by +- amount, hue by +- amount of the circle."""
    import cv2

    low = max(0.0, 1.0 - amount)
    brightness, contrast, saturation = rng.uniform(low, 1.0 + amount, 3)
    angle = 2.0 * math.pi * rng.uniform(-min(amount, 0.5), min(amount, 0.5))
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.diag([1.0, saturation, saturation]) @ [[1, 0, 0], [0, cos, -sin], [0, sin, cos]]
    matrix = brightness * contrast * (_YIQ_INVERSE @ turn @ _YIQ)
    grey = brightness * float(_LUMA @ np.array(cv2.mean(image)[:3]))
    offset = np.full((3, 1), (1.0 - contrast) * grey)
    return _pixels(cv2.transform(image, np.hstack([matrix, offset])))


def blur(image: U8, rng: np.random.Generator) -> U8:
    """Blur with a turned, stretched, slightly noisy Gaussian of 3 to 7 pixels."""
    return _filter(image, draw_blur_kernel(rng))


def draw_blur_kernel(rng: np.random.Generator) -> F32:
    """A generalised Gaussian [k, k] of sum 1: k odd in 3..7, sigmas 0.2..1, exponent 0.5..8."""
    size = int(rng.choice((3, 5, 7)))
    sigma_x, sigma_y = rng.uniform(0.2, 1.0, 2)
    angle = math.radians(rng.uniform(-90.0, 90.0))
    beta = rng.uniform(0.5, 1.0) if rng.random() < 0.5 else rng.uniform(1.0, 8.0)
    y, x = np.mgrid[:size, :size] - size // 2
    along = (x * math.cos(angle) + y * math.sin(angle)) / sigma_x
    across = (y * math.cos(angle) - x * math.sin(angle)) / sigma_y
    kernel = np.exp(-0.5 * (along**2 + across**2) ** beta) * rng.uniform(0.9, 1.1, (size, size))
    normal: F32 = (kernel / kernel.sum()).astype(np.float32)
    return normal


def sharpen(image: U8, rng: np.random.Generator) -> U8:
    """Mix with a 3 x 3 sharpened copy: alpha 0.2..0.5, lightness 0.5..1."""
    alpha, lightness = rng.uniform(0.2, 0.5), rng.uniform(0.5, 1.0)
    kernel = np.full((3, 3), -alpha, np.float32)
    kernel[1, 1] = (1.0 - alpha) + alpha * (8.0 + lightness)
    return _filter(image, kernel)


def drop_grid(image: U8, ratio: float) -> U8:
    """Blacken squares on a grid of a tenth of the width, each ``ratio`` of its cell wide."""
    height, width = image.shape[:2]
    unit = max(2, width // 10)
    unit_down = max(1, min(unit, height))
    rows = np.arange(height) % unit_down < int(unit_down * ratio)
    columns = np.arange(width) % unit < int(unit * ratio)
    out = image.copy()
    out[rows[:, None] & columns] = 0
    return out


def drop_boxes(image: U8, rng: np.random.Generator) -> U8:
    """Blacken 10 to 25 rectangles whose sides are a tenth to a fifth of the height."""
    height, width = image.shape[:2]
    low = max(1, height // 10)
    out = image.copy()
    for _ in range(int(rng.integers(10, 26))):
        tall, wide = np.minimum(rng.integers(low, 2 * low + 1, 2), (height, width))
        top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
        out[top : top + tall, left : left + wide] = 0
    return out


def _filter(image: U8, kernel: F32) -> U8:
    import cv2

    return _pixels(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101))


def _pixels(image: Any) -> U8:
    return np.asarray(image, dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class SemanticStrength:
    """How far one strength goes."""

    jitter: float = 0.0  # brightness, contrast, saturation times 1 +- this, in random order
    grey: float = 0.0  # probability
    posterise: float = 0.0  # probability of keeping 4 bits
    blur: bool = False  # always, 5 rows high and 1 column wide, sigma 0.1 to 5


SEMANTIC_STRENGTHS: dict[str, SemanticStrength] = {
    "strong": SemanticStrength(jitter=0.3, grey=0.2, posterise=0.2, blur=True),
    "weak": SemanticStrength(jitter=0.1, grey=0.1),
    "none": SemanticStrength(),
}


def find_semantic_strength(strength: str) -> SemanticStrength:
    """The meaning of "strong", "weak" or "none"; UnknownName for other words."""
    if strength not in SEMANTIC_STRENGTHS:
        raise UnknownName("semantic augmentation", strength, SEMANTIC_STRENGTHS)
    return SEMANTIC_STRENGTHS[strength]


def augment_semantic(image: U8, rng: np.random.Generator, strength: Strength) -> U8:
    """Apply one random draw to [H, W, 3]; a new array."""
    import cv2

    limits = find_semantic_strength(strength)
    out = _jitter(image, rng, limits.jitter) if limits.jitter else image.copy()
    if rng.random() < limits.grey:
        out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < limits.posterise:
        out = out & np.uint8(0xF0)
    if limits.blur:
        sigma = float(rng.uniform(0.1, 5.0))
        out = cv2.GaussianBlur(out, (1, 5), sigma, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(out, dtype=np.uint8)


def _jitter(image: U8, rng: np.random.Generator, amount: float) -> U8:
    changes = (_change_brightness, _change_contrast, _change_saturation)
    factors = rng.uniform(1.0 - amount, 1.0 + amount, 3)
    for n in rng.permutation(3):
        image = changes[n](image, float(factors[n]))
    return image


def _change_brightness(image: U8, factor: float) -> U8:
    return _apply_table(image, _LEVELS * factor)


def _change_contrast(image: U8, factor: float) -> U8:
    import cv2

    grey = float(np.dot(_LUMA, cv2.mean(image)[:3]))
    return _apply_table(image, _LEVELS * factor + (1.0 - factor) * grey)


def _change_saturation(image: U8, factor: float) -> U8:
    import cv2

    mix = factor * np.eye(3) + (1.0 - factor) * np.array([_LUMA] * 3)
    changed: Any = cv2.transform(image, mix)
    return np.asarray(changed, dtype=np.uint8)


def _apply_table(image: U8, levels: F64) -> U8:
    import cv2

    table = np.clip(np.round(levels), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), dtype=np.uint8)


def measure_ground_light(strip: U8, unseen: Sequence[int]) -> float:
    """How bright the lower half of a strip [h, w, 3] is against its upper half: a ratio of lumas.

    Whatever the exposure: about 0.75 by day, when the sky lights all, more where snow lies on the
    ground, and more than 1 by night, when lamps do. Of a strip and not of its photo, because feet
    and the sky overhead tell less. ``unseen``: the colour of pixels that show nothing; 1 without
    any others in either half.
    """
    seen = (strip != np.asarray(unseen, np.uint8)).any(axis=2)
    luma = strip @ _LUMA
    upper, lower = (luma[half][seen[half]] for half in np.array_split(np.arange(len(strip)), 2))
    if not len(upper) or not len(lower):
        return 1.0
    return float((lower.mean() + 1.0) / (upper.mean() + 1.0))  # of a black one 1


def look_like_sky(rgb: U8) -> Bool:
    """Which pixels [h, w] of [h, w, 3] are blue or bright without being green or brown."""
    r, g, b = (rgb[..., i].astype(np.int64) for i in range(3))
    sky: Bool = (b >= r - 12) & (b >= g - 14) & (b > 90)
    return sky
