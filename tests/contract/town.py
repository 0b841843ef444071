"""One small town for all pages: pairs to train on, others held out, its map, and photos to find."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossview.geo.points import LatLon
from crossview.worlds.camera import (
    Drive,
    Shot,
    draw_camera_places,
    render_orthophoto,
    render_panorama,
    render_photo,
    start_drive,
)
from crossview.worlds.town import CELL_M, Town, build_town
from crossview.worlds.town_pairs import (
    COLUMNS,
    CROP_PX,
    ELEVATION_DEG,
    cut_crop,
    describe_pair,
    save_picture,
)
from crossview.worlds.write import write_geotiff, write_photo

SIDE_M, PLACES = 200.0, 400
HELD_OUT = 2  # every second place
PHOTOS, PHOTO_FOV_DEG = 8, 70.0


@dataclass(frozen=True)
class SmallTown:
    """Files of the town; photos look north, and stand at places that are held out."""

    pairs: Path
    aerial: Path
    panoramas: tuple[Path, ...]
    photos: tuple[Path, ...]
    places: tuple[LatLon, ...]  # of the photos


def write_town(folder: Path) -> SmallTown:
    """Render it; three seconds of a processor."""
    town = build_town("suburb", 5, SIDE_M)
    orthophoto, drive = render_orthophoto(town), start_drive(town, 0)
    write_geotiff(folder / "aerial.tif", town, orthophoto)
    (folder / "pictures").mkdir()
    rows, places, panoramas, photos = [], [], [], []
    for n, (east, south) in enumerate(_draw_places(town)):
        place = town.site.latlon(east, south)
        turn = town.site.convergence_deg(place)
        apron_m = town.apron_cells * CELL_M
        crop, centre = cut_crop(orthophoto, east - apron_m, south - apron_m)
        above = town.site.latlon(*(x + apron_m for x in centre))
        names = (f"pictures/{n}-ground.jpg", f"pictures/{n}-aerial.jpg")
        strip = Shot(east, south, -turn, width_px=256, height_px=64, look=0)
        save_picture(folder / names[0], render_panorama(drive, strip, ELEVATION_DEG))
        save_picture(folder / names[1], crop)
        split = "val" if n % HELD_OUT == 0 else "train"
        rows.append(describe_pair(names, split, place, above, turn))
        if split == "val" and len(places) < PHOTOS:
            places.append(LatLon(place.lat, place.lon))
            panoramas.append(_take(folder, drive, (east, south), -turn, 360.0))
            photos.append(_take(folder, drive, (east, south), -turn, PHOTO_FOV_DEG))
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return SmallTown(
        folder / "pairs.csv", folder / "aerial.tif", tuple(panoramas), tuple(photos), tuple(places)
    )


def _draw_places(town: Town) -> np.ndarray:
    """Places whose crops lie wholly on the map."""
    low = town.apron_cells * CELL_M + 0.5 * CROP_PX * CELL_M + CELL_M
    drawn = draw_camera_places(town, 4 * PLACES + 100, "pairs")
    inside = ((low < drawn) & (drawn < town.cells * CELL_M - low)).all(axis=1)
    assert inside.sum() >= PLACES
    return drawn[inside][:PLACES]


def _take(
    folder: Path, drive: Drive, at: tuple[float, float], heading_deg: float, fov_deg: float
) -> Path:
    width, height = (256, 128) if fov_deg == 360.0 else (128, 96)
    shot = Shot(*at, heading_deg, fov_deg, 0.0, width, height)
    picture = render_panorama(drive, shot) if fov_deg == 360.0 else render_photo(drive, shot)
    path = folder / f"{len(list(folder.glob('*.jpg')))}-{fov_deg:g}.jpg"
    write_photo(path, picture, fov_deg)
    return path
