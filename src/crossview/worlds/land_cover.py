"""What lies on the ground, read from an orthophoto's colours alone.

A small network weighs what a pixel and its surroundings look like: colour, evenness, edges, shadow
beside it, the shape of its patch. It knows three bands and nothing of heights; what it was fitted
on and how often it is right, ``benchmarks/land_cover.py`` says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from importlib import resources

import cv2
import numpy as np

from crossview.arrays import F32, F64, U8, Bool
from crossview.errors import BadImagery, TooCoarse, require
from crossview.worlds.town import CELL_M

COARSEST_M = 0.9  # metres per pixel: beyond it a house is a few pixels and a car is none
LEAST_WATER_M2 = 500.0
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
    """Estimate what a picture [h, w, 3] at ``CELL_M`` metres per pixel shows."""
    require(rgb.ndim == 3 and rgb.shape[2] == 3, f"a picture [h, w, 3] is needed, got {rgb.shape}.")
    rows, columns = rgb.shape[:2]
    small = shrink_picture(rgb)
    chance = smooth_chances(small, _judge(measure_features(small)))
    # In whole 255ths, of sums in double precision: the same on every machine.
    parts = np.rint(255.0 * chance).astype(np.uint8)
    _drain_puddles(parts)
    cover = np.argmax(parts, axis=2).astype(np.uint8)
    size = (columns, rows)
    score = np.ascontiguousarray(parts[..., LandCover.ROOF])
    shadow = find_shadows(small).astype(np.uint8)
    return Land(
        cv2.resize(cover, size, interpolation=cv2.INTER_NEAREST),
        cv2.resize(shadow, size, interpolation=cv2.INTER_NEAREST) > 0,
        cv2.resize(score, size, interpolation=cv2.INTER_LINEAR_EXACT) / np.float32(255.0),
    )


def shrink_picture(rgb: U8) -> U8:
    """The picture at which features are measured: pixels of ``_STEP`` cells."""
    rows, columns = rgb.shape[:2]
    size = max(columns // _STEP, 1), max(rows // _STEP, 1)
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def find_shadows(small: U8) -> Bool:
    """Pixels much darker than usual and bluer than they are red: lit by the sky alone."""
    value = small.max(axis=2).astype(np.float32)
    lit = float(np.percentile(value, 60.0))
    blue, red = small[..., 2].astype(np.float32), small[..., 0].astype(np.float32)
    shadow = (value < 0.52 * lit) & (blue >= 0.85 * red)
    return np.asarray(cv2.medianBlur(shadow.astype(np.uint8), 3) > 0, np.bool_)


def measure_features(small: U8) -> F64:
    """What a pixel and its surroundings look like, [rows, columns, FEATURES].

    Brightness relative to the picture's own, so that exposure does not matter; colours as ratios;
    spread and edges at several widths; compact bright and dark things; shadow beside it.
    """
    colour = small.astype(np.float64) + 1.0
    red, green, blue = (np.ascontiguousarray(colour[..., i]) for i in range(3))
    total = red + green + blue
    usual = float(np.median(total))
    light = np.log(total / usual)
    alive = (2.0 * green - red - blue) / total
    warm = (red - blue) / total
    shadow = find_shadows(small).astype(np.float64)
    planes = [light, alive, warm, (red - green) / total]
    for radius in (2, 5, 12, 30):
        for plane in (light, alive, warm):
            planes.append(_average(plane, radius))
        planes.append(np.log(_measure_spread(light, radius) + 0.01))
        planes.append(_average(shadow, radius))
    planes.append(np.log(_measure_spread(alive, 3) + 0.005))
    planes.append(np.log(_measure_spread(warm, 3) + 0.005))
    planes.extend(_measure_edges(light))
    planes.extend(_measure_lumps(light))
    planes.append(_find_shadow_beside(shadow))
    planes.extend(_measure_patches(light, alive, shadow > 0))
    return np.stack(planes, axis=2)


def _average(values: F64, radius: int) -> F64:
    size = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.blur(values, size, borderType=cv2.BORDER_REFLECT), np.float64)


def _measure_spread(values: F64, radius: int) -> F64:
    """Standard deviation within a box."""
    mean, square = _average(values, radius), _average(values * values, radius)
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0.0)), np.float64)


def _measure_edges(light: F64) -> list[F64]:
    """How strong edges are nearby, and how much they run in one direction (buildings, roads)."""
    soft = cv2.GaussianBlur(light, (0, 0), 0.8)
    across = cv2.Sobel(soft, cv2.CV_64F, 1, 0, scale=0.125)
    down = cv2.Sobel(soft, cv2.CV_64F, 0, 1, scale=0.125)
    planes = []
    for radius in (4, 10):
        xx, yy = _average(across * across, radius), _average(down * down, radius)
        xy, trace = _average(across * down, radius), xx + yy + 1e-6
        planes += [np.log(trace), np.sqrt((xx - yy) ** 2 + 4.0 * xy * xy) / trace]
        # Corners of buildings stand at right angles: directions taken four times agree.
        turn = 4.0 * np.arctan2(down, across)
        weight = np.hypot(across, down)
        c, s = _average(weight * np.cos(turn), radius), _average(weight * np.sin(turn), radius)
        planes.append(np.hypot(c, s) / (_average(weight, radius) + 1e-4))
    return planes


def _measure_lumps(light: F64) -> list[F64]:
    """How far a pixel stands out from the darkest or brightest disc that fits around it."""
    planes = []
    soft = cv2.medianBlur(light.astype(np.float32), 3).astype(np.float64)
    for radius in (3, 8, 18):
        disc = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
        planes.append(soft - cv2.morphologyEx(soft, cv2.MORPH_OPEN, disc))
        planes.append(cv2.morphologyEx(soft, cv2.MORPH_CLOSE, disc) - soft)
    return planes


def _find_shadow_beside(shadow: F64) -> F64:
    """The most shadow in any of eight directions at 6 m, less that on the opposite side."""
    near = _average(shadow, 3)
    reach, (rows, columns) = 8, shadow.shape
    wide = cv2.copyMakeBorder(near, reach, reach, reach, reach, cv2.BORDER_REFLECT)
    steps = [(0, 8), (6, 6), (8, 0), (6, -6)]
    best = np.zeros_like(near)
    for down, across in steps:
        one = wide[reach + down :, reach + across :][:rows, :columns]
        other = wide[reach - down :, reach - across :][:rows, :columns]
        best = np.maximum(best, np.abs(one - other))
    return best


def _measure_patches(light: F64, alive: F64, shadow: Bool) -> list[F64]:
    """Of the even patch between edges that a pixel lies in: size, filled share, width."""
    grey = np.clip(light * 90.0 + 128.0, 0, 255).astype(np.uint8)
    grey = cv2.medianBlur(grey, 5)
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    even = (edges < 18) & (alive < 0.06) & ~shadow
    count, label, facts, _ = cv2.connectedComponentsWithStats(even.astype(np.uint8), connectivity=4)
    cell_m = CELL_M * _STEP
    table = np.zeros((3, count))
    areas = facts[:, cv2.CC_STAT_AREA] * cell_m**2
    table[0] = np.log(np.maximum(areas, 0.1))
    for row in range(1, count):
        if not 12.0 < areas[row] < 30_000.0:
            continue
        left, top, width, height = facts[row, :4]
        inside = (label[top : top + height, left : left + width] == row).astype(np.uint8)
        _, sides, _ = cv2.minAreaRect(cv2.findNonZero(inside))
        long, short = (max(sides) + 1.0) * cell_m, (min(sides) + 1.0) * cell_m
        table[1, row], table[2, row] = areas[row] / (long * short), math.log(short)
    table[:, 0] = 0.0
    # Edges belong to the larger patch beside them.
    return [cv2.dilate(plane[label], np.ones((3, 3), np.uint8)) for plane in table]


def smooth_chances(small: U8, chance: F64) -> F64:
    """Chances [h, w, classes] that follow the picture's edges (guided filter, grey guide)."""
    guide = np.asarray(small.mean(axis=2) / 255.0, np.float64)
    radius, least = 4, 0.0008
    mean = _average(guide, radius)
    spread = _average(guide * guide, radius) - mean * mean + least
    planes = []
    for n in range(chance.shape[2]):
        plane = np.ascontiguousarray(chance[..., n])
        usual = _average(plane, radius)
        slope = np.asarray((_average(guide * plane, radius) - mean * usual) / spread, np.float64)
        offset = np.asarray(usual - slope * mean, np.float64)
        planes.append(_average(slope, radius) * guide + _average(offset, radius))
    return np.asarray(np.clip(np.stack(planes, axis=2), 0.0, 1.0), np.float64)


