"""Places whose skyline is not that of the photo: where an index knows heights, they are demoted.

The photo's skyline is where its sky ends, column by column. Sky is told from the rest by the
colours of the photo itself (``cv2.grabCut``: Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH
2004), and by how smooth it is: what looks like a sky above the horizon is its first guess, what
lies below the horizon is none. A photo says nothing where it shows too little sky, as at night or
in a narrow street.

The skyline of a place is drawn from the heights that the index knows: along each azimuth the
steepest line of sight over everything that stands there. The camera may stand anywhere in its
window's stride cell, and be turned by a few degrees more: the best agreement counts.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from crossview.arrays import F32, F64, I64, U8, Bool
from crossview.geo.points import LatLon
from crossview.index.selection import Held
from crossview.index.terrain import Terrain, open_terrain
from crossview.localization.queries import Query
from crossview.localization.reranking import pick_best
from crossview.localization.search import SearchResult
from crossview.model import Embedder
from crossview.views.colour import look_like_sky
from crossview.views.spec import ViewSpec
from crossview.worlds.camera import EYE_M, FARTHEST_M

CHECKED = 50  # windows, from the best one down
SKYLINE_COMPARED = (
    "the photo's skyline was compared with heights of the index: places that do not fit lost score"
)
FREE_DEG = 1.0  # of misfit: usual at the right place
COST_PER_DEG = 0.06  # of a cosine, for each degree more
_CLIP_DEG = 6.0  # a column that is further off is simply wrong
_BEARINGS = 180  # azimuths of a drawn skyline
_NEAREST_M, _SAMPLES = 1.5, 80  # along each
_DISTANCES_M = np.geomspace(_NEAREST_M, FARTHEST_M, _SAMPLES).astype(np.float32)
_TURN_DEG = 1.5  # between turns that are compared
_TURNED_DEG = 7.5  # how far a heading may be off: half a bin of the packaged models and a little
_APART_M, _MOST_APART = 3.0, 5  # positions tried in a stride cell, along a side
_LEAST_KNOWN = 0.75  # share of the near samples of an azimuth whose heights are known
_NEAR_M = 100.0
_LEAST_COLUMNS = 12  # of a photo, whose sky ends somewhere
_LEAST_SKY = 0.03  # share of the pixels above the horizon
_SKY_FROM_DEG, _GROUND_BELOW_DEG = 4.0, -1.0


def check_skyline(
    index: Held, embedder: Embedder, query: Query, result: SearchResult
) -> SearchResult:
    """The result with windows demoted whose skyline contradicts the photo's.

    The best ``CHECKED`` windows are looked at. What does not fit costs ``COST_PER_DEG`` for each
    degree of misfit beyond ``FREE_DEG``; windows that are not looked at lose as much as the worst
    of those, so that none of them wins by not having been asked. Unchanged where the index has no
    heights, or the photo no skyline.
    """
    terrain = open_terrain(index)
    spec = embedder.info.ground
    if terrain is None or not query.strips or spec.elevation_deg is None:
        return result
    strip = query.strips[result.reading]
    border = find_sky_border(strip, spec)
    if border is None:
        return result
    rows = pick_best(result.scores, CHECKED)
    headings = np.asarray(result.heading_deg[rows], np.float64) + index.up_bearing_deg[rows]
    reach_deg = 180.0 if np.isnan(headings).any() else _TURNED_DEG  # of a model that finds none
    azimuth = _find_azimuths(query, np.nan_to_num(headings), spec, strip.shape[1])
    misfits = measure_misfits(terrain, index, rows, border, azimuth, reach_deg)
    if np.isnan(misfits).all():
        return result
    costs = COST_PER_DEG * np.maximum(0.0, misfits - FREE_DEG)
    most = np.nanmax(costs)
    lost = np.full(len(result.scores), most, np.float32)
    lost[rows] = np.where(np.isnan(costs), np.nanmedian(costs), costs)
    return replace(result, scores=(result.scores - lost).astype(np.float32))


class SkyBorder(NamedTuple):
    """Where the sky of a strip [h, w, 3] ends, by column.

    ``elevation_deg`` [w] is NaN where nothing is known. ``hidden`` [w]: no sky is seen there, and
    the skyline is at least as high as the photo's upper edge. ``top_deg``: that of the strip.
    """

    elevation_deg: F32
    hidden: Bool
    top_deg: float


def find_sky_border(strip: U8, spec: ViewSpec) -> SkyBorder | None:
    """The skyline of a strip [h, w, 3] of a photo; None where it shows too little sky."""
    import cv2

    height, width = strip.shape[:2]
    bottom, top = spec.required_elevation_deg
    step = (top - bottom) / height
    elevation = top - step * (np.arange(height) + 0.5)
    seen = (strip != np.array(spec.mean_colour, np.uint8)).any(axis=2)
    columns = np.flatnonzero(seen.any(axis=0))
    first = np.full(strip.shape[:2], cv2.GC_PR_BGD, np.uint8)
    first[look_like_sky(strip) & (elevation > _SKY_FROM_DEG)[:, None]] = cv2.GC_PR_FGD
    first[elevation < _GROUND_BELOW_DEG] = cv2.GC_BGD
    first[~seen] = cv2.GC_BGD
    above = seen & (elevation > _SKY_FROM_DEG)[:, None]
    if not len(columns) or (first == cv2.GC_PR_FGD).sum() < _LEAST_SKY * above.sum() + 1:
        return None
    part = slice(columns[0], columns[-1] + 1)
    mask = np.ascontiguousarray(first[:, part])
    models = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(
        _describe_pixels(np.ascontiguousarray(strip[:, part])), mask, None, models[0], models[1],
        4, cv2.GC_INIT_WITH_MASK,
    )  # fmt: skip
    sky = np.zeros((height, width), np.bool_)
    sky[:, part] = (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
    highest = np.argmax(seen, axis=0)
    solid = seen & ~sky
    ends = np.where(solid.any(axis=0), np.argmax(solid, axis=0), height)
    border = (top - step * ends).astype(np.float32)
    border[~seen.any(axis=0) | (ends == height)] = np.nan
    hidden = ends <= highest
    if (np.isfinite(border) & ~hidden).sum() < _LEAST_COLUMNS:
        return None
    return SkyBorder(border, hidden, top)


def _describe_pixels(rgb: U8) -> U8:
    """What a sky is told by: brightness, blue against red, and roughness, [h, w, 3]."""
    import cv2

    colours = rgb.astype(np.float32)
    bright = colours.mean(axis=2)
    mean = cv2.blur(bright, (3, 3))
    rough = np.sqrt(np.maximum(cv2.blur(bright * bright, (3, 3)) - mean * mean, 0.0))
    blue = 128.0 + 2.0 * (colours[..., 2] - colours[..., 0])
    described = np.stack([bright, blue, 4.0 * rough], axis=2)
    pixels: U8 = np.clip(described, 0.0, 255.0).astype(np.uint8)
    return pixels


def measure_misfits(
    terrain: Terrain,
    index: Held,
    rows: I64,
    border: SkyBorder,
    azimuth_deg: F64,
    reach_deg: float = _TURNED_DEG,
) -> F64:
    """How far the skylines of windows [n] are off a photo's, in degrees; NaN where unknown.

    ``azimuth_deg`` [n, w]: clockwise from north, of the photo's columns, if it was taken there. The
    mean over columns, of which none counts more than 6 degrees; the best of the positions in the
    window's stride cell, and of turns by up to ``reach_deg``.
    """
    columns = np.flatnonzero(np.isfinite(border.elevation_deg))
    seen, hidden = border.elevation_deg[columns], border.hidden[columns]
    offsets = _spread_positions(index.manifest.stride_m)
    step = 360.0 / _BEARINGS
    turns = np.arange(-reach_deg, reach_deg + 0.1, _TURN_DEG)
    misfits = np.full(len(rows), np.nan)
    for n, row in enumerate(rows.tolist()):
        here = LatLon(float(index.lat[row]), float(index.lon[row]))
        drawn = draw_skylines(terrain, here, offsets)
        if np.isnan(drawn).all():
            continue
        at = (azimuth_deg[n][columns] + turns[:, None]) / step - 0.5
        low = np.floor(at).astype(np.int64)
        share = (at - low).astype(np.float32)
        there = drawn[:, low % _BEARINGS] * (1.0 - share) + drawn[:, (low + 1) % _BEARINGS] * share
        off = seen - np.minimum(there, border.top_deg)
        off = np.where(hidden, np.maximum(off, 0.0), np.abs(off))
        known = np.isfinite(off)
        count = known.sum(axis=2)
        total = np.where(known, np.minimum(off, _CLIP_DEG), 0.0).sum(axis=2)
        enough = count >= max(_LEAST_COLUMNS, len(columns) // 2)
        if enough.any():
            misfits[n] = (total[enough] / count[enough]).min()
    return misfits


def draw_skylines(terrain: Terrain, place: LatLon, offsets_m: F64) -> F32:
    """Elevation in degrees of the skyline [k, 180], from ``offsets_m`` [k, 2] (east, north).

    Column i looks at azimuth 2 i + 1, clockwise from north. NaN where too little is known.
    """
    reach = FARTHEST_M + float(np.abs(offsets_m).max())
    patch = terrain.cut(place, reach)
    south_m, east_m = patch.cell_m
    ray_row, ray_column = _lay_rays(round(south_m, 4), round(east_m, 4))
    row = patch.at[0] - offsets_m[:, 1] / south_m
    column = patch.at[1] + offsets_m[:, 0] / east_m
    eye = patch.ground_m[row.astype(np.int64), column.astype(np.int64)] + np.float32(EYE_M)
    cell = (row[:, None, None] + ray_row).astype(np.int64) * patch.surface_m.shape[1]
    cell += (column[:, None, None] + ray_column).astype(np.int64)
    surface = patch.surface_m.ravel()[cell]
    rise = (surface - eye[:, None, None]) / _DISTANCES_M
    known = np.isfinite(rise)
    highest = np.where(known, rise, np.float32(-9.0)).max(axis=2)
    near = known[:, :, _DISTANCES_M <= _NEAR_M].mean(axis=2)
    skyline: F32 = np.degrees(np.arctan(highest)).astype(np.float32)
    skyline[near < _LEAST_KNOWN] = np.nan
    return skyline


@lru_cache(maxsize=16)
def _lay_rays(south_m: float, east_m: float) -> tuple[F32, F32]:
    """Rows and columns [180, samples] along all azimuths, from where one stands."""
    azimuth = np.radians((np.arange(_BEARINGS) + 0.5) * 360.0 / _BEARINGS)[:, None]
    down = -np.cos(azimuth) * _DISTANCES_M / south_m
    across = np.sin(azimuth) * _DISTANCES_M / east_m
    return down.astype(np.float32), across.astype(np.float32)


def _spread_positions(stride_m: float) -> F64:
    """Positions [k, 2] over a stride cell, in metres from its middle; the window's own is first."""
    side = min(_MOST_APART, max(1, round(stride_m / _APART_M)))
    line = ((np.arange(side) + 0.5) / side - 0.5) * stride_m
    east, north = np.meshgrid(line, line)
    positions: F64 = np.stack([east.ravel(), north.ravel()], axis=1)
    return positions


def _find_azimuths(query: Query, headings: F64, spec: ViewSpec, width: int) -> F64:
    """Azimuths [n, w] of a strip's columns, where its photo's middle points to ``headings`` [n]."""
    across = (np.arange(width) + 0.5 - width / 2.0) * 360.0 / spec.width_px
    azimuth: F64 = headings[:, None] - query.turned_deg + across
    return azimuth
