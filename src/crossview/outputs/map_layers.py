"""Layers of a map: the region's imagery in Web Mercator, and a heat layer of all scores.

The imagery is drawn from its own files, or from the index's thumbnails where those are gone. Heat
travels small: positions once, then one byte per score and photo.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crossview.arrays import F32, F64, I64, U8
from crossview.errors import CrossviewError
from crossview.geo.footprints import Footprint
from crossview.geo.mercator import Extent, enclose_points
from crossview.geo.points import EARTH_RADIUS_M, split_regions, unroll_lon, wrap_lon
from crossview.imagery.provenance import compute_bounds
from crossview.imagery.sheets import Box, Patch, Sheet, shrink_patch
from crossview.imagery.sources import open_sources
from crossview.localization.answer import Answer
from crossview.texts import phrase
from crossview.views.decode import read_rgb

if TYPE_CHECKING:
    from crossview.index.store import Index


MOST_PIXELS = 4096 * 4096  # of all overlays together: a phone can hold so many decoded
LONGEST_SIDE_PX = 4096
_QUALITY = 76
_SHRINK = 0.7  # of the sides, when the pictures take too many bytes
_TRIES = 8
MOST_THUMBNAILS = 4000  # so many take about ten seconds; more are thinned out
NOT_SEARCHED = 0  # the code of a window without a score; codes 1 to 255 run from low to high


@dataclass(frozen=True)
class Overlay:
    """One picture of the base map and where it lies; transparent where there is no imagery."""

    extent: Extent
    webp: bytes
    metres_per_px: float


@dataclass(frozen=True)
class BaseMap:
    """All overlays, and notes for whoever reads the map."""

    overlays: list[Overlay]
    notes: list[str]

    def finer_than(self, metres_per_px: float) -> bool:
        """Whether all of it shows at least as much as pictures of ``metres_per_px``."""
        steps = [overlay.metres_per_px for overlay in self.overlays]
        return bool(steps) and max(steps) <= metres_per_px


def draw_base_map(index: Index, max_bytes: int) -> BaseMap:
    """Overlays of at most ``max_bytes`` as base64, with as many pixels as fit.

    Drawn from the imagery itself where its files can still be read, else from thumbnails.
    """
    info = index.manifest.imagery
    try:
        with open_sources(info.sources, info.options) as imagery:
            return _fit_overlays(index, imagery.sheets, max_bytes)
    except CrossviewError:  # moved, changed or damaged since
        return _fit_overlays(index, (), max_bytes)


def _fit_overlays(index: Index, sheets: tuple[Sheet, ...], max_bytes: int) -> BaseMap:
    finest = index.manifest.metres_per_px if sheets else index.footprint(0).metres_per_px
    share = 1.0
    for _ in range(_TRIES):
        overlays = list(_draw_overlays(index, sheets, finest / share))
        if sum(math.ceil(len(overlay.webp) / 3) * 4 for overlay in overlays) <= max_bytes:
            return BaseMap(overlays, _note_losses(index, overlays, from_source=bool(sheets)))
        share *= _SHRINK
    return BaseMap([], [phrase("map_page.no_imagery")])


def _draw_overlays(index: Index, sheets: tuple[Sheet, ...], finest_m: float) -> Iterator[Overlay]:
    """One overlay per region, no finer than ``finest_m`` metres per pixel."""
    reach_m = index.manifest.footprint_m / 2.0
    groups = split_regions(index.lat, index.lon, gap_m=4.0 * index.manifest.footprint_m)
    extents = [enclose_points(index.lat[rows], index.lon[rows], reach_m) for rows in groups]
    area_m2 = sum(math.prod(box.size_m()) for box in extents)
    step_m = max(finest_m, math.sqrt(area_m2 / MOST_PIXELS))
    for rows, box in zip(groups, extents, strict=True):
        own_m = max(step_m, max(box.size_m()) / LONGEST_SIDE_PX)
        width, height = (max(1, round(side / own_m)) for side in box.size_m())
        if sheets:
            pixels = drape(sheets, box, (width, height))
        else:
            pixels = draw_thumbnails(index, rows, box, (width, height))
        yield Overlay(box, _encode_webp(pixels), own_m)


def _note_losses(index: Index, overlays: list[Overlay], *, from_source: bool) -> list[str]:
    finest = index.manifest.metres_per_px
    coarsest = max((overlay.metres_per_px for overlay in overlays), default=finest)
    notes = []
    if not from_source:
        notes.append(phrase("map_page.imagery_unreadable"))
    if coarsest > 1.05 * finest:
        notes.append(phrase("map_page.imagery_down_sampled", shown=coarsest, finest=finest))
    return notes


def _encode_webp(rgba: U8) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(rgba).save(stream, "WEBP", quality=_QUALITY, method=2)
    return stream.getvalue()


def draw_thumbnails(index: Index, rows: I64, extent: Extent, size_px: tuple[int, int]) -> U8:
    """The thumbnails of windows ``rows`` laid on a Web Mercator canvas, RGBA [H, W, 4].

    ``size_px`` is (width, height). What no thumbnail covers stays transparent.
    """
    width, height = size_px
    canvas = np.zeros((height, width, 4), np.uint8)
    for row in _thin_out(index, rows):
        try:
            thumbnail = read_rgb(index.thumbnail(int(row)))
        except CrossviewError:
            continue
        _paste(canvas, thumbnail, _project_corners(index.footprint(int(row)), extent, size_px))
    return canvas


def _thin_out(index: Index, rows: I64) -> I64:
    """At most ``MOST_THUMBNAILS`` of the rows, spread evenly over the ground."""
    stride_m = index.manifest.stride_m
    squares = build_heat_grid(index.lat[rows], index.lon[rows], stride_m, MOST_THUMBNAILS).of_window
    return rows[np.unique(squares, return_index=True)[1]]


def _project_corners(footprint: Footprint, extent: Extent, size_px: tuple[int, int]) -> F32:
    """Canvas pixels [3, 2] of a footprint's upper left, upper right and lower left corner."""
    upper_left, upper_right, _, lower_left = footprint.corners()
    corners = (upper_left, upper_right, lower_left)
    lat, lon = np.array([p.lat for p in corners]), np.array([p.lon for p in corners])
    return extent.pixel(lat, lon, size_px).astype(np.float32)


