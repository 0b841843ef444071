"""A town: one geometry, drawn from a style and a seed, from which both views are rendered.

Its streets are laid first, then its land is given a use, and then come buildings, markings of roads
and trees. Cars come and go. Towns stand in the open ocean, in a real coordinate system:
:class:`Site`. Positions are metres east and south of a town's north-west corner, in the map's grid
frame; cell (row, column) has its centre at ((column + 0.5) * CELL_M, (row + 0.5) * CELL_M).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np

from crossview.arrays import F32, I32, I64, U8, Bool
from crossview.errors import require
from crossview.geo.points import LatLon
from crossview.worlds.styles import Colour, Style, find_style

CELL_M = 0.4

Generator = np.random.Generator


def compute_cell_centres(cells: int) -> tuple[F32, F32]:
    """East and south of every cell centre, [cells, cells] in metres."""
    line = (np.arange(cells, dtype=np.float32) + 0.5) * CELL_M
    east, south = np.meshgrid(line, line)
    return east, south


def draw_smooth_noise(cells: int, wavelength_m: float, rng: Generator) -> F32:
    """Bilinear value noise in [-1, 1], [cells, cells], with bumps of about ``wavelength_m``."""
    knots = max(2, math.ceil(cells * CELL_M / wavelength_m) + 2)
    values = rng.uniform(-1.0, 1.0, (knots, knots)).astype(np.float32)
    at = np.arange(cells, dtype=np.float32) * (CELL_M / wavelength_m)
    low = np.minimum(at.astype(np.int64), knots - 2)
    t = at - low
    t = t * t * (3.0 - 2.0 * t)  # smoothstep: no creases at the knots
    rows = values[low] * (1.0 - t)[:, None] + values[low + 1] * t[:, None]
    noise: F32 = rows[:, low] * (1.0 - t) + rows[:, low + 1] * t
    return noise


def compute_slopes(field: F32) -> tuple[F32, F32]:
    """The rise of ``field`` [n, n] per metre southwards and per metre eastwards.

    In the precision of ``field``: rounding here would move walls by a cell and so change the town.
    """
    gradient: list[F32] = list(np.gradient(field, CELL_M))
    return gradient[0], gradient[1]


@dataclass(frozen=True)
class Rectangle:
    """An oriented rectangle: centre, half extents along and across ``angle`` (radians)."""

    east_m: float
    south_m: float
    half_along_m: float
    half_across_m: float
    angle: float  # of the long axis, from east towards south


@dataclass(frozen=True)
class CellPatch:
    """The cells of a rectangle: slices into the town, which are inside, and local coordinates."""

    rows: slice
    columns: slice
    inside: Bool
    along_m: F32
    across_m: F32


def rasterize(shape: Rectangle, cells: int, margin_m: float = 0.0) -> CellPatch | None:
    """Cells whose centre lies in ``shape`` grown by ``margin_m``; None if it leaves the town."""
    c, s = math.cos(shape.angle), math.sin(shape.angle)
    half_u, half_v = shape.half_along_m + margin_m, shape.half_across_m + margin_m
    reach_e, reach_s = abs(half_u * c) + abs(half_v * s), abs(half_u * s) + abs(half_v * c)
    first_c, last_c = _find_cell_range(shape.east_m, reach_e)
    first_r, last_r = _find_cell_range(shape.south_m, reach_s)
    if first_c < 0 or first_r < 0 or last_c > cells or last_r > cells:
        return None
    east = (np.arange(first_c, last_c, dtype=np.float32) + 0.5) * CELL_M - shape.east_m
    south = (np.arange(first_r, last_r, dtype=np.float32) + 0.5) * CELL_M - shape.south_m
    along = east[None, :] * c + south[:, None] * s
    across = south[:, None] * c - east[None, :] * s
    inside = (np.abs(along) <= half_u) & (np.abs(across) <= half_v)
    return CellPatch(slice(first_r, last_r), slice(first_c, last_c), inside, along, across)


def _find_cell_range(centre_m: float, reach_m: float) -> tuple[int, int]:
    return math.floor((centre_m - reach_m) / CELL_M), math.ceil((centre_m + reach_m) / CELL_M) + 1


# Streets: for every cell, the distance to the kerb, and the number of its block.


@dataclass(frozen=True)
class Streets:
    """Fields over the cells [n, n].

    ``kerb_m``: distance to the kerb, negative on the street; ``half_m``: half width of the nearest
    street, so that kerb_m = -half_m on its middle line; ``block``: number of the block.
    """

    kerb_m: F32
    half_m: F32
    block: I32


def lay_streets(style: Style, cells: int, rng: Generator) -> Streets:
    """Draw the street pattern of a town of ``cells`` x ``cells``."""
    east, south = compute_cell_centres(cells)
    if style.bend_m > 0:
        wavelength_m = rng.uniform(130.0, 260.0)
        east = east + style.bend_m * draw_smooth_noise(cells, wavelength_m, rng)
        south = south + style.bend_m * draw_smooth_noise(cells, wavelength_m, rng)
    return (_lay_grid if style.streets == "grid" else _lay_voronoi_cells)(style, east, south, rng)


def _lay_grid(style: Style, east: F32, south: F32, rng: Generator) -> Streets:
    """Two families of lines at uneven distances, turned by the town's own angle."""
    angle = rng.uniform(0.0, math.pi / 2.0)
    c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    side_m = east.shape[0] * CELL_M
    lines_u, half_u = _draw_lines(style, side_m, rng)
    lines_v, half_v = _draw_lines(style, side_m, rng)
    u, v = east * c + south * s, south * c - east * s
    near_u, off_u, block_u = _find_nearest_line(u, lines_u)
    near_v, off_v, block_v = _find_nearest_line(v, lines_v)
    open_u = rng.random((len(lines_u), len(lines_v) + 1)) >= style.merge_share
    kerb_u = np.where(open_u[near_u, block_v], off_u - half_u[near_u], np.float32(1e3))
    kerb_v = off_v - half_v[near_v]
    first = kerb_u < kerb_v
    return Streets(
        kerb_m=np.where(first, kerb_u, kerb_v),
        half_m=np.where(first, half_u[near_u], half_v[near_v]),
        block=(_join_blocks(open_u)[block_u, block_v] * np.int32(1000) + block_v).astype(np.int32),
    )


