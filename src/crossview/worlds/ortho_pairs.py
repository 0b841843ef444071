"""Training pairs from real orthophotos: the real picture from above, a drawn one from the ground.

The list and the pictures are those of :mod:`town_pairs`, so that one training reads both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from crossview.arrays import U8
from crossview.errors import BadImage, EmptyRegion
from crossview.files import list_files, require_room
from crossview.views.colour import look_like_sky
from crossview.worlds.camera import Drive, Shot, render_panorama
from crossview.worlds.ortho_sets import ListedTile, open_tile, read_evidence
from crossview.worlds.orthoworld import (
    Orthophoto,
    OrthoWorld,
    draw_standing_places,
    draw_world,
    lay_cells,
    read_ground,
    start_ortho_drive,
)
from crossview.worlds.town import CELL_M
from crossview.worlds.town_pairs import (
    CROP_PX,
    ELEVATION_DEG,
    OVER_EARTH,
    PAIRS_NAME,
    STRIP_PX,
    PairJob,
    Row,
    cut_crop,
    describe_pair,
    name_pictures,
    render_jobs,
    save_picture,
)

# A test computes it from what is drawn; renew every figure together with it.
ORTHO_VERSION = "66d56caa"
INSET_M = (0.5 * CROP_PX + 1) * CELL_M  # of cameras, so that their crop lies on the picture
PAIR_BYTES, SPARE_BYTES = 70_000, 50_000_000  # of the two pictures of a pair, at most
_WALL_NAME = re.compile("brick|plaster|putz|wood|siding|stone|concrete|marble|corrugated", re.I)
_SKY_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class OrthoPlan:
    """How many pairs of each tile, and from how many worlds.

    ``pairs_per_ha``: of the ground whose crop lies inside the tile, within ``least`` and ``most``
    pairs a tile; ``pairs_per_world``: pairs that share heights, light and season. ``skies``: a
    folder of panoramas whose skies are used besides drawn ones; ``textures``: one of pictures of
    walls.
    """

    pairs_per_ha: float = 6.0
    least: int = 6
    most: int = 600
    pairs_per_world: int = 24
    seed: int = 0
    skies: Path | None = None
    textures: Path | None = None

    def __str__(self) -> str:
        """One sentence; plans are equal exactly if their sentences are. Noted beside the pairs."""
        skies = f", skies of {self.skies}" if self.skies else ""
        walls = f", walls of {self.textures}" if self.textures else ""
        return (
            f"{self.pairs_per_ha:g} pairs per hectare, {self.least} to {self.most} a tile, "
            f"{self.pairs_per_world} a world, seed {self.seed}{skies}{walls}"
        )

    def count_pairs(self, tile: Orthophoto) -> int:
        """Pairs of a tile; 0 if no crop fits into it."""
        sides = [n * tile.metres_per_px - 2.0 * INSET_M for n in tile.picture.shape[:2]]
        if min(sides) <= CELL_M:
            return 0
        share = 1.0 if tile.stand is None else float(tile.stand.mean())
        wanted = round(self.pairs_per_ha * share * sides[0] * sides[1] / 1e4)
        return int(np.clip(wanted, self.least, self.most))

    def count_worlds(self, pairs: int) -> int:
        """Worlds that the pairs of a tile come from: two at least, and no more than eight."""
        return min(max(2, math.ceil(pairs / self.pairs_per_world)), 8, pairs)


def render_ortho_pairs(
    root: Path,
    tiles: Iterable[Orthophoto],
    plan: OrthoPlan | None = None,
    workers: int = 0,
    what: str = "orthophotos",
) -> Iterator[str]:
    """Render the pairs of ``tiles`` below ``root``, yielding each tile's name as it is finished.

    ``tiles`` are taken one by one. ``what`` names them in the note beside the list: together with
    the plan it decides whether a finished list is theirs. Interrupted, it continues.
    """
    plan = plan or OrthoPlan()
    header = describe_worlds(what, plan)
    yield from render_jobs(root, _list_jobs(tiles, plan), _render_tile, header, workers)


def describe_worlds(what: str, plan: OrthoPlan) -> str:
    """The note beside a list of pairs: what they were drawn from, by which version, and how."""
    return f"{OVER_EARTH}{what}, version {ORTHO_VERSION}: {plan}"


def ensure_ortho_pairs(
    root: Path,
    tiles: Iterable[Orthophoto],
    plan: OrthoPlan | None = None,
    workers: int = 0,
    what: str = "orthophotos",
) -> Path:
    """As :func:`render_ortho_pairs`; returns ``pairs.csv``."""
    for _ in render_ortho_pairs(root, tiles, plan, workers, what):
        pass
    return root / PAIRS_NAME


def open_orthophotos(
    folder: Path, tiles: Sequence[ListedTile], split: str = "train", *, known: bool = True
) -> Iterator[Orthophoto]:
    """Listed tiles below the folder of all sets, one by one, each with its other years.

    ``known``: with the outlines and heights that some sets have beside their pictures.
    """
    years: dict[tuple[str, str], list[ListedTile]] = {}
    for tile in tiles:
        years.setdefault((tile.place, str(tile.centre)), []).append(tile)
    for tile in tiles:
        own = open_tile(folder, tile)
        others = [
            open_tile(folder, other).rgb
            for other in years[tile.place, str(tile.centre)]
            if other != tile and (other.width_px, other.height_px) == own.rgb.shape[1::-1]
        ]
        photo = Orthophoto(
            f"{tile.source.name}-{Path(tile.file).with_suffix('').as_posix().replace('/', '-')}",
            own.rgb,
            tile.metres_per_px,
            tile.centre,
            tile.up_bearing_deg,
            split,
            None if own.valid.all() else own.valid,
            tuple(others),
        )
        if known:
            heights, outlines = read_evidence(folder, tile, lay_cells(photo))
            photo = replace(photo, heights=heights, outlines=outlines)
        yield photo


def require_pairs_room(root: Path, pairs: int) -> None:
    """Raise CannotWrite unless the disk can hold the pictures of ``pairs`` pairs more."""
    advice = "Ask for fewer pairs, free some space, or choose another folder."
    require_room(root, pairs * PAIR_BYTES + SPARE_BYTES, f"{pairs} pairs need", advice)


def _list_jobs(tiles: Iterable[Orthophoto], plan: OrthoPlan) -> Iterator[PairJob]:
    for tile in tiles:
        count = plan.count_pairs(tile)
        if count:
            version = f"{ORTHO_VERSION}-{tile.digest}-{count}-{plan.seed}"
            yield PairJob(tile.name, version, (tile, plan, count))


def _render_tile(task: tuple[Orthophoto, OrthoPlan, int], folder: str, root: Path) -> list[Row]:
    """Render one tile's pairs, world by world."""
    tile, plan, count = task
    ground = read_ground(tile)
    skies = load_skies(plan.skies) if plan.skies else ()
    textures = load_textures(plan.textures) if plan.textures else None
    worlds = plan.count_worlds(count)
    rows: list[Row] = []
    for number in range(worlds):
        world = draw_world(ground, plan.seed * 1000 + number)
        drive = start_ortho_drive(world, skies, textures)
        rng = world.seed_generator("flights")
        share = count // worlds + (number < count % worlds)
        for east, south, eye_m in _list_places(world, drive, share):
            turn = tile.up_bearing_deg
            shot = Shot(
                east, south, -turn, width_px=STRIP_PX[0], height_px=STRIP_PX[1], look=len(rows),
                eye_m=eye_m,
            )  # fmt: skip
            flight = ground.pictures[int(rng.integers(len(ground.pictures)))]
            crop, centre = cut_crop(flight, east, south)
            files = name_pictures(folder, len(rows))
            save_picture(root / files[0], render_panorama(drive, shot, ELEVATION_DEG))
            save_picture(root / files[1], crop, synthetic=False)
            place, above = ground.locate(east, south), ground.locate(*centre)
            rows.append(describe_pair(files, tile.split, place, above, turn))
    return rows


