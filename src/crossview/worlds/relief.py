"""What stands on the ground of an orthophoto: measured, told by outlines, or guessed.

Guesses are drawn anew for every world from its random numbers, so that no network can lean on
them. What is known beats what is guessed: outlines say where buildings are, rasters of heights say
how high, and only the rest is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from crossview.arrays import F32, I32, U8, Bool
from crossview.errors import BadImagery, require
from crossview.worlds.land_cover import Land, LandCover
from crossview.worlds.town import CELL_M, STOREY_M, Generator, Rectangle, draw_smooth_noise

LEAST_BUILDING_M2, LEAST_RISE_M, HIGHEST_M = 20.0, 2.2, 400.0
MOST_MISFIT_M, FURTHEST_MISFIT_M = 5.0, 45.0  # between a picture and what is known of heights
_NECK_M = 4.8
FINE_M = 2.5  # a raster of heights that is coarser shows no outlines


@dataclass(frozen=True)
class Building:
    """Its bounding rectangle (metres east and south of the picture's corner), and its eave."""

    box: Rectangle
    eave_m: float


@dataclass(frozen=True)
class Heights:
    """A measured raster over the cells [n, n]: metres above the ground, NaN where unknown.

    ``spacing_m``: how far apart its samples were before they were brought to the cells.
    """

    above_ground_m: F32
    spacing_m: float = CELL_M


@dataclass(frozen=True)
class Outlines:
    """Footprints over the cells [n, n]: 0 for none, else 1 + the row of ``height_m``.

    Heights that are not told are NaN. ``known``: where all buildings are mapped (None: everywhere);
    elsewhere they are guessed.
    """

    building: I32
    height_m: F32
    known: Bool | None = None


@dataclass(frozen=True)
class Relief:
    """What stands over the cells [n, n], in metres above the ground.

    ``height_m``: top of buildings; ``building``: 0 for none, else 1 + the row of ``buildings``.
    ``crown_top_m`` and ``crown_base_m`` are 0 where there is no tree; ``trunk``: where one stands.
    """

    height_m: F32
    building: I32
    buildings: tuple[Building, ...]
    crown_top_m: F32
    crown_base_m: F32
    trunk: Bool


def guess_relief(land: Land, rng: Generator) -> Relief:
    """Draw heights for what a picture shows: which patches are roofs, storeys, roofs, trees."""
    return make_relief(land, rng)


def make_relief(
    land: Land, rng: Generator, *, heights: Heights | None = None, outlines: Outlines | None = None
) -> Relief:
    """What stands on ``land``; what neither heights nor outlines tell is drawn from ``rng``."""
    cells = land.cover.shape
    for what, given in (("heights", heights), ("outlines", outlines)):
        shape = (
            None
            if given is None
            else (given.above_ground_m if isinstance(given, Heights) else given.building).shape
        )
        require(shape in (None, cells), f"{what} [{shape}] must cover the cells {cells}.")
    above = None if heights is None else heights.above_ground_m
    place = _find_buildings(land, heights, outlines, rng)
    told = np.full(int(place.max()) + 1, np.nan, np.float32)
    if outlines is not None:
        told[1 : 1 + len(outlines.height_m)] = outlines.height_m[: len(told) - 1]
    town_storeys = float(rng.uniform(1.2, 3.0))  # what is usual in this world
    height, number, buildings = _raise(place, told, above, heights, town_storeys, rng)
    top, base, trunk = _grow_trees(land, number > 0, heights, rng)
    return Relief(height, number, tuple(buildings), top, base, trunk)


def compute_height_above_ground(surface_m: F32, spacing_m: float) -> F32:
    """A surface model [h, w] (NaN: unknown) minus the ground: the lowest within about 60 m.

    The lowest of a neighbourhood follows slopes up to a building's width; hills remain ground.
    """
    known = np.isfinite(surface_m)
    require(bool(known.any()), "the surface model holds no heights, only nodata.")
    filled = np.where(known, surface_m, np.nanmedian(surface_m)).astype(np.float32)
    radius = max(1, round(30.0 / spacing_m))
    size = 2 * radius + 1
    kernel = np.ones((size, size), np.uint8)
    lowest = cv2.erode(np.where(known, filled, np.float32(1e6)), kernel)
    ground = cv2.blur(cv2.dilate(lowest, kernel), (size, size))
    return np.where(known, np.maximum(filled - np.minimum(ground, filled), 0.0), np.nan).astype(
        np.float32
    )


def check_heights(above_ground_m: F32, what: str) -> None:
    """Refuse what cannot be metres above the ground: nothing known, or absolute elevations."""
    known = above_ground_m[np.isfinite(above_ground_m)]
    if known.size == 0:
        raise BadImagery(
            f"{what} holds no heights where the imagery lies: it is of another place, or nodata "
            "there.\nGive heights that cover the imagery."
        )
    low = float(np.percentile(known, 5.0))
    if low > 8.0 or float(np.percentile(known, 99.5)) > HIGHEST_M or low < -30.0:
        raise BadImagery(
            f"{what} is not metres above the ground: 5 % of its values lie below {low:.1f} m and "
            f"0.5 % above {np.percentile(known, 99.5):.1f} m.\nIf these are elevations above the "
            "sea (a surface model, DSM), say so, and the ground is subtracted; if the unit is "
            "feet or centimetres, convert it to metres."
        )


def measure_misfit(land: Land, raised: Bool) -> tuple[float, float, float, float]:
    """How far what is raised lies off what the picture shows of trees and roofs.

    Returns metres (east, south) by which ``raised`` [h, w] would have to move, within
    ``FURTHEST_MISFIT_M``, its correlation there, and the correlation as it lies.
    """
    shows = np.maximum(land.roof_score, (land.cover == LandCover.TREE).astype(np.float32))
    step = max(1, round(1.0 / CELL_M))
    size = max(land.cover.shape[1] // step, 1), max(land.cover.shape[0] // step, 1)
    one, other = (
        cv2.resize(plane.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        for plane in (shows, raised)
    )
    reach = min(round(FURTHEST_MISFIT_M / (step * CELL_M)), min(size) // 3)
    inner = other[reach : size[1] - reach, reach : size[0] - reach]
    if inner.std() < 0.02 or one.std() < 0.02:
        return 0.0, 0.0, 0.0, 0.0
    fit = cv2.matchTemplate(one, np.ascontiguousarray(inner), cv2.TM_CCOEFF_NORMED)
    down, across = np.unravel_index(int(np.argmax(fit)), fit.shape)
    unit = step * CELL_M
    return (
        float(across - reach) * unit, float(down - reach) * unit,
        float(fit[down, across]), float(fit[reach, reach]),
    )  # fmt: skip


def check_alignment(land: Land, raised: Bool, what: str) -> None:
    """Refuse heights or outlines that clearly belong some metres beside the picture.

    Only a fit that is much better elsewhere counts: the picture alone says little of roofs.
    """
    east, south, best, here = measure_misfit(land, raised)
    off = math.hypot(east, south)
    if off > MOST_MISFIT_M and best > 0.3 and best > here + 0.12:
        raise BadImagery(
            f"{what} lies about {off:.0f} m beside the imagery: moved {east:+.0f} m east and "
            f"{-south:+.0f} m north it fits what the picture shows much better (correlation "
            f"{best:.2f} instead of {here:.2f}).\nThe two may have different datums: give both in "
            "the same one, or the right one with --crs."
        )


def _find_buildings(
    land: Land, heights: Heights | None, outlines: Outlines | None, rng: Generator
) -> I32:
    """Number the buildings' cells; those of outlines keep their numbers."""
    told = None if outlines is None else outlines.building
    if outlines is not None and (outlines.known is None or outlines.known.all()):
        return outlines.building
    leafy = (land.cover == LandCover.TREE) | (land.cover == LandCover.GRASS)
    threshold = float(rng.uniform(0.35, 0.65))
    roof = (land.roof_score > threshold) & ~leafy & (land.cover != LandCover.WATER)
    if heights is not None:
        above = heights.above_ground_m
        raised = above > LEAST_RISE_M
        known = np.isfinite(above)
        if heights.spacing_m <= FINE_M:
            roof = np.where(known, raised & ~leafy, roof)
        else:
            roof = np.where(known, raised & ~leafy & (land.roof_score > 0.5 * threshold), roof)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    roof = cv2.morphologyEx(roof.astype(np.uint8), cv2.MORPH_CLOSE, disc)
    roof = cv2.morphologyEx(roof, cv2.MORPH_OPEN, disc)
    label = _split_lobes(roof)
    large = np.bincount(label.ravel()) * CELL_M**2 >= LEAST_BUILDING_M2
    large[0] = False
    renumber = np.where(large, np.cumsum(large), 0).astype(np.int32)
    guessed = np.asarray(renumber[label], np.int32)
    if told is None or outlines is None:
        return guessed
    guessed[guessed > 0] += len(outlines.height_m)
    return np.where((told > 0) | cast("Bool", outlines.known), told, guessed)


def _split_lobes(roof: U8) -> I32:
    """Number roofs; patches that hang together by necks below ``_NECK_M`` are several.

    Every cell belongs to the nearest core of its patch; a patch without a core is one.
    """
    radius = round(0.5 * _NECK_M / CELL_M)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    core = cv2.erode(roof, disc)
    count, patch = cv2.connectedComponents(roof, connectivity=4)
    cored = np.zeros(count, np.bool_)
    cored[patch[core > 0]] = True
    if not core.any():
        return np.asarray(patch, np.int32)
    _, nearest = cv2.distanceTransformWithLabels(
        1 - core, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_CCOMP
    )
    # A core of a neighbouring patch may be nearer: the pair of both numbers tells them apart.
    pair = patch.astype(np.int64) * (int(nearest.max()) + 1) + np.where(cored[patch], nearest, 0)
    _, number = np.unique(np.where(roof > 0, pair, -1), return_inverse=True)
    least = 0 if (roof == 0).any() else 1
    return np.asarray(number.reshape(roof.shape) + least, np.int32)


def _raise(
    place: I32,
    told_m: F32,
    above_m: F32 | None,
    heights: Heights | None,
    town_storeys: float,
    rng: Generator,
) -> tuple[F32, I32, list[Building]]:
    """Give every numbered patch a box, an eave and a roof."""
    height = np.zeros(place.shape, np.float32)
    number = np.zeros(place.shape, np.int32)
    buildings: list[Building] = []
    pitched_share = float(rng.uniform(0.1, 0.9))
    for row, window in _list_patches(place):
        inside = place[window] == row
        area_m2 = float(inside.sum()) * CELL_M**2
        if area_m2 < 0.25 * LEAST_BUILDING_M2:
            continue
        storeys = _draw_storeys(area_m2, town_storeys, rng)
        pitched = rng.random() < pitched_share and area_m2 < 900.0
        pitch = math.tan(math.radians(float(rng.uniform(20.0, 42.0))))
        depth = cv2.distanceTransform(
            np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, 3
        )[1:-1, 1:-1] * CELL_M  # fmt: skip
        roof = (pitch * np.minimum(depth, 6.0) if pitched else 0.0 * depth).astype(np.float32)
        measured = None if above_m is None else above_m[window][inside]
        known = measured is not None and np.isfinite(measured).mean() > 0.5
        if np.isfinite(told_m[row]):
            top = float(told_m[row])
            eave = max(top - float(roof.max()), 0.6 * top)
        elif known and measured is not None:
            usual = float(np.nanmedian(measured))
            eave = max(usual - 0.5 * float(roof.max()), 0.6 * usual, LEAST_RISE_M)
        else:
            eave = STOREY_M * storeys + float(rng.uniform(0.0, 1.2))
        shape = eave + roof
        if known and heights is not None and heights.spacing_m <= FINE_M and above_m is not None:
            own = above_m[window]
            shape = np.where(np.isfinite(own), np.maximum(own, 0.7 * eave), shape)
        buildings.append(Building(_bound(inside, window), float(eave)))
        height[window][inside] = shape[inside]
        number[window][inside] = len(buildings)
    return height, number, buildings


def _draw_storeys(area_m2: float, usual: float, rng: Generator) -> float:
    """Sheds are low, halls are low and wide, blocks in between may be high."""
    if area_m2 < 60.0:
        return 1.0
    if area_m2 > 2500.0:
        return float(rng.uniform(1.5, 3.5))
    most = 1.0 + usual * (1.0 if area_m2 < 220.0 else 2.0)
    return float(rng.uniform(1.0, most))


def _list_patches(place: I32) -> list[tuple[int, tuple[slice, slice]]]:
    """Each number that occurs, and the window around its cells."""
    rows, columns = np.nonzero(place)
    found = place[rows, columns]
    count = int(found.max(initial=0)) + 1
    low = np.full((2, count), np.iinfo(np.int64).max)
    high = np.full((2, count), -1)
    for axis, line in enumerate((rows, columns)):
        np.minimum.at(low[axis], found, line)
        np.maximum.at(high[axis], found, line)
    return [
        (row, (slice(low[0, row], high[0, row] + 1), slice(low[1, row], high[1, row] + 1)))
        for row in range(1, count)
        if high[0, row] >= 0
    ]


def _bound(inside: Bool, window: tuple[slice, slice]) -> Rectangle:
    """The smallest rectangle around a patch."""
    points = cv2.findNonZero(inside.astype(np.uint8))
    (x, y), (width, height), turn_deg = cv2.minAreaRect(points)
    return Rectangle(
        (window[1].start + x + 0.5) * CELL_M,
        (window[0].start + y + 0.5) * CELL_M,
        0.5 * (width + 1.0) * CELL_M,
        0.5 * (height + 1.0) * CELL_M,
        math.radians(turn_deg),
    )


def _grow_trees(
    land: Land, built: Bool, heights: Heights | None, rng: Generator
) -> tuple[F32, F32, Bool]:
    """Crowns over the cells of trees: lumps about as wide as trees, lower at the edge."""
    leafy = (land.cover == LandCover.TREE) & ~built
    if heights is not None and heights.spacing_m <= FINE_M:
        above = heights.above_ground_m
        tall = above > LEAST_RISE_M
        leafy = np.where(np.isfinite(above), tall & ~built & (land.cover != LandCover.ROOF), leafy)
    edge_m = cv2.distanceTransform(leafy.astype(np.uint8), cv2.DIST_L2, 3) * CELL_M
    most = float(rng.uniform(6.0, 16.0))
    rows, columns = land.cover.shape
    noise = draw_smooth_noise(max(rows, columns), float(rng.uniform(4.0, 8.0)), rng)
    lumps = 0.8 + 0.3 * noise[:rows, :columns]
    top = np.minimum(2.6 + 2.2 * np.sqrt(edge_m) * lumps + 0.5 * edge_m, most * lumps)
    if heights is not None:
        above = heights.above_ground_m
        known = np.isfinite(above) & (above > LEAST_RISE_M)
        if heights.spacing_m <= FINE_M:
            top = np.where(known, above, top)
        else:
            top = np.where(known, np.minimum(np.maximum(above, top * 0.6), top + above), top)
    top = np.where(leafy, np.maximum(top, 1.2), 0.0).astype(np.float32)
    base = np.where(leafy, np.minimum(rng.uniform(1.6, 3.0), 0.5 * top), 0.0).astype(np.float32)
    return top, base, _plant_trunks(top, leafy)


def _plant_trunks(top_m: F32, leafy: Bool) -> Bool:
    """One trunk below each local peak of the crowns."""
    size = 2 * round(2.0 / CELL_M) + 1
    soft = cv2.GaussianBlur(top_m, (0, 0), 2.0)
    peak = (cv2.dilate(soft, np.ones((size, size), np.uint8)) <= soft) & leafy & (top_m > 3.5)
    _, _, _, centres = cv2.connectedComponentsWithStats(peak.astype(np.uint8))
    trunk: Bool = np.zeros(leafy.shape, np.bool_)
    column, row = np.rint(centres[1:]).astype(int).T
    trunk[row, column] = leafy[row, column]
    return trunk
