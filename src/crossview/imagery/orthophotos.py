"""Imagery as orthophotos that worlds are drawn on: overlapping squares, and what stands on them.

Of a region one end may be kept apart: no aerial picture of the one part shows ground of the other.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crossview.arrays import F64, Bool
from crossview.errors import BadImagery, EmptyRegion, InvalidValue, require
from crossview.files import atomic_write, sweep
from crossview.geo.grids import RasterGrid
from crossview.geo.points import EARTH_RADIUS_M, LatLon, find_middle, project_to_local_m
from crossview.imagery.elevations import HeightKind, read_heights
from crossview.imagery.sources import Imagery, is_grey
from crossview.imagery.windows import Tiling, Window, count_windows, cut_windows, plan_strips
from crossview.locks import lock
from crossview.worlds.land_cover import COARSEST_M, check_picture
from crossview.worlds.ortho_pairs import (
    INSET_M,
    ORTHO_VERSION,
    OrthoPlan,
    describe_worlds,
    render_ortho_pairs,
    require_pairs_room,
)
from crossview.worlds.orthoworld import Orthophoto, lay_cells, read_ground
from crossview.worlds.outlines import Plan, draw_outlines, read_plans
from crossview.worlds.relief import LEAST_RISE_M, check_alignment
from crossview.worlds.town import CELL_M
from crossview.worlds.town_pairs import PAIRS_NAME, read_made_by
from crossview.worlds.write import write_pair_sheet

_OWN_NAMES = (PAIRS_NAME, "pairs.json", "sheet.png", "places.csv", "aerial.tif")
TILE_M = 360.0  # side of a square; smaller ones are cut where the imagery is smaller
LEAST_TILE_M = 2.0 * INSET_M + 20.0
_LEAST_DEPTH_M = 40.0  # of the ground to stand on, on either side of the line
_SAMPLES = 65  # along a side of a square, where the line through it is looked for


@dataclass(frozen=True)
class Squares:
    """Squares of one size that cover imagery, and the latitude below which a part is kept apart.

    ``line_lat`` is minus infinity where nothing is kept apart.
    """

    imagery: Imagery
    tiling: Tiling
    line_lat: float

    @property
    def count(self) -> int:
        """Squares planned; some may hold no data."""
        return count_windows(self.imagery, self.tiling)


def plan_squares(imagery: Imagery, *, kept_share: float = 0.2, side_m: float = TILE_M) -> Squares:
    """Lay squares over imagery and a line that leaves ``kept_share`` of its height south of it.

    Raises TooCoarse, BadImagery for what no world can be drawn of, and :class:`EmptyRegion` that
    says how large a region would do.
    """
    for side in (side_m, *(s for s in (240.0, 160.0, LEAST_TILE_M) if s < side_m)):
        tiling = Tiling(footprint_m=side, stride_m=max(10.0, side - 2.0 * INSET_M))
        lat = [place[0] for place in _list_centres(Squares(imagery, tiling, -math.inf))]
        if lat:
            break
    else:
        raise EmptyRegion(
            f"The imagery holds no square of {LEAST_TILE_M:.0f} m that a world can be drawn on.\n"
            f"Give a region of {LEAST_TILE_M:.0f} m x {LEAST_TILE_M:.0f} m at least."
        )
    if kept_share <= 0.0:
        return Squares(imagery, tiling, -math.inf)
    metre = math.degrees(1.0 / EARTH_RADIUS_M)
    height_m = (max(lat) - min(lat)) / metre + side
    least_m = 2.0 * (2.0 * INSET_M + _LEAST_DEPTH_M)
    if height_m < least_m:
        raise EmptyRegion(
            f"The region is {height_m:.0f} m from north to south: too little to keep a part apart, "
            f"for validation.\nA region of {least_m:.0f} m would do; or keep nothing apart "
            "(--keep 0)."
        )
    kept_m = float(np.clip(kept_share * height_m, least_m / 2.0, height_m - least_m / 2.0))
    return Squares(imagery, tiling, min(lat) + (kept_m - 0.5 * side) * metre)


def cut_orthophotos(squares: Squares) -> Iterator[Orthophoto]:
    """The squares that hold data, one by one; those on the line twice, once for either part."""
    notes_known = False
    for window in cut_windows(squares.imagery, squares.tiling):
        if not notes_known:
            check_picture(window.pixels, window.metres_per_px)
            notes_known = True
        tile = Orthophoto(
            name=f"tile-{window.number:05d}",
            picture=np.ascontiguousarray(window.pixels),
            metres_per_px=window.metres_per_px,
            centre=LatLon(window.lat, window.lon),
            up_bearing_deg=window.up_bearing_deg,
        )
        north_m = _measure_north_m(window, squares.line_lat)
        turn = math.radians(window.up_bearing_deg)
        clear_m = INSET_M * (abs(math.cos(turn)) + abs(math.sin(turn)))
        for split, stand in (("train", north_m > clear_m), ("val", north_m < -clear_m)):
            if stand.any():
                mask = None if stand.all() else stand
                yield replace(tile, name=f"{tile.name}-{split}", split=split, stand=mask)


def _list_centres(squares: Squares) -> Iterator[tuple[float, float]]:
    for strip in plan_strips(squares.imagery, squares.tiling):
        for row in strip.rows:
            lat, lon = strip.sheet.grid.latlon(*row.centres())
            yield from zip(lat.tolist(), lon.tolist(), strict=True)


def _measure_north_m(window: Window, line_lat: float) -> F64:
    """How far places of a square [samples, samples] lie north of a latitude."""
    height, width = (n * window.metres_per_px for n in window.pixels.shape[:2])
    turn = math.radians(window.up_bearing_deg)
    share = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
    north = -share[:, None] * height * math.cos(turn) - share[None, :] * width * math.sin(turn)
    north_m: F64 = north + math.radians(window.lat - line_lat) * EARTH_RADIUS_M
    return north_m


def add_heights(
    tiles: Iterable[Orthophoto], path: Path, kind: HeightKind = "auto"
) -> Iterator[Orthophoto]:
    """The tiles with a raster's heights where it covers them."""
    for tile in tiles:
        try:
            heights, _ = read_heights(path, lay_cells(tile), kind)
        except BadImagery:  # of the whole region it was read before: this is a hole
            yield tile
        else:
            yield replace(tile, heights=heights)


