"""What lies on the ground, read from an orthophoto's colours alone.

The rules know three bands and nothing of heights: green is alive, blue and dark without texture is
water, compact and even is a roof. ``benchmarks/land_cover.py`` says how often they are right.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np

from crossview.arrays import F32, U8, Bool
from crossview.errors import BadImagery, TooCoarse, require
from crossview.worlds.raster import CELL_M

COARSEST_M = 0.9  # metres per pixel: beyond it a house is a few pixels and a car is none
_GREY_CHROMA = 2.0  # mean difference between channels, of 255
_STEP = 2  # cells per pixel of the estimate, along each side


class LandCover(IntEnum):
    """What an orthophoto shows at a cell."""

    PAVED = 0
    BARE = 1
    GRASS = 2
    TREE = 3
    WATER = 4
    ROOF = 5


@dataclass(frozen=True)
class Land:
    """What a picture says of its ground, over the cells [n, n].

    ``cover``: of :class:`LandCover`; ``shadow``: where the picture was taken in the dark of
    something; ``roof_score``: how much a cell looks like a roof, 0..1, to be cut anywhere.
    """

    cover: U8
    shadow: Bool
    roof_score: F32


def check_picture(rgb: U8, metres_per_px: float) -> tuple[str, ...]:
    """Notes on what a picture [h, w, 3] cannot say. Raises :class:`BadImagery` for unusable ones.

    Imagery coarser than ``COARSEST_M`` shows no houses. Grey imagery is used, with a note.
    Infrared shown as red (vegetation would be taken for tiles) is refused.
    """
    if metres_per_px > COARSEST_M:
        raise TooCoarse(
            f"The imagery has {metres_per_px:.2f} m per pixel; worlds need at most "
            f"{COARSEST_M} m, so that houses and trees can be told apart.\n"
            "Take finer imagery: most countries' orthophotos have 0.1 to 0.6 m."
        )
    require(rgb.ndim == 3 and rgb.shape[2] == 3, f"a picture [h, w, 3] is needed, got {rgb.shape}.")
    colour = rgb[::4, ::4].astype(np.float32)
    red, green, blue = (colour[..., i] for i in range(3))
    if float(np.abs(red - green).mean() + np.abs(green - blue).mean()) < 2 * _GREY_CHROMA:
        return (
            "the imagery is grey: grass, trees and water are told from its texture and brightness "
            "only, and its worlds are grey",
        )
    infrared = (red > 1.25 * green) & (blue >= 0.97 * green) & (red > 60.0)
    if float(infrared.mean()) > 0.15:
        raise BadImagery(
            f"{infrared.mean():.0%} of the imagery is pink or red as vegetation is in "
            "colour-infrared pictures.\nGive the bands of red, green and blue, for example "
            "--bands 2,3,4 if infrared comes first; infrared alone makes no worlds."
        )
    return ()


def estimate_land_cover(rgb: U8) -> Land:
    """Estimate what a picture [n, n, 3] at ``CELL_M`` metres per pixel shows."""
    require(rgb.ndim == 3 and rgb.shape[2] == 3, f"a picture [n, n, 3] is needed, got {rgb.shape}.")
    rows, columns = rgb.shape[:2]
    small = cv2.resize(
        rgb, (max(columns // _STEP, 1), max(rows // _STEP, 1)), interpolation=cv2.INTER_AREA
    )
    cover, shadow, score = _judge(small)
    size = (columns, rows)
    return Land(
        cv2.resize(cover, size, interpolation=cv2.INTER_NEAREST),
        cv2.resize(shadow.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0,
        cv2.resize(score, size, interpolation=cv2.INTER_LINEAR),
    )


def _judge(small: U8) -> tuple[U8, Bool, F32]:
    cell_m = CELL_M * _STEP
    smooth = cv2.bilateralFilter(small, 5, 30.0, 3.0).astype(np.float32)
    red, green, blue = (smooth[..., i] for i in range(3))
    value = smooth.max(axis=2)
    grey = smooth.mean(axis=2)
    greenness = (2.0 * green - red - blue) / (red + green + blue + 1.0)
    spread = _measure_spread(small.mean(axis=2).astype(np.float32), round(3.0 / cell_m))
    usual = float(np.median(value))
    shadow = (value < 0.5 * usual) & (blue >= 0.95 * red)
    alive = greenness > 0.05
    tree = alive & ((spread > 9.0) | (value < 0.7 * usual))
    water = ~alive & (value < 0.75 * usual) & (blue >= red) & (spread < 5.0)
    water = _keep_large(water, 300.0 / cell_m**2)
    warm = (red - blue) / (grey + 1.0)
    bare = ~alive & ~water & (warm > 0.12) & (red > green)
    cover = np.full(value.shape, LandCover.PAVED, np.uint8)
    cover[bare] = LandCover.BARE
    cover[alive] = LandCover.GRASS
    cover[tree] = LandCover.TREE
    cover[water] = LandCover.WATER
    score = _score_roofs(grey, ~alive & ~water & ~shadow, cell_m)
    cover[score > 0.5] = LandCover.ROOF
    return cover, shadow, score


def _measure_spread(values: F32, radius: int) -> F32:
    """Standard deviation within a box."""
    size = (2 * radius + 1, 2 * radius + 1)
    mean = cv2.blur(values, size)
    square = cv2.blur(values * values, size)
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0.0)), np.float32)


def _keep_large(mask: Bool, least_px: float) -> Bool:
    _, label, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    large = facts[:, cv2.CC_STAT_AREA] >= least_px
    large[0] = False
    return np.asarray(large[label], np.bool_)


def _score_roofs(grey: F32, candidate: Bool, cell_m: float) -> F32:
    """Even patches between edges: the more compact and rectangular, the more a roof."""
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    even = candidate & (edges < 22.0)
    count, label, facts, _ = cv2.connectedComponentsWithStats(even.astype(np.uint8), connectivity=4)
    scores = np.zeros(count, np.float32)
    for row in range(1, count):
        area_m2 = facts[row, cv2.CC_STAT_AREA] * cell_m**2
        if not 25.0 < area_m2 < 6000.0:
            continue
        left, top, width, height = facts[row, :4]
        inside = (label[top : top + height, left : left + width] == row).astype(np.uint8)
        points = cv2.findNonZero(inside)
        _, sides, _ = cv2.minAreaRect(points)
        long, short = (max(sides) + 1.0) * cell_m, (min(sides) + 1.0) * cell_m
        if short < 4.0:
            continue
        filled = area_m2 / (long * short)
        scores[row] = np.clip(1.6 * filled - 0.5, 0.0, 1.0) * np.clip(3.0 * short / long, 0.3, 1.0)
    score = scores[label]
    return np.asarray(cv2.dilate(score, np.ones((3, 3), np.uint8)), np.float32)