def _drain_puddles(chance: U8) -> None:
    """Small patches of water are shadows: there, take the next likely class instead."""
    wet = np.argmax(chance, axis=2) == LandCover.WATER
    _, label, facts, _ = cv2.connectedComponentsWithStats(wet.astype(np.uint8), connectivity=4)
    small = facts[:, cv2.CC_STAT_AREA] * (CELL_M * _STEP) ** 2 < LEAST_WATER_M2
    small[0] = False
    chance[..., LandCover.WATER][small[label]] = 0


@lru_cache(maxsize=1)
def read_network() -> dict[str, F64]:
    """The few numbers that weigh features; ``benchmarks/land_cover.py --fit`` makes them."""
    with resources.files(__package__).joinpath("land_cover.npz").open("rb") as stream:
        content = np.load(stream, allow_pickle=False)
        return {name: content[name].astype(np.float64) for name in content.files}


def _judge(features: F64) -> F64:
    """Chances [h, w, classes] by two hidden layers."""
    weights = read_network()
    x = (features.reshape(-1, features.shape[2]) - weights["mean"]) / weights["spread"]
    np.clip(x, -4.0, 4.0, out=x)
    for layer in ("1", "2"):
        x = np.maximum(x @ weights[f"weight_{layer}"] + weights[f"bias_{layer}"], 0.0)
    x = x @ weights["weight_3"] + weights["bias_3"]
    x = np.exp(x - x.max(axis=1, keepdims=True))
    chance: F64 = (x / x.sum(axis=1, keepdims=True)).reshape(*features.shape[:2], -1)
    return chance