def _draw_lines(style: Style, side_m: float, rng: Generator) -> tuple[F32, F32]:
    """Positions of parallel streets across twice the town's diagonal, and their half widths."""
    reach_m = 1.6 * side_m
    gaps = rng.uniform(*style.block_m, size=int(2 * reach_m / style.block_m[0]) + 2)
    at = -reach_m + np.cumsum(gaps)
    at = at[at < reach_m]
    half = rng.uniform(*style.street_half_m, size=len(at))
    half = np.where(rng.random(len(at)) < style.avenue_share, 1.5 * half, half)
    return at.astype(np.float32), half.astype(np.float32)


def _find_nearest_line(u: F32, lines: F32) -> tuple[I32, F32, I32]:
    """Nearest line, distance to it, and the number of the gap between lines that u lies in."""
    gap = np.searchsorted(lines, u).astype(np.int32)
    low, high = np.maximum(gap - 1, 0), np.minimum(gap, len(lines) - 1)
    off_low, off_high = np.abs(u - lines[low]), np.abs(u - lines[high])
    near: I32 = np.where(off_low <= off_high, low, high).astype(np.int32)
    return near, np.minimum(off_low, off_high), gap


def _join_blocks(open_u: Bool) -> I32:
    """Block column numbers; blocks on both sides of a street piece that is left out are one."""
    lines, gaps = open_u.shape
    number = np.tile(np.arange(lines + 1, dtype=np.int32)[:, None], (1, gaps))
    for line in range(lines):
        number[line + 1] = np.where(open_u[line], number[line + 1], number[line])
    return number


