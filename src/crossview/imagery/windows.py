"""Windows: squares of ground metres, laid in a raster's own rows and columns, and cut from imagery.

They are cut in reading order and in constant memory: of a sheet only a band of rows is held, which
moves down and reads each stored block once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from crossview.arrays import F64, I64, U8
from crossview.errors import require
from crossview.geo.grids import RasterGrid
from crossview.geo.points import LatLon, measure_distances_m
from crossview.imagery.sheets import Box, Patch, Sheet
from crossview.imagery.sources import Imagery

SLACK = 0.005  # a raster that is too small for a window by this share still gets one
STRIDE_SLACK = 0.02  # one window fewer where that widens the strides by 2 % of one in all
NODES = 65  # where the scale along the rows is measured; between them it is interpolated


CHUNK_ROWS = 256  # rows read at a time, at least; whole stored blocks in any case
NODATA_SHARE = 0.02  # a window with more of its pixels missing is left out
STRIP_PX = 24_576  # wider sheets are walked in strips, so that rows in memory stay bounded
OBLONG = 0.002  # pixels whose sides differ by a larger share are made square


@dataclass(frozen=True, slots=True)
class WindowRow:
    """Windows side by side: pixels [top, top + height) x [left, left + width) for each left.

    Windows hold at least the requested ground metres: their sides are rounded up to whole pixels.
    """

    top_px: int
    height_px: int
    width_px: int
    lefts_px: I64
    right_m: float  # ground metres per pixel along the row
    down_m: float  # and across it

    def centres(self) -> tuple[F64, F64]:
        """Continuous pixel coordinates (columns, rows) of the windows' centres."""
        columns = np.asarray(self.lefts_px + self.width_px / 2.0, np.float64)
        rows = np.full(len(columns), self.top_px + self.height_px / 2.0)
        return columns, rows


def lay_window_rows(grid: RasterGrid, footprint_m: float, stride_m: float) -> Iterator[WindowRow]:
    """Cover a grid with windows of ``footprint_m`` ground metres, at most ``stride_m`` apart.

    The windows are spread evenly from edge to edge; where the stride is as long as the grid, one
    stands in the middle. The scale is taken at the middle of each row,
    so that windows in Web Mercator hold more pixels towards the poles. A grid smaller than one
    window (by more than half a percent) gives none.
    """
    require(footprint_m > 0.0, f"footprint must be > 0 m, got {footprint_m}.")
    require(stride_m > 0.0, f"stride must be > 0 m, got {stride_m}.")
    middle = grid.width_px / 2.0
    nodes = np.linspace(0.0, grid.height_px, NODES)
    scale = grid.ground(np.full(NODES, middle), nodes).down_m
    steps = np.diff(nodes) * (scale[1:] + scale[:-1]) / 2.0
    metres = np.concatenate([[0.0], np.cumsum(steps)])
    centres = np.interp(_spread_centres(metres[-1], footprint_m, stride_m), metres, nodes)
    ground = grid.ground(np.full(len(centres), middle), centres)
    for centre, right_m, down_m in zip(centres, ground.right_m, ground.down_m, strict=True):
        height = min(_round_up(footprint_m / down_m), grid.height_px)
        width = min(_round_up(footprint_m / right_m), grid.width_px)
        across = _spread_centres(grid.width_px * right_m, footprint_m, stride_m) / right_m
        yield WindowRow(
            top_px=min(max(round(centre - height / 2.0), 0), grid.height_px - height),
            height_px=height,
            width_px=width,
            lefts_px=np.clip(np.rint(across - width / 2.0), 0, grid.width_px - width).astype(int),
            right_m=float(right_m),
            down_m=float(down_m),
        )


def _spread_centres(length_m: float, footprint_m: float, stride_m: float) -> F64:
    """Centres of windows along a length, first and last flush with its ends, or its middle."""
    room_m = length_m - footprint_m
    if room_m < -SLACK * footprint_m:
        return np.empty(0)
    is_single = room_m <= SLACK * footprint_m or stride_m >= length_m * (1.0 - SLACK)
    steps = 0 if is_single else math.ceil(room_m / stride_m - STRIDE_SLACK)
    if steps == 0:
        return np.array([length_m / 2.0])
    return np.linspace(footprint_m / 2.0, length_m - footprint_m / 2.0, steps + 1)