def _paste(canvas: U8, picture: U8, corners: F32) -> None:
    """Warp ``picture`` onto the canvas so that its corners come to lie on ``corners``."""
    import cv2

    fourth = corners[1] + corners[2] - corners[0]
    all_four = np.vstack([corners, fourth])
    left, top = np.maximum(np.floor(all_four.min(axis=0)).astype(int), 0)
    right, bottom = np.ceil(all_four.max(axis=0)).astype(int) + 1
    part = canvas[top:bottom, left:right]
    if part.size == 0:
        return
    across = int(max(1.0, np.hypot(*(corners[1] - corners[0]))))
    down = int(max(1.0, np.hypot(*(corners[2] - corners[0]))))
    if across < picture.shape[1]:
        picture = cv2.resize(picture, (across, down), interpolation=cv2.INTER_AREA)
    opaque = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    h, w = picture.shape[:2]
    onto = cv2.getAffineTransform(
        np.array([[0, 0], [w, 0], [0, h]], np.float32) - 0.5,
        corners - np.array([left, top], np.float32) - 0.5,
    )
    warped = cv2.warpAffine(opaque, onto, (part.shape[1], part.shape[0]))
    covered = warped[..., 3] == 255
    part[covered] = warped[covered]


@dataclass(frozen=True)
class HeatGrid:
    """Where heat is drawn: windows, or squares that each stand for the best of several windows."""

    lat: F64  # [M] degrees
    lon: F64
    of_window: I64  # [N] the cell of each window
    spacing_m: float

    @property
    def merged(self) -> bool:
        """Whether any cell stands for more than one window."""
        return len(self.lat) < len(self.of_window)


def build_heat_grid(lat: F64, lon: F64, stride_m: float, limit: int) -> HeatGrid:
    """One cell per window [N]; where that is more than ``limit``, windows share cells."""
    unrolled = unroll_lon(lon)
    side_m, of_window = stride_m, np.arange(len(lat))
    while of_window.size and of_window.max() >= max(1, limit):
        side_m *= 2.0
        of_window = _number_squares(lat, unrolled, side_m)
    share = np.maximum(np.bincount(of_window), 1)
    return HeatGrid(
        np.bincount(of_window, lat) / share,
        np.asarray(wrap_lon(np.bincount(of_window, unrolled) / share)),
        of_window,
        side_m,
    )