def add_outlines(tiles: Iterable[Orthophoto], plans: Sequence[Plan]) -> Iterator[Orthophoto]:
    """The tiles with the outlines of buildings that lie on them."""
    for tile in tiles:
        yield replace(tile, outlines=draw_outlines(plans, lay_cells(tile), must_meet=False))


def check_first(
    tiles: Iterable[Orthophoto], heights: Path | None, buildings: Path | None
) -> Iterator[Orthophoto]:
    """The tiles; of the first that has heights or outlines it is seen whether they fit the picture.

    Raises :class:`BadImagery` where they clearly lie some metres beside it.
    """
    todo = {"heights": heights, "outlines": buildings}
    for tile in tiles:
        for what, path in tuple(todo.items()):
            raised = _find_raised(tile, what)
            if path is None or raised is None or not raised.any():
                continue
            check_alignment(read_ground(tile).land, raised, str(path))
            del todo[what]
        yield tile


def _find_raised(tile: Orthophoto, what: str) -> Bool | None:
    if what == "heights":
        return None if tile.heights is None else tile.heights.above_ground_m > LEAST_RISE_M
    return None if tile.outlines is None else tile.outlines.building > 0


def _lay_coarse(squares: Squares) -> RasterGrid:
    """A grid of a thousand pixels over all squares, to see whether something covers them."""
    lat, lon = (np.array(degrees) for degrees in zip(*_list_centres(squares), strict=True))
    middle = find_middle(lat, lon)
    east, north = project_to_local_m(middle, lat, lon)
    reach_m = 0.5 * squares.tiling.footprint_m + float(max(np.abs(east).max(), np.abs(north).max()))
    return RasterGrid.around(middle, max(CELL_M, 2.0 * reach_m / 1000.0), (1000, 1000))