def _round_up(pixels: float) -> int:
    return max(1, math.ceil(pixels - 0.02))


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Which windows: their side, their distance, and the circle their centres must lie in.

    ``seen_m``: how wide a view of each is wanted beside its own pixels; 0: none.
    """

    footprint_m: float
    stride_m: float
    near: LatLon | None = None
    within_m: float = 0.0
    seen_m: float = 0.0


class Window(NamedTuple):
    """One window. ``pixels`` is a view of the rows in memory: copy it to keep it."""

    number: int  # counts all planned windows, those left out too
    pixels: U8  # [h, w, 3], square pixels, at least the footprint
    metres_per_px: float
    lat: float
    lon: float
    up_bearing_deg: float
    around: U8 | None = None  # [h, w, 3]: ``Tiling.seen_m`` about the same centre, else white


class Strip(NamedTuple):
    """Columns [left, right) of a sheet, and the rows of windows that lie in them."""

    sheet: Sheet
    left: int
    right: int
    rows: Iterator[WindowRow]


def count_windows(imagery: Imagery, tiling: Tiling) -> int:
    """How many windows are planned; those without data are only found when read."""
    return sum(len(row.lefts_px) for strip in plan_strips(imagery, tiling) for row in strip.rows)


def count_cut_short(imagery: Imagery, tiling: Tiling) -> int:
    """How many planned windows see less than ``seen_m`` of imagery: they are near its edge."""
    return sum(
        sum(
            _place_around(row, left, tiling).overlap(strip.sheet.box)
            != _place_around(row, left, tiling)
            for left in row.lefts_px.tolist()
        )
        for strip in plan_strips(imagery, tiling)
        for row in strip.rows
    )


def _place_around(row: WindowRow, left_px: int, tiling: Tiling) -> Box:
    """The pixels of a sheet, perhaps beyond it, that show ``seen_m`` about a window's centre."""
    down = max(0, math.ceil((tiling.seen_m / row.down_m - row.height_px) / 2.0))
    right = max(0, math.ceil((tiling.seen_m / row.right_m - row.width_px) / 2.0))
    return Box(
        row.top_px - down,
        row.top_px + row.height_px + down,
        left_px - right,
        left_px + row.width_px + right,
    )


def cut_windows(imagery: Imagery, tiling: Tiling, start: int = 0) -> Iterator[Window]:
    """The planned windows from number ``start``, without those that lack data.

    Windows of which more than 2 % is no data, and windows of one single colour, are left out.
    """
    yield from WindowCutter(imagery, tiling).cut(start)


class WindowCutter:
    """Cuts ranges of the planned windows, as :func:`cut_windows` does, one range after the other.

    What a range that goes on further down has in common with the last one is not read again. For
    one thread at a time; a range is cut to its end, or given up, before the next one.
    """

    def __init__(self, imagery: Imagery, tiling: Tiling) -> None:
        self._tiling = tiling
        self._more = plan_strips(imagery, tiling)
        self._strips: list[tuple[int, int, Strip]] = []  # numbers [first, end) of each, as known
        self._rows: RowBuffer | None = None
        self._reached = 0, 0  # the strip that the rows are of, and the first window of the last row

    def cut(self, start: int, stop: float = math.inf) -> Iterator[Window]:
        """The windows with numbers [start, stop) that have data."""
        for k, (first, _, planned) in self._list_strips(start, stop):
            strip = self._widen(planned)
            number = first
            for row in _plan_rows(planned.sheet, self._tiling, planned.left):
                if number >= stop:
                    return
                if number + len(row.lefts_px) > start:
                    rows = self._open_rows(k, number, strip)
                    yield from _cut_row(strip, row, rows, (number, start, stop), self._tiling)
                number += len(row.lefts_px)

    def _list_strips(self, start: int, stop: float) -> Iterator[tuple[int, tuple[int, int, Strip]]]:
        """The strips that hold windows of [start, stop), each with its place in the plan."""
        k = 0
        while True:
            if k == len(self._strips):
                if (strip := next(self._more, None)) is None:
                    return
                first = self._strips[-1][1] if self._strips else 0
                count = sum(len(row.lefts_px) for row in strip.rows)
                self._strips.append((first, first + count, strip))
            first, end, _ = self._strips[k]
            if first >= stop:
                return
            if end > start:
                yield k, self._strips[k]
            k += 1

    def _widen(self, strip: Strip) -> Strip:
        """The strip with what is seen of it to both sides."""
        widest = round(self._tiling.seen_m / min(strip.sheet.pixel_sides_m))
        right = min(strip.right + widest, strip.sheet.grid.width_px)
        return strip._replace(left=max(0, strip.left - widest), right=right)

    def _open_rows(self, k: int, number: int, strip: Strip) -> RowBuffer:
        """The rows that are in memory, unless they are of another strip, or further down."""
        if self._rows is None or self._reached[0] != k or number < self._reached[1]:
            self._rows = RowBuffer(strip.sheet, strip.left, strip.right)
        self._reached = k, number
        return self._rows


