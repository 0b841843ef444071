"""The world of a real orthophoto: its ground, with guessed or measured things standing on it.

The picture gives the colours of ground, roofs and leaves; everything else is drawn from the world's
own number: heights where none are known, walls, season, sun, cars. The picture's old shadows are
lightened and new ones cast, so that the two views of a pair never share their light.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from crossview.arrays import F32, I8, U8, Bool
from crossview.errors import EmptyRegion, require
from crossview.geo.grids import RasterGrid
from crossview.geo.points import LatLon, move_point
from crossview.worlds.camera import (
    SEASONS,
    Drive,
    Light,
    Sky,
    cast_shadows,
    colour_ground,
    draw_light,
    stack_objects,
)
from crossview.worlds.land_cover import Land, LandCover, estimate_land_cover
from crossview.worlds.relief import Heights, Outlines, Relief, make_relief
from crossview.worlds.styles import BRICK, FLAT, MODERN, PAINTED, RENDER, Colour
from crossview.worlds.town import (
    CELL_M,
    TRUNK_RGB,
    Cars,
    Generator,
    GroundCover,
    ObjectKind,
    Objects,
    Scene,
    compute_slopes,
    draw_smooth_noise,
    fill_with_cars,
    seed_generator,
)

WALLS = (RENDER, BRICK, MODERN, PAINTED, FLAT)
HOLE_SHARE = 0.05  # of the ground around a camera that the survey may lack
EYE_RANGE_M = (1.6, 3.0)  # a person's camera, and one on the roof of a car

_GROUND: dict[LandCover, GroundCover] = {
    LandCover.PAVED: GroundCover.ASPHALT,
    LandCover.BARE: GroundCover.GRAVEL,
    LandCover.GRASS: GroundCover.GRASS,
    LandCover.TREE: GroundCover.GRASS,
    LandCover.WATER: GroundCover.WATER,
    LandCover.ROOF: GroundCover.YARD,
}


@dataclass(frozen=True)
class Orthophoto:
    """A real orthophoto of one place, with what is known of the heights on it.

    ``picture``: [h, w, 3] of square pixels, up as in ``up_bearing_deg`` (clockwise from true
    north). ``other_years``: the same ground at the same size, taken at other times. ``heights`` and
    ``outlines`` lie on its cells, as many as :func:`count_cells` says.
    """

    name: str  # of a folder; unique among tiles
    picture: U8
    metres_per_px: float
    centre: LatLon
    up_bearing_deg: float = 0.0
    split: str = "train"
    valid: Bool | None = None  # [h, w]; False in holes of the survey
    other_years: tuple[U8, ...] = ()
    heights: Heights | None = None
    outlines: Outlines | None = None
    stand: Bool | None = None  # coarse, over all of the picture: where cameras may stand

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the pictures and of what is known of heights."""
        found = hashlib.sha256(repr((self.metres_per_px, self.picture.shape)).encode())
        known = [] if self.heights is None else [self.heights.above_ground_m]
        told = [] if self.outlines is None else [self.outlines.building, self.outlines.height_m]
        mapped = None if self.outlines is None else self.outlines.known
        masks = [mask for mask in (self.valid, self.stand, mapped) if mask is not None]
        for part in (self.picture, *self.other_years, *known, *told, *masks):
            found.update(np.ascontiguousarray(part).tobytes())
        return found.hexdigest()[:16]


@dataclass(frozen=True)
class OrthoGround:
    """A tile over cells of ``CELL_M``: its pictures [rows, columns, 3], and what they show.

    ``sunny``: the first picture with its shadows lightened.
    """

    tile: Orthophoto
    pictures: tuple[U8, ...]  # the tile's own first
    sunny: U8
    land: Land
    valid: Bool

    def locate(self, east_m: float, south_m: float) -> LatLon:
        """The place of a point, metres from the corner in the tile's own frame."""
        rows, columns = self.land.cover.shape
        right, up = east_m - 0.5 * columns * CELL_M, 0.5 * rows * CELL_M - south_m
        turn = math.radians(self.tile.up_bearing_deg)
        return move_point(
            self.tile.centre,
            east_m=right * math.cos(turn) + up * math.sin(turn),
            north_m=up * math.cos(turn) - right * math.sin(turn),
        )


