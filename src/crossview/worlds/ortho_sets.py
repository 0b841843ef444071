"""Open orthophotos of real places that models are trained on: a list, and its opener.

``ortho_sets.toml`` says of each set where it came from and under which licence; ``ortho_tiles.csv``
lists every tile with its sha256, place and scale. The pictures themselves are no part of the
package: they lie in a folder, one folder a set.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import tomllib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crossview.arrays import F32, F64, U8, Bool
from crossview.errors import BadImagery, UnknownName
from crossview.geo.grids import RasterGrid
from crossview.geo.points import LatLon
from crossview.schema import parse_object
from crossview.worlds.outlines import Plan, draw_outlines, find_height_m
from crossview.worlds.relief import Heights, Outlines

BLANK = 250  # a drone survey's holes are white in all channels
_NDSM, _NDSM_SPACING_M, _NDSM_REACH_M, _NDSM_PER_M = "ndsm_10m.png", 10.0, 2400.0, 4.0
_NDSM_NODATA = 255
# Metres east and south of where the set's notes put its samples: there they fit the outlines best
# (correlation .43 instead of .35), as if the grid were counted from another corner of its cells.
NDSM_OFF_M = (6.0, 1.0)
_PARDUBICE, _CHATEAUGIRON = "pardubice_osm.json.gz", "chateaugiron.json.gz"
_LEAST_HOLE_PX = 4_000  # smaller white patches are roofs and paint


@dataclass(frozen=True)
class OrthoSet:
    """One source of orthophotos: licence, attribution, and where its pictures came from."""

    name: str
    folder: str  # below the folder of all sets
    country: str
    licence: str
    attribution: str
    address: str  # of the sources of its tiles; "" where it is not known
    bytes: bool  # whether a tile is its source byte for byte
    note: str


@dataclass(frozen=True)
class ListedTile:
    """One picture of a set, and where on Earth it lies.

    ``place``: tiles of one place must not be split (other years of it, neighbours that touch).
    ``up_bearing_deg``: of the picture's up, clockwise from true north. ``year``: 0 if not recorded.
    ``sketch``: hex of 4 x 4 mean grey values, to know a picture that was stored anew.
    """

    source: OrthoSet
    file: str
    sha256: str
    centre: LatLon
    metres_per_px: float
    width_px: int
    height_px: int
    up_bearing_deg: float
    place: str
    year: int
    address: str  # of the file that it was cut from; "" where it is not known
    left_px: int  # of the cut
    top_px: int
    sketch: str

    @property
    def grid(self) -> RasterGrid:
        """The tile's pixels on Earth."""
        return RasterGrid.around(
            self.centre, self.metres_per_px, (self.width_px, self.height_px), self.up_bearing_deg
        )

    @property
    def area_km2(self) -> float:
        """The ground that the picture shows."""
        return self.width_px * self.height_px * self.metres_per_px**2 / 1e6


@dataclass(frozen=True)
class OpenedTile:
    """A tile, decoded: ``rgb`` [h, w, 3], and ``valid`` [h, w], False in holes of the survey."""

    tile: ListedTile
    rgb: U8
    valid: Bool


@lru_cache(maxsize=1)
def list_sets() -> tuple[OrthoSet, ...]:
    """All sets, in the order of the list."""
    table = tomllib.loads(_read_own("ortho_sets.toml"))
    return tuple(OrthoSet(name=name, **facts) for name, facts in table.items())


@lru_cache(maxsize=1)
def list_tiles() -> tuple[ListedTile, ...]:
    """All tiles of all sets."""
    sets = {one.name: one for one in list_sets()}
    rows = csv.DictReader(_read_own("ortho_tiles.csv").splitlines())
    return tuple(_make_tile(sets[row["set"]], row) for row in rows)


def choose_tiles(
    *,
    sets: Collection[str] = (),
    countries: Collection[str] = (),
    without_countries: Collection[str] = (),
) -> tuple[ListedTile, ...]:
    """Tiles of some sets or countries (all if none is named), without those of others.

    Leaving a country out: ``without_countries`` to train, the same as ``countries`` to validate.
    """
    known_sets = [one.name for one in list_sets()]
    known_countries = sorted({one.country for one in list_sets()})
    for name in sets:
        if name not in known_sets:
            raise UnknownName("set of orthophotos", name, known_sets)
    for name in (*countries, *without_countries):
        if name not in known_countries:
            raise UnknownName("country", name, known_countries)
    return tuple(
        tile
        for tile in list_tiles()
        if (not sets or tile.source.name in sets)
        and (not countries or tile.source.country in countries)
        and tile.source.country not in without_countries
    )


