"""A town: one geometry, drawn from a style and a seed, from which both views are rendered.

Towns stand in the open ocean, in a real coordinate system: :class:`Site`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np

from crossview.arrays import F32, I32, U8
from crossview.geo.points import LatLon
from crossview.worlds.raster import CELL_M, Generator
from crossview.worlds.streets import Streets
from crossview.worlds.styles import Colour, Style

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

# East, south, half length, half width in metres; angle as in :class:`raster.Rectangle`.
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