@dataclass
class OrthoWorld(Scene):
    """One world on a tile: its layers, and what it takes the ground for."""

    own: OrthoGround
    land: Land

    endless: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The tile, by its content."""
        return f"ortho {self.own.tile.digest}"


def read_ground(tile: Orthophoto) -> OrthoGround:
    """Bring a tile to cells and estimate what lies on them; once for all of its worlds."""
    pictures = tuple(_resample(p, tile.metres_per_px) for p in (tile.picture, *tile.other_years))
    require(
        len({p.shape for p in pictures}) == 1,
        f"the pictures of tile {tile.name} differ in size: {[p.shape for p in pictures]}.",
    )
    land = estimate_land_cover(pictures[0])
    valid = np.ones(land.cover.shape, np.bool_)
    if tile.valid is not None:
        valid = _resample(tile.valid.astype(np.uint8) * 255, tile.metres_per_px) > 250
    return OrthoGround(tile, pictures, _lighten_shadows(pictures[0], land), land, valid)


def _mow_verges(land: Land, rng: Generator) -> Land:
    """Take some narrow strips of trees for grass: a verge and a hedge look alike from above."""
    import cv2

    tree = (land.cover == LandCover.TREE).astype(np.uint8)
    narrow, thin = (
        (tree > 0) & (cv2.morphologyEx(tree, cv2.MORPH_OPEN, _make_disc(width_m)) == 0)
        for width_m in (4.4, 2.5)
    )
    _, strip, facts, _ = cv2.connectedComponentsWithStats(narrow.astype(np.uint8))
    longest_m = np.maximum(facts[:, cv2.CC_STAT_WIDTH], facts[:, cv2.CC_STAT_HEIGHT]) * CELL_M
    mown = (longest_m > 12.0) & (rng.random(len(facts)) < rng.uniform(0.3, 1.0))
    mown[0] = False
    cover = np.where(mown[strip] | thin, np.uint8(LandCover.GRASS), land.cover)
    return replace(land, cover=cover)


def _make_disc(width_m: float) -> U8:
    import cv2

    size = 2 * round(0.5 * width_m / CELL_M) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def count_cells(pixels: int, metres_per_px: float) -> int:
    """Cells along a side of a picture."""
    return round(pixels * metres_per_px / CELL_M)


def lay_cells(tile: Orthophoto) -> RasterGrid:
    """The cells of the worlds that are drawn on a tile."""
    height, width = (count_cells(n, tile.metres_per_px) for n in tile.picture.shape[:2])
    return RasterGrid.around(tile.centre, CELL_M, (width, height), tile.up_bearing_deg)


def _resample(picture: U8, metres_per_px: float) -> U8:
    import cv2

    height, width = (count_cells(n, metres_per_px) for n in picture.shape[:2])
    if (height, width) == picture.shape[:2]:
        return picture
    how = cv2.INTER_AREA if metres_per_px < CELL_M else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)


def draw_world(own: OrthoGround, number: int) -> OrthoWorld:
    """Draw world ``number`` on a tile: what stands there, how high, and of which colour."""
    name, shape = f"ortho {own.tile.digest}", own.land.cover.shape
    land = _mow_verges(own.land, seed_generator(name, number, "verges"))
    blank = np.zeros(shape, np.uint8)
    table = np.array([_GROUND[cover] for cover in LandCover], np.uint8)
    world = OrthoWorld(
        seed=number,
        ground=table[land.cover],
        grain=np.ones(shape, np.float32),
        height_m=np.zeros(shape, np.float32),
        object_row=np.zeros(shape, np.int32),
        crown_top_m=np.zeros(shape, np.float32),
        crown_base_m=np.zeros(shape, np.float32),
        crown_tint=blank,
        objects=Objects.empty(),
        own=own,
        land=land,
    )
    rng = world.seed_generator("relief")
    relief = make_relief(land, rng, heights=own.tile.heights, outlines=own.tile.outlines)
    _raise_relief(world, relief, world.seed_generator("walls"))
    fine = world.seed_generator("grain")
    side = max(shape)
    waves = draw_smooth_noise(side, 2.5, fine)[: shape[0], : shape[1]]
    world.grain += fine.normal(0.0, 0.07, shape).astype(np.float32) + 0.05 * waves
    return world


def _raise_relief(world: OrthoWorld, relief: Relief, rng: Generator) -> None:
    """Enter buildings, trunks and crowns into the world's layers and objects."""
    box = (0.0, 0.0, 1.0, 1.0, 0.0)  # one row stands for all trunks
    trunk = world.objects.add(ObjectKind.TRUNK, box, 3.0, top=TRUNK_RGB, side=TRUNK_RGB, look=0)
    usual = WALLS[int(rng.integers(len(WALLS)))]
    rows = np.zeros(len(relief.buildings) + 1, np.int32)
    for n, building in enumerate(relief.buildings, 1):
        palette = usual if rng.random() < 0.5 else WALLS[int(rng.integers(len(WALLS)))]
        r = building.box
        rows[n] = world.objects.add(
            ObjectKind.BUILDING,
            (r.east_m, r.south_m, r.half_along_m, r.half_across_m, r.angle),
            building.eave_m,
            top=(0, 0, 0),
            side=_draw_wall_colour(palette, rng),
            look=int(rng.integers(1 << 30)),
        )
    world.height_m[:] = relief.height_m
    world.object_row[:] = rows[relief.building]
    bare = relief.trunk & (relief.building == 0)
    world.height_m[bare] = relief.crown_base_m[bare]
    world.object_row[bare] = trunk
    world.crown_top_m[:], world.crown_base_m[:] = relief.crown_top_m, relief.crown_base_m
    _grow_hedges(world, rng)