def split_places(
    tiles: Sequence[ListedTile], share: float
) -> tuple[tuple[ListedTile, ...], tuple[ListedTile, ...]]:
    """Tiles to train on and about ``share`` of the ground to validate on, whole places apart.

    The places of one set are ordered by a hash of their names, so that a split never moves. A set
    of one place only is cut along its rows of tiles: the southern share validates.
    """
    chosen: set[str] = set()
    for name in sorted({tile.source.name for tile in tiles}):
        own = [tile for tile in tiles if tile.source.name == name]
        if len({tile.place for tile in own}) > 1:
            groups = _group(own, lambda tile: hashlib.sha256(tile.place.encode()).hexdigest())
        else:
            groups = _group(own, lambda tile: round(tile.centre.lat, 5))
        wanted, held = share * sum(tile.area_km2 for tile in own), 0.0
        for group in groups:
            area = sum(tile.area_km2 for tile in group)
            if held + 0.5 * area > wanted:
                break
            held += area
            chosen |= {f"{name}/{tile.file}" for tile in group}
    apart = [f"{tile.source.name}/{tile.file}" in chosen for tile in tiles]
    return (
        tuple(tile for tile, out in zip(tiles, apart, strict=True) if not out),
        tuple(tile for tile, out in zip(tiles, apart, strict=True) if out),
    )


def open_tiles(folder: Path, tiles: Sequence[ListedTile]) -> Iterator[OpenedTile]:
    """Decode tiles one after the other; a missing or changed file raises :class:`BadImagery`."""
    for tile in tiles:
        yield open_tile(folder, tile)


def open_tile(folder: Path, tile: ListedTile) -> OpenedTile:
    """Decode a tile below the folder of all sets, if it is the listed one.

    Raises :class:`BadImagery` for a file that is missing, and for one that is neither the listed
    bytes nor, stored anew, the listed picture.
    """
    path = find_file(folder, tile)
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise BadImagery(
            f"There is no {path}, a tile of the set {tile.source.name}.\n"
            f"Give the folder that holds the sets, or fetch them: "
            f"python scripts/fetch_orthophotos.py {folder}"
        ) from problem
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None or not is_listed(data, bgr, tile):
        raise BadImagery(
            f"{path} is not the picture that ortho_tiles.csv lists: its sha256 and its look "
            "differ.\nFetch it again, or leave its set out."
        )
    return OpenedTile(tile, np.ascontiguousarray(bgr[..., ::-1]), _find_valid(bgr))


def read_evidence(
    folder: Path, tile: ListedTile, grid: RasterGrid
) -> tuple[Heights | None, Outlines | None]:
    """What is known of heights over the pixels of ``grid``, which lies on a tile.

    Of two sets more than the picture is held: Pardubice has an nDSM of 10 m and outlines with
    heights, Chateaugiron outlines. None for all others, and where these files are missing.
    """
    beside = find_file(folder, tile).parent
    plans = _read_set_plans(beside)
    outlines = draw_outlines(plans, grid, must_meet=False) if plans else None
    heights = None
    if (beside / _NDSM).is_file():
        frame, stored = _read_ndsm(beside)
        line = np.meshgrid(np.arange(grid.width_px) + 0.5, np.arange(grid.height_px) + 0.5)
        east, south = frame.measure(*grid.latlon(*line))
        column, row = (
            (metres - off_m + _NDSM_REACH_M) / _NDSM_SPACING_M
            for metres, off_m in zip((east, south), NDSM_OFF_M, strict=True)
        )
        over = cv2.remap(
            stored, column.astype(np.float32), row.astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan"),
        )  # fmt: skip
        heights = Heights(over, _NDSM_SPACING_M)
    return heights, outlines


@dataclass(frozen=True)
class _Frame:
    """Metres about a point, as a set's own files count them."""

    lat: float
    lon: float
    metres_per_lat: float
    metres_per_lon: float

    def measure(self, lat: F64, lon: F64) -> tuple[F64, F64]:
        """Metres east and south."""
        return (lon - self.lon) * self.metres_per_lon, (self.lat - lat) * self.metres_per_lat

    def place(self, corners: Any) -> F64:
        """Latitudes and longitudes [k, 2] of pairs of metres east and south."""
        points = np.asarray(corners, np.float64).reshape(-1, 2)
        lat = self.lat - points[:, 1] / self.metres_per_lat
        return np.stack([lat, self.lon + points[:, 0] / self.metres_per_lon], axis=1)


