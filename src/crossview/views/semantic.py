"""GeoDTR's semantic augmentation: other colours and some blur, seeded, on uint8 pictures.

Numbers are those of the released code of GeoDTR and GeoDTR+ (arXiv 2212.04074, 2308.09624), which
uses torchvision; written anew on OpenCV. Each view, and each copy, draws its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from crossview.arrays import F64, U8
from crossview.errors import UnknownName

Strength = Literal["strong", "weak", "none"]
_LEVELS = np.arange(256, dtype=np.float64)
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How far one strength goes."""

    jitter: float = 0.0  # brightness, contrast, saturation times 1 +- this, in random order
    grey: float = 0.0  # probability
    posterise: float = 0.0  # probability of keeping 4 bits
    blur: bool = False  # always, 5 rows high and 1 column wide, sigma 0.1 to 5


RECIPES: dict[str, Recipe] = {
    "strong": Recipe(jitter=0.3, grey=0.2, posterise=0.2, blur=True),
    "weak": Recipe(jitter=0.1, grey=0.1),
    "none": Recipe(),
}


def recipe(strength: str) -> Recipe:
    """What "strong", "weak" or "none" means; another word is refused."""
    if strength not in RECIPES:
        raise UnknownName("semantic augmentation", strength, RECIPES)
    return RECIPES[strength]


def semantic(image: U8, rng: np.random.Generator, strength: Strength) -> U8:
    """One draw on [H, W, 3]; a new array."""
    import cv2

    how = recipe(strength)
    out = _jittered(image, rng, how.jitter) if how.jitter else image.copy()
    if rng.random() < how.grey:
        out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < how.posterise:
        out = out & np.uint8(0xF0)
    if how.blur:
        sigma = float(rng.uniform(0.1, 5.0))
        out = cv2.GaussianBlur(out, (1, 5), sigma, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(out, dtype=np.uint8)


def _jittered(image: U8, rng: np.random.Generator, amount: float) -> U8:
    changes = (_brighter, _contrasted, _saturated)
    factors = rng.uniform(1.0 - amount, 1.0 + amount, 3)
    for n in rng.permutation(3):
        image = changes[n](image, float(factors[n]))
    return image


def _brighter(image: U8, factor: float) -> U8:
    return _by_table(image, _LEVELS * factor)


def _contrasted(image: U8, factor: float) -> U8:
    import cv2

    grey = float(np.dot(_LUMA, cv2.mean(image)[:3]))
    return _by_table(image, _LEVELS * factor + (1.0 - factor) * grey)


def _saturated(image: U8, factor: float) -> U8:
    import cv2

    mix = factor * np.eye(3) + (1.0 - factor) * np.array([_LUMA] * 3)
    changed: Any = cv2.transform(image, mix)
    return np.asarray(changed, dtype=np.uint8)


def _by_table(image: U8, levels: F64) -> U8:
    import cv2

    table = np.clip(np.round(levels), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), dtype=np.uint8)
