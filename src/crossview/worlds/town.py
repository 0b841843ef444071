"""Town: one geometry, drawn from a style and a seed, from which both views are rendered.

Where on the globe a town stands: open ocean, in a real coordinate system.

The town's version: two results may share a table only if their versions are equal.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from crossview.arrays import F32, I32, U8
from crossview.errors import require
from crossview.geo.points import LatLon
from crossview.worlds.raster import CELL_M, compute_slopes, draw_smooth_noise
from crossview.worlds.streets import Streets, lay_streets
from crossview.worlds.styles import Style, find_style

APRON_M = 90.0  # built land around the mapped square, so that no street looks into the void


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


class ObjectKind(IntEnum):
    """What an object is."""

    NOTHING = 0
    BUILDING = 1
    CAR = 2
    TRUNK = 3


@dataclass
class Objects:
    """One row per object; row 0 is 'nothing'. Angles as in :class:`grid.Rectangle`."""

    kind: list[int]
    box: list[
        tuple[float, float, float, float, float]
    ]  # east, south, half along, half across, angle
    eave_m: list[float]
    top: list[tuple[int, int, int]]  # roof colour
    side: list[tuple[int, int, int]]  # wall colour
    look: list[int]  # seed of the facade

    @staticmethod
    def empty() -> Objects:
        """Only row 0."""
        return Objects([0], [(0, 0, 1, 1, 0)], [0.0], [(0, 0, 0)], [(0, 0, 0)], [0])


@dataclass
class Town:
    """Layers over the cells [n, n]; the mapped square starts ``APRON_M`` from each border."""

    style_name: str
    seed: int
    side_m: float
    streets: Streets
    ground: U8  # of Ground
    grain: F32  # brightness texture of the ground, about 1
    height_m: F32  # of solid things: buildings, trunks
    thing: I32  # row of objects
    crown_top_m: F32  # 0 where no tree
    crown_base_m: F32
    crown_tint: U8
    objects: Objects

    @property
    def cells(self) -> int:
        """Cells along one side, apron included."""
        return int(self.ground.shape[0])

    @property
    def apron_cells(self) -> int:
        """Cells of the apron along one side."""
        return round(APRON_M / CELL_M)

    def stream(self, purpose: str) -> np.random.Generator:
        """Random numbers of this town for a purpose."""
        return seed_generator(self.style_name, self.seed, purpose)


def build_town(style_name: str, seed: int, side_m: float = 800.0) -> Town:
    """Build the town of ``seed`` in a style; the mapped square has sides of ``side_m`` metres.

    The same arguments give the same town on every machine with the same NumPy random streams.
    """
    from crossview.worlds.buildings import raise_buildings
    from crossview.worlds.scenery import plant_trees

    require(160.0 <= side_m <= 3000.0, f"side must lie in [160, 3000] m, got {side_m}.")
    require(seed >= 0, f"a seed is a whole number >= 0, got {seed}.")
    drawn = find_style(style_name)
    cells = round((side_m + 2 * APRON_M) / CELL_M)
    streets = lay_streets(drawn, cells, seed_generator(style_name, seed, "streets"))
    town = _lay_bare_ground(style_name, seed, side_m, streets)
    _assign_land(town, drawn, town.stream("land"))
    raise_buildings(town, drawn, town.stream("buildings"))
    _mark_roads(town)
    plant_trees(town, drawn, town.stream("trees"))
    return town


def seed_generator(style_name: str, seed: int, purpose: str) -> np.random.Generator:
    """An independent random stream per purpose, so that one step's draws never move another's."""
    return np.random.Generator(np.random.PCG64([seed, *f"{style_name} {purpose}".encode()]))


def _lay_bare_ground(style_name: str, seed: int, side_m: float, streets: Streets) -> Town:
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
        thing=np.zeros(shape, np.int32),
        crown_top_m=np.zeros(shape, np.float32),
        crown_base_m=np.zeros(shape, np.float32),
        crown_tint=np.zeros(shape, np.uint8),
        objects=Objects.empty(),
    )


LAND = {
    "park": GroundCover.GRASS,
    "sport": GroundCover.SPORT,
    "water": GroundCover.WATER,
    "parking": GroundCover.PARKING,
    "gravel": GroundCover.GRAVEL,
    "plaza": GroundCover.PLAZA,
}


def draw_open_land(town: Town, drawn: Style) -> U8:
    """For each block number (modulo the table's length): its Ground if open, else 255 (built)."""
    rng = town.stream("blocks")
    draw = rng.random(8191)
    table = np.full(8191, 255, np.uint8)
    low = 0.0
    for name, share in drawn.open_blocks.items():
        table[(draw >= low) & (draw < low + share)] = LAND[name]
        low += share
    return table


def _assign_land(town: Town, drawn: Style, rng: np.random.Generator) -> None:
    """Pavement along streets; yards, lawns, parks, water and squares inside the blocks."""
    kerb, block = town.streets.kerb_m, town.streets.block
    use = draw_open_land(town, drawn)[block % 8191]
    green = (rng.random(8191) < drawn.green_yard_share)[(block * 31) % 8191]
    yard = np.where(green, GroundCover.GRASS, GroundCover.YARD)
    ground = np.where(use == 255, yard, use)
    path = np.abs(draw_smooth_noise(town.cells, 38.0, rng)) < 0.055
    ground = np.where(path & (use == GroundCover.GRASS), GroundCover.GRAVEL, ground)
    court = (use == GroundCover.SPORT) & (kerb < 9.0)
    ground = np.where(court, GroundCover.GRASS, ground)
    ground = np.where(kerb < rng.uniform(1.8, 3.2), GroundCover.PAVEMENT, ground)
    town.ground[:] = np.where(kerb < 0.0, GroundCover.ASPHALT, ground)


def _mark_roads(town: Town) -> None:
    """Dashed middle lines and parking lanes on wide streets, bays on car parks."""
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


EPSG = 32624  # WGS 84 / UTM zone 24N, middle meridian 39 degrees west
_WEST_M, _NORTH_M = 420_000.0, 3_880_000.0  # mid-Atlantic, about 35 N 39.9 W
_PITCH_M = 4_000.0  # towns of different seeds do not overlap
_MIDDLE_MERIDIAN_DEG = -39.0


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


def site(town: Town) -> Site:
    """The town's own spot, by its seed."""
    return Site(_WEST_M + _PITCH_M * (town.seed % 10), _NORTH_M + _PITCH_M * (town.seed // 10 % 10))


def map_cells(town: Town) -> int:
    """Cells along one side of the mapped square."""
    return round(town.side_m / CELL_M)


TOWN_VERSION = "76acb9ae"


def measured_version() -> str:
    """Hash what the generator draws on fixed seeds: 8 hex digits.

    Pictures are thinned and coarsened first, so that the last bit of a sine does not matter.
    """
    from crossview.worlds.camera import Shot, draw_camera_places, render_panorama, start_drive
    from crossview.worlds.overhead import render_orthophoto
    from crossview.worlds.styles import STYLES

    digest = hashlib.sha256()
    for name in sorted(STYLES):
        town = build_town(name, 7, 320.0)
        digest.update((render_orthophoto(town)[::9, ::9] >> 5).tobytes())
        east, south = draw_camera_places(town, 1, "version")[0]
        shot = Shot(float(east), float(south), 0.0, width_px=64, height_px=32)
        digest.update((render_panorama(start_drive(town), shot) >> 5).tobytes())
    return digest.hexdigest()[:8]