def _number_squares(lat: F64, lon: F64, side_m: float) -> I64:
    """The number of the square that holds each point, counted without gaps."""
    step = np.degrees(side_m / EARTH_RADIUS_M)
    across = step / np.cos(np.radians(lat.mean()))
    keys = np.stack([np.floor(lat / step), np.floor(lon / across)], axis=1)
    numbers: I64 = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    return numbers


def describe_heat_grid(grid: HeatGrid) -> dict[str, object]:
    """Positions as base64 of little-endian float64, and their spacing in metres."""
    return {"lat": _encode_base64(grid.lat, "<f8"), "lon": _encode_base64(grid.lon, "<f8"),
            "spacing_m": grid.spacing_m, "merged": grid.merged}  # fmt: skip


def describe_scores(answer: Answer, grid: HeatGrid) -> dict[str, object] | None:
    """One byte per cell (the best of its windows) and the scores that codes 1 and 255 stand for.

    None when the answer has no score, or not one per window of the index, or of what is held of it.
    """
    scores = np.asarray(answer.scores, np.float64)
    finite = np.isfinite(scores)
    cells = grid.of_window if answer.held is None else grid.of_window[answer.held.numbers]
    if len(scores) != len(cells) or not finite.any():
        return None
    best = np.full(len(grid.lat), -np.inf)
    np.maximum.at(best, cells[finite], scores[finite])
    searched = np.isfinite(best)
    low, high = float(best[searched].min()), float(best[searched].max())
    codes = np.full(len(best), NOT_SEARCHED)
    codes[searched] = 1 + np.rint(254.0 * (best[searched] - low) / max(high - low, 1e-12))
    return {"low": round(low, 4), "high": round(high, 4), "codes": _encode_base64(codes, "u1")}


def count_affordable_cells(answers: Sequence[Answer], max_bytes: int) -> int:
    """How many cells fit into ``max_bytes`` with their positions and a code per photo each."""
    per_cell = 4.0 / 3.0 * (len(answers) + 16.0)
    return max(256, int(max_bytes / per_cell))