def _lay_voronoi_cells(style: Style, east: F32, south: F32, rng: Generator) -> Streets:
    """Streets along the borders of Voronoi cells around jittered seeds."""
    pitch = float(rng.uniform(*style.block_m))
    count = math.ceil(east.shape[0] * CELL_M / pitch) + 8
    seeds = (np.indices((count, count)).transpose(1, 2, 0) - 3.5).astype(np.float32)
    seeds = (seeds + rng.uniform(-0.36, 0.36, seeds.shape).astype(np.float32)) * np.float32(pitch)
    home_r = np.floor(south / pitch).astype(np.int32) + 4
    home_c = np.floor(east / pitch).astype(np.int32) + 4
    best, second = np.full(east.shape, 1e9, np.float32), np.full(east.shape, 1e9, np.float32)
    first_id = np.zeros(east.shape, np.int32)
    second_id = np.zeros(east.shape, np.int32)
    for d_row in (-1, 0, 1):
        for d_column in (-1, 0, 1):
            r = np.clip(home_r + d_row, 0, count - 1)
            c = np.clip(home_c + d_column, 0, count - 1)
            number = r * np.int32(count) + c
            far = (south - seeds[r, c, 0]) ** 2 + (east - seeds[r, c, 1]) ** 2
            closer, between = far < best, (far >= best) & (far < second)
            second = np.where(closer, best, np.where(between, far, second))
            second_id = np.where(closer, first_id, np.where(between, number, second_id))
            best, first_id = np.where(closer, far, best), np.where(closer, number, first_id)
    flat = seeds.reshape(-1, 2)
    apart = np.linalg.norm(flat[first_id] - flat[second_id], axis=-1)
    half = _draw_half_widths(style, first_id, second_id, rng)
    kerb = (second - best) / np.maximum(2.0 * apart, 1e-3) - half
    return Streets(kerb.astype(np.float32), half, first_id)


def _draw_half_widths(style: Style, a: I32, b: I32, rng: Generator) -> F32:
    """A half width for each pair of neighbouring blocks, the same seen from either block."""
    table = rng.uniform(*style.street_half_m, size=4093)
    table = np.where(rng.random(4093) < style.avenue_share, 1.5 * table, table)
    low, high = np.minimum(a, b).astype(np.int64), np.maximum(a, b).astype(np.int64)
    width: F32 = table[(low * 7919 + high * 104729) % 4093].astype(np.float32)
    return width


# Two results may share a table only if the versions of their towns are equal. A test computes it
# from what the generator draws; renew every figure together with it.
TOWN_VERSION = "76acb9ae"
SYNTHETIC_TAG = "CROSSVIEW_SYNTHETIC"  # of a GeoTIFF: the version of its town
APRON_M = 90.0  # built land around the mapped square, so that no street ends in empty space
BLOCK_TABLE, BUILT = 8191, 255
EPSG = 32624  # WGS 84 / UTM zone 24N, middle meridian 39 degrees west
_WEST_M, _NORTH_M = 420_000.0, 3_880_000.0  # mid-Atlantic, about 35 N 39.9 W
_PITCH_M = 4_000.0  # towns of different seeds do not overlap
_MIDDLE_MERIDIAN_DEG = -39.0

# East, south, half length, half width in metres; angle as in :class:`Rectangle`.
Box = tuple[float, float, float, float, float]


class GroundCover(IntEnum):
    """What lies on the ground where nothing stands."""

    ASPHALT = 0
    PAVEMENT = 1
    GRASS = 2
    YARD = 3
    WATER = 4
    SPORT = 5
    MARKING = 6
    PARKING = 7
    GRAVEL = 8
    PLAZA = 9


LAND = {
    "park": GroundCover.GRASS,
    "sport": GroundCover.SPORT,
    "water": GroundCover.WATER,
    "parking": GroundCover.PARKING,
    "gravel": GroundCover.GRAVEL,
    "plaza": GroundCover.PLAZA,
}


class ObjectKind(IntEnum):
    """What an object is."""

    NOTHING = 0
    BUILDING = 1
    CAR = 2
    TRUNK = 3


@dataclass
class Objects:
    """One row per object; row 0 is 'nothing'."""

    kind: list[int]  # of ObjectKind
    box: list[Box]
    eave_m: list[float]
    top: list[Colour]  # of the roof
    side: list[Colour]  # of the walls
    look: list[int]  # seed of the facade

    @staticmethod
    def empty() -> Objects:
        """Only row 0."""
        return Objects([0], [(0, 0, 1, 1, 0)], [0.0], [(0, 0, 0)], [(0, 0, 0)], [0])

    def add(
        self, kind: ObjectKind, box: Box, eave_m: float, top: Colour, side: Colour, look: int
    ) -> int:
        """Append an object and return its row."""
        self.kind.append(kind)
        self.box.append(box)
        self.eave_m.append(eave_m)
        self.top.append(top)
        self.side.append(side)
        self.look.append(look)
        return len(self.kind) - 1


