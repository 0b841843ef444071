"""Where on the globe a town stands: open ocean, in a real coordinate system."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossview.geo.points import LatLon
from crossview.worlds.raster import CELL_M
from crossview.worlds.town import APRON_M, Town

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