def plan_strips(imagery: Imagery, tiling: Tiling) -> Iterator[Strip]:
    """The plan in reading order: sheet by sheet, strip by strip, rows from the top."""
    for sheet in imagery.sheets:
        rows = lay_window_rows(sheet.grid, tiling.footprint_m, tiling.stride_m)
        widest = max((row.width_px for row in rows), default=0)
        if widest == 0:
            continue
        for left in range(0, sheet.grid.width_px, STRIP_PX):
            right = min(left + STRIP_PX + widest, sheet.grid.width_px)
            yield Strip(sheet, left, right, _plan_rows(sheet, tiling, left))


def _plan_rows(sheet: Sheet, tiling: Tiling, left: int) -> Iterator[WindowRow]:
    """Rows reduced to the windows that begin in the strip at ``left`` and lie in the circle."""
    for row in lay_window_rows(sheet.grid, tiling.footprint_m, tiling.stride_m):
        kept = (row.lefts_px >= left) & (row.lefts_px < left + STRIP_PX)
        if tiling.near is not None and kept.any():
            lat, lon = sheet.grid.latlon(*row.centres())
            kept &= measure_distances_m(tiling.near, lat, lon) <= tiling.within_m
        if kept.any():
            yield replace(row, lefts_px=row.lefts_px[kept])


class PlacedWindow(NamedTuple):
    """A window around one place, on a sheet that holds all of it."""

    sheet: Sheet
    row: WindowRow  # of this one window

    @property
    def reach_m(self) -> float:
        """From its centre to its northernmost corner, metres."""
        columns, rows = self.row.centres()
        turn = math.radians(float(self.sheet.grid.ground(columns, rows).up_bearing_deg[0]))
        across = self.row.width_px * self.row.right_m * abs(math.sin(turn))
        along = self.row.height_px * self.row.down_m * abs(math.cos(turn))
        return 0.5 * (across + along)


def place_windows(
    imagery: Imagery, lat: F64, lon: F64, footprint_m: float
) -> list[list[PlacedWindow]]:
    """For each place [N] the windows of ``footprint_m`` about it, of the finest sheet first.

    They lie in the sheet's own rows and columns, their sides and centres in whole pixels, so that
    the place is within a pixel of the middle. None where no sheet holds all of it.
    """
    require(footprint_m > 0.0, f"footprint must be > 0 m, got {footprint_m}.")
    found: list[list[PlacedWindow]] = [[] for _ in range(len(lat))]
    for sheet in sorted(imagery.sheets, key=lambda sheet: sheet.metres_per_px):
        columns, rows = sheet.grid.pixel(lat, lon)
        with np.errstate(invalid="ignore"):
            inside = (columns > 0.0) & (columns < sheet.grid.width_px)
            inside &= (rows > 0.0) & (rows < sheet.grid.height_px)
        for n in np.flatnonzero(inside):
            if (row := _place_window(sheet, columns[n], rows[n], footprint_m)) is not None:
                found[n].append(PlacedWindow(sheet, row))
    return found


def _place_window(sheet: Sheet, column: float, row: float, footprint_m: float) -> WindowRow | None:
    grid = sheet.grid
    ground = grid.ground(column, row)
    right_m, down_m = float(ground.right_m), float(ground.down_m)
    width, height = _round_up(footprint_m / right_m), _round_up(footprint_m / down_m)
    left, top = round(column - width / 2.0), round(row - height / 2.0)
    if not (0 <= left <= grid.width_px - width and 0 <= top <= grid.height_px - height):
        return None
    return WindowRow(top, height, width, np.array([left]), right_m, down_m)


def cut_placed(placed: PlacedWindow, number: int = 0) -> Window | None:
    """The window that :func:`place_windows` found; None if it lacks data."""
    row, (left,) = placed.row, placed.row.lefts_px.tolist()
    box = Box(row.top_px, row.top_px + row.height_px, left, left + row.width_px)
    patch = placed.sheet.store.read(box)
    if _lacks_data(patch.pixels, patch.valid):
        return None
    columns, rows = row.centres()
    lat, lon = placed.sheet.grid.latlon(columns, rows)
    up = placed.sheet.grid.ground(columns, rows).up_bearing_deg
    pixels, metres_per_px = _make_square(patch.pixels, row)
    return Window(number, pixels, metres_per_px, float(lat[0]), float(lon[0]), float(up[0]))


