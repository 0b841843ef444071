"""Writing a town to a folder: map, photos, their truth, and a sheet to look at."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from crossview.arrays import U8
from crossview.errors import CannotWrite, InvalidValue, require
from crossview.files import atomic_write, sweep, wait_for_disk
from crossview.locks import locked
from crossview.worlds.camera import Shot, panorama, photo
from crossview.worlds.ground import Drive, begin_drive, camera_places
from crossview.worlds.mapfile import is_synthetic, write_map
from crossview.worlds.overhead import orthophoto
from crossview.worlds.photofile import write_photo
from crossview.worlds.raster import CELL_M
from crossview.worlds.sheet import write_sheet
from crossview.worlds.siting import site
from crossview.worlds.town import Town, build_town

COLUMNS = ("file", "lat", "lon", "heading_deg", "fov_deg", "kind")
PHOTO_PX = (640, 480)
PANORAMA_PX = (1024, 512)


@dataclass(frozen=True)
class Series:
    """``count`` pictures of one kind; ``fov_deg`` 360 means panoramas."""

    count: int
    fov_deg: float = 360.0
    pitch_deg: float = 0.0  # drawn uniformly from plus or minus this

    @property
    def kind(self) -> str:
        """``panorama`` or ``photo_90deg`` and the like."""
        return "panorama" if self.fov_deg >= 360.0 else f"photo_{self.fov_deg:g}deg"


@dataclass(frozen=True)
class World:
    """What was written."""

    folder: Path
    map_file: Path
    places_file: Path
    area_km2: float
    pictures: int


def write_world(
    folder: Path,
    style_name: str,
    seed: int,
    *,
    side_m: float = 800.0,
    series: tuple[Series, ...] = (Series(12), Series(12, 90.0)),
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> World:
    """Write aerial.tif, ground/*.jpg, places.csv and sheet.png of one town below ``folder``.

    places.csv is written last: a folder that has it is whole. Headings are true, drawn evenly.
    """
    for one in series:
        require(one.count >= 0, f"a number of pictures is >= 0, got {one.count}.")
        require(
            one.fov_deg == 360.0 or 5.0 <= one.fov_deg <= 140.0,
            f"a photo's field of view lies in [5, 140] degrees (360: panorama), got {one.fov_deg}.",
        )
    with locked(folder, "crossview world", make_parents=True):
        _make(folder)
        return _written(folder, build_town(style_name, seed, side_m), series, progress)


def _written(
    folder: Path, town: Town, series: tuple[Series, ...], progress: Callable[[int, int], None]
) -> World:
    above = orthophoto(town)
    write_map(folder / "aerial.tif", town, above)
    drive = begin_drive(town)
    shots = list(_shots(town, series))
    rows, examples = [], []
    with ThreadPoolExecutor(2) as pool:
        taken = pool.map(lambda shot: _take(folder, drive, *shot), shots)
        for n, ((name, shot), picture) in enumerate(zip(shots, taken, strict=True), 1):
            rows.append(_row(town, name, shot))
            if name.endswith(("_0000", "_0001", "_0002")):
                examples.append((shot, picture))
            progress(n, len(shots))
    write_sheet(folder / "sheet.png", town, above, examples[:6])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    wait_for_disk()
    atomic_write(folder / "places.csv", text.getvalue())
    side_km = above.shape[0] * CELL_M / 1000.0
    return World(folder, folder / "aerial.tif", folder / "places.csv", side_km**2, len(shots))


def _make(folder: Path) -> None:
    above = folder / "aerial.tif"
    if (folder / "places.csv").exists() or (above.exists() and not is_synthetic(above)):
        raise InvalidValue(f"{folder} already holds a world; choose another --out or remove it.")
    try:
        (folder / "ground").mkdir(parents=True, exist_ok=True)
        for part in (folder, folder / "ground"):
            sweep(part)
    except OSError as problem:
        raise CannotWrite(f"Cannot make the folder {folder}: {problem.strerror}.") from problem


def _shots(town: Town, series: tuple[Series, ...]) -> Iterator[tuple[str, Shot]]:
    look = 0
    for one in series:
        rng = town.stream(f"shots {one.kind} {one.pitch_deg}")
        for n, (east, south) in enumerate(camera_places(town, one.count, one.kind)):
            look += 1
            size = PANORAMA_PX if one.kind == "panorama" else PHOTO_PX
            heading, pitch = rng.uniform(0.0, 360.0), rng.uniform(-1.0, 1.0) * one.pitch_deg
            yield (
                f"{one.kind}_{n:04d}",
                Shot(
                    float(east),
                    float(south),
                    float(heading),
                    one.fov_deg,
                    float(pitch),
                    *size,
                    look,
                ),
            )


def _take(folder: Path, drive: Drive, name: str, shot: Shot) -> U8:
    picture = panorama(drive, shot) if shot.fov_deg >= 360.0 else photo(drive, shot)
    write_photo(folder / "ground" / f"{name}.jpg", picture, shot.fov_deg)
    return picture


def _row(town: Town, name: str, shot: Shot) -> tuple[str, ...]:
    place = site(town).latlon(shot.east_m, shot.south_m)
    heading = (shot.heading_deg + site(town).convergence_deg(place)) % 360.0
    return (
        f"ground/{name}.jpg", f"{place.lat:.8f}", f"{place.lon:.8f}", f"{heading:.3f}",
        f"{shot.fov_deg:g}", name.rsplit("_", 1)[0],
    )  # fmt: skip