@dataclass(frozen=True)
class DrawnRegion:
    """Worlds of a region that are to be drawn into a folder: pairs.csv, pictures, sheet.png."""

    out: Path
    squares: int
    notes: tuple[str, ...]
    tiles: Iterable[Orthophoto]
    plan: OrthoPlan
    what: str
    licence: str
    workers: int

    def require_own_folder(self) -> None:
        """Raise InvalidValue where the folder holds a list or a sheet that is not of these pairs.

        What an interrupted drawing left is its own.
        """
        there = [name for name in _OWN_NAMES if (self.out / name).exists()]
        note = read_made_by(self.out / PAIRS_NAME)
        begun = not note and any(self.out.glob(f"tile-*.{ORTHO_VERSION}-*.csv"))
        if there and not begun and note != describe_worlds(self.what, self.plan):
            raise InvalidValue(
                f"{self.out} already holds {there[0]}, which is not of these worlds"
                f"{f' ({note})' if note else ''}.\nChoose another --out, or remove it."
            )

    def draw(self) -> Iterator[int]:
        """Draw what is missing, counting the squares that are done. Two at once wait in turn."""
        with lock(self.out, "crossview: rendering pairs", wait=True, make_parents=True):
            sweep(self.out)  # also where the list is whole and only what describes it is missing
            done: set[str] = set()
            jobs = render_ortho_pairs(self.out, self.tiles, self.plan, self.workers, self.what)
            for name in jobs:
                done.add(name.rpartition("-")[0])
                yield len(done)
            if not any(self.count_pairs().values()):
                raise EmptyRegion(
                    "No pair could be drawn: the imagery shows only roofs, water and trees.\n"
                    "Give a larger area or other imagery."
                )
            made_by = describe_worlds(self.what, self.plan)
            facts = {"training_data": made_by, "licence": self.licence}
            atomic_write(self.out / "pairs.json", json.dumps(facts, indent=1) + "\n")
            write_pair_sheet(self.out / "sheet.png", self.out / PAIRS_NAME)

    def count_pairs(self) -> dict[str, int]:
        """Pairs by split, as listed."""
        with (self.out / PAIRS_NAME).open(encoding="utf-8", newline="") as stream:
            return dict(Counter(row["split"] for row in csv.DictReader(stream)))


def prepare_region(  # noqa: PLR0913 - what is known of the region, and what is wanted
    imagery: Imagery,
    out: Path,
    *,
    pairs: int,
    kept_share: float,
    plan: OrthoPlan,
    heights: Path | None = None,
    buildings: Path | None = None,
    workers: int = 0,
) -> DrawnRegion:
    """Check what worlds of imagery need, and plan about ``pairs`` pairs of them.

    Raises errors for imagery that is too coarse or too small, and for a disk that is too small.
    """
    require(pairs >= 1, f"a number of pairs must be at least 1, got {pairs}.")
    require(0.0 <= kept_share <= 0.6, f"the share kept apart must be 0 to 0.6, got {kept_share}.")
    if imagery.info.metres_per_px > COARSEST_M:
        check_picture(np.zeros((1, 1, 3), np.uint8), imagery.info.metres_per_px)
    squares = plan_squares(imagery, kept_share=kept_share)
    require_pairs_room(out, pairs)
    stand_ha = squares.count * (squares.tiling.footprint_m - 2.0 * INSET_M) ** 2 / 1e4
    tiles = cut_orthophotos(squares)
    notes: list[str] = []
    if heights is not None:
        notes += read_heights(heights, _lay_coarse(squares))[1]  # or its error, before the work
        tiles = add_heights(tiles, heights)
    if buildings is not None:
        plans = read_plans(buildings)
        draw_outlines(plans, _lay_coarse(squares))  # or its error
        tiles = add_outlines(tiles, plans)
    tiles = check_first(tiles, heights, buildings)
    if is_grey(imagery):
        notes.append("the imagery is grey, and so are its worlds: a model learns less from them")
    known = ", ".join(str(path) for path in (heights, buildings) if path is not None)
    return DrawnRegion(
        out,
        squares.count,
        tuple(notes),
        tiles,
        replace(plan, pairs_per_ha=pairs / stand_ha, least=1),
        f"imagery {imagery.info.signature[:16]}, {kept_share:g} kept apart"
        + (f", with {known}" if known else ""),
        f"pictures from above: {imagery.info.attribution or 'as their owner says'}; "
        "from the ground: drawn",
        workers,
    )