@dataclass(frozen=True)
class Site:
    """The map corner of a town in its coordinate system (UTM, metres)."""

    west_m: float
    north_m: float

    def latlon(self, east_m: float, south_m: float) -> LatLon:
        """The place at ``east_m``, ``south_m`` of the town's corner (apron included)."""
        from pyproj import Transformer

        to_degrees = Transformer.from_crs(EPSG, 4326, always_xy=True)
        lon, lat = to_degrees.transform(
            self.west_m + east_m - APRON_M, self.north_m - south_m + APRON_M
        )
        return LatLon(float(lat), float(lon))

    def convergence_deg(self, place: LatLon) -> float:
        """Bearing of grid north, degrees clockwise from true north (spherical formula).

        Differs from the ellipsoid's by less than 0.001 degrees at these latitudes.
        """
        d_lon = math.radians(place.lon - _MIDDLE_MERIDIAN_DEG)
        return math.degrees(math.atan(math.tan(d_lon) * math.sin(math.radians(place.lat))))


@dataclass
class Scene(ABC):
    """What the renderer draws: layers over the cells [rows, columns] of flat ground.

    A :class:`Town` is one; so is the world of a real orthophoto.
    """

    seed: int
    ground: U8  # of GroundCover
    grain: F32  # brightness texture of the ground, about 1
    height_m: F32  # of solid objects: buildings, trunks
    object_row: I32  # 0 where there is no object
    crown_top_m: F32  # 0 where there is no tree
    crown_base_m: F32
    crown_tint: U8
    objects: Objects

    endless: ClassVar[bool] = False  # mirrored at its borders, instead of ending in an apron

    @property
    @abstractmethod
    def name(self) -> str:
        """What the seed is a number of: scenes of one name and seed draw the same."""

    def seed_generator(self, purpose: str) -> Generator:
        """Random numbers of this scene for a purpose."""
        return seed_generator(self.name, self.seed, purpose)