def _cut_row(
    strip: Strip,
    row: WindowRow,
    rows: RowBuffer,
    numbers: tuple[int, int, float],
    tiling: Tiling,
) -> Iterator[Window]:
    number, start, stop = numbers
    tall = _place_around(row, 0, tiling)
    top, bottom = max(0, tall.top), min(tall.bottom, strip.sheet.grid.height_px)
    patch = rows.read(top, bottom)
    centres = row.centres()
    lat, lon = strip.sheet.grid.latlon(*centres)
    up = strip.sheet.grid.ground(*centres).up_bearing_deg
    held = Box(top, bottom, strip.left, strip.right)
    for i, left in enumerate(row.lefts_px.tolist()):
        own = Box(row.top_px, row.top_px + row.height_px, left, left + row.width_px)
        window = patch.cut(own.shift_to(held))
        if not start <= number + i < stop or _lacks_data(window.pixels, window.valid):
            continue
        pixels, metres_per_px = _make_square(window.pixels, row)
        around = None
        if tiling.seen_m:
            seen = _cut_around(patch, _place_around(row, left, tiling).shift_to(held))
            around = _make_square(seen, row)[0]
        place = float(lat[i]), float(lon[i]), float(up[i])
        yield Window(number + i, pixels, metres_per_px, *place, around)


def _cut_around(patch: Patch, box: Box) -> U8:
    """The pixels of a box that may reach beyond the patch; white where there is no imagery."""
    pixels = np.full((box.height, box.width, 3), 255, np.uint8)
    if (there := box.overlap(Box(0, len(patch.pixels), 0, patch.pixels.shape[1]))) is not None:
        inner = patch.cut(there)
        target = there.shift_to(box).cut(pixels)
        target[:] = inner.pixels
        if inner.valid is not None:
            target[inner.valid == 0] = 255
    return pixels


def _lacks_data(pixels: U8, valid: U8 | None) -> bool:
    import cv2

    if valid is not None and valid.size - cv2.countNonZero(valid) > NODATA_SHARE * valid.size:
        return True
    corner = pixels[0, 0]
    return bool((pixels[::8, ::8] == corner).all() and (pixels == corner).all())


def _make_square(pixels: U8, row: WindowRow) -> tuple[U8, float]:
    """Pixels as they are if they are square, else resampled to the finer of their two sides.

    The scale has five digits (4 mm in 80 m), so that neighbouring rows of Web Mercator share it
    and what is computed from it can be reused.
    """
    import cv2

    finer = min(row.right_m, row.down_m)
    if max(row.right_m, row.down_m) <= finer * (1.0 + OBLONG):
        return pixels, float(f"{(row.right_m * row.down_m) ** 0.5:.5g}")
    height, width = pixels.shape[:2]
    size = round(width * row.right_m / finer), round(height * row.down_m / finer)
    square = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(square, np.uint8), float(f"{finer:.5g}")


class RowBuffer:
    """Columns [left, right) of a sheet, read from the top in chunks of whole blocks."""

    def __init__(self, sheet: Sheet, left: int, right: int) -> None:
        self._sheet, self._left, self._right = sheet, left, right
        block = sheet.store.block_px[0]
        self._chunk = block * -(-CHUNK_ROWS // block)
        self._top = self._bottom = 0
        self._patch: Patch | None = None

    def read(self, top: int, bottom: int) -> Patch:
        """Rows [top, bottom) as views; ``top`` must not move up between calls."""
        if self._patch is None or top >= self._bottom:
            self._patch, self._top = None, top - top % self._chunk
            self._bottom = self._top
        if bottom > self._bottom:
            self._extend(top, min(-(-bottom // self._chunk) * self._chunk, self._sheet.box.bottom))
        return self._held().cut(Box(top - self._top, bottom - self._top, 0, self._width))

    @property
    def _width(self) -> int:
        return self._right - self._left

    def _held(self) -> Patch:
        return self._patch or Patch(np.empty((0, self._width, 3), np.uint8), None)

    def _extend(self, top: int, bottom: int) -> None:
        """Forget rows above ``top`` and read on to ``bottom``."""
        new = self._sheet.store.read(Box(self._bottom, bottom, self._left, self._right))
        if self._patch is not None:
            kept = Box(top - self._top, self._bottom - self._top, 0, self._width)
            self._patch, self._top = _stack(self._patch.cut(kept), new), top
        else:
            self._patch = new
        self._bottom = bottom


def _stack(above: Patch, below: Patch) -> Patch:
    pixels = np.concatenate([above.pixels, below.pixels])
    if above.valid is None and below.valid is None:
        return Patch(pixels, None)
    parts = [
        np.full(patch.pixels.shape[:2], 255, np.uint8) if patch.valid is None else patch.valid
        for patch in (above, below)
    ]
    return Patch(pixels, np.concatenate(parts))