def _encode_base64(values: F64 | I64, kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode("ascii")


# Imagery of any projection, draped onto a Web Mercator canvas.

_KNOTS_PX = 32  # between exact reprojections; coordinates in between are interpolated
_MOST_SOURCE_PIXELS = 64_000_000  # in memory at once; larger sheets are read block by block
_FEW_SOURCE_PIXELS = 4_000_000  # if so few lie under the canvas, only these are read, at full size
_BLOCK_PX = 512
_NO_SHRINK = 1.05
_OPAQUE = 254


def drape(sheets: Sequence[Sheet], extent: Extent, size_px: tuple[int, int]) -> U8:
    """All sheets that touch ``extent``, later ones on top: RGBA [H, W, 4].

    ``size_px`` is (width, height). Where there is no data the canvas stays transparent.
    """
    width, height = size_px
    canvas = np.zeros((height, width, 4), np.uint8)
    for sheet in sheets:
        for box in _find_canvas_boxes(sheet, extent, size_px):
            if part := box.overlap(Box(0, height, 0, width)):
                _drape_sheet(sheet, extent, canvas, part)
    return canvas


def _find_canvas_boxes(sheet: Sheet, extent: Extent, size_px: tuple[int, int]) -> Iterator[Box]:
    """The canvas pixels that a sheet may touch, counted once per turn around the Earth."""
    south, west, north, east = compute_bounds([sheet])
    (left, top), (_, bottom) = extent.pixel(
        np.array([north, south]), np.array([west, west]), size_px
    )
    per_degree = size_px[0] / (extent.east - extent.west)
    right = left + (east - west if west <= east else east - west + 360.0) * per_degree
    for turn in (-360.0 * per_degree, 0.0, 360.0 * per_degree):
        yield Box(math.floor(top), math.ceil(bottom), math.floor(left + turn),
                  math.ceil(right + turn))  # fmt: skip


def _drape_sheet(sheet: Sheet, extent: Extent, canvas: U8, part: Box) -> None:
    """Draw one sheet, which is read in one of three ways.

    Only what lies under the canvas, if that is small; else the whole sheet in fewer pixels; if
    these are still too many, block by block.
    """
    size_px = (canvas.shape[1], canvas.shape[0])
    x, y = _project_pixels(sheet, extent, size_px, part)
    if part.width > 1:
        steps = np.hypot(np.diff(x, axis=1), np.diff(y, axis=1))
    else:
        beside = Box(part.top, part.bottom, part.left + 1, part.right + 1)
        x_beside, y_beside = _project_pixels(sheet, extent, size_px, beside)
        steps = np.hypot(x_beside - x, y_beside - y)
    shrink = max(1.0, float(np.median(steps)))
    crop = _enclose(x, y).overlap(sheet.box)
    if crop is not None and crop.width * crop.height <= _FEW_SOURCE_PIXELS:
        _Source.part(sheet, crop, shrink).sample(x, y, part.cut(canvas))
        return
    if sheet.box.width * sheet.box.height / shrink**2 <= _MOST_SOURCE_PIXELS:
        source = _Source.whole(sheet, shrink)
        source.sample(x, y, part.cut(canvas))
        return
    for block in _split_blocks(part):
        x, y = _project_pixels(sheet, extent, size_px, block)
        if crop := _enclose(x, y).overlap(sheet.box):
            _Source.part(sheet, crop, shrink).sample(x, y, block.cut(canvas))


def _project_pixels(
    sheet: Sheet, extent: Extent, size_px: tuple[int, int], part: Box
) -> tuple[F64, F64]:
    """Continuous columns and rows [h, w] of the sheet under the pixel centres of a part."""
    columns = np.linspace(part.left, part.right, part.width // _KNOTS_PX + 2)
    rows = np.linspace(part.top, part.bottom, part.height // _KNOTS_PX + 2)
    places = extent.places(*np.meshgrid(columns, rows), size_px)
    column, row = sheet.grid.pixel(*places)
    return _interpolate(column, part), _interpolate(row, part)


def _split_blocks(part: Box) -> Iterator[Box]:
    for top in range(part.top, part.bottom, _BLOCK_PX):
        for left in range(part.left, part.right, _BLOCK_PX):
            bottom, right = min(top + _BLOCK_PX, part.bottom), min(left + _BLOCK_PX, part.right)
            yield Box(top, bottom, left, right)


def _enclose(x: F64, y: F64) -> Box:
    return Box(
        math.floor(y.min()) - 1, math.ceil(y.max()) + 1,
        math.floor(x.min()) - 1, math.ceil(x.max()) + 1,
    )  # fmt: skip


class _Source(NamedTuple):
    """Pixels of a sheet, and the box of the sheet that they show."""

    patch: Patch
    box: Box

    @staticmethod
    def whole(sheet: Sheet, shrink: float) -> _Source:
        if shrink < _NO_SHRINK:
            return _Source(sheet.store.read(sheet.box), sheet.box)
        return _Source(sheet.store.shrunk(*_shrink_shape(sheet.box, shrink)), sheet.box)

    @staticmethod
    def part(sheet: Sheet, crop: Box, shrink: float) -> _Source:
        patch = sheet.store.read(crop)
        if shrink >= _NO_SHRINK:
            patch = shrink_patch(patch, *_shrink_shape(crop, shrink))
        return _Source(patch, crop)

    def sample(self, x: F64, y: F64, canvas: U8) -> None:
        """Fill canvas [h, w, 4] with the pixels at the sheet's coordinates x, y [h, w]."""
        import cv2

        pixels, valid = self.patch
        height, width = pixels.shape[:2]
        alpha = np.full((height, width), 255, np.uint8) if valid is None else valid
        drawn = cv2.remap(
            np.dstack([pixels, alpha]),
            ((x - self.box.left) * (width / self.box.width) - 0.5).astype(np.float32),
            ((y - self.box.top) * (height / self.box.height) - 0.5).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
        opaque = drawn[..., 3] >= _OPAQUE
        canvas[opaque] = drawn[opaque]


def _shrink_shape(box: Box, shrink: float) -> tuple[int, int]:
    """Height and width of a box in pixels that are ``shrink`` times larger."""
    return max(1, round(box.height / shrink)), max(1, round(box.width / shrink))


def _interpolate(knots: F64, part: Box) -> F64:
    """Bilinear values [h, w] at the part's pixel centres from values [m, n] at its knots."""
    across = (np.arange(part.width) + 0.5) / part.width * (knots.shape[1] - 1)
    down = (np.arange(part.height) + 0.5) / part.height * (knots.shape[0] - 1)
    left = np.minimum(across.astype(int), knots.shape[1] - 2)
    above = np.minimum(down.astype(int), knots.shape[0] - 2)
    share = across - left
    wide = knots[:, left] * (1.0 - share) + knots[:, left + 1] * share
    share = (down - above)[:, None]
    values: F64 = wide[above] * (1.0 - share) + wide[above + 1] * share
    return values