def _list_places(world: OrthoWorld, drive: Drive, count: int) -> list[tuple[float, float, float]]:
    """Places of cameras; none where the tile has no ground to stand on, in this world."""
    try:
        return list(draw_standing_places(world, drive, count, INSET_M, "pairs"))
    except EmptyRegion:
        return []


@cache
def load_skies(folder: Path) -> tuple[U8, ...]:
    """Upper halves [256, 1024, 3] of the panoramas in a folder that show mostly sky there."""
    import cv2

    skies = []
    for path in list_files(folder, _SKY_SUFFIXES):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise BadImage(f"{path} is not a picture that can be read.")
        if picture.shape[1] != 2 * picture.shape[0]:
            continue
        rgb = cv2.resize(picture[..., ::-1], (1024, 512), interpolation=cv2.INTER_AREA)[:256]
        above = rgb[: 256 * 65 // 90]  # from 25 degrees up
        if look_like_sky(above).mean() > 0.985 and above.mean() > 90.0:  # open, and not at night
            skies.append(np.ascontiguousarray(rgb))
    if not skies:
        raise EmptyRegion(f"{folder} holds no panorama (twice as wide as high) of an open sky.")
    return tuple(skies)


@cache
def load_textures(folder: Path) -> U8:
    """Pictures of walls in a folder, known by their names, [n, 128, 128, 3]."""
    import cv2

    walls = []
    for path in list_files(folder, _SKY_SUFFIXES):
        if not _WALL_NAME.search(path.stem):
            continue
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise BadImage(f"{path} is not a picture that can be read.")
        walls.append(cv2.resize(picture[..., ::-1], (128, 128), interpolation=cv2.INTER_AREA))
    if not walls:
        raise EmptyRegion(
            f"{folder} holds no picture of a wall: names with brick, plaster, wood, stone, "
            "concrete, siding or marble are looked for."
        )
    return np.stack(walls).astype(np.uint8)