@lru_cache(maxsize=2)
def _read_ndsm(folder: Path) -> tuple[_Frame, F32]:
    facts = _read_packed_json(folder / _PARDUBICE)
    stored = cv2.imread(str(folder / _NDSM), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 2:
        raise BadImagery(f"{folder / _NDSM} is no grey picture.")
    metres = np.where(stored == _NDSM_NODATA, np.nan, stored / _NDSM_PER_M)
    return _make_frame(facts), metres.astype(np.float32)


@lru_cache(maxsize=2)
def _read_set_plans(folder: Path) -> tuple[Plan, ...]:
    """Outlines that lie beside a set's pictures, in the two forms that there are."""
    plans: list[Plan] = []
    if (folder / _PARDUBICE).is_file():
        facts = _read_packed_json(folder / _PARDUBICE)
        frame = _make_frame(facts)
        for one in facts["buildings"]:
            rings = [frame.place(ring) for ring in (one["o"], *one.get("i", []))]
            plans.append(Plan(tuple(rings), find_height_m(one)))
    if (folder / _CHATEAUGIRON).is_file():
        for one in _read_packed_json(folder / _CHATEAUGIRON)["features"]:
            if one["k"] == "building":
                ring = np.asarray(one["g"], np.float64)[:, ::-1]
                plans.append(Plan((ring,), find_height_m(one["t"])))
    return tuple(plans)


def _make_frame(facts: dict[str, Any]) -> _Frame:
    origin = facts["origin"]
    return _Frame(origin["lat"], origin["lon"], facts["mPerLat"], facts["mPerLon"])


def _read_packed_json(path: Path) -> dict[str, Any]:
    return parse_object(gzip.decompress(path.read_bytes()))


def find_file(folder: Path, tile: ListedTile) -> Path:
    """Where a tile lies below the folder of all sets; without its set's own folder, too."""
    usual = folder / tile.source.folder / tile.file
    beside = folder / tile.source.name / tile.file
    return beside if beside.is_file() and not usual.is_file() else usual


def is_listed(data: bytes, picture: U8, tile: ListedTile) -> bool:
    """Whether a file is the listed one, by its bytes or (stored anew) by size and look."""
    if hashlib.sha256(data).hexdigest() == tile.sha256:
        return True
    if picture.shape[:2] != (tile.height_px, tile.width_px) or tile.source.bytes:
        return False
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    own = cv2.resize(grey, (4, 4), interpolation=cv2.INTER_AREA).ravel().astype(int)
    listed = np.frombuffer(bytes.fromhex(tile.sketch), np.uint8).astype(int)
    return bool(np.abs(own - listed).max() <= 3)


def _find_valid(bgr: U8) -> Bool:
    blank = (bgr.min(axis=2) >= BLANK).astype(np.uint8)
    _, label, facts, _ = cv2.connectedComponentsWithStats(blank, connectivity=4)
    hole = facts[:, cv2.CC_STAT_AREA] >= _LEAST_HOLE_PX
    hole[0] = False
    ragged = cv2.dilate(hole[label].astype(np.uint8), np.ones((5, 5), np.uint8))
    return np.asarray(ragged == 0, np.bool_)


def _group(tiles: Sequence[ListedTile], key: Any) -> list[list[ListedTile]]:
    groups: dict[Any, list[ListedTile]] = {}
    for tile in tiles:
        groups.setdefault(key(tile), []).append(tile)
    return [groups[name] for name in sorted(groups)]


def _make_tile(source: OrthoSet, row: dict[str, str]) -> ListedTile:
    own = row["source"]
    address = own if own.startswith("https:") else source.address + own if own else ""
    return ListedTile(
        source, row["file"], row["sha256"], LatLon(float(row["lat"]), float(row["lon"])),
        float(row["metres_per_px"]), int(row["width_px"]), int(row["height_px"]),
        float(row["up_bearing_deg"]), row["place"], int(row["year"] or 0), address,
        int(row["left_px"]), int(row["top_px"]), row["sketch"],
    )  # fmt: skip


def _read_own(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
