"""What has changed between the aerial picture of a town and the pictures from its ground.

The aerial picture is always that of the town itself. Its streets are photographed later: buildings
have gone and others have come, snow lies, or it is night. Without changes every picture is, bit
for bit, that of the town.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from crossview.arrays import F32, Bool
from crossview.errors import require
from crossview.worlds.camera import Drive, Light, Night, draw_crown_colours, start_drive
from crossview.worlds.styles import find_style
from crossview.worlds.town import (
    CELL_M,
    Generator,
    GroundCover,
    ObjectKind,
    Objects,
    Town,
    fill_with_buildings,
    find_building_land,
)

# Changed pictures may share a table only if this is equal, and the version of their towns too.
CHANGES_VERSION = 1
MOST_OUTDATED = 0.8
SNOW_RGB = np.array([226.0, 231.0, 240.0], np.float32)
_SNOWED = {  # how much of a ground cover is white; streets are cleared, pavements trodden
    GroundCover.ASPHALT: 0.18,
    GroundCover.MARKING: 0.12,
    GroundCover.PAVEMENT: 0.55,
    GroundCover.PARKING: 0.5,
    GroundCover.WATER: 0.8,
}
_SNOWED_ELSEWHERE = 0.93
_LAMP_SPACING_M, _LAMP_REACH_M, _AMBIENT = 26.0, 6.5, 0.07


@dataclass(frozen=True)
class Changes:
    """Since the aerial picture was taken.

    ``outdated``: share of the buildings that were torn down; as many were built, where there is
    room for them. ``snow`` lies on ground, roofs and trees; at ``night`` lamps and windows shine.
    """

    outdated: float = 0.0
    snow: bool = False
    night: bool = False

    def __post_init__(self) -> None:
        require(
            0.0 <= self.outdated <= MOST_OUTDATED,
            f"the share of buildings that changed must lie in [0, {MOST_OUTDATED}], "
            f"got {self.outdated}.",
        )

    def __str__(self) -> str:
        """Nothing where there are none."""
        parts = [f"outdated {self.outdated:g}"] if self.outdated else []
        parts += [name for name in ("snow", "night") if getattr(self, name)]
        return f"{', '.join(parts)} (changes {CHANGES_VERSION})" if parts else ""


def start_changed_drive(town: Town, changes: Changes, day: int = 0) -> Drive:
    """The drive of one of the town's days, in what has become of it since the aerial picture."""
    drive = start_drive(rebuild(town, changes.outdated), day)
    if changes.snow:
        drive = _snow(drive)
    return _darken(town, drive) if changes.night else drive


def rebuild(town: Town, share: float) -> Town:
    """The town after a share of its buildings was torn down, and as many others were built."""
    if not share:
        return town
    rng = town.seed_generator(f"rebuilt {share}")
    objects = town.objects
    kinds = np.array(objects.kind)
    buildings = np.flatnonzero(kinds == ObjectKind.BUILDING)
    gone = rng.choice(buildings, round(share * len(buildings)), replace=False)
    later = replace(
        town,
        ground=town.ground.copy(),
        height_m=town.height_m.copy(),
        object_row=town.object_row.copy(),
        crown_top_m=town.crown_top_m.copy(),
        crown_base_m=town.crown_base_m.copy(),
        objects=Objects(**{name: list(column) for name, column in vars(objects).items()}),
    )
    empty = np.isin(town.object_row, gone)
    later.height_m[empty], later.object_row[empty] = 0.0, 0
    later.ground[empty] = rng.choice(np.array([GroundCover.YARD, GroundCover.GRASS], np.uint8))
    style = find_style(town.style_name)
    standing = (later.object_row > 0) & (kinds[later.object_row] == ObjectKind.BUILDING)
    size = 2 * max(1, round(style.gap_m / CELL_M)) + 1
    near = cv2.dilate(standing.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    free = find_building_land(later, style) & ~near
    fill_with_buildings(later, style, rng, free, len(gone))
    built = later.object_row >= len(kinds)
    later.crown_top_m[built], later.crown_base_m[built] = 0.0, 0.0
    return later


def _snow(drive: Drive) -> Drive:
    """Snow on everything that is not cleared."""
    rng = drive.scene.seed_generator("snow")
    cover = np.array([_SNOWED.get(kind, _SNOWED_ELSEWHERE) for kind in GroundCover], np.float32)
    cover *= rng.uniform(0.85, 1.0)
    light = replace(drive.light, season="winter")
    crowns = draw_crown_colours(light, rng)
    building = drive.objects.kind == ObjectKind.BUILDING
    roofs = np.where(building, np.float32(rng.uniform(0.8, 0.95)), np.float32(0.3))
    return replace(
        drive,
        light=light,
        ground_rgb=_whiten(drive.ground_rgb, cover),
        crown_rgb=_whiten(crowns, np.full(len(crowns), rng.uniform(0.45, 0.65), np.float32)),
        objects=replace(drive.objects, top=_whiten(drive.objects.top, roofs)),
    )


def _whiten(rgb: F32, share: F32) -> F32:
    mixed: F32 = rgb + share[:, None] * (SNOW_RGB - rgb)
    return mixed.astype(np.float32)


def _darken(town: Town, drive: Drive) -> Drive:
    """Night: lamps along the streets, and windows behind which somebody is awake."""
    rng = town.seed_generator("night")
    lamps = _place_lamps(town, drive, rng)
    dark = np.ones(town.height_m.shape, np.uint8)
    cells = (lamps / CELL_M).astype(np.int64)
    dark[cells[:, 1], cells[:, 0]] = 0
    away_m = cv2.distanceTransform(dark, cv2.DIST_L2, 5) * np.float32(CELL_M)
    glow = _AMBIENT + 0.95 / (1.0 + (away_m / _LAMP_REACH_M) ** 2) ** 1.5
    gains = tuple(float(g) for g in np.array([1.18, 0.96, 0.68]) * rng.uniform(1.1, 1.45))
    light = Light(**{**vars(drive.light), "gain": gains, "haze": 0.3 * drive.light.haze})
    return replace(
        drive, light=light, sunlit=glow.astype(np.float32), night=Night(lamps.astype(np.float32))
    )


def _place_lamps(town: Town, drive: Drive, rng: Generator) -> F32:
    """Places [n, 2] (east, south) behind the kerb, no two nearer than lamps usually are."""
    verge = (town.streets.kerb_m > 0.5) & (town.streets.kerb_m < 1.1) & (drive.solid_m == 0.0)
    rows, columns = np.nonzero(verge)
    taken: Bool = np.zeros(verge.shape, np.bool_)
    reach = round(_LAMP_SPACING_M / CELL_M)
    lamps = []
    for pick in rng.permutation(len(rows))[:40_000]:
        row, column = int(rows[pick]), int(columns[pick])
        if taken[row, column]:
            continue
        box = slice(max(0, row - reach), row + reach), slice(max(0, column - reach), column + reach)
        taken[box] = True
        lamps.append(((column + 0.5) * CELL_M, (row + 0.5) * CELL_M))
    return np.array(lamps or [(0.0, 0.0)], np.float32)