def _grow_hedges(world: OrthoWorld, rng: Generator) -> None:
    """Let some of the crowns begin at the ground, as hedges, bushes and the edges of woods do."""
    rows, columns = world.height_m.shape
    waves = draw_smooth_noise(max(rows, columns), float(rng.uniform(12.0, 40.0)), rng)
    low = waves[:rows, :columns] < rng.uniform(-0.9, 0.35)
    world.crown_base_m[low] = np.minimum(world.crown_base_m, 0.3)[low]


def _draw_wall_colour(palette: tuple[Colour, ...], rng: Generator) -> Colour:
    base = np.array(palette[int(rng.integers(len(palette)))], np.float64)
    varied = base * rng.uniform(0.75, 1.15) + rng.normal(0.0, 8.0, 3)
    r, g, b = np.clip(varied, 12, 250).astype(int)
    return int(r), int(g), int(b)


def start_ortho_drive(
    world: OrthoWorld, skies: tuple[U8, ...] = (), textures: U8 | None = None
) -> Drive:
    """Draw the light, the season and the cars of the world, and one of ``skies`` or none."""
    import cv2

    rng = world.seed_generator("drive")
    light = draw_light(rng, overcast_share=0.4)
    colour = _paint_ground(world, light, rng)
    crowns = _tint_crowns(world, light, rng)
    cars = _park_cars(world, rng)
    solid = np.maximum(world.height_m, cars.height_m)
    dark = cast_shadows(np.maximum(solid, world.crown_top_m), light)
    sunlit = np.where(dark, np.float32(light.shade), np.float32(1.0))
    colour *= cv2.GaussianBlur(sunlit, (0, 0), 0.8)[..., None]
    pick = int(rng.integers(2 * len(skies) + 1))
    sky = Sky(skies[pick], float(rng.uniform(0.0, 360.0))) if pick < len(skies) else None
    return Drive(
        world,
        light,
        cars,
        solid,
        sunlit,
        colour_ground(light),
        crowns,
        stack_objects(world.objects),
        np.clip(colour, 0.0, 255.0).astype(np.uint8),
        sky,
        _find_outward(world),
        textures,
    )


def _find_outward(world: OrthoWorld) -> I8:
    """Which way the walls near a cell face, [rows, columns, 2] towards east and south."""
    import cv2

    built = cv2.GaussianBlur((world.object_row > 1).astype(np.float32), (0, 0), 1.5)
    steps = (cv2.Sobel(built, cv2.CV_32F, 1, 0), cv2.Sobel(built, cv2.CV_32F, 0, 1))
    longest = max(float(np.abs(step).max()) for step in steps) + 1e-6
    return np.stack([-step / longest * 127 for step in steps], axis=-1).astype(np.int8)


def _paint_ground(world: OrthoWorld, light: Light, rng: Generator) -> F32:
    """The picture without its shadows and trees, in the season and wear of a light."""
    land = world.land
    colour = _uncover_ground(world.own.sunny.astype(np.float32), land)
    grass, _ = SEASONS[light.season]
    cover = np.where(land.cover == LandCover.TREE, LandCover.GRASS, land.cover)
    for kind in (LandCover.GRASS, LandCover.PAVED, LandCover.BARE, LandCover.ROOF):
        cells = cover == kind
        if not cells.any():
            continue
        gain = np.full(3, np.exp(rng.normal(0.0, 0.12)))
        if kind == LandCover.GRASS:
            usual = np.maximum(colour[cells].mean(axis=0), 8.0)
            gain = (np.array(grass) / usual) ** rng.uniform(0.1, 0.8)
        colour[cells] *= np.clip(gain, 0.5, 2.0).astype(np.float32)
    wanted, dry = rng.uniform(75.0, 120.0), cover != LandCover.WATER
    if dry.any():
        usual = max(float(np.median(colour[dry].mean(axis=-1))), 20.0)
        colour *= np.float32(np.clip(wanted / usual, 0.4, 1.8))
    return colour