@dataclass
class Town(Scene):
    """The mapped square starts ``APRON_M`` from each border of the cells [n, n]."""

    style_name: str
    side_m: float
    streets: Streets

    @property
    def name(self) -> str:
        """The style."""
        return self.style_name

    @property
    def cells(self) -> int:
        """Cells along one side, apron included."""
        return int(self.ground.shape[0])

    @property
    def apron_cells(self) -> int:
        """Cells of the apron along one side."""
        return round(APRON_M / CELL_M)

    @property
    def mapped_cells(self) -> int:
        """Cells along one side of the mapped square."""
        return self.cells - 2 * self.apron_cells

    @property
    def site(self) -> Site:
        """The town's own place in the ocean, by its seed."""
        return Site(
            _WEST_M + _PITCH_M * (self.seed % 10), _NORTH_M + _PITCH_M * (self.seed // 10 % 10)
        )


def seed_generator(style_name: str, seed: int, purpose: str) -> Generator:
    """An independent random stream per purpose, so that one step's draws never move another's."""
    return np.random.Generator(np.random.PCG64([seed, *f"{style_name} {purpose}".encode()]))


def draw_open_land(town: Town, style: Style) -> U8:
    """The open blocks, [BLOCK_TABLE]: their GroundCover, or BUILT where a block is built on.

    A block's row is its number modulo BLOCK_TABLE.
    """
    rng = town.seed_generator("blocks")
    draw = rng.random(BLOCK_TABLE)
    table = np.full(BLOCK_TABLE, BUILT, np.uint8)
    low = 0.0
    for name, share in style.open_blocks.items():
        table[(draw >= low) & (draw < low + share)] = LAND[name]
        low += share
    return table


# Buildings are rectangles set along the streets, with roofs.

STOREY_M = 3.1


def raise_buildings(town: Town, style: Style, rng: Generator) -> None:
    """Try ``attempts_per_ha`` places; each building stands where its ground is still free."""
    fill_with_buildings(town, style, rng, find_building_land(town, style))


def find_building_land(town: Town, style: Style) -> Bool:
    """Cells that may be built on: inside of blocks that are not open, behind the kerb."""
    free = town.streets.kerb_m > 0.4
    use = draw_open_land(town, style)[town.streets.block % BLOCK_TABLE]
    free &= use == BUILT
    return free


def fill_with_buildings(
    town: Town, style: Style, rng: Generator, free: Bool, most: int | None = None
) -> None:
    """Raise buildings where ``free``, which is updated, allows it, at ``most`` that many."""
    down, across = compute_slopes(town.streets.kerb_m)
    starts = _draw_candidates(town, style, free, rng)
    raised = 0
    for n, (row, column) in enumerate(starts):
        if raised == most:
            break
        if not free[row, column]:
            continue
        shape = _place(town, style, rng, (int(row), int(column)), (down, across), n / len(starts))
        if shape is None:
            continue
        area = rasterize(shape, town.cells, style.gap_m)
        if area is None or not free[area.rows, area.columns][area.inside].all():
            continue
        own = rasterize(shape, town.cells)
        if own is not None and own.inside.any():
            _raise_building(town, style, rng, shape, own)
            free[own.rows, own.columns][own.inside] = False
            raised += 1


def _draw_candidates(town: Town, style: Style, free: Bool, rng: Generator) -> I64:
    """Cells [n, 2] to try, most of them near a street, in random order."""
    hectares = (town.cells * CELL_M) ** 2 / 1e4
    attempts = int(hectares * style.attempts_per_ha)
    near = free & (town.streets.kerb_m < style.setback_m[1] + 6.0)
    rows, columns = np.nonzero(near)
    pick = rng.integers(0, max(len(rows), 1), attempts if len(rows) else 0)
    inner_rows, inner_columns = np.nonzero(free & (town.streets.kerb_m > 18.0))
    inner = rng.integers(0, max(len(inner_rows), 1), attempts // 6 if len(inner_rows) else 0)
    street = np.stack([rows[pick], columns[pick]], axis=1)
    back = np.stack([inner_rows[inner], inner_columns[inner]], axis=1)
    return np.concatenate([street, back])


def _place(
    town: Town,
    style: Style,
    rng: Generator,
    cell: tuple[int, int],
    slope: tuple[F32, F32],
    progress: float,
) -> Rectangle | None:
    """A rectangle that faces the street at its setback; later ones are smaller, to fill gaps."""
    row, column = cell
    normal_e, normal_s = float(slope[1][row, column]), float(slope[0][row, column])
    length = math.hypot(normal_e, normal_s)
    if length < 0.5:
        return None
    shrink = 1.0 if progress < 0.45 else 0.7 if progress < 0.75 else 0.5
    half_w = 0.5 * rng.uniform(*style.width_m) * shrink
    half_d = 0.5 * rng.uniform(*style.depth_m) * math.sqrt(shrink)
    kerb = float(town.streets.kerb_m[row, column])
    inward = 0.0
    if kerb <= style.setback_m[1] + 6.0:
        inward = 2.6 + rng.uniform(*style.setback_m) + half_d - kerb
    return Rectangle(
        (column + 0.5) * CELL_M + inward * normal_e / length,
        (row + 0.5) * CELL_M + inward * normal_s / length,
        half_w,
        half_d,
        math.atan2(-normal_e, normal_s),
    )


def _raise_building(
    town: Town, style: Style, rng: Generator, shape: Rectangle, own: CellPatch
) -> None:
    """Enter a building into the town's layers and objects."""
    eave = STOREY_M * max(1.0, rng.uniform(*style.storeys)) + rng.uniform(0.0, 1.2)
    pitched = rng.random() < style.pitched_share
    roof = (_shape_pitched_roof if pitched else _shape_flat_roof)(shape, own, rng)
    rows, columns = own.rows, own.columns
    town.height_m[rows, columns][own.inside] = (eave + roof)[own.inside]
    town.object_row[rows, columns][own.inside] = town.objects.add(
        ObjectKind.BUILDING,
        (shape.east_m, shape.south_m, shape.half_along_m, shape.half_across_m, shape.angle),
        eave,
        top=_vary_colour(style.roofs, rng),
        side=_vary_colour(style.walls, rng),
        look=int(rng.integers(1 << 30)),
    )
    town.ground[rows, columns][own.inside] = GroundCover.YARD


def _shape_pitched_roof(shape: Rectangle, own: CellPatch, rng: Generator) -> F32:
    """Height above the eave of a gabled or hipped roof, ridge along the longer side."""
    pitch = np.float32(math.tan(math.radians(rng.uniform(24.0, 44.0))))
    hipped = rng.random() < 0.4
    to_side = shape.half_across_m - np.abs(own.across_m)
    to_end = shape.half_along_m - np.abs(own.along_m)
    if shape.half_along_m < shape.half_across_m:
        to_side, to_end = to_end, to_side
    roof: F32 = pitch * np.maximum(np.minimum(to_side, to_end) if hipped else to_side, 0.0)
    return roof


def _shape_flat_roof(shape: Rectangle, own: CellPatch, rng: Generator) -> F32:
    """Height above the eave of a flat roof with a parapet and some plant rooms."""
    roof = np.zeros(own.along_m.shape, np.float32)
    for _ in range(int(rng.integers(0, 4)) if shape.half_across_m > 4 else 0):
        at_u = rng.uniform(-0.7, 0.7) * shape.half_along_m
        at_v = rng.uniform(-0.6, 0.6) * shape.half_across_m
        size = rng.uniform(0.9, 2.6)
        box = (np.abs(own.along_m - at_u) < 1.6 * size) & (np.abs(own.across_m - at_v) < size)
        roof[box] = rng.uniform(1.2, 3.0)
    edge = np.minimum(
        shape.half_along_m - np.abs(own.along_m), shape.half_across_m - np.abs(own.across_m)
    )
    roof[edge < 0.6] = 0.7
    return roof


def _vary_colour(palette: tuple[Colour, ...], rng: Generator) -> Colour:
    """A colour of the palette, a little lighter or darker, warmer or colder."""
    base = np.array(palette[int(rng.integers(len(palette)))], np.float64)
    r, g, b = np.clip(base * rng.uniform(0.82, 1.15) + rng.normal(0.0, 5.0, 3), 12, 245).astype(int)
    return int(r), int(g), int(b)


def build_town(style_name: str, seed: int, side_m: float = 800.0) -> Town:
    """Build the town of ``seed`` in a style; the mapped square has sides of ``side_m`` metres.

    The same arguments give the same town on every machine with the same NumPy random streams.
    """
    require(160.0 <= side_m <= 3000.0, f"side must lie in [160, 3000] m, got {side_m}.")
    require(seed >= 0, f"a seed must be a whole number >= 0, got {seed}.")
    style = find_style(style_name)
    cells = round((side_m + 2 * APRON_M) / CELL_M)
    streets = lay_streets(style, cells, seed_generator(style_name, seed, "streets"))
    town = _lay_bare_ground(style_name, seed, side_m, streets)
    _assign_land(town, style, town.seed_generator("land"))
    raise_buildings(town, style, town.seed_generator("buildings"))
    _mark_roads(town)
    plant_trees(town, style, town.seed_generator("trees"))
    return town


def _lay_bare_ground(style_name: str, seed: int, side_m: float, streets: Streets) -> Town:
    """A town of streets on unused ground."""
    shape = streets.kerb_m.shape
    rng = seed_generator(style_name, seed, "grain")
    fine = rng.normal(0.0, 0.06, shape).astype(np.float32)
    grain = 1.0 + fine + 0.12 * draw_smooth_noise(shape[0], 7.0, rng)
    return Town(
        style_name=style_name,
        seed=seed,
        side_m=side_m,
        streets=streets,
        ground=np.zeros(shape, np.uint8),
        grain=np.ascontiguousarray(grain + 0.1 * draw_smooth_noise(shape[0], 45.0, rng)),
        height_m=np.zeros(shape, np.float32),
        object_row=np.zeros(shape, np.int32),
        crown_top_m=np.zeros(shape, np.float32),
        crown_base_m=np.zeros(shape, np.float32),
        crown_tint=np.zeros(shape, np.uint8),
        objects=Objects.empty(),
    )


def _assign_land(town: Town, style: Style, rng: Generator) -> None:
    """Lay pavement along streets; yards, lawns, parks, water and squares inside the blocks."""
    kerb, block = town.streets.kerb_m, town.streets.block
    use = draw_open_land(town, style)[block % BLOCK_TABLE]
    green = (rng.random(BLOCK_TABLE) < style.green_yard_share)[(block * 31) % BLOCK_TABLE]
    yard = np.where(green, GroundCover.GRASS, GroundCover.YARD)
    ground = np.where(use == BUILT, yard, use)
    path = np.abs(draw_smooth_noise(town.cells, 38.0, rng)) < 0.055
    ground = np.where(path & (use == GroundCover.GRASS), GroundCover.GRAVEL, ground)
    court = (use == GroundCover.SPORT) & (kerb < 9.0)
    ground = np.where(court, GroundCover.GRASS, ground)
    ground = np.where(kerb < rng.uniform(1.8, 3.2), GroundCover.PAVEMENT, ground)
    town.ground[:] = np.where(kerb < 0.0, GroundCover.ASPHALT, ground)


def _mark_roads(town: Town) -> None:
    """Paint middle lines and parking lanes on wide streets, and bays on car parks."""
    kerb, half, ground = town.streets.kerb_m, town.streets.half_m, town.ground
    down, across = compute_slopes(kerb)
    line = (np.arange(town.cells, dtype=np.float32) + 0.5) * CELL_M
    along = line[None, :] * np.round(-down, 1) + line[:, None] * np.round(across, 1)
    middle = kerb + half  # distance from the street's middle line
    straight = np.hypot(down, across) > 0.8
    dash = (np.abs(middle) < 0.25) & (np.mod(along, 6.0) < 3.0) & (half > 4.2) & straight
    edge = (np.abs(kerb + 2.3) < 0.16) & (np.mod(along, 5.4) < 4.2) & (half > 6.0) & straight
    bays = (
        (ground == GroundCover.PARKING) & (np.mod(along, 2.6) < 0.35) & (np.mod(kerb, 15.0) < 5.0)
    )
    ground[(ground == GroundCover.ASPHALT) & (dash | edge)] = GroundCover.MARKING
    ground[bays] = GroundCover.MARKING


# Between the buildings: trees, which belong to the town, and cars. Trees are crowns on trunks,
# along streets, in yards and in parks. Cars are parked along kerbs and in bays; they are drawn anew
# for the survey flight and for each day of the drives.

TRUNK_RGB: Colour = (84, 66, 50)
CAR_RGB = (
    (232, 232, 232), (40, 40, 44), (150, 152, 156), (190, 192, 196), (150, 34, 32), (36, 60, 112),
    (60, 84, 66), (196, 178, 146),
)  # fmt: skip


def plant_trees(town: Town, style: Style, rng: Generator) -> None:
    """Plant street trees on the pavement, others on grass and in yards; parks hold the most."""
    box = (0.0, 0.0, 1.0, 1.0, 0.0)  # one row stands for all trunks
    trunk = town.objects.add(ObjectKind.TRUNK, box, 3.0, top=TRUNK_RGB, side=TRUNK_RGB, look=0)
    bare = town.object_row == 0
    kerb = town.streets.kerb_m
    hectares = (town.cells * CELL_M) ** 2 / 1e4
    lawn = bare & (town.ground == GroundCover.GRASS) & (kerb > 3.5)
    court = bare & (town.ground == GroundCover.YARD) & (kerb > 4.0)
    verge = bare & (kerb > 0.7) & (kerb < 1.5)
    _scatter(town, verge, int(hectares * style.street_trees_per_ha), (1.6, 3.0), rng, trunk)
    _scatter(town, lawn, int(hectares * style.trees_per_ha), (1.8, 4.6), rng, trunk)
    _scatter(town, court, int(hectares * style.trees_per_ha * 0.15), (1.5, 3.2), rng, trunk)


def _scatter(
    town: Town,
    where: Bool,
    count: int,
    radius_m: tuple[float, float],
    rng: Generator,
    trunk: int,
) -> None:
    rows, columns = np.nonzero(where)
    if len(rows) == 0:
        return
    for pick in rng.integers(0, len(rows), count):
        _plant(town, int(rows[pick]), int(columns[pick]), rng.uniform(*radius_m), rng, trunk)


def _plant(town: Town, row: int, column: int, radius_m: float, rng: Generator, trunk: int) -> None:
    """One tree: a dome on a trunk. Near buildings the dome ends where the wall begins."""
    reach = math.ceil(radius_m / CELL_M) + 1
    tint, top = int(rng.integers(1, 256)), rng.uniform(1.7, 2.6) * radius_m + 2.4
    base = min(rng.uniform(2.3, 3.2), 0.6 * top)
    if min(row, column) < reach or max(row, column) >= town.cells - reach:
        return
    rows, columns = slice(row - reach, row + reach + 1), slice(column - reach, column + reach + 1)
    offsets = np.arange(-reach, reach + 1, dtype=np.float32) * CELL_M
    ragged = rng.uniform(0.8, 1.15, (2 * reach + 1, 2 * reach + 1)).astype(np.float32)
    far = np.hypot(offsets[:, None], offsets[None, :]) / (radius_m * ragged)
    dome = base + (top - base) * np.sqrt(np.maximum(1.0 - far**2, 0.0)).astype(np.float32)
    grows = (far < 1.0) & (town.object_row[rows, columns] == 0)
    grows &= dome > town.crown_top_m[rows, columns]
    town.crown_top_m[rows, columns][grows] = dome[grows]
    town.crown_base_m[rows, columns][grows] = base
    town.crown_tint[rows, columns][grows] = tint
    town.object_row[row, column] = trunk
    town.height_m[row, column] = base


@dataclass(frozen=True)
class Cars:
    """Fields over the cells [n, n]: height (0 where there is no car) and row of ``CAR_RGB``."""

    height_m: F32
    colour: U8


def park_cars(town: Town, rng: Generator) -> Cars:
    """Park ``cars_per_ha`` cars where there is room; each call is another day."""
    cars = Cars(np.zeros(town.height_m.shape, np.float32), np.zeros(town.height_m.shape, np.uint8))
    kerb = town.streets.kerb_m
    lane = (kerb > -1.5) & (kerb < -0.9) & (town.streets.half_m > 3.6)
    bay = (town.ground == GroundCover.PARKING) & (np.mod(kerb, 15.0) < 4.0) & (kerb > 3.0)
    hectares = (town.cells * CELL_M) ** 2 / 1e4
    count = int(hectares * find_style(town.style_name).cars_per_ha)
    slopes = compute_slopes(kerb)
    fill_with_cars(town, cars, lane, count, slopes, 0.0, rng)
    fill_with_cars(town, cars, bay, count // 3, slopes, math.pi / 2.0, rng)
    return cars


def fill_with_cars(  # noqa: PLR0913, PLR0917 - where, how many, which way
    scene: Scene,
    cars: Cars,
    where: Bool,
    attempts: int,
    slopes: tuple[F32, F32],
    turn: float,
    rng: Generator,
) -> None:
    """Park cars on cells of ``where``, each where there is room for it; updates ``cars``.

    They stand along the lines of equal height of a field with ``slopes``, turned by ``turn``.
    """
    down, across = slopes
    rows, columns = np.nonzero(where)
    picks = rng.integers(0, max(len(rows), 1), attempts if len(rows) else 0)
    for row, column in zip(rows[picks], columns[picks], strict=True):
        angle = math.atan2(-float(across[row, column]), float(down[row, column])) + turn
        _park(scene, cars, rng, (int(row), int(column)), angle)


def _park(scene: Scene, cars: Cars, rng: Generator, cell: tuple[int, int], angle: float) -> None:
    at_e, at_s = (cell[1] + 0.5) * CELL_M, (cell[0] + 0.5) * CELL_M
    shape = Rectangle(at_e, at_s, rng.uniform(1.9, 2.5), 0.9, angle)
    body = rasterize(shape, min(scene.height_m.shape), 0.2)
    if body is None or not body.inside.any():
        return
    rows, columns, inside = body.rows, body.columns, body.inside
    if (cars.height_m[rows, columns][inside] > 0).any():
        return
    if (scene.height_m[rows, columns][inside] > 0).any():
        return
    cabin = np.abs(body.along_m) < 1.2
    cars.height_m[rows, columns][inside] = np.where(cabin, 1.5, 1.0)[inside]
    cars.colour[rows, columns][inside] = int(rng.integers(len(CAR_RGB)))