def _lighten_shadows(picture: U8, land: Land) -> U8:
    """Raise ground that lies in shadow towards what its like has in the sun, band by band."""
    import cv2

    colour = picture.astype(np.float32)
    soft = cv2.GaussianBlur(colour, (0, 0), 1.0)
    grey = soft.mean(axis=-1)
    for kind in (LandCover.PAVED, LandCover.BARE, LandCover.GRASS):
        cells = land.cover == kind
        lit = cells & ~land.shadow
        if lit.sum() < 50:
            continue
        usual = np.median(colour[lit], axis=0)
        dark = cells & (land.shadow | (grey < 0.65 * usual.mean()))
        gain = np.clip(usual / np.maximum(soft[dark], 8.0), 1.0, 5.0)
        colour[dark] *= gain**0.75
    return np.clip(colour, 0.0, 255.0).astype(np.uint8)


def _uncover_ground(colour: F32, land: Land) -> F32:
    """Under trees, take the colour of the nearest ground that the picture shows."""
    import cv2

    hidden = (land.cover == LandCover.TREE) | (land.cover == LandCover.ROOF)
    if not hidden.any() or hidden.all():
        return colour
    mask = cv2.dilate((land.cover == LandCover.TREE).astype(np.uint8), np.ones((3, 3), np.uint8))
    _, label = cv2.distanceTransformWithLabels(
        np.maximum(mask, hidden).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    seen = np.maximum(mask, hidden) == 0
    table = np.zeros((int(label.max()) + 1, 3), np.float32)
    smooth = cv2.blur(colour, (3, 3))
    table[label[seen]] = smooth[seen]
    under = mask > 0
    colour[under] = table[label[under]]
    return colour


def _tint_crowns(world: OrthoWorld, light: Light, rng: Generator) -> F32:
    """Give crowns the colours of the picture's leaves in the season of a light, by tint [256, 3].

    A tint is 16 steps of brightness and 16 of hue about the usual ones. Sets ``crown_tint``.
    """
    import cv2

    leafy = world.crown_top_m > 0
    table = np.zeros((256, 3), np.float32)
    if not leafy.any():
        return table
    smooth = cv2.GaussianBlur(world.own.sunny, (0, 0), 2.0).astype(np.float32)
    leaves = smooth[leafy]
    usual = np.maximum(leaves.mean(axis=0), 8.0)
    bright = leaves.mean(axis=1) / usual.mean()
    warm = (leaves[:, 0] / usual[0] - leaves[:, 2] / usual[2]) / np.maximum(bright, 0.2)
    b = np.clip((bright - 0.4) / 1.2 * 16, 0, 15).astype(np.uint8)
    w = np.clip((warm + 0.6) / 1.2 * 16, 0, 15).astype(np.uint8)
    world.crown_tint[leafy] = b * 16 + w
    number = np.arange(256)
    brightness = 0.4 + 1.2 * (number // 16 + 0.5) / 16
    turn = 0.5 * (-0.6 + 1.2 * (number % 16 + 0.5) / 16)
    target = np.array(SEASONS[light.season][1], np.float64)
    base = usual * (target / usual) ** rng.uniform(0.2, 0.9) * rng.uniform(0.9, 1.25)
    table[:] = base * brightness[:, None] ** 0.7
    table[:, 0] *= 1.0 + turn
    table[:, 2] *= 1.0 - turn
    return table


def _park_cars(world: OrthoWorld, rng: Generator) -> Cars:
    """Park cars along the edges of paved ground that is wide enough to pass them."""
    import cv2

    shape = world.height_m.shape
    cars = Cars(np.zeros(shape, np.float32), np.zeros(shape, np.uint8))
    paved = ((world.land.cover == LandCover.PAVED) & (world.height_m == 0)).astype(np.uint8)
    edge_m = (cv2.distanceTransform(paved, cv2.DIST_L2, 5) * CELL_M).astype(np.float32)
    soft = cv2.GaussianBlur(edge_m, (0, 0), 2.0)
    size = 2 * round(5.0 / CELL_M) + 1
    wide = cv2.dilate(edge_m, np.ones((size, size), np.uint8)) > 3.2
    lane = wide & (edge_m > 1.2) & (edge_m < 1.9)
    attempts = int(paved.sum() * CELL_M**2 / 1e4 * rng.uniform(0.0, 30.0))
    fill_with_cars(world, cars, lane, attempts, compute_slopes(soft), 0.0, rng)
    return cars


def draw_standing_places(
    world: OrthoWorld, drive: Drive, count: int, inset_m: float, purpose: str
) -> Iterator[tuple[float, float, float]]:
    """Where people stand: east, south and eye height in m, ``inset_m`` inside of the tile.

    Most on the middle of roads and paths, some beside them, on squares, tracks and meadows; never
    on roofs, in water, under crowns or against a parked car.
    """
    rng = world.seed_generator(f"places {purpose}")
    free = _find_free_ground(world, drive.solid_m, inset_m)
    cover = world.land.cover
    groups = [
        (0.5, free & _find_middle_lines(cover == LandCover.PAVED)),
        (0.2, free & _find_middle_lines((cover == LandCover.BARE) | (cover == LandCover.PAVED))),
        (0.15, free & (cover == LandCover.PAVED)),
        (0.15, free & _find_surroundings(cover)),
        (0.01, free),
    ]
    groups = [(share, np.flatnonzero(cells)) for share, cells in groups]
    groups = [(share, cells) for share, cells in groups if len(cells)]
    if not groups:
        raise EmptyRegion(
            f"tile {world.own.tile.name} shows no ground to stand on {inset_m:.0f} m inside of its "
            "border: only roofs, water and trees.\nGive a larger area or other imagery."
        )
    shares = np.array([share for share, _ in groups])
    columns = world.height_m.shape[1]
    for _ in range(count):
        _, cells = groups[int(rng.choice(len(groups), p=shares / shares.sum()))]
        row, column = divmod(int(cells[rng.integers(len(cells))]), columns)
        jitter = rng.uniform(0.0, 1.0, 2)
        eye_m = float(rng.uniform(*EYE_RANGE_M))
        yield float(column + jitter[0]) * CELL_M, float(row + jitter[1]) * CELL_M, eye_m


def _find_free_ground(world: OrthoWorld, solid_m: F32, inset_m: float) -> Bool:
    """Cells that a person may stand on, with room around for the camera."""
    import cv2

    cover = world.land.cover
    wet = (cover == LandCover.WATER).astype(np.uint8)
    wet = cv2.morphologyEx(wet, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8)) > 0
    taken = (solid_m > 0) | (world.crown_top_m > 0) | wet | (cover == LandCover.ROOF)
    size = 2 * round(1.8 / CELL_M) + 1
    free = cv2.dilate(taken.astype(np.uint8), np.ones((size, size), np.uint8)) == 0
    inset = math.ceil(inset_m / CELL_M)
    inside = np.zeros(free.shape, np.bool_)
    inside[inset : free.shape[0] - inset, inset : free.shape[1] - inset] = True
    stand = world.own.tile.stand
    if stand is not None:
        size = inside.shape[::-1]
        inside &= cv2.resize(stand.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    if not world.own.valid.all():
        around = (2 * inset + 1, 2 * inset + 1)
        inside &= cv2.blur(world.own.valid.astype(np.float32), around) > 1.0 - HOLE_SHARE
        free &= world.own.valid
    allowed: Bool = free & inside
    return allowed


def _find_surroundings(cover: U8) -> Bool:
    """Cells at most 8 m from a road, a tree or a house: nobody stands amid a field."""
    import cv2

    near = np.isin(cover, (LandCover.PAVED, LandCover.TREE, LandCover.ROOF)).astype(np.uint8)
    size = 2 * round(8.0 / CELL_M) + 1
    around: Bool = cv2.dilate(near, np.ones((size, size), np.uint8)) > 0
    return around


def _find_middle_lines(ground: Bool) -> Bool:
    """Cells near the middle of what is 2 to 16 m wide: roads, paths and tracks."""
    import cv2

    half_m = cv2.distanceTransform(ground.astype(np.uint8), cv2.DIST_L2, 5) * CELL_M
    highest = cv2.dilate(half_m, np.ones((7, 7), np.uint8))
    middle: Bool = (half_m >= 0.85 * highest) & (half_m > 0.9) & (half_m < 8.0)
    return middle
